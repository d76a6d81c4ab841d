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
//! - The out-pump is *hot*: on the [`HotList`], which is run every turn, or a command that puts it
//!   there is on its way to the I/O thread. The I/O thread sleeps only when it has armed all of them.
//! - The kernel took no more, and the I/O thread's poll watches for room; that makes it hot.
//!
//! A sender that leaves a message to the I/O thread needs no order of its own between the publish and
//! the look at the state. If the pipe was armed by the I/O thread, that had left the list before it, and
//! the claim (a swap of the same flag) makes that visible. If it was armed by an earlier
//! [`see_off`], the I/O thread has yet to arm it in order to sleep, and that swap makes the message visible.
//!
//! The connection behind a pipe may be replaced while a sender still has the former one in hand. Then
//! [`see_off`] says so, and the sender signals whoever has the other end of the pipe now.

use std::time::{Duration, Instant};

use crate::pipe::Reader;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU8, Ordering};
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
    /// How often the sender has written what filled the pipe. No order needed: it tells what is likely.
    filled: AtomicU32,
    /// Of these, those that the I/O thread knows of.
    known: AtomicU32,
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
            filled: AtomicU32::new(0),
            known: AtomicU32::new(0),
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

/// By a sender that has written what filled its pipe, as far as this says.
pub(super) fn wrote_on(output: &impl Output, outcome: OutOutcome) {
    output.writing().filled.fetch_add(1, Ordering::Relaxed);
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

/// A sender that writes its pipe itself, from time to time, is left to it.
#[derive(Debug)]
struct Left {
    /// For so long, if it does not do so again.
    until: Instant,
    /// When to look whether it still sends.
    look: Instant,
    /// What it had sent then.
    sent: u64,
}

/// How long a sender that fills its pipe and writes it is left to it: longer than that takes, also if it shares a core.
const LEFT: Duration = Duration::from_micros(200);

/// And how long it is not looked whether it still sends.
const LOOK: Duration = Duration::from_micros(10);

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

    /// Whether one of them is left to its sender for now, which fills its pipe again and again and then writes it. The
    /// sender has what it has made in its cache; who wrote it from another core, a few messages at a time, would take
    /// from the sender what it is about to make next. It is left no longer than the sender goes on.
    pub(super) fn leaves(&mut self, index: usize, now: fn() -> Instant) -> bool {
        let Some(Hot { output, left, .. }) = self.0.get_mut(index) else {
            return false;
        };
        let writing = output.writing();
        let filled = writing.filled.load(Ordering::Relaxed);
        if filled != writing.known.load(Ordering::Relaxed) {
            writing.known.store(filled, Ordering::Relaxed);
            let (now, sent) = (now(), output.sent());
            *left = Some(Left {
                until: now + LEFT,
                look: now + LOOK,
                sent,
            });
            return true;
        }
        let Some(is_left) = left else {
            return false;
        };
        let now = now();
        if now < is_left.look {
            return true;
        }
        let sent = output.sent();
        if sent == is_left.sent || now >= is_left.until {
            *left = None;
            return false;
        }
        (is_left.sent, is_left.look) = (sent, now + LOOK);
        true
    }

    /// It is run again in the next turn.
    pub(super) fn stay(&self, index: usize) {
        self.0[index].output.writing().set(HOT);
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
