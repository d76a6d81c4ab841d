//! The server on a socket: a ROUTER with a thread of its own, and handlers on others.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use sinew::{Context, Endpoint, Message, ToEndpoint};

use super::{RequestId, ServerConfig, ServerCounters, ServerEngine, ServerEvent};
use crate::common::{DedupLife, DedupStore, Fault, MsgId, Stored};
use crate::shell::{
    behind, endpoints, replier, Asked, Control, Driver, Part, Request, ServeEngine, ServeTold,
    Serving, StartError,
};

/// A server of REQ, DEALER and [`Client`](super::Client), of this or any other library.
///
/// A bounded, fair queue is in front of the handlers, deadlines are kept, and with
/// [`ServerConfig::cache`] requests of the same idempotence key are carried out once. It begins at once, and
/// ends when it is drained, stopped or dropped. See [`Client`](super::Client) for an example.
///
/// A client that does not read what it asked for costs it 256 KiB (or 1000 messages) in the queue of its connection, and one
/// part of each reply that handlers make for it; of whole replies, which nothing holds back, up to 64 MiB, and 256 MiB for all
/// clients. With more they are lost. A [`memory_budget`](sinew::ContextBuilder::memory_budget) bounds the queues of all
/// connections together.
#[derive(Debug)]
pub struct Server {
    serving: Serving<ServerEngine>,
    endpoints: Vec<Endpoint>,
}

/// What other threads control a [`Server`] with.
#[derive(Debug, Clone)]
pub struct ServerHandle(Control<ServerEngine>);

impl Server {
    /// A server that is bound to these endpoints.
    ///
    /// # Errors
    /// If there is no endpoint, one cannot be bound, or a socket or the thread cannot be made.
    pub fn bind<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        config: ServerConfig,
    ) -> Result<Self, StartError> {
        Server::start(context, at, config, ServerEngine::new(config), None)
    }

    /// The same, and clients that do not speak EXT are sent this reply when there is no room for their request.
    pub(crate) fn bind_refusing<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        config: ServerConfig,
        refusal: Message,
    ) -> Result<Self, StartError> {
        let engine = ServerEngine::new(config).refusing(refusal);
        Server::start(context, at, config, engine, None)
    }

    /// The same with a store of keys, which may be that of other servers, too, and outlives them: all of them together
    /// carry out a request with a key at most once, while the store knows it.
    ///
    /// That a request is begun is written down before a handler has it, and how it ended before the client hears of
    /// it. Whoever is asked again answers with what is written there. If another server is still at it, this one
    /// waits for that until the deadline. If the one that had begun it is gone, or the deadline is over, the call ends with
    /// [`CallError::Remote`](super::CallError::Remote) of the status [`InDoubt`](crate::common::Status::InDoubt):
    /// nobody knows whether it was carried out, and it will not be again. A store that is full declines keys that it
    /// does not know (`Rejected`), and so does one that fails. If a reply cannot be written down it is sent all the
    /// same.
    ///
    /// The store has a thread of its own. A handler's place is taken until what it did is written down, so a store that
    /// takes its time asks for more [`concurrency`](ServerConfig::concurrency). Requests without a key know
    /// nothing of the store. See [`DirectoryStore`](crate::DirectoryStore) for an example, and
    /// [`MemoryStore`](crate::common::MemoryStore) for another store.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind), and if the store cannot be used.
    pub fn bind_with_store<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        config: ServerConfig,
        store: Arc<dyn DedupStore>,
    ) -> Result<Self, StartError> {
        let life = Some(store.join()?);
        Server::start(context, at, config, ServerEngine::with_store(config), life)
    }

    fn start<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        config: ServerConfig,
        engine: ServerEngine,
        life: Option<Box<dyn DedupLife>>,
    ) -> Result<Self, StartError> {
        let mut router = replier(context)?;
        let bound = endpoints(at)?.into_iter().map(|at| router.bind(at));
        let endpoints = bound.collect::<Result<_, _>>()?;
        let driver: Driver<_, _> = behind(router, engine);
        let most = config.concurrency.max(1);
        Ok(Server {
            serving: Serving::start("sinew-rpc-server", driver, Vec::new(), most, life)?,
            endpoints,
        })
    }

    /// Where it is bound to, with real ports.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The next request, at most until then. `None` if there is none by then, too.
    pub fn next_deadline(&mut self, until: Instant) -> Option<Request> {
        self.serving.next(Some(until))
    }

    /// Runs this handler on [`ServerConfig::concurrency`] threads, the caller's included, until the server is
    /// drained or stopped, and all handlers have returned: the server may have ended before, but none is cut off. A
    /// handler that panics fails its request, and no other.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn serve<H>(self, handler: H) -> Result<(), StartError>
    where
        H: Fn(&mut Request) -> Result<Message, Fault> + Sync,
    {
        self.serving.serve(&handler)
    }

    /// The same for a task of any executor: the next request, or `None` when the server has ended. Dropping the future loses
    /// none.
    pub fn next_async(&mut self) -> impl Future<Output = Option<Request>> + Send + '_ {
        self.serving.next_async()
    }

    /// Serves in a task of any executor: the futures that the handler makes of requests run side by side in it, at
    /// most [`ServerConfig::concurrency`], until the server is drained or stopped. Each answers its request with
    /// [`reply`](Request::reply) or [`fail`](Request::fail). One that panics fails its request, and no other; if the future
    /// of this method is dropped, so do all that are here, and the server ends.
    ///
    /// ```
    /// use sinew::Context;
    /// use sinew_patterns::rpc::{CallOptions, Client, ClientConfig, Server, ServerConfig};
    ///
    /// let context = Context::default();
    /// let server = Server::bind(&context, &["tcp://127.0.0.1:*"], ServerConfig::default())?;
    /// let client = Client::connect(&context, server.endpoints(), ClientConfig::default())?;
    /// let handle = server.handle();
    /// let serving = server.serve_async(|mut request| async move {
    ///     let body = request.take_body();
    ///     request.reply(body);
    /// });
    /// let calling = async {
    ///     let reply = client.call_async("hello", &CallOptions::default()).await;
    ///     handle.drain();
    ///     reply
    /// };
    /// let ((), reply) = futures::executor::block_on(futures::future::join(serving, calling));
    /// assert_eq!(reply?.as_bytes(), b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn serve_async<H, F>(self, handler: H)
    where
        H: Fn(Request) -> F,
        F: Future<Output = ()>,
    {
        self.serving.serve_async(handler).await;
    }

    /// What other threads control it with.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(self.serving.control())
    }
}

