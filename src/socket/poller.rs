//! Waiting for many sockets at once, and for descriptors and times beside them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::readiness::{Interest, Pollable, Readiness};
use crate::error::PollError;
use crate::io::{FdPoll, Fds, WakeFd};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::clock;

/// Waits until one of many sockets or descriptors is ready, or a timer is due.
///
/// Sockets and descriptors are named in each [`wait`](Poller::wait), and belong to the caller in between, who
/// may use them as it likes. Readiness is a state ([`Pollable`]): what was not received is told again. Any mix
/// of socket types and transports will do. A poller has two descriptors of its own.
///
/// ```
/// use std::time::Duration;
/// use sinew::{Interest, PollItem, Poller, Pull, Push, Rep};
///
/// let mut pull = Pull::new();
/// let mut rep = Rep::new();
/// let mut push = Push::builder().connect(&pull.bind("inproc://poller-docs")?)?;
/// push.send("work")?;
///
/// let mut poller = Poller::new()?;
/// let mut items = [
///     PollItem::socket(&mut pull, Interest::READABLE),
///     PollItem::socket(&mut rep, Interest::READABLE),
/// ];
/// let events = poller.wait(&mut items, Some(Duration::from_secs(10)))?;
/// assert!(events.is_readable(0) && !events.is_readable(1));
/// assert_eq!(pull.try_recv()?.as_bytes(), b"work");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Poller {
    poll: FdPoll,
    waker: Waker,
    called: Arc<Called>,
    timers: BTreeMap<(Instant, TimerId), Option<Duration>>,
    last_timer: u64,
}

/// Somebody wants a wait to end, and not only the poll to look again.
#[derive(Debug)]
struct Called {
    called: AtomicBool,
    poll: Waker,
}

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.called.store(true, Ordering::Release);
        self.poll.wake_by_ref();
    }
}

/// One of the things that a [`Poller`] waits for.
pub struct PollItem<'a> {
    source: Source<'a>,
    interest: Interest,
}

enum Source<'a> {
    Socket(&'a mut dyn Pollable),
    Fd(RawFd),
}

impl<'a> PollItem<'a> {
    /// A socket.
    pub fn socket(socket: &'a mut dyn Pollable, interest: Interest) -> Self {
        PollItem {
            source: Source::Socket(socket),
            interest,
        }
    }

    /// A descriptor: anything that the system's poll takes, which plain files are not. One whose other end is
    /// closed, or that has failed, is ready. There may be several items of one descriptor.
    pub fn fd(fd: &'a impl AsFd, interest: Interest) -> Self {
        PollItem {
            source: Source::Fd(fd.as_fd().as_raw_fd()),
            interest,
        }
    }

    fn is_fd(&self, fd: RawFd) -> bool {
        matches!(self.source, Source::Fd(own) if own == fd)
    }
}

impl fmt::Debug for PollItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fd = match &self.source {
            Source::Socket(_) => None,
            Source::Fd(fd) => Some(fd),
        };
        f.debug_struct("PollItem")
            .field("fd", &fd)
            .field("interest", &self.interest)
            .finish_non_exhaustive()
    }
}

/// A timer of a [`Poller`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(u64);

/// What a [`Poller`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PollEvents {
    ready: Vec<(usize, Readiness)>,
    timers: Vec<TimerId>,
}

impl PollEvents {
    /// The items that are ready, by their place in what was given, in order, and what they are ready for.
    pub fn ready(&self) -> impl Iterator<Item = (usize, Readiness)> + '_ {
        self.ready.iter().copied()
    }

    /// Whether the item at this place can be received from.
    #[must_use]
    pub fn is_readable(&self, item: usize) -> bool {
        self.of(item).is_readable()
    }

    /// Whether the item at this place can be sent to.
    #[must_use]
    pub fn is_writable(&self, item: usize) -> bool {
        self.of(item).is_writable()
    }

    /// The timers that were due, the earliest first.
    #[must_use]
    pub fn timers(&self) -> &[TimerId] {
        &self.timers
    }

    /// Whether there is nothing: the time was over, or the waker was used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.timers.is_empty()
    }

    fn of(&self, item: usize) -> Readiness {
        let found = self.ready.binary_search_by_key(&item, |(index, _)| *index);
        found.map_or_else(|_| Readiness::default(), |at| self.ready[at].1)
    }
}

