//! What is sent to clients: what one has no room for waits, and the workers that have more of it wait with it.
//!
//! A worker that speaks the extension header may send so many octets of the parts of a reply (`credit`), and more when those
//! before have left: none at first, if as much waits for the client as may. Others send as they like: what is more than a
//! client has room for ends their request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sinew::Frame;

use super::super::config::DeadReason;
use super::super::wire::{self, Note};
use super::notes::client_frame;
use super::{BrokerEngine, Origin};
use crate::common::{Ext, Op, PeerId, Port, Status, Transmit, LONGEST};

/// Requests of clients for whom so much waits that their workers may send no parts yet: until less does.
#[derive(Debug, Default)]
pub(super) struct Starved {
    by_client: BTreeMap<(Port, PeerId), BTreeSet<u64>>,
    /// Clients among them that have taken something.
    roomy: Vec<(Port, PeerId)>,
}

impl Starved {
    pub(super) fn add(&mut self, origin: &Origin, id: u64) {
        let client = (origin.port, origin.peer.clone());
        self.by_client.entry(client).or_default().insert(id);
    }

    /// Whether it was one of them.
    pub(super) fn remove(&mut self, origin: &Origin, id: u64) -> bool {
        if self.by_client.is_empty() {
            return false;
        }
        let client = (origin.port, origin.peer.clone());
        let Some(ids) = self.by_client.get_mut(&client) else {
            return false;
        };
        let was = ids.remove(&id);
        if ids.is_empty() {
            self.by_client.remove(&client);
        }
        was
    }

    /// There may be room for this client.
    pub(super) fn room(&mut self, port: Port, peer: &PeerId) {
        let client = (port, peer.clone());
        if self.by_client.contains_key(&client) {
            self.roomy.push(client);
        }
    }

    fn of(&self, port: Port, peer: &PeerId) -> impl Iterator<Item = u64> + '_ {
        let ids = self.by_client.get(&(port, peer.clone()));
        ids.into_iter().flatten().copied()
    }
}

impl BrokerEngine {
    /// The next message, and what comes of the one before having left.
    pub(super) fn next_transmit(&mut self) -> Option<Transmit> {
        loop {
            let transmit = self.outbox.poll();
            let mut more = false;
            while let Some(id) = self.outbox.poll_sent() {
                more |= !self.outbox.waits(id) && self.credit(id);
            }
            if transmit.is_none() {
                more |= self.feed();
            }
            if transmit.is_some() || !more {
                if transmit.is_none() {
                    self.look_drained();
                }
                return transmit;
            }
        }
    }

    /// What the worker that is given this request may send of parts before it is told that it may send more.
    pub(super) fn first_credit(&self, id: u64) -> u32 {
        let request = self.requests.get(&id).filter(|request| !request.gone);
        let origin = request.map(|request| &request.origin);
        match origin.is_some_and(|origin| self.is_over(origin.port, &origin.peer)) {
            true => 0,
            false => CREDIT,
        }
    }

    /// Clients have taken some of what waits for them: their workers may send more. Whether any are told.
    fn feed(&mut self) -> bool {
        let mut told = false;
        for client in std::mem::take(&mut self.starved.roomy) {
            if self.is_over(client.0, &client.1) {
                continue;
            }
            for id in self.starved.by_client.remove(&client).unwrap_or_default() {
                told |= self.credit(id);
            }
        }
        told
    }

