//! Connections between two sockets of one context: two pipes, and nothing else.
//!
//! The out-pipe of one socket is the in-pipe of the other; no I/O thread has a part in it. Connecting
//! before binding works: the connector's messages collect in its pipe. Each direction may hold what
//! its sender and its receiver allow together.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::events::{ConnectionId, DisconnectReason, SocketEvent};
use super::peers::ConnectionSnapshot;
use super::port::{Arrival, Flow, PipeKey, Port};
use super::thread::{next_id, PipeEnds};
use crate::endpoint::Endpoint;
use crate::message::{Message, PeerProperties, RoutingId};
use crate::pipe::{conflate, pipe, Limits, Tuning};
use crate::proto::{Incompatible, ProtocolError};
use crate::socket_type::SocketType;
use crate::sync::{clock, lock, Mutex};
use crate::transport::{BoundId, Connect, PendingId, Registry};

/// The names of one context.
pub(crate) struct Names(Registry<Weak<Port>, Waiting>);

/// A connector's side, until somebody binds the name.
struct Waiting {
    port: Weak<Port>,
    ends: PipeEnds,
    endpoint: Endpoint,
}

/// One binding or connection of a socket, to be ended later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InprocId {
    Bound(BoundId),
    /// Waits for its name to be bound, or is connected; `key` is the connector's pipe.
    Connected {
        pending: Option<PendingId>,
        key: PipeKey,
    },
}

/// Why an inproc endpoint could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InprocError {
    NameTaken,
    Incompatible {
        ours: SocketType,
        theirs: SocketType,
    },
    DuplicateRoutingId(RoutingId),
    /// One of the two takes a single peer, and has it.
    Occupied,
}

/// The inproc peers of a socket, by its own keys.
#[derive(Debug, Default)]
pub(crate) struct InprocPeers(Mutex<HashMap<PipeKey, Peer>>);

#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) id: ConnectionId,
    pub(super) endpoint: Endpoint,
    /// What it is called.
    pub(super) routing_id: Option<RoutingId>,
    since: Instant,
    port: Weak<Port>,
    key: PipeKey,
    /// It has connected to this socket, and not the other way round.
    accepted: bool,
}

impl Names {
    pub(crate) fn new() -> Self {
        Names(Registry::new())
    }

    pub(crate) fn bind(
        &self,
        name: &str,
        endpoint: &Endpoint,
        port: &Arc<Port>,
    ) -> Result<InprocId, InprocError> {
        let bound = self
            .0
            .bind(name, Arc::downgrade(port))
            .map_err(|_| InprocError::NameTaken)?;
        port.report(|| SocketEvent::Listening {
            endpoint: endpoint.clone(),
        });
        for (_, waiting) in bound.waiting {
            // A connector that is gone has left a pipe behind; dropping it is all there is to do.
            let _ = attach(waiting, port);
        }
        Ok(InprocId::Bound(bound.id))
    }

    pub(crate) fn connect(
        &self,
        name: &str,
        endpoint: &Endpoint,
        port: &Arc<Port>,
        key: PipeKey,
    ) -> Result<InprocId, InprocError> {
        let flow = port.flow();
        let (mut writer, reader) = port.out_pipe(Tuning::INPROC);
        let (back_writer, back_reader) = port.in_pipe(Tuning::INPROC);
        let waiting = Waiting {
            port: Arc::downgrade(port),
            ends: PipeEnds {
                key,
                reader: flow.sends.then_some(reader),
                writer: flow.receives.then_some(back_writer),
            },
            endpoint: endpoint.clone(),
        };
        // The socket gets its ends first: what the other side does next must find them.
        if flow.sends {
            port.greet(&mut writer);
            port.offer_writer(key, writer);
        }
        if flow.receives {
            port.offer_reader(key, back_reader, None);
        }
        match self.0.connect(name, waiting) {
            Connect::Queued(pending) => Ok(InprocId::Connected {
                pending: Some(pending),
                key,
            }),
            Connect::Connected(binder, waiting) => {
                match binder.upgrade() {
                    Some(binder) => attach(waiting, &binder)?,
                    None => down(port, key, None),
                }
                Ok(InprocId::Connected { pending: None, key })
            }
        }
    }

