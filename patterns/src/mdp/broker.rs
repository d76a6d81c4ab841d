//! The broker as a value.
//!
//! | worker | READY | REPLY | HEARTBEAT | DISCONNECT | silence, lease | connection lost |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | unknown | Idle | banned | banned | – | – | – |
//! | Idle | banned | banned | – | removed | removed, if it ever sent a heartbeat | removed |
//! | Busy | banned, requeued | forwarded, Idle | lease extended | removed, requeued | lease: requeued, Suspect | removed, requeued |
//! | Suspect | banned | dropped, Idle | – | removed | removed | removed |
//! | Draining | sent away, declined | forwarded, sent away | lease extended | removed, declined | lease: sent away, declined | removed, declined |
//!
//! Draining is what a busy worker is while the broker drains; all others are sent away then. What would be requeued is
//! declined, since nobody is left to do it. What is not finished in time is given up, and its worker sent away.
//!
//! That is of a worker that takes one request at a time. One that speaks the extension header may take several over its
//! connection ([`Ext::slots`]): each of its slots then is Idle, Busy or Suspect. What 7/MDP has as the client's address in a
//! request is for the worker to send back as it came; such a worker gets the number of the delivery there.
//!
//! A busy worker is never given up for its silence, if it has one slot: known workers send no heartbeats while
//! they work. Who is banned gets a DISCONNECT, and is ignored until it has made a new connection.
//!
//! A request waits, is with a worker, and is answered; or its worker is lost and it waits again, in front
//! of the others, until so many workers were lost with it that it is dead. One whose client has given it up, or is gone, is
//! forgotten while it waits; the worker that has it is told, if it speaks the extension header, as it is when its lease
//! has ended. One with a key is carried out all the same, and is its client's again if that asks again. Whoever is declined hears of it,
//! if it speaks the extension header; 7/MDP has no words for it.

mod again;
mod answers;
mod drain;
mod lanes;
mod mmi;
mod notes;
mod peers;
mod results;
mod too_large;
mod unread;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::config::{
    Authorizer, BrokerConfig, BrokerCounters, DeadReason, Lease, ServicePolicy, ServiceStats, Verb,
    WorkerStats,
};
use super::wire::{self, Dialect, ToBroker};
use crate::common::{
    footprint, Engine, Ext, ExtIdem, FairQueue, Item, Known, MsgId, Op, Outbox, PeerEvent, PeerId,
    Port, Pushed, ReplyCache, Status, Ticket, Timers, Transmit, LONGEST,
};
use lanes::Lanes;
use notes::client_frame;
use peers::{Banned, Worker};
use unread::Starved;

/// What a broker tells whoever drives it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerEvent {
    /// A request will not be carried out, for this reason.
    Dead {
        /// The service it was for.
        service: Vec<u8>,
        /// Why.
        reason: DeadReason,
        /// The request, without its extension header.
        body: Message,
    },
    /// After [`BrokerEngine::handle_drain`]: nothing is left to do.
    Drained,
}

