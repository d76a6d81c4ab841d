//! What a connection needs to know before its first octet, as plain data.
//!
//! Values are checked where sockets are configured; here they are taken as they are.

use std::time::Duration;

use bytes::Bytes;

use crate::socket_type::SocketType;

/// The longest topic a peer may subscribe to, unless configured otherwise.
///
/// Real topics are short. 64 KiB bounds what a peer makes this side keep per subscription.
pub(crate) const DEFAULT_MAX_TOPIC_LEN: usize = 64 * 1024;

/// Plain data shared by all connections of a socket.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionConfig {
    /// This socket's type.
    pub(crate) socket_type: SocketType,
    /// What this socket is called by its peers: empty, or a valid routing id. Announced by REQ,
    /// DEALER and ROUTER only. Default: empty.
    pub(crate) routing_id: Bytes,
    /// Further properties of our `READY`: names of 1 to 255 name characters that start with `X-`,
    /// unique, in any order. Default: none.
    pub(crate) properties: Vec<(String, Bytes)>,
    /// From the first octet to the end of the handshake. `None` waits for ever. Default: 10 s.
    pub(crate) handshake_timeout: Option<Duration>,
    /// How often to send a `PING`. `None` or zero: never. Default: 10 s.
    pub(crate) heartbeat_interval: Option<Duration>,
    /// How long the peer may be silent after a `PING`. `None`: as long as the interval; zero: for
    /// ever. Default: 30 s.
    pub(crate) heartbeat_timeout: Option<Duration>,
    /// What our `PING` tells the peer about how long we may be silent, in steps of 100 ms up to
    /// 6 553.5 s. Zero says nothing. Default: zero.
    pub(crate) heartbeat_ttl: Duration,
    /// The longest topic, in octets, a peer may subscribe to or cancel. Default:
    /// [`DEFAULT_MAX_TOPIC_LEN`].
    pub(crate) max_topic_len: usize,
    /// Whether peers that speak ZMTP 2.0 or 1.0 are accepted. Default: no.
    pub(crate) legacy_peers: bool,
    /// Whether peers are forgiven what breaks rules of ZMTP and can be understood nevertheless. Default: no.
    pub(crate) lenient_peers: bool,
}

impl ConnectionConfig {
    /// The defaults for a socket of this type.
    pub(crate) fn new(socket_type: SocketType) -> Self {
        ConnectionConfig {
            socket_type,
            routing_id: Bytes::new(),
            properties: Vec::new(),
            handshake_timeout: Some(Duration::from_secs(10)),
            heartbeat_interval: Some(Duration::from_secs(10)),
            heartbeat_timeout: Some(Duration::from_secs(30)),
            heartbeat_ttl: Duration::ZERO,
            max_topic_len: DEFAULT_MAX_TOPIC_LEN,
            legacy_peers: false,
            lenient_peers: false,
        }
    }
}
