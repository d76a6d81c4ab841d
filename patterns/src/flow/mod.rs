//! Keeping load within what can be carried: who may enter, how fast, and how much is on its way.
//!
//! - [`Bucket`] and [`TokenBucket`]: so many per second, with so many at once.
//! - [`TokenServer`] and [`TokenClient`]: one bucket for many processes, over plain requests and replies.
//! - [`Gate`]: so many at once inside, a bounded queue in front, and an answer for those who do not get in;
//!   [`GatedRouter`] is one in front of a ROUTER.
//! - [`CreditSender`] and [`CreditReceiver`]: a sender that sends no more than its receiver has room for.
//!
//! [`TokenMint`], [`TokenPurse`], [`GateEngine`], [`GatedEngine`], [`CreditTx`] and [`CreditRx`] are the same as
//! values that are told the time. [`TokenBucket`] is shared between threads without a lock.

mod bucket;
mod bucket_shell;
mod credit;
mod credit_link;
mod credit_shell;
mod gate;
mod gate_shell;
mod gated;
mod gated_shell;
#[cfg(test)]
mod line_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod sim_tests;
mod token_shell;
mod tokens;

#[cfg(test)]
pub(crate) fn loss_rows() -> String {
    sim_tests::loss_rows() + &loss_tests::loss_rows()
}

pub use bucket::{Bucket, RetryAfter, TokenBucket};
pub use credit::{CreditError, CreditRx, CreditTx};
pub use credit_link::{
    CreditCounters, CreditInlet, CreditOutlet, Delivery, InletEvent, OutletEvent,
};
pub use credit_shell::{CreditReceiver, CreditSendError, CreditSender};
pub use gate::{Admission, GateConfig, GateCounters, GateEngine, GateEvent, Rejected, TicketId};
pub use gate_shell::{Gate, Permit};
pub use gated::{Admitted, GatedEngine};
pub use gated_shell::GatedRouter;
pub use token_shell::{TokenClient, TokenServer};
pub use tokens::{TokenConfig, TokenError, TokenMint, TokenPurse, Unreachable};

#[cfg(fuzzing)]
pub(crate) use credit_link::fuzz_credit;
#[cfg(fuzzing)]
pub(crate) use tokens::fuzz_tokens;
