//! The worker on sockets: one DEALER at a time per slot, a thread for all of them, and handlers on others.

use std::future::Future;
use std::time::{Duration, Instant};

use sinew::{Context, Frame, Message, ToEndpoint};

use super::slots::{SlotEvent, Slots};
use super::{WorkerConfig, WorkerCounters, WorkerEngine, WorkerEvent, WorkerRequestId};
use crate::common::{Fault, Scope};
use crate::shell::{
    endpoints, seed, Asked, Control, Driver, Part, Request, ServeEngine, ServeTold, Serving,
    Sockets, StartError, LINGER,
};

/// A worker that offers a service to one of several equivalent brokers. See [`Client`](super::Client) for an
/// example.
///
/// It has one request at a time, or as many as it has *slots*. Each slot has a connection of its own, as 7/MDP wants it;
/// with [`WorkerConfig::ext`] they share one, which is several times as fast. Heartbeats go
/// on while handlers run, unless [`Scope::Progress`] says otherwise. It begins at once, and ends when it is
/// drained or dropped.
#[derive(Debug)]
pub struct Worker(Serving<Slots>);

/// What other threads control a [`Worker`] with.
#[derive(Debug, Clone)]
pub struct WorkerHandle(Control<Slots>);

impl Worker {
    /// A worker with one slot. No broker need be there yet.
    ///
    /// # Errors
    /// If there is no endpoint, one is malformed, or the thread cannot be made.
    pub fn connect<T: ToEndpoint>(
        context: &Context,
        brokers: &[T],
        service: impl Into<Frame>,
        config: WorkerConfig,
    ) -> Result<Self, StartError> {
        Worker::connect_slots(context, brokers, service, config, 1)
    }

    /// A worker with so many slots; 0 counts as 1.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_slots<T: ToEndpoint>(
        context: &Context,
        brokers: &[T],
        service: impl Into<Frame>,
        config: WorkerConfig,
        slots: usize,
    ) -> Result<Self, StartError> {
        let brokers = endpoints(brokers)?;
        let service = service.into();
        let slots = slots.max(1);
        let now = Instant::now();
        // Heartbeats that vouch for progress do so for one handler: one that is stuck must not hide behind others.
        let together = config.ext && config.heartbeat.scope == Scope::Process;
        let (engines, each) = match u32::try_from(slots) {
            Ok(all) if together => (1, all),
            _ => (slots, 1),
        };
        let engines = (0..engines).map(|_| {
            WorkerEngine::with_slots(config, service.clone(), brokers.len(), seed(), now, each)
        });
        let driver = Driver::new(Slots::new(engines.collect()), Sockets::new(context, LINGER));
        Serving::start("sinew-mdp-worker", driver, brokers, slots, None).map(Worker)
    }

    /// Runs this handler on a thread per slot, the caller's included, until the worker is drained, and all handlers have
    /// returned: the worker may have ended before, but none is cut off. A handler that panics fails its request, and no
    /// other.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn serve<H>(self, handler: H) -> Result<(), StartError>
    where
        H: Fn(&mut Request) -> Result<Message, Fault> + Sync,
    {
        self.0.serve(&handler)
    }

    /// The same for a task of any executor: the next request, or `None` when the worker has ended. Dropping the future loses
    /// none.
    pub fn next_async(&mut self) -> impl Future<Output = Option<Request>> + Send + '_ {
        self.0.next_async()
    }

    /// Serves in a task of any executor: the futures that the handler makes of requests run side by side in it, at
    /// most one per slot, until the worker is drained or stopped. Each answers its request with
    /// [`reply`](Request::reply) or [`fail`](Request::fail). One that panics fails its request, and no other; if the future
    /// of this method is dropped, so do all that are here, and the worker ends.
    ///
    /// ```
    /// use sinew_patterns::mdp::{Worker, WorkerConfig};
    ///
    /// # async fn run(context: sinew::Context) -> Result<(), sinew_patterns::StartError> {
    /// let worker = Worker::connect(&context, &["tcp://10.0.0.1:5555"], "echo", WorkerConfig::default())?;
    /// worker.serve_async(|mut request| async move {
    ///     let body = request.take_body();
    ///     request.reply(body);
    /// }).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve_async<H, F>(self, handler: H)
    where
        H: Fn(Request) -> F,
        F: Future<Output = ()>,
    {
        self.0.serve_async(handler).await;
    }

    /// What other threads control it with.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle(self.0.control())
    }
}

