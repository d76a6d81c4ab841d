//! What goes on as octets arrives as it would message by message: the same at every receiver, in the same order, with
//! the same counts. All of it on one thread, so that whose turn it is does not depend on time.

use proptest::prelude::*;

use super::super::deadline::Deadline;
use super::super::relay::{forward, Relay};
use super::super::{Dealer, Pub, Pull, Push, Router, SocketStats, Sub, XPub, XSub};
use crate::message::{Message, RoutingId};
use crate::pipe::Run;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Who sends to whom, through a proxy that would be in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    PullPush,
    DealerDealer,
    RouterDealer,
    DealerRouter,
    /// With a ROUTER that drops what it cannot send.
    DealerCareless,
    RouterRouter,
    XSubXPub,
    /// With an XPUB that does not drop.
    XSubNoDrop,
    SubPub,
    RouterPub,
}

const PAIRS: [Pair; 10] = [
    Pair::PullPush,
    Pair::DealerDealer,
    Pair::RouterDealer,
    Pair::DealerRouter,
    Pair::DealerCareless,
    Pair::RouterRouter,
    Pair::XSubXPub,
    Pair::XSubNoDrop,
    Pair::SubPub,
    Pair::RouterPub,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    No,
    Pushed,
    Published,
}

#[derive(Debug, Clone)]
enum Act {
    Send { by: usize, shape: u32 },
    Receive { by: usize, most: u64 },
    Turn { most: u64 },
}

/// One side of a comparison.
struct World {
    from: Box<dyn Relay>,
    to: Box<dyn Relay>,
    capture: Option<Box<dyn Relay>>,
    senders: Vec<Box<dyn Relay>>,
    receivers: Vec<Box<dyn Relay>>,
    /// Received and not sent yet, and whether the copy was.
    held: Option<(Message, bool)>,
    seen: Seen,
    /// What went as octets.
    by_wire: u64,
}

/// What can be told from outside.
#[derive(Debug, PartialEq, Eq, Default)]
struct Seen {
    accepted: Vec<bool>,
    arrived: Vec<Vec<Message>>,
    received: Run,
    sent: Run,
    undeliverable: u64,
    stats: Vec<SocketStats>,
}

fn boxed(relay: impl Relay) -> Box<dyn Relay> {
    Box::new(relay)
}

fn id(kind: &str, number: usize) -> RoutingId {
    RoutingId::new(format!("{kind}{number}")).unwrap()
}

