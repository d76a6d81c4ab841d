//! Only the newest message is kept, for each peer, on either side.

use sinew::{Conflate, Dealer, HighWaterMark, Message, Pub, Pull, Push, Sub};

use crate::support::{await_true, number_of, numbered, task, Net, KINDS, LONG};

const LAST: u32 = 5_000;

/// Of what fills the buffers between a sender and a receiver that does not read.
const BALLAST: usize = 16 * 1024;

/// For the kernel's part of them: what it takes is soon known.
const SMALL: usize = 32 * 1024;

/// The message, which takes so much room that a sender is soon held up.
fn heavy(mut message: Message) -> Message {
    message.push_back(vec![7; BALLAST]);
    message
}

/// Sends while nobody reads, until a hundred messages have been replaced at the sender, which `send` counts; how
/// many were sent.
fn until_replaced(mut send: impl FnMut(u32) -> u64) -> u32 {
    // More than all buffers hold, by far.
    const MANY: u32 = 20_000;
    let enough = (0..MANY).find(|n| send(*n) >= 100);
    1 + enough.expect("nothing takes the place of what was not read")
}

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

/// Whichever side conflates, what is read only ever gets newer, the last is read in the end, and what was not read
/// was replaced.
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
            let of = format!("over {net:?}, {out}, {inbound}, {push_binds}");
            let push = Push::builder().conflate(out).kernel_send_buffer(SMALL);
            let mut push = push.build().unwrap();
            let pull = Pull::builder().conflate(inbound).recv_hwm(1);
            let mut pull = pull.kernel_recv_buffer(SMALL).build().unwrap();
            if push_binds {
                let endpoint = push.bind(net.fresh()).unwrap();
                pull.connect(&endpoint).unwrap();
            } else {
                let endpoint = pull.bind(net.fresh()).unwrap();
                push.connect(&endpoint).unwrap();
            }
            push.wait_for_peers(1, LONG).unwrap();
            // Nobody reads yet.
            let sent = if inbound {
                (0..=200).for_each(|n| push.try_send(numbered(0, n)).unwrap());
                201
            } else {
                until_replaced(|n| {
                    push.try_send(heavy(numbered(0, n))).unwrap();
                    push.stats().dropped_conflated
                })
            };
            if inbound {
                await_true("all but the last are replaced", || {
                    let by_both = pull.stats().dropped_conflated + push.stats().dropped_conflated;
                    by_both == u64::from(sent) - 1
                });
                assert!(out || push.stats().dropped_conflated == 0, "{of}");
            }
            let last = sent + LAST;
            let reader = task(move || {
                let (mut before, mut read) = (None, 0);
                loop {
                    let (_, n) = number_of(&pull.recv_timeout(LONG).unwrap());
                    assert!(before < Some(n), "{n} after {before:?}, {of}");
                    before = Some(n);
                    read += 1;
                    if n == last {
                        return (pull, read);
                    }
                }
            });
            for n in sent..=last {
                push.send_timeout(numbered(0, n), LONG).unwrap();
            }
            let (pull, read) = reader.join();
            await_true("each is read or replaced", || {
                let by_both = pull.stats().dropped_conflated + push.stats().dropped_conflated;
                read + by_both == u64::from(last) + 1
            });
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

/// A publisher, and a subscriber that does not read yet. What the one that does not conflate holds is no queue to
/// speak of.
fn published(
    net: Net,
    out: impl Into<Conflate>,
    inbound: impl Into<Conflate>,
    topic: &str,
) -> (Pub, Sub) {
    let (out, inbound) = (out.into(), inbound.into());
    let mark = if inbound == Conflate::Off { 1 } else { 1000 };
    let publisher = Pub::builder().conflate(out).kernel_send_buffer(SMALL);
    let mut publisher = publisher.bind(net.fresh()).unwrap();
    let sub = Sub::builder().conflate(inbound).recv_hwm(mark);
    let mut sub = sub.kernel_recv_buffer(SMALL).build().unwrap();
    sub.subscribe(topic).unwrap();
    sub.connect(&publisher.bound_endpoints()[0]).unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    (publisher, sub)
}

#[test]
fn publishers_and_subscribers_conflate() {
    for &net in KINDS {
        let (mut publisher, mut sub) = published(net, true, false, "");
        let sent = until_replaced(|n| {
            publisher.send(heavy(numbered(0, n))).unwrap();
            publisher.stats().dropped_conflated
        });
        let mut before = None;
        let mut read = 0;
        while before < Some(sent - 1) {
            let (_, n) = number_of(&sub.recv_timeout(LONG).unwrap());
            assert!(before < Some(n), "{n} after {before:?}, over {net:?}");
            before = Some(n);
            read += 1;
        }
        let stats = publisher.stats();
        let all = read + stats.dropped_conflated;
        assert_eq!((all, stats.dropped_full), (u64::from(sent), 0), "{net:?}");
        assert_eq!(sub.stats().dropped_conflated, 0, "{net:?}");

        let (mut publisher, mut sub) = published(net, false, true, "");
        for n in 0..=500 {
            publisher.send(numbered(0, n)).unwrap();
        }
        await_true("all but the last are replaced", || {
            sub.stats().dropped_conflated == 500
        });
        assert_eq!(number_of(&sub.recv_timeout(LONG).unwrap()), (0, 500));
        let stats = publisher.stats();
        assert_eq!((stats.dropped_conflated, stats.dropped_full), (0, 0));
    }
}

fn priced(topic: &str, price: u32) -> Message {
    Message::multipart([topic.as_bytes(), &price.to_le_bytes()])
}

fn price_of(message: &Message) -> (String, u32) {
    let [topic, price, ..] = message.frames() else {
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
        let (mut publisher, mut sub) = published(net, by_topic, false, "price.");
        let sent = until_replaced(|n| {
            for topic in ["price.a", "price.b", "other"] {
                publisher.send(heavy(priced(topic, n))).unwrap();
            }
            publisher.stats().dropped_conflated
        });
        let mut last = [None; 2];
        let mut read = 0;
        while last != [Some(sent - 1); 2] {
            let (topic, n) = price_of(&sub.recv_timeout(LONG).unwrap());
            let which = ["price.a", "price.b"]
                .iter()
                .position(|name| topic == *name);
            let before = last[which.unwrap()].replace(n);
            assert!(before < Some(n), "{n} after {before:?}, over {net:?}");
            read += 1;
        }
        let stats = publisher.stats();
        let all = read + stats.dropped_conflated;
        assert_eq!((all, stats.dropped_full), (2 * u64::from(sent), 0));
        assert_eq!(sub.stats().dropped_conflated, 0, "{net:?}");

        let (mut publisher, mut sub) = published(net, false, by_topic, "price.");
        for n in 0..=200 {
            for topic in ["price.a", "price.b", "other"] {
                publisher.send(priced(topic, n)).unwrap();
            }
        }
        await_true("all but two are replaced", || {
            sub.stats().dropped_conflated == 400
        });
        for topic in ["price.a", "price.b"] {
            let message = sub.recv_timeout(LONG).unwrap();
            assert_eq!(price_of(&message), (topic.to_owned(), 200), "{net:?}");
        }
        assert!(sub.try_recv().is_err());
        assert_eq!(publisher.stats().dropped_conflated, 0);
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
            // Ten messages of 64 octets, their headers, and their topics, which is all of each.
            HighWaterMark::unlimited().with_bytes(10 * (2 + 64 + 64) + 129),
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
