//! The worker as a value: one service, one connection to one of several brokers, and one request at a time, or several if
//! both speak the extension header.
//!
//! | state | event | next |
//! | --- | --- | --- |
//! | Asking | the broker answers, or is silent for `interval × liveness` | Down |
//! | Asking | no connection within `interval × liveness` | the next broker |
//! | Down | the connection is made | READY is sent; Ready |
//! | Down | not made within `interval × liveness` | the next broker |
//! | Ready | REQUEST | Working |
//! | Working | the handler has its reply | it is sent; Ready |
//! | Working | nobody waits for it any more, with the extension header | the handler is told, and goes on as it likes |
//! | Working | the connection is lost | the handler goes on; its reply is of no use any more |
//! | Working | the worker drains, and has no more time | the handler is told, and the worker leaves |
//! | Ready, Working | DISCONNECT | a pause, then a new connection to the next broker |
//! | Ready | silence, if the broker ever sent a heartbeat | a pause, then the next broker |
//!
//! Asking is before Down, of a worker that asks brokers whether they speak the extension header
//! ([`WorkerConfig::ask_ext`]), over a connection of its own, as a client. It asks again when its connection is lost: behind
//! the endpoint there may be another broker by then.
//!
//! With several slots, Working is what it is with at least one request, and REQUEST is welcome as long as a slot is free.
//! Requests of a lost connection keep their slots until their handlers have finished. One that drains tells the broker to
//! leave its free slots alone, and registers with no other.
//!
//! A broker's silence means nothing while the worker works: known brokers are silent towards busy workers.
//! Brokers that know of slots are not, so with several slots it counts all the time. One that takes nothing of what the
//! worker has for it, for as long as it may be silent otherwise, is given up in any case.
//! A reply that is larger than the socket sends is a fault of its request, and of nothing else.
//! READY is the first message on every connection, and nothing is queued for one that is not there.

mod drain;
mod parts;
mod too_large;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::negotiation;
use super::wire::{self, Dialect, Note, ToWorker};
use crate::common::{
    Backoff, Beat, Engine, Ext, Fault, Headers, Heartbeat, IdMap, Linger, Liveness, MsgId, Op,
    Outbox, PeerEvent, PeerId, Port, Random, Status, Transmit, LONGEST,
};
use parts::Part;

/// Options of a worker.
///
/// ```
/// use sinew_patterns::mdp::WorkerConfig;
///
/// let config = WorkerConfig { ext: true, ..WorkerConfig::default() };
/// assert_eq!(config.heartbeat.liveness, 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerConfig {
    /// What the brokers speak.
    pub dialect: Dialect,
    /// Whether the brokers are known to speak the extension header, as [`BrokerEngine`](super::BrokerEngine) does and
    /// others do not: they answer `mmi.features` with 501. Default: no.
    pub ext: bool,
    /// Whether to ask brokers for that, without `ext`: before each connection, over one more that is closed again. A
    /// broker that answers `mmi.features` with 200 is spoken to with the extension header; one that answers with anything
    /// else, or not within [`patience`](Heartbeat::patience), without. The worker has one slot per connection then.
    /// Default: no.
    pub ask_ext: bool,
    /// Heartbeats to and from the broker.
    pub heartbeat: Heartbeat,
    /// The pauses before new connections.
    pub backoff: Backoff,
    /// How long the worker stays when it is told to drain: what its handlers have is finished, and replies are sent. Of that
    /// the last quarter, a second at most, is for sending. What handlers have not finished before is given up: they are
    /// told that nobody waits ([`Request::is_cancelled`](crate::Request::is_cancelled)), and the broker does with it as with
    /// what a lost worker had, which is to give it to another unless it may be sent only once. At most 30 days. Default: 30 s.
    pub linger: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        WorkerConfig {
            dialect: Dialect::V1,
            ext: false,
            ask_ext: false,
            heartbeat: Heartbeat::default(),
            backoff: Backoff::default(),
            linger: Duration::from_secs(30),
        }
    }
}

/// Names a request at a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerRequestId(u64);

