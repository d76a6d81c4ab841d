//! How long an operation may take, and how it waits.

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::RecvError;
use crate::io::Patience;
use crate::sync::{clock, Event};

/// See the module.
#[derive(Debug, Clone, Copy)]
#[allow(
    unreachable_pub,
    reason = "in the methods of sealed traits, which are public and not nameable"
)]
pub enum Deadline<'a> {
    Now,
    /// As now, by a task: of what has been read already, for it reads when it has to wait; and who sends may look for room
    /// in the kernel for a moment.
    Glance,
    At(Instant),
    Never,
    /// The caller is a task. What would wait sees to it that this wakes the task, looks a last time, and
    /// says that the time is over.
    Task(&'a Waker),
}

impl Deadline<'_> {
    /// After this long, or never.
    pub(super) fn after(timeout: Option<Duration>) -> Self {
        Self::by(timeout.and_then(|timeout| clock::now().checked_add(timeout)))
    }

    /// At this time, or never.
    pub(super) fn by(time: Option<Instant>) -> Self {
        time.map_or(Deadline::Never, Deadline::At)
    }

    /// Whether somebody waits by it for what is not there yet. Who only asks whether there is something, for no time, may be
    /// in the middle of a burst.
    pub(super) fn is_wait(self) -> bool {
        match self {
            Deadline::Never | Deadline::Task(_) => true,
            Deadline::At(at) => at > clock::now(),
            Deadline::Now | Deadline::Glance => false,
        }
    }

    /// Waits until there is a notification; `false` if the time was over first.
    pub(super) fn sleep_on(self, event: &Event) -> bool {
        match self {
            // The event is left alone: a task may have polled it, and is still to be woken.
            Deadline::Now | Deadline::Glance => false,
            Deadline::At(at) => event.wait(Some(at)),
            Deadline::Never => event.wait(None),
            Deadline::Task(waker) => event.poll(waker),
        }
    }

    /// For a receive that has found only what it must skip.
    ///
    /// # Errors
    /// If the time is over.
    pub(super) fn check(self) -> Result<(), RecvError> {
        match self {
            Deadline::Now | Deadline::Glance => Err(RecvError::WouldBlock),
            Deadline::At(at) if clock::now() >= at => Err(RecvError::Timeout),
            Deadline::At(_) | Deadline::Never => Ok(()),
            // Other tasks have their turn.
            Deadline::Task(waker) => {
                waker.wake_by_ref();
                Err(RecvError::Timeout)
            }
        }
    }

    /// Whether it is over at once.
    pub(super) fn is_now(self) -> bool {
        matches!(self, Deadline::Now | Deadline::Glance)
    }

    /// How long a send may wait for the kernel, and how.
    pub(super) fn patience(self) -> Patience {
        match self {
            Deadline::Now => Patience::Sleeps(Duration::ZERO),
            Deadline::Glance | Deadline::Task(_) => Patience::Looks,
            Deadline::At(at) => Patience::Sleeps(at.saturating_duration_since(clock::now()) / 2),
            Deadline::Never => Patience::Sleeps(Duration::MAX),
        }
    }
}

/// Counts what a receive finds and must discard, and looks at the deadline now and then: a peer that sends nothing
/// else must not hold a receive beyond its time, nor a task on its thread.
#[derive(Debug, Default)]
pub(super) struct Discarded(u32);

/// Looking at the clock for each message that is discarded would make it dearer still.
const DISCARDED_PER_LOOK: u32 = 256;

impl Discarded {
    /// One more.
    ///
    /// # Errors
    /// If the time is over.
    pub(super) fn one(&mut self, deadline: Deadline) -> Result<(), RecvError> {
        self.0 = self.0.wrapping_add(1);
        if self.0 % DISCARDED_PER_LOOK == 0 {
            deadline.check()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_attempt_that_does_not_wait_leaves_a_task_its_wake_up() {
        let (event, woken) = (Event::new(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(!Deadline::Task(&waker).sleep_on(&event));
        assert!(!Deadline::Now.sleep_on(&event));
        event.notify();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(!Deadline::Now.sleep_on(&event));
        assert!(Deadline::Task(&waker).sleep_on(&event), "it is there still");
    }

    /// `try_send` never waits, whatever others do.
    #[test]
    fn a_task_looks_for_room_where_a_thread_that_does_not_wait_has_none() {
        let task = Waker::from(Arc::new(Woken::default()));
        for deadline in [Deadline::Glance, Deadline::Task(&task)] {
            assert!(matches!(deadline.patience(), Patience::Looks));
        }
        let now = Deadline::Now.patience();
        assert!(matches!(now, Patience::Sleeps(Duration::ZERO)));
        assert!(matches!(
            Deadline::Never.patience(),
            Patience::Sleeps(Duration::MAX)
        ));
    }

    #[test]
    fn who_discards_for_long_lets_others_have_their_turn() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let until = |deadline: Deadline<'_>| {
            let mut discarded = Discarded::default();
            (0..10_000).find_map(|_| discarded.one(deadline).err())
        };
        assert_eq!(until(Deadline::Never), None);
        assert_eq!(until(Deadline::Now), Some(RecvError::WouldBlock));
        assert_eq!(until(Deadline::At(clock::now())), Some(RecvError::Timeout));
        assert_eq!(until(Deadline::Task(&waker)), Some(RecvError::Timeout));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "to go on");
    }
}
