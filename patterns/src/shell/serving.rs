//! The shell of those who carry requests out: one thread drives the engine, others run handlers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{ready, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::FutureExt;
use sinew::{Endpoint, Message};

use super::driver::{Driver, Owed, Sender, With};
use super::inbox::Inbox;
use super::keeper::Keeper;
use super::thread::{Desk, Running, StartError};
use crate::common::{DedupLife, Engine, Fault, Headers, MsgId, PeerId, Port, StoreOp, Stored};

/// An engine that has requests carried out.
pub(crate) trait ServeEngine: Engine + Send + 'static {
    /// What a request is named by.
    type Id: Ord + Copy + Send + Sync + 'static;

    fn reply(&mut self, now: Instant, id: Self::Id, reply: Message);
    fn fault(&mut self, now: Instant, id: Self::Id, fault: Fault);
    fn partial(&mut self, now: Instant, id: Self::Id, part: Message) -> bool;
    /// What became of the part that came last, when all there was to send was offered to the sockets.
    fn part(&self, id: Self::Id) -> Part;
    fn progress(&mut self, now: Instant, id: Self::Id);
    /// Does nothing by default: only a broker's lease can be prolonged.
    fn extend(&mut self, _now: Instant, _id: Self::Id, _by: Duration) {}
    /// Its deadline was over before a handler took it.
    fn expired(&mut self, now: Instant, id: Self::Id);
    fn drain(&mut self, now: Instant);
    fn told(event: Self::Event) -> Told<Self::Id>;
    /// Does nothing by default: few want anything of a store.
    fn stored(&mut self, _now: Instant, _stored: Stored) {}
}

/// What became of a part of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Sent,
    /// There is no room for it: the engine tells when it was sent, or is lost ([`Told::Part`]).
    Waits,
    Lost,
}

/// What such an engine has to tell.
pub(crate) enum Told<I> {
    Request(I, Asked),
    Cancelled(I),
    /// The first of the parts that wait was sent, or is lost.
    Part(I, bool),
    Store(StoreOp),
    Drained,
    /// A DEALER is to be opened at this port, to the peer of this number.
    Open(Port, usize),
    Close(Port),
}

/// A request as the engine has it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) body: Message,
    pub(crate) headers: Headers,
    pub(crate) peer: Option<PeerId>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) id: Option<MsgId>,
    pub(crate) delivery: Option<u16>,
}

/// A request to be carried out, and to be answered once: with [`reply`](Request::reply) or
/// [`fail`](Request::fail). One that is dropped without fails.
pub struct Request {
    /// Small, since handlers and queues move it about.
    asked: Box<Asked>,
    /// Gone once it is answered.
    answer: Option<Arc<dyn Answer>>,
}

trait Answer: Send + Sync {
    fn is_cancelled(&self) -> bool;
    fn end(&self, result: Result<Message, Fault>);
    /// Where it is told whether somebody will read it, once the socket has it.
    fn part(&self, part: Message) -> Arc<Inbox<bool>>;
    fn progress(&self);
    fn extend(&self, by: Duration);
    fn late(&self);
}

impl Request {
    /// Itself, unless its deadline is over: then it is declined, and no handler sees it.
    fn in_time(mut self) -> Option<Self> {
        let late = |deadline| Instant::now() >= deadline;
        if !self.asked.deadline.is_some_and(late) {
            return Some(self);
        }
        if let Some(answer) = self.answer.take() {
            answer.late();
        }
        None
    }

    /// What is asked.
    #[must_use]
    pub fn body(&self) -> &Message {
        &self.asked.body
    }

    /// The same, to be kept; an empty message is left in its place.
    pub fn take_body(&mut self) -> Message {
        std::mem::take(&mut self.asked.body)
    }

