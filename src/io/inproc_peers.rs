//! Who is connected to a socket over inproc, what has gone through each connection, and its events.
//!
//! Nobody counts messages for this: the two ends of a pipe keep counts for each other, and a snapshot looks at those.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::drops::DropCause;
use super::events::{ConnectionId, DisconnectReason, EndpointId, SocketEvent, Subscription};
use super::octets::Sum;
use super::peers::{ConnectionSnapshot, Traffic};
use super::port::{Counters, Outbound, PipeKey, Port};
use super::trace::Span;
use crate::endpoint::Endpoint;
use crate::message::{Message, RoutingId};
use crate::pipe::{Counts, Reader};
use crate::sync::{lock, Mutex, Place};

/// The inproc peers of a socket.
#[derive(Debug, Default)]
pub(crate) struct InprocPeers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By the socket's own keys, each with its place among the connections that the socket allows.
    peers: HashMap<PipeKey, (Peer, Place)>,
    /// Octets of connections that have ended.
    gone: Sum,
}

/// One connection, as one of its two sockets sees it.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) id: ConnectionId,
    pub(super) endpoint: Endpoint,
    /// What it is called.
    pub(super) routing_id: Option<RoutingId>,
    pub(super) since: Instant,
    pub(super) port: Weak<Port>,
    pub(super) key: PipeKey,
    /// It has connected to this socket, and not the other way round.
    pub(super) accepted: bool,
    /// The pipes to it and from it, if messages go that way.
    pub(super) sent: Option<Counts>,
    pub(super) received: Option<Counts>,
    /// What it sends to a socket that receives nothing: full in the end, and there until the connection ends.
    pub(super) _unread: Option<Arc<Mutex<Reader>>>,
    /// From its beginning to its end.
    pub(super) span: Span,
}

impl Peer {
    /// Tells the socket's monitors that there is this connection. To be called before others can end it, for the
    /// end to be told after it.
    pub(super) fn report_up(&self, port: &Port, endpoint_id: EndpointId) {
        let (connection, endpoint) = (self.id, &self.endpoint);
        port.report_in(&self.span, || match self.accepted {
            true => SocketEvent::Accepted {
                connection,
                endpoint: endpoint.clone(),
                endpoint_id,
                local: String::new(),
                peer: String::new(),
            },
            false => SocketEvent::Connected {
                connection,
                endpoint: endpoint.clone(),
                endpoint_id,
                local: String::new(),
                peer: String::new(),
            },
        });
        Counters::add(&port.counters.handshakes, 1);
        port.report_in(&self.span, || SocketEvent::HandshakeSucceeded {
            connection,
            endpoint: endpoint.clone(),
            peer: String::new(),
            socket_type: self.port.upgrade().map(|port| port.socket_type),
            routing_id: self.routing_id.clone(),
        });
    }

    fn report_end(&self, port: &Port, reason: &DisconnectReason) {
        Counters::add(&port.counters.disconnects, 1);
        port.report_in(&self.span, || SocketEvent::Disconnected {
            connection: self.id,
            endpoint: self.endpoint.clone(),
            peer: String::new(),
            routing_id: self.routing_id.clone(),
            initiator: reason.initiator(),
            reason: reason.clone(),
        });
    }

    fn traffic(&self) -> Traffic {
        let passed = |counts: &Option<Counts>| counts.as_ref().map(Counts::passed);
        let (sent, received) = (passed(&self.sent), passed(&self.received));
        let (sent, received) = (sent.unwrap_or_default(), received.unwrap_or_default());
        let losses = |counts: &Option<Counts>| counts.as_ref().map(Counts::losses);
        let losses = losses(&self.sent)
            .unwrap_or_default()
            .and(losses(&self.received).unwrap_or_default());
        Traffic {
            messages_sent: sent.messages,
            messages_received: received.messages,
            bytes_sent: sent.octets,
            bytes_received: received.octets,
            queued_to_send: sent.queued,
            queued_to_receive: received.queued,
            dropped_full: losses.full,
            dropped_conflated: losses.conflated,
            dropped_unexpected: losses.unwanted,
        }
    }

