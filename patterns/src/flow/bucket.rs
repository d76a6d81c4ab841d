//! The token bucket: fills at a rate, up to a burst; a request takes tokens, or is told when to come back.
//!
//! It is kept as one number, the time at which the bucket was empty if nothing had ever been lost over its
//! brim ("virtual scheduling", as in the generic cell rate algorithm of ITU-T I.371). So there is no
//! generator that has to run, and no rounding that adds up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

/// There are not enough tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no tokens left: try again in {0:?}")]
pub struct RetryAfter(pub Duration);

/// A bucket of tokens, for one owner.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sinew_patterns::flow::Bucket;
///
/// let now = Instant::now();
/// let mut bucket = Bucket::new(10.0, 2, now);
/// assert!(bucket.try_take(now, 2).is_ok());
/// let wait = bucket.try_take(now, 1).unwrap_err().0;
/// assert!(wait <= Duration::from_millis(100));
/// assert!(bucket.try_take(now + wait, 1).is_ok());
/// ```
#[derive(Debug, Clone)]
pub struct Bucket {
    pace: Pace,
    start: Instant,
    empty_at: u64,
}

/// A bucket of tokens that threads share without a lock.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::flow::TokenBucket;
///
/// let now = Instant::now();
/// let bucket = TokenBucket::new(1000.0, 3, now);
/// let taken = (0..10).filter(|_| bucket.try_take(now, 1).is_ok()).count();
/// assert_eq!(taken, 3);
/// ```
#[derive(Debug)]
pub struct TokenBucket {
    pace: Pace,
    start: Instant,
    /// As `Bucket::empty_at`. Written by whoever takes; nothing else is published with it, so relaxed
    /// exchanges are enough.
    empty_at: AtomicU64,
}

/// Times are in nanoseconds, and begin one full bucket before the start, so that it is full then.
#[derive(Debug, Clone, Copy)]
struct Pace {
    per_token: u64,
    burst: u32,
    full: u64,
}

impl Pace {
    fn new(rate: f64, burst: u32) -> Self {
        // A rate that is no number, or nothing at all, is one token in a long time. The result of the
        // division saturates.
        let per_token = match rate > 0.0 {
            true => (1e9 / rate) as u64,
            false => u64::MAX,
        };
        let (per_token, burst) = (per_token.clamp(1, LONGEST_PACE), burst.max(1));
        Pace {
            per_token,
            burst,
            full: per_token.saturating_mul(u64::from(burst)),
        }
    }

    fn time(self, start: Instant, now: Instant) -> u64 {
        let since = now.saturating_duration_since(start).as_nanos();
        u64::try_from(since)
            .unwrap_or(u64::MAX)
            .saturating_add(self.full)
    }

    /// The next value of `empty_at` if `n` tokens are taken now, or how long to wait.
    fn take(self, empty_at: u64, now: u64, n: u32) -> Result<u64, RetryAfter> {
        // What is over the brim is lost.
        let from = u128::from(empty_at.max(now.saturating_sub(self.full)));
        let after = from + u128::from(self.per_token) * u128::from(n);
        if after <= u128::from(now) && n <= self.burst {
            return Ok(u64::try_from(after).unwrap_or(u64::MAX));
        }
        let wait = after.saturating_sub(u128::from(now));
        let wait = u64::try_from(wait).unwrap_or(u64::MAX);
        // More than it ever holds will never be there; say the longest time that there is.
        let wait = if n > self.burst { u64::MAX } else { wait };
        Err(RetryAfter(Duration::from_nanos(wait)))
    }

    /// The same from what other threads take from, too.
    fn take_from(&self, word: &impl Word, now: u64, n: u32) -> Result<(), RetryAfter> {
        let mut empty_at = word.load();
        loop {
            let next = self.take(empty_at, now, n)?;
            match word.replace(empty_at, next) {
                Ok(()) => return Ok(()),
                Err(other) => empty_at = other,
            }
        }
    }
}

impl Bucket {
    /// A full bucket that fills with `rate` tokens per second and holds `burst`, at least one. A rate of
    /// nothing or less, or no number, is one token in about a century.
    #[must_use]
    pub fn new(rate: f64, burst: u32, now: Instant) -> Self {
        Bucket {
            pace: Pace::new(rate, burst),
            start: now,
            empty_at: 0,
        }
    }

