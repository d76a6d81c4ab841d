//! What a subscriber's publishers are to know: the subscriptions of SUB and XSUB, the groups of DISH.
//!
//! State and not traffic: it is never dropped at a high-water mark, and it is told to every publisher
//! before anything else, also to one that comes back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::BytesMut;

use crate::io::{
    encode_membership, encode_subscription, DisconnectReason, Hooks, Link, PeerVersion, PipeKey,
    Port,
};
use crate::routing::{TopicSet, Unsubscribed};
use crate::sync::{lock, Mutex};

/// See the module.
#[derive(Debug)]
pub(super) struct Upstream {
    form: Form,
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
    links: HashMap<PipeKey, (Weak<Link>, PeerVersion)>,
    inproc: HashMap<PipeKey, (Weak<Port>, PipeKey)>,
}

impl Upstream {
    pub(super) fn new(form: Form) -> Arc<Self> {
        Arc::new(Upstream {
            form,
            state: Mutex::new(State {
                topics: TopicSet::new(),
                links: HashMap::new(),
                inproc: HashMap::new(),
            }),
        })
    }

    /// Adds a subscription, and tells of it though there may be an equal one.
    pub(super) fn subscribe(&self, topic: &[u8]) {
        let mut state = lock(&self.state);
        state.topics.subscribe(topic);
        self.tell(&state, true, topic);
    }

    /// Takes a subscription back. Publishers are told when it was the last of its topic, or in any case
    /// if `always`.
    pub(super) fn unsubscribe(&self, topic: &[u8], always: bool) -> Unsubscribed {
        let mut state = lock(&self.state);
        let outcome = state.topics.unsubscribe(topic);
        if always || outcome == Unsubscribed::Last {
            self.tell(&state, false, topic);
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
    fn tell(&self, state: &State, subscribe: bool, topic: &[u8]) {
        let mut frames = BytesMut::new();
        for (link, version) in state.links.values() {
            if let Some(link) = link.upgrade() {
                frames.clear();
                self.encode(&mut frames, *version, subscribe, topic);
                link.push_control(&frames);
            }
        }
        for (port, key) in state.inproc.values() {
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
        let mut state = lock(&self.state);
        let mut frames = BytesMut::new();
        for topic in state.topics.iter() {
            self.encode(&mut frames, version, true, &topic);
        }
        link.push_control(&frames);
        state.links.insert(key, (Arc::downgrade(link), version));
    }

    fn inproc_up(&self, key: PipeKey, peer: &Arc<Port>, peer_key: PipeKey) {
        let mut state = lock(&self.state);
        for topic in state.topics.iter() {
            let _ = peer.hooks.subscription(peer_key, true, &topic);
        }
        state.inproc.insert(key, (Arc::downgrade(peer), peer_key));
    }

    fn link_down(&self, key: PipeKey) {
        let mut state = lock(&self.state);
        state.links.remove(&key);
        state.inproc.remove(&key);
    }

    fn subscription(&self, _: PipeKey, _: bool, _: &[u8]) -> Result<(), DisconnectReason> {
        Ok(())
    }
}