    /// What the client tells besides the body ([`CallOptions::headers`](crate::common::CallOptions::headers)).
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.asked.headers
    }

    /// Who asks, if that is known: a worker behind a broker does not know.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerId> {
        self.asked.peer.as_ref()
    }

    /// When nobody waits for the reply any more, if the client said so.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.asked.deadline
    }

    /// At a server, the idempotence key; at a worker, what the client calls the request. `None` if it has
    /// none.
    #[must_use]
    pub fn id(&self) -> Option<MsgId> {
        self.asked.id
    }

    /// To how many workers it was given, this one included, if that is known.
    #[must_use]
    pub fn delivery(&self) -> Option<u16> {
        self.asked.delivery
    }

    /// Whether nobody waits for the reply any more: the deadline is over, or the client has given up or is gone; or, at a
    /// worker, the lease has ended and another worker has the request; or the server or worker drains, and has no more time
    /// ([`ServerConfig::linger`](crate::rpc::ServerConfig::linger), [`WorkerConfig::linger`](crate::mdp::WorkerConfig::linger)).
    /// It may still be answered, and so it should be: until then it keeps its place at the server or worker.
    ///
    /// A worker hears of this from a broker of this crate, if both speak the extension header
    /// ([`WorkerConfig::ext`](crate::mdp::WorkerConfig::ext)); 7/MDP and 18/MDP have no words for it. That a client has
    /// given up is known of those that speak the header, and that it is gone of all. It is never said of a request with a
    /// key ([`Idem::Key`](crate::common::Idem::Key)) that its client is gone: the client may ask again.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let late = (self.asked.deadline).is_some_and(|deadline| Instant::now() >= deadline);
        let answer = self.answer.as_ref();
        late || answer.is_some_and(|answer| answer.is_cancelled())
    }

    /// Sends a part of the reply; others follow, and the last with [`reply`](Self::reply). Waits until the
    /// socket has it: if its peer reads more slowly than this, until there is room. False if nobody will read it: the client
    /// does not know parts, has given up or is gone, the deadline is over, or it has read nothing for too long
    /// ([`ServerConfig::stall`](crate::rpc::ServerConfig::stall)). Then the request is over: what follows is not sent.
    ///
    /// At a worker the peer is the broker. It holds a worker of this crate back if a client is slow, as far as they all
    /// speak the extension header; parts that others send faster than they are read end the request
    /// ([`BrokerLimits::unread`](crate::mdp::BrokerLimits::unread)).
    pub fn partial(&mut self, part: impl Into<Message>) -> bool {
        let answer = self.answer.as_ref();
        let told = answer.and_then(|answer| answer.part(part.into()).pop(None).item());
        told.unwrap_or(false)
    }

    /// The same for a task of any executor. The part is sent now; dropping the future takes it back no more.
    pub fn partial_async(&mut self, part: impl Into<Message>) -> impl Future<Output = bool> + Send {
        let told = self.answer.as_ref().map(|answer| answer.part(part.into()));
        async move {
            match told {
                Some(told) => told.pop_async().await.unwrap_or(false),
                None => false,
            }
        }
    }

    /// Says that work goes on. With [`Scope::Progress`](crate::common::Scope::Progress) a worker's heartbeats
    /// depend on it.
    pub fn progress(&mut self) {
        if let Some(answer) = &self.answer {
            answer.progress();
        }
    }

    /// Asks to keep it for at least so long from now, before work that will take that long and tells of nothing meanwhile.
    ///
    /// A worker's broker then prolongs the lease of the request, whatever kind of lease that is
    /// ([`Lease`](crate::mdp::Lease)), and takes back nothing of what it had left. With
    /// [`Scope::Progress`](crate::common::Scope::Progress) heartbeats vouch for the handler for so long, too. The broker
    /// hears of it if it and the worker speak the extension header ([`WorkerConfig::ext`](crate::mdp::WorkerConfig::ext));
    /// 7/MDP and 18/MDP have no words for it, and their brokers see a heartbeat, if anything. A lease that has ended
    /// does not come back. At a server of [`rpc`](crate::rpc), which has no leases, this does nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinew_patterns::common::Fault;
    /// use sinew_patterns::Request;
    ///
    /// fn handler(request: &mut Request) -> Result<sinew::Message, Fault> {
    ///     request.extend(Duration::from_secs(600));
    ///     // Ten minutes of work.
    ///     Ok(request.take_body())
    /// }
    /// ```
    pub fn extend(&mut self, by: Duration) {
        if let Some(answer) = &self.answer {
            answer.extend(by);
        }
    }

    /// Answers it.
    pub fn reply(mut self, reply: impl Into<Message>) {
        self.end(Ok(reply.into()));
    }

    /// Says that it failed. Clients that do not speak the extension header get no reply from a server, and
    /// an empty one from a worker.
    pub fn fail(mut self, fault: Fault) {
        self.end(Err(fault));
    }

    fn end(&mut self, result: Result<Message, Fault>) {
        if let Some(answer) = self.answer.take() {
            answer.end(result);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.end(Err(Fault::failed("the handler gave no reply")));
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

pub(crate) enum Command<E: ServeEngine> {
    End(E::Id, Result<Message, Fault>),
    Part(E::Id, Message, Owed<bool>),
    Progress(E::Id),
    Extend(E::Id, Duration),
    Late(E::Id),
    With(With<E>),
    Drain,
    Stop,
}

/// Answers one request.
struct Way<E: ServeEngine> {
    sender: Sender<Command<E>>,
    id: E::Id,
    cancelled: AtomicBool,
}

impl<E: ServeEngine> Answer for Way<E> {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    // If the driver is gone, so is whoever could be answered.
    fn end(&self, result: Result<Message, Fault>) {
        let _ = self.sender.send(Command::End(self.id, result));
    }

    fn part(&self, part: Message) -> Arc<Inbox<bool>> {
        let inbox = Arc::<Inbox<bool>>::default();
        let owed = Owed(Arc::clone(&inbox));
        let _ = self.sender.send(Command::Part(self.id, part, owed));
        inbox
    }

    fn progress(&self) {
        let _ = self.sender.send(Command::Progress(self.id));
    }

    fn extend(&self, by: Duration) {
        let _ = self.sender.send(Command::Extend(self.id, by));
    }

    fn late(&self) {
        let _ = self.sender.send(Command::Late(self.id));
    }
}

/// The desk of such an engine.
struct Clerk<E: ServeEngine> {
    sender: Sender<Command<E>>,
    requests: Arc<Requests>,
    /// Those that handlers have.
    running: BTreeMap<E::Id, Arc<Way<E>>>,
    /// Who waits until a part is sent, in the order of the parts.
    parts: BTreeMap<E::Id, VecDeque<Owed<bool>>>,
    /// Requests in the inbox that nobody was told of yet.
    fresh: usize,
    /// Where DEALERs connect to.
    peers: Vec<Endpoint>,
    /// Of an engine with a store.
    keeper: Option<Keeper>,
}

/// A thread that drives such an engine, and the requests that come of it. It begins at once; dropping this ends it.
pub(crate) struct Serving<E: ServeEngine> {
    control: Control<E>,
    requests: Arc<Requests>,
    /// Handlers at once.
    most: usize,
}

impl<E: ServeEngine> Serving<E> {
    /// DEALERs that the engine asks for connect to these peers; what it wants of a store is done with this life.
    pub(crate) fn start(
        name: &str,
        driver: Driver<E, Command<E>>,
        peers: Vec<Endpoint>,
        most: usize,
        life: Option<Box<dyn DedupLife>>,
    ) -> Result<Self, StartError> {
        let requests = Arc::default();
        let mut clerk = Clerk::new(&driver, &requests, peers);
        clerk.keeper = life.map(|life| keeper(life, driver.sender())).transpose()?;
        Ok(Serving {
            control: Control(Arc::new(Running::start(name, driver, clerk)?)),
            requests,
            most,
        })
    }

    pub(crate) fn control(&self) -> Control<E> {
        self.control.clone()
    }

    pub(crate) fn next(&self, until: Option<Instant>) -> Option<Request> {
        self.requests.next(until)
    }

    pub(crate) fn next_async(&self) -> impl Future<Output = Option<Request>> + Send + Unpin + '_ {
        self.requests.next_async()
    }

    pub(crate) fn serve<H>(&self, handler: &H) -> Result<(), StartError>
    where
        H: Fn(&mut Request) -> Result<Message, Fault> + Sync,
    {
        self.requests.serve(self.most, handler)
    }

    pub(crate) async fn serve_async<H, F>(&self, handler: H)
    where
        H: Fn(Request) -> F,
        F: Future<Output = ()>,
    {
        self.requests.serve_async(self.most, handler).await;
    }
}

impl<E: ServeEngine> Drop for Serving<E> {
    fn drop(&mut self) {
        self.control.stop();
    }
}

impl<E: ServeEngine> fmt::Debug for Serving<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

/// What other threads control it with.
pub(crate) struct Control<E: ServeEngine>(Arc<Running<Command<E>>>);

impl<E: ServeEngine> Clone for Control<E> {
    fn clone(&self) -> Self {
        Control(Arc::clone(&self.0))
    }
}

impl<E: ServeEngine> Control<E> {
    /// Asks something of the engine; what is the default if it has ended.
    pub(crate) fn ask<R: Default + Send + 'static>(
        &self,
        question: impl FnOnce(&mut E) -> R + Send + 'static,
    ) -> R {
        let sender = self.0.sender();
        sender.ask(Command::With, question).unwrap_or_default()
    }

    pub(crate) fn drain(&self) {
        let _ = self.0.sender().send(Command::Drain);
    }

    pub(crate) fn stop(&self) {
        let _ = self.0.sender().send(Command::Stop);
    }

    pub(crate) fn join(&self) {
        self.0.join();
    }

    pub(crate) async fn join_async(&self) {
        self.0.join_async().await;
    }
}

