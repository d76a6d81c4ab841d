//! A subscriber's own prefixes, counted: the SUB side of topic matching (29/PUBSUB).
//!
//! # What goes upstream
//!
//! Two equal subscriptions need two cancellations, and the count is kept here, where the application
//! makes them. Every subscription is sent upstream, repetitions included (an XPUB in verbose mode shows
//! them), but only the last cancellation, and a fresh publisher (after a reconnect, say) is sent every
//! distinct topic once. Publishers must not count, then, and do not: see
//! [`SubscriptionTrie`](super::SubscriptionTrie).
//!
//! What this is not: the exact-match promise (L-94), which is about the publisher, and the inversion
//! of matching, which is the caller's one `!`.

use super::radix::{RadixTree, Value};

/// The prefixes a socket has subscribed to.
#[derive(Debug)]
pub(crate) struct TopicSet {
    tree: RadixTree<References>,
    topics: usize,
}

/// What taking one reference to a topic away did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Unsubscribed {
    /// There was none. Not an error; nothing has changed and nothing goes upstream.
    NotSubscribed,
    /// There are more; nothing goes upstream.
    StillHeld,
    /// It was the last: the topic is to be cancelled upstream.
    Last,
}

/// How often a topic was subscribed to.
#[derive(Debug, Default)]
struct References(u64);

impl Value for References {
    #[inline]
    fn is_vacant(&self) -> bool {
        self.0 == 0
    }
}

impl TopicSet {
    /// No topics: nothing matches.
    pub(crate) fn new() -> Self {
        TopicSet {
            tree: RadixTree::new(),
            topics: 0,
        }
    }

    /// Adds a reference to a topic. Returns whether it is the first.
    pub(crate) fn subscribe(&mut self, topic: &[u8]) -> bool {
        let node = self.tree.insert(topic);
        let references = self.tree.value_mut(node);
        references.0 += 1;
        let first = references.0 == 1;
        self.topics += usize::from(first);
        first
    }

    /// Takes a reference to a topic away.
    pub(crate) fn unsubscribe(&mut self, topic: &[u8]) -> Unsubscribed {
        let Some(node) = self.tree.find(topic) else {
            return Unsubscribed::NotSubscribed;
        };
        let references = self.tree.value_mut(node);
        match references.0 {
            0 => Unsubscribed::NotSubscribed,
            1 => {
                references.0 = 0;
                self.topics -= 1;
                self.tree.prune(node);
                if self.topics == 0 {
                    self.tree = RadixTree::new();
                }
                Unsubscribed::Last
            }
            _ => {
                references.0 -= 1;
                Unsubscribed::StillHeld
            }
        }
    }

    /// Whether a topic is a prefix of `first_frame`. Stops at the shortest.
    #[inline]
    pub(crate) fn matches(&self, first_frame: &[u8]) -> bool {
        self.tree.prefixes_of(first_frame).next().is_some()
    }

    /// Every distinct topic once, in no order: what a fresh publisher is to be sent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.tree.iter().map(|(node, _)| {
            let mut topic = Vec::new();
            self.tree.key_of(node, &mut topic);
            topic
        })
    }

    /// The number of distinct topics.
    pub(crate) fn len(&self) -> usize {
        self.topics
    }

    /// Whether there are no topics, so that nothing matches.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.topics == 0
    }
}

impl Default for TopicSet {
    fn default() -> Self {
        TopicSet::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_first_and_the_last_reference_go_upstream() {
        let mut set = TopicSet::new();
        assert!(set.subscribe(b"a"));
        assert!(!set.subscribe(b"a"));
        assert_eq!(set.iter().collect::<Vec<_>>(), [b"a"]);
        assert_eq!(set.unsubscribe(b"a"), Unsubscribed::StillHeld);
        assert!(set.matches(b"abc"));
        assert_eq!(set.unsubscribe(b"a"), Unsubscribed::Last);
        assert_eq!(set.unsubscribe(b"a"), Unsubscribed::NotSubscribed);
        assert!(!set.matches(b"abc"));
    }

    #[test]
    fn the_empty_topic_matches_everything() {
        let mut set = TopicSet::new();
        assert!(!set.matches(b""));
        assert!(set.subscribe(b""));
        assert!(set.matches(b""));
        assert!(set.matches(b"anything"));
        assert_eq!(set.iter().collect::<Vec<_>>(), [b""]);
    }

    #[test]
    fn a_branching_point_is_no_topic() {
        let mut set = TopicSet::new();
        set.subscribe(b"abc");
        set.subscribe(b"abd");
        assert!(!set.matches(b"ab"));
        assert_eq!(set.unsubscribe(b"ab"), Unsubscribed::NotSubscribed);
        assert_eq!(set.len(), 2);
    }

    proptest! {
        #[test]
        fn behaves_as_a_list_of_topics(
            ops in prop::collection::vec((any::<bool>(), prop::collection::vec(prop::sample::select(vec![0, b'a', 255]), 0..4)), 0..120),
            probes in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![0, b'a', 255]), 0..6), 1..8),
        ) {
            let mut set = TopicSet::new();
            let mut model: Vec<Vec<u8>> = Vec::new();
            for (add, topic) in ops {
                let held = model.iter().filter(|t| **t == topic).count();
                if add {
                    prop_assert_eq!(set.subscribe(&topic), held == 0);
                    model.push(topic);
                } else {
                    let expected = match held {
                        0 => Unsubscribed::NotSubscribed,
                        1 => Unsubscribed::Last,
                        _ => Unsubscribed::StillHeld,
                    };
                    prop_assert_eq!(set.unsubscribe(&topic), expected);
                    if let Some(at) = model.iter().position(|t| *t == topic) {
                        model.swap_remove(at);
                    }
                }
                set.tree.check();
                for probe in &probes {
                    prop_assert_eq!(set.matches(probe), model.iter().any(|t| probe.starts_with(t)));
                }
            }
            model.sort();
            model.dedup();
            let mut all: Vec<_> = set.iter().collect();
            all.sort();
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(all, model);
        }
    }
}
