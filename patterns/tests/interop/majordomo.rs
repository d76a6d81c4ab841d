//! MDP-09: brokers, workers and clients of Sinew, libzmq and pyzmq, each with each, of 7/MDP and of 18/MDP. No
//! implementation of another is used: what is not ours is written from the frames of the RFCs.

use std::collections::BTreeSet;
use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, Message, Router};
use sinew_patterns::common::Heartbeat;
use sinew_patterns::mdp::{
    BrokerConfig, BrokerEngine, Client, ClientConfig, Dialect, Worker, WorkerConfig, WorkerHandle,
};
use sinew_patterns::RouterShell;
use socket2::{Domain, Socket, Type};

use crate::libzmq::{self, Beside};
use crate::process::Running;
use crate::{pyzmq, retry, LONG};

const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(100),
    liveness: 20,
    scope: sinew_patterns::common::Scope::Process,
};

fn worker_config(dialect: Dialect) -> WorkerConfig {
    WorkerConfig {
        dialect,
        heartbeat: HEARTBEAT,
        ..WorkerConfig::default()
    }
}

pub(crate) fn client(at: &[Endpoint], dialect: Dialect) -> Client {
    let config = ClientConfig {
        dialect,
        retry: retry(Duration::from_millis(500)),
        ..ClientConfig::default()
    };
    Client::connect(&Context::default(), at, config).unwrap()
}

/// A broker of any make, which can be killed, and started again at the same place.
pub(crate) enum Broker {
    Beside(Beside),
    Process(Running),
}

impl Broker {
    /// Nobody hears of it.
    pub(crate) fn kill(self) {
        match self {
            Broker::Beside(beside) => beside.stop(),
            Broker::Process(process) => drop(process),
        }
    }
}

/// Ours, which goes without a word.
pub(crate) fn sinew_broker(at: &str) -> Broker {
    let mut router = Router::builder().linger(Duration::ZERO).build().unwrap();
    // The one before closed in the background.
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

fn pyzmq_broker(at: &str, dialect: Dialect) -> Broker {
    let mut command = pyzmq::command(pyzmq::BROKER, &[at], dialect).unwrap();
    let process = Running::start(&mut command);
    assert_eq!(process.line(), at);
    Broker::Process(process)
}

/// An endpoint that nobody else is given while this lives: a socket that never listens has its address, and leaves it to
/// those who listen.
pub(crate) struct Reserved {
    pub(crate) at: String,
    _holder: Socket,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        holder.set_reuse_address(true).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        holder.bind(&any.into()).unwrap();
        let at = holder.local_addr().unwrap().as_socket().unwrap();
        Reserved {
            at: format!("tcp://{at}"),
            _holder: holder,
        }
    }
}

/// Calls of each client before the broker is killed, and after it.
pub(crate) fn calls() -> usize {
    env::var("PATTERNS_CALLS").map_or(300, |text| text.parse().unwrap())
}

/// A worker or a client of some make.
#[derive(Clone, Copy)]
pub(crate) enum Make {
    Sinew(Dialect),
    Libzmq,
    Pyzmq(Dialect),
}

/// All that speak 7/MDP, and all that speak 18/MDP.
pub(crate) const FIRST: [Make; 3] = [
    Make::Sinew(Dialect::V1),
    Make::Libzmq,
    Make::Pyzmq(Dialect::V1),
];
const SECOND: [Make; 2] = [Make::Sinew(Dialect::V2), Make::Pyzmq(Dialect::V2)];

impl Make {
    fn name(self) -> String {
        match self {
            Make::Sinew(dialect) => format!("sinew{}", pyzmq::number(dialect)),
            Make::Libzmq => "libzmq".to_owned(),
            Make::Pyzmq(dialect) => format!("pyzmq{}", pyzmq::number(dialect)),
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Make::Sinew(dialect) | Make::Pyzmq(dialect) => dialect,
            Make::Libzmq => Dialect::V1,
        }
    }
}

/// With this broker: workers and clients of these makes. Each client asks each worker; the broker is killed
/// and comes back, and they do it again. Who crashes or gets another reply than its own fails the test.
pub(crate) fn each_with_each(broker: impl Fn(&str) -> Broker, makes: &[Make]) {
    if pyzmq::command("", &[], Dialect::V1).is_none() {
        return;
    }
    let reserved = Reserved::new();
    let at = reserved.at.as_str();
    let first = broker(at);
    let workers: Vec<_> = makes.iter().map(|make| Working::start(*make, at)).collect();
    let mut all: Vec<String> = makes.iter().map(|make| make.name()).collect();
    all.sort();
    // All workers are there before it counts who replied.
    let first_of_all = client(&[at.parse().unwrap()], makes[0].dialect());
    wait_for_all(&first_of_all, makes[0].dialect(), all.len());
    let mut asking: Vec<_> = makes.iter().map(|make| Asking::start(*make, at)).collect();
    for asking in &asking {
        assert_eq!(asking.done(), all.join(" "));
    }
    asking.iter_mut().for_each(Asking::go_on);
    first.kill();
    let second = broker(at);
    for asking in asking {
        assert!(!asking.done().is_empty());
        asking.finish();
    }
    // They are all back.
    wait_for_all(&first_of_all, makes[0].dialect(), all.len());
    workers.into_iter().for_each(Working::stop);
    second.kill();
}

/// Asks until so many workers have replied.
fn wait_for_all(client: &Client, dialect: Dialect, count: usize) {
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        seen.insert(ask(client, dialect, 0));
    }
}

