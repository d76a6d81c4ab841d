//! Transports: where a byte stream comes from.
//!
//! A *stream transport* gives the I/O threads a [`Stream`] per connection and a [`Listener`] per
//! bound endpoint. It knows sockets, their options and their names; it knows no protocol, no pipe
//! and no thread. What every stream transport provides:
//!
//! - **Streams** carry bytes in order, both ways, without blocking. Any number of threads may use one
//!   through `&self`; two that read (or write) at once get bytes in an order nobody can tell, so the
//!   caller holds a token. A write to a closed peer is an error, never a signal. An end of input is a
//!   read of 0 bytes, also when the peer closed one direction only.
//! - **Readiness** is edge-triggered, through [`mio::event::Source`]. A caller reads and writes until
//!   [`WouldBlock`](std::io::ErrorKind::WouldBlock). Events may be spurious.
//! - **Binding** is synchronous and returns the real endpoint, one that can be printed, parsed and
//!   (unless it names every address) connected to. A taken address is
//!   [`AddrInUse`](std::io::ErrorKind::AddrInUse). A living listener is never disturbed.
//! - **Accepting** fails for one connection only, or asks for a pause ([`AcceptFailure`]); no failure
//!   ends a listener, and none can be met by an immediate retry for ever.
//! - **Connecting** starts without blocking and is finished with [`Stream::finish_connect`].
//! - **Options** are applied before the first byte; one that the system refuses fails the one
//!   connection, or the bind, it was refused for.
//! - **Descriptors** are non-blocking, close-on-exec and owned: every error path closes them.
//!
//! Names are looked up by the [`Resolver`], away from the I/O threads; only binding to a name looks it
//! up on the caller's thread. `udp` is no stream transport either: it has [`Datagrams`]. `inproc` is no stream transport: its [`Registry`] introduces the two
//! sides to each other and is done.

#[cfg(unix)]
mod adopt;
#[cfg(unix)]
mod credentials;
mod forms;
mod inproc;
mod interface;
#[cfg(unix)]
mod ipc;
mod listener;
mod resolver;
mod socks;
mod stream;
mod tcp;
mod udp;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod option_tests;

use std::io;
use std::net::SocketAddr;

use crate::config::SocketConfig;
use crate::endpoint::{HostPort, IpcAddress, TcpAddress};

#[cfg(unix)]
pub(crate) use adopt::AdoptError;
pub(crate) use forms::numeric_forms;
pub(crate) use inproc::{BoundId, Connect, PendingId, Registry};
pub(crate) use listener::{AcceptFailure, Listener};
pub(crate) use resolver::{Family, Resolver};
pub use socks::ProxyFailure;
pub(crate) use socks::{Tunnel, TunnelError};
pub(crate) use stream::Stream;
pub(crate) use udp::Datagrams;

/// Where to connect, with every name looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ConnectTarget {
    /// An address, and the local one to connect from.
    Tcp {
        addr: SocketAddr,
        source: Option<SocketAddr>,
    },
    /// A path or an abstract name.
    Ipc(IpcAddress),
}

impl ConnectTarget {
    /// The target for one of the addresses that `endpoint`'s host was resolved to.
    ///
    /// # Errors
    /// If the endpoint's source part has no address of that family on this host.
    pub(crate) fn tcp(endpoint: &TcpAddress, addr: SocketAddr) -> io::Result<Self> {
        let source = match &endpoint.source {
            Some(source) => Some(tcp::source_addr(source, addr)?),
            None => None,
        };
        Ok(ConnectTarget::Tcp { addr, source })
    }
}

/// The address of a target that is written in numbers. `None` for a name, and for a zone that no interface has
/// (yet): the [`Resolver`] tells why.
pub(crate) fn known_addr(target: &HostPort) -> Option<SocketAddr> {
    let host = target.host_text()?;
    resolver::literal(&host, target.port)?.ok()
}

/// Starts to connect, without blocking. [`Stream::finish_connect`] tells when it is done.
///
/// What this does not promise: that a failure is reported here. A refused connection may be reported
/// by either function.
///
/// # Errors
/// If the attempt failed at once. The kind `WouldBlock` stands for an ipc listener whose queue is
/// full: no event will follow, so it is a failed attempt like any other.
pub(crate) fn start_connect(target: &ConnectTarget, config: &SocketConfig) -> io::Result<Stream> {
    match target {
        ConnectTarget::Tcp { addr, source } => {
            tcp::connect(*addr, *source, &config.tcp).map(Stream::Tcp)
        }
        #[cfg(unix)]
        ConnectTarget::Ipc(address) => ipc::connect(address).map(Stream::Ipc),
        #[cfg(not(unix))]
        ConnectTarget::Ipc(_) => Err(unsupported("ipc on this system")),
    }
}

/// An error for what this system or this build cannot do.
fn unsupported(what: &'static str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{what} is not supported"),
    )
}
