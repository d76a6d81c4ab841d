//! XPUB and XSUB: every rule and option, over every transport.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use sinew::{
    ManualError, Message, Pub, RecvError, SendFailure, SendPart, SocketBuilder, Split, Sub,
    SubscribeError, SubscriptionEvent, XPub, XSub,
};

use crate::support::{await_true, Net, KINDS, LONG, SHORT, STREAMS};
use SubscriptionEvent::{Subscribed, Unsubscribed};

fn bound(net: Net, options: impl FnOnce(SocketBuilder<XPub>) -> SocketBuilder<XPub>) -> XPub {
    let builder = options(XPub::builder()).recv_timeout(LONG);
    builder.bind(net.fresh()).unwrap()
}

fn sub(xpub: &XPub) -> Sub {
    let builder = Sub::builder().recv_timeout(LONG);
    let mut sub = builder.connect(&xpub.bound_endpoints()[0]).unwrap();
    // What it subscribes to before there is a connection is told once.
    sub.wait_for_peers(1, LONG).unwrap();
    sub
}

#[track_caller]
fn expect(xpub: &mut XPub, events: &[SubscriptionEvent]) {
    for event in events {
        assert_eq!(xpub.recv_event().as_ref(), Ok(event));
    }
}

fn on(topic: &str) -> SubscriptionEvent {
    Subscribed(topic.to_owned().into())
}

fn off(topic: &str) -> SubscriptionEvent {
    Unsubscribed(topic.to_owned().into())
}

/// Makes sure that everything before has been told.
#[track_caller]
fn fence(xpub: &mut XPub, sub: &mut Sub) {
    sub.subscribe("fence").unwrap();
    sub.unsubscribe("fence");
    expect(xpub, &[on("fence"), off("fence")]);
}

#[test]
fn the_first_and_the_last_are_told() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b);
        let mut one = sub(&xpub);
        let mut two = sub(&xpub);
        one.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        two.subscribe("A").unwrap();
        one.subscribe("A").unwrap();
        two.subscribe("B").unwrap();
        expect(&mut xpub, &[on("B")]);
        fence(&mut xpub, &mut one);
        xpub.send("A1").unwrap();
        assert_eq!(one.recv().unwrap(), Message::from("A1"));
        assert_eq!(two.recv().unwrap(), Message::from("A1"));
        assert_eq!(xpub.topic_count(), 2);
        // It takes two of the first subscriber's, and one of the second's.
        one.unsubscribe("A");
        one.unsubscribe("A");
        fence(&mut xpub, &mut one);
        two.unsubscribe("A");
        assert_eq!(xpub.recv().unwrap(), Message::from("\0A"), "{net:?}");
        assert_eq!(xpub.topic_count(), 1);
        // The end of a peer is that of its subscriptions.
        drop(two);
        expect(&mut xpub, &[off("B")]);
        assert_eq!(xpub.topic_count(), 0);
        assert_eq!(xpub.recv_timeout(SHORT), Err(RecvError::Timeout));
        assert_eq!(xpub.try_recv_event(), Err(RecvError::WouldBlock));
    }
}

#[test]
fn verbose_tells_every_subscription() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.verboser(true).verbose(true));
        let (mut one, mut two) = (sub(&xpub), sub(&xpub));
        one.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        two.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        one.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        one.unsubscribe("A");
        one.unsubscribe("A");
        fence(&mut xpub, &mut one);
        two.unsubscribe("A");
        expect(&mut xpub, &[off("A")]);
    }
}

#[test]
fn verboser_tells_every_end_too() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.verboser(true));
        let (mut one, mut two) = (sub(&xpub), sub(&xpub));
        one.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        two.subscribe("A").unwrap();
        two.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A"), on("A")]);
        one.unsubscribe("A");
        expect(&mut xpub, &[off("A")]);
        one.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        // What is lost with a peer is told though others hold it.
        drop(one);
        expect(&mut xpub, &[off("A")]);
        assert_eq!(xpub.subscriber_count("A"), 1, "{net:?}");
        drop(two);
        expect(&mut xpub, &[off("A")]);
    }
}

