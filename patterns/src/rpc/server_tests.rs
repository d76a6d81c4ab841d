//! The server in virtual time: each row of its table.

use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::*;
use crate::common::{
    Begun, CallOptions, DedupLife, DedupStore, Fault as Failure, MemoryStore, OnFull, StoreError,
    StoreLimits, Stored, FRAME_COST,
};
use crate::flow::{Gate, GateConfig};

#[path = "server_tests/again.rs"]
mod again;
#[path = "server_tests/drain.rs"]
mod drain;
#[path = "server_tests/too_large.rs"]
mod too_large;
#[path = "server_tests/unread.rs"]
mod unread;
#[path = "server_tests/waiting.rs"]
mod waiting;

struct Bench {
    server: ServerEngine,
    now: Instant,
}

fn config() -> ServerConfig {
    ServerConfig {
        concurrency: 1,
        cache: Some(CacheConfig::default()),
        queue: Limits {
            messages: 2,
            ..Limits::default()
        },
        ..ServerConfig::default()
    }
}

impl Bench {
    fn new(config: ServerConfig) -> Self {
        Bench {
            server: ServerEngine::new(config),
            now: Instant::now(),
        }
    }

    fn with_store(config: ServerConfig) -> Self {
        Bench {
            server: ServerEngine::with_store(config),
            now: Instant::now(),
        }
    }

    /// What it wants of the store.
    fn wants(&mut self) -> StoreOp {
        match self.server.poll_event().expect("it wants something") {
            ServerEvent::Store(op) => op,
            other => panic!("{other:?}"),
        }
    }

    /// Does what it wants of the store.
    fn stores(&mut self, life: &mut Box<dyn DedupLife>) {
        let stored = self.wants().perform(life.as_mut(), self.now);
        self.server.handle_stored(self.now, stored);
    }

    /// Time passes.
    fn after(&mut self, span: Duration) {
        self.now += span;
        self.server.handle_timeout(self.now);
    }

    fn sends(&mut self, peer: &str, name: &str, ext: Option<Ext<'_>>, body: &str) {
        let ext = ext.map(|ext| ext.encode().unwrap());
        let message = wire::encode(&[Frame::from(name)], ext, Some(&body.into()));
        let peer = PeerId::from(peer);
        self.server
            .handle_message(self.now, Port(0), Some(&peer), message);
    }

    fn starts(&mut self) -> Option<ServerRequest> {
        match self.server.poll_event()? {
            ServerEvent::Request(request) => Some(request),
            other => panic!("{other:?}"),
        }
    }

    /// The next reply: to whom, its name, its header, its body.
    fn reply(&mut self) -> Option<(String, String, Option<Ext<'static>>, Message)> {
        let transmit = self.server.poll_transmit()?;
        let parts = wire::decode(transmit.message, true).unwrap();
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let to = text(transmit.to.unwrap().as_bytes());
        Some((to, text(&parts.envelope[0]), parts.ext, parts.body))
    }

    fn declined(&mut self, to: &str, status: Status) -> Ext<'static> {
        let (peer, _, ext, _) = self.reply().expect("it is declined");
        let ext = ext.unwrap();
        assert_eq!((peer.as_str(), ext.status), (to, Some(status)));
        ext
    }
}

/// A protocol that has a word for "no room" says it to clients that do not speak EXT.
#[test]
fn a_refusal_instead_of_silence() {
    let mut bench = Bench::new(config());
    bench.server = ServerEngine::new(config()).refusing("busy".into());
    for number in 0..5 {
        bench.sends("a", &number.to_string(), None, "x");
    }
    for number in 3..5 {
        let (to, name, ext, body) = bench.reply().unwrap();
        assert_eq!((to.as_str(), name), ("a", number.to_string()));
        assert_eq!((ext, body), (None, "busy".into()));
    }
    assert!(bench.reply().is_none());
    bench.sends("b", "5", call(), "x");
    bench.declined("b", Status::Rejected);
    let counters = bench.server.counters();
    assert_eq!((counters.rejected, counters.silent), (3, 0));
}

