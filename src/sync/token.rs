//! A token: whoever holds it may run what it guards, and nobody waits for it.
//!
//! A pump may be run by its I/O thread or by an application thread that would otherwise wait. One
//! that finds the token taken leaves a note; the holder looks for notes after it has let go and runs
//! once more. So an event that only the loser saw is never forgotten.
//!
//! Who takes the token for something else than to run (a look at the state) is a *visitor*. It answers
//! notes too: by running, or by seeing to it that another does.

use super::atomic::{fence, AtomicBool, Ordering};

#[cfg(not(loom))]
use super::{Mutex, MutexGuard};

#[cfg(loom)]
use model::{Mutex, MutexGuard};

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

    /// Waits for the token, and does something else with the value than to run it. `true`: somebody
    /// wanted to run meanwhile, and the visitor is to see that the value is run.
    #[must_use = "a note is to be answered"]
    pub(crate) fn visit<R>(&self, f: impl FnOnce(&mut T) -> R) -> (R, bool) {
        self.visit_with(self.lock(), f)
    }

    /// As [`Token::visit`], if nobody holds it.
    #[must_use = "a note is to be answered"]
    pub(crate) fn try_visit<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<(R, bool)> {
        self.try_lock().map(|guard| self.visit_with(guard, f))
    }

    fn visit_with<R>(
        &self,
        mut guard: MutexGuard<'_, T>,
        f: impl FnOnce(&mut T) -> R,
    ) -> (R, bool) {
        let result = f(&mut guard);
        drop(guard);
        fence(Ordering::SeqCst);
        // The note stays for the run that answers it.
        (result, self.missed.load(Ordering::Relaxed))
    }

    /// Waits for the token, for one who looks after all that may be missed meanwhile: at the beginning
    /// of a connection and at its end, and where losers see to themselves.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.value.lock() {
            Ok(guard) => guard,
            // As in `sync::lock`.
            Err(poisoned) => poisoned.into_inner(),
        }
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

/// loom tries no lock between another's taking and letting go of it, and lets a lock order more than
/// the build's does. This one is made as that of the build is: a flag, of which each change is seen.
#[cfg(loom)]
mod model {
    use super::super::atomic::{AtomicBool, Ordering};
    use super::super::thread;
    use std::ops::{Deref, DerefMut};
    use std::sync::{LockResult, Mutex as Inner, MutexGuard as InnerGuard};
    use std::sync::{PoisonError, TryLockError, TryLockResult};

    #[derive(Debug)]
    pub(crate) struct Mutex<T> {
        held: AtomicBool,
        /// Never contended, and unknown to loom.
        value: Inner<T>,
    }

    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T> {
        held: &'a AtomicBool,
        value: Option<InnerGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex {
                held: AtomicBool::new(false),
                value: Inner::new(value),
            }
        }

        pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
            self.held
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .map_err(|_| TryLockError::WouldBlock)?;
            Ok(MutexGuard {
                held: &self.held,
                value: Some(self.value.lock().unwrap_or_else(PoisonError::into_inner)),
            })
        }

        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            loop {
                match self.try_lock() {
                    Ok(guard) => return Ok(guard),
                    Err(_) => thread::yield_now(),
                }
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.value.as_ref().expect("there until it is dropped")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.value.as_mut().expect("there until it is dropped")
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.value = None;
            self.held.swap(false, Ordering::Release);
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

    /// A visitor does not run, but sees to it that what the loser knew is seen.
    #[test]
    fn loom_token_a_visitor_answers_a_note() {
        loom::model(|| {
            let known = Arc::new(AtomicBool::new(false));
            let token = Arc::new(Token::new(false));
            let t = {
                let (known, token) = (Arc::clone(&known), Arc::clone(&token));
                thread::spawn(move || {
                    let ((), missed) = token.visit(|_| ());
                    if missed {
                        token.run(|seen| *seen |= known.load(Ordering::Relaxed));
                    }
                })
            };
            known.store(true, Ordering::Relaxed);
            token.run(|seen| *seen |= known.load(Ordering::Relaxed));
            t.join().unwrap();
            assert!(*token.lock());
        });
    }

    /// Whoever runs last sees what either knew before it tried, without an order of its own.
    #[test]
    fn loom_token_what_the_loser_knew_is_seen() {
        loom::model(|| {
            let known = Arc::new(AtomicBool::new(false));
            let token = Arc::new(Token::new(false));
            let t = {
                let (known, token) = (Arc::clone(&known), Arc::clone(&token));
                thread::spawn(move || {
                    known.store(true, Ordering::Relaxed);
                    token.run(|seen| *seen |= known.load(Ordering::Relaxed));
                })
            };
            token.run(|seen| *seen |= known.load(Ordering::Relaxed));
            t.join().unwrap();
            assert!(*token.lock());
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_told_of_a_note() {
        let token = Token::new(0);
        let (_, missed) = token.visit(|_| assert_eq!(token.run(|_| ()), None));
        assert!(missed);
        assert_eq!(token.try_visit(|n| *n), Some((0, true)), "nobody has run");
        assert_eq!(token.run(|n| *n), Some(0));
        assert_eq!(token.try_visit(|n| *n), Some((0, false)));
    }

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
