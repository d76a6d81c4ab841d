//! When to reconnect and when to take a silent peer for dead.

use std::time::Duration;

use super::OptionError;

/// What to do when a connection to a peer is lost or cannot be made.
///
/// By default the endpoint is tried again for ever: the first delay is drawn from 0 to 100 ms, and
/// the upper end doubles up to 30 s. Drawing from the whole range ("full jitter") keeps peers that
/// lost the same server from coming back in one moment. The range starts over only after a
/// completed handshake, so a server that accepts and then refuses is not hammered.
///
/// An attempt tries every address of the endpoint's name. An endpoint that is given up is told by a
/// [`Closed`](crate::SocketEvent::Closed) event. Refused credentials always end the attempts.
///
/// ```
/// use std::time::Duration;
/// use sinew::ReconnectPolicy;
///
/// let quick = ReconnectPolicy::backoff(Duration::from_millis(10), Duration::from_secs(1));
/// assert_ne!(quick, ReconnectPolicy::never());
///
/// // For a server that is either there or not to be waited for.
/// let once = quick.stop_when_refused();
/// # assert_ne!(once, quick);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReconnectPolicy {
    range: Option<Range>,
    jitter: Jitter,
    stops: Stops,
}

/// The upper end of the first delay, and the upper end of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Range {
    pub(super) initial: Duration,
    pub(super) max: Duration,
}

/// What chance makes of a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Jitter {
    /// Anything from nothing to the delay.
    Full,
    /// Anything from the delay to twice as much.
    Added,
    /// Nothing.
    None,
}

/// What ends the attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stops {
    /// Nobody listens there.
    pub(crate) refused: bool,
    /// The connection was lost, or the time was over, before the handshake was complete.
    pub(crate) failed_handshake: bool,
    /// The peer broke the protocol, or is none to talk to.
    pub(crate) protocol_error: bool,
    /// Nobody listens there, and the endpoint was disconnected by the application.
    pub(crate) refused_after_disconnect: bool,
}

/// Pings on a connection, so that a dead link is noticed.
///
/// By default a peer is pinged every 10 s, whatever else goes on, and the connection is dropped if
/// nothing at all arrives for 30 s after a ping.
///
/// ```
/// use std::time::Duration;
/// use sinew::Heartbeat;
///
/// let lively = Heartbeat::every(Duration::from_secs(1)).timeout(Duration::from_secs(3));
/// assert_eq!(lively.interval(), Some(Duration::from_secs(1)));
/// assert_eq!(Heartbeat::off().interval(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    interval: Option<Duration>,
    timeout: Duration,
    ttl: Duration,
}

impl ReconnectPolicy {
    /// Tries again for ever, with delays drawn from a range whose upper end starts at `initial` (at least
    /// 1 ms) and doubles up to `max` (from `initial` to 30 days).
    #[must_use]
    pub const fn backoff(initial: Duration, max: Duration) -> Self {
        ReconnectPolicy {
            range: Some(Range { initial, max }),
            jitter: Jitter::Full,
            stops: NO_STOPS,
        }
    }

    /// Tries again for ever, after delays drawn from `interval` to twice `interval`; from 1 ms to 30 days.
    /// What other libraries of the family do by default, with 100 ms.
    #[must_use]
    pub const fn constant(interval: Duration) -> Self {
        ReconnectPolicy {
            range: Some(Range {
                initial: interval,
                max: interval,
            }),
            jitter: Jitter::Added,
            stops: NO_STOPS,
        }
    }

    /// Gives the endpoint up when its connection is lost or cannot be made.
    #[must_use]
    pub const fn never() -> Self {
        ReconnectPolicy {
            range: None,
            jitter: Jitter::Full,
            stops: NO_STOPS,
        }
    }

    /// The same with the upper ends themselves as delays: nothing is left to chance, and peers that lost the
    /// same server come back together.
    #[must_use]
    pub const fn without_jitter(mut self) -> Self {
        self.jitter = Jitter::None;
        self
    }

    /// The same, but gives the endpoint up when nobody listens there (over ipc also if there is no such
    /// file). Of a name with several addresses, the last one to fail decides.
    #[must_use]
    pub const fn stop_when_refused(mut self) -> Self {
        self.stops.refused = true;
        self
    }

    /// The same, but gives the endpoint up when a connection is lost, or `handshake_timeout` is over, before
    /// the handshake is complete.
    #[must_use]
    pub const fn stop_on_failed_handshake(mut self) -> Self {
        self.stops.failed_handshake = true;
        self
    }

    /// The same, but gives the endpoint up when the peer breaks the protocol, speaks another, or is of a
    /// type that this socket cannot talk to. What other libraries of the family do by default; here such
    /// an endpoint is tried again.
    #[must_use]
    pub const fn stop_on_protocol_error(mut self) -> Self {
        self.stops.protocol_error = true;
        self
    }

