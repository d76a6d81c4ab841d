//! One timer per slot, in order of time. Setting and clearing are logarithmic.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, usize)>,
    by_slot: HashMap<usize, Instant>,
}

impl Timers {
    /// Sets, moves or clears the timer of a slot.
    pub(super) fn set(&mut self, slot: usize, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_slot.insert(slot, at),
            None => self.by_slot.remove(&slot),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, slot));
        }
        if let Some(at) = at {
            self.queue.insert((at, slot));
        }
    }

    /// When the first timer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due, and clears it.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let (at, slot) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.by_slot.remove(&slot);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_list_of_times(
            steps in proptest::collection::vec((0usize..6, proptest::option::of(0u64..50), 0u64..50), 0..200)
        ) {
            let base = crate::sync::clock::now();
            let at = |n| base + Duration::from_millis(n);
            let mut timers = Timers::default();
            let mut model: HashMap<usize, u64> = HashMap::new();
            for (slot, time, now) in steps {
                timers.set(slot, time.map(at));
                match time {
                    Some(time) => { model.insert(slot, time); }
                    None => { model.remove(&slot); }
                }
                prop_assert_eq!(timers.next(), model.values().min().map(|n| at(*n)));
                while let Some(due) = timers.pop_due(at(now)) {
                    let time = model.remove(&due);
                    prop_assert!(time.is_some_and(|t| t <= now));
                    prop_assert!(model.values().all(|t| *t >= time.unwrap()));
                }
                prop_assert!(model.values().all(|t| *t > now));
            }
        }
    }
}
