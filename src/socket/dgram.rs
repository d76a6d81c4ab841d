//! Datagrams: DGRAM sends to and receives from any UDP host, one datagram at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::builder::sealed::Assemble;
use super::common::{close_methods, pollable, socket_traits, watch_methods};
use super::deadline::Deadline;
use super::inbound::RecvHalf;
use super::outbound::SendHalf;
use super::shell::Shell;
use super::split::halves;
use super::task;
use super::tuning::option_methods;
use super::SocketBuilder;
use crate::config::SocketConfig;
use crate::context::Context;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::error::{BindError, RecvError, SendError, SendFailure, UnknownEndpoint};
use crate::io::{NoHooks, Port, MAX_DATAGRAM};
use crate::message::{Frame, IntoMessage, Message};
use crate::socket_type::SocketType;

/// Sends datagrams to any UDP host, and receives those of any. There is no connection, no handshake and no
/// security, and datagrams may get lost, come twice, or come in another order.
///
/// The socket is bound to one `udp://` endpoint: an address of this host, or a multicast group to join. It
/// sends from there, too. Datagrams have at most 8192 octets ([`Datagram::MAX_LEN`]). `send_to` waits
/// while as many as the send high-water mark are queued. Of what comes in, datagrams that are empty or
/// longer are dropped and counted ([`dropped_malformed`](crate::SocketStats::dropped_malformed)), and so are
/// those above the receive high-water mark ([`dropped_full`](crate::SocketStats::dropped_full)). What the system
/// refuses to send, and what other hosts answer for (ICMP), is counted
/// ([`datagram_errors`](crate::SocketStats::datagram_errors)) and ends nothing.
///
/// ```
/// use sinew::Dgram;
///
/// let mut server = Dgram::builder().bind("udp://127.0.0.1:*")?;
/// let address = server.bound_endpoint().unwrap().socket_addr().unwrap();
/// let mut client = Dgram::builder().bind("udp://127.0.0.1:*")?;
///
/// client.send_to(address, "ping")?;
/// let ping = server.recv()?;
/// assert_eq!(&ping.body[..], b"ping");
/// server.send_to(ping.peer, "pong")?;
/// assert_eq!(&client.recv()?.body[..], b"pong");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There is nothing to connect to:
///
/// ```compile_fail,E0599
/// sinew::Dgram::new().connect("udp://127.0.0.1:5555");
/// ```
#[derive(Debug)]
pub struct Dgram {
    inbound: RecvHalf,
    out: SendHalf,
    shell: Shell,
}

/// One datagram, and where it comes from or goes to.
///
/// As a [`Message`] it is the address as text (`192.0.2.1:5555`, `[2001:db8::1]:5555`) and the body, each
/// a frame: the form in which other libraries of the family have it.
///
/// ```
/// use sinew::{Datagram, Message};
///
/// let datagram = Datagram::new("192.0.2.1:5555".parse().unwrap(), "hello");
/// let message = Message::from(datagram.clone());
/// assert_eq!(message.frames()[0], "192.0.2.1:5555");
/// assert_eq!(Datagram::try_from(message), Ok(datagram));
/// assert!(Datagram::try_from(Message::new("hello")).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram {
    /// The other host.
    pub peer: SocketAddr,
    /// What is said.
    pub body: Bytes,
}

impl Datagram {
    /// The most octets of a body.
    pub const MAX_LEN: usize = MAX_DATAGRAM;

    /// A datagram to, or from, this host.
    pub fn new(peer: SocketAddr, body: impl Into<Bytes>) -> Self {
        Datagram {
            peer,
            body: body.into(),
        }
    }
}

impl From<Datagram> for Message {
    fn from(datagram: Datagram) -> Self {
        let address = Frame::from(datagram.peer.to_string());
        Message::multipart([address, Frame::from(datagram.body)])
    }
}

/// The message comes back if it has not two frames, or the first is no address.
impl TryFrom<Message> for Datagram {
    type Error = Message;

    fn try_from(message: Message) -> Result<Self, Message> {
        let peer = match message.frames() {
            [address, _] => std::str::from_utf8(address.as_slice())
                .ok()
                .and_then(|text| text.parse().ok()),
            _ => None,
        };
        let (Some(peer), Some(body)) = (peer, message.frame(1)) else {
            return Err(message);
        };
        let body = body.clone().into_bytes();
        Ok(Datagram { peer, body })
    }
}

