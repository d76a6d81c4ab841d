//! ROUTER (28/REQREP, "The ROUTER Socket Type"): sends to the peer that is named, and tells who sent
//! what it receives.

use std::sync::{Arc, Weak};

use super::builder::sealed::Assemble;
use super::common::{
    peer_methods, pollable, recv_methods, send_methods, shell_methods, socket_traits, wait_methods,
};
use super::deadline::{Deadline, Discarded};
use super::inbound::RecvHalf;
use super::names::Peers;
use super::outbound::{Given, Outgoing, SendHalf};
use super::shell::Shell;
use super::split::halves;
use super::task;
use super::SocketBuilder;
use crate::config::{OptionError, SendLimits, SocketConfig};
use crate::context::Context;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::error::{ConnectError, RecvError, SendError, SendFailure, UnknownRoutingId};
use crate::io::{DropCause, Hooks, Port};
use crate::message::{Frame, IntoMessage, Message, RoutingId};
use crate::routing::{DuplicateId, PeerKey};
use crate::socket_type::SocketType;

mod relaying;

pub(super) use relaying::Names;

/// Sends each message to the peer it names, and receives from all of its peers in turn, with the name
/// of the sender. Talks to [`Dealer`](crate::Dealer), [`Req`](crate::Req) and other ROUTERs.
///
/// Source: 28/REQREP, "The ROUTER Socket Type".
///
/// A peer is called what it announces ([`SocketBuilder::routing_id`]), or else by an id that is made
/// for its connection: five octets, the first of them zero, which nobody can guess. Two peers never have
/// the same id; what becomes of the second one to announce it is the option
/// [`duplicate_id`](SocketBuilder::duplicate_id).
///
/// There are two ways to write the same thing. [`recv_from`](Router::recv_from) and
/// [`send_to`](Router::send_to) have the id apart; with `recv` and `send` it is the first frame of the
/// message, as for a device that passes envelopes on.
///
/// ```
/// use sinew::{Dealer, Message, Router, SendFailure};
///
/// let mut router = Router::new();
/// let endpoint = router.bind("tcp://127.0.0.1:*")?;
/// let mut dealer = Dealer::builder().connect(&endpoint)?;
/// dealer.send("hello")?;
///
/// let (id, message) = router.recv_from()?;
/// assert_eq!(message.as_bytes(), b"hello");
/// router.send_to(&id, "world")?;
/// assert_eq!(dealer.recv()?.as_bytes(), b"world");
///
/// router.send(Message::multipart([id.as_bytes(), b"again"]))?;
/// assert_eq!(dealer.recv()?.as_bytes(), b"again");
///
/// let error = router.send_to("nobody", "lost?").unwrap_err();
/// assert_eq!(error.reason(), SendFailure::Unroutable);
/// assert_eq!(error.into_message().as_bytes(), b"lost?");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Router {
    out: SendHalf,
    inbound: RecvHalf,
    peers: Arc<Peers>,
    mandatory: bool,
    /// Its peers are no ZeroMQ sockets; a message without octets closes the connection.
    raw: bool,
    /// The sender of the last message, and how often an id had changed hands by then.
    last: Option<(PeerKey, u64, RoutingId)>,
    /// Beside a proxy: names of senders, and whom the message at hand is for.
    names: Names,
    named: Option<PeerKey>,
    pub(super) shell: Shell,
}

/// Options of ROUTER alone.
#[derive(Debug, Clone, PartialEq)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct RouterOptions {
    mandatory: bool,
    duplicate_id: DuplicateId,
    raw: bool,
}

impl RouterOptions {
    /// For STREAM.
    pub(super) fn raw() -> Self {
        RouterOptions {
            raw: true,
            ..RouterOptions::default()
        }
    }
}

impl Default for RouterOptions {
    fn default() -> Self {
        RouterOptions {
            mandatory: true,
            duplicate_id: DuplicateId::default(),
            raw: false,
        }
    }
}

super::options::kind_options!(Router: mandatory: bool = |options| options.mandatory, duplicate_id: DuplicateId = |options| options.duplicate_id, raw: bool = |options| options.raw);

