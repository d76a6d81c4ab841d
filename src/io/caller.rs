//! Waiting for connections on the caller's own thread.
//!
//! A `recv` that would sleep until an I/O thread has read a message for it can as well wait for the
//! descriptor itself: that saves a hop between threads, which is most of the time of a round trip.
//! The I/O thread keeps everything else (heartbeats, closing), and takes reading back when the caller
//! stays away.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token, Waker};

use super::buffer::BufferPool;
use super::link::Link;
use super::port::{PipeKey, Port};
use super::reading::{Caller, Then};
use crate::sync::{clock, Unpark};

/// The most connections that a caller reads itself.
pub(crate) const CALLER_LINKS: usize = 4;

/// A wait that lasts this long is left to the I/O thread: one wake-up more does not matter then.
const PATIENCE: Duration = Duration::from_millis(20);

/// Octets per run of a pump.
const TURN: usize = 256 * 1024;

const WAKER: Token = Token(usize::MAX);

/// See the module.
#[derive(Default)]
pub(crate) struct CallerPoll {
    /// From when a thread first waits.
    sleep: Option<Sleep>,
    buffers: BufferPool,
    links: Vec<Driven>,
}

/// What a thread sleeps in.
struct Sleep {
    poll: Poll,
    registry: Arc<Registry>,
    waker: Arc<MioWaker>,
    events: Events,
}

/// Who waits for input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    Thread,
    /// It is told of input by the I/O threads.
    Task,
}

struct Driven {
    key: PipeKey,
    /// Not kept alive: the descriptor of a lost connection must not wait for the next call.
    link: Weak<Link>,
    waits: Waits,
    /// An event told of input, or there may have been some before the poll knew the descriptor.
    ready: bool,
}

struct MioWaker(Waker);

impl Unpark for MioWaker {
    fn unpark(&self) {
        // A full eventfd counter means that the poll will wake anyway.
        let _ = self.0.wake();
    }
}

impl Sleep {
    /// `None` if the system has no descriptors left.
    fn new() -> Option<Self> {
        let poll = Poll::new().ok()?;
        let waker = Waker::new(poll.registry(), WAKER).ok()?;
        let registry = poll.registry().try_clone().ok()?;
        Some(Sleep {
            poll,
            registry: Arc::new(registry),
            waker: Arc::new(MioWaker(waker)),
            events: Events::with_capacity(8),
        })
    }
}

impl CallerPoll {
    /// Takes reading of a connection over, if it is not with this caller already. If the system has no descriptors
    /// left for that, the caller waits in the ordinary way.
    pub(crate) fn adopt(&mut self, key: PipeKey, link: &Arc<Link>, waits: Waits) {
        let is_it = |driven: &Driven| Weak::as_ptr(&driven.link) == Arc::as_ptr(link);
        let known = self.links.iter().position(is_it);
        let is_task = waits == Waits::Task;
        if known.is_some()
            && link.reading.is_with_caller()
            && link.reading.is_with_task() == is_task
        {
            return;
        }
        let caller = if is_task {
            Caller::Task
        } else {
            if self.sleep.is_none() {
                self.sleep = Sleep::new();
            }
            let Some(sleep) = &self.sleep else {
                return self.release();
            };
            Caller::Thread((Arc::clone(&sleep.registry), Token(key.index as usize)))
        };
        if link.give_to_caller(caller).is_err() {
            return;
        }
        match known {
            // The I/O thread had taken it back meanwhile.
            Some(known) => {
                self.links[known].ready = true;
                self.links[known].waits = waits;
            }
            None => self.links.push(Driven {
                key,
                link: Arc::downgrade(link),
                waits,
                ready: true,
            }),
        }
    }

    /// Gives those connections back that are not read by a task.
    pub(crate) fn retain_for_task(&mut self) {
        self.links.retain(|driven| {
            let Some(link) = driven.link.upgrade() else {
                return false;
            };
            let keep = link.reading.is_with_task();
            if !keep {
                link.return_from_caller();
            }
            keep
        });
        if self.links.is_empty() {
            self.buffers.clear();
        }
    }

    /// Whether a task reads any of the connections.
    pub(crate) fn is_task(&self) -> bool {
        alive(&self.links).any(|link| link.reading.is_with_task())
    }

