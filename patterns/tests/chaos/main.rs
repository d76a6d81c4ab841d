//! Patterns on real processes that are killed, frozen and restarted, and over a proxy that holds, cuts, splits and
//! doubles connections. Every request is accounted for: it ends once, and what was carried out is told by
//! those who did it.
//!
//! Nothing waits for time to pass: processes say in so many words how far they are.

#[path = "../../../tests/support/process.rs"]
#[allow(dead_code, reason = "shared; not all of it is needed here")]
mod process;

mod brokers;
mod churn;
mod drain;
mod flow;
mod live;
mod long;
mod majordomo;
mod network;
mod overload;
mod proxy;
mod remote;
mod requests;
mod rough;
mod stalls;
mod streams;
mod zmtp;
