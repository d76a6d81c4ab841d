//! The NULL mechanism: each side sends `READY` and expects one (23/ZMTP, "The NULL Security
//! Mechanism").
//!
//! Ours is sent as soon as the peer's greeting is known to be acceptable, without waiting for
//! theirs. So the state is but the frame that is awaited: exactly one is, and it decides.

use super::command::ready::{self, READY};
use super::command::refusal::{self, ERROR};
use super::command::RawCommand;
use super::error::{Misbehaved, PeerName, ProtocolError};
use super::greeting::GREETING_LEN;
use super::handshake::{HandshakeFrame, HandshakeFrames};
use super::{PeerInfo, Version};
use crate::socket_type::SocketType;

/// The handshake after the greetings.
#[derive(Debug)]
pub(super) struct NullHandshake {
    version: Version,
    frames: HandshakeFrames,
    lenient: bool,
}

impl NullHandshake {
    /// With a peer that speaks this version, and is forgiven more or less.
    pub(super) fn new(version: Version, lenient: bool) -> Self {
        NullHandshake {
            version,
            frames: HandshakeFrames::new(GREETING_LEN).lenient(lenient),
            lenient,
        }
    }

    /// Takes octets of the handshake from the start of `input`, none beyond its end. Returns how
    /// many, and who the peer is once it has said so.
    pub(super) fn handle_input(
        &mut self,
        input: &[u8],
        ours: SocketType,
    ) -> Result<(usize, Option<PeerInfo>), ProtocolError> {
        match self.frames.handle_input(input)? {
            (taken, None) => Ok((taken, None)),
            (taken, Some(frame)) => Ok((taken, Some(self.handle_frame(&frame, ours)?))),
        }
    }

    /// Octets of memory held.
    #[cfg(any(test, fuzzing))]
    pub(super) fn buffered(&self) -> usize {
        self.frames.buffered()
    }

    fn handle_frame(
        &self,
        frame: &HandshakeFrame<'_>,
        ours: SocketType,
    ) -> Result<PeerInfo, ProtocolError> {
        let command = match RawCommand::parse(frame.body()) {
            Ok(command) => command,
            Err(_) if !frame.marked_command => {
                return Err(Misbehaved::MessageDuringHandshake.into())
            }
            Err(error) => return Err(error),
        };
        // Some peers send handshake commands without the COMMAND flag; the name tells.
        match command.name {
            READY => ready::parse_ready(command.data, self.version, ours, self.lenient),
            ERROR => Err(refusal::parse_error(command.data)),
            _ if !frame.marked_command && !is_known(command.name) => {
                Err(Misbehaved::MessageDuringHandshake.into())
            }
            name => Err(Misbehaved::CommandDuringHandshake {
                command: PeerName::new(name),
                expected: "READY",
            }
            .into()),
        }
    }
}

fn is_known(name: &[u8]) -> bool {
    use super::command::{heartbeat, subscription};
    matches!(
        name,
        b"HELLO"
            | b"WELCOME"
            | b"INITIATE"
            | b"MESSAGE"
            | heartbeat::PING
            | heartbeat::PONG
            | subscription::SUBSCRIBE
            | subscription::CANCEL
            | subscription::JOIN
            | subscription::LEAVE
    )
}
