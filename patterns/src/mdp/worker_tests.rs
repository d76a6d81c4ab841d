//! The worker in virtual time: each row of its table, heartbeats, expiry, draining, and what brokers must not do.

use super::*;
use crate::common::{MsgId, Scope};

#[path = "worker_tests/drain.rs"]
mod drain;
#[path = "worker_tests/parts.rs"]
mod parts;
#[path = "worker_tests/too_large.rs"]
mod too_large;

const BEAT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_millis(300);

fn config() -> WorkerConfig {
    WorkerConfig {
        heartbeat: Heartbeat {
            interval: BEAT,
            liveness: 3,
            scope: Scope::Process,
        },
        ..WorkerConfig::default()
    }
}

fn with_ext() -> WorkerConfig {
    WorkerConfig {
        ext: true,
        ..config()
    }
}

/// A worker, what time it is, and the socket that it has opened last.
struct Bench {
    worker: WorkerEngine,
    now: Instant,
    port: Port,
    broker: usize,
}

impl Bench {
    fn new(config: WorkerConfig, brokers: usize) -> Self {
        Bench::with_slots(config, brokers, 1)
    }

    fn with_slots(config: WorkerConfig, brokers: usize, slots: u32) -> Self {
        let now = Instant::now();
        let mut bench = Bench {
            worker: WorkerEngine::with_slots(config, "echo", brokers, 7, now, slots),
            now,
            port: Port(u32::MAX),
            broker: usize::MAX,
        };
        bench.opened();
        bench
    }

    /// One that has registered with its broker.
    fn ready(config: WorkerConfig, brokers: usize) -> Self {
        let mut bench = Bench::new(config, brokers);
        bench.up();
        bench.expect_ready();
        bench
    }

    fn opened(&mut self) {
        match self.worker.poll_event() {
            Some(WorkerEvent::Open { port, broker }) => {
                (self.port, self.broker) = (port, broker);
            }
            other => panic!("{other:?} instead of a new socket"),
        }
    }

    /// The socket is closed, and after a pause there is a new one, to this broker.
    fn expect_reconnect(&mut self, broker: usize) {
        let closed = WorkerEvent::Close { port: self.port };
        assert_eq!(self.worker.poll_event(), Some(closed));
        assert_eq!(self.worker.poll_event(), None, "there is a pause first");
        let until = self.worker.poll_timeout().expect("the pause ends");
        assert!(until <= self.now + config().backoff.max);
        self.now = until.max(self.now);
        self.worker.handle_timeout(self.now);
        self.opened();
        assert_eq!(self.broker, broker);
    }

    fn peer(&mut self, event: PeerEvent) {
        self.worker.handle_peer(self.now, self.port, event);
    }

    fn up(&mut self) {
        self.peer(PeerEvent::Up { peer: None });
    }

    fn down(&mut self) {
        self.peer(PeerEvent::Down { peer: None });
    }

    fn hears(&mut self, message: Message) {
        self.worker
            .handle_message(self.now, self.port, None, message);
    }

    fn request_with(&mut self, client: &str, body: Vec<Frame>) {
        self.hears(wire::encode_request(Dialect::V1, &client.into(), body));
    }

    fn request(&mut self, client: &str) {
        self.request_with(client, vec!["body".into()]);
    }

    /// With an extension header.
    fn ext_request(&mut self, client: &str, ext: Ext<'_>) {
        self.request_with(client, vec![ext.encode().unwrap(), "body".into()]);
    }

    fn heartbeat(&mut self) {
        self.hears(wire::encode_heartbeat(Dialect::V1));
    }

    fn disconnect(&mut self) {
        self.hears(wire::encode_disconnect(Dialect::V1));
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        self.worker.handle_timeout(self.now);
    }

    /// What is sent next, to the socket that there is.
    fn sent(&mut self) -> Option<Message> {
        let transmit = self.worker.poll_transmit()?;
        assert_eq!((transmit.port, transmit.to), (self.port, None));
        Some(transmit.message)
    }

    fn expect_ready(&mut self) {
        let ready = wire::encode_ready(Dialect::V1, &"echo".into(), None);
        assert_eq!(self.sent(), Some(ready));
    }

