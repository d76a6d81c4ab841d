//! Deadlines by name: set, moved, cancelled, and taken in order.
//!
//! A tree of (time, key) and a map from key to time. A heap with deletion marks would be simpler, but a
//! heartbeat that moves its deadline a thousand times would leave a thousand marks behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Timers, at most one per key.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sinew_patterns::common::Timers;
///
/// let start = Instant::now();
/// let mut timers = Timers::new();
/// timers.set("later", start + Duration::from_secs(2));
/// timers.set("soon", start + Duration::from_secs(1));
/// assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
/// assert_eq!(timers.expire(start), None);
/// assert_eq!(timers.expire(start + Duration::from_secs(9)), Some("soon"));
/// ```
#[derive(Debug, Clone)]
pub struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Timers<K> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Timers {
            by_time: BTreeSet::new(),
            by_key: BTreeMap::new(),
        }
    }

    /// Sets a timer, in place of an earlier one of the same key.
    pub fn set(&mut self, key: K, at: Instant) {
        match self.by_key.insert(key.clone(), at) {
            Some(before) if before == at => {}
            Some(before) => {
                let stale = (before, key);
                self.by_time.remove(&stale);
                self.by_time.insert((at, stale.1));
            }
            None => {
                self.by_time.insert((at, key));
            }
        }
    }

    /// Sets a timer, or cancels it.
    pub fn set_or_cancel(&mut self, key: K, at: Option<Instant>) {
        match at {
            Some(at) => self.set(key, at),
            None => {
                self.cancel(&key);
            }
        }
    }

    /// Cancels a timer; whether there was one.
    pub fn cancel(&mut self, key: &K) -> bool {
        match self.by_key.remove_entry(key) {
            Some((key, at)) => self.by_time.remove(&(at, key)),
            None => false,
        }
    }

    /// Takes a timer whose time has come: the earliest first, and of equal ones the lesser key.
    pub fn expire(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// When the earliest timer ends.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// How many are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl<K: Ord + Clone> Default for Timers<K> {
    fn default() -> Self {
        Timers::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::common::Random;

    /// SUB-02: the order is exact and nothing fires twice or is lost, against a naive list.
    #[test]
    fn a_hundred_thousand_timers() {
        let start = Instant::now();
        let mut random = Random::new(2);
        let mut timers = Timers::new();
        let mut naive = BTreeMap::new();
        for key in 0..100_000u32 {
            let at = start + Duration::from_millis(random.below(3_600_000));
            timers.set(key, at);
            naive.insert(key, at);
            if random.below(3) == 0 {
                let victim = random.below(u64::from(key) + 1) as u32;
                assert_eq!(timers.cancel(&victim), naive.remove(&victim).is_some());
            }
            if random.below(3) == 0 {
                let moved = random.below(u64::from(key) + 1) as u32;
                let at = start + Duration::from_millis(random.below(3_600_000));
                timers.set(moved, at);
                naive.insert(moved, at);
            }
        }
        let mut expected: Vec<(Instant, u32)> =
            naive.into_iter().map(|(key, at)| (at, key)).collect();
        expected.sort_unstable();
        let mut fired = Vec::new();
        while let Some(next) = timers.next() {
            assert_eq!(timers.expire(next - Duration::from_nanos(1)), None);
            while let Some(key) = timers.expire(next) {
                fired.push((next, key));
            }
        }
        assert_eq!(fired, expected);
        assert!(timers.is_empty());
    }
}
