//! Connecting, and connecting again.
//!
//! A dialer outlives its connections: it holds the pipe of a peer while there is no connection, hands
//! it to the connection it made, and takes it back when that is lost. Its back-off is reset by a
//! completed handshake and by nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Token as MioToken};

use super::events::{ConnectionId, DisconnectReason, EndpointId, SocketEvent};
use super::octets::Tries;
use super::port::{Counters, Lease, PipeKey, Port};
use super::race::{Outcome, Race};
use super::random;
use super::settings::Settings;
use super::thread::{Command, IoThread, PipeEnds, Slot};
use crate::config::Backoff;
use crate::endpoint::{Address, Endpoint, HostPort};
use crate::message::RoutingId;
use crate::pipe::Reader;
use crate::proto::ProtocolError;
use crate::sync::clock;
use crate::transport::{start_connect, ConnectTarget, Family, Stream, Tunnel, TunnelError};

/// An endpoint connected to, on its I/O thread.
pub(super) struct DialerSlot {
    pub(super) port: Arc<Port>,
    settings: Arc<Settings>,
    pub(super) endpoint: Endpoint,
    pub(super) id: EndpointId,
    /// The pipes, while no connection has them (and there are any).
    ends: Option<PipeEnds>,
    /// What the peer is to be called here.
    name: Option<RoutingId>,
    state: State,
    backoff: Backoff,
    /// Since there was a connection last.
    tries: Tries,
    /// What this round still has to try; attempts are under way in `State::Connecting` only.
    race: Race,
    /// Set when the endpoint is being closed: when to give up what is unsent.
    closing: Option<Option<Instant>>,
    alive: Arc<()>,
    _lease: Lease,
}

enum State {
    Resolving,
    Connecting,
    /// The connection to the proxy is made, the one through it is not.
    Tunnelling {
        stream: Stream,
        tunnel: Box<Tunnel>,
        /// The handshake, which this is a part of, began then.
        since: Instant,
        deadline: Option<Instant>,
    },
    Waiting {
        until: Instant,
    },
    /// The connection lives in its own slot.
    Connected(usize, ConnectionId),
}

/// How a connection of a dialer ended.
pub(super) struct Lost<'a> {
    pub(super) reason: &'a DisconnectReason,
    /// Before its handshake was complete.
    pub(super) in_handshake: bool,
}

