//! Who is connected to a socket now, and what has come of each connection.
//!
//! I/O threads enter a connection when its handshake is done, and take it out at its end. Nothing is kept for a
//! snapshot but where the connection is; the counts are those that its pumps keep anyway.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::events::{ConnectionId, SocketEvent, Subscription, SubscriptionLimit};
use super::in_pump::InPump;
use super::link::Link;
use super::out_pump::OutPump;
use super::port::{Counters, PipeKey, Port};
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
    /// The local address, as in [`SocketEvent::Accepted`] and
    /// [`Connected`](crate::SocketEvent::Connected).
    pub local: String,
    /// The peer's address: `ip:port`, or `:uid:gid:pid` over ipc; empty over inproc.
    pub peer: String,
    /// What the peer is called, as in
    /// [`SocketEvent::HandshakeSucceeded`].
    pub routing_id: Option<RoutingId>,
    /// The type of the peer's socket, if that is known.
    pub socket_type: Option<SocketType>,
    /// When the handshake was done.
    pub since: Instant,
    /// How many attempts there were to replace the connection before this one, or one that could not be made: 0 for the
    /// first attempt to connect to an endpoint, 1 for the first after a loss. 0 for connections that peers made.
    pub reconnects: u64,
    /// How many of these attempts ended in the handshake.
    pub handshake_failures: u64,
    /// How often its I/O thread was called to it: by its descriptor, or by another thread that had something for it or
    /// made room. None over inproc. Many messages for each is what batching is.
    pub wakeups: u64,
    /// What has gone through it.
    pub traffic: Traffic,
}

/// What has gone through a connection. Of one that is busy, the figures may be a few messages apart.
///
/// Over inproc the two sockets have one queue between them for each direction: what a socket sends is written as soon
/// as it is in there, and what waits in there or was dropped there is told to either side.
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
    /// Messages dropped because the queue of this connection was at its high-water mark, or the budget of the context
    /// was used up; with conflation by topic, those that gave way to other topics. This tells which subscriber loses
    /// messages. (What was lost with a connection that ended is told of the socket alone.)
    pub dropped_full: u64,
    /// Messages that a newer one took the place of, with the option `conflate`.
    pub dropped_conflated: u64,
    /// Messages received that the pattern has no use for.
    pub dropped_unexpected: u64,
}

/// The connections of a socket that are open, in their order. What is entered is taken out when it ends.
///
/// A sorted list, which takes less memory than a table: with ten thousand idle connections that is memory of each
/// of them. Those that come are among the last.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    links: Vec<(ConnectionId, Weak<Link>)>,
    /// Those of connections that have left.
    wakeups: u64,
}

impl Links {
    pub(super) fn enter(&self, link: &Arc<Link>, since: Instant) {
        // Set once, when the handshake is done.
        let _ = link.octets.since.set(since);
        let links = &mut lock(&self.0).links;
        if links.len() == links.capacity() {
            let more = (links.len() / 4).max(4);
            links.reserve_exact(more);
        }
        let at = links.partition_point(|(id, _)| *id < link.id);
        links.insert(at, (link.id, Arc::downgrade(link)));
    }

    pub(super) fn leave(&self, link: &Link) {
        let mut open = lock(&self.0);
        let Open { links, wakeups } = &mut *open;
        if let Ok(at) = links.binary_search_by_key(&link.id, |(id, _)| *id) {
            links.remove(at);
            *wakeups += link.tally.wakeups.load(Ordering::Relaxed);
        }
        if links.len() < links.capacity() / 4 {
            links.shrink_to_fit();
        }
    }

    /// The connections, and the wake-ups of those that were.
    fn open(&self) -> (Vec<Arc<Link>>, u64) {
        let open = lock(&self.0);
        let links = open.links.iter().filter_map(|(_, link)| link.upgrade());
        (links.collect(), open.wakeups)
    }

    /// How often I/O threads were called to connections that are open, or were.
    fn wakeups(&self) -> u64 {
        let (open, gone) = self.open();
        let wakeups = |link: Arc<Link>| link.tally.wakeups.load(Ordering::Relaxed);
        gone + open.into_iter().map(wakeups).sum::<u64>()
    }

    fn snapshots(&self) -> Vec<ConnectionSnapshot> {
        // Looked at without the lock: a pump in a long write holds up nobody but us.
        let (open, _) = self.open();
        open.iter().filter_map(|link| link.snapshot()).collect()
    }
}

impl Port {
    /// How often I/O threads were called to its connections.
    pub(crate) fn wakeups(&self) -> u64 {
        self.links.wakeups()
    }

    /// Who is connected now, in the order of their connections.
    pub(crate) fn connections(&self) -> Vec<ConnectionSnapshot> {
        let mut connections = self.links.snapshots();
        connections.extend(self.inproc.snapshots());
        connections.sort_unstable_by_key(|connection| connection.connection);
        connections
    }

    /// A peer over inproc has changed its subscriptions. One that exceeds the limits goes on without what was refused.
    pub(crate) fn inproc_subscription(
        &self,
        key: PipeKey,
        subscribe: bool,
        topic: &[u8],
    ) -> Result<(), SubscriptionLimit> {
        self.hooks.subscription(key, subscribe, topic)?;
        if self.want_subscriptions() {
            if let Some(peer) = self.inproc.peer(key) {
                self.report_subscription(&peer.span, subscribe, peer.subscription(topic));
            }
        }
        Ok(())
    }

    /// What a peer over inproc has asked for was refused.
    pub(crate) fn refused_subscription(
        &self,
        key: PipeKey,
        topic_length: usize,
        limit: SubscriptionLimit,
    ) {
        Counters::add(&self.counters.subscriptions_refused, 1);
        if let Some(peer) = self.inproc.peer(key) {
            self.report_in(&peer.span, || SocketEvent::SubscriptionRefused {
                connection: peer.id,
                endpoint: peer.endpoint.clone(),
                routing_id: peer.routing_id.clone(),
                topic_length,
                limit,
            });
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
        let look = |pump: &mut OutPump| (pump.queued_messages(), pump.losses());
        let ((queued_to_send, sent), missed) = self.output.visit(look);
        if missed {
            self.activate_output();
        }
        let look = |pump: &mut InPump| (pump.queued_messages(), pump.losses());
        let ((queued_to_receive, received), missed) = self.input.visit(look);
        if missed {
            self.resume_input();
        }
        let octets = &self.octets;
        let losses = sent.and(received).since(self.tally.before());
        let unexpected = self.tally.unexpected.load(Ordering::Relaxed);
        let socket_type = lock(&self.proto).peer().and_then(|peer| peer.socket_type);
        Some(ConnectionSnapshot {
            connection: self.id,
            endpoint: self.endpoint.clone(),
            local: self.stream.local_label(),
            peer: self.peer.clone(),
            routing_id: self.routing_id(),
            socket_type,
            since,
            reconnects: self.tally.tries.reconnects,
            handshake_failures: self.tally.tries.handshake_failures,
            wakeups: self.tally.wakeups.load(Ordering::Relaxed),
            traffic: Traffic {
                messages_sent: octets.messages_written.load(Ordering::Relaxed),
                messages_received: octets.messages_read.load(Ordering::Relaxed),
                bytes_sent: octets.written.load(Ordering::Relaxed),
                bytes_received: octets.read.load(Ordering::Relaxed),
                queued_to_send,
                queued_to_receive,
                dropped_full: losses.full,
                dropped_conflated: losses.conflated,
                dropped_unexpected: losses.unwanted.wrapping_add(unexpected),
            },
        })
    }
}
