//! The one place that reads the clock, so that everything else can be driven by a virtual one.

use std::time::Instant;

/// The current time of the monotonic clock.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}
