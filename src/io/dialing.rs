//! Connecting, and connecting again.
//!
//! A dialer outlives its connections: it holds the pipe of a peer while there is no connection, hands
//! it to the connection it made, and takes it back when that is lost. Its back-off is reset by a
//! completed handshake and by nothing else.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Token as MioToken};

use super::monitor::{ConnectionId, DisconnectReason, SocketEvent};
use super::port::{Counters, Lease, PipeKey, Port};
use super::random;
use super::thread::{Command, EndpointId, IoThread, PipeEnds, Slot};
use crate::config::Backoff;
use crate::endpoint::{Address, Endpoint, HostPort};
use crate::message::RoutingId;
use crate::pipe::Reader;
use crate::sync::clock;
use crate::transport::{start_connect, ConnectTarget, Family, Stream};

/// An endpoint connected to, on its I/O thread.
pub(super) struct DialerSlot {
    pub(super) port: Arc<Port>,
    pub(super) endpoint: Endpoint,
    pub(super) id: EndpointId,
    /// The pipes, while no connection has them (and there are any).
    ends: Option<PipeEnds>,
    /// What the peer is to be called here.
    name: Option<RoutingId>,
    state: State,
    backoff: Backoff,
    /// Addresses not tried yet in this round.
    addresses: VecDeque<SocketAddr>,
    /// Set when the endpoint is being closed: when to give up what is unsent.
    closing: Option<Option<Instant>>,
    _lease: Lease,
}

enum State {
    Resolving,
    Connecting {
        stream: Stream,
        deadline: Option<Instant>,
    },
    Waiting {
        until: Instant,
    },
    /// The connection lives in its own slot.
    Connected(usize, ConnectionId),
}

impl IoThread {
    pub(super) fn dial(
        &mut self,
        port: Arc<Port>,
        endpoint: Endpoint,
        id: EndpointId,
        ends: Option<PipeEnds>,
        name: Option<RoutingId>,
        lease: Lease,
    ) {
        let backoff = Backoff::new(port.config.reconnect);
        let slot = self.slots.insert(Slot::Dialer(Box::new(DialerSlot {
            port,
            endpoint,
            id,
            ends,
            name,
            state: State::Resolving,
            backoff,
            addresses: VecDeque::new(),
            closing: None,
            _lease: lease,
        })));
        self.begin_round(slot);
    }

    fn dialer(&mut self, slot: usize) -> Option<&mut DialerSlot> {
        match self.slots.get_mut(slot) {
            Some(Slot::Dialer(dialer)) => Some(dialer),
            _ => None,
        }
    }

    /// Looks the name up (again) and tries every address.
    fn begin_round(&mut self, slot: usize) {
        let handle = self.handle.clone();
        let pool = self.pool.upgrade();
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        dialer.state = State::Resolving;
        let id = dialer.id;
        match (
            dialer.endpoint.address(),
            dialer.endpoint.address().tcp_target(),
        ) {
            (_, Some(target)) => {
                let (host, port) = (target.host_text().unwrap_or_default(), target.port);
                let family = Family::with_ipv6(dialer.port.config.tcp.ipv6);
                let answer = move |result| handle.post(Command::Resolved { slot, id, result });
                match pool {
                    Some(pool) => pool.resolver().resolve(&host, port, family, answer),
                    None => answer(Err(io::ErrorKind::NotConnected.into())),
                }
            }
            (Address::Ipc(address), _) => {
                let target = ConnectTarget::Ipc(address.clone());
                self.attempt(slot, &target);
            }
            _ => {
                debug_assert!(false, "inproc needs no I/O thread");
            }
        }
    }

