//! What can be wrong with a peer, grouped by fault.
//!
//! The groups answer "whose fault is it, and would trying again help": a peer that is
//! [`Incompatible`] is sound but not for us, [`Malformed`] octets are no ZMTP, a peer that
//! [`Misbehaved`] sent well-formed commands at the wrong time, [`LimitExceeded`] names a bound of
//! ours, [`TimedOut`] is silence, and a [`Refusal`] is the peer's own `ERROR` command.
//!
//! Values are small and never build a `String` from peer octets: names are kept in fixed arrays
//! ([`PeerName`]), and only `ERROR` keeps its reason, at most 255 octets.

use std::fmt;

use thiserror::Error;

use crate::frame::FrameError;
use crate::socket_type::SocketType;

/// Why a connection to a peer ended for reasons of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The peer cannot talk to this socket, though it may be sound by itself.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// The peer sent octets that no sound peer sends.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The peer sent something well-formed where it is not allowed.
    #[error(transparent)]
    Misbehaved(#[from] Misbehaved),
    /// The peer asked for more than this side allows.
    #[error(transparent)]
    LimitExceeded(#[from] LimitExceeded),
    /// The peer was silent for too long.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// The peer ended the connection with an `ERROR` command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The peer closed the WebSocket as RFC 6455 has it, with another status code than 1000, which stands for a
    /// normal end ([`DisconnectReason::PeerClosed`](crate::DisconnectReason::PeerClosed)).
    #[error("the peer closed the WebSocket{}", StatusCode(*code))]
    Closed {
        /// The status code it gave, if it did.
        code: Option<u16>,
    },
}

/// A peer that cannot talk to this socket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// The first octet is not that of a ZMTP greeting: the peer speaks another protocol, or
    /// unversioned ZMTP 1.0.
    #[error("the first octet is 0x{first:02x}, a ZMTP greeting starts with 0xff")]
    NotZmtp {
        /// The first octet received.
        first: u8,
    },
    /// The signature ends like the frame header of a ZMTP 1.0 peer.
    #[error("octet 9 of the greeting is 0x{octet:02x}, expected 0x7f: the peer speaks ZMTP 1.0, which is refused")]
    Unversioned {
        /// Octet 9 of the greeting.
        octet: u8,
    },
    /// The peer's major version is below 3.
    #[error("the peer speaks ZMTP of major revision {major}, at least 3 is required")]
    Version {
        /// Octet 10 of the greeting.
        major: u8,
    },
    /// The peer wants another security mechanism.
    #[error("the peer's security mechanism is \"{theirs}\", ours is \"{ours}\"")]
    Mechanism {
        /// The mechanism this side is configured for.
        ours: &'static str,
        /// The peer's mechanism field without its padding.
        theirs: PeerName,
    },
    /// The peer's `READY` has no `Socket-Type`.
    #[error("the peer announced no Socket-Type to this {ours} socket")]
    SocketTypeMissing {
        /// This socket's type.
        ours: SocketType,
    },
    /// The peer's `Socket-Type` is no type at all.
    #[error("the peer announced the unknown Socket-Type \"{theirs}\" to this {ours} socket")]
    SocketTypeUnknown {
        /// This socket's type.
        ours: SocketType,
        /// What the peer announced.
        theirs: PeerName,
    },
    /// The octet of a ZMTP 2.0 greeting that tells the socket type is no type.
    #[error("the peer announced the socket type number {number} to this {ours} socket, expected 0 to 10")]
    SocketTypeNumber {
        /// This socket's type.
        ours: SocketType,
        /// What the peer announced.
        number: u8,
    },
    /// The path that a WebSocket client asks for is not the one that is bound.
    #[error("the peer asks for the path \"{theirs}\", which is not the one that is bound")]
    WebSocketPath {
        /// The start of what the peer asks for.
        theirs: PeerName,
    },
    /// None of the WebSocket sub-protocols that a client offers is known here.
    #[error("the peer offers the WebSocket sub-protocols \"{theirs}\", expected \"{expected}\" among them")]
    SubProtocol {
        /// The start of what the peer offers.
        theirs: PeerName,
        /// What is known here.
        expected: &'static str,
    },
    /// A socket of the peer's type cannot talk to one of ours.
    #[error("a {theirs} peer cannot talk to this {ours} socket")]
    SocketType {
        /// This socket's type.
        ours: SocketType,
        /// The peer's type.
        theirs: SocketType,
    },
}

