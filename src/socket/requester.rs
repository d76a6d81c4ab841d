//! Many requests at once over one socket.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use super::builder::sealed::Assemble;
use super::common::watch_methods;
use super::inbound::{interrupter, RecvHalf};
use super::outbound::SendHalf;
use super::shell::{await_closed, end_of, CloseReport, Ending, Shell};
use super::task;
use super::SocketBuilder;
use crate::config::{SocketConfig, LEAST_SEND_LIMIT};
use crate::context::Context;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::error::{
    BindError, ConnectError, RecvError, RequestError, SendError, SendFailure, UnknownEndpoint,
    WaitEnd, WaitTimeout,
};
use crate::io::{random, NoHooks, Port};
use crate::message::{IntoMessage, Message};
use crate::routing::{Outcome, Outstanding, Terms};
use crate::socket_type::SocketType;
use crate::sync::{clock, lock, wake, Mutex};

mod replies;

use replies::{Lending, Reads, Receiving};

/// Sends requests to its peers in turn, any number of them at once, and gives each its reply: what many
/// [`Req`](crate::Req) sockets would do, over one connection for each peer. Its peers are plain
/// [`Rep`](crate::Rep) sockets, of any implementation, or ROUTERs that return the envelope.
///
/// A handle can be cloned and used by many threads and tasks at once. Every request ends exactly once: with its reply,
/// at its deadline, or when the peer that has it is lost, if it may not be sent to another
/// ([`retries`](RequestOptions::retries)). Dropping a request that is waited for cancels it, which its peer is
/// not told.
///
/// Requests are sent to peers that are there ([`immediate`](SocketBuilder::immediate) is on by default), and wait for
/// one that has room and fewer than [`window`](SocketBuilder::window) requests in hand. A request may be carried out and have no reply; one that is retried may be carried out twice.
/// A thread of its own, named `sinew-requester`, receives the replies and keeps the time (and leaves looking for a reply, for
/// up to 50 µs, to a thread that makes one [`request`](Requester::request) after the other); it starts with the
/// first request and ends with the last handle.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Rep, RequestOptions, Requester};
///
/// let mut server = Rep::new();
/// let endpoint = server.bind("tcp://127.0.0.1:*")?;
/// std::thread::spawn(move || {
///     while let Ok(request) = server.recv() {
///         let _ = server.send(request);
///     }
/// });
/// let requester = Requester::builder()
///     .request_timeout(Duration::from_secs(10))
///     .connect(&endpoint)?;
///
/// let pending: Vec<_> = (0..100u8).map(|n| requester.submit([n])).collect();
/// for (n, request) in (0..100u8).zip(pending) {
///     assert_eq!(request.wait()?.as_bytes(), [n]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Requester {
    handle: Arc<Handle>,
}

const SHORTEST_ATTEMPT: Duration = Duration::from_millis(1);

/// How long a request may take, and how often it may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOptions {
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    retries: u32,
}

impl Default for RequestOptions {
    fn default() -> Self {
        RequestOptions {
            timeout: Some(Duration::from_secs(30)),
            attempt_timeout: None,
            retries: 0,
        }
    }
}

impl RequestOptions {
    /// How long a request may take in all, from when it is submitted. `None`: as long as its peer is there. Default:
    /// 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// How long one peer has for its reply before the next one in turn is asked, as far as there are
    /// [`retries`](Self::retries); then the request ends. The reply of the first one still counts, if it is the
    /// first to come. Who has been asked is passed over, and asked again only if no other peer is there that has
    /// room; the [window](SocketBuilder::window) counts
    /// requests, not how often they are sent. At least 1 ms, as which less is taken. `None`: as long as
    /// the request may take. Default: none.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.attempt_timeout = timeout.into();
        self
    }

    /// How often a request may be sent once more, to the next peer in turn that has not been asked, when the one that has
    /// it is lost or takes too long. For requests that may be carried out twice. Default: 0.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    fn terms(self) -> Terms {
        Terms {
            deadline: self.timeout.and_then(|time| clock::now().checked_add(time)),
            // Otherwise one that may be retried for ever would be sent again and again without a pause.
            attempt: self.attempt_timeout.map(|time| time.max(SHORTEST_ATTEMPT)),
            retries: self.retries,
        }
    }
}

