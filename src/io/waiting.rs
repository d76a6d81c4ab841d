//! Waiting for descriptors that are not this library's, and being woken meanwhile.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::sync::atomic::{AtomicBool, Ordering};

/// A poll of descriptors that tells of each what is so, and not what has changed.
#[derive(Debug)]
pub(crate) struct FdPoll {
    poll: Poll,
    waker: Arc<PollWaker>,
    events: Events,
}

#[derive(Debug)]
struct PollWaker(mio::Waker);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        // It fails only if the poll will wake anyway.
        let _ = self.0.wake();
    }
}

/// The descriptors to wait for. Each is there once, whoever else wants it too.
pub(crate) type Fds = BTreeMap<RawFd, FdState>;

/// What a descriptor is waited for, and what was found: to be read, and to be written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FdState {
    pub(crate) interest: (bool, bool),
    pub(crate) ready: (bool, bool),
}

/// The system does not wait, because of a descriptor or for reasons of its own.
#[derive(Debug)]
pub(crate) struct FdError {
    pub(crate) fd: Option<RawFd>,
    pub(crate) source: io::Error,
}

const WOKEN: Token = Token(usize::MAX);

/// Those that are ready beyond it are found by the next call.
const EVENTS: usize = 1024;

impl FdPoll {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WOKEN)?;
        Ok(FdPoll {
            poll,
            waker: Arc::new(PollWaker(waker)),
            events: Events::with_capacity(EVENTS),
        })
    }

    /// Ends the current wait, or the next one.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.waker))
    }

    /// Waits until a descriptor is ready, the waker is used, or the time is over.
    ///
    /// # Errors
    /// If the system refuses one of the descriptors, as it does with a closed one or a plain file.
    pub(crate) fn wait(&mut self, fds: &mut Fds, timeout: Option<Duration>) -> Result<(), FdError> {
        // A fresh registration tells of what is so already. Nothing stays registered: the descriptors may be
        // closed, and their numbers be somebody else's, before the next call.
        let mut registered = Vec::with_capacity(fds.len());
        let mut outcome = Ok(());
        for (fd, state) in fds.iter_mut() {
            state.ready = (false, false);
            if let Err(source) = self.register(*fd, state.interest) {
                let fd = Some(*fd);
                outcome = Err(FdError { fd, source });
                break;
            }
            registered.push(*fd);
        }
        if outcome.is_ok() {
            outcome = self.poll(fds, timeout);
        }
        for fd in registered {
            // One that was closed meanwhile is gone already.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
        outcome
    }

    fn poll(&mut self, fds: &mut Fds, timeout: Option<Duration>) -> Result<(), FdError> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(source) => return Err(FdError { fd: None, source }),
            Ok(()) => {}
        }
        for event in &self.events {
            // All but the waker's token are descriptors.
            let fd = RawFd::try_from(event.token().0).ok();
            if let Some(state) = fd.and_then(|fd| fds.get_mut(&fd)) {
                let failed = event.is_error();
                state.ready.0 |= event.is_readable() || event.is_read_closed() || failed;
                state.ready.1 |= event.is_writable() || event.is_write_closed() || failed;
            }
        }
        Ok(())
    }

    fn register(&self, fd: RawFd, interest: (bool, bool)) -> io::Result<()> {
        // An owned or borrowed descriptor is never negative.
        let token = Token(usize::try_from(fd).map_err(|_| io::ErrorKind::InvalidInput)?);
        let interest = match interest {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&fd), token, interest)
    }
}

/// A descriptor that becomes readable when it is woken.
#[derive(Debug)]
pub(crate) struct WakeFd {
    reader: UnixStream,
    waker: Arc<FdWaker>,
}

#[derive(Debug)]
struct FdWaker {
    writer: UnixStream,
    /// There is an octet to be read.
    woken: AtomicBool,
}

impl Wake for FdWaker {
    fn wake(self: Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // There is room for one octet.
            let _ = (&self.writer).write(&[1]);
        }
    }
}

impl WakeFd {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let woken = AtomicBool::new(false);
        Ok(WakeFd {
            reader,
            waker: Arc::new(FdWaker { writer, woken }),
        })
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.waker))
    }

    /// Makes the descriptor unreadable, until it is woken again.
    pub(crate) fn clear(&self) {
        let mut octets = [0; 8];
        while matches!((&self.reader).read(&mut octets), Ok(1..)) {}
        // In this order: who wakes before it has nothing to add, since the caller looks after this, and sees what
        // was so then. Hence a swap, which synchronises with who woke.
        self.waker.woken.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.reader)
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}
