//! A simulated pair of connections with a virtual clock, for tests.
//!
//! Octets travel in segments split at random points, with a delay each way; a direction can be cut
//! after so many octets. Each end walks frames after its handshake as a driver does. Nothing sleeps:
//! [`Pair::advance`] jumps from one happening to the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::{Connection, ConnectionConfig, Event, Opening, ProtocolError};
use crate::frame;
use crate::socket_type::SocketType;

/// The types that shake hands.
pub(super) fn types() -> impl Iterator<Item = SocketType> + Clone {
    SocketType::ALL
        .into_iter()
        .filter(|socket_type| !matches!(socket_type, SocketType::Stream | SocketType::Dgram))
}

/// A small deterministic generator (xorshift64*).
#[derive(Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform enough in `1..=max`.
    pub(super) fn up_to(&mut self, max: usize) -> usize {
        1 + (self.next() >> 33) as usize % max
    }
}

/// One end, its driver, and what travels towards it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) connection: Connection,
    /// Segments under way to this end, and when they arrive.
    incoming: VecDeque<(Instant, Vec<u8>)>,
    /// Octets that still get through to this end; `None`: all.
    pub(super) cut_after: Option<usize>,
    /// Received after the handshake, not a whole frame yet.
    unread: BytesMut,
    paused: bool,
    pub(super) events: Vec<Event>,
    pub(super) messages: Vec<Bytes>,
    pub(super) error: Option<ProtocolError>,
    /// Everything this end has sent.
    pub(super) sent: BytesMut,
}

/// Both ends.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) delay: Duration,
    rng: Rng,
    max_segment: usize,
    pub(super) ends: [Endpoint; 2],
}

impl Endpoint {
    pub(super) fn new(config: ConnectionConfig, now: Instant) -> Self {
        Endpoint {
            connection: Connection::new(Arc::new(config), Opening::Stream, now),
            incoming: VecDeque::new(),
            cut_after: None,
            unread: BytesMut::new(),
            paused: false,
            events: Vec::new(),
            messages: Vec::new(),
            error: None,
            sent: BytesMut::new(),
        }
    }

    /// When this end has something to do.
    fn next(&self) -> Option<Instant> {
        if self.error.is_some() {
            return None;
        }
        let arrival = self.incoming.front().map(|(at, _)| *at);
        let arrival = arrival.filter(|_| !self.paused);
        [arrival, self.connection.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Octets have come from nowhere in particular.
    pub(super) fn receive(&mut self, octets: &[u8], now: Instant) {
        self.incoming.push_back((now, octets.to_vec()));
        self.run(now);
    }

    fn run(&mut self, now: Instant) {
        if self.error.is_none() {
            if let Err(error) = self.try_run(now) {
                self.error = Some(error);
            }
        }
        while let Some(event) = self.connection.poll_event() {
            self.events.push(event);
        }
    }

    fn try_run(&mut self, now: Instant) -> Result<(), ProtocolError> {
        while !self.paused && self.incoming.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, segment)) = self.incoming.pop_front() else {
                break;
            };
            let taken = self.connection.handle_input(&segment, now)?;
            if taken < segment.len() {
                assert!(self.connection.is_ready());
                self.connection.handle_traffic(now);
                self.unread.extend_from_slice(&segment[taken..]);
                self.walk(now)?;
            }
        }
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now)?;
        }
        Ok(())
    }

    fn walk(&mut self, now: Instant) -> Result<(), ProtocolError> {
        while let Some(header) = frame::decode_header(&self.unread)? {
            let len = header.header_len + header.body_len;
            if self.unread.len() < len {
                break;
            }
            let body = self.unread.split_to(len).split_off(header.header_len);
            if header.command {
                self.connection.handle_command(&body, now)?;
            } else if !self.connection.handle_subscription_message(&body)? {
                self.messages.push(body.freeze());
            }
        }
        Ok(())
    }
}

impl Pair {
    /// Two fresh connections. The seed decides how their octets are split.
    pub(super) fn new(a: ConnectionConfig, b: ConnectionConfig, seed: u64) -> Self {
        let now = origin();
        let mut rng = Rng::new(seed);
        let max_segment = [1, 3, 17, 100, 100_000][rng.up_to(5) - 1];
        Pair {
            now,
            delay: Duration::from_millis(3),
            rng,
            max_segment,
            ends: [Endpoint::new(a, now), Endpoint::new(b, now)],
        }
    }

    /// A pair that has done its handshake.
    pub(super) fn ready(a: ConnectionConfig, b: ConnectionConfig, seed: u64) -> Self {
        let mut pair = Pair::new(a, b, seed);
        pair.advance(Duration::from_millis(50));
        for end in &pair.ends {
            assert_eq!(end.error, None);
            assert!(end.connection.is_ready());
            assert_eq!(end.events, [Event::HandshakeDone]);
        }
        pair
    }

    /// Lets this much time pass, and everything in it happen in order.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for i in 0..2 {
                self.ends[i].run(self.now);
                self.transmit(i);
            }
            let next = self.ends.iter().filter_map(Endpoint::next).min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = end;
    }

    /// Sends octets of traffic from one end, behind whatever its connection has to send.
    pub(super) fn send(&mut self, from: usize, octets: &[u8]) {
        self.transmit(from);
        assert!(self.ends[from].connection.is_ready());
        self.post(from, octets);
    }

    /// Stops reading at one end, or goes on.
    pub(super) fn set_paused(&mut self, end: usize, paused: bool) {
        self.ends[end].paused = paused;
        self.ends[end].connection.set_paused(paused, self.now);
    }

    fn transmit(&mut self, from: usize) {
        let mut out = BytesMut::new();
        let wanted = self.ends[from].connection.wants_transmit();
        assert_eq!(self.ends[from].connection.poll_transmit(&mut out), wanted);
        assert!(!self.ends[from].connection.wants_transmit());
        self.post(from, &out);
    }

    fn post(&mut self, from: usize, octets: &[u8]) {
        self.ends[from].sent.extend_from_slice(octets);
        let arrival = self.now + self.delay;
        let to = &mut self.ends[1 - from];
        let mut rest = octets;
        if let Some(left) = &mut to.cut_after {
            rest = &rest[..rest.len().min(*left)];
            *left -= rest.len();
        }
        while !rest.is_empty() {
            let n = self.rng.up_to(self.max_segment).min(rest.len());
            to.incoming.push_back((arrival, rest[..n].to_vec()));
            rest = &rest[n..];
        }
    }
}

/// The beginning of virtual time. An `Instant` can only be had from the clock, so it is read once and
/// never again.
pub(super) fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}
