//! The table of running calls: who is asked, when again, whom else, and how each call ends, once.
//!
//! It knows nothing of what requests look like on the wire; the clients of `rpc` and `mdp` do. A call goes
//! over a *route* (a socket), and a route leads to a server. A route takes so many calls at once: one if
//! its protocol cannot tell replies apart. Such a route is reset when a call on it is given up, so that
//! the late reply is not taken for another's.
//!
//! | state | event | next |
//! | --- | --- | --- |
//! | Queued | a route is free, and its breaker allows | Sent, attempt + 1 |
//! | Sent | reply | over: reply |
//! | Sent | attempt timer, retry allowed | Pausing, then Queued |
//! | Sent | attempt timer, no retry allowed | Sent, until the deadline |
//! | Sent | connection lost, retry allowed | Pausing, then Queued |
//! | Sent | connection lost, no retry allowed | over: disconnected |
//! | Sent | refused by the server (429, 503), retry allowed | Pausing, then Queued |
//! | Sent | refused by the server, no retry allowed | over: rejected |
//! | Pausing, Queued | reply to an earlier attempt | over: reply |
//! | Sent | no reply for a while, if that is wanted | Sent, and another server is asked, too: see [`hedge`] |
//! | any | deadline | over: timed out, or disconnected if it was never sent |
//! | any | given up by the caller | over, and told to the server |

mod counters;
mod hedge;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use sinew::Message;

use super::{
    Breaker, Bucket, CallError, CallOptions, Fault, IdMap, Idem, Port, Random, RetryPolicy, LONGEST,
};

pub use counters::{CallCounters, RoundTrips};

/// Names one call of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(crate) u64);

/// What happened to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEvent {
    /// A part of the reply came; others follow. Report with the client's `handle_read` when it was read.
    Partial {
        /// Which call's.
        call: CallId,
        /// The part.
        message: Message,
    },
    /// It is over.
    Done {
        /// Which call.
        call: CallId,
        /// The reply, or the last part of it.
        result: Result<Message, CallError>,
    },
}

/// The bounds of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
    pub(crate) unread: usize,
}

/// Which of several servers is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Sticky,
    LeastLoaded,
}

/// What a server says to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A part, after so many others.
    Partial(Message, Option<u32>),
    /// The last part, after so many others.
    Final(Message, Option<u32>),
    /// It was not begun, and is welcome later.
    Rejected(Fault),
    /// It was not begun, and is welcome elsewhere.
    Unavailable(Fault),
    /// It came too late, and was not begun.
    Expired,
    NoService,
    Failed(Fault),
}

impl Answer {
    /// Whether whoever says it has not begun with the call.
    fn is_not_begun(&self) -> bool {
        matches!(
            self,
            Answer::Rejected(_) | Answer::Unavailable(_) | Answer::Expired | Answer::NoService
        )
    }
}

/// A request is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dispatch {
    pub(crate) call: CallId,
    pub(crate) port: Port,
    pub(crate) attempt: u32,
    pub(crate) remaining: Duration,
}

/// Where to say that a call was given up, and its deadline.
pub(crate) type Cancel = (Port, CallId, Instant);

#[derive(Debug)]
pub(crate) struct Calls<T> {
    policy: RetryPolicy,
    bounds: Bounds,
    choice: Choice,
    routes: BTreeMap<Port, Route>,
    breakers: Vec<Breaker>,
    /// The server that replied last.
    preferred: usize,
    bucket: Bucket,
    random: Random,
    /// Boxed, since a map moves its values when one goes.
    calls: IdMap<Box<Call<T>>>,
    bytes: usize,
    next_id: u64,
    queued: BTreeSet<(Reverse<u8>, CallId)>,
    /// When each call's attempt has taken too long, or its pause is over; or its deadline, if that is before.
    timers: BTreeSet<(Instant, CallId)>,
    dispatches: VecDeque<Dispatch>,
    cancels: VecDeque<Cancel>,
    resets: VecDeque<Port>,
    events: VecDeque<CallEvent>,
    counters: CallCounters,
}

