//! Heartbeats: silence is noticed, back-pressure is not taken for it.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use sinew::{
    Dealer, DisconnectReason, Endpoint, Heartbeat, Initiator, Push, Rep, SocketEvent, TimedOut,
};

use crate::raw::{command, frame, greeting_of, ready, Raw, COMMAND, MORE};
use crate::stage::{every_stage, PullStage, Stage, TRANSPORTS};
use crate::WATCHDOG;

const INTERVAL: Duration = Duration::from_millis(50);

fn short() -> Heartbeat {
    Heartbeat::every(INTERVAL).timeout(Duration::from_millis(100))
}

/// For peers that are alive, however late a busy machine lets them answer.
fn patient() -> Heartbeat {
    Heartbeat::every(INTERVAL).timeout(Duration::from_millis(500))
}

/// Waits until a raw peer has seen so many heartbeats, answering each: that long has passed.
fn beats(clock: &mut Raw, count: usize) {
    let mut seen = 0;
    while seen < count {
        let (flags, body) = clock.read_frame();
        if flags == COMMAND && body.starts_with(b"\x04PING") {
            clock.send(&command("PONG", &body[7..]));
            seen += 1;
        }
    }
}

#[test]
fn a_silent_peer_is_given_up() {
    for at in TRANSPORTS {
        let mut stage = PullStage::with(at, |b| b.heartbeat(short()));
        let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
        assert_eq!(raw.read_frame(), (COMMAND, b"\x04PING\0\0".to_vec()));
        let reason = stage.disconnection();
        assert_eq!(
            reason,
            DisconnectReason::Protocol(TimedOut::Heartbeat.into())
        );
        assert_eq!(
            reason.to_string(),
            "the peer was silent for longer than the heartbeat allows"
        );
        raw.read_to_end();
        stage.finish();
    }
}

/// A time-out of zero is none: a peer is pinged, and may be silent for as long as it likes.
#[test]
fn silence_is_suffered_for_ever_if_asked_for() {
    let heartbeat = Heartbeat::every(Duration::from_millis(5)).timeout(Duration::ZERO);
    let mut stage = PullStage::with(TRANSPORTS[0], |b| b.heartbeat(heartbeat));
    let mut silent = Raw::shake_hands(stage.endpoint(), "PUSH");
    // By default three intervals would be too many.
    for _ in 0..20 {
        assert_eq!(silent.read_frame(), (COMMAND, b"\x04PING\0\0".to_vec()));
    }
    silent.send(&frame(0, b"at last"));
    assert_eq!(stage.other().as_bytes(), b"at last");
    drop(silent);
    assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
    stage.finish();
}

/// Any octet of traffic is a sign of life, not only a PONG; a 3.0 peer is not probed.
#[test]
fn a_peer_that_says_anything_is_alive() {
    let mut stage = PullStage::with(TRANSPORTS[0], |b| b.heartbeat(patient()));
    let mut lively = Raw::shake_hands(stage.endpoint(), "PUSH");
    let mut old = Raw::connect(stage.endpoint());
    old.send(&[greeting_of(3, 0, "NULL"), ready("PUSH")].concat());
    old.read_handshake();
    // Longer than silence would be suffered.
    for _ in 0..15 {
        assert_eq!(lively.read_frame().0, COMMAND);
        lively.send(&frame(0, b"alive"));
        assert_eq!(stage.other().as_bytes(), b"alive");
    }
    drop(lively);
    assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
    // It was silent all the while, and is still there.
    old.send(&frame(0, b"old"));
    assert_eq!(stage.other().as_bytes(), b"old");
    drop(old);
    assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
    stage.finish();
}

/// The peer's own time to live, without heartbeats on our side.
#[test]
fn a_peer_that_outlives_its_own_promise_is_given_up() {
    for mut stage in every_stage() {
        let mut raw = Raw::shake_hands(stage.endpoint(), stage.theirs());
        raw.send(&command("PING", b"\0\x01ctx"));
        assert_eq!(raw.read_frame(), (COMMAND, b"\x04PONGctx".to_vec()));
        assert_eq!(
            stage.disconnection(),
            DisconnectReason::Protocol(TimedOut::Heartbeat.into())
        );
        raw.read_to_end();
        stage.finish();
    }
}

