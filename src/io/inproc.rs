//! Connections between two sockets of one context: two pipes, and nothing else.
//!
//! The out-pipe of one socket is the in-pipe of the other; no I/O thread has a part in it. Connecting
//! before binding works: the connector's messages collect in its pipe. Each direction may hold what
//! its sender and its receiver allow together.

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::events::{ConnectionId, DisconnectReason, EndpointId, SocketEvent};
use super::inproc_peers::{down, Peer};
use super::port::{Arrival, Flow, PipeKey, Port};
use super::thread::{next_id, PipeEnds};
use super::trace::Span;
use crate::endpoint::Endpoint;
use crate::message::{PeerProperties, RoutingId};
use crate::pipe::{conflate, pipe, Counts, Limits, Reader, Tuning};
use crate::proto::{Incompatible, ProtocolError};
use crate::socket_type::SocketType;
use crate::sync::{clock, Mutex};
use crate::transport::{BoundId, Connect, PendingId, Registry};

/// The names of one context.
pub(crate) struct Names(Registry<Binder, Waiting>);

/// Who is bound to a name.
#[derive(Clone)]
struct Binder {
    port: Weak<Port>,
    id: EndpointId,
}

/// A connector's side, until somebody binds the name.
struct Waiting {
    port: Weak<Port>,
    ends: PipeEnds,
    /// Of the pipe that the connector reads from.
    back: Counts,
    endpoint: Endpoint,
    id: EndpointId,
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
    /// One of the two has as many connections as it allows.
    TooManyConnections {
        limit: u32,
    },
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
        id: EndpointId,
    ) -> Result<InprocId, InprocError> {
        let binder = Binder {
            port: Arc::downgrade(port),
            id,
        };
        let bound = self
            .0
            .bind(name, binder)
            .map_err(|_| InprocError::NameTaken)?;
        port.report(|| SocketEvent::Listening {
            endpoint: endpoint.clone(),
            endpoint_id: id,
        });
        for (_, waiting) in bound.waiting {
            // A connector that is gone has left a pipe behind; dropping it is all there is to do.
            let _ = attach(waiting, port, id);
        }
        Ok(InprocId::Bound(bound.id))
    }

    pub(crate) fn connect(
        &self,
        name: &str,
        endpoint: &Endpoint,
        port: &Arc<Port>,
        key: PipeKey,
        id: EndpointId,
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
            back: back_reader.counts(),
            endpoint: endpoint.clone(),
            id,
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
                match binder.port.upgrade() {
                    Some(port) => attach(waiting, &port, binder.id)?,
                    None => down(port, key, None),
                }
                Ok(InprocId::Connected { pending: None, key })
            }
        }
    }

    /// Ends one binding (its connections live on) or one connection.
    pub(crate) fn close(
        &self,
        name: &str,
        (endpoint, endpoint_id): (&Endpoint, EndpointId),
        id: InprocId,
        port: &Arc<Port>,
    ) {
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
                    let reason = DisconnectReason::ClosedLocally;
                    port.inproc.disconnect(port, key, &reason);
                }
            }
        }
        port.report(|| SocketEvent::Closed {
            endpoint: endpoint.clone(),
            endpoint_id,
        });
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// Gives the binder its ends of a connector's pipes.
fn attach(waiting: Waiting, binder: &Arc<Port>, binder_id: EndpointId) -> Result<(), InprocError> {
    let Some(connector) = waiting.port.upgrade() else {
        return Ok(());
    };
    let Waiting {
        ends,
        back,
        endpoint,
        id: connector_id,
        ..
    } = waiting;
    let (ours, theirs) = (connector.socket_type, binder.socket_type);
    let fit = ours.is_compatible_with(theirs);
    if !fit && !may_mix(&connector, binder) {
        let reason = incompatible(ours, theirs);
        refuse(&connector, &endpoint, connector_id, &reason);
        let reason = incompatible(theirs, ours);
        refuse(binder, &endpoint, binder_id, &reason);
        let key = ends.key;
        drop(ends);
        down(&connector, key, None);
        return Err(InprocError::Incompatible { ours, theirs });
    }
    let key = binder.new_key();
    let peer_key = ends.key;
    let places = binder
        .claim_place()
        .and_then(|of_binder| Ok((of_binder, connector.claim_place()?)));
    let admitted = places.and_then(|places| {
        let binder_name = admit(&connector, peer_key, binder)?;
        let connector_name = admit(binder, key, &connector)?;
        Ok((places, binder_name, connector_name))
    });
    let ((binder_place, connector_place), binder_name, connector_name) = match admitted {
        Ok(admitted) => admitted,
        Err(reason) => {
            refuse(&connector, &endpoint, connector_id, &reason);
            refuse(binder, &endpoint, binder_id, &reason);
            binder.abandon_key(key);
            drop(ends);
            down(&connector, peer_key, None);
            return match reason {
                DisconnectReason::DuplicateRoutingId { routing_id } => {
                    Err(InprocError::DuplicateRoutingId(routing_id))
                }
                DisconnectReason::Occupied => Err(InprocError::Occupied),
                DisconnectReason::TooManyConnections { limit } => {
                    Err(InprocError::TooManyConnections { limit })
                }
                // These are all the reasons not to admit a peer.
                _ => Ok(()),
            };
        }
    };
    // Before anything can be received through it.
    connector.hooks.settled(peer_key);
    let since = clock::now();
    let Flow {
        sends, receives, ..
    } = binder.flow();
    let PipeEnds { writer, reader, .. } = ends;
    let keeps_less = binder.conflate.keeps_less_than(connector.conflate);
    // Between types that do not fit, who receives nothing keeps what it is sent; otherwise nobody sends to it.
    let (writer, unread_by_connector) = match writer.filter(|_| sends) {
        None if sends && !fit => {
            let (writer, reader) = match binder.conflate.is_on() {
                true => binder.out_pipe(Tuning::INPROC),
                false => connector.in_pipe(Tuning::INPROC),
            };
            (Some(writer), Some(reader))
        }
        writer => (writer, None),
    };
    let (reader, mut unread_by_binder) = match reader {
        Some(reader) if !receives => (None, (!fit).then_some(reader)),
        reader => (reader, None),
    };
    let (writer, replaced) = match writer {
        Some(_) if unread_by_connector.is_some() => (writer, None),
        // The connector has the other end of a pipe that keeps more, and gets that of one that does not.
        Some(_) if keeps_less => {
            let (writer, reader) = binder.out_pipe(Tuning::INPROC);
            (Some(writer), Some(reader))
        }
        writer => (writer, None),
    };
    let reader = reader.map(|reader| match binder.terms(binder.in_limits()) {
        Some(terms) if reader.is_conflating() => {
            reader.narrow(terms.keep.prefix);
            reader
        }
        Some(terms) => conflate(reader, Tuning::INPROC, terms),
        None => reader,
    });
    if let Some(reader) = unread_by_binder.as_mut().filter(|of| !of.is_conflating()) {
        reader.set_limits(binder.in_limits());
    }
    let back = match replaced.as_ref().or(unread_by_connector.as_ref()) {
        Some(reader) => Some(reader.counts()),
        None => writer.is_some().then_some(back),
    };
    let forth = reader.as_ref().or(unread_by_binder.as_ref());
    let forth = forth.map(Reader::counts);
    let side = |of: &Port, peer: (&Arc<Port>, PipeKey), name, pipes: Pipes| {
        let id = ConnectionId(next_id());
        let Pipes {
            sent,
            received,
            unread,
        } = pipes;
        Peer {
            id,
            endpoint: endpoint.clone(),
            routing_id: name,
            since,
            port: Arc::downgrade(peer.0),
            key: peer.1,
            accepted: Arc::ptr_eq(peer.0, &connector),
            sent,
            received,
            _unread: unread.map(|reader| Arc::new(Mutex::new(reader))),
            span: Span::of(of, id, &endpoint, ""),
        }
    };
    let pipes = Pipes {
        sent: forth.clone(),
        received: back.clone(),
        unread: unread_by_connector,
    };
    let of_connector = side(&connector, (binder, key), binder_name, pipes);
    let pipes = Pipes {
        sent: back,
        received: forth,
        unread: unread_by_binder,
    };
    let of_binder = side(binder, (&connector, peer_key), connector_name, pipes);
    // Told first, as the end may come from another thread at any moment after.
    of_connector.report_up(&connector, connector_id);
    of_binder.report_up(binder, binder_id);
    // Each knows the other before either can send, so that an end is never missed.
    connector
        .inproc
        .enter(peer_key, of_connector, connector_place);
    binder.inproc.enter(key, of_binder, binder_place);
    // Who receives from a peer can answer it: the way to it is there first.
    connector.introduce(peer_key, 0, &properties(binder));
    if let Some(mut writer) = writer {
        // A pipe of its own has been written to already.
        let welcomed = replaced.is_some();
        if let Some(reader) = replaced {
            connector.offer_reader(peer_key, reader, Some(properties(binder)));
        }
        writer.set_limits(binder.out_limits());
        if !welcomed {
            binder.welcome(&mut writer);
        }
        binder.greet(&mut writer);
        binder.offer_writer(key, writer);
    } else if sends {
        // The connector receives nothing: a pipe that nobody reads stands for that.
        let (writer, _) = pipe(ONE, Tuning::INPROC);
        binder.offer_writer(key, writer);
    }
    binder.hooks.settled(key);
    if let Some(mut reader) = reader {
        reader.set_limits(binder.in_limits());
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
        let reason = match connector.is_closing() {
            true => DisconnectReason::ClosedLocally,
            false => DisconnectReason::PeerClosed,
        };
        connector.inproc.disconnect(&connector, peer_key, &reason);
        connector.hooks.link_down(peer_key);
        binder.hooks.link_down(key);
    }
    Ok(())
}

