//! A gate in front of a ROUTER, as a value: requests wait at the gate, and whoever is turned away is answered.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use sinew::Message;

use super::{GateConfig, GateCounters, GateEngine, GateEvent, Rejected, TicketId};
use crate::common::{footprint, Engine, IdMap, OnFull, PeerEvent, PeerId, Port, Transmit};

/// A request that got in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admitted {
    /// What to name it by when it is done.
    pub ticket: TicketId,
    /// Who asks.
    pub peer: PeerId,
    /// The message as it came.
    pub message: Message,
}

/// What whoever is turned away is sent; nothing, if this returns `None`.
type Refuse = Box<dyn Fn(&Message, Rejected) -> Option<Message> + Send>;

/// A gate in front of a ROUTER.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::common::{Engine, PeerId, Port};
/// use sinew_patterns::flow::{GateConfig, GatedEngine};
///
/// let (now, peer) = (Instant::now(), PeerId::from("peer"));
/// let mut gated = GatedEngine::new(GateConfig::default(), None, |_, why| Some(why.to_string().into()));
/// gated.handle_message(now, Port(0), Some(&peer), "work".into());
/// let admitted = gated.poll_event().unwrap();
/// gated.handle_done(now, admitted.ticket, Some("done".into()));
/// assert_eq!(gated.poll_transmit().unwrap().message, "done".into());
/// ```
pub struct GatedEngine {
    gate: GateEngine,
    /// How long a request waits at most.
    patience: Option<Duration>,
    /// Whether those for whom there is no room hear nothing.
    silent: bool,
    refuse: Refuse,
    /// Those who wait, and those inside, without their message.
    here: IdMap<(Port, PeerId, Option<Message>)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Admitted>,
    unsent: u64,
}

impl GatedEngine {
    /// A gate at which a request waits at most so long; `refuse` makes the answer to those turned away. It is not asked
    /// about those who are dropped because the queue is full ([`OnFull::DropNewest`]).
    #[must_use]
    pub fn new(
        config: GateConfig,
        patience: Option<Duration>,
        refuse: impl Fn(&Message, Rejected) -> Option<Message> + Send + 'static,
    ) -> Self {
        GatedEngine {
            gate: GateEngine::new(config),
            patience,
            silent: config.queue.on_full == OnFull::DropNewest,
            refuse: Box::new(refuse),
            here: IdMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            unsent: 0,
        }
    }

    /// A request is done, and this is the reply, if there is one. Nothing happens if it is done already.
    pub fn handle_done(&mut self, now: Instant, ticket: TicketId, reply: Option<Message>) {
        if let Some((port, peer, _)) = self.here.remove(ticket.0) {
            if let Some(message) = reply {
                self.transmits.push_back(Transmit {
                    port,
                    to: Some(peer),
                    message,
                });
            }
            self.gate.handle_leave(now, ticket);
            self.settle(now);
        }
    }

    /// How many are inside, how many wait, and with how many octets.
    #[must_use]
    pub fn load(&self) -> (usize, usize, usize) {
        self.gate.load()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> GateCounters {
        GateCounters {
            unsent: self.unsent,
            ..self.gate.counters()
        }
    }

    fn turn_away(&mut self, port: Port, peer: PeerId, message: &Message, why: Rejected) {
        if let Some(message) = (self.refuse)(message, why) {
            self.transmits.push_back(Transmit {
                port,
                to: Some(peer),
                message,
            });
        }
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.gate.poll_event() {
            match event {
                GateEvent::Admitted(ticket) => {
                    let here = self.here.get_mut(ticket.0);
                    let taken = here.and_then(|(_, peer, message)| Some((peer, message.take()?)));
                    match taken {
                        Some((peer, message)) => self.events.push_back(Admitted {
                            ticket,
                            peer: peer.clone(),
                            message,
                        }),
                        // Its peer is gone.
                        None => self.gate.handle_leave(now, ticket),
                    }
                }
                GateEvent::Rejected(ticket, why) => {
                    if let Some((port, peer, Some(message))) = self.here.remove(ticket.0) {
                        self.turn_away(port, peer, &message, why);
                    }
                }
            }
        }
    }
}

impl Engine for GatedEngine {
    type Event = Admitted;

    fn handle_message(
        &mut self,
        now: Instant,
        port: Port,
        from: Option<&PeerId>,
        message: Message,
    ) {
        let Some(peer) = from else {
            return;
        };
        let deadline = self.patience.and_then(|patience| now.checked_add(patience));
        let bytes = footprint(message.frames());
        if self.gate.outside() > 0 {
            // Who was not to be read from does not wait with the one that does.
            let why = self.gate.turn_away();
            self.turn_away(port, peer.clone(), &message, why);
            return self.settle(now);
        }
        match self.gate.handle_enter(now, peer.clone(), bytes, deadline) {
            Ok(ticket) => {
                self.here
                    .insert(ticket.0, (port, peer.clone(), Some(message)));
            }
            Err(Rejected::Full { .. }) if self.silent => {}
            Err(why) => self.turn_away(port, peer.clone(), &message, why),
        }
        self.settle(now);
    }

    fn takes_messages(&self, _: Port) -> bool {
        self.gate.outside() == 0
    }

