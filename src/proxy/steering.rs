//! Telling a proxy what to do, and hearing that it does.

use std::sync::{Arc, Condvar};

use super::statistics::{Counts, ProxyStatistics};
use crate::sync::atomic::{AtomicU64, Ordering};
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
        let request = self.0.ask(ProxyState::Paused);
        self.0.await_done(request);
    }

    /// Goes on after [`pause`](Self::pause). Does not wait.
    pub fn resume(&self) {
        self.0.ask(ProxyState::Running);
    }

    /// Ends the proxy for good. When this returns, nothing is received or sent any more. What its sockets hold is
    /// still there ([`ProxyReport`](crate::ProxyReport)).
    pub fn terminate(&self) {
        let request = self.0.ask(ProxyState::Stopped);
        self.0.await_done(request);
    }

    /// As [`terminate`](Self::terminate), but does not wait.
    pub(super) fn ask_to_terminate(&self) {
        self.0.ask(ProxyState::Stopped);
    }

    /// What the proxy does now.
    #[must_use]
    pub fn state(&self) -> ProxyState {
        lock(&self.0.done).state
    }

    /// What it has forwarded so far.
    #[must_use]
    pub fn statistics(&self) -> ProxyStatistics {
        self.0.statistics()
    }
}

/// What a proxy is asked for. Requests are numbered, so that who asks can wait until the proxy has seen this one:
/// its state alone does not tell a pause that is over from one that has yet to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) state: ProxyState,
    number: u64,
}

impl Wanted {
    /// Nobody has asked for anything: it forwards.
    const AT_FIRST: Wanted = Wanted {
        state: ProxyState::Running,
        number: 0,
    };

    const fn encoded(self) -> u64 {
        self.number << 2 | self.state as u64
    }

    fn decoded(encoded: u64) -> Self {
        let state = match encoded & 3 {
            state if state == ProxyState::Paused as u64 => ProxyState::Paused,
            state if state == ProxyState::Stopped as u64 => ProxyState::Stopped,
            _ => ProxyState::Running,
        };
        Wanted {
            state,
            number: encoded >> 2,
        }
    }
}

/// Shared by a proxy's thread and its handles.
#[derive(Debug)]
pub(super) struct Steering {
    /// A [`Wanted`], encoded. The proxy's thread looks at it every turn, and takes the lock only if it has changed.
    wanted: AtomicU64,
    pub(super) counts: Counts,
    pub(super) wake: Arc<Wake>,
    done: Mutex<Wanted>,
    changed: Condvar,
}

impl Steering {
    pub(super) fn new() -> Self {
        Steering {
            wanted: AtomicU64::new(Wanted::AT_FIRST.encoded()),
            counts: Counts::default(),
            wake: Arc::new(Wake(Event::new())),
            done: Mutex::new(Wanted {
                state: ProxyState::Idle,
                ..Wanted::AT_FIRST
            }),
            changed: Condvar::new(),
        }
    }

    /// Asks the proxy for this state; the number of the request. One that is to stop is not to do anything else any
    /// more: then it is that of the end.
    pub(super) fn ask(&self, state: ProxyState) -> u64 {
        let next = |encoded| {
            let wanted = Wanted::decoded(encoded);
            (wanted.state != ProxyState::Stopped).then(|| Wanted {
                state,
                number: wanted.number + 1,
            })
        };
        let asked = self
            .wanted
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |encoded| {
                next(encoded).map(Wanted::encoded)
            });
        match asked {
            Ok(before) => {
                self.wake.0.notify();
                Wanted::decoded(before).number + 1
            }
            Err(end) => Wanted::decoded(end).number,
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted::decoded(self.wanted.load(Ordering::Acquire))
    }

    /// The proxy's thread is in the state that is wanted now, from here on; which that is. It does nothing else
    /// before it calls this again.
    pub(super) fn enter(&self) -> Wanted {
        let mut done = lock(&self.done);
        // Under the lock: who has asked and finds that the proxy has not begun knows that it begins with that.
        *done = self.wanted();
        self.changed.notify_all();
        *done
    }

