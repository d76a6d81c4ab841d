//! STREAM: octets to and from peers that are no ZeroMQ sockets.
//!
//! A ROUTER whose connections have no handshake and no frames (the transform for raw octets): who is
//! called what, waiting, and the two forms of every message are the same, so it is made of one. What differs:
//! a connection that is made again is another peer, and one peer's connection can be closed.

use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use super::builder::sealed::Assemble;
use super::common::{pollable, socket_traits, watch_methods};
use super::deadline::Deadline;
use super::readiness::{Interest, Readiness};
use super::relay::{relay, Relay};
use super::router::{Router, RouterOptions};
use super::shell::{CloseReport, Shell};
use super::split::sealed::Halves;
use super::tuning::{id_methods, option_methods};
use super::SocketBuilder;
use crate::config::{Notes, SocketConfig};
use crate::context::Context;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::error::{
    BindError, ConnectError, RecvError, SendError, UnknownEndpoint, UnknownRoutingId, WaitTimeout,
};
use crate::io::Port;
use crate::message::{IntoMessage, Message, RoutingId};

/// Sends octets to the peer it names, and receives what any of its peers sends. The peers are plain TCP (or
/// ipc) sockets: nothing is added to what they send and are sent.
///
/// A connection is called by an id that is made for it: five octets, the first of them zero, which nobody
/// can guess. What is received holds what came at once, of 1 to 8192 octets; where one message ends and
/// the next begins is of no meaning. An *empty* message is a note: the first one from a peer says that it has
/// come, the second that it is gone. It is not sent by the peer, and the option
/// [`notify`](SocketBuilder::notify) turns it off. A peer whose messages nobody receives is not read from any
/// more once `recv_hwm` of them wait.
///
/// As with a [`Router`] there are two ways to write the same thing: [`recv_from`](Stream::recv_from) and
/// [`send_to`](Stream::send_to) have the id apart; with `recv` and `send` it is the first frame of the message.
///
/// There is no handshake: a connection counts as a peer at once. One that this side made and that is lost is
/// made again, and is another peer then, with another id (but see [`connect_as`](Stream::connect_as)); what
/// was not sent through it is dropped and counted. Heartbeats and limits on messages of several frames mean
/// nothing here.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use sinew::Stream;
///
/// let mut server = Stream::new();
/// let endpoint = server.bind("tcp://127.0.0.1:*")?;
/// let mut browser = TcpStream::connect(endpoint.socket_addr().unwrap())?;
///
/// let (id, note) = server.recv_from()?;
/// assert!(note.as_bytes().is_empty(), "it has come");
/// browser.write_all(b"GET")?;
/// let (from, octets) = server.recv_from()?;
/// assert_eq!((from, octets.as_bytes()), (id.clone(), &b"GET"[..]));
///
/// server.send_to(&id, "gone")?;
/// server.disconnect_peer(&id)?;
/// let mut answer = String::new();
/// browser.read_to_string(&mut answer)?;
/// assert_eq!(answer, "gone");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Stream {
    router: Router,
}

impl Assemble for Stream {
    type Options = ();

    fn defaults() -> SocketConfig {
        SocketConfig {
            notes: Notes {
                notify_connect: true,
                notify_disconnect: true,
                ..Notes::default()
            },
            ..SocketConfig::default()
        }
    }

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let options = RouterOptions::raw();
        Stream {
            router: Router::assemble(config, options, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        self.router.shell()
    }
}

impl Halves for Stream {
    fn halve(self) -> (Self, Self, Shell) {
        let (sending, receiving, shell) = self.router.halve();
        (
            Stream { router: sending },
            Stream { router: receiving },
            shell,
        )
    }

    fn unite(sending: Self, receiving: Self, shell: Shell) -> Self {
        Stream {
            router: Router::unite(sending.router, receiving.router, shell),
        }
    }

    fn send_half(
        &mut self,
        message: impl IntoMessage,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        self.router.send_half(message, deadline)
    }

    fn recv_half(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.router.recv_half(deadline)
    }

    fn ready_half(&mut self, interest: Interest, deadline: Deadline) -> Readiness {
        self.router.ready_half(interest, deadline)
    }