/// Octets that no sound peer sends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A frame header is malformed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A command frame without a body.
    #[error("a command frame is empty, expected a command name")]
    EmptyCommand,
    /// A command name of length zero.
    #[error("a command name has length 0, expected 1 to 255")]
    EmptyCommandName,
    /// A command name that runs past the end of its frame.
    #[error("a command name of {name_len} octets does not fit a frame of {body_len}")]
    CommandName {
        /// The announced length of the name.
        name_len: u8,
        /// The length of the frame's body.
        body_len: usize,
    },
    /// A property name of length zero.
    #[error("property {index} has an empty name")]
    EmptyPropertyName {
        /// Which property, counted from 0.
        index: usize,
    },
    /// A property name with a character that is not allowed in one.
    #[error("the name of property {index} contains the octet 0x{octet:02x}, expected letters, digits and -_.+")]
    PropertyName {
        /// Which property, counted from 0.
        index: usize,
        /// The first octet that is not allowed.
        octet: u8,
    },
    /// A property value that announces more than 2^31-1 octets.
    #[error("the value of property {index} announces {len} octets, at most 2^31-1 are allowed")]
    PropertyLength {
        /// Which property, counted from 0.
        index: usize,
        /// The announced length.
        len: u32,
    },
    /// A property that runs past the end of its command.
    #[error("property {index} runs past the end of its command")]
    PropertyTruncated {
        /// Which property, counted from 0.
        index: usize,
    },
    /// A routing id that is longer than 255 octets.
    #[error("the peer's Identity has {len} octets, at most 255 are allowed")]
    IdentityLength {
        /// The length of the identity.
        len: usize,
    },
    /// A routing id that starts with a zero octet, which is kept for ids made by the library.
    #[error("the peer's Identity starts with a zero octet")]
    IdentityLeadingZero,
    /// An `ERROR` command whose reason does not fill it exactly.
    #[error("an ERROR command carries {len} octets, which is no length octet and a reason of that length")]
    Error {
        /// Octets after the command name.
        len: usize,
    },
    /// A `PING` without a complete time to live.
    #[error("a PING carries {len} octets, at least the 2 of its TTL are required")]
    Ping {
        /// Octets after the command name.
        len: usize,
    },
    /// A `PING` whose context is too long.
    #[error("a PING carries a context of {len} octets, at most 16 are allowed")]
    PingContext {
        /// Octets after the TTL.
        len: usize,
    },
    /// A `PONG` whose context is too long.
    #[error("a PONG carries a context of {len} octets, at most 16 are allowed")]
    PongContext {
        /// Octets after the command name.
        len: usize,
    },
    /// A `JOIN` or `LEAVE` with a group of more than 255 octets.
    #[error("a group name has {len} octets, at most 255 are allowed")]
    GroupLength {
        /// The length of the group.
        len: usize,
    },
    /// A `JOIN` or `LEAVE` with a zero octet in its group.
    #[error("a group name contains a zero octet")]
    GroupZero,
    /// A message for a group that ends with the name of the group.
    #[error("a message for a group has one frame, expected the group's name and one frame more")]
    GroupWithoutBody,
    /// A message for a group with more frames than one behind the name of the group.
    #[error("a message for a group goes on behind its body, expected the group's name and one frame more")]
    GroupWithManyBodies,
    /// A ZMTP 1.0 frame without the octet of flags that each has.
    #[error("a ZMTP 1.0 frame announces a length of 0, at least 1 is required")]
    EmptyFrameV1,
    /// A WebSocket frame is malformed, or no frame of ZMTP.
    #[error(transparent)]
    WebSocket(#[from] WebSocketFault),
    /// The request or response that begins a WebSocket is malformed.
    #[error(transparent)]
    Upgrade(#[from] UpgradeFault),
}

/// WebSocket frames (RFC 6455) that no peer of 45/ZWS sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WebSocketFault {
    /// A reserved bit is set, though no extension was agreed upon.
    #[error("a WebSocket frame begins with 0x{octet:02x}, which has a reserved bit set")]
    Reserved {
        /// The first octet of the frame.
        octet: u8,
    },
    /// Neither binary data nor a control frame.
    #[error("a WebSocket frame has the opcode {opcode}, expected 2, 8, 9 or 10")]
    Opcode {
        /// The opcode.
        opcode: u8,
    },
    /// A fragment of a message; each message of ZMTP is one frame.
    #[error("a WebSocket frame is a fragment, expected one with FIN")]
    Fragmented,
    /// A server's frame is masked.
    #[error("the server's WebSocket frame is masked, expected one that is not")]
    Masked,
    /// A client's frame is not masked.
    #[error("the client's WebSocket frame is not masked, expected one that is")]
    Unmasked,
    /// A ping, pong or close frame is too long.
    #[error("a WebSocket control frame has more than 125 octets")]
    ControlLength,
    /// The length is not in the shortest form.
    #[error("a WebSocket frame announces its length of {len} in a longer form than is needed")]
    LengthForm {
        /// The length.
        len: u64,
    },
    /// A data frame without the octet of flags.
    #[error("a WebSocket data frame is empty, expected an octet of flags")]
    Empty,
    /// Flags that mean nothing.
    #[error("a WebSocket data frame has the flags 0x{flags:02x}, expected 0, 1 or 2")]
    Flags {
        /// The flags.
        flags: u8,
    },
    /// A close frame with half a status code.
    #[error("a WebSocket close frame carries 1 octet, expected none or a status code of 2")]
    CloseLength,
}

