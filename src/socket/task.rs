//! The asynchronous forms, made of the same attempts as the blocking ones.
//!
//! An attempt by [`Deadline::Task`] either does the whole operation or nothing, and sees to it in the latter
//! case that the task is woken when another is worth it. So dropping a future loses nothing: between two
//! polls it holds nothing but the message that has not been sent.

use std::future::{poll_fn, Future};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::deadline::Deadline;
use crate::error::{RecvError, SendError, SendFailure};
use crate::message::Message;
use crate::sync::{clock, Alarm};

/// One attempt of a task to receive.
pub(super) fn poll_receive<T>(
    cx: &Context<'_>,
    attempt: impl FnOnce(Deadline<'_>) -> Result<T, RecvError>,
) -> Poll<Result<T, RecvError>> {
    match attempt(Deadline::Task(cx.waker())) {
        Err(RecvError::Timeout) => Poll::Pending,
        done => Poll::Ready(done),
    }
}

/// Receives; waits at most so long.
#[inline]
pub(super) async fn receive<T>(
    timeout: Option<Duration>,
    mut attempt: impl FnMut(Deadline<'_>) -> Result<T, RecvError>,
) -> Result<T, RecvError> {
    // As a rule there is something, and nothing of what follows is needed.
    match attempt(Deadline::Glance) {
        Err(RecvError::WouldBlock) => {}
        done => return done,
    }
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        // It is no wait, and there is nothing to be learned from it about those to come.
        return attempt(Deadline::Now).map_err(|error| match error {
            RecvError::WouldBlock => RecvError::Timeout,
            other => other,
        });
    }
    let mut limit = alarm(timeout);
    poll_fn(|cx| match poll_receive(cx, &mut attempt) {
        Poll::Pending if is_over(&mut limit, cx) => Poll::Ready(Err(RecvError::Timeout)),
        polled => polled,
    })
    .await
}

/// One attempt of a task to send what is in `message`, which stays there if it has to wait. With nothing in
/// there is nothing to do.
pub(super) fn poll_transmit(
    cx: &Context<'_>,
    message: &mut Option<Message>,
    attempt: impl FnOnce(Message, Deadline<'_>) -> Result<(), SendError>,
) -> Poll<Result<(), SendError>> {
    let Some(given) = message.take() else {
        return Poll::Ready(Ok(()));
    };
    match attempt(given, Deadline::Task(cx.waker())) {
        Err(error) if error.reason() == SendFailure::Timeout => {
            *message = Some(error.into_message());
            Poll::Pending
        }
        done => Poll::Ready(done),
    }
}

/// Sends what an attempt without waiting has given back; waits at most so long.
///
/// For who has seen that this attempt failed: the future of this call is large, and making it takes longer than
/// sending a message.
pub(super) async fn transmit(
    first: SendError,
    timeout: Option<Duration>,
    mut attempt: impl FnMut(Message, Deadline<'_>) -> Result<(), SendError>,
) -> Result<(), SendError> {
    if first.reason() != SendFailure::WouldBlock {
        return Err(first);
    }
    let mut unsent = Some(first);
    let mut alarm = alarm(timeout);
    poll_fn(|cx| {
        let Some(error) = unsent.take() else {
            return Poll::Ready(Ok(()));
        };
        match attempt(error.into_message(), Deadline::Task(cx.waker())) {
            Err(error) if error.reason() == SendFailure::Timeout && !is_over(&mut alarm, cx) => {
                unsent = Some(error);
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    })
    .await
}

/// Waits until something is so, which `attempt` finds out; at most until a time.
pub(super) async fn until(
    deadline: Option<Instant>,
    mut attempt: impl FnMut(Deadline<'_>) -> bool,
) -> bool {
    let mut alarm = deadline.map(Alarm::new);
    poll_fn(|cx| {
        if attempt(Deadline::Task(cx.waker())) {
            Poll::Ready(true)
        } else if is_over(&mut alarm, cx) {
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    })
    .await
}

pub(super) fn alarm(timeout: Option<Duration>) -> Option<Alarm> {
    let timeout = timeout?;
    clock::now().checked_add(timeout).map(Alarm::new)
}

/// Whether its time has come; if not, the task is woken then.
pub(super) fn is_over(alarm: &mut Option<Alarm>, cx: &Context<'_>) -> bool {
    alarm.as_mut().is_some_and(|alarm| alarm.poll(cx.waker()))
}

/// Runs a future on this thread; `None` if the time was over first.
pub(super) fn block_on<T>(future: impl Future<Output = T>, deadline: Option<Instant>) -> Option<T> {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return Some(done);
        }
        match deadline.map(|deadline| deadline.saturating_duration_since(clock::now())) {
            None => std::thread::park(),
            Some(Duration::ZERO) => return None,
            Some(left) => std::thread::park_timeout(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who asks again and again for no time is not looked for anything: that would be in vain, and held against later waits.
    #[test]
    fn a_receive_of_no_time_does_not_wait() {
        let mut attempts = Vec::new();
        let mut receive_for = |timeout, last| {
            attempts.clear();
            let received = block_on(
                receive(Some(timeout), |deadline| {
                    attempts.push(matches!(deadline, Deadline::Task(_)));
                    match deadline {
                        Deadline::Glance | Deadline::Now if attempts.len() == 1 => {
                            Err::<(), _>(RecvError::WouldBlock)
                        }
                        _ => Err(last),
                    }
                }),
                None,
            );
            (received, attempts.clone())
        };
        let nothing = Some(Err(RecvError::Timeout));
        let now = Duration::ZERO;
        let asked = receive_for(now, RecvError::WouldBlock);
        assert_eq!(asked, (nothing, vec![false, false]));
        let terminated = receive_for(now, RecvError::Terminated).0;
        assert_eq!(terminated, Some(Err(RecvError::Terminated)));
        let (waited, attempts) = receive_for(Duration::from_nanos(1), RecvError::Timeout);
        assert_eq!(waited, nothing);
        assert!(attempts.len() > 1 && attempts[1..].iter().all(|task| *task));
    }
}
