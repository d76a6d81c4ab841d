//! The out-pump: from a pipe to the kernel, many messages and several segments per system call.
//!
//! Control frames (handshake, heartbeats, subscriptions) go in between two messages. What is written
//! is chosen up to a message boundary about [`BUDGET`] octets ahead, so that a control frame never
//! waits for more than that, and one message.

use std::io::{self, IoSlice};

use bytes::{Buf, BytesMut};

use super::events::DisconnectReason;
use super::framing::FramedOutput;
use super::link::Link;
use super::port::Counters;
use super::writing::OutOutcome;
use crate::pipe::{Losses, Reader, Writer};
use crate::proto::Encode;
use crate::sync::atomic::Ordering;
use crate::sync::lock;

/// How far ahead a boundary is chosen, in octets.
const BUDGET: u64 = 256 * 1024;

/// Octets one run may write before others get their turn.
const TURN: usize = 1024 * 1024;

/// Octets of control frames that may wait to be written before those that can wait are refused.
const CONTROL_AHEAD: usize = 64 * 1024;

/// Octets of a write that is a short one.
const SHORT: usize = 16 * 1024;

/// Segments per vectored write: enough for a block full of small messages between large bodies, and
/// little enough to keep on the stack.
const SLICES: usize = 64;

/// See the module.
pub(crate) struct OutPump {
    reader: Option<Reader>,
    line: Line,
}

/// All of a pump but its pipe.
struct Line {
    control: BytesMut,
    /// Control frames were refused since the last time that all were written.
    refused: bool,
    /// What is between this pump and the descriptor, if frames do not travel as they are.
    framed: Option<Box<FramedOutput>>,
    failure: Option<Box<DisconnectReason>>,
    /// A write was refused since the last one that got on.
    was_blocked: bool,
    /// The connection is ready for messages.
    open: bool,
    /// Nothing is written any more.
    shut: bool,
}

impl OutPump {
    pub(super) fn new() -> Self {
        OutPump {
            reader: None,
            line: Line {
                control: BytesMut::new(),
                refused: false,
                framed: None,
                failure: None,
                was_blocked: false,
                open: false,
                shut: false,
            },
        }
    }

    /// From now on what is pushed and sent goes through this.
    pub(super) fn set_encoder(&mut self, encoder: Box<dyn Encode>) {
        let wire = std::mem::take(&mut self.line.control);
        self.line.framed = Some(Box::new(FramedOutput::new(encoder, wire)));
    }

    /// The handshake is done: messages may flow, after the control frames pushed so far.
    pub(super) fn open(&mut self, reader: Option<Reader>) {
        self.reader = reader;
        self.line.open = true;
    }

    /// Appends whole control frames.
    pub(crate) fn push_control(&mut self, frames: &[u8]) {
        if !self.line.shut {
            self.line.control.extend_from_slice(frames);
        }
    }

    /// As [`OutPump::push_control`], unless much waits already. `false`: the frames are not taken, and the I/O
    /// thread is asked to look at the connection when everything that waits has been written.
    pub(crate) fn offer_control(&mut self, frames: &[u8]) -> bool {
        if self.line.control.len() >= CONTROL_AHEAD {
            self.line.refused = true;
            return false;
        }
        self.push_control(frames);
        true
    }

    /// Takes the pipe's end out, placed at the beginning of a message: one of which a part had been
    /// written to a connection now lost is gone.
    pub(super) fn take_reader(&mut self) -> Option<(Reader, bool)> {
        self.line.shut = true;
        let mut reader = self.reader.take()?;
        reader.disarm();
        let unwritten = self.line.framed.take().is_some_and(|f| !f.is_empty());
        let lost = reader.discard_partial() || unwritten;
        // Nobody may read on for long.
        if reader.keeps_writer_waiting() {
            reader.wake_writer();
        }
        Some((reader, lost))
    }

    /// Messages that wait to be written.
    pub(super) fn queued_messages(&self) -> u64 {
        self.reader.as_ref().map_or(0, Reader::queued_messages)
    }

    /// What was dropped at its pipe, whatever connection that had.
    pub(super) fn losses(&self) -> Losses {
        self.reader
            .as_ref()
            .map_or_else(Losses::default, Reader::losses)
    }

    pub(super) fn failure(&mut self) -> Option<DisconnectReason> {
        self.line.failure.take().map(|reason| *reason)
    }

    /// Frees what the pipe keeps for more of what there was.
    pub(super) fn free_spare(&self) {
        if let Some(reader) = &self.reader {
            reader.free_spare();
        }
    }

    /// Whether everything has been written and nothing more can come.
    pub(super) fn is_finished(&mut self) -> bool {
        self.line.is_written() && self.reader.as_mut().map_or(true, Reader::is_finished)
    }

    /// Whether everything published has been written.
    pub(super) fn is_drained(&mut self) -> bool {
        self.line.is_written() && self.reader.as_mut().map_or(true, |r| !r.has_data())
    }