    fn peers_reach_half(&mut self, count: usize, deadline: Deadline) -> bool {
        self.router.peers_reach_half(count, deadline)
    }

    fn forsake(&mut self) {
        self.router.forsake();
    }
}

impl SocketBuilder<Stream> {
    /// Whether an empty message is received first from each new peer, and last from each that is lost.
    /// Default: yes. The second one is dropped and counted
    /// ([`dropped_full`](crate::SocketStats::dropped_full)) if `recv_hwm` messages of the peer are unread.
    pub fn notify(mut self, notify: bool) -> Self {
        self.config.notes.notify_connect = notify;
        self.config.notes.notify_disconnect = notify;
        self
    }
}

impl Stream {
    fn take_note(&mut self) {
        self.router.take_note();
    }

    /// A socket with the default options, in the process-wide context.
    #[must_use]
    pub fn new() -> Self {
        Self::assemble(Self::defaults(), (), Context::default())
    }

    /// A builder with the default options.
    pub fn builder() -> SocketBuilder<Self> {
        SocketBuilder::new()
    }

    /// Binds to a `tcp://` or `ipc://` endpoint; see [`Router::bind`].
    ///
    /// # Errors
    /// As for [`Router::bind`], and if the endpoint is of another transport.
    pub fn bind(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, BindError> {
        self.router.bind(endpoint)
    }

    /// Connects to a `tcp://` or `ipc://` endpoint; see [`Router::connect`]. The peer can be sent to once
    /// the connection is made: the note that says so has its id.
    ///
    /// # Errors
    /// As for [`Router::connect`], and if the endpoint is of another transport.
    pub fn connect(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, ConnectError> {
        self.router.connect(endpoint)
    }

    /// As [`Stream::connect`], and the peer is called `id` here, whenever there is a connection.
    ///
    /// # Errors
    /// As for [`Stream::connect`], and [`ConnectError::DuplicateRoutingId`] if a peer has the id.
    pub fn connect_as(
        &mut self,
        id: &RoutingId,
        endpoint: impl ToEndpoint,
    ) -> Result<Endpoint, ConnectError> {
        self.router.connect_as(id, endpoint)
    }

    /// Unbinds from an endpoint; see [`Router::unbind`].
    ///
    /// # Errors
    /// If this socket is not bound to it.
    pub fn unbind(&mut self, endpoint: impl ToEndpoint) -> Result<(), UnknownEndpoint> {
        self.router.unbind(endpoint)
    }

    /// Ends every connection to an endpoint; see [`Router::disconnect`].
    ///
    /// # Errors
    /// If this socket is not connected to it.
    pub fn disconnect(&mut self, endpoint: impl ToEndpoint) -> Result<(), UnknownEndpoint> {
        self.router.disconnect(endpoint)
    }

    /// Closes the connection to one peer, once what was sent to it has left, at most after the linger time.
    /// Does not wait for that. It cannot be sent to any more; what it had sent can still be received, and
    /// no note follows. If this side had connected, it does not connect again.
    ///
    /// # Errors
    /// If there is no such peer.
    pub fn disconnect_peer(&mut self, peer: impl AsRef<[u8]>) -> Result<(), UnknownRoutingId> {
        self.router.disconnect_peer(peer.as_ref())
    }

    /// The endpoints this socket is bound to, wildcards replaced.
    #[must_use]
    pub fn bound_endpoints(&self) -> Vec<Endpoint> {
        self.router.bound_endpoints()
    }

    /// The endpoints this socket connects to.
    #[must_use]
    pub fn connected_endpoints(&self) -> Vec<Endpoint> {
        self.router.connected_endpoints()
    }

    id_methods!(self => self.router.shell);
    option_methods!(Stream, self => self.router.shell);
    watch_methods!(self => Relay::port(&self.router));

    /// Waits until there are at least this many connections.
    ///
    /// # Errors
    /// If there were fewer when the time was over.
    pub fn wait_for_peers(&mut self, count: usize, timeout: Duration) -> Result<(), WaitTimeout> {
        self.router.wait_for_peers(count, timeout)
    }

    /// As [`wait_for_peers`](Self::wait_for_peers), for a task, and as long as it takes. Dropping the future
    /// ends the wait and changes nothing.
    pub async fn wait_for_peers_async(&mut self, count: usize) {
        self.router.wait_for_peers_async(count).await;
    }

    /// Whether there is a connection to this peer now.
    #[must_use]
    pub fn is_connected(&self, peer: impl AsRef<[u8]>) -> bool {
        self.router.is_connected(peer)
    }

    /// Receives octets, or a note, and who they are from, waiting for them (for ever, unless the option
    /// `recv_timeout` says otherwise).
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv_from(&mut self) -> Result<(RoutingId, Message), RecvError> {
        self.router.recv_from()
    }

    /// As [`Stream::recv_from`], if something is there.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if nothing is.
    pub fn try_recv_from(&mut self) -> Result<(RoutingId, Message), RecvError> {
        self.router.try_recv_from()
    }

    /// As [`Stream::recv_from`], waiting at most this long.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if nothing came in time.
    pub fn recv_from_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<(RoutingId, Message), RecvError> {
        self.router.recv_from_timeout(timeout)
    }

    /// As [`Stream::recv_from`], waiting at most until this time.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if nothing came in time.
    pub fn recv_from_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<(RoutingId, Message), RecvError> {
        self.router.recv_from_deadline(deadline)
    }

    /// As [`Stream::recv_from`], as a message of two frames: the id, and the octets.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv(&mut self) -> Result<Message, RecvError> {
        self.router.recv()
    }

    /// As [`Stream::recv`], if something is there.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if nothing is.
    pub fn try_recv(&mut self) -> Result<Message, RecvError> {
        self.router.try_recv()
    }

    /// As [`Stream::recv`], waiting at most this long.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if nothing came in time.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Message, RecvError> {
        self.router.recv_timeout(timeout)
    }

