//! Who is connected to a socket now, and what has come of each connection.
//!
//! I/O threads enter a connection when its handshake is done, and take it out at its end. Nothing is kept for a
//! snapshot but where the connection is; the counts are those that its pumps keep anyway.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::events::{ConnectionId, SocketEvent, Subscription};
use super::link::Link;
use super::port::{PipeKey, Port};
use super::trace::{self, Span};
use crate::endpoint::Endpoint;
use crate::message::RoutingId;
use crate::socket_type::SocketType;
use crate::sync::atomic::Ordering;
use crate::sync::{lock, Mutex};

/// A connection that messages can flow through, as it was when it was looked at: what others call a snapshot of a
/// peer, or the statistics of its pipes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionSnapshot {
    /// The connection.
    pub connection: ConnectionId,
    /// The endpoint bound or connected to.
    pub endpoint: Endpoint,
    /// The local address, as in [`SocketEvent::Accepted`](crate::SocketEvent::Accepted) and
    /// [`Connected`](crate::SocketEvent::Connected).
    pub local: String,
    /// The peer's address: `ip:port`, or `:uid:gid:pid` over ipc; empty over inproc.
    pub peer: String,
    /// What the peer is called, as in
    /// [`SocketEvent::HandshakeSucceeded`](crate::SocketEvent::HandshakeSucceeded).
    pub routing_id: Option<RoutingId>,
    /// The type of the peer's socket, if that is known.
    pub socket_type: Option<SocketType>,
    /// When the handshake was done.
    pub since: Instant,
    /// What has gone through it.
    pub traffic: Traffic,
}

/// What has gone through a connection. Of one that is busy, the figures may be a few messages apart.
///
/// Over inproc the two sockets have one queue between them for each direction: what a socket sends is written as soon
/// as it is in there, and what waits in there is told to either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages written to the connection.
    pub messages_sent: u64,
    /// Messages read from the connection, and kept for the application.
    pub messages_received: u64,
    /// Octets written, headers and handshake included.
    pub bytes_sent: u64,
    /// Octets read, headers and handshake included.
    pub bytes_received: u64,
    /// Messages that wait to be written; over inproc, to be received by the peer.
    pub queued_to_send: u64,
    /// Messages that wait for the application. May count some that it took, up to 64, until it waits again or
    /// takes more.
    pub queued_to_receive: u64,
}

/// The connections of a socket that are open, in their order. What is entered is taken out when it ends.
///
/// A sorted list, which takes less memory than a table: with ten thousand idle connections that is memory of each
/// of them. Those that come are among the last.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<Vec<(ConnectionId, Weak<Link>)>>);

impl Links {
    pub(super) fn enter(&self, link: &Arc<Link>, since: Instant) {
        // Set once, when the handshake is done.
        let _ = link.octets.since.set(since);
        let mut links = lock(&self.0);
        if links.len() == links.capacity() {
            let more = (links.len() / 4).max(4);
            links.reserve_exact(more);
        }
        let at = links.partition_point(|(id, _)| *id < link.id);
        links.insert(at, (link.id, Arc::downgrade(link)));
    }

    pub(super) fn leave(&self, id: ConnectionId) {
        let mut links = lock(&self.0);
        if let Ok(at) = links.binary_search_by_key(&id, |(id, _)| *id) {
            links.remove(at);
        }
        if links.len() < links.capacity() / 4 {
            links.shrink_to_fit();
        }
    }

    fn snapshots(&self) -> Vec<ConnectionSnapshot> {
        // Looked at without the lock: a pump in a long write holds up nobody but us.
        let open: Vec<_> = {
            let links = lock(&self.0);
            links
                .iter()
                .filter_map(|(_, link)| link.upgrade())
                .collect()
        };
        open.iter().filter_map(|link| link.snapshot()).collect()
    }
}

impl Port {
    /// Who is connected now, in the order of their connections.
    pub(crate) fn connections(&self) -> Vec<ConnectionSnapshot> {
        let mut connections = self.links.snapshots();
        connections.extend(self.inproc.snapshots());
        connections.sort_unstable_by_key(|connection| connection.connection);
        connections
    }

    /// A peer over inproc has changed its subscriptions.
    pub(crate) fn inproc_subscription(&self, key: PipeKey, subscribe: bool, topic: &[u8]) {
        // A subscriber in this process that exceeds its limits goes on without.
        let taken = self.hooks.subscription(key, subscribe, topic).is_ok();
        if taken && self.want_subscriptions() {
            if let Some(peer) = self.inproc.peer(key) {
                self.report_subscription(&peer.span, subscribe, peer.subscription(topic));
            }
        }
    }

    /// Whether anybody is told of subscriptions.
    fn want_subscriptions(&self) -> bool {
        self.monitors.want_subscriptions() || trace::wants_details()
    }

    fn report_subscription(&self, span: &Span, subscribe: bool, of: Subscription) {
        let event = match subscribe {
            true => SocketEvent::SubscriptionAdded(of),
            false => SocketEvent::SubscriptionRemoved(of),
        };
        if trace::wants_details() {
            trace::tell(span, self, &event);
        }
        self.monitors.report_subscription(|| event);
    }
}

impl Link {
    /// The peer has changed its subscriptions, and the pattern has taken note.
    pub(super) fn report_subscription(&self, subscribe: bool, topic: &[u8]) {
        if self.port.want_subscriptions() {
            let of = Subscription {
                connection: self.id,
                endpoint: self.endpoint.clone(),
                peer: self.peer.clone(),
                routing_id: self.routing_id(),
                topic: bytes::Bytes::copy_from_slice(topic),
            };
            self.port.report_subscription(self.span(), subscribe, of);
        }
    }

    fn snapshot(&self) -> Option<ConnectionSnapshot> {
        let since = *self.octets.since.get()?;
        let (queued_to_send, missed) = self.output.visit(|pump| pump.queued_messages());
        if missed {
            self.activate_output();
        }
        let (queued_to_receive, missed) = self.input.visit(|pump| pump.queued_messages());
        if missed {
            self.resume_input();
        }
        let octets = &self.octets;
        let socket_type = lock(&self.proto).peer().and_then(|peer| peer.socket_type);
        Some(ConnectionSnapshot {
            connection: self.id,
            endpoint: self.endpoint.clone(),
            local: self.stream.local_label(),
            peer: self.peer.clone(),
            routing_id: self.routing_id(),
            socket_type,
            since,
            traffic: Traffic {
                messages_sent: octets.messages_written.load(Ordering::Relaxed),
                messages_received: octets.messages_read.load(Ordering::Relaxed),
                bytes_sent: octets.written.load(Ordering::Relaxed),
                bytes_received: octets.read.load(Ordering::Relaxed),
                queued_to_send,
                queued_to_receive,
            },
        })
    }
}
