//! Memory stays bounded, whatever a peer announces, sends, or does not read.

use sinew::{Context, DisconnectReason, Endpoint, HighWaterMark, Message, Pub, Pull, Push, Rep};

use crate::heap::{live, peak_of};
use crate::isolated::isolated;
use crate::raw::{announce, command, frame, greeting, ready, Raw, COMMAND, MORE};
use crate::stage::{PubStage, PullStage, RepStage, Stage, TRANSPORTS};
use crate::WATCHDOG;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[test]
fn what_is_announced_is_not_reserved() {
    isolated("memory::what_is_announced_is_not_reserved", || {
        let mut stage = PullStage::new(TRANSPORTS[0]);
        let before = stage.stats().bytes_received;
        let mut raws: Vec<Raw> = (0..20)
            .map(|_| Raw::shake_hands(stage.endpoint(), "PUSH"))
            .collect();
        let (grown, ()) = peak_of(|| {
            for raw in &mut raws {
                raw.send(&announce(0, 60 << 20));
                raw.send(&[7; 10]);
            }
            let all = before + 20 * (64 + 28 + 9 + 10);
            while stage.stats().bytes_received < all {
                std::thread::yield_now();
            }
            stage.exchange(100);
        });
        println!("20 frames of 60 MiB announced: {} KiB", grown / KIB);
        assert!(grown < 20 * 32 * KIB, "{grown} octets");
        // It grows with what comes, and not far ahead of it.
        let (grown, ()) = peak_of(|| {
            raws[0].send(&vec![7; 4 * MIB]);
            let all = stage.stats().bytes_received;
            while stage.stats().bytes_received < all.max(before + 4 * MIB as u64) {
                std::thread::yield_now();
            }
            stage.exchange(100);
        });
        println!("4 MiB of 60 came: {} KiB", grown / KIB);
        assert!(grown < 16 * MIB, "{grown} octets");
        for raw in raws {
            drop(raw);
            assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
        }
        stage.finish();
    });
}

/// Memory that a good peer's large messages leave for the next ones is not for those who only announce.
#[test]
fn announcements_take_no_memory_from_good_peers() {
    const BAD: usize = 100;
    isolated(
        "memory::announcements_take_no_memory_from_good_peers",
        || {
            let mut stage = PullStage::new(TRANSPORTS[0]);
            let mut push = Push::builder().connect(stage.endpoint()).unwrap();
            let body = vec![7; MIB];
            let mut raws: Vec<Raw> = (0..BAD)
                .map(|_| Raw::shake_hands(stage.endpoint(), "PUSH"))
                .collect();
            let mut good = |count: usize| {
                for _ in 0..count {
                    push.send(&body).unwrap();
                    assert_eq!(stage.pull.recv_timeout(WATCHDOG).unwrap().byte_len(), MIB);
                }
            };
            good(20);
            let (grown, ()) = peak_of(|| {
                for raw in &mut raws {
                    raw.send(&announce(0, MIB as u64));
                    raw.send(&[7; 10]);
                    good(3);
                }
            });
            println!("{BAD} x 1 MiB announced: {} KiB", grown / KIB);
            assert!(grown < BAD * 32 * KIB + 8 * MIB, "{grown} octets");
        },
    );
}