/// Waits for the next request, for handlers on threads of the caller's. Ends when the worker is drained.
impl Iterator for Worker {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.0.next(None)
    }
}

impl WorkerHandle {
    /// What all slots together have done so far; all zero once the worker has ended.
    #[must_use]
    pub fn counters(&self) -> WorkerCounters {
        self.0.ask(|slots| slots.counters())
    }

    /// Takes no more requests, finishes those that are here, or gives them up when [`WorkerConfig::linger`] is over, says
    /// goodbye to the broker, and ends. Does not wait for that: [`join`](Self::join) does.
    pub fn drain(&self) {
        self.0.drain();
    }

    /// Ends now. Requests that are here get no reply; the broker gives them to others.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Waits until the worker has ended and its sockets are closed, at most a second after its last reply.
    pub fn join(&self) {
        self.0.join();
    }

    /// The same as [`join`](Self::join) for a task of any executor.
    pub async fn join_async(&self) {
        self.0.join_async().await;
    }
}

impl ServeEngine for Slots {
    type Id = (usize, WorkerRequestId);

    fn reply(&mut self, now: Instant, (slot, id): Self::Id, reply: Message) {
        self.with(slot, |engine| engine.handle_reply(now, id, reply));
    }

    fn fault(&mut self, now: Instant, (slot, id): Self::Id, fault: Fault) {
        self.with(slot, |engine| engine.handle_fault(now, id, fault));
    }

    fn partial(&mut self, now: Instant, (slot, id): Self::Id, part: Message) -> bool {
        self.with(slot, |engine| engine.handle_partial(now, id, part))
            .unwrap_or(false)
    }

    fn part(&self, (slot, id): Self::Id) -> Part {
        let of = |what: fn(&WorkerEngine, WorkerRequestId) -> bool| {
            self.of(slot).is_some_and(|engine| what(engine, id))
        };
        match (of(WorkerEngine::is_waiting), of(WorkerEngine::is_wanted)) {
            (true, _) => Part::Waits,
            (false, true) => Part::Sent,
            (false, false) => Part::Lost,
        }
    }

    fn progress(&mut self, now: Instant, (slot, id): Self::Id) {
        self.with(slot, |engine| engine.handle_progress(now, id));
    }

    fn extend(&mut self, now: Instant, (slot, id): Self::Id, by: Duration) {
        self.with(slot, |engine| engine.handle_extend(now, id, by));
    }

    fn expired(&mut self, now: Instant, (slot, id): Self::Id) {
        self.with(slot, |engine| engine.handle_expired(now, id));
    }

    fn drain(&mut self, now: Instant) {
        Slots::drain(self, now);
    }

    fn told(event: SlotEvent) -> ServeTold<Self::Id> {
        match event {
            SlotEvent::Of(_, WorkerEvent::Open { port, broker }) => ServeTold::Open(port, broker),
            SlotEvent::Of(_, WorkerEvent::Close { port }) => ServeTold::Close(port),
            SlotEvent::Of(slot, WorkerEvent::Request(request)) => {
                let asked = Asked {
                    body: request.body,
                    headers: request.headers,
                    peer: None,
                    deadline: request.deadline,
                    id: request.name,
                    delivery: request.delivery,
                };
                ServeTold::Request((slot, request.id), asked)
            }
            SlotEvent::Of(slot, WorkerEvent::Cancelled(id)) => ServeTold::Cancelled((slot, id)),
            SlotEvent::Of(slot, WorkerEvent::Part { id, sent }) => {
                ServeTold::Part((slot, id), sent)
            }
            SlotEvent::Of(_, WorkerEvent::Drained) | SlotEvent::Drained => ServeTold::Drained,
        }
    }
}
