//! A queue between threads, or between a thread and a task.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use super::spin::Spin;
use super::watched::{Locked, Watched};

/// Anyone may push and anyone may pop, each item once. It has no bound of its own: whoever pushes has one.
#[derive(Debug)]
pub(crate) struct Inbox<T>(Watched<State<T>>);

#[derive(Debug)]
struct State<T> {
    /// Before all in `items`. Most inboxes have one item in their life, which needs no list.
    first: Option<T>,
    items: VecDeque<T>,
    closed: bool,
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

impl<T> Popped<T> {
    pub(crate) fn item(self) -> Option<T> {
        match self {
            Popped::Item(item) => Some(item),
            Popped::Closed | Popped::Late => None,
        }
    }
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Inbox(Watched::new(State {
            first: None,
            items: VecDeque::new(),
            closed: false,
        }))
    }
}

impl<T> Inbox<T> {
    /// Gives the item back if it is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.0.lock();
        put(&mut state, item)?;
        state.tell_one();
        Ok(())
    }

    /// The same, but nobody is told before [`tell`](Self::tell).
    pub(crate) fn push_quietly(&self, item: T) -> Result<(), T> {
        put(&mut self.0.lock(), item)
    }

    /// The last item: it is closed with it.
    pub(crate) fn push_last(&self, item: T) {
        self.push_last_quietly(item);
        self.tell(usize::MAX);
    }

    /// The same, but nobody is told before [`tell`](Self::tell).
    pub(crate) fn push_last_quietly(&self, item: T) {
        let mut state = self.0.lock();
        let refused = put(&mut state, item).err();
        state.closed = true;
        drop(state);
        // Not under the lock: dropping an item may do anything.
        drop(refused);
    }

    /// Tells so many of those who wait.
    pub(crate) fn tell(&self, threads: usize) {
        self.0.lock().tell_some(threads);
    }

    /// All there is, behind what is in `items`.
    pub(crate) fn take_all(&self, items: &mut VecDeque<T>) {
        let mut state = self.0.lock();
        items.extend(state.first.take());
        items.append(&mut state.items);
    }

    /// Waits until then, or for ever.
    pub(crate) fn pop(&self, until: Option<Instant>) -> Popped<T> {
        self.0.wait(until, next).unwrap_or(Popped::Late)
    }

    /// The same for ever, by a thread that expects it soon.
    pub(crate) fn pop_soon(&self) -> Popped<T> {
        thread_local! {
            static SPIN: Cell<Spin> = Cell::default();
        }
        let mut found = None;
        SPIN.with(|spin| {
            let mut current = spin.take();
            current.until(|| {
                found = next(&mut self.0.lock());
                found.is_some()
            });
            spin.set(current);
        });
        found.unwrap_or_else(|| self.pop(None))
    }

    /// The same for a task; `None` once it is closed and empty. An item is taken when the future is ready, and not
    /// before.
    pub(crate) fn pop_async(&self) -> impl Future<Output = Option<T>> + Send + Unpin + '_
    where
        T: Send,
    {
        let popped = self.0.wait_async(None, next);
        futures_util::FutureExt::map(popped, |popped| popped.and_then(Popped::item))
    }

    /// No more will come. What is in it can still be popped.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        if !state.closed {
            state.closed = true;
            state.tell_all();
        }
    }

    /// No more will come, and what is in it is of no use any more.
    pub(crate) fn discard(&self) {
        self.close();
        let mut state = self.0.lock();
        let items = (state.first.take(), std::mem::take(&mut state.items));
        drop(state);
        // Not under the lock: dropping an item may do anything.
        drop(items);
    }
}

fn put<T>(state: &mut State<T>, item: T) -> Result<(), T> {
    if state.closed {
        return Err(item);
    }
    match state.first.is_none() && state.items.is_empty() {
        true => state.first = Some(item),
        false => state.items.push_back(item),
    }
    Ok(())
}

/// Inboxes in which there is something, and whose owners are told together: to wake a thread is dear, and one that
/// finds all there is when it wakes is not woken for each.
#[derive(Debug)]
pub(crate) struct Later<T>(Vec<Arc<Inbox<T>>>);

impl<T> Default for Later<T> {
    fn default() -> Self {
        Later(Vec::new())
    }
}

impl<T> Later<T> {
    pub(crate) fn add(&mut self, inbox: Arc<Inbox<T>>) {
        self.0.push(inbox);
    }

    pub(crate) fn tell(&mut self) {
        for inbox in self.0.drain(..) {
            inbox.tell(usize::MAX);
        }
    }
}

impl<T> Drop for Later<T> {
    fn drop(&mut self) {
        self.tell();
    }
}

fn next<T>(state: &mut Locked<'_, State<T>>) -> Option<Popped<T>> {
    match state.first.take().or_else(|| state.items.pop_front()) {
        Some(item) => Some(Popped::Item(item)),
        None => state.closed.then_some(Popped::Closed),
    }
}

#[cfg(test)]
mod tests {
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
        let mut all = VecDeque::from([1]);
        inbox.push(2).unwrap();
        inbox.take_all(&mut all);
        inbox.push_last(3);
        inbox.push_last(4);
        inbox.take_all(&mut all);
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(inbox.pop(None), Popped::Closed);
    }
}
