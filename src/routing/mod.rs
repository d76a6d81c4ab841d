//! Pure pattern logic: who gets a message, whose message is next, and whose turn it is.
//!
//! Everything here is a value driven by calls: no threads, no input or output, no clock. Socket types
//! are thin compositions of these parts:
//!
//! - [`PeerKey`]: the name of a peer, which never means another.
//! - [`Rotation`]: the round over active peers, both for fair queueing and for load balancing.
//! - [`SubscriptionTrie`]: the publisher's side of topic matching; [`TopicSet`]: the subscriber's.
//! - [`TopicEvents`]: what an XPUB has to tell about subscriptions.
//! - [`IdTable`]: the names of a ROUTER's peers, both ways.
//! - [`ReqState`], [`RepState`]: the lock-step automata and their envelopes.
//! - [`Outstanding`]: many requests at once, of one requester.
//!
//! What is not here: pipes, high-water marks, and the decision to wait. A part never asks whether a
//! peer can take a message; the socket tells it.

mod directory;
mod hash_index;
mod id_table;
mod length_filter;
mod outstanding;
mod page_table;
mod peer_key;
mod prefix_grid;
mod prefix_hash;
mod prefix_index;
mod prefix_trie;
mod radix;
mod rep;
mod req;
mod rotation;
mod topic_events;
mod topic_set;
mod turn;

#[allow(
    unused_imports,
    reason = "layers are assembled bottom-up; removed with the first socket"
)]
pub(crate) use self::{
    id_table::{Admitted, IdTable},
    outstanding::{Admission, Outcome, Outstanding, Terms},
    peer_key::PeerKey,
    prefix_trie::{Cancelled, LimitError, SubscriptionTrie, TrieConfig, TOGETHER},
    rep::{RepState, RequestDiscarded},
    req::{ReplyDiscarded, ReqConfig, ReqState},
    rotation::Rotation,
    topic_events::{EventLimit, Scope, TopicEvent, TopicEvents},
    topic_set::{TopicSet, Unsubscribed},
    turn::{OutOfTurn, Refused},
};
pub use id_table::DuplicateId;
