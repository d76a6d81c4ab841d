//! Endpoints: where a socket binds or connects, parsed once.
//!
//! An [`Endpoint`] is the parsed form of `tcp://host:port`, `ipc://path` or `inproc://name`. Parsing
//! checks the syntax only and looks nothing up; whether the address makes sense for binding or for
//! connecting is asked with [`Endpoint::check_bind`] and [`Endpoint::check_connect`], so one value
//! can be kept, compared and printed without knowing what it will be used for. Printing gives the
//! canonical text: parsing that again gives an equal endpoint.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

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
/// in it. Binding reports the real address. The path of a WebSocket is `/` if there is none; who connects
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

/// Text that is no [`Endpoint`], or an endpoint that does not fit its use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The text breaks the grammar.
    #[error("`{input}` is not an endpoint: expected {expected}")]
    Syntax {
        /// The whole text given.
        input: Box<str>,
        /// What should have stood there.
        expected: &'static str,
    },
    /// The transport exists in the ZeroMQ family but not in Sinew.
    #[error("`{input}` uses the transport `{scheme}`, which is not available: expected `tcp://`, `ipc://` or `inproc://`")]
    UnsupportedTransport {
        /// The whole text given.
        input: Box<str>,
        /// The name before `://`.
        scheme: &'static str,
    },
    /// A good endpoint, but not one to bind.
    #[error("`{input}` cannot be bound: expected {expected}")]
    NotBindable {
        /// The whole endpoint.
        input: Box<str>,
        /// What can be bound.
        expected: &'static str,
    },
    /// A good endpoint, but not one to connect to.
    #[error("`{input}` cannot be connected to: expected {expected}")]
    NotConnectable {
        /// The whole endpoint.
        input: Box<str>,
        /// What can be connected to.
        expected: &'static str,
    },
    /// An ipc path longer than a socket address holds.
    #[error("`{input}` has an ipc path of {octets} octets: expected fewer than {IPC_PATH_LIMIT}")]
    PathTooLong {
        /// The whole text given.
        input: Box<str>,
        /// The length of the path.
        octets: usize,
    },
}

/// Anything that names an endpoint: text, or an [`Endpoint`] already parsed.
pub trait ToEndpoint {
    /// The endpoint named.
    ///
    /// # Errors
    /// If the text is no endpoint.
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError>;
}

/// The parsed parts, for the transports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Tcp(TcpAddress),
    Ipc(IpcAddress),
    Inproc(Box<str>),
    Udp(UdpAddress),
    #[cfg(feature = "ws")]
    Ws(WsAddress),
}

/// A udp address: a host or a multicast group and, for a group, the interface it is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UdpAddress {
    /// The part before `;`. Only with a multicast address in numbers, of the same family, and not
    /// itself multicast.
    pub(crate) interface: Option<Box<Host>>,
    pub(crate) target: HostPort,
}

impl Address {
    /// The host and the port of everything that has them.
    fn host_port(&self) -> Option<&HostPort> {
        match self {
            Address::Udp(udp) => Some(&udp.target),
            other => other.tcp_target(),
        }
    }

    /// The host and the port that a TCP connection is made to.
    pub(crate) fn tcp_target(&self) -> Option<&HostPort> {
        match self {
            Address::Tcp(tcp) => Some(&tcp.target),
            #[cfg(feature = "ws")]
            Address::Ws(ws) => Some(&ws.target),
            Address::Ipc(_) | Address::Inproc(_) | Address::Udp(_) => None,
        }
    }
}

/// A ws address.
#[cfg(feature = "ws")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WsAddress {
    pub(crate) target: HostPort,
    /// With the `/` that it begins with.
    pub(crate) path: Box<str>,
}

/// A tcp address: where to, and for connecting optionally where from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TcpAddress {
    /// The part before `;`. Never a bare name that needs a look-up beyond the local host.
    /// Boxed, as is the interface of udp: it is rare, and endpoints are in every error.
    pub(crate) source: Option<Box<HostPort>>,
    pub(crate) target: HostPort,
}

