//! Many hostile peers at once.

use std::time::Duration;

use sinew::{Context, DisconnectReason, Pull, SocketEvent, TimedOut};

use crate::descriptors::raise_limit;
use crate::heap::peak_of;
use crate::isolated::isolated;
use crate::raw::{greeting, Raw};
use crate::stage::{PullStage, Stage, TRANSPORTS};
use crate::WATCHDOG;

const KIB: usize = 1 << 10;

/// A thousand connections that say nothing, and the good peer all the while.
#[test]
fn a_thousand_silent_connections_are_bounded_and_disturb_nobody() {
    isolated(
        "flood::a_thousand_silent_connections_are_bounded_and_disturb_nobody",
        || {
            raise_limit(4096);
            for at in TRANSPORTS {
                let mut stage = PullStage::with(at, |b| b.max_pending_handshakes(200));
                let (grown, raws) = peak_of(|| {
                    let mut raws = Vec::new();
                    for n in 0..1000 {
                        raws.push(Raw::connect(stage.endpoint()));
                        if n % 10 == 0 {
                            stage.exchange(1);
                        }
                    }
                    raws
                });
                let mut accepted = 0;
                let mut refused = 0;
                while accepted + refused < 1000 {
                    match stage.monitor().recv_timeout(WATCHDOG) {
                        Some(SocketEvent::Accepted { .. }) => accepted += 1,
                        Some(SocketEvent::AcceptFailed {
                            reason,
                            retry_in: None,
                            ..
                        }) => {
                            assert_eq!(reason, DisconnectReason::TooManyHandshakes { limit: 200 });
                            refused += 1;
                        }
                        other => panic!("{other:?} after {accepted} and {refused}"),
                    }
                }
                assert_eq!((accepted, refused), (200, 800));
                assert_eq!(stage.stats().accept_failures, 800);
                println!("{at}: {} octets per silent connection", grown / 200);
                assert!(grown < 200 * 8 * KIB, "{grown} octets");
                // A good peer that comes now is refused, and comes again when there is room.
                stage.exchange(10);
                drop(raws);
                for _ in 0..200 {
                    assert_eq!(stage.refusal(), DisconnectReason::PeerClosed);
                }
                let mut late = sinew::Push::new();
                late.connect(stage.endpoint()).unwrap();
                late.send_timeout("late", WATCHDOG).unwrap();
                assert_eq!(stage.other().as_bytes(), b"late");
                drop(late);
                stage.disconnection();
                stage.finish();
            }
        },
    );
}

/// All of them established, with an unfinished handshake each, are given up together.
#[test]
fn many_unfinished_handshakes_end_at_their_deadlines() {
    isolated(
        "flood::many_unfinished_handshakes_end_at_their_deadlines",
        || {
            raise_limit(4096);
            let mut stage = PullStage::with(TRANSPORTS[0], |b| {
                b.handshake_timeout(Duration::from_millis(500))
            });
            let raws: Vec<Raw> = (0..400)
                .map(|_| {
                    let mut raw = Raw::connect(stage.endpoint());
                    let _ = raw.try_send(&greeting());
                    raw
                })
                .collect();
            for _ in &raws {
                assert_eq!(
                    stage.refusal(),
                    DisconnectReason::Protocol(TimedOut::Handshake.into())
                );
                stage.exchange(1);
            }
            for mut raw in raws {
                raw.read_to_end();
            }
            stage.finish();
        },
    );
}

/// What an idle connection costs once its handshake is done.
#[test]
fn idle_connections_are_cheap() {
    isolated("flood::idle_connections_are_cheap", || {
        raise_limit(4096);
        let mut stage = PullStage::new(TRANSPORTS[0]);
        let shake = |count: usize| -> Vec<Raw> {
            (0..count)
                .map(|_| Raw::shake_hands(stage.endpoint(), "PUSH"))
                .collect()
        };
        let first = shake(50);
        let (grown, more) = peak_of(|| shake(500));
        println!("{} octets per idle connection", grown / 500);
        assert!(grown < 500 * 8 * KIB, "{grown} octets");
        for raw in first.into_iter().chain(more) {
            drop(raw);
            stage.disconnection();
        }
        stage.finish();
    });
}

/// The limit on peers is checked when they have shaken hands, and the good one stays.
#[test]
fn peers_above_the_limit_are_refused() {
    for at in TRANSPORTS {
        let mut stage = PullStage::with(at, |b| b.max_connections(3));
        let first = Raw::shake_hands(stage.endpoint(), "PUSH");
        let second = Raw::shake_hands(stage.endpoint(), "PUSH");
        stage.pull.wait_for_peers(3, WATCHDOG).unwrap();
        for _ in 0..20 {
            let mut raw = Raw::connect(stage.endpoint());
            raw.send(&[greeting(), crate::raw::ready("PUSH")].concat());
            assert_eq!(
                stage.refusal(),
                DisconnectReason::TooManyConnections { limit: 3 }
            );
            raw.read_to_end();
        }
        stage.exchange(10);
        drop((first, second));
        stage.disconnection();
        stage.disconnection();
        stage.finish();
    }
}

/// Two I/O threads find at once that handshakes are done: they do not both take the last place.
#[test]
fn peers_that_come_at_once_are_no_more_than_the_limit() {
    const PEERS: usize = 8;
    let context = Context::builder().io_threads(2).build().unwrap();
    let hello = [greeting(), crate::raw::ready("PUSH")].concat();
    let (last, most) = hello.split_last().unwrap();
    for round in 0..100 {
        let limit = 1 + round % 3;
        let pull = Pull::builder().context(&context).max_connections(limit);
        let pull = pull.bind(TRANSPORTS[0]).unwrap();
        let mut monitor = pull.monitor();
        let endpoint = pull.bound_endpoints().remove(0);
        let mut raws: Vec<Raw> = (0..PEERS).map(|_| Raw::connect(&endpoint)).collect();
        for raw in &mut raws {
            raw.send(most);
        }
        for raw in &mut raws {
            raw.read_handshake();
        }
        for raw in &mut raws {
            raw.send(&[*last]);
        }
        let (mut taken, mut refused) = (0, 0);
        while taken + refused < PEERS {
            match monitor.recv_timeout(WATCHDOG).expect("an event") {
                SocketEvent::HandshakeSucceeded { .. } => taken += 1,
                SocketEvent::HandshakeFailed { reason, .. } => {
                    assert_eq!(reason, DisconnectReason::TooManyConnections { limit });
                    refused += 1;
                }
                _ => {}
            }
        }
        assert_eq!(taken, limit as usize);
    }
}
