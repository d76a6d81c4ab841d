//! Clients, workers and brokers in the fault laboratory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sinew::Message;

use super::*;
use crate::common::{
    CallError, CallEvent, CallId, CallOptions, Engine, Ext, Heartbeat, Idem, Limits, MsgId, OnFull,
    PeerId, Port, Random, RetryPolicy, Timers,
};
use crate::lab::{
    forward, rows, schedules, Fault, Node, NodeId, Sim, Tallies, Trouble, Weather, STRANGER,
};

const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(100),
    liveness: 3,
    scope: crate::common::Scope::Process,
};

#[derive(Debug, Default)]
struct World {
    results: BTreeMap<u64, Result<Message, CallError>>,
    asked: BTreeMap<u64, Idem>,
    executed: BTreeMap<u64, u32>,
    begun: BTreeMap<u64, Instant>,
    /// How long calls took that ended with a reply, by when they were begun.
    took: Vec<(Instant, Duration)>,
}

type Shared = Rc<RefCell<World>>;

struct BrokerNode {
    engine: BrokerEngine,
    bound: usize,
    /// When it closes.
    closes: Option<Instant>,
}

impl BrokerNode {
    fn after(&mut self, now: Instant) {
        if self.closes.is_some_and(|at| now >= at) {
            self.closes = None;
            self.engine.handle_drain(now);
        }
        while self.engine.poll_event().is_some() {}
        for name in self
            .engine
            .services()
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
        {
            let stats = self.engine.service(&name).unwrap();
            // What is put back does not count against the limit: one per worker that was lost.
            assert!(stats.ready <= self.bound + 8, "{stats:?}");
            assert!(stats.in_flight <= stats.workers);
        }
    }
}

impl Node for BrokerNode {
    forward!(engine);
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        self.after(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let closes = self.closes.into_iter();
        closes.chain(self.engine.poll_timeout()).min()
    }
}

struct WorkerNode {
    engine: WorkerEngine,
    slots: usize,
    brokers: Vec<NodeId>,
    random: Random,
    world: Shared,
    busy: Timers<WorkerRequestId>,
    bodies: BTreeMap<WorkerRequestId, Message>,
    connections: Vec<(Port, Option<(NodeId, Port)>)>,
    slow: Duration,
}

impl WorkerNode {
    fn after(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                WorkerEvent::Open { port, broker } => {
                    self.connections
                        .push((port, Some((self.brokers[broker], Port(0)))));
                }
                WorkerEvent::Close { port } => self.connections.push((port, None)),
                WorkerEvent::Request(request) => {
                    // Those of a lost connection keep their slots, all but one at most.
                    let most = 2 * self.slots - 1;
                    assert!(self.bodies.len() < most, "one request at a time and slot");
                    let number = number_of(&request.body);
                    *self.world.borrow_mut().executed.entry(number).or_default() += 1;
                    self.bodies.insert(request.id, request.body);
                    self.busy
                        .set(request.id, now + self.random.up_to(self.slow));
                }
                WorkerEvent::Drained => {}
            }
        }
    }
}

impl Node for WorkerNode {
    forward!(engine);
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        while let Some(id) = self.busy.expire(now) {
            let body = self.bodies.remove(&id).unwrap();
            self.engine.handle_reply(now, id, answer(number_of(&body)));
        }
        self.after(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.engine
            .poll_timeout()
            .into_iter()
            .chain(self.busy.next())
            .min()
    }
    fn poll_connection(&mut self) -> Option<(Port, Option<(NodeId, Port)>)> {
        (!self.connections.is_empty()).then(|| self.connections.remove(0))
    }
}

struct ClientNode {
    engine: ClientEngine,
    brokers: Vec<NodeId>,
    random: Random,
    world: Shared,
    calls: BTreeMap<CallId, (u64, Instant)>,
    connections: Vec<(Port, Option<(NodeId, Port)>)>,
    next: Instant,
    left: u64,
    ext: bool,
    patience: Duration,
}