/// A Majordomo broker behind one ROUTER.
///
/// ```
/// use std::time::Instant;
/// use sinew::Message;
/// use sinew_patterns::common::{Engine, PeerId, Port};
/// use sinew_patterns::mdp::{BrokerEngine, BrokerConfig};
///
/// let (now, port) = (Instant::now(), Port(0));
/// let (client, worker) = (PeerId::from("client"), PeerId::from("worker"));
/// let mut broker = BrokerEngine::new(BrokerConfig::default());
/// let request = Message::multipart(["", "MDPC01", "echo", "hello"]);
/// broker.handle_message(now, port, Some(&client), request);
/// let ready = Message::multipart(["", "MDPW01", "\x01", "echo"]);
/// broker.handle_message(now, port, Some(&worker), ready);
/// let given = broker.poll_transmit().unwrap();
/// assert_eq!(given.to, Some(worker));
/// assert_eq!(given.message, Message::multipart(["", "MDPW01", "\x02", "client", "", "hello"]));
/// ```
pub struct BrokerEngine {
    config: BrokerConfig,
    authorizer: Option<Box<dyn Authorizer>>,
    policies: BTreeMap<Vec<u8>, ServicePolicy>,
    services: BTreeMap<Vec<u8>, Service>,
    workers: BTreeMap<PeerId, Worker>,
    /// Of all workers together.
    slots: usize,
    banned: Banned,
    /// Boxed, since a tree moves its values when one goes.
    requests: BTreeMap<u64, Box<Request>>,
    /// Requests with a name, by who sent them and what they call it.
    origins: BTreeMap<(PeerId, MsgId), u64>,
    /// How many requests each client waits for.
    clients: BTreeMap<PeerId, usize>,
    cache: Option<ReplyCache<(), Origin, Kept>>,
    bytes: usize,
    next_id: u64,
    timers: Timers<Timer>,
    draining: bool,
    /// Until when anything is sent, if it drains.
    ends: Option<Instant>,
    /// That time has come.
    over: bool,
    outbox: Outbox,
    starved: Starved,
    events: VecDeque<BrokerEvent>,
    counters: BrokerCounters,
}

#[derive(Debug)]
struct Service {
    policy: ServicePolicy,
    queue: FairQueue<PeerId, u64>,
    /// Who has a free slot, and since when: the longest first.
    idle: BTreeSet<(u64, PeerId)>,
    /// Of requests whose order matters.
    lanes: Lanes,
    /// What its timer is set to: the earliest deadline in the queue.
    wakes: Option<Instant>,
    stats: ServiceStats,
}

/// Where a reply goes, and how.
#[derive(Debug, Clone)]
struct Origin {
    port: Port,
    peer: PeerId,
    dialect: Dialect,
    service: Frame,
    ext: bool,
    id: Option<MsgId>,
}

#[derive(Debug)]
struct Request {
    origin: Origin,
    ext: Ext<'static>,
    body: Vec<Frame>,
    bytes: usize,
    /// When its client does not wait any more.
    deadline: Option<Instant>,
    /// When it came.
    since: Instant,
    deliveries: u32,
    /// When its worker loses it, if it has a lease.
    lease: Option<Instant>,
    /// Who has it, and in which delivery.
    at: Option<(PeerId, u64)>,
    ticket: Option<Ticket>,
    key: Option<MsgId>,
    /// Whether its turn is after those of the same `key` that came before.
    ordered: bool,
    /// Its client is gone.
    gone: bool,
    /// Parts of the reply sent on.
    parts: u32,
    /// How much of the parts its worker may send, if it was told.
    credit: Option<i64>,
    /// Parts of the reply kept for a client that does not know them.
    collected: Vec<Frame>,
}

impl Request {
    /// Whether nobody wants to know how it ends. One with a key may be asked for again.
    fn is_nobodys(&self) -> bool {
        self.gone && self.key.is_none()
    }
}

/// How a request with a key ended: the frames of the reply, and how it went.
#[derive(Debug, Clone)]
struct Kept {
    status: Status,
    retry_after: Option<Duration>,
    reason: Option<Cow<'static, str>>,
    body: Vec<Frame>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The worker has been silent for too long.
    Silence(PeerId),
    /// The worker is to have a heartbeat.
    Beat(PeerId),
    /// The worker has had the request of this delivery for too long.
    Lease(u64, PeerId),
    /// A request has waited for too long.
    Queue(Vec<u8>),
    /// The broker drains, and has no more time.
    Linger,
}

impl BrokerEngine {
    /// A broker that knows nobody yet.
    #[must_use]
    pub fn new(config: BrokerConfig) -> Self {
        BrokerEngine {
            config,
            authorizer: None,
            policies: BTreeMap::new(),
            services: BTreeMap::new(),
            workers: BTreeMap::new(),
            slots: 0,
            banned: Banned::default(),
            requests: BTreeMap::new(),
            origins: BTreeMap::new(),
            clients: BTreeMap::new(),
            cache: config.cache.map(ReplyCache::new),
            bytes: 0,
            next_id: 0,
            timers: Timers::new(),
            draining: false,
            ends: None,
            over: false,
            outbox: Outbox::default(),
            starved: Starved::default(),
            events: VecDeque::new(),
            counters: BrokerCounters::default(),
        }
    }

