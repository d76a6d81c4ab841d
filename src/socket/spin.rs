//! How long a receive looks for a message before it sleeps.
//!
//! To sleep and to be woken costs some 5 to 50 µs, most of a round trip. To look again and again costs
//! a processor that somebody else may need. So a receive in lock-step looks for a while, and the while
//! follows what came of it: it doubles when the message came within it, and halves, down to nothing,
//! when it did not; then it is tried again now and then. Every look yields the processor, so that a peer
//! that has to share it gets its turn.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::sync::clock;

/// See the module.
#[derive(Debug)]
pub(super) enum Spin {
    /// Never.
    Off,
    /// As long as it pays.
    Adaptive(Budget),
    /// Until the deadline.
    Always,
}

#[derive(Debug)]
pub(super) struct Budget {
    time: Duration,
    /// Waits until the next attempt, once it does not pay.
    rest: u32,
}

/// The longest while: about what sleeping would cost. So the price of a mistake is at most another wait.
const MOST: Duration = Duration::from_micros(50);

/// The shortest: a round trip between two threads that both look takes less.
const LEAST: Duration = Duration::from_micros(12);

/// So many waits in vain are followed by one that is tried again.
const REST: u32 = 64;

impl Spin {
    /// For a socket that waits for an answer.
    pub(super) fn adaptive() -> Self {
        // With one processor nobody else can do anything meanwhile. To ask takes the system some time.
        static SEVERAL: OnceLock<bool> = OnceLock::new();
        let several = SEVERAL.get_or_init(|| {
            std::thread::available_parallelism().is_ok_and(|count| count.get() > 1)
        });
        match several {
            true => Spin::Adaptive(Budget {
                time: LEAST,
                rest: 0,
            }),
            false => Spin::Off,
        }
    }

    /// Calls `look` until it finds something (`true`), or it has been long enough.
    pub(super) fn until(
        &mut self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> bool,
    ) -> bool {
        match self {
            Spin::Off => false,
            Spin::Always => loop {
                if look() {
                    return true;
                }
                if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                    return false;
                }
                std::hint::spin_loop();
            },
            Spin::Adaptive(budget) => {
                if budget.rest > 0 {
                    budget.rest -= 1;
                    return false;
                }
                let mut end = clock::now() + budget.time;
                if let Some(deadline) = deadline {
                    end = end.min(deadline);
                }
                loop {
                    if look() {
                        budget.paid();
                        return true;
                    }
                    std::thread::yield_now();
                    if clock::now() >= end {
                        budget.failed();
                        return false;
                    }
                }
            }
        }
    }
}

impl Budget {
    fn paid(&mut self) {
        self.time = (self.time * 2).min(MOST);
    }

    fn failed(&mut self) {
        self.time /= 2;
        if self.time < LEAST {
            self.time = LEAST;
            self.rest = REST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(spin: &mut Spin, found_at: u32) -> (bool, u32) {
        let mut looks = 0;
        let found = spin.until(None, || {
            looks += 1;
            looks == found_at
        });
        (found, looks)
    }

    #[test]
    fn what_does_not_pay_is_given_up_and_tried_again() {
        let mut spin = Spin::Adaptive(Budget {
            time: LEAST,
            rest: 0,
        });
        assert!(looks(&mut spin, 1).0);
        let Spin::Adaptive(budget) = &spin else {
            unreachable!("made so above");
        };
        assert_eq!(budget.time, LEAST * 2);
        // In vain twice, and then not at all for a while.
        assert!(!looks(&mut spin, 0).0);
        assert!(!looks(&mut spin, 0).0);
        for _ in 0..REST {
            assert_eq!(looks(&mut spin, 1), (false, 0));
        }
        assert_eq!(looks(&mut spin, 1), (true, 1));
    }

    #[test]
    fn always_is_until_the_deadline_and_off_is_never() {
        assert_eq!(looks(&mut Spin::Always, 10_000), (true, 10_000));
        assert!(!Spin::Always.until(Some(clock::now()), || false));
        assert_eq!(looks(&mut Spin::Off, 1), (false, 0));
    }
}
