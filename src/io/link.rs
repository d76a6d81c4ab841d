//! A connection, as shared by the thread that looks after it and the socket that it serves.
//!
//! The two pumps are behind tokens: whoever holds one runs it. Normally that is the connection's I/O
//! thread. A socket's `send` may run the out-pump when the pipe was idle or is full, and its `recv`
//! may run the in-pump instead of waiting. Everything that must not depend on an application calling
//! anything (handshake, heartbeats, closing, reconnecting) is done by the I/O thread alone.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token as MioToken};

use super::buffer::BufferPool;
use super::drops::DropCause;
use super::events::{ConnectionId, DisconnectReason, SocketEvent};
use super::in_pump::InPump;
use super::octets::{LinkOctets, Tally, Tries};
use super::out_pump::OutPump;
use super::port::{Counters, PipeKey, Port};
use super::reading::{Caller, InOutcome, Interests, Polls, Reading};
use super::room::{Patience, Room};
use super::settings::Settings;
use super::thread::{Command, IoHandle};
use super::trace::Span;
use super::writing::{self, OutOutcome, Output, Writing};
use crate::endpoint::Endpoint;
use crate::message::RoutingId;
use crate::pipe::{Signal, Writer};
use crate::proto::{Connection, Opening};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{clock, Mutex, OwnLine, Token};
use crate::transport::Stream;

/// See the module.
///
/// In memory as it is written here: what the runner of one pump writes is on other lines than what that of
/// the other writes, which may be another thread, and neither is where all look and hardly anyone writes.
#[repr(C)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) port: Arc<Port>,
    /// Those of the endpoint it belongs to.
    pub(crate) settings: Arc<Settings>,
    pub(crate) stream: Stream,
    pub(crate) endpoint: Endpoint,
    pub(crate) peer: String,
    /// From its beginning to its end.
    span: Span,
    pub(crate) home: IoHandle,
    /// Where the I/O thread keeps it.
    pub(crate) slot: usize,
    /// Octets read and written.
    pub(crate) octets: Arc<LinkOctets>,
    key: OnceLock<PipeKey>,
    routing_id: OnceLock<RoutingId>,
    pub(super) tally: Tally,
    pub(crate) output: OwnLine<Token<OutPump>>,
    /// The out-pump looks for what it has to send.
    pub(crate) proto: Mutex<Connection>,
    /// The kernel took no more when the out-pump last ran. A hint.
    pub(super) blocked: AtomicBool,
    /// Who sees messages off.
    pub(super) writing: Writing,
    /// The I/O thread has been asked to look at this connection.
    attended: AtomicBool,
    pub(crate) input: OwnLine<Token<InPump>>,
    /// Who is told about input, and about room for output.
    pub(super) reading: Reading<Link>,
}

