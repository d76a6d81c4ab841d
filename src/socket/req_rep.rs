//! Request and reply (28/REQREP), in lock-step: REQ sends a request and receives its reply, REP
//! receives a request and sends the reply.

use std::sync::Arc;
use std::time::Duration;

use super::builder::sealed::Assemble;
use super::common::{
    peer_methods, pollable, recv_methods, send_methods, shell_methods, socket_traits,
};
use super::deadline::{Deadline, Discarded};
use super::inbound::RecvHalf;
use super::names::Peers;
use super::outbound::{Given, SendHalf};
use super::relay::{relay, Relay};
use super::shell::Shell;
use super::task;
use super::SocketBuilder;
use crate::config::{OptionError, SocketConfig};
use crate::context::Context;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::error::{ConnectError, RecvError, RequestError, SendError, SendFailure};
use crate::io::{random, DisconnectReason, DropCause, Hooks, NoHooks, Port};
use crate::message::{IntoMessage, Message, RoutingId};
use crate::routing::{DuplicateId, OutOfTurn, RepState, ReplyDiscarded, ReqConfig, ReqState};
use crate::socket_type::SocketType;
use crate::sync::clock;

/// Sends requests to its peers in turn, and receives the reply to each before the next.
///
/// Source: 28/REQREP, "The REQ Socket Type".
///
/// By default requests are *correlated* (each carries an id that its reply must repeat, which every
/// REP does) and *relaxed* (a new request may be sent while a reply is awaited; the old reply is then
/// discarded). So no lost reply can wedge the socket. If the peer that has the request is lost,
/// receiving reports [`RecvError::PeerLost`].
///
/// A reply that is not the awaited one is discarded and counted
/// ([`SocketStats::dropped_unexpected`](crate::SocketStats::dropped_unexpected)). A message that is no reply at
/// all (an id of four octets if any, an empty frame, a body) ends its connection besides, with
/// [`Misbehaved::NoReply`](crate::Misbehaved::NoReply), unless over inproc.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Rep, Req};
///
/// let mut server = Rep::new();
/// let endpoint = server.bind("tcp://127.0.0.1:*")?;
/// let thread = std::thread::spawn(move || {
///     let request = server.recv().unwrap();
///     server.send([request.as_bytes(), b" world"].concat()).unwrap();
///     server.close();
/// });
/// let mut client = Req::new();
/// client.connect(&endpoint)?;
/// let reply = client.request_timeout("hello", Duration::from_secs(10))?;
/// assert_eq!(reply.as_bytes(), b"hello world");
/// # thread.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Req {
    out: SendHalf,
    inbound: RecvHalf,
    state: ReqState,
    correlated: bool,
    shell: Shell,
}

/// Options of REQ alone.
#[derive(Debug, Clone, PartialEq)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct ReqOptions {
    relaxed: bool,
    correlated: bool,
}

impl Default for ReqOptions {
    fn default() -> Self {
        ReqOptions {
            relaxed: true,
            correlated: true,
        }
    }
}

super::options::kind_options!(Req: relaxed: bool = |options| options.relaxed, correlated: bool = |options| options.correlated);

impl SocketBuilder<Req> {
    /// Whether a request may be sent while the reply to the last one is awaited. Default: yes.
    pub fn relaxed(mut self, relaxed: bool) -> Self {
        self.options.relaxed = relaxed;
        self
    }

    /// Whether each request carries an id that its reply must repeat. Default: yes. For peers that do
    /// not return the whole envelope, switch it off.
    pub fn correlated(mut self, correlated: bool) -> Self {
        self.options.correlated = correlated;
        self
    }
}

impl Assemble for Req {
    type Options = ReqOptions;

