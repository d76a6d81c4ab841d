//! The receiving half: pipes from peers, read in turn.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::favourites::{Favour, Favourites, MOST};
use super::outbound::Deadline;
use super::spin::Spin;
use super::{make_slot, peer_key, pipe_key};
use crate::error::RecvError;
use crate::io::{CallerPoll, Counters, Half, Inbound, Link, Port};
use crate::message::Message;
use crate::pipe::Reader;
use crate::routing::{PeerKey, Rotation};
use crate::sync::{barrier, clock};

/// Messages between two looks at the mailbox and at pipes found empty, while there is no lack of
/// messages: a new peer waits for its turn no longer than that.
const LOOK_EVERY: u32 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct RecvHalf {
    port: Arc<Port>,
    pipes: Vec<Option<InPipe>>,
    /// Pipes that have messages, as far as is known.
    readable: Rotation,
    /// Pipes found empty and not armed: they are looked at again before sleeping.
    resting: Vec<PeerKey>,
    since_look: u32,
    /// Whose the last message was.
    from: PeerKey,
    /// Pipes with a connection.
    links: usize,
    caller: Option<CallerPoll>,
    /// Whose connections this half reads if it has many.
    favourites: Favourites,
    /// The count of messages received at the last wait.
    noted: u64,
    spin: Spin,
    /// REQ: peers whose connection was lost since the last look.
    lost: Vec<PeerKey>,
    note_lost: bool,
}

#[derive(Debug)]
struct InPipe {
    key: PeerKey,
    reader: Reader,
    /// Not kept alive: the descriptor of a lost connection must not wait for the next call.
    link: Option<Weak<Link>>,
    state: State,
    /// No more will come.
    down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the rotation.
    Readable,
    /// On the list of those found empty.
    Resting,
    /// Its writer signals the next message.
    Armed,
}

impl RecvHalf {
    pub(super) fn new(port: Arc<Port>) -> Self {
        RecvHalf {
            spin: match port.config.busy_poll {
                true => Spin::Always,
                false => Spin::Off,
            },
            port,
            pipes: Vec::new(),
            readable: Rotation::new(),
            resting: Vec::new(),
            since_look: 0,
            from: PeerKey {
                index: 0,
                generation: 0,
            },
            links: 0,
            caller: None,
            favourites: Favourites::default(),
            noted: 0,
            lost: Vec::new(),
            note_lost: false,
        }
    }

    /// For REQ and REP.
    pub(super) fn lock_step(mut self) -> Self {
        if matches!(self.spin, Spin::Off) {
            self.spin = Spin::adaptive();
        }
        self
    }

    /// For REQ.
    pub(super) fn note_lost(mut self) -> Self {
        self.note_lost = true;
        self
    }

    /// Takes note of what has changed.
    #[inline]
    pub(super) fn refresh(&mut self) {
        if self.port.inbound.is_pending() {
            self.take_mail();
        }
    }

    #[cold]
    fn take_mail(&mut self) {
        self.port.inbound.take_pending();
        while let Some(mail) = self.port.inbound.pop() {
            match mail {
                Inbound::Up { key, reader } => {
                    let key = peer_key(key);
                    let index = key.index as usize;
                    make_slot(&mut self.pipes, index);
                    self.pipes[index] = Some(InPipe {
                        key,
                        reader,
                        link: None,
                        state: State::Readable,
                        down: false,
                    });
                    self.readable.activate(key);
                }
                Inbound::Relinked(key) => {
                    let change = self.port.take_change(Half::Receiving, key);
                    let key = peer_key(key);
                    if change.ended {
                        self.unlink(key, change.lost);
                    }
                    if let (Some(pipe), Some(link)) = (self.pipe(key), change.link) {
                        if pipe.link.replace(link).is_none() {
                            self.links += 1;
                        }
                    }
                }
                Inbound::Down { key } => {
                    self.port.end_seen(Half::Receiving);
                    let key = peer_key(key);
                    self.unlink(key, true);
                    if let Some(pipe) = self.pipe(key) {
                        pipe.down = true;
                    }
                    self.wake(key);
                }
                Inbound::Readable(key) => self.wake(peer_key(key)),
            }
        }
    }

    fn unlink(&mut self, key: PeerKey, lost: bool) {
        let Some(pipe) = self.pipe(key) else {
            return;
        };
        if pipe.link.take().is_some() {
            self.links -= 1;
        }
        if let Some(caller) = &mut self.caller {
            caller.forget(pipe_key(key));
        }
        self.favourites.forget(key);
        if lost && self.note_lost {
            self.lost.push(key);
        }
    }

    fn pipe(&mut self, key: PeerKey) -> Option<&mut InPipe> {
        self.pipes
            .get_mut(key.index as usize)?
            .as_mut()
            .filter(|pipe| pipe.key == key)
    }

