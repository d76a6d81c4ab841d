//! The server as a value: a bounded, fair queue in front of handlers, deadlines, replies kept by
//! idempotence key, partial replies, and answers instead of silence for what it declines.
//!
//! | request | event | next |
//! | --- | --- | --- |
//! | – | arrives, there is room | Queued |
//! | – | arrives, no room | declined with 429, if the client speaks EXT; or waits for it, and nothing else is read |
//! | – | arrives, its key is known | the kept reply, or waits for the running one |
//! | Queued | a handler is free | Running; with a key and a store, Looking |
//! | Queued | deadline | declined with 408; no handler sees it |
//! | Queued | client gone, or cancelled | forgotten |
//! | Running | reply or fault | over |
//! | Running | client gone, or cancelled | the handler is told, and goes on as it likes |
//! | Queued | the server drains, and has no more time | declined with 503 |
//! | Running | the server drains, and has no more time | over, with 500; the handler is told |
//! | either, with a key | client gone, or cancelled | goes on, unanswered; is answered if the client asks again |
//!
//! What a store of keys adds is in [`stored`]; what becomes of replies that a client has no room for, in [`unread`].

mod again;
mod drain;
mod stored;
mod too_large;
mod unread;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::wire;
use super::Dialect;
use crate::common::{
    footprint, CacheConfig, Engine, Ext, ExtIdem, FairQueue, Fault, Headers, Item, Known, Limits,
    Linger, MsgId, Op, Outbox, Outcome, PeerEvent, PeerId, Port, Pushed, ReplyCache, Status,
    StoreOp, Ticket, Timers, Transmit, LONGEST,
};
use stored::Keys;

/// Options of a server.
///
/// ```
/// use sinew_patterns::rpc::ServerConfig;
///
/// let config = ServerConfig { concurrency: 8, ..ServerConfig::default() };
/// assert!(config.cache.is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// Whether extension headers are understood. Clients without are served in either case. Default: EXT.
    pub dialect: Dialect,
    /// Requests that are being carried out at once; 0 counts as 1. Default: 4.
    pub concurrency: usize,
    /// The bounds of the queue in front of the handlers.
    pub queue: Limits,
    /// Replies kept for requests with a key. `None`: such requests are declined with 500, for to carry
    /// them out would break the promise that one server carries them out once while it knows them. With a
    /// [`DedupStore`](crate::common::DedupStore), `None` is the default of [`CacheConfig`]: what is kept here needs
    /// no look into the store.
    pub cache: Option<CacheConfig>,
    /// What clients that are declined for want of room are told to wait. Default: 100 ms.
    pub retry_after: Duration,
    /// How long a client may take nothing of what waits for it: the queue of its connection is full, and so handlers
    /// wait with parts of replies ([`Request::partial`](crate::Request::partial)). After that its requests count as given
    /// up. Default: 30 s.
    pub stall: Duration,
    /// How long the server stays when it is told to drain: what is here is finished, and everybody is told. Of that the last
    /// quarter, a second at most, is for telling. What handlers have not finished before is given up: they are told that
    /// nobody waits ([`Request::is_cancelled`](crate::Request::is_cancelled)), and its client is told with 500, since it
    /// may have been done, or with 410 if a store knows its key; what waits for a handler is declined with 503. With 0
    /// nothing is waited for, and who hears of it is left to chance. At most 30 days. Default: 30 s.
    pub linger: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            dialect: Dialect::Ext,
            concurrency: 4,
            queue: Limits::default(),
            cache: None,
            retry_after: Duration::from_millis(100),
            stall: Duration::from_secs(30),
            linger: Duration::from_secs(30),
        }
    }
}

/// Names a request at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// A request for a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerRequest {
    /// What to name it by in the reply.
    pub id: RequestId,
    /// Who asks.
    pub peer: PeerId,
    /// What is asked.
    pub body: Message,
    /// What else the client tells.
    pub headers: Headers,
    /// When nobody waits for the reply any more, if the client said so.
    pub deadline: Option<Instant>,
    /// The idempotence key, if it has one.
    pub key: Option<MsgId>,
}