fn call() -> Option<Ext<'static>> {
    Some(Ext::default())
}

fn keyed(key: u8, attempt: u16) -> Option<Ext<'static>> {
    Some(Ext {
        id: Some(MsgId([key; 16])),
        idem: Some(ExtIdem::Key),
        attempt: Some(attempt),
        ..Ext::default()
    })
}

#[test]
fn plain_clients_get_plain_replies() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", None, "hello");
    let request = bench.starts().unwrap();
    assert_eq!(request.body, "hello".into());
    bench
        .server
        .handle_reply(bench.now, request.id, "world".into());
    assert_eq!(
        bench.reply().unwrap(),
        ("a".into(), "1".into(), None, "world".into())
    );
    // A second reply to the same request is nothing.
    bench
        .server
        .handle_reply(bench.now, request.id, "again".into());
    assert_eq!(bench.reply(), None);
}

/// RPC-07, in small: whoever is too much hears of it.
#[test]
fn too_many_are_declined_and_told_when_to_come_back() {
    let mut bench = Bench::new(config());
    for name in ["1", "2", "3"] {
        bench.sends("a", name, call(), "x");
    }
    assert_eq!(bench.reply(), None);
    bench.sends("b", "4", call(), "x");
    let ext = bench.declined("b", Status::Rejected);
    assert_eq!(ext.retry_after, Some(Duration::from_millis(100)));
    bench.sends("b", "5", None, "x");
    assert_eq!(bench.reply(), None);
    let counters = bench.server.counters();
    assert_eq!((counters.rejected, counters.silent), (2, 1));
    assert_eq!(bench.server.load(), (2, 2 * (1 + FRAME_COST), 1));
}

#[test]
fn the_oldest_is_declined_if_so_configured() {
    let mut config = config();
    config.queue.on_full = OnFull::DropOldest;
    let mut bench = Bench::new(config);
    for name in ["1", "2", "3", "4"] {
        bench.sends("a", name, call(), "x");
    }
    let (_, name, ext, _) = bench.reply().unwrap();
    assert_eq!(
        (name.as_str(), ext.unwrap().status),
        ("2", Some(Status::Rejected))
    );
}

#[test]
fn the_newest_is_dropped_without_a_word_if_so_configured() {
    let mut config = config();
    config.queue.on_full = OnFull::DropNewest;
    let mut bench = Bench::new(config);
    for name in ["1", "2", "3"] {
        bench.sends("a", name, call(), "x");
    }
    bench.sends("a", "4", keyed(9, 1), "x");
    assert_eq!(bench.reply(), None);
    let counters = bench.server.counters();
    assert_eq!((counters.rejected, counters.silent), (1, 1));
    // There is room again, and its key is not taken for one that is being carried out.
    let first = bench.starts().unwrap();
    bench
        .server
        .handle_reply(bench.now, first.id, "done".into());
    assert!(bench.reply().is_some());
    bench.sends("a", "4", keyed(9, 2), "x");
    let counters = bench.server.counters();
    assert_eq!((counters.rejected, counters.dups), (1, 0));
    assert_eq!(bench.server.load(), (2, 2 * (1 + FRAME_COST), 1));
}

/// RPC-09.
#[test]
fn what_is_late_never_reaches_a_handler() {
    let mut bench = Bench::new(config());
    let deadline = |millis| {
        Some(Ext {
            deadline: Some(Duration::from_millis(millis)),
            ..Ext::default()
        })
    };
    bench.sends("a", "0", deadline(0), "x");
    bench.declined("a", Status::Expired);
    bench.sends("a", "1", deadline(50), "x");
    let first = bench.starts().unwrap();
    bench.sends("a", "2", deadline(50), "x");
    bench.now += Duration::from_millis(50);
    assert_eq!(bench.server.poll_timeout(), Some(bench.now));
    // The handler becomes free at the same moment.
    bench
        .server
        .handle_reply(bench.now, first.id, "late, but done".into());
    assert_eq!(bench.starts(), None);
    assert!(bench.reply().is_some());
    bench.declined("a", Status::Expired);
    assert_eq!(bench.server.counters().expired, 2);
}

