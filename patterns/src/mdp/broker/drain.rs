//! How a broker ends: nothing new is begun, what workers have is finished, and all of it takes a bounded time.

use std::time::Instant;

use super::{BrokerEngine, BrokerEvent, Timer};
use crate::common::{farewell, PeerId, Status, LONGEST};
use crate::mdp::DeadReason;

impl BrokerEngine {
    /// From now on requests are declined; what workers have is finished, and what waits is declined. Workers
    /// are disconnected as they become idle. Ends with [`BrokerEvent::Drained`], within [`BrokerConfig::linger`] of the first
    /// call.
    ///
    /// [`BrokerConfig::linger`]: super::BrokerConfig::linger
    pub fn handle_drain(&mut self, now: Instant) {
        self.draining = true;
        if self.ends.is_none() {
            let linger = self.config.linger.min(LONGEST);
            let farewell = farewell(linger);
            // What is left then is for closing the socket, and for whatever else ends with the broker.
            self.ends = Some(now + linger - farewell / 4);
            self.timers.set(Timer::Linger, now + linger - farewell);
        }
        let waiting: Vec<u64> = (self.requests.iter())
            .filter(|(_, request)| request.ticket.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.decline_waiting(id, Status::Unavailable);
        }
        let idle: Vec<PeerId> = (self.workers.iter())
            .filter(|(_, worker)| !worker.is_busy())
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in idle {
            self.dismiss(&peer);
        }
        self.look_drained();
    }

    /// Until when anything is sent, if it drains.
    pub(in crate::mdp) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// No more time for workers: what they have is given up, and they are sent away. Later, no more time for those who do
    /// not take what they are told.
    pub(super) fn lingered(&mut self, now: Instant) {
        let with_workers: Vec<(u64, bool)> = (self.requests.iter())
            .map(|(id, request)| (*id, request.is_nobodys()))
            .collect();
        for (id, is_nobodys) in with_workers {
            match is_nobodys {
                true => drop(self.forget(id)),
                false => self.died(id, DeadReason::Ended),
            }
        }
        let workers: Vec<PeerId> = self.workers.keys().cloned().collect();
        for peer in workers {
            self.send_away(now, &peer);
        }
        match self.ends.filter(|ends| now < *ends) {
            Some(ends) => self.timers.set(Timer::Linger, ends),
            None => self.over = true,
        }
    }

    pub(super) fn look_drained(&mut self) {
        let idle = self.draining && self.workers.is_empty() && self.requests.is_empty();
        let idle = idle && (self.over || self.outbox.is_idle());
        if idle && self.events.back() != Some(&BrokerEvent::Drained) {
            self.timers.cancel(&Timer::Linger);
            self.events.push_back(BrokerEvent::Drained);
        }
    }
}

/// What those are told whose requests are not begun any more.
pub(super) const DRAINS: &str = "this broker drains";
