//! The wire-segment pipe: a lock-free single-producer single-consumer queue of ZMTP octets.
//!
//! ```text
//!  Writer (one thread)                                                Reader (one thread)
//!     │ append frames, publish                                           │ decode, or writev
//!     ▼                                                                  ▼
//!  ┌ node ─────────────┐  next  ┌ node ──────────┐  next  ┌ node ─────────────┐
//!  │ view of block A   │ ◀───── │ body (Bytes)   │ ◀───── │ view of block A/B │ ◀─ first unread
//!  │ [start..open      │ ─────▶ │ by reference   │ ─────▶ │ [start..end)      │
//!  └───────────────────┘        └────────────────┘        └───────────────────┘
//!
//!  own cache lines:  writer: published octets, published messages
//!                    reader: acknowledged octets, acknowledged messages
//!                    both:   reader asleep, writer waits, dense, closed, limits, whom to wake
//!                    and what blocks go back through
//! ```
//!
//! # The algorithm
//! The octets in the pipe form one stream. The writer appends frames to a *block*, or links a large
//! payload as a *body* of its own; both are nodes of a list. Nothing that was appended is visible
//! until the stream position after it is stored to `published`: one `Release` store makes a whole
//! message, of any number of frames and nodes, visible at once. The reader never looks behind the
//! position that it loaded (`Acquire`), and follows a `next` pointer only when published octets lie
//! behind it. So an unfinished message can be rolled back by resetting the writer's own state.
//!
//! A header never straddles two nodes, and a body either follows its header in the same node or is
//! the whole next node: the reader decodes without reassembly.
//!
//! # Sleeping
//! A reader about to sleep sets `asleep`, passes a barrier and looks once more. A writer stores
//! `published`, passes a barrier and looks at `asleep`. In *dense* mode the writer's barrier is only
//! a compiler fence and the reader pays with [`barrier::heavy`]; in *sparse* mode both use a `SeqCst`
//! fence. The mode is the writer's; see [`Writer::publish`] for why changing it is safe.
//!
//! # Credit
//! The writer may publish while fewer than `Limits::messages` messages and `Limits::bytes` octets
//! are unacknowledged. It counts by itself and looks at the reader's counts only when its own view
//! says that there is no credit left; the reader acknowledges in strides. The limits are those of both ends together,
//! and each may change its own at any time. What is in the pipe by then stays there.
//!
//! # Budget
//! Pipes may share a budget of octets: see [`budget`].
//!
//! # Conflation
//! A pipe that keeps only the newest message, or that of each topic, is made of two of these: see [`mod@conflate`].
//!
//! This module, `sync::barrier`, `sync::affinity` and `transport::credentials` are the only places with
//! `unsafe` code. That of this one is checked by loom models (`loom_tests`), a naive model under
//! proptest (`model_tests`) and
//! valgrind (CONTRIBUTING).

mod block;
mod budget;
mod conflate;
mod counts;
mod distance;
mod forward;
mod kept;
mod lend;
mod losses;
mod memory;
mod reader;
mod rotation;
mod spare;
#[cfg(not(loom))]
mod sweep;
mod writer;

use std::fmt;

use crate::sync::atomic::{fence, AtomicBool, AtomicU64, Ordering};
use crate::sync::{barrier, lock, Arc, CachePadded, Mutex, OwnLine, UnsafeCell};

use block::{Block, Chunk, Node};
use budget::Lease;
use losses::Tally;
use spare::SpareList;

pub(crate) use budget::{Budget, Held};
pub(crate) use conflate::{conflate, conflating, Terms};
pub(crate) use counts::Counts;
pub(crate) use forward::{Octets, Reach, Run};
pub(crate) use kept::Keep;
pub(crate) use losses::Losses;
pub(crate) use memory::Memory;
pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

/// How much may be published and not yet acknowledged, as far as one end has a say. `u64::MAX` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Whole messages. At least 1.
    pub(crate) messages: u64,
    /// Octets on the wire. A message is accepted while fewer than this many are unacknowledged, so
    /// that a single message larger than the limit still passes.
    pub(crate) bytes: u64,
}

impl Limits {
    /// Of an end that allows nothing on top of what the other does.
    const NONE: Limits = Limits {
        messages: 0,
        bytes: 0,
    };
}

