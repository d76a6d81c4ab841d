//! Replies that a client has no room for, since it does not read: they wait, and so do the handlers that have parts of
//! them, until there is room, the deadline is over, or the client is gone; and not for ever.

use std::time::{Duration, Instant};

use super::{RequestId, ServerEngine, ServerEvent};
use crate::common::{Fault, PeerId, Port, Transmit, LONGEST};

impl ServerEngine {
    /// Whether a part of the reply to this request waits until its client has room: of such a one
    /// [`ServerEvent::Part`] tells. To be asked when all of `poll_transmit` is sent.
    #[must_use]
    pub fn is_waiting(&self, id: RequestId) -> bool {
        self.outbox.waits(id.0)
    }

    /// Whether somebody will read the reply to this request, as far as is known.
    #[must_use]
    pub fn is_wanted(&self, id: RequestId) -> bool {
        self.requests.get(&id).is_some_and(|pending| !pending.gone)
    }

    /// A part: one of each request may wait in any case, others as far as there is room for them. False if it
    /// was not sent, which ends the request.
    pub(super) fn send_part(&mut self, id: RequestId, part: Transmit) -> bool {
        let over = self.outbox.waits(id.0) && self.is_over(&part);
        if over {
            self.counters.undeliverable += 1;
            self.part_refused(id, false);
            return false;
        }
        self.outbox.push_part(part, id.0);
        true
    }

    /// A reply. It is lost if too many wait already, unless parts went before it: each of those has found room.
    pub(super) fn send(&mut self, reply: Transmit, in_parts: bool) {
        let (messages, octets) = self.outbox.held(reply.port, reply.to.as_ref());
        let over = messages >= HELD.0 || octets >= REPLIES;
        let over = over || messages > 0 && self.outbox.held_in_all() >= ALL;
        match !in_parts && over {
            true => self.counters.undeliverable += 1,
            false => self.outbox.push(reply),
        }
    }

    fn is_over(&self, transmit: &Transmit) -> bool {
        let (messages, octets) = self.outbox.held(transmit.port, transmit.to.as_ref());
        messages >= HELD.0 || octets >= HELD.1
    }

    /// What of this reply was not sent is never sent. How many parts.
    pub(super) fn withdraw(&mut self, id: RequestId) -> u32 {
        if !self.outbox.waits(id.0) {
            return 0;
        }
        let (parts, waited) = self.outbox.withdraw(id.0);
        self.counters.undeliverable += u64::from(parts);
        for _ in 0..waited {
            self.events.push_back(ServerEvent::Part { id, sent: false });
        }
        parts
    }

    /// A part will not be sent, and so nothing behind it: the request has failed.
    pub(super) fn part_refused(&mut self, id: RequestId, waited: bool) {
        if waited {
            self.events.push_back(ServerEvent::Part { id, sent: false });
        }
        self.lose(id, 1);
    }

    /// So many parts of a reply are lost, and with them those that wait. Its client is told, if it ever reads.
    fn lose(&mut self, id: RequestId, lost: u32) {
        let lost = lost + self.withdraw(id);
        let Some(pending) = self.requests.get_mut(&id) else {
            return;
        };
        pending.parts = pending.parts.saturating_sub(lost);
        if !pending.gone {
            let (origin, key, parts) = (pending.origin.clone(), pending.key, pending.parts);
            let fault = Fault::failed("a part of the reply could not be delivered");
            self.answer(&origin, key, &Err(fault), parts);
        }
        self.abandoned(id);
    }

    /// A client is gone, and with it all that waits for it.
    pub(super) fn forget_line(&mut self, port: Port, peer: &PeerId) {
        let (all, parts) = self.outbox.forget(port, Some(peer));
        self.counters.undeliverable += u64::from(all);
        for id in parts {
            let id = RequestId(id);
            self.events.push_back(ServerEvent::Part { id, sent: false });
        }
    }

    /// Ends what has waited for too long.
    pub(super) fn look_unread(&mut self, now: Instant) {
        while let Some(id) = self.ends.expire(now) {
            // Nobody waits for any of it any more.
            self.abandoned(id);
        }
        for (port, peer) in self.outbox.stalled(now, self.stall()) {
            let Some(peer) = peer else {
                continue;
            };
            let waiting = self.outbox.all_that_wait().into_iter().map(RequestId);
            let of_peer = |id: &RequestId| {
                let origin = self.requests.get(id).map(|pending| &pending.origin);
                origin.is_some_and(|origin| origin.port == port && origin.peer == peer)
            };
            let ended: Vec<RequestId> = waiting.filter(of_peer).collect();
            match ended.is_empty() {
                true => self.forget_line(port, &peer),
                false => ended.into_iter().for_each(|id| self.lose(id, 0)),
            }
        }
    }

    /// When to look again.
    pub(super) fn looks_unread(&self) -> Option<Instant> {
        let stalls = self.outbox.stalls(self.stall());
        self.ends.next().into_iter().chain(stalls).min()
    }

    fn stall(&self) -> Duration {
        self.config.stall.min(LONGEST)
    }
}

/// Messages, and octets of them, that wait for one client, of replies in parts: one part of each may wait besides.
const HELD: (usize, usize) = (1000, 1 << 20);

/// Octets of whole replies that wait for one client. Nothing holds them back, and who asks for much at once is not to lose
/// any of it because the network is slower than the handlers.
const REPLIES: usize = 64 << 20;

/// Octets that wait for all clients. While there are more, those that do not read lose their replies.
const ALL: usize = 256 << 20;