/// A request for the handler.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerRequest {
    /// What to name it by in the reply.
    pub id: WorkerRequestId,
    /// What is asked.
    pub body: Message,
    /// What else the client tells, if it speaks the extension header.
    pub headers: Headers,
    /// When nobody waits for the reply any more, if the client said so.
    pub deadline: Option<Instant>,
    /// What the client calls it, if it speaks the extension header.
    pub name: Option<MsgId>,
    /// To how many workers it was given, with this one, if the client speaks the extension header.
    pub delivery: Option<u16>,
}

/// What a worker wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEvent {
    /// Open a new DEALER, known by this port, and connect it to the broker of this number.
    Open {
        /// Its name from now on.
        port: Port,
        /// Which broker.
        broker: usize,
    },
    /// Close this one, and throw away what comes from it.
    Close {
        /// Which.
        port: Port,
    },
    /// The handler is to carry this out.
    Request(WorkerRequest),
    /// Nobody waits for this reply any more: its client has given up or is gone, or the broker has given the request to
    /// another worker. The handler may stop; it still ends with [`WorkerEngine::handle_reply`] or
    /// [`WorkerEngine::handle_fault`].
    Cancelled(WorkerRequestId),
    /// A part of a reply for which there was no room ([`WorkerEngine::is_waiting`]) is sent now, or never will be. Once for
    /// each, in the order in which they came.
    Part {
        /// Of the reply to which request.
        id: WorkerRequestId,
        /// Whether it was sent.
        sent: bool,
    },
    /// After [`WorkerEngine::handle_drain`]: nothing is left to do.
    Drained,
}

/// What a worker has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WorkerCounters {
    /// Requests given to the handler.
    pub requests: u64,
    /// Replies and faults sent.
    pub replies: u64,
    /// Replies, and parts of them, that were of no use: the connection was lost meanwhile, nobody waits for them, or they are
    /// larger than the socket sends.
    pub undeliverable: u64,
    /// Requests whose deadline was over before the handler had them.
    pub expired: u64,
    /// Requests declined because they were not to be begun yet.
    pub early: u64,
    /// Requests that the broker said nobody waits for any more.
    pub cancelled: u64,
    /// Requests that handlers had not finished when the worker that drained had no more time ([`WorkerConfig::linger`]).
    pub unfinished: u64,
    /// Connections given up: by the broker, or for its silence.
    pub reconnects: u64,
    /// Messages that are not of the protocol, or not expected.
    pub malformed: u64,
}

impl WorkerCounters {
    /// The sum of both.
    pub(crate) fn add(&mut self, other: &WorkerCounters) {
        self.requests += other.requests;
        self.replies += other.replies;
        self.undeliverable += other.undeliverable;
        self.expired += other.expired;
        self.early += other.early;
        self.cancelled += other.cancelled;
        self.unfinished += other.unfinished;
        self.reconnects += other.reconnects;
        self.malformed += other.malformed;
    }
}

/// A Majordomo worker.
///
/// ```
/// use std::time::Instant;
/// use sinew::Message;
/// use sinew_patterns::common::{Engine, PeerEvent};
/// use sinew_patterns::mdp::{WorkerEngine, WorkerConfig, WorkerEvent};
///
/// let now = Instant::now();
/// let mut worker = WorkerEngine::new(WorkerConfig::default(), "echo", 1, 7, now);
/// let Some(WorkerEvent::Open { port, broker: 0 }) = worker.poll_event() else { panic!() };
/// worker.handle_peer(now, port, PeerEvent::Up { peer: None });
/// let ready = worker.poll_transmit().unwrap().message;
/// assert_eq!(ready, Message::multipart(["", "MDPW01", "\x01", "echo"]));
/// ```
#[derive(Debug)]
pub struct WorkerEngine {
    config: WorkerConfig,
    service: Frame,
    brokers: usize,
    broker: usize,
    random: Random,
    next_port: u32,
    next_id: u64,
    link: Link,
    /// Whether the broker speaks the extension header.
    ext: bool,
    /// Requests that it takes at once.
    slots: usize,
    /// What handlers have, by request.
    work: IdMap<Work>,
    /// Those that came over the connection that stands.
    current: usize,
    /// Pauses made since the last request or heartbeat.
    pauses: u32,
    linger: Linger,
    /// It has nothing left to do, since then, but to send what waits for room.
    leaving: Option<Instant>,
    outbox: Outbox,
    /// Requests with parts that wait for credit.
    starved: BTreeSet<u64>,
    events: VecDeque<WorkerEvent>,
    counters: WorkerCounters,
}

