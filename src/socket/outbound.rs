//! The sending half: pipes to peers, and whose turn it is.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::deadline::Deadline;
use super::shell::Ending;
use super::{make_slot, peer_key, pipe_key};
use crate::config::{SendLimits, LEAST_SEND_LIMIT};
use crate::error::{SendError, SendFailure};
use crate::io::{Counters, DropCause, Half, Link, Outbound, Port, Room, BURST_GAP};
use crate::message::Message;
use crate::pipe::{Reader, Writer};
use crate::routing::{Admission, PeerKey, Rotation};
use crate::sync::atomic::Ordering;
use crate::sync::clock;

mod batch;
mod room;

/// See the module.
#[derive(Debug)]
pub(super) struct SendHalf {
    port: Arc<Port>,
    pipes: Vec<Option<OutPipe>>,
    /// Pipes with credit, as far as is known.
    writable: Rotation,
    pace: Pace,
    /// What pipes that are gone had not sent, for others.
    unsent: Vec<Reader>,
    room: Room,
    limits: SendLimits,
    /// Why the message was not taken that was offered last, if it never will be.
    refused: Option<SendFailure>,
    /// The socket is being closed: what is waited for now is what `linger` is for.
    lingers: bool,
    /// Pipes that something was appended to and not published yet: see [`batch`].
    unpublished: Vec<PeerKey>,
    watched: room::Watched,
}

#[derive(Debug)]
struct OutPipe {
    key: PeerKey,
    writer: Writer,
    /// Not kept alive: the descriptor of a lost connection must not wait for the next call.
    link: Option<Weak<Link>>,
    /// Where the stream was when this half last ran the out-pump, or could have.
    pumped: u64,
    /// When it last had so much, or was full, that it ran the out-pump.
    written_at: Option<Instant>,
}

/// After so many octets a sender writes by itself what it has published, unless the kernel has refused
/// more: a write of this size costs no more per octet than a larger one, and what waits for an I/O
/// thread leaves the caches and asks for more blocks meanwhile.
const PUMP_EVERY: u64 = 256 * 1024;

/// From this size on a borrowed payload is written from where it is, if possible. A smaller one is copied in
/// less time than it takes to arrange that.
const THROUGH_MIN: usize = 64 * 1024;

/// What can be given to a pipe: a message, or a reference to one or to its payload.
pub(super) trait Outgoing {
    /// To be called once. A message by value is left without what the pipe has taken by reference: nobody counts one
    /// more reference, which receivers in other threads count as well.
    fn append_to(&mut self, writer: &mut Writer);

    /// Octets in the largest frame, and in all of them.
    fn sizes(&self) -> (usize, usize);

    /// Whether it has so many octets that it has to be held against the limits.
    fn is_large(&self) -> bool;
}

impl Outgoing for Message {
    #[inline(always)]
    fn append_to(&mut self, writer: &mut Writer) {
        writer.take_message(self);
    }

    fn sizes(&self) -> (usize, usize) {
        let largest = self.frames().iter().map(|frame| frame.len()).max();
        (largest.unwrap_or(0), self.byte_len())
    }

    #[inline]
    fn is_large(&self) -> bool {
        self.byte_len() as u64 >= LEAST_SEND_LIMIT
    }
}

impl Outgoing for &Message {
    #[inline(always)]
    fn append_to(&mut self, writer: &mut Writer) {
        writer.append_message(self);
    }

    fn sizes(&self) -> (usize, usize) {
        (**self).sizes()
    }

    #[inline]
    fn is_large(&self) -> bool {
        (**self).is_large()
    }
}

/// The payload of a message of one frame.
impl Outgoing for &[u8] {
    #[inline(always)]
    fn append_to(&mut self, writer: &mut Writer) {
        writer.append_payload(self);
    }

    fn sizes(&self) -> (usize, usize) {
        (self.len(), self.len())
    }

    #[inline]
    fn is_large(&self) -> bool {
        self.len() as u64 >= LEAST_SEND_LIMIT
    }
}

/// What became of an attempt to give a message to one pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Done,
    Full,
    Gone,
}

impl SendHalf {
    pub(super) fn new(port: Arc<Port>) -> Self {
        SendHalf {
            limits: port.settings().config.send_limits,
            refused: None,
            port,
            pipes: Vec::new(),
            writable: Rotation::new(),
            pace: Pace::default(),
            unsent: Vec::new(),
            room: Room::default(),
            lingers: false,
            unpublished: Vec::new(),
            watched: room::Watched::default(),
        }
    }