    fn assemble(config: SocketConfig, options: ReqOptions, context: Context) -> Self {
        let port = Port::new(
            SocketType::Req,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        Req {
            out: SendHalf::new(Arc::clone(&port)).lock_step(),
            inbound: RecvHalf::new(Arc::clone(&port)).lock_step().note_lost(),
            state: ReqState::new(ReqConfig {
                relaxed: options.relaxed,
                correlated: options.correlated,
                first_id: random() as u32,
            }),
            correlated: options.correlated,
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn change_kind(&mut self, options: &ReqOptions) -> Result<(), OptionError> {
        self.state.set_modes(options.relaxed, options.correlated);
        self.correlated = options.correlated;
        Ok(())
    }
}

impl Req {
    shell_methods!(Req, out, inbound);
    send_methods!();
    recv_methods!();

    /// Sends a request and waits for its reply (for ever, unless the options `send_timeout` and
    /// `recv_timeout` say otherwise). Whatever comes of it, the socket is ready for the next request
    /// after it: a reply that comes too late is discarded, by its id if requests are correlated.
    ///
    /// # Errors
    /// [`RequestError::Send`] if no peer could take the request (it is in the error),
    /// [`RequestError::Recv`] if no reply came in time, or the peer that had the request was lost; the
    /// request may have been carried out then.
    pub fn request(&mut self, message: impl IntoMessage) -> Result<Message, RequestError> {
        let config = &self.shell.settings.config;
        let (send, recv) = (config.send_timeout, config.recv_timeout);
        self.send_by(message, Deadline::after(send))?;
        self.reply_by(Deadline::after(recv))
    }

    /// Sends a request and waits for its reply, both within `timeout`. When the time is over the
    /// request is given up: its reply, should it still come, is discarded, and the socket is ready for
    /// the next.
    ///
    /// # Errors
    /// [`RequestError::Send`] if no peer could take the request (it is in the error),
    /// [`RequestError::Recv`] if no reply came; the request may have been carried out then.
    pub fn request_timeout(
        &mut self,
        message: impl IntoMessage,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let deadline = Deadline::after(Some(timeout));
        self.send_by(message, deadline)?;
        self.reply_by(deadline)
    }

    /// As [`request`](Self::request), for a task of any executor, or of none. The options `send_timeout` and
    /// `recv_timeout` apply.
    ///
    /// # Cancel safety
    /// Dropping the future gives the request up, as a timeout does: it may have been carried out, its reply is
    /// discarded, and the socket is ready for the next one.
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    pub async fn request_async(
        &mut self,
        message: impl IntoMessage,
    ) -> Result<Message, RequestError> {
        let timeout = self.shell.settings.config.recv_timeout;
        self.send_async(message).await?;
        self.reply_async(timeout).await
    }

    /// As [`request_timeout`](Self::request_timeout), for a task of any executor, or of none.
    ///
    /// # Cancel safety
    /// As for [`request_async`](Self::request_async).
    ///
    /// # Errors
    /// As for [`request_timeout`](Self::request_timeout).
    pub async fn request_timeout_async(
        &mut self,
        message: impl IntoMessage,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let end = clock::now().checked_add(timeout);
        if let Err(first) = self.send_by(message, Deadline::Now) {
            task::transmit(first, Some(timeout), |message, deadline| {
                self.send_by(message, deadline)
            })
            .await?;
        }
        let left = end.map(|end| end.saturating_duration_since(clock::now()));
        self.reply_async(left).await
    }

    /// As [`Req::reply_by`].
    async fn reply_async(&mut self, timeout: Option<Duration>) -> Result<Message, RequestError> {
        /// Gives the request up, unless its reply has come.
        struct Outstanding<'a>(&'a mut Req);
        impl Drop for Outstanding<'_> {
            fn drop(&mut self) {
                self.0.state.cancel();
            }
        }
        let outstanding = Outstanding(self);
        let socket = &mut *outstanding.0;
        Ok(task::receive(timeout, |deadline| socket.recv_by(deadline)).await?)
    }

    /// The reply to the request that was just sent. Without one, the request is given up.
    fn reply_by(&mut self, deadline: Deadline) -> Result<Message, RequestError> {
        let reply = self.recv_by(deadline);
        if reply.is_err() {
            self.state.cancel();
        }
        Ok(reply?)
    }

    fn is_readable(&mut self, deadline: Deadline) -> bool {
        let Some(peer) = self.state.awaiting() else {
            return false;
        };
        // A peer that is lost meanwhile has notified whoever waits for a message.
        self.inbound.has_lost(peer)
            || self.inbound.is_ready(deadline)
            || self.inbound.has_lost(peer)
    }

    fn is_writable(&mut self, deadline: Deadline) -> bool {
        self.state.envelope().is_ok() && self.out.is_ready(deadline)
    }

    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        let begun = self.state.begin(message.into()).map_err(|refused| {
            SendError::new(
                SendFailure::OutOfTurn {
                    expected: expectation(refused.reason),
                },
                refused.message,
            )
        })?;
        // What was lost until now has no bearing on this request.
        self.inbound.refresh();
        self.out.refresh();
        while self.inbound.take_lost().is_some() {}
        if !self.correlated {
            // A late reply could not be told from the one to come.
            let mut discarded = Discarded::default();
            while let Ok(message) = self.inbound.try_recv() {
                self.discard(ReqState::check_late(&message));
                if let Err(over) = discarded.one(deadline) {
                    let reason = match over {
                        RecvError::WouldBlock => SendFailure::WouldBlock,
                        RecvError::Terminated => SendFailure::Terminated,
                        _ => SendFailure::Timeout,
                    };
                    return Err(SendError::new(reason, self.state.take_back(begun)));
                }
            }
        }
        match self.out.send(begun, deadline) {
            Ok(key) => {
                self.state.sent_to(key);
                Ok(())
            }
            Err(error) => {
                let reason = error.reason();
                let message = self.state.take_back(error.into_message());
                Err(SendError::new(reason, message))
            }
        }
    }

