//! The asynchronous forms, made of the same attempts as the blocking ones.
//!
//! An attempt by [`Deadline::Task`] either does the whole operation or nothing, and sees to it in the latter
//! case that the task is woken when another is worth it. So dropping a future loses nothing: between two
//! polls it holds nothing but the message that has not been sent.

use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::deadline::Deadline;
use crate::error::{RecvError, SendError, SendFailure};
use crate::message::Message;
use crate::pipe::Reader;
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
    let mut wait = Wait::default();
    poll_fn(|cx| wait.poll(cx, timeout, &mut attempt)).await
}

/// How far a receive has come.
#[derive(Debug, Default)]
struct Wait {
    /// There was nothing at the first look.
    began: bool,
    limit: Option<Alarm>,
}

impl Wait {
    fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        timeout: Option<Duration>,
        mut attempt: impl FnMut(Deadline<'_>) -> Result<T, RecvError>,
    ) -> Poll<Result<T, RecvError>> {
        if !self.began {
            // As a rule there is something, and nothing of what follows is needed.
            match attempt(Deadline::Glance) {
                Err(RecvError::WouldBlock) => {}
                done => return Poll::Ready(done),
            }
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                // It is no wait, and there is nothing to be learned from it about those to come.
                let received = attempt(Deadline::Now).map_err(|error| match error {
                    RecvError::WouldBlock => RecvError::Timeout,
                    other => other,
                });
                return Poll::Ready(received);
            }
            self.limit = alarm(timeout);
            self.began = true;
        }
        match poll_receive(cx, attempt) {
            Poll::Pending if is_over(&mut self.limit, cx) => Poll::Ready(Err(RecvError::Timeout)),
            polled => polled,
        }
    }
}

/// A receive of a message. What `at_hand` gives is the pipe that the next one is to be taken from, if it is there for
/// the taking; otherwise `attempt` says what there is.
///
/// This is written out, and no `async fn`, for what is at hand: it goes from the pipe right into the hands of the caller, as
/// in a receive that blocks. What an `async fn` returns is moved once more; and a move of a message waits until the stores
/// of the one before have reached the cache, which takes as long as everything else that a receive of 64 octets does.
#[must_use = "futures do nothing unless polled"]
pub(super) struct Receive<'a, S, H, L, A> {
    socket: &'a mut S,
    at_hand: H,
    timeout: L,
    attempt: A,
    wait: Wait,
}

/// Nothing in it is ever pinned.
impl<S, H, L, A> Unpin for Receive<'_, S, H, L, A> {}

