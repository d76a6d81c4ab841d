//! Servers and workers that are told to drain while a handler does not come to an end.

use super::*;

const LINGER: Duration = Duration::from_millis(100);

/// A handler that has its request until it is told that nobody waits for it, and then until what is returned beside it is
/// dropped; and where it tells of both.
#[allow(clippy::type_complexity, reason = "the parts of a handler")]
fn endless() -> (
    impl Fn(&mut Request) -> Result<Message, Fault> + Send + Sync + 'static,
    mpsc::Sender<()>,
    mpsc::Receiver<&'static str>,
) {
    let (tell, told) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let handler = move |request: &mut Request| {
        let _ = tell.send("begun");
        while !request.is_cancelled() {
            thread::yield_now();
        }
        let _ = tell.send("cancelled");
        let _ = gate.lock().unwrap().recv();
        Ok("late".into())
    };
    (handler, go_on, told)
}

#[test]
fn a_server_ends_though_a_handler_does_not() {
    let (handler, go_on, told) = endless();
    let config = ServerConfig {
        linger: LINGER,
        ..ServerConfig::default()
    };
    let serving = serve("tcp://127.0.0.1:*", config, handler);
    let client = connect(&[&serving.at], ext());
    let mut call = client.call_streaming("x", &LONG);
    assert_eq!(told.recv_timeout(LONG.deadline), Ok("begun"));
    serving.handle.drain();
    let end = call.next().expect("an end");
    let Err(CallError::Remote(fault)) = end else {
        panic!("{end:?}");
    };
    assert_eq!(fault.status, Status::Failed, "it may have been done");
    assert!(fault.reason.contains("ended"), "{fault}");
    assert_eq!(told.recv_timeout(LONG.deadline), Ok("cancelled"));
    serving.handle.join();
    assert!(!serving.thread.is_finished(), "no handler is cut off");
    drop(go_on);
    serving.thread.join().unwrap().unwrap();
}

#[test]
fn what_a_worker_does_not_finish_is_for_another() {
    let broker = broker();
    let at = broker.endpoints().to_vec();
    let connect = |config| Worker::connect(&Context::default(), &at, "echo", config).unwrap();
    let (handler, go_on, told) = endless();
    let first = connect(WorkerConfig {
        linger: LINGER,
        ..worker_config(true)
    });
    let (handle, counters) = (first.handle(), first.handle());
    let thread = thread::spawn(move || first.serve(handler));
    let config = mdp::ClientConfig {
        ext: true,
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&Context::default(), &at, config).unwrap();
    let mut call = client.call_streaming("echo", "x", &LONG);
    assert_eq!(told.recv_timeout(LONG.deadline), Ok("begun"));
    let second = connect(worker_config(true));
    let other = second.handle();
    let serving = thread::spawn(move || second.serve(echo));
    handle.drain();
    assert_eq!(call.next().expect("a reply"), Ok("x".into()));
    assert_eq!(told.recv_timeout(LONG.deadline), Ok("cancelled"));
    handle.join();
    assert_eq!(counters.counters().requests, 0, "it has ended");
    assert!(!thread.is_finished(), "no handler is cut off");
    drop(go_on);
    thread.join().unwrap().unwrap();
    other.drain();
    serving.join().unwrap().unwrap();
}

/// A worker with several slots has one left when it is told to drain, and another that does not come to an end.
#[test]
fn what_comes_while_a_worker_drains_is_for_another() {
    let broker = broker();
    let at = broker.endpoints().to_vec();
    let (begun, begins) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let first = Worker::connect_slots(&Context::default(), &at, "echo", worker_config(true), 2);
    let first = first.unwrap();
    let handle = first.handle();
    let thread = thread::spawn(move || {
        first.serve(move |request| {
            begun.send(request.body().as_bytes().to_vec()).unwrap();
            let _ = gate.lock().unwrap().recv();
            Ok("finished".into())
        })
    });
    let config = mdp::ClientConfig {
        ext: true,
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&Context::default(), &at, config).unwrap();
    let mut slow = client.call_streaming("echo", "slow", &LONG);
    assert_eq!(begins.recv_timeout(LONG.deadline).unwrap(), b"slow");
    handle.drain();
    assert_eq!(handle.counters().requests, 1, "it has been told");
    // Nobody may begin with it twice, so that nobody may lose it.
    let once = CallOptions {
        idem: Idem::Once,
        ..LONG
    };
    let mut next = client.call_streaming("echo", "next", &once);
    let second = Worker::connect(&Context::default(), &at, "echo", worker_config(true)).unwrap();
    let other = second.handle();
    let serving = thread::spawn(move || second.serve(echo));
    assert_eq!(next.next().expect("a reply"), Ok("next".into()));
    drop(go_on);
    assert_eq!(slow.next().expect("a reply"), Ok("finished".into()));
    handle.join();
    thread.join().unwrap().unwrap();
    other.drain();
    serving.join().unwrap().unwrap();
}