#[test]
fn a_cancellation_that_matches_nothing_is_told() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b);
        let endpoint = xpub.bound_endpoints()[0].clone();
        let mut xsub = XSub::builder().verbose_unsubscribe(true).build().unwrap();
        xsub.connect(&endpoint).unwrap();
        xsub.wait_for_peers(1, LONG).unwrap();
        assert!(!xsub.unsubscribe("never"));
        expect(&mut xpub, &[off("never")]);
        // Not while others hold it: an upstream publisher would take it for their end.
        let mut other = sub(&xpub);
        other.subscribe("held").unwrap();
        expect(&mut xpub, &[on("held")]);
        xsub.unsubscribe("held");
        fence(&mut xpub, &mut other);
        assert_eq!(xpub.subscriber_count("held"), 1);
    }
}

#[test]
fn by_hand_the_application_decides() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.manual(true));
        assert_eq!(xpub.subscribe("nobody"), Ok(false));
        let mut one = sub(&xpub);
        one.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        // It has had no effect.
        assert_eq!(xpub.subscriber_count("A"), 0);
        assert_eq!(xpub.subscribe("XA"), Ok(true));
        let mut two = sub(&xpub);
        two.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        assert_eq!(xpub.subscribe("XB"), Ok(true));
        xpub.send("A").unwrap();
        xpub.send("XA").unwrap();
        xpub.send("XB").unwrap();
        // SUB filters what it did not ask for.
        one.subscribe("X").unwrap();
        expect(&mut xpub, &[on("X")]);
        two.subscribe("X").unwrap();
        expect(&mut xpub, &[on("X")]);
        assert_eq!(one.recv().unwrap(), Message::from("XA"), "{net:?}");
        assert_eq!(two.recv().unwrap(), Message::from("XB"));
        // The last event was the second's.
        assert_eq!(xpub.unsubscribe("XB"), Ok(true));
        assert_eq!(xpub.unsubscribe("never"), Ok(true));
        assert_eq!((xpub.subscriber_count("XB"), xpub.topic_count()), (0, 1));
        // With a peer goes what it was given; what it asked for is told.
        drop(one);
        let mut told = [xpub.recv_event().unwrap(), xpub.recv_event().unwrap()];
        told.sort_by_key(|event| format!("{event:?}"));
        assert_eq!(told, [off("A"), off("X")]);
        assert_eq!(xpub.topic_count(), 0);
        assert_eq!(xpub.subscribe("late"), Ok(false));
    }
    let mut automatic = XPub::new();
    assert_eq!(automatic.subscribe("A"), Err(ManualError::NotManual));
    assert_eq!(automatic.unsubscribe("A"), Err(ManualError::NotManual));
}

#[test]
fn by_hand_limits_hold() {
    let mut xpub = bound(Net::Inproc, |b| {
        b.manual(true).max_topics(2).max_topic_length(3)
    });
    let mut one = sub(&xpub);
    one.subscribe("A").unwrap();
    expect(&mut xpub, &[on("A")]);
    assert_eq!(
        xpub.subscribe("long"),
        Err(ManualError::TopicTooLong { len: 4, limit: 3 })
    );
    assert_eq!(xpub.subscribe("1"), Ok(true));
    assert_eq!(xpub.subscribe("2"), Ok(true));
    assert_eq!(
        xpub.subscribe("3"),
        Err(ManualError::TooManyTopics { limit: 2 })
    );
}

#[test]
fn the_last_value_goes_to_who_has_just_come() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.manual_last_value(true));
        let (mut one, mut two) = (sub(&xpub), sub(&xpub));
        one.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        xpub.subscribe("A").unwrap();
        xpub.send("A for the first").unwrap();
        two.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        xpub.subscribe("A").unwrap();
        xpub.send("A for the second").unwrap();
        xpub.send("A for both").unwrap();
        for text in ["A for the first", "A for both"] {
            assert_eq!(one.recv().unwrap(), Message::from(text), "{net:?}");
        }
        for text in ["A for the second", "A for both"] {
            assert_eq!(two.recv().unwrap(), Message::from(text), "{net:?}");
        }
        // Only if it matches; the selection is used up all the same.
        one.subscribe("B").unwrap();
        expect(&mut xpub, &[on("B")]);
        xpub.send("B").unwrap();
        assert_eq!(xpub.stats().dropped_unmatched, 1);
        xpub.send("A again").unwrap();
        assert_eq!(two.recv().unwrap(), Message::from("A again"));
    }
}

