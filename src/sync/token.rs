//! A token: whoever holds it may run what it guards, and nobody waits for it.
//!
//! A pump may be run by its I/O thread or by an application thread that would otherwise wait. One
//! that finds the token taken leaves a note; the holder looks for notes after it has let go and runs
//! once more. So an event that only the loser saw is never forgotten.

use super::atomic::{fence, AtomicBool, Ordering};
use super::{lock, Mutex, MutexGuard};

/// See the module.
#[derive(Debug)]
pub(crate) struct Token<T> {
    value: Mutex<T>,
    /// Somebody wanted to run and could not.
    missed: AtomicBool,
}

impl<T> Token<T> {
    pub(crate) fn new(value: T) -> Self {
        Token {
            value: Mutex::new(value),
            missed: AtomicBool::new(false),
        }
    }

    /// Runs `f` on the value, again if somebody else wanted to run meanwhile; returns what the last
    /// run returned. `None` if another holds the token: that one will run once more.
    pub(crate) fn run<R>(&self, mut f: impl FnMut(&mut T) -> R) -> Option<R> {
        let mut guard = self.try_lock().or_else(|| {
            // A swap, as all changes of this flag: the order of them is one that a model check can
            // follow.
            self.missed.swap(true, Ordering::AcqRel);
            // Either the holder's look (after its fence) sees the note, or it had let go of the token
            // before ours, and the second try gets it.
            fence(Ordering::SeqCst);
            self.try_lock()
        })?;
        loop {
            // A note wiped out here is one whose cause this run must see: hence acquire. One that is
            // not seen yet stays, and makes for one more run.
            if self.missed.load(Ordering::Relaxed) {
                self.missed.swap(false, Ordering::AcqRel);
            }
            let result = f(&mut guard);
            drop(guard);
            fence(Ordering::SeqCst);
            if !self.missed.load(Ordering::Relaxed) {
                return Some(result);
            }
            // Whoever has it now took it after the note was left, and wipes it out or sees it later.
            match self.try_lock() {
                Some(again) => guard = again,
                None => return Some(result),
            }
        }
    }

    /// Waits for the token. For the end of a connection, when its holder is about to let go.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.value)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        use std::sync::TryLockError;
        match self.value.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::{atomic::AtomicUsize, thread, Arc};

    /// Two threads each make one unit of work and try to run; no unit is left undone.
    #[test]
    fn loom_token_no_work_is_left() {
        loom::model(|| {
            let work = Arc::new(AtomicUsize::new(0));
            let token = Arc::new(Token::new(0usize));
            let t = {
                let (work, token) = (Arc::clone(&work), Arc::clone(&token));
                thread::spawn(move || {
                    work.fetch_add(1, Ordering::Relaxed);
                    token.run(|done| *done += work.swap(0, Ordering::Relaxed));
                })
            };
            work.fetch_add(1, Ordering::Relaxed);
            token.run(|done| *done += work.swap(0, Ordering::Relaxed));
            t.join().unwrap();
            assert_eq!(*token.lock(), 2);
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_runs_at_a_time_and_the_loser_is_heard() {
        let token = Token::new(0);
        let mut nested = false;
        let outer = token.run(|n| {
            *n += 1;
            if !nested {
                nested = true;
                assert_eq!(token.run(|_| ()), None, "the token is taken");
            }
            *n
        });
        assert_eq!(outer, Some(2), "the note makes the holder run again");
    }
}
