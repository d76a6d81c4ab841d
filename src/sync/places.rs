//! Places of which there is a limited number.

use super::atomic::{AtomicUsize, Ordering};
use super::Arc;

/// How many places are taken.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[must_use = "a place that is dropped is free again"]
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Places {
    pub(crate) fn new() -> Self {
        Places(Arc::new(AtomicUsize::new(0)))
    }

    /// A place for one more, unless so many are taken. Counted and checked in one step: of any number that ask at
    /// once as many get one as there are.
    pub(crate) fn claim(&self, limit: usize) -> Option<Place> {
        let mut taken = self.0.load(Ordering::Acquire);
        while taken < limit {
            let next = taken + 1;
            let result =
                self.0
                    .compare_exchange_weak(taken, next, Ordering::AcqRel, Ordering::Acquire);
            match result {
                Ok(_) => return Some(Place(Arc::clone(&self.0))),
                Err(now) => taken = now,
            }
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new();
        let first = places.claim(2);
        let second = places.claim(2);
        assert!(first.is_some() && second.is_some());
        assert!(places.claim(2).is_none());
        drop(first);
        // Who was refused has taken nothing.
        let third = places.claim(2);
        assert!(third.is_some());
        assert!(places.claim(2).is_none());
        assert!(places.claim(3).is_some(), "a higher limit counts at once");
    }

    #[test]
    fn of_many_that_ask_at_once_as_many_get_one_as_there_are() {
        const THREADS: usize = 4;
        for limit in 1..=THREADS {
            for _ in 0..200 {
                let places = Places::new();
                let start = Barrier::new(THREADS);
                let claim = || {
                    start.wait();
                    places.claim(limit)
                };
                let taken: Vec<Option<Place>> = std::thread::scope(|scope| {
                    let claims: Vec<_> = (0..THREADS).map(|_| scope.spawn(claim)).collect();
                    let claims = claims.into_iter();
                    claims.map(|claim| claim.join().unwrap()).collect()
                });
                assert_eq!(taken.iter().flatten().count(), limit);
            }
        }
    }
}