    /// A message that is not received. A peer whose messages are none for a requester is sent away.
    fn discard(&mut self, why: ReplyDiscarded) {
        self.inbound.drop_last();
        if why == ReplyDiscarded::Malformed {
            self.inbound.end_last(DisconnectReason::no_reply());
        }
    }

    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.state
            .check_receive()
            .map_err(|reason| RecvError::OutOfTurn {
                expected: expectation(reason),
            })?;
        let mut timed_out = Ok(());
        let mut discarded = Discarded::default();
        loop {
            while let Ok(message) = self.inbound.try_recv() {
                match self.state.accept(self.inbound.from(), message) {
                    Ok(reply) => return Ok(reply),
                    Err(why) => self.discard(why),
                }
                discarded.one(deadline)?;
            }
            // Only now, for a reply may have come before the connection was lost.
            while let Some(lost) = self.inbound.take_lost() {
                if self.state.peer_lost(lost) {
                    return Err(RecvError::PeerLost);
                }
            }
            // A reply that is awaited is no reason to let ends of pipes pile up.
            self.out.refresh();
            timed_out?;
            timed_out = self.inbound.await_more(deadline);
        }
    }
}

/// Receives requests from all of its peers in turn, and sends the reply to each before the next.
///
/// Source: 28/REQREP, "The REP Socket Type".
///
/// Requests without an envelope, or with one of more than 64 frames (one for every router on the way),
/// are dropped and counted ([`SocketStats::dropped_unexpected`](crate::SocketStats::dropped_unexpected)).
/// See [`Req`] for an example.
#[derive(Debug)]
pub struct Rep {
    out: SendHalf,
    inbound: RecvHalf,
    state: RepState,
    mandatory: bool,
    /// If names are of any consequence.
    peers: Option<Arc<Peers>>,
    shell: Shell,
}

/// Options of REP alone.
#[derive(Debug, Clone, PartialEq)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct RepOptions {
    mandatory: bool,
    duplicate_id: Option<DuplicateId>,
}

impl Default for RepOptions {
    fn default() -> Self {
        RepOptions {
            mandatory: true,
            duplicate_id: None,
        }
    }
}

super::options::kind_options!(Rep: mandatory: bool = |options| options.mandatory, duplicate_id: Option<DuplicateId> = |options| options.duplicate_id);

impl SocketBuilder<Rep> {
    /// Whether a reply for a peer that is gone is an error, and `send` waits for one that is at its high-water mark.
    /// Default: yes. Otherwise, as with libzmq, such replies are dropped and counted
    /// ([`dropped_peer_lost`](crate::SocketStats::dropped_peer_lost),
    /// [`dropped_full`](crate::SocketStats::dropped_full)), and sending them succeeds.
    pub fn mandatory(mut self, mandatory: bool) -> Self {
        self.options.mandatory = mandatory;
        self
    }

    /// What becomes of a peer that announces the routing id of another one, as with a
    /// [`Router`](crate::Router). Default: `None`, names are of no consequence, and both are served. libzmq does what
    /// [`DuplicateId::Mute`] says, or [`DuplicateId::Handover`].
    pub fn duplicate_id(mut self, duplicate_id: impl Into<Option<DuplicateId>>) -> Self {
        self.options.duplicate_id = duplicate_id.into();
        self
    }
}

/// The longest return path that is kept with a request, in frames: one for every router on the way.
const ENVELOPE_LIMIT: usize = 64;

impl Assemble for Rep {
    type Options = RepOptions;

