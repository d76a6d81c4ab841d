//! MDP-09: brokers, workers and clients of Sinew, libzmq and pyzmq, each with each. No implementation of another is used:
//! what is not ours is written from the frames of 7/MDP.

use std::collections::BTreeSet;
use std::env;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, Message, Router};
use sinew_patterns::common::Heartbeat;
use sinew_patterns::mdp::{BrokerConfig, BrokerEngine, Client, ClientConfig, Worker, WorkerConfig};
use sinew_patterns::RouterShell;

use crate::libzmq::{self, Beside};
use crate::process::{python, Running};
use crate::{pyzmq, retry, root, LONG};

const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(100),
    liveness: 20,
    scope: sinew_patterns::common::Scope::Process,
};

fn worker_config() -> WorkerConfig {
    WorkerConfig {
        heartbeat: HEARTBEAT,
        ..WorkerConfig::default()
    }
}

fn client(at: &[Endpoint]) -> Client {
    let config = ClientConfig {
        retry: retry(Duration::from_millis(500)),
        ..ClientConfig::default()
    };
    Client::connect(&Context::default(), at, config).unwrap()
}

/// A broker of any make, which can be killed, and started again at the same place.
enum Broker {
    Beside(Beside),
    Process(Running),
}

impl Broker {
    /// Nobody hears of it.
    fn kill(self) {
        match self {
            Broker::Beside(beside) => beside.stop(),
            Broker::Process(process) => drop(process),
        }
    }
}

/// Ours, which goes without a word.
fn sinew_broker(at: &str) -> Broker {
    let mut router = Router::builder().linger(Duration::ZERO).build().unwrap();
    // The one before may not have let go of it yet.
    let begin = Instant::now();
    while let Err(error) = router.bind(at) {
        assert!(begin.elapsed() < LONG.deadline, "{error}");
        thread::yield_now();
    }
    let config = BrokerConfig {
        heartbeat: HEARTBEAT,
        ..BrokerConfig::default()
    };
    let mut shell = RouterShell::new(router, BrokerEngine::new(config));
    Broker::Beside(Beside::start(move |stop| {
        while !stop.load(Ordering::Relaxed) {
            let _ = shell.next_event(Instant::now() + Duration::from_millis(20));
        }
        assert_eq!(shell.engine().counters().malformed, 0);
    }))
}

fn pyzmq_broker(at: &str) -> Broker {
    let mut command = python(&root(), pyzmq::BROKER).unwrap();
    let process = Running::start(command.arg(at));
    assert_eq!(process.line(), at);
    Broker::Process(process)
}

/// An endpoint that was free a moment ago.
fn endpoint() -> String {
    let mut router = Router::new();
    let at = router.bind("tcp://127.0.0.1:*").unwrap();
    router.close();
    at.to_string()
}

/// Calls of each client before the broker is killed, and after it.
fn calls() -> usize {
    env::var("PATTERNS_CALLS").map_or(300, |text| text.parse().unwrap())
}

/// With this broker: three workers and three clients. Each client asks each worker; the broker is killed
/// and comes back, and they do it again. Who crashes or gets another reply than its own fails the test.
fn each_with_each(broker: fn(&str) -> Broker) {
    let Some(mut their_worker) = python(&root(), pyzmq::WORKER) else {
        return;
    };
    let at = endpoint();
    let at = at.as_str();
    let first = broker(at);
    let endpoints: [Endpoint; 1] = [at.parse().unwrap()];
    let ours = Worker::connect(&Context::default(), &endpoints, "echo", worker_config()).unwrap();
    let handle = ours.handle();
    let serving = thread::spawn(move || {
        ours.serve(|request| {
            let body = request.take_body().into_frames().into_iter();
            Ok(Message::multipart(body.chain(["sinew".into()])))
        })
    });
    let theirs = libzmq::worker(at);
    let python_worker = Running::start_talking(their_worker.arg(at));

    let all = "libzmq pyzmq sinew";
    let calls = calls();
    // All workers are there before it counts who replied.
    let mut first_of_all = libzmq::Client::new(at);
    wait_for_all(&mut first_of_all);
    let mut asking = Asking::start(at, calls);
    for who in asking.done() {
        assert_eq!(who, all);
    }
    asking.go_on();
    first.kill();
    let second = broker(at);
    for who in asking.done() {
        assert!(!who.is_empty());
    }
    // They are all back.
    wait_for_all(&mut first_of_all);
    asking.process.finish();
    python_worker.finish();
    theirs.stop();
    handle.drain();
    serving.join().unwrap().unwrap();
    second.kill();
}