#[test]
fn the_news_that_a_peer_has_left_keeps_no_message_from_the_others() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.manual_last_value(true));
        let (mut one, mut two) = (sub(&xpub), sub(&xpub));
        for sub in [&mut one, &mut two] {
            sub.subscribe("A").unwrap();
            expect(&mut xpub, &[on("A")]);
            xpub.subscribe("A").unwrap();
            xpub.send("A, the last value").unwrap();
            assert_eq!(sub.recv().unwrap(), Message::from("A, the last value"));
        }
        drop(one);
        expect(&mut xpub, &[off("A")]);
        xpub.send("A for who is there").unwrap();
        assert_eq!(
            two.recv_timeout(LONG).unwrap(),
            Message::from("A for who is there"),
            "{net:?}"
        );
    }
}

#[test]
fn a_welcome_is_the_first_message() {
    for &net in KINDS {
        for connects in [false, true] {
            let mut xpub = XPub::builder()
                .welcome_message(Message::from("Welcome"))
                .build()
                .unwrap();
            let mut subs = [Sub::new(), Sub::new()];
            for sub in &mut subs {
                sub.subscribe("").unwrap();
            }
            let [greeted, other] = &mut subs;
            if connects {
                let endpoint = greeted.bind(net.fresh()).unwrap();
                xpub.connect(&endpoint).unwrap();
            } else {
                let endpoint = xpub.bind(net.fresh()).unwrap();
                greeted.connect(&endpoint).unwrap();
            }
            xpub.wait_for_subscribers(1, LONG).unwrap();
            xpub.send("hello").unwrap();
            for text in ["Welcome", "hello"] {
                let message = greeted.recv_timeout(LONG).unwrap();
                assert_eq!(message, Message::from(text), "{net:?} {connects}");
            }
            assert_eq!(other.try_recv(), Err(RecvError::WouldBlock));
        }
        // What the peer did not subscribe to it filters.
        let mut xpub = bound(net, |b| b.welcome_message(Message::from("Welcome")));
        let mut picky = sub(&xpub);
        picky.subscribe("hello").unwrap();
        expect(&mut xpub, &[on("hello")]);
        xpub.send("hello").unwrap();
        assert_eq!(picky.recv().unwrap(), Message::from("hello"));
    }
}

#[test]
fn no_drop_waits_for_every_receiver() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.no_drop(true).send_hwm(2));
        let endpoint = xpub.bound_endpoints()[0].clone();
        let mut slow = Sub::builder().recv_hwm(2).connect(&endpoint).unwrap();
        slow.subscribe("A").unwrap();
        expect(&mut xpub, &[on("A")]);
        let body = vec![b'A'; 1 << 20];
        let mut sent = 0;
        let failure = loop {
            match xpub.send_timeout(body.clone(), SHORT) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(failure.reason(), SendFailure::Timeout);
        let again = xpub.try_send(failure.into_message()).unwrap_err();
        assert_eq!(again.reason(), SendFailure::WouldBlock);
        // One who does not want it is not waited for.
        xpub.try_send("B").unwrap();
        for _ in 0..sent {
            assert_eq!(slow.recv_timeout(LONG).unwrap().byte_len(), body.len());
        }
        xpub.send_timeout(again.into_message(), LONG).unwrap();
        assert_eq!(slow.recv_timeout(LONG).unwrap().byte_len(), body.len());
        assert_eq!(xpub.stats().dropped_full, 0, "{net:?}");
    }
}

