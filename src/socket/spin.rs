//! How long a receive looks for a message before it sleeps.
//!
//! To sleep and to be woken costs some 5 to 50 µs, most of a round trip. To look again and again costs
//! a processor that somebody else may need. So a receive in lock-step looks for a while, about as long as
//! sleeping would take; and if the message came later than that in most waits, it looks no more, but now and
//! then to see whether that has changed. Every look yields the processor, so that a peer that has to share it
//! gets its turn. A task that looks has others polled in between.
//!
//! The while is the same however seldom it pays: if both sides of a round trip sleep, either hears from the
//! other only after a wake-up. With less time than that takes, both would have to look again in the same
//! round trip, which may never come.

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

#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Attempts in vain, less those that paid.
    vain: u32,
    /// Waits until the next attempt, once it does not pay.
    rest: u32,
}

/// How long it looks: about what sleeping would cost. So the price of a mistake is at most another wait.
pub(super) const WHILE: Duration = Duration::from_micros(50);

/// So many attempts in vain are enough.
const PATIENCE: u32 = 3;

/// So many waits without looking are followed by an attempt.
const REST: u32 = 64;

impl Spin {
    /// Unless this is the only processor.
    pub(super) fn adaptive() -> Self {
        match several_processors() {
            true => Spin::Adaptive(Budget::default()),
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
                // Who only asks whether there is something does not wait, and that there was nothing says
                // nothing about the waits.
                if deadline.is_some_and(|deadline| deadline <= clock::now()) || budget.rests() {
                    return false;
                }
                let mut end = clock::now() + WHILE;
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
    /// Whether this wait is one without looking.
    pub(super) fn rests(&mut self) -> bool {
        let rests = self.rest > 0;
        self.rest -= u32::from(rests);
        rests
    }

    pub(super) fn paid(&mut self) {
        self.vain = self.vain.saturating_sub(1);
    }

    pub(super) fn failed(&mut self) {
        self.vain = (self.vain + 1).min(PATIENCE);
        if self.vain == PATIENCE {
            self.rest = REST;
        }
    }
}

/// How a task in lock-step looks for its message: between two looks others have their turn, on its thread and elsewhere.
///
/// It may be polled for any reason, and be polled again after it has gone to sleep. So a wait is what is between two
/// messages, and there is one while of looking in it at most.
#[derive(Debug, Default)]
pub(super) struct TaskSpin {
    budget: Budget,
    /// Messages that had come when this wait began.
    came: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, Default)]
enum Stage {
    /// There has been no wait yet.
    #[default]
    Fresh,
    LooksUntil(Instant),
    Sleeps,
}

/// How long it looks: one that sleeps is woken by way of two threads, which takes twice the time.
const TASK_WHILE: Duration = WHILE.saturating_mul(2);

impl TaskSpin {
    /// Whether to look at all in this poll, and again in the next, instead of sleeping. `came`: messages, so far. Never if
    /// this is the only processor.
    pub(super) fn goes_on(&mut self, came: u64) -> bool {
        several_processors() && self.goes_on_at(clock::now(), came)
    }

    fn goes_on_at(&mut self, now: Instant, came: u64) -> bool {
        let same = came == std::mem::replace(&mut self.came, came);
        match self.stage {
            Stage::Sleeps if same => return false,
            Stage::LooksUntil(end) if same => {
                let goes_on = now < end;
                if !goes_on {
                    self.budget.failed();
                    self.stage = Stage::Sleeps;
                }
                return goes_on;
            }
            Stage::LooksUntil(_) => self.budget.paid(),
            Stage::Fresh | Stage::Sleeps => {}
        }
        let rests = self.budget.rests();
        self.stage = match rests {
            true => Stage::Sleeps,
            false => Stage::LooksUntil(now + TASK_WHILE),
        };
        !rests
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

/// Counts them now, by whom a socket is made: a thread that waits later may be kept on one of them, and is not alone for
/// that.
pub(super) fn count_processors() {
    several_processors();
}

/// With one processor nobody else can do anything while one looks. To ask takes the system some time.
pub(super) fn several_processors() -> bool {
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
        let mut spin = Spin::Adaptive(Budget::default());
        assert!(looks(&mut spin, 1).0);
        for _ in 1..PATIENCE {
            assert!(!looks(&mut spin, 0).0);
        }
        // One that paid makes up for one in vain.
        assert!(looks(&mut spin, 1).0);
        assert!(!looks(&mut spin, 0).0);
        // Then not at all for a while, and once more in vain is enough for the next.
        for _ in 0..2 {
            assert!(looks(&mut spin, 0).1 > 0);
            for _ in 0..REST {
                assert_eq!(looks(&mut spin, 1), (false, 0));
            }
        }
        assert_eq!(looks(&mut spin, 1), (true, 1));
        assert_eq!(looks(&mut spin, 1), (true, 1));
    }

    /// A program that asks now and then, and then waits.
    #[test]
    fn a_wait_of_no_time_has_no_say() {
        let mut spin = Spin::Adaptive(Budget::default());
        for _ in 0..2 * PATIENCE {
            assert!(!spin.until(Some(clock::now()), || false));
        }
        assert_eq!(looks(&mut spin, 1), (true, 1));
        for _ in 0..PATIENCE {
            assert!(!looks(&mut spin, 0).0);
        }
        for _ in 0..2 * REST {
            assert!(!spin.until(Some(clock::now()), || false));
        }
        assert_eq!(looks(&mut spin, 1), (false, 0), "it rests still");
    }

    /// Both sides of a round trip, in a time of their own, in which one that sleeps is woken late.
    #[test]
    fn two_who_have_given_up_find_each_other_again() {
        let (way, wake) = (Duration::from_micros(4), Duration::from_micros(35));
        for apart in 0..=REST {
            let mut sides = [apart, REST].map(|rest| Budget {
                vain: PATIENCE,
                rest,
            });
            let mut peer_sleeps = true;
            let mut asleep = 0;
            for turn in 0..6 * REST as usize {
                let side = &mut sides[turn % 2];
                let takes = way * 2 + wake * u32::from(peer_sleeps);
                let looks = !side.rests();
                let found = looks && takes <= WHILE;
                match (looks, found) {
                    (true, true) => side.paid(),
                    (true, false) => side.failed(),
                    (false, _) => {}
                }
                peer_sleeps = !found;
                asleep += u32::from(peer_sleeps);
            }
            assert!(!peer_sleeps, "{apart} apart");
            assert!(asleep <= 2 * REST, "{apart} apart: {asleep}");
        }
    }

    #[test]
    fn a_task_looks_once_in_each_wait_while_that_pays() {
        let mut spin = TaskSpin::default();
        let begin = clock::now();
        let mut at = |nanos, came| spin.goes_on_at(begin + Duration::from_nanos(nanos), came);
        let long = TASK_WHILE.as_nanos() as u64;
        assert!(at(0, 0));
        assert!(at(long - 1, 0));
        // The message came in time, and the next one does not.
        assert!(at(long, 1));
        assert!(at(2 * long - 1, 1));
        for later in 2..10 {
            assert!(!at(later * long, 1), "polled for another reason");
        }
        for came in 2..=u64::from(PATIENCE) {
            assert!(at(0, came), "a wait of its own");
            assert!(!at(long, came));
        }
        for came in 1..=u64::from(REST) {
            assert!(!at(0, 1000 + came));
        }
        assert!(at(0, 2000), "to see whether it pays now");
        assert!(at(0, 2001), "it did");
        assert!(at(0, 2002));
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
