//! Requests with a key of idempotence.

use super::*;

#[test]
fn keys_are_carried_out_once() {
    let mut bench = Bench::new(config());
    let key = || Ext {
        id: Some(MsgId([7; 16])),
        idem: Some(ExtIdem::Key),
        ..Ext::default()
    };
    bench.ready("w", "echo");
    bench.ready("v", "echo");
    bench.ext_call("c", "echo", key(), "pay");
    bench.down("c");
    bench.ext_call("d", "echo", key(), "pay");
    assert_eq!(bench.log(), ["w:request pay"]);
    bench.reply("w", "c", "paid");
    assert_eq!(bench.log(), ["d:reply paid"]);
    bench.ext_call("e", "echo", key(), "pay");
    assert_eq!(bench.log(), ["e:reply paid"]);
    bench.ext_call("e", "echo", key(), "pay more");
    assert_eq!(bench.declined("e").0, Status::Conflict);
}

/// A worker that has no room says so to who asked, and not to who asks again.
#[test]
fn a_key_that_a_worker_turned_away_may_come_again() {
    let mut bench = Bench::new(config());
    let key = || Ext {
        id: Some(MsgId([7; 16])),
        idem: Some(ExtIdem::Key),
        ..Ext::default()
    };
    let pause = Some(Duration::from_millis(250));
    let answer = |status| Ext {
        status: Some(status),
        op: Op::Final,
        retry_after: pause,
        reason: Some("full".into()),
        ..Ext::default()
    };
    bench.ext_ready("w", "echo");
    for status in [Status::Rejected, Status::Expired, Status::Unavailable] {
        bench.ext_call("c", "echo", key(), "pay");
        bench.ext_call("d", "echo", key(), "pay");
        assert_eq!(bench.log(), ["w:request pay"], "before {status:?}");
        bench.ext_reply("w", "c", answer(status), "");
        for client in ["c", "d"] {
            let (told, ext) = bench.declined(client);
            assert_eq!((told, ext.retry_after), (status, pause));
            assert_eq!(ext.reason.as_deref(), Some("full"));
        }
    }
    bench.ext_call("c", "echo", key(), "pay");
    assert_eq!(bench.log(), ["w:request pay"]);
    bench.ext_reply("w", "c", answer(Status::Failed), "");
    assert_eq!(bench.declined("c").0, Status::Failed);
    bench.ext_call("c", "echo", key(), "pay");
    assert_eq!(bench.declined("c").0, Status::Failed);
    assert_eq!(bench.log(), [""; 0], "a failure is kept");
}

fn asked(key: u8, attempt: u16) -> Ext<'static> {
    Ext {
        id: Some(MsgId([key; 16])),
        idem: Some(ExtIdem::Key),
        attempt: Some(attempt),
        ..Ext::default()
    }
}

fn done() -> Ext<'static> {
    Ext {
        op: Op::Final,
        status: Some(Status::Ok),
        ..Ext::default()
    }
}

fn given_up(key: u8) -> Ext<'static> {
    Ext {
        id: Some(MsgId([key; 16])),
        op: Op::Cancel,
        ..Ext::default()
    }
}

/// Who has given a request with a key up, or lost its connection, and asks again under the same name, waits for it again.
#[test]
fn a_key_that_was_given_up_is_answered_when_it_is_asked_again() {
    let mut bench = Bench::new(config());
    bench.ext_ready("w", "echo");
    for (lost, attempt) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
        let key = 10 + attempt as u8 * 2 + u8::from(lost);
        bench.ext_call("c", "echo", asked(key, 1), "pay");
        assert_eq!(bench.log(), ["w:request pay"]);
        match lost {
            true => bench.down("c"),
            false => bench.ext_call("c", "echo", given_up(key), ""),
        }
        let before = bench.broker.counters();
        bench.ext_call("c", "echo", asked(key, attempt), "pay");
        assert_eq!(bench.log(), [""; 0], "it is carried out once");
        bench.ext_call("c", "echo", asked(key, attempt), "pay less");
        assert_eq!(bench.log(), [""; 0], "a repetition, whatever is in it");
        bench.ext_reply("w", "c", done(), "paid");
        assert_eq!(bench.log(), ["c:reply paid"], "once");
        let after = bench.broker.counters();
        assert_eq!(after.dups - before.dups, 2);
        assert_eq!(after.replies - before.replies, 1);
        assert_eq!(after.undeliverable, before.undeliverable);
    }
}