#[test]
fn messages_go_up_as_well() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b);
        let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
        let mut xsub = XSub::new();
        xsub.connect(&xpub.bound_endpoints()[0]).unwrap();
        xsub.connect(&publisher.bound_endpoints()[0]).unwrap();
        xsub.wait_for_peers(2, LONG).unwrap();
        xsub.send("up").unwrap();
        xsub.send("").unwrap();
        xsub.send(Message::multipart(["two", "frames"])).unwrap();
        for message in [
            Message::from("up"),
            Message::default(),
            Message::multipart(["two", "frames"]),
        ] {
            assert_eq!(
                xpub.recv_event(),
                Ok(SubscriptionEvent::Message(message)),
                "{net:?}"
            );
        }
        // A PUB has no use for them, and is none the worse for it.
        xsub.send("\u{1}topic").unwrap();
        publisher.wait_for_subscribers_of("topic", 1, LONG).unwrap();
        expect(&mut xpub, &[on("topic")]);
        publisher.send("topic of PUB").unwrap();
        xpub.send("topic of XPUB").unwrap();
        let mut received = [(); 2].map(|()| xsub.recv_timeout(LONG).unwrap().into_bytes());
        received.sort();
        assert_eq!(received, ["topic of PUB", "topic of XPUB"]);
    }
}

#[test]
fn an_xsub_does_not_filter() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.manual(true));
        let mut xsub = XSub::new();
        xsub.connect(&xpub.bound_endpoints()[0]).unwrap();
        xsub.send("\u{1}A").unwrap();
        expect(&mut xpub, &[on("A")]);
        xpub.subscribe("").unwrap();
        xpub.send("anything").unwrap();
        assert_eq!(xsub.recv_timeout(LONG).unwrap(), Message::from("anything"));
    }
}

#[test]
fn subscriptions_of_an_xsub_count() {
    for &net in KINDS {
        for verbose in [false, true] {
            let mut xpub = bound(net, |b| b.verboser(true));
            let mut xsub = XSub::builder()
                .verbose_unsubscribe(verbose)
                .connect(&xpub.bound_endpoints()[0])
                .unwrap();
            xsub.subscribe("A").unwrap();
            xsub.send("\u{1}A").unwrap();
            assert_eq!(xsub.topic_count(), 1);
            expect(&mut xpub, &[on("A")]);
            xsub.send("\0A").unwrap();
            assert_eq!(xsub.topic_count(), 1);
            assert!(xsub.unsubscribe("A"));
            assert_eq!(xsub.topic_count(), 0);
            assert!(!xsub.unsubscribe("B"));
            xsub.subscribe("end").unwrap();
            // The repetition may have been told in one with the first, if both were before the connection.
            let mut told = Vec::new();
            while told.last() != Some(&on("end")) {
                told.push(xpub.recv_event().unwrap());
            }
            told.retain(|event| *event != on("A"));
            let expected = match verbose {
                false => vec![off("A"), on("end")],
                true => vec![off("A"), off("A"), off("B"), on("end")],
            };
            assert_eq!(told, expected, "{net:?} {verbose}");
        }
    }
}

#[test]
fn subscriptions_and_messages_may_be_mixed() {
    for &net in KINDS {
        for only_first in [false, true] {
            let mut xpub = bound(net, |b| b);
            let mut xsub = XSub::builder()
                .only_first_subscribe(only_first)
                .connect(&xpub.bound_endpoints()[0])
                .unwrap();
            xsub.wait_for_peers(1, LONG).unwrap();
            xsub.send(Message::multipart(["\u{1}A", "x", "\u{1}B", "y"]))
                .unwrap();
            xsub.subscribe("end").unwrap();
            expect(&mut xpub, &[on("A")]);
            // With the option the second is part of a message; this XPUB looks at every frame.
            let mut rest = Vec::new();
            while rest.len() < 3 {
                rest.push(xpub.recv_event().unwrap());
            }
            let message = SubscriptionEvent::Message(Message::multipart(["x", "y"]));
            for event in [on("B"), on("end"), message] {
                assert!(rest.contains(&event), "{net:?} {only_first}: {rest:?}");
            }
        }
    }
}

