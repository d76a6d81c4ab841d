//! A socket's own name, announced to its peers in the handshake.

use std::borrow::Borrow;
use std::fmt;

use bytes::Bytes;
use thiserror::Error;

/// What a peer is called: 1 to 255 octets (28/REQREP, "The ROUTER Socket Type").
///
/// One that a peer gives itself, or is given by an application, does not begin with a zero octet. A
/// ROUTER makes one of five octets, the first of them zero, for each peer that announces none.
///
/// ```
/// use sinew::RoutingId;
///
/// let id = RoutingId::new("worker-7").unwrap();
/// assert_eq!(id.as_bytes(), b"worker-7");
/// assert!(RoutingId::new("").is_err());
/// assert!(RoutingId::new([0, 1]).is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoutingId(Bytes);

/// Octets that are no [`RoutingId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRoutingId {
    /// No octets at all.
    #[error("a routing id has 1 to 255 octets, this one is empty")]
    Empty,
    /// More than 255 octets.
    #[error("a routing id has 1 to 255 octets, this one has {0}")]
    TooLong(usize),
    /// The first octet is zero, which is kept for ids made by the library.
    #[error("a routing id does not start with a zero octet")]
    LeadingZero,
}

impl RoutingId {
    /// A routing id of these octets.
    ///
    /// # Errors
    /// If there are none, more than 255, or the first is zero.
    pub fn new(id: impl AsRef<[u8]>) -> Result<Self, InvalidRoutingId> {
        let id = id.as_ref();
        match id {
            [] => Err(InvalidRoutingId::Empty),
            [0, ..] => Err(InvalidRoutingId::LeadingZero),
            _ if id.len() > 255 => Err(InvalidRoutingId::TooLong(id.len())),
            _ => Ok(RoutingId(Bytes::copy_from_slice(id))),
        }
    }

    /// A routing id for a peer that has announced none.
    pub(crate) fn automatic(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        RoutingId(Bytes::copy_from_slice(&[0, a, b, c, d]))
    }

    /// Whether the library made it, for a peer that has announced none.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.0.first() == Some(&0)
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RoutingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutingId(\"{}\")", self.0.escape_ascii())
    }
}

/// Hashed and compared as the octets are.
impl Borrow<[u8]> for RoutingId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for RoutingId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
