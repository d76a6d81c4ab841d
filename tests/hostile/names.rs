//! A ROUTER among peers whose names are wrong, taken, or too many; and ten thousand that come and go.

use std::collections::HashSet;

use sinew::{
    Context, Dealer, DisconnectReason, Endpoint, Message, Monitor, ReconnectPolicy, RecvError, Rep,
    Router, RoutingId, SocketEvent,
};

use crate::heap::live;
use crate::isolated::isolated;
use crate::memory::open_descriptors;
use crate::raw::{command, frame, greeting, property, Raw, MORE};
use crate::stage::TRANSPORTS;
use crate::WATCHDOG;

const KIB: usize = 1024;

/// A ROUTER that a good DEALER talks to.
struct RouterStage {
    router: Router,
    dealer: Dealer,
    endpoint: Endpoint,
    monitor: Monitor,
}

impl RouterStage {
    fn new(at: &str) -> Self {
        let mut router = Router::new();
        let endpoint = router.bind(at).unwrap();
        let dealer = Dealer::builder()
            .routing_id(RoutingId::new("good").unwrap())
            .connect(&endpoint)
            .unwrap();
        let mut stage = RouterStage {
            monitor: router.monitor(),
            router,
            dealer,
            endpoint,
        };
        stage.exchange();
        stage
    }

    fn exchange(&mut self) {
        for n in 0..10u32 {
            self.dealer.send_timeout(n.to_be_bytes(), WATCHDOG).unwrap();
            let (from, message) = self.router.recv_from_timeout(WATCHDOG).unwrap();
            assert_eq!(from.as_bytes(), b"good");
            assert_eq!(message.as_bytes(), n.to_be_bytes());
            self.router
                .send_to_timeout(&from, message, WATCHDOG)
                .unwrap();
            let back = self.dealer.recv_timeout(WATCHDOG).unwrap();
            assert_eq!(back.as_bytes(), n.to_be_bytes());
        }
    }

    fn refusal(&mut self) -> DisconnectReason {
        let event = self.monitor.wait_for(WATCHDOG, |event| {
            matches!(event, SocketEvent::HandshakeFailed { .. })
        });
        match event {
            Some(SocketEvent::HandshakeFailed { reason, .. }) => reason,
            other => panic!("nobody was refused: {other:?}"),
        }
    }

    /// The name of the next peer that is lost.
    fn loss(&mut self) -> Option<RoutingId> {
        let event = self.monitor.wait_for(WATCHDOG, |event| {
            matches!(event, SocketEvent::Disconnected { .. })
        });
        match event {
            Some(SocketEvent::Disconnected { routing_id, .. }) => routing_id,
            other => panic!("nobody was lost: {other:?}"),
        }
    }
}

fn ready(identity: &[u8]) -> Vec<u8> {
    let properties = [
        property("Socket-Type", b"DEALER"),
        property("Identity", identity),
    ];
    [greeting(), command("READY", &properties.concat())].concat()
}

#[test]
fn a_name_that_cannot_be_one_is_refused() {
    for at in TRANSPORTS {
        let mut stage = RouterStage::new(at);
        for (identity, text) in [
            (
                vec![b'x'; 256],
                "the peer's Identity has 256 octets, at most 255 are allowed",
            ),
            (
                b"\0\x01\x02\x03\x04".to_vec(),
                "the peer's Identity starts with a zero octet",
            ),
        ] {
            let mut raw = Raw::connect(&stage.endpoint);
            raw.send(&ready(&identity));
            assert_eq!(stage.refusal().to_string(), text);
            raw.read_to_end();
        }
        // The longest that can be one is.
        let mut raw = Raw::connect(&stage.endpoint);
        raw.send(&[ready(&[b'x'; 255]), frame(0, b"hello")].concat());
        let (from, _) = stage.router.recv_from_timeout(WATCHDOG).unwrap();
        assert_eq!(from.as_bytes(), [b'x'; 255]);
        drop(raw);
        assert_eq!(stage.loss(), Some(from));
        stage.exchange();
    }
}

