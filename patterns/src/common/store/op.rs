//! What an engine wants of a store, and what became of it.

use std::time::Instant;

use sinew::Message;

use super::{fingerprint, Begun, DedupLife, Outcome, StoreError};
use crate::common::MsgId;

/// Something to be done with a [`DedupLife`], in the order in which an engine asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOp {
    /// The engine's name for the request.
    pub(crate) request: u64,
    pub(crate) key: MsgId,
    pub(crate) want: Want,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// To begin with this request.
    Begin(Message),
    End {
        fingerprint: u64,
        outcome: Outcome,
    },
    Abandon,
}

/// What became of a [`StoreOp`], for the engine.
#[derive(Debug)]
pub struct Stored {
    pub(crate) request: u64,
    pub(crate) result: Result<Done, StoreError>,
}

#[derive(Debug)]
pub(crate) enum Done {
    /// What the store said, and the fingerprint to end it with.
    Begin(Begun, u64),
    End,
    Abandon,
}

impl Stored {
    /// The store panicked.
    pub(crate) fn panicked(request: u64) -> Self {
        let result = Err(StoreError::Other("it panicked".into()));
        Stored { request, result }
    }
}

impl StoreOp {
    /// Does it. May block, as the store does.
    pub fn perform(self, life: &mut dyn DedupLife, now: Instant) -> Stored {
        let result = match &self.want {
            Want::Begin(message) => {
                let fingerprint = fingerprint(message);
                let begun = life.begin(self.key, fingerprint, now);
                begun.map(|begun| Done::Begin(begun, fingerprint))
            }
            Want::End {
                fingerprint,
                outcome,
            } => life
                .end(self.key, *fingerprint, outcome, now)
                .map(|()| Done::End),
            Want::Abandon => life.abandon(self.key).map(|()| Done::Abandon),
        };
        Stored {
            request: self.request,
            result,
        }
    }
}