/// `ttl` is a deadline as well, and nothing is held back until `nb`.
#[test]
fn times_of_life_and_times_to_come() {
    let mut bench = Bench::new(config());
    let ext = |ttl, not_before| {
        Some(Ext {
            deadline: Some(Duration::from_secs(9)),
            ttl: Some(Duration::from_millis(ttl)),
            not_before: Some(Duration::from_millis(not_before)),
            ..Ext::default()
        })
    };
    bench.sends("a", "0", ext(0, 0), "x");
    bench.declined("a", Status::Expired);
    bench.sends("a", "0", ext(50, 1), "x");
    bench.declined("a", Status::Unavailable);
    bench.sends("a", "1", ext(50, 0), "x");
    let deadline = bench.now + Duration::from_millis(50);
    assert_eq!(bench.starts().unwrap().deadline, Some(deadline));
    let counters = bench.server.counters();
    assert_eq!((counters.expired, counters.early), (1, 1));
}

#[test]
fn headers_reach_the_handler() {
    let headers = Headers::new().with_trace("00-1-2-01").unwrap();
    let options = CallOptions {
        headers: headers.with("tenant", "blue").unwrap(),
        ..CallOptions::default()
    };
    let mut bench = Bench::new(config());
    let ext = crate::rpc::request_ext(&options, Duration::from_secs(1), 1);
    bench.sends("a", "1", Some(ext), "x");
    assert_eq!(bench.starts().unwrap().headers, options.headers);
}

/// RPC-09, when requests wait between the engine and whoever takes them.
#[test]
fn what_is_late_for_its_handler_is_declined_too() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", keyed(7, 1), "x");
    let request = bench.starts().unwrap();
    bench.server.handle_expired(bench.now, request.id);
    bench.declined("a", Status::Expired);
    bench.server.handle_expired(bench.now, request.id);
    let counters = bench.server.counters();
    assert_eq!((counters.expired, counters.started), (1, 0));
    assert_eq!(bench.server.load(), (0, 0, 0));
    bench.sends("a", "1", keyed(7, 2), "x");
    assert!(bench.starts().is_some(), "its key is not used up");
}

#[test]
fn a_key_is_carried_out_once() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", keyed(7, 1), "pay");
    let request = bench.starts().unwrap();
    // Over another connection, while it runs.
    bench.sends("b", "1", keyed(7, 2), "pay");
    assert_eq!(bench.starts(), None);
    bench
        .server
        .handle_reply(bench.now, request.id, "paid".into());
    let to: Vec<String> = std::iter::from_fn(|| bench.reply())
        .map(|reply| reply.0)
        .collect();
    assert_eq!(to, ["a", "b"]);
    // And after it.
    bench.sends("c", "9", keyed(7, 3), "pay");
    assert_eq!(bench.starts(), None);
    let (to, name, _, body) = bench.reply().unwrap();
    assert_eq!(
        (to.as_str(), name.as_str(), body),
        ("c", "9", "paid".into())
    );
    assert_eq!(bench.server.counters().dups, 2);
    bench.sends("c", "10", keyed(7, 1), "pay more");
    bench.declined("c", Status::Conflict);
}

#[test]
fn a_key_that_was_declined_may_come_again() {
    let mut bench = Bench::new(config());
    for name in ["1", "2", "3"] {
        bench.sends("a", name, call(), "x");
    }
    bench.sends("b", "1", keyed(7, 1), "pay");
    bench.declined("b", Status::Rejected);
    for _ in 0..3 {
        let request = bench.starts().unwrap();
        bench
            .server
            .handle_reply(bench.now, request.id, "done".into());
        bench.reply().unwrap();
    }
    bench.sends("b", "1", keyed(7, 2), "pay");
    assert_eq!(bench.starts().unwrap().body, "pay".into());
}

