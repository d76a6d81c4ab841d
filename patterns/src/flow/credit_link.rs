//! Credit on the wire, as values: an outlet that sends (a DEALER) and an inlet that receives (a ROUTER).
//!
//! ```text
//! outlet → inlet:  any message; its cost is its octets, and at least one
//! inlet → outlet:  ["WINDOW"][octets u64]   once per connection, all of it free
//!                  ["GRANT"][octets u64]    as the receiver consumes
//! ```
//!
//! A receiver grants when a 32nd of its window was consumed, and what is left of it when nothing came for a while, for the
//! next message may be larger than what its sender has left. Half windows would be fewer grants, but what was consumed and
//! not granted is on no way: a line would be idle for a third of the time, or for half of it, unless the window were twice
//! what the line holds.
//!
//! Numbers are big-endian. What was sent over a connection that is lost may have been received or not; it is not
//! sent again. A new connection begins with a whole window, and what the receiver holds of the earlier one
//! counts no more: between losses a receiver holds at most a window for each connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::{CreditRx, CreditTx};
use crate::common::{Engine, IdMap, PeerEvent, PeerId, Port, Timers, Transmit};

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
    /// By connection: what was received over one is not granted to another.
    senders: IdMap<Sender>,
    /// The connection of each peer.
    peers: BTreeMap<PeerId, u64>,
    /// Connections so far.
    connections: u64,
    /// Whose the last message was: whoever sends one sends others, as a rule.
    last: Option<(PeerId, u64)>,
    /// When senders are granted what is left.
    pauses: Timers<u64>,
    /// The latest time that is known.
    now: Option<Instant>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<InletEvent>,
    counters: CreditCounters,
}