/// What waits and is asked for again waits for as long as it is said then.
#[test]
fn a_key_that_is_asked_again_has_the_deadline_of_the_last_time() {
    let within = |millis| Ext {
        deadline: Some(Duration::from_millis(millis)),
        ..asked(1, 1)
    };
    let mut bench = Bench::new(config());
    bench.ext_call("c", "echo", within(100), "pay");
    bench.ext_call("c", "echo", given_up(1), "");
    bench.ext_call("c", "echo", within(500), "pay");
    bench.pass(Duration::from_millis(300));
    assert_eq!(bench.log(), [""; 0], "its first deadline is not its own");
    bench.ext_ready("w", "echo");
    assert_eq!(bench.log(), ["w:request pay"]);
    bench.ext_reply("w", "c", done(), "paid");
    assert_eq!(bench.log(), ["c:reply paid"]);
    // And one that nobody serves in time is declined then, once.
    bench.down("w");
    let within = |millis| Ext {
        id: Some(MsgId([2; 16])),
        ..within(millis)
    };
    bench.ext_call("c", "echo", within(500), "pay");
    bench.ext_call("c", "echo", given_up(2), "");
    bench.ext_call("c", "echo", within(100), "pay");
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.declined("c").0, Status::NoService);
    bench.pass(Duration::from_millis(900));
    assert_eq!(bench.log(), [""; 0]);
    assert_eq!(bench.broker.bytes(), 0);
}

/// What is another request, or of which parts were sent before, is no repetition: the cache answers.
#[test]
fn a_key_that_was_given_up_is_not_another_request() {
    let mut bench = Bench::new(config());
    bench.ext_ready("w", "echo");
    bench.ext_call("c", "echo", asked(1, 1), "pay");
    bench.ext_call("c", "echo", given_up(1), "");
    assert_eq!(bench.log(), ["w:request pay"]);
    bench.ext_call("c", "echo", asked(1, 1), "pay more");
    assert_eq!(bench.declined("c").0, Status::Conflict);
    let part = Ext {
        op: Op::Partial,
        ..Ext::default()
    };
    bench.ext_reply("w", "c", part, "a part");
    bench.ext_call("c", "echo", asked(1, 1), "pay");
    bench.ext_reply("w", "c", done(), "the rest");
    assert_eq!(bench.declined("c").0, Status::Conflict, "no half reply");
    assert_eq!(bench.log(), [""; 0]);
}

/// Without a key the worker is told, and may stop: who asks again asks anew.
#[test]
fn a_request_without_a_key_that_was_given_up_is_a_new_one_when_it_is_asked_again() {
    let mut bench = Bench::new(config());
    bench.ext_ready("w", "echo");
    bench.ext_ready("v", "echo");
    let safe = |attempt| Ext {
        idem: Some(ExtIdem::Safe),
        ..asked(1, attempt)
    };
    bench.ext_call("c", "echo", safe(1), "look");
    assert_eq!(bench.log(), ["w:request look"]);
    bench.down("c");
    assert_eq!(bench.log().len(), 1, "w is told");
    bench.ext_call("c", "echo", safe(2), "look");
    assert_eq!(bench.log(), ["v:request look"]);
    bench.ext_reply("w", "c", done(), "nobody reads that");
    assert_eq!(bench.log(), [""; 0]);
    bench.ext_call("c", "echo", safe(3), "look");
    assert_eq!(bench.log(), [""; 0], "the second is not forgotten");
    bench.ext_reply("v", "c", done(), "seen");
    assert_eq!(bench.log(), ["c:reply seen"]);
}
