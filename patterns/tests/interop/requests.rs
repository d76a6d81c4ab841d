//! The shells against peers that are no Sinew: libzmq, its proxy, and programmes in Python that are written from the
//! frames of 28/REQREP and 7/MDP.

#[path = "../../tests/support/process.rs"]
#[allow(dead_code, reason = "shared; not all of it is needed here")]
mod process;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use process::{python, Running};
use sinew::{Context, Endpoint, Message};
use sinew_patterns::common::{Backoff, CallOptions, Heartbeat, Idem, RetryPolicy};
use sinew_patterns::mdp::{self, Worker, WorkerConfig};
use sinew_patterns::rpc::{Client, ClientConfig};
use sinew_patterns::Replies;

/// Long enough for any machine; no test waits for it unless something is broken.
const LONG: CallOptions = CallOptions {
    deadline: Duration::from_secs(60),
    idem: Idem::Safe,
    priority: 0,
};

/// RPC-08.
const CALLS: usize = 10_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn retry(attempt_timeout: Duration) -> RetryPolicy {
    RetryPolicy {
        attempt_timeout,
        max_attempts: 1000,
        backoff: Backoff {
            base: Duration::from_millis(5),
            max: Duration::from_millis(50),
        },
        budget: None,
        breaker: None,
    }
}

fn client(at: &[Endpoint]) -> Client {
    let config = ClientConfig {
        retry: retry(LONG.deadline),
        in_flight: 64,
        ..ClientConfig::default()
    };
    Client::connect(&Context::default(), at, config).unwrap()
}

/// So many calls, 64 of them with the servers at once, each with a body of several frames.
fn ask(client: &Client, calls: usize) {
    let mut pending = VecDeque::new();
    for number in 0..calls {
        if pending.len() == 256 {
            answered(pending.pop_front());
        }
        let body = Message::multipart(["body".to_owned(), number.to_string()]);
        pending.push_back((body.clone(), client.call_streaming(body, &LONG)));
    }
    while !pending.is_empty() {
        answered(pending.pop_front());
    }
}

fn answered(call: Option<(Message, Replies)>) {
    let (body, mut replies) = call.expect("there is one");
    assert_eq!(replies.next().unwrap().unwrap(), body);
}

/// A REP of libzmq that echoes until it is told to stop.
fn rep(context: &zmq::Context, connect: Option<&str>) -> (String, thread::JoinHandle<()>) {
    let socket = context.socket(zmq::REP).unwrap();
    match connect {
        Some(at) => socket.connect(at).unwrap(),
        None => socket.bind("tcp://127.0.0.1:*").unwrap(),
    }
    let at = socket.get_last_endpoint().unwrap().unwrap();
    let thread = thread::spawn(move || loop {
        let request = socket.recv_multipart(0).unwrap();
        let last = request == [b"stop".to_vec()];
        socket.send_multipart(request, 0).unwrap();
        if last {
            break;
        }
    });
    (at, thread)
}

/// RPC-08: REPs of libzmq, bound, and behind a ROUTER and DEALER that libzmq's own proxy joins.
#[test]
fn rep_of_libzmq_and_its_proxy() {
    let context = zmq::Context::new();
    let (at, thread) = rep(&context, None);
    let client = client(&[at.parse().unwrap()]);
    ask(&client, CALLS);
    assert_eq!(client.call("stop", &LONG).unwrap(), "stop".into());
    thread.join().unwrap();
    assert_eq!(client.counters().attempts, CALLS as u64 + 1);
    client.close();

    let front = context.socket(zmq::ROUTER).unwrap();
    front.bind("tcp://127.0.0.1:*").unwrap();
    let back = context.socket(zmq::DEALER).unwrap();
    back.bind("inproc://back").unwrap();
    let at: Endpoint = (front.get_last_endpoint().unwrap().unwrap())
        .parse()
        .unwrap();
    let steer = context.socket(zmq::PAIR).unwrap();
    steer.bind("inproc://steer").unwrap();
    let mut steered = context.socket(zmq::PAIR).unwrap();
    steered.connect("inproc://steer").unwrap();
    let proxy = thread::spawn(move || {
        let (mut front, mut back) = (front, back);
        zmq::proxy_steerable(&mut front, &mut back, &mut steered).unwrap();
    });
    let reps: Vec<_> = (0..3)
        .map(|_| rep(&context, Some("inproc://back")).1)
        .collect();
    let client = self::client(&[at]);
    ask(&client, CALLS);
    // In turn, so each of them has one.
    for _ in &reps {
        assert_eq!(client.call("stop", &LONG).unwrap(), "stop".into());
    }
    reps.into_iter().for_each(|rep| rep.join().unwrap());
    let counters = client.counters();
    assert_eq!(
        (counters.attempts, counters.malformed),
        (CALLS as u64 + 3, 0)
    );
    steer.send("TERMINATE", 0).unwrap();
    proxy.join().unwrap();
}

