//! Calls: what the caller may say about one, and how it can end. Shared by `rpc` and `mdp`.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::{Backoff, BreakerConfig, Headers, Random, RetryBudget, Status};

/// The name of a request or message: 128 bits, unique for all practical purposes.
///
/// ```
/// use sinew_patterns::common::{MsgId, Random};
///
/// let mut random = Random::new(1);
/// assert_ne!(MsgId::random(&mut random), MsgId::random(&mut random));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgId(pub [u8; 16]);

impl MsgId {
    /// A name drawn by chance. Two generators of the same seed draw the same names.
    #[must_use]
    pub fn random(random: &mut Random) -> Self {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        octets[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        MsgId(octets)
    }
}

impl fmt::Debug for MsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MsgId(")?;
        for octet in self.0 {
            write!(f, "{octet:02x}")?;
        }
        f.write_str(")")
    }
}

/// May a request be asked more than once?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Idem {
    /// Yes: carrying it out twice does no harm.
    #[default]
    Safe,
    /// Yes: the server knows requests by this name. One that has finished a request and still knows it
    /// ([`CacheConfig`](super::CacheConfig)) sends the same reply instead of carrying it out again, and so does a
    /// broker. Without a store that is once per server, and not once in all: another server that is asked because the first seemed dead,
    /// one that was restarted, or another worker of a broker that has no reply yet may carry it out as well, and a worker
    /// does if a frame is repeated to it. Handlers that must do better write the name
    /// ([`Request::id`](crate::Request::id)) down with the effect.
    ///
    /// Servers of `rpc` that share a store of keys ([`DedupStore`](super::DedupStore)) carry it out once, all of them
    /// together and through whatever kills them, for as long as the store knows the key
    /// ([`StoreLimits::age`](super::StoreLimits)). If one dies at work, nobody knows how far it came: the call
    /// ends with [`CallError::Remote`] of the status [`InDoubt`](Status::InDoubt), which says
    /// [`maybe_executed`](CallError::maybe_executed).
    ///
    /// Needs a server or broker that speaks the extension header ([`Ext`](super::Ext)) and keeps replies, or has a store.
    Key(MsgId),
    /// No: it is sent once, and a broker gives it to one worker. It can still be left unknown whether it was carried
    /// out, and it may be carried out again if somebody on the way repeats its frame, which TCP does not.
    Once,
}

/// Options of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOptions {
    /// When the call ends, reply or no reply, counted from its beginning. Default: 10 s.
    pub deadline: Duration,
    /// Whether it may be retried. Default: yes.
    pub idem: Idem,
    /// From 0 to 7, 7 first; more counts as 7. Default: 0. Decides between calls that wait to be sent,
    /// and is told to servers that speak the extension header.
    pub priority: u8,
    /// What handlers are told besides the body, such as a traceparent. Default: none.
    pub headers: Headers,
}

impl Default for CallOptions {
    fn default() -> Self {
        CallOptions {
            deadline: Duration::from_secs(10),
            idem: Idem::Safe,
            priority: 0,
            headers: Headers::new(),
        }
    }
}

/// When a call is asked again, and whom it is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long to wait for a reply before trying elsewhere or again. Less than 1 ms counts as 1 ms.
    /// Default: 1 s.
    pub attempt_timeout: Duration,
    /// How often one request is sent at most; 0 counts as 1. The last attempt has all the time that is
    /// left. Default: 4.
    pub max_attempts: u32,
    /// After how long without a reply a second server is asked as well, while the first one goes on; the first reply
    /// counts, and the other server is told to stop. Of use where one of several servers may be slow for a moment: take
    /// what 95 in 100 replies are faster than. It is a retry like others: never for [`Idem::Once`], counted in
    /// `max_attempts` and `budget`, half of which is left for calls that fail, and only once per call. Less than 1 ms counts as 1 ms; `attempt_timeout` and more
    /// is never. Default: `None`, never.
    pub hedge_after: Option<Duration>,
    /// The pauses before retries.
    pub backoff: Backoff,
    /// What keeps retries from multiplying the load of servers that are in trouble. `None` for no limit
    /// but `max_attempts`.
    pub budget: Option<RetryBudget>,
    /// When a server that fails is left alone. `None` for never.
    pub breaker: Option<BreakerConfig>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempt_timeout: Duration::from_secs(1),
            max_attempts: 4,
            hedge_after: None,
            backoff: Backoff::default(),
            budget: Some(RetryBudget::default()),
            breaker: Some(BreakerConfig::default()),
        }
    }
}

impl RetryPolicy {
    /// The time-out of an attempt, in bounds.
    pub(crate) fn step(&self) -> Duration {
        // Less would be a busy loop.
        self.attempt_timeout
            .clamp(Duration::from_millis(1), super::LONGEST)
    }
}

