//! The blocking shell of the engine: one REQ socket per endpoint, kept from call to call.

use std::thread;
use std::time::{Duration, Instant};

use sinew::{BuildError, Context, Message, ReconnectPolicy, RecvError, Req, ToEndpoint};

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
        if matches!(options.idem, Idem::Key(_)) {
            return Err(CallError::NeedsExt);
        }
        let body = body.into();
        self.engine.handle_call(options, Instant::now());
        // Replies to earlier calls, which nobody waits for any more.
        self.glance();
        let mut current = 0;
        loop {
            while let Some(Action::Send { call, endpoint }) = self.engine.poll_action() {
                current = endpoint;
                self.ask(call, endpoint, &body);
            }
            if let Some(outcome) = self.engine.poll_outcome() {
                return match outcome {
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
                };
            }
            self.listen(current);
            self.engine.handle_timeout(Instant::now());
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.engine.counters()
    }

    /// Sends the request to one endpoint, once there is a connection.
    fn ask(&mut self, call: CallId, endpoint: usize, body: &Message) {
        let Some(until) = self.engine.poll_timeout() else {
            return;
        };
        let lane = &mut self.lanes[endpoint];
        let sent = lane.socket.send_deadline(body.clone(), until).is_ok();
        let now = Instant::now();
        if sent {
            lane.asked = Some(call);
            self.engine.handle_sent(now);
        } else {
            self.engine.handle_unavailable(now);
        }
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
        self.glance();
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