    fn expect_heartbeat(&mut self) {
        assert_eq!(self.sent(), Some(wire::encode_heartbeat(Dialect::V1)));
    }

    fn expect_reply(&mut self, client: &str, body: &str) {
        let body = vec![body.into()];
        let reply = wire::encode_reply(Dialect::V1, &client.into(), body, true);
        assert_eq!(self.sent(), Some(reply));
    }

    /// The header of the reply that is sent next, and what follows it.
    fn ext_reply(&mut self) -> (Ext<'static>, Vec<Frame>) {
        let mut frames = self.sent().expect("a reply").into_frames();
        let body = frames.split_off(6);
        let ext = Ext::decode(&frames[5]).unwrap().expect("a header");
        (ext.into_owned(), body)
    }

    /// The request that the handler is given.
    fn given(&mut self) -> WorkerRequestId {
        match self.worker.poll_event() {
            Some(WorkerEvent::Request(request)) => request.id,
            other => panic!("{other:?} instead of a request"),
        }
    }

    fn reply(&mut self, id: WorkerRequestId, body: &str) {
        self.worker.handle_reply(self.now, id, body.into());
    }

    fn expect_nothing(&mut self) {
        assert_eq!(self.sent(), None);
        assert_eq!(self.worker.poll_event(), None);
    }
}

/// Down: the connection is made.
#[test]
fn ready_is_the_first_message_on_every_connection() {
    let mut bench = Bench::new(config(), 1);
    bench.pass(BEAT);
    bench.expect_nothing();
    bench.up();
    bench.expect_ready();
    bench.expect_nothing();
    bench.down();
    bench.pass(BEAT);
    bench.expect_nothing();
    bench.up();
    bench.expect_ready();
    assert_eq!(
        bench.worker.counters().reconnects,
        0,
        "the socket does that by itself"
    );
}

/// Down: not made in time.
#[test]
fn a_broker_that_is_not_there_is_left_for_the_next() {
    let mut bench = Bench::new(config(), 2);
    assert_eq!(bench.broker, 0);
    bench.pass(PATIENCE - Duration::from_millis(1));
    bench.expect_nothing();
    bench.pass(Duration::from_millis(1));
    bench.expect_reconnect(1);
    bench.pass(PATIENCE);
    bench.expect_reconnect(0);
    // Of a connection that was lost, too.
    bench.up();
    bench.expect_ready();
    bench.down();
    bench.pass(PATIENCE);
    bench.expect_reconnect(1);
    assert_eq!(bench.worker.counters().reconnects, 3);
}

/// Down, with no other broker to go to.
#[test]
fn the_only_broker_is_waited_for() {
    let mut bench = Bench::new(config(), 1);
    for _ in 0..5 {
        bench.pass(PATIENCE);
        bench.expect_nothing();
        assert!(bench.worker.poll_timeout() > Some(bench.now));
    }
    bench.up();
    bench.expect_ready();
}

/// Ready: REQUEST. Working: the handler has its reply.
#[test]
fn requests_are_answered_one_by_one() {
    let mut bench = Bench::ready(config(), 1);
    for number in 0..3 {
        bench.request("client");
        assert!(bench.worker.is_working());
        let id = bench.given();
        bench.expect_nothing();
        bench.reply(id, &number.to_string());
        bench.expect_reply("client", &number.to_string());
        assert!(!bench.worker.is_working());
        bench.reply(id, "again");
        bench.expect_nothing();
    }
    let counters = bench.worker.counters();
    assert_eq!((counters.requests, counters.replies), (3, 3));
}

/// Working: the connection is lost. READY comes when the handler is free.
#[test]
fn what_a_lost_connection_brought_is_of_no_use() {
    let mut bench = Bench::ready(config(), 1);
    bench.request("client");
    let id = bench.given();
    bench.down();
    bench.up();
    bench.pass(BEAT);
    bench.expect_nothing();
    assert!(!bench.worker.handle_partial(bench.now, id, "a part".into()));
    bench.reply(id, "late");
    bench.expect_ready();
    bench.expect_nothing();
    assert_eq!(bench.worker.counters().undeliverable, 1);
    bench.request("client");
    let id = bench.given();
    bench.reply(id, "in time");
    bench.expect_reply("client", "in time");
}