    /// For REQ and REP.
    pub(super) fn lock_step(mut self) -> Self {
        self.pace.lock_step = true;
        self.pace.at_once = true;
        self
    }

    /// For PUSH.
    pub(super) fn keep_unsent(self) -> Self {
        self.port.keep_unsent();
        self
    }

    /// Takes note of what has changed.
    #[inline]
    pub(super) fn refresh(&mut self) {
        if self.port.outbound.is_pending() {
            self.take_mail();
        }
    }

    #[cold]
    fn take_mail(&mut self) {
        self.port.look_after(Half::Receiving);
        self.port.outbound.take_pending();
        while let Some(mail) = self.port.outbound.pop() {
            match mail {
                Outbound::Up { key, writer } => {
                    let mut writer = *writer;
                    self.port.mark_writer(&mut writer);
                    let key = peer_key(key);
                    let index = key.index as usize;
                    make_slot(&mut self.pipes, index);
                    self.pipes[index] = Some(OutPipe {
                        key,
                        writer,
                        link: None,
                        pumped: 0,
                        written_at: None,
                    });
                    self.writable.activate(key);
                }
                Outbound::Relinked(key) => {
                    let change = self.port.take_change(Half::Sending, key);
                    let key = peer_key(key);
                    // What is given to a pipe that conflates passes through its signal first, and is not
                    // for this half to write.
                    let link = change.link.filter(|_| !self.port.conflate.is_on());
                    if let Some(pipe) = self.pipe(key) {
                        pipe.link = link;
                    }
                }
                Outbound::Down { key, rest, excused } => {
                    self.port.count_end(Half::Sending, excused);
                    self.port.end_seen(Half::Sending);
                    let key = peer_key(key);
                    self.remove(key, rest.map(|rest| *rest));
                    self.signal_room(key);
                }
                Outbound::Writable(key) => {
                    let key = peer_key(key);
                    if let Some(pipe) = self.pipe(key) {
                        pipe.writer.recount();
                    }
                    self.resume(key);
                    self.signal_room(key);
                }
                Outbound::Marks => self.mark(),
            }
        }
    }

    /// The socket allows another number of messages: so do the pipes there are.
    fn mark(&mut self) {
        for pipe in self.pipes.iter_mut().flatten() {
            self.port.mark_writer(&mut pipe.writer);
            self.writable.activate(pipe.key);
        }
        self.signal_all_room();
    }

    fn pipe(&mut self, key: PeerKey) -> Option<&mut OutPipe> {
        self.pipes
            .get_mut(key.index as usize)?
            .as_mut()
            .filter(|pipe| pipe.key == key)
    }

    fn remove(&mut self, key: PeerKey, rest: Option<Reader>) {
        if let Some(pipe) = self.pipe(key) {
            // An inproc peer that is gone has left what it did not read. Who ended the connection has counted what
            // there was by then.
            let unread = match rest {
                None if pipe.writer.is_reader_closed() => pipe.writer.queued_messages(),
                _ => 0,
            };
            self.port.dropped(DropCause::PeerLost, unread);
            self.pipes[key.index as usize] = None;
            self.writable.remove(key);
            self.port.free_key(pipe_key(key));
        }
        // It may come after the end of the pipe was told.
        match rest {
            Some(rest) if self.port.keeps_unsent() => self.unsent.push(rest),
            // What was sent since the connection ended.
            Some(rest) => self
                .port
                .dropped(DropCause::PeerLost, rest.queued_messages()),
            None => {}
        }
    }

    /// Gives a message to one pipe.
    #[inline(always)]
    pub(super) fn give<M: Outgoing>(&mut self, key: PeerKey, message: &mut M) -> Given {
        if message.is_large() && self.refuses(message) {
            return Given::Full;
        }
        self.put(key, |writer| message.append_to(writer))
    }

    /// As [`SendHalf::give`]; a message that the pipe does not take is dropped and counted.
    #[inline]
    pub(super) fn give_or_drop<M: Outgoing>(&mut self, key: PeerKey, message: &mut M) {
        match self.give(key, message) {
            Given::Done => {}
            // Of what is too large, who sends is told.
            Given::Full if self.is_refused() => {}
            Given::Full => self.drop_for(key),
            Given::Gone => self.port.dropped(DropCause::PeerLost, 1),
        }
    }

