//! Waiting for descriptors that are not this library's, and being woken meanwhile.

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

/// What a descriptor is waited for, and what was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FdState {
    pub(crate) fd: RawFd,
    pub(crate) interest: (bool, bool),
    pub(crate) ready: (bool, bool),
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
    pub(crate) fn wait(
        &mut self,
        fds: &mut [FdState],
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        // A fresh registration tells of what is so already. Nothing stays registered: the descriptors may be
        // closed, and their numbers be somebody else's, before the next call.
        let mut registered = 0;
        let mut outcome = Ok(());
        for (index, state) in fds.iter_mut().enumerate() {
            state.ready = (false, false);
            outcome = self.register(state, Token(index));
            if outcome.is_err() {
                break;
            }
            registered += 1;
        }
        if outcome.is_ok() {
            outcome = match self.poll.poll(&mut self.events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.events.clear();
                    Ok(())
                }
                other => other,
            };
        }
        if outcome.is_ok() {
            for event in &self.events {
                if let Some(state) = fds.get_mut(event.token().0) {
                    let failed = event.is_error();
                    state.ready.0 |= event.is_readable() || event.is_read_closed() || failed;
                    state.ready.1 |= event.is_writable() || event.is_write_closed() || failed;
                }
            }
        }
        for state in &fds[..registered] {
            // One that was closed meanwhile is gone already.
            let _ = self.poll.registry().deregister(&mut SourceFd(&state.fd));
        }
        outcome
    }

    fn register(&self, state: &FdState, token: Token) -> io::Result<()> {
        let interest = match state.interest {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&state.fd), token, interest)
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
        // In this order: who wakes before it has nothing to add, since the caller looks after this.
        self.waker.woken.store(false, Ordering::Release);
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
