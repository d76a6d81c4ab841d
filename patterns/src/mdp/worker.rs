//! The worker as a value: one service, one connection to one of several brokers, and one request at a time, or several if
//! both speak the extension header.
//!
//! | state | event | next |
//! | --- | --- | --- |
//! | Down | the connection is made | READY is sent; Ready |
//! | Down | not made within `interval × liveness` | the next broker |
//! | Ready | REQUEST | Working |
//! | Working | the handler has its reply | it is sent; Ready |
//! | Working | the connection is lost | the handler goes on; its reply is of no use any more |
//! | Ready, Working | DISCONNECT | a pause, then a new connection to the next broker |
//! | Ready | silence, if the broker ever sent a heartbeat | a pause, then the next broker |
//!
//! With several slots, Working is what it is with at least one request, and REQUEST is welcome as long as a slot is free.
//! Requests of a lost connection keep their slots until their handlers have finished.
//!
//! A broker's silence means nothing while the worker works: known brokers are silent towards busy workers.
//! Brokers that know of slots are not, so with several slots it counts all the time.
//! READY is the first message on every connection, and nothing is queued for one that is not there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::wire::{self, Dialect, ToWorker};
use crate::common::{
    Backoff, Beat, Engine, Ext, Fault, Headers, Heartbeat, IdMap, Liveness, MsgId, Op, PeerEvent,
    PeerId, Port, Random, Status, Transmit, LONGEST,
};

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
    /// Heartbeats to and from the broker.
    pub heartbeat: Heartbeat,
    /// The pauses before new connections.
    pub backoff: Backoff,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        WorkerConfig {
            dialect: Dialect::V1,
            ext: false,
            heartbeat: Heartbeat::default(),
            backoff: Backoff::default(),
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
    /// Replies that were of no use: the connection was lost meanwhile.
    pub undeliverable: u64,
    /// Requests whose deadline was over before the handler had them.
    pub expired: u64,
    /// Requests declined because they were not to be begun yet.
    pub early: u64,
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
    /// Requests that it takes at once.
    slots: usize,
    /// What handlers have, by request.
    work: IdMap<Work>,
    /// Those that came over the connection that stands.
    current: usize,
    /// Pauses made since the last request or heartbeat.
    pauses: u32,
    draining: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<WorkerEvent>,
    counters: WorkerCounters,
}

