//! Clients, servers, workers and brokers on real sockets, as a user writes them.

#[path = "shells/cancels.rs"]
mod cancels;
#[path = "shells/drain.rs"]
mod drain;
#[path = "shells/full.rs"]
mod full;
#[path = "shells/large.rs"]
mod large;
#[path = "shells/services.rs"]
mod services;
#[path = "shells/slow.rs"]
mod slow;
#[path = "shells/streams.rs"]
mod streams;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use sinew::{Context, Dealer, Endpoint, Frame, Message, Router};
use sinew_patterns::common::{
    CacheConfig, CallError, CallOptions, DedupStore, Ext, Fault, Headers, Heartbeat, Idem, Limits,
    MemoryStore, MsgId, Random, RetryPolicy, Scope, Status, StoreLimits,
};
use sinew_patterns::mdp::{
    self, Broker, BrokerConfig, BrokerEngine, Lease, ServicePolicy, Worker, WorkerConfig,
};
use sinew_patterns::rpc::{
    Client, ClientConfig, Dialect, Pick, Server, ServerConfig, ServerHandle,
};
use sinew_patterns::{DirectoryStore, Request, StartError};

/// Long enough for any machine; no test waits for it unless something is broken.
const LONG: CallOptions = CallOptions {
    deadline: Duration::from_secs(60),
    idem: Idem::Safe,
    priority: 0,
    headers: Headers::new(),
};

fn ext() -> ClientConfig {
    ClientConfig {
        dialect: Dialect::Ext,
        ..ClientConfig::default()
    }
}

/// A server on a thread.
struct Serving {
    at: Endpoint,
    handle: ServerHandle,
    thread: JoinHandle<Result<(), StartError>>,
}

fn serve(
    at: &str,
    config: ServerConfig,
    handler: impl Fn(&mut Request) -> Result<Message, Fault> + Send + Sync + 'static,
) -> Serving {
    serve_with(
        Server::bind(&Context::default(), &[at], config).unwrap(),
        handler,
    )
}

fn serve_with(
    server: Server,
    handler: impl Fn(&mut Request) -> Result<Message, Fault> + Send + Sync + 'static,
) -> Serving {
    let at = server.endpoints()[0].clone();
    let handle = server.handle();
    let thread = thread::spawn(move || server.serve(handler));
    Serving { at, handle, thread }
}

impl Serving {
    fn drain(self) {
        self.handle.drain();
        self.thread.join().unwrap().unwrap();
        self.handle.join();
    }
}

fn echo(request: &mut Request) -> Result<Message, Fault> {
    Ok(request.take_body())
}

fn connect(at: &[&Endpoint], config: ClientConfig) -> Client {
    let at: Vec<Endpoint> = at.iter().copied().cloned().collect();
    Client::connect(&Context::default(), &at, config).unwrap()
}