    fn assemble(config: SocketConfig, options: RepOptions, context: Context) -> Self {
        let peers = options.duplicate_id.map(|of| Arc::new(Peers::new(of)));
        let hooks: Arc<dyn Hooks> = match &peers {
            Some(peers) => Arc::clone(peers) as Arc<dyn Hooks>,
            None => Arc::new(NoHooks),
        };
        let port = Port::new(SocketType::Rep, config, hooks, Arc::clone(context.pool()));
        Rep {
            out: SendHalf::new(Arc::clone(&port)).lock_step(),
            inbound: RecvHalf::new(Arc::clone(&port)).lock_step(),
            state: RepState::new(ENVELOPE_LIMIT),
            mandatory: options.mandatory,
            peers,
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn change_kind(&mut self, options: &RepOptions) -> Result<(), OptionError> {
        match (&self.peers, options.duplicate_id) {
            (Some(peers), Some(duplicate_id)) => peers.set_rule(duplicate_id),
            (None, None) => {}
            _ => return Err(OptionError::fixed("duplicate_id")),
        }
        self.mandatory = options.mandatory;
        Ok(())
    }
}

impl Rep {
    shell_methods!(Rep, out, inbound);
    send_methods!();
    recv_methods!();

    /// Gives up the reply that is owed, so that the next request can be received. The requester gets
    /// none; whether any was owed.
    pub fn skip_reply(&mut self) -> bool {
        let owed = self.state.owed_to().is_some();
        self.state.replied();
        owed
    }

    /// Connects to an endpoint, whose peer is called `id` here, whatever it announces: it takes that id from nobody, and
    /// who announces it is treated as [`duplicate_id`](SocketBuilder::duplicate_id) says. Without that option names are of
    /// no consequence, and this is [`connect`](Self::connect).
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
        match &self.peers {
            Some(peers) => peers.connect_as(&mut self.shell, id, endpoint),
            None => self.shell.connect(endpoint),
        }
    }

    fn is_readable(&mut self, deadline: Deadline) -> bool {
        self.state.owed_to().is_none() && self.inbound.is_ready(deadline)
    }

    fn is_writable(&mut self, deadline: Deadline) -> bool {
        let peer = self.state.owed_to();
        peer.is_some_and(|peer| !self.mandatory || self.out.is_ready_for(peer, deadline))
    }

    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        let message = message.into();
        let (peer, mut wire) = match self.state.envelope() {
            Ok((peer, envelope)) => {
                let frames = envelope.iter().chain(message.frames());
                (peer, Message::multipart(frames))
            }
            Err(reason) => {
                let expected = expectation(reason);
                return Err(SendError::new(SendFailure::OutOfTurn { expected }, message));
            }
        };
        self.out.refresh();
        loop {
            match self.out.give(peer, &mut wire) {
                Given::Done => {
                    self.state.replied();
                    return Ok(());
                }
                Given::Gone => {
                    self.state.replied();
                    self.shell.port.dropped(DropCause::PeerLost, 1);
                    return match self.mandatory {
                        true => Err(SendError::new(SendFailure::PeerLost, message)),
                        false => Ok(()),
                    };
                }
                Given::Full if !self.mandatory && !self.out.is_refused() => {
                    self.state.replied();
                    self.out.drop_for(peer);
                    return Ok(());
                }
                Given::Full if deadline.is_now() => {
                    return Err(SendError::new(self.out.no_room(deadline), message));
                }
                Given::Full => {
                    let meanwhile = || self.inbound.refresh();
                    if !self.out.wait_for_room(peer, deadline, meanwhile) {
                        return Err(SendError::new(self.out.no_room(deadline), message));
                    }
                }
            }
        }
    }

    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.state
            .check_receive()
            .map_err(|reason| RecvError::OutOfTurn {
                expected: expectation(reason),
            })?;
        let mut timed_out = Ok(());
        let mut discarded = Discarded::default();
        loop {
            // Peers that come and go without a request must not pile up until the next reply.
            self.out.refresh();
            while let Ok(message) = self.inbound.try_recv() {
                let from = self.inbound.from();
                let mute = self.peers.as_ref().is_some_and(|peers| peers.is_mute(from));
                match self.state.accept(from, message) {
                    Ok(_) if mute => {
                        self.state.replied();
                        self.inbound.drop_last();
                    }
                    Ok(request) => return Ok(request),
                    Err(_) => self.inbound.drop_last(),
                }
                discarded.one(deadline)?;
            }
            timed_out?;
            timed_out = self.inbound.await_more(deadline);
        }
    }
}

fn expectation(reason: OutOfTurn) -> &'static str {
    match reason {
        OutOfTurn::ReplyAwaited => "a receive, since the reply to the last request is awaited",
        OutOfTurn::NoRequestSent => "a send, since there is no request to receive a reply to",
        OutOfTurn::ReplyOwed => "a send, since the reply to the last request is owed",
        OutOfTurn::NoRequestReceived => "a receive, since there is no request to reply to",
    }
}

socket_traits!(Req);
socket_traits!(Rep);

/// For steering a proxy: what it replies is not waited for.
impl Relay for Rep {
    fn port(&self) -> &Arc<Port> {
        &self.shell.port
    }

    relay!(@ends);

    fn tend(&mut self) {
        self.take_note();
    }

    fn release_links(&mut self) {
        self.inbound.release_links();
    }

    fn take(&mut self) -> Option<Message> {
        self.recv_by(Deadline::Now).ok()
    }

    fn arm_in(&mut self) -> bool {
        self.inbound.arm_for_event()
    }

    fn give(&mut self, message: Message) -> Result<(), SendError> {
        let sent = self.send_by(message, Deadline::Now);
        // The next request must not wait for the peer of this one.
        if sent.is_err() {
            self.skip_reply();
        }
        sent
    }
}
peer_methods!(Req, inbound);
peer_methods!(Rep, inbound);
pollable!(Req, |socket, time| read: socket.is_readable(time), write: socket.is_writable(time));
pollable!(Rep, |socket, time| read: socket.is_readable(time), write: socket.is_writable(time));
