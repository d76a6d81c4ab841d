//! Keeping load within what can be carried: who may enter, how fast, and how much is on its way.
//!
//! - [`Bucket`] and [`TokenBucket`]: so many per second, with so many at once.
//! - [`TokenMint`] and [`TokenPurse`]: one bucket for many processes, over plain requests and replies.
//! - [`GateEngine`]: so many at once inside, a bounded queue in front, and an answer for those who do not get in.
//! - [`CreditTx`] and [`CreditRx`]: a sender that sends no more than its receiver has room for.
//!
//! All are values that are told the time; [`TokenBucket`] is also shared between threads without a lock.

mod bucket;
mod credit;
mod gate;
mod tokens;

pub use bucket::{Bucket, RetryAfter, TokenBucket};
pub use credit::{CreditError, CreditRx, CreditTx};
pub use gate::{Admission, GateConfig, GateCounters, GateEngine, GateEvent, Rejected, TicketId};
pub use tokens::{TokenConfig, TokenError, TokenMint, TokenPurse, Unreachable};

#[cfg(fuzzing)]
pub(crate) use tokens::fuzz_tokens;
