//! The broker's workers: registration, heartbeats, leases, bans.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use sinew::{Frame, Message};

use super::super::config::{Lease, Verb};
use super::super::wire::{self, Dialect, ToBroker};
use super::{BrokerEngine, Service, Timer, MMI};
use crate::common::{
    Beat, Ext, IdMap, Liveness, Op, PeerId, Port, Status, Timers, Transmit, LONGEST,
};

/// A worker that is registered.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) port: Port,
    pub(super) dialect: Dialect,
    pub(super) service: Vec<u8>,
    /// Whether it has said that it knows extension headers.
    pub(super) ext: bool,
    /// How many requests at once it takes.
    pub(super) slots: usize,
    /// What it has: the request of each delivery.
    pub(super) running: IdMap<u64>,
    /// Deliveries whose request was given to another or is dead, and it does not know that.
    pub(super) suspect: IdMap<()>,
    liveness: Liveness,
    beat: Beat,
    /// It drains, and takes no more requests.
    pub(super) leaves: bool,
    /// Since when it has had a free slot, as a number; `None` if it has none.
    pub(super) turn: Option<u64>,
    /// What the timer of its silence is set to.
    silence: Option<Instant>,
}

impl Worker {
    pub(super) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.leaves && self.running.len() + self.suspect.len() < self.slots
    }

    /// Which delivery a reply is to, if it says so.
    pub(super) fn delivery(&self, client: &Frame) -> Option<u64> {
        if self.slots > 1 {
            return client.as_slice().try_into().ok().map(u64::from_be_bytes);
        }
        let running = self.running.iter().map(|(delivery, _)| delivery);
        let suspect = self.suspect.iter().map(|(delivery, ())| delivery);
        running.chain(suspect).next()
    }

    /// Sets the timer of its silence. A busy one may be silent, if it has one slot: those that know of several send
    /// heartbeats while they work.
    pub(super) fn watch(&mut self, timers: &mut Timers<Timer>, peer: &PeerId) {
        let expires = match self.is_busy() && self.slots == 1 {
            true => None,
            false => self.liveness.expires(),
        };
        if std::mem::replace(&mut self.silence, expires) != expires {
            timers.set_or_cancel(Timer::Silence(peer.clone()), expires);
        }
    }
}

/// Whom nobody listens to until they make a new connection.
#[derive(Debug, Default)]
pub(super) struct Banned {
    peers: BTreeSet<PeerId>,
    order: VecDeque<PeerId>,
}

impl Banned {
    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains(peer)
    }

    pub(super) fn remove(&mut self, peer: &PeerId) {
        if self.peers.remove(peer) {
            self.order.retain(|other| other != peer);
        }
    }

    fn add(&mut self, peer: &PeerId) {
        if !self.peers.insert(peer.clone()) {
            return;
        }
        self.order.push_back(peer.clone());
        if self.order.len() > BANNED {
            if let Some(oldest) = self.order.pop_front() {
                self.peers.remove(&oldest);
            }
        }
    }
}

