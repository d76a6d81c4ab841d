//! Hostile proxies: whatever one says, the endpoint is tried again and nothing is lost.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use sinew::{
    DisconnectReason, Monitor, ProtocolError, ProxyFailure, Push, ReconnectPolicy, SocketEvent,
    SocksProxy,
};

use crate::raw::{greeting, ready};
use crate::WATCHDOG;

/// With a login configured, so that every stage can be met.
fn push_through(listener: &TcpListener, timeout: Duration) -> (Push, Monitor) {
    let proxy = SocksProxy::new(&listener.local_addr().unwrap().to_string()).unwrap();
    let ms = Duration::from_millis;
    let mut push = Push::builder()
        .socks_proxy(proxy.login("user", "password").unwrap())
        .reconnect(ReconnectPolicy::backoff(ms(1), ms(10)))
        .handshake_timeout(timeout)
        .linger(Duration::ZERO)
        .build()
        .unwrap();
    let monitor = push.monitor();
    push.connect("tcp://server.invalid:4242").unwrap();
    (push, monitor)
}

fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    stream.read_exact(&mut octets).unwrap();
    octets
}

/// Accepts a client and says these things, each after what the client has to say before it.
fn answer(listener: &TcpListener, answers: &[&[u8]]) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    // Greeting, login, request.
    let lengths = [3, 1 + 1 + 4 + 1 + 8, 4 + 1 + 14 + 2];
    for (answer, length) in answers.iter().zip(lengths) {
        read(&mut stream, length);
        stream.write_all(answer).unwrap();
    }
    stream
}

#[track_caller]
fn failure(monitor: &mut Monitor) -> DisconnectReason {
    let event = monitor.wait_for(WATCHDOG, |event| {
        matches!(
            event,
            SocketEvent::ConnectFailed { .. } | SocketEvent::HandshakeFailed { .. }
        )
    });
    match event {
        Some(
            SocketEvent::ConnectFailed { reason, .. } | SocketEvent::HandshakeFailed { reason, .. },
        ) => reason,
        other => panic!("{other:?}"),
    }
}

const BY_LOGIN: &[u8] = &[5, 2];
const LOGGED_IN: &[u8] = &[1, 0];

