//! Many-to-one command queue with a flag that costs its owner one relaxed load to look at.
//!
//! Anyone may [`post`](Mailbox::post); one owner takes. Posting also notifies the owner's
//! [`Event`], so an owner that sleeps wakes up; an owner that is busy looks at the flag now and then.

use super::atomic::{AtomicBool, Ordering};
use super::Event;

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Queue<T>,
    /// Set after a post, cleared by the owner before it empties the queue.
    pending: AtomicBool,
    event: Event,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Mailbox {
            queue: Queue::new(),
            pending: AtomicBool::new(false),
            event: Event::new(),
        }
    }

    /// Hands `command` to the owner and wakes it if it sleeps.
    pub(crate) fn post(&self, command: T) {
        self.queue.push(command);
        self.pending.store(true, Ordering::Release);
        self.event.notify();
    }

    /// Whether something may have been posted since the last [`Mailbox::take_pending`].
    #[inline(always)]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Clears the flag; the owner then calls [`Mailbox::pop`] until it is empty.
    ///
    /// A command posted before the flag was read is in the queue; one posted after sets the flag
    /// again. So nothing is overlooked, at the price of a look in vain now and then.
    pub(crate) fn take_pending(&self) -> bool {
        self.pending.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// What the owner sleeps on.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }
}

#[cfg(not(loom))]
type Queue<T> = crossbeam_queue::SegQueue<T>;

#[cfg(loom)]
use model::Queue;

/// crossbeam's queue does not know loom; a lock does for the model.
#[cfg(loom)]
mod model {
    use super::super::Mutex;
    use std::collections::VecDeque;

    #[derive(Debug)]
    pub(crate) struct Queue<T>(Mutex<VecDeque<T>>);

    impl<T> Queue<T> {
        pub(crate) fn new() -> Self {
            Queue(Mutex::new(VecDeque::new()))
        }
        pub(crate) fn push(&self, value: T) {
            super::super::lock(&self.0).push_back(value);
        }
        pub(crate) fn pop(&self) -> Option<T> {
            super::super::lock(&self.0).pop_front()
        }
    }
}
