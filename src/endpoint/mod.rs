//! Endpoints: where a socket binds or connects, parsed once.
//!
//! An [`Endpoint`] is the parsed form of `tcp://host:port`, `ipc://path`, `inproc://name` and the like. Parsing
//! checks the syntax only and looks nothing up; whether the address makes sense for binding or for
//! connecting is asked with [`Endpoint::check_bind`] and [`Endpoint::check_connect`], so one value
//! can be kept, compared and printed without knowing what it will be used for. Printing gives the
//! canonical text: parsing that again gives an equal endpoint.

use std::net::SocketAddr;
use std::path::Path;

mod address;
mod display;
mod error;
mod name;
mod parse;

#[cfg(feature = "ws")]
pub(crate) use address::WsAddress;
pub(crate) use address::{Address, Host, HostPort, IpcAddress, TcpAddress, UdpAddress};
pub use error::EndpointError;
pub use name::ToEndpoint;

/// An address a socket binds or connects to.
///
/// | transport | bind | connect |
/// | --- | --- | --- |
/// | tcp | `tcp://*:5555`, `tcp://127.0.0.1:*`, `tcp://[::1]:5555`, `tcp://eth0:5555` (interfaces: Linux) | `tcp://example.org:5555`, `tcp://10.0.0.1:*;10.0.0.2:5555` (local address before the `;`) |
/// | ipc | `ipc:///run/app.sock`, `ipc://@name` (Linux, no file), `ipc://*` | `ipc:///run/app.sock`, `ipc://@name` |
/// | inproc | `inproc://name` | `inproc://name` |
/// | udp | `udp://*:5555`, `udp://10.0.0.1:*`, `udp://eth0;239.0.0.1:5555` (joins the group) | `udp://10.0.0.2:5555`, `udp://eth0;239.0.0.1:5555` |
/// | ws (feature `ws`) | `ws://*:80/path`, `ws://127.0.0.1:*` | `ws://example.org:80/path` |
///
/// A port of `*` or `0` lets the system choose; `ipc://*` makes a private directory with a socket
/// in it: in the first of `$TMPDIR`, `$TEMPDIR`, `$TMP` and `/tmp` that is a directory, else in the current one.
/// Binding reports the real address. Of udp that is numeric, also if a name was bound to; what is before a `;`
/// stays. A second socket of this host cannot bind to the same udp address (`SO_REUSEADDR` is not set), but it can
/// join the same group on the same port. The path of a WebSocket is `/` if there is none; who connects
/// must name the very path that is bound.
///
/// ```
/// use sinew::Endpoint;
///
/// let endpoint: Endpoint = "tcp://::1:5555".parse()?;
/// assert_eq!(endpoint.to_string(), "tcp://[::1]:5555");
/// assert_eq!(endpoint.port(), Some(5555));
/// endpoint.check_connect()?;
///
/// let any = Endpoint::try_from("tcp://*:0")?;
/// assert!(any.check_bind().is_ok());
/// assert!(any.check_connect().is_err());
/// # Ok::<(), sinew::EndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Address);

/// What carries the bytes of an [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// Stream sockets of one host, named by a path or an abstract name.
    Ipc,
    /// Within one context, without any system socket.
    Inproc,
    /// Datagrams, to one host or to a multicast group. For [`Dgram`](crate::Dgram), and from
    /// [`Radio`](crate::Radio) to [`Dish`](crate::Dish).
    Udp,
    /// WebSocket over TCP.
    #[cfg(feature = "ws")]
    Ws,
}

impl Endpoint {
    /// The tcp endpoint of a socket address. Flow information is not kept.
    #[must_use]
    pub fn tcp(addr: SocketAddr) -> Self {
        Endpoint(Address::Tcp(TcpAddress {
            source: None,
            target: HostPort::of(addr),
        }))
    }

    /// The ws endpoint of a socket address and a path that was checked before.
    #[cfg(feature = "ws")]
    pub(crate) fn ws(addr: SocketAddr, path: &str) -> Self {
        Endpoint(Address::Ws(WsAddress {
            target: HostPort::of(addr),
            path: path.into(),
        }))
    }