#[derive(Debug)]
enum Link {
    /// Before a new socket is opened.
    Pause {
        until: Instant,
    },
    /// There is a socket to ask the broker what it speaks.
    Asking {
        port: Port,
        until: Instant,
        /// Whether it is connected, and the question was sent.
        asked: bool,
    },
    /// There is a socket, without a connection.
    Down {
        port: Port,
        until: Instant,
    },
    /// There is a connection.
    Up {
        port: Port,
        liveness: Liveness,
        beat: Beat,
        /// Whether READY was sent: not while a handler works on what an earlier connection brought.
        ready: bool,
    },
    Closed,
}

/// What the handler has.
#[derive(Debug)]
struct Work {
    client: Frame,
    ext: bool,
    name: Option<MsgId>,
    parts: u32,
    /// Whether the connection that it came over stands.
    current: bool,
    /// Whether the handler was told that nobody waits for it.
    cancelled: bool,
    deadline: Option<Instant>,
    /// What of parts may be sent, if the broker has said so.
    credit: Option<i64>,
    /// Parts that wait for that.
    held: VecDeque<Part>,
    /// A part of the reply was not sent.
    lost: bool,
}

impl WorkerEngine {
    /// A worker for this service, with so many equivalent brokers. Pauses follow from `seed` alone.
    ///
    /// # Panics
    /// If there are no brokers.
    #[must_use]
    pub fn new(
        config: WorkerConfig,
        service: impl Into<Frame>,
        brokers: usize,
        seed: u64,
        now: Instant,
    ) -> Self {
        WorkerEngine::with_slots(config, service, brokers, seed, now, 1)
    }

    /// The same, which takes so many requests at once over its one connection; 0 counts as 1. The brokers learn that from
    /// the extension header: without [`WorkerConfig::ext`] it takes one.
    ///
    /// # Panics
    /// If there are no brokers.
    #[must_use]
    pub fn with_slots(
        config: WorkerConfig,
        service: impl Into<Frame>,
        brokers: usize,
        seed: u64,
        now: Instant,
        slots: u32,
    ) -> Self {
        assert!(brokers > 0, "a worker needs a broker");
        let slots = match config.ext {
            true => slots.max(1) as usize,
            false => 1,
        };
        let mut worker = WorkerEngine {
            config,
            service: service.into(),
            brokers,
            broker: 0,
            random: Random::new(seed),
            next_port: 0,
            next_id: 0,
            link: Link::Pause { until: now },
            ext: config.ext,
            slots,
            work: IdMap::new(),
            current: 0,
            pauses: 0,
            linger: Linger::default(),
            leaving: None,
            outbox: Outbox::default(),
            starved: BTreeSet::new(),
            events: VecDeque::new(),
            counters: WorkerCounters::default(),
        };
        worker.handle_timeout(now);
        worker
    }

    /// The handler has the reply.
    pub fn handle_reply(&mut self, now: Instant, id: WorkerRequestId, reply: Message) {
        self.finish(now, id, Ok(reply));
    }

    /// The handler has failed. To a client or broker without extension header that looks like an empty
    /// reply, for 7/MDP has no other word for it.
    pub fn handle_fault(&mut self, now: Instant, id: WorkerRequestId, fault: Fault) {
        self.finish(now, id, Err(fault));
    }

    /// The deadline of a request was over before the handler took it: it is declined, and counts as expired.
    pub fn handle_expired(&mut self, now: Instant, id: WorkerRequestId) {
        if self.work.get(id.0).is_some() {
            self.counters.requests -= 1;
            self.counters.expired += 1;
            self.finish(now, id, Err(Fault::expired()));
        }
    }

