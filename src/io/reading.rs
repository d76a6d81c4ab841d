//! Who reads a connection: its I/O thread, or a caller that waits for it.
//!
//! The decisions only: no descriptor, no poll, no clock. [`Reading`] says which poll is told about the
//! descriptor and what whoever has run the in-pump does next; [`Polls`] carries it out, in the build on
//! `mio` (`link`, `caller`, `thread`), in the models on a poll that loom knows (`loom_tests`).
//!
//! # The protocol
//! One *reader* at a time is told about input: the I/O thread, or a caller after [`Reading::give`] and
//! until [`Reading::take`]. Anyone may run the in-pump at any time, for its token keeps them apart;
//! the reader is who must not miss that there is something to read. That holds because:
//!
//! - A poll that begins to watch reports what is there already. So nothing is lost between the one
//!   poll and the other.
//! - Who finds the token taken leaves a note, and the holder runs once more. It runs in its own
//!   manner, so what the other knew and it must know is in [`Reading`]: that the stream is ending, and
//!   who is the reader.
//! - A caller whose run left something undone, and who is not the reader any more, asks the I/O thread
//!   to go on ([`Then::HandBack`]): that one may have come and gone while the caller had the token.
//! - A caller sleeps in its poll only with all its pipes armed. So it does not matter to it if the I/O
//!   thread takes reading back meanwhile: a message wakes it in either case.
//!
//! That a caller has gone away is a guess (two looks without a sign of it), and may be wrong. By the
//! above that costs a hop and loses nothing.
//!
//! A caller that is a *task* has no poll to sleep in. While it waits ([`Reading::task_waits`]) the I/O thread's poll
//! reports input, and the I/O thread, instead of reading, says so once ([`Reading::tell_task`]) and has the task woken.
//! A task may be dropped while it waits, and nobody hears of that; so that one waits is no sign of it.

use std::io;

use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::{lock, Mutex};

/// How a run of the in-pump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InOutcome {
    /// The kernel has no more for now.
    Drained,
    /// There is more, and others must have their turn.
    More,
    /// The pipe is full. The signal of its writer will tell when to go on.
    Paused,
    /// The handshake is complete: the pump waits to be opened.
    Ready,
    /// The connection is beyond use; the pump's failure says why.
    Closed,
}

/// What the I/O thread's poll is to report of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interests {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interests {
    pub(super) const NONE: Interests = Interests {
        read: false,
        write: false,
    };
}

/// The polls that may watch one descriptor. Called one at a time, under a lock.
pub(super) trait Polls: Sized {
    /// A caller's poll, and what it calls the descriptor.
    type Caller;

    /// Makes the I/O thread's poll report `now` instead of `before`. Whatever it then watches it looks
    /// at anew: what is there already is reported, even if `now` and `before` are the same.
    ///
    /// # Errors
    /// If the system has no memory for it; the descriptor is then not watched.
    fn watch(&self, before: Interests, now: Interests) -> io::Result<()>;

    /// Makes a caller's poll report input, what is there already included.
    ///
    /// # Errors
    /// As above.
    fn watch_for_caller(&self, caller: &Self::Caller) -> io::Result<()>;

    fn unwatch_for_caller(&self, caller: &Self::Caller);

    /// Asks the I/O thread to look at [`Reading::failure`].
    fn attend(&self);
}

/// Who reads in place of the I/O thread.
#[derive(Debug)]
pub(super) enum Caller<C> {
    /// With its own poll.
    Thread(C),
    Task,
}

/// Which kind of caller is the reader.
const NOBODY: u8 = 0;
const THREAD: u8 = 1;
const TASK: u8 = 2;

impl<C> Caller<C> {
    fn kind(&self) -> u8 {
        match self {
            Caller::Thread(_) => THREAD,
            Caller::Task => TASK,
        }
    }
}

/// See the module.
pub(super) struct Reading<P: Polls> {
    watch: Mutex<Watch<P::Caller>>,
    /// The kind of `watch.caller`; changed under the lock.
    with_caller: AtomicU8,
    /// The caller has run the in-pump since the I/O thread's last look.
    seen: AtomicBool,
    /// The caller sleeps in its poll, or is a task that waits to be told of input.
    waits: AtomicBool,
    /// A task has been told of input, and has not looked.
    told: AtomicBool,
    /// The stream has ended behind what is there: whoever runs the in-pump reads until it sees that.
    /// Set by whoever is told of it, never cleared.
    ending: AtomicBool,
    /// On the I/O thread's list of connections that callers read. Its own: no order needed.
    listed: AtomicBool,
}

