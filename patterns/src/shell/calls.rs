//! The shell of clients: many threads call, one thread drives the engine.

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, Stream};
use sinew::Message;

use super::driver::{Driver, Sender, With};
use super::inbox::{Inbox, Later};
use super::thread::{Desk, Running, StartError};
use crate::common::{
    footprint, CallCounters, CallError, CallEvent, CallId, CallOptions, Engine, IdMap, Port,
};

/// An engine that makes calls.
pub(crate) trait CallEngine: Engine + Send + 'static {
    /// What is asked.
    type Ask: Send + 'static;

    fn begin(
        &mut self,
        now: Instant,
        ask: Self::Ask,
        options: CallOptions,
    ) -> Result<CallId, CallError>;
    fn cancel(&mut self, now: Instant, call: CallId);
    fn read(&mut self, call: CallId);
    fn close(&mut self, now: Instant);
    fn count(&mut self) -> CallCounters;
    fn told(event: Self::Event) -> Told;
}

/// What such an engine has to tell.
pub(crate) enum Told {
    Call(CallEvent),
    /// This socket is to be made anew.
    Reset(Port),
}

/// Makes a socket anew.
pub(crate) type Reopen<E> = Box<dyn FnMut(&mut Driver<E, Command<E>>, Port) + Send>;

/// See the module. Clones are the same client; the last one that is dropped ends it.
pub(crate) struct Caller<E: CallEngine>(Arc<Shared<E>>);

impl<E: CallEngine> Clone for Caller<E> {
    fn clone(&self) -> Self {
        Caller(Arc::clone(&self.0))
    }
}

struct Shared<E: CallEngine> {
    running: Running<Command<E>>,
    next: AtomicU64,
    /// Calls begun and not over, those that the engine does not know yet included.
    calls: Arc<AtomicUsize>,
    most: usize,
    /// Octets of a reply that is put together.
    whole: usize,
}

pub(crate) enum Command<E: CallEngine> {
    Begin {
        token: u64,
        ask: E::Ask,
        options: CallOptions,
        promise: Promise,
    },
    /// A part was read.
    Read(u64),
    Cancel(u64),
    With(With<E>),
    Stop,
}

enum Update {
    Part(Message),
    Done(Result<Message, CallError>),
}

/// The end of a call that owes a result. If it is dropped without, the caller is told that the client was closed.
pub(crate) struct Promise {
    to: Option<To>,
    calls: Arc<AtomicUsize>,
}

enum To {
    /// Somebody waits, or will.
    Waiter(Arc<Inbox<Update>>),
    /// This is done with the result, on the driver's thread.
    Then(Then),
}

/// See [`Caller::begin_then`].
pub(crate) type Then = Box<dyn FnOnce(Result<Message, CallError>) + Send>;

impl Promise {
    /// The caller is told later.
    fn part(&self, part: Message, later: &mut Later<Update>) {
        if let Some(To::Waiter(updates)) = &self.to {
            let _ = updates.push_quietly(Update::Part(part));
            later.add(Arc::clone(updates));
        }
    }

    /// The caller is told later.
    fn done(mut self, result: Result<Message, CallError>, later: &mut Later<Update>) {
        match self.to.take() {
            Some(To::Waiter(updates)) => {
                updates.push_last_quietly(Update::Done(result));
                later.add(updates);
            }
            Some(To::Then(then)) => then(result),
            None => {}
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        match self.to.take() {
            Some(To::Waiter(updates)) => updates.close(),
            Some(To::Then(then)) => then(Err(CLOSED)),
            None => {}
        }
    }
}

impl<E: CallEngine> Caller<E> {
    /// `most` calls at once at most, and so many octets of a reply that is put together.
    pub(crate) fn start(
        name: &str,
        driver: Driver<E, Command<E>>,
        (most, whole): (usize, usize),
        reopen: Reopen<E>,
    ) -> Result<Self, StartError> {
        let desk = Table {
            reopen,
            promises: IdMap::new(),
            tokens: IdMap::new(),
            later: Later::default(),
        };
        Ok(Caller(Arc::new(Shared {
            running: Running::start(name, driver, desk)?,
            next: AtomicU64::new(0),
            calls: Arc::new(AtomicUsize::new(0)),
            most,
            whole,
        })))
    }

    pub(crate) fn begin(&self, ask: E::Ask, options: &CallOptions) -> Pending<E> {
        let updates = Arc::<Inbox<Update>>::default();
        let (token, begun) = self.launch(ask, options, To::Waiter(Arc::clone(&updates)));
        Pending {
            updates,
            sender: self.0.running.sender().clone(),
            token,
            over: false,
            begun,
            most: self.0.whole,
        }
    }

