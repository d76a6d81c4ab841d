//! Messages that were dropped at a pipe, counted there: so it is known which of a socket's peers lost them.
//!
//! The two ends count on their own lines, without locked instructions, when they drop something and at no other time.
//! In a pipe that conflates the conflation counts for both of its pipes.

use super::conflate::Conflation;
use super::kept::Loss;
use super::{Reader, Shared, Writer};
use crate::sync::atomic::{AtomicU64, Ordering};

/// What was dropped at a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Losses {
    /// Not taken, as it was full; with conflation by topic, those that gave way to other topics.
    pub(crate) full: u64,
    /// A newer one took their place.
    pub(crate) conflated: u64,
    /// Read, and of no use.
    pub(crate) unwanted: u64,
}

impl Losses {
    /// Both, or all since `self` was counted down from.
    pub(crate) fn and(self, other: Losses) -> Losses {
        Losses {
            full: self.full.wrapping_add(other.full),
            conflated: self.conflated.wrapping_add(other.conflated),
            unwanted: self.unwanted.wrapping_add(other.unwanted),
        }
    }

    /// What there is more than in `before`.
    pub(crate) fn since(self, before: Losses) -> Losses {
        Losses {
            full: self.full.wrapping_sub(before.full),
            conflated: self.conflated.wrapping_sub(before.conflated),
            unwanted: self.unwanted.wrapping_sub(before.unwanted),
        }
    }
}

/// What the reading end counts. Changed by that end alone: the reader, or a conflation under its lock.
#[derive(Debug)]
pub(super) struct Tally {
    unwanted: AtomicU64,
    replaced: AtomicU64,
    crowded_out: AtomicU64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally {
            unwanted: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            crowded_out: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&self, loss: Loss) {
        add(&self.replaced, loss.replaced);
        add(&self.crowded_out, loss.crowded_out);
    }

    pub(super) fn add_unwanted(&self) {
        add(&self.unwanted, 1);
    }

    fn losses(&self) -> Losses {
        Losses {
            full: self.crowded_out.load(Ordering::Relaxed),
            conflated: self.replaced.load(Ordering::Relaxed),
            unwanted: self.unwanted.load(Ordering::Relaxed),
        }
    }
}

/// Only one thread at a time changes a count.
fn add(count: &AtomicU64, more: u64) {
    if more > 0 {
        let now = count.load(Ordering::Relaxed);
        count.store(now.wrapping_add(more), Ordering::Relaxed);
    }
}

/// Of a pipe, or of the one that a conflation hands on to.
pub(super) fn of(shared: &Shared, conflation: Option<&Conflation>) -> Losses {
    match conflation {
        Some(conflation) => conflation.tally().losses(),
        None => Losses {
            full: shared.writer.refused.load(Ordering::Relaxed),
            ..Losses::default()
        }
        .and(shared.reader.tally.losses()),
    }
}

impl Writer {
    /// The pipe was full, and a message for it was dropped.
    #[cold]
    pub(crate) fn note_refused(&mut self) {
        add(&self.shared.writer.refused, 1);
    }

    /// What was dropped here so far.
    pub(crate) fn losses(&self) -> Losses {
        of(&self.shared, None)
    }
}

impl Reader {
    /// A message that was read is of no use.
    #[cold]
    pub(crate) fn note_unwanted(&mut self) {
        match &self.conflation {
            Some(conflation) => conflation.note_unwanted(),
            None => self.shared.reader.tally.add_unwanted(),
        }
    }

    /// As [`Writer::losses`].
    pub(crate) fn losses(&self) -> Losses {
        of(&self.shared, self.conflation.as_deref())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::Message;
    use crate::pipe::{conflating, pipe, Limits, Terms, Tuning};

    #[test]
    fn both_ends_see_what_either_dropped() {
        let limits = Limits {
            messages: 1,
            bytes: 1000,
        };
        let (mut writer, mut reader) = pipe(limits, Tuning::INPROC);
        writer.note_refused();
        writer.note_refused();
        reader.note_unwanted();
        let losses = Losses {
            full: 2,
            conflated: 0,
            unwanted: 1,
        };
        assert_eq!(
            (writer.losses(), reader.losses(), reader.counts().losses()),
            (losses, losses, losses)
        );
        assert_eq!(losses.since(losses), Losses::default());
        assert_eq!(losses.and(Losses::default()), losses);
    }

    #[test]
    fn what_a_conflation_drops_is_seen_at_both_of_its_pipes() {
        let replaced = Arc::new(AtomicU64::new(0));
        let (mut writer, mut reader) = conflating(Tuning::INPROC, Terms::newest(&replaced));
        for text in ["a", "b", "c"] {
            writer.append_message(&Message::from(text));
            writer.publish_and_signal();
        }
        assert!(reader.read_message().is_some());
        reader.note_unwanted();
        let losses = Losses {
            full: 0,
            conflated: 2,
            unwanted: 1,
        };
        assert_eq!((writer.losses(), reader.losses()), (losses, losses));
    }
}
