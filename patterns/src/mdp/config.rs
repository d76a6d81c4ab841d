//! What a broker is told: bounds, policies of services, who may do what; and what it counts.

use std::time::{Duration, Instant};

use crate::common::{CacheConfig, Heartbeat, Limits, OnFull, PeerId};

/// Options of a broker.
///
/// ```
/// use std::time::Duration;
/// use sinew_patterns::mdp::{BrokerConfig, Lease, ServicePolicy};
///
/// let config = BrokerConfig {
///     policy: ServicePolicy { lease: Lease::Fixed(Duration::from_secs(60)), ..ServicePolicy::default() },
///     ..BrokerConfig::default()
/// };
/// assert_eq!(config.limits.services, 1024);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Heartbeats to and from workers.
    pub heartbeat: Heartbeat,
    /// What applies to services that have no policy of their own ([`BrokerEngine::set_policy`]).
    ///
    /// [`BrokerEngine::set_policy`]: super::BrokerEngine::set_policy
    pub policy: ServicePolicy,
    /// The bounds of the whole.
    pub limits: BrokerLimits,
    /// Replies kept for requests with a key. `None`: such requests are declined with 500. Default: `None`.
    pub cache: Option<CacheConfig>,
    /// How long the broker stays when it is told to drain, all in all: what workers have is finished, and everybody is told.
    /// Of that the last quarter, a second at most, is kept for telling, and whatever workers leave of the rest is for it as well.
    /// What workers have not finished before is dead
    /// ([`DeadReason::Ended`]): its client is told so with 500, since it may have been done, and its worker is disconnected.
    /// With 0 nothing is waited for, and who hears of it is left to chance. At most 30 days. Default: 30 s.
    pub linger: Duration,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig {
            heartbeat: Heartbeat::default(),
            policy: ServicePolicy::default(),
            limits: BrokerLimits::default(),
            cache: None,
            linger: Duration::from_secs(30),
        }
    }
}

/// How much a broker takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Services that have workers or waiting requests. If there are so many, those that only have requests give way to those of
    /// workers that register, and the requests are declined with 429. Default: 1024.
    pub services: usize,
    /// Workers; of one that takes several requests at once each slot counts. Default: 10 000.
    pub workers: usize,
    /// Slots of one worker: one that says that it takes more requests at once over its connection is given so many at most,
    /// so that it does not keep the others out. 0 counts as 1. Default: 256.
    pub slots: usize,
    /// Clients that wait for something. Default: 10 000.
    pub clients: usize,
    /// Octets of all waiting and running requests together; each frame counts
    /// [`FRAME_COST`](crate::common::FRAME_COST) more than it has. Default: 256 MiB.
    pub bytes: usize,
    /// Frames of a request or reply. Default: 64.
    pub frames: usize,
    /// Octets of the name of a service. Default: 255.
    pub name: usize,
    /// Octets of parts of replies that are kept for a client whose connection has no room for them, at most 1000 messages.
    /// Default: 1 MiB. Beyond that a request whose reply is in parts fails ([`DeadReason::Unread`]). Of what
    /// nothing holds back, whole replies and parts of workers without `credit`, up to 64 MiB are kept for one client, and up
    /// to [`bytes`](Self::bytes) for all; beyond that replies are lost. A connection has room for 256 KiB or 1000 messages, and for what the system takes. Workers that know `credit` of the extension header, as those of this crate do, are held
    /// back before that: of each request that they were given while less was kept, up to 256 KiB and one part are kept
    /// besides. They send no part of what they are given later until less is kept again.
    pub unread: usize,
    /// How long a client may take nothing of that. Then parts of replies are dropped, and their requests fail. A worker that
    /// takes nothing of the requests it is given for so long is given up. Default: 30 s.
    pub stall: Duration,
}

impl Default for BrokerLimits {
    fn default() -> Self {
        BrokerLimits {
            services: 1024,
            workers: 10_000,
            slots: 256,
            clients: 10_000,
            bytes: 256 << 20,
            frames: 64,
            name: 255,
            unread: 1 << 20,
            stall: Duration::from_secs(30),
        }
    }
}