    pub(super) fn resolved(
        &mut self,
        slot: usize,
        id: EndpointId,
        result: io::Result<Vec<SocketAddr>>,
    ) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        if dialer.id != id || !matches!(dialer.state, State::Resolving) {
            return;
        }
        match result {
            Ok(addresses) => {
                dialer.addresses = addresses.into();
                self.next_address(slot, None);
            }
            Err(error) => {
                let reason = unresolved(&dialer.endpoint, &error);
                self.attempt_failed(slot, reason);
            }
        }
    }

    /// Tries the next address of this round; if none is left, the round has failed for `reason`.
    fn next_address(&mut self, slot: usize, reason: Option<DisconnectReason>) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let Some(address) = dialer.addresses.pop_front() else {
            let reason = reason.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound).into());
            self.round_failed(slot, reason);
            return;
        };
        let target = match dialer.endpoint.address() {
            Address::Tcp(endpoint) => ConnectTarget::tcp(endpoint, address),
            #[cfg(feature = "ws")]
            Address::Ws(_) => Ok(ConnectTarget::Tcp {
                addr: address,
                source: None,
            }),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        match target {
            Ok(target) => self.attempt(slot, &target),
            Err(error) => self.attempt_failed(slot, error.into()),
        }
    }

    fn attempt(&mut self, slot: usize, target: &ConnectTarget) {
        let registry_handle = self.handle.clone();
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let started = start_connect(target, &dialer.port.config).and_then(|stream| {
            registry_handle.registry().register(
                &mut SourceFd(&stream.raw_fd()),
                MioToken(slot),
                Interest::WRITABLE,
            )?;
            Ok(stream)
        });
        match started {
            Ok(stream) => {
                let deadline = dialer
                    .port
                    .config
                    .connect_timeout
                    .and_then(|timeout| clock::now().checked_add(timeout));
                dialer.state = State::Connecting { stream, deadline };
                self.retime_dialer(slot);
                // A local connect may be complete already.
                self.connect_progress(slot);
            }
            Err(error) => self.attempt_failed(slot, error.into()),
        }
    }

    /// Looks whether a pending connect is done.
    pub(super) fn connect_progress(&mut self, slot: usize) {
        let handle = self.handle.clone();
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let State::Connecting { stream, .. } = &dialer.state else {
            return;
        };
        match stream.finish_connect() {
            Ok(false) => {}
            Ok(true) => {
                let _ = handle
                    .registry()
                    .deregister(&mut SourceFd(&stream.raw_fd()));
                let State::Connecting { stream, .. } =
                    std::mem::replace(&mut dialer.state, State::Resolving)
                else {
                    return;
                };
                let (port, endpoint) = (Arc::clone(&dialer.port), dialer.endpoint.clone());
                dialer.addresses.clear();
                let (link_slot, id) = self.connected(slot, port, endpoint, stream);
                if let Some(dialer) = self.dialer(slot) {
                    dialer.state = State::Connected(link_slot, id);
                }
                self.retime_dialer(slot);
                self.start_link(link_slot);
            }
            Err(error) => {
                let _ = handle
                    .registry()
                    .deregister(&mut SourceFd(&stream.raw_fd()));
                self.attempt_failed(slot, error.into());
            }
        }
    }

    /// One address did not work.
    fn attempt_failed(&mut self, slot: usize, reason: DisconnectReason) {
        if let Some(dialer) = self.dialer(slot) {
            dialer.state = State::Resolving;
            dialer.port.monitors.report(|| SocketEvent::ConnectFailed {
                endpoint: dialer.endpoint.clone(),
                reason: reason.clone(),
            });
        }
        self.next_address(slot, Some(reason));
    }

    /// No address worked, or the connection was lost: wait, and begin again.
    fn round_failed(&mut self, slot: usize, _reason: DisconnectReason) {
        self.retry(slot);
    }

    fn retry(&mut self, slot: usize) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        if dialer.closing.is_some() && dialer.is_drained() {
            self.end_dialer(slot);
            return;
        }
        match dialer.backoff.next_delay(random()) {
            Some(delay) => {
                dialer.state = State::Waiting {
                    until: clock::now() + delay,
                };
                dialer.port.monitors.report(|| SocketEvent::ConnectRetried {
                    endpoint: dialer.endpoint.clone(),
                    delay,
                });
                self.retime_dialer(slot);
            }
            None => self.end_dialer(slot),
        }
    }

    pub(super) fn dialer_timeout(&mut self, slot: usize, now: Instant) {
        let handle = self.handle.clone();
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        if dialer
            .closing
            .flatten()
            .is_some_and(|deadline| deadline <= now)
            && !matches!(dialer.state, State::Connected(..))
        {
            self.end_dialer(slot);
            return;
        }
        match &dialer.state {
            State::Waiting { until } if *until <= now => self.begin_round(slot),
            State::Connecting { stream, deadline } if deadline.is_some_and(|at| at <= now) => {
                let _ = handle
                    .registry()
                    .deregister(&mut SourceFd(&stream.raw_fd()));
                let timeout = dialer.port.config.connect_timeout.unwrap_or_default();
                self.attempt_failed(slot, DisconnectReason::ConnectTimeout { timeout });
            }
            _ => self.retime_dialer(slot),
        }
    }

    fn retime_dialer(&mut self, slot: usize) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let own = match &dialer.state {
            State::Connecting { deadline, .. } => *deadline,
            State::Waiting { until } => Some(*until),
            State::Resolving | State::Connected(..) => None,
        };
        let closing = dialer
            .closing
            .flatten()
            .filter(|_| !matches!(dialer.state, State::Connected(..)));
        let at = [own, closing].into_iter().flatten().min();
        self.timers.set(slot, at);
    }

    /// The key of the pipes that wait for a connection, and what the peer is to be called.
    pub(super) fn dialer_peer(&mut self, slot: usize) -> (Option<PipeKey>, Option<RoutingId>) {
        match self.dialer(slot) {
            Some(dialer) => (
                dialer.ends.as_ref().map(|ends| ends.key),
                dialer.name.clone(),
            ),
            None => (None, None),
        }
    }

    /// The connection's handshake is done: it takes the pipes, and the back-off begins anew.
    pub(super) fn dialer_ready(&mut self, slot: usize) -> Option<PipeEnds> {
        let dialer = self.dialer(slot)?;
        dialer.backoff.reset();
        dialer.ends.take()
    }

    /// Whether and until when a dialer's connection is to be drained.
    pub(super) fn dialer_closing(&mut self, slot: usize) -> Option<Option<Instant>> {
        self.dialer(slot)?.closing
    }

    /// Whether nothing waits to be sent while there is no connection.
    pub(super) fn dialer_is_drained(&mut self, slot: usize) -> bool {
        self.dialer(slot).map_or(true, DialerSlot::is_drained)
    }

    /// The connection is lost: the pipes come back, and the dialer tries again, unless `last`.
    pub(super) fn dialer_lost(&mut self, slot: usize, ends: Option<PipeEnds>, last: bool) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        if ends.is_some() {
            dialer.ends = ends;
        }
        dialer.state = State::Resolving;
        if last {
            self.end_dialer(slot);
            return;
        }
        Counters::add(&dialer.port.counters.reconnects, 1);
        self.retry(slot);
    }

    /// Begins to close: at once if nothing is left to send, else by the deadline.
    pub(super) fn close_dialer(&mut self, slot: usize, deadline: Option<Instant>) {
        let now = clock::now();
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        dialer.closing = Some(deadline);
        match dialer.state {
            State::Connected(link, id) => {
                if self.link(link, id).is_some() {
                    self.close_link_gently(link, deadline);
                } else {
                    self.end_dialer(slot);
                }
            }
            _ => {
                if dialer.is_drained() || deadline.is_some_and(|at| at <= now) {
                    self.end_dialer(slot);
                } else {
                    self.retime_dialer(slot);
                }
            }
        }
    }

    /// The end of an endpoint: its pipes go, what they hold unsent is counted (or, while the socket
    /// lives on, given back to it).
    pub(super) fn end_dialer(&mut self, slot: usize) {
        let Slot::Dialer(mut dialer) = self.free_slot(slot) else {
            return;
        };
        if let State::Connecting { stream, .. } = &dialer.state {
            let _ = self
                .handle
                .registry()
                .deregister(&mut SourceFd(&stream.raw_fd()));
        }
        if let Some(ends) = dialer.ends.take() {
            // Not whether the dialer is closing: after a disconnect PUSH sends the rest to others.
            let gone = dialer.port.is_closing();
            release_ends(&dialer.port, ends, gone);
        }
        dialer.port.monitors.report(|| SocketEvent::Closed {
            endpoint: dialer.endpoint.clone(),
        });
    }
}