    /// The ipc endpoint of a path. The path is taken as a path: one that starts with `@` or is `*`
    /// gets a `./` before it, as those mean something else in the text form.
    ///
    /// # Errors
    /// If the path is empty, too long for a socket address, no UTF-8, or contains a zero octet.
    pub fn ipc(path: impl AsRef<Path>) -> Result<Self, EndpointError> {
        let path = path.as_ref();
        let Some(text) = path.to_str() else {
            return Err(EndpointError::Syntax {
                input: format!("ipc://{}", path.display()).into(),
                expected: "an ipc path in UTF-8",
            });
        };
        let dot = if text.starts_with('@') || text == "*" {
            "./"
        } else {
            ""
        };
        format!("ipc://{dot}{text}").parse()
    }

    /// A name for an ipc connection between two sockets without one. Nobody can connect to it.
    pub(crate) fn nameless_ipc(id: u64) -> Self {
        let name = format!("nameless-{}-{id}", std::process::id()).into();
        Endpoint(Address::Ipc(IpcAddress::Abstract(name)))
    }

    /// The inproc endpoint of a name.
    ///
    /// # Errors
    /// If the name is empty.
    pub fn inproc(name: &str) -> Result<Self, EndpointError> {
        parse::inproc(&format!("inproc://{name}"), name).map(Endpoint)
    }