#[test]
fn an_xpub_that_looks_at_first_frames_only() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.only_first_subscribe(true));
        let mut xsub = XSub::builder()
            .only_first_subscribe(true)
            .connect(&xpub.bound_endpoints()[0])
            .unwrap();
        xsub.wait_for_peers(1, LONG).unwrap();
        let mixed = Message::multipart(["x", "\u{1}B"]);
        xsub.send(mixed.clone()).unwrap();
        assert_eq!(
            xpub.recv_event(),
            Ok(SubscriptionEvent::Message(mixed)),
            "{net:?}"
        );
        assert_eq!(xpub.topic_count(), 0);
    }
}

#[test]
fn subscriptions_are_told_again_before_anything_else() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut xsub = XSub::builder()
            .reconnect(sinew::ReconnectPolicy::backoff(
                Duration::from_millis(1),
                Duration::from_millis(20),
            ))
            .build()
            .unwrap();
        xsub.connect(&endpoint).unwrap();
        // Far more than a pipe holds.
        for n in 0..3000 {
            xsub.subscribe(format!("{n:04}")).unwrap();
        }
        for round in 0..3 {
            xsub.send("first message").unwrap();
            let mut xpub = XPub::builder()
                .recv_hwm(10_000)
                .recv_timeout(LONG)
                .bind(&endpoint)
                .unwrap();
            let mut topics: Vec<_> = (0..3000)
                .map(|_| match xpub.recv_event().unwrap() {
                    Subscribed(topic) => topic,
                    other => panic!("{other:?} too early"),
                })
                .collect();
            topics.sort();
            topics.dedup();
            assert_eq!(topics.len(), 3000);
            let message = SubscriptionEvent::Message("first message".into());
            assert_eq!(xpub.recv_event(), Ok(message), "{net:?} {round}");
            xpub.close();
            await_true("it is gone", || xsub.stats().peers == 0);
        }
    }
}

#[test]
fn matching_can_be_inverted() {
    for &net in KINDS {
        let mut publisher = Pub::builder()
            .invert_matching(true)
            .bind(net.fresh())
            .unwrap();
        let endpoint = publisher.bound_endpoints()[0].clone();
        let sub = || Sub::builder().invert_matching(true).connect(&endpoint);
        let mut without = sub().unwrap();
        let mut all = sub().unwrap();
        without.subscribe("A").unwrap();
        without.subscribe("AB").unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        publisher.wait_for_peers(2, LONG).unwrap();
        publisher.wait_for_subscribers_of("X", 2, LONG).unwrap();
        assert_eq!(publisher.subscriber_count("AB"), 1);
        for topic in ["A", "B", "AB", ""] {
            publisher.send(topic).unwrap();
        }
        for topic in ["B", ""] {
            let message = without.recv_timeout(LONG).unwrap();
            assert_eq!(message, Message::from(topic), "{net:?}");
        }
        for topic in ["A", "B", "AB", ""] {
            assert_eq!(all.recv_timeout(LONG).unwrap(), Message::from(topic));
        }
        assert_eq!(without.try_recv(), Err(RecvError::WouldBlock));
        // It filters by itself what a publisher sends that does not.
        let mut plain = Pub::builder().bind(net.fresh()).unwrap();
        without.connect(&plain.bound_endpoints()[0]).unwrap();
        plain.wait_for_subscribers_of("A", 1, LONG).unwrap();
        without.subscribe("").unwrap();
        plain.wait_for_subscribers_of("", 1, LONG).unwrap();
        plain.send("C").unwrap();
        assert_eq!(without.recv_timeout(SHORT), Err(RecvError::Timeout));
    }
}

#[test]
fn a_sub_may_tell_every_cancellation() {
    for &net in KINDS {
        for verbose in [false, true] {
            let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
            let mut sub = Sub::builder()
                .verbose_unsubscribe(verbose)
                .connect(&publisher.bound_endpoints()[0])
                .unwrap();
            sub.subscribe("A").unwrap();
            sub.subscribe("A").unwrap();
            assert_eq!(sub.topic_count(), 1);
            publisher.wait_for_subscribers_of("A", 1, LONG).unwrap();
            assert!(sub.unsubscribe("A"));
            sub.subscribe("fence").unwrap();
            publisher.wait_for_subscribers_of("fence", 1, LONG).unwrap();
            // It is one to the publisher, who holds a topic once.
            let left = usize::from(!verbose);
            assert_eq!(publisher.subscriber_count("A"), left, "{net:?}");
            assert_eq!(publisher.topic_count(), 1 + left);
            assert_eq!(sub.topic_count(), 2);
        }
    }
}

