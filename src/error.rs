//! What can go wrong, per operation. A failed send gives the message back.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use thiserror::Error;

use crate::config::OptionError;
use crate::endpoint::{Endpoint, EndpointError};
use crate::io::{EndpointId, OpenSocket};
use crate::message::{Group, InvalidGroup, Message, PeerId, RoutingId};
use crate::socket_type::SocketType;

/// Why an endpoint was not bound. The socket is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The endpoint is malformed, or cannot be bound.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The socket's context was shut down.
    #[error("the context of the socket was shut down, expected one that was not")]
    Terminated,
    /// The socket was closed: a [`Requester`](crate::Requester), by another handle.
    #[error("the socket was closed, expected one that was not")]
    Closed,
    /// The address, path or name is taken.
    #[error("`{endpoint}` is in use, expected an endpoint nobody is bound to")]
    InUse {
        /// The endpoint given.
        endpoint: Endpoint,
    },
    /// The endpoint is not one that a socket of this type binds to.
    #[error("a {socket} socket cannot be bound to `{endpoint}`: expected {expected}")]
    Transport {
        /// The endpoint given.
        endpoint: Endpoint,
        /// This socket's type.
        socket: SocketType,
        /// What it can be bound to.
        expected: &'static str,
    },
    /// There is no I/O thread for it: the context has none, or the socket's `affinity` allows none of them.
    #[error("none of the {threads} I/O threads of the context is allowed by the affinity mask {affinity:#x}, expected at least one for all but inproc")]
    NoIoThread {
        /// The mask of the socket; 0 allows all.
        affinity: u64,
        /// How many threads the context has.
        threads: usize,
    },
    /// The descriptor given to `bind_listener` is something else. It is closed.
    #[error("{given} cannot be listened on: expected {expected}")]
    NotAListener {
        /// What was given.
        given: String,
        /// What can be listened on.
        expected: &'static str,
    },
    /// The system refused to take over the descriptor given to `bind_listener`. It is closed.
    #[error("the listening socket cannot be taken over: {source}")]
    Adopt {
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("`{endpoint}` cannot be bound: {source}")]
    Io {
        /// The endpoint given.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
}

