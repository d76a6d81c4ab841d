//! What becomes of takes and of requests at a gate while somebody is in trouble: rows of `docs/loss-table.md`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sinew::Message;

use super::*;
use crate::common::{CallEvent, CallId, CallOptions, Engine, Idem, Port, Random, Timers};
use crate::lab::{forward, rows, Node, NodeId, Sim, Trouble};
use crate::rpc::{ClientConfig, ClientEngine, ServerConfig, ServerEngine, ServerEvent};

/// Nothing is asked for any more, and nothing is left to be told.
const STOPS: Duration = Duration::from_secs(8);
const ENDS: Duration = Duration::from_secs(14);

/// How long a take waits for its token.
const WITHIN: Duration = Duration::from_millis(500);

/// What everybody writes down.
#[derive(Debug, Default)]
struct World {
    asked: u64,
    given: u64,
    refused: u64,
    /// Takes without a token; requests carried out once more.
    again: u64,
    /// Clients so far, killed ones included.
    lives: u64,
    /// How often requests were carried out, by their bodies.
    effects: BTreeMap<Vec<u8>, u64>,
}

type Shared = Rc<RefCell<World>>;

/// What a client does besides calling.
trait Client {
    fn ended(&mut self, now: Instant, reply: Option<&Message>, maybe_done: bool);
    /// Does what is due; what is to be asked, if anything.
    fn act(&mut self, now: Instant, busy: bool) -> Option<Message>;
    fn next(&self) -> Instant;
}

/// A client that calls a plain server, each request once.
struct Caller<C> {
    engine: ClientEngine,
    client: C,
    running: usize,
}

impl<C: Client> Caller<C> {
    fn new(client: C, seed: u64) -> Self {
        Caller {
            engine: ClientEngine::new(ClientConfig::default(), 1, seed),
            client,
            running: 0,
        }
    }

    fn after(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.engine.poll_event() {
                if let CallEvent::Done { result, .. } = event {
                    self.running -= 1;
                    let maybe_done = result
                        .as_ref()
                        .map_or_else(|e| e.maybe_executed(), |_| true);
                    self.client.ended(now, result.as_ref().ok(), maybe_done);
                }
            }
            let Some(body) = self.client.act(now, self.running > 0) else {
                return;
            };
            let options = CallOptions {
                deadline: Duration::from_secs(1),
                idem: Idem::Once,
                ..CallOptions::default()
            };
            let begun: Result<CallId, _> = self.engine.handle_call(now, body, options);
            match begun {
                Ok(_) => self.running += 1,
                Err(error) => self.client.ended(now, None, error.maybe_executed()),
            }
        }
    }
}

impl<C: Client + 'static> Node for Caller<C> {
    forward!(engine);
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        self.after(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.engine
            .poll_timeout()
            .into_iter()
            .chain([self.client.next()])
            .min()
    }
}

/// Somebody who takes tokens, one at a time, each within half a second.
struct Taker {
    purse: TokenPurse,
    random: Random,
    /// Until when each take is tried.
    takes: VecDeque<Instant>,
    next: Instant,
    again: Instant,
    stops: Instant,
    /// The longest time between two takes.
    pause: Duration,
    world: Shared,
}

impl Client for Taker {
    fn ended(&mut self, now: Instant, reply: Option<&Message>, _: bool) {
        let taken = reply.is_some_and(|reply| self.purse.handle_reply(now, reply).is_ok());
        if !taken {
            self.purse.handle_unreachable(now);
        }
    }

    fn act(&mut self, now: Instant, busy: bool) -> Option<Message> {
        let mut world = self.world.borrow_mut();
        while now >= self.next && now < self.stops {
            self.next += self.random.up_to(self.pause) + Duration::from_micros(1);
            self.takes.push_back(now + WITHIN);
            world.asked += 1;
        }
        self.again = now + Duration::from_millis(500);
        while let Some(until) = self.takes.front() {
            let had = self.purse.tokens();
            match self.purse.try_take(now, 1) {
                Ok(()) => {
                    world.given += 1;
                    world.again += u64::from(had == 0);
                }
                Err(_) if now >= *until => world.refused += 1,
                Err(retry) => {
                    self.again = (now + retry.0.max(Duration::from_millis(1))).min(*until);
                    break;
                }
            }
            self.takes.pop_front();
        }
        match busy {
            true => None,
            false => self.purse.poll_request(now),
        }
    }