/// A PULL whose application does not receive, and senders that have filled every queue: the
/// connections live on for many intervals, whichever side probes.
#[test]
fn a_paused_reader_keeps_its_connections() {
    for at in TRANSPORTS {
        let mut pull = sinew::Pull::builder()
            .recv_hwm(2)
            .heartbeat(patient())
            .build()
            .unwrap();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind(at).unwrap();
        let mut push = Push::builder()
            .send_hwm(2)
            .heartbeat(patient())
            .build()
            .unwrap();
        let mut push_monitor = push.monitor();
        push.connect(&endpoint).unwrap();
        let context = zmq::Context::new();
        let libzmq = context.socket(zmq::PUSH).unwrap();
        libzmq.set_sndhwm(2).unwrap();
        libzmq.set_linger(0).unwrap();
        libzmq.set_heartbeat_ivl(50).unwrap();
        libzmq.set_heartbeat_timeout(500).unwrap();
        libzmq.set_heartbeat_ttl(1000).unwrap();
        libzmq.connect(&endpoint.to_string()).unwrap();
        pull.wait_for_peers(2, WATCHDOG).unwrap();
        // This one tells how time passes.
        let mut clock = Raw::shake_hands(&endpoint, "PUSH");
        let body = vec![7; 100_000];
        let mut sent = 0;
        let mut sent_by_libzmq = 0;
        let mut quiet = 0;
        while quiet < 5 {
            let before = sent + sent_by_libzmq;
            while push.try_send(&body[..]).is_ok() {
                sent += 1;
            }
            while libzmq.send(&body[..], zmq::DONTWAIT).is_ok() {
                sent_by_libzmq += 1;
            }
            quiet = if sent + sent_by_libzmq == before {
                quiet + 1
            } else {
                0
            };
            beats(&mut clock, 1);
        }
        // Twice as long as any of them waits for a sign of life.
        beats(&mut clock, 20);
        // Everybody is still there, and nothing is lost.
        for n in 0..sent + sent_by_libzmq {
            let message = pull
                .recv_timeout(WATCHDOG)
                .unwrap_or_else(|error| panic!("{n} of {sent} and {sent_by_libzmq}: {error}"));
            assert_eq!(message.byte_len(), body.len());
        }
        assert_eq!(pull.stats().peers, 3);
        for monitor in [&mut monitor, &mut push_monitor] {
            while let Some(event) = monitor.try_recv() {
                assert!(
                    !matches!(event, SocketEvent::Disconnected { .. }),
                    "{event:?}"
                );
            }
        }
        assert!(sent > 0 && sent_by_libzmq > 0, "{sent} {sent_by_libzmq}");
        libzmq.send("after", 0).unwrap();
        assert_eq!(pull.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"after");
        push.send_timeout("after", WATCHDOG).unwrap();
        assert_eq!(pull.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"after");
    }
}

/// A sender whose peer reads slowly, but reads: no PONG can come while a large write is under way.
#[test]
fn a_reader_that_stops_for_good_is_noticed_by_the_sender() {
    let mut push = Push::builder()
        .send_hwm(2)
        .heartbeat(short())
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    let endpoint = push.bind(TRANSPORTS[0]).unwrap();
    let raw = Raw::shake_hands(&endpoint, "PULL");
    push.wait_for_peers(1, WATCHDOG).unwrap();
    let body = vec![7; 10_000_000];
    while push.try_send(&body[..]).is_ok() {}
    let event = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, SocketEvent::Disconnected { .. })
    });
    let Some(SocketEvent::Disconnected {
        initiator, reason, ..
    }) = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(initiator, Initiator::Network);
    assert_eq!(
        reason,
        DisconnectReason::Protocol(TimedOut::Heartbeat.into())
    );
    drop(raw);
}

