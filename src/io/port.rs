//! Where a socket and the I/O threads meet: mailboxes one way, commands the other, counters between.
//!
//! A [`Port`] is shared by a socket's two halves and by everything that works for the socket on I/O
//! threads. It knows no pattern: what a pattern wants to hear (subscriptions, for one) goes through
//! [`Hooks`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::drops::{DropCause, Drops};
use super::events::{DisconnectReason, SocketEvent, SubscriptionLimit};
use super::head_count::{Gathering, HeadCount};
use super::inproc_peers::InprocPeers;
use super::link::Link;
use super::mail::Mail;
use super::monitor::{Monitor, MonitorOptions, Monitors};
use super::octets::Octets;
use super::peers::Links;
use super::pool::{IoPool, OpenSocket};
use super::random::random;
use super::settings::Settings;
use super::thread::next_id;
use super::trace::{self, Span};
use crate::config::{Conflate, HighWaterMark, SocketConfig};
use crate::endpoint::{Endpoint, Transport};
use crate::message::{Message, PeerProperties, RoutingId};
use crate::pipe::{
    conflating, pipe_within, Budget, Held, Keep, Limits, Reader, Signal, Terms, Tuning, Writer,
};
use crate::proto::Version;
use crate::socket_type::SocketType;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{clock, lock, CachePadded, Event, Mutex, Place, Places};

/// Names one pipe (pair) of a socket: an index that is reused, and a generation that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PipeKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What the receiving half of a socket is told. What is large is boxed: of a peer that comes to a socket which is left
/// alone, this waits there, beside smaller mail.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A pipe to read from.
    Up {
        key: PipeKey,
        reader: Box<Reader>,
        /// Who is at the other end, if that is known already.
        peer: Option<Arc<PeerProperties>>,
    },
    /// The connection behind a pipe has changed; [`Port::take_change`] tells how.
    Relinked(PipeKey),
    /// The pipe's other end is gone for good. What it holds can still be read, and `last` after that.
    Down {
        key: PipeKey,
        last: Option<Box<Message>>,
        /// Not among the unseen ends any more: [`Port::count_end`] is due.
        excused: bool,
    },
    /// A pipe that was found empty has something.
    Readable(PipeKey),
    /// The socket allows another number of messages now.
    Marks,
}

/// What the sending half of a socket is told. Boxed as in [`Inbound`].
#[derive(Debug)]
pub(crate) enum Outbound {
    /// A pipe to write to.
    Up { key: PipeKey, writer: Box<Writer> },
    /// The connection behind a pipe has changed; [`Port::take_change`] tells how.
    Relinked(PipeKey),
    /// The pipe is gone for good; `rest` holds what was not sent.
    Down {
        key: PipeKey,
        rest: Option<Box<Reader>>,
        /// As of [`Inbound::Down`].
        excused: bool,
    },
    /// A pipe that had no credit has some, or is to count it anew.
    Writable(PipeKey),
    /// The socket allows another number of messages now.
    Marks,
}

const _: () = assert!(size_of::<Inbound>() <= 32 && size_of::<Outbound>() <= 32);

/// What has become of the connection behind a pipe since its half last looked. Many changes make one
/// of these: a peer that comes and goes while the application does something else costs no more.
#[derive(Debug, Default)]
pub(crate) struct LinkChange {
    /// The connection there was is gone.
    pub(crate) ended: bool,
    /// And what was sent through it may be lost with it.
    pub(crate) lost: bool,
    /// The connection there is now. Not kept alive by what nobody may read for long.
    pub(crate) link: Option<Weak<Link>>,
}

/// A peer, and the message of a pipe from which on it is the one who sends.
pub(crate) type Introduction = (u64, Arc<PeerProperties>);

/// Takes the mail of a half.
pub(crate) type Caretaker = Box<dyn FnMut() + Send>;

/// One of the two sides of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Sending,
    Receiving,
}

