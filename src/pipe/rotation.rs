//! How long a stream leaves memory alone before it uses it again.
//!
//! What a reader on another core has just read is in that core's caches, and a writer that writes there again has to
//! take it from them, line by line. What has not been touched since a few megaoctets went through is in a cache that
//! both have in common, from where it comes several times as fast. Measured between two cores with second-level caches
//! of 1 MiB each (AMD EPYC), 64 octets at a time through a ring of memory: 10 to 19 ns per message where the ring has 64 or
//! 256 KiB, 7 to 10 with 1 MiB, 4 to 5 with 4 MiB, and 5 to 11 with 16 MiB.
//!
//! So a stream of short messages within a process gets more blocks than it needs to hold what is under way, and uses that
//! one again which has rested longest. Only a stream that goes on, from its first megaoctet or so on, and all of them
//! together no more than [`MOST`]; when it has stopped that is [freed](super::sweep).
//!
//! Long messages are not copied by their reader, whose caches then know nothing of them: their blocks are used again at
//! once, while they are in the writer's.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// Octets that a stream goes through: more than second-level caches have.
pub(super) const FAR: usize = 3 << 20;

/// Octets on top of what they need that all streams of the process have at most.
const MOST: usize = 32 << 20;

/// Blocks in a row after which a stream goes on.
#[cfg(not(loom))]
const STEADY: u8 = 16;

/// Few enough for a model check.
#[cfg(loom)]
const STEADY: u8 = 1;

/// Messages of so many octets on average are long.
const LONG: u64 = 1024;

/// A writer's.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    /// Blocks since the stream began, as far as it matters.
    blocks: u8,
    /// Where the last one began.
    octets: u64,
    messages: u64,
}

impl Rotation {
    /// One more block is needed where so many octets and messages have been written: how many octets are to be at
    /// rest before any is used again. `None` if it makes no difference, and what was in use last is best.
    pub(super) fn next(
        &mut self,
        octets: u64,
        messages: u64,
        far: usize,
        under_way: impl FnOnce() -> usize,
    ) -> Option<usize> {
        // Less than before if some were taken back.
        let written = octets.saturating_sub(std::mem::replace(&mut self.octets, octets));
        let ended = messages.saturating_sub(std::mem::replace(&mut self.messages, messages));
        if far == 0 || written >= ended.saturating_mul(LONG) {
            self.blocks = 0;
            return None;
        }
        if self.blocks < STEADY {
            self.blocks += 1;
            return Some(0);
        }
        Some(far.saturating_sub(under_way()))
    }

    /// It is no stream any more.
    pub(super) fn end(&mut self) {
        self.blocks = 0;
    }
}

/// So many octets that are left to be taken.
struct Allowance(AtomicUsize);

impl Allowance {
    /// Takes so many, if they are left.
    fn take(&self, octets: usize) -> bool {
        let less = |left: usize| left.checked_sub(octets);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    fn give_back(&self, octets: usize) {
        self.0.fetch_add(octets, Ordering::Relaxed);
    }
}

#[cfg(not(loom))]
static LEFT: Allowance = Allowance(AtomicUsize::new(MOST));

/// Takes so many octets of what all streams may have, if they are left.
#[cfg(not(loom))]
pub(super) fn take(octets: usize) -> bool {
    LEFT.take(octets)
}

/// After [`take`].
#[cfg(not(loom))]
pub(super) fn give_back(octets: usize) {
    LEFT.give_back(octets);
}

/// A model check has no memory that outlives it.
#[cfg(loom)]
pub(super) fn take(octets: usize) -> bool {
    let allowance = Allowance(AtomicUsize::new(MOST));
    allowance.take(octets)
}

#[cfg(loom)]
pub(super) fn give_back(octets: usize) {
    Allowance(AtomicUsize::new(0)).give_back(octets);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const BLOCK: u64 = 64 * 1024;

    /// What is to be at rest for each of so many blocks of messages of that length, of which one is under way.
    fn blocks(rotation: &mut Rotation, count: u64, message: u64) -> Vec<Option<usize>> {
        let (octets, messages) = (rotation.octets, rotation.messages);
        let next = |n| {
            let (octets, messages) = (octets + n * BLOCK, messages + n * BLOCK / message);
            rotation.next(octets, messages, FAR, || BLOCK as usize)
        };
        (1..=count).map(next).collect()
    }

    #[test]
    fn a_stream_that_goes_on_leaves_memory_alone() {
        let mut rotation = Rotation::default();
        let begin = blocks(&mut rotation, u64::from(STEADY), 66);
        assert!(begin.iter().all(|rest| *rest == Some(0)), "{begin:?}");
        let rest = FAR - BLOCK as usize;
        assert_eq!(blocks(&mut rotation, 2, 66), [Some(rest); 2]);
        rotation.end();
        assert_eq!(blocks(&mut rotation, 1, 66), [Some(0)]);
    }

    #[test]
    fn long_messages_are_no_such_stream() {
        let mut rotation = Rotation::default();
        assert_eq!(blocks(&mut rotation, 99, LONG), [None; 99]);
        blocks(&mut rotation, 99, 66);
        assert_eq!(blocks(&mut rotation, 1, 4096), [None]);
        assert_eq!(blocks(&mut rotation, 1, 66), [Some(0)]);
    }

    #[test]
    fn what_is_under_way_counts() {
        let mut rotation = Rotation::default();
        blocks(&mut rotation, 99, 66);
        let (octets, messages) = (rotation.octets + BLOCK, rotation.messages + 1000);
        assert_eq!(rotation.next(octets, messages, FAR, || FAR + 1), Some(0));
    }

    #[test]
    fn no_more_is_taken_than_there_is() {
        let allowance = Allowance(AtomicUsize::new(100));
        assert!(allowance.take(60) && !allowance.take(41) && allowance.take(40));
        assert!(!allowance.take(1));
        allowance.give_back(60);
        assert!(allowance.take(60));
    }
}
