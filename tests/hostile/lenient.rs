//! What a socket forgives its peers if it is told to, and that this opens no other door.

use sinew::{Context, DisconnectReason, Message, Pull, Push, SocketEvent};

use crate::raw::{
    command, command_body, frame, greeting, greeting_of, property, ready, Raw, COMMAND, LONG, MORE,
};
use crate::stage::TRANSPORTS;
use crate::WATCHDOG;

#[path = "../support/random.rs"]
mod random;
use random::Random;

fn pull(at: &str, lenient: bool) -> (Pull, sinew::Monitor) {
    let pull = Pull::builder().lenient_peers(lenient).bind(at).unwrap();
    let monitor = pull.monitor();
    (pull, monitor)
}

/// What is forgiven after the handshake, and what is received of it.
fn oddities() -> Vec<(&'static str, Vec<u8>, Vec<Message>)> {
    let large = vec![7; 100_000];
    vec![
        ("reserved bits", frame(0x80, b"x"), vec!["x".into()]),
        (
            "reserved bits of several frames",
            [frame(0xf8 | MORE, b"x"), frame(0x08, b"y")].concat(),
            vec![Message::multipart(["x", "y"])],
        ),
        (
            "reserved bits of a long frame",
            frame(0x40 | LONG, &[7; 300]),
            vec![vec![7; 300].into()],
        ),
        (
            "reserved bits of a body that has memory of its own",
            [frame(0x10 | MORE, &large), frame(0x20, &large)].concat(),
            vec![Message::multipart([large.clone(), large])],
        ),
        (
            "reserved bits among sound messages",
            [frame(0, b"a"), frame(0x80, b"b"), frame(0, b"c")].concat(),
            vec!["a".into(), "b".into(), "c".into()],
        ),
        (
            "MORE on a command, within a message",
            [
                frame(MORE, b"x"),
                frame(0x80 | COMMAND | MORE, &command_body("PING", b"\0\0")),
                frame(0, b"y"),
            ]
            .concat(),
            vec![Message::multipart(["x", "y"])],
        ),
        ("a second READY", ready("PUB"), vec![]),
        ("HELLO", command("HELLO", b""), vec![]),
        ("MESSAGE", command("MESSAGE", b"x"), vec![]),
        ("a long PONG", command("PONG", &[7; 100]), vec![]),
        ("a long PING", command("PING", &[0; 100]), vec![]),
    ]
}

#[test]
fn what_is_forgiven_is_received_as_if_it_were_sound() {
    for at in TRANSPORTS {
        let (mut pull, _monitor) = pull(at, true);
        let endpoint = pull.bound_endpoints()[0].clone();
        for (what, octets, expected) in oddities() {
            // At once, and in pieces.
            for piece in [usize::MAX, 1 + octets.len() / 40] {
                let mut raw = Raw::shake_hands(&endpoint, "PUSH");
                for part in octets.chunks(piece.min(octets.len())) {
                    raw.send(part);
                }
                raw.send(&frame(0, b"after"));
                for message in &expected {
                    assert_eq!(pull.recv_timeout(WATCHDOG).unwrap(), *message, "{what}");
                }
                let after = pull.recv_timeout(WATCHDOG).unwrap();
                assert_eq!(after.as_bytes(), b"after", "{what}");
            }
        }
    }
}

#[test]
fn nothing_is_forgiven_by_default() {
    let (pull, mut monitor) = pull("tcp://127.0.0.1:*", false);
    let endpoint = pull.bound_endpoints()[0].clone();
    for (what, octets, _) in oddities() {
        let mut raw = Raw::shake_hands(&endpoint, "PUSH");
        raw.send(&octets);
        let ended = monitor.wait_for(WATCHDOG, |event| {
            matches!(
                event,
                SocketEvent::Disconnected {
                    reason: DisconnectReason::Protocol(_),
                    ..
                }
            )
        });
        assert!(ended.is_some(), "{what}");
    }
}

#[test]
fn of_a_long_context_the_beginning_is_returned() {
    let (pull, _monitor) = pull("tcp://127.0.0.1:*", true);
    let mut raw = Raw::shake_hands(&pull.bound_endpoints()[0], "PUSH");
    raw.send(&command("PING", b"\0\x000123456789abcdefghij"));
    assert_eq!(raw.read_frame().1, b"\x04PONG0123456789abcdef");
}