impl BrokerEngine {
    /// A worker has sent something.
    pub(super) fn commanded(
        &mut self,
        now: Instant,
        port: Port,
        peer: &PeerId,
        dialect: Dialect,
        command: ToBroker,
    ) {
        let Some(worker) = self.workers.get_mut(peer) else {
            return match command {
                ToBroker::Ready { service, slots } => {
                    self.registers(now, port, peer, dialect, &service, slots)
                }
                ToBroker::Disconnect => {}
                _ => {
                    self.send_disconnect(port, peer, dialect);
                    self.banned.add(peer);
                    self.counters.banned += 1;
                }
            };
        };
        if worker.dialect != dialect {
            return self.ban(now, peer);
        }
        worker.liveness.heard(now);
        match command {
            ToBroker::Disconnect => self.remove_worker(now, peer),
            ToBroker::Heartbeat { note } => {
                if !worker.liveness.is_armed() {
                    worker.liveness.arm();
                    // It has sent one, so it knows what one is.
                    worker.beat = Beat::new(self.config.heartbeat, now);
                    self.timers
                        .set_or_cancel(Timer::Beat(peer.clone()), worker.beat.due());
                }
                worker.watch(&mut self.timers, peer);
                self.extend_lease(now, peer);
                if let Some(note) = note {
                    self.noted(now, peer, &note);
                }
            }
            ToBroker::Reply { client, body, last } => {
                let delivery = worker.delivery(&client).unwrap_or(u64::MAX);
                if let Some(&id) = worker.running.get(delivery) {
                    let expected = self.requests.get(&id).map(|request| &request.origin.peer);
                    let several = worker.slots > 1;
                    if several || expected.is_some_and(|peer| client == *peer.as_bytes()) {
                        self.replied(now, peer, (delivery, id), body, last);
                    } else {
                        self.counters.stale_replies += 1;
                        self.ban(now, peer);
                    }
                } else if worker.suspect.contains(delivery) {
                    self.counters.stale_replies += 1;
                    // In 7/MDP only the header tells a part: more of the same delivery follow.
                    let header = body.first().filter(|_| worker.ext);
                    let header = header.and_then(|first| Ext::decode(first).ok()?);
                    if last && !header.is_some_and(|ext| ext.op == Op::Partial) {
                        worker.suspect.remove(delivery);
                        let service = worker.service.clone();
                        self.idle(peer);
                        self.dispatch(now, &service);
                    }
                } else {
                    self.ban(now, peer);
                }
            }
            _ => self.ban(now, peer),
        }
        self.look_drained();
    }

    fn registers(
        &mut self,
        now: Instant,
        port: Port,
        peer: &PeerId,
        dialect: Dialect,
        service: &Frame,
        slots: Option<u32>,
    ) {
        let valid = !service.is_empty()
            && service.len() <= self.config.limits.name
            && !service.starts_with(MMI)
            && !service.contains(&0)
            && std::str::from_utf8(service).is_ok();
        // Of one that takes more than it may, or than there is room for, some slots are left alone.
        let left = self.config.limits.workers.saturating_sub(self.slots);
        let room = left > 0 && !self.draining;
        let allowed = valid && room && self.may(peer, Verb::Offer, service);
        if allowed {
            self.make_room(service);
        }
        if !allowed || self.service_mut(service).is_none() {
            self.send_disconnect(port, peer, dialect);
            self.banned.add(peer);
            self.counters.banned += 1;
            return;
        }
        let ext = slots.is_some();
        let bound = self.config.limits.slots.max(1).min(left);
        let slots = (slots.unwrap_or(1) as usize).min(bound);
        self.slots += slots;
        if let Some(entry) = self.service_mut(service) {
            let first = entry.stats.workers == 0;
            entry.stats.workers += slots;
            if first {
                self.is_offered(service);
            }
        }
        let worker = Worker {
            port,
            dialect,
            service: service.to_vec(),
            ext,
            slots,
            running: IdMap::new(),
            suspect: IdMap::new(),
            leaves: false,
            liveness: Liveness::new(self.config.heartbeat, now),
            beat: Beat::new(self.config.heartbeat, now),
            turn: None,
            silence: None,
        };
        self.workers.insert(peer.clone(), worker);
        self.idle(peer);
        self.dispatch(now, service);
    }

    /// If there are as many services as there may be, one that is only asked for gives way to one that is offered: of those, one
    /// of whoever waits for most. Else a client that asks for names of its own invention would keep workers out.
    fn make_room(&mut self, name: &[u8]) {
        let full = self.services.len() >= self.config.limits.services;
        if !full || self.services.contains_key(name) {
            return;
        }
        let waits_for = |service: &Service| {
            let request = self.requests.get(&service.queue.oldest()?.value)?;
            // One that lost its workers will have others.
            let new = service.stats.workers == 0 && request.deliveries == 0;
            let count = self.clients.get(&request.origin.peer);
            new.then_some(count.copied().unwrap_or(0))
        };
        let only_asked_for = (self.services.iter())
            .filter_map(|(name, service)| Some((waits_for(service)?, name)))
            .max();
        let Some(name) = only_asked_for.map(|(_, name)| name.clone()) else {
            return;
        };
        while let Some(first) = self.services.get(&name).and_then(|s| s.queue.oldest()) {
            let id = first.value;
            self.counters.rejected += 1;
            self.decline_waiting(id, Status::Rejected);
        }
    }