/// A peer that has come through its handshake, and has no pipes yet, or those of an earlier connection.
pub(crate) struct Arrival<'a> {
    /// The socket it has come to.
    pub(crate) port: &'a Arc<Port>,
    pub(crate) key: PipeKey,
    /// What this side wants to call it.
    pub(crate) given: Option<&'a RoutingId>,
    /// What it calls itself; empty if nothing.
    pub(crate) announced: &'a [u8],
    /// `None` for a socket of this process.
    pub(crate) link: Option<&'a Arc<Link>>,
}

/// What a pattern wants to hear from its connections. Called on I/O threads (and, for commands that
/// are found by a caller-driven read, on the caller's); must be quick.
pub(crate) trait Hooks: Send + Sync {
    /// A pipe is made for an endpoint that is being connected to. Whether the pattern can have it.
    fn reserve(&self, _: PipeKey) -> bool {
        true
    }

    /// Whether nobody else can be admitted now. Who comes nevertheless is told before it sends anything.
    fn is_full(&self) -> bool {
        false
    }

    /// A peer arrives. Returns what it is called here, if the pattern calls its peers anything;
    /// refuses it if the pattern cannot have it. Nothing has been received from it yet.
    fn admit(&self, _: &Arrival<'_>) -> Result<Option<RoutingId>, DisconnectReason> {
        Ok(None)
    }

    /// A peer that was admitted can be sent to from now on; still nothing has been received from it.
    fn settled(&self, _: PipeKey) {}

    /// A pipe has lost its peer for good. What came from it may still be unread.
    fn departed(&self, _: PipeKey) {}

    /// Both halves of the socket have let go of a pipe.
    fn forgotten(&self, _: PipeKey) {}

    /// A pipe is connected to a peer that speaks `version`. State that must reach the peer before
    /// anything else is pushed to the link as control frames.
    fn link_up(&self, key: PipeKey, link: &Arc<Link>, version: Version);

    /// A pipe is connected to another socket of this process, in which it has `peer_key`.
    fn inproc_up(&self, key: PipeKey, peer: &Arc<Port>, peer_key: PipeKey);

    /// Control frames that a connection refused may be offered again. Called for no reason as well.
    fn drained(&self, _: PipeKey) {}

    /// The connection behind a pipe is lost.
    fn link_down(&self, key: PipeKey);

    /// A way to send to peers that cannot say what they want, such as datagrams: it gets every message,
    /// until [`Hooks::link_down`].
    fn unfiltered_up(&self, _: PipeKey) {}

    /// The peer subscribed (joined a group), or took that back.
    fn subscription(
        &self,
        key: PipeKey,
        subscribe: bool,
        topic: &[u8],
    ) -> Result<(), SubscriptionLimit>;
}

/// For patterns without subscriptions.
pub(crate) struct NoHooks;

impl Hooks for NoHooks {
    fn link_up(&self, _: PipeKey, _: &Arc<Link>, _: Version) {}
    fn inproc_up(&self, _: PipeKey, _: &Arc<Port>, _: PipeKey) {}
    fn link_down(&self, _: PipeKey) {}
    fn subscription(&self, _: PipeKey, _: bool, _: &[u8]) -> Result<(), SubscriptionLimit> {
        Ok(())
    }
}

