//! What the peers of a publisher want: the subscriptions of PUB and XPUB, the groups of RADIO.
//!
//! Changed by I/O threads as commands arrive, so that it takes effect without the application calling
//! anything. A sender takes the lock to find out who gets a message. It must not be kept waiting by peers
//! that subscribe and leave by the million: the lock is held for one change at a time, or for a few
//! of a peer that is gone, and who changes it again lets a sender that waits go first.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, TryLockError, Weak};

use bytes::Bytes;

use super::peer_key;
use crate::config::{SocketConfig, SubscriptionLimits};
use crate::io::{Counters, Hooks, Link, PeerVersion, PipeKey, Port, SubscriptionLimit};
use crate::routing::{
    Cancelled, EventLimit, LimitError, PeerKey, Scope, SubscriptionTrie, TopicEvent, TopicEvents,
    TrieConfig,
};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{lock, Mutex, MutexGuard};

/// See the module.
#[derive(Debug)]
pub(super) struct Topics {
    state: Mutex<State>,
    /// A sender waits for the lock.
    sender_waits: AtomicBool,
    /// Counts changes of what is matched.
    version: AtomicU64,
    /// What one peer may have.
    limits: SubscriptionLimits,
    port: OnceLock<Weak<Port>>,
}

/// What an XPUB is told of its peers' subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reporting {
    /// Nothing: PUB, RADIO.
    #[default]
    Nothing,
    /// The first subscription to a topic, and the end of the last.
    Changes,
    /// Every subscription, and the end of the last.
    Verbose,
    /// Every subscription and every end of one.
    Verboser,
    /// What peers ask for; it has no other effect.
    Manual,
    /// Nothing, and what peers ask for has no effect: a PUB whose subscriptions are to be made by hand.
    Unheard,
}

impl Reporting {
    fn scope(self) -> Scope {
        match self {
            Reporting::Nothing | Reporting::Unheard | Reporting::Changes | Reporting::Verbose => {
                Scope::Topic
            }
            Reporting::Verboser | Reporting::Manual => Scope::PeerTopic,
        }
    }
}

/// How a subscription is compared with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Matching {
    /// It is wanted if it begins with one.
    #[default]
    Prefix,
    /// It is wanted unless it begins with one.
    Inverted,
    /// It is wanted if it is for that group.
    Group,
}

#[derive(Debug)]
struct State {
    trie: SubscriptionTrie,
    /// Peers whose subscriptions count: a subscription that comes too late is none.
    live: HashSet<PeerKey>,
    /// Peers whose subscriptions are being removed.
    leaving: Vec<PeerKey>,
    /// Peers that get everything.
    unfiltered: Vec<PeerKey>,
    /// How many peers hold at least one subscription.
    subscribers: usize,
    reporting: Reporting,
    events: TopicEvents<Bytes>,
    /// [`Reporting::Manual`]: what peers asked for.
    asked: SubscriptionTrie,
}

/// Subscriptions of a peer that is gone removed under one lock: some 100 µs.
const REMOVED_AT_ONCE: usize = 512;

/// How often one who changes subscriptions yields to a sender that waits: longer than it takes to wake up.
const YIELDS: u32 = 200;

impl Topics {
    /// For subscriptions to topics.
    pub(super) fn new(config: &SocketConfig, reporting: Reporting) -> Arc<Self> {
        Self::limited(config, config.subscriptions, reporting)
    }

    /// For groups, of which a peer may have another number.
    pub(super) fn of_groups(config: &SocketConfig) -> Arc<Self> {
        let limits = SubscriptionLimits {
            topics: config.subscriptions.groups,
            ..config.subscriptions
        };
        Self::limited(config, limits, Reporting::Nothing)
    }