#[derive(Debug)]
struct Route {
    server: usize,
    capacity: usize,
    /// Whether giving a call up makes the route useless.
    resets: bool,
    up: bool,
    in_flight: IdMap<()>,
}

#[derive(Debug)]
struct Call<T> {
    request: T,
    bytes: usize,
    options: CallOptions,
    deadline: Instant,
    attempts: u32,
    /// When it was sent last.
    sent: Instant,
    pauses: u32,
    state: State,
    /// Whom it was sent to: nobody else may answer.
    asked: Asked,
    /// What its timer is set to. Kept here, where it is found at once.
    timer: Option<Instant>,
    avoid: Option<usize>,
    /// Parts of the reply that came.
    parts: u32,
    unread: usize,
    /// Whether the server of the current attempt was already blamed for its silence.
    blamed: bool,
    /// When another server is asked, too; and whom that was, while it has the request.
    hedge_at: Option<Instant>,
    hedge: Option<Port>,
}

/// The routes of all attempts, one as a rule.
#[derive(Debug, Default)]
struct Asked {
    first: Option<Port>,
    more: Vec<Port>,
}

impl Asked {
    fn push(&mut self, port: Port) {
        match self.first {
            None => self.first = Some(port),
            Some(_) => self.more.push(port),
        }
    }

    /// The last attempt was none.
    fn pop(&mut self) {
        if self.more.pop().is_none() {
            self.first = None;
        }
    }

    fn contains(&self, port: Port) -> bool {
        self.first == Some(port) || self.more.contains(&port)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    Sent(Port),
    Pausing,
}

impl<T> Calls<T> {
    pub(crate) fn new(policy: RetryPolicy, bounds: Bounds, choice: Choice, random: Random) -> Self {
        Calls {
            policy,
            bounds,
            choice,
            routes: BTreeMap::new(),
            breakers: Vec::new(),
            preferred: 0,
            bucket: Bucket::new(policy.budget),
            random,
            calls: IdMap::new(),
            bytes: 0,
            next_id: 0,
            queued: BTreeSet::new(),
            timers: BTreeSet::new(),
            dispatches: VecDeque::new(),
            cancels: VecDeque::new(),
            resets: VecDeque::new(),
            events: VecDeque::new(),
            counters: CallCounters::default(),
        }
    }

    /// A way to a server, which is down at first.
    pub(crate) fn add_route(&mut self, port: Port, server: usize, capacity: usize, resets: bool) {
        let breaker = self.policy.breaker.unwrap_or_default();
        while self.breakers.len() <= server {
            self.breakers.push(Breaker::new(breaker));
        }
        let route = Route {
            server,
            capacity,
            resets,
            up: false,
            in_flight: IdMap::new(),
        };
        self.routes.insert(port, route);
    }

    /// Whether giving a call up makes this route useless.
    pub(crate) fn set_resets(&mut self, port: Port, resets: bool) {
        if let Some(route) = self.routes.get_mut(&port) {
            route.resets = resets;
        }
    }

    pub(crate) fn begin(
        &mut self,
        now: Instant,
        request: T,
        bytes: usize,
        options: CallOptions,
    ) -> Result<CallId, CallError> {
        self.handle_timeout(now);
        let total = self.bytes.saturating_add(bytes);
        if self.calls.len() >= self.bounds.calls || total > self.bounds.bytes {
            self.counters.refused += 1;
            return Err(CallError::TooMany {
                calls: self.calls.len(),
                bytes: self.bytes,
            });
        }
        if let Some(retry_after) = self.all_open(now) {
            self.counters.refused += 1;
            return Err(CallError::CircuitOpen { retry_after });
        }
        let id = CallId(self.next_id);
        self.next_id += 1;
        self.counters.calls += 1;
        self.bucket.fill();
        self.bytes = total;
        let deadline = now + options.deadline.min(LONGEST);
        let call = Call {
            request,
            bytes,
            options,
            deadline,
            attempts: 0,
            sent: now,
            pauses: 0,
            state: State::Queued,
            asked: Asked::default(),
            timer: None,
            avoid: None,
            parts: 0,
            unread: 0,
            blamed: false,
            hedge_at: None,
            hedge: None,
        };
        self.calls.insert(id.0, Box::new(call));
        // Most find a route free, and nobody before them.
        let free = deadline > now && self.queued.is_empty();
        match free.then(|| self.choose(now, None)).flatten() {
            Some(port) => self.send(now, id, port),
            None => {
                self.enqueue(id);
                if deadline > now {
                    self.dispatch(now);
                }
            }
        }
        if self
            .calls
            .get(id.0)
            .is_some_and(|call| call.state == State::Queued)
        {
            self.set_timer(id, deadline);
        }
        // Also a deadline of nothing at all.
        self.handle_timeout(now);
        Ok(id)
    }