/// Names one socket of this process, for its whole life and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(u64);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// See the module.
pub(crate) struct Port {
    pub(crate) id: SocketId,
    pub(crate) socket_type: SocketType,
    /// As long as the socket lives.
    pub(crate) conflate: Conflate,
    /// As they are now. What is bound or connected keeps those it was begun with.
    settings: Mutex<Arc<Settings>>,
    /// The high-water marks are not those that the socket was made with.
    has_new_marks: AtomicBool,
    pub(crate) hooks: Arc<dyn Hooks>,
    /// The threads live at least as long as what they work for.
    pool: Arc<IoPool>,
    pub(crate) inbound: Mail<Inbound>,
    pub(crate) outbound: Mail<Outbound>,
    pub(super) monitors: Monitors,
    pub(crate) counters: Counters,
    /// Octets of all connections.
    pub(crate) octets: Octets,
    /// The connections that messages can flow through now, but those over inproc.
    pub(super) links: Links,
    pub(crate) inproc: InprocPeers,
    keys: Mutex<Keys>,
    changes: [Mutex<HashMap<PipeKey, LinkChange>>; 2],
    /// Who is at the other end of pipes that outlive connections, as the receiving half has yet to hear.
    /// Apart from the changes: for most connections there is nothing here.
    introductions: Mutex<HashMap<PipeKey, Vec<Introduction>>>,
    /// Ends of pipes that each half has not taken note of yet.
    unseen_ends: [AtomicUsize; 2],
    /// The receiving half must hear of the end of every peer that the sending half may have sent to.
    pub(super) expects_replies: AtomicBool,
    /// What pipes that are gone had not sent goes to other peers.
    keeps_unsent: AtomicBool,
    /// What looks after the mail of a half that nobody uses any more.
    caretakers: [Mutex<Option<Caretaker>>; 2],
    /// Peers with a completed handshake (and inproc peers).
    peers: HeadCount,
    /// Of connections: one is taken before a peer is admitted, and free when it is gone.
    places: Places,
    /// Endpoints and connections that I/O threads still work on.
    leases: AtomicUsize,
    /// The socket is being closed.
    closing: AtomicBool,
    /// The context was shut down.
    terminated: AtomicBool,
    /// What the socket is bound and connected to, for who asks about it.
    endpoints: Mutex<Vec<Endpoint>>,
    /// Whether one of them is of datagrams.
    datagrams: AtomicBool,
    /// Notified when the last lease is returned.
    released: Event,
}

#[derive(Debug, Default)]
struct Keys {
    free: Vec<u32>,
    /// By index: how many halves still have the pipe.
    held: Vec<u8>,
    next_generation: u32,
    /// Generations of the keys in use: they come round after 2^32 peers.
    live: HashSet<u32>,
}

/// Which pipes a socket type has towards a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) sends: bool,
    pub(crate) receives: bool,
    /// Takes subscriptions in the form of messages.
    pub(crate) topics: bool,
}

impl Flow {
    pub(crate) fn of(socket_type: SocketType) -> Flow {
        use SocketType::{Dish, Gather, Pub, Pull, Push, Radio, Scatter, Sub, XPub};
        let sends = !matches!(socket_type, Pull | Sub | Gather | Dish);
        let topics = matches!(socket_type, Pub | XPub);
        let receives = !matches!(socket_type, Pub | Push | Scatter | Radio);
        Flow {
            sends,
            receives,
            topics,
        }
    }
}

/// Counters of a socket, always on. Relaxed: they are for people, not for decisions.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// By the sending half, for every message: apart from what others write.
    pub(crate) messages_sent: CachePadded<AtomicU64>,
    /// By the receiving half, likewise.
    pub(crate) messages_received: CachePadded<AtomicU64>,
    /// What was dropped, and the pattern was not meant to.
    pub(crate) drops: Arc<Drops>,
    /// Dropped because nobody wanted it (PUB without a matching subscriber).
    pub(crate) dropped_unmatched: AtomicU64,
    /// Replaced by a newer one, in pipes that conflate.
    pub(crate) dropped_conflated: Arc<AtomicU64>,
    /// Events of subscriptions that were put together with others, nobody having taken them (XPUB).
    pub(crate) events_left_out: AtomicU64,
    /// Subscriptions of inproc peers beyond the limits.
    pub(crate) subscriptions_refused: AtomicU64,
    /// Not sent when the linger time was over.
    pub(crate) unsent: AtomicU64,
    pub(crate) handshakes: AtomicU64,
    pub(crate) handshake_failures: AtomicU64,
    pub(crate) disconnects: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) accept_failures: AtomicU64,
    /// Datagrams that the system or another host refused.
    pub(crate) datagram_errors: AtomicU64,
}

