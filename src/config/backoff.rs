//! The delays between attempts to connect: exponential, with full jitter if nothing else is asked for.
//!
//! A pure state machine: it reads no clock and draws no random numbers, so a test can name every
//! delay. The algorithm is "Full Jitter" of Marc Brooker, *Exponential Backoff And Jitter* (2015).

use std::time::Duration;

use super::timing::Jitter;
use super::ReconnectPolicy;

/// Where an endpoint stands in its sequence of attempts.
///
/// Failed attempts *and* connections lost before the handshake was complete go on with the
/// sequence; only [`Backoff::reset`] starts it over.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    policy: ReconnectPolicy,
    /// Doublings done so far; stops where the next would pass the longest delay.
    doublings: u32,
}

impl Backoff {
    pub(crate) fn new(policy: ReconnectPolicy) -> Self {
        Backoff {
            policy,
            doublings: 0,
        }
    }

    /// How long to wait before the next attempt, given 64 random bits; `None` to give up.
    pub(crate) fn next_delay(&mut self, random: u64) -> Option<Duration> {
        let ceiling = self.ceiling()?;
        if self.policy.range().is_some_and(|range| ceiling < range.max) {
            self.doublings += 1;
        }
        // The multiplication maps the 64 bits evenly onto 0..=ceiling and cannot overflow.
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX - 1);
        let drawn = ((u128::from(nanos) + 1) * u128::from(random)) >> 64;
        let drawn = Duration::from_nanos(drawn as u64);
        Some(match self.policy.jitter() {
            Jitter::Full => drawn,
            Jitter::Added => ceiling.saturating_add(drawn),
            Jitter::None => ceiling,
        })
    }

    /// The upper end of the range the next delay is drawn from (its lower end, if jitter is added).
    pub(crate) fn ceiling(&self) -> Option<Duration> {
        let range = self.policy.range()?;
        let factor = 1u32.checked_shl(self.doublings).unwrap_or(u32::MAX);
        Some(range.initial.saturating_mul(factor).min(range.max))
    }

    /// Starts the sequence over. To be called when a handshake is complete, and then only.
    pub(crate) fn reset(&mut self) {
        self.doublings = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Backoff;
    use crate::config::ReconnectPolicy;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_range_doubles_up_to_the_longest_and_starts_over_on_reset() {
        let mut backoff = Backoff::new(ReconnectPolicy::default());
        let mut ceilings = Vec::new();
        for _ in 0..12 {
            // All ones draw the upper end itself.
            let ceiling = backoff.ceiling();
            assert_eq!(backoff.next_delay(u64::MAX), ceiling);
            ceilings.push(ceiling.unwrap().as_millis());
        }
        assert_eq!(
            ceilings,
            [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]
        );
        backoff.reset();
        assert_eq!(backoff.next_delay(0), Some(Duration::ZERO));
        assert_eq!(backoff.next_delay(1 << 63), Some(ms(100)));
    }

    #[test]
    fn without_jitter_the_ceilings_themselves_are_the_delays() {
        let policy = ReconnectPolicy::backoff(ms(100), ms(500)).without_jitter();
        let mut backoff = Backoff::new(policy);
        let delays: Vec<_> = [0, u64::MAX, 7, 0, 1].map(|r| backoff.next_delay(r)).into();
        assert_eq!(delays, [100, 200, 400, 500, 500].map(|n| Some(ms(n))));
    }

    #[test]
    fn a_constant_delay_grows_by_chance_only() {
        let mut backoff = Backoff::new(ReconnectPolicy::constant(ms(100)));
        for _ in 0..3 {
            assert_eq!(backoff.next_delay(0), Some(ms(100)));
            assert_eq!(backoff.next_delay(1 << 63), Some(ms(150)));
            assert_eq!(backoff.next_delay(u64::MAX), Some(ms(200)));
        }
        let exact = ReconnectPolicy::constant(ms(100)).without_jitter();
        assert_eq!(Backoff::new(exact).next_delay(u64::MAX), Some(ms(100)));
    }

    #[test]
    fn never_is_never() {
        let mut backoff = Backoff::new(ReconnectPolicy::never());
        assert_eq!(backoff.next_delay(7), None);
        backoff.reset();
        assert_eq!(backoff.ceiling(), None);
    }

    proptest! {
        #[test]
        fn follows_the_naive_model(
            initial in 1u64..5_000,
            extra in 0u64..100_000_000,
            steps in proptest::collection::vec((any::<u64>(), any::<bool>()), 1..80),
        ) {
            let max = initial + extra;
            let mut backoff = Backoff::new(ReconnectPolicy::backoff(ms(initial), ms(max)));
            let mut model = u128::from(initial);
            for (random, reset) in steps {
                let ceiling = ms(u64::try_from(model).unwrap());
                prop_assert_eq!(backoff.ceiling(), Some(ceiling));
                let delay = backoff.next_delay(random).unwrap();
                prop_assert!(delay <= ceiling);
                // Within a nanosecond of the exact fraction.
                let exact = ceiling.as_nanos() as f64 * (random as f64 / 2f64.powi(64));
                prop_assert!((delay.as_nanos() as f64 - exact).abs() <= 2.0);
                model = (model * 2).min(u128::from(max));
                if reset {
                    backoff.reset();
                    model = u128::from(initial);
                }
            }
        }
    }
}
