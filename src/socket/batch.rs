//! Several messages at once: the forms of sending a batch, for sockets that publish by topic and their sending parts.
//!
//! All of them are made of attempts that begin at the first message and end at one that fails, and tell which that is.
//! A task goes on from there at its next turn. It is not a message that waits, as with a single one: the batch is
//! borrowed, and what is left of it says all there is to know.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::deadline::Deadline;
use super::task;
use crate::error::{SendBatchError, SendFailure};

/// Blocking, non-blocking, deadline and asynchronous forms of sending a batch.
macro_rules! batch_methods {
    ($kind:literal) => {
        /// Sends one message after the other, each as [`send`](Self::send) does: in this order, to those who are
        /// subscribed when its turn has come, with what the options say of peers that have no room, and with the option
        /// `send_timeout` for each. Only the subscribers are found out for 32 messages at a time, which takes less time
        /// per message where there are thousands of topics: what is read of them comes from memory for all of these at
        /// once.
        ///
        /// The messages are borrowed. A [`Message`], [`Bytes`](bytes::Bytes) or [`Frame`](crate::Frame) is given on by
        /// reference; what cannot be shared, such as a `Vec<u8>`, is copied.
        ///
        /// ```
        /// use std::time::Duration;
        #[doc = concat!("use sinew::{", $kind, ", Sub};")]
        ///
        #[doc = concat!("let mut publisher = ", $kind, "::new();")]
        /// let endpoint = publisher.bind("tcp://127.0.0.1:*")?;
        /// let mut subscriber = Sub::new();
        /// subscriber.connect(&endpoint)?;
        /// subscriber.subscribe("weather.")?;
        /// publisher.wait_for_subscribers(1, Duration::from_secs(10))?;
        ///
        /// let batch = ["weather.rain", "sports.tennis", "weather.sun"];
        /// if let Err(error) = publisher.send_batch(&batch) {
        ///     println!("{error}; left: {:?}", error.unsent(&batch));
        /// }
        /// assert_eq!(subscriber.recv()?.as_bytes(), b"weather.rain");
        /// assert_eq!(subscriber.recv()?.as_bytes(), b"weather.sun");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        ///
        /// # Errors
        /// If one message fails as with [`send`](Self::send), no more are sent. The error tells
        /// [which were sent](crate::SendBatchError::sent), [what was not](crate::SendBatchError::unsent), and why: see
        /// [`SendFailure`](crate::SendFailure).
        ///
        /// # Panics
        /// If the conversion of a message of a type of your own does. It is not sent then, and up to 31 before it may not
        /// have been sent either: they are converted before the first of them is sent. Nobody tells how many were. The
        /// socket can be used as before. All of this holds for the other forms as well.
        pub fn send_batch<M: IntoMessage + Clone>(
            &mut self,
            messages: &[M],
        ) -> Result<(), crate::error::SendBatchError> {
            let timeout = self.shell.settings.config.send_timeout;
            self.send_batch_by(messages, || Deadline::after(timeout))
        }

        /// As [`send_batch`](Self::send_batch), and each message as [`try_send`](Self::try_send) does.
        ///
        /// # Errors
        /// As for [`send_batch`](Self::send_batch); [`WouldBlock`](crate::SendFailure::WouldBlock) where it would wait.
        pub fn try_send_batch<M: IntoMessage + Clone>(
            &mut self,
            messages: &[M],
        ) -> Result<(), crate::error::SendBatchError> {
            self.send_batch_by(messages, || Deadline::Now)
        }

        /// As [`send_batch`](Self::send_batch), and waits at most this long for all of the messages together. The option
        /// `send_timeout` does not apply.
        ///
        /// # Errors
        /// As for [`send_batch`](Self::send_batch); [`Timeout`](crate::SendFailure::Timeout) at a message for which a
        /// peer had no room when the time was over.
        pub fn send_batch_timeout<M: IntoMessage + Clone>(
            &mut self,
            messages: &[M],
            timeout: std::time::Duration,
        ) -> Result<(), crate::error::SendBatchError> {
            let deadline = Deadline::after(Some(timeout));
            self.send_batch_by(messages, || deadline)
        }

        /// As [`send_batch`](Self::send_batch), and waits at most until this time, whichever message it is for. The
        /// option `send_timeout` does not apply.
        ///
        /// # Errors
        /// As for [`send_batch_timeout`](Self::send_batch_timeout).
        pub fn send_batch_deadline<M: IntoMessage + Clone>(
            &mut self,
            messages: &[M],
            deadline: std::time::Instant,
        ) -> Result<(), crate::error::SendBatchError> {
            self.send_batch_by(messages, || Deadline::At(deadline))
        }

        /// As [`send_batch`](Self::send_batch), for a task of any executor, or of none. After each 256 messages other
        /// tasks have their turn. The option `send_timeout` applies to each message.
        ///
        /// # Cancel safety
        /// Each message is sent as a whole or not at all. Dropped before it is ready, the future has sent some messages
        /// from the beginning of the batch, or none, and nobody tells how many. Where that matters, use
        /// [`poll_send_batch`](Self::poll_send_batch).
        ///
        /// # Errors
        /// As for [`send_batch`](Self::send_batch).
        pub async fn send_batch_async<M: IntoMessage + Clone>(
            &mut self,
            messages: &[M],
        ) -> Result<(), crate::error::SendBatchError> {
            let timeout = self.shell.settings.config.send_timeout;
            super::batch::transmit(messages, timeout, |messages, deadline| {
                self.send_batch_by(messages, || deadline)
            })
            .await
        }

        /// Sends what is in `left`, as [`send_batch`](Self::send_batch) does, and takes off it what was sent. If a peer
        /// has no room the rest stays there, and the task is woken when it may be worth another try. It is woken at once
        /// if 256 messages were sent and there are more: other tasks have their turn. What
        /// [`send_batch_async`](Self::send_batch_async) is made of. The option `send_timeout` does not apply.
        ///
        /// Whoever keeps `left` may give a send up at any time, and knows what was sent:
        ///
        /// ```
        /// use std::future::poll_fn;
        #[doc = concat!("use sinew::", $kind, ";")]
        ///
        #[doc = concat!("async fn publish(publisher: &mut ", $kind, ", left: &mut &[String]) -> Result<(), sinew::SendFailure> {")]
        ///     poll_fn(|cx| publisher.poll_send_batch(cx, left)).await
        /// }
        /// ```
        ///
        /// # Errors
        /// See [`SendFailure`](crate::SendFailure). The message that failed is the first of `left` then.
        ///
        /// # Panics
        /// As [`send_batch`](Self::send_batch), and `left` is what it was.
        pub fn poll_send_batch<M: IntoMessage + Clone>(
            &mut self,
            cx: &mut std::task::Context<'_>,
            left: &mut &[M],
        ) -> std::task::Poll<Result<(), crate::error::SendFailure>> {
            super::batch::poll_transmit(cx, left, |messages, deadline| {
                self.send_batch_by(messages, || deadline)
            })
        }
    };
}

