//! Faults of a peer after the handshake, and the verdicts on all faults.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::exchanges::greeting;
use crate::proto::command::ready::encode_ready;
use crate::proto::testing::origin;
use crate::proto::{
    Connection, ConnectionConfig, Event, LimitExceeded, Malformed, Misbehaved, Opening, PeerName,
    ProtocolError, Refusal, TimedOut,
};
use crate::socket_type::SocketType;

/// A connection that is ready, with a peer of the given type and minor version.
pub(super) fn ready(config: ConnectionConfig, peer: SocketType, minor: u8) -> Connection {
    let mut connection = Connection::new(Arc::new(config), Opening::Stream, origin());
    let mut input = BytesMut::from(&greeting(0, minor, "NULL")[..]);
    encode_ready(&mut input, &ConnectionConfig::new(peer));
    assert_eq!(connection.handle_input(&input, origin()), Ok(input.len()));
    assert!(connection.poll_transmit(&mut BytesMut::new()));
    assert_eq!(connection.poll_event(), Some(Event::HandshakeDone));
    connection
}

fn a_pull() -> Connection {
    let config = ConnectionConfig::new(SocketType::Pull);
    ready(config, SocketType::Push, 1)
}

fn a_pub() -> Connection {
    let mut config = ConnectionConfig::new(SocketType::Pub);
    config.max_topic_len = 4;
    ready(config, SocketType::Sub, 1)
}

#[test]
fn commands_that_end_a_connection() {
    let name = PeerName::new;
    let for_other = |command| Misbehaved::CommandForOtherSocket {
        command: name(command),
        ours: SocketType::Pull,
    };
    let handshake = |command| Misbehaved::HandshakeCommandInTraffic {
        command: name(command),
    };
    let cases: Vec<(&[u8], ProtocolError, Option<u32>)> = vec![
        (b"", Malformed::EmptyCommand.into(), Some(0x1000_0011)),
        (b"\0", Malformed::EmptyCommandName.into(), Some(0x1000_0011)),
        (
            b"\x05PING",
            Malformed::CommandName {
                name_len: 5,
                body_len: 5,
            }
            .into(),
            Some(0x1000_0011),
        ),
        (
            b"\x04PING",
            Malformed::Ping { len: 0 }.into(),
            Some(0x1000_0011),
        ),
        (
            b"\x04PING\x01",
            Malformed::Ping { len: 1 }.into(),
            Some(0x1000_0011),
        ),
        (
            b"\x04PING\0\x0112345678901234567",
            Malformed::PingContext { len: 17 }.into(),
            Some(0x1000_0011),
        ),
        (
            b"\x04PONG12345678901234567",
            Malformed::PongContext { len: 17 }.into(),
            Some(0x1000_0011),
        ),
        (
            b"\x09SUBSCRIBEa",
            for_other(b"SUBSCRIBE").into(),
            Some(0x1000_0001),
        ),
        (
            b"\x06CANCELa",
            for_other(b"CANCEL").into(),
            Some(0x1000_0001),
        ),
        (b"\x04JOINa", for_other(b"JOIN").into(), Some(0x1000_0001)),
        (b"\x05LEAVEa", for_other(b"LEAVE").into(), Some(0x1000_0001)),
        (b"\x05READY", handshake(b"READY").into(), Some(0x1000_0001)),
        (b"\x05HELLO", handshake(b"HELLO").into(), Some(0x1000_0001)),
        (
            b"\x07WELCOME",
            handshake(b"WELCOME").into(),
            Some(0x1000_0001),
        ),
        (
            b"\x08INITIATE",
            handshake(b"INITIATE").into(),
            Some(0x1000_0001),
        ),
        (
            b"\x07MESSAGE",
            handshake(b"MESSAGE").into(),
            Some(0x1000_0001),
        ),
        (b"\x05ERROR\x02no", Refusal::new(b"no").into(), None),
        (
            b"\x05ERROR",
            Malformed::Error { len: 0 }.into(),
            Some(0x1000_0015),
        ),
    ];
    for (body, error, code) in cases {
        let mut connection = a_pull();
        assert_eq!(
            connection.handle_command(body, origin()),
            Err(error.clone()),
            "{}",
            body.escape_ascii()
        );
        assert_eq!(error.monitor_code(), code, "{error}");
        assert!(error.is_retryable());
        // Final, and nothing is sent any more.
        assert!(!connection.is_ready());
        assert_eq!(connection.peer(), None);
        assert_eq!(
            connection.handle_command(b"\x04PONG", origin()),
            Err(error.clone())
        );
        assert_eq!(
            connection.handle_subscription_message(b"\x01"),
            Err(error.clone())
        );
        assert!(!connection.wants_transmit());
        assert_eq!(connection.poll_timeout(), None);
    }
}

