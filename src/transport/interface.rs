//! The addresses of a network interface, by its name. Linux only; elsewhere no name is known.
//!
//! The call made for this (`getifaddrs`) cannot be made without `unsafe`. Instead the kernel is asked
//! which address it would send from: a datagram socket that may use this interface only is
//! "connected", which sends nothing, and then tells its own address. IPv6 addresses are listed in
//! `/proc/net/if_inet6`. Nothing here blocks.

use std::io;
use std::net::IpAddr;
#[cfg(target_os = "linux")]
use std::net::Ipv4Addr;

/// The addresses of the interface, IPv4 first; none if there is no such interface.
#[cfg(target_os = "linux")]
pub(super) fn addresses(name: &str) -> Vec<IpAddr> {
    if !std::path::Path::new("/sys/class/net").join(name).exists() {
        return Vec::new();
    }
    let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    v4(name).into_iter().chain(v6_in_table(name, &v6)).collect()
}

/// The number of the interface, if there is one of this name.
#[cfg(target_os = "linux")]
pub(super) fn index(name: &str) -> Option<u32> {
    let path = std::path::Path::new("/sys/class/net").join(name);
    let text = std::fs::read_to_string(path.join("ifindex")).ok()?;
    text.trim().parse().ok()
}

/// The number of the zone of an IPv6 address: that of the interface of this name, or else the number
/// itself, if there is an interface of that number. 0 stands for no zone (RFC 4007, section 6).
///
/// # Errors
/// If no interface has that name or number.
pub(super) fn zone(text: &str) -> io::Result<u32> {
    let number = || text.parse().ok().filter(|number| has_index(*number));
    index(text).or_else(number).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            format!(
                "`{text}` is the zone of no interface, expected the name or number of one of this host"
            ),
        )
    })
}

#[cfg(target_os = "linux")]
fn has_index(number: u32) -> bool {
    // What cannot be asked is left to the system to refuse.
    let Ok(interfaces) = std::fs::read_dir("/sys/class/net") else {
        return true;
    };
    let mut names = interfaces.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    number == 0 || names.any(|name| index(&name) == Some(number))
}

#[cfg(not(target_os = "linux"))]
fn has_index(_number: u32) -> bool {
    true
}

#[cfg(not(target_os = "linux"))]
pub(super) fn index(_name: &str) -> Option<u32> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn addresses(_name: &str) -> Vec<IpAddr> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn v4(name: &str) -> Option<IpAddr> {
    // Loopback cannot reach the one, other interfaces not the other. The second is kept for
    // documentation (RFC 5737); with the interface given, no route to it is needed.
    if let Some(addr) = v4_towards(name, Ipv4Addr::LOCALHOST).filter(Ipv4Addr::is_loopback) {
        return Some(addr.into());
    }
    let addr = v4_towards(name, Ipv4Addr::new(192, 0, 2, 1))?;
    // An interface without an address borrows that of another, and to bind that would open the wrong
    // door. So the address must belong to a network that the interface is connected to.
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    is_connected(name, addr, &routes).then_some(addr.into())
}

/// The address the interface would send from.
#[cfg(target_os = "linux")]
fn v4_towards(name: &str, destination: Ipv4Addr) -> Option<Ipv4Addr> {
    use socket2::{Domain, Socket, Type};

    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?;
    socket.bind_device(Some(name.as_bytes())).ok()?;
    let destination = std::net::SocketAddr::new(destination.into(), 9);
    socket.connect(&destination.into()).ok()?;
    Some(*socket.local_addr().ok()?.as_socket_ipv4()?.ip())
}

#[cfg(target_os = "linux")]
fn is_connected(name: &str, addr: Ipv4Addr, routes: &str) -> bool {
    // Interface, destination, gateway, flags, references, use, metric, mask, …; addresses are in
    // network order, printed as a number of this machine.
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let addr = u32::from_ne_bytes(addr.octets());
    routes.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [interface, network, gateway, _, _, _, _, mask, ..] = fields[..] else {
            return false;
        };
        match (hex(network), hex(gateway), hex(mask)) {
            (Some(network), Some(0), Some(mask)) => {
                interface == name && mask != 0 && addr & mask == network
            }
            _ => false,
        }
    })
}

/// Link-local addresses are left out: they are of no use without a zone, which can be written.
#[cfg(target_os = "linux")]
fn v6_in_table<'a>(name: &'a str, table: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
    table.lines().filter_map(move |line| {
        // Address, index, prefix length, scope, flags, name.
        let mut fields = line.split_ascii_whitespace();
        let bits = u128::from_str_radix(fields.next()?, 16).ok()?;
        let scope = fields.nth(2)?;
        let found = fields.nth(1)?;
        (found == name && scope != "20").then(|| IpAddr::V6(bits.into()))
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;

    use super::{addresses, index, is_connected, v6_in_table, zone};

    #[test]
    fn loopback_has_loopback_addresses() {
        let found = addresses("lo");
        assert!(!found.is_empty());
        assert!(found.iter().all(|ip| ip.is_loopback()), "{found:?}");
        assert_eq!(index("lo"), Some(1));
    }

    #[test]
    fn zones_are_names_or_numbers_of_interfaces() {
        for (text, number) in [("lo", 1), ("1", 1), ("0", 0)] {
            assert_eq!(zone(text).unwrap(), number, "{text}");
        }
        for text in ["no-such-if", "4294967295", "4294967296", ".."] {
            let error = zone(text).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
            assert_eq!(
                error.to_string(),
                format!("`{text}` is the zone of no interface, expected the name or number of one of this host")
            );
        }
    }

    #[test]
    fn unknown_names_have_none() {
        for name in ["no-such-if", "..", "."] {
            assert!(addresses(name).is_empty(), "{name}");
            assert_eq!(index(name), None, "{name}");
        }
    }

    #[test]
    fn a_borrowed_address_is_told_from_an_own_one() {
        let be = |a, b, c, d| format!("{:08X}", u32::from_ne_bytes([a, b, c, d]));
        let routes = format!(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
             eth0 {zero} {gateway} 0003 0 0 0 {zero} 0 0 0\n\
             eth0 {network} {zero} 0001 0 0 0 {mask} 0 0 0\n",
            zero = be(0, 0, 0, 0),
            gateway = be(10, 1, 2, 1),
            network = be(10, 1, 2, 0),
            mask = be(255, 255, 255, 0),
        );
        assert!(is_connected("eth0", Ipv4Addr::new(10, 1, 2, 3), &routes));
        assert!(!is_connected("eth0", Ipv4Addr::new(10, 1, 3, 3), &routes));
        assert!(!is_connected("eth1", Ipv4Addr::new(10, 1, 2, 3), &routes));
    }

    #[test]
    fn the_table_is_read_by_name_without_link_local_addresses() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fd000000000000000000000000000002 04 40 00 82     eth0\n\
                     fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
                     garbage\n\n";
        let eth0: Vec<_> = v6_in_table("eth0", table)
            .map(|ip| ip.to_string())
            .collect();
        assert_eq!(eth0, ["fd00::2"]);
        assert_eq!(v6_in_table("eth", table).count(), 0);
    }
}
