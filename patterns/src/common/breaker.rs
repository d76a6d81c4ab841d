//! The circuit breaker: whoever fails again and again is left alone for a while.

use std::time::{Duration, Instant};

use super::{Backoff, Random};

/// When a [`Breaker`] opens, and for how long.
///
/// ```
/// use sinew_patterns::common::BreakerConfig;
///
/// let patient = BreakerConfig { failures: 20, ..BreakerConfig::default() };
/// assert_ne!(patient, BreakerConfig::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it; 0 counts as 1. Default: 5.
    pub failures: u32,
    /// How long it stays open: from half of an upper end to all of it, where the upper end begins at
    /// `base` and doubles up to `max` while probes fail. Default: 1 s to 30 s.
    pub pause: Backoff,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            failures: 5,
            pause: Backoff {
                base: Duration::from_secs(1),
                max: Duration::from_secs(30),
            },
        }
    }
}

/// Whether one server is asked.
///
/// *Closed*: it is. After so many failures in a row *open*: it is not, until the pause is over; then one
/// request, the probe, decides between closed and open again.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::common::{Breaker, BreakerConfig, Random};
///
/// let (now, mut random) = (Instant::now(), Random::new(1));
/// let mut breaker = Breaker::new(BreakerConfig { failures: 1, ..BreakerConfig::default() });
/// breaker.begin(now);
/// breaker.failure(now, &mut random);
/// assert!(!breaker.allows(now));
/// let later = breaker.opens_at().unwrap();
/// assert!(breaker.allows(later));
/// ```
#[derive(Debug, Clone)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    opened: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, times: u32 },
    Probing { times: u32 },
}

impl Breaker {
    /// Closed.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Breaker {
            config,
            state: State::Closed { failures: 0 },
            opened: 0,
        }
    }

    /// Whether a request may go now.
    #[must_use]
    pub fn allows(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, .. } => now >= until,
            State::Probing { .. } => false,
        }
    }

    /// When a request may go, if not now, and as far as time alone decides.
    #[must_use]
    pub fn opens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            _ => None,
        }
    }

    /// A request goes.
    pub fn begin(&mut self, now: Instant) {
        if let State::Open { until, times } = self.state {
            if now >= until {
                self.state = State::Probing { times };
            }
        }
    }

    /// A request was answered.
    pub fn success(&mut self) {
        // Also while open: a late answer shows that the server is there.
        self.state = State::Closed { failures: 0 };
    }

    /// A request was lost, or not answered in time.
    pub fn failure(&mut self, now: Instant, random: &mut Random) {
        match self.state {
            State::Closed { failures } if failures + 1 < self.config.failures.max(1) => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
            }
            State::Closed { .. } => self.open(0, now, random),
            State::Probing { times } => self.open(times.saturating_add(1), now, random),
            // An earlier request, from before it was opened.
            State::Open { .. } => {}
        }
    }

    /// A request ended without anything being learned, such as one that its caller gave up.
    pub fn abandon(&mut self, now: Instant) {
        if let State::Probing { times } = self.state {
            self.state = State::Open { until: now, times };
        }
    }

    /// How often it was opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    fn open(&mut self, times: u32, now: Instant, random: &mut Random) {
        let Backoff { base, max } = self.config.pause;
        let range = base
            .saturating_mul(1 << times.min(20))
            .min(max)
            .min(super::LONGEST);
        let pause = range / 2 + random.up_to(range / 2);
        self.opened += 1;
        self.state = State::Open {
            until: now + pause,
            times,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_probes_and_closes() {
        let start = Instant::now();
        let mut random = Random::new(1);
        let mut breaker = Breaker::new(BreakerConfig {
            failures: 3,
            ..BreakerConfig::default()
        });
        for _ in 0..2 {
            breaker.failure(start, &mut random);
        }
        breaker.success();
        for _ in 0..2 {
            breaker.failure(start, &mut random);
            assert!(breaker.allows(start));
        }
        breaker.failure(start, &mut random);
        assert!(!breaker.allows(start));
        let mut now = breaker.opens_at().unwrap();
        assert!(now >= start + Duration::from_millis(500) && now <= start + Duration::from_secs(1));
        for _ in 0..20 {
            assert!(breaker.allows(now));
            breaker.begin(now);
            assert!(!breaker.allows(now), "one probe at a time");
            breaker.failure(now, &mut random);
            let next = breaker.opens_at().unwrap();
            assert!(next <= now + Duration::from_secs(30));
            now = next;
        }
        assert_eq!(breaker.opened(), 21);
        breaker.begin(now);
        breaker.abandon(now);
        assert!(breaker.allows(now), "the probe told nothing");
        breaker.begin(now);
        breaker.success();
        assert!(breaker.allows(now) && breaker.opens_at().is_none());
    }
}
