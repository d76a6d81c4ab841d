//! The loop of one I/O thread.
//!
//! Each turn: wait for readiness (or only look, while there is work), run what became ready, carry out
//! commands, fire timers, and run the out-pumps of busy connections. When a turn brings nothing, the
//! thread yields a few times, then arms the pipes it watches, passes one heavy barrier for all of
//! them, looks once more and sleeps.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token as MioToken, Waker};
use slab::Slab;

use super::buffer::BufferPool;
use super::datagram::{DatagramSlot, Way};
use super::dialing::DialerSlot;
use super::events::{ConnectionId, DisconnectReason, EndpointId};
use super::link::Link;
use super::linking::{deadline_after, LinkSlot};
use super::listening::ListenerSlot;
use super::pool::IoPool;
use super::port::{Counters, Lease, PipeKey, Port};
use super::reading::Look;
use super::settings::Settings;
use super::timers::Timers;
use super::writing::{HotList, OutOutcome};
use super::{CALLER_LOOK, MEMORY_IDLE};
use crate::config::ContextConfig;
use crate::endpoint::Endpoint;
use crate::message::RoutingId;
use crate::pipe::{Reader, Writer};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{clock, Event, Mailbox, Unpark};
use crate::transport::{Listener, Stream};

/// Turns without work before the thread sleeps. Each yields the processor, so an application thread
/// that wants it gets it; on an idle machine they take a few microseconds together.
const IDLE_TURNS: u32 = 24;

/// Readiness events per look.
const EVENTS: usize = 256;

const WAKER: MioToken = MioToken(usize::MAX);

/// Ids for connections and endpoints, unique in the process.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The I/O side's ends of the pipes of one peer.
#[derive(Debug)]
pub(crate) struct PipeEnds {
    pub(crate) key: PipeKey,
    /// Of the pipe that the socket writes to.
    pub(crate) reader: Option<Reader>,
    /// Of the pipe that the socket reads from.
    pub(crate) writer: Option<Writer>,
}

/// What an I/O thread is asked to do.
#[allow(
    clippy::large_enum_variant,
    reason = "the frequent ones are small and the large ones rare; a queue holds few of either"
)]
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept connections.
    Listen {
        port: Arc<Port>,
        settings: Arc<Settings>,
        listener: Listener,
        endpoint: Endpoint,
        id: EndpointId,
        lease: Lease,
    },
    /// Connect, and connect again.
    Dial {
        port: Arc<Port>,
        settings: Arc<Settings>,
        endpoint: Endpoint,
        id: EndpointId,
        ends: Option<PipeEnds>,
        /// What the peer is to be called, if the socket calls its peers anything.
        name: Option<RoutingId>,
        /// Kept until the endpoint has ended.
        alive: Arc<()>,
        lease: Lease,
    },
    /// Look after a connection that was accepted.
    Adopt {
        port: Arc<Port>,
        settings: Arc<Settings>,
        stream: Stream,
        endpoint: Endpoint,
        listener: EndpointId,
        pending: super::listening::Pending,
        lease: Lease,
    },
    /// Look after a connection that the application has made.
    AdoptConnected {
        port: Arc<Port>,
        settings: Arc<Settings>,
        stream: Stream,
        endpoint: Endpoint,
        id: EndpointId,
        lease: Lease,
    },
    /// Send and receive datagrams.
    Datagrams {
        port: Arc<Port>,
        settings: Arc<Settings>,
        way: Way,
        endpoint: Endpoint,
        id: EndpointId,
        ends: PipeEnds,
        lease: Lease,
    },
    /// A name was looked up for datagrams.
    DatagramTarget {
        slot: usize,
        id: EndpointId,
        result: io::Result<Vec<SocketAddr>>,
    },
    /// Datagrams wait to be sent.
    SendDatagrams(usize, EndpointId),
    /// A name was looked up for a dialer.
    Resolved {
        slot: usize,
        id: EndpointId,
        result: io::Result<Vec<SocketAddr>>,
    },
    /// Look at everything about a connection.
    Attend(usize, ConnectionId),
    /// Run an out-pump until its pipe is idle.
    Output(usize, ConnectionId),
    /// Run an in-pump.
    Input(usize, ConnectionId),
    /// End a connection for a reason that the pattern has found.
    End(usize, ConnectionId, Box<DisconnectReason>),
    /// End a connection once its queue is empty, at most after so long.
    CloseLink(usize, ConnectionId, Option<Duration>),
    /// A socket's `recv` reads this connection itself.
    CallerReads(usize, ConnectionId),
    /// Close an endpoint and, if that is wanted, every connection made through it; then notify.
    CloseEndpoint {
        id: EndpointId,
        /// Of what is bound. Those of what connects are always closed.
        connections: bool,
        linger: Option<Duration>,
        done: Option<Arc<Event>>,
    },
    /// Close everything of a socket.
    CloseSocket {
        port: Arc<Port>,
        deadline: Option<Instant>,
    },
    /// End the thread.
    Stop,
}