impl IoThread {
    pub(super) fn dial(
        &mut self,
        (port, settings): (Arc<Port>, Arc<Settings>),
        endpoint: Endpoint,
        id: EndpointId,
        ends: Option<PipeEnds>,
        name: Option<RoutingId>,
        (alive, lease): (Arc<()>, Lease),
    ) {
        let backoff = Backoff::new(settings.config.reconnect);
        let slot = self.new_slot(Slot::Dialer(Box::new(DialerSlot {
            port,
            settings,
            endpoint,
            id,
            ends,
            name,
            state: State::Resolving,
            backoff,
            tries: Tries::default(),
            race: Race::default(),
            closing: None,
            alive,
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
                let server = dialer.server(target);
                let (host, port) = (server.host_text().unwrap_or_default(), server.port);
                let family = Family::with_ipv6(dialer.settings.config.tcp.ipv6);
                let answer = move |result| handle.post(Command::Resolved { slot, id, result });
                match pool {
                    Some(pool) => pool.resolver().resolve(&host, port, family, answer),
                    None => answer(Err(io::ErrorKind::NotConnected.into())),
                }
            }
            (Address::Ipc(address), _) => {
                dialer.race = Race::new([ConnectTarget::Ipc(address.clone())]);
                self.run_race(slot, None);
            }
            _ => {
                debug_assert!(false, "inproc and udp have no connections");
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
                let target = |addr| ConnectTarget::Tcp { addr, source: None };
                dialer.race = Race::new(addresses.into_iter().map(target));
                self.run_race(slot, None);
            }
            Err(error) => {
                let reason = dialer.unresolved(&error);
                dialer.tell_failure(&reason);
                self.round_failed(slot, reason);
            }
        }
    }

    /// Goes on with the attempts of this round. If there is none left, the round has failed: for the reason
    /// of the one that failed last, and that is known to be `reason` if it is over already.
    fn run_race(&mut self, slot: usize, mut reason: Option<DisconnectReason>) {
        if let Some(dialer) = self.dialer(slot) {
            dialer.state = State::Connecting;
        }
        loop {
            let now = clock::now();
            let Some(dialer) = self.dialer(slot) else {
                return;
            };
            let limit = dialer.settings.config.connect_timeout;
            let failure = if let Some(ended) = dialer.race.ended(now) {
                match ended {
                    Outcome::Connected(stream) => {
                        for loser in dialer.race.stop() {
                            self.unwatch(&loser);
                        }
                        self.reached(slot, stream);
                        return;
                    }
                    Outcome::Failed(stream, error) => {
                        self.unwatch(&stream);
                        error.into()
                    }
                    Outcome::TooLate(stream) => {
                        self.unwatch(&stream);
                        let timeout = limit.unwrap_or_default();
                        DisconnectReason::ConnectTimeout { timeout }
                    }
                }
            } else if let Some(target) = dialer.race.due(now) {
                // A local connect may be complete already: this loop looks.
                match self.attempt(slot, target, now) {
                    Ok(()) => continue,
                    Err(error) => error.into(),
                }
            } else if dialer.race.is_over() {
                let nobody = || io::Error::from(io::ErrorKind::NotFound).into();
                self.round_failed(slot, reason.unwrap_or_else(nobody));
                return;
            } else {
                self.retime_dialer(slot);
                return;
            };
            if let Some(dialer) = self.dialer(slot) {
                dialer.tell_failure(&failure);
            }
            reason = Some(failure);
        }
    }

    /// Starts one attempt.
    fn attempt(&mut self, slot: usize, target: ConnectTarget, now: Instant) -> io::Result<()> {
        let handle = self.handle.clone();
        let Some(dialer) = self.dialer(slot) else {
            return Ok(());
        };
        let from = match (dialer.endpoint.address(), &target) {
            (Address::Tcp(endpoint), ConnectTarget::Tcp { addr, .. }) => {
                &ConnectTarget::tcp(endpoint, *addr)?
            }
            _ => &target,
        };
        let stream = start_connect(from, &dialer.settings.config)?;
        handle.registry().register(
            &mut SourceFd(&stream.raw_fd()),
            MioToken(slot),
            Interest::WRITABLE,
        )?;
        let limit = dialer.settings.config.connect_timeout;
        dialer.race.start(target, stream, now, limit);
        Ok(())
    }

    /// Looks whether a pending connect is done, or goes on with the proxy.
    pub(super) fn connect_progress(&mut self, slot: usize) {
        match self.dialer(slot).map(|dialer| &dialer.state) {
            Some(State::Connecting) => self.run_race(slot, None),
            _ => self.tunnel_progress(slot),
        }
    }

    /// A connection is made, to the peer or to the proxy.
    fn reached(&mut self, slot: usize, stream: Stream) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let now = clock::now();
        let proxy = dialer.endpoint.address().tcp_target().and_then(|target| {
            let proxy = dialer.settings.config.tcp.socks.as_ref()?;
            Some(Tunnel::to(target, proxy.login.as_ref()))
        });
        let timeout = dialer.settings.config.handshake_timeout;
        match proxy {
            None => self.established(slot, stream, now),
            Some(Some(tunnel)) => {
                dialer.state = State::Tunnelling {
                    stream,
                    tunnel: Box::new(tunnel),
                    since: now,
                    deadline: timeout.and_then(|timeout| now.checked_add(timeout)),
                };
                self.enter_tunnel(slot);
            }
            // `connect` refuses such endpoints.
            Some(None) => {
                self.unwatch(&stream);
                self.failed(slot, io::Error::from(io::ErrorKind::InvalidInput).into());
            }
        }
    }

    /// From now on the proxy's answers are of interest.
    fn enter_tunnel(&mut self, slot: usize) {
        let handle = self.handle.clone();
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let State::Tunnelling { stream, .. } = &dialer.state else {
            return;
        };
        let both = Interest::READABLE | Interest::WRITABLE;
        let fd = stream.raw_fd();
        match handle
            .registry()
            .reregister(&mut SourceFd(&fd), MioToken(slot), both)
        {
            Ok(()) => {
                self.retime_dialer(slot);
                self.tunnel_progress(slot);
            }
            Err(error) => self.abandon(slot, error.into()),
        }
    }

    fn tunnel_progress(&mut self, slot: usize) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let State::Tunnelling { stream, tunnel, .. } = &mut dialer.state else {
            return;
        };
        match tunnel.advance(stream) {
            Ok(false) => {}
            Ok(true) => {
                let through = std::mem::replace(&mut dialer.state, State::Resolving);
                if let State::Tunnelling { stream, since, .. } = through {
                    self.established(slot, stream, since);
                }
            }
            Err(TunnelError::Io(error)) => self.abandon(slot, error.into()),
            Err(TunnelError::Proxy(failure)) => self.abandon(slot, failure.into()),
        }
    }