    /// The handler has a part of the reply. False if nobody will read it. It may have to wait for room:
    /// [`is_waiting`](Self::is_waiting).
    pub fn handle_partial(&mut self, now: Instant, id: WorkerRequestId, part: Message) -> bool {
        let Some(work) = self.work.get_mut(id.0) else {
            return false;
        };
        let knows = work.ext || self.config.dialect == Dialect::V2;
        if !work.current || !knows || work.cancelled || work.lost {
            return false;
        }
        let ext = Ext {
            id: work.name,
            op: Op::Partial,
            part: Some(work.parts),
            status: Some(Status::Ok),
            ..Ext::default()
        };
        work.parts = work.parts.saturating_add(1);
        let (client, knows) = (work.client.clone(), work.ext);
        let header = self.header(knows, &ext, &part);
        let cost = wire::cost_of_part(part.byte_len());
        let Some(transmit) = self.answer(now, &client, header, part, false) else {
            return false;
        };
        self.handle_progress(now, id);
        self.send_part(id, Part { transmit, cost })
    }

    /// The handler makes progress: with [`Scope::Progress`](crate::common::Scope::Progress), heartbeats
    /// depend on it.
    pub fn handle_progress(&mut self, now: Instant, id: WorkerRequestId) {
        if let (true, Link::Up { beat, .. }) = (self.work.contains(id.0), &mut self.link) {
            beat.progress(now);
        }
    }

    /// The handler wants to keep the request for at least so long from now: the broker is asked to prolong its lease, if it
    /// has one, and with [`Scope::Progress`](crate::common::Scope::Progress) heartbeats go on meanwhile. False if the
    /// broker is not asked, which needs the extension header ([`WorkerConfig::ext`]), or the request is not its own any
    /// more. At most about 49 days, in milliseconds.
    pub fn handle_extend(&mut self, now: Instant, id: WorkerRequestId, by: Duration) -> bool {
        let Some(work) = self.work.get(id.0).filter(|work| work.current) else {
            return false;
        };
        let Link::Up { port, beat, .. } = &mut self.link else {
            return false;
        };
        beat.extend(now, by);
        if !self.ext {
            return false;
        }
        beat.sent(now);
        let ext = Ext {
            id: work.name,
            lease: Some(by),
            ..Ext::default()
        };
        let client = work.client.clone();
        let note = Note { client, ext };
        self.outbox.push(Transmit {
            port: *port,
            to: None,
            message: wire::encode_note(self.config.dialect, &note),
        });
        true
    }

