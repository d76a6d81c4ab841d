//! Pauses before retries.

use std::time::Duration;

use super::{Random, LONGEST};

/// The pause before a retry: drawn from zero to an upper end that starts at `base` and doubles with
/// every retry up to `max` ("full jitter": clients that lost the same server do not come back in one
/// moment).
///
/// ```
/// use std::time::Duration;
/// use sinew_patterns::common::{Backoff, Random};
///
/// let backoff = Backoff { base: Duration::from_millis(10), max: Duration::from_millis(25) };
/// let mut random = Random::new(1);
/// assert!(backoff.pause(0, &mut random) <= Duration::from_millis(10));
/// assert!(backoff.pause(50, &mut random) <= Duration::from_millis(25));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Default: 50 ms.
    pub base: Duration,
    /// Default: 2 s.
    pub max: Duration,
}

impl Backoff {
    /// The pause before retry number `retry`, counted from 0. At most `max`, and at most 30 days.
    #[must_use]
    pub fn pause(&self, retry: u32, random: &mut Random) -> Duration {
        let range = self.base.saturating_mul(1 << retry.min(20)).min(self.max);
        random.up_to(range.min(LONGEST))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            base: Duration::from_millis(50),
            max: Duration::from_secs(2),
        }
    }
}
