//! Gives back what a stream took on top of what it needs when it stops.
//!
//! Neither end may notice: a task that waits is not woken, and who does not ask for messages does nothing at all. So
//! the process's alarm clock looks after such pipes, once in a second, for as long as they have such memory.

use std::sync::{Arc, Mutex, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::Shared;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{clock, Alarm};

/// How long nothing may have been published.
const IDLE: Duration = Duration::from_secs(1);

/// See the module. Of one pipe.
pub(super) struct Sweep {
    pipe: Weak<Shared>,
    /// The published position at the last look.
    seen: AtomicU64,
    is_on: AtomicBool,
    alarm: Mutex<Option<Alarm>>,
}

impl Sweep {
    pub(super) fn of(pipe: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Sweep {
            pipe: Arc::downgrade(pipe),
            seen: AtomicU64::new(0),
            is_on: AtomicBool::new(false),
            alarm: Mutex::new(None),
        })
    }

    /// One that looks at nothing.
    #[cfg(test)]
    pub(super) fn that_is_on(pipe: &Arc<Shared>) -> Arc<Self> {
        let sweep = Sweep::of(pipe);
        sweep.is_on.store(true, Ordering::Relaxed);
        sweep
    }

    /// There is something to give back.
    pub(super) fn start(self: &Arc<Self>) {
        if !self.is_on.swap(true, Ordering::AcqRel) {
            self.look_later();
        }
    }

    fn look_later(self: &Arc<Self>) {
        // It is held by whoever sets the alarm only: one that went off at once, for want of a thread that waits, would set
        // the next at once. Nobody looks then.
        let Ok(mut alarm) = self.alarm.try_lock() else {
            return;
        };
        let next = alarm.insert(Alarm::new(clock::now() + IDLE));
        next.poll(&Waker::from(Arc::clone(self)));
    }

    /// Whether the pipe is to be looked at again.
    fn look(&self) -> bool {
        let Some(pipe) = self.pipe.upgrade() else {
            return false;
        };
        let now = pipe.writer.published_bytes.load(Ordering::Relaxed);
        if self.seen.swap(now, Ordering::Relaxed) != now {
            return true;
        }
        // Before, so that what the stream takes when it goes on is looked after.
        self.is_on.store(false, Ordering::Release);
        pipe.reader.spare.blocks.trim();
        false
    }
}

impl Wake for Sweep {
    fn wake(self: Arc<Self>) {
        if self.look() {
            self.look_later();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{pipe, Limits, Reader, Tuning, Writer};
    use super::*;

    const UNLIMITED: Limits = Limits {
        messages: u64::MAX,
        bytes: u64::MAX,
    };

    /// Of short messages, and as long as it takes.
    fn stream(w: &mut Writer, r: &mut Reader) {
        for _ in 0..100_000 {
            w.append_payload(&[7; 64]);
            w.publish_and_signal();
            assert!(r.read_message().is_some());
        }
    }

    #[test]
    fn a_pipe_is_swept_when_nothing_was_published_between_two_looks() {
        let (mut w, mut r) = pipe(UNLIMITED, Tuning::INPROC);
        w.never_sweep();
        stream(&mut w, &mut r);
        let many = w.spare_octets();
        assert!(many > Tuning::INPROC.rotation / 2, "{many} octets");
        let sweep = Sweep::of(&w.shared);
        assert!(sweep.look(), "something was published");
        w.append_payload(&[7; 64]);
        w.publish_and_signal();
        assert!(sweep.look(), "and again");
        assert_eq!(w.spare_octets(), many);
        assert!(!sweep.look());
        assert_eq!(w.spare_octets(), Tuning::INPROC.max_block);
        let gone = Sweep::of(&w.shared);
        drop((w, r));
        assert!(!gone.look(), "nothing is to be looked at any more");
    }

    #[test]
    fn an_alarm_looks_after_a_stream_that_has_stopped() {
        let (mut w, mut r) = pipe(UNLIMITED, Tuning::INPROC);
        stream(&mut w, &mut r);
        while w.spare_octets() > Tuning::INPROC.max_block {
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_is_woken_while_it_sets_its_alarm_sets_no_other() {
        let (w, _r) = pipe(UNLIMITED, Tuning::INPROC);
        let sweep = Sweep::of(&w.shared);
        sweep.seen.store(1, Ordering::Relaxed);
        let held = sweep.alarm.lock().unwrap();
        Waker::from(Arc::clone(&sweep)).wake();
        assert!(held.is_none());
    }
}