/// A gate in a handler, a key and a cache: who is told to come back is served when it does, and so is who waited for the
/// same answer.
#[test]
fn a_key_that_a_handler_turned_away_may_come_again() {
    let gate = Gate::new(GateConfig {
        inside: 1,
        retry_after: Duration::from_millis(250),
        ..GateConfig::default()
    });
    let handle = |bench: &mut Bench, request: ServerRequest| {
        let entered = gate.try_enter(request.peer.clone(), request.body.byte_len());
        let now = bench.now;
        match entered.map_err(Failure::from) {
            Ok(_permit) => bench.server.handle_reply(now, request.id, "paid".into()),
            Err(fault) => bench.server.handle_fault(now, request.id, fault),
        }
    };
    let mut bench = Bench::new(config());
    let permit = gate.try_enter("another", 1).unwrap();
    bench.sends("a", "1", keyed(7, 1), "pay");
    let request = bench.starts().unwrap();
    bench.sends("b", "1", keyed(7, 2), "pay");
    handle(&mut bench, request);
    for client in ["a", "b"] {
        let ext = bench.declined(client, Status::Rejected);
        assert_eq!(ext.retry_after, Some(Duration::from_millis(250)));
    }
    drop(permit);
    bench.sends("a", "1", keyed(7, 3), "pay");
    let request = bench.starts().expect("it is not known");
    handle(&mut bench, request);
    assert_eq!(bench.reply().unwrap().3, "paid".into());
    // And what was carried out is kept, also if it failed.
    for (status, again) in [
        (Status::Failed, false),
        (Status::Expired, true),
        (Status::Unavailable, true),
    ] {
        let key = 100 + (status.code() % 100) as u8;
        bench.sends("a", "9", keyed(key, 1), "pay");
        let request = bench.starts().unwrap();
        let fault = Failure {
            status,
            ..Failure::failed("")
        };
        bench.server.handle_fault(bench.now, request.id, fault);
        bench.declined("a", status);
        bench.sends("b", "9", keyed(key, 2), "pay");
        let request = bench.starts();
        assert_eq!(request.is_some(), again, "{status:?}");
        if let Some(request) = request {
            bench
                .server
                .handle_reply(bench.now, request.id, "ok".into());
        }
        bench.reply().unwrap();
    }
}

#[test]
fn a_key_is_refused_where_no_replies_are_kept() {
    let mut bench = Bench::new(ServerConfig {
        cache: None,
        ..config()
    });
    bench.sends("a", "1", keyed(7, 1), "pay");
    assert_eq!(bench.starts(), None);
    let ext = bench.declined("a", Status::Failed);
    assert!(ext.reason.is_some());
}

#[test]
fn a_key_outlives_its_client() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", keyed(7, 1), "pay");
    let request = bench.starts().unwrap();
    let down = PeerEvent::Down {
        peer: Some("a".into()),
    };
    bench.server.handle_peer(bench.now, Port(0), down);
    assert_eq!(bench.starts(), None, "it is not cancelled");
    bench
        .server
        .handle_reply(bench.now, request.id, "paid".into());
    assert_eq!(bench.reply(), None);
    bench.sends("b", "1", keyed(7, 2), "pay");
    assert_eq!(bench.reply().unwrap().3, "paid".into());
}

#[test]
fn a_repetition_over_the_same_connection_is_not_queued() {
    let mut bench = Bench::new(config());
    for attempt in 1..=3 {
        let ext = Ext {
            attempt: Some(attempt),
            ..Ext::default()
        };
        bench.sends("a", "1", Some(ext), "x");
    }
    assert!(bench.starts().is_some());
    assert_eq!(bench.starts(), None);
    assert_eq!(
        (bench.server.load().0, bench.server.counters().dups),
        (0, 2)
    );
}

#[test]
fn clients_that_cancel_or_go_away() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", call(), "x");
    let running = bench.starts().unwrap();
    bench.sends("a", "2", call(), "x");
    bench.sends("b", "3", None, "x");
    let cancel = Ext {
        op: Op::Cancel,
        ..Ext::default()
    };
    bench.sends("a", "1", Some(cancel.clone()), "");
    assert_eq!(
        bench.server.poll_event(),
        Some(ServerEvent::Cancelled(running.id))
    );
    bench.sends("a", "2", Some(cancel.clone()), "");
    bench.sends("a", "2", Some(cancel), "");
    assert_eq!(bench.server.load().0, 1);
    let down = PeerEvent::Down {
        peer: Some("b".into()),
    };
    bench.server.handle_peer(bench.now, Port(0), down);
    assert_eq!(bench.server.load(), (0, 0, 1));
    bench
        .server
        .handle_reply(bench.now, running.id, "nobody reads it".into());
    assert_eq!(bench.reply(), None);
    assert_eq!(bench.server.counters().cancelled, 3);
}