    /// What carries the bytes.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.0 {
            Address::Tcp(_) => Transport::Tcp,
            Address::Ipc(_) => Transport::Ipc,
            Address::Inproc(_) => Transport::Inproc,
            #[cfg(feature = "ws")]
            Address::Ws(_) => Transport::Ws,
            Address::Udp(_) => Transport::Udp,
        }
    }

    /// The tcp port (of a WebSocket, too) or udp port; 0 if the system is to choose it. `None` for other
    /// transports.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.0.host_port().map(|target| target.port)
    }

    /// The tcp address (of a WebSocket, too) or udp address, if it is numeric and needs no look-up.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.0.host_port()?.socket_addr()
    }

    /// The same endpoint with this address for its host and port. `None` for transports without.
    pub(crate) fn at(&self, addr: SocketAddr) -> Option<Self> {
        let mut address = self.0.clone();
        let target = match &mut address {
            Address::Tcp(tcp) => &mut tcp.target,
            Address::Udp(udp) => &mut udp.target,
            #[cfg(feature = "ws")]
            Address::Ws(ws) => &mut ws.target,
            Address::Ipc(_) | Address::Inproc(_) => return None,
        };
        *target = HostPort::of(addr);
        Some(Endpoint(address))
    }

    /// The path of a WebSocket. `None` for other transports.
    #[cfg(feature = "ws")]
    #[must_use]
    pub fn ws_path(&self) -> Option<&str> {
        match &self.0 {
            Address::Ws(ws) => Some(&ws.path),
            _ => None,
        }
    }

    /// The ipc path. `None` for other transports, abstract names and `*`.
    #[must_use]
    pub fn ipc_path(&self) -> Option<&Path> {
        match &self.0 {
            Address::Ipc(IpcAddress::Path(path)) => Some(Path::new(&**path)),
            _ => None,
        }
    }

    /// The inproc name. `None` for other transports.
    #[must_use]
    pub fn inproc_name(&self) -> Option<&str> {
        match &self.0 {
            Address::Inproc(name) => Some(name),
            _ => None,
        }
    }

    /// Whether binding chooses some part of the address: host or port `*`, port 0, or `ipc://*`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        match &self.0 {
            Address::Ipc(ipc) => *ipc == IpcAddress::Any,
            Address::Inproc(_) => false,
            _ => {
                let target = self.0.host_port();
                target.is_some_and(|target| target.host == Host::Any || target.port == 0)
            }
        }
    }

    /// Whether a socket can bind here. Nothing is looked up.
    ///
    /// # Errors
    /// If the endpoint has a part that only connecting knows.
    pub fn check_bind(&self) -> Result<(), EndpointError> {
        match &self.0 {
            Address::Tcp(tcp) if tcp.source.is_some() => Err(EndpointError::NotBindable {
                input: self.to_string().into(),
                expected: "`tcp://host:port` without a `source;` part",
            }),
            _ => Ok(()),
        }
    }

    /// Whether a socket can connect here. Nothing is looked up.
    ///
    /// # Errors
    /// If the endpoint is a wildcard that only binding knows.
    pub fn check_connect(&self) -> Result<(), EndpointError> {
        let expected = match (&self.0, self.0.host_port()) {
            (_, Some(target)) if target.host == Host::Any => {
                "a host name or an address in place of `*`"
            }
            (_, Some(target)) if target.port == 0 => "a port from 1 to 65535, not `*` or 0",
            (Address::Ipc(IpcAddress::Any), _) => "a path or an `@name` in place of `*`",
            _ => return Ok(()),
        };
        Err(EndpointError::NotConnectable {
            input: self.to_string().into(),
            expected,
        })
    }

    /// Whether a proxy can be asked to connect here.
    ///
    /// # Errors
    /// If the address has a zone, which only this host knows.
    pub(crate) fn check_proxied(&self) -> Result<(), EndpointError> {
        match self.0.tcp_target() {
            Some(target) if matches!(target.host, Host::V6(_, Some(_))) => {
                Err(EndpointError::NotConnectable {
                    input: self.to_string().into(),
                    expected: "an address without a zone, as a SOCKS proxy does not know the interfaces of this host",
                })
            }
            _ => Ok(()),
        }
    }

    /// The parsed parts.
    pub(crate) fn address(&self) -> &Address {
        &self.0
    }

    /// The endpoint of parts that were checked before.
    pub(crate) fn from_address(address: Address) -> Self {
        Endpoint(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        text.parse()
    }

    #[test]
    fn bind_and_connect_accept_different_things() {
        for (text, bind, connect) in [
            ("tcp://*:5555", true, false),
            ("tcp://127.0.0.1:*", true, false),
            ("tcp://127.0.0.1:5555", true, true),
            ("tcp://host:5555", true, true),
            ("tcp://*:0;host:5555", false, true),
            ("tcp://*:0;host:0", false, false),
            ("ipc://*", true, false),
            ("ipc://@x", true, true),
            ("ipc://x", true, true),
            ("inproc://*", true, true),
            ("udp://*:5555", true, false),
            ("udp://10.0.0.1:*", true, false),
            ("udp://lo;239.0.0.1:5555", true, true),
        ] {
            let endpoint = parse(text).unwrap();
            assert_eq!(endpoint.check_bind().is_ok(), bind, "{text}");
            assert_eq!(endpoint.check_connect().is_ok(), connect, "{text}");
        }
        assert_eq!(
            parse("tcp://a:0")
                .unwrap()
                .check_connect()
                .unwrap_err()
                .to_string(),
            "`tcp://a:*` cannot be connected to: expected a port from 1 to 65535, not `*` or 0"
        );
    }

    #[test]
    fn constructors_agree_with_the_text() {
        let addr = "[fe80::1%3]:7".parse::<std::net::SocketAddr>().unwrap();
        assert_eq!(Endpoint::tcp(addr), parse("tcp://[fe80::1%3]:7").unwrap());
        assert_eq!(Endpoint::tcp(addr).socket_addr(), Some(addr));
        assert_eq!(Endpoint::ipc("/a").unwrap(), parse("ipc:///a").unwrap());
        assert_eq!(Endpoint::ipc("@a").unwrap().to_string(), "ipc://./@a");
        assert_eq!(Endpoint::ipc("*").unwrap().to_string(), "ipc://./*");
        assert!(Endpoint::ipc("").is_err());
        assert_eq!(Endpoint::inproc("a").unwrap(), parse("inproc://a").unwrap());
        assert!(Endpoint::inproc("").is_err());
        let endpoint = parse("inproc://a").unwrap();
        for named in ["inproc://a".to_endpoint(), (&&endpoint).to_endpoint()] {
            assert_eq!(named.unwrap(), endpoint);
        }
        assert_eq!(endpoint.transport(), Transport::Inproc);
        assert_eq!(endpoint.inproc_name(), Some("a"));
    }
}
