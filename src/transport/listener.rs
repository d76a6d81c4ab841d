//! A bound endpoint from which connections are accepted.

use std::io;

use mio::event::Source;
use mio::{Interest, Token};

#[cfg(unix)]
use super::ipc;
use super::{tcp, unsupported, Stream};
use crate::config::{SocketConfig, TcpConfig};
use crate::endpoint::{Address, Endpoint};

/// A listening socket. Dropping it frees the address, and removes the ipc file if it is still ours.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(mio::net::TcpListener, TcpConfig),
    #[cfg(unix)]
    Ipc(
        mio::net::UnixListener,
        #[allow(dead_code, reason = "removes the file when it is dropped")] ipc::SocketFile,
    ),
}

/// Why no connection was accepted.
#[derive(Debug)]
pub(crate) enum AcceptFailure {
    /// None is waiting; an event will tell of the next.
    Drained,
    /// One connection is lost. Others may be waiting and no event will tell of them: accept again.
    Connection(io::Error),
    /// Descriptors or memory have run out, or the error is one we do not know. Connections may be
    /// waiting, no event will tell of them, and to accept again at once would be a busy loop: accept
    /// again after a pause.
    Pause(io::Error),
}

impl Listener {
    /// Binds and listens, and returns the endpoint really bound. A host name is looked up here, on the
    /// caller's thread, and its first address that can be bound is taken.
    ///
    /// # Errors
    /// If the endpoint cannot be bound (`AddrInUse`, `AddrNotAvailable`, `PermissionDenied`, …), its
    /// host is not known, it is of a transport without streams, or an option is refused.
    pub(crate) fn bind(
        endpoint: &Endpoint,
        config: &SocketConfig,
    ) -> io::Result<(Listener, Endpoint)> {
        endpoint
            .check_bind()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        match endpoint.address() {
            Address::Tcp(address) => {
                let (listener, addr) = tcp::bind(&address.target, config)?;
                Ok((
                    Listener::Tcp(listener, config.tcp.clone()),
                    Endpoint::tcp(addr),
                ))
            }
            #[cfg(feature = "ws")]
            Address::Ws(address) => {
                let (listener, addr) = tcp::bind(&address.target, config)?;
                Ok((
                    Listener::Tcp(listener, config.tcp.clone()),
                    Endpoint::ws(addr, &address.path),
                ))
            }
            #[cfg(unix)]
            Address::Ipc(address) => {
                let (listener, file, real) = ipc::bind(address, config)?;
                Ok((
                    Listener::Ipc(listener, file),
                    Endpoint::from_address(Address::Ipc(real)),
                ))
            }
            #[cfg(not(unix))]
            Address::Ipc(_) => Err(unsupported("ipc on this system")),
            Address::Inproc(_) => Err(unsupported("a stream over inproc")),
        }
    }

    /// Takes the next waiting connection, with its options set.
    ///
    /// # Errors
    /// See [`AcceptFailure`] for what to do about each.
    pub(crate) fn accept(&self) -> Result<Stream, AcceptFailure> {
        match self {
            Listener::Tcp(listener, config) => {
                let (stream, _) = listener.accept().map_err(AcceptFailure::of_accept)?;
                tcp::configure(&stream, config).map_err(AcceptFailure::Connection)?;
                Ok(Stream::Tcp(stream))
            }
            #[cfg(unix)]
            Listener::Ipc(listener, _) => {
                let (stream, _) = listener.accept().map_err(AcceptFailure::of_accept)?;
                no_signal(&stream).map_err(AcceptFailure::Connection)?;
                Ok(Stream::Ipc(stream))
            }
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp(listener, _) => listener,
            #[cfg(unix)]
            Listener::Ipc(listener, _) => listener,
        }
    }
}

impl Source for Listener {
    fn register(
        &mut self,
        registry: &mio::Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &mio::Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &mio::Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

impl AcceptFailure {
    /// What an error of `accept` itself asks for.
    fn of_accept(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => return AcceptFailure::Drained,
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {
                return AcceptFailure::Connection(error)
            }
            _ => {}
        }
        // accept(2): Linux reports pending network errors of the new connection from `accept`, and
        // EPERM if a firewall forbids it. Each takes one connection from the queue.
        #[cfg(unix)]
        if let Some(
            libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ECONNRESET,
        ) = error.raw_os_error()
        {
            return AcceptFailure::Connection(error);
        }
        AcceptFailure::Pause(error)
    }
}

/// Asks for no SIGPIPE where that is an option of the socket and not of each write.
#[cfg(unix)]
pub(super) fn no_signal<S: std::os::fd::AsFd>(_stream: &S) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    socket2::SockRef::from(_stream).set_nosigpipe(true)?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::io;

    use super::AcceptFailure;

    #[test]
    fn only_errors_that_consume_a_connection_are_retried_at_once() {
        for (errno, expected) in [
            (libc::EAGAIN, "drained"),
            (libc::EINTR, "connection"),
            (libc::ECONNABORTED, "connection"),
            (libc::EPROTO, "connection"),
            (libc::EPERM, "connection"),
            (libc::EMFILE, "pause"),
            (libc::ENFILE, "pause"),
            (libc::ENOBUFS, "pause"),
            (libc::ENOMEM, "pause"),
            (libc::EBADF, "pause"),
            (libc::EINVAL, "pause"),
            (12345, "pause"),
        ] {
            let got = match AcceptFailure::of_accept(io::Error::from_raw_os_error(errno)) {
                AcceptFailure::Drained => "drained",
                AcceptFailure::Connection(_) => "connection",
                AcceptFailure::Pause(_) => "pause",
            };
            assert_eq!(got, expected, "errno {errno}");
        }
    }
}