/// How requests to one service are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePolicy {
    /// The queue of requests that wait for a worker. Clients have equal shares of the workers.
    /// [`OnFull::Wait`] declines as `Reject` does: a broker that did not read would not hear
    /// of the replies of its workers, which make the room that is waited for.
    pub queue: Limits,
    /// How long a request waits at most, even if its client sets no deadline. Default: 60 s.
    pub ttl: Duration,
    /// How long a request waits while the service has no worker at all. Default: 10 s.
    pub unregistered_ttl: Duration,
    /// How long a worker may take.
    pub lease: Lease,
    /// To how many workers a request is given, one after the other, before it is dead. 0 counts as 1.
    /// Default: 3.
    pub max_deliveries: u32,
    /// What becomes of partial replies to clients that do not know them.
    pub partials: Partials,
    /// What clients that are declined for want of room are told to wait. Default: 100 ms.
    pub retry_after: Duration,
    /// Which of several workers that are free gets a request. Default: the one that has been free longest.
    pub pick: Pick,
    /// Whether requests of one `key` ([`Headers::key`](crate::common::Headers::key)) are given out one after the other, in
    /// the order in which they came, whatever their priority and whoever sent them: the next one goes when the one before
    /// is answered, or is over in another way. Requests without a key, and of clients that do not speak the extension
    /// header, are not concerned. Default: no.
    ///
    /// What waits for another of its key is in the [`queue`](Self::queue) and counts for its bounds. If a worker is lost,
    /// its request goes to another before those behind it; the lost one may still be at it, as may be one whose lease has
    /// ended. A client that sends several at once and repeats those that were declined or lost may have them begun in
    /// another order.
    pub ordered_by_key: bool,
}

/// Which of several free workers gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Pick {
    /// The one that has been free longest, so that all have the same to do. One that takes several requests at once counts
    /// as free since it last had room for the first time, or was given its last request.
    #[default]
    LongestIdle,
    /// The one that has become free last: few work, with what they need still at hand, and the others are idle.
    LastIdle,
    /// The one that has the fewest requests, of those that take several at once; of equal ones, the one that has been free
    /// longest. Looks at all that are free.
    LeastLoaded,
    /// By the `key` of the request: as a rule always the same one, which may then keep what it needs for it; another one
    /// while that is busy. Those without a key go as with `LongestIdle`. Looks at all that are free.
    ByKey,
}

impl ServicePolicy {
    /// The bounds of the queue, where nobody waits in front of it.
    pub(super) fn limits(&self) -> Limits {
        let on_full = match self.queue.on_full {
            OnFull::Wait => OnFull::Reject,
            on_full => on_full,
        };
        Limits {
            on_full,
            ..self.queue
        }
    }
}

impl Default for ServicePolicy {
    fn default() -> Self {
        ServicePolicy {
            queue: Limits::default(),
            ttl: Duration::from_secs(60),
            unregistered_ttl: Duration::from_secs(10),
            lease: Lease::WhileHeartbeating(Heartbeat::default().patience()),
            max_deliveries: 3,
            partials: Partials::Concat(1 << 20),
            retry_after: Duration::from_millis(100),
            pick: Pick::LongestIdle,
            ordered_by_key: false,
        }
    }
}

/// How long a worker keeps a request before another gets it. In any case it loses it when its connection
/// is lost. A worker that speaks the extension header may ask for longer
/// ([`Request::extend`](crate::Request::extend)), and is given it, for it could keep its lease by heartbeats as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lease {
    /// As long as it is connected.
    None,
    /// So long, unless it asks for longer.
    Fixed(Duration),
    /// So long after its last heartbeat. This counts for workers that send heartbeats while they work:
    /// those that speak the extension header. Others are silent while they work, and have no lease.
    WhileHeartbeating(Duration),
}

