//! What can go wrong after the handshake.

use std::time::Instant;

use sinew::{
    DisconnectReason, FrameError, HighWaterMark, LimitExceeded, Malformed, Misbehaved,
    ProtocolError, Pull,
};

use crate::raw::{announce, command, command_body, frame, Raw, COMMAND, LONG, MORE};
use crate::stage::{every_stage, PubStage, PullStage, RepStage, Stage, TRANSPORTS};
use crate::WATCHDOG;

struct Case {
    name: &'static str,
    octets: Vec<u8>,
    is_expected: fn(&DisconnectReason) -> bool,
    text: &'static str,
}

fn case(
    name: &'static str,
    octets: impl Into<Vec<u8>>,
    is_expected: fn(&DisconnectReason) -> bool,
    text: &'static str,
) -> Case {
    Case {
        name,
        octets: octets.into(),
        is_expected,
        text,
    }
}

fn is_frame(reason: &DisconnectReason, wanted: FrameError) -> bool {
    *reason == DisconnectReason::Protocol(Malformed::Frame(wanted).into())
}

/// Faults that are faults to every type of socket.
fn cases() -> Vec<Case> {
    use DisconnectReason::Protocol as P;
    use ProtocolError::{Malformed as Mal, Misbehaved as Mis, Refused};
    vec![
        case(
            "reserved flag bits",
            *b"\x80\x01x",
            |r| is_frame(r, FrameError::ReservedBits(0x80)),
            "reserved bits are set in the frame flags 0x80",
        ),
        case(
            "all flag bits",
            [0xff],
            |r| is_frame(r, FrameError::ReservedBits(0xff)),
            "reserved bits are set in the frame flags 0xff",
        ),
        case(
            "a command with MORE",
            frame(COMMAND | MORE, &command_body("PING", b"\0\0")),
            |r| is_frame(r, FrameError::CommandWithMore(5)),
            "a command frame has the MORE bit set (flags 0x05)",
        ),
        case(
            "a length of 2^63",
            announce(0, 1 << 63),
            |r| is_frame(r, FrameError::SizeOverflow(1 << 63)),
            "frame size 9223372036854775808 is not representable, at most 2^63-1 is",
        ),
        case(
            "a length of 2^64 - 1",
            announce(MORE, u64::MAX),
            |r| is_frame(r, FrameError::SizeOverflow(u64::MAX)),
            "frame size 18446744073709551615 is not representable, at most 2^63-1 is",
        ),
        case(
            "a length of 2^63 - 1",
            announce(0, (1 << 63) - 1),
            |r| matches!(r, DisconnectReason::TooLarge { size, .. } if *size == (1 << 63) - 1),
            "a frame, in octets, announces 9223372036854775807, at most 67108864 are accepted",
        ),
        case(
            "a frame above the limit",
            announce(0, (64 << 20) + 1),
            |r| matches!(r, DisconnectReason::TooLarge { .. }),
            "a frame, in octets, announces 67108865, at most 67108864 are accepted",
        ),
        case(
            "a command of 2^63 octets",
            announce(COMMAND, 1 << 63),
            |r| is_frame(r, FrameError::SizeOverflow(1 << 63)),
            "frame size 9223372036854775808 is not representable, at most 2^63-1 is",
        ),
        case(
            "a command of 1 MiB",
            announce(COMMAND, 1 << 20),
            |r| matches!(r, DisconnectReason::TooLarge { .. }),
            "a command frame, in octets, announces 1048576, at most 65792 are accepted",
        ),
        case(
            "an empty command",
            frame(COMMAND, b""),
            |r| matches!(r, P(Mal(Malformed::EmptyCommand))),
            "a command frame is empty, expected a command name",
        ),
        case(
            "a command without a name",
            frame(COMMAND, b"\0"),
            |r| matches!(r, P(Mal(Malformed::EmptyCommandName))),
            "a command name has length 0, expected 1 to 255",
        ),
        case(
            "a command whose name does not fit",
            frame(COMMAND, b"\x05PING"),
            |r| matches!(r, P(Mal(Malformed::CommandName { .. }))),
            "a command name of 5 octets does not fit a frame of 5",
        ),
        case(
            "a PING without a time to live",
            command("PING", b"\0"),
            |r| matches!(r, P(Mal(Malformed::Ping { len: 1 }))),
            "a PING carries 1 octets, at least the 2 of its TTL are required",
        ),
        case(
            "a PING with a long context",
            command("PING", &[0; 19]),
            |r| matches!(r, P(Mal(Malformed::PingContext { len: 17 }))),
            "a PING carries a context of 17 octets, at most 16 are allowed",
        ),
        case(
            "a PONG with a long context",
            command("PONG", &[0; 17]),
            |r| matches!(r, P(Mal(Malformed::PongContext { len: 17 }))),
            "a PONG carries a context of 17 octets, at most 16 are allowed",
        ),
        case(
            "a command of another mechanism",
            command("HELLO", b""),
            |r| matches!(r, P(Mis(Misbehaved::HandshakeCommandInTraffic { .. }))),
            "the peer sent \"HELLO\" after the handshake",
        ),
        case(
            "an encrypted message",
            command("MESSAGE", &[0; 40]),
            |r| matches!(r, P(Mis(Misbehaved::HandshakeCommandInTraffic { .. }))),
            "the peer sent \"MESSAGE\" after the handshake",
        ),
        case(
            "a group joined",
            command("JOIN", b"group"),
            |r| matches!(r, P(Mis(Misbehaved::CommandForOtherSocket { .. }))),
            "the peer sent \"JOIN\" to a {ours} socket",
        ),
        case(
            "an ERROR",
            command("ERROR", b"\x05sorry"),
            |r| matches!(r, P(Refused(refusal)) if refusal.reason() == b"sorry"),
            "the peer refused the connection: \"sorry\"",
        ),
    ]
}

