//! A queue between threads, or between a thread and a task.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Anyone may push and anyone may pop, each item once. It has no bound of its own: whoever pushes has one.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    /// Tasks that wait.
    wakers: Vec<Waker>,
}

/// What a pop brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Popped<T> {
    Item(T),
    /// It is closed, and empty.
    Closed,
    /// The time is over.
    Late,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Inbox {
            state: Mutex::new(State {
                items: VecDeque::new(),
                closed: false,
                wakers: Vec::new(),
            }),
            ready: Condvar::new(),
        }
    }
}

impl<T> Inbox<T> {
    /// Gives the item back if it is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let wakers = {
            let mut state = self.lock();
            if state.closed {
                return Err(item);
            }
            state.items.push_back(item);
            std::mem::take(&mut state.wakers)
        };
        self.ready.notify_one();
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    pub(crate) fn try_pop(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    /// Waits until then, or for ever.
    pub(crate) fn pop(&self, until: Option<Instant>) -> Popped<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Popped::Item(item);
            }
            if state.closed {
                return Popped::Closed;
            }
            state = match until {
                None => self
                    .ready
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Popped::Late;
                    }
                    let waited = self.ready.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The same for a task; `None` once it is closed and empty.
    pub(crate) fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        let waker = context.waker();
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// No more will come. What is in it can still be popped.
    pub(crate) fn close(&self) {
        let wakers = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.wakers)
        };
        self.ready.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// No more will come, and what is in it is of no use any more.
    pub(crate) fn discard(&self) {
        self.close();
        let items = std::mem::take(&mut self.lock().items);
        // Not under the lock: dropping an item may do anything.
        drop(items);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn each_item_once_and_the_end_after_the_last() {
        let inbox = Arc::new(Inbox::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    let mut sum = 0;
                    while let Popped::Item(item) = inbox.pop(None) {
                        sum += item;
                    }
                    sum
                })
            })
            .collect();
        for item in 1..=1000 {
            inbox.push(item).unwrap();
        }
        inbox.close();
        assert_eq!(inbox.push(7), Err(7));
        let sums = threads.into_iter().map(|thread| thread.join().unwrap());
        assert_eq!(sums.sum::<i32>(), 500_500);
        assert_eq!(inbox.pop(Some(Instant::now())), Popped::Closed);
    }

    #[test]
    fn the_time_is_over() {
        let inbox = Inbox::<u8>::default();
        assert_eq!(inbox.pop(Some(Instant::now())), Popped::Late);
        assert_eq!(inbox.try_pop(), None);
    }
}