impl Counters {
    #[cfg_attr(sinew_sharing, track_caller)]
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// For a counter that only one thread ever writes: no locked instruction.
    #[cfg_attr(sinew_sharing, track_caller)]
    pub(crate) fn add_owned(counter: &AtomicU64, n: u64) {
        counter.store(
            counter.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }
}

impl Port {
    pub(crate) fn new(
        socket_type: SocketType,
        config: SocketConfig,
        hooks: Arc<dyn Hooks>,
        pool: Arc<IoPool>,
    ) -> Arc<Port> {
        Arc::new(Port {
            id: SocketId(next_id()),
            socket_type,
            conflate: config.conflate,
            settings: Mutex::new(Settings::new(socket_type, config)),
            has_new_marks: AtomicBool::new(false),
            hooks,
            pool,
            inbound: Mail::new(),
            outbound: Mail::new(),
            monitors: Monitors::default(),
            counters: Counters::default(),
            octets: Octets::default(),
            links: Links::default(),
            inproc: InprocPeers::default(),
            keys: Mutex::new(Keys {
                // SERVER and PEER call their peers by it: it tells nothing of how many there were.
                next_generation: random() as u32,
                ..Keys::default()
            }),
            changes: Default::default(),
            introductions: Mutex::default(),
            unseen_ends: Default::default(),
            expects_replies: AtomicBool::new(false),
            keeps_unsent: AtomicBool::new(false),
            caretakers: Default::default(),
            peers: HeadCount::default(),
            places: Places::new(),
            leases: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            terminated: AtomicBool::new(false),
            endpoints: Mutex::default(),
            datagrams: AtomicBool::new(false),
            released: Event::new(),
        })
    }

    /// The options as they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.settings))
    }

    /// From now on these are the options. Both halves are told of new high-water marks, for the pipes there are.
    pub(crate) fn change_settings(&self, settings: &Arc<Settings>) {
        let before = std::mem::replace(&mut *lock(&self.settings), Arc::clone(settings));
        let (before, now) = (&before.config, &settings.config);
        if before.send_hwm == now.send_hwm && before.recv_hwm == now.recv_hwm {
            return;
        }
        // Before the mail: of a pipe that is made meanwhile either this is seen, or the mail comes after it.
        self.has_new_marks.store(true, Ordering::Release);
        let flow = self.flow();
        if flow.sends {
            self.outbound.post(Outbound::Marks);
        }
        if flow.receives {
            self.inbound.post(Inbound::Marks);
        }
    }

    /// Has a pipe that is new, or was there before, take part in what the socket allows now.
    pub(crate) fn mark_writer(&self, writer: &mut Writer) {
        if self.marks_apply() && !writer.is_reader_closed() {
            writer.set_limits(self.out_limits());
        }
    }

    /// As [`Port::mark_writer`].
    pub(crate) fn mark_reader(&self, reader: &mut Reader) {
        if self.marks_apply() && !reader.is_conflating() {
            reader.set_limits(self.in_limits());
        }
    }

    fn marks_apply(&self) -> bool {
        self.has_new_marks.load(Ordering::Acquire) && !self.conflate.is_on()
    }

    /// A stream of what happens from now on.
    pub(crate) fn monitor(&self, options: MonitorOptions) -> Monitor {
        self.monitors.subscribe(options, &self.counters.drops)
    }

    /// Reports an event to whoever listens.
    pub(crate) fn report(&self, event: impl FnOnce() -> SocketEvent) {
        self.report_in(&Span::none(), event);
    }

    /// As [`Port::report`], of something that is in this span of time.
    pub(super) fn report_in(&self, span: &Span, event: impl FnOnce() -> SocketEvent) {
        if trace::is_wanted() {
            let event = event();
            trace::tell(span, self, &event);
            self.monitors.report(|| event);
        } else {
            self.monitors.report(event);
        }
    }

    /// Counts messages that were dropped.
    #[cfg_attr(sinew_sharing, track_caller)]
    pub(crate) fn dropped(&self, cause: DropCause, messages: u64) {
        if messages > 0 && self.counters.drops.add(cause, messages) {
            self.monitors.wake();
        }
    }

    /// When a close that begins now gives up what is unsent; `None` is never.
    pub(crate) fn linger_deadline(&self) -> Option<Instant> {
        clock::now().checked_add(self.settings().config.linger?)
    }

    pub(crate) fn flow(&self) -> Flow {
        Flow::of(self.socket_type)
    }