impl ClientNode {
    fn after(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                ClientEvent::Reset { port } => {
                    let broker = self.brokers[self.engine.broker_of(port)];
                    self.connections.push((port, Some((broker, Port(0)))));
                }
                ClientEvent::Call(CallEvent::Done { call, result }) => {
                    let (number, deadline) = self.calls.remove(&call).expect("it ends once");
                    assert!(now <= deadline, "too late");
                    if let Ok(reply) = &result {
                        assert_eq!(*reply, answer(number), "somebody else's reply");
                        let mut world = self.world.borrow_mut();
                        let begun = world.begun[&number];
                        world.took.push((begun, now - begun));
                    }
                    let before = self.world.borrow_mut().results.insert(number, result);
                    assert!(before.is_none(), "it ends once");
                }
                ClientEvent::Call(CallEvent::Partial { .. }) => {}
            }
        }
    }

    fn make_calls(&mut self, now: Instant) {
        while self.left > 0 && now >= self.next {
            self.left -= 1;
            self.next = now + self.random.up_to(Duration::from_millis(100));
            let number = self.left;
            let idem = match self.random.below(4) {
                0 => Idem::Once,
                1 if self.ext => Idem::Key(MsgId::random(&mut Random::new(number))),
                _ => Idem::Safe,
            };
            let options = CallOptions {
                deadline: self.patience + self.random.up_to(Duration::from_secs(8)),
                idem,
                priority: self.random.below(8) as u8,
                ..CallOptions::default()
            };
            let service = ["echo", "other"][self.random.below(2) as usize];
            let body = Message::from(number.to_be_bytes());
            self.world.borrow_mut().asked.insert(number, idem);
            self.world.borrow_mut().begun.insert(number, now);
            match self.engine.handle_call(now, service, body, options.clone()) {
                Ok(call) => {
                    self.calls.insert(call, (number, now + options.deadline));
                }
                Err(error) => {
                    assert!(!error.maybe_executed());
                    self.world.borrow_mut().results.insert(number, Err(error));
                }
            }
        }
    }
}

impl Node for ClientNode {
    forward!(engine);
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        self.make_calls(now);
        self.after(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let next = (self.left > 0).then_some(self.next);
        self.engine.poll_timeout().into_iter().chain(next).min()
    }
    fn poll_connection(&mut self) -> Option<(Port, Option<(NodeId, Port)>)> {
        (!self.connections.is_empty()).then(|| self.connections.remove(0))
    }
}

fn number_of(message: &Message) -> u64 {
    message
        .as_bytes()
        .try_into()
        .map_or(u64::MAX, u64::from_be_bytes)
}

fn answer(number: u64) -> Message {
    Message::multipart([&b"answer"[..], &number.to_be_bytes()])
}

struct Plan {
    brokers: usize,
    workers: usize,
    calls: u64,
    ext: bool,
    dialect: Dialect,
    hostile: bool,
    /// Brokers close in the middle, wait for workers only for a moment, and drop the oldest.
    rough: bool,
    /// When the first call is made, and the shortest deadline.
    begin: Duration,
    patience: Duration,
}

struct Town {
    sim: Sim,
    world: Shared,
    client: NodeId,
    workers: Vec<NodeId>,
    brokers: Vec<NodeId>,
}