impl SocketBuilder<Requester> {
    /// The [`timeout`](RequestOptions::timeout) of requests that are submitted without options. Default: 30 s.
    pub fn request_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.defaults = self.options.defaults.timeout(timeout);
        self
    }

    /// The [`attempt_timeout`](RequestOptions::attempt_timeout) of requests that are submitted without options.
    /// Default: none.
    pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.defaults = self.options.defaults.attempt_timeout(timeout);
        self
    }

    /// The [`retries`](RequestOptions::retries) of requests that are submitted without options. Default: 0.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.defaults = self.options.defaults.retries(retries);
        self
    }

    /// How many requests that have not ended one peer may have, at least 1; `None` for no limit. More of them wait, for
    /// another peer or until one has ended. Default: 500.
    ///
    /// A REP of libzmq drops replies that it has no room for, without a word. With its own default mark of 1000
    /// messages, of which it may take up to half for taken still after they have left, none is lost at 500.
    /// Requests that were cancelled or have timed out do not count, though their peer may still have them.
    pub fn window(mut self, requests: impl Into<Option<NonZeroU32>>) -> Self {
        self.options.window = requests.into();
        self
    }
}

/// The options of a [`Requester`] beside those of every socket.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    unreachable_pub,
    reason = "in a sealed trait, which is public and not nameable"
)]
pub struct RequesterOptions {
    defaults: RequestOptions,
    window: Option<NonZeroU32>,
}

impl Default for RequesterOptions {
    fn default() -> Self {
        RequesterOptions {
            defaults: RequestOptions::default(),
            window: NonZeroU32::new(500),
        }
    }
}

/// What all clones of a [`Requester`], and its requests, hold.
struct Handle {
    core: Arc<Core>,
    shell: Mutex<Shell>,
    /// Held by who waits until everything is sent.
    closing: Mutex<()>,
    defaults: RequestOptions,
    /// Whether the thread could be started.
    thread: OnceLock<bool>,
}

/// What the thread holds as well.
struct Core {
    port: Arc<Port>,
    state: Mutex<State>,
    /// What receives, while it is lent (see [`replies`]) and nobody has it. Nobody who holds this lock takes another.
    desk: Mutex<Option<Box<Receiving>>>,
    /// Has whoever receives look whether there is room for requests.
    room: Waker,
}

struct State {
    out: SendHalf,
    requests: Outstanding<Option<Waker>>,
    /// Until when the thread sleeps, if nothing comes.
    sleeps_until: Option<Instant>,
    lending: Lending,
    closed: bool,
}

impl Assemble for Requester {
    type Options = RequesterOptions;

    fn defaults() -> SocketConfig {
        SocketConfig {
            immediate: true,
            ..SocketConfig::default()
        }
    }

