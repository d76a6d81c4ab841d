//! Clients and servers of `rpc` in the fault laboratory.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sinew::Message;

use super::wire;
use super::{ClientConfig, ClientEngine, Dialect, Pick, ServerConfig, ServerEngine, ServerEvent};
use crate::common::{
    CacheConfig, CallError, CallEvent, CallId, CallOptions, DedupLife, DedupStore, Engine,
    Fault as Failure, Idem, Limits, MemoryStore, MsgId, OnFull, PeerEvent, PeerId, Port, Random,
    RetryBudget, RetryPolicy, Status, StoreLimits, StoreOp, Stored, Timers, Transmit,
};
use crate::lab::{
    answer, forward, number_of, request, rows, rubbish, schedules, Fault, Node, NodeId, Sim,
    Tallies, Trouble, Weather,
};

mod again;

/// What all nodes of a run write down.
#[derive(Debug, Default)]
struct World {
    /// How often each request was carried out, by (server, life of it, request).
    effects: BTreeMap<(usize, u64, u64), u32>,
    /// The same, by idempotence key.
    keyed: BTreeMap<(usize, u64, MsgId), u32>,
    lives: BTreeMap<usize, u64>,
    results: BTreeMap<u64, Result<Message, CallError>>,
    asked: BTreeMap<u64, Idem>,
    partials: BTreeMap<u64, u32>,
    /// Times at which requests were sent that may be sent only once.
    once: BTreeMap<u64, u32>,
    /// The longest queue of any server.
    longest: usize,
    /// The most requests that any server let wait for room.
    waited: u64,
    /// How often each key was carried out, by all lives of all servers.
    everywhere: BTreeMap<MsgId, u32>,
    /// Whether that may be once at most.
    stored: bool,
    /// What was given up and asked again with the same key.
    again: BTreeSet<u64>,
}

type Shared = Rc<RefCell<World>>;

/// A client that makes calls by chance.
struct Caller {
    engine: ClientEngine,
    random: Random,
    world: Shared,
    calls: BTreeMap<CallId, (u64, Instant, CallOptions)>,
    next: Instant,
    left: u64,
    number: u64,
    /// The shortest deadline.
    patience: Duration,
    /// The longest time between two calls.
    pause: Duration,
    /// Gives some calls up, and asks some of them again.
    fickle: bool,
    again: Timers<u64>,
}

impl Caller {
    fn new(
        config: ClientConfig,
        servers: u32,
        calls: u64,
        seed: u64,
        now: Instant,
        world: Shared,
    ) -> Self {
        Caller {
            engine: ClientEngine::new(config, servers, seed),
            random: Random::new(seed),
            world,
            calls: BTreeMap::new(),
            next: now,
            left: calls,
            number: 0,
            patience: Duration::from_millis(200),
            pause: Duration::from_millis(60),
            fickle: false,
            again: Timers::new(),
        }
    }