    /// Puts a pipe into the rotation.
    fn wake(&mut self, key: PeerKey) {
        let Some(pipe) = self.pipe(key) else {
            return;
        };
        match std::mem::replace(&mut pipe.state, State::Readable) {
            State::Readable => return,
            State::Resting => self.resting.retain(|other| *other != key),
            State::Armed => pipe.reader.disarm(),
        }
        self.readable.activate(key);
    }

    /// A peer whose connection was lost since the last call, one at a time.
    pub(super) fn take_lost(&mut self) -> Option<PeerKey> {
        self.lost.pop()
    }

    /// Takes the next message in turn; [`RecvHalf::from`] then says whose it is.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if there is none.
    #[inline(always)]
    pub(super) fn try_recv(&mut self) -> Result<Message, RecvError> {
        self.since_look += 1;
        if self.since_look >= LOOK_EVERY {
            self.look();
        }
        loop {
            while let Some(key) = self.readable.current() {
                let slot = self.pipes.get_mut(key.index as usize);
                if let Some(pipe) = slot.and_then(Option::as_mut) {
                    if pipe.reader.has_message() {
                        self.from = key;
                        self.readable.advance();
                        Counters::add_owned(&self.port.counters.messages_received, 1);
                        // Last, so that the message goes straight into the caller's hands.
                        return pipe.reader.take_message(RecvError::WouldBlock);
                    }
                }
                self.rest(key);
            }
            if !self.look() {
                return Err(RecvError::WouldBlock);
            }
        }
    }

    /// Whose the last message was.
    pub(super) fn from(&self) -> PeerKey {
        self.from
    }

    /// The current pipe is empty.
    #[cold]
    fn rest(&mut self, key: PeerKey) {
        self.readable.deactivate(key);
        let Some(pipe) = self.pipe(key) else {
            return;
        };
        // Not `is_finished`: over inproc the other socket lets go of its end only when it next looks at
        // its mail, which may be never.
        if pipe.down && !pipe.reader.has_data() {
            self.pipes[key.index as usize] = None;
            self.port.free_key(pipe_key(key));
            return;
        }
        pipe.state = State::Resting;
        self.resting.push(key);
    }

    /// Looks at the mailbox and at the pipes found empty; whether any pipe is in the rotation.
    #[cold]
    fn look(&mut self) -> bool {
        self.since_look = 0;
        self.refresh();
        let mut index = 0;
        while index < self.resting.len() {
            let key = self.resting[index];
            let found = self.pipe(key).map(|pipe| {
                let found = pipe.reader.has_data() || pipe.down;
                if found {
                    pipe.state = State::Readable;
                }
                found
            });
            if found == Some(false) {
                index += 1;
                continue;
            }
            self.resting.swap_remove(index);
            if found.is_some() {
                self.readable.activate(key);
            }
        }
        !self.readable.is_empty()
    }

    /// Takes the next message in turn, waiting for it.
    ///
    /// # Errors
    /// If there is none by the deadline.
    pub(super) fn recv(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        if self.is_readable() {
            return self.try_recv();
        }
        self.recv_slow(deadline)
    }

    /// Whether the current pipe has a message.
    #[inline(always)]
    fn is_readable(&mut self) -> bool {
        let current = self.readable.current();
        let pipe = current.and_then(|key| self.pipes.get_mut(key.index as usize)?.as_mut());
        pipe.is_some_and(|pipe| pipe.reader.has_message())
    }

    #[cold]
    fn recv_slow(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        if matches!(deadline, Deadline::Now) {
            if !self.look() {
                self.pump();
            }
            return self.try_recv();
        }
        let received = self.try_recv();
        if received.is_ok() {
            return received;
        }
        loop {
            let awake = self.wait(deadline.at());
            let received = self.try_recv();
            if received.is_ok() {
                return received;
            }
            if !awake {
                return Err(RecvError::Timeout);
            }
        }
    }

    /// Waits, as the deadline allows, until a message may be there or something has changed.
    ///
    /// # Errors
    /// If the time is over; a last look is due then.
    pub(super) fn await_more(&mut self, deadline: Deadline) -> Result<(), RecvError> {
        let (awake, over) = match deadline {
            Deadline::Now => (self.pump() || self.look(), RecvError::WouldBlock),
            other => (self.wait(other.at()), RecvError::Timeout),
        };
        if awake {
            Ok(())
        } else {
            Err(over)
        }
    }

