//! Credit: a sender sends no more than its receiver has said that it has room for. Push that cannot drown
//! anybody, and pull that need not ask for each message.
//!
//! The unit is whatever both agree on: messages, or octets. Grants add up, so one that is repeated would
//! count twice; they belong on a connection that does not repeat, such as any of Sinew's.

use thiserror::Error;

/// The sender's side.
///
/// ```
/// use sinew_patterns::flow::{CreditRx, CreditTx};
///
/// let (mut tx, mut rx) = (CreditTx::new(10), CreditRx::new(10));
/// assert!(tx.try_spend(8));
/// assert!(!tx.try_spend(8), "the window is used up");
/// rx.received(8)?;
/// let grant = rx.consumed(8).expect("more than half of the window is free");
/// tx.granted(grant)?;
/// assert!(tx.try_spend(8));
/// # Ok::<(), sinew_patterns::flow::CreditError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CreditTx {
    window: u64,
    left: u64,
}

/// The receiver's side.
#[derive(Debug, Clone)]
pub struct CreditRx {
    window: u64,
    /// What the sender may still send.
    open: u64,
    /// What came and was not consumed.
    held: u64,
    refill: u64,
}

/// The other side does not keep to the credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CreditError {
    /// More came than was granted.
    #[error("{received} came, {granted} were granted")]
    Exceeded {
        /// What came.
        received: u64,
        /// What was open.
        granted: u64,
    },
    /// More was granted than the window holds.
    #[error("a grant of {grant} with {left} left is more than the window of {window}")]
    TooMuch {
        /// What was granted.
        grant: u64,
        /// What was left.
        left: u64,
        /// The window.
        window: u64,
    },
}

impl CreditTx {
    /// A sender whose receiver has this window, all of it free.
    #[must_use]
    pub fn new(window: u64) -> Self {
        CreditTx {
            window,
            left: window,
        }
    }

    /// Takes credit for something to be sent, all or none. What is larger than the whole window may go
    /// when nothing else is on its way: it would otherwise never go.
    pub fn try_spend(&mut self, cost: u64) -> bool {
        let fits = cost <= self.left || self.left == self.window;
        if fits {
            self.left = self.left.saturating_sub(cost);
        }
        fits
    }

    /// What credit was taken for was not sent after all: what it took is there again. That is the whole window at most, whatever
    /// it cost.
    pub fn unspent(&mut self, cost: u64) {
        let taken = cost.min(self.window);
        self.left = self.left.saturating_add(taken).min(self.window);
    }

    /// The receiver has room for more.
    ///
    /// # Errors
    /// If that is more than its window: the receiver is wrong, and nothing changes.
    pub fn granted(&mut self, grant: u64) -> Result<(), CreditError> {
        match self.left.checked_add(grant) {
            Some(left) if left <= self.window => {
                self.left = left;
                Ok(())
            }
            _ => Err(CreditError::TooMuch {
                grant,
                left: self.left,
                window: self.window,
            }),
        }
    }

    /// What may be sent now.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl CreditRx {
    /// A receiver with this window, which grants anew when half of it was consumed. A connection is kept busy with that if the
    /// window is twice its bandwidth × round trip; with smaller refills less will do, as with [`CreditInlet`]'s.
    ///
    /// [`CreditInlet`]: super::CreditInlet
    #[must_use]
    pub fn new(window: u64) -> Self {
        CreditRx::with_refill(window, window / 2)
    }

    /// The same, which grants anew when so much was consumed. 0 counts as 1.
    #[must_use]
    pub fn with_refill(window: u64, refill: u64) -> Self {
        CreditRx {
            window,
            open: window,
            held: 0,
            refill: refill.clamp(1, window.max(1)),
        }
    }

    /// Something came, and is held until it is consumed.
    ///
    /// # Errors
    /// If the sender had no credit for it. What is larger than the whole window may come alone.
    pub fn received(&mut self, cost: u64) -> Result<(), CreditError> {
        if cost > self.open && self.open < self.window {
            return Err(CreditError::Exceeded {
                received: cost,
                granted: self.open,
            });
        }
        let cost = cost.min(self.open);
        self.open -= cost;
        self.held += cost;
        Ok(())
    }