fn build(seed: u64, plan: &Plan) -> Town {
    let mut sim = Sim::new(seed);
    let world: Shared = Rc::default();
    let rough = plan.rough && seed % 5 > 1;
    let limits = Limits {
        messages: if rough { 5 } else { 20 },
        on_full: match rough {
            true => OnFull::DropOldest,
            false => OnFull::Reject,
        },
        ..Limits::default()
    };
    let config = BrokerConfig {
        heartbeat: HEARTBEAT,
        policy: ServicePolicy {
            queue: limits,
            lease: match seed % 3 {
                0 => Lease::WhileHeartbeating(Duration::from_millis(400)),
                1 => Lease::Fixed(Duration::from_secs(1)),
                _ => Lease::None,
            },
            unregistered_ttl: Duration::from_millis(if rough { 500 } else { 10_000 }),
            ..ServicePolicy::default()
        },
        cache: Some(Default::default()),
        ..BrokerConfig::default()
    };
    let brokers: Vec<NodeId> = (0..plan.brokers)
        .map(|_| {
            let lives = Cell::new(0);
            sim.add(move |now| {
                let mut engine = BrokerEngine::new(config);
                lives.set(lives.get() + 1);
                let closes = rough && seed % 5 == 4 && lives.get() == 1;
                let closes = closes.then_some(now + Duration::from_secs(3));
                // Nobody gives work to strangers.
                engine.set_authorizer(|who: &PeerId, verb: Verb, _: &[u8]| {
                    verb == Verb::Call || who.as_bytes() != STRANGER
                });
                Box::new(BrokerNode {
                    engine,
                    bound: 20,
                    closes,
                })
            })
        })
        .collect();
    let (ext, dialect) = (plan.ext, plan.dialect);
    let workers: Vec<NodeId> = (0..plan.workers)
        .map(|index| {
            let (brokers, world) = (brokers.clone(), Rc::clone(&world));
            let lives = Cell::new(0);
            sim.add(move |now| {
                lives.set(lives.get() + 1);
                let seed = seed ^ (index as u64) << 8 ^ lives.get() << 16;
                let config = WorkerConfig {
                    heartbeat: HEARTBEAT,
                    ext,
                    dialect,
                    ..WorkerConfig::default()
                };
                let service = ["echo", "other"][index % 2];
                // With several brokers, every second pair begins with the second.
                let mut order = brokers.clone();
                order.rotate_left(index / 2 % brokers.len());
                let slots = match ext {
                    true => [1, 1, 4, 2][index % 4],
                    false => 1,
                };
                let count = order.len();
                let mut node = WorkerNode {
                    engine: WorkerEngine::with_slots(config, service, count, seed, now, slots),
                    slots: slots as usize,
                    brokers: order,
                    random: Random::new(seed),
                    world: Rc::clone(&world),
                    busy: Timers::new(),
                    bodies: BTreeMap::new(),
                    connections: Vec::new(),
                    slow: Duration::from_millis(60),
                };
                node.after(now);
                Box::new(node)
            })
        })
        .collect();
    let (calls, begin, patience) = (plan.calls, plan.begin, plan.patience);
    let shared = (brokers.clone(), Rc::clone(&world));
    let client = sim.add(move |now| {
        let config = ClientConfig {
            ext,
            dialect,
            lanes: 4,
            retry: RetryPolicy {
                attempt_timeout: Duration::from_millis(800),
                budget: None,
                max_attempts: 20,
                breaker: None,
                ..RetryPolicy::default()
            },
            ..ClientConfig::default()
        };
        let engine = ClientEngine::new(config, shared.0.len() as u32, seed);
        let connections = (0..engine.ports())
            .map(|port| {
                (
                    Port(port),
                    Some((shared.0[engine.broker_of(Port(port))], Port(0))),
                )
            })
            .collect();
        Box::new(ClientNode {
            engine,
            brokers: shared.0.clone(),
            random: Random::new(seed),
            world: Rc::clone(&shared.1),
            calls: BTreeMap::new(),
            connections,
            next: now + begin,
            left: calls,
            ext,
            patience,
        })
    });
    Town {
        sim,
        world,
        client,
        workers,
        brokers,
    }
}

impl Town {
    /// Lets time pass until every call is over, at most so long.
    fn settle(&mut self, most: Duration) -> u64 {
        let mut until = Duration::ZERO;
        loop {
            until = (until + Duration::from_secs(4)).min(most);
            let trace = self.sim.run(until);
            let client = self.sim.node::<ClientNode>(self.client).unwrap();
            if until == most || (client.left == 0 && client.engine.running() == 0) {
                return trace;
            }
        }
    }
}

const WEATHER: Weather = Weather {
    pause: Duration::from_millis(300),
    lasts: Duration::from_secs(2),
    ends: Duration::from_secs(8),
    hostile: true,
};

fn plan(seed: u64) -> Plan {
    Plan {
        brokers: 1 + (seed / 2 % 2) as usize,
        workers: 4,
        calls: 60,
        ext: seed % 2 == 0,
        dialect: [Dialect::V1, Dialect::V2][(seed / 4 % 2) as usize],
        hostile: true,
        rough: false,
        begin: Duration::ZERO,
        patience: Duration::from_millis(200),
    }
}

/// Whoever is told that a request was not carried out can rely on it.
fn assert_honest(world: &World) {
    for (number, result) in &world.results {
        let untouched = matches!(result, Err(error) if !error.maybe_executed());
        let executed = world.executed.get(number).copied().unwrap_or(0);
        assert!(
            !untouched || executed == 0,
            "{number} was carried out {executed} times: {result:?}"
        );
    }
}

