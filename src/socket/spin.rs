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
    /// The shortest while.
    least: Duration,
    /// Waits until the next attempt, once it does not pay.
    rest: u32,
}

/// The longest while: about what sleeping would cost. So the price of a mistake is at most another wait.
const MOST: Duration = Duration::from_micros(50);

/// The shortest: a round trip between two threads that both look takes less.
const LEAST: Duration = Duration::from_micros(12);

/// The shortest where what is waited for may have to wake a thread first.
const LEAST_FOR_OTHERS: Duration = Duration::from_micros(25);

/// So many waits in vain are followed by one that is tried again.
const REST: u32 = 64;

impl Spin {
    /// For a socket that waits for an answer.
    pub(super) fn adaptive() -> Self {
        Spin::of_at_least(LEAST)
    }

    /// For a wait that other threads of this process end as well.
    pub(super) fn for_others() -> Self {
        Spin::of_at_least(LEAST_FOR_OTHERS)
    }

    fn of_at_least(least: Duration) -> Self {
        match several_processors() {
            true => Spin::Adaptive(Budget {
                time: least,
                least,
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
        if self.time < self.least {
            self.time = self.least;
            self.rest = REST;
        }
    }
}

/// How a receive follows a stream of messages.
///
/// One that slept as soon as it has caught up would be woken by the sender at its next message, which costs that more
/// than the message; and one that looked for it all the time would take the sender's cache lines from it for each
/// message. So it lets the sender get ahead, and then looks. If there still is nothing it sleeps. Where few messages
/// came since the last wait there is no stream, but perhaps somebody who waits for an answer to each.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// Messages that had come at the last wait.
    before: u64,
}

impl Follow {
    /// Calls `look` a little later, in a stream. Whether that found something. `came`: messages, so far.
    pub(super) fn look(
        &mut self,
        came: u64,
        deadline: Option<Instant>,
        look: impl FnOnce() -> bool,
    ) -> bool {
        let since = came - std::mem::replace(&mut self.before, came);
        if since < STREAM || !several_processors() {
            return false;
        }
        let at = clock::now() + AHEAD;
        if deadline.is_some_and(|deadline| deadline < at) {
            return false;
        }
        // Once, for a sender that has to share the processor: it is a call of the system's.
        std::thread::yield_now();
        while clock::now() < at {
            std::hint::spin_loop();
        }
        look()
    }
}

/// So many messages from one wait to the next are a stream.
const STREAM: u64 = 8;

/// How far the sender is let ahead: some ten bodies by reference, and less than to be woken takes. Of bodies by
/// reference half as many again went through as without (two cores; 5 to 20 µs, and a second look, make no difference).
const AHEAD: Duration = Duration::from_micros(10);

/// With one processor nobody else can do anything while one looks. To ask takes the system some time.
fn several_processors() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| std::thread::available_parallelism().is_ok_and(|count| count.get() > 1))
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
            least: LEAST,
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
    fn a_stream_is_followed_until_nothing_comes() {
        if !several_processors() {
            return;
        }
        let mut follow = Follow::default();
        let mut finds = |came, found| {
            let mut looks = 0;
            let found = follow.look(came, None, || {
                looks += 1;
                found
            });
            (found, looks)
        };
        assert_eq!(finds(STREAM - 1, true), (false, 0), "no stream yet");
        assert_eq!(finds(2 * STREAM, true), (true, 1));
        assert_eq!(finds(2 * STREAM + 1, true), (false, 0), "one, as of a call");
        assert_eq!(finds(3 * STREAM + 1, false), (false, 1));
        assert_eq!(finds(4 * STREAM, true), (false, 0), "few came since");
        assert_eq!(finds(5 * STREAM, true), (true, 1));
        let now = Some(clock::now());
        assert!(!follow.look(6 * STREAM, now, || true), "it is too late");
    }

    #[test]
    fn always_is_until_the_deadline_and_off_is_never() {
        assert_eq!(looks(&mut Spin::Always, 10_000), (true, 10_000));
        assert!(!Spin::Always.until(Some(clock::now()), || false));
        assert_eq!(looks(&mut Spin::Off, 1), (false, 0));
    }
}
