//! What the tests share: executors, futures that are given up, wakers that tell, a watchdog.

use std::any::Any;
use std::future::Future;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use sinew::Message;

#[path = "../support/random.rs"]
mod random;
pub(crate) use random::Random;

/// The watchdog: longer than anything that works takes, however busy the machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// For what is to time out.
pub(crate) const SHORT: Duration = Duration::from_millis(5);

/// Runs it on a thread of its own, and fails if it hangs.
#[track_caller]
pub(crate) fn watched<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(body());
    });
    match result.recv_timeout(LONG) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the thread ended and told nothing"),
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Executor {
    TokioThreads,
    TokioThread,
    Smol,
    /// None: a thread for each task, which parks.
    Parking,
}

pub(crate) const EXECUTORS: [Executor; 4] = [
    Executor::TokioThreads,
    Executor::TokioThread,
    Executor::Smol,
    Executor::Parking,
];

impl Executor {
    /// Runs two tasks side by side.
    #[track_caller]
    pub(crate) fn run<A, B>(self, one: A, other: B) -> (A::Output, B::Output)
    where
        A: Future<Output: Send + 'static> + Send + 'static,
        B: Future<Output: Send + 'static> + Send + 'static,
    {
        let (one, other) = self.run_tasks(task(one), task(other));
        (*one.downcast().unwrap(), *other.downcast().unwrap())
    }

    /// Apart, so that executors are compiled for one kind of task only: there are hundreds of futures.
    #[track_caller]
    fn run_tasks(self, one: Task, other: Task) -> (Done, Done) {
        use tokio::runtime::Builder;
        watched(move || match self {
            Executor::TokioThreads => {
                in_tokio(Builder::new_multi_thread().worker_threads(2), one, other)
            }
            Executor::TokioThread => in_tokio(&mut Builder::new_current_thread(), one, other),
            Executor::Smol => smol::block_on(async {
                let (one, other) = (smol::spawn(one), smol::spawn(other));
                futures::join!(one, other)
            }),
            Executor::Parking => {
                let other = std::thread::spawn(|| block_on(other));
                (block_on(one), other.join().unwrap())
            }
        })
    }
}

type Done = Box<dyn Any + Send>;
type Task = Pin<Box<dyn Future<Output = Done> + Send>>;

fn task(future: impl Future<Output: Send + 'static> + Send + 'static) -> Task {
    Box::pin(async { Box::new(future.await) as Done })
}

fn in_tokio(builder: &mut tokio::runtime::Builder, one: Task, other: Task) -> (Done, Done) {
    // Without its timers and its I/O driver: nothing here may need them.
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        let (one, other) = (tokio::spawn(one), tokio::spawn(other));
        tokio::try_join!(one, other).unwrap()
    })
}

/// Runs a future on this thread, which parks while there is nothing to do.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Parked(Thread);
    impl Wake for Parked {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        std::thread::park();
    }
}

/// A waker that counts, and can be waited for.
#[derive(Default)]
pub(crate) struct Tally {
    woken: Mutex<u64>,
    changed: Condvar,
}

impl Wake for Tally {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

impl Tally {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    pub(crate) fn count(&self) -> u64 {
        *self.woken.lock().unwrap()
    }

    /// Waits until it has been woken at least so often.
    #[track_caller]
    pub(crate) fn wait(&self, count: u64) {
        let end = Instant::now() + LONG;
        let mut woken = self.woken.lock().unwrap();
        while *woken < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "woken {woken} times, expected {count}");
            woken = self.changed.wait_timeout(woken, left).unwrap().0;
        }
    }
}

/// Futures that are given up at random: before they were polled, or after up to three polls, each of which follows
/// at once or when the task is woken. Blocking calls come in between.
pub(crate) struct Storm {
    random: Random,
    waiting: Arc<Tally>,
    owed: u64,
}

impl Storm {
    pub(crate) fn new() -> Self {
        Storm {
            random: Random::new(17),
            waiting: Tally::new(),
            owed: 1,
        }
    }

    /// Counts the futures that were given up while they waited: after a poll that had to wait, and before anything
    /// else. Only those show something. An other side that waits for some before it goes on makes sure that there
    /// are.
    pub(crate) fn waiting(&self) -> Arc<Tally> {
        Arc::clone(&self.waiting)
    }

    pub(crate) fn given_up(&self) -> u64 {
        self.waiting.count()
    }

    /// Until so many were given up while they waited, nothing waits: neither a task to be woken, nor a call that
    /// blocks. At first 1.
    pub(crate) fn owe(&mut self, count: u64) {
        self.owed = count;
    }

    pub(crate) fn has_paid(&self) -> bool {
        self.given_up() >= self.owed
    }

    /// Whether a blocking call comes next.
    pub(crate) fn blocks(&mut self) -> bool {
        self.random.below(16) == 0 && self.has_paid()
    }

    /// What becomes of this one; `None` if it was given up.
    pub(crate) fn cut<F: Future>(&mut self, future: F) -> Cut<F> {
        Cut {
            future: Box::pin(future),
            polls: self.random.below(4),
            patient: self.random.below(2) == 0 && self.has_paid(),
            waits: false,
            waiting: self.waiting(),
        }
    }
}

/// A future that is given up after some polls; `None` then.
pub(crate) struct Cut<F> {
    future: Pin<Box<F>>,
    polls: u64,
    /// Each poll but the first waits to be woken.
    patient: bool,
    waits: bool,
    waiting: Arc<Tally>,
}

impl<F: Future> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        loop {
            if self.polls == 0 {
                if self.waits {
                    Arc::clone(&self.waiting).wake();
                }
                return Poll::Ready(None);
            }
            self.polls -= 1;
            match self.future.as_mut().poll(cx) {
                Poll::Ready(done) => return Poll::Ready(Some(done)),
                Poll::Pending => self.waits = true,
            }
            if self.patient && self.polls > 0 {
                return Poll::Pending;
            }
        }
    }
}

/// What is bound afresh for each round.
pub(crate) fn fresh(transport: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    match transport {
        "tcp" => "tcp://127.0.0.1:*".into(),
        "ipc" => "ipc://*".into(),
        "udp" => "udp://127.0.0.1:*".into(),
        _ => format!("inproc://asy-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}

pub(crate) const STREAMS: &[&str] = &["tcp", "ipc"];
pub(crate) const TRANSPORTS: &[&str] = &["tcp", "ipc", "inproc"];

pub(crate) fn numbered(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

#[track_caller]
pub(crate) fn number(octets: impl AsRef<[u8]>) -> u32 {
    u32::from_be_bytes(octets.as_ref().try_into().expect("four octets"))
}

#[track_caller]
pub(crate) fn number_of(message: &Message) -> u32 {
    number(message.as_bytes())
}

/// Two sockets, the first bound and the second connected to it.
macro_rules! joined {
    ($endpoint:expr, $bound:expr, $connected:expr) => {{
        let (mut bound, mut connected) = ($bound, $connected);
        let endpoint: sinew::Endpoint = bound.bind($endpoint.as_str()).unwrap();
        connected.connect(&endpoint).unwrap();
        (bound, connected)
    }};
}

pub(crate) use joined;