#[test]
fn many_threads_call_over_each_transport() {
    for at in ["tcp://127.0.0.1:*", "ipc://*", "inproc://shells-rpc"] {
        for config in [ClientConfig::default(), ext()] {
            let server = serve(at, ServerConfig::default(), echo);
            let client = connect(&[&server.at], config);
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let client = client.clone();
                    thread::spawn(move || {
                        for turn in 0..100 {
                            let body = Message::from(format!("{thread} {turn}"));
                            assert_eq!(client.call(body.clone(), &LONG).unwrap(), body);
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|t| t.join().unwrap());
            let counters = client.counters();
            assert_eq!((counters.calls, counters.replies), (400, 400), "{at}");
            assert_eq!(server.handle.counters().replies, 400);
            client.close();
            server.drain();
        }
    }
}

#[test]
fn another_server_when_one_ends() {
    let (first, second) = (
        serve("tcp://127.0.0.1:*", ServerConfig::default(), |_| {
            Ok("first".into())
        }),
        serve("tcp://127.0.0.1:*", ServerConfig::default(), |_| {
            Ok("second".into())
        }),
    );
    let client = connect(&[&first.at, &second.at], ext());
    let ask = |client: &Client| client.call("who?", &LONG).unwrap();
    let here = ask(&client);
    let (stays, goes) = match here == Message::from("first") {
        true => (second, first),
        false => (first, second),
    };
    goes.handle.stop();
    goes.thread.join().unwrap().unwrap();
    goes.handle.join();
    for _ in 0..10 {
        assert_ne!(ask(&client), here);
    }
    assert_eq!(client.counters().failures, 0);
    stays.drain();
}

/// RPC-02 on sockets: two calls with one key, one after the other and at once.
#[test]
fn one_key_is_carried_out_once() {
    let effects = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&effects);
    let config = ServerConfig {
        cache: Some(CacheConfig::default()),
        ..ServerConfig::default()
    };
    let server = serve("tcp://127.0.0.1:*", config, move |request| {
        assert!(request.id().is_some());
        let count = counted.fetch_add(1, Ordering::Relaxed);
        Ok(Message::from(count.to_string()))
    });
    let key = CallOptions {
        idem: Idem::Key(MsgId::random(&mut Random::new(1))),
        ..LONG
    };
    let clients = [connect(&[&server.at], ext()), connect(&[&server.at], ext())];
    let replies: Vec<_> = clients
        .iter()
        .map(|client| client.call_streaming("pay", &key))
        .collect();
    for replies in replies {
        for reply in replies {
            assert_eq!(reply.unwrap(), Message::from("0"));
        }
    }
    assert_eq!(clients[0].call("pay", &key).unwrap(), Message::from("0"));
    assert_eq!(effects.load(Ordering::Relaxed), 1);
    let plain = connect(&[&server.at], ClientConfig::default());
    assert_eq!(plain.call("pay", &key), Err(CallError::NeedsExt));
    server.drain();
}

/// RPC-02: each server is another life, and the one after it answers with what the one before it did.
#[test]
fn a_key_outlives_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let limits = StoreLimits {
        keys: 2,
        ..StoreLimits::default()
    };
    let files = DirectoryStore::open(directory.path(), limits).unwrap();
    let stores: [Arc<dyn DedupStore>; 3] = [
        Arc::new(MemoryStore::new(limits)),
        Arc::new(files.clone()),
        Arc::new(
            DirectoryStore::open(directory.path().join("synced"), limits)
                .unwrap()
                .synced(),
        ),
    ];
    let with_key = |number| CallOptions {
        idem: Idem::Key(MsgId::random(&mut Random::new(number))),
        ..LONG
    };
    for store in stores {
        let effects = Arc::new(AtomicU32::new(0));
        for _ in 0..3 {
            let (context, config) = (Context::default(), ServerConfig::default());
            let at = ["tcp://127.0.0.1:*"];
            let server = Server::bind_with_store(&context, &at, config, Arc::clone(&store));
            let counted = Arc::clone(&effects);
            let server = serve_with(server.unwrap(), move |request| {
                counted.fetch_add(1, Ordering::Relaxed);
                match request.body().as_bytes() {
                    b"fail" => Err(Fault::failed("no luck")),
                    _ => Ok(request.take_body()),
                }
            });
            let config = ClientConfig {
                retry: RetryPolicy {
                    max_attempts: 1,
                    ..RetryPolicy::default()
                },
                ..ext()
            };
            let client = connect(&[&server.at], config);
            assert_eq!(client.call("pay", &with_key(1)), Ok("pay".into()));
            let failed = Err(CallError::Remote(Fault::failed("no luck")));
            assert_eq!(client.call("fail", &with_key(2)), failed);
            // The store is full; what has no key does not need it.
            let full = client.call("pay", &with_key(3)).unwrap_err();
            let why = "the server declined: it is full (\"the store of keys is full\")";
            assert!(full.to_string().starts_with(why), "{full}");
            assert!(matches!(full, CallError::Rejected { .. }), "{full}");
            assert_eq!(client.call("pay", &LONG), Ok("pay".into()));
            server.drain();
        }
        assert_eq!(effects.load(Ordering::Relaxed), 2 + 3);
    }
    // What cannot be used is an error at the beginning.
    std::fs::remove_dir_all(directory.path().join("lives")).unwrap();
    let (context, config) = (Context::default(), ServerConfig::default());
    let bound = Server::bind_with_store(&context, &["tcp://127.0.0.1:*"], config, Arc::new(files));
    assert!(matches!(bound, Err(StartError::Store(_))));
}

