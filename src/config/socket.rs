//! Configuration of a socket and of the connections it makes.

use std::time::Duration;

use bytes::Bytes;

use super::timing::LONGEST;
use super::{
    Conflate, Heartbeat, HighWaterMark, IpPrefix, IpcFilters, MessageLimits, Notes, OptionError,
    ReconnectPolicy, SendLimits, SocksProxy, SubscriptionLimits,
};
use crate::message::{Message, RoutingId};

/// Everything a socket is built with. A value does not change: a socket whose options do has another one from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketConfig {
    /// Per connection, towards the peer.
    pub(crate) send_hwm: HighWaterMark,
    /// Per connection, from the peer.
    pub(crate) recv_hwm: HighWaterMark,
    /// How long unsent messages outlive the socket; `None` for ever. Default 30 s. Kinds that send
    /// no data (SUB and the like) set 0.
    pub(crate) linger: Option<Duration>,
    /// How long a blocking send waits; `None` for ever, the default.
    pub(crate) send_timeout: Option<Duration>,
    /// How long a blocking receive waits; `None` for ever, the default.
    pub(crate) recv_timeout: Option<Duration>,
    /// A receive never sleeps. Default: no.
    pub(crate) busy_poll: bool,
    pub(crate) reconnect: ReconnectPolicy,
    /// Limit for one attempt to connect; `None`, the default, leaves it to the system.
    pub(crate) connect_timeout: Option<Duration>,
    /// From the connection until the handshake is complete; `None` for no limit. Default 10 s.
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) limits: MessageLimits,
    pub(crate) send_limits: SendLimits,
    pub(crate) subscriptions: SubscriptionLimits,
    /// Announced to peers; `None` announces an empty one.
    pub(crate) routing_id: Option<RoutingId>,
    /// Whether peers that speak ZMTP 2.0 or 1.0 are accepted. Default no.
    pub(crate) legacy_peers: bool,
    /// Whether peers are forgiven what breaks rules and can be understood nevertheless. Default no.
    pub(crate) lenient_peers: bool,
    /// Whether inproc peers may be of a type that this one may not talk to. Default no.
    pub(crate) any_inproc_type: bool,
    /// Whether messages are queued only to completed connections. Default no.
    pub(crate) immediate: bool,
    /// What is kept per peer and direction, in place of a queue. Default off.
    pub(crate) conflate: Conflate,
    /// Received messages carry what is known of their peer. Default no.
    pub(crate) attach_properties: bool,
    /// Announced to peers, by name.
    pub(crate) metadata: Vec<(String, Bytes)>,
    /// The listen queue. Default 1024: the kernel caps it at its own limit, and 100, the classic
    /// value, refuses connections when a few hundred peers come back at once.
    pub(crate) backlog: u32,
    /// The I/O threads this socket may use, bit *i* for thread *i*; 0, the default, for any.
    pub(crate) affinity: u64,
    /// Accepted connections per listener that have not completed their handshake. Default 1024.
    pub(crate) max_pending_handshakes: u32,
    /// Connections of the whole socket, accepted and made; `None`, the default, for no limit.
    pub(crate) max_connections: Option<u32>,
    /// What is sent and received when peers come and go.
    pub(crate) notes: Notes,
    pub(crate) tcp: TcpConfig,
    /// Whether only the first frame of a message is looked at for being a subscription, and not every
    /// one. Default no.
    pub(crate) only_first_subscribe: bool,
    /// The first message for every new peer. Default none.
    pub(crate) welcome: Option<Message>,
    pub(crate) multicast: MulticastConfig,
    /// Who may connect over ipc. Default: everyone who may open the socket.
    pub(crate) ipc: IpcFilters,
}

/// How multicast datagrams are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MulticastConfig {
    /// Routers they may pass, the first host included. Default 1: they stay in the local network.
    pub(crate) hops: u8,
    /// Whether members of the group on this host get them. Default yes.
    pub(crate) to_self: bool,
}

