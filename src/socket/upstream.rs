//! What a subscriber's publishers are to know: the subscriptions of SUB and XSUB, the groups of DISH.
//!
//! State and not traffic: it is never dropped at a high-water mark, and it is told to every publisher
//! before anything else, also to one that comes back.
//!
//! A publisher that does not read cannot make this grow: once there is much that waits to be written to it, what
//! changes is only noted as the difference between what it was told and what it should know, in which
//! a subscription and its end cancel each other out. So that is bounded by what was and is subscribed to. It is told
//! when there is room again; repetitions are left out then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use bytes::BytesMut;

use crate::config::SubscriptionLimits;
use crate::error::SubscribeError;
use crate::io::{
    encode_membership, encode_subscription, Hooks, Link, PeerVersion, PipeKey, Port,
    SubscriptionLimit,
};
use crate::routing::{TopicSet, Unsubscribed};
use crate::sync::{lock, Mutex};

/// See the module.
#[derive(Debug)]
pub(super) struct Upstream {
    form: Form,
    limits: SubscriptionLimits,
    state: Mutex<State>,
}

/// What publishers are told with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// SUBSCRIBE and CANCEL.
    Topics,
    /// JOIN and LEAVE.
    Groups,
}

#[derive(Debug)]
struct State {
    topics: TopicSet,
    /// In all different topics.
    octets: u64,
    links: HashMap<PipeKey, Told>,
    inproc: HashMap<PipeKey, Neighbour>,
}

/// A publisher behind a connection.
#[derive(Debug)]
struct Told {
    link: Weak<Link>,
    version: PeerVersion,
    /// What it has not been told, by topic: that it is subscribed to, or no longer is. Empty unless it
    /// does not read.
    owed: BTreeMap<Box<[u8]>, bool>,
}

impl Told {
    /// Notes a change that it is not told now.
    fn owe(&mut self, subscribe: bool, topic: &[u8]) {
        match self.owed.get(topic) {
            // It never hears of what was there for a while.
            Some(before) if *before != subscribe => drop(self.owed.remove(topic)),
            Some(_) => {}
            None => drop(self.owed.insert(topic.into(), subscribe)),
        }
    }
}

/// A publisher in this process.
#[derive(Debug)]
struct Neighbour {
    port: Weak<Port>,
    /// What it calls us.
    key: PipeKey,
    /// What it did not take, being more than it accepts, with its length before it: a part of what there is. Asked for
    /// again when there may be room, the shortest first: if that is refused so are the others.
    refused: BTreeSet<(usize, Box<[u8]>)>,
}

impl Neighbour {
    fn tell(&mut self, subscribe: bool, topic: &[u8]) {
        let Some(port) = self.port.upgrade() else {
            return;
        };
        let was_refused =
            !self.refused.is_empty() && self.refused.remove(&(topic.len(), topic.into()));
        if subscribe {
            if let Err(limit) = port.inproc_subscription(self.key, true, topic) {
                self.refused.insert((topic.len(), topic.into()));
                port.refused_subscription(self.key, topic.len(), limit);
            }
            return;
        }
        if was_refused {
            // There is no end of what never began.
            return;
        }
        // An end is never too much.
        let _ = port.inproc_subscription(self.key, false, topic);
        while let Some((length, topic)) = self.refused.pop_first() {
            if port.inproc_subscription(self.key, true, &topic).is_err() {
                self.refused.insert((length, topic));
                break;
            }
        }
    }
}

/// What there is to tell of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A topic has come or gone.
    Topic,
    /// One more, or one less, of what there is, or one less of what there is not.
    Repetition,
}

impl Upstream {
    /// For what publishers with these limits accept.
    pub(super) fn new(form: Form, limits: SubscriptionLimits) -> Arc<Self> {
        Arc::new(Upstream {
            form,
            limits,
            state: Mutex::new(State {
                topics: TopicSet::new(),
                octets: 0,
                links: HashMap::new(),
                inproc: HashMap::new(),
            }),
        })
    }

    /// Whether publishers accept a topic of this length.
    pub(super) fn check_length(&self, len: usize) -> Result<(), SubscribeError> {
        let limit = self.limits.topic_bytes as usize;
        match len > limit {
            true => Err(SubscribeError::TopicTooLong { len, limit }),
            false => Ok(()),
        }
    }

