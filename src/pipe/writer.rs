//! The writing end: append, publish, roll back, count credit.

use bytes::Bytes;

use super::block::{Block, Data, Node, OPEN};
use super::rotation::Rotation;
#[cfg(not(loom))]
use super::sweep::Sweep;
use super::{barrier, fence, Arc, Limits, Ordering, Shared, Signal, Tuning};
use crate::frame;
use crate::message::{Frame, Message};
use crate::sync::lock;

/// How many publishes in a row must meet an awake reader before the pipe turns dense. Large enough
/// that a request-reply exchange never does, small enough that a burst soon does.
#[cfg(not(loom))]
const DENSE_AFTER: u32 = 32;

/// Small enough for a model check to go through both changes.
#[cfg(loom)]
const DENSE_AFTER: u32 = 2;

/// Payloads up to this many octets are copied by a few moves of fixed size, in place of a call: two
/// overlapping halves make any length between them.
const SHORT: usize = 64;

/// The writing end of a pipe. Dropping it rolls an unfinished message back and closes the pipe; what
/// was published stays readable.
pub(crate) struct Writer {
    pub(super) shared: Arc<Shared>,
    tuning: Tuning,
    /// Where appending goes on.
    at: Position,
    /// What was appended since the last publish, where appending goes on after a rollback. Not where that was, which would
    /// have to be written for every message that is appended and published at once.
    since: Since,
    /// And in the list, from when appending left the node that it had then.
    left: Option<Place>,
    /// Messages and octets that may be published before looking at the reader's counts again.
    credit_messages: u64,
    credit_bytes: u64,
    /// Capacity of the next block.
    next_block: usize,
    rotation: Rotation,
    /// Looks after what is in rotation when the stream has stopped.
    #[cfg(not(loom))]
    sweep: std::cell::OnceCell<Arc<Sweep>>,
    dense: bool,
    awake_run: u32,
    /// Octets behind a message boundary that the last publish held back.
    held: u64,
}

struct Position {
    place: Place,
    /// An appended frame announced more frames.
    in_message: bool,
    /// Stream position.
    stream: u64,
    /// Messages completed since the pipe began, published or not.
    messages: u64,
}

#[derive(Clone, Copy)]
struct Place {
    /// The last node of the list. Never null.
    tail: *mut Node,
    /// The block appended to, or null; a null block has `base` null and `offset == capacity == 0`.
    block: *mut Block,
    base: *mut u8,
    offset: usize,
    capacity: usize,
    /// `tail` is a view of `block` that ends, for now, at `offset`.
    open: bool,
}

#[derive(Default)]
struct Since {
    octets: u64,
    messages: u64,
    /// The last publish was in the middle of a message.
    in_message: bool,
}

