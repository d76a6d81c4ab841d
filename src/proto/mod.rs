//! The ZMTP 3.1 protocol core, as a value: no sockets, no clock, no threads.
//!
//! A [`Connection`] is told what happened by `handle_*` methods and asked for what to do by `poll_*`
//! methods. Whoever drives it owns the socket and the timers, and passes the time in. It speaks
//! 23/ZMTP (3.0) and 37/ZMTP 3.1 with the NULL mechanism, over a stream or over WebSocket, and, if the
//! socket is told to, ZMTP 2.0 and 1.0.
//!
//! # Calling order
//!
//! 1. [`Connection::new`], then [`poll_transmit`](Connection::poll_transmit): the greeting is
//!    waiting.
//! 2. Until [`is_ready`](Connection::is_ready): every octet received goes through
//!    [`handle_input`](Connection::handle_input). After each call, `poll_transmit` and
//!    [`poll_event`](Connection::poll_event) until they have nothing, and
//!    [`poll_timeout`](Connection::poll_timeout) anew.
//! 3. Once ready, send what `poll_transmit` has before any message, for our `READY` may be in it. Then
//!    ask [`take_transform`](Connection::take_transform) how octets travel: if it has a transform, all
//!    octets from here on, those of `poll_transmit` too, go through that.
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
//! One file per state: `greeting`, `null`, `legacy`, `traffic` (with its `heartbeat`). `handshake` puts
//! frames together before there is a driver that does; `command/` knows the octets of each command;
//! `framing/` is the seam for connections whose octets are no ZMTP/3 frames.

mod command;
mod config;
mod error;
mod framing;
mod greeting;
mod handshake;
mod heartbeat;
mod legacy;
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
    UpgradeFault, WebSocketFault,
};
#[cfg(any(test, fuzzing))]
#[allow(unused_imports, reason = "for tests and for fuzz targets")]
pub(crate) use framing::fuzz::fuzz_transforms;
#[cfg(feature = "ws")]
pub(crate) use framing::ws::Side;
pub(crate) use framing::{Decode, Encode, Room, Transform};
#[cfg(any(test, fuzzing))]
#[allow(unused_imports, reason = "for tests and for fuzz targets")]
pub(crate) use fuzz::fuzz_connection;
pub(crate) use handshake::MAX_HANDSHAKE_FRAME;

#[cfg(feature = "ws")]
use framing::ws::upgrade::{self, SubProtocol, Upgrade};
use greeting::{Greeted, Greeting};
use legacy::IdentityHandshake;
use null::NullHandshake;
use traffic::Traffic;

/// The version both ends speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Version {
    /// 13/ZMTP 1.0, of a peer without a greeting: it forwards no subscriptions.
    V1_0,
    /// The frames of ZMTP 1.0 behind a greeting.
    Revision0,
    /// 15/ZMTP 2.0.
    V2_0,
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
    /// The type of the peer's socket, one that may talk to ours. `None`: nothing told it.
    pub(crate) socket_type: Option<SocketType>,
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
    refuses: bool,
    /// The first event is due: not in the queue, for most connections never have another and hold no memory for any.
    handshake_done: bool,
    events: VecDeque<Event>,
    /// How octets travel, if not as they are; the driver's once it has taken it.
    transform: Option<Transform>,
    /// The upgrade to WebSocket is done.
    #[cfg_attr(
        not(feature = "ws"),
        allow(dead_code, reason = "there is no such upgrade")
    )]
    websocket: bool,
    /// This side has said that it is done.
    finished: bool,
}

/// How a connection begins.
#[derive(Debug)]
pub(crate) enum Opening<'a> {
    /// With a greeting; or, if the socket is a STREAM, with nothing.
    Stream,
    /// With an upgrade to a WebSocket at this host and path.
    #[cfg(feature = "ws")]
    WebSocket {
        /// `host:port`.
        target: Box<str>,
        path: &'a str,
        side: Side,
    },
    /// Never made; it has the lifetime where there is no other use for it.
    #[cfg(not(feature = "ws"))]
    #[allow(dead_code, reason = "see above")]
    Never(&'a std::convert::Infallible),
}

