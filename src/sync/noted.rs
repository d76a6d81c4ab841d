//! Atomics and a lock that tell [`super::sharing`] what they touch; in that build, the crate's own.
//!
//! Each lies in memory as that of `std` does, so that what shares a line there shares it here. A
//! compare-and-exchange counts as a write also if it fails: the core asks for the line in either case.

#![allow(
    dead_code,
    reason = "what std offers and the crate may use, so that this build keeps up with it"
)]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

use super::sharing::note;

/// Stands for `std::sync::atomic`.
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{fence, Ordering};

    use super::{note_at, Location};

    macro_rules! noted {
        ($name:ident $([$param:ident])?, $value:ty) => {
            /// As that of `std`.
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub(crate) struct $name $(<$param>)? (std::sync::atomic::$name $(<$param>)?);

            impl $(<$param>)? $name $(<$param>)? {
                pub(crate) const fn new(value: $value) -> Self {
                    $name(std::sync::atomic::$name::new(value))
                }

                #[track_caller]
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    note_at(self, false, Location::caller());
                    self.0.load(order)
                }

                #[track_caller]
                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    note_at(self, true, Location::caller());
                    self.0.store(value, order);
                }

                #[track_caller]
                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    note_at(self, true, Location::caller());
                    self.0.swap(value, order)
                }

                #[track_caller]
                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    note_at(self, true, Location::caller());
                    self.0.compare_exchange(current, new, success, failure)
                }

                #[track_caller]
                pub(crate) fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    note_at(self, true, Location::caller());
                    self.0.compare_exchange_weak(current, new, success, failure)
                }

                pub(crate) fn get_mut(&mut self) -> &mut $value {
                    self.0.get_mut()
                }
            }
        };
    }

    macro_rules! noted_with {
        ($name:ident, $value:ty, $($operation:ident),+) => {
            impl $name {
                $(
                    #[track_caller]
                    pub(crate) fn $operation(&self, value: $value, order: Ordering) -> $value {
                        note_at(self, true, Location::caller());
                        self.0.$operation(value, order)
                    }
                )+
            }
        };
    }

    noted!(AtomicBool, bool);
    noted_with!(AtomicBool, bool, fetch_and, fetch_or);
    noted!(AtomicU8, u8);
    noted_with!(AtomicU8, u8, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min);
    noted!(AtomicU32, u32);
    noted_with!(AtomicU32, u32, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min);
    noted!(AtomicU64, u64);
    noted_with!(AtomicU64, u64, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min);
    noted!(AtomicUsize, usize);
    noted_with!(
        AtomicUsize,
        usize,
        fetch_add,
        fetch_sub,
        fetch_and,
        fetch_or,
        fetch_max,
        fetch_min
    );
    noted!(AtomicPtr[T], *mut T);
}

fn note_at<T>(at: &T, write: bool, site: &'static Location<'static>) {
    let address = std::ptr::from_ref(at) as usize;
    note(address, std::mem::size_of::<T>(), write, site);
}

/// As that of `std`. To lock it, and to let go of it, is a write; so is to ask for it in vain. Its value
/// is noted as a whole when it is looked at through the guard.
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

/// As that of `std`.
pub(crate) struct MutexGuard<'a, T> {
    guard: std::sync::MutexGuard<'a, T>,
    /// The flag of the lock, which `std` keeps in front.
    flag: usize,
    site: &'static Location<'static>,
}

/// Octets of the flag.
const FLAG: usize = 4;

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(std::sync::Mutex::new(value))
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let guarded = self.guarded(Location::caller());
        match self.0.lock() {
            Ok(guard) => Ok(guarded(guard)),
            Err(poisoned) => Err(PoisonError::new(guarded(poisoned.into_inner()))),
        }
    }

    #[track_caller]
    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let guarded = self.guarded(Location::caller());
        match self.0.try_lock() {
            Ok(guard) => Ok(guarded(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Err(TryLockError::Poisoned(PoisonError::new(
                guarded(poisoned.into_inner()),
            ))),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }

    /// Notes the attempt; what is returned makes the guard.
    fn guarded<'a>(
        &'a self,
        site: &'static Location<'static>,
    ) -> impl Fn(std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let flag = std::ptr::from_ref(self) as usize;
        note(flag, FLAG, true, site);
        move |guard| MutexGuard { guard, flag, site }
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        note_at(&*self.guard, false, self.site);
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        note_at(&*self.guard, true, self.site);
        &mut self.guard
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        note(self.flag, FLAG, true, self.site);
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}

/// crossbeam's queue, of which the ends are noted: a push writes one, a pop the other, each looks at both
/// at times.
#[derive(Debug)]
pub(crate) struct Queue<T>(crossbeam_queue::SegQueue<T>);

/// Where the end for pushes lies: behind that for pops, on lines of its own.
const TAIL: usize = 128;

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Queue(crossbeam_queue::SegQueue::new())
    }

    #[track_caller]
    pub(crate) fn push(&self, value: T) {
        note(self.address() + TAIL, 1, true, Location::caller());
        self.0.push(value);
    }

    /// A pop looks at the other end too, to know whether there is anything.
    #[track_caller]
    pub(crate) fn pop(&self) -> Option<T> {
        note(self.address() + TAIL, 1, false, Location::caller());
        note(self.address(), 1, true, Location::caller());
        self.0.pop()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}
