//! Exchanges written down octet by octet from the texts of the RFCs, replayed cut at every octet: however they
//! arrive, the outcome is the same. Those of a real peer are in `recorded.rs`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::frame::FrameError;
use crate::proto::testing::origin;
use crate::proto::{
    Connection, ConnectionConfig, Event, Incompatible, LimitExceeded, Malformed, Misbehaved,
    Opening, PeerInfo, PeerName, ProtocolError, Refusal, Version,
};
use crate::socket_type::SocketType;

/// What a peer sends, from its first octet on, and what must come of it.
struct Exchange {
    name: &'static str,
    ours: SocketType,
    input: Vec<u8>,
    expect: Result<PeerInfo, ProtocolError>,
    /// Octets at the end of the input that are traffic.
    traffic: usize,
}

/// All there is to see of a connection.
#[derive(Debug, PartialEq)]
struct Outcome {
    result: Result<(), ProtocolError>,
    taken: usize,
    peer: Option<PeerInfo>,
    events: Vec<Event>,
    sent: Vec<u8>,
}

/// A greeting whose signature is padded with zeros and one last octet, as libzmq's is.
pub(super) fn greeting(padding: u8, minor: u8, mechanism: &str) -> Vec<u8> {
    let mut octets = vec![0xff, 0, 0, 0, 0, 0, 0, 0, padding, 0x7f, 3, minor];
    octets.extend_from_slice(mechanism.as_bytes());
    octets.resize(64, 0);
    octets
}

pub(super) const DEALER_READY: &[u8] =
    b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0";
pub(super) const PUSH_READY: &[u8] = b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH";

pub(super) fn info(version: Version, socket_type: SocketType, identity: &'static [u8]) -> PeerInfo {
    PeerInfo {
        version,
        socket_type: Some(socket_type),
        identity: Bytes::from_static(identity),
        properties: vec![],
    }
}

