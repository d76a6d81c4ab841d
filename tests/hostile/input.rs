//! Bad input: every error names what was given and says what was expected.

use std::time::Duration;

use sinew::{
    BindError, Context, DisconnectReason, Heartbeat, HighWaterMark, Message, Pub, Pull, Push,
    ReconnectPolicy, RecvError, Rep, Req, SendFailure, SocketBuilder, SocketEvent,
};

use crate::WATCHDOG;

#[test]
fn malformed_endpoints_are_named() {
    for input in [
        "",
        "tcp",
        "tcp:",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:80x",
        "tcp://127.0.0.1: 80",
        "tcp://[::1:80",
        "tcp://::1",
        "udp://127.0.0.1:1",
        "ws://127.0.0.1",
        "127.0.0.1:80",
        "ipc://",
        "inproc://",
        "quic://x:1",
        "tcp://a b:1",
        "tcp://127.0.0.1:80/path",
        "ipc://a\0b",
    ] {
        let shown = format!("`{input}`");
        let texts = [
            Pull::new().bind(input).unwrap_err().to_string(),
            Pull::new().connect(input).unwrap_err().to_string(),
            Pull::new().unbind(input).unwrap_err().to_string(),
            Pull::new().disconnect(input).unwrap_err().to_string(),
            Pull::builder().bind(input).unwrap_err().to_string(),
            Pull::builder().connect(input).unwrap_err().to_string(),
        ];
        for text in texts {
            assert!(
                text.contains(&shown) && text.contains("expected"),
                "{input:?}: {text}"
            );
        }
    }
}

#[test]
fn endpoints_for_the_other_purpose_are_named() {
    for input in ["tcp://*:80", "tcp://127.0.0.1:*", "ipc://*"] {
        let text = Pull::new().connect(input).unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("`{input}` cannot be connected to: expected ")),
            "{text}"
        );
    }
    let input = "tcp://127.0.0.1:5555;127.0.0.1:6666";
    let text = Pull::new().bind(input).unwrap_err().to_string();
    assert!(text.contains(input) && text.contains("expected"), "{text}");
    let long = format!("ipc:///tmp/{}", "x".repeat(200));
    let text = Pull::new().bind(long.as_str()).unwrap_err().to_string();
    assert!(text.contains(&long) && text.contains("expected"), "{text}");
}