/// One who does not receive events keeps its memory, and is not misled about what is left of them.
#[test]
fn events_that_wait_are_put_together() {
    for &net in KINDS {
        let mut xpub = bound(net, |b| b.recv_hwm(4));
        let mut sub = sub(&xpub);
        sub.subscribe("kept").unwrap();
        for n in 0..1000 {
            sub.subscribe(format!("passing {n}")).unwrap();
            sub.unsubscribe(format!("passing {n}"));
        }
        sub.subscribe("last").unwrap();
        xpub.wait_for_subscribers_of("last", 1, LONG).unwrap();
        let mut held = std::collections::BTreeSet::new();
        let mut count = 0;
        while let Ok(event) = xpub.try_recv_event() {
            count += 1;
            match event {
                Subscribed(topic) => assert!(held.insert(topic)),
                Unsubscribed(topic) => assert!(held.remove(&topic)),
                other => panic!("{other:?}"),
            }
        }
        let held: Vec<_> = held.into_iter().collect();
        assert_eq!(held, ["kept", "last"], "{net:?}");
        assert!(count <= 8, "{count} events");
        // Before the connection there is only what was subscribed to at its time.
        let left_out = xpub.stats().events_left_out;
        assert!(left_out > 0 || net != Net::Inproc, "{net:?}: {left_out}");
    }
}

/// The two of them between a publisher and subscribers, with subscriptions that come and go.
#[test]
fn a_broker_of_the_two_hands_everything_on() {
    for &net in KINDS {
        let mut front = XSub::builder().bind(net.fresh()).unwrap();
        let mut back = bound(net, |b| b);
        let mut publisher = Pub::builder().connect(&front.bound_endpoints()[0]).unwrap();
        let mut one = sub(&back);
        let mut two = sub(&back);
        one.subscribe("A").unwrap();
        two.subscribe("A").unwrap();
        two.subscribe("B").unwrap();
        while publisher.topic_count() < 2 || back.subscriber_count("A") < 2 {
            if let Ok(event) = back.recv_timeout(SHORT) {
                front.send(event).unwrap();
            }
        }
        for n in 0..100 {
            for topic in ["A", "B", "C"] {
                publisher.send(format!("{topic}{n}")).unwrap();
            }
        }
        for _ in 0..200 {
            back.send(front.recv_timeout(LONG).unwrap()).unwrap();
        }
        for n in 0..100 {
            assert_eq!(one.recv().unwrap(), Message::from(format!("A{n}")));
            assert_eq!(two.recv().unwrap(), Message::from(format!("A{n}")));
            assert_eq!(two.recv().unwrap(), Message::from(format!("B{n}")));
        }
        drop(two);
        front.send(back.recv().unwrap()).unwrap();
        publisher.wait_for_peers(1, LONG).unwrap();
        await_true("the end of B arrives", || publisher.topic_count() == 1);
        assert_eq!(publisher.subscriber_count("A"), 1, "{net:?}");
    }
}

