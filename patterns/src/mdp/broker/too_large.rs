//! What is larger than the broker's socket sends: a request, which no worker can be given, or a reply. It ends the request,
//! and nothing else; the worker has done nothing wrong.

use std::time::Instant;

use super::super::config::DeadReason;
use super::super::wire::{self, ToClient, ToWorker};
use super::BrokerEngine;
use crate::common::{instead, Ext, PeerId, Transmit};

impl BrokerEngine {
    /// Which delivery to which worker this is, if it is one.
    pub(super) fn request_in(&self, transmit: &Transmit) -> Option<(PeerId, u64)> {
        let peer = transmit.to.as_ref()?;
        let worker = self.workers.get(peer)?;
        match wire::decode_to_worker(transmit.message.clone(), worker.dialect).ok()? {
            ToWorker::Request { client, .. } => Some((peer.clone(), worker.delivery(&client)?)),
            _ => None,
        }
    }

    /// A worker was not given this request, and no other can be.
    pub(super) fn request_is_too_large(&mut self, now: Instant, (peer, delivery): (PeerId, u64)) {
        let Some(worker) = self.workers.get(&peer) else {
            return;
        };
        let (service, id) = (
            worker.service.clone(),
            worker.running.get(delivery).copied(),
        );
        // It has its slot back, and is where it was.
        self.left_flight(&peer, delivery);
        if let Some(id) = id {
            if let Some(request) = self.requests.get_mut(&id) {
                request.at = None;
            }
            self.died(id, DeadReason::Request);
        }
        self.idle(&peer);
        self.dispatch(now, &service);
        self.look_drained();
    }

    /// What is sent in place of this last reply, if its client speaks the extension header.
    pub(super) fn instead_of(&self, reply: &Transmit, size: u64, limit: u64) -> Option<Transmit> {
        let (dialect, ToClient { service, body, .. }) =
            wire::decode_reply(reply.message.clone()).ok()?;
        let (header, body) = body.split_first()?;
        let ext = Ext::decode(header).ok()??;
        let octets = body.iter().map(|frame| frame.len()).sum();
        let header = instead(&ext, octets, size, limit)?.encode().ok()?;
        Some(Transmit {
            message: wire::encode_to_client(dialect, &service, vec![header], true),
            ..reply.clone()
        })
    }
}
