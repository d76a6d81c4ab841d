//! The options of a socket, to be read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::builder::SocketKind;
use super::shell::Shell;
use crate::config::{Conflate, Heartbeat, HighWaterMark, IpPrefix, ReconnectPolicy, SocksProxy};
use crate::io::Settings;
use crate::message::{Message, RoutingId};

/// The options of a socket as they were when [`options`](crate::Push::options) was called. Each has the name and the
/// meaning that it has in [`SocketBuilder`](crate::SocketBuilder); options that can be given several times have
/// the plural. An option that only some kinds of socket have is the default of it for others.
///
/// ```
/// use sinew::{HighWaterMark, Req};
///
/// let mut req = Req::builder().relaxed(false).build()?;
/// req.set_send_hwm(5)?;
/// assert_eq!(req.options().send_hwm(), HighWaterMark::new(5));
/// assert!(!req.options().relaxed());
/// # Ok::<(), sinew::BuildError>(())
/// ```
#[derive(Clone)]
pub struct SocketOptions<K: SocketKind> {
    settings: Arc<Settings>,
    pub(super) kind: K::Options,
}

macro_rules! getters {
    ($($name:ident: $type:ty = |$config:ident| $value:expr;)*) => {
        impl<K: SocketKind> SocketOptions<K> {
            $(
                /// See the method of this name (or the singular of it) of [`SocketBuilder`](crate::SocketBuilder).
                #[must_use]
                pub fn $name(&self) -> $type {
                    let $config = &self.settings.config;
                    $value
                }
            )*
        }

        impl<K: SocketKind> fmt::Debug for SocketOptions<K> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut debug = f.debug_struct("SocketOptions");
                $(debug.field(stringify!($name), &self.$name());)*
                debug.field("kind", &self.kind).finish()
            }
        }
    };
}

getters! {
    send_hwm: HighWaterMark = |config| config.send_hwm;
    recv_hwm: HighWaterMark = |config| config.recv_hwm;
    linger: Option<Duration> = |config| config.linger;
    send_timeout: Option<Duration> = |config| config.send_timeout;
    recv_timeout: Option<Duration> = |config| config.recv_timeout;
    busy_poll: bool = |config| config.busy_poll;
    reconnect: ReconnectPolicy = |config| config.reconnect;
    connect_timeout: Option<Duration> = |config| config.connect_timeout;
    handshake_timeout: Option<Duration> = |config| config.handshake_timeout;
    heartbeat: Heartbeat = |config| config.heartbeat;
    max_frame_size: u64 = |config| config.limits.frame_bytes;
    max_message_size: u64 = |config| config.limits.message_bytes;
    max_send_size: Option<u64> = |config| match config.send_limits.message_bytes {
        u64::MAX => None,
        octets => Some(octets),
    };
    max_frames: u32 = |config| config.limits.frames;
    max_topics: u32 = |config| config.subscriptions.topics;
    max_groups: u32 = |config| config.subscriptions.groups;
    max_topic_length: u32 = |config| config.subscriptions.topic_bytes;
    routing_id: Option<&RoutingId> = |config| config.routing_id.as_ref();
    legacy_peers: bool = |config| config.legacy_peers;
    lenient_peers: bool = |config| config.lenient_peers;
    any_inproc_type: bool = |config| config.any_inproc_type;
    immediate: bool = |config| config.immediate;
    conflate: Conflate = |config| config.conflate;
    attach_properties: bool = |config| config.attach_properties;
    metadata: &[(String, Bytes)] = |config| &config.metadata;
    backlog: u32 = |config| config.backlog;
    affinity: u64 = |config| config.affinity;
    max_pending_handshakes: u32 = |config| config.max_pending_handshakes;
    max_connections: Option<u32> = |config| config.max_connections;
    hello_message: Option<&Message> = |config| config.notes.hello.as_ref();
    probe_router: bool = |config| config.notes.probe;
    disconnect_message: Option<&Message> = |config| config.notes.disconnect.as_ref();
    hiccup_message: Option<&Message> = |config| config.notes.hiccup.as_ref();
    notify_connect: bool = |config| config.notes.notify_connect;
    notify_disconnect: bool = |config| config.notes.notify_disconnect;
    only_first_subscribe: bool = |config| config.only_first_subscribe;
    welcome_message: Option<&Message> = |config| config.welcome.as_ref();
    tcp_keepalive: Option<bool> = |config| config.tcp.keepalive;
    tcp_keepalive_idle: Option<Duration> = |config| config.tcp.keepalive_idle;
    tcp_keepalive_interval: Option<Duration> = |config| config.tcp.keepalive_interval;
    tcp_keepalive_count: Option<u32> = |config| config.tcp.keepalive_count;
    tcp_user_timeout: Option<Duration> = |config| config.tcp.user_timeout;
    tos: Option<u8> = |config| config.tcp.tos;
    priority: Option<u32> = |config| config.tcp.priority;
    bind_to_device: Option<&str> = |config| config.tcp.bind_to_device.as_deref();
    kernel_send_buffer: Option<usize> = |config| config.tcp.send_buffer;
    kernel_recv_buffer: Option<usize> = |config| config.tcp.recv_buffer;
    kernel_busy_poll: Option<Duration> = |config| config.tcp.busy_poll;
    ipv6: bool = |config| config.tcp.ipv6;
    socks_proxy: Option<&SocksProxy> = |config| config.tcp.socks.as_ref();
    accept_filters: &[IpPrefix] = |config| &config.tcp.accept_filters;
    multicast_hops: u8 = |config| config.multicast.hops;
    multicast_loop: bool = |config| config.multicast.to_self;
    ipc_filter_pids: &[u32] = |config| &config.ipc.pids;
    ipc_filter_uids: &[u32] = |config| &config.ipc.uids;
    ipc_filter_gids: &[u32] = |config| &config.ipc.gids;
}

impl<K: SocketKind> SocketOptions<K> {
    pub(super) fn of(shell: &Shell) -> Self {
        SocketOptions {
            settings: Arc::clone(&shell.settings),
            kind: shell.kind_options(),
        }
    }
}

/// What is read of the options that one kind has alone: the name, the type and the field.
macro_rules! kind_options {
    ($kind:ident: $($name:ident: $type:ty = |$options:ident| $value:expr),* $(,)?) => {
        impl super::SocketOptions<$kind> {
            $(
                /// See the method of this name of [`SocketBuilder`].
                #[must_use]
                pub fn $name(&self) -> $type {
                    let $options = &self.kind;
                    $value
                }
            )*
        }
    };
}

pub(super) use kind_options;