/// What a publisher with default options would end the connection for, again and again.
#[test]
fn a_subscription_beyond_what_publishers_accept_is_an_error_and_changes_nothing() {
    const MOST: usize = 65_536;
    let too_long = SubscribeError::TopicTooLong {
        len: MOST + 1,
        limit: MOST,
    };
    for &net in KINDS {
        let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
        let at = publisher.bound_endpoints().remove(0);
        let mut sub = Sub::builder().recv_timeout(LONG).connect(&at).unwrap();
        let mut xsub = XSub::builder().recv_timeout(LONG).connect(&at).unwrap();
        assert_eq!(sub.subscribe([b'a'; MOST + 1]), Err(too_long), "{net:?}");
        assert_eq!(xsub.subscribe([b'a'; MOST + 1]), Err(too_long));
        // None of a message: what is too long is found before anything is done.
        let frames = [vec![1, b'b'], vec![1; MOST + 2]];
        let error = xsub.send(Message::multipart(frames.clone())).unwrap_err();
        assert_eq!(error.reason(), SendFailure::Subscribe(too_long));
        assert_eq!(error.into_message(), Message::multipart(frames));
        assert_eq!((sub.topic_count(), xsub.topic_count()), (0, 0));
        assert!(!sub.unsubscribe([b'a'; MOST + 1]));

        // The longest there may be is accepted, and the connection is there.
        sub.subscribe([b'a'; MOST]).unwrap();
        let marked = [&[1][..], &[b'a'; MOST]].concat();
        xsub.send(marked).unwrap();
        publisher.wait_for_subscribers(2, LONG).unwrap();
        publisher.send([b'a'; MOST]).unwrap();
        assert_eq!(sub.recv().unwrap().as_bytes().len(), MOST, "{net:?}");
        assert_eq!(xsub.recv().unwrap().as_bytes().len(), MOST);
        assert_eq!(publisher.stats().disconnects, 0);
    }
}

#[test]
fn a_subscriber_has_limits_of_its_own() {
    let options = || Sub::builder().max_topics(2).max_topic_length(3);
    let mut sub = options().build().unwrap();
    sub.subscribe("a").unwrap();
    sub.subscribe("abc").unwrap();
    sub.subscribe("abc")
        .expect("one that there is takes no room");
    let too_many = SubscribeError::TooManyTopics { limit: 2 };
    assert_eq!(sub.subscribe("b"), Err(too_many));
    assert_eq!(sub.topic_count(), 2);
    let too_long = SubscribeError::TopicTooLong { len: 4, limit: 3 };
    assert_eq!(sub.subscribe("abcd"), Err(too_long));
    assert!(sub.unsubscribe("a"));
    sub.subscribe("b").unwrap();

    let mut xsub = XSub::builder().max_topics(1).build().unwrap();
    xsub.send(Message::multipart([[1, b'a'], [0, b'a'], [1, b'b']]))
        .unwrap();
    let error = xsub.send([1, b'c']).unwrap_err();
    let too_many = SubscribeError::TooManyTopics { limit: 1 };
    assert_eq!(error.reason(), SendFailure::Subscribe(too_many));
    assert_eq!(xsub.topic_count(), 1);

    // All together, with a limit on each that lets one through.
    let mut sub = Sub::builder().max_topic_length(64 << 20).build().unwrap();
    sub.subscribe(vec![b'a'; 60 << 20]).unwrap();
    let error = sub.subscribe(vec![b'b'; 5 << 20]).unwrap_err();
    let limit = 64 << 20;
    let octets = 65 << 20;
    assert_eq!(error, SubscribeError::TooManyOctets { octets, limit });
    // What is taken back leaves its room.
    assert!(sub.unsubscribe(vec![b'a'; 60 << 20]));
    sub.subscribe(vec![b'b'; 5 << 20]).unwrap();
}

/// Sends a message as soon as it is woken.
struct Answer(Mutex<SendPart<XPub>>);

impl Wake for Answer {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().send("A").unwrap();
    }
}

/// Who is told of a subscription has it count for what is sent from then on, even if nobody was there for the message before.
#[test]
fn a_subscription_that_is_told_counts() {
    let xpub = bound(Net::Inproc, |builder| builder);
    let mut sub = sub(&xpub);
    let (mut sending, mut receiving) = xpub.split();
    sending.send("nobody").unwrap();
    let waker = Waker::from(Arc::new(Answer(Mutex::new(sending))));
    let mut event = pin!(receiving.recv_async());
    let mut task = std::task::Context::from_waker(&waker);
    assert!(event.as_mut().poll(&mut task).is_pending());
    sub.subscribe("A").unwrap();
    assert!(event.as_mut().poll(&mut task).is_ready());
    assert_eq!(sub.recv().unwrap(), Message::from("A"));
}