/// A host and a port; port 0 lets the system choose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// What stands before the port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// `*`: every address of this host.
    Any,
    V4(Ipv4Addr),
    /// An address and, for link-local ones, the name or index of the interface.
    V6(Ipv6Addr, Option<Box<str>>),
    /// A host name or an interface name: the text does not tell which.
    Name(Box<str>),
}

/// Where an ipc socket lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum IpcAddress {
    Path(Box<str>),
    /// A name in Linux's abstract namespace, without the `@`.
    Abstract(Box<str>),
    /// `*`: a private directory made on bind.
    Any,
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
        parse_inproc(&format!("inproc://{name}"), name).map(Endpoint)
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

impl HostPort {
    /// Parses `host:port`, as in a tcp endpoint.
    ///
    /// # Errors
    /// What should have stood there.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        parse_host_port(text)
    }

    fn of(addr: SocketAddr) -> Self {
        let host = match addr {
            SocketAddr::V4(v4) => Host::V4(*v4.ip()),
            SocketAddr::V6(v6) => {
                let zone = (v6.scope_id() != 0).then(|| v6.scope_id().to_string().into());
                Host::V6(*v6.ip(), zone)
            }
        };
        HostPort {
            host,
            port: addr.port(),
        }
    }

    /// The address, if it is numeric; a zone counts as numeric if it is an index.
    pub(crate) fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::V4(ip) => Some(SocketAddr::new(IpAddr::V4(*ip), self.port)),
            Host::V6(ip, None) => Some(SocketAddr::new(IpAddr::V6(*ip), self.port)),
            Host::V6(ip, Some(zone)) => {
                let index = parse_decimal::<u32>(zone)?;
                Some(std::net::SocketAddrV6::new(*ip, self.port, 0, index).into())
            }
            Host::Any | Host::Name(_) => None,
        }
    }

    /// The host as a resolver takes it: no brackets, zone behind `%`. `None` for `*`.
    pub(crate) fn host_text(&self) -> Option<String> {
        match &self.host {
            Host::Any => None,
            Host::V4(ip) => Some(ip.to_string()),
            Host::V6(ip, None) => Some(ip.to_string()),
            Host::V6(ip, Some(zone)) => Some(format!("{ip}%{zone}")),
            Host::Name(name) => Some(name.to_string()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(input: &str) -> Result<Self, EndpointError> {
        let Some((scheme, rest)) = input.split_once("://") else {
            return Err(syntax(input, EXPECTED_ANY));
        };
        match scheme {
            "tcp" => parse_tcp(input, rest),
            "ipc" => parse_ipc(input, rest),
            "inproc" => parse_inproc(input, rest),
            "udp" => parse_udp(input, rest),
            #[cfg(feature = "ws")]
            "ws" => parse_ws(input, rest),
            _ => match UNSUPPORTED.iter().copied().find(|known| *known == scheme) {
                Some(scheme) => Err(EndpointError::UnsupportedTransport {
                    input: input.into(),
                    scheme,
                }),
                None => Err(syntax(input, EXPECTED_ANY)),
            },
        }
        .map(Endpoint)
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &str) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Endpoint::tcp(addr)
    }
}

impl ToEndpoint for str {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        self.parse()
    }
}

impl ToEndpoint for String {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        self.parse()
    }
}

impl ToEndpoint for Endpoint {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        Ok(self.clone())
    }
}

impl ToEndpoint for SocketAddr {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        Ok(Endpoint::tcp(*self))
    }
}

