//! The broker in virtual time: each cell of its table of worker states, requests, MMI, bounds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::wire;
use super::*;
use crate::common::{
    CacheConfig, Engine, Ext, ExtIdem, Heartbeat, Limits, MsgId, OnFull, Op, PeerEvent, PeerId,
    Port, Status,
};
use crate::mdp::BrokerLimits;

mod drain;
mod keys;
mod lanes;
mod limits;
mod notes;
mod sent_away;
mod too_large;
mod unread;

const V1: Dialect = Dialect::V1;
const BEAT: Duration = Duration::from_millis(100);

struct Bench {
    broker: BrokerEngine,
    now: Instant,
    /// What is called what, of the requests that workers were given: by worker, and by what it sends back.
    names: BTreeMap<(String, Vec<u8>), MsgId>,
}

/// What somebody was sent: to whom, the frames.
type Sent = (String, Vec<Frame>);

fn config() -> BrokerConfig {
    BrokerConfig {
        heartbeat: Heartbeat {
            interval: BEAT,
            ..Heartbeat::default()
        },
        policy: ServicePolicy {
            lease: Lease::Fixed(BEAT * 50),
            ..ServicePolicy::default()
        },
        cache: Some(CacheConfig::default()),
        ..BrokerConfig::default()
    }
}

impl Bench {
    fn new(config: BrokerConfig) -> Self {
        Bench {
            broker: BrokerEngine::new(config),
            now: Instant::now(),
            names: BTreeMap::new(),
        }
    }

    fn from(&mut self, peer: &str, message: Message) {
        let peer = PeerId::from(peer);
        self.broker
            .handle_message(self.now, Port(0), Some(&peer), message);
    }

    fn ready(&mut self, peer: &str, service: &str) {
        self.from(peer, wire::encode_ready(V1, &service.into(), None));
    }

    fn ext_ready(&mut self, peer: &str, service: &str) {
        let ext = Ext::default().encode().unwrap();
        self.from(peer, wire::encode_ready(V1, &service.into(), Some(ext)));
    }

    fn slots_ready(&mut self, peer: &str, service: &str, slots: u32) {
        let ext = Ext {
            slots: Some(slots),
            ..Ext::default()
        };
        let ext = ext.encode().unwrap();
        self.from(peer, wire::encode_ready(V1, &service.into(), Some(ext)));
    }

    /// The next request that a worker is given: what it is to send back, and the last frame.
    fn given(&mut self, worker: &str) -> (Frame, Frame) {
        let (to, frames) = self.sent().expect("a request");
        assert_eq!((to.as_str(), &frames[2]), (worker, &Frame::from([2])));
        (frames[3].clone(), frames.last().unwrap().clone())
    }

    fn slot_reply(&mut self, worker: &str, to: &Frame, body: &str) {
        let name = self.name(worker, to).map(|id| Ext {
            id: Some(id),
            ..Ext::default()
        });
        let name = name.and_then(|ext| ext.encode().ok());
        let body = name.into_iter().chain([body.into()]).collect();
        self.from(worker, wire::encode_reply(V1, to, body, true));
    }

    /// The name of the request that a worker was given last with this to send back, if it has one.
    fn name(&self, worker: &str, to: &Frame) -> Option<MsgId> {
        let request = (worker.to_owned(), to.to_vec());
        self.names.get(&request).copied()
    }

    fn call(&mut self, peer: &str, service: &str, body: &str) {
        self.from(
            peer,
            wire::encode_call(V1, &service.into(), vec![body.into()]),
        );
    }

    fn ext_call(&mut self, peer: &str, service: &str, ext: Ext<'_>, body: &str) {
        let body = vec![ext.encode().unwrap(), body.into()];
        self.from(peer, wire::encode_call(V1, &service.into(), body));
    }

    fn reply(&mut self, worker: &str, client: &str, body: &str) {
        self.slot_reply(worker, &client.into(), body);
    }