    /// A message for this pipe, which is full, is dropped.
    #[cold]
    pub(super) fn drop_for(&mut self, key: PeerKey) {
        self.port.dropped(DropCause::Full, 1);
        if let Some(pipe) = self.pipe(key) {
            pipe.writer.note_refused();
        }
    }

    /// Whether this is more than may be sent at once; why is told by [`SendHalf::take_refused`].
    #[cold]
    fn refuses<M: Outgoing>(&mut self, message: &M) -> bool {
        self.refused = check_size(self.limits, message).err();
        self.refused.is_some()
    }

    /// Has a message appended to one pipe, if it has credit.
    #[inline(always)]
    fn put(&mut self, key: PeerKey, append: impl FnOnce(&mut Writer)) -> Given {
        let at_once = self.pace.at_once;
        let Some(pipe) = self.pipe(key) else {
            return Given::Gone;
        };
        if !pipe.has_room() {
            return if pipe.writer.is_reader_closed() {
                Given::Gone
            } else {
                Given::Full
            };
        }
        append(&mut pipe.writer);
        if pipe.publish(at_once) {
            self.see_off(key);
        }
        if at_once {
            self.pace.sent_at_once();
        }
        Counters::add_owned(&self.port.counters.messages_sent, 1);
        Given::Done
    }

    /// Gives one message to every pipe, and counts those that do not take it.
    pub(super) fn give_all<M: Outgoing>(&mut self, message: &mut M) {
        self.begin_fan_out();
        for index in 0..self.pipes.len() {
            if let Some(key) = self.pipes[index].as_ref().map(|pipe| pipe.key) {
                self.give_or_drop(key, message);
            }
        }
        self.end_fan_out();
    }

    /// Its thread waits now for what to do next. Whether it has sent one message before each of the last waits, so that this
    /// is one for the answer.
    pub(super) fn will_wait(&mut self) -> bool {
        let sent = self.port.counters.messages_sent.load(Ordering::Relaxed);
        self.pace.waits(sent)
    }

    /// Whether its thread writes the next message itself, whoever else is about to.
    #[cfg(test)]
    pub(super) fn writes_next(&self) -> bool {
        self.pace.at_once
    }

    /// A message ended the idleness of a pipe.
    #[cold]
    fn see_off(&mut self, key: PeerKey) {
        let burst = self.pace.is_burst();
        if let Some(pipe) = self.pipe(key) {
            pipe.see_off(burst);
        }
        self.pace.seen_off();
    }

    /// What is given from here on, until [`SendHalf::end_fan_out`], is one message for many.
    pub(super) fn begin_fan_out(&mut self) {
        self.pace.fan_out = Some((None, 0));
    }

    pub(super) fn end_fan_out(&mut self) {
        self.pace.fan_out = None;
    }

    /// Gives a message to the next pipe in turn that takes it; `None` if none does now.
    #[inline]
    pub(super) fn try_send<M: Outgoing>(&mut self, message: &mut M) -> Option<PeerKey> {
        self.try_send_among(message, |_| true)
    }

    /// As [`SendHalf::try_send`], to one that `admits` says may have it. The others have their turn again after
    /// [`SendHalf::resume`].
    #[inline(always)]
    pub(super) fn try_send_among<M: Outgoing>(
        &mut self,
        message: &mut M,
        mut admits: impl FnMut(PeerKey) -> bool,
    ) -> Option<PeerKey> {
        self.refresh();
        while let Some(key) = self.writable.current() {
            if !admits(key) {
                self.writable.deactivate(key);
                continue;
            }
            match self.offer(key, message) {
                Given::Done => return Some(key),
                Given::Full if self.refused.is_some() => return None,
                Given::Full | Given::Gone => {}
            }
        }
        None
    }