impl Assemble for Dgram {
    type Options = ();

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let port = Port::new(
            SocketType::Dgram,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        Dgram {
            inbound: RecvHalf::new(Arc::clone(&port)),
            out: SendHalf::new(Arc::clone(&port)),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Dgram {
    /// A socket with the default options, in the process-wide context.
    #[must_use]
    pub fn new() -> Self {
        Self::assemble(<Self as Assemble>::defaults(), (), Context::default())
    }

    /// A builder with the default options. Its `connect` is an error for this kind.
    pub fn builder() -> SocketBuilder<Self> {
        SocketBuilder::new()
    }

    /// Binds to a `udp://` endpoint, and returns the real one: wildcards and port 0 replaced. A host name is
    /// looked up before this returns. A multicast group is joined.
    ///
    /// # Errors
    /// If the endpoint is malformed, taken, not udp, or the system refuses; if this socket is bound already.
    /// The socket is unchanged.
    pub fn bind(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, BindError> {
        self.shell.bind(endpoint)
    }

    /// Unbinds from the endpoint that [`bind`](Self::bind) returned, once what is queued is sent, at most
    /// after the linger time. Does not wait for that.
    ///
    /// # Errors
    /// If this socket is not bound to it.
    pub fn unbind(&mut self, endpoint: impl ToEndpoint) -> Result<(), UnknownEndpoint> {
        self.shell.close_endpoint(endpoint, true)
    }

    /// The endpoint this socket is bound to, wildcards replaced.
    #[must_use]
    pub fn bound_endpoint(&self) -> Option<Endpoint> {
        self.shell.endpoints(true).pop()
    }

    option_methods!(Dgram, self => self.shell);
    watch_methods!(self => self.shell.port);

    /// Sends a datagram, waiting while the queue is full (for ever, unless the option `send_timeout` says
    /// otherwise).
    ///
    /// # Errors
    /// At once, without waiting: [`NotBound`](SendFailure::NotBound) if the socket is not bound;
    /// [`PortZero`](SendFailure::PortZero) if that is the port of `peer`;
    /// [`DatagramTooLarge`](SendFailure::DatagramTooLarge) if the body has more than
    /// [`Datagram::MAX_LEN`] octets. See [`SendFailure`] for others. The datagram is in the error.
    pub fn send_to(&mut self, peer: SocketAddr, body: impl Into<Bytes>) -> Result<(), SendError> {
        let deadline = Deadline::after(self.shell.settings.config.send_timeout);
        self.send_datagram(Datagram::new(peer, body), deadline)
    }

    /// Sends a datagram if there is room for it in the queue.
    ///
    /// # Errors
    /// [`WouldBlock`](SendFailure::WouldBlock) if there is none; see [`send_to`](Self::send_to).
    pub fn try_send_to(
        &mut self,
        peer: SocketAddr,
        body: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        self.send_datagram(Datagram::new(peer, body), Deadline::Now)
    }

    /// Sends a datagram, waiting at most this long for room in the queue.
    ///
    /// # Errors
    /// [`Timeout`](SendFailure::Timeout) if there was none in time; see [`send_to`](Self::send_to).
    pub fn send_to_timeout(
        &mut self,
        peer: SocketAddr,
        body: impl Into<Bytes>,
        timeout: std::time::Duration,
    ) -> Result<(), SendError> {
        self.send_datagram(Datagram::new(peer, body), Deadline::after(Some(timeout)))
    }

    /// Sends a datagram, for a task of any executor, or of none. The option `send_timeout` applies.
    ///
    /// # Cancel safety
    /// A datagram is queued when the future is ready, and not before: dropping the future drops it.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to).
    pub async fn send_to_async(
        &mut self,
        peer: SocketAddr,
        body: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        let timeout = self.shell.settings.config.send_timeout;
        let Err(first) = self.send_datagram(Datagram::new(peer, body), Deadline::Now) else {
            return Ok(());
        };
        task::transmit(first, timeout, |message, deadline| {
            self.queue(message, deadline)
        })
        .await
    }

    /// Sends what is in `message`, a datagram as for [`send`](Self::send), and takes it out if there is room in
    /// the queue. Otherwise it stays there, and the task is woken when it may be worth another try. With nothing
    /// in it there is nothing to do. The option `send_timeout` does not apply.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_send(
        &mut self,
        cx: &mut std::task::Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        task::poll_transmit(cx, message, |message, deadline| {
            self.send_by(message, deadline)
        })
    }

    /// Sends a message that is a datagram, unless it has to wait.
    pub(super) fn try_send_message(&mut self, message: Message) -> Result<(), SendError> {
        self.send_by(message, Deadline::Now)
    }

    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        match Datagram::try_from(message.into()) {
            Ok(datagram) => self.send_datagram(datagram, deadline),
            Err(message) => Err(SendError::new(SendFailure::NoDatagram, message)),
        }
    }

    /// Sends a datagram that is a message of two frames, address and body, as [`send_to`](Self::send_to)
    /// does.
    ///
    /// # Errors
    /// [`NoDatagram`](SendFailure::NoDatagram) if it is no such message; see [`send_to`](Self::send_to).
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let deadline = Deadline::after(self.shell.settings.config.send_timeout);
        self.send_by(message.into(), deadline)
    }

    /// Receives the next datagram, waiting for it (for ever, unless the option `recv_timeout` says
    /// otherwise).
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv(&mut self) -> Result<Datagram, RecvError> {
        let deadline = Deadline::after(self.shell.settings.config.recv_timeout);
        self.recv_datagram(deadline)
    }

    /// Receives a datagram if one is there.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if none is.
    pub fn try_recv(&mut self) -> Result<Datagram, RecvError> {
        self.recv_datagram(Deadline::Now)
    }

    /// Receives the next datagram, waiting at most this long.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if none came in time.
    pub fn recv_timeout(&mut self, timeout: std::time::Duration) -> Result<Datagram, RecvError> {
        self.recv_datagram(Deadline::after(Some(timeout)))
    }

    /// Receives the next datagram, for a task of any executor, or of none. The option `recv_timeout` applies.
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_async(&mut self) -> Result<Datagram, RecvError> {
        let timeout = self.shell.settings.config.recv_timeout;
        task::receive(timeout, |deadline| self.recv_datagram(deadline)).await
    }

    /// Receives a datagram if one is there; otherwise the task is woken when it may be worth another try. The
    /// option `recv_timeout` does not apply.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn poll_recv(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Result<Datagram, RecvError>> {
        task::poll_receive(cx, |deadline| self.recv_datagram(deadline))
    }

