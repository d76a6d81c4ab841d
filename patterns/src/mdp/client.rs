//! The client as a value: many calls at once, to any services, through one of several brokers.
//!
//! 7/MDP has no name for a request, so a reply can only be told by there being one request at a time. So
//! the client has *lanes*, sockets of one request each; a lane whose request is given up is closed and
//! opened anew, lest the late reply be taken for the next one's. With the extension header requests have
//! names, and one socket per broker is enough.
//!
//! A client that asks first ([`ClientConfig::ask_ext`]) has lanes too, and each asks over its new connection; calls are
//! given to it when it is known what its broker speaks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use sinew::{Frame, Message};

use super::negotiation;
use super::wire::{self, Dialect};
use crate::common::calls::{Answer, Bounds, Calls, Choice};
use crate::common::{
    footprint, CallCounters, CallError, CallEvent, CallId, CallOptions, Cancels, Engine, Ext, Idem,
    MsgId, Op, PeerEvent, PeerId, Port, Random, RetryPolicy, Transmit,
};
use crate::rpc::{answer_of, request_ext};

/// Options of a client.
///
/// ```
/// use sinew_patterns::mdp::ClientConfig;
///
/// let config = ClientConfig { lanes: 2, ..ClientConfig::default() };
/// assert!(!config.ext);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientConfig {
    /// What the brokers speak.
    pub dialect: Dialect,
    /// Whether the brokers are known to speak the extension header, as [`BrokerEngine`](super::BrokerEngine) does and
    /// others do not: they answer `mmi.features` with 501. Default: no.
    pub ext: bool,
    /// Whether to ask brokers for that, without `ext`: over each new connection, before any call is given to it. One that
    /// answers `mmi.features` with 200 is spoken to with the extension header; one that answers with anything else, or not
    /// within [`attempt_timeout`](RetryPolicy::attempt_timeout), without, until there is a new connection. A call with
    /// [`Idem::Key`] goes to those that speak it only, and ends with [`CallError::NeedsExt`] if it comes to the turn of
    /// another and none is known that does. Default: no.
    pub ask_ext: bool,
    /// Sockets per broker, each for one request at a time; 0 counts as 1. With the extension header, how
    /// many requests may be on their way to one broker over its one socket. Default: 8.
    pub lanes: u32,
    /// When it is asked again.
    pub retry: RetryPolicy,
    /// Calls at once; more are refused. Default: 1000.
    pub calls: usize,
    /// Octets of the requests of all calls at once, where each frame counts [`FRAME_COST`](crate::common::FRAME_COST) more
    /// than it has; more are refused. Default: 64 MiB.
    pub bytes: usize,
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
            dialect: Dialect::V1,
            ext: false,
            ask_ext: false,
            lanes: 8,
            retry: RetryPolicy {
                // A broker does not reply before a worker does.
                attempt_timeout: std::time::Duration::from_millis(2_500),
                // So its silence about one service says nothing about the others.
                breaker: None,
                ..RetryPolicy::default()
            },
            calls: 1000,
            bytes: 64 << 20,
            unread: 1000,
            whole: 64 << 20,
        }
    }
}

/// What a client wants done, or has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Close this socket, and open a new one to the same broker under the same port. Then report when it
    /// is connected.
    Reset {
        /// Which.
        port: Port,
    },
    /// Something happened to a call.
    Call(CallEvent),
}

/// A Majordomo client.
///
/// ```
/// use std::time::Instant;
/// use sinew::Message;
/// use sinew_patterns::common::{CallOptions, Engine, PeerEvent, Port};
/// use sinew_patterns::mdp::{ClientEngine, ClientConfig};
///
/// let now = Instant::now();
/// let mut client = ClientEngine::new(ClientConfig::default(), 1, 7);
/// client.handle_peer(now, Port(0), PeerEvent::Up { peer: None });
/// client.handle_call(now, "echo", "hello".into(), CallOptions::default())?;
/// let request = client.poll_transmit().unwrap().message;
/// assert_eq!(request, Message::multipart(["", "MDPC01", "echo", "hello"]));
/// # Ok::<(), sinew_patterns::common::CallError>(())
/// ```
#[derive(Debug)]
pub struct ClientEngine {
    config: ClientConfig,
    calls: Calls<Asked>,
    /// Calls by their names on the wire.
    names: BTreeMap<MsgId, CallId>,
    by_call: BTreeMap<CallId, MsgId>,
    /// What brokers speak that are asked, by port.
    links: BTreeMap<Port, Speaks>,
    random: Random,
    brokers: u32,
    transmits: VecDeque<Transmit>,
    /// Which brokers are to be told of which calls that were given up.
    cancels: Cancels<MsgId>,
    events: VecDeque<ClientEvent>,
}

