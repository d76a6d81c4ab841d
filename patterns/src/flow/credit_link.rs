//! Credit on the wire, as values: an outlet that sends (a DEALER) and an inlet that receives (a ROUTER).
//!
//! ```text
//! outlet → inlet:  any message; its cost is its octets, and at least one
//! inlet → outlet:  ["WINDOW"][octets u64]   once per connection, all of it free
//!                  ["GRANT"][octets u64]    as the receiver consumes
//! ```
//!
//! Numbers are big-endian. What was sent over a connection that is lost may have been received or not; it is not
//! sent again. A new connection begins with a whole window, and what the receiver holds of the earlier one
//! counts no more: between losses a receiver holds at most a window for each connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use sinew::{Frame, Message};

use super::{CreditRx, CreditTx};
use crate::common::{Engine, PeerEvent, PeerId, Port, Transmit};

/// The sender's side.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::common::{Engine, PeerEvent, PeerId, Port};
/// use sinew_patterns::flow::{CreditInlet, CreditOutlet};
///
/// let (now, port, peer) = (Instant::now(), Port(0), PeerId::from("sender"));
/// let (mut outlet, mut inlet) = (CreditOutlet::new(), CreditInlet::new(10));
/// inlet.handle_peer(now, port, PeerEvent::Up { peer: Some(peer.clone()) });
/// outlet.handle_message(now, port, None, inlet.poll_transmit().unwrap().message);
/// assert!(outlet.try_send("12345678".into()).is_ok());
/// assert!(outlet.try_send("12345678".into()).is_err(), "the window is used up");
/// ```
#[derive(Debug, Default)]
pub struct CreditOutlet {
    credit: Option<CreditTx>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<OutletEvent>,
    counters: CreditCounters,
}

/// What an outlet tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutletEvent {
    /// There is more credit than before, or the socket has room again.
    Credit,
    /// The socket did not take this message; it was not sent.
    Returned(Message),
}

/// The receiver's side.
#[derive(Debug)]
pub struct CreditInlet {
    window: u64,
    peers: BTreeMap<PeerId, (u64, CreditRx)>,
    /// Connections so far: what was received over one is not granted to another.
    connections: u64,
    transmits: VecDeque<Transmit>,
    events: VecDeque<InletEvent>,
    counters: CreditCounters,
}

/// What an inlet tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InletEvent {
    /// A message came. It counts as held until [`CreditInlet::handle_consumed`].
    Delivery(Delivery),
}

/// A message that came by credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// From whom.
    pub peer: PeerId,
    /// What.
    pub message: Message,
    cost: u64,
    connection: u64,
}

/// What a side has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CreditCounters {
    /// Messages sent, or received.
    pub messages: u64,
    /// Grants received, or sent.
    pub grants: u64,
    /// Messages that are not of the protocol, or beyond the credit; they are dropped.
    pub malformed: u64,
}

impl CreditOutlet {
    /// A sender without credit: it gets some with its connection.
    #[must_use]
    pub fn new() -> Self {
        CreditOutlet::default()
    }

    /// Sends a message if there is credit for it.
    ///
    /// # Errors
    /// With the message, if there is not. [`OutletEvent::Credit`] tells when to try again.
    pub fn try_send(&mut self, message: Message) -> Result<(), Message> {
        let credit = self.credit.as_mut();
        if !credit.is_some_and(|credit| credit.try_spend(cost(&message))) {
            return Err(message);
        }
        self.counters.messages += 1;
        self.transmits.push_back(Transmit {
            port: Port(0),
            to: None,
            message,
        });
        Ok(())
    }

    /// Octets that may be sent now.
    #[must_use]
    pub fn credit(&self) -> u64 {
        self.credit.as_ref().map_or(0, CreditTx::left)
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> CreditCounters {
        self.counters
    }
}

impl Engine for CreditOutlet {
    type Event = OutletEvent;

    fn handle_message(&mut self, _: Instant, _: Port, _: Option<&PeerId>, message: Message) {
        let more = match (decode(&message), &mut self.credit) {
            (Some((WINDOW, window)), None) => {
                self.credit = Some(CreditTx::new(window));
                true
            }
            (Some((GRANT, grant)), Some(credit)) => credit.granted(grant).is_ok(),
            _ => false,
        };
        match more {
            true => {
                self.counters.grants += 1;
                self.events.push_back(OutletEvent::Credit);
            }
            false => self.counters.malformed += 1,
        }
    }

    fn handle_peer(&mut self, _: Instant, _: Port, event: PeerEvent) {
        if matches!(event, PeerEvent::Down { .. }) {
            self.credit = None;
        }
    }

    fn handle_refused(&mut self, _: Instant, transmit: Transmit) {
        // Its credit is gone with the connection. If there is one, the socket's own bound is below the window, and
        // it says when it has room.
        if let Some(credit) = &mut self.credit {
            // What was spent a moment ago fits.
            let _ = credit.granted(cost(&transmit.message));
        }
        self.counters.messages -= 1;
        self.events
            .push_back(OutletEvent::Returned(transmit.message));
    }