    /// Takes note of what a task has been told.
    pub(crate) fn take_told(&mut self) {
        for driven in self
            .links
            .iter_mut()
            .filter(|driven| driven.waits == Waits::Task)
        {
            let link = driven.link.upgrade();
            driven.ready |= link.is_some_and(|link| link.reading.take_told());
        }
    }

    /// A task is about to wait: the port's event tells it of input.
    pub(crate) fn task_waits(&self) {
        for link in alive(&self.links) {
            link.reading.task_waits(&link);
        }
    }

    /// Gives every connection back to its I/O thread.
    pub(crate) fn release(&mut self) {
        for driven in self.links.drain(..) {
            driven.give_back();
        }
        self.buffers.clear();
    }

    /// Forgets a connection that is gone, or that is about to end and still has to be read.
    pub(crate) fn forget(&mut self, key: PipeKey) {
        self.links.retain(|driven| {
            if driven.key == key {
                driven.give_back();
            }
            driven.key != key
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether a pump has something to do without waiting.
    pub(crate) fn has_ready(&self) -> bool {
        self.links.iter().any(|driven| driven.ready)
    }

    /// Makes the next run of the pumps look for input without having been told of any.
    pub(crate) fn expect_input(&mut self) {
        for driven in &mut self.links {
            driven.ready = true;
        }
    }

    /// The same, of connections of whose input nobody would tell.
    pub(crate) fn expect_untold(&mut self) {
        for driven in &mut self.links {
            let link = driven.link.upgrade();
            driven.ready |= link.is_some_and(|link| link.reading.is_untold());
        }
    }

    /// Runs the in-pumps that have something to do, each after a call of `before`.
    pub(crate) fn pump(&mut self, mut before: impl FnMut(PipeKey)) {
        let buffers = &mut self.buffers;
        for driven in self.links.iter_mut().filter(|driven| driven.ready) {
            let Some(link) = driven.link.upgrade() else {
                driven.ready = false;
                continue;
            };
            before(driven.key);
            link.reading.caller_runs();
            let outcome = link.read_for_caller(buffers, TURN);
            let then = link.reading.caller_ran(outcome);
            driven.ready = then == Then::GoOn;
            match then {
                Then::GoOn | Then::Wait => {}
                Then::HandBack => link.resume_input(),
                Then::Attend => link.attend(),
            }
        }
    }

    /// Sleeps until a descriptor is ready, the port has mail, or the time is over; `false` then.
    pub(crate) fn wait(&mut self, port: &Port, deadline: Option<Instant>) -> bool {
        let Some(sleep) = &mut self.sleep else {
            return true;
        };
        let now = clock::now();
        let patience = now + PATIENCE;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        let event = port.inbound.event();
        if !event.begin_custom(Arc::clone(&sleep.waker) as Arc<dyn Unpark>) {
            return true;
        }
        alive(&self.links).for_each(|link| link.reading.caller_waits());
        let timeout = until.saturating_duration_since(now);
        let polled = sleep.poll.poll(&mut sleep.events, Some(timeout));
        alive(&self.links).for_each(|link| link.reading.caller_wakes());
        let mut any = event.end_custom() || polled.is_err();
        if polled.is_err() {
            sleep.events.clear();
        }
        for event in &sleep.events {
            any = true;
            let index = event.token().0;
            let driven = self
                .links
                .iter_mut()
                .find(|driven| driven.key.index as usize == index);
            if let Some(driven) = driven {
                driven.ready = true;
                let ends = event.is_read_closed() || event.is_error();
                if let Some(link) = driven.link.upgrade().filter(|_| ends) {
                    link.reading.set_ending();
                }
            }
        }
        any
    }
}

/// Those that have not been closed.
fn alive(links: &[Driven]) -> impl Iterator<Item = Arc<Link>> + '_ {
    links.iter().filter_map(|driven| driven.link.upgrade())
}

impl Driven {
    fn give_back(&self) {
        if let Some(link) = self.link.upgrade() {
            link.return_from_caller();
        }
    }
}

impl fmt::Debug for CallerPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerPoll")
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

impl Drop for CallerPoll {
    fn drop(&mut self) {
        self.release();
    }
}