    fn assemble(config: SocketConfig, options: RequesterOptions, context: Context) -> Self {
        let window = options
            .window
            .map_or(usize::MAX, |window| window.get() as usize);
        let busy_poll = config.busy_poll;
        let port = Port::new(
            SocketType::Dealer,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        let state = State {
            out: SendHalf::new(Arc::clone(&port)),
            requests: Outstanding::new(random(), window),
            sleeps_until: None,
            lending: Lending::new(busy_poll),
            closed: false,
        };
        let inbound = RecvHalf::new(Arc::clone(&port)).note_every_end();
        Requester {
            handle: Arc::new(Handle {
                core: Arc::new(Core {
                    port: Arc::clone(&port),
                    state: Mutex::new(state),
                    desk: Mutex::new(Some(Receiving::new(inbound))),
                    room: interrupter(&port),
                }),
                shell: Mutex::new(Shell::new(port, context)),
                closing: Mutex::new(()),
                defaults: options.defaults,
                thread: OnceLock::new(),
            }),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        let handle = Arc::get_mut(&mut self.handle);
        match handle.map(|handle| handle.shell.get_mut()) {
            Some(Ok(shell)) => shell,
            Some(Err(poisoned)) => poisoned.into_inner(),
            None => unreachable!("only a builder calls this, and nobody has cloned what it builds"),
        }
    }
}

impl Requester {
    /// A requester with the default options, in the process-wide context.
    #[must_use]
    pub fn new() -> Self {
        Self::assemble(
            <Self as Assemble>::defaults(),
            RequesterOptions::default(),
            Context::default(),
        )
    }

    /// A builder with the default options.
    pub fn builder() -> SocketBuilder<Self> {
        SocketBuilder::new()
    }

    /// Sends a request and waits for its reply, with the default options of this requester.
    ///
    /// # Errors
    /// [`RequestError::Send`] if no peer could take the request in time, or before the requester was closed (it is in
    /// the error), [`RequestError::Recv`] if no reply came; the request may have been carried out then.
    pub fn request(&self, message: impl IntoMessage) -> Result<Message, RequestError> {
        self.request_with(message, self.handle.defaults)
    }

    /// As [`request`](Self::request), with other options.
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    pub fn request_with(
        &self,
        message: impl IntoMessage,
        options: RequestOptions,
    ) -> Result<Message, RequestError> {
        let request = self.begin(message.into(), options, true);
        request.wait()
    }

    /// As [`request`](Self::request), for a task of any executor, or of none.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request: it may have been carried out, and its reply is discarded.
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    pub async fn request_async(&self, message: impl IntoMessage) -> Result<Message, RequestError> {
        self.submit(message).await
    }

    /// As [`request_with`](Self::request_with), for a task of any executor, or of none.
    ///
    /// # Cancel safety
    /// As for [`request_async`](Self::request_async).
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    pub async fn request_with_async(
        &self,
        message: impl IntoMessage,
        options: RequestOptions,
    ) -> Result<Message, RequestError> {
        self.submit_with(message, options).await
    }

    /// Begins a request, with the default options of this requester, and does not wait. It is sent at once if a peer
    /// has room, and otherwise when one has.
    pub fn submit(&self, message: impl IntoMessage) -> PendingRequest {
        self.submit_with(message, self.handle.defaults)
    }

    /// As [`submit`](Self::submit), with other options.
    pub fn submit_with(
        &self,
        message: impl IntoMessage,
        options: RequestOptions,
    ) -> PendingRequest {
        self.begin(message.into(), options, false)
    }

    /// `waits`: for its reply, before it does anything else.
    fn begin(&self, message: Message, options: RequestOptions, waits: bool) -> PendingRequest {
        let handle = Arc::clone(&self.handle);
        let stage = match self.refusal(&message) {
            None => Stage::Begun(handle.core.begin(message, options.terms(), waits)),
            Some(reason) => Stage::Refused(Box::new(SendError::new(reason, message))),
        };
        PendingRequest { handle, stage }
    }

    /// How many requests have not ended.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        lock(&self.handle.core.state).requests.len()
    }

    /// Connects to an endpoint, as [`Dealer::connect`](crate::Dealer::connect) does.
    ///
    /// # Errors
    /// As for [`Dealer::connect`](crate::Dealer::connect).
    pub fn connect(&self, endpoint: impl ToEndpoint) -> Result<Endpoint, ConnectError> {
        lock(&self.handle.shell).connect(endpoint)
    }

    /// Binds to an endpoint, for peers that connect, as [`Dealer::bind`](crate::Dealer::bind) does.
    ///
    /// # Errors
    /// As for [`Dealer::bind`](crate::Dealer::bind).
    pub fn bind(&self, endpoint: impl ToEndpoint) -> Result<Endpoint, BindError> {
        lock(&self.handle.shell).bind(endpoint)
    }

    /// The options as they are now.
    #[must_use]
    pub fn options(&self) -> super::SocketOptions<Self> {
        super::SocketOptions::of(&lock(&self.handle.shell))
    }

    /// Changes options, as [`Push::reconfigure`](crate::Push::reconfigure) does.
    ///
    /// # Errors
    /// As there.
    pub fn reconfigure(
        &self,
        change: impl FnOnce(SocketBuilder<Self>) -> SocketBuilder<Self>,
    ) -> Result<(), crate::config::OptionError> {
        SocketBuilder::reconfigure_shell(&mut lock(&self.handle.shell), change)
    }

    /// Ends every connection to an endpoint. Requests that its peer has are as with a peer that is lost.
    ///
    /// # Errors
    /// If this requester is not connected to it.
    pub fn disconnect(&self, endpoint: impl ToEndpoint) -> Result<(), UnknownEndpoint> {
        lock(&self.handle.shell).close_endpoint(endpoint, false)
    }

    /// Unbinds from an endpoint, and ends the connections accepted through it.
    ///
    /// # Errors
    /// If this requester is not bound to it.
    pub fn unbind(&self, endpoint: impl ToEndpoint) -> Result<(), UnknownEndpoint> {
        lock(&self.handle.shell).close_endpoint(endpoint, true)
    }

    /// The endpoints this requester is bound to, wildcards replaced.
    #[must_use]
    pub fn bound_endpoints(&self) -> Vec<Endpoint> {
        lock(&self.handle.shell).endpoints(true)
    }

    watch_methods!(self => self.handle.core.port);

    /// Waits until there are at least this many peers with a completed handshake.
    ///
    /// # Errors
    /// If there were fewer when the time was over, or the requester was closed by another handle, or its context shut
    /// down; which of these, says [`WaitTimeout::reason`].
    pub fn wait_for_peers(&self, count: usize, timeout: Duration) -> Result<(), WaitTimeout> {
        // A time too far away to be told is never.
        let end = clock::now().checked_add(timeout);
        let gathering = self.handle.core.port.peers_reach(count);
        self.have_come(count, task::block_on(gathering, end))
    }

    /// As [`wait_for_peers`](Self::wait_for_peers), for a task, and as long as it takes.
    ///
    /// # Errors
    /// If the requester was closed by another handle, or its context shut down, before there were so many
    /// ([`WaitTimeout::reason`]).
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and changes nothing.
    pub async fn wait_for_peers_async(&self, count: usize) -> Result<(), WaitTimeout> {
        self.handle.core.port.peers_reach(count).await;
        self.have_come(count, Some(()))
    }

    /// Whether so many peers have come, after the wait for them, which may have been ended in time.
    fn have_come(&self, count: usize, in_time: Option<()>) -> Result<(), WaitTimeout> {
        let port = &self.handle.core.port;
        let (present, reason) = (port.peer_count(), end_of(port));
        // Those who have come and gone count.
        if in_time.is_some() && (present >= count || reason == WaitEnd::Timeout) {
            return Ok(());
        }
        Err(WaitTimeout {
            what: "peers",
            present,
            wanted: count,
            reason,
        })
    }

    /// Closes it: requests that have not ended end with [`RecvError::Closed`], or [`SendFailure::Closed`] if no peer has
    /// taken them, also those of clones; so do waits for peers ([`WaitEnd::Closed`]), and in the
    /// end its monitors. What is bound or connected later is refused. Waits until what was sent has left, at most for the linger time.
    pub fn close(self) -> CloseReport {
        let deadline = lock(&self.handle.shell).linger_deadline();
        self.close_by(deadline)
    }

    /// As [`close`](Self::close), and waits at most this long, whatever the linger time is.
    pub fn close_timeout(self, timeout: Duration) -> CloseReport {
        self.close_by(clock::now().checked_add(timeout))
    }

    fn close_by(self, deadline: Option<Instant>) -> CloseReport {
        let Handle { core, .. } = &*self.handle;
        core.close();
        // What other handles ask meanwhile is not for the linger time to answer.
        lock(&self.handle.shell).begin_close(deadline);
        let _one_at_a_time = lock(&self.handle.closing);
        let report = await_closed(&core.port);
        // The last handle may be kept for long.
        core.port.end_monitors();
        report
    }

    /// Why no request can begin.
    fn refusal(&self, message: &Message) -> Option<SendFailure> {
        // The lock is not for every message.
        if message.byte_len() as u64 > LEAST_SEND_LIMIT {
            let state = lock(&self.handle.core.state);
            if let Err(refused) = state.out.check(message) {
                return Some(refused);
            }
        }
        let started = self.handle.thread.get_or_init(|| {
            let core = Arc::clone(&self.handle.core);
            let receiving = lock(&core.desk).take();
            let Some(receiving) = receiving else {
                return false;
            };
            let thread = std::thread::Builder::new().name("sinew-requester".into());
            thread.spawn(move || core.run(receiving)).is_ok()
        });
        match started {
            true => None,
            false => Some(SendFailure::NoThread),
        }
    }
}

impl Default for Requester {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester")
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl Core {
    fn begin(&self, message: Message, terms: Terms, waits: bool) -> u64 {
        let mut state = lock(&self.state);
        let others_wait = state.requests.next_unsent().is_some();
        let is_alone = state.requests.len() == 0;
        let id = state.requests.begin(message, terms);
        if state.closed {
            state.requests.close();
            return id;
        }
        // Who begins one when the one before has ended is in lock-step with its peers.
        let in_step = is_alone && state.out.will_wait();
        let reads = state.lending.begins(in_step && waits);
        let sleeps_until = state.sleeps_until;
        let all_sent = state.send_unsent();
        let sooner = match (state.requests.next_due(), sleeps_until) {
            (Some(due), Some(until)) => due < until,
            (due, None) => due.is_some(),
            (None, Some(_)) => false,
        };
        drop(state);
        if reads == Reads::Caller {
            self.look_for(id);
            return id;
        }
        // The thread waits for room, too, and does so already if others wait for it.
        if sooner || !(all_sent || others_wait) || reads == Reads::Nobody {
            self.port.inbound.event().notify();
        }
        id
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        // What has been sent is written in the background.
        state.out.finish();
        let ended = state.requests.close();
        drop(state);
        wake_all(ended);
        self.port.inbound.event().notify();
    }
}

impl State {
    /// Sends what is not sent, as far as peers have room; whether everything is.
    fn send_unsent(&mut self) -> bool {
        self.out.refresh();
        while let Some(peer) = self.requests.take_resumed() {
            self.out.resume(peer);
        }
        while let Some((id, wire, mut peers)) = self.requests.next_unsent() {
            let taken = match peers.is_retry() {
                false => self
                    .out
                    .try_send_among(&mut { wire }, |peer| peers.admit(peer)),
                true => self
                    .out
                    .try_send_again(&mut { wire }, |peer| peers.admission(peer)),
            };
            match taken {
                Some(peer) => self.requests.sent(id, peer, clock::now()),
                None => return false,
            }
        }
        true
    }
}

fn wake_all(ended: impl IntoIterator<Item = Option<Waker>>) {
    ended.into_iter().flatten().for_each(wake);
}

/// A request that was submitted to a [`Requester`]. A future of its reply; or [`wait`](PendingRequest::wait) for it.
/// Dropping it cancels it: it may have been carried out, and its reply is discarded.
#[must_use = "dropping it cancels the request"]
pub struct PendingRequest {
    handle: Arc<Handle>,
    stage: Stage,
}

enum Stage {
    Begun(u64),
    Refused(Box<SendError>),
    Ended,
}

impl PendingRequest {
    /// Waits for the reply.
    ///
    /// # Errors
    /// [`RequestError::Send`] if no peer could take the request in time, or before the requester was closed (it is in
    /// the error), [`RequestError::Recv`] if no reply came; the request may have been carried out then.
    pub fn wait(self) -> Result<Message, RequestError> {
        match task::block_on(self, None) {
            Some(outcome) => outcome,
            None => unreachable!("there is no time limit"),
        }
    }

