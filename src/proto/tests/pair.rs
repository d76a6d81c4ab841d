//! Two connections talking to each other, their octets split at random points.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::proto::testing::{types, Pair};
use crate::proto::{
    encode_subscription, ConnectionConfig, Event, Incompatible, ProtocolError, Refusal, TimedOut,
    Version,
};
use crate::socket_type::SocketType;

fn config(socket_type: SocketType) -> ConnectionConfig {
    let mut config = ConnectionConfig::new(socket_type);
    config.routing_id = Bytes::from_static(b"me");
    config.properties = vec![("X-long".into(), Bytes::from(vec![b'v'; 1000]))];
    config
}

#[test]
fn every_compatible_pair_shakes_hands_however_octets_arrive() {
    let mut seed = 0;
    for a in types() {
        for b in types().filter(|b| a.is_compatible_with(*b)) {
            for _ in 0..5 {
                seed += 1;
                let pair = Pair::ready(config(a), config(b), seed);
                for (end, other) in [(0, b), (1, a)] {
                    let peer = pair.ends[end].connection.peer().expect("it is ready");
                    assert_eq!(peer.version, Version::V3_1);
                    assert_eq!(peer.socket_type, Some(other));
                    let identity: &[u8] = if other.announces_identity() {
                        b"me"
                    } else {
                        b""
                    };
                    assert_eq!(&peer.identity[..], identity);
                    assert_eq!(peer.properties, config(other).properties);
                }
            }
        }
    }
}

#[test]
fn every_other_pair_parts_with_an_error_on_both_ends() {
    let mut seed = 0;
    for a in types() {
        for b in types().filter(|b| !a.is_compatible_with(*b)) {
            seed += 1;
            let mut pair = Pair::new(config(a), config(b), seed);
            pair.advance(Duration::from_millis(100));
            for (end, ours, theirs) in [(0, a, b), (1, b, a)] {
                let expect: ProtocolError = Incompatible::SocketType { ours, theirs }.into();
                assert_eq!(pair.ends[end].error, Some(expect));
                assert_eq!(pair.ends[end].events, []);
                assert!(pair.ends[end]
                    .sent
                    .ends_with(b"Socket-Type is not compatible"));
            }
        }
    }
}

#[test]
fn an_error_behind_a_ready_reaches_the_other_end() {
    // Identities matter to the ROUTER only; the DEALER learns of it after its own handshake.
    let mut dealer = config(SocketType::Dealer);
    dealer.routing_id = Bytes::from_static(b"\0bad");
    let mut pair = Pair::new(config(SocketType::Router), dealer, 9);
    pair.advance(Duration::from_millis(100));
    assert_eq!(
        pair.ends[1].error,
        Some(Refusal::new(b"Identity is not valid").into())
    );
}

#[test]
fn a_cut_at_every_octet_ends_in_the_deadline() {
    let whole = Pair::ready(config(SocketType::Req), config(SocketType::Rep), 1);
    let len = whole.ends[1].sent.len();
    for cut in 0..=len {
        let mut pair = Pair::new(config(SocketType::Req), config(SocketType::Rep), cut as u64);
        pair.ends[0].cut_after = Some(cut);
        pair.advance(Duration::from_millis(9_990));
        assert_eq!(pair.ends[0].error, None);
        assert_eq!(pair.ends[0].connection.is_ready(), cut == len);
        pair.advance(Duration::from_millis(20));
        let error = (cut < len).then(|| TimedOut::Handshake.into());
        assert_eq!(pair.ends[0].error, error, "cut at {cut}");
    }
}

#[test]
fn traffic_behind_the_handshake_arrives_whole() {
    for seed in 0..50 {
        let (sub, xpub) = (config(SocketType::Sub), config(SocketType::XPub));
        let mut pair = Pair::ready(sub, xpub, seed);
        let mut octets = BytesMut::new();
        for version in [Version::V3_0, Version::V3_1] {
            encode_subscription(&mut octets, version, true, b"topic");
            encode_subscription(&mut octets, version, false, &[b'x'; 300]);
        }
        octets.extend_from_slice(b"\x00\x05hello\x04\x04\x03FOO");
        pair.send(0, &octets);
        pair.advance(Duration::from_millis(10));
        let subscribe = Event::Subscribe(Bytes::from_static(b"topic"));
        let cancel = Event::Cancel(Bytes::from_static(&[b'x'; 300]));
        let end = &pair.ends[1];
        assert_eq!(end.error, None);
        assert_eq!(
            &end.events[1..],
            [subscribe.clone(), cancel.clone(), subscribe, cancel]
        );
        assert_eq!(end.messages, ["hello"]);
        assert_eq!(end.connection.ignored_commands(), 1);
    }
}

#[test]
fn an_idle_connection_is_small() {
    // Of the 4 KiB that an idle connection may have in all.
    assert!(std::mem::size_of::<crate::proto::Connection>() <= 384);
}