    pub(crate) fn request(&self, id: CallId) -> Option<(&T, &CallOptions)> {
        self.calls
            .get(id.0)
            .map(|call| (&call.request, &call.options))
    }

    /// The only call on a route, for protocols that cannot tell replies apart.
    pub(crate) fn only(&self, port: Port) -> Option<CallId> {
        self.routes
            .get(&port)?
            .in_flight
            .iter()
            .next()
            .map(|(id, ())| CallId(id))
    }

    pub(crate) fn handle_up(&mut self, now: Instant, port: Port) {
        if let Some(route) = self.routes.get_mut(&port) {
            route.up = true;
        }
        self.handle_timeout(now);
    }

    pub(crate) fn handle_down(&mut self, now: Instant, port: Port) {
        self.handle_timeout(now);
        let Some(route) = self.routes.get_mut(&port) else {
            return;
        };
        route.up = false;
        let lost = std::mem::take(&mut route.in_flight).ids();
        let server = route.server;
        if !lost.is_empty() {
            self.breakers[server].failure(now, &mut self.random);
        }
        for id in lost {
            if !self.other_of_two(port, CallId(id)) {
                self.lost(now, CallId(id), server);
            }
        }
        self.handle_timeout(now);
    }

    /// The request could not be handed to the socket: nothing was sent.
    pub(crate) fn handle_refused(&mut self, now: Instant, port: Port, id: CallId) {
        let Some(call) = self.calls.get_mut(id.0) else {
            return;
        };
        let hedge = call.hedge == Some(port);
        if call.state != State::Sent(port) && !hedge {
            return;
        }
        call.attempts -= 1;
        // It was not sent there this time; an earlier attempt may have been, and stays in the list.
        call.asked.pop();
        self.counters.attempts -= 1;
        self.counters.retries -= u64::from(call.attempts > 0);
        if let Some(route) = self.routes.get_mut(&port) {
            route.in_flight.remove(id.0);
            self.breakers[route.server].abandon(now);
        }
        if hedge {
            self.counters.hedges -= 1;
            self.other_of_two(port, id);
        } else {
            self.pause(now, id, Duration::ZERO);
        }
    }

    /// The same, and it never can be: the call ends with this error, unless a server may have it already.
    pub(crate) fn handle_hopeless(
        &mut self,
        now: Instant,
        port: Port,
        id: CallId,
        error: CallError,
    ) {
        self.handle_refused(now, port, id);
        if self.calls.get(id.0).is_some_and(|call| call.attempts == 0) {
            self.end(now, id, Err(error));
        }
    }

    /// This server cannot be told what the call needs, and nothing was sent. Another may be asked later, unless this was
    /// the only hope: then the call ends with this error, if no server ever had it.
    pub(crate) fn handle_unfit(
        &mut self,
        now: Instant,
        port: Port,
        id: CallId,
        hopeless: Option<CallError>,
    ) {
        match hopeless {
            Some(error) => self.handle_hopeless(now, port, id, error),
            None => self.handle_refused(now, port, id),
        }
        let server = self.routes.get(&port).map(|route| route.server);
        self.set_avoid(id, server);
    }

