//! A connected byte stream, or one that is about to be.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, RawFd};

use mio::event::Source;
use mio::{Interest, Token};
#[cfg(unix)]
use socket2::SockRef;

#[cfg(unix)]
use super::credentials;

/// A non-blocking stream of bytes; the contract is in the header of `transport`.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Ipc(mio::net::UnixStream),
}

impl Stream {
    /// Reads what has arrived, up to the length of `buf`; 0 is the end of the peer's stream.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived; anything else ends the connection. Never `Interrupted`.
    #[inline]
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Stream::Tcp(s) => (&mut &*s).read(buf),
            #[cfg(unix)]
            Stream::Ipc(s) => (&mut &*s).read(buf),
        })
    }

    /// As [`Stream::read`], into several buffers, each filled before the next.
    ///
    /// # Errors
    /// As for [`Stream::read`].
    #[inline]
    pub(crate) fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Stream::Tcp(s) => (&mut &*s).read_vectored(bufs),
            #[cfg(unix)]
            Stream::Ipc(s) => (&mut &*s).read_vectored(bufs),
        })
    }

    /// Writes a prefix of the bytes in `bufs`, in order, and says how many. Of more slices than the
    /// system takes in one call, the later ones are left for the next.
    ///
    /// # Errors
    /// `WouldBlock` if the system can take nothing; anything else ends the connection. Never
    /// `Interrupted`, and never a signal.
    #[inline]
    pub(crate) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(MAX_SLICES)];
        #[cfg(unix)]
        {
            // Not the streams' own `write_vectored`: `writev` takes no flags, and a library must not
            // rely on the program to ignore SIGPIPE.
            let socket = match self {
                Stream::Tcp(s) => SockRef::from(s),
                Stream::Ipc(s) => SockRef::from(s),
            };
            uninterrupted(|| match bufs {
                [one] => socket.send_with_flags(one, SEND_FLAGS),
                _ => socket.send_vectored_with_flags(bufs, SEND_FLAGS),
            })
        }
        #[cfg(not(unix))]
        {
            let Stream::Tcp(s) = self;
            uninterrupted(|| io::Write::write_vectored(&mut &*s, bufs))
        }
    }

    /// Whether a connection begun by `start_connect` is made. To be asked on every event of the
    /// stream until the answer is yes or an error; after an error the stream is of no use.
    ///
    /// # Errors
    /// If the connection was not made, and `ConnectionRefused` if it was made to itself: a connect to
    /// an unused local port may pick that same port as its own (simultaneous open).
    pub(crate) fn finish_connect(&self) -> io::Result<bool> {
        // The order matters: the error says why, the missing peer address only that.
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        let connected = match self {
            Stream::Tcp(s) => s.peer_addr().and_then(|peer| {
                if s.local_addr()? == peer {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionRefused,
                        "nobody listens there: the connection was made to itself",
                    ));
                }
                Ok(())
            }),
            #[cfg(unix)]
            Stream::Ipc(s) => s.peer_addr().map(|_| ()),
        };
        match connected {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            #[cfg(unix)]
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The error the system keeps for this stream, if any; asking clears it.
    ///
    /// # Errors
    /// If the system cannot be asked.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Stream::Tcp(s) => s.take_error(),
            #[cfg(unix)]
            Stream::Ipc(s) => s.take_error(),
        }
    }

    /// Ends one direction or both. Bytes written before still go out.
    ///
    /// # Errors
    /// If the stream is not connected any more.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.shutdown(how),
            #[cfg(unix)]
            Stream::Ipc(s) => s.shutdown(how),
        }
    }

    /// The peer as a person may read it: `192.0.2.1:5555`, `[::1]:5555`, or for ipc `:uid:gid:pid` where
    /// the system tells, and otherwise the path or `@name` that was bound. Empty if the system does not
    /// know.
    pub(crate) fn peer_label(&self) -> String {
        match self {
            Stream::Tcp(s) => s.peer_addr().map_or_else(|_| String::new(), tcp_label),
            #[cfg(unix)]
            Stream::Ipc(s) => match credentials::of_peer(s.as_fd()) {
                Ok(peer) => peer.label(),
                // The connecting side has no name; both ends are then called by the bound one.
                Err(_) => match self.ipc_labels() {
                    (local, peer) if peer.is_empty() => local,
                    (_, peer) => peer,
                },
            },
        }
    }

    /// The local address, in the form of [`Stream::peer_label`], but for ipc, where it is the path or `@name`
    /// that was bound, if it was on this side.
    pub(crate) fn local_label(&self) -> String {
        match self {
            Stream::Tcp(s) => s.local_addr().map_or_else(|_| String::new(), tcp_label),
            #[cfg(unix)]
            Stream::Ipc(_) => self.ipc_labels().0,
        }
    }

    /// Local and peer name.
    #[cfg(unix)]
    fn ipc_labels(&self) -> (String, String) {
        let Stream::Ipc(s) = self else {
            return Default::default();
        };
        let socket = SockRef::from(s);
        let label = |addr: io::Result<socket2::SockAddr>| {
            let Ok(addr) = addr else {
                return String::new();
            };
            if let Some(path) = addr.as_pathname() {
                return path.display().to_string();
            }
            match addr.as_abstract_namespace() {
                Some(name) => format!("@{}", String::from_utf8_lossy(name)),
                None => String::new(),
            }
        };
        (label(socket.local_addr()), label(socket.peer_addr()))
    }

    /// The peer's numeric address, for the transports that have one.
    pub(crate) fn peer_ip(&self) -> Option<std::net::IpAddr> {
        match self {
            Stream::Tcp(s) => s.peer_addr().ok().map(|addr| addr.ip().to_canonical()),
            #[cfg(unix)]
            Stream::Ipc(_) => None,
        }
    }

    /// The descriptor, for waiting on it elsewhere than in a [`mio::Poll`]. It stays ours.
    #[cfg(unix)]
    pub(crate) fn raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(s) => s.as_raw_fd(),
            Stream::Ipc(s) => s.as_raw_fd(),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(s) => s,
            #[cfg(unix)]
            Stream::Ipc(s) => s,
        }
    }
}

impl Source for Stream {
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

/// An IPv4 address that came in on an IPv6 socket is an IPv4 address to everyone but the kernel.
pub(super) fn tcp_label(addr: std::net::SocketAddr) -> String {
    std::net::SocketAddr::new(addr.ip().to_canonical(), addr.port()).to_string()
}

#[inline]
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// `IOV_MAX` on every system we know; more is an error, not a short write.
const MAX_SLICES: usize = 1024;

/// No SIGPIPE when the peer is gone. Apple has a socket option instead, set when a socket is made.
#[cfg(all(unix, not(target_vendor = "apple")))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: libc::c_int = 0;
