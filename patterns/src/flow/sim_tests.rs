//! Credit, gates and tokens under schedules that follow from one number.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sinew::Message;

use super::*;
use crate::common::{Engine, Limits, OnFull, PeerId, Port, Random, Transmit};
use crate::lab::{forward, rows, schedules, Node, NodeId, Sim, Trouble, Weather};

const WINDOW: u64 = 200;

/// What everybody writes down.
#[derive(Debug, Default)]
struct World {
    /// By (life of the sender, life of the receiver): the last number that came.
    last: BTreeMap<(u64, u64), u64>,
    received: u64,
    /// What the sender had credit for, and what came back since the socket had no connection.
    accepted: u64,
    returned: u64,
    sender: u64,
    receiver: u64,
}

type Shared = Rc<RefCell<World>>;

/// Sends numbered messages whenever it has credit.
struct Sender {
    outlet: CreditOutlet,
    random: Random,
    life: u64,
    number: u64,
    next: Instant,
    /// From then on it sends nothing.
    stops: Option<Instant>,
    world: Shared,
}

impl Sender {
    fn after(&mut self, _: Instant) {
        assert!(self.outlet.credit() <= WINDOW);
        while let Some(event) = self.outlet.poll_event() {
            // What the socket did not take is lost here; the next number says so.
            if let OutletEvent::Returned(_) = event {
                self.world.borrow_mut().returned += 1;
            }
        }
    }
}

impl Node for Sender {
    forward!(outlet);
    fn handle_timeout(&mut self, now: Instant) {
        while now >= self.next {
            self.next += self.random.up_to(Duration::from_millis(4)) + Duration::from_micros(1);
            let mut body = [self.life, self.number].map(u64::to_be_bytes).concat();
            body.resize(16 + self.random.below(40) as usize, 0);
            let stopped = self.stops.is_some_and(|at| now >= at);
            if !stopped && self.outlet.try_send(body.into()).is_ok() {
                self.number += 1;
                self.world.borrow_mut().accepted += 1;
            }
        }
    }
    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next)
    }
}

/// Consumes what it holds, a little at a time.
struct Receiver {
    inlet: CreditInlet,
    random: Random,
    life: u64,
    held: Vec<Delivery>,
    next: Instant,
    world: Shared,
}

impl Receiver {
    fn after(&mut self, _: Instant) {
        while let Some(InletEvent::Delivery(delivery)) = self.inlet.poll_event() {
            let body = delivery.message.as_bytes();
            let number = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().unwrap());
            let mut world = self.world.borrow_mut();
            let life = (number(0), self.life);
            let before = world.last.insert(life, number(8));
            assert!(before < Some(number(8)), "in order, each once");
            world.received += 1;
            drop(world);
            self.held.push(delivery);
        }
        // A sender that came again may have as much under its new connection.
        assert!(self.inlet.held() <= WINDOW, "{}", self.inlet.held());
        assert_eq!(self.inlet.counters().malformed, 0);
    }
}

impl Node for Receiver {
    forward!(inlet, input);
    fn handle_refused(&mut self, _: Instant, _: Transmit) {
        // The connection broke under a grant.
    }
    fn handle_timeout(&mut self, now: Instant) {
        while now >= self.next {
            self.next += self.random.up_to(Duration::from_millis(8)) + Duration::from_micros(1);
            let at = self.random.below(self.held.len().max(1) as u64) as usize;
            if at < self.held.len() {
                let delivery = self.held.remove(at);
                self.inlet.handle_consumed(&delivery);
            }
        }
    }
    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit> {
        self.inlet.poll_transmit()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next)
    }
}

/// A sender and a receiver.
fn pair(sim: &mut Sim, seed: u64, world: &Shared, stops: Option<Duration>) -> [NodeId; 2] {
    let stops = stops.map(|after| sim.start() + after);
    let shared = Rc::clone(world);
    let receiver = sim.add(move |now| {
        let mut world = shared.borrow_mut();
        world.receiver += 1;
        Box::new(Receiver {
            inlet: CreditInlet::new(WINDOW),
            random: Random::new(seed ^ world.receiver << 32),
            life: world.receiver,
            held: Vec::new(),
            next: now,
            world: Rc::clone(&shared),
        })
    });
    let shared = Rc::clone(world);
    let sender = sim.add(move |now| {
        let mut world = shared.borrow_mut();
        world.sender += 1;
        Box::new(Sender {
            outlet: CreditOutlet::new(),
            random: Random::new(seed ^ world.sender << 40),
            life: world.sender,
            number: 0,
            next: now,
            stops,
            world: Rc::clone(&shared),
        })
    });
    sim.connect(sender, Port(0), receiver, Port(0));
    [sender, receiver]
}

