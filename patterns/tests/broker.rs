//! The Majordomo broker on a real socket, with workers and clients written from the frames of 7/MDP: ones of
//! Sinew's sockets, and ones of pyzmq in processes that are killed.

#[path = "../../tests/support/process.rs"]
#[allow(dead_code, reason = "shared; not all of it is needed here")]
mod process;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use process::{python, Running};
use sinew::{Dealer, Endpoint, Message, Req, Router};
use sinew_patterns::common::Heartbeat;
use sinew_patterns::mdp::{BrokerConfig, BrokerCounters, BrokerEngine};
use sinew_patterns::RouterShell;

/// Long enough for any machine; nothing waits for it unless something is broken.
const LONG: Duration = Duration::from_secs(60);

/// A broker on a thread of its own.
struct Serving {
    endpoint: Endpoint,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BrokerCounters>,
}

impl Serving {
    fn start() -> Self {
        let mut router = Router::new();
        let endpoint = router.bind("tcp://127.0.0.1:*").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let config = BrokerConfig {
                heartbeat: Heartbeat {
                    interval: Duration::from_millis(500),
                    ..Heartbeat::default()
                },
                ..BrokerConfig::default()
            };
            let mut shell = RouterShell::new(router, BrokerEngine::new(config));
            while !stopped.load(Ordering::Relaxed) {
                let _ = shell.next_event(Instant::now() + Duration::from_millis(50));
            }
            shell.engine().counters()
        });
        Serving {
            endpoint,
            stop,
            thread,
        }
    }

    fn stop(self) -> BrokerCounters {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn worker(endpoint: &Endpoint, service: &str) -> Dealer {
    let mut worker = Dealer::builder()
        .recv_timeout(LONG)
        .connect(endpoint)
        .unwrap();
    let ready = Message::multipart(["", "MDPW01", "\x01", service]);
    worker.send(ready).unwrap();
    worker
}

/// Replies to one request, with its own body.
fn echo(worker: &mut Dealer) {
    let mut frames = worker.recv().unwrap().into_frames();
    assert_eq!(
        (&frames[1][..], &frames[2][..]),
        (&b"MDPW01"[..], &b"\x02"[..])
    );
    frames[2] = b"\x03".into();
    worker.send(Message::multipart(frames)).unwrap();
}

fn client(endpoint: &Endpoint) -> Req {
    // 7/MDP has no place for the id by which Sinew's REQ tells replies.
    let client = Req::builder().correlated(false).recv_timeout(LONG);
    client.connect(endpoint).unwrap()
}

fn ask(client: &mut Req, service: &str, body: &str) -> Message {
    client
        .send(Message::multipart(["MDPC01", service, body]))
        .unwrap();
    let reply = client.recv().unwrap();
    assert_eq!(reply.frame(0).unwrap(), "MDPC01");
    assert_eq!(reply.frame(1).unwrap(), service);
    reply.into_frames().split_off(2).into_iter().collect()
}

#[test]
fn a_client_and_a_worker() {
    let broker = Serving::start();
    let mut worker = worker(&broker.endpoint, "echo");
    let thread = thread::spawn(move || {
        for _ in 0..100 {
            echo(&mut worker);
        }
        worker.close();
    });
    let mut client = client(&broker.endpoint);
    for turn in 0..100 {
        let body = format!("request {turn}");
        assert_eq!(ask(&mut client, "echo", &body), body.into());
    }
    thread.join().unwrap();
    assert_eq!(broker.stop().replies, 100);
}

/// MDP-01: the worker goes with its request, and another gets it: at once, for the connection is lost.
#[test]
fn a_worker_that_goes_away_with_its_request() {
    let broker = Serving::start();
    let mut lost = worker(&broker.endpoint, "echo");
    let mut client = client(&broker.endpoint);
    let asking = thread::spawn(move || ask(&mut client, "echo", "hello"));
    lost.recv().unwrap();
    let mut second = worker(&broker.endpoint, "echo");
    lost.close();
    echo(&mut second);
    assert_eq!(asking.join().unwrap(), "hello".into());
    assert_eq!(broker.stop().redelivered, 1);
}

/// MDP-09, one row of the matrix: workers and a client of pyzmq, written from the frames. One worker is
/// killed with a request.
#[test]
fn python_workers_and_clients() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let worker = "
import sys, zmq
s = zmq.Context.instance().socket(zmq.DEALER); s.connect(sys.argv[1])
s.send_multipart([b'', b'MDPW01', b'\\x01', b'echo'])
print('ready', flush=True)
while True:
    f = s.recv_multipart()
    if f[2] == b'\\x02':
        if f[-1] == b'stop here' and sys.argv[2] == 'stops':
            print('stopped', flush=True)
            while True: s.poll(60000, zmq.POLLERR)
        s.send_multipart([b'', b'MDPW01', b'\\x03', f[3], b''] + f[5:])
";
    let client = "
import sys, zmq
s = zmq.Context.instance().socket(zmq.REQ); s.connect(sys.argv[1])
for i in range(1000):
    body = [b'request', str(i).encode()]
    s.send_multipart([b'MDPC01', b'echo'] + body)
    assert s.recv_multipart() == [b'MDPC01', b'echo'] + body
s.send_multipart([b'MDPC01', b'mmi.service', b'echo'])
assert s.recv_multipart() == [b'MDPC01', b'mmi.service', b'200']
print('done', flush=True)
";
    let broker = Serving::start();
    let Some(mut command) = python(&root, worker) else {
        broker.stop();
        return;
    };
    let first = Running::start(command.arg(broker.endpoint.to_string()).arg("stops"));
    assert_eq!(first.line(), "ready");
    let mut command = python(&root, client).unwrap();
    let asking = Running::start(command.arg(broker.endpoint.to_string()));
    assert_eq!(asking.line(), "done");
    // Nobody else is there: it goes to this one, which keeps it and is killed.
    let mut native = self::client(&broker.endpoint);
    let waiting = thread::spawn(move || ask(&mut native, "echo", "stop here"));
    assert_eq!(first.line(), "stopped");
    let mut command = python(&root, worker).unwrap();
    let second = Running::start(command.arg(broker.endpoint.to_string()).arg("goes on"));
    assert_eq!(second.line(), "ready");
    drop(first);
    assert_eq!(waiting.join().unwrap(), "stop here".into());
    let counters = broker.stop();
    assert_eq!((counters.redelivered, counters.replies), (1, 1001));
}