    /// From now on this decides who may do what. Without it everybody may do everything.
    pub fn set_authorizer(&mut self, authorizer: impl Authorizer + 'static) {
        self.authorizer = Some(Box::new(authorizer));
    }

    /// A policy for one service. The bounds of its queue apply to requests that come from now on; those that wait stay,
    /// for as long as the policy said that they found.
    pub fn set_policy(&mut self, service: impl AsRef<[u8]>, policy: ServicePolicy) {
        let name = service.as_ref();
        self.policies.insert(name.to_vec(), policy);
        if let Some(service) = self.services.get_mut(name) {
            service.policy = policy;
            service.queue.set_limits(policy.limits());
        }
    }

    /// What a service is doing. `None` if it has neither workers nor requests.
    #[must_use]
    pub fn service(&self, name: impl AsRef<[u8]>) -> Option<ServiceStats> {
        let service = self.services.get(name.as_ref())?;
        Some(ServiceStats {
            oldest: self.oldest(service),
            ..service.stats()
        })
    }

    /// The workers of a service, in the order of their names. Looks at all workers of the broker.
    #[must_use]
    pub fn workers(&self, service: impl AsRef<[u8]>) -> Vec<WorkerStats> {
        let name = service.as_ref();
        let offering = self.workers.iter().filter(|(_, w)| w.service == name);
        let stats = offering.map(|(peer, worker)| WorkerStats {
            worker: peer.clone(),
            slots: worker.slots,
            in_flight: worker.running.len(),
            ext: worker.ext,
        });
        stats.collect()
    }

    /// Sends a worker away: it gets a DISCONNECT, and nothing it sends over this connection is listened to any more. What it
    /// had goes to others, as if the connection had been lost: first of all, unless so many workers were lost with it as
    /// the policy allows, or it may be sent only once. It may register again over a new connection, as workers of this crate
    /// do after a pause: an [`Authorizer`] keeps it out. False if there is no such worker.
    pub fn handle_disconnect(&mut self, now: Instant, worker: &PeerId) -> bool {
        self.handle_timeout(now);
        let known = self.workers.contains_key(worker);
        if known {
            self.counters.disconnected += 1;
            self.send_away(now, worker);
        }
        known
    }

    fn oldest(&self, service: &Service) -> Option<Instant> {
        let item = service.queue.oldest()?;
        self.requests.get(&item.value).map(|request| request.since)
    }

    /// The names of all services that have workers or requests, in order.
    pub fn services(&self) -> impl Iterator<Item = &[u8]> {
        self.services.keys().map(Vec::as_slice)
    }

