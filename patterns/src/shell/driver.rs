//! The one loop that drives engines on sockets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::inbox::Inbox;
use super::sockets::{Sockets, Unsent};
use crate::common::{Engine, PeerEvent, Port, Transmit};

/// An engine, its sockets, and what other threads want of it.
#[derive(Debug)]
pub(crate) struct Driver<E, C> {
    pub(crate) engine: E,
    pub(crate) sockets: Sockets,
    line: Sender<C>,
    /// Commands that were taken, and have their turn next.
    taken: VecDeque<C>,
    /// When what was taken last was taken. To ask anew for each costs more than some of them do.
    now: Instant,
    /// Comings and goings that the engine is to be told of.
    told: VecDeque<(Port, PeerEvent)>,
    /// Messages taken since something has been in it.
    since: usize,
    /// Messages that are taken at once at most.
    at_once: usize,
}

/// What a driver stops for.
#[derive(Debug)]
pub(crate) enum Turn<V, C> {
    /// The engine has something to tell.
    Event(V),
    /// Another thread wants something.
    Command(C),
    /// The time is over.
    Over,
}

/// Tells a driver what is wanted, from any thread.
#[derive(Debug)]
pub(crate) struct Sender<C>(Arc<Line<C>>);

#[derive(Debug)]
struct Line<C> {
    commands: Inbox<C>,
    waker: Waker,
}

impl<C> Clone for Sender<C> {
    fn clone(&self) -> Self {
        Sender(Arc::clone(&self.0))
    }
}

impl<C> Sender<C> {
    /// Gives the command back if the driver is gone.
    pub(crate) fn send(&self, command: C) -> Result<(), C> {
        self.0.commands.push(command)?;
        self.0.waker.wake_by_ref();
        Ok(())
    }
}

/// Something to be done with the engine, on its thread.
pub(crate) type With<E> = Box<dyn FnOnce(&mut E) + Send>;

impl<C> Sender<C> {
    /// Asks something of the engine, and waits for the answer. `None` if the driver is gone.
    pub(crate) fn ask<E, R: Send + 'static>(
        &self,
        command: impl FnOnce(With<E>) -> C,
        question: impl FnOnce(&mut E) -> R + Send + 'static,
    ) -> Option<R> {
        let inbox = Arc::<Inbox<R>>::default();
        let owed = Owed(Arc::clone(&inbox));
        let with: With<E> = Box::new(move |engine| owed.pay(question(engine)));
        // If nobody takes it, what is owed is dropped with it.
        let _ = self.send(command(with));
        inbox.pop(None).item()
    }
}

/// An answer that somebody waits for. If it is dropped without, they are told that there is none.
#[derive(Debug)]
pub(crate) struct Owed<T>(pub(crate) Arc<Inbox<T>>);

impl<T> Owed<T> {
    pub(crate) fn pay(self, answer: T) {
        self.0.push_last(answer);
    }
}

impl<T> Drop for Owed<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<E: Engine, C> Driver<E, C> {
    pub(crate) fn new(engine: E, sockets: Sockets) -> Self {
        let line = Line {
            commands: Inbox::default(),
            waker: sockets.waker(),
        };
        Driver {
            engine,
            sockets,
            line: Sender(Arc::new(line)),
            taken: VecDeque::new(),
            now: Instant::now(),
            told: VecDeque::new(),
            since: 0,
            at_once: AT_ONCE,
        }
    }

    pub(crate) fn sender(&self) -> Sender<C> {
        self.line.clone()
    }

