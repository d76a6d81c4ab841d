//! One socket for many threads and tasks.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::builder::{SocketBuilder, SocketKind};
use super::options::SocketOptions;
use super::readiness::{Interest, Pollable};
use super::roles::{Receiver, Sender, Shareable};
use super::task::block_on;
use crate::config::{HighWaterMark, OptionError};
use crate::error::{RecvError, SendError, SendFailure};
use crate::message::{IntoMessage, Message};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{clock, lock, wake, Arc, Mutex};

/// A handle to a socket (or a part of one) that can be cloned and used by many threads and tasks at once.
///
/// Who has to wait waits in line: the first to come is the first to be served, threads and tasks alike, those
/// that receive in one line and those that send in another. While the first in line wakes up, at most 128 who
/// come running are served before it. The lock on the socket is held for an attempt
/// only, never while waiting, so that nobody who receives holds up who sends. Each message is received by
/// one of the handles.
///
/// A future that was polled once has a place in the line, and keeps it until it is ready or dropped. One that nobody
/// polls any more, though it was woken, holds up all behind it when it is first: after the 128 nobody is served.
/// So poll it or drop it: a future that lost a `select!` and is kept for later, or one in a task that is suspended for
/// long, belongs dropped. Blocking calls have no such trouble.
///
/// A send that waits for a certain peer holds up those behind it, also if their peers have room: for a ROUTER or a
/// SERVER prefer [`try_send`](Shared::try_send), or a high enough `send_hwm`. REQ and REP, which take turns, make no
/// sense here; many requests at once are what a [`Requester`](crate::Requester) is for.
///
/// ```compile_fail,E0277
/// let shared = sinew::Shared::new(sinew::Req::new());
/// ```
///
/// The options `send_timeout` and `recv_timeout` do not apply. The socket is closed when the last handle is gone.
///
/// ```
/// use sinew::{Pull, Push, Shared};
///
/// let (pull, endpoint) = Pull::builder().bound("tcp://127.0.0.1:*")?;
/// let mut push = Push::builder().connect(&endpoint)?;
/// for n in 0..100u8 {
///     push.send([n])?;
/// }
/// let pull = Shared::new(pull);
/// let workers: Vec<_> = (0..4)
///     .map(|_| {
///         let pull = pull.clone();
///         std::thread::spawn(move || (0..25).map(|_| pull.recv().unwrap().as_bytes().len()).sum::<usize>())
///     })
///     .collect();
/// let octets: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
/// assert_eq!(octets, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shared<S>(Arc<Inner<S>>);

struct Inner<S> {
    socket: Mutex<S>,
    receivers: Line,
    senders: Line,
}

impl<S: Shareable> Shared<S> {
    /// The first handle.
    pub fn new(socket: S) -> Self {
        Shared(Arc::new(Inner {
            socket: Mutex::new(socket),
            receivers: Line::default(),
            senders: Line::default(),
        }))
    }
}

impl<S: SocketKind + Shareable> Shared<S> {
    /// The options of the socket as they are now.
    #[must_use]
    pub fn options(&self) -> SocketOptions<S> {
        SocketOptions::of(lock(&self.0.socket).shell())
    }

    /// Changes options of the socket, as [`Push::reconfigure`](crate::Push::reconfigure) does. High-water marks
    /// act on the peers there are by the next call for each direction.
    ///
    /// ```
    /// use sinew::{HighWaterMark, Push, Shared};
    ///
    /// let push = Shared::new(Push::new());
    /// push.clone().reconfigure(|options| options.send_hwm(10))?;
    /// assert_eq!(push.options().send_hwm(), HighWaterMark::new(10));
    /// # Ok::<(), sinew::OptionError>(())
    /// ```
    ///
    /// # Errors
    /// If an option has an impossible value or cannot be changed. Nothing is changed then.
    pub fn reconfigure(
        &self,
        change: impl FnOnce(SocketBuilder<S>) -> SocketBuilder<S>,
    ) -> Result<(), OptionError> {
        self.with(|socket| SocketBuilder::reconfigure(socket, change))
    }

    /// Changes how many messages (and octets) may be queued per peer for sending; see
    /// [`Push::set_send_hwm`](crate::Push::set_send_hwm).
    ///
    /// # Errors
    /// If the mark is 0.
    pub fn set_send_hwm(&self, hwm: impl Into<HighWaterMark>) -> Result<(), OptionError> {
        self.reconfigure(|options| options.send_hwm(hwm))
    }