/// What becomes of partial replies to a client that speaks 0.1 without the extension header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Partials {
    /// Their frames are collected, up to so many octets, and sent with the last one. With more than that
    /// the request fails.
    Concat(usize),
    /// The request fails.
    Refuse,
}

/// What somebody wants to do with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// Ask it.
    Call,
    /// Offer it.
    Offer,
}

/// Decides who may do what. Any closure `Fn(&PeerId, Verb, &[u8]) -> bool` will do; the last argument is
/// the name of the service.
pub trait Authorizer: Send {
    /// Whether this peer may.
    fn allows(&self, who: &PeerId, verb: Verb, service: &[u8]) -> bool;
}

impl<F: Fn(&PeerId, Verb, &[u8]) -> bool + Send> Authorizer for F {
    fn allows(&self, who: &PeerId, verb: Verb, service: &[u8]) -> bool {
        self(who, verb, service)
    }
}

/// Why a request is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// So many workers were lost with it as the policy allows.
    Deliveries,
    /// Its worker was lost, and it may be sent only once, or parts of the reply were sent.
    NotRepeatable,
    /// Its reply is more than the policy allows, or a part of it more than can be sent.
    Reply,
    /// It is larger than the broker's socket sends, so that no worker can be given it.
    Request,
    /// Its client does not read the parts of the reply: no more of them are kept ([`BrokerLimits::unread`]), or no longer
    /// ([`BrokerLimits::stall`]).
    Unread,
    /// The broker was told to drain, and its worker did not finish in time ([`BrokerConfig::linger`]).
    Ended,
}

/// What a broker has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BrokerCounters {
    /// Requests that came, of whatever fate, without MMI.
    pub requests: u64,
    /// Requests given to workers, repetitions included.
    pub dispatched: u64,
    /// Last replies sent to clients.
    pub replies: u64,
    /// Requests given to another worker.
    pub redelivered: u64,
    /// Requests that are dead.
    pub dead: u64,
    /// Requests that waited too long.
    pub expired: u64,
    /// Requests declined because they were not to be begun yet.
    pub early: u64,
    /// Requests declined for want of room.
    pub rejected: u64,
    /// Requests known already.
    pub dups: u64,
    /// Requests given up by their client, or whose client went away.
    pub cancelled: u64,
    /// Workers told that nobody waits for a request they have: its client has given it up or is gone, or their lease has
    /// ended.
    pub recalled: u64,
    /// Requests and registrations that were not allowed.
    pub denied: u64,
    /// Replies that nobody waits for any more.
    pub stale_replies: u64,
    /// Declined without a word, for the client does not speak EXT.
    pub silent: u64,
    /// Messages that could not be delivered.
    pub undeliverable: u64,
    /// Messages that are not of the protocol.
    pub malformed: u64,
    /// Workers sent away because somebody wanted it: see [`BrokerHandle::disconnect`](super::BrokerHandle::disconnect).
    pub disconnected: u64,
    /// Workers disconnected for what they did.
    pub banned: u64,
    /// Leases that ended.
    pub leases_ended: u64,
    /// Workers given up for their silence.
    pub workers_expired: u64,
}

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServiceStats {
    /// Requests that wait.
    pub ready: usize,
    /// Octets of them, as [`Limits`] counts them.
    pub ready_bytes: usize,
    /// Of those that wait, how many wait for another one of their key: see [`ServicePolicy::ordered_by_key`].
    pub held: usize,
    /// When the one that has waited longest came; one that a lost worker had counts from when it came first.
    pub oldest: Option<Instant>,
    /// Requests that workers have.
    pub in_flight: usize,
    /// Workers.
    pub workers: usize,
    /// Requests answered.
    pub replies: u64,
}

/// A worker, and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its name: its routing id, or what the broker calls one that has none.
    pub worker: PeerId,
    /// Requests that it takes at once.
    pub slots: usize,
    /// Requests that it has, without those whose lease has ended.
    pub in_flight: usize,
    /// Whether it speaks the extension header.
    pub ext: bool,
}