impl<E: ServeEngine> fmt::Debug for Control<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Requests for whoever has time, of one or several engines.
#[derive(Debug, Default)]
struct Requests {
    inbox: Inbox<Request>,
    engines: AtomicUsize,
}

impl Requests {
    /// The next one whose deadline is not over; `None` once no engine is left.
    fn next(&self, until: Option<Instant>) -> Option<Request> {
        loop {
            let request = self.inbox.pop(until).item()?;
            if let Some(request) = request.in_time() {
                return Some(request);
            }
        }
    }

    /// The same for a task. A request is taken when the future is ready, and not before.
    fn next_async(&self) -> impl Future<Output = Option<Request>> + Send + Unpin + '_ {
        let mut popped = self.inbox.pop_async();
        std::future::poll_fn(move |context| loop {
            let Some(request) = ready!(popped.poll_unpin(context)) else {
                return Poll::Ready(None);
            };
            if let Some(request) = request.in_time() {
                return Poll::Ready(Some(request));
            }
            popped = self.inbox.pop_async();
        })
    }

    /// Runs the futures of so many handlers at once, all in this task, until no engine is left.
    async fn serve_async<H, F>(&self, most: usize, handler: H)
    where
        H: Fn(Request) -> F,
        F: Future<Output = ()>,
    {
        let mut running = FuturesUnordered::new();
        let mut open = true;
        while open || !running.is_empty() {
            let room = open && running.len() < most;
            let mut next = pin!(self.next_async());
            // What comes of waiting for a request, or `None`: a handler has ended.
            let turn = std::future::poll_fn(|context| {
                if room {
                    if let Poll::Ready(next) = next.as_mut().poll(context) {
                        return Poll::Ready(Some(next));
                    }
                }
                match running.poll_next_unpin(context) {
                    Poll::Ready(Some(())) => Poll::Ready(None),
                    // With none running there is room.
                    Poll::Ready(None) | Poll::Pending => Poll::Pending,
                }
            });
            match turn.await {
                Some(Some(request)) => {
                    let call = async { handler(request).await };
                    // One request that makes a handler panic must not take the others with it. It is dropped by
                    // the panic, which answers it.
                    running.push(AssertUnwindSafe(call).catch_unwind().map(drop));
                }
                Some(None) => open = false,
                None => {}
            }
        }
    }

    /// Runs the handler on so many threads, this one included, until no engine is left.
    fn serve<H>(&self, threads: usize, handler: &H) -> Result<(), StartError>
    where
        H: Fn(&mut Request) -> Result<Message, Fault> + Sync,
    {
        let work = || {
            while let Some(mut request) = self.next(None) {
                // One request that makes a handler panic must not take those after it with it.
                let call = AssertUnwindSafe(|| handler(&mut request));
                let result = panic::catch_unwind(call)
                    .unwrap_or_else(|_| Err(Fault::failed("the handler panicked")));
                request.end(result);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                let name = thread::Builder::new().name("sinew-handler".into());
                if let Err(error) = name.spawn_scoped(scope, work) {
                    self.inbox.discard();
                    return Err(StartError::Thread(error));
                }
            }
            work();
            Ok(())
        })
    }
}