/// What an inlet knows of a sender.
#[derive(Debug)]
struct Sender {
    peer: PeerId,
    credit: CreditRx,
    /// Whether a pause is waited for.
    pausing: bool,
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
        if !self.spend(&message) {
            return Err(message);
        }
        self.transmits.push_back(transmit(message));
        Ok(())
    }

    /// Takes the credit for a message, if there is enough. It counts as sent.
    #[inline]
    fn spend(&mut self, message: &Message) -> bool {
        let credit = self.credit.as_mut();
        let spent = credit.is_some_and(|credit| credit.try_spend(cost(message)));
        self.counters.messages += u64::from(spent);
        spent
    }

    /// The same as [`try_send`](Self::try_send) and [`poll_transmit`](Engine::poll_transmit) at once.
    #[inline]
    pub(super) fn try_transmit(&mut self, message: Message) -> Result<Transmit, Message> {
        if !self.transmits.is_empty() || !self.spend(&message) {
            return Err(message);
        }
        Ok(transmit(message))
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
        // Its credit is gone with the connection. If there is one, the socket's own bound is below the window: it says when it
        // has room, or that it never takes a message of this size.
        if let Some(credit) = &mut self.credit {
            credit.unspent(cost(&transmit.message));
        }
        self.counters.messages -= 1;
        self.events
            .push_back(OutletEvent::Returned(transmit.message));
    }

    fn handle_room(&mut self, _: Instant, _: Port, _: Option<&PeerId>) {
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
    ///
    /// How large a window must be for the connection to be the bound, and not the credit: [`CreditReceiver`].
    ///
    /// [`CreditReceiver`]: super::CreditReceiver
    #[must_use]
    pub fn new(window: u64) -> Self {
        CreditInlet {
            window: window.max(1),
            senders: IdMap::new(),
            peers: BTreeMap::new(),
            connections: 0,
            last: None,
            pauses: Timers::new(),
            now: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: CreditCounters::default(),
        }
    }

    /// A message was consumed: there is room for others.
    #[inline]
    pub fn handle_consumed(&mut self, delivery: &Delivery) {
        let known = self.senders.get_mut(delivery.connection);
        let Some(sender) = known.filter(|sender| sender.peer == delivery.peer) else {
            return;
        };
        if let Some(grant) = sender.credit.consumed(delivery.cost) {
            self.counters.grants += 1;
            self.transmits.push_back(tell(&delivery.peer, GRANT, grant));
        } else if let (0, false, Some(now)) = (sender.credit.held(), sender.pausing, self.now) {
            sender.pausing = true;
            self.pauses.set(delivery.connection, now + PAUSE);
        }
    }

    /// What a message that came from there is: nothing if it is not of the protocol.
    #[inline(always)]
    pub(super) fn take(&mut self, from: &[u8], message: Message) -> Option<Delivery> {
        let known = match &self.last {
            Some((peer, connection)) if peer.as_bytes() == from => Some(*connection),
            _ => self.look_up(from),
        };
        let cost = cost(&message);
        let sender = known.and_then(|connection| self.senders.get_mut(connection));
        let (Some(connection), Some(sender)) = (known, sender) else {
            self.counters.malformed += 1;
            return None;
        };
        if sender.credit.received(cost).is_err() {
            self.counters.malformed += 1;
            return None;
        }
        self.counters.messages += 1;
        Some(Delivery {
            peer: sender.peer.clone(),
            message,
            cost,
            connection,
        })
    }

    #[cold]
    fn look_up(&mut self, from: &[u8]) -> Option<u64> {
        let peer = PeerId::of(from);
        let connection = *self.peers.get(&peer)?;
        self.last = Some((peer, connection));
        Some(connection)
    }

    /// What is known of this peer's connection is of no use any more.
    fn forget(&mut self, peer: &PeerId) {
        self.last = None;
        if let Some(connection) = self.peers.remove(peer) {
            self.senders.remove(connection);
            self.pauses.cancel(&connection);
        }
    }

    /// Octets held of all senders.
    #[must_use]
    pub fn held(&self) -> u64 {
        let held = self.senders.iter().map(|(_, sender)| sender.credit.held());
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

    fn handle_message(&mut self, now: Instant, _: Port, from: Option<&PeerId>, message: Message) {
        self.now = Some(now);
        let from = from.map_or(&[][..], PeerId::as_bytes);
        let delivery = self.take(from, message).map(InletEvent::Delivery);
        self.events.extend(delivery);
    }

    fn handle_peer(&mut self, _: Instant, _: Port, event: PeerEvent) {
        match event {
            PeerEvent::Up { peer: Some(peer) } => {
                self.forget(&peer);
                self.connections += 1;
                self.transmits.push_back(tell(&peer, WINDOW, self.window));
                let sender = Sender {
                    peer: peer.clone(),
                    credit: CreditRx::with_refill(self.window, self.window / REFILLS),
                    pausing: false,
                };
                self.senders.insert(self.connections, sender);
                self.peers.insert(peer, self.connections);
            }
            PeerEvent::Down { peer: Some(peer) } => self.forget(&peer),
            _ => {}
        }
    }

    fn handle_refused(&mut self, _: Instant, _: Transmit) {
        // It has read no grant for longer than any sender that keeps to its credit can need.
        self.counters.malformed += 1;
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        while let Some(connection) = self.pauses.expire(now) {
            let Some(sender) = self.senders.get_mut(connection) else {
                continue;
            };
            sender.pausing = false;
            if let Some(grant) = sender.credit.settle() {
                self.counters.grants += 1;
                self.transmits.push_back(tell(&sender.peer, GRANT, grant));
            }
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<InletEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.pauses.next()
    }
}

/// Grants to a window, at most as many as messages. With a window of bandwidth × round trip, and messages of a 64th of it,
/// at least 95 in 100 of a line are used (`line_tests`; 1 − 1/32, and what of the window no message fits into). A grant
/// costs its receiver what a message costs, which is little against 32 KiB of them with a window of 1 MiB.
const REFILLS: u64 = 32;

/// How long nothing need have come for the rest to be granted: long against what it takes to hand on messages that follow
/// each other, so that a stream is granted by parts of the window, and short to whoever waits.
const PAUSE: Duration = Duration::from_millis(10);

const WINDOW: &str = "WINDOW";
const GRANT: &str = "GRANT";

/// Empty messages take memory, too.
fn cost(message: &Message) -> u64 {
    (message.byte_len() as u64).max(1)
}

fn transmit(message: Message) -> Transmit {
    Transmit {
        port: Port(0),
        to: None,
        message,
    }
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

    /// Less was consumed than is granted at once, and the next message is larger than what is left.
    #[test]
    fn what_is_left_is_granted_when_nothing_more_comes() {
        let (mut now, port, peer) = (Instant::now(), Port(0), PeerId::from("sender"));
        let (mut outlet, mut inlet) = (CreditOutlet::new(), CreditInlet::new(320));
        let large = || Message::from([0; 318]);
        let up = PeerEvent::Up {
            peer: Some(peer.clone()),
        };
        inlet.handle_peer(now, port, up);
        let window = inlet.poll_transmit().unwrap().message;
        outlet.handle_message(now, port, None, window);
        for _ in 0..3 {
            outlet.try_send("123".into()).unwrap();
            let sent = outlet.poll_transmit().unwrap().message;
            inlet.handle_message(now, port, Some(&peer), sent);
            let Some(InletEvent::Delivery(delivery)) = inlet.poll_event() else {
                panic!("it came");
            };
            assert!(outlet.try_send(large()).is_err());
            assert_eq!(inlet.poll_timeout(), None, "it is held");
            inlet.handle_consumed(&delivery);
            assert!(inlet.poll_transmit().is_none(), "not a 32nd of the window");
            now = inlet.poll_timeout().expect("it will be granted");
            inlet.handle_timeout(now);
            let grant = inlet.poll_transmit().unwrap().message;
            outlet.handle_message(now, port, None, grant);
            assert_eq!((outlet.credit(), inlet.poll_timeout()), (320, None));
        }
        outlet.try_send(large()).unwrap();
    }

    /// Also one that costs more than the window, which took all of it.
    #[test]
    fn what_the_socket_does_not_take_costs_nothing() {
        let (now, port) = (Instant::now(), Port(0));
        let mut outlet = CreditOutlet::new();
        outlet.handle_message(
            now,
            port,
            None,
            tell(&PeerId::from("s"), WINDOW, 10).message,
        );
        for size in [3, 10, 500] {
            let message = Message::from(vec![7; size]);
            while outlet.poll_event().is_some() {}
            outlet.try_send(message.clone()).unwrap();
            assert_eq!(outlet.credit(), 10 - 10.min(size as u64));
            let refused = outlet.poll_transmit().unwrap();
            outlet.handle_refused(now, refused);
            assert_eq!(outlet.poll_event(), Some(OutletEvent::Returned(message)));
            assert_eq!(outlet.credit(), 10, "{size} octets");
        }
        outlet.try_send("12345".into()).unwrap();
    }

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
