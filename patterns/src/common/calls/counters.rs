//! What a client counts about its calls, and how long replies took.

use std::time::Duration;

#[cfg(doc)]
use super::RetryPolicy;

/// How long replies took: from when a request was sent until its reply, or the first part of it, was here. Of calls that
/// were sent once: whether the reply to another is to its first attempt or a later one, nobody knows (Karn and Partridge
/// 1987).
///
/// ```
/// use std::time::Duration;
/// use sinew_patterns::common::RoundTrips;
///
/// let before = RoundTrips::default();
/// let mut after = before;
/// (after.count, after.total) = (4, Duration::from_millis(10));
/// assert_eq!(after.mean_since(&before), Some(Duration::from_micros(2500)));
/// assert_eq!(after.mean_since(&after), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RoundTrips {
    /// How many were measured.
    pub count: u64,
    /// All of them together.
    pub total: Duration,
    /// The last one.
    pub last: Duration,
    /// The longest one.
    pub longest: Duration,
}

impl RoundTrips {
    /// The mean of those measured since this earlier state; `None` if there were none.
    #[must_use]
    pub fn mean_since(&self, earlier: &RoundTrips) -> Option<Duration> {
        let count = self
            .count
            .checked_sub(earlier.count)
            .filter(|count| *count > 0)?;
        let nanos = self.total.saturating_sub(earlier.total).as_nanos() / u128::from(count);
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }

    pub(super) fn note(&mut self, took: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(took);
        self.last = took;
        self.longest = self.longest.max(took);
    }
}

/// What a client has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallCounters {
    /// Calls begun.
    pub calls: u64,
    /// Calls that ended with a reply.
    pub replies: u64,
    /// Calls that ended without one.
    pub failures: u64,
    /// Requests sent, retries included.
    pub attempts: u64,
    /// Requests sent again, hedges included.
    pub retries: u64,
    /// Requests sent to a second server while the first had not replied yet
    /// ([`RetryPolicy::hedge_after`]).
    pub hedges: u64,
    /// Retries that the budget did not allow.
    pub over_budget: u64,
    /// Requests that a server had no room for.
    pub rejected: u64,
    /// Replies that came after their call was over, or from an attempt that was given up.
    pub stale_replies: u64,
    /// Messages that are no replies to any call, or not of the protocol.
    pub malformed: u64,
    /// Calls refused because too many were running, or all servers failed.
    pub refused: u64,
    /// How long replies took.
    pub rtt: RoundTrips,
}