    /// A service has workers now: what has waited for one may wait as long as if it had had them when it came.
    fn is_offered(&mut self, name: &[u8]) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        for request in self.requests.values() {
            let new = request.deliveries == 0 && request.origin.service == *name;
            if let (Some(ticket), true) = (request.ticket, new) {
                let latest = service.latest(request.since, request.deadline);
                service.queue.set_deadline(ticket, Some(latest));
            }
        }
    }

    /// The worker has a free slot more than before. While the broker drains, it is sent away when it has nothing to do.
    pub(super) fn idle(&mut self, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        if self.draining {
            return match worker.is_busy() {
                true => {}
                false => self.dismiss(peer),
            };
        }
        if worker.turn.is_none() && worker.has_room() {
            worker.turn = Some(self.next_id);
            if let Some(service) = self.services.get_mut(&worker.service) {
                service.idle.insert((self.next_id, peer.clone()));
            }
            self.next_id += 1;
        }
        worker.watch(&mut self.timers, peer);
    }

    /// A worker finishes what it has, and is given nothing more.
    pub(super) fn leaves(&mut self, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        worker.leaves = true;
        let service = self.services.get_mut(&worker.service);
        if let (Some(turn), Some(service)) = (worker.turn.take(), service) {
            service.idle.remove(&(turn, peer.clone()));
        }
    }

    pub(super) fn silent(&mut self, now: Instant, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        worker.silence = None;
        match worker.liveness.is_expired(now) {
            true => {
                self.counters.workers_expired += 1;
                self.remove_worker(now, peer);
            }
            false => worker.watch(&mut self.timers, peer),
        }
    }

    pub(super) fn beat(&mut self, now: Instant, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        if worker.beat.is_due(now) {
            let message = wire::encode_heartbeat(worker.dialect);
            let port = worker.port;
            // While anything waits for room, one more message would tell nothing.
            match self.outbox.held(port, Some(peer)) {
                (0, _) => self.send_worker(now, port, peer, message),
                _ => worker.beat.sent(now),
            }
        }
        // Whatever is sent puts it off, and the timer follows here and not for each message.
        let due = self.workers.get(peer).and_then(|worker| worker.beat.due());
        self.timers.set_or_cancel(Timer::Beat(peer.clone()), due);
    }

    pub(super) fn lease_ended(&mut self, now: Instant, peer: &PeerId, delivery: u64) {
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        let Some(&id) = worker.running.get(delivery) else {
            return;
        };
        let service = worker.service.clone();
        self.counters.leases_ended += 1;
        self.recall(now, id);
        // Before the worker may be sent away, and its service with it.
        self.requeue(now, id);
        self.suspect(peer, delivery);
        self.dispatch(now, &service);
        self.look_drained();
    }

    /// A worker goes on with a request that is not its own any more. While the broker drains nobody waits for that.
    pub(super) fn suspect(&mut self, peer: &PeerId, delivery: u64) {
        if let Some(worker) = self.workers.get_mut(peer) {
            worker.suspect.insert(delivery, ());
        }
        self.left_flight(peer, delivery);
        if self.draining {
            return self.idle(peer);
        }
        if let Some(worker) = self.workers.get_mut(peer) {
            worker.watch(&mut self.timers, peer);
        }
    }

    /// A sign of progress from a worker whose leases depend on that.
    pub(super) fn extend_lease(&mut self, now: Instant, peer: &PeerId) {
        let Some(worker) = self.workers.get(peer) else {
            return;
        };
        let policy = self
            .services
            .get(&worker.service)
            .map(|service| service.policy);
        if let (true, Some(Lease::WhileHeartbeating(span))) =
            (worker.ext, policy.map(|policy| policy.lease))
        {
            let until = now + span.min(LONGEST);
            for delivery in worker
                .running
                .iter()
                .map(|(delivery, id)| (delivery, *id))
                .collect::<Vec<_>>()
            {
                self.prolong(peer, delivery, until);
            }
        }
    }

    /// A worker does not have the request of this delivery any more.
    pub(super) fn left_flight(&mut self, peer: &PeerId, delivery: u64) {
        self.timers.cancel(&Timer::Lease(delivery, peer.clone()));
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        worker.running.remove(delivery);
        if let Some(service) = self.services.get_mut(&worker.service) {
            service.stats.in_flight -= 1;
        }
    }

    /// A worker is gone, or as good as gone: others get what it had.
    pub(super) fn remove_worker(&mut self, now: Instant, peer: &PeerId) {
        if let Some(worker) = self.workers.get(peer) {
            self.forget_sends(worker.port, peer);
            self.lose_worker(now, peer);
        }
    }

    fn lose_worker(&mut self, now: Instant, peer: &PeerId) {
        let Some(worker) = self.workers.get(peer) else {
            return;
        };
        let running: Vec<(u64, u64)> = (worker.running.ids().into_iter())
            .filter_map(|delivery| Some((delivery, *worker.running.get(delivery)?)))
            .collect();
        for (delivery, _) in &running {
            self.timers.cancel(&Timer::Lease(*delivery, peer.clone()));
        }
        let Some(name) = self.forget_worker(peer) else {
            return;
        };
        // Each goes before all others: what was given out first is first again. The others count as in flight
        // meanwhile, or their service might be forgotten with this one.
        for (_, id) in running.into_iter().rev() {
            if let Some(service) = self.services.get_mut(&name) {
                service.stats.in_flight -= 1;
            }
            self.requeue(now, id);
        }
        self.dispatch(now, &name);
    }

    /// A worker is not registered any more. Returns its service.
    fn forget_worker(&mut self, peer: &PeerId) -> Option<Vec<u8>> {
        let worker = self.workers.remove(peer)?;
        self.slots -= worker.slots;
        for timer in [Timer::Silence, Timer::Beat] {
            self.timers.cancel(&timer(peer.clone()));
        }
        if let Some(service) = self.services.get_mut(&worker.service) {
            if let Some(turn) = worker.turn {
                service.idle.remove(&(turn, peer.clone()));
            }
            service.stats.workers -= worker.slots;
        }
        Some(worker.service)
    }

    /// A worker has done what it must not: it is sent away, and not listened to.
    pub(super) fn ban(&mut self, now: Instant, peer: &PeerId) {
        self.counters.banned += 1;
        self.send_away(now, peer);
    }

    /// A worker is sent away, and not listened to; others get what it had.
    pub(super) fn send_away(&mut self, now: Instant, peer: &PeerId) {
        self.banned.add(peer);
        if let Some(worker) = self.workers.get(peer) {
            let (port, dialect) = (worker.port, worker.dialect);
            self.forget_sends(port, peer);
            self.send_disconnect(port, peer, dialect);
            self.lose_worker(now, peer);
        }
        self.look_drained();
    }

    /// A worker that has no request is sent away, for the broker closes.
    pub(super) fn dismiss(&mut self, peer: &PeerId) {
        let Some(worker) = self.workers.get(peer) else {
            return;
        };
        let (port, dialect) = (worker.port, worker.dialect);
        self.send_disconnect(port, peer, dialect);
        if let Some(name) = self.forget_worker(peer) {
            self.tidy(&name);
        }
    }

    /// Sends to a worker, which counts as a heartbeat.
    pub(super) fn send_worker(
        &mut self,
        now: Instant,
        port: Port,
        peer: &PeerId,
        message: Message,
    ) {
        if let Some(worker) = self.workers.get_mut(peer) {
            worker.beat.sent(now);
        }
        self.outbox.push(Transmit {
            port,
            to: Some(peer.clone()),
            message,
        });
    }

    fn send_disconnect(&mut self, port: Port, peer: &PeerId, dialect: Dialect) {
        self.outbox.push(Transmit {
            port,
            to: Some(peer.clone()),
            message: wire::encode_disconnect(dialect),
        });
    }
}

/// Bans remembered. Beyond that the oldest is forgotten, and banned again when it sends something.
const BANNED: usize = 10_000;
