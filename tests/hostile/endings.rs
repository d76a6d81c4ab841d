//! Ends of connections, whenever they come: each is noticed, and what came before it is delivered.

use sinew::{DisconnectReason, Heartbeat};

use crate::raw::{announce, command, frame, greeting, ready, Raw, MORE};
use crate::stage::{every_stage, PullStage, Stage, TRANSPORTS};
use crate::WATCHDOG;

/// Silent peers, so many that the socket leaves all reading to its I/O threads.
fn company(stage: &PullStage) -> Vec<Raw> {
    (0..5)
        .map(|_| Raw::shake_hands(stage.endpoint(), "PUSH"))
        .collect()
}

/// The end may be seen together with octets that take several turns to read; it must not be
/// forgotten over them. Heartbeats are off, so nothing else would notice.
#[test]
fn an_end_together_with_much_traffic_is_noticed() {
    let mut stage = PullStage::with(TRANSPORTS[0], |b| b.heartbeat(Heartbeat::off()));
    let company = company(&stage);
    let messages: Vec<u8> = (0..200).flat_map(|_| frame(0, &[1; 1000])).collect();
    let all = [greeting(), ready("PUSH"), messages].concat();
    for _ in 0..100 {
        let mut raw = Raw::connect(stage.endpoint());
        raw.read_octets(64);
        raw.send(&all);
        raw.shut_write();
        assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
        for _ in 0..200 {
            assert_eq!(stage.other().byte_len(), 1000);
        }
    }
    for raw in company {
        drop(raw);
        stage.disconnection();
    }
    stage.finish();
}

/// The same behind a full pipe: the end comes while nobody reads.
#[test]
fn an_end_behind_a_full_pipe_is_noticed() {
    const LEN: usize = 1000;
    let mut stage = PullStage::with(TRANSPORTS[0], |b| {
        b.heartbeat(Heartbeat::off())
            .recv_hwm(2000)
            .kernel_recv_buffer(4 << 20)
    });
    let company = company(&stage);
    let many = frame(0, &[1; LEN]).repeat(8000);
    for round in 0..10 {
        let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
        // Nobody receives: what fits into the pipe and the kernel's buffers is what fits.
        let mut sent = 0;
        while sent < many.len() {
            match raw.send_some(&many[sent..]).unwrap() {
                0 => break,
                n => sent += n,
            }
        }
        raw.shut_write();
        for n in 0..sent / (LEN + 9) {
            assert_eq!(stage.other().byte_len(), LEN, "{n} in round {round}");
        }
        assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
    }
    for raw in company {
        drop(raw);
        stage.disconnection();
    }
    stage.finish();
}

#[test]
fn a_reset_in_any_phase_is_a_peer_that_closed() {
    for mut stage in every_stage() {
        if stage.endpoint().to_string().starts_with("ipc") {
            continue;
        }
        let ours = stage.ours();
        for (phase, octets) in [
            ("between messages", Vec::new()),
            ("in a header", vec![2, 0, 0]),
            ("in a small message", announce(0, 100)),
            (
                "in a large message",
                [announce(0, 1 << 20), vec![b'x'; 70_000]].concat(),
            ),
            ("between frames", frame(MORE, b"x")),
            (
                "in a command",
                command("SUBSCRIBE", b"good and more")[..9].to_vec(),
            ),
            ("after a PING", command("PING", b"\0\x01")),
        ] {
            let mut raw = Raw::shake_hands(stage.endpoint(), stage.theirs());
            raw.send(&octets);
            raw.reset();
            assert_eq!(
                stage.disconnection(),
                DisconnectReason::PeerClosed,
                "{phase} with {ours}"
            );
            stage.exchange(1);
        }
        stage.finish();
    }
}

/// A sender that is reset in the middle of a write to it.
#[test]
fn a_reader_that_is_reset_in_the_middle_loses_only_what_was_its_own() {
    let mut push = sinew::Push::builder().send_hwm(10).build().unwrap();
    let mut monitor = push.monitor();
    let endpoint = push.bind(TRANSPORTS[0]).unwrap();
    let mut raw = Raw::connect(&endpoint).with_small_buffers();
    raw.send(&[greeting(), ready("PULL")].concat());
    raw.read_handshake();
    push.wait_for_peers(1, WATCHDOG).unwrap();
    let mut sent = 0_u32;
    let message = |n: u32| [&n.to_be_bytes()[..], &[0; 100_000]].concat();
    while push.try_send(message(sent)).is_ok() {
        sent += 1;
    }
    raw.reset();
    let event = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, sinew::SocketEvent::Disconnected { .. })
    });
    assert!(event.is_some());
    // A good peer gets everything that was still queued here, in order, and then the rest.
    let mut pull = sinew::Pull::new();
    pull.connect(&endpoint).unwrap();
    push.wait_for_peers(1, WATCHDOG).unwrap();
    push.send_timeout(message(sent), WATCHDOG).unwrap();
    let mut last = None;
    while last != Some(sent) {
        let received = pull.recv_timeout(WATCHDOG).unwrap();
        let number = u32::from_be_bytes(received.as_bytes()[..4].try_into().unwrap());
        assert!(
            last.map_or(true, |last| number == last + 1),
            "{last:?} {number}"
        );
        last = Some(number);
    }
}
