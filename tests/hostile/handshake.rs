//! What can go wrong before the handshake is done.

use std::time::Duration;

use sinew::{
    DisconnectReason, FrameError, Incompatible, LimitExceeded, Malformed, Misbehaved,
    ProtocolError, SocketEvent, TimedOut,
};

use crate::raw::{
    announce, command, command_body, frame, greeting, greeting_of, property, ready, Raw, COMMAND,
    LONG, MORE,
};
use crate::stage::{every_stage, PullStage, RepStage, Stage, TRANSPORTS};
use crate::WATCHDOG;

/// A peer that says something wrong, once.
struct Case {
    name: &'static str,
    octets: Vec<u8>,
    is_expected: fn(&ProtocolError) -> bool,
    /// What the event says; `{ours}` and `{theirs}` stand for the types of the sockets.
    text: &'static str,
}

fn case(
    name: &'static str,
    octets: impl Into<Vec<u8>>,
    is_expected: fn(&ProtocolError) -> bool,
    text: &'static str,
) -> Case {
    Case {
        name,
        octets: octets.into(),
        is_expected,
        text,
    }
}

/// A READY with these octets for properties, after a sound greeting.
fn metadata(octets: &[u8]) -> Vec<u8> {
    [greeting(), command("READY", octets)].concat()
}

fn after_greeting(octets: &[u8]) -> Vec<u8> {
    [&greeting(), octets].concat()
}