#[test]
fn unknown_commands_are_counted() {
    let mut connection = a_pull();
    for body in [&b"\x03FOO"[..], b"\x04pingxx", b"\x01\0", b"\x09SUBSCRIBX"] {
        assert_eq!(connection.handle_command(body, origin()), Ok(()));
    }
    assert_eq!(connection.ignored_commands(), 4);
    assert_eq!(connection.poll_event(), None);
    assert!(!connection.wants_transmit());
}

#[test]
fn subscriptions_come_in_both_forms() {
    let mut connection = a_pub();
    let topic = Bytes::from_static;
    assert_eq!(
        connection.handle_command(b"\x09SUBSCRIBEabcd", origin()),
        Ok(())
    );
    assert_eq!(connection.handle_command(b"\x06CANCEL", origin()), Ok(()));
    assert_eq!(
        connection.handle_subscription_message(b"\x01abcd"),
        Ok(true)
    );
    assert_eq!(connection.handle_subscription_message(b"\0"), Ok(true));
    assert_eq!(connection.handle_subscription_message(b"\x02a"), Ok(false));
    assert_eq!(connection.handle_subscription_message(b""), Ok(false));
    let events: Vec<_> = std::iter::from_fn(|| connection.poll_event()).collect();
    assert_eq!(
        events,
        [
            Event::Subscribe(topic(b"abcd")),
            Event::Cancel(topic(b"")),
            Event::Subscribe(topic(b"abcd")),
            Event::Cancel(topic(b"")),
        ]
    );
    // Only publishers are subscribed to.
    let mut connection = a_pull();
    assert_eq!(connection.handle_subscription_message(b"\x01a"), Ok(false));
}

#[test]
fn long_topics_end_a_connection_in_either_form() {
    let error: ProtocolError = LimitExceeded::TopicLength { len: 5, limit: 4 }.into();
    assert_eq!(error.monitor_code(), Some(0x1000_0000));
    for body in [&b"\x09SUBSCRIBEabcde"[..], b"\x06CANCELabcde"] {
        assert_eq!(a_pub().handle_command(body, origin()), Err(error.clone()));
    }
    let mut connection = a_pub();
    // What was asked for before remains.
    assert_eq!(connection.handle_subscription_message(b"\x01a"), Ok(true));
    assert_eq!(
        connection.handle_subscription_message(b"\x01abcde"),
        Err(error)
    );
    assert!(!connection.is_ready());
    assert_eq!(
        connection.poll_event(),
        Some(Event::Subscribe(Bytes::from_static(b"a")))
    );
}

#[test]
fn groups_are_for_radios() {
    let radio = || {
        let config = ConnectionConfig::new(SocketType::Radio);
        ready(config, SocketType::Dish, 1)
    };
    let mut connection = radio();
    assert_eq!(connection.handle_command(b"\x04JOINg", origin()), Ok(()));
    assert_eq!(connection.handle_command(b"\x05LEAVEg", origin()), Ok(()));
    let group = Bytes::from_static(b"g");
    assert_eq!(connection.poll_event(), Some(Event::Join(group.clone())));
    assert_eq!(connection.poll_event(), Some(Event::Leave(group)));

    let long = [&b"\x04JOIN"[..], &[b'g'; 256]].concat();
    let too_long: ProtocolError = Malformed::GroupLength { len: 256 }.into();
    let zero: ProtocolError = Malformed::GroupZero.into();
    for (body, error) in [(&long[..], too_long), (b"\x05LEAVEa\0", zero)] {
        assert_eq!(error.monitor_code(), Some(0x1000_0011));
        assert_eq!(radio().handle_command(body, origin()), Err(error));
    }
}