    /// Octets of all requests, waiting and with workers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> BrokerCounters {
        self.counters
    }

    fn may(&mut self, who: &PeerId, verb: Verb, service: &[u8]) -> bool {
        let authorizer = self.authorizer.as_ref();
        let allowed = authorizer.map_or(true, |a| a.allows(who, verb, service));
        self.counters.denied += u64::from(!allowed);
        allowed
    }

    /// The service of this name, made if there is room for it.
    fn service_mut(&mut self, name: &[u8]) -> Option<&mut Service> {
        if !self.services.contains_key(name) {
            if self.services.len() >= self.config.limits.services {
                return None;
            }
            let policy = self.policies.get(name).copied();
            let policy = policy.unwrap_or(self.config.policy);
            let service = Service {
                policy,
                queue: FairQueue::new(policy.limits()),
                idle: BTreeSet::new(),
                lanes: Lanes::default(),
                wakes: None,
                stats: ServiceStats::default(),
            };
            self.services.insert(name.to_vec(), service);
        }
        self.services.get_mut(name)
    }

    /// Forgets a service that nobody offers and nobody asks for.
    fn tidy(&mut self, name: &[u8]) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let deadline = service.queue.next_deadline();
        if std::mem::replace(&mut service.wakes, deadline) != deadline {
            self.timers
                .set_or_cancel(Timer::Queue(name.to_vec()), deadline);
        }
        let stats = service.stats();
        if (stats.workers, stats.ready, stats.in_flight) == (0, 0, 0) {
            self.services.remove(name);
        }
    }

    // Clients.

    fn called(
        &mut self,
        now: Instant,
        port: Port,
        peer: &PeerId,
        dialect: Dialect,
        service: Frame,
        mut body: Vec<Frame>,
    ) {
        let ext = match body.first().map(|first| Ext::decode(first)) {
            Some(Ok(ext)) => ext.map(Ext::into_owned),
            _ => {
                self.counters.malformed += 1;
                return;
            }
        };
        if ext.is_some() {
            body.remove(0);
        }
        if body.is_empty() {
            body.push(Frame::default());
        }
        let origin = Origin {
            port,
            peer: peer.clone(),
            dialect,
            service,
            ext: ext.is_some(),
            id: ext.as_ref().and_then(|ext| ext.id),
        };
        let ext = ext.unwrap_or_default();
        if body.len() > self.config.limits.frames {
            self.counters.malformed += 1;
            return;
        }
        match ext.op {
            Op::Call if origin.service.starts_with(MMI) => self.asked_about(now, &origin, &body),
            Op::Call => self.requested(now, origin, ext, body),
            Op::Cancel => {
                let named = origin.id.map(|id| (origin.peer, id));
                if let Some(&id) = named.and_then(|named| self.origins.get(&named)) {
                    self.abandoned(now, id);
                }
            }
            _ => self.counters.malformed += 1,
        }
    }

    fn requested(&mut self, now: Instant, origin: Origin, ext: Ext<'static>, body: Vec<Frame>) {
        self.counters.requests += 1;
        let name = origin.service.clone();
        if self.draining {
            return self.decline(&origin, Status::Unavailable, Some(drain::DRAINS));
        }
        if !self.may(&origin.peer, Verb::Call, &name) {
            return self.decline(&origin, Status::Failed, Some("not allowed"));
        }
        if name.is_empty() || name.len() > self.config.limits.name {
            self.counters.malformed += 1;
            return self.decline(&origin, Status::NoService, None);
        }
        if ext.time_left() == Some(Duration::ZERO) {
            self.counters.expired += 1;
            return self.decline(&origin, Status::Expired, None);
        }
        if ext.is_early() {
            self.counters.early += 1;
            let why = Some("this broker holds no requests back");
            return self.decline(&origin, Status::Unavailable, why);
        }
        let named = origin.id.map(|id| (origin.peer.clone(), id));
        if self.is_repeated(now, &origin, &ext, &body) {
            self.counters.dups += 1;
            return;
        }
        let bytes = footprint(&body);
        let new_client = !self.clients.contains_key(&origin.peer);
        let full = self.bytes.saturating_add(bytes) > self.config.limits.bytes
            || (new_client && self.clients.len() >= self.config.limits.clients);
        if full {
            self.counters.rejected += 1;
            return self.decline(&origin, Status::Rejected, None);
        }
        let key = match (ext.idem, origin.id) {
            (Some(ExtIdem::Key), Some(key)) => Some(key),
            (Some(ExtIdem::Key), None) => {
                self.counters.malformed += 1;
                return;
            }
            _ => None,
        };
        if let Some(key) = key {
            let Some(cache) = &mut self.cache else {
                return self.decline(
                    &origin,
                    Status::Failed,
                    Some("this broker keeps no replies"),
                );
            };
            let message = Message::multipart(body.iter().cloned());
            match cache.ask((), key, &message, origin.clone(), now) {
                Known::New => {}
                Known::Running => {
                    self.counters.dups += 1;
                    return;
                }
                Known::Done(kept) => {
                    self.counters.dups += 1;
                    return self.give(&origin, kept);
                }
                Known::Conflict => {
                    let why = Some("another request has this name");
                    return self.decline(&origin, Status::Conflict, why);
                }
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        let Some(service) = self.service_mut(&name) else {
            self.counters.rejected += 1;
            return self.decline_all(&origin, key, Status::Rejected, None);
        };
        let deadline = ext.time_left().map(|left| now + left.min(LONGEST));
        let latest = service.latest(now, deadline);
        let item = Item {
            flow: origin.peer.clone(),
            priority: ext.priority.unwrap_or(0),
            bytes,
            deadline: Some(latest),
            value: id,
        };
        let lane = (ext.key.as_deref()).filter(|_| service.policy.ordered_by_key);
        let first = lane.map_or(true, |key| service.lanes.is_free(key));
        // Most find a worker free, and nobody before them.
        let free = first && service.queue.is_empty() && !service.idle.is_empty() && latest > now;
        let free = free && service.queue.admits(&item);
        let mut dropped = Vec::new();
        let ticket = match free {
            true => None,
            false => match service.queue.push(item) {
                Pushed::Queued(ticket) => Some(ticket),
                Pushed::Replaced(ticket, others) => {
                    dropped = others;
                    Some(ticket)
                }
                // Nobody waits in front of this queue.
                Pushed::Refused(_) | Pushed::Waiting(_) => {
                    self.counters.rejected += 1;
                    self.decline_all(&origin, key, Status::Rejected, None);
                    return self.tidy(&name);
                }
                Pushed::Dropped(_) => {
                    self.counters.rejected += 1;
                    self.counters.silent += 1;
                    // It is new, so nobody else waits for it.
                    if let (Some(key), Some(cache)) = (key, &mut self.cache) {
                        cache.abandon((), key);
                    }
                    return self.tidy(&name);
                }
            },
        };
        if let (Some(ticket), false) = (ticket, first) {
            service.queue.hold(ticket);
        }
        if let Some(key) = lane {
            service.lanes.enter(key, id);
        }
        let ordered = lane.is_some();
        self.bytes += bytes;
        *self.clients.entry(origin.peer.clone()).or_default() += 1;
        if let Some(named) = named {
            self.origins.insert(named, id);
        }
        let request = Request {
            origin,
            ext,
            body,
            bytes,
            deadline,
            since: now,
            deliveries: 0,
            lease: None,
            at: None,
            ticket,
            key,
            ordered,
            gone: false,
            parts: 0,
            credit: None,
            collected: Vec::new(),
        };
        self.requests.insert(id, Box::new(request));
        if free {
            return self.assign(now, &name, id);
        }
        for id in dropped {
            self.counters.rejected += 1;
            // It is out of the queue already.
            self.decline_waiting(id, Status::Rejected);
        }
        self.dispatch(now, &name);
    }

    /// Its client does not want the reply.
    fn abandoned(&mut self, now: Instant, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut request.gone, true) {
            return;
        }
        self.counters.cancelled += 1;
        self.withdraw(id);
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        // One with a key is carried out all the same: its client may ask again over another connection.
        if request.key.is_some() {
            if self.starved.remove(&request.origin, id) {
                self.credit(id);
            }
            return;
        }
        match request.ticket {
            Some(_) => {
                let name = request.origin.service.clone();
                self.forget(id);
                self.dispatch(now, &name);
            }
            None => {
                // Its worker may stop, so who asks again under this name asks anew.
                self.forget_name(id);
                self.recall(now, id);
            }
        }
    }

    /// A request is over. If a worker has it, that is for the caller to see to.
    fn forget(&mut self, id: u64) -> Option<Box<Request>> {
        let request = self.requests.remove(&id)?;
        self.bytes -= request.bytes;
        if let Some(count) = self.clients.get_mut(&request.origin.peer) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&request.origin.peer);
            }
        }
        self.forget_origin(&request.origin, id);
        self.starved.remove(&request.origin, id);
        let name = request.origin.service.clone();
        if let (Some(ticket), Some(service)) = (request.ticket, self.services.get_mut(&name[..])) {
            service.queue.remove(ticket);
        }
        if let (true, Some(key)) = (request.ordered, &request.ext.key) {
            self.leave_lane(&name, key, id);
        }
        self.tidy(&name);
        Some(request)
    }

    // Between clients and workers.

    fn dispatch(&mut self, now: Instant, name: &[u8]) {
        self.expire(now, name);
        while let Some(service) = self.services.get_mut(name) {
            if service.idle.is_empty() {
                break;
            }
            let Some(item) = service.queue.pop() else {
                break;
            };
            self.assign(now, name, item.value);
        }
        self.tidy(name);
    }

    /// A worker with a free slot is given this request, which is in no queue any more.
    fn assign(&mut self, now: Instant, name: &[u8], id: u64) {
        let credit = self.first_credit(id);
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let key = self
            .requests
            .get(&id)
            .and_then(|request| request.ext.key.as_deref());
        let Some(peer) = service.pick(&self.workers, key) else {
            return;
        };
        service.stats.in_flight += 1;
        let policy = service.policy;
        let (Some(request), Some(worker)) =
            (self.requests.get_mut(&id), self.workers.get_mut(&peer))
        else {
            return;
        };
        request.ticket = None;
        request.deliveries += 1;
        let delivery = self.next_id;
        self.next_id += 2;
        worker.running.insert(delivery, id);
        worker.turn = worker.has_room().then_some(delivery + 1);
        if let Some(turn) = worker.turn {
            service.idle.insert((turn, peer.clone()));
        }
        self.counters.dispatched += 1;
        self.counters.redelivered += u64::from(request.deliveries > 1);
        let lease = match policy.lease {
            Lease::None => None,
            Lease::WhileHeartbeating(_) if !worker.ext => None,
            Lease::Fixed(span) | Lease::WhileHeartbeating(span) => Some(now + span.min(LONGEST)),
        };
        request.lease = lease;
        request.at = Some((peer.clone(), delivery));
        worker.watch(&mut self.timers, &peer);
        if let Some(lease) = lease {
            let timer = Timer::Lease(delivery, peer.clone());
            self.timers.set(timer, lease);
        }
        let mut body = Vec::with_capacity(request.body.len() + 1);
        request.credit = None;
        if worker.ext && request.origin.ext {
            let ext = Ext {
                deadline: request.deadline.map(|at| at.saturating_duration_since(now)),
                // Both are one from here on.
                ttl: None,
                attempt: Some(u16::try_from(request.deliveries).unwrap_or(u16::MAX)),
                credit: Some(credit),
                ..request.ext.clone()
            };
            request.credit = Some(i64::from(credit));
            if credit == 0 {
                self.starved.add(&request.origin, id);
            }
            body.extend(ext.encode().ok());
        }
        body.extend_from_slice(&request.body);
        let client = client_frame(worker, request, delivery);
        let message = wire::encode_request(worker.dialect, &client, body);
        let port = worker.port;
        self.send_worker(now, port, &peer, message);
    }

    /// Declines what has waited for too long.
    fn expire(&mut self, now: Instant, name: &[u8]) {
        while let Some(service) = self.services.get_mut(name) {
            let Some(item) = service.queue.expire(now) else {
                break;
            };
            let status = match service.stats.workers {
                0 => Status::NoService,
                _ => Status::Expired,
            };
            self.counters.expired += 1;
            self.decline_waiting(item.value, status);
        }
    }
}