/// The rows of credit in `docs/loss-table.md`: what becomes of messages while the receiver is in trouble.
pub(crate) fn loss_rows() -> String {
    rows("`flow`, credit", |seed, trouble, tallies| {
        // The receiver of this test finds out what comes twice, and what is none of its sender's; and a sender sends as
        // much as it may at all times.
        if matches!(
            trouble,
            Trouble::Replay | Trouble::Malformed | Trouble::Overload
        ) {
            return;
        }
        let mut sim = Sim::new(seed);
        let world: Shared = Rc::default();
        let [_, receiver] = pair(&mut sim, seed, &world, Some(Duration::from_secs(8)));
        trouble.befall(&mut sim, &[receiver]);
        sim.run(Duration::from_secs(12));
        let world = world.borrow();
        tallies.note_counts(
            "messages",
            world.accepted,
            world.received,
            world.returned,
            0,
        );
    })
}

/// FLW-06: whatever happens to the two and to the way between them, the receiver holds no more than its window,
/// and when the sun shines again messages flow.
#[test]
fn credit_holds_and_recovers() {
    schedules(1500, |seed| {
        let mut sim = Sim::new(seed);
        let world: Shared = Rc::default();
        let [sender, receiver] = pair(&mut sim, seed, &world, None);
        let weather = Weather {
            pause: Duration::from_millis(150),
            lasts: Duration::from_millis(300),
            ends: Duration::from_millis(1000),
            hostile: false,
        };
        sim.weather(weather, &[sender, receiver]);
        sim.run(Duration::from_millis(1200));
        let before = world.borrow().received;
        let trace = sim.run(Duration::from_millis(1800));
        assert!(world.borrow().received > before + 20, "it goes on");
        trace
    });
}

