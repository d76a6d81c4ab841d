//! A value under a lock, and those who wait until something about it is so: threads, and tasks of any executor.
//!
//! A thread that is told sleeps on a condition, and telling it is a system call, so those who sleep are counted and
//! nobody is told who does not. Wakers are called and dropped without the lock: they may own whatever waits here.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use sinew::Sleep;

#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner<T> {
    value: T,
    /// Threads that sleep.
    sleeping: usize,
    tasks: Tasks,
    next: u64,
}

/// Tasks that wait, by number; as a rule one, which needs no list.
#[derive(Debug, Default)]
struct Tasks {
    one: Option<(u64, Waker)>,
    more: Vec<(u64, Waker)>,
}

impl Tasks {
    /// The waker of this task from now on; the one before it, if there was another.
    fn set(&mut self, task: u64, waker: &Waker) -> Option<Waker> {
        let known = (self.one.iter_mut().chain(&mut self.more)).find(|(number, _)| *number == task);
        match known {
            Some((_, known)) if known.will_wake(waker) => None,
            Some((_, known)) => Some(std::mem::replace(known, waker.clone())),
            None => {
                let entry = (task, waker.clone());
                match self.one {
                    None => self.one = Some(entry),
                    Some(_) => self.more.push(entry),
                }
                None
            }
        }
    }

    fn remove(&mut self, task: u64) -> Option<Waker> {
        if self.one.as_ref().is_some_and(|(number, _)| *number == task) {
            return self.one.take().map(|(_, waker)| waker);
        }
        let place = self.more.iter().position(|(number, _)| *number == task);
        place.map(|place| self.more.swap_remove(place).1)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.more.len()
    }
}

