//! A budget of octets that the pipes of a context share.
//!
//! A pipe has credit of its own, and that is all that a send looks at. When it has used it up, which is a cold
//! path, it gets more only as far as the budget has room: the octets that it holds, and a step ahead of
//! them, are its [`Lease`], and are counted in the budget. A reader that has read everything gives the
//! lease back. What a writer still has of its step it may then write uncounted, until it looks for credit again,
//! or finds the reader asleep.
//!
//! A pipe that holds nothing may always take one message. So everybody makes progress, whoever has used
//! the budget up; and one message and one step for each pipe is the most by which it can be exceeded. Who is
//! refused waits for its own reader, as without a budget: only that one makes room that is worth having.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    step: u64,
    /// All leases, what is [`Held`], and what is on its way from one lease to the next.
    used: AtomicU64,
}

/// The most that a pipe gets ahead of what it holds: about what one read brings.
#[cfg(not(loom))]
const STEP: u64 = 64 * 1024;

/// A message in a model check, and a little of the next.
#[cfg(loom)]
const STEP: u64 = 5;

/// With a small budget, this part of it.
const SHARE: u64 = 64;

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Budget {
            limit,
            step: (limit / SHARE).clamp(1, STEP),
            used: AtomicU64::new(0),
        }
    }

    /// Octets counted now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether nothing is left.
    pub(super) fn is_used_up(&self) -> bool {
        self.used() >= self.limit
    }

    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// Counts `needed` octets in place of `had`, and a step on top of them as far as there is room; returns that.
    fn exchange(&self, had: u64, needed: u64) -> u64 {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            // Never less: everything that somebody has is counted.
            let now = used - had + needed;
            let ahead = self.step.min(self.limit.saturating_sub(now));
            match self.used.compare_exchange_weak(
                used,
                now + ahead,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return ahead,
                Err(other) => used = other,
            }
        }
    }

    fn give_back(&self, octets: u64) {
        if octets > 0 {
            self.used.fetch_sub(octets, Ordering::AcqRel);
        }
    }
}

/// What a pipe has of a budget, if there is one.
///
/// Whoever changes it takes all of it first, by a swap, so nothing is given back twice. Only the writer puts
/// something there.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Option<Arc<Budget>>,
    octets: AtomicU64,
}

impl Lease {
    pub(super) fn new(budget: Option<Arc<Budget>>) -> Self {
        Lease {
            budget,
            octets: AtomicU64::new(0),
        }
    }

    pub(super) fn budget(&self) -> Option<&Budget> {
        self.budget.as_deref()
    }

    /// Counts what the pipe holds, and returns how many octets it may take on top. A pipe that holds
    /// nothing gets nothing: many may be looked at, and only some be used. By the writer only.
    pub(super) fn cover(&self, held: u64) -> u64 {
        let Some(budget) = &self.budget else {
            return u64::MAX;
        };
        let had = self.octets.swap(0, Ordering::AcqRel);
        if held == 0 {
            budget.give_back(had);
            return 0;
        }
        let ahead = budget.exchange(had, held);
        // A swap, as there is nothing that it could replace: nobody else puts anything there.
        self.octets.swap(held + ahead, Ordering::AcqRel);
        ahead
    }

    /// The pipe holds nothing any more.
    #[cold]
    pub(super) fn give_back(&self) {
        let Some(budget) = &self.budget else {
            return;
        };
        budget.give_back(self.octets.swap(0, Ordering::AcqRel));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Octets held elsewhere than in a pipe, counted for as long as this is there.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    octets: u64,
}

impl Held {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Held {
            budget: Arc::clone(budget),
            octets: 0,
        }
    }

    /// From now on it is so many.
    pub(crate) fn set(&mut self, octets: u64) {
        let before = std::mem::replace(&mut self.octets, octets);
        if octets > before {
            self.budget
                .used
                .fetch_add(octets - before, Ordering::AcqRel);
        } else {
            self.budget.give_back(before - octets);
        }
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.budget.is_used_up()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.octets);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
