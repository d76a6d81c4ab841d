//! UDP: sockets that receive datagrams, join multicast groups, and send to anyone.
//!
//! There are no connections: a socket bound to an address (or to a group) receives from everyone, and
//! every send names its target. An address that is bound is not taken by a second socket, except for
//! groups, which exist to have many members on one host.
//!
//! What this does not promise: that a datagram arrives, that it arrives once, or that an error is that of
//! the last datagram sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::event::Source;
use mio::{Interest, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::{interface, tcp};
use crate::config::SocketConfig;
use crate::endpoint::{Address, Endpoint, Host, HostPort, UdpAddress};

/// A non-blocking datagram socket.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: mio::net::UdpSocket,
    /// Whether IPv4 addresses have to be written as IPv6 ones.
    is_v6: bool,
}

impl Datagrams {
    /// Binds to an address of this host, or joins a group; returns also the endpoint really bound. A host
    /// name is looked up here, on the caller's thread.
    ///
    /// # Errors
    /// If the address cannot be bound, the group not joined, or an option is refused.
    pub(crate) fn bind(
        address: &UdpAddress,
        config: &SocketConfig,
    ) -> io::Result<(Self, Endpoint)> {
        let mut failure = None;
        for addr in bind_addrs(&address.target, config.tcp.ipv6)? {
            match Datagrams::bind_to(addr, address, config) {
                Ok(bound) => return Ok(bound),
                // The first failure is the telling one.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| tcp::unknown_host(&address.target)))
    }

    fn bind_to(
        addr: SocketAddr,
        address: &UdpAddress,
        config: &SocketConfig,
    ) -> io::Result<(Self, Endpoint)> {
        let socket = open(addr, config)?;
        let group = addr.ip().is_multicast().then_some(addr.ip());
        let local = match (group, addr) {
            (None, _) => addr,
            (Some(_), SocketAddr::V4(_)) => (Ipv4Addr::UNSPECIFIED, addr.port()).into(),
            (Some(_), SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, addr.port()).into(),
        };
        if group.is_some() {
            socket.set_reuse_address(true)?;
            #[cfg(unix)]
            socket.set_reuse_port(true)?;
        }
        if addr.is_ipv6() {
            // A member of an IPv6 group has no business with IPv4.
            socket.set_only_v6(group.is_some())?;
        }
        let through = Interfaces::of(address.interface.as_deref(), addr)?;
        through.send(&socket, addr, config)?;
        socket.bind(&local.into())?;
        match group {
            None => {}
            Some(IpAddr::V4(group)) => {
                // Otherwise the system also delivers what others on this host have joined.
                #[cfg(any(target_os = "linux", target_os = "android"))]
                socket.set_multicast_all_v4(false)?;
                socket.join_multicast_v4(&group, &through.v4)?;
            }
            Some(IpAddr::V6(group)) => {
                #[cfg(any(target_os = "linux", target_os = "android"))]
                socket.set_multicast_all_v6(false)?;
                socket.join_multicast_v6(&group, through.v6)?;
            }
        }
        let port = socket
            .local_addr()?
            .as_socket()
            .map_or(addr.port(), |local| local.port());
        let mut real = addr;
        real.set_port(port);
        let endpoint = real_endpoint(address, real);
        let bound = Datagrams {
            socket: mio::net::UdpSocket::from_std(socket.into()),
            is_v6: addr.is_ipv6(),
        };
        Ok((bound, endpoint))
    }

    /// Opens a socket to send to `target`, a host or a group, from.
    ///
    /// # Errors
    /// If the interface is not known, or an option is refused.
    pub(crate) fn towards(
        target: SocketAddr,
        address: &UdpAddress,
        config: &SocketConfig,
    ) -> io::Result<Self> {
        if target.is_ipv6() && !config.tcp.ipv6 {
            return Err(tcp::ipv6_is_off());
        }
        let socket = open(target, config)?;
        Interfaces::of(address.interface.as_deref(), target)?.send(&socket, target, config)?;
        Ok(Datagrams {
            socket: mio::net::UdpSocket::from_std(socket.into()),
            is_v6: target.is_ipv6(),
        })
    }

    /// Takes the next datagram: its length, up to that of `buf` (a longer one is cut), and its sender.
    ///
    /// # Errors
    /// `WouldBlock` if there is none. Others concern one datagram, perhaps one sent before; the socket lives
    /// on.
    pub(crate) fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (length, from) = self.socket.recv_from(buf)?;
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        Ok((length, from))
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// `WouldBlock` if the system can take none now. Others concern one datagram, perhaps an earlier one.
    pub(crate) fn send_to(&self, octets: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = match (to, self.is_v6) {
            (SocketAddr::V4(v4), true) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            (to, _) => to,
        };
        self.socket.send_to(octets, to).map(|_| ())
    }

    /// The descriptor itself, to look at options.
    #[cfg(test)]
    pub(super) fn socket(&self) -> socket2::SockRef<'_> {
        socket2::SockRef::from(&self.socket)
    }
}

impl Source for Datagrams {
    fn register(
        &mut self,
        registry: &mio::Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.socket.register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &mio::Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.socket.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &mio::Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}

/// The interface that multicast goes through, as either family names it.
struct Interfaces {
    v4: Ipv4Addr,
    v6: u32,
}

impl Interfaces {
    /// What the part before `;`, or the zone of the group, means. Without either, the system chooses.
    fn of(named: Option<&Host>, group: SocketAddr) -> io::Result<Self> {
        let unknown = |name: &dyn std::fmt::Display, what: &str| {
            Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{name} is no interface with {what}"),
            ))
        };
        let mut found = Interfaces {
            v4: Ipv4Addr::UNSPECIFIED,
            v6: 0,
        };
        match (named, group) {
            (None, SocketAddr::V6(group)) => found.v6 = group.scope_id(),
            (None | Some(Host::Any), _) => {}
            (Some(Host::V4(ip)), _) => found.v4 = *ip,
            (Some(Host::Name(name)), SocketAddr::V4(_)) => {
                let v4 = interface::addresses(name)
                    .into_iter()
                    .find_map(|ip| match ip {
                        IpAddr::V4(v4) => Some(v4),
                        IpAddr::V6(_) => None,
                    });
                match v4 {
                    Some(v4) => found.v4 = v4,
                    None => return unknown(name, "an IPv4 address"),
                }
            }
            (Some(Host::Name(name)), SocketAddr::V6(_)) => match interface::index(name) {
                Some(index) => found.v6 = index,
                None => return unknown(name, "a number"),
            },
            (Some(host @ Host::V6(..)), _) => {
                return unknown(host, "a name, which IPv6 multicast needs")
            }
        }
        Ok(found)
    }

