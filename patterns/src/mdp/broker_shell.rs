//! The broker on a socket: a ROUTER with a thread of its own.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, ToEndpoint};

use super::{BrokerCounters, BrokerEngine, BrokerEvent, ServicePolicy, ServiceStats, WorkerStats};
use crate::common::PeerId;
use crate::shell::{
    behind, endpoints, replier, Desk, Driver, Running, StartError, With, LINGER, PORT,
};

/// A broker that runs on a thread of its own from the beginning, until it is drained, stopped or dropped. See
/// [`Client`](super::Client) for an example.
///
/// What it is to allow, and the policies of its services, are set on the engine beforehand:
///
/// ```
/// use sinew::Context;
/// use sinew_patterns::common::PeerId;
/// use sinew_patterns::mdp::{Broker, BrokerConfig, BrokerEngine, ServicePolicy, Verb};
///
/// let mut engine = BrokerEngine::new(BrokerConfig::default());
/// engine.set_policy("slow", ServicePolicy { max_deliveries: 1, ..ServicePolicy::default() });
/// engine.set_authorizer(|_: &PeerId, verb: Verb, service: &[u8]| {
///     verb == Verb::Call || service != b"secret"
/// });
/// let broker = Broker::bind(&Context::default(), &["tcp://127.0.0.1:*"], engine)?;
/// assert_eq!(broker.handle().counters().requests, 0);
/// # Ok::<(), sinew_patterns::StartError>(())
/// ```
#[derive(Debug)]
pub struct Broker {
    handle: BrokerHandle,
    endpoints: Vec<Endpoint>,
}

/// What any thread controls a [`Broker`] with.
#[derive(Debug, Clone)]
pub struct BrokerHandle {
    running: Arc<Running<Command>>,
    last: Arc<OnceLock<BrokerCounters>>,
}

impl Broker {
    /// A broker that is bound to these endpoints. Requests that are dead are counted.
    ///
    /// # Errors
    /// If there is no endpoint, one cannot be bound, or a socket or the thread cannot be made.
    pub fn bind<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        engine: BrokerEngine,
    ) -> Result<Self, StartError> {
        Broker::bind_with(context, at, engine, drop)
    }

    /// The same; this is called with each request that is dead, on the broker's thread, which waits for it.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with<T: ToEndpoint>(
        context: &Context,
        at: &[T],
        engine: BrokerEngine,
        on_dead: impl FnMut(BrokerEvent) + Send + 'static,
    ) -> Result<Self, StartError> {
        let mut router = replier(context)?;
        let bound = endpoints(at)?.into_iter().map(|at| router.bind(at));
        let endpoints = bound.collect::<Result<_, _>>()?;
        let last = Arc::new(OnceLock::new());
        let desk = Counter {
            on_dead: Box::new(on_dead),
            last: Arc::clone(&last),
        };
        let running = Running::start("sinew-mdp-broker", behind(router, engine), desk)?;
        let handle = BrokerHandle {
            running: Arc::new(running),
            last,
        };
        Ok(Broker { handle, endpoints })
    }

    /// Where it is bound to, with real ports.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// What any thread controls it with.
    #[must_use]
    pub fn handle(&self) -> BrokerHandle {
        self.handle.clone()
    }

    /// Waits until the broker has ended: somebody drains or stops it.
    pub fn run(self) {
        self.handle.join();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

impl BrokerHandle {
    /// What was done so far, also once the broker has ended; all zero if it ended by a panic.
    #[must_use]
    pub fn counters(&self) -> BrokerCounters {
        let now = self.ask(|engine| engine.counters());
        let counters = now.or_else(|| self.last.get().copied());
        counters.unwrap_or_default()
    }

    /// What a service is doing. `None` if it has neither workers nor requests.
    #[must_use]
    pub fn service(&self, name: impl AsRef<[u8]>) -> Option<ServiceStats> {
        let name = name.as_ref().to_vec();
        self.ask(move |engine| engine.service(name))?
    }

    /// The names of all services that have workers or requests, in order.
    #[must_use]
    pub fn services(&self) -> Vec<Vec<u8>> {
        let services = self.ask(|engine| engine.services().map(<[u8]>::to_vec).collect());
        services.unwrap_or_default()
    }

    /// The workers of a service, in the order of their names; none once the broker has ended.
    #[must_use]
    pub fn workers(&self, service: impl AsRef<[u8]>) -> Vec<WorkerStats> {
        let name = service.as_ref().to_vec();
        let workers = self.ask(move |engine| engine.workers(name));
        workers.unwrap_or_default()
    }

    /// Sends a worker away, and gives what it has to others: see [`BrokerEngine::handle_disconnect`]. False if there is no
    /// such worker, or the broker has ended.
    ///
    /// ```
    /// use sinew_patterns::mdp::BrokerHandle;
    ///
    /// /// Ends what the workers of a service are at.
    /// fn start_over(broker: &BrokerHandle, service: &str) {
    ///     for worker in broker.workers(service) {
    ///         broker.disconnect(&worker.worker);
    ///     }
    /// }
    /// ```
    pub fn disconnect(&self, worker: &PeerId) -> bool {
        let worker = worker.clone();
        let sent = self.ask(move |engine| engine.handle_disconnect(Instant::now(), &worker));
        sent.unwrap_or(false)
    }

    /// A policy for one service: see [`BrokerEngine::set_policy`].
    pub fn set_policy(&self, service: impl AsRef<[u8]>, policy: ServicePolicy) {
        let name = service.as_ref().to_vec();
        let _ = self.ask(move |engine| engine.set_policy(name, policy));
    }

    /// From now on requests are declined; what workers have is finished, and what waits is declined. Then the
    /// broker ends, within [`BrokerConfig::linger`](super::BrokerConfig::linger) of the first time that this is called. Does not
    /// wait for that: [`join`](Self::join) does.
    pub fn drain(&self) {
        let _ = self.running.sender().send(Command::Drain);
    }

    /// Ends the broker now. What it holds is lost; clients ask again. One that has drained, and only waits for clients to read
    /// what its socket has, ends no sooner for this.
    pub fn stop(&self) {
        let _ = self.running.sender().send(Command::Stop);
    }

    /// Waits until the broker has ended and its socket is closed: of one that was stopped, at most a second after its last
    /// message; of one that drains, within its [`linger`](super::BrokerConfig::linger), all of which clients have to read what
    /// they are told.
    pub fn join(&self) {
        self.running.join();
    }

    /// The same as [`join`](Self::join) for a task of any executor.
    pub async fn join_async(&self) {
        self.running.join_async().await;
    }

    fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut BrokerEngine) -> R + Send + 'static,
    ) -> Option<R> {
        self.running.sender().ask(Command::With, question)
    }
}