    /// A key for a new pipe. Each half that is told of it calls [`Port::free_key`] in the end.
    pub(crate) fn new_key(&self) -> PipeKey {
        let flow = self.flow();
        let halves = u8::from(flow.sends) + u8::from(flow.receives);
        let mut keys = lock(&self.keys);
        let index = match keys.free.pop() {
            Some(index) => index,
            None => {
                keys.held.push(0);
                (keys.held.len() - 1) as u32
            }
        };
        keys.held[index as usize] = halves;
        loop {
            keys.next_generation = keys.next_generation.wrapping_add(1);
            let generation = keys.next_generation;
            // Zero is no peer's.
            if generation != 0 && keys.live.insert(generation) {
                return PipeKey { index, generation };
            }
        }
    }

    /// A half has no more use for a key. When none has, its index is used again.
    pub(crate) fn free_key(&self, key: PipeKey) {
        let mut keys = lock(&self.keys);
        let held = &mut keys.held[key.index as usize];
        *held = held.saturating_sub(1);
        if *held == 0 {
            keys.free.push(key.index);
            keys.live.remove(&key.generation);
            drop(keys);
            self.hooks.forgotten(key);
        }
    }

    /// A new key that no half has been told of is not used.
    pub(crate) fn abandon_key(&self, key: PipeKey) {
        lock(&self.keys).held[key.index as usize] = 1;
        self.free_key(key);
    }

    /// The credit of an outgoing (incoming) pipe over a stream transport.
    pub(crate) fn out_limits(&self) -> Limits {
        limits(&self.settings().config.send_hwm)
    }

    pub(crate) fn in_limits(&self) -> Limits {
        limits(&self.settings().config.recv_hwm)
    }

    /// A pipe that this socket writes to, with what every peer is to get first.
    pub(crate) fn out_pipe(self: &Arc<Self>, tuning: Tuning) -> (Writer, Reader) {
        let (mut writer, reader) = self.pipe(self.out_limits(), tuning);
        self.welcome(&mut writer);
        (writer, reader)
    }

    /// A pipe that this socket reads from.
    pub(crate) fn in_pipe(self: &Arc<Self>, tuning: Tuning) -> (Writer, Reader) {
        let (writer, mut reader) = self.pipe(self.in_limits(), tuning);
        if !reader.is_conflating() {
            reader.claim_limits();
        }
        (writer, reader)
    }

    fn pipe(self: &Arc<Self>, limits: Limits, tuning: Tuning) -> (Writer, Reader) {
        match self.terms(limits) {
            Some(terms) => conflating(tuning, terms),
            None => pipe_within(self.budget().cloned(), limits, tuning),
        }
    }

    /// How pipes with these limits conflate, if they do.
    pub(super) fn terms(self: &Arc<Self>, limits: Limits) -> Option<Terms> {
        let prefix = self.conflate.prefix()?;
        // The pipe may be in this port's own mail.
        let port = Arc::downgrade(self);
        Some(Terms {
            keep: Keep { prefix, limits },
            replaced: Arc::clone(&self.counters.dropped_conflated),
            crowded_out: Box::new(move |messages| {
                if let Some(port) = port.upgrade() {
                    port.dropped(DropCause::Full, messages);
                }
            }),
            held: self.budget().map(Held::new),
        })
    }

    /// What limits all pipes of the context together.
    pub(super) fn budget(&self) -> Option<&Arc<Budget>> {
        self.pool.budget()
    }

    /// Writes what every peer is to get first.
    pub(crate) fn welcome(&self, writer: &mut Writer) {
        if let Some(message) = &self.settings().config.welcome {
            writer.append_message(message);
            writer.publish_and_signal();
        }
    }

    /// Tells the receiving half; its pipe's reader then wakes it by itself.
    pub(crate) fn offer_reader(
        self: &Arc<Self>,
        key: PipeKey,
        reader: Reader,
        peer: Option<Arc<PeerProperties>>,
    ) {
        reader.set_signal(Arc::new(Readable(Arc::downgrade(self), key)));
        let reader = Box::new(reader);
        self.inbound.post(Inbound::Up { key, reader, peer });
    }