/// Peers that send and are not read, all at once: neither what is counted nor the memory there is exceeds the budget of
/// the context by more than a little for each of them, and a good peer among them goes on.
#[test]
fn unread_peers_keep_within_the_budget_of_a_context() {
    const BUDGET: usize = 2 * MIB;
    const BAD: usize = 8;
    /// A message, a step, and what one read brings with the buffer it is read into.
    const LITTLE: usize = 5 * KIB + BUDGET / 64 + 2 * 64 * KIB;
    isolated(
        "memory::unread_peers_keep_within_the_budget_of_a_context",
        || {
            for at in TRANSPORTS {
                let builder = Context::builder().memory_budget(BUDGET as u64);
                let context = builder.build().unwrap();
                let mut pull = Pull::builder().context(&context).bind(at).unwrap();
                let endpoint = pull.bound_endpoints()[0].clone();
                let mut raws: Vec<(Raw, usize)> = (0..BAD)
                    .map(|_| (Raw::shake_hands(&endpoint, "PUSH"), 0))
                    .collect();
                let octets = frame(0, &[7; 5000]).repeat(100);
                let used = || context.memory_used().unwrap() as usize;
                let (grown, ()) = peak_of(|| {
                    // Until nothing has been taken from anybody for many turns.
                    let mut idle = 0;
                    while used() < BUDGET || idle < 1000 {
                        idle += 1;
                        for (raw, sent) in &mut raws {
                            let taken = raw.send_some(&octets[*sent..]).unwrap();
                            *sent = (*sent + taken) % octets.len();
                            if taken > 0 {
                                idle = 0;
                            }
                        }
                        assert!(used() <= BUDGET + BAD * LITTLE, "{} octets", used());
                    }
                });
                println!(
                    "{at}: {} KiB are counted, {} KiB are held",
                    used() / KIB,
                    grown / KIB
                );
                assert!(grown <= BUDGET + BAD * LITTLE + MIB, "{grown} octets");
                let mut good = Push::builder().connect(&endpoint).unwrap();
                for _ in 0..20 {
                    good.send("good").unwrap();
                }
                let mut came = 0;
                while came < 20 {
                    let message = pull.recv_timeout(WATCHDOG).unwrap();
                    came += usize::from(message.as_bytes() == b"good");
                    assert!(used() <= BUDGET + (BAD + 1) * LITTLE, "{} octets", used());
                }
            }
        },
    );
}

#[test]
fn unfinished_frames_of_every_kind_take_what_has_come() {
    isolated(
        "memory::unfinished_frames_of_every_kind_take_what_has_come",
        || {
            let mut stage = PubStage::new(TRANSPORTS[0]);
            for octets in [
                announce(COMMAND, 65_000),
                announce(0, 65_000),
                announce(0, 60 << 20),
                announce(MORE, 60 << 20),
            ] {
                let mut raws: Vec<Raw> = (0..20)
                    .map(|_| Raw::shake_hands(stage.endpoint(), "SUB"))
                    .collect();
                let all = stage.stats().bytes_received + 20 * octets.len() as u64;
                let (grown, ()) = peak_of(|| {
                    for raw in &mut raws {
                        raw.send(&octets);
                    }
                    while stage.stats().bytes_received < all {
                        std::thread::yield_now();
                    }
                    stage.exchange(10);
                });
                println!("20 headers {octets:02x?}: {} KiB", grown / KIB);
                assert!(grown < 20 * 4 * KIB, "{grown} octets");
                for raw in raws {
                    drop(raw);
                    stage.disconnection();
                }
            }
            stage.finish();
        },
    );
}

/// An octet that begins a frame must not keep a whole receive buffer.
#[test]
fn a_few_octets_keep_little_memory() {
    isolated("memory::a_few_octets_keep_little_memory", || {
        let mut stage = PullStage::new(TRANSPORTS[0]);
        for (start, rest) in [
            (vec![0], frame(0, b"x")[1..].to_vec()),
            (frame(0, &[b'x'; 200])[..150].to_vec(), vec![b'x'; 52]),
            (
                [announce(0, 10_000), vec![b'x'; 1000]].concat(),
                vec![b'x'; 9000],
            ),
        ] {
            let mut raws: Vec<Raw> = (0..200)
                .map(|_| Raw::shake_hands(stage.endpoint(), "PUSH"))
                .collect();
            let all = stage.stats().bytes_received + (200 * start.len()) as u64;
            let (before, ()) = (live(), ());
            for raw in &mut raws {
                raw.send(&start);
            }
            while stage.stats().bytes_received < all {
                std::thread::yield_now();
            }
            stage.exchange(10);
            let grown = live().saturating_sub(before) / 200;
            println!("{} octets: {grown} octets each", start.len());
            assert!(grown < 2 * KIB + start.len(), "{grown} octets each");
            for raw in &mut raws {
                raw.send(&rest);
                let message = stage.other();
                assert!(message.as_bytes().iter().all(|octet| *octet == b'x'));
            }
            for raw in raws {
                drop(raw);
                stage.disconnection();
            }
        }
        stage.finish();
    });
}

