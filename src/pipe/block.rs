//! Blocks and nodes: the memory of a pipe, and the list that puts it in order.
//!
//! Everything here is reached through raw pointers, because writer and reader use disjoint parts of
//! one block at the same time. The rules are short: octets before the published position are never
//! written again; octets behind it are touched by the writer only; a node or block is freed by the
//! reader when it has passed it, or by whoever drops the whole pipe.

use std::mem::MaybeUninit;

use bytes::Bytes;

use super::rotation;
use super::spare::{Link, Spare, SpareList};
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The `end` of a node that the writer still appends to.
pub(super) const OPEN: usize = usize::MAX;

/// The most nodes of a chunk: as many as make an allocation that small ones are kept apart for.
const CHUNK_MOST: u8 = if cfg!(loom) { 2 } else { 14 };

/// One stretch of the stream.
///
/// It lies in a chunk of one or of several, of which the writer fills one after the other, so that a stream of bodies
/// by reference does not cost two allocations for each, which another thread would free. A chunk is freed with the
/// last of its nodes, or goes back to the writer.
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
    /// Where in its chunk it lies, and how many the chunk is for.
    index: u8,
    of: u8,
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
    pub(super) fn new(
        start: usize,
        end: Option<usize>,
        messages_before: u64,
        at_boundary: bool,
        data: Data,
    ) -> Node {
        Node {
            next: AtomicPtr::new(std::ptr::null_mut()),
            end: AtomicUsize::new(end.unwrap_or(OPEN)),
            start,
            messages_before,
            at_boundary,
            index: 0,
            of: 1,
            data,
            #[cfg(loom)]
            life: Life::new(),
        }
    }

    /// The empty node that every list begins with, in a chunk of its own.
    pub(super) fn sentinel() -> *mut Node {
        let node = Node::new(0, Some(0), 0, true, Data::Shared(Bytes::new()));
        Box::into_raw(Box::new(node))
    }

    /// Puts a node into memory, to be linked behind the last of a list: beside that, or in a new chunk. One for a body
    /// makes new chunks larger, and one between bodies leaves them as they are.
    ///
    /// # Safety
    /// `tail` is the last node of a list, and nobody else puts nodes behind it.
    #[allow(unsafe_code, reason = "memory for several nodes")]
    pub(super) unsafe fn behind(
        tail: *mut Node,
        mut node: Node,
        spare: &SpareList<Chunk>,
    ) -> *mut Node {
        // SAFETY: the last node is live: the reader frees one only when it goes on to the next. What lies behind it in
        // its chunk is nobody's yet.
        unsafe {
            let (index, of) = ((*tail).index, (*tail).of);
            let at = if index + 1 < of {
                (node.index, node.of) = (index + 1, of);
                tail.add(1)
            } else {
                let after_body = matches!((*tail).data, Data::Shared(_));
                node.of = match node.data {
                    Data::Shared(_) => (of * 2).min(CHUNK_MOST),
                    Data::View(_) if after_body => of,
                    Data::View(_) => 1,
                };
                let kept = (node.of == CHUNK_MOST)
                    .then(|| spare.pop(1, 0, usize::MAX))
                    .flatten();
                kept.map_or_else(|| Node::new_chunk(node.of), <*mut Chunk>::cast)
            };
            at.write(node);
            at
        }
    }

    /// Memory for so many nodes.
    fn new_chunk(of: u8) -> *mut Node {
        let chunk: Box<[MaybeUninit<Node>]> = (0..of).map(|_| MaybeUninit::uninit()).collect();
        Box::into_raw(chunk).cast()
    }

    /// # Safety
    /// `chunk` came from [`Node::new_chunk`] (or, of one node, from a box), for so many nodes, which have all ended.
    #[allow(unsafe_code, reason = "frees what `new_chunk` made")]
    unsafe fn free_chunk(chunk: *mut Node, of: u8) {
        let chunk = chunk.cast::<MaybeUninit<Node>>();
        let all = std::ptr::slice_from_raw_parts_mut(chunk, usize::from(of));
        // SAFETY: by contract; a box of one is a slice of one, too.
        unsafe { drop(Box::from_raw(all)) }
    }

    /// The first of the chunk.
    ///
    /// # Safety
    /// `node` is live.
    #[allow(unsafe_code, reason = "several nodes of one allocation")]
    pub(super) unsafe fn chunk(node: *mut Node) -> *mut Node {
        // SAFETY: by contract; `index` nodes lie before it.
        unsafe { node.sub(usize::from((*node).index)) }
    }

    /// Ends a node, and frees its chunk with the last one that there is or will be in it.
    ///
    /// # Safety
    /// `node` is live and nobody uses it or will, and that is so of all before it in its chunk. `is_last`: there will
    /// be none behind it.
    #[allow(unsafe_code, reason = "frees what `sentinel` and `behind` made")]
    pub(super) unsafe fn end(node: *mut Node, is_last: bool) {
        // SAFETY: by contract.
        unsafe {
            let chunk = Node::chunk(node);
            let (index, of) = ((*node).index, (*node).of);
            std::ptr::drop_in_place(node);
            if is_last || index + 1 == of {
                Node::free_chunk(chunk, of);
            }
        }
    }

    /// As [`Node::end`] of one that is not the last; a chunk of the most nodes goes to `spare`.
    ///
    /// # Safety
    /// As for [`Node::end`].
    #[allow(unsafe_code, reason = "the memory of nodes is used again")]
    pub(super) unsafe fn pass(node: *mut Node, spare: &SpareList<Chunk>) {
        // SAFETY: by contract; with the last node of a chunk its memory is nobody's, and large enough.
        unsafe {
            let (index, of) = ((*node).index, (*node).of);
            if index + 1 < CHUNK_MOST {
                return Node::end(node, false);
            }
            debug_assert_eq!(of, CHUNK_MOST);
            let chunk = Node::chunk(node).cast::<Chunk>();
            std::ptr::drop_in_place(node);
            chunk.write(Chunk(Link::default()));
            spare.give(chunk, true);
        }
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
    link: Link<Block>,
    /// Counted among [all that streams have taken](super::rotation).
    is_extra: bool,
    /// Used again after all others that wait for it.
    rests: bool,
    /// In a model check every octet is tracked, so that a read of an unpublished one is found.
    #[cfg(loom)]
    tracked: Vec<crate::sync::UnsafeCell<()>>,
    #[cfg(loom)]
    life: Life,
}