    /// Sets how multicast is sent.
    fn send(&self, socket: &Socket, addr: SocketAddr, config: &SocketConfig) -> io::Result<()> {
        let hops = u32::from(config.multicast.hops);
        let to_self = config.multicast.to_self;
        if addr.is_ipv4() {
            socket.set_multicast_ttl_v4(hops)?;
            socket.set_multicast_loop_v4(to_self)?;
            if self.v4 != Ipv4Addr::UNSPECIFIED {
                socket.set_multicast_if_v4(&self.v4)?;
            }
        } else {
            socket.set_multicast_hops_v6(hops)?;
            socket.set_multicast_loop_v6(to_self)?;
            if self.v6 != 0 {
                socket.set_multicast_if_v6(self.v6)?;
            }
        }
        Ok(())
    }
}

/// The addresses to try, in order.
fn bind_addrs(target: &HostPort, ipv6: bool) -> io::Result<Vec<SocketAddr>> {
    let any_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), target.port);
    let any_v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), target.port);
    match (&target.host, ipv6) {
        (Host::Any, true) => Ok(vec![any_v6, any_v4]),
        (Host::Any, false) => Ok(vec![any_v4]),
        (Host::V6(..), false) => Err(tcp::ipv6_is_off()),
        _ => {
            let mut found = tcp::local_addrs(target)?;
            found.retain(|addr| ipv6 || addr.is_ipv4());
            Ok(found)
        }
    }
}