    fn limited(
        config: &SocketConfig,
        limits: SubscriptionLimits,
        reporting: Reporting,
    ) -> Arc<Self> {
        let trie = TrieConfig {
            counted: false,
            topics_per_peer: limits.topics as usize,
            octets_per_peer: usize::try_from(limits.total_bytes).unwrap_or(usize::MAX),
            octets_per_topic: limits.topic_bytes as usize,
        };
        let limit = EventLimit {
            events: config.recv_hwm.message_credit(),
            octets: config.recv_hwm.byte_credit(),
        };
        Arc::new(Topics {
            state: Mutex::new(State {
                trie: SubscriptionTrie::new(trie),
                live: HashSet::new(),
                leaving: Vec::new(),
                unfiltered: Vec::new(),
                subscribers: 0,
                reporting,
                events: TopicEvents::new(reporting.scope(), limit),
                asked: SubscriptionTrie::new(trie),
            }),
            sender_waits: AtomicBool::new(false),
            version: AtomicU64::new(0),
            limits,
            port: OnceLock::new(),
        })
    }

    /// The port of the socket, which is made with this.
    pub(super) fn attach(&self, port: &Arc<Port>) {
        // Set once, by the socket's constructor.
        let _ = self.port.set(Arc::downgrade(port));
    }

    /// What is told, and what it does, of what peers ask for from now on.
    pub(super) fn set_reporting(&self, reporting: Reporting) {
        let mut state = self.lock_to_change();
        state.reporting = reporting;
        state.events.set_scope(reporting.scope());
    }

    /// Changes whenever a message may have other receivers than before.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Adds everyone who gets a message to `matched`. Returns whether it would be the same for any message,
    /// until the version changes.
    #[inline]
    pub(super) fn find(
        &self,
        topic: &[u8],
        matching: Matching,
        matched: &mut Vec<PeerKey>,
    ) -> bool {
        self.lock_to_send().find(topic, matching, matched)
    }

    /// As [`Topics::find`] for one message after the other, under one lock: adds to `matched` those who get the first,
    /// behind them those who get the second, and so on, and to `ends` where those of each end.
    pub(super) fn find_each(
        &self,
        topics: &[&[u8]],
        matching: Matching,
        matched: &mut Vec<PeerKey>,
        ends: &mut Vec<usize>,
    ) -> bool {
        let mut state = self.lock_to_send();
        if matching == Matching::Prefix && state.leaving.is_empty() {
            state.trie.match_each(topics, matched, ends);
            return state.is_same_for_all();
        }
        let mut everyone = false;
        for topic in topics {
            let mut of_one = Vec::new();
            everyone = state.find(topic, matching, &mut of_one);
            matched.append(&mut of_one);
            ends.push(matched.len());
        }
        everyone
    }

    /// How many peers get a message with this topic.
    pub(super) fn count(&self, topic: &[u8], matching: Matching) -> usize {
        let mut state = self.lock_to_send();
        if matching == Matching::Prefix && state.leaving.is_empty() {
            let mut count = 0;
            state.trie.for_each_match(topic, |_| count += 1);
            return count;
        }
        let mut matched = Vec::new();
        state.find(topic, matching, &mut matched);
        matched.len()
    }

    /// Whether this peer gets a message that begins so.
    pub(super) fn is_matched(&self, peer: PeerKey, topic: &[u8], matching: Matching) -> bool {
        let state = self.lock_to_send();
        let held = match matching {
            Matching::Group => state.trie.is_held_by(peer, topic),
            Matching::Prefix | Matching::Inverted => state.trie.is_matched(peer, topic),
        };
        state.live.contains(&peer) && held != (matching == Matching::Inverted)
    }

    /// How many peers hold a subscription.
    pub(super) fn subscribers(&self) -> usize {
        lock(&self.state).subscribers
    }

    /// How many different topics are held.
    pub(super) fn topic_count(&self) -> usize {
        lock(&self.state).trie.topics()
    }

    /// The oldest event that was not taken yet.
    pub(super) fn has_event(&self) -> bool {
        !lock(&self.state).events.is_empty()
    }

    pub(super) fn take_event(&self) -> Option<TopicEvent<Bytes>> {
        lock(&self.state).events.pop()
    }

