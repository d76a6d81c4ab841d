//! Exchanges with ZMTP 2.0 and 1.0 peers (15/ZMTP, 13/ZMTP), written down octet by octet and replayed cut
//! at every octet.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::frame::FrameError;
use crate::proto::framing::fuzz::{decode_all, encode_all};
use crate::proto::testing::origin;
use crate::proto::{
    Connection, ConnectionConfig, Event, Incompatible, Malformed, Misbehaved, Opening,
    ProtocolError, Version,
};
use crate::socket_type::SocketType;

const SIGNATURE: &[u8] = b"\xff\0\0\0\0\0\0\0\x01\x7f";

fn config(ours: SocketType, legacy_peers: bool) -> Arc<ConnectionConfig> {
    let mut config = ConnectionConfig::new(ours);
    config.legacy_peers = legacy_peers;
    config.routing_id = Bytes::from_static(b"me");
    Arc::new(config)
}

/// Feeds what a peer sends, cut before `cut`; what we sent, and how much of it was handshake.
fn replay(
    connection: &mut Connection,
    input: &[u8],
    cut: usize,
) -> (Vec<u8>, Result<usize, ProtocolError>) {
    let mut sent = BytesMut::new();
    connection.poll_transmit(&mut sent);
    let mut taken = 0;
    let mut result = Ok(());
    for part in [&input[..cut], &input[cut..]] {
        if result.is_ok() && !connection.is_ready() {
            result = connection.handle_input(part, origin()).map(|n| taken += n);
            connection.poll_transmit(&mut sent);
        }
    }
    (sent.to_vec(), result.map(|()| taken))
}

struct Case {
    name: &'static str,
    ours: SocketType,
    /// Handshake, and what follows.
    input: (&'static [u8], &'static [u8]),
    sent: Vec<u8>,
    version: Version,
    socket_type: Option<SocketType>,
    identity: &'static [u8],
    /// What follows, as frames.
    frames: &'static [u8],
}