/// Ready and Working: DISCONNECT.
#[test]
fn a_worker_that_is_sent_away_goes_to_the_next_broker() {
    let mut bench = Bench::ready(config(), 3);
    bench.disconnect();
    bench.expect_reconnect(1);
    bench.up();
    bench.expect_ready();
    bench.request("client");
    let id = bench.given();
    bench.disconnect();
    bench.expect_reconnect(2);
    bench.up();
    bench.reply(id, "for the other broker");
    bench.expect_ready();
    bench.expect_nothing();
    let counters = bench.worker.counters();
    assert_eq!((counters.reconnects, counters.undeliverable), (2, 1));
}

/// Ready: silence, of a broker that has sent a heartbeat and of one that never did.
#[test]
fn silence_means_something_after_the_first_heartbeat() {
    let mut bench = Bench::ready(config(), 2);
    for _ in 0..20 {
        bench.pass(BEAT);
        bench.expect_heartbeat();
    }
    bench.expect_nothing();
    bench.heartbeat();
    bench.pass(PATIENCE - Duration::from_millis(1));
    bench.expect_heartbeat();
    bench.expect_nothing();
    bench.pass(Duration::from_millis(1));
    bench.expect_reconnect(1);
    // A new broker has promised nothing yet.
    bench.up();
    bench.expect_ready();
    bench.pass(PATIENCE);
    bench.expect_heartbeat();
    assert_eq!(bench.worker.poll_event(), None);
}

/// Anything from the broker is a sign of life.
#[test]
fn whatever_comes_puts_expiry_off() {
    let mut bench = Bench::ready(config(), 2);
    bench.heartbeat();
    for _ in 0..5 {
        bench.pass(PATIENCE - Duration::from_millis(1));
        bench.expect_heartbeat();
        bench.request("client");
        let id = bench.given();
        bench.reply(id, "reply");
        bench.expect_reply("client", "reply");
    }
    assert_eq!(bench.worker.counters().reconnects, 0);
}

/// Brokers are silent towards busy workers: that means nothing, and counts from the reply on.
#[test]
fn silence_while_it_works_means_nothing() {
    let mut bench = Bench::ready(config(), 2);
    bench.heartbeat();
    bench.request("client");
    let id = bench.given();
    for _ in 0..10 {
        bench.pass(PATIENCE);
        bench.expect_heartbeat();
    }
    bench.expect_nothing();
    bench.reply(id, "at last");
    bench.expect_reply("client", "at last");
    bench.pass(PATIENCE - Duration::from_millis(1));
    bench.expect_heartbeat();
    assert_eq!(bench.worker.poll_event(), None);
    bench.pass(Duration::from_millis(1));
    bench.expect_reconnect(1);
}

/// Brokers that know of slots are not silent towards busy workers.
#[test]
fn silence_counts_all_the_time_with_several_slots() {
    let mut bench = Bench::with_slots(with_ext(), 2, 2);
    bench.up();
    assert!(bench.sent().is_some(), "READY");
    bench.heartbeat();
    bench.request("client");
    let id = bench.given();
    bench.pass(PATIENCE);
    bench.expect_reconnect(1);
    bench.reply(id, "of no use");
    bench.expect_nothing();
    assert_eq!(bench.worker.counters().undeliverable, 1);
}

#[test]
fn heartbeats_are_put_off_by_what_is_sent() {
    let mut bench = Bench::ready(config(), 1);
    assert_eq!(bench.worker.poll_timeout(), Some(bench.now + BEAT));
    bench.pass(BEAT / 2);
    bench.request("client");
    let id = bench.given();
    bench.reply(id, "reply");
    bench.expect_reply("client", "reply");
    assert_eq!(bench.worker.poll_timeout(), Some(bench.now + BEAT));
    bench.pass(BEAT / 2);
    bench.expect_nothing();
    bench.pass(BEAT / 2);
    bench.expect_heartbeat();
}

