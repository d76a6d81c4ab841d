//! The client as a value: many calls at once, over one socket per server, with retries, failover and
//! circuit breaking. [`common::calls`](crate::common) has the table of states; this is its wire.

use std::collections::VecDeque;
use std::time::Instant;

use sinew::{Frame, Message};

use super::wire;
use crate::common::calls::{Answer, Bounds, Calls, Choice};
use crate::common::{
    footprint, CallCounters, CallError, CallEvent, CallId, CallOptions, Cancels, Engine, Ext,
    ExtIdem, Fault, Idem, Op, PeerEvent, PeerId, Port, Random, RetryPolicy, Status, Transmit,
};

/// What the servers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// Plain requests and replies: any REP socket, of any library. Deadlines stay here, and a server that
    /// has no room is silent.
    #[default]
    Plain,
    /// The extension header in front of the body, as [`ServerEngine`](super::ServerEngine) speaks it.
    /// Deadlines, idempotence keys, partial replies and cancelling need it.
    Ext,
}

/// Which of several servers is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Pick {
    /// The one that replied last, and others only if that fails or is full.
    #[default]
    Sticky,
    /// The one with the fewest requests on their way.
    LeastLoaded,
}

/// Options of a client.
///
/// ```
/// use sinew_patterns::rpc::{ClientConfig, Dialect};
///
/// let config = ClientConfig { dialect: Dialect::Ext, ..ClientConfig::default() };
/// assert_eq!(config.calls, 1000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientConfig {
    /// What the servers speak.
    pub dialect: Dialect,
    /// Which server is asked.
    pub pick: Pick,
    /// When it is asked again.
    pub retry: RetryPolicy,
    /// Calls at once; more are refused. Default: 1000.
    pub calls: usize,
    /// Octets of the requests of all calls at once, where each frame counts [`FRAME_COST`](crate::common::FRAME_COST) more
    /// than it has; more are refused. Default: 64 MiB.
    pub bytes: usize,
    /// Requests on their way to one server; more wait here. 0 counts as 1. Default: 100.
    pub in_flight: usize,
    /// Partial replies of one call that wait to be read; if there are more, the call ends. Default: 1000.
    pub unread: usize,
    /// Octets of a reply that comes in parts to a call that wants it in one piece, where each frame counts
    /// [`FRAME_COST`](crate::common::FRAME_COST) more than it has; if there are more, the call ends. Calls that take parts
    /// as they come have no such bound. Default: 64 MiB.
    pub whole: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            dialect: Dialect::Plain,
            pick: Pick::Sticky,
            retry: RetryPolicy::default(),
            calls: 1000,
            bytes: 64 << 20,
            in_flight: 100,
            unread: 1000,
            whole: 64 << 20,
        }
    }
}

/// A client of servers at ports 0, 1, 2 and so on, each reached by a DEALER of its own.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::common::{CallEvent, CallOptions, Engine, PeerEvent, Port};
/// use sinew_patterns::rpc::{ClientConfig, ClientEngine};
///
/// let now = Instant::now();
/// let mut client = ClientEngine::new(ClientConfig::default(), 1, 7);
/// client.handle_peer(now, Port(0), PeerEvent::Up { peer: None });
/// let call = client.handle_call(now, "hello".into(), CallOptions::default())?;
/// let request = client.poll_transmit().unwrap();
/// // An echo is a reply.
/// client.handle_message(now, Port(0), None, request.message);
/// let done = CallEvent::Done { call, result: Ok("hello".into()) };
/// assert_eq!(client.poll_event(), Some(done));
/// # Ok::<(), sinew_patterns::common::CallError>(())
/// ```
#[derive(Debug)]
pub struct ClientEngine {
    dialect: Dialect,
    calls: Calls<Message>,
    /// The name of the first call on the wire. Drawn by chance: a server that knows nothing of this
    /// client cannot guess what would be taken for a reply.
    first: u64,
    transmits: VecDeque<Transmit>,
    /// Which servers are to be told of which calls that were given up.
    cancels: Cancels<CallId>,
}