    /// Takes tokens, all or none.
    ///
    /// # Errors
    /// If there are not so many; it says when there will be.
    pub fn try_take(&mut self, now: Instant, n: u32) -> Result<(), RetryAfter> {
        let now = self.pace.time(self.start, now);
        self.empty_at = self.pace.take(self.empty_at, now, n)?;
        Ok(())
    }

    /// Puts tokens back that were not used. What is over the brim is lost.
    pub fn give(&mut self, n: u32) {
        let back = self.pace.per_token.saturating_mul(u64::from(n));
        self.empty_at = self.empty_at.saturating_sub(back);
    }

    /// How many tokens there are.
    #[must_use]
    pub fn level(&self, now: Instant) -> u32 {
        let now = self.pace.time(self.start, now);
        let since = now.saturating_sub(self.empty_at);
        u32::try_from(since / self.pace.per_token)
            .map_or(self.pace.burst, |n| n.min(self.pace.burst))
    }
}

impl TokenBucket {
    /// As [`Bucket::new`].
    #[must_use]
    pub fn new(rate: f64, burst: u32, now: Instant) -> Self {
        let Bucket {
            pace,
            start,
            empty_at,
        } = Bucket::new(rate, burst, now);
        TokenBucket {
            pace,
            start,
            empty_at: AtomicU64::new(empty_at),
        }
    }

    /// As [`Bucket::try_take`].
    ///
    /// # Errors
    /// If there are not so many; it says when there will be.
    pub fn try_take(&self, now: Instant, n: u32) -> Result<(), RetryAfter> {
        let now = self.pace.time(self.start, now);
        self.pace.take_from(&self.empty_at, now, n)
    }
}

/// A number that threads share; a model in tests decides which of them has its turn.
trait Word {
    fn load(&self) -> u64;
    /// Puts another in its place; what is there instead, if it is not the expected one.
    fn replace(&self, expected: u64, next: u64) -> Result<(), u64>;
}

impl Word for AtomicU64 {
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::Relaxed)
    }

    fn replace(&self, expected: u64, next: u64) -> Result<(), u64> {
        self.compare_exchange_weak(expected, next, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
    }
}

