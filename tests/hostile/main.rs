//! A hostile raw peer against live sockets.
//!
//! Every case has the same shape: a bound socket exchanges numbered messages with a good peer, a raw
//! peer does something no sound peer does, and then three things must hold. The hostile connection
//! ends (or is ignored) with the typed event that says why; memory stays bounded; and the good peer
//! has lost nothing.
//!
//! Nothing here sleeps: tests wait for events, octets and counters, under a watchdog. What measures
//! the memory or the descriptors of the whole process runs in a [process of its own](isolated).

mod datagrams;
mod descriptors;
mod dialing;
mod endings;
mod flood;
mod handshake;
mod heap;
mod heartbeat;
mod input;
mod isolated;
mod lenient;
mod memory;
mod monitors;
mod names;
mod raw;
mod single;
mod socks;
mod stage;
mod subscriptions;
mod traffic;
#[cfg(feature = "ws")]
mod websocket;

use std::time::Duration;

/// A wait that takes this long has failed.
const WATCHDOG: Duration = Duration::from_secs(20);

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;
