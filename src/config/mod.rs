//! Configuration: plain data, validated once.
//!
//! A socket's builder fills a [`SocketConfig`], a context's a [`ContextConfig`]; both have usable
//! defaults and are checked as a whole by `validate` before anything is started. Afterwards they are
//! read-only: a change of options makes a new value. The layers below read fields and never parse or check again. Values that cannot be
//! written wrongly (an unlimited high-water mark, a heartbeat that is off) are types of their own.

mod backoff;
mod conflate;
mod context;
mod filter;
mod limits;
mod notes;
mod socket;
mod socks;
mod timing;

use std::fmt;

use thiserror::Error;

pub(crate) use backoff::Backoff;
pub use conflate::Conflate;
pub(crate) use context::ContextConfig;
pub(crate) use filter::IpcFilters;
pub use filter::{InvalidPrefix, IpPrefix};
pub use limits::HighWaterMark;
pub(crate) use limits::{MessageLimits, SendLimits, SubscriptionLimits, LEAST_SEND_LIMIT};
pub(crate) use notes::Notes;
pub(crate) use socket::{SocketConfig, TcpConfig};
pub(crate) use socks::SocksLogin;
pub use socks::SocksProxy;
pub use timing::{Heartbeat, ReconnectPolicy};

/// An option with an impossible value, or one that cannot be changed any more.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("option `{option}` cannot be {given}: expected {expected}")]
pub struct OptionError {
    option: &'static str,
    given: Box<str>,
    expected: &'static str,
}

impl OptionError {
    pub(crate) fn new(
        option: &'static str,
        given: impl fmt::Display,
        expected: &'static str,
    ) -> Self {
        OptionError {
            option,
            given: given.to_string().into(),
            expected,
        }
    }

    /// Of an option that a socket keeps for its whole life.
    pub(crate) fn fixed(option: &'static str) -> Self {
        OptionError::new(
            option,
            "changed after the socket was made",
            "the value it was made with",
        )
    }

    /// The option's name, as the builder spells it.
    #[must_use]
    pub fn option(&self) -> &'static str {
        self.option
    }

    /// The value given.
    #[must_use]
    pub fn given(&self) -> &str {
        &self.given
    }

    /// What would have been possible.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        self.expected
    }
}
