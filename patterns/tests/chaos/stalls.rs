//! How late this machine is while a test runs: what a test may blame on it, and not on what it tests.
//!
//! A bound of time is asserted of virtual time. On processes it says something only where threads have their turns, so a
//! thread that does nothing but wait for short whiles takes note of how late it was woken.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Waits, and looks at the clock.
#[derive(Debug)]
pub(crate) struct Stalls {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Duration>,
}

impl Stalls {
    pub(crate) fn watch() -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            loop {
                let due = Instant::now() + WHILE;
                if stopped.recv_timeout(WHILE) != Err(RecvTimeoutError::Timeout) {
                    return longest;
                }
                longest = longest.max(due.elapsed());
            }
        });
        Stalls { stop, thread }
    }

    /// How late it was woken at most.
    pub(crate) fn longest(self) -> Duration {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

const WHILE: Duration = Duration::from_millis(1);