#[test]
fn each_fault_ends_the_connection_with_its_name() {
    for mut stage in every_stage() {
        for case in cases() {
            let mut raw = Raw::shake_hands(stage.endpoint(), stage.theirs());
            raw.send(&case.octets);
            let reason = stage.disconnection();
            assert!(
                (case.is_expected)(&reason),
                "{} to {}: {reason:?}",
                case.name,
                stage.ours()
            );
            let text = case.text.replace("{ours}", stage.ours());
            assert_eq!(reason.to_string(), text, "{}", case.name);
            raw.read_to_end();
            stage.exchange(1);
        }
        stage.finish();
        assert_eq!(stage.stats().disconnects, cases().len() as u64);
    }
}

/// Messages that came whole before a fault, in the same segment, are received.
#[test]
fn what_came_before_a_fault_is_received() {
    for at in TRANSPORTS {
        let mut stage = PullStage::new(at);
        let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
        let whole = [frame(0, b"one"), frame(MORE, b"two"), frame(0, b"three")].concat();
        raw.send(&[whole, frame(0x80, b"reserved bit")].concat());
        let reason = stage.disconnection();
        assert!(
            matches!(reason, DisconnectReason::Protocol(_)),
            "{reason:?}"
        );
        assert_eq!(stage.other().as_bytes(), b"one");
        assert_eq!(stage.other().frame_count(), 2);
        stage.finish();
    }
}

/// The same faults, cut at every octet: no panic, and one of two ends.
#[test]
fn a_fault_cut_anywhere_is_a_fault_or_a_peer_that_closed() {
    let mut stage = PullStage::new(TRANSPORTS[0]);
    for case in cases() {
        for cut in 0..case.octets.len().min(24) {
            let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
            raw.send(&case.octets[..cut]);
            drop(raw);
            let reason = stage.disconnection();
            assert!(
                reason == DisconnectReason::PeerClosed || (case.is_expected)(&reason),
                "{} cut at {cut}: {reason:?}",
                case.name
            );
        }
    }
    stage.finish();
}

#[test]
fn subscriptions_are_for_publishers_only() {
    for at in TRANSPORTS {
        let stages: [Box<dyn Stage>; 2] =
            [Box::new(PullStage::new(at)), Box::new(RepStage::new(at))];
        for mut stage in stages {
            for name in ["SUBSCRIBE", "CANCEL"] {
                let mut raw = Raw::shake_hands(stage.endpoint(), stage.theirs());
                raw.send(&command(name, b"topic"));
                let text = format!("the peer sent \"{name}\" to a {} socket", stage.ours());
                assert_eq!(stage.disconnection().to_string(), text);
                raw.read_to_end();
            }
            stage.finish();
        }
    }
}

#[test]
fn unknown_commands_are_ignored() {
    for mut stage in every_stage() {
        let mut raw = Raw::shake_hands(stage.endpoint(), stage.theirs());
        raw.send(&command("X", b"whatever").repeat(1000));
        raw.send(&command("PING", b"\0\0still here"));
        assert_eq!(raw.read_frame(), (COMMAND, b"\x04PONGstill here".to_vec()));
        drop(raw);
        assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
        stage.finish();
    }
}