    /// What time it is for the commands of this turn: not before they were sent.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Works until there is something to tell, at most until this time, or for ever. With a time in the
    /// past it does what can be done without waiting.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> Turn<E::Event, C> {
        loop {
            let (turn, busy) = self.turn();
            if let Some(turn) = turn {
                return turn;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Turn::Over;
            }
            if !busy {
                let wake = self.engine.poll_timeout().into_iter().chain(until).min();
                self.sockets.wait(wake);
            }
        }
    }

    /// The same for a task, without a time. What was not told is told next time, so the future may be dropped.
    pub(crate) async fn next_async(&mut self) -> Turn<E::Event, C> {
        loop {
            let (turn, busy) = self.turn();
            if let Some(turn) = turn {
                return turn;
            }
            if !busy {
                let wake = self.engine.poll_timeout();
                self.sockets.wait_async(wake).await;
            }
        }
    }

    /// Does what can be done without waiting, as far as the next thing to tell; and whether there was anything.
    fn turn(&mut self) -> (Option<Turn<E::Event, C>>, bool) {
        match self.known() {
            Some(turn) => (Some(turn), true),
            None => {
                let busy = self.work();
                (self.known(), busy)
            }
        }
    }

    /// What there is to tell of what was taken before.
    pub(crate) fn known(&mut self) -> Option<Turn<E::Event, C>> {
        self.flush();
        if let Some(event) = self.engine.poll_event() {
            return Some(Turn::Event(event));
        }
        self.taken.pop_front().map(Turn::Command)
    }

    /// Takes what has come, and does what is due; whether there was anything.
    pub(crate) fn work(&mut self) -> bool {
        self.line.0.commands.take_all(&mut self.taken);
        self.now = Instant::now();
        let busy = self.receive() || !self.taken.is_empty();
        self.engine.handle_timeout(self.now);
        // What was due may have made room.
        self.resume() || busy
    }

    /// Ports that were left alone for want of room are looked at again, if there is room now; whether there are any.
    fn resume(&mut self) -> bool {
        let engine = &self.engine;
        self.sockets.resume(|port| engine.takes_messages(port))
    }

    /// Waits until there may be something, for ever if nothing comes and nothing is due.
    pub(crate) fn wait(&mut self) {
        self.sockets.wait(self.engine.poll_timeout());
    }

    /// Sends what the engine wants sent. Never waits: what a peer cannot take now goes back to the engine.
    pub(crate) fn flush(&mut self) {
        while let Some(transmit) = self.engine.poll_transmit() {
            self.transmit(transmit);
        }
    }

    /// Whether it was sent; if not, it went back to the engine.
    #[inline]
    pub(crate) fn transmit(&mut self, transmit: Transmit) -> bool {
        match self.sockets.send(transmit) {
            Ok(()) => true,
            Err(unsent) => {
                self.returned(unsent);
                false
            }
        }
    }

    #[cold]
    fn returned(&mut self, unsent: Unsent) {
        match unsent {
            Unsent::Full(transmit) => self.engine.handle_full(Instant::now(), transmit),
            Unsent::Refused(transmit) => self.engine.handle_refused(Instant::now(), transmit),
            Unsent::TooLarge(transmit, size, limit) => {
                let now = Instant::now();
                self.engine.handle_too_large(now, transmit, size, limit);
            }
        }
    }

    /// Takes what has come, up to a number of messages; whether there was anything.
    fn receive(&mut self) -> bool {
        self.resume();
        let events = self.sockets.take_events();
        let mut busy = !events.is_empty();
        let news = busy;
        self.told.extend(events);
        let mut ports = self.sockets.awake();
        let now = self.now;
        let (mut room, mut octets) = (self.at_once, OCTETS_AT_ONCE);
        // Each port has its turn, until none has anything.
        while room > 0 && octets > 0 && !ports.is_empty() {
            ports.retain(|&port| {
                if !self.engine.takes_messages(port) {
                    self.sockets.pause(port);
                    return false;
                }
                let Some((peer, message)) = self.sockets.try_recv(port) else {
                    return false;
                };
                room = room.saturating_sub(1);
                octets = octets.saturating_sub(message.byte_len());
                self.engine
                    .handle_message(now, port, peer.as_ref(), message);
                self.flush();
                true
            });
            busy |= room < self.at_once;
        }
        self.took(self.at_once - room);
        match self.sockets.is_paused() {
            true if news || room < self.at_once => self.tell_losses(),
            true => {}
            false => self.tell(ports.is_empty()),
        }
        for (port, peer) in self.sockets.take_room() {
            self.engine.handle_room(now, port, peer.as_ref());
            self.flush();
            busy = true;
        }
        busy
    }
}

impl<E: Engine, C> Driver<E, C> {
    /// Tells of comings and goings in their order. What a lost peer had sent before is there when its loss is told, and is
    /// taken first, so a loss waits until nothing is left, or as much was taken since as is long enough for that.
    fn tell(&mut self, nothing_left: bool) {
        let all = nothing_left || self.since >= LEFT_AT_MOST;
        while let Some((port, event)) = self.told.pop_front() {
            // A DEALER may be closed and opened anew before long, and what is told late would be taken for the new one's.
            if !all && matches!(event, PeerEvent::Down { peer: Some(_) }) {
                self.told.push_front((port, event));
                return;
            }
            self.engine.handle_peer(self.now, port, event);
            self.flush();
        }
        self.since = 0;
    }

    /// While the engine has no room it is told of losses at once, since what lost peers have makes room; and again in their
    /// order, for what they had sent besides.
    #[cold]
    fn tell_losses(&mut self) {
        let lost = |(_, event): &&(Port, PeerEvent)| matches!(event, PeerEvent::Down { .. });
        for (port, event) in self.told.iter().filter(lost) {
            self.engine.handle_peer(self.now, *port, event.clone());
        }
        while self.told.len() > LEFT_AT_MOST {
            self.told.pop_front();
        }
        self.flush();
    }

    /// So many messages are taken at once at most, for an engine whose messages are taken in another way as well.
    pub(crate) fn take_at_once(&mut self, messages: usize) {
        self.at_once = messages;
    }

    /// So many messages were taken.
    pub(crate) fn took(&mut self, messages: usize) {
        self.since = self.since.saturating_add(messages);
    }
}

impl<E, C> Driver<E, C> {
    /// From here on whoever wants something learns that it will not be done.
    pub(crate) fn refuse_commands(&mut self) {
        self.taken.clear();
        self.line.0.commands.discard();
    }
}

impl<E, C> Drop for Driver<E, C> {
    fn drop(&mut self) {
        self.refuse_commands();
    }
}

/// Messages between two looks at comings and goings, and at what else is wanted; at most one more per port.
const AT_ONCE: usize = 256;

/// The same in octets, so that what is taken is still in the processor's cache when it is handled.
const OCTETS_AT_ONCE: usize = 256 << 10;

/// Messages between the loss of a peer and word of it, if there are always more: some queues full.
const LEFT_AT_MOST: usize = 4096;
