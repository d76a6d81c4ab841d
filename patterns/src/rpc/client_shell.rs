//! The client on sockets: one DEALER per server, one thread for all of them.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use sinew::{Context, Message, ToEndpoint};

use super::{ClientConfig, ClientEngine};
use crate::common::{CallCounters, CallError, CallEvent, CallId, CallOptions, Port};
use crate::shell::{
    endpoints, seed, CallEngine, CallTold, Caller, Driver, Replies, Sockets, StartError,
};

/// A client of one or several equivalent servers: any number of calls at once, from any number of threads.
///
/// Each call ends once, with a reply or a [`CallError`], and no later than its deadline. What is asked again
/// when, and of whom, is in [`ClientConfig::retry`] and [`CallOptions::idem`]. Clones are the same client; when
/// the last one is dropped, the calls that are left end with [`CallError::Closed`].
///
/// The servers are REP sockets of any library, or a [`Server`](super::Server) ([`Dialect`](super::Dialect)).
/// Over inproc nobody tells that a server is gone: calls then end by time.
///
/// ```
/// use sinew::Context;
/// use sinew_patterns::rpc::{CallOptions, Client, ClientConfig, Server, ServerConfig};
///
/// let context = Context::default();
/// let server = Server::bind(&context, &["tcp://127.0.0.1:*"], ServerConfig::default())?;
/// let endpoints = server.endpoints().to_vec();
/// let handle = server.handle();
/// let thread = std::thread::spawn(move || server.serve(|request| Ok(request.take_body())));
///
/// let client = Client::connect(&context, &endpoints, ClientConfig::default())?;
/// let reply = client.call("hello", &CallOptions::default())?;
/// assert_eq!(reply.as_bytes(), b"hello");
/// client.close();
/// handle.drain();
/// # thread.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client(Caller<ClientEngine>);

impl Client {
    /// A client of the servers at these endpoints. Nobody need be there yet.
    ///
    /// # Errors
    /// If there is no endpoint, one is malformed, or a socket or the thread cannot be made.
    pub fn connect<T: ToEndpoint>(
        context: &Context,
        servers: &[T],
        config: ClientConfig,
    ) -> Result<Self, StartError> {
        let servers = endpoints(servers)?;
        // What a caller has given up is not to be carried out later.
        let mut sockets = Sockets::new(context, Duration::ZERO);
        let mut port = 0;
        for server in &servers {
            sockets.open(Port(port), server)?;
            port += 1;
        }
        let driver = Driver::new(ClientEngine::new(config, port, seed()), sockets);
        let keep = Box::new(|_: &mut Driver<_, _>, _| {});
        Caller::start(
            "sinew-rpc-client",
            driver,
            (config.calls, config.whole),
            keep,
        )
        .map(Client)
    }

    /// Asks, and waits for the reply. If it comes in parts, they are put together.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(
        &self,
        body: impl Into<Message>,
        options: &CallOptions,
    ) -> Result<Message, CallError> {
        self.0.begin(body.into(), options).whole()
    }

    /// The same for a task of any executor. The call begins now, not when the future is first polled; dropping
    /// the future gives this call up, and no other.
    pub fn call_async(
        &self,
        body: impl Into<Message>,
        options: &CallOptions,
    ) -> impl Future<Output = Result<Message, CallError>> + Send {
        self.0.begin(body.into(), options).whole_async()
    }

    /// Asks, and gives the parts of the reply as they come.
    pub fn call_streaming(&self, body: impl Into<Message>, options: &CallOptions) -> Replies {
        self.0.begin(body.into(), options).into()
    }

    /// Asks, and does this with the reply, on the thread that drives the sockets.
    pub(crate) fn call_then(
        &self,
        body: Message,
        options: &CallOptions,
        then: impl FnOnce(Result<Message, CallError>) + Send + 'static,
    ) {
        self.0.begin_then(body, options, Box::new(then));
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
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl CallEngine for ClientEngine {
    type Ask = Message;

    fn begin(
        &mut self,
        now: Instant,
        ask: Message,
        options: CallOptions,
    ) -> Result<CallId, CallError> {
        self.handle_call(now, ask, options)
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

    fn told(event: CallEvent) -> CallTold {
        CallTold::Call(event)
    }
}