#[test]
fn impossible_options_are_named() {
    type Change = fn(SocketBuilder<Pull>) -> SocketBuilder<Pull>;
    let table: &[(Change, &str)] = &[
        (
            |b| b.send_hwm(0),
            "option `send_hwm` cannot be 0 messages: expected at least 1, or `HighWaterMark::unlimited()` for no limit",
        ),
        (
            |b| b.recv_hwm(HighWaterMark::new(1).with_bytes(0)),
            "option `recv_hwm` cannot be 0 bytes: expected at least 1, or `HighWaterMark::unlimited()` for no limit",
        ),
        (
            |b| b.handshake_timeout(Duration::ZERO),
            "option `handshake_timeout` cannot be 0ns: expected from 1 ms to 30 days, or `None`",
        ),
        (
            |b| b.connect_timeout(Duration::MAX),
            "option `connect_timeout` cannot be 18446744073709551615.999999999s: expected from 1 ms to 30 days, or `None`",
        ),
        (
            |b| b.heartbeat(Heartbeat::every(Duration::ZERO)),
            "option `heartbeat` cannot be interval 0ns: expected from 1 ms to 30 days, or `Heartbeat::off()`",
        ),
        (
            |b| b.heartbeat(Heartbeat::every(Duration::MAX)),
            "option `heartbeat` cannot be interval 18446744073709551615.999999999s: expected from 1 ms to 30 days, or `Heartbeat::off()`",
        ),
        (
            |b| b.heartbeat(Heartbeat::default().timeout(Duration::from_nanos(1))),
            "option `heartbeat` cannot be timeout 1ns: expected from 1 ms to 30 days, or zero",
        ),
        (
            |b| b.heartbeat(Heartbeat::default().ttl(Duration::from_millis(99))),
            "option `heartbeat` cannot be a ttl of 99ms: expected from 100 ms to 6553.5 s, or zero",
        ),
        (
            |b| b.reconnect(ReconnectPolicy::backoff(Duration::ZERO, Duration::ZERO)),
            "option `reconnect` cannot be an initial delay of 0ns: expected at least 1 ms, or `ReconnectPolicy::never()`",
        ),
        (
            |b| b.backlog(0),
            "option `backlog` cannot be 0: expected from 1 to 2147483647",
        ),
        (
            |b| b.max_connections(0),
            "option `max_connections` cannot be 0: expected from 1 to 2147483647",
        ),
        (
            |b| b.max_pending_handshakes(0),
            "option `max_pending_handshakes` cannot be 0: expected from 1 to 2147483647",
        ),
        (
            |b| b.max_frame_size(0),
            "option `max_frame_size` cannot be 0: expected at least 1 byte",
        ),
        (
            |b| b.max_message_size(0),
            "option `max_message_size` cannot be 0: expected at least 1 byte",
        ),
        (
            |b| b.max_frames(0),
            "option `max_frames` cannot be 0: expected at least 1 frame",
        ),
        (
            |b| b.kernel_send_buffer(0),
            "option `kernel_send_buffer` cannot be 0: expected from 1 to 2147483647",
        ),
        (
            |b| b.kernel_recv_buffer(usize::MAX),
            "option `kernel_recv_buffer` cannot be 18446744073709551615: expected from 1 to 2147483647",
        ),
    ];
    for (change, text) in table {
        let error = change(Pull::builder()).build().unwrap_err();
        assert_eq!(error.to_string(), *text);
        let error = change(Pull::builder()).bind("inproc://never").unwrap_err();
        assert_eq!(error.to_string(), *text);
    }
    // Times and marks that are extreme but possible do no harm.
    let pull = Pull::builder()
        .recv_timeout(Duration::MAX)
        .send_timeout(Duration::MAX)
        .linger(Duration::MAX)
        .send_hwm(HighWaterMark::unlimited())
        .recv_hwm(HighWaterMark::new(1).with_bytes(1))
        .max_frame_size(u64::MAX)
        .affinity(u64::MAX)
        .bind("tcp://127.0.0.1:*");
    let mut pull = pull.unwrap();
    let mut push = Push::new();
    push.connect(&pull.bound_endpoints()[0]).unwrap();
    push.send("x").unwrap();
    assert_eq!(pull.recv().unwrap().as_bytes(), b"x");
    assert_eq!(
        Context::builder()
            .io_threads(1024)
            .build()
            .unwrap_err()
            .to_string(),
        "option `io_threads` cannot be 1024: expected from 0 to 1023"
    );
}

#[test]
fn an_address_in_use_is_named_and_the_first_owner_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = format!("ipc://{}", directory.path().join("socket").display());
    for at in ["tcp://127.0.0.1:*", &path, "inproc://hostile-in-use"] {
        let mut first = Pull::new();
        let endpoint = first.bind(at).unwrap();
        let mut second = Pull::new();
        let error = second.bind(&endpoint).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("`{endpoint}` is in use, expected an endpoint nobody is bound to")
        );
        assert!(second.bound_endpoints().is_empty());
        let mut push = Push::new();
        push.connect(&endpoint).unwrap();
        push.send_timeout("first", WATCHDOG).unwrap();
        assert_eq!(first.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"first");
        // Once it is free, it can be had.
        first.unbind(&endpoint).unwrap();
        second.bind(&endpoint).unwrap();
    }
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    for at in ["tcp://192.0.2.1:5555", "ipc:///no/such/directory/at/all"] {
        let error = Pull::new().bind(at).unwrap_err();
        assert!(matches!(error, BindError::Io { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("`{at}` cannot be bound: ")),
            "{text}"
        );
    }
}

