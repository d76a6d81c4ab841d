//! Waiting for tokens of a bucket that threads and tasks share.

use std::thread;
use std::time::{Duration, Instant};

use super::{RetryAfter, TokenBucket};
use crate::common::LONGEST;

impl TokenBucket {
    /// Takes tokens, all or none, waiting for them at most so long. Who waits has no place in a queue: others may take
    /// what it waits for.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use sinew_patterns::flow::TokenBucket;
    ///
    /// let bucket = TokenBucket::new(1000.0, 1, Instant::now());
    /// for _ in 0..3 {
    ///     bucket.take(1, Duration::from_secs(60))?;
    /// }
    /// # Ok::<(), sinew_patterns::flow::RetryAfter>(())
    /// ```
    ///
    /// # Errors
    /// If they will not be there in that time, at once, without waiting for it.
    pub fn take(&self, n: u32, timeout: Duration) -> Result<(), RetryAfter> {
        let end = Instant::now().checked_add(timeout);
        while let Some(at) = self.attempt(n, end)? {
            thread::sleep(at.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// The same for a task of any executor. If the future is dropped before it is ready, no tokens were taken.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub async fn take_async(&self, n: u32, timeout: Duration) -> Result<(), RetryAfter> {
        let end = Instant::now().checked_add(timeout);
        while let Some(at) = self.attempt(n, end)? {
            sinew::sleep_until(at).await;
        }
        Ok(())
    }

    /// `None`: they are taken; or when to try again, if that is before the end.
    fn attempt(&self, n: u32, end: Option<Instant>) -> Result<Option<Instant>, RetryAfter> {
        let now = Instant::now();
        let Err(RetryAfter(wait)) = self.try_take(now, n) else {
            return Ok(None);
        };
        let left = end.map_or(LONGEST, |end| end.saturating_duration_since(now));
        match wait <= left {
            true => Ok(Some(now + wait.min(LONGEST))),
            false => Err(RetryAfter(wait)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_waits_gets_them_and_who_waits_in_vain_is_told_at_once() {
        let begin = Instant::now();
        let bucket = TokenBucket::new(1000.0, 2, begin);
        for _ in 0..10 {
            bucket.take(1, LONG).unwrap();
            block_on(bucket.take_async(1, LONG)).unwrap();
        }
        assert!(
            begin.elapsed() >= Duration::from_millis(18),
            "two were there"
        );
        // More than it ever holds.
        assert!(bucket.take(3, LONG).is_err());
        assert!(block_on(bucket.take_async(3, LONG)).is_err());
        let slow = TokenBucket::new(0.001, 1, begin);
        slow.take(1, Duration::ZERO).unwrap();
        let RetryAfter(wait) = slow.take(1, LONG).unwrap_err();
        assert!(wait > LONG);
    }
}
