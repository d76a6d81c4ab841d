//! The in-pump: from the kernel to a pipe, by block and not by message.
//!
//! It reads as much as there is, walks the frame headers once (limits, MORE, COMMAND) and publishes
//! whole messages. Octets are handed on by reference when there are many of them, copied into the
//! pipe's own blocks when there are few, and a large body is read into memory of its own, which grows
//! as the octets arrive and never ahead of them by more than what has come.

use std::io::{self, IoSliceMut};
use std::sync::Arc;

use super::buffer::{BufferPool, ReadBuffer, BUFFER_SIZE};
use super::events::DisconnectReason;
use super::framing::{Fault, Filled, FramedInput};
use super::link::Link;
use super::port::{Counters, Port};
use super::reading::InOutcome;
use crate::frame::{self, FrameError, Header};
use crate::pipe::{Budget, Held, Losses, Memory, Writer};
use crate::proto::{Decode, Event, LimitExceeded, Malformed, ProtocolError, MAX_HANDSHAKE_FRAME};
use crate::socket_type::SocketType;
use crate::sync::atomic::Ordering;
use crate::sync::{clock, lock};

/// A body of at least this many octets that is not in the buffer as a whole gets memory of its own.
const OWN_BODY: usize = 16 * 1024;

/// By how much the memory of a body may exceed what has arrived (and then by as much again), if the
/// connection has brought a body as large before, and if it has not: its first one is copied a few times.
const BODY_STEP: usize = 256 * 1024;
const FIRST_BODY_STEP: usize = 16 * 1024;

/// The longest name of a group, in octets.
const MAX_GROUP: usize = 255;

/// How much of what follows a large body is read with its end.
const TAIL: usize = 4 * 1024;

/// A run that reads less than this does not pay for a buffer of its own until the next.
const TRICKLE: u64 = 4 * 1024;

/// Whole frames of fewer octets than this are copied into the pipe: that is cheaper than a list node
/// and a reference, and they do not keep a receive buffer alive.
const COPY_BELOW: usize = 2 * 1024;

/// The largest command frame accepted after the handshake, its header not counted: the largest
/// topic, with the name of the command.
fn command_limit(link: &Link) -> usize {
    (link.settings.protocol.max_topic_len + 256).max(MAX_HANDSHAKE_FRAME)
}

/// Where messages go.
#[allow(
    clippy::large_enum_variant,
    reason = "one per connection, in place: a box would be one more allocation for the common kind"
)]
pub(crate) enum Sink {
    /// To a socket.
    Pipe(Writer),
    /// To a socket that has each frame looked at first.
    Checked(Writer, Check),
    /// Messages are subscriptions, or of no use.
    Topics,
    /// Messages are of no use.
    Discard,
}

/// What the frames of messages are looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// XPUB: those before the first frame of another kind may be subscriptions.
    Topics,
    /// DISH: a message is the name of a group, and one frame more.
    Group,
}

impl Sink {
    /// For a socket that receives.
    pub(super) fn of(port: &Port, writer: Writer) -> Sink {
        match port.socket_type {
            SocketType::XPub => Sink::Checked(writer, Check::Topics),
            SocketType::Dish => Sink::Checked(writer, Check::Group),
            _ => Sink::Pipe(writer),
        }
    }

    fn writer(&self) -> Option<&Writer> {
        match self {
            Sink::Pipe(writer) | Sink::Checked(writer, _) => Some(writer),
            Sink::Topics | Sink::Discard => None,
        }
    }

    fn writer_mut(&mut self) -> Option<&mut Writer> {
        match self {
            Sink::Pipe(writer) | Sink::Checked(writer, _) => Some(writer),
            Sink::Topics | Sink::Discard => None,
        }
    }
}

/// See the module.
pub(crate) struct InPump {
    phase: Phase,
    buffer: ReadBuffer,
    /// What is between the descriptor and this pump, if frames do not travel as they are.
    framed: Option<Box<FramedInput>>,
    sink: Sink,
    /// From the first large body on.
    large: Option<Box<Large>>,
    /// Octets of a frame nobody wants that are still to come.
    skip: usize,
    /// The unfinished message so far, for the limits on whole messages.
    message_frames: u32,
    message_bytes: u64,
    /// Frames of it that were subscriptions, and went another way.
    topic_frames: u32,
    failure: Option<Box<DisconnectReason>>,
    /// A full pipe is to signal when it has room.
    signal: bool,
    /// Buffer and body, as the budget of the context counts them.
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Ready,
    Traffic,
    Closed,
}

