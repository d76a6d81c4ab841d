//! Exchanges recorded from libzmq by `scripts/record`, one side's octets replayed to a connection of ours that
//! has the type of the other: whole, cut at every octet, and octet by octet.

use bytes::Bytes;

use super::exchanges::info;
use crate::proto::testing::{origin, Endpoint};
use crate::proto::{ConnectionConfig, Event, PeerInfo, ProtocolError, Refusal, Version};
use crate::socket_type::SocketType;

/// The octets of one side.
fn said<'a>(recording: &'a str, who: &str) -> Vec<u8> {
    let lines = recording.lines().filter(|line| !line.starts_with('#'));
    let is_side = |line: &&'a str| ["connects", "binds"].contains(line);
    let hex: String = lines
        .skip_while(|line| *line != who)
        .skip(1)
        .take_while(|line| !is_side(line))
        .collect();
    assert!(!hex.is_empty(), "nothing of {who}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// All that must be the same however octets arrive.
#[derive(Debug, PartialEq)]
struct Outcome {
    peer: Option<PeerInfo>,
    events: Vec<Event>,
    frames: Vec<Bytes>,
    error: Option<ProtocolError>,
}

/// Shows such pieces to a new connection of this type; also tells what that says.
fn replay<'a>(ours: SocketType, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Outcome, Endpoint) {
    let mut end = Endpoint::new(ConnectionConfig::new(ours), origin());
    for piece in pieces {
        end.receive(piece, origin());
        end.connection.poll_transmit(&mut end.sent);
    }
    let outcome = Outcome {
        peer: end.connection.peer().cloned(),
        events: end.events.clone(),
        frames: end.messages.clone(),
        error: end.error.clone(),
    };
    (outcome, end)
}

const PUSH_PULL: &str = include_str!("recorded/push_pull.txt");
const PUB_SUB: &str = include_str!("recorded/pub_sub.txt");
const REQ_REP: &str = include_str!("recorded/req_rep.txt");
const DEALER_ROUTER: &str = include_str!("recorded/dealer_router.txt");
const HEARTBEAT: &str = include_str!("recorded/heartbeat.txt");
const REFUSAL: &str = include_str!("recorded/refusal.txt");
const SUB_OF_A_3_0_PUB: &str = include_str!("recorded/sub_of_a_3_0_pub.txt");

/// What comes of each side of each recording.
fn recordings() -> Vec<(&'static str, Vec<u8>, SocketType, Outcome)> {
    use SocketType::{Dealer, Pair, Pub, Pull, Push, Rep, Req, Router, Sub};

    let body = |len: usize| Bytes::from_iter((0..len).map(|at| (at * 7) as u8));
    let words = |words: &[&'static str]| -> Vec<Bytes> {
        words.iter().map(|word| Bytes::from(*word)).collect()
    };
    let ready = |theirs, identity, frames| Outcome {
        peer: Some(info(Version::V3_1, theirs, identity)),
        events: vec![Event::HandshakeDone],
        frames,
        error: None,
    };
    let plain = |theirs, frames: &[&'static str]| ready(theirs, b"", words(frames));
    let mut pushed = words(&["", "a", "b", "", "c"]);
    pushed.extend([255, 256, 300, 1].map(body));
    let subscribed = |version, events: &[Event]| Outcome {
        peer: Some(info(version, Sub, b"")),
        events: [&[Event::HandshakeDone], events].concat(),
        frames: vec![],
        error: None,
    };
    let (a, topic) = (Bytes::from("a"), Bytes::from("topic"));
    let as_commands = [
        Event::Subscribe(a.clone()),
        Event::Subscribe(topic.clone()),
        Event::Cancel(a),
    ];
    let as_messages = [Event::Subscribe(topic.clone()), Event::Cancel(topic)];
    let refused = Outcome {
        peer: None,
        events: vec![],
        frames: vec![],
        error: Some(Refusal::new(b"400").into()),
    };
    let from_3_0 = Outcome {
        peer: Some(info(Version::V3_0, Pub, b"")),
        ..plain(Pub, &["topic!"])
    };
    [
        (
            "push_pull",
            PUSH_PULL,
            "connects",
            Pull,
            ready(Push, b"", pushed),
        ),
        ("push_pull", PUSH_PULL, "binds", Push, plain(Pull, &[])),
        (
            "pub_sub",
            PUB_SUB,
            "connects",
            Pub,
            subscribed(Version::V3_1, &as_commands),
        ),
        (
            "pub_sub",
            PUB_SUB,
            "binds",
            Sub,
            plain(Pub, &["a1", "topic", "2", "topic4"]),
        ),
        (
            "req_rep",
            REQ_REP,
            "connects",
            Rep,
            plain(Req, &["", "ask", "1", "", "ask", "2"]),
        ),
        (
            "req_rep",
            REQ_REP,
            "binds",
            Req,
            plain(Rep, &["", "answer 1", "", "answer 2"]),
        ),
        (
            "dealer_router",
            DEALER_ROUTER,
            "connects",
            Router,
            ready(Dealer, b"me", words(&["hello"])),
        ),
        (
            "dealer_router",
            DEALER_ROUTER,
            "binds",
            Dealer,
            plain(Router, &["", "world"]),
        ),
        (
            "heartbeat",
            HEARTBEAT,
            "connects",
            Pair,
            plain(Pair, &["before", "after"]),
        ),
        ("heartbeat", HEARTBEAT, "binds", Pair, plain(Pair, &[])),
        ("refusal", REFUSAL, "connects", Router, plain(Dealer, &[])),
        ("refusal", REFUSAL, "binds", Dealer, refused),
        (
            "sub_of_a_3_0_pub",
            SUB_OF_A_3_0_PUB,
            "connects",
            Pub,
            subscribed(Version::V3_1, &as_messages),
        ),
        ("sub_of_a_3_0_pub", SUB_OF_A_3_0_PUB, "binds", Sub, from_3_0),
    ]
    .map(|(name, recording, who, ours, outcome)| (name, said(recording, who), ours, outcome))
    .into()
}

#[test]
fn libzmq_is_understood_however_its_octets_arrive() {
    for (name, octets, ours, expected) in recordings() {
        assert_eq!(
            replay(ours, [&octets[..]]).0,
            expected,
            "{name} by {ours:?}"
        );
        for cut in 1..octets.len() {
            let (first, rest) = octets.split_at(cut);
            let (outcome, _) = replay(ours, [first, rest]);
            assert_eq!(outcome, expected, "{name} by {ours:?}, cut at {cut}");
        }
        let (outcome, _) = replay(ours, octets.chunks(1));
        assert_eq!(outcome, expected, "{name} by {ours:?}, octet by octet");
    }
}

/// A PONG for each PING, and no other octets than those of libzmq.
#[test]
fn a_ping_of_libzmq_is_answered_as_libzmq_does() {
    let octets = said(HEARTBEAT, "connects");
    let (_, end) = replay(SocketType::Pair, octets.chunks(1));
    let pings = octets.windows(5).filter(|w| *w == b"\x04PING").count();
    let pongs = b"\x04\x05\x04PONG".repeat(pings);
    assert!(pings > 1);
    assert!(said(HEARTBEAT, "binds").ends_with(&pongs));
    assert!(end.sent.ends_with(&pongs));
    assert!(!end.sent[..end.sent.len() - pongs.len()].ends_with(b"PONG"));
}

#[test]
fn the_time_to_live_that_libzmq_announces_is_kept() {
    let octets = said(HEARTBEAT, "connects");
    let after_ping = octets.strip_suffix(b"\0\x05after").unwrap();
    let mut config = ConnectionConfig::new(SocketType::Pair);
    config.heartbeat_interval = None;
    let mut end = Endpoint::new(config, origin());
    end.receive(after_ping, origin());
    let ttl = std::time::Duration::from_secs(65);
    assert_eq!(end.connection.poll_timeout(), Some(origin() + ttl));
}

/// What its side of an exchange says, ours would say as well: the traffic, octet for octet.
#[test]
fn frames_are_written_as_libzmq_writes_them() {
    use crate::frame;

    for (name, octets, ours, expected) in recordings() {
        let mut rest = &octets[64..];
        let mut frames = 0;
        while let Some(header) = frame::decode_header(rest).unwrap() {
            let (same, len) = frame::header(header.more, header.command, header.body_len);
            assert_eq!(rest[..header.header_len], same[..len], "{name} by {ours:?}");
            frames += usize::from(!header.command);
            rest = &rest[header.header_len + header.body_len..];
        }
        assert!(rest.is_empty() && frames >= expected.frames.len(), "{name}");
    }
}
