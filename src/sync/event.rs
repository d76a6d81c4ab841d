//! What a thread (or a task, or a poll loop) sleeps on until somebody has something for it.
//!
//! One sleeper at a time; any number of notifiers. A notification is remembered, so one that comes
//! just before the sleep ends it at once: no wake-up is lost. Several notifications are one.

use std::fmt;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::atomic::{AtomicU8, Ordering};
use super::{clock, lock, thread, wake, Arc, Mutex};

/// Nobody sleeps, nothing to tell.
const IDLE: u8 = 0;
/// Notified since the last sleep.
const NOTIFIED: u8 = 1;
/// Somebody sleeps, or is a task that gave up waiting; `waiter` says how to wake it.
const PARKED: u8 = 2;

/// How a sleeper that is not a plain thread is woken, such as one that waits in `epoll`.
pub(crate) trait Unpark: Send + Sync {
    fn unpark(&self);
}

/// See the module.
pub(crate) struct Event {
    state: AtomicU8,
    waiter: Mutex<Option<Waiter>>,
}

enum Waiter {
    Thread(thread::Thread),
    Custom(Arc<dyn Unpark>),
    Task(Waker),
}

impl Event {
    pub(crate) fn new() -> Self {
        Event {
            state: AtomicU8::new(IDLE),
            waiter: Mutex::new(None),
        }
    }

    /// Ends the current sleep, or the next one if nobody sleeps.
    pub(crate) fn notify(&self) {
        // Already notified: whoever consumes that notification acquires what was published before it
        // only if it synchronises with us too, hence a read-modify-write even then.
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            let waiter = lock(&self.waiter).take();
            match waiter {
                Some(Waiter::Thread(thread)) => thread.unpark(),
                Some(Waiter::Custom(unpark)) => unpark.unpark(),
                Some(Waiter::Task(waker)) => wake(waker),
                // The sleeper woke by itself and took its waiter back; it will see NOTIFIED.
                None => {}
            }
        }
    }

    /// Takes a pending notification.
    pub(crate) fn take(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
            && self
                .state
                .compare_exchange(NOTIFIED, IDLE, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Sleeps until notified (`true`) or until `deadline` (`false`). Consumes the notification.
    ///
    /// Once the deadline has passed it is `false` even if notified: the caller looks a last time then,
    /// and one that is notified again and again for nothing is not kept for ever.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let in_time = || deadline.map_or(true, |deadline| clock::now() < deadline);
        loop {
            if self.take() {
                return in_time();
            }
            if !self.park_as(Waiter::Thread(thread::current())) {
                continue;
            }
            let timed_out = park_until(deadline);
            if self.unpark_self() {
                return in_time();
            }
            if timed_out {
                return false;
            }
        }
    }

    /// Announces a sleeper that will wait elsewhere and be woken through `unpark`.
    ///
    /// `false`: there is a notification already, consumed by this call; do not sleep. After `true`
    /// the sleeper must call [`Event::end_custom`] when it is awake again.
    pub(crate) fn begin_custom(&self, unpark: Arc<dyn Unpark>) -> bool {
        !self.take() && (self.park_as(Waiter::Custom(unpark)) || !self.take())
    }

    /// Ends what [`Event::begin_custom`] began; whether a notification came meanwhile.
    pub(crate) fn end_custom(&self) -> bool {
        self.unpark_self()
    }

    /// For a task: `true` if there is a notification, which is consumed. Otherwise the next one wakes the
    /// task. A task that does not wait any longer need not say so: who sleeps next takes its place.
    pub(crate) fn poll(&self, waker: &Waker) -> bool {
        self.take() || (!self.park_as(Waiter::Task(waker.clone())) && self.take())
    }

    /// To PARKED; fails if there is a notification.
    fn park_as(&self, waiter: Waiter) -> bool {
        self.exchange(Some(waiter));
        // PARKED already: by a task that gave up. A notifier that comes now takes the lock after this thread
        // had it, and finds the waiter of this call.
        let parked = matches!(
            self.state
                .compare_exchange(IDLE, PARKED, Ordering::AcqRel, Ordering::Relaxed),
            Ok(_) | Err(PARKED)
        );
        if !parked {
            self.exchange(None);
        }
        parked
    }

    /// Back to IDLE from PARKED or NOTIFIED; whether there was a notification.
    fn unpark_self(&self) -> bool {
        let notified = self.state.swap(IDLE, Ordering::AcqRel) == NOTIFIED;
        self.exchange(None);
        notified
    }

    /// The former waiter is dropped without the lock: the waker of a task may be the last that keeps the task,
    /// whose end may notify this very event.
    fn exchange(&self, waiter: Option<Waiter>) {
        let former = std::mem::replace(&mut *lock(&self.waiter), waiter);
        drop(former);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").finish_non_exhaustive()
    }
}

/// Parks the thread; whether the deadline has passed. May return early for no reason.
fn park_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        thread::park();
        return false;
    };
    let left = deadline.saturating_duration_since(clock::now());
    if left.is_zero() {
        return true;
    }
    park_timeout(left);
    clock::now() >= deadline
}

