//! The receiving half: pipes from peers, read in turn.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::deadline::Deadline;
use super::favourites::Favourites;
use super::outbound::SendHalf;
use super::shell::Ending;
use super::spin::{self, Follow, Spin, TaskSpin};
use super::{make_slot, peer_key, pipe_key};
use crate::error::RecvError;
use crate::io::{CallerPoll, Counters, DisconnectReason, DropCause, Half, Inbound, Link, Port};
use crate::message::{Message, PeerProperties};
use crate::pipe::{pipe, Limits, Reader, Tuning};
use crate::routing::{PeerKey, Rotation};
use crate::sync::barrier;

mod forwarding;
mod left_behind;
mod waiting;

/// Messages between two looks at the mailbox and at pipes found empty, while there is no lack of
/// messages: a new peer waits for its turn no longer than that.
const LOOK_EVERY: u32 = 64;

/// So many messages between two waits are worth a task's reading by itself.
const TASK_FLOW: u64 = 64;

/// So often in a row a task reads before others have their turn.
const TASK_TURNS: u32 = 8;

/// The most pipes that are looked at again and again because they were found empty. Above it their
/// writers are asked to signal, so that what a look costs does not grow with the number of peers.
const RESTING_MOST: usize = 256;

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
    /// All pipes.
    peers: usize,
    /// Pipes with a connection, by index.
    linked: BTreeSet<u32>,
    caller: Option<CallerPoll>,
    /// Whose connections this half reads if it has many.
    favourites: Favourites,
    /// The count of messages received at the last wait.
    noted: u64,
    /// How often a task has read by itself since others had their turn.
    turns: u32,
    /// And when memory was last given back.
    trimmed: Option<u64>,
    spin: Spin,
    /// How long a wait that is interrupted, or one for an answer, looks first, once there was one.
    watch: Option<Spin>,
    follow: Follow,
    /// REQ and REP: every wait is one for an answer.
    lock_step: bool,
    /// How long a task looks that waits for an answer.
    task_spin: TaskSpin,
    /// REQ: peers whose connection was lost since the last look.
    lost: Vec<PeerKey>,
    note_lost: bool,
    /// Also of connections that ended with messages not sent yet, which go to the next one.
    note_every_end: bool,
    /// Each message is to carry what is known of its peer. Costs nothing if not: `since_look` then never
    /// falls below where it is looked at.
    attach: bool,
    attached: u32,
    /// Whose the last message was, if its pipe is gone.
    gone: Option<Arc<PeerProperties>>,
    /// Peers that went and left something to receive, since such pipes were last counted.
    left_behind: usize,
    /// Sockets that may send for long without receiving: the end of a pipe counts as unseen while what
    /// the pipe holds is unread.
    hold_ends: bool,
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
    /// Who is at the other end, from which message on. At least one message was read of the first, or
    /// nobody has been told of another; a connection that brings none leaves no trace.
    peers: Vec<(u64, Arc<PeerProperties>)>,
    /// What is received after the last message of a pipe that is down.
    last: Option<Box<Message>>,
}

impl InPipe {
    fn introduce(&mut self, (first, peer): (u64, Arc<PeerProperties>)) {
        if self
            .peers
            .last()
            .is_some_and(|(before, _)| *before >= first)
        {
            self.peers.pop();
        }
        // There is one, as a rule, and very many connections.
        self.peers.reserve_exact(1);
        self.peers.push((first, peer));
    }