/// Why an endpoint was not connected to. The socket is unchanged.
///
/// What goes wrong later (nobody listens, a name is not known) is an event of the socket's
/// [`Monitor`](crate::Monitor), and is tried again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The endpoint is malformed, or cannot be connected to.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The socket's context was shut down.
    #[error("the context of the socket was shut down, expected one that was not")]
    Terminated,
    /// The socket was closed: a [`Requester`](crate::Requester), by another handle.
    #[error("the socket was closed, expected one that was not")]
    Closed,
    /// The inproc peer is of a type this socket may not talk to.
    #[error("`{endpoint}` is bound by a {theirs} socket, which a {ours} socket cannot talk to")]
    Incompatible {
        /// The endpoint given.
        endpoint: Endpoint,
        /// This socket's type.
        ours: SocketType,
        /// The type of the socket bound there.
        theirs: SocketType,
    },
    /// The endpoint is not one that a socket of this type connects to.
    #[error("a {socket} socket cannot be connected to `{endpoint}`: expected {expected}")]
    Transport {
        /// The endpoint given.
        endpoint: Endpoint,
        /// This socket's type.
        socket: SocketType,
        /// What it can be connected to.
        expected: &'static str,
    },
    /// There is no I/O thread for it: the context has none, or the socket's `affinity` allows none of them.
    #[error("none of the {threads} I/O threads of the context is allowed by the affinity mask {affinity:#x}, expected at least one for all but inproc")]
    NoIoThread {
        /// The mask of the socket; 0 allows all.
        affinity: u64,
        /// How many threads the context has.
        threads: usize,
    },
    /// The descriptor given to `connect_stream` is something else. It is closed.
    #[error("{given} is no connection: expected {expected}")]
    NotAStream {
        /// What was given.
        given: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The system refused to take over the descriptor given to `connect_stream`, or one of the socket's
    /// options for it. It is closed.
    #[error("the connection cannot be taken over: {source}")]
    Adopt {
        /// What the system said.
        source: io::Error,
    },
    /// Another peer has the routing id already.
    #[error("`{endpoint}` is not connected to: another peer has the routing id \"{}\", expected one that is free", .routing_id.as_bytes().escape_ascii())]
    DuplicateRoutingId {
        /// The endpoint given.
        endpoint: Endpoint,
        /// What both would be called.
        routing_id: Box<RoutingId>,
    },
    /// One of the two sockets takes a single peer (PAIR, CHANNEL), and has it.
    #[error("`{endpoint}` is not connected to: this socket, or the one bound there, takes one peer at a time and has it")]
    Occupied {
        /// The endpoint given.
        endpoint: Endpoint,
    },
    /// One of the two sockets, over inproc, has as many connections as its `max_connections` allows.
    #[error("`{endpoint}` is not connected to: this socket, or the one bound there, has its maximum of {limit} connections, expected one that may have more")]
    TooManyConnections {
        /// The endpoint given.
        endpoint: Endpoint,
        /// The limit.
        limit: u32,
    },
    /// The routing id of a peer is known when its connection is there, since the socket was built with the
    /// option `immediate`.
    #[error("`{endpoint}` is not connected to: with the option `immediate` its peer has no routing id yet, expected a socket without")]
    NoPeerId {
        /// The endpoint given.
        endpoint: Endpoint,
    },
    /// The system refused, for example to start an I/O thread.
    #[error("`{endpoint}` cannot be connected to: {source}")]
    Io {
        /// The endpoint given.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
}

/// No such endpoint: it is not bound to, or connected to, by this socket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnknownEndpoint {
    /// The text is no endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It is one, but not one of this socket's.
    #[error(
        "`{endpoint}` is not an endpoint of this socket, expected one it is bound or connected to"
    )]
    NotHere {
        /// The endpoint given.
        endpoint: Endpoint,
    },
    /// It is none of this socket's, or not any more, or of the other kind: bound and not connected, or the other way
    /// round.
    #[error("{id} is not an endpoint of this socket, expected one of a `bind` to unbind, or of a `connect` to disconnect")]
    NoSuchId {
        /// The id given.
        id: EndpointId,
    },
}

/// No such peer: a SERVER or PEER socket has none of this routing id (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no peer {id}, expected the routing id of one that is there")]
#[non_exhaustive]
pub struct UnknownPeer {
    /// The routing id given.
    pub id: PeerId,
}

/// No peer of this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no peer \"{}\", expected the routing id of one that is there", .id.escape_ascii())]
pub struct UnknownRoutingId {
    id: Box<[u8]>,
}

impl UnknownRoutingId {
    pub(crate) fn new(id: &[u8]) -> Self {
        UnknownRoutingId { id: id.into() }
    }

    /// The name given.
    #[must_use]
    pub fn routing_id(&self) -> &[u8] {
        &self.id
    }
}

/// Why a socket was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An option has an impossible value.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The context has as many sockets as its `max_sockets` allows.
    #[error("the context has its maximum of {limit} sockets, expected one to be closed before another is made")]
    TooManySockets {
        /// The limit.
        limit: usize,
    },
    /// The context was shut down: it has no new sockets.
    #[error("the context was shut down, expected one that was not")]
    Terminated,
    /// The endpoint could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The endpoint could not be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Why a proxy was not started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// No message can go between these two, or some could not.
    #[error("a proxy cannot forward between {front} and {back}: expected {expected}")]
    Pair {
        /// The type of the first socket.
        front: SocketType,
        /// The type of the second.
        back: SocketType,
        /// What was expected.
        expected: &'static str,
    },
    /// What this socket receives cannot go out by itself.
    #[error("a proxy cannot reflect by a {given} socket: expected {expected}")]
    Reflected {
        /// Its type.
        given: SocketType,
        /// What was expected.
        expected: &'static str,
    },
    /// This is no socket that everything can be copied to.
    #[error("a proxy cannot copy to a {given} socket: expected PUSH, PUB, XPUB, DEALER or PAIR")]
    Capture {
        /// Its type.
        given: SocketType,
    },
    /// This is no socket that a proxy is steered through.
    #[error("a proxy cannot be steered through a {given} socket: expected PAIR or REP")]
    Control {
        /// Its type.
        given: SocketType,
    },
    /// The system has no thread for it.
    #[error("the proxy's thread cannot be started: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// Why a message was not sent. It is in here, untouched.
