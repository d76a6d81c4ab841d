//! Publish and subscribe for those who stand in between (29/PUBSUB, "The XPUB Socket Type", "The XSUB
//! Socket Type"): XPUB is a PUB that receives the subscriptions of its peers, XSUB a SUB that sends its
//! own, and does not filter.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::batch::batch_methods;
use super::builder::sealed::Assemble;
use super::common::{
    peer_methods, pollable, publisher_methods, publisher_options, recv_methods, send_methods,
    shell_methods, socket_traits, subscriber_options,
};
use super::deadline::{Deadline, Discarded};
use super::fan_out::{FanOut, FanOutOptions};
use super::inbound::RecvHalf;
use super::outbound::SendHalf;
use super::relay::relay;
use super::shell::Shell;
use super::split::halves;
use super::task;
use super::topics::{Matching, Reporting, Topics};
use super::upstream::{Form, Upstream};
use super::wire::WireSink;
use super::{pipe_key, SocketBuilder};
use crate::config::{OptionError, SocketConfig};
use crate::context::Context;
use crate::error::{
    ManualError, RecvError, SendBatchError, SendError, SubscribeError, WaitTimeout,
};
use crate::io::{Hooks, Port, SubscriptionLimit};
use crate::message::{Frame, IntoMessage, Message, PeerProperties};
use crate::routing::{PeerKey, Unsubscribed, TOGETHER};
use crate::socket_type::SocketType;
use crate::sync::{lock, Mutex};

/// A [`Pub`](crate::Pub) that receives its peers' subscriptions, and messages that they send.
///
/// Source: 29/PUBSUB, "The XPUB Socket Type".
///
/// Subscriptions take effect when they arrive, as with PUB (except with the option
/// [`manual`](SocketBuilder::manual)). [`recv`](XPub::recv) then tells of them: by default of the first
/// subscription to a topic, of the end of the last, and of the cancellation of what nobody subscribed
/// to. [`recv_event`](XPub::recv_event) gives the same with types. A peer's end ends its subscriptions, and
/// is told as such. All these come before messages that XSUB peers have sent, which are queued up
/// to `recv_hwm` per peer; beyond it nothing more is read from that peer, subscriptions included.
///
/// # Events that nobody receives
/// An application need not receive. As many events as the option `recv_hwm` says are kept as they came.
/// From then on those about one topic are put together: what was subscribed to and cancelled
/// meanwhile is not told, and repetitions are left out, which is counted
/// ([`SocketStats::events_left_out`](crate::SocketStats::events_left_out)). Whoever has received all events
/// knows what is subscribed to. So what can wait is limited by what peers may hold (see
/// [`Pub`](crate::Pub)), at about 200 octets and the topic each.
///
/// ```
/// use sinew::{Sub, SubscriptionEvent, XPub};
///
/// let mut xpub = XPub::new();
/// let endpoint = xpub.bind("tcp://127.0.0.1:*")?;
/// let mut sub = Sub::new();
/// sub.connect(&endpoint)?;
/// sub.subscribe("weather.")?;
///
/// assert_eq!(xpub.recv_event()?, SubscriptionEvent::Subscribed("weather.".into()));
/// xpub.send("weather.rain")?;
/// assert_eq!(sub.recv()?.as_bytes(), b"weather.rain");
///
/// drop(sub);
/// assert_eq!(xpub.recv()?.as_bytes(), b"\0weather.");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct XPub {
    out: FanOut,
    inbound: RecvHalf,
    topics: Arc<Topics>,
    manual: bool,
    last_value: bool,
    /// In manual mode: whose the last event was.
    selected: Arc<Mutex<Option<PeerKey>>>,
    /// Whose the last event was, if that was a subscription.
    last_event: Option<PeerKey>,
    shell: Shell,
}

/// What an [`XPub`] receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// A peer subscribed to what begins with this.
    Subscribed(Bytes),
    /// A subscription to what begins with this has ended.
    Unsubscribed(Bytes),
    /// A peer sent a message that is no subscription.
    Message(Message),
}