/// Heads (RFC 6455, "Opening Handshake") that begin no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpgradeFault {
    /// The head as a whole is too long.
    #[error("the head has more than {limit} octets")]
    HeadLength {
        /// The most octets accepted.
        limit: usize,
    },
    /// A header's name is too long.
    #[error("a header name has {len} octets, at most {limit} are accepted")]
    NameLength {
        /// The length of the name.
        len: usize,
        /// The longest accepted.
        limit: usize,
    },
    /// A header's value is too long.
    #[error("the value of a header has {len} octets, at most {limit} are accepted")]
    ValueLength {
        /// The length of the value.
        len: usize,
        /// The longest accepted.
        limit: usize,
    },
    /// The first line is another than expected.
    #[error("the head begins with \"{theirs}\", expected \"{expected}\"")]
    FirstLine {
        /// The start of the line.
        theirs: PeerName,
        /// What it should be.
        expected: &'static str,
    },
    /// A line that is no header.
    #[error("the head contains the line \"{theirs}\", expected `name: value`")]
    Line {
        /// The start of the line.
        theirs: PeerName,
    },
    /// A header that must be there is not, or not once.
    #[error("the head has the header `{name}` {times} times, expected once")]
    Times {
        /// The name of the header.
        name: &'static str,
        /// How often it is there.
        times: usize,
    },
    /// A header has another value than it must have.
    #[error("the header `{name}` is \"{theirs}\", expected {}", UpgradeFault::expected(.name))]
    Value {
        /// The name of the header.
        name: &'static str,
        /// The start of its value.
        theirs: PeerName,
    },
}

impl UpgradeFault {
    /// What the value of a header should be.
    fn expected(name: &str) -> &'static str {
        match name {
            "Upgrade" => "websocket",
            "Connection" => "Upgrade",
            "Sec-WebSocket-Key" => "16 octets in base64",
            "Sec-WebSocket-Version" => "13",
            "Sec-WebSocket-Accept" => "the answer to our key",
            "Sec-WebSocket-Protocol" => "one of those offered",
            _ => "none",
        }
    }
}

/// Well-formed, but not allowed at that time or for that socket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misbehaved {
    /// A command other than the one the handshake expects.
    #[error("the peer sent \"{command}\" during the handshake, expected \"{expected}\"")]
    CommandDuringHandshake {
        /// The command that came.
        command: PeerName,
        /// The command that was expected.
        expected: &'static str,
    },
    /// A routing id of several frames, from a peer that tells it by its first message.
    #[error("the peer's first message has several frames, expected its routing id alone")]
    IdentityParts,
    /// A message frame before the handshake was done.
    #[error("the peer sent a message frame during the handshake, expected a command")]
    MessageDuringHandshake,
    /// A handshake command after the handshake.
    #[error("the peer sent \"{command}\" after the handshake")]
    HandshakeCommandInTraffic {
        /// The command that came.
        command: PeerName,
    },
    /// A message to a REQ socket that is no reply to any request. Raised by the layer that knows them.
    #[error("the peer sent a message that is no reply, expected an empty frame and a body, after an id of 4 octets if any")]
    NoReply,
    /// A command that means nothing to this type of socket.
    #[error("the peer sent \"{command}\" to a {ours} socket")]
    CommandForOtherSocket {
        /// The command that came.
        command: PeerName,
        /// This socket's type.
        ours: SocketType,
    },
}

