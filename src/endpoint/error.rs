//! What can be wrong with an endpoint.

use thiserror::Error;

/// Text that is no [`Endpoint`](super::Endpoint), or an endpoint that does not fit its use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The text breaks the grammar.
    #[error("`{input}` is not an endpoint: expected {expected}")]
    Syntax {
        /// The whole text given.
        input: Box<str>,
        /// What should have stood there.
        expected: &'static str,
    },
    /// The transport exists in the ZeroMQ family but not in Sinew.
    #[error("`{input}` uses the transport `{scheme}`, which is not available: expected {SCHEMES}")]
    UnsupportedTransport {
        /// The whole text given.
        input: Box<str>,
        /// The name before `://`.
        scheme: &'static str,
    },
    /// A good endpoint, but not one to bind.
    #[error("`{input}` cannot be bound: expected {expected}")]
    NotBindable {
        /// The whole endpoint.
        input: Box<str>,
        /// What can be bound.
        expected: &'static str,
    },
    /// A good endpoint, but not one to connect to.
    #[error("`{input}` cannot be connected to: expected {expected}")]
    NotConnectable {
        /// The whole endpoint.
        input: Box<str>,
        /// What can be connected to.
        expected: &'static str,
    },
    /// An ipc path longer than a socket address holds.
    #[error("`{input}` has an ipc path of {octets} octets: expected fewer than {IPC_PATH_LIMIT}")]
    PathTooLong {
        /// The whole text given.
        input: Box<str>,
        /// The length of the path.
        octets: usize,
    },
}

/// The transports that there are.
#[cfg(feature = "ws")]
const SCHEMES: &str = "`tcp://`, `ipc://`, `inproc://`, `udp://` or `ws://`";
#[cfg(not(feature = "ws"))]
const SCHEMES: &str = "`tcp://`, `ipc://`, `inproc://` or `udp://`";

/// The size of `sun_path` on Linux, with its final zero.
pub(super) const IPC_PATH_LIMIT: usize = 108;