    /// Waits until the proxy has carried out this request, or a later one that has taken its place. Not for one
    /// that has not begun: it begins with what is wanted then.
    fn await_done(&self, request: u64) {
        let mut done = lock(&self.done);
        while done.state != ProxyState::Idle && done.number < request {
            done = match self.changed.wait(done) {
                Ok(done) => done,
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
    use std::sync::mpsc::{channel, Receiver, TryRecvError};
    use std::time::Duration;

    use super::*;

    /// Calls it on another thread; what hears of its end.
    fn begin(
        steering: &Arc<Steering>,
        call: impl FnOnce(&ProxyHandle) + Send + 'static,
    ) -> Receiver<()> {
        let before = steering.wanted();
        let handle = ProxyHandle::of(steering);
        let (done, over) = channel();
        std::thread::spawn(move || {
            call(&handle);
            let _ = done.send(());
        });
        while steering.wanted() == before {
            std::thread::yield_now();
        }
        over
    }

    /// Nobody has carried it out: what returns all the same does so soon, as a rule.
    fn assert_waits(over: &Receiver<()>, what: &str) {
        (0..1000).for_each(|_| std::thread::yield_now());
        assert_eq!(over.try_recv(), Err(TryRecvError::Empty), "{what}");
    }

    fn assert_over(over: &Receiver<()>) {
        let outcome = over.recv_timeout(Duration::from_secs(60));
        assert!(outcome.is_ok(), "it waits for ever");
    }

    const CALLS: [fn(&ProxyHandle); 2] = [ProxyHandle::pause, ProxyHandle::terminate];

    /// After a pause that was taken back the proxy is still paused for a moment: it may be about to go on.
    #[test]
    fn a_request_is_over_when_it_is_carried_out_whatever_the_state_was() {
        for call in CALLS {
            for paused_first in [false, true] {
                let steering = Arc::new(Steering::new());
                steering.enter();
                if paused_first {
                    steering.ask(ProxyState::Paused);
                    steering.enter();
                    steering.ask(ProxyState::Running);
                }
                // It has looked at what is wanted, and goes by that until it looks again.
                let seen = steering.wanted();
                assert_eq!(seen.state, ProxyState::Running);
                let over = begin(&steering, call);
                assert_waits(&over, "it is about to forward");
                let wanted = steering.enter();
                assert_ne!(wanted, seen);
                assert_over(&over);
            }
        }
    }

    /// A thread that has begun has looked at what was wanted under the lock.
    #[test]
    fn a_proxy_that_has_not_begun_is_not_waited_for_and_begins_as_it_is_told() {
        for call in CALLS {
            let steering = Arc::new(Steering::new());
            call(&ProxyHandle::of(&steering));
            assert_eq!(lock(&steering.done).state, ProxyState::Idle);
            assert_ne!(steering.enter().state, ProxyState::Running);
        }
    }

    #[test]
    fn a_pause_that_is_taken_back_before_it_begins_is_over() {
        let steering = Arc::new(Steering::new());
        // The proxy is busy and looks at nothing.
        steering.enter();
        let over = begin(&steering, ProxyHandle::pause);
        ProxyHandle::of(&steering).resume();
        assert_waits(&over, "it may forward by what it saw before");
        assert_eq!(steering.enter().state, ProxyState::Running);
        assert_over(&over);
    }

    #[test]
    fn what_is_asked_of_one_that_is_to_stop_is_over_when_it_has() {
        let steering = Arc::new(Steering::new());
        steering.enter();
        let end = steering.ask(ProxyState::Stopped);
        assert_eq!(steering.ask(ProxyState::Paused), end);
        assert_eq!(steering.ask(ProxyState::Running), end);
        assert_eq!(steering.enter().state, ProxyState::Stopped);
        CALLS
            .iter()
            .for_each(|call| call(&ProxyHandle::of(&steering)));
    }
}
