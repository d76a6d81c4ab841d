//! Waking tasks at a time: no runtime is there to do it.
//!
//! One thread for the process, started with the first alarm, and gone a second after the last one.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::{clock, wake};

/// Wakes a task at a time, unless it is dropped before.
#[derive(Debug)]
pub(crate) struct Alarm {
    at: Instant,
    set: Option<Key>,
}

/// Alarms of the same time are told apart by a number.
type Key = (Instant, u64);

#[derive(Debug)]
struct Alarms {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    due: BTreeMap<Key, Waker>,
    last: u64,
    running: bool,
}

static ALARMS: Alarms = Alarms {
    state: Mutex::new(State {
        due: BTreeMap::new(),
        last: 0,
        running: false,
    }),
    changed: Condvar::new(),
};

/// How long the thread stays with nothing to do.
const IDLE: Duration = Duration::from_secs(1);

impl Alarm {
    pub(crate) fn new(at: Instant) -> Self {
        Alarm { at, set: None }
    }

    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Whether the time has come. If not, the task is woken when it has.
    pub(crate) fn poll(&mut self, waker: &Waker) -> bool {
        if clock::now() >= self.at {
            return true;
        }
        let waker = waker.clone();
        let mut state = ALARMS.lock();
        if let Some(known) = self.set.and_then(|key| state.due.get_mut(&key)) {
            let former = std::mem::replace(known, waker);
            drop(state);
            drop(former);
            return false;
        }
        state.last += 1;
        let key = (self.at, state.last);
        let first = state.due.keys().next().map_or(true, |next| key < *next);
        state.due.insert(key, waker);
        self.set = Some(key);
        if state.running {
            if first {
                ALARMS.changed.notify_one();
            }
            return false;
        }
        let thread = std::thread::Builder::new().name("sinew-alarm".into());
        state.running = thread.spawn(|| ALARMS.run()).is_ok();
        if !state.running {
            // The system has no threads left. The task looks at the clock itself, again and again.
            let waker = state.due.remove(&key);
            drop(state);
            self.set = None;
            waker.into_iter().for_each(wake);
        }
        false
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.set {
            let waker = ALARMS.lock().due.remove(&key);
            drop(waker);
        }
    }
}

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock. A waker is woken and dropped without it: it may be the
        // last that keeps a task, with an alarm of its own.
        match self.state.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = clock::now();
            let next = state.due.first_entry();
            let sleep = match next {
                Some(entry) if entry.key().0 <= now => {
                    let waker = entry.remove();
                    drop(state);
                    wake(waker);
                    state = self.lock();
                    continue;
                }
                Some(entry) => entry.key().0 - now,
                None => IDLE,
            };
            let waited = self.changed.wait_timeout(state, sleep);
            let (woken, result) = match waited {
                Ok(waited) => waited,
                Err(poisoned) => poisoned.into_inner(),
            };
            state = woken;
            if result.timed_out() && state.due.is_empty() {
                state.running = false;
                return;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Tell(Mutex<mpsc::Sender<u32>>, u32);
    impl Wake for Tell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().unwrap().send(self.1);
        }
    }

    #[test]
    fn the_earlier_wakes_first_and_a_dropped_one_never() {
        let (sender, receiver) = mpsc::channel();
        let waker = |n| Waker::from(Arc::new(Tell(Mutex::new(sender.clone()), n)));
        let now = clock::now();
        let mut late = Alarm::new(now + Duration::from_millis(60));
        let mut early = Alarm::new(now + Duration::from_millis(20));
        let mut never = Alarm::new(now + Duration::from_millis(10));
        assert!(!late.poll(&waker(1)));
        assert!(!early.poll(&waker(2)));
        assert!(!never.poll(&waker(3)));
        drop(never);
        assert_eq!(receiver.recv(), Ok(2));
        assert!(early.poll(&waker(2)));
        assert_eq!(receiver.recv(), Ok(1));
        assert!(late.poll(&waker(1)));
        assert!(receiver.try_recv().is_err());
    }

    struct Idle;
    impl Wake for Idle {
        fn wake(self: Arc<Self>) {}
    }

    /// A waker that owns an alarm, as that of a task does.
    #[allow(dead_code, reason = "what it owns is dropped with it")]
    struct Owner(Mutex<Alarm>);
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_task_that_ends_with_its_waker_may_have_an_alarm() {
        let at = clock::now() + Duration::from_secs(3600);
        let idle = Waker::from(Arc::new(Idle));
        let owner = || {
            let mut own = Alarm::new(at);
            assert!(!own.poll(&idle));
            Waker::from(Arc::new(Owner(Mutex::new(own))))
        };
        let mut alarm = Alarm::new(at);
        assert!(!alarm.poll(&owner()));
        assert!(!alarm.poll(&owner()), "which drops the first owner");
        drop(alarm);
    }

    struct Broken;
    impl Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("the waker of a test");
        }
    }

    #[test]
    fn a_waker_that_panics_does_not_keep_others_asleep() {
        let (sender, receiver) = mpsc::channel();
        let now = clock::now();
        let mut broken = Alarm::new(now + Duration::from_millis(10));
        let mut alarm = Alarm::new(now + Duration::from_millis(20));
        assert!(!broken.poll(&Waker::from(Arc::new(Broken))));
        assert!(!alarm.poll(&Waker::from(Arc::new(Tell(Mutex::new(sender), 1)))));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(1));
    }

    #[test]
    fn the_last_waker_counts() {
        let (sender, receiver) = mpsc::channel();
        let waker = |n| Waker::from(Arc::new(Tell(Mutex::new(sender.clone()), n)));
        let mut alarm = Alarm::new(clock::now() + Duration::from_millis(30));
        assert!(!alarm.poll(&waker(1)));
        assert!(!alarm.poll(&waker(2)));
        assert_eq!(receiver.recv(), Ok(2));
    }
}
