//! Parts of replies that wait: for room at the socket, or for the broker to say that the client reads them (`credit`). Their
//! handlers wait with them, until they are sent, the deadline is over, or the connection is lost.

use std::time::Instant;

use super::{WorkerEngine, WorkerEvent, WorkerRequestId};
use crate::common::{Port, Transmit};

/// A part, and what it costs of the credit.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) transmit: Transmit,
    pub(super) cost: i64,
}

impl WorkerEngine {
    /// Whether a part of the reply to this request waits for room, or for the broker's leave: of such a one
    /// [`WorkerEvent::Part`] tells. To be asked when all of `poll_transmit` is sent.
    #[must_use]
    pub fn is_waiting(&self, id: WorkerRequestId) -> bool {
        self.outbox.waits(id.0) || self.starved.contains(&id.0)
    }

    /// Whether somebody will read the reply to this request, as far as is known.
    #[must_use]
    pub fn is_wanted(&self, id: WorkerRequestId) -> bool {
        let work = self.work.get(id.0);
        work.is_some_and(|work| work.current && !work.cancelled && !work.lost)
    }

    /// A part: one of each request may wait in any case, others as far as there is room for them. False if it was
    /// not sent, which ends the request.
    pub(super) fn send_part(&mut self, id: WorkerRequestId, part: Part) -> bool {
        let waits = self.is_waiting(id);
        let (held, octets) = self.outbox.held(part.transmit.port, None);
        let Some(work) = self.work.get_mut(id.0) else {
            return false;
        };
        let over = held >= HELD.0 || octets >= HELD.1 || work.held.len() >= HELD.0;
        if waits && over {
            self.lose(id, 1);
            return false;
        }
        match &mut work.credit {
            Some(credit) if *credit <= 0 || !work.held.is_empty() => {
                work.held.push_back(part);
                self.starved.insert(id.0);
            }
            credit => {
                if let Some(credit) = credit {
                    *credit = credit.saturating_sub(part.cost);
                }
                self.outbox.push_part(part.transmit, id.0);
            }
        }
        true
    }

    /// The broker takes more parts of this reply.
    pub(super) fn credited(&mut self, id: WorkerRequestId, more: u32) {
        let Some(work) = self.work.get_mut(id.0) else {
            return;
        };
        let Some(credit) = &mut work.credit else {
            return;
        };
        *credit = credit.saturating_add(i64::from(more));
        while *credit > 0 {
            let Some(part) = work.held.pop_front() else {
                break;
            };
            *credit = credit.saturating_sub(part.cost);
            self.outbox.push_late(part.transmit, id.0);
        }
        if work.held.is_empty() {
            self.starved.remove(&id.0);
        }
    }

    /// The reply comes behind its parts, whoever has not waited for them.
    pub(super) fn release_all(&mut self, id: WorkerRequestId) {
        if let (true, Some(work)) = (self.starved.remove(&id.0), self.work.get_mut(id.0)) {
            for part in work.held.drain(..) {
                self.outbox.push_late(part.transmit, id.0);
            }
        }
    }

    /// What of this reply was not sent is never sent.
    pub(super) fn withdraw(&mut self, id: WorkerRequestId) {
        if !self.is_waiting(id) {
            return;
        }
        let (mut parts, mut waited) = self.outbox.withdraw(id.0);
        if let (true, Some(work)) = (self.starved.remove(&id.0), self.work.get_mut(id.0)) {
            parts += work.held.len() as u32;
            waited += work.held.len() as u32;
            work.held.clear();
        }
        self.counters.undeliverable += u64::from(parts);
        for _ in 0..waited {
            self.events.push_back(WorkerEvent::Part { id, sent: false });
        }
    }

    /// A part will never be sent.
    pub(super) fn part_refused(&mut self, id: WorkerRequestId, waited: bool) {
        if waited {
            self.events.push_back(WorkerEvent::Part { id, sent: false });
        }
        self.lose(id, 1);
    }

    /// So many parts are lost, and with them those that wait: the request has failed, which is what the broker is
    /// told in the end.
    fn lose(&mut self, id: WorkerRequestId, lost: u64) {
        self.counters.undeliverable += lost;
        self.withdraw(id);
        if let Some(work) = self.work.get_mut(id.0) {
            work.lost = true;
        }
    }

    /// Parts that had to wait were sent.
    pub(super) fn tell_sent(&mut self) {
        while let Some(id) = self.outbox.poll_sent() {
            let id = WorkerRequestId(id);
            self.events.push_back(WorkerEvent::Part { id, sent: true });
        }
    }

    /// The connection that requests came over is lost: what handlers make of them is of no use any more.
    pub(super) fn outdate(&mut self) {
        for id in std::mem::take(&mut self.starved) {
            self.starved.insert(id);
            self.withdraw(WorkerRequestId(id));
        }
        self.work.values_mut().for_each(|work| work.current = false);
        self.current = 0;
    }

    /// Nothing more is sent at this port.
    pub(super) fn forget_sends(&mut self, port: Port) {
        let (_, parts) = self.outbox.forget(port, None);
        self.counters.undeliverable += parts.len() as u64;
        for id in parts {
            let id = WorkerRequestId(id);
            self.events.push_back(WorkerEvent::Part { id, sent: false });
        }
    }

    /// Ends what has waited until its deadline.
    pub(super) fn look_unread(&mut self, now: Instant) {
        let over = |id: &u64| {
            let deadline = self.work.get(*id).and_then(|work| work.deadline);
            deadline.is_some_and(|deadline| now >= deadline)
        };
        let over: Vec<u64> = self.waiting().filter(over).collect();
        for id in over {
            self.lose(WorkerRequestId(id), 0);
        }
    }

    /// When to look again.
    pub(super) fn looks_unread(&self) -> Option<Instant> {
        let deadlines = self.waiting().filter_map(|id| self.work.get(id)?.deadline);
        deadlines.min()
    }

    fn waiting(&self) -> impl Iterator<Item = u64> + '_ {
        let of_room = self.outbox.all_that_wait().into_iter();
        of_room.chain(self.starved.iter().copied())
    }
}

/// Messages, and octets of them, that wait for room; of each request one part more.
const HELD: (usize, usize) = (1000, 1 << 20);
