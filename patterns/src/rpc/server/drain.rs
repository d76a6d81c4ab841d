//! How a server ends: nothing new is begun, what is here is finished, and all of it takes a bounded time.

use std::time::Instant;

use super::stored::Unfinished;
use super::{RequestId, ServerEngine, ServerEvent};
use crate::common::{Fault, NoTime, Status};

impl ServerEngine {
    /// From now on requests are declined (503); what is here is finished. Ends with [`ServerEvent::Drained`], within
    /// [`ServerConfig::linger`] of the first call.
    ///
    /// [`ServerConfig::linger`]: super::ServerConfig::linger
    pub fn handle_drain(&mut self, now: Instant) {
        self.linger.begin(now, self.config.linger);
        self.look_drained();
    }

    /// Gives up what there is no more time for.
    pub(super) fn look_lingered(&mut self, now: Instant) {
        while let Some(lacks) = self.linger.look(now) {
            if lacks == NoTime::ToFinish {
                self.give_up_all(now);
            }
        }
    }

    /// No more time for handlers: what they have is given up, and what waits is declined.
    fn give_up_all(&mut self, now: Instant) {
        // First, so that nothing is begun when what is running ends.
        let queued: Vec<RequestId> = (self.requests.iter())
            .filter(|(_, pending)| pending.queued.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in queued {
            let ticket = self.requests.get(&id).and_then(|pending| pending.queued);
            ticket.and_then(|ticket| self.queue.remove(ticket));
            self.tell_unfinished(id, ended(Status::Unavailable));
        }
        let stored: Vec<(RequestId, Unfinished)> = self.give_up_stored();
        for (id, how) in stored {
            match how {
                Unfinished::NotBegun => self.tell_unfinished(id, ended(Status::Unavailable)),
                Unfinished::InDoubt => {
                    self.counters.in_doubt += 1;
                    self.tell_unfinished(id, ended(Status::InDoubt));
                }
                Unfinished::Ended(outcome) => self.conclude(now, id, outcome),
            }
        }
        let running: Vec<RequestId> = self.requests.keys().copied().collect();
        for id in running {
            self.running -= 1;
            self.leave_handler(id);
            self.tell_unfinished(id, ended(Status::Failed));
        }
    }

    /// A handler may stop.
    pub(super) fn leave_handler(&mut self, id: RequestId) {
        let Some(pending) = self.requests.get(&id) else {
            return;
        };
        if pending.gone && pending.key.is_none() {
            // It has been told, and nobody wants to know.
            return;
        }
        self.counters.unfinished += 1;
        self.events.push_back(ServerEvent::Cancelled(id));
    }

    /// Tells all who wait for it that this server has ended.
    fn tell_unfinished(&mut self, id: RequestId, fault: Fault) {
        let Some(pending) = self.forget(id) else {
            return;
        };
        let outcome = Err(fault);
        if !pending.gone {
            self.answer(&pending.origin, pending.key, &outcome, pending.parts);
        }
        if let (Some(key), Some(cache)) = (pending.key, &mut self.cache) {
            for waiter in cache.abandon((), key) {
                self.answer(&waiter, Some(key), &outcome, 0);
            }
        }
    }

    pub(super) fn look_drained(&mut self) {
        let idle = self.linger.is_on() && self.requests.is_empty();
        if idle && (self.linger.is_over() || self.outbox.is_idle()) {
            self.linger.end();
            if self.events.back() != Some(&ServerEvent::Drained) {
                self.events.push_back(ServerEvent::Drained);
            }
        }
    }
}

fn ended(status: Status) -> Fault {
    Fault {
        status,
        ..Fault::failed("the server has ended, and had not finished with it")
    }
}