/// Waits for the next request, for handlers on threads of the caller's. Ends when the server is drained or stopped.
impl Iterator for Server {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.serving.next(None)
    }
}

impl ServerHandle {
    /// What was done so far; all zero once the server has ended.
    #[must_use]
    pub fn counters(&self) -> ServerCounters {
        self.0.ask(|engine| engine.counters())
    }

    /// Requests that wait, their octets, and requests that are being carried out.
    #[must_use]
    pub fn load(&self) -> (usize, usize, usize) {
        self.0.ask(|engine| engine.load())
    }

    /// From now on requests are declined; what is here is finished, or given up when [`ServerConfig::linger`] is over.
    /// Then the server ends. Does not wait for that: [`join`](Self::join) does.
    pub fn drain(&self) {
        self.0.drain();
    }

    /// Ends the server now. Requests that are here get no reply.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Waits until the server has ended and its socket is closed, at most a second after its last reply.
    pub fn join(&self) {
        self.0.join();
    }

    /// The same as [`join`](Self::join) for a task of any executor.
    pub async fn join_async(&self) {
        self.0.join_async().await;
    }
}

impl ServeEngine for ServerEngine {
    type Id = RequestId;

    fn reply(&mut self, now: Instant, id: RequestId, reply: Message) {
        self.handle_reply(now, id, reply);
    }

    fn fault(&mut self, now: Instant, id: RequestId, fault: Fault) {
        self.handle_fault(now, id, fault);
    }

    fn partial(&mut self, _: Instant, id: RequestId, part: Message) -> bool {
        self.handle_partial(id, &part)
    }

    fn part(&self, id: RequestId) -> Part {
        match (self.is_waiting(id), self.is_wanted(id)) {
            (true, _) => Part::Waits,
            (false, true) => Part::Sent,
            (false, false) => Part::Lost,
        }
    }

    fn progress(&mut self, _: Instant, _: RequestId) {}

    fn expired(&mut self, now: Instant, id: RequestId) {
        self.handle_expired(now, id);
    }

    fn stored(&mut self, now: Instant, stored: Stored) {
        self.handle_stored(now, stored);
    }

    fn drain(&mut self, now: Instant) {
        self.handle_drain(now);
    }

    fn told(event: ServerEvent) -> ServeTold<RequestId> {
        match event {
            ServerEvent::Request(request) => {
                let key: Option<MsgId> = request.key;
                let asked = Asked {
                    body: request.body,
                    headers: request.headers,
                    peer: Some(request.peer),
                    deadline: request.deadline,
                    id: key,
                    delivery: None,
                };
                ServeTold::Request(request.id, asked)
            }
            ServerEvent::Cancelled(id) => ServeTold::Cancelled(id),
            ServerEvent::Part { id, sent } => ServeTold::Part(id, sent),
            ServerEvent::Store(op) => ServeTold::Store(op),
            ServerEvent::Drained => ServeTold::Drained,
        }
    }
}
