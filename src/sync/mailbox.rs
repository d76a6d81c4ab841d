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
        // A swap, not a store: the owner who clears the flag then synchronises with everyone who
        // set it, not only with the last, and sees all their commands.
        self.pending.swap(true, Ordering::AcqRel);
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

#[cfg(not(any(loom, sinew_sharing)))]
type Queue<T> = crossbeam_queue::SegQueue<T>;

#[cfg(sinew_sharing)]
use super::noted::Queue;

#[cfg(loom)]
use model::Queue;

/// crossbeam's queue does not know loom. This stands for it with no more order than crossbeam's:
/// a `pop` may overlook a `push` that is not ordered before it.
#[cfg(loom)]
mod model {
    use super::super::atomic::{fence, AtomicBool, AtomicUsize, Ordering};
    use super::super::{lock, Mutex};

    /// More commands than any model posts.
    const SLOTS: usize = 3;

    #[derive(Debug)]
    pub(crate) struct Queue<T> {
        slots: [(AtomicBool, Mutex<Option<T>>); SLOTS],
        tail: AtomicUsize,
        head: AtomicUsize,
    }

    impl<T> Queue<T> {
        pub(crate) fn new() -> Self {
            Queue {
                slots: std::array::from_fn(|_| (AtomicBool::new(false), Mutex::new(None))),
                tail: AtomicUsize::new(0),
                head: AtomicUsize::new(0),
            }
        }

        pub(crate) fn push(&self, value: T) {
            let at = self.tail.fetch_add(1, Ordering::SeqCst);
            *lock(&self.slots[at].1) = Some(value);
            self.slots[at].0.store(true, Ordering::Release);
        }

        /// By the owner only.
        pub(crate) fn pop(&self) -> Option<T> {
            let head = self.head.load(Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if head == self.tail.load(Ordering::Relaxed) {
                return None;
            }
            self.head.store(head + 1, Ordering::Relaxed);
            while !self.slots[head].0.load(Ordering::Acquire) {
                super::super::thread::yield_now();
            }
            lock(&self.slots[head].1).take()
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::{thread, Arc};
    use super::*;

    /// Two post; the owner looks only after the flag is set, and sleeps if it is not.
    #[test]
    fn loom_mailbox_overlooks_no_command() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let mailbox = Arc::new(Mailbox::new());
            let posters = [1, 2].map(|command| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.post(command))
            });
            let mut sum = 0;
            while sum < 3 {
                if mailbox.is_pending() && mailbox.take_pending() {
                    while let Some(command) = mailbox.pop() {
                        sum += command;
                    }
                } else {
                    mailbox.event().wait(None);
                }
            }
            for poster in posters {
                poster.join().unwrap();
            }
        });
    }
}