/// Who is told about readiness of the descriptor.
struct Watch<C> {
    /// What the I/O thread wants to know.
    wanted: Interests,
    /// What its poll reports.
    watched: Interests,
    /// The poll of a socket whose `recv` waits for input itself.
    caller: Option<Caller<C>>,
    closed: bool,
    /// The I/O thread's poll could not be made to watch.
    failure: Option<io::Error>,
}

/// What a caller does after a run of the in-pump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Runs it again when it can, for no event will tell of what is left.
    GoOn,
    /// Waits for an event, or for the pipe's signal.
    Wait,
    /// Asks the I/O thread, which is the reader, to go on.
    HandBack,
    /// Asks the I/O thread to look at the failure.
    Attend,
}

/// What an I/O thread finds about a connection on its list of those that callers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It stays on the list.
    Present,
    /// No caller has it any more. It is off the list.
    Returned,
    /// No sign of the caller since the last look. It is off the list, and to be taken back.
    Away,
}

impl<P: Polls> Reading<P> {
    pub(super) fn new() -> Self {
        Reading {
            watch: Mutex::new(Watch {
                wanted: Interests::NONE,
                watched: Interests::NONE,
                caller: None,
                closed: false,
                failure: None,
            }),
            with_caller: AtomicU8::new(NOBODY),
            seen: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            told: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            listed: AtomicBool::new(false),
        }
    }

    /// The I/O thread begins to read.
    pub(super) fn begin(&self, polls: &P) {
        let mut watch = lock(&self.watch);
        watch.wanted.read = true;
        watch.apply(polls);
    }

    /// Whether the I/O thread is told about room for output. Asking again makes its poll look at the
    /// present state, so no edge is lost between a refused write and this call.
    pub(super) fn want_write(&self, polls: &P, write: bool) {
        let mut watch = lock(&self.watch);
        if write || watch.wanted.write {
            watch.wanted.write = write;
            watch.apply(polls);
        }
    }

    /// Makes a caller the reader. `true`: the I/O thread is to be told, and
    /// [enlists](Reading::enlist) the connection then. `false`: it was the reader before.
    ///
    /// # Errors
    /// If the connection is closed, or the caller's poll cannot watch it.
    pub(super) fn give(&self, polls: &P, caller: Caller<P::Caller>) -> io::Result<bool> {
        let mut watch = lock(&self.watch);
        if watch.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let kind = caller.kind();
        let former = watch.caller.as_ref().map(Caller::kind);
        if former == Some(kind) {
            return Ok(false);
        }
        if let Caller::Thread(caller) = &caller {
            polls.watch_for_caller(caller)?;
        }
        if let Some(Caller::Thread(former)) = watch.caller.replace(caller) {
            polls.unwatch_for_caller(&former);
        }
        watch.wanted.read = false;
        watch.apply(polls);
        self.with_caller.store(kind, Ordering::Relaxed);
        self.waits.store(false, Ordering::Relaxed);
        drop(watch);
        self.caller_runs();
        Ok(former.is_none())
    }

    /// Makes the I/O thread the reader again; `false` if it is. What has been read and not handed on
    /// no event will tell of: the in-pump is to be run on the I/O thread after this.
    pub(super) fn take(&self, polls: &P) -> bool {
        let mut watch = lock(&self.watch);
        let Some(caller) = watch.caller.take() else {
            return false;
        };
        self.with_caller.store(NOBODY, Ordering::Relaxed);
        if let Caller::Thread(caller) = caller {
            polls.unwatch_for_caller(&caller);
        }
        watch.wanted.read = true;
        watch.apply(polls);
        true
    }

    /// No poll is told about anything any more.
    pub(super) fn close(&self, polls: &P) {
        let mut watch = lock(&self.watch);
        watch.closed = true;
        watch.apply(polls);
        if let Some(Caller::Thread(caller)) = watch.caller.take() {
            polls.unwatch_for_caller(&caller);
        }
        self.with_caller.store(NOBODY, Ordering::Relaxed);
    }

    /// Why the I/O thread's poll does not watch what it should: the connection is then beyond use.
    pub(super) fn failure(&self) -> Option<io::Error> {
        lock(&self.watch).failure.take()
    }

    /// Whether a caller is the reader. May be out of date at once, but not for one who looks after a
    /// run of the in-pump that a former reader left a note for: the token's fences order that.
    pub(super) fn is_with_caller(&self) -> bool {
        self.with_caller.load(Ordering::Relaxed) != NOBODY
    }

    /// As [`Reading::is_with_caller`], of one kind.
    pub(super) fn is_with_task(&self) -> bool {
        self.with_caller.load(Ordering::Relaxed) == TASK
    }

    /// A poll says that the stream has ended behind what is there. Told before the in-pump is run: it
    /// may be another who runs it.
    pub(super) fn set_ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether a read that did not fill its buffer is not yet the last.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    // ---- for the caller ---------------------------------------------------------------------

