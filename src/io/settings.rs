//! The options of a socket as they are at one time.
//!
//! Never changed: a socket whose options change gets new ones, and what was bound or connected before goes on with those
//! it began with.

use std::sync::Arc;
use std::time::Duration;

use crate::config::SocketConfig;
use crate::proto::ConnectionConfig;
use crate::socket_type::SocketType;

/// See the module.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: SocketConfig,
    /// What of it concerns the protocol.
    pub(crate) protocol: Arc<ConnectionConfig>,
}

impl Settings {
    pub(crate) fn new(socket_type: SocketType, config: SocketConfig) -> Arc<Settings> {
        let protocol = ConnectionConfig {
            routing_id: config
                .routing_id
                .as_ref()
                .map(|id| bytes::Bytes::copy_from_slice(id.as_bytes()))
                .unwrap_or_default(),
            handshake_timeout: config.handshake_timeout,
            heartbeat_interval: config.heartbeat.interval(),
            heartbeat_timeout: Some(config.heartbeat.wait()),
            heartbeat_ttl: Duration::from_millis(
                u64::from(config.heartbeat.ttl_deciseconds()) * 100,
            ),
            legacy_peers: config.legacy_peers,
            lenient_peers: config.lenient_peers,
            max_topic_len: config.subscriptions.topic_bytes as usize,
            properties: config.metadata.clone(),
            ..ConnectionConfig::new(socket_type)
        };
        Arc::new(Settings {
            config,
            protocol: Arc::new(protocol),
        })
    }
}
