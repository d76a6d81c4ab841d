//! The reading end, in two manners: decode whole messages (sockets), or lend octets for a vectored
//! write (pumps). Both acknowledge what they have passed.

use std::io::IoSlice;

use bytes::Bytes;

use super::block::{Block, Data, Node, OPEN};
use super::conflate::Conflation;
use super::distance::Distance;
use super::{fence, Arc, Budget, Limits, Ordering, Rest, Shared, Signal};
use crate::frame;
use crate::message::{Frame, Message};
use crate::sync::lock;

/// A received payload of at least this many octets is a slice of the block it was read into; a
/// shorter one is copied, so that a small message never keeps a large block alive. Read blocks are
/// 64 KiB, so a message that is kept when its neighbours are gone pins at most 64 times its size.
/// Measured: from about here on a copy, with an allocation, costs more than to count a reference.
#[cfg(not(any(test, loom)))]
const SLICE_MIN: usize = 1024;

/// So that short payloads in tests are both.
#[cfg(any(test, loom))]
const SLICE_MIN: usize = if cfg!(loom) { 2 } else { 100 };

/// The most messages between two acknowledgements: enough to make their cost vanish, and few enough
/// for a writer never to wait for one that could have been given.
const STRIDE_MAX: u64 = 64;

/// The reading end of a pipe. Dropping it tells the writer, and discards what was not read.
pub(crate) struct Reader {
    pub(super) shared: Arc<Shared>,
    /// The node being read. Never null.
    pub(super) node: *mut Node,
    /// The block that the last view passed or entered refers to, or null.
    block: *mut Block,
    /// First octet of the node's data.
    pub(super) base: *const u8,
    /// Unread octets known to be published: `base[offset..limit]`.
    pub(super) offset: usize,
    pub(super) limit: usize,
    /// Stream position of `offset`.
    pub(super) stream: u64,
    /// The published position when it was last looked at.
    published: u64,
    /// Messages read, and when they were last acknowledged.
    messages: u64,
    acked_messages: u64,
    acked_bytes: u64,
    /// Acknowledge after this many messages or octets.
    stride_messages: u64,
    stride_bytes: u64,
    /// Pump manner: the boundary being written towards, with the messages complete there.
    target: Target,
    /// How far into a message a consumption that stopped short of the target has come.
    walk: Walk,
    /// The pipe shares a budget with others, and holds none of it when it is empty.
    budgeted: bool,
    distance: Distance,
    /// Of a pipe that conflates, where the next message comes from when all that is published is read.
    pub(super) conflation: Option<Arc<Conflation>>,
}

/// Follows frames over octets consumed in pieces.
#[derive(Debug, Default)]
struct Walk {
    header: [u8; frame::MAX_HEADER],
    header_len: u8,
    body_left: usize,
    more: bool,
    in_message: bool,
    /// Messages that ended since the last boundary chosen.
    messages: u64,
}

impl Walk {
    /// Passes over `octets`, at most to the end of a message if `stop`; returns how many it passed.
    fn pass(&mut self, octets: &[u8], stop: bool) -> usize {
        let mut at = 0;
        while at < octets.len() {
            self.in_message = true;
            if self.body_left > 0 {
                let step = self.body_left.min(octets.len() - at);
                self.body_left -= step;
                at += step;
            } else {
                self.header[usize::from(self.header_len)] = octets[at];
                self.header_len += 1;
                at += 1;
                match frame::decode_header(&self.header[..usize::from(self.header_len)]) {
                    Ok(Some(header)) => {
                        self.header_len = 0;
                        self.body_left = header.body_len;
                        self.more = header.more;
                    }
                    Ok(None) => continue,
                    Err(_) => {
                        debug_assert!(false, "a pipe holds frames that were encoded here");
                        return octets.len();
                    }
                }
            }
            if self.body_left == 0 && !self.more {
                self.in_message = false;
                self.messages += 1;
                if stop {
                    break;
                }
            }
        }
        at
    }
}