/// As the field knows them: an octet 1 and the topic, an octet 0 and the topic, or the message itself.
impl From<SubscriptionEvent> for Message {
    fn from(event: SubscriptionEvent) -> Message {
        match event {
            SubscriptionEvent::Subscribed(topic) => marked(1, &topic),
            SubscriptionEvent::Unsubscribed(topic) => marked(0, &topic),
            SubscriptionEvent::Message(message) => message,
        }
    }
}

fn marked(mark: u8, topic: &[u8]) -> Message {
    let mut octets = Vec::with_capacity(1 + topic.len());
    octets.push(mark);
    octets.extend_from_slice(topic);
    Message::from(octets)
}

/// A frame as a subscription: whether it subscribes, and the topic.
fn as_subscription(frame: &Frame) -> Option<(bool, &[u8])> {
    match &frame[..] {
        [1, topic @ ..] => Some((true, topic)),
        [0, topic @ ..] => Some((false, topic)),
        _ => None,
    }
}

/// Takes the subscriptions among the first so many frames out of a message. What is left may be nothing.
fn split_subscriptions(
    message: Message,
    looked_at: usize,
    mut each: impl FnMut(bool, &[u8]),
) -> Option<Message> {
    let frames = message.frames();
    if !frames
        .iter()
        .take(looked_at)
        .any(|frame| as_subscription(frame).is_some())
    {
        return Some(message);
    }
    let mut rest = Vec::new();
    for (at, frame) in message.into_iter().enumerate() {
        match as_subscription(&frame).filter(|_| at < looked_at) {
            Some((subscribe, topic)) => each(subscribe, topic),
            None => rest.push(frame),
        }
    }
    (!rest.is_empty()).then(|| Message::multipart(rest))
}

/// Options of XPUB alone.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct XPubOptions {
    pub(super) fan_out: FanOutOptions,
    verbose: Verbosity,
    manual: bool,
    last_value: bool,
}

impl XPubOptions {
    fn reporting(&self) -> Reporting {
        match (self.manual, self.verbose) {
            (true, _) => Reporting::Manual,
            (false, Verbosity::Changes) => Reporting::Changes,
            (false, Verbosity::Verbose) => Reporting::Verbose,
            (false, Verbosity::Verboser) => Reporting::Verboser,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Verbosity {
    #[default]
    Changes,
    Verbose,
    Verboser,
}

publisher_options!(XPub);

super::options::kind_options!(XPub: verbose: bool = |options| matches!(options.verbose, Verbosity::Verbose), verboser: bool = |options| matches!(options.verbose, Verbosity::Verboser), manual: bool = |options| options.manual, manual_last_value: bool = |options| options.last_value);

impl SocketBuilder<XPub> {
    /// Whether every subscription is told, also one to a topic that is subscribed to. Default: no. Sets
    /// [`verboser`](Self::verboser) back.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.options.verbose = match verbose {
            true => Verbosity::Verbose,
            false => Verbosity::Changes,
        };
        self
    }

    /// Whether every subscription is told, and every end of one, also while others hold the topic.
    /// Default: no. Sets [`verbose`](Self::verbose) back.
    pub fn verboser(mut self, verboser: bool) -> Self {
        self.options.verbose = match verboser {
            true => Verbosity::Verboser,
            false => Verbosity::Changes,
        };
        self
    }

    /// Whether subscriptions are told and nothing else: the application decides what the peer gets, with
    /// [`XPub::subscribe`] and [`XPub::unsubscribe`], which concern the peer that the last event received
    /// came from. Every subscription and cancellation is told; when a peer is lost, the end of
    /// everything it had asked for. Default: no.
    pub fn manual(mut self, manual: bool) -> Self {
        self.options.manual = manual;
        self
    }

    /// As [`manual`](Self::manual), and a message sent right after an event was received goes to that
    /// event's peer alone, if it is subscribed to it: the last value, for one who has just come. If that peer is
    /// gone, as when the event is the end of what it had asked for, the message goes to everyone who is subscribed to
    /// it, as others do. Default: no.
    pub fn manual_last_value(mut self, last_value: bool) -> Self {
        self.options.last_value = last_value;
        if last_value {
            self.options.manual = true;
        }
        self
    }
}

impl Assemble for XPub {
    type Options = XPubOptions;