impl<T: ToEndpoint + ?Sized> ToEndpoint for &T {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        (**self).to_endpoint()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Tcp(tcp) => {
                f.write_str("tcp://")?;
                if let Some(source) = &tcp.source {
                    write!(f, "{source};")?;
                }
                write!(f, "{}", tcp.target)
            }
            Address::Ipc(IpcAddress::Path(path)) => write!(f, "ipc://{path}"),
            Address::Ipc(IpcAddress::Abstract(name)) => write!(f, "ipc://@{name}"),
            Address::Ipc(IpcAddress::Any) => f.write_str("ipc://*"),
            Address::Inproc(name) => write!(f, "inproc://{name}"),
            Address::Udp(udp) => {
                f.write_str("udp://")?;
                if let Some(interface) = &udp.interface {
                    write!(f, "{interface};")?;
                }
                write!(f, "{}", udp.target)
            }
            #[cfg(feature = "ws")]
            Address::Ws(ws) => write!(f, "ws://{}{}", ws.target, ws.path),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        match self.port {
            0 => f.write_str(":*"),
            port => write!(f, ":{port}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Any => f.write_str("*"),
            Host::V4(ip) => write!(f, "{ip}"),
            Host::V6(ip, None) => write!(f, "[{ip}]"),
            Host::V6(ip, Some(zone)) => write!(f, "[{ip}%{zone}]"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Ipc => "ipc",
            Transport::Inproc => "inproc",
            Transport::Udp => "udp",
            #[cfg(feature = "ws")]
            Transport::Ws => "ws",
        })
    }
}

fn syntax(input: &str, expected: &'static str) -> EndpointError {
    EndpointError::Syntax {
        input: input.into(),
        expected,
    }
}

fn parse_tcp(input: &str, rest: &str) -> Result<Address, EndpointError> {
    let fail = |expected| syntax(input, expected);
    let (source, target) = match rest.split_once(';') {
        Some((source, target)) => {
            let source = parse_host_port(source).map_err(fail)?;
            (Some(Box::new(source)), target)
        }
        None => (None, rest),
    };
    let target = parse_host_port(target).map_err(fail)?;
    Ok(Address::Tcp(TcpAddress { source, target }))
}

fn parse_udp(input: &str, rest: &str) -> Result<Address, EndpointError> {
    let fail = |expected| syntax(input, expected);
    let Some((interface, target)) = rest.split_once(';') else {
        let target = parse_host_port(rest).map_err(|expected| fail(for_udp(expected)))?;
        return Ok(Address::Udp(UdpAddress {
            interface: None,
            target,
        }));
    };
    let interface = parse_host(interface).map_err(|_| fail(EXPECTED_INTERFACE))?;
    let target = parse_host_port(target).map_err(|expected| fail(for_udp(expected)))?;
    let group_is_v4 = match &target.host {
        Host::V4(ip) if ip.is_multicast() => true,
        Host::V6(ip, _) if ip.is_multicast() => false,
        _ => return Err(fail("a multicast address in numbers behind `interface;`")),
    };
    let fits = match &interface {
        Host::Any | Host::Name(_) => true,
        Host::V4(ip) => group_is_v4 && !ip.is_multicast(),
        Host::V6(ip, _) => !group_is_v4 && !ip.is_multicast(),
    };
    if !fits {
        return Err(fail(
            "an interface, `*`, or an address of the group's family that is not multicast before `;`",
        ));
    }
    Ok(Address::Udp(UdpAddress {
        interface: Some(Box::new(interface)),
        target,
    }))
}

