//! What workers and the broker say about requests that are being carried out.

use super::*;
use crate::mdp::wire::Note;

fn leased(lease: Lease) -> Bench {
    let mut config = config();
    config.policy.lease = lease;
    // Nobody is given up for silence.
    config.heartbeat.liveness = 1000;
    Bench::new(config)
}

impl Bench {
    fn extend(&mut self, worker: &str, client: impl Into<Frame>, by: Duration) {
        let note = Note {
            client: client.into(),
            ext: Ext {
                lease: Some(by),
                ..Ext::default()
            },
        };
        self.from(worker, wire::encode_note(V1, &note));
    }
}

#[test]
fn a_lease_ends_when_its_worker_asked_for_it() {
    for lease in [
        Lease::Fixed(BEAT * 3),
        Lease::WhileHeartbeating(BEAT * 3),
        Lease::None,
    ] {
        let mut bench = leased(lease);
        bench.ext_ready("w", "echo");
        bench.ext_call("c", "echo", Ext::default(), "x");
        bench.extend("w", "c", BEAT * 10);
        // Less than it has takes nothing away; nor does a heartbeat.
        bench.extend("w", "c", BEAT);
        bench.heartbeat("w");
        bench.pass(BEAT * 9);
        assert_eq!(bench.stats(), (0, 1, 1), "{lease:?}");
        bench.extend("w", "c", BEAT * 2);
        bench.pass(BEAT + BEAT / 2);
        assert_eq!(bench.stats(), (0, 1, 1), "{lease:?}");
        bench.pass(BEAT * 2);
        let ended = u64::from(lease != Lease::None);
        assert_eq!(bench.broker.counters().leases_ended, ended, "{lease:?}");
        // One that has ended does not come back.
        bench.extend("w", "c", BEAT * 10);
        assert_eq!(bench.broker.counters().leases_ended, ended);
        assert_eq!(bench.broker.counters().banned, 0);
    }
}

#[test]
fn the_next_request_has_a_lease_of_its_own() {
    let mut bench = leased(Lease::Fixed(BEAT * 3));
    bench.ext_ready("w", "echo");
    bench.call("c", "echo", "x");
    bench.extend("w", "c", BEAT * 100);
    bench.reply("w", "c", "y");
    bench.call("c", "echo", "z");
    bench.pass(BEAT * 3);
    assert_eq!(bench.broker.counters().leases_ended, 1);
}

#[test]
fn who_may_not_ask_for_a_longer_lease() {
    // It has not said that it knows headers; or it has, and asks for what another client wants.
    for (ext, client) in [(false, "c"), (true, "d")] {
        let mut bench = leased(Lease::Fixed(BEAT * 2));
        match ext {
            true => bench.ext_ready("w", "echo"),
            false => bench.ready("w", "echo"),
        }
        bench.call("c", "echo", "x");
        bench.extend("w", client, BEAT * 100);
        bench.pass(BEAT * 2);
        assert_eq!(bench.broker.counters().leases_ended, 1);
        assert_eq!(bench.stats().2, 1, "a heartbeat is no offence");
    }
}

#[test]
fn of_several_requests_the_one_that_is_named_is_kept() {
    let mut bench = leased(Lease::Fixed(BEAT * 2));
    bench.slots_ready("w", "echo", 2);
    bench.call("c", "echo", "1");
    bench.call("c", "echo", "2");
    let (first, _) = bench.given("w");
    let (second, _) = bench.given("w");
    bench.extend("w", second.clone(), BEAT * 100);
    bench.extend("w", "of no length", BEAT * 100);
    bench.pass(BEAT * 2);
    assert_eq!(bench.stats(), (1, 1, 2));
    bench.log();
    bench.slot_reply("w", &second, "y");
    // The late one makes room for what it had.
    assert_eq!(bench.log(), ["c:reply y", "w:request 1"]);
    bench.slot_reply("w", &first, "late");
    assert_eq!(bench.broker.counters().stale_replies, 1);
}

impl Bench {
    /// The next message is to this worker and says that nobody waits: for which request.
    pub(super) fn recalled(&mut self, worker: &str) -> (Frame, Option<MsgId>) {
        let (to, frames) = self.sent().expect("a heartbeat about a request");
        assert_eq!((to.as_str(), &frames[2]), (worker, &Frame::from([4])));
        let ext = Ext::decode(&frames[4]).unwrap().unwrap();
        assert_eq!(ext.op, Op::Cancel);
        (frames[3].clone(), ext.id)
    }
}

fn named(name: u8) -> Ext<'static> {
    Ext {
        id: Some(MsgId([name; 16])),
        ..Ext::default()
    }
}

fn cancel(name: u8) -> Ext<'static> {
    Ext {
        op: Op::Cancel,
        ..named(name)
    }
}

/// With one slot the address of a reply names the client, and not which of its requests: without the name of this one it
/// may be that to an earlier one, and the worker stays busy.
#[test]
fn a_reply_without_the_name_of_its_request_is_nobodys() {
    let mut bench = leased(Lease::None);
    bench.ext_ready("w", "echo");
    bench.ext_call("c", "echo", named(2), "x");
    bench.given("w");
    let header = |ext: Ext<'_>| ext.encode().ok();
    for header in [None, header(Ext::default()), header(named(1))] {
        let body = header.into_iter().chain(["late".into()]).collect();
        bench.from("w", wire::encode_reply(V1, &"c".into(), body, true));
    }
    assert_eq!((bench.sent(), bench.stats()), (None, (0, 1, 1)));
    assert_eq!(bench.broker.counters().stale_replies, 3);
    bench.ext_reply("w", "c", named(2), "y");
    assert_eq!(bench.log(), ["c:reply y"]);
    // Who gives its requests no names has none in replies.
    bench.ext_call("c", "echo", Ext::default(), "x");
    bench.given("w");
    bench.ext_reply("w", "c", Ext::default(), "z");
    assert_eq!(bench.log(), ["c:reply z"]);
    assert_eq!(bench.broker.counters().banned, 0);
}

