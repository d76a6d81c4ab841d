//! Replies that are larger than the server's socket sends.

use super::{transmit, Origin, ServerEngine};
use crate::common::{instead, Transmit};
use crate::rpc::wire;
use crate::rpc::Dialect;

impl ServerEngine {
    /// What is sent in place of this reply, if its client speaks EXT: for others there is no word for it.
    pub(super) fn instead_of(&self, reply: &Transmit, size: u64, limit: u64) -> Option<Transmit> {
        let ext = self.config.dialect == Dialect::Ext;
        let parts = wire::decode(reply.message.clone(), ext).ok()?;
        let header = instead(&parts.ext?, parts.body.byte_len(), size, limit)?;
        let origin = Origin {
            port: reply.port,
            peer: reply.to.clone()?,
            envelope: parts.envelope,
            ext: true,
        };
        Some(transmit(&origin, header, None))
    }
}