/// RPC-08, KB: REPs of pyzmq, one of which is killed.
#[test]
fn rep_of_pyzmq() {
    let programme = "
import zmq
rep = zmq.Context.instance().socket(zmq.REP); rep.bind('tcp://127.0.0.1:*')
print(rep.last_endpoint.decode().rstrip('\\0'))
while True: rep.send_multipart(rep.recv_multipart())
";
    let Some(mut command) = python(&root(), programme) else {
        return;
    };
    let servers = [(); 2].map(|()| Running::start(&mut command));
    let at = servers
        .each_ref()
        .map(|server| server.line().parse().unwrap());
    let client = client(&at);
    ask(&client, CALLS);
    let [first, _second] = servers;
    drop(first);
    ask(&client, 500);
    let counters = client.counters();
    assert_eq!(
        (counters.replies, counters.failures),
        (CALLS as u64 + 500, 0)
    );
}

/// A 7/MDP broker in a few lines: one request per worker, heartbeats to idle workers, MMI.
const BROKER: &str = r#"
import time, zmq
from collections import deque
s = zmq.Context.instance().socket(zmq.ROUTER); s.bind('tcp://127.0.0.1:*')
print(s.last_endpoint.decode().rstrip('\0'), flush=True)
W, C = b'MDPW01', b'MDPC01'
service_of, idle, waiting, seen = {}, {}, {}, {}
beat = time.monotonic()
def dispatch(name):
    q, free = waiting.setdefault(name, deque()), idle.setdefault(name, deque())
    while q and free:
        client, body = q.popleft()
        s.send_multipart([free.popleft(), b'', W, b'\x02', client, b''] + body)
while True:
    if s.poll(50):
        f = s.recv_multipart()
        who, empty, header = f[:3]
        assert empty == b'', f
        if header == C:
            name, body = f[3], f[4:]
            assert body, f
            if name == b'mmi.service':
                code = b'200' if body[-1] in service_of.values() else b'404'
                s.send_multipart([who, b'', C, name, code])
            else:
                waiting.setdefault(name, deque()).append((who, body)); dispatch(name)
        else:
            assert header == W, f
            command = f[3]
            if command == b'\x01':
                assert who not in service_of and len(f) == 5, f
                service_of[who] = f[4]; idle.setdefault(f[4], deque()).append(who); dispatch(f[4])
                print('ready', f[4].decode(), flush=True)
            elif command == b'\x03':
                name = service_of[who]
                assert f[5] == b'' and len(f) >= 7, f
                s.send_multipart([f[4], b'', C, name] + f[6:])
                idle[name].append(who); dispatch(name)
            elif command == b'\x05':
                name = service_of.pop(who)
                if who in idle[name]: idle[name].remove(who)
                print('gone', name.decode(), flush=True)
            else:
                assert command == b'\x04', f
    if time.monotonic() - beat > 0.1:
        beat = time.monotonic()
        for free in idle.values():
            for worker in free: s.send_multipart([worker, b'', W, b'\x04'])
"#;

/// MDP-09, another row: our workers and clients with a broker in Python, which is killed and comes back elsewhere.
#[test]
fn a_broker_of_pyzmq() {
    let Some(mut command) = python(&root(), BROKER) else {
        return;
    };
    let brokers = [(); 2].map(|()| Running::start(&mut command));
    let at = brokers
        .each_ref()
        .map(|broker| broker.line().parse::<Endpoint>().unwrap());
    let context = Context::default();
    let config = WorkerConfig {
        heartbeat: Heartbeat {
            interval: Duration::from_millis(100),
            liveness: 10,
            ..Heartbeat::default()
        },
        ..WorkerConfig::default()
    };
    let worker = Worker::connect_slots(&context, &at, "echo", config, 2).unwrap();
    let handle = worker.handle();
    let thread = thread::spawn(move || worker.serve(|request| Ok(request.take_body())));
    let config = mdp::ClientConfig {
        retry: retry(Duration::from_millis(500)),
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&context, &at, config).unwrap();
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