fn exchanges() -> Vec<Exchange> {
    use SocketType::{Dealer, Pub, Pull, Push, Router, Sub};
    use Version::{V3_0, V3_1};

    let g31 = greeting(0, 1, "NULL");
    let with = |greeting: &[u8], rest: &[u8]| [greeting, rest].concat();
    let exchange = |name, ours, input, expect| Exchange {
        name,
        ours,
        input,
        expect,
        traffic: 0,
    };
    let incompatible = |fault: Incompatible| Err(fault.into());
    vec![
        exchange(
            "a 3.1 DEALER",
            Router,
            with(&g31, DEALER_READY),
            Ok(info(V3_1, Dealer, b"")),
        ),
        exchange(
            "a 3.1 ROUTER with an identity",
            Dealer,
            with(
                &g31,
                b"\x04\x2b\x05READY\x0bSocket-Type\0\0\0\x06ROUTER\x08Identity\0\0\0\x02me",
            ),
            Ok(info(V3_1, Router, b"me")),
        ),
        exchange(
            "a 3.0 SUB",
            Pub,
            with(
                &greeting(1, 0, "NULL"),
                b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB",
            ),
            Ok(info(V3_0, Sub, b"")),
        ),
        Exchange {
            name: "libzmq's greeting, followed by traffic",
            ours: Pull,
            input: with(
                &greeting(1, 1, "NULL"),
                &[PUSH_READY, b"\x01\x01a\x04\x05\x04PONG\x00\x01b"].concat(),
            ),
            expect: Ok(info(V3_1, Push, b"")),
            traffic: 13,
        },
        exchange(
            "a READY without the COMMAND flag",
            Pull,
            with(&g31, b"\x00\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH"),
            Ok(info(V3_1, Push, b"")),
        ),
        exchange(
            "a READY in a long frame without the COMMAND flag",
            Pull,
            with(
                &g31,
                b"\x02\0\0\0\0\0\0\0\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH",
            ),
            Ok(info(V3_1, Push, b"")),
        ),
        exchange(
            "a READY of 300 octets",
            Pull,
            {
                let mut ready = b"\x06\0\0\0\0\0\0\x01\x2c".to_vec();
                ready.extend_from_slice(&PUSH_READY[2..]);
                ready.extend_from_slice(b"\x03X-k\0\0\x01\x0a");
                ready.extend_from_slice(&[b'v'; 266]);
                with(&g31, &ready)
            },
            Ok(PeerInfo {
                properties: vec![("X-k".into(), Bytes::from_static(&[b'v'; 266]))],
                ..info(V3_1, Push, b"")
            }),
        ),
        exchange(
            "a newer peer",
            Pull,
            {
                let mut greeting = g31.clone();
                greeting[10] = 4;
                greeting[11] = 0;
                with(&greeting, PUSH_READY)
            },
            Ok(info(V3_1, Push, b"")),
        ),
        exchange(
            "a web browser",
            Pull,
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            incompatible(Incompatible::NotZmtp { first: b'G' }),
        ),
        exchange(
            "a ZMTP 1.0 peer without an identity",
            Pull,
            b"\x01\0".to_vec(),
            incompatible(Incompatible::NotZmtp { first: 1 }),
        ),
        exchange(
            "a ZMTP 1.0 peer with a long identity",
            Pull,
            b"\xff\0\0\0\0\0\0\x01\x2c\0identity".to_vec(),
            incompatible(Incompatible::Unversioned { octet: 0 }),
        ),
        exchange(
            "a ZMTP 2.0 peer",
            Pull,
            b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x08\0\0".to_vec(),
            incompatible(Incompatible::Version { major: 1 }),
        ),
        exchange(
            "a CURVE peer",
            Pull,
            greeting(0, 1, "CURVE"),
            incompatible(Incompatible::Mechanism {
                ours: "NULL",
                theirs: PeerName::new(b"CURVE"),
            }),
        ),
        exchange(
            "a PUSH at a PUSH",
            Push,
            with(&g31, PUSH_READY),
            incompatible(Incompatible::SocketType {
                ours: Push,
                theirs: Push,
            }),
        ),
        exchange(
            "a type nobody knows",
            Pull,
            with(&g31, b"\x04\x1b\x05READY\x0bSocket-Type\0\0\0\x05PUSHY"),
            incompatible(Incompatible::SocketTypeUnknown {
                ours: Pull,
                theirs: PeerName::new(b"PUSHY"),
            }),
        ),
        exchange(
            "no type",
            Pull,
            with(&g31, b"\x04\x06\x05READY"),
            incompatible(Incompatible::SocketTypeMissing { ours: Pull }),
        ),
        exchange(
            "a refusal",
            Pull,
            with(&g31, b"\x04\x0a\x05ERROR\x03400"),
            Err(Refusal::new(b"400").into()),
        ),
        exchange(
            "a malformed refusal",
            Pull,
            with(&g31, b"\x04\x0a\x05ERROR\x04400"),
            Err(Malformed::Error { len: 4 }.into()),
        ),
        exchange(
            "a HELLO",
            Pull,
            with(&g31, b"\x04\x06\x05HELLO"),
            Err(Misbehaved::CommandDuringHandshake {
                command: PeerName::new(b"HELLO"),
                expected: "READY",
            }
            .into()),
        ),
        exchange(
            "a PING before the READY",
            Pull,
            with(&g31, b"\x00\x07\x04PING\0\0"),
            Err(Misbehaved::CommandDuringHandshake {
                command: PeerName::new(b"PING"),
                expected: "READY",
            }
            .into()),
        ),
        exchange(
            "a command nobody knows",
            Pull,
            with(&g31, b"\x04\x04\x03FOO"),
            Err(Misbehaved::CommandDuringHandshake {
                command: PeerName::new(b"FOO"),
                expected: "READY",
            }
            .into()),
        ),
        exchange(
            "a message",
            Pull,
            with(&g31, b"\x00\x05hello"),
            Err(Misbehaved::MessageDuringHandshake.into()),
        ),
        exchange(
            "a message that might be a command",
            Pull,
            with(&g31, b"\x00\x04\x03FOO"),
            Err(Misbehaved::MessageDuringHandshake.into()),
        ),
        exchange(
            "the first frame of a longer message",
            Pull,
            with(&g31, b"\x01\x05hello"),
            Err(Misbehaved::MessageDuringHandshake.into()),
        ),
        exchange(
            "an empty command",
            Pull,
            with(&g31, b"\x04\x00"),
            Err(Malformed::EmptyCommand.into()),
        ),
        exchange(
            "a command without a name",
            Pull,
            with(&g31, b"\x04\x02\x00x"),
            Err(Malformed::EmptyCommandName.into()),
        ),
        exchange(
            "a name beyond its command",
            Pull,
            with(&g31, b"\x04\x02\x02x"),
            Err(Malformed::CommandName {
                name_len: 2,
                body_len: 2,
            }
            .into()),
        ),
        exchange(
            "metadata that goes on after its end",
            Pull,
            with(&g31, b"\x04\x1b\x05READY\x0bSocket-Type\0\0\0\x04PUSH\x01"),
            Err(Malformed::PropertyTruncated { index: 1 }.into()),
        ),
        exchange(
            "an identity of ours",
            Router,
            with(
                &g31,
                b"\x04\x2a\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x01\0",
            ),
            Err(Malformed::IdentityLeadingZero.into()),
        ),
        exchange(
            "reserved bits",
            Pull,
            with(&g31, b"\x84\x00"),
            Err(FrameError::ReservedBits(0x84).into()),
        ),
        exchange(
            "a command with MORE",
            Pull,
            with(&g31, b"\x05\x06\x05READY"),
            Err(FrameError::CommandWithMore(5).into()),
        ),
        exchange(
            "a frame of 2^64-1 octets",
            Pull,
            with(&g31, b"\x06\xff\xff\xff\xff\xff\xff\xff\xff"),
            Err(FrameError::SizeOverflow(u64::MAX).into()),
        ),
        exchange(
            "a frame of 1 GiB",
            Pull,
            with(&g31, b"\x06\0\0\0\0\x40\0\0\0"),
            Err(LimitExceeded::HandshakeFrame {
                size: 1 << 30,
                limit: 65_536,
            }
            .into()),
        ),
        exchange(
            "a handshake of more than 64 KiB in total",
            Pull,
            with(&g31, b"\x06\0\0\0\0\0\0\xff\xff"),
            Err(LimitExceeded::HandshakeOctets {
                size: 64 + 9 + 65_535,
                limit: 65_536,
            }
            .into()),
        ),
    ]
}