    fn next(&self) -> Instant {
        match self.next < self.stops {
            true => self.next.min(self.again),
            false => self.again,
        }
    }
}

/// A token server, which knows nothing after it was killed.
struct Mint {
    engine: ServerEngine,
    mint: TokenMint,
}

impl Mint {
    fn after(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            if let ServerEvent::Request(request) = event {
                let reply = self.mint.handle_request(now, &request.body);
                self.engine.handle_reply(now, request.id, reply);
            }
        }
    }
}

impl Node for Mint {
    forward!(engine);
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }
}

/// Three who take tokens, of a server in trouble: 200 a second, of which they want half.
fn tokens(seed: u64, trouble: Trouble, on_unreachable: Unreachable) -> Shared {
    const RATE: f64 = 200.0;
    const BURST: u32 = 20;
    let mut sim = Sim::new(seed);
    let world: Shared = Rc::default();
    let stops = sim.start() + STOPS;
    let server = sim.add(|now| {
        let mut mint = TokenMint::new(Duration::from_secs(1));
        mint.set_bucket("b", RATE, BURST, now);
        let engine = ServerEngine::new(ServerConfig::default());
        Box::new(Mint { engine, mint })
    });
    for taker in 1..=3 {
        let shared = Rc::clone(&world);
        let taker = sim.add(move |now| {
            let config = TokenConfig {
                on_unreachable,
                ..TokenConfig::default()
            };
            let taker = Taker {
                purse: TokenPurse::new("b", config),
                random: Random::new(seed ^ taker << 32),
                takes: VecDeque::new(),
                // By then there are tokens.
                next: now + Duration::from_millis(300),
                again: now,
                stops,
                pause: trouble.pause(Duration::from_millis(60)),
                world: Rc::clone(&shared),
            };
            Box::new(Caller::new(taker, seed ^ 7))
        });
        sim.connect(taker, Port(0), server, Port(0));
    }
    trouble.befall(&mut sim, &[server]);
    sim.run(ENDS);
    // The last take may wait until then.
    let most = (STOPS + WITHIN).as_secs_f64() * RATE + f64::from(BURST);
    let tokens = world.borrow().given - world.borrow().again;
    assert!(tokens as f64 <= most, "{tokens} of {most}");
    world
}

/// Somebody who asks for something behind a gate.
struct Asker {
    random: Random,
    life: u64,
    number: u64,
    next: Instant,
    stops: Instant,
    /// The longest time between two requests.
    pause: Duration,
    world: Shared,
}

impl Client for Asker {
    fn ended(&mut self, _: Instant, reply: Option<&Message>, maybe_done: bool) {
        let mut world = self.world.borrow_mut();
        match reply.map(Message::as_bytes) {
            Some(b"done") => world.given += 1,
            Some(_) => world.refused += 1,
            None => world.refused += u64::from(!maybe_done),
        }
    }

    fn act(&mut self, now: Instant, _: bool) -> Option<Message> {
        if now < self.next || now >= self.stops {
            return None;
        }
        self.next = now + self.random.up_to(self.pause) + Duration::from_micros(1);
        self.number += 1;
        self.world.borrow_mut().asked += 1;
        Some(
            [self.life, self.number]
                .map(u64::to_be_bytes)
                .concat()
                .into(),
        )
    }

    fn next(&self) -> Instant {
        match self.next < self.stops {
            true => self.next,
            false => self.stops + ENDS,
        }
    }
}

/// What is behind a gate, which lets in two at a time.
struct Gated {
    engine: GatedEngine,
    random: Random,
    busy: Timers<TicketId>,
    inside: BTreeMap<TicketId, Message>,
    world: Shared,
}

