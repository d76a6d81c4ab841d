//! What happens to a socket's endpoints and connections, and why connections end.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::drops::DropCause;
use crate::endpoint::Endpoint;
use crate::message::RoutingId;
use crate::proto::{Misbehaved, ProtocolError, TimedOut};
use crate::socket_type::SocketType;
use crate::transport::ProxyFailure;

/// Names one connection of this process, for its whole life and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Names one `bind` or `connect` of a socket of this process, for its whole life and never again. Two connects to one
/// endpoint have two ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub(crate) u64);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// Something that happened to an endpoint or a connection of a socket.
///
/// The events of one connection come in order: `Accepted` or `Connected`, then `HandshakeSucceeded`
/// or `HandshakeFailed`, then, after a success, `Disconnected`.
///
/// Over inproc there is no handshake, and `HandshakeSucceeded` follows at once: when a name is connected to that is
/// bound, or bound that was connected to. There is no address of the peer. A peer that does not fit is a
/// `ConnectFailed` on both sides.
///
/// Over udp there are no connections: `Listening` when an endpoint is bound, `ConnectFailed` if the name of a target
/// is not found (it is looked for again), and `Closed`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketEvent {
    /// An endpoint was bound.
    Listening {
        /// The real endpoint: wildcards replaced.
        endpoint: Endpoint,
        /// This binding.
        endpoint_id: EndpointId,
    },
    /// An endpoint was not bound. Told also to who has called `bind`, by its error. Not of a listener that was made
    /// elsewhere, nor of an endpoint that this kind of socket cannot be bound to.
    BindFailed {
        /// The endpoint given.
        endpoint: Endpoint,
        /// Why.
        reason: DisconnectReason,
    },
    /// A connection could not be accepted. The listener stays; if descriptors have run out it pauses
    /// for `retry_in`.
    AcceptFailed {
        /// The listening endpoint.
        endpoint: Endpoint,
        /// Its binding.
        endpoint_id: EndpointId,
        /// Why.
        reason: DisconnectReason,
        /// How long the listener waits before it accepts again, if it does.
        retry_in: Option<Duration>,
    },
    /// A peer connected to a bound endpoint; its handshake begins.
    Accepted {
        /// The new connection.
        connection: ConnectionId,
        /// The listening endpoint.
        endpoint: Endpoint,
        /// Its binding.
        endpoint_id: EndpointId,
        /// The local address: `ip:port`, or over ipc the path or `@name` that was bound; empty over inproc, or if the
        /// connection is gone already.
        local: String,
        /// The peer's address: `ip:port`, or `:uid:gid:pid` over ipc; empty over inproc.
        peer: String,
    },
    /// A connection to a peer was made; its handshake begins.
    Connected {
        /// The new connection.
        connection: ConnectionId,
        /// The endpoint given to `connect`.
        endpoint: Endpoint,
        /// This call of `connect`.
        endpoint_id: EndpointId,
        /// The local address: `ip:port`; empty over ipc, where this side has no name, and inproc, or if the connection
        /// is gone already.
        local: String,
        /// The peer's address.
        peer: String,
    },
    /// An attempt to connect failed: each address of a name that was tried, unless another was faster.
    ConnectFailed {
        /// The endpoint given to `connect`.
        endpoint: Endpoint,
        /// That call of `connect`; over inproc on the other side, that of `bind`.
        endpoint_id: EndpointId,
        /// Why.
        reason: DisconnectReason,
    },
    /// The next attempt to connect will be made after a delay.
    ConnectRetried {
        /// The endpoint given to `connect`.
        endpoint: Endpoint,
        /// That call of `connect`.
        endpoint_id: EndpointId,
        /// Until the next attempt.
        delay: Duration,
    },
    /// The handshake is complete: messages flow.
    HandshakeSucceeded {
        /// The connection.
        connection: ConnectionId,
        /// The endpoint bound or connected to.
        endpoint: Endpoint,
        /// The peer's address.
        peer: String,
        /// The type of the peer's socket. `None` if nothing told it: the peer speaks ZMTP 1.0, or
        /// WebSocket without a mechanism, or is no ZeroMQ socket at all.
        socket_type: Option<SocketType>,
        /// What the peer is called here: for a ROUTER, the routing id that its messages begin with;
        /// for others, what the peer announced, if it did.
        routing_id: Option<RoutingId>,
    },
    /// The handshake failed; the connection is closed.
    HandshakeFailed {
        /// The connection.
        connection: ConnectionId,
        /// The endpoint bound or connected to.
        endpoint: Endpoint,
        /// The peer's address.
        peer: String,
        /// Why.
        reason: DisconnectReason,
    },
    /// An established connection ended.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
        /// The endpoint bound or connected to.
        endpoint: Endpoint,
        /// The peer's address.
        peer: String,
        /// What the peer was called here, as in `HandshakeSucceeded`.
        routing_id: Option<RoutingId>,
        /// Who ended it.
        initiator: Initiator,
        /// Why.
        reason: DisconnectReason,
    },
    /// An endpoint is no longer bound, or no longer connected to.
    Closed {
        /// The endpoint.
        endpoint: Endpoint,
        /// What `bind` or `connect` had made.
        endpoint_id: EndpointId,
    },
    /// A peer has subscribed (joined a group). Only for a monitor that asks for it
    /// ([`MonitorOptions::subscriptions`](crate::MonitorOptions::subscriptions)).
    SubscriptionAdded(Subscription),
    /// A peer has taken a subscription back (left a group). Those of a peer that is gone end with its
    /// connection, and are not told one by one. Only for a monitor that asks for it.
    SubscriptionRemoved(Subscription),
    /// A peer over inproc has subscribed to more than this socket accepts (`max_topics`, `max_topic_length`; `max_groups`
    /// of a RADIO), and goes without that until there is room for it. Over other transports such a peer is
    /// disconnected, for [`DisconnectReason::SubscriptionLimit`].
    SubscriptionRefused {
        /// The connection.
        connection: ConnectionId,
        /// The endpoint bound or connected to.
        endpoint: Endpoint,
        /// What the peer is called, as in `HandshakeSucceeded`.
        routing_id: Option<RoutingId>,
        /// Octets in the topic, or in the name of the group.
        topic_length: usize,
        /// What it exceeds.
        limit: SubscriptionLimit,
    },
    /// Messages of this socket were dropped since the last such event, or since the monitor was made. Told
    /// when everything else has been read, in one event for each cause, however many they are.
    ///
    /// What a pattern is meant to leave out is counted in [`SocketStats`](crate::SocketStats) only: messages that
    /// nobody subscribed to, and those that a newer one takes the place of (`conflate`). Which peer they were for, or came
    /// from, is told by the [`Traffic`](crate::Traffic) of each of its `connections()`.
    Dropped {
        /// Why.
        cause: DropCause,
        /// How many messages.
        count: u64,
    },
    /// Events are missing here, as the monitor was not read for so long.
    Missed {
        /// How many events.
        count: u64,
    },
}