/// What only connections need that bring large bodies.
#[derive(Default)]
struct Large {
    body: Option<Body>,
    /// The largest body that has arrived so far. Announcements are worth no memory, but what a connection
    /// has brought once it may well bring again.
    largest: usize,
}

/// A large body on its way.
struct Body {
    /// The first `filled` octets have arrived. It may be longer than the body.
    memory: Memory,
    filled: usize,
    len: usize,
    more: bool,
    /// See [`BODY_STEP`].
    step: usize,
}

/// What processing the buffered octets came to.
enum Step {
    /// More octets are needed: at least so many in the buffer.
    NeedInput(usize),
    Paused,
    Ready,
}

impl InPump {
    pub(super) fn new() -> Self {
        InPump {
            phase: Phase::Handshake,
            buffer: ReadBuffer::default(),
            framed: None,
            sink: Sink::Discard,
            large: None,
            skip: 0,
            message_frames: 0,
            message_bytes: 0,
            topic_frames: 0,
            failure: None,
            signal: true,
            held: None,
        }
    }

    /// From now on what is received, and what was received and is no part of the handshake, goes through
    /// this.
    pub(super) fn set_decoder(&mut self, decoder: Box<dyn Decode>) {
        let raw = std::mem::take(&mut self.buffer);
        self.framed = Some(Box::new(FramedInput::new(decoder, raw)));
    }

    /// The handshake is done: messages go to `sink`.
    pub(super) fn open(&mut self, sink: Sink) {
        self.sink = sink;
        self.phase = Phase::Traffic;
    }

    /// Stops, and takes the pipe's end out. An unfinished message is taken back.
    pub(super) fn take_writer(&mut self) -> Option<Writer> {
        self.phase = Phase::Closed;
        self.large = None;
        self.buffer = ReadBuffer::default();
        self.framed = None;
        self.held = None;
        match std::mem::replace(&mut self.sink, Sink::Discard) {
            Sink::Pipe(mut writer) | Sink::Checked(mut writer, _) => {
                writer.rollback();
                writer.disarm();
                Some(writer)
            }
            Sink::Topics | Sink::Discard => None,
        }
    }

    /// Frees what the pipe keeps for more of what there was.
    pub(super) fn free_spare(&self) {
        if let Some(writer) = self.sink.writer() {
            writer.free_spare();
        }
    }

    /// From now on everything received is thrown away.
    pub(super) fn discard(&mut self) {
        if self.phase == Phase::Traffic {
            drop(std::mem::replace(&mut self.sink, Sink::Discard));
        }
    }

    /// Messages that have gone into the pipe, whatever connection they came from.
    fn messages(&self) -> u64 {
        self.sink.writer().map_or(0, Writer::messages_written)
    }

    /// Messages that wait for the application.
    pub(super) fn queued_messages(&self) -> u64 {
        self.sink.writer().map_or(0, Writer::queued_messages)
    }

    /// What was dropped at its pipe, whatever connection that had.
    pub(super) fn losses(&self) -> Losses {
        self.sink
            .writer()
            .map_or_else(Losses::default, Writer::losses)
    }

    pub(super) fn failure(&mut self) -> Option<DisconnectReason> {
        self.failure.take().map(|reason| *reason)
    }

    /// The large body that is on its way.
    #[inline]
    fn body(&mut self) -> Option<&mut Body> {
        self.large.as_mut()?.body.as_mut()
    }

    /// Reads and hands on until the kernel has no more, the pipe is full, or `budget` octets have
    /// been read. `until_empty` reads until the kernel says that there is nothing more, which is
    /// needed to see the end of the stream; otherwise a read that did not fill the buffer is taken
    /// for the last.
    pub(super) fn run(
        &mut self,
        link: &Link,
        pool: &mut BufferPool,
        budget: usize,
        until_empty: bool,
        signal: bool,
    ) -> InOutcome {
        self.signal = signal;
        if self.failure.is_some() {
            return InOutcome::Closed;
        }
        match self.phase {
            Phase::Closed => return InOutcome::Closed,
            Phase::Ready => return InOutcome::Ready,
            Phase::Handshake | Phase::Traffic => {}
        }
        let before = link.octets.read.load(Ordering::Relaxed);
        let messages = self.messages();
        let outcome = match self.run_inner(link, pool, budget, until_empty) {
            Ok(outcome) => outcome,
            Err(reason) => {
                self.failure = Some(Box::new(reason));
                InOutcome::Closed
            }
        };
        // None, if this run has found that nobody reads the pipe any more.
        let messages = self.messages().saturating_sub(messages);
        if messages > 0 {
            Counters::add_owned(&link.octets.messages_read, messages);
        }
        self.buffer.release(pool);
        if let Some(framed) = &mut self.framed {
            framed.release(pool);
        }
        // A busy connection goes on filling its buffer; one that trickles gives it back.
        let read = link
            .octets
            .read
            .load(Ordering::Relaxed)
            .wrapping_sub(before);
        if outcome == InOutcome::Drained && read < TRICKLE {
            self.buffer.shrink(pool);
        }
        if let Some(budget) = link.port.budget() {
            self.account(budget);
        }
        outcome
    }