impl Block {
    pub(super) fn boxed(capacity: usize) -> *mut Block {
        Self::allocate(capacity, false)
    }

    /// One on top of what a stream needs, unless there are as many as may be.
    pub(super) fn extra(capacity: usize) -> Option<*mut Block> {
        rotation::take(capacity).then(|| Self::allocate(capacity, true))
    }

    fn allocate(asked: usize, is_extra: bool) -> *mut Block {
        let data = Vec::<MaybeUninit<u8>>::with_capacity(asked);
        let mut data = std::mem::ManuallyDrop::new(data);
        // The allocator may have given more, which is not counted where those in rotation are.
        let capacity = match cfg!(loom) || is_extra {
            true => asked,
            false => data.capacity(),
        };
        Box::into_raw(Box::new(Block {
            data: data.as_mut_ptr().cast::<u8>(),
            capacity,
            users: AtomicUsize::new(1),
            link: Link::default(),
            is_extra,
            rests: false,
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

    /// Whether it is to be used again after all others that wait for it, not before.
    pub(super) fn set_rests(&mut self, rests: bool) {
        self.rests = rests;
    }

    pub(super) fn rests(&self) -> bool {
        self.rests
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
            if block.is_extra {
                rotation::give_back(block.capacity);
            }
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

/// By octets.
#[allow(unsafe_code, reason = "frees what `boxed` made")]
impl Spare for Block {
    /// What a thousand messages of some KiB take. To give memory back to the system and to ask for it again costs
    /// more than to fill it. Those of a pipe that has been idle for a while are freed.
    const MOST: usize = 16 << 20;

    fn link(&mut self) -> &mut Link<Block> {
        &mut self.link
    }

    fn size(&self) -> usize {
        self.capacity
    }

    fn is_extra(&self) -> bool {
        self.is_extra
    }

    unsafe fn free(this: *mut Block) {
        // SAFETY: by contract.
        unsafe { Block::free(this) }
    }
}

/// A whole chunk whose nodes have all been passed, on its way back to the writer. It lies in the memory of the nodes.
pub(super) struct Chunk(Link<Chunk>);

const _: () = assert!(size_of::<Chunk>() <= size_of::<Node>());
const _: () = assert!(align_of::<Chunk>() <= align_of::<Node>());

/// By number.
#[allow(unsafe_code, reason = "frees what `Node::behind` made")]
impl Spare for Chunk {
    /// For some hundred bodies.
    const MOST: usize = 64;

    fn link(&mut self) -> &mut Link<Chunk> {
        &mut self.0
    }

    fn size(&self) -> usize {
        1
    }

    unsafe fn free(this: *mut Chunk) {
        // SAFETY: by contract it is the memory of a chunk of the most nodes, all of which have ended.
        unsafe { Node::free_chunk(this.cast(), CHUNK_MOST) }
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

/// Frees the nodes from `node` on and every block they refer to, as well as `block`, which the nodes
/// before `node` referred to last (or null).
///
/// # Safety
/// The list and its blocks belong to the caller alone. Views of one block are neighbours but for
/// bodies between them.
#[allow(unsafe_code, reason = "frees what `boxed` made")]
pub(super) unsafe fn free_list(mut node: *mut Node, mut block: *mut Block) {
    while !node.is_null() {
        // SAFETY: `node` is live and ours by contract, as are all behind it; no node behind one of another block refers
        // to `block` any more.
        unsafe {
            let next = (*node).next.load(Ordering::Acquire);
            if let Data::View(of) = (*node).data {
                if of != block {
                    if !block.is_null() {
                        Block::release(block);
                    }
                    block = of;
                }
            }
            Node::end(node, next.is_null());
            node = next;
        }
    }
    if !block.is_null() {
        // SAFETY: the last block referred to; the list is gone.
        unsafe { Block::release(block) };
    }
}