pub(super) use batch_methods;

/// How many messages a task sends before others have their turn. Few enough to take well under a millisecond where they
/// are short, and many enough for that not to be felt.
const MESSAGES_PER_TURN: usize = 256;

/// How a turn of a task ended.
enum Turn {
    /// Everything is sent.
    Done,
    /// There is more, and nothing to wait for.
    Over,
    /// Somebody has no room for the first message that is left. The task is woken when that may have changed.
    Full,
    Failed(SendFailure),
}

/// Sends as much as there is room for, and takes it off `left`.
fn take_turn<M>(
    waker: &Waker,
    left: &mut &[M],
    attempt: impl FnOnce(&[M], Deadline<'_>) -> Result<(), SendBatchError>,
) -> Turn {
    let turn = &left[..left.len().min(MESSAGES_PER_TURN)];
    let done = attempt(turn, Deadline::Task(waker));
    let sent = done.map_or_else(|error| error.sent(), |()| turn.len());
    *left = &left[sent..];
    match done {
        Ok(()) if left.is_empty() => Turn::Done,
        Ok(()) => Turn::Over,
        Err(error) if error.reason() == SendFailure::Timeout => Turn::Full,
        Err(error) => Turn::Failed(error.reason()),
    }
}

/// One turn of a task.
pub(super) fn poll_transmit<M>(
    cx: &Context<'_>,
    left: &mut &[M],
    attempt: impl FnOnce(&[M], Deadline<'_>) -> Result<(), SendBatchError>,
) -> Poll<Result<(), SendFailure>> {
    match take_turn(cx.waker(), left, attempt) {
        Turn::Done => Poll::Ready(Ok(())),
        Turn::Over => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Turn::Full => Poll::Pending,
        Turn::Failed(reason) => Poll::Ready(Err(reason)),
    }
}

/// Sends all of them; waits at most so long for each.
pub(super) async fn transmit<M>(
    messages: &[M],
    timeout: Option<Duration>,
    mut attempt: impl FnMut(&[M], Deadline<'_>) -> Result<(), SendBatchError>,
) -> Result<(), SendBatchError> {
    let mut left = messages;
    // Of the message that waits.
    let mut limit = None;
    poll_fn(|cx| {
        let before = left.len();
        let turn = take_turn(cx.waker(), &mut left, &mut attempt);
        if left.len() < before {
            limit = None;
        }
        let reason = match turn {
            Turn::Done => return Poll::Ready(Ok(())),
            Turn::Over => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Turn::Full => {
                if limit.is_none() {
                    limit = task::alarm(timeout);
                }
                if !task::is_over(&mut limit, cx) {
                    return Poll::Pending;
                }
                SendFailure::Timeout
            }
            Turn::Failed(reason) => reason,
        };
        let sent = messages.len() - left.len();
        Poll::Ready(Err(SendBatchError::new(sent, reason)))
    })
    .await
}
