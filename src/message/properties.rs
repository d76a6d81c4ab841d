//! What is known of the peer that a message came from.

use bytes::Bytes;

use super::RoutingId;
use crate::socket_type::SocketType;

/// What is known of a peer: one value per connection, shared by all who hold it.
///
/// A peer says of itself what type of socket it is, its routing id, and whatever else its handshake
/// carries (for a Sinew peer, what its builder was given as `metadata`). Its address and its user id are
/// known on this side alone: a peer can neither set nor override them.
///
/// The properties also have the names that the field knows them by, which [`property`](Self::property)
/// takes: `Socket-Type`, `Routing-Id` and `Identity` (the same), `Peer-Address`, `User-Id`, and the
/// peer's own.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Pull, Push, SocketType};
///
/// let mut pull = Pull::builder().bind("tcp://127.0.0.1:*")?;
/// let mut push = Push::builder()
///     .metadata("X-Role", "sensor")
///     .connect(&pull.bound_endpoints()[0])?;
/// push.send("21.5")?;
/// pull.recv_timeout(Duration::from_secs(10))?;
/// let peer = pull.last_peer().unwrap();
/// assert_eq!(peer.socket_type(), Some(SocketType::Push));
/// assert_eq!(peer.address(), Some("127.0.0.1"));
/// assert_eq!(peer.property("X-Role"), Some(&b"sensor"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerProperties {
    pub(crate) address: Option<Box<str>>,
    pub(crate) socket_type: Option<SocketType>,
    /// As announced: empty, or any octets, for not every type of socket checks it.
    pub(crate) identity: Bytes,
    pub(crate) user_id: Option<Box<str>>,
    /// Names compare without case on the wire, so that each is here once.
    pub(crate) metadata: Vec<(String, Bytes)>,
}

const PEER_ADDRESS: &str = "Peer-Address";
const SOCKET_TYPE: &str = "Socket-Type";
const ROUTING_ID: &str = "Routing-Id";
const IDENTITY: &str = "Identity";
const USER_ID: &str = "User-Id";

impl PeerProperties {
    /// The numeric address of the peer's host, without a port; over ipc what the system tells of the
    /// peer, or the name of the socket. `None` over inproc.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// The type of the peer's socket. `None` if it did not tell, as peers that speak ZMTP 1.0 do not.
    #[must_use]
    pub fn socket_type(&self) -> Option<SocketType> {
        self.socket_type
    }

    /// The routing id that the peer announced, if it announced a sound one.
    #[must_use]
    pub fn routing_id(&self) -> Option<RoutingId> {
        RoutingId::new(&self.identity).ok()
    }

    /// Who the peer was found to be when it was authenticated. `None` without authentication.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }

    /// What else the peer told of itself, in the order in which it did. Of equal names (without regard to
    /// case) the first counts.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.metadata
            .iter()
            .map(|(name, value)| (name.as_str(), &value[..]))
    }

    /// The property of this name, with regard to case. What this side knows comes before what the peer
    /// told.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        match name {
            PEER_ADDRESS => self.address().map(str::as_bytes),
            USER_ID => self.user_id().map(str::as_bytes),
            SOCKET_TYPE => Some(self.socket_type?.name().as_bytes()),
            ROUTING_ID | IDENTITY => Some(&self.identity[..]).filter(|id| !id.is_empty()),
            _ => self
                .metadata()
                .find_map(|(known, value)| (known == name).then_some(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_side_knows_comes_first() {
        let told = |name: &str| (name.to_owned(), Bytes::from_static(b"told"));
        let peer = PeerProperties {
            address: Some("192.0.2.1".into()),
            socket_type: Some(SocketType::Dealer),
            identity: Bytes::from_static(b"me"),
            user_id: None,
            metadata: ["Peer-Address", "User-Id", "Socket-Type", "X-a"]
                .map(told)
                .into(),
        };
        assert_eq!(peer.property("Peer-Address"), Some(&b"192.0.2.1"[..]));
        assert_eq!(peer.property("User-Id"), None);
        assert_eq!(peer.property("Socket-Type"), Some(&b"DEALER"[..]));
        assert_eq!(peer.property("Routing-Id"), Some(&b"me"[..]));
        assert_eq!(peer.property("Identity"), Some(&b"me"[..]));
        assert_eq!(peer.property("X-a"), Some(&b"told"[..]));
        assert_eq!(peer.property("X-A"), None, "names have a case");
        assert_eq!(peer.routing_id(), RoutingId::new("me").ok());
    }
}