#[test]
fn partial_replies() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", call(), "list");
    let request = bench.starts().unwrap();
    assert!(bench.server.handle_partial(request.id, &"one".into()));
    assert!(bench.server.handle_partial(request.id, &"two".into()));
    bench
        .server
        .handle_reply(bench.now, request.id, "end".into());
    let ops: Vec<(Op, Message)> = std::iter::from_fn(|| bench.reply())
        .map(|reply| (reply.2.unwrap().op, reply.3))
        .collect();
    let expected = [
        (Op::Partial, "one"),
        (Op::Partial, "two"),
        (Op::Final, "end"),
    ];
    assert_eq!(ops, expected.map(|(op, body)| (op, body.into())));
    bench.sends("a", "2", None, "list");
    let request = bench.starts().unwrap();
    assert!(
        !bench.server.handle_partial(request.id, &"one".into()),
        "a plain client"
    );
}

#[test]
fn faults_are_told_with_their_reason() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", call(), "x");
    let request = bench.starts().unwrap();
    let reason = "ü".repeat(5000);
    bench
        .server
        .handle_fault(bench.now, request.id, Fault::failed(reason));
    let ext = bench.declined("a", Status::Failed);
    assert_eq!(ext.reason.unwrap(), "ü".repeat(512));
}

#[test]
fn a_server_that_closes_finishes_what_it_has() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", call(), "x");
    let request = bench.starts().unwrap();
    bench.server.handle_drain(bench.now);
    assert_eq!(bench.server.poll_event(), None);
    bench.sends("a", "2", call(), "x");
    bench.declined("a", Status::Unavailable);
    bench
        .server
        .handle_reply(bench.now, request.id, "done".into());
    assert!(bench.reply().is_some() && bench.reply().is_none());
    assert_eq!(bench.server.poll_event(), Some(ServerEvent::Drained));
}

fn store() -> MemoryStore {
    MemoryStore::new(StoreLimits::default())
}

fn within(key: u8, left: Duration) -> Option<Ext<'static>> {
    let ext = keyed(key, 1)?;
    Some(Ext {
        deadline: Some(left),
        ..ext
    })
}

#[test]
fn a_key_is_begun_before_the_handler_and_ended_before_the_reply() {
    let store = store();
    let mut life = store.join().unwrap();
    let mut bench = Bench::with_store(config());
    bench.sends("a", "1", keyed(1, 1), "x");
    let op = bench.wants();
    assert_eq!(bench.starts(), None, "it is not begun yet");
    bench.sends("b", "2", keyed(1, 2), "x");
    let begun = op.perform(life.as_mut(), bench.now);
    bench.server.handle_stored(bench.now, begun);
    let request = bench.starts().unwrap();
    // What comes twice is nothing new.
    bench.server.handle_reply(bench.now, request.id, "y".into());
    let op = bench.wants();
    assert_eq!(bench.reply(), None, "it is not ended yet");
    bench.server.handle_reply(bench.now, request.id, "z".into());
    assert!(!bench.server.handle_partial(request.id, &"part".into()));
    assert_eq!(bench.server.load(), (0, 0, 1), "it has its place");
    let ended = op.perform(life.as_mut(), bench.now);
    bench.server.handle_stored(bench.now, ended);
    for to in ["a", "b"] {
        let (peer, _, _, body) = bench.reply().unwrap();
        assert_eq!((peer.as_str(), body), (to, "y".into()));
    }
    assert_eq!(bench.server.load(), (0, 0, 0));
    // Here it is known without the store, and elsewhere with it.
    bench.sends("c", "3", keyed(1, 1), "x");
    assert_eq!(bench.reply().unwrap().3, "y".into());
    let mut other = Bench::with_store(config());
    let mut life = store.join().unwrap();
    other.sends("c", "3", keyed(1, 1), "x");
    other.stores(&mut life);
    assert_eq!(other.reply().unwrap().3, "y".into());
    other.sends("c", "4", keyed(1, 1), "something else");
    other.declined("c", Status::Conflict);
    // Without a key there is nothing to be asked.
    other.sends("c", "5", call(), "x");
    assert!(other.starts().is_some());
}

