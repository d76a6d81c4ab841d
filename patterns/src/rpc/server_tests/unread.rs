//! Clients that do not read, and what becomes of parts of replies to them.

use super::*;

fn asked(ext: Ext<'_>) -> (Bench, RequestId) {
    let mut bench = Bench::new(config());
    bench.sends("c", "1", Some(ext), "x");
    let id = bench.starts().unwrap().id;
    (bench, id)
}

impl Bench {
    fn partial(&mut self, id: RequestId, body: &str) -> bool {
        self.server.handle_partial(id, &body.into())
    }

    /// The client "c" takes nothing.
    pub(super) fn full(&mut self) -> Vec<Transmit> {
        let mut sent = Vec::new();
        while let Some(transmit) = self.server.poll_transmit() {
            match transmit.to == Some(PeerId::from("c")) {
                true => self.server.handle_full(self.now, transmit),
                false => sent.push(transmit),
            }
        }
        sent
    }

    fn room(&mut self) {
        let peer = PeerId::from("c");
        self.server.handle_room(self.now, Port(0), Some(&peer));
    }

    fn next(&mut self) -> (Op, Option<u32>, Option<Status>) {
        let ext = self.reply().expect("a reply").2.unwrap();
        (ext.op, ext.part, ext.status)
    }

    fn expect_parts(&mut self, id: RequestId, sent: &[bool]) {
        for sent in sent {
            let part = ServerEvent::Part { id, sent: *sent };
            assert_eq!(self.server.poll_event(), Some(part));
        }
    }
}

#[test]
fn parts_wait_for_room_in_order() {
    let (mut bench, id) = asked(Ext::default());
    for body in ["0", "1"] {
        assert!(bench.partial(id, body));
        bench.full();
        assert!(bench.server.is_waiting(id));
    }
    bench.server.handle_reply(bench.now, id, "end".into());
    bench.server.handle_drain(bench.now);
    assert!(bench.full().is_empty());
    assert_eq!(
        bench.server.poll_event(),
        None,
        "there is something left to send"
    );
    bench.room();
    let ok = Some(Status::Ok);
    assert_eq!(bench.next(), (Op::Partial, Some(0), ok));
    assert_eq!(bench.next(), (Op::Partial, Some(1), ok));
    assert_eq!(bench.next(), (Op::Final, Some(2), ok));
    assert!(bench.reply().is_none());
    bench.expect_parts(id, &[true, true]);
    assert_eq!(bench.server.poll_event(), Some(ServerEvent::Drained));
    assert_eq!(bench.server.counters().undeliverable, 0);
}

#[test]
fn others_are_served_meanwhile() {
    let mut bench = Bench::new(ServerConfig {
        concurrency: 2,
        ..config()
    });
    bench.sends("c", "1", call(), "x");
    let slow = bench.starts().unwrap().id;
    bench.partial(slow, "0");
    bench.full();
    bench.sends("d", "1", call(), "x");
    let quick = bench.starts().unwrap().id;
    bench.server.handle_reply(bench.now, quick, "y".into());
    assert_eq!(bench.full().len(), 1);
    assert!(bench.server.is_waiting(slow));
}

#[test]
fn what_waits_ends_with_the_deadline_the_client_and_its_patience() {
    // The deadline: nobody is told, since nobody waits.
    let (mut bench, id) = asked(Ext {
        deadline: Some(Duration::from_secs(1)),
        ..Ext::default()
    });
    bench.partial(id, "0");
    bench.full();
    assert_eq!(
        bench.server.poll_timeout(),
        Some(bench.now + Duration::from_secs(1))
    );
    bench.after(Duration::from_secs(1));
    bench.expect_parts(id, &[false]);
    assert!(!bench.server.is_wanted(id) && !bench.partial(id, "1"));
    bench.server.handle_reply(bench.now, id, "end".into());
    bench.room();
    assert!(bench.reply().is_none());
    assert_eq!(bench.server.counters().undeliverable, 2);

    // The client is gone.
    let (mut bench, id) = asked(Ext::default());
    bench.partial(id, "0");
    bench.full();
    let peer = Some(PeerId::from("c"));
    bench
        .server
        .handle_peer(bench.now, Port(0), PeerEvent::Down { peer });
    bench.expect_parts(id, &[false]);
    assert!(!bench.partial(id, "1"));

    // It does not read for too long: should it ever, it is told what became of it.
    let (mut bench, id) = asked(Ext::default());
    bench.partial(id, "0");
    assert_eq!(bench.next().1, Some(0));
    bench.partial(id, "1");
    bench.full();
    bench.after(config().stall);
    bench.expect_parts(id, &[false]);
    assert_eq!(bench.server.poll_event(), Some(ServerEvent::Cancelled(id)));
    bench.full();
    bench.server.handle_reply(bench.now, id, "end".into());
    bench.room();
    assert_eq!(bench.next(), (Op::Final, Some(1), Some(Status::Failed)));
    assert!(bench.reply().is_none());
}

#[test]
fn a_part_that_cannot_be_delivered_ends_the_request() {
    let (mut bench, id) = asked(Ext::default());
    assert!(bench.partial(id, "huge"));
    let huge = bench.server.poll_transmit().unwrap();
    bench.server.handle_refused(bench.now, huge);
    assert!(!bench.server.is_waiting(id) && !bench.server.is_wanted(id));
    assert!(!bench.partial(id, "1"));
    bench.server.handle_reply(bench.now, id, "end".into());
    assert_eq!(bench.next(), (Op::Final, None, Some(Status::Failed)));
    assert!(bench.reply().is_none());
}

#[test]
fn replies_that_nobody_reads_are_bounded() {
    let mut bench = Bench::new(config());
    for name in 0..1100u32 {
        bench.sends("c", &name.to_string(), None, "x");
        let id = bench.starts().unwrap().id;
        bench.server.handle_reply(bench.now, id, "y".into());
        bench.full();
    }
    assert_eq!(bench.server.counters().undeliverable, 100);
    bench.room();
    assert_eq!(std::iter::from_fn(|| bench.reply()).count(), 1000);
}

#[test]
fn nobody_reads_parts_after_the_deadline() {
    let second = Duration::from_secs(1);
    let (mut bench, id) = asked(Ext {
        deadline: Some(second),
        ..Ext::default()
    });
    assert!(bench.partial(id, "0"));
    assert!(bench.reply().is_some(), "its client reads");
    assert_eq!(bench.server.poll_timeout(), Some(bench.now + second));
    bench.now += second;
    bench.server.handle_timeout(bench.now);
    assert!(!bench.partial(id, "1"));
    let told = ServerEvent::Cancelled(id);
    assert_eq!(bench.server.poll_event(), Some(told));
    bench.server.handle_reply(bench.now, id, "end".into());
    assert!(bench.reply().is_none());
    assert_eq!(bench.server.poll_timeout(), None);
}

/// Whole replies wait, and for long: nothing holds them back, and a network may be slower than handlers.
#[test]
fn whole_replies_wait_for_who_reads_slowly() {
    let mut bench = Bench::new(ServerConfig {
        concurrency: 1,
        ..config()
    });
    let body = Message::from(vec![0; 1 << 20]);
    for number in 0..70 {
        bench.sends("c", &number.to_string(), None, "x");
        let id = bench.starts().unwrap().id;
        bench.server.handle_reply(bench.now, id, body.clone());
        assert!(bench.full().is_empty());
    }
    assert_eq!(bench.server.counters().undeliverable, 6);
    bench.room();
    for _ in 0..64 {
        assert_eq!(bench.reply().expect("a reply").3, body);
    }
    assert_eq!(bench.reply(), None);
}