    /// With the name of the request, unless there is one in the header.
    fn ext_reply(&mut self, worker: &str, client: &str, mut ext: Ext<'_>, body: &str) {
        ext.id = ext.id.or_else(|| self.name(worker, &client.into()));
        let body = vec![ext.encode().unwrap(), body.into()];
        let message = wire::encode_reply(V1, &client.into(), body, true);
        self.from(worker, message);
    }

    fn heartbeat(&mut self, peer: &str) {
        self.from(peer, wire::encode_heartbeat(V1));
    }

    fn down(&mut self, peer: &str) {
        let event = PeerEvent::Down {
            peer: Some(peer.into()),
        };
        self.broker.handle_peer(self.now, Port(0), event);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.broker.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.broker.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn sent(&mut self) -> Option<Sent> {
        let transmit = self.broker.poll_transmit()?;
        let to = String::from_utf8(transmit.to.unwrap().as_bytes().to_vec()).unwrap();
        let frames = transmit.message.into_frames();
        if let [_, _, command, address, _, body, ..] = &frames[..] {
            if command[..] == [2] {
                let request = (to.clone(), address.to_vec());
                let id = Ext::decode(body).unwrap().and_then(|ext| ext.id);
                match id {
                    Some(id) => drop(self.names.insert(request, id)),
                    None => drop(self.names.remove(&request)),
                }
            }
        }
        Some((to, frames))
    }

    /// Everything that was sent, as "peer:kind", and for requests and replies the last frame.
    fn log(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.sent())
            .map(|(to, frames)| {
                let last = String::from_utf8_lossy(frames.last().unwrap()).into_owned();
                match (frames[1].as_slice(), frames[2].as_slice()) {
                    (b"MDPC01", _) => format!("{to}:reply {last}"),
                    (b"MDPW01", b"\x02") => format!("{to}:request {last}"),
                    (b"MDPW01", b"\x04") if frames.len() > 3 => format!("{to}:recall"),
                    (b"MDPW01", b"\x04") => format!("{to}:heartbeat"),
                    (b"MDPW01", b"\x05") => format!("{to}:disconnect"),
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    }

    fn declined(&mut self, to: &str) -> (Status, Ext<'static>) {
        let (peer, frames) = self.sent().expect("it is declined");
        assert_eq!(peer, to);
        let ext = Ext::decode(&frames[3]).unwrap().unwrap().into_owned();
        (ext.status.unwrap(), ext)
    }

    /// A worker "w" of "echo" in the given state; client "c" has asked "x".
    fn with(state: &str) -> Self {
        let mut bench = Bench::new(config());
        if state != "unknown" {
            bench.ready("w", "echo");
        }
        if matches!(state, "busy" | "suspect" | "draining") {
            bench.call("c", "echo", "x");
            assert_eq!(bench.log(), ["w:request x"]);
        }
        if state == "suspect" {
            bench.pass(BEAT * 50);
            assert_eq!(bench.stats(), (1, 0, 1));
        }
        if state == "draining" {
            bench.broker.handle_drain(bench.now);
            assert_eq!(bench.broker.poll_event(), None);
        }
        bench
    }

    /// Waiting, with workers, workers.
    fn stats(&self) -> (usize, usize, usize) {
        let stats = self.broker.service("echo").unwrap_or_default();
        (stats.ready, stats.in_flight, stats.workers)
    }
}

/// MDP-10: each cell of the table. What is sent, then (waiting, in flight, workers).
#[test]
fn the_table_of_worker_states() {
    let event = |bench: &mut Bench, event: &str| match event {
        "ready" => bench.ready("w", "echo"),
        "reply" => bench.reply("w", "c", "y"),
        "wrong reply" => bench.reply("w", "d", "y"),
        "heartbeat" => bench.heartbeat("w"),
        "disconnect" => bench.from("w", wire::encode_disconnect(V1)),
        "down" => bench.down("w"),
        "silence" => bench.pass(BEAT * 30),
        "lease" => bench.pass(BEAT * 50),
        _ => panic!("{event}"),
    };
    type Cell = (
        &'static str,
        &'static str,
        &'static [&'static str],
        (usize, usize, usize),
    );
    let banned: &[&str] = &["w:disconnect"];
    let cells: [Cell; 35] = [
        ("unknown", "ready", &[], (0, 0, 1)),
        ("unknown", "reply", banned, (0, 0, 0)),
        ("unknown", "heartbeat", banned, (0, 0, 0)),
        ("unknown", "disconnect", &[], (0, 0, 0)),
        ("unknown", "down", &[], (0, 0, 0)),
        ("idle", "ready", banned, (0, 0, 0)),
        ("idle", "reply", banned, (0, 0, 0)),
        ("idle", "heartbeat", &[], (0, 0, 1)),
        ("idle", "disconnect", &[], (0, 0, 0)),
        ("idle", "down", &[], (0, 0, 0)),
        // It never sent a heartbeat, so its silence means nothing.
        ("idle", "silence", &[], (0, 0, 1)),
        ("busy", "ready", banned, (1, 0, 0)),
        ("busy", "reply", &["c:reply y"], (0, 0, 1)),
        ("busy", "wrong reply", banned, (1, 0, 0)),
        ("busy", "heartbeat", &[], (0, 1, 1)),
        ("busy", "disconnect", &[], (1, 0, 0)),
        ("busy", "down", &[], (1, 0, 0)),
        ("busy", "silence", &[], (0, 1, 1)),
        ("busy", "lease", &[], (1, 0, 1)),
        ("suspect", "ready", banned, (1, 0, 0)),
        // The late reply is dropped; the worker is free, and the request its own again.
        ("suspect", "reply", &["w:request x"], (0, 1, 1)),
        ("suspect", "wrong reply", &["w:request x"], (0, 1, 1)),
        ("suspect", "heartbeat", &[], (1, 0, 1)),
        ("suspect", "disconnect", &[], (1, 0, 0)),
        ("suspect", "down", &[], (1, 0, 0)),
        ("suspect", "silence", &[], (1, 0, 1)),
        ("idle", "wrong reply", banned, (0, 0, 0)),
        ("draining", "ready", banned, (0, 0, 0)),
        (
            "draining",
            "reply",
            &["w:disconnect", "c:reply y"],
            (0, 0, 0),
        ),
        ("draining", "wrong reply", banned, (0, 0, 0)),
        ("draining", "heartbeat", &[], (0, 1, 1)),
        ("draining", "disconnect", &[], (0, 0, 0)),
        ("draining", "down", &[], (0, 0, 0)),
        ("draining", "silence", &[], (0, 1, 1)),
        ("draining", "lease", banned, (0, 0, 0)),
    ];
    for (state, what, sent, stats) in cells {
        let mut bench = Bench::with(state);
        event(&mut bench, what);
        assert_eq!(bench.log(), sent, "{state}, {what}");
        assert_eq!(bench.stats(), stats, "{state}, {what}");
        if state == "draining" {
            let over = stats.2 == 0;
            let drained = bench.broker.poll_event() == Some(BrokerEvent::Drained);
            assert_eq!(drained, over, "{state}, {what}");
            assert!(!over || bench.broker.poll_timeout().is_none());
        } else if sent == banned {
            bench.ready("w", "echo");
            assert_eq!((bench.log().len(), bench.stats().2), (0, 0), "banned");
            // A new connection may have the old name.
            bench.down("w");
            bench.ready("w", "echo");
            assert_eq!(bench.stats().2, 1, "{state}, {what}");
        }
    }
}

/// R5: two replies in a row.
#[test]
fn a_worker_is_never_listed_twice() {
    let mut bench = Bench::with("busy");
    bench.reply("w", "c", "y");
    bench.reply("w", "c", "y");
    assert_eq!(bench.log(), ["c:reply y", "w:disconnect"]);
    assert_eq!(bench.stats(), (0, 0, 0));
}

/// MDP-11, and R4: a dead worker behind a live one.
#[test]
fn silent_workers_go_on_time_whatever_their_order() {
    let mut bench = Bench::new(config());
    for worker in ["a", "b"] {
        bench.ready(worker, "echo");
        bench.heartbeat(worker);
    }
    for _ in 0..20 {
        bench.pass(BEAT);
        bench.heartbeat("a");
    }
    assert_eq!(bench.stats().2, 1);
    assert_eq!(bench.broker.counters().workers_expired, 1);
    let beats = bench.log();
    assert!(beats.iter().filter(|entry| *entry == "a:heartbeat").count() >= 19);
    assert_eq!(
        beats.iter().filter(|entry| *entry == "b:heartbeat").count(),
        2
    );
    bench.pass(BEAT * 3);
    assert_eq!(bench.stats().2, 0);
}

/// T5: who never sends a heartbeat gets none.
#[test]
fn workers_without_heartbeats_are_left_alone() {
    let mut bench = Bench::new(config());
    bench.ready("w", "echo");
    bench.pass(BEAT * 600);
    assert_eq!(bench.log(), [""; 0]);
    assert_eq!(bench.stats().2, 1);
}

#[test]
fn a_busy_worker_is_not_given_up_for_its_silence() {
    let mut bench = Bench::new(BrokerConfig {
        policy: ServicePolicy {
            lease: Lease::WhileHeartbeating(BEAT * 3),
            ..ServicePolicy::default()
        },
        ..config()
    });
    bench.ready("w", "echo");
    bench.heartbeat("w");
    bench.call("c", "echo", "x");
    bench.pass(BEAT * 100);
    assert_eq!(
        bench.stats(),
        (0, 1, 1),
        "a worker of the old kind is silent while it works"
    );
    bench.reply("w", "c", "y");
    assert!(bench.log().contains(&"c:reply y".to_owned()));
    // One that speaks EXT keeps its heartbeats up, and its lease with them.
    bench.from("w", wire::encode_disconnect(V1));
    bench.ext_ready("v", "echo");
    bench.heartbeat("v");
    bench.call("c", "echo", "x");
    for _ in 0..20 {
        bench.pass(BEAT);
        bench.heartbeat("v");
    }
    assert_eq!(bench.stats(), (0, 1, 1));
    bench.pass(BEAT * 3);
    assert_eq!(bench.stats().0, 1, "frozen: another gets the request");
    assert_eq!(bench.broker.counters().leases_ended, 1);
}

#[test]
fn a_request_goes_to_another_worker_first_of_all() {
    let mut bench = Bench::with("busy");
    bench.call("d", "echo", "later");
    bench.down("w");
    bench.ready("v", "echo");
    assert_eq!(bench.log(), ["v:request x"]);
    bench.reply("v", "c", "y");
    assert_eq!(bench.log(), ["c:reply y", "v:request later"]);
    assert_eq!(bench.broker.counters().redelivered, 1);
}

/// MDP-02.
#[test]
fn a_request_that_kills_its_workers_is_dead_after_a_few() {
    let mut bench = Bench::new(config());
    bench.ext_call("c", "echo", Ext::default(), "poison");
    for worker in ["1", "2", "3"] {
        bench.ready(worker, "echo");
        assert_eq!(bench.log(), [format!("{worker}:request poison")]);
        bench.down(worker);
    }
    assert_eq!(bench.declined("c").0, Status::Failed);
    let dead = BrokerEvent::Dead {
        service: b"echo".to_vec(),
        reason: DeadReason::Deliveries,
        body: "poison".into(),
    };
    assert_eq!(bench.broker.poll_event(), Some(dead));
    bench.ready("4", "echo");
    assert_eq!(bench.log(), [""; 0]);
    assert_eq!(bench.broker.bytes(), 0);
}

#[test]
fn what_may_be_sent_once_is_not_given_to_a_second_worker() {
    let mut bench = Bench::new(config());
    let once = Ext {
        idem: Some(ExtIdem::Once),
        ..Ext::default()
    };
    bench.ready("w", "echo");
    bench.ext_call("c", "echo", once, "pay");
    assert_eq!(bench.log(), ["w:request pay"]);
    bench.ready("v", "echo");
    bench.down("w");
    let (status, ext) = bench.declined("c");
    assert_eq!(
        (status, ext.reason.as_deref()),
        (Status::Failed, Some("its worker was lost"))
    );
    assert_eq!(bench.log(), [""; 0]);
}

/// A request that a lost worker had is never said not to have been begun: not when the broker closes, not when another
/// takes its place in the queue, not when the next worker has no room for it.
#[test]
fn what_was_begun_is_not_said_to_be_untouched() {
    let begun = |bench: &mut Bench| {
        bench.ext_ready("w", "echo");
        bench.ext_call("c", "echo", Ext::default(), "x");
        assert_eq!(bench.log(), ["w:request x"]);
        bench.down("w");
    };
    let mut bench = Bench::new(config());
    begun(&mut bench);
    bench.ext_call("d", "echo", Ext::default(), "untouched");
    bench.broker.handle_drain(bench.now);
    assert_eq!(bench.declined("c").0, Status::Failed);
    assert_eq!(bench.declined("d").0, Status::Unavailable);

    let mut small = config();
    small.policy.queue = Limits {
        messages: 1,
        on_full: OnFull::DropOldest,
        ..Limits::default()
    };
    let mut bench = Bench::new(small);
    begun(&mut bench);
    bench.ext_call("d", "echo", Ext::default(), "untouched");
    assert_eq!(bench.declined("c").0, Status::Failed);
    bench.ext_call("e", "echo", Ext::default(), "last");
    assert_eq!(bench.declined("d").0, Status::Rejected);

    for status in [Status::Rejected, Status::Unavailable, Status::NoService] {
        let mut bench = Bench::new(config());
        begun(&mut bench);
        bench.ext_ready("v", "echo");
        bench.log();
        let answer = Ext {
            status: Some(status),
            op: Op::Final,
            ..Ext::default()
        };
        bench.ext_reply("v", "c", answer, "");
        assert_eq!(bench.declined("c").0, Status::Failed, "{status:?}");
    }
}

#[test]
fn deadlines_and_waiting_times() {
    let mut bench = Bench::new(config());
    let deadline = |millis| Ext {
        deadline: Some(Duration::from_millis(millis)),
        ..Ext::default()
    };
    bench.ext_call("c", "echo", deadline(50), "x");
    bench.pass(Duration::from_millis(50));
    assert_eq!(bench.declined("c").0, Status::NoService);
    bench.ready("w", "echo");
    for body in ["1", "2"] {
        bench.ext_call("c", "echo", deadline(50), body);
    }
    assert_eq!(bench.log(), ["w:request 1"]);
    bench.pass(Duration::from_millis(50));
    assert_eq!(bench.declined("c").0, Status::Expired);
    // Without a deadline, the policy's.
    bench.call("c", "echo", "3");
    bench.pass(Duration::from_secs(60));
    // The fourth is the first: its lease ended after its deadline.
    assert_eq!(bench.broker.counters().expired, 4);
    assert_eq!(bench.broker.bytes(), 0);
}

/// `ttl` is a deadline as well, and nothing is held back until `nb`. What else is in a header is the worker's.
#[test]
fn times_of_life_and_times_to_come() {
    let mut bench = Bench::new(config());
    let ext = |ttl, not_before| Ext {
        deadline: Some(Duration::from_secs(9)),
        ttl: Some(Duration::from_millis(ttl)),
        not_before: Some(Duration::from_millis(not_before)),
        trace: Some("00-1-2-01".into()),
        ..Ext::default()
    };
    bench.ext_ready("w", "echo");
    bench.ext_call("c", "echo", ext(0, 0), "x");
    assert_eq!(bench.declined("c").0, Status::Expired);
    bench.ext_call("c", "echo", ext(50, 1), "x");
    assert_eq!(bench.declined("c").0, Status::Unavailable);
    assert_eq!(bench.broker.counters().early, 1);
    bench.ext_call("c", "echo", ext(50, 0), "x");
    let (_, frames) = bench.sent().unwrap();
    let ext = Ext::decode(&frames[5]).unwrap().unwrap();
    assert_eq!(
        (ext.deadline, ext.ttl),
        (Some(Duration::from_millis(50)), None)
    );
    assert_eq!(ext.trace.as_deref(), Some("00-1-2-01"));
}

/// The worker is told what is left of the deadline, and which delivery this is.
#[test]
fn workers_that_know_the_header_get_it_and_others_do_not() {
    let mut bench = Bench::new(config());
    let ext = Ext {
        id: Some(MsgId([1; 16])),
        deadline: Some(Duration::from_millis(500)),
        priority: Some(3),
        ..Ext::default()
    };
    bench.ext_call("c", "echo", ext, "x");
    bench.pass(Duration::from_millis(100));
    bench.ready("old", "echo");
    let (_, frames) = bench.sent().unwrap();
    assert_eq!(frames.len(), 6);
    bench.ext_ready("new", "echo");
    bench.down("old");
    let (to, frames) = bench.sent().unwrap();
    assert_eq!((to.as_str(), frames.len()), ("new", 7));
    let ext = Ext::decode(&frames[5]).unwrap().unwrap();
    assert_eq!(ext.deadline, Some(Duration::from_millis(400)));
    assert_eq!((ext.attempt, ext.priority), (Some(2), Some(3)));
    assert_eq!(ext.id, Some(MsgId([1; 16])));
    // A reply to another request is told by its name.
    let other = Ext {
        id: Some(MsgId([2; 16])),
        ..Ext::default()
    };
    let body = vec![other.encode().unwrap(), "not this one".into()];
    bench.from("new", wire::encode_reply(V1, &"c".into(), body, true));
    assert_eq!(bench.broker.counters().stale_replies, 1);
    bench.reply("new", "c", "y");
    let (_, frames) = bench.sent().unwrap();
    let ext = Ext::decode(&frames[3]).unwrap().unwrap();
    assert_eq!(
        (ext.id, ext.status),
        (Some(MsgId([1; 16])), Some(Status::Ok))
    );
}

#[test]
fn parts_for_those_who_know_them_and_for_those_who_do_not() {
    let mut bench = Bench::new(config());
    let part = |op, body: &str| {
        let ext = Ext {
            op,
            ..Ext::default()
        };
        vec![ext.encode().unwrap(), body.into()]
    };
    bench.ext_ready("w", "echo");
    bench.ext_call("c", "echo", Ext::default(), "x");
    bench.log();
    for (op, body) in [(Op::Partial, "1"), (Op::Partial, "2"), (Op::Final, "3")] {
        bench.from(
            "w",
            wire::encode_reply(V1, &"c".into(), part(op, body), true),
        );
    }
    let numbers: Vec<_> = std::iter::from_fn(|| bench.sent())
        .map(|(_, frames)| {
            let ext = Ext::decode(&frames[3]).unwrap().unwrap().into_owned();
            (ext.op, ext.part)
        })
        .collect();
    let expected = [
        (Op::Partial, Some(0)),
        (Op::Partial, Some(1)),
        (Op::Final, Some(2)),
    ];
    assert_eq!(numbers, expected);
    // Concatenated.
    bench.call("d", "echo", "x");
    bench.log();
    for (op, body) in [(Op::Partial, "1"), (Op::Final, "2")] {
        bench.from(
            "w",
            wire::encode_reply(V1, &"d".into(), part(op, body), true),
        );
    }
    let (_, frames) = bench.sent().unwrap();
    assert_eq!(frames[3..], [Frame::from("1"), "2".into()]);
    // Refused.
    let policy = ServicePolicy {
        partials: Partials::Refuse,
        ..config().policy
    };
    bench.broker.set_policy("echo", policy);
    bench.call("d", "echo", "x");
    bench.log();
    bench.from(
        "w",
        wire::encode_reply(V1, &"d".into(), part(Op::Partial, "1"), true),
    );
    bench.from(
        "w",
        wire::encode_reply(V1, &"d".into(), part(Op::Final, "2"), true),
    );
    assert_eq!(bench.log(), ["w:recall"]);
    assert_eq!(bench.stats(), (0, 0, 1));
    assert_eq!(bench.broker.counters().dead, 1);
}

#[test]
fn both_dialects_meet() {
    let mut bench = Bench::new(config());
    let v2 = Dialect::V2;
    bench.from("w", wire::encode_ready(v2, &"echo".into(), None));
    bench.call("old", "echo", "x");
    let (_, frames) = bench.sent().unwrap();
    assert_eq!(frames[0], "MDPW02");
    for (body, last) in [("1", false), ("2", true)] {
        bench.from(
            "w",
            wire::encode_reply(v2, &"old".into(), vec![body.into()], last),
        );
    }
    let (_, frames) = bench.sent().unwrap();
    assert_eq!(
        frames,
        Message::multipart(["", "MDPC01", "echo", "1", "2"]).into_frames()
    );
    bench.from(
        "new",
        wire::encode_call(v2, &"echo".into(), vec!["x".into()]),
    );
    bench.sent().unwrap();
    for (body, last) in [("1", false), ("2", true)] {
        bench.from(
            "w",
            wire::encode_reply(v2, &"new".into(), vec![body.into()], last),
        );
    }
    let sent: Vec<_> = std::iter::from_fn(|| bench.sent())
        .map(|sent| sent.1)
        .collect();
    assert_eq!(
        sent[0],
        Message::multipart(["MDPC02", "\x02", "echo", "1"]).into_frames()
    );
    assert_eq!(
        sent[1],
        Message::multipart(["MDPC02", "\x03", "echo", "2"]).into_frames()
    );
}

/// 8/MMI: the question is the last frame, and the answer takes its place.
#[test]
fn questions_to_the_broker() {
    let mut bench = Bench::new(config());
    let ask = |bench: &mut Bench, service: &str, question: &str| {
        bench.call("c", service, question);
        let (_, frames) = bench.sent().unwrap();
        assert_eq!(frames[2], *service);
        frames[3..]
            .iter()
            .map(|f| String::from_utf8_lossy(f).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(&mut bench, "mmi.service", "echo"), ["404"]);
    bench.call("d", "echo", "waits");
    assert_eq!(
        ask(&mut bench, "mmi.service", "echo"),
        ["404"],
        "asked for is not offered"
    );
    bench.ready("w", "echo");
    bench.log();
    assert_eq!(ask(&mut bench, "mmi.service", "echo"), ["200"]);
    assert_eq!(ask(&mut bench, "mmi.features", "ext/1"), ["200"]);
    assert_eq!(ask(&mut bench, "mmi.features", "slots"), ["200"]);
    assert_eq!(ask(&mut bench, "mmi.features", "teleport"), ["404"]);
    assert_eq!(ask(&mut bench, "mmi.services", ""), ["200", "echo"]);
    let stats = ask(&mut bench, "mmi.stats", "echo");
    assert_eq!(stats[..5], ["200", "ready", "0", "ready_bytes", "0"]);
    assert_eq!(stats[5..7], ["oldest_ms", "0"]);
    assert_eq!(ask(&mut bench, "mmi.stats", "nothing"), ["404"]);
    assert_eq!(
        ask(&mut bench, "mmi.stats", "")[..3],
        ["200", "requests", "1"]
    );
    assert_eq!(ask(&mut bench, "mmi.whatever", "x"), ["501"]);
    // R2: the name of the service is looked at, not that of the sender.
    bench.ready("mmi.sender", "fine");
    assert_eq!(bench.log(), [""; 0]);
    bench.ready("v", "mmi.service");
    assert_eq!(bench.log(), ["v:disconnect"]);
    bench.ready("u", "nul\0");
    assert_eq!(bench.log(), ["u:disconnect"]);
}

/// How long the first of those who wait has waited, also if a worker had it in between.
#[test]
fn the_age_of_what_waits() {
    let mut bench = Bench::with("busy");
    let begin = bench.now;
    assert_eq!(bench.broker.service("echo").unwrap().oldest, None);
    bench.pass(BEAT);
    bench.call("d", "echo", "later");
    let oldest = |bench: &Bench| bench.broker.service("echo").unwrap().oldest;
    assert_eq!(oldest(&bench), Some(begin + BEAT));
    bench.down("w");
    assert_eq!(oldest(&bench), Some(begin));
    bench.pass(BEAT);
    bench.log();
    bench.call("e", "mmi.stats", "echo");
    let (_, frames) = bench.sent().unwrap();
    assert_eq!(frames[8..10], [Frame::from("oldest_ms"), "200".into()]);
}

/// MDP-13.
#[test]
fn a_broker_that_closes_finishes_what_workers_have() {
    let mut bench = Bench::with("busy");
    bench.ready("idle", "other");
    bench.ext_call("d", "echo", Ext::default(), "waits");
    bench.broker.handle_drain(bench.now);
    assert_eq!(bench.declined("d").0, Status::Unavailable);
    assert_eq!(bench.log(), ["idle:disconnect"]);
    bench.ext_call("d", "echo", Ext::default(), "late");
    assert_eq!(bench.declined("d").0, Status::Unavailable);
    assert_eq!(bench.broker.poll_event(), None);
    bench.reply("w", "c", "y");
    let mut log = bench.log();
    log.sort();
    assert_eq!(log, ["c:reply y", "w:disconnect"]);
    assert_eq!(bench.broker.poll_event(), Some(BrokerEvent::Drained));
    assert_eq!(bench.broker.poll_timeout(), None);
}

/// A worker whose reply was refused in the middle is watched like others that have no request, and while the broker
/// closes nobody waits for the rest.
#[test]
fn a_worker_with_a_reply_that_was_refused() {
    for drains in [false, true] {
        let mut refusing = config();
        refusing.policy.partials = Partials::Refuse;
        let mut bench = Bench::new(refusing);
        bench.ext_ready("w", "echo");
        bench.heartbeat("w");
        bench.call("c", "echo", "x");
        assert_eq!(bench.log(), ["w:request x"]);
        if drains {
            bench.broker.handle_drain(bench.now);
        }
        let part = Ext {
            op: Op::Partial,
            ..Ext::default()
        };
        bench.ext_reply("w", "c", part, "1");
        if !drains {
            assert_eq!(bench.stats(), (0, 0, 1));
            bench.pass(BEAT * 3);
        }
        assert_eq!(bench.stats(), (0, 0, 0), "drains: {drains}");
        bench.log();
        assert_eq!(bench.broker.poll_timeout(), None);
        let drained = std::iter::from_fn(|| bench.broker.poll_event())
            .any(|event| event == BrokerEvent::Drained);
        assert_eq!(drained, drains);
    }
}

#[test]
fn clients_that_go_away() {
    let mut bench = Bench::with("busy");
    bench.call("d", "echo", "waits");
    bench.down("d");
    assert_eq!(bench.stats(), (0, 1, 1));
    bench.down("c");
    bench.reply("w", "c", "y");
    assert_eq!(bench.log(), [""; 0]);
    let counters = bench.broker.counters();
    assert_eq!((counters.cancelled, counters.undeliverable), (2, 1));
    let cancel = |op| Ext {
        id: Some(MsgId([1; 16])),
        op,
        ..Ext::default()
    };
    bench.ext_call("e", "none", cancel(Op::Call), "x");
    bench.ext_call("e", "-", cancel(Op::Cancel), "");
    assert_eq!(bench.broker.service("none"), None);
}

#[test]
fn a_worker_that_cannot_be_sent_to_is_lost() {
    let mut bench = Bench::new(config());
    bench.ready("w", "echo");
    bench.call("c", "echo", "x");
    let transmit = bench.broker.poll_transmit().unwrap();
    bench.broker.handle_refused(bench.now, transmit);
    assert_eq!(bench.stats(), (1, 0, 0));
    bench.ready("v", "echo");
    assert_eq!(bench.log(), ["v:request x"]);
}
