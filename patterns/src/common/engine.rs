//! What all engines have in common: they are values, without sockets, clock, threads or chance.
//!
//! Whoever drives one tells it what has happened, and when. After any `handle_*` call (and any command,
//! which each engine has methods of its own for): [`poll_transmit`](Engine::poll_transmit) until `None`,
//! [`poll_event`](Engine::poll_event) until `None`, then [`poll_timeout`](Engine::poll_timeout).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use sinew::{Frame, Message};

/// A pattern's state machine. See the module.
pub trait Engine {
    /// What it tells the application, or whoever drives it.
    type Event;

    /// A message came in through a port; through a ROUTER, `from` is who sent it, and the message does not
    /// have that frame any more.
    fn handle_message(&mut self, now: Instant, port: Port, from: Option<&PeerId>, message: Message);

    /// Whether it has room for what may come in through a port. Where it has none, whoever drives it leaves messages in the
    /// socket, so that senders wait, and asks again after any call. True by default. A message that is given all the same
    /// is handled.
    fn takes_messages(&self, _port: Port) -> bool {
        true
    }

    /// A connection was made or lost.
    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent);

    /// A transmission could not be made: the peer is gone, or would never take it. Nothing of it was sent.
    fn handle_refused(&mut self, now: Instant, transmit: Transmit);

    /// The transmission that [`poll_transmit`](Self::poll_transmit) gave last could not be made now: the queue of its peer
    /// is full. Nothing of it was sent. By default this is [`handle_refused`](Self::handle_refused).
    fn handle_full(&mut self, now: Instant, transmit: Transmit) {
        self.handle_refused(now, transmit);
    }

    /// The transmission that [`poll_transmit`](Self::poll_transmit) gave last has `size` octets in a frame, or in all, and its
    /// socket sends at most `limit`: it will never be sent. By default this is [`handle_refused`](Self::handle_refused).
    fn handle_too_large(&mut self, now: Instant, transmit: Transmit, _size: u64, _limit: u64) {
        self.handle_refused(now, transmit);
    }

    /// There is room again, or there may be, where it was full: at a port, and of a ROUTER for this peer. Does nothing by
    /// default.
    fn handle_room(&mut self, _now: Instant, _port: Port, _peer: Option<&PeerId>) {}

    /// The time of [`poll_timeout`](Self::poll_timeout) may have come. Does nothing if it has not.
    fn handle_timeout(&mut self, now: Instant);

    /// What is to be sent.
    fn poll_transmit(&mut self) -> Option<Transmit>;

    /// What has happened.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// When to call [`handle_timeout`](Self::handle_timeout).
    fn poll_timeout(&self) -> Option<Instant>;
}

/// Names one of the sockets of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Port(pub u32);

/// Names a peer of a ROUTER: the octets in front of its messages.
///
/// ```
/// use sinew_patterns::common::PeerId;
///
/// assert_eq!(PeerId::from(&b"worker"[..]).as_bytes(), b"worker");
/// ```
#[derive(Clone)]
pub struct PeerId(Octets);

/// Tables are full of names, and most have five octets: what is short is in the value.
#[derive(Clone)]
enum Octets {
    Short(u8, [u8; SHORT]),
    Long(Arc<[u8]>),
}

/// So that a name is no larger than a vector.
const SHORT: usize = 22;

impl PeerId {
    /// The peer that these octets name.
    pub(crate) fn of(octets: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match short.get_mut(..octets.len()) {
            Some(place) => {
                place.copy_from_slice(octets);
                PeerId(Octets::Short(octets.len() as u8, short))
            }
            None => PeerId(Octets::Long(octets.into())),
        }
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Octets::Short(length, octets) => &octets[..usize::from(*length)],
            Octets::Long(octets) => octets,
        }
    }

    /// As a frame of a message.
    #[must_use]
    pub fn to_frame(&self) -> Frame {
        Frame::from(self.as_bytes())
    }
}

impl<F: Into<Frame>> From<F> for PeerId {
    fn from(frame: F) -> Self {
        PeerId::of(&frame.into())
    }
}

impl PartialEq for PeerId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PeerId {}

impl Hash for PeerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId(\"{}\")", self.as_bytes().escape_ascii())
    }
}

/// A connection was made or lost. A port that is no ROUTER has no `peer`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// It was made.
    Up {
        /// Whose, at a ROUTER.
        peer: Option<PeerId>,
    },
    /// It was lost.
    Down {
        /// Whose, at a ROUTER.
        peer: Option<PeerId>,
    },
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Through which socket.
    pub port: Port,
    /// To whom, through a ROUTER. `message` does not have that frame.
    pub to: Option<PeerId>,
    /// The message.
    pub message: Message,
}
