//! Peers that break the rules of WebSocket, before and after the upgrade.

use std::time::Duration;

use sinew::{
    DisconnectReason, FrameError, Incompatible, Malformed, ProtocolError, TimedOut, UpgradeFault,
    WebSocketFault,
};

use crate::heap;
use crate::isolated::isolated;
use crate::raw::Raw;
use crate::stage::{PullStage, Stage};

const AT: &str = "ws://127.0.0.1:*/path";

const REQUEST: &str = "GET /path HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: ZWS2.0/NULL\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// `READY` of a PUSH, masked with zeros.
const READY: &[u8] = b"\x82\x9b\0\0\0\0\x02\x05READY\x0bSocket-Type\0\0\0\x04PUSH";

fn protocol(error: impl Into<ProtocolError>) -> DisconnectReason {
    DisconnectReason::Protocol(error.into())
}

/// A raw client that has been let in.
fn client(stage: &PullStage) -> Raw {
    let mut raw = Raw::connect(stage.endpoint());
    raw.send(REQUEST.as_bytes());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(raw.read_octets(1));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    raw.send(READY);
    assert_eq!(raw.read_octets(2), b"\x82\x1b");
    raw.read_octets(0x1b);
    raw
}

#[test]
fn heads_that_begin_no_websocket_are_refused() {
    let mut stage = PullStage::new(AT);
    let long = format!("X: {}\r\n", "x".repeat(1990)).repeat(4);
    let tail = 8193 - REQUEST.len() - long.len() - "Y: \r\n".len();
    let long = format!("{long}Y: {}\r\nHost:", "y".repeat(tail));
    for (from, to) in [
        ("Host:", &long[..]),
        ("GET", "PUT"),
        ("HTTP/1.1", "HTTP/2"),
        ("Upgrade: websocket\r\n", ""),
        ("Connection: Upgrade\r\n", ""),
        ("Sec-WebSocket-Key", "X"),
        ("Host", "Sec-WebSocket-Key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"),
        ("Version: 13", "Version: 7"),
        ("Host:", "Host"),
        ("Host: x", "Host: \0"),
        ("Host: x", "Host: x\r\n y"),
    ] {
        let mut raw = Raw::connect(stage.endpoint());
        let request = REQUEST.replacen(from, to, 1);
        let _ = raw.try_send(request.as_bytes());
        let reason = stage.refusal();
        assert!(
            matches!(
                &reason,
                DisconnectReason::Protocol(ProtocolError::Malformed(Malformed::Upgrade(_)))
            ),
            "{to}: {reason}"
        );
        if request.len() > 8192 {
            assert_eq!(request.len(), 8193);
            assert_eq!(reason, protocol(UpgradeFault::HeadLength { limit: 8192 }));
        }
        let answer = raw.read_to_end();
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{to}");
    }
    // No more octets than came are answered to one that offers what nobody knows.
    let mut raw = Raw::connect(stage.endpoint());
    let request = REQUEST.replacen("ZWS2.0/NULL", "ZWS2.0/CURVE", 1);
    raw.send(request.as_bytes());
    assert!(matches!(
        stage.refusal(),
        DisconnectReason::Protocol(ProtocolError::Incompatible(
            Incompatible::SubProtocol { .. }
        ))
    ));
    assert!(raw.read_to_end().len() < request.len());
    stage.finish();
}

#[test]
fn another_protocol_is_refused_at_its_first_octet() {
    let mut stage = PullStage::new(AT);
    for octets in [&b"\xff"[..], b"\x16", b"P", b"GET/"] {
        let mut raw = Raw::connect(stage.endpoint());
        raw.send(octets);
        assert!(matches!(
            stage.refusal(),
            DisconnectReason::Protocol(ProtocolError::Malformed(Malformed::Upgrade(
                UpgradeFault::FirstLine { .. }
            )))
        ));
        raw.read_to_end();
    }
    stage.finish();
}

