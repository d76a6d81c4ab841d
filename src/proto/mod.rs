//! The ZMTP 3.1 protocol core, as a value: no sockets, no clock, no threads.
//!
//! A [`Connection`] is told what happened by `handle_*` methods and asked for what to do by `poll_*`
//! methods. Whoever drives it owns the socket and the timers, and passes the time in. It speaks
//! 23/ZMTP (3.0) and 37/ZMTP 3.1 with the NULL mechanism.
//!
//! # Calling order
//!
//! 1. [`Connection::new`], then [`poll_transmit`](Connection::poll_transmit): the greeting is
//!    waiting.
//! 2. Until [`is_ready`](Connection::is_ready): every octet received goes through
//!    [`handle_input`](Connection::handle_input). After each call, `poll_transmit` and
//!    [`poll_event`](Connection::poll_event) until they have nothing, and
//!    [`poll_timeout`](Connection::poll_timeout) anew.
//! 3. Once ready, send what `poll_transmit` has before any message, for our `READY` may be in it.
//!    From then on the driver walks frames itself. For every block of octets received it calls
//!    [`handle_traffic`](Connection::handle_traffic) **first**, then, for each command frame in it,
//!    [`handle_command`](Connection::handle_command): what a command arms must not be disarmed by
//!    its own octets. Messages do not come here, but for those that
//!    [may be subscriptions](Connection::handle_subscription_message).
//! 4. When the time of `poll_timeout` has come, read what is readable, then
//!    [`handle_timeout`](Connection::handle_timeout).
//!
//! An error is final: every later call of a fallible method returns it again. What
//! `poll_transmit` has after it, possibly an `ERROR` command that tells the peer, should be sent
//! before closing.
//!
//! # What this does not do
//!
//! It does not see messages, count subscriptions, keep routing tables, or limit how many connections
//! there are. It does not walk frames after the handshake, so limits on their size are the driver's.
//!
//! # Tree
//!
//! One file per state: `greeting`, `null`, `traffic` (with its `heartbeat`). `handshake` puts frames
//! together before there is a driver that does; `command/` knows the octets of each command.

mod command;
mod config;
mod error;
mod greeting;
mod handshake;
mod heartbeat;
mod null;
mod traffic;

#[cfg(any(test, fuzzing))]
mod fuzz;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::socket_type::SocketType;

#[allow(unused_imports, reason = "first used by the pumps, a layer above")]
pub(crate) use command::subscription::{encode_membership, encode_subscription};
pub(crate) use config::ConnectionConfig;
pub use error::{
    Incompatible, LimitExceeded, Malformed, Misbehaved, PeerName, ProtocolError, Refusal, TimedOut,
};
#[cfg(any(test, fuzzing))]
#[allow(unused_imports, reason = "for tests and for fuzz targets")]
pub(crate) use fuzz::fuzz_connection;
pub(crate) use handshake::MAX_HANDSHAKE_FRAME;

use greeting::Greeting;
use null::NullHandshake;
use traffic::Traffic;

/// The version both ends speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Version {
    /// 23/ZMTP: subscriptions are messages, no heartbeats.
    V3_0,
    /// 37/ZMTP 3.1.
    V3_1,
}

/// What the handshake told about the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    /// The version both ends speak.
    pub(crate) version: Version,
    /// The type of the peer's socket, one that may talk to ours.
    pub(crate) socket_type: SocketType,
    /// The routing id the peer announced, or empty. If our socket is a ROUTER or REP: at most 255
    /// octets, the first of them not zero. Otherwise of no consequence, and not checked.
    pub(crate) identity: Bytes,
    /// Further properties in the order received, each name (compared without case) once. Never one
    /// of those that only this side may set.
    pub(crate) properties: Vec<(String, Bytes)>,
}

/// Something the driver must act upon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Event {
    /// The handshake is done; [`Connection::peer`] says with whom.
    HandshakeDone,
    /// The peer subscribed to messages that start with this.
    Subscribe(Bytes),
    /// The peer took one such subscription back. It may never have made it.
    Cancel(Bytes),
    /// The peer joined a group.
    Join(Bytes),
    /// The peer left a group.
    Leave(Bytes),
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    config: Arc<ConnectionConfig>,
    handshake_deadline: Option<Instant>,
    state: State,
    outbox: Outbox,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    Greeting(Greeting),
    Null(NullHandshake),
    Traffic(Traffic),
    Failed(ProtocolError),
}