#[test]
fn metadata_faults_of_a_ready_are_invalid_metadata() {
    let many = [
        &b"\x06\0\0\0\0\0\0\x08\x0e\x05READY"[..],
        &b"\x02ab\0\0\0\x01c".repeat(257),
    ]
    .concat();
    let long_identity = [
        &b"\x06\0\0\0\0\0\0\x01\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\x01\0"
            [..],
        &[b'i'; 256],
    ]
    .concat();
    let cases: Vec<(&[u8], ProtocolError)> = vec![
        (&many, LimitExceeded::Properties { limit: 256 }.into()),
        (
            &long_identity,
            Malformed::IdentityLength { len: 256 }.into(),
        ),
        (
            b"\x04\x07\x05READY\0",
            Malformed::EmptyPropertyName { index: 0 }.into(),
        ),
        (
            b"\x04\x08\x05READY\x01/",
            Malformed::PropertyName {
                index: 0,
                octet: b'/',
            }
            .into(),
        ),
        (
            b"\x04\x0c\x05READY\x01a\xff\xff\xff\xff",
            Malformed::PropertyLength {
                index: 0,
                len: u32::MAX,
            }
            .into(),
        ),
        (
            b"\x04\x0c\x05READY\x01a\0\0\0\x01",
            Malformed::PropertyTruncated { index: 0 }.into(),
        ),
    ];
    for (frame, error) in cases {
        let config = ConnectionConfig::new(SocketType::Router);
        let mut connection = Connection::new(Arc::new(config), Opening::Stream, origin());
        let input = [&greeting(0, 1, "NULL")[..], frame].concat();
        assert_eq!(
            connection.handle_input(&input, origin()),
            Err(error.clone())
        );
        assert_eq!(error.monitor_code(), Some(0x1000_0018), "{error}");
    }
}

#[test]
fn a_trickling_peer_does_not_gain_time() {
    let config = ConnectionConfig::new(SocketType::Pull);
    let timeout = config.handshake_timeout.expect("there is a default");
    let mut connection = Connection::new(Arc::new(config), Opening::Stream, origin());
    let mut input = greeting(0, 1, "NULL");
    input.extend_from_slice(super::exchanges::PUSH_READY);
    let step = timeout / input.len() as u32;
    for (i, octet) in input[..input.len() - 1].iter().enumerate() {
        let now = origin() + step * i as u32;
        assert_eq!(connection.handle_input(&[*octet], now), Ok(1));
        assert_eq!(connection.handle_timeout(now), Ok(()));
        assert_eq!(connection.poll_timeout(), Some(origin() + timeout));
    }
    let error: ProtocolError = TimedOut::Handshake.into();
    assert_eq!(
        connection.handle_timeout(origin() + timeout),
        Err(error.clone())
    );
    assert_eq!(error.monitor_code(), None);
    assert_eq!(
        connection.handle_input(b"H", origin() + timeout),
        Err(error)
    );
}

#[test]
fn without_a_deadline_a_handshake_waits() {
    for timeout in [None, Some(Duration::MAX)] {
        let mut config = ConnectionConfig::new(SocketType::Pull);
        config.handshake_timeout = timeout;
        let mut connection = Connection::new(Arc::new(config), Opening::Stream, origin());
        assert_eq!(connection.poll_timeout(), None);
        let later = origin() + Duration::from_secs(1 << 30);
        assert_eq!(connection.handle_timeout(later), Ok(()));
    }
}
