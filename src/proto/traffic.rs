//! A connection after its handshake: which command means what, and to whom.
//!
//! Messages never come here, only the bodies of command frames, and whatever tells that the peer is
//! alive.

use std::time::Instant;

use super::command::refusal::{self, ERROR};
use super::command::subscription::{self, CANCEL, JOIN, LEAVE, SUBSCRIBE};
use super::command::{
    heartbeat::{self as ping, PING, PONG},
    ready::READY,
    RawCommand,
};
use super::config::ConnectionConfig;
use super::error::{Misbehaved, PeerName, ProtocolError};
use super::heartbeat::Heartbeat;
use super::{Event, PeerInfo, Version};
use crate::frame::{self, FrameError};
use crate::socket_type::SocketType;

/// The state of a connection in use.
#[derive(Debug)]
pub(super) struct Traffic {
    /// The other end.
    pub(super) peer: PeerInfo,
    /// When to send a `PING`, and when to give up.
    pub(super) heartbeat: Heartbeat,
    /// Commands of unknown names.
    pub(super) ignored: u64,
    /// The most octets of the context of a `PING`.
    max_context: usize,
}

impl Traffic {
    /// The handshake with this peer is done.
    pub(super) fn new(peer: PeerInfo, config: &ConnectionConfig, now: Instant) -> Self {
        let knows_ping = peer.version >= Version::V3_1;
        Traffic {
            heartbeat: Heartbeat::new(config, knows_ping, now),
            peer,
            ignored: 0,
            max_context: ping::MAX_CONTEXT,
        }
    }

    /// The same over WebSocket, whose pings and pongs are the heartbeat.
    #[cfg(feature = "ws")]
    pub(super) fn over_websocket(peer: PeerInfo, config: &ConnectionConfig, now: Instant) -> Self {
        Traffic {
            heartbeat: Heartbeat::new(config, true, now),
            peer,
            ignored: 0,
            max_context: super::framing::ws::MAX_CONTROL,
        }
    }

    /// Handles the body of one command frame.
    pub(super) fn handle_command(
        &mut self,
        body: &[u8],
        config: &ConnectionConfig,
        now: Instant,
    ) -> Result<Option<Event>, ProtocolError> {
        if self.peer.version < Version::V3_0 {
            // What says that a frame is a command is a reserved bit there.
            return Err(FrameError::ReservedBits(frame::COMMAND).into());
        }
        let RawCommand { name, data } = RawCommand::parse(body)?;
        self.heartbeat.handle_traffic(now);
        let ours = config.socket_type;
        let only_for = |allowed: bool| {
            allowed.then_some(()).ok_or_else(|| {
                ProtocolError::from(Misbehaved::CommandForOtherSocket {
                    command: PeerName::new(name),
                    ours,
                })
            })
        };
        match name {
            PING => {
                let ping = ping::parse_ping(data, self.max_context, config.lenient_peers)?;
                self.heartbeat.handle_ping(ping, now);
            }
            PONG if config.lenient_peers => {}
            PONG => ping::check_pong(data)?,
            SUBSCRIBE | CANCEL => {
                only_for(ours.receives_subscriptions())?;
                let topic = subscription::copy_topic(data, config.max_topic_len)?;
                return Ok(Some(if name == SUBSCRIBE {
                    Event::Subscribe(topic)
                } else {
                    Event::Cancel(topic)
                }));
            }
            JOIN | LEAVE => {
                only_for(ours == SocketType::Radio)?;
                let group = subscription::copy_group(data)?;
                return Ok(Some(if name == JOIN {
                    Event::Join(group)
                } else {
                    Event::Leave(group)
                }));
            }
            // A peer that finds fault with our READY says so behind its own, hence after what is
            // the end of the handshake here.
            ERROR => return Err(refusal::parse_error(data)),
            READY | b"HELLO" | b"WELCOME" | b"INITIATE" | b"MESSAGE" if !config.lenient_peers => {
                return Err(Misbehaved::HandshakeCommandInTraffic {
                    command: PeerName::new(name),
                }
                .into())
            }
            _ => self.ignored = self.ignored.saturating_add(1),
        }
        Ok(None)
    }
}