/// Whoever announces the good peer's name is refused, however often, and leaves nothing; neither does
/// the application have to call anything for that.
#[test]
fn a_flood_of_taken_names_disturbs_nobody_and_leaves_nothing() {
    isolated(
        "names::a_flood_of_taken_names_disturbs_nobody_and_leaves_nothing",
        || {
            let mut stage = RouterStage::new(TRANSPORTS[0]);
            let mut flood = |count: usize| {
                for _ in 0..count {
                    let mut raw = Raw::connect(&stage.endpoint);
                    // Frames that follow name nobody.
                    let lies = [frame(MORE, b"good"), frame(0, b"lies")].concat();
                    let _ = raw.try_send(&[ready(b"good"), lies].concat());
                    let reason = stage.refusal();
                    let routing_id = RoutingId::new("good").unwrap();
                    assert_eq!(reason, DisconnectReason::DuplicateRoutingId { routing_id });
                }
            };
            flood(100);
            let before = live();
            flood(2000);
            let grown = live().saturating_sub(before);
            println!("{grown} octets of 2000 that were refused");
            assert!(grown < 64 * KIB, "{grown} octets are left");
            stage.exchange();
            assert_eq!(stage.router.try_recv(), Err(RecvError::WouldBlock));
        },
    );
}

/// New names all the time, and no use made of the socket but to send.
#[test]
fn a_flood_of_names_leaves_nothing() {
    isolated("names::a_flood_of_names_leaves_nothing", || {
        let mut stage = RouterStage::new(TRANSPORTS[0]);
        let mut flood = |from: u32, count: u32| {
            for n in from..from + count {
                let name = [&[b'n'; 250][..], &n.to_be_bytes()].concat();
                let mut raw = Raw::connect(&stage.endpoint);
                raw.send(&ready(&name));
                raw.read_handshake();
                drop(raw);
                let lost = stage.loss().expect("a name");
                assert_eq!(lost.as_bytes(), name);
                assert!(stage.router.try_send_to(&lost, "x").is_err());
            }
        };
        flood(0, 200);
        let before = live();
        flood(200, 2000);
        let grown = live().saturating_sub(before);
        println!("{grown} octets of 2000 that came and went");
        assert!(grown < 64 * KIB, "{grown} octets are left");
        stage.exchange();
    });
}

#[test]
fn a_message_without_a_delimiter_is_no_request() {
    for at in TRANSPORTS {
        let mut rep = Rep::builder().bind(at).unwrap();
        let mut raw = Raw::shake_hands(&rep.bound_endpoints()[0], "DEALER");
        let long = frame(MORE, b"x").repeat(1000);
        raw.send(&frame(0, b"no envelope"));
        raw.send(&[frame(MORE, b"a"), frame(MORE, b"b"), frame(0, b"c")].concat());
        raw.send(&[long, frame(0, b"")].concat());
        raw.send(&[frame(MORE, b"way"), frame(0, b"")].concat());
        raw.send(&[frame(MORE, b"way"), frame(MORE, b""), frame(0, b"body")].concat());
        assert_eq!(rep.recv_timeout(WATCHDOG).unwrap().as_bytes(), b"body");
        assert_eq!(rep.stats().dropped_unexpected, 4);
        rep.send("reply").unwrap();
        assert_eq!(raw.read_frame(), (MORE, b"way".to_vec()));
        assert_eq!(raw.read_frame(), (MORE, Vec::new()));
        assert_eq!(raw.read_frame(), (0, b"reply".to_vec()));
    }
}

