//! Sockets that the application has made: listening ones, and connected ones.
//!
//! A descriptor may be anything, so it is asked what it is before it is used. What belongs to the file
//! system stays the application's: the file of an adopted listener is never removed.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::listener::no_signal;
use super::{ipc, tcp, Listener, Stream};
use crate::config::SocketConfig;
use crate::endpoint::Endpoint;

/// Why a descriptor was not adopted. It is closed.
#[derive(Debug)]
pub(crate) enum AdoptError {
    /// It is something else.
    Unfit {
        /// What it is.
        given: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The system refused.
    Io(io::Error),
}

impl From<io::Error> for AdoptError {
    fn from(error: io::Error) -> Self {
        AdoptError::Io(error)
    }
}

impl Listener {
    /// Takes over a socket that listens already; returns also the endpoint it is bound to.
    ///
    /// # Errors
    /// If it is not a listening tcp or ipc socket, or has no address that can be written as an endpoint.
    pub(crate) fn adopt(
        fd: OwnedFd,
        config: &SocketConfig,
    ) -> Result<(Listener, Endpoint), AdoptError> {
        let (socket, family) = examine(fd, LISTENER)?;
        if !listens(&socket)? {
            return Err(AdoptError::Unfit {
                given: "a socket that does not listen".to_owned(),
                expected: LISTENER,
            });
        }
        let local = socket.local_addr()?;
        let endpoint = endpoint_of(&local).ok_or_else(|| AdoptError::Unfit {
            given: format!("a socket bound to {local:?}"),
            expected: "an ip address, or an ipc path or name in UTF-8",
        })?;
        ready(&socket)?;
        let listener = match family {
            Family::Tcp => Listener::Tcp(
                mio::net::TcpListener::from_std(socket.into()),
                config.tcp.clone(),
            ),
            Family::Ipc => Listener::Ipc(
                mio::net::UnixListener::from_std(socket.into()),
                config.ipc.clone(),
                ipc::SocketFile::default(),
            ),
        };
        Ok((listener, endpoint))
    }
}

impl Stream {
    /// Takes over a connected socket, with the options of a connection set; returns also the endpoint at its
    /// other end (or, over ipc, the bound one of the two), if it has one.
    ///
    /// # Errors
    /// If it is not a connected tcp or ipc socket, or an option is refused.
    pub(crate) fn adopt(
        fd: OwnedFd,
        config: &SocketConfig,
    ) -> Result<(Stream, Option<Endpoint>), AdoptError> {
        let (socket, family) = examine(fd, STREAM)?;
        let unconnected = || AdoptError::Unfit {
            given: "a socket that is not connected".to_owned(),
            expected: STREAM,
        };
        let peer = match socket.peer_addr() {
            Ok(peer) => peer,
            // A listening socket among them.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Err(unconnected()),
            Err(error) => return Err(error.into()),
        };
        let endpoint = endpoint_of(&peer).or_else(|| endpoint_of(&socket.local_addr().ok()?));
        ready(&socket)?;
        let stream = match family {
            Family::Tcp => {
                tcp::configure(&socket, &config.tcp)?;
                Stream::Tcp(mio::net::TcpStream::from_std(socket.into()))
            }
            Family::Ipc => {
                no_signal(&socket)?;
                Stream::Ipc(mio::net::UnixStream::from_std(socket.into()))
            }
        };
        Ok((stream, endpoint))
    }
}

enum Family {
    Tcp,
    Ipc,
}

/// Whether it is a stream socket of a family we know.
fn examine(fd: OwnedFd, expected: &'static str) -> Result<(Socket, Family), AdoptError> {
    let unfit = |given| AdoptError::Unfit { given, expected };
    let socket = Socket::from(fd);
    let kind = match socket.r#type() {
        Ok(kind) => kind,
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            return Err(unfit("a descriptor that is no socket".to_owned()))
        }
        Err(error) => return Err(error.into()),
    };
    let domain = socket.local_addr()?.domain();
    let family = match domain {
        Domain::IPV4 | Domain::IPV6 => Family::Tcp,
        Domain::UNIX => Family::Ipc,
        _ => return Err(unfit(format!("a socket of the family {domain:?}"))),
    };
    if kind != Type::STREAM {
        return Err(unfit(format!("a socket of the type {kind:?}")));
    }
    // Other protocols have streams of another kind. Elsewhere the system does not tell.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let (Family::Tcp, Some(protocol)) = (&family, socket.protocol()?) {
        if protocol != Protocol::TCP {
            return Err(unfit(format!("a socket of the protocol {protocol:?}")));
        }
    }
    Ok((socket, family))
}

#[cfg(not(target_vendor = "apple"))]
fn listens(socket: &Socket) -> io::Result<bool> {
    socket.is_listener()
}

/// The system does not tell; what does not listen fails when it is to accept, which is an event.
#[cfg(target_vendor = "apple")]
fn listens(_socket: &Socket) -> io::Result<bool> {
    Ok(true)
}

fn ready(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)
}

fn endpoint_of(address: &SockAddr) -> Option<Endpoint> {
    if let Some(address) = address.as_socket() {
        return Some(Endpoint::tcp(address));
    }
    if let Some(path) = address.as_pathname() {
        return Endpoint::ipc(path).ok();
    }
    let name = address.as_abstract_namespace()?;
    format!("ipc://@{}", std::str::from_utf8(name).ok()?)
        .parse()
        .ok()
}

const LISTENER: &str = "a listening tcp or ipc stream socket";
const STREAM: &str = "a connected tcp or ipc stream socket";
