//! Reliable messaging patterns, built on the public API of [`sinew`].
//!
//! A pattern is a state machine without sockets and without a clock, which virtual-time tests drive,
//! and a thin shell around it that owns sockets. What is here so far:
//!
//! - [`rpc`]: a requester that retries, within a deadline and a budget.
//!
//! What this crate is not: a protocol of its own. The other side is any plain ZeroMQ peer.

pub mod common;
pub mod rpc;

#[cfg(test)]
mod lab;
