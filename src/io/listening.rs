//! Accepting connections.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use mio::{Interest, Token as MioToken};

use super::events::{DisconnectReason, EndpointId, SocketEvent};
use super::port::{Counters, Lease, Port};
use super::settings::Settings;
use super::thread::{Command, IoHandle, IoThread, Slot};
use super::{ACCEPT_PAUSE, ACCEPT_TURN};
use crate::endpoint::Endpoint;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::clock;
use crate::transport::{AcceptFailure, AdoptError, Listener, Stream};

/// A bound endpoint on its I/O thread.
pub(super) struct ListenerSlot {
    pub(super) port: Arc<Port>,
    settings: Arc<Settings>,
    listener: Listener,
    pub(super) endpoint: Endpoint,
    pub(super) id: EndpointId,
    pending: Arc<AtomicU32>,
    /// Descriptors have run out: nothing is accepted before this, however many connections come.
    paused_until: Option<Instant>,
    /// Held while the endpoint is bound.
    _lease: Lease,
}

/// Binds an endpoint on the caller's thread and hands the listener to an I/O thread; returns the
/// endpoint really bound.
pub(crate) fn bind_stream(
    endpoint: &Endpoint,
    port: &Arc<Port>,
    home: &IoHandle,
    id: EndpointId,
) -> io::Result<Endpoint> {
    let (listener, real) = Listener::bind(endpoint, &port.settings().config)?;
    listen_on(listener, &real, port, home, id);
    Ok(real)
}

/// Takes a listening socket over from the application, as if it had been bound here.
pub(crate) fn adopt_listener(
    fd: OwnedFd,
    port: &Arc<Port>,
    home: &IoHandle,
    id: EndpointId,
) -> Result<Endpoint, AdoptError> {
    let (listener, real) = Listener::adopt(fd, &port.settings().config)?;
    listen_on(listener, &real, port, home, id);
    Ok(real)
}

/// Takes a connected socket over from the application; returns the endpoint it is known by.
pub(crate) fn adopt_stream(
    fd: OwnedFd,
    port: &Arc<Port>,
    home: &IoHandle,
    id: EndpointId,
) -> Result<Endpoint, AdoptError> {
    let (stream, endpoint) = Stream::adopt(fd, &port.settings().config)?;
    // Both ends of a pair are nameless, and a name is needed to end it by.
    let endpoint = match endpoint {
        Some(endpoint) => endpoint,
        None => Endpoint::nameless_ipc(id.0),
    };
    home.post(Command::AdoptConnected {
        port: Arc::clone(port),
        settings: port.settings(),
        stream,
        endpoint: endpoint.clone(),
        id,
        lease: port.lease(),
    });
    Ok(endpoint)
}

fn listen_on(
    listener: Listener,
    real: &Endpoint,
    port: &Arc<Port>,
    home: &IoHandle,
    id: EndpointId,
) {
    home.post(Command::Listen {
        port: Arc::clone(port),
        settings: port.settings(),
        listener,
        endpoint: real.clone(),
        id,
        lease: port.lease(),
    });
}