/// Sockets in the middle, with peers: `s0`, `s1`, … that send and `r0`, `r1`, … that receive.
fn world(pair: Pair, copies: Copies, mark: u64, senders: usize, receivers: usize) -> World {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    macro_rules! bound {
        ($kind:ident $(. $option:ident($value:expr))*) => {{
            let socket = $kind::builder().send_hwm(mark).recv_hwm(mark)$(.$option($value))*;
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let socket = socket.bind(format!("inproc://wire-tests-{number}")).unwrap();
            let at = socket.bound_endpoints().remove(0);
            (socket, at)
        }};
    }
    macro_rules! peer {
        ($kind:ident, $at:expr $(, $option:ident($value:expr))*) => {
            $kind::builder().send_hwm(mark).recv_hwm(mark)$(.$option($value))*.connect($at).unwrap()
        };
    }
    macro_rules! subscribers {
        ($to:expr, $at:expr, $wanted:expr) => {{
            let topics: [&[u8]; 4] = [b"", b"a", b"b", b"ab"];
            let subscribers: Vec<_> = (0..receivers)
                .map(|number| {
                    let mut sub = peer!(Sub, &$at);
                    sub.subscribe(topics[($wanted + number) % topics.len()])
                        .unwrap();
                    boxed(sub)
                })
                .collect();
            let patience = std::time::Duration::from_secs(60);
            $to.wait_for_subscribers(receivers, patience).unwrap();
            subscribers
        }};
    }
    macro_rules! many {
        ($count:expr, |$number:ident| $peer:expr) => {
            (0..$count).map(|$number| boxed($peer)).collect::<Vec<_>>()
        };
    }
    let publishers = |at: &crate::endpoint::Endpoint| {
        let publisher = |_| {
            let mut publisher = peer!(Pub, at, no_drop(true));
            let patience = std::time::Duration::from_secs(60);
            publisher.wait_for_subscribers(1, patience).unwrap();
            boxed(publisher)
        };
        (0..senders).map(publisher).collect::<Vec<_>>()
    };
    let (from, senders) = match pair {
        Pair::PullPush => {
            let (from, at) = bound!(Pull);
            (boxed(from), many!(senders, |_number| peer!(Push, &at)))
        }
        Pair::DealerDealer | Pair::DealerRouter | Pair::DealerCareless => {
            let (from, at) = bound!(Dealer);
            (boxed(from), many!(senders, |_number| peer!(Dealer, &at)))
        }
        Pair::RouterDealer | Pair::RouterRouter | Pair::RouterPub => {
            let (from, at) = bound!(Router);
            let name = |number| {
                if pair == Pair::RouterPub {
                    id("ab", number)
                } else {
                    id("s", number)
                }
            };
            let senders = many!(senders, |number| peer!(
                Dealer,
                &at,
                routing_id(name(number))
            ));
            (boxed(from), senders)
        }
        Pair::XSubXPub | Pair::XSubNoDrop => {
            let (mut from, at) = bound!(XSub);
            from.subscribe("").unwrap();
            (boxed(from), publishers(&at))
        }
        Pair::SubPub => {
            let (mut from, at) = bound!(Sub);
            from.subscribe("a").unwrap();
            from.subscribe("c").unwrap();
            (boxed(from), publishers(&at))
        }
    };
    let (to, receivers) = match pair {
        Pair::PullPush => {
            let (to, at) = bound!(Push);
            (boxed(to), many!(receivers, |_number| peer!(Pull, &at)))
        }
        Pair::DealerDealer | Pair::RouterDealer => {
            let (to, at) = bound!(Dealer);
            (boxed(to), many!(receivers, |_number| peer!(Dealer, &at)))
        }
        Pair::DealerRouter | Pair::DealerCareless | Pair::RouterRouter => {
            let (to, at) = bound!(Router.mandatory(pair != Pair::DealerCareless));
            let name = |number| id(if pair == Pair::RouterRouter { "s" } else { "r" }, number);
            (
                boxed(to),
                many!(receivers, |number| peer!(
                    Dealer,
                    &at,
                    routing_id(name(number))
                )),
            )
        }
        Pair::XSubXPub | Pair::XSubNoDrop => {
            let (mut to, at) = bound!(XPub.no_drop(pair == Pair::XSubNoDrop));
            let subscribers = subscribers!(to, at, 0);
            (boxed(to), subscribers)
        }
        Pair::SubPub | Pair::RouterPub => {
            let (mut to, at) = bound!(Pub);
            let subscribers = subscribers!(to, at, 1);
            (boxed(to), subscribers)
        }
    };
    let mut receivers = receivers;
    let capture = match copies {
        Copies::No => None,
        Copies::Pushed => {
            let (to, at) = bound!(Push);
            receivers.push(boxed(peer!(Pull, &at)));
            Some(boxed(to))
        }
        Copies::Published => {
            let (mut to, at) = bound!(Pub);
            receivers.extend(subscribers!(to, at, 0));
            Some(boxed(to))
        }
    };
    let mut world = World {
        seen: Seen {
            arrived: vec![Vec::new(); receivers.len()],
            ..Seen::default()
        },
        from,
        to,
        capture,
        senders,
        receivers,
        held: None,
        by_wire: 0,
    };
    let has_peers = |relay: &dyn Relay, count| {
        while relay.port().peer_count() < count {
            std::thread::yield_now();
        }
    };
    let captures = usize::from(world.capture.is_some());
    has_peers(&*world.from, world.senders.len());
    // Those of a publisher that captures are told by their subscriptions.
    if copies != Copies::Published {
        has_peers(&*world.to, world.receivers.len() - captures);
    }
    world.tend();
    world
}

