//! Blocks and nodes: the memory of a pipe, and the list that puts it in order.
//!
//! Everything here is reached through raw pointers, because writer and reader use disjoint parts of
//! one block at the same time. The rules are short: octets before the published position are never
//! written again; octets behind it are touched by the writer only; a node or block is freed by the
//! reader when it has passed it, or by whoever drops the whole pipe.

use std::mem::MaybeUninit;

use bytes::Bytes;

use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The `end` of a node that the writer still appends to.
pub(super) const OPEN: usize = usize::MAX;

/// One stretch of the stream.
pub(super) struct Node {
    /// Set once by the writer, before anything behind it is published (and reset by a rollback,
    /// before anything behind it was). `Release`/`Acquire`, though `published` orders it already.
    pub(super) next: AtomicPtr<Node>,
    /// Offset behind the last octet, or [`OPEN`]. Written by the writer, before anything behind this
    /// node is published.
    pub(super) end: AtomicUsize,
    /// Offset of the first octet.
    pub(super) start: usize,
    /// Whole messages in the stream before this node.
    pub(super) messages_before: u64,
    /// Whether a message begins where this node begins.
    pub(super) at_boundary: bool,
    pub(super) data: Data,
    /// In a model check every use and the end of a node are tracked.
    #[cfg(loom)]
    life: Life,
}

pub(super) enum Data {
    /// A view of a block, `start..end`.
    View(*mut Block),
    /// A payload, or received octets, held by reference: all of it.
    Shared(Bytes),
}

impl Node {
    /// The empty node that every list begins with.
    pub(super) fn sentinel() -> *mut Node {
        Node::boxed(0, Some(0), 0, true, Data::Shared(Bytes::new()))
    }

    pub(super) fn boxed(
        start: usize,
        end: Option<usize>,
        messages_before: u64,
        at_boundary: bool,
        data: Data,
    ) -> *mut Node {
        Box::into_raw(Box::new(Node {
            next: AtomicPtr::new(std::ptr::null_mut()),
            end: AtomicUsize::new(end.unwrap_or(OPEN)),
            start,
            messages_before,
            at_boundary,
            data,
            #[cfg(loom)]
            life: Life::new(),
        }))
    }

    /// Tells the model checker that the reader looks into this node.
    #[inline(always)]
    pub(super) fn track_use(&self) {
        #[cfg(loom)]
        self.life.used();
    }
}

/// Whoever frees a node needs to have synchronised with everybody who used it.
#[cfg(loom)]
impl Drop for Node {
    fn drop(&mut self) {
        self.life.ends();
    }
}

/// The life of an allocation, as the model checker sees it: a use is a read and the end is a write,
/// so that an unordered pair is found even where it happened to go well; a leak is found too.
#[cfg(loom)]
struct Life {
    uses: crate::sync::UnsafeCell<()>,
    _leak: crate::sync::Track<()>,
}

#[cfg(loom)]
impl Life {
    fn new() -> Self {
        Life {
            uses: crate::sync::UnsafeCell::new(()),
            _leak: crate::sync::Track::new(()),
        }
    }

    fn used(&self) {
        self.uses.with(|_| ());
    }

    fn ends(&self) {
        self.uses.with_mut(|_| ());
    }
}

/// A fixed piece of memory. Octets that were not appended are not initialised, and nobody reads them.
pub(super) struct Block {
    data: *mut u8,
    capacity: usize,
    /// The pipe, and everybody who has a [`Slice`]. Only the reader's side adds to it.
    users: AtomicUsize,
    /// In a list of spare blocks: the next one, and the octets of all that follow.
    next: *mut Block,
    behind: usize,
    /// In a model check every octet is tracked, so that a read of an unpublished one is found.
    #[cfg(loom)]
    tracked: Vec<crate::sync::UnsafeCell<()>>,
    #[cfg(loom)]
    life: Life,
}

impl Block {
    pub(super) fn boxed(capacity: usize) -> *mut Block {
        let data = Vec::<MaybeUninit<u8>>::with_capacity(capacity);
        let mut data = std::mem::ManuallyDrop::new(data);
        // The allocator may have given more.
        #[cfg(not(loom))]
        let capacity = data.capacity();
        Box::into_raw(Box::new(Block {
            data: data.as_mut_ptr().cast::<u8>(),
            capacity,
            users: AtomicUsize::new(1),
            next: std::ptr::null_mut(),
            behind: 0,
            #[cfg(loom)]
            tracked: (0..capacity)
                .map(|_| crate::sync::UnsafeCell::new(()))
                .collect(),
            #[cfg(loom)]
            life: Life::new(),
        }))
    }