    /// The same, but an endpoint that was disconnected with messages still queued, and for which therefore
    /// connections are made until the linger time is over, is given up as soon as nobody listens there.
    #[must_use]
    pub const fn stop_when_refused_after_disconnect(mut self) -> Self {
        self.stops.refused_after_disconnect = true;
        self
    }

    pub(super) const fn range(&self) -> Option<Range> {
        self.range
    }

    pub(super) const fn jitter(&self) -> Jitter {
        self.jitter
    }

    pub(crate) const fn stops(&self) -> Stops {
        self.stops
    }

    pub(super) fn validate(&self) -> Result<(), OptionError> {
        let Some(range) = self.range else {
            return Ok(());
        };
        if range.initial < MIN_RECONNECT {
            return Err(OptionError::new(
                "reconnect",
                format_args!("an initial delay of {:?}", range.initial),
                "at least 1 ms, or `ReconnectPolicy::never()`",
            ));
        }
        if range.max < range.initial || range.max > LONGEST {
            return Err(OptionError::new(
                "reconnect",
                format_args!("a longest delay of {:?}", range.max),
                "from the initial delay to 30 days",
            ));
        }
        Ok(())
    }
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        ReconnectPolicy::backoff(Duration::from_millis(100), Duration::from_secs(30))
    }
}

impl Heartbeat {
    /// Pings after every `interval`, from 1 ms to 30 days, also while messages come: what comes in tells the peer
    /// nothing. The connection is dropped when nothing arrives for three times that after a ping. That time has the same range: an interval of more than
    /// 10 days needs a [`timeout`](Self::timeout) of its own. Other values are reported by what makes the socket.
    /// (37/ZMTP 3.1, "Connection Heartbeating".)
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Heartbeat {
            interval: Some(interval),
            timeout: interval.saturating_mul(3),
            ttl: Duration::ZERO,
        }
    }

    /// No pings. Those of the peer are still answered.
    #[must_use]
    pub const fn off() -> Self {
        Heartbeat {
            interval: None,
            timeout: Duration::ZERO,
            ttl: Duration::ZERO,
        }
    }

    /// The same with this time to wait for traffic after a ping, from 1 ms to 30 days, or zero to wait for ever:
    /// silence then ends no connection, and pings only show that this side lives. Default: three times the interval.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same, asking the *peer* to drop the connection when it hears nothing for this long: from 100 ms to
    /// 6553.5 s, or zero, the default, to ask nothing. Pings carry it in steps of 100 ms (two octets of tenths of a second;
    /// 37/ZMTP 3.1, "Connection Heartbeating"); what is between two steps is taken for the lower one. Other values are
    /// reported by what makes the socket, unless there are no pings.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The time from one ping to the next; `None` if there are none.
    #[must_use]
    pub const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// The time without traffic after a ping that ends the connection; zero if none does.
    pub(crate) const fn wait(&self) -> Duration {
        self.timeout
    }

    /// The ttl field of a PING: tenths of a second (37/ZMTP 3.1, "Connection Heartbeating").
    pub(crate) fn ttl_deciseconds(&self) -> u16 {
        u16::try_from(self.ttl.as_millis() / 100).unwrap_or(u16::MAX)
    }

    pub(super) fn validate(&self) -> Result<(), OptionError> {
        let Some(interval) = self.interval else {
            return Ok(());
        };
        let (what, given, expected) = if !(MIN_HEARTBEAT..=LONGEST).contains(&interval) {
            let expected = "from 1 ms to 30 days, or `Heartbeat::off()`";
            ("interval", interval, expected)
        } else if !self.timeout.is_zero() && !(MIN_HEARTBEAT..=LONGEST).contains(&self.timeout) {
            ("timeout", self.timeout, "from 1 ms to 30 days, or zero")
        } else if !self.ttl.is_zero() && !(MIN_TTL..=MAX_TTL).contains(&self.ttl) {
            return Err(OptionError::new(
                "heartbeat",
                format_args!("a ttl of {:?}", self.ttl),
                "from 100 ms to 6553.5 s, or zero",
            ));
        } else {
            return Ok(());
        };
        Err(OptionError::new(
            "heartbeat",
            format_args!("{what} {given:?}"),
            expected,
        ))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat::every(Duration::from_secs(10))
    }
}

const NO_STOPS: Stops = Stops {
    refused: false,
    failed_handshake: false,
    protocol_error: false,
    refused_after_disconnect: false,
};

/// Durations above this are taken for a unit mixed up; below, sums of them cannot overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Less would be a busy loop on a refusing peer.
const MIN_RECONNECT: Duration = Duration::from_millis(1);
const MIN_HEARTBEAT: Duration = Duration::from_millis(1);

/// A 16-bit count of tenths of a second, in which 0 asks nothing.
const MIN_TTL: Duration = Duration::from_millis(100);
const MAX_TTL: Duration = Duration::from_millis(6_553_500);