    /// As [`SendHalf::try_send_among`], and to one that may have it only [again](Admission::Again) if there is no other.
    #[cold]
    pub(super) fn try_send_again<M: Outgoing>(
        &mut self,
        message: &mut M,
        mut admits: impl FnMut(PeerKey) -> Admission,
    ) -> Option<PeerKey> {
        self.refresh();
        // Of those whose turn it is, one after the other. When all that are left are, it is the turn of the first.
        let mut passed = 0;
        while let Some(key) = self
            .writable
            .current()
            .filter(|_| passed < self.writable.len())
        {
            match admits(key) {
                Admission::No => {
                    self.writable.deactivate(key);
                }
                Admission::Again => {
                    self.writable.advance();
                    passed += 1;
                }
                Admission::First => match self.offer(key, message) {
                    Given::Done => return Some(key),
                    Given::Full if self.refused.is_some() => return None,
                    Given::Full | Given::Gone => {}
                },
            }
        }
        self.try_send_among(message, |key| admits(key) != Admission::No)
    }

    /// Gives a message to the one whose turn it is. One that does not take it has none any more.
    #[inline(always)]
    fn offer<M: Outgoing>(&mut self, key: PeerKey, message: &mut M) -> Given {
        let given = self.give(key, message);
        match given {
            Given::Done => self.writable.advance(),
            Given::Full if self.refused.is_some() => {}
            Given::Full => {
                // If there still is no room once armed, a signal will put it back.
                if !self.pipe(key).is_some_and(|pipe| pipe.writer.arm()) {
                    self.writable.deactivate(key);
                }
            }
            Given::Gone => {
                self.writable.deactivate(key);
            }
        }
        given
    }

    /// A peer may have messages again.
    pub(super) fn resume(&mut self, key: PeerKey) {
        if self.pipe(key).is_some() {
            self.writable.activate(key);
        }
    }

    /// Has the event tell when a pipe that is full has room. Whether it has some after all, or is gone.
    pub(super) fn arm_pipe(&mut self, key: PeerKey) -> bool {
        let ready = self.pipe(key).map_or(true, |pipe| pipe.writer.arm());
        if ready {
            // It is not armed any more: who watches it might not be told otherwise.
            self.signal_room(key);
        }
        ready
    }

    /// As [`SendHalf::try_send`], for a payload that is only borrowed. A large one is written from where it is,
    /// if the next peer in turn takes it so, on which a moment may be spent if there is time.
    #[inline]
    pub(super) fn try_send_payload(
        &mut self,
        payload: &[u8],
        deadline: &Deadline,
    ) -> Option<PeerKey> {
        if payload.len() >= THROUGH_MIN {
            if let Err(refused) = check_size(self.limits, &payload) {
                self.refused = Some(refused);
                return None;
            }
            if let Some(key) = self.send_through(payload, *deadline) {
                return Some(key);
            }
        }
        self.try_send(&mut { payload })
    }

    /// [`SendHalf::try_send_payload`] in the case that most messages of a stream are, in as few instructions and writes
    /// as possible. `false` if it is not so; nothing has been done then.
    #[inline(always)]
    pub(super) fn send_short(&mut self, payload: &[u8]) -> bool {
        if self.port.outbound.is_pending() || self.pace.at_once {
            return false;
        }
        let Some(key) = self.writable.current() else {
            return false;
        };
        let Some(pipe) = self.pipe(key) else {
            return false;
        };
        let Some(asleep) = pipe.writer.send_short(payload) else {
            return false;
        };
        if asleep || pipe.writer.stream_position() - pipe.pumped >= PUMP_EVERY {
            return self.follow_up(key);
        }
        self.sent_one()
    }

    #[inline(always)]
    fn sent_one(&mut self) -> bool {
        self.writable.advance();
        Counters::add_owned(&self.port.counters.messages_sent, 1);
        true
    }

    /// What there is to be done after some messages.
    #[cold]
    #[inline(never)]
    fn follow_up(&mut self, key: PeerKey) -> bool {
        let mut asleep = false;
        if let Some(pipe) = self.pipe(key) {
            asleep = pipe.writer.wake();
            if pipe.writer.stream_position() - pipe.pumped >= PUMP_EVERY {
                pipe.pump_much(asleep);
            }
        }
        if asleep {
            self.see_off(key);
        }
        self.sent_one()
    }

    #[cold]
    fn send_through(&mut self, payload: &[u8], deadline: Deadline) -> Option<PeerKey> {
        self.refresh();
        let key = self.writable.current()?;
        let pipe = self.pipes.get_mut(key.index as usize)?.as_mut();
        let pipe = pipe.filter(|pipe| pipe.key == key)?;
        let link = pipe.link.as_ref().and_then(Weak::upgrade)?;
        let patience = deadline.patience();
        let taken = link.write_through(&mut pipe.writer, payload, &mut self.room, patience);
        taken.then(|| {
            pipe.pumped = pipe.writer.stream_position();
            self.writable.advance();
            Counters::add_owned(&self.port.counters.messages_sent, 1);
            key
        })
    }

