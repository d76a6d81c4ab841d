//! The slots of a worker as one engine, so that one thread looks after all of them.
//!
//! Each is a worker for the broker, with a connection of its own. In 7/MDP such a one has one request at a time, so there is
//! one per slot; with the extension header one has all slots. Its ports are dealt out: port `p` of worker `s` of `n` is
//! `p · n + s`.

use std::collections::VecDeque;
use std::time::Instant;

use sinew::Message;

use super::{WorkerCounters, WorkerEngine, WorkerEvent};
use crate::common::{Engine, PeerEvent, PeerId, Port, Timers, Transmit};

#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<WorkerEngine>,
    timers: Timers<usize>,
    /// Those that may have something to send. It is taken from them when it is sent, and not before: each keeps what finds
    /// no room, and what comes after it.
    senders: VecDeque<usize>,
    events: VecDeque<SlotEvent>,
    drained: usize,
}

/// What one of them has to tell, or all.
#[derive(Debug)]
pub(crate) enum SlotEvent {
    Of(usize, WorkerEvent),
    /// All are drained.
    Drained,
}

impl Slots {
    pub(crate) fn new(slots: Vec<WorkerEngine>) -> Self {
        let mut all = Slots {
            timers: Timers::new(),
            senders: VecDeque::new(),
            events: VecDeque::new(),
            drained: 0,
            slots,
        };
        (0..all.slots.len()).for_each(|slot| all.settle(slot));
        all
    }

    /// Does something with one of them.
    pub(crate) fn with<R>(
        &mut self,
        slot: usize,
        command: impl FnOnce(&mut WorkerEngine) -> R,
    ) -> Option<R> {
        let result = command(self.slots.get_mut(slot)?);
        self.settle(slot);
        Some(result)
    }

    pub(crate) fn of(&self, slot: usize) -> Option<&WorkerEngine> {
        self.slots.get(slot)
    }

    pub(crate) fn drain(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            self.with(slot, |engine| engine.handle_drain(now));
        }
    }

    /// What all have done together.
    pub(crate) fn counters(&self) -> WorkerCounters {
        let mut sum = WorkerCounters::default();
        self.slots.iter().for_each(|slot| sum.add(&slot.counters()));
        sum
    }

    /// A slot may have something to send, and to tell.
    fn settle(&mut self, slot: usize) {
        if self.senders.back() != Some(&slot) {
            self.senders.push_back(slot);
        }
        self.told(slot);
    }

    /// Takes what a slot wants told, and when it wants to be woken.
    fn told(&mut self, slot: usize) {
        let all = self.slots.len();
        let outer = outer(all, slot);
        let Some(engine) = self.slots.get_mut(slot) else {
            return;
        };
        while let Some(event) = engine.poll_event() {
            let event = match event {
                WorkerEvent::Open { port, broker } => WorkerEvent::Open {
                    port: outer(port),
                    broker,
                },
                WorkerEvent::Close { port } => WorkerEvent::Close { port: outer(port) },
                WorkerEvent::Drained => {
                    self.drained += 1;
                    if self.drained == all {
                        self.events.push_back(SlotEvent::Drained);
                    }
                    continue;
                }
                request => request,
            };
            self.events.push_back(SlotEvent::Of(slot, event));
        }
        self.timers.set_or_cancel(slot, engine.poll_timeout());
    }

    /// Whose port this is, and what it calls it.
    fn inner(&self, port: Port) -> (usize, Port) {
        let count = self.slots.len() as u32;
        ((port.0 % count) as usize, Port(port.0 / count))
    }
}

/// What a slot's ports are called outside.
fn outer(slots: usize, slot: usize) -> impl Fn(Port) -> Port {
    move |port| Port(port.0.wrapping_mul(slots as u32).wrapping_add(slot as u32))
}

impl Engine for Slots {
    type Event = SlotEvent;