    fn handle_peer(&mut self, now: Instant, _: Port, event: PeerEvent) {
        if let PeerEvent::Down { peer: Some(gone) } = event {
            // Those inside go on; what waits makes room for others.
            let waits = |(_, peer, message): &(Port, PeerId, Option<Message>)| {
                *peer == gone && message.is_some()
            };
            let lost = self.here.iter().filter(|(_, here)| waits(here));
            let lost: Vec<u64> = lost.map(|(id, _)| id).collect();
            for id in lost {
                self.here.remove(id);
                self.gate.handle_leave(now, TicketId(id));
            }
        }
        self.settle(now);
    }

    fn handle_refused(&mut self, _: Instant, _: Transmit) {
        // Whoever cannot be answered is gone, or does not read: nobody waits for it.
        self.unsent += 1;
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.gate.handle_timeout(now);
        self.settle(now);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<Admitted> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.gate.poll_timeout()
    }
}

impl fmt::Debug for GatedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatedEngine")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{Limits, FRAME_COST};

    /// Whoever is gone does not keep others out of the queue; inside it counts until its request is done.
    #[test]
    fn who_is_gone_waits_no_more() {
        let mut config = GateConfig {
            inside: 1,
            ..GateConfig::default()
        };
        config.queue.messages = 2;
        let mut gated = GatedEngine::new(config, None, |_, why| Some(why.to_string().into()));
        let (now, gone, other) = (Instant::now(), PeerId::from("gone"), PeerId::from("other"));
        for _ in 0..3 {
            gated.handle_message(now, Port(0), Some(&gone), "abc".into());
        }
        let inside = gated.poll_event().unwrap();
        assert_eq!(gated.load(), (1, 2, 2 * (3 + FRAME_COST)));
        let down = PeerEvent::Down {
            peer: Some(gone.clone()),
        };
        gated.handle_peer(now, Port(0), down);
        assert_eq!(gated.load(), (1, 0, 0));
        gated.handle_message(now, Port(0), Some(&other), "abc".into());
        assert_eq!(gated.poll_transmit(), None, "nobody is turned away");
        gated.handle_done(now, inside.ticket, None);
        assert_eq!(gated.poll_event().unwrap().peer, other);
    }

    /// SUB-06: one request waits in front of a full queue, and nothing is read until it is in.
    #[test]
    fn nothing_is_read_while_the_queue_is_full_if_so_configured() {
        let (now, port) = (Instant::now(), Port(0));
        for (messages, bytes) in [(1, 1 << 20), (100, 4 + FRAME_COST)] {
            let config = GateConfig {
                inside: 1,
                queue: Limits {
                    messages,
                    bytes,
                    on_full: OnFull::Wait,
                    ..Limits::default()
                },
                ..GateConfig::default()
            };
            let mut gated = GatedEngine::new(config, None, |_, why| Some(why.to_string().into()));
            for peer in ["a", "b", "c"] {
                assert!(gated.takes_messages(port));
                gated.handle_message(now, port, Some(&peer.into()), "work".into());
            }
            assert!(!gated.takes_messages(port));
            assert_eq!(gated.poll_transmit(), None, "nobody is turned away");
            // What is given to it all the same is too much.
            gated.handle_message(now, port, Some(&"d".into()), "work".into());
            assert_eq!(gated.poll_transmit().unwrap().to, Some("d".into()));
            for peer in ["a", "b", "c"] {
                let admitted = gated.poll_event().unwrap();
                assert_eq!(admitted.peer, peer.into());
                gated.handle_done(now, admitted.ticket, None);
                assert!(gated.takes_messages(port));
            }
            let counters = gated.counters();
            assert_eq!((counters.waited, counters.full), (1, 1));
            assert_eq!((counters.admitted, gated.load()), (3, (0, 0, 0)));
        }
    }

    /// Whoever is too much hears of it, or not.
    #[test]
    fn who_is_turned_away_is_answered_unless_dropped() {
        let (now, port) = (Instant::now(), Port(0));
        for (on_full, answers) in [(OnFull::Reject, 1), (OnFull::DropNewest, 0)] {
            let config = GateConfig {
                inside: 1,
                queue: Limits {
                    messages: 1,
                    on_full,
                    ..Limits::default()
                },
                ..GateConfig::default()
            };
            let patience = Some(Duration::from_secs(1));
            let mut gated =
                GatedEngine::new(config, patience, |_, why| Some(why.to_string().into()));
            for peer in ["a", "b", "c"] {
                gated.handle_message(now, port, Some(&PeerId::from(peer)), "work".into());
            }
            assert_eq!((gated.load().0, gated.load().1), (1, 1));
            let told: Vec<_> = std::iter::from_fn(|| gated.poll_transmit()).collect();
            assert_eq!(told.len(), answers);
            assert!(told.iter().all(|told| told.to == Some(PeerId::from("c"))));
            assert_eq!(gated.counters().full, 1);
            // Who waited too long is answered in either case.
            gated.handle_timeout(now + Duration::from_secs(1));
            let told = gated.poll_transmit().expect("an answer");
            assert_eq!(told.to, Some(PeerId::from("b")));
        }
    }
}
