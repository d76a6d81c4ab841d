//! A connection, as shared by the thread that looks after it and the socket that it serves.
//!
//! The two pumps are behind tokens: whoever holds one runs it. Normally that is the connection's I/O
//! thread. A socket's `send` may run the out-pump when the pipe was idle or is full, and its `recv`
//! may run the in-pump instead of waiting. Everything that must not depend on an application calling
//! anything (handshake, heartbeats, closing, reconnecting) is done by the I/O thread alone.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token as MioToken};

use super::buffer::BufferPool;
use super::in_pump::{InOutcome, InPump};
use super::monitor::ConnectionId;
use super::out_pump::{OutOutcome, OutPump};
use super::port::{PipeKey, Port};
use super::thread::{Command, IoHandle};
use crate::endpoint::Endpoint;
use crate::pipe::Signal;
use crate::proto::Connection;
use crate::sync::{lock, Token};
use crate::transport::Stream;

/// See the module.
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) port: Arc<Port>,
    pub(crate) stream: Stream,
    pub(crate) endpoint: Endpoint,
    pub(crate) peer: String,
    pub(crate) home: IoHandle,
    /// Where the I/O thread keeps it.
    pub(crate) slot: usize,
    pub(crate) input: Token<InPump>,
    pub(crate) output: Token<OutPump>,
    pub(crate) proto: Mutex<Connection>,
    /// The kernel took no more when the out-pump last ran. A hint.
    pub(super) blocked: AtomicBool,
    /// The out-pump is on the I/O thread's list of those it runs every turn.
    pub(crate) hot: AtomicBool,
    /// The I/O thread has been asked to look at this connection.
    attended: AtomicBool,
    /// Octets arrived since the last look of the heartbeat timer.
    pub(crate) traffic: AtomicBool,
    /// The stream has ended behind what is there: whoever runs the in-pump reads until it sees that.
    pub(crate) ending: AtomicBool,
    /// The socket's `recv` has run the in-pump since the I/O thread's last look.
    pub(crate) caller_seen: AtomicBool,
    /// The socket's `recv` waits for this connection itself.
    pub(crate) caller_waits: AtomicBool,
    /// Octets read and written.
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    registration: Mutex<Registration>,
    key: OnceLock<PipeKey>,
    /// When the out-pump was last run by `send`, in order to tell bursts from single messages.
    last_inline: Mutex<Option<Instant>>,
}

/// Who is told about readiness of the descriptor.
struct Registration {
    /// The I/O thread wants to know about input.
    read: bool,
    /// The I/O thread wants to know about room for output.
    write: bool,
    registered: Option<Interest>,
    /// The poll of a socket whose `recv` waits for input itself.
    caller: Option<(Arc<Registry>, MioToken)>,
    closed: bool,
}

