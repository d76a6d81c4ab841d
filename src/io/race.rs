//! One round of attempts to connect, to every address of a name.
//!
//! The next attempt starts when the ones under way have failed, or a little after the last one
//! (RFC 8305, section 5, "Connection Attempts"): an address that never answers costs a moment, and not
//! the minutes until the system gives it up. The first connection made is the one; the others are
//! closed. Families take turns already in what the resolver answers.
//!
//! What this does not know: the poll that tells of progress, and what a connection is for.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::transport::{ConnectTarget, Stream};

/// Who is still to be tried, and the attempts under way.
#[derive(Debug, Default)]
pub(super) struct Race {
    waiting: VecDeque<ConnectTarget>,
    /// The oldest first.
    attempts: Vec<Attempt>,
    /// When not to wait any longer for those under way.
    next_at: Option<Instant>,
}

#[derive(Debug)]
struct Attempt {
    stream: Stream,
    target: ConnectTarget,
    deadline: Option<Instant>,
}

/// What has become of one attempt, which is under way no longer.
#[derive(Debug)]
pub(super) enum Outcome {
    Connected(Stream),
    Failed(Stream, io::Error),
    TooLate(Stream),
}

impl Race {
    pub(super) fn new(targets: impl IntoIterator<Item = ConnectTarget>) -> Self {
        Race {
            waiting: targets.into_iter().collect(),
            ..Race::default()
        }
    }

    /// The target to be tried now, if it is time for one.
    pub(super) fn due(&mut self, now: Instant) -> Option<ConnectTarget> {
        if self.attempts.is_empty() || self.next_at.is_some_and(|at| at <= now) {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// An attempt has started, and may take this long.
    pub(super) fn start(
        &mut self,
        target: ConnectTarget,
        stream: Stream,
        now: Instant,
        limit: Option<Duration>,
    ) {
        self.attempts.push(Attempt {
            stream,
            target,
            deadline: limit.and_then(|limit| now.checked_add(limit)),
        });
        self.next_at = now.checked_add(ATTEMPT_DELAY);
    }

    /// Takes out one attempt that has ended, if there is any.
    pub(super) fn ended(&mut self, now: Instant) -> Option<Outcome> {
        for (index, attempt) in self.attempts.iter().enumerate() {
            let outcome: fn(Stream) -> Outcome = match attempt.stream.finish_connect() {
                Ok(true) => Outcome::Connected,
                Ok(false) if attempt.deadline.is_some_and(|at| at <= now) => Outcome::TooLate,
                Ok(false) => continue,
                Err(error) => {
                    return Some(Outcome::Failed(self.attempts.remove(index).stream, error))
                }
            };
            return Some(outcome(self.attempts.remove(index).stream));
        }
        None
    }

    /// Gives up the attempts under way. Their targets are the first to be tried again, should the connection
    /// that was made come to nothing.
    pub(super) fn stop(&mut self) -> Vec<Stream> {
        let mut streams = Vec::with_capacity(self.attempts.len());
        for attempt in self.attempts.drain(..).rev() {
            self.waiting.push_front(attempt.target);
            streams.push(attempt.stream);
        }
        streams
    }

    /// When to look again, should nothing happen before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let next = self.next_at.filter(|_| !self.waiting.is_empty());
        let deadlines = self.attempts.iter().filter_map(|attempt| attempt.deadline);
        deadlines.chain(next).min()
    }

    /// Whether every attempt has ended, and there is nobody left to try.
    pub(super) fn is_over(&self) -> bool {
        self.attempts.is_empty() && self.waiting.is_empty()
    }
}

/// The recommended "Connection Attempt Delay" (RFC 8305, section 8, "Configurable Values").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

#[cfg(test)]
pub(super) mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use super::{Outcome, Race, ATTEMPT_DELAY};
    use crate::config::SocketConfig;
    use crate::transport::{start_connect, ConnectTarget, Stream};

    /// An address that never answers: a listener whose queue is full, for as long as it lives. Whoever would
    /// be next is not even refused.
    pub(in crate::io) fn silent() -> (Vec<socket2::Socket>, SocketAddr) {
        let new = || {
            let (domain, kind) = (socket2::Domain::IPV4, socket2::Type::STREAM);
            socket2::Socket::new(domain, kind, None).unwrap()
        };
        let listener = new();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut held = vec![listener];
        loop {
            let client = new();
            client.set_nonblocking(true).unwrap();
            // Loopback connects before the call returns what it will ever connect.
            let _ = client.connect(&addr);
            let queued = client.peer_addr().is_ok();
            held.push(client);
            if !queued {
                return (held, addr.as_socket().unwrap());
            }
        }
    }

    fn tcp(addr: SocketAddr) -> ConnectTarget {
        ConnectTarget::Tcp { addr, source: None }
    }

    fn open(target: &ConnectTarget) -> Stream {
        start_connect(target, &SocketConfig::default()).unwrap()
    }

    const LIMIT: Duration = Duration::from_secs(3);

    #[test]
    fn the_next_address_does_not_wait_for_one_that_never_answers() {
        let (_held, addr) = silent();
        let mut race = Race::new([tcp(addr), tcp(addr), tcp(addr)]);
        let mut now = Instant::now();
        for left in [2, 1, 0] {
            let target = race.due(now).unwrap();
            race.start(target.clone(), open(&target), now, Some(LIMIT));
            let almost = now + ATTEMPT_DELAY - Duration::from_nanos(1);
            assert!(race.ended(almost).is_none());
            assert_eq!(race.due(almost), None);
            if left > 0 {
                now += ATTEMPT_DELAY;
                assert_eq!(race.wake_at(), Some(now));
            }
        }
        // Each has a limit of its own.
        for n in [2, 1, 0] {
            let end = now + LIMIT - n * ATTEMPT_DELAY;
            assert_eq!(race.wake_at(), Some(end));
            assert!(matches!(race.ended(end), Some(Outcome::TooLate(_))));
            assert!(race.ended(end).is_none());
        }
        assert!(race.is_over());
        assert_eq!(race.wake_at(), None);
    }

    #[test]
    fn a_failure_is_followed_at_once_if_nothing_else_is_under_way() {
        let (_held, addr) = silent();
        let mut race = Race::new([tcp(addr), tcp(addr)]);
        let now = Instant::now();
        let first = race.due(now).unwrap();
        race.start(first.clone(), open(&first), now, Some(Duration::ZERO));
        assert!(matches!(race.ended(now), Some(Outcome::TooLate(_))));
        assert!(race.due(now).is_some());
    }

    #[test]
    fn the_first_connection_wins_and_the_others_are_closed_but_not_forgotten() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let (_held, addr) = silent();
        let (_other_held, other) = silent();
        let mut race = Race::new([tcp(addr), tcp(other), tcp(good)]);
        let mut now = Instant::now();
        while let Some(target) = race.due(now) {
            race.start(target.clone(), open(&target), now, None);
            now += ATTEMPT_DELAY;
        }
        let Some(Outcome::Connected(winner)) = race.ended(now) else {
            panic!("loopback connects at once: {race:?}");
        };
        assert_eq!(winner.peer_label(), good.to_string());
        assert_eq!(race.stop().len(), 2);
        assert!(!race.is_over());
        assert_eq!(race.due(now), Some(tcp(addr)));
        assert_eq!(race.due(now), Some(tcp(other)));
        assert!(race.is_over());
    }
}
