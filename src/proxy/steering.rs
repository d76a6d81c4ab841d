//! Telling a proxy what to do, and hearing that it does.

use std::sync::{Arc, Condvar};

use super::statistics::{Counts, ProxyStatistics};
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{lock, Event, Mutex, Unpark};

/// What a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyState {
    /// It has not begun.
    Idle,
    /// It forwards.
    Running,
    /// It receives nothing and sends nothing until it is told to go on.
    Paused,
    /// It has ended, and will not begin again.
    Stopped,
}

/// Steers a [`Proxy`](crate::Proxy), from any thread and in any state: also while none of its peers reads.
#[derive(Debug, Clone)]
pub struct ProxyHandle(Arc<Steering>);

impl ProxyHandle {
    pub(super) fn of(steering: &Arc<Steering>) -> Self {
        ProxyHandle(Arc::clone(steering))
    }

    /// Stops forwarding for now. When this returns, nothing is received or sent any more; what the proxy's
    /// sockets hold stays there, and their high-water marks hold senders up. A proxy that has not begun begins
    /// paused; one that has stopped stays so.
    pub fn pause(&self) {
        self.0.ask(ProxyState::Paused);
        self.0.await_change(ProxyState::Running);
    }

    /// Goes on after [`pause`](Self::pause). Does not wait.
    pub fn resume(&self) {
        self.0.ask(ProxyState::Running);
    }

    /// Ends the proxy for good. When this returns, nothing is received or sent any more. What its sockets hold is
    /// still there ([`ProxyReport`](crate::ProxyReport)).
    pub fn terminate(&self) {
        self.0.ask(ProxyState::Stopped);
        self.0.await_change(ProxyState::Running);
        self.0.await_change(ProxyState::Paused);
    }

    /// As [`terminate`](Self::terminate), but does not wait.
    pub(super) fn ask_to_terminate(&self) {
        self.0.ask(ProxyState::Stopped);
    }

    /// What the proxy does now.
    #[must_use]
    pub fn state(&self) -> ProxyState {
        *lock(&self.0.state)
    }

    /// What it has forwarded so far.
    #[must_use]
    pub fn statistics(&self) -> ProxyStatistics {
        self.0.statistics()
    }
}

/// Shared by a proxy's thread and its handles.
#[derive(Debug)]
pub(super) struct Steering {
    /// A [`ProxyState`]; never `Idle`.
    wanted: AtomicU8,
    pub(super) counts: Counts,
    pub(super) wake: Arc<Wake>,
    state: Mutex<ProxyState>,
    changed: Condvar,
}

impl Steering {
    pub(super) fn new() -> Self {
        Steering {
            wanted: AtomicU8::new(ProxyState::Running as u8),
            counts: Counts::default(),
            wake: Arc::new(Wake(Event::new())),
            state: Mutex::new(ProxyState::Idle),
            changed: Condvar::new(),
        }
    }

    /// Asks the proxy for this state. One that is to stop is not to do anything else any more.
    pub(super) fn ask(&self, state: ProxyState) {
        let asked = self
            .wanted
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |wanted| {
                (wanted != ProxyState::Stopped as u8).then_some(state as u8)
            });
        if asked.is_ok() {
            self.wake.0.notify();
            // Somebody may wait for what is not wanted any more, and will never be.
            let state = lock(&self.state);
            self.changed.notify_all();
            drop(state);
        }
    }

    pub(super) fn wanted(&self) -> ProxyState {
        match self.wanted.load(Ordering::Acquire) {
            wanted if wanted == ProxyState::Paused as u8 => ProxyState::Paused,
            wanted if wanted == ProxyState::Stopped as u8 => ProxyState::Stopped,
            _ => ProxyState::Running,
        }
    }

    /// The proxy's thread is in this state from here on.
    pub(super) fn enter(&self, state: ProxyState) {
        *lock(&self.state) = state;
        self.changed.notify_all();
    }

    /// Waits while the proxy is in this state and another one is wanted.
    fn await_change(&self, from: ProxyState) {
        let mut state = lock(&self.state);
        while *state == from && self.wanted() != from {
            state = match self.changed.wait(state) {
                Ok(state) => state,
                // Whoever panicked with the lock did so in `enter`, which leaves nothing undone.
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    pub(super) fn statistics(&self) -> ProxyStatistics {
        self.counts.snapshot()
    }
}

/// What a proxy's thread sleeps on: every event it waits for wakes it through this.
#[derive(Debug)]
pub(super) struct Wake(pub(super) Event);

impl Unpark for Wake {
    fn unpark(&self) {
        self.0.notify();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pause_that_is_taken_back_before_it_begins_is_over() {
        for _ in 0..20 {
            let steering = Arc::new(Steering::new());
            // The proxy is busy and looks at nothing.
            steering.enter(ProxyState::Running);
            let handle = ProxyHandle::of(&steering);
            let (done, over) = channel();
            let pausing = std::thread::spawn(move || {
                handle.pause();
                let _ = done.send(());
            });
            while steering.wanted() != ProxyState::Paused {
                std::thread::yield_now();
            }
            // So that the other thread sleeps by now, as a rule.
            (0..1000).for_each(|_| std::thread::yield_now());
            ProxyHandle::of(&steering).resume();
            let outcome = over.recv_timeout(Duration::from_secs(60));
            assert!(outcome.is_ok(), "it waits for ever");
            pausing.join().unwrap();
        }
    }
}