fn for_udp(expected: &'static str) -> &'static str {
    match expected {
        EXPECTED_TCP => EXPECTED_UDP,
        other => other,
    }
}

#[cfg(feature = "ws")]
fn parse_ws(input: &str, rest: &str) -> Result<Address, EndpointError> {
    let (target, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let target = parse_host_port(target).map_err(|expected| {
        let expected = match expected {
            EXPECTED_TCP => "`ws://host:port/path`",
            other => other,
        };
        syntax(input, expected)
    })?;
    // What stands in the request as it is, and in its first line.
    let good = |b: u8| b.is_ascii_graphic() && b != b'#';
    if path.len() > WS_PATH_LIMIT || !path.bytes().all(good) {
        return Err(syntax(input, EXPECTED_PATH));
    }
    let path = path.into();
    Ok(Address::Ws(WsAddress { target, path }))
}

fn parse_host_port(text: &str) -> Result<HostPort, &'static str> {
    // The last colon separates the port, so that brackets around IPv6 are optional.
    let (host, port) = text.rsplit_once(':').ok_or(EXPECTED_TCP)?;
    let port = match port {
        "" => return Err(EXPECTED_TCP),
        "*" => 0,
        digits => parse_decimal(digits).ok_or(EXPECTED_PORT)?,
    };
    Ok(HostPort {
        host: parse_host(host)?,
        port,
    })
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    if text.is_empty() {
        return Err(EXPECTED_TCP);
    }
    if text == "*" {
        return Ok(Host::Any);
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (inner, behind) = inner.split_once(']').ok_or(EXPECTED_V6)?;
        return match behind {
            "" => parse_v6(inner),
            // The zone may also stand behind the bracket, but not in both places.
            _ if behind.starts_with('%') && !inner.contains('%') => {
                parse_v6(&format!("{inner}{behind}"))
            }
            _ => Err(EXPECTED_V6),
        };
    }
    if text.contains(':') {
        return parse_v6(text);
    }
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Ok(Host::V4(v4));
    }
    // `1.2.3` and `1.2.3.256` are mistyped addresses; resolvers would take some of them for others.
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(EXPECTED_V4);
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if text.len() > HOST_NAME_LIMIT || !text.bytes().all(good) {
        return Err(EXPECTED_HOST);
    }
    Ok(Host::Name(text.into()))
}

fn parse_v6(text: &str) -> Result<Host, &'static str> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    let ip = ip.parse::<Ipv6Addr>().map_err(|_| EXPECTED_V6)?;
    let Some(zone) = zone else {
        return Ok(Host::V6(ip, None));
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if zone.is_empty() || zone.len() > ZONE_LIMIT || !zone.bytes().all(good) {
        return Err(EXPECTED_ZONE);
    }
    Ok(Host::V6(ip, Some(zone.into())))
}

/// Digits only: no sign, no blank, no other base.
fn parse_decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn parse_ipc(input: &str, rest: &str) -> Result<Address, EndpointError> {
    let address = match rest.strip_prefix('@') {
        _ if rest.is_empty() => return Err(syntax(input, EXPECTED_IPC)),
        _ if rest == "*" => IpcAddress::Any,
        Some("") => return Err(syntax(input, "a name after `ipc://@`")),
        Some(name) => IpcAddress::Abstract(name.into()),
        None => IpcAddress::Path(rest.into()),
    };
    if rest.contains('\0') {
        return Err(syntax(input, "an ipc path without a zero octet"));
    }
    if rest.len() >= IPC_PATH_LIMIT {
        return Err(EndpointError::PathTooLong {
            input: input.into(),
            octets: rest.len(),
        });
    }
    Ok(Address::Ipc(address))
}

fn parse_inproc(input: &str, rest: &str) -> Result<Address, EndpointError> {
    match rest {
        "" => Err(syntax(input, "`inproc://name`")),
        name => Ok(Address::Inproc(name.into())),
    }
}

/// The size of `sun_path` on Linux, with its final zero.
const IPC_PATH_LIMIT: usize = 108;

/// RFC 1035, 2.3.4.
const HOST_NAME_LIMIT: usize = 255;

/// Longer than any interface name (`IF_NAMESIZE` is 16 on Linux, 256 on Windows).
const ZONE_LIMIT: usize = 256;

/// Transports of the ZeroMQ family that Sinew names in its error instead of calling them unknown.
const UNSUPPORTED: &[&str] = &[
    #[cfg(not(feature = "ws"))]
    "ws",
    "wss",
    "vsock",
    "vmci",
    "tipc",
    "norm",
    "pgm",
    "epgm",
];