#[test]
fn what_a_dead_server_had_begun_is_in_doubt() {
    let store = store();
    let mut life = store.join().unwrap();
    let mut bench = Bench::with_store(config());
    bench.sends("a", "1", keyed(1, 1), "x");
    bench.stores(&mut life);
    assert!(bench.starts().is_some());
    drop(life);
    let (mut bench, mut life) = (Bench::with_store(config()), store.join().unwrap());
    for turn in 1..=2 {
        bench.sends("a", "1", keyed(1, 2), "x");
        bench.sends("b", "1", keyed(1, 2), "x");
        bench.stores(&mut life);
        bench.declined("a", Status::InDoubt);
        bench.declined("b", Status::InDoubt);
        assert_eq!(bench.server.counters().in_doubt, turn);
    }
    assert_eq!(bench.server.load(), (0, 0, 0));
    assert_eq!(bench.server.poll_timeout(), None);
}

#[test]
fn what_another_server_is_at_is_waited_for() {
    let store = store();
    let mut theirs = store.join().unwrap();
    let (mut bench, mut life) = (Bench::with_store(config()), store.join().unwrap());
    let body = Message::from("x");
    let print = crate::common::fingerprint(&body);
    let key = |n| MsgId([n; 16]);
    for n in 1..=4 {
        assert_eq!(theirs.begin(key(n), print, bench.now).unwrap(), Begun::New);
    }
    bench.sends("a", "1", within(1, Duration::from_secs(60)), "x");
    bench.stores(&mut life);
    bench.sends("a", "2", within(2, Duration::from_secs(1)), "x");
    bench.stores(&mut life);
    // No more wait than the queue has room for.
    bench.sends("a", "3", keyed(3, 1), "x");
    bench.stores(&mut life);
    bench.declined("a", Status::InDoubt);
    // They have no place among those that run.
    assert_eq!(bench.server.load(), (0, 0, 0));
    bench.sends("a", "4", call(), "others go on");
    let running = bench.starts().unwrap();
    let pause = bench.server.poll_timeout().expect("it looks again");
    assert!(pause > bench.now);
    bench.after(Duration::from_millis(500));
    assert_eq!(bench.server.poll_event(), None, "it has one place");
    assert_eq!(bench.reply(), None);
    bench.server.handle_reply(bench.now, running.id, "y".into());
    assert!(bench.reply().is_some());
    for _ in 0..2 {
        bench.stores(&mut life);
    }
    bench.after(Duration::from_millis(500));
    let late = bench.declined("a", Status::InDoubt);
    assert!(late.reason.unwrap().contains("another server"));
    let reply = Ok(Message::from("theirs"));
    theirs.end(key(1), print, &reply, bench.now).unwrap();
    bench.after(Duration::from_millis(320));
    bench.stores(&mut life);
    assert_eq!(bench.reply().unwrap().3, "theirs".into());
    assert_eq!(bench.server.poll_timeout(), None);
    // One who gives it up leaves it to this one.
    bench.sends("b", "5", keyed(4, 1), "x");
    bench.stores(&mut life);
    theirs.abandon(key(4)).unwrap();
    bench.after(Duration::from_millis(320));
    bench.stores(&mut life);
    assert!(bench.starts().is_some());
}

