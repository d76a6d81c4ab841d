//! How long an operation may take, and how it waits.

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::RecvError;
use crate::sync::{clock, Event};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deadline<'a> {
    Now,
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

    /// Waits until there is a notification; `false` if the time was over first.
    pub(super) fn sleep_on(self, event: &Event) -> bool {
        match self {
            Deadline::Now => event.wait(Some(clock::now())),
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
            Deadline::Now => Err(RecvError::WouldBlock),
            Deadline::At(at) if clock::now() >= at => Err(RecvError::Timeout),
            Deadline::At(_) | Deadline::Never => Ok(()),
            // Other tasks have their turn.
            Deadline::Task(waker) => {
                waker.wake_by_ref();
                Err(RecvError::Timeout)
            }
        }
    }

    /// How long a send may wait for the kernel.
    pub(super) fn patience(self) -> Duration {
        match self {
            Deadline::Now | Deadline::Task(_) => Duration::ZERO,
            Deadline::At(at) => at.saturating_duration_since(clock::now()) / 2,
            Deadline::Never => Duration::MAX,
        }
    }
}
