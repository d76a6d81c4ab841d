//! Building a socket: options first, checked once, then an endpoint or none.

use std::time::Duration;

use bytes::Bytes;

use super::shell::Shell;
use crate::config::{
    Heartbeat, HighWaterMark, OptionError, ReconnectPolicy, SendLimits, SocketConfig,
};
use crate::context::Context;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::error::BuildError;
use crate::message::RoutingId;

/// A kind of socket that can be built. Implemented by the sockets of this crate, and by nothing else.
///
/// It is here to be named, by code that is generic over the kind:
///
/// ```
/// use std::time::Duration;
/// use sinew::{Pull, SocketBuilder, SocketKind};
///
/// fn hasty<K: SocketKind>(builder: SocketBuilder<K>) -> SocketBuilder<K> {
///     builder.linger(Duration::ZERO)
/// }
/// let pull = hasty(Pull::builder()).build()?;
/// # Ok::<(), sinew::BuildError>(())
/// ```
pub trait SocketKind: sealed::Assemble {}

impl<K: sealed::Assemble> SocketKind for K {}

pub(super) mod sealed {
    //! What a kind of socket provides to its builder, out of reach of other crates.

    use super::{Context, OptionError, Shell, SocketConfig};

    #[allow(
        unreachable_pub,
        private_interfaces,
        reason = "a sealed trait is public so that it can bound a public one, and not nameable"
    )]
    pub trait Assemble: Sized {
        /// Options of this kind alone.
        type Options: Default + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static;

        /// The configuration that this kind begins with.
        fn defaults() -> SocketConfig {
            SocketConfig::default()
        }

        fn assemble(config: SocketConfig, options: Self::Options, context: Context) -> Self;

        fn shell(&mut self) -> &mut Shell;

        /// The configuration with these options of its kind alone: some have other defaults with them.
        fn settled(config: SocketConfig, _: &Self::Options) -> SocketConfig {
            config
        }

        /// Goes on with these options of its kind alone. Nothing is changed if one is for its whole life.
        fn change_kind(&mut self, options: &Self::Options) -> Result<(), OptionError> {
            let _ = options;
            Err(OptionError::fixed("of this kind of socket alone"))
        }
    }

    /// What only this crate implements.
    #[allow(unreachable_pub, reason = "as above")]
    pub trait Sealed {}

    impl<S: Sealed> Sealed for &mut S {}
}

/// Options of a socket to be made. Every option has a default; impossible values are reported by the
/// method that ends the chain.
///
/// ```
/// use sinew::{Pull, Push};
///
/// let pull = Pull::builder().recv_hwm(500).bind("tcp://127.0.0.1:*")?;
/// let push = Push::builder()
///     .send_hwm(10_000)
///     .connect(&pull.bound_endpoints()[0])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What the system may refuse
/// Values in the range of an option are not always what the system takes: it may want a privilege, know no such
/// interface, or have a narrower range. A refusal fails what it was refused for, and nothing else: a `bind` with
/// an error; an attempt to connect as a [`ConnectFailed`](crate::SocketEvent::ConnectFailed) event, and it is tried
/// again as [`reconnect`](SocketBuilder::reconnect) says; an accepted connection as an
/// [`AcceptFailed`](crate::SocketEvent::AcceptFailed) event. Options for tcp that are marked with a system
/// have no effect on others.
#[derive(Debug, Clone)]
#[must_use]
pub struct SocketBuilder<K: SocketKind> {
    pub(super) config: SocketConfig,
    pub(super) options: K::Options,
    context: Option<Context>,
}

impl<K: SocketKind> SocketBuilder<K> {
    pub(super) fn new() -> Self {
        SocketBuilder {
            config: K::defaults(),
            options: K::Options::default(),
            context: None,
        }
    }

    /// A builder of a socket like the one that has this shell.
    fn like(shell: &Shell) -> Self {
        SocketBuilder {
            config: shell.settings.config.clone(),
            options: shell.kind_options(),
            context: None,
        }
    }

    /// What becomes of the options of a socket: the configuration, and what its kind has alone if that is to change.
    fn changed(
        shell: &Shell,
        change: impl FnOnce(Self) -> Self,
    ) -> Result<(SocketConfig, Option<K::Options>), OptionError> {
        let before = Self::like(shell);
        let kind = before.options.clone();
        let SocketBuilder {
            config,
            options,
            context,
        } = change(before);
        if context.is_some() {
            return Err(OptionError::fixed("context"));
        }
        shell.check(&config)?;
        Ok((config, (options != kind).then_some(options)))
    }

    /// Has the options of a socket changed.
    pub(super) fn reconfigure(
        socket: &mut K,
        change: impl FnOnce(Self) -> Self,
    ) -> Result<(), OptionError> {
        let (config, options) = Self::changed(socket.shell(), change)?;
        if let Some(options) = options {
            socket.change_kind(&options)?;
            socket.shell().remember(Box::new(options));
        }
        socket.shell().reconfigure(config)
    }