/// Sizes that only tests change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Capacity of the first block.
    pub(crate) first_block: usize,
    /// Blocks double up to this while the reader cannot keep up.
    pub(crate) max_block: usize,
    /// Octets that a stream goes through before it uses memory again; see `rotation`.
    pub(crate) rotation: usize,
    /// Shared payloads of at least this many octets are linked, not copied.
    pub(crate) by_reference: usize,
    /// Borrowed payloads of at least this many octets are made shared ones and linked.
    pub(crate) share_borrowed: usize,
    /// Whether the pipe may turn dense. Not worth it for a writer that publishes whole batches: a
    /// fence for each costs it nothing, and sparing it would cost the reader a heavy barrier.
    pub(crate) may_be_dense: bool,
}

impl Tuning {
    /// For a pipe that ends in a kernel socket: an extra entry in a vectored write and two list
    /// nodes cost about as much as copying this much.
    pub(crate) const WIRE: Tuning = Tuning {
        first_block: 1024,
        max_block: 64 * 1024,
        rotation: 0,
        by_reference: 8 * 1024,
        share_borrowed: usize::MAX,
        may_be_dense: true,
    };

    /// For a pipe that an in-pump writes to.
    pub(crate) const RECEIVED: Tuning = Tuning {
        may_be_dense: false,
        ..Tuning::WIRE
    };

    /// For a pipe between two sockets of this process. What is copied into a block the receiver takes
    /// out by reference, so that there is one copy and no memory that one thread allocates and another frees.
    pub(crate) const INPROC: Tuning = Tuning {
        first_block: 1024,
        max_block: 64 * 1024,
        rotation: rotation::FAR,
        by_reference: 4 * 1024,
        share_borrowed: 32 * 1024,
        may_be_dense: true,
    };
}

/// Tells the thread at one end of a pipe that the other end has something for it.
pub(crate) trait Signal: Send + Sync {
    fn signal(&self);
}

/// A new pipe, with no memory beyond its own counters. The limits are those of the writing end; the reading end
/// allows nothing on top, until it says so.
pub(crate) fn pipe(limits: Limits, tuning: Tuning) -> (Writer, Reader) {
    pipe_within(None, limits, tuning)
}

/// As [`pipe`], with what is in it counted in a budget.
pub(crate) fn pipe_within(
    budget: Option<Arc<Budget>>,
    limits: Limits,
    tuning: Tuning,
) -> (Writer, Reader) {
    let sentinel = Node::sentinel();
    let shared = Arc::new(Shared {
        writer: CachePadded(WriterLine {
            published_bytes: AtomicU64::new(0),
            published_messages: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }),
        reader: CachePadded(ReaderLine {
            acked_bytes: AtomicU64::new(0),
            acked_messages: AtomicU64::new(0),
            rest: UnsafeCell::new(Rest {
                node: sentinel,
                block: std::ptr::null_mut(),
            }),
            tally: Tally::new(),
            spare: OwnLine(Spares {
                blocks: SpareList::new(),
                chunks: SpareList::new(),
            }),
        }),
        sleep: CachePadded(SleepLine {
            reader_asleep: AtomicBool::new(false),
            writer_waits: AtomicBool::new(false),
            dense: AtomicBool::new(false),
            writer_closed: AtomicBool::new(false),
            reader_closed: AtomicBool::new(false),
            limits: SharedLimits {
                writers: Mark::new(limits),
                readers: Mark::new(Limits::NONE),
            },
            wake_reader: Mutex::new(None),
            wake_writer: Mutex::new(None),
            lease: Lease::new(budget),
        }),
    });
    (
        Writer::new(Arc::clone(&shared), sentinel, tuning),
        Reader::new(shared, sentinel, limits),
    )
}

/// What both ends share.
struct Shared {
    writer: CachePadded<WriterLine>,
    reader: CachePadded<ReaderLine>,
    sleep: CachePadded<SleepLine>,
}

/// Written by the writer only.
struct WriterLine {
    /// Stream position behind the last published message. `Release`d after everything it covers.
    published_bytes: AtomicU64,
    /// Whole messages published. Stored after `published_bytes`: who sees *m* messages here
    /// (`Acquire`) also sees at least their octets there.
    published_messages: AtomicU64,
    /// Messages that were dropped as the pipe was full.
    refused: AtomicU64,
}

/// Written by the reader only, but for `spare`.
#[repr(C)]
struct ReaderLine {
    acked_bytes: AtomicU64,
    acked_messages: AtomicU64,
    /// Where the list begins for whoever drops it: the reader stores it when it goes.
    rest: UnsafeCell<Rest>,
    /// What was dropped at this end.
    tally: Tally,
    /// Written by both whenever a block has been read: the second line of the pair, which would be empty.
    spare: OwnLine<Spares>,
}

