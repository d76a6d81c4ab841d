//! What a contender must offer: a run of a work, made of the small halves that `drive` loops over.
//!
//! Loops are generic, so that no subject pays for dynamic dispatch on a message.

use std::error::Error;

use crate::meter::Sample;
use crate::work::{Plan, Work};

/// Any failure ends the programme: a figure after an error would mean nothing.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A library, or the bare socket.
pub(crate) trait Subject {
    /// The name in the table, in `--impl` and in JSON.
    fn name(&self) -> &'static str;

    /// Sets sockets up, moves the messages of the plan and measures. `None` if the subject has no such
    /// work (a bare socket does not publish).
    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Option<Sample>>;
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
