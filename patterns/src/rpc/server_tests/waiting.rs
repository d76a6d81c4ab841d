//! A full server that reads no more until there is room.

use super::*;

/// One at work, one in the queue; `bounds` is what makes the queue full.
fn full(messages: usize, octets: usize) -> Bench {
    let mut config = config();
    config.queue = Limits {
        messages,
        bytes: octets,
        on_full: OnFull::Wait,
        ..Limits::default()
    };
    let mut bench = Bench::new(config);
    for name in ["1", "2"] {
        assert!(bench.server.takes_messages(Port(0)));
        bench.sends("a", name, call(), "x");
    }
    bench
}

const ONE: usize = 1 + FRAME_COST;

/// At the bound of messages and at that of octets.
fn both() -> [Bench; 2] {
    [full(1, 1 << 20), full(100, ONE)]
}

impl Bench {
    fn finish_one(&mut self) {
        let request = self.starts().expect("one is at work");
        self.server
            .handle_reply(self.now, request.id, "done".into());
        assert_eq!(self.reply().expect("its reply").3, "done".into());
    }

    fn is_reading(&self) -> bool {
        self.server.takes_messages(Port(0))
    }
}

/// SUB-06: who is too much is not declined, and nothing is read before there is room for it.
#[test]
fn what_does_not_fit_waits_and_nothing_else_is_read() {
    for mut bench in both() {
        assert!(bench.is_reading(), "the queue is full, and nobody waits");
        bench.sends("b", "3", call(), "x");
        assert!(!bench.is_reading());
        assert_eq!(bench.reply(), None, "it is not declined");
        assert_eq!(bench.server.load(), (1, ONE, 1));
        // What is given to it all the same is too much.
        bench.sends("c", "4", call(), "x");
        bench.declined("c", Status::Rejected);
        bench.finish_one();
        assert!(bench.is_reading(), "there is room for the next one");
        assert_eq!(bench.server.load(), (1, ONE, 1));
        bench.finish_one();
        bench.finish_one();
        assert_eq!(bench.server.load(), (0, 0, 0));
        let counters = bench.server.counters();
        assert_eq!((counters.started, counters.replies), (3, 3));
        assert_eq!((counters.waited, counters.rejected), (1, 1));
    }
}

/// Its deadline holds, and it makes room when it is over, when it is given up, and when its client is gone.
#[test]
fn what_waits_for_room_may_end_there() {
    for mut bench in both() {
        let short = Ext {
            deadline: Some(Duration::from_millis(30)),
            ..Ext::default()
        };
        bench.sends("b", "3", Some(short), "x");
        let at = bench.server.poll_timeout().expect("its deadline");
        assert_eq!(at, bench.now + Duration::from_millis(30));
        bench.after(Duration::from_millis(30));
        bench.declined("b", Status::Expired);
        assert!(bench.is_reading());

        bench.sends("b", "4", call(), "x");
        assert!(!bench.is_reading());
        let cancel = Ext {
            op: Op::Cancel,
            ..Ext::default()
        };
        bench.sends("b", "4", Some(cancel), "");
        assert!(bench.is_reading());

        bench.sends("b", "5", call(), "x");
        assert!(!bench.is_reading());
        let down = PeerEvent::Down {
            peer: Some("b".into()),
        };
        bench.server.handle_peer(bench.now, Port(0), down);
        assert!(bench.is_reading());

        bench.finish_one();
        bench.finish_one();
        assert_eq!(bench.server.poll_event(), None, "no handler saw the others");
        let counters = bench.server.counters();
        assert_eq!((counters.waited, counters.expired), (3, 1));
        assert_eq!((counters.cancelled, counters.rejected), (2, 0));
    }
}

/// What can never fit, and what is more than the share of its client, is declined: others would wait with it.
#[test]
fn what_never_fits_does_not_wait() {
    let mut bench = full(100, ONE);
    bench.sends("b", "3", call(), "too large");
    bench.declined("b", Status::Rejected);
    let mut config = config();
    config.queue.on_full = OnFull::Wait;
    config.queue.per_flow = 1;
    let mut bench = Bench::new(config);
    for name in ["1", "2", "3"] {
        bench.sends("a", name, call(), "x");
    }
    bench.declined("a", Status::Rejected);
    assert!(bench.is_reading());
    assert_eq!(bench.server.counters().waited, 0);
}

/// Repetitions of what waits are known, and a server that closes finishes it.
#[test]
fn what_waits_for_room_is_in_the_server() {
    for mut bench in both() {
        bench.sends("b", "3", keyed(3, 1), "x");
        assert!(!bench.is_reading());
        bench.sends("b", "3", keyed(3, 2), "x");
        assert_eq!(bench.server.counters().dups, 1);
        bench.server.handle_drain(bench.now);
        for _ in 0..3 {
            assert_ne!(bench.server.counters().replies, 3);
            bench.finish_one();
        }
        assert_eq!(bench.reply(), None);
        assert_eq!(bench.server.poll_event(), Some(ServerEvent::Drained));
    }
}