impl<'a, S, H, L, A> Receive<'a, S, H, L, A>
where
    H: FnMut(&mut S) -> Option<&mut Reader>,
    L: FnMut(&S) -> Option<Duration>,
    A: FnMut(&mut S, Deadline<'_>) -> Result<Message, RecvError>,
{
    #[inline(always)]
    pub(super) fn new(socket: &'a mut S, at_hand: H, timeout: L, attempt: A) -> Self {
        Receive {
            socket,
            at_hand,
            timeout,
            attempt,
            wait: Wait::default(),
        }
    }

    #[cold]
    #[inline(never)]
    fn poll_otherwise(&mut self, cx: &Context<'_>) -> Poll<Result<Message, RecvError>> {
        let (socket, attempt) = (&mut *self.socket, &mut self.attempt);
        let timeout = (self.timeout)(socket);
        self.wait
            .poll(cx, timeout, |deadline| attempt(socket, deadline))
    }
}

impl<S, H, L, A> Future for Receive<'_, S, H, L, A>
where
    H: FnMut(&mut S) -> Option<&mut Reader>,
    L: FnMut(&S) -> Option<Duration>,
    A: FnMut(&mut S, Deadline<'_>) -> Result<Message, RecvError>,
{
    type Output = Result<Message, RecvError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match (this.at_hand)(this.socket) {
            Some(reader) => Poll::Ready(reader.take_message(RecvError::WouldBlock)),
            None => this.poll_otherwise(cx),
        }
    }
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
    let mut unsent = Unsent::new(first, timeout)?;
    poll_fn(|cx| unsent.poll(cx, &mut attempt)).await
}

/// What has to wait, and until when.
struct Unsent {
    error: Option<SendError>,
    limit: Option<Alarm>,
}

impl Unsent {
    fn new(first: SendError, timeout: Option<Duration>) -> Result<Self, SendError> {
        if first.reason() != SendFailure::WouldBlock {
            return Err(first);
        }
        Ok(Unsent {
            error: Some(first),
            limit: alarm(timeout),
        })
    }

    fn poll(
        &mut self,
        cx: &Context<'_>,
        attempt: impl FnOnce(Message, Deadline<'_>) -> Result<(), SendError>,
    ) -> Poll<Result<(), SendError>> {
        let Some(error) = self.error.take() else {
            return Poll::Ready(Ok(()));
        };
        match attempt(error.into_message(), Deadline::Task(cx.waker())) {
            Err(error)
                if error.reason() == SendFailure::Timeout && !is_over(&mut self.limit, cx) =>
            {
                self.error = Some(error);
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }
}

/// A send of a message. `first` is the attempt that does not wait, with what the caller has given; `attempt` all later ones.
///
/// No `async fn` for the same reason as [`Receive`]: what it returns has room for an error with the message in it, and all of
/// that is moved where there is none, too.
#[must_use = "futures do nothing unless polled"]
pub(super) struct Transmit<'a, S, M, L, F, A> {
    socket: &'a mut S,
    message: Option<M>,
    unsent: Option<Unsent>,
    timeout: L,
    first: F,
    attempt: A,
}

/// Nothing in it is ever pinned.
impl<S, M, L, F, A> Unpin for Transmit<'_, S, M, L, F, A> {}

impl<'a, S, M, L, F, A> Transmit<'a, S, M, L, F, A>
where
    L: FnMut(&S) -> Option<Duration>,
    F: FnMut(&mut S, M, Deadline<'_>) -> Result<(), SendError>,
    A: FnMut(&mut S, Message, Deadline<'_>) -> Result<(), SendError>,
{
    #[inline(always)]
    pub(super) fn new(socket: &'a mut S, message: M, timeout: L, first: F, attempt: A) -> Self {
        Transmit {
            socket,
            message: Some(message),
            unsent: None,
            timeout,
            first,
            attempt,
        }
    }

    #[cold]
    #[inline(never)]
    fn poll_first(&mut self, cx: &Context<'_>, first: SendError) -> Poll<Result<(), SendError>> {
        match Unsent::new(first, (self.timeout)(self.socket)) {
            Ok(unsent) => self.unsent = Some(unsent),
            Err(error) => return Poll::Ready(Err(error)),
        }
        self.poll_again(cx)
    }

    #[cold]
    #[inline(never)]
    fn poll_again(&mut self, cx: &Context<'_>) -> Poll<Result<(), SendError>> {
        let (socket, attempt) = (&mut *self.socket, &mut self.attempt);
        match &mut self.unsent {
            Some(unsent) => unsent.poll(cx, |message, deadline| attempt(socket, message, deadline)),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S, M, L, F, A> Future for Transmit<'_, S, M, L, F, A>
where
    L: FnMut(&S) -> Option<Duration>,
    F: FnMut(&mut S, M, Deadline<'_>) -> Result<(), SendError>,
    A: FnMut(&mut S, Message, Deadline<'_>) -> Result<(), SendError>,
{
    type Output = Result<(), SendError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(message) = this.message.take() else {
            return this.poll_again(cx);
        };
        match (this.first)(this.socket, message, Deadline::Glance) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => this.poll_first(cx, error),
        }
    }
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
    use super::super::{Pull, Push};
    use super::*;

    /// A future that is made and not polled has done nothing; one that is polled takes one message, however it came.
    #[test]
    fn futures_do_nothing_before_they_are_polled_and_one_thing_after() {
        let endpoint = "inproc://futures-that-are-not-polled";
        let mut pull = Pull::builder().bind(endpoint).unwrap();
        let mut push = Push::builder().connect(endpoint).unwrap();
        let total = 3 * 64;
        for number in 0..total {
            drop(push.send_async("never"));
            let sent = block_on(push.send_async(format!("{number}")), None);
            assert_eq!(sent, Some(Ok(())));
        }
        for number in 0..total {
            drop(pull.recv_async());
            let received = block_on(pull.recv_async(), None).unwrap().unwrap();
            assert_eq!(received.as_bytes(), format!("{number}").as_bytes());
        }
        assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
    }

    /// What could not be sent at the first attempt is offered again as it was, and comes back if the time is over.
    #[test]
    fn a_send_that_waits_offers_the_same_message_again() {
        let mut offered = Vec::new();
        let mut push = ();
        let send = Transmit::new(
            &mut push,
            "octets",
            |_| Some(Duration::from_millis(1)),
            |_, message: &str, deadline| {
                assert!(matches!(deadline, Deadline::Glance));
                Err(SendError::new(SendFailure::WouldBlock, message.into()))
            },
            |_, message, deadline| {
                assert!(matches!(deadline, Deadline::Task(_)));
                offered.push(message.clone());
                Err(SendError::new(SendFailure::Timeout, message))
            },
        );
        let error = block_on(send, None).unwrap().unwrap_err();
        assert_eq!(error.reason(), SendFailure::Timeout);
        assert_eq!(error.into_message(), Message::new("octets"));
        assert!(
            !offered.is_empty()
                && offered
                    .iter()
                    .all(|message| *message == Message::new("octets"))
        );
    }

    /// No wait that is over at once: what can never be sent comes back without another attempt.
    #[test]
    fn a_send_that_is_refused_does_not_wait() {
        let mut push = ();
        let send = Transmit::new(
            &mut push,
            "octets",
            |_| None,
            |_, message: &str, _| Err(SendError::new(SendFailure::Terminated, message.into())),
            |_, _, _| panic!("it is offered again"),
        );
        let error = block_on(send, None).unwrap().unwrap_err();
        assert_eq!(error.reason(), SendFailure::Terminated);
    }

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
