//! Waiting for several sockets at once: whoever has something to receive, or another thread that calls.
//!
//! A socket's thread sleeps on the event of its inbound side. Here the same events are told to wake one
//! common sleeper instead, so a wait costs as much as there are sockets in it, and no descriptor.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::Monitor;
use crate::sync::{clock, Event, Unpark};

/// What a [`Poller`] can wait for: sockets that receive by [`Dealer`](crate::Dealer) and
/// [`Router`](crate::Router), and a [`Monitor`]. Implemented by this crate, and by nothing else.
pub trait Pollable: sealed::Sleeper {}

impl<S: sealed::Sleeper> Pollable for S {}

/// Waits until one of several sockets or monitors may have something, or until it is woken.
///
/// After a wait, `try_recv` from all of them until each says that it would block: which of them has
/// something is not told, and what was left unreceived ends the next wait at once.
///
/// # What this does not promise
/// A wait may end early for no reason. It is for receiving: that a socket can be sent to again does not
/// end it. While it waits, I/O threads read the connections, so a message takes one hop between threads more
/// than with a `recv` on a single socket.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Dealer, Poller, Router};
///
/// let (mut one, mut two) = (Router::new(), Router::new());
/// one.bind("tcp://127.0.0.1:*")?;
/// let endpoint = two.bind("tcp://127.0.0.1:*")?;
/// let mut dealer = Dealer::builder().connect(&endpoint)?;
/// dealer.send("hello")?;
///
/// let mut poller = Poller::new();
/// let message = loop {
///     poller.wait_timeout(&mut [&mut one, &mut two], Duration::from_secs(60));
///     if let Ok((_, message)) = two.try_recv_from() {
///         break message;
///     }
/// };
/// assert_eq!(message.as_bytes(), b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Poller {
    bell: PollWaker,
}

/// Ends the current wait of a [`Poller`], or the next one if it does not wait, from any thread.
#[derive(Clone)]
pub struct PollWaker(Arc<Bell>);

struct Bell(Event);

impl Unpark for Bell {
    fn unpark(&self) {
        self.0.notify();
    }
}

impl Poller {
    /// A poller that waits for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Poller::default()
    }

    /// What other threads wake it with.
    #[must_use]
    pub fn waker(&self) -> PollWaker {
        self.bell.clone()
    }

    /// Waits for as long as it takes.
    pub fn wait(&mut self, sources: &mut [&mut dyn Pollable]) {
        self.wait_by(sources, None);
    }

    /// Waits, at most for so long. False if the time was over first.
    pub fn wait_timeout(&mut self, sources: &mut [&mut dyn Pollable], timeout: Duration) -> bool {
        self.wait_by(sources, clock::now().checked_add(timeout))
    }

    /// Waits, at most until then. False if the time was over first.
    pub fn wait_deadline(&mut self, sources: &mut [&mut dyn Pollable], deadline: Instant) -> bool {
        self.wait_by(sources, Some(deadline))
    }

    fn wait_by(&mut self, sources: &mut [&mut dyn Pollable], deadline: Option<Instant>) -> bool {
        let mut begun = 0;
        for source in sources.iter_mut() {
            if !source.begin_sleep(&self.bell) {
                break;
            }
            begun += 1;
        }
        let mut awake = begun < sources.len() || self.bell.0 .0.wait(deadline);
        for source in &mut sources[..begun] {
            awake |= source.end_sleep();
        }
        awake
    }
}

impl Default for PollWaker {
    fn default() -> Self {
        PollWaker(Arc::new(Bell(Event::new())))
    }
}

impl PollWaker {
    /// Wakes the poller. Several calls before it looks are one.
    pub fn wake(&self) {
        self.0 .0.notify();
    }

    /// As what an event wakes.
    pub(crate) fn unpark(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.0) as Arc<dyn Unpark>
    }
}

impl fmt::Debug for PollWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollWaker").finish_non_exhaustive()
    }
}

impl sealed::Sleeper for Monitor {
    fn begin_sleep(&mut self, waker: &PollWaker) -> bool {
        self.begin_custom(waker.unpark())
    }

    fn end_sleep(&mut self) -> bool {
        self.end_custom()
    }
}

pub(super) mod sealed {
    //! What can be waited for, out of reach of other crates.

    use super::PollWaker;

    #[allow(
        unreachable_pub,
        reason = "a sealed trait is public so that it can bound a public one, and not nameable"
    )]
    pub trait Sleeper {
        /// From here on whatever comes wakes this waker. False if there is something already: do not
        /// sleep, and do not end what has not begun.
        fn begin_sleep(&mut self, waker: &PollWaker) -> bool;

        /// Ends it; whether something came.
        fn end_sleep(&mut self) -> bool;
    }
}

/// For sockets with a receiving half.
macro_rules! pollable {
    ($kind:ident) => {
        impl super::poller::sealed::Sleeper for $kind {
            fn begin_sleep(&mut self, waker: &super::poller::PollWaker) -> bool {
                self.out.refresh();
                self.inbound.begin_custom(waker.unpark())
            }

            fn end_sleep(&mut self) -> bool {
                self.inbound.end_custom()
            }
        }
    };
}
pub(super) use pollable;