/// Which parts of our side of the handshake are still to be sent, in their order on the wire. They
/// are encoded when asked for, so an idle connection holds no buffer.
#[derive(Debug, Default)]
struct Outbox {
    greeting: bool,
    ready: bool,
    error: Option<&'static str>,
}

impl Connection {
    /// A connection that has just been made. Both ends are alike.
    pub(crate) fn new(config: Arc<ConnectionConfig>, now: Instant) -> Self {
        Connection {
            handshake_deadline: config
                .handshake_timeout
                .and_then(|timeout| now.checked_add(timeout)),
            config,
            state: State::Greeting(Greeting::new()),
            outbox: Outbox {
                greeting: true,
                ..Outbox::default()
            },
            events: VecDeque::new(),
        }
    }

    /// Takes octets of the handshake from the start of `input`; returns how many.
    ///
    /// It takes all of them until the handshake is done, and then stops exactly behind the peer's
    /// `READY`: the rest is traffic, of which nothing is ever taken.
    ///
    /// Changes what `poll_transmit`, `poll_event` and `poll_timeout` return.
    pub(crate) fn handle_input(
        &mut self,
        input: &[u8],
        now: Instant,
    ) -> Result<usize, ProtocolError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let step = match &mut self.state {
                State::Greeting(greeting) => {
                    greeting
                        .handle_input(rest, greeting::NULL)
                        .map(|(n, version)| {
                            taken += n;
                            version.map(|version| {
                                self.outbox.ready = true;
                                State::Null(NullHandshake::new(version))
                            })
                        })
                }
                State::Null(handshake) => handshake
                    .handle_input(rest, self.config.socket_type)
                    .map(|(n, peer)| {
                        taken += n;
                        peer.map(|peer| {
                            self.events.push_back(Event::HandshakeDone);
                            State::Traffic(Traffic::new(peer, &self.config, now))
                        })
                    }),
                State::Traffic(_) => Ok(None),
                State::Failed(error) => Err(error.clone()),
            };
            match step {
                Ok(Some(next)) => self.state = next,
                Ok(None) => return Ok(taken),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Whether the handshake is done, and nothing went wrong since.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Traffic(_))
    }

    /// Who is at the other end, while the connection is ready.
    pub(crate) fn peer(&self) -> Option<&PeerInfo> {
        match &self.state {
            State::Traffic(traffic) => Some(&traffic.peer),
            _ => None,
        }
    }

    /// Appends octets to send to `out`; returns whether there were any.
    ///
    /// One call appends all there is. They are whole frames: during traffic they go between two
    /// frames of ours, best between two messages. Call it when they can be sent soon, for
    /// what is handed out counts as sent.
    ///
    /// The answer may change after every `handle_*` method and [`set_paused`](Self::set_paused).
    pub(crate) fn poll_transmit(&mut self, out: &mut BytesMut) -> bool {
        let before = out.len();
        if std::mem::take(&mut self.outbox.greeting) {
            greeting::encode_greeting(out, greeting::NULL);
        }
        if std::mem::take(&mut self.outbox.ready) {
            command::ready::encode_ready(out, &self.config);
        }
        if let Some(reason) = self.outbox.error.take() {
            command::refusal::encode_error(out, reason);
        }
        if let State::Traffic(traffic) = &mut self.state {
            traffic.heartbeat.poll_transmit(out);
        }
        out.len() > before
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would append anything.
    pub(crate) fn wants_transmit(&self) -> bool {
        let Outbox {
            greeting,
            ready,
            error,
        } = self.outbox;
        greeting
            || ready
            || error.is_some()
            || matches!(&self.state, State::Traffic(traffic) if traffic.heartbeat.wants_transmit())
    }

    /// The next event, in the order of their causes.
    ///
    /// Each call of a `handle_*` method adds at most one; a driver that takes them after each keeps
    /// this queue from growing. Events from before an error remain.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Time has passed. A call before the time of [`poll_timeout`](Self::poll_timeout) does no
    /// harm.
    ///
    /// Changes what `poll_transmit` and `poll_timeout` return.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let result = match &mut self.state {
            State::Greeting(_) | State::Null(_) => match self.handshake_deadline {
                Some(deadline) if deadline <= now => Err(TimedOut::Handshake.into()),
                _ => Ok(()),
            },
            State::Traffic(traffic) => traffic.heartbeat.handle_timeout(now),
            State::Failed(error) => Err(error.clone()),
        };
        result.map_err(|error| self.fail(error))
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called, if ever.
    ///
    /// The answer may change after every `handle_*` method and [`set_paused`](Self::set_paused). It
    /// may only become *later* after [`handle_traffic`](Self::handle_traffic), so a driver may keep
    /// an old timer then and let it fire in vain.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Greeting(_) | State::Null(_) => self.handshake_deadline,
            State::Traffic(traffic) => traffic.heartbeat.poll_timeout(),
            State::Failed(_) => None,
        }
    }

    /// Handles the body of one command frame received after the handshake.
    ///
    /// Changes what `poll_transmit`, `poll_event` and `poll_timeout` return.
    pub(crate) fn handle_command(
        &mut self,
        body: &[u8],
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let result = match &mut self.state {
            State::Traffic(traffic) => traffic.handle_command(body, &self.config, now),
            State::Failed(error) => Err(error.clone()),
            State::Greeting(_) | State::Null(_) => {
                debug_assert!(false, "handle_input takes the commands of the handshake");
                Ok(None)
            }
        };
        match result {
            Ok(event) => {
                self.events.extend(event);
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Octets of traffic were received: the peer is alive. See the calling order above.
    ///
    /// Changes what `poll_timeout` returns.
    #[inline]
    pub(crate) fn handle_traffic(&mut self, now: Instant) {
        if let State::Traffic(traffic) = &mut self.state {
            traffic.heartbeat.handle_traffic(now);
        }
    }

    /// A write got on after the kernel had refused to take more: the peer's end acknowledges octets,
    /// so it is alive, even if a `PING` of ours has to wait for the end of what is being written.
    ///
    /// Not for writes that never had to wait; they only fill a buffer of this machine.
    ///
    /// Changes what `poll_timeout` returns.
    pub(crate) fn handle_write_progress(&mut self) {
        if let State::Traffic(traffic) = &mut self.state {
            traffic.heartbeat.handle_write_progress();
        }
    }

    /// Tells that the driver stops reading because its receive queue is full, or goes on.
    ///
    /// While reading is paused nothing expires, and `PING`s go out often enough for the peer to see
    /// that this side is alive, whether or not heartbeats are configured. Commands found in octets
    /// read before may still be handled.
    ///
    /// Changes what `poll_timeout` returns.
    pub(crate) fn set_paused(&mut self, paused: bool, now: Instant) {
        if let State::Traffic(traffic) = &mut self.state {
            traffic.heartbeat.set_paused(paused, now);
        }
    }

    /// Looks at a message of one frame that a PUB or XPUB received: is it a subscription in the
    /// form of a message?
    ///
    /// If so, an event is queued. Otherwise, and for any other type of socket, it is a message like
    /// any other. Peers of every version may use this form.
    pub(crate) fn handle_subscription_message(
        &mut self,
        body: &[u8],
    ) -> Result<bool, ProtocolError> {
        match &self.state {
            State::Traffic(_) => {}
            State::Failed(error) => return Err(error.clone()),
            State::Greeting(_) | State::Null(_) => return Ok(false),
        }
        if !self.config.socket_type.receives_subscriptions() {
            return Ok(false);
        }
        let Some((subscribe, topic)) = command::subscription::parse_subscription_message(body)
        else {
            return Ok(false);
        };
        let topic = command::subscription::copy_topic(topic, self.config.max_topic_len)
            .map_err(|error| self.fail(error))?;
        self.events.push_back(if subscribe {
            Event::Subscribe(topic)
        } else {
            Event::Cancel(topic)
        });
        Ok(true)
    }

    /// Commands of unknown names received since the handshake.
    #[cfg(test)]
    pub(crate) fn ignored_commands(&self) -> u64 {
        match &self.state {
            State::Traffic(traffic) => traffic.ignored,
            _ => 0,
        }
    }

    /// Octets of memory held for unfinished frames.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn buffered(&self) -> usize {
        match &self.state {
            State::Null(handshake) => handshake.buffered(),
            _ => 0,
        }
    }

    /// Ends the connection for this reason, which it returns.
    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        if !matches!(self.state, State::Failed(_)) {
            self.outbox.error = error.wire_reply();
            self.state = State::Failed(error.clone());
        }
        error
    }
}