/// RPC-10: parts in order, and a reader that goes away is noticed by the handler.
#[test]
fn parts_of_a_reply() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = serve(
        "tcp://127.0.0.1:*",
        ServerConfig::default(),
        move |request| {
            let mut part = 0u32;
            let endless = request.body().as_bytes() == b"endless";
            while endless || part < 1000 {
                if !request.partial(part.to_string()) {
                    let cancelled = request.is_cancelled();
                    tell.lock().unwrap().send((endless, cancelled)).unwrap();
                    return Err(Fault::failed("nobody reads"));
                }
                part += 1;
            }
            Ok("end".into())
        },
    );
    // None may be lost because the reader is slower than the writer.
    let config = ClientConfig {
        unread: 2000,
        ..ext()
    };
    let client = connect(&[&server.at], config);
    let replies: Vec<_> = client.call_streaming("1000", &LONG).collect();
    assert_eq!(replies.len(), 1001);
    for (number, reply) in replies[..1000].iter().enumerate() {
        assert_eq!(reply, &Ok(Message::from(number.to_string())));
    }
    assert_eq!(replies[1000], Ok("end".into()));
    assert_eq!(client.call("1000", &LONG).unwrap().frame_count(), 1001);
    // At its deadline the handler would end, too.
    let a_day = CallOptions {
        deadline: Duration::from_secs(86_400),
        ..LONG
    };
    let mut endless = client.call_streaming("endless", &a_day);
    assert_eq!(endless.next(), Some(Ok("0".into())));
    drop(endless);
    // The handler hears of it, and ends.
    assert_eq!(told.recv_timeout(LONG.deadline), Ok((true, true)));
    server.drain();
    assert_eq!(client.counters().failures, 1);
}

#[test]
fn handlers_that_fail_panic_or_forget() {
    let server = serve(
        "tcp://127.0.0.1:*",
        ServerConfig::default(),
        |request| match request.body().as_bytes() {
            b"fail" => Err(Fault::failed("no luck")),
            b"panic" => panic!("a handler of this test panics"),
            _ => echo(request),
        },
    );
    let client = connect(&[&server.at], ext());
    let fault = |reply: Result<Message, CallError>| match reply {
        Err(CallError::Remote(fault)) => fault.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(client.call("fail", &LONG)), "no luck");
    assert_eq!(fault(client.call("panic", &LONG)), "the handler panicked");
    assert_eq!(client.call("hello", &LONG).unwrap(), Message::from("hello"));
    server.drain();

    let mut server = Server::bind(
        &Context::default(),
        &["tcp://127.0.0.1:*"],
        ServerConfig::default(),
    )
    .unwrap();
    let client = connect(&[&server.endpoints()[0].clone()], ext());
    let replies = client.call_streaming("forget me", &LONG);
    drop(server.next().unwrap());
    for reply in replies {
        assert_eq!(fault(reply), "the handler gave no reply");
    }
}

