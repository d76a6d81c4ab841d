//! Sinew: brokerless messaging sockets, wire-compatible with every ZeroMQ peer (ZMTP 3.1).
//!
//! This page is completed with the public sockets.
#![allow(
    dead_code,
    reason = "layers are assembled bottom-up; removed with the first socket"
)]

mod frame;
mod message;
mod proto;
mod socket_type;

pub use frame::FrameError;
pub use message::{Frame, InvalidRoutingId, Message, RoutingId};
pub use proto::{
    Incompatible, LimitExceeded, Malformed, Misbehaved, PeerName, ProtocolError, Refusal, TimedOut,
};
pub use socket_type::SocketType;