#[test]
fn a_worker_hears_that_its_client_has_given_up_or_is_gone() {
    let mut bench = leased(Lease::None);
    bench.ext_ready("w", "echo");
    bench.ext_call("c", "echo", named(1), "x");
    bench.ext_call("c", "echo", named(2), "waits");
    bench.given("w");
    // What waits is not there any more, and no worker has it.
    bench.ext_call("c", "-", cancel(2), "");
    assert_eq!((bench.sent(), bench.stats()), (None, (0, 1, 1)));
    bench.ext_call("d", "-", cancel(1), "");
    assert_eq!(bench.sent(), None, "another client's");
    for _ in 0..2 {
        bench.ext_call("c", "-", cancel(1), "");
    }
    let (client, name) = bench.recalled("w");
    assert_eq!((client, name), ("c".into(), Some(MsgId([1; 16]))));
    assert_eq!(bench.sent(), None, "once");
    // It still has its place, until it replies.
    bench.ext_call("c", "echo", named(3), "y");
    assert_eq!(bench.stats(), (1, 1, 1));
    bench.ext_reply("w", "c", named(1), "stopped");
    assert_eq!(bench.log(), ["w:request y"]);
    // Who is gone has given up, also if it never heard of headers.
    bench.down("c");
    assert_eq!(bench.recalled("w").0, "c");
    bench.ext_reply("w", "c", named(3), "stopped");
    bench.call("e", "echo", "z");
    bench.given("w");
    bench.down("e");
    assert_eq!(bench.recalled("w"), ("e".into(), None));
    let counters = bench.broker.counters();
    assert_eq!((counters.cancelled, counters.recalled), (4, 3));
}

#[test]
fn what_is_given_up_is_forgotten_with_its_worker() {
    let mut bench = leased(Lease::None);
    bench.ext_ready("w", "echo");
    bench.ext_call("c", "echo", named(1), "x");
    bench.ext_call("c", "-", cancel(1), "");
    bench.down("w");
    assert_eq!(bench.broker.service("echo"), None);
}

#[test]
fn who_is_not_told_that_nobody_waits() {
    // A worker that does not know headers.
    let mut bench = leased(Lease::None);
    bench.ready("w", "echo");
    bench.ext_call("c", "echo", named(1), "x");
    bench.given("w");
    bench.ext_call("c", "-", cancel(1), "");
    assert_eq!(bench.sent(), None);
    // One whose request has a key: its client may ask again.
    let mut bench = leased(Lease::None);
    bench.ext_ready("w", "echo");
    let key = Ext {
        idem: Some(ExtIdem::Key),
        ..named(1)
    };
    bench.ext_call("c", "echo", key, "x");
    bench.given("w");
    bench.ext_call("c", "-", cancel(1), "");
    bench.down("c");
    assert_eq!(bench.sent(), None);
    assert_eq!(bench.broker.counters().recalled, 0);
}

#[test]
fn a_worker_hears_that_another_has_its_request() {
    let mut bench = leased(Lease::Fixed(BEAT * 2));
    bench.slots_ready("w", "echo", 2);
    bench.call("c", "echo", "1");
    let (first, _) = bench.given("w");
    bench.pass(BEAT * 2);
    assert_eq!(bench.recalled("w"), (first.clone(), None));
    // It has another place, and is given it there again.
    let (again, _) = bench.given("w");
    bench.slot_reply("w", &first, "late");
    bench.slot_reply("w", &again, "in time");
    assert_eq!(bench.log(), ["c:reply in time"]);
}

/// A worker that drains is given nothing more, and what it had been given before the broker heard of that and has not begun is
/// for others: nobody was lost.
#[test]
fn what_a_worker_that_leaves_has_not_begun_is_for_others() {
    for more in [0, 1] {
        let mut bench = leased(Lease::None);
        bench.slots_ready("w", "echo", 3);
        let once = Ext {
            idem: Some(ExtIdem::Once),
            ..Ext::default()
        };
        for body in ["kept", "crosses"] {
            bench.ext_call("c", "echo", once.clone(), body);
        }
        let (kept, crosses) = (bench.given("w").0, bench.given("w").0);
        let note = Note {
            client: Frame::default(),
            ext: Ext {
                slots: Some(0),
                ..Ext::default()
            },
        };
        bench.from("w", wire::encode_note(V1, &note));
        bench.ext_call("c", "echo", once.clone(), "waits");
        let declined = Ext {
            status: Some(Status::Unavailable),
            ..Ext::default()
        };
        let body = vec![declined.encode().unwrap()];
        bench.from("w", wire::encode_reply(V1, &crosses, body, true));
        assert_eq!(bench.log(), [""; 0]);
        assert_eq!(bench.stats(), (2, 1, 3));
        if more == 0 {
            // The broker ends before there is another.
            bench.broker.handle_drain(bench.now);
            for _ in 0..2 {
                assert_eq!(bench.declined("c").0, Status::Unavailable);
            }
        } else {
            bench.slots_ready("v", "echo", 2);
            assert_eq!(bench.log(), ["v:request crosses", "v:request waits"]);
        }
        bench.slot_reply("w", &kept, "done");
        bench.log();
        bench.from("w", wire::encode_disconnect(V1));
        assert_eq!(bench.stats(), (0, 2 * more, 2 * more), "{more}");
        let counters = bench.broker.counters();
        assert_eq!(
            (counters.dead, counters.banned, counters.replies),
            (0, 0, 1)
        );
        assert_eq!(counters.redelivered, 0);
    }
}
