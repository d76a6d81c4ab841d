//! The retry budget: a token bucket that calls fill and retries empty.

/// Bounds retries to a share of the calls: over any time, retries ≤ `ratio` × calls + `burst`.
///
/// A retry counts when it is decided on. It is sent when its pause is over and a server takes it.
///
/// ```
/// use sinew_patterns::common::RetryBudget;
///
/// let one_in_ten = RetryBudget { ratio_percent: 10, burst: 5 };
/// assert_ne!(one_in_ten, RetryBudget::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries per hundred calls. Default: 20.
    pub ratio_percent: u32,
    /// Retries that may be saved up, and are there at the start. With 0 there is none ever, whatever the share, since shares
    /// are saved up until they are a whole one: for little more than the share take 1. Default: 10.
    pub burst: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget {
            ratio_percent: 20,
            burst: 10,
        }
    }
}

/// The bucket. Counts hundredths of a retry, so that no rounding gives any away.
#[derive(Debug)]
pub(crate) struct Bucket {
    budget: Option<RetryBudget>,
    level: u64,
}

impl Bucket {
    pub(crate) fn new(budget: Option<RetryBudget>) -> Self {
        Bucket {
            budget,
            level: budget.map_or(0, |budget| u64::from(budget.burst) * ONE),
        }
    }

    /// A call adds its share.
    pub(crate) fn fill(&mut self) {
        if let Some(budget) = self.budget {
            let full = u64::from(budget.burst) * ONE;
            self.level = (self.level + u64::from(budget.ratio_percent)).min(full);
        }
    }

    /// A request that nobody needs yet takes one; whether there was one to spare. Half of what may be saved up is left
    /// for the retries of those that fail.
    pub(crate) fn take_spare(&mut self) -> bool {
        let kept = self
            .budget
            .map_or(0, |budget| u64::from(budget.burst) * ONE / 2);
        (self.budget.is_none() || self.level >= kept + ONE) && self.take()
    }

    /// A retry takes one; whether there was one.
    pub(crate) fn take(&mut self) -> bool {
        if self.budget.is_none() {
            return true;
        }
        let allowed = self.level >= ONE;
        if allowed {
            self.level -= ONE;
        }
        allowed
    }
}

/// One retry.
const ONE: u64 = 100;

#[cfg(test)]
mod tests {
    use super::{Bucket, RetryBudget, ONE};
    use crate::common::Random;

    /// SUB-03: over any window, and nothing is held back that the bound allows from the start on.
    #[test]
    fn no_window_has_more_retries_than_its_share_and_the_burst() {
        let mut random = Random::new(3);
        for round in 0..2000 {
            let budget = RetryBudget {
                ratio_percent: random.below(150) as u32,
                burst: random.below(4) as u32,
            };
            let burst = u64::from(budget.burst) * ONE;
            let mut bucket = Bucket::new(Some(budget));
            // Of the window that ends now and has most: hundredths of retries beyond the share of its calls.
            let (mut most, mut retries) = (0, 0);
            let mut full = burst;
            for _ in 0..200 {
                if random.below(3) == 0 {
                    bucket.fill();
                    most = u64::saturating_sub(most, u64::from(budget.ratio_percent));
                    full = (full + u64::from(budget.ratio_percent)).min(burst);
                    continue;
                }
                let spare = random.below(4) == 0;
                let taken = match spare {
                    true => bucket.take_spare(),
                    false => bucket.take(),
                };
                assert_eq!(taken, full >= ONE + if spare { burst / 2 } else { 0 });
                if taken {
                    (most, retries, full) = (most + ONE, retries + 1, full - ONE);
                }
                assert!(most <= burst, "round {round}: {budget:?}");
            }
            assert!(budget.burst > 0 || retries == 0, "what is said of none");
        }
    }

    #[test]
    fn retries_are_a_share_of_the_calls() {
        let mut bucket = Bucket::new(Some(RetryBudget {
            ratio_percent: 20,
            burst: 3,
        }));
        let mut taken = 0;
        for _ in 0..1000 {
            bucket.fill();
            taken += u32::from(bucket.take());
        }
        // The other half is left for those that fail.
        let mut bucket = Bucket::new(Some(RetryBudget {
            ratio_percent: 20,
            burst: 4,
        }));
        let spare = std::iter::from_fn(|| bucket.take_spare().then_some(())).count();
        let rest = std::iter::from_fn(|| bucket.take().then_some(())).count();
        assert_eq!((spare, rest), (2, 2));
        assert_eq!(
            taken,
            1000 / 5 + 2,
            "the burst was full, so the first share is lost"
        );
    }

    #[test]
    fn no_budget_is_no_limit() {
        let mut bucket = Bucket::new(None);
        assert!((0..1000).all(|_| bucket.take()));
    }
}