fn cases() -> Vec<Case> {
    use Incompatible as I;
    use ProtocolError as P;
    vec![
        case(
            "an HTTP client",
            *b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
            |e| matches!(e, P::Incompatible(I::NotZmtp { first: b'G' })),
            "the first octet is 0x47, a ZMTP greeting starts with 0xff",
        ),
        case(
            "a TLS client",
            *b"\x16\x03\x01\x02\x00",
            |e| matches!(e, P::Incompatible(I::NotZmtp { first: 0x16 })),
            "the first octet is 0x16, a ZMTP greeting starts with 0xff",
        ),
        case(
            "a ZMTP 1.0 peer without an identity",
            *b"\x01\x00",
            |e| matches!(e, P::Incompatible(I::NotZmtp { first: 1 })),
            "the first octet is 0x01, a ZMTP greeting starts with 0xff",
        ),
        case(
            "a ZMTP 1.0 peer with a long identity",
            *b"\xff\0\0\0\0\0\0\x01\x2c\x00identity",
            |e| matches!(e, P::Incompatible(I::Unversioned { octet: 0 })),
            "octet 9 of the greeting is 0x00, expected 0x7f: the peer speaks ZMTP 1.0, which is refused",
        ),
        case(
            "a ZMTP 2.0 peer",
            *b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x08\x00\x00",
            |e| matches!(e, P::Incompatible(I::Version { major: 1 })),
            "the peer speaks ZMTP of major revision 1, at least 3 is required",
        ),
        case(
            "another mechanism",
            greeting_of(3, 1, "PLAIN"),
            |e| matches!(e, P::Incompatible(I::Mechanism { ours: "NULL", .. })),
            "the peer's security mechanism is \"PLAIN\", ours is \"NULL\"",
        ),
        case(
            "no mechanism",
            greeting_of(3, 0, ""),
            |e| matches!(e, P::Incompatible(I::Mechanism { ours: "NULL", .. })),
            "the peer's security mechanism is \"\", ours is \"NULL\"",
        ),
        case(
            "a socket type that may not talk to us",
            metadata(&property("Socket-Type", b"PAIR")),
            |e| matches!(e, P::Incompatible(I::SocketType { .. })),
            "a PAIR peer cannot talk to this {ours} socket",
        ),
        case(
            "an unknown socket type",
            metadata(&property("Socket-Type", b"\xff\0\nSPLENDID-SOCKET-OF-A-VERY-LONG-NAME")),
            |e| matches!(e, P::Incompatible(I::SocketTypeUnknown { .. })),
            r#"the peer announced the unknown Socket-Type "\xff\x00\nSPLENDID-SOCKET-O..." to this {ours} socket"#,
        ),
        case(
            "no socket type",
            metadata(&property("X-Other", b"PUSH")),
            |e| matches!(e, P::Incompatible(I::SocketTypeMissing { .. })),
            "the peer announced no Socket-Type to this {ours} socket",
        ),
        case(
            "no metadata",
            metadata(b""),
            |e| matches!(e, P::Incompatible(I::SocketTypeMissing { .. })),
            "the peer announced no Socket-Type to this {ours} socket",
        ),
        case(
            "a property that is cut",
            metadata(b"\x0bSocket-Type\0\0\0\x40PUSH"),
            |e| matches!(e, P::Malformed(Malformed::PropertyTruncated { index: 0 })),
            "property 0 runs past the end of its command",
        ),
        case(
            "a property value of 2^32 - 1 octets",
            metadata(b"\x0bSocket-Type\xff\xff\xff\xffPUSH"),
            |e| matches!(e, P::Malformed(Malformed::PropertyLength { len: u32::MAX, .. })),
            "the value of property 0 announces 4294967295 octets, at most 2^31-1 are allowed",
        ),
        case(
            "a property name that runs past the end",
            metadata(b"\xffSocket-Type"),
            |e| matches!(e, P::Malformed(Malformed::PropertyTruncated { index: 0 })),
            "property 0 runs past the end of its command",
        ),
        case(
            "a property without a name",
            metadata(b"\0\0\0\0\0"),
            |e| matches!(e, P::Malformed(Malformed::EmptyPropertyName { index: 0 })),
            "property 0 has an empty name",
        ),
        case(
            "a property name that is no name",
            metadata(b"\x03a\0b\0\0\0\0"),
            |e| matches!(e, P::Malformed(Malformed::PropertyName { octet: 0, .. })),
            "the name of property 0 contains the octet 0x00, expected letters, digits and -_.+",
        ),
        case(
            "too many properties",
            metadata(&property("X", b"").repeat(257)),
            |e| matches!(e, P::LimitExceeded(LimitExceeded::Properties { limit: 256 })),
            "the peer sent more than 256 properties",
        ),
        case(
            "a frame that announces 2^40 octets",
            after_greeting(&announce(COMMAND, 1 << 40)),
            |e| {
                matches!(
                    e,
                    P::LimitExceeded(LimitExceeded::HandshakeFrame { size: 0x100_0000_0000, .. })
                )
            },
            "a handshake frame announces 1099511627776 octets, at most 65536 are accepted",
        ),
        case(
            "a frame that announces 2^63 octets",
            after_greeting(&announce(COMMAND, 1 << 63)),
            |e| {
                matches!(
                    e,
                    P::Malformed(Malformed::Frame(FrameError::SizeOverflow(0x8000_0000_0000_0000)))
                )
            },
            "frame size 9223372036854775808 is not representable, at most 2^63-1 is",
        ),
        case(
            "a frame that announces 2^63 - 1 octets",
            after_greeting(&announce(COMMAND, (1 << 63) - 1)),
            |e| matches!(e, P::LimitExceeded(LimitExceeded::HandshakeFrame { .. })),
            "a handshake frame announces 9223372036854775807 octets, at most 65536 are accepted",
        ),
        case(
            "a READY of 64 KiB, which is too much together with the greeting",
            metadata(&property("X", &vec![0; 65_536 - 6 - 6])),
            |e| matches!(e, P::LimitExceeded(LimitExceeded::HandshakeOctets { .. })),
            "the handshake needs 65609 octets, at most 65536 are accepted",
        ),
        case(
            "reserved flag bits",
            after_greeting(b"\x84\x02\x01x"),
            |e| matches!(e, P::Malformed(Malformed::Frame(FrameError::ReservedBits(0x84)))),
            "reserved bits are set in the frame flags 0x84",
        ),
        case(
            "a command with MORE",
            after_greeting(&frame(COMMAND | MORE, &command_body("READY", b""))),
            |e| matches!(e, P::Malformed(Malformed::Frame(FrameError::CommandWithMore(5)))),
            "a command frame has the MORE bit set (flags 0x05)",
        ),
        case(
            "an empty command",
            after_greeting(&frame(COMMAND, b"")),
            |e| matches!(e, P::Malformed(Malformed::EmptyCommand)),
            "a command frame is empty, expected a command name",
        ),
        case(
            "a command with an empty name",
            after_greeting(&frame(COMMAND, b"\0READY")),
            |e| matches!(e, P::Malformed(Malformed::EmptyCommandName)),
            "a command name has length 0, expected 1 to 255",
        ),
        case(
            "a command name that runs past the end",
            after_greeting(&frame(COMMAND, b"\xffREADY")),
            |e| matches!(e, P::Malformed(Malformed::CommandName { name_len: 255, .. })),
            "a command name of 255 octets does not fit a frame of 6",
        ),
        case(
            "an unknown command",
            after_greeting(&command("PLEASE", b"let me in")),
            |e| matches!(e, P::Misbehaved(Misbehaved::CommandDuringHandshake { .. })),
            "the peer sent \"PLEASE\" during the handshake, expected \"READY\"",
        ),
        case(
            "a command of another mechanism",
            after_greeting(&command("HELLO", b"\x04user\x04pass")),
            |e| matches!(e, P::Misbehaved(Misbehaved::CommandDuringHandshake { .. })),
            "the peer sent \"HELLO\" during the handshake, expected \"READY\"",
        ),
        case(
            "a command of the traffic",
            after_greeting(&command("PING", b"\0\0")),
            |e| matches!(e, P::Misbehaved(Misbehaved::CommandDuringHandshake { .. })),
            "the peer sent \"PING\" during the handshake, expected \"READY\"",
        ),
        case(
            "a message",
            after_greeting(&frame(0, b"hello")),
            |e| matches!(e, P::Misbehaved(Misbehaved::MessageDuringHandshake)),
            "the peer sent a message frame during the handshake, expected a command",
        ),
        case(
            "a message of several frames",
            after_greeting(&frame(MORE, b"hello")),
            |e| matches!(e, P::Misbehaved(Misbehaved::MessageDuringHandshake)),
            "the peer sent a message frame during the handshake, expected a command",
        ),
        case(
            "an ERROR",
            after_greeting(&command("ERROR", b"\x03400")),
            |e| matches!(e, P::Refused(refusal) if refusal.status() == Some(400)),
            "the peer refused the connection: \"400\"",
        ),
        case(
            "an ERROR whose reason does not fit",
            after_greeting(&command("ERROR", b"\x40400")),
            |e| matches!(e, P::Malformed(Malformed::Error { len: 4 })),
            "an ERROR command carries 4 octets, which is no length octet and a reason of that length",
        ),
    ]
}

