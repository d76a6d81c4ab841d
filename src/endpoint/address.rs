//! The parts of an endpoint, as transports take them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::parse;

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
    pub(crate) fn host_port(&self) -> Option<&HostPort> {
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
    /// An address and, for link-local ones above all, the name or index of the interface.
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

impl HostPort {
    /// Parses `host:port`, as in a tcp endpoint.
    ///
    /// # Errors
    /// What should have stood there.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        parse::host_port(text)
    }

    pub(super) fn of(addr: SocketAddr) -> Self {
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

    /// The address, if it is numeric; a zone counts as numeric if it is an index. Whether there is such an
    /// interface is not looked up.
    pub(crate) fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::V4(ip) => Some(SocketAddr::new(IpAddr::V4(*ip), self.port)),
            Host::V6(ip, None) => Some(SocketAddr::new(IpAddr::V6(*ip), self.port)),
            Host::V6(ip, Some(zone)) => {
                let index = parse::decimal::<u32>(zone)?;
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