// SAFETY: the pointers lead to memory owned by the pipe, of which a writer uses only its own part,
// from whichever thread holds the writer.
#[allow(unsafe_code, reason = "see SAFETY")]
unsafe impl Send for Writer {}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, sentinel: *mut Node, tuning: Tuning) -> Self {
        let at = Position {
            place: Place {
                tail: sentinel,
                block: std::ptr::null_mut(),
                base: std::ptr::null_mut(),
                offset: 0,
                capacity: 0,
                open: false,
            },
            in_message: false,
            stream: 0,
            messages: 0,
        };
        Writer {
            credit_messages: shared.sleep.limits.get().messages,
            credit_bytes: match shared.sleep.lease.budget() {
                None => shared.sleep.limits.get().bytes,
                // To be asked for.
                Some(_) => 0,
            },
            shared,
            tuning,
            at,
            since: Since::default(),
            left: None,
            next_block: tuning.first_block,
            rotation: Rotation::default(),
            #[cfg(not(loom))]
            sweep: std::cell::OnceCell::new(),
            dense: false,
            awake_run: 0,
            held: 0,
        }
    }

    /// Who is told when a reader returns credit that this writer waits for.
    pub(crate) fn set_signal(&self, signal: Arc<dyn Signal>) {
        *lock(&self.shared.sleep.wake_writer) = Some(signal);
    }

    /// What this end allows from now on.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.shared.sleep.limits.writers.set(limits);
        self.refresh_credit();
    }

    /// Counts credit anew: the other end may allow less than it did.
    pub(crate) fn recount(&mut self) {
        self.refresh_credit();
    }

    /// As [`Reader::free_spare`](super::Reader::free_spare).
    pub(crate) fn free_spare(&self) {
        self.shared.free_spare();
    }

    /// Whether one more message may be published now.
    #[inline]
    pub(crate) fn has_credit(&mut self) -> bool {
        self.within_credit() || self.refresh_credit()
    }

    /// Octets of complete messages count, published or not. Those of an unfinished message do not:
    /// nothing could be acknowledged before it is finished, and finishing it must stay possible.
    #[inline]
    fn within_credit(&self) -> bool {
        self.at.messages < self.credit_messages && self.complete() < self.credit_bytes
    }

    /// The stream position behind the last complete message, as far as that is known.
    #[inline]
    fn complete(&self) -> u64 {
        if self.at.in_message {
            self.published()
        } else {
            self.at.stream
        }
    }

    /// Where the last publish was.
    #[inline]
    fn marked(&self) -> u64 {
        self.at.stream - self.since.octets
    }

    /// The last published position.
    #[inline]
    fn published(&self) -> u64 {
        self.marked() - self.held
    }

    /// How many whole messages may be published now (a lower bound, without a fresh look).
    pub(crate) fn message_credit(&self) -> u64 {
        if self.marked() >= self.credit_bytes {
            return 0;
        }
        self.credit_messages.saturating_sub(self.at.messages)
    }

    /// How many octets may be published now (a lower bound, without a fresh look); one message may be longer.
    pub(crate) fn octet_credit(&self) -> u64 {
        self.credit_bytes.saturating_sub(self.marked())
    }

    #[cold]
    fn refresh_credit(&mut self) -> bool {
        let reader = &self.shared.reader;
        let limits = self.shared.sleep.limits.get();
        let messages = reader.acked_messages.load(Ordering::Acquire);
        let bytes = reader.acked_bytes.load(Ordering::Acquire);
        self.credit_messages = messages.saturating_add(limits.messages);
        self.credit_bytes = bytes.saturating_add(limits.bytes);
        if self.is_budgeted() {
            self.renew_lease(bytes);
        }
        self.within_credit()
    }

    fn is_budgeted(&self) -> bool {
        self.shared.sleep.lease.budget().is_some()
    }

    /// Has the budget count what is not acknowledged, and takes no more credit than it grants. `acked`: octets.
    fn renew_lease(&mut self, acked: u64) {
        let mut ahead = self.cover(acked);
        // The reader may have read everything meanwhile, and found no lease to give back. It acknowledges before
        // it looks for one, with a fence between, so either it has seen this one or it is seen here.
        fence(Ordering::SeqCst);
        let now = self.shared.reader.acked_bytes.load(Ordering::Acquire);
        if now != acked && now == self.complete() {
            ahead = self.cover(now);
        }
        self.credit_bytes = self.credit_bytes.min(self.complete() + ahead);
    }

    /// How much may be written on top of what the pipe holds; the least is one message for a pipe that
    /// holds none.
    fn cover(&self, acked: u64) -> u64 {
        let ahead = self.shared.sleep.lease.cover(self.at.stream - acked);
        if self.complete() == acked {
            ahead.max(1)
        } else {
            ahead
        }
    }

    /// Has a budget count what was written without a look for credit after: one message may be large.
    pub(crate) fn settle(&mut self) {
        // Of an unfinished message, too: it may have many frames.
        if self.is_budgeted() && (!self.within_credit() || self.at.stream >= self.credit_bytes) {
            self.refresh_credit();
        }
    }

    /// Announces that this writer waits for credit; then looks once more. `true`: there is credit
    /// after all, do not wait. Otherwise the signal will come when enough has been acknowledged, so
    /// complete messages are to be published before: they use credit, and nobody could return it.
    pub(crate) fn arm(&mut self) -> bool {
        // Swaps only, as for the reader's flag.
        self.shared.sleep.writer_waits.swap(true, Ordering::AcqRel);
        // Pairs with the fence in `Reader::acknowledge`.
        fence(Ordering::SeqCst);
        let ready = self.has_credit() || self.is_reader_closed();
        if ready {
            self.disarm();
        }
        ready
    }

    /// Takes back [`Writer::arm`].
    pub(crate) fn disarm(&mut self) {
        self.shared.sleep.writer_waits.swap(false, Ordering::AcqRel);
    }

    /// Whether nobody will ever read what is published from now on.
    pub(crate) fn is_reader_closed(&self) -> bool {
        self.shared.sleep.reader_closed.load(Ordering::Acquire)
    }

    /// Messages completed since the pipe began.
    pub(crate) fn messages_written(&self) -> u64 {
        self.at.messages
    }

    /// Messages published and not yet acknowledged.
    pub(crate) fn queued_messages(&self) -> u64 {
        self.at
            .messages
            .saturating_sub(self.shared.reader.acked_messages.load(Ordering::Relaxed))
    }

    /// Octets published and not yet acknowledged.
    pub(crate) fn queued_octets(&self) -> u64 {
        let acked = self.shared.reader.acked_bytes.load(Ordering::Relaxed);
        self.published().saturating_sub(acked)
    }

    /// Appends a whole message, unpublished.
    #[inline]
    pub(crate) fn append_message(&mut self, message: &Message) {
        let (last, head) = match message.frames() {
            [only] => (only, &[][..]),
            [head @ .., last] => (last, head),
            [] => return,
        };
        for frame in head {
            self.append_frame(frame, true);
        }
        self.append_frame(last, false);
    }

    /// As [`Writer::append_message`], and takes what is linked by reference out of the message.
    #[inline]
    pub(crate) fn take_message(&mut self, message: &mut Message) {
        let (last, head) = match message.frames_mut() {
            [only] => (only, &mut [][..]),
            [head @ .., last] => (last, head),
            [] => return,
        };
        for frame in head {
            self.take_frame(frame, true);
        }
        self.take_frame(last, false);
    }

    #[inline]
    fn take_frame(&mut self, frame: &mut Frame, more: bool) {
        let len = frame.len();
        if len >= self.tuning.by_reference {
            if let Some(bytes) = frame.take_shared() {
                self.link_body(bytes, len, more);
                return;
            }
        }
        self.append_frame(frame, more);
    }

    /// Appends a whole message of one frame with this payload, unpublished.
    #[inline(always)]
    pub(crate) fn append_payload(&mut self, payload: &[u8]) {
        let len = payload.len();
        if len <= SHORT
            && self.at.place.open
            && self.at.place.capacity - self.at.place.offset >= 2 + SHORT
        {
            self.put_short(len as u8, payload);
            self.since.octets += 2 + len as u64;
            self.finish_frame(false);
            return;
        }
        self.append_payload_slow(payload);
    }

    #[inline(never)]
    fn append_payload_slow(&mut self, payload: &[u8]) {
        let len = payload.len();
        if len >= self.tuning.share_borrowed {
            self.append_slow(&Frame::from(Bytes::copy_from_slice(payload)), false);
            return;
        }
        self.reserve(frame::header_len(len) + len);
        self.put_header(false, len);
        self.put(payload);
        self.finish_frame(false);
    }

    /// Appends one frame, unpublished. `more` says that the message goes on with another frame.
    #[inline]
    pub(crate) fn append_frame(&mut self, frame: &Frame, more: bool) {
        if let Some((len, octets)) = frame.as_inline() {
            if self.at.place.open
                && self.at.place.capacity - self.at.place.offset
                    >= frame::header_len(len) + Frame::INLINE
            {
                self.put_header(more, len);
                self.put_prefix(octets, len);
                self.finish_frame(more);
                return;
            }
        }
        self.append_slow(frame, more);
    }

    /// A frame that is not inline, or for which there is little room.
    fn append_slow(&mut self, frame: &Frame, more: bool) {
        let len = frame.len();
        if len >= self.tuning.by_reference {
            if let Some(bytes) = frame.as_shared() {
                self.link_body(bytes.clone(), len, more);
                return;
            }
        }
        self.reserve(frame::header_len(len) + len);
        self.put_header(more, len);
        self.put(frame);
        self.finish_frame(more);
    }

    fn link_body(&mut self, body: Bytes, len: usize, more: bool) {
        self.reserve(frame::header_len(len));
        self.put_header(more, len);
        self.at.in_message = true;
        self.link(Data::Shared(body), len);
        self.finish_frame(more);
    }

    /// Appends octets that are whole encoded frames, by copy, unpublished. `messages` says how many
    /// messages end in them, `in_message` whether another frame of the last one must follow.
    pub(crate) fn append_wire(&mut self, wire: &[u8], messages: u64, in_message: bool) {
        // A view is begun for octets only: `left` would be noted with nothing to take back.
        if !wire.is_empty() {
            self.reserve(wire.len());
            self.put(wire);
        }
        self.count(messages);
        self.at.in_message = in_message;
    }

    /// As [`Writer::append_wire`], of whole messages that are in two parts.
    pub(super) fn append_parts(&mut self, head: &[u8], rest: &[u8], messages: u64) {
        self.reserve(head.len() + rest.len());
        self.put(head);
        self.put(rest);
        self.count(messages);
        self.at.in_message = false;
    }

    /// As [`Writer::append_wire`], but by reference. The octets may also be a body whose header was
    /// appended just before.
    pub(crate) fn append_shared(&mut self, wire: Bytes, messages: u64, in_message: bool) {
        let len = wire.len();
        if len > 0 {
            self.link(Data::Shared(wire), len);
        }
        self.count(messages);
        self.at.in_message = in_message;
    }

    /// Makes everything appended visible to the reader: to be called at the end of a message.
    ///
    /// `true`: the reader was asleep, and the caller has undertaken to see that it runs, for example
    /// with [`Writer::signal`].
    ///
    /// # Why the mode may change
    /// Sparse to dense: the writer stores `dense`, passes a fence, and only then publishes without
    /// one. A reader that armed and then read `dense == false` passed its fence before that one (or
    /// it would have seen the store), so the writer's looks after its fence see the reader armed.
    /// Dense to sparse: the writer stores `dense = false` with `Release`. A reader that armed and
    /// read `false` (`Acquire`) sees all earlier publishes; later ones pass a fence each. A reader
    /// that still read `true` pays a heavy barrier, which is also a fence.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        debug_assert!(!self.at.in_message, "published in mid-message");
        self.publish_to(self.at.stream)
    }

    /// As [`Writer::publish`], but only up to a stream position: the last message boundary that was
    /// passed while appending. [`Writer::rollback`] then returns to where appending stands now.
    #[inline]
    pub(crate) fn publish_to(&mut self, stream: u64) -> bool {
        debug_assert!(
            self.published() <= stream && stream <= self.at.stream,
            "published what is not appended, or less than before"
        );
        self.since.octets = 0;
        self.since.messages = 0;
        // To look costs less than to write where it is the same for all messages but a few.
        if self.since.in_message != self.at.in_message {
            self.since.in_message = self.at.in_message;
        }
        if self.left.is_some() {
            self.left = None;
        }
        let held = self.at.stream - stream;
        if self.held != held {
            self.held = held;
        }
        self.tell(stream);
        let sleep = &self.shared.sleep;
        if self.dense {
            barrier::light();
            if sleep.reader_asleep.load(Ordering::Relaxed) {
                return self.claim_sleeper();
            }
        } else {
            fence(Ordering::SeqCst);
            if sleep.reader_asleep.load(Ordering::Relaxed) {
                return self.claim_sleeper();
            }
            self.awake_run = self.awake_run.saturating_add(1);
            if self.awake_run == DENSE_AFTER && self.tuning.may_be_dense {
                self.turn_dense();
            }
        }
        false
    }

    /// Publishes up to a stream position.
    #[inline(always)]
    fn tell(&self, stream: u64) {
        let line = &self.shared.writer;
        line.published_bytes.store(stream, Ordering::Release);
        line.published_messages
            .store(self.at.messages, Ordering::Release);
    }

    /// Appends a whole message of one frame with this payload and publishes it, in the case that most messages of a
    /// stream are: it is short, and there are room and credit for it. `None` if it is not so; nothing has been done
    /// then. Otherwise whether the reader seems to be asleep, and [`Writer::wake`] is to be called.
    ///
    /// It writes as little as possible: where another processor has the line that a message goes to, all that is written
    /// waits behind it, and a processor holds only so many writes. So there is no call in it, before which registers
    /// would be saved.
    #[inline(always)]
    pub(crate) fn send_short(&mut self, payload: &[u8]) -> Option<bool> {
        let at = &self.at;
        let is_plain = payload.len() <= SHORT
            && self.dense
            && barrier::is_free()
            && at.place.open
            && at.place.capacity - at.place.offset >= 2 + SHORT
            && !at.in_message
            && self.since.octets == 0
            && self.held == 0
            && at.messages < self.credit_messages
            && at.stream < self.credit_bytes;
        if !is_plain {
            return None;
        }
        debug_assert!(self.left.is_none() && !self.since.in_message);
        self.put_short(payload.len() as u8, payload);
        self.at.messages += 1;
        self.tell(self.at.stream);
        barrier::free();
        Some(self.shared.sleep.reader_asleep.load(Ordering::Relaxed))
    }

    /// After [`Writer::send_short`]. As [`Writer::publish`] says it: whether the reader was asleep.
    #[cold]
    pub(crate) fn wake(&mut self) -> bool {
        self.shared.sleep.reader_asleep.load(Ordering::Relaxed) && self.claim_sleeper()
    }

    /// The last node of the list.
    pub(super) fn tail(&self) -> *mut Node {
        self.at.place.tail
    }

    /// The block appended to.
    #[cfg(all(test, not(loom)))]
    pub(super) fn tail_block(&self) -> *const Block {
        self.at.place.block
    }

    /// Has nobody look after what is in rotation.
    #[cfg(all(test, not(loom)))]
    pub(super) fn never_sweep(&self) {
        self.sweep.get_or_init(|| Sweep::that_is_on(&self.shared));
    }

    /// Has what is in rotation looked after so often.
    #[cfg(all(test, not(loom)))]
    pub(super) fn sweep_every(&self, every: std::time::Duration) -> Arc<Sweep> {
        let sweep = self.sweep.get_or_init(|| Sweep::every(&self.shared, every));
        Arc::clone(sweep)
    }

    /// What waits to be used again.
    #[cfg(all(test, not(loom)))]
    pub(super) fn spare_octets(&self) -> usize {
        self.shared.reader.spare.blocks.octets()
    }

    /// The stream position behind everything appended.
    pub(crate) fn stream_position(&self) -> u64 {
        self.at.stream
    }

    #[cold]
    fn turn_dense(&mut self) {
        self.dense = true;
        self.shared.sleep.dense.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // A reader that armed before the fence saw (or could have seen) the sparse mode; the look
        // that follows the fence is the next publish's, or, as there may be none, this one:
        if self.shared.sleep.reader_asleep.load(Ordering::Relaxed) && self.claim_sleeper() {
            self.signal();
        }
    }

    #[cold]
    fn claim_sleeper(&mut self) -> bool {
        self.awake_run = 0;
        if self.dense {
            self.dense = false;
            self.shared.sleep.dense.store(false, Ordering::Release);
        }
        if self.is_budgeted() {
            // The reader has given the lease back, which what was published just now is not counted in.
            self.refresh_credit();
        }
        self.shared.claim_reader()
    }

    /// Wakes the reader, whose sleep this writer has claimed.
    pub(crate) fn signal(&self) {
        Shared::signal(&self.shared.sleep.wake_reader);
    }

    /// Publishes and wakes the reader if it sleeps.
    #[inline]
    pub(crate) fn publish_and_signal(&mut self) {
        if self.publish() {
            self.signal();
        }
    }

    /// Takes back everything appended since the last publish.
    pub(crate) fn rollback(&mut self) {
        let appended = self.since.octets != 0;
        self.take_back();
        if appended && self.is_budgeted() {
            self.refresh_credit();
        }
    }

    fn take_back(&mut self) {
        let unpublished = self.since.octets as usize;
        self.at.stream -= self.since.octets;
        self.at.messages -= self.since.messages;
        self.at.in_message = self.since.in_message;
        self.since.octets = 0;
        self.since.messages = 0;
        let Some(left) = self.left.take() else {
            // All of it is in the last view.
            self.at.place.offset -= unpublished;
            return;
        };
        let unread = left.tail;
        // SAFETY: the mark's tail is in the list: the reader frees a node only after it has followed
        // its `next`, which it does only when octets behind the node are published; none are behind
        // the last published position. The nodes behind are ours alone for the same reason.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            let first = (*unread).next.swap(std::ptr::null_mut(), Ordering::Relaxed);
            if left.open {
                (*unread).end.store(OPEN, Ordering::Relaxed);
            }
            let mut node = first;
            let mut last_block = left.block;
            let kept = Node::chunk(unread);
            while !node.is_null() {
                let next = (*node).next.load(Ordering::Relaxed);
                if let Data::View(block) = (*node).data {
                    if block != last_block {
                        if last_block != left.block {
                            Block::free(last_block);
                        }
                        last_block = block;
                    }
                }
                if Node::chunk(node) == kept {
                    std::ptr::drop_in_place(node);
                } else {
                    Node::end(node, next.is_null());
                }
                node = next;
            }
            if last_block != left.block {
                Block::free(last_block);
            }
        }
        self.at.place = left;
    }

    /// Whether something is appended since the last publish.
    pub(crate) fn has_unpublished(&self) -> bool {
        self.since.octets != 0
    }

    /// Whether something is appended and not published.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_unfinished(&self) -> bool {
        self.at.stream != self.published()
    }

    #[inline(always)]
    fn finish_frame(&mut self, more: bool) {
        self.at.in_message = more;
        if !more {
            self.count(1);
        }
    }

    /// Messages were completed.
    #[inline(always)]
    fn count(&mut self, messages: u64) {
        self.at.messages += messages;
        self.since.messages += messages;
    }

    /// Makes room for `len` octets in one node.
    #[inline(always)]
    fn reserve(&mut self, len: usize) {
        if !self.at.place.open || self.at.place.capacity - self.at.place.offset < len {
            self.open_view(len);
        }
    }

    #[inline(always)]
    fn put_header(&mut self, more: bool, body_len: usize) {
        let (header, len) = frame::header(more, false, body_len);
        // Either way of a fixed size, so no call of `memcpy`.
        if len == 2 {
            self.put(&header[..2]);
        } else {
            self.put(&header[..len]);
        }
    }

    /// Copies octets to where `reserve` made room.
    #[inline(always)]
    fn put(&mut self, octets: &[u8]) {
        self.put_prefix(octets, octets.len());
    }

    /// Appends `octets[..len]`. Copies all of `octets`, for which there must be room too: a copy of a
    /// fixed size is a few instructions, one of a variable size is a call.
    #[inline(always)]
    fn put_prefix(&mut self, octets: &[u8], len: usize) {
        let at = &mut self.at;
        debug_assert!(at.place.open && len <= octets.len());
        debug_assert!(at.place.capacity - at.place.offset >= octets.len());
        #[cfg(loom)]
        #[allow(unsafe_code, reason = "the block is live while it is appended to")]
        // SAFETY: see below.
        unsafe {
            (*at.place.block).track_write(at.place.offset, octets.len());
        }
        // SAFETY: the caller has seen to it that all of `octets` fits behind `offset` in the block;
        // that lies behind the published position, so only this writer touches it; `octets` is not
        // part of the block, as nobody has a reference into its unpublished part.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            std::ptr::copy_nonoverlapping(
                octets.as_ptr(),
                at.place.base.add(at.place.offset),
                octets.len(),
            );
        }
        at.place.offset += len;
        at.stream += len as u64;
        self.since.octets += len as u64;
    }

    /// Appends header and payload of the last frame of a message. There must be room for two octets and
    /// [`SHORT`]. The caller counts.
    #[inline(always)]
    fn put_short(&mut self, len: u8, payload: &[u8]) {
        let at = &mut self.at;
        let size = payload.len();
        debug_assert!(
            size <= SHORT && at.place.open && at.place.capacity - at.place.offset >= 2 + SHORT
        );
        #[cfg(loom)]
        #[allow(unsafe_code, reason = "the block is live while it is appended to")]
        // SAFETY: see below.
        unsafe {
            (*at.place.block).track_write(at.place.offset, 2 + size);
        }
        // SAFETY: as in `put_prefix`; each copy is of octets within `payload` to the same place behind
        // the header, two copies overlapping so that together they are all of it.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            let to = at.place.base.add(at.place.offset);
            to.cast::<[u8; 2]>().write([0, len]);
            let to = to.add(2);
            let from = payload.as_ptr();
            /// `N` octets.
            macro_rules! part {
                ($n:literal at $at:expr) => {
                    let octets = from.add($at).cast::<[u8; $n]>().read();
                    to.add($at).cast::<[u8; $n]>().write(octets);
                };
            }
            /// The first and the last `N` octets.
            macro_rules! ends {
                ($n:literal) => {{
                    let first = from.cast::<[u8; $n]>().read();
                    let last = from.add(size - $n).cast::<[u8; $n]>().read();
                    to.cast::<[u8; $n]>().write(first);
                    to.add(size - $n).cast::<[u8; $n]>().write(last);
                }};
            }
            // The first word apart: a number that was written there just now is found before it has reached the cache, but
            // not by a load of more than was written at once, which waits for that.
            match size {
                32.. => {
                    part!(8 at 0);
                    part!(16 at 8);
                    part!(16 at 16);
                    part!(32 at size - 32);
                }
                16.. => {
                    part!(8 at 0);
                    part!(8 at 8);
                    part!(8 at size - 16);
                    part!(8 at size - 8);
                }
                8.. => ends!(8),
                4.. => ends!(4),
                2.. => ends!(2),
                1 => to.write(*from),
                0 => {}
            }
        }
        at.place.offset += 2 + size;
        at.stream += 2 + size as u64;
    }

    /// Begins a new view with room for `len` octets, in the current block if they fit.
    #[cold]
    fn open_view(&mut self, len: usize) {
        self.leave();
        if self.at.place.capacity - self.at.place.offset >= len && !self.at.place.block.is_null() {
            self.push_view();
            return;
        }
        let block = self.take_block(len);
        self.seal();
        self.at.place.block = block;
        // SAFETY: `block` was just made or taken over, and is live.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            self.at.place.base = (*block).base();
            self.at.place.capacity = (*block).capacity();
        }
        self.at.place.offset = 0;
        self.push_view();
    }

    fn push_view(&mut self) {
        let node = Node::new(
            self.at.place.offset,
            None,
            self.at.messages,
            !self.at.in_message,
            Data::View(self.at.place.block),
        );
        self.push_node(node);
        self.at.place.open = true;
    }

    /// Links data by reference as the next node.
    fn link(&mut self, data: Data, len: usize) {
        let node = Node::new(0, Some(len), self.at.messages, !self.at.in_message, data);
        self.push_node(node);
        self.at.stream += len as u64;
        self.since.octets += len as u64;
    }

    fn push_node(&mut self, node: Node) {
        self.leave();
        self.seal();
        let tail = self.at.place.tail;
        // SAFETY: `tail` is live (see `rollback`), and its `next` is only followed by the reader
        // once octets behind it are published, which happens after this store.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            let node = Node::behind(tail, node, &self.shared.reader.spare.chunks);
            (*tail).next.store(node, Ordering::Release);
            self.at.place.tail = node;
        }
    }

    /// Notes the place of the last publish, if appending has not left it yet.
    fn leave(&mut self) {
        if self.left.is_none() {
            // What was appended since then is in the open view.
            let unpublished = self.since.octets as usize;
            let place = self.at.place;
            self.left = Some(Place {
                offset: place.offset - unpublished,
                ..place
            });
        }
    }

    /// Ends the open view, if there is one.
    fn seal(&mut self) {
        if self.at.place.open {
            // SAFETY: `tail` is live, see `rollback`.
            #[allow(unsafe_code, reason = "see SAFETY")]
            unsafe {
                (*self.at.place.tail)
                    .end
                    .store(self.at.place.offset, Ordering::Release);
            }
            self.at.place.open = false;
        }
    }

    /// One more block than is needed, if there may be.
    fn extra(&self, len: usize) -> Option<*mut Block> {
        let block = Block::extra(len)?;
        #[cfg(not(loom))]
        self.sweep.get_or_init(|| Sweep::of(&self.shared)).start();
        Some(block)
    }

    /// A block with room for at least `len` octets: one that came back, or a new one.
    fn take_block(&mut self, len: usize) -> *mut Block {
        // A reader that keeps falling behind gets larger blocks, an idle pipe small ones.
        let wanted = if self.dense {
            self.next_block = (self.next_block * 4).min(self.tuning.max_block);
            self.next_block
        } else {
            self.next_block = self.tuning.first_block;
            self.tuning.first_block
        };
        let len = wanted.max(len);
        let rest = if self.dense {
            let (octets, messages) = (self.at.stream, self.at.messages);
            let under_way = || {
                let acked = self.shared.reader.acked_bytes.load(Ordering::Relaxed);
                usize::try_from(octets.saturating_sub(acked)).unwrap_or(usize::MAX)
            };
            let far = self.tuning.rotation;
            self.rotation.next(octets, messages, far, under_way)
        } else {
            self.rotation.end();
            None
        };
        let keep = rest.unwrap_or(0);
        // One more is taken now and then for no other reason than that the reader had the list in hand.
        let most = match keep {
            0 => usize::MAX,
            keep => keep.saturating_add(self.tuning.rotation / 4),
        };
        let again = |keep| self.shared.reader.spare.blocks.pop(len, keep, most);
        let mut block = again(keep);
        if block.is_none() && keep > 0 {
            block = self.extra(len).or_else(|| again(0));
        }
        let block = block.unwrap_or_else(|| Block::boxed(len));
        // SAFETY: it is new or was popped, and nobody else's yet.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            (*block).set_rests(rest.is_some());
        }
        block
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.rollback();
        self.shared.close_writer();
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}