/// What is set on every TCP connection. `None` leaves the system's default.
///
/// An option the system refuses fails the one connection (or bind) it was refused for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TcpConfig {
    pub(crate) keepalive: Option<bool>,
    /// Idle time before the first probe. This and the next two need `keepalive` to be on.
    pub(crate) keepalive_idle: Option<Duration>,
    pub(crate) keepalive_interval: Option<Duration>,
    pub(crate) keepalive_count: Option<u32>,
    /// `IP_TOS` and `IPV6_TCLASS`.
    pub(crate) tos: Option<u8>,
    /// `SO_PRIORITY`, Linux; above 6 is privileged.
    pub(crate) priority: Option<u32>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) recv_buffer: Option<usize>,
    /// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub(crate) user_timeout: Option<Duration>,
    /// The interface all traffic must use (`SO_BINDTODEVICE`), Linux.
    pub(crate) bind_to_device: Option<String>,
    /// Whether IPv6 is used: host names resolve to both families, and `*` listens on both. Default
    /// yes; without IPv6 on this host, IPv4 alone is used.
    pub(crate) ipv6: bool,
    /// How long the system itself looks for input before it sleeps (`SO_BUSY_POLL`), Linux.
    pub(crate) busy_poll: Option<Duration>,
    /// Whose connections are accepted; empty for everyone's.
    pub(crate) accept_filters: Vec<IpPrefix>,
    /// What connections are made through; `None`, the default, for none.
    pub(crate) socks: Option<SocksProxy>,
}

impl SocketConfig {
    /// Checks every option and the relations between them.
    ///
    /// # Errors
    /// If one has an impossible value.
    pub(crate) fn validate(&self) -> Result<(), OptionError> {
        self.send_hwm.validate("send_hwm")?;
        self.recv_hwm.validate("recv_hwm")?;
        self.reconnect.validate()?;
        self.heartbeat.validate()?;
        self.limits.validate()?;
        self.send_limits.validate()?;
        self.subscriptions.validate()?;
        for (option, message) in [
            ("hello_message", &self.notes.hello),
            ("disconnect_message", &self.notes.disconnect),
            ("hiccup_message", &self.notes.hiccup),
            ("welcome_message", &self.welcome),
        ] {
            if let Some(message) = message {
                self.send_limits.validate_greeting(option, message)?;
            }
        }
        for (option, value) in [
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("tcp_user_timeout", self.tcp.user_timeout),
        ] {
            if let Some(given) = value {
                if given < Duration::from_millis(1) || given > LONGEST {
                    return Err(OptionError::new(
                        option,
                        format_args!("{given:?}"),
                        "from 1 ms to 30 days, or `None`",
                    ));
                }
            }
        }
        for (option, given) in [
            ("backlog", u64::from(self.backlog)),
            (
                "max_pending_handshakes",
                u64::from(self.max_pending_handshakes),
            ),
            (
                "max_connections",
                u64::from(self.max_connections.unwrap_or(1)),
            ),
            (
                "kernel_send_buffer",
                to_u64(self.tcp.send_buffer.unwrap_or(1)),
            ),
            (
                "kernel_recv_buffer",
                to_u64(self.tcp.recv_buffer.unwrap_or(1)),
            ),
        ] {
            // The system takes all of these as a C int.
            if given == 0 || given > u64::from(MAX_C_INT) {
                return Err(OptionError::new(option, given, "from 1 to 2147483647"));
            }
        }
        if self.multicast.hops == 0 {
            return Err(OptionError::new("multicast_hops", 0, "from 1 to 255"));
        }
        self.validate_metadata()?;
        if let Some(id) = self.routing_id.as_ref().filter(|id| id.is_automatic()) {
            return Err(OptionError::new(
                "routing_id",
                format_args!("\"{}\"", id.as_bytes().escape_ascii()),
                "a first octet other than zero",
            ));
        }
        self.tcp.validate()
    }