impl Engine for BrokerEngine {
    type Event = BrokerEvent;

    fn handle_message(
        &mut self,
        now: Instant,
        port: Port,
        from: Option<&PeerId>,
        message: Message,
    ) {
        self.handle_timeout(now);
        let Some(peer) = from else {
            self.counters.malformed += 1;
            return;
        };
        if self.banned.contains(peer) {
            return;
        }
        match wire::decode_to_broker(message) {
            Ok((dialect, ToBroker::Call { service, body })) => {
                self.called(now, port, peer, dialect, service, body);
            }
            Ok((dialect, command)) => self.commanded(now, port, peer, dialect, command),
            Err(_) => self.counters.malformed += 1,
        }
    }

    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent) {
        self.handle_timeout(now);
        let (PeerEvent::Up { peer } | PeerEvent::Down { peer }) = &event;
        let Some(peer) = peer else {
            return;
        };
        self.banned.remove(peer);
        if matches!(event, PeerEvent::Down { .. }) {
            self.forget_line(port, peer);
            self.remove_worker(now, peer);
            if self.clients.contains_key(peer) {
                let of_peer = |request: &Request| request.origin.peer == *peer;
                let lost: Vec<u64> = (self.requests.iter())
                    .filter(|(_, request)| of_peer(request))
                    .map(|(id, _)| *id)
                    .collect();
                for id in lost {
                    self.abandoned(now, id);
                }
            }
        }
        self.look_drained();
    }

    fn handle_refused(&mut self, now: Instant, transmit: Transmit) {
        self.counters.undeliverable += 1;
        if let Some((id, _)) = self.outbox.refused() {
            self.end_parts(now, id, 1, DeadReason::Reply);
        }
        // A worker that cannot be sent to is lost; a client finds out by itself.
        if let Some(peer) = &transmit.to {
            if self.workers.contains_key(peer) {
                self.remove_worker(now, peer);
            }
        }
        self.look_drained();
    }

    fn handle_full(&mut self, now: Instant, transmit: Transmit) {
        self.outbox.full(now, transmit);
    }

    fn handle_too_large(&mut self, now: Instant, transmit: Transmit, size: u64, limit: u64) {
        if let Some(delivery) = self.request_in(&transmit) {
            return self.request_is_too_large(now, delivery);
        }
        let answer = self.instead_of(&transmit, size, limit);
        self.handle_refused(now, transmit);
        if let Some(answer) = answer {
            self.outbox.push(answer);
        }
    }

    fn handle_room(&mut self, _: Instant, port: Port, peer: Option<&PeerId>) {
        self.outbox.room(port, peer);
        if let Some(peer) = peer {
            self.starved.room(port, peer);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Silence(peer) => self.silent(now, &peer),
                Timer::Beat(peer) => self.beat(now, &peer),
                Timer::Lease(delivery, peer) => self.lease_ended(now, &peer, delivery),
                Timer::Queue(name) => {
                    if let Some(service) = self.services.get_mut(&name) {
                        service.wakes = None;
                    }
                    self.dispatch(now, &name);
                }
                Timer::Linger => self.lingered(now),
            }
        }
        self.look_unread(now);
        self.look_drained();
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.next_transmit()
    }

    fn poll_event(&mut self) -> Option<BrokerEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let stalls = self.outbox.stalls(self.stall());
        self.timers.next().into_iter().chain(stalls).min()
    }
}

impl std::fmt::Debug for BrokerEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerEngine")
            .field("services", &self.services.len())
            .field("workers", &self.workers.len())
            .field("requests", &self.requests.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Until when a request waits that comes now, or comes again.
    fn latest(&self, now: Instant, deadline: Option<Instant>) -> Instant {
        let ttl = match self.stats.workers {
            0 => self.policy.unregistered_ttl,
            _ => self.policy.ttl,
        };
        let latest = now + ttl.min(LONGEST);
        deadline.map_or(latest, |deadline| deadline.min(latest))
    }

    fn stats(&self) -> ServiceStats {
        ServiceStats {
            ready: self.queue.len(),
            ready_bytes: self.queue.bytes(),
            held: self.queue.held(),
            ..self.stats
        }
    }
}

/// What the names of the broker's own services begin with.
const MMI: &[u8] = b"mmi.";