    /// Gives a peer a subscription that it need not have asked for, or takes one. `false`: the peer is gone.
    ///
    /// # Errors
    /// If it would be more than a peer may hold.
    pub(super) fn set(
        &self,
        peer: PeerKey,
        subscribe: bool,
        topic: &[u8],
    ) -> Result<bool, LimitError> {
        let mut state = self.lock_to_change();
        if !state.live.contains(&peer) {
            return Ok(false);
        }
        state.apply(peer, subscribe, topic)?;
        drop(state);
        self.changed();
        Ok(true)
    }

    /// Whether a peer that was there is still there.
    pub(super) fn is_live(&self, peer: PeerKey) -> bool {
        self.lock_to_send().live.contains(&peer)
    }

    fn lock_to_send(&self) -> MutexGuard<'_, State> {
        match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.wait_to_send(),
        }
    }

    #[cold]
    fn wait_to_send(&self) -> MutexGuard<'_, State> {
        self.sender_waits.store(true, Ordering::Relaxed);
        let state = lock(&self.state);
        self.sender_waits.store(false, Ordering::Relaxed);
        state
    }

    /// A lock goes to who asks next, and who has just let go of it is quicker than who must wake up.
    fn lock_to_change(&self) -> MutexGuard<'_, State> {
        for _ in 0..YIELDS {
            if !self.sender_waits.load(Ordering::Relaxed) {
                break;
            }
            std::thread::yield_now();
        }
        lock(&self.state)
    }

    fn changed(&self) {
        self.outdate();
        self.tell_sender();
    }

    /// What is matched has changed.
    fn outdate(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Who waits for subscribers may have them.
    fn tell_sender(&self) {
        if let Some(port) = self.port.get().and_then(Weak::upgrade) {
            port.outbound.event().notify();
        }
    }

    /// Events may have been added.
    fn tell_events(&self, mut state: MutexGuard<'_, State>) {
        let left_out = state.events.take_left_out();
        let any = !state.events.is_empty();
        drop(state);
        if let Some(port) = self.port.get().and_then(Weak::upgrade) {
            if left_out > 0 {
                Counters::add(&port.counters.events_left_out, left_out);
            }
            if any {
                port.inbound.event().notify();
            }
        }
    }

    pub(super) fn exceeded(&self, error: LimitError) -> SubscriptionLimit {
        let limits = &self.limits;
        match error {
            LimitError::TopicTooLong => SubscriptionLimit::Length {
                limit: limits.topic_bytes,
            },
            LimitError::TooManyTopics => SubscriptionLimit::Number {
                limit: limits.topics,
            },
            LimitError::TooManyOctets => SubscriptionLimit::Octets {
                limit: limits.total_bytes,
            },
            LimitError::Full => SubscriptionLimit::Room,
        }
    }

    fn up(&self, key: PipeKey) {
        self.lock_to_change().live.insert(peer_key(key));
        // Who holds nothing gets everything where matching is inverted.
        self.outdate();
    }
}

/// What a change has changed.
struct Change {
    /// Whether the peer holds the topic, and did not before, or the other way round.
    of_peer: bool,
    /// Whether anybody does.
    of_topic: bool,
}

impl State {
    /// See [`Topics::find`]; nothing is in `matched`.
    #[inline]
    fn find(&mut self, topic: &[u8], matching: Matching, matched: &mut Vec<PeerKey>) -> bool {
        let trie = &mut self.trie;
        let everyone = match matching {
            Matching::Prefix => {
                trie.for_each_match(topic, |key| matched.push(key));
                self.is_same_for_all()
            }
            Matching::Group => {
                trie.for_each_holder(topic, |key| matched.push(key));
                matched.extend(&self.unfiltered);
                false
            }
            Matching::Inverted => {
                trie.for_each_match(topic, |key| matched.push(key));
                let without = matched.len();
                matched.sort_unstable_by_key(|key| key.index);
                for key in &self.live {
                    let out = matched[..without].binary_search_by_key(&key.index, |out| out.index);
                    if out.is_err() {
                        matched.push(*key);
                    }
                }
                matched.drain(..without);
                false
            }
        };
        if !self.leaving.is_empty() {
            matched.retain(|key| !self.leaving.contains(key));
            return false;
        }
        everyone
    }

