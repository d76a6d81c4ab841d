//! Request and reply over a network that holds, cuts, splits and doubles.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sinew::{Context, Endpoint, Message};
use sinew_patterns::common::{CacheConfig, CallError, CallOptions, Idem, MsgId, Random};
use sinew_patterns::rpc::{Server, ServerConfig, ServerHandle};
use sinew_patterns::StartError;

use crate::proxy::Proxy;
use crate::requests::{client, LONG};

type Effects = Arc<Mutex<BTreeMap<String, u32>>>;

/// A server that writes down what it carries out.
pub(crate) struct Serving {
    pub(crate) at: Endpoint,
    handle: ServerHandle,
    thread: JoinHandle<Result<(), StartError>>,
    effects: Effects,
}

pub(crate) fn serve() -> Serving {
    let config = ServerConfig {
        cache: Some(CacheConfig::default()),
        ..ServerConfig::default()
    };
    let server = Server::bind(&Context::default(), &["tcp://127.0.0.1:*"], config).unwrap();
    let (at, handle) = (server.endpoints()[0].clone(), server.handle());
    let effects = Effects::default();
    let written = Arc::clone(&effects);
    let thread = thread::spawn(move || {
        server.serve(|request| {
            let body = request.body().as_bytes().escape_ascii().to_string();
            *written.lock().unwrap().entry(body).or_default() += 1;
            Ok(request.take_body())
        })
    });
    Serving {
        at,
        handle,
        thread,
        effects,
    }
}

impl Serving {
    /// How often each request was carried out, when it is over.
    pub(crate) fn end(self) -> BTreeMap<String, u32> {
        self.handle.stop();
        self.thread.join().unwrap().unwrap();
        self.handle.join();
        std::mem::take(&mut *self.effects.lock().unwrap())
    }
}

pub(crate) fn key(number: u64) -> CallOptions {
    CallOptions {
        idem: Idem::Key(MsgId::random(&mut Random::new(number))),
        ..LONG
    }
}

/// PT, AP: nothing arrives in one direction, or in both. Calls end at their deadline; after it heals all is well, and
/// what had been held is nobody's reply.
#[test]
fn partitions_and_after_them() {
    for (requests, replies) in [(true, false), (false, true), (true, true)] {
        let server = serve();
        let proxy = Proxy::to(&server.at);
        let client = client(&[proxy.endpoint()], Duration::from_millis(20));
        assert_eq!(client.call("before", &LONG).unwrap(), "before".into());
        proxy.hold(requests, replies);
        let short = CallOptions {
            deadline: Duration::from_millis(100),
            ..LONG
        };
        let error = client.call("during", &short).unwrap_err();
        assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
        let across = thread::spawn({
            let client = client.clone();
            move || client.call("across", &key(1))
        });
        while client.counters().retries < 4 {
            thread::yield_now();
        }
        proxy.hold(false, false);
        assert_eq!(across.join().unwrap().unwrap(), "across".into());
        for turn in 0..50 {
            let body = Message::from(turn.to_string());
            assert_eq!(client.call(body.clone(), &LONG).unwrap(), body);
        }
        let counters = client.counters();
        assert_eq!(
            (counters.calls, counters.replies, counters.failures),
            (53, 52, 1)
        );
        let effects = server.end();
        assert_eq!(effects["across"], 1, "it has a key");
        assert_eq!(effects.len(), 53);
    }
}

/// Connections are cut again and again, under load. Every call has its reply, and those with a key were carried out
/// once.
#[test]
fn connections_that_are_cut() {
    let server = serve();
    let proxy = Proxy::to(&server.at);
    let client = client(&[proxy.endpoint()], LONG.deadline);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let client = client.clone();
            thread::spawn(move || {
                for turn in 0..50u64 {
                    let body = Message::from(format!("{thread}.{turn}"));
                    let options = key(thread * 1000 + turn);
                    assert_eq!(client.call(body.clone(), &options).unwrap(), body);
                }
            })
        })
        .collect();
    let mut cuts = 0;
    let mut seen = 0;
    while !threads.iter().all(JoinHandle::is_finished) {
        let replies = client.counters().replies;
        if replies >= seen + 20 {
            seen = replies;
            cuts += 1;
            proxy.cut();
        }
        thread::yield_now();
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert!(cuts >= 1);
    assert_eq!(client.counters().replies, 200);
    let effects = server.end();
    assert_eq!(effects.len(), 200);
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
}

/// DL: every octet comes alone.
#[test]
fn octets_one_by_one() {
    let server = serve();
    let proxy = Proxy::to(&server.at);
    proxy.split();
    let client = client(&[proxy.endpoint()], LONG.deadline);
    for turn in 0..50 {
        let body = Message::from(turn.to_string());
        assert_eq!(client.call(body.clone(), &LONG).unwrap(), body);
    }
    assert_eq!(client.counters().retries, 0);
    assert_eq!(server.end().len(), 50);
}

/// DU: all that the client says comes a second time, over another connection. What has a key is carried out once,
/// and each call has one reply.
#[test]
fn connections_that_are_doubled() {
    let server = serve();
    let proxy = Proxy::to(&server.at);
    proxy.double();
    let client = client(&[proxy.endpoint()], LONG.deadline);
    for turn in 0..50 {
        let body = Message::from(turn.to_string());
        assert_eq!(client.call(body.clone(), &key(turn)).unwrap(), body);
    }
    assert_eq!(client.call("end", &LONG).unwrap(), "end".into());
    while server.handle.counters().requests < 102 {
        thread::yield_now();
    }
    let counters = server.handle.counters();
    assert_eq!((counters.dups, counters.conflicts), (50, 0));
    assert_eq!(client.counters().stale_replies, 0);
    let mut effects = server.end();
    // Without a key it is carried out twice, and that is known.
    assert_eq!(effects.remove("end"), Some(2));
    assert_eq!(effects.len(), 50);
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
}
