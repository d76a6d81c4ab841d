//! TCP: binding, connecting, and the options of a connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::interface;
use super::listener::AcceptFailure;
use super::resolver::literal;
use super::stream::tcp_label;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::unsupported;
use crate::config::{SocketConfig, TcpConfig};
use crate::endpoint::{Host, HostPort};

/// Binds and listens on the first address of `target` that allows it.
pub(super) fn bind(
    target: &HostPort,
    config: &SocketConfig,
) -> io::Result<(mio::net::TcpListener, SocketAddr)> {
    let mut failure = None;
    for addr in bind_addrs(target, config.tcp.ipv6)? {
        match bind_addr(addr, config) {
            Ok(bound) => return Ok(bound),
            // The first failure is the telling one, except that a host without IPv6 is not at fault.
            Err(error) if lacks_ipv6(addr, &error) => failure = failure.or(Some(error)),
            Err(error) if target.host == Host::Any => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| unknown_host(target)))
}

/// The addresses to try, in order.
fn bind_addrs(target: &HostPort, ipv6: bool) -> io::Result<Vec<SocketAddr>> {
    let any_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), target.port);
    let any_v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), target.port);
    match (&target.host, ipv6) {
        (Host::Any, true) => Ok(vec![any_v6, any_v4]),
        (Host::Any, false) => Ok(vec![any_v4]),
        (Host::V6(..), false) => Err(ipv6_is_off()),
        _ => {
            let mut found = local_addrs(target)?;
            found.retain(|addr| ipv6 || addr.is_ipv4());
            Ok(found)
        }
    }
}

fn bind_addr(
    addr: SocketAddr,
    config: &SocketConfig,
) -> io::Result<(mio::net::TcpListener, SocketAddr)> {
    let socket = open(addr, &config.tcp)?;
    // Elsewhere the option lets a second listener steal the address.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    let listener = mio::net::TcpListener::from_std(socket.into());
    let real = listener.local_addr()?;
    Ok((listener, real))
}

/// Takes the next waiting connection, if its address may connect, and sets its options.
pub(super) fn accept(
    listener: &mio::net::TcpListener,
    config: &TcpConfig,
) -> Result<mio::net::TcpStream, AcceptFailure> {
    let (stream, peer) = listener.accept().map_err(AcceptFailure::of_accept)?;
    let filters = &config.accept_filters;
    if !filters.is_empty() && !filters.iter().any(|filter| filter.contains(peer.ip())) {
        let peer = tcp_label(peer);
        return Err(AcceptFailure::Filtered { peer });
    }
    configure(&stream, config).map_err(AcceptFailure::Connection)?;
    Ok(stream)
}

/// Starts to connect, without blocking.
pub(super) fn connect(
    addr: SocketAddr,
    source: Option<SocketAddr>,
    config: &TcpConfig,
) -> io::Result<mio::net::TcpStream> {
    if addr.is_ipv6() && !config.ipv6 {
        return Err(ipv6_is_off());
    }
    let socket = open(addr, config)?;
    if let Some(source) = source {
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
    }
    configure(&socket, config)?;
    match socket.connect(&addr.into()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        // An interrupted connect goes on by itself.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(mio::net::TcpStream::from_std(socket.into()))
}

/// The local address a connection to `target` starts from.
pub(super) fn source_addr(source: &HostPort, target: SocketAddr) -> io::Result<SocketAddr> {
    let other_family = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the local address {source} is of another family than {target}"),
        )
    };
    let found = match (&source.host, target) {
        (Host::Any, SocketAddr::V4(_)) => {
            vec![SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), source.port)]
        }
        (Host::Any, SocketAddr::V6(_)) => {
            vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), source.port)]
        }
        // Interfaces only: a host name would need a look-up, and this runs on an I/O thread.
        (Host::Name(name), _) => interface_addrs(name, source.port),
        (Host::V4(_) | Host::V6(..), _) => local_addrs(source)?,
    };
    if found.is_empty() {
        return Err(unknown_host(source));
    }
    found
        .into_iter()
        .find(|addr| addr.is_ipv4() == target.is_ipv4())
        .ok_or_else(other_family)
}

