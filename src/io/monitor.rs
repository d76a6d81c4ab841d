//! What happens to a socket's connections, as typed events that a user can read.
//!
//! Events are made by I/O threads and read by whoever holds a [`Monitor`]. A monitor that is not read
//! costs bounded memory and holds nobody up: when its queue is full the newest event is dropped and
//! counted ([`Monitor::dropped`]).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::endpoint::Endpoint;
use crate::message::RoutingId;
use crate::proto::{Misbehaved, ProtocolError};
use crate::socket_type::SocketType;
use crate::sync::{clock, Event as Wakeup, Mutex, MutexGuard};
use crate::transport::ProxyFailure;

/// Names one connection of this process, for its whole life and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Something that happened to an endpoint or a connection of a socket.
///
/// The events of one connection come in order: `Accepted` or `Connected`, then `HandshakeSucceeded`
/// or `HandshakeFailed`, then, after a success, `Disconnected`.
///
/// Over inproc there are no connections to tell of: `Listening` is reported, and `ConnectFailed` for a
/// peer of the wrong kind, but nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketEvent {
    /// An endpoint was bound.
    Listening {
        /// The real endpoint: wildcards replaced.
        endpoint: Endpoint,
    },
    /// A connection could not be accepted. The listener stays; if descriptors have run out it pauses
    /// for `retry_in`.
    AcceptFailed {
        /// The listening endpoint.
        endpoint: Endpoint,
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
        /// The peer's address: `ip:port`, or `:uid:gid:pid` over ipc.
        peer: String,
    },
    /// A connection to a peer was made; its handshake begins.
    Connected {
        /// The new connection.
        connection: ConnectionId,
        /// The endpoint given to `connect`.
        endpoint: Endpoint,
        /// The peer's address.
        peer: String,
    },
    /// An attempt to connect failed.
    ConnectFailed {
        /// The endpoint given to `connect`.
        endpoint: Endpoint,
        /// Why.
        reason: DisconnectReason,
    },
    /// The next attempt to connect will be made after a delay.
    ConnectRetried {
        /// The endpoint given to `connect`.
        endpoint: Endpoint,
        /// Until the next attempt.
        delay: Duration,
    },
    /// The handshake is complete: messages flow.
    HandshakeSucceeded {
        /// The connection.
        connection: ConnectionId,
        /// The endpoint bound or connected to.
        endpoint: Endpoint,
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
        /// Why.
        reason: DisconnectReason,
    },
    /// An endpoint is no longer bound, or no longer connected to.
    Closed {
        /// The endpoint.
        endpoint: Endpoint,
    },
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
    /// The peer subscribed to more than this socket accepts.
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
    /// So many peers have come and gone without the application making any use of the socket that no
    /// more are accepted before it does: what they left waits for it.
    #[error("{limit} peers have gone without the application taking note, none is accepted before it does")]
    Unattended {
        /// The most that may be gone unnoticed.
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
    /// This side closed the connection.
    #[error("closed by this side")]
    ClosedLocally,
}

impl DisconnectReason {
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

impl From<io::Error> for DisconnectReason {
    fn from(error: io::Error) -> Self {
        DisconnectReason::Io {
            kind: error.kind(),
            message: error.to_string().into(),
        }
    }
}

/// How many events a monitor holds for a reader that is away. Enough for every connection of a
/// hundred-peer socket to come and go twice.
const CAPACITY: usize = 1024;

/// A stream of [`SocketEvent`]s of one socket, from the moment it was made. It holds up to 1024 events
/// that were not read; further ones are dropped and counted.
#[derive(Debug)]
pub struct Monitor(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    state: Mutex<QueueState>,
    wakeup: Wakeup,
}

#[derive(Debug, Default)]
struct QueueState {
    events: VecDeque<SocketEvent>,
    dropped: u64,
    closed: bool,
}

impl Monitor {
    /// Takes the next event if there is one.
    #[must_use]
    pub fn try_recv(&mut self) -> Option<SocketEvent> {
        self.0.lock().events.pop_front()
    }

    /// Waits for the next event. `None` once the socket is gone (closed or dropped, and done with what it
    /// still had to send) and every event has been read.
    pub fn recv(&mut self) -> Option<SocketEvent> {
        self.recv_until(None)
    }

    /// Waits for the next event, at most this long. `None` if there was none, or the socket is closed.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<SocketEvent> {
        self.recv_until(clock::now().checked_add(timeout))
    }

    /// Waits for the next event, for a task of any executor, or of none. `None` as for [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    pub async fn recv_async(&mut self) -> Option<SocketEvent> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Takes the next event if there is one; otherwise the task is woken when there is.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<SocketEvent>> {
        match self.is_ready(cx.waker()) {
            true => Poll::Ready(self.try_recv()),
            false => Poll::Pending,
        }
    }

    /// Whether there is an event, or will never be one; otherwise the waker is woken when there is.
    pub(crate) fn is_ready(&mut self, waker: &Waker) -> bool {
        loop {
            if self.has_event_or_end() {
                return true;
            }
            if !self.0.wakeup.poll(waker) {
                return false;
            }
        }
    }

    pub(crate) fn has_event_or_end(&self) -> bool {
        let state = self.0.lock();
        state.closed || !state.events.is_empty()
    }

    /// Waits, at most this long, for an event that satisfies `wanted`, and discards those before it.
    pub fn wait_for(
        &mut self,
        timeout: Duration,
        mut wanted: impl FnMut(&SocketEvent) -> bool,
    ) -> Option<SocketEvent> {
        let deadline = clock::now().checked_add(timeout);
        loop {
            let event = self.recv_until(deadline)?;
            if wanted(&event) {
                return Some(event);
            }
        }
    }

    /// Events that were dropped because nobody read this monitor for too long.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Option<SocketEvent> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some(event) = state.events.pop_front() {
                    return Some(event);
                }
                if state.closed {
                    return None;
                }
            }
            if !self.0.wakeup.wait(deadline) {
                return self.try_recv();
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        crate::sync::lock(&self.state)
    }
}

/// Where the I/O threads report to; one per socket.
#[derive(Debug, Default)]
pub(crate) struct Monitors(Mutex<Vec<Weak<Queue>>>);

impl Monitors {
    pub(crate) fn subscribe(&self) -> Monitor {
        let queue = Arc::new(Queue {
            state: Mutex::new(QueueState::default()),
            wakeup: Wakeup::new(),
        });
        crate::sync::lock(&self.0).push(Arc::downgrade(&queue));
        Monitor(queue)
    }

    /// Reports an event; built only if somebody listens.
    pub(crate) fn report(&self, event: impl FnOnce() -> SocketEvent) {
        let mut queues = crate::sync::lock(&self.0);
        if queues.is_empty() {
            return;
        }
        queues.retain(|queue| queue.strong_count() > 0);
        let event = event();
        for queue in queues.iter().filter_map(Weak::upgrade) {
            let mut state = queue.lock();
            if state.events.len() < CAPACITY {
                state.events.push_back(event.clone());
            } else {
                state.dropped += 1;
            }
            drop(state);
            queue.wakeup.notify();
        }
    }
}

impl Drop for Monitors {
    fn drop(&mut self) {
        for queue in crate::sync::lock(&self.0).iter().filter_map(Weak::upgrade) {
            queue.lock().closed = true;
            queue.wakeup.notify();
        }
    }
}
