//! Prefix subscriptions of many peers: the publisher's side of topic matching (29/PUBSUB).
//!
//! Two structures point into each other. A [`RadixTree`] has a node per topic with the list of its
//! holders; a table has, per peer, the list of the nodes it holds. Each entry of either list knows
//! its counterpart's place, so that a subscription is taken out of both in O(1), and a peer is removed
//! in time proportional to its own topics (L-88). A topic with many holders keeps an index of them.
//!
//! Matching walks the tree along the first frame and hands out the holders of each node it meets. As
//! long as there is one such node, which is nearly always, its list is read from front to back and
//! nothing else is touched: a peer is in a list once. (If everybody subscribes to everything that is
//! the root's list.) From the second node on, peers are told apart by a stamp in a table by slot
//! number. The number of other topics does not matter.
//!
//! # A set, or counted
//!
//! Whoever subscribes twice to a topic cancels it twice, says the local API (reference: "subscriptions
//! count"). But that count is the *subscriber's*, see [`TopicSet`](super::TopicSet): libzmq's SUB
//! forwards every subscription including repetitions, and only the last cancellation. A publisher that
//! counted what it receives would be left with the surplus and go on sending what nobody wants. So a
//! peer holds a topic once, however often it asked, and the first cancellation ends that; libzmq's
//! publishers do the same. [`TrieConfig::counted`] is for users whose peers send both in pairs.
//!
//! # Memory
//!
//! Measured as resident memory with 1 000 000 distinct topics over 100 peers, one holder each:
//! 95 octets per subscription for 24 random octets, 101 for `sensor/000000/temperature`, 104 for
//! `site/49/rack/199/host99/m`, the topic's own octets included. The parts: a node of 72 octets, of which there are 1.07 to 1.11 per topic, and 8 in the peer's
//! list. A topic's second holder adds a list (72 octets), every holder 16 in it and 8 in the peer's,
//! and about as much again in the index of a topic with many. The arena doubles when it grows, so that
//! up to half of it is not in use (and not resident). It is freed with the last subscription; its
//! unused end goes when a peer leaves that held a good part of it. What stays is 56 octets per slot.

use std::collections::HashMap;
use std::fmt;

use super::radix::{NodeId, RadixTree, Value};
use super::PeerKey;

/// How a [`SubscriptionTrie`] counts, and what one peer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrieConfig {
    /// Whether equal subscriptions of one peer must be cancelled as often as they were made. No, for
    /// peers across a network: see the file's header.
    pub(crate) counted: bool,
    /// Distinct topics of one peer.
    pub(crate) topics_per_peer: usize,
    /// Octets of the distinct topics of one peer together.
    pub(crate) octets_per_peer: usize,
    /// Octets of one topic. Splitting and joining nodes copies as much, on request of a shorter one.
    pub(crate) octets_per_topic: usize,
}

impl TrieConfig {
    /// No limits but memory's, and each topic held once.
    #[cfg(test)]
    pub(crate) const UNLIMITED: TrieConfig = TrieConfig {
        counted: false,
        topics_per_peer: usize::MAX,
        octets_per_peer: usize::MAX,
        octets_per_topic: usize::MAX,
    };
}

/// A subscription that was refused; it has changed nothing. Excess closes its peer (L-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum LimitError {
    /// The topic is longer than [`TrieConfig::octets_per_topic`].
    TopicTooLong,
    /// One more topic than [`TrieConfig::topics_per_peer`].
    TooManyTopics,
    /// More than [`TrieConfig::octets_per_peer`].
    TooManyOctets,
    /// 2³² nodes, or as many equal subscriptions where they are counted.
    Full,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitError::TopicTooLong => "the topic is longer than allowed",
            LimitError::TooManyTopics => "the peer subscribes to more topics than allowed",
            LimitError::TooManyOctets => "the peer's topics together are longer than allowed",
            LimitError::Full => "no room for another subscription",
        })
    }
}

impl std::error::Error for LimitError {}

/// What a cancellation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Cancelled {
    /// The peer did not hold the topic. Not an error; nothing has changed.
    Unknown,
    /// The peer holds it still, having subscribed more often (only where that is counted).
    StillHeldByPeer,
    /// The peer holds it no more, others do.
    LastOfPeer,
    /// Nobody holds it any more.
    LastOfTopic,
}