/// More than this side allows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// A frame of the handshake is too large.
    #[error("a handshake frame announces {size} octets, at most {limit} are accepted")]
    HandshakeFrame {
        /// The announced size of the body.
        size: usize,
        /// The largest body accepted.
        limit: usize,
    },
    /// The handshake as a whole is too large.
    #[error("the handshake needs {size} octets, at most {limit} are accepted")]
    HandshakeOctets {
        /// Octets received so far and announced.
        size: usize,
        /// The most accepted before the handshake is done.
        limit: usize,
    },
    /// Too many properties in one command.
    #[error("the peer sent more than {limit} properties")]
    Properties {
        /// The most accepted.
        limit: usize,
    },
    /// A subscription is too long.
    #[error("the peer subscribed to a topic of {len} octets, at most {limit} are accepted")]
    TopicLength {
        /// The length of the topic.
        len: usize,
        /// The longest accepted.
        limit: usize,
    },
    /// Too many subscriptions. Raised by the layer that keeps them.
    #[error("the peer subscribed to more than {limit} topics")]
    Topics {
        /// The most accepted.
        limit: usize,
    },
}

/// Silence for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimedOut {
    /// The handshake was not done in time.
    #[error("the handshake did not finish in time")]
    Handshake,
    /// Nothing came after our `PING`, or within the time to live of the peer's.
    #[error("the peer was silent for longer than the heartbeat allows")]
    Heartbeat,
}

/// The peer's `ERROR` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    reason: Box<[u8]>,
}

impl Refusal {
    /// A refusal for this reason. Callers have checked that it has at most 255 octets.
    pub(crate) fn new(reason: &[u8]) -> Self {
        Refusal {
            reason: reason.into(),
        }
    }

    /// What the peer said: 0 to 255 octets, usually text.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// The status, if the reason is one of authentication (27/ZAP): 300 for a temporary failure,
    /// 400 for refused credentials, 500 for a failure of the peer's handler.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &*self.reason {
            b"300" => Some(300),
            b"400" => Some(400),
            b"500" => Some(500),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer refused the connection: \"{}\"",
            self.reason.escape_ascii()
        )
    }
}

impl std::error::Error for Refusal {}

/// The first 20 octets a peer sent where a name was expected; shown escaped.
///
/// Fixed in size, so that a peer cannot make an error value large. 20 is the length of the
/// mechanism field and more than any command or socket type needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PeerName {
    octets: [u8; PeerName::MAX],
    len: u8,
    cut: bool,
}

impl PeerName {
    const MAX: usize = 20;

    /// The start of this name.
    pub(crate) fn new(name: &[u8]) -> Self {
        let len = name.len().min(PeerName::MAX);
        let mut octets = [0; PeerName::MAX];
        octets[..len].copy_from_slice(&name[..len]);
        PeerName {
            octets,
            len: len as u8,
            cut: name.len() > PeerName::MAX,
        }
    }

    /// The octets kept, at most 20.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())?;
        if self.cut {
            f.write_str("...")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A status code in words.
struct StatusCode(Option<u16>);

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(code) => write!(f, " with the status code {code}"),
            None => Ok(()),
        }
    }
}

impl From<WebSocketFault> for ProtocolError {
    fn from(fault: WebSocketFault) -> Self {
        ProtocolError::Malformed(fault.into())
    }
}

impl From<UpgradeFault> for ProtocolError {
    fn from(fault: UpgradeFault) -> Self {
        ProtocolError::Malformed(fault.into())
    }
}

impl From<FrameError> for ProtocolError {
    fn from(error: FrameError) -> Self {
        ProtocolError::Malformed(Malformed::Frame(error))
    }
}