impl ClientEngine {
    /// A client of so many servers. Names and pauses follow from `seed` alone.
    #[must_use]
    pub fn new(config: ClientConfig, servers: u32, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let first = random.next_u64();
        let bounds = Bounds {
            calls: config.calls,
            bytes: config.bytes,
            unread: config.unread,
        };
        let choice = match config.pick {
            Pick::Sticky => Choice::Sticky,
            Pick::LeastLoaded => Choice::LeastLoaded,
        };
        let mut calls = Calls::new(config.retry, bounds, choice, random);
        for server in 0..servers {
            calls.add_route(
                Port(server),
                server as usize,
                config.in_flight.max(1),
                false,
            );
        }
        ClientEngine {
            dialect: config.dialect,
            calls,
            first,
            transmits: VecDeque::new(),
            cancels: Cancels::new(config.calls),
        }
    }

    /// Begins a call.
    ///
    /// # Errors
    /// If there are too many calls, all connected servers fail, or the idempotence key cannot be told to
    /// the servers. Nothing was sent then.
    pub fn handle_call(
        &mut self,
        now: Instant,
        body: Message,
        options: CallOptions,
    ) -> Result<CallId, CallError> {
        if matches!(options.idem, Idem::Key(_)) && self.dialect == Dialect::Plain {
            return Err(CallError::NeedsExt);
        }
        let bytes = footprint(body.frames());
        let call = self.calls.begin(now, body, bytes, options);
        self.flush();
        call
    }

    /// Gives a call up. It ends with [`CallError::Cancelled`], unless it has ended already.
    pub fn handle_cancel(&mut self, now: Instant, call: CallId) {
        self.calls.handle_cancel(now, call);
        self.flush();
    }

    /// A partial reply was read: there is room for one more.
    pub fn handle_read(&mut self, call: CallId) {
        self.calls.handle_read(call);
    }

    /// Ends all calls, with [`CallError::Closed`].
    pub fn handle_close(&mut self, now: Instant) {
        self.calls.handle_close(now);
        self.flush();
    }

    /// Calls that are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.calls.len()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> CallCounters {
        self.calls.counters()
    }

    /// The call whose request, or cancel, this is.
    fn call_of(&self, transmit: &Transmit) -> Option<CallId> {
        let name = wire::name_of(transmit.message.frames().get(..1)?).ok()?;
        Some(CallId(name.wrapping_sub(self.first)))
    }

    fn name(&self, call: CallId) -> Frame {
        Frame::from(self.first.wrapping_add(call.0).to_be_bytes())
    }

    /// The next word to a server about a call that was given up.
    fn cancel(&mut self) -> Option<Transmit> {
        let (port, call) = self.cancels.poll()?;
        let cancel = Ext {
            op: Op::Cancel,
            ..Ext::default()
        };
        Some(Transmit {
            port,
            to: None,
            message: wire::encode(&[self.name(call)], cancel.encode().ok(), None),
        })
    }

    /// Makes messages of what the table wants sent.
    fn flush(&mut self) {
        while let Some(dispatch) = self.calls.poll_dispatch() {
            let Some((body, options)) = self.calls.request(dispatch.call) else {
                continue;
            };
            let ext = match self.dialect {
                Dialect::Plain => None,
                Dialect::Ext => {
                    let ext = request_ext(options, dispatch.remaining, dispatch.attempt);
                    // What it holds is short, so this does not fail.
                    ext.encode().ok()
                }
            };
            self.cancels.withdraw(dispatch.port, dispatch.call);
            let message = wire::encode(&[self.name(dispatch.call)], ext, Some(body));
            self.transmits.push_back(Transmit {
                port: dispatch.port,
                to: None,
                message,
            });
        }
        while let Some((port, call, deadline)) = self.calls.poll_cancel() {
            if self.dialect == Dialect::Ext {
                self.cancels.push(port, call, deadline);
            }
        }
        // All routes of this client stand as they are.
        while self.calls.poll_reset().is_some() {}
    }
}

impl Engine for ClientEngine {
    type Event = CallEvent;