    /// Announces that nobody runs this pump until signalled; see [`Reader::arm`].
    pub(super) fn arm(&mut self) -> bool {
        self.reader.as_mut().is_some_and(Reader::arm)
    }

    /// Whether who sends next sees to it. Also if there is nothing that could be sent.
    pub(super) fn is_asleep(&self) -> bool {
        self.reader.as_ref().map_or(true, Reader::is_asleep)
    }

    /// After [`OutPump::arm`] and a barrier: whether there is something after all.
    pub(super) fn stay_awake(&mut self) -> bool {
        self.reader.as_mut().is_some_and(Reader::stay_awake)
    }

    /// Whether the socket waits though its pipe has room, if only for a little more.
    pub(super) fn keeps_socket_waiting(&mut self) -> bool {
        self.reader
            .as_mut()
            .is_some_and(Reader::keeps_writer_waiting)
    }

    /// Ends such a wait.
    pub(super) fn wake_socket(&mut self) {
        if let Some(reader) = &mut self.reader {
            if reader.keeps_writer_waiting() {
                reader.wake_writer();
            }
        }
    }

    /// Runs for a `send` whose message ended the idleness of the pipe. If it is idle again after, the
    /// next `send` will find it so.
    pub(super) fn run_for_sender(&mut self, link: &Link) -> OutOutcome {
        let outcome = self.line.run(link, self.reader.as_mut(), true);
        if let (OutOutcome::Idle, Some(reader)) = (outcome, &mut self.reader) {
            link.writing.rest_after_sender(reader);
        }
        outcome
    }

    /// As [`OutPump::run_for_sender`], again while there is more. `goes_on` waits for the kernel to take it, if that is what
    /// it needs, or says that it is left.
    pub(super) fn run_while(
        &mut self,
        link: &Link,
        mut goes_on: impl FnMut(OutOutcome) -> bool,
    ) -> OutOutcome {
        loop {
            match self.run_for_sender(link) {
                outcome @ (OutOutcome::Blocked | OutOutcome::More) if goes_on(outcome) => {}
                outcome => return outcome,
            }
        }
    }

    /// Runs for the I/O thread: writes until the pipe is empty, the kernel refuses, or others must have their turn. That is
    /// also so if there is something again after a little was written, since the sender is at work, and may be one that
    /// is [left to it](super::writing).
    pub(super) fn run(&mut self, link: &Link) -> OutOutcome {
        self.line.run(link, self.reader.as_mut(), false)
    }

    /// Runs for the I/O thread at the end of the connection: there is no later time.
    pub(super) fn run_last(&mut self, link: &Link) -> OutOutcome {
        self.line.run(link, self.reader.as_mut(), true)
    }

    /// Writes what is in the pipe of `writer`, and then the message of one frame with this payload, straight
    /// from there. What the kernel does not take is copied into the pipe. `room` waits for the kernel to take
    /// more, or says that it is not to be waited for. `None`: the pipe has passed to another connection.
    pub(super) fn write_through(
        &mut self,
        link: &Link,
        writer: &mut Writer,
        payload: &[u8],
        mut room: impl FnMut() -> bool,
    ) -> Option<Through> {
        let line = &mut self.line;
        let reader = self.reader.as_mut().filter(|reader| writer.is_of(reader))?;
        let before = line.run_on(link, reader, &mut room);
        let through = match before {
            OutOutcome::Idle if writer.has_credit() => {
                writer.lend_payload(reader, payload, |reader, claimed| Through {
                    taken: true,
                    claimed,
                    outcome: line.run_on(link, reader, &mut room),
                })
            }
            outcome => Through {
                taken: false,
                claimed: false,
                outcome,
            },
        };
        if through.outcome == OutOutcome::Idle {
            link.writing.rest_after_sender(reader);
        }
        Some(through)
    }
}

/// How a message was written through, or why not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Through {
    /// It is in the pipe, or was. Otherwise the outcome is of what was there before it.
    pub(super) taken: bool,
    pub(super) outcome: OutOutcome,
    /// The pipe was asleep, and who sent the message has undertaken to see it off.
    pub(super) claimed: bool,
}

impl Line {
    /// Whether everything that is not in the pipe any more has been written.
    fn is_written(&self) -> bool {
        self.control.is_empty() && self.framed.as_ref().map_or(true, |f| f.is_empty())
    }

    /// Runs, and goes on when there is room.
    fn run_on(
        &mut self,
        link: &Link,
        reader: &mut Reader,
        mut room: impl FnMut() -> bool,
    ) -> OutOutcome {
        loop {
            match self.run(link, Some(reader), true) {
                OutOutcome::Blocked if room() => {}
                OutOutcome::More => {}
                other => return other,
            }
        }
    }

