//! Majordomo: services by name, with a broker between clients and workers (7/MDP, 18/MDP, 8/MMI).
//!
//! Clients ask a broker for a service; the broker gives each request to a worker that offers it, one at a
//! time. A worker that dies, or whose lease ends, loses its request to another. Everything is in memory: a
//! broker that ends loses what it holds, and clients ask again.
//!
//! The dialects are 7/MDP 0.1, which all known implementations speak, and 18/MDP 0.2 as its text has it.
//! Both can carry the extension header ([`Ext`](crate::common::Ext)) where both sides have switched it on;
//! then requests have deadlines, priorities and names, and whoever is declined hears of it.
//!
//! A client that is a plain REQ socket must send the empty frame alone before the header: Sinew's has to be
//! built with `correlated(false)`, for its requests begin with an id otherwise.
//!
//! # What this does not promise
//!
//! A request may be carried out twice: its worker may have died after it was done, or only seemed to be dead. One with
//! a key ([`Idem::Key`](crate::common::Idem::Key)) is not given out again by a broker that keeps replies, has that of
//! the request and still knows it. Until then a worker that is killed, frozen, cut off or slow loses it to another, and
//! both may carry it out; and so may the workers of another broker, or of one that was restarted. One with
//! [`Idem::Once`](crate::common::Idem::Once) is never given to a second worker if its client and broker speak EXT; bare
//! 7/MDP and 18/MDP have no word for it, nor for which request a reply is to. A worker keeps no replies: a frame that
//! somebody on the way repeats to it (TCP does not) is carried out again, whatever the request says of itself.

mod broker;
mod broker_shell;
#[cfg(test)]
mod broker_tests;
mod client;
mod client_shell;
mod config;
mod negotiation;
#[cfg(test)]
mod sim_tests;
mod slots;
mod wire;
mod worker;
mod worker_shell;

pub use crate::shell::{Replies, Request};
pub use broker::{BrokerEngine, BrokerEvent};
pub use broker_shell::{Broker, BrokerHandle};
pub use client::{ClientConfig, ClientEngine, ClientEvent};
pub use client_shell::Client;
pub use config::{
    Authorizer, BrokerConfig, BrokerCounters, BrokerLimits, DeadReason, Lease, Partials, Pick,
    ServicePolicy, ServiceStats, Verb, WorkerStats,
};
pub use wire::{Dialect, WireError};
pub use worker::{
    WorkerConfig, WorkerCounters, WorkerEngine, WorkerEvent, WorkerRequest, WorkerRequestId,
};
pub use worker_shell::{Worker, WorkerHandle};

#[cfg(test)]
pub(crate) use sim_tests::loss_rows;
#[cfg(fuzzing)]
pub(crate) use wire::fuzz_mdp;
