//! Running out of file descriptors.
#![allow(
    unsafe_code,
    reason = "the limit on descriptors is set by a system call"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sinew::{Context, DisconnectReason, SocketEvent};
use socket2::{Domain, Socket, Type};

use crate::isolated::isolated;
use crate::memory::open_descriptors;
use crate::raw::Raw;
use crate::stage::{PullStage, Stage, TRANSPORTS};
use crate::WATCHDOG;

/// Sets this process's limit on descriptors; returns the one before.
fn set_limit(limit: u64) -> u64 {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `now` is a valid rlimit, written and read by these calls only.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut now), 0);
        let before = now.rlim_cur;
        now.rlim_cur = limit.min(now.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &now), 0);
        before
    }
}

/// Makes room for at least so many descriptors, if the system allows it.
pub(crate) fn raise_limit(limit: u64) {
    let before = set_limit(limit);
    if before > limit {
        set_limit(before);
    }
}

/// Time this process has spent on processors.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec, written by this call only.
    unsafe {
        assert_eq!(
            libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time),
            0
        );
    }
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Connections flood a listener until the process has no descriptors left for the next. It says so,
/// waits without spinning, keeps the good peer, and accepts again when there is room.
#[test]
fn a_listener_survives_running_out_of_descriptors() {
    isolated(
        "descriptors::a_listener_survives_running_out_of_descriptors",
        || {
            for at in TRANSPORTS {
                let context = Context::builder().io_threads(1).build().unwrap();
                let mut stage = PullStage::with(at, |b| b.context(&context));
                let before = set_limit(open_descriptors() as u64 + 40);
                // Both ends are in this process: every connection takes one here and one there,
                // until ours cannot be made or theirs cannot be accepted.
                let mut raws = Vec::new();
                let mut failures = 0;
                while let Ok(raw) = Raw::try_connect(stage.endpoint()) {
                    raws.push(raw);
                    assert!(raws.len() < 100, "the limit is not in force");
                }
                let failed = |stage: &mut PullStage| {
                    let event = stage.monitor().wait_for(WATCHDOG, |event| {
                        matches!(event, SocketEvent::AcceptFailed { .. })
                    });
                    let Some(SocketEvent::AcceptFailed {
                        reason, retry_in, ..
                    }) = event
                    else {
                        panic!("{event:?}");
                    };
                    assert!(
                        matches!(&reason, DisconnectReason::Io { message, .. }
                            if message.contains("Too many open files")),
                        "{reason:?}"
                    );
                    retry_in.expect("the listener says when it tries again")
                };
                // It tries again, and again, at the pace it announces.
                let pause = failed(&mut stage);
                assert!(pause >= Duration::from_millis(10), "{pause:?}");
                stage.exchange(100);
                let (begin, cpu) = (Instant::now(), cpu_time());
                while failures < 5 {
                    failed(&mut stage);
                    failures += 1;
                }
                let (elapsed, cpu) = (begin.elapsed(), cpu_time() - cpu);
                println!("{at}: {failures} attempts in {elapsed:?}, {cpu:?} of processor time");
                assert!(elapsed >= pause * 3, "{failures} attempts in {elapsed:?}");
                assert!(
                    cpu < elapsed / 4,
                    "{cpu:?} of processor time in {elapsed:?}"
                );
                // A flood of further attempts does not make it try more often: the pause holds.
                stage.exchange(100);
                drop(raws);
                set_limit(before);
                let mut late = sinew::Push::new();
                late.connect(stage.endpoint()).unwrap();
                late.send_timeout("late", WATCHDOG).unwrap();
                assert_eq!(stage.other().as_bytes(), b"late");
                stage.exchange(100);
                drop(late);
            }
        },
    );
}

/// Connections that come during the pause are not a reason to try earlier.
#[test]
fn a_pause_holds_while_connections_come() {
    isolated("descriptors::a_pause_holds_while_connections_come", || {
        let context = Context::builder().io_threads(1).build().unwrap();
        let mut stage = PullStage::with(TRANSPORTS[0], |b| b.context(&context));
        let text = stage.endpoint().to_string();
        let address: SocketAddr = text.trim_start_matches("tcp://").parse().unwrap();
        // These have their descriptors already, and need only be connected.
        let sockets: Vec<Socket> = (0..300)
            .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
            .collect();
        let before = set_limit(open_descriptors() as u64);
        let mut filling = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            filling.push(file);
        }
        let begin = Instant::now();
        for socket in &sockets {
            socket.connect(&address.into()).unwrap();
            stage.exchange(1);
        }
        let failures = stage.stats().accept_failures;
        let elapsed = begin.elapsed();
        println!("{failures} failures of 300 connections in {elapsed:?}");
        let attempts = elapsed.as_millis() as u64 / 100 + 2;
        assert!(
            (1..=attempts).contains(&failures),
            "{failures} failures in {elapsed:?}"
        );
        drop(filling);
        set_limit(before);
        let mut late = sinew::Push::new();
        late.connect(stage.endpoint()).unwrap();
        late.send_timeout("late", WATCHDOG).unwrap();
        assert_eq!(stage.other().as_bytes(), b"late");
        stage.exchange(100);
    });
}

/// Without any descriptor left, a socket of this process can still use the connections it has.
#[test]
fn connecting_without_descriptors_is_an_event() {
    isolated(
        "descriptors::connecting_without_descriptors_is_an_event",
        || {
            let context = Context::builder().io_threads(1).build().unwrap();
            let mut stage = PullStage::with(TRANSPORTS[0], |b| b.context(&context));
            let mut push = sinew::Push::builder().context(&context).build().unwrap();
            let mut monitor = push.monitor();
            let before = set_limit(open_descriptors() as u64 + 20);
            let mut filling = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                filling.push(file);
            }
            push.connect(stage.endpoint()).unwrap();
            let event = monitor.wait_for(WATCHDOG, |event| {
                matches!(event, SocketEvent::ConnectFailed { .. })
            });
            let Some(SocketEvent::ConnectFailed { reason, .. }) = event else {
                panic!("{event:?}");
            };
            assert!(
                reason.to_string().contains("Too many open files"),
                "{reason}"
            );
            stage.exchange(100);
            drop(filling);
            set_limit(before);
            // It connects once it can.
            push.send_timeout("late", WATCHDOG).unwrap();
            assert_eq!(stage.other().as_bytes(), b"late");
            drop(push);
            stage.disconnection();
            stage.finish();
        },
    );
}