    fn assemble(config: SocketConfig, options: XPubOptions, context: Context) -> Self {
        let topics = Topics::new(&config, options.reporting());
        let port = Port::new(
            SocketType::XPub,
            config,
            Arc::clone(&topics) as Arc<dyn Hooks>,
            Arc::clone(context.pool()),
        );
        XPub {
            out: FanOut::new(&port, &topics, options.fan_out),
            inbound: RecvHalf::new(Arc::clone(&port)),
            topics,
            manual: options.manual,
            last_value: options.last_value,
            selected: Arc::default(),
            last_event: None,
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn change_kind(&mut self, options: &XPubOptions) -> Result<(), OptionError> {
        self.out.set_options(options.fan_out);
        self.out.set_reporting(options.reporting());
        self.manual = options.manual;
        self.last_value = options.last_value;
        *lock(&self.selected) = None;
        Ok(())
    }
}

impl XPub {
    /// See [`Relay`](super::relay::Relay).
    fn wire_sink(&mut self) -> Option<&mut dyn WireSink> {
        self.inbound.refresh_for_sender();
        match self.last_value {
            true => None,
            false => self.out.wire(),
        }
    }

    shell_methods!(XPub, out, inbound);
    send_methods!();
    recv_methods!();
    batch_methods!("XPub");
    publisher_methods!();

    /// As [`recv`](Self::recv), with types.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv_event(&mut self) -> Result<SubscriptionEvent, RecvError> {
        let timeout = self.shell.settings.config.recv_timeout;
        self.recv_event_by(Deadline::after(timeout))
    }

    /// As [`try_recv`](Self::try_recv), with types.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if nothing is there; see [`RecvError`] for others.
    pub fn try_recv_event(&mut self) -> Result<SubscriptionEvent, RecvError> {
        self.recv_event_by(Deadline::Now)
    }

    /// As [`recv_timeout`](Self::recv_timeout), with types.
    ///
    /// # Errors
    /// [`RecvError::Timeout`] if nothing came in time; see [`RecvError`] for others.
    pub fn recv_event_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<SubscriptionEvent, RecvError> {
        self.recv_event_by(Deadline::after(Some(timeout)))
    }

    /// As [`recv_async`](Self::recv_async), with types.
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_event_async(&mut self) -> Result<SubscriptionEvent, RecvError> {
        let timeout = self.shell.settings.config.recv_timeout;
        task::receive(timeout, |deadline| self.recv_event_by(deadline)).await
    }

    /// With the option [`manual`](SocketBuilder::manual): subscribes the peer that the last event received
    /// came from to this topic, whatever it asked for. `false`: there is no such peer, or it is gone.
    ///
    /// # Errors
    /// Without that option, or if it would be more than a peer may hold.
    pub fn subscribe(&mut self, topic: impl AsRef<[u8]>) -> Result<bool, ManualError> {
        self.set(true, topic.as_ref())
    }

    /// With the option [`manual`](SocketBuilder::manual): ends that subscription. To take one back that the
    /// peer does not hold is no error. `false` as for [`subscribe`](Self::subscribe).
    ///
    /// # Errors
    /// Without that option.
    pub fn unsubscribe(&mut self, topic: impl AsRef<[u8]>) -> Result<bool, ManualError> {
        self.set(false, topic.as_ref())
    }

    /// What is known of the peer that the last received event or message came from; `None` before the first
    /// one. Of an event, it is who has that connection now, and nobody if it has ended: as when the event
    /// is the end of what the peer was subscribed to.
    #[must_use]
    pub fn last_peer(&mut self) -> Option<Arc<PeerProperties>> {
        match self.last_event {
            Some(peer) => self.inbound.peer_of(peer),
            None => self.inbound.last_peer(),
        }
    }

    fn set(&mut self, subscribe: bool, topic: &[u8]) -> Result<bool, ManualError> {
        if !self.manual {
            return Err(ManualError::NotManual);
        }
        let Some(peer) = *lock(&self.selected) else {
            return Ok(false);
        };
        let set = self.topics.set(peer, subscribe, topic);
        set.map_err(|error| match self.topics.exceeded(error) {
            SubscriptionLimit::Length { limit } => {
                let len = topic.len();
                ManualError::TopicTooLong { len, limit }
            }
            SubscriptionLimit::Number { limit } => ManualError::TooManyTopics { limit },
            SubscriptionLimit::Octets { limit } => ManualError::TooManyOctets { limit },
            SubscriptionLimit::Room => ManualError::Full,
        })
    }

    #[inline]
    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        self.inbound.refresh_for_sender();
        if self.last_value {
            let selected = *lock(&self.selected);
            // What is published after the news that a peer has left is for those who are there.
            if let Some(peer) = selected.filter(|peer| self.topics.is_live(*peer)) {
                self.out.send_to(peer, message.into(), deadline)?;
                // Of a split socket the other part may have received an event meanwhile.
                let mut selected = lock(&self.selected);
                if *selected == Some(peer) {
                    *selected = None;
                }
                return Ok(());
            }
        }
        self.out.send_by(message, deadline)
    }