/// RPC-07, RPC-09 and the end of a client, without any waiting for time.
#[test]
fn too_much_too_late_and_closed() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let config = ServerConfig {
        concurrency: 1,
        queue: Limits {
            messages: 1,
            ..Limits::default()
        },
        ..ServerConfig::default()
    };
    let server = serve("tcp://127.0.0.1:*", config, move |request| {
        gate.lock().unwrap().recv().unwrap();
        echo(request)
    });
    let hasty = RetryPolicy {
        max_attempts: 1,
        breaker: None,
        ..RetryPolicy::default()
    };
    let client = connect(
        &[&server.at],
        ClientConfig {
            retry: hasty,
            calls: 4,
            ..ext()
        },
    );
    let mut calls: Vec<_> = (0..3).map(|_| client.call_streaming("x", &LONG)).collect();
    // One runs, one waits, one is declined; which of them came first is known, for all go one way.
    let declined = calls.pop().unwrap().next().unwrap();
    assert!(
        matches!(
            declined,
            Err(CallError::Rejected {
                status: Status::Rejected,
                retry_after: Some(_),
                maybe_executed: false,
                ..
            })
        ),
        "{declined:?}"
    );
    let at_once = CallOptions {
        deadline: Duration::ZERO,
        ..LONG
    };
    assert!(matches!(
        client.call("late", &at_once),
        Err(CallError::Disconnected { attempts: 0, .. } | CallError::TimedOut { .. })
    ));
    let more: Vec<_> = (0..3).map(|_| client.call_streaming("y", &LONG)).collect();
    let ends: Vec<_> = more.into_iter().flatten().collect();
    assert!(
        ends.iter()
            .any(|end| matches!(end, Err(CallError::TooMany { .. }))),
        "{ends:?}"
    );
    go.send(()).unwrap();
    go.send(()).unwrap();
    for call in calls {
        assert_eq!(call.last().unwrap().unwrap(), Message::from("x"));
    }
    let left = client.call_streaming("left", &LONG);
    client.close();
    let end = left.last().unwrap();
    assert!(matches!(end, Err(CallError::Closed { .. })), "{end:?}");
    // It may have reached the server.
    let _ = go.send(());
    server.drain();
}

/// A peer that speaks frames.
fn raw_router(context: &Context) -> (Router, Endpoint) {
    let watchdog = Duration::from_secs(60);
    let builder = Router::builder().context(context).recv_timeout(watchdog);
    let mut router = builder.build().unwrap();
    let at = router.bind("tcp://127.0.0.1:*").unwrap();
    (router, at)
}

/// A header that gives a request a millisecond, or none.
fn in_a_moment() -> Frame {
    let mut ext = Ext::default();
    ext.deadline = Some(Duration::from_millis(1));
    ext.encode().unwrap()
}

/// The deadline of a request that is here already is over.
fn a_moment_passes() {
    let over = Instant::now() + Duration::from_millis(2);
    while Instant::now() < over {
        thread::yield_now();
    }
}

fn polls_to_nothing(future: impl Future<Output = Option<Request>>) -> bool {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    (future.as_mut())
        .poll(&mut TaskContext::from_waker(&waker))
        .is_pending()
}

/// RPC-09: requests that nobody took before their deadline was over reach no handler, whoever takes the next one, and
/// however.
#[test]
fn what_nobody_took_in_time_reaches_no_handler() {
    let context = Context::default();
    let config = ServerConfig::default();
    let mut server = Server::bind(&context, &["tcp://127.0.0.1:*"], config).unwrap();
    let handle = server.handle();
    let mut dealer = Dealer::builder()
        .context(&context)
        .recv_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    dealer.connect(&server.endpoints()[0]).unwrap();
    for turn in 1..=2 {
        let request = [Frame::from("1"), "".into(), in_a_moment(), "late".into()];
        dealer.send(Message::multipart(request)).unwrap();
        while handle.load().2 == 0 {
            thread::yield_now();
        }
        a_moment_passes();
        match turn {
            1 => assert!(server.next_deadline(Instant::now()).is_none()),
            _ => assert!(polls_to_nothing(server.next_async())),
        }
        let reply = dealer.recv().unwrap();
        let ext = Ext::decode(reply.frame(2).unwrap()).unwrap().unwrap();
        assert_eq!(ext.status, Some(Status::Expired));
        assert_eq!(handle.counters().expired, turn);
    }
    assert_eq!(handle.counters().started, 0);

    let (mut router, at) = raw_router(&context);
    let config = WorkerConfig {
        ext: true,
        ..WorkerConfig::default()
    };
    let mut worker = Worker::connect(&context, &[at], "echo", config).unwrap();
    let handle = worker.handle();
    let ready = router.recv().unwrap().into_frames();
    let head = [ready[0].clone(), "".into(), "MDPW01".into(), "\x02".into()];
    let rest = ["c".into(), "".into(), in_a_moment(), "late".into()];
    let request = head.into_iter().chain(rest);
    router.send(Message::multipart(request)).unwrap();
    while handle.counters().requests == 0 {
        thread::yield_now();
    }
    a_moment_passes();
    assert!(polls_to_nothing(worker.next_async()));
    let counters = loop {
        let reply = router.recv().unwrap().into_frames();
        // Heartbeats have four frames.
        if reply.len() > 4 {
            let ext = Ext::decode(&reply[6]).unwrap().unwrap();
            assert_eq!(ext.status, Some(Status::Expired));
            break handle.counters();
        }
    };
    assert_eq!((counters.expired, counters.requests), (1, 0));
}

