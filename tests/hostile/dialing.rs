//! Hostile listeners: what a socket that connects meets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use sinew::{
    DisconnectReason, Incompatible, Misbehaved, Monitor, ProtocolError, Push, ReconnectPolicy, Req,
    SocketEvent,
};

use crate::raw::{command, frame, greeting, ready, MORE};
use crate::WATCHDOG;

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(10))
}

fn refusal(monitor: &mut Monitor) -> DisconnectReason {
    let event = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, SocketEvent::HandshakeFailed { .. })
    });
    match event {
        Some(SocketEvent::HandshakeFailed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn accept(listener: &TcpListener, say: &[u8]) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    stream.write_all(say).unwrap();
    stream
}

/// One fault after the other: each is an event, each is tried again, and what was queued all the
/// while reaches the first sound peer.
#[test]
fn a_hostile_listener_is_tried_again_and_costs_no_message() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let mut push = Push::builder().reconnect(quick()).build().unwrap();
    let mut monitor = push.monitor();
    push.connect(endpoint.as_str()).unwrap();
    for n in 0_u8..100 {
        push.send([n]).unwrap();
    }
    type Check = fn(&DisconnectReason) -> bool;
    use DisconnectReason::Protocol as P;
    let faults: [(Vec<u8>, Check); 5] = [
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), |r| {
            matches!(
                r,
                P(ProtocolError::Incompatible(Incompatible::NotZmtp {
                    first: b'S'
                }))
            )
        }),
        (Vec::new(), |r| *r == DisconnectReason::PeerClosed),
        ([greeting(), ready("PUB")].concat(), |r| {
            matches!(
                r,
                P(ProtocolError::Incompatible(Incompatible::SocketType { .. }))
            )
        }),
        ([greeting(), command("SUBSCRIBE", b"")].concat(), |r| {
            matches!(
                r,
                P(ProtocolError::Misbehaved(
                    Misbehaved::CommandDuringHandshake { .. }
                ))
            )
        }),
        (
            [greeting(), command("ERROR", b"\x03300")].concat(),
            |r| matches!(r, P(ProtocolError::Refused(refusal)) if refusal.status() == Some(300)),
        ),
    ];
    for (octets, is_expected) in faults {
        drop(accept(&listener, &octets));
        let reason = refusal(&mut monitor);
        // Closing with input unread resets the connection, which may overtake what was said.
        assert!(
            is_expected(&reason) || reason == DisconnectReason::PeerClosed,
            "{reason:?}"
        );
    }
    drop(listener);
    let mut pull = sinew::Pull::new();
    pull.bind(endpoint.as_str()).unwrap();
    for n in 0_u8..100 {
        let message = pull.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(message.as_bytes(), [n]);
    }
}

/// Refused credentials would be refused again: the endpoint is given up, and says so.
#[test]
fn refused_credentials_end_the_attempts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let mut push = Push::builder().reconnect(quick()).build().unwrap();
    let mut monitor = push.monitor();
    push.connect(endpoint.as_str()).unwrap();
    let mut stream = accept(
        &listener,
        &[greeting(), command("ERROR", b"\x03400")].concat(),
    );
    let reason = refusal(&mut monitor);
    assert!(
        matches!(&reason, DisconnectReason::Protocol(ProtocolError::Refused(refusal))
            if refusal.status() == Some(400)),
        "{reason:?}"
    );
    let event = monitor.recv_timeout(WATCHDOG);
    assert!(
        matches!(event, Some(SocketEvent::Closed { .. })),
        "{event:?}"
    );
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

/// Replies that answer nothing are discarded, and the right one is found among them.
#[test]
fn replies_that_answer_nothing_are_discarded() {
    let mut req = Req::new();
    let endpoint = req.bind("tcp://127.0.0.1:*").unwrap();
    let mut raw = crate::raw::Raw::shake_hands(&endpoint, "REP");
    let unsolicited = [frame(MORE, b""), frame(0, b"unsolicited")].concat();
    for n in 0_u8..20 {
        raw.send(&unsolicited);
        req.send_timeout([n], WATCHDOG).unwrap();
        // An id, the delimiter and the question.
        let mut envelope = Vec::new();
        loop {
            let (flags, body) = raw.read_frame();
            if flags & MORE == 0 {
                assert_eq!(body, [n]);
                break;
            }
            envelope.extend(frame(MORE, &body));
        }
        raw.send(
            &[
                frame(0, b"no envelope"),
                unsolicited.clone(),
                [
                    frame(MORE, b"four"),
                    frame(MORE, b""),
                    frame(0, b"wrong id"),
                ]
                .concat(),
                [&envelope[..], &frame(0, &[n])].concat(),
                // The same once more.
                [&envelope[..], &frame(0, b"again")].concat(),
            ]
            .concat(),
        );
        let reply = req.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(reply.as_bytes(), [n]);
    }
    assert!(req.stats().dropped_unexpected >= 60, "{:?}", req.stats());
    drop(raw);
}