/// Feeds these pieces to a fresh connection, taking what it sends as the flag says.
fn replay<'a>(
    ours: SocketType,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    send_at_once: bool,
) -> Outcome {
    let mut connection = Connection::new(
        Arc::new(ConnectionConfig::new(ours)),
        Opening::Stream,
        origin(),
    );
    let mut out = BytesMut::new();
    let mut taken = 0;
    let mut result = Ok(());
    for piece in pieces {
        if send_at_once {
            connection.poll_transmit(&mut out);
        }
        match connection.handle_input(piece, origin()) {
            Ok(n) => {
                assert!(n == piece.len() || connection.is_ready());
                taken += n;
            }
            Err(error) => {
                result = Err(error);
                // How many octets had come does not matter.
                taken = 0;
                break;
            }
        }
    }
    connection.poll_transmit(&mut out);
    assert!(!connection.wants_transmit());
    if let Err(error) = &result {
        assert_eq!(
            connection.handle_input(b"", origin()),
            Err(error.clone()),
            "an error is final"
        );
        assert_eq!(connection.handle_timeout(origin()), Err(error.clone()));
        assert!(!connection.wants_transmit());
    }
    assert_eq!(connection.buffered(), 0);
    Outcome {
        result,
        taken,
        peer: connection.peer().cloned(),
        events: std::iter::from_fn(|| connection.poll_event()).collect(),
        sent: out.to_vec(),
    }
}