#[test]
fn each_fault_is_refused_with_its_name() {
    for mut stage in every_stage() {
        for case in cases() {
            let mut raw = Raw::connect(stage.endpoint());
            let _ = raw.try_send(&case.octets);
            let reason = stage.refusal();
            let DisconnectReason::Protocol(error) = &reason else {
                panic!("{} to {}: {reason:?}", case.name, stage.ours());
            };
            assert!(
                (case.is_expected)(error),
                "{} to {}: {error:?}",
                case.name,
                stage.ours()
            );
            let text = case.text.replace("{ours}", stage.ours());
            assert_eq!(reason.to_string(), text, "{}", case.name);
            // We have closed, and said no more than a greeting, a READY and perhaps why.
            let said = raw.read_to_end();
            assert!(said.len() < 200, "{}: {} octets", case.name, said.len());
            stage.exchange(1);
        }
        stage.finish();
        assert_eq!(stage.stats().handshake_failures, cases().len() as u64);
    }
}

#[test]
fn an_identity_that_cannot_be_one_is_refused_by_those_who_use_it() {
    for at in TRANSPORTS {
        let mut stage = RepStage::new(at);
        for (identity, text) in [
            (
                vec![b'x'; 256],
                "the peer's Identity has 256 octets, at most 255 are allowed",
            ),
            (
                b"\0\x01\x02\x03\x04".to_vec(),
                "the peer's Identity starts with a zero octet",
            ),
        ] {
            let properties = [
                property("Socket-Type", b"REQ"),
                property("Identity", &identity),
            ]
            .concat();
            let mut raw = Raw::connect(stage.endpoint());
            raw.send(&metadata(&properties));
            assert_eq!(stage.refusal().to_string(), text);
            let said = raw.read_to_end();
            let error = command("ERROR", b"\x15Identity is not valid");
            assert!(said.ends_with(&error), "{said:?}");
        }
        stage.finish();
    }
}

/// What only the peer's operator can mend is told to the peer, too.
#[test]
fn a_peer_of_the_wrong_type_is_told_so() {
    for mut stage in every_stage() {
        for (properties, reason) in [
            (
                property("Socket-Type", b"PAIR"),
                &b"\x1dSocket-Type is not compatible"[..],
            ),
            (Vec::new(), b"\x16Socket-Type is missing"),
            (
                property("Socket-Type", b"Push"),
                b"\x16Socket-Type is unknown",
            ),
        ] {
            let mut raw = Raw::connect(stage.endpoint());
            raw.send(&metadata(&properties));
            stage.refusal();
            let said = raw.read_to_end();
            let error = command("ERROR", reason);
            assert!(said.ends_with(&error), "{}", said.escape_ascii());
        }
        stage.finish();
    }
}

#[test]
fn a_handshake_cut_anywhere_is_a_peer_that_closed() {
    for mut stage in every_stage() {
        let whole = [greeting(), ready(stage.theirs())].concat();
        for cut in 0..whole.len() {
            let mut raw = Raw::connect(stage.endpoint());
            raw.send(&whole[..cut]);
            drop(raw);
            assert_eq!(
                stage.refusal(),
                DisconnectReason::PeerClosed,
                "cut at {cut}"
            );
        }
        stage.finish();
    }
}