/// What the server wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A handler is to carry this out.
    Request(ServerRequest),
    /// Nobody waits for this reply any more. The handler may stop; it still ends with
    /// [`ServerEngine::handle_reply`] or [`ServerEngine::handle_fault`].
    Cancelled(RequestId),
    /// A part of a reply for which there was no room ([`ServerEngine::is_waiting`]) is sent now, or never will be. Once
    /// for each, in the order in which they came.
    Part {
        /// Of the reply to which request.
        id: RequestId,
        /// Whether it was sent.
        sent: bool,
    },
    /// Of an engine [with a store](ServerEngine::with_store): what is to be done with it, in this order. What became
    /// of it is for [`ServerEngine::handle_stored`].
    Store(StoreOp),
    /// After [`ServerEngine::handle_drain`]: nothing is left to do.
    Drained,
}

/// What a server has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServerCounters {
    /// Requests that came, of whatever fate.
    pub requests: u64,
    /// Requests that handlers were given.
    pub started: u64,
    /// Replies and faults sent, kept ones included.
    pub replies: u64,
    /// Requests known already, by key or as repetitions over the same connection.
    pub dups: u64,
    /// Requests declined because another one has their name.
    pub conflicts: u64,
    /// Requests with a key that another server, or an earlier life of this one, had begun, and of which nobody knows
    /// whether they were carried out.
    pub in_doubt: u64,
    /// Times that the store failed.
    pub store_failures: u64,
    /// Requests whose deadline was over before a handler was free.
    pub expired: u64,
    /// Requests declined because they were not to be begun yet.
    pub early: u64,
    /// Requests declined for want of room.
    pub rejected: u64,
    /// Requests that waited for room in the queue ([`OnFull::Wait`](crate::common::OnFull::Wait)), of whatever fate.
    /// Meanwhile nothing was read.
    pub waited: u64,
    /// Requests given up by their client, or whose client went away.
    pub cancelled: u64,
    /// Requests that handlers had not finished when the server that drained had no more time ([`ServerConfig::linger`]).
    pub unfinished: u64,
    /// Replies and parts of replies that could not be delivered.
    pub undeliverable: u64,
    /// Messages that were no requests.
    pub malformed: u64,
    /// Declined without a word, for the client does not speak EXT, or the queue is to
    /// [drop the newest](crate::common::OnFull::DropNewest).
    pub silent: u64,
}

/// A server behind one ROUTER, at any port.
///
/// ```
/// use std::time::Instant;
/// use sinew::Message;
/// use sinew_patterns::common::{Engine, PeerId, Port};
/// use sinew_patterns::rpc::{ServerConfig, ServerEngine, ServerEvent};
///
/// let now = Instant::now();
/// let mut server = ServerEngine::new(ServerConfig::default());
/// let client = PeerId::from("client");
/// server.handle_message(now, Port(0), Some(&client), Message::multipart(["", "hello"]));
/// let Some(ServerEvent::Request(request)) = server.poll_event() else { panic!() };
/// server.handle_reply(now, request.id, request.body);
/// assert_eq!(server.poll_transmit().unwrap().to, Some(client));
/// ```
#[derive(Debug)]
pub struct ServerEngine {
    config: ServerConfig,
    queue: FairQueue<PeerId, RequestId>,
    /// Boxed, since a tree moves its values when one goes.
    requests: BTreeMap<RequestId, Box<Pending>>,
    /// Requests of EXT clients by where they come from, to tell repetitions and to find what is cancelled.
    origins: BTreeMap<Place, RequestId>,
    cache: Option<ReplyCache<(), Origin, Outcome>>,
    keys: Option<Box<Keys>>,
    /// What clients without EXT are told when there is no room; nothing otherwise.
    refusal: Option<Message>,
    running: usize,
    next_id: u64,
    linger: Linger,
    outbox: Outbox,
    /// Deadlines of those of whose replies parts were sent.
    ends: Timers<RequestId>,
    events: VecDeque<ServerEvent>,
    counters: ServerCounters,
}