    /// As [`SendHalf::try_send`], but waits.
    ///
    /// # Errors
    /// If no pipe takes the message by the deadline. It comes back.
    #[inline]
    pub(super) fn send(
        &mut self,
        mut message: Message,
        deadline: Deadline,
    ) -> Result<PeerKey, SendError> {
        match self.try_send(&mut message) {
            Some(key) => Ok(key),
            None => self.send_slow(message, deadline),
        }
    }

    #[cold]
    fn send_slow(
        &mut self,
        mut message: Message,
        deadline: Deadline,
    ) -> Result<PeerKey, SendError> {
        if deadline.is_now() {
            return Err(SendError::new(self.no_room(deadline), message));
        }
        loop {
            if let Some(key) = self.write_only(deadline) {
                // Of little room nobody else tells.
                self.writable.activate(key);
                if let Some(key) = self.try_send(&mut message) {
                    return Ok(key);
                }
            }
            let notified = self.wait(deadline);
            if let Some(key) = self.try_send(&mut message) {
                return Ok(key);
            }
            if !notified {
                return Err(SendError::new(self.no_room(deadline), message));
            }
        }
    }

    /// Writes what is in the only pipe there is, which is full, instead of waiting until others have. Which one it is, if
    /// it did.
    fn write_only(&mut self, deadline: Deadline) -> Option<PeerKey> {
        let mut pipes = self.pipes.iter_mut().flatten();
        let (Some(only), None) = (pipes.next(), pipes.next()) else {
            return None;
        };
        let link = only.link.as_ref().and_then(Weak::upgrade)?;
        let queued = only.writer.queued_octets();
        if !link.write_all(queued, &mut self.room, deadline.patience()) {
            return None;
        }
        only.written_at = Some(clock::now());
        Some(only.key)
    }

    /// Whether a peer can take a message; a task is woken when one may be able to.
    pub(super) fn is_ready(&mut self, deadline: Deadline) -> bool {
        loop {
            self.refresh();
            while let Some(key) = self.writable.current() {
                let Some(pipe) = self.pipe(key) else {
                    self.writable.deactivate(key);
                    continue;
                };
                if pipe.has_room() {
                    return true;
                }
                if pipe.writer.is_reader_closed() || !pipe.writer.arm() {
                    self.writable.deactivate(key);
                }
            }
            if !matches!(deadline, Deadline::Task(_)) || !self.wait(deadline) {
                return false;
            }
        }
    }

    /// Whether this peer can take a message, or is gone; a task is woken when it may be so.
    pub(super) fn is_ready_for(&mut self, key: PeerKey, deadline: Deadline) -> bool {
        self.refresh();
        !self.is_full(key)
            || matches!(deadline, Deadline::Task(_)) && self.wait_for_room(key, deadline, || {})
    }

    /// Waits until something about the pipes has changed; `false` if the time was over first, or the context was
    /// shut down.
    pub(super) fn wait(&mut self, deadline: Deadline) -> bool {
        if self.is_over() || self.refused.is_some() {
            return false;
        }
        deadline.sleep_on(self.port.outbound.event())
    }

    /// From here on waits are those of a socket that is being closed.
    pub(super) fn linger(&mut self) {
        self.lingers = true;
    }

    fn is_over(&self) -> bool {
        self.port.is_terminated() && !self.lingers
    }