/// A connection that does nothing takes at most 4 KiB.
#[test]
fn idle_connections_take_little_memory() {
    isolated("memory::idle_connections_take_little_memory", || {
        for at in TRANSPORTS {
            let mut pull = Pull::new();
            let endpoint = pull.bind(at).unwrap();
            idle("PULL", "PUSH", &endpoint, |count| {
                pull.wait_for_peers(count, WATCHDOG).unwrap();
            });
            let mut rep = Rep::new();
            let endpoint = rep.bind(at).unwrap();
            idle("REP", "REQ", &endpoint, |count| {
                rep.wait_for_peers(count, WATCHDOG).unwrap();
            });
            let mut publisher = Pub::new();
            let endpoint = publisher.bind(at).unwrap();
            idle("PUB", "SUB", &endpoint, |count| {
                publisher.wait_for_peers(count, WATCHDOG).unwrap();
            });
        }

        fn idle(ours: &str, theirs: &str, at: &Endpoint, mut wait_for_peers: impl FnMut(usize)) {
            const FIRST: usize = 20;
            const COUNT: usize = 500;
            let first: Vec<Raw> = (0..FIRST).map(|_| Raw::shake_hands(at, theirs)).collect();
            wait_for_peers(FIRST);
            let before = live();
            let raws: Vec<Raw> = (0..COUNT).map(|_| Raw::shake_hands(at, theirs)).collect();
            wait_for_peers(FIRST + COUNT);
            let each = live().saturating_sub(before) / COUNT;
            println!("{ours} at {at}: {each} octets");
            assert!(each <= 4 * KIB, "{ours} at {at}: {each} octets for each");
            drop((first, raws));
        }
    });
}

/// What traffic took is given back when there is none, but for a block where the last octets were.
#[test]
fn memory_is_given_back_when_traffic_stops() {
    isolated("memory::memory_is_given_back_when_traffic_stops", || {
        for at in TRANSPORTS.into_iter().chain(["inproc://given-back"]) {
            for size in [64, KIB, 20 * KIB, MIB] {
                let mut pull = Pull::builder().bind(at).unwrap();
                let endpoint = pull.bound_endpoints()[0].clone();
                let mut push = Push::builder().connect(&endpoint).unwrap();
                push.wait_for_peers(1, WATCHDOG).unwrap();
                push.send("first").unwrap();
                pull.recv_timeout(WATCHDOG).unwrap();
                let before = live();
                let (most, (mut push, mut pull)) = peak_of(|| {
                    let sender = std::thread::spawn(move || {
                        let payload = vec![7; size];
                        for _ in 0..(64 * MIB / size).min(200_000) {
                            push.send(&payload).unwrap();
                        }
                        push
                    });
                    for _ in 0..(64 * MIB / size).min(200_000) {
                        assert_eq!(pull.recv_timeout(WATCHDOG).unwrap().byte_len(), size);
                    }
                    (sender.join().unwrap(), pull)
                });
                // A receiver that waits in vain leaves reading to the I/O threads; and what they do about
                // memory it does itself for inproc.
                let idle = if at.starts_with("inproc") { 1100 } else { 200 };
                let waited = pull.recv_timeout(std::time::Duration::from_millis(idle));
                assert!(waited.is_err());
                let bound = before + 2 * (64 * KIB + 4 * KIB) + if size > KIB { size } else { 0 };
                let end = std::time::Instant::now() + WATCHDOG;
                while live() > bound {
                    assert!(
                        std::time::Instant::now() < end,
                        "{at}, {size} octets: {} KiB of {} KiB are left",
                        (live() - before) / KIB,
                        most / KIB
                    );
                    std::thread::yield_now();
                }
                println!(
                    "{at}, {size} octets: {} KiB of {} KiB",
                    live().saturating_sub(before) / KIB,
                    most / KIB
                );
                push.send("last").unwrap();
                assert_eq!(pull.recv_timeout(WATCHDOG).unwrap(), Message::from("last"));
            }
        }
    });
}

