//! The requester against real servers: ones that lose requests, die, come back, or never were there.

#[path = "../../tests/support/process.rs"]
#[allow(dead_code, reason = "shared; not all of it is needed here")]
mod process;

use std::path::Path;
use std::thread;
use std::time::Duration;

use process::{python, Running};
use sinew::{Context, Endpoint, Rep};
use sinew_patterns::rpc::{
    Backoff, CallError, CallOptions, Headers, Idem, Requester, RequesterConfig,
};

/// Long enough for any machine; no test waits for it unless something is broken.
const LONG: CallOptions = CallOptions {
    deadline: Duration::from_secs(60),
    idem: Idem::Safe,
    priority: 0,
    headers: Headers::new(),
};

fn config(attempt_timeout: Duration) -> RequesterConfig {
    RequesterConfig {
        attempt_timeout,
        max_attempts: 1000,
        backoff: Backoff {
            base: Duration::from_millis(1),
            max: Duration::from_millis(20),
        },
        budget: None,
    }
}

fn requester(endpoints: &[&Endpoint], attempt_timeout: Duration) -> Requester {
    let endpoints: Vec<Endpoint> = endpoints.iter().copied().cloned().collect();
    Requester::connect(&Context::default(), &endpoints, config(attempt_timeout)).unwrap()
}

fn server() -> (Rep, Endpoint) {
    let mut server = Rep::new();
    let endpoint = server.bind("tcp://127.0.0.1:*").unwrap();
    (server, endpoint)
}

#[test]
fn a_server_that_drops_the_first_requests() {
    let (mut server, endpoint) = server();
    let thread = thread::spawn(move || {
        for _ in 0..3 {
            server.recv().unwrap();
            assert!(server.skip_reply());
        }
        let request = server.recv().unwrap();
        server.send(request).unwrap();
        server.close();
    });
    let mut requester = requester(&[&endpoint], Duration::from_millis(50));
    assert_eq!(requester.call("again", &LONG).unwrap().as_bytes(), b"again");
    let counters = requester.counters();
    assert_eq!(
        (counters.calls, counters.replies, counters.failures),
        (1, 1, 0)
    );
    assert!(counters.attempts >= 4, "{counters:?}");
    thread.join().unwrap();
}

#[test]
fn a_server_that_dies_with_the_request_and_comes_back() {
    let (mut server, endpoint) = server();
    let thread = thread::spawn({
        let endpoint = endpoint.clone();
        move || {
            server.recv().unwrap();
            server.unbind(&endpoint).unwrap();
            server.close();
            let mut server = Rep::new();
            server.bind(&endpoint).unwrap();
            let request = server.recv().unwrap();
            server.send(request).unwrap();
            server.close();
        }
    });
    // The loss is noticed: no attempt timer is needed.
    let mut requester = requester(&[&endpoint], LONG.deadline);
    assert_eq!(requester.call("again", &LONG).unwrap().as_bytes(), b"again");
    assert_eq!(requester.counters().attempts, 2);
    thread.join().unwrap();
}

#[test]
fn a_request_that_may_be_sent_only_once() {
    let (mut server, endpoint) = server();
    let thread = thread::spawn(move || {
        server.recv().unwrap();
        server.close();
    });
    let mut requester = requester(&[&endpoint], Duration::from_millis(50));
    let once = CallOptions {
        idem: Idem::Once,
        ..LONG
    };
    let error = requester.call("pay", &once).unwrap_err();
    let expected = CallError::Disconnected {
        attempts: 1,
        maybe_executed: true,
    };
    assert_eq!(error, expected);
    assert_eq!(requester.counters().attempts, 1);
    thread.join().unwrap();
}

#[test]
fn no_server_at_all() {
    // A path of its own, which nobody else will bind to; a port might be given to another test.
    let mut server = Rep::new();
    let endpoint = server.bind("ipc://*").unwrap();
    server.close();
    let mut requester = requester(&[&endpoint], Duration::from_millis(20));
    let options = CallOptions {
        deadline: Duration::from_millis(200),
        ..CallOptions::default()
    };
    let error = requester.call("anyone?", &options).unwrap_err();
    let expected = CallError::Disconnected {
        attempts: 0,
        maybe_executed: false,
    };
    assert_eq!(error, expected);
    assert!(!error.maybe_executed());
}

#[test]
fn a_silent_server_and_another() {
    let (silent, first) = server();
    let (mut server, second) = server();
    let thread = thread::spawn(move || {
        for _ in 0..2 {
            let request = server.recv().unwrap();
            server.send(request).unwrap();
        }
        server.close();
    });
    let mut requester = requester(&[&first, &second], Duration::from_millis(100));
    assert_eq!(requester.call("one", &LONG).unwrap().as_bytes(), b"one");
    let attempts = requester.counters().attempts;
    assert!(attempts >= 2);
    // The next call begins with the server that replied.
    assert_eq!(requester.call("two", &LONG).unwrap().as_bytes(), b"two");
    drop(silent);
    thread.join().unwrap();
}

#[test]
fn a_late_reply_is_not_taken_for_another() {
    let (mut server, endpoint) = server();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let request = server.recv().unwrap();
        server.send(request).unwrap();
        let late = server.recv().unwrap();
        wait.recv().unwrap();
        server.send(late).unwrap();
        let request = server.recv().unwrap();
        server.send(request).unwrap();
        server.close();
    });
    let mut requester = requester(&[&endpoint], LONG.deadline);
    // From here on there is a connection.
    requester.call("hello", &LONG).unwrap();
    let short = CallOptions {
        deadline: Duration::from_millis(500),
        ..LONG
    };
    let error = requester.call("first", &short).unwrap_err();
    let expected = CallError::TimedOut {
        attempts: 1,
        maybe_executed: true,
    };
    assert_eq!(error, expected);
    go.send(()).unwrap();
    assert_eq!(
        requester.call("second", &LONG).unwrap().as_bytes(),
        b"second"
    );
    thread.join().unwrap();
}

#[test]
fn python_servers() {
    let programme = "
import zmq
rep = zmq.Context.instance().socket(zmq.REP); rep.bind('tcp://127.0.0.1:*')
print(rep.last_endpoint.decode().rstrip('\\0'))
while True: rep.send(rep.recv())
";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let Some(mut command) = python(&root, programme) else {
        return;
    };
    let servers = [(); 2].map(|()| Running::start(&mut command));
    let endpoints = servers.each_ref().map(|server| server.line());
    let mut requester = Requester::connect(
        &Context::default(),
        &endpoints,
        config(Duration::from_secs(5)),
    )
    .unwrap();
    for turn in 0..100 {
        let body = format!("request {turn}");
        let reply = requester.call(body.as_str(), &LONG).unwrap();
        assert_eq!(reply.as_bytes(), body.as_bytes());
    }
    let [first, _second] = servers;
    drop(first);
    for turn in 0..100 {
        let body = format!("request {turn}");
        let reply = requester.call(body.as_str(), &LONG).unwrap();
        assert_eq!(reply.as_bytes(), body.as_bytes());
    }
    assert_eq!(requester.counters().failures, 0);
}
