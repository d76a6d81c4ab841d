//! A kernel that loom knows: stream sockets that count messages, and polls that report like an
//! edge-triggered `epoll`. An edge is reported once, if it still holds then; who begins to watch, or asks
//! again, is told of what is there.

use crate::io::reading::Interests;
use crate::sync::{lock, Arc, Event, Mutex, Unpark};

/// What `epoll_wait` sleeps on.
pub(super) struct Poll(Event);

struct PollWaker(Arc<Poll>);

impl Unpark for PollWaker {
    fn unpark(&self) {
        self.0 .0.notify();
    }
}

/// A thread's poll, with the means to wake it that an [`Event`] takes.
#[derive(Clone)]
pub(super) struct PollHandle(pub(super) Arc<Poll>, Arc<dyn Unpark>);

impl PollHandle {
    pub(super) fn new() -> Self {
        let poll = Arc::new(Poll(Event::new()));
        let waker: std::sync::Arc<dyn Unpark> = std::sync::Arc::new(PollWaker(Arc::clone(&poll)));
        PollHandle(poll, Arc::from_std(waker))
    }

    /// As both threads do it: sleeps until `look` reports something or `event` is notified.
    pub(super) fn wait(&self, event: &Event, look: impl Fn() -> Ready) -> Ready {
        if !event.begin_custom(self.1.clone()) {
            return look();
        }
        let mut ready = look();
        if ready == Ready::default() {
            self.0 .0.wait(None);
            ready = look();
        }
        event.end_custom();
        ready
    }
}

/// An event of a poll.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) read: bool,
    pub(super) ended: bool,
    pub(super) write: bool,
}

/// A connected stream socket. One message is what would be one octet.
pub(super) struct Socket(Mutex<Kernel>, pub(super) Arc<Written>);

/// What has been written to the sockets of a model.
pub(super) struct Written {
    count: Mutex<usize>,
    event: Event,
}

impl Written {
    pub(super) fn new() -> Arc<Written> {
        Arc::new(Written {
            count: Mutex::new(0),
            event: Event::new(),
        })
    }

    pub(super) fn wait_for(&self, count: usize) {
        while *lock(&self.count) < count {
            self.event.wait(None);
        }
    }
}

#[derive(Default)]
struct Kernel {
    arrived: usize,
    ended: bool,
    room: usize,
    home: Watcher,
    caller: Watcher,
}

#[derive(Default)]
struct Watcher {
    poll: Option<Arc<Poll>>,
    read: bool,
    write: bool,
    edge: bool,
}

pub(super) enum Read {
    Some(usize),
    End,
    Nothing,
}

impl Kernel {
    /// Makes those who watch for it look. `input`: something arrived, otherwise there is room.
    fn edge(&mut self, input: bool) {
        for watcher in [&mut self.home, &mut self.caller] {
            if let Some(poll) = &watcher.poll {
                if (input && watcher.read) || (!input && watcher.write) {
                    watcher.edge = true;
                    poll.0.notify();
                }
            }
        }
    }

    fn ready(&self, watcher: &Watcher) -> Ready {
        Ready {
            read: watcher.read && (self.arrived > 0 || self.ended),
            ended: watcher.read && self.ended,
            write: watcher.write && self.room > 0,
        }
    }

    fn watch(&mut self, home: bool, poll: &Arc<Poll>, now: Interests) {
        let mut watcher = Watcher {
            poll: (now != Interests::NONE).then(|| Arc::clone(poll)),
            read: now.read,
            write: now.write,
            edge: false,
        };
        watcher.edge = self.ready(&watcher) != Ready::default();
        if watcher.edge {
            poll.0.notify();
        }
        *(if home {
            &mut self.home
        } else {
            &mut self.caller
        }) = watcher;
    }
}

impl Socket {
    pub(super) fn new(room: usize, written: &Arc<Written>) -> Arc<Socket> {
        let kernel = Kernel {
            room,
            ..Kernel::default()
        };
        Arc::new(Socket(Mutex::new(kernel), Arc::clone(written)))
    }

    // The peer.

    pub(super) fn arrive(&self, count: usize) {
        let mut kernel = lock(&self.0);
        kernel.arrived += count;
        kernel.edge(true);
    }

    pub(super) fn end(&self) {
        let mut kernel = lock(&self.0);
        kernel.ended = true;
        kernel.edge(true);
    }

    pub(super) fn make_room(&self, room: usize) {
        let mut kernel = lock(&self.0);
        kernel.room += room;
        kernel.edge(false);
    }

    // This process.

    pub(super) fn watch(&self, home: bool, poll: &Arc<Poll>, now: Interests) {
        lock(&self.0).watch(home, poll, now);
    }

    pub(super) fn read(&self, space: usize) -> Read {
        let mut kernel = lock(&self.0);
        let count = kernel.arrived.min(space);
        kernel.arrived -= count;
        match count {
            0 if kernel.ended => Read::End,
            0 => Read::Nothing,
            count => Read::Some(count),
        }
    }

    pub(super) fn write(&self) -> bool {
        let mut kernel = lock(&self.0);
        let taken = kernel.room > 0;
        if taken {
            kernel.room -= 1;
            *lock(&self.1.count) += 1;
            self.1.event.notify();
        }
        taken
    }

    pub(super) fn report(&self, home: bool) -> Ready {
        let mut kernel = lock(&self.0);
        let watcher = if home {
            &mut kernel.home
        } else {
            &mut kernel.caller
        };
        if !std::mem::take(&mut watcher.edge) {
            return Ready::default();
        }
        kernel.ready(if home { &kernel.home } else { &kernel.caller })
    }

    pub(super) fn is_watched(&self) -> bool {
        let kernel = lock(&self.0);
        kernel.home.poll.is_some() || kernel.caller.poll.is_some()
    }
}