/// Asks until all three workers have replied.
fn wait_for_all(client: &mut libzmq::Client) {
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        seen.insert(client.ask("who is there"));
    }
}

/// A client of each make, that asks so many times, is told to go on, and asks so many times again.
struct Asking {
    threads: Vec<(Sender<()>, Receiver<String>)>,
    process: Running,
}

impl Asking {
    fn start(at: &str, calls: usize) -> Self {
        let mut command = python(&root(), pyzmq::CLIENT).unwrap();
        let process = Running::start_talking(command.args([at, &calls.to_string()]));
        let ours = client(&[at.parse().unwrap()]);
        let ask_ours = move |number: usize| {
            let body = Message::multipart(["body".to_owned(), number.to_string()]);
            let mut reply = ours
                .call("echo", body.clone(), &LONG)
                .unwrap()
                .into_frames();
            let who = reply.pop().unwrap();
            assert_eq!(Message::multipart(reply), body);
            String::from_utf8_lossy(&who).into_owned()
        };
        let mut theirs = libzmq::Client::new(at);
        let ask_theirs = move |number: usize| theirs.ask(&number.to_string());
        let threads = vec![asking(calls, ask_ours), asking(calls, ask_theirs)];
        Asking { threads, process }
    }

    /// Who replied to each of them, when all have asked.
    fn done(&self) -> Vec<String> {
        let told = self
            .threads
            .iter()
            .map(|(_, told)| told.recv_timeout(LONG.deadline).expect("it has asked"));
        told.chain([self.process.line()]).collect()
    }

    fn go_on(&mut self) {
        for (go_on, _) in &self.threads {
            go_on.send(()).unwrap();
        }
        self.process.tell("go on");
    }
}

/// Asks on a thread, twice so many times.
fn asking(
    calls: usize,
    mut ask: impl FnMut(usize) -> String + Send + 'static,
) -> (Sender<()>, Receiver<String>) {
    let (go_on, may_go_on) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for _ in 0..2 {
            let who = (0..calls).map(&mut ask).collect::<BTreeSet<_>>();
            let who = who.into_iter().collect::<Vec<_>>().join(" ");
            // Nobody listens if the test has failed.
            if tell.send(who).is_err() || may_go_on.recv().is_err() {
                return;
            }
        }
    });
    (go_on, told)
}

#[test]
fn each_with_each_and_our_broker() {
    each_with_each(sinew_broker);
}

#[test]
fn each_with_each_and_a_broker_of_libzmq() {
    each_with_each(|at| Broker::Beside(libzmq::broker(at)));
}

#[test]
fn each_with_each_and_a_broker_of_pyzmq() {
    each_with_each(pyzmq_broker);
}

/// MDP-09, another row: our workers and clients with a broker in Python, which is killed and comes back elsewhere.
#[test]
fn a_broker_of_pyzmq() {
    let Some(mut command) = python(&root(), pyzmq::BROKER) else {
        return;
    };
    command.arg("tcp://127.0.0.1:*");
    let brokers = [(); 2].map(|()| Running::start(&mut command));
    let at = brokers
        .each_ref()
        .map(|broker| broker.line().parse::<Endpoint>().unwrap());
    let context = Context::default();
    let worker = Worker::connect_slots(&context, &at, "echo", worker_config(), 2).unwrap();
    let handle = worker.handle();
    let thread = thread::spawn(move || worker.serve(|request| Ok(request.take_body())));
    let client = client(&at);
    let [first, second] = brokers;
    assert_eq!([first.line(), first.line()], ["ready echo", "ready echo"]);
    let ask = |calls: usize| {
        let pending: Vec<_> = (0..calls)
            .map(|number| {
                let body = Message::multipart(["body".to_owned(), number.to_string()]);
                (body.clone(), client.call_streaming("echo", body, &LONG))
            })
            .collect();
        for (body, mut replies) in pending {
            assert_eq!(replies.next().unwrap().unwrap(), body);
        }
    };
    assert!(client.available("echo", &LONG).unwrap());
    ask(300);
    // The broker is killed; workers and client find the other one.
    drop(first);
    ask(100);
    assert_eq!(client.counters().failures, 0);
    // One slot alone may have answered: the other one comes, too.
    assert_eq!([second.line(), second.line()], ["ready echo"; 2]);
    handle.drain();
    thread.join().unwrap().unwrap();
    assert_eq!([second.line(), second.line()], ["gone echo"; 2]);
}