/// A receiver that reads by itself and then does something else for longer than silence is suffered: what its peer
/// sent meanwhile waits in the kernel, and is looked at before the peer is judged.
#[test]
fn a_caller_that_is_slow_to_read_does_not_make_its_peer_silent() {
    /// One heartbeat; whether the connection is still there.
    fn beat(raw: &mut Raw) -> bool {
        let mut ping = [0; 9];
        let mut read = 0;
        while read < ping.len() {
            match raw.read(&mut ping[read..]) {
                Ok(count) if count > 0 => read += count,
                _ => return false,
            }
        }
        assert_eq!(ping, *b"\x04\x07\x04PING\0\0");
        let pong = command("PONG", b"");
        raw.send_some(&pong).is_ok_and(|sent| sent == pong.len())
    }
    /// Whether the peer lives on. A machine that is too busy for this makes it silent indeed.
    fn lives(interval: Duration, suffered: Duration) -> bool {
        let heartbeat = Heartbeat::every(interval).timeout(suffered);
        let mut stage = PullStage::with(TRANSPORTS[0], |b| b.heartbeat(heartbeat));
        let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
        let (mut before, mut silent) = (Instant::now(), Duration::ZERO);
        let lives = (0..70).all(|round| {
            if round < 50 {
                // It waits, so reading is its own.
                let _ = stage.pull.recv_timeout(interval * 4 / 5);
            }
            let lives = beat(&mut raw);
            silent = silent.max(before.elapsed());
            before = Instant::now();
            lives
        });
        if lives {
            raw.send(&frame(0, b"alive"));
            assert_eq!(stage.other().as_bytes(), b"alive");
        }
        let excused = silent >= suffered * 3 / 4;
        assert!(lives || excused, "it was silent for {silent:?} at most");
        lives
    }
    let lives = |interval, suffered| {
        let times = [interval, suffered].map(Duration::from_millis);
        lives(times[0], times[1])
    };
    let in_time = (0..20).any(|_| lives(5, 40));
    assert!(in_time, "the machine is too busy for this");
    // Less than it takes an I/O thread to notice that the caller has gone away, and than many a machine can promise.
    for _ in 0..20 {
        lives(1, 4);
    }
}

/// Who answers requests reads them by itself, and reads nothing while it works on one: a peer with short heartbeats does
/// not take it for dead.
#[test]
fn a_ping_is_answered_while_the_application_works() {
    /// Far longer than it takes, and less than it took when those who came back were looked for ever less often.
    const PATIENCE: Duration = Duration::from_millis(30);
    fn check<S>(
        (mut socket, at): (S, Endpoint),
        theirs: &str,
        envelope: &[u8],
        mut serve: impl FnMut(&mut S),
    ) {
        let mut raw = Raw::shake_hands(&at, theirs);
        let request = [envelope, &frame(0, b"request")[..]].concat();
        // Once in time is enough: a busy machine may be late.
        let in_time = (0..50).any(|_| {
            let served = Instant::now();
            while served.elapsed() < Duration::from_millis(200) {
                raw.send(&request);
                serve(&mut socket);
                assert_eq!(raw.read_octets(request.len()), request);
            }
            raw.send(&command("PING", b"\0\0work"));
            let asked = Instant::now();
            assert_eq!(raw.read_frame(), (COMMAND, b"\x04PONGwork".to_vec()));
            asked.elapsed() < PATIENCE
        });
        assert!(in_time, "{at}: never within {PATIENCE:?}");
    }
    let envelope = frame(MORE, b"");
    for at in TRANSPORTS {
        check(Rep::builder().bound(at).unwrap(), "REQ", &envelope, |rep| {
            let request = rep.recv().unwrap();
            rep.send(request).unwrap();
        });
        check(Rep::builder().bound(at).unwrap(), "REQ", &envelope, |rep| {
            block_on(async {
                let request = rep.recv_async().await.unwrap();
                rep.send_async(request).await.unwrap();
            });
        });
        check(Dealer::builder().bound(at).unwrap(), "DEALER", b"", |it| {
            let request = it.recv().unwrap();
            it.send(request).unwrap();
        });
        check(Dealer::builder().bound(at).unwrap(), "DEALER", b"", |it| {
            block_on(async {
                let request = it.recv_async().await.unwrap();
                it.send_async(request).await.unwrap();
            });
        });
    }
}