/// Something that a peer has subscribed to, or a group that it has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// The connection.
    pub connection: ConnectionId,
    /// The endpoint bound or connected to.
    pub endpoint: Endpoint,
    /// The peer's address; empty over inproc.
    pub peer: String,
    /// What the peer is called, as in [`SocketEvent::HandshakeSucceeded`].
    pub routing_id: Option<RoutingId>,
    /// The topic, or the name of the group.
    pub topic: Bytes,
}

/// A limit on what one peer may subscribe to (join).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum SubscriptionLimit {
    /// The option `max_topics`; of a RADIO, `max_groups`.
    #[error("at most {limit} of one peer are accepted")]
    Number {
        /// The most of one peer.
        limit: u32,
    },
    /// The option `max_topic_length`.
    #[error("at most {limit} octets in one are accepted")]
    Length {
        /// Octets in one topic.
        limit: u32,
    },
    /// What the topics of one peer may have together.
    #[error("at most {limit} octets in all of one peer are accepted")]
    Octets {
        /// Octets in all topics.
        limit: u64,
    },
    /// There is no room for one more of anybody.
    #[error("there is no room for one more of anybody")]
    Room,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Initiator {
    /// This side: it was told to, or does not put up with what the peer did.
    Us,
    /// The peer.
    Peer,
    /// Neither: the system, or what is between the two, has lost it, or nothing was heard for too long.
    Network,
}

impl fmt::Display for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Initiator::Us => "this side",
            Initiator::Peer => "the peer",
            Initiator::Network => "the network",
        })
    }
}

impl SocketEvent {
    /// The name of its kind, such as `handshake_succeeded`: letters and underscores.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            SocketEvent::Listening { .. } => "listening",
            SocketEvent::BindFailed { .. } => "bind_failed",
            SocketEvent::AcceptFailed { .. } => "accept_failed",
            SocketEvent::Accepted { .. } => "accepted",
            SocketEvent::Connected { .. } => "connected",
            SocketEvent::ConnectFailed { .. } => "connect_failed",
            SocketEvent::ConnectRetried { .. } => "connect_retried",
            SocketEvent::HandshakeSucceeded { .. } => "handshake_succeeded",
            SocketEvent::HandshakeFailed { .. } => "handshake_failed",
            SocketEvent::Disconnected { .. } => "disconnected",
            SocketEvent::Closed { .. } => "closed",
            SocketEvent::SubscriptionAdded(_) => "subscription_added",
            SocketEvent::SubscriptionRemoved(_) => "subscription_removed",
            SocketEvent::SubscriptionRefused { .. } => "subscription_refused",
            SocketEvent::Dropped { .. } => "dropped",
            SocketEvent::Missed { .. } => "missed",
        }
    }

    /// What the event keeps in memory for as long as it waits to be read, beyond what every event does and the
    /// few hundred octets of names and addresses.
    pub(super) fn octets(&self) -> usize {
        match self {
            SocketEvent::SubscriptionAdded(subscription)
            | SocketEvent::SubscriptionRemoved(subscription) => subscription.topic.len(),
            _ => 0,
        }
    }
}

