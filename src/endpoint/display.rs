//! The canonical text of an endpoint: parsing it gives an equal one.

use std::fmt;

use super::address::{Address, Host, HostPort, IpcAddress};
use super::{Endpoint, Transport};

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