#[derive(Debug)]
enum Link {
    /// Before a new socket is opened.
    Pause {
        until: Instant,
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
            slots,
            work: IdMap::new(),
            current: 0,
            pauses: 0,
            draining: false,
            transmits: VecDeque::new(),
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

    /// The handler has a part of the reply. False if nobody will read it.
    pub fn handle_partial(&mut self, now: Instant, id: WorkerRequestId, part: Message) -> bool {
        let Some(work) = self.work.get_mut(id.0) else {
            return false;
        };
        let knows = work.ext || self.config.dialect == Dialect::V2;
        if !work.current || !knows {
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
        let header = work.ext.then(|| ext.encode().ok()).flatten();
        let client = work.client.clone();
        self.answer(now, &client, header, part, false);
        self.handle_progress(now, id);
        true
    }

    /// The handler makes progress: with [`Scope::Progress`](crate::common::Scope::Progress), heartbeats
    /// depend on it.
    pub fn handle_progress(&mut self, now: Instant, id: WorkerRequestId) {
        if let (true, Link::Up { beat, .. }) = (self.work.contains(id.0), &mut self.link) {
            beat.progress(now);
        }
    }

    /// Takes no more requests; ends with [`WorkerEvent::Drained`] when the handler has finished.
    pub fn handle_drain(&mut self, now: Instant) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        if self.work.is_empty() {
            self.leave(now, true);
        }
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
        let Some(work) = self.work.remove(id.0) else {
            return;
        };
        if work.current {
            self.current -= 1;
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
            let header = work.ext.then(|| ext.encode().ok()).flatten();
            let body = result.unwrap_or_default();
            self.answer(now, &work.client, header, body, true);
            self.counters.replies += 1;
        } else {
            self.counters.undeliverable += 1;
        }
        if self.draining {
            if self.work.is_empty() {
                self.leave(now, true);
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

    fn answer(
        &mut self,
        now: Instant,
        client: &Frame,
        header: Option<Frame>,
        body: Message,
        last: bool,
    ) {
        let Link::Up { port, beat, .. } = &mut self.link else {
            return;
        };
        beat.sent(now);
        let body: Vec<Frame> = header.into_iter().chain(body).collect();
        self.transmits.push_back(Transmit {
            port: *port,
            to: None,
            message: wire::encode_reply(self.config.dialect, client, body, last),
        });
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
        let ext = (self.config.ext.then(|| header.encode().ok())).flatten();
        self.transmits.push_back(Transmit {
            port: *port,
            to: None,
            message: wire::encode_ready(self.config.dialect, &self.service, ext),
        });
    }

    /// Gives this connection up: for the next one, or for good.
    fn leave(&mut self, now: Instant, for_good: bool) {
        let port = match self.link {
            Link::Up { port, .. } | Link::Down { port, .. } => Some(port),
            _ => None,
        };
        if let Some(port) = port {
            if for_good && matches!(self.link, Link::Up { .. }) {
                self.transmits.push_back(Transmit {
                    port,
                    to: None,
                    message: wire::encode_disconnect(self.config.dialect),
                });
            }
            self.events.push_back(WorkerEvent::Close { port });
        }
        self.outdate();
        if for_good {
            self.link = Link::Closed;
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

    /// The connection that requests came over is lost: what handlers make of them is of no use any more.
    fn outdate(&mut self) {
        self.work.values_mut().for_each(|work| work.current = false);
        self.current = 0;
    }

    fn requested(&mut self, now: Instant, client: Frame, mut body: Vec<Frame>) {
        if self.current >= self.slots || self.draining {
            // What crossed our DISCONNECT is given to another. Otherwise the broker has lost count of what
            // we do, and a new connection makes that clear.
            if !self.draining {
                self.counters.malformed += 1;
                self.leave(now, false);
            }
            return;
        }
        let ext = match body.first().map(|first| Ext::decode(first)) {
            Some(Ok(ext)) if self.config.ext => ext.map(Ext::into_owned),
            Some(Err(_)) if self.config.ext => {
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
                    ToWorker::Heartbeat => {
                        liveness.arm();
                        self.pauses = 0;
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
            (Link::Down { port: current, .. }, PeerEvent::Up { .. }) if *current == port => {
                self.link = Link::Up {
                    port,
                    liveness: Liveness::new(self.config.heartbeat, now),
                    beat: Beat::new(self.config.heartbeat, now),
                    ready: false,
                };
                if self.work.len() < self.slots {
                    self.register(now);
                }
            }
            (Link::Up { port: current, .. }, PeerEvent::Down { .. }) if *current == port => {
                self.outdate();
                // The socket makes a new connection by itself.
                let until = now + self.config.heartbeat.patience();
                self.link = Link::Down { port, until };
            }
            _ => {}
        }
    }

    fn handle_refused(&mut self, now: Instant, transmit: Transmit) {
        let Link::Up { port, .. } = self.link else {
            return;
        };
        // What could not be sent was READY, a heartbeat or a reply; after any of them the broker would not
        // know where we are.
        if transmit.port == port {
            self.leave(now, false);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match &mut self.link {
            Link::Pause { until } if now >= *until => {
                let port = Port(self.next_port);
                self.next_port = self.next_port.wrapping_add(1);
                let until = now + self.config.heartbeat.patience();
                self.link = Link::Down { port, until };
                let broker = self.broker;
                self.events.push_back(WorkerEvent::Open { port, broker });
            }
            // With one broker there is no other: the socket goes on trying.
            Link::Down { until, .. } if now >= *until && self.brokers == 1 => {
                *until = now + self.config.heartbeat.patience();
            }
            Link::Down { until, .. } if now >= *until => self.leave(now, false),
            Link::Up { liveness, .. } if liveness.is_expired(now) => self.leave(now, false),
            Link::Up {
                port,
                beat,
                ready: true,
                ..
            } if beat.is_due(now) => {
                beat.sent(now);
                let (port, dialect) = (*port, self.config.dialect);
                self.transmits.push_back(Transmit {
                    port,
                    to: None,
                    message: wire::encode_heartbeat(dialect),
                });
            }
            _ => {}
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.link {
            Link::Pause { until } | Link::Down { until, .. } => Some(*until),
            Link::Up {
                liveness,
                beat,
                ready,
                ..
            } => {
                let beat = beat.due().filter(|_| *ready);
                liveness.expires().into_iter().chain(beat).min()
            }
            Link::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(worker: &mut WorkerEngine, now: Instant, to: &str) {
        let request = wire::encode_request(Dialect::V1, &to.into(), vec!["body".into()]);
        let port = Port(0);
        worker.handle_message(now, port, None, request);
    }

    fn requests(worker: &mut WorkerEngine) -> Vec<WorkerRequestId> {
        let events = std::iter::from_fn(|| worker.poll_event());
        events
            .filter_map(|event| match event {
                WorkerEvent::Request(request) => Some(request.id),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn several_slots_over_one_connection() {
        let now = Instant::now();
        let config = WorkerConfig {
            ext: true,
            ..WorkerConfig::default()
        };
        let mut worker = WorkerEngine::with_slots(config, "echo", 1, 7, now, 2);
        let up = PeerEvent::Up { peer: None };
        worker.handle_peer(now, Port(0), up.clone());
        let ready = worker.poll_transmit().expect("READY").message;
        let header = Ext::decode(ready.frames().last().unwrap()).unwrap();
        assert_eq!(header.and_then(|ext| ext.slots), Some(2));
        given(&mut worker, now, "1");
        given(&mut worker, now, "2");
        let ids = requests(&mut worker);
        assert_eq!(ids.len(), 2);
        worker.handle_reply(now, ids[1], "second".into());
        let reply = worker.poll_transmit().expect("a reply").message;
        let frames = reply.frames();
        assert_eq!(frames[3], "2");
        assert_eq!(*frames.last().unwrap(), "second");
        // The connection is lost with the other one; that keeps its slot, and the new connection is used at once.
        worker.handle_peer(now, Port(0), PeerEvent::Down { peer: None });
        worker.handle_peer(now, Port(0), up);
        assert!(worker.poll_transmit().is_some(), "READY");
        given(&mut worker, now, "3");
        worker.handle_reply(now, ids[0], "first".into());
        assert!(worker.poll_transmit().is_none());
        assert_eq!(worker.counters().undeliverable, 1);
        // While it drains it finishes what it has.
        worker.handle_drain(now);
        let left = requests(&mut worker);
        worker.handle_reply(now, left[0], "third".into());
        assert_eq!(worker.counters().replies, 2);
        let last = std::iter::from_fn(|| worker.poll_event()).last();
        assert_eq!(last, Some(WorkerEvent::Drained));
    }

    #[test]
    fn more_than_there_are_slots_is_a_mistake_of_the_broker() {
        let now = Instant::now();
        let config = WorkerConfig::default();
        // The brokers cannot be told of two.
        let mut worker = WorkerEngine::with_slots(config, "echo", 1, 7, now, 2);
        worker.handle_peer(now, Port(0), PeerEvent::Up { peer: None });
        given(&mut worker, now, "1");
        given(&mut worker, now, "2");
        assert_eq!(requests(&mut worker).len(), 1);
        assert_eq!(worker.counters().malformed, 1);
    }
}