/// Peers that come, shake hands and go, while the application does not call the socket.
#[test]
fn peers_that_come_and_go_leave_nothing_behind() {
    isolated(
        "memory::peers_that_come_and_go_leave_nothing_behind",
        || {
            let stages: [Box<dyn Stage>; 3] = [
                Box::new(PullStage::new(TRANSPORTS[0])),
                Box::new(PubStage::new(TRANSPORTS[0])),
                Box::new(RepStage::new(TRANSPORTS[0])),
            ];
            for mut stage in stages {
                let mut churn = |count: usize| {
                    for _ in 0..count {
                        drop(Raw::shake_hands(stage.endpoint(), stage.theirs()));
                        stage.disconnection();
                    }
                };
                // Fewer than are refused for coming and going unattended.
                churn(50);
                let (memory, descriptors) = (live(), open_descriptors());
                churn(300);
                let grown = live().saturating_sub(memory) / 300;
                let left = open_descriptors().saturating_sub(descriptors);
                println!(
                    "{}: {grown} octets and {left} descriptors per 300",
                    stage.ours()
                );
                assert!(left < 10, "{left} descriptors are left of 300 connections");
                // A busy socket looks for news every so many messages.
                stage.exchange(300);
                stage.finish();
                assert!(
                    live() < memory + 400 * KIB,
                    "{} octets are left once the application calls the socket",
                    live() - memory
                );
            }
        },
    );
}

/// A REP that never gets to reply: its sending half is not used, and is kept up to date all the same.
#[test]
fn peers_without_requests_leave_nothing_with_a_rep() {
    isolated(
        "memory::peers_without_requests_leave_nothing_with_a_rep",
        || {
            let mut stage = RepStage::new(TRANSPORTS[0]);
            let mut churn = |count: usize| {
                for _ in 0..count {
                    let mut raw = Raw::shake_hands(stage.endpoint(), "REQ");
                    raw.send(&frame(0, b"no request"));
                    drop(raw);
                    stage.disconnection();
                    assert_eq!(stage.rep.try_recv(), Err(sinew::RecvError::WouldBlock));
                }
            };
            churn(50);
            let before = live();
            churn(500);
            let grown = live().saturating_sub(before) / 500;
            println!("REP: {grown} octets per peer");
            assert!(grown < 100, "{grown} octets are left of each peer");
            stage.finish();
        },
    );
}

pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn a_peer_that_never_reads_is_bounded_by_the_high_water_mark() {
    isolated(
        "memory::a_peer_that_never_reads_is_bounded_by_the_high_water_mark",
        || {
            for (hwm, len) in [
                (HighWaterMark::new(100), 10_000),
                (HighWaterMark::unlimited().with_bytes(1 << 20), 100),
                (HighWaterMark::unlimited().with_bytes(1 << 20), 100_000),
            ] {
                let mut push = Push::builder().send_hwm(hwm).build().unwrap();
                let endpoint = push.bind(TRANSPORTS[0]).unwrap();
                let mut raw = Raw::connect(&endpoint);
                raw.send(&[greeting(), ready("PULL")].concat());
                raw.read_handshake();
                push.wait_for_peers(1, WATCHDOG).unwrap();
                let message = vec![1; len];
                let (grown, sent) = peak_of(|| {
                    let mut sent = 0_u64;
                    // Back-pressure: the kernel takes some, the pipe takes the rest.
                    while push
                        .send_timeout(&message[..], std::time::Duration::from_millis(50))
                        .is_ok()
                    {
                        sent += 1;
                    }
                    sent
                });
                println!("PUSH {hwm:?}: {sent} of {len} octets, {} KiB", grown / KIB);
                assert!(grown < 3 * MIB, "{grown} octets");
            }
        },
    );
}

#[test]
fn a_subscriber_that_never_reads_costs_the_others_nothing() {
    isolated(
        "memory::a_subscriber_that_never_reads_costs_the_others_nothing",
        || {
            let mut stage = PubStage::with(TRANSPORTS[0], |b| b.send_hwm(100));
            let mut raw = Raw::shake_hands(stage.endpoint(), "SUB");
            raw.send(&command("SUBSCRIBE", b""));
            stage.publisher.wait_for_subscribers(2, WATCHDOG).unwrap();
            let noise = vec![0; 10_000];
            let (grown, ()) = peak_of(|| {
                for _ in 0..100 {
                    for _ in 0..20 {
                        stage.publisher.send(&noise[..]).unwrap();
                    }
                    stage.exchange(1);
                }
            });
            println!("PUB: {} KiB", grown / KIB);
            assert!(grown < 3 * MIB, "{grown} octets");
            assert!(stage.stats().dropped_full > 500, "{:?}", stage.stats());
            drop(raw);
            stage.disconnection();
            stage.finish();
        },
    );
}

