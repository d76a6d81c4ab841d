//! The number that a SERVER or PEER socket calls a connection by.

use std::fmt;
use std::num::NonZeroU32;

use thiserror::Error;

/// The routing id of a peer of a `Server` or `Peer` socket: a number that is never 0.
///
/// The socket chooses it when the peer comes; peers do not know what they are called. It is not used again
/// as long as the peer, or a message from it, is there, and not soon after.
///
/// ```
/// use sinew::PeerId;
///
/// let id = PeerId::try_from(7).unwrap();
/// assert_eq!(id.get(), 7);
/// assert_eq!(id.to_string(), "7");
/// assert!(PeerId::try_from(0).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(NonZeroU32);

/// A number that is no [`PeerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("0 is not the routing id of a peer, expected from 1 to 4294967295")]
#[non_exhaustive]
pub struct InvalidPeerId;

impl PeerId {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for PeerId {
    type Error = InvalidPeerId;

    fn try_from(id: u32) -> Result<Self, InvalidPeerId> {
        NonZeroU32::new(id).map(PeerId).ok_or(InvalidPeerId)
    }
}

impl From<NonZeroU32> for PeerId {
    fn from(id: NonZeroU32) -> Self {
        PeerId(id)
    }
}

impl From<PeerId> for u32 {
    fn from(id: PeerId) -> Self {
        id.get()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