    /// Whether a handler is at work.
    #[must_use]
    pub fn is_working(&self) -> bool {
        !self.work.is_empty()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> WorkerCounters {
        self.counters
    }

    fn finish(&mut self, now: Instant, id: WorkerRequestId, result: Result<Message, Fault>) {
        self.release_all(id);
        let Some(work) = self.work.remove(id.0) else {
            return;
        };
        if work.current {
            self.current -= 1;
            let result = match work.lost {
                true => Err(Fault::failed("a part of the reply could not be delivered")),
                false => result,
            };
            let fault = result.as_ref().err();
            let ext = Ext {
                id: work.name,
                op: Op::Final,
                part: (work.parts > 0).then_some(work.parts),
                status: Some(fault.map_or(Status::Ok, |fault| fault.status)),
                retry_after: fault.and_then(|fault| fault.retry_after),
                reason: fault.map(|fault| crate::rpc::short(&fault.reason).to_owned().into()),
                ..Ext::default()
            };
            let body = result.unwrap_or_default();
            let header = self.header(work.ext, &ext, &body);
            let reply = self.answer(now, &work.client, header, body, true);
            if let Some(reply) = reply {
                self.outbox.push(reply);
            }
            self.counters.replies += 1;
        } else {
            self.counters.undeliverable += 1;
        }
        if self.linger.is_on() {
            if self.work.is_empty() {
                self.depart(now);
            }
            return;
        }
        match &mut self.link {
            Link::Up {
                liveness,
                beat,
                ready: true,
                ..
            } if self.current == 0 => {
                beat.rest();
                if self.slots == 1 {
                    liveness.resume(now);
                }
            }
            Link::Up { ready: false, .. } => self.register(now),
            _ => {}
        }
    }

    /// The header in front of a reply. A client that sent none gets none, unless its broker would take the reply itself
    /// for one: the broker takes it off.
    fn header(&self, knows: bool, ext: &Ext<'_>, body: &Message) -> Option<Frame> {
        if knows {
            return ext.encode().ok();
        }
        let mistaken = self.ext && body.frame(0).is_some_and(|first| Ext::is_ext(first));
        mistaken.then(|| Ext::default().encode().ok()).flatten()
    }

    fn answer(
        &mut self,
        now: Instant,
        client: &Frame,
        header: Option<Frame>,
        body: Message,
        last: bool,
    ) -> Option<Transmit> {
        let Link::Up { port, beat, .. } = &mut self.link else {
            return None;
        };
        beat.sent(now);
        let body: Vec<Frame> = header.into_iter().chain(body).collect();
        Some(Transmit {
            port: *port,
            to: None,
            message: wire::encode_reply(self.config.dialect, client, body, last),
        })
    }

    fn register(&mut self, now: Instant) {
        let Link::Up {
            port,
            liveness,
            beat,
            ready,
        } = &mut self.link
        else {
            return;
        };
        *ready = true;
        *liveness = Liveness::new(self.config.heartbeat, now);
        *beat = Beat::new(self.config.heartbeat, now);
        let header = Ext {
            slots: (self.slots > 1).then_some(self.slots as u32),
            ..Ext::default()
        };
        let ext = (self.ext.then(|| header.encode().ok())).flatten();
        self.outbox.push(Transmit {
            port: *port,
            to: None,
            message: wire::encode_ready(self.config.dialect, &self.service, ext),
        });
    }

    /// Gives this connection up: for the next one, or for good.
    fn leave(&mut self, now: Instant, for_good: bool) {
        let port = match self.link {
            Link::Up { port, .. } | Link::Down { port, .. } | Link::Asking { port, .. } => {
                Some(port)
            }
            _ => None,
        };
        self.outdate();
        if let Some(port) = port {
            self.forget_sends(port);
            if for_good && matches!(self.link, Link::Up { .. }) {
                self.outbox.push(Transmit {
                    port,
                    to: None,
                    message: wire::encode_disconnect(self.config.dialect),
                });
            }
            self.events.push_back(WorkerEvent::Close { port });
        }
        if for_good {
            self.link = Link::Closed;
            self.linger.end();
            self.events.push_back(WorkerEvent::Drained);
            return;
        }
        self.counters.reconnects += 1;
        self.broker = (self.broker + 1) % self.brokers;
        let pause = self.config.backoff.pause(self.pauses, &mut self.random);
        self.pauses = self.pauses.saturating_add(1);
        self.link = Link::Pause {
            until: now + pause.min(LONGEST),
        };
    }

    /// Opens a socket to the broker whose turn it is: to ask it first, or at once.
    fn open(&mut self, now: Instant, asks: bool) {
        let port = Port(self.next_port);
        self.next_port = self.next_port.wrapping_add(1);
        let until = now + self.config.heartbeat.patience();
        let asked = false;
        self.link = match asks {
            true => Link::Asking { port, until, asked },
            false => Link::Down { port, until },
        };
        let broker = self.broker;
        self.events.push_back(WorkerEvent::Open { port, broker });
    }

    fn asks(&self) -> bool {
        self.config.ask_ext && !self.config.ext
    }

    /// It is known what the broker speaks, or that it does not say.
    fn settle(&mut self, now: Instant, port: Port, ext: bool) {
        self.ext = ext;
        self.forget_sends(port);
        self.events.push_back(WorkerEvent::Close { port });
        self.open(now, false);
    }

    /// The broker says something about a request. What is about none that is here crossed the reply.
    fn noted(&mut self, note: &Note) {
        let (client, name) = (&note.client, note.ext.id);
        let meant = |work: &Work| {
            let same = name.is_none() || work.name == name;
            work.current && !work.cancelled && work.client == *client && same
        };
        if !self.ext {
            return;
        }
        let Some(id) = (self.work.iter().find(|(_, work)| meant(work))).map(|(id, _)| id) else {
            return;
        };
        let id = WorkerRequestId(id);
        if let Some(more) = note.ext.credit {
            self.credited(id, more);
        }
        if note.ext.op != Op::Cancel {
            return;
        }
        if let Some(work) = self.work.get_mut(id.0) {
            work.cancelled = true;
        }
        self.counters.cancelled += 1;
        self.withdraw(id);
        self.events.push_back(WorkerEvent::Cancelled(id));
    }

    fn requested(&mut self, now: Instant, client: Frame, mut body: Vec<Frame>) {
        if self.linger.is_on() {
            let ext = body.first().and_then(|first| Ext::decode(first).ok()?);
            return self.decline(now, &client, ext.and_then(|ext| ext.id));
        }
        if self.current >= self.slots {
            // The broker has lost count of what we do, and a new connection makes that clear.
            self.counters.malformed += 1;
            return self.leave(now, false);
        }
        let ext = match body.first().map(|first| Ext::decode(first)) {
            Some(Ok(ext)) if self.ext => ext.map(Ext::into_owned),
            Some(Err(_)) if self.ext => {
                self.counters.malformed += 1;
                return self.leave(now, false);
            }
            _ => None,
        };
        if ext.is_some() {
            body.remove(0);
        }
        let id = WorkerRequestId(self.next_id);
        self.next_id += 1;
        self.pauses = 0;
        let knows = ext.is_some();
        let ext = ext.unwrap_or_default();
        self.current += 1;
        let work = Work {
            client,
            ext: knows,
            name: ext.id,
            parts: 0,
            current: true,
            cancelled: false,
            deadline: ext.time_left().map(|left| now + left.min(LONGEST)),
            credit: ext.credit.map(i64::from),
            held: VecDeque::new(),
            lost: false,
        };
        self.work.insert(id.0, work);
        if ext.is_early() {
            self.counters.early += 1;
            let fault = Fault {
                status: Status::Unavailable,
                ..Fault::failed("this worker holds no requests back")
            };
            return self.finish(now, id, Err(fault));
        }
        if ext.time_left() == Some(Duration::ZERO) {
            self.counters.expired += 1;
            return self.finish(now, id, Err(Fault::expired()));
        }
        if let Link::Up { liveness, beat, .. } = &mut self.link {
            if self.slots == 1 {
                liveness.suspend();
            }
            beat.progress(now);
        }
        self.counters.requests += 1;
        self.events.push_back(WorkerEvent::Request(WorkerRequest {
            id,
            body: Message::multipart(body),
            headers: Headers::of(&ext),
            deadline: ext.time_left().map(|left| now + left.min(LONGEST)),
            name: ext.id,
            delivery: ext.attempt,
        }));
    }
}

impl Engine for WorkerEngine {
    type Event = WorkerEvent;