/// The addresses of a host on this machine: an interface, or else a host by its name. Literals are
/// answered without asking anyone but the interface table (for a zone given by name).
pub(super) fn local_addrs(target: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let host = target.host_text().unwrap_or_default();
    if let Some(addr) = literal(&host, target.port) {
        return addr.map(|addr| vec![addr]);
    }
    if let Host::Name(name) = &target.host {
        let found = interface_addrs(name, target.port);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    match (host.as_str(), target.port).to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(_) => Err(unknown_host(target)),
    }
}

fn interface_addrs(name: &str, port: u16) -> Vec<SocketAddr> {
    let found = interface::addresses(name).into_iter();
    found.map(|ip| SocketAddr::new(ip, port)).collect()
}

/// A non-blocking socket with the options that must be set before it has a name.
fn open(addr: SocketAddr, config: &TcpConfig) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    prepare(&socket, config)?;
    Ok(socket)
}

/// Makes a tcp or udp socket non-blocking, and sets what must be set before it has a name.
pub(super) fn prepare(socket: &Socket, config: &TcpConfig) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Buffers before the handshake, where the window scale is agreed on; accepted connections
    // inherit them from the listener.
    if let Some(size) = config.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    if let Some(size) = config.recv_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(device) = &config.bind_to_device {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.bind_device(Some(device.as_bytes()))?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = device;
            return Err(unsupported("binding to a device on this system"));
        }
    }
    Ok(())
}

/// Sets the options of a connection, accepted or about to be made.
pub(super) fn configure<'a, S>(stream: &'a S, config: &TcpConfig) -> io::Result<()>
where
    SockRef<'a>: From<&'a S>,
{
    let socket = SockRef::from(stream);
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    // Messages are batched by the pipe; to have the kernel wait for more would only add delay.
    socket.set_tcp_nodelay(true)?;
    match config.keepalive {
        None => {}
        Some(false) => socket.set_keepalive(false)?,
        Some(true) => socket.set_tcp_keepalive(&keepalive(config))?,
    }
    if let Some(tos) = config.tos {
        set_tos(&socket, u32::from(tos))?;
    }
    if let Some(priority) = config.priority {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_priority(priority)?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = priority;
            return Err(unsupported("a socket priority on this system"));
        }
    }
    if let Some(busy_poll) = config.busy_poll {
        // Validated to fit.
        #[cfg(target_os = "linux")]
        socket.set_busy_poll(u32::try_from(busy_poll.as_micros()).unwrap_or(u32::MAX))?;
        #[cfg(not(target_os = "linux"))]
        {
            let _ = busy_poll;
            return Err(unsupported("busy polling by this system"));
        }
    }
    if let Some(timeout) = config.user_timeout {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(Some(timeout))?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = timeout;
            return Err(unsupported("a TCP user timeout on this system"));
        }
    }
    Ok(())
}

fn keepalive(config: &TcpConfig) -> TcpKeepalive {
    let mut params = TcpKeepalive::new();
    if let Some(idle) = config.keepalive_idle {
        params = params.with_time(idle);
    }
    if let Some(interval) = config.keepalive_interval {
        params = params.with_interval(interval);
    }
    #[cfg(unix)]
    if let Some(count) = config.keepalive_count {
        params = params.with_retries(count);
    }
    params
}

fn set_tos(socket: &Socket, tos: u32) -> io::Result<()> {
    if socket.local_addr()?.is_ipv4() {
        return socket.set_tos_v4(tos);
    }
    #[cfg(unix)]
    socket.set_tclass_v6(tos)?;
    // An IPv4 peer of an IPv6 socket; a system that keeps the two apart has no such peer.
    let _ = socket.set_tos_v4(tos);
    Ok(())
}

/// Whether the failure only says that this host has no IPv6.
pub(super) fn lacks_ipv6(addr: SocketAddr, error: &io::Error) -> bool {
    #[cfg(unix)]
    let no_family = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
    #[cfg(not(unix))]
    let no_family = error.kind() == io::ErrorKind::Unsupported;
    addr.is_ipv6() && (no_family || error.kind() == io::ErrorKind::AddrNotAvailable)
}

pub(super) fn ipv6_is_off() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "an IPv6 address, but the option `ipv6` is off",
    )
}

pub(super) fn unknown_host(target: &HostPort) -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        format!("{target} names no host and no interface with an address"),
    )
}