    /// A worker may send as many octets of parts as it has sent since it was told last, if that is much. Whether it is told.
    pub(super) fn credit(&mut self, id: u64) -> bool {
        let Some(request) = self.requests.get_mut(&id) else {
            return false;
        };
        let (Some(left), Some((peer, delivery))) = (request.credit, request.at.clone()) else {
            return false;
        };
        let more = i64::from(CREDIT).saturating_sub(left);
        if more < i64::from(CREDIT / 2) {
            return false;
        }
        let Some(worker) = self.workers.get(&peer) else {
            return false;
        };
        // More than fits into the entry is told in several notes: a part may be of any size.
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        request.credit = Some(left.saturating_add(i64::from(more)));
        let ext = Ext {
            id: request.origin.id,
            credit: Some(more),
            ..Ext::default()
        };
        let client = client_frame(worker, request, delivery);
        let transmit = Transmit {
            port: worker.port,
            to: Some(peer),
            message: wire::encode_note(worker.dialect, &Note { client, ext }),
        };
        self.outbox.push(transmit);
        // What is left of a huge one.
        self.credit(id);
        true
    }

    /// A part of a reply goes to its client, who knows parts.
    pub(super) fn part(&mut self, now: Instant, id: u64, ext: Ext<'static>, body: Vec<Frame>) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let within = request.credit.map(|credit| credit > 0);
        let octets = body.iter().map(|frame| frame.len()).sum();
        if let Some(credit) = &mut request.credit {
            *credit = credit.saturating_sub(wire::cost_of_part(octets));
        }
        let low = (request.credit).is_some_and(|credit| credit <= i64::from(CREDIT / 2));
        request.parts = request.parts.saturating_add(1);
        if request.gone {
            // It may be one that is carried out all the same.
            self.credit(id);
            return;
        }
        let origin = request.origin.clone();
        let part = self.to_client(&origin, ext, body, false);
        let over = match within {
            Some(true) => false,
            Some(false) => self.is_over(origin.port, &origin.peer),
            // Its worker cannot know.
            None => self.is_far_over(origin.port, &origin.peer),
        };
        if over {
            self.counters.undeliverable += 1;
            return self.end_parts(now, id, 1, DeadReason::Unread);
        }
        match low {
            // To be told when it has left.
            true => self.outbox.push_late(part, id),
            false => self.outbox.push_part(part, id),
        }
    }

