//! The broker's workers: registration, heartbeats, leases, bans.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use sinew::{Frame, Message};

use super::super::config::{Lease, Verb};
use super::super::wire::{self, Dialect, ToBroker};
use super::{BrokerEngine, Timer, MMI};
use crate::common::{Beat, Liveness, PeerId, Port, Transmit, LONGEST};

/// A worker that is registered.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) port: Port,
    pub(super) dialect: Dialect,
    pub(super) service: Vec<u8>,
    /// Whether it has said that it knows extension headers.
    pub(super) ext: bool,
    pub(super) state: State,
    liveness: Liveness,
    beat: Beat,
    /// Since when it has been idle, as a number.
    turn: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    /// With this request.
    Busy(u64),
    /// Its request was given to another, and it does not know that.
    Suspect,
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
                ToBroker::Ready { service, ext } => {
                    self.registers(now, port, peer, dialect, &service, ext)
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
        let state = worker.state;
        match (command, state) {
            (ToBroker::Disconnect, _) => self.remove_worker(now, peer),
            (ToBroker::Heartbeat, _) => {
                if !worker.liveness.is_armed() {
                    worker.liveness.arm();
                    // It has sent one, so it knows what one is.
                    worker.beat = Beat::new(self.config.heartbeat, now);
                    self.timers
                        .set_or_cancel(Timer::Beat(peer.clone()), worker.beat.due());
                }
                self.extend_lease(now, peer);
                self.watch(peer);
            }
            (ToBroker::Reply { client, body, last }, State::Busy(id)) => {
                let expected = self.requests.get(&id).map(|request| &request.origin.peer);
                if expected.is_some_and(|expected| client == *expected.as_bytes()) {
                    self.replied(now, peer, id, body, last);
                } else {
                    self.counters.stale_replies += 1;
                    self.ban(now, peer);
                }
            }
            (ToBroker::Reply { last, .. }, State::Suspect) => {
                self.counters.stale_replies += 1;
                if last {
                    let service = worker.service.clone();
                    self.idle(now, peer);
                    self.dispatch(now, &service);
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
        ext: bool,
    ) {
        let valid = !service.is_empty()
            && service.len() <= self.config.limits.name
            && !service.starts_with(MMI)
            && !service.contains(&0)
            && std::str::from_utf8(service).is_ok();
        let room = self.workers.len() < self.config.limits.workers && !self.draining;
        let allowed = valid
            && room
            && self.may(peer, Verb::Offer, service)
            && self.service_mut(service).is_some();
        if !allowed {
            self.send_disconnect(port, peer, dialect);
            self.banned.add(peer);
            self.counters.banned += 1;
            return;
        }
        if let Some(entry) = self.service_mut(service) {
            entry.stats.workers += 1;
        }
        let worker = Worker {
            port,
            dialect,
            service: service.to_vec(),
            ext,
            state: State::Idle,
            liveness: Liveness::new(self.config.heartbeat, now),
            beat: Beat::new(self.config.heartbeat, now),
            turn: 0,
        };
        self.workers.insert(peer.clone(), worker);
        self.idle(now, peer);
        self.dispatch(now, service);
    }

    /// The worker is free. While the broker drains, it is sent away.
    pub(super) fn idle(&mut self, _: Instant, peer: &PeerId) {
        let turn = self.next_id;
        self.next_id += 1;
        self.timers.cancel(&Timer::Lease(peer.clone()));
        if self.draining {
            return self.dismiss(peer);
        }
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        worker.state = State::Idle;
        worker.turn = turn;
        if let Some(service) = self.services.get_mut(&worker.service) {
            service.idle.insert((turn, peer.clone()));
        }
        self.watch(peer);
    }

    /// Sets the timer of a worker's silence. A busy one may be silent.
    fn watch(&mut self, peer: &PeerId) {
        let Some(worker) = self.workers.get(peer) else {
            return;
        };
        let expires = match worker.state {
            State::Busy(_) => None,
            _ => worker.liveness.expires(),
        };
        self.timers
            .set_or_cancel(Timer::Silence(peer.clone()), expires);
    }

    pub(super) fn silent(&mut self, now: Instant, peer: &PeerId) {
        let expired = self
            .workers
            .get(peer)
            .is_some_and(|w| w.liveness.is_expired(now));
        match expired {
            true => {
                self.counters.workers_expired += 1;
                self.remove_worker(now, peer);
            }
            false => self.watch(peer),
        }
    }

    pub(super) fn beat(&mut self, now: Instant, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        if worker.beat.is_due(now) {
            let message = wire::encode_heartbeat(worker.dialect);
            let port = worker.port;
            return self.send_worker(now, port, peer, message);
        }
        let due = worker.beat.due();
        self.timers.set_or_cancel(Timer::Beat(peer.clone()), due);
    }

    pub(super) fn lease_ended(&mut self, now: Instant, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else {
            return;
        };
        let State::Busy(id) = worker.state else {
            return;
        };
        let service = worker.service.clone();
        self.counters.leases_ended += 1;
        self.suspect(peer);
        self.requeue(now, id);
        self.dispatch(now, &service);
        self.look_drained();
    }

    /// A worker goes on with a request that is not its own any more. While the broker drains nobody waits for that.
    pub(super) fn suspect(&mut self, peer: &PeerId) {
        self.left_flight(peer);
        if self.draining {
            return self.dismiss(peer);
        }
        if let Some(worker) = self.workers.get_mut(peer) {
            worker.state = State::Suspect;
        }
        self.watch(peer);
    }

    /// A sign of progress from a worker whose lease depends on that.
    pub(super) fn extend_lease(&mut self, now: Instant, peer: &PeerId) {
        let Some(worker) = self.workers.get(peer) else {
            return;
        };
        let policy = self
            .services
            .get(&worker.service)
            .map(|service| service.policy);
        if let (State::Busy(_), true, Some(Lease::WhileHeartbeating(span))) =
            (worker.state, worker.ext, policy.map(|policy| policy.lease))
        {
            let until = now + span.min(LONGEST);
            self.timers.set(Timer::Lease(peer.clone()), until);
        }
    }

    /// A worker does not have its request any more.
    pub(super) fn left_flight(&mut self, peer: &PeerId) {
        self.timers.cancel(&Timer::Lease(peer.clone()));
        let service = self.workers.get(peer).map(|worker| &worker.service);
        if let Some(service) = service.and_then(|name| self.services.get_mut(name)) {
            service.stats.in_flight -= 1;
        }
    }

    pub(super) fn remove_worker(&mut self, now: Instant, peer: &PeerId) {
        let Some(worker) = self.workers.get(peer) else {
            return;
        };
        let (state, turn, name) = (worker.state, worker.turn, worker.service.clone());
        if matches!(state, State::Busy(_)) {
            self.left_flight(peer);
        }
        self.workers.remove(peer);
        for timer in [Timer::Silence, Timer::Beat, Timer::Lease] {
            self.timers.cancel(&timer(peer.clone()));
        }
        if let Some(service) = self.services.get_mut(&name) {
            service.idle.remove(&(turn, peer.clone()));
            service.stats.workers -= 1;
        }
        if let State::Busy(id) = state {
            self.requeue(now, id);
        }
        self.dispatch(now, &name);
    }

    /// A worker has done what it must not: it is sent away, and not listened to.
    pub(super) fn ban(&mut self, now: Instant, peer: &PeerId) {
        self.counters.banned += 1;
        self.banned.add(peer);
        if let Some(worker) = self.workers.get(peer) {
            let (port, dialect) = (worker.port, worker.dialect);
            self.send_disconnect(port, peer, dialect);
            self.remove_worker(now, peer);
        }
        self.look_drained();
    }

    /// A worker that has no request is sent away, for the broker closes.
    pub(super) fn dismiss(&mut self, peer: &PeerId) {
        let Some(worker) = self.workers.remove(peer) else {
            return;
        };
        self.send_disconnect(worker.port, peer, worker.dialect);
        for timer in [Timer::Silence, Timer::Beat, Timer::Lease] {
            self.timers.cancel(&timer(peer.clone()));
        }
        if let Some(service) = self.services.get_mut(&worker.service) {
            service.idle.remove(&(worker.turn, peer.clone()));
            service.stats.workers -= 1;
        }
        self.tidy(&worker.service);
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
            if worker.liveness.is_armed() {
                let due = worker.beat.due();
                self.timers.set_or_cancel(Timer::Beat(peer.clone()), due);
            }
        }
        self.transmits.push_back(Transmit {
            port,
            to: Some(peer.clone()),
            message,
        });
    }

    fn send_disconnect(&mut self, port: Port, peer: &PeerId, dialect: Dialect) {
        self.transmits.push_back(Transmit {
            port,
            to: Some(peer.clone()),
            message: wire::encode_disconnect(dialect),
        });
    }
}

/// Bans remembered. Beyond that the oldest is forgotten, and banned again when it sends something.
const BANNED: usize = 10_000;
