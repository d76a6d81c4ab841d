//! What every socket has: endpoints, a monitor, counters, and an end.

use std::any::Any;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::deadline::Deadline;
use super::task;
use crate::config::{OptionError, SocketConfig};
use crate::context::Context;
use crate::endpoint::{Endpoint, EndpointError, ToEndpoint, Transport};
use crate::error::{BindError, ConnectError, UnknownEndpoint, WaitEnd, WaitTimeout};
use crate::io::{
    adopt_listener, adopt_stream, bind_datagrams, bind_stream, connect_datagrams, dial_ends,
    next_id, numeric_forms, AdoptError, Command, Counters, DisconnectReason, EndpointId,
    InprocError, InprocId, IoHandle, Link, NoHooks, PipeKey, PlaceError, Port, Settings,
    SocketEvent,
};
use crate::message::RoutingId;
use crate::socket_type::SocketType;
use crate::sync::atomic::Ordering;
use crate::sync::{clock, Event, Place as ContextPlace};

/// See the module.
#[derive(Debug)]
pub struct Shell {
    pub(super) port: Arc<Port>,
    /// As they are for what is bound and connected from now on.
    pub(super) settings: Arc<Settings>,
    /// Options of the kind alone, unless they are the default ones.
    kind: Option<Box<dyn Any + Send + Sync>>,
    context: Context,
    entries: Vec<Entry>,
    /// Of the last bind or connect.
    last: Option<EndpointId>,
    closed: bool,
    /// Of a context that counts its sockets.
    _place: Option<ContextPlace>,
}

#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    bound: bool,
    /// Of the pipe made for it when it was connected to.
    key: Option<PipeKey>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Stream {
        id: EndpointId,
        home: IoHandle,
        /// Of what connects, until it has ended.
        alive: Option<Weak<()>>,
    },
    Inproc(EndpointId, InprocId),
}

impl Place {
    fn id(&self) -> EndpointId {
        match self {
            Place::Stream { id, .. } | Place::Inproc(id, _) => *id,
        }
    }

    fn is_alive(&self) -> bool {
        match self {
            Place::Stream {
                alive: Some(alive), ..
            } => alive.strong_count() > 0,
            _ => true,
        }
    }
}

/// What becomes of the connections that were accepted at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    Close,
    Keep,
}

/// What a socket could not get rid of before it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CloseReport {
    /// Messages that were accepted by `send` and had not left this process when the linger time was
    /// over (or their peer was lost). They are gone.
    ///
    /// Over inproc, what the peer has not read yet is not among them, for it still can; what was
    /// queued for a name that nobody is bound to is, and is not waited for.
    pub unsent: u64,
}

impl Shell {
    pub(super) fn new(port: Arc<Port>, context: Context) -> Self {
        context.pool().enroll(&port);
        Shell {
            settings: port.settings(),
            kind: None,
            port,
            context,
            entries: Vec::new(),
            last: None,
            closed: false,
            _place: None,
        }
    }

    /// Keeps its place in the context for as long as the socket lives.
    pub(super) fn hold(&mut self, place: Option<ContextPlace>) {
        self._place = place;
    }

    /// Options of the kind alone, for as long as the socket lives.
    pub(super) fn remember(&mut self, kind: Box<dyn Any + Send + Sync>) {
        self.kind = Some(kind);
    }