    /// So many parts of a reply, those that were counted last, are not sent, and so nothing behind them: the request has
    /// failed. What was kept before them still goes out.
    pub(super) fn end_parts(&mut self, now: Instant, id: u64, lost: u32, reason: DeadReason) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.parts = request.parts.saturating_sub(lost);
        let (at, name) = (request.at.clone(), request.origin.service.clone());
        self.recall(now, id);
        let why = self.buried(id, reason);
        let Some(request) = self.forget(id) else {
            return;
        };
        if !request.gone && request.origin.ext {
            let ext = Ext {
                id: request.origin.id,
                op: Op::Final,
                part: (request.parts > 0).then_some(request.parts),
                status: Some(Status::Failed),
                reason: Some(why.into()),
                ..Ext::default()
            };
            let end = self.to_client(&request.origin, ext, Vec::new(), true);
            // Without a part before it, it is one more reply.
            self.send_reply(end, request.parts > 0);
        }
        if let (Some(key), Some(cache)) = (request.key, &mut self.cache) {
            for waiter in cache.abandon((), key) {
                self.decline(&waiter, Status::Failed, Some(why));
            }
        }
        if let Some((peer, delivery)) = at {
            // Its worker goes on with what nobody waits for.
            self.suspect(&peer, delivery);
        }
        self.dispatch(now, &name);
    }

    /// A last reply. It is lost if too many wait already, unless parts went before it: those had leave.
    pub(super) fn send_reply(&mut self, reply: Transmit, in_parts: bool) {
        let to = reply.to.as_ref();
        match !in_parts && to.is_some_and(|peer| self.is_far_over(reply.port, peer)) {
            true => self.counters.undeliverable += 1,
            false => self.outbox.push(reply),
        }
    }

    /// Whether as much waits for this client as may.
    fn is_over(&self, port: Port, peer: &PeerId) -> bool {
        let (messages, octets) = self.outbox.held(port, Some(peer));
        messages >= HELD || octets > 0 && octets >= self.config.limits.unread
    }

    /// Whether so much waits for this client that more is lost, of what nobody can hold back.
    fn is_far_over(&self, port: Port, peer: &PeerId) -> bool {
        let limits = &self.config.limits;
        let (messages, octets) = self.outbox.held(port, Some(peer));
        let its = messages >= HELD || octets > 0 && octets >= limits.unread.max(REPLIES);
        its || messages > 0 && self.outbox.held_in_all() >= limits.bytes
    }

    pub(super) fn to_client(
        &self,
        origin: &Origin,
        ext: Ext<'_>,
        mut body: Vec<Frame>,
        last: bool,
    ) -> Transmit {
        if origin.ext {
            // A worker may have sent so much in it that with our id it is too long: then it is left out.
            let bare = Ext {
                id: origin.id,
                op: ext.op,
                status: ext.status,
                part: ext.part,
                ..Ext::default()
            };
            let header = ext.encode().or_else(|_| bare.encode());
            body.splice(0..0, header.ok());
        }
        Transmit {
            port: origin.port,
            to: Some(origin.peer.clone()),
            message: wire::encode_to_client(origin.dialect, &origin.service, body, last),
        }
    }

    /// What of this reply was not sent is never sent. How many parts.
    pub(super) fn withdraw(&mut self, id: u64) -> u32 {
        if !self.outbox.waits(id) {
            return 0;
        }
        let (parts, _) = self.outbox.withdraw(id);
        self.counters.undeliverable += u64::from(parts);
        self.credit(id);
        parts
    }

    /// A client is gone, and with it all that waits for it.
    pub(super) fn forget_line(&mut self, port: Port, peer: &PeerId) {
        let (all, parts) = self.outbox.forget(port, Some(peer));
        self.counters.undeliverable += u64::from(all);
        for id in parts {
            self.credit(id);
        }
    }

    /// A worker is gone, or will be, and so is what waits for it. What has room still goes out.
    pub(super) fn forget_sends(&mut self, port: Port, peer: &PeerId) {
        if self.outbox.held(port, Some(peer)).0 == 0 {
            return;
        }
        let (_, parts) = self.outbox.forget(port, Some(peer));
        for id in parts {
            self.credit(id);
        }
    }

    /// Ends what has waited for too long.
    pub(super) fn look_unread(&mut self, now: Instant) {
        for (port, peer) in self.outbox.stalled(now, self.stall()) {
            let Some(peer) = peer else {
                continue;
            };
            if self.workers.contains_key(&peer) {
                self.remove_worker(now, &peer);
                continue;
            }
            let of_peer = |id: &u64| {
                let origin = self.requests.get(id).map(|request| &request.origin);
                origin.is_some_and(|origin| origin.port == port && origin.peer == peer)
            };
            let waiting = self.outbox.all_that_wait().into_iter();
            let starved = self.starved.of(port, &peer);
            let ended: BTreeSet<u64> = waiting.filter(of_peer).chain(starved).collect();
            if ended.is_empty() {
                self.forget_line(port, &peer);
            }
            for id in ended {
                let lost = self.withdraw(id);
                self.end_parts(now, id, lost, DeadReason::Unread);
            }
        }
    }

    pub(super) fn stall(&self) -> Duration {
        self.config.limits.stall.min(LONGEST)
    }
}

/// Octets of parts that a worker may send of a reply before it is told that they have left: enough for 10 MB/s to a broker
/// that is 25 ms away, and little beside the requests that are kept.
pub(super) const CREDIT: u32 = 256 << 10;

/// Messages that wait for one client; of what has parts, more.
const HELD: usize = 1000;

/// Octets that wait for one client, of whole replies and of what workers send that know no credit, if
/// [`BrokerLimits::unread`](super::super::BrokerLimits::unread) is less: nothing holds them back, and who asks for much at
/// once is not to lose any of it because the network is slower than the workers.
const REPLIES: usize = 64 << 20;
