//! Publish and subscribe (29/PUBSUB): PUB sends each message to every peer that subscribed to a
//! prefix of its first frame, SUB receives what it subscribed to.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bytes::BytesMut;

use super::builder::sealed::Assemble;
use super::common::{recv_methods, send_methods, shell_methods, socket_traits};
use super::inbound::RecvHalf;
use super::outbound::{Deadline, Given, Outgoing, SendHalf};
use super::shell::{CloseReport, Shell};
use super::{peer_key, SocketBuilder};
use crate::config::SocketConfig;
use crate::context::Context;
use crate::error::{RecvError, SendError, SendFailure, WaitTimeout};
use crate::io::{
    encode_subscription, Counters, DisconnectReason, Hooks, Link, PeerVersion, PipeKey, Port,
};
use crate::message::{IntoMessage, Message};
use crate::routing::{PeerKey, SubscriptionTrie, TopicSet, TrieConfig, Unsubscribed};
use crate::socket_type::SocketType;
use crate::sync::lock;

/// Sends each message to every subscriber whose subscription is a prefix of the first frame.
///
/// `send` does not wait: a subscriber at its high-water mark does not get the message, which is
/// counted ([`SocketStats::dropped_full`](crate::SocketStats::dropped_full)). With the option
/// [`no_drop`](SocketBuilder::no_drop) it waits instead. A message that nobody subscribed to is
/// discarded, which is counted too.
///
/// Subscriptions take effect when they arrive, whether or not this socket is being used. What was
/// published before is not kept: [`wait_for_subscribers`](Pub::wait_for_subscribers) waits for the first
/// ones. Each peer may hold about a million (2^20) different ones, each of at most 64 KiB and 64 MiB
/// together; a peer that exceeds that is disconnected
/// ([`DisconnectReason::SubscriptionLimit`](crate::DisconnectReason::SubscriptionLimit)), a subscriber
/// over inproc goes without the subscription. They end with the connection; a [`Sub`] tells them anew on
/// the next one.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Pub, Sub};
///
/// let mut publisher = Pub::new();
/// let endpoint = publisher.bind("tcp://127.0.0.1:*")?;
/// let mut subscriber = Sub::new();
/// subscriber.connect(&endpoint)?;
/// subscriber.subscribe("weather.");
/// publisher.wait_for_subscribers(1, Duration::from_secs(10))?;
///
/// publisher.send("sports.tennis")?;
/// publisher.send("weather.rain")?;
/// assert_eq!(subscriber.recv()?.as_bytes(), b"weather.rain");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pub {
    out: SendHalf,
    topics: Arc<Topics>,
    options: PubOptions,
    /// Who gets the message at hand, or, if `everyone`, every message until the version changes.
    matched: Vec<PeerKey>,
    everyone: bool,
    version: u64,
    shell: Shell,
}

/// Options of PUB alone.
#[derive(Debug, Clone, Default)]
#[allow(unreachable_pub, reason = "an associated type of a sealed trait")]
pub struct PubOptions {
    no_drop: bool,
}

impl SocketBuilder<Pub> {
    /// Whether `send` waits while any subscriber that is to get the message is at its high-water
    /// mark, instead of leaving that subscriber out. Default: no.
    pub fn no_drop(mut self, no_drop: bool) -> Self {
        self.options.no_drop = no_drop;
        self
    }
}

/// Payloads of at least this many octets are shared between subscribers, by reference.
const SHARE_FROM: usize = 8 * 1024;

/// The subscriptions of a publisher's peers. Changed by I/O threads as they arrive.
#[derive(Debug)]
struct Topics {
    state: Mutex<TopicState>,
    /// Counts changes of `state`.
    version: AtomicU64,
    port: OnceLock<Weak<Port>>,
}

#[derive(Debug)]
struct TopicState {
    trie: SubscriptionTrie,
    /// Peers whose subscriptions count: a subscription that comes too late is none.
    live: HashSet<PeerKey>,
    /// How many of them hold at least one subscription.
    subscribers: usize,
}