    /// A call whose last reply, or error, goes to this function, on the driver's thread.
    pub(crate) fn begin_then(&self, ask: E::Ask, options: &CallOptions, then: Then) {
        self.launch(ask, options, To::Then(then));
    }

    /// The call's token, and whether the engine is to know it.
    fn launch(&self, ask: E::Ask, options: &CallOptions, to: To) -> (u64, bool) {
        let shared = &self.0;
        let token = shared.next.fetch_add(1, Ordering::Relaxed);
        let calls = shared.calls.fetch_add(1, Ordering::Relaxed);
        let promise = Promise {
            to: Some(to),
            calls: Arc::clone(&shared.calls),
        };
        // Those on their way to the engine take memory, too.
        if calls >= shared.most {
            let error = CallError::TooMany { calls, bytes: 0 };
            promise.done(Err(error), &mut Later::default());
            return (token, false);
        }
        // If nobody takes it, the promise is dropped, and that ends the call.
        let _ = shared.running.sender().send(Command::Begin {
            token,
            ask,
            options: options.clone(),
            promise,
        });
        (token, true)
    }

    /// All zero once it is closed.
    pub(crate) fn counters(&self) -> CallCounters {
        let sender = self.0.running.sender();
        sender.ask(Command::With, E::count).unwrap_or_default()
    }

    /// Ends all calls, and waits for the thread.
    pub(crate) fn close(&self) {
        let _ = self.0.running.sender().send(Command::Stop);
        self.0.running.join();
    }
}

impl<E: CallEngine> Drop for Shared<E> {
    fn drop(&mut self) {
        // Does not wait: the thread ends by itself.
        let _ = self.running.sender().send(Command::Stop);
    }
}

/// A call that is running. Dropping it cancels the call.
pub(crate) struct Pending<E: CallEngine> {
    updates: Arc<Inbox<Update>>,
    sender: Sender<Command<E>>,
    token: u64,
    over: bool,
    /// The engine knows it, or will.
    begun: bool,
    /// Octets, if it is put together.
    most: usize,
}

/// The replies to one call, in order: parts, if the server sends any, and then the last one; or an error, which
/// is the end. Dropping it gives the call up, and tells the server so if that speaks the extension header.
///
/// It waits for each reply. To wait in a task instead, there is [`next_async`](Replies::next_async), and
/// [`into_stream`](Replies::into_stream).
pub struct Replies(Box<dyn Parts>);

trait Parts: Send {
    fn next(&mut self) -> Option<Reply>;
    fn next_async(&mut self) -> Pin<Box<dyn Future<Output = Option<Reply>> + Send + '_>>;
}

impl<E: CallEngine> Parts for Pending<E> {
    fn next(&mut self) -> Option<Reply> {
        Pending::next(self)
    }

    fn next_async(&mut self) -> Pin<Box<dyn Future<Output = Option<Reply>> + Send + '_>> {
        Box::pin(Pending::next_async(self))
    }
}

impl Replies {
    /// The next reply; `None` after the last one. Dropping the future loses nothing.
    pub async fn next_async(&mut self) -> Option<Result<Message, CallError>> {
        self.0.next_async().await.map(Reply::into)
    }

    /// The same as a stream, which ends after the last one. Dropping it gives the call up.
    ///
    /// ```
    /// use futures::StreamExt;
    /// use sinew_patterns::common::CallOptions;
    /// use sinew_patterns::rpc::Client;
    ///
    /// /// How many octets a reply has, in all its parts.
    /// async fn octets(client: &Client) -> usize {
    ///     let replies = client.call_streaming("all", &CallOptions::default());
    ///     let lengths = replies.into_stream().filter_map(|part| async move { Some(part.ok()?.byte_len()) });
    ///     lengths.fold(0, |sum, length| async move { sum + length }).await
    /// }
    /// ```
    pub fn into_stream(
        self,
    ) -> impl Stream<Item = Result<Message, CallError>> + Send + Unpin + 'static {
        Box::pin(stream::unfold(self, |mut replies| async move {
            let reply = replies.next_async().await?;
            Some((reply, replies))
        }))
    }
}

impl Iterator for Replies {
    type Item = Result<Message, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(Reply::into)
    }
}

impl<E: CallEngine> From<Pending<E>> for Replies {
    fn from(pending: Pending<E>) -> Self {
        Replies(Box::new(pending))
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}

impl From<Reply> for Result<Message, CallError> {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Part(message) => Ok(message),
            Reply::Last(result) => result,
        }
    }
}

/// What comes next of a call.
enum Reply {
    Part(Message),
    Last(Result<Message, CallError>),
}

impl<E: CallEngine> Pending<E> {
    /// Waits for the next part; `None` after the last one.
    fn next(&mut self) -> Option<Reply> {
        if self.over {
            return None;
        }
        let update = self.updates.pop_soon().item();
        Some(self.take(update))
    }