    /// The options of the kind alone; the default ones if there are no others.
    pub(super) fn kind_options<O: Default + Clone + 'static>(&self) -> O {
        let known = self.kind.as_ref().and_then(|kind| kind.downcast_ref::<O>());
        known.cloned().unwrap_or_default()
    }

    /// Whether these can be the options from now on.
    pub(super) fn check(&self, config: &SocketConfig) -> Result<(), OptionError> {
        config.validate()?;
        self.settings.config.allows(config)
    }

    /// From now on these are the options; of some, for what is bound and connected from now on.
    ///
    /// # Errors
    /// If one has an impossible value, or is for the whole life of a socket.
    pub(super) fn reconfigure(&mut self, mut config: SocketConfig) -> Result<(), OptionError> {
        self.check(&config)?;
        // What is queued for one raw connection is of no use to the next.
        config.immediate |= self.port.socket_type == SocketType::Stream;
        self.settings = Settings::new(self.port.socket_type, config);
        self.port.change_settings(&self.settings);
        Ok(())
    }

    pub(super) fn bind(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, BindError> {
        let endpoint = endpoint.to_endpoint()?;
        endpoint.check_bind()?;
        self.check_binds()?;
        let port = &self.port;
        if let Some(expected) = self.unfit_to_bind(&endpoint) {
            return Err(BindError::Transport {
                endpoint,
                socket: port.socket_type,
                expected,
            });
        }
        if !carries(port.socket_type, &endpoint) {
            return Err(BindError::Endpoint(EndpointError::NotBindable {
                input: endpoint.to_string().into(),
                expected: RAW,
            }));
        }
        let failed = |source: io::Error| {
            let endpoint = endpoint.clone();
            port.report(|| SocketEvent::BindFailed {
                endpoint: endpoint.clone(),
                reason: DisconnectReason::Io {
                    kind: source.kind(),
                    message: source.to_string().into(),
                },
            });
            match source.kind() {
                io::ErrorKind::AddrInUse => BindError::InUse { endpoint },
                _ => BindError::Io { endpoint, source },
            }
        };
        if let Some(name) = inproc_name(&endpoint) {
            let id = EndpointId(next_id());
            let bound = self
                .context
                .names()
                .bind(name, &endpoint, port, id)
                .map_err(|_| failed(io::ErrorKind::AddrInUse.into()))?;
            self.enter(Entry {
                endpoint: endpoint.clone(),
                bound: true,
                key: None,
                place: Place::Inproc(id, bound),
            });
            return Ok(endpoint);
        }
        let pool = self.context.pool();
        let home = pool
            .place(self.settings.config.affinity)
            .map_err(|error| unplaced_bind(error, failed))?;
        let id = EndpointId(next_id());
        let real = match endpoint.transport() {
            Transport::Udp => bind_datagrams(&endpoint, port, &home, id),
            _ => bind_stream(&endpoint, port, &home, id),
        };
        let real = real.map_err(failed)?;
        self.enter(Entry {
            endpoint: real.clone(),
            bound: true,
            key: None,
            place: Place::Stream {
                id,
                home,
                alive: None,
            },
        });
        Ok(real)
    }

    /// Listens on a socket of the application's.
    pub(super) fn bind_listener(&mut self, fd: OwnedFd) -> Result<Endpoint, BindError> {
        self.check_binds()?;
        let adopt = |source| BindError::Adopt { source };
        let port = &self.port;
        let pool = self.context.pool();
        let home = pool
            .place(self.settings.config.affinity)
            .map_err(|error| unplaced_bind(error, adopt))?;
        let id = EndpointId(next_id());
        let endpoint = adopt_listener(fd, port, &home, id).map_err(|error| match error {
            AdoptError::Unfit { given, expected } => BindError::NotAListener { given, expected },
            AdoptError::Io(source) => adopt(source),
        })?;
        self.enter(Entry {
            endpoint: endpoint.clone(),
            bound: true,
            key: None,
            place: Place::Stream {
                id,
                home,
                alive: None,
            },
        });
        Ok(endpoint)
    }

    /// Uses a connection of the application's.
    pub(super) fn connect_stream(&mut self, fd: OwnedFd) -> Result<Endpoint, ConnectError> {
        self.check_connects()?;
        let adopt = |source| ConnectError::Adopt { source };
        let port = &self.port;
        let pool = self.context.pool();
        let home = pool
            .place(self.settings.config.affinity)
            .map_err(|error| unplaced_connect(error, adopt))?;
        let id = EndpointId(next_id());
        let endpoint = adopt_stream(fd, port, &home, id).map_err(|error| match error {
            AdoptError::Unfit { given, expected } => ConnectError::NotAStream { given, expected },
            AdoptError::Io(source) => adopt(source),
        })?;
        self.enter(Entry {
            endpoint: endpoint.clone(),
            bound: false,
            key: None,
            place: Place::Stream {
                id,
                home,
                alive: None,
            },
        });
        Ok(endpoint)
    }

    pub(super) fn connect(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, ConnectError> {
        let endpoint = self.connectable(endpoint)?;
        if self.is_dialing(&endpoint) {
            return Ok(endpoint);
        }
        self.connect_to(endpoint, None)
    }

    /// Whether there is a connection to this endpoint, or is to be, and this kind of socket has one at most:
    /// a second one would bring everything twice, or take two turns.
    fn is_dialing(&mut self, endpoint: &Endpoint) -> bool {
        use SocketType::{Dealer, Pub, Req, Sub};
        if !matches!(self.port.socket_type, Dealer | Pub | Req | Sub) {
            return false;
        }
        // One that has ended for good can be made anew.
        self.entries.retain(|entry| entry.place.is_alive());
        self.tell_endpoints();
        let mut connected = self.entries.iter().filter(|entry| !entry.bound);
        let dialing = connected.find(|entry| {
            matches!(entry.place, Place::Stream { alive: Some(_), .. })
                && entry.endpoint == *endpoint
        });
        let id = dialing.map(|entry| entry.place.id());
        self.last = id.or(self.last);
        id.is_some()
    }

    /// The endpoint, if this socket can connect to it.
    pub(super) fn connectable(&self, endpoint: impl ToEndpoint) -> Result<Endpoint, ConnectError> {
        let endpoint = endpoint.to_endpoint()?;
        endpoint.check_connect()?;
        self.check_connects()?;
        if !carries(self.port.socket_type, &endpoint) {
            return Err(ConnectError::Endpoint(EndpointError::NotConnectable {
                input: endpoint.to_string().into(),
                expected: RAW,
            }));
        }
        Ok(endpoint)
    }

    /// Connects to a peer that is to be called `name` here, if any: its pipe, if it is made now, has the
    /// key that is given with the name.
    pub(super) fn connect_to(
        &mut self,
        endpoint: Endpoint,
        name: Option<(Option<PipeKey>, RoutingId)>,
    ) -> Result<Endpoint, ConnectError> {
        let (key, name) = name.map_or((None, None), |(key, name)| (key, Some(name)));
        self.connect_by(endpoint, key, name)
    }

    /// Connects, through the pipe of a key that was made before, to a peer that is to be called `name`.
    pub(super) fn connect_by(
        &mut self,
        endpoint: Endpoint,
        key: Option<PipeKey>,
        name: Option<RoutingId>,
    ) -> Result<Endpoint, ConnectError> {
        let port = &self.port;
        if let Err(error) = self.check_target(&endpoint) {
            key.into_iter().for_each(|key| port.abandon_key(key));
            return Err(error);
        }
        // Datagrams have a way at once, whoever is there.
        let is_udp = endpoint.transport() == Transport::Udp;
        let now = !self.settings.config.immediate || is_udp || inproc_name(&endpoint).is_some();
        let key = key.or_else(|| now.then(|| port.new_key()));
        if let Some(key) = key.filter(|key| !port.hooks.reserve(*key)) {
            port.abandon_key(key);
            return Err(ConnectError::Occupied { endpoint });
        }
        let failed = |source: io::Error| ConnectError::Io {
            endpoint: endpoint.clone(),
            source,
        };
        let place = if let Some(name) = inproc_name(&endpoint) {
            let key = key.unwrap_or_else(|| port.new_key());
            let id = EndpointId(next_id());
            let names = self.context.names();
            let connected = names.connect(name, &endpoint, port, key, id);
            let connected = connected.map_err(|error| match error {
                InprocError::Incompatible { ours, theirs } => ConnectError::Incompatible {
                    endpoint: endpoint.clone(),
                    ours,
                    theirs,
                },
                InprocError::DuplicateRoutingId(routing_id) => ConnectError::DuplicateRoutingId {
                    endpoint: endpoint.clone(),
                    routing_id: Box::new(routing_id),
                },
                InprocError::Occupied => ConnectError::Occupied {
                    endpoint: endpoint.clone(),
                },
                InprocError::TooManyConnections { limit } => ConnectError::TooManyConnections {
                    endpoint: endpoint.clone(),
                    limit,
                },
                InprocError::NameTaken => failed(io::ErrorKind::AddrInUse.into()),
            });
            Place::Inproc(id, connected?)
        } else {
            let pool = self.context.pool();
            let abandon = || key.into_iter().for_each(|key| port.abandon_key(key));
            let home = pool.place(self.settings.config.affinity).map_err(|error| {
                abandon();
                unplaced_connect(error, failed)
            })?;
            let id = EndpointId(next_id());
            let alive = Arc::default();
            let dialing = Arc::downgrade(&alive);
            if let Some(key) = key.filter(|_| is_udp) {
                connect_datagrams(&endpoint, port, &home, id, key).map_err(|error| {
                    abandon();
                    failed(error)
                })?;
            } else {
                home.post(Command::Dial {
                    port: Arc::clone(port),
                    settings: Arc::clone(&self.settings),
                    endpoint: endpoint.clone(),
                    id,
                    ends: dial_ends(port, key),
                    name,
                    alive,
                    lease: port.lease(),
                });
            }
            Place::Stream {
                id,
                home,
                alive: (!is_udp).then_some(dialing),
            }
        };
        self.enter(Entry {
            endpoint: endpoint.clone(),
            bound: false,
            key,
            place,
        });
        Ok(endpoint)
    }

    /// Whether any endpoint of this socket is one of datagrams.
    pub(super) fn has_datagrams(&self) -> bool {
        // A part knows of no entries.
        self.port.has_datagrams()
    }

    /// Whether this socket can be bound to anything at all.
    fn check_binds(&self) -> Result<(), BindError> {
        match end_of(&self.port) {
            WaitEnd::Terminated => Err(BindError::Terminated),
            WaitEnd::Closed => Err(BindError::Closed),
            WaitEnd::Timeout => Ok(()),
        }
    }

    /// As [`Shell::check_binds`], to be connected.
    fn check_connects(&self) -> Result<(), ConnectError> {
        match end_of(&self.port) {
            WaitEnd::Terminated => Err(ConnectError::Terminated),
            WaitEnd::Closed => Err(ConnectError::Closed),
            WaitEnd::Timeout => Ok(()),
        }
    }

    /// Whether this socket can be connected to such an endpoint.
    fn check_target(&self, endpoint: &Endpoint) -> Result<(), ConnectError> {
        let port = &self.port;
        if let Some(expected) = self.unfit_to_connect(endpoint) {
            return Err(ConnectError::Transport {
                endpoint: endpoint.clone(),
                socket: port.socket_type,
                expected,
            });
        }
        if self.settings.config.tcp.socks.is_some() {
            endpoint.check_proxied()?;
        }
        Ok(())
    }

    /// What this socket could bind to instead, if not to this endpoint.
    fn unfit_to_bind(&self, endpoint: &Endpoint) -> Option<&'static str> {
        match (self.port.socket_type, endpoint.transport()) {
            (SocketType::Dgram, Transport::Udp) if self.entries.is_empty() => None,
            (SocketType::Dgram, Transport::Udp) => Some("one endpoint at a time"),
            (SocketType::Dgram, _) => Some("`udp://`"),
            (SocketType::Dish, Transport::Udp) => None,
            (_, Transport::Udp) => Some("another transport, as `udp://` is for DGRAM and DISH"),
            _ => None,
        }
    }

    /// What this socket could connect to instead, if not to this endpoint.
    fn unfit_to_connect(&self, endpoint: &Endpoint) -> Option<&'static str> {
        match (self.port.socket_type, endpoint.transport()) {
            (SocketType::Dgram, _) => Some("nothing: each datagram names its target"),
            (SocketType::Radio, Transport::Udp) => None,
            (_, Transport::Udp) => Some("another transport, as `udp://` is for RADIO"),
            _ => None,
        }
    }

    /// Ends everything bound (or connected) under this endpoint.
    pub(super) fn close_endpoint(
        &mut self,
        endpoint: impl ToEndpoint,
        bound: bool,
    ) -> Result<(), UnknownEndpoint> {
        self.close_named(endpoint.to_endpoint()?, bound, Accepted::Close)
    }

    /// Ends everything under this endpoint, or if there is nothing, under the first of those with an address that
    /// its host stands for: what is bound by a name is here by its address. That may look a name up.
    fn close_named(
        &mut self,
        endpoint: Endpoint,
        bound: bool,
        accepted: Accepted,
    ) -> Result<(), UnknownEndpoint> {
        let mut close = |endpoint: &Endpoint| {
            let wanted = |entry: &Entry| entry.bound == bound && entry.endpoint == *endpoint;
            self.close_entries(wanted, accepted)
        };
        match close(&endpoint) || numeric_forms(&endpoint).iter().any(close) {
            true => Ok(()),
            false => Err(UnknownEndpoint::NotHere { endpoint }),
        }
    }

    /// Ends what one bind (or connect) has begun.
    pub(super) fn close_id(&mut self, id: EndpointId, bound: bool) -> Result<(), UnknownEndpoint> {
        let wanted = |entry: &Entry| entry.bound == bound && entry.place.id() == id;
        match self.close_entries(wanted, Accepted::Close) {
            true => Ok(()),
            false => Err(UnknownEndpoint::NoSuchId { id }),
        }
    }

    /// Accepts no more connections at this endpoint. Those that were stay.
    pub(super) fn stop_accepting(
        &mut self,
        endpoint: impl ToEndpoint,
    ) -> Result<(), UnknownEndpoint> {
        self.close_named(endpoint.to_endpoint()?, true, Accepted::Keep)
    }

    /// Names the last successful bind or connect.
    pub(super) fn last_endpoint_id(&self) -> Option<EndpointId> {
        self.last
    }

    /// Ends the connection to one peer; `link` is what is known of it where it is sent to.
    pub(super) fn close_peer(&mut self, key: PipeKey, link: Option<Arc<Link>>) {
        if self.close_entries(|entry| entry.key == Some(key), Accepted::Close) {
            return;
        }
        match link {
            Some(link) => link.close_gently(self.settings.config.linger),
            None => {
                let reason = DisconnectReason::ClosedLocally;
                self.port.inproc.disconnect(&self.port, key, &reason);
            }
        }
    }

    /// Ends everything bound or connected under certain entries; whether there are any.
    fn close_entries(&mut self, wanted: impl Fn(&Entry) -> bool, accepted: Accepted) -> bool {
        let linger = self.settings.config.linger;
        let before = self.entries.len();
        let (port, context) = (&self.port, &self.context);
        self.entries.retain(|entry| {
            if !wanted(entry) {
                return true;
            }
            match &entry.place {
                Place::Inproc(id, inproc) => {
                    if let Some(name) = inproc_name(&entry.endpoint) {
                        let of = (&entry.endpoint, *id);
                        context.names().close(name, of, *inproc, port);
                    }
                }
                Place::Stream { id, home, .. } => {
                    // The listener first, and its address is free when this returns. Connections that
                    // it accepted may be on any thread, and are on their way there by then.
                    let done = Arc::new(Event::new());
                    let connections = accepted == Accepted::Close;
                    home.post(Command::CloseEndpoint {
                        id: *id,
                        connections,
                        linger,
                        done: Some(Arc::clone(&done)),
                    });
                    done.wait(None);
                    for thread in context.pool().started() {
                        if connections && !thread.is_same(home) {
                            thread.post(Command::CloseEndpoint {
                                id: *id,
                                connections,
                                linger,
                                done: None,
                            });
                        }
                    }
                }
            }
            false
        });
        self.tell_endpoints();
        self.entries.len() < before
    }

    fn enter(&mut self, entry: Entry) {
        self.last = Some(entry.place.id());
        self.entries.push(entry);
        self.tell_endpoints();
    }

    /// For who asks what the context still waits for.
    fn tell_endpoints(&self) {
        let endpoints = self.entries.iter().map(|entry| entry.endpoint.clone());
        self.port.set_endpoints(endpoints.collect());
    }

    pub(super) fn endpoints(&self, bound: bool) -> Vec<Endpoint> {
        let of_kind = self.entries.iter().filter(|entry| entry.bound == bound);
        of_kind.map(|entry| entry.endpoint.clone()).collect()
    }

    /// Sleeps on the sending half's event until there are enough.
    pub(super) fn wait_until(
        &self,
        what: &'static str,
        wanted: usize,
        timeout: Duration,
        mut present: impl FnMut() -> usize,
    ) -> Result<(), WaitTimeout> {
        let deadline = clock::now().checked_add(timeout);
        let mut notified = true;
        loop {
            let now = present();
            if now >= wanted {
                return Ok(());
            }
            if !notified || self.port.is_terminated() {
                return Err(WaitTimeout {
                    what,
                    present: now,
                    wanted,
                    reason: end_of(&self.port),
                });
            }
            notified = self.port.outbound.event().wait(deadline);
        }
    }

    /// Whether there are enough; waits for more as the deadline of a task allows.
    pub(super) fn reaches(
        &self,
        wanted: usize,
        deadline: Deadline,
        mut present: impl FnMut() -> usize,
    ) -> bool {
        loop {
            if present() >= wanted || self.port.is_terminated() {
                return true;
            }
            if !deadline.sleep_on(self.port.outbound.event()) {
                return present() >= wanted;
            }
        }
    }

    /// The shell of a part of this socket: it has the same port, and ends nothing.
    pub(super) fn inert(&self) -> Shell {
        Shell {
            port: Arc::clone(&self.port),
            settings: Arc::clone(&self.settings),
            kind: None,
            context: self.context.clone(),
            entries: Vec::new(),
            last: None,
            closed: true,
            _place: None,
        }
    }

    /// A port like that of this socket that nobody is bound or connected to.
    pub(super) fn idle_port(&self) -> Arc<Port> {
        Port::new(
            self.port.socket_type,
            SocketConfig::default(),
            Arc::new(NoHooks),
            Arc::clone(self.context.pool()),
        )
    }

    /// Counts messages that were not sent, since there was nobody for them.
    pub(super) fn forget_unsent(&self, messages: u64) {
        Counters::add(&self.port.counters.unsent, messages);
    }

    /// When a close that begins now gives up what is unsent.
    pub(super) fn linger_deadline(&self) -> Option<Instant> {
        self.port.linger_deadline()
    }

    /// Begins the end: nothing is accepted or received any more, what is queued is sent until the
    /// deadline.
    pub(super) fn begin_close(&mut self, deadline: Option<Instant>) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.port.set_closing();
        self.port.discard_inbound();
        let names = self.context.names();
        for entry in &self.entries {
            let name = inproc_name(&entry.endpoint);
            if let (Place::Inproc(id, inproc), Some(name)) = (&entry.place, name) {
                names.close(name, (&entry.endpoint, *id), *inproc, &self.port);
            }
        }
        self.port.inproc.disconnect_all(&self.port);
        for thread in self.context.pool().started() {
            thread.post(Command::CloseSocket {
                port: Arc::clone(&self.port),
                deadline,
            });
        }
    }

    /// Closes and waits until everything is sent, or the deadline has passed.
    pub(super) fn close(&mut self, deadline: Option<Instant>) -> CloseReport {
        self.begin_close(deadline);
        await_closed(&self.port)
    }

    /// As [`Shell::close`], for a task.
    pub(super) async fn close_async(&mut self, deadline: Option<Instant>) -> CloseReport {
        self.begin_close(deadline);
        let port = &self.port;
        task::until(None, |time| loop {
            if port.lease_count() == 0 {
                return true;
            }
            if !time.sleep_on(port.released()) {
                return port.lease_count() == 0;
            }
        })
        .await;
        report(port)
    }
}