#[test]
fn sizes_are_checked_before_the_octets_come() {
    for at in TRANSPORTS {
        let mut stage = PullStage::with(at, |b| {
            b.max_frame_size(1000).max_message_size(2500).max_frames(5)
        });
        for (octets, text) in [
            (
                announce(0, 1001),
                "a frame, in octets, announces 1001, at most 1000 are accepted",
            ),
            (
                [
                    frame(MORE, &[0; 1000]),
                    frame(MORE, &[0; 1000]),
                    announce(0, 501),
                ]
                .concat(),
                "a message, in octets, announces 2501, at most 2500 are accepted",
            ),
            (
                frame(MORE, b"x").repeat(6),
                "a message, in frames, announces 6, at most 5 are accepted",
            ),
        ] {
            let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
            raw.send(&octets);
            let reason = stage.disconnection();
            assert!(
                matches!(reason, DisconnectReason::TooLarge { .. }),
                "{reason:?}"
            );
            assert_eq!(reason.to_string(), text);
            raw.read_to_end();
        }
        // What is just within the limits is delivered, whole.
        let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
        raw.send(&frame(0, &[7; 1000]));
        assert_eq!(stage.other().as_bytes(), [7; 1000]);
        let message = [
            frame(MORE, &[1; 1000]),
            frame(MORE, &[2; 1000]),
            frame(MORE, &[3; 500]),
            frame(MORE, b""),
            frame(0, b""),
        ];
        raw.send(&message.concat());
        let received = stage.other();
        let lens: Vec<usize> = received.frames().iter().map(|f| f.len()).collect();
        assert_eq!(lens, [1000, 1000, 500, 0, 0]);
        drop(raw);
        stage.disconnection();
        stage.finish();
    }
}

/// The same limits where messages are of no use to the socket.
#[test]
fn sizes_are_checked_of_what_is_discarded_too() {
    for at in TRANSPORTS {
        let mut stage = PubStage::with(at, |b| {
            b.max_frame_size(1000).max_message_size(2500).max_frames(5)
        });
        for octets in [
            announce(0, 1001),
            [
                frame(MORE, &[b'x'; 1000]),
                frame(MORE, &[b'x'; 1000]),
                announce(0, 501),
            ]
            .concat(),
            frame(MORE, b"x").repeat(6),
        ] {
            let mut raw = Raw::shake_hands(stage.endpoint(), "SUB");
            raw.send(&octets);
            let reason = stage.disconnection();
            assert!(
                matches!(reason, DisconnectReason::TooLarge { .. }),
                "{reason:?}"
            );
            raw.read_to_end();
        }
        let before = stage.stats().dropped_unexpected;
        let mut raw = Raw::shake_hands(stage.endpoint(), "SUB");
        raw.send(
            &[
                frame(MORE, b"no"),
                frame(0, b"subscription"),
                frame(0, b"\x02neither"),
                frame(0, b""),
            ]
            .concat(),
        );
        raw.send(&command("PING", b"\0\0"));
        raw.read_frame();
        assert_eq!(stage.stats().dropped_unexpected, before + 3);
        drop(raw);
        stage.disconnection();
        stage.finish();
    }
}

#[test]
fn half_a_message_is_never_delivered() {
    for at in TRANSPORTS {
        let mut stage = PullStage::new(at);
        let large = vec![9; 300_000];
        for half in [
            frame(MORE, b"first"),
            [frame(MORE, b"first"), frame(MORE, b"second")].concat(),
            [frame(MORE, b"first"), announce(0, 1000), vec![1; 999]].concat(),
            [
                frame(MORE, &large),
                announce(0, 300_000),
                large[..200_000].to_vec(),
            ]
            .concat(),
            [frame(MORE, &large), frame(MORE, &large)].concat(),
            frame(MORE, b"x").repeat(50_000),
        ] {
            let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
            // A whole one before shows how far it was read.
            raw.send(&[frame(0, b"whole"), half].concat());
            drop(raw);
            assert_eq!(stage.other().as_bytes(), b"whole");
            assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
            stage.exchange(10);
            assert!(stage.others.is_empty(), "{:?}", stage.others);
        }
        stage.finish();
    }
}

/// Commands may come between the frames of a message, and are no part of it.
#[test]
fn commands_within_a_message_do_not_disturb_it() {
    for at in TRANSPORTS {
        let mut stage = PullStage::new(at);
        let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
        let ping = command("PING", b"\0\0ctx");
        raw.send(
            &[
                frame(MORE, b"one"),
                ping.clone(),
                frame(MORE, &[2; 70_000]),
                ping,
                command("X", b""),
                frame(0, b"three"),
            ]
            .concat(),
        );
        let message = stage.other();
        assert_eq!(message.frame_count(), 3);
        assert_eq!(message.frame(0).unwrap(), "one");
        assert_eq!(message.frame(1).unwrap().len(), 70_000);
        assert_eq!(message.frame(2).unwrap(), "three");
        assert_eq!(raw.read_frame(), (COMMAND, b"\x04PONGctx".to_vec()));
        drop(raw);
        stage.disconnection();
        stage.finish();
    }
}

