//! Replies that are larger than the worker's socket sends. The connection stays, and so does the request: another worker would
//! make the same reply of it.

use sinew::Frame;

use super::WorkerEngine;
use crate::common::{instead, Ext, Transmit};
use crate::mdp::wire::{self, ToBroker};

impl WorkerEngine {
    /// What is sent in place of this reply: a fault, or an empty reply where there is no word for that. `None` if it is no
    /// last reply, or nothing could be left out.
    pub(super) fn instead_of(
        &self,
        transmit: &Transmit,
        size: u64,
        limit: u64,
    ) -> Option<Transmit> {
        let (dialect, command) = wire::decode_to_broker(transmit.message.clone()).ok()?;
        let ToBroker::Reply {
            client,
            body,
            last: true,
        } = command
        else {
            return None;
        };
        let octets = |body: &[Frame]| body.iter().map(|frame| frame.len()).sum::<usize>();
        let header = body.first().filter(|_| self.ext);
        let header = header.and_then(|first| Ext::decode(first).ok()?);
        let body = match header {
            Some(ext) if ext.status.is_some() => {
                let ext = instead(&ext, octets(&body[1..]), size, limit)?;
                vec![ext.encode().ok()?]
            }
            // The client knows no headers; one without a status is there to be taken off.
            _ if octets(&body) > 0 => Vec::new(),
            _ => return None,
        };
        Some(Transmit {
            port: transmit.port,
            to: None,
            message: wire::encode_reply(dialect, &client, body, true),
        })
    }
}