/// What the broker at the other end speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// There is no connection.
    Unknown,
    /// It was asked, and has so long for the answer.
    Asking(Instant),
    /// 7/MDP or 18/MDP alone.
    Plain {
        /// Whether the answer may still come, which is not to be taken for that to a call.
        owes: bool,
    },
    Ext,
}

#[derive(Debug)]
struct Asked {
    service: Frame,
    body: Message,
}

impl ClientEngine {
    /// A client of so many brokers. Names and pauses follow from `seed` alone.
    #[must_use]
    pub fn new(config: ClientConfig, brokers: u32, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let bounds = Bounds {
            calls: config.calls,
            bytes: config.bytes,
            unread: config.unread,
        };
        let pauses = Random::new(random.next_u64());
        let calls = Calls::new(config.retry, bounds, Choice::Sticky, pauses);
        let mut client = ClientEngine {
            config,
            calls,
            names: BTreeMap::new(),
            by_call: BTreeMap::new(),
            links: BTreeMap::new(),
            random,
            brokers,
            transmits: VecDeque::new(),
            cancels: Cancels::new(config.calls),
            events: VecDeque::new(),
        };
        let (lanes, capacity) = match config.ext {
            true => (1, config.lanes.max(1)),
            false => (config.lanes.max(1), 1),
        };
        for port in 0..client.ports() {
            let broker = (port / lanes) as usize;
            let resets = !config.ext;
            (client.calls).add_route(Port(port), broker, capacity as usize, resets);
        }
        client
    }

    /// How many sockets it wants: ports 0, 1, 2 and so on.
    #[must_use]
    pub fn ports(&self) -> u32 {
        match self.config.ext {
            true => self.brokers,
            false => self.brokers.saturating_mul(self.config.lanes.max(1)),
        }
    }

    /// Which broker the socket of a port is to be connected to.
    #[must_use]
    pub fn broker_of(&self, port: Port) -> usize {
        match self.config.ext {
            true => port.0 as usize,
            false => (port.0 / self.config.lanes.max(1)) as usize,
        }
    }

    /// Begins a call.
    ///
    /// # Errors
    /// If there are too many calls, all connected brokers fail, the name is not one of a service, or the
    /// idempotence key cannot be told to the broker. Nothing was sent then.
    pub fn handle_call(
        &mut self,
        now: Instant,
        service: impl Into<Frame>,
        body: Message,
        options: CallOptions,
    ) -> Result<CallId, CallError> {
        let service = service.into();
        if service.is_empty() || service.len() > 255 {
            return Err(CallError::ServiceName(service.len()));
        }
        let name = match options.idem {
            Idem::Key(_) if !self.config.ext && !self.config.ask_ext => {
                return Err(CallError::NeedsExt)
            }
            Idem::Key(key) if self.names.contains_key(&key) => {
                return Err(CallError::KeyInUse(key))
            }
            Idem::Key(key) => key,
            _ => MsgId::random(&mut self.random),
        };
        let bytes = footprint(body.frames());
        let begun = (self.calls).begin(now, Asked { service, body }, bytes, options);
        let names = self.config.ext || self.config.ask_ext;
        let Ok(call) = begun else {
            self.flush(now);
            return begun;
        };
        if names {
            self.names.insert(name, call);
            self.by_call.insert(call, name);
        }
        self.flush(now);
        Ok(call)
    }

    /// Gives a call up. It ends with [`CallError::Cancelled`], unless it has ended already.
    pub fn handle_cancel(&mut self, now: Instant, call: CallId) {
        self.calls.handle_cancel(now, call);
        self.flush(now);
    }