/// MDP-01, MDP-03, MDP-06 in the simulation: whatever happens to workers and brokers, each call ends once,
/// in time, with its own reply or an error.
#[test]
fn every_call_ends_once_in_time_with_its_own_reply() {
    let good = Cell::new(0);
    schedules(300, |seed| {
        let plan = Plan {
            rough: true,
            ..plan(seed)
        };
        let mut town = build(seed, &plan);
        let mut victims = town.workers.clone();
        victims.extend(&town.brokers);
        let weather = Weather {
            // A reply of 0.1 cannot be told from a repetition of an earlier one.
            hostile: plan.hostile && plan.ext && seed % 8 < 4,
            ..WEATHER
        };
        town.sim.weather(weather, &victims);
        let trace = town.sim.run(Duration::from_secs(60));
        let client = town.sim.node::<ClientNode>(town.client).unwrap();
        assert_eq!((client.left, client.engine.running()), (0, 0));
        let world = town.world.borrow();
        assert_eq!(world.results.len() as u64, plan.calls);
        // Frames that are repeated are carried out after all.
        if !weather.hostile {
            assert_honest(&world);
        }
        good.set(
            good.get()
                + world
                    .results
                    .values()
                    .filter(|result| result.is_ok())
                    .count(),
        );
        for broker in &town.brokers {
            let broker = town.sim.node::<BrokerNode>(*broker).unwrap();
            let left = ["echo", "other"].map(|name| broker.engine.service(name));
            assert_eq!(broker.engine.bytes(), 0, "left behind: {left:?}");
        }
        trace
    });
    assert!(good.get() > 0);
}

/// MDP-01: workers are killed and come back; the broker stands. No call is lost.
#[test]
fn workers_die_and_no_call_is_lost() {
    schedules(500, |seed| {
        let mut town = build(
            seed,
            &Plan {
                brokers: 1,
                ext: true,
                patience: Duration::from_secs(20),
                ..plan(seed)
            },
        );
        let mut killed = 0;
        for turn in 0..10u64 {
            let victim = town.workers[(turn as usize + seed as usize) % town.workers.len()];
            let at = Duration::from_millis(300 * turn + 20);
            town.sim.fault_at(at, Fault::Kill(victim));
            town.sim
                .fault_at(at + Duration::from_millis(200), Fault::Restart(victim));
            killed += 1;
        }
        let trace = town.settle(Duration::from_secs(60));
        let broker = town.sim.node::<BrokerNode>(town.brokers[0]).unwrap();
        let counters = broker.engine.counters();
        assert!(counters.redelivered <= killed, "{counters:?}");
        let world = town.world.borrow();
        for (number, result) in &world.results {
            // What may be sent only once ends with its worker.
            let once = matches!(result, Err(CallError::Remote(_)));
            assert!(result.is_ok() || once, "{number}: {result:?}");
            let executed = world.executed.get(number).copied().unwrap_or(0);
            assert!(once || executed >= 1);
            assert!(u64::from(executed) <= 1 + killed);
        }
        trace
    });
}

/// MDP-03, MDP-04: after the storm everybody finds everybody, and calls succeed.
#[test]
fn recovery() {
    schedules(300, |seed| {
        let mut town = build(
            seed,
            &Plan {
                brokers: 1,
                calls: 20,
                begin: Duration::from_secs(20),
                patience: Duration::from_secs(10),
                ..plan(seed)
            },
        );
        let mut victims = town.workers.clone();
        victims.extend(&town.brokers);
        town.sim.weather(WEATHER, &victims);
        let trace = town.settle(Duration::from_secs(150));
        let world = town.world.borrow();
        let good = world
            .results
            .values()
            .filter(|result| result.is_ok())
            .count();
        assert_eq!(good, 20, "{:?}", world.results);
        trace
    });
}

/// MDP-04: one of two brokers dies for good. Workers and calls move to the other.
#[test]
fn a_broker_dies_and_the_other_takes_over() {
    schedules(500, |seed| {
        let mut town = build(
            seed,
            &Plan {
                brokers: 2,
                ext: true,
                begin: Duration::from_secs(5),
                patience: Duration::from_secs(10),
                ..plan(seed)
            },
        );
        let dead = town.brokers[(seed % 2) as usize];
        town.sim
            .fault_at(Duration::from_millis(500), Fault::Kill(dead));
        let trace = town.settle(Duration::from_secs(60));
        let world = town.world.borrow();
        let good = world
            .results
            .values()
            .filter(|result| result.is_ok())
            .count();
        assert_eq!(good, 60, "{:?}", world.results);
        trace
    });
}