#[cfg(not(loom))]
fn park_timeout(left: Duration) {
    thread::park_timeout(left);
}

/// loom has no time: a sleep with a deadline is one without.
#[cfg(loom)]
fn park_timeout(_left: Duration) {
    thread::park();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_notification_before_the_sleep_is_kept_and_consumed() {
        let event = Event::new();
        event.notify();
        event.notify();
        assert!(event.wait(None));
        assert!(!event.wait(Some(clock::now())));
    }

    #[test]
    fn a_notification_after_the_deadline_does_not_prolong_the_wait() {
        let event = Event::new();
        event.notify();
        assert!(!event.wait(Some(clock::now())));
        assert!(!event.take(), "it is consumed");
    }

    #[test]
    fn a_sleeper_is_woken_from_another_thread() {
        let event = Arc::new(Event::new());
        let other = Arc::clone(&event);
        let t = std::thread::spawn(move || other.notify());
        assert!(event.wait(None));
        t.join().unwrap();
    }

    struct Broken;
    impl std::task::Wake for Broken {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("the waker of a test");
        }
    }

    #[test]
    fn a_waker_that_panics_does_not_end_who_notifies() {
        let event = Event::new();
        assert!(!event.poll(&std::sync::Arc::new(Broken).into()));
        event.notify();
        assert!(event.take());
    }

    struct Flag(Event);
    impl Unpark for Flag {
        fn unpark(&self) {
            self.0.notify();
        }
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_once_and_its_place_can_be_taken() {
        let event = Event::new();
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let woken = |task: &Arc<Woken>| task.0.load(Ordering::Relaxed);
        assert!(!event.poll(&Arc::clone(&first).into()));
        assert!(!event.poll(&Arc::clone(&second).into()));
        event.notify();
        event.notify();
        assert_eq!((woken(&first), woken(&second)), (0, 1));
        assert!(event.poll(&Arc::clone(&first).into()), "it is consumed");
        assert!(!event.poll(&Arc::clone(&first).into()));
        // The task has gone away; a thread waits next.
        assert!(!event.wait(Some(clock::now())));
        event.notify();
        assert!(event.wait(None));
        assert_eq!(woken(&first), 0);
    }

    /// Notifies an event when it is dropped, as the last waker of a task that owns the other side does.
    struct Owner(Arc<Event>);
    impl std::task::Wake for Owner {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.notify();
        }
    }

    #[test]
    fn what_a_former_task_does_in_its_end_may_notify() {
        let event = Arc::new(Event::new());
        let owner = || std::sync::Arc::new(Owner(Arc::clone(&event))).into();
        assert!(!event.poll(&owner()));
        // Takes the place, and with it the last waker; the notification is for who comes now.
        let _ = event.poll(&owner());
        assert!(event.wait(None));
    }

    #[test]
    fn a_custom_sleeper_is_woken_through_its_own_means() {
        let event = Event::new();
        let flag = Arc::new(Flag(Event::new()));
        assert!(event.begin_custom(Arc::clone(&flag) as Arc<dyn Unpark>));
        event.notify();
        assert!(flag.0.take());
        assert!(event.end_custom());
        event.notify();
        assert!(
            !event.begin_custom(flag),
            "a pending notification forbids sleep"
        );
        assert!(!event.take(), "and is consumed");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    struct Unparker(thread::Thread);
    impl std::task::Wake for Unparker {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }

    /// A task polls, gives up, and another sleeper takes its place, while a notification comes.
    #[test]
    fn loom_event_forgets_a_task_that_gave_up() {
        loom::model(|| {
            let event = Arc::new(Event::new());
            let t = {
                let event = Arc::clone(&event);
                thread::spawn(move || event.notify())
            };
            let gone = std::sync::Arc::new(Unparker(thread::current())).into();
            if !event.poll(&gone) {
                assert!(event.wait(None));
            }
            t.join().unwrap();
        });
    }

    #[test]
    fn loom_event_wakes_a_task() {
        loom::model(|| {
            let event = Arc::new(Event::new());
            let data = Arc::new(super::super::atomic::AtomicUsize::new(0));
            let t = {
                let (event, data) = (Arc::clone(&event), Arc::clone(&data));
                thread::spawn(move || {
                    data.store(1, Ordering::Relaxed);
                    event.notify();
                })
            };
            let waker = std::sync::Arc::new(Unparker(thread::current())).into();
            while !event.poll(&waker) {
                thread::park();
            }
            assert_eq!(data.load(Ordering::Relaxed), 1);
            t.join().unwrap();
        });
    }

    #[test]
    fn loom_event_never_loses_a_notification() {
        loom::model(|| {
            let event = Arc::new(Event::new());
            let data = Arc::new(super::super::atomic::AtomicUsize::new(0));
            let t = {
                let (event, data) = (Arc::clone(&event), Arc::clone(&data));
                thread::spawn(move || {
                    data.store(1, Ordering::Relaxed);
                    event.notify();
                })
            };
            assert!(event.wait(None));
            assert_eq!(data.load(Ordering::Relaxed), 1);
            t.join().unwrap();
        });
    }
}