    /// Ends one binding (its connections live on) or one connection.
    pub(crate) fn close(&self, name: &str, id: InprocId, port: &Arc<Port>) {
        match id {
            InprocId::Bound(id) => {
                self.0.unbind(name, id);
            }
            InprocId::Connected { pending, key } => {
                let waiting = pending.and_then(|pending| self.0.cancel(name, pending));
                if let Some(waiting) = waiting {
                    if let Some(reader) = &waiting.ends.reader {
                        super::Counters::add(&port.counters.unsent, reader.queued_messages());
                    }
                    drop(waiting);
                    down(port, key, None);
                } else {
                    port.inproc.disconnect(port, key);
                }
            }
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// Gives the binder its ends of a connector's pipes.
fn attach(waiting: Waiting, binder: &Arc<Port>) -> Result<(), InprocError> {
    let Some(connector) = waiting.port.upgrade() else {
        return Ok(());
    };
    let Waiting { ends, endpoint, .. } = waiting;
    let (ours, theirs) = (connector.socket_type, binder.socket_type);
    if !ours.is_compatible_with(theirs) {
        refuse(&connector, &endpoint, &incompatible(ours, theirs));
        refuse(binder, &endpoint, &incompatible(theirs, ours));
        let key = ends.key;
        drop(ends);
        down(&connector, key, None);
        return Err(InprocError::Incompatible { ours, theirs });
    }
    let key = binder.new_key();
    let peer_key = ends.key;
    let admitted = admit(&connector, peer_key, binder)
        .and_then(|binder_name| Ok((binder_name, admit(binder, key, &connector)?)));
    let (binder_name, connector_name) = match admitted {
        Ok(names) => names,
        Err(reason) => {
            refuse(&connector, &endpoint, &reason);
            refuse(binder, &endpoint, &reason);
            binder.abandon_key(key);
            drop(ends);
            down(&connector, peer_key, None);
            return match reason {
                DisconnectReason::DuplicateRoutingId { routing_id } => {
                    Err(InprocError::DuplicateRoutingId(routing_id))
                }
                DisconnectReason::Occupied => Err(InprocError::Occupied),
                // These are all the reasons not to admit a peer.
                _ => Ok(()),
            };
        }
    };
    // Before anything can be received through it.
    connector.hooks.settled(peer_key);
    let since = clock::now();
    // Each knows the other before either can send, so that an end is never missed.
    lock(&connector.inproc.0).insert(
        peer_key,
        Peer {
            id: ConnectionId(next_id()),
            endpoint: endpoint.clone(),
            routing_id: binder_name,
            since,
            port: Arc::downgrade(binder),
            key,
            accepted: false,
        },
    );
    lock(&binder.inproc.0).insert(
        key,
        Peer {
            id: ConnectionId(next_id()),
            endpoint,
            routing_id: connector_name,
            since,
            port: Arc::downgrade(&connector),
            key: peer_key,
            accepted: true,
        },
    );
    let Flow {
        sends, receives, ..
    } = binder.flow();
    // Who receives from a peer can answer it: the way to it is there first.
    connector.introduce(peer_key, 0, &properties(binder));
    if let Some(mut writer) = ends.writer.filter(|_| sends) {
        let conflate = binder.config.conflate;
        if conflate.keeps_less_than(connector.config.conflate) {
            // The connector has the other end of a pipe that keeps more, and gets that of one that does not.
            let (new, reader) = binder.out_pipe(Tuning::INPROC);
            connector.offer_reader(peer_key, reader, Some(properties(binder)));
            writer = new;
        }
        writer.add_limits(binder.out_limits());
        binder.welcome(&mut writer);
        binder.greet(&mut writer);
        binder.offer_writer(key, writer);
    } else if sends {
        // The connector receives nothing: a pipe that nobody reads stands for that.
        let (writer, _) = pipe(ONE, Tuning::INPROC);
        binder.offer_writer(key, writer);
    }
    binder.hooks.settled(key);
    if let Some(mut reader) = ends.reader.filter(|_| receives) {
        if let Some(terms) = binder.terms(binder.in_limits()) {
            if reader.is_conflating() {
                reader.narrow(terms.keep.prefix);
            } else {
                reader = conflate(reader, Tuning::INPROC, terms);
            }
        }
        reader.add_limits(binder.in_limits());
        binder.offer_reader(key, reader, Some(properties(&connector)));
    } else if receives {
        // The connector sends nothing this way: an ended pipe stands for that.
        let (_, reader) = pipe(ONE, Tuning::INPROC);
        binder.offer_reader(key, reader, Some(properties(&connector)));
    }
    binder.peer_up();
    connector.peer_up();
    // A publisher first: it takes no subscriptions from a peer it does not know.
    if matches!(ours, SocketType::Pub | SocketType::XPub | SocketType::Radio) {
        connector.hooks.inproc_up(peer_key, binder, key);
        binder.hooks.inproc_up(key, &connector, peer_key);
    } else {
        binder.hooks.inproc_up(key, &connector, peer_key);
        connector.hooks.inproc_up(peer_key, binder, key);
    }
    // A socket that was closed meanwhile may have looked for its peers too early to end this, or before
    // the patterns were told.
    if connector.is_closing() || binder.is_closing() {
        connector.inproc.disconnect(&connector, peer_key);
        connector.hooks.link_down(peer_key);
        binder.hooks.link_down(key);
    }
    Ok(())
}

const ONE: Limits = Limits {
    messages: 1,
    bytes: 1,
};

/// What a peer over inproc knows of a socket: what its handshake would tell.
fn properties(port: &Port) -> Arc<PeerProperties> {
    let identity = match port.socket_type.announces_identity() {
        true => port.protocol.routing_id.clone(),
        false => Bytes::new(),
    };
    Arc::new(PeerProperties {
        address: None,
        socket_type: Some(port.socket_type),
        identity,
        user_id: None,
        metadata: port.protocol.properties.clone(),
    })
}

/// Asks a socket's pattern whether it can have `peer`, and what that is called there.
fn admit(
    port: &Arc<Port>,
    key: PipeKey,
    peer: &Port,
) -> Result<Option<RoutingId>, DisconnectReason> {
    let announced = match (&peer.config.routing_id, peer.socket_type) {
        (Some(id), of) if of.announces_identity() => id.as_bytes(),
        _ => &[],
    };
    port.hooks.admit(&Arrival {
        port,
        key,
        given: None,
        announced,
        link: None,
    })
}

fn incompatible(ours: SocketType, theirs: SocketType) -> DisconnectReason {
    let why = Incompatible::SocketType { ours, theirs };
    DisconnectReason::Protocol(ProtocolError::Incompatible(why))
}

fn refuse(port: &Port, endpoint: &Endpoint, reason: &DisconnectReason) {
    port.report(|| SocketEvent::ConnectFailed {
        endpoint: endpoint.clone(),
        reason: reason.clone(),
    });
}

/// Tells a socket's halves that a pipe is gone; `last` is received after what it holds.
fn down(port: &Port, key: PipeKey, last: Option<&Message>) {
    let flow = port.flow();
    if flow.sends {
        port.end_out(key, None);
    }
    if flow.receives {
        port.end_in(key, last.cloned());
    }
}

impl Peer {
    fn snapshot(&self) -> ConnectionSnapshot {
        ConnectionSnapshot {
            connection: self.id,
            endpoint: self.endpoint.clone(),
            peer: String::new(),
            routing_id: self.routing_id.clone(),
            socket_type: self.port.upgrade().map(|port| port.socket_type),
            since: self.since,
            traffic: None,
        }
    }
}

impl InprocPeers {
    pub(super) fn peer(&self, key: PipeKey) -> Option<Peer> {
        lock(&self.0).get(&key).cloned()
    }

    /// Who is connected over inproc.
    pub(super) fn snapshots(&self) -> Vec<ConnectionSnapshot> {
        lock(&self.0).values().map(Peer::snapshot).collect()
    }

    /// Ends one connection, for both sides.
    pub(crate) fn disconnect(&self, port: &Arc<Port>, key: PipeKey) {
        let Some(peer) = lock(&self.0).remove(&key) else {
            return;
        };
        ended(port, key, None);
        if let Some(other) = peer.port.upgrade() {
            let removed = lock(&other.inproc.0).remove(&peer.key);
            if let Some(Peer { accepted, .. }) = removed {
                ended(&other, peer.key, other.last_words(accepted));
            }
        }
    }

    /// Ends all connections of a socket that is being closed.
    pub(crate) fn disconnect_all(&self, port: &Arc<Port>) {
        let keys: Vec<PipeKey> = lock(&self.0).keys().copied().collect();
        for key in keys {
            self.disconnect(port, key);
        }
    }
}

fn ended(port: &Arc<Port>, key: PipeKey, last: Option<&Message>) {
    // Counted last: who sees a peer fewer finds its pipe ended.
    port.hooks.link_down(key);
    down(port, key, last);
    port.peer_down();
}
