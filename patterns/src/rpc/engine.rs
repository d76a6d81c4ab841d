//! The retrying requester as a value: no sockets, no clock, no threads.
//!
//! One call at a time. Order of use: [`Engine::handle_call`], then, whenever something happened or
//! the time of [`Engine::poll_timeout`] has come, the `handle_*` method for it; after each of them
//! [`Engine::poll_action`] until `None`, and [`Engine::poll_outcome`].
//!
//! | state | event | next |
//! | --- | --- | --- |
//! | Asking | sent | Waiting, attempt + 1 |
//! | Asking | unavailable | Pausing, then the next endpoint; it does not count as an attempt |
//! | Waiting | reply | over: reply |
//! | Waiting | attempt timer, retry allowed | Pausing, then the next endpoint |
//! | Waiting | attempt timer, no retry allowed | Waiting, until the deadline |
//! | Waiting | peer lost, retry allowed | Pausing, then the next endpoint |
//! | Waiting | peer lost, no retry allowed | over: disconnected |
//! | Pausing | reply to an earlier attempt | over: reply |
//! | any | deadline | over: timed out, or disconnected if it was never sent |

use std::time::{Duration, Instant};

use sinew::Message;

use super::{CallOptions, Counters, RequesterConfig};
use crate::common::{Bucket, CallId, Idem, Random, LONGEST};

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send the request to an endpoint, and report with [`Engine::handle_sent`] or
    /// [`Engine::handle_unavailable`].
    Send {
        /// Which call's request.
        call: CallId,
        /// Index of the endpoint.
        endpoint: usize,
    },
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// With a reply.
    Reply(Message),
    /// The deadline came first.
    TimedOut {
        /// How often the request was sent, at least once.
        attempts: u32,
        /// Whether a server may have carried it out.
        maybe_executed: bool,
    },
    /// There was no connection to send it over (`attempts` is 0), or it was lost with the request.
    Disconnected {
        /// How often the request was sent.
        attempts: u32,
        /// Whether a server may have carried it out.
        maybe_executed: bool,
    },
}

/// See the module `rpc`, and the table at the top of this file.
#[derive(Debug)]
pub struct Engine {
    config: RequesterConfig,
    endpoints: usize,
    /// Where the next request goes first: the endpoint that replied last.
    endpoint: usize,
    bucket: Bucket,
    random: Random,
    next_id: u64,
    call: Option<Call>,
    action: Option<Action>,
    outcome: Option<Outcome>,
    counters: Counters,
}

#[derive(Debug)]
struct Call {
    id: CallId,
    deadline: Instant,
    idem: Idem,
    attempts: u32,
    /// Pauses made, for the backoff.
    pauses: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The shell has been told to send.
    Asking { until: Instant },
    /// The request was sent. `None`: no retry is left, the deadline decides.
    Waiting { until: Option<Instant> },
    /// Before the next try.
    Pausing { until: Instant },
}

impl Engine {
    /// An engine for this number of endpoints. The schedule of retries follows from `seed` alone.
    ///
    /// # Panics
    /// If there are no endpoints.
    #[must_use]
    pub fn new(config: RequesterConfig, endpoints: usize, seed: u64) -> Self {
        assert!(endpoints > 0, "a requester needs an endpoint");
        Engine {
            config,
            endpoints,
            endpoint: 0,
            bucket: Bucket::new(config.budget),
            random: Random::new(seed),
            next_id: 0,
            call: None,
            action: None,
            outcome: None,
            counters: Counters::default(),
        }
    }

    /// Begins a call. One that is still running ends without an outcome.
    pub fn handle_call(&mut self, options: &CallOptions, now: Instant) -> CallId {
        self.counters.calls += 1;
        self.bucket.fill();
        let id = CallId(self.next_id);
        self.next_id += 1;
        self.outcome = None;
        self.call = Some(Call {
            id,
            deadline: now + options.deadline.min(LONGEST),
            idem: options.idem,
            attempts: 0,
            pauses: 0,
            state: State::Pausing { until: now },
        });
        self.handle_timeout(now);
        id
    }

    /// The request was handed to a connection: from here on it may be carried out.
    pub fn handle_sent(&mut self, now: Instant) {
        let step = self.step();
        let Some(call) = self.asking() else {
            return;
        };
        call.attempts += 1;
        call.state = State::Waiting {
            until: Some(now + step),
        };
        let again = call.attempts > 1;
        self.counters.attempts += 1;
        self.counters.retries += u64::from(again);
        self.handle_timeout(now);
    }

