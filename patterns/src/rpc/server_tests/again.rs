//! Requests that were given up, or lost their connection, and come again from the same place.

use super::*;

fn goes(bench: &mut Bench, peer: &str) {
    let peer = Some(PeerId::from(peer));
    let down = PeerEvent::Down { peer };
    bench.server.handle_peer(bench.now, Port(0), down);
}

fn cancel(key: u8) -> Option<Ext<'static>> {
    Some(Ext {
        id: Some(MsgId([key; 16])),
        op: Op::Cancel,
        ..Ext::default()
    })
}

/// Who has given a request with a key up, or lost its connection, and asks again from the same place, waits for it again.
#[test]
fn a_key_that_was_given_up_is_answered_when_it_is_asked_again() {
    let mut bench = Bench::new(config());
    for (lost, attempt) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
        let key = 10 + attempt as u8 * 2 + u8::from(lost);
        bench.sends("a", "1", keyed(key, 1), "pay");
        let request = bench.starts().unwrap();
        match lost {
            true => goes(&mut bench, "a"),
            false => bench.sends("a", "1", cancel(key), ""),
        }
        let before = bench.server.counters();
        bench.sends("a", "1", keyed(key, attempt), "pay");
        bench.sends("a", "1", keyed(key, 3), "pay");
        assert_eq!(bench.starts(), None, "it is carried out once");
        assert!(bench.server.handle_partial(request.id, &"a part".into()));
        assert_eq!(bench.reply().unwrap().3, "a part".into());
        bench
            .server
            .handle_reply(bench.now, request.id, "paid".into());
        assert_eq!(bench.reply().unwrap().3, "paid".into());
        assert_eq!(bench.reply(), None, "once");
        let after = bench.server.counters();
        assert_eq!(after.dups - before.dups, 2);
        assert_eq!(after.undeliverable, before.undeliverable);
    }
}

/// What waits and is asked for again waits for as long as is said then.
#[test]
fn a_key_that_is_asked_again_has_the_deadline_of_the_last_time() {
    let mut bench = Bench::new(config());
    bench.sends("b", "1", None, "busy");
    let busy = bench.starts().unwrap();
    bench.sends("a", "2", within(7, Duration::from_millis(100)), "pay");
    goes(&mut bench, "a");
    bench.sends("a", "2", within(7, Duration::from_millis(500)), "pay");
    bench.after(Duration::from_millis(300));
    assert_eq!(bench.reply(), None, "its first deadline is not its own");
    bench
        .server
        .handle_fault(bench.now, busy.id, Failure::failed("no"));
    let request = bench.starts().unwrap();
    let left = Duration::from_millis(200);
    assert_eq!(request.deadline, Some(bench.now + left));
    bench
        .server
        .handle_reply(bench.now, request.id, "paid".into());
    assert_eq!(bench.reply().unwrap().3, "paid".into());
}

/// Parts that nobody read are missing in the reply: who asks again is not sent the others.
#[test]
fn parts_that_were_missed_are_not_begun_in_the_middle() {
    let mut bench = Bench::new(config());
    bench.sends("a", "1", keyed(7, 1), "pay");
    let request = bench.starts().unwrap();
    goes(&mut bench, "a");
    assert!(!bench.server.handle_partial(request.id, &"1".into()));
    bench.sends("a", "1", keyed(7, 2), "pay");
    assert!(!bench.server.handle_partial(request.id, &"2".into()));
    bench.server.handle_reply(bench.now, request.id, "3".into());
    assert_eq!(bench.reply().unwrap().3, "3".into());
    assert_eq!(bench.reply(), None);
}

/// Without a key the handler is told, and may stop: who asks again asks anew.
#[test]
fn a_request_without_a_key_that_was_given_up_is_a_new_one_when_it_is_asked_again() {
    let safe = |attempt| {
        Some(Ext {
            idem: Some(ExtIdem::Safe),
            ..keyed(7, attempt).unwrap()
        })
    };
    let mut bench = Bench::new(ServerConfig {
        concurrency: 2,
        ..config()
    });
    bench.sends("a", "1", safe(1), "look");
    let first = bench.starts().unwrap();
    goes(&mut bench, "a");
    let told = bench.server.poll_event();
    assert_eq!(told, Some(ServerEvent::Cancelled(first.id)));
    bench.sends("a", "1", safe(2), "look");
    let second = bench.starts().expect("another one");
    bench
        .server
        .handle_reply(bench.now, first.id, "unread".into());
    assert_eq!(bench.reply(), None);
    bench.sends("a", "1", safe(3), "look");
    assert_eq!(bench.starts(), None, "the second is not forgotten");
    bench
        .server
        .handle_reply(bench.now, second.id, "seen".into());
    assert_eq!(bench.reply().unwrap().3, "seen".into());
}