    #[inline(always)]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline(always)]
    pub(super) fn base(&self) -> *mut u8 {
        self.data
    }

    /// Tells the model checker that the writer is about to write there.
    #[cfg(loom)]
    pub(super) fn track_write(&self, at: usize, len: usize) {
        self.life.used();
        for cell in &self.tracked[at..at + len] {
            cell.with_mut(|_| ());
        }
    }

    /// Tells the model checker that the reader reads there.
    #[cfg(loom)]
    pub(super) fn track_read(&self, at: usize, len: usize) {
        self.life.used();
        for cell in &self.tracked[at..at + len] {
            cell.with(|_| ());
        }
    }

    /// Whether nobody has a slice of it.
    pub(super) fn is_unshared(&self) -> bool {
        // Pairs with the `Release` of whoever let go of the last one.
        self.users.load(Ordering::Acquire) == 1
    }

    /// A part of the block that stays as it is and where it is, for as long as it is wanted.
    ///
    /// # Safety
    /// `block` came from [`Block::boxed`] and was not let go of by the pipe, and these octets are published.
    #[allow(unsafe_code, reason = "makes octets behind a raw pointer safe to have")]
    pub(super) unsafe fn slice(block: *mut Block, at: usize, len: usize) -> Bytes {
        // SAFETY: the block is live by contract; the count that is added keeps it so.
        let octets = unsafe {
            (*block).users.fetch_add(1, Ordering::Relaxed);
            (*block).data.add(at)
        };
        Bytes::from_owner(Slice { block, octets, len })
    }

    /// Lets go of a block: it is freed when nobody has a slice of it any more.
    ///
    /// # Safety
    /// As for [`Block::free`], but for slices; to be called once by the pipe, and once for each slice.
    #[allow(unsafe_code, reason = "frees what `boxed` made")]
    pub(super) unsafe fn release(block: *mut Block) {
        // SAFETY: the caller's use of it ends here; the last of all frees it, after all uses of others,
        // which their `Release` and this `Acquire` put before.
        unsafe {
            if (*block).users.fetch_sub(1, Ordering::AcqRel) == 1 {
                Block::free(block);
            }
        }
    }

    /// Frees a block.
    ///
    /// # Safety
    /// `block` came from [`Block::boxed`] and nobody uses it or will.
    #[allow(unsafe_code, reason = "frees what `boxed` made")]
    pub(super) unsafe fn free(block: *mut Block) {
        // SAFETY: by contract `block` is a live, unshared allocation of `boxed`; `data` and
        // `capacity` are the parts of the vector it was made from.
        unsafe {
            let block = Box::from_raw(block);
            #[cfg(loom)]
            {
                block.life.ends();
                block.track_write(0, block.capacity);
            }
            drop(Vec::from_raw_parts(
                block.data.cast::<MaybeUninit<u8>>(),
                0,
                block.capacity,
            ));
        }
    }
}

/// Octets of a block that somebody has in hand.
struct Slice {
    block: *mut Block,
    octets: *const u8,
    len: usize,
}

// SAFETY: the octets are not written any more, and the count of users is atomic.
#[allow(unsafe_code, reason = "see SAFETY")]
unsafe impl Send for Slice {}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: by the contract of `Block::slice` they were published, so nobody writes them again, and
        // the block is live as long as this is.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            std::slice::from_raw_parts(self.octets, self.len)
        }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        // SAFETY: this is a slice's one use of it.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            Block::release(self.block);
        }
    }
}

/// Blocks on their way back from the reader to the writer: a list, of which either takes all there is
/// and puts back what it does not need, so that nobody looks into a block that another may have.
pub(super) struct SpareBlocks(AtomicPtr<Block>);

/// The most octets of blocks that wait to be used again: what a thousand messages of some KiB take. To
/// give memory back to the system and to ask for it again costs more than to fill it.
/// Those of a pipe that has been idle for a while are freed.
const SPARE_MAX: usize = 16 << 20;

