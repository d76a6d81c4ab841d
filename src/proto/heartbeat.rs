//! Heartbeats: noticing that a peer is gone, and not mistaking back-pressure for that (37/ZMTP 3.1,
//! "Heartbeating").
//!
//! Two timers may end a connection. The *probe* is ours: it is armed by our `PING` and expires after
//! our time-out. The *time to live* is the peer's: it is armed by the peer's `PING` for as long as
//! that says. Whatever the peer sends disarms both.
//!
//! Three things would make a living peer look dead, and are taken care of:
//! - While this side does not read, what the peer sent lies unread. Nothing expires then, and on
//!   resuming both timers start afresh.
//! - The peer, for its part, must not conclude from our pausing that we are gone, for we do not read
//!   its `PING`s. We keep sending our own, often enough for the peer.
//! - A `PING` of ours may be stuck behind a large frame of ours that is still being written, so that
//!   the peer has nothing to answer. While such a write gets on, the peer's end acknowledges octets,
//!   and that disarms the probe. A write that is stuck for good does not, or a dead link with a full
//!   queue would never be noticed.
//!
//! Control traffic that waits to be sent is one `PING` and one `PONG` (the latest), whatever the
//! peer does.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::command::heartbeat::{encode_ping, encode_pong, ttl_ticks, Ping};
use super::config::ConnectionConfig;
use super::error::{ProtocolError, TimedOut};

/// The heartbeat of one connection.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// Whether the peer's version knows `PING`.
    peer_knows_ping: bool,
    /// The period of our `PING`s.
    interval: Option<Duration>,
    /// How long the peer may be silent after one; `None`: for ever.
    timeout: Option<Duration>,
    ttl_ticks: u16,
    /// What the peer's last `PING` said, if it said anything.
    peer_ttl: Option<Duration>,
    paused: bool,
    next_ping: Option<Instant>,
    /// When our `PING` has been without any sign of life for too long.
    probe: Option<Instant>,
    peer_deadline: Option<Instant>,
    ping_due: bool,
    pong_due: Option<Bytes>,
}

impl Heartbeat {
    /// The handshake is done, with a peer that knows `PING` or does not.
    pub(super) fn new(config: &ConnectionConfig, peer_knows_ping: bool, now: Instant) -> Self {
        let interval = config
            .heartbeat_interval
            .filter(|interval| peer_knows_ping && !interval.is_zero());
        let mut heartbeat = Heartbeat {
            peer_knows_ping,
            interval,
            timeout: interval
                .map(|interval| config.heartbeat_timeout.unwrap_or(interval))
                .filter(|timeout| !timeout.is_zero()),
            ttl_ticks: ttl_ticks(config.heartbeat_ttl),
            peer_ttl: None,
            paused: false,
            next_ping: None,
            probe: None,
            peer_deadline: None,
            ping_due: false,
            pong_due: None,
        };
        heartbeat.next_ping = heartbeat.ping_after(now);
        heartbeat
    }

    /// The peer is alive.
    #[inline]
    pub(super) fn handle_traffic(&mut self, _now: Instant) {
        self.probe = None;
        self.peer_deadline = None;
    }

    /// A write that the peer's end had held up got on.
    pub(super) fn handle_write_progress(&mut self) {
        self.probe = None;
    }

    /// The peer sent a `PING`.
    pub(super) fn handle_ping(&mut self, ping: Ping, now: Instant) {
        self.pong_due = Some(ping.context);
        self.peer_ttl = Some(ping.ttl).filter(|ttl| !ttl.is_zero());
        self.peer_deadline = self.peer_ttl.and_then(|ttl| now.checked_add(ttl));
        if self.paused {
            self.next_ping = earlier(self.next_ping, self.ping_after(now));
        }
    }

    /// Reading stops or goes on.
    pub(super) fn set_paused(&mut self, paused: bool, now: Instant) {
        if self.paused == paused {
            return;
        }
        self.paused = paused;
        if paused {
            // The last PING may have been long ago.
            self.next_ping = earlier(self.next_ping, self.ping_after(now));
        } else {
            self.next_ping = self.ping_after(now);
            self.probe = self.probe.and_then(|_| self.new_probe(now));
            self.peer_deadline = self
                .peer_deadline
                .and(self.peer_ttl)
                .and_then(|ttl| now.checked_add(ttl));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.paused {
            return self.next_ping;
        }
        earlier(self.next_ping, earlier(self.probe, self.peer_deadline))
    }

    /// Whether the peer has been silent for too long by now.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let expired = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        !self.paused && (expired(self.probe) || expired(self.peer_deadline))
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.is_overdue(now) {
            return Err(TimedOut::Heartbeat.into());
        }
        if self.next_ping.is_some_and(|at| at <= now) {
            self.probe = self.probe.or_else(|| self.new_probe(now));
            self.ping_due = true;
            // Counted from now: a thread that was held up sends one PING, not all it has missed.
            self.next_ping = self.ping_after(now);
        }
        Ok(())
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would append anything.
    pub(super) fn wants_transmit(&self) -> bool {
        self.ping_due || self.pong_due.is_some()
    }

    /// Appends what is due.
    pub(super) fn poll_transmit(&mut self, out: &mut BytesMut) {
        if let Some(context) = self.pong_due.take() {
            encode_pong(out, &context);
        }
        if std::mem::take(&mut self.ping_due) {
            encode_ping(out, self.ttl_ticks);
        }
    }

    /// When a probe that starts now expires, if ever.
    fn new_probe(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.timeout?)
    }

    /// When the `PING` after one at `now` is due.
    fn ping_after(&self, now: Instant) -> Option<Instant> {
        if !self.peer_knows_ping {
            return None;
        }
        let period = if self.paused {
            // Half of what the peer allows: a PING sent just in time arrives too late.
            let for_peer = self.peer_ttl.map(|ttl| ttl / 2);
            earlier(self.interval, for_peer)
        } else {
            self.interval
        };
        now.checked_add(period?)
    }
}

/// The smaller of those there are.
fn earlier<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
