//! Waiting, for a moment, until the kernel takes more.
//!
//! Who sends a large payload can either copy it, so that somebody else writes it later, or wait
//! until it is written. A copy takes some 0.1 ms per MiB, and makes a payload that was in the caches one that is not. A
//! fast peer makes room sooner than that. So a sender waits for room as long as that comes at once, and
//! stops trying for a while when it does not.

use std::fmt;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::link::Link;
use crate::sync::clock;

/// See the module. One per sender.
#[derive(Default)]
pub(crate) struct Room {
    poll: Option<(Poll, Events)>,
    /// Payloads until the next attempt, once it did not pay, and how many it is to be the next time.
    rest: u32,
    next_rest: u32,
}

/// The longest wait. A peer that reads a gigabyte per second makes room, for a third of what the kernel holds, sooner.
const WAIT: Duration = Duration::from_millis(3);

/// The fewest and the most payloads that are copied after a wait in vain.
const REST: (u32, u32) = (4, 64);

/// All waits for one payload together take at most so long for each MiB that is to be written, and for the first;
/// and so long in all: the sender holds the out-pump meanwhile, which its I/O thread may need.
const PATIENCE: Duration = Duration::from_millis(2);
const PATIENCE_MOST: Duration = Duration::from_millis(20);

impl Room {
    /// Whether to wait for the next payload at all. To be asked once for each.
    pub(super) fn is_willing(&mut self) -> bool {
        let willing = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        willing
    }

    /// What waits for room for so many octets.
    pub(super) fn waiting<'a>(
        &'a mut self,
        link: &'a Link,
        octets: u64,
        most: Duration,
    ) -> Waiting<'a> {
        let mib = 1 + u32::try_from(octets >> 20).unwrap_or(u32::MAX - 1);
        Waiting {
            room: self,
            link,
            patience: PATIENCE.saturating_mul(mib).min(PATIENCE_MOST).min(most),
            watches: false,
        }
    }

    /// Adds the connection to what is waited for. Whether that worked.
    fn watch(&mut self, link: &Link) -> bool {
        if self.poll.is_none() {
            let poll = Poll::new().ok();
            self.poll = poll.map(|poll| (poll, Events::with_capacity(1)));
        }
        let Some((poll, _)) = &self.poll else {
            return false;
        };
        let fd = link.stream.raw_fd();
        let mut source = SourceFd(&fd);
        let watched = poll
            .registry()
            .register(&mut source, Token(0), Interest::WRITABLE);
        watched.is_ok()
    }
}

/// Waits for room for one payload, again and again, in vain from some time on.
pub(super) struct Waiting<'a> {
    room: &'a mut Room,
    link: &'a Link,
    patience: Duration,
    /// The poll watches the connection: from the first wait on, for all of them.
    watches: bool,
}

impl Waiting<'_> {
    /// Whether the kernel may take more. To be called after it took less than it was given.
    pub(super) fn wait(&mut self) -> bool {
        if self.patience.is_zero() {
            return false;
        }
        let before = clock::now();
        let came = self.wait_once();
        let waited = clock::now().saturating_duration_since(before);
        self.patience = self.patience.saturating_sub(waited);
        let room = &mut self.room;
        if came {
            room.next_rest = REST.0;
        } else {
            self.patience = Duration::ZERO;
            room.rest = room.next_rest.max(REST.0);
            room.next_rest = (room.rest * 2).min(REST.1);
        }
        came
    }

    fn wait_once(&mut self) -> bool {
        if !self.watches {
            self.watches = self.room.watch(self.link);
            // While this thread waits nobody else need be told.
            self.link.want_write(false);
        }
        let Some((poll, events)) = self.room.poll.as_mut().filter(|_| self.watches) else {
            return false;
        };
        poll.poll(events, Some(WAIT)).is_ok() && !events.is_empty()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some((poll, _)) = self.room.poll.as_ref().filter(|_| self.watches) else {
            return;
        };
        // A descriptor is open as long as its link is.
        let fd = self.link.stream.raw_fd();
        let _ = poll.registry().deregister(&mut SourceFd(&fd));
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}