#[test]
fn a_handshake_reset_anywhere_is_a_peer_that_closed() {
    let mut stage = PullStage::new(TRANSPORTS[0]);
    let whole = [greeting(), ready("PUSH")].concat();
    for cut in [0, 1, 9, 10, 32, 63, 64, 65, 70, whole.len() - 1] {
        let mut raw = Raw::connect(stage.endpoint());
        // The connection was accepted and registered: its greeting is there.
        raw.read_octets(64);
        raw.send(&whole[..cut]);
        raw.reset();
        assert_eq!(
            stage.refusal(),
            DisconnectReason::PeerClosed,
            "cut at {cut}"
        );
    }
    stage.finish();
}

#[test]
fn a_handshake_in_single_octets_succeeds() {
    for mut stage in every_stage() {
        let mut raw = Raw::connect(stage.endpoint());
        for octet in [greeting(), ready(stage.theirs())].concat() {
            raw.send(&[octet]);
        }
        raw.read_handshake();
        let done = stage.monitor().wait_for(WATCHDOG, |event| {
            matches!(event, SocketEvent::HandshakeSucceeded { .. })
        });
        assert!(done.is_some());
        drop(raw);
        assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
        stage.finish();
    }
}

/// Handshake commands without the COMMAND flag, and in the long form, are accepted: deployed peers
/// send them.
#[test]
fn lenient_forms_of_ready_are_accepted() {
    for flags in [0, LONG, COMMAND | LONG] {
        let mut stage = PullStage::new(TRANSPORTS[0]);
        let body = command_body("READY", &property("socket-TYPE", b"PUSH"));
        let framed = if flags & LONG == 0 {
            frame(flags, &body)
        } else {
            [announce(flags, body.len() as u64), body].concat()
        };
        let mut raw = Raw::connect(stage.endpoint());
        raw.send(&[greeting(), framed, frame(0, b"message")].concat());
        assert_eq!(stage.other().as_bytes(), b"message");
        drop(raw);
        assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
        stage.finish();
    }
}

#[test]
fn a_second_ready_is_refused() {
    for mut stage in every_stage() {
        let ready = ready(stage.theirs());
        for apart in [false, true] {
            let mut raw = Raw::connect(stage.endpoint());
            if apart {
                raw.send(&[&greeting()[..], &ready].concat());
                raw.read_handshake();
                raw.send(&ready);
            } else {
                raw.send(&[&greeting()[..], &ready, &ready].concat());
            }
            let reason = stage.disconnection();
            assert!(matches!(
                reason,
                DisconnectReason::Protocol(ProtocolError::Misbehaved(
                    Misbehaved::HandshakeCommandInTraffic { .. }
                ))
            ));
            assert_eq!(
                reason.to_string(),
                "the peer sent \"READY\" after the handshake"
            );
            raw.read_to_end();
        }
        stage.finish();
    }
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    for at in TRANSPORTS {
        let mut stage = PullStage::with(at, |b| b.handshake_timeout(Duration::from_millis(100)));
        for part in [0, 1, 40, 64, 70] {
            let whole = [greeting(), ready("PUSH")].concat();
            let mut raw = Raw::connect(stage.endpoint());
            raw.send(&whole[..part]);
            let reason = stage.refusal();
            assert_eq!(
                reason,
                DisconnectReason::Protocol(TimedOut::Handshake.into())
            );
            assert_eq!(reason.to_string(), "the handshake did not finish in time");
            raw.read_to_end();
        }
        stage.finish();
    }
}

/// A peer that sends an octet whenever the last one was read gets no more time than any other.
#[test]
fn a_trickle_does_not_extend_the_deadline() {
    for at in TRANSPORTS {
        let mut stage = PullStage::with(at, |b| b.handshake_timeout(Duration::from_millis(100)));
        let mut raw = Raw::connect(stage.endpoint());
        raw.read_octets(64);
        // A sound start, and then a READY that would take far longer: 60 000 octets, one by one.
        raw.send(&[greeting(), announce(COMMAND, 60_000)].concat());
        let mut sent = 0_u64;
        let mut read = stage.stats().bytes_received;
        let failures = stage.stats().handshake_failures;
        'trickle: loop {
            if raw.try_send(b"x").is_err() {
                break;
            }
            sent += 1;
            loop {
                let stats = stage.stats();
                if stats.handshake_failures > failures {
                    break 'trickle;
                }
                if stats.bytes_received > read {
                    read = stats.bytes_received;
                    break;
                }
                std::thread::yield_now();
            }
        }
        assert_eq!(
            stage.refusal(),
            DisconnectReason::Protocol(TimedOut::Handshake.into())
        );
        assert!(sent > 10, "it did trickle: {sent} octets");
        stage.finish();
    }
}