    /// Has the budget count what this run has left here and in the pipe.
    #[cold]
    fn account(&mut self, budget: &Arc<Budget>) {
        let body = self.body().map_or(0, |body| body.memory.len());
        let framed = self.framed.as_ref().map_or(0, |framed| framed.held());
        let octets = self.buffer.held() + framed + body;
        let held = self.held.get_or_insert_with(|| Held::new(budget));
        held.set(octets as u64);
        if let Some(writer) = self.sink.writer_mut() {
            writer.settle();
        }
    }

    fn run_inner(
        &mut self,
        link: &Link,
        pool: &mut BufferPool,
        budget: usize,
        until_empty: bool,
    ) -> Result<InOutcome, DisconnectReason> {
        let mut read = 0;
        let mut short = false;
        loop {
            let needed = match self.process(link, pool)? {
                Step::NeedInput(needed) => needed,
                Step::Paused => return Ok(InOutcome::Paused),
                Step::Ready => return Ok(InOutcome::Ready),
            };
            if short && !until_empty && !link.reading.is_ending() {
                return Ok(InOutcome::Drained);
            }
            if read >= budget {
                return Ok(InOutcome::More);
            }
            if self.framed.is_some() {
                match self.read_framed(link, pool, needed)? {
                    Some(octets) => read += octets,
                    None => return Ok(InOutcome::Drained),
                }
                continue;
            }
            let mut tail: &mut [u8] = &mut [];
            let large = self.large.as_mut();
            let into = match large.and_then(|large| large.body.as_mut()) {
                Some(body) => {
                    if body.reaches_end() {
                        // What follows comes with the same call: of a body alike only the beginning,
                        // which must then be copied.
                        self.buffer.reserve(1, pool);
                        tail = self.buffer.space();
                        if body.len >= BUFFER_SIZE {
                            let end = tail.len().min(TAIL);
                            tail = &mut tail[..end];
                        }
                    }
                    body.space()
                }
                None => {
                    self.reserve(needed, pool);
                    self.buffer.space()
                }
            };
            let (first, space) = (into.len(), into.len() + tail.len());
            let result = match tail.is_empty() {
                true => link.stream.read(into),
                false => {
                    let mut slices = [IoSliceMut::new(into), IoSliceMut::new(tail)];
                    link.stream.read_vectored(&mut slices)
                }
            };
            match result {
                Ok(0) => return Err(DisconnectReason::PeerClosed),
                Ok(n) => {
                    match self.body() {
                        Some(body) => {
                            body.filled += n.min(first);
                            self.buffer.fill(n.saturating_sub(first));
                        }
                        None => self.buffer.fill(n),
                    }
                    read += n;
                    short = n < space;
                    link.octets.traffic.store(true, Ordering::Relaxed);
                    Counters::add_owned(&link.octets.read, n as u64);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(InOutcome::Drained),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(read_failure(error)),
                },
            }
        }
    }

    /// Makes room in the buffer for so many octets, and enough to be worth a read.
    fn reserve(&mut self, needed: usize, pool: &mut BufferPool) {
        self.buffer.reserve(needed, pool);
        if self.buffer.space_len() < BUFFER_SIZE / 8 {
            // A new buffer, rather than many small reads into the end of this one.
            let total = self.buffer.input().len() + BUFFER_SIZE / 2;
            self.buffer.reserve(total.max(needed), pool);
        }
    }