/// About a century per token.
const LONGEST_PACE: u64 = 3_000_000_000_000_000_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Condvar, Mutex};

    use super::*;
    use crate::common::Random;

    /// FLW-01: over any window, accepted ≤ rate × window + burst.
    #[test]
    fn never_more_than_rate_and_burst() {
        let start = Instant::now();
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let rate = 1 + random.below(1000);
            let burst = 1 + random.below(50) as u32;
            let mut bucket = Bucket::new(rate as f64, burst, start);
            let mut taken: Vec<(Instant, u32)> = Vec::new();
            let mut now = start;
            for _ in 0..500 {
                now += random.up_to(Duration::from_millis(20));
                let n = 1 + random.below(3) as u32;
                match bucket.try_take(now, n) {
                    Ok(()) => taken.push((now, n)),
                    Err(RetryAfter(wait)) if n <= burst => {
                        let mut later = bucket.clone();
                        assert_eq!(later.try_take(now + wait, n), Ok(()), "it says when");
                        assert!(wait > Duration::ZERO);
                    }
                    Err(RetryAfter(wait)) => assert!(wait > Duration::from_secs(1 << 30)),
                }
                assert!(bucket.level(now) <= burst);
            }
            for (index, (from, _)) in taken.iter().enumerate().step_by(7) {
                let mut sum = 0;
                for (at, n) in &taken[index..] {
                    sum += u64::from(*n);
                    let window = at.duration_since(*from).as_secs_f64();
                    let most = rate as f64 * window + f64::from(burst);
                    assert!(sum as f64 <= most + 1e-6, "seed {seed}: {sum} > {most}");
                }
            }
        }
    }

    #[test]
    fn what_is_over_the_brim_is_lost() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 5, start);
        assert_eq!(bucket.level(start), 5);
        let late = start + Duration::from_secs(1000);
        assert_eq!(bucket.level(late), 5);
        assert!(bucket.try_take(late, 5).is_ok());
        assert_eq!(
            bucket.try_take(late, 1),
            Err(RetryAfter(Duration::from_millis(100)))
        );
        bucket.give(2);
        assert_eq!(bucket.level(late), 2);
        bucket.give(1000);
        assert_eq!(bucket.level(late), 5);
    }

    #[test]
    fn odd_rates() {
        let now = Instant::now();
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
            let mut bucket = Bucket::new(rate, 0, now);
            let _ = bucket.try_take(now, u32::MAX);
            let _ = bucket.try_take(now + Duration::from_secs(1), 1);
            bucket.give(u32::MAX);
            assert!(bucket.level(now) <= 1);
        }
    }

    /// A number that is accessed when a schedule says so.
    struct Stage {
        state: Mutex<Scene>,
        changed: Condvar,
    }

    struct Scene {
        value: u64,
        /// Who may access it now.
        turn: Option<usize>,
        waiting: BTreeSet<usize>,
        running: usize,
    }

    struct Actor<'a>(&'a Stage, usize);

    impl Actor<'_> {
        fn access<R>(&self, access: impl FnOnce(&mut u64) -> R) -> R {
            let Actor(stage, who) = self;
            let mut scene = stage.state.lock().unwrap();
            scene.waiting.insert(*who);
            stage.changed.notify_all();
            let waits = |scene: &mut Scene| scene.turn != Some(*who);
            scene = stage.changed.wait_while(scene, waits).unwrap();
            scene.turn = None;
            scene.waiting.remove(who);
            access(&mut scene.value)
        }
    }

    impl Word for Actor<'_> {
        fn load(&self) -> u64 {
            self.access(|value| *value)
        }

        fn replace(&self, expected: u64, next: u64) -> Result<(), u64> {
            self.access(|value| match *value == expected {
                true => {
                    *value = next;
                    Ok(())
                }
                false => Err(*value),
            })
        }
    }

    /// Runs so many threads that take one token each from two, by this schedule as far as it goes, and then the first
    /// that can. Returns how many got one, and of each step the choice and how many there were.
    fn play(threads: usize, schedule: &[usize]) -> (usize, Vec<(usize, usize)>) {
        let pace = Pace::new(1.0, 2);
        let stage = Stage {
            state: Mutex::new(Scene {
                value: 0,
                turn: None,
                waiting: BTreeSet::new(),
                running: threads,
            }),
            changed: Condvar::new(),
        };
        let mut steps = Vec::new();
        let taken = std::thread::scope(|scope| {
            let (stage, pace) = (&stage, &pace);
            let actors: Vec<_> = (0..threads)
                .map(|who| {
                    scope.spawn(move || {
                        let taken = pace.take_from(&Actor(stage, who), pace.full, 1);
                        stage.state.lock().unwrap().running -= 1;
                        stage.changed.notify_all();
                        taken.is_ok()
                    })
                })
                .collect();
            loop {
                let unsettled =
                    |scene: &mut Scene| scene.turn.is_some() || scene.waiting.len() < scene.running;
                let scene = stage.state.lock().unwrap();
                let mut scene = stage.changed.wait_while(scene, unsettled).unwrap();
                if scene.running == 0 {
                    break;
                }
                let choice = schedule.get(steps.len()).copied().unwrap_or(0);
                steps.push((choice, scene.waiting.len()));
                scene.turn = scene.waiting.iter().nth(choice).copied();
                drop(scene);
                stage.changed.notify_all();
            }
            let taken = actors.into_iter().map(|actor| actor.join().unwrap());
            taken.filter(|taken| *taken).count()
        });
        (taken, steps)
    }

    /// FLW-02: in every order in which three threads can access a bucket of two tokens, two of them get one.
    #[test]
    fn every_order_of_three_threads() {
        let mut schedule = Vec::new();
        let mut orders = 0;
        loop {
            let (taken, mut steps) = play(3, &schedule);
            assert_eq!(taken, 2, "{steps:?}");
            orders += 1;
            // The next one: the last choice that can be another is.
            while steps.last().is_some_and(|(choice, of)| choice + 1 == *of) {
                steps.pop();
            }
            let Some((choice, _)) = steps.last_mut() else {
                break;
            };
            *choice += 1;
            schedule = steps.iter().map(|(choice, _)| *choice).collect();
        }
        assert!(orders > 90, "{orders}: six accesses alone have that many");
    }

    /// FLW-02: threads together take no more than one would.
    #[test]
    fn sixty_four_threads() {
        let now = Instant::now();
        let bucket = TokenBucket::new(1.0, 10_000, now);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..64)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1000)
                            .filter(|_| bucket.try_take(now, 1).is_ok())
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 10_000);
    }
}