/// On their way back from the reader to the writer.
struct Spares {
    blocks: SpareList<Block>,
    chunks: SpareList<Chunk>,
}

/// Rarely written by either. In this order, so that the lock that is taken to wake the reader is on the line
/// that who wakes it has already.
#[repr(C)]
struct SleepLine {
    /// Set by the reader before it sleeps; cleared by whoever undertakes to wake it, or by itself.
    reader_asleep: AtomicBool,
    /// Set by the writer before it waits for credit; cleared by the reader when it signals.
    writer_waits: AtomicBool,
    /// The writer publishes without a fence. Written by the writer only.
    dense: AtomicBool,
    writer_closed: AtomicBool,
    reader_closed: AtomicBool,
    limits: SharedLimits,
    wake_reader: Mutex<Option<Arc<dyn Signal>>>,
    wake_writer: Mutex<Option<Arc<dyn Signal>>>,
    /// Changed when credit is counted anew, and by a reader that has read everything.
    lease: Lease,
}

/// What both ends allow, together. Read when credit is counted anew.
struct SharedLimits {
    writers: Mark,
    readers: Mark,
}

impl SharedLimits {
    fn get(&self) -> Limits {
        let (writers, readers) = (self.writers.get(), self.readers.get());
        Limits {
            messages: writers.messages.saturating_add(readers.messages),
            bytes: writers.bytes.saturating_add(readers.bytes),
        }
    }
}

/// What one end allows. Written by that end only.
struct Mark {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Mark {
    fn new(limits: Limits) -> Self {
        Mark {
            messages: AtomicU64::new(limits.messages),
            bytes: AtomicU64::new(limits.bytes),
        }
    }

    fn get(&self) -> Limits {
        Limits {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn set(&self, limits: Limits) {
        self.messages.store(limits.messages, Ordering::Relaxed);
        self.bytes.store(limits.bytes, Ordering::Relaxed);
    }
}

struct Rest {
    node: *mut Node,
    block: *mut Block,
}

// SAFETY: the raw pointers in `rest` own their targets; `rest` is accessed by the reader
// end only (once, when it is dropped) and by the last owner in `Drop`.
#[allow(unsafe_code, reason = "see SAFETY")]
unsafe impl Send for Shared {}
// SAFETY: as above; everything else is atomics, locks or immutable.
#[allow(unsafe_code, reason = "see SAFETY")]
unsafe impl Sync for Shared {}

impl Shared {
    fn signal(slot: &Mutex<Option<Arc<dyn Signal>>>) {
        let signal = lock(slot).clone();
        if let Some(signal) = signal {
            signal.signal();
        }
    }

    /// Claims the duty to wake the reader; `false` if it is awake or somebody else has claimed it.
    fn claim_reader(&self) -> bool {
        self.sleep.reader_asleep.swap(false, Ordering::AcqRel)
    }

    /// Frees the blocks that wait to be used again.
    fn free_spare(&self) {
        self.reader.spare.blocks.clear();
        self.reader.spare.chunks.clear();
    }

    fn close_writer(&self) {
        self.sleep.writer_closed.store(true, Ordering::Release);
        // Rare, so the symmetric barrier: it is right in either mode (a heavy barrier on the other
        // side is also a fence there).
        fence(Ordering::SeqCst);
        if self.claim_reader() {
            Shared::signal(&self.sleep.wake_reader);
        }
    }

    fn close_reader(&self) {
        self.sleep.reader_closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.sleep.writer_waits.swap(false, Ordering::AcqRel) {
            Shared::signal(&self.sleep.wake_writer);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let nothing = Rest {
            node: std::ptr::null_mut(),
            block: std::ptr::null_mut(),
        };
        // SAFETY: `&mut self`: both ends are gone, nobody else has access to the cell.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let rest = self
            .reader
            .rest
            .with_mut(|rest| unsafe { std::ptr::replace(rest, nothing) });
        // SAFETY: the list from `rest.node` on and the blocks it refers to belong to the pipe alone,
        // and `rest.block` is the block the reader was in.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            block::free_list(rest.node, rest.block);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field(
                "published",
                &self.writer.published_messages.load(Ordering::Relaxed),
            )
            .field("acked", &self.reader.acked_messages.load(Ordering::Relaxed))
            .field("limits", &self.sleep.limits.get())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, not(loom)))]
mod model_tests;

#[cfg(all(test, loom))]
mod loom_tests;