/// Waits for the end of a close that has begun. One at a time.
pub(super) fn await_closed(port: &Port) -> CloseReport {
    while port.lease_count() > 0 {
        port.released().wait(None);
    }
    report(port)
}

fn report(port: &Port) -> CloseReport {
    CloseReport {
        unsent: port.counters.unsent.load(Ordering::Acquire),
    }
}

/// Why who waited for peers does so no more.
pub(super) fn end_of(port: &Port) -> WaitEnd {
    if port.is_terminated() {
        WaitEnd::Terminated
    } else if port.is_closing() {
        WaitEnd::Closed
    } else {
        WaitEnd::Timeout
    }
}

/// What a socket that closes does with each of its halves.
pub(super) trait Ending {
    /// Sends what it takes a call of the application's to send; `false` if the time was over before.
    fn flush(&mut self, deadline: Deadline) -> bool {
        let _ = deadline;
        true
    }

    /// Forgets every pipe, so that their other ends see the end. How many messages there was nobody for.
    fn finish(&mut self) -> u64;
}

impl Drop for Shell {
    fn drop(&mut self) {
        let deadline = self.linger_deadline();
        self.begin_close(deadline);
    }
}

/// Whether a transport carries what a socket of this type sends.
fn carries(socket_type: SocketType, endpoint: &Endpoint) -> bool {
    socket_type != SocketType::Stream
        || matches!(endpoint.transport(), Transport::Tcp | Transport::Ipc)
}

const RAW: &str = "`tcp://` or `ipc://` for a STREAM socket, or a raw ROUTER";

pub(super) fn inproc_name(endpoint: &Endpoint) -> Option<&str> {
    match endpoint.transport() {
        Transport::Inproc => endpoint.inproc_name(),
        _ => None,
    }
}

/// Why there is no thread to bind on.
fn unplaced_bind(error: PlaceError, other: impl FnOnce(io::Error) -> BindError) -> BindError {
    match error {
        PlaceError::NoneAllowed { affinity, threads } => {
            BindError::NoIoThread { affinity, threads }
        }
        PlaceError::Io(source) => other(source),
    }
}

/// As [`unplaced_bind`].
fn unplaced_connect(
    error: PlaceError,
    other: impl FnOnce(io::Error) -> ConnectError,
) -> ConnectError {
    match error {
        PlaceError::NoneAllowed { affinity, threads } => {
            ConnectError::NoIoThread { affinity, threads }
        }
        PlaceError::Io(source) => other(source),
    }
}