/// With `Scope::Progress` a handler that is stuck is not vouched for.
#[test]
fn heartbeats_end_with_progress() {
    let mut config = config();
    config.heartbeat.scope = Scope::Progress;
    let mut bench = Bench::ready(config, 1);
    bench.request("client");
    let id = bench.given();
    let beats = |bench: &mut Bench| {
        let mut beats = 0;
        for _ in 0..10 {
            bench.pass(BEAT);
            beats += std::iter::from_fn(|| bench.sent()).count();
        }
        beats
    };
    assert_eq!(beats(&mut bench), 2, "for less than three intervals");
    bench.worker.handle_progress(bench.now, id);
    bench.pass(Duration::ZERO);
    bench.expect_heartbeat();
    assert_eq!(beats(&mut bench), 2);
    bench.reply(id, "after all");
    bench.expect_reply("client", "after all");
    assert_eq!(beats(&mut bench), 10, "it has nothing to do");
}

/// The pauses grow while nothing good happens, and begin anew when a broker has work.
#[test]
fn pauses_grow_and_begin_anew() {
    let mut bench = Bench::ready(config(), 1);
    let pauses = |bench: &mut Bench, times: u32| {
        let mut longest = Duration::ZERO;
        for _ in 0..times {
            bench.disconnect();
            let begin = bench.now;
            bench.expect_reconnect(0);
            longest = longest.max(bench.now - begin);
            bench.up();
            bench.expect_ready();
        }
        longest
    };
    let base = config().backoff.base;
    assert!(pauses(&mut bench, 20) > base);
    bench.request("client");
    let id = bench.given();
    bench.reply(id, "reply");
    bench.expect_reply("client", "reply");
    assert!(pauses(&mut bench, 1) <= base);
    pauses(&mut bench, 20);
    bench.heartbeat();
    assert!(pauses(&mut bench, 1) <= base);
}

#[test]
fn a_worker_that_drains_says_goodbye() {
    let goodbye = wire::encode_disconnect(Dialect::V1);
    // It has nothing to do.
    let mut bench = Bench::ready(config(), 1);
    bench.worker.handle_drain(bench.now);
    assert_eq!(bench.sent(), Some(goodbye.clone()));
    let closed = WorkerEvent::Close { port: bench.port };
    assert_eq!(bench.worker.poll_event(), Some(closed.clone()));
    assert_eq!(bench.worker.poll_event(), Some(WorkerEvent::Drained));
    bench.worker.handle_drain(bench.now);
    bench.request("client");
    bench.expect_nothing();
    assert_eq!(bench.worker.poll_timeout(), None, "it is over");

    // It is at work: that is finished. What crosses its goodbye is for another worker.
    let mut bench = Bench::ready(config(), 1);
    bench.request("client");
    let id = bench.given();
    bench.worker.handle_drain(bench.now);
    bench.expect_nothing();
    bench.request("another");
    bench.expect_nothing();
    bench.reply(id, "the last");
    bench.expect_reply("client", "the last");
    assert_eq!(bench.sent(), Some(goodbye));
    assert_eq!(bench.worker.poll_event(), Some(closed));
    assert_eq!(bench.worker.poll_event(), Some(WorkerEvent::Drained));
    assert_eq!(bench.worker.counters().malformed, 0);
}

#[test]
fn a_worker_without_a_connection_drains_without_a_word() {
    let mut bench = Bench::new(config(), 1);
    bench.worker.handle_drain(bench.now);
    let closed = WorkerEvent::Close { port: bench.port };
    assert_eq!(bench.worker.poll_event(), Some(closed));
    assert_eq!(bench.worker.poll_event(), Some(WorkerEvent::Drained));
    bench.expect_nothing();
    // In a pause there is no socket either.
    let mut bench = Bench::ready(config(), 1);
    bench.disconnect();
    let closed = WorkerEvent::Close { port: bench.port };
    assert_eq!(bench.worker.poll_event(), Some(closed));
    bench.worker.handle_drain(bench.now);
    assert_eq!(bench.worker.poll_event(), Some(WorkerEvent::Drained));
    bench.pass(Duration::from_secs(60));
    bench.expect_nothing();
}