impl Poller {
    /// A poller without timers.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let poll = FdPoll::new()?;
        let called = Called {
            called: AtomicBool::new(false),
            poll: poll.waker(),
        };
        Ok(Poller {
            waker: poll.waker(),
            called: Arc::new(called),
            poll,
            timers: BTreeMap::new(),
            last_timer: 0,
        })
    }

    /// Waits until an item is ready, a timer is due or the [`waker`](Self::waker) is used, at most so long
    /// (`None`: for ever). Everything that is ready then is told.
    ///
    /// # Errors
    /// If the system refuses to wait for one of the descriptors; the error says which.
    pub fn wait(
        &mut self,
        items: &mut [PollItem<'_>],
        timeout: Option<Duration>,
    ) -> Result<PollEvents, PollError> {
        let end = timeout.and_then(|timeout| clock::now().checked_add(timeout));
        let mut fds = Fds::new();
        for item in items.iter() {
            if let Source::Fd(fd) = item.source {
                let wanted = &mut fds.entry(fd).or_default().interest;
                wanted.0 |= item.interest.is_readable();
                wanted.1 |= item.interest.is_writable();
            }
        }
        loop {
            let sockets_ready = self.ask(items);
            let timers_due = self.timers.keys().next().copied();
            let now = clock::now();
            let until = match (end, timers_due.map(|(at, _)| at)) {
                (Some(end), Some(due)) => Some(end.min(due)),
                (one, other) => one.or(other),
            };
            let wait = match until {
                _ if sockets_ready => Some(Duration::ZERO),
                Some(until) => Some(until.saturating_duration_since(now)),
                None => None,
            };
            if !(fds.is_empty() && wait == Some(Duration::ZERO)) {
                let waited = self.poll.wait(&mut fds, wait);
                waited.map_err(|error| match error.fd {
                    Some(fd) => PollError::Fd {
                        item: items.iter().position(|item| item.is_fd(fd)).unwrap_or(0),
                        fd,
                        source: error.source,
                    },
                    None => PollError::Io(error.source),
                })?;
            }
            let events = PollEvents {
                ready: ready(items, &fds),
                timers: self.take_due(),
            };
            let over = end.is_some_and(|end| clock::now() >= end);
            let called = self.called.called.swap(false, Ordering::AcqRel);
            if called || !events.is_empty() || over {
                return Ok(events);
            }
        }
    }

    /// What other threads end the current wait with, or the next one.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.called))
    }

    /// A timer that is told once, by the first wait at or after this time.
    pub fn at(&mut self, time: Instant) -> TimerId {
        self.add(time, None)
    }

    /// A timer that is told again and again, the first time after one interval. Times that have passed between
    /// two waits are told once. An interval of zero is due in every wait, and one beyond what the clock can tell,
    /// such as [`Duration::MAX`], never.
    pub fn every(&mut self, interval: Duration) -> TimerId {
        let interval = interval.min(NEVER);
        let first = clock::now() + interval;
        self.add(first, Some(interval))
    }

    /// Takes a timer back; `false` if it has been told for the last time.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        let before = self.timers.len();
        self.timers.retain(|(_, id), _| *id != timer);
        self.timers.len() < before
    }

    fn add(&mut self, at: Instant, interval: Option<Duration>) -> TimerId {
        self.last_timer += 1;
        let id = TimerId(self.last_timer);
        self.timers.insert((at, id), interval);
        id
    }

    fn take_due(&mut self) -> Vec<TimerId> {
        let now = clock::now();
        let mut due = Vec::new();
        while let Some(entry) = self.timers.first_entry() {
            let (at, id) = *entry.key();
            if at > now {
                break;
            }
            let interval = entry.remove();
            due.push((id, at, interval));
        }
        for (id, at, interval) in &due {
            if let Some(interval) = *interval {
                let mut next = *at + interval;
                if next <= now {
                    next = now + interval;
                }
                self.timers.insert((next, *id), Some(interval));
            }
        }
        due.into_iter().map(|(id, ..)| id).collect()
    }

    /// Asks every socket, and has it wake the poll if it is not ready; whether one is.
    fn ask(&self, items: &mut [PollItem<'_>]) -> bool {
        let mut any = false;
        for item in items {
            if let Source::Socket(socket) = &mut item.source {
                let mut cx = Context::from_waker(&self.waker);
                any |= socket.poll_ready(&mut cx, item.interest).is_ready();
            }
        }
        any
    }
}

/// A hundred years: later than any wait, and within what the clock can tell.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What is ready now.
fn ready(items: &mut [PollItem<'_>], fds: &Fds) -> Vec<(usize, Readiness)> {
    let mut found = Vec::new();
    for (index, item) in items.iter_mut().enumerate() {
        let state = match &mut item.source {
            Source::Socket(socket) => socket.readiness(),
            Source::Fd(fd) => fds.get(fd).map_or_else(Readiness::default, |fd| Readiness {
                readable: fd.ready.0,
                writable: fd.ready.1,
            }),
        };
        let wanted = state.among(item.interest);
        if !wanted.is_empty() {
            found.push((index, wanted));
        }
    }
    found
}

/// A descriptor that tells somebody else's event loop when to look at a socket.
///
/// Register the descriptor as one to be read, and then, whenever it is readable and once at the beginning, call
/// [`check`](EventFd::check) for the socket, and receive (or send) until the result, or `WouldBlock`, says that
/// there is nothing more. The descriptor does not say what a socket is ready for, and may be readable for
/// nothing; it is readable again only after a `check` that found the socket not ready, so that one has to end
/// each round. Nothing but `check` reads from it. One per socket: a second one takes the wake-ups from the
/// first, and so does any wait of the socket itself.
///
/// ```
/// use sinew::{EventFd, Interest, Pull};
///
/// let mut pull = Pull::new();
/// let fd = EventFd::new()?;
/// // event_loop.register(fd.as_fd(), ..), and then, each time:
/// while fd.check(&mut pull, Interest::READABLE).is_readable() {
///     while let Ok(message) = pull.try_recv() {
///         println!("{message:?}");
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFd {
    fd: WakeFd,
    waker: Waker,
}

impl EventFd {
    /// A descriptor (two, of which the caller sees one).
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let fd = WakeFd::new()?;
        Ok(EventFd {
            waker: fd.waker(),
            fd,
        })
    }

    /// What of `interest` is so now. If nothing is, the descriptor becomes readable when it may be.
    pub fn check(&self, socket: &mut dyn Pollable, interest: Interest) -> Readiness {
        self.fd.clear();
        let mut cx = Context::from_waker(&self.waker);
        match socket.poll_ready(&mut cx, interest) {
            Poll::Ready(readiness) => readiness,
            Poll::Pending => Readiness::default(),
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