/// A thread, as others see it.
#[derive(Clone)]
pub(crate) struct IoHandle(Arc<Shared>);

struct Shared {
    mailbox: Mailbox<Command>,
    registry: Registry,
    waker: Arc<MioWaker>,
    /// Endpoints and connections on this thread.
    load: AtomicUsize,
    /// How often the thread slept, or was about to.
    wakeups: AtomicU64,
}

struct MioWaker(Waker);

impl Unpark for MioWaker {
    fn unpark(&self) {
        // A full eventfd counter means that the poll will wake anyway.
        let _ = self.0.wake();
    }
}

impl IoHandle {
    pub(crate) fn post(&self, command: Command) {
        self.0.mailbox.post(command);
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn load(&self) -> usize {
        self.0.load.load(Ordering::Relaxed)
    }

    pub(crate) fn wakeups(&self) -> u64 {
        self.0.wakeups.load(Ordering::Relaxed)
    }

    /// Whether both are the same thread.
    pub(crate) fn is_same(&self, other: &IoHandle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for IoHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoHandle")
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

/// Starts a thread.
pub(super) fn start(
    index: usize,
    config: &ContextConfig,
    pool: Weak<IoPool>,
) -> io::Result<IoHandle> {
    let poll = Poll::new()?;
    let waker = Arc::new(MioWaker(Waker::new(poll.registry(), WAKER)?));
    let handle = IoHandle(Arc::new(Shared {
        mailbox: Mailbox::new(),
        registry: poll.registry().try_clone()?,
        waker,
        load: AtomicUsize::new(0),
        wakeups: AtomicU64::new(0),
    }));
    let thread = IoThread {
        handle: handle.clone(),
        poll,
        pool,
        slots: Slab::new(),
        freed: Vec::new(),
        timers: Timers::default(),
        hot: HotList::new(),
        leaves: false,
        unread: Vec::new(),
        with_caller: Vec::new(),
        next_caller_look: None,
        buffers: BufferPool::default(),
        next_sweep: None,
        stopped: false,
    };
    let cores = config.cores_of_thread(index);
    let scheduling = config.thread_scheduling;
    std::thread::Builder::new()
        .name(config.thread_name(index))
        .spawn(move || {
            if !cores.is_empty() {
                crate::sync::pin_thread(&cores);
            }
            if let Some(scheduling) = scheduling {
                crate::sync::schedule_thread(scheduling);
            }
            thread.run();
        })?;
    Ok(handle)
}

/// What a slot holds.
///
/// Most are connections: what is larger than one is boxed.
pub(super) enum Slot {
    Listener(Box<ListenerSlot>),
    Dialer(Box<DialerSlot>),
    Datagrams(Box<DatagramSlot>),
    Link(LinkSlot),
    /// Freed in this turn, while readiness events for it may still be about.
    Freed,
}

/// See the module.
pub(super) struct IoThread {
    pub(super) handle: IoHandle,
    poll: Poll,
    pub(super) pool: Weak<IoPool>,
    pub(super) slots: Slab<Slot>,
    freed: Vec<usize>,
    pub(super) timers: Timers,
    /// Connections whose out-pump is run every turn.
    hot: HotList<Link>,
    /// In this turn some of these were left to their senders.
    leaves: bool,
    /// Connections with input left unread when their turn was over.
    pub(super) unread: Vec<(usize, ConnectionId)>,
    /// Connections that a socket's `recv` reads itself.
    with_caller: Vec<Arc<Link>>,
    next_caller_look: Option<Instant>,
    pub(super) buffers: BufferPool,
    /// When to look for memory to give back, if there may be any.
    next_sweep: Option<Instant>,
    stopped: bool,
}

impl IoThread {
    /// A slot for something new. Their table grows by an eighth: with ten thousand connections the room it keeps
    /// to grow is memory of every one of them.
    pub(super) fn new_slot(&mut self, slot: Slot) -> usize {
        let len = self.slots.len();
        if len == self.slots.capacity() {
            self.slots.reserve_exact((len / 8).max(16));
        }
        self.slots.insert(slot)
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut idle = 0;
        while !self.stopped {
            let progress = self.turn(&mut events, idle);
            idle = if progress { 0 } else { idle + 1 };
        }
    }

    /// One turn; whether it found any work.
    fn turn(&mut self, events: &mut Events, idle: u32) -> bool {
        let is_idle = idle >= IDLE_TURNS && !self.leaves;
        if (idle > 0 || self.leaves) && !is_idle && !self.hot.is_empty() {
            std::thread::yield_now();
        }
        let may_sleep =
            self.unread.is_empty() && (self.hot.is_empty() || (is_idle && self.hot.arm()));
        if may_sleep {
            let waker = Arc::clone(&self.handle.0.waker) as Arc<dyn Unpark>;
            if self.handle.0.mailbox.event().begin_custom(waker) {
                let wakeup = [self.timers.next(), self.next_caller_look, self.next_sweep]
                    .into_iter()
                    .flatten()
                    .min();
                let timeout = wakeup.map(|at| round_up(at.saturating_duration_since(clock::now())));
                self.poll_events(events, timeout);
                Counters::add_owned(&self.handle.0.wakeups, 1);
                self.handle.0.mailbox.event().end_custom();
            } else {
                self.poll_events(events, Some(Duration::ZERO));
            }
        } else {
            self.poll_events(events, Some(Duration::ZERO));
        }
        let mut progress = self.handle_events(events);
        progress |= self.handle_commands();
        progress |= self.handle_timers();
        progress |= self.handle_unread();
        progress |= self.run_outputs();
        if progress && self.next_sweep.is_none() {
            self.next_sweep = Some(clock::now() + MEMORY_IDLE);
        }
        for slot in self.freed.drain(..) {
            self.slots.remove(slot);
        }
        // Only if it has changed: others look at what lies beside it.
        let load = &self.handle.0.load;
        if load.load(Ordering::Relaxed) != self.slots.len() {
            load.store(self.slots.len(), Ordering::Relaxed);
        }
        progress
    }

    /// Takes the memory back that connections keep which have been idle since the last sweep, and this
    /// thread's own if all have.
    fn sweep(&mut self, now: Instant) {
        let mut busy = false;
        for (_, slot) in &mut self.slots {
            if let Slot::Link(this) = slot {
                busy |= this.sweep();
            }
        }
        if !busy {
            self.buffers.clear();
        }
        self.next_sweep = busy.then(|| now + MEMORY_IDLE);
    }

    fn poll_events(&mut self, events: &mut Events, timeout: Option<Duration>) {
        if self.poll.poll(events, timeout).is_err() {
            // Interrupted, or out of memory: there are no events now; the loop goes on.
            events.clear();
        }
    }

    fn handle_events(&mut self, events: &Events) -> bool {
        let mut any = false;
        for event in events {
            if event.token() == WAKER {
                continue;
            }
            any = true;
            let slot = event.token().0;
            match self.slots.get(slot) {
                Some(Slot::Listener(_)) => self.accept(slot),
                Some(Slot::Dialer(_)) => self.connect_progress(slot),
                Some(Slot::Datagrams(_)) => self.datagrams_ready(slot),
                Some(Slot::Link(this)) => {
                    this.link.tally.called();
                    self.link_ready(slot, event);
                }
                // Closed in this very turn, or a stale event of another use of the slot.
                Some(Slot::Freed) | None => {}
            }
        }
        any
    }

    fn handle_commands(&mut self) -> bool {
        if !self.handle.0.mailbox.take_pending() {
            return false;
        }
        while let Some(command) = self.handle.0.mailbox.pop() {
            self.handle_command(command);
        }
        true
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Listen {
                port,
                settings,
                listener,
                endpoint,
                id,
                lease,
            } => self.listen((port, settings), listener, endpoint, id, lease),
            Command::Dial {
                port,
                settings,
                endpoint,
                id,
                ends,
                name,
                alive,
                lease,
            } => self.dial((port, settings), endpoint, id, ends, name, (alive, lease)),
            Command::Adopt {
                port,
                settings,
                stream,
                endpoint,
                listener,
                pending,
                lease,
            } => self.adopt((port, settings), stream, endpoint, listener, pending, lease),
            Command::AdoptConnected {
                port,
                settings,
                stream,
                endpoint,
                id,
                lease,
            } => self.adopt_connected((port, settings), stream, endpoint, id, lease),
            Command::Datagrams {
                port,
                settings,
                way,
                endpoint,
                id,
                ends,
                lease,
            } => self.add_datagrams((port, settings), way, endpoint, id, ends, lease),
            Command::DatagramTarget { slot, id, result } => self.target_found(slot, id, result),
            Command::SendDatagrams(slot, id) => {
                if self.has_datagrams(slot, id) {
                    self.send_datagrams(slot);
                }
            }
            Command::Resolved { slot, id, result } => self.resolved(slot, id, result),
            Command::Attend(slot, id) => {
                if let Some(link) = self.link(slot, id) {
                    link.tally.called();
                    link.begin_attention();
                    self.attend(slot);
                }
            }
            Command::Output(slot, id) => {
                if let Some(link) = self.link(slot, id) {
                    link.tally.called();
                    self.heat(link);
                }
            }
            Command::Input(slot, id) => {
                if let Some(link) = self.link(slot, id) {
                    link.tally.called();
                    self.read_link(slot, false);
                }
            }
            Command::CloseLink(slot, id, linger) => {
                if self.link(slot, id).is_some() {
                    self.close_link_gently(slot, deadline_after(linger));
                }
            }
            Command::End(slot, id, reason) => {
                if self.link(slot, id).is_some() {
                    self.close_link(slot, *reason);
                }
            }
            Command::CallerReads(slot, id) => {
                if let Some(link) = self.link(slot, id) {
                    if link.reading.enlist() {
                        self.with_caller.push(link);
                    }
                    let next = self.next_caller_look;
                    self.next_caller_look = next.or_else(|| Some(clock::now() + CALLER_LOOK));
                }
            }
            Command::CloseEndpoint {
                id,
                connections,
                linger,
                done,
            } => {
                self.close_endpoint(id, connections, linger);
                if let Some(done) = done {
                    done.notify();
                }
            }
            Command::CloseSocket { port, deadline } => self.close_socket(&port, deadline),
            Command::Stop => self.stopped = true,
        }
    }

    fn handle_timers(&mut self) -> bool {
        let mut any = false;
        if self.timers.next().is_some()
            || self.next_caller_look.is_some()
            || self.next_sweep.is_some()
        {
            let now = clock::now();
            while let Some(slot) = self.timers.pop_due(now) {
                any = true;
                match self.slots.get(slot) {
                    Some(Slot::Listener(_)) => self.accept(slot),
                    Some(Slot::Dialer(_)) => self.dialer_timeout(slot, now),
                    Some(Slot::Datagrams(_)) => self.datagrams_ready(slot),
                    Some(Slot::Link(_)) => self.link_timeout(slot, now),
                    Some(Slot::Freed) | None => {}
                }
            }
            if self.next_caller_look.is_some_and(|at| at <= now) {
                self.look_at_callers(now);
            }
            if self.next_sweep.is_some_and(|at| at <= now) {
                self.sweep(now);
            }
        }
        any
    }

    /// Takes connections back from callers that have gone away.
    fn look_at_callers(&mut self, now: Instant) {
        if self.next_sweep.is_none() {
            self.next_sweep = Some(now + MEMORY_IDLE);
        }
        let mut gone = Vec::new();
        self.with_caller.retain(|link| {
            let look = link.reading.look();
            if look == Look::Away {
                gone.push(Arc::clone(link));
            }
            look == Look::Present
        });
        for link in gone {
            self.take_back(&link);
        }
        self.next_caller_look = (!self.with_caller.is_empty()).then(|| now + CALLER_LOOK);
    }

    /// Takes a connection back from the caller that reads it, and reads what there is.
    pub(super) fn take_back(&mut self, link: &Link) {
        let was_task = link.reading.is_with_task();
        if link.reading.take(link) && self.link(link.slot, link.id).is_some() {
            self.read_link(link.slot, true);
        }
        if was_task {
            // It may wait for long, and gives back the memory it read with.
            link.port.inbound.event().notify();
        }
    }

    fn handle_unread(&mut self) -> bool {
        if self.unread.is_empty() {
            return false;
        }
        for (slot, id) in std::mem::take(&mut self.unread) {
            if self.link(slot, id).is_some() {
                self.read_link(slot, false);
            }
        }
        true
    }

    /// Puts an out-pump on the list of those that are run every turn.
    pub(super) fn heat(&mut self, link: Arc<Link>) {
        self.hot.heat(link);
    }

    /// The same, for one that can write again.
    pub(super) fn heat_for_room(&mut self, link: Arc<Link>) {
        self.hot.heat_for_room(link);
    }

    /// Runs the out-pumps of busy connections; whether any had something to write.
    fn run_outputs(&mut self) -> bool {
        let mut progress = false;
        let mut index = 0;
        self.leaves = false;
        loop {
            if self.hot.is_left(index, clock::now) {
                self.leaves = true;
                index += 1;
                continue;
            }
            let Some(link) = self.hot.begin(index) else {
                break;
            };
            let before = link.octets.written.load(Ordering::Relaxed);
            let outcome = link.run_output();
            if outcome.is_some() {
                progress |= link.octets.written.load(Ordering::Relaxed) != before;
            }
            let stays = match outcome {
                // A sender runs it, and does so once more. But the end of a connection is for this thread
                // to see.
                None => self.is_closing(&link),
                Some(OutOutcome::More) => {
                    progress = true;
                    true
                }
                Some(OutOutcome::Idle) => self.output_idle(&link),
                // An event will tell.
                Some(OutOutcome::Blocked | OutOutcome::Closed) => false,
            };
            if stays {
                self.hot.stay(index);
                index += 1;
                continue;
            }
            self.hot.remove(index);
            match outcome {
                Some(OutOutcome::Blocked) => self.output_blocked(&link),
                Some(OutOutcome::Closed) if self.link(link.slot, link.id).is_some() => {
                    self.attend(link.slot);
                }
                _ => {}
            }
        }
        progress
    }

    /// The connection in a slot, if it is still the one meant.
    pub(super) fn link(&self, slot: usize, id: ConnectionId) -> Option<Arc<Link>> {
        match self.slots.get(slot) {
            Some(Slot::Link(link)) if link.link.id == id => Some(Arc::clone(&link.link)),
            _ => None,
        }
    }

    /// Frees a slot at the end of this turn, and returns what was in it.
    pub(super) fn free_slot(&mut self, slot: usize) -> Slot {
        self.timers.set(slot, None);
        self.freed.push(slot);
        std::mem::replace(&mut self.slots[slot], Slot::Freed)
    }

    pub(super) fn is_here(&self, handle: &IoHandle) -> bool {
        self.handle.is_same(handle)
    }
}

/// `poll` takes milliseconds, and rounds down: a timer must not make it spin until it is due.
fn round_up(timeout: Duration) -> Duration {
    timeout + Duration::from_micros(999)
}