impl Topics {
    fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        if let Some(port) = self.port.get().and_then(Weak::upgrade) {
            port.outbound.event().notify();
        }
    }
}

impl Hooks for Topics {
    fn link_up(&self, key: PipeKey, _: &Arc<Link>, _: PeerVersion) {
        lock(&self.state).live.insert(peer_key(key));
    }

    fn inproc_up(&self, key: PipeKey, _: &Arc<Port>, _: PipeKey) {
        lock(&self.state).live.insert(peer_key(key));
    }

    fn link_down(&self, key: PipeKey) {
        let key = peer_key(key);
        let mut state = lock(&self.state);
        state.live.remove(&key);
        if state.trie.topic_count_of(key) > 0 {
            state.subscribers -= 1;
        }
        state.trie.remove_peer(key, |_| {});
        drop(state);
        self.changed();
    }

    fn subscription(
        &self,
        key: PipeKey,
        subscribe: bool,
        topic: &[u8],
    ) -> Result<(), DisconnectReason> {
        let key = peer_key(key);
        let mut state = lock(&self.state);
        if !state.live.contains(&key) {
            return Ok(());
        }
        let before = state.trie.topic_count_of(key);
        if subscribe {
            state
                .trie
                .subscribe(key, topic)
                .map_err(|_| DisconnectReason::SubscriptionLimit)?;
        } else {
            state.trie.cancel(key, topic);
        }
        let after = state.trie.topic_count_of(key);
        match (before, after) {
            (0, 1..) => state.subscribers += 1,
            (1.., 0) => state.subscribers -= 1,
            _ => {}
        }
        drop(state);
        self.changed();
        Ok(())
    }
}

impl Assemble for Pub {
    type Options = PubOptions;