    /// The caller is about to run the in-pump.
    pub(super) fn caller_runs(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }

    /// The caller is about to sleep in its poll.
    pub(super) fn caller_waits(&self) {
        self.waits.store(true, Ordering::Relaxed);
    }

    /// The caller is awake.
    pub(super) fn caller_wakes(&self) {
        self.seen.store(true, Ordering::Relaxed);
        self.waits.store(false, Ordering::Relaxed);
    }

    /// The caller, a task, is about to wait, and has seen that the pipe is empty: it is told of input from here on,
    /// what is there already included. Does nothing if the I/O thread is the reader.
    pub(super) fn task_waits(&self, polls: &P) {
        let mut watch = lock(&self.watch);
        if matches!(watch.caller, Some(Caller::Task)) {
            self.waits.store(true, Ordering::Relaxed);
            watch.wanted.read = true;
            watch.apply(polls);
        }
    }

    /// Whether the caller, a task, has been told of input since it last asked.
    pub(super) fn take_told(&self) -> bool {
        self.told.load(Ordering::Relaxed) && self.told.swap(false, Ordering::Relaxed)
    }

    /// Whether a caller is the reader, and is told of nothing, since it does not wait.
    pub(super) fn is_untold(&self) -> bool {
        self.is_with_caller() && !self.waits.load(Ordering::Relaxed)
    }

    /// What the caller does after a run.
    pub(super) fn caller_ran(&self, outcome: Option<InOutcome>) -> Then {
        match outcome {
            Some(InOutcome::More | InOutcome::Paused) if self.is_with_caller() => Then::GoOn,
            Some(InOutcome::More | InOutcome::Paused) => Then::HandBack,
            Some(InOutcome::Closed) => Then::Attend,
            // `None`: another thread is at it, and that one sees to what is left.
            Some(InOutcome::Drained | InOutcome::Ready) | None => Then::Wait,
        }
    }

    // ---- for the I/O thread -----------------------------------------------------------------

    /// Whether the connection is to be put on the list of those that callers read.
    pub(super) fn enlist(&self) -> bool {
        let listed = self.listed.load(Ordering::Relaxed);
        self.listed.store(true, Ordering::Relaxed);
        !listed
    }

    /// There is input. `true`: reading it is up to a task, which is to be woken after this.
    pub(super) fn tell_task(&self, polls: &P) -> bool {
        if !self.is_with_task() {
            return false;
        }
        let mut watch = lock(&self.watch);
        if !matches!(watch.caller, Some(Caller::Task)) {
            return false;
        }
        // One that is not waiting has what is there reported to it when it next waits.
        watch.wanted.read = false;
        watch.apply(polls);
        self.waits.store(false, Ordering::Relaxed);
        self.told.store(true, Ordering::Relaxed);
        true
    }

    /// Looks at one on the list.
    pub(super) fn look(&self) -> Look {
        let sleeps = self.waits.load(Ordering::Relaxed) && !self.is_with_task();
        let look = if !self.is_with_caller() {
            Look::Returned
        } else if sleeps || self.seen.swap(false, Ordering::Relaxed) {
            Look::Present
        } else {
            Look::Away
        };
        if look != Look::Present {
            self.listed.store(false, Ordering::Relaxed);
        }
        look
    }
}

