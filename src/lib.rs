//! Sinew: brokerless messaging sockets, wire-compatible with every ZeroMQ peer (ZMTP 3.1).
//!
//! This page is completed with the public sockets.
#![allow(
    dead_code,
    unused_imports,
    reason = "layers are assembled bottom-up; removed with the first socket"
)]

mod config;
mod context;
mod endpoint;
mod error;
mod frame;
mod io;
mod message;
mod pipe;
mod proto;
mod routing;
mod socket;
mod socket_type;
mod sync;
mod transport;

pub use config::{Heartbeat, HighWaterMark, OptionError, ReconnectPolicy};
pub use context::{Context, ContextBuilder};
pub use endpoint::{Endpoint, EndpointError, ToEndpoint, Transport};
pub use error::{
    BindError, BuildError, ConnectError, RecvError, RequestError, SendError, SendFailure,
    UnknownEndpoint, WaitTimeout,
};
pub use frame::FrameError;
pub use io::{ConnectionId, DisconnectReason, Monitor, SocketEvent};
pub use message::{Frame, InvalidRoutingId, Message, RoutingId};
pub use proto::{
    Incompatible, LimitExceeded, Malformed, Misbehaved, PeerName, ProtocolError, Refusal, TimedOut,
};
pub use socket::{CloseReport, Pub, Pull, Push, Rep, Req, SocketBuilder, SocketStats, Sub};
pub use socket_type::SocketType;