/// Where a reply goes.
#[derive(Debug, Clone)]
struct Origin {
    port: Port,
    peer: PeerId,
    envelope: Vec<Frame>,
    ext: bool,
}

#[derive(Debug)]
struct Pending {
    origin: Origin,
    /// Of EXT clients, as long as what comes from there is a repetition of this.
    place: Option<Place>,
    body: Option<Message>,
    headers: Headers,
    deadline: Option<Instant>,
    key: Option<MsgId>,
    /// `None`: it is running.
    queued: Option<Ticket>,
    gone: bool,
    /// Parts of the reply sent.
    parts: u32,
    /// Parts were not sent, since it was gone.
    unread: bool,
}

impl ServerEngine {
    /// A server.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        ServerEngine {
            config,
            queue: FairQueue::new(config.queue),
            requests: BTreeMap::new(),
            origins: BTreeMap::new(),
            cache: config.cache.map(ReplyCache::new),
            keys: None,
            refusal: None,
            running: 0,
            next_id: 0,
            linger: Linger::default(),
            outbox: Outbox::default(),
            ends: Timers::new(),
            events: VecDeque::new(),
            counters: ServerCounters::default(),
        }
    }

    /// Clients that do not speak EXT are sent this when there is no room, for a protocol that has a word for it.
    pub(crate) fn refusing(mut self, with: Message) -> Self {
        self.refusal = Some(with);
        self
    }

    /// A handler has the reply. Nothing happens if this request is over.
    pub fn handle_reply(&mut self, now: Instant, id: RequestId, reply: Message) {
        self.finish(now, id, Ok(reply));
    }

    /// A handler has failed.
    pub fn handle_fault(&mut self, now: Instant, id: RequestId, fault: Fault) {
        self.finish(now, id, Err(fault));
    }

    /// The deadline of a request was over before a handler took it: it is declined, and counts as expired.
    pub fn handle_expired(&mut self, now: Instant, id: RequestId) {
        let pending = self.requests.get(&id);
        if pending.is_some_and(|pending| pending.queued.is_none()) {
            self.counters.started -= 1;
            self.counters.expired += 1;
            self.finish(now, id, Err(Fault::expired()));
        }
    }

    /// A handler has a part of the reply; others follow, and then [`handle_reply`](Self::handle_reply).
    /// False if nobody will read it: the client is gone, or does not speak EXT. It may have to wait for room:
    /// [`is_waiting`](Self::is_waiting).
    pub fn handle_partial(&mut self, id: RequestId, part: &Message) -> bool {
        let Some(pending) = self.requests.get_mut(&id) else {
            return false;
        };
        let with_handler = pending.queued.is_none() && stored::with_handler(&self.keys, id);
        if pending.gone || !with_handler || !pending.origin.ext {
            pending.unread |= pending.gone;
            return false;
        }
        if let (0, Some(deadline)) = (pending.parts, pending.deadline) {
            self.ends.set(id, deadline);
        }
        let ext = Ext {
            id: pending.key,
            op: Op::Partial,
            part: Some(pending.parts),
            status: Some(Status::Ok),
            ..Ext::default()
        };
        pending.parts = pending.parts.saturating_add(1);
        let transmit = transmit(&pending.origin, ext, Some(part));
        self.send_part(id, transmit)
    }

    /// Requests that wait, their octets as [`Limits`] counts them, and requests that are being carried out. One that waits
    /// for room in the queue ([`OnFull::Wait`](crate::common::OnFull::Wait)) is none of them.
    #[must_use]
    pub fn load(&self) -> (usize, usize, usize) {
        (self.queue.len(), self.queue.bytes(), self.running)
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> ServerCounters {
        self.counters
    }

    fn arrived(&mut self, now: Instant, origin: Origin, ext: Option<Ext<'_>>, body: Message) {
        self.counters.requests += 1;
        let ext = ext.unwrap_or_default();
        if ext.op != Op::Call {
            self.counters.malformed += 1;
            return;
        }
        if self.linger.is_on() {
            let why = Some("this server drains");
            self.decline(&origin, ext.id, Status::Unavailable, why);
            return;
        }
        if ext.time_left() == Some(Duration::ZERO) {
            self.counters.expired += 1;
            self.decline(&origin, ext.id, Status::Expired, None);
            return;
        }
        if ext.is_early() {
            self.counters.early += 1;
            let why = Some("this server holds no requests back");
            self.decline(&origin, ext.id, Status::Unavailable, why);
            return;
        }
        let place = origin.ext.then(|| place_of(&origin));
        let again = ext.attempt.is_some_and(|attempt| attempt > 1);
        let known = (place.as_ref()).and_then(|place| self.origins.get(place).copied());
        if again && known.is_some_and(|id| self.is_wanted(id)) {
            // It will be answered; that is the answer to this one too.
            self.counters.dups += 1;
            return;
        }
        let key = match (ext.idem, ext.id) {
            (Some(ExtIdem::Key), Some(key)) => Some(key),
            (Some(ExtIdem::Key), None) => {
                self.counters.malformed += 1;
                return;
            }
            _ => None,
        };
        if let Some(key) = key {
            let Some(cache) = &mut self.cache else {
                self.decline(
                    &origin,
                    Some(key),
                    Status::Failed,
                    Some("this server keeps no replies"),
                );
                return;
            };
            let running = cache.is_running((), key, &body);
            if let (true, Some(id)) = (running, known) {
                let deadline = ext.time_left().map(|left| now + left.min(LONGEST));
                if self.is_wanted_again(id, key, &origin, deadline) {
                    self.counters.dups += 1;
                    return;
                }
            }
            let Some(cache) = &mut self.cache else {
                return;
            };
            match cache.ask((), key, &body, origin.clone(), now) {
                Known::New => {}
                Known::Running => {
                    self.counters.dups += 1;
                    return;
                }
                Known::Done(kept) => {
                    self.counters.dups += 1;
                    self.answer(&origin, Some(key), &kept, 0);
                    return;
                }
                Known::Conflict => {
                    self.counters.conflicts += 1;
                    let why = Some(CONFLICT);
                    self.decline(&origin, Some(key), Status::Conflict, why);
                    return;
                }
            }
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let headers = Headers::of(&ext);
        let deadline = ext.time_left().map(|left| now + left.min(LONGEST));
        let item = Item {
            flow: origin.peer.clone(),
            priority: ext.priority.unwrap_or(0),
            bytes: footprint(body.frames()),
            deadline,
            value: id,
        };
        // Most find a handler free, and nobody before them.
        let free = self.queue.is_empty() && self.running < self.config.concurrency.max(1);
        let mut dropped = Vec::new();
        let queued = match free && self.queue.admits(&item) {
            true => None,
            // Who was not to be read from does not wait with the one that does.
            false if !self.has_room() => {
                self.rejected(&origin, key);
                return;
            }
            false => match self.queue.push(item) {
                Pushed::Queued(ticket) => Some(ticket),
                Pushed::Waiting(ticket) => {
                    self.counters.waited += 1;
                    Some(ticket)
                }
                Pushed::Replaced(ticket, others) => {
                    dropped = others;
                    Some(ticket)
                }
                Pushed::Refused(_) => {
                    self.rejected(&origin, key);
                    return;
                }
                Pushed::Dropped(_) => {
                    self.dropped(key);
                    return;
                }
            },
        };
        if let Some(place) = &place {
            self.origins.insert(place.clone(), id);
        }
        let pending = Pending {
            origin,
            place,
            body: Some(body),
            headers,
            deadline,
            key,
            queued,
            gone: false,
            parts: 0,
            unread: false,
        };
        self.requests.insert(id, Box::new(pending));
        if queued.is_none() {
            self.start(id);
        }
        for id in dropped {
            if let Some(pending) = self.forget(id) {
                self.rejected(&pending.origin, pending.key);
            }
        }
    }

    /// Whether nothing waits in front of the queue.
    fn has_room(&self) -> bool {
        self.queue.outside() == 0
    }

    fn rejected(&mut self, origin: &Origin, key: Option<MsgId>) {
        self.counters.rejected += 1;
        self.decline_with_waiters(origin, key, Status::Rejected, None);
    }

    /// There was no room, and its client hears nothing. It is new, so nobody else waits for it.
    fn dropped(&mut self, key: Option<MsgId>) {
        self.counters.rejected += 1;
        self.counters.silent += 1;
        if let (Some(key), Some(cache)) = (key, &mut self.cache) {
            cache.abandon((), key);
        }
    }

    /// Declines a request and its repetitions from elsewhere, which may come again.
    fn decline_with_waiters(
        &mut self,
        origin: &Origin,
        key: Option<MsgId>,
        status: Status,
        why: Option<&str>,
    ) {
        self.decline(origin, key, status, why);
        if let (Some(key), Some(cache)) = (key, &mut self.cache) {
            for waiter in cache.abandon((), key) {
                self.decline(&waiter, Some(key), status, why);
            }
        }
    }

    fn decline(&mut self, origin: &Origin, id: Option<MsgId>, status: Status, why: Option<&str>) {
        if !origin.ext {
            match (&self.refusal, status) {
                (Some(refusal), Status::Rejected) => {
                    let refusal = refusal.clone();
                    self.send(transmit(origin, Ext::default(), Some(&refusal)), false);
                }
                _ => self.counters.silent += 1,
            }
            return;
        }
        let ext = Ext {
            id,
            op: Op::Final,
            status: Some(status),
            retry_after: (status == Status::Rejected).then_some(self.config.retry_after),
            reason: why.map(|why| why.to_owned().into()),
            ..Ext::default()
        };
        self.send(transmit(origin, ext, None), false);
    }

    fn cancelled(&mut self, origin: &Origin) {
        let Some(&id) = self.origins.get(&place_of(origin)) else {
            return;
        };
        self.abandoned(id);
    }

    /// Its client does not want the reply.
    fn abandoned(&mut self, id: RequestId) {
        let Some(pending) = self.requests.get_mut(&id) else {
            return;
        };
        if pending.gone {
            return;
        }
        self.counters.cancelled += 1;
        pending.gone = true;
        self.withdraw(id);
        let Some(pending) = self.requests.get_mut(&id) else {
            return;
        };
        // One with a key is carried out all the same: its client may ask again over another connection.
        if pending.key.is_some() {
            return;
        }
        match pending.queued {
            Some(ticket) => {
                self.queue.remove(ticket);
                self.forget(id);
            }
            None => {
                // Its handler may stop, so who asks again from there asks anew.
                let place = pending.place.take();
                self.forget_place(place, id);
                self.events.push_back(ServerEvent::Cancelled(id));
            }
        }
    }

    fn forget(&mut self, id: RequestId) -> Option<Box<Pending>> {
        let mut pending = self.requests.remove(&id)?;
        if pending.parts > 0 {
            self.ends.cancel(&id);
        }
        let place = pending.place.take();
        self.forget_place(place, id);
        Some(pending)
    }

    fn finish(&mut self, now: Instant, id: RequestId, outcome: Outcome) {
        if self.requests.get(&id).map_or(true, |p| p.queued.is_some()) {
            return;
        }
        match &self.keys {
            Some(_) => self.finish_stored(now, id, outcome),
            None => self.conclude(now, id, outcome),
        }
    }

    /// A request that has the place of a running one is over.
    fn conclude(&mut self, now: Instant, id: RequestId, outcome: Outcome) {
        let Some(pending) = self.forget(id) else {
            return;
        };
        self.running -= 1;
        match pending.gone {
            true => self.counters.undeliverable += 1,
            false => self.answer(&pending.origin, pending.key, &outcome, pending.parts),
        }
        if let (Some(key), Some(cache)) = (pending.key, &mut self.cache) {
            if not_begun(&outcome, pending.parts) {
                for waiter in cache.abandon((), key) {
                    self.answer(&waiter, Some(key), &outcome, 0);
                }
                return self.dispatch(now);
            }
            let bytes = match &outcome {
                Ok(reply) => footprint(reply.frames()),
                Err(fault) => fault.reason.len(),
            };
            let kept = kept(outcome, pending.parts);
            for waiter in cache.done((), key, kept.clone(), bytes, now) {
                self.answer(&waiter, Some(key), &kept, 0);
            }
        }
        self.dispatch(now);
    }

    fn answer(&mut self, origin: &Origin, id: Option<MsgId>, outcome: &Outcome, parts: u32) {
        let fault = outcome.as_ref().err();
        if fault.is_some() && !origin.ext {
            self.counters.silent += 1;
            return;
        }
        self.counters.replies += 1;
        let ext = Ext {
            id,
            op: Op::Final,
            part: (parts > 0).then_some(parts),
            status: Some(fault.map_or(Status::Ok, |fault| fault.status)),
            retry_after: fault.and_then(|fault| fault.retry_after),
            reason: fault.map(|fault| short(&fault.reason).to_owned().into()),
            ..Ext::default()
        };
        let reply = transmit(origin, ext, outcome.as_ref().ok());
        self.send(reply, parts > 0);
    }

    fn dispatch(&mut self, now: Instant) {
        while let Some(item) = self.queue.expire(now) {
            self.counters.expired += 1;
            if let Some(pending) = self.forget(item.value) {
                self.decline_with_waiters(&pending.origin, pending.key, Status::Expired, None);
            }
        }
        if self.keys.is_some() {
            self.look_again(now);
        }
        while self.running < self.config.concurrency.max(1) {
            let Some(item) = self.queue.pop() else {
                break;
            };
            self.start(item.value);
        }
        self.look_drained();
    }

    /// It has a place among those that run.
    fn start(&mut self, id: RequestId) {
        let Some(pending) = self.requests.get_mut(&id) else {
            return;
        };
        pending.queued = None;
        self.running += 1;
        match pending.key {
            Some(key) if self.keys.is_some() => self.look_up(id, key),
            _ => self.hand_over(id),
        }
    }

    /// A handler is given this.
    fn hand_over(&mut self, id: RequestId) {
        let Some(pending) = self.requests.get_mut(&id) else {
            return;
        };
        self.counters.started += 1;
        self.events.push_back(ServerEvent::Request(ServerRequest {
            id,
            peer: pending.origin.peer.clone(),
            body: pending.body.take().unwrap_or_default(),
            headers: std::mem::take(&mut pending.headers),
            deadline: pending.deadline,
            key: pending.key,
        }));
    }
}

impl Engine for ServerEngine {
    type Event = ServerEvent;

    fn handle_message(
        &mut self,
        now: Instant,
        port: Port,
        from: Option<&PeerId>,
        message: Message,
    ) {
        let Some(peer) = from else {
            self.counters.malformed += 1;
            return;
        };
        match wire::decode(message, self.config.dialect == Dialect::Ext) {
            Ok(parts) => {
                let origin = Origin {
                    port,
                    peer: peer.clone(),
                    envelope: parts.envelope,
                    ext: parts.ext.is_some(),
                };
                if parts.ext.as_ref().is_some_and(|ext| ext.op == Op::Cancel) {
                    self.cancelled(&origin);
                } else {
                    self.arrived(now, origin, parts.ext, parts.body);
                }
            }
            Err(_) => self.counters.malformed += 1,
        }
        self.dispatch(now);
    }

    fn takes_messages(&self, _: Port) -> bool {
        self.has_room()
    }

    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent) {
        let PeerEvent::Down { peer: Some(peer) } = event else {
            return;
        };
        self.forget_line(port, &peer);
        let waiting = self.queue.tickets_of(&peer).into_iter();
        let waiting: Vec<RequestId> = waiting
            .filter_map(|ticket| Some(self.queue.peek(ticket)?.value))
            .collect();
        let running = (self.requests.iter())
            .filter(|(_, pending)| pending.queued.is_none() && pending.origin.peer == peer)
            .map(|(id, _)| *id);
        let all: Vec<RequestId> = running.chain(waiting).collect();
        for id in all {
            self.abandoned(id);
        }
        self.dispatch(now);
    }

    fn handle_refused(&mut self, _: Instant, _: Transmit) {
        self.counters.undeliverable += 1;
        if let Some((id, waited)) = self.outbox.refused() {
            self.part_refused(RequestId(id), waited);
        }
    }

    fn handle_full(&mut self, now: Instant, transmit: Transmit) {
        self.outbox.full(now, transmit);
    }

    fn handle_too_large(&mut self, now: Instant, transmit: Transmit, size: u64, limit: u64) {
        let answer = self.instead_of(&transmit, size, limit);
        self.handle_refused(now, transmit);
        if let Some(answer) = answer {
            self.outbox.push(answer);
        }
    }

    fn handle_room(&mut self, _: Instant, port: Port, peer: Option<&PeerId>) {
        self.outbox.room(port, peer);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.look_unread(now);
        self.look_lingered(now);
        self.dispatch(now);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.outbox.poll();
        while let Some(id) = self.outbox.poll_sent() {
            let id = RequestId(id);
            self.events.push_back(ServerEvent::Part { id, sent: true });
        }
        if transmit.is_none() {
            self.look_drained();
        }
        transmit
    }

    fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let keys = self.keys.as_ref().and_then(|keys| keys.poll_timeout());
        let times = self.queue.next_deadline().into_iter().chain(keys);
        let times = times.chain(self.looks_unread());
        times.chain(self.linger.due()).min()
    }
}

