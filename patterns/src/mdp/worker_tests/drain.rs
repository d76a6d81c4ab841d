//! How long a worker may take to end.

use super::*;

const LINGER: Duration = Duration::from_secs(8);
const LAST: Duration = Duration::from_secs(1);

fn lingering() -> WorkerConfig {
    WorkerConfig {
        linger: LINGER,
        ..with_ext()
    }
}

/// With two slots and two requests: their client has given the second up.
fn busy() -> (Bench, WorkerRequestId) {
    let mut bench = Bench::with_slots(lingering(), 1, 2);
    bench.up();
    assert!(bench.sent().is_some(), "it registers");
    let name = |n| Ext {
        id: Some(MsgId([n; 16])),
        ..Ext::default()
    };
    bench.ext_request("c", name(1));
    bench.ext_request("c", name(2));
    let [kept, given_up] = [(); 2].map(|()| bench.given());
    let cancel = Note {
        client: "c".into(),
        ext: Ext {
            op: Op::Cancel,
            ..name(2)
        },
    };
    bench.hears(wire::encode_note(Dialect::V1, &cancel));
    let cancelled = WorkerEvent::Cancelled(given_up);
    assert_eq!(bench.worker.poll_event(), Some(cancelled));
    (bench, kept)
}

impl Bench {
    /// The broker is told to leave free slots alone.
    pub(super) fn expect_closed(&mut self) {
        let note = Note {
            client: Frame::default(),
            ext: Ext {
                slots: Some(0),
                ..Ext::default()
            },
        };
        assert_eq!(self.sent(), Some(wire::encode_note(Dialect::V1, &note)));
    }
}

/// The broker sends heartbeats, and gets some.
fn pass(bench: &mut Bench, span: Duration) {
    let end = bench.now + span;
    while bench.now < end {
        bench.heartbeat();
        bench.pass(BEAT.min(end - bench.now));
        while let Some(sent) = bench.sent() {
            assert_eq!(sent, wire::encode_heartbeat(Dialect::V1));
        }
    }
}

/// One that is busy was told to drain, and half of its time is over.
fn half_way() -> (Bench, WorkerRequestId) {
    let (mut bench, kept) = busy();
    bench.worker.handle_drain(bench.now);
    bench.expect_closed();
    pass(&mut bench, LINGER / 2);
    (bench, kept)
}

/// A second before the end handlers are told to stop, and the broker that the worker leaves.
#[test]
fn what_handlers_do_not_finish_in_time_is_for_others() {
    let (mut bench, kept) = half_way();
    // To be told again changes nothing.
    bench.worker.handle_drain(bench.now);
    let nearly = LINGER / 2 - LAST - Duration::from_nanos(1);
    pass(&mut bench, nearly);
    bench.expect_nothing();
    bench.pass(Duration::from_nanos(1));
    let goodbye = wire::encode_disconnect(Dialect::V1);
    assert_eq!(bench.sent(), Some(goodbye));
    let events: Vec<_> = std::iter::from_fn(|| bench.worker.poll_event()).collect();
    let expected = [
        WorkerEvent::Cancelled(kept),
        WorkerEvent::Close { port: bench.port },
        WorkerEvent::Drained,
    ];
    assert_eq!(events, expected);
    assert_eq!(bench.worker.counters().unfinished, 1);
    assert_eq!(bench.worker.poll_timeout(), None);
    // What comes too late is of no use.
    bench.reply(kept, "late");
    bench.expect_nothing();
    assert_eq!(bench.worker.counters().replies, 0);
}

/// A broker that does not take the last reply is not waited for.
#[test]
fn a_broker_that_takes_nothing_is_left() {
    let mut config = lingering();
    config.heartbeat.interval = LINGER;
    let mut bench = Bench::new(config, 1);
    bench.up();
    assert!(bench.sent().is_some(), "it registers");
    bench.ext_request("c", Ext::default());
    let id = bench.given();
    bench.reply(id, "done");
    let reply = bench.worker.poll_transmit().unwrap();
    bench.worker.handle_full(bench.now, reply);
    bench.worker.handle_drain(bench.now);
    bench.pass(LINGER - Duration::from_nanos(1));
    bench.expect_nothing();
    assert_eq!(
        bench.worker.poll_timeout(),
        Some(bench.now + Duration::from_nanos(1))
    );
    bench.pass(Duration::from_nanos(1));
    let events: Vec<_> = std::iter::from_fn(|| bench.worker.poll_event()).collect();
    assert_eq!(events.last(), Some(&WorkerEvent::Drained));
    assert_eq!(bench.worker.poll_timeout(), None);
}

/// In time it is as if there were no end to it.
#[test]
fn what_is_finished_in_time_is_answered() {
    let (mut bench, kept) = half_way();
    bench.reply(kept, "in time");
    let (ext, body) = bench.ext_reply();
    assert_eq!(ext.status, Some(Status::Ok));
    assert_eq!(body, ["in time"]);
    // The other handler goes on, and nobody wants what it makes.
    let nearly = LINGER / 2 - LAST - Duration::from_nanos(1);
    pass(&mut bench, nearly);
    bench.expect_nothing();
    bench.pass(Duration::from_nanos(1));
    let goodbye = wire::encode_disconnect(Dialect::V1);
    assert_eq!(bench.sent(), Some(goodbye));
    assert_eq!(bench.worker.counters().unfinished, 0);
    let last = bench.worker.poll_event().map(|event| match event {
        WorkerEvent::Close { port } => port,
        other => panic!("{other:?}"),
    });
    assert_eq!(last, Some(bench.port));
    assert_eq!(bench.worker.poll_event(), Some(WorkerEvent::Drained));
}

/// Of two slots one is free: the broker is told to leave it alone, and what it had sent there before is given back.
#[test]
fn free_slots_are_closed_and_what_comes_nevertheless_is_declined() {
    let (mut bench, kept) = busy();
    bench.reply(WorkerRequestId(kept.0 + 1), "of no use");
    bench.sent();
    bench.worker.handle_drain(bench.now);
    bench.expect_closed();
    let name = Ext {
        id: Some(MsgId([3; 16])),
        ..Ext::default()
    };
    bench.ext_request("d", name);
    let (ext, _) = bench.ext_reply();
    let declined = (Some(MsgId([3; 16])), Some(Status::Unavailable));
    assert_eq!((ext.id, ext.status), declined);
    bench.expect_nothing();
    // Nor does it begin anew with a broker that comes back.
    bench.down();
    bench.up();
    bench.expect_nothing();
}