impl<E: ServeEngine> Clerk<E> {
    fn new(driver: &Driver<E, Command<E>>, requests: &Arc<Requests>, peers: Vec<Endpoint>) -> Self {
        requests.engines.fetch_add(1, Ordering::Relaxed);
        Clerk {
            sender: driver.sender(),
            requests: Arc::clone(requests),
            running: BTreeMap::new(),
            parts: BTreeMap::new(),
            fresh: 0,
            peers,
            keeper: None,
        }
    }
}

/// What does what such an engine wants of its store, and tells it.
fn keeper<E: ServeEngine>(
    life: Box<dyn DedupLife>,
    sender: Sender<Command<E>>,
) -> Result<Keeper, StartError> {
    Keeper::start(life, move |stored| {
        let tell = |engine: &mut E| engine.stored(Instant::now(), stored);
        // If the driver is gone, nobody needs to know.
        let _ = sender.send(Command::With(Box::new(tell)));
    })
}

impl<E: ServeEngine> Clerk<E> {
    fn tell(&mut self) {
        match std::mem::take(&mut self.fresh) {
            0 => {}
            fresh => self.requests.inbox.tell(fresh),
        }
    }
}

impl<E: ServeEngine> Drop for Clerk<E> {
    fn drop(&mut self) {
        self.tell();
        if self.requests.engines.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.requests.inbox.close();
        }
    }
}