    /// Why the message that was offered last can never be sent, if that is so. To be taken before anything else is
    /// offered.
    pub(super) fn take_refused(&mut self) -> Option<SendFailure> {
        self.refused.take()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether such a message can be sent at all.
    pub(super) fn check(&self, message: &Message) -> Result<(), SendFailure> {
        check_size(self.limits, message)
    }

    /// Why the message that was offered last was not sent.
    #[cold]
    pub(super) fn no_room(&mut self, deadline: Deadline) -> SendFailure {
        if let Some(refused) = self.take_refused() {
            return refused;
        }
        match deadline {
            _ if self.is_over() => SendFailure::Terminated,
            Deadline::Now | Deadline::Glance => SendFailure::WouldBlock,
            _ => SendFailure::Timeout,
        }
    }

    /// Whether a pipe has no room, even after what the kernel takes has been written.
    pub(super) fn is_full(&mut self, key: PeerKey) -> bool {
        self.pipe(key)
            .is_some_and(|pipe| !pipe.has_room() && !pipe.writer.is_reader_closed())
    }

    /// Waits until one pipe has room or is gone. `false` if the time was over first. `meanwhile` is
    /// called after each wake-up: others come and go while one is waited for.
    pub(super) fn wait_for_room(
        &mut self,
        key: PeerKey,
        deadline: Deadline,
        mut meanwhile: impl FnMut(),
    ) -> bool {
        loop {
            if self.refused.is_some() {
                return false;
            }
            if self.arm_pipe(key) {
                return true;
            }
            let notified = self.wait(deadline);
            self.refresh();
            meanwhile();
            if self.pipe(key).map_or(true, |pipe| pipe.writer.has_credit()) {
                return true;
            }
            if !notified {
                return false;
            }
        }
    }

    /// The connection to a peer, if there is one now.
    pub(super) fn link_of(&mut self, key: PeerKey) -> Option<Arc<Link>> {
        self.pipe(key)?.link.as_ref().and_then(Weak::upgrade)
    }

    /// What a pipe that is gone had not sent.
    pub(super) fn take_unsent(&mut self) -> Option<Reader> {
        self.unsent.pop()
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }
}

impl Ending for SendHalf {
    fn finish(&mut self) -> u64 {
        self.refresh();
        self.pipes.clear();
        0
    }
}

impl OutPipe {
    /// Whether there is room, perhaps after what the kernel takes has been written.
    #[inline]
    fn has_room(&mut self) -> bool {
        self.writer.has_credit() || self.make_room()
    }

    /// Publishes what was appended. Whether that has ended the idleness of the pipe.
    #[inline(always)]
    fn publish(&mut self, at_once: bool) -> bool {
        let asleep = self.writer.publish();
        // In lock-step also if an I/O thread is about to look: it may not get a processor for long, if all
        // are busy waiting for this very message.
        if at_once && !asleep {
            self.pump(Link::send_one);
        } else if self.writer.stream_position() - self.pumped >= PUMP_EVERY {
            self.pump_much(asleep);
        }
        asleep
    }

    /// The pipe is full: the caller's thread pumps what the kernel takes. Whether there is room now.
    #[cold]
    fn make_room(&mut self) -> bool {
        match self.link.as_ref().and_then(Weak::upgrade) {
            Some(link) => {
                if link.send_batch() {
                    self.written_at = Some(clock::now());
                }
                self.writer.has_credit()
            }
            None => false,
        }
    }

    /// Enough for a write has been published: who makes it writes it, while it is in the cache. `alone`: it is one large
    /// message, which ended the idleness of the pipe.
    #[cold]
    fn pump_much(&mut self, alone: bool) {
        self.pump(Link::send_batch);
        if !alone {
            self.written_at = Some(clock::now());
        }
    }

    /// Writes what has been published.
    #[cold]
    fn pump(&mut self, write: impl FnOnce(&Link) -> bool) {
        self.pumped = self.writer.stream_position();
        self.writer.settle();
        if let Some(link) = self.link.as_ref().and_then(Weak::upgrade) {
            write(&link);
        }
    }

