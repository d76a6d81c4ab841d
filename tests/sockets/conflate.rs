//! Only the newest message is kept, for each peer, on either side.

use sinew::{Conflate, Dealer, HighWaterMark, Message, Pub, Pull, Push, Sub};

use crate::support::{await_true, number_of, numbered, task, Net, KINDS, LONG};

const LAST: u32 = 5_000;

#[test]
fn a_sender_keeps_the_newest_for_a_peer_that_is_not_there_yet() {
    for &net in KINDS {
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
    for &net in KINDS {
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
    for &net in KINDS {
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
    for &net in KINDS {
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
    for &net in KINDS {
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

fn priced(topic: &str, price: u32) -> Message {
    Message::multipart([topic.as_bytes(), &price.to_le_bytes()])
}

fn price_of(message: &Message) -> (String, u32) {
    let [topic, price] = message.frames() else {
        panic!("not a price: {message:?}");
    };
    let topic = String::from_utf8(topic.to_vec()).unwrap();
    (topic, u32::from_le_bytes(price[..].try_into().unwrap()))
}

/// What is kept for a peer that comes later, and what a receiver keeps of what has come.
#[test]
fn the_newest_of_each_topic_is_kept_in_the_order_of_the_topics() {
    let by_topic = Conflate::ByTopic { prefix: None };
    let expected = [("b", 9), ("a", 8), ("c", 2)].map(|(topic, n)| (topic.to_owned(), n));
    for &net in KINDS {
        for sender_keeps in [true, false] {
            let endpoint = net.unbound();
            let (out, inbound) = match sender_keeps {
                true => (by_topic, Conflate::Off),
                false => (Conflate::Off, by_topic),
            };
            let mut push = Push::builder().conflate(out).build().unwrap();
            let mut pull = Pull::builder().conflate(inbound).build().unwrap();
            push.connect(&endpoint).unwrap();
            if !sender_keeps {
                pull.bind(&endpoint).unwrap();
            }
            push.send_timeout(priced("b", 0), LONG).unwrap();
            for n in 0..9 {
                push.send_timeout(priced("a", n), LONG).unwrap();
                if n < 3 {
                    push.send_timeout(priced("c", n), LONG).unwrap();
                }
            }
            push.send_timeout(priced("b", 9), LONG).unwrap();
            if sender_keeps {
                assert_eq!(push.stats().dropped_conflated, 11);
                pull.bind(&endpoint).unwrap();
            } else {
                await_true("11 are replaced", || pull.stats().dropped_conflated == 11);
            }
            let read = [(); 3].map(|()| price_of(&pull.recv_timeout(LONG).unwrap()));
            assert_eq!(read, expected, "over {net:?}");
            push.send("the end").unwrap();
            assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"the end");
        }
    }
}

#[test]
fn subscribers_conflate_by_topic() {
    let by_topic = Conflate::ByTopic { prefix: None };
    for &net in KINDS {
        for (out, inbound) in [(by_topic, Conflate::Off), (Conflate::Off, by_topic)] {
            let mut publisher = Pub::builder().conflate(out).bind(net.fresh()).unwrap();
            let mut sub = Sub::builder().conflate(inbound).build().unwrap();
            sub.subscribe("price.");
            sub.connect(&publisher.bound_endpoints()[0]).unwrap();
            publisher.wait_for_subscribers(1, LONG).unwrap();
            let reader = task(move || {
                let mut last = [None; 2];
                while last != [Some(200); 2] {
                    let (topic, n) = price_of(&sub.recv_timeout(LONG).unwrap());
                    let which = ["price.a", "price.b"]
                        .iter()
                        .position(|name| topic == *name);
                    let before = last[which.unwrap()].replace(n);
                    assert!(before < Some(n), "{n} after {before:?}");
                }
            });
            for n in 0..=200 {
                publisher.send(priced("price.a", n)).unwrap();
                publisher.send(priced("price.b", n)).unwrap();
                publisher.send(priced("other", n)).unwrap();
            }
            reader.join();
        }
    }
}

/// Messages of one frame begin with their topic.
#[test]
fn a_prefix_may_be_the_topic() {
    for &net in KINDS {
        let endpoint = net.unbound();
        let mut dealer = Dealer::builder()
            .conflate(Conflate::ByTopic { prefix: Some(2) })
            .connect(&endpoint)
            .unwrap();
        for message in ["a:1", "b:1", "a:2", "b", "b:2"] {
            dealer.send(message).unwrap();
        }
        assert_eq!(dealer.stats().dropped_conflated, 2);
        let mut other = Dealer::builder().bind(&endpoint).unwrap();
        for expected in ["a:2", "b:2", "b"] {
            let message = other.recv_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), expected.as_bytes());
        }
    }
}

/// Beyond the high-water mark the topic that came first gives way, and that is counted.
#[test]
fn there_are_no_more_topics_than_the_mark_allows() {
    for &net in KINDS {
        for mark in [
            HighWaterMark::new(10),
            // Ten messages of 64 octets and a header.
            HighWaterMark::unlimited().with_bytes(10 * 66 + 65),
        ] {
            let mut pull = Pull::builder()
                .conflate(Conflate::ByTopic { prefix: None })
                .recv_hwm(mark)
                .bind(net.fresh())
                .unwrap();
            let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
            for n in 0..100 {
                push.send_timeout(numbered(0, n), LONG).unwrap();
            }
            await_true("90 are dropped", || pull.stats().dropped_full == 90);
            for n in 90..100 {
                assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
            }
            assert!(pull.try_recv().is_err());
            assert_eq!(pull.stats().dropped_conflated, 0);
        }
    }
}

/// Over inproc both ends have one pipe, which keeps as little as either wants.
#[test]
fn both_ends_of_an_inproc_connection_are_heeded() {
    let by = |prefix| Conflate::ByTopic { prefix };
    let forms = [Conflate::Off, by(None), by(Some(1)), Conflate::Newest];
    let sent = ["a1", "b1", "a2", "a2"];
    let kept: [&[&str]; 4] = [&sent, &["a1", "b1", "a2"], &["a2", "b1"], &["a2"]];
    for (out, sender) in forms.into_iter().enumerate() {
        for (inbound, receiver) in forms.into_iter().enumerate() {
            for push_binds in [true, false] {
                let name = Net::Inproc.fresh();
                let mut push = Push::builder().conflate(sender).build().unwrap();
                let mut pull = Pull::builder().conflate(receiver).build().unwrap();
                if push_binds {
                    push.bind(&name).unwrap();
                    pull.connect(&name).unwrap();
                } else {
                    push.connect(&name).unwrap();
                    // What waits already is put together when the receiver comes.
                    push.send("b0").unwrap();
                    push.send("a0").unwrap();
                    pull.bind(&name).unwrap();
                    while pull.try_recv().is_ok() {}
                }
                for message in sent {
                    push.send(message).unwrap();
                }
                for expected in kept[out.max(inbound)] {
                    let message = pull.try_recv().unwrap();
                    assert_eq!(
                        message.as_bytes(),
                        expected.as_bytes(),
                        "{sender:?} to {receiver:?}"
                    );
                }
                assert!(pull.try_recv().is_err(), "{sender:?} to {receiver:?}");
            }
        }
    }
}
