//! Who sees a message off: the I/O thread, which runs the out-pumps of busy connections every turn, or
//! the sender itself, for a pipe that was idle.
//!
//! The decisions only, as in [`super::reading`]; [`Output`] carries them out.
//!
//! # The protocol
//! Of what is published in a pipe and not yet written, one of these holds at any time:
//!
//! - The pipe's reader is *asleep* (armed): the publish that ends this claims it, and its sender is
//!   then in [`see_off`].
//! - The out-pump is *hot*: on the [`HotList`], which is run every turn, but for those that are left to their senders for
//!   a moment, or a command that puts it there is on its way to the I/O thread. The I/O thread sleeps only when it has
//!   armed all of them.
//! - The kernel took no more, and the I/O thread's poll watches for room; that makes it hot.
//!
//! A sender that leaves a message to the I/O thread needs no order of its own between the publish and
//! the look at the state. If the pipe was armed by the I/O thread, that had left the list before it, and
//! the claim (a swap of the same flag) makes that visible. If it was armed by an earlier
//! [`see_off`], the I/O thread has yet to arm it in order to sleep, and that swap makes the message visible.
//!
//! # Fast senders
//! A sender that fills its pipe writes it itself, again and again, with all that it has just made in the caches of its core.
//! An I/O thread that writes it from another core meanwhile, a few messages at a time, takes from the sender, with each
//! message, the memory that it is about to write to: 70 to 100 ns instead of 12, and the pipe never fills again. So
//! the I/O thread [leaves](HotList::is_left) a pump alone of which the sender has just written a full pipe, as long as that goes
//! on sending. What the sender leaves behind when it stops is written 10 to 20 µs later. Whether it sends is told of all of
//! its socket: one that goes on with other pipes, or too slowly to fill this one again, has this one's messages wait for
//! 200 µs, once. Control frames are not left to anybody.
//!
//! The connection behind a pipe may be replaced while a sender still has the former one in hand. Then
//! [`see_off`] says so, and the sender signals whoever has the other end of the pipe now.

use std::time::{Duration, Instant};

use crate::pipe::Reader;
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::{barrier, Arc};

/// How a run of the out-pump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutOutcome {
    /// Everything published has been written.
    Idle,
    /// The kernel takes no more for now.
    Blocked,
    /// There is more, and others must have their turn.
    More,
    /// The connection is beyond use; the pump's failure says why.
    Closed,
}

/// One out-pump.
pub(super) trait Output {
    fn writing(&self) -> &Writing;

    /// Runs it on the sender's thread; ends with [`Writing::rest_after_sender`] if it is idle. `None`:
    /// another thread runs it, and does so once more.
    fn run_for_sender(&self) -> Option<OutOutcome>;

    /// [`Reader::arm`], or `None`: another thread runs it.
    fn arm(&self) -> Option<bool>;

    /// [`Reader::stay_awake`], or `None`: another thread runs it.
    fn stay_awake(&self) -> Option<bool>;

    /// Makes the I/O thread's poll watch for room.
    fn want_write(&self);

    /// Asks the I/O thread to put it on its [`HotList`].
    fn post_output(&self);

    /// Asks the I/O thread to look at the failure.
    fn attend(&self);

    /// Messages that its socket has sent.
    fn sent(&self) -> u64;
}

/// The state of an out-pump.
#[derive(Debug)]
pub(super) struct Writing {
    /// [`COLD`], [`HOT`] or [`GONE`]. Senders change cold to hot; all else is the I/O thread's.
    state: AtomicU8,
    /// On the [`HotList`]. The I/O thread's own: no order needed.
    listed: AtomicBool,
    /// How often the sender has written what filled the pipe. No order needed: it tells what is likely, and is as small as
    /// it can be, since every connection has one.
    filled: AtomicU8,
    /// Of these, those that the I/O thread knows of.
    known: AtomicU8,
}

/// Nobody runs it: its pipe is asleep, or an event will tell.
const COLD: u8 = 0;
/// On the list, or on its way there.
const HOT: u8 = 1;
/// The connection has ended, and its pipe has gone to another or ended too.
const GONE: u8 = 2;

impl Writing {
    pub(super) fn new() -> Self {
        Writing {
            state: AtomicU8::new(COLD),
            listed: AtomicBool::new(false),
            filled: AtomicU8::new(0),
            known: AtomicU8::new(0),
        }
    }

    /// The connection ends, on the I/O thread. Before the pipe's reader is taken out of the pump.
    pub(super) fn retire(&self) {
        self.state.swap(GONE, Ordering::AcqRel);
    }

    /// In the pump, after it ran for a sender and is idle: if nobody else runs it, the sender's next
    /// publish will find it asleep.
    pub(super) fn rest_after_sender(&self, reader: &mut Reader) {
        if self.state.load(Ordering::Acquire) == COLD {
            reader.arm_for_own_writer();
        }
    }

    /// By the I/O thread: whether the sender has written what filled the pipe since this was asked last.
    fn has_written(&self) -> bool {
        let filled = self.filled.load(Ordering::Relaxed);
        let has_written = filled != self.known.load(Ordering::Relaxed);
        if has_written {
            self.known.store(filled, Ordering::Relaxed);
        }
        has_written
    }