    fn handle_message(&mut self, now: Instant, port: Port, _: Option<&PeerId>, message: Message) {
        self.handle_timeout(now);
        if let Link::Asking { port: asking, .. } = self.link {
            let answer = negotiation::answer(message, self.config.dialect);
            return match answer.filter(|_| port == asking) {
                Some(ext) => self.settle(now, port, ext),
                None => self.counters.malformed += u64::from(port == asking),
            };
        }
        let Link::Up {
            port: current,
            liveness,
            ..
        } = &mut self.link
        else {
            return;
        };
        if port != *current {
            return;
        }
        match wire::decode_to_worker(message, self.config.dialect) {
            Ok(command) => {
                liveness.heard(now);
                match command {
                    ToWorker::Request { client, body } => self.requested(now, client, body),
                    ToWorker::Heartbeat { note } => {
                        liveness.arm();
                        self.pauses = 0;
                        if let Some(note) = note {
                            self.noted(&note);
                        }
                    }
                    ToWorker::Disconnect => self.leave(now, false),
                }
            }
            Err(_) => self.counters.malformed += 1,
        }
    }

    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent) {
        self.handle_timeout(now);
        match (&self.link, event) {
            (Link::Asking { port: current, .. }, event) if *current == port => {
                let asked = matches!(event, PeerEvent::Up { .. });
                let until = now + self.config.heartbeat.patience();
                self.link = Link::Asking { port, until, asked };
                self.forget_sends(port);
                if asked {
                    self.outbox.push(Transmit {
                        port,
                        to: None,
                        message: negotiation::question(self.config.dialect),
                    });
                }
            }
            (Link::Down { port: current, .. }, PeerEvent::Up { .. }) if *current == port => {
                self.link = Link::Up {
                    port,
                    liveness: Liveness::new(self.config.heartbeat, now),
                    beat: Beat::new(self.config.heartbeat, now),
                    ready: false,
                };
                if self.work.len() < self.slots && !self.linger.is_on() {
                    self.register(now);
                }
            }
            (Link::Up { port: current, .. }, PeerEvent::Down { .. }) if *current == port => {
                self.outdate();
                self.forget_sends(port);
                if self.asks() {
                    self.events.push_back(WorkerEvent::Close { port });
                    return self.open(now, true);
                }
                // The socket makes a new connection by itself.
                let until = now + self.config.heartbeat.patience();
                self.link = Link::Down { port, until };
            }
            _ => {}
        }
    }

