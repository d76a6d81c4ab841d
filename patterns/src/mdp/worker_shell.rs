//! The worker on sockets: per slot one DEALER at a time with a thread of its own, and handlers on others.

use std::sync::Arc;
use std::time::Instant;

use sinew::{Context, Frame, Message, ToEndpoint};

use super::{WorkerConfig, WorkerCounters, WorkerEngine, WorkerEvent, WorkerRequestId};
use crate::common::Fault;
use crate::shell::{
    endpoints, seed, Asked, Clerk, Driver, Popped, Request, Requests, Running, ServeCommand,
    ServeEngine, ServeTold, Sockets, StartError, LINGER,
};

type Thread = Running<ServeCommand<WorkerEngine>>;

/// A worker that offers a service to one of several equivalent brokers. See [`Client`](super::Client) for an
/// example.
///
/// It has one request at a time, or as many as it has *slots*, each with a connection of its own. Heartbeats go
/// on while handlers run, unless [`Scope::Progress`](crate::common::Scope::Progress) says otherwise. It begins at once, and ends when it is
/// drained or dropped.
#[derive(Debug)]
pub struct Worker {
    slots: Arc<[Thread]>,
    requests: Arc<Requests>,
}

/// What other threads control a [`Worker`] with.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    slots: Arc<[Thread]>,
}

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
        let requests = Arc::default();
        let mut started: Vec<Thread> = Vec::new();
        for _ in 0..slots.max(1) {
            let now = Instant::now();
            let engine = WorkerEngine::new(config, service.clone(), brokers.len(), seed(), now);
            let driver = Driver::new(engine, Sockets::new(context, LINGER));
            let clerk = Clerk::new(&driver, &requests, brokers.clone());
            match Running::start("sinew-mdp-worker", driver, clerk) {
                Ok(running) => started.push(running),
                Err(error) => {
                    stop(&started);
                    return Err(error);
                }
            }
        }
        Ok(Worker {
            slots: started.into(),
            requests,
        })
    }

    /// Runs this handler on a thread per slot, the caller's included, until the worker is drained. A handler
    /// that panics fails its request, and no other.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn serve<H>(self, handler: H) -> Result<(), StartError>
    where
        H: Fn(&mut Request) -> Result<Message, Fault> + Sync,
    {
        self.requests.serve(self.slots.len(), &handler)
    }

    /// What other threads control it with.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle {
            slots: Arc::clone(&self.slots),
        }
    }
}

/// Waits for the next request, for handlers on threads of the caller's. Ends when the worker is drained.
impl Iterator for Worker {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        match self.requests.next(None) {
            Popped::Item(request) => Some(request),
            Popped::Closed | Popped::Late => None,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.handle().stop();
    }
}

impl WorkerHandle {
    /// What all slots together have done so far; those that have ended do not count.
    #[must_use]
    pub fn counters(&self) -> WorkerCounters {
        let mut sum = WorkerCounters::default();
        for slot in self.slots.iter() {
            let question = |engine: &mut WorkerEngine| engine.counters();
            if let Some(counters) = slot.sender().ask(ServeCommand::With, question) {
                sum.add(&counters);
            }
        }
        sum
    }

    /// Takes no more requests, finishes those that are here, says goodbye to the broker, and ends. Does not
    /// wait for that: [`join`](Self::join) does.
    pub fn drain(&self) {
        for slot in self.slots.iter() {
            let _ = slot.sender().send(ServeCommand::Drain);
        }
    }

    /// Ends now. Requests that are here get no reply; the broker gives them to others.
    pub fn stop(&self) {
        stop(&self.slots);
    }

    /// Waits until the worker has ended and its sockets are closed, at most a second after its last reply.
    pub fn join(&self) {
        self.slots.iter().for_each(Running::join);
    }
}

fn stop(slots: &[Thread]) {
    for slot in slots {
        let _ = slot.sender().send(ServeCommand::Stop);
    }
}

impl ServeEngine for WorkerEngine {
    type Id = WorkerRequestId;

    fn reply(&mut self, now: Instant, id: WorkerRequestId, reply: Message) {
        self.handle_reply(now, id, reply);
    }

    fn fault(&mut self, now: Instant, id: WorkerRequestId, fault: Fault) {
        self.handle_fault(now, id, fault);
    }

    fn partial(&mut self, now: Instant, id: WorkerRequestId, part: Message) -> bool {
        self.handle_partial(now, id, part)
    }

    fn progress(&mut self, now: Instant, id: WorkerRequestId) {
        self.handle_progress(now, id);
    }

    fn drain(&mut self, now: Instant) {
        self.handle_drain(now);
    }

    fn told(event: WorkerEvent) -> ServeTold<WorkerRequestId> {
        match event {
            WorkerEvent::Open { port, broker } => ServeTold::Open(port, broker),
            WorkerEvent::Close { port } => ServeTold::Close(port),
            WorkerEvent::Request(request) => {
                let asked = Asked {
                    body: request.body,
                    peer: None,
                    deadline: request.deadline,
                    id: request.name,
                    delivery: request.delivery,
                };
                ServeTold::Request(request.id, asked)
            }
            WorkerEvent::Drained => ServeTold::Drained,
        }
    }
}
