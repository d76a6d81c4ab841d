//! The socket types of the ZeroMQ family: their names and which may talk to which.
//!
//! A plain table, shared by the protocol core (which checks a peer's `Socket-Type` property,
//! 23/ZMTP "The Socket-Type Property") and by the sockets. It knows nothing about behaviour.

use std::fmt;

/// A socket type; all but STREAM are announced in the `Socket-Type` property of a ZMTP handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketType {
    /// Exclusive pair.
    Pair,
    /// Publisher.
    Pub,
    /// Subscriber.
    Sub,
    /// Requester, in lock-step.
    Req,
    /// Replier, in lock-step.
    Rep,
    /// Asynchronous requester.
    Dealer,
    /// Asynchronous replier, addressing peers by routing id.
    Router,
    /// Receiving end of a pipeline.
    Pull,
    /// Sending end of a pipeline.
    Push,
    /// Publisher that sees subscriptions.
    XPub,
    /// Subscriber that sends subscriptions as messages.
    XSub,
    /// Thread-safe server.
    Server,
    /// Thread-safe client.
    Client,
    /// Group publisher.
    Radio,
    /// Group subscriber.
    Dish,
    /// Thread-safe receiving end of a pipeline.
    Gather,
    /// Thread-safe sending end of a pipeline.
    Scatter,
    /// Peer to peer, addressing by routing id.
    Peer,
    /// Thread-safe exclusive pair.
    Channel,
    /// Datagrams to and from any host. Speaks no ZMTP, so that no peer can be of this type.
    Dgram,
    /// Octets to and from peers that are no ZeroMQ sockets. Never announced in a handshake: there is none.
    Stream,
}

impl SocketType {
    /// Every type, in no particular order of importance.
    pub const ALL: [SocketType; 21] = [
        SocketType::Pair,
        SocketType::Pub,
        SocketType::Sub,
        SocketType::Req,
        SocketType::Rep,
        SocketType::Dealer,
        SocketType::Router,
        SocketType::Pull,
        SocketType::Push,
        SocketType::XPub,
        SocketType::XSub,
        SocketType::Server,
        SocketType::Client,
        SocketType::Radio,
        SocketType::Dish,
        SocketType::Gather,
        SocketType::Scatter,
        SocketType::Peer,
        SocketType::Channel,
        SocketType::Dgram,
        SocketType::Stream,
    ];

    /// The name on the wire, in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SocketType::Pair => "PAIR",
            SocketType::Pub => "PUB",
            SocketType::Sub => "SUB",
            SocketType::Req => "REQ",
            SocketType::Rep => "REP",
            SocketType::Dealer => "DEALER",
            SocketType::Router => "ROUTER",
            SocketType::Pull => "PULL",
            SocketType::Push => "PUSH",
            SocketType::XPub => "XPUB",
            SocketType::XSub => "XSUB",
            SocketType::Server => "SERVER",
            SocketType::Client => "CLIENT",
            SocketType::Radio => "RADIO",
            SocketType::Dish => "DISH",
            SocketType::Gather => "GATHER",
            SocketType::Scatter => "SCATTER",
            SocketType::Peer => "PEER",
            SocketType::Channel => "CHANNEL",
            SocketType::Dgram => "DGRAM",
            SocketType::Stream => "STREAM",
        }
    }

    /// The type with this wire name (capitals, exact), if there is one.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        SocketType::ALL
            .into_iter()
            .find(|t| t.name().as_bytes() == name)
    }

    /// Whether a socket of this type may talk to one of type `peer`. The relation is symmetric.
    #[must_use]
    pub const fn is_compatible_with(self, peer: SocketType) -> bool {
        use SocketType::{
            Channel, Client, Dealer, Dish, Gather, Pair, Peer, Pub, Pull, Push, Radio, Rep, Req,
            Router, Scatter, Server, Sub, XPub, XSub,
        };
        matches!(
            (self, peer),
            (Pair, Pair)
                | (Pub | XPub, Sub | XSub)
                | (Sub | XSub, Pub | XPub)
                | (Req, Rep | Router)
                | (Rep, Req | Dealer)
                | (Dealer, Rep | Dealer | Router)
                | (Router, Req | Dealer | Router)
                | (Pull, Push)
                | (Push, Pull)
                | (Server, Client)
                | (Client, Server)
                | (Radio, Dish)
                | (Dish, Radio)
                | (Gather, Scatter)
                | (Scatter, Gather)
                | (Peer, Peer)
                | (Channel, Channel)
        )
    }

    /// Whether a socket of this type, within a process and if that is asked for, can have a peer of type `peer`
    /// though it may not talk to it: what either sends is frames, and nothing that only its own peers understand, as
    /// groups are.
    pub(crate) const fn mixes_with(self, peer: SocketType) -> bool {
        use SocketType::{Dgram, Dish, Radio, Stream};
        !matches!(self, Radio | Dish | Dgram | Stream)
            && !matches!(peer, Radio | Dish | Dgram | Stream)
    }

    /// Whether the handshake carries an `Identity` property, even an empty one.
    #[must_use]
    pub const fn announces_identity(self) -> bool {
        matches!(
            self,
            SocketType::Req | SocketType::Dealer | SocketType::Router
        )
    }

    /// Whether a peer of this type sends subscriptions to a socket of this type.
    #[must_use]
    pub const fn receives_subscriptions(self) -> bool {
        matches!(self, SocketType::Pub | SocketType::XPub)
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::SocketType;

    #[test]
    fn names_round_trip_and_are_exact() {
        for t in SocketType::ALL {
            assert_eq!(SocketType::from_name(t.name().as_bytes()), Some(t));
            assert_eq!(
                SocketType::from_name(t.name().to_lowercase().as_bytes()),
                None
            );
        }
        assert_eq!(SocketType::from_name(b"PUSHY"), None);
        assert_eq!(SocketType::from_name(b""), None);
    }

    #[test]
    fn compatibility_is_symmetric() {
        for a in SocketType::ALL {
            for b in SocketType::ALL {
                assert_eq!(a.is_compatible_with(b), b.is_compatible_with(a), "{a} {b}");
            }
        }
        assert!(SocketType::Push.is_compatible_with(SocketType::Pull));
        assert!(!SocketType::Push.is_compatible_with(SocketType::Sub));
    }
}
