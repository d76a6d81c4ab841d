//! The account of works with several senders or receivers: who got what, and when all have.
//!
//! Receivers never stop receiving, so that none of them has a backlog when the clock starts; a
//! measuring thread looks at their counts every quarter of a millisecond. A number tells its sender (the
//! high octet) and its place in the sequence of that sender.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::meter::{Mark, Sample};
use crate::subject::Fallible;
use crate::work::Plan;

/// What must be true of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Each message arrives once, at one of the receivers, those of one sender in order.
    Once,
    /// Publishers may drop what a slow subscriber has no room for, so senders go on until the end, and
    /// only what is delivered counts; it must be in order.
    Rising,
    /// As [`Rule::Once`], by receivers that look at no message: only the number is known.
    Counted,
}

/// One receiver's account, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Account {
    count: AtomicU64,
    /// Of all numbers received, wrapping.
    sum: AtomicU64,
}

/// Everybody's account.
#[derive(Debug)]
pub(crate) struct Tally {
    accounts: Vec<Account>,
    senders: usize,
    rule: Rule,
    plan: Plan,
}

/// One receiver's pen.
#[derive(Debug)]
pub(crate) struct Counter {
    tally: Arc<Tally>,
    index: usize,
    /// The least number that may come next, for each sender.
    next: Vec<u64>,
    count: u64,
    sum: u64,
}

impl Tally {
    pub(crate) fn new(senders: usize, receivers: usize, rule: Rule, plan: &Plan) -> Tally {
        Tally {
            accounts: (0..receivers).map(|_| Account::default()).collect(),
            senders,
            rule,
            plan: *plan,
        }
    }

    pub(crate) fn counter(self: &Arc<Self>, index: usize) -> Counter {
        Counter {
            tally: Arc::clone(self),
            index,
            next: vec![0; self.senders],
            count: 0,
            sum: 0,
        }
    }

    /// The number of a sender's next message; `None` when it has sent its share.
    pub(crate) fn number(&self, sender: usize, sequence: u64) -> Option<u64> {
        (self.rule == Rule::Rising || sequence < self.share())
            .then_some((sender as u64) << SENDER_SHIFT | sequence)
    }

    /// Waits for the warm-up and then for the rest, and measures that.
    pub(crate) fn measure(&self) -> Fallible<Sample> {
        let receivers = self.accounts.len() as u64;
        let all = |accounts: &[Account]| -> u64 {
            let counts = accounts.iter().map(|a| a.count.load(Ordering::Acquire));
            counts.sum()
        };
        match self.rule {
            Rule::Once | Rule::Counted => {
                let total = self.share() * self.senders as u64;
                wait(|| all(&self.accounts) >= self.plan.warmup);
                let before = all(&self.accounts);
                if before == total {
                    return Err("all messages had come before the clock was started".into());
                }
                let start = Mark::now();
                wait(|| all(&self.accounts) >= total);
                let sample = start.rate(total - before);
                if self.rule == Rule::Once {
                    self.balance(total)?;
                }
                Ok(sample)
            }
            Rule::Rising => {
                let each = |messages: u64| (messages / receivers).max(1);
                let reached = |marks: &[u64]| {
                    let mut pairs = self.accounts.iter().zip(marks);
                    pairs.all(|(account, mark)| account.count.load(Ordering::Acquire) >= *mark)
                };
                let warm = vec![each(self.plan.warmup); self.accounts.len()];
                wait(|| reached(&warm));
                let counts = self.accounts.iter();
                let marks: Vec<u64> = counts
                    .map(|a| a.count.load(Ordering::Acquire) + each(self.plan.count))
                    .collect();
                let before = all(&self.accounts);
                let start = Mark::now();
                // Every subscriber must have had its share.
                wait(|| reached(&marks));
                Ok(start.rate(all(&self.accounts) - before))
            }
        }
    }

    /// Messages of each sender, unless [`Rule::Rising`].
    pub(crate) fn share(&self) -> u64 {
        (self.plan.warmup + self.plan.count).div_ceil(self.senders as u64)
    }

    /// That so many messages came and that they were these messages.
    fn balance(&self, total: u64) -> Fallible<()> {
        let sums = self.accounts.iter().map(|a| a.sum.load(Ordering::Acquire));
        let sum = sums.fold(0_u64, u64::wrapping_add);
        let mut expected = 0_u64;
        for sender in 0..self.senders {
            for sequence in 0..self.share() {
                let number = (sender as u64) << SENDER_SHIFT | sequence;
                expected = expected.wrapping_add(number);
            }
        }
        if sum == expected {
            Ok(())
        } else {
            Err(format!("{total} messages came, but some twice and some never").into())
        }
    }
}

impl Counter {
    /// Counts messages that nobody has looked at.
    pub(crate) fn add(&mut self, messages: u64) {
        self.count += messages;
        let account = &self.tally.accounts[self.index];
        account.count.store(self.count, Ordering::Release);
    }

    /// Checks a message and counts it.
    #[inline]
    pub(crate) fn note(&mut self, body: &[u8]) -> Fallible<()> {
        let number = body.first_chunk().map(|first| u64::from_le_bytes(*first));
        let (Some(number), true) = (number, body.len() == self.tally.plan.size) else {
            return Err(format!("a message of {} octets", body.len()).into());
        };
        let sender = (number >> SENDER_SHIFT) as usize;
        match self.next.get_mut(sender) {
            Some(next) if number >= *next => *next = number + 1,
            _ => return Err(format!("message {number} came again, or too late").into()),
        }
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
        let account = &self.tally.accounts[self.index];
        account.sum.store(self.sum, Ordering::Relaxed);
        // After the sum, which the last count vouches for.
        account.count.store(self.count, Ordering::Release);
        Ok(())
    }
}

/// Waits for receivers; the process is ended from outside if that takes too long.
fn wait(reached: impl Fn() -> bool) {
    while !reached() {
        thread::sleep(Duration::from_micros(250));
    }
}

/// A sequence of 2⁵⁶ is enough.
const SENDER_SHIFT: u32 = 56;