    /// Changes how many received messages (and octets) may be queued per peer; see
    /// [`Pull::set_recv_hwm`](crate::Pull::set_recv_hwm).
    ///
    /// # Errors
    /// If the mark is 0.
    pub fn set_recv_hwm(&self, hwm: impl Into<HighWaterMark>) -> Result<(), OptionError> {
        self.reconfigure(|options| options.recv_hwm(hwm))
    }

    /// Changes how long queued messages outlive the socket; see [`Push::set_linger`](crate::Push::set_linger).
    ///
    /// # Errors
    /// None.
    pub fn set_linger(&self, linger: impl Into<Option<Duration>>) -> Result<(), OptionError> {
        self.reconfigure(|options| options.linger(linger))
    }
}

impl<S> Shared<S> {
    /// Does something with the socket that the handle has no method for: connecting, subscribing, reading
    /// counters. Everyone else waits meanwhile, so it should not take long.
    pub fn with<R>(&self, action: impl FnOnce(&mut S) -> R) -> R {
        // If it waited, it has taken the wake-ups from those who wait in line. They ask the socket again.
        let _line = (AskAgain(&self.0.receivers), AskAgain(&self.0.senders));
        action(&mut lock(&self.0.socket))
    }

    /// The socket itself.
    ///
    /// # Errors
    /// If there are other handles; this one comes back.
    pub fn into_inner(self) -> Result<S, Self> {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Ok(match inner.socket.into_inner() {
                Ok(socket) => socket,
                Err(poisoned) => poisoned.into_inner(),
            }),
            Err(shared) => Err(Shared(shared)),
        }
    }
}

impl<S: Receiver> Shared<S> {
    /// Receives the next message, waiting in line for it.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv(&self) -> Result<S::Item, RecvError> {
        self.recv_until(None)
    }

    /// Receives a message if one is there, and it is not the turn of somebody who waits in line.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] otherwise; see [`RecvError`] for others.
    #[inline]
    pub fn try_recv(&self) -> Result<S::Item, RecvError> {
        match self.0.receivers.may_overtake() {
            true => lock(&self.0.socket).try_recv(),
            false => Err(RecvError::WouldBlock),
        }
    }

    /// Receives the next message, waiting in line for it at most this long.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if none came in time; see [`RecvError`] for others.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<S::Item, RecvError> {
        self.recv_until(clock::now().checked_add(timeout))
    }

    /// Receives the next message, for a task of any executor, or of none.
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it gives up the place in the line, and loses
    /// nothing. Once polled, poll it or drop it: others wait behind it (see [`Shared`]).
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_async(&self) -> Result<S::Item, RecvError> {
        match self.try_recv() {
            Err(RecvError::WouldBlock) => {}
            done => return done,
        }
        let mut place = Place::new(&self.0.receivers);
        poll_fn(|cx| place.poll(cx, |cx| lock(&self.0.socket).poll_recv(cx))).await
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<S::Item, RecvError> {
        match self.try_recv() {
            Err(RecvError::WouldBlock) => {}
            done => return done,
        }
        let waited = block_on(self.recv_async(), deadline);
        waited.unwrap_or(Err(RecvError::Timeout))
    }
}

impl<S: Sender> Shared<S> {
    /// Sends a message, waiting in line until a peer can take it.
    ///
    /// # Errors
    /// See [`SendFailure`]; the message is in the error.
    #[inline]
    pub fn send(&self, message: impl IntoMessage) -> Result<(), SendError> {
        self.send_until(message, None)
    }

    /// Sends a message if a peer can take it now, and it is not the turn of somebody who waits in line.
    ///
    /// # Errors
    /// [`WouldBlock`](SendFailure::WouldBlock) otherwise; the message is in the error.
    #[inline]
    pub fn try_send(&self, message: impl IntoMessage) -> Result<(), SendError> {
        let message = message.into();
        match self.0.senders.may_overtake() {
            true => lock(&self.0.socket).try_send(message),
            false => Err(SendError::new(SendFailure::WouldBlock, message)),
        }
    }

    /// Sends a message, waiting in line at most this long until a peer can take it.
    ///
    /// # Errors
    /// [`Timeout`](SendFailure::Timeout) if none could; the message is in the error.
    pub fn send_timeout(
        &self,
        message: impl IntoMessage,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.send_until(message, clock::now().checked_add(timeout))
    }

    /// Sends a message, for a task of any executor, or of none.
    ///
    /// # Cancel safety
    /// A message is sent as a whole when the future is ready, and not at all before: dropping the future gives
    /// up the place in the line, and drops the message. Once polled, poll it or drop it: others wait behind it (see
    /// [`Shared`]).
    ///
    /// # Errors
    /// See [`SendFailure`]; the message is in the error.
    pub async fn send_async(&self, message: impl IntoMessage) -> Result<(), SendError> {
        let Err(error) = self.try_send(message) else {
            return Ok(());
        };
        if error.reason() != SendFailure::WouldBlock {
            return Err(error);
        }
        let mut unsent = Some(error.into_message());
        self.send_in_line(&mut unsent).await
    }

