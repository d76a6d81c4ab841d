//! The second side of a proxy: another socket, or the first one again.

use crate::socket::Relay;
use crate::socket_type::SocketType;

/// In place of a second socket: what the first one receives goes out by itself
/// ([`Proxy::reflect`](crate::Proxy::reflect)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reflected;

/// See the module. Out of reach of other crates.
#[allow(
    unreachable_pub,
    private_interfaces,
    reason = "a sealed trait is public so that it can bound a public one, and not nameable"
)]
pub trait Back: Send + 'static {
    /// The socket, if it is another one.
    fn relay(&mut self) -> Option<&mut dyn Relay>;

    fn socket_type(&self) -> Option<SocketType>;

    fn into_relay(self) -> Option<Box<dyn Relay>>;
}

impl<S: Relay> Back for S {
    fn relay(&mut self) -> Option<&mut dyn Relay> {
        Some(self)
    }

    fn socket_type(&self) -> Option<SocketType> {
        Some(self.port().socket_type)
    }

    fn into_relay(self) -> Option<Box<dyn Relay>> {
        Some(Box::new(self))
    }
}

impl Back for Reflected {
    fn relay(&mut self) -> Option<&mut dyn Relay> {
        None
    }

    fn socket_type(&self) -> Option<SocketType> {
        None
    }

    fn into_relay(self) -> Option<Box<dyn Relay>> {
        None
    }
}