    /// Whether all there is are subscriptions to everything.
    fn is_same_for_all(&self) -> bool {
        let trie = &self.trie;
        trie.topics() == 0 || (trie.topics() == 1 && trie.any_match(b""))
    }

    fn apply(
        &mut self,
        peer: PeerKey,
        subscribe: bool,
        topic: &[u8],
    ) -> Result<Change, LimitError> {
        let before = self.trie.topic_count_of(peer);
        let change = change(&mut self.trie, peer, subscribe, topic)?;
        match (before, self.trie.topic_count_of(peer)) {
            (0, 1..) => self.subscribers += 1,
            (1.., 0) => self.subscribers -= 1,
            _ => {}
        }
        Ok(change)
    }

    /// Adds the event of a change, if it is one to be told.
    fn report(&mut self, peer: PeerKey, subscribe: bool, topic: &[u8], change: &Change) {
        let (told, changes) = match self.reporting {
            Reporting::Nothing | Reporting::Unheard => return,
            Reporting::Verboser | Reporting::Manual => (true, change.of_peer),
            Reporting::Verbose if subscribe => (true, change.of_topic),
            // One that matched nothing is told too, unless others hold the topic: who passes events on to
            // a publisher would take it from them.
            Reporting::Changes | Reporting::Verbose => {
                let stray = !subscribe && !change.of_peer && self.trie.holders_of(topic) == 0;
                (change.of_topic || stray, change.of_topic)
            }
        };
        if told {
            let event = TopicEvent {
                peer,
                subscribe,
                topic: Bytes::copy_from_slice(topic),
            };
            self.events.push(event, changes);
        }
    }

    /// Removes some of what a peer holds, and tells of it. Whether there is more.
    fn remove_some(&mut self, peer: PeerKey) -> bool {
        let State {
            trie,
            asked,
            events,
            reporting,
            ..
        } = self;
        let tell = |topic: &[u8], last: bool| {
            let told = match reporting {
                Reporting::Nothing | Reporting::Unheard => false,
                Reporting::Changes | Reporting::Verbose => last,
                Reporting::Verboser | Reporting::Manual => true,
            };
            if told {
                let event = TopicEvent {
                    peer,
                    subscribe: false,
                    topic: Bytes::copy_from_slice(topic),
                };
                events.push(event, true);
            }
        };
        if *reporting == Reporting::Manual {
            let more = trie.remove_part(peer, REMOVED_AT_ONCE, |_, _| {});
            return asked.remove_part(peer, REMOVED_AT_ONCE, tell) || more;
        }
        // What was asked for while that had no other effect has no end to be told of.
        let more = asked.remove_part(peer, REMOVED_AT_ONCE, |_, _| {});
        trie.remove_part(peer, REMOVED_AT_ONCE, tell) || more
    }
}

fn change(
    trie: &mut SubscriptionTrie,
    peer: PeerKey,
    subscribe: bool,
    topic: &[u8],
) -> Result<Change, LimitError> {
    if subscribe {
        let before = trie.topic_count_of(peer);
        let of_topic = trie.subscribe(peer, topic)?;
        let of_peer = trie.topic_count_of(peer) != before;
        return Ok(Change { of_peer, of_topic });
    }
    let cancelled = trie.cancel(peer, topic);
    Ok(Change {
        of_peer: matches!(cancelled, Cancelled::LastOfPeer | Cancelled::LastOfTopic),
        of_topic: cancelled == Cancelled::LastOfTopic,
    })
}

impl Hooks for Topics {
    fn link_up(&self, key: PipeKey, _: &Arc<Link>, _: PeerVersion) {
        self.up(key);
    }

    fn inproc_up(&self, key: PipeKey, _: &Arc<Port>, _: PipeKey) {
        self.up(key);
    }