/// One line, for people; the form may change.
impl fmt::Display for SocketEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketEvent::Listening { endpoint, .. } => write!(f, "listening at {endpoint}"),
            SocketEvent::BindFailed { endpoint, reason } => {
                write!(f, "not bound to {endpoint}: {reason}")
            }
            SocketEvent::AcceptFailed {
                endpoint,
                reason,
                retry_in,
                ..
            } => {
                write!(f, "a connection to {endpoint} was not accepted: {reason}")?;
                match retry_in {
                    Some(pause) => write!(f, "; next attempt in {pause:?}"),
                    None => Ok(()),
                }
            }
            SocketEvent::Accepted {
                connection,
                endpoint,
                peer,
                ..
            } => match &peer[..] {
                "" => write!(f, "{connection}: accepted at {endpoint}"),
                peer => write!(f, "{connection}: accepted from {peer} at {endpoint}"),
            },
            SocketEvent::Connected {
                connection,
                endpoint,
                peer,
                ..
            } => match &peer[..] {
                "" => write!(f, "{connection}: connected to {endpoint}"),
                peer => write!(f, "{connection}: connected to {endpoint} ({peer})"),
            },
            SocketEvent::ConnectFailed {
                endpoint, reason, ..
            } => {
                write!(f, "not connected to {endpoint}: {reason}")
            }
            SocketEvent::ConnectRetried {
                endpoint, delay, ..
            } => {
                write!(f, "next attempt to connect to {endpoint} in {delay:?}")
            }
            SocketEvent::HandshakeSucceeded {
                connection,
                endpoint,
                peer,
                socket_type,
                routing_id,
            } => {
                write!(f, "{connection}: ready at {endpoint}")?;
                write_peer(f, peer)?;
                if let Some(socket_type) = socket_type {
                    write!(f, ", {socket_type}")?;
                }
                write_name(f, routing_id.as_ref())
            }
            SocketEvent::HandshakeFailed {
                connection,
                endpoint,
                peer,
                reason,
            } => write!(
                f,
                "{connection}: handshake failed at {endpoint}, peer {peer}: {reason}"
            ),
            SocketEvent::Disconnected {
                connection,
                endpoint,
                peer,
                routing_id,
                initiator,
                reason,
            } => {
                write!(f, "{connection}: lost at {endpoint}")?;
                write_peer(f, peer)?;
                write_name(f, routing_id.as_ref())?;
                write!(f, ", ended by {initiator}: {reason}")
            }
            SocketEvent::Closed { endpoint, .. } => write!(f, "closed {endpoint}"),
            SocketEvent::SubscriptionAdded(of) => {
                write!(
                    f,
                    "{}: subscribed to \"{}\"",
                    of.connection,
                    of.topic.escape_ascii()
                )
            }
            SocketEvent::SubscriptionRemoved(of) => write!(
                f,
                "{}: no longer subscribed to \"{}\"",
                of.connection,
                of.topic.escape_ascii()
            ),
            SocketEvent::SubscriptionRefused {
                connection,
                endpoint,
                topic_length,
                limit,
                ..
            } => write!(
                f,
                "{connection}: a subscription of {topic_length} octets was refused at {endpoint}: {limit}"
            ),
            SocketEvent::Dropped { cause, count } => write!(f, "{count} dropped: {cause}"),
            SocketEvent::Missed { count } => write!(f, "{count} events missed"),
        }
    }
}

fn write_peer(f: &mut fmt::Formatter<'_>, peer: &str) -> fmt::Result {
    match peer {
        "" => Ok(()),
        peer => write!(f, ", peer {peer}"),
    }
}

fn write_name(f: &mut fmt::Formatter<'_>, name: Option<&RoutingId>) -> fmt::Result {
    match name {
        Some(name) => write!(f, ", called \"{}\"", name.as_bytes().escape_ascii()),
        None => Ok(()),
    }
}

