//! What broker and worker say about a request while it is carried out, in heartbeats ([`Note`]): the worker wants to keep
//! it longer; nobody waits for it any more. And what a worker says about itself: it drains, and takes no more.

use std::time::Instant;

use sinew::Frame;

use super::super::wire::{self, Note};
use super::peers::Worker;
use super::{BrokerEngine, Request, Timer};
use crate::common::{Ext, Op, PeerId, LONGEST};

impl BrokerEngine {
    /// A worker says something about a request. What is about none that it has is of no consequence: the lease may have
    /// ended on the way.
    pub(super) fn noted(&mut self, now: Instant, peer: &PeerId, note: &Note) {
        let Some(worker) = self.workers.get(peer).filter(|worker| worker.ext) else {
            return;
        };
        if note.client.is_empty() && note.ext.slots == Some(0) {
            return self.leaves(peer);
        }
        let delivery = worker.delivery(&note.client);
        let Some((delivery, &id)) =
            delivery.and_then(|delivery| Some((delivery, worker.running.get(delivery)?)))
        else {
            return;
        };
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let its = worker.slots > 1 || note.client == *request.origin.peer.as_bytes();
        if let (true, Some(by)) = (its, note.ext.lease) {
            self.prolong(peer, (delivery, id), now + by.min(LONGEST));
        }
    }

    /// Nobody will read the reply to this request, or not this worker's: the worker that has it is told, if it speaks
    /// the extension header. It may go on, and it still ends with a reply.
    pub(super) fn recall(&mut self, now: Instant, id: u64) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let Some((peer, delivery)) = request.at.clone() else {
            return;
        };
        let Some(worker) = self.workers.get(&peer).filter(|worker| worker.ext) else {
            return;
        };
        let ext = Ext {
            id: request.origin.id,
            op: Op::Cancel,
            ..Ext::default()
        };
        let client = client_frame(worker, request, delivery);
        let message = wire::encode_note(worker.dialect, &Note { client, ext });
        let port = worker.port;
        self.counters.recalled += 1;
        self.send_worker(now, port, &peer, message);
    }

    /// A lease, if there is one, ends no sooner than this.
    pub(super) fn prolong(&mut self, peer: &PeerId, (delivery, id): (u64, u64), until: Instant) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if request.lease.is_some_and(|lease| lease < until) {
            request.lease = Some(until);
            self.timers.set(Timer::Lease(delivery, peer.clone()), until);
        }
    }
}

/// What stands for the client in messages about this delivery.
pub(super) fn client_frame(worker: &Worker, request: &Request, delivery: u64) -> Frame {
    match worker.slots {
        1 => request.origin.peer.to_frame(),
        _ => Frame::from(delivery.to_be_bytes()),
    }
}