#[test]
fn topics_above_the_limit_are_refused() {
    for at in TRANSPORTS {
        let mut stage = PubStage::new(at);
        let long = vec![b't'; 65_537];
        let as_message = [&b"\x01"[..], &long].concat();
        for octets in [command("SUBSCRIBE", &long), frame(0, &as_message)] {
            let mut raw = Raw::shake_hands(stage.endpoint(), "SUB");
            raw.send(&octets);
            let reason = stage.disconnection();
            assert_eq!(
                reason,
                DisconnectReason::Protocol(
                    LimitExceeded::TopicLength {
                        len: 65_537,
                        limit: 65_536
                    }
                    .into()
                )
            );
            raw.read_to_end();
        }
        // The longest is accepted.
        let mut raw = Raw::shake_hands(stage.endpoint(), "SUB");
        raw.send(&command("SUBSCRIBE", &long[1..]));
        stage
            .publisher
            .wait_for_subscribers_of(&long[1..], 1, WATCHDOG)
            .unwrap();
        drop(raw);
        stage.disconnection();
        assert_eq!(stage.publisher.subscriber_count(&long), 0);
        stage.finish();
    }
}

#[test]
fn data_for_a_push_socket_is_discarded_and_counted() {
    for at in TRANSPORTS {
        let mut push = sinew::Push::new();
        let mut monitor = push.monitor();
        let endpoint = push.bind(at).unwrap();
        let mut raw = Raw::shake_hands(&endpoint, "PULL");
        raw.send(
            &[
                frame(0, b"one"),
                frame(MORE, b"two"),
                announce(LONG, 0),
                frame(0, &vec![3; 1_000_000]),
                command("PING", b"\0\0"),
            ]
            .concat(),
        );
        assert_eq!(raw.read_frame().1, b"\x04PONG");
        assert_eq!(push.stats().dropped_unexpected, 3);
        // It is a good receiver all the same.
        push.send_timeout("work", WATCHDOG).unwrap();
        assert_eq!(raw.read_frame(), (0, b"work".to_vec()));
        raw.send(&announce(0, 1 << 62));
        let event = monitor.wait_for(WATCHDOG, |event| {
            matches!(
                event,
                sinew::SocketEvent::Disconnected {
                    reason: DisconnectReason::TooLarge { .. },
                    ..
                }
            )
        });
        assert!(event.is_some());
        assert_eq!(raw.read_to_end(), b"");
    }
}

#[test]
fn a_request_without_an_envelope_is_discarded_and_counted() {
    for at in TRANSPORTS {
        let mut stage = RepStage::new(at);
        let mut raw = Raw::shake_hands(stage.endpoint(), "REQ");
        let long_path = [
            frame(MORE, b"hop").repeat(100),
            frame(MORE, b""),
            frame(0, b"x"),
        ];
        raw.send(
            &[
                frame(0, b"no delimiter"),
                [frame(MORE, b"no"), frame(0, b"delimiter")].concat(),
                long_path.concat(),
            ]
            .concat(),
        );
        // A request behind them shows that they were looked at.
        raw.send(&[frame(MORE, b""), frame(0, b"question")].concat());
        let request = stage.rep.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(request.as_bytes(), b"question");
        assert_eq!(stage.stats().dropped_unexpected, 3);
        stage.rep.send_timeout("answer", WATCHDOG).unwrap();
        assert_eq!(raw.read_frame(), (MORE, Vec::new()));
        assert_eq!(raw.read_frame(), (0, b"answer".to_vec()));
        drop(raw);
        stage.disconnection();
        stage.finish();
    }
}

/// What has come of a message in several frames may use up the credit in octets; the message is finished
/// nevertheless.
#[test]
fn a_message_that_exceeds_the_credit_in_octets_is_finished() {
    for at in TRANSPORTS {
        let mut pull = Pull::builder()
            .recv_hwm(HighWaterMark::new(10).with_bytes(1000))
            .bind(at)
            .unwrap();
        let mut raw = Raw::shake_hands(&pull.bound_endpoints()[0], "PUSH");
        let first = [frame(0, b"whole"), frame(MORE, &[1; 2000])].concat();
        let handshake = pull.stats().bytes_received;
        raw.send(&first);
        let end = Instant::now() + WATCHDOG;
        while pull.stats().bytes_received < handshake + first.len() as u64 {
            assert!(Instant::now() < end, "it does not arrive");
            std::thread::yield_now();
        }
        for _ in 0..20 {
            raw.send(&[frame(0, b"end"), frame(MORE, &[1; 2000])].concat());
        }
        raw.send(&frame(0, b"end"));
        assert_eq!(pull.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"whole");
        for _ in 0..21 {
            let message = pull.recv_timeout(WATCHDOG).unwrap();
            assert_eq!(message.frames().len(), 2);
            assert_eq!(message.frames()[1].as_ref(), b"end");
        }
    }
}