    /// Whether a socket that was built with this can go on with `next`.
    ///
    /// # Errors
    /// If that changes an option which the parts of a socket are made by.
    pub(crate) fn allows(&self, next: &SocketConfig) -> Result<(), OptionError> {
        let fixed = [
            ("busy_poll", self.busy_poll == next.busy_poll),
            ("conflate", self.conflate == next.conflate),
            ("max_send_size", self.send_limits == next.send_limits),
            (
                "attach_properties",
                self.attach_properties == next.attach_properties,
            ),
            (
                "max_topics",
                self.subscriptions.topics == next.subscriptions.topics,
            ),
            (
                "max_groups",
                self.subscriptions.groups == next.subscriptions.groups,
            ),
            (
                "max_topic_length",
                self.subscriptions.topic_bytes == next.subscriptions.topic_bytes,
            ),
        ];
        match fixed.iter().find(|(_, same)| !same) {
            Some((option, _)) => Err(OptionError::fixed(option)),
            None => Ok(()),
        }
    }

    /// Names and values as they can be announced, all of them in one frame of a handshake.
    fn validate_metadata(&self) -> Result<(), OptionError> {
        let mut octets = 0;
        for (name, value) in &self.metadata {
            let is_name = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.+".contains(&octet);
            let rest = name.strip_prefix("X-");
            if name.len() > 255
                || rest.map_or(true, |rest| rest.is_empty() || !rest.bytes().all(is_name))
            {
                return Err(OptionError::new(
                    "metadata",
                    format_args!("{:?}", name.chars().take(NAME_SHOWN).collect::<String>()),
                    "a name of at most 255 octets: `X-`, then letters, digits, `-`, `_`, `.` or `+`",
                ));
            }
            if value.is_empty() {
                return Err(OptionError::new(
                    "metadata",
                    format_args!("{name:?} without a value"),
                    "a value of at least 1 octet",
                ));
            }
            octets += name.len() + value.len();
        }
        if self.metadata.len() > METADATA_ENTRIES {
            return Err(OptionError::new(
                "metadata",
                format_args!("{} entries", self.metadata.len()),
                "at most 128 entries",
            ));
        }
        if octets > METADATA_OCTETS {
            return Err(OptionError::new(
                "metadata",
                format_args!("{octets} octets of names and values"),
                "at most 32768 octets of names and values",
            ));
        }
        Ok(())
    }
}

/// How much of a wrong name an error shows.
const NAME_SHOWN: usize = 64;

/// Half of the properties, and half of the octets, that peers of this library accept of a handshake.
const METADATA_ENTRIES: usize = 128;
const METADATA_OCTETS: usize = 32 * 1024;

/// The most that Linux takes (tcp(7), TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT). It would be refused of
/// every connection, and not before.
const KEEPALIVE_SECONDS: u64 = 32767;
const KEEPALIVE_PROBES: u32 = 127;

impl TcpConfig {
    fn validate(&self) -> Result<(), OptionError> {
        let detail = self.keepalive_idle.is_some()
            || self.keepalive_interval.is_some()
            || self.keepalive_count.is_some();
        if detail && self.keepalive != Some(true) {
            return Err(OptionError::new(
                "tcp_keepalive",
                "off while its times are set",
                "`tcp_keepalive` on, or no times",
            ));
        }
        for (option, value) in [
            ("tcp_keepalive_idle", self.keepalive_idle),
            ("tcp_keepalive_interval", self.keepalive_interval),
        ] {
            // The system counts seconds; a fraction would silently become 0 or another number.
            let fits = |given: &Duration| {
                given.subsec_nanos() == 0 && (1..=KEEPALIVE_SECONDS).contains(&given.as_secs())
            };
            if let Some(given) = value.filter(|given| !fits(given)) {
                return Err(OptionError::new(
                    option,
                    format_args!("{given:?}"),
                    "whole seconds from 1 s to 32767 s, or `None`",
                ));
            }
        }
        let fits = |given: &u32| (1..=KEEPALIVE_PROBES).contains(given);
        if let Some(given) = self.keepalive_count.filter(|given| !fits(given)) {
            return Err(OptionError::new(
                "tcp_keepalive_count",
                given,
                "from 1 to 127, or `None`",
            ));
        }
        if let Some(given) = self.priority.filter(|given| *given > MAX_C_INT) {
            return Err(OptionError::new("priority", given, "from 0 to 2147483647"));
        }
        if let Some(given) = self.busy_poll {
            let micros = given.as_micros();
            if micros == 0 || micros > u128::from(MAX_C_INT) {
                return Err(OptionError::new(
                    "kernel_busy_poll",
                    format_args!("{given:?}"),
                    "from 1 µs to 2147483647 µs, or `None`",
                ));
            }
        }
        if let Some(device) = &self.bind_to_device {
            if device.is_empty() || device.len() > 15 || device.contains('\0') {
                return Err(OptionError::new(
                    "bind_to_device",
                    format_args!("{device:?}"),
                    "an interface name of 1 to 15 octets",
                ));
            }
        }
        Ok(())
    }
}