    /// Nothing was sent, for the endpoint has no connection.
    pub fn handle_unavailable(&mut self, now: Instant) {
        if self.asking().is_none() {
            return;
        }
        self.counters.unavailable += 1;
        self.elsewhere(now);
        self.handle_timeout(now);
    }

    /// A reply has come, from any endpoint, to any attempt of this call. Replies to calls that are over
    /// are counted and discarded.
    pub fn handle_reply(&mut self, call: CallId, from: usize, reply: Message, now: Instant) {
        // What comes after the deadline is late, whether or not the timer was noticed first.
        self.handle_timeout(now);
        match &self.call {
            Some(current) if current.id == call && current.attempts > 0 => {
                self.endpoint = from;
                self.end(Outcome::Reply(reply));
            }
            _ => self.counters.stale_replies += 1,
        }
    }

    /// The connection that a request of this call went over is lost. It matters if that was the latest
    /// attempt.
    pub fn handle_peer_lost(&mut self, call: CallId, endpoint: usize, now: Instant) {
        self.handle_timeout(now);
        let attempts = match &self.call {
            Some(current) if current.id == call => current.attempts,
            _ => return,
        };
        if endpoint != self.endpoint || !self.is_waiting() {
            return;
        }
        if self.may_retry() {
            self.elsewhere(now);
            self.handle_timeout(now);
        } else {
            self.end(Outcome::Disconnected {
                attempts,
                maybe_executed: true,
            });
        }
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) may have come. Does nothing if it has not.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(call) = &mut self.call else {
            return;
        };
        if now >= call.deadline {
            let attempts = call.attempts;
            self.end(match attempts {
                0 => Outcome::Disconnected {
                    attempts,
                    maybe_executed: false,
                },
                _ => Outcome::TimedOut {
                    attempts,
                    maybe_executed: true,
                },
            });
            return;
        }
        match call.state {
            State::Waiting { until: Some(until) } if now >= until => {
                call.state = State::Waiting { until: None };
                if self.may_retry() {
                    self.elsewhere(now);
                    self.handle_timeout(now);
                }
            }
            State::Pausing { until } if now >= until => {
                let id = call.id;
                let until = now + self.step();
                self.set_state(State::Asking { until });
                self.action = Some(Action::Send {
                    call: id,
                    endpoint: self.endpoint,
                });
            }
            _ => {}
        }
    }

    /// What to do now. Its answer may change after any `handle_*`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// How the call ended, once. Its answer may change after any `handle_*`.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), or, while a request is being sent, to give
    /// that up and report [`handle_unavailable`](Self::handle_unavailable). Never later than the deadline
    /// of the call; `None` if there is no call. Its answer may change after any `handle_*`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.call.as_ref()?;
        Some(match call.state {
            State::Asking { until } | State::Pausing { until } => until.min(call.deadline),
            State::Waiting { until } => {
                until.map_or(call.deadline, |until| until.min(call.deadline))
            }
        })
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn asking(&mut self) -> Option<&mut Call> {
        self.call
            .as_mut()
            .filter(|call| matches!(call.state, State::Asking { .. }))
    }

    fn is_waiting(&self) -> bool {
        let state = self.call.as_ref().map(|call| call.state);
        matches!(state, Some(State::Waiting { .. }))
    }

    fn set_state(&mut self, state: State) {
        if let Some(call) = &mut self.call {
            call.state = state;
        }
    }

    fn end(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Reply(_) => self.counters.replies += 1,
            _ => self.counters.failures += 1,
        }
        self.call = None;
        self.action = None;
        self.outcome = Some(outcome);
    }

    /// Whether the request may be sent again; takes the retry from the budget if so.
    fn may_retry(&mut self) -> bool {
        let Some(call) = &self.call else {
            return false;
        };
        if call.idem == Idem::Once || call.attempts >= self.config.max_attempts {
            return false;
        }
        let allowed = self.bucket.take();
        self.counters.over_budget += u64::from(!allowed);
        allowed
    }

    /// After a pause, the next endpoint.
    fn elsewhere(&mut self, now: Instant) {
        self.endpoint = (self.endpoint + 1) % self.endpoints;
        let Some(call) = &mut self.call else {
            return;
        };
        let pause = self.config.backoff.pause(call.pauses, &mut self.random);
        call.pauses += 1;
        self.set_state(State::Pausing { until: now + pause });
    }

    fn step(&self) -> Duration {
        self.config.attempt_timeout.clamp(SHORTEST, LONGEST)
    }
}

/// Less would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
