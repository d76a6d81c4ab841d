//! Hostile listeners: what a socket that connects meets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use sinew::{
    DisconnectReason, Incompatible, Message, Misbehaved, Monitor, ProtocolError, Pull, Push,
    ReconnectPolicy, RecvError, Req, SocketEvent,
};

use crate::raw::{command, frame, greeting, ready, Raw, MORE};
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
    let mut raw = Raw::shake_hands(&endpoint, "REP");
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
    assert!(req.stats().dropped_unexpected >= 40, "{:?}", req.stats());
    drop(raw);
}

/// What is no reply to anything ends its connection, whether or not its sender has the request; the reply of
/// another is not disturbed.
#[test]
fn what_is_no_reply_ends_its_connection() {
    let faults: [Vec<u8>; 6] = [
        frame(0, b"no delimiter"),
        frame(0, b""),
        [frame(MORE, b"id"), frame(MORE, b""), frame(0, b"x")].concat(),
        [frame(MORE, b"five!"), frame(MORE, b""), frame(0, b"x")].concat(),
        [frame(MORE, b"four"), frame(0, b"")].concat(),
        [frame(MORE, b"four"), frame(MORE, b"x"), frame(0, b"")].concat(),
    ];
    for correlated in [true, false] {
        for fault in &faults {
            let mut req = Req::builder().correlated(correlated).build().unwrap();
            let mut monitor = req.monitor();
            let endpoint = req.bind("tcp://127.0.0.1:*").unwrap();
            let mut bad = Raw::shake_hands(&endpoint, "REP");
            req.send_timeout("question", WATCHDOG).unwrap();
            bad.read_frame();
            let mut good = Raw::shake_hands(&endpoint, "REP");
            req.wait_for_peers(2, WATCHDOG).unwrap();
            bad.send(fault);
            let lost = req.recv_timeout(WATCHDOG);
            assert_eq!(lost, Err(RecvError::PeerLost), "{fault:?}");
            assert_eq!(req.stats().dropped_unexpected, 1, "{fault:?}");
            let event = monitor.wait_for(WATCHDOG, |event| {
                matches!(event, SocketEvent::Disconnected { .. })
            });
            let Some(SocketEvent::Disconnected { reason, .. }) = event else {
                panic!("{event:?}");
            };
            assert_eq!(
                reason,
                DisconnectReason::Protocol(Misbehaved::NoReply.into()),
                "{fault:?}"
            );
            bad.read_to_end();
            // The other one is asked next.
            req.send_timeout("question", WATCHDOG).unwrap();
            let mut envelope = Vec::new();
            loop {
                let (flags, body) = good.read_frame();
                if flags & MORE == 0 {
                    break;
                }
                envelope.extend(frame(MORE, &body));
            }
            good.send(&[envelope, frame(0, b"answer")].concat());
            assert_eq!(req.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"answer");
        }
    }
}

/// Of a REQ that connects, it ends the endpoint if that is asked for, as in other implementations; otherwise it
/// is connected to again.
#[test]
fn what_is_no_reply_is_final_if_asked_for() {
    for is_final in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let policy = match is_final {
            true => quick().stop_on_protocol_error(),
            false => quick(),
        };
        let mut req = Req::builder().reconnect(policy).build().unwrap();
        let mut monitor = req.monitor();
        req.connect(listener.local_addr().unwrap()).unwrap();
        let mut stream = accept(&listener, &[greeting(), ready("REP")].concat());
        req.send_timeout("question", WATCHDOG).unwrap();
        // A request that has not left would wait for the next connection.
        let mut heard = Vec::new();
        while !heard.ends_with(b"question") {
            let mut octet = [0];
            stream.read_exact(&mut octet).unwrap();
            heard.extend(octet);
        }
        stream.write_all(&frame(0, b"no reply")).unwrap();
        assert_eq!(req.recv_timeout(WATCHDOG), Err(RecvError::PeerLost));
        let after = monitor.wait_for(WATCHDOG, |event| {
            matches!(
                event,
                SocketEvent::Closed { .. } | SocketEvent::ConnectRetried { .. }
            )
        });
        let closed = matches!(after, Some(SocketEvent::Closed { .. }));
        assert_eq!(closed, is_final, "{after:?}");
    }
}

/// A connection that ends in the middle of a message takes its beginning along, also if that came with the end of
/// another message.
#[test]
fn the_beginning_of_a_message_does_not_pass_to_the_next_connection() {
    // Short frames are copied into the pipe, long runs of them go there by reference.
    for size in [1, 3000] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut pull = Pull::builder()
            .reconnect(quick())
            .connect(listener.local_addr().unwrap())
            .unwrap();
        let handshake = [greeting(), ready("PUSH")].concat();
        for n in 0..3 {
            let body = vec![n; size];
            let octets = [&handshake[..], &frame(0, &body), &frame(MORE, &body)].concat();
            let peer = accept(&listener, &octets);
            assert_eq!(pull.recv_timeout(WATCHDOG).unwrap(), Message::from(body));
            drop(peer);
        }
        let last = [&handshake[..], &frame(0, b"last")].concat();
        let peer = accept(&listener, &last);
        assert_eq!(pull.recv_timeout(WATCHDOG).unwrap(), Message::from("last"));
        drop(peer);
    }
}