    pub(super) fn send_batch_by<'d, M: IntoMessage + Clone>(
        &mut self,
        messages: &[M],
        deadline: impl Fn() -> Deadline<'d>,
    ) -> Result<(), SendBatchError> {
        let mut sent = 0;
        for group in messages.chunks(TOGETHER) {
            let done = match self.last_value {
                // Who gets one depends on what was received before it.
                true => self.send_one_by_one(group, &deadline),
                false => {
                    self.inbound.refresh_for_sender();
                    self.out.send_batch(group, &deadline)
                }
            };
            done.map_err(|error| SendBatchError::new(sent + error.sent(), error.reason()))?;
            sent += group.len();
        }
        Ok(())
    }

    fn send_one_by_one<'d, M: IntoMessage + Clone>(
        &mut self,
        messages: &[M],
        deadline: impl Fn() -> Deadline<'d>,
    ) -> Result<(), SendBatchError> {
        for (sent, message) in messages.iter().enumerate() {
            self.send_by(message.clone(), deadline())
                .map_err(|error| SendBatchError::new(sent, error.reason()))?;
        }
        Ok(())
    }

    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.recv_event_by(deadline).map(Message::from)
    }

    fn recv_event_by(&mut self, deadline: Deadline) -> Result<SubscriptionEvent, RecvError> {
        let mut over = None;
        loop {
            // Peers that come and go without a subscription must not pile up until there is an event.
            self.out.refresh();
            if let Some(event) = self.take_event(deadline)? {
                return Ok(event);
            }
            if let Some(error) = over {
                return Err(error);
            }
            // What has come by the end of the wait is still taken.
            over = self.inbound.await_more(deadline).err();
        }
    }

    fn is_readable(&mut self, deadline: Deadline) -> bool {
        // An event that comes meanwhile has notified whoever waits for a message.
        self.topics.has_event() || self.inbound.is_ready(deadline) || self.topics.has_event()
    }

    /// # Errors
    /// If the time is over while messages have to be discarded.
    fn take_event(&mut self, deadline: Deadline) -> Result<Option<SubscriptionEvent>, RecvError> {
        let mut discarded = Discarded::default();
        loop {
            if let Some(event) = self.topics.take_event() {
                self.last_event = Some(event.peer);
                if self.manual {
                    *lock(&self.selected) = Some(event.peer);
                }
                return Ok(Some(match event.subscribe {
                    true => SubscriptionEvent::Subscribed(event.topic),
                    false => SubscriptionEvent::Unsubscribed(event.topic),
                }));
            }
            let Ok(message) = self.inbound.try_recv() else {
                return Ok(None);
            };
            self.last_event = None;
            // Frames that came first have been looked at by now: by the in-pump, or by an XSUB over inproc.
            if self.shell.settings.config.only_first_subscribe {
                return Ok(Some(SubscriptionEvent::Message(message)));
            }
            let from = pipe_key(self.inbound.from());
            let rest = split_subscriptions(message, usize::MAX, |subscribe, topic| {
                let done = self.topics.subscription(from, subscribe, topic);
                if done.is_err() {
                    self.inbound.drop_last();
                }
            });
            if let Some(message) = rest {
                return Ok(Some(SubscriptionEvent::Message(message)));
            }
            discarded.one(deadline)?;
        }
    }
}