fn transmit(origin: &Origin, ext: Ext<'_>, body: Option<&Message>) -> Transmit {
    // What is in it is short, so encoding does not fail.
    let ext = origin.ext.then(|| ext.encode().ok()).flatten();
    Transmit {
        port: origin.port,
        to: Some(origin.peer.clone()),
        message: wire::encode(&origin.envelope, ext, body),
    }
}

/// Where a request comes from, as a key: the peer and the envelope, with lengths so that no two are alike.
type Place = (PeerId, Vec<u8>);

fn place_of(origin: &Origin) -> Place {
    let length = origin.envelope.iter().map(|frame| frame.len() + 4).sum();
    let mut octets = Vec::with_capacity(length);
    for frame in &origin.envelope {
        octets.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        octets.extend_from_slice(frame);
    }
    (origin.peer.clone(), octets)
}

/// Whether nothing was begun. "Come back" is no end: who comes back is to be served.
fn not_begun(outcome: &Outcome, parts: u32) -> bool {
    parts == 0 && matches!(outcome, Err(fault) if fault.status.is_not_begun())
}

/// What is kept of an outcome: the parts of a reply are not, and without them the end is none.
fn kept(outcome: Outcome, parts: u32) -> Outcome {
    match parts {
        0 => outcome,
        _ => Err(Fault {
            status: Status::Conflict,
            reason: "the parts of this reply were sent to an earlier attempt".into(),
            retry_after: None,
        }),
    }
}

/// As much of a reason as surely fits into a header.
pub(crate) fn short(reason: &str) -> &str {
    let mut end = reason.len().min(REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

const REASON: usize = 1024;

const CONFLICT: &str = "another request has this name";

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
