//! A look at how much has gone through a pipe, for whoever has neither of its ends.

use super::conflate::Conflation;
use super::losses::{self, Losses};
use super::{Arc, Ordering, Reader, Shared};

/// Reads the counts that the two ends keep for each other. Costs them nothing. It keeps what is unread
/// when both ends have been let go of: it should not be kept for long after them. (It is not: over inproc, the only
/// place that keeps it, the entry of a connection goes when either socket ends it or is closed, which is before that
/// socket lets go of its end; and who waits for a name to be bound is struck off with its endpoint.)
#[derive(Clone)]
pub(crate) struct Counts {
    shared: Arc<Shared>,
    conflation: Option<Arc<Conflation>>,
}

/// What has gone through a pipe. The figures may be a few messages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Passed {
    /// Whole messages published. Of a pipe that conflates, those that were not replaced.
    pub(crate) messages: u64,
    /// Their octets on the wire.
    pub(crate) octets: u64,
    /// Messages that wait to be read, or were read and not acknowledged yet.
    pub(crate) queued: u64,
}

impl Reader {
    /// For looks at what comes through this pipe.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            shared: Arc::clone(&self.shared),
            conflation: self.conflation.clone(),
        }
    }
}

impl Counts {
    /// What was dropped here so far.
    pub(crate) fn losses(&self) -> Losses {
        losses::of(&self.shared, self.conflation.as_deref())
    }

    /// How many messages a reader that is gone has left, and nobody was told of. None of a reader that is there.
    ///
    /// To be called by one thread at a time, for instance by whoever ends a connection. It acknowledges them in place
    /// of the reader, so the writer finds those that it has published after.
    pub(crate) fn take_left(&self) -> u64 {
        let Shared {
            writer,
            reader,
            sleep,
        } = &*self.shared;
        // A conflation has both ends of the pipe that it hands on to.
        if self.conflation.is_some() || !sleep.reader_closed.load(Ordering::Acquire) {
            return 0;
        }
        let acked = reader.acked_messages.load(Ordering::Acquire);
        let published = writer.published_messages.load(Ordering::Acquire);
        let left = published.saturating_sub(acked);
        if left > 0 {
            reader.acked_messages.store(published, Ordering::Release);
        }
        left
    }

    pub(crate) fn passed(&self) -> Passed {
        let Shared { writer, reader, .. } = &*self.shared;
        // In this order: what was acknowledged had been published before.
        let acked = reader.acked_messages.load(Ordering::Acquire);
        let messages = writer.published_messages.load(Ordering::Acquire);
        let held = self.conflation.as_ref().map_or(0, |held| held.waiting());
        Passed {
            messages,
            octets: writer.published_bytes.load(Ordering::Acquire),
            queued: messages.saturating_sub(acked) + held,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::message::Message;
    use crate::pipe::{conflating, pipe, Limits, Terms, Tuning};
    use crate::sync::atomic::AtomicU64;

    use super::*;

    const LIMITS: Limits = Limits {
        messages: 10,
        bytes: 1000,
    };

    #[test]
    fn they_tell_what_both_ends_did() {
        let (mut writer, mut reader) = pipe(LIMITS, Tuning::INPROC);
        let counts = reader.counts();
        assert_eq!(counts.passed(), Passed::default());
        for _ in 0..3 {
            writer.append_message(&Message::from("12345"));
        }
        assert_eq!(counts.passed(), Passed::default(), "nothing is published");
        writer.publish_and_signal();
        let passed = |queued| Passed {
            messages: 3,
            octets: 3 * 7,
            queued,
        };
        assert_eq!(counts.passed(), passed(3));
        while reader.read_message().is_some() {}
        reader.acknowledge();
        assert_eq!(counts.passed(), passed(0));
        drop((writer, reader));
        assert_eq!(counts.passed(), passed(0));
    }

    #[test]
    fn what_a_reader_leaves_is_told_once() {
        let (mut writer, mut reader) = pipe(LIMITS, Tuning::INPROC);
        let counts = reader.counts();
        let mut send = |messages| {
            for _ in 0..messages {
                writer.append_message(&Message::from("12345"));
                writer.publish_and_signal();
            }
            writer.queued_messages()
        };
        assert_eq!(send(5), 5);
        assert!(reader.read_message().is_some());
        assert!(reader.read_message().is_some());
        assert_eq!(counts.take_left(), 0, "the reader is there");
        drop(reader);
        assert_eq!(send(0), 3, "what was read is not lost");
        assert_eq!(send(1), 4);
        assert_eq!((counts.take_left(), counts.take_left()), (4, 0));
        assert_eq!(send(2), 2, "those after are for the writer to tell");
    }

    #[test]
    fn what_a_reader_gives_up_is_told_once() {
        let replaced = Arc::new(AtomicU64::new(0));
        let (plain, conflating) = (
            pipe(LIMITS, Tuning::INPROC),
            conflating(Tuning::INPROC, Terms::newest(&replaced)),
        );
        // How many there are to give up of three, and of two that come after.
        for ((mut writer, mut reader), most) in [(plain, 3), (conflating, 1)] {
            for round in [3, 2] {
                for _ in 0..round {
                    writer.append_message(&Message::from("12345"));
                    writer.publish_and_signal();
                }
                let queued = most.min(round);
                assert_eq!(reader.queued_messages(), queued);
                assert_eq!((reader.give_up(), reader.give_up()), (queued, 0));
                assert_eq!(reader.queued_messages(), 0);
            }
        }
        assert_eq!(replaced.load(Ordering::Relaxed), 3, "none is told twice");
    }

    #[test]
    fn what_is_replaced_has_not_passed() {
        let replaced = Arc::new(AtomicU64::new(0));
        let (mut writer, mut reader) = conflating(Tuning::INPROC, Terms::newest(&replaced));
        let counts = reader.counts();
        for _ in 0..3 {
            writer.append_message(&Message::from("12345"));
            writer.publish_and_signal();
        }
        assert_eq!(counts.passed().queued, 1);
        assert!(reader.read_message().is_some());
        reader.acknowledge();
        let passed = Passed {
            messages: 1,
            octets: 7,
            queued: 0,
        };
        assert_eq!(counts.passed(), passed);
    }
}
