//! The name of a group of RADIO and DISH sockets.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

/// The group of a message between RADIO and DISH sockets: at most 255 octets, none of them zero.
///
/// ```
/// use sinew::Group;
///
/// let group = Group::new("weather").unwrap();
/// assert_eq!(group.as_bytes(), b"weather");
/// assert!(Group::new([0]).is_err());
/// assert!(Group::new([b'x'; 256]).is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(Bytes);

/// Octets that are no [`Group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidGroup {
    /// More than 255 octets.
    #[error("a group has at most 255 octets, this one has {0}")]
    TooLong(usize),
    /// An octet is zero.
    #[error("a group has no zero octet, octet {0} of this one is")]
    Zero(usize),
}

impl Group {
    /// A group of this name.
    ///
    /// # Errors
    /// If it has more than 255 octets, or one of them is zero.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, InvalidGroup> {
        let name = name.as_ref();
        if name.len() > 255 {
            return Err(InvalidGroup::TooLong(name.len()));
        }
        match name.iter().position(|octet| *octet == 0) {
            Some(at) => Err(InvalidGroup::Zero(at)),
            None => Ok(Group(Bytes::copy_from_slice(name))),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Group {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group(\"{}\")", self.0.escape_ascii())
    }
}

/// So that a set of groups can be asked for the octets of one.
impl std::borrow::Borrow<[u8]> for Group {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}