/// SUB-04: with [`Scope::Progress`] a handler that stands still is silent, and loses its request; one that says that it goes
/// on is not.
#[test]
fn heartbeats_vouch_for_the_handler() {
    let heartbeat = Heartbeat {
        interval: Duration::from_millis(10),
        liveness: 2,
        scope: Scope::Progress,
    };
    let config = WorkerConfig {
        ext: true,
        heartbeat,
        ..WorkerConfig::default()
    };
    let context = Context::default();
    let broker = BrokerConfig {
        policy: ServicePolicy {
            lease: Lease::WhileHeartbeating(Duration::from_millis(100)),
            max_deliveries: 1,
            ..ServicePolicy::default()
        },
        ..BrokerConfig::default()
    };
    let broker = Broker::bind(&context, &["tcp://127.0.0.1:*"], BrokerEngine::new(broker)).unwrap();
    let at = broker.endpoints().to_vec();
    let mut worker = Worker::connect(&context, &at, "echo", config).unwrap();
    let client = mdp::ClientConfig {
        ext: true,
        retry: RetryPolicy {
            max_attempts: 1,
            ..RetryPolicy::default()
        },
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&context, &at, client).unwrap();
    let call = client.call_streaming("echo", "x", &LONG);
    let still = worker.next().unwrap();
    let end = call.last().unwrap();
    assert!(matches!(end, Err(CallError::Remote(_))), "{end:?}");
    drop((still, worker));

    let (mut router, at) = raw_router(&context);
    let mut worker = Worker::connect(&context, &[at], "echo", config).unwrap();
    let ready = router.recv().unwrap().into_frames();
    let head = [ready[0].clone(), "".into(), "MDPW01".into(), "\x02".into()];
    let rest = ["c".into(), "".into(), "x".into()];
    let request = head.into_iter().chain(rest);
    router.send(Message::multipart(request)).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let mut request = worker.next().unwrap();
        let pause = Duration::from_millis(1);
        while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
            request.progress();
        }
        drop(request);
    });
    // Without progress there would be three at most.
    for _ in 0..20 {
        assert_eq!(router.recv().unwrap().frame_count(), 4, "a heartbeat");
    }
    drop(stop);
    thread.join().unwrap();
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor of a few lines.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// RPC-11: futures that are dropped half-way leave nothing behind and touch no other call.
#[test]
fn tasks_call_too_and_may_be_dropped() {
    let server = serve("tcp://127.0.0.1:*", ServerConfig::default(), echo);
    let config = ClientConfig {
        calls: 100_000,
        ..ext()
    };
    let client = connect(&[&server.at], config);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    for turn in 0..10_000 {
        let mut dropped = Box::pin(client.call_async("dropped", &LONG));
        if turn % 2 == 0 {
            let _ = dropped.as_mut().poll(&mut TaskContext::from_waker(&waker));
        }
        drop(dropped);
        if turn % 100 == 0 {
            let reply = block_on(client.call_async("kept", &LONG));
            assert_eq!(reply.unwrap(), Message::from("kept"));
        }
    }
    let counters = client.counters();
    assert_eq!(counters.calls, 10_100);
    // Some had their reply before they were dropped.
    assert!(counters.replies >= 100 && counters.replies + counters.failures == 10_100);
    client.close();
    server.drain();
}