enum Command {
    With(With<BrokerEngine>),
    Drain,
    Stop,
}

struct Counter {
    on_dead: Box<dyn FnMut(BrokerEvent) + Send>,
    /// For those who ask when it has ended.
    last: Arc<OnceLock<BrokerCounters>>,
}

impl Counter {
    /// What its socket has is sent as long as there is time: all that is left of it, if the broker has drained.
    fn ends(
        &self,
        driver: &mut Driver<BrokerEngine, Command>,
        at_most: Duration,
    ) -> ControlFlow<()> {
        let _ = self.last.set(driver.engine.counters());
        let ends = driver.engine.ends();
        if let (Some(ends), Some(router)) = (ends, driver.sockets.router(PORT)) {
            let left = ends.saturating_duration_since(Instant::now());
            // It has a linger time as it is.
            let _ = router.set_linger(left.min(at_most));
        }
        ControlFlow::Break(())
    }
}

impl Desk for Counter {
    type Engine = BrokerEngine;
    type Command = Command;

    fn handle_event(
        &mut self,
        driver: &mut Driver<BrokerEngine, Command>,
        event: BrokerEvent,
    ) -> ControlFlow<()> {
        match event {
            BrokerEvent::Drained => return self.ends(driver, Duration::MAX),
            dead @ BrokerEvent::Dead { .. } => (self.on_dead)(dead),
        }
        ControlFlow::Continue(())
    }

    fn handle_command(
        &mut self,
        driver: &mut Driver<BrokerEngine, Command>,
        command: Command,
    ) -> ControlFlow<()> {
        match command {
            Command::With(with) => with(&mut driver.engine),
            Command::Drain => driver.engine.handle_drain(Instant::now()),
            Command::Stop => return self.ends(driver, LINGER),
        }
        ControlFlow::Continue(())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Command")
    }
}
