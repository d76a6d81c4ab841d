//! The only door to atomics, locks and threads: `std` in a build, `loom` in a model check.
//!
//! Everything lock-free in the crate takes its primitives from here, so that the same source is
//! compiled against [loom](https://github.com/tokio-rs/loom) with `--cfg loom` and every legal
//! interleaving of a small case can be tried. With `--cfg sinew_sharing` they are those of `std` in a shell
//! that counts which cache lines move between threads.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::task::Waker;

mod affinity;
mod alarm;
pub(crate) mod barrier;
pub(crate) mod clock;
mod event;
mod mailbox;
#[cfg(sinew_sharing)]
mod noted;
mod places;
#[cfg(sinew_sharing)]
pub mod sharing;
mod sleep;
mod token;

pub use affinity::ThreadScheduling;
pub(crate) use affinity::{pin_thread, schedule_thread};
pub(crate) use alarm::Alarm;
pub(crate) use event::{Event, Unpark};
pub(crate) use mailbox::Mailbox;
pub(crate) use places::{Place, Places};
pub use sleep::{sleep_until, Sleep};
pub(crate) use token::Token;

#[cfg(not(loom))]
pub(crate) use std::sync::Arc;

#[cfg(not(any(loom, sinew_sharing)))]
pub(crate) use std::sync::{atomic, Mutex, MutexGuard};

#[cfg(sinew_sharing)]
pub(crate) use noted::{atomic, Mutex, MutexGuard};

#[cfg(loom)]
pub(crate) use loom::sync::{atomic, Arc, Mutex, MutexGuard};

#[cfg(not(loom))]
pub(crate) use std::thread;

#[cfg(loom)]
pub(crate) use loom::thread;

/// A cell that may be shared between threads by those who prove that they take turns.
///
/// The closure form is loom's: in a model check every access is tracked.
#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Finds leaks in a model check.
#[cfg(loom)]
pub(crate) use loom::alloc::Track;

/// Locks a mutex, whatever happened to an earlier holder.
///
/// A panic while a lock is held can only come from a bug in this crate; the data under every lock
/// stays valid between its statements, so going on is better than a second panic.
#[cfg_attr(sinew_sharing, track_caller)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Wakes a task, or whatever else a waker stands for. That is somebody else's code: if it panics, which the hook
/// for panics tells, the thread that serves others as well goes on.
pub(crate) fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

/// Keeps a value on cache lines of its own: 128 octets, since x86 fetches lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

/// Begins a cache line of its own, of 64 octets: for what there is one of for each connection, where 128
/// would be too much.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct OwnLine<T>(pub(crate) T);

impl<T> std::ops::Deref for OwnLine<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