    /// Tells the sending half.
    pub(crate) fn offer_writer(self: &Arc<Self>, key: PipeKey, writer: Writer) {
        writer.set_signal(Arc::new(Writable(Arc::downgrade(self), key)));
        let writer = Box::new(writer);
        self.outbound.post(Outbound::Up { key, writer });
    }

    /// A pipe has a connection.
    pub(crate) fn linked(&self, key: PipeKey, link: &Arc<Link>) {
        self.change(key, |change| change.link = Some(Arc::downgrade(link)));
    }

    /// A pipe has lost its connection, and stays for the next one. `lost`: what was sent last had been
    /// written, or a part of it, and may be lost; otherwise it still waits in the pipe.
    pub(crate) fn unlinked(&self, key: PipeKey, lost: bool) {
        self.change(key, |change| {
            change.ended = true;
            change.lost |= lost;
            change.link = None;
        });
    }

    /// Who is at the other end of a pipe, from message `first` of it on. To be told before that message
    /// is published.
    pub(crate) fn introduce(&self, key: PipeKey, first: u64, peer: &Arc<PeerProperties>) {
        // What is received of a pipe that conflates is not counted as what comes into it.
        let first = if self.conflate.is_on() { 0 } else { first };
        if self.flow().receives {
            let mut introductions = lock(&self.introductions);
            let known = introductions.entry(key).or_default();
            // One that has brought nothing leaves no trace.
            if known.last().is_some_and(|(before, _)| *before >= first) {
                known.pop();
            }
            known.push((first, Arc::clone(peer)));
            drop(introductions);
            self.change_half(Half::Receiving, key, |_| {});
        }
    }

    /// Who is at the other end of a pipe, as far as that was not taken before.
    pub(crate) fn take_introductions(&self, key: PipeKey) -> Vec<Introduction> {
        take_entry(&mut lock(&self.introductions), key)
    }

    fn change(&self, key: PipeKey, apply: impl Fn(&mut LinkChange)) {
        let flow = self.flow();
        if flow.sends {
            self.change_half(Half::Sending, key, &apply);
        }
        if flow.receives {
            self.change_half(Half::Receiving, key, &apply);
        }
    }

    fn change_half(&self, half: Half, key: PipeKey, apply: impl Fn(&mut LinkChange)) {
        let mut changes = lock(&self.changes[half as usize]);
        let known = changes.contains_key(&key);
        apply(changes.entry(key).or_default());
        drop(changes);
        match half {
            _ if known => {}
            Half::Sending => self.outbound.post(Outbound::Relinked(key)),
            Half::Receiving => self.inbound.post(Inbound::Relinked(key)),
        }
    }

    /// What has become of the connection behind a pipe.
    pub(crate) fn take_change(&self, half: Half, key: PipeKey) -> LinkChange {
        take_entry(&mut lock(&self.changes[half as usize]), key)
    }

    /// Tells the sending half that a pipe is gone; `rest` holds what was not sent. That is lost, and counted at once,
    /// unless it goes to other peers, or is told to who closes the socket.
    pub(crate) fn end_out(&self, key: PipeKey, mut rest: Option<Reader>) {
        let kept = self.keeps_unsent() || self.is_closing();
        if let Some(rest) = rest.as_mut().filter(|_| !kept) {
            self.dropped(DropCause::PeerLost, rest.give_up());
        }
        self.hooks.departed(key);
        let unseen = &self.unseen_ends[Half::Sending as usize];
        let before = unseen.fetch_add(1, Ordering::AcqRel);
        self.outbound.post(Outbound::Down {
            key,
            rest: rest.map(Box::new),
            excused: false,
        });
        self.ended(before);
    }

    /// Tells the receiving half that nothing more comes from a pipe, but for `last`.
    pub(crate) fn end_in(&self, key: PipeKey, last: Option<Message>) {
        let unseen = &self.unseen_ends[Half::Receiving as usize];
        let before = unseen.fetch_add(1, Ordering::AcqRel);
        let last = last.map(Box::new);
        self.inbound.post(Inbound::Down {
            key,
            last,
            excused: false,
        });
        self.ended(before);
    }

    /// Nothing is received any more: pipes that the receiving half has not heard of end, for who writes to them to know
    /// what is lost.
    pub(crate) fn discard_inbound(&self) {
        while self.inbound.pop().is_some() {}
    }