fn cases() -> Vec<Case> {
    use SocketType::{Dealer, Pub, Pull, Push, Router, Sub};
    // The padding is the length of the frame with our routing id, for those who take it for one.
    let signature = b"\xff\0\0\0\0\0\0\0\x03\x7f";
    let sent = |rest: &[u8]| [&signature[..], rest].concat();
    vec![
        Case {
            name: "2.0 PUSH",
            ours: Pull,
            input: (b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x08\0\0", b"\0\x02hi"),
            sent: sent(b"\x03\x07\0\x02me"),
            version: Version::V2_0,
            socket_type: Some(Push),
            identity: b"",
            frames: b"\0\x02hi",
        },
        Case {
            name: "2.0 DEALER with a name",
            ours: Router,
            input: (
                b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05\0\x03you",
                b"\x01\0\0\x02hi",
            ),
            sent: sent(b"\x03\x06\0\x02me"),
            version: Version::V2_0,
            socket_type: Some(Dealer),
            identity: b"you",
            frames: b"\x01\0\0\x02hi",
        },
        Case {
            name: "revision 0 SUB",
            ours: Pub,
            input: (b"\xff\0\0\0\0\0\0\0\x01\x7f\0\x02\x01\0", b"\x03\0\x01a"),
            sent: sent(b"\x03\x01\x03\0me"),
            version: Version::Revision0,
            socket_type: Some(Sub),
            identity: b"",
            frames: b"\0\x02\x01a",
        },
        Case {
            name: "2.0 XSUB by its own number",
            ours: SocketType::XPub,
            input: (b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x0a\0\0", b"\0\x01\x01"),
            sent: sent(b"\x03\x01\0\x02me"),
            version: Version::V2_0,
            socket_type: Some(SocketType::XSub),
            identity: b"",
            frames: b"\0\x01\x01",
        },
        Case {
            name: "1.0 without a name",
            ours: Pull,
            input: (b"\x01\0", b"\x03\0hi"),
            sent: sent(b"me"),
            version: Version::V1_0,
            socket_type: None,
            identity: b"",
            frames: b"\0\x02hi",
        },
        Case {
            name: "1.0 with a name",
            ours: Router,
            input: (b"\x04\0you", b"\x02\x01a\x01\0"),
            sent: sent(b"me"),
            version: Version::V1_0,
            socket_type: None,
            identity: b"you",
            frames: b"\x01\x01a\0\0",
        },
        Case {
            name: "1.0 with a long length",
            ours: Router,
            input: (b"\xff\0\0\0\0\0\0\0\x04\0you", b"\x02\0a"),
            sent: sent(b"me"),
            version: Version::V1_0,
            socket_type: None,
            identity: b"you",
            frames: b"\0\x01a",
        },
    ]
}

#[test]
fn older_peers_are_spoken_to_however_octets_arrive() {
    for case in cases() {
        let name = case.name;
        let (handshake, traffic) = case.input;
        let input = [handshake, traffic].concat();
        for cut in 0..=input.len() {
            let config = config(case.ours, true);
            let mut connection = Connection::new(config, Opening::Stream, origin());
            let (sent, taken) = replay(&mut connection, &input, cut);
            assert_eq!(taken, Ok(handshake.len()), "{name}, cut at {cut}");
            assert_eq!(sent, case.sent, "{name}, cut at {cut}");
            assert_eq!(connection.poll_event(), Some(Event::HandshakeDone));
            let peer = connection.peer().unwrap();
            assert_eq!(peer.version, case.version, "{name}");
            assert_eq!(peer.socket_type, case.socket_type, "{name}");
            assert_eq!(peer.identity, case.identity, "{name}");
            assert_eq!(connection.poll_timeout(), None, "no heartbeat");
            match connection.take_transform() {
                None => assert_eq!(traffic, case.frames, "{name}"),
                Some(mut transform) => {
                    let frames = decode_all(&mut *transform.decode, traffic, 3);
                    assert_eq!(frames.as_deref(), Ok(case.frames), "{name}");
                    let octets = encode_all(&mut *transform.encode, case.frames, 3);
                    assert_eq!(octets, traffic, "{name}");
                }
            }
        }
    }
}

#[test]
fn current_peers_get_the_whole_greeting_in_steps() {
    let mut peer = SIGNATURE.to_vec();
    peer.extend_from_slice(b"\x03\x01NULL");
    peer.resize(64, 0);
    peer.extend_from_slice(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH");
    let mut whole = BytesMut::new();
    let mut connection = Connection::new(config(SocketType::Pull, true), Opening::Stream, origin());
    for (from, to, sent) in [
        (0, 0, 10),
        (0, 9, 10),
        (9, 10, 11),
        (10, 11, 64),
        (11, 63, 64),
    ] {
        assert_eq!(
            connection.handle_input(&peer[from..to], origin()),
            Ok(to - from)
        );
        connection.poll_transmit(&mut whole);
        assert_eq!(whole.len(), sent, "after {to} octets");
    }
    assert_eq!(&whole[..16], b"\xff\0\0\0\0\0\0\0\x03\x7f\x03\x01NULL");
    assert_eq!(
        connection.handle_input(&peer[63..], origin()),
        Ok(peer.len() - 63)
    );
    assert!(connection.is_ready());
    assert!(connection.take_transform().is_none());
    for cut in 0..peer.len() {
        let config = config(SocketType::Pull, true);
        let mut connection = Connection::new(config, Opening::Stream, origin());
        let (sent, taken) = replay(&mut connection, &peer, cut);
        assert_eq!(taken, Ok(peer.len()));
        assert_eq!(&sent[..64], &whole[..]);
        assert_eq!(connection.peer().unwrap().version, Version::V3_1);
    }
}

#[test]
fn what_is_wrong_with_an_older_peer_is_told() {
    use SocketType::{Pull, Push, Router, Server};
    let (ours, theirs) = (Pull, SocketType::Pub);
    for (ours, legacy, input, error) in [
        (
            ours,
            true,
            &b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x01"[..],
            ProtocolError::from(Incompatible::SocketType { ours, theirs }),
        ),
        (
            ours,
            true,
            b"\xff\0\0\0\0\0\0\0\x01\x7f\0\x0b",
            Incompatible::SocketTypeNumber { ours, number: 11 }.into(),
        ),
        (
            ours,
            true,
            b"\xff\0\0\0\0\0\0\0\x01\x7f\x02",
            Incompatible::Version { major: 2 }.into(),
        ),
        (ours, true, b"\0", Malformed::EmptyFrameV1.into()),
        (ours, true, b"\x02\x01x", Misbehaved::IdentityParts.into()),
        (
            ours,
            true,
            b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x08\x04\x01x",
            FrameError::ReservedBits(4).into(),
        ),
        (
            Router,
            true,
            b"\x03\0\0x",
            Malformed::IdentityLeadingZero.into(),
        ),
        // Refused unless enabled, and always by types that older versions do not know.
        (
            Push,
            false,
            b"\x01",
            Incompatible::NotZmtp { first: 1 }.into(),
        ),
        (
            Server,
            true,
            b"\x01",
            Incompatible::NotZmtp { first: 1 }.into(),
        ),
        (
            Push,
            false,
            b"\xff\0\0\0\0\0\0\0\x01\0",
            Incompatible::Unversioned { octet: 0 }.into(),
        ),
        (
            Push,
            false,
            b"\xff\0\0\0\0\0\0\0\x01\x7f\x01",
            Incompatible::Version { major: 1 }.into(),
        ),
    ] {
        for cut in 0..=input.len() {
            let config = config(ours, legacy);
            let mut connection = Connection::new(config, Opening::Stream, origin());
            let (sent, result) = replay(&mut connection, input, cut);
            assert_eq!(result, Err(error.clone()), "{input:?} cut at {cut}");
            // They would not understand an ERROR.
            assert!(!sent.windows(5).any(|octets| octets == b"ERROR"));
        }
    }
    let long = [&b"\xff\0\0\0\0\0\0\x01\x01\0"[..], &[b'x'; 256]].concat();
    let mut connection = Connection::new(config(Pull, true), Opening::Stream, origin());
    let (_, result) = replay(&mut connection, &long, 100);
    assert_eq!(result, Err(Malformed::IdentityLength { len: 256 }.into()));
}

#[test]
fn a_peer_without_commands_may_not_send_one() {
    let mut connection = Connection::new(config(SocketType::Pull, true), Opening::Stream, origin());
    let input = b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x08\0\0";
    replay(&mut connection, input, 0).1.unwrap();
    let error = ProtocolError::from(FrameError::ReservedBits(4));
    assert_eq!(
        connection.handle_command(b"\x04PING\0\0", origin()),
        Err(error)
    );
}
