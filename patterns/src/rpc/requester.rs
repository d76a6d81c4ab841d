//! The shell of the engine, for threads and tasks: one REQ socket per endpoint, kept from call to call.

use std::future::Future;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{select, Either};
use sinew::{
    BuildError, Context, Message, ReconnectPolicy, RecvError, Req, SendError, SendFailure,
    ToEndpoint,
};

use super::engine::{Action, Engine, Outcome};
use super::{CallError, CallId, CallOptions, Counters, Idem, RequesterConfig};
use crate::shell::{seed, RECONNECT};

/// Asks servers, and asks again: see [`rpc`](super).
///
/// The servers are REP sockets, of Sinew or of any other library. With several endpoints they must be
/// equivalent; a call begins with the one that replied last.
///
/// A retry to a server that is still connected goes over the same connection: each request carries an
/// id that its reply repeats, so a late reply is never taken for another.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Context, Rep};
/// use sinew_patterns::rpc::{CallOptions, Requester, RequesterConfig};
///
/// let mut server = Rep::new();
/// let endpoint = server.bind("tcp://127.0.0.1:*")?;
/// let thread = std::thread::spawn(move || {
///     server.recv().unwrap();
///     server.skip_reply(); // The first request is lost.
///     let request = server.recv().unwrap();
///     server.send(request).unwrap();
///     server.close();
/// });
///
/// let config = RequesterConfig {
///     attempt_timeout: Duration::from_millis(50),
///     ..RequesterConfig::default()
/// };
/// let mut requester = Requester::connect(&Context::default(), &[endpoint], config)?;
/// let reply = requester.call("hello", &CallOptions::default())?;
/// assert_eq!(reply.as_bytes(), b"hello");
/// assert!(requester.counters().retries >= 1);
/// # thread.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Requester {
    lanes: Vec<Lane>,
    engine: Engine,
}

/// The way to one endpoint.
#[derive(Debug)]
struct Lane {
    socket: Req,
    /// The call whose reply is awaited.
    asked: Option<CallId>,
}