    pub(crate) fn handle_answer(&mut self, now: Instant, port: Port, id: CallId, answer: Answer) {
        // What comes after the deadline is late, whether or not the timer was noticed first.
        self.handle_timeout(now);
        let Some(call) = self.calls.get_mut(id.0) else {
            // Of a call of ours that is over, or of none at all.
            match id.0 < self.next_id {
                true => self.counters.stale_replies += 1,
                false => self.counters.malformed += 1,
            }
            return;
        };
        if !call.asked.contains(port) {
            self.counters.malformed += 1;
            return;
        }
        let current = call.state == State::Sent(port) || call.hedge == Some(port);
        // Once parts have come from one attempt, another attempt's would not fit to them. Nor does what
        // misses a part that came when the attempt was given up.
        let fits = match answer {
            Answer::Partial(_, number) | Answer::Final(_, number) => {
                number.unwrap_or(call.parts) == call.parts && (current || call.parts == 0)
            }
            _ => current,
        };
        if !fits {
            self.counters.stale_replies += 1;
            return;
        }
        let server = self.routes.get(&port).map_or(0, |route| route.server);
        let replies = matches!(answer, Answer::Partial(..) | Answer::Final(..));
        if replies && call.attempts == 1 && call.parts == 0 {
            let took = now.saturating_duration_since(call.sent);
            self.counters.rtt.note(took);
        }
        if call.hedge.is_some() && answer.is_not_begun() {
            self.one_declines(now, port, id, &answer);
            return self.handle_timeout(now);
        }
        match answer {
            Answer::Partial(message, _) => {
                call.parts = call.parts.saturating_add(1);
                call.unread += 1;
                let unread = call.unread;
                self.adopt(now, port, id);
                self.set_step(id, now + self.policy.step());
                self.breakers[server].success();
                if unread > self.bounds.unread {
                    self.give_up(now, id, CallError::Overrun { unread });
                } else {
                    self.events
                        .push_back(CallEvent::Partial { call: id, message });
                }
            }
            Answer::Final(message, _) => {
                self.breakers[server].success();
                self.preferred = server;
                self.answered(port, id);
                self.end(now, id, Ok(message));
            }
            Answer::Rejected(fault) => {
                self.counters.rejected += 1;
                self.breakers[server].success();
                self.answered(port, id);
                self.turned_away(now, id, server, fault);
            }
            Answer::Unavailable(fault) => {
                self.breakers[server].failure(now, &mut self.random);
                self.answered(port, id);
                self.turned_away(now, id, server, fault);
            }
            Answer::Expired => {
                self.breakers[server].success();
                self.answered(port, id);
                let attempts = self.calls.get(id.0).map_or(0, |call| call.attempts);
                let error = CallError::TimedOut {
                    attempts,
                    maybe_executed: attempts > 1,
                };
                self.end(now, id, Err(error));
            }
            Answer::NoService => {
                self.breakers[server].success();
                self.answered(port, id);
                // Others may know somebody.
                if self.breakers.len() > 1 && self.may_retry(id) {
                    self.set_avoid(id, Some(server));
                    self.pause(now, id, Duration::ZERO);
                } else {
                    let attempts = self.calls.get(id.0).map_or(0, |call| call.attempts);
                    let maybe_executed = attempts > 1;
                    self.end(now, id, Err(CallError::NoService { maybe_executed }));
                }
            }
            Answer::Failed(fault) => {
                self.breakers[server].success();
                self.answered(port, id);
                self.end(now, id, Err(CallError::Remote(fault)));
            }
        }
        self.handle_timeout(now);
    }

    /// A message that is no answer.
    pub(crate) fn handle_malformed(&mut self) {
        self.counters.malformed += 1;
    }

    /// The caller has read a part.
    pub(crate) fn handle_read(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.unread = call.unread.saturating_sub(1);
        }
    }

    /// The caller gives the call up.
    pub(crate) fn handle_cancel(&mut self, now: Instant, id: CallId) {
        self.give_up(now, id, CallError::Cancelled);
        self.handle_timeout(now);
    }

