//! When an endpoint is given up.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use sinew::{Monitor, Pull, Push, ReconnectPolicy, SocketEvent};

use crate::support::{Net, LONG};

fn policy() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(5))
}

fn push(policy: ReconnectPolicy) -> (Push, Monitor) {
    let push = Push::builder().reconnect(policy).build().unwrap();
    let monitor = push.monitor();
    (push, monitor)
}

/// How many more attempts are announced before the endpoint is given up, if it is before `most`.
#[track_caller]
fn retries_until_closed(monitor: &mut Monitor, most: u32) -> Option<u32> {
    let mut retries = 0;
    while retries < most {
        match monitor.recv_timeout(LONG).expect("an event") {
            SocketEvent::ConnectRetried { .. } => retries += 1,
            SocketEvent::Closed { .. } => return Some(retries),
            _ => {}
        }
    }
    None
}

#[test]
fn refused_is_final_if_asked_for() {
    for net in [Net::Tcp4, Net::IpcPath, Net::IpcAbstract] {
        let endpoint = net.unbound();
        let (mut stopping, mut monitor) = push(policy().stop_when_refused());
        stopping.connect(&endpoint).unwrap();
        assert_eq!(
            retries_until_closed(&mut monitor, 10),
            Some(0),
            "{endpoint}"
        );
        // The other stops are about something else.
        let others = policy()
            .stop_on_failed_handshake()
            .stop_on_protocol_error()
            .stop_when_refused_after_disconnect();
        let (mut trying, mut monitor) = push(others);
        trying.connect(&endpoint).unwrap();
        assert_eq!(retries_until_closed(&mut monitor, 5), None, "{endpoint}");
    }
}

#[test]
fn a_connection_that_was_made_is_made_again_until_it_is_refused() {
    let mut pull = Pull::new();
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    let (mut push, mut monitor) = push(policy().stop_when_refused());
    push.connect(&endpoint).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    pull.unbind(&endpoint).unwrap();
    // Lost, tried once more, refused.
    assert_eq!(retries_until_closed(&mut monitor, 10), Some(1));
}

#[test]
fn a_failed_handshake_is_final_if_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    for (policy, expected) in [
        (policy().stop_on_failed_handshake(), Some(0)),
        (policy().stop_on_protocol_error(), None),
    ] {
        let (mut push, mut monitor) = push(policy);
        push.connect(at).unwrap();
        drop(listener.accept().unwrap());
        match expected {
            Some(_) => assert_eq!(retries_until_closed(&mut monitor, 10), expected),
            None => {
                drop(listener.accept().unwrap());
                assert_eq!(retries_until_closed(&mut monitor, 1), None);
            }
        }
    }
    // Silence until the time is over, too.
    let mut push = Push::builder()
        .reconnect(policy().stop_on_failed_handshake())
        .handshake_timeout(Duration::from_millis(10))
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    push.connect(at).unwrap();
    let _silent = listener.accept().unwrap();
    assert_eq!(retries_until_closed(&mut monitor, 10), Some(0));
}

#[test]
fn a_protocol_error_is_final_if_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    for (policy, is_final) in [
        (policy().stop_on_protocol_error(), true),
        (policy().stop_on_failed_handshake(), false),
    ] {
        let (mut push, mut monitor) = push(policy);
        push.connect(at).unwrap();
        let rounds = if is_final { 1 } else { 2 };
        let mut peers = Vec::new();
        for _ in 0..rounds {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").unwrap();
            // Kept: a reset might overtake what was said.
            peers.push(peer);
        }
        match is_final {
            true => assert_eq!(retries_until_closed(&mut monitor, 10), Some(0)),
            false => assert_eq!(retries_until_closed(&mut monitor, 1), None),
        }
    }
}

/// A disconnected endpoint with messages queued is connected to for the linger time, unless that is asked
/// to end with the first refusal.
#[test]
fn refused_after_a_disconnect_is_final_if_asked_for() {
    let endpoint = Net::Tcp4.unbound();
    for (policy, expected) in [
        (policy().stop_when_refused_after_disconnect(), true),
        (policy(), false),
    ] {
        let (mut push, mut monitor) = push(policy);
        push.connect(&endpoint).unwrap();
        push.send("queued").unwrap();
        assert_eq!(retries_until_closed(&mut monitor, 3), None, "not before");
        push.disconnect(&endpoint).unwrap();
        let ended = retries_until_closed(&mut monitor, 10).is_some();
        assert_eq!(ended, expected);
    }
}

#[test]
fn never_is_once() {
    let (mut push, mut monitor) = push(ReconnectPolicy::never());
    push.connect(Net::Tcp4.unbound()).unwrap();
    assert_eq!(retries_until_closed(&mut monitor, 10), Some(0));
}

/// The delays that are announced are those of the policy.
#[test]
fn delays_follow_the_policy() {
    let ms = Duration::from_millis;
    let delays = |policy: ReconnectPolicy, count: usize| {
        let (mut push, mut monitor) = push(policy);
        push.connect(Net::Tcp4.unbound()).unwrap();
        let mut delays = Vec::new();
        while delays.len() < count {
            if let Some(SocketEvent::ConnectRetried { delay, .. }) = monitor.recv_timeout(LONG) {
                delays.push(delay);
            }
        }
        delays
    };
    let exact = ReconnectPolicy::backoff(ms(1), ms(5)).without_jitter();
    assert_eq!(delays(exact, 5), [1, 2, 4, 5, 5].map(ms));
    let constant = delays(ReconnectPolicy::constant(ms(2)), 5);
    assert!(
        constant.iter().all(|delay| (ms(2)..=ms(4)).contains(delay)),
        "{constant:?}"
    );
    let full = delays(ReconnectPolicy::backoff(ms(2), ms(2)), 5);
    assert!(full.iter().all(|delay| *delay <= ms(2)), "{full:?}");
}