    /// Adds a subscription, and tells of it though there may be an equal one.
    ///
    /// # Errors
    /// If publishers would end the connection for it. Nothing has changed.
    pub(super) fn subscribe(&self, topic: &[u8]) -> Result<(), SubscribeError> {
        self.check_length(topic.len())?;
        let mut state = lock(&self.state);
        let octets = state.octets + topic.len() as u64;
        let change = match state.topics.subscribe(topic) {
            true => Change::Topic,
            false => Change::Repetition,
        };
        if change == Change::Topic {
            if let Err(error) = self.check_all(state.topics.len(), octets) {
                state.topics.unsubscribe(topic);
                return Err(error);
            }
            state.octets = octets;
        }
        self.tell(&mut state, true, topic, change);
        Ok(())
    }

    /// Whether publishers accept so many different topics of so many octets.
    fn check_all(&self, topics: usize, octets: u64) -> Result<(), SubscribeError> {
        let (most, limit) = (self.limits.topics as usize, self.limits.total_bytes);
        if topics > most {
            Err(SubscribeError::TooManyTopics { limit: most })
        } else if octets > limit {
            Err(SubscribeError::TooManyOctets { octets, limit })
        } else {
            Ok(())
        }
    }

    /// Takes a subscription back. Publishers are told when it was the last of its topic, or in any case
    /// if `always`.
    pub(super) fn unsubscribe(&self, topic: &[u8], always: bool) -> Unsubscribed {
        let mut state = lock(&self.state);
        let outcome = state.topics.unsubscribe(topic);
        if outcome == Unsubscribed::Last {
            state.octets -= topic.len() as u64;
            self.tell(&mut state, false, topic, Change::Topic);
        } else if always {
            self.tell(&mut state, false, topic, Change::Repetition);
        }
        outcome
    }

    /// How many different topics there are.
    pub(super) fn topic_count(&self) -> usize {
        lock(&self.state).topics.len()
    }

    fn encode(&self, out: &mut BytesMut, version: PeerVersion, subscribe: bool, topic: &[u8]) {
        match self.form {
            Form::Topics => encode_subscription(out, version, subscribe, topic),
            Form::Groups => encode_membership(out, subscribe, topic),
        }
    }

    /// Tells every publisher about one change. Under the lock, so that they hear of changes in order.
    fn tell(&self, state: &mut State, subscribe: bool, topic: &[u8], change: Change) {
        let mut frames = BytesMut::new();
        for told in state.links.values_mut() {
            let Some(link) = told.link.upgrade() else {
                continue;
            };
            frames.clear();
            self.encode(&mut frames, told.version, subscribe, topic);
            let taken = told.owed.is_empty() && link.offer_control(&frames);
            if !taken && change == Change::Topic {
                told.owe(subscribe, topic);
            }
        }
        for neighbour in state.inproc.values_mut() {
            neighbour.tell(subscribe, topic);
        }
    }
}

impl Hooks for Upstream {
    fn link_up(&self, key: PipeKey, link: &Arc<Link>, version: PeerVersion) {
        // Under the lock, so that no later change overtakes this.
        let mut state = lock(&self.state);
        let mut frames = BytesMut::new();
        for topic in state.topics.iter() {
            self.encode(&mut frames, version, true, &topic);
        }
        link.push_control(&frames);
        let told = Told {
            link: Arc::downgrade(link),
            version,
            owed: BTreeMap::new(),
        };
        state.links.insert(key, told);
    }

    fn drained(&self, key: PipeKey) {
        let mut state = lock(&self.state);
        let Some(told) = state.links.get_mut(&key) else {
            return;
        };
        let Some(link) = told.link.upgrade() else {
            return;
        };
        let mut frames = BytesMut::new();
        while let Some((topic, subscribe)) = told.owed.pop_first() {
            frames.clear();
            self.encode(&mut frames, told.version, subscribe, &topic);
            if !link.offer_control(&frames) {
                told.owed.insert(topic, subscribe);
                return;
            }
        }
    }

    fn inproc_up(&self, key: PipeKey, peer: &Arc<Port>, peer_key: PipeKey) {
        let mut state = lock(&self.state);
        let mut neighbour = Neighbour {
            port: Arc::downgrade(peer),
            key: peer_key,
            refused: BTreeSet::new(),
        };
        for topic in state.topics.iter() {
            neighbour.tell(true, &topic);
        }
        state.inproc.insert(key, neighbour);
    }

    fn link_down(&self, key: PipeKey) {
        let mut state = lock(&self.state);
        state.links.remove(&key);
        state.inproc.remove(&key);
    }

    fn subscription(&self, _: PipeKey, _: bool, _: &[u8]) -> Result<(), SubscriptionLimit> {
        Ok(())
    }
}