impl Default for SocketConfig {
    fn default() -> Self {
        SocketConfig {
            send_hwm: HighWaterMark::default(),
            recv_hwm: HighWaterMark::default(),
            linger: Some(Duration::from_secs(30)),
            send_timeout: None,
            recv_timeout: None,
            busy_poll: false,
            reconnect: ReconnectPolicy::default(),
            connect_timeout: None,
            handshake_timeout: Some(Duration::from_secs(10)),
            heartbeat: Heartbeat::default(),
            limits: MessageLimits::default(),
            send_limits: SendLimits::default(),
            subscriptions: SubscriptionLimits::default(),
            routing_id: None,
            legacy_peers: false,
            lenient_peers: false,
            any_inproc_type: false,
            immediate: false,
            conflate: Conflate::Off,
            attach_properties: false,
            metadata: Vec::new(),
            backlog: 1024,
            affinity: 0,
            max_pending_handshakes: 1024,
            max_connections: None,
            notes: Notes::default(),
            tcp: TcpConfig::default(),
            only_first_subscribe: false,
            welcome: None,
            multicast: MulticastConfig::default(),
            ipc: IpcFilters::default(),
        }
    }
}

impl Default for MulticastConfig {
    fn default() -> Self {
        MulticastConfig {
            hops: 1,
            to_self: true,
        }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            keepalive: None,
            keepalive_idle: None,
            keepalive_interval: None,
            keepalive_count: None,
            tos: None,
            priority: None,
            send_buffer: None,
            recv_buffer: None,
            user_timeout: None,
            bind_to_device: None,
            ipv6: true,
            busy_poll: None,
            accept_filters: Vec::new(),
            socks: None,
        }
    }
}

