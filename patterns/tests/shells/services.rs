//! What broker and worker tell each other about requests, and what a broker is told.

use super::*;

/// A worker that speaks the extension header, and its READY as a router has it.
fn registered(config: WorkerConfig) -> (Router, Worker, Frame) {
    let context = Context::default();
    let (mut router, at) = raw_router(&context);
    let worker = Worker::connect(&context, &[at], "echo", config).unwrap();
    let ready = router.recv().unwrap().into_frames();
    assert_eq!(ready[3], "\x01");
    (router, worker, ready[0].clone())
}

/// Says that a header is not known here, to whoever asks, and returns what comes then.
fn refuse(router: &mut Router) -> Vec<Frame> {
    let mut question = router.recv().unwrap().into_frames();
    assert_eq!(question[3..], ["mmi.features", "ext/1"]);
    question[4] = "501".into();
    router.send(Message::multipart(question)).unwrap();
    router.recv().unwrap().into_frames()
}

/// Gives a worker a request of the client "c".
fn give(router: &mut Router, worker: &Frame, body: &str) {
    let frames = ["", "MDPW01", "\x02", "c", "", body].map(Frame::from);
    let request = [worker.clone()].into_iter().chain(frames);
    router.send(Message::multipart(request)).unwrap();
}

/// The next message of a worker that is more than a heartbeat, behind the header.
fn told(router: &mut Router) -> Vec<Frame> {
    loop {
        let frames = router.recv().unwrap().into_frames();
        if frames.len() > 4 {
            return frames[3..].to_vec();
        }
    }
}

#[test]
fn a_worker_asks_to_keep_its_request() {
    for knows in [true, false] {
        let (mut router, mut worker, name) = registered(worker_config(knows));
        give(&mut router, &name, "x");
        let mut request = worker.next().unwrap();
        request.extend(Duration::from_secs(3600));
        request.reply("y");
        let mut frames = told(&mut router);
        if knows {
            assert_eq!(frames[..2], ["\x04", "c"]);
            let ext = Ext::decode(&frames[2]).unwrap().unwrap();
            assert_eq!(ext.lease, Some(Duration::from_secs(3600)));
            frames = told(&mut router);
        }
        // Brokers that do not know the header hear nothing of it.
        assert_eq!(frames[..], ["\x03", "c", "", "y"]);
    }
}

#[test]
fn a_worker_hears_that_nobody_waits() {
    let broker = broker();
    let (context, at) = (Context::default(), broker.endpoints().to_vec());
    let mut worker = Worker::connect_slots(&context, &at, "echo", worker_config(true), 2).unwrap();
    let config = mdp::ClientConfig {
        ext: true,
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&context, &at, config).unwrap();
    let [given_up, wanted] =
        ["given up", "wanted"].map(|body| client.call_streaming("echo", body, &LONG));
    let [mut first, mut second] = [(); 2].map(|()| worker.next().unwrap());
    if first.body().as_bytes() != b"given up" {
        std::mem::swap(&mut first, &mut second);
    }
    assert!(!first.is_cancelled());
    drop(given_up);
    while !first.is_cancelled() {
        thread::yield_now();
    }
    assert!(!second.is_cancelled(), "another call's");
    first.reply("nobody reads this");
    second.reply("this is read");
    let read: Vec<_> = wanted.map(Result::unwrap).collect();
    assert_eq!(read, ["this is read".into()]);
    assert_eq!(worker.handle().counters().cancelled, 1);
    // A client that is gone.
    let _gone = client.call_streaming("echo", "x", &LONG);
    let request = worker.next().unwrap();
    client.close();
    while !request.is_cancelled() {
        thread::yield_now();
    }
}

