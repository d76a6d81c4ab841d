//! Options of a socket that concern its transports: what is set on descriptors, and who may connect.
//!
//! Each is applied before the first octet. One that the system refuses fails the bind, the attempt to
//! connect or the accepted connection it was refused for, and nothing else.

use std::time::Duration;

use super::builder::{SocketBuilder, SocketKind};
use crate::config::{IpPrefix, SocksProxy};

impl<K: SocketKind> SocketBuilder<K> {
    /// TCP keep-alive probes (`SO_KEEPALIVE`): off, on, or (`None`, the default) as the system likes.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn tcp_keepalive(mut self, on: impl Into<Option<bool>>) -> Self {
        self.config.tcp.keepalive = on.into();
        self
    }

    /// How long a connection is idle before the first keep-alive probe (`TCP_KEEPIDLE`), in whole seconds,
    /// from 1 s to 32767 s, which is the most Linux takes; `None`, the default, as the system likes. Needs `tcp_keepalive(true)`.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn tcp_keepalive_idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.config.tcp.keepalive_idle = idle.into();
        self
    }

    /// The time between two keep-alive probes (`TCP_KEEPINTVL`), in whole seconds, from 1 s to 32767 s,
    /// which is the most Linux takes; `None`, the default, as the system likes. Needs `tcp_keepalive(true)`.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn tcp_keepalive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.config.tcp.keepalive_interval = interval.into();
        self
    }

    /// The keep-alive probes without an answer that end a connection (`TCP_KEEPCNT`), from 1 to
    /// 127, which is the most Linux takes; `None`, the default, as the system likes. Needs
    /// `tcp_keepalive(true)`.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn tcp_keepalive_count(mut self, probes: impl Into<Option<u32>>) -> Self {
        self.config.tcp.keepalive_count = probes.into();
        self
    }

    /// How long sent octets may stay without acknowledgement before the connection is given up
    /// (`TCP_USER_TIMEOUT`), from 1 ms to 30 days; `None`, the default, as the system likes. Linux.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.tcp.user_timeout = timeout.into();
        self
    }

    /// The type of service of each TCP connection's packets (`IP_TOS`, `IPV6_TCLASS`), 0 to 255. TCP keeps
    /// the lowest two bits for itself. `None`, the default, as the system likes.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn tos(mut self, tos: impl Into<Option<u8>>) -> Self {
        self.config.tcp.tos = tos.into();
        self
    }

    /// The priority of each TCP connection's packets in this host's queues (`SO_PRIORITY`), from 0 to
    /// 2147483647; above 6 needs privileges. `None`, the default, as the system likes. Linux.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn priority(mut self, priority: impl Into<Option<u32>>) -> Self {
        self.config.tcp.priority = priority.into();
        self
    }

    /// The network interface that all tcp, ws and udp traffic of this socket has to use (`SO_BINDTODEVICE`),
    /// by its name of 1 to 15 octets. May need privileges. Default: none. Linux.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn bind_to_device(mut self, interface: impl Into<String>) -> Self {
        self.config.tcp.bind_to_device = Some(interface.into());
        self
    }

    /// The kernel's send buffer of each tcp connection or udp socket, in octets, from 1 to 2147483647.
    /// Default: the system's.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn kernel_send_buffer(mut self, octets: usize) -> Self {
        self.config.tcp.send_buffer = Some(octets);
        self
    }

    /// The kernel's receive buffer of each tcp connection or udp socket, in octets, from 1 to 2147483647.
    /// Default: the system's.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn kernel_recv_buffer(mut self, octets: usize) -> Self {
        self.config.tcp.recv_buffer = Some(octets);
        self
    }

    /// How long the kernel looks for input of a tcp connection before it sleeps (`SO_BUSY_POLL`), in
    /// microseconds, from 1 µs to 2147483647 µs; more than the system's default needs privileges. `None`,
    /// the default, as the system likes. Linux.
    ///
    /// Not to be confused with [`busy_poll`](SocketBuilder::busy_poll), which is about the thread that
    /// receives.
    ///
    /// The system [may refuse it](SocketBuilder#what-the-system-may-refuse).
    pub fn kernel_busy_poll(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.config.tcp.busy_poll = time.into();
        self
    }

    /// Whether IPv6 is used: names resolve to both families, `*` listens on both. Default: yes; on a host
    /// without IPv6, `*` listens on IPv4 alone.
    pub fn ipv6(mut self, on: bool) -> Self {
        self.config.tcp.ipv6 = on;
        self
    }

    /// Makes tcp connections through a SOCKS5 proxy; `None`, the default, directly. Applies to every tcp
    /// endpoint this socket connects to. An endpoint with an IPv6 zone cannot be reached through a proxy,
    /// and a local address in the endpoint is that of the connection to the proxy. A failure is a
    /// [`ConnectFailed`](crate::SocketEvent::ConnectFailed) event, and tried again.
    pub fn socks_proxy(mut self, proxy: impl Into<Option<SocksProxy>>) -> Self {
        self.config.tcp.socks = proxy.into();
        self
    }

    /// Accepts tcp and ws connections from these addresses only. May be given several times: one match is enough.
    /// Others are closed before anything is read, which is an
    /// [`AcceptFailed`](crate::SocketEvent::AcceptFailed) event. Default: accepts everyone's.
    ///
    /// ```
    /// use sinew::{IpPrefix, Pull};
    ///
    /// let pull = Pull::builder()
    ///     .accept_filter("127.0.0.0/8".parse::<IpPrefix>()?)
    ///     .accept_filter("::1".parse::<IpPrefix>()?)
    ///     .bind("tcp://127.0.0.1:*")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn accept_filter(mut self, prefix: impl Into<IpPrefix>) -> Self {
        self.config.tcp.accept_filters.push(prefix.into());
        self
    }

    /// How many routers multicast datagrams may pass, the first host included (`IP_MULTICAST_TTL`,
    /// `IPV6_MULTICAST_HOPS`), from 1 to 255. Default: 1, they stay in the local network.
    pub fn multicast_hops(mut self, hops: u8) -> Self {
        self.config.multicast.hops = hops;
        self
    }

    /// Whether members of a multicast group on this host get what this socket sends to the group
    /// (`IP_MULTICAST_LOOP`, `IPV6_MULTICAST_LOOP`). Default: yes. What is sent through the loopback
    /// interface comes back in any case.
    pub fn multicast_loop(mut self, on: bool) -> Self {
        self.config.multicast.to_self = on;
        self
    }

    /// Accepts ipc connections of this process only. May be given several times, and with
    /// [`ipc_filter_uid`](Self::ipc_filter_uid) and [`ipc_filter_gid`](Self::ipc_filter_gid): one match is
    /// enough. Where the system does not tell who connects, everyone is refused. Default: accepts
    /// everyone who may open the socket. Linux.
    ///
    /// A process is known by the number it had when it connected; numbers are used again.
    pub fn ipc_filter_pid(mut self, pid: u32) -> Self {
        self.config.ipc.pids.push(pid);
        self
    }

    /// Accepts ipc connections of this user's processes (by effective uid). See
    /// [`ipc_filter_pid`](Self::ipc_filter_pid).
    pub fn ipc_filter_uid(mut self, uid: u32) -> Self {
        self.config.ipc.uids.push(uid);
        self
    }

    /// Accepts ipc connections of processes in this group: their effective gid or one of their
    /// supplementary groups. See [`ipc_filter_pid`](Self::ipc_filter_pid).
    pub fn ipc_filter_gid(mut self, gid: u32) -> Self {
        self.config.ipc.gids.push(gid);
        self
    }
}