/// One of the unfinished handshakes of a listener.
#[derive(Debug)]
pub(crate) struct Pending(Arc<AtomicU32>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl IoThread {
    pub(super) fn listen(
        &mut self,
        (port, settings): (Arc<Port>, Arc<Settings>),
        mut listener: Listener,
        endpoint: Endpoint,
        id: EndpointId,
        lease: Lease,
    ) {
        if port.is_closing() {
            // In this order: the address is to be free when the closing socket has its lease back.
            drop(listener);
            drop(lease);
            return;
        }
        let slot = self.new_slot(Slot::Freed);
        let registered =
            self.handle
                .registry()
                .register(&mut listener, MioToken(slot), Interest::READABLE);
        port.report(|| SocketEvent::Listening {
            endpoint: endpoint.clone(),
            endpoint_id: id,
        });
        if let Err(error) = &registered {
            port.report(|| SocketEvent::AcceptFailed {
                endpoint: endpoint.clone(),
                endpoint_id: id,
                reason: DisconnectReason::Io {
                    kind: error.kind(),
                    message: error.to_string().into(),
                },
                retry_in: Some(ACCEPT_PAUSE),
            });
        }
        self.slots[slot] = Slot::Listener(Box::new(ListenerSlot {
            port,
            settings,
            listener,
            endpoint,
            id,
            pending: Arc::new(AtomicU32::new(0)),
            paused_until: None,
            _lease: lease,
        }));
        // Connections may have come before the listener was registered.
        self.accept(slot);
    }

    /// Accepts what waits, up to a turn's worth.
    pub(super) fn accept(&mut self, slot: usize) {
        if let Some(Slot::Listener(listening)) = self.slots.get_mut(slot) {
            if listening.paused_until.is_some_and(|at| clock::now() < at) {
                return;
            }
            listening.paused_until = None;
        }
        for _ in 0..ACCEPT_TURN {
            let Some(Slot::Listener(listening)) = self.slots.get(slot) else {
                return;
            };
            let failure = match listening.listener.accept() {
                Ok(stream) => {
                    self.accepted(slot, stream);
                    continue;
                }
                Err(failure) => failure,
            };
            let (reason, pause) = match failure {
                AcceptFailure::Drained => return,
                AcceptFailure::Connection(error) => (error.into(), None),
                AcceptFailure::Filtered { peer } => (DisconnectReason::Filtered { peer }, None),
                AcceptFailure::Pause(error) => (error.into(), Some(ACCEPT_PAUSE)),
            };
            let port = &listening.port;
            Counters::add(&port.counters.accept_failures, 1);
            port.report(|| SocketEvent::AcceptFailed {
                endpoint: listening.endpoint.clone(),
                endpoint_id: listening.id,
                reason,
                retry_in: pause,
            });
            if let Some(pause) = pause {
                let until = Some(clock::now() + pause);
                if let Some(Slot::Listener(listening)) = self.slots.get_mut(slot) {
                    listening.paused_until = until;
                }
                self.timers.set(slot, until);
                return;
            }
        }
        // No event will tell of the rest.
        self.timers.set(slot, Some(clock::now()));
    }

    fn accepted(&mut self, slot: usize, stream: Stream) {
        let Some(Slot::Listener(listening)) = self.slots.get(slot) else {
            return;
        };
        let port = Arc::clone(&listening.port);
        let settings = Arc::clone(&listening.settings);
        let limit = settings.config.max_pending_handshakes;
        if listening.pending.load(Ordering::Acquire) >= limit {
            Counters::add(&port.counters.accept_failures, 1);
            port.report(|| SocketEvent::AcceptFailed {
                endpoint: listening.endpoint.clone(),
                endpoint_id: listening.id,
                reason: DisconnectReason::TooManyHandshakes { limit },
                retry_in: None,
            });
            return;
        }
        listening.pending.fetch_add(1, Ordering::AcqRel);
        let pending = Pending(Arc::clone(&listening.pending));
        let endpoint = listening.endpoint.clone();
        let listener = listening.id;
        let lease = port.lease();
        let home = self
            .pool
            .upgrade()
            .and_then(|pool| pool.place(settings.config.affinity).ok());
        match home {
            Some(home) if !self.is_here(&home) => home.post(Command::Adopt {
                port,
                settings,
                stream,
                endpoint,
                listener,
                pending,
                lease,
            }),
            // No thread can be started: this one will do.
            _ => self.adopt((port, settings), stream, endpoint, listener, pending, lease),
        }
    }

    /// Stops listening. The endpoint is free when this returns.
    pub(super) fn close_listener(&mut self, slot: usize) {
        if let Slot::Listener(mut listening) = self.free_slot(slot) {
            let _ = self.handle.registry().deregister(&mut listening.listener);
            listening.port.report(|| SocketEvent::Closed {
                endpoint: listening.endpoint.clone(),
                endpoint_id: listening.id,
            });
        }
    }
}
