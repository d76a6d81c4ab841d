//! Clients, workers and brokers in the fault laboratory.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sinew::Message;

use super::*;
use crate::common::{
    CallError, CallEvent, CallId, CallOptions, Engine, Ext, Headers, Heartbeat, Idem, Limits,
    MsgId, OnFull, PeerId, Port, Random, RetryPolicy, Timers,
};
use crate::lab::{
    answer, forward, number_of, request, rows, rubbish, schedules, Fault, Node, NodeId, Sim,
    Tallies, Trouble, Weather, STRANGER,
};

mod again;
mod brokers;
mod loss;

use again::Again;
pub(crate) use loss::loss_rows;

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
    /// Keys that are being worked for.
    keys: BTreeSet<Vec<u8>>,
    /// What was given up and asked again under the same name.
    again: BTreeSet<u64>,
    /// Whether requests are changed on their way to workers.
    hostile: bool,
}

impl World {
    /// How many calls ended with a reply.
    fn good(&self) -> usize {
        self.results
            .values()
            .filter(|result| result.is_ok())
            .count()
    }
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
    /// Keys of what is at work, where there is one at a time.
    keys: BTreeMap<WorkerRequestId, Vec<u8>>,
    connections: Vec<(Port, Option<(NodeId, Port)>)>,
    slow: Duration,
    /// Whether it asks to keep what it is given for as long as it may take.
    asks: bool,
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
                    if let Some(number) = number_of(&request.body) {
                        *self.world.borrow_mut().executed.entry(number).or_default() += 1;
                    }
                    self.bodies.insert(request.id, request.body);
                    if let Some(key) = request.headers.key() {
                        let alone = self.world.borrow_mut().keys.insert(key.to_vec());
                        assert!(alone, "two of one key are at work");
                        self.keys.insert(request.id, key.to_vec());
                    }
                    if self.asks {
                        let least = self.slow + HEARTBEAT.interval;
                        self.engine.handle_extend(now, request.id, least);
                    }
                    self.busy
                        .set(request.id, now + self.random.up_to(self.slow));
                }
                // Some stop, others go on.
                WorkerEvent::Cancelled(id) if self.asks => {
                    self.busy.cancel(&id);
                    self.ends(id);
                    self.engine
                        .handle_fault(now, id, crate::common::Fault::failed("stopped"));
                }
                WorkerEvent::Cancelled(_) | WorkerEvent::Part { .. } | WorkerEvent::Drained => {}
            }
        }
    }
}

impl WorkerNode {
    fn ends(&mut self, id: WorkerRequestId) -> Message {
        if let Some(key) = self.keys.remove(&id) {
            self.world.borrow_mut().keys.remove(&key);
        }
        self.bodies.remove(&id).expect("it is at work")
    }
}

/// When it is killed.
impl Drop for WorkerNode {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        for key in self.keys.values() {
            world.keys.remove(key);
        }
    }
}

