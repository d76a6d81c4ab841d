//! Publish and subscribe (29/PUBSUB): PUB sends each message to every peer that subscribed to a
//! prefix of its first frame, SUB receives what it subscribed to.

use std::sync::Arc;
use std::time::Duration;

use super::batch::batch_methods;
use super::builder::sealed::Assemble;
use super::common::{
    conflate_option, peer_methods, pollable, publisher_methods, publisher_options, recv_methods,
    send_methods, shell_methods, socket_traits, subscriber_options,
};
use super::deadline::{Deadline, Discarded};
use super::fan_out::{FanOut, FanOutOptions};
use super::inbound::RecvHalf;
use super::relay::relay;
use super::shell::Shell;
use super::topics::{Matching, Reporting, Topics};
use super::upstream::{Form, Upstream};
use super::wire::{Rule, WireSink, WireSource};
use super::SocketBuilder;
use crate::config::{OptionError, SocketConfig};
use crate::context::Context;
use crate::error::{RecvError, SendBatchError, SendError, SubscribeError, WaitTimeout};
use crate::io::{Hooks, Port};
use crate::message::{IntoMessage, Message};
use crate::routing::{TopicSet, Unsubscribed};
use crate::socket_type::SocketType;

/// Sends each message to every subscriber whose subscription is a prefix of the first frame.
///
/// Source: 29/PUBSUB, "The PUB Socket Type".
///
/// `send` does not wait: a subscriber at its high-water mark does not get the message, which is
/// counted ([`SocketStats::dropped_full`](crate::SocketStats::dropped_full)). With the option
/// [`no_drop`](SocketBuilder::no_drop) it waits instead. A message that nobody subscribed to is
/// discarded, which is counted too.
///
/// Subscriptions take effect when they arrive, whether or not this socket is being used. What was
/// published before is not kept: [`wait_for_subscribers`](Pub::wait_for_subscribers) waits for the first
/// ones. They end with the connection; a [`Sub`] tells them anew on the next one.
///
/// # What subscriptions cost
/// Finding out who gets a message takes time in proportion to its topic's length at most, and to the number
/// of those who get it, however many subscriptions there are. Of many topics that no cache holds, most of it
/// is spent waiting for memory, which [`send_batch`](Pub::send_batch) does for several messages at once. A
/// subscription takes 100 to 140 octets of memory with a topic of 24 octets that nobody else subscribed to,
/// the topic included (fewer, and less time, if most topics are made of a few thousand beginnings and a few
/// hundred endings), and 24 if others did; memory is asked for in doubling steps, so that as much again may
/// be allocated and not used. Each peer may hold about a million (2^20) different ones, each of at most 64
/// KiB and 64 MiB together, or what [`max_topics`](SocketBuilder::max_topics) and
/// [`max_topic_length`](SocketBuilder::max_topic_length) say; a peer that exceeds that is disconnected
/// ([`DisconnectReason::SubscriptionLimit`](crate::DisconnectReason::SubscriptionLimit)). A subscriber over
/// inproc goes without the subscription instead, which this socket's monitors are told
/// ([`SubscriptionRefused`](crate::SocketEvent::SubscriptionRefused)) and
/// [`subscriptions_refused`](crate::SocketStats::subscriptions_refused) counts. When it takes another one
/// back there is room, and it gets what was refused: topics that are short first.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Pub, Sub};
///
/// let mut publisher = Pub::new();
/// let endpoint = publisher.bind("tcp://127.0.0.1:*")?;
/// let mut subscriber = Sub::new();
/// subscriber.connect(&endpoint)?;
/// subscriber.subscribe("weather.")?;
/// publisher.wait_for_subscribers(1, Duration::from_secs(10))?;
///
/// publisher.send("sports.tennis")?;
/// publisher.send("weather.rain")?;
/// assert_eq!(subscriber.recv()?.as_bytes(), b"weather.rain");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pub {
    out: FanOut,
    shell: Shell,
}

