//! Names for a socket's peers.
//!
//! A [`PeerKey`] is a slot number and a generation. Slots are used again, so that tables indexed by
//! slot stay dense; keys are not, so that a key kept beyond its peer's life (in a queued command, an
//! unread message, an owed reply) finds nothing instead of a stranger.

/// The name of one peer of one socket, for as long as it is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    /// Slot number: small, dense, and used again.
    pub(crate) index: u32,
    /// Which of the peers that had this slot.
    pub(crate) generation: u32,
}