    /// A half has one more end to take note of, beside so many. Now and then those are taken back that need none.
    fn ended(&self, before: usize) {
        if (before + 1) % FORGET_EVERY == 0 {
            self.forget_transients();
        }
    }

    /// A half takes note of an end that was excused while it waited in the mail: as any other from now on.
    pub(crate) fn count_end(&self, half: Half, excused: bool) {
        self.unseen_ends[half as usize].fetch_add(usize::from(excused), Ordering::AcqRel);
    }

    /// A half has taken note of an end (of a [`hold_ends`] socket: and has read what was left).
    ///
    /// [`hold_ends`]: crate::socket
    pub(crate) fn end_seen(&self, half: Half) {
        self.ends_seen(half, 1);
    }

    pub(super) fn ends_seen(&self, half: Half, ends: usize) {
        self.unseen_ends[half as usize].fetch_sub(ends, Ordering::AcqRel);
    }

    /// Whether so many peers have gone, and left what the application has not received, that no more may come: it
    /// must not pile up.
    pub(crate) fn has_unseen_ends(&self) -> bool {
        let mut unseen = self.unseen_ends.iter();
        unseen.any(|ends| ends.load(Ordering::Acquire) >= UNSEEN_ENDS)
    }

    /// For a half that gives a request up when its peer is lost.
    pub(crate) fn expect_replies(&self) {
        self.expects_replies.store(true, Ordering::Relaxed);
    }

    /// For a half that gives what pipes that are gone had not sent to other peers. To be called before there are any.
    pub(crate) fn keep_unsent(&self) {
        self.keeps_unsent.store(true, Ordering::Relaxed);
    }

    pub(crate) fn keeps_unsent(&self) -> bool {
        self.keeps_unsent.load(Ordering::Relaxed)
    }

    /// Nobody uses a half any more. Whoever uses the other one has this look after its mail, until
    /// [`Port::dismiss_caretakers`]. It may own the port.
    pub(crate) fn abandon_half(&self, half: Half, caretaker: Caretaker) {
        *lock(&self.caretakers[half as usize]) = Some(caretaker);
    }

    pub(crate) fn dismiss_caretakers(&self) {
        for caretaker in &self.caretakers {
            let caretaker = lock(caretaker).take();
            drop(caretaker);
        }
    }

    /// Looks after the mail of a half, if nobody uses that any more.
    pub(crate) fn look_after(&self, half: Half) {
        if let Some(caretaker) = &mut *lock(&self.caretakers[half as usize]) {
            caretaker();
        }
    }

    /// A place for one more connection, by what the socket allows now.
    pub(super) fn claim_place(&self) -> Result<Place, DisconnectReason> {
        let limit = self.settings().config.max_connections;
        // There cannot be more: the indices of their keys have 32 bits.
        let limit = limit.unwrap_or(u32::MAX);
        let place = self.places.claim(limit as usize);
        place.ok_or(DisconnectReason::TooManyConnections { limit })
    }

    /// Peers that messages can flow to or from now.
    pub(crate) fn peer_count(&self) -> usize {
        self.peers.get()
    }