impl World {
    fn tend(&mut self) {
        self.from.tend();
        self.to.tend();
        self.capture.iter_mut().for_each(|capture| capture.tend());
    }

    fn act(&mut self, act: &Act, pair: Pair, by_wire: bool) {
        match *act {
            Act::Send { by, shape } => {
                let by = by % self.senders.len();
                let number = self.seen.accepted.len();
                // Then who receives looks only where it finds nothing for pipes that were empty, both ways.
                if number >= MOST {
                    return;
                }
                let message = message(pair, number, shape);
                let accepted = self.senders[by].give(message).is_ok();
                self.seen.accepted.push(accepted);
            }
            Act::Receive { by, most } => {
                let by = by % self.receivers.len();
                for _ in 0..most {
                    let Some(message) = self.receivers[by].take() else {
                        break;
                    };
                    self.seen.arrived[by].push(message);
                }
            }
            Act::Turn { most } => {
                self.tend();
                self.turn(most, by_wire);
            }
        }
    }

    /// As a proxy does it; whether it has done anything.
    fn turn(&mut self, most: u64, by_wire: bool) -> bool {
        let mut left = most;
        if let Some((held, is_captured)) = self.held.take() {
            if !self.deliver(held, is_captured) {
                return false;
            }
            left -= 1;
        }
        while left > 0 && self.to.has_room() {
            if let Some(capture) = &mut self.capture {
                if !capture.has_room() {
                    break;
                }
            }
            // Kinds differ in whether who was empty is looked at before or after whose turn it is.
            if let Some(source) = self.from.wire_in() {
                source.inbound.is_ready(Deadline::Now);
            }
            if by_wire {
                let capture = self.capture.as_deref_mut();
                let run = forward(&mut *self.from, &mut *self.to, capture, left);
                self.seen.received += run;
                self.seen.sent += run;
                self.by_wire += run.messages;
                assert!(run.messages <= left);
                left -= run.messages;
                if run.messages > 0 {
                    continue;
                }
            }
            let Some(message) = self.from.take() else {
                break;
            };
            self.seen.received += counted(&message);
            if !self.deliver(message, false) {
                break;
            }
            left -= 1;
        }
        left < most
    }

    fn deliver(&mut self, message: Message, is_captured: bool) -> bool {
        if let Some(capture) = self.capture.as_mut().filter(|_| !is_captured) {
            if capture.give(message.clone()).is_err() {
                self.held = Some((message, false));
                return false;
            }
        }
        let run = counted(&message);
        match self.to.give(message) {
            Ok(()) => self.seen.sent += run,
            Err(error) if error.is_timeout() => {
                self.held = Some((error.into_message(), true));
                return false;
            }
            Err(_) => self.seen.undeliverable += 1,
        }
        true
    }