#[test]
fn a_worker_is_sent_away_and_comes_back() {
    let (context, broker) = (Context::default(), broker());
    let (at, handle) = (broker.endpoints().to_vec(), broker.handle());
    let connect = || Worker::connect(&context, &at, "echo", worker_config(false)).unwrap();
    let mut first = connect();
    let client = mdp::Client::connect(&context, &at, Default::default()).unwrap();
    let call = client.call_streaming("echo", "x", &LONG);
    let held = first.next().unwrap();
    let workers = handle.workers("echo");
    assert_eq!((workers.len(), workers[0].in_flight), (1, 1));
    let mut second = connect();
    assert!(handle.disconnect(&workers[0].worker));
    assert!(!handle.disconnect(&workers[0].worker));
    second.next().unwrap().reply("y");
    // Of no use to anybody.
    held.reply("too late");
    assert_eq!(call.map(Result::unwrap).collect::<Vec<_>>(), ["y".into()]);
    while handle.workers("echo").len() < 2 {
        thread::yield_now();
    }
    assert_eq!(handle.counters().disconnected, 1);
}

#[test]
fn requests_of_one_key_go_one_after_the_other() {
    let context = Context::default();
    let policy = ServicePolicy {
        ordered_by_key: true,
        ..ServicePolicy::default()
    };
    let engine = BrokerEngine::new(BrokerConfig {
        policy,
        ..BrokerConfig::default()
    });
    let broker = Broker::bind(&context, &["tcp://127.0.0.1:*"], engine).unwrap();
    let at = broker.endpoints().to_vec();
    let mut worker = Worker::connect_slots(&context, &at, "echo", worker_config(true), 3).unwrap();
    let config = mdp::ClientConfig {
        ext: true,
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&context, &at, config).unwrap();
    let keyed = CallOptions {
        headers: Headers::new().with_key("account 7").unwrap(),
        ..LONG
    };
    let calls = [("1", &keyed), ("2", &keyed), ("other", &LONG)]
        .map(|(body, options)| client.call_streaming("echo", body, options));
    let mut next = || worker.next().unwrap();
    let (first, other) = (next(), next());
    assert_eq!(first.body().as_bytes(), b"1");
    assert_eq!(other.body().as_bytes(), b"other");
    let stats = broker.handle().service("echo").unwrap();
    assert_eq!((stats.ready, stats.held), (1, 1));
    first.reply("1");
    let second = next();
    assert_eq!(second.body().as_bytes(), b"2");
    second.reply("2");
    other.reply("other");
    let replies = calls.map(|mut call| call.next().unwrap().unwrap());
    assert_eq!(replies, ["1".into(), "2".into(), "other".into()]);
}

#[test]
fn workers_and_clients_find_out_what_brokers_speak() {
    let broker = broker();
    let (context, at) = (Context::default(), broker.endpoints().to_vec());
    let config = WorkerConfig {
        ask_ext: true,
        ..worker_config(false)
    };
    let worker = Worker::connect_slots(&context, &at, "echo", config, 2).unwrap();
    let handle = worker.handle();
    let thread = thread::spawn(move || worker.serve(echo));
    let asks = mdp::ClientConfig {
        ask_ext: true,
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&context, &at, asks).unwrap();
    let keyed = CallOptions {
        idem: Idem::Key(MsgId([7; 16])),
        ..LONG
    };
    assert_eq!(client.call("echo", "x", &keyed).unwrap(), "x".into());
    assert_eq!(client.call("echo", "x", &keyed).unwrap(), "x".into());
    assert_eq!(handle.counters().requests, 1, "the reply is kept");
    assert!(broker
        .handle()
        .workers("echo")
        .iter()
        .all(|worker| worker.ext));
    let rtt = client.counters().rtt;
    assert!(rtt.count == 2 && rtt.total >= rtt.longest, "{rtt:?}");
    handle.drain();
    thread.join().unwrap().unwrap();

    // A broker that knows nothing of it, as those of others are.
    let (mut router, at) = raw_router(&context);
    let worker = Worker::connect(&context, &[&at], "echo", config).unwrap();
    assert_eq!(refuse(&mut router)[1..], ["", "MDPW01", "\x01", "echo"]);
    let handle = worker.handle();
    handle.stop();
    handle.join();
    let (mut router, at) = raw_router(&context);
    let one_lane = mdp::ClientConfig { lanes: 1, ..asks };
    let client = mdp::Client::connect(&context, &[&at], one_lane).unwrap();
    let _call = client.call_streaming("echo", "y", &LONG);
    assert_eq!(refuse(&mut router)[1..], ["", "MDPC01", "echo", "y"]);
}