    /// A partial reply was read: there is room for one more.
    pub fn handle_read(&mut self, call: CallId) {
        self.calls.handle_read(call);
    }

    /// Ends all calls, with [`CallError::Closed`].
    pub fn handle_close(&mut self, now: Instant) {
        self.calls.handle_close(now);
        self.flush(now);
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

    /// Whether what goes over this port has the extension header.
    fn speaks_ext(&self, port: Port) -> bool {
        self.config.ext || self.links.get(&port) == Some(&Speaks::Ext)
    }

    /// It is known now what the broker of this port speaks: calls may go there.
    fn settle(&mut self, now: Instant, port: Port, speaks: Speaks) {
        self.links.insert(port, speaks);
        self.calls.set_resets(port, speaks != Speaks::Ext);
        self.calls.handle_up(now, port);
    }

    /// Takes the answer to the question what the broker speaks. True if it was one.
    fn answered(&mut self, now: Instant, port: Port, message: &Message) -> bool {
        let link = self.links.get(&port).copied();
        if !matches!(link, Some(Speaks::Asking(_) | Speaks::Plain { owes: true })) {
            return false;
        }
        let Some(ext) = negotiation::answer(message.clone(), self.config.dialect) else {
            return false;
        };
        match (link, ext) {
            (Some(Speaks::Asking(_)), true) => self.settle(now, port, Speaks::Ext),
            (Some(Speaks::Asking(_)), false) => {
                self.settle(now, port, Speaks::Plain { owes: false });
            }
            // Too late: calls go over it without.
            _ => drop(self.links.insert(port, Speaks::Plain { owes: false })),
        }
        true
    }

    fn flush(&mut self, now: Instant) {
        let dialect = self.config.dialect;
        while let Some(dispatch) = self.calls.poll_dispatch() {
            let Some((asked, options)) = self.calls.request(dispatch.call) else {
                continue;
            };
            let ext = self.speaks_ext(dispatch.port);
            if matches!(options.idem, Idem::Key(_)) && !ext {
                let other = self.links.values().any(|speaks| *speaks == Speaks::Ext);
                let hopeless = (!other).then_some(CallError::NeedsExt);
                (self.calls).handle_unfit(now, dispatch.port, dispatch.call, hopeless);
                continue;
            }
            let mut body = Vec::with_capacity(1 + asked.body.frame_count());
            if let Some(name) = self.by_call.get(&dispatch.call).filter(|_| ext) {
                self.cancels.withdraw(dispatch.port, *name);
                let ext = Ext {
                    id: Some(*name),
                    ..request_ext(options, dispatch.remaining, dispatch.attempt)
                };
                body.extend(ext.encode().ok());
            }
            body.extend_from_slice(asked.body.frames());
            self.transmits.push_back(Transmit {
                port: dispatch.port,
                to: None,
                message: wire::encode_call(dialect, &asked.service, body),
            });
        }
        while let Some((port, call, deadline)) = self.calls.poll_cancel() {
            if let Some(name) = self.by_call.get(&call).filter(|_| self.speaks_ext(port)) {
                self.cancels.push(port, *name, deadline);
            }
        }
        while let Some(port) = self.calls.poll_reset() {
            // What was to be sent over it is not, and belongs to calls that are over.
            self.transmits.retain(|transmit| transmit.port != port);
            self.cancels.forget(port);
            if let Some(speaks) = self.links.get_mut(&port) {
                *speaks = Speaks::Unknown;
            }
            self.events.push_back(ClientEvent::Reset { port });
        }
        while let Some(event) = self.calls.poll_event() {
            if let CallEvent::Done { call, .. } = &event {
                if let Some(name) = self.by_call.remove(call) {
                    self.names.remove(&name);
                }
            }
            self.events.push_back(ClientEvent::Call(event));
        }
    }

    /// The next word to a broker about a call that was given up.
    fn cancel(&mut self) -> Option<Transmit> {
        let (port, name) = self.cancels.poll()?;
        let cancel = Ext {
            id: Some(name),
            op: Op::Cancel,
            ..Ext::default()
        };
        let body = cancel.encode().ok().into_iter().collect();
        Some(Transmit {
            port,
            to: None,
            message: wire::encode_call(self.config.dialect, &Frame::from("-"), body),
        })
    }

    /// The call whose request this is.
    fn call_of(&self, transmit: &Transmit) -> Option<CallId> {
        if !self.speaks_ext(transmit.port) {
            return self.calls.only(transmit.port);
        }
        // Header and service are three frames in either dialect.
        let ext = Ext::decode(transmit.message.frame(3)?).ok()??;
        let id = ext.id.filter(|_| ext.op == Op::Call)?;
        self.names.get(&id).copied()
    }

    /// Which call a reply belongs to, and what it says.
    fn read(&self, port: Port, message: Message) -> Option<(CallId, Answer)> {
        let reply = wire::decode_to_client(message, self.config.dialect).ok()?;
        let mut body = reply.body;
        if !self.speaks_ext(port) {
            let call = self.calls.only(port)?;
            let (asked, _) = self.calls.request(call)?;
            let body = Message::multipart(body);
            let answer = match reply.last {
                true => Answer::Final(body, None),
                false => Answer::Partial(body, None),
            };
            return (asked.service == reply.service).then_some((call, answer));
        }
        let first = body.remove(0);
        let ext = Ext::decode(&first).ok()??;
        let call = *self.names.get(&ext.id?)?;
        Some((call, answer_of(Some(&ext), Message::multipart(body))))
    }
}

impl Engine for ClientEngine {
    type Event = ClientEvent;

