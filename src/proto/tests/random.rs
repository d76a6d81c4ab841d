//! Arbitrary octets: no panic, no growth.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;

use super::errors::ready;
use super::exchanges::greeting;
use crate::frame;
use crate::proto::handshake::MAX_HANDSHAKE_FRAME;
use crate::proto::testing::{origin, types};
use crate::proto::{fuzz_connection, Connection, ConnectionConfig, Opening};
use crate::socket_type::SocketType;

fn socket_type() -> impl Strategy<Value = SocketType> {
    proptest::sample::select(types().collect::<Vec<_>>())
}

/// Octets that look like commands now and then.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        proptest::sample::select(vec![
            &b"\x04\x29"[..],
            b"\x05READY",
            b"\x0bSocket-Type\0\0\0\x04PUSH",
            b"\x08Identity\0\0\0\0",
            b"\x05ERROR\x03400",
            b"\x04PING\0\x01",
            b"\x04PONG",
            b"\x09SUBSCRIBE",
            b"\x06CANCEL",
            b"\x04JOIN",
            b"\x06\0\0\0\0\0\0\x80\0",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_handshake(
        ours in socket_type(),
        greeted in any::<bool>(),
        lenient in any::<bool>(),
        rest in octets(),
        split in 1usize..40,
    ) {
        let mut input = if greeted { greeting(0, 1, "NULL") } else { vec![] };
        input.extend_from_slice(&rest);
        let run = |split: usize| {
            let mut config = ConnectionConfig::new(ours);
            config.lenient_peers = lenient;
            let mut connection = Connection::new(Arc::new(config), Opening::Stream, origin());
            let mut result = Ok(());
            let mut sent = BytesMut::new();
            for piece in input.chunks(split) {
                match connection.handle_input(piece, origin()) {
                    Ok(taken) => assert!(taken == piece.len() || connection.is_ready()),
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
                assert!(connection.buffered() <= MAX_HANDSHAKE_FRAME + frame::MAX_HEADER);
            }
            connection.poll_transmit(&mut sent);
            (result, connection.peer().cloned(), sent)
        };
        prop_assert_eq!(run(split), run(usize::MAX));
    }

    #[test]
    fn any_command(
        pair in proptest::sample::select(vec![
            (SocketType::XPub, SocketType::Sub),
            (SocketType::Pull, SocketType::Push),
            (SocketType::Radio, SocketType::Dish),
        ]),
        bodies in proptest::collection::vec(octets(), 0..10),
    ) {
        let mut connection = ready(ConnectionConfig::new(pair.0), pair.1, 1);
        for (i, body) in bodies.iter().enumerate() {
            let now = origin() + Duration::from_secs(i as u64);
            let was_ready = connection.is_ready();
            let command = connection.handle_command(body, now);
            prop_assert_eq!(command.is_ok(), connection.is_ready());
            prop_assert!(was_ready || command.is_err());
            let message = connection.handle_subscription_message(body);
            prop_assert_eq!(message.is_ok(), connection.is_ready());
        }
    }

    #[test]
    fn any_script(data in proptest::collection::vec(any::<u8>(), 0..500)) {
        fuzz_connection(&data, super::super::testing::origin());
    }
}