    /// All calls end now.
    pub(crate) fn handle_close(&mut self, now: Instant) {
        for id in self.calls.ids() {
            let attempts = self.calls.get(id).map_or(0, |call| call.attempts);
            let maybe_executed = attempts > 0;
            self.give_up(now, CallId(id), CallError::Closed { maybe_executed });
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            let Some(call) = self.calls.get_mut(id.0) else {
                continue;
            };
            call.timer = None;
            let (deadline, attempts, state) = (call.deadline, call.attempts, call.state);
            if deadline <= now {
                let error = match attempts {
                    0 => CallError::Disconnected {
                        attempts,
                        maybe_executed: false,
                    },
                    _ => CallError::TimedOut {
                        attempts,
                        maybe_executed: true,
                    },
                };
                self.unanswered(now, id);
                self.give_up(now, id, error);
                continue;
            }
            self.set_timer(id, deadline);
            match state {
                State::Pausing => self.enqueue(id),
                State::Sent(port) if self.hedge_is_due(now, id) => self.hedge(now, id, port),
                State::Sent(port) => {
                    self.unanswered(now, id);
                    if self.may_retry(id) {
                        let server = self.leave(now, port, id);
                        self.leave_hedge(now, id);
                        self.set_avoid(id, server);
                        self.pause(now, id, Duration::ZERO);
                    }
                }
                State::Queued => {}
            }
        }
        self.dispatch(now);
    }

    pub(crate) fn poll_dispatch(&mut self) -> Option<Dispatch> {
        loop {
            let dispatch = self.dispatches.pop_front()?;
            // It may be over before it was sent.
            let Some(call) = self.calls.get(dispatch.call.0) else {
                continue;
            };
            let there =
                call.state == State::Sent(dispatch.port) || call.hedge == Some(dispatch.port);
            if there && call.attempts == dispatch.attempt {
                return Some(dispatch);
            }
        }
    }

    pub(crate) fn poll_cancel(&mut self) -> Option<Cancel> {
        self.cancels.pop_front()
    }