    /// As [`Stream::recv_from`], for a task of any executor, or of none. The option `recv_timeout` applies.
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_from_async(&mut self) -> Result<(RoutingId, Message), RecvError> {
        self.router.recv_from_async().await
    }

    /// As [`Stream::recv`], for a task; see [`Stream::recv_from_async`].
    ///
    /// # Cancel safety
    /// As for [`Stream::recv_from_async`].
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_async(&mut self) -> Result<Message, RecvError> {
        self.router.recv_async().await
    }

    /// As [`Stream::recv`], if something is there; otherwise the task is woken when it may be worth another
    /// try. The option `recv_timeout` does not apply.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn poll_recv(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Message, RecvError>> {
        self.router.poll_recv(cx)
    }

    /// Sends octets to one peer: all frames of the message, one behind the other; of an empty message,
    /// nothing. Waits while `send_hwm` messages are queued for the peer (for ever, unless the option
    /// `send_timeout` says otherwise).
    ///
    /// # Errors
    /// [`Unroutable`](crate::SendFailure::Unroutable) if there is no such peer, and see [`SendFailure`](crate::SendFailure). The message
    /// is in the error, and so is the id ([`SendError::routing_id`]).
    pub fn send_to(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
    ) -> Result<(), SendError> {
        self.router.send_to(peer, message)
    }

    /// As [`Stream::send_to`], if the octets can be queued now.
    ///
    /// # Errors
    /// [`WouldBlock`](crate::SendFailure::WouldBlock) if they cannot; else as [`Stream::send_to`].
    pub fn try_send_to(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
    ) -> Result<(), SendError> {
        self.router.try_send_to(peer, message)
    }

    /// As [`Stream::send_to`], waiting at most this long.
    ///
    /// # Errors
    /// [`Timeout`](crate::SendFailure::Timeout) if they could not be queued; else as [`Stream::send_to`].
    pub fn send_to_timeout(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.router.send_to_timeout(peer, message, timeout)
    }

    /// As [`Stream::send_to`], waiting at most until this time.
    ///
    /// # Errors
    /// [`Timeout`](crate::SendFailure::Timeout) if they could not be queued; else as [`Stream::send_to`].
    pub fn send_to_deadline(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
        deadline: Instant,
    ) -> Result<(), SendError> {
        self.router.send_to_deadline(peer, message, deadline)
    }

