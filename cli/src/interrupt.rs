//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends at once. And waits that hear of them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Failure;

/// Tells the thread that it was made on of the first signal. That thread waits for nothing but by
/// [`wait`](Interrupt::wait), as a task does: it sleeps until it is woken, by whatever it waits for or by a signal.
pub(crate) struct Interrupt {
    told: Receiver<i32>,
    waker: Waker,
}

impl Interrupt {
    /// Takes the signals over.
    pub(crate) fn install() -> io::Result<Self> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let (tell, told) = channel();
        let wake = waker.clone();
        handle_first(move |signal| {
            // Whoever was to be told may be done.
            let _ = tell.send(signal);
            wake.wake();
        })?;
        Ok(Interrupt { told, waker })
    }

    /// What ends a wait for another look.
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until the attempt finds something; `None` if the time was over first. The attempt is made again whenever
    /// the waker that it is given is used.
    ///
    /// # Errors
    /// If there was a signal, or what the attempt says.
    pub(crate) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Failure>>,
    ) -> Result<Option<T>, Failure> {
        let mut cx = Context::from_waker(&self.waker);
        loop {
            self.check()?;
            if let Poll::Ready(done) = attempt(&mut cx) {
                return done.map(Some);
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return Ok(None),
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// Fails if there was a signal.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let signal = self.told.try_recv();
        signal.map_or(Ok(()), |signal| Err(Failure::Interrupted(signal)))
    }

    /// Waits until then, or until there is a signal.
    pub(crate) fn sleep_until(&self, time: Instant) -> Result<(), Failure> {
        self.wait(Some(time), |_| Poll::<Result<(), Failure>>::Pending)
            .map(drop)
    }
}

/// Calls this at the first signal, on a thread of its own, and ends the process at the second.
pub(crate) fn handle_first(act: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        let mut signals = signals.forever();
        if let Some(first) = signals.next() {
            act(first);
            thread::spawn(move || end_if_stalled(first));
        }
        if let Some(second) = signals.next() {
            end(second);
        }
    });
    Ok(())
}

/// Writes so far by the thread that ends the command, twice: odd while one is under way.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// A write to standard output or standard error, which whoever reads that can hold up for ever: after a signal this does
/// not go on. For the thread that ends the command, and no other.
pub(crate) fn writing<T>(write: impl FnOnce() -> T) -> T {
    WRITES.fetch_add(1, Ordering::SeqCst);
    let written = write();
    WRITES.fetch_add(1, Ordering::SeqCst);
    written
}

/// A write that lasts so long after a signal is one that nobody reads.
const STALLED: Duration = Duration::from_millis(500);

/// After a signal: ends the process if it cannot end by itself, for a write.
fn end_if_stalled(signal: i32) {
    loop {
        let before = WRITES.load(Ordering::SeqCst);
        thread::sleep(STALLED);
        if before % 2 == 1 && WRITES.load(Ordering::SeqCst) == before {
            end(signal);
        }
    }
}

/// Ends the process as a signal does.
pub(crate) fn end(signal: i32) -> ! {
    std::process::exit(i32::from(Failure::Interrupted(signal).code()))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