impl SocketBuilder<Router> {
    /// Whether a message for an unknown peer is an error, and `send` waits for a peer that is at its
    /// high-water mark. Default: yes. Otherwise such messages are dropped and counted
    /// ([`dropped_peer_lost`](crate::SocketStats::dropped_peer_lost),
    /// [`dropped_full`](crate::SocketStats::dropped_full)), and sending always succeeds.
    pub fn mandatory(mut self, mandatory: bool) -> Self {
        self.options.mandatory = mandatory;
        self
    }

    /// Whether the peers are plain TCP (or ipc) sockets and no ZeroMQ sockets, as those of a
    /// [`Stream`](crate::Stream), which new programmes should use: this is how it was done before there was
    /// that. Default: no.
    ///
    /// There is no handshake then, every connection has an id that is made for it (or that of
    /// [`connect_as`](Router::connect_as)), the frames of a message are sent one behind the other as they are, and
    /// what is received are octets, however they came. With [`send`](Router::send), an id and one empty frame close
    /// the connection to that peer once what was sent before has left. Only `tcp://` and `ipc://` endpoints can
    /// be used; what is queued for a connection that is lost is dropped and counted. Of who comes and goes
    /// tell [`notify_connect`](SocketBuilder::notify_connect) and
    /// [`notify_disconnect`](SocketBuilder::notify_disconnect); greetings and probes would be sent as octets.
    pub fn raw(mut self, raw: bool) -> Self {
        self.options.raw = raw;
        self
    }

    /// What becomes of a peer that announces the routing id of another one. Default:
    /// [`DuplicateId::Refuse`].
    pub fn duplicate_id(mut self, duplicate_id: DuplicateId) -> Self {
        self.options.duplicate_id = duplicate_id;
        self
    }
}

/// What a [`Router`] knows about one of its peers, at the moment of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerState {
    /// There is a connection. One that this side has made is made again when it is lost, and can be
    /// sent to meanwhile.
    pub connected: bool,
    /// A message for it would be queued without waiting: it is below its high-water mark.
    pub writable: bool,
}

impl Assemble for Router {
    type Options = RouterOptions;

    fn assemble(config: SocketConfig, options: RouterOptions, context: Context) -> Self {
        match options.raw {
            true => Router::of_type(SocketType::Stream, config, options, context),
            false => Router::of_type(SocketType::Router, config, options, context),
        }
    }

