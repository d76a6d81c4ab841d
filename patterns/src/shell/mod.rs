//! What drives engines on sockets: one loop ([`driver`]), on the caller's thread or on one of its own, and what
//! clients and servers have in common around it. The only part of this crate that reads a clock, opens sockets
//! and files, or starts threads.

mod calls;
mod directory;
mod driver;
mod inbox;
mod keeper;
mod router;
mod serving;
mod sockets;
mod spin;
mod thread;
mod watched;

pub use calls::Replies;
pub use directory::DirectoryStore;
pub use router::RouterShell;
pub use serving::Request;
pub use thread::StartError;

pub(crate) use calls::{CallEngine, Caller, Pending, Told as CallTold};
pub(crate) use driver::{Driver, Turn, With};
pub(crate) use router::{behind, PORT};
pub(crate) use serving::{Asked, Control, Part, ServeEngine, Serving, Told as ServeTold};
pub(crate) use sockets::{Sockets, RECONNECT};
pub(crate) use thread::{Desk, Running};
pub(crate) use watched::{Locked, Watched};

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use sinew::{BuildError, ConnectError, Context, Endpoint, HighWaterMark, Router, ToEndpoint};

/// A number that nobody can foresee, for names and pauses.
pub(crate) fn seed() -> u64 {
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// The endpoints that these name.
pub(crate) fn endpoints<T: ToEndpoint>(texts: &[T]) -> Result<Vec<Endpoint>, StartError> {
    if texts.is_empty() {
        return Err(StartError::NoEndpoint);
    }
    let parsed = texts.iter().map(|text| text.to_endpoint());
    Ok(parsed
        .collect::<Result<_, _>>()
        .map_err(ConnectError::from)?)
}

/// The socket of who replies to many peers.
pub(crate) fn replier(context: &Context) -> Result<Router, BuildError> {
    let builder = Router::builder().context(context);
    builder.linger(LINGER).send_hwm(QUEUE).build()
}

/// How long those who reply may take to send what is left when they end.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// What the connection of one peer has room for, besides what the system takes. Peers may be thousands, and some of them
/// read nothing: a socket's default, 64 MiB each, would be all memory. What has no room here waits in the engine, which
/// knows what can be held back, and whose turn it is.
const QUEUE: HighWaterMark = HighWaterMark::new(1000).with_bytes(256 << 10);