/// The broker has lost count: a new connection makes clear what the worker does.
#[test]
fn a_request_while_it_is_busy_is_a_mistake_of_the_broker() {
    // The brokers cannot be told of two slots without the extension header.
    let mut bench = Bench::with_slots(config(), 2, 2);
    bench.up();
    bench.expect_ready();
    bench.request("client");
    let id = bench.given();
    bench.request("another");
    bench.expect_reconnect(1);
    assert_eq!(bench.worker.counters().malformed, 1);
    bench.up();
    bench.reply(id, "of no use");
    bench.expect_ready();
    bench.expect_nothing();
}

/// READY, a heartbeat, or a reply: without it the broker does not know where the worker is.
#[test]
fn what_the_socket_refuses_ends_the_connection() {
    let mut bench = Bench::new(config(), 2);
    bench.up();
    let ready = bench.worker.poll_transmit().unwrap();
    bench.worker.handle_refused(bench.now, ready.clone());
    bench.expect_reconnect(1);
    // What an earlier socket refused is of no interest.
    bench.up();
    bench.expect_ready();
    bench.worker.handle_refused(bench.now, ready);
    bench.expect_nothing();
}

#[test]
fn what_is_not_of_the_protocol_is_counted_and_ignored() {
    let mut bench = Bench::ready(config(), 1);
    let rubbish = [
        Message::from("rubbish"),
        Message::multipart(["", "MDPW01", "\x07"]),
        Message::multipart(["", "MDPW01", "\x02", "client"]),
        Message::multipart(["", "MDPC01", "echo", "a reply"]),
        wire::encode_heartbeat(Dialect::V2),
        wire::encode_disconnect(Dialect::V2),
    ];
    let count = rubbish.len() as u64;
    for message in rubbish {
        bench.hears(message);
        bench.expect_nothing();
    }
    assert_eq!(bench.worker.counters().malformed, count);
    // From a socket that was closed nothing counts at all.
    let earlier = bench.port;
    bench.disconnect();
    bench.expect_reconnect(0);
    bench.up();
    bench.expect_ready();
    let request = wire::encode_request(Dialect::V1, &"client".into(), vec!["body".into()]);
    bench
        .worker
        .handle_message(bench.now, earlier, None, request);
    let down = PeerEvent::Down { peer: None };
    bench.worker.handle_peer(bench.now, earlier, down);
    bench.expect_nothing();
    bench.request("client");
    bench.given();
}

#[test]
fn what_is_late_or_early_never_reaches_the_handler() {
    let mut bench = Bench::new(with_ext(), 1);
    bench.up();
    assert!(bench.sent().is_some(), "READY");
    let late = Ext {
        deadline: Some(Duration::ZERO),
        ..Ext::default()
    };
    bench.ext_request("client", late);
    assert_eq!(bench.ext_reply().0.status, Some(Status::Expired));
    let early = Ext {
        not_before: Some(BEAT),
        ..Ext::default()
    };
    bench.ext_request("client", early);
    assert_eq!(bench.ext_reply().0.status, Some(Status::Unavailable));
    // This one was in time, and its handler was not.
    let short = Ext {
        deadline: Some(BEAT),
        ..Ext::default()
    };
    bench.ext_request("client", short);
    let id = bench.given();
    bench.worker.handle_expired(bench.now, id);
    assert_eq!(bench.ext_reply().0.status, Some(Status::Expired));
    bench.expect_nothing();
    let counters = bench.worker.counters();
    assert_eq!((counters.expired, counters.early), (2, 1));
    assert_eq!((counters.requests, counters.replies), (0, 3));
}