#[test]
fn every_fault_of_a_proxy_is_an_event_and_costs_no_message() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut push, mut monitor) = push_through(&listener, WATCHDOG);
    push.send("kept").unwrap();
    let malformed = |octet, found, expected| ProxyFailure::Malformed {
        octet,
        found,
        expected,
    };
    let cases: Vec<(Vec<&[u8]>, ProxyFailure)> = vec![
        (
            vec![&[4, 2]],
            ProxyFailure::Version {
                found: 4,
                expected: 5,
            },
        ),
        (
            vec![b"HTTP/1.1 400"],
            ProxyFailure::Version {
                found: b'H',
                expected: 5,
            },
        ),
        (vec![&[5, 255]], ProxyFailure::NoMethod),
        (vec![&[5, 1]], ProxyFailure::Method { found: 1 }),
        (
            vec![BY_LOGIN, &[5, 0]],
            ProxyFailure::Version {
                found: 5,
                expected: 1,
            },
        ),
        (vec![BY_LOGIN, &[1, 1]], ProxyFailure::Login { status: 1 }),
        (
            vec![BY_LOGIN, &[1, 255]],
            ProxyFailure::Login { status: 255 },
        ),
        (
            vec![BY_LOGIN, LOGGED_IN, &[4]],
            ProxyFailure::Version {
                found: 4,
                expected: 5,
            },
        ),
        (
            vec![BY_LOGIN, LOGGED_IN, &[5, 1, 0, 1]],
            ProxyFailure::Refused { code: 1 },
        ),
        (
            vec![BY_LOGIN, LOGGED_IN, &[5, 8]],
            ProxyFailure::Refused { code: 8 },
        ),
        (
            vec![BY_LOGIN, LOGGED_IN, &[5, 200]],
            ProxyFailure::Refused { code: 200 },
        ),
        (vec![BY_LOGIN, LOGGED_IN, &[5, 0, 7]], malformed(2, 7, "0")),
        (
            vec![BY_LOGIN, LOGGED_IN, &[5, 0, 0, 2]],
            malformed(3, 2, "1, 3 or 4"),
        ),
        (
            vec![BY_LOGIN, LOGGED_IN, &[5, 0, 0, 0]],
            malformed(3, 0, "1, 3 or 4"),
        ),
    ];
    for (answers, expected) in cases {
        let stream = answer(&listener, &answers);
        assert_eq!(failure(&mut monitor), DisconnectReason::Proxy(expected));
        drop(stream);
    }
    // Closed at every stage, and in the middle of every answer. A reset may overtake the end.
    let stages: [&[u8]; 3] = [BY_LOGIN, LOGGED_IN, &[5, 0, 0, 3, 200, b'x']];
    for full in 0..3 {
        for part in 0..stages[full].len().min(6) {
            let mut answers = stages[..full].to_vec();
            answers.push(&stages[full][..part]);
            drop(answer(&listener, &answers));
            let reason = failure(&mut monitor);
            assert!(
                matches!(
                    reason,
                    DisconnectReason::Proxy(ProxyFailure::Closed) | DisconnectReason::Io { .. }
                ),
                "{full} {part}: {reason:?}"
            );
        }
    }
    // A sound one at last. What follows the reply in the same segment is the server's.
    let reply = [&[5, 0, 0, 3, 255][..], &[0xff; 255], &[0, 0]].concat();
    let last = [&reply[..], &greeting(), &ready("PULL")].concat();
    let mut stream = answer(&listener, &[BY_LOGIN, LOGGED_IN, &last]);
    let mut seen = Vec::new();
    while !seen.ends_with(b"\x00\x04kept") {
        seen.extend(read(&mut stream, 1));
    }
    drop(push);
}

/// A proxy that trickles does not put the deadline off, at any stage: it is one for the whole way.
#[test]
fn the_deadline_is_one_for_the_whole_way() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let limit = Duration::from_millis(100);
    let (_push, mut monitor) = push_through(&listener, limit);
    // Silence.
    let silent = listener.accept().unwrap();
    let expected = DisconnectReason::ProxyTimeout { timeout: limit };
    assert_eq!(failure(&mut monitor), expected);
    drop(silent);
    // An answer that stops half-way, at each stage.
    for answers in [
        &[&[5][..]][..],
        &[BY_LOGIN, &[1]],
        &[BY_LOGIN, LOGGED_IN, &[5, 0, 0, 3, 255]],
    ] {
        let stream = answer(&listener, answers);
        assert_eq!(failure(&mut monitor), expected, "{answers:?}");
        drop(stream);
    }
    // And a sound proxy before a silent server: the handshake goes on under the same deadline.
    let through: &[&[u8]] = &[BY_LOGIN, LOGGED_IN, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]];
    let stream = answer(&listener, through);
    let reason = failure(&mut monitor);
    assert!(
        matches!(
            reason,
            DisconnectReason::Protocol(ProtocolError::TimedOut(_))
        ),
        "{reason:?}"
    );
    drop(stream);
}

/// Without a login configured, none is given.
#[test]
fn a_login_that_is_not_there_is_not_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = SocksProxy::new(&listener.local_addr().unwrap().to_string()).unwrap();
    let mut push = Push::builder()
        .socks_proxy(proxy)
        .linger(Duration::ZERO)
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    push.connect("tcp://server.invalid:4242").unwrap();
    let mut stream = answer(&listener, &[BY_LOGIN]);
    let expected = DisconnectReason::Proxy(ProxyFailure::Method { found: 2 });
    assert_eq!(failure(&mut monitor), expected);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [], "nothing more was said");
}