    /// Until nothing moves any more.
    fn finish(mut self, by_wire: bool) -> (Seen, u64) {
        loop {
            self.tend();
            let mut moved = self.turn(1000, by_wire);
            for (by, receiver) in self.receivers.iter_mut().enumerate() {
                while let Some(message) = receiver.take() {
                    self.seen.arrived[by].push(message);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        let stats = |relay: &dyn Relay| SocketStats::of(relay.port());
        self.seen.stats = vec![stats(&*self.from), stats(&*self.to)];
        (self.seen, self.by_wire)
    }
}

fn counted(message: &Message) -> Run {
    Run {
        messages: 1,
        frames: message.frames().len() as u64,
        octets: message.byte_len() as u64,
    }
}

/// Lengths around those at which frames are written another way.
const LENGTHS: [usize; 16] = [
    0, 1, 63, 64, 65, 255, 256, 990, 1024, 1100, 2047, 4096, 8191, 8192, 65_536, 100_000,
];

/// A message of one frame to five, told from others by its number.
fn message(pair: Pair, number: usize, shape: u32) -> Message {
    let mut shape = shape;
    let mut draw = |limit: usize| {
        shape = shape.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (shape >> 8) as usize % limit
    };
    let mut frames: Vec<Vec<u8>> = Vec::new();
    match pair {
        // For whom it is.
        Pair::DealerRouter | Pair::DealerCareless => {
            frames.push([&b"r0"[..], b"r1", b"r2", b"nobody", b"r0"][draw(5)].to_vec());
        }
        // What it is about.
        Pair::XSubXPub | Pair::XSubNoDrop | Pair::SubPub => {
            let len = LENGTHS[draw(LENGTHS.len())];
            let mut topic = vec![b"abc"[draw(3)]; len];
            topic.iter_mut().skip(1).for_each(|octet| *octet = b'b');
            frames.push(topic);
        }
        _ => {}
    }
    for _ in 0..draw(5) {
        // Long ones are rare.
        let some = if draw(8) == 0 { LENGTHS.len() } else { 10 };
        frames.push(vec![number as u8; LENGTHS[draw(some)]]);
    }
    frames.push(number.to_le_bytes().to_vec());
    Message::multipart(frames)
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..4_usize, any::<u32>()).prop_map(|(by, shape)| Act::Send { by, shape }),
        2 => (0..6_usize, 1..40_u64).prop_map(|(by, most)| Act::Receive { by, most }),
        2 => (1..100_u64).prop_map(|most| Act::Turn { most }),
    ];
    prop::collection::vec(act, 1..150)
}

/// Fewer than are received between two looks at who was found empty.
const MOST: usize = 60;

fn compare(pair: Pair, copies: Copies, mark: u64, peers: (usize, usize), acts: &[Act]) {
    let [(messages, _), (octets, _)] = [false, true].map(|by_wire| {
        let mut world = world(pair, copies, mark, peers.0, peers.1);
        for act in acts {
            world.act(act, pair, by_wire);
        }
        world.finish(by_wire)
    });
    assert_eq!(octets, messages, "{pair:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn octets_arrive_as_messages_would(
        pair in prop::sample::select(&PAIRS[..]),
        copies in prop::sample::select(&[Copies::No, Copies::No, Copies::Pushed, Copies::Published][..]),
        mark in prop::sample::select(&[1, 2, 1000][..]),
        senders in 1..4_usize,
        receivers in 1..4_usize,
        acts in acts(),
    ) {
        compare(pair, copies, mark, (senders, receivers), &acts);
    }
}

/// What fits goes as octets, whoever sends and receives: all that is short and lies in one piece.
#[test]
fn every_pair_is_forwarded_as_octets() {
    const MANY: usize = 200;
    for pair in PAIRS {
        for (peers, copies) in [
            ((1, 1), Copies::No),
            ((3, 2), Copies::No),
            ((1, 1), Copies::Pushed),
            ((3, 2), Copies::Published),
        ] {
            let is_short = |shape: &u32| {
                let message = message(pair, 0, *shape);
                let to_somebody = &message.frames()[0][..] == b"r0";
                let is_routed = matches!(pair, Pair::DealerRouter | Pair::DealerCareless);
                message.byte_len() < 100 && (to_somebody || !is_routed)
            };
            let shapes = (0..).map(|n: u32| n.wrapping_mul(2_654_435_761));
            let shapes: Vec<u32> = shapes.filter(is_short).take(MANY).collect();
            let [(messages, _), (octets, by_wire)] = [false, true].map(|by_wire| {
                let mut world = world(pair, copies, 1000, peers.0, peers.1);
                for (number, shape) in shapes.iter().enumerate() {
                    let by = number % peers.0;
                    let message = message(pair, number, *shape);
                    world.senders[by].give(message).unwrap();
                }
                world.finish(by_wire)
            });
            assert_eq!(octets, messages, "{pair:?} {peers:?} {copies:?}");
            let wanted = match pair {
                // Not all are subscribed to, or are for somebody.
                Pair::SubPub => MANY as u64 / 4,
                Pair::RouterRouter => MANY as u64 / 2,
                _ => MANY as u64 * 3 / 4,
            };
            assert!(
                by_wire >= wanted,
                "{pair:?} {peers:?} {copies:?}: {by_wire}"
            );
        }
    }
}