#[derive(Clone, PartialEq, Eq)]
pub struct SendError {
    reason: SendFailure,
    message: Message,
    routing_id: Option<Box<[u8]>>,
}

/// The reason of a [`SendError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// No peer could take the message now: there is none, or each is at its high-water mark.
    #[error("no peer can take a message now")]
    WouldBlock,
    /// No peer could take the message in time.
    #[error("no peer could take the message in time")]
    Timeout,
    /// A REQ socket still waits for a reply, or a REP socket has no request to reply to.
    #[error("not this socket's turn to send: {expected}")]
    OutOfTurn {
        /// What was expected.
        expected: &'static str,
    },
    /// A frame, or the message, is larger than the option
    /// [`max_send_size`](crate::SocketBuilder::max_send_size) allows.
    #[error("a message or frame of {size} octets, expected at most {limit} (`max_send_size`)")]
    MessageTooLarge {
        /// Octets in the frame, or in all frames.
        size: u64,
        /// The most there may be.
        limit: u64,
    },
    /// A frame given to an [`XSub`](crate::XSub) is a subscription that it does not make. Of topics that are too long none in
    /// the message is made; beyond the other limits those before it are.
    #[error("a subscription was not made: {0}")]
    Subscribe(#[from] SubscribeError),
    /// The body (for RADIO with its group) is longer than a datagram may be.
    #[error("a datagram of {octets} octets, expected at most {limit}")]
    DatagramTooLarge {
        /// The length of the body.
        octets: usize,
        /// The most there may be.
        limit: usize,
    },
    /// The message given to a [`Dgram`](crate::Dgram) is none.
    #[error("the message is no datagram: expected two frames, the first an address such as `192.0.2.1:5555`")]
    NoDatagram,
    /// A [`Dgram`](crate::Dgram) that is bound nowhere has nothing to send from.
    #[error("the socket is not bound, expected a bind to a `udp://` endpoint before")]
    NotBound,
    /// No datagram can go to port 0.
    #[error("a datagram for {peer}, expected a port from 1 to 65535")]
    PortZero {
        /// The address given.
        peer: SocketAddr,
    },
    /// The message given to a [`Radio`](crate::Radio) by a sink has no group.
    #[error("the message is for no group: expected two frames, the first a group of at most 255 octets without a NUL")]
    NoGroup,
    /// The peer that a reply was for is gone.
    #[error("the peer this reply is for is gone")]
    PeerLost,
    /// A ROUTER has no peer of the given routing id ([`SendError::routing_id`]).
    #[error("there is no such peer, expected the routing id of one that is there")]
    Unroutable,
    /// A ROUTER cannot tell whom the message is for, or what to send.
    #[error(
        "the message has a single frame, expected a routing id and at least one frame behind it"
    )]
    NotAddressed,
    /// This socket sends messages of a single frame only.
    #[error("the message has {frames} frames, expected 1")]
    Multipart {
        /// How many frames the message has.
        frames: usize,
    },
    /// A SERVER or PEER socket has no peer of this routing id: it is gone, or never was.
    #[error("there is no peer {id}, expected the routing id of one that is there")]
    UnknownPeer {
        /// The routing id given.
        id: PeerId,
    },
    /// A SERVER or PEER socket was given a message that does not say which peer it is for.
    #[error("the message carries no routing id, expected that of a peer")]
    NoRoutingId,
    /// The socket's context was shut down ([`Context::shutdown`](crate::Context::shutdown)), and no peer could take the
    /// message at once.
    #[error("the context of the socket was shut down")]
    Terminated,
    /// The [`Requester`](crate::Requester) was closed before a peer took the request.
    #[error("the requester was closed before a peer took the message")]
    Closed,
    /// The system has no thread left for a [`Requester`](crate::Requester) to begin with.
    #[error("the system has no thread left to receive replies with")]
    NoThread,
}

impl SendError {
    pub(crate) fn new(reason: SendFailure, message: Message) -> Self {
        SendError {
            reason,
            message,
            routing_id: None,
        }
    }