/// RPC-09: the store may take longer than there is.
#[test]
fn what_the_store_makes_late_reaches_no_handler() {
    let store = store();
    let mut life = store.join().unwrap();
    let mut bench = Bench::with_store(config());
    bench.sends("a", "1", within(1, Duration::from_secs(1)), "x");
    let op = bench.wants();
    bench.now += Duration::from_secs(1);
    let begun = op.perform(life.as_mut(), bench.now);
    bench.server.handle_stored(bench.now, begun);
    bench.declined("a", Status::Expired);
    bench.stores(&mut life);
    assert_eq!(store.size(), (0, 0), "it may be begun again");
    assert_eq!(bench.server.load(), (0, 0, 0));
}

/// "Come back" is no end of a key, in a store as elsewhere.
#[test]
fn a_key_that_a_handler_turned_away_is_not_in_the_store() {
    let store = store();
    let mut life = store.join().unwrap();
    let mut bench = Bench::with_store(config());
    bench.sends("a", "1", keyed(1, 1), "x");
    bench.stores(&mut life);
    let request = bench.starts().unwrap();
    let full = Failure {
        status: Status::Rejected,
        retry_after: Some(Duration::from_millis(250)),
        ..Failure::failed("full")
    };
    bench.server.handle_fault(bench.now, request.id, full);
    bench.stores(&mut life);
    let declined = bench.declined("a", Status::Rejected);
    assert_eq!(declined.retry_after, Some(Duration::from_millis(250)));
    assert_eq!(store.size(), (0, 0));
    bench.sends("a", "2", keyed(1, 2), "x");
    bench.stores(&mut life);
    let request = bench.starts().expect("it is not known");
    bench.server.handle_reply(bench.now, request.id, "y".into());
    bench.stores(&mut life);
    assert_eq!(bench.reply().unwrap().3, "y".into());
}

/// A store whose disk is full, say.
#[derive(Debug)]
struct Broken;

impl DedupLife for Broken {
    fn begin(&mut self, _: MsgId, _: u64, _: Instant) -> Result<Begun, StoreError> {
        Err(StoreError::Other("no".into()))
    }
    fn end(&mut self, _: MsgId, _: u64, _: &Outcome, _: Instant) -> Result<(), StoreError> {
        Err(StoreError::Other("no".into()))
    }
    fn abandon(&mut self, _: MsgId) -> Result<(), StoreError> {
        Err(StoreError::Other("no".into()))
    }
}

#[test]
fn a_store_that_is_full_or_fails_declines() {
    let limits = StoreLimits {
        keys: 1,
        ..StoreLimits::default()
    };
    let mut life = MemoryStore::new(limits).join().unwrap();
    let mut broken: Box<dyn DedupLife> = Box::new(Broken);
    let mut bench = Bench::with_store(config());
    bench.sends("a", "1", keyed(1, 1), "x");
    bench.stores(&mut life);
    let request = bench.starts().unwrap();
    // What was done is replied to, written down or not.
    bench.server.handle_reply(bench.now, request.id, "y".into());
    bench.stores(&mut broken);
    assert_eq!(bench.reply().unwrap().3, "y".into());
    bench.sends("a", "2", keyed(2, 1), "x");
    bench.stores(&mut life);
    let full = bench.declined("a", Status::Rejected);
    assert!(full.retry_after.is_some());
    bench.sends("a", "3", keyed(3, 1), "x");
    bench.stores(&mut broken);
    let failed = bench.declined("a", Status::Unavailable);
    assert_eq!(failed.reason.as_deref(), Some("the store failed: no"));
    let counters = bench.server.counters();
    assert_eq!((counters.store_failures, counters.started), (2, 1));
    assert_eq!(bench.server.load(), (0, 0, 0));
    // An answer to what nobody asked is none.
    let stored = Stored::panicked(0);
    bench.server.handle_stored(bench.now, stored);
    bench.server.handle_drain(bench.now);
    assert_eq!(bench.server.poll_event(), Some(ServerEvent::Drained));
}

/// What has no store is no larger for what others want of theirs.
#[test]
fn a_store_costs_those_nothing_who_have_none() {
    use std::mem::size_of;
    assert_eq!(size_of::<ServerEvent>(), size_of::<ServerRequest>());
    assert!(size_of::<StoreOp>() < size_of::<ServerRequest>());
}