#[test]
fn exchanges_end_as_they_must() {
    for e in exchanges() {
        let outcome = replay(e.ours, [&e.input[..]], false);
        match e.expect {
            Ok(peer) => {
                assert_eq!(outcome.result, Ok(()), "{}", e.name);
                assert_eq!(outcome.peer, Some(peer), "{}", e.name);
                assert_eq!(outcome.events, [Event::HandshakeDone], "{}", e.name);
                assert_eq!(outcome.taken, e.input.len() - e.traffic, "{}", e.name);
            }
            Err(error) => {
                assert_eq!(outcome.result, Err(error), "{}", e.name);
                assert_eq!(outcome.peer, None, "{}", e.name);
                assert_eq!(outcome.events, [], "{}", e.name);
            }
        }
        assert_eq!(&outcome.sent[..64], &greeting(0, 1, "NULL"), "{}", e.name);
    }
}

#[test]
fn exchanges_end_the_same_however_they_arrive() {
    for e in exchanges() {
        let whole = replay(e.ours, [&e.input[..]], true);
        assert_eq!(replay(e.ours, e.input.chunks(1), true), whole, "{}", e.name);
        for cut in 0..=e.input.len() {
            let (a, b) = e.input.split_at(cut);
            for send_at_once in [true, false] {
                let outcome = replay(e.ours, [a, b], send_at_once);
                assert_eq!(outcome, whole, "{} cut at {cut}", e.name);
            }
        }
        // As libzmq sends it.
        if e.input.len() > 64 {
            let (signature, rest) = e.input.split_at(10);
            let (major, rest) = rest.split_at(1);
            let (greeting, rest) = rest.split_at(53);
            let pieces = [signature, major, greeting, rest];
            assert_eq!(replay(e.ours, pieces, true), whole, "{}", e.name);
        }
    }
}

#[test]
fn an_acceptable_greeting_is_answered_with_ready_and_no_other_is() {
    for e in exchanges() {
        let outcome = replay(e.ours, [&e.input[..]], true);
        let mut ready = BytesMut::new();
        crate::proto::command::ready::encode_ready(&mut ready, &ConnectionConfig::new(e.ours));
        let reply = &outcome.sent[64..];
        match &outcome.result {
            Err(ProtocolError::Incompatible(
                Incompatible::NotZmtp { .. }
                | Incompatible::Unversioned { .. }
                | Incompatible::Version { .. }
                | Incompatible::Mechanism { .. },
            )) => assert_eq!(reply, b"", "{}", e.name),
            result => {
                assert_eq!(&reply[..ready.len()], &ready[..], "{}", e.name);
                let error = result.as_ref().err().and_then(ProtocolError::wire_reply);
                let mut expect = BytesMut::new();
                if let Some(reason) = error {
                    crate::proto::command::refusal::encode_error(&mut expect, reason);
                }
                assert_eq!(&reply[ready.len()..], &expect[..], "{}", e.name);
            }
        }
    }
}

#[test]
fn a_peer_of_the_wrong_type_is_told() {
    let input = [&greeting(0, 1, "NULL")[..], PUSH_READY].concat();
    let outcome = replay(SocketType::Push, [&input[..]], false);
    assert_eq!(
        &outcome.sent[64 + 28..],
        b"\x04\x24\x05ERROR\x1dSocket-Type is not compatible"
    );
}

#[test]
fn traffic_is_never_taken() {
    let e = exchanges()
        .into_iter()
        .find(|e| e.traffic > 0)
        .expect("one of the exchanges goes on");
    let mut connection = Connection::new(
        Arc::new(ConnectionConfig::new(e.ours)),
        Opening::Stream,
        origin(),
    );
    let handshake = e.input.len() - e.traffic;
    assert_eq!(connection.handle_input(&e.input, origin()), Ok(handshake));
    assert_eq!(
        connection.handle_input(&e.input[handshake..], origin()),
        Ok(0)
    );
}