    /// Dropping the future loses nothing.
    async fn next_async(&mut self) -> Option<Reply> {
        if self.over {
            return None;
        }
        let update = self.updates.pop_async().await;
        Some(self.take(update))
    }

    /// The parts together, the last one at the end.
    pub(crate) fn whole(mut self) -> Result<Message, CallError> {
        let mut whole = Whole::new(self.most);
        while let Some(reply) = self.next() {
            if let Some(result) = whole.add(reply) {
                return result;
            }
        }
        Err(CLOSED)
    }

    pub(crate) async fn whole_async(mut self) -> Result<Message, CallError> {
        let mut whole = Whole::new(self.most);
        while let Some(reply) = self.next_async().await {
            if let Some(result) = whole.add(reply) {
                return result;
            }
        }
        Err(CLOSED)
    }

    fn take(&mut self, update: Option<Update>) -> Reply {
        match update {
            Some(Update::Part(message)) => {
                let _ = self.sender.send(Command::Read(self.token));
                Reply::Part(message)
            }
            Some(Update::Done(result)) => {
                self.over = true;
                Reply::Last(result)
            }
            None => {
                self.over = true;
                Reply::Last(Err(CLOSED))
            }
        }
    }
}

/// The thread has ended without a word about this call.
const CLOSED: CallError = CallError::Closed {
    maybe_executed: true,
};

impl<E: CallEngine> Drop for Pending<E> {
    fn drop(&mut self) {
        if self.begun && !self.over {
            let _ = self.sender.send(Command::Cancel(self.token));
        }
    }
}

/// The frames of all parts.
struct Whole {
    frames: Vec<sinew::Frame>,
    octets: usize,
    most: usize,
}

impl Whole {
    fn new(most: usize) -> Self {
        Whole {
            frames: Vec::new(),
            octets: 0,
            most,
        }
    }

    fn add(&mut self, reply: Reply) -> Option<Result<Message, CallError>> {
        let (part, last) = match reply {
            // In one piece, as it came.
            Reply::Last(result) if self.frames.is_empty() => return Some(result),
            Reply::Last(Err(error)) => return Some(Err(error)),
            Reply::Last(Ok(last)) => (last, true),
            Reply::Part(part) => (part, false),
        };
        self.octets = self.octets.saturating_add(footprint(part.frames()));
        if self.octets > self.most {
            let limit = self.most;
            return Some(Err(CallError::ReplyTooLarge { limit }));
        }
        self.frames.extend(part);
        last.then(|| Ok(Message::from_frames(std::mem::take(&mut self.frames))))
    }
}

/// Which call is whose.
struct Table<E: CallEngine> {
    reopen: Reopen<E>,
    promises: IdMap<(u64, Promise)>,
    tokens: IdMap<CallId>,
    later: Later<Update>,
}

impl<E: CallEngine> Desk for Table<E> {
    type Engine = E;
    type Command = Command<E>;

    fn handle_event(
        &mut self,
        driver: &mut Driver<E, Command<E>>,
        event: E::Event,
    ) -> ControlFlow<()> {
        match E::told(event) {
            Told::Call(CallEvent::Partial { call, message }) => {
                if let Some((_, promise)) = self.promises.get(call.0) {
                    promise.part(message, &mut self.later);
                }
            }
            Told::Call(CallEvent::Done { call, result }) => {
                if let Some((token, promise)) = self.promises.remove(call.0) {
                    self.tokens.remove(token);
                    promise.done(result, &mut self.later);
                }
            }
            Told::Reset(port) => (self.reopen)(driver, port),
        }
        ControlFlow::Continue(())
    }

    fn handle_command(
        &mut self,
        driver: &mut Driver<E, Command<E>>,
        command: Command<E>,
    ) -> ControlFlow<()> {
        let now = driver.now();
        match command {
            Command::Begin {
                token,
                ask,
                options,
                promise,
            } => match driver.engine.begin(now, ask, options) {
                Ok(call) => {
                    self.tokens.insert(token, call);
                    self.promises.insert(call.0, (token, promise));
                }
                Err(error) => promise.done(Err(error), &mut self.later),
            },
            Command::Read(token) => {
                if let Some(call) = self.tokens.get(token) {
                    driver.engine.read(*call);
                }
            }
            Command::Cancel(token) => {
                if let Some(call) = self.tokens.get(token) {
                    driver.engine.cancel(now, *call);
                }
            }
            Command::With(with) => with(&mut driver.engine),
            Command::Stop => {
                driver.engine.close(now);
                // Each call ends with a word about whether it was sent.
                while let Some(event) = driver.engine.poll_event() {
                    let _ = self.handle_event(driver, event);
                }
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn settle(&mut self) {
        self.later.tell();
    }
}