    fn handle_message(
        &mut self,
        now: Instant,
        port: Port,
        from: Option<&PeerId>,
        message: Message,
    ) {
        let (slot, port) = self.inner(port);
        self.with(slot, |engine| {
            engine.handle_message(now, port, from, message);
        });
    }

    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent) {
        let (slot, port) = self.inner(port);
        self.with(slot, |engine| engine.handle_peer(now, port, event));
    }

    fn handle_refused(&mut self, now: Instant, transmit: Transmit) {
        let (slot, port) = self.inner(transmit.port);
        self.with(slot, |engine| {
            engine.handle_refused(now, Transmit { port, ..transmit });
        });
    }

    fn handle_full(&mut self, now: Instant, transmit: Transmit) {
        let (slot, port) = self.inner(transmit.port);
        self.with(slot, |engine| {
            engine.handle_full(now, Transmit { port, ..transmit });
        });
    }

    fn handle_too_large(&mut self, now: Instant, transmit: Transmit, size: u64, limit: u64) {
        let (slot, port) = self.inner(transmit.port);
        self.with(slot, |engine| {
            engine.handle_too_large(now, Transmit { port, ..transmit }, size, limit);
        });
    }

    fn handle_room(&mut self, now: Instant, port: Port, peer: Option<&PeerId>) {
        let (slot, port) = self.inner(port);
        self.with(slot, |engine| engine.handle_room(now, port, peer));
    }

    fn handle_timeout(&mut self, now: Instant) {
        // Each once: what is due again at once is due next time.
        let due: Vec<usize> = std::iter::from_fn(|| self.timers.expire(now)).collect();
        for slot in due {
            self.with(slot, |engine| engine.handle_timeout(now));
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some(&slot) = self.senders.front() {
            let transmit = (self.slots.get_mut(slot)).and_then(WorkerEngine::poll_transmit);
            if let Some(transmit) = transmit {
                let port = outer(self.slots.len(), slot)(transmit.port);
                return Some(Transmit { port, ..transmit });
            }
            self.senders.pop_front();
            // What was sent may be something to tell.
            self.told(slot);
        }
        None
    }

    fn poll_event(&mut self) -> Option<SlotEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdp::WorkerConfig;

    #[test]
    fn each_slot_has_its_ports_and_all_drain_together() {
        let now = Instant::now();
        let slots =
            (0..3).map(|seed| WorkerEngine::new(WorkerConfig::default(), "echo", 2, seed, now));
        let mut slots = Slots::new(slots.collect());
        let mut opened = Vec::new();
        while let Some(event) = slots.poll_event() {
            match event {
                SlotEvent::Of(slot, WorkerEvent::Open { port, broker: 0 }) => {
                    assert_eq!(slots.inner(port).0, slot);
                    opened.push(port);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(opened, [Port(0), Port(1), Port(2)]);
        for port in &opened {
            slots.handle_peer(now, *port, PeerEvent::Up { peer: None });
            let ready = slots.poll_transmit().expect("it registers");
            assert_eq!(ready.port, *port);
        }
        assert!(slots.poll_transmit().is_none());
        // One of them cannot send what it has to: it gives its connection up, and makes one at its next port.
        let refused = Transmit {
            port: Port(1),
            to: None,
            message: Message::from("heartbeat"),
        };
        slots.handle_refused(now, refused);
        let closed = slots.poll_event();
        assert!(
            matches!(
                closed,
                Some(SlotEvent::Of(1, WorkerEvent::Close { port: Port(1) }))
            ),
            "{closed:?}"
        );
        let opened = (0..100).find_map(|_| {
            let next = slots.poll_timeout().expect("a pause, or heartbeats");
            slots.handle_timeout(next);
            slots.poll_event()
        });
        let again = WorkerEvent::Open {
            port: Port(4),
            broker: 1,
        };
        assert!(
            matches!(&opened, Some(SlotEvent::Of(1, event)) if *event == again),
            "{opened:?}"
        );
        slots.drain(now);
        while slots.poll_transmit().is_some() {}
        let events: Vec<_> = std::iter::from_fn(|| slots.poll_event()).collect();
        assert!(matches!(events.last(), Some(SlotEvent::Drained)));
        let drained = |event: &&SlotEvent| matches!(event, SlotEvent::Drained);
        assert_eq!(events.iter().filter(drained).count(), 1);
    }
}