/// Who wants what.
///
/// About 100 octets per subscription to a topic of 24 octets that nobody else holds, the topic
/// included; see the file's header.
#[derive(Debug)]
pub(crate) struct SubscriptionTrie {
    config: TrieConfig,
    tree: RadixTree<Holders>,
    /// By slot number.
    peers: Vec<Held>,
    /// By slot number, as long as `peers`: the last match the peer was handed out for.
    stamps: Vec<u64>,
    stamp: u64,
    topics: usize,
    subscriptions: usize,
    /// Subscriptions that ended since the arena was last looked at.
    removed: usize,
}

/// What one peer holds.
#[derive(Debug, Default)]
struct Held {
    generation: u32,
    octets: usize,
    topics: Vec<Place>,
}

/// A topic and the place in its list of holders.
#[derive(Debug, Clone, Copy)]
struct Place {
    node: NodeId,
    at: u32,
}

/// A peer, and the place of the topic in its list.
#[derive(Debug, Clone, Copy)]
struct Holder {
    peer: PeerKey,
    at: u32,
    count: u32,
}

/// The holders of one topic. Most topics have one; it is in the node.
#[derive(Debug, Default)]
enum Holders {
    #[default]
    Nobody,
    One(Holder),
    Many(Box<Crowd>),
}

/// Two holders or more.
#[derive(Debug, Default)]
struct Crowd {
    list: Vec<Holder>,
    /// Slot number to place in the list; empty while the list is short enough to look through.
    index: HashMap<u32, u32>,
}

impl SubscriptionTrie {
    /// Holders beyond which a topic has an index of them; it loses it at half as many. A list of
    /// these fits eight cache lines, which is no slower to look through than to hash for.
    const INDEXED: usize = 32;

    /// No subscriptions.
    pub(crate) fn new(config: TrieConfig) -> Self {
        SubscriptionTrie {
            config,
            tree: RadixTree::new(),
            peers: Vec::new(),
            stamps: Vec::new(),
            stamp: 0,
            topics: 0,
            subscriptions: 0,
            removed: 0,
        }
    }

    /// Adds a subscription. Returns whether nobody at all held the topic before.
    ///
    /// `peer` must be attached. What an earlier owner of its slot may have left is dropped; the
    /// owner that calls [`SubscriptionTrie::remove_peer`] leaves nothing.
    ///
    /// # Errors
    /// If it is beyond one of the limits in [`TrieConfig`].
    pub(crate) fn subscribe(&mut self, peer: PeerKey, topic: &[u8]) -> Result<bool, LimitError> {
        let index = peer.index as usize;
        if index >= self.peers.len() {
            self.peers.resize_with(index + 1, Held::default);
            self.stamps.resize(index + 1, 0);
        }
        if self.peers[index].generation != peer.generation {
            let old = self.peers[index].generation;
            self.remove_peer_each(
                PeerKey {
                    generation: old,
                    ..peer
                },
                |_, _| {},
            );
            self.peers[index].generation = peer.generation;
        }
        if let Some(node) = self.tree.find(topic) {
            if let Some(holder) = self.tree.value_mut(node).find_mut(peer) {
                if self.config.counted {
                    holder.count = holder.count.checked_add(1).ok_or(LimitError::Full)?;
                }
                return Ok(false);
            }
        }
        self.admit(&self.peers[index], topic)?;
        let held = &mut self.peers[index];
        let node = self.tree.insert(topic);
        let holders = self.tree.value_mut(node);
        let first = holders.is_vacant();
        let at = holders.push(Holder {
            peer,
            at: held.topics.len() as u32,
            count: 1,
        });
        held.topics.push(Place { node, at });
        held.octets += topic.len();
        self.topics += usize::from(first);
        self.subscriptions += 1;
        Ok(first)
    }