    /// Reads through what is between the descriptor and this pump. Returns what that counts of the
    /// budget; `None`: there is nothing for now.
    fn read_framed(
        &mut self,
        link: &Link,
        pool: &mut BufferPool,
        needed: usize,
    ) -> Result<Option<usize>, DisconnectReason> {
        if self.body().is_none() {
            self.reserve(needed, pool);
        }
        let Some(framed) = &mut self.framed else {
            return Ok(None);
        };
        let large = self.large.as_mut();
        let into = match large.and_then(|large| large.body.as_mut()) {
            Some(body) => body.space(),
            None => self.buffer.space(),
        };
        let (frames, read) = match framed.fill(&link.stream, pool, into) {
            Ok(Filled::Some { frames, read }) => (frames, read),
            Ok(Filled::Nothing) => return Ok(None),
            Err(Fault::Protocol(error)) => {
                let error = lock(&link.proto).handle_malformed(error);
                return Err(error.into());
            }
            Err(Fault::Ended) => return Err(DisconnectReason::PeerClosed),
            Err(Fault::System(error)) => return Err(read_failure(error)),
        };
        match self.body() {
            Some(body) => body.filled += frames,
            None => self.buffer.fill(frames),
        }
        if read > 0 {
            link.octets.traffic.store(true, Ordering::Relaxed);
            Counters::add_owned(&link.octets.read, read as u64);
        }
        Ok(Some(frames.max(read)))
    }

    fn process(&mut self, link: &Link, pool: &mut BufferPool) -> Result<Step, DisconnectReason> {
        if self.phase == Phase::Handshake {
            return self.process_handshake(link);
        }
        if let Some(large) = &mut self.large {
            if large.body.as_ref().is_some_and(|b| b.filled < b.len) {
                return Ok(Step::NeedInput(0));
            }
            if let Some(body) = large.body.take() {
                large.largest = large.largest.max(body.len);
                self.finish_body(body, pool);
            }
        }
        self.walk_frames(link, pool)
    }

    fn process_handshake(&mut self, link: &Link) -> Result<Step, DisconnectReason> {
        if self.buffer.is_empty() {
            return Ok(Step::NeedInput(1));
        }
        let mut proto = lock(&link.proto);
        let taken = proto.handle_input(self.buffer.input(), clock::now())?;
        self.buffer.skip(taken);
        let ready = proto.is_ready();
        // That the handshake is done is all that it tells.
        while proto.poll_event().is_some() {}
        let answer = proto.wants_transmit();
        drop(proto);
        if answer {
            link.attend();
        }
        if ready {
            self.phase = Phase::Ready;
            return Ok(Step::Ready);
        }
        Ok(Step::NeedInput(1))
    }

    fn finish_body(&mut self, mut body: Body, pool: &mut BufferPool) {
        let size = body.memory.len();
        let octets = body.memory.split_to(body.len);
        pool.give_body(size, body.memory);
        if let Some(writer) = self.sink.writer_mut() {
            writer.append_shared(octets, u64::from(!body.more), body.more);
            if !body.more {
                writer.publish_and_signal();
            }
        }
        self.end_frame(body.more);
    }

    fn end_frame(&mut self, more: bool) {
        if !more {
            self.message_frames = 0;
            self.message_bytes = 0;
            self.topic_frames = 0;
        }
    }

    /// The socket allows less than it did.
    pub(super) fn recount(&mut self) {
        if let Some(writer) = self.sink.writer_mut() {
            writer.recount();
        }
    }

    /// Whether another message may begin: the pipe has credit for it. If not, its writer is armed.
    fn may_begin(&mut self) -> bool {
        match self.sink.writer_mut() {
            Some(writer) => writer.has_credit() || (self.signal && writer.arm()),
            None => true,
        }
    }

    /// Walks the frames in the buffer, hands on those that are whole.
    fn walk_frames(
        &mut self,
        link: &Link,
        pool: &mut BufferPool,
    ) -> Result<Step, DisconnectReason> {
        loop {
            if self.skip > 0 {
                let step = self.skip.min(self.buffer.input().len());
                self.buffer.skip(step);
                self.skip -= step;
                if self.skip > 0 {
                    return Ok(Step::NeedInput(1));
                }
            }
            // A batch of whole frames, as many as there is credit for.
            let mut batch = Batch::default();
            let stop = self.scan(link, &mut batch);
            // What came before a fault came whole.
            self.hand_on(&batch);
            match stop? {
                Stop::Need(octets) => return Ok(Step::NeedInput(octets)),
                Stop::Credit => {
                    if self.sink.writer().is_some_and(Writer::is_reader_closed) {
                        // Nobody will read it: the socket is going away.
                        self.sink = Sink::Discard;
                    } else if !self.may_begin() {
                        return Ok(Step::Paused);
                    }
                }
                Stop::Command(header) => self.take_command(link, header)?,
                Stop::Body(header) => {
                    self.begin_body(header, pool);
                    return Ok(Step::NeedInput(0));
                }
                Stop::Topic(header) => self.take_topic(link, header)?,
                Stop::Unwanted(header) => self.drop_frame(link, header),
                // What was before has been handed on.
                Stop::Flags(flags) => self.buffer.replace_first(frame::forgive(flags)),
            }
        }
    }