    /// Who sent the last message that was read.
    fn last_peer(&mut self) -> Option<Arc<PeerProperties>> {
        let read = self.reader.messages_read();
        let of_last = self.peers.iter().rposition(|(first, _)| *first < read)?;
        self.peers.drain(..of_last);
        self.peers.first().map(|(_, peer)| Arc::clone(peer))
    }
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
        let config = &port.settings().config;
        spin::count_processors();
        RecvHalf {
            spin: match config.busy_poll {
                true => Spin::Always,
                false => Spin::Off,
            },
            follow: Follow::default(),
            lock_step: false,
            task_spin: TaskSpin::default(),
            since_look: if config.attach_properties {
                LOOK_EVERY
            } else {
                0
            },
            attach: config.attach_properties,
            attached: 0,
            gone: None,
            watch: None,
            port,
            pipes: Vec::new(),
            readable: Rotation::new(),
            resting: Vec::new(),
            from: PeerKey {
                index: 0,
                generation: 0,
            },
            peers: 0,
            linked: BTreeSet::new(),
            caller: None,
            favourites: Favourites::default(),
            noted: 0,
            turns: 0,
            trimmed: None,
            lost: Vec::new(),
            note_lost: false,
            note_every_end: false,
            left_behind: 0,
            hold_ends: false,
        }
    }

    /// For REQ and REP.
    pub(super) fn lock_step(mut self) -> Self {
        if matches!(self.spin, Spin::Off) {
            self.spin = Spin::adaptive();
        }
        self.lock_step = true;
        self
    }

    /// For REQ.
    pub(super) fn note_every_end(mut self) -> Self {
        self.note_every_end = true;
        self.note_lost()
    }

    pub(super) fn note_lost(mut self) -> Self {
        self.port.expect_replies();
        self.note_lost = true;
        self
    }

    /// For sockets whose two directions have nothing to do with each other.
    pub(super) fn hold_ends(mut self) -> Self {
        self.hold_ends = true;
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
        self.port.look_after(Half::Sending);
        self.port.inbound.take_pending();
        while let Some(mail) = self.port.inbound.pop() {
            match mail {
                Inbound::Up { key, reader, peer } => {
                    let mut reader = *reader;
                    self.port.mark_reader(&mut reader);
                    let key = peer_key(key);
                    let index = key.index as usize;
                    make_slot(&mut self.pipes, index);
                    // Over inproc a pipe that keeps too much is replaced by another when its peer is known.
                    self.peers += usize::from(self.pipe(key).is_none());
                    self.pipes[index] = Some(InPipe {
                        key,
                        reader,
                        link: None,
                        state: State::Readable,
                        down: false,
                        peers: peer.map_or_else(Vec::new, |peer| vec![(0, peer)]),
                        last: None,
                    });
                    self.readable.activate(key);
                }
                Inbound::Relinked(key) => {
                    let change = self.port.take_change(Half::Receiving, key);
                    let key = peer_key(key);
                    if change.ended {
                        self.unlink(key, change.lost || self.note_every_end);
                    }
                    let introductions = self.port.take_introductions(pipe_key(key));
                    if let Some(pipe) = self.pipe(key) {
                        introductions
                            .into_iter()
                            .for_each(|peer| pipe.introduce(peer));
                    }
                    if let (Some(pipe), Some(link)) = (self.pipe(key), change.link) {
                        pipe.link = Some(link);
                        self.linked.insert(key.index);
                    }
                }
                Inbound::Down { key, last, excused } => {
                    self.port.count_end(Half::Receiving, excused);
                    let key = peer_key(key);
                    self.unlink(key, true);
                    if !self.hold_ends || self.pipe(key).is_none() {
                        self.port.end_seen(Half::Receiving);
                    }
                    self.end(key, last);
                }
                Inbound::Readable(key) => self.wake(peer_key(key)),
                Inbound::Marks => self.mark(),
            }
        }
    }

    /// The socket allows another number of messages: so do the pipes there are.
    fn mark(&mut self) {
        for pipe in self.pipes.iter_mut().flatten().filter(|pipe| !pipe.down) {
            self.port.mark_reader(&mut pipe.reader);
            // Who writes counts by itself, and may have counted on more.
            match pipe.link.as_ref().and_then(Weak::upgrade) {
                Some(link) => link.recount_input(),
                None => self.port.inproc.recount(pipe_key(pipe.key)),
            }
        }
    }

    fn unlink(&mut self, key: PeerKey, lost: bool) {
        let Some(pipe) = self.pipe(key) else {
            return;
        };
        if pipe.link.take().is_some() {
            self.linked.remove(&key.index);
        }
        if let Some(caller) = &mut self.caller {
            caller.forget(pipe_key(key));
        }
        self.favourites.forget(key);
        if lost && self.note_lost {
            self.lost.push(key);
        }
    }

    /// A pipe is down. One that holds nothing is let go at once: who only sends never reads it.
    fn end(&mut self, key: PeerKey, last: Option<Box<Message>>) {
        let Some(pipe) = self.pipe(key) else {
            return;
        };
        pipe.down = true;
        pipe.last = last;
        if pipe.last.is_none() && !pipe.reader.has_data() {
            self.release(key);
        } else {
            // Who never receives must not keep what is left of every peer there ever was.
            self.left_behind += usize::from(!self.hold_ends);
            self.wake(key);
        }
    }

    /// Lets go of a pipe. It may still be on the list of those found empty.
    fn release(&mut self, key: PeerKey) {
        self.readable.deactivate(key);
        if key == self.from {
            self.gone = self.pipe(key).and_then(InPipe::last_peer);
        }
        self.pipes[key.index as usize] = None;
        self.peers -= 1;
        self.port.free_key(pipe_key(key));
        if self.hold_ends {
            self.port.end_seen(Half::Receiving);
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
            // The next look takes it off the list.
            State::Resting => {}
            State::Armed => pipe.reader.disarm(),
        }
        self.readable.activate(key);
    }

    /// A peer whose connection was lost since the last call, one at a time.
    pub(super) fn take_lost(&mut self) -> Option<PeerKey> {
        self.lost.pop()
    }

    /// As [`RecvHalf::take_lost`], of those peers that have left nothing to receive.
    pub(super) fn take_lost_and_read(&mut self) -> Option<PeerKey> {
        let lost = (0..self.lost.len()).find(|at| {
            let pipe = self.pipe(self.lost[*at]);
            pipe.map_or(true, |pipe| !pipe.reader.has_data() && pipe.last.is_none())
        });
        lost.map(|at| self.lost.swap_remove(at))
    }

    /// Takes the next message in turn; [`RecvHalf::from`] then says whose it is.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if there is none.
    #[inline(always)]
    pub(super) fn try_recv(&mut self) -> Result<Message, RecvError> {
        self.since_look += 1;
        if self.since_look >= LOOK_EVERY {
            if self.attach {
                return self.take_attached();
            }
            self.look();
        }
        self.take_next()
    }

    /// As [`RecvHalf::try_recv`], with what is known of the peer.
    #[cold]
    fn take_attached(&mut self) -> Result<Message, RecvError> {
        self.since_look = LOOK_EVERY;
        self.attached = self.attached.wrapping_add(1);
        if self.attached % LOOK_EVERY == 0 {
            self.look();
        }
        let mut message = self.take_next()?;
        if let Some(peer) = self.last_peer() {
            message.set_properties(peer);
        }
        Ok(message)
    }

    #[inline(always)]
    fn take_next(&mut self) -> Result<Message, RecvError> {
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

    /// The last message is of no use: it is dropped and counted.
    #[cold]
    pub(super) fn drop_last(&mut self) {
        self.port.dropped(DropCause::Unexpected, 1);
        self.note_unwanted(self.from);
    }

    /// A message that came from this peer is of no use, which is counted of its connection.
    #[cold]
    pub(super) fn note_unwanted(&mut self, key: PeerKey) {
        if let Some(pipe) = self.pipe(key) {
            pipe.reader.note_unwanted();
        }
    }

    /// Ends the connection that the last message came through, if it is still there. Over inproc there is none.
    #[cold]
    pub(super) fn end_last(&mut self, reason: DisconnectReason) {
        let link = self.pipe(self.from).and_then(|pipe| pipe.link.clone());
        if let Some(link) = link.and_then(|link| link.upgrade()) {
            link.end(reason);
        }
    }

    /// What is known of who that was.
    pub(super) fn last_peer(&mut self) -> Option<Arc<PeerProperties>> {
        self.refresh();
        match self.pipe(self.from) {
            Some(pipe) => pipe.last_peer(),
            None => self.gone.clone(),
        }
    }

    /// What is known of who is at the other end of a pipe now.
    pub(super) fn peer_of(&mut self, key: PeerKey) -> Option<Arc<PeerProperties>> {
        self.refresh();
        let (_, peer) = self.pipe(key)?.peers.last()?;
        Some(Arc::clone(peer))
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
            match pipe.last.take() {
                Some(last) => {
                    pipe.reader = holding(&last);
                    // It comes from whoever was there last.
                    let from = pipe.peers.pop().map(|(_, peer)| (0, peer));
                    pipe.peers = from.into_iter().collect();
                    self.readable.activate(key);
                }
                None => self.release(key),
            }
            return;
        }
        pipe.state = State::Resting;
        self.resting.push(key);
    }

    /// Looks at the mailbox and at the pipes found empty; whether any pipe is in the rotation.
    #[cold]
    fn look(&mut self) -> bool {
        self.since_look = if self.attach { LOOK_EVERY } else { 0 };
        self.refresh();
        let mut index = 0;
        while index < self.resting.len() {
            let key = self.resting[index];
            // Some have been woken or let go meanwhile.
            let resting = self
                .pipe(key)
                .filter(|pipe| pipe.state == State::Resting)
                .map(|pipe| {
                    let rests = !pipe.reader.has_data() && !pipe.down;
                    if !rests {
                        pipe.state = State::Readable;
                    }
                    rests
                });
            if resting == Some(true) {
                index += 1;
                continue;
            }
            self.resting.swap_remove(index);
            if resting.is_some() {
                self.readable.activate(key);
            }
        }
        if self.resting.len() > RESTING_MOST {
            self.arm();
        }
        !self.readable.is_empty()
    }

    /// Takes the next message in turn, waiting for it.
    ///
    /// # Errors
    /// If there is none by the deadline.
    // The deadline, which is more than fits into registers, is then made only where it is looked at.
    #[inline(always)]
    pub(super) fn recv(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        match self.at_hand() {
            Some(reader) => reader.take_message(RecvError::WouldBlock),
            None => self.recv_otherwise(deadline),
        }
    }

    /// As [`RecvHalf::try_recv`], for most messages: with one look at the pipe. It counts as received, and is to be taken.
    #[inline(always)]
    pub(super) fn at_hand(&mut self) -> Option<&mut Reader> {
        if self.since_look + 1 >= LOOK_EVERY {
            return None;
        }
        let key = self.readable.current()?;
        let pipe = self.pipes.get_mut(key.index as usize)?.as_mut()?;
        if !pipe.reader.has_message() {
            return None;
        }
        self.since_look += 1;
        self.from = key;
        self.readable.advance();
        Counters::add_owned(&self.port.counters.messages_received, 1);
        Some(&mut pipe.reader)
    }

    /// Whether a message is there; a task is woken when one may be.
    pub(super) fn is_ready(&mut self, deadline: Deadline) -> bool {
        loop {
            if self.has_next() {
                return true;
            }
            let again = match deadline {
                // Who asks whether there is something is to be woken for it only.
                Deadline::Task(waker) => !self.port.is_terminated() && self.wait_to_be_woken(waker),
                _ => {
                    // Of whoever waited before and went away nobody else reads.
                    if let Some(caller) = &mut self.caller {
                        caller.expect_untold();
                    }
                    self.pump()
                }
            };
            if !again {
                return self.has_next();
            }
        }
    }

    /// Whether a message is there, after a wait for it, which may end early for no reason.
    pub(super) fn wait_readable(&mut self, deadline: Deadline) -> bool {
        self.has_next() || {
            self.watch(deadline);
            self.has_next()
        }
    }

    /// Waits. Who interrupts, and what is sent next, may be some microseconds away, and whoever is awake need not be woken:
    /// so it looks first, as a socket in lock-step does, while that pays.
    fn watch(&mut self, deadline: Deadline) -> bool {
        if !matches!(self.spin, Spin::Off) {
            return self.wait(deadline);
        }
        self.spin = self.watch.take().unwrap_or_else(Spin::adaptive);
        let awake = self.wait(deadline);
        self.watch = Some(std::mem::replace(&mut self.spin, Spin::Off));
        awake
    }

    /// As [`RecvHalf::take_next`], and takes nothing.
    pub(super) fn has_next(&mut self) -> bool {
        loop {
            while let Some(key) = self.readable.current() {
                if self.is_readable() {
                    return true;
                }
                self.rest(key);
            }
            if !self.look() {
                return false;
            }
        }
    }

    /// Whether the connection to this peer was lost, and nobody has been told.
    pub(super) fn has_lost(&self, peer: PeerKey) -> bool {
        self.lost.contains(&peer)
    }

    /// Whether the current pipe has a message.
    #[inline(always)]
    fn is_readable(&mut self) -> bool {
        let current = self.readable.current();
        let pipe = current.and_then(|key| self.pipes.get_mut(key.index as usize)?.as_mut());
        pipe.is_some_and(|pipe| pipe.reader.has_message())
    }

    /// It may be time to look at the mailbox, or nothing is there.
    #[inline(never)]
    fn recv_otherwise(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        match self.is_readable() {
            true => self.try_recv(),
            false => self.recv_slow(deadline),
        }
    }

    #[cold]
    fn recv_slow(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        match deadline {
            Deadline::Now => {
                self.forget_task();
                if !self.look() {
                    self.pump();
                }
                let received = self.try_recv();
                return received.map_err(|none| self.over(none));
            }
            Deadline::Glance => return self.try_recv(),
            _ => {}
        }
        let received = self.try_recv();
        if received.is_ok() {
            return received;
        }
        loop {
            let awake = self.wait(deadline);
            let received = self.try_recv();
            if received.is_ok() {
                return received;
            }
            if !awake {
                return Err(self.over(RecvError::Timeout));
            }
        }
    }

    /// Why there is nothing: that, or the context was shut down.
    #[cold]
    fn over(&self, none: RecvError) -> RecvError {
        match self.port.is_terminated() {
            true => RecvError::Terminated,
            false => none,
        }
    }

    /// Waits, as the deadline allows, until a message may be there or something has changed.
    ///
    /// # Errors
    /// If the time is over; a last look is due then.
    pub(super) fn await_more(&mut self, deadline: Deadline) -> Result<(), RecvError> {
        let (awake, over) = match deadline {
            Deadline::Now => {
                self.forget_task();
                (self.pump() || self.look(), RecvError::WouldBlock)
            }
            Deadline::Glance => (self.look(), RecvError::WouldBlock),
            other => (self.wait(other), RecvError::Timeout),
        };
        if awake {
            Ok(())
        } else {
            Err(self.over(over))
        }
    }

    /// As [`RecvHalf::await_more`], for a socket that sends as well. A thread or a task that has sent one message before each
    /// of the last waits is in lock-step: it looks for the answer before it sleeps, while that pays, and its next message is
    /// not part of a burst.
    ///
    /// # Errors
    /// As for that.
    pub(super) fn await_more_from(
        &mut self,
        out: &mut SendHalf,
        deadline: Deadline,
    ) -> Result<(), RecvError> {
        if !(deadline.is_wait() && out.will_wait()) {
            return self.await_more(deadline);
        }
        let awake = match deadline {
            Deadline::Task(_) if self.port.is_terminated() => false,
            Deadline::Task(waker) => self.look_as_task(waker),
            other => self.watch(other),
        };
        match awake {
            true => Ok(()),
            false => Err(self.over(RecvError::Timeout)),
        }
    }

    /// Leaves reading of connections to their I/O threads.
    pub(super) fn release_links(&mut self) {
        self.favourites.clear();
        if let Some(caller) = &mut self.caller {
            caller.release();
        }
    }

    /// Has the event tell of the next message; `true` if there may be one already.
    pub(super) fn arm_for_event(&mut self) -> bool {
        !self.readable.is_empty() || self.arm()
    }

    /// Arms every pipe found empty; `true` if one has something after all.
    fn arm(&mut self) -> bool {
        let mut dense = false;
        let resting = std::mem::take(&mut self.resting);
        for key in &resting {
            let pipe = self.pipe(*key);
            if let Some(pipe) = pipe.filter(|pipe| pipe.state == State::Resting) {
                dense |= pipe.reader.arm();
                pipe.state = State::Armed;
            }
        }
        if dense {
            barrier::heavy();
        }
        let mut awake = false;
        for key in &resting {
            let pipe = self.pipe(*key);
            let Some(pipe) = pipe.filter(|pipe| pipe.state == State::Armed) else {
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
}

impl Ending for RecvHalf {
    fn finish(&mut self) -> u64 {
        self.refresh();
        self.caller = None;
        self.pipes.clear();
        0
    }
}

/// Ends a wait of whoever receives from a socket, as a message would.
struct Interrupter(Weak<Port>);

impl Wake for Interrupter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(port) = self.0.upgrade() {
            port.inbound.event().notify();
        }
    }
}