impl Requester {
    /// A requester for these endpoints. Nobody need be there yet.
    ///
    /// # Errors
    /// If an endpoint is malformed or cannot be connected to.
    ///
    /// # Panics
    /// If there are no endpoints.
    pub fn connect<E: ToEndpoint>(
        context: &Context,
        endpoints: &[E],
        config: RequesterConfig,
    ) -> Result<Self, BuildError> {
        let lanes = endpoints
            .iter()
            .map(|endpoint| Lane::open(context, endpoint))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Requester {
            engine: Engine::new(config, lanes.len(), seed()),
            lanes,
        })
    }

    /// Sends a request and waits for its reply, asking again where that is needed and allowed.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(
        &mut self,
        body: impl Into<Message>,
        options: &CallOptions,
    ) -> Result<Message, CallError> {
        let body = body.into();
        self.begin(options)?;
        let mut current = 0;
        loop {
            while let Some((call, endpoint, until)) = self.due() {
                current = endpoint;
                let socket = &mut self.lanes[endpoint].socket;
                let sent = socket.send_deadline(body.clone(), until);
                self.asked(call, endpoint, Some(sent))?;
            }
            if let Some(outcome) = self.engine.poll_outcome() {
                return result_of(outcome);
            }
            self.listen(current);
        }
    }

    /// The same for a task of any executor.
    ///
    /// Dropping the future gives the call up: it is not asked again, and its reply, if one comes, is discarded and counted
    /// ([`Counters::stale_replies`]). If it had been asked, it may have been carried out. The next call begins as any does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinew::{Context, Rep};
    /// use sinew_patterns::rpc::{CallOptions, Requester, RequesterConfig};
    ///
    /// # futures::executor::block_on(async {
    /// let mut server = Rep::new();
    /// let endpoint = server.bind("tcp://127.0.0.1:*")?;
    /// let config = RequesterConfig::default();
    /// let mut requester = Requester::connect(&Context::default(), &[endpoint], config)?;
    /// let serve = async {
    ///     let request = server.recv_async().await.unwrap();
    ///     server.send_async(request).await.unwrap();
    /// };
    /// let options = CallOptions::default();
    /// let (reply, ()) = futures::join!(requester.call_async("hello", &options), serve);
    /// assert_eq!(reply?.as_bytes(), b"hello");
    /// requester.close_async().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_async(
        &mut self,
        body: impl Into<Message>,
        options: &CallOptions,
    ) -> Result<Message, CallError> {
        let body = body.into();
        self.begin(options)?;
        let mut current = 0;
        loop {
            while let Some((call, endpoint, until)) = self.due() {
                current = endpoint;
                let sending = self.lanes[endpoint].socket.send_async(body.clone());
                let sent = before(until, sending).await;
                self.asked(call, endpoint, sent)?;
            }
            if let Some(outcome) = self.engine.poll_outcome() {
                return result_of(outcome);
            }
            self.listen_async(current).await;
        }
    }

    /// Closes the connections. Nothing waits to be sent then, so it takes only as long as the threads of the context take
    /// to come to it. To drop the requester is the same, without waiting for them.
    pub fn close(self) {
        for lane in self.lanes {
            lane.socket.close();
        }
    }

    /// The same for a task of any executor. If the future is dropped, the connections are closed all the same.
    pub async fn close_async(self) {
        for lane in self.lanes {
            lane.socket.close_async().await;
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.engine.counters()
    }

    /// A call begins. Replies to earlier ones, which nobody waits for any more, are taken first.
    fn begin(&mut self, options: &CallOptions) -> Result<(), CallError> {
        if matches!(options.idem, Idem::Key(_)) {
            return Err(CallError::NeedsExt);
        }
        self.engine.handle_call(options, Instant::now());
        self.glance();
        Ok(())
    }

    /// Which call is to be sent where, once there is a connection, and until when.
    fn due(&mut self) -> Option<(CallId, usize, Instant)> {
        let Action::Send { call, endpoint } = self.engine.poll_action()?;
        let until = self.engine.poll_timeout()?;
        Some((call, endpoint, until))
    }

    /// What came of asking; `None`: the time was over first.
    ///
    /// # Errors
    /// If nobody can ever be asked that.
    fn asked(
        &mut self,
        call: CallId,
        endpoint: usize,
        sent: Option<Result<(), SendError>>,
    ) -> Result<(), CallError> {
        let now = Instant::now();
        if let Some(Ok(())) = sent {
            self.lanes[endpoint].asked = Some(call);
            self.engine.handle_sent(now);
            return Ok(());
        }
        self.engine.handle_unavailable(now);
        let too_large = sent.and_then(Result::err).as_ref().and_then(too_large);
        too_large.map_or(Ok(()), Err)
    }

    /// Waits for a reply on the endpoint asked last, until the engine wants something else. Then others
    /// asked before are looked at once, before the engine asks anew.
    fn listen(&mut self, current: usize) {
        let Some(until) = self.engine.poll_timeout() else {
            return;
        };
        if self.lanes[current].asked.is_some() {
            let received = self.lanes[current].socket.recv_deadline(until);
            self.received(current, received);
        } else {
            thread::sleep(until.saturating_duration_since(Instant::now()));
        }
        self.look();
    }

    /// As [`listen`](Self::listen).
    async fn listen_async(&mut self, current: usize) {
        let Some(until) = self.engine.poll_timeout() else {
            return;
        };
        if self.lanes[current].asked.is_some() {
            let receiving = self.lanes[current].socket.recv_async();
            if let Some(received) = before(until, receiving).await {
                self.received(current, received);
            }
        } else {
            sinew::sleep_until(until).await;
        }
        self.look();
    }

    fn look(&mut self) {
        self.glance();
        self.engine.handle_timeout(Instant::now());
    }

    /// Takes replies that are there already.
    fn glance(&mut self) {
        for index in 0..self.lanes.len() {
            if self.lanes[index].asked.is_some() {
                let received = self.lanes[index].socket.try_recv();
                self.received(index, received);
            }
        }
    }

    fn received(&mut self, index: usize, received: Result<Message, RecvError>) {
        let now = Instant::now();
        let lane = &mut self.lanes[index];
        match received {
            Ok(reply) => {
                if let Some(call) = lane.asked.take() {
                    self.engine.handle_reply(call, index, reply, now);
                }
            }
            Err(error) if error.is_timeout() => {}
            Err(_) => {
                // The connection is lost; the socket makes another by itself.
                if let Some(call) = lane.asked.take() {
                    self.engine.handle_peer_lost(call, index, now);
                }
            }
        }
    }
}

impl Lane {
    fn open(context: &Context, endpoint: &impl ToEndpoint) -> Result<Self, BuildError> {
        let socket = Req::builder()
            .context(context)
            // A request that was given up is not to be carried out later: none is queued for a server
            // that is not connected, none outlives its connection, none this socket.
            .immediate(true)
            .linger(Duration::ZERO)
            .reconnect(ReconnectPolicy::backoff(RECONNECT.0, RECONNECT.1))
            .connect(endpoint)?;
        Ok(Lane {
            socket,
            asked: None,
        })
    }
}

/// It will never be sent, to whomever.
fn too_large(error: &SendError) -> Option<CallError> {
    match error.reason() {
        SendFailure::MessageTooLarge { size, limit } => Some(CallError::TooLarge { size, limit }),
        _ => None,
    }
}

fn result_of(outcome: Outcome) -> Result<Message, CallError> {
    match outcome {
        Outcome::Reply(reply) => Ok(reply),
        Outcome::TimedOut {
            attempts,
            maybe_executed,
        } => Err(CallError::TimedOut {
            attempts,
            maybe_executed,
        }),
        Outcome::Disconnected {
            attempts,
            maybe_executed,
        } => Err(CallError::Disconnected {
            attempts,
            maybe_executed,
        }),
    }
}

/// What comes of this, if that is before then.
async fn before<F: Future>(until: Instant, future: F) -> Option<F::Output> {
    match select(pin!(future), sinew::sleep_until(until)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