/// A message boundary in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    stream: u64,
    messages: u64,
}

// SAFETY: the pointers lead to memory owned by the pipe, of which a reader uses only the published
// part, from whichever thread holds the reader.
#[allow(unsafe_code, reason = "see SAFETY")]
unsafe impl Send for Reader {}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, sentinel: *mut Node, limits: Limits) -> Self {
        let step = shared.sleep.lease.budget().map(Budget::step);
        Reader {
            shared,
            node: sentinel,
            block: std::ptr::null_mut(),
            base: std::ptr::null(),
            offset: 0,
            limit: 0,
            stream: 0,
            published: 0,
            messages: 0,
            acked_messages: 0,
            acked_bytes: 0,
            stride_messages: stride_messages(limits),
            stride_bytes: stride_bytes(limits, step),
            budgeted: step.is_some(),
            target: Target {
                stream: 0,
                messages: 0,
            },
            walk: Walk::default(),
            distance: Distance::default(),
            conflation: None,
        }
    }

    /// Who is told when a sleeping reader has something to read.
    pub(crate) fn set_signal(&self, signal: Arc<dyn Signal>) {
        *lock(&self.shared.sleep.wake_reader) = Some(signal);
    }

    /// The limits that the pipe was made with are those of this end, and the other allows nothing on top. To be
    /// called before anybody uses the pipe.
    pub(crate) fn claim_limits(&mut self) {
        let limits = &self.shared.sleep.limits;
        limits.readers.set(limits.writers.get());
        limits.writers.set(Limits::NONE);
    }

    /// What this end allows from now on. If that is less than before, the writer is to [recount](super::Writer::recount).
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.shared.sleep.limits.readers.set(limits);
        self.set_strides();
        // So that a writer in few messages is told of each of them.
        self.acknowledge();
        // Pairs with the fence in `Writer::arm`: it has seen these limits, or is seen to wait.
        fence(Ordering::SeqCst);
        self.wake_writer();
    }

    fn set_strides(&mut self) {
        let limits = self.shared.sleep.limits.get();
        let step = self.shared.sleep.lease.budget().map(Budget::step);
        self.stride_messages = stride_messages(limits);
        self.stride_bytes = stride_bytes(limits, step);
    }

    /// Whether octets are there to be read. One `Acquire` load if none were known.
    #[inline]
    pub(crate) fn has_data(&mut self) -> bool {
        if self.stream != self.published {
            return true;
        }
        self.published = self.shared.writer.published_bytes.load(Ordering::Acquire);
        self.stream != self.published || self.may_pull()
    }

    /// Whether there is a message that was not published yet because a newer one may still come.
    fn may_pull(&self) -> bool {
        self.conflation
            .as_ref()
            .is_some_and(|conflation| conflation.waiting() > 0)
    }

    /// Has the newest message published, after everything that was is read. Whether there is one.
    #[cold]
    fn pull(&mut self) -> bool {
        let Some(conflation) = &self.conflation else {
            return false;
        };
        conflation.pull();
        self.published = self.shared.writer.published_bytes.load(Ordering::Acquire);
        self.stream != self.published
    }

    /// Whether this is the end of a pipe that conflates.
    pub(crate) fn is_conflating(&self) -> bool {
        self.conflation.is_some()
    }

    /// Of a pipe that conflates by topic: topics are told apart by no more octets than this from now on.
    pub(crate) fn narrow(&self, prefix: usize) {
        if let Some(conflation) = &self.conflation {
            conflation.narrow(prefix);
        }
    }

    /// Frees the blocks that wait to be used again. For a pipe that has been idle for a while.
    pub(crate) fn free_spare(&self) {
        self.shared.free_spare();
    }

    /// Frees all but one of the blocks and chunks that wait to be used again.
    pub(crate) fn trim_spare(&self) {
        self.shared.reader.spare.blocks.trim();
        self.shared.reader.spare.chunks.trim();
    }

    /// Whether the writer is gone and everything published has been read.
    pub(crate) fn is_finished(&mut self) -> bool {
        // Closed is looked at first: what was published before closing is then visible.
        self.shared.sleep.writer_closed.load(Ordering::Acquire) && !self.has_data()
    }

    /// Messages read since the pipe began.
    pub(crate) fn messages_read(&self) -> u64 {
        self.messages
    }

    /// Messages published and not yet read (pump manner: not yet acknowledged).
    pub(crate) fn queued_messages(&self) -> u64 {
        self.shared
            .writer
            .published_messages
            .load(Ordering::Acquire)
            .saturating_sub(self.messages.max(self.acked_messages))
            + self.conflation.as_ref().map_or(0, |of| of.waiting())
    }

    /// Gives up what was published and not read: it is not to be read any more. How many messages that is. Later
    /// [`Reader::queued_messages`] tells of those that have come after, so that each is told once.
    pub(crate) fn give_up(&mut self) -> u64 {
        let kept = self.conflation.as_ref().map_or(0, |of| of.give_up());
        let published = self
            .shared
            .writer
            .published_messages
            .load(Ordering::Acquire);
        // A pump may have passed a message before it was counted.
        let read = self.messages.max(self.acked_messages);
        self.messages = read.max(published);
        kept + published.saturating_sub(read)
    }

    /// Announces sleep. The caller arms all the pipes it sleeps on, then passes a heavy barrier if
    /// any of these calls returned `true`, and then asks each with [`Reader::stay_awake`].
    #[must_use]
    pub(crate) fn arm(&mut self) -> bool {
        self.acknowledge();
        self.let_go();
        let sleep = &self.shared.sleep;
        // A swap, as all changes of this flag: each then reads the one before, and the order of them
        // is one that a model check can follow. What comes next costs more.
        sleep.reader_asleep.swap(true, Ordering::AcqRel);
        // Pairs with the fence in `Writer::publish` (sparse) and orders the look at the mode.
        fence(Ordering::SeqCst);
        sleep.dense.load(Ordering::Acquire)
    }

    /// Drops what was received by reference and has been read to its end: it would keep a receive buffer
    /// for as long as nothing else comes.
    fn let_go(&mut self) {
        if self.offset != self.limit {
            return;
        }
        // SAFETY: `self.node` is live until the reader itself passes it. If it is a linked one, all of it
        // is published, and the writer does not touch its data again.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            if (*self.node).end.load(Ordering::Acquire) == self.offset {
                if let Data::Shared(bytes) = &mut (*self.node).data {
                    *bytes = Bytes::new();
                }
            }
        }
    }

    /// After [`Reader::arm`]: `true` if there is something to read (or the writer is gone) after
    /// all; the announcement is then withdrawn. If `false`, the writer's next publish will signal.
    #[must_use]
    pub(crate) fn stay_awake(&mut self) -> bool {
        // Before the octets, for `all_read`.
        let counted = self
            .shared
            .writer
            .published_messages
            .load(Ordering::Acquire);
        let awake = self.has_data() || self.shared.sleep.writer_closed.load(Ordering::Acquire);
        if awake {
            self.disarm();
        } else {
            self.all_read(counted);
            if self.budgeted {
                self.give_back();
            }
        }
        awake
    }

    /// Withdraws the announcement of sleep. A signal may be on its way nevertheless.
    pub(crate) fn disarm(&mut self) {
        // A swap: what the writer published before claiming is then visible.
        self.shared
            .sleep
            .reader_asleep
            .swap(false, Ordering::AcqRel);
    }

    /// Announces sleep for one pipe whose writer is the calling thread itself, so that no barrier is
    /// needed: after a pump ran inline in `send`.
    pub(crate) fn arm_for_own_writer(&mut self) {
        self.shared
            .sleep
            .reader_asleep
            .store(true, Ordering::Relaxed);
    }

    /// Whether the next publish is one that claims the sleep of this reader, as far as is known.
    pub(crate) fn is_asleep(&self) -> bool {
        self.shared.sleep.reader_asleep.load(Ordering::Relaxed)
    }

    /// Tells the writer everything that has been read, and signals if it waits for enough of it.
    #[inline(never)]
    pub(crate) fn acknowledge(&mut self) {
        if self.acked_messages == self.messages && self.acked_bytes == self.stream {
            return;
        }
        self.acked_messages = self.messages;
        self.acked_bytes = self.stream;
        let shared = &*self.shared;
        let line = &shared.reader;
        line.acked_bytes.store(self.stream, Ordering::Release);
        line.acked_messages.store(self.messages, Ordering::Release);
        // Pairs with the fence in `Writer::arm`. Once per stride, so an ordinary one will do.
        fence(Ordering::SeqCst);
        if self.budgeted {
            self.settle_lease();
        }
        let shared = &*self.shared;
        if shared.sleep.writer_waits.load(Ordering::Relaxed) && self.enough_credit() {
            let shared = &*self.shared;
            if shared.sleep.writer_waits.swap(false, Ordering::AcqRel) {
                Shared::signal(&shared.sleep.wake_writer);
            }
        }
    }

    /// A waiting writer is woken when half of its limits is free, so that it is not woken for every
    /// message; an emptied pipe is always enough.
    fn enough_credit(&mut self) -> bool {
        // The other end may have changed its own.
        self.set_strides();
        let limits = self.shared.sleep.limits.get();
        let line = &self.shared.writer;
        let bytes = line.published_bytes.load(Ordering::Acquire);
        let messages = line.published_messages.load(Ordering::Acquire);
        let queued = messages.saturating_sub(self.messages);
        let queued_bytes = bytes.saturating_sub(self.stream);
        queued_bytes == 0 || (queued <= limits.messages / 2 && queued_bytes <= limits.bytes / 2)
    }

    /// Whether a writer waits though there is credit, because there is not enough of it to be woken
    /// for. A reader that cannot go on for long tells such a writer, with [`Reader::wake_writer`]:
    /// the limits would otherwise not be made full use of.
    pub(crate) fn keeps_writer_waiting(&mut self) -> bool {
        if !self.shared.sleep.writer_waits.load(Ordering::Relaxed) {
            return false;
        }
        let limits = self.shared.sleep.limits.get();
        let line = &self.shared.writer;
        let bytes = line.published_bytes.load(Ordering::Acquire);
        let messages = line.published_messages.load(Ordering::Acquire);
        messages.saturating_sub(self.acked_messages) < limits.messages
            && bytes.saturating_sub(self.acked_bytes) < limits.bytes
    }

    /// Wakes a writer that waits, however little credit there is.
    pub(crate) fn wake_writer(&mut self) {
        if self.shared.sleep.writer_waits.swap(false, Ordering::AcqRel) {
            Shared::signal(&self.shared.sleep.wake_writer);
        }
    }

    /// Whether there is a message; [`Reader::take_message`] then takes it.
    #[inline(always)]
    pub(crate) fn has_message(&mut self) -> bool {
        self.fill()
    }

    /// Takes the message that is there after [`Reader::has_message`], or returns `none`.
    ///
    /// A short one is made as the very last step, from the block into the caller's hands: each move
    /// of a message stalls on the stores of the move before, and costs as much as all the rest.
    #[inline(always)]
    pub(crate) fn take_message<E>(&mut self, none: E) -> Result<Message, E> {
        // flags 0: one frame of data with a short header. Behind it enough octets for a copy of fixed
        // size.
        if self.limit - self.offset >= 2 + Frame::INLINE {
            let input = self.readable();
            let (flags, len) = (input[0], usize::from(input[1]));
            if flags == 0 && len <= Frame::INLINE {
                let payload = input[2..2 + Frame::INLINE].as_ptr();
                self.skip(2 + len);
                self.count_message();
                // SAFETY: `payload` points to `Frame::INLINE` published octets of the current node,
                // which stays alive and unchanged until this reader passes it; skipping within it
                // does not pass it.
                #[allow(unsafe_code, reason = "see SAFETY")]
                let payload = unsafe { *payload.cast::<[u8; Frame::INLINE]>() };
                return Ok(Message::inline(payload, len));
            }
        }
        self.read_message().ok_or(none)
    }

    #[inline(always)]
    fn count_message(&mut self) {
        self.count_messages(1);
    }

    /// Counts messages that were read, and acknowledges in strides.
    #[inline(always)]
    pub(super) fn count_messages(&mut self, messages: u64) {
        self.messages += messages;
        if self.messages - self.acked_messages >= self.stride_messages
            || self.stream - self.acked_bytes >= self.stride_bytes
        {
            self.acknowledge();
        }
    }

    /// Reads one message. `None` if there is none.
    pub(crate) fn read_message(&mut self) -> Option<Message> {
        let (frame, more) = self.read_frame()?;
        let message = if more {
            self.read_rest(frame)
        } else {
            Message::new(frame)
        };
        self.count_message();
        Some(message)
    }

    #[cold]
    fn read_rest(&mut self, first: Frame) -> Message {
        let mut frames = Vec::with_capacity(4);
        frames.push(first);
        // Whole messages are published at once: the remaining frames are there.
        while let Some((frame, more)) = self.read_frame() {
            frames.push(frame);
            if !more {
                break;
            }
        }
        Message::from_frames(frames)
    }

    fn read_frame(&mut self) -> Option<(Frame, bool)> {
        if !self.fill() {
            return None;
        }
        let input = self.readable();
        let Ok(Some(header)) = frame::decode_header(input) else {
            debug_assert!(false, "the writer's side checks every header it publishes");
            return None;
        };
        let (at, len) = (header.header_len, header.body_len);
        if let Some(rest) = input.get(at..).filter(|rest| rest.len() >= len) {
            let frame = if len >= SLICE_MIN {
                self.slice(at, len)
            } else {
                Frame::copy_from_prefix(rest, len)
            };
            self.skip(at + len);
            return Some((frame, header.more));
        }
        self.skip(at);
        let body = self.take_body(len)?;
        Some((Frame::from(body), header.more))
    }

    /// A payload that lies in the current node, by reference.
    #[cold]
    fn slice(&self, at: usize, len: usize) -> Frame {
        // SAFETY: `self.node` is live until the reader itself passes it.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let data = unsafe { &(*self.node).data };
        match data {
            Data::Shared(bytes) => {
                let from = self.offset + at;
                Frame::from(bytes.slice(from..from + len))
            }
            Data::View(block) => {
                let from = self.offset + at;
                // SAFETY: the reader is in the block, and these octets are published.
                #[allow(unsafe_code, reason = "see SAFETY")]
                let bytes = unsafe { Block::slice(*block, from, len) };
                Frame::from(bytes)
            }
        }
    }

    /// The body that is the whole of the next node.
    fn take_body(&mut self, len: usize) -> Option<Bytes> {
        if len == 0 {
            return Some(Bytes::new());
        }
        if !self.fill() || self.offset != 0 || self.limit != len {
            debug_assert!(false, "a header was published without its body");
            return None;
        }
        // SAFETY: `self.node` is live and published as a whole; the writer does not touch the data
        // of a linked node again, so the reader may take it out.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let data = unsafe { &mut (*self.node).data };
        let Data::Shared(bytes) = data else {
            debug_assert!(false, "a body node is shared");
            return None;
        };
        let body = std::mem::take(bytes);
        self.skip(len);
        Some(body)
    }

    /// Known unread octets of the current node.
    #[inline(always)]
    pub(super) fn readable(&self) -> &[u8] {
        if self.offset == self.limit {
            return &[];
        }
        #[cfg(loom)]
        self.track_read();
        // SAFETY: `base..base+limit` lies in the current node's data and before the published
        // position, which was loaded with `Acquire`: it is initialised, and nobody writes it again.
        // The node is not freed while `&self` is borrowed.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            std::slice::from_raw_parts(self.base.add(self.offset), self.limit - self.offset)
        }
    }

    #[cfg(loom)]
    fn track_read(&self) {
        // SAFETY: the node and, for a view, its block are live until the reader passes them.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            if let Data::View(block) = (*self.node).data {
                (*block).track_read(self.offset, self.limit - self.offset);
            }
        }
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, len: usize) {
        self.offset += len;
        self.stream += len as u64;
    }

    /// Makes `offset < limit` if anything published is unread.
    #[inline(always)]
    pub(super) fn fill(&mut self) -> bool {
        self.offset < self.limit || self.fill_slow()
    }

    fn fill_slow(&mut self) -> bool {
        loop {
            if self.stream == self.published {
                self.distance.keep();
                self.published = self.shared.writer.published_bytes.load(Ordering::Acquire);
                self.distance.found(self.published - self.stream);
                if self.budgeted {
                    self.acknowledge_all_there_is();
                }
                if self.stream == self.published && !(self.conflation.is_some() && self.pull()) {
                    if self.budgeted {
                        self.give_back();
                    }
                    return false;
                }
            }
            // SAFETY: `self.node` is live until the reader itself passes it. Published octets are
            // unread, so if none of them are in this node, a next one was linked before them.
            #[allow(unsafe_code, reason = "see SAFETY")]
            let end = unsafe {
                (*self.node).track_use();
                (*self.node).end.load(Ordering::Acquire)
            };
            if end == OPEN || self.offset < end {
                let published = self.offset as u64 + (self.published - self.stream);
                // If the node was sealed since `published` was loaded, its end lies behind that.
                self.limit = if (end as u64) < published {
                    end
                } else {
                    published as usize
                };
                return true;
            }
            self.next_node();
        }
    }

    /// Passes the current node, which has been read to its end, and frees it.
    fn next_node(&mut self) {
        let old = self.node;
        // SAFETY: as in `fill_slow`; a next node was linked before anything behind it was published.
        // `old` is unreachable for the writer: its tail lies behind.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            let next = (*old).next.load(Ordering::Acquire);
            debug_assert!(!next.is_null(), "octets are published behind the last node");
            (*next).track_use();
            self.node = next;
            self.offset = (*next).start;
            self.limit = self.offset;
            match &(*next).data {
                Data::View(block) => {
                    self.base = (**block).base();
                    if *block != self.block {
                        self.recycle(*block);
                    }
                }
                Data::Shared(bytes) => self.base = bytes.as_ptr(),
            }
            // The writer puts the next one beside it for as long as there is room.
            Node::pass(old, &self.shared.reader.spare.chunks);
        }
    }

    /// Enters another block; the one before goes back to the writer, or away.
    fn recycle(&mut self, entered: *mut Block) {
        let left = std::mem::replace(&mut self.block, entered);
        if left.is_null() {
            return;
        }
        // SAFETY: this reader has passed all views of `left`, and the writer went on to another block.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            if (*left).is_unshared() {
                let first = !(*left).rests();
                self.shared.reader.spare.blocks.give(left, first);
            } else {
                Block::release(left);
            }
        }
    }

    // ---- pump manner ------------------------------------------------------------------------

    /// Whether everything up to the chosen boundary has been consumed: between two messages.
    pub(crate) fn at_boundary(&self) -> bool {
        // Behind the target are those who read messages since it was reached.
        self.stream >= self.target.stream
    }

    /// Lends the octets up to a message boundary, at most `slices.len()` slices of them, and returns
    /// how many slices it filled. A new boundary, about `budget` octets ahead, is only chosen when
    /// the last one has been reached.
    pub(crate) fn lend<'a>(&'a mut self, budget: u64, slices: &mut [IoSlice<'a>]) -> usize {
        if self.at_boundary() && !self.choose_target(budget) {
            return 0;
        }
        if !self.fill() {
            return 0;
        }
        let mut left = self.target.stream - self.stream;
        let mut count = 0;
        let mut node = self.node;
        let mut offset = self.offset;
        while left > 0 && count < slices.len() {
            // SAFETY: nodes up to the target are published: linked, live until passed, their octets
            // before the published position never written again. The borrow of `self` keeps the
            // reader from passing them.
            #[allow(unsafe_code, reason = "see SAFETY")]
            let octets: &'a [u8] = unsafe {
                (*node).track_use();
                let end = (*node).end.load(Ordering::Acquire);
                let len = if end == OPEN {
                    left
                } else {
                    left.min((end - offset) as u64)
                } as usize;
                let base = match &(*node).data {
                    Data::View(block) => {
                        #[cfg(loom)]
                        (**block).track_read(offset, len);
                        (**block).base().cast_const()
                    }
                    Data::Shared(bytes) => bytes.as_ptr(),
                };
                std::slice::from_raw_parts(base.add(offset), len)
            };
            left -= octets.len() as u64;
            if !octets.is_empty() {
                slices[count] = IoSlice::new(octets);
                count += 1;
            }
            // A node behind the target may be unpublished, and its writer may be rolling it back.
            if left > 0 {
                // SAFETY: octets before the target lie behind this node, so the next is published.
                #[allow(unsafe_code, reason = "see SAFETY")]
                unsafe {
                    node = (*node).next.load(Ordering::Acquire);
                    (*node).track_use();
                    offset = (*node).start;
                }
            }
        }
        count
    }

    /// Consumes octets that were lent, and acknowledges the messages that end in them.
    pub(crate) fn consume(&mut self, mut count: u64) {
        let short = self.stream + count < self.target.stream;
        let before = self.messages - self.walk.messages;
        while count > 0 {
            if !self.fill() {
                debug_assert!(false, "more was consumed than lent");
                break;
            }
            let step = count.min((self.limit - self.offset) as u64);
            if short {
                let mut walk = std::mem::take(&mut self.walk);
                walk.pass(&self.readable()[..step as usize], false);
                self.walk = walk;
            }
            self.skip(step as usize);
            count -= step;
        }
        if short {
            self.messages = before + self.walk.messages;
        } else {
            self.messages = self.messages.max(self.target.messages);
            self.walk = Walk::default();
        }
        self.acknowledge();
    }

    /// Passes the rest of a message that has been consumed in part, so that reading goes on at the
    /// beginning of the next. Whether there was one.
    pub(crate) fn discard_partial(&mut self) -> bool {
        let partial = self.walk.in_message;
        while self.walk.in_message && self.fill() {
            let mut walk = std::mem::take(&mut self.walk);
            let step = walk.pass(self.readable(), true);
            self.walk = walk;
            self.skip(step);
            self.messages += u64::from(!self.walk.in_message);
        }
        self.walk = Walk::default();
        self.target = Target {
            stream: self.stream,
            messages: self.messages,
        };
        self.acknowledge();
        partial
    }

    /// All messages `counted` have been read: the count was loaded before the published position,
    /// and no octet is left before that.
    ///
    /// The writer counts a message after its octets, so a pump may pass the end of a message that is
    /// not counted yet. A writer without credit would wait for ever if it were never acknowledged.
    fn all_read(&mut self, counted: u64) {
        if counted > self.messages {
            self.messages = counted;
            self.acknowledge();
        }
    }

    /// Everything published has been read: the budget has room for others. Acknowledged first: whoever writes
    /// waits for no more than that, and see `Writer::renew_lease`.
    #[cold]
    fn give_back(&mut self) {
        self.acknowledge();
        self.shared.sleep.lease.give_back();
    }

    /// With the last message that is known of, everything is acknowledged: who takes that one may not look again for
    /// long, and the budget would count what is not there any more.
    #[cold]
    fn acknowledge_all_there_is(&mut self) {
        let limits = self.shared.sleep.limits.get();
        let step = self.shared.sleep.lease.budget().map(Budget::step);
        let stride = (limits.bytes / 8).max(1).min(step.unwrap_or(u64::MAX));
        let unread = self.published.saturating_sub(self.acked_bytes);
        self.stride_bytes = stride.min(unread.max(1));
    }

    /// As [`Reader::give_back`], right after an acknowledgement and its fence, if that was of everything.
    #[cold]
    fn settle_lease(&mut self) {
        if self.stream == self.shared.writer.published_bytes.load(Ordering::Acquire) {
            self.shared.sleep.lease.give_back();
        }
        self.acknowledge_all_there_is();
    }

    /// The furthest message boundary within `budget` octets, or the nearest one behind that.
    fn choose_target(&mut self, budget: u64) -> bool {
        let line = &self.shared.writer;
        // In this order: the octets of the messages counted are then among the octets counted.
        let messages = line.published_messages.load(Ordering::Acquire);
        let published = line.published_bytes.load(Ordering::Acquire);
        self.published = published;
        if published == self.stream {
            if self.pull() {
                return self.choose_target(budget);
            }
            self.all_read(messages);
            if self.budgeted {
                self.give_back();
            }
            return false;
        }
        let end = Target {
            stream: published,
            messages,
        };
        self.target = if published - self.stream <= budget {
            end
        } else {
            self.boundary_near(budget, published).unwrap_or(end)
        };
        true
    }

    /// Boundaries inside the stream are known where a node begins with one.
    fn boundary_near(&mut self, budget: u64, published: u64) -> Option<Target> {
        if !self.fill() {
            return None;
        }
        let mut found = None;
        let mut node = self.node;
        let mut offset = self.offset;
        let mut stream = self.stream;
        loop {
            // SAFETY: as in `lend`: nodes that begin before the published position are linked and
            // live; whether one does is checked before it is looked into.
            #[allow(unsafe_code, reason = "see SAFETY")]
            unsafe {
                let end = (*node).end.load(Ordering::Acquire);
                if end == OPEN {
                    return found;
                }
                stream += (end - offset) as u64;
                if stream >= published {
                    return found;
                }
                node = (*node).next.load(Ordering::Acquire);
                if node.is_null() {
                    return found;
                }
                (*node).track_use();
                offset = (*node).start;
                if (*node).at_boundary {
                    let within = stream - self.stream <= budget;
                    if within || found.is_none() {
                        found = Some(Target {
                            stream,
                            messages: (*node).messages_before,
                        });
                    }
                    if !within {
                        return found;
                    }
                }
            }
        }
    }
}

fn stride_messages(limits: Limits) -> u64 {
    (limits.messages / 8).clamp(1, STRIDE_MAX)
}

/// A writer may wait though it has used little of its limits, if others have used the budget.
fn stride_bytes(limits: Limits, step: Option<u64>) -> u64 {
    (limits.bytes / 8).max(1).min(step.unwrap_or(u64::MAX))
}

impl Drop for Reader {
    fn drop(&mut self) {
        let rest = Rest {
            node: self.node,
            block: self.block,
        };
        // SAFETY: only a reader stores here, once; `Shared::drop` looks after both ends are gone.
        #[allow(unsafe_code, reason = "see SAFETY")]
        self.shared
            .reader
            .rest
            .with_mut(|slot| unsafe { *slot = rest });
        // What was read is not lost. Released before the end is, and whoever sees that sees this.
        let read = self.messages.max(self.acked_messages);
        let line = &self.shared.reader;
        line.acked_messages.store(read, Ordering::Release);
        self.shared.close_reader();
        if let Some(conflation) = &self.conflation {
            conflation.close();
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}