/// MDP-04: of the calls that run while one of two brokers dies, or are made just after it, 99 in 100 take no longer than
/// 99 in 100 of the others, and two heartbeats.
#[test]
fn a_broker_that_dies_costs_no_more_than_two_heartbeats() {
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for seed in 0..300 {
        let mut town = build(
            seed,
            &Plan {
                brokers: 2,
                ext: true,
                begin: Duration::from_secs(2),
                patience: Duration::from_secs(10),
                ..plan(seed)
            },
        );
        let dead = town.brokers[(seed % 2) as usize];
        // When half of the calls have been made.
        let span = Duration::from_millis(3500);
        town.sim.fault_at(span, Fault::Kill(dead));
        let kill = town.sim.start() + span;
        town.settle(Duration::from_secs(60));
        for (begun, took) in &town.world.borrow().took {
            if *begun + *took < kill {
                before.push(*took);
            } else if *begun < kill + HEARTBEAT.interval {
                during.push(*took);
            }
        }
    }
    let p99 = |took: &mut Vec<Duration>| {
        took.sort_unstable();
        took[took.len() * 99 / 100]
    };
    assert!(before.len() > 1000 && during.len() > 500);
    let (before, during) = (p99(&mut before), p99(&mut during));
    assert!(
        during <= before + HEARTBEAT.interval * 2,
        "{during:?} while a broker dies, {before:?} before it"
    );
}

/// What a stranger may send: nothing breaks, and calls go on.
#[test]
fn strangers_with_rubbish() {
    schedules(400, |seed| {
        let mut town = build(
            seed,
            &Plan {
                brokers: 1,
                patience: Duration::from_secs(5),
                ..plan(seed)
            },
        );
        for turn in 0..200 {
            let at = Duration::from_millis(100 + 20 * turn);
            town.sim.fault_at(at, Fault::Rubbish(town.brokers[0]));
        }
        let trace = town.settle(Duration::from_secs(60));
        let world = town.world.borrow();
        let good = world
            .results
            .values()
            .filter(|result| result.is_ok())
            .count();
        assert_eq!(good, 60, "{:?}", world.results);
        trace
    });
}

/// The header is only for those who asked for it.
#[test]
fn a_run_without_the_header_has_none() {
    let mut town = build(
        1,
        &Plan {
            ext: false,
            ..plan(1)
        },
    );
    town.settle(Duration::from_secs(30));
    let world = town.world.borrow();
    assert_eq!(world.results.len(), 60);
    for result in world.results.values().flatten() {
        assert!(!result.frames().iter().any(|frame| Ext::is_ext(frame)));
    }
}

/// The rows of the loss table: trouble for the workers, and trouble for the broker.
pub(crate) fn loss_rows() -> String {
    let workers = rows("`mdp`, worker", |seed, trouble, tallies| {
        fare(seed, trouble, tallies, |town| town.workers.clone());
    });
    let broker = rows("`mdp`, broker", |seed, trouble, tallies| {
        fare(seed, trouble, tallies, |town| town.brokers.clone());
    });
    workers + &broker
}

fn fare(
    seed: u64,
    trouble: Trouble,
    tallies: &mut Tallies,
    victims: impl Fn(&Town) -> Vec<NodeId>,
) {
    let mut town = build(
        // With leases while heartbeats come, as by default.
        seed * 3,
        &Plan {
            brokers: 1,
            calls: 100,
            ext: true,
            patience: Duration::from_secs(4),
            ..plan(seed)
        },
    );
    let victims = victims(&town);
    trouble.befall(&mut town.sim, &victims);
    town.settle(Duration::from_secs(60));
    let world = town.world.borrow();
    assert_eq!(world.results.len(), 100, "each call ends");
    for (number, result) in &world.results {
        let times = world.executed.get(number).copied().unwrap_or(0);
        tallies.note(world.asked[number], result, times);
    }
}