    /// Sends a message of two frames, an id and octets, as [`Stream::send_to`] does. If the second frame is
    /// empty, the peer is disconnected ([`Stream::disconnect_peer`]): that is how other implementations say it.
    ///
    /// # Errors
    /// As for [`Stream::send_to`], and [`NotAddressed`](crate::SendFailure::NotAddressed) if there is one frame only.
    pub fn send(&mut self, message: impl IntoMessage) -> Result<(), SendError> {
        self.router.send(message)
    }

    /// As [`Stream::send`], if the octets can be queued now.
    ///
    /// # Errors
    /// [`WouldBlock`](crate::SendFailure::WouldBlock) if they cannot; else as [`Stream::send`].
    pub fn try_send(&mut self, message: impl IntoMessage) -> Result<(), SendError> {
        self.router.try_send(message)
    }

    /// As [`Stream::send`], waiting at most this long.
    ///
    /// # Errors
    /// [`Timeout`](crate::SendFailure::Timeout) if they could not be queued; else as [`Stream::send`].
    pub fn send_timeout(
        &mut self,
        message: impl IntoMessage,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.router.send_timeout(message, timeout)
    }

    /// As [`Stream::send_to`], for a task of any executor, or of none. The option `send_timeout` applies.
    ///
    /// # Cancel safety
    /// Octets are queued when the future is ready, and not before: dropping it drops them.
    ///
    /// # Errors
    /// As [`Stream::send_to`].
    pub async fn send_to_async(
        &mut self,
        peer: impl AsRef<[u8]>,
        message: impl IntoMessage,
    ) -> Result<(), SendError> {
        self.router.send_to_async(peer, message).await
    }

    /// As [`Stream::send`], for a task; see [`Stream::send_to_async`].
    ///
    /// # Cancel safety
    /// As for [`Stream::send_to_async`].
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn send_async(&mut self, message: impl IntoMessage) -> Result<(), SendError> {
        self.router.send_async(message).await
    }

    /// Sends what is in `message`, as [`Stream::send`] does, and takes it out, if it can be queued. Otherwise it
    /// stays there, and the task is woken when it may be worth another try. With nothing in it there is
    /// nothing to do. The option `send_timeout` does not apply.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub fn poll_send(
        &mut self,
        cx: &mut task::Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        self.router.poll_send(cx, message)
    }

    /// As [`Stream::close`], for a task. Dropped before it is done, the socket is closed as when it is dropped.
    pub async fn close_async(self) -> CloseReport {
        self.router.close_async().await
    }

    /// Closes the socket: waits until everything is sent, at most for the linger time. What was received and
    /// not read is discarded.
    pub fn close(self) -> CloseReport {
        self.router.close()
    }

    /// As [`Stream::close`], and waits at most this long, whatever the linger time is.
    pub fn close_timeout(self, timeout: Duration) -> CloseReport {
        self.router.close_timeout(timeout)
    }
}

socket_traits!(Stream);

impl Relay for Stream {
    fn port(&self) -> &Arc<Port> {
        self.router.port()
    }

    fn end(self: Box<Self>, deadline: Option<Instant>) -> CloseReport {
        Box::new(self.router).end(deadline)
    }

    relay!(@any);

    fn tend(&mut self) {
        Relay::tend(&mut self.router);
    }

    fn release_links(&mut self) {
        self.router.release_links();
    }

    fn take(&mut self) -> Option<Message> {
        self.router.take()
    }

    fn arm_in(&mut self) -> bool {
        self.router.arm_in()
    }

    fn has_room(&mut self) -> bool {
        true
    }

    fn give(&mut self, message: Message) -> Result<(), SendError> {
        self.try_send(message)
    }

    fn arm_out(&mut self, held: &Message) -> bool {
        self.router.arm_out(held)
    }
}
pollable!(Stream, |socket, time| read: socket.router.ready_by(Interest::READABLE, time).is_readable(), write: true);
