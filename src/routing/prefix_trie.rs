//! Prefix subscriptions of many peers: the publisher's side of topic matching (29/PUBSUB).
//!
//! Two structures point into each other. A [`RadixTree`] has a node per topic with the list of its
//! holders; a table has, per peer, the list of the nodes it holds. Each entry of either list knows
//! its counterpart's place, so that a subscription is taken out of both in O(1), and a peer is removed
//! in time proportional to its own topics (L-88). A topic with many holders keeps an index of them.
//!
//! Matching walks the tree along the first frame and hands out the holders of each node it meets; among
//! thousands of topics it asks a [`PrefixIndex`] instead, which also tells the only holder, as most topics
//! have; unless a frame may have topics of so many lengths that there would be more to ask than to walk. As long as a
//! message begins with one topic only, which is nearly always so, its list is read from front to back and
//! nothing else is touched: a peer is in a list once. (If everybody subscribes to everything that is the
//! root's list.) From the second topic on, peers are told apart by a stamp in a table by slot number. The
//! number of other topics does not matter.
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
//! 154 octets per subscription for 24 random octets, 107 for `sensor/000000/temperature`, 102 for
//! `site/49/rack/199/host99/m`, the topic's own octets included. The parts: a node of 72 octets, of which
//! there are 1.07 to 1.3 per topic, and what tells its children apart; some 33 in the index, or 5 to 6 if the topic is
//! made of parts that others have; and 8 in the peer's list. A topic's second
//! holder adds a list (72 octets), every holder 16 in it and 8 in the peer's, and about as much again in
//! the index of a topic with many. A topic of more than 64 octets takes some 40 more for each 64 that no
//! other shares. The arena doubles when it grows, so that up to half of it is not in use (and not
//! resident). It is freed with the last subscription; its unused end goes when a peer leaves that held a
//! good part of it. What stays is 56 octets per slot.

use std::collections::HashMap;
use std::fmt;

use super::prefix_index::{self, Begun, Likely, Met, PrefixIndex, Prefixes, LONGEST, LONGEST_TAIL};
use super::radix::{self, NodeId, RadixTree, Value, ROOT};
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
    /// 2³¹ nodes, or 2³² equal subscriptions where they are counted.
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
/// 102 to 154 octets per subscription to a topic of 24 octets that nobody else holds, the topic
/// included; see the file's header.
#[derive(Debug)]
pub(crate) struct SubscriptionTrie {
    config: TrieConfig,
    tree: RadixTree<Holders>,
    /// Of all topics but the empty one, if there are many.
    index: Option<Box<PrefixIndex>>,
    /// See [`SubscriptionTrie::MANY`].
    many: usize,
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

    /// Topics from which on they are indexed; the index goes at a quarter. Among a thousand a match takes 0.6 to 1.1 times as
    /// long with it if topics have one length (34 ns instead of 56, 31 instead of 30), and 1.2 to 1.5 times if they have many
    /// (48 instead of 32 for 8 to 24 letters); among ten thousand less, or about the same (AMD EPYC).
    const MANY: usize = 4096;

    /// Topics of up to 64 octets from which on the index asks filters which lengths a topic may have, as a multiple of those
    /// that it begins with. A walk among fewer is as fast, or faster: among 10 000 topics of 4 to 40 letters it takes 73 ns,
    /// and the filters with what they leave to look for 107; among 100 000 it is 326 and 195. Of 8 to 24 letters it is 73 and
    /// 64, 352 and 83.
    const FILTERED: usize = 4;

