//! How long a thread looks for what it waits for before it sleeps.
//!
//! To sleep and to be woken costs some 5 to 50 µs, much of a round trip, and whoever wakes it pays a system call. So it
//! looks for a while, and the while follows what came of it, as that of a socket's receive does. Every look
//! yields the processor: who is about to have something may need it.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Spin {
    time: Duration,
    /// Waits until the next attempt, once it does not pay.
    rest: u32,
}

impl Default for Spin {
    fn default() -> Self {
        Spin {
            time: LEAST,
            rest: 0,
        }
    }
}

impl Spin {
    /// Looks until there is something (`true`), or it has been long enough.
    pub(crate) fn until(&mut self, mut look: impl FnMut() -> bool) -> bool {
        if look() {
            return true;
        }
        if self.rest > 0 || !several_processors() {
            self.rest = self.rest.saturating_sub(1);
            return false;
        }
        let end = Instant::now() + self.time;
        loop {
            thread::yield_now();
            let found = look();
            // Where others want the processor a look takes as long as they do: to be woken is faster then.
            if Instant::now() >= end {
                self.failed();
                return found;
            }
            if found {
                self.time = (self.time * 2).min(MOST);
                return true;
            }
        }
    }

    fn failed(&mut self) {
        self.time /= 2;
        if self.time < LEAST {
            *self = Spin {
                time: LEAST,
                rest: REST,
            };
        }
    }
}

/// With one processor nobody else can do anything meanwhile. To ask takes the system some time.
fn several_processors() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}

/// The longest while: about what sleeping would cost. So the price of a mistake is at most another wait.
const MOST: Duration = Duration::from_micros(50);

/// The shortest.
const LEAST: Duration = Duration::from_micros(12);

/// So many waits in vain are followed by one that is tried again.
const REST: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pay_is_given_up_and_tried_again() {
        let mut spin = Spin::default();
        assert!(!spin.until(|| false));
        let looks = |spin: &mut Spin| {
            let mut looks = 0;
            let found = spin.until(|| {
                looks += 1;
                looks == 2
            });
            (found, looks)
        };
        if several_processors() {
            for _ in 0..REST {
                assert_eq!(looks(&mut spin), (false, 1));
            }
            assert_eq!(looks(&mut spin), (true, 2));
        }
        assert!(spin.until(|| true));
    }
}
