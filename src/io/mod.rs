//! I/O threads: connections, pumps, listeners, dialers and timers.
//!
//! Each thread runs one loop over one `mio::Poll` ([`thread`]). A connection ([`link`]) lives on one
//! thread for its whole life; its two pumps ([`in_pump`], [`out_pump`]) are behind tokens, so that the
//! socket's own thread may run them where that saves a hop. Sockets and threads talk through a
//! [`port`]; the user listens through [`monitor`].
//!
//! What this layer does not know: patterns. It moves whole messages between pipes and connections.

mod buffer;
mod caller;
mod datagram;
mod dialing;
mod drops;
mod ends;
mod events;
mod framing;
mod head_count;
mod in_pump;
mod inproc;
mod inproc_peers;
mod link;
mod linking;
mod listening;
#[cfg(all(test, loom))]
mod loom_tests;
mod mail;
mod monitor;
mod notes;
mod octets;
mod out_pump;
mod peers;
mod pool;
mod port;
mod race;
mod random;
mod reading;
mod reports;
mod room;
mod settings;
mod thread;
mod timers;
mod trace;
mod waiting;
mod writing;

use std::time::Duration;

pub(crate) use crate::proto::{encode_membership, encode_subscription, Version as PeerVersion};
pub use crate::transport::ProxyFailure;
pub(crate) use crate::transport::{numeric_forms, AdoptError};
pub(crate) use caller::{CallerPoll, Waits, CALLER_LINKS};
pub(crate) use datagram::{bind_datagrams, connect_datagrams, MAX_DATAGRAM};
pub use drops::DropCause;
pub(crate) use ends::dial_ends;
pub use events::{
    ConnectionId, DisconnectReason, EndpointId, Initiator, SocketEvent, Subscription,
    SubscriptionLimit,
};
pub(crate) use inproc::{InprocError, InprocId, Names};
pub(crate) use link::Link;
pub(crate) use listening::{adopt_listener, adopt_stream, bind_stream};
pub use monitor::{Monitor, MonitorOptions};
pub use peers::{ConnectionSnapshot, Traffic};
pub(crate) use pool::{IoPool, PlaceError};
pub use pool::{OpenSocket, ThreadSnapshot};
pub use port::SocketId;
pub(crate) use port::{Arrival, Counters, Half, Hooks, Inbound, NoHooks, Outbound, PipeKey, Port};
pub(crate) use random::random;
pub(crate) use room::{Patience, Room};
pub(crate) use settings::Settings;
pub(crate) use thread::{next_id, Command, IoHandle};
pub(crate) use waiting::{FdPoll, Fds, WakeFd};

/// A message that follows another within this time is part of a burst, and is left to the I/O thread
/// to batch; one after a longer pause is written on the sender's thread. A wake-up costs about 20 µs
/// on the machines this was measured on; two wake-ups are saved by not handing over.
pub(crate) const BURST_GAP: Duration = Duration::from_micros(50);

/// How often an I/O thread looks whether those who read connections themselves are still there. Two looks without a sign,
/// and it reads them again: so what comes for it alone, such as a PING, waits for twice this time at most, whatever the
/// application does. A look is a wake-up, of which whoever is on the same processor feels some 200 in a second.
const CALLER_LOOK: Duration = Duration::from_millis(5);

/// How long a socket that waits for room may be kept waiting for more of it than there is.
const ROOM_PATIENCE: Duration = Duration::from_millis(2);

/// How often a thread looks for connections that have been idle since the last time, which then give
/// back the memory that their pipes keep; and how long a receiver sleeps before those without a connection do.
pub(crate) const MEMORY_IDLE: Duration = Duration::from_secs(1);

/// Octets one connection may read before the others of its thread get their turn.
const READ_TURN: usize = 512 * 1024;

/// How long a listener waits after descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted before others get their turn.
const ACCEPT_TURN: usize = 64;