    /// By the I/O thread, which alone makes it gone.
    fn set(&self, state: u8) {
        if self.state.load(Ordering::Relaxed) != GONE {
            self.state.store(state, Ordering::Release);
        }
    }
}

/// Sees that the I/O thread runs the out-pump. `false`: the connection is gone.
pub(super) fn activate(output: &impl Output) -> bool {
    let state = &output.writing().state;
    match state.compare_exchange(COLD, HOT, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            output.post_output();
            true
        }
        Err(state) => state != GONE,
    }
}

/// By a sender that has claimed the sleep of the pipe's reader: writes its message, or leaves that to
/// the I/O thread. `false`: the connection is gone, and somebody else has the reader.
#[must_use]
pub(super) fn see_off(output: &impl Output, burst: bool) -> bool {
    if burst {
        return activate(output);
    }
    match output.run_for_sender() {
        Some(OutOutcome::Idle) => true,
        Some(OutOutcome::Blocked) => {
            output.want_write();
            true
        }
        // `None`: whoever has the pump will see the message; but it may be about to call the pipe idle.
        Some(OutOutcome::More) | None => activate(output),
        Some(OutOutcome::Closed) => {
            output.attend();
            false
        }
    }
}

/// By a sender whose pipe holds enough for a write, or has no room: writes what the kernel takes, unless
/// somebody is at it.
pub(super) fn write_on(output: &impl Output) {
    if let Some(outcome) = output.run_for_sender() {
        wrote_on(output, outcome);
    }
}

/// As [`write_on`], by a sender in lock-step, which writes one message at a time: its pipe is not left to it, or an I/O
/// thread that shares it for whatever reason would never get to sleep.
pub(super) fn write_one(output: &impl Output) {
    if let Some(outcome) = output.run_for_sender() {
        follow(output, outcome);
    }
}

/// By a sender that has written what filled its pipe, as far as this says.
pub(super) fn wrote_on(output: &impl Output, outcome: OutOutcome) {
    output.writing().filled.fetch_add(1, Ordering::Relaxed);
    follow(output, outcome);
}

fn follow(output: &impl Output, outcome: OutOutcome) {
    match outcome {
        OutOutcome::Idle => {}
        OutOutcome::Blocked => output.want_write(),
        OutOutcome::More => {
            activate(output);
        }
        OutOutcome::Closed => output.attend(),
    }
}

/// By a sender that has written a message through: what is left of it is in the pipe. `claimed`: the pipe was
/// asleep before. `false` as for [`see_off`].
#[must_use]
pub(super) fn wrote_through(output: &impl Output, outcome: OutOutcome, claimed: bool) -> bool {
    match outcome {
        OutOutcome::Idle => true,
        OutOutcome::Blocked => {
            output.want_write();
            true
        }
        OutOutcome::More => activate(output),
        OutOutcome::Closed => {
            output.attend();
            !claimed
        }
    }
}

/// The out-pumps that an I/O thread runs every turn.
#[derive(Debug)]
pub(super) struct HotList<O>(Vec<Hot<O>>);

#[derive(Debug)]
struct Hot<O> {
    output: Arc<O>,
    armed: bool,
    left: Option<Left>,
}

/// Of a sender that has written what filled its pipe, and is left to it.
#[derive(Debug)]
struct Left {
    /// Messages it had sent when it was looked at last.
    sent: u64,
    /// When to look whether it still sends.
    look: Instant,
    /// How long it is left to it, if it does not write again.
    until: Instant,
}

/// Longer than a fast sender needs to fill its pipe and write it, also if it shares its core.
const LEFT: Duration = Duration::from_micros(200);

/// How long to wait between two looks, of which each takes the line from the sender where it counts.
const LOOK: Duration = Duration::from_micros(10);

impl Left {
    fn is_over(&mut self, output: &impl Output, now: Instant) -> bool {
        if now < self.look {
            return false;
        }
        self.look = now + LOOK;
        let before = std::mem::replace(&mut self.sent, output.sent());
        self.sent == before || now >= self.until
    }
}