/// What one side of a connection has of its pipes.
struct Pipes {
    sent: Option<Counts>,
    received: Option<Counts>,
    /// What it does not read, though it is sent.
    unread: Option<Reader>,
}

/// Whether two types that do not fit are to be connected nevertheless.
fn may_mix(connector: &Port, binder: &Port) -> bool {
    let wanted = |port: &Port| port.settings().config.any_inproc_type;
    connector.socket_type.mixes_with(binder.socket_type) && (wanted(connector) || wanted(binder))
}

const ONE: Limits = Limits {
    messages: 1,
    bytes: 1,
};

/// What a peer over inproc knows of a socket: what its handshake would tell.
fn properties(port: &Port) -> Arc<PeerProperties> {
    let protocol = &port.settings().protocol;
    let identity = match port.socket_type.announces_identity() {
        true => protocol.routing_id.clone(),
        false => Bytes::new(),
    };
    Arc::new(PeerProperties {
        address: None,
        socket_type: Some(port.socket_type),
        identity,
        user_id: None,
        metadata: protocol.properties.clone(),
    })
}

/// Asks a socket's pattern whether it can have `peer`, and what that is called there.
fn admit(
    port: &Arc<Port>,
    key: PipeKey,
    peer: &Port,
) -> Result<Option<RoutingId>, DisconnectReason> {
    let settings = peer.settings();
    let announced = match (&settings.config.routing_id, peer.socket_type) {
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

fn refuse(port: &Port, endpoint: &Endpoint, endpoint_id: EndpointId, reason: &DisconnectReason) {
    port.report(|| SocketEvent::ConnectFailed {
        endpoint: endpoint.clone(),
        endpoint_id,
        reason: reason.clone(),
    });
}