    /// As [`SocketBuilder::reconfigure`], for who has the shell and not the socket: options of the kind alone stay.
    pub(super) fn reconfigure_shell(
        shell: &mut Shell,
        change: impl FnOnce(Self) -> Self,
    ) -> Result<(), OptionError> {
        match Self::changed(shell, change)? {
            (config, None) => shell.reconfigure(config),
            (_, Some(_)) => Err(OptionError::fixed("of this kind of socket alone")),
        }
    }

    /// Makes the socket, with no endpoints yet.
    ///
    /// # Errors
    /// If an option has an impossible value, or the context has its maximum of sockets.
    pub fn build(self) -> Result<K, BuildError> {
        let config = K::settled(self.config, &self.options);
        config.validate()?;
        let context = self.context.unwrap_or_default();
        let place = context.claim()?;
        let kind = (self.options != K::Options::default()).then(|| Box::new(self.options.clone()));
        let mut socket = K::assemble(config, self.options, context);
        let shell = socket.shell();
        shell.hold(place);
        if let Some(kind) = kind {
            shell.remember(kind);
        }
        Ok(socket)
    }

    /// Makes the socket and binds it. [`bound`](Self::bound) also tells where, if that is not known before.
    ///
    /// # Errors
    /// If an option has an impossible value, or the endpoint cannot be bound.
    pub fn bind(self, endpoint: impl ToEndpoint) -> Result<K, BuildError> {
        let mut socket = self.build()?;
        socket.shell().bind(endpoint)?;
        Ok(socket)
    }

