//! The client on sockets: DEALERs to each broker, one thread for all of them.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use sinew::{Context, Endpoint, Frame, Message, ToEndpoint};

use super::{ClientConfig, ClientEngine, ClientEvent};
use crate::common::{CallCounters, CallError, CallId, CallOptions, Port};
use crate::shell::{
    endpoints, seed, CallEngine, CallTold, Caller, Driver, Replies, Sockets, StartError,
};

/// A client of the services behind one or several equivalent brokers: any number of calls at once, from any
/// number of threads. Calls end as those of [`rpc::Client`](crate::rpc::Client) do.
///
/// ```
/// use sinew::Context;
/// use sinew_patterns::common::CallOptions;
/// use sinew_patterns::mdp::{
///     Broker, BrokerConfig, BrokerEngine, Client, ClientConfig, Worker, WorkerConfig,
/// };
///
/// let context = Context::default();
/// let engine = BrokerEngine::new(BrokerConfig::default());
/// let broker = Broker::bind(&context, &["tcp://127.0.0.1:*"], engine)?;
/// let at = broker.endpoints().to_vec();
///
/// let worker = Worker::connect(&context, &at, "echo", WorkerConfig::default())?;
/// let handle = worker.handle();
/// let thread = std::thread::spawn(move || worker.serve(|request| Ok(request.take_body())));
///
/// let client = Client::connect(&context, &at, ClientConfig::default())?;
/// let reply = client.call("echo", "hello", &CallOptions::default())?;
/// assert_eq!(reply.as_bytes(), b"hello");
/// assert!(client.available("echo", &CallOptions::default())?);
/// client.close();
/// handle.drain();
/// # thread.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client(Caller<ClientEngine>);

impl Client {
    /// A client of the brokers at these endpoints. Nobody need be there yet.
    ///
    /// # Errors
    /// If there is no endpoint, one is malformed, or a socket or the thread cannot be made.
    pub fn connect<T: ToEndpoint>(
        context: &Context,
        brokers: &[T],
        config: ClientConfig,
    ) -> Result<Self, StartError> {
        let brokers = endpoints(brokers)?;
        let count = u32::try_from(brokers.len()).unwrap_or(u32::MAX);
        let engine = ClientEngine::new(config, count, seed());
        // Which endpoint each port leads to.
        let ways: Vec<Endpoint> = (0..engine.ports())
            .map(|port| brokers[engine.broker_of(Port(port))].clone())
            .collect();
        // What a caller has given up is not to be carried out later.
        let mut sockets = Sockets::new(context, Duration::ZERO);
        for (port, way) in (0..).zip(&ways) {
            sockets.open(Port(port), way)?;
        }
        let reopen = Box::new(move |driver: &mut Driver<_, _>, port: Port| {
            if let Some(way) = ways.get(port.0 as usize) {
                driver.sockets.open_soon(port, way);
            }
        });
        let driver = Driver::new(engine, sockets);
        Caller::start(
            "sinew-mdp-client",
            driver,
            (config.calls, config.whole),
            reopen,
        )
        .map(Client)
    }

    /// Asks a service, and waits for the reply. If it comes in parts, they are put together.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(
        &self,
        service: impl Into<Frame>,
        body: impl Into<Message>,
        options: &CallOptions,
    ) -> Result<Message, CallError> {
        self.begin(service, body, options).whole()
    }

    /// The same for a task of any executor. The call begins now, not when the future is first polled; dropping
    /// the future gives this call up, and no other.
    pub fn call_async(
        &self,
        service: impl Into<Frame>,
        body: impl Into<Message>,
        options: &CallOptions,
    ) -> impl Future<Output = Result<Message, CallError>> + Send {
        self.begin(service, body, options).whole_async()
    }

    /// Asks a service, and gives the parts of the reply as they come.
    pub fn call_streaming(
        &self,
        service: impl Into<Frame>,
        body: impl Into<Message>,
        options: &CallOptions,
    ) -> Replies {
        self.begin(service, body, options).into()
    }

    /// Whether a broker knows a worker of this service (8/MMI, `mmi.service`).
    ///
    /// # Errors
    /// If no broker answers in time, as [`call`](Self::call).
    pub fn available(
        &self,
        service: impl Into<Frame>,
        options: &CallOptions,
    ) -> Result<bool, CallError> {
        let asked = self.begin("mmi.service", Message::from(service.into()), options);
        asked.whole().map(is_offered)
    }

    /// The same for a task of any executor. The question is sent now, not when the future is first polled; dropping the
    /// future gives it up.
    ///
    /// # Errors
    /// As [`available`](Self::available).
    pub fn available_async(
        &self,
        service: impl Into<Frame>,
        options: &CallOptions,
    ) -> impl Future<Output = Result<bool, CallError>> + Send {
        let asked = self.begin("mmi.service", Message::from(service.into()), options);
        async move { asked.whole_async().await.map(is_offered) }
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> CallCounters {
        self.0.counters()
    }

    /// Ends all calls, of all clones, with [`CallError::Closed`], and waits until the sockets are closed.
    pub fn close(self) {
        self.0.close();
    }

    fn begin(
        &self,
        service: impl Into<Frame>,
        body: impl Into<Message>,
        options: &CallOptions,
    ) -> crate::shell::Pending<ClientEngine> {
        self.0.begin((service.into(), body.into()), options)
    }
}

/// What the broker said to `mmi.service`.
fn is_offered(reply: Message) -> bool {
    reply.frame(0).is_some_and(|code| code.as_slice() == b"200")
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl CallEngine for ClientEngine {
    type Ask = (Frame, Message);

    fn begin(
        &mut self,
        now: Instant,
        (service, body): Self::Ask,
        options: CallOptions,
    ) -> Result<CallId, CallError> {
        self.handle_call(now, service, body, options)
    }

    fn cancel(&mut self, now: Instant, call: CallId) {
        self.handle_cancel(now, call);
    }

    fn read(&mut self, call: CallId) {
        self.handle_read(call);
    }

    fn close(&mut self, now: Instant) {
        self.handle_close(now);
    }

    fn count(&mut self) -> CallCounters {
        self.counters()
    }

    fn told(event: ClientEvent) -> CallTold {
        match event {
            ClientEvent::Call(event) => CallTold::Call(event),
            ClientEvent::Reset { port } => CallTold::Reset(port),
        }
    }
}
