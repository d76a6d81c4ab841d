//! What is particular to peers without a `READY`: ZMTP 2.0 and 1.0 (15/ZMTP, 13/ZMTP), and WebSocket
//! without a mechanism.
//!
//! The first message each side sends is its routing id, which may be empty. A ZMTP 2.0 greeting tells the
//! number of the socket type besides; others tell nothing about the peer.

use bytes::{BufMut, Bytes, BytesMut};

use super::command::ready;
use super::error::{Incompatible, Malformed, Misbehaved, ProtocolError};
use super::handshake::HandshakeFrames;
use super::{PeerInfo, Version};
use crate::frame;
use crate::socket_type::SocketType;

/// The types that ZMTP 2.0 knows, by their numbers. XPUB and XSUB have those of PUB and SUB in the RFC;
/// deployed peers send the two behind.
const TYPES: [SocketType; 11] = [
    SocketType::Pair,
    SocketType::Pub,
    SocketType::Sub,
    SocketType::Req,
    SocketType::Rep,
    SocketType::Dealer,
    SocketType::Router,
    SocketType::Pull,
    SocketType::Push,
    SocketType::XPub,
    SocketType::XSub,
];

/// The number of our type in a ZMTP 2.0 greeting; `None` for one that older peers do not know.
pub(super) fn type_number(ours: SocketType) -> Option<u8> {
    let known = match ours {
        SocketType::XPub => SocketType::Pub,
        SocketType::XSub => SocketType::Sub,
        other => other,
    };
    TYPES.iter().position(|t| *t == known).map(|at| at as u8)
}

/// The peer's type by its number, if it may talk to ours.
pub(super) fn check_type(number: u8, ours: SocketType) -> Result<SocketType, ProtocolError> {
    let Some(&theirs) = TYPES.get(usize::from(number)) else {
        return Err(Incompatible::SocketTypeNumber { ours, number }.into());
    };
    if ours.is_compatible_with(theirs) {
        Ok(theirs)
    } else {
        Err(Incompatible::SocketType { ours, theirs }.into())
    }
}

/// Appends a message that tells our routing id.
pub(super) fn encode_identity(out: &mut BytesMut, identity: &[u8]) {
    let (header, n) = frame::header(false, false, identity.len());
    out.put_slice(&header[..n]);
    out.put_slice(identity);
}

/// Waits for the message that tells the peer's routing id.
#[derive(Debug)]
pub(super) struct IdentityHandshake {
    version: Version,
    socket_type: Option<SocketType>,
    /// Commands may come before: heartbeats of a WebSocket.
    commands: bool,
    frames: HandshakeFrames,
}

/// The longest routing id.
const MAX_IDENTITY: usize = 255;

impl IdentityHandshake {
    pub(super) fn new(version: Version, socket_type: Option<SocketType>, commands: bool) -> Self {
        IdentityHandshake {
            version,
            socket_type,
            commands,
            frames: HandshakeFrames::new(0),
        }
    }

    /// Whether bits that may not be set are ignored.
    pub(super) fn lenient(mut self, lenient: bool) -> Self {
        self.frames = self.frames.lenient(lenient);
        self
    }

    /// Takes octets from the start of `input`, none beyond the message. Returns how many, and who the
    /// peer is once it has said so.
    pub(super) fn handle_input(
        &mut self,
        input: &[u8],
        ours: SocketType,
    ) -> Result<(usize, Option<PeerInfo>), ProtocolError> {
        let (taken, frame) = self
            .frames
            .handle_input(input)
            .map_err(|error| match error {
                // The one thing that is expected here is a message.
                ProtocolError::Misbehaved(Misbehaved::MessageDuringHandshake) => {
                    Misbehaved::IdentityParts.into()
                }
                other => other,
            })?;
        let Some(frame) = frame else {
            return Ok((taken, None));
        };
        if frame.marked_command {
            return match self.commands {
                true => Ok((taken, None)),
                false => Err(crate::frame::FrameError::ReservedBits(frame::COMMAND).into()),
            };
        }
        let identity = frame.body();
        if identity.len() > MAX_IDENTITY {
            let len = identity.len();
            return Err(Malformed::IdentityLength { len }.into());
        }
        ready::check_identity(identity, ours)?;
        let peer = PeerInfo {
            version: self.version,
            socket_type: self.socket_type,
            identity: Bytes::copy_from_slice(identity),
            properties: Vec::new(),
        };
        Ok((taken, Some(peer)))
    }

    /// Octets of memory held.
    #[cfg(any(test, fuzzing))]
    pub(super) fn buffered(&self) -> usize {
        self.frames.buffered()
    }
}
