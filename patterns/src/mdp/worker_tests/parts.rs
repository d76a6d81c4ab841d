//! Parts of replies that the socket has no room for, or the broker does not want yet.

use super::*;

fn asked(ext: Ext<'_>) -> (Bench, WorkerRequestId) {
    let mut bench = Bench::new(with_ext(), 1);
    bench.up();
    bench.sent().expect("READY");
    bench.ext_request("c", ext);
    let id = bench.given();
    (bench, id)
}

fn id() -> Ext<'static> {
    Ext {
        id: Some(MsgId([1; 16])),
        ..Ext::default()
    }
}

impl Bench {
    fn partial(&mut self, id: WorkerRequestId, body: &str) -> bool {
        self.worker.handle_partial(self.now, id, body.into())
    }

    /// The socket takes nothing.
    fn full(&mut self) {
        while let Some(transmit) = self.worker.poll_transmit() {
            self.worker.handle_full(self.now, transmit);
        }
    }

    fn room(&mut self) {
        self.worker.handle_room(self.now, self.port, None);
    }
}

#[test]
fn parts_wait_for_room_and_the_connection_stays() {
    let (mut bench, id) = asked(id());
    for body in ["0", "1"] {
        assert!(bench.partial(id, body));
        bench.full();
        assert!(bench.worker.is_waiting(id) && bench.worker.is_wanted(id));
    }
    bench.pass(BEAT);
    bench.full();
    assert_eq!(bench.worker.poll_event(), None, "nobody leaves");
    bench.room();
    for number in [0, 1] {
        let (ext, _) = bench.ext_reply();
        assert_eq!((ext.op, ext.part), (Op::Partial, Some(number)));
    }
    assert_eq!(bench.sent(), None);
    let sent = WorkerEvent::Part { id, sent: true };
    assert_eq!(
        [0; 2].map(|_| bench.worker.poll_event().unwrap()),
        [sent.clone(), sent]
    );
    assert!(!bench.worker.is_waiting(id));
    // The last one waits as well, and a worker that drains with it.
    bench.worker.handle_drain(bench.now);
    bench.reply(id, "end");
    bench.full();
    assert_eq!(
        bench.worker.poll_event(),
        None,
        "there is something left to send"
    );
    bench.room();
    assert_eq!(bench.ext_reply().0.part, Some(2));
    assert_eq!(bench.sent(), Some(wire::encode_disconnect(Dialect::V1)));
    assert_eq!(
        bench.worker.poll_event(),
        Some(WorkerEvent::Close { port: bench.port })
    );
}

#[test]
fn parts_wait_for_credit() {
    let (mut bench, id) = asked(Ext {
        credit: Some(100),
        ..id()
    });
    for _ in 0..4 {
        assert!(bench.partial(id, "p"));
    }
    // Each costs 65.
    assert_eq!(
        (bench.ext_reply().0.part, bench.ext_reply().0.part),
        (Some(0), Some(1))
    );
    assert_eq!(bench.sent(), None);
    assert!(bench.worker.is_waiting(id));
    let note = Note {
        client: "c".into(),
        ext: Ext {
            credit: Some(31),
            ..self::id()
        },
    };
    bench.hears(wire::encode_note(Dialect::V1, &note));
    assert_eq!(bench.ext_reply().0.part, Some(2));
    assert_eq!(bench.sent(), None);
    let part = |sent| Some(WorkerEvent::Part { id, sent });
    assert_eq!(bench.worker.poll_event(), part(true));
    assert!(bench.worker.is_waiting(id));
    // Nobody waits any more: neither does the handler.
    let ext = Ext {
        op: Op::Cancel,
        ..self::id()
    };
    let client = "c".into();
    bench.hears(wire::encode_note(Dialect::V1, &Note { client, ext }));
    assert_eq!(bench.worker.poll_event(), part(false));
    assert!(!bench.worker.is_waiting(id) && !bench.worker.is_wanted(id));
    assert!(!bench.partial(id, "p"));
}

#[test]
fn what_waits_ends_with_the_deadline_and_with_the_connection() {
    let part = |id| Some(WorkerEvent::Part { id, sent: false });
    let (mut bench, late) = asked(Ext {
        deadline: Some(BEAT),
        ..id()
    });
    bench.partial(late, "p");
    bench.full();
    assert_eq!(bench.worker.poll_timeout(), Some(bench.now + BEAT));
    bench.pass(BEAT);
    assert_eq!(bench.worker.poll_event(), part(late));
    assert!(!bench.partial(late, "p"));
    // The broker is told that it is over, and not that it went well.
    bench.reply(late, "end");
    let status = std::iter::from_fn(|| bench.sent()).last().unwrap();
    let ext = Ext::decode(status.frame(5).unwrap()).unwrap().unwrap();
    assert_eq!(ext.status, Some(Status::Failed));

    let (mut bench, id) = asked(id());
    bench.partial(id, "p");
    bench.full();
    bench.down();
    assert_eq!(bench.worker.poll_event(), part(id));
    assert!(!bench.partial(id, "p"));
}

#[test]
fn a_part_that_no_peer_would_take_ends_its_request_and_not_the_connection() {
    let (mut bench, id) = asked(id());
    assert!(bench.partial(id, "huge"));
    let huge = bench.worker.poll_transmit().unwrap();
    bench.worker.handle_refused(bench.now, huge);
    assert!(!bench.worker.is_wanted(id) && !bench.partial(id, "p"));
    assert_eq!(bench.worker.poll_event(), None);
    bench.reply(id, "end");
    assert_eq!(bench.ext_reply().0.status, Some(Status::Failed));
}

/// Though a busy worker expects nothing of it: it may have been stopped.
#[test]
fn a_broker_that_takes_nothing_is_given_up() {
    let mut bench = Bench::new(with_ext(), 2);
    bench.up();
    bench.sent().expect("READY");
    bench.ext_request("c", id());
    let id = bench.given();
    assert!(bench.partial(id, "a"));
    bench.full();
    assert!(bench.worker.is_waiting(id));
    let patience = config().heartbeat.patience();
    let looks = bench.worker.poll_timeout().unwrap();
    assert!(looks <= bench.now + patience);
    // It takes something in time, and then nothing.
    bench.now += patience / 2;
    bench.room();
    bench.full();
    bench.now += patience / 2;
    bench.worker.handle_timeout(bench.now);
    assert_eq!(bench.worker.poll_event(), None);
    bench.now += patience / 2;
    bench.worker.handle_timeout(bench.now);
    let lost = WorkerEvent::Part { id, sent: false };
    assert_eq!(bench.worker.poll_event(), Some(lost));
    bench.expect_reconnect(1);
}