    /// Takes a subscription back.
    pub(crate) fn cancel(&mut self, peer: PeerKey, topic: &[u8]) -> Cancelled {
        let Some(node) = self.tree.find(topic) else {
            return Cancelled::Unknown;
        };
        let Some(holder) = self.tree.value_mut(node).find_mut(peer) else {
            return Cancelled::Unknown;
        };
        if holder.count > 1 {
            holder.count -= 1;
            return Cancelled::StillHeldByPeer;
        }
        let at = holder.at;
        let held = &mut self.peers[peer.index as usize];
        let place = held.topics.swap_remove(at as usize);
        held.octets -= topic.len();
        if let Some(moved) = held.topics.get(at as usize) {
            self.tree.value_mut(moved.node).at_mut(moved.at).at = at;
        }
        if held.topics.len() < held.topics.capacity() / 4 {
            held.topics.shrink_to(held.topics.len() * 2);
        }
        let last = self.release(place);
        if last {
            self.tree.prune(node);
        }
        self.give_back();
        if last {
            Cancelled::LastOfTopic
        } else {
            Cancelled::LastOfPeer
        }
    }

    /// Takes all of a peer's subscriptions back and calls `unheld` for each topic that nobody holds
    /// any more. Costs time in proportion to this peer's topics.
    #[cfg(test)]
    pub(crate) fn remove_peer(&mut self, peer: PeerKey, mut unheld: impl FnMut(&[u8])) {
        self.remove_peer_each(peer, |topic, last| {
            if last {
                unheld(topic);
            }
        });
    }

    /// As [`SubscriptionTrie::remove_peer`], but calls `each` for every topic of the peer, with
    /// whether nobody holds it any more.
    pub(crate) fn remove_peer_each(&mut self, peer: PeerKey, each: impl FnMut(&[u8], bool)) {
        self.remove_part(peer, usize::MAX, each);
    }

    /// As [`SubscriptionTrie::remove_peer_each`], but of at most so many topics. Returns whether the peer
    /// holds more: one with a million must not keep others from this structure until all are gone.
    pub(crate) fn remove_part(
        &mut self,
        peer: PeerKey,
        at_most: usize,
        mut each: impl FnMut(&[u8], bool),
    ) -> bool {
        let index = peer.index as usize;
        let mut topic = Vec::new();
        for _ in 0..at_most {
            let Some(held) = self.peers.get_mut(index) else {
                return false;
            };
            if held.generation != peer.generation {
                return false;
            }
            // From the end of the list, so that the places of the others stay as they are.
            let Some(place) = held.topics.pop() else {
                held.topics = Vec::new();
                return false;
            };
            self.tree.key_of(place.node, &mut topic);
            self.peers[index].octets -= topic.len();
            let last = self.release(place);
            each(&topic, last);
            if last {
                self.tree.prune(place.node);
            }
            self.give_back();
        }
        true
    }

    /// Calls `matched` once for every peer that holds a prefix of `first_frame`.
    #[inline]
    pub(crate) fn for_each_match(&mut self, first_frame: &[u8], mut matched: impl FnMut(PeerKey)) {
        let mut nodes = self.tree.prefixes_of(first_frame);
        let Some(first) = nodes.next() else {
            return;
        };
        let Some(second) = nodes.next() else {
            first.as_slice().iter().for_each(|h| matched(h.peer));
            return;
        };
        // Not to be reached again in the life of a process, at 2⁶⁴ messages.
        self.stamp += 1;
        for node in [first, second].into_iter().chain(nodes) {
            for holder in node.as_slice() {
                let stamp = &mut self.stamps[holder.peer.index as usize];
                if *stamp != self.stamp {
                    *stamp = self.stamp;
                    matched(holder.peer);
                }
            }
        }
    }

    /// Whether this peer holds a prefix of `first_frame`.
    pub(crate) fn is_matched(&self, peer: PeerKey, first_frame: &[u8]) -> bool {
        let mut nodes = self.tree.prefixes_of(first_frame);
        nodes.any(|holders| holders.position(peer).is_some())
    }

    /// How many peers hold a prefix of `first_frame`.
    #[cfg(test)]
    pub(crate) fn match_count(&mut self, first_frame: &[u8]) -> usize {
        let mut count = 0;
        self.for_each_match(first_frame, |_| count += 1);
        count
    }

    /// Whether anybody holds a prefix of `first_frame`.
    #[inline]
    pub(crate) fn any_match(&self, first_frame: &[u8]) -> bool {
        self.tree.prefixes_of(first_frame).next().is_some()
    }