    fn unfiltered_up(&self, key: PipeKey) {
        self.lock_to_change().unfiltered.push(peer_key(key));
        self.changed();
    }

    fn link_down(&self, key: PipeKey) {
        let key = peer_key(key);
        let mut state = self.lock_to_change();
        state.unfiltered.retain(|other| *other != key);
        if !state.live.remove(&key) {
            drop(state);
            self.changed();
            return;
        }
        if state.trie.topic_count_of(key) > 0 {
            state.subscribers -= 1;
        }
        state.leaving.push(key);
        self.outdate();
        while state.remove_some(key) {
            self.tell_events(state);
            state = self.lock_to_change();
        }
        state.leaving.retain(|other| *other != key);
        self.tell_events(state);
        self.changed();
    }

    fn subscription(
        &self,
        key: PipeKey,
        subscribe: bool,
        topic: &[u8],
    ) -> Result<(), SubscriptionLimit> {
        let key = peer_key(key);
        let mut state = self.lock_to_change();
        if !state.live.contains(&key) || state.reporting == Reporting::Unheard {
            return Ok(());
        }
        let manual = state.reporting == Reporting::Manual;
        let changed = match manual {
            true => change(&mut state.asked, key, subscribe, topic),
            false => state.apply(key, subscribe, topic),
        };
        let changed = changed.map_err(|error| self.exceeded(error))?;
        state.report(key, subscribe, topic, &changed);
        let is_other = !manual && changed.of_peer;
        if is_other {
            // Before it is told, so that it counts for who sends when told.
            self.outdate();
        }
        if state.reporting == Reporting::Nothing {
            drop(state);
        } else {
            self.tell_events(state);
        }
        if is_other {
            self.tell_sender();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::TOGETHER;

    fn key(index: u32) -> PeerKey {
        PeerKey {
            index,
            generation: 0,
        }
    }

    /// Whatever is asked for, and while some leave.
    #[test]
    fn those_of_many_messages_are_those_of_each() {
        let config = SocketConfig::default();
        for subscribed in [&[""][..], &["", "b"], &["a", "ab", "b", "abc"]] {
            let topics = Topics::new(&config, Reporting::Nothing);
            for n in 0..8 {
                let peer = crate::socket::pipe_key(key(n));
                topics.up(peer);
                let topic = subscribed[n as usize % subscribed.len()].as_bytes();
                topics.subscription(peer, true, topic).unwrap();
            }
            topics.unfiltered_up(crate::socket::pipe_key(key(8)));
            let asked: Vec<&[u8]> = [&b"abc"[..], b"", b"ab", b"x", b"bcd"]
                .into_iter()
                .cycle()
                .take(2 * TOGETHER)
                .collect();
            for leaving in [&[][..], &[key(0), key(3)]] {
                lock(&topics.state).leaving = leaving.to_vec();
                for matching in [Matching::Prefix, Matching::Inverted, Matching::Group] {
                    let (mut matched, mut ends) = (Vec::new(), Vec::new());
                    let same = topics.find_each(&asked, matching, &mut matched, &mut ends);
                    assert_eq!(ends.len(), asked.len());
                    let mut begin = 0;
                    for (topic, end) in asked.iter().zip(ends) {
                        let mut of_one = Vec::new();
                        assert_eq!(topics.find(topic, matching, &mut of_one), same);
                        let of_each = &mut matched[begin..end];
                        // In no order, of those that are all who are there but some.
                        if matching == Matching::Inverted {
                            of_each.sort_unstable_by_key(|key| key.index);
                            of_one.sort_unstable_by_key(|key| key.index);
                        }
                        assert_eq!(*of_each, of_one, "{matching:?}");
                        begin = end;
                    }
                    assert_eq!(begin, matched.len());
                    let to_all = subscribed == [""] && matching == Matching::Prefix;
                    assert_eq!(same, to_all && leaving.is_empty());
                }
            }
        }
    }
}
