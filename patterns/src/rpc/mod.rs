//! Request and reply that survives lost servers, requests and replies: the "Lazy Pirate".
//!
//! A [`Requester`] asks one of several equivalent servers. If no reply comes in time, or the
//! connection is lost, it asks again, the next server if there are several, until the deadline of the
//! call. Servers are plain REP sockets of any language.
//!
//! [`Engine`] is the same without sockets and without a clock.
//!
//! # What this does not promise
//!
//! A request that is asked again may be carried out twice: say [`Idem::Once`] for those that must not
//! be sent twice, or [`Idem::Key`], whose documentation says how far a server that keeps replies, or has a store of keys, can help. When no
//! reply came, whether the request was carried out is not known, and
//! [`maybe_executed`](CallError::maybe_executed) says so.

mod client;
mod client_shell;
mod engine;
mod requester;
mod server;
mod server_shell;
#[cfg(test)]
mod sim_tests;
mod wire;

pub use crate::common::{
    Backoff, CallCounters, CallError, CallEvent, CallId, CallOptions, Fault, Headers, Idem,
    RetryBudget,
};
pub use crate::shell::{Replies, Request};
pub use client::{ClientConfig, ClientEngine, Dialect, Pick};
pub use client_shell::Client;
pub use engine::{Action, Engine, Outcome};
pub use requester::Requester;
pub use server::{
    RequestId, ServerConfig, ServerCounters, ServerEngine, ServerEvent, ServerRequest,
};
pub use server_shell::{Server, ServerHandle};
pub use wire::WireError;

pub(crate) use client::{answer_of, request_ext};
pub(crate) use server::short;
#[cfg(test)]
pub(crate) use sim_tests::loss_rows;
#[cfg(fuzzing)]
pub(crate) use wire::fuzz_rpc;

use std::time::Duration;

/// Options of a [`Requester`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequesterConfig {
    /// How long to wait for a connection, and then for a reply, before trying elsewhere or again.
    /// Less than 1 ms counts as 1 ms. Default: 1 s.
    pub attempt_timeout: Duration,
    /// How often one request is sent at most; 0 counts as 1. The last attempt has all the time that
    /// is left. Default: 4.
    pub max_attempts: u32,
    /// The pauses before retries.
    pub backoff: Backoff,
    /// What keeps retries from multiplying the load of servers that are in trouble. `None` for no
    /// limit but `max_attempts`.
    pub budget: Option<RetryBudget>,
}

impl Default for RequesterConfig {
    fn default() -> Self {
        RequesterConfig {
            attempt_timeout: Duration::from_secs(1),
            max_attempts: 4,
            backoff: Backoff::default(),
            budget: Some(RetryBudget::default()),
        }
    }
}

/// What a requester has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Calls begun.
    pub calls: u64,
    /// Calls that ended with a reply.
    pub replies: u64,
    /// Calls that ended without one.
    pub failures: u64,
    /// Requests sent, retries included.
    pub attempts: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Retries that the budget did not allow.
    pub over_budget: u64,
    /// Times that a server had no connection, and nothing was sent.
    pub unavailable: u64,
    /// Replies that came after their call was over.
    pub stale_replies: u64,
}