    /// Makes the socket and binds it, and tells where: for wildcards and port 0.
    ///
    /// ```
    /// use sinew::{Pull, Push};
    ///
    /// let (mut pull, endpoint) = Pull::builder().bound("tcp://127.0.0.1:*")?;
    /// let mut push = Push::builder().connect(&endpoint)?;
    /// push.send("hello")?;
    /// assert_eq!(pull.recv()?.to_str()?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bound(self, endpoint: impl ToEndpoint) -> Result<(K, Endpoint), BuildError> {
        let mut socket = self.build()?;
        let endpoint = socket.shell().bind(endpoint)?;
        Ok((socket, endpoint))
    }

    /// Makes the socket and connects it. A peer need not be there yet.
    ///
    /// # Errors
    /// If an option has an impossible value, or the endpoint cannot be connected to.
    pub fn connect(self, endpoint: impl ToEndpoint) -> Result<K, BuildError> {
        let mut socket = self.build()?;
        socket.shell().connect(endpoint)?;
        Ok(socket)
    }

    /// The context whose I/O threads and inproc names the socket uses. Default: the process-wide one.
    pub fn context(mut self, context: &Context) -> Self {
        self.context = Some(context.clone());
        self
    }

    /// How many messages (and octets) may be queued per peer for sending, at least 1 each. Default: 1000
    /// messages and 64 MiB. What the kernel has taken is no longer counted. Over inproc the limits of both sides
    /// add up.
    pub fn send_hwm(mut self, hwm: impl Into<HighWaterMark>) -> Self {
        self.config.send_hwm = hwm.into();
        self
    }

    /// How many received messages (and octets) may be queued per peer, at least 1 each. Reading from a
    /// peer pauses there. Default: 1000 messages and 64 MiB.
    pub fn recv_hwm(mut self, hwm: impl Into<HighWaterMark>) -> Self {
        self.config.recv_hwm = hwm.into();
        self
    }

    /// How long queued messages outlive the socket; `None` for ever. Default: 30 s (0 for SUB, XSUB and DISH).
    /// Those for an inproc name that nobody has bound end with it at once; closing tells how many there were.
    pub fn linger(mut self, linger: impl Into<Option<Duration>>) -> Self {
        self.config.linger = linger.into();
        self
    }

    /// How long `send` waits; `None`, the default, for ever. Zero does not wait at all.
    pub fn send_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.send_timeout = timeout.into();
        self
    }

    /// How long `recv` waits; `None`, the default, for ever. Zero does not wait at all.
    pub fn recv_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.recv_timeout = timeout.into();
        self
    }

    /// Whether `recv` (and whatever else waits for messages) looks for them without ever going to sleep.
    /// Default: no; a socket in lock-step (REQ, REP) then looks for up to 50 µs (100 µs in a task), as long as that
    /// pays, and others sleep at once.
    ///
    /// Saves the time that it takes to be woken, and costs a processor for as long as the socket waits:
    /// for threads that have one of their own. Tasks (`recv_async`) go to sleep all the same.
    pub fn busy_poll(mut self, busy_poll: bool) -> Self {
        self.config.busy_poll = busy_poll;
        self
    }

    /// When to connect again after a connection was lost or not made. Default: 100 ms doubling up to
    /// 30 s, with full jitter, reset by a completed handshake.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.config.reconnect = policy;
        self
    }

    /// Limit for one attempt to connect, from 1 ms to 30 days; `None`, the default, leaves it to the
    /// system. Each address of a name has an attempt of its own; the next one starts 250 ms after the last,
    /// or when those under way have failed (RFC 8305, section 5), and the first connection made is used.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.connect_timeout = timeout.into();
        self
    }

    /// Limit for the handshake, from 1 ms to 30 days; `None` for no limit. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.handshake_timeout = timeout.into();
        self
    }

    /// How often to ping peers, and when to give up those that are silent. Default: pinged every 10 s, given up
    /// when nothing at all comes for 30 s after a ping. Peers that speak ZMTP 3.0 know no pings and get none.
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.config.heartbeat = heartbeat;
        self
    }

    /// The largest frame accepted from a peer, in octets, at least 1. A peer that announces a larger one
    /// is disconnected. Default: 64 MiB. A `max_message_size` below it is raised to it.
    pub fn max_frame_size(mut self, octets: u64) -> Self {
        self.config.limits.frame_bytes = octets;
        self.config.limits.message_bytes = self.config.limits.message_bytes.max(octets);
        self
    }

    /// The largest message accepted from a peer, all frames together, in octets, at least 1. Default:
    /// 128 MiB. A `max_frame_size` above it is lowered to it.
    pub fn max_message_size(mut self, octets: u64) -> Self {
        self.config.limits.message_bytes = octets;
        self.config.limits.frame_bytes = self.config.limits.frame_bytes.min(octets);
        self
    }

    /// The largest message that is sent, all frames together, in octets, from 262144; `None` for no limit. A larger one
    /// is not sent ([`SendFailure::MessageTooLarge`](crate::SendFailure::MessageTooLarge)) over any transport, and cannot be
    /// one that peers are greeted with (`hello_message`, `welcome_message`, `disconnect_message`, `hiccup_message`).
    /// Default: what peers with default options receive, 64 MiB in one frame and 128 MiB together; they would end the
    /// connection otherwise. STREAM and raw ROUTER sockets have no limit unless it is given.
    pub fn max_send_size(mut self, octets: impl Into<Option<u64>>) -> Self {
        self.config.send_limits = SendLimits::of(octets.into());
        self
    }

    /// The most frames accepted in one message, at least 1. Default: 65 536.
    pub fn max_frames(mut self, frames: u32) -> Self {
        self.config.limits.frames = frames;
        self
    }

    /// The name announced to peers, of 1 to 255 octets, the first of them not zero ([`RoutingId`]). Announced by
    /// REQ, DEALER and ROUTER, and by other kinds only to peers that are older than ZMTP 3. A ROUTER calls its peers so,
    /// and others tell it in events. Default: none, and a ROUTER makes one up for the peer (28/REQREP, "The ROUTER
    /// Socket Type").
    pub fn routing_id(mut self, id: RoutingId) -> Self {
        self.config.routing_id = Some(id);
        self
    }

    /// Whether peers are accepted that speak ZMTP 2.0 or 1.0, which know neither security nor heartbeats, and
    /// of which nothing tells (1.0) what kind of socket they are. Default: no, they are refused.
    ///
    /// Kinds that are younger than these versions (`Stream`, and those that are not in ZeroMQ 3) refuse them
    /// nevertheless. The greeting is then sent in steps, as older peers need it: a handshake with any peer takes one
    /// round trip more. A connection whose first octet is not that of a greeting counts as one of ZMTP 1.0.
    pub fn legacy_peers(mut self, accepted: bool) -> Self {
        self.config.legacy_peers = accepted;
        self
    }

    /// Whether peers are forgiven what libzmq forgives them, though the protocol does not allow it. Default: no, each of
    /// these ends the connection with an error that says which it was; that is how two sides which have lost step
    /// are found before one takes octets for messages. With it,
    ///
    /// - a peer that announces no `Socket-Type` is let in, whatever it is;
    /// - the reserved bits of a frame's flags are ignored, and so is MORE on a command;
    /// - commands of the handshake (`READY`, `HELLO`, `WELCOME`, `INITIATE`, `MESSAGE`) are ignored when it is over; an
    ///   `ERROR` still ends the connection;
    /// - of a `PING` with more than 16 octets of context the first 16 are returned, and a `PONG` may have any number;
    /// - a peer whose greeting says revision 2 is taken for one of ZMTP 3.1 (any from 3 on is, whatever this says);
    /// - a WebSocket is accepted for any path.
    ///
    /// Limits on sizes, numbers and times are the same, and whatever cannot be understood is an error as before. Peers
    /// older than ZMTP 3 are another matter ([`legacy_peers`](Self::legacy_peers)).
    pub fn lenient_peers(mut self, lenient: bool) -> Self {
        self.config.lenient_peers = lenient;
        self
    }

    /// Whether a peer over inproc may be of a type that this socket may not talk to, as with libzmq, which lets any two
    /// types be connected there. It is enough if one of the two has this option. Default: no, such a
    /// [`connect`](crate::Push::connect) fails ([`ConnectError::Incompatible`](crate::ConnectError::Incompatible)), or is
    /// refused when the name is bound. Over other transports the handshake decides, whatever this says.
    ///
    /// Each type does with such a peer what it does with its own: it deals out in turn, sends to who has subscribed,
    /// adds and takes away envelopes and names. Whoever receives gets the frames that were sent, and treats them as any
    /// that come to it: a SUB filters them, a REP drops and counts what has no delimiter, who takes single frames drops
    /// and counts messages of several; an XPUB takes frames that begin with an octet 0 or 1 for subscriptions. Subscriptions
    /// of a SUB or XSUB are told to publishers only. A type that receives nothing (PUSH, PUB, SCATTER) leaves what is sent
    /// to it in the queue, which is full in the end, at what both sides allow; that ends with the connection.
    ///
    /// RADIO and DISH have peers of each other's type only, as their messages have groups; STREAM and DGRAM know no inproc.
    ///
    /// ```
    /// use sinew::{Dealer, Pull};
    ///
    /// let mut pull = Pull::builder().any_inproc_type(true).bind("inproc://any-type")?;
    /// let mut dealer = Dealer::builder().connect("inproc://any-type")?;
    /// dealer.send("work")?;
    /// assert_eq!(pull.recv()?.as_bytes(), b"work");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn any_inproc_type(mut self, any: bool) -> Self {
        self.config.any_inproc_type = any;
        self
    }

    /// Whether messages are queued only to peers with a completed connection. Default: no; an endpoint
    /// connected to can be sent to at once, and its queue survives a reconnection.
    pub fn immediate(mut self, immediate: bool) -> Self {
        self.config.immediate = immediate;
        self
    }

    /// Announces a property of this application to every peer, in each handshake and over inproc: a name
    /// that begins with `X-` and has at most 255 letters, digits, `-`, `_`, `.` or `+`, and a value of at
    /// least one octet. Peers find it in [`PeerProperties`](crate::PeerProperties), and those of other
    /// libraries among the properties of received messages. Of names that are equal without regard to case
    /// the first counts; at most 128 of them, and 32 KiB with their values. Default: none.
    pub fn metadata(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        let name = name.into();
        let known = &self.config.metadata;
        if !known
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(&name))
        {
            let value = Bytes::copy_from_slice(value.as_ref());
            self.config.metadata.push((name, value));
        }
        self
    }

    /// Whether each received message carries what is known of its peer
    /// ([`Message::properties`](crate::Message::properties)). Costs an allocation for each, which the
    /// `last_peer` of every receiving socket does not. Default: no. Without effect on sockets that receive
    /// nothing.
    pub fn attach_properties(mut self, attach: bool) -> Self {
        self.config.attach_properties = attach;
        self
    }

    /// The length of the queue of connections that wait to be accepted, from 1 to 2147483647. Default:
    /// 1024, capped by the system.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.config.backlog = connections;
        self
    }

    /// The I/O threads this socket may use: bit *i* allows thread *i*; 0, the default, allows all. A mask
    /// that allows none of the context's threads fails `bind` and `connect`, except over inproc.
    pub fn affinity(mut self, mask: u64) -> Self {
        self.config.affinity = mask;
        self
    }

    /// The most unfinished handshakes per listener, from 1 to 2147483647; further connections are closed.
    /// Default: 1024.
    pub fn max_pending_handshakes(mut self, connections: u32) -> Self {
        self.config.max_pending_handshakes = connections;
        self
    }

    /// The most peers of this socket, over all its endpoints, from 1 to 2147483647; at no time are there more. Further
    /// ones are refused after their handshake
    /// ([`TooManyConnections`](crate::DisconnectReason::TooManyConnections)); over inproc both sides are told that by a
    /// [`ConnectFailed`](crate::SocketEvent::ConnectFailed), and `connect` fails if the name is bound already
    /// ([`ConnectError::TooManyConnections`](crate::ConnectError::TooManyConnections)). Endpoints of udp count for nothing, as
    /// they have no connections. `None`, the default, for no limit.
    pub fn max_connections(mut self, connections: impl Into<Option<u32>>) -> Self {
        self.config.max_connections = connections.into();
        self
    }
}