    close_methods!(Dgram, out, inbound);

    fn send_datagram(&mut self, datagram: Datagram, deadline: Deadline) -> Result<(), SendError> {
        let unfit = self.unfit(&datagram);
        let message = Message::from(datagram);
        match unfit {
            Some(reason) => Err(SendError::new(reason, message)),
            None => self.queue(message, deadline),
        }
    }

    /// Why no waiting would get this datagram sent, if so.
    fn unfit(&self, datagram: &Datagram) -> Option<SendFailure> {
        let (peer, octets, limit) = (datagram.peer, datagram.body.len(), Datagram::MAX_LEN);
        if octets > limit {
            Some(SendFailure::DatagramTooLarge { octets, limit })
        } else if peer.port() == 0 {
            Some(SendFailure::PortZero { peer })
        } else if !self.shell.has_datagrams() {
            Some(SendFailure::NotBound)
        } else {
            None
        }
    }

    fn take_note(&mut self) {
        self.out.refresh();
        self.inbound.refresh();
    }

    /// For the sending part of one that was split: there is a peer, in this sense, while it is bound.
    fn peers_reach(&mut self, count: usize, deadline: Deadline) -> bool {
        let Dgram { out, shell, .. } = self;
        shell.reaches(count, deadline, || {
            out.refresh();
            shell.port.peer_count()
        })
    }

    fn queue(&mut self, message: Message, deadline: Deadline) -> Result<(), SendError> {
        // A socket that only sends has to take note of ends, too.
        self.inbound.refresh();
        self.out.send(message, deadline).map(|_| ())
    }

    /// As a message of two frames.
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.recv_datagram(deadline).map(Message::from)
    }

    fn recv_datagram(&mut self, deadline: Deadline) -> Result<Datagram, RecvError> {
        self.out.refresh();
        loop {
            // What comes from the I/O thread is always one.
            if let Ok(datagram) = Datagram::try_from(self.inbound.recv(deadline)?) {
                return Ok(datagram);
            }
        }
    }
}

socket_traits!(Dgram);
halves!(Dgram, out, inbound);
pollable!(Dgram, |socket, time| read: socket.inbound.is_ready(time), write: socket.out.is_ready(time));
