//! What a contender must offer: a run of a work, made of the small halves that `drive` (threads) or
//! `tasks` (async) loop over.
//!
//! Loops are generic, so that no subject pays for dynamic dispatch on a message.

use std::error::Error;

use crate::meter::Sample;
use crate::work::{Plan, Work};

/// A failed measurement gives no figure: the row says what happened.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Whether a subject can do a work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Yes,
    /// The row says why.
    No(&'static str),
    /// The subject is not meant for it (a bare socket does not publish): it has no row.
    NoRow,
}

/// A library in one way of using it, or the bare socket.
pub(crate) trait Subject {
    /// The name in the table, in `--impl` and in JSON.
    fn name(&self) -> &'static str;

    /// Whether it can do this work.
    fn offers(&self, work: &Work) -> Offer;

    /// Whether `--quick` measures it.
    fn is_quick(&self) -> bool {
        true
    }

    /// Another library, and so a candidate for the best peer.
    fn is_peer(&self) -> bool {
        true
    }

    /// Sets sockets up, moves the messages of the plan and measures. The process ends soon after, so
    /// nothing needs to be closed.
    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample>;
}

/// The sending half of a one-way flow.
pub(crate) trait Sender: Send {
    fn send(&mut self, payload: &[u8]) -> Fallible<()>;
}

/// The receiving half of a one-way flow.
pub(crate) trait Receiver: Send {
    /// Waits for one message and shows its body.
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T>;
}

/// The asking half of a lock-step exchange.
pub(crate) trait Requester: Send {
    /// Sends a request, waits for the reply and shows its body.
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T>;
}

/// The answering half of a lock-step exchange.
pub(crate) trait Replier: Send {
    /// Waits for one request and sends it back.
    fn serve(&mut self) -> Fallible<()>;
}