#[test]
fn a_flood_of_pings_that_reads_no_pong_is_bounded() {
    isolated(
        "memory::a_flood_of_pings_that_reads_no_pong_is_bounded",
        || {
            let mut stage = PullStage::new(TRANSPORTS[0]);
            let mut raw = Raw::connect(stage.endpoint());
            raw.send(&[greeting(), ready("PUSH")].concat());
            let pings = command("PING", b"\0\0sixteen octets!!").repeat(1000);
            let (grown, ()) = peak_of(|| {
                for _ in 0..1000 {
                    raw.send(&pings);
                }
                stage.exchange(100);
            });
            println!("1 000 000 PINGs: {} KiB", grown / KIB);
            assert!(grown < 2 * MIB, "{grown} octets");
            drop(raw);
            assert_eq!(stage.disconnection(), DisconnectReason::PeerClosed);
            stage.finish();
        },
    );
}

#[test]
fn a_flood_of_messages_is_bounded_by_the_high_water_mark() {
    isolated(
        "memory::a_flood_of_messages_is_bounded_by_the_high_water_mark",
        || {
            for body in [0, 1, 100, 3000, 20_000] {
                let mut stage = PullStage::with(TRANSPORTS[0], |b| b.recv_hwm(100));
                let mut raw = Raw::shake_hands(stage.endpoint(), "PUSH");
                let messages = frame(0, &vec![b'x'; body]).repeat(64 * KIB / (body + 9) + 1);
                let (grown, sent) = peak_of(|| {
                    let mut sent = 0;
                    let mut refused = 0;
                    while refused < 1000 && sent < 64 * MIB {
                        let n = raw.send_some(&messages[sent % messages.len()..]).unwrap();
                        sent += n;
                        refused = if n == 0 { refused + 1 } else { 0 };
                        if n == 0 {
                            std::thread::yield_now();
                        }
                    }
                    sent
                });
                println!(
                    "{} KiB in messages of {body}: {} KiB",
                    sent / KIB,
                    grown / KIB
                );
                assert!(grown < 3 * MIB + 100 * body, "{grown} octets");
                drop(raw);
                // The good peer has its turn among all of them.
                stage.exchange(10);
            }
        },
    );
}

#[test]
fn subscriptions_have_a_budget() {
    isolated("memory::subscriptions_have_a_budget", || {
        let mut stage = PubStage::new(TRANSPORTS[0]);
        // Cancelling what was never subscribed to, and the same topic again and again.
        let mut raw = Raw::shake_hands(stage.endpoint(), "SUB");
        let (grown, ()) = peak_of(|| {
            for n in 0_u32..1000 {
                let topic = n.to_be_bytes();
                let flood = [
                    command("SUBSCRIBE", &topic),
                    command("CANCEL", &topic),
                    command("CANCEL", &topic),
                    command("SUBSCRIBE", b"same"),
                    frame(0, b"\x01same"),
                    frame(0, b"\x00other"),
                ]
                .concat();
                raw.send(&flood.repeat(10));
            }
            raw.settle();
        });
        println!("60 000 changes: {} KiB", grown / KIB);
        assert!(grown < MIB, "{grown} octets");
        assert_eq!(stage.publisher.subscriber_count("same"), 1);
        drop(raw);
        stage.disconnection();
        // 1024 topics of 64 KiB are the budget of one peer; one more is too many.
        let mut raw = Raw::shake_hands(stage.endpoint(), "SUB");
        let (grown, reason) = peak_of(|| {
            let mut topic = vec![b't'; 64 * KIB];
            for n in 0_u32..1025 {
                topic[..4].copy_from_slice(&n.to_be_bytes());
                if raw.try_send(&command("SUBSCRIBE", &topic)).is_err() {
                    break;
                }
            }
            stage.disconnection()
        });
        println!("64 MiB of topics: {} KiB", grown / KIB);
        assert_eq!(reason, DisconnectReason::SubscriptionLimit);
        assert_eq!(
            reason.to_string(),
            "the peer exceeds the limits on subscriptions of this socket"
        );
        assert!(grown < 80 * MIB, "{grown} octets");
        raw.read_to_end();
        // With the peer goes what it asked to be remembered.
        let after = live();
        stage.finish();
        assert_eq!(stage.publisher.subscriber_count("t"), 0);
        assert!(after < 20 * MIB, "{after} octets");
    });
}
