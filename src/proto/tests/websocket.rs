//! Two connections over WebSocket, their octets split everywhere.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::proto::framing::fuzz::{decode_all, encode_all};
use crate::proto::testing::{origin, Rng};
use crate::proto::{
    Connection, ConnectionConfig, Incompatible, Opening, ProtocolError, Refusal, Side, TimedOut,
    Version,
};
use crate::socket_type::SocketType;

fn end(socket_type: SocketType, path: &str, side: Side) -> Connection {
    let mut config = ConnectionConfig::new(socket_type);
    config.routing_id = Bytes::from_static(b"me");
    let target = "example.org:5555".into();
    let opening = Opening::WebSocket { target, path, side };
    Connection::new(Arc::new(config), opening, origin())
}

fn client(socket_type: SocketType, path: &str) -> Connection {
    end(socket_type, path, Side::Client(|| 0x1234_5678_9abc_def0))
}

fn server(socket_type: SocketType) -> Connection {
    end(socket_type, "/path", Side::Server)
}

/// Carries octets both ways until there are none; what either found wrong, and what is left unread.
fn carry(ends: &mut [Connection; 2], rng: &mut Rng) -> ([Option<ProtocolError>; 2], [Vec<u8>; 2]) {
    let mut way: [BytesMut; 2] = Default::default();
    let mut errors = [None, None];
    let max = [1, 3, 17, 1000][rng.up_to(4) - 1];
    loop {
        for (connection, out) in ends.iter_mut().zip(&mut way) {
            connection.poll_transmit(out);
        }
        let mut moved = false;
        for from in 0..2 {
            let to = 1 - from;
            if errors[to].is_some() || ends[to].is_ready() {
                continue;
            }
            let n = rng.up_to(max).min(way[from].len());
            match ends[to].handle_input(&way[from][..n], origin()) {
                Ok(taken) => {
                    assert!(taken == n || ends[to].is_ready());
                    moved |= taken > 0;
                    let _ = way[from].split_to(taken);
                }
                Err(error) => errors[to] = Some(error),
            }
        }
        if !moved && !ends.iter().any(Connection::wants_transmit) {
            return (errors, way.map(|octets| octets.to_vec()));
        }
    }
}

#[test]
fn a_handshake_leads_to_traffic() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let (a, b) = (SocketType::Dealer, SocketType::Router);
        let mut ends = [client(a, "/path"), server(b)];
        let (errors, unread) = carry(&mut ends, &mut rng);
        assert_eq!(errors, [None, None]);
        assert_eq!(unread, [b"", b""]);
        for (connection, theirs) in ends.iter().zip([b, a]) {
            let peer = connection.peer().expect("it is ready");
            assert_eq!(peer.socket_type, Some(theirs));
            assert_eq!(peer.identity, "me");
            assert_eq!(peer.version, Version::V3_0, "subscriptions are messages");
        }
        let [mut a, mut b] = ends.map(|mut end| end.take_transform().expect("a WebSocket"));
        let frames = b"\x01\x02hi\0\0\x04\x07\x04PING\0\0";
        let piece = rng.up_to(20);
        for (from, to) in [
            (&mut a.encode, &mut b.decode),
            (&mut b.encode, &mut a.decode),
        ] {
            let octets = encode_all(&mut **from, frames, piece);
            assert_eq!(
                decode_all(&mut **to, &octets, piece).as_deref(),
                Ok(&frames[..])
            );
        }
    }
}

#[test]
fn heartbeats_are_kept_up() {
    let mut ends = [client(SocketType::Push, "/path"), server(SocketType::Pull)];
    carry(&mut ends, &mut Rng::new(1));
    assert!(ends.iter_mut().all(|end| end.take_transform().is_some()));
    let due = ends[0].poll_timeout().expect("a heartbeat");
    ends[0].handle_timeout(due).unwrap();
    let mut out = BytesMut::new();
    ends[0].poll_transmit(&mut out);
    assert_eq!(&out[..], b"\x04\x07\x04PING\0\0");
    // A WebSocket's ping may carry more than ZMTP's, and gets it back.
    let mut ping = b"\x04PING\0\0".to_vec();
    ping.extend_from_slice(&[b'p'; 125]);
    ends[1].handle_command(&ping, due).unwrap();
    out.clear();
    ends[1].poll_transmit(&mut out);
    assert_eq!(&out[..7], b"\x04\x82\x04PONG");
    assert_eq!(&out[7..], [b'p'; 125]);
    let silence = ends[0].poll_timeout().and_then(|_| {
        std::iter::repeat_with(|| {
            let at = ends[0].poll_timeout()?;
            ends[0].handle_timeout(at).err()
        })
        .find_map(|error| error)
    });
    assert_eq!(silence, Some(TimedOut::Heartbeat.into()));
}

#[test]
fn who_does_not_fit_is_told() {
    let mut rng = Rng::new(5);
    // Another path: an answer in the manner of HTTP.
    let mut ends = [client(SocketType::Push, "/other"), server(SocketType::Pull)];
    let (errors, _) = carry(&mut ends, &mut rng);
    assert!(matches!(
        errors[1],
        Some(ProtocolError::Incompatible(
            Incompatible::WebSocketPath { .. }
        ))
    ));
    let told = errors[0].as_ref().map(ToString::to_string).unwrap();
    assert_eq!(
        told,
        "the head begins with \"HTTP/1.1 4\", expected \"HTTP/1.1 101\""
    );
    // Another socket: an ERROR, and a close.
    let mut ends = [client(SocketType::Push, "/path"), server(SocketType::Sub)];
    let (errors, _) = carry(&mut ends, &mut rng);
    let (ours, theirs) = (SocketType::Sub, SocketType::Push);
    let refused = Incompatible::SocketType { ours, theirs };
    assert_eq!(errors[1], Some(refused.into()));
    assert!(errors[0].is_some());
    assert_ne!(errors[0], Some(ProtocolError::from(Refusal::new(b""))));
}

/// What a client without a mechanism sends, and is sent.
#[test]
fn without_a_mechanism_the_first_message_is_the_routing_id() {
    let request = "GET /path HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                   Sec-WebSocket-Protocol: ZWS2.0\r\nSec-WebSocket-Version: 13\r\n\r\n";
    // A ping first, then `you` as a message, under a mask of zeros.
    let input = [request.as_bytes(), b"\x89\x80\0\0\0\0\x82\x84\0\0\0\0\0you"].concat();
    for cut in 0..input.len() {
        let mut server = server(SocketType::Router);
        let mut sent = BytesMut::new();
        for part in [&input[..cut], &input[cut..]] {
            assert_eq!(server.handle_input(part, origin()), Ok(part.len()));
            server.poll_transmit(&mut sent);
        }
        let peer = server.peer().expect("it is ready");
        assert_eq!((peer.socket_type, &peer.identity[..]), (None, &b"you"[..]));
        assert!(sent.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
        assert!(sent.ends_with(b"\r\n\r\n\x82\x03\0me"), "{sent:?}");
    }
}