    fn handle_message(&mut self, now: Instant, port: Port, _: Option<&PeerId>, message: Message) {
        self.handle_timeout(now);
        if self.answered(now, port, &message) {
            return self.flush(now);
        }
        match self.read(port, message) {
            Some((call, answer)) => self.calls.handle_answer(now, port, call, answer),
            None => self.calls.handle_malformed(),
        }
        self.flush(now);
    }

    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent) {
        let asks = self.config.ask_ext && !self.config.ext;
        match event {
            PeerEvent::Up { .. } if asks => {
                let until = now + self.config.retry.step();
                self.links.insert(port, Speaks::Asking(until));
                self.transmits.push_back(Transmit {
                    port,
                    to: None,
                    message: negotiation::question(self.config.dialect),
                });
            }
            PeerEvent::Up { .. } => self.calls.handle_up(now, port),
            PeerEvent::Down { .. } => {
                if let Some(speaks) = self.links.get_mut(&port) {
                    *speaks = Speaks::Unknown;
                }
                self.cancels.forget(port);
                self.calls.handle_down(now, port);
            }
        }
        self.flush(now);
    }

    fn handle_refused(&mut self, now: Instant, transmit: Transmit) {
        if let Some(Speaks::Asking(_)) = self.links.get(&transmit.port) {
            // It was not asked, so it owes nothing.
            self.settle(now, transmit.port, Speaks::Plain { owes: false });
            return self.flush(now);
        }
        if let Some(call) = self.call_of(&transmit) {
            self.calls.handle_refused(now, transmit.port, call);
        }
        self.flush(now);
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
        // A question or a cancel never is.
        if let Some(call) = self.call_of(&transmit) {
            let error = CallError::TooLarge { size, limit };
            (self.calls).handle_hopeless(now, transmit.port, call, error);
        }
        self.flush(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let silent = |(port, speaks): (&Port, &Speaks)| match speaks {
            Speaks::Asking(until) if *until <= now => Some(*port),
            _ => None,
        };
        for port in self.links.iter().filter_map(silent).collect::<Vec<_>>() {
            self.settle(now, port, Speaks::Plain { owes: true });
        }
        self.calls.handle_timeout(now);
        self.flush(now);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.cancels.settle();
        self.transmits.pop_front().or_else(|| self.cancel())
    }

    fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let answers = self.links.values().filter_map(|speaks| match speaks {
            Speaks::Asking(until) => Some(*until),
            _ => None,
        });
        answers.chain(self.calls.poll_timeout()).min()
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