/// Options of PUB alone.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct PubOptions {
    pub(super) fan_out: FanOutOptions,
    manual: bool,
}

impl PubOptions {
    fn reporting(&self) -> Reporting {
        match self.manual {
            true => Reporting::Unheard,
            false => Reporting::Nothing,
        }
    }
}

publisher_options!(Pub);

super::options::kind_options!(Pub: manual: bool = |options| options.manual);

impl SocketBuilder<Pub> {
    /// Whether subscriptions of peers have no effect, as with the option of this name of an
    /// [`XPub`](crate::XPub): but a PUB hears of none, so that there is none to which it could give another.
    /// Nobody gets anything then, or with [`invert_matching`](Self::invert_matching) everybody everything. It
    /// is here since libzmq has it (`ZMQ_XPUB_MANUAL`, and `ZMQ_XPUB_MANUAL_LAST_VALUE`, which does the same
    /// on a PUB). Default: no.
    pub fn manual(mut self, manual: bool) -> Self {
        self.options.manual = manual;
        self
    }
}

impl Assemble for Pub {
    type Options = PubOptions;

    fn assemble(config: SocketConfig, options: PubOptions, context: Context) -> Self {
        let topics = Topics::new(&config, options.reporting());
        let port = Port::new(
            SocketType::Pub,
            config,
            Arc::clone(&topics) as Arc<dyn Hooks>,
            Arc::clone(context.pool()),
        );
        Pub {
            out: FanOut::new(&port, &topics, options.fan_out),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn change_kind(&mut self, options: &PubOptions) -> Result<(), OptionError> {
        self.out.set_options(options.fan_out);
        self.out.set_reporting(options.reporting());
        Ok(())
    }
}

impl Pub {
    /// See [`Relay`](super::relay::Relay).
    fn wire_sink(&mut self) -> Option<&mut dyn WireSink> {
        self.out.wire()
    }

    shell_methods!(Pub, out);
    send_methods!();
    batch_methods!("Pub");
    publisher_methods!();

    #[inline]
    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        self.out.send_by(message, deadline)
    }

    fn send_batch_by<'d, M: IntoMessage + Clone>(
        &mut self,
        messages: &[M],
        deadline: impl Fn() -> Deadline<'d>,
    ) -> Result<(), SendBatchError> {
        self.out.send_batch(messages, deadline)
    }
}

/// Receives the messages of its publishers that begin with one of its subscriptions.
///
/// Source: 29/PUBSUB, "The SUB Socket Type".
///
/// A new SUB socket has no subscriptions and receives nothing. Subscriptions are state: they are told
/// to every publisher, also to one that comes (back) later.
///
/// ```
/// use sinew::Sub;
///
/// let mut sub = Sub::new();
/// sub.subscribe("news.")?;
/// sub.subscribe("")?; // everything
/// assert!(sub.unsubscribe("news."));
/// assert!(!sub.unsubscribe("sports."), "it was not subscribed to");
/// # Ok::<(), sinew::SubscribeError>(())
/// ```
#[derive(Debug)]
pub struct Sub {
    inbound: RecvHalf,
    /// For matching; the publishers are told from `upstream`.
    topics: TopicSet,
    upstream: Arc<Upstream>,
    options: SubOptions,
    shell: Shell,
}

/// Options of SUB alone.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct SubOptions {
    inverted: bool,
    verbose_unsubscribe: bool,
}

super::options::kind_options!(Sub: invert_matching: bool = |options| options.inverted, verbose_unsubscribe: bool = |options| options.verbose_unsubscribe);

impl SocketBuilder<Sub> {
    /// Whether messages are received unless they begin with a subscription, instead of if they do. The
    /// publishers must have the same option. Default: no.
    pub fn invert_matching(mut self, inverted: bool) -> Self {
        self.options.inverted = inverted;
        self
    }

