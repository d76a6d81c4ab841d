//! What names an endpoint: text, socket addresses, and endpoints themselves.

use std::net::SocketAddr;

use super::{Endpoint, EndpointError};

/// Anything that names an endpoint: text, or an [`Endpoint`] already parsed.
pub trait ToEndpoint {
    /// The endpoint named.
    ///
    /// # Errors
    /// If the text is no endpoint.
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError>;
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &str) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Endpoint::tcp(addr)
    }
}

impl ToEndpoint for str {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        self.parse()
    }
}

impl ToEndpoint for String {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        self.parse()
    }
}

impl ToEndpoint for Endpoint {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        Ok(self.clone())
    }
}

impl ToEndpoint for SocketAddr {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        Ok(Endpoint::tcp(*self))
    }
}

impl<T: ToEndpoint + ?Sized> ToEndpoint for &T {
    fn to_endpoint(&self) -> Result<Endpoint, EndpointError> {
        (**self).to_endpoint()
    }
}