    /// Calls `matched` once for every peer that holds exactly this topic.
    pub(crate) fn for_each_holder(&self, topic: &[u8], mut matched: impl FnMut(PeerKey)) {
        if let Some(node) = self.tree.find(topic) {
            let holders = self.tree.value(node).as_slice();
            holders.iter().for_each(|holder| matched(holder.peer));
        }
    }

    /// How many peers hold exactly this topic.
    pub(crate) fn holders_of(&self, topic: &[u8]) -> usize {
        self.tree
            .find(topic)
            .map_or(0, |node| self.tree.value(node).as_slice().len())
    }

    /// Whether this peer holds exactly this topic.
    pub(crate) fn is_held_by(&self, peer: PeerKey, topic: &[u8]) -> bool {
        self.tree
            .find(topic)
            .is_some_and(|node| self.tree.value(node).position(peer).is_some())
    }

    /// The number of distinct topics somebody holds.
    pub(crate) fn topics(&self) -> usize {
        self.topics
    }

    /// The number of pairs of a peer and a topic it holds.
    #[cfg(test)]
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// The number of distinct topics this peer holds.
    pub(crate) fn topic_count_of(&self, peer: PeerKey) -> usize {
        self.held(peer).map_or(0, |held| held.topics.len())
    }

    /// The octets of the distinct topics this peer holds, together.
    #[cfg(test)]
    pub(crate) fn octets_of(&self, peer: PeerKey) -> usize {
        self.held(peer).map_or(0, |held| held.octets)
    }

    fn held(&self, peer: PeerKey) -> Option<&Held> {
        self.peers
            .get(peer.index as usize)
            .filter(|held| held.generation == peer.generation)
    }

    fn admit(&self, held: &Held, topic: &[u8]) -> Result<(), LimitError> {
        if topic.len() > self.config.octets_per_topic {
            Err(LimitError::TopicTooLong)
        } else if held.topics.len() >= self.config.topics_per_peer {
            Err(LimitError::TooManyTopics)
        } else if topic.len() > self.config.octets_per_peer - held.octets {
            Err(LimitError::TooManyOctets)
        } else if self.tree.is_full() {
            Err(LimitError::Full)
        } else {
            Ok(())
        }
    }

    /// Takes a holder out of a topic's list; the peer's own entry is gone already. Returns whether
    /// it was the last.
    fn release(&mut self, place: Place) -> bool {
        let holders = self.tree.value_mut(place.node);
        if let Some(moved) = holders.swap_remove(place.at) {
            // Another peer's, whose list is whole: a topic has a peer as its holder once.
            self.peers[moved.peer.index as usize].topics[moved.at as usize].at = place.at;
        }
        let last = holders.is_vacant();
        self.topics -= usize::from(last);
        self.subscriptions -= 1;
        last
    }

    /// A subscription has ended. Returns memory after a burst (L-20): at once when nothing is left, else
    /// when so many are gone that going through the arena is no more work than they were.
    fn give_back(&mut self) {
        self.removed += 1;
        if self.subscriptions == 0 {
            self.tree = RadixTree::new();
            self.removed = 0;
        } else if self.removed >= self.tree.capacity() / 4 {
            self.tree.shrink();
            self.removed = 0;
        }
    }
}

impl Value for Holders {
    #[inline]
    fn is_vacant(&self) -> bool {
        matches!(self, Holders::Nobody)
    }
}