    /// Finds how far the buffer holds whole frames that can be handed on together.
    fn scan(&mut self, link: &Link, batch: &mut Batch) -> Result<Stop, DisconnectReason> {
        let limits = &link.settings.config.limits;
        let input = self.buffer.input();
        let wanted = matches!(self.sink, Sink::Pipe(_));
        let mut credit = self.sink.writer().map_or(u64::MAX, Writer::message_credit);
        // Limits are checked frame by frame; that of a short header is within any but the strictest.
        let few = frame::SHORT_MAX as u64;
        let plain = wanted && limits.frame_bytes >= few && limits.message_bytes >= few;
        loop {
            if plain && self.message_frames == 0 {
                let (octets, messages) = frame::short_messages(&input[batch.len..], credit);
                if messages > 0 {
                    credit -= messages;
                    batch.len += octets;
                    batch.messages += messages;
                    batch.boundary = batch.len;
                    batch.in_message = false;
                }
            }
            let rest = &input[batch.len..];
            let header = match frame::decode_header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(Stop::Need(rest.len() + frame::MAX_HEADER)),
                Err(error) => return pardon(link, error),
            };
            let total = header.header_len + header.body_len;
            if header.command {
                let limit = command_limit(link);
                if header.body_len > limit {
                    return Err(too_large(
                        "command frame, in octets,",
                        header.body_len,
                        limit as u64,
                    ));
                }
                if rest.len() < total {
                    return Ok(Stop::Need(total));
                }
                return Ok(Stop::Command(header));
            }
            if header.body_len as u64 > limits.frame_bytes {
                return Err(too_large(
                    "frame, in octets,",
                    header.body_len,
                    limits.frame_bytes,
                ));
            }
            let frames = self.message_frames + 1;
            let bytes = self.message_bytes.saturating_add(header.body_len as u64);
            if bytes > limits.message_bytes {
                return Err(DisconnectReason::TooLarge {
                    what: "message, in octets,",
                    size: bytes,
                    limit: limits.message_bytes,
                });
            }
            if frames > limits.frames {
                return Err(too_large(
                    "message, in frames,",
                    frames as usize,
                    u64::from(limits.frames),
                ));
            }
            if !wanted {
                if let Some(stop) = self.check(link, header, rest)? {
                    return Ok(stop);
                }
            }
            if self.message_frames == 0 && credit == 0 {
                return Ok(Stop::Credit);
            }
            if rest.len() < total {
                if header.body_len >= OWN_BODY {
                    self.message_frames = frames;
                    self.message_bytes = bytes;
                    return Ok(Stop::Body(header));
                }
                return Ok(Stop::Need(total));
            }
            batch.len += total;
            batch.in_message = header.more;
            if header.more {
                self.message_frames = frames;
                self.message_bytes = bytes;
            } else {
                self.message_frames = 0;
                self.message_bytes = 0;
                self.topic_frames = 0;
                batch.messages += 1;
                batch.boundary = batch.len;
                // Octets of a message begun within the credit may have used up the octets' part of it.
                credit = credit.saturating_sub(1);
            }
        }
    }

    /// Looks at a message frame that does not simply go into the pipe, within the limits on frames. `None`: it
    /// goes there after all.
    fn check(
        &self,
        link: &Link,
        header: Header,
        rest: &[u8],
    ) -> Result<Option<Stop>, DisconnectReason> {
        let first = self.message_frames == 0;
        match self.sink {
            Sink::Checked(_, Check::Group) => {
                let fault = match (first, header.more) {
                    (true, true) if header.body_len > MAX_GROUP => Malformed::GroupLength {
                        len: header.body_len,
                    },
                    (true, false) => Malformed::GroupWithoutBody,
                    (false, true) => Malformed::GroupWithManyBodies,
                    (true, true) | (false, false) => return Ok(None),
                };
                return Err(ProtocolError::from(fault).into());
            }
            // What goes into the pipe must be whole messages: of a mixed one the socket sees to the rest.
            Sink::Checked(_, Check::Topics) if !first => return Ok(None),
            Sink::Checked(_, Check::Topics) | Sink::Topics => {}
            Sink::Pipe(_) => return Ok(None),
            Sink::Discard => return Ok(Some(Stop::Unwanted(header))),
        }
        let limits = &link.settings.config;
        let other = || (!matches!(self.sink, Sink::Checked(..))).then_some(Stop::Unwanted(header));
        let looked_at = (first && self.topic_frames == 0) || !limits.only_first_subscribe;
        if !looked_at || header.body_len == 0 {
            return Ok(other());
        }
        match rest.get(header.header_len) {
            None => return Ok(Some(Stop::Need(header.header_len + 1))),
            Some(0 | 1) => {}
            Some(_) => return Ok(other()),
        }
        let (len, limit) = (header.body_len - 1, link.settings.protocol.max_topic_len);
        if len > limit {
            return Err(ProtocolError::from(LimitExceeded::TopicLength { len, limit }).into());
        }
        let frames = self.topic_frames + 1;
        if frames > limits.limits.frames {
            let limit = u64::from(limits.limits.frames);
            return Err(too_large("message, in frames,", frames as usize, limit));
        }
        let total = header.header_len + header.body_len;
        Ok(Some(match rest.len() < total {
            true => Stop::Need(total),
            false => Stop::Topic(header),
        }))
    }

    /// Appends a batch of whole frames to the pipe and publishes the messages that end in it.
    fn hand_on(&mut self, batch: &Batch) {
        let Some(writer) = self.sink.writer_mut() else {
            return;
        };
        if batch.len == 0 {
            return;
        }
        if batch.messages > 0 {
            append(
                writer,
                &mut self.buffer,
                batch.boundary,
                batch.messages,
                false,
            );
            if writer.publish() {
                writer.signal();
            }
        }
        // Only then: if the connection is lost, the beginning of a message must not become that of the next one.
        let rest = match batch.messages {
            0 => batch.len,
            _ => batch.len - batch.boundary,
        };
        if rest > 0 {
            append(writer, &mut self.buffer, rest, 0, batch.in_message);
        }
    }

    /// Handles the command frame at the front of the buffer.
    fn take_command(&mut self, link: &Link, header: Header) -> Result<(), DisconnectReason> {
        let now = clock::now();
        let mut proto = lock(&link.proto);
        // In this order: what the command arms must not be disarmed by its own octets.
        proto.handle_traffic(now);
        link.octets.traffic.store(false, Ordering::Relaxed);
        let body = &self.buffer.input()[header.header_len..header.header_len + header.body_len];
        let result = proto.handle_command(body, now);
        let event = proto.poll_event();
        drop(proto);
        self.buffer.skip(header.header_len + header.body_len);
        // Whatever it was, timers or control frames may have changed.
        link.attend();
        result?;
        event.map_or(Ok(()), |event| notify(link, &event))
    }

    /// Gives a body memory of its own; its header goes into the pipe.
    fn begin_body(&mut self, header: Header, pool: &mut BufferPool) {
        if let Some(writer) = self.sink.writer_mut() {
            writer.append_wire(&self.buffer.input()[..header.header_len], 0, true);
        }
        self.buffer.skip(header.header_len);
        let large = self.large.get_or_insert_with(Box::default);
        let known = header.body_len <= large.largest;
        let ready = known.then(|| pool.take_body(header.body_len)).flatten();
        let mut body = Body {
            memory: ready.unwrap_or_default(),
            filled: 0,
            len: header.body_len,
            more: header.more,
            step: if known { BODY_STEP } else { FIRST_BODY_STEP },
        };
        let arrived = self.buffer.input().len().min(body.len);
        if body.memory.is_empty() {
            body.grow(arrived);
        }
        body.memory[..arrived].copy_from_slice(&self.buffer.input()[..arrived]);
        body.filled = arrived;
        self.buffer.skip(arrived);
        self.buffer.release(pool);
        large.body = Some(body);
    }

    /// A whole subscription in the form of a frame of a message, at the front of the buffer.
    fn take_topic(&mut self, link: &Link, header: Header) -> Result<(), DisconnectReason> {
        let mut proto = lock(&link.proto);
        let body = &self.buffer.input()[header.header_len..header.header_len + header.body_len];
        proto.handle_subscription_message(body)?;
        let event = proto.poll_event();
        drop(proto);
        self.buffer.skip(header.header_len + header.body_len);
        match header.more {
            true => self.topic_frames += 1,
            // With frames before it that were none, it ended a message of no use.
            false => {
                if self.message_frames > 0 {
                    link.drop_unexpected();
                }
                self.end_frame(false);
            }
        }
        event.map_or(Ok(()), |event| notify(link, &event))
    }

    /// A message frame that this socket has no use for.
    fn drop_frame(&mut self, link: &Link, header: Header) {
        if header.more {
            self.message_frames += 1;
            self.message_bytes += header.body_len as u64;
        } else {
            link.drop_unexpected();
        }
        self.end_frame(header.more);
        self.buffer.skip(header.header_len);
        self.skip = header.body_len;
    }
}