    fn handle_refused(&mut self, now: Instant, transmit: Transmit) {
        if let Some((id, waited)) = self.outbox.refused() {
            return self.part_refused(WorkerRequestId(id), waited);
        }
        let port = match self.link {
            Link::Up { port, .. } | Link::Asking { port, .. } => port,
            _ => return,
        };
        // What could not be sent was READY, a heartbeat or a reply; after any of them the broker would not
        // know where we are.
        if transmit.port == port {
            self.leave(now, false);
        }
    }

    fn handle_full(&mut self, now: Instant, transmit: Transmit) {
        self.outbox.full(now, transmit);
    }

    fn handle_too_large(&mut self, now: Instant, transmit: Transmit, size: u64, limit: u64) {
        match self.instead_of(&transmit, size, limit) {
            Some(answer) => {
                self.counters.undeliverable += 1;
                self.outbox.push(answer);
            }
            None => self.handle_refused(now, transmit),
        }
    }

    fn handle_room(&mut self, _: Instant, port: Port, _: Option<&PeerId>) {
        self.outbox.room(port, None);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.look_unread(now);
        self.look_lingered(now);
        match &mut self.link {
            Link::Pause { until } if now >= *until => self.open(now, self.asks()),
            Link::Asking {
                port,
                until,
                asked: true,
            } if now >= *until => {
                let port = *port;
                self.settle(now, port, false);
            }
            // With one broker there is no other: the socket goes on trying.
            Link::Down { until, .. } | Link::Asking { until, .. }
                if now >= *until && self.brokers == 1 =>
            {
                *until = now + self.config.heartbeat.patience();
            }
            Link::Down { until, .. } | Link::Asking { until, .. } if now >= *until => {
                self.leave(now, false);
            }
            Link::Up { liveness, .. } if liveness.is_expired(now) => self.leave(now, false),
            // Whoever takes nothing for so long is not there, though a busy worker expects no heartbeats.
            Link::Up { .. }
                if !self
                    .outbox
                    .stalled(now, self.config.heartbeat.patience())
                    .is_empty() =>
            {
                self.leave(now, false);
            }
            Link::Up {
                port,
                beat,
                ready: true,
                ..
            } if beat.is_due(now) => {
                beat.sent(now);
                let (port, dialect) = (*port, self.config.dialect);
                // While anything waits for room, one more message would tell nothing.
                if self.outbox.held(port, None) == (0, 0) {
                    self.outbox.push(Transmit {
                        port,
                        to: None,
                        message: wire::encode_heartbeat(dialect),
                    });
                }
            }
            _ => {}
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        loop {
            let transmit = self.outbox.poll();
            self.tell_sent();
            // What is left to send has left, so it may leave.
            match self
                .leaving
                .filter(|_| transmit.is_none() && self.outbox.is_idle())
            {
                Some(now) => {
                    self.leaving = None;
                    self.leave(now, true);
                }
                None => return transmit,
            }
        }
    }

    fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Pause { until } | Link::Down { until, .. } | Link::Asking { until, .. } => {
                Some(*until)
            }
            Link::Up {
                liveness,
                beat,
                ready,
                ..
            } => {
                let beat = beat.due().filter(|_| *ready);
                let stalls = self.outbox.stalls(self.config.heartbeat.patience());
                let times = liveness.expires().into_iter().chain(beat);
                times.chain(stalls).min()
            }
            Link::Closed => None,
        };
        let times = link.into_iter().chain(self.looks_unread());
        times.chain(self.linger.due()).min()
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