    /// A message ended the idleness of the pipe.
    #[cold]
    fn see_off(&mut self, burst: bool) {
        // What follows a full pipe is no single message, either.
        let burst = burst || self.written_at.is_some_and(is_lately);
        let link = self.link.as_ref().and_then(Weak::upgrade);
        // The pipe may have passed to another connection, and the mail that says so not been read yet.
        if !link.is_some_and(|link| link.send_idle(burst)) {
            self.writer.signal();
        }
    }
}

#[cold]
fn check_size<M: Outgoing>(limits: SendLimits, message: &M) -> Result<(), SendFailure> {
    let (largest, all) = message.sizes();
    match limits.exceeded(largest as u64, all as u64) {
        Some((size, limit)) => Err(SendFailure::MessageTooLarge { size, limit }),
        None => Ok(()),
    }
}

/// So many waits in a row with one message before each are lock-step. Less may be by chance, where many requests are under
/// way.
const ALONE: u32 = 4;

/// Tells single messages, which the sender writes itself, from those of a burst, which are batched.
///
/// By the time between two calls, and not by that between two messages for one peer: if each of many
/// peers has to be written to, the next message for the first comes late however fast they follow.
#[derive(Debug, Default)]
struct Pace {
    /// REQ and REP: a message is always the first after idleness.
    lock_step: bool,
    /// The next message is one of somebody in lock-step, who writes it also if an I/O thread would.
    at_once: bool,
    /// When the last message had been seen off.
    last: Option<Instant>,
    /// Waits in a row with one message exactly before each.
    alone: u32,
    /// How many messages had been sent when its thread waited last.
    waited_at: u64,
    /// While one message goes to many: whether it belongs to a burst, and how many it was written to.
    fan_out: Option<(Option<bool>, u32)>,
}

/// To so many peers a message is written by the sender, one after the other. To reach more of them, waking
/// those who write to many at once takes less time.
const FAN_INLINE: u32 = 8;

/// What is sent now may be one of a burst with what was sent then.
fn is_lately(then: Instant) -> bool {
    clock::now().saturating_duration_since(then) < BURST_GAP
}

impl Pace {
    fn is_burst(&mut self) -> bool {
        if self.lock_step {
            return false;
        }
        let follows = self.last.is_some_and(is_lately);
        match &mut self.fan_out {
            None => follows,
            Some((burst, written)) => {
                *written += 1;
                *burst.get_or_insert(follows) || *written > FAN_INLINE
            }
        }
    }

    /// Who sends one message at most between two waits is in lock-step with others, however fast they are: the next message
    /// is no part of a burst. A broker, whose ROUTER sends two in each round trip, else has them written by I/O threads, which
    /// then never sleep.
    ///
    /// Returns whether one message exactly was sent before each of the last few waits, which is lock-step beyond doubt: of
    /// many requests that are under way, one is sent between two waits now and then.
    fn waits(&mut self, sent: u64) -> bool {
        let since = sent.wrapping_sub(self.waited_at);
        if since <= 1 {
            self.last = None;
        }
        self.alone = match since {
            // A wait may end for no reason, and go on.
            0 => self.alone,
            1 => self.alone.saturating_add(1),
            _ => 0,
        };
        let is_in_step = self.alone >= ALONE;
        self.at_once = self.lock_step || is_in_step;
        self.waited_at = sent;
        is_in_step
    }

    /// A message has been sent at once.
    #[cold]
    fn sent_at_once(&mut self) {
        self.at_once = self.lock_step;
    }

    fn seen_off(&mut self) {
        if !self.lock_step {
            self.last = Some(clock::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_wait_is_no_burst_unless_a_burst_came_before_it() {
        let mut pace = Pace::default();
        let mut sent = 0;
        for (more, alone) in [
            (1, true),
            (1, true),
            (3, false),
            (2, false),
            (0, true),
            (1, true),
        ] {
            pace.seen_off();
            sent += more;
            assert!(!pace.waits(sent));
            assert_eq!(pace.last.is_none(), alone, "{more} between two waits");
        }
    }

    #[test]
    fn one_message_before_each_of_some_waits_is_lock_step() {
        let mut pace = Pace::default();
        let mut sent = 0;
        let mut wait_after = |pace: &mut Pace, more| {
            sent += more;
            let is_in_step = pace.waits(sent);
            assert_eq!(pace.at_once, is_in_step);
            is_in_step
        };
        for breach in [2, 64] {
            for _ in 1..ALONE {
                assert!(!wait_after(&mut pace, 1));
                assert!(!wait_after(&mut pace, 0), "the same wait");
            }
            assert!(wait_after(&mut pace, 1));
            assert!(wait_after(&mut pace, 0));
            pace.sent_at_once();
            assert!(!pace.at_once, "the second message may be one of a burst");
            assert!(!wait_after(&mut pace, breach));
        }
    }

    #[test]
    fn in_lock_step_every_message_is_written_at_once() {
        let mut pace = Pace {
            lock_step: true,
            at_once: true,
            ..Pace::default()
        };
        for sent in [0, 1, 3] {
            pace.waits(sent);
            assert!(pace.at_once);
            pace.sent_at_once();
            assert!(pace.at_once);
        }
    }
}
