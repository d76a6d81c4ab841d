//! Other texts for an endpoint: one with each address that its host stands for.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::tcp::local_addrs;
use crate::endpoint::{Endpoint, Host};

/// The endpoint with each address that its host stands for on this host, in the order in which they are bound.
/// None without a host, or if nobody knows it. A name that no interface has is looked up here, on the caller's
/// thread; anything else blocks on nothing.
pub(crate) fn numeric_forms(endpoint: &Endpoint) -> Vec<Endpoint> {
    let Some(target) = endpoint.address().host_port() else {
        return Vec::new();
    };
    let addrs = match target.host {
        Host::Any => vec![
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), target.port),
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), target.port),
        ],
        _ => local_addrs(target).unwrap_or_default(),
    };
    let both = addrs
        .into_iter()
        .flat_map(|addr| [Some(addr), unzoned(addr)]);
    both.flatten()
        .filter_map(|addr| endpoint.at(addr))
        .collect()
}

/// The address as the system tells it again, if it does without the zone: it keeps those of link-local ones.
fn unzoned(addr: SocketAddr) -> Option<SocketAddr> {
    match addr {
        SocketAddr::V6(v6) if v6.scope_id() != 0 && v6.ip().segments()[0] & 0xffc0 != 0xfe80 => {
            Some(SocketAddr::new((*v6.ip()).into(), v6.port()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::numeric_forms;

    fn forms(text: &str) -> Vec<String> {
        let forms = numeric_forms(&text.parse().unwrap());
        forms.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_part_but_the_host_stays() {
        assert_eq!(forms("tcp://*:5"), ["tcp://[::]:5", "tcp://0.0.0.0:5"]);
        assert_eq!(forms("tcp://10.0.0.1:5"), ["tcp://10.0.0.1:5"]);
        let from = "tcp://10.0.0.1:7;10.0.0.2:5";
        assert_eq!(forms(from), [from]);
        assert_eq!(forms("udp://lo;239.0.0.1:5"), ["udp://lo;239.0.0.1:5"]);
        assert!(forms("tcp://localhost:5").contains(&"tcp://127.0.0.1:5".to_owned()));
        #[cfg(feature = "ws")]
        assert_eq!(forms("ws://*:5/x"), ["ws://[::]:5/x", "ws://0.0.0.0:5/x"]);
        for none in ["inproc://x", "ipc://x", "tcp://[::1%no-such-if]:5"] {
            assert!(forms(none).is_empty(), "{none}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn interfaces_and_zones_are_looked_up() {
        assert!(forms("tcp://lo:5").contains(&"tcp://127.0.0.1:5".to_owned()));
        assert_eq!(forms("tcp://[fe80::1%lo]:5"), ["tcp://[fe80::1%1]:5"]);
        let global = ["tcp://[::1%1]:5", "tcp://[::1]:5"];
        assert_eq!(forms("tcp://[::1%lo]:5"), global);
    }
}
