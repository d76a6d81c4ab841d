//! What workers make of requests: replies, parts of replies, and nothing, when they are lost.

use std::time::Instant;

use sinew::{Frame, Message};

use super::super::config::{DeadReason, Partials};
use super::super::wire::Dialect;
use super::{BrokerEngine, BrokerEvent, Kept};
use crate::common::{footprint, Ext, ExtIdem, Item, Op, PeerId, Status, LONGEST};

impl BrokerEngine {
    /// A worker is lost with a request: another gets it, or it is dead.
    pub(super) fn requeue(&mut self, now: Instant, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.at = None;
        self.starved.remove(&request.origin, id);
        let name = request.origin.service.to_vec();
        if request.is_nobodys() {
            self.forget(id);
            return;
        }
        let Some(service) = self.services.get_mut(&name) else {
            return;
        };
        let once = request.ext.idem == Some(ExtIdem::Once);
        let reason = if once || request.parts > 0 {
            Some(DeadReason::NotRepeatable)
        } else if request.deliveries >= service.policy.max_deliveries.max(1) {
            Some(DeadReason::Deliveries)
        } else {
            None
        };
        if let Some(reason) = reason {
            return self.died(id, reason);
        }
        self.put_back(now, id);
        if self.draining {
            self.decline_request(id, Status::Failed, Some("its worker was lost"));
        }
    }

    /// A worker that leaves has not begun with it, and nobody was lost: as if it had not been given away.
    fn returned(&mut self, now: Instant, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.at = None;
        request.deliveries = request.deliveries.saturating_sub(1);
        self.starved.remove(&request.origin, id);
        let name = request.origin.service.clone();
        if request.is_nobodys() {
            self.forget(id);
        } else {
            self.put_back(now, id);
            if self.draining {
                self.decline_waiting(id, Status::Unavailable);
            }
        }
        self.dispatch(now, &name);
    }

    /// A request that a worker had waits again, before all others.
    fn put_back(&mut self, now: Instant, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let name = request.origin.service.to_vec();
        let Some(service) = self.services.get_mut(&name) else {
            return;
        };
        request.collected.clear();
        let latest = now + service.policy.ttl.min(LONGEST);
        let deadline = request.deadline.map_or(latest, |at| at.min(latest));
        let ticket = service.queue.push_front(Item {
            flow: request.origin.peer.clone(),
            priority: request.ext.priority.unwrap_or(0),
            bytes: request.bytes,
            deadline: Some(deadline),
            value: id,
        });
        request.ticket = Some(ticket);
        self.tidy(&name);
    }

    pub(super) fn died(&mut self, id: u64, reason: DeadReason) {
        let why = self.buried(id, reason);
        self.decline_request(id, Status::Failed, Some(why));
    }