/// The value. Who is to be told is told when the lock is given back.
#[derive(Debug)]
pub(crate) struct Locked<'a, T> {
    watched: &'a Watched<T>,
    inner: Option<MutexGuard<'a, Inner<T>>>,
    tell: Tell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tell {
    Nobody,
    /// Of the threads that sleep, so many; and all tasks.
    Some(usize),
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Watched {
            inner: Mutex::new(Inner {
                value,
                sleeping: 0,
                tasks: Tasks::default(),
                next: 0,
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> Locked<'_, T> {
        Locked {
            watched: self,
            inner: Some(self.inner.lock().unwrap_or_else(PoisonError::into_inner)),
            tell: Tell::Nobody,
        }
    }

    /// Waits until something comes of the attempt, which is made now, whenever somebody is told, and when the time is
    /// over; `None` then.
    pub(crate) fn wait<R>(
        &self,
        until: Option<Instant>,
        mut attempt: impl FnMut(&mut Locked<'_, T>) -> Option<R>,
    ) -> Option<R> {
        loop {
            // Before the attempt: what is so at this time counts.
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let mut locked = self.lock();
            if let Some(result) = attempt(&mut locked) {
                return Some(result);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            // What the attempt did is told to others before this one sleeps.
            if locked.tell != Tell::Nobody {
                continue;
            }
            let Some(mut inner) = locked.inner.take() else {
                continue;
            };
            inner.sleeping += 1;
            let mut woken = match left {
                None => (self.changed.wait(inner)).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.changed.wait_timeout(inner, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            woken.sleeping -= 1;
        }
    }

    /// The same for a task. Between two attempts the future holds nothing.
    pub(crate) fn wait_async<R, F>(&self, until: Option<Instant>, attempt: F) -> Watch<'_, T, F>
    where
        F: FnMut(&mut Locked<'_, T>) -> Option<R>,
    {
        Watch {
            watched: self,
            attempt,
            sleep: until.map(sinew::sleep_until),
            task: None,
        }
    }
}

impl<T> Locked<'_, T> {
    /// One of the threads that sleep, and all tasks: what is new is for one of them.
    pub(crate) fn tell_one(&mut self) {
        self.tell_some(1);
    }

    /// So many of the threads, and all tasks.
    pub(crate) fn tell_some(&mut self, threads: usize) {
        self.tell = self.tell.max(Tell::Some(threads));
    }

    /// All of them.
    pub(crate) fn tell_all(&mut self) {
        self.tell = Tell::Some(usize::MAX);
    }

    fn inner(&mut self) -> &mut Inner<T> {
        self.inner.as_mut().expect(HELD)
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner.as_ref().expect(HELD).value
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner().value
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        let Tell::Some(threads) = self.tell else {
            return;
        };
        let sleeping = inner.sleeping;
        let tasks = std::mem::take(&mut inner.tasks);
        drop(inner);
        if threads < sleeping {
            (0..threads).for_each(|_| self.watched.changed.notify_one());
        } else if sleeping > 0 {
            self.watched.changed.notify_all();
        }
        let tasks = tasks.one.into_iter().chain(tasks.more);
        tasks.for_each(|(_, waker)| waker.wake());
    }
}

/// See [`Watched::wait_async`].
#[derive(Debug)]
pub(crate) struct Watch<'a, T, F> {
    watched: &'a Watched<T>,
    attempt: F,
    sleep: Option<Sleep>,
    /// The number of its waker.
    task: Option<u64>,
}

/// Nothing in it is ever pinned.
impl<T, F> Unpin for Watch<'_, T, F> {}

impl<T, F, R> Future for Watch<'_, T, F>
where
    F: FnMut(&mut Locked<'_, T>) -> Option<R>,
{
    type Output = Option<R>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R>> {
        let this = self.get_mut();
        loop {
            let over = match &mut this.sleep {
                Some(sleep) => Pin::new(sleep).poll(context).is_ready(),
                None => false,
            };
            let mut locked = this.watched.lock();
            if let Some(result) = (this.attempt)(&mut locked) {
                return Poll::Ready(Some(result));
            }
            if over {
                return Poll::Ready(None);
            }
            if locked.tell != Tell::Nobody {
                continue;
            }
            let inner = locked.inner();
            let task = *this.task.get_or_insert_with(|| {
                inner.next += 1;
                inner.next
            });
            let former = inner.tasks.set(task, context.waker());
            drop(locked);
            drop(former);
            return Poll::Pending;
        }
    }
}

impl<T, F> Drop for Watch<'_, T, F> {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            let mut locked = self.watched.lock();
            let waker = locked.inner().tasks.remove(task);
            drop(locked);
            drop(waker);
        }
    }
}

const HELD: &str = "the lock is held as long as this lives";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;
    use std::task::Wake;
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(locked: &mut Locked<'_, u32>) -> Option<()> {
        **locked = locked.checked_sub(1)?;
        Some(())
    }

    #[test]
    fn threads_and_tasks_wait_for_the_same() {
        let watched = Arc::new(Watched::new(0u32));
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let mut task = Box::pin(watched.wait_async(None, take));
        let given_up = {
            let mut dropped = Box::pin(watched.wait_async(None, take));
            dropped.as_mut().poll(&mut context)
        };
        assert!(given_up.is_pending() && task.as_mut().poll(&mut context).is_pending());
        assert_eq!(watched.lock().inner().tasks.len(), 1, "one was dropped");
        let thread = {
            let watched = Arc::clone(&watched);
            thread::spawn(move || watched.wait(None, take))
        };
        let mut locked = watched.lock();
        *locked = 2;
        locked.tell_all();
        drop(locked);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(task.as_mut().poll(&mut context), Poll::Ready(Some(())));
        assert_eq!(thread.join().unwrap(), Some(()));
        assert_eq!(*watched.lock(), 0);
    }

    #[test]
    fn the_time_is_over() {
        let watched = Watched::new(0u32);
        assert_eq!(watched.wait(Some(Instant::now()), take), None);
        let mut task = watched.wait_async(Some(Instant::now()), take);
        let mut context = Context::from_waker(futures::task::noop_waker_ref());
        assert_eq!(Pin::new(&mut task).poll(&mut context), Poll::Ready(None));
        // What is there is taken, however late.
        *watched.lock() = 1;
        assert_eq!(watched.wait(Some(Instant::now()), take), Some(()));
    }
}
