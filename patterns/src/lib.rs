//! Reliable messaging patterns, built on the public API of [`sinew`].
//!
//! A pattern is a state machine without sockets and without a clock, which virtual-time tests drive,
//! and a thin shell around it that owns sockets. What is here so far:
//!
//! - [`rpc`]: clients that retry, fail over and break circuits, within deadlines and a budget; servers
//!   with bounded queues, idempotence keys and partial replies.
//! - [`mdp`]: Majordomo, services by name behind a broker (7/MDP, 18/MDP, 8/MMI).
//! - [`flow`]: token buckets, admission gates, credit.
//! - [`RouterShell`]: what drives a broker or server engine on a ROUTER socket, on the caller's own thread.
//! - [`common`]: what they share, and what others may build on.
//!
//! What this crate is not: a protocol of its own. The other side is any plain ZeroMQ peer. Where an
//! extension is needed (deadlines, keys, partial replies), it is one frame that both sides have agreed on
//! ([`common::Ext`]).

pub mod common;
pub mod flow;
pub mod mdp;
pub mod rpc;

mod shell;

pub use shell::{DirectoryStore, Replies, Request, RouterShell, StartError};

#[cfg(test)]
mod lab;

/// Bodies of the fuzz targets in `fuzz/`; not part of the API.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
