//! Subscriptions and groups from peers who mean no good.

use sinew::{
    DisconnectReason, Dish, Malformed, Radio, SocketBuilder, Sub, SubscriptionEvent, XPub,
};

use crate::heap::{live, peak_of};
use crate::isolated::isolated;
use crate::raw::{announce, command, frame, Raw, COMMAND, MORE};
use crate::stage::{PubStage, Stage, TRANSPORTS};
use crate::WATCHDOG;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn xpub(at: &str, options: impl FnOnce(SocketBuilder<XPub>) -> SocketBuilder<XPub>) -> XPub {
    options(XPub::builder())
        .recv_timeout(WATCHDOG)
        .bind(at)
        .unwrap()
}

fn sub(xpub: &XPub) -> Raw {
    Raw::shake_hands(&xpub.bound_endpoints()[0], "SUB")
}

fn subscribed(topic: &[u8]) -> SubscriptionEvent {
    SubscriptionEvent::Subscribed(topic.to_vec().into())
}

fn protocol(fault: Malformed) -> DisconnectReason {
    DisconnectReason::Protocol(fault.into())
}

/// The application never receives; what waits for it is what is held.
#[test]
fn a_flood_of_events_is_bounded() {
    isolated("subscriptions::a_flood_of_events_is_bounded", || {
        for (verboser, manual) in [(false, false), (true, false), (false, true)] {
            let mut xpub = xpub(TRANSPORTS[0], |b| b.verboser(verboser).manual(manual));
            let mut raw = sub(&xpub);
            let (grown, ()) = peak_of(|| {
                for n in 0_u32..50_000 {
                    let topic = n.to_be_bytes();
                    raw.send(
                        &[
                            command("SUBSCRIBE", &topic),
                            command("SUBSCRIBE", b"kept"),
                            command("CANCEL", &topic),
                            command("CANCEL", b"never"),
                        ]
                        .concat(),
                    );
                }
                raw.settle();
            });
            println!("200 000 events nobody receives: {} KiB", grown / KIB);
            assert!(grown < 2 * MIB, "{grown} octets");
            let left_out = xpub.stats().events_left_out;
            assert!(left_out > 90_000, "{left_out}");
            // Who receives in the end knows what is held.
            let mut held = std::collections::BTreeSet::new();
            while let Ok(event) = xpub.try_recv_event() {
                match event {
                    SubscriptionEvent::Subscribed(topic) => drop(held.insert(topic)),
                    SubscriptionEvent::Unsubscribed(topic) => drop(held.remove(&topic)),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(held.into_iter().collect::<Vec<_>>(), ["kept"]);
            drop(raw);
            let off = SubscriptionEvent::Unsubscribed("kept".into());
            assert_eq!(xpub.recv_event().unwrap(), off);
        }
    });
}

#[test]
fn what_is_held_is_bounded_and_goes_with_its_peer() {
    isolated(
        "subscriptions::what_is_held_is_bounded_and_goes_with_its_peer",
        || {
            const TOPICS: u32 = 100_000;
            let mut stage = PubStage::with(TRANSPORTS[0], |b| b.max_topics(TOPICS));
            let mut raw = Raw::shake_hands(stage.endpoint(), "SUB");
            raw.settle();
            let before = live();
            let mut flood = Vec::new();
            for n in 0..TOPICS {
                // 24 octets, in an order that spreads them.
                let topic = format!("{:024x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                flood.extend(command("SUBSCRIBE", &topic.as_bytes()[..24]));
            }
            let sent = flood.len();
            raw.send(&flood);
            drop(flood);
            raw.settle();
            let each = live().saturating_sub(before) / TOPICS as usize;
            println!("{TOPICS} topics of 24 octets ({sent} sent): {each} octets each");
            // The arena doubles; up to half of it is not in use.
            assert!(each < 256, "{each} octets each");
            stage.exchange(10);
            raw.send(&command("SUBSCRIBE", b"one too many"));
            assert_eq!(stage.disconnection(), DisconnectReason::SubscriptionLimit);
            assert_eq!(stage.publisher.topic_count(), 1);
            let left = live().saturating_sub(before);
            println!("after its peer: {} KiB", left / KIB);
            assert!(left < MIB, "{left} octets");
            stage.finish();
        },
    );
}

#[test]
fn a_subscription_may_come_octet_by_octet() {
    for at in TRANSPORTS {
        let mut xpub = xpub(at, |b| b);
        let mut raw = sub(&xpub);
        let long = vec![b't'; 65_536];
        for octet in [
            command("SUBSCRIBE", b"command"),
            frame(0, b"\x01message"),
            [frame(MORE, b"\x01first"), frame(0, b"\x01second")].concat(),
        ]
        .concat()
        {
            raw.send(&[octet]);
        }
        for part in command("SUBSCRIBE", &long).chunks(1000) {
            raw.send(part);
        }
        for part in frame(0, &[b"\0", &long[..]].concat()).chunks(777) {
            raw.send(part);
        }
        for topic in [&b"command"[..], b"message", b"first", b"second", &long] {
            assert_eq!(xpub.recv_event().unwrap(), subscribed(topic));
        }
        let off = SubscriptionEvent::Unsubscribed(long.into());
        assert_eq!(xpub.recv_event().unwrap(), off);
    }
}

#[test]
fn frames_of_both_kinds_are_told_apart() {
    for at in TRANSPORTS {
        for only_first in [false, true] {
            let mut xpub = xpub(at, |b| b.only_first_subscribe(only_first));
            let mut raw = sub(&xpub);
            raw.send(
                &[
                    frame(MORE, b"\x01A"),
                    frame(MORE, b"\x01B"),
                    frame(MORE, b"x"),
                    frame(MORE, b""),
                    frame(MORE, b"\x01C"),
                    frame(0, b"\x01D"),
                    command("SUBSCRIBE", b"end"),
                ]
                .concat(),
            );
            raw.settle();
            assert_eq!(xpub.recv_event().unwrap(), subscribed(b"A"));
            if !only_first {
                assert_eq!(xpub.recv_event().unwrap(), subscribed(b"B"));
            }
            assert_eq!(xpub.recv_event().unwrap(), subscribed(b"end"));
            let message = SubscriptionEvent::Message(match only_first {
                true => sinew::Message::multipart(["\u{1}B", "x", "", "\u{1}C", "\u{1}D"]),
                false => sinew::Message::multipart(["x", ""]),
            });
            if only_first {
                assert_eq!(xpub.recv_event().unwrap(), message);
            } else {
                // Those behind the first frame of another kind count once the message is received.
                assert_eq!(xpub.recv_event().unwrap(), message);
                assert_eq!(xpub.recv_event().unwrap(), subscribed(b"C"));
                assert_eq!(xpub.recv_event().unwrap(), subscribed(b"D"));
            }
            let counts = if only_first { 2 } else { 5 };
            assert_eq!(xpub.topic_count(), counts);
        }
    }
}

#[test]
fn groups_have_names_of_255_octets() {
    for at in TRANSPORTS {
        let mut radio = Radio::new();
        let mut monitor = radio.monitor();
        let endpoint = radio.bind(at).unwrap();
        for (octets, fault) in [
            (
                command("JOIN", &[b'g'; 256]),
                Malformed::GroupLength { len: 256 },
            ),
            (
                command("LEAVE", &[b'g'; 256]),
                Malformed::GroupLength { len: 256 },
            ),
            (command("JOIN", b"a\0"), Malformed::GroupZero),
        ] {
            let mut raw = Raw::shake_hands(&endpoint, "DISH");
            raw.send(&octets);
            raw.read_to_end();
            let end = monitor.wait_for(WATCHDOG, |event| {
                matches!(event, sinew::SocketEvent::Disconnected { .. })
            });
            let Some(sinew::SocketEvent::Disconnected { reason, .. }) = end else {
                panic!("no end: {end:?}");
            };
            assert_eq!(reason, protocol(fault));
        }
        let long = "g".repeat(255);
        let mut raw = Raw::shake_hands(&endpoint, "DISH");
        raw.send(&command("LEAVE", b"never joined"));
        raw.send(&command("JOIN", long.as_bytes()));
        raw.send(&command("JOIN", long.as_bytes()));
        radio.wait_for_members(&long, 1, WATCHDOG).unwrap();
        // As recorded: the name of the group, then the body.
        radio.send(&long, "body").unwrap();
        assert_eq!(raw.read_frame(), (MORE, long.clone().into_bytes()));
        assert_eq!(raw.read_frame(), (0, b"body".to_vec()));
        raw.send(&command("LEAVE", long.as_bytes()));
        raw.settle();
        assert_eq!((radio.member_count(&long), radio.group_count()), (0, 0));
    }
}

#[test]
fn a_message_for_a_group_has_two_frames() {
    for at in TRANSPORTS {
        let mut dish = Dish::builder().recv_timeout(WATCHDOG).build().unwrap();
        dish.join("a").unwrap();
        let mut monitor = dish.monitor();
        let endpoint = dish.bind(at).unwrap();
        for (octets, fault) in [
            (frame(0, b"alone"), Malformed::GroupWithoutBody),
            (
                [frame(MORE, b"a"), frame(MORE, b"body"), frame(0, b"rest")].concat(),
                Malformed::GroupWithManyBodies,
            ),
            (
                frame(MORE, &[b'g'; 256]),
                Malformed::GroupLength { len: 256 },
            ),
            // On the header, before anything is taken in.
            (
                announce(MORE, 60 << 20),
                Malformed::GroupLength { len: 60 << 20 },
            ),
        ] {
            let mut raw = Raw::shake_hands(&endpoint, "RADIO");
            assert_eq!(raw.read_frame(), (COMMAND, b"\x04JOINa".to_vec()));
            raw.send(&[frame(MORE, b"a"), frame(0, b"sound")].concat());
            let (group, body) = dish.recv().unwrap();
            assert_eq!((group.as_bytes(), &body[..]), (&b"a"[..], &b"sound"[..]));
            raw.send(&octets);
            raw.read_to_end();
            let end = monitor.wait_for(WATCHDOG, |event| {
                matches!(event, sinew::SocketEvent::Disconnected { .. })
            });
            let Some(sinew::SocketEvent::Disconnected { reason, .. }) = end else {
                panic!("no end: {end:?}");
            };
            assert_eq!(reason, protocol(fault));
            // Nothing of it is delivered.
            assert!(dish.try_recv().is_err());
        }
        let mut raw = Raw::shake_hands(&endpoint, "RADIO");
        raw.read_frame();
        raw.send(&[frame(MORE, b"b"), frame(0, b"not joined")].concat());
        raw.send(&[frame(MORE, b"a"), frame(0, &[b'x'; 100_000])].concat());
        raw.send(&[frame(MORE, b"a"), frame(0, b"")].concat());
        assert_eq!(dish.recv().unwrap().1.len(), 100_000);
        assert_eq!(dish.recv().unwrap().1.len(), 0);
        dish.leave("a").unwrap();
        assert_eq!(raw.read_frame(), (COMMAND, b"\x05LEAVEa".to_vec()));
        dish.close();
    }
}

/// Who never receives must not keep what is left of every peer there was.
#[test]
fn an_xpub_that_only_sends_outlives_many_peers() {
    let mut xpub = xpub(TRANSPORTS[1], |b| b);
    for _ in 0..1200 {
        let mut raw = sub(&xpub);
        raw.send(&command("SUBSCRIBE", b"A"));
        xpub.wait_for_subscribers(1, WATCHDOG).unwrap();
        xpub.send("A").unwrap();
        assert_eq!(raw.read_frame(), (0, b"A".to_vec()));
        drop(raw);
        while xpub.subscriber_count("A") > 0 {
            std::thread::yield_now();
        }
    }
    assert_eq!(xpub.stats().handshakes, 1200);
}

/// What a raw publisher makes of what it reads, until it is this; how many frames that were.
fn read_until(raw: &mut Raw, wanted: &[&[u8]]) -> usize {
    let mut held = std::collections::BTreeSet::new();
    for frames in 1.. {
        let (flags, body) = raw.read_frame();
        assert_eq!(flags & COMMAND, COMMAND);
        let (name, topic) = body[1..].split_at(usize::from(body[0]));
        match name {
            b"SUBSCRIBE" | b"JOIN" => assert!(held.insert(topic.to_vec()), "told twice"),
            b"CANCEL" | b"LEAVE" => assert!(held.remove(topic), "never told"),
            other => panic!("{other:?}"),
        }
        if held.iter().eq(wanted) {
            return frames;
        }
    }
    unreachable!("it reads for ever, or until the watchdog ends it");
}

/// An application changes its mind endlessly, and its publisher does not read: what waits is bounded by
/// what is subscribed to, and who reads in the end knows that.
#[test]
fn a_publisher_that_does_not_read_costs_no_memory() {
    isolated(
        "subscriptions::a_publisher_that_does_not_read_costs_no_memory",
        || {
            const CHANGES: u32 = 60_000;
            macro_rules! check {
                ($socket:expr, $theirs:literal, $add:expr, $take:expr) => {
                    let mut socket = $socket;
                    let (add, take) = ($add, $take);
                    // Over tcp small buffers make for slow reading.
                    let endpoint = socket.bind("ipc://*").unwrap();
                    let mut raw = Raw::shake_hands(&endpoint, $theirs).with_small_buffers();
                    socket.wait_for_peers(1, WATCHDOG).unwrap();
                    add(&mut socket, b"early");
                    add(&mut socket, b"kept");
                    let (grown, ()) = peak_of(|| {
                        for n in 0..CHANGES {
                            let topic = format!("{n:024}");
                            add(&mut socket, topic.as_bytes());
                            if n == CHANGES / 2 {
                                // Told, and taken back while nothing is read; and the other way round.
                                take(&mut socket, b"early");
                                take(&mut socket, b"kept");
                                add(&mut socket, b"kept");
                                add(&mut socket, b"late");
                            }
                            take(&mut socket, topic.as_bytes());
                        }
                    });
                    println!("{CHANGES} changes nobody reads: {} KiB", grown / KIB);
                    assert!(grown < MIB, "{grown} octets");
                    let frames = read_until(&mut raw, &[b"kept", b"late"]);
                    assert!(frames < CHANGES as usize, "{frames}");
                    // Nothing else is left to tell.
                    add(&mut socket, b"after");
                    assert!(raw.read_frame().1.ends_with(b"after"));
                };
            }
            check!(
                Sub::new(),
                "PUB",
                |sub: &mut Sub, topic: &[u8]| sub.subscribe(topic).unwrap(),
                |sub: &mut Sub, topic: &[u8]| assert!(sub.unsubscribe(topic))
            );
            check!(
                Dish::new(),
                "RADIO",
                |dish: &mut Dish, group: &[u8]| dish.join(group).unwrap(),
                |dish: &mut Dish, group: &[u8]| dish.leave(group).unwrap()
            );
        },
    );
}
