//! The asynchronous side of the sockets, under several executors and under none; the poller and the descriptor
//! for foreign event loops, which wait by the same means.
//!
//! One module per subject. Every wait is for an event, under the watchdog [`support::LONG`].

mod adapters;
mod batches;
mod event_fd;
mod exchange;
mod limits;
mod polling;
mod storms;
mod support;
mod wakers;
