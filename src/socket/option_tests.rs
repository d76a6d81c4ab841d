//! The options of every kind of socket: what each method changes of the configuration, and that it changes nothing
//! else. What the configuration does is seen elsewhere: on descriptors in `transport`, otherwise in `tests/sockets`.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::{Pull, SocketBuilder};
use crate::config::{
    Heartbeat, HighWaterMark, IpPrefix, ReconnectPolicy, SendLimits, SocketConfig, SocksProxy,
};
use crate::message::RoutingId;

type Build = fn(SocketBuilder<Pull>) -> SocketBuilder<Pull>;
type Change = fn(&mut SocketConfig);

/// Each call, and what it changes.
macro_rules! options {
    ($($method:ident($($argument:expr),*) => |$config:ident| $change:expr;)*) => {
        [$((
            stringify!($method),
            (|builder: SocketBuilder<Pull>| builder.$method($($argument),*)) as Build,
            (|$config: &mut SocketConfig| $change) as Change,
        )),*]
    };
}

const SECOND: Duration = Duration::from_secs(1);

fn id() -> RoutingId {
    RoutingId::new("id").unwrap()
}

fn proxy() -> SocksProxy {
    SocksProxy::new("127.0.0.1:1080").unwrap()
}

fn prefix() -> IpPrefix {
    "10.0.0.0/8".parse().unwrap()
}

#[test]
fn each_method_sets_its_option_and_no_other() {
    let options = options! {
        send_hwm(7) => |c| c.send_hwm = HighWaterMark::new(7);
        recv_hwm(7) => |c| c.recv_hwm = HighWaterMark::new(7);
        linger(SECOND) => |c| c.linger = Some(SECOND);
        send_timeout(SECOND) => |c| c.send_timeout = Some(SECOND);
        recv_timeout(SECOND) => |c| c.recv_timeout = Some(SECOND);
        busy_poll(true) => |c| c.busy_poll = true;
        reconnect(ReconnectPolicy::never()) => |c| c.reconnect = ReconnectPolicy::never();
        connect_timeout(SECOND) => |c| c.connect_timeout = Some(SECOND);
        handshake_timeout(None) => |c| c.handshake_timeout = None;
        heartbeat(Heartbeat::off()) => |c| c.heartbeat = Heartbeat::off();
        // Of these two one draws the other along.
        max_frame_size(5) => |c| c.limits.frame_bytes = 5;
        max_frame_size(1 << 40) => |c| {
            c.limits.frame_bytes = 1 << 40;
            c.limits.message_bytes = 1 << 40;
        };
        max_message_size(1 << 40) => |c| c.limits.message_bytes = 1 << 40;
        max_message_size(5) => |c| {
            c.limits.frame_bytes = 5;
            c.limits.message_bytes = 5;
        };
        max_send_size(1 << 20) => |c| c.send_limits = SendLimits::of(Some(1 << 20));
        max_frames(5) => |c| c.limits.frames = 5;
        routing_id(id()) => |c| c.routing_id = Some(id());
        legacy_peers(true) => |c| c.legacy_peers = true;
        lenient_peers(true) => |c| c.lenient_peers = true;
        any_inproc_type(true) => |c| c.any_inproc_type = true;
        immediate(true) => |c| c.immediate = true;
        metadata("X-a", "b") => |c| c.metadata.push(("X-a".into(), Bytes::from("b")));
        attach_properties(true) => |c| c.attach_properties = true;
        backlog(5) => |c| c.backlog = 5;
        affinity(2) => |c| c.affinity = 2;
        max_pending_handshakes(5) => |c| c.max_pending_handshakes = 5;
        max_connections(5) => |c| c.max_connections = Some(5);
        tcp_keepalive(true) => |c| c.tcp.keepalive = Some(true);
        tcp_keepalive_idle(SECOND) => |c| c.tcp.keepalive_idle = Some(SECOND);
        tcp_keepalive_interval(SECOND) => |c| c.tcp.keepalive_interval = Some(SECOND);
        tcp_keepalive_count(5) => |c| c.tcp.keepalive_count = Some(5);
        tcp_user_timeout(SECOND) => |c| c.tcp.user_timeout = Some(SECOND);
        tos(0xb8) => |c| c.tcp.tos = Some(0xb8);
        priority(3) => |c| c.tcp.priority = Some(3);
        bind_to_device("lo") => |c| c.tcp.bind_to_device = Some("lo".into());
        kernel_send_buffer(4096) => |c| c.tcp.send_buffer = Some(4096);
        kernel_recv_buffer(4096) => |c| c.tcp.recv_buffer = Some(4096);
        kernel_busy_poll(SECOND) => |c| c.tcp.busy_poll = Some(SECOND);
        ipv6(false) => |c| c.tcp.ipv6 = false;
        socks_proxy(proxy()) => |c| c.tcp.socks = Some(proxy());
        accept_filter(prefix()) => |c| c.tcp.accept_filters.push(prefix());
        multicast_hops(9) => |c| c.multicast.hops = 9;
        multicast_loop(false) => |c| c.multicast.to_self = false;
        ipc_filter_pid(5) => |c| c.ipc.pids.push(5);
        ipc_filter_uid(5) => |c| c.ipc.uids.push(5);
        ipc_filter_gid(5) => |c| c.ipc.gids.push(5);
    };
    for (name, call, change) in options {
        let default = Pull::builder().config;
        let mut expected = default.clone();
        change(&mut expected);
        assert_ne!(expected, default, "`{name}` is set to its default");
        assert_eq!(call(Pull::builder()).config, expected, "`{name}`");
    }

    let tested: BTreeSet<&str> = options.iter().map(|(name, ..)| *name).collect();
    let all: BTreeSet<&str> = [include_str!("builder.rs"), include_str!("network.rs")]
        .into_iter()
        .flat_map(|source| source.split("pub fn ").skip(1))
        .filter_map(|method| method.split_once("(mut self"))
        .map(|(name, _)| name)
        // It is no part of the configuration.
        .filter(|name| *name != "context")
        .collect();
    assert_eq!(tested, all);
}