    /// Something was consumed. Returns what is to be granted to the sender now, if anything.
    pub fn consumed(&mut self, cost: u64) -> Option<u64> {
        self.held = self.held.saturating_sub(cost);
        let free = self.window - self.open - self.held;
        if free < self.refill && !(self.held == 0 && free > 0 && self.open == 0) {
            return None;
        }
        self.open += free;
        Some(free)
    }

    /// Nothing else is about to come. Returns what is to be granted although less than a refill was consumed: what the
    /// sender has next may be more than what it has left, and it would wait for ever. Nothing while something is held,
    /// since that will be consumed.
    pub fn settle(&mut self) -> Option<u64> {
        let free = self.window - self.open;
        if self.held > 0 || free == 0 {
            return None;
        }
        self.open = self.window;
        Some(free)
    }

    /// What is held now: never more than the window, unless one thing alone is larger.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::common::Random;

    /// FLW-06: the receiver never holds more than its window, nothing is stuck, and grants are few.
    #[test]
    fn any_order_of_sending_and_consuming() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let window = 1 + random.below(100);
            let (mut tx, mut rx) = (CreditTx::new(window), CreditRx::new(window));
            let (mut wire, mut held, mut grants) =
                (VecDeque::new(), VecDeque::new(), VecDeque::new());
            let (mut sent, mut count, mut granted) = (0u64, 0u64, 0u64);
            for _ in 0..5000 {
                match random.below(4) {
                    0 => {
                        let cost = 1 + random.below(window.min(10));
                        if tx.try_spend(cost) {
                            wire.push_back(cost);
                            sent += cost;
                        }
                    }
                    1 => {
                        if let Some(cost) = wire.pop_front() {
                            rx.received(cost).unwrap();
                            held.push_back(cost);
                            assert!(held.iter().sum::<u64>() <= window);
                            assert_eq!(rx.held(), held.iter().sum::<u64>());
                        }
                    }
                    2 => {
                        if let Some(grant) = held.pop_front().and_then(|cost| rx.consumed(cost)) {
                            grants.push_back(grant);
                            count += 1;
                            granted += grant;
                        }
                    }
                    _ => {
                        if let Some(grant) = grants.pop_front() {
                            tx.granted(grant).unwrap();
                        }
                    }
                }
            }
            assert!(sent > window, "seed {seed}: it goes on");
            assert!(
                count <= granted / (window / 2).max(1),
                "half a window per grant"
            );
        }
    }

    #[test]
    fn who_does_not_keep_to_it_is_told() {
        let (mut tx, mut rx) = (CreditTx::new(10), CreditRx::new(10));
        rx.received(6).unwrap();
        let exceeded = CreditError::Exceeded {
            received: 6,
            granted: 4,
        };
        assert_eq!(rx.received(6), Err(exceeded));
        assert!(tx.try_spend(3));
        assert!(tx.granted(4).is_err() && tx.granted(u64::MAX).is_err());
        assert_eq!(tx.left(), 7);
    }

    #[test]
    fn something_larger_than_the_window_goes_alone() {
        let (mut tx, mut rx) = (CreditTx::new(10), CreditRx::new(10));
        assert!(tx.try_spend(100));
        assert!(!tx.try_spend(1));
        rx.received(100).unwrap();
        let grant = rx.consumed(100).unwrap();
        tx.granted(grant).unwrap();
        assert_eq!(tx.left(), 10);
    }

    #[test]
    fn what_is_not_sent_gives_back_what_it_took() {
        let mut tx = CreditTx::new(10);
        for cost in [1, 10, 100, u64::MAX] {
            assert!(tx.try_spend(cost));
            assert_eq!(tx.left(), 10 - cost.min(10));
            tx.unspent(cost);
            assert_eq!(tx.left(), 10, "it cost {cost}");
        }
    }
}