/// Whole frames at the front of a buffer.
#[derive(Debug, Default)]
struct Batch {
    /// Octets.
    len: usize,
    /// Messages that end in it.
    messages: u64,
    /// Octets up to the end of the last of them.
    boundary: usize,
    /// The last frame announced another.
    in_message: bool,
}

/// Why a scan ended.
enum Stop {
    /// The next frame is not there as a whole: the buffer must hold so many octets.
    Need(usize),
    /// There is no credit for the message that begins here.
    Credit,
    /// A whole command frame.
    Command(Header),
    /// A large body of which a part is there.
    Body(Header),
    /// A whole frame that is a subscription.
    Topic(Header),
    /// A message frame that this socket has no use for.
    Unwanted(Header),
    /// A frame with these flags, of which a peer is forgiven some: whoever reads it next must not see them.
    Flags(u8),
}

/// What is to be done about a header that breaks the rules.
#[cold]
fn pardon(link: &Link, error: FrameError) -> Result<Stop, DisconnectReason> {
    match error {
        FrameError::ReservedBits(flags) | FrameError::CommandWithMore(flags)
            if link.settings.protocol.lenient_peers =>
        {
            Ok(Stop::Flags(flags))
        }
        error => Err(malformed(error)),
    }
}

impl Body {
    /// Room for what comes next.
    fn space(&mut self) -> &mut [u8] {
        if self.filled == self.memory.len() {
            self.grow(self.filled);
        }
        let end = self.memory.len().min(self.len);
        &mut self.memory[self.filled..end]
    }