impl Holders {
    #[inline]
    fn as_slice(&self) -> &[Holder] {
        match self {
            Holders::Nobody => &[],
            Holders::One(holder) => std::slice::from_ref(holder),
            Holders::Many(crowd) => &crowd.list,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Holder] {
        match self {
            Holders::Nobody => &mut [],
            Holders::One(holder) => std::slice::from_mut(holder),
            Holders::Many(crowd) => &mut crowd.list,
        }
    }

    fn position(&self, peer: PeerKey) -> Option<usize> {
        match self {
            Holders::Many(crowd) if !crowd.index.is_empty() => crowd
                .index
                .get(&peer.index)
                .map(|at| *at as usize)
                .filter(|at| crowd.list[*at].peer == peer),
            _ => self.as_slice().iter().position(|h| h.peer == peer),
        }
    }

    fn find_mut(&mut self, peer: PeerKey) -> Option<&mut Holder> {
        self.position(peer).map(|at| &mut self.as_mut_slice()[at])
    }

    fn at_mut(&mut self, at: u32) -> &mut Holder {
        &mut self.as_mut_slice()[at as usize]
    }

    /// Returns the holder's place.
    fn push(&mut self, holder: Holder) -> u32 {
        match self {
            Holders::Nobody => {
                *self = Holders::One(holder);
                0
            }
            Holders::One(first) => {
                *self = Holders::Many(Box::new(Crowd {
                    list: vec![*first, holder],
                    index: HashMap::new(),
                }));
                1
            }
            Holders::Many(crowd) => {
                let at = crowd.list.len();
                crowd.list.push(holder);
                if !crowd.index.is_empty() {
                    crowd.index.insert(holder.peer.index, at as u32);
                } else if at == SubscriptionTrie::INDEXED {
                    let places = crowd.list.iter().zip(0..);
                    crowd.index = places.map(|(h, at)| (h.peer.index, at)).collect();
                }
                at as u32
            }
        }
    }

    /// Takes a holder out and returns the one that is in its place now, if any.
    fn swap_remove(&mut self, at: u32) -> Option<Holder> {
        let Holders::Many(crowd) = self else {
            *self = Holders::Nobody;
            return None;
        };
        let gone = crowd.list.swap_remove(at as usize);
        let moved = crowd.list.get(at as usize).copied();
        if crowd.list.len() <= SubscriptionTrie::INDEXED / 2 {
            crowd.index = HashMap::new();
        } else if !crowd.index.is_empty() {
            crowd.index.remove(&gone.peer.index);
            if let Some(moved) = moved {
                crowd.index.insert(moved.peer.index, at);
            }
        }
        if let [only] = crowd.list[..] {
            *self = Holders::One(only);
        } else if crowd.list.len() < crowd.list.capacity() / 4 {
            crowd.list.shrink_to(crowd.list.len() * 2);
            crowd.index.shrink_to(crowd.list.len() * 2);
        }
        moved
    }
}

#[cfg(test)]
impl SubscriptionTrie {
    /// Fails if the two structures disagree.
    fn check(&self) {
        self.tree.check();
        let mut topics = 0;
        let mut subscriptions = 0;
        let mut topic = Vec::new();
        let mut octets = vec![0; self.peers.len()];
        for (node, holders) in self.tree.iter() {
            topics += 1;
            self.tree.key_of(node, &mut topic);
            for (at, holder) in holders.as_slice().iter().enumerate() {
                subscriptions += 1;
                octets[holder.peer.index as usize] += topic.len();
                let held = &self.peers[holder.peer.index as usize];
                assert_eq!(held.generation, holder.peer.generation);
                let place = held.topics[holder.at as usize];
                assert_eq!((place.node, place.at as usize), (node, at));
                assert_eq!(holders.position(holder.peer), Some(at));
            }
            if let Holders::Many(crowd) = holders {
                assert!(crowd.list.len() > 1);
                assert!(crowd.index.is_empty() || crowd.index.len() == crowd.list.len());
            }
        }
        assert_eq!(self.topics, topics);
        assert_eq!(self.subscriptions, subscriptions);
        let held: usize = self.peers.iter().map(|held| held.topics.len()).sum();
        assert_eq!(held, subscriptions);
        assert!(self.peers.iter().map(|held| held.octets).eq(octets));
    }

