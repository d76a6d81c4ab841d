//! What is larger than the broker's socket sends.

use super::*;

impl Bench {
    /// The next message, which is for this one, is larger than the socket sends.
    fn too_large(&mut self, to: &str) {
        let transmit = self.broker.poll_transmit().expect("something is sent");
        assert_eq!(transmit.to, Some(PeerId::from(to)));
        self.broker.handle_too_large(self.now, transmit, 11, 10);
    }

    fn dead(&mut self) -> DeadReason {
        match self.broker.poll_event() {
            Some(BrokerEvent::Dead { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

fn named() -> Ext<'static> {
    Ext {
        id: Some(MsgId([1; 16])),
        ..Ext::default()
    }
}

#[test]
fn a_request_that_is_too_large_costs_no_worker() {
    for slots in [0, 1, 2] {
        let mut bench = Bench::new(config());
        let workers = ["w", "x"];
        for worker in workers {
            match slots {
                0 => bench.ready(worker, "echo"),
                _ => bench.slots_ready(worker, "echo", slots),
            }
        }
        let all = bench.stats().2;
        bench.ext_call("c", "echo", named(), "huge");
        bench.too_large("w");
        let (status, ext) = bench.declined("c");
        assert_eq!((status, ext.id), (Status::Failed, named().id));
        assert_eq!(bench.log(), [""; 0], "and nobody else is given it");
        assert_eq!(bench.dead(), DeadReason::Request);
        assert_eq!(bench.stats(), (0, 0, all));
        // Clients that speak no header hear nothing.
        bench.call("d", "echo", "huge");
        bench.too_large("x");
        assert_eq!(bench.log(), [""; 0]);
        assert_eq!(bench.broker.counters().silent, 1);
        // All slots are free.
        for number in 0..all {
            bench.call(&format!("c{number}"), "echo", "x");
        }
        assert_eq!(bench.stats(), (0, all, all));
        assert_eq!(bench.log().len(), all);
    }
}

#[test]
fn who_waited_behind_it_is_next() {
    let mut bench = Bench::with("busy");
    bench.ext_call("d", "echo", named(), "huge");
    bench.call("e", "echo", "y");
    bench.reply("w", "c", "x");
    assert_eq!(bench.sent().expect("the reply").0, "c");
    bench.too_large("w");
    assert_eq!(bench.declined("d").0, Status::Failed);
    assert_eq!(bench.log(), ["w:request y"]);
}

#[test]
fn a_reply_that_is_too_large_is_a_fault() {
    let mut bench = Bench::new(config());
    bench.ext_ready("w", "echo");
    bench.ext_call("c", "echo", named(), "x");
    assert_eq!(bench.log(), ["w:request x"]);
    bench.ext_reply("w", "c", Ext::default(), "huge");
    bench.too_large("c");
    let (status, ext) = bench.declined("c");
    assert_eq!(
        (status, ext.id, ext.op),
        (Status::Failed, named().id, Op::Final)
    );
    let why = "the reply has 11 octets, and its socket sends 10";
    assert_eq!(ext.reason.as_deref(), Some(why));
    // A part ends its request.
    bench.ext_call("c", "echo", named(), "x");
    assert_eq!(bench.log(), ["w:request x"]);
    let part = Ext {
        op: Op::Partial,
        ..Ext::default()
    };
    bench.ext_reply("w", "c", part, "huge");
    bench.too_large("c");
    assert_eq!(bench.dead(), DeadReason::Reply);
    let recall = bench.sent().expect("the worker may stop");
    assert_eq!(recall.0, "w");
    assert_eq!(bench.declined("c").0, Status::Failed);
    // Who speaks no header hears nothing.
    bench.ext_reply("w", "c", Ext::default(), "end");
    bench.call("d", "echo", "x");
    assert_eq!(bench.log(), ["w:request x"]);
    bench.ext_reply("w", "d", Ext::default(), "huge");
    bench.too_large("d");
    assert_eq!(bench.log(), [""; 0]);
    assert_eq!(bench.stats(), (0, 0, 1));
}