impl ProtocolError {
    /// The number of the `HANDSHAKE_FAILED_PROTOCOL` monitor event, where there is one.
    ///
    /// `None` for greetings and frame headers that are no ZMTP 3, for time-outs, and for
    /// [`Refused`](ProtocolError::Refused), whose [`Refusal::status`] belongs to another event.
    #[must_use]
    pub fn monitor_code(&self) -> Option<u32> {
        match self {
            ProtocolError::Incompatible(fault) => match fault {
                Incompatible::NotZmtp { .. }
                | Incompatible::Unversioned { .. }
                | Incompatible::Version { .. } => None,
                Incompatible::Mechanism { .. } => Some(CODE_MECHANISM_MISMATCH),
                Incompatible::SocketTypeMissing { .. }
                | Incompatible::SocketTypeUnknown { .. }
                | Incompatible::SocketTypeNumber { .. }
                | Incompatible::SocketType { .. } => Some(CODE_INVALID_METADATA),
                Incompatible::WebSocketPath { .. } | Incompatible::SubProtocol { .. } => {
                    Some(CODE_WS_UNSPECIFIED)
                }
            },
            ProtocolError::Malformed(fault) => match fault {
                Malformed::Frame(_) | Malformed::EmptyFrameV1 => None,
                Malformed::WebSocket(_) | Malformed::Upgrade(_) => Some(CODE_WS_UNSPECIFIED),
                Malformed::EmptyCommand
                | Malformed::EmptyCommandName
                | Malformed::CommandName { .. }
                | Malformed::Ping { .. }
                | Malformed::PingContext { .. }
                | Malformed::PongContext { .. }
                | Malformed::GroupLength { .. }
                | Malformed::GroupZero => Some(CODE_MALFORMED_COMMAND),
                Malformed::GroupWithoutBody | Malformed::GroupWithManyBodies => {
                    Some(CODE_UNSPECIFIED)
                }
                Malformed::EmptyPropertyName { .. }
                | Malformed::PropertyName { .. }
                | Malformed::PropertyLength { .. }
                | Malformed::PropertyTruncated { .. }
                | Malformed::IdentityLength { .. }
                | Malformed::IdentityLeadingZero => Some(CODE_INVALID_METADATA),
                Malformed::Error { .. } => Some(CODE_MALFORMED_ERROR),
            },
            ProtocolError::Misbehaved(fault) => match fault {
                Misbehaved::CommandDuringHandshake { .. }
                | Misbehaved::HandshakeCommandInTraffic { .. }
                | Misbehaved::CommandForOtherSocket { .. } => Some(CODE_UNEXPECTED_COMMAND),
                Misbehaved::MessageDuringHandshake => Some(CODE_MALFORMED_COMMAND),
                Misbehaved::IdentityParts | Misbehaved::NoReply => Some(CODE_UNSPECIFIED),
            },
            ProtocolError::LimitExceeded(fault) => match fault {
                LimitExceeded::HandshakeFrame { .. }
                | LimitExceeded::HandshakeOctets { .. }
                | LimitExceeded::TopicLength { .. }
                | LimitExceeded::Topics { .. } => Some(CODE_UNSPECIFIED),
                LimitExceeded::Properties { .. } => Some(CODE_INVALID_METADATA),
            },
            ProtocolError::TimedOut(_)
            | ProtocolError::Refused(_)
            | ProtocolError::Closed { .. } => None,
        }
    }