    fn settled(config: SocketConfig, options: &RouterOptions) -> SocketConfig {
        SocketConfig {
            // What is queued for one raw connection is of no use to the next.
            immediate: config.immediate || options.raw,
            // Nor are there messages at their other ends that could be too large.
            send_limits: match options.raw && config.send_limits == SendLimits::default() {
                true => SendLimits::unlimited(),
                false => config.send_limits,
            },
            ..config
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn change_kind(&mut self, options: &RouterOptions) -> Result<(), OptionError> {
        if options.raw != self.raw {
            return Err(OptionError::fixed("raw"));
        }
        self.mandatory = options.mandatory;
        self.peers.set_rule(options.duplicate_id);
        Ok(())
    }
}

impl Router {
    /// A socket that does what a ROUTER does, and is of this type to its peers.
    pub(super) fn of_type(
        socket_type: SocketType,
        config: SocketConfig,
        options: RouterOptions,
        context: Context,
    ) -> Self {
        let peers = Arc::new(Peers::new(options.duplicate_id));
        let config = Self::settled(config, &options);
        let port = Port::new(
            socket_type,
            config,
            Arc::clone(&peers) as Arc<dyn Hooks>,
            Arc::clone(context.pool()),
        );
        Router {
            out: SendHalf::new(Arc::clone(&port)),
            inbound: RecvHalf::new(Arc::clone(&port)).hold_ends(),
            peers,
            mandatory: options.mandatory,
            raw: options.raw,
            last: None,
            names: Names::default(),
            named: None,
            shell: Shell::new(port, context),
        }
    }

    /// For raw peers: closes the connection to a peer when what is queued for it has been sent.
    ///
    /// # Errors
    /// If there is no such peer.
    pub(super) fn disconnect_peer(&mut self, id: &[u8]) -> Result<(), UnknownRoutingId> {
        self.tend();
        let mut table = self.peers.table();
        let key = table.find(id).ok_or_else(|| UnknownRoutingId::new(id))?;
        let link = table.connection(key).and_then(Weak::upgrade);
        // It cannot be sent to from here on, though the I/O thread has yet to hear of it.
        table.depart(key);
        drop(table);
        if let Some(link) = link {
            link.close_gently(self.shell.settings.config.linger);
        }
        Ok(())
    }
}

impl Router {
    shell_methods!(Router, out, inbound);
    send_methods!();
    recv_methods!();
    wait_methods!();

    /// Receives the next message and who it is from, waiting for it as `recv` does.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    #[inline]
    pub fn recv_from(&mut self) -> Result<(RoutingId, Message), RecvError> {
        let timeout = self.shell.settings.config.recv_timeout;
        match timeout {
            None => self.recv_from_by(Deadline::Never),
            Some(_) => self.recv_from_by(Deadline::after(timeout)),
        }
    }

    /// Receives a message and who it is from, if one is there.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if none is.
    #[inline]
    pub fn try_recv_from(&mut self) -> Result<(RoutingId, Message), RecvError> {
        self.recv_from_by(Deadline::Now)
    }

    /// Receives a message, if one is there, and gives it to this function with the name of who it is from, which is only
    /// lent: who has a table of its peers looks it up there and needs none of its own. To count the references to a name,
    /// up and down for each message, costs as much as a small message does otherwise.
    ///
    /// ```
    /// use sinew::{Dealer, Router, RoutingId};
    ///
    /// let mut router = Router::new();
    /// let endpoint = router.bind("tcp://127.0.0.1:*")?;
    /// let id = RoutingId::new("worker")?;
    /// let mut dealer = Dealer::builder().routing_id(id).connect(&endpoint)?;
    /// dealer.send("ready")?;
    /// while !router.wait_readable(None) {}
    /// let length = router.try_recv_with(|id, message| {
    ///     assert_eq!(id.as_bytes(), b"worker");
    ///     message.byte_len()
    /// })?;
    /// assert_eq!(length, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if none is; the function is not called then.
    #[inline]
    pub fn try_recv_with<R>(
        &mut self,
        take: impl FnOnce(&RoutingId, Message) -> R,
    ) -> Result<R, RecvError> {
        self.recv_with(Deadline::Now, take)
    }

    /// Receives the next message and who it is from, waiting at most this long.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if none came in time.
    pub fn recv_from_timeout(
        &mut self,
        timeout: std::time::Duration,
    ) -> Result<(RoutingId, Message), RecvError> {
        self.recv_from_by(Deadline::after(Some(timeout)))
    }

    /// Receives the next message and who it is from, waiting at most until this time.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if none came in time.
    pub fn recv_from_deadline(
        &mut self,
        deadline: std::time::Instant,
    ) -> Result<(RoutingId, Message), RecvError> {
        self.recv_from_by(Deadline::At(deadline))
    }

    /// Receives the next message and who it is from, for a task, as [`recv_async`](Self::recv_async) does.
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_from_async(&mut self) -> Result<(RoutingId, Message), RecvError> {
        let timeout = self.shell.settings.config.recv_timeout;
        task::receive(timeout, |deadline| self.recv_from_by(deadline)).await
    }

    /// Sends a message to one peer: a [`RoutingId`], or its octets. Waits while the peer is at its
    /// high-water mark (for ever, unless the option `send_timeout` says otherwise).
    ///
    /// # Errors
    /// [`Unroutable`](SendFailure::Unroutable) if there is no such peer, and see [`SendFailure`]. The
    /// message is in the error, and so is the id ([`SendError::routing_id`]).
    #[inline]
    pub fn send_to(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
    ) -> Result<(), SendError> {
        let timeout = self.shell.settings.config.send_timeout;
        match timeout {
            None => self.send_to_by(peer.as_ref(), message, Deadline::Never),
            Some(_) => self.send_to_by(peer.as_ref(), message, Deadline::after(timeout)),
        }
    }

    /// Sends a message to one peer, if it can take it now.
    ///
    /// # Errors
    /// [`WouldBlock`](SendFailure::WouldBlock) if it cannot; else as [`Router::send_to`].
    #[inline]
    pub fn try_send_to(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
    ) -> Result<(), SendError> {
        self.send_to_by(peer.as_ref(), message, Deadline::Now)
    }

    /// Sends a message to one peer, waiting at most this long until it can take it.
    ///
    /// # Errors
    /// [`Timeout`](SendFailure::Timeout) if it could not; else as [`Router::send_to`].
    pub fn send_to_timeout(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
        timeout: std::time::Duration,
    ) -> Result<(), SendError> {
        self.send_to_by(peer.as_ref(), message, Deadline::after(Some(timeout)))
    }

    /// Sends a message to one peer, waiting at most until this time until it can take it.
    ///
    /// # Errors
    /// [`Timeout`](SendFailure::Timeout) if it could not; else as [`Router::send_to`].
    pub fn send_to_deadline(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
        deadline: std::time::Instant,
    ) -> Result<(), SendError> {
        self.send_to_by(peer.as_ref(), message, Deadline::At(deadline))
    }

    /// Sends a message to one peer, for a task, as [`send_async`](Self::send_async) does.
    ///
    /// # Cancel safety
    /// A message is sent as a whole when the future is ready, and not at all before: dropping the future
    /// drops the message.
    ///
    /// # Errors
    /// As [`Router::send_to`].
    pub async fn send_to_async(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
    ) -> Result<(), SendError> {
        let timeout = self.shell.settings.config.send_timeout;
        let peer = peer.as_ref();
        let Err(first) = self.send_to_by(peer, message, Deadline::Now) else {
            return Ok(());
        };
        task::transmit(first, timeout, |message, deadline| {
            self.send_to_by(peer, message, deadline)
        })
        .await
    }

    /// Connects to an endpoint, whose peer is called `id` here, whatever it announces. It can be sent to
    /// at once, and keeps the id when the connection is lost and made again. With the option `immediate`
    /// the id is taken when the connection is made, and can be sent to from then on.
    ///
    /// # Errors
    /// [`ConnectError::DuplicateRoutingId`] if a peer has the id; otherwise as for `connect`. The socket
    /// is unchanged.
    pub fn connect_as(
        &mut self,
        id: &RoutingId,
        endpoint: impl ToEndpoint,
    ) -> Result<Endpoint, ConnectError> {
        let endpoint = self.shell.connectable(endpoint)?;
        self.peers.connect_as(&mut self.shell, id, endpoint)
    }

    /// Whether there is a connection to this peer now.
    #[must_use]
    pub fn is_connected(&self, peer: impl AsRef<[u8]>) -> bool {
        let table = self.peers.table();
        let key = table.find(peer.as_ref());
        key.is_some_and(|key| table.is_connected(key))
    }

    /// What is known about this peer; `None` if there is no such peer.
    #[must_use]
    pub fn peer_state(&mut self, peer: impl AsRef<[u8]>) -> Option<PeerState> {
        self.tend();
        let (key, connected) = {
            let table = self.peers.table();
            let key = table.find(peer.as_ref())?;
            (key, table.is_connected(key))
        };
        Some(PeerState {
            connected,
            writable: !self.out.is_full(key),
        })
    }

    /// Ready if a message for this peer would be queued without waiting, or there is no such peer. Otherwise the task is
    /// woken when that may be so: for who holds messages for many peers, of which some are at their high-water marks.
    ///
    /// As with any poll, the waker of the last call counts: it is woken for each peer that was asked about.
    ///
    /// ```
    /// use std::task::{Context, Waker};
    /// use sinew::Router;
    ///
    /// # struct Idle;
    /// # impl std::task::Wake for Idle { fn wake(self: std::sync::Arc<Self>) {} }
    /// # let waker = Waker::from(std::sync::Arc::new(Idle));
    /// let mut router = Router::new();
    /// // To send to it would fail, and not wait.
    /// assert!(router.poll_ready_to(&mut Context::from_waker(&waker), "nobody").is_ready());
    /// ```
    pub fn poll_ready_to(
        &mut self,
        cx: &mut std::task::Context<'_>,
        peer: impl AsRef<[u8]>,
    ) -> std::task::Poll<()> {
        self.tend();
        let found = self.peers.table().find(peer.as_ref());
        match found {
            Some(key) if !self.out.is_ready_for(key, Deadline::Task(cx.waker())) => {
                std::task::Poll::Pending
            }
            _ => std::task::Poll::Ready(()),
        }
    }

    /// Watches a peer that is at its high-water mark: [`try_room`](Self::try_room) and [`poll_room`](Self::poll_room)
    /// name it, once, when a message for it would be queued without waiting, or it is gone. For who holds messages for
    /// very many peers: it costs nothing until something has changed, where [`poll_ready_to`](Self::poll_ready_to) costs
    /// a look at each peer, again and again. A peer that has room now is named at once; to watch one that is watched
    /// changes nothing. False if there is no such peer: to send to it fails, and it will not be named.
    ///
    /// ```
    /// use sinew::{Dealer, Router, RoutingId};
    ///
    /// let mut router = Router::builder().send_hwm(1).build()?;
    /// let endpoint = router.bind("inproc://room")?;
    /// let id = RoutingId::new("slow")?;
    /// let builder = Dealer::builder().recv_hwm(1).routing_id(id.clone());
    /// let mut dealer = builder.connect(&endpoint)?;
    /// dealer.send("here")?;
    /// router.recv()?;
    ///
    /// while router.try_send_to(&id, "news").is_ok() {}
    /// assert!(router.watch_room(&id));
    /// assert_eq!(router.try_room(), None);
    /// while dealer.try_recv().is_ok() {}
    /// assert_eq!(router.try_room(), Some(id));
    /// assert!(!router.watch_room("nobody"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch_room(&mut self, peer: impl AsRef<[u8]>) -> bool {
        self.tend();
        let found = {
            let table = self.peers.table();
            let key = table.find(peer.as_ref());
            key.and_then(|key| Some((key, table.name(key)?.clone())))
        };
        let Some((key, id)) = found else {
            return false;
        };
        self.out.watch_room(key, id);
        true
    }

    /// A peer that is [watched](Self::watch_room) and has room now, or is gone. It is not watched any more. Never waits.
    pub fn try_room(&mut self) -> Option<RoutingId> {
        self.tend();
        self.out.try_room()
    }

    /// The same for a task, which is woken when there may be one. Pending, and never woken, as long as no peer is watched.
    ///
    /// As with any poll, the waker of the last call counts.
    pub fn poll_room(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<RoutingId> {
        self.tend();
        match self.out.poll_room(Deadline::Task(cx.waker())) {
            Some(peer) => std::task::Poll::Ready(peer),
            None => std::task::Poll::Pending,
        }
    }

    /// Takes note of who has come and gone, in both directions: nothing of that may pile up, whichever of
    /// them is used.
    #[inline]
    fn tend(&mut self) {
        self.out.refresh();
        self.inbound.refresh();
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        let (id, mut message) = self.recv_from_by(deadline)?;
        message.push_front(Frame::from(id.as_bytes()));
        Ok(message)
    }

    #[inline]
    fn recv_from_by(&mut self, deadline: Deadline) -> Result<(RoutingId, Message), RecvError> {
        self.recv_with(deadline, |id, message| (id.clone(), message))
    }

    #[inline]
    fn recv_with<R>(
        &mut self,
        deadline: Deadline,
        take: impl FnOnce(&RoutingId, Message) -> R,
    ) -> Result<R, RecvError> {
        let mut timed_out = Ok(());
        let mut discarded = Discarded::default();
        loop {
            self.out.refresh();
            while let Ok(message) = self.inbound.try_recv() {
                if let Some(id) = self.sender() {
                    return Ok(take(id, message));
                }
                // From a peer whose id is another's.
                self.inbound.drop_last();
                discarded.one(deadline)?;
            }
            timed_out?;
            timed_out = self.inbound.await_more_from(&mut self.out, deadline);
        }
    }

    /// Who the last message is from.
    #[inline]
    fn sender(&mut self) -> Option<&RoutingId> {
        let from = self.inbound.from();
        let handovers = self.peers.handovers();
        let known =
            matches!(&self.last, Some((key, as_of, _)) if *key == from && *as_of == handovers);
        if !known {
            let id = self.peers.table().name(from).cloned()?;
            self.last = Some((from, handovers, id));
        }
        self.last.as_ref().map(|(_, _, id)| id)
    }

    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        let mut message = message.into();
        if self.raw {
            message = match self.unless_it_closes(message)? {
                Some(message) => message,
                None => return Ok(()),
            };
        }
        let Some(id) = message.pop_front() else {
            if self.mandatory {
                return Err(SendError::new(SendFailure::NotAddressed, message));
            }
            self.shell.port.dropped(DropCause::Unexpected, 1);
            return Ok(());
        };
        match self.give(&id, &mut message) {
            Routed::Sent => Ok(()),
            other => self
                .send_slow(&id, message, other, deadline)
                .map_err(|error| {
                    let reason = error.reason();
                    let mut message = error.into_message();
                    message.push_front(id.clone());
                    SendError::to(&id, reason, message)
                }),
        }
    }

    /// For raw peers: the message, unless it says that its peer is to be disconnected, which is done then.
    #[cold]
    fn unless_it_closes(&mut self, message: Message) -> Result<Option<Message>, SendError> {
        let id = match message.frames() {
            [id, octets] if octets.is_empty() => id.clone(),
            [_] if self.mandatory => {
                return Err(SendError::new(SendFailure::NotAddressed, message))
            }
            _ => return Ok(Some(message)),
        };
        match self.disconnect_peer(&id) {
            Ok(()) => Ok(None),
            Err(_) if !self.mandatory => {
                self.shell.port.dropped(DropCause::PeerLost, 1);
                Ok(None)
            }
            Err(_) => Err(SendError::to(&id, SendFailure::Unroutable, message)),
        }
    }

    #[inline]
    fn send_to_by(
        &mut self,
        id: &[u8],
        message: impl IntoMessage,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let routed = match message.as_payload() {
            Some(payload) => self.give(id, &mut { payload }),
            None => {
                let mut message = message.into();
                return match self.give(id, &mut message) {
                    Routed::Sent => Ok(()),
                    other => self.send_slow(id, message, other, deadline),
                };
            }
        };
        match routed {
            Routed::Sent => Ok(()),
            other => self.send_slow(id, message.into(), other, deadline),
        }
    }

    /// Gives a message to the peer of this name.
    #[inline]
    fn give<M: Outgoing>(&mut self, id: &[u8], message: &mut M) -> Routed {
        let mut before = None;
        loop {
            let found = self.peers.table().find(id);
            // One that was gone may have come back by now, as another.
            let Some(key) = found.filter(|_| found != before) else {
                self.tend();
                return Routed::Unknown;
            };
            // After the look-up: who is in the table has a pipe, which is in the mail at the latest.
            self.tend();
            match self.out.give(key, message) {
                Given::Done => return Routed::Sent,
                Given::Full => return Routed::Full(key),
                Given::Gone => before = found,
            }
        }
    }

    #[cold]
    fn send_slow(
        &mut self,
        id: &[u8],
        mut message: Message,
        mut routed: Routed,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        loop {
            if let Some(refused) = self.out.take_refused() {
                return Err(SendError::to(id, refused, message));
            }
            let port = &self.shell.port;
            let reason = match routed {
                Routed::Sent => return Ok(()),
                Routed::Unknown if !self.mandatory => {
                    port.dropped(DropCause::PeerLost, 1);
                    return Ok(());
                }
                Routed::Full(key) if !self.mandatory => {
                    self.out.drop_for(key);
                    return Ok(());
                }
                Routed::Unknown => SendFailure::Unroutable,
                Routed::Full(_) if deadline.is_now() => self.out.no_room(deadline),
                Routed::Full(key) => {
                    let inbound = &mut self.inbound;
                    let room = self.out.wait_for_room(key, deadline, || inbound.refresh());
                    if room {
                        // Looked up again: the id may have changed hands.
                        routed = self.give(id, &mut message);
                        continue;
                    }
                    self.out.no_room(deadline)
                }
            };
            return Err(SendError::to(id, reason, message));
        }
    }
}

/// What became of an attempt to send.
#[derive(Debug, Clone, Copy)]
enum Routed {
    Sent,
    Unknown,
    Full(PeerKey),
}

socket_traits!(Router);
peer_methods!(Router, inbound);
pollable!(Router, |socket, time| read: socket.inbound.is_ready(time), write: true);
halves!(Router, out, inbound, peers, mandatory, raw, last, names, named);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::inbound::after;

    /// A program that sends and receives in turn has its messages written without a hop to an I/O thread.
    #[test]
    fn what_is_sent_after_a_wait_for_an_answer_is_written_at_once() {
        after::check(
            |context| Router::assemble(SocketConfig::default(), RouterOptions::default(), context),
            |router| &router.shell.port,
            |router, deadline| router.recv_by(deadline).map(drop),
            |router| &router.out,
        );
    }
}