    pub(crate) fn poll_reset(&mut self) -> Option<Port> {
        self.resets.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<CallEvent> {
        self.events.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        if self.queued.is_empty() || self.policy.breaker.is_none() {
            return timer;
        }
        let breakers = self.routes.values().filter(|route| route.has_room());
        let opens = breakers.filter_map(|route| self.breakers[route.server].opens_at());
        opens.chain(timer).min()
    }

    pub(crate) fn counters(&self) -> CallCounters {
        self.counters
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// How long it takes until the first of the connected servers may be asked, if none may be now.
    fn all_open(&self, now: Instant) -> Option<Duration> {
        self.policy.breaker?;
        let mut earliest = None;
        for route in self.routes.values().filter(|route| route.up) {
            let breaker = &self.breakers[route.server];
            if breaker.allows(now) {
                return None;
            }
            let at = breaker.opens_at().unwrap_or(now + self.policy.step());
            earliest = earliest.map_or(Some(at), |before: Instant| Some(before.min(at)));
        }
        Some(earliest?.saturating_duration_since(now))
    }

    fn enqueue(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.state = State::Queued;
            self.queued
                .insert((Reverse(call.options.priority.min(7)), id));
        }
    }

    /// Sends what waits, as far as there are routes.
    fn dispatch(&mut self, now: Instant) {
        while let Some(&entry) = self.queued.first() {
            let (_, id) = entry;
            let Some(call) = self.calls.get(id.0) else {
                self.queued.remove(&entry);
                continue;
            };
            let Some(port) = self.choose(now, call.avoid) else {
                return;
            };
            self.queued.remove(&entry);
            self.send(now, id, port);
        }
    }

    fn choose(&self, now: Instant, avoid: Option<usize>) -> Option<Port> {
        self.choose_from(now, avoid, |_| true)
    }

    fn choose_from(
        &self,
        now: Instant,
        avoid: Option<usize>,
        suits: impl Fn(&Route) -> bool,
    ) -> Option<Port> {
        let usable = self.routes.iter().filter(|(_, route)| {
            let allowed = self.policy.breaker.is_none() || self.breakers[route.server].allows(now);
            route.has_room() && allowed && suits(route)
        });
        let rank = |(port, route): &(&Port, &Route)| {
            let load = route.in_flight.len();
            let other = match self.choice {
                Choice::Sticky => usize::from(route.server != self.preferred),
                Choice::LeastLoaded => 0,
            };
            (avoid == Some(route.server), other, load, **port)
        };
        usable.min_by_key(rank).map(|(port, _)| *port)
    }

    fn send(&mut self, now: Instant, id: CallId, port: Port) {
        let Some(call) = self.calls.get_mut(id.0) else {
            return;
        };
        call.state = State::Sent(port);
        call.blamed = false;
        let until = now + self.policy.step();
        self.transmit(now, id, port);
        let at = self.plan_hedge(now, id).map_or(until, |at| at.min(until));
        self.set_step(id, at);
    }

    /// One more attempt, over this route.
    fn transmit(&mut self, now: Instant, id: CallId, port: Port) {
        let (Some(call), Some(route)) = (self.calls.get_mut(id.0), self.routes.get_mut(&port))
        else {
            return;
        };
        call.attempts += 1;
        call.sent = now;
        call.asked.push(port);
        route.in_flight.insert(id.0, ());
        self.breakers[route.server].begin(now);
        self.counters.attempts += 1;
        self.counters.retries += u64::from(call.attempts > 1);
        self.dispatches.push_back(Dispatch {
            call: id,
            port,
            attempt: call.attempts,
            remaining: call.deadline.saturating_duration_since(now),
        });
    }

    /// Whether the request may be sent again; takes the retry from the budget if so.
    fn may_retry(&mut self, id: CallId) -> bool {
        self.may_ask_again(id, Bucket::take)
    }

    fn may_ask_again(&mut self, id: CallId, take: impl FnOnce(&mut Bucket) -> bool) -> bool {
        let Some(call) = self.calls.get(id.0) else {
            return false;
        };
        if call.options.idem == Idem::Once
            || call.parts > 0
            || call.attempts >= self.policy.max_attempts.max(1)
        {
            return false;
        }
        let allowed = take(&mut self.bucket);
        self.counters.over_budget += u64::from(!allowed);
        allowed
    }

    fn pause(&mut self, now: Instant, id: CallId, at_least: Duration) {
        let Some(call) = self.calls.get_mut(id.0) else {
            return;
        };
        let pause = self.policy.backoff.pause(call.pauses, &mut self.random);
        call.pauses = call.pauses.saturating_add(1);
        call.state = State::Pausing;
        call.hedge_at = None;
        let pause = pause.max(at_least).min(LONGEST);
        self.set_step(id, now + pause);
    }

    /// The attempt, or the pause, takes until then, and no longer than the call.
    fn set_step(&mut self, id: CallId, at: Instant) {
        if let Some(call) = self.calls.get_mut(id.0) {
            let at = at.min(call.deadline);
            call.set_timer(&mut self.timers, id, at);
        }
    }

    fn set_timer(&mut self, id: CallId, at: Instant) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.set_timer(&mut self.timers, id, at);
        }
    }

    fn set_avoid(&mut self, id: CallId, server: Option<usize>) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.avoid = server;
        }
    }

    /// The connection was lost with the request.
    fn lost(&mut self, now: Instant, id: CallId, server: usize) {
        self.set_avoid(id, Some(server));
        if self.may_retry(id) {
            self.pause(now, id, Duration::ZERO);
        } else {
            let attempts = self.calls.get(id.0).map_or(0, |call| call.attempts);
            let error = CallError::Disconnected {
                attempts,
                maybe_executed: true,
            };
            self.end(now, id, Err(error));
        }
    }

    /// The server has not begun with it.
    fn turned_away(&mut self, now: Instant, id: CallId, server: usize, fault: Fault) {
        self.set_avoid(id, Some(server));
        let pause = fault.retry_after.unwrap_or_default();
        let Some(call) = self.calls.get(id.0) else {
            return;
        };
        let maybe_executed = call.attempts > 1;
        let in_time = now + pause.min(LONGEST) < call.deadline;
        if in_time && self.may_retry(id) {
            self.pause(now, id, pause);
        } else {
            let error = CallError::Rejected {
                status: fault.status,
                reason: fault.reason,
                retry_after: fault.retry_after,
                maybe_executed,
            };
            self.end(now, id, Err(error));
        }
    }

    /// An attempt was not answered in time: its server is to blame, once.
    fn unanswered(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(id.0) else {
            return;
        };
        let State::Sent(port) = call.state else {
            return;
        };
        if std::mem::replace(&mut call.blamed, true) {
            return;
        }
        if let Some(route) = self.routes.get(&port) {
            self.breakers[route.server].failure(now, &mut self.random);
        }
    }

    /// The route has answered the call, and is free.
    fn answered(&mut self, port: Port, id: CallId) {
        if let Some(route) = self.routes.get_mut(&port) {
            route.in_flight.remove(id.0);
        }
    }

    /// The reply begins to come from this attempt, which may have been given up before: it counts.
    fn adopt(&mut self, now: Instant, port: Port, id: CallId) {
        let Some(call) = self.calls.get_mut(id.0) else {
            return;
        };
        let before = std::mem::replace(&mut call.state, State::Sent(port));
        call.hedge_at = None;
        let hedge = call.hedge.take().filter(|hedge| *hedge != port);
        self.queued
            .remove(&(Reverse(call.options.priority.min(7)), id));
        if let Some(route) = self.routes.get_mut(&port) {
            route.in_flight.insert(id.0, ());
        }
        let before = match before {
            State::Sent(other) if other != port => Some(other),
            _ => None,
        };
        let deadline = call.deadline;
        for other in before.into_iter().chain(hedge) {
            self.cancels.push_back((other, id, deadline));
            self.leave(now, other, id);
        }
    }

    /// The call leaves a route without an answer. Returns the server.
    fn leave(&mut self, now: Instant, port: Port, id: CallId) -> Option<usize> {
        let route = self.routes.get_mut(&port)?;
        if route.in_flight.remove(id.0).is_some() {
            self.breakers[route.server].abandon(now);
            if route.resets {
                route.up = false;
                self.resets.push_back(port);
            }
        }
        Some(route.server)
    }

    /// Ends a call whose reply may be on its way.
    fn give_up(&mut self, now: Instant, id: CallId, error: CallError) {
        let call = self.calls.get(id.0);
        if let Some((State::Sent(port), deadline)) = call.map(|call| (call.state, call.deadline)) {
            self.cancels.push_back((port, id, deadline));
            self.leave(now, port, id);
        }
        self.end(now, id, Err(error));
    }

    fn end(&mut self, now: Instant, id: CallId, result: Result<Message, CallError>) {
        let Some(call) = self.calls.remove(id.0) else {
            return;
        };
        // Of two that were asked, who has not replied need not go on.
        if let Some(hedge) = call.hedge {
            self.cancel(now, hedge, id, call.deadline);
            if let State::Sent(port) = call.state {
                self.cancel(now, port, id, call.deadline);
            }
        }
        // A final reply to an attempt before the current one: the current one is given up.
        if let State::Sent(port) = call.state {
            self.leave(now, port, id);
        }
        self.bytes -= call.bytes;
        self.queued
            .remove(&(Reverse(call.options.priority.min(7)), id));
        if let Some(at) = call.timer {
            self.timers.remove(&(at, id));
        }
        match result {
            Ok(_) => self.counters.replies += 1,
            Err(_) => self.counters.failures += 1,
        }
        self.events.push_back(CallEvent::Done { call: id, result });
    }
}

impl<T> Call<T> {
    fn set_timer(&mut self, timers: &mut BTreeSet<(Instant, CallId)>, id: CallId, at: Instant) {
        if let Some(before) = self.timer.replace(at) {
            if before == at {
                return;
            }
            timers.remove(&(before, id));
        }
        timers.insert((at, id));
    }
}

impl Route {
    fn has_room(&self) -> bool {
        self.up && self.in_flight.len() < self.capacity
    }
}