    /// The way to the peer is free: the handshake, which began at `since`, goes on.
    fn established(&mut self, slot: usize, stream: Stream, since: Instant) {
        self.unwatch(&stream);
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let served = (Arc::clone(&dialer.port), Arc::clone(&dialer.settings));
        let endpoint = (dialer.endpoint.clone(), dialer.id);
        let tries = dialer.tries;
        dialer.race = Race::default();
        let (link_slot, id) = self.connected(slot, served, endpoint, stream, (since, tries));
        if let Some(dialer) = self.dialer(slot) {
            dialer.state = State::Connected(link_slot, id);
        }
        self.retime_dialer(slot);
        self.start_link(link_slot);
    }

    /// Gives up what goes through the proxy.
    fn abandon(&mut self, slot: usize, reason: DisconnectReason) {
        if let Some(dialer) = self.dialer(slot) {
            let state = std::mem::replace(&mut dialer.state, State::Resolving);
            if let State::Tunnelling { stream, .. } = state {
                self.unwatch(&stream);
            }
        }
        self.failed(slot, reason);
    }

    fn unwatch(&self, stream: &Stream) {
        let mut source = SourceFd(&stream.raw_fd());
        let _ = self.handle.registry().deregister(&mut source);
    }

    /// The proxy that was reached is of no use: perhaps another address of it is.
    fn failed(&mut self, slot: usize, reason: DisconnectReason) {
        if let Some(dialer) = self.dialer(slot) {
            dialer.tell_failure(&reason);
        }
        self.run_race(slot, Some(reason));
    }

    /// No address worked: wait, and begin again, unless this is to be the end.
    fn round_failed(&mut self, slot: usize, reason: DisconnectReason) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let stops = dialer.settings.config.reconnect.stops();
        let stop = stops.refused || (stops.refused_after_disconnect && dialer.closing.is_some());
        if stop && dialer.is_refusal(&reason) {
            self.end_dialer(slot);
        } else {
            self.retry(slot);
        }
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
                dialer.tries.reconnects += 1;
                Counters::add(&dialer.port.counters.reconnects, 1);
                dialer.state = State::Waiting {
                    until: clock::now() + delay,
                };
                dialer.port.report(|| SocketEvent::ConnectRetried {
                    endpoint: dialer.endpoint.clone(),
                    endpoint_id: dialer.id,
                    delay,
                });
                self.retime_dialer(slot);
            }
            None => self.end_dialer(slot),
        }
    }

    pub(super) fn dialer_timeout(&mut self, slot: usize, now: Instant) {
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
            State::Connecting => self.run_race(slot, None),
            State::Tunnelling { deadline, .. } if deadline.is_some_and(|at| at <= now) => {
                let timeout = dialer.settings.config.handshake_timeout.unwrap_or_default();
                self.abandon(slot, DisconnectReason::ProxyTimeout { timeout });
            }
            _ => self.retime_dialer(slot),
        }
    }

    fn retime_dialer(&mut self, slot: usize) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        let own = match &dialer.state {
            State::Connecting => dialer.race.wake_at(),
            State::Tunnelling { deadline, .. } => *deadline,
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
        dialer.tries = Tries::default();
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

    /// The connection is lost: the pipes come back, and the dialer tries again, unless this is to be the
    /// end.
    pub(super) fn dialer_lost(&mut self, slot: usize, ends: Option<PipeEnds>, lost: &Lost<'_>) {
        let Some(dialer) = self.dialer(slot) else {
            return;
        };
        if ends.is_some() {
            dialer.ends = ends;
        }
        dialer.state = State::Resolving;
        if dialer.is_last(lost) {
            self.end_dialer(slot);
            return;
        }
        dialer.tries.handshake_failures += u64::from(lost.in_handshake);
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
        let alive = std::mem::take(&mut dialer.alive);
        for stream in dialer.race.stop() {
            self.unwatch(&stream);
        }
        if let State::Tunnelling { stream, .. } = &dialer.state {
            self.unwatch(stream);
        }
        if let Some(ends) = dialer.ends.take() {
            // Not whether the dialer is closing: after a disconnect PUSH sends the rest to others.
            let gone = dialer.port.is_closing();
            release_ends(&dialer.port, ends, gone);
        }
        // Who hears of it can connect again.
        drop(alive);
        dialer.port.report(|| SocketEvent::Closed {
            endpoint: dialer.endpoint.clone(),
            endpoint_id: dialer.id,
        });
    }
}