/// The header of a reply: the name of the request, how it went, and which part it is.
#[test]
fn what_a_reply_says_to_those_who_understand() {
    let mut bench = Bench::new(with_ext(), 1);
    bench.up();
    assert!(bench.sent().is_some(), "READY");
    let name = MsgId([9; 16]);
    let named = || Ext {
        id: Some(name),
        attempt: Some(2),
        ..Ext::default()
    };
    bench.ext_request("client", named());
    let Some(WorkerEvent::Request(request)) = bench.worker.poll_event() else {
        panic!("a request");
    };
    assert_eq!((request.name, request.delivery), (Some(name), Some(2)));
    for part in 0..2 {
        let body = Message::from(part.to_string());
        assert!(bench.worker.handle_partial(bench.now, request.id, body));
        let (ext, body) = bench.ext_reply();
        assert_eq!((ext.op, ext.part), (Op::Partial, Some(part)));
        assert_eq!((ext.id, body), (Some(name), vec![part.to_string().into()]));
    }
    bench.reply(request.id, "last");
    let (ext, body) = bench.ext_reply();
    assert_eq!((ext.op, ext.part), (Op::Final, Some(2)));
    assert_eq!((ext.status, body), (Some(Status::Ok), vec!["last".into()]));
    bench.ext_request("client", named());
    let id = bench.given();
    let fault = Fault::failed("no luck");
    bench.worker.handle_fault(bench.now, id, fault);
    let (ext, body) = bench.ext_reply();
    assert_eq!(ext.status, Some(Status::Failed));
    assert_eq!(ext.reason.as_deref(), Some("no luck"));
    assert_eq!(body, [Frame::default()]);
}

/// A header that cannot be read: nobody knows what the request asks for.
#[test]
fn a_header_that_is_wrong_ends_the_connection() {
    let mut bench = Bench::new(with_ext(), 2);
    bench.up();
    assert!(bench.sent().is_some(), "READY");
    bench.request_with("client", vec![b"\xaa\xae\x01".into(), "body".into()]);
    bench.expect_reconnect(1);
    // Who does not speak it takes it for the body.
    let mut bench = Bench::ready(config(), 1);
    bench.request_with("client", vec![b"\xaa\xae\x01".into(), "body".into()]);
    bench.given();
}

/// A reply to a client without headers that looks like one: the broker would take it for one.
#[test]
fn a_reply_that_looks_like_a_header_follows_one() {
    let looks_like = [b"\xaa\xae\x01".as_slice(), b" and so on"].concat();
    let mut bench = Bench::new(with_ext(), 1);
    bench.up();
    assert!(bench.sent().is_some(), "READY");
    bench.request("client");
    let id = bench.given();
    let reply = Message::from(looks_like.clone());
    bench.worker.handle_reply(bench.now, id, reply.clone());
    let (ext, body) = bench.ext_reply();
    assert_eq!(ext, Ext::default());
    assert_eq!(body, [Frame::from(looks_like)]);
    // A broker without knows nothing of it, and others have none in front.
    bench.request("client");
    let id = bench.given();
    bench.reply(id, "plain");
    bench.expect_reply("client", "plain");
    let mut bench = Bench::ready(config(), 1);
    bench.request("client");
    let id = bench.given();
    bench.worker.handle_reply(bench.now, id, reply);
    assert_eq!(bench.sent().expect("a reply").frame_count(), 6);
}

#[test]
fn several_slots_over_one_connection() {
    let mut bench = Bench::with_slots(with_ext(), 1, 2);
    bench.up();
    let ready = bench.sent().expect("READY");
    let header = Ext::decode(ready.frames().last().unwrap()).unwrap();
    assert_eq!(header.and_then(|ext| ext.slots), Some(2));
    bench.request("1");
    bench.request("2");
    let ids = [bench.given(), bench.given()];
    bench.reply(ids[1], "second");
    bench.expect_reply("2", "second");
    // The connection is lost with the other one; that keeps its slot, and the new connection is used at once.
    bench.down();
    bench.up();
    assert!(bench.sent().is_some(), "READY");
    bench.request("3");
    let third = bench.given();
    bench.reply(ids[0], "first");
    bench.expect_nothing();
    assert_eq!(bench.worker.counters().undeliverable, 1);
    // While it drains it finishes what it has.
    bench.worker.handle_drain(bench.now);
    bench.expect_closed();
    bench.reply(third, "third");
    bench.expect_reply("3", "third");
    assert_eq!(bench.worker.counters().replies, 2);
    assert_eq!(bench.sent(), Some(wire::encode_disconnect(Dialect::V1)));
    let last = std::iter::from_fn(|| bench.worker.poll_event()).last();
    assert_eq!(last, Some(WorkerEvent::Drained));
}