/// Leaves a request room within what servers take for its head.
#[cfg(feature = "ws")]
const WS_PATH_LIMIT: usize = 1024;

#[cfg(feature = "ws")]
const EXPECTED_PATH: &str = "a path of at most 1024 visible ASCII characters other than `#`";
const EXPECTED_ANY: &str = "`tcp://host:port`, `ipc://path` or `inproc://name`";
const EXPECTED_TCP: &str = "`tcp://host:port`";
const EXPECTED_UDP: &str = "`udp://host:port` or `udp://interface;group:port`";
const EXPECTED_INTERFACE: &str = "an interface name, an address or `*` before `;`";
const EXPECTED_PORT: &str = "a decimal port from 0 to 65535, or `*`";
const EXPECTED_V4: &str = "an IPv4 address of four numbers from 0 to 255";
const EXPECTED_V6: &str = "an IPv6 address, as in `[::1]`";
const EXPECTED_ZONE: &str = "an interface name or index after `%`";
const EXPECTED_HOST: &str = "a host of ASCII letters, digits, `.`, `-` and `_`";
const EXPECTED_IPC: &str = "`ipc://path`, `ipc://@name` or `ipc://*`";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Endpoint, EndpointError, ToEndpoint, Transport, UNSUPPORTED};

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        text.parse()
    }

    #[test]
    fn texts_and_their_canonical_form() {
        for (text, canonical) in [
            ("tcp://*:*", "tcp://*:*"),
            ("tcp://*:0", "tcp://*:*"),
            ("tcp://*:5555", "tcp://*:5555"),
            ("tcp://127.0.0.1:65535", "tcp://127.0.0.1:65535"),
            ("tcp://[::1]:5555", "tcp://[::1]:5555"),
            ("tcp://::1:5555", "tcp://[::1]:5555"),
            ("tcp://[0:0::0:1]:05555", "tcp://[::1]:5555"),
            ("tcp://[fe80::1%eth0]:1", "tcp://[fe80::1%eth0]:1"),
            ("tcp://[fe80::1]%eth0:1", "tcp://[fe80::1%eth0]:1"),
            ("tcp://fe80::1%2:1", "tcp://[fe80::1%2]:1"),
            ("tcp://eth0.100:5555", "tcp://eth0.100:5555"),
            ("tcp://a-b.example.org:1", "tcp://a-b.example.org:1"),
            ("tcp://10.0.0.1:0;host:5555", "tcp://10.0.0.1:*;host:5555"),
            ("tcp://*:*;[::1]:5555", "tcp://*:*;[::1]:5555"),
            ("udp://*:0", "udp://*:*"),
            ("udp://10.0.0.1:5555", "udp://10.0.0.1:5555"),
            ("udp://a.name:5555", "udp://a.name:5555"),
            ("udp://239.0.0.1:5555", "udp://239.0.0.1:5555"),
            ("udp://eth0;239.0.0.1:5555", "udp://eth0;239.0.0.1:5555"),
            ("udp://*;239.0.0.1:5555", "udp://*;239.0.0.1:5555"),
            (
                "udp://10.0.0.1;239.0.0.1:5555",
                "udp://10.0.0.1;239.0.0.1:5555",
            ),
            ("udp://eth0;ff02::7:5555", "udp://eth0;[ff02::7]:5555"),
            ("udp://::1:5555", "udp://[::1]:5555"),
            ("ipc:///run/x.sock", "ipc:///run/x.sock"),
            ("ipc://relative", "ipc://relative"),
            ("ipc://@name", "ipc://@name"),
            ("ipc://*", "ipc://*"),
            (
                "inproc://any thing: at * all",
                "inproc://any thing: at * all",
            ),
            ("inproc://inproc://", "inproc://inproc://"),
        ] {
            let endpoint = parse(text).unwrap();
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(parse(canonical).unwrap(), endpoint);
        }
    }

    #[test]
    #[cfg(feature = "ws")]
    fn websockets_have_a_path() {
        for (text, canonical, path) in [
            ("ws://*:0", "ws://*:*/", "/"),
            ("ws://a.b:80", "ws://a.b:80/", "/"),
            (
                "ws://[::1]:8080/x/y?z=1",
                "ws://[::1]:8080/x/y?z=1",
                "/x/y?z=1",
            ),
            ("ws://10.0.0.1:1//", "ws://10.0.0.1:1//", "//"),
        ] {
            let endpoint = parse(text).unwrap();
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(parse(canonical).unwrap(), endpoint);
            assert_eq!(endpoint.ws_path(), Some(path));
            assert_eq!(endpoint.transport(), Transport::Ws);
            assert!(endpoint.check_bind().is_ok());
            assert_eq!(endpoint.check_connect().is_err(), endpoint.is_wildcard());
        }
        assert_eq!(parse("ws://a:1").unwrap().port(), Some(1));
        for (text, expected) in [
            ("ws://", "`ws://host:port/path`"),
            ("ws://a", "`ws://host:port/path`"),
            ("ws:///x", "`ws://host:port/path`"),
            ("ws://a:x/", super::EXPECTED_PORT),
            ("ws://a:1/ x", super::EXPECTED_PATH),
            ("ws://a:1/#x", super::EXPECTED_PATH),
            ("ws://a:1/\r\n", super::EXPECTED_PATH),
            ("ws://a:1/é", super::EXPECTED_PATH),
        ] {
            assert_eq!(parse(text), Err(super::syntax(text, expected)));
        }
        let long = format!("ws://a:1/{}", "x".repeat(1024));
        assert_eq!(
            parse(&long),
            Err(super::syntax(&long, super::EXPECTED_PATH))
        );
    }

    #[test]
    fn bad_texts_and_what_was_expected() {
        for (text, expected) in [
            ("", "`tcp://host:port`, `ipc://path` or `inproc://name`"),
            ("tcp", "`tcp://host:port`, `ipc://path` or `inproc://name`"),
            (
                "tcp:/a:1",
                "`tcp://host:port`, `ipc://path` or `inproc://name`",
            ),
            (
                "TCP://a:1",
                "`tcp://host:port`, `ipc://path` or `inproc://name`",
            ),
            (
                "://a:1",
                "`tcp://host:port`, `ipc://path` or `inproc://name`",
            ),
            ("tcp://", "`tcp://host:port`"),
            ("tcp://1.2.3.4", "`tcp://host:port`"),
            ("tcp://host:", "`tcp://host:port`"),
            ("tcp://:1", "`tcp://host:port`"),
            ("tcp://;host:1", "`tcp://host:port`"),
            ("tcp://a:1;", "`tcp://host:port`"),
            ("tcp://host:+1", "a decimal port from 0 to 65535, or `*`"),
            ("tcp://host:-1", "a decimal port from 0 to 65535, or `*`"),
            ("tcp://host: 1", "a decimal port from 0 to 65535, or `*`"),
            ("tcp://host:0x1", "a decimal port from 0 to 65535, or `*`"),
            ("tcp://host:65536", "a decimal port from 0 to 65535, or `*`"),
            (
                "tcp://host:99999999999999999999",
                "a decimal port from 0 to 65535, or `*`",
            ),
            (
                "tcp://host:1/path",
                "a decimal port from 0 to 65535, or `*`",
            ),
            (
                "tcp://1.2.3:1",
                "an IPv4 address of four numbers from 0 to 255",
            ),
            (
                "tcp://1.2.3.256:1",
                "an IPv4 address of four numbers from 0 to 255",
            ),
            ("tcp://[::1:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://[::1]x:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://[fe80::1%a]%b:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://[127.0.0.1]:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://a:b:1", "an IPv6 address, as in `[::1]`"),
            ("tcp://[fe80::1%]:1", "an interface name or index after `%`"),
            (
                "tcp://ho st:1",
                "a host of ASCII letters, digits, `.`, `-` and `_`",
            ),
            (
                "tcp://é:1",
                "a host of ASCII letters, digits, `.`, `-` and `_`",
            ),
            ("tcp://a;b;c:1", "`tcp://host:port`"),
            ("udp://", "`udp://host:port` or `udp://interface;group:port`"),
            ("udp://host", "`udp://host:port` or `udp://interface;group:port`"),
            ("udp://host:65536", "a decimal port from 0 to 65535, or `*`"),
            (
                "udp://;239.0.0.1:1",
                "an interface name, an address or `*` before `;`",
            ),
            (
                "udp://eth0;10.0.0.1:1",
                "a multicast address in numbers behind `interface;`",
            ),
            (
                "udp://eth0;host:1",
                "a multicast address in numbers behind `interface;`",
            ),
            (
                "udp://eth0;*:1",
                "a multicast address in numbers behind `interface;`",
            ),
            (
                "udp://239.0.0.2;239.0.0.1:1",
                "an interface, `*`, or an address of the group's family that is not multicast before `;`",
            ),
            (
                "udp://10.0.0.1;[ff02::1]:1",
                "an interface, `*`, or an address of the group's family that is not multicast before `;`",
            ),
            ("ipc://", "`ipc://path`, `ipc://@name` or `ipc://*`"),
            ("ipc://@", "a name after `ipc://@`"),
            ("ipc://a\0b", "an ipc path without a zero octet"),
            ("inproc://", "`inproc://name`"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{text}` is not an endpoint: expected {expected}"),
            );
        }
    }

    #[test]
    fn known_but_unbuilt_transports_have_their_own_error() {
        for scheme in UNSUPPORTED {
            let input = format!("{scheme}://x:1");
            assert_eq!(
                parse(&input),
                Err(EndpointError::UnsupportedTransport {
                    input: input.into(),
                    scheme,
                })
            );
        }
    }

    #[test]
    fn ipc_paths_fit_a_socket_address() {
        let longest = format!("ipc:///{}", "x".repeat(106));
        assert!(parse(&longest).is_ok());
        let text = format!("{longest}x");
        assert_eq!(
            parse(&text),
            Err(EndpointError::PathTooLong {
                input: text.clone().into(),
                octets: 108,
            })
        );
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

    fn host() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
            (any::<std::net::Ipv6Addr>(), "[a-z0-9._-]{1,16}")
                .prop_map(|(ip, zone)| format!("[{ip}%{zone}]")),
            "[a-zA-Z][a-zA-Z0-9._-]{0,40}",
        ]
    }

    fn port() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            (1..=u16::MAX).prop_map(|p| p.to_string())
        ]
    }

    fn canonical() -> impl Strategy<Value = String> {
        prop_oneof![
            (host(), port()).prop_map(|(h, p)| format!("tcp://{h}:{p}")),
            (host(), port(), host(), port())
                .prop_map(|(a, b, c, d)| format!("tcp://{a}:{b};{c}:{d}")),
            "ipc://[^\0]{1,26}".prop_filter("lone @", |s| s != "ipc://@"),
            "inproc://.{1,40}",
        ]
    }

    proptest! {
        #[test]
        fn canonical_text_survives_parsing(text in canonical()) {
            prop_assert_eq!(parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn arbitrary_text_never_panics_and_prints_what_it_parsed(
            scheme in prop_oneof![
                Just(""), Just("tcp://"), Just("ipc://"), Just("inproc://"), Just("udp://")
            ],
            rest in prop_oneof![".*", "[0-9a-f:.;%*\\[\\]@]{0,30}"],
        ) {
            if let Ok(endpoint) = parse(&format!("{scheme}{rest}")) {
                let again = parse(&endpoint.to_string()).unwrap();
                prop_assert_eq!(&again, &endpoint);
                let _ = (endpoint.check_bind(), endpoint.check_connect(), endpoint.socket_addr());
            }
        }
    }
}