impl<O: Output> HotList<O> {
    pub(super) fn new() -> Self {
        HotList(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them, to be run now and then taken off with [`HotList::remove`] or left on with
    /// [`HotList::stay`]. A sender that runs it just now finds it cold when it does so once more, and
    /// sees to all there is: the list need not wait for it, and is not to watch it at work.
    pub(super) fn begin(&self, index: usize) -> Option<Arc<O>> {
        let output = &self.0.get(index)?.output;
        output.writing().set(COLD);
        Some(Arc::clone(output))
    }

    /// Whether one of them is left to its sender for now. If not, it is to [begin](HotList::begin), or there is none.
    pub(super) fn is_left(&mut self, index: usize, now: impl FnOnce() -> Instant) -> bool {
        let Some(Hot { output, left, .. }) = self.0.get_mut(index) else {
            return false;
        };
        if output.writing().has_written() {
            let (now, sent) = (now(), output.sent());
            *left = Some(Left {
                sent,
                look: now + LOOK,
                until: now + LEFT,
            });
        } else if left
            .as_mut()
            .is_some_and(|left| left.is_over(&**output, now()))
        {
            *left = None;
        }
        left.is_some()
    }

    /// It is run again in the next turn.
    pub(super) fn stay(&self, index: usize) {
        self.0[index].output.writing().set(HOT);
    }

    /// Puts an out-pump on the list for which there is room in the kernel: a sender that waits for that is not at work.
    pub(super) fn heat_for_room(&mut self, output: Arc<O>) {
        output.writing().has_written();
        self.heat(output);
    }

    /// Puts an out-pump on the list.
    pub(super) fn heat(&mut self, output: Arc<O>) {
        let writing = output.writing();
        writing.set(HOT);
        if !writing.listed.load(Ordering::Relaxed) {
            writing.listed.store(true, Ordering::Relaxed);
            self.0.push(Hot {
                output,
                armed: false,
                left: None,
            });
        }
    }

    /// Takes one off the list without arming: something else will put it there again.
    pub(super) fn remove(&mut self, index: usize) {
        let output = self.0.swap_remove(index).output;
        // The state is as it was set to begin with, or a sender asks for it again.
        output.writing().listed.store(false, Ordering::Relaxed);
    }

    /// Arms every pipe on the list, and takes those off that are asleep; `true` if all are.
    pub(super) fn arm(&mut self) -> bool {
        let mut dense = false;
        for hot in &mut self.0 {
            // Off the list first: a signal that comes after arming must put it there again.
            hot.output.writing().set(COLD);
            let done = hot.output.arm();
            dense |= done == Some(true);
            hot.armed = done.is_some();
        }
        if dense {
            barrier::heavy();
        }
        self.0.retain(|hot| {
            let awake = !hot.armed || hot.output.stay_awake() != Some(false);
            let writing = hot.output.writing();
            if awake {
                writing.set(HOT);
            } else {
                writing.listed.store(false, Ordering::Relaxed);
            }
            awake
        });
        self.0.is_empty()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::atomic::AtomicU64;

    /// Of which nothing is asked but what it has sent.
    struct Sender {
        writing: Writing,
        sent: AtomicU64,
    }

    impl Output for Sender {
        fn writing(&self) -> &Writing {
            &self.writing
        }

        fn run_for_sender(&self) -> Option<OutOutcome> {
            Some(OutOutcome::Idle)
        }

        fn arm(&self) -> Option<bool> {
            Some(false)
        }

        fn stay_awake(&self) -> Option<bool> {
            Some(false)
        }

        fn want_write(&self) {}

        fn post_output(&self) {}

        fn attend(&self) {}

        fn sent(&self) -> u64 {
            self.sent.load(Ordering::Relaxed)
        }
    }

    /// A list with one that is hot.
    struct List {
        hot: HotList<Sender>,
        sender: Arc<Sender>,
        start: Instant,
    }

    impl List {
        fn new() -> Self {
            let sender = Arc::new(Sender {
                writing: Writing::new(),
                sent: AtomicU64::new(0),
            });
            let mut hot = HotList::new();
            hot.heat(Arc::clone(&sender));
            let start = crate::sync::clock::now();
            List { hot, sender, start }
        }

        fn send(&self) {
            self.sender.sent.fetch_add(1, Ordering::Relaxed);
        }

        /// So many microseconds from the start on.
        fn is_left_at(&mut self, micros: u64) -> bool {
            let now = self.start + Duration::from_micros(micros);
            self.hot.is_left(0, || now)
        }
    }

    #[test]
    fn a_sender_that_has_written_a_full_pipe_is_left_to_it_as_long_as_it_sends() {
        let mut list = List::new();
        assert!(!list.is_left_at(0));
        list.send();
        assert!(!list.is_left_at(10), "it has written nothing");
        write_on(&*list.sender);
        assert!(list.is_left_at(20));
        assert!(list.is_left_at(29), "it is not looked at yet");
        list.send();
        assert!(list.is_left_at(30));
        assert!(list.is_left_at(39));
        assert!(!list.is_left_at(40), "it has sent nothing since");
        list.send();
        assert!(!list.is_left_at(50), "it has not written again");
        assert!(!list.hot.is_left(1, || unreachable!()), "there is none");
    }

    #[test]
    fn a_sender_that_does_not_fill_its_pipe_again_is_not_left_to_it_for_long() {
        let mut list = List::new();
        for start in [0, 1000] {
            write_on(&*list.sender);
            let looks = (start..).step_by(10);
            let mut left = looks.skip_while(|micros| {
                list.send();
                list.is_left_at(*micros)
            });
            assert_eq!(left.next(), Some(start + 200));
        }
    }

    #[test]
    fn a_sender_in_lock_step_is_not_left_to_it() {
        let mut list = List::new();
        write_one(&*list.sender);
        list.send();
        assert!(!list.is_left_at(0));
    }

    #[test]
    fn a_sender_that_waited_for_room_is_not_left_to_it() {
        let mut list = List::new();
        write_on(&*list.sender);
        list.hot.heat_for_room(Arc::clone(&list.sender));
        list.send();
        assert!(!list.is_left_at(0));
    }
}