pub(super) fn interrupter(port: &Arc<Port>) -> Waker {
    Waker::from(Arc::new(Interrupter(Arc::downgrade(port))))
}

/// The reading end of a pipe that holds one message and has no other end.
fn holding(message: &Message) -> Reader {
    let (mut writer, reader) = pipe(ONE, Tuning::INPROC);
    writer.append_message(message);
    writer.publish();
    reader
}

const ONE: Limits = Limits {
    messages: 1,
    bytes: 1,
};

/// For tests of sockets that send and receive: what a receive says of the message that is sent next.
#[cfg(test)]
pub(super) mod after {
    use super::*;
    use crate::context::Context;
    use crate::sync::clock;

    struct NotWoken;
    impl Wake for NotWoken {
        fn wake(self: Arc<Self>) {}
    }

    /// Whether the next message is written at once, if so many were sent before each of the last waits.
    pub(in crate::socket) fn check<S>(
        make: impl Fn(Context) -> S,
        port: impl Fn(&S) -> &Arc<Port>,
        recv: impl Fn(&mut S, Deadline) -> Result<(), RecvError>,
        out: impl Fn(&S) -> &SendHalf,
    ) {
        let next = |sent, deadline, result: RecvError| {
            let mut socket = make(Context::default());
            if matches!(result, RecvError::Terminated) {
                // It would wait for ever.
                port(&socket).terminate();
            }
            for _ in 0..16 {
                Counters::add_owned(&port(&socket).counters.messages_sent, sent);
                assert_eq!(recv(&mut socket, deadline), Err(result));
                // Who was woken for nothing waits again.
                assert_eq!(recv(&mut socket, deadline), Err(result));
            }
            out(&socket).writes_next()
        };
        let task = Waker::from(Arc::new(NotWoken));
        for (sent, at_once) in [(1, true), (0, false), (2, false), (64, false)] {
            let writes = next(sent, Deadline::Never, RecvError::Terminated);
            assert_eq!(writes, at_once, "{sent} before each wait");
            let writes = next(sent, Deadline::Task(&task), RecvError::Timeout);
            assert_eq!(writes, at_once, "{sent} before each wait of a task");
        }
        let over = Deadline::At(clock::now());
        for (deadline, result) in [
            (Deadline::Now, RecvError::WouldBlock),
            (over, RecvError::Timeout),
        ] {
            assert!(!next(1, deadline, result), "{deadline:?} is no wait");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pull;
    use super::*;
    use crate::context::Context;
    use crate::io::NoHooks;
    use crate::socket_type::SocketType;

    /// What looking for ever is like is tested beside it.
    #[test]
    fn with_busy_poll_the_looking_never_ends() {
        let half = |busy_poll| {
            let config = Pull::builder().busy_poll(busy_poll).config;
            let pool = Arc::clone(Context::default().pool());
            let port = Port::new(SocketType::Pull, config, Arc::new(NoHooks), pool);
            RecvHalf::new(port)
        };
        assert!(matches!(half(true).spin, Spin::Always));
        assert!(matches!(half(true).lock_step().spin, Spin::Always));
        assert!(matches!(half(false).spin, Spin::Off));
        assert!(!matches!(half(false).lock_step().spin, Spin::Always));
    }
}