    /// As [`wait`](Self::wait), but at most so long, whatever time the request has itself. `Err`: the time was over, and
    /// the request is still under way. With a time of zero it is a look.
    ///
    /// # Errors
    /// The request, to be waited for again. (What became of one that has ended is as for [`wait`](Self::wait).)
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinew::Requester;
    ///
    /// let requester = Requester::builder().request_timeout(None).bind("tcp://127.0.0.1:*")?;
    /// let request = requester.submit("is anybody there?");
    /// let Err(request) = request.wait_timeout(Duration::from_millis(1)) else {
    ///     panic!("nobody is there");
    /// };
    /// assert_eq!(requester.outstanding(), 1);
    /// drop(request);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout(
        mut self,
        timeout: Duration,
    ) -> Result<Result<Message, RequestError>, PendingRequest> {
        let end = clock::now().checked_add(timeout);
        task::block_on(&mut self, end).ok_or(self)
    }
}

impl Future for PendingRequest {
    type Output = Result<Message, RequestError>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let id = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Begun(id) => id,
            Stage::Refused(error) => return Poll::Ready(Err(RequestError::Send(*error))),
            Stage::Ended => panic!("a request is polled after it has ended"),
        };
        let waker = cx.waker().clone();
        let mut state = lock(&self.handle.core.state);
        let outcome = state.requests.take(id);
        let former = match &outcome {
            None => state.requests.tag(id).and_then(|kept| kept.replace(waker)),
            Some(_) => None,
        };
        drop(state);
        // Without the lock: it may be the last that keeps a task, which may own requests.
        drop(former);
        let terminated = self.handle.core.port.is_terminated();
        let ended = match outcome {
            None => {
                self.stage = Stage::Begun(id);
                return Poll::Pending;
            }
            Some(Outcome::Reply(reply)) => Ok(reply),
            Some(Outcome::Unsent(message)) => Err(RequestError::Send(SendError::new(
                SendFailure::Timeout,
                message,
            ))),
            Some(Outcome::TimedOut) => Err(RequestError::Recv(RecvError::Timeout)),
            Some(Outcome::PeerLost) => Err(RequestError::Recv(RecvError::PeerLost)),
            Some(Outcome::Closed) => Err(RequestError::Recv(match terminated {
                true => RecvError::Terminated,
                false => RecvError::Closed,
            })),
            Some(Outcome::Withdrawn(message)) => Err(RequestError::Send(SendError::new(
                match terminated {
                    true => SendFailure::Terminated,
                    false => SendFailure::Closed,
                },
                message,
            ))),
        };
        Poll::Ready(ended)
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if let Stage::Begun(id) = self.stage {
            let mut state = lock(&self.handle.core.state);
            let waker = state.requests.cancel(id);
            // Others wait for the place of this one.
            let has_room = state.requests.has_resumed();
            drop(state);
            // Without the lock, as above.
            drop(waker);
            if has_room {
                self.handle.core.port.inbound.event().notify();
            }
        }
    }
}

impl fmt::Debug for PendingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingRequest").finish_non_exhaustive()
    }
}