#[derive(Debug)]
enum State {
    #[cfg(feature = "ws")]
    Upgrade(Upgrade),
    Greeting(Greeting),
    Identity(IdentityHandshake),
    Null(NullHandshake),
    Traffic(Traffic),
    Failed(ProtocolError),
}

/// Which parts of our side of the handshake are still to be sent, in their order on the wire. They
/// are encoded when asked for, so an idle connection holds no buffer.
#[derive(Debug, Default)]
struct Outbox {
    /// Which octets of our greeting were sent, and which may be.
    greeting_sent: u8,
    greeting_due: u8,
    /// The number of our type, for a ZMTP 2.0 peer.
    type_number: Option<u8>,
    /// Octets that are no frames: heads of an upgrade, a routing id without its header.
    raw: Vec<u8>,
    identity: bool,
    ready: bool,
    error: Option<&'static str>,
    /// A WebSocket is closed, with this status code.
    close: Option<u16>,
}

impl Connection {
    /// A connection that has just been made. Both ends are alike.
    pub(crate) fn new(config: Arc<ConnectionConfig>, opening: Opening<'_>, now: Instant) -> Self {
        let mut outbox = Outbox::default();
        let mut transform = None;
        let state = match opening {
            Opening::Stream if config.socket_type == SocketType::Stream => {
                transform = Some(framing::raw());
                let peer = PeerInfo {
                    version: Version::V3_0,
                    socket_type: None,
                    identity: Bytes::new(),
                    properties: Vec::new(),
                };
                State::Traffic(Traffic::new(peer, &config, now))
            }
            Opening::Stream => {
                let known = legacy::type_number(config.socket_type).is_some();
                let greeting = Greeting::new(config.legacy_peers && known);
                let greeting = greeting.lenient(config.lenient_peers);
                outbox.greeting_due = greeting.due() as u8;
                State::Greeting(greeting)
            }
            #[cfg(feature = "ws")]
            Opening::WebSocket { target, path, side } => match side {
                Side::Server => {
                    State::Upgrade(Upgrade::server((!config.lenient_peers).then_some(path)))
                }
                Side::Client(random) => {
                    let (upgrade, request) = Upgrade::client(&target, path, random);
                    outbox.raw = request;
                    State::Upgrade(upgrade)
                }
            },
            #[cfg(not(feature = "ws"))]
            Opening::Never(never) => match *never {},
        };
        Connection {
            handshake_deadline: config
                .handshake_timeout
                .and_then(|timeout| now.checked_add(timeout)),
            config,
            state,
            outbox,
            refuses: false,
            handshake_done: false,
            events: VecDeque::new(),
            transform,
            websocket: false,
            finished: false,
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
        self.take_handshake(input, now)
            .map_err(|error| self.fail(error))
    }

    fn take_handshake(&mut self, input: &[u8], now: Instant) -> Result<usize, ProtocolError> {
        let mut taken = 0;
        while !self.is_ready() {
            let rest = &input[taken..];
            if self.transform.is_none() {
                let (n, moved) = self.step(rest, now)?;
                taken += n;
                if n == 0 && !moved {
                    break;
                }
            } else {
                // Nothing behind the handshake may be taken, and where it ends only its frames tell.
                let Some(octet) = rest.first() else { break };
                self.take_octet(*octet, now)?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Takes one octet of the handshake that is no part of a frame as it is.
    fn take_octet(&mut self, octet: u8, now: Instant) -> Result<(), ProtocolError> {
        let Some(transform) = &mut self.transform else {
            return Ok(());
        };
        let mut space = [0; 256];
        let mut out = Room::new(&mut space);
        let mut input = &[octet][..];
        transform.decode.decode(&mut input, &mut out)?;
        let filled = out.filled();
        let mut frames = &space[..filled];
        while !frames.is_empty() && !self.is_ready() {
            let (n, moved) = self.step(frames, now)?;
            frames = &frames[n..];
            if n == 0 && !moved {
                break;
            }
        }
        debug_assert!(frames.is_empty(), "one octet ends one frame at most");
        Ok(())
    }

    /// Lets the state take octets from the start of `input`: how many it took, and whether there is a
    /// new state.
    fn step(&mut self, input: &[u8], now: Instant) -> Result<(usize, bool), ProtocolError> {
        let ours = self.config.socket_type;
        let lenient = self.config.lenient_peers;
        match &mut self.state {
            #[cfg(feature = "ws")]
            State::Upgrade(upgrade) => {
                let (n, upgraded) = upgrade.handle_input(input)?;
                let Some(upgraded) = upgraded else {
                    return Ok((n, false));
                };
                self.outbox
                    .raw
                    .extend(upgraded.response.unwrap_or_default());
                self.transform = Some(framing::ws::websocket(upgrade.side()));
                self.websocket = true;
                // Subscriptions are messages, as in 3.0.
                self.state = match upgraded.sub_protocol {
                    SubProtocol::Null => {
                        self.outbox.ready = !self.refuses;
                        State::Null(NullHandshake::new(Version::V3_0, lenient))
                    }
                    SubProtocol::Bare => {
                        self.outbox.identity = true;
                        State::Identity(IdentityHandshake::new(Version::V3_0, None, true))
                    }
                };
                Ok((n, true))
            }
            State::Greeting(greeting) => {
                let (n, greeted) = greeting.handle_input(input, greeting::NULL)?;
                self.outbox.greeting_due = greeting.due() as u8;
                match greeted {
                    None => return Ok((n, false)),
                    Some(Greeted::Current(version)) => {
                        self.outbox.ready = !self.refuses;
                        self.state = State::Null(NullHandshake::new(version, lenient));
                    }
                    Some(Greeted::Older(version, number)) => {
                        let theirs = legacy::check_type(number, ours)?;
                        self.outbox.type_number = legacy::type_number(ours);
                        self.outbox.identity = true;
                        if version == Version::Revision0 {
                            self.transform = Some(framing::v1());
                        }
                        let handshake = IdentityHandshake::new(version, Some(theirs), false);
                        let handshake = handshake.lenient(lenient);
                        self.state = State::Identity(handshake);
                    }
                    Some(Greeted::Unversioned) => {
                        let octets = greeting.octets().to_vec();
                        // Our signature was the header of the frame that has it.
                        self.outbox.raw.extend_from_slice(&self.config.routing_id);
                        self.transform = Some(framing::v1());
                        let handshake = IdentityHandshake::new(Version::V1_0, None, false);
                        self.state = State::Identity(handshake);
                        for octet in octets {
                            self.take_octet(octet, now)?;
                        }
                    }
                }
                Ok((n, true))
            }
            State::Identity(handshake) => {
                let (n, peer) = handshake.handle_input(input, ours)?;
                Ok((n, self.begin_traffic(peer, now)))
            }
            State::Null(handshake) => {
                let (n, peer) = handshake.handle_input(input, ours)?;
                Ok((n, self.begin_traffic(peer, now)))
            }
            State::Traffic(_) => Ok((0, false)),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// The handshake is done, if this tells with whom.
    fn begin_traffic(&mut self, peer: Option<PeerInfo>, now: Instant) -> bool {
        let Some(peer) = peer else {
            return false;
        };
        self.handshake_done = true;
        #[cfg(feature = "ws")]
        if self.websocket {
            self.state = State::Traffic(Traffic::over_websocket(peer, &self.config, now));
            return true;
        }
        self.state = State::Traffic(Traffic::new(peer, &self.config, now));
        true
    }

    /// How octets travel from here on, if not as they are. To be asked once, when the connection is ready
    /// and what `poll_transmit` had was taken; after that, `poll_transmit` has frames that are still to be
    /// transformed.
    pub(crate) fn take_transform(&mut self) -> Option<Transform> {
        debug_assert!(self.is_ready(), "the handshake needs it");
        self.transform.take()
    }

    /// What was received breaks the format that a transform decodes. Ends the connection for this reason,
    /// which it returns.
    ///
    /// Changes what `poll_transmit` returns.
    pub(crate) fn handle_malformed(&mut self, error: ProtocolError) -> ProtocolError {
        self.fail(error)
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
        self.transmit_raw(out);
        match &mut self.transform {
            None => self.transmit_frames(out),
            Some(_) => {
                let mut frames = BytesMut::new();
                self.transmit_frames(&mut frames);
                self.transmit_transformed(&frames, out);
            }
        }
        out.len() > before
    }

    /// Appends what is no frame.
    fn transmit_raw(&mut self, out: &mut BytesMut) {
        let Outbox {
            greeting_sent: sent,
            greeting_due: due,
            ..
        } = self.outbox;
        if sent < due {
            // Older peers take the signature for the header of the frame with our routing id.
            let padding = match self.config.legacy_peers {
                true => self.config.routing_id.len() as u64 + 1,
                false => 0,
            };
            let part = usize::from(sent)..usize::from(due);
            greeting::encode_part(out, greeting::NULL, padding, part);
            self.outbox.greeting_sent = due;
        }
        if let Some(number) = self.outbox.type_number.take() {
            out.extend_from_slice(&[number]);
        }
        if !self.outbox.raw.is_empty() {
            out.extend_from_slice(&std::mem::take(&mut self.outbox.raw));
        }
    }

    /// Appends frames.
    fn transmit_frames(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.outbox.identity) {
            legacy::encode_identity(out, &self.config.routing_id);
        }
        if std::mem::take(&mut self.outbox.ready) {
            command::ready::encode_ready(out, &self.config);
        }
        if self.may_refuse() {
            if let Some(reason) = self.outbox.error.take() {
                command::refusal::encode_error(out, reason);
            }
        }
        if let State::Traffic(traffic) = &mut self.state {
            traffic.heartbeat.poll_transmit(out);
        }
        #[cfg(feature = "ws")]
        if let Some(code) = self.outbox.close.take() {
            command::begin_command(out, framing::ws::CLOSE, 2);
            out.extend_from_slice(&code.to_be_bytes());
        }
    }

    /// Whether the peer would understand an `ERROR` now: behind our whole greeting, or on a WebSocket.
    /// Older peers never do, and are left without a word.
    fn may_refuse(&self) -> bool {
        match &self.state {
            #[cfg(feature = "ws")]
            State::Upgrade(_) => false,
            State::Identity(_) => false,
            State::Greeting(_) => usize::from(self.outbox.greeting_due) == greeting::GREETING_LEN,
            State::Null(_) | State::Traffic(_) | State::Failed(_) => true,
        }
    }

    /// Appends frames of the handshake in the form in which they travel.
    fn transmit_transformed(&mut self, mut frames: &[u8], out: &mut BytesMut) {
        let Some(transform) = &mut self.transform else {
            return;
        };
        // Frames of ours, and the first: there is nothing about them that could fail.
        let result = transform.encode.encode(&mut frames, out, usize::MAX / 2);
        debug_assert!(result.is_ok() && frames.is_empty());
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would append anything.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        let Outbox {
            greeting_sent,
            greeting_due,
            type_number,
            raw,
            identity,
            ready,
            error,
            close,
        } = &self.outbox;
        greeting_sent < greeting_due
            || type_number.is_some()
            || !raw.is_empty()
            || *identity
            || *ready
            || (error.is_some() && self.may_refuse())
            || close.is_some()
            || matches!(&self.state, State::Traffic(traffic) if traffic.heartbeat.wants_transmit())
    }

    /// The next event, in the order of their causes.
    ///
    /// Each call of a `handle_*` method adds at most one; a driver that takes them after each keeps
    /// this queue from growing. Events from before an error remain.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.handshake_done) {
            return Some(Event::HandshakeDone);
        }
        self.events.pop_front()
    }

    /// Whether [`handle_timeout`](Self::handle_timeout) would find that the peer was silent for too long.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        matches!(&self.state, State::Traffic(traffic) if traffic.heartbeat.is_overdue(now))
    }

    /// Time has passed. A call before the time of [`poll_timeout`](Self::poll_timeout) does no
    /// harm.
    ///
    /// Changes what `poll_transmit` and `poll_timeout` return.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let result = match &mut self.state {
            State::Traffic(traffic) => traffic.heartbeat.handle_timeout(now),
            State::Failed(error) => Err(error.clone()),
            _ => match self.handshake_deadline {
                Some(deadline) if deadline <= now => Err(TimedOut::Handshake.into()),
                _ => Ok(()),
            },
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
            State::Traffic(traffic) => traffic.heartbeat.poll_timeout(),
            State::Failed(_) => None,
            _ => self.handshake_deadline,
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
            _ => {
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
            _ => return Ok(false),
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

    /// This side will not talk to the peer, for a reason that is none of the protocol: tells the peer, if
    /// it can still be done in place of our `READY`. The driver closes when the peer is done. `reason` is
    /// a text of less than 256 octets, and no number.
    ///
    /// Changes what `poll_transmit` returns.
    pub(crate) fn refuse(&mut self, reason: &'static str) {
        self.refuses = true;
        self.outbox.error = Some(reason);
    }

    /// Everything is sent, and nothing more will be: tells the peer, if the format has words for it (as
    /// WebSocket has; the others end the stream). Whether there is something to transmit now.
    ///
    /// Changes what `poll_transmit` returns.
    pub(crate) fn finish(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.finished, true);
        #[cfg(feature = "ws")]
        if first && self.websocket && matches!(self.state, State::Traffic(_)) {
            self.outbox.close = Some(framing::ws::NORMAL);
            return true;
        }
        let _ = first;
        false
    }

    /// Whether [`refuse`](Self::refuse) was called.
    pub(crate) fn refuses(&self) -> bool {
        self.refuses
    }

    /// Octets of memory held for unfinished frames.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn buffered(&self) -> usize {
        match &self.state {
            #[cfg(feature = "ws")]
            State::Upgrade(upgrade) => upgrade.buffered(),
            State::Identity(handshake) => handshake.buffered(),
            State::Null(handshake) => handshake.buffered(),
            _ => 0,
        }
    }

    /// Ends the connection for this reason, which it returns.
    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        match &self.state {
            State::Failed(_) => return error,
            #[cfg(feature = "ws")]
            State::Upgrade(upgrade) if matches!(upgrade.side(), Side::Server) => {
                let refusal = upgrade::refusal(&error).unwrap_or_default();
                self.outbox.raw.extend_from_slice(refusal);
            }
            State::Null(_) | State::Traffic(_) => self.outbox.error = error.wire_reply(),
            _ => {}
        }
        #[cfg(feature = "ws")]
        if self.websocket {
            self.outbox.close = match &error {
                // Nothing more is expected from a peer that is silent.
                ProtocolError::TimedOut(_) => None,
                // Its answer to ours.
                ProtocolError::Closed { .. } if self.finished => None,
                ProtocolError::Closed { code } => Some(code.unwrap_or(framing::ws::NORMAL)),
                _ => Some(framing::ws::PROTOCOL_ERROR),
            };
        }
        self.state = State::Failed(error.clone());
        error
    }
}