impl DialerSlot {
    fn is_drained(&mut self) -> bool {
        match &mut self.ends {
            Some(PipeEnds {
                reader: Some(reader),
                ..
            }) => !reader.has_data(),
            _ => true,
        }
    }
}

/// Ends the pipes of a peer that will not come back.
pub(super) fn release_ends(port: &Arc<Port>, ends: PipeEnds, closing: bool) {
    let PipeEnds {
        key,
        reader,
        writer,
    } = ends;
    if closing {
        let unsent = reader.as_ref().map_or(0, Reader::queued_messages);
        Counters::add(&port.counters.unsent, unsent);
    }
    let flow = port.flow();
    if flow.sends {
        port.end_out(key, reader);
    }
    // The in-pipe is closed first: the socket then knows that what it holds is all.
    drop(writer);
    if flow.receives {
        port.end_in(key, None);
    }
}

/// The system's words for a name it does not know do not name it.
fn unresolved(endpoint: &Endpoint, error: &io::Error) -> DisconnectReason {
    let target = endpoint.address().tcp_target();
    let host = target.and_then(HostPort::host_text);
    DisconnectReason::Io {
        kind: error.kind(),
        message: format!(
            "the host `{}` does not resolve, expected an address or a name that the system knows: {error}",
            host.unwrap_or_default()
        )
        .into(),
    }
}