impl Gated {
    fn after(&mut self, now: Instant) {
        while let Some(admitted) = self.engine.poll_event() {
            let body = admitted.message.frames().last().expect("it has frames");
            let mut world = self.world.borrow_mut();
            *world.effects.entry(body.to_vec()).or_default() += 1;
            drop(world);
            let span = self.random.up_to(Duration::from_millis(20));
            self.busy.set(admitted.ticket, now + span);
            self.inside.insert(admitted.ticket, admitted.message);
        }
        assert!(self.inside.len() <= 2, "no more than two at a time");
    }
}

/// The answer, with the envelope of the request.
fn answer(request: &Message, what: &'static str) -> Message {
    let mut frames = request.frames().to_vec();
    frames.pop();
    frames.push(what.into());
    Message::multipart(frames)
}

impl Node for Gated {
    forward!(engine);
    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        while let Some(ticket) = self.busy.expire(now) {
            let request = self.inside.remove(&ticket).expect("it is inside");
            let reply = answer(&request, "done");
            self.engine.handle_done(now, ticket, Some(reply));
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
}

/// Four clients of a gate, in trouble by turns. Whoever had a permit, nobody has one in the end.
fn gate(seed: u64, trouble: Trouble) -> Shared {
    let mut sim = Sim::new(seed);
    let world: Shared = Rc::default();
    let stops = sim.start() + STOPS;
    let shared = Rc::clone(&world);
    let gated = sim.add(move |_| {
        let config = GateConfig {
            inside: 2,
            ..GateConfig::default()
        };
        let patience = Some(Duration::from_millis(300));
        let refuse = |request: &Message, _| Some(answer(request, "no"));
        Box::new(Gated {
            engine: GatedEngine::new(config, patience, refuse),
            random: Random::new(seed),
            busy: Timers::new(),
            inside: BTreeMap::new(),
            world: Rc::clone(&shared),
        })
    });
    let clients: Vec<NodeId> = (0..4)
        .map(|_| {
            let shared = Rc::clone(&world);
            let client = sim.add(move |now| {
                let mut world = shared.borrow_mut();
                world.lives += 1;
                let asker = Asker {
                    random: Random::new(seed ^ world.lives << 32),
                    life: world.lives,
                    number: 0,
                    next: now,
                    stops,
                    pause: trouble.pause(Duration::from_millis(100)),
                    world: Rc::clone(&shared),
                };
                Box::new(Caller::new(asker, seed ^ world.lives))
            });
            sim.connect(client, Port(0), gated, Port(0));
            client
        })
        .collect();
    match trouble {
        // Only a ROUTER has strangers.
        Trouble::Malformed => trouble.befall(&mut sim, &[gated]),
        _ => trouble.befall(&mut sim, &clients),
    }
    sim.run(ENDS);
    let gated = sim.node::<Gated>(gated).expect("nothing befell it");
    assert_eq!(gated.engine.load(), (0, 0, 0), "every permit came back");
    let mut now = world.borrow_mut();
    now.again = now.effects.values().map(|count| count - 1).sum();
    drop(now);
    world
}

/// The rows of the token server and of a gate's clients.
pub(crate) fn loss_rows() -> String {
    let mut table = rows("`flow`, token server", |seed, trouble, tallies| {
        for (kind, unreachable) in [
            ("takes, `Closed`", Unreachable::Closed),
            ("takes, `Open`", Unreachable::Open),
        ] {
            let world = tokens(seed, trouble, unreachable);
            let world = world.borrow();
            tallies.note_counts(kind, world.asked, world.given, world.refused, world.again);
            if unreachable == Unreachable::Closed {
                assert_eq!(world.again, 0, "closed means closed");
            }
        }
    });
    table += &rows("`flow`, clients of a gate", |seed, trouble, tallies| {
        let world = gate(seed, trouble);
        let world = world.borrow();
        tallies.note_counts(
            "`Once`",
            world.asked,
            world.given,
            world.refused,
            world.again,
        );
    });
    table
}