impl Link {
    #[allow(
        clippy::too_many_arguments,
        reason = "a connection is exactly these; it is made in one place"
    )]
    pub(crate) fn new(
        id: ConnectionId,
        port: Arc<Port>,
        stream: Stream,
        endpoint: Endpoint,
        peer: String,
        home: IoHandle,
        slot: usize,
        now: Instant,
    ) -> Arc<Link> {
        let proto = Connection::new(Arc::clone(&port.protocol), now);
        Arc::new(Link {
            id,
            port,
            stream,
            endpoint,
            peer,
            home,
            slot,
            input: Token::new(InPump::new()),
            output: Token::new(OutPump::new()),
            proto: Mutex::new(proto),
            blocked: AtomicBool::new(false),
            hot: AtomicBool::new(false),
            attended: AtomicBool::new(false),
            traffic: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            caller_seen: AtomicBool::new(false),
            caller_waits: AtomicBool::new(false),
            registration: Mutex::new(Registration {
                read: false,
                write: false,
                registered: None,
                caller: None,
                closed: false,
            }),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            key: OnceLock::new(),
            last_inline: Mutex::new(None),
        })
    }

    /// The key of its pipes, once the handshake is done.
    pub(crate) fn key(&self) -> Option<PipeKey> {
        self.key.get().copied()
    }

    pub(super) fn set_key(&self, key: PipeKey) {
        // Set once, when the handshake is done.
        let _ = self.key.set(key);
    }

    /// Appends whole control frames, to be written between two messages.
    pub(crate) fn push_control(&self, frames: &[u8]) {
        self.output.lock().push_control(frames);
        self.attend();
    }

    /// Asks the I/O thread to look at everything about this connection: control frames to send,
    /// timers, failures.
    pub(crate) fn attend(&self) {
        if !self.attended.swap(true, Ordering::AcqRel) {
            self.home.post(Command::Attend(self.slot, self.id));
        }
    }

    pub(crate) fn begin_attention(&self) {
        self.attended.store(false, Ordering::Release);
    }

    /// Asks the I/O thread to run the out-pump until its pipe is idle again.
    pub(crate) fn activate_output(&self) {
        if !self.hot.swap(true, Ordering::AcqRel) {
            self.home.post(Command::Output(self.slot, self.id));
        }
    }

    /// Asks the I/O thread to run the in-pump, whose pipe has room again.
    pub(crate) fn resume_input(&self) {
        self.home.post(Command::Input(self.slot, self.id));
    }

    /// Runs the out-pump. `None`: another thread is at it, and will see to what is there now.
    pub(crate) fn run_output(&self) -> Option<OutOutcome> {
        let outcome = self.output.run(|pump| pump.run(self))?;
        if matches!(outcome, OutOutcome::Blocked) {
            self.want_write(true);
        }
        Some(outcome)
    }

    /// Runs the in-pump. `None` as for [`Link::run_output`].
    pub(crate) fn run_input(
        &self,
        pool: &mut BufferPool,
        budget: usize,
        until_empty: bool,
    ) -> Option<InOutcome> {
        self.input
            .run(|pump| pump.run(self, pool, budget, until_empty, true))
    }

    /// As [`Link::run_input`], for a caller that comes back by itself when the pipe has room again: no
    /// signal is asked for.
    pub(crate) fn read_for_caller(
        &self,
        pool: &mut BufferPool,
        budget: usize,
        until_empty: bool,
    ) -> Option<InOutcome> {
        self.input
            .run(|pump| pump.run(self, pool, budget, until_empty, false))
    }

    // ---- for `send` -------------------------------------------------------------------------

    /// The pipe was idle and now holds a message that the caller has undertaken to see off. Writes it
    /// on the caller's thread if that is the first for a while or the socket is in lock-step;
    /// otherwise hands over to the I/O thread.
    pub(crate) fn send_idle(&self, lock_step: bool) {
        if !lock_step {
            let now = crate::sync::clock::now();
            let mut last = lock(&self.last_inline);
            let burst = last.is_some_and(|last| now.duration_since(last) < super::BURST_GAP);
            *last = Some(now);
            drop(last);
            if burst {
                self.activate_output();
                return;
            }
        }
        match self.output.run(|pump| pump.run_for_sender(self)) {
            // Whoever has the pump will see the message; but it may be about to call the pipe idle.
            None => self.activate_output(),
            Some(OutOutcome::Idle) => {}
            Some(OutOutcome::Blocked) => self.want_write(true),
            Some(OutOutcome::More) => self.activate_output(),
            Some(OutOutcome::Closed) => self.attend(),
        }
    }

    /// The pipe holds enough for a write: writes it on the caller's thread, if the kernel is not known to
    /// take nothing and nobody else is at it.
    pub(crate) fn send_batch(&self) {
        if !self.blocked.load(Ordering::Relaxed) {
            match self.output.run(|pump| pump.run_for_sender(self)) {
                None | Some(OutOutcome::Idle) => {}
                Some(OutOutcome::Blocked) => self.want_write(true),
                Some(OutOutcome::More) => self.activate_output(),
                Some(OutOutcome::Closed) => self.attend(),
            }
        }
    }

    /// The pipe is full: pumps on the caller's thread what the kernel takes.
    pub(crate) fn send_full(&self) {
        match self.run_output() {
            None | Some(OutOutcome::Blocked | OutOutcome::Idle) => {}
            Some(OutOutcome::More) => self.activate_output(),
            Some(OutOutcome::Closed) => self.attend(),
        }
    }

    // ---- registration -----------------------------------------------------------------------

    /// Whether the I/O thread is told about input.
    pub(crate) fn want_read(&self, read: bool) {
        let mut registration = lock(&self.registration);
        registration.read = read;
        self.apply(&mut registration);
    }

    /// Whether the I/O thread is told about room for output. Asking again makes its poll look at the
    /// present state, so no edge is lost between a refused write and this call.
    pub(crate) fn want_write(&self, write: bool) {
        let mut registration = lock(&self.registration);
        registration.write = write;
        self.apply(&mut registration);
    }

    /// From now on the caller's poll is told about input, the I/O thread is not.
    pub(crate) fn give_to_caller(
        &self,
        registry: &Arc<Registry>,
        token: MioToken,
    ) -> io::Result<()> {
        let mut registration = lock(&self.registration);
        if registration.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if registration.caller.is_some() {
            return Ok(());
        }
        registry.register(&mut SourceFd(&self.raw_fd()), token, Interest::READABLE)?;
        registration.caller = Some((Arc::clone(registry), token));
        registration.read = false;
        self.apply(&mut registration);
        drop(registration);
        self.caller_seen.store(true, Ordering::Relaxed);
        self.home.post(Command::CallerReads(self.slot, self.id));
        Ok(())
    }

    /// The I/O thread is told about input again. Whether it was not before.
    pub(crate) fn take_from_caller(&self) -> bool {
        let mut registration = lock(&self.registration);
        let Some((registry, _)) = registration.caller.take() else {
            return false;
        };
        // The descriptor is open as long as `self` is; a failure leaves at worst a spurious event.
        let _ = registry.deregister(&mut SourceFd(&self.raw_fd()));
        if !registration.closed {
            registration.read = true;
            self.apply(&mut registration);
        }
        true
    }

    pub(crate) fn is_with_caller(&self) -> bool {
        lock(&self.registration).caller.is_some()
    }

    /// No poll is told about anything any more.
    pub(crate) fn deregister(&self) {
        let mut registration = lock(&self.registration);
        registration.closed = true;
        registration.read = false;
        registration.write = false;
        self.apply(&mut registration);
        if let Some((registry, _)) = registration.caller.take() {
            let _ = registry.deregister(&mut SourceFd(&self.raw_fd()));
        }
    }

    /// Brings the I/O thread's poll in line. A failure (memory) is met by closing the connection.
    fn apply(&self, registration: &mut Registration) {
        if registration.closed {
            // A sender whose write was refused just before the end asks too late.
            registration.read = false;
            registration.write = false;
        }
        let wanted = match (registration.read, registration.write) {
            (false, false) => None,
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
        };
        let fd = self.raw_fd();
        let mut source = SourceFd(&fd);
        let registry = self.home.registry();
        let token = MioToken(self.slot);
        let result = match (registration.registered, wanted) {
            (None, None) => Ok(()),
            (None, Some(interest)) => registry.register(&mut source, token, interest),
            (Some(_), Some(interest)) => registry.reregister(&mut source, token, interest),
            (Some(_), None) => registry.deregister(&mut source),
        };
        match result {
            Ok(()) => registration.registered = wanted,
            Err(_) => {
                registration.registered = None;
                self.attend();
            }
        }
    }

    fn raw_fd(&self) -> RawFd {
        self.stream.raw_fd()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.id)
            .field("endpoint", &self.endpoint)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A message waits in a pipe whose out-pump is idle.
pub(super) struct OutputSignal(pub(super) Weak<Link>);

impl Signal for OutputSignal {
    fn signal(&self) {
        if let Some(link) = self.0.upgrade() {
            link.activate_output();
        }
    }
}

/// A pipe that was full has room for what its in-pump holds back.
pub(super) struct InputSignal(pub(super) Weak<Link>);

impl Signal for InputSignal {
    fn signal(&self) {
        if let Some(link) = self.0.upgrade() {
            link.resume_input();
        }
    }
}