#[allow(unsafe_code, reason = "lists of raw pointers; see each SAFETY")]
impl SpareBlocks {
    pub(super) fn new() -> Self {
        SpareBlocks(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Adds a block, or frees it if there are enough.
    ///
    /// # Safety
    /// `block` came from [`Block::boxed`], and nobody uses it or will but who takes it from here.
    pub(super) unsafe fn give(&self, block: *mut Block) {
        let list = self.take();
        // SAFETY: `block` is ours by contract, and `list` because it was taken.
        unsafe {
            let behind = match list.is_null() {
                true => 0,
                false => (*list).behind + (*list).capacity,
            };
            if behind < SPARE_MAX {
                (*block).next = list;
                (*block).behind = behind;
                self.put_back(block);
            } else {
                Block::free(block);
                self.put_back(list);
            }
        }
    }

    /// Takes a block for at least `len` octets, if there is one. Frees those in front of it.
    pub(super) fn pop(&self, len: usize) -> Option<*mut Block> {
        let mut list = self.take();
        while !list.is_null() {
            // SAFETY: `list` was taken, and is ours with all that follows.
            unsafe {
                let block = list;
                list = std::mem::replace(&mut (*block).next, std::ptr::null_mut());
                if (*block).capacity >= len {
                    (*block).behind = 0;
                    self.put_back(list);
                    return Some(block);
                }
                Block::free(block);
            }
        }
        None
    }

    /// Frees all there are.
    pub(super) fn clear(&self) {
        let mut list = self.take();
        while !list.is_null() {
            // SAFETY: as in `pop`.
            unsafe {
                let block = list;
                list = (*block).next;
                Block::free(block);
            }
        }
    }

    /// Frees all but one.
    pub(super) fn trim(&self) {
        let first = self.take();
        if first.is_null() {
            return;
        }
        // SAFETY: the list was taken, and is ours: all that follows the first is freed.
        unsafe {
            let mut list = std::mem::replace(&mut (*first).next, std::ptr::null_mut());
            (*first).behind = 0;
            self.put_back(first);
            while !list.is_null() {
                let block = list;
                list = (*block).next;
                Block::free(block);
            }
        }
    }

    fn take(&self) -> *mut Block {
        match self.0.load(Ordering::Relaxed).is_null() {
            true => std::ptr::null_mut(),
            false => self.0.swap(std::ptr::null_mut(), Ordering::AcqRel),
        }
    }

    /// Puts a list (or null) where there is none, behind what another has put there meanwhile.
    ///
    /// # Safety
    /// The list is the caller's, and is nobody's after.
    unsafe fn put_back(&self, mut list: *mut Block) {
        while !list.is_null() {
            let put = self.0.compare_exchange(
                std::ptr::null_mut(),
                list,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if put.is_ok() {
                return;
            }
            let front = self.take();
            if front.is_null() {
                continue;
            }
            // SAFETY: both lists are ours: one by contract, one because it was taken.
            unsafe {
                let more = (*list).behind + (*list).capacity;
                let mut last = front;
                (*last).behind += more;
                while !(*last).next.is_null() {
                    last = (*last).next;
                    (*last).behind += more;
                }
                (*last).next = list;
            }
            list = front;
        }
    }
}

impl Drop for SpareBlocks {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Frees the nodes from `node` on and every block they refer to, as well as `block`, which the nodes
/// before `node` referred to last (or null).
///
/// # Safety
/// The list and its blocks belong to the caller alone. Views of one block are neighbours but for
/// bodies between them.
#[allow(unsafe_code, reason = "frees what `boxed` made")]
pub(super) unsafe fn free_list(mut node: *mut Node, mut block: *mut Block) {
    while !node.is_null() {
        // SAFETY: `node` is live and ours by contract; it is unlinked before the next is looked at.
        let this = unsafe { Box::from_raw(node) };
        node = this.next.load(Ordering::Acquire);
        if let Data::View(of) = this.data {
            if of != block {
                if !block.is_null() {
                    // SAFETY: no node behind this one refers to `block` any more.
                    unsafe { Block::release(block) };
                }
                block = of;
            }
        }
    }
    if !block.is_null() {
        // SAFETY: the last block referred to; the list is gone.
        unsafe { Block::release(block) };
    }
}
