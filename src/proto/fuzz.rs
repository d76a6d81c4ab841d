//! The fuzz body of the protocol core: a hostile peer and a careless clock against one
//! [`Connection`]. Targets call [`fuzz_connection`] and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::handshake::MAX_HANDSHAKE_FRAME;
use super::{Connection, ConnectionConfig, Opening};
use crate::frame;
use crate::socket_type::SocketType;

/// All this end may send before it is ready: the greeting, a `READY` without own properties and
/// with the longest routing id, an `ERROR` with a short text.
const MAX_SENT_BEFORE_READY: usize = 64 + 9 + 34 + 268 + 60;

/// All this end may send for one call during traffic: a `PONG` with the longest context and a
/// `PING`.
const MAX_SENT_PER_CALL: usize = 23 + 9;

/// Interprets `data` as a configuration and what a peer and the clock do, and asserts what must hold
/// whatever they do.
///
/// The first octet is the socket type, the second sets options, and the third, if odd, lets the peer
/// start with a good greeting. Then each octet chooses what happens, and the next how much.
pub(crate) fn fuzz_connection(data: &[u8], origin: Instant) {
    let [socket_type, options, start, script @ ..] = data else {
        return;
    };
    let mut script = script;
    let mut config =
        ConnectionConfig::new(SocketType::ALL[usize::from(*socket_type) % SocketType::ALL.len()]);
    if options & 1 != 0 {
        config.routing_id = Bytes::from_static(&[b'r'; 255]);
    }
    if options & 2 != 0 {
        config.heartbeat_interval = None;
    }
    if options & 4 != 0 {
        config.handshake_timeout = None;
    }
    if options & 8 != 0 {
        config.heartbeat_timeout = Some(Duration::ZERO);
    }
    config.lenient_peers = options & 16 != 0;
    let decode_header = match config.lenient_peers {
        true => frame::decode_lenient_header,
        false => frame::decode_header,
    };
    config.max_topic_len = usize::from(*options);
    let max_topic_len = config.max_topic_len;

    let mut now = origin;
    let mut connection = Connection::new(Arc::new(config), Opening::Stream, now);
    let mut sent_before_ready = 0;
    let mut failed = None;
    let mut unread = Vec::new();

    if start & 1 != 0 {
        let mut greeting = BytesMut::new();
        super::greeting::encode_greeting(&mut greeting, super::greeting::NULL);
        greeting[11] = (start >> 1) & 1;
        unread.extend_from_slice(&greeting);
        if start & 4 != 0 {
            // A good READY, of a type that may suit.
            let peer = SocketType::ALL[usize::from(start >> 3) % SocketType::ALL.len()];
            let mut ready = BytesMut::new();
            super::command::ready::encode_ready(&mut ready, &ConnectionConfig::new(peer));
            unread.extend_from_slice(&ready);
        }
    }

    while let [what, amount, rest @ ..] = script {
        script = rest;
        let was_ready = connection.is_ready();
        let mut result = Ok(());
        match what % 8 {
            0..=3 => {
                let n = usize::from(*amount).min(script.len());
                unread.extend_from_slice(&script[..n]);
                script = &script[n..];
                result = connection.handle_input(&unread, now).map(|taken| {
                    assert!(taken <= unread.len());
                    assert!(connection.is_ready() || taken == unread.len());
                    assert!(!was_ready || taken == 0);
                    unread.drain(..taken);
                });
                check_sent(&mut connection, &mut sent_before_ready, was_ready);
                if connection.is_ready() && !unread.is_empty() {
                    connection.handle_traffic(now);
                    while let Ok(Some(header)) = decode_header(&unread) {
                        let len = header.header_len + header.body_len;
                        if result.is_err() || unread.len() < len {
                            break;
                        }
                        let body: Vec<u8> = unread.drain(..len).skip(header.header_len).collect();
                        result = if header.command {
                            connection.handle_command(&body, now)
                        } else {
                            connection.handle_subscription_message(&body).map(drop)
                        };
                        check_sent(&mut connection, &mut sent_before_ready, true);
                    }
                }
            }
            4 if was_ready => {
                let n = usize::from(*amount).min(script.len());
                let body = &script[..n];
                script = &script[n..];
                result = connection.handle_command(body, now);
            }
            5 => {
                // Up to 11 minutes at once.
                now += Duration::from_millis(u64::from(*amount).pow(2) * 10);
                result = connection.handle_timeout(now);
                if result.is_ok() {
                    assert!(connection.poll_timeout().map_or(true, |at| at > now));
                }
            }
            6 => connection.set_paused(amount & 1 != 0, now),
            _ => connection.handle_write_progress(),
        }
        assert!(connection.buffered() <= MAX_HANDSHAKE_FRAME + frame::MAX_HEADER);
        check_sent(&mut connection, &mut sent_before_ready, was_ready);
        while let Some(event) = connection.poll_event() {
            if let super::Event::Subscribe(topic) | super::Event::Cancel(topic) = event {
                assert!(topic.len() <= max_topic_len);
            }
        }
        assert_eq!(connection.peer().is_some(), connection.is_ready());
        // An error is final, and the same for ever.
        if let Some(error) = &failed {
            if let Err(again) = &result {
                assert_eq!(again, error);
            }
            assert!(!connection.is_ready());
            assert_eq!(connection.poll_timeout(), None);
        }
        if let Err(error) = result {
            assert!(!error.to_string().is_empty());
            assert!(!connection.is_ready());
            failed = Some(error);
        }
    }
}

/// Takes what is to be sent, and asserts that it is little.
fn check_sent(connection: &mut Connection, before_ready: &mut usize, was_ready: bool) {
    let mut out = BytesMut::new();
    let wanted = connection.wants_transmit();
    assert_eq!(connection.poll_transmit(&mut out), wanted);
    assert!(!connection.wants_transmit());
    if was_ready {
        assert!(out.len() <= MAX_SENT_PER_CALL);
    } else {
        *before_ready += out.len();
        assert!(*before_ready <= MAX_SENT_BEFORE_READY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::origin;
    use crate::proto::testing::Rng;

    #[test]
    fn random_peers_do_no_harm() {
        for seed in 0..3000 {
            let mut rng = Rng::new(seed);
            let len = rng.up_to(600);
            // Octets that mean something are more likely than others.
            let common =
                b"\x04\x04\x04\x06\x85\xff\x00\x01\x02\x05PINGPONG\x09SUBSCRIBE\x06CANCEL\xff";
            let data: Vec<u8> = (0..len)
                .map(|_| match rng.up_to(3) {
                    1 => rng.next() as u8,
                    _ => common[rng.up_to(common.len()) - 1],
                })
                .collect();
            fuzz_connection(&data, origin());
        }
    }

    #[test]
    fn a_good_start_reaches_traffic() {
        // A PULL, a good greeting and the READY of a PUSH, then PINGs.
        let pull = SocketType::ALL.iter().position(|t| *t == SocketType::Pull);
        let push = SocketType::ALL.iter().position(|t| *t == SocketType::Push);
        let mut data = vec![
            pull.map_or(0, |i| i as u8),
            0,
            1 | 2 | 4 | (push.map_or(0, |i| i as u8) << 3),
        ];
        for _ in 0..10 {
            data.extend_from_slice(b"\x00\x09\x04\x07\x04PING\xff\xff");
            data.extend_from_slice(b"\x04\x07\x04PING\0\x01");
            data.extend_from_slice(b"\x06\x01\x05\xff\x06\x00");
        }
        fuzz_connection(&data, origin());
    }
}