    fn matches(&mut self, first_frame: &[u8]) -> Vec<u32> {
        let mut matched = Vec::new();
        self.for_each_match(first_frame, |peer| matched.push(peer.index));
        matched.sort_unstable();
        matched
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(index: u32) -> PeerKey {
        PeerKey {
            index,
            generation: 1,
        }
    }

    fn unlimited() -> SubscriptionTrie {
        SubscriptionTrie::new(TrieConfig::UNLIMITED)
    }

    #[test]
    fn each_peer_is_matched_once() {
        let mut trie = unlimited();
        for topic in ["", "a", "ab", "abc", "b"] {
            trie.subscribe(peer(0), topic.as_bytes()).unwrap();
        }
        trie.subscribe(peer(1), b"ab").unwrap();
        assert_eq!(trie.matches(b"abx"), [0, 1]);
        assert_eq!(trie.matches(b"b"), [0]);
        assert_eq!(trie.match_count(b""), 1);
        assert!(trie.any_match(b"zzz"));
        assert_eq!(trie.holders_of(b"ab"), 2);
        assert!(trie.is_held_by(peer(1), b"ab"));
        assert!(!trie.is_held_by(peer(1), b"a"));
        trie.check();
    }

    #[test]
    fn a_repetition_is_cancelled_at_once_unless_counted() {
        for counted in [false, true] {
            let mut trie = SubscriptionTrie::new(TrieConfig {
                counted,
                ..TrieConfig::UNLIMITED
            });
            assert_eq!(trie.subscribe(peer(0), b"t"), Ok(true));
            assert_eq!(trie.subscribe(peer(0), b"t"), Ok(false));
            assert_eq!(trie.subscribe(peer(1), b"t"), Ok(false));
            if counted {
                assert_eq!(trie.cancel(peer(0), b"t"), Cancelled::StillHeldByPeer);
            }
            assert_eq!(trie.cancel(peer(0), b"t"), Cancelled::LastOfPeer);
            assert_eq!(trie.cancel(peer(0), b"t"), Cancelled::Unknown);
            assert_eq!(trie.cancel(peer(1), b"t"), Cancelled::LastOfTopic);
            trie.check();
        }
    }

    #[test]
    fn what_is_beyond_a_limit_changes_nothing() {
        let mut trie = SubscriptionTrie::new(TrieConfig {
            counted: false,
            topics_per_peer: 3,
            octets_per_peer: 6,
            octets_per_topic: 4,
        });
        let refused = trie.subscribe(peer(0), b"12345");
        assert_eq!(refused, Err(LimitError::TopicTooLong));
        assert_eq!(trie.subscribe(peer(0), b"1234"), Ok(true));
        let refused = trie.subscribe(peer(0), b"123");
        assert_eq!(refused, Err(LimitError::TooManyOctets));
        assert_eq!(trie.subscribe(peer(0), b"12"), Ok(true));
        assert_eq!(trie.subscribe(peer(0), b""), Ok(true));
        assert_eq!(trie.subscribe(peer(0), b"12"), Ok(false), "no new topic");
        let refused = trie.subscribe(peer(0), b"");
        assert_eq!(refused, Ok(false));
        assert_eq!(trie.topic_count_of(peer(0)), 3);
        assert_eq!(trie.octets_of(peer(0)), 6);
        assert_eq!(trie.cancel(peer(0), b"1234"), Cancelled::LastOfTopic);
        assert_eq!(trie.subscribe(peer(0), b"x"), Ok(true));
        let refused = trie.subscribe(peer(0), b"y");
        assert_eq!(refused, Err(LimitError::TooManyTopics));
        assert_eq!(
            trie.subscribe(peer(1), b"y"),
            Ok(true),
            "limits are per peer"
        );
        trie.check();
    }

    #[test]
    fn a_new_owner_of_a_slot_inherits_nothing() {
        let mut trie = unlimited();
        let new = PeerKey {
            generation: 2,
            ..peer(0)
        };
        trie.subscribe(peer(0), b"old").unwrap();
        assert_eq!(trie.cancel(new, b"old"), Cancelled::Unknown);
        assert_eq!(trie.topic_count_of(new), 0);
        trie.remove_peer(new, |_| panic!("not this one's"));
        assert_eq!(trie.subscribe(new, b"new"), Ok(true));
        assert_eq!(trie.cancel(peer(0), b"new"), Cancelled::Unknown);
        trie.remove_peer(peer(0), |_| panic!("not this one's"));
        assert!(!trie.any_match(b"old"));
        let mut matched = Vec::new();
        trie.for_each_match(b"new", |peer| matched.push(peer));
        assert_eq!(matched, [new]);
        trie.check();
    }

    #[test]
    fn a_crowd_is_indexed_and_dissolves() {
        let mut trie = unlimited();
        for i in 0..100 {
            trie.subscribe(peer(i), b"").unwrap();
            trie.subscribe(peer(i), b"crowd").unwrap();
            trie.check();
        }
        assert_eq!(trie.matches(b"crowd").len(), 100);
        for i in (0..100).map(|i| i * 37 % 100) {
            assert_ne!(trie.cancel(peer(i), b"crowd"), Cancelled::Unknown);
            trie.check();
        }
        for i in (0..100).map(|i| i * 73 % 100) {
            trie.remove_peer(peer(i), |topic| assert!(topic.is_empty()));
            trie.check();
        }
        assert_eq!((trie.topics(), trie.subscriptions()), (0, 0));
    }

    #[test]
    fn a_hundred_thousand_topics_come_and_go() {
        const TOPICS: u32 = 100_000;
        let mut trie = unlimited();
        let topic = |i: u32| format!("sensor/{:05}/temperature", i.wrapping_mul(7919) % TOPICS);
        for i in 0..TOPICS {
            assert_eq!(trie.subscribe(peer(i % 100), topic(i).as_bytes()), Ok(true));
        }
        assert_eq!(trie.topics(), TOPICS as usize);
        assert!(trie.tree.node_count() < 2 * TOPICS as usize);
        for i in (0..TOPICS).step_by(997) {
            assert_eq!(trie.matches(topic(i).as_bytes()), [i % 100]);
        }
        let full = trie.tree.capacity();
        for p in 0..100 {
            let mut unheld = 0;
            trie.remove_peer(peer(p), |_| unheld += 1);
            assert_eq!(unheld, TOPICS / 100);
        }
        assert!(trie.tree.capacity() < full / 1000);
        trie.check();
    }

    /// What a message costs depends on its topic and its receivers, not on who wants what else.
    #[test]
    fn a_million_topics_are_matched_with_little_more_work_than_a_thousand() {
        let shapes: [fn(u32) -> Vec<u8>; 2] = [
            |n| format!("sensor/{n:06}/temperature").into_bytes(),
            |n| {
                let spread = u64::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                [spread, spread.rotate_left(29), !spread]
                    .map(u64::to_be_bytes)
                    .concat()
            },
        ];
        for topic in shapes {
            let work = [1_000, 1_000_000].map(|topics| {
                let mut trie = unlimited();
                for n in 0..topics {
                    trie.subscribe(peer(n % 100), &topic(n)).unwrap();
                }
                assert_eq!(trie.subscriptions(), topics as usize);
                let asked = (0..topics).step_by(topics as usize / 1_000);
                super::super::radix::work::take();
                let mut matched = 0;
                for n in asked {
                    let message = [&topic(n)[..], b"/and more"].concat();
                    trie.for_each_match(&message, |_| matched += 1);
                }
                assert_eq!(matched, 1_000);
                super::super::radix::work::take()
            });
            println!("steps for 1000 messages: {work:?}");
            assert!(work[1] <= 2 * work[0], "{work:?}");
        }
    }

    #[test]
    fn a_peer_is_removed_part_by_part() {
        let mut trie = unlimited();
        for n in 0..1_000u32 {
            trie.subscribe(peer(0), &n.to_be_bytes()).unwrap();
            trie.subscribe(peer(1), &(n / 2).to_be_bytes()).unwrap();
        }
        let mut parts = 0;
        let mut unheld = 0;
        while trie.remove_part(peer(0), 300, |_, last| unheld += usize::from(last)) {
            parts += 1;
            assert_eq!(trie.topic_count_of(peer(0)), 1_000 - 300 * parts);
            trie.check();
        }
        assert_eq!((parts, unheld), (3, 500));
        assert_eq!((trie.topic_count_of(peer(0)), trie.topics()), (0, 500));
        trie.check();
    }

    #[test]
    fn nodes_are_small() {
        assert_eq!(RadixTree::<Holders>::NODE_SIZE, 72);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Subscribe(u32, Vec<u8>),
        Cancel(u32, Vec<u8>),
        Remove(u32),
    }

    /// Topics that are prefixes of one another, the empty one, and now and then a long binary one.
    fn topics() -> impl Strategy<Value = Vec<u8>> {
        let few = prop::sample::select(vec![0, b'a', b'b', 255]);
        prop_oneof![
            8 => prop::collection::vec(few, 0..4),
            1 => prop::collection::vec(any::<u8>(), 0..40),
            1 => (0..60usize).prop_map(|len| vec![b'a'; len]),
        ]
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            6 => (0..5u32, topics()).prop_map(|(p, t)| Op::Subscribe(p, t)),
            3 => (0..5u32, topics()).prop_map(|(p, t)| Op::Cancel(p, t)),
            1 => (0..5u32).prop_map(Op::Remove),
        ];
        prop::collection::vec(op, 0..120)
    }

