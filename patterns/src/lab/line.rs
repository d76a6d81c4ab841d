//! A way between two nodes that carries so much a second and takes its time: a bandwidth and a delay, and no chance.

use std::time::{Duration, Instant};

use sinew::Message;

/// What lies between two nodes, in both directions, each for itself. Messages go one after the other: each keeps the line
/// busy for its octets, and arrives the delay after the last of them. What frames cost besides is not counted, but no
/// message costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// Octets a second in each direction. 0 counts as 1.
    pub(crate) bandwidth: u64,
    /// From one end to the other.
    pub(crate) delay: Duration,
}

impl Line {
    /// How long it is busy with a message.
    pub(crate) fn takes(&self, message: &Message) -> Duration {
        self.takes_octets((message.byte_len() as u64).max(1))
    }

    /// The same of so many octets, in whole nanoseconds, and not less.
    pub(crate) fn takes_octets(&self, octets: u64) -> Duration {
        let bandwidth = u128::from(self.bandwidth.max(1));
        let nanos = (u128::from(octets) * NANOS).div_ceil(bandwidth);
        Duration::new((nanos / NANOS) as u64, (nanos % NANOS) as u32)
    }

    /// When a message of now arrives, on a line that is busy until then; it is busy longer afterwards.
    pub(crate) fn carry(&self, now: Instant, busy: &mut Instant, message: &Message) -> Instant {
        *busy = now.max(*busy) + self.takes(message);
        *busy + self.delay
    }

    /// Octets that are on their way, there and back, while the line is full: bandwidth × round trip.
    pub(crate) fn product(&self) -> u64 {
        let round_trip = (self.delay * 2).as_nanos();
        (u128::from(self.bandwidth) * round_trip / NANOS) as u64
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_one_after_the_other() {
        let line = Line {
            bandwidth: 1000,
            delay: Duration::from_millis(20),
        };
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut busy = start;
        let ten = Message::from([0; 10]);
        assert_eq!(line.carry(start, &mut busy, &ten), at(30));
        assert_eq!(line.carry(at(1), &mut busy, &ten), at(40));
        // Nothing was sent for a while.
        assert_eq!(line.carry(at(50), &mut busy, &ten), at(80));
        assert_eq!(line.carry(at(50), &mut busy, &Message::default()), at(81));
        assert_eq!(busy, at(61));
        assert_eq!(line.product(), 40);
    }

    #[test]
    fn no_octet_is_for_nothing() {
        let line = Line {
            bandwidth: 3_000_000_000,
            delay: Duration::ZERO,
        };
        assert_eq!(line.takes_octets(1), Duration::from_nanos(1));
        assert_eq!(line.takes_octets(3_000_000_000), Duration::from_secs(1));
    }
}