#[test]
fn endpoints_that_are_not_ours_cannot_be_ended() {
    let mut pull = Pull::new();
    let bound = pull.bind("tcp://127.0.0.1:*").unwrap();
    for endpoint in [
        "tcp://127.0.0.1:1",
        "ipc:///tmp/nothing",
        "inproc://nothing",
    ] {
        let expected = format!(
            "`{endpoint}` is not an endpoint of this socket, expected one it is bound or connected to"
        );
        assert_eq!(pull.unbind(endpoint).unwrap_err().to_string(), expected);
        assert_eq!(pull.disconnect(endpoint).unwrap_err().to_string(), expected);
    }
    assert!(
        pull.disconnect(&bound).is_err(),
        "it is bound, not connected"
    );
    pull.unbind(&bound).unwrap();
    assert!(pull.unbind(&bound).is_err(), "only once");
}

#[test]
fn an_unknown_host_is_an_event() {
    let mut push = Push::new();
    let mut monitor = push.monitor();
    let endpoint = push.connect("tcp://no-such-host.invalid:1").unwrap();
    let event = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, SocketEvent::ConnectFailed { .. })
    });
    let Some(SocketEvent::ConnectFailed {
        endpoint: named,
        reason,
        ..
    }) = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(named, endpoint);
    let text = reason.to_string();
    assert!(matches!(reason, DisconnectReason::Io { .. }), "{reason:?}");
    assert!(
        text.contains("no-such-host.invalid"),
        "the name is not in {text:?}"
    );
    // It is tried again, and said so.
    let event = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, SocketEvent::ConnectRetried { .. })
    });
    assert!(event.is_some());
}

#[test]
fn a_refused_connection_is_an_event() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut push = Push::new();
    let mut monitor = push.monitor();
    push.connect(endpoint.as_str()).unwrap();
    let event = monitor.wait_for(WATCHDOG, |event| {
        matches!(
            event,
            SocketEvent::ConnectFailed {
                reason: DisconnectReason::Io {
                    kind: std::io::ErrorKind::ConnectionRefused,
                    ..
                },
                ..
            }
        )
    });
    assert!(event.is_some());
}

#[test]
fn a_message_that_was_not_sent_comes_back() {
    let message = Message::multipart(["one", "two"]);
    let mut push = Push::bound();
    for (result, reason) in [
        (push.try_send(message.clone()), SendFailure::WouldBlock),
        (
            push.send_timeout(message.clone(), Duration::from_millis(1)),
            SendFailure::Timeout,
        ),
        (
            push.send_timeout(message.clone(), Duration::ZERO),
            SendFailure::Timeout,
        ),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.reason(), reason);
        assert!(error.is_timeout());
        assert_eq!(error.into_message(), message);
    }
    let mut req = Req::new();
    req.bind("tcp://127.0.0.1:*").unwrap();
    let error = req.try_send(message.clone()).unwrap_err();
    assert_eq!(error.into_message(), message);
    let mut rep = Rep::new();
    rep.bind("tcp://127.0.0.1:*").unwrap();
    let error = rep.send(message.clone()).unwrap_err();
    assert!(matches!(error.reason(), SendFailure::OutOfTurn { .. }));
    assert_eq!(
        error.to_string(),
        "not this socket's turn to send: a receive, since there is no request to reply to"
    );
    assert_eq!(error.into_message(), message);
    assert_eq!(rep.try_recv(), Err(RecvError::WouldBlock));
    assert!(matches!(req.recv(), Err(RecvError::OutOfTurn { .. })));
    // Nobody is there to be sent to, which is no error of a publisher.
    let mut publisher = Pub::new();
    publisher.bind("tcp://127.0.0.1:*").unwrap();
    publisher.try_send(message).unwrap();
    assert_eq!(publisher.stats().dropped_unmatched, 1);
}

trait Bound {
    fn bound() -> Self;
}

impl Bound for Push {
    fn bound() -> Self {
        Push::builder().bind("tcp://127.0.0.1:*").unwrap()
    }
}
