//! Waiting for a time, for tasks of any executor: the timer of the `_async` operations, for whoever builds on them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::Alarm;

/// A future that is ready when this time has come; at once, if it has passed.
///
/// No runtime is needed: the thread that keeps the times of all `_async` operations wakes the task. It exists
/// while something waits for a time, and a second longer. What is promised is *not before*; how long after depends on
/// how soon the system runs that thread and the executor the task.
///
/// # Cancel safety
/// Dropping the future takes the time out of that thread's list, and does nothing else.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// # futures::executor::block_on(async {
/// let end = Instant::now() + Duration::from_millis(10);
/// sinew::sleep_until(end).await;
/// assert!(Instant::now() >= end);
/// # });
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub fn sleep_until(at: Instant) -> Sleep {
    Sleep(Alarm::new(at))
}

/// What [`sleep_until`] returns.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Sleep(Alarm);

impl Sleep {
    /// The time it waits for.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.0.at()
    }
}

impl Future for Sleep {
    type Output = ();

    /// Ready as often as it is polled, once the time has come.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.0.poll(context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}