    fn snapshot(&self) -> ConnectionSnapshot {
        ConnectionSnapshot {
            connection: self.id,
            endpoint: self.endpoint.clone(),
            local: String::new(),
            peer: String::new(),
            routing_id: self.routing_id.clone(),
            socket_type: self.port.upgrade().map(|port| port.socket_type),
            since: self.since,
            reconnects: 0,
            handshake_failures: 0,
            wakeups: 0,
            traffic: self.traffic(),
        }
    }

    pub(super) fn subscription(&self, topic: &[u8]) -> Subscription {
        Subscription {
            connection: self.id,
            endpoint: self.endpoint.clone(),
            peer: String::new(),
            routing_id: self.routing_id.clone(),
            topic: bytes::Bytes::copy_from_slice(topic),
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl InprocPeers {
    pub(super) fn enter(&self, key: PipeKey, peer: Peer, place: Place) {
        lock(&self.0).peers.insert(key, (peer, place));
    }

    pub(super) fn peer(&self, key: PipeKey) -> Option<Peer> {
        let state = lock(&self.0);
        state.peers.get(&key).map(|(peer, _)| peer.clone())
    }

    /// Who is connected over inproc.
    pub(super) fn snapshots(&self) -> Vec<ConnectionSnapshot> {
        // Looked at without the lock: the last reference to a peer's socket may be ours.
        let peers: Vec<Peer> = {
            let state = lock(&self.0);
            state.peers.values().map(|(peer, _)| peer.clone()).collect()
        };
        peers.iter().map(Peer::snapshot).collect()
    }

    /// The octets of all connections up to now.
    pub(crate) fn sum(&self) -> Sum {
        let state = lock(&self.0);
        let mut sum = state.gone;
        for (peer, _) in state.peers.values() {
            sum.count(peer.traffic());
        }
        sum
    }

    /// Ends one connection, for both sides.
    pub(crate) fn disconnect(&self, port: &Arc<Port>, key: PipeKey, reason: &DisconnectReason) {
        let Some((peer, place)) = self.leave(key) else {
            return;
        };
        ended(port, key, None, place);
        peer.report_end(port, reason);
        let Some(other) = peer.port.upgrade() else {
            return;
        };
        if let Some((ours, place)) = other.inproc.leave(peer.key) {
            let left = ours.sent.as_ref().map_or(0, Counts::take_left);
            other.dropped(DropCause::PeerLost, left);
            let last = other.last_words(ours.accepted);
            ended(&other, peer.key, last, place);
            ours.report_end(&other, &DisconnectReason::PeerClosed);
        }
    }

    /// Has the socket at the other end of a pipe count anew how much it may send.
    pub(crate) fn recount(&self, key: PipeKey) {
        if let Some(peer) = self.peer(key) {
            if let Some(port) = peer.port.upgrade() {
                port.outbound.post(Outbound::Writable(peer.key));
            }
        }
    }

    fn leave(&self, key: PipeKey) -> Option<(Peer, Place)> {
        let mut state = lock(&self.0);
        let left = state.peers.remove(&key)?;
        state.gone.count(left.0.traffic());
        Some(left)
    }

    /// Ends all connections of a socket that is being closed.
    pub(crate) fn disconnect_all(&self, port: &Arc<Port>) {
        let keys: Vec<PipeKey> = lock(&self.0).peers.keys().copied().collect();
        for key in keys {
            self.disconnect(port, key, &DisconnectReason::ClosedLocally);
        }
    }
}

/// Tells a socket's halves that a pipe is gone; `last` is received after what it holds.
pub(super) fn down(port: &Port, key: PipeKey, last: Option<Message>) {
    let flow = port.flow();
    if flow.sends {
        port.end_out(key, None);
    }
    if flow.receives {
        port.end_in(key, last);
    }
}

fn ended(port: &Arc<Port>, key: PipeKey, last: Option<Message>, place: Place) {
    // Counted last: who sees a peer fewer finds its pipe ended.
    port.hooks.link_down(key);
    down(port, key, last);
    port.peer_down();
    drop(place);
}