impl<E: ServeEngine> Desk for Clerk<E> {
    type Engine = E;
    type Command = Command<E>;

    fn handle_event(
        &mut self,
        driver: &mut Driver<E, Command<E>>,
        event: E::Event,
    ) -> ControlFlow<()> {
        match E::told(event) {
            Told::Request(id, asked) => {
                let way = Arc::new(Way {
                    sender: self.sender.clone(),
                    id,
                    cancelled: AtomicBool::new(false),
                });
                self.running.insert(id, Arc::clone(&way));
                // If nobody is there to take it, it is dropped, which answers it.
                let _ = self.requests.inbox.push_quietly(Request {
                    asked: Box::new(asked),
                    answer: Some(way),
                });
                self.fresh += 1;
            }
            Told::Cancelled(id) => {
                if let Some(way) = self.running.get(&id) {
                    way.cancelled.store(true, Ordering::Relaxed);
                }
            }
            Told::Part(id, sent) => {
                if let Some(parts) = self.parts.get_mut(&id) {
                    if let Some(owed) = parts.pop_front() {
                        owed.pay(sent);
                    }
                    if parts.is_empty() {
                        self.parts.remove(&id);
                    }
                }
            }
            Told::Store(op) => {
                if let Some(keeper) = &self.keeper {
                    keeper.perform(op);
                }
            }
            Told::Drained => return ControlFlow::Break(()),
            Told::Open(port, peer) => {
                if let Some(endpoint) = self.peers.get(peer) {
                    driver.sockets.open_soon(port, endpoint);
                }
            }
            Told::Close(port) => driver.sockets.close(port),
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
            Command::End(id, result) => {
                self.running.remove(&id);
                match result {
                    Ok(reply) => driver.engine.reply(now, id, reply),
                    Err(fault) => driver.engine.fault(now, id, fault),
                }
            }
            Command::Part(id, part, owed) => {
                let read = driver.engine.partial(now, id, part);
                driver.flush();
                match driver.engine.part(id) {
                    Part::Waits if read => self.parts.entry(id).or_default().push_back(owed),
                    part => owed.pay(read && part == Part::Sent),
                }
            }
            Command::Progress(id) => driver.engine.progress(now, id),
            Command::Extend(id, by) => driver.engine.extend(now, id, by),
            Command::Late(id) => {
                self.running.remove(&id);
                driver.engine.expired(now, id);
            }
            Command::With(with) => with(&mut driver.engine),
            Command::Drain => driver.engine.drain(now),
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn settle(&mut self) {
        self.tell();
    }
}