#[test]
fn a_slow_upgrade_cannot_extend_the_handshake() {
    let timeout = Duration::from_millis(100);
    let mut stage = PullStage::with(AT, |builder| builder.handshake_timeout(timeout));
    let mut raw = Raw::connect(stage.endpoint());
    raw.send(b"GET /path HTTP/1.1\r\n");
    // It trickles for as long as it is listened to.
    for _ in 0..8000 {
        if raw.try_send(b"X").is_err() || stage.stats().handshake_failures > 0 {
            break;
        }
        std::thread::yield_now();
    }
    let reason = stage.refusal();
    let late = protocol(TimedOut::Handshake);
    let long = protocol(UpgradeFault::HeadLength { limit: 8192 });
    assert!(reason == late || reason == long, "{reason}");
    // One that says nothing at all.
    let silent = Raw::connect(stage.endpoint());
    assert_eq!(stage.refusal(), late);
    drop(silent);
    stage.finish();
}

#[test]
fn frames_that_are_none_of_zws_end_the_connection() {
    let mut stage = PullStage::new(AT);
    for (octets, reason) in [
        (&b"\x82\x01\0"[..], protocol(WebSocketFault::Unmasked)),
        (b"\x02\x81\0\0\0\0\0", protocol(WebSocketFault::Fragmented)),
        (
            b"\x80\x80\0\0\0\0",
            protocol(WebSocketFault::Opcode { opcode: 0 }),
        ),
        (
            b"\x81\x81\0\0\0\0\0",
            protocol(WebSocketFault::Opcode { opcode: 1 }),
        ),
        (
            b"\xc2\x81",
            protocol(WebSocketFault::Reserved { octet: 0xc2 }),
        ),
        (b"\x82\x80\0\0\0\0", protocol(WebSocketFault::Empty)),
        (
            b"\x82\x81\0\0\0\0\x08",
            protocol(WebSocketFault::Flags { flags: 8 }),
        ),
        (b"\x89\xfe\0\x7e", protocol(WebSocketFault::ControlLength)),
        (b"\x09\x80", protocol(WebSocketFault::Fragmented)),
        (b"\x88\x81\0\0\0\0x", protocol(WebSocketFault::CloseLength)),
        (
            b"\x82\xff\x80\0\0\0\0\0\0\0",
            protocol(FrameError::SizeOverflow(1 << 63)),
        ),
        (
            b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0",
            DisconnectReason::TooLarge {
                what: "frame, in octets,",
                size: (1 << 63) - 2,
                limit: 64 << 20,
            },
        ),
    ] {
        let mut raw = client(&stage);
        raw.send(b"\x82\x83\0\0\0\0\0hi");
        assert_eq!(stage.other().as_bytes(), b"hi");
        raw.send(octets);
        assert_eq!(stage.disconnection(), reason, "{octets:?}");
        let last = raw.read_to_end();
        if matches!(reason, DisconnectReason::Protocol(_)) {
            // It is told: a close frame, protocol error.
            assert_eq!(last, b"\x88\x02\x03\xea", "{octets:?}");
        }
    }
    stage.finish();
}

#[test]
fn a_message_before_a_fault_is_received() {
    let mut stage = PullStage::new(AT);
    let mut raw = client(&stage);
    raw.send(b"\x82\x83\0\0\0\0\0hi\x82\x01");
    assert_eq!(stage.disconnection(), protocol(WebSocketFault::Unmasked));
    assert_eq!(stage.other().as_bytes(), b"hi");
    stage.finish();
}

#[test]
fn an_endless_ping_flood_costs_no_memory() {
    isolated("websocket::an_endless_ping_flood_costs_no_memory", || {
        let mut stage = PullStage::new(AT);
        // Of the size that the system likes: with small ones it drops what carries the acknowledgements, too.
        let mut raw = client(&stage);
        let ping = [&b"\x89\xfd\0\0\0\0"[..], &[b'p'; 125]].concat();
        let flood = ping.repeat(100);
        let (most, ()) = heap::peak_of(|| {
            let mut sent = 0;
            // It reads none of the answers.
            while sent < 24 << 20 {
                let n = raw.send_some(&flood).expect("the connection takes octets");
                // What was cut off must be finished, or it would be another fault.
                let cut = n % ping.len();
                if cut > 0 {
                    raw.send(&ping[cut..]);
                }
                sent += n;
                stage.exchange(1);
            }
        });
        assert!(most < 1 << 20, "{most} octets more");
        // There are answers, but not to all: the latest wins.
        assert_eq!(raw.read_octets(2), b"\x8a\x7d");
        drop(raw);
        stage.disconnection();
        stage.finish();
    });
}