impl Node for WorkerNode {
    forward!(engine);
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        while let Some(id) = self.busy.expire(now) {
            let body = self.ends(id);
            let reply = number_of(&body).map_or_else(rubbish, answer);
            self.engine.handle_reply(now, id, reply);
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
    /// Gives some calls up, in the middle.
    fickle: bool,
    ordered: bool,
    /// The longest time between two calls.
    pause: Duration,
    again: Again,
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
                    if self.wants_again(now, number, &result) {
                        continue;
                    }
                    if let Ok(reply) = &result {
                        let mut world = self.world.borrow_mut();
                        if !(world.hostile && *reply == rubbish()) {
                            assert_eq!(*reply, answer(number), "somebody else's reply");
                        }
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
        self.ask_again(now);
        while self.left > 0 && now >= self.next {
            self.left -= 1;
            self.next = now + self.random.up_to(self.pause);
            let number = self.left;
            let idem = match self.random.below(4) {
                0 => Idem::Once,
                1 if self.ext => Idem::Key(MsgId::random(&mut Random::new(number))),
                _ => Idem::Safe,
            };
            let mut options = CallOptions {
                deadline: self.patience + self.random.up_to(Duration::from_secs(8)),
                idem,
                priority: self.random.below(8) as u8,
                ..CallOptions::default()
            };
            let service = ["echo", "other"][self.random.below(2) as usize];
            if self.ordered && number % 4 > 0 {
                let key = format!("{service} {}", number % 4);
                options.headers = Headers::new().with_key(key).unwrap();
            }
            self.world.borrow_mut().asked.insert(number, idem);
            self.world.borrow_mut().begun.insert(number, now);
            self.ask(now, number, service, options);
        }
    }

    fn ask(&mut self, now: Instant, number: u64, service: &'static str, options: CallOptions) {
        let body = request(number);
        match self.engine.handle_call(now, service, body, options.clone()) {
            Ok(call) => {
                self.calls.insert(call, (number, now + options.deadline));
                self.again.note(number, service, options);
                // Of a moment ago, and of now.
                let earlier = self.calls.keys().next().copied().unwrap_or(call);
                let whim = self.fickle.then(|| self.random.below(8));
                match whim {
                    Some(0) => self.engine.handle_cancel(now, earlier),
                    Some(1) => self.engine.handle_cancel(now, call),
                    _ => {}
                }
            }
            Err(error) => {
                assert!(!error.maybe_executed());
                self.world.borrow_mut().results.insert(number, Err(error));
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
        let next = next.into_iter().chain(self.again.next());
        self.engine.poll_timeout().into_iter().chain(next).min()
    }
    fn poll_connection(&mut self) -> Option<(Port, Option<(NodeId, Port)>)> {
        (!self.connections.is_empty()).then(|| self.connections.remove(0))
    }
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
    /// Whether another broker is asked when one is slow.
    hedge: bool,
    /// When the first call is made, and the shortest deadline.
    begin: Duration,
    patience: Duration,
    /// How long workers take at most, and whether they ask for that long.
    slow: Duration,
    asks: bool,
    /// Whether the client gives calls up.
    fickle: bool,
    /// Whether calls have keys, and go one after the other.
    ordered: bool,
    pick: Pick,
    /// Whether workers and the client ask the brokers what they speak.
    negotiates: bool,
    /// The longest time between two calls.
    pause: Duration,
    /// How often a call is tried.
    attempts: u32,
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
            pick: plan.pick,
            ordered_by_key: plan.ordered,
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
    let (slow, asks) = (plan.slow, plan.asks);
    // Some find out whether the brokers speak the header.
    let negotiates = ext && plan.negotiates;
    let workers: Vec<NodeId> = (0..plan.workers)
        .map(|index| {
            let (brokers, world) = (brokers.clone(), Rc::clone(&world));
            let lives = Cell::new(0);
            sim.add(move |now| {
                lives.set(lives.get() + 1);
                let seed = seed ^ (index as u64) << 8 ^ lives.get() << 16;
                let config = WorkerConfig {
                    heartbeat: HEARTBEAT,
                    ext: ext && !negotiates,
                    ask_ext: negotiates,
                    dialect,
                    ..WorkerConfig::default()
                };
                let service = ["echo", "other"][index % 2];
                // With several brokers, every second pair begins with the second.
                let mut order = brokers.clone();
                order.rotate_left(index / 2 % brokers.len());
                let slots = match ext && !negotiates {
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
                    keys: BTreeMap::new(),
                    connections: Vec::new(),
                    slow,
                    asks,
                };
                node.after(now);
                Box::new(node)
            })
        })
        .collect();
    let (calls, begin) = (plan.calls, plan.begin);
    let (patience, pause, attempts) = (plan.patience, plan.pause, plan.attempts);
    let (fickle, ordered) = (plan.fickle, plan.ordered);
    let hedge_after = plan.hedge.then_some(Duration::from_millis(30));
    let shared = (brokers.clone(), Rc::clone(&world));
    let client = sim.add(move |now| {
        let config = ClientConfig {
            ext: ext && !negotiates,
            ask_ext: negotiates,
            dialect,
            lanes: 4,
            retry: RetryPolicy {
                attempt_timeout: Duration::from_millis(800),
                budget: None,
                max_attempts: attempts,
                hedge_after,
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
            fickle,
            ordered,
            pause,
            again: Again::default(),
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
            if until == most || client.is_done() {
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
        hedge: false,
        begin: Duration::ZERO,
        patience: Duration::from_millis(200),
        slow: Duration::from_millis(60),
        asks: seed % 3 == 1,
        fickle: false,
        ordered: false,
        pick: [
            Pick::LongestIdle,
            Pick::LastIdle,
            Pick::LeastLoaded,
            Pick::ByKey,
        ][seed as usize % 4],
        negotiates: seed / 8 % 2 == 1,
        pause: Duration::from_millis(100),
        attempts: 20,
    }
}

/// Whoever is told that a request was not carried out can rely on it.
fn assert_honest(world: &World) {
    for (number, result) in &world.results {
        let untouched = matches!(result, Err(error) if !error.maybe_executed());
        let executed = world.executed.get(number).copied().unwrap_or(0);
        // Of the last time that it was asked, that is.
        if world.again.contains(number) {
            continue;
        }
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
        let (trace, replies) = storm(seed);
        good.set(good.get() + replies);
        trace
    });
    assert!(good.get() > 0);
}

/// A worker is given an earlier request again, without its header: the reply is not taken for that to the request that it
/// has.
#[test]
fn a_reply_without_a_header_is_not_that_to_another_request() {
    let (_, replies) = storm(6272);
    assert!(replies > 0);
}

/// Any trouble, and how many calls ended with a reply.
fn storm(seed: u64) -> (u64, usize) {
    let plan = Plan {
        rough: true,
        fickle: seed % 7 < 3,
        hedge: seed % 3 == 0,
        ..plan(seed)
    };
    let mut town = build(seed, &plan);
    let mut victims = town.workers.clone();
    victims.extend(&town.brokers);
    let weather = Weather {
        // A reply of 0.1 cannot be told from a repetition of an earlier one.
        hostile: plan.hostile && plan.ext && !plan.negotiates && seed % 8 < 4,
        ..WEATHER
    };
    town.sim.weather(weather, &victims);
    town.world.borrow_mut().hostile = weather.hostile;
    if seed % 5 == 1 {
        town.sim.keep_name(town.client);
    }
    let trace = town.sim.run(Duration::from_secs(60));
    let client = town.sim.node::<ClientNode>(town.client).unwrap();
    assert!(client.is_done());
    let world = town.world.borrow();
    assert_eq!(world.results.len() as u64, plan.calls);
    // Frames that are repeated are carried out after all.
    if !weather.hostile {
        assert_honest(&world);
    }
    for broker in &town.brokers {
        let broker = town.sim.node::<BrokerNode>(*broker).unwrap();
        let left = ["echo", "other"].map(|name| broker.engine.service(name));
        assert_eq!(broker.engine.bytes(), 0, "left behind: {left:?}");
    }
    (trace, world.good())
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

/// Workers that take longer than their lease, and have asked for that long: no request is given to two.
#[test]
fn workers_that_ask_keep_what_they_have() {
    schedules(100, |seed| {
        let mut town = build(
            seed,
            &Plan {
                brokers: 1,
                calls: 10,
                ext: true,
                patience: Duration::from_secs(40),
                slow: Duration::from_secs(3),
                asks: true,
                ..plan(seed)
            },
        );
        let trace = town.settle(Duration::from_secs(80));
        let broker = town.sim.node::<BrokerNode>(town.brokers[0]).unwrap();
        let counters = broker.engine.counters();
        assert_eq!((counters.leases_ended, counters.redelivered), (0, 0));
        let world = town.world.borrow();
        assert!(world.results.values().all(Result::is_ok));
        trace
    });
}

/// One of a key at a time, also when workers are killed with it.
#[test]
fn requests_of_one_key_are_never_with_two_workers() {
    let waited = Cell::new(0);
    schedules(200, |seed| {
        let mut town = build(
            // Without leases: one that ends leaves its worker at work.
            seed * 3 + 2,
            &Plan {
                brokers: 1,
                ext: true,
                patience: Duration::from_secs(30),
                slow: Duration::from_millis(400),
                fickle: seed % 2 == 0,
                ordered: true,
                asks: false,
                ..plan(seed)
            },
        );
        for turn in 0..10u64 {
            let victim = town.workers[(turn + seed) as usize % town.workers.len()];
            let at = Duration::from_millis(300 * turn + 20);
            town.sim.fault_at(at, Fault::Kill(victim));
            town.sim
                .fault_at(at + Duration::from_millis(200), Fault::Restart(victim));
        }
        let trace = town.settle(Duration::from_secs(120));
        let world = town.world.borrow();
        assert_eq!(world.results.len(), 60);
        waited.set(waited.get() + world.executed.len());
        let broker = town.sim.node::<BrokerNode>(town.brokers[0]).unwrap();
        let left = ["echo", "other"].map(|name| broker.engine.service(name));
        assert_eq!(broker.engine.bytes(), 0, "left behind: {left:?}");
        trace
    });
    assert!(waited.get() > 0);
}

/// What is given up while a worker has it stops, if the worker wants to: nobody waits for it, and its place is free.
#[test]
fn workers_hear_of_calls_that_are_given_up() {
    let (recalled, again) = (Cell::new(0), Cell::new(0));
    schedules(100, |seed| {
        let mut town = build(
            seed,
            &Plan {
                brokers: 1,
                ext: true,
                patience: Duration::from_secs(30),
                slow: Duration::from_millis(500),
                asks: true,
                fickle: true,
                ..plan(seed)
            },
        );
        let trace = town.settle(Duration::from_secs(80));
        let world = town.world.borrow();
        for (number, result) in &world.results {
            assert!(
                matches!(result, Ok(_) | Err(CallError::Cancelled)),
                "{number}: {result:?}"
            );
            if world.again.contains(number) {
                again.set(again.get() + u64::from(result.is_ok()));
                let executed = world.executed.get(number).copied().unwrap_or(0);
                assert!(executed <= 1, "{number} was carried out {executed} times");
            }
        }
        let broker = town.sim.node::<BrokerNode>(town.brokers[0]).unwrap();
        let counters = broker.engine.counters();
        assert!(counters.recalled <= counters.cancelled);
        assert_eq!((broker.engine.bytes(), counters.banned), (0, 0));
        recalled.set(recalled.get() + counters.recalled);
        trace
    });
    assert!(recalled.get() > 0 && again.get() > 0, "both happen");
}

/// One broker and its workers, whom nobody asks. A worker that asks what the broker speaks has one slot, so none does.
fn calm(seed: u64) -> Plan {
    Plan {
        brokers: 1,
        calls: 0,
        ext: true,
        negotiates: false,
        ..plan(seed)
    }
}

impl Town {
    /// How many workers of each of these the first broker has then, and the trace until then.
    fn offered<const N: usize>(
        &mut self,
        services: [&str; N],
        at: Duration,
    ) -> ([Option<usize>; N], u64) {
        let trace = self.sim.run(at);
        let broker = self.sim.node::<BrokerNode>(self.brokers[0]).unwrap();
        let workers = |name| broker.engine.service(name).map(|stats| stats.workers);
        (services.map(workers), trace)
    }
}

/// MDP-01: a worker that is killed is gone from the broker within 100 ms, one that is frozen when it has been silent for
/// as many heartbeats as are waited for.
#[test]
fn dead_workers_are_found_out_in_time() {
    let moment = Duration::from_millis(5);
    for (harm, within) in [
        (
            Fault::Kill as fn(NodeId) -> Fault,
            Duration::from_millis(100),
        ),
        (Fault::Freeze, HEARTBEAT.patience() + moment),
    ] {
        schedules(50, |seed| {
            let mut town = build(seed, &calm(seed));
            let at = Duration::from_secs(2);
            town.sim.fault_at(at, harm(town.workers[0]));
            // The other worker of its service has four slots.
            let ([all], _) = town.offered(["echo"], at - moment);
            assert_eq!(all, Some(5), "seed {seed}");
            let ([left], trace) = town.offered(["echo"], at + within);
            assert_eq!(left, Some(4), "seed {seed}");
            trace
        });
    }
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
        let good = world.good();
        assert_eq!(good, 20, "{:?}", world.results);
        trace
    });
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
        let good = world.good();
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