/// Why a connection ended, or was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The system reported an error.
    #[error("{message}")]
    Io {
        /// The kind of the error.
        kind: io::ErrorKind,
        /// The system's words for it.
        message: Box<str>,
    },
    /// The peer broke the protocol, or speaks another.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A frame or message exceeds what this socket accepts.
    #[error("a {what} announces {size}, at most {limit} are accepted")]
    TooLarge {
        /// What is too large, and in which unit.
        what: &'static str,
        /// The announced size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The peer subscribed to more than this socket accepts. Not over inproc: see
    /// [`SocketEvent::SubscriptionRefused`].
    #[error("the peer exceeds the limits on subscriptions of this socket")]
    SubscriptionLimit,
    /// The peer may not connect to this socket: none of the accept filters (tcp) or process filters (ipc)
    /// names it.
    #[error("no filter allows the peer `{peer}`")]
    Filtered {
        /// Its address, or `:uid:gid:pid` over ipc; empty if the system does not know.
        peer: String,
    },
    /// The SOCKS proxy did not make the connection.
    #[error(transparent)]
    Proxy(#[from] ProxyFailure),
    /// The way through the SOCKS proxy was not made within the `handshake_timeout`.
    #[error("the SOCKS proxy made no connection within {timeout:?}")]
    ProxyTimeout {
        /// The configured limit.
        timeout: Duration,
    },
    /// The socket has as many connections as its `max_connections` allows.
    #[error("the socket has its maximum of {limit} connections")]
    TooManyConnections {
        /// The limit.
        limit: u32,
    },
    /// The listener has as many unfinished handshakes as its `max_pending_handshakes` allows.
    #[error("the listener has its maximum of {limit} unfinished handshakes")]
    TooManyHandshakes {
        /// The limit.
        limit: u32,
    },
    /// So many peers have come and gone, and left messages that the application has not received, that no
    /// more are accepted before it does. Peers that leave nothing come and go as they like.
    #[error("{limit} peers have gone and left messages that wait to be received, none is accepted before that")]
    Unattended {
        /// The most that may be gone with their messages unread.
        limit: usize,
    },
    /// The connection could not be made within the `connect_timeout`.
    #[error("no connection within {timeout:?}")]
    ConnectTimeout {
        /// The configured limit.
        timeout: Duration,
    },
    /// The peer's routing id is that of another peer of this ROUTER.
    #[error("another peer has the routing id \"{}\", expected one that is free", .routing_id.as_bytes().escape_ascii())]
    DuplicateRoutingId {
        /// What both want to be called.
        routing_id: RoutingId,
    },
    /// This socket takes one peer at a time (PAIR, CHANNEL), and has one.
    #[error("the socket has a peer, and takes one at a time")]
    Occupied,
    /// Another peer has taken over this one's routing id, as the option of the ROUTER allows.
    #[error("another peer has taken over the routing id")]
    Replaced,
    /// This side closed the connection: the socket was closed or dropped, or its endpoint disconnected or unbound.
    /// That is told at the end of the connection also if the peer has closed its side by then; what fails before
    /// everything queued is written is told as what it is.
    #[error("closed by this side")]
    ClosedLocally,
}

impl DisconnectReason {
    /// Who ends a connection for this reason.
    #[must_use]
    pub fn initiator(&self) -> Initiator {
        use DisconnectReason as Reason;
        match self {
            Reason::PeerClosed
            | Reason::Protocol(ProtocolError::Closed { .. } | ProtocolError::Refused(_)) => {
                Initiator::Peer
            }
            Reason::Io { .. }
            | Reason::Proxy(_)
            | Reason::ProxyTimeout { .. }
            | Reason::ConnectTimeout { .. }
            | Reason::Protocol(ProtocolError::TimedOut(TimedOut::Heartbeat)) => Initiator::Network,
            Reason::Protocol(_)
            | Reason::TooLarge { .. }
            | Reason::SubscriptionLimit
            | Reason::Filtered { .. }
            | Reason::TooManyConnections { .. }
            | Reason::TooManyHandshakes { .. }
            | Reason::Unattended { .. }
            | Reason::DuplicateRoutingId { .. }
            | Reason::Occupied
            | Reason::Replaced
            | Reason::ClosedLocally => Initiator::Us,
        }
    }

    /// An end in good order is one, whatever the words that the format has for it.
    pub(super) fn in_general(self) -> Self {
        match self {
            DisconnectReason::Protocol(ProtocolError::Closed { code: Some(1000) }) => {
                DisconnectReason::PeerClosed
            }
            other => other,
        }
    }

    /// A REQ socket was sent what is no reply.
    pub(crate) fn no_reply() -> Self {
        DisconnectReason::Protocol(Misbehaved::NoReply.into())
    }
}

impl From<SubscriptionLimit> for DisconnectReason {
    fn from(_: SubscriptionLimit) -> Self {
        DisconnectReason::SubscriptionLimit
    }
}

impl From<io::Error> for DisconnectReason {
    fn from(error: io::Error) -> Self {
        DisconnectReason::Io {
            kind: error.kind(),
            message: error.to_string().into(),
        }
    }
}
