//! What every socket has: endpoints, a monitor, counters, and an end.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stats::SocketStats;
use crate::context::Context;
use crate::endpoint::{Endpoint, EndpointError, ToEndpoint, Transport};
use crate::error::{BindError, ConnectError, UnknownEndpoint, WaitTimeout};
use crate::io::{
    bind_stream, dial_ends, next_id, Command, EndpointId, InprocError, InprocId, IoHandle, Link,
    Monitor, PipeKey, Port,
};
use crate::message::RoutingId;
use crate::socket_type::SocketType;
use crate::sync::{clock, Event};

/// See the module.
#[derive(Debug)]
pub struct Shell {
    pub(super) port: Arc<Port>,
    context: Context,
    entries: Vec<Entry>,
    closed: bool,
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
    Stream { id: EndpointId, home: IoHandle },
    Inproc(InprocId),
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
        Shell {
            port,
            context,
            entries: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn bind(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, BindError> {
        let endpoint = endpoint.to_endpoint()?;
        endpoint.check_bind()?;
        let port = &self.port;
        if !carries(port.socket_type, &endpoint) {
            return Err(BindError::Endpoint(EndpointError::NotBindable {
                input: endpoint.to_string().into(),
                expected: RAW,
            }));
        }
        if let Some(name) = inproc_name(&endpoint) {
            let id = self
                .context
                .names()
                .bind(name, &endpoint, port)
                .map_err(|_| BindError::InUse {
                    endpoint: endpoint.clone(),
                })?;
            self.entries.push(Entry {
                endpoint: endpoint.clone(),
                bound: true,
                key: None,
                place: Place::Inproc(id),
            });
            return Ok(endpoint);
        }
        let failed = |source: io::Error| {
            let endpoint = endpoint.clone();
            match source.kind() {
                io::ErrorKind::AddrInUse => BindError::InUse { endpoint },
                _ => BindError::Io { endpoint, source },
            }
        };
        let pool = self.context.pool();
        let home = pool.place(port.config.affinity).map_err(failed)?;
        let id = EndpointId(next_id());
        let real = bind_stream(&endpoint, port, &home, id).map_err(failed)?;
        self.entries.push(Entry {
            endpoint: real.clone(),
            bound: true,
            key: None,
            place: Place::Stream { id, home },
        });
        Ok(real)
    }

    pub(super) fn connect(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, ConnectError> {
        let endpoint = self.connectable(endpoint)?;
        self.connect_to(endpoint, None)
    }

    /// The endpoint, if this socket can connect to it.
    pub(super) fn connectable(&self, endpoint: impl ToEndpoint) -> Result<Endpoint, ConnectError> {
        let endpoint = endpoint.to_endpoint()?;
        endpoint.check_connect()?;
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
        let now = !port.config.immediate || inproc_name(&endpoint).is_some();
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
            let connected = self.context.names().connect(name, &endpoint, port, key);
            Place::Inproc(connected.map_err(|error| match error {
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
                InprocError::NameTaken => failed(io::ErrorKind::AddrInUse.into()),
            })?)
        } else {
            let pool = self.context.pool();
            let home = pool.place(port.config.affinity).map_err(|error| {
                key.into_iter().for_each(|key| port.abandon_key(key));
                failed(error)
            })?;
            let id = EndpointId(next_id());
            home.post(Command::Dial {
                port: Arc::clone(port),
                endpoint: endpoint.clone(),
                id,
                ends: dial_ends(port, key),
                name,
                lease: port.lease(),
            });
            Place::Stream { id, home }
        };
        self.entries.push(Entry {
            endpoint: endpoint.clone(),
            bound: false,
            key,
            place,
        });
        Ok(endpoint)
    }

    /// Ends everything bound (or connected) under this endpoint.
    pub(super) fn close_endpoint(
        &mut self,
        endpoint: impl ToEndpoint,
        bound: bool,
    ) -> Result<(), UnknownEndpoint> {
        let endpoint = endpoint.to_endpoint()?;
        match self.close_entries(|entry| entry.bound == bound && entry.endpoint == endpoint) {
            true => Ok(()),
            false => Err(UnknownEndpoint::NotHere { endpoint }),
        }
    }

    /// Ends the connection to one peer; `link` is what is known of it where it is sent to.
    pub(super) fn close_peer(&mut self, key: PipeKey, link: Option<Arc<Link>>) {
        if self.close_entries(|entry| entry.key == Some(key)) {
            return;
        }
        match link {
            Some(link) => link.close_gently(self.port.config.linger),
            None => self.port.inproc.disconnect(&self.port, key),
        }
    }

    /// Ends everything bound or connected under certain entries; whether there are any.
    fn close_entries(&mut self, wanted: impl Fn(&Entry) -> bool) -> bool {
        let linger = self.port.config.linger;
        let before = self.entries.len();
        let (port, context) = (&self.port, &self.context);
        self.entries.retain(|entry| {
            if !wanted(entry) {
                return true;
            }
            match &entry.place {
                Place::Inproc(id) => {
                    if let Some(name) = inproc_name(&entry.endpoint) {
                        context.names().close(name, *id, port);
                    }
                }
                Place::Stream { id, home } => {
                    // The listener first, and its address is free when this returns. Connections that
                    // it accepted may be on any thread, and are on their way there by then.
                    let done = Arc::new(Event::new());
                    home.post(Command::CloseEndpoint {
                        id: *id,
                        linger,
                        done: Some(Arc::clone(&done)),
                    });
                    done.wait(None);
                    for thread in context.pool().started() {
                        if !thread.is_same(home) {
                            thread.post(Command::CloseEndpoint {
                                id: *id,
                                linger,
                                done: None,
                            });
                        }
                    }
                }
            }
            false
        });
        self.entries.len() < before
    }

    pub(super) fn endpoints(&self, bound: bool) -> Vec<Endpoint> {
        let of_kind = self.entries.iter().filter(|entry| entry.bound == bound);
        of_kind.map(|entry| entry.endpoint.clone()).collect()
    }

    pub(super) fn monitor(&self) -> Monitor {
        self.port.monitors.subscribe()
    }

    pub(super) fn stats(&self) -> SocketStats {
        SocketStats::of(&self.port)
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
            if !notified {
                return Err(WaitTimeout {
                    what,
                    present: now,
                    wanted,
                });
            }
            notified = self.port.outbound.event().wait(deadline);
        }
    }

    /// When a close that begins now gives up what is unsent.
    pub(super) fn linger_deadline(&self) -> Option<Instant> {
        let linger = self.port.config.linger?;
        clock::now().checked_add(linger)
    }

    /// Begins the end: nothing is accepted or received any more, what is queued is sent until the
    /// deadline.
    pub(super) fn begin_close(&mut self, deadline: Option<Instant>) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.port.set_closing();
        let names = self.context.names();
        for entry in &self.entries {
            if let (Place::Inproc(id), Some(name)) = (&entry.place, inproc_name(&entry.endpoint)) {
                names.close(name, *id, &self.port);
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
        while self.port.lease_count() > 0 {
            self.port.released().wait(None);
        }
        CloseReport {
            unsent: self.port.counters.unsent.load(Ordering::Acquire),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let deadline = self.linger_deadline();
        self.begin_close(deadline);
    }
}

/// An endpoint that can be connected to.
/// Whether a transport carries what a socket of this type sends.
fn carries(socket_type: SocketType, endpoint: &Endpoint) -> bool {
    socket_type != SocketType::Stream
        || matches!(endpoint.transport(), Transport::Tcp | Transport::Ipc)
}

const RAW: &str = "`tcp://` or `ipc://` for a STREAM socket";

pub(super) fn inproc_name(endpoint: &Endpoint) -> Option<&str> {
    match endpoint.transport() {
        Transport::Inproc => endpoint.inproc_name(),
        _ => None,
    }
}