/// A [`Sub`](crate::Sub) that sends subscriptions as messages, and receives everything that its
/// publishers send it.
///
/// Source: 29/PUBSUB, "The XSUB Socket Type".
///
/// A message that begins with an octet 1 subscribes to the rest of it, one with an octet 0 takes that back;
/// [`subscribe`](XSub::subscribe) and [`unsubscribe`](XSub::unsubscribe) do the same. Subscriptions count,
/// and are state: they are never dropped, and are told to a publisher that comes (back) before anything
/// else. One that a publisher would end the connection for is an error of `send`, too
/// ([`SendFailure::Subscribe`](crate::SendFailure::Subscribe)). Any other message goes to all publishers that have room for it, and is dropped and counted for
/// the others; an [`XPub`] receives it, a PUB discards it. Frames of both kinds may be mixed in one
/// message: what is left without the subscriptions is sent, if anything is.
///
/// As with SUB the default linger time is 0: messages that are still queued when the socket is closed are
/// not sent.
///
/// A program that hands messages and subscriptions on between two networks:
///
/// ```
/// use std::time::Duration;
/// use sinew::{Pub, Sub, XPub, XSub};
///
/// // The middle.
/// let mut front = XSub::new();
/// let mut back = XPub::new();
/// let upstream = front.bind("inproc://xsub-doc-upstream")?;
/// let downstream = back.bind("inproc://xsub-doc-downstream")?;
/// // Both ends.
/// let mut publisher = Pub::builder().connect(&upstream)?;
/// let mut subscriber = Sub::builder().connect(&downstream)?;
///
/// subscriber.subscribe("weather.")?;
/// front.send(back.recv()?)?;
/// publisher.wait_for_subscribers(1, Duration::from_secs(10))?;
/// publisher.send("weather.rain")?;
/// back.send(front.recv()?)?;
/// assert_eq!(subscriber.recv()?.as_bytes(), b"weather.rain");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct XSub {
    inbound: RecvHalf,
    out: SendHalf,
    upstream: Arc<Upstream>,
    verbose_unsubscribe: bool,
    shell: Shell,
}

/// Options of XSUB alone.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct XSubOptions {
    verbose_unsubscribe: bool,
}

super::options::kind_options!(XSub: verbose_unsubscribe: bool = |options| options.verbose_unsubscribe);

impl SocketBuilder<XSub> {
    /// Whether publishers are told of every cancellation, and not only of the last of several equal
    /// subscriptions. Default: no.
    pub fn verbose_unsubscribe(mut self, verbose: bool) -> Self {
        self.options.verbose_unsubscribe = verbose;
        self
    }

    /// Whether only the first frame of a message that is sent may be a subscription, and not every frame
    /// of it. Default: no.
    pub fn only_first_subscribe(mut self, only_first: bool) -> Self {
        self.config.only_first_subscribe = only_first;
        self
    }
}

impl Assemble for XSub {
    type Options = XSubOptions;

    fn defaults() -> SocketConfig {
        SocketConfig {
            linger: Some(Duration::ZERO),
            ..SocketConfig::default()
        }
    }