    async fn send_in_line(&self, unsent: &mut Option<Message>) -> Result<(), SendError> {
        let mut place = Place::new(&self.0.senders);
        poll_fn(|cx| place.poll(cx, |cx| lock(&self.0.socket).poll_send(cx, unsent))).await
    }

    #[inline]
    fn send_until(
        &self,
        message: impl IntoMessage,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let Err(error) = self.try_send(message) else {
            return Ok(());
        };
        if error.reason() != SendFailure::WouldBlock {
            return Err(error);
        }
        let mut unsent = Some(error.into_message());
        let sent = block_on(self.send_in_line(&mut unsent), deadline);
        match (sent, unsent) {
            (Some(sent), _) => sent,
            (None, Some(message)) => Err(SendError::new(SendFailure::Timeout, message)),
            (None, None) => Ok(()),
        }
    }
}

impl<S: Pollable> Shared<S> {
    /// Whether something could be received (or sent) now, by whoever comes first.
    #[must_use]
    pub fn is_ready(&self, interest: Interest) -> bool {
        let readiness = lock(&self.0.socket).readiness();
        !readiness.among(interest).is_empty()
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("handles", &Arc::strong_count(&self.0))
            .finish_non_exhaustive()
    }
}

/// Those who wait, in the order in which they came. Only the first of them asks the socket, and is woken by it.
#[derive(Debug, Default)]
struct Line {
    queue: Mutex<Queue>,
    /// How many there are. A hint, for those who come.
    waiting: AtomicUsize,
    /// How many have overtaken the first of them.
    overtaken: AtomicUsize,
}

/// How many who come running are served before the first in line, which takes some time to wake up. If there
/// were none, every message would cost such a wake-up as soon as there is a line.
const OVERTAKE: usize = 128;

#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<(u64, Waker)>,
    last: u64,
}

impl Line {
    #[inline]
    fn may_overtake(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
            || self.overtaken.fetch_add(1, Ordering::Relaxed) < OVERTAKE
    }
}

/// When dropped, has the first in line ask the socket again.
struct AskAgain<'a>(&'a Line);

impl Drop for AskAgain<'_> {
    fn drop(&mut self) {
        let first = lock(&self.0.queue)
            .waiters
            .front()
            .map(|(_, waker)| waker.clone());
        first.into_iter().for_each(wake);
    }
}

/// A place in a line, once it has been taken.
struct Place<'a> {
    line: &'a Line,
    ticket: Option<u64>,
}

impl<'a> Place<'a> {
    fn new(line: &'a Line) -> Self {
        Place { line, ticket: None }
    }

    /// Attempts what is waited for, if it is this one's turn.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.take(cx.waker()) {
            return Poll::Pending;
        }
        let polled = attempt(cx);
        if polled.is_ready() {
            self.leave();
        }
        polled
    }

    /// Takes a place, or keeps it; whether it is the first.
    fn take(&mut self, waker: &Waker) -> bool {
        let mut queue = lock(&self.line.queue);
        let at = match self.ticket {
            Some(ticket) => queue.waiters.iter().position(|(of, _)| *of == ticket),
            None => None,
        };
        match at {
            Some(at) => {
                let former = std::mem::replace(&mut queue.waiters[at].1, waker.clone());
                // Without the lock: it may be the last that keeps a task, which may have a place in this line.
                drop(queue);
                drop(former);
                at == 0
            }
            None => {
                queue.last += 1;
                let ticket = queue.last;
                queue.waiters.push_back((ticket, waker.clone()));
                let count = queue.waiters.len();
                self.line.waiting.store(count, Ordering::Relaxed);
                self.ticket = Some(ticket);
                count == 1
            }
        }
    }

    /// Gives the place up. If it was the first, the next one is.
    fn leave(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut queue = lock(&self.line.queue);
        let at = queue.waiters.iter().position(|(of, _)| *of == ticket);
        let former = at.and_then(|at| queue.waiters.remove(at));
        let count = queue.waiters.len();
        self.line.waiting.store(count, Ordering::Relaxed);
        if at == Some(0) {
            self.line.overtaken.store(0, Ordering::Relaxed);
        }
        let next = queue.waiters.front().filter(|_| at == Some(0));
        let next = next.map(|(_, waker)| waker.clone());
        drop(queue);
        drop(former);
        next.into_iter().for_each(wake);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