    /// Of a message for one peer.
    pub(crate) fn to(routing_id: &[u8], reason: SendFailure, message: Message) -> Self {
        SendError {
            reason,
            message,
            routing_id: Some(routing_id.into()),
        }
    }

    /// The routing id that the message was for, if it was for one.
    #[must_use]
    pub fn routing_id(&self) -> Option<&[u8]> {
        self.routing_id.as_deref()
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> SendFailure {
        self.reason
    }

    /// The message that was not sent.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Whether waiting could have helped: the reason is [`SendFailure::WouldBlock`] or
    /// [`SendFailure::Timeout`].
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.reason, SendFailure::WouldBlock | SendFailure::Timeout)
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("reason", &self.reason)
            .field("message", &self.message)
            .field(
                "routing_id",
                &self.routing_id().map(|id| id.escape_ascii().to_string()),
            )
            .finish()
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        match self.routing_id() {
            Some(id) => write!(f, " (for the peer \"{}\")", id.escape_ascii()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SendError {}

/// Why a batch was not sent to its end: one of its messages failed as a `send` of it would have. Those before it were sent,
/// and must not be sent again; it was not, nor were those behind it. All of them are still with the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{sent} messages of the batch were sent, the next was not: {reason}")]
pub struct SendBatchError {
    sent: usize,
    reason: SendFailure,
}

impl SendBatchError {
    pub(crate) fn new(sent: usize, reason: SendFailure) -> Self {
        SendBatchError { sent, reason }
    }

    /// How many messages were sent, from the beginning of the batch: the place of the one that failed.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// What of this batch is still to be sent: the message that failed, and those behind it. Of another batch it is what is
    /// there from that place on.
    #[must_use]
    pub fn unsent<'a, T>(&self, batch: &'a [T]) -> &'a [T] {
        batch.get(self.sent..).unwrap_or_default()
    }

    /// Why the message failed.
    #[must_use]
    pub fn reason(&self) -> SendFailure {
        self.reason
    }

    /// Whether waiting could have helped: the reason is [`SendFailure::WouldBlock`] or
    /// [`SendFailure::Timeout`].
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.reason, SendFailure::WouldBlock | SendFailure::Timeout)
    }
}

/// Why no message was received. Nothing was consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// There is no message now.
    #[error("there is no message now")]
    WouldBlock,
    /// No message came in time.
    #[error("no message came in time")]
    Timeout,
    /// A REQ socket has no request outstanding, or a REP socket owes a reply.
    #[error("not this socket's turn to receive: {expected}")]
    OutOfTurn {
        /// What was expected.
        expected: &'static str,
    },
    /// The peer that a request went to is lost, and the reply with it. The request may have been
    /// carried out. The socket is ready for another.
    #[error("the peer was lost before it replied")]
    PeerLost,
    /// The socket's context was shut down ([`Context::shutdown`](crate::Context::shutdown)), and there was no message.
    #[error("the context of the socket was shut down")]
    Terminated,
    /// The [`Requester`](crate::Requester) was closed before the reply came.
    #[error("the socket was closed before the reply came")]
    Closed,
}

impl RecvError {
    /// Whether waiting longer could have helped.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, RecvError::WouldBlock | RecvError::Timeout)
    }
}

/// Why a request got no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not sent; it is in here.
    #[error("the request was not sent: {0}")]
    Send(#[from] SendError),
    /// It was sent, and no reply came.
    #[error("the request was sent: {0}")]
    Recv(#[from] RecvError),
}

/// Why a [`Sub`](crate::Sub) or an [`XSub`](crate::XSub) did not subscribe: a publisher with default options would end the
/// connection, and each one after it. Nothing has changed, and nobody was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic is longer than the option `max_topic_length` of this socket allows.
    #[error("the topic has {len} octets, expected at most {limit} (`max_topic_length`)")]
    TopicTooLong {
        /// The length of the topic given, in octets.
        len: usize,
        /// The most there may be.
        limit: usize,
    },
    /// There are as many different topics as the option `max_topics` of this socket allows.
    #[error("the socket is subscribed to {limit} topics, expected fewer (`max_topics`)")]
    TooManyTopics {
        /// The most there may be.
        limit: usize,
    },
    /// All different topics together would be longer than publishers accept.
    #[error("all topics together would have {octets} octets, expected at most {limit}")]
    TooManyOctets {
        /// The length that they would have, in octets.
        octets: u64,
        /// The most there may be.
        limit: u64,
    },
}

