//! The public sockets: thin compositions of routing and pipes.
//!
//! A socket is a shell (endpoints, close), a receiving half, a sending half, or both, and the
//! automaton of its pattern. Nothing here touches a descriptor except to wait for one.

#![allow(
    private_interfaces,
    reason = "sealed traits (`Assemble`, `Relay`) are public and not nameable, and deal in what is private"
)]

#[cfg(feature = "futures")]
mod adapters;
mod balanced;
mod batch;
mod builder;
mod client_server;
mod common;
mod deadline;
mod dealer;
mod dgram;
mod duplex;
mod fan_out;
mod favourites;
mod inbound;
#[cfg(feature = "metrics")]
mod metrics;
mod names;
mod network;
mod notes;
#[cfg(test)]
mod option_tests;
mod options;
mod outbound;
mod pair;
mod parts;
mod poller;
mod pub_sub;
mod push_pull;
mod radio_dish;
mod readiness;
mod relay;
mod req_rep;
mod requester;
mod roles;
mod router;
mod shared;
mod shell;
mod single;
mod snapshot;
mod spin;
mod split;
mod stats;
mod stream;
mod task;
mod topics;
mod tuning;
mod upstream;
mod wire;
mod xpub_xsub;

#[cfg(feature = "futures")]
pub use adapters::Messages;
pub use builder::{SocketBuilder, SocketKind};
pub use client_server::{Client, Peer, Server};
pub use dealer::Dealer;
pub use dgram::{Datagram, Dgram};
pub use options::SocketOptions;
pub use pair::{Channel, Pair};
pub use poller::{EventFd, PollEvents, PollItem, Poller, TimerId};
pub use pub_sub::{Pub, Sub};
pub use push_pull::{Pull, Push};
pub use radio_dish::{Dish, Radio};
pub use readiness::{Interest, Pollable, Readiness};
pub use relay::ProxySocket;
pub(crate) use relay::{forward, Relay};
pub use req_rep::{Rep, Req};
pub use requester::{PendingRequest, RequestOptions, Requester};
pub use roles::{Receiver, Sender, Shareable};
pub use router::{PeerState, Router};
pub use shared::Shared;
pub use shell::CloseReport;
pub use single::{Gather, Scatter};
pub use snapshot::{ContextSnapshot, Figure, FigureKind, SocketSnapshot};
pub use split::{RecvPart, SendPart, Split};
pub use stats::SocketStats;
pub use stream::Stream;
pub use xpub_xsub::{SubscriptionEvent, XPub, XSub};

use crate::io::PipeKey;
use crate::routing::PeerKey;

/// The same peer, for the routing layer.
fn peer_key(key: PipeKey) -> PeerKey {
    PeerKey {
        index: key.index,
        generation: key.generation,
    }
}

/// The same peer, for the I/O layer.
fn pipe_key(key: PeerKey) -> PipeKey {
    PipeKey {
        index: key.index,
        generation: key.generation,
    }
}

/// Makes `slots[index]` exist. The list grows by an eighth: with ten thousand peers the room it keeps to grow
/// is memory of every one of them.
fn make_slot<T>(slots: &mut Vec<Option<T>>, index: usize) {
    if slots.len() <= index {
        if slots.capacity() <= index {
            let more = (index + 1 - slots.len()).max(slots.len() / 8).max(4);
            slots.reserve_exact(more);
        }
        slots.resize_with(index + 1, || None);
    }
}