/// Asks until there is a reply; who replied.
fn ask(client: &Client, dialect: Dialect, number: usize) -> String {
    let body = Message::multipart(["body".to_owned(), number.to_string()]);
    loop {
        let mut reply = match client.call("echo", body.clone(), &LONG) {
            Ok(reply) => reply.into_frames(),
            // When the broker was killed a part was there: then the client does not ask again by itself.
            Err(error) if dialect == Dialect::V2 && error.maybe_executed() => continue,
            Err(error) => panic!("{error}"),
        };
        let who = reply.pop().unwrap();
        assert_eq!(Message::multipart(reply), body);
        return String::from_utf8_lossy(&who).into_owned();
    }
}

/// A worker of some make.
enum Working {
    Thread(WorkerHandle, JoinHandle<()>),
    Beside(Beside),
    Process(Running),
}

impl Working {
    fn start(make: Make, at: &str) -> Self {
        let name = make.name();
        match make {
            Make::Sinew(dialect) => {
                let (context, config) = (Context::default(), worker_config(dialect));
                let worker = Worker::connect(&context, &[at], "echo", config).unwrap();
                let handle = worker.handle();
                let serve = move || {
                    let serving = worker.serve(|request| {
                        let mut body = request.take_body().into_frames();
                        body.push(name.as_str().into());
                        // 7/MDP has no parts.
                        if dialect == Dialect::V2 {
                            assert!(request.partial(body.remove(0)));
                        }
                        Ok(Message::multipart(body))
                    });
                    serving.unwrap();
                };
                Working::Thread(handle, thread::spawn(serve))
            }
            Make::Libzmq => Working::Beside(libzmq::worker(at)),
            Make::Pyzmq(dialect) => {
                let command = pyzmq::command(pyzmq::WORKER, &[at, &name], dialect);
                Working::Process(Running::start_talking(&mut command.unwrap()))
            }
        }
    }

    fn stop(self) {
        match self {
            Working::Thread(handle, thread) => {
                handle.drain();
                thread.join().unwrap();
            }
            Working::Beside(beside) => beside.stop(),
            Working::Process(process) => drop(process.finish()),
        }
    }
}

/// A client of some make, that asks so many times, is told to go on, and asks so many times again.
pub(crate) enum Asking {
    Thread(Sender<()>, Receiver<String>),
    Process(Running),
}

impl Asking {
    pub(crate) fn start(make: Make, at: &str) -> Self {
        let calls = calls();
        match make {
            Make::Sinew(dialect) => {
                let client = client(&[at.parse().unwrap()], dialect);
                asking(calls, move |number| ask(&client, dialect, number))
            }
            Make::Libzmq => {
                let mut client = libzmq::Client::new(at);
                asking(calls, move |number| client.ask(&number.to_string()))
            }
            Make::Pyzmq(dialect) => {
                let command = pyzmq::command(pyzmq::CLIENT, &[at, &calls.to_string()], dialect);
                Asking::Process(Running::start_talking(&mut command.unwrap()))
            }
        }
    }

    /// Who replied, when it has asked.
    pub(crate) fn done(&self) -> String {
        match self {
            Asking::Thread(_, told) => told.recv_timeout(LONG.deadline).expect("it has asked"),
            Asking::Process(process) => process.line(),
        }
    }

    pub(crate) fn go_on(&mut self) {
        match self {
            Asking::Thread(go_on, _) => go_on.send(()).unwrap(),
            Asking::Process(process) => process.tell("go on"),
        }
    }

    pub(crate) fn finish(self) {
        if let Asking::Process(process) = self {
            process.finish();
        }
    }
}

/// Asks on a thread, twice so many times.
fn asking(calls: usize, mut ask: impl FnMut(usize) -> String + Send + 'static) -> Asking {
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
    Asking::Thread(go_on, told)
}

/// Both dialects at once, each with each; clients of 7/MDP get the parts of a reply as one. Only our broker does that.
#[test]
fn each_with_each_and_our_broker() {
    each_with_each(sinew_broker, &[&FIRST[..], &SECOND].concat());
}

#[test]
fn each_with_each_and_a_broker_of_libzmq() {
    let broker = |at: &str| Broker::Beside(libzmq::broker(at));
    each_with_each(broker, &FIRST);
}

#[test]
fn each_with_each_and_a_broker_of_pyzmq() {
    each_with_each(|at| pyzmq_broker(at, Dialect::V1), &FIRST);
}

/// 18/MDP, replies in parts.
#[test]
fn each_with_each_of_the_second_and_a_broker_of_pyzmq() {
    each_with_each(|at| pyzmq_broker(at, Dialect::V2), &SECOND);
}

/// MDP-09, another row: our workers and clients with a broker in Python, which is killed and comes back elsewhere.
#[test]
fn a_broker_of_pyzmq() {
    let Some(mut command) = pyzmq::command(pyzmq::BROKER, &["tcp://127.0.0.1:*"], Dialect::V1)
    else {
        return;
    };
    let brokers = [(); 2].map(|()| Running::start(&mut command));
    let at = brokers
        .each_ref()
        .map(|broker| broker.line().parse::<Endpoint>().unwrap());
    let context = Context::default();
    let worker =
        Worker::connect_slots(&context, &at, "echo", worker_config(Dialect::V1), 2).unwrap();
    let handle = worker.handle();
    let thread = thread::spawn(move || worker.serve(|request| Ok(request.take_body())));
    let client = client(&at, Dialect::V1);
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