    proptest! {
        #[test]
        fn behaves_as_a_list_of_pairs(
            ops in ops(),
            probes in prop::collection::vec(topics(), 1..6),
            counted in any::<bool>(),
            limited in any::<bool>(),
        ) {
            let config = TrieConfig {
                counted,
                ..if limited {
                    TrieConfig { counted, topics_per_peer: 6, octets_per_peer: 40, octets_per_topic: 30 }
                } else {
                    TrieConfig::UNLIMITED
                }
            };
            let mut trie = SubscriptionTrie::new(config);
            // Every reference, in no order.
            let mut model: Vec<(u32, Vec<u8>)> = Vec::new();
            let distinct = |model: &[(u32, Vec<u8>)], p: u32| {
                let mut own: Vec<Vec<u8>> = model.iter().filter(|(q, _)| *q == p).map(|(_, t)| t.clone()).collect();
                own.sort();
                own.dedup();
                own
            };
            for op in ops {
                match op {
                    Op::Subscribe(p, topic) => {
                        let own = distinct(&model, p);
                        let held = own.contains(&topic);
                        let octets: usize = own.iter().map(Vec::len).sum();
                        let expected = if held {
                            Ok(false)
                        } else if topic.len() > config.octets_per_topic {
                            Err(LimitError::TopicTooLong)
                        } else if own.len() == config.topics_per_peer {
                            Err(LimitError::TooManyTopics)
                        } else if octets + topic.len() > config.octets_per_peer {
                            Err(LimitError::TooManyOctets)
                        } else {
                            Ok(model.iter().all(|(_, t)| *t != topic))
                        };
                        prop_assert_eq!(trie.subscribe(peer(p), &topic), expected);
                        if expected.is_ok() && (counted || !held) {
                            model.push((p, topic));
                        }
                    }
                    Op::Cancel(p, topic) => {
                        let at = model.iter().position(|(q, t)| *q == p && *t == topic);
                        if let Some(at) = at {
                            model.swap_remove(at);
                        }
                        let expected = if at.is_none() {
                            Cancelled::Unknown
                        } else if model.iter().any(|(q, t)| *q == p && *t == topic) {
                            Cancelled::StillHeldByPeer
                        } else if model.iter().any(|(_, t)| *t == topic) {
                            Cancelled::LastOfPeer
                        } else {
                            Cancelled::LastOfTopic
                        };
                        prop_assert_eq!(trie.cancel(peer(p), &topic), expected);
                    }
                    Op::Remove(p) => {
                        let own = distinct(&model, p);
                        model.retain(|(q, _)| *q != p);
                        let expected: Vec<_> = own.into_iter().filter(|t| model.iter().all(|(_, u)| t != u)).collect();
                        let mut unheld = Vec::new();
                        trie.remove_peer(peer(p), |topic| unheld.push(topic.to_vec()));
                        unheld.sort();
                        prop_assert_eq!(unheld, expected);
                    }
                }
                trie.check();
                for p in 0..5 {
                    let own = distinct(&model, p);
                    prop_assert_eq!(trie.topic_count_of(peer(p)), own.len());
                    prop_assert_eq!(trie.octets_of(peer(p)), own.iter().map(Vec::len).sum::<usize>());
                }
                for probe in &probes {
                    let mut expected: Vec<u32> = model.iter().filter(|(_, t)| probe.starts_with(t)).map(|(p, _)| *p).collect();
                    expected.sort_unstable();
                    expected.dedup();
                    prop_assert_eq!(trie.any_match(probe), !expected.is_empty());
                    prop_assert_eq!(trie.match_count(probe), expected.len());
                    prop_assert_eq!(trie.matches(probe), expected);
                }
            }
        }
    }
}