impl Link {
    #[allow(
        clippy::too_many_arguments,
        reason = "a connection is exactly these; it is made in one place"
    )]
    pub(super) fn new(
        id: ConnectionId,
        port: Arc<Port>,
        settings: Arc<Settings>,
        stream: Stream,
        endpoint: Endpoint,
        peer: String,
        home: IoHandle,
        slot: usize,
        opening: Opening<'_>,
        tries: Tries,
        now: Instant,
    ) -> Arc<Link> {
        let proto = Connection::new(Arc::clone(&settings.protocol), opening, now);
        let octets = port.octets.join();
        let span = Span::of(&port, id, &endpoint, &peer);
        Arc::new(Link {
            id,
            port,
            settings,
            stream,
            endpoint,
            peer,
            span,
            home,
            slot,
            octets,
            key: OnceLock::new(),
            routing_id: OnceLock::new(),
            tally: Tally::new(tries),
            output: OwnLine(Token::new(OutPump::new())),
            proto: Mutex::new(proto),
            blocked: AtomicBool::new(false),
            writing: Writing::new(),
            attended: AtomicBool::new(false),
            input: OwnLine(Token::new(InPump::new())),
            reading: Reading::new(),
        })
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// Reports an event of this connection to whoever listens.
    pub(super) fn report(&self, event: impl FnOnce() -> SocketEvent) {
        self.port.report_in(&self.span, event);
    }

    /// The key of its pipes, once the handshake is done.
    pub(crate) fn key(&self) -> Option<PipeKey> {
        self.key.get().copied()
    }

    pub(super) fn set_key(&self, key: PipeKey) {
        // Set once, when the handshake is done.
        let _ = self.key.set(key);
    }

    /// What the peer is called, once the handshake is done.
    pub(crate) fn routing_id(&self) -> Option<RoutingId> {
        self.routing_id.get().cloned()
    }

    pub(super) fn set_routing_id(&self, id: RoutingId) {
        // Set once, when the handshake is done.
        let _ = self.routing_id.set(id);
    }

    /// A message was received that the pattern has no use for, and that goes into no pipe.
    pub(super) fn drop_unexpected(&self) {
        Counters::add(&self.tally.unexpected, 1);
        self.port.dropped(DropCause::Unexpected, 1);
    }

    /// Ends the connection for a reason that the pattern has found.
    pub(crate) fn end(&self, reason: DisconnectReason) {
        let reason = Box::new(reason);
        self.home.post(Command::End(self.slot, self.id, reason));
    }

    /// Closes the connection, and what dialed it, when what is queued has been written, or after so long.
    pub(crate) fn close_gently(&self, linger: Option<Duration>) {
        self.home
            .post(Command::CloseLink(self.slot, self.id, linger));
    }

    /// Appends whole control frames, to be written between two messages.
    pub(crate) fn push_control(&self, frames: &[u8]) {
        let ((), missed) = self.output.visit(|pump| pump.push_control(frames));
        if missed {
            self.activate_output();
        }
        self.attend();
    }

    /// As [`Link::push_control`], unless much waits to be written already. `false`: the frames are not taken, and
    /// [`Hooks::drained`](super::Hooks::drained) will tell when they can be.
    pub(crate) fn offer_control(&self, frames: &[u8]) -> bool {
        let (taken, missed) = self.output.visit(|pump| pump.offer_control(frames));
        if missed {
            self.activate_output();
        }
        if taken {
            self.attend();
        }
        taken
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
        // Of a connection that is gone nobody waits for it.
        let _ = writing::activate(self);
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

    /// As [`Link::run_output`], and takes the reason if the connection is beyond use. Who holds the pump may wait for the
    /// kernel meanwhile, and is not waited for: it answers the note that this leaves, and has the I/O thread look again if
    /// there is a reason.
    pub(super) fn run_output_to_the_end(&self) -> (Option<OutOutcome>, Option<DisconnectReason>) {
        let mut failure = None;
        let mut sleeps = true;
        let outcome = self.output.run(|pump| {
            let outcome = pump.run(self);
            failure = failure.take().or_else(|| pump.failure());
            sleeps = pump.is_asleep();
            outcome
        });
        match outcome {
            Some(OutOutcome::Blocked) => self.want_write(true),
            // A sender that has left its note for us does not see to what it sends next.
            Some(OutOutcome::Idle) if !sleeps => self.activate_output(),
            _ => {}
        }
        (outcome, failure)
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
    ) -> Option<InOutcome> {
        self.input
            .run(|pump| pump.run(self, pool, budget, false, false))
    }

    // ---- for `send` -------------------------------------------------------------------------

    /// The pipe was idle and now holds a message that the caller has undertaken to see off. Writes it
    /// on the caller's thread if that is the first for a while or the socket is in lock-step;
    /// otherwise hands over to the I/O thread. `false`: the pipe has passed to another connection, or
    /// is about to; its writer is to signal.
    #[must_use]
    pub(crate) fn send_idle(&self, burst: bool) -> bool {
        writing::see_off(self, burst)
    }

    /// The pipe holds enough for a write: writes it on the caller's thread, if the kernel is not known to
    /// take nothing and nobody else is at it. `false`: it is known to.
    pub(crate) fn send_batch(&self) -> bool {
        self.send_unless_blocked(writing::write_on)
    }

    /// As [`Link::send_batch`], of one message in lock-step.
    pub(crate) fn send_one(&self) -> bool {
        self.send_unless_blocked(writing::write_one)
    }

    fn send_unless_blocked(&self, write: impl FnOnce(&Self)) -> bool {
        let blocked = self.blocked.load(Ordering::Relaxed);
        if !blocked {
            write(self);
        }
        !blocked
    }

    /// The pipe is full, and the caller would wait for room in it: writes what is there, and waits for the kernel to take it,
    /// if that has been worth it lately, for 20 ms or half of its time at most. `false`: nothing has been done. Otherwise
    /// there may be room that the pipe does not tell of.
    pub(crate) fn write_all(&self, queued: u64, room: &mut Room, patience: Patience) -> bool {
        if !patience.sleeps() || !room.is_willing() {
            return false;
        }
        // In all, also of a queue that a fast peer takes all of.
        let end = clock::now() + patience.hold();
        let mut waiting = room.waiting(self, queued, patience);
        let visit = self.output.try_visit(|pump| {
            pump.run_while(self, |outcome| {
                clock::now() < end && (outcome == OutOutcome::More || waiting.wait())
            })
        });
        drop(waiting);
        let Some((outcome, missed)) = visit else {
            return false;
        };
        writing::wrote_on(self, outcome);
        if missed {
            writing::write_on(self);
        }
        true
    }

    /// Writes a large payload from where it is, and copies what is left of it into the pipe of `writer`, whose other
    /// end this connection has. Waits for room for a moment, at most for `patience`. `false`: the message is
    /// not taken, and is to be sent in the ordinary way.
    pub(crate) fn write_through(
        &self,
        writer: &mut Writer,
        payload: &[u8],
        room: &mut Room,
        patience: Patience,
    ) -> bool {
        let queued = writer.queued_octets();
        // Who has no credit waits in any case, and may as well write what is queued.
        let near = queued <= QUEUED_AHEAD || !writer.has_credit();
        let patient = near && room.is_willing() && !patience.is_none();
        if !patient && (queued > 0 || self.blocked.load(Ordering::Relaxed)) {
            return false;
        }
        let mut waiting = room.waiting(self, queued + payload.len() as u64, patience);
        let visit = self.output.try_visit(|pump| {
            pump.write_through(self, writer, payload, || patient && waiting.wait())
        });
        drop(waiting);
        let Some((through, missed)) = visit else {
            return false;
        };
        if missed {
            // By oneself: the I/O thread would come when the next payload is being written, and leave a note again.
            writing::write_on(self);
        }
        let Some(through) = through else {
            return false;
        };
        // Also if the message is not taken: whoever was told about room before no longer is, and nobody else
        // knows of a failure met on the way.
        if !writing::wrote_through(self, through.outcome, through.claimed) {
            writer.signal();
        }
        through.taken
    }

    // ---- who reads --------------------------------------------------------------------------

    /// The I/O thread begins to read.
    pub(super) fn begin_reading(&self) {
        self.reading.begin(self);
    }

    /// Whether the I/O thread is told about room for output.
    pub(super) fn want_write(&self, write: bool) {
        self.reading.want_write(self, write);
    }

    /// From now on the caller's poll is told about input, the I/O thread is not.
    ///
    /// # Errors
    /// If the connection is closed, or the system has no memory for it.
    pub(super) fn give_to_caller(&self, caller: Caller<<Self as Polls>::Caller>) -> io::Result<()> {
        if self.reading.give(self, caller)? {
            self.home.post(Command::CallerReads(self.slot, self.id));
        }
        Ok(())
    }

    /// There is input. Whether a task reads it, which has been woken.
    pub(super) fn tell_task(&self) -> bool {
        let told = self.reading.tell_task(self);
        if told {
            self.port.inbound.event().notify();
        }
        told
    }

    /// The socket receives fewer messages ahead than it did.
    pub(crate) fn recount_input(&self) {
        let ((), missed) = self.input.visit(InPump::recount);
        if missed {
            self.resume_input();
        }
    }

    /// The caller gives reading back, if it has it.
    pub(super) fn return_from_caller(&self) {
        if self.reading.take(self) {
            // It may hold input that was read and not handed on.
            self.resume_input();
        }
    }

    /// No poll is told about anything any more.
    pub(super) fn deregister(&self) {
        self.reading.close(self);
    }

    fn raw_fd(&self) -> RawFd {
        self.stream.raw_fd()
    }
}

/// So many octets may have to be written before a payload that is to be written through.
const QUEUED_AHEAD: u64 = 4 * 1024 * 1024;

/// On `mio`. A descriptor is open as long as its link is, so a failure to stop watching it leaves at
/// worst a spurious event.
impl Polls for Link {
    type Caller = (Arc<Registry>, MioToken);

    fn watch(&self, before: Interests, now: Interests) -> io::Result<()> {
        let fd = self.raw_fd();
        let mut source = SourceFd(&fd);
        let registry = self.home.registry();
        let token = MioToken(self.slot);
        match (interest(before), interest(now)) {
            (None, None) => Ok(()),
            (None, Some(now)) => registry.register(&mut source, token, now),
            (Some(_), Some(now)) => registry.reregister(&mut source, token, now),
            (Some(_), None) => registry.deregister(&mut source),
        }
    }

    fn watch_for_caller(&self, (registry, token): &Self::Caller) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.raw_fd()), *token, Interest::READABLE)
    }

    fn unwatch_for_caller(&self, (registry, _): &Self::Caller) {
        let _ = registry.deregister(&mut SourceFd(&self.raw_fd()));
    }

    fn attend(&self) {
        Link::attend(self);
    }
}

fn interest(interests: Interests) -> Option<Interest> {
    match (interests.read, interests.write) {
        (false, false) => None,
        (true, false) => Some(Interest::READABLE),
        (false, true) => Some(Interest::WRITABLE),
        (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
    }
}

impl Output for Link {
    fn writing(&self) -> &Writing {
        &self.writing
    }

    fn run_for_sender(&self) -> Option<OutOutcome> {
        self.output.run(|pump| pump.run_for_sender(self))
    }

    fn arm(&self) -> Option<bool> {
        self.output.run(|pump| pump.arm())
    }

    fn stay_awake(&self) -> Option<bool> {
        self.output.run(|pump| pump.stay_awake())
    }

    fn want_write(&self) {
        Link::want_write(self, true);
    }

    fn post_output(&self) {
        self.home.post(Command::Output(self.slot, self.id));
    }

    fn attend(&self) {
        Link::attend(self);
    }

    fn sent(&self) -> u64 {
        self.port.counters.messages_sent.load(Ordering::Relaxed)
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