    /// Whether connecting again, with back-off, may help.
    ///
    /// Peers are restarted and reconfigured, so nearly everything is worth another attempt; only
    /// refused credentials are not, for they would be refused again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            ProtocolError::Incompatible(_)
            | ProtocolError::Malformed(_)
            | ProtocolError::Misbehaved(_)
            | ProtocolError::LimitExceeded(_)
            | ProtocolError::Closed { .. }
            | ProtocolError::TimedOut(_) => true,
            ProtocolError::Refused(refusal) => !matches!(refusal.status(), Some(400 | 500)),
        }
    }

    /// The reason of the `ERROR` command that tells the peer before the connection is closed.
    ///
    /// Only what the peer's operator can mend and could not see otherwise is answered. Octets that
    /// are no ZMTP get no answer, for nobody there would understand it.
    pub(crate) fn wire_reply(&self) -> Option<&'static str> {
        match self {
            ProtocolError::Incompatible(fault) => match fault {
                Incompatible::NotZmtp { .. }
                | Incompatible::Unversioned { .. }
                | Incompatible::Version { .. }
                | Incompatible::Mechanism { .. }
                | Incompatible::SocketTypeNumber { .. }
                | Incompatible::WebSocketPath { .. }
                | Incompatible::SubProtocol { .. } => None,
                Incompatible::SocketTypeMissing { .. } => Some("Socket-Type is missing"),
                Incompatible::SocketTypeUnknown { .. } => Some("Socket-Type is unknown"),
                Incompatible::SocketType { .. } => Some("Socket-Type is not compatible"),
            },
            ProtocolError::Malformed(fault) => match fault {
                Malformed::IdentityLength { .. } | Malformed::IdentityLeadingZero => {
                    Some("Identity is not valid")
                }
                Malformed::Frame(_)
                | Malformed::EmptyCommand
                | Malformed::EmptyCommandName
                | Malformed::CommandName { .. }
                | Malformed::EmptyPropertyName { .. }
                | Malformed::PropertyName { .. }
                | Malformed::PropertyLength { .. }
                | Malformed::PropertyTruncated { .. }
                | Malformed::Error { .. }
                | Malformed::Ping { .. }
                | Malformed::PingContext { .. }
                | Malformed::PongContext { .. }
                | Malformed::GroupLength { .. }
                | Malformed::GroupZero
                | Malformed::EmptyFrameV1
                | Malformed::WebSocket(_)
                | Malformed::Upgrade(_)
                | Malformed::GroupWithoutBody
                | Malformed::GroupWithManyBodies => None,
            },
            ProtocolError::Misbehaved(_)
            | ProtocolError::LimitExceeded(_)
            | ProtocolError::TimedOut(_)
            | ProtocolError::Closed { .. }
            | ProtocolError::Refused(_) => None,
        }
    }
}

// The numbers of ZMQ_PROTOCOL_ERROR_ZMTP_*, which applications compare with.
const CODE_UNSPECIFIED: u32 = 0x1000_0000;
const CODE_UNEXPECTED_COMMAND: u32 = 0x1000_0001;
const CODE_MALFORMED_COMMAND: u32 = 0x1000_0011;
const CODE_MALFORMED_ERROR: u32 = 0x1000_0015;
const CODE_INVALID_METADATA: u32 = 0x1000_0018;
const CODE_MECHANISM_MISMATCH: u32 = 0x1100_0002;
const CODE_WS_UNSPECIFIED: u32 = 0x3000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_octets_are_escaped_and_cut() {
        assert_eq!(PeerName::new(b"A\x00\xff").to_string(), r"A\x00\xff");
        assert_eq!(
            PeerName::new(&[b'x'; 200]).to_string(),
            format!("{}...", "x".repeat(20))
        );
        assert_eq!(PeerName::new(&[b'x'; 20]).to_string(), "x".repeat(20));
        let refused = ProtocolError::from(Refusal::new(b"no\n\"way"));
        assert_eq!(
            refused.to_string(),
            r#"the peer refused the connection: "no\n\"way""#
        );
    }

    #[test]
    fn only_refused_credentials_end_the_attempts() {
        for (reason, status, retry) in [
            (&b"300"[..], Some(300), true),
            (b"400", Some(400), false),
            (b"500", Some(500), false),
            (b"4000", None, true),
            (b"", None, true),
        ] {
            let refusal = Refusal::new(reason);
            assert_eq!(refusal.status(), status);
            let error = ProtocolError::from(refusal);
            assert_eq!(error.is_retryable(), retry);
            assert_eq!(error.monitor_code(), None);
            assert_eq!(error.wire_reply(), None);
        }
        assert!(ProtocolError::from(TimedOut::Handshake).is_retryable());
    }

    #[test]
    fn errors_stay_small() {
        assert!(std::mem::size_of::<ProtocolError>() <= 48);
    }

    #[test]
    fn too_many_topics_is_an_error_of_this_vocabulary() {
        let error = ProtocolError::from(LimitExceeded::Topics { limit: 7 });
        assert_eq!(
            error.to_string(),
            "the peer subscribed to more than 7 topics"
        );
        assert_eq!(error.monitor_code(), Some(0x1000_0000));
    }
}