    fn run(
        &mut self,
        link: &Link,
        mut reader: Option<&mut Reader>,
        until_empty: bool,
    ) -> OutOutcome {
        let messages = reader.as_deref().map_or(0, Reader::messages_read);
        let outcome = self.write(link, reader.as_deref_mut(), until_empty);
        let messages = reader.map_or(0, |reader| reader.messages_read() - messages);
        if messages > 0 {
            Counters::add_owned(&link.octets.messages_written, messages);
        }
        let blocked = outcome == OutOutcome::Blocked;
        if link.blocked.load(Ordering::Relaxed) != blocked {
            link.blocked.store(blocked, Ordering::Relaxed);
        }
        outcome
    }

    fn write(
        &mut self,
        link: &Link,
        mut reader: Option<&mut Reader>,
        until_empty: bool,
    ) -> OutOutcome {
        if self.failure.is_some() || self.shut {
            return OutOutcome::Closed;
        }
        if self.framed.is_some() {
            return self.write_framed(link, reader);
        }
        let mut written = 0;
        loop {
            let between = reader.as_ref().map_or(true, |reader| reader.at_boundary());
            if between && self.control.is_empty() {
                let mut proto = lock(&link.proto);
                if proto.wants_transmit() {
                    proto.poll_transmit(&mut self.control);
                }
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            let mut control = 0;
            if between && !self.control.is_empty() {
                // On its own: a boundary further on must not be chosen before it is out whole.
                slices[0] = IoSlice::new(&self.control);
                control = self.control.len();
                count = 1;
            } else if let Some(reader) = reader.as_mut().filter(|_| self.open) {
                count = reader.lend(BUDGET, &mut slices);
            }
            if count == 0 {
                return OutOutcome::Idle;
            }
            let offered: usize = slices[..count].iter().map(|s| s.len()).sum();
            match link.stream.write_vectored(&slices[..count]) {
                Ok(n) => {
                    if std::mem::take(&mut self.was_blocked) {
                        lock(&link.proto).handle_write_progress();
                    }
                    if control > 0 {
                        self.control.advance(n);
                        if self.control.is_empty() {
                            self.control_written(link);
                        }
                    } else if let Some(reader) = &mut reader {
                        reader.consume(n as u64);
                    }
                    Counters::add_owned(&link.octets.written, n as u64);
                    written += n;
                    if n < offered {
                        // A short write says that the kernel is full.
                        self.was_blocked = true;
                        return OutOutcome::Blocked;
                    }
                    let is_short = !until_empty && n < SHORT && control == 0;
                    let mut has_more = || reader.as_deref_mut().is_some_and(Reader::has_data);
                    if written >= TURN || is_short && has_more() {
                        return OutOutcome::More;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.was_blocked = true;
                    return OutOutcome::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(write_failure(error)),
            }
        }
    }

    fn control_written(&mut self, link: &Link) {
        // A connection that has nothing to say holds no memory for it.
        self.control = BytesMut::new();
        if std::mem::take(&mut self.refused) {
            link.attend();
        }
    }

    #[cold]
    fn fail(&mut self, reason: DisconnectReason) -> OutOutcome {
        self.failure = Some(Box::new(reason));
        OutOutcome::Closed
    }

    /// As [`Line::write`], through what is between this pump and the descriptor.
    fn write_framed(&mut self, link: &Link, mut reader: Option<&mut Reader>) -> OutOutcome {
        let mut written = 0;
        loop {
            let Some(framed) = &mut self.framed else {
                return OutOutcome::Idle;
            };
            if framed.is_empty() {
                let between = reader.as_ref().map_or(true, |reader| reader.at_boundary());
                if between && self.control.is_empty() {
                    let mut proto = lock(&link.proto);
                    if proto.wants_transmit() {
                        proto.poll_transmit(&mut self.control);
                    }
                }
                let encoded = match reader.as_mut().filter(|_| self.open) {
                    _ if between && !self.control.is_empty() => {
                        framed.encode_control(&mut self.control).map(|()| true)
                    }
                    Some(reader) => framed.encode_pipe(reader),
                    None => Ok(false),
                };
                match encoded {
                    Ok(true) => {
                        if self.control.is_empty() && self.refused {
                            self.control_written(link);
                        }
                        continue;
                    }
                    Ok(false) => {
                        framed.rest();
                        if self.control.is_empty() {
                            self.control_written(link);
                        }
                        return OutOutcome::Idle;
                    }
                    Err(reason) => return self.fail(reason),
                }
            }
            match link.stream.write_vectored(&[IoSlice::new(framed.wire())]) {
                Ok(n) => {
                    if std::mem::take(&mut self.was_blocked) {
                        lock(&link.proto).handle_write_progress();
                    }
                    framed.consume(n);
                    Counters::add_owned(&link.octets.written, n as u64);
                    written += n;
                    if !framed.is_empty() {
                        self.was_blocked = true;
                        return OutOutcome::Blocked;
                    }
                    if written >= TURN {
                        return OutOutcome::More;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.was_blocked = true;
                    return OutOutcome::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(write_failure(error)),
            }
        }
    }
}

#[cold]
fn write_failure(error: io::Error) -> DisconnectReason {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => DisconnectReason::PeerClosed,
        _ => error.into(),
    }
}