    fn assemble(config: SocketConfig, options: XSubOptions, context: Context) -> Self {
        let upstream = Upstream::new(Form::Topics, config.subscriptions);
        let port = Port::new(
            SocketType::XSub,
            config,
            Arc::clone(&upstream) as Arc<dyn Hooks>,
            Arc::clone(context.pool()),
        );
        XSub {
            inbound: RecvHalf::new(Arc::clone(&port)),
            out: SendHalf::new(Arc::clone(&port)),
            upstream,
            verbose_unsubscribe: options.verbose_unsubscribe,
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn change_kind(&mut self, options: &XSubOptions) -> Result<(), OptionError> {
        self.verbose_unsubscribe = options.verbose_unsubscribe;
        Ok(())
    }
}

impl XSub {
    shell_methods!(XSub, inbound, out);
    send_methods!();
    recv_methods!(|socket| {
        socket.out.refresh();
        socket.inbound.at_hand()
    });

    /// Subscribes to messages whose first frame begins with `prefix`. Publishers are told, also of one
    /// that there is already.
    ///
    /// # Errors
    /// As for [`Sub::subscribe`](crate::Sub::subscribe).
    pub fn subscribe(&mut self, prefix: impl AsRef<[u8]>) -> Result<(), SubscribeError> {
        self.upstream.subscribe(prefix.as_ref())
    }

    /// Takes one subscription back; `false` if there was none to this prefix.
    pub fn unsubscribe(&mut self, prefix: impl AsRef<[u8]>) -> bool {
        let always = self.verbose_unsubscribe;
        self.upstream.unsubscribe(prefix.as_ref(), always) != Unsubscribed::NotSubscribed
    }

    /// How many different prefixes this socket is subscribed to.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.upstream.topic_count()
    }

    /// Never waits, and fails only with what is too large.
    fn send_by(&mut self, message: impl IntoMessage, _: Deadline) -> Result<(), SendError> {
        self.inbound.refresh_for_sender();
        self.out.refresh();
        let looked_at = match self.shell.settings.config.only_first_subscribe {
            true => 1,
            false => usize::MAX,
        };
        let (upstream, always) = (&self.upstream, self.verbose_unsubscribe);
        let message = message.into();
        let mut frames = message.frames().iter().take(looked_at);
        let too_long = frames.find_map(|frame| match as_subscription(frame)? {
            (true, topic) => upstream.check_length(topic.len()).err(),
            (false, _) => None,
        });
        if let Some(error) = too_long {
            return Err(SendError::new(error.into(), message));
        }
        // For the error.
        let mut frames = message.frames().iter().take(looked_at);
        let subscribes = frames.any(|frame| as_subscription(frame).is_some());
        let whole = subscribes.then(|| message.clone());
        let mut refused = None;
        let rest = split_subscriptions(message, looked_at, |subscribe, topic| match subscribe {
            // One that is refused is the last that is looked at.
            _ if refused.is_some() => {}
            true => refused = upstream.subscribe(topic).err(),
            false => drop(upstream.unsubscribe(topic, always)),
        });
        if let (Some(error), Some(whole)) = (refused, whole) {
            return Err(SendError::new(error.into(), whole));
        }
        if let Some(message) = rest {
            self.out.give_all(&mut &message);
            if let Some(refused) = self.out.take_refused() {
                return Err(SendError::new(refused, message));
            }
        }
        Ok(())
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        let mut over = Ok(());
        loop {
            // Publishers that come and go without a message must not pile up until there is one.
            self.out.refresh();
            if let Ok(message) = self.inbound.try_recv() {
                return Ok(message);
            }
            over?;
            over = self.inbound.await_more(deadline);
        }
    }
}

socket_traits!(XPub);
socket_traits!(XSub);
relay!(XPub: publishes out, receives inbound);
subscriber_options!(XSub);
relay!(XSub: tells out, receives_wire inbound);
peer_methods!(XSub, inbound);
pollable!(XPub, |socket, time| read: socket.is_readable(time), write: true);
pollable!(XSub, |socket, time| read: socket.inbound.is_ready(time), write: true);
halves!(XPub, out, inbound, topics, manual, last_value, selected, last_event);
halves!(XSub, out, inbound, upstream, verbose_unsubscribe);