    fn handle_message(&mut self, now: Instant, port: Port, _: Option<&PeerId>, message: Message) {
        let decoded = wire::decode(message, self.dialect == Dialect::Ext)
            .and_then(|parts| Ok((wire::name_of(&parts.envelope)?, parts)));
        match decoded {
            Ok((name, parts)) => {
                let call = CallId(name.wrapping_sub(self.first));
                let answer = answer_of(parts.ext.as_ref(), parts.body);
                self.calls.handle_answer(now, port, call, answer);
            }
            Err(_) => self.calls.handle_malformed(),
        }
        self.flush();
    }

    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent) {
        match event {
            PeerEvent::Up { .. } => self.calls.handle_up(now, port),
            PeerEvent::Down { .. } => {
                self.cancels.forget(port);
                self.calls.handle_down(now, port);
            }
        }
        self.flush();
    }

    fn handle_refused(&mut self, now: Instant, transmit: Transmit) {
        // A cancel whose server is gone is no loss.
        let header = Ext::decode(
            transmit
                .message
                .frame(2)
                .map_or(&[], |frame| frame.as_slice()),
        );
        let cancel = matches!(header, Ok(Some(ext)) if ext.op == Op::Cancel);
        if cancel && self.dialect == Dialect::Ext {
            return;
        }
        if let Some(call) = self.call_of(&transmit) {
            self.calls.handle_refused(now, transmit.port, call);
        }
        self.flush();
    }

    fn handle_full(&mut self, now: Instant, transmit: Transmit) {
        // A cancel waits for room; a request is asked again, perhaps elsewhere.
        if !self.cancels.full() {
            self.handle_refused(now, transmit);
        }
    }

    fn handle_room(&mut self, now: Instant, port: Port, _: Option<&PeerId>) {
        self.cancels.room(now, port);
    }

    fn handle_too_large(&mut self, now: Instant, transmit: Transmit, size: u64, limit: u64) {
        // A cancel never is.
        if let Some(call) = self.call_of(&transmit) {
            let error = CallError::TooLarge { size, limit };
            (self.calls).handle_hopeless(now, transmit.port, call, error);
        }
        self.flush();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.calls.handle_timeout(now);
        self.flush();
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.cancels.settle();
        self.transmits.pop_front().or_else(|| self.cancel())
    }

    fn poll_event(&mut self) -> Option<CallEvent> {
        self.calls.poll_event()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.calls.poll_timeout()
    }
}

/// The header of a request.
pub(crate) fn request_ext(
    options: &CallOptions,
    remaining: std::time::Duration,
    attempt: u32,
) -> Ext<'static> {
    let (idem, id) = match options.idem {
        Idem::Safe => (ExtIdem::Safe, None),
        Idem::Key(id) => (ExtIdem::Key, Some(id)),
        Idem::Once => (ExtIdem::Once, None),
    };
    Ext {
        id,
        deadline: Some(remaining),
        idem: Some(idem),
        priority: (options.priority > 0).then_some(options.priority.min(7)),
        attempt: Some(u16::try_from(attempt).unwrap_or(u16::MAX)),
        ..options.headers.to_ext()
    }
}

/// What a reply says.
pub(crate) fn answer_of(ext: Option<&Ext<'_>>, body: Message) -> Answer {
    let Some(ext) = ext else {
        return Answer::Final(body, None);
    };
    let fault = |status| Fault {
        status,
        reason: ext.reason.as_deref().unwrap_or_default().to_owned(),
        retry_after: ext.retry_after,
    };
    match ext.status.unwrap_or(Status::Ok) {
        Status::Ok if ext.op == Op::Partial => Answer::Partial(body, ext.part),
        Status::Ok => Answer::Final(body, ext.part),
        Status::NoService => Answer::NoService,
        Status::Expired => Answer::Expired,
        Status::Rejected => Answer::Rejected(fault(Status::Rejected)),
        // When to come back is honoured of those that are full.
        Status::Unavailable => Answer::Unavailable(Fault {
            retry_after: None,
            ..fault(Status::Unavailable)
        }),
        status => Answer::Failed(fault(status)),
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