    /// No subscriptions.
    pub(crate) fn new(config: TrieConfig) -> Self {
        SubscriptionTrie {
            config,
            tree: RadixTree::new(),
            index: None,
            many: Self::MANY,
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
    /// owner that calls [`SubscriptionTrie::remove_peer_each`] leaves nothing.
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
        let before = holders.met(node);
        let at = holders.push(Holder {
            peer,
            at: held.topics.len() as u32,
            count: 1,
        });
        let after = holders.met(node);
        held.topics.push(Place { node, at });
        held.octets += topic.len();
        self.topics += usize::from(first);
        self.subscriptions += 1;
        if self.topics >= self.many && self.index.is_none() {
            self.index_all();
        } else {
            self.index(topic, before, after);
        }
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
        let last = self.release(place, topic);
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

    /// Takes a peer out with all its topics, and calls `each` for each of them, with whether nobody holds it any more.
    pub(crate) fn remove_peer_each(&mut self, peer: PeerKey, each: impl FnMut(&[u8], bool)) {
        self.remove_part(peer, usize::MAX, each);
    }

    /// As [`SubscriptionTrie::remove_peer_each`], but of at most so many topics, of which one counts again for each 256
    /// octets it has. Returns whether the peer
    /// holds more: one with a million must not keep others from this structure until all are gone.
    pub(crate) fn remove_part(
        &mut self,
        peer: PeerKey,
        at_most: usize,
        mut each: impl FnMut(&[u8], bool),
    ) -> bool {
        let index = peer.index as usize;
        let mut topic = Vec::new();
        let mut left = at_most;
        while left > 0 {
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
            left = left.saturating_sub(1 + topic.len() / LONG);
            self.peers[index].octets -= topic.len();
            let last = self.release(place, &topic);
            each(&topic, last);
            self.give_back();
        }
        true
    }

    /// Calls `matched` once for every peer that holds a prefix of `first_frame`.
    #[inline]
    pub(crate) fn for_each_match(&mut self, first_frame: &[u8], matched: impl FnMut(PeerKey)) {
        if self.index.is_some() {
            return self.for_each_indexed(first_frame, matched);
        }
        self.for_each_on_the_way(first_frame, matched);
    }

    #[inline]
    fn for_each_on_the_way(&mut self, first_frame: &[u8], matched: impl FnMut(PeerKey)) {
        let topics = walk(&self.tree, first_frame);
        hand_out(topics, &mut self.stamps, &mut self.stamp, matched);
    }

    /// As [`SubscriptionTrie::for_each_match`] for one frame after the other: adds the peers of each to `matched`, and where
    /// they end to `ends`. Many topics are in no cache: what these frames need of them is waited for together.
    pub(crate) fn match_each(
        &mut self,
        first_frames: &[&[u8]],
        matched: &mut Vec<PeerKey>,
        ends: &mut Vec<usize>,
    ) {
        if self.index.is_some() {
            return self.match_each_indexed(first_frames, matched, ends);
        }
        for frame in first_frames {
            let topics = walk(&self.tree, frame);
            hand_out(topics, &mut self.stamps, &mut self.stamp, |peer| {
                matched.push(peer);
            });
            ends.push(matched.len());
        }
    }

    #[inline(never)]
    fn match_each_indexed(
        &mut self,
        first_frames: &[&[u8]],
        matched: &mut Vec<PeerKey>,
        ends: &mut Vec<usize>,
    ) {
        let Some(index) = &self.index else {
            return;
        };
        let is_vacant = self.tree.root().is_vacant();
        let mut frames = first_frames.iter().copied();
        while frames.len() > 0 {
            let mut ahead = index.ahead();
            let mut begun = [Together::Walk; TOGETHER];
            let mut len = 0;
            // Ends with the last that there is room for.
            for (begun, frame) in begun.iter_mut().zip(frames.clone()) {
                if !ahead.has_room() {
                    break;
                }
                if let Some(likely) = index.likely(frame) {
                    let leads_on = self.tree.leads_on(frame);
                    *begun = match is_vacant && leads_on && index.is_for_turns(frame, likely) {
                        true => Together::InTurn(likely),
                        false => Together::Look(leads_on.then(|| ahead.begin(frame, likely))),
                    };
                }
                len += 1;
            }
            ahead.touch();
            for (begun, frame) in begun[..len].iter().zip(&mut frames) {
                let found = |peer| matched.push(peer);
                match begun {
                    Together::Walk => {
                        let topics = walk(&self.tree, frame);
                        hand_out(topics, &mut self.stamps, &mut self.stamp, found);
                    }
                    Together::InTurn(likely) => {
                        let topics = index.prefixes_in_turn(frame, *likely);
                        let topics = topics.map(|met| Wanted::of(met, &self.tree, &self.peers));
                        hand_out_all(topics, &mut self.stamps, &mut self.stamp, found);
                    }
                    Together::Look(begun) => {
                        let others = begun.map(|begun| ahead.prefixes_of(begun, frame));
                        let topics = Indexed::new(&self.tree, &self.peers, frame, others);
                        hand_out(topics, &mut self.stamps, &mut self.stamp, found);
                    }
                }
                ends.push(matched.len());
            }
        }
    }

    // Apart from the walk along the tree, which is to stay small.
    #[inline(never)]
    fn for_each_indexed(&mut self, first_frame: &[u8], matched: impl FnMut(PeerKey)) {
        let Some(index) = &self.index else {
            return;
        };
        let is_vacant = self.tree.root().is_vacant();
        if is_vacant && !self.tree.leads_on(first_frame) {
            return;
        }
        let Some(likely) = index.likely(first_frame) else {
            return self.for_each_on_the_way(first_frame, matched);
        };
        if is_vacant {
            if let Some(only) = index.only_prefix_of(first_frame, likely) {
                if let Some(met) = only {
                    Wanted::of(met, &self.tree, &self.peers).each(matched);
                }
                return;
            }
            if index.is_for_turns(first_frame, likely) {
                let topics = index.prefixes_in_turn(first_frame, likely);
                let topics = topics.map(|met| Wanted::of(met, &self.tree, &self.peers));
                return hand_out_all(topics, &mut self.stamps, &mut self.stamp, matched);
            }
        }
        let topics = Indexed::among(&self.tree, &self.peers, index, first_frame, likely);
        hand_out(topics, &mut self.stamps, &mut self.stamp, matched);
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
        let walk = || walk(&self.tree, first_frame).next().is_some();
        let Some(index) = &self.index else {
            return walk();
        };
        let Some(likely) = index.likely(first_frame) else {
            return walk();
        };
        let mut topics = Indexed::among(&self.tree, &self.peers, index, first_frame, likely);
        topics.next().is_some()
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

    /// Takes a holder out of a topic's list, and the topic out with its last; the peer's own entry is gone
    /// already. Returns whether it was the last.
    fn release(&mut self, place: Place, topic: &[u8]) -> bool {
        let holders = self.tree.value_mut(place.node);
        let before = holders.met(place.node);
        if let Some(moved) = holders.swap_remove(place.at) {
            // Another peer's, whose list is whole: a topic has a peer as its holder once.
            self.peers[moved.peer.index as usize].topics[moved.at as usize].at = place.at;
        }
        let last = holders.is_vacant();
        let after = holders.met(place.node);
        self.subscriptions -= 1;
        self.index(topic, before, after);
        if last {
            self.topics -= 1;
            self.tree.prune(place.node);
            if self.topics < self.many / 4 {
                self.index = None;
            }
        }
        last
    }

    /// Has the index follow a change of who holds a topic, if there is an index.
    fn index(&mut self, topic: &[u8], before: Option<Met>, after: Option<Met>) {
        let Some(index) = &mut self.index else {
            return;
        };
        let head = match (before, after) {
            (None, Some(met)) => index.insert(topic, met),
            (Some(from), Some(to)) if from != to => index.change(topic, from, to),
            (Some(met), None) => {
                index.remove(topic, met);
                None
            }
            _ => None,
        };
        if let Some(head) = head {
            settle(index, &self.tree, &topic[..head]);
        }
    }

    fn index_all(&mut self) {
        let mut index = Box::new(PrefixIndex::new(Self::FILTERED * self.many));
        let mut topic = Vec::new();
        for (node, holders) in self.tree.iter() {
            if let Some(met) = holders.met(node) {
                // Of a long one not all, which would take as long as some hundred others.
                self.tree.head_of(node, LONGEST + 1, &mut topic);
                if let Some(head) = index.insert(&topic, met) {
                    settle(&mut index, &self.tree, &topic[..head]);
                }
            }
        }
        self.index = Some(index);
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

/// Puts topics in order that begin so, unless there are more than that pays for.
fn settle(index: &mut PrefixIndex, tree: &RadixTree<Holders>, head: &[u8]) {
    let mut topic = Vec::new();
    for node in tree.below(head, head.len() + LONGEST_TAIL, SETTLED) {
        if let Some(met) = tree.value(node).met(node) {
            tree.key_of(node, &mut topic);
            index.settle(&topic, met);
        }
    }
}

/// Nodes that are looked at to put the topics in order that begin as many others do: some 20 µs.
const SETTLED: usize = 256;

/// Messages that are matched together at most. More of them would not wait less: 70 ns each of 32 or of 64, where it is 79 of
/// 16 and 90 of 8 (AMD EPYC, a million topics).
pub(crate) const TOGETHER: usize = 32;

/// Octets that take about as long to remove as a topic does.
const LONG: usize = 256;

/// Who wants a topic that a frame begins with.
enum Wanted<'a> {
    ByOnly(PeerKey),
    By(&'a [Holder]),
}

/// How one of several messages is matched.
#[derive(Clone, Copy)]
enum Together {
    /// By what has begun, if one of its topics goes on beyond the empty one.
    Look(Option<Begun>),
    /// By the index, when it is its turn: for more topics than are begun.
    InTurn(Likely),
    Walk,
}

/// The topics that a frame begins with, in the tree.
#[inline(always)]
fn walk<'a>(tree: &'a RadixTree<Holders>, frame: &'a [u8]) -> impl Iterator<Item = Wanted<'a>> {
    let topics = tree.prefixes_of(frame);
    topics.map(|holders| Wanted::By(holders.as_slice()))
}

/// The topics that a frame begins with, of which there is an index.
struct Indexed<'a> {
    tree: &'a RadixTree<Holders>,
    peers: &'a [Held],
    /// The empty one, if somebody holds it.
    root: Option<&'a Holders>,
    others: Option<Prefixes<'a>>,
    frame: &'a [u8],
    /// All of them once more, for those that are too long for the index.
    long: Option<radix::Prefixes<'a, Holders>>,
}

impl<'a> Indexed<'a> {
    #[inline(always)]
    fn among(
        tree: &'a RadixTree<Holders>,
        peers: &'a [Held],
        index: &'a PrefixIndex,
        frame: &'a [u8],
        likely: Likely,
    ) -> Self {
        let leads_on = tree.leads_on(frame);
        let others = leads_on.then(|| index.prefixes_of(frame, likely));
        Indexed::new(tree, peers, frame, others)
    }

    /// With what the index tells of all but the empty one.
    #[inline(always)]
    fn new(
        tree: &'a RadixTree<Holders>,
        peers: &'a [Held],
        frame: &'a [u8],
        others: Option<Prefixes<'a>>,
    ) -> Self {
        Indexed {
            tree,
            peers,
            root: Some(tree.root()).filter(|holders| !holders.is_vacant()),
            others,
            frame,
            long: None,
        }
    }

    /// The next topic that is too long for the index.
    #[cold]
    #[inline(never)]
    fn next_long(&mut self) -> Option<Wanted<'a>> {
        let (tree, frame) = (self.tree, self.frame);
        let long = self.long.get_or_insert_with(|| tree.prefixes_of(frame));
        loop {
            let (holders, lacks) = long.next_and_rest()?;
            if frame.len() - lacks > LONGEST {
                return Some(Wanted::By(holders.as_slice()));
            }
        }
    }
}

impl<'a> Iterator for Indexed<'a> {
    type Item = Wanted<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Wanted<'a>> {
        if let Some(holders) = self.root.take() {
            return Some(Wanted::By(holders.as_slice()));
        }
        let others = self.others.as_mut()?;
        let Some(met) = others.next() else {
            return others.goes_on().then(|| self.next_long()).flatten();
        };
        Some(Wanted::of(met, self.tree, self.peers))
    }
}

/// Calls `matched` once for each peer that wants one of these topics.
#[inline]
fn hand_out<'a>(
    mut topics: impl Iterator<Item = Wanted<'a>>,
    stamps: &mut [u64],
    stamp: &mut u64,
    matched: impl FnMut(PeerKey),
) {
    let Some(first) = topics.next() else {
        return;
    };
    let Some(second) = topics.next() else {
        return first.each(matched);
    };
    let others = [first, second].into_iter().chain(topics);
    hand_out_all(others, stamps, stamp, matched);
}

/// As [`hand_out`], for topics that are likely to be several.
#[inline(always)]
fn hand_out_all<'a>(
    topics: impl Iterator<Item = Wanted<'a>>,
    stamps: &mut [u64],
    stamp: &mut u64,
    mut matched: impl FnMut(PeerKey),
) {
    // Not to be reached again in the life of a process, at 2⁶⁴ messages.
    *stamp += 1;
    let stamp = *stamp;
    // Not a loop, which would ask the iterator for one topic after the other.
    topics.for_each(|topic| {
        topic.each(|peer| {
            let last = &mut stamps[peer.index as usize];
            if *last != stamp {
                *last = stamp;
                matched(peer);
            }
        });
    });
}