    /// Ready when there are so many. For who has neither half of the socket.
    pub(crate) fn peers_reach(&self, count: usize) -> Gathering<'_> {
        self.peers.reaches(count)
    }

    pub(crate) fn peer_up(&self) {
        self.peers.add();
        self.outbound.event().notify();
    }

    pub(crate) fn peer_down(&self) {
        self.peers.subtract();
        self.outbound.event().notify();
    }

    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.leases.fetch_add(1, Ordering::AcqRel);
        Lease(Arc::clone(self))
    }

    pub(crate) fn lease_count(&self) -> usize {
        self.leases.load(Ordering::Acquire)
    }

    /// Sleeps until a lease count of zero may have been reached.
    pub(crate) fn released(&self) -> &Event {
        &self.released
    }

    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
        // Those who wait find it so.
        self.peers.end();
        self.pool.note_end();
    }

    /// Nothing waits for this socket any more, but for what it has to send when it is closed.
    pub(crate) fn terminate(&self) {
        // Before the events: who is woken, or about to sleep, finds it.
        self.terminated.store(true, Ordering::Release);
        self.inbound.event().notify();
        self.outbound.event().notify();
        self.peers.end();
        self.monitors.end();
    }

    /// The events until now were the last ones.
    pub(crate) fn end_monitors(&self) {
        self.monitors.end();
    }

    /// Whether the context was shut down. To be asked by who is about to wait, or has been woken.
    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::Acquire)
    }

    pub(crate) fn set_endpoints(&self, endpoints: Vec<Endpoint>) {
        let is_udp = |endpoint: &Endpoint| endpoint.transport() == Transport::Udp;
        let datagrams = endpoints.iter().any(is_udp);
        *lock(&self.endpoints) = endpoints;
        self.datagrams.store(datagrams, Ordering::Release);
    }

    /// Whether the socket, or that which this is a part of, is bound or connected to an endpoint of datagrams.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.datagrams.load(Ordering::Acquire)
    }

    /// What there is to say of this socket, unless it is closed and has sent everything.
    pub(super) fn if_open(&self) -> Option<OpenSocket> {
        let is_lingering = self.is_closing();
        if is_lingering && self.lease_count() == 0 {
            return None;
        }
        Some(OpenSocket {
            id: self.id,
            socket_type: self.socket_type,
            endpoints: lock(&self.endpoints).clone(),
            is_lingering,
        })
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.pool.strike(self.id);
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("socket_type", &self.socket_type)
            .finish_non_exhaustive()
    }
}

fn limits(mark: &HighWaterMark) -> Limits {
    Limits {
        messages: mark.message_credit(),
        bytes: mark.byte_credit(),
    }
}

/// Takes what waits under a key. A table that many have come through at once keeps no memory for them when it is empty:
/// with ten thousand connections that is memory of every one of them.
fn take_entry<V: Default>(waiting: &mut HashMap<PipeKey, V>, key: PipeKey) -> V {
    let taken = waiting.remove(&key).unwrap_or_default();
    if waiting.is_empty() && waiting.capacity() > KEPT {
        *waiting = HashMap::new();
    }
    taken
}

/// Memory for so many is kept where nobody waits.
const KEPT: usize = 64;

/// How many peers may be gone without the application having taken note. Each may have left what it
/// had sent, and costs about 1 KiB apart from that.
pub(crate) const UNSEEN_ENDS: usize = 1024;

/// After so many ends those that say nothing are taken back. Well below the limit, so that no peer comes while the
/// count is at the limit for no reason.
const FORGET_EVERY: usize = UNSEEN_ENDS / 4;

/// Held by everything an I/O thread does for a socket; a closing socket waits for all of them.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Port>);

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.leases.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.released.notify();
            self.0.pool.note_end();
        }
    }
}

/// Weak, as the pipe's end may be in the port's own mailbox.
struct Readable(Weak<Port>, PipeKey);

impl Signal for Readable {
    fn signal(&self) {
        if let Some(port) = self.0.upgrade() {
            port.inbound.post(Inbound::Readable(self.1));
        }
    }
}

/// As [`Readable`].
struct Writable(Weak<Port>, PipeKey);

impl Signal for Writable {
    fn signal(&self) {
        if let Some(port) = self.0.upgrade() {
            port.outbound.post(Outbound::Writable(self.1));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_many_have_come_through_keeps_no_memory_for_them() {
        let key = |index| PipeKey {
            index,
            generation: 1,
        };
        let mut waiting = HashMap::new();
        for index in 0..1000 {
            waiting.insert(key(index), index);
        }
        for index in 0..1000 {
            assert!(waiting.capacity() >= 1000, "not before it is empty");
            assert_eq!(take_entry(&mut waiting, key(index)), index);
        }
        assert!(waiting.capacity() <= KEPT);
        assert_eq!(take_entry(&mut waiting, key(0)), 0, "there is none");
        waiting.insert(key(0), 1);
        assert_eq!(take_entry(&mut waiting, key(0)), 1);
        assert!(waiting.capacity() > 0, "for the few that come now and then");
    }
}
