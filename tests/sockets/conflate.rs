//! Only the newest message is kept, for each peer, on either side.

use sinew::{Message, Pub, Pull, Push, Sub};

use crate::support::{await_true, number_of, numbered, task, KINDS, LONG};

const LAST: u32 = 5_000;

#[test]
fn a_sender_keeps_the_newest_for_a_peer_that_is_not_there_yet() {
    for net in KINDS {
        let endpoint = net.unbound();
        let mut push = Push::builder()
            .conflate(true)
            .send_hwm(1)
            .connect(&endpoint)
            .unwrap();
        for n in 0..=LAST {
            push.try_send(numbered(0, n)).unwrap();
        }
        push.try_send(Message::multipart(["whole", "messages"]))
            .unwrap();
        let mut pull = Pull::builder().bind(&endpoint).unwrap();
        assert_eq!(
            pull.recv_timeout(LONG).unwrap(),
            Message::multipart(["whole", "messages"])
        );
        assert_eq!(push.stats().dropped_conflated, u64::from(LAST) + 1);
        push.send("next").unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"next");
        assert_eq!(push.close().unsent, 0);
    }
}

#[test]
fn a_receiver_reads_the_newest() {
    for net in KINDS {
        let mut pull = Pull::builder()
            .conflate(true)
            .recv_hwm(1)
            .bind(net.fresh())
            .unwrap();
        let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        for n in 0..=LAST {
            push.send_timeout(numbered(0, n), LONG).unwrap();
        }
        // All of them have come, and all but one have gone.
        await_true("all but the last are replaced", || {
            pull.stats().dropped_conflated == u64::from(LAST)
        });
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, LAST));
        assert!(pull.try_recv().is_err());
        push.send("one more").unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"one more");
    }
}

/// Whichever side conflates, what is read only ever gets newer, and the last is read in the end.
#[test]
fn the_last_is_read_in_the_end() {
    for net in KINDS {
        for (out, inbound, push_binds) in [
            (true, false, true),
            (true, false, false),
            (false, true, true),
            (false, true, false),
            (true, true, true),
        ] {
            let mut push = Push::builder().conflate(out).build().unwrap();
            let mut pull = Pull::builder().conflate(inbound).build().unwrap();
            if push_binds {
                let endpoint = push.bind(net.fresh()).unwrap();
                pull.connect(&endpoint).unwrap();
            } else {
                let endpoint = pull.bind(net.fresh()).unwrap();
                push.connect(&endpoint).unwrap();
            }
            let reader = task(move || {
                let mut before = None;
                loop {
                    let (_, n) = number_of(&pull.recv_timeout(LONG).unwrap());
                    assert!(before < Some(n), "{n} after {before:?}");
                    before = Some(n);
                    if n == LAST {
                        return pull;
                    }
                }
            });
            for n in 0..=LAST {
                push.send_timeout(numbered(0, n), LONG).unwrap();
            }
            drop(reader.join());
        }
    }
}

#[test]
fn each_peer_has_its_own() {
    for net in KINDS {
        let mut pull = Pull::builder().conflate(true).bind(net.fresh()).unwrap();
        let mut pushes: Vec<Push> = (0..3)
            .map(|_| Push::builder().connect(&pull.bound_endpoints()[0]).unwrap())
            .collect();
        for (sender, push) in (0..).zip(&mut pushes) {
            for n in 0..=10 {
                push.send_timeout(numbered(sender, n), LONG).unwrap();
            }
        }
        await_true("30 are replaced", || pull.stats().dropped_conflated == 30);
        let mut seen: Vec<_> = (0..3)
            .map(|_| number_of(&pull.recv_timeout(LONG).unwrap()))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [(0, 10), (1, 10), (2, 10)]);
    }
}

#[test]
fn publishers_and_subscribers_conflate() {
    for net in KINDS {
        for (out, inbound) in [(true, false), (false, true)] {
            let mut publisher = Pub::builder().conflate(out).bind(net.fresh()).unwrap();
            let mut sub = Sub::builder().conflate(inbound).build().unwrap();
            sub.subscribe("");
            sub.connect(&publisher.bound_endpoints()[0]).unwrap();
            publisher.wait_for_subscribers(1, LONG).unwrap();
            let reader = task(move || loop {
                let (_, n) = number_of(&sub.recv_timeout(LONG).unwrap());
                if n == 500 {
                    return sub.stats().dropped_conflated;
                }
            });
            for n in 0..=500 {
                publisher.send(numbered(0, n)).unwrap();
            }
            reader.join();
            assert_eq!(publisher.stats().dropped_full, 0, "no high-water mark");
        }
    }
}