/// FLW-04, FLW-05, FLW-07: any order of coming, leaving and waiting, at any kind of gate.
#[test]
fn everyone_at_a_gate_is_told_once() {
    schedules(3000, |seed| {
        let mut random = Random::new(seed);
        let mut now = Instant::now();
        let start = now;
        let millis = Duration::from_millis;
        let config = GateConfig {
            inside: 1 + random.below(4) as usize,
            queue: Limits {
                messages: random.below(8) as usize,
                bytes: 10 + random.below(100) as usize,
                per_flow: 1 + random.below(8) as usize,
                on_full: [
                    OnFull::Reject,
                    OnFull::DropOldest,
                    OnFull::DropNewest,
                    OnFull::Wait,
                ][random.below(4) as usize],
            },
            admission: [
                Admission::Fifo,
                Admission::Lifo,
                Admission::PerClientFair,
                Admission::CoDel {
                    target: millis(5),
                    interval: millis(50),
                },
            ][random.below(4) as usize],
            ..GateConfig::default()
        };
        let mut gate = GateEngine::new(config);
        let (mut waiting, mut inside) = (BTreeSet::new(), Vec::new());
        let (mut came, mut ended) = (0u64, 0u64);
        for _ in 0..300 {
            now += random.up_to(millis(4));
            match random.below(4) {
                0 | 1 => {
                    came += 1;
                    let deadline = (random.below(2) == 0).then(|| now + random.up_to(millis(40)));
                    let who = PeerId::from([random.below(3) as u8]);
                    let bytes = random.below(20) as usize;
                    match gate.handle_enter(now, who, bytes, deadline) {
                        Ok(id) => assert!(waiting.insert(id), "each has a name of its own"),
                        Err(_) => ended += 1,
                    }
                }
                2 if !waiting.is_empty() => {
                    let at = random.below(waiting.len() as u64) as usize;
                    let id = *waiting.iter().nth(at).expect("it is below their number");
                    // Not told any more, so told to nobody. Its time may have come as well; then it was told before.
                    gate.handle_leave(now, id);
                    let told = std::iter::from_fn(|| gate.poll_event()).collect::<Vec<_>>();
                    for event in told {
                        match event {
                            GateEvent::Admitted(other) if other != id => {
                                assert!(waiting.remove(&other), "told twice");
                                inside.push(other);
                            }
                            GateEvent::Rejected(other, _) if other != id => {
                                assert!(waiting.remove(&other), "told twice");
                                ended += 1;
                            }
                            event => panic!("{event:?} of one that gave up"),
                        }
                    }
                    assert!(waiting.remove(&id));
                    ended += 1;
                }
                _ if !inside.is_empty() => {
                    let at = random.below(inside.len() as u64) as usize;
                    gate.handle_leave(now, inside.swap_remove(at));
                    ended += 1;
                }
                _ => gate.handle_timeout(now),
            }
            while let Some(event) = gate.poll_event() {
                match event {
                    GateEvent::Admitted(id) => {
                        assert!(waiting.remove(&id), "told twice");
                        inside.push(id);
                    }
                    GateEvent::Rejected(id, _) => {
                        assert!(waiting.remove(&id), "told twice");
                        ended += 1;
                    }
                }
            }
            let (in_now, wait_now, octets) = gate.load();
            let outside = gate.outside();
            assert_eq!((in_now, wait_now + outside), (inside.len(), waiting.len()));
            assert!(outside == 0 || config.queue.on_full == OnFull::Wait);
            assert!(octets <= config.queue.bytes);
            assert!(in_now <= config.inside && wait_now <= config.queue.messages);
            assert!(
                wait_now == 0 || in_now == config.inside,
                "nobody waits for nothing"
            );
        }
        assert_eq!(came, ended + (waiting.len() + inside.len()) as u64);
        came << 32 | ended ^ (now - start).as_nanos() as u64
    });
}

/// FLW-01, FLW-03: several clients of one bucket, whose server restarts, and whose requests and replies are lost and
/// late. Over any time they take no more than rate and burst allow.
#[test]
fn tokens_are_minted_once() {
    let most = Cell::new(0);
    schedules(1500, |seed| {
        let mut random = Random::new(seed);
        let start = Instant::now();
        let mut now = start;
        let lease = Duration::from_millis(50);
        let new = |now| {
            let mut mint = TokenMint::new(lease);
            mint.set_bucket("b", 1000.0, 20, now);
            mint
        };
        let mut mint = new(now);
        let mut purses: Vec<_> = (0..3)
            .map(|_| TokenPurse::new("b", TokenConfig::default()))
            .collect();
        // Replies on their way.
        let mut late: Vec<(usize, Message)> = Vec::new();
        let mut taken = 0u64;
        for _ in 0..1000 {
            now += random.up_to(Duration::from_micros(800));
            if random.below(300) == 0 {
                mint = new(now);
            }
            let who = random.below(3) as usize;
            if let Some(request) = purses[who].poll_request(now) {
                match random.below(10) {
                    0 => purses[who].handle_unreachable(now),
                    1 => late.push((who, mint.handle_request(now, &request))),
                    _ => {
                        let reply = mint.handle_request(now, &request);
                        purses[who].handle_reply(now, &reply).unwrap();
                    }
                }
            }
            if random.below(4) == 0 {
                if let Some((who, reply)) = late.pop() {
                    // It may be answered already, or given up.
                    let _ = purses[who].handle_reply(now, &reply);
                }
            }
            if random.below(50) == 0 {
                if let Some(give) = purses[who].give_back(now) {
                    mint.handle_request(now, &give);
                }
            }
            let n = 1 + random.below(2) as u32;
            if purses[who].try_take(now, n).is_ok() {
                taken += u64::from(n);
            }
            let allowed = (now - start).as_secs_f64() * 1000.0 + 20.0;
            assert!(taken as f64 <= allowed + 1.0, "{taken} of {allowed}");
        }
        most.set(most.get().max(taken));
        taken << 32 ^ (now - start).as_nanos() as u64
    });
    assert!(most.get() > 200, "they get most of it: {}", most.get());
}