    fn assemble(config: SocketConfig, options: PubOptions, context: Context) -> Self {
        let limits = config.subscriptions;
        let topics = Arc::new(Topics {
            state: Mutex::new(TopicState {
                trie: SubscriptionTrie::new(TrieConfig {
                    counted: false,
                    topics_per_peer: limits.topics as usize,
                    octets_per_peer: usize::try_from(limits.total_bytes).unwrap_or(usize::MAX),
                    octets_per_topic: limits.topic_bytes as usize,
                }),
                live: HashSet::new(),
                subscribers: 0,
            }),
            version: AtomicU64::new(0),
            port: OnceLock::new(),
        });
        let port = Port::new(
            SocketType::Pub,
            config,
            Arc::clone(&topics) as Arc<dyn Hooks>,
            Arc::clone(context.pool()),
        );
        // Set once, here.
        let _ = topics.port.set(Arc::downgrade(&port));
        Pub {
            out: SendHalf::new(Arc::clone(&port)),
            topics,
            options,
            matched: Vec::new(),
            everyone: false,
            version: 0,
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Pub {
    shell_methods!(Pub, out);
    send_methods!();

    /// Waits until at least this many peers hold a subscription, whichever it is.
    ///
    /// # Errors
    /// If there were fewer when the time was over.
    pub fn wait_for_subscribers(
        &mut self,
        count: usize,
        timeout: Duration,
    ) -> Result<(), WaitTimeout> {
        let Pub {
            shell, out, topics, ..
        } = self;
        shell.wait_until("subscribers", count, timeout, || {
            out.refresh();
            lock(&topics.state).subscribers
        })
    }

    /// How many peers would get a message that begins with `topic`.
    #[must_use]
    pub fn subscriber_count(&self, topic: impl AsRef<[u8]>) -> usize {
        lock(&self.topics.state).trie.match_count(topic.as_ref())
    }

    /// Waits until at least this many peers would get a message that begins with `topic`.
    ///
    /// # Errors
    /// If there were fewer when the time was over.
    pub fn wait_for_subscribers_of(
        &mut self,
        topic: impl AsRef<[u8]>,
        count: usize,
        timeout: Duration,
    ) -> Result<(), WaitTimeout> {
        let Pub {
            shell, out, topics, ..
        } = self;
        let topic = topic.as_ref();
        shell.wait_until("subscribers", count, timeout, || {
            out.refresh();
            lock(&topics.state).trie.match_count(topic)
        })
    }

    /// Closes the socket: waits until everything is sent, at most for the linger time.
    pub fn close(mut self) -> CloseReport {
        let deadline = self.shell.linger_deadline();
        self.out.clear();
        self.shell.close(deadline)
    }

    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        self.out.refresh();
        // A long payload is copied once for all, not once for each.
        match message
            .as_payload()
            .filter(|payload| payload.len() < SHARE_FROM)
        {
            Some(payload) => {
                let sent = self.publish(payload, payload, deadline);
                sent.map_err(|reason| SendError::new(reason, message.into()))
            }
            None => {
                let message = message.into();
                let sent = self.publish(&message, message.as_bytes(), deadline);
                sent.map_err(|reason| SendError::new(reason, message))
            }
        }
    }

    fn publish<M: Outgoing + ?Sized>(
        &mut self,
        message: &M,
        topic: &[u8],
        deadline: Deadline,
    ) -> Result<(), SendFailure> {
        self.find_matches(topic);
        if self.options.no_drop && !self.wait_for_room(deadline) {
            return Err(match deadline {
                Deadline::Now => SendFailure::WouldBlock,
                _ => SendFailure::Timeout,
            });
        }
        let counters = &self.shell.port.counters;
        if self.matched.is_empty() {
            Counters::add_owned(&counters.dropped_unmatched, 1);
        }
        self.out.begin_fan_out();
        for key in &self.matched {
            match self.out.give(*key, message) {
                Given::Done => {}
                Given::Full => Counters::add(&counters.dropped_full, 1),
                Given::Gone => Counters::add(&counters.dropped_peer_lost, 1),
            }
        }
        self.out.end_fan_out();
        Ok(())
    }

    /// Fills `matched`.
    fn find_matches(&mut self, topic: &[u8]) {
        let version = self.topics.version.load(Ordering::Acquire);
        if self.everyone && version == self.version {
            return;
        }
        self.version = version;
        self.matched.clear();
        let mut state = lock(&self.topics.state);
        let trie = &mut state.trie;
        // If all there is are subscriptions to everything, the next message has the same receivers.
        self.everyone = trie.topics() == 0 || (trie.topics() == 1 && trie.any_match(b""));
        let matched = &mut self.matched;
        trie.for_each_match(topic, |key| matched.push(key));
    }

    /// Waits until every receiver of the message at hand has room (or is gone).
    fn wait_for_room(&mut self, deadline: Deadline) -> bool {
        loop {
            let full = self.matched.iter().find(|key| self.out.is_full(**key));
            let Some(full) = full.copied() else {
                return true;
            };
            if matches!(deadline, Deadline::Now)
                || !self.out.wait_for_room(full, deadline.at(), || {})
            {
                return false;
            }
        }
    }
}

/// Receives the messages of its publishers that begin with one of its subscriptions.
///
/// A new SUB socket has no subscriptions and receives nothing. Subscriptions are state: they are told
/// to every publisher, also to one that comes (back) later.
///
/// ```
/// use sinew::Sub;
///
/// let mut sub = Sub::new();
/// sub.subscribe("news.");
/// sub.subscribe(""); // everything
/// assert!(sub.unsubscribe("news."));
/// assert!(!sub.unsubscribe("sports."), "it was not subscribed to");
/// ```
#[derive(Debug)]
pub struct Sub {
    inbound: RecvHalf,
    /// For matching; the publishers are told from `upstream`.
    topics: TopicSet,
    upstream: Arc<Upstream>,
    shell: Shell,
}

/// What a subscriber's publishers are to know.
#[derive(Debug)]
struct Upstream(Mutex<UpstreamState>);

#[derive(Debug)]
struct UpstreamState {
    topics: TopicSet,
    links: HashMap<PipeKey, (Weak<Link>, PeerVersion)>,
    inproc: HashMap<PipeKey, (Weak<Port>, PipeKey)>,
}

impl UpstreamState {
    /// Tells every publisher about one change.
    fn tell(&self, subscribe: bool, topic: &[u8]) {
        let mut frames = BytesMut::new();
        for (link, version) in self.links.values() {
            if let Some(link) = link.upgrade() {
                frames.clear();
                encode_subscription(&mut frames, *version, subscribe, topic);
                link.push_control(&frames);
            }
        }
        for (port, key) in self.inproc.values() {
            if let Some(port) = port.upgrade() {
                // A publisher in this process that has its limits exceeded goes on without.
                let _ = port.hooks.subscription(*key, subscribe, topic);
            }
        }
    }
}

impl Hooks for Upstream {
    fn link_up(&self, key: PipeKey, link: &Arc<Link>, version: PeerVersion) {
        // Under the lock, so that no later change overtakes this.
        let mut state = lock(&self.0);
        let mut frames = BytesMut::new();
        for topic in state.topics.iter() {
            encode_subscription(&mut frames, version, true, &topic);
        }
        link.push_control(&frames);
        state.links.insert(key, (Arc::downgrade(link), version));
    }

    fn inproc_up(&self, key: PipeKey, peer: &Arc<Port>, peer_key: PipeKey) {
        let mut state = lock(&self.0);
        for topic in state.topics.iter() {
            let _ = peer.hooks.subscription(peer_key, true, &topic);
        }
        state.inproc.insert(key, (Arc::downgrade(peer), peer_key));
    }

    fn link_down(&self, key: PipeKey) {
        let mut state = lock(&self.0);
        state.links.remove(&key);
        state.inproc.remove(&key);
    }

    fn subscription(&self, _: PipeKey, _: bool, _: &[u8]) -> Result<(), DisconnectReason> {
        Ok(())
    }
}

impl Assemble for Sub {
    type Options = ();

    fn defaults() -> SocketConfig {
        SocketConfig {
            // It has nothing to send but subscriptions, which are of no use without it.
            linger: Some(Duration::ZERO),
            ..SocketConfig::default()
        }
    }

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let upstream = Arc::new(Upstream(Mutex::new(UpstreamState {
            topics: TopicSet::new(),
            links: HashMap::new(),
            inproc: HashMap::new(),
        })));
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
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Sub {
    shell_methods!(Sub, inbound);
    recv_methods!();

    /// Subscribes to messages whose first frame begins with `prefix`; the empty prefix is that of
    /// every message. Subscriptions count: two equal ones take two [`unsubscribe`](Self::unsubscribe)
    /// calls to end.
    pub fn subscribe(&mut self, prefix: impl AsRef<[u8]>) {
        let topic = prefix.as_ref();
        if self.topics.subscribe(topic) {
            let mut state = lock(&self.upstream.0);
            state.topics.subscribe(topic);
            state.tell(true, topic);
        }
    }

    /// Takes one subscription back; `false` if there was none to this prefix.
    pub fn unsubscribe(&mut self, prefix: impl AsRef<[u8]>) -> bool {
        let topic = prefix.as_ref();
        match self.topics.unsubscribe(topic) {
            Unsubscribed::Last => {
                let mut state = lock(&self.upstream.0);
                state.topics.unsubscribe(topic);
                state.tell(false, topic);
                true
            }
            Unsubscribed::StillHeld => true,
            Unsubscribed::NotSubscribed => false,
        }
    }

    /// Closes the socket. Messages that were received and not read are discarded.
    pub fn close(mut self) -> CloseReport {
        let deadline = self.shell.linger_deadline();
        self.inbound.clear();
        self.shell.close(deadline)
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        let mut skipped = 0u32;
        loop {
            let message = self.inbound.recv(deadline)?;
            // The publisher filters too, but what it sent may have been unsubscribed from since.
            if self.topics.matches(message.as_bytes()) {
                return Ok(message);
            }
            skipped = skipped.wrapping_add(1);
            if skipped % SKIPPED_PER_LOOK == 0 {
                deadline.check()?;
            }
        }
    }
}

/// A publisher that does not filter must not hold a receive beyond its deadline; looking at the clock
/// for each message it should not have sent would make it dearer still.
const SKIPPED_PER_LOOK: u32 = 256;

socket_traits!(Pub);
socket_traits!(Sub);
