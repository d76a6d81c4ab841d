//! What the patterns share: time limits, retries, liveness, bounded queues, the extension header.
//!
//! Nothing here reads a clock, opens a socket or starts a thread: times and seeds come in as arguments.

mod backoff;
mod breaker;
mod budget;
mod call;
mod cancels;
mod dedup;
mod engine;
mod ext;
mod footprint;
#[cfg(test)]
pub(crate) mod fuzz;
mod headers;
mod id_map;
mod linger;
mod liveness;
mod outbox;
mod oversize;
mod queue;
mod random;
mod store;
mod timers;

pub(crate) mod calls;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerConfig};
pub use budget::RetryBudget;
pub use call::{CallError, CallOptions, Fault, Idem, MsgId, RetryPolicy};
pub use calls::{CallCounters, CallEvent, CallId, RoundTrips};
pub use dedup::{CacheConfig, Dedup, Known, ReplyCache, WAITERS};
pub use engine::{Engine, PeerEvent, PeerId, Port, Transmit};
pub use ext::{Ext, ExtError, ExtIdem, Op, Status};
pub use footprint::FRAME_COST;
pub use headers::Headers;
pub use liveness::{Beat, Heartbeat, Liveness, Scope};
pub use queue::{FairQueue, Item, Limits, OnFull, Pushed, Ticket};
pub use random::Random;
pub use store::{
    Begun, DedupLife, DedupStore, MemoryStore, Outcome, StoreError, StoreLimits, StoreOp, Stored,
};
pub use timers::Timers;

pub(crate) use budget::Bucket;
pub(crate) use cancels::Cancels;
pub(crate) use footprint::footprint;
pub(crate) use id_map::IdMap;
pub(crate) use linger::{farewell, Linger, NoTime};
pub(crate) use outbox::Outbox;
pub(crate) use oversize::instead;
#[cfg(test)]
pub(crate) use store::fingerprint;
pub(crate) use store::{record, Done as StoreDone, Want as StoreWant};

#[cfg(fuzzing)]
pub(crate) use ext::fuzz_ext;
#[cfg(fuzzing)]
pub(crate) use store::record::fuzz_record;

use std::time::Duration;

/// Longer times are as good as for ever, and this one can be added to any time without overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Fuzz bodies: octets as the frames of a message, each a length and so many octets; the last frame is
/// what is left.
#[cfg(any(test, fuzzing))]
pub(crate) fn frames_of(mut data: &[u8]) -> sinew::Message {
    let mut frames = Vec::new();
    while let Some((&len, rest)) = data.split_first() {
        let (frame, rest) = rest.split_at(rest.len().min(usize::from(len)));
        frames.push(sinew::Frame::from(frame));
        data = rest;
    }
    sinew::Message::multipart(frames)
}