/// Why an [`XPub`](crate::XPub) did not change a peer's subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ManualError {
    /// The socket takes its peers' subscriptions by itself.
    #[error("subscriptions are not made by hand, expected a socket with the option `manual`")]
    NotManual,
    /// The topic is longer than peers may subscribe to.
    #[error("the topic has {len} octets, expected at most {limit} (`max_topic_length`)")]
    TopicTooLong {
        /// The length of the topic given, in octets.
        len: usize,
        /// The most there may be.
        limit: u32,
    },
    /// The peer holds as many topics as one may.
    #[error("the peer holds {limit} topics, expected fewer (`max_topics`)")]
    TooManyTopics {
        /// The most there may be.
        limit: u32,
    },
    /// All of the peer's topics together would be longer than what one may hold.
    #[error(
        "all topics of the peer together would be longer than expected: at most {limit} octets"
    )]
    TooManyOctets {
        /// The most there may be.
        limit: u64,
    },
    /// There is no room for one more topic of any peer: 2³² are held.
    #[error("there is no room for one more topic of any peer")]
    Full,
}

/// Why a message was not sent to a group.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupSendError {
    /// The name is no group's. Nothing was sent.
    #[error(transparent)]
    Group(#[from] InvalidGroup),
    /// It was not sent. The message in the error has two frames: the group's name, and the body.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Why a group was not joined or left. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The name is no group's.
    #[error(transparent)]
    Invalid(#[from] InvalidGroup),
    /// It has been joined already: membership does not count.
    #[error("{group:?} is joined already, expected a group that is not")]
    AlreadyJoined {
        /// The group given.
        group: Group,
    },
    /// A RADIO with default options would end the connection for one more.
    #[error("{limit} groups are joined, expected fewer")]
    TooManyGroups {
        /// How many are joined.
        limit: usize,
    },
    /// It has not been joined.
    #[error("{group:?} is not joined, expected a group that is")]
    NotJoined {
        /// The group given.
        group: Group,
    },
}

/// Why a [`Poller`](crate::Poller) cannot wait.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PollError {
    /// The system does not wait for one of the descriptors.
    #[error("descriptor {fd} (item {item}) cannot be waited for: {source}; expected one that is open, and can become ready, such as a socket or a pipe")]
    Fd {
        /// The first item that names it.
        item: usize,
        /// The descriptor given.
        fd: RawFd,
        /// What the system said.
        source: io::Error,
    },
    /// The system cannot wait.
    #[error("the system cannot wait for descriptors: {0}")]
    Io(#[source] io::Error),
}

/// Sockets of a context that were not closed in time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StillOpen {
    /// Each of them, in the order in which they were made.
    pub sockets: Vec<OpenSocket>,
}

impl fmt::Display for StillOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sockets are open:", self.sockets.len())?;
        for (index, socket) in self.sockets.iter().enumerate() {
            let between = if index == 0 { " " } else { "; " };
            write!(f, "{between}{socket}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StillOpen {}

/// A wait for peers, subscribers or members of a group took too long, or had no sense any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{present} of {wanted} {what} were there when {reason}")]
pub struct WaitTimeout {
    pub(crate) what: &'static str,
    /// How many there were.
    pub present: usize,
    /// How many were waited for.
    pub wanted: usize,
    /// Why there was no more waiting.
    pub reason: WaitEnd,
}

/// Why nobody waits for peers any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WaitEnd {
    /// The time was over.
    #[error("the time was over")]
    Timeout,
    /// The socket's context was shut down ([`Context::shutdown`](crate::Context::shutdown)).
    #[error("the context of the socket was shut down")]
    Terminated,
    /// The socket was closed: a [`Requester`](crate::Requester), by another handle.
    #[error("the socket was closed")]
    Closed,
}