    fn make_calls(&mut self, now: Instant) {
        self.change_mind(now);
        self.after(now);
        while self.left > 0 && now >= self.next {
            self.left -= 1;
            self.next = now + self.random.up_to(self.pause);
            let number = self.number;
            self.number += 1;
            let plain = self.engine.handle_call(
                now,
                request(number),
                CallOptions {
                    deadline: Duration::ZERO,
                    ..CallOptions::default()
                },
            );
            // A deadline that is over at once is an end like others.
            if let Ok(call) = plain {
                let event = self.engine.poll_event();
                assert!(
                    matches!(event, Some(CallEvent::Done { call: done, result: Err(_) }) if done == call)
                );
            }
            let key = key_of(number);
            let idem = match self.random.below(3) {
                0 => Idem::Once,
                1 => Idem::Key(key),
                _ => Idem::Safe,
            };
            let options = CallOptions {
                deadline: self.patience + self.random.up_to(Duration::from_secs(8)),
                idem,
                priority: self.random.below(9) as u8,
                ..CallOptions::default()
            };
            self.world.borrow_mut().asked.insert(number, idem);
            match self
                .engine
                .handle_call(now, request(number), options.clone())
            {
                Ok(call) => {
                    self.calls
                        .insert(call, (number, now + options.deadline, options));
                }
                Err(error @ (CallError::CircuitOpen { .. } | CallError::TooMany { .. })) => {
                    self.world.borrow_mut().results.insert(number, Err(error));
                }
                Err(CallError::NeedsExt) => {
                    assert!(matches!(idem, Idem::Key(_)));
                    self.world
                        .borrow_mut()
                        .results
                        .insert(number, Err(CallError::NeedsExt));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn after(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                CallEvent::Partial { call, message } => {
                    let (number, ..) = self.calls[&call];
                    let mut world = self.world.borrow_mut();
                    let count = world.partials.entry(number).or_default();
                    assert_eq!(message, part(number, *count), "parts in order, each once");
                    *count += 1;
                    self.engine.handle_read(call);
                }
                CallEvent::Done { call, result } => {
                    let (number, deadline, options) =
                        self.calls.remove(&call).expect("it ends once");
                    assert!(now <= deadline, "{number} ended too late");
                    if self.wants_again(now, number, &result) {
                        continue;
                    }
                    if let Ok(reply) = &result {
                        assert_eq!(*reply, answer(number), "somebody else's reply");
                    }
                    let mut world = self.world.borrow_mut();
                    if let Err(error) = &result {
                        let sent = world.once.get(&number).copied();
                        let ambiguous = options.idem == Idem::Once && sent.unwrap_or(0) > 0;
                        // Only its one server can say that it did not begin.
                        let certain = matches!(
                            error,
                            CallError::Rejected { .. } | CallError::TimedOut { attempts: 1, .. }
                        );
                        assert!(
                            !ambiguous || certain || error.maybe_executed(),
                            "RPC-03: {error}"
                        );
                    }
                    assert!(world.results.insert(number, result).is_none(), "twice");
                }
            }
        }
    }
}

fn key_of(number: u64) -> MsgId {
    MsgId::random(&mut Random::new(number))
}

fn part(number: u64, count: u32) -> Message {
    Message::multipart([&number.to_be_bytes()[..], &count.to_be_bytes()])
}

impl Node for Caller {
    forward!(engine, input);
    fn handle_refused(&mut self, now: Instant, transmit: Transmit) {
        if let Some(count) = self.once_of(&transmit.message) {
            *self.world.borrow_mut().once.entry(count).or_default() -= 1;
        }
        self.engine.handle_refused(now, transmit);
        self.after(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        self.after(now);
        self.make_calls(now);
        self.after(now);
    }
    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit> {
        let transmit = self.engine.poll_transmit()?;
        if let Some(number) = self.once_of(&transmit.message) {
            let mut world = self.world.borrow_mut();
            let count = world.once.entry(number).or_default();
            *count += 1;
            assert_eq!(*count, 1, "RPC-03: sent twice");
        }
        Some(transmit)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let next = (self.left > 0).then_some(self.next);
        let next = next.into_iter().chain(self.again.next());
        self.engine.poll_timeout().into_iter().chain(next).min()
    }
}

impl Caller {
    /// The number of a request that may be sent only once.
    fn once_of(&self, message: &Message) -> Option<u64> {
        let parts = wire::decode(message.clone(), true).unwrap();
        let number = number_of(&parts.body)?;
        let call = self.calls.values().find(|(other, ..)| *other == number)?;
        (call.2.idem == Idem::Once).then_some(number)
    }
}

/// A server whose handlers take their time.
struct Server {
    engine: ServerEngine,
    id: usize,
    life: u64,
    random: Random,
    world: Shared,
    busy: Timers<super::RequestId>,
    /// Their numbers; of what nobody has made so, none.
    bodies: BTreeMap<super::RequestId, Option<u64>>,
    bound: usize,
    disk: Option<Disk>,
}

/// A store as a server reaches it: one thing after the other, each in its time, and what comes back takes its time, too.
struct Disk {
    life: Box<dyn DedupLife>,
    wanted: VecDeque<(Instant, StoreOp)>,
    done: VecDeque<(Instant, Stored)>,
}

impl Disk {
    fn next(&self) -> Option<Instant> {
        let wanted = self.wanted.front().map(|(at, _)| *at);
        wanted
            .into_iter()
            .chain(self.done.front().map(|(at, _)| *at))
            .min()
    }

    /// Does what is due; returns what the engine is told now.
    fn work(&mut self, now: Instant, random: &mut Random) -> Vec<Stored> {
        while self.wanted.front().is_some_and(|(at, _)| *at <= now) {
            let (_, op) = self.wanted.pop_front().unwrap();
            let stored = op.perform(self.life.as_mut(), now);
            let at = self.done.back().map_or(now, |(at, _)| *at);
            self.done.push_back((at + random.up_to(SLOW), stored));
        }
        let mut told = Vec::new();
        while self.done.front().is_some_and(|(at, _)| *at <= now) {
            told.extend(self.done.pop_front().map(|(_, stored)| stored));
        }
        told
    }
}

/// The longest that a store takes for one half of what it does.
const SLOW: Duration = Duration::from_millis(40);

impl Server {
    fn after(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            let request = match event {
                ServerEvent::Request(request) => request,
                ServerEvent::Store(op) => {
                    let disk = self
                        .disk
                        .as_mut()
                        .expect("only who has a store asks for it");
                    let at = disk.wanted.back().map_or(now, |(at, _)| *at);
                    let at = at + self.random.up_to(SLOW);
                    disk.wanted.push_back((at, op));
                    continue;
                }
                _ => continue,
            };
            assert!(
                request.deadline.map_or(true, |deadline| now < deadline),
                "RPC-09"
            );
            let number = number_of(&request.body);
            let mut world = self.world.borrow_mut();
            let life = (self.id, self.life);
            if let Some(number) = number {
                *world.effects.entry((life.0, life.1, number)).or_default() += 1;
            }
            if let Some(key) = request.key {
                let count = world.keyed.entry((life.0, life.1, key)).or_default();
                *count += 1;
                assert_eq!(*count, 1, "RPC-02: {number:?} was carried out twice");
                let count = world.everywhere.entry(key).or_default();
                *count += 1;
                let count = *count;
                assert!(
                    count == 1 || !world.stored,
                    "RPC-02: {number:?} was carried out twice, in spite of the store"
                );
            }
            self.bodies.insert(request.id, number);
            self.busy.set(
                request.id,
                now + self.random.up_to(Duration::from_millis(150)),
            );
        }
        let (queued, ..) = self.engine.load();
        assert!(queued <= self.bound);
        let mut world = self.world.borrow_mut();
        let waited = self.engine.counters().waited;
        world.waited = world.waited.max(waited);
        world.longest = world.longest.max(queued);
    }
}

impl Node for Server {
    forward!(engine);
    fn takes_messages(&self, port: Port) -> bool {
        self.engine.takes_messages(port)
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        let disk = self.disk.as_mut();
        for stored in disk.map_or(Vec::new(), |disk| disk.work(now, &mut self.random)) {
            self.engine.handle_stored(now, stored);
        }
        while let Some(id) = self.busy.expire(now) {
            let Some(number) = self.bodies.remove(&id).unwrap() else {
                self.engine
                    .handle_fault(now, id, Failure::failed("rubbish"));
                continue;
            };
            if number % 4 == 0 {
                for count in 0..3 {
                    self.engine.handle_partial(id, &part(number, count));
                }
            }
            self.engine.handle_reply(now, id, answer(number));
        }
        self.after(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let disk = self.disk.as_ref().and_then(Disk::next);
        let timers = [self.engine.poll_timeout(), self.busy.next(), disk];
        timers.into_iter().flatten().min()
    }
}

/// A plain REP socket in lock-step: it sends back whatever envelope it got.
struct PlainRep {
    id: usize,
    world: Shared,
    queue: VecDeque<(Port, PeerId, Message)>,
    done: Option<Instant>,
    out: Option<Transmit>,
}

impl Node for PlainRep {
    fn handle_message(
        &mut self,
        now: Instant,
        port: Port,
        from: Option<&PeerId>,
        message: Message,
    ) {
        self.queue.push_back((port, from.unwrap().clone(), message));
        self.done.get_or_insert(now + Duration::from_millis(20));
    }
    fn handle_peer(&mut self, _: Instant, _: Port, event: PeerEvent) {
        if let PeerEvent::Down { peer: Some(peer) } = event {
            self.queue.retain(|(_, from, _)| *from != peer);
        }
    }
    fn handle_refused(&mut self, _: Instant, _: Transmit) {}
    fn handle_timeout(&mut self, now: Instant) {
        if self.done.is_some_and(|at| now >= at) {
            self.done = None;
            if let Some((port, to, message)) = self.queue.pop_front() {
                if let Ok(parts) = wire::decode(message, false) {
                    let number = number_of(&parts.body);
                    let mut world = self.world.borrow_mut();
                    if let Some(number) = number {
                        *world.effects.entry((self.id, 0, number)).or_default() += 1;
                    }
                    let reply = number.map_or_else(rubbish, answer);
                    let message = wire::encode(&parts.envelope, None, Some(&reply));
                    self.out = Some(Transmit {
                        port,
                        to: Some(to),
                        message,
                    });
                }
                self.done = Some(now + Duration::from_millis(20));
            }
        }
    }
    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit> {
        self.out.take()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.done
    }
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

fn plain_rep(id: usize, world: &Shared) -> impl Fn(Instant) -> Box<dyn Node> {
    let world = Rc::clone(world);
    move |_| {
        Box::new(PlainRep {
            id,
            world: Rc::clone(&world),
            queue: VecDeque::new(),
            done: None,
            out: None,
        })
    }
}

const CALLS: u64 = 60;
const BUDGET: RetryBudget = RetryBudget {
    ratio_percent: 20,
    burst: 10,
};

fn client_config(seed: u64, dialect: Dialect) -> ClientConfig {
    let mut random = Random::new(seed);
    ClientConfig {
        dialect,
        pick: [Pick::Sticky, Pick::LeastLoaded][random.below(2) as usize],
        retry: RetryPolicy {
            attempt_timeout: Duration::from_millis(100 + random.below(900)),
            budget: (random.below(2) == 0).then_some(BUDGET),
            hedge_after: (seed % 8 > 4).then(|| Duration::from_millis(10 + seed % 90)),
            ..RetryPolicy::default()
        },
        calls: 40,
        in_flight: 1 + random.below(30) as usize,
        ..ClientConfig::default()
    }
}

fn server(
    id: usize,
    seed: u64,
    world: &Shared,
    store: Option<MemoryStore>,
    on_full: OnFull,
) -> impl Fn(Instant) -> Box<dyn Node> {
    let world = Rc::clone(world);
    world.borrow_mut().stored = store.is_some();
    move |_| {
        let life = {
            let mut world = world.borrow_mut();
            let life = world.lives.entry(id).or_default();
            *life += 1;
            *life
        };
        let bound = if on_full == OnFull::Wait { 3 } else { 8 };
        let config = ServerConfig {
            concurrency: 2,
            queue: Limits {
                messages: bound,
                on_full,
                ..Limits::default()
            },
            cache: Some(CacheConfig::default()),
            ..ServerConfig::default()
        };
        let disk = store.as_ref().map(|store| Disk {
            life: store.join().unwrap(),
            wanted: VecDeque::new(),
            done: VecDeque::new(),
        });
        Box::new(Server {
            engine: match disk {
                Some(_) => ServerEngine::with_store(config),
                None => ServerEngine::new(config),
            },
            disk,
            id,
            life,
            random: Random::new(seed ^ life),
            world: Rc::clone(&world),
            busy: Timers::new(),
            bodies: BTreeMap::new(),
            bound,
        })
    }
}

/// In a third of the schedules servers decline nobody, and read no more while they are full.
fn on_full(seed: u64) -> OnFull {
    match (seed / 2) % 3 {
        0 => OnFull::Wait,
        _ => OnFull::Reject,
    }
}

/// One client and some servers, under whatever weather.
fn run(seed: u64, servers: u32, dialect: Dialect, hostile: bool) -> (u64, Rc<RefCell<World>>) {
    run_with(seed, servers, dialect, hostile, None)
}

/// The same with a store that survives the servers.
fn run_with(
    seed: u64,
    servers: u32,
    dialect: Dialect,
    hostile: bool,
    store: Option<MemoryStore>,
) -> (u64, Rc<RefCell<World>>) {
    let mut sim = Sim::new(seed);
    let world: Shared = Rc::default();
    let config = client_config(seed, dialect);
    let shared = Rc::clone(&world);
    let client = sim.add(move |now| {
        let shared = Rc::clone(&shared);
        let mut caller = Caller::new(config, servers, CALLS, seed, now, shared);
        caller.fickle = dialect == Dialect::Ext && seed % 5 < 2;
        Box::new(caller)
    });
    if seed % 7 < 3 {
        sim.keep_name(client);
    }
    let mut nodes = Vec::new();
    for id in 0..servers as usize {
        let node = match dialect {
            Dialect::Ext => sim.add(server(id, seed, &world, store.clone(), on_full(seed))),
            Dialect::Plain => sim.add(plain_rep(id, &world)),
        };
        sim.connect(client, Port(id as u32), node, Port(0));
        nodes.push(node);
    }
    let weather = Weather {
        pause: Duration::from_millis(400),
        lasts: Duration::from_secs(2),
        ends: Duration::from_secs(6),
        hostile,
    };
    sim.weather(weather, &nodes);
    let trace = sim.run(Duration::from_secs(60));
    let caller = sim.node::<Caller>(client).unwrap();
    assert_eq!((caller.left, caller.engine.running()), (0, 0));
    assert_eq!(
        caller.engine.poll_timeout(),
        None,
        "nothing is left to wait for"
    );
    let counters = caller.engine.counters();
    let results = world.borrow().results.len() as u64;
    assert_eq!(results, CALLS, "each call ends once");
    // Frames that are repeated are carried out after all.
    if !hostile && dialect == Dialect::Ext {
        let world = world.borrow();
        for (number, result) in &world.results {
            let untouched = matches!(result, Err(error) if !error.maybe_executed());
            let done = world.effects.keys().any(|(.., done)| done == number);
            let again = world.again.contains(number);
            assert!(!untouched || !done || again, "RPC-03: {number}: {result:?}");
        }
    }
    if config.retry.budget.is_some() {
        let retries =
            counters.calls * u64::from(BUDGET.ratio_percent) / 100 + u64::from(BUDGET.burst);
        assert!(counters.retries <= retries, "SUB-03: {counters:?}");
    }
    (trace, world)
}

#[test]
fn every_call_ends_once_in_time_with_its_own_reply() {
    let (good, waited) = (Cell::new(0), Cell::new(0));
    schedules(2500, |seed| {
        let hostile = seed % 4 < 2;
        let (trace, world) = run(seed, 1 + (seed % 3) as u32, Dialect::Ext, hostile);
        let world = world.borrow();
        waited.set(waited.get() + world.waited);
        good.set(
            good.get()
                + world
                    .results
                    .values()
                    .filter(|result| result.is_ok())
                    .count(),
        );
        assert!(world.longest <= 8);
        trace
    });
    assert!(good.get() > 0, "some calls succeed");
    assert!(waited.get() > 0, "some wait for room");
}

/// RPC-02: with a store that outlives them, servers carry a key out at most once, all of them together, whatever kills
/// them; who has a reply has that of the one time, and who has none knows that it may have been done.
#[test]
fn a_key_in_a_store_is_carried_out_once() {
    let (good, in_doubt, most) = (Cell::new(0), Cell::new(0), Cell::new(0));
    schedules(2500, |seed| {
        // In half of the schedules there is room for a few keys only.
        let limits = StoreLimits {
            keys: if seed % 4 > 1 { 5 } else { 10_000 },
            ..StoreLimits::default()
        };
        let store = MemoryStore::new(limits);
        let servers = 1 + (seed % 3) as u32;
        let hostile = seed % 2 == 0;
        let (trace, world) = run_with(seed, servers, Dialect::Ext, hostile, Some(store.clone()));
        assert!(store.size().0 <= limits.keys);
        let world = world.borrow();
        for (number, result) in &world.results {
            let Idem::Key(key) = world.asked[number] else {
                continue;
            };
            let times = world.everywhere.get(&key).copied().unwrap_or(0);
            most.set(most.get().max(times));
            match result {
                Ok(_) => {
                    assert_eq!(times, 1, "a reply to what was done once");
                    good.set(good.get() + 1);
                }
                Err(error) => {
                    // A request that was declined, and that a stranger repeats later, is another matter.
                    let other = hostile || world.again.contains(number);
                    assert!(times == 0 || error.maybe_executed() || other, "{error}");
                    let doubt =
                        matches!(error, CallError::Remote(f) if f.status == Status::InDoubt);
                    in_doubt.set(in_doubt.get() + u64::from(doubt));
                }
            }
        }
        trace
    });
    assert!(good.get() > 0 && in_doubt.get() > 0, "both happen");
    assert_eq!(most.get(), 1);
}

#[test]
fn plain_rep_servers_are_servers() {
    schedules(1000, |seed| {
        run(seed, 1 + (seed % 3) as u32, Dialect::Plain, true).0
    });
}

/// A server that is frozen and one that works: calls go on, and the frozen one is left alone.
#[test]
fn half_dead_servers_are_left() {
    schedules(100, |seed| {
        let mut sim = Sim::new(seed);
        let world: Shared = Rc::default();
        let config = ClientConfig {
            retry: RetryPolicy {
                attempt_timeout: Duration::from_millis(500),
                budget: None,
                ..RetryPolicy::default()
            },
            ..client_config(seed, Dialect::Ext)
        };
        let shared = Rc::clone(&world);
        let client = sim.add(move |now| {
            let shared = Rc::clone(&shared);
            Box::new(Caller::new(config, 2, 200, seed, now, shared))
        });
        for id in 0..2 {
            let node = sim.add(server(id, seed, &world, None, on_full(seed)));
            sim.connect(client, Port(id as u32), node, Port(0));
            if id == 0 {
                sim.fault_at(Duration::from_millis(500), Fault::Freeze(node));
            }
        }
        let trace = sim.run(Duration::from_secs(60));
        let caller = sim.node::<Caller>(client).unwrap();
        let attempts = caller.engine.counters().attempts;
        let world = world.borrow();
        let by_second = world.effects.keys().filter(|(id, ..)| *id == 1).count();
        assert!(by_second > 50, "{by_second} of {attempts}");
        trace
    });
}

/// RPC-05: replies vanish; the attempts stay within the budget.
#[test]
fn a_black_hole_does_not_multiply_requests() {
    let mut sim = Sim::new(5);
    let world: Shared = Rc::default();
    let config = ClientConfig {
        retry: RetryPolicy {
            attempt_timeout: Duration::from_millis(100),
            budget: Some(BUDGET),
            breaker: None,
            ..RetryPolicy::default()
        },
        calls: 10_000,
        ..client_config(5, Dialect::Ext)
    };
    let shared = Rc::clone(&world);
    let client = sim.add(move |now| {
        let shared = Rc::clone(&shared);
        Box::new(Caller::new(config, 1, 500, 5, now, shared))
    });
    let node = sim.add(server(0, 5, &world, None, OnFull::Reject));
    sim.connect(client, Port(0), node, Port(0));
    sim.fault_at(Duration::from_millis(200), Fault::Mute(node));
    sim.run(Duration::from_secs(60));
    let counters = sim.node::<Caller>(client).unwrap().engine.counters();
    assert!(counters.over_budget > 0);
    assert!(
        counters.attempts <= counters.calls * 12 / 10 + 10,
        "{counters:?}"
    );
}

/// After any weather the sun shines: calls succeed.
#[test]
fn recovery() {
    schedules(400, |seed| {
        let mut sim = Sim::new(seed);
        let world: Shared = Rc::default();
        let config = ClientConfig {
            pick: Pick::LeastLoaded,
            ..client_config(seed, Dialect::Ext)
        };
        let mut nodes = Vec::new();
        let shared = Rc::clone(&world);
        let client = sim.add(move |now| {
            let mut caller = Caller::new(config, 2, 20, seed, now, Rc::clone(&shared));
            caller.next = now + Duration::from_secs(60);
            caller.patience = Duration::from_secs(6);
            Box::new(caller)
        });
        for id in 0..2 {
            let node: NodeId = sim.add(server(id, seed, &world, None, on_full(seed)));
            sim.connect(client, Port(id as u32), node, Port(0));
            nodes.push(node);
        }
        let weather = Weather {
            pause: Duration::from_millis(200),
            lasts: Duration::from_secs(3),
            ends: Duration::from_secs(10),
            hostile: true,
        };
        sim.weather(weather, &nodes);
        let trace = sim.run(Duration::from_secs(120));
        let world = world.borrow();
        let good = world
            .results
            .values()
            .filter(|result| result.is_ok())
            .count();
        assert_eq!(good, 20, "{:?}", world.results);
        trace
    });
}

/// The rows of the loss table: a client of two servers.
pub(crate) fn loss_rows() -> String {
    let ours = rows("`rpc`, server", |seed, trouble, tallies| {
        fare(seed, trouble, tallies, Dialect::Ext, None);
    });
    let plain = rows("`rpc`, plain REP", |seed, trouble, tallies| {
        fare(seed, trouble, tallies, Dialect::Plain, None);
    });
    let stored = rows("`rpc`, server with a store", |seed, trouble, tallies| {
        let store = MemoryStore::new(StoreLimits::default());
        fare(seed, trouble, tallies, Dialect::Ext, Some(store));
    });
    ours + &plain + &stored
}

fn fare(
    seed: u64,
    trouble: Trouble,
    tallies: &mut Tallies,
    dialect: Dialect,
    store: Option<MemoryStore>,
) {
    let mut sim = Sim::new(seed);
    let world: Shared = Rc::default();
    let config = ClientConfig {
        retry: RetryPolicy {
            attempt_timeout: Duration::from_secs(1),
            budget: None,
            breaker: None,
            ..RetryPolicy::default()
        },
        in_flight: 8,
        pick: Pick::LeastLoaded,
        ..client_config(seed, dialect)
    };
    let shared = Rc::clone(&world);
    let calls = trouble.calls(100);
    let client = sim.add(move |now| {
        let mut caller = Caller::new(config, 2, calls, seed, now, Rc::clone(&shared));
        caller.patience = Duration::from_secs(4);
        caller.pause = trouble.pause(caller.pause);
        Box::new(caller)
    });
    let nodes: Vec<NodeId> = (0..2)
        .map(|id| {
            let node = match dialect {
                Dialect::Ext => sim.add(server(id, seed, &world, store.clone(), OnFull::Reject)),
                Dialect::Plain => sim.add(plain_rep(id, &world)),
            };
            sim.connect(client, Port(id as u32), node, Port(0));
            node
        })
        .collect();
    trouble.befall(&mut sim, &nodes);
    sim.run(Duration::from_secs(30));
    let world = world.borrow();
    assert_eq!(world.results.len() as u64, calls, "each call ends");
    for (number, result) in &world.results {
        let times = world
            .effects
            .iter()
            .filter(|((.., done), _)| done == number);
        let times = times.map(|(_, count)| count).sum();
        let idem = world.asked[number];
        // Only keys have to do with a store, and a plain server is asked for none.
        let counts = match matches!(idem, Idem::Key(_)) {
            true => dialect == Dialect::Ext,
            false => store.is_none(),
        };
        if counts {
            tallies.note(idem, result, times);
        }
    }
}
