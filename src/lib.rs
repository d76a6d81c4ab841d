//! Sinew: brokerless messaging sockets, wire-compatible with every ZeroMQ peer (ZMTP 3.1).
//!
//! This page is completed with the public sockets.
#![allow(
    dead_code,
    unused_imports,
    reason = "layers are assembled bottom-up; removed with the first socket"
)]

mod config;
mod endpoint;
mod frame;
mod message;
mod pipe;
mod proto;
mod routing;
mod socket_type;
mod sync;
mod transport;

pub use config::{Heartbeat, HighWaterMark, OptionError, ReconnectPolicy};
pub use endpoint::{Endpoint, EndpointError, ToEndpoint, Transport};
pub use frame::FrameError;
pub use message::{Frame, InvalidRoutingId, Message, RoutingId};
pub use socket_type::SocketType;
pub use proto::{
    Incompatible, LimitExceeded, Malformed, Misbehaved, PeerName, ProtocolError, Refusal, TimedOut,
};