/// In waves, as many at a time as there are descriptors for. Every other one announces a name.
#[test]
fn ten_thousand_dealers_come_and_go() {
    isolated("names::ten_thousand_dealers_come_and_go", || {
        const WAVE: usize = 250;
        const WAVES: usize = 40;
        crate::descriptors::raise_limit(2048);
        let context = Context::builder().io_threads(2).build().unwrap();
        let mut router = Router::builder()
            .context(&context)
            .bind(TRANSPORTS[0])
            .unwrap();
        let endpoint = router.bound_endpoints()[0].clone();
        let mut monitor = router.monitor();
        // Of a size that does not change.
        let mut automatic = HashSet::with_capacity(WAVE * WAVES);
        let idle = open_descriptors();
        let mut memory = 0;
        for wave in 0..WAVES {
            let mut dealers: Vec<Dealer> = (0..WAVE)
                .map(|n| {
                    let mut builder = Dealer::builder()
                        .context(&context)
                        .reconnect(ReconnectPolicy::never());
                    if n % 2 == 0 {
                        builder = builder.routing_id(RoutingId::new(name(wave, n)).unwrap());
                    }
                    let mut dealer = builder.connect(&endpoint).unwrap();
                    dealer.send_timeout(name(wave, n), WATCHDOG).unwrap();
                    dealer
                })
                .collect();
            let mut expected = HashSet::new();
            for _ in 0..WAVE {
                let (from, message) = router.recv_from_timeout(WATCHDOG).unwrap();
                if from.is_automatic() {
                    let octets: [u8; 5] = from.as_bytes().try_into().unwrap();
                    assert!(automatic.insert(octets), "{from:?} twice");
                } else {
                    assert_eq!(from.as_bytes(), message.as_bytes());
                }
                router.send_to_timeout(&from, message, WATCHDOG).unwrap();
                assert!(expected.insert(from));
            }
            for (n, dealer) in dealers.iter_mut().enumerate() {
                let message = dealer.recv_timeout(WATCHDOG).unwrap();
                assert_eq!(message, Message::from(name(wave, n)), "somebody else's");
                assert_eq!(dealer.try_recv(), Err(RecvError::WouldBlock));
            }
            // Some say what they have to say and go; the others are just gone.
            for (n, dealer) in dealers.into_iter().enumerate() {
                match n % 3 {
                    0 => assert_eq!(dealer.close().unsent, 0),
                    _ => drop(dealer),
                }
            }
            let all = expected.clone();
            while !expected.is_empty() {
                let event = monitor.recv_timeout(WATCHDOG).expect("a departure");
                if let SocketEvent::Disconnected { routing_id, .. } = event {
                    let gone = routing_id.expect("a name");
                    assert!(expected.remove(&gone), "{gone:?} is not one of them");
                }
            }
            assert_eq!(monitor.missed(), 0);
            for gone in all {
                assert!(!router.is_connected(&gone));
                assert!(router.try_send_to(&gone, "x").is_err());
            }
            assert_eq!(router.try_recv(), Err(RecvError::WouldBlock));
            assert_eq!(router.stats().peers, 0);
            // Their own ends are closed by I/O threads. A few more than before any wave are those of polls.
            settled("descriptors", || open_descriptors() < idle + 10);
            // The first few fill lists and pools that are used again.
            if wave == 4 {
                memory = live();
            }
        }
        let stats = router.stats();
        let count = (WAVE * WAVES) as u64;
        assert_eq!((stats.handshakes, stats.disconnects), (count, count));
        assert_eq!(stats.dropped_peer_lost + stats.dropped_unexpected, 0);
        settled("memory", || live() < memory + 128 * KIB);
        let grown = live().saturating_sub(memory);
        println!(
            "{grown} octets more after {count} peers than after {}",
            5 * WAVE
        );
    });
}

fn name(wave: usize, n: usize) -> String {
    format!("peer {n} of wave {wave}")
}

/// Looks until it is so, under the watchdog.
#[track_caller]
fn settled(what: &str, mut so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + WATCHDOG;
    while !so() {
        assert!(std::time::Instant::now() < end, "not given back: {what}");
        std::thread::yield_now();
    }
}