    /// Tells that a request is dead. What its client is to hear.
    pub(super) fn buried(&mut self, id: u64, reason: DeadReason) -> &'static str {
        self.counters.dead += 1;
        if let Some(request) = self.requests.get(&id) {
            self.events.push_back(BrokerEvent::Dead {
                service: request.origin.service.to_vec(),
                reason,
                body: Message::multipart(request.body.iter().cloned()),
            });
        }
        match reason {
            DeadReason::Deliveries => "every worker that had it was lost",
            DeadReason::NotRepeatable => "its worker was lost",
            DeadReason::Request => "the request is too large to be given to a worker",
            DeadReason::Reply => "the reply is too large, or in parts",
            DeadReason::Unread => "the parts of the reply are not read",
            DeadReason::Ended => "the broker has ended, and its worker had not finished",
        }
    }

    /// A busy worker has sent a reply, or a part of one, to its request.
    pub(super) fn replied(
        &mut self,
        now: Instant,
        peer: &PeerId,
        (delivery, id): (u64, u64),
        mut body: Vec<Frame>,
        last: bool,
    ) {
        let knows = self.workers.get(peer).is_some_and(|worker| worker.ext);
        let ext = match knows {
            true => match body.first().map(|first| Ext::decode(first)) {
                Some(Ok(ext)) => ext.map(Ext::into_owned),
                _ => return self.ban(now, peer),
            },
            false => None,
        };
        if ext.is_some() {
            body.remove(0);
        }
        if body.len() > self.config.limits.frames {
            return self.ban(now, peer);
        }
        let ext = ext.unwrap_or_default();
        let expected = self.requests.get(&id).and_then(|request| request.origin.id);
        // The address says whose request it is, but not which of theirs: a reply without the name of this one may be late, of
        // an earlier one.
        if knows && ext.id != expected {
            self.counters.stale_replies += 1;
            return;
        }
        let last = last && ext.op != Op::Partial;
        match last {
            true => self.finished(now, peer, (delivery, id), ext, body),
            false => self.progressed(now, peer, (delivery, id), ext, body),
        }
    }

    fn progressed(
        &mut self,
        now: Instant,
        peer: &PeerId,
        (delivery, id): (u64, u64),
        ext: Ext<'static>,
        body: Vec<Frame>,
    ) {
        self.extend_lease(now, peer);
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let name = request.origin.service.clone();
        let service = self.services.get(&name[..]);
        let partials = service.map_or(self.config.policy, |s| s.policy).partials;
        if request.origin.ext || request.origin.dialect == Dialect::V2 {
            let ext = Ext {
                id: request.origin.id,
                op: Op::Partial,
                part: Some(request.parts),
                status: Some(Status::Ok),
                ..ext
            };
            return self.part(now, id, ext, body);
        }
        let octets = |frames: &[Frame]| frames.iter().map(|frame| frame.len()).sum::<usize>();
        let fits = match partials {
            Partials::Concat(max) => {
                octets(&request.collected).saturating_add(octets(&body)) <= max
                    && request.collected.len() + body.len() <= self.config.limits.frames
            }
            Partials::Refuse => false,
        };
        if fits {
            request.collected.extend(body);
        } else {
            self.recall(now, id);
            self.died(id, DeadReason::Reply);
            // Its worker goes on with what nobody waits for.
            self.suspect(peer, delivery);
            self.dispatch(now, &name);
        }
    }

    fn finished(
        &mut self,
        now: Instant,
        peer: &PeerId,
        (delivery, id): (u64, u64),
        ext: Ext<'static>,
        body: Vec<Frame>,
    ) {
        let leaves = self.workers.get(peer).is_some_and(|worker| worker.leaves);
        let parts = self.requests.get(&id).map_or(0, |request| request.parts);
        if leaves && ext.status == Some(Status::Unavailable) && parts == 0 {
            self.left_flight(peer, delivery);
            self.returned(now, id);
            self.idle(peer);
            return self.look_drained();
        }
        self.left_flight(peer, delivery);
        self.idle(peer);
        let name = self
            .requests
            .get(&id)
            .map(|request| request.origin.service.clone());
        let service = name
            .as_ref()
            .and_then(|name| self.services.get_mut(&name[..]));
        if let Some(service) = service {
            service.stats.replies += 1;
        }
        if let Some(mut request) = self.forget(id) {
            let status = ext.status.unwrap_or(Status::Ok);
            // This worker has not begun with it, but one that was lost may have.
            let begun = request.deliveries > 1;
            let says_not = status.is_not_begun() || status == Status::NoService;
            let told = if begun && says_not {
                Status::Failed
            } else {
                status
            };
            let mut frames = std::mem::take(&mut request.collected);
            frames.extend(body);
            let kept = request.key.map(|key| {
                let kept = match request.parts {
                    0 => Kept {
                        status,
                        retry_after: ext.retry_after,
                        reason: ext.reason.clone(),
                        body: frames.clone(),
                    },
                    _ => Kept {
                        status: Status::Conflict,
                        retry_after: None,
                        reason: None,
                        body: Vec::new(),
                    },
                };
                (key, kept)
            });
            if request.gone {
                self.counters.undeliverable += 1;
            } else if !request.origin.ext && status != Status::Ok {
                self.counters.silent += 1;
            } else {
                self.counters.replies += 1;
                let ext = Ext {
                    id: request.origin.id,
                    op: Op::Final,
                    part: (request.parts > 0).then_some(request.parts),
                    status: Some(told),
                    ..ext
                };
                let reply = self.to_client(&request.origin, ext, frames, true);
                self.send_reply(reply, request.parts > 0);
            }
            if let (Some((key, kept)), Some(cache)) = (kept, &mut self.cache) {
                let reason = kept.reason.as_ref().map_or(0, |reason| reason.len());
                let bytes = reason + footprint(&kept.body);
                // "Come back" is no end: who comes back is to be served.
                let waiters = match kept.status.is_not_begun() {
                    true => cache.abandon((), key),
                    false => cache.done((), key, kept.clone(), bytes, now),
                };
                let kept = Kept {
                    status: if kept.status == status {
                        told
                    } else {
                        kept.status
                    },
                    ..kept
                };
                for waiter in waiters {
                    self.give(&waiter, kept.clone());
                }
            }
        }
        if let Some(name) = name {
            self.dispatch(now, &name);
        }
        self.look_drained();
    }
}