/// A non-blocking socket with the options that must be set before it has a name.
fn open(addr: SocketAddr, config: &SocketConfig) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    tcp::prepare(&socket, &config.tcp)?;
    Ok(socket)
}

/// What was asked for, with the numbers that were found.
fn real_endpoint(asked: &UdpAddress, real: SocketAddr) -> Endpoint {
    let host = match real {
        SocketAddr::V4(v4) => Host::V4(*v4.ip()),
        SocketAddr::V6(v6) => {
            let zone = (v6.scope_id() != 0).then(|| v6.scope_id().to_string().into());
            Host::V6(*v6.ip(), zone)
        }
    };
    Endpoint::from_address(Address::Udp(UdpAddress {
        interface: asked.interface.clone(),
        target: HostPort {
            host,
            port: real.port(),
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    /// Only a failing test waits for this.
    const WATCHDOG: Duration = Duration::from_secs(20);

    fn address(text: &str) -> UdpAddress {
        let endpoint: Endpoint = text.parse().unwrap();
        match endpoint.address() {
            Address::Udp(udp) => udp.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn bind(text: &str) -> io::Result<(Datagrams, Endpoint)> {
        Datagrams::bind(&address(text), &SocketConfig::default())
    }

    fn receive(from: &mut Datagrams) -> (Vec<u8>, SocketAddr) {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        from.register(poll.registry(), Token(0), Interest::READABLE)
            .unwrap();
        let mut buf = [0; 100];
        let received = loop {
            match from.recv_from(&mut buf) {
                Ok((length, sender)) => break (buf[..length].to_vec(), sender),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            poll.poll(&mut events, Some(WATCHDOG)).unwrap();
            assert!(!events.is_empty(), "nothing came");
        };
        from.deregister(poll.registry()).unwrap();
        received
    }

    #[test]
    fn datagrams_go_both_ways_between_any_families() {
        let mut places = vec!["udp://127.0.0.1:*", "udp://*:*"];
        if std::net::UdpSocket::bind("[::1]:0").is_ok() {
            places.push("udp://[::1]:*");
        }
        for place in places {
            let (mut one, real) = bind(place).unwrap();
            let addr = real.socket_addr().unwrap();
            assert_ne!(addr.port(), 0);
            let host = match addr.ip() {
                ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                ip => ip,
            };
            let to = SocketAddr::new(host, addr.port());
            let other = Endpoint::tcp(SocketAddr::new(host, 0)).to_string();
            let (mut other, _) = bind(&other.replace("tcp", "udp")).unwrap();
            other.send_to(b"there", to).unwrap();
            let (octets, sender) = receive(&mut one);
            assert_eq!((&octets[..], sender.ip()), (&b"there"[..], host));
            one.send_to(b"back", sender).unwrap();
            assert_eq!(receive(&mut other).0, b"back");
        }
    }

    #[test]
    fn an_address_is_taken_and_freed() {
        let (first, real) = bind("udp://127.0.0.1:*").unwrap();
        let again = bind(&real.to_string()).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        bind(&real.to_string()).unwrap();
    }

    #[test]
    fn a_group_has_many_members_and_they_get_what_is_theirs() {
        // Loopback has no multicast everywhere, but on Linux it has.
        if cfg!(not(target_os = "linux")) {
            return;
        }
        let (mut one, real) = bind("udp://127.0.0.1;239.192.7.1:*").unwrap();
        let port = real.port().unwrap();
        assert_eq!(
            real.to_string(),
            format!("udp://127.0.0.1;239.192.7.1:{port}")
        );
        let (mut two, _) = bind(&format!("udp://lo;239.192.7.1:{port}")).unwrap();
        let (mut other, _) = bind(&format!("udp://lo;239.192.7.2:{port}")).unwrap();
        let send = |to: &str, text: &[u8]| {
            let to = address(&format!("udp://lo;{to}:{port}"));
            let target = to.target.socket_addr().unwrap();
            let sender = Datagrams::towards(target, &to, &SocketConfig::default()).unwrap();
            sender.send_to(text, target).unwrap();
        };
        send("239.192.7.1", b"for the first group");
        send("239.192.7.2", b"for the second");
        for member in [&mut one, &mut two] {
            assert_eq!(receive(member).0, b"for the first group");
        }
        assert_eq!(receive(&mut other).0, b"for the second");
        for member in [&one, &two, &other] {
            let rest = member.recv_from(&mut [0; 8]).unwrap_err();
            assert_eq!(rest.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn options_are_set() {
        let mut config = SocketConfig::default();
        config.multicast.hops = 9;
        config.multicast.to_self = false;
        config.tcp.recv_buffer = Some(48 << 10);
        config.tcp.send_buffer = Some(32 << 10);
        let look = |datagrams: &Datagrams, is_v4| {
            let socket = datagrams.socket();
            if is_v4 {
                assert_eq!(socket.multicast_ttl_v4().unwrap(), 9);
                assert!(!socket.multicast_loop_v4().unwrap());
            } else {
                assert_eq!(socket.multicast_hops_v6().unwrap(), 9);
                assert!(!socket.multicast_loop_v6().unwrap());
            }
            let recv = socket.recv_buffer_size().unwrap();
            assert!((48 << 10..=96 << 10).contains(&recv), "{recv}");
            let send = socket.send_buffer_size().unwrap();
            assert!((32 << 10..=64 << 10).contains(&send), "{send}");
        };
        let (bound, _) = Datagrams::bind(&address("udp://127.0.0.1:*"), &config).unwrap();
        look(&bound, true);
        let group = address("udp://127.0.0.1;239.192.7.4:9");
        let target = group.target.socket_addr().unwrap();
        let towards = Datagrams::towards(target, &group, &config).unwrap();
        look(&towards, true);
        let interface = towards.socket().multicast_if_v4().unwrap();
        assert_eq!(interface, Ipv4Addr::LOCALHOST);
        if cfg!(target_os = "linux") && std::net::UdpSocket::bind("[::1]:0").is_ok() {
            let group = address("udp://lo;[ff02::7:4]:9");
            let target = group.target.socket_addr().unwrap();
            let towards = Datagrams::towards(target, &group, &config).unwrap();
            look(&towards, false);
            assert_eq!(towards.socket().multicast_if_v6().unwrap(), 1);
        }
    }

    /// Whether this process may is asked of the system, on a socket of the test's own.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_device() {
        let probe = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let allowed = probe.bind_device(Some(b"lo"));
        let open = |device: &str| {
            let mut config = SocketConfig::default();
            config.tcp.bind_to_device = Some(device.to_owned());
            let any = address("udp://127.0.0.1:*");
            let to = "127.0.0.1:9".parse().unwrap();
            [
                Datagrams::bind(&any, &config).map(|(bound, _)| bound),
                Datagrams::towards(to, &any, &config),
            ]
        };
        for opened in open("lo") {
            match (&allowed, opened) {
                (Ok(()), Ok(datagrams)) => {
                    let device = datagrams.socket().device().unwrap();
                    assert_eq!(device.as_deref(), Some(&b"lo"[..]));
                }
                (Err(refused), Err(error)) => {
                    assert_eq!(error.raw_os_error(), refused.raw_os_error());
                }
                (allowed, opened) => panic!("{opened:?}, but {allowed:?} for the probe"),
            }
        }
        for opened in open("no-such-device") {
            assert!(opened.is_err());
        }
    }

    #[test]
    fn interfaces_that_are_not_there_are_named() {
        for (text, expected) in [
            (
                "udp://no-such-if;239.192.7.5:9",
                "no-such-if is no interface",
            ),
            (
                "udp://no-such-if;[ff02::7:5]:9",
                "no-such-if is no interface",
            ),
            (
                "udp://[fe80::1];[ff02::7:5]:9",
                "[fe80::1] is no interface with a name",
            ),
        ] {
            let group = address(text);
            let target = group.target.socket_addr().unwrap();
            let error = Datagrams::towards(target, &group, &SocketConfig::default());
            let error = match error {
                // A host without IPv6.
                Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => continue,
                other => other.unwrap_err(),
            };
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