/// What a server says instead of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What kind of failure.
    pub status: Status,
    /// Why, in words for people. Longer texts than an extension header has room for are cut when sent.
    pub reason: String,
    /// When to come back. Clients honour it if the status is [`Status::Rejected`]. On the wire in milliseconds.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// The handler failed, for this reason.
    pub fn failed(reason: impl Into<String>) -> Self {
        Fault {
            status: Status::Failed,
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// There is no room for the request, which was not begun and may come again after this time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinew_patterns::common::{Fault, Status};
    ///
    /// let fault = Fault::rejected(Duration::from_millis(250), "three run already");
    /// assert_eq!(fault.status, Status::Rejected);
    /// ```
    pub fn rejected(retry_after: Duration, reason: impl Into<String>) -> Self {
        Fault {
            status: Status::Rejected,
            reason: reason.into(),
            retry_after: Some(retry_after),
        }
    }

    /// Its deadline was over before it was begun.
    pub(crate) fn expired() -> Self {
        Fault {
            status: Status::Expired,
            reason: String::new(),
            retry_after: None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.status.code(), self.reason)
    }
}

/// Why a call got no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The deadline came first.
    #[error("no reply in time, the request was sent {attempts} times")]
    TimedOut {
        /// How often the request was sent, at least once.
        attempts: u32,
        /// Whether a server may have carried it out.
        maybe_executed: bool,
    },
    /// No server was connected before the deadline (`attempts` is 0), or the connection was lost with
    /// the request, and no retry was allowed.
    #[error("no connection to a server, the request was sent {attempts} times")]
    Disconnected {
        /// How often the request was sent.
        attempts: u32,
        /// Whether a server may have carried it out.
        maybe_executed: bool,
    },
    /// The server declined it, and has not begun with it: it had no room (429), or cannot, or not now (503), as while it
    /// drains. Retries, where they are allowed, came to the same.
    #[error("the server declined: {}", declined(*status, reason, *retry_after))]
    Rejected {
        /// [`Status::Rejected`] if it had no room, otherwise [`Status::Unavailable`].
        status: Status,
        /// What it said of that; often nothing.
        reason: String,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
        /// Whether an earlier attempt may have been carried out.
        maybe_executed: bool,
    },
    /// Every connected server has failed too often of late; nothing was sent.
    #[error("all servers fail, and are left alone for another {retry_after:?}")]
    CircuitOpen {
        /// When the first of them is tried again.
        retry_after: Duration,
    },
    /// Nobody offers this service.
    #[error("nobody offers this service")]
    NoService {
        /// Whether an earlier attempt may have been carried out.
        maybe_executed: bool,
    },
    /// The server tells of a failure.
    #[error("the server failed: {0}")]
    Remote(Fault),
    /// Too many calls, or too many octets of them, are running already; nothing was sent.
    #[error("too many calls at once: {calls} calls of {bytes} octets are running")]
    TooMany {
        /// Calls that are running.
        calls: usize,
        /// Octets of their requests.
        bytes: usize,
    },
    /// More partial replies came than the caller read; the rest was declined.
    #[error("the partial replies were not read fast enough, {unread} of them waited")]
    Overrun {
        /// How many were not read.
        unread: usize,
    },
    /// More came in parts than the caller takes in one piece; the rest was declined.
    #[error("a reply in parts of more than {limit} octets, to be put together")]
    ReplyTooLarge {
        /// The most there may be.
        limit: usize,
    },
    /// [`Idem::Key`] was asked for, but the servers are not known to speak the extension header; nothing
    /// was sent.
    #[error("an idempotence key needs the extension header, which is not switched on")]
    NeedsExt,
    /// The name of a service that cannot be sent.
    #[error("a service has a name of 1 to 255 octets, this one has {0}")]
    ServiceName(usize),
    /// The request, with what goes before it, is larger than the socket sends; nothing was sent.
    #[error("a request of {size} octets in a frame or in all, where at most {limit} are sent")]
    TooLarge {
        /// Octets in the frame, or in all frames.
        size: u64,
        /// The most there may be.
        limit: u64,
    },
    /// Another call with this idempotence key is running.
    #[error("another call with the idempotence key {0:?} is running")]
    KeyInUse(MsgId),
    /// The caller gave it up.
    #[error("the call was cancelled")]
    Cancelled,
    /// The client was closed.
    #[error("the client was closed")]
    Closed {
        /// Whether a server may have carried it out.
        maybe_executed: bool,
    },
}

/// Why a server has not begun, in words.
fn declined(status: Status, reason: &str, retry_after: Option<Duration>) -> String {
    let mut text = String::from(match status {
        Status::Rejected => "it is full",
        _ => "not here, or not now",
    });
    if !reason.is_empty() {
        text.push_str(&format!(" ({reason:?})"));
    }
    if let Some(pause) = retry_after {
        text.push_str(&format!(", and asks to wait {pause:?}"));
    }
    text
}

impl CallError {
    /// Whether a server may have carried the request out. If not, asking again is safe in any case.
    #[must_use]
    pub fn maybe_executed(&self) -> bool {
        match self {
            CallError::TimedOut { maybe_executed, .. }
            | CallError::Disconnected { maybe_executed, .. }
            | CallError::Rejected { maybe_executed, .. }
            | CallError::NoService { maybe_executed }
            | CallError::Closed { maybe_executed } => *maybe_executed,
            CallError::Remote(_)
            | CallError::Overrun { .. }
            | CallError::ReplyTooLarge { .. }
            | CallError::Cancelled => true,
            CallError::CircuitOpen { .. }
            | CallError::TooMany { .. }
            | CallError::NeedsExt
            | CallError::TooLarge { .. }
            | CallError::KeyInUse(_)
            | CallError::ServiceName(_) => false,
        }
    }
}
