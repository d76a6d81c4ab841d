//! Gives back what a stream took on top of what it needs when it stops.
//!
//! Neither end may notice: a task that waits is not woken, and who does not ask for messages does nothing at all. So
//! the process's alarm clock looks after such pipes, once in a second, for as long as they have such memory: until hardly
//! anything is published in a second, and what was has been read, whose blocks go back when it is.

use std::sync::{Arc, Mutex, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::Shared;
use crate::sync::atomic::{fence, AtomicBool, AtomicU64, Ordering};
use crate::sync::{clock, Alarm};

/// How long it is from one look to the next.
const IDLE: Duration = Duration::from_secs(1);

/// Octets that are no stream if no more of them are published from one look to the next.
const LITTLE: u64 = 256 * 1024;

/// Messages that a reader may have read without saying so, at least.
const FEW: u64 = 64;

/// How often an alarm is set that goes off at once: because this thread was kept from setting it for as long as it is set to;
/// or for want of a thread that waits, and then each would set the next. Nobody looks after that, until the stream takes
/// more.
const ATTEMPTS: u32 = 3;

/// See the module. Of one pipe.
pub(super) struct Sweep {
    pipe: Weak<Shared>,
    /// The published position at the last look.
    seen: AtomicU64,
    is_on: AtomicBool,
    alarm: Mutex<Option<Alarm>>,
    /// It went off while it was still being set, and whoever set it is to set another.
    missed: AtomicBool,
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
            missed: AtomicBool::new(false),
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
        // It is held by whoever sets the alarm only.
        let Some(mut alarm) = self.alarm.try_lock().ok().or_else(|| {
            self.missed.store(true, Ordering::Relaxed);
            // Either who holds it sees that, or it is free by now.
            fence(Ordering::SeqCst);
            self.alarm.try_lock().ok()
        }) else {
            return;
        };
        for _ in 0..ATTEMPTS {
            self.missed.store(false, Ordering::Relaxed);
            let next = alarm.insert(Alarm::new(clock::now() + self.every));
            let is_over = next.poll(&Waker::from(Arc::clone(self)));
            drop(alarm);
            fence(Ordering::SeqCst);
            if !is_over && !self.missed.load(Ordering::Relaxed) {
                return;
            }
            let Ok(free) = self.alarm.try_lock() else {
                return;
            };
            alarm = free;
        }
        self.is_on.store(false, Ordering::Release);
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
        let sweep = w.sweep_every(Duration::from_millis(10));
        stream(&mut w, &mut r);
        let end = clock::now() + LONG;
        // Until it is over, and who looked has let go of it. Who has the spare blocks in hand keeps them from being
        // given back, so nobody may count them before.
        while sweep.is_on.load(Ordering::Acquire) || Arc::strong_count(&sweep) > 2 {
            assert!(clock::now() < end, "nobody has looked after it");
            std::thread::yield_now();
        }
        assert!(w.spare_octets() <= Tuning::INPROC.max_block);
    }

    /// As it is if the alarm goes off before whoever sets it has let go of it.
    #[test]
    fn who_is_woken_while_an_alarm_is_set_leaves_the_next_to_who_sets_it() {
        let (w, _r) = pipe(UNLIMITED, Tuning::INPROC);
        let sweep = Sweep::of(&w.shared);
        let publish_much = || {
            let published = &w.shared.writer.published_bytes;
            published.fetch_add(LITTLE + 1, Ordering::Relaxed)
        };
        publish_much();
        sweep.is_on.store(true, Ordering::Relaxed);
        let held = sweep.alarm.lock().unwrap();
        Waker::from(Arc::clone(&sweep)).wake();
        assert!(held.is_none());
        assert!(sweep.missed.load(Ordering::Relaxed));
        assert!(sweep.is_on.load(Ordering::Relaxed));
        drop(held);
        publish_much();
        Waker::from(Arc::clone(&sweep)).wake();
        assert!(sweep.alarm.lock().unwrap().is_some());
        assert!(!sweep.missed.load(Ordering::Relaxed));
    }

    /// Each alarm is over before it is set, as if this thread were kept from it.
    #[test]
    fn what_can_not_be_set_can_be_set_later() {
        let (w, _r) = pipe(UNLIMITED, Tuning::INPROC);
        let sweep = Sweep::every(&w.shared, Duration::ZERO);
        sweep.start();
        assert!(!sweep.is_on.load(Ordering::Relaxed));
    }
}