/// What the system can be told as a C int.
const MAX_C_INT: u32 = i32::MAX.unsigned_abs();

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::SocketConfig;
    use crate::config::{Heartbeat, HighWaterMark, ReconnectPolicy, SendLimits};
    use crate::message::Message;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(SocketConfig::default().validate(), Ok(()));
    }

    #[test]
    fn extreme_but_possible_values_are_valid() {
        let mut config = SocketConfig {
            send_hwm: HighWaterMark::unlimited(),
            recv_hwm: HighWaterMark::new(1).with_bytes(1),
            linger: None,
            send_timeout: Some(Duration::ZERO),
            reconnect: ReconnectPolicy::never(),
            handshake_timeout: None,
            heartbeat: Heartbeat::off(),
            ..SocketConfig::default()
        };
        config.limits.frame_bytes = u64::MAX;
        config.limits.message_bytes = u64::MAX;
        config.subscriptions.topics = 1;
        config.subscriptions.groups = u32::MAX;
        config.subscriptions.topic_bytes = 64 << 20;
        config.send_limits = SendLimits::of(Some(1 << 18));
        config.notes.hello = Some(Message::from(vec![0; 1 << 18]));
        assert_eq!(config.validate(), Ok(()));
        config.send_limits = SendLimits::unlimited();
        config.welcome = Some(Message::from(vec![0; (64 << 20) + 1]));
        assert_eq!(config.validate(), Ok(()));
        for (ttl, sent) in [(0, 0), (100, 1), (150, 1), (6_553_500, u16::MAX)] {
            config.heartbeat = Heartbeat::default().ttl(Duration::from_millis(ttl));
            assert_eq!(config.validate(), Ok(()));
            assert_eq!(config.heartbeat.ttl_deciseconds(), sent);
        }
    }

    #[test]
    fn impossible_values_are_named() {
        type Change = fn(&mut SocketConfig);
        let table: [(Change, &str); 34] = [
            (
                |c| c.send_hwm = 0.into(),
                "option `send_hwm` cannot be 0 messages: expected at least 1, or `HighWaterMark::unlimited()` for no limit",
            ),
            (
                |c| c.recv_hwm = HighWaterMark::new(1).with_bytes(0),
                "option `recv_hwm` cannot be 0 bytes: expected at least 1, or `HighWaterMark::unlimited()` for no limit",
            ),
            (
                |c| c.reconnect = ReconnectPolicy::backoff(Duration::ZERO, Duration::from_secs(1)),
                "option `reconnect` cannot be an initial delay of 0ns: expected at least 1 ms, or `ReconnectPolicy::never()`",
            ),
            (
                |c| {
                    c.reconnect =
                        ReconnectPolicy::backoff(Duration::from_secs(2), Duration::from_secs(1));
                },
                "option `reconnect` cannot be a longest delay of 1s: expected from the initial delay to 30 days",
            ),
            (
                |c| c.heartbeat = Heartbeat::every(Duration::ZERO),
                "option `heartbeat` cannot be interval 0ns: expected from 1 ms to 30 days, or `Heartbeat::off()`",
            ),
            (
                |c| c.heartbeat = Heartbeat::default().ttl(Duration::from_secs(6554)),
                "option `heartbeat` cannot be a ttl of 6554s: expected from 100 ms to 6553.5 s, or zero",
            ),
            (
                |c| c.heartbeat = Heartbeat::default().ttl(Duration::from_millis(6_553_501)),
                "option `heartbeat` cannot be a ttl of 6553.501s: expected from 100 ms to 6553.5 s, or zero",
            ),
            (
                |c| c.heartbeat = Heartbeat::default().ttl(Duration::from_millis(99)),
                "option `heartbeat` cannot be a ttl of 99ms: expected from 100 ms to 6553.5 s, or zero",
            ),
            (
                |c| c.heartbeat = Heartbeat::default().ttl(Duration::from_nanos(1)),
                "option `heartbeat` cannot be a ttl of 1ns: expected from 100 ms to 6553.5 s, or zero",
            ),
            (
                |c| c.handshake_timeout = Some(Duration::ZERO),
                "option `handshake_timeout` cannot be 0ns: expected from 1 ms to 30 days, or `None`",
            ),
            (
                |c| c.limits.frame_bytes = 0,
                "option `max_frame_size` cannot be 0: expected at least 1 byte",
            ),
            (
                |c| c.limits.message_bytes = 1,
                "option `max_message_size` cannot be 1: expected at least `max_frame_size`",
            ),
            (
                |c| c.limits.frames = 0,
                "option `max_frames` cannot be 0: expected at least 1 frame",
            ),
            (
                |c| c.subscriptions.topic_bytes = (64 << 20) + 1,
                "option `max_topic_length` cannot be 67108865: expected from 1 to 67108864 octets",
            ),
            (
                |c| c.subscriptions.topic_bytes = 0,
                "option `max_topic_length` cannot be 0: expected from 1 to 67108864 octets",
            ),
            (
                |c| c.subscriptions.topics = 0,
                "option `max_topics` cannot be 0: expected from 1 to 4294967295",
            ),
            (
                |c| c.subscriptions.groups = 0,
                "option `max_groups` cannot be 0: expected from 1 to 4294967295",
            ),
            (
                |c| {
                    c.send_limits = SendLimits::of(Some(1 << 18));
                    c.notes.hello = Some(Message::from(vec![0; (1 << 18) + 1]));
                },
                "option `hello_message` cannot be 262145 octets while at most 262144 are sent: expected at most `max_send_size`, or `None` for that",
            ),
            (
                |c| {
                    c.send_limits = SendLimits::of(Some(1 << 18));
                    c.notes.disconnect = Some(Message::multipart([vec![0; 1 << 18], vec![0]]));
                },
                "option `disconnect_message` cannot be 262145 octets while at most 262144 are sent: expected at most `max_send_size`, or `None` for that",
            ),
            (
                |c| {
                    c.send_limits = SendLimits::of(Some(1 << 18));
                    c.notes.hiccup = Some(Message::from(vec![0; (1 << 18) + 1]));
                },
                "option `hiccup_message` cannot be 262145 octets while at most 262144 are sent: expected at most `max_send_size`, or `None` for that",
            ),
            (
                |c| c.welcome = Some(Message::from(vec![0; (64 << 20) + 1])),
                "option `welcome_message` cannot be 67108865 octets while at most 67108864 are sent: expected at most `max_send_size`, or `None` for that",
            ),
            (
                |c| c.backlog = 0,
                "option `backlog` cannot be 0: expected from 1 to 2147483647",
            ),
            (
                |c| c.tcp.send_buffer = Some(0),
                "option `kernel_send_buffer` cannot be 0: expected from 1 to 2147483647",
            ),
            (
                |c| c.tcp.keepalive_count = Some(3),
                "option `tcp_keepalive` cannot be off while its times are set: expected `tcp_keepalive` on, or no times",
            ),
            (
                |c| {
                    c.tcp.keepalive = Some(true);
                    c.tcp.keepalive_idle = Some(Duration::from_millis(1500));
                },
                "option `tcp_keepalive_idle` cannot be 1.5s: expected whole seconds from 1 s to 32767 s, or `None`",
            ),
            (
                |c| {
                    c.tcp.keepalive = Some(true);
                    c.tcp.keepalive_idle = Some(Duration::from_secs(32768));
                },
                "option `tcp_keepalive_idle` cannot be 32768s: expected whole seconds from 1 s to 32767 s, or `None`",
            ),
            (
                |c| {
                    c.tcp.keepalive = Some(true);
                    c.tcp.keepalive_interval = Some(Duration::ZERO);
                },
                "option `tcp_keepalive_interval` cannot be 0ns: expected whole seconds from 1 s to 32767 s, or `None`",
            ),
            (
                |c| {
                    c.tcp.keepalive = Some(true);
                    c.tcp.keepalive_count = Some(128);
                },
                "option `tcp_keepalive_count` cannot be 128: expected from 1 to 127, or `None`",
            ),
            (
                |c| c.tcp.bind_to_device = Some(String::new()),
                "option `bind_to_device` cannot be \"\": expected an interface name of 1 to 15 octets",
            ),
            (
                |c| c.tcp.user_timeout = Some(Duration::ZERO),
                "option `tcp_user_timeout` cannot be 0ns: expected from 1 ms to 30 days, or `None`",
            ),
            (
                |c| c.multicast.hops = 0,
                "option `multicast_hops` cannot be 0: expected from 1 to 255",
            ),
            (
                |c| c.tcp.priority = Some(u32::MAX),
                "option `priority` cannot be 4294967295: expected from 0 to 2147483647",
            ),
            (
                |c| c.tcp.busy_poll = Some(Duration::from_nanos(999)),
                "option `kernel_busy_poll` cannot be 999ns: expected from 1 µs to 2147483647 µs, or `None`",
            ),
            (
                |c| c.tcp.busy_poll = Some(Duration::from_secs(2148)),
                "option `kernel_busy_poll` cannot be 2148s: expected from 1 µs to 2147483647 µs, or `None`",
            ),
        ];
        for (change, text) in table {
            let mut config = SocketConfig::default();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().to_string(), text);
        }
    }
}
