//! Sinew: brokerless messaging sockets in pure Rust, for ZeroMQ peers that speak ZMTP 3.1 or 3.0 (libzmq
//! since 4.0, pyzmq and others), and 2.0 or 1.0 with the option [`legacy_peers`](SocketBuilder::legacy_peers).
//! The only security mechanism is NULL: nothing is encrypted, and anyone who can reach a socket can use it.
//!
//! A socket is bound and connected to any number of endpoints (`tcp://`, `ipc://`, `inproc://`, and `ws://` with the
//! feature `ws`, which is on by default; `udp://` for [`Radio`], [`Dish`] and [`Dgram`] only), and moves whole
//! messages to and from peers that come and go. What it does with them is its pattern:
//!
//! | socket | does |
//! | --- | --- |
//! | [`Push`] → [`Pull`] | deals messages out to workers in turn; collects them fairly |
//! | [`Req`] ↔ [`Rep`] | asks and answers, in lock-step |
//! | [`Dealer`] ↔ [`Router`] | the same without the lock-step: many requests at once, each peer by its name |
//! | [`Pair`] ↔ [`Pair`] | sends and receives in any order, with one peer |
//! | [`Client`] ↔ [`Server`], [`Peer`] ↔ [`Peer`] | messages of a single frame, each peer by a number |
//! | [`Scatter`] → [`Gather`], [`Channel`] ↔ [`Channel`] | PUSH and PULL, and PAIR, for messages of a single frame |
//! | [`Pub`] → [`Sub`] | sends each message to everyone who subscribed to its beginning |
//! | [`XPub`] ↔ [`XSub`] | the same, for those in between: subscriptions can be received, and sent |
//! | [`Radio`] → [`Dish`] | sends each message to everyone who joined its group |
//! | [`Stream`] | sends and receives octets, with peers that are no ZeroMQ sockets |
//! | [`Dgram`] | sends datagrams to any UDP host, and receives them |
//!
//! ```
//! use sinew::{Pull, Push};
//!
//! let mut pull = Pull::new();
//! let endpoint = pull.bind("tcp://127.0.0.1:*")?;
//! let mut push = Push::builder().connect(&endpoint)?;
//! push.send("hello")?;
//! assert_eq!(pull.recv()?.as_bytes(), b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Blocking, and not
//! Sending and receiving have four forms: `send` waits (for ever, unless the option `send_timeout` says
//! otherwise), `try_send` does not, `send_timeout` and `send_deadline` wait for so long; the same for
//! `recv`. (The last form is missing from [`Shared`], [`Dgram`], the parts of a [`Split`] socket where they name peers,
//! and events: there a time-out has to do.) A failed send gives the message back, a receive that times out consumes
//! nothing. A time-out beyond what the clock can tell, such as [`Duration::MAX`](std::time::Duration::MAX), means for
//! ever.
//!
//! # Async
//! Every operation of a socket that waits for messages, for room or for peers has a form that ends in `_async`, for
//! tasks of any executor, or of none: no runtime is needed, since the I/O threads wake tasks, and one thread more looks
//! after times. Blocking and asynchronous calls may be mixed on one socket, from one message to the next. Only
//! blocking are a [`Proxy`] (which has a thread if you wish), [`Poller::wait`], [`Monitor::wait_for`] (whose `recv_async`
//! does the same in a loop), and what a [`Requester`] waits for beside its requests: its peers, and its end.
//!
//! ```
//! use std::future::Future;
//! use std::pin::pin;
//! use std::sync::Arc;
//! use std::task::{Context, Poll, Wake};
//! use std::thread::{self, Thread};
//! use sinew::{Rep, Req};
//!
//! /// All there is to an executor: a thread that parks until its task is woken.
//! struct Unpark(Thread);
//! impl Wake for Unpark {
//!     fn wake(self: Arc<Self>) {
//!         self.0.unpark();
//!     }
//! }
//! fn block_on<F: Future>(future: F) -> F::Output {
//!     let waker = Arc::new(Unpark(thread::current())).into();
//!     let mut future = pin!(future);
//!     loop {
//!         match future.as_mut().poll(&mut Context::from_waker(&waker)) {
//!             Poll::Ready(output) => return output,
//!             Poll::Pending => thread::park(),
//!         }
//!     }
//! }
//!
//! let mut rep = Rep::new();
//! let mut req = Req::builder().connect(&rep.bind("tcp://127.0.0.1:*")?)?;
//! let server = thread::spawn(move || {
//!     block_on(async {
//!         let request = rep.recv_async().await.unwrap();
//!         rep.send_async(request).await.unwrap();
//!         rep.close_async().await
//!     })
//! });
//! let reply = block_on(req.request_async("hello"))?;
//! assert_eq!(reply.as_bytes(), b"hello");
//! # server.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Futures may be dropped at any time: one that receives has taken nothing before it is ready, and one that sends
//! has sent nothing; what each method adds to that stands under "Cancel safety". So they can be raced with
//! `select!`, or with a time. A future that is polled and can go on does so: a task that receives from a full queue
//! in a loop lets others of its thread have their turn only if it yields by itself. Wakers are called on
//! I/O threads and by the other sockets of the process; they have to hand the task to its executor, as those of
//! every executor do, and not to run it on the spot.
//!
//! `bind`, `unbind` and the `connect`s have no such form: they take microseconds, unless `bind` has a host name to
//! look up.
//!
//! With the feature `futures` (on by default) [`Messages`] makes a socket a `Stream` and a `Sink`, and a [`Monitor`]
//! is a `Stream`.
//!
//! # Many sockets, other event loops
//! A [`Poller`] waits for any number of sockets at once, and for descriptors and timers beside them. An [`EventFd`] is
//! a descriptor that tells an event loop of somebody else's when to look at a socket.
//!
//! # Threads
//! Sockets are `Send`. Sending and receiving take `&mut self`, so the compiler proves that one thread
//! at a time uses a socket. Connections are looked after by I/O threads, at most one per core, which
//! are started as endpoints need them and shared by all sockets of a [`Context`].
//!
//! # Many threads, many requests
//! [`Shared`] is one socket for many threads and tasks: a handle that can be cloned, and who waits is served in
//! turn. [`Split`] makes two parts of a socket that sends and receives, so that one thread only sends and another only
//! receives, without a lock between them; the two make a whole again. A [`Requester`] has any number of requests under
//! way at once, over one socket and to plain [`Rep`] sockets of any implementation: each ends with its own reply, at
//! its deadline, or with the peer that has it, and may be sent to another if you say so. It can be cloned, too.
//!
//! ```
//! use std::thread;
//! use sinew::{Rep, Requester};
//!
//! let (mut rep, endpoint) = Rep::builder().bound("tcp://127.0.0.1:*")?;
//! thread::spawn(move || {
//!     while let Ok(request) = rep.recv() {
//!         let _ = rep.send(request);
//!     }
//! });
//! let requester = Requester::builder().connect(&endpoint)?;
//! let threads: Vec<_> = (0..4u8)
//!     .map(|n| {
//!         let requester = requester.clone();
//!         thread::spawn(move || requester.request([n]))
//!     })
//!     .collect();
//! for (n, thread) in (0..).zip(threads) {
//!     assert_eq!(thread.join().unwrap()?.as_bytes(), [n]);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is never lost, and what may be
//! A message that `send` accepted is delivered whole, at most once, and in order per peer. It is lost
//! if the process ends, the peer or its connection dies after the message left this process, or the
//! linger time is over. What is still queued here when a connection is lost waits for the next one if
//! this side had connected (and not with the option `immediate`). Otherwise the queue ends with the
//! connection: PUSH sends what was in it to others, all others drop and count it. `close` waits for the queues to empty and reports what
//! was not sent, while dropping a socket never waits. PUB leaves out a subscriber that is at its
//! high-water mark, and counts that ([`SocketStats`]).
//!
//! # Proxies
//! A [`Proxy`] forwards between two sockets, with high-water marks that hold all the way, a copy for a third one if
//! wanted, and a [`ProxyHandle`] to pause, resume and end it.
//!
//! # What happens inside
//! [`Monitor`] is a stream of typed events (connected, refused and why, lost, by whom and why), and
//! [`SocketStats`] counts what was sent, received, and dropped by cause. `connections()` of each socket says who is
//! connected and what has gone through each connection; [`Context::snapshot`] says all of it of every socket.
#![cfg_attr(
    loom,
    allow(
        dead_code,
        unused_imports,
        reason = "only sync, pipe and parts of io are model-checked"
    )
)]