#[test]
fn handshakes_are_forgiven_what_says_who_it_is_nevertheless() {
    let untyped = command("READY", &property("X-name", b"value"));
    let marked = frame(
        0x88 | COMMAND | MORE,
        &command_body("READY", &property("Socket-Type", b"PUSH")),
    );
    let handshakes = [
        ("no type", [greeting(), untyped].concat()),
        ("flags", [greeting(), marked].concat()),
        (
            "revision 2",
            [greeting_of(2, 0, "NULL"), ready("PUSH")].concat(),
        ),
    ];
    for at in TRANSPORTS {
        for lenient in [false, true] {
            let (mut pull, mut monitor) = pull(at, lenient);
            for (what, octets) in &handshakes {
                let mut raw = Raw::connect(&pull.bound_endpoints()[0]);
                raw.send(&[&octets[..], &frame(0, what.as_bytes())].concat());
                if lenient {
                    raw.read_handshake();
                    let message = pull.recv_timeout(WATCHDOG).unwrap();
                    assert_eq!(message.as_bytes(), what.as_bytes());
                } else {
                    let failed = monitor.wait_for(WATCHDOG, |event| {
                        matches!(event, SocketEvent::HandshakeFailed { .. })
                    });
                    assert!(failed.is_some(), "{what}");
                }
            }
        }
    }
}

/// A type that is announced still has to fit, and limits are limits.
#[test]
fn what_cannot_be_understood_is_not_forgiven() {
    let open = [greeting(), ready("PUSH")].concat();
    let faults = [
        [greeting(), ready("PUB")].concat(),
        [greeting(), ready("PUSHY")].concat(),
        [greeting(), frame(MORE, b"message")].concat(),
        greeting_of(1, 0, "NULL"),
        greeting_of(2, 0, "PLAIN"),
        [&open[..], &[0xff; 9]].concat(),
        [&open[..], &frame(COMMAND, b"")].concat(),
        [&open[..], &frame(0x80, &[0; 2000])].concat(),
        [&open[..], &command("ERROR", b"\x03400")].concat(),
        [&open[..], &command("SUBSCRIBE", b"x")].concat(),
    ];
    let pull = Pull::builder().lenient_peers(true).max_frame_size(1000);
    let pull = pull.bind("tcp://127.0.0.1:*").unwrap();
    let mut monitor = pull.monitor();
    for octets in faults {
        let mut raw = Raw::connect(&pull.bound_endpoints()[0]);
        raw.send(&octets);
        let ended = monitor.wait_for(WATCHDOG, |event| {
            matches!(
                event,
                SocketEvent::HandshakeFailed { .. } | SocketEvent::Disconnected { .. }
            )
        });
        assert!(ended.is_some(), "{octets:?}");
    }
}

/// Octets that mean something more often than not, and what is wrong with them is mostly forgiven.
#[test]
fn random_octets_do_no_harm() {
    const BUDGET: u64 = 1 << 20;
    let mut random = Random::new(7);
    for at in TRANSPORTS {
        let context = Context::builder().memory_budget(BUDGET).build().unwrap();
        let pull = Pull::builder().context(&context).lenient_peers(true);
        let mut pull = pull.max_frame_size(5000).bind(at).unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        for _ in 0..100 {
            let mut raw = Raw::shake_hands(&endpoint, "PUSH");
            let mut octets = Vec::new();
            for _ in 0..20 {
                let flags = (random.below(256) & !4) as u8;
                let body = vec![random.below(256) as u8; random.below(600) as usize];
                octets.extend(match random.below(16) {
                    0 => command("READY", &body),
                    1 => frame(flags | COMMAND, &command_body("PING", &[0; 40])),
                    2 => frame(flags | COMMAND, &command_body("ANY", &body)),
                    3 if random.below(8) == 0 => body,
                    _ => frame(flags & !LONG, &body),
                });
            }
            // It may be sent away before the end.
            let _ = raw.try_send(&octets);
            while let Ok(message) = pull.try_recv() {
                assert!(message.byte_len() <= octets.len());
            }
            assert!(context.memory_used().unwrap() <= 2 * BUDGET);
        }
        let mut good = Push::builder().connect(&endpoint).unwrap();
        good.send("good").unwrap();
        while pull.recv_timeout(WATCHDOG).unwrap().as_bytes() != b"good" {}
    }
}