    fn handle_room(&mut self, _: Instant, _: Port) {
        self.events.push_back(OutletEvent::Credit);
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<OutletEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl CreditInlet {
    /// A receiver that holds at most so many octets of each sender. 0 counts as 1.
    #[must_use]
    pub fn new(window: u64) -> Self {
        CreditInlet {
            window: window.max(1),
            peers: BTreeMap::new(),
            connections: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: CreditCounters::default(),
        }
    }

    /// A message was consumed: there is room for others.
    pub fn handle_consumed(&mut self, delivery: &Delivery) {
        let Some((connection, credit)) = self.peers.get_mut(&delivery.peer) else {
            return;
        };
        if *connection != delivery.connection {
            return;
        }
        if let Some(grant) = credit.consumed(delivery.cost) {
            self.counters.grants += 1;
            self.transmits.push_back(tell(&delivery.peer, GRANT, grant));
        }
    }

    /// Octets held of all senders.
    #[must_use]
    pub fn held(&self) -> u64 {
        let held = self.peers.values().map(|(_, credit)| credit.held());
        held.fold(0, u64::saturating_add)
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> CreditCounters {
        self.counters
    }
}

impl Engine for CreditInlet {
    type Event = InletEvent;

    fn handle_message(&mut self, _: Instant, _: Port, from: Option<&PeerId>, message: Message) {
        let Some((peer, (connection, credit))) = from.and_then(|from| {
            let known = self.peers.get_mut(from)?;
            Some((from, known))
        }) else {
            self.counters.malformed += 1;
            return;
        };
        let cost = cost(&message);
        if credit.received(cost).is_err() {
            self.counters.malformed += 1;
            return;
        }
        self.counters.messages += 1;
        self.events.push_back(InletEvent::Delivery(Delivery {
            peer: peer.clone(),
            message,
            cost,
            connection: *connection,
        }));
    }

    fn handle_peer(&mut self, _: Instant, _: Port, event: PeerEvent) {
        match event {
            PeerEvent::Up { peer: Some(peer) } => {
                self.connections += 1;
                self.transmits.push_back(tell(&peer, WINDOW, self.window));
                let credit = CreditRx::new(self.window);
                self.peers.insert(peer, (self.connections, credit));
            }
            PeerEvent::Down { peer: Some(peer) } => {
                self.peers.remove(&peer);
            }
            _ => {}
        }
    }

    fn handle_refused(&mut self, _: Instant, _: Transmit) {
        // It has read no grant for longer than any sender that keeps to its credit can need.
        self.counters.malformed += 1;
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<InletEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

const WINDOW: &str = "WINDOW";
const GRANT: &str = "GRANT";

/// Empty messages take memory, too.
fn cost(message: &Message) -> u64 {
    (message.byte_len() as u64).max(1)
}

fn tell(to: &PeerId, what: &'static str, octets: u64) -> Transmit {
    Transmit {
        port: Port(0),
        to: Some(to.clone()),
        message: Message::multipart([Frame::from(what), Frame::from(octets.to_be_bytes())]),
    }
}

fn decode(message: &Message) -> Option<(&'static str, u64)> {
    let [what, octets] = message.frames() else {
        return None;
    };
    let octets = u64::from_be_bytes(octets.as_slice().try_into().ok()?);
    match what.as_slice() {
        b"WINDOW" if octets > 0 => Some((WINDOW, octets)),
        b"GRANT" => Some((GRANT, octets)),
        _ => None,
    }
}

/// Fuzz body: whatever comes, an outlet has no more credit than one window.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_credit(data: &[u8], now: Instant) {
    let message = crate::common::frames_of(data);
    let mut outlet = CreditOutlet::new();
    outlet.handle_message(now, Port(0), None, message.clone());
    let window = outlet.credit();
    outlet.handle_message(now, Port(0), None, message.clone());
    assert_eq!(outlet.credit(), window);
    let peer = PeerId::from("p");
    let mut inlet = CreditInlet::new(10);
    inlet.handle_message(now, Port(0), Some(&peer), message.clone());
    assert_eq!(inlet.held(), 0);
    let up = PeerEvent::Up {
        peer: Some(peer.clone()),
    };
    inlet.handle_peer(now, Port(0), up);
    inlet.handle_message(now, Port(0), Some(&peer), message.clone());
    inlet.handle_message(now, Port(0), Some(&peer), message);
    assert!(inlet.held() <= 10);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fuzz::{cases, mutated};
    use crate::common::Random;

    #[test]
    fn random_messages() {
        let now = Instant::now();
        let samples: [&[u8]; 2] = [
            b"\x06WINDOW\x08\0\0\0\0\0\0\x01\0",
            b"\x05GRANT\x08\0\0\0\0\0\0\0\x05",
        ];
        let mut random = Random::new(8);
        for _ in 0..cases() {
            let sample = samples[random.below(2) as usize];
            fuzz_credit(&mutated(sample, &mut random), now);
        }
    }
}
