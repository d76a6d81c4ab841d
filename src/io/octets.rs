//! How many octets the connections of a socket have moved: each counts its own.
//!
//! One count per socket would be a line of memory for which all I/O threads of its connections wait in
//! turn, with every read and every write. So a connection has a line of its own, which follows whoever runs
//! its pumps, and who wants to know the sum adds them up. Messages are counted beside them.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::peers::Traffic;
use super::port::Counters;
use crate::pipe::Losses;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{lock, Mutex, OwnLine};

/// What one connection has moved. Written by whoever has the token of the pump.
///
/// On a line of its own: the next allocation may be that of another connection. Both directions on one, as
/// they seldom are busy at once on two threads, and every idle connection has it.
pub(crate) type LinkOctets = OwnLine<InAndOut>;

/// See [`LinkOctets`].
#[derive(Debug, Default)]
pub(crate) struct InAndOut {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    /// Whole messages, once for each run of a pump.
    pub(crate) messages_read: AtomicU64,
    pub(crate) messages_written: AtomicU64,
    /// When the handshake was done. Here since there is room for it.
    pub(crate) since: OnceLock<Instant>,
    /// Some arrived since the last look of the heartbeat timer.
    pub(crate) traffic: AtomicBool,
}

/// What else is counted of one connection: nothing that comes with every message. It lies where a [`Link`] has room.
///
/// [`Link`]: super::link::Link
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) tries: Tries,
    /// How often the I/O thread was called to it. Written by that alone.
    pub(super) wakeups: AtomicU64,
    /// Messages received that went into no pipe.
    pub(super) unexpected: AtomicU64,
    /// What had been dropped at its pipes before they were its own.
    full_before: AtomicU64,
    conflated_before: AtomicU64,
}

/// What it took to make a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tries {
    pub(super) reconnects: u64,
    pub(super) handshake_failures: u64,
}

impl Tally {
    pub(super) fn new(tries: Tries) -> Self {
        Tally {
            tries,
            wakeups: AtomicU64::new(0),
            unexpected: AtomicU64::new(0),
            full_before: AtomicU64::new(0),
            conflated_before: AtomicU64::new(0),
        }
    }

    /// The I/O thread was called to it.
    pub(super) fn called(&self) {
        Counters::add_owned(&self.wakeups, 1);
    }

    /// The connection gets its pipes, at which so much was dropped before. To be told before a snapshot can be taken.
    pub(super) fn begin(&self, before: Losses) {
        self.full_before.store(before.full, Ordering::Relaxed);
        let conflated = before.conflated;
        self.conflated_before.store(conflated, Ordering::Relaxed);
        // Takes away from what is added to it.
        self.unexpected
            .fetch_sub(before.unwanted, Ordering::Relaxed);
    }

    pub(super) fn before(&self) -> Losses {
        Losses {
            full: self.full_before.load(Ordering::Relaxed),
            conflated: self.conflated_before.load(Ordering::Relaxed),
            unwanted: 0,
        }
    }
}

/// The counts of a socket's connections.
#[derive(Debug, Default)]
pub(crate) struct Octets(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What connections have moved that are gone.
    gone: Sum,
    counts: Vec<Arc<LinkOctets>>,
}

/// Octets of some connections together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

impl Octets {
    /// The count for a new connection. It counts for as long as somebody holds it, and what it said last
    /// stays in the sum.
    pub(super) fn join(&self) -> Arc<LinkOctets> {
        let count = Arc::new(LinkOctets::default());
        let mut state = lock(&self.0);
        if state.counts.len() == state.counts.capacity() {
            // Before there would be memory for more of them.
            state.drop_gone();
        }
        state.counts.push(Arc::clone(&count));
        count
    }

    /// All there was up to now.
    pub(crate) fn sum(&self) -> Sum {
        let mut state = lock(&self.0);
        state.drop_gone();
        let mut sum = state.gone;
        for count in &state.counts {
            sum.add(count);
        }
        sum
    }
}

impl State {
    fn drop_gone(&mut self) {
        let State { gone, counts } = self;
        counts.retain_mut(|count| {
            // Whoever gets it mutably has synchronised with the last one who held it besides.
            let last = Arc::get_mut(count).is_some();
            if last {
                gone.add(count);
            }
            !last
        });
    }
}

impl Sum {
    /// Adds what a connection has moved that is not counted here.
    pub(super) fn count(&mut self, traffic: Traffic) {
        self.read = self.read.wrapping_add(traffic.bytes_received);
        self.written = self.written.wrapping_add(traffic.bytes_sent);
    }

    pub(crate) fn and(self, other: Sum) -> Sum {
        Sum {
            read: self.read.wrapping_add(other.read),
            written: self.written.wrapping_add(other.written),
        }
    }

    fn add(&mut self, count: &LinkOctets) {
        self.read = self.read.wrapping_add(count.read.load(Ordering::Relaxed));
        self.written = self
            .written
            .wrapping_add(count.written.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_gone_stays_in_the_sum_and_takes_no_memory() {
        let octets = Octets::default();
        let stays = octets.join();
        for _ in 0..1000 {
            octets.join().read.fetch_add(2, Ordering::Relaxed);
        }
        stays.written.fetch_add(5, Ordering::Relaxed);
        assert!(lock(&octets.0).counts.capacity() < 100);
        let sum = Sum {
            read: 2000,
            written: 5,
        };
        assert_eq!(octets.sum(), sum);
        drop(stays);
        assert_eq!(octets.sum(), sum);
        assert!(lock(&octets.0).counts.is_empty());
    }
}