/// A broker for a test.
fn broker() -> Broker {
    let config = BrokerConfig {
        heartbeat: Heartbeat {
            interval: Duration::from_millis(500),
            ..Heartbeat::default()
        },
        cache: Some(CacheConfig::default()),
        ..BrokerConfig::default()
    };
    Broker::bind(
        &Context::default(),
        &["tcp://127.0.0.1:*"],
        BrokerEngine::new(config),
    )
    .unwrap()
}

fn worker_config(ext: bool) -> WorkerConfig {
    WorkerConfig {
        ext,
        heartbeat: Heartbeat {
            interval: Duration::from_millis(500),
            ..Heartbeat::default()
        },
        ..WorkerConfig::default()
    }
}

#[test]
fn services_behind_a_broker() {
    let dialects = [mdp::Dialect::V1, mdp::Dialect::V2];
    for (ext, dialect) in [false, true]
        .into_iter()
        .flat_map(|ext| dialects.map(|d| (ext, d)))
    {
        let broker = broker();
        let at = broker.endpoints().to_vec();
        let config = WorkerConfig {
            dialect,
            ..worker_config(ext)
        };
        let worker = Worker::connect_slots(&Context::default(), &at, "echo", config, 3).unwrap();
        let handle = worker.handle();
        let thread = thread::spawn(move || worker.serve(echo));
        let config = mdp::ClientConfig {
            ext,
            dialect,
            ..mdp::ClientConfig::default()
        };
        let client = mdp::Client::connect(&Context::default(), &at, config).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let client = client.clone();
                thread::spawn(move || {
                    for turn in 0..50 {
                        let body = Message::from(format!("{thread} {turn}"));
                        assert_eq!(client.call("echo", body.clone(), &LONG).unwrap(), body);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        // Where something stalls for long, a client asks again, and a worker is taken for lost and given up. Each request
        // that came was sent by the client, and each reply was sent by a worker that had been given a request; where
        // nothing stalls that makes 200 of each.
        let asked = client.counters();
        assert_eq!((asked.calls, asked.replies), (200, 200));
        assert_eq!(asked.attempts - asked.retries, 200);
        let before = broker.handle().counters();
        let sent = handle.counters().replies;
        let after = broker.handle().counters();
        assert!(
            (200..=asked.attempts).contains(&before.requests),
            "{before:?} {asked:?}"
        );
        assert!(
            (200..=before.requests).contains(&before.replies),
            "{before:?}"
        );
        assert!(
            (before.replies..=after.dispatched).contains(&sent),
            "{before:?} {sent} {after:?}"
        );
        assert!(
            after.dispatched - after.redelivered <= after.requests,
            "{after:?}"
        );
        // It is there again before long.
        let lost = || {
            let expired = broker.handle().counters().workers_expired;
            assert!(expired + handle.counters().reconnects > 0);
            thread::yield_now();
        };
        while !client.available("echo", &LONG).unwrap() {
            lost();
        }
        assert!(!client.available("nothing", &LONG).unwrap());
        while !block_on(client.available_async("echo", &LONG)).unwrap() {
            lost();
        }
        assert!(!block_on(client.available_async("nothing", &LONG)).unwrap());
        let services = loop {
            let services = broker.handle().services();
            if !services.is_empty() {
                break services;
            }
            lost();
        };
        assert_eq!(services, [b"echo".to_vec()]);
        // MDP-13: the workers end, and the broker knows at once.
        handle.drain();
        thread.join().unwrap().unwrap();
        handle.join();
        while broker.handle().service("echo").is_some() {
            thread::yield_now();
        }
        client.close();
        broker.handle().drain();
        broker.run();
    }
}

/// MDP-04: two brokers, one of which ends; workers and clients go on with the other.
#[test]
fn another_broker_when_one_ends() {
    let context = Context::default();
    let brokers = [broker(), broker()];
    let at: Vec<Endpoint> = brokers.iter().map(|b| b.endpoints()[0].clone()).collect();
    // A worker at each of them, and one that changes over.
    let orders = [vec![&at[0], &at[1]], vec![&at[1], &at[0]]];
    let workers: Vec<_> = orders
        .iter()
        .map(|order| {
            let order: Vec<Endpoint> = order.iter().copied().cloned().collect();
            let worker = Worker::connect(&context, &order, "echo", worker_config(true)).unwrap();
            let handle = worker.handle();
            (handle, thread::spawn(move || worker.serve(echo)))
        })
        .collect();
    let config = mdp::ClientConfig {
        ext: true,
        ..mdp::ClientConfig::default()
    };
    let client = mdp::Client::connect(&context, &at, config).unwrap();
    assert_eq!(client.call("echo", "1", &LONG).unwrap(), Message::from("1"));
    let [first, second] = brokers;
    first.handle().stop();
    first.run();
    for turn in 0..20 {
        let body = Message::from(turn.to_string());
        assert_eq!(client.call("echo", body.clone(), &LONG).unwrap(), body);
    }
    for (handle, thread) in workers {
        handle.drain();
        thread.join().unwrap().unwrap();
    }
    client.close();
    second.handle().drain();
    second.run();
}

#[test]
fn no_endpoint_and_no_sense() {
    let context = Context::default();
    let none: [&str; 0] = [];
    let error = Client::connect(&context, &none, ClientConfig::default()).unwrap_err();
    assert!(matches!(error, StartError::NoEndpoint));
    let error = Client::connect(&context, &["tcp://"], ClientConfig::default()).unwrap_err();
    assert!(error.to_string().contains("tcp://"), "{error}");
    let server = Server::bind(&context, &["tcp://127.0.0.1:*"], ServerConfig::default()).unwrap();
    let taken = &server.endpoints()[..1];
    let error = Server::bind(&context, taken, ServerConfig::default()).unwrap_err();
    assert!(matches!(error, StartError::Bind(_)), "{error}");
}

/// A call that the first server does not answer is asked of another while the first still has it.
#[test]
fn a_slow_server_costs_a_moment() {
    let context = Context::default();
    // Who has a request first keeps it; who has it second replies.
    let seen = Arc::new(AtomicU32::new(0));
    let servers = ["one", "two"].map(|name| {
        let (mut rep, seen) = (sinew::Rep::new(), Arc::clone(&seen));
        let at = rep.bind("tcp://127.0.0.1:*").unwrap();
        let serve = move || loop {
            match rep.recv().unwrap().as_bytes() {
                b"who" => rep.send(name).unwrap(),
                b"stop" => return rep.send("stops").unwrap(),
                _ if seen.fetch_add(1, Ordering::SeqCst) == 0 => {
                    rep.skip_reply();
                }
                _ => rep.send("in time").unwrap(),
            }
        };
        (at, thread::spawn(serve))
    });
    let at = servers.each_ref().map(|(at, _)| at.clone());
    let config = ClientConfig {
        pick: Pick::LeastLoaded,
        retry: RetryPolicy {
            attempt_timeout: LONG.deadline,
            hedge_after: Some(Duration::from_millis(5)),
            budget: None,
            ..RetryPolicy::default()
        },
        ..ClientConfig::default()
    };
    let client = Client::connect(&context, &at, config).unwrap();
    let ask = |body: &str| {
        let pair = [(); 2].map(|()| client.call_streaming(body, &LONG));
        pair.map(|mut replies| replies.next().unwrap().unwrap())
    };
    // Both are there.
    loop {
        let [one, other] = ask("who");
        if one != other {
            break;
        }
    }
    let before = client.counters().hedges;
    assert_eq!(client.call("work", &LONG).unwrap(), "in time".into());
    assert_eq!(client.counters().hedges, before + 1);
    let _ = ask("stop");
    for (_, thread) in servers {
        thread.join().unwrap();
    }
}