impl<C> Watch<C> {
    /// Brings the I/O thread's poll in line.
    fn apply<P: Polls<Caller = C>>(&mut self, polls: &P) {
        if self.closed {
            // A sender whose write was refused just before the end asks too late.
            self.wanted = Interests::NONE;
        }
        match polls.watch(self.watched, self.wanted) {
            Ok(()) => self.watched = self.wanted,
            Err(error) => {
                self.watched = Interests::NONE;
                self.failure = Some(error);
                polls.attend();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    /// Polls that note what they are asked.
    #[derive(Default)]
    struct Noted {
        home: RefCell<Option<Interests>>,
        caller: Cell<bool>,
        fails: Cell<bool>,
        attended: Cell<usize>,
    }

    impl Polls for Noted {
        type Caller = ();

        fn watch(&self, before: Interests, now: Interests) -> io::Result<()> {
            let known = self.home.replace(Some(now)).unwrap_or(Interests::NONE);
            assert_eq!(known, before);
            if self.fails.get() {
                *self.home.borrow_mut() = None;
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            Ok(())
        }

        fn watch_for_caller(&self, (): &()) -> io::Result<()> {
            if self.fails.get() {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            assert!(!self.caller.replace(true), "watched twice");
            Ok(())
        }

        fn unwatch_for_caller(&self, (): &()) {
            assert!(self.caller.replace(false), "not watched");
        }

        fn attend(&self) {
            self.attended.set(self.attended.get() + 1);
        }
    }

    impl Noted {
        fn watches(&self) -> (bool, bool, bool) {
            let home = self.home.borrow().unwrap_or(Interests::NONE);
            (home.read, home.write, self.caller.get())
        }
    }

    #[test]
    fn one_reader_is_told_at_a_time() {
        let (polls, reading) = (Noted::default(), Reading::new());
        reading.begin(&polls);
        assert_eq!(polls.watches(), (true, false, false));
        assert!(reading.give(&polls, Caller::Thread(())).unwrap());
        assert!(
            !reading.give(&polls, Caller::Thread(())).unwrap(),
            "it has it"
        );
        reading.want_write(&polls, true);
        assert_eq!(polls.watches(), (false, true, true));
        assert!(reading.take(&polls));
        assert!(!reading.take(&polls), "it has been taken");
        assert_eq!(polls.watches(), (true, true, false));
    }

    #[test]
    fn a_task_is_told_once_of_what_there_is_whenever_it_waits() {
        let (polls, reading) = (Noted::default(), Reading::new());
        reading.begin(&polls);
        assert!(reading.give(&polls, Caller::Task).unwrap());
        assert!(!reading.give(&polls, Caller::Task).unwrap());
        assert_eq!(polls.watches(), (false, false, false), "it looks by itself");
        assert!(!reading.take_told() && reading.is_untold());
        reading.task_waits(&polls);
        assert!(!reading.is_untold());
        assert_eq!(polls.watches(), (true, false, false));
        assert!(reading.tell_task(&polls));
        assert_eq!(polls.watches(), (false, false, false));
        assert!(reading.take_told());
        assert!(!reading.take_told());
        // A thread takes its place, and it that of the thread.
        assert!(!reading.give(&polls, Caller::Thread(())).unwrap());
        assert_eq!(polls.watches(), (false, false, true));
        assert!(!reading.tell_task(&polls));
        assert!(!reading.give(&polls, Caller::Task).unwrap());
        assert_eq!(polls.watches(), (false, false, false));
        assert!(reading.take(&polls));
        assert_eq!(polls.watches(), (true, false, false));
        reading.task_waits(&polls);
        assert!(!reading.tell_task(&polls), "the I/O thread reads");
    }

    #[test]
    fn a_task_that_waits_may_have_been_dropped() {
        let (polls, reading) = (Noted::default(), Reading::new());
        assert!(reading.give(&polls, Caller::Task).unwrap());
        assert!(reading.enlist());
        reading.task_waits(&polls);
        assert_eq!(
            (reading.look(), reading.look()),
            (Look::Present, Look::Away)
        );
    }

    #[test]
    fn nobody_is_told_of_what_is_closed() {
        let (polls, reading) = (Noted::default(), Reading::new());
        reading.begin(&polls);
        assert!(reading.give(&polls, Caller::Thread(())).unwrap());
        reading.close(&polls);
        reading.want_write(&polls, true);
        assert!(reading.give(&polls, Caller::Thread(())).is_err());
        assert!(!reading.take(&polls));
        assert_eq!(polls.watches(), (false, false, false));
    }

    #[test]
    fn a_poll_that_cannot_watch_is_a_failure_of_the_connection() {
        let (polls, reading) = (Noted::default(), Reading::new());
        reading.begin(&polls);
        polls.fails.set(true);
        assert!(reading.give(&polls, Caller::Thread(())).is_err());
        assert_eq!(polls.attended.get(), 0, "the I/O thread still reads");
        assert!(reading.failure().is_none());
        reading.want_write(&polls, true);
        assert_eq!(polls.attended.get(), 1);
        let failure = reading.failure().map(|error| error.kind());
        assert_eq!(failure, Some(io::ErrorKind::OutOfMemory));
    }

    #[test]
    fn a_caller_is_listed_once_and_away_after_a_look_without_a_sign() {
        let (polls, reading) = (Noted::default(), Reading::new());
        for _ in 0..2 {
            assert!(reading.give(&polls, Caller::Thread(())).unwrap());
            assert!(reading.take(&polls));
        }
        assert!(reading.give(&polls, Caller::Thread(())).unwrap());
        assert!(reading.enlist());
        assert!(!reading.enlist(), "every time it took over is told");
        assert_eq!(reading.look(), Look::Present);
        reading.caller_waits();
        assert_eq!(reading.look(), Look::Present);
        reading.caller_wakes();
        assert_eq!(reading.look(), Look::Present);
        assert_eq!(reading.look(), Look::Away);
        assert!(reading.enlist(), "it is off the list");
        assert!(reading.take(&polls));
        assert_eq!(reading.look(), Look::Returned);
        assert!(reading.enlist());
    }
}