impl<'a> Wanted<'a> {
    /// Who is met in the index.
    #[inline(always)]
    fn of(met: Met, tree: &'a RadixTree<Holders>, peers: &[Held]) -> Self {
        match met.held() {
            prefix_index::Held::ByThoseAt(node) => Wanted::By(tree.value(node).as_slice()),
            // What an earlier owner of the slot may have left went with its first subscription.
            prefix_index::Held::ByOnly(index) => Wanted::ByOnly(PeerKey {
                index,
                generation: peers[index as usize].generation,
            }),
        }
    }

    #[inline]
    fn each(self, mut matched: impl FnMut(PeerKey)) {
        match self {
            Wanted::ByOnly(peer) => matched(peer),
            Wanted::By(holders) => holders.iter().for_each(|holder| matched(holder.peer)),
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
    /// What the index tells of those at this node. Nothing of those who want everything.
    fn met(&self, node: NodeId) -> Option<Met> {
        match self {
            _ if node == ROOT => None,
            Holders::Nobody => None,
            Holders::One(holder) => {
                Met::by_only(holder.peer.index).or_else(|| Met::by_those_at(node))
            }
            Holders::Many(_) => Met::by_those_at(node),
        }
    }

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
        let indexed = self.topics >= self.many;
        assert!(!indexed || self.index.is_some());
        assert!(indexed || self.topics >= self.many / 4 || self.index.is_none());
        if let Some(index) = &self.index {
            let topics = self.tree.iter().filter_map(|(node, holders)| {
                let mut topic = Vec::new();
                self.tree.key_of(node, &mut topic);
                Some((topic, holders.met(node)?))
            });
            let topics: Vec<_> = topics.collect();
            index.check(topics.iter().map(|(topic, met)| (&topic[..], *met)));
        }
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
mod tests;
