//! What sockets do, seen from outside: each rule over each transport.
//!
//! One module per subject. Nothing sleeps and hopes: every wait is for an event, under the watchdog
//! [`support::LONG`], and no test asserts a maximum duration.

mod adopted;
mod batches;
mod budget;
mod caller;
mod carried;
mod conflate;
mod contexts;
mod datagrams;
mod handles;
mod hosts;
mod hwm;
mod inherited;
mod large;
mod legacy;
mod lifecycle;
mod limits;
mod looking;
mod mixed;
mod monitor;
mod network;
mod notes;
mod options;
mod pairs;
mod pattern;
mod promises;
mod proxy;
mod proxy_many;
mod radio_dish;
mod reconfigure;
mod reconnecting;
mod requester;
mod retuned;
mod router;
mod shutdown;
mod snapshot;
mod socks;
mod split;
mod stream;
mod support;
mod threads;
mod transports;
mod unattended;
mod volume;
#[cfg(feature = "ws")]
mod websocket;
mod xpub_xsub;
