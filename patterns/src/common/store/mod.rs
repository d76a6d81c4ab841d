//! Keys that outlive a server: which requests were begun, by whom, and how they ended.
//!
//! A [`ReplyCache`](super::ReplyCache) is gone with its server. A [`DedupStore`] is not, and several servers may
//! share one: a request with a key is carried out at most once by all of them together, through whatever kills
//! them. What it cannot do is to say what a server did that died at work: such a request is *in doubt*, and is
//! not carried out again.
//!
//! Stores may wait for disks, so engines do not call them: they ask for [`StoreOp`]s, which a shell performs.

mod memory;
mod op;
pub(crate) mod record;

pub use memory::MemoryStore;
pub use op::{StoreOp, Stored};

pub(crate) use op::{Done, Want};

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sinew::Message;
use thiserror::Error;

use super::{Fault, MsgId, Status};

/// What is known of the requests with a key, by one or several servers together.
///
/// [`MemoryStore`] is one for the servers of a process, [`DirectoryStore`](crate::DirectoryStore) one for those
/// of a machine.
pub trait DedupStore: Send + Sync + fmt::Debug {
    /// A server begins its life. It ends when what is returned is dropped, and at the latest with the process,
    /// in whatever way that ends.
    ///
    /// # Errors
    /// If the store cannot be used.
    fn join(&self) -> Result<Box<dyn DedupLife>, StoreError>;
}

/// One life of a server at a [`DedupStore`].
///
/// Methods may block. Each is done, as far as the store promises, when it returns.
pub trait DedupLife: Send + fmt::Debug {
    /// Writes down that this life begins to carry out a request, if nobody has begun before. Of several that
    /// begin with one key at once, one is told [`Begun::New`]. `fingerprint` tells requests of one name apart.
    ///
    /// # Errors
    /// If that cannot be found out or written down. The request may not be carried out then.
    fn begin(&mut self, key: MsgId, fingerprint: u64, now: Instant) -> Result<Begun, StoreError>;

    /// Writes down how a request ended that this life had begun.
    ///
    /// # Errors
    /// If that cannot be written down. The request remains begun.
    fn end(
        &mut self,
        key: MsgId,
        fingerprint: u64,
        outcome: &Outcome,
        now: Instant,
    ) -> Result<(), StoreError>;

    /// A request that this life had begun will not be carried out: it is forgotten.
    ///
    /// # Errors
    /// If that cannot be written down. The request remains begun.
    fn abandon(&mut self, key: MsgId) -> Result<(), StoreError>;
}

/// How a request ended: its reply, or why there is none.
pub type Outcome = Result<Message, Fault>;

/// What a store says to one who wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begun {
    /// Nobody has begun it before: it is written down, and may be carried out.
    New,
    /// It was carried out, and ended like this.
    Done(Outcome),
    /// It was begun by a life that goes on, perhaps this one.
    Busy,
    /// It was begun by a life that has ended. Nobody knows how far that came.
    InDoubt,
    /// Another request has this name.
    Conflict,
    /// The store has no room for another key.
    Full,
}

/// The bounds of a [`DedupStore`].
///
/// Nothing is forgotten before its age, for whatever is forgotten may be carried out again: a store that is full
/// takes no new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Keys at most; 0 counts as 1. Default: 100 000.
    pub keys: usize,
    /// Octets of all that is kept at which no new key is taken. Default: 256 MiB.
    pub bytes: usize,
    /// Octets of one reply that is kept at most. Of a larger one it is kept that there was one: who asks again
    /// is told that, with the status [`Conflict`](Status::Conflict). Default: 64 KiB.
    pub reply: usize,
    /// How long a key is known from the end of its request on, or from its beginning if it was begun by a life
    /// that has ended. Default: 1 h, which should exceed the longest time over which a caller repeats a request.
    pub age: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits {
            keys: 100_000,
            bytes: 256 << 20,
            reply: 64 << 10,
            age: Duration::from_secs(3600),
        }
    }
}

impl StoreLimits {
    /// Whether there is room for another key beside so many, of so many octets.
    pub(crate) fn admit(&self, keys: usize, bytes: usize) -> bool {
        keys < self.keys.max(1) && bytes < self.bytes
    }

    /// What is kept of an outcome.
    pub(crate) fn kept(&self, outcome: &Outcome) -> Outcome {
        match octets(outcome) > self.reply {
            true => Err(Fault {
                status: Status::Conflict,
                reason: "it was carried out, but the reply was too large to be kept".into(),
                retry_after: None,
            }),
            false => outcome.clone(),
        }
    }
}

/// The size of an outcome, with what its frames cost.
pub(crate) fn octets(outcome: &Outcome) -> usize {
    match outcome {
        Ok(reply) => reply.byte_len() + 4 * reply.frames().len(),
        Err(fault) => fault.reason.len(),
    }
}

/// Why a store could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system said no.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Other processes remove or write what is needed, again and again.
    #[error("another process is at work at {path}, and does not come to an end")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A store of somebody else's failed.
    #[error("the store failed: {0}")]
    Other(#[source] Box<dyn StdError + Send + Sync>),
}

/// A number by which octets are told from others, by mistake and not by malice: 64 bits of FNV-1a (Fowler, Noll
/// and Vo). The same on every machine and in every version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn feed(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(crate) fn sum(self) -> u64 {
        self.0
    }
}

/// The fingerprint of a request: of its frames, each with its length.
pub(crate) fn fingerprint(request: &Message) -> u64 {
    let mut sum = Fnv::new();
    for frame in request.frames() {
        sum.feed(&(frame.len() as u64).to_be_bytes());
        sum.feed(frame);
    }
    sum.sum()
}