// In a model check (`--cfg loom`) only the lock-free parts are built, against loom's primitives.

#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod context;
#[cfg(not(loom))]
mod endpoint;
#[cfg(not(loom))]
mod error;
mod frame;
#[cfg(not(loom))]
mod io;
/// Of the I/O layer, what decides and its models: the rest calls the system.
#[cfg(loom)]
mod io {
    #[cfg(test)]
    mod loom_tests;
    mod reading;
    mod writing;
}
mod message;
mod pipe;
#[cfg(not(loom))]
mod proto;
#[cfg(not(loom))]
mod proxy;
#[cfg(not(loom))]
mod routing;
#[cfg(not(loom))]
mod socket;
mod socket_type;
mod sync;
#[cfg(not(loom))]
mod transport;

#[cfg(not(loom))]
pub use config::{
    Conflate, Heartbeat, HighWaterMark, InvalidPrefix, IpPrefix, OptionError, ReconnectPolicy,
    SocksProxy,
};
#[cfg(not(loom))]
pub use context::{Context, ContextBuilder};
#[cfg(not(loom))]
pub use endpoint::{Endpoint, EndpointError, ToEndpoint, Transport};
#[cfg(not(loom))]
pub use error::{
    BindError, BuildError, ConnectError, GroupError, GroupSendError, ManualError, PollError,
    ProxyError, RecvError, RequestError, SendBatchError, SendError, SendFailure, StillOpen,
    SubscribeError, UnknownEndpoint, UnknownPeer, UnknownRoutingId, WaitEnd, WaitTimeout,
};
pub use frame::FrameError;
#[cfg(not(loom))]
pub use io::{
    ConnectionId, ConnectionSnapshot, DisconnectReason, DropCause, EndpointId, Initiator, Monitor,
    MonitorOptions, OpenSocket, ProxyFailure, SocketEvent, SocketId, Subscription,
    SubscriptionLimit, ThreadSnapshot, Traffic,
};
pub use message::{
    Frame, FrameCount, FrameLength, Group, IntoMessage, InvalidGroup, InvalidPeerId,
    InvalidRoutingId, Message, MessageBuilder, PeerId, PeerProperties, RoutingId,
};
#[cfg(not(loom))]
pub use proto::{
    Incompatible, LimitExceeded, Malformed, Misbehaved, PeerName, ProtocolError, Refusal, TimedOut,
    UpgradeFault, WebSocketFault,
};
#[cfg(not(loom))]
pub use proxy::{
    Proxy, ProxyAside, ProxyHandle, ProxyReport, ProxyState, ProxyStatistics, Reflected,
    RunningProxy, SideStatistics,
};
#[cfg(not(loom))]
pub use routing::DuplicateId;
#[cfg(all(feature = "futures", not(loom)))]
pub use socket::Messages;
#[cfg(not(loom))]
pub use socket::{
    Channel, Client, CloseReport, ContextSnapshot, Datagram, Dealer, Dgram, Dish, EventFd, Figure,
    FigureKind, Gather, Interest, Pair, Peer, PeerState, PendingRequest, PollEvents, PollItem,
    Pollable, Poller, ProxySocket, Pub, Pull, Push, Radio, Readiness, Receiver, RecvPart, Rep, Req,
    RequestOptions, Requester, Router, Scatter, SendPart, Sender, Server, Shareable, Shared,
    SocketBuilder, SocketKind, SocketOptions, SocketSnapshot, SocketStats, Split, Stream, Sub,
    SubscriptionEvent, TimerId, XPub, XSub,
};
pub use socket_type::SocketType;
pub use sync::ThreadScheduling;
#[cfg(not(loom))]
pub use sync::{sleep_until, Sleep};

/// The version of this crate, such as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Bodies of the fuzz targets in `fuzz/`; not part of the API.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;

/// What `benches/sharing.rs` counts with; not part of the API.
#[cfg(sinew_sharing)]
#[doc(hidden)]
pub use sync::sharing;
