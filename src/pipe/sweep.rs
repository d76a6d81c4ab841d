//! Gives back what a stream took on top of what it needs when it stops.
//!
//! Neither end may notice: a task that waits is not woken, and who does not ask for messages does nothing at all. So
//! the process's alarm clock looks after such pipes, once in a second, for as long as they have such memory: until hardly
//! anything is published in a second, and what was has been read, whose blocks go back when it is.

use std::sync::{Arc, Mutex, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::Shared;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{clock, Alarm};

/// How long it is from one look to the next.
const IDLE: Duration = Duration::from_secs(1);

/// Octets that are no stream if no more of them are published from one look to the next.
const LITTLE: u64 = 256 * 1024;

/// Messages that a reader may have read without saying so, at least.
const FEW: u64 = 64;

/// See the module. Of one pipe.
pub(super) struct Sweep {
    pipe: Weak<Shared>,
    /// The published position at the last look.
    seen: AtomicU64,
    is_on: AtomicBool,
    alarm: Mutex<Option<Alarm>>,
    /// How long it is from one look to the next.
    every: Duration,
}

impl Sweep {
    pub(super) fn of(pipe: &Arc<Shared>) -> Arc<Self> {
        Sweep::every(pipe, IDLE)
    }

    /// One that looks so often.
    pub(super) fn every(pipe: &Arc<Shared>, every: Duration) -> Arc<Self> {
        Arc::new(Sweep {
            pipe: Arc::downgrade(pipe),
            seen: AtomicU64::new(0),
            is_on: AtomicBool::new(false),
            alarm: Mutex::new(None),
            every,
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
        // the next at once. Nobody looks then, until the stream takes more.
        let Ok(mut alarm) = self.alarm.try_lock() else {
            self.is_on.store(false, Ordering::Release);
            return;
        };
        let next = alarm.insert(Alarm::new(clock::now() + self.every));
        if next.poll(&Waker::from(Arc::clone(self))) {
            // This thread was kept from it for all that time.
            self.is_on.store(false, Ordering::Release);
        }
    }

    /// Whether the pipe is to be looked at again.
    fn look(&self) -> bool {
        let Some(pipe) = self.pipe.upgrade() else {
            return false;
        };
        let (writer, reader) = (&pipe.writer, &pipe.reader);
        let now = writer.published_bytes.load(Ordering::Relaxed);
        if now.saturating_sub(self.seen.swap(now, Ordering::Relaxed)) > LITTLE {
            return true;
        }
        let read = reader.acked_messages.load(Ordering::Relaxed);
        let published = writer.published_messages.load(Ordering::Relaxed);
        let is_over = published.saturating_sub(read) <= FEW
            || pipe.sleep.reader_closed.load(Ordering::Relaxed);
        if is_over {
            // Before, so that what the stream takes when it goes on is looked after.
            self.is_on.store(false, Ordering::Release);
        }
        reader.spare.blocks.trim();
        !is_over
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

    /// The watchdog: longer than anything that works takes, however busy the machine.
    const LONG: Duration = Duration::from_secs(60);

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
        stream(&mut w, &mut r);
        assert!(sweep.look(), "and again");
        assert_eq!(w.spare_octets(), many);
        assert!(!sweep.look());
        assert_eq!(w.spare_octets(), Tuning::INPROC.max_block);
        let gone = Sweep::of(&w.shared);
        drop((w, r));
        assert!(!gone.look(), "nothing is to be looked at any more");
    }

    /// One that has something to say now and then would keep its memory for ever.
    #[test]
    fn who_publishes_a_little_is_no_stream() {
        let (mut w, mut r) = pipe(UNLIMITED, Tuning::INPROC);
        w.never_sweep();
        stream(&mut w, &mut r);
        let sweep = Sweep::of(&w.shared);
        assert!(sweep.look());
        w.append_payload(&[7; 64]);
        w.publish_and_signal();
        assert!(!sweep.look());
        assert_eq!(w.spare_octets(), Tuning::INPROC.max_block);
    }

    /// The reader comes to it long after the writer has stopped.
    #[test]
    fn a_pipe_is_swept_when_what_was_left_has_been_read() {
        let (mut w, mut r) = pipe(UNLIMITED, Tuning::INPROC);
        w.never_sweep();
        stream(&mut w, &mut r);
        for _ in 0..50_000 {
            w.append_payload(&[7; 64]);
            w.publish_and_signal();
        }
        let sweep = Sweep::of(&w.shared);
        for _ in 0..3 {
            assert!(sweep.look(), "it is to be read");
        }
        while r.read_message().is_some() {}
        assert!(w.spare_octets() > Tuning::INPROC.rotation / 2);
        assert!(!sweep.look());
        assert_eq!(w.spare_octets(), Tuning::INPROC.max_block);
    }

    #[test]
    fn nobody_looks_after_what_will_not_be_read() {
        let (mut w, r) = pipe(UNLIMITED, Tuning::INPROC);
        for _ in 0..1_000 {
            w.append_payload(&[7; 64]);
            w.publish_and_signal();
        }
        let sweep = Sweep::of(&w.shared);
        assert!(sweep.look(), "it may be read");
        drop(r);
        assert!(!sweep.look());
    }

    #[test]
    fn an_alarm_looks_after_a_stream_that_has_stopped() {
        let (mut w, mut r) = pipe(UNLIMITED, Tuning::INPROC);
        // In the middle of the stream as well, which begins anew then.
        w.sweep_every(Duration::from_millis(1));
        stream(&mut w, &mut r);
        let end = clock::now() + LONG;
        while w.spare_octets() > Tuning::INPROC.max_block {
            assert!(clock::now() < end, "nobody has looked after it");
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_is_woken_while_it_sets_its_alarm_sets_no_other() {
        let (w, _r) = pipe(UNLIMITED, Tuning::INPROC);
        let sweep = Sweep::of(&w.shared);
        w.shared
            .writer
            .published_bytes
            .store(LITTLE + 1, Ordering::Relaxed);
        sweep.is_on.store(true, Ordering::Relaxed);
        let held = sweep.alarm.lock().unwrap();
        Waker::from(Arc::clone(&sweep)).wake();
        assert!(held.is_none());
        assert!(!sweep.is_on.load(Ordering::Relaxed), "it can be set later");
    }
}