    /// Whether there is memory for all of it.
    fn reaches_end(&self) -> bool {
        self.memory.len() >= self.len
    }

    /// Makes the memory exceed what has arrived, by no more than as much again or one step.
    fn grow(&mut self, arrived: usize) {
        let size = arrived.saturating_add(arrived.max(self.step)).min(self.len);
        self.memory.grow(size);
    }
}

fn notify(link: &Link, event: &Event) -> Result<(), DisconnectReason> {
    let key = link.key();
    let (subscribe, topic) = match event {
        Event::Subscribe(topic) | Event::Join(topic) => (true, topic),
        Event::Cancel(topic) | Event::Leave(topic) => (false, topic),
        Event::HandshakeDone => return Ok(()),
    };
    match key {
        Some(key) => link.port.hooks.subscription(key, subscribe, topic)?,
        None => return Ok(()),
    }
    link.report_subscription(subscribe, topic);
    Ok(())
}

#[cold]
fn read_failure(error: io::Error) -> DisconnectReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => DisconnectReason::PeerClosed,
        _ => error.into(),
    }
}

#[cold]
fn malformed(error: FrameError) -> DisconnectReason {
    ProtocolError::from(Malformed::from(error)).into()
}

#[cold]
fn too_large(what: &'static str, size: usize, limit: u64) -> DisconnectReason {
    DisconnectReason::TooLarge {
        what,
        size: size as u64,
        limit,
    }
}
/// Appends octets at the front of the buffer to a pipe.
fn append(
    writer: &mut Writer,
    buffer: &mut ReadBuffer,
    len: usize,
    messages: u64,
    in_message: bool,
) {
    if len < COPY_BELOW {
        writer.append_wire(&buffer.input()[..len], messages, in_message);
        buffer.skip(len);
    } else {
        writer.append_shared(buffer.split(len), messages, in_message);
    }
}