    /// Waits until a message may be there or something has changed; `false` if the time was over
    /// first. May return early for no reason.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> bool {
        self.adopt_links();
        if self.pump() || self.spin(deadline) || self.arm() {
            return true;
        }
        let in_time = || deadline.map_or(true, |deadline| clock::now() < deadline);
        if let Some(caller) = self.caller.as_mut().filter(|caller| !caller.is_empty()) {
            // A pump whose turn was over in mid-message goes on: no event would tell of the rest. But
            // octets that keep coming are no message, and do not put the deadline off.
            if caller.has_ready() {
                return in_time();
            }
            if caller.wait(&self.port, deadline) {
                return self.pump() || in_time();
            }
            if !in_time() {
                return false;
            }
            // A long wait: the I/O threads read from here on.
            caller.release();
        }
        self.port.inbound.event().wait(deadline)
    }

    /// Looks for a message for a while, if that is worth it.
    fn spin(&mut self, deadline: Option<Instant>) -> bool {
        let mut spin = std::mem::replace(&mut self.spin, Spin::Off);
        let found = spin.until(deadline, || {
            if let Some(caller) = &mut self.caller {
                caller.expect_input();
            }
            self.port.inbound.is_pending() || self.pump() || self.look()
        });
        self.spin = spin;
        found
    }

    /// Takes reading of connections over: of all if they are few, otherwise of those whose messages this
    /// half keeps waiting for.
    fn adopt_links(&mut self) {
        if self.links > MOST {
            return self.adopt_favourites();
        }
        self.favourites.clear();
        if self.links == 0 {
            if let Some(caller) = &mut self.caller {
                caller.release();
            }
            return;
        }
        if self.caller.is_none() {
            self.caller = CallerPoll::new();
        }
        if let Some(caller) = &mut self.caller {
            for pipe in self.pipes.iter().flatten() {
                if let Some(link) = pipe.link.as_ref().and_then(Weak::upgrade) {
                    caller.adopt(pipe_key(pipe.key), &link);
                }
            }
        }
    }

    #[cold]
    fn adopt_favourites(&mut self) {
        if let Some(caller) = &mut self.caller {
            // There were few connections before, and this half read them all.
            if caller.len() > self.favourites.keys().len() {
                caller.release();
            }
        }
        let received = self.port.counters.messages_received.load(Ordering::Relaxed);
        if received != self.noted {
            self.noted = received;
            match self.favourites.note(self.from) {
                Favour::Nothing => {}
                Favour::Begin(_, dropped) => {
                    if self.caller.is_none() {
                        self.caller = CallerPoll::new();
                    }
                    if let (Some(caller), Some(dropped)) = (&mut self.caller, dropped) {
                        caller.forget(pipe_key(dropped));
                    }
                }
                Favour::End => {
                    if let Some(caller) = &mut self.caller {
                        caller.release();
                    }
                }
            }
        }
        let Some(caller) = &mut self.caller else {
            return;
        };
        for key in self.favourites.keys() {
            let pipe = self.pipes.get(key.index as usize).and_then(Option::as_ref);
            let pipe = pipe.filter(|pipe| pipe.key == *key);
            if let Some(link) = pipe.and_then(|pipe| pipe.link.as_ref()?.upgrade()) {
                caller.adopt(pipe_key(*key), &link);
            }
        }
    }

    /// Runs the in-pumps that this half drives; whether anything is readable.
    fn pump(&mut self) -> bool {
        let Some(caller) = self.caller.as_mut().filter(|caller| caller.has_ready()) else {
            return false;
        };
        let (pipes, resting) = (&mut self.pipes, &mut self.resting);
        caller.pump(|key| {
            let key = peer_key(key);
            // What this thread writes itself needs no signal.
            if let Some(pipe) = pipes.get_mut(key.index as usize).and_then(Option::as_mut) {
                if pipe.key == key && pipe.state == State::Armed {
                    pipe.state = State::Resting;
                    pipe.reader.disarm();
                    resting.push(key);
                }
            }
        });
        self.look()
    }

    /// Arms every pipe found empty; `true` if one has something after all.
    fn arm(&mut self) -> bool {
        let mut dense = false;
        let resting = std::mem::take(&mut self.resting);
        for key in &resting {
            if let Some(pipe) = self.pipe(*key) {
                dense |= pipe.reader.arm();
                // Of others the I/O threads take care.
                if pipe.link.is_none() {
                    pipe.reader.trim_spare();
                }
                pipe.state = State::Armed;
            }
        }
        if dense {
            barrier::heavy();
        }
        let mut awake = false;
        for key in &resting {
            let Some(pipe) = self.pipe(*key) else {
                continue;
            };
            // A pipe whose writer is gone stays armed until the mail that says so.
            if pipe.reader.stay_awake() && pipe.reader.has_data() {
                pipe.state = State::Readable;
                self.readable.activate(*key);
                awake = true;
            }
        }
        // Keep the memory of the list.
        self.resting = resting;
        self.resting.clear();
        awake
    }

    /// Forgets every pipe, so that their other ends see the end.
    pub(super) fn clear(&mut self) {
        self.refresh();
        self.caller = None;
        self.pipes.clear();
    }
}