    /// Whether publishers are told of every [`unsubscribe`](Sub::unsubscribe), and not only of the last
    /// of several equal subscriptions. A publisher holds a subscription once, so that the first one told
    /// of ends it there. Default: no.
    pub fn verbose_unsubscribe(mut self, verbose: bool) -> Self {
        self.options.verbose_unsubscribe = verbose;
        self
    }
}

impl Assemble for Sub {
    type Options = SubOptions;

    fn defaults() -> SocketConfig {
        SocketConfig {
            // It has nothing to send but subscriptions, which are of no use without it.
            linger: Some(Duration::ZERO),
            ..SocketConfig::default()
        }
    }

    fn assemble(config: SocketConfig, options: SubOptions, context: Context) -> Self {
        let upstream = Upstream::new(Form::Topics, config.subscriptions);
        let port = Port::new(
            SocketType::Sub,
            config,
            Arc::clone(&upstream) as Arc<dyn Hooks>,
            Arc::clone(context.pool()),
        );
        Sub {
            inbound: RecvHalf::new(Arc::clone(&port)),
            topics: TopicSet::new(),
            upstream,
            options,
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn change_kind(&mut self, options: &SubOptions) -> Result<(), OptionError> {
        self.options = options.clone();
        Ok(())
    }
}

impl Sub {
    /// See [`Relay`](super::relay::Relay).
    fn wire_source(&mut self) -> Option<WireSource<'_>> {
        (!self.options.inverted).then_some(WireSource {
            inbound: &mut self.inbound,
            rule: Rule::Filtered(&self.topics),
        })
    }

    shell_methods!(Sub, inbound);
    recv_methods!();

    /// Subscribes to messages whose first frame begins with `prefix`; the empty prefix is that of
    /// every message. Subscriptions count: two equal ones take two [`unsubscribe`](Self::unsubscribe)
    /// calls to end. Publishers are told of each.
    ///
    /// # Errors
    /// If a publisher with default options would end the connection for it: `prefix` has more octets than
    /// [`max_topic_length`](SocketBuilder::max_topic_length) says (65536), or there are too many different
    /// ones already ([`max_topics`](SocketBuilder::max_topics), 1048576; 64 MiB together). Nothing has
    /// changed then.
    ///
    /// ```
    /// use sinew::{Sub, SubscribeError};
    ///
    /// let mut sub = Sub::new();
    /// sub.subscribe("news.")?;
    /// let error = sub.subscribe(vec![b'x'; 70_000]).unwrap_err();
    /// assert_eq!(error, SubscribeError::TopicTooLong { len: 70_000, limit: 65_536 });
    /// # Ok::<(), SubscribeError>(())
    /// ```
    pub fn subscribe(&mut self, prefix: impl AsRef<[u8]>) -> Result<(), SubscribeError> {
        let topic = prefix.as_ref();
        self.upstream.subscribe(topic)?;
        self.topics.subscribe(topic);
        Ok(())
    }

    /// Takes one subscription back; `false` if there was none to this prefix.
    pub fn unsubscribe(&mut self, prefix: impl AsRef<[u8]>) -> bool {
        let topic = prefix.as_ref();
        let always = self.options.verbose_unsubscribe;
        self.upstream.unsubscribe(topic, always);
        self.topics.unsubscribe(topic) != Unsubscribed::NotSubscribed
    }

    /// How many different prefixes this socket is subscribed to.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        let mut discarded = Discarded::default();
        loop {
            let message = self.inbound.recv(deadline)?;
            // The publisher filters too, but what it sent may have been unsubscribed from since.
            if self.topics.matches(message.as_bytes()) != self.options.inverted {
                return Ok(message);
            }
            discarded.one(deadline)?;
        }
    }
}

socket_traits!(Pub);
socket_traits!(Sub);
conflate_option!(Pub);
conflate_option!(Sub);
subscriber_options!(Sub);
peer_methods!(Sub, inbound);
relay!(Pub: publishes out);
relay!(Sub: receives_by inbound);
pollable!(Pub, |_socket, _time| read: false, write: true);
pollable!(Sub, |socket, time| read: socket.inbound.is_ready(time), write: false);