impl DialerSlot {
    /// Whom to connect to on the way to this target: the proxy, if there is one.
    fn server<'a>(&'a self, target: &'a HostPort) -> &'a HostPort {
        let proxy = self.settings.config.tcp.socks.as_ref();
        proxy.map_or(target, |proxy| &proxy.server)
    }

    /// One address did not work, or the look-up.
    fn tell_failure(&self, reason: &DisconnectReason) {
        self.port.report(|| SocketEvent::ConnectFailed {
            endpoint: self.endpoint.clone(),
            endpoint_id: self.id,
            reason: reason.clone(),
        });
    }

    /// The system's words for a name it does not know do not name it.
    fn unresolved(&self, error: &io::Error) -> DisconnectReason {
        let target = self.endpoint.address().tcp_target();
        let host = target.and_then(|target| self.server(target).host_text());
        DisconnectReason::Io {
            kind: error.kind(),
            message: format!(
                "the host `{}` does not resolve, expected an address or a name that the system knows: {error}",
                host.unwrap_or_default()
            )
            .into(),
        }
    }

    /// Whether the failure of an attempt says that nobody listens there. Over ipc there may be no file; over
    /// tcp the same error stands for an unknown name.
    fn is_refusal(&self, reason: &DisconnectReason) -> bool {
        match reason {
            DisconnectReason::Io { kind, .. } => match kind {
                io::ErrorKind::ConnectionRefused => true,
                io::ErrorKind::NotFound => matches!(self.endpoint.address(), Address::Ipc(_)),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether no further connection is to be made after this one.
    fn is_last(&self, lost: &Lost<'_>) -> bool {
        let stops = self.settings.config.reconnect.stops();
        match lost.reason {
            // Another connection has its place.
            DisconnectReason::Replaced => !lost.in_handshake,
            DisconnectReason::Protocol(error) if !error.is_retryable() => lost.in_handshake,
            DisconnectReason::Protocol(
                ProtocolError::TimedOut(_) | ProtocolError::Closed { .. },
            )
            | DisconnectReason::PeerClosed
            | DisconnectReason::Io { .. } => stops.failed_handshake && lost.in_handshake,
            DisconnectReason::Protocol(_) | DisconnectReason::TooLarge { .. } => {
                stops.protocol_error
            }
            _ => false,
        }
    }

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
pub(super) fn release_ends(port: &Arc<Port>, mut ends: PipeEnds, closing: bool) {
    if closing {
        let unsent = ends.reader.as_ref().map_or(0, Reader::queued_messages);
        Counters::add(&port.counters.unsent, unsent);
    }
    release_out(port, &mut ends);
    release_in(port, ends);
}

/// Ends what is sent to it.
pub(super) fn release_out(port: &Port, ends: &mut PipeEnds) {
    let reader = ends.reader.take();
    if port.flow().sends {
        port.end_out(ends.key, reader);
    }
}

/// Ends what is received from it, behind all that is there.
pub(super) fn release_in(port: &Port, ends: PipeEnds) {
    let PipeEnds { key, writer, .. } = ends;
    // The in-pipe is closed first: the socket then knows that what it holds is all.
    drop(writer);
    if port.flow().receives {
        port.end_in(key, None);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use crate::config::{ContextConfig, ReconnectPolicy, SocketConfig};
    use crate::endpoint::Endpoint;
    use crate::io::dial_ends;
    use crate::io::events::{EndpointId, SocketEvent};
    use crate::io::monitor::{Monitor, MonitorOptions};
    use crate::io::pool::IoPool;
    use crate::io::port::{NoHooks, Port};
    #[cfg(target_os = "linux")]
    use crate::io::race::tests::silent;
    use crate::io::thread::{next_id, Command};
    use crate::socket_type::SocketType;
    use crate::transport::Resolver;

    const WATCHDOG: Duration = Duration::from_secs(20);

    /// Dials a name that `lookup` knows, and shows what comes of it.
    fn dial(
        text: &str,
        lookup: impl Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> (Arc<Port>, Arc<IoPool>, Monitor) {
        let resolver = Resolver::with_lookup(WATCHDOG, move |host, _| lookup(host));
        let pool = IoPool::with_resolver(ContextConfig::default(), resolver);
        let ms = Duration::from_millis;
        let config = SocketConfig {
            reconnect: ReconnectPolicy::backoff(ms(1), ms(1)),
            ..SocketConfig::default()
        };
        let port = Port::new(
            SocketType::Push,
            config,
            Arc::new(NoHooks),
            Arc::clone(&pool),
        );
        let monitor = port.monitor(MonitorOptions::default());
        let endpoint: Endpoint = text.parse().unwrap();
        pool.place(0).unwrap().post(Command::Dial {
            port: Arc::clone(&port),
            settings: port.settings(),
            endpoint,
            id: EndpointId(next_id()),
            ends: dial_ends(&port, None),
            name: None,
            alive: Arc::default(),
            lease: port.lease(),
        });
        (port, pool, monitor)
    }

    fn close(port: &Arc<Port>, pool: &IoPool) {
        for thread in pool.started() {
            thread.post(Command::CloseSocket {
                port: Arc::clone(port),
                deadline: Some(crate::sync::clock::now()),
            });
        }
    }

    /// An address where nobody listens, held for as long as the socket lives.
    fn refusing(at: &str) -> (socket2::Socket, SocketAddr) {
        let at: SocketAddr = at.parse().unwrap();
        let domain = socket2::Domain::for_address(at);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.bind(&at.into()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, addr)
    }

    fn connected_peer(monitor: &mut Monitor) -> (String, u32) {
        let mut failures = 0;
        let event = monitor.wait_for(WATCHDOG, |event| {
            failures += u32::from(matches!(event, SocketEvent::ConnectFailed { .. }));
            matches!(event, SocketEvent::Connected { .. })
        });
        match event {
            Some(SocketEvent::Connected { peer, .. }) => (peer, failures),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_address_of_a_name_is_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let (_first, one) = refusing("127.0.0.1:0");
        let (_second, other) = refusing("127.0.0.1:0");
        let (port, pool, mut monitor) = dial("tcp://a.name:1", move |_| Ok(vec![one, other, good]));
        assert_eq!(connected_peer(&mut monitor), (good.to_string(), 2));
        close(&port, &pool);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_never_answers_holds_no_other_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        // The system would give it up after two minutes.
        let (_held, silent) = silent();
        let (_refusing, bad) = refusing("127.0.0.1:0");
        let (port, pool, mut monitor) =
            dial("tcp://a.name:1", move |_| Ok(vec![silent, bad, good]));
        assert_eq!(connected_peer(&mut monitor), (good.to_string(), 1));
        close(&port, &pool);
    }

    #[test]
    fn a_name_is_looked_up_again_for_every_attempt_and_on_no_io_thread() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let (_held, bad) = refusing("127.0.0.1:0");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let (port, pool, mut monitor) = dial("tcp://a.name:1", move |host| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            let mut log = log.lock().unwrap();
            log.push((host.to_owned(), thread));
            match log.len() {
                1 => Err(std::io::ErrorKind::TimedOut.into()),
                2 => Ok(vec![bad]),
                _ => Ok(vec![good]),
            }
        });
        assert_eq!(connected_peer(&mut monitor), (good.to_string(), 2));
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 3);
        for (host, thread) in asked.iter() {
            assert_eq!(
                (host.as_str(), thread.as_str()),
                ("a.name", "sinew-resolver")
            );
        }
        close(&port, &pool);
    }
}
