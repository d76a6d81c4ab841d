//! Which keys of a tree a frame begins with, by hash instead of by walking.
//!
//! A walk down a tree of a million keys goes to memory twice or so per level, each time to a place that the
//! one before names. Here a key is looked up by the hash of a prefix of the frame, for each length that a key
//! has, and no look-up waits for the one before: a match waits for memory once. It costs more than a walk
//! among few keys, which caches hold; so this is for many.
//!
//! Which lengths occur is known per block of 64 octets. For the first block the index knows, and of each
//! length which octets its keys end with: topics have an octet between their parts, or end in one of a few
//! words, so that of many lengths a frame has an octet in that place at which no key ends. (That spares it a
//! look-up; of keys that end in any octet, it costs a few instructions per length.) For a later one there is
//! a *marker* under the hash of all octets before it, if a key goes on there, with a bit per length. So a
//! match looks for at most 64 lengths per block, and only in blocks that a key shares up to there: whoever
//! adds keys of many lengths slows down only the messages that begin as they do, as with a tree. Of the first block it
//! looks for four at most; if there are more, [`PrefixIndex::likely`] says that the tree is better asked.
//!
//! A key of more than [`LONGEST`] octets leaves its markers up to there and is not found itself: a match only
//! tells that there are such keys, and they are looked for in the tree. With a marker for each 64 octets a
//! subscription to a topic of 64 KiB would take a thousand steps, and whatever goes through many of them at
//! once would keep publishers waiting.
//!
//! Keys that are made of parts which others have as well are kept by these, see [`PrefixGrid`]; that takes a tenth of
//! the memory. Each key is either there or in the table of hashes, and is looked for in this order.
//!
//! Of several frames, [`Ahead`] collects what is to be looked up first, then has it all come, and then each
//! is looked into: they wait for memory together.
//!
//! A match tells who holds a key if only one does, as is the rule, and otherwise where the list of them is:
//! in the tree, which costs another trip to memory.
//!
//! # Exactness
//!
//! Two prefixes of one hash are taken to be the same: 95 bits of SipHash with a secret of the index's own, so
//! that among a million keys one message in 10²² meets a wrong one. Memory errs more often, and a SUB
//! compares what it receives with its own topics.

use std::hint::black_box;
use std::num::NonZeroU32;

use super::hash_index::{self, HashIndex};
pub(super) use super::prefix_grid::LONGEST_TAIL;
use super::prefix_grid::{self, PrefixGrid, Put};
use super::prefix_hash::{HashKey, PrefixHash, PrefixHasher};
use super::radix::NodeId;

/// Who holds a key that is a prefix of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// Only the peer with this slot number.
    ByOnly(u32),
    /// Those who are listed at this node.
    ByThoseAt(NodeId),
}

/// What is known of a key: [`Held`] in 32 bits, of which the lowest tells what the others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Met(NonZeroU32);

impl Met {
    /// Held by the peer with this slot number and nobody else. `None` if it is too large.
    pub(super) fn by_only(slot: u32) -> Option<Self> {
        let number = slot.checked_mul(2)? | 1;
        NonZeroU32::new(number).map(Met)
    }

    /// Held by those who are listed at this node, which is not that of the empty key.
    pub(super) fn by_those_at(node: NodeId) -> Option<Self> {
        NonZeroU32::new(node.checked_mul(2)?).map(Met)
    }

    /// Held by only this peer.
    #[inline(always)]
    fn only(self) -> Option<u32> {
        match self.held() {
            Held::ByOnly(slot) => Some(slot),
            Held::ByThoseAt(_) => None,
        }
    }

    #[inline]
    pub(super) fn held(self) -> Held {
        let number = self.0.get();
        match number & 1 {
            1 => Held::ByOnly(number >> 1),
            _ => Held::ByThoseAt(number >> 1),
        }
    }
}

/// Keys that go on after the octets that this is found under.
#[derive(Debug, Clone, Copy)]
struct Marker {
    keys: NonZeroU32,
    /// By length within the block, the shortest in the lowest bit. Never cleared: what is set for a key that has
    /// gone costs a look.
    lengths: [u32; 2],
}

impl Marker {
    fn lengths(self) -> u64 {
        u64::from(self.lengths[1]) << 32 | u64::from(self.lengths[0])
    }
}

/// Keys of an octet or more, and no more than [`LONGEST`].
#[derive(Debug)]
pub(super) struct PrefixIndex {
    secret: HashKey,
    /// Keys that have their parts in common with others.
    grid: PrefixGrid,
    /// The others.
    keys: HashIndex<Met>,
    markers: HashIndex<Marker>,
    /// The lengths that occur in the first block, and how often.
    lengths: u64,
    counts: [u32; BLOCK],
    /// By octet, the lengths of which a key ends with it.
    ends: Box<[u64; 256]>,
    /// And how many keys do, by length and octet (64 KiB): of lengths that stay set for keys that have gone there would be
    /// too many to look for, as soon as a peer has come with many topics and gone.
    ending: Box<[[u32; 256]]>,
}

/// The lengths that a key of a frame may have, see [`PrefixIndex::likely`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Likely(u64);

/// Octets in which lengths are told apart by a bit.
const BLOCK: usize = 64;

/// Octets of the longest key that is found: of longer ones, that there are some. Whole blocks; longer than topics are.
pub(super) const LONGEST: usize = 16 * BLOCK;

impl PrefixIndex {
    pub(super) fn new() -> Self {
        PrefixIndex {
            secret: HashKey::random(),
            grid: PrefixGrid::new(),
            keys: HashIndex::new(),
            markers: HashIndex::new(),
            lengths: 0,
            counts: [0; BLOCK],
            ends: Box::new([0; 256]),
            ending: vec![[0; 256]; BLOCK].into_boxed_slice(),
        }
    }

    /// Adds a key that is not here. An empty one is not found: every frame begins with it. Of a longer one than
    /// [`LONGEST`] no more is looked at than one octet beyond that.
    ///
    /// Returns how many octets other keys have in common with it that should be [settled](PrefixIndex::settle), if there
    /// are such keys. They have up to [`LONGEST_TAIL`] more.
    pub(super) fn insert(&mut self, key: &[u8], met: Met) -> Option<usize> {
        let mut hasher = PrefixHasher::new(self.secret, key);
        let is_long = key.len() > LONGEST;
        for block in blocks(key) {
            // How far into this block the key goes on, or that it goes on beyond it.
            let bit = match is_long {
                true => BLOCK,
                false => (key.len() - block - 1).min(BLOCK),
            };
            self.mark(hasher.prefix(block), bit);
        }
        if is_long {
            return None;
        }
        if (1..=BLOCK).contains(&key.len()) {
            let bit = key.len() - 1;
            self.counts[bit] += 1;
            self.lengths |= 1 << bit;
            let last = usize::from(key[bit]);
            self.ends[last] |= 1 << bit;
            self.ending[bit][last] += 1;
        }
        let put = |slot| self.grid.put(self.secret, key, slot);
        let put = met.only().map_or(Put::Elsewhere, put);
        if put == Put::Elsewhere {
            self.keys.insert(hasher.prefix(key.len()), met);
        }
        put.others()
    }

    /// A key that may be here, and for which there may be a better place by now.
    pub(super) fn settle(&mut self, key: &[u8], met: Met) {
        let Some(slot) = met.only().filter(|_| PrefixGrid::has_place_for(key)) else {
            return;
        };
        let hash = self.secret.hash(key);
        let is_it = |known: &Met| *known == met;
        if self.keys.get_mut(hash, is_it).is_some() && self.grid.put_known(self.secret, key, slot) {
            self.keys.remove(hash, is_it);
        }
    }

    pub(super) fn remove(&mut self, key: &[u8], met: Met) {
        let mut hasher = PrefixHasher::new(self.secret, key);
        for block in blocks(key) {
            self.unmark(hasher.prefix(block));
        }
        if key.len() > LONGEST {
            return;
        }
        if (1..=BLOCK).contains(&key.len()) {
            let bit = key.len() - 1;
            self.counts[bit] -= 1;
            if self.counts[bit] == 0 {
                self.lengths &= !(1 << bit);
            }
            let last = usize::from(key[bit]);
            self.ending[bit][last] -= 1;
            if self.ending[bit][last] == 0 {
                self.ends[last] &= !(1 << bit);
            }
        }
        if let Some(slot) = met.only() {
            if self.grid.remove(self.secret, key) {
                return;
            }
            self.grid.forget(self.secret, key, slot);
        }
        self.keys
            .remove(hasher.prefix(key.len()), |known| *known == met);
    }

    /// Changes what is known of a key. Returns what [`PrefixIndex::insert`] does.
    pub(super) fn change(&mut self, key: &[u8], from: Met, to: Met) -> Option<usize> {
        if key.len() > LONGEST {
            return None;
        }
        let hash = self.secret.hash(key);
        if let Some(slot) = from.only() {
            if to
                .only()
                .is_some_and(|slot| self.grid.change(self.secret, key, slot))
            {
                return None;
            }
            if self.grid.remove(self.secret, key) {
                self.keys.insert(hash, to);
                return None;
            }
            self.grid.forget(self.secret, key, slot);
        }
        let put = |slot| self.grid.put(self.secret, key, slot);
        let put = to.only().map_or(Put::Elsewhere, put);
        let is_it = |known: &Met| *known == from;
        if put != Put::Elsewhere {
            self.keys.remove(hash, is_it);
        } else if let Some(known) = self.keys.get_mut(hash, is_it) {
            *known = to;
        }
        put.others()
    }

    /// The keys that are prefixes of `frame`, the shortest first; of those longer than [`LONGEST`],
    /// [whether there may be some](Prefixes::goes_on).
    #[inline(always)]
    pub(super) fn prefixes_of<'a>(&'a self, frame: &'a [u8], likely: Likely) -> Prefixes<'a> {
        let hasher = PrefixHasher::new(self.secret, frame);
        let Likely(lengths) = likely;
        let (found, hasher, lengths) = self.look_up(frame, hasher, 0, lengths);
        Prefixes {
            index: self,
            found,
            hasher,
            block: 0,
            lengths,
            is_short: self.is_short(frame),
            frame,
        }
    }

    /// As [`PrefixIndex::prefixes_of`], if there is no more to look for than one length, as is the rule; or `None`.
    #[inline(always)]
    pub(super) fn only_prefix_of(&self, frame: &[u8], likely: Likely) -> Option<Option<Met>> {
        let Likely(lengths) = likely;
        if lengths & lengths.wrapping_sub(1) != 0 || !self.is_short(frame) {
            return None;
        }
        if lengths == 0 {
            return Some(None);
        }
        #[cfg(test)]
        super::radix::work::add(1);
        let key = &frame[..lengths.trailing_zeros() as usize + 1];
        let met = self.in_grid(key);
        Some(met.or_else(|| self.keys.get(self.secret.hash(key))))
    }

    /// Where the grid would have this key.
    #[inline(always)]
    fn seek_in_grid(&self, key: &[u8]) -> Option<prefix_grid::Sought<'_>> {
        if self.grid.is_empty() {
            return None;
        }
        self.grid.seek(self.secret, key)
    }

    /// What the grid knows of this key.
    #[inline(always)]
    fn in_grid(&self, key: &[u8]) -> Option<Met> {
        let holder = self.seek_in_grid(key)?.holder();
        holder.and_then(Met::by_only)
    }

    /// No key goes on beyond the first block of this frame.
    #[inline(always)]
    fn is_short(&self, frame: &[u8]) -> bool {
        frame.len() <= BLOCK || self.markers.is_empty()
    }

    /// Nothing looked up yet.
    pub(super) fn ahead(&self) -> Ahead<'_> {
        Ahead {
            index: self,
            sought: [Where::InTable(self.keys.nowhere()); ROOM],
            len: 0,
        }
    }

    /// The lengths within the first block that a key of this frame may have, as far as its last octet tells; `None` if these
    /// are so many that a walk along the tree takes less time than to look for each: of ten thousand keys a look-up takes
    /// 13 ns and the walk 50 to 100, of a million 140 and 1000 to 3000 (AMD EPYC).
    #[inline(always)]
    pub(super) fn likely(&self, frame: &[u8]) -> Option<Likely> {
        let mut lengths = self.lengths & up_to(frame.len());
        let mut likely = 0;
        let mut count = 0;
        while lengths != 0 {
            let bit = lengths.trailing_zeros();
            lengths &= lengths - 1;
            let is_likely = self.ends[usize::from(frame[bit as usize])] >> bit & 1;
            likely |= is_likely << bit;
            count += is_likely as usize;
            if count > AHEAD {
                return None;
            }
        }
        Some(Likely(likely))
    }

    /// Looks for the next few of these lengths in a block. What it is given it gives back, less what it used up,
    /// so that nothing of it goes through memory.
    #[inline(always)]
    fn look_up<'a>(
        &self,
        frame: &[u8],
        mut hasher: PrefixHasher<'a>,
        block: usize,
        mut lengths: u64,
    ) -> (Found, PrefixHasher<'a>, u64) {
        let mut found = Found(0);
        for at in 0..AHEAD {
            if lengths == 0 {
                break;
            }
            #[cfg(test)]
            super::radix::work::add(1);
            let len = block + lengths.trailing_zeros() as usize + 1;
            lengths &= lengths - 1;
            let in_grid = self.in_grid(&frame[..len]);
            let met = in_grid.or_else(|| self.keys.get(hasher.prefix(len)));
            found.set(at, met);
        }
        (found, hasher, lengths)
    }

    /// One more key goes on here, and ends in this block unless `bit` is beyond it.
    fn mark(&mut self, marker: PrefixHash, bit: usize) {
        #[cfg(test)]
        super::radix::work::add(1);
        let lengths = match bit {
            BLOCK => 0,
            bit => 1_u64 << bit,
        };
        let lengths = [lengths as u32, (lengths >> 32) as u32];
        if let Some(known) = self.markers.get_mut(marker, |_| true) {
            // No more than there are nodes.
            known.keys = known.keys.saturating_add(1);
            known.lengths[0] |= lengths[0];
            known.lengths[1] |= lengths[1];
        } else {
            let keys = NonZeroU32::MIN;
            self.markers.insert(marker, Marker { keys, lengths });
        }
    }

    fn unmark(&mut self, marker: PrefixHash) {
        let Some(known) = self.markers.get_mut(marker, |_| true) else {
            return;
        };
        match NonZeroU32::new(known.keys.get() - 1) {
            Some(keys) => known.keys = keys,
            None => drop(self.markers.remove(marker, |_| true)),
        }
    }
}

/// Where blocks begin that a key goes on in, except the first, up to the end of the longest that is found.
fn blocks(key: &[u8]) -> impl Iterator<Item = usize> {
    (BLOCK..key.len().min(LONGEST + 1)).step_by(BLOCK)
}

/// The lengths within a block that a frame has, of which so much is left.
#[inline]
fn up_to(left: usize) -> u64 {
    match left {
        0..BLOCK => (1 << left) - 1,
        _ => u64::MAX,
    }
}

/// See [`PrefixIndex::prefixes_of`].
pub(super) struct Prefixes<'a> {
    index: &'a PrefixIndex,
    found: Found,
    hasher: PrefixHasher<'a>,
    frame: &'a [u8],
    /// Where the block begins that is looked at.
    block: usize,
    /// Of this block, without those looked for already.
    lengths: u64,
    /// There is no later block.
    is_short: bool,
}

/// Look-ups for several frames that have begun.
pub(super) struct Ahead<'a> {
    index: &'a PrefixIndex,
    sought: [Where<'a>; ROOM],
    len: usize,
}

/// Where a key is to be looked for.
#[derive(Debug, Clone, Copy)]
enum Where<'a> {
    InTable(hash_index::Sought<'a, Met>),
    /// And if it is not there, it may be in the table all the same.
    InGrid {
        sought: prefix_grid::Sought<'a>,
        key: &'a [u8],
    },
    /// Found in the grid.
    Met(Met),
}

/// What [`Ahead`] knows of one frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begun {
    /// Which look-ups are its own.
    first: usize,
    count: usize,
    /// The lengths in the first block that are to be looked for later.
    lengths: u64,
}

/// Look-ups that are begun together: more than a processor can wait for at once, few enough for what they read to stay in
/// its first cache (8 KiB) until it is looked into.
const ROOM: usize = 64;

impl<'a> Ahead<'a> {
    /// Whether one more frame may be begun.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.len + AHEAD <= ROOM
    }

    /// Begins to look for the keys that are prefixes of `frame`; for no more than there is room for.
    #[inline(always)]
    pub(super) fn begin(&mut self, frame: &'a [u8], likely: Likely) -> Begun {
        let Likely(lengths) = likely;
        let mut hasher = PrefixHasher::new(self.index.secret, frame);
        let mut begun = Begun {
            first: self.len,
            count: 0,
            lengths,
        };
        let room = &mut self.sought[self.len..];
        for sought in room.iter_mut().take(AHEAD) {
            if begun.lengths == 0 {
                break;
            }
            #[cfg(test)]
            super::radix::work::add(1);
            let len = begun.lengths.trailing_zeros() as usize + 1;
            begun.lengths &= begun.lengths - 1;
            let key = &frame[..len];
            *sought = match self.index.seek_in_grid(key) {
                Some(sought) => Where::InGrid { sought, key },
                None => Where::InTable(self.index.keys.seek(hasher.prefix(len))),
            };
            begun.count += 1;
        }
        self.len += begun.count;
        begun
    }

    /// Has all that is looked for come from memory: what may be in the grid first, since it is not in the table if it is.
    pub(super) fn touch(&mut self) {
        let index = self.index;
        touch_each(&self.sought[..self.len]);
        let mut is_done = true;
        for sought in &mut self.sought[..self.len] {
            let Where::InGrid { sought: seat, key } = sought else {
                continue;
            };
            *sought = match seat.holder().and_then(Met::by_only) {
                Some(met) => Where::Met(met),
                None => {
                    is_done = false;
                    Where::InTable(index.keys.seek(index.secret.hash(key)))
                }
            };
        }
        if !is_done {
            touch_each(&self.sought[..self.len]);
        }
    }

    /// As [`PrefixIndex::prefixes_of`], for a frame that was begun.
    #[inline(always)]
    pub(super) fn prefixes_of(&self, begun: Begun, frame: &'a [u8]) -> Prefixes<'a> {
        let mut found = Found(0);
        let sought = &self.sought[begun.first..][..begun.count];
        for (at, sought) in sought.iter().enumerate() {
            let met = match sought {
                Where::InTable(sought) => self.index.keys.found(sought),
                // Not touched before.
                Where::InGrid { sought, key } => {
                    let met = sought.holder().and_then(Met::by_only);
                    met.or_else(|| self.index.keys.get(self.index.secret.hash(key)))
                }
                Where::Met(met) => Some(*met),
            };
            found.set(at, met);
        }
        Prefixes {
            index: self.index,
            found,
            hasher: PrefixHasher::new(self.index.secret, frame),
            block: 0,
            lengths: begun.lengths,
            is_short: self.index.is_short(frame),
            frame,
        }
    }
}

/// A loop of its own, so short that the processor is at the last of them before the first has come.
#[inline(never)]
fn touch_each(sought: &[Where<'_>]) {
    black_box(sought.iter().fold(0, |sum, sought| {
        sum ^ match sought {
            Where::InTable(sought) => sought.touch(),
            Where::InGrid { sought, .. } => sought.touch(),
            Where::Met(_) => 0,
        }
    }));
}

/// What was found for the last few lengths and not handed out: 32 bits for each, zeros if nothing. A number, because an
/// array that is written piece by piece and moved as a whole would wait for what is looked for.
#[derive(Debug, Clone, Copy)]
struct Found(u128);

impl Found {
    #[inline(always)]
    fn set(&mut self, at: usize, met: Option<Met>) {
        let number = met.map_or(0, |Met(number)| number.get());
        self.0 |= u128::from(number) << (at as u32 * u32::BITS);
    }

    /// The first of them.
    #[inline(always)]
    fn take(&mut self) -> Option<Met> {
        let at = self.0.trailing_zeros() & !(u32::BITS - 1);
        let number = NonZeroU32::new(self.0.checked_shr(at)? as u32)?;
        self.0 ^= u128::from(number.get()) << at;
        Some(Met(number))
    }
}

/// Lengths that are looked for at once: what is met takes part in no decision before all are on their way.
const AHEAD: usize = 4;

impl Iterator for Prefixes<'_> {
    type Item = Met;

    #[inline(always)]
    fn next(&mut self) -> Option<Met> {
        if self.found.0 == 0 && (self.lengths != 0 || !self.is_short) {
            self.look_on();
        }
        self.found.take()
    }
}

impl Prefixes<'_> {
    /// When all have been handed out: whether there is a key of more than [`LONGEST`] octets, of which the frame has the
    /// first so many.
    #[inline(always)]
    pub(super) fn goes_on(&self) -> bool {
        self.block == LONGEST
    }

    /// Looks for further lengths until something is found, or there is nothing to look for.
    #[inline(never)]
    fn look_on(&mut self) {
        while self.found.0 == 0 {
            if self.lengths == 0 && self.next_block().is_none() {
                self.is_short = true;
                break;
            }
            let hasher = self.hasher.clone();
            let looked_up = self
                .index
                .look_up(self.frame, hasher, self.block, self.lengths);
            (self.found, self.hasher, self.lengths) = looked_up;
        }
    }

    /// Goes on to the next block, if a key does.
    fn next_block(&mut self) -> Option<()> {
        if self.is_short || self.goes_on() || self.frame.len() - self.block <= BLOCK {
            return None;
        }
        #[cfg(test)]
        super::radix::work::add(1);
        let hash = self.hasher.prefix(self.block + BLOCK);
        let marker = self.index.markers.get(hash)?;
        self.block += BLOCK;
        self.lengths = marker.lengths() & up_to(self.frame.len() - self.block);
        Some(())
    }
}

#[cfg(test)]
impl PrefixIndex {
    /// In which so few tails have a number.
    pub(super) fn with_tails(most: usize) -> Self {
        PrefixIndex {
            grid: PrefixGrid::with_tails(most),
            ..PrefixIndex::new()
        }
    }

    /// Keys in the grid, and others.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.grid.len(), self.keys.len()]
    }

    /// What is known of a key.
    fn get(&self, key: &[u8]) -> Option<Met> {
        let met = self.in_grid(key);
        met.or_else(|| self.keys.get(self.secret.hash(key)))
    }

    /// Fails if this is not what these keys make.
    pub(super) fn check<'a>(&self, all: impl Iterator<Item = (&'a [u8], Met)>) {
        self.keys.check();
        self.markers.check();
        let mut len = 0;
        let mut counted = 0;
        let mut counts = [0; BLOCK];
        let mut ends = [0; 256];
        let mut marked = std::collections::HashMap::<&[u8], (u32, u64)>::new();
        for (key, met) in all {
            let is_long = key.len() > LONGEST;
            let known = self.get(key);
            assert_eq!(known, (!is_long).then_some(met), "{key:?}");
            len += usize::from(!is_long);
            counted += usize::from(met.only().is_some_and(|slot| PrefixGrid::counts(key, slot)));
            let last = key.len() - 1;
            if last < BLOCK {
                counts[last] += 1;
                ends[usize::from(key[last])] |= 1_u64 << last;
            }
            for block in blocks(key) {
                let (keys, lengths) = marked.entry(&key[..block]).or_default();
                *keys += 1;
                let ends = 1_u64
                    .checked_shl((last - block) as u32)
                    .filter(|_| !is_long);
                *lengths |= ends.unwrap_or(0);
            }
        }
        // Each in one of the two.
        assert_eq!(self.keys.len() + self.grid.len(), len);
        self.grid.check_beside(counted - self.grid.len());
        assert_eq!(self.counts, counts);
        for (bit, count) in counts.into_iter().enumerate() {
            assert_eq!(self.lengths >> bit & 1 == 1, count > 0);
            assert_eq!(self.ending[bit].iter().sum::<u32>(), count);
        }
        assert_eq!(*self.ends, ends);
        assert_eq!(self.markers.len(), marked.len());
        for (prefix, (keys, lengths)) in marked {
            let marker = self.markers.get(self.secret.hash(prefix)).unwrap();
            assert_eq!(marker.keys.get(), keys);
            assert_eq!(marker.lengths() & lengths, lengths);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::radix::work;
    use super::*;

    fn met(slot: usize) -> Met {
        Met::by_only(slot as u32).unwrap()
    }

    fn holders(index: &PrefixIndex, frame: &[u8]) -> Vec<Met> {
        index.prefixes_of(frame, likely(index, frame)).collect()
    }

    /// The lengths to look for, also if they are many.
    fn likely(index: &PrefixIndex, frame: &[u8]) -> Likely {
        let all = Likely(index.lengths & up_to(frame.len()));
        index.likely(frame).unwrap_or(all)
    }

    fn only(index: &PrefixIndex, frame: &[u8]) -> Option<Option<Met>> {
        index.only_prefix_of(frame, likely(index, frame))
    }

    #[test]
    fn what_is_known_of_a_key_fits_into_32_bits() {
        for n in [0, 1, u32::MAX / 2] {
            assert_eq!(Met::by_only(n).map(Met::held), Some(Held::ByOnly(n)));
        }
        for n in [1, 2, u32::MAX / 2] {
            assert_eq!(Met::by_those_at(n).map(Met::held), Some(Held::ByThoseAt(n)));
        }
        assert_eq!(Met::by_only(u32::MAX / 2 + 1), None);
        assert_eq!(Met::by_those_at(u32::MAX / 2 + 1), None);
        assert_eq!(Met::by_those_at(0), None);
    }

    #[test]
    fn a_bucket_is_a_cache_line_or_two() {
        assert_eq!(HashIndex::<Met>::BUCKET_SIZE, 64);
        assert_eq!(HashIndex::<Marker>::BUCKET_SIZE, 128);
    }

    #[test]
    fn keys_of_every_length_are_met_in_order() {
        let frame: Vec<u8> = (0..=255).cycle().take(400).collect();
        let keys = |from: usize| (from..300).map(|len| (&frame[..len], met(len)));
        let mut index = PrefixIndex::new();
        for (key, met) in keys(1) {
            index.insert(key, met);
        }
        index.check(keys(1));
        for len in [0, 1, 30, 31, 63, 64, 65, 127, 128, 129, 299, 300, 400] {
            let expected = (1..=len.min(299)).map(met);
            assert_eq!(
                holders(&index, &frame[..len]),
                expected.collect::<Vec<_>>(),
                "{len}"
            );
        }
        for (key, met) in keys(1) {
            index.remove(key, met);
            index.check(keys(key.len() + 1));
            let left = keys(key.len() + 1).map(|(_, met)| met);
            assert_eq!(holders(&index, &frame), left.collect::<Vec<_>>());
        }
    }

    /// Keys of two lengths end in `m`, those of the others in an octet that the frame has elsewhere.
    #[test]
    fn lengths_at_whose_end_no_key_ends_are_not_looked_for() {
        let frame = b"site/07/rack/003/host12/m and more";
        let mut index = PrefixIndex::new();
        index.insert(b"site/07/rack/003/host12/m", met(0));
        index.insert(b"site/07/rack/003/host1/m", met(1));
        for len in (1..24).chain(26..34) {
            index.insert(&[255; 64][..len], met(2));
        }
        let looks = |index: &PrefixIndex| {
            work::take();
            assert_eq!(holders(index, frame), [met(0)]);
            work::take()
        };
        assert_eq!(looks(&index), 1);
        // A key that has gone costs nothing, though others of its length are left.
        index.insert(b"s", met(3));
        assert_eq!(holders(&index, frame), [met(3), met(0)]);
        index.remove(b"s", met(3));
        assert_eq!(looks(&index), 1);
        index.remove(&[255], met(2));
        index.insert(&[254], met(2));
        assert_eq!(looks(&index), 1);
    }

    #[test]
    fn a_frame_with_one_likely_length_is_looked_for_once() {
        let mut index = PrefixIndex::new();
        index.insert(b"host1/m", met(0));
        index.insert(b"host12/m", met(1));
        let long = [b'm'; BLOCK + 1];
        assert_eq!(only(&index, b"host1/m, and more"), Some(Some(met(0))));
        assert_eq!(only(&index, b"host12/m, and more"), Some(Some(met(1))));
        assert_eq!(only(&index, b"host2/m"), Some(None));
        assert_eq!(only(&index, b"host12/"), Some(None));
        assert_eq!(only(&index, b""), Some(None));
        assert_eq!(only(&index, b"host1/mm"), None, "two lengths");
        index.insert(&long, met(2));
        assert_eq!(only(&index, b"host1/m"), Some(Some(met(0))));
        let goes_on = [&b"host1/m"[..], &long].concat();
        assert_eq!(only(&index, &goes_on), None, "more than a block");
    }

    #[test]
    fn a_frame_with_many_likely_lengths_is_not_for_the_index() {
        let frame = [b'm'; 100];
        let mut index = PrefixIndex::new();
        for len in 1..=AHEAD {
            index.insert(&frame[..len], met(len));
            index.insert(&[b'o'; 30][..10 + len], met(len));
            assert!(index.likely(&frame).is_some());
        }
        index.insert(&frame[..40], met(40));
        assert!(index.likely(&frame).is_none());
        assert!(index.likely(&frame[..39]).is_some());
        assert!(index.likely(&[b'o'; 100]).is_some());
        index.remove(&frame[..40], met(40));
        assert!(index.likely(&frame).is_some());
    }

    /// Whoever comes with keys of all lengths that end in any octet, and goes, leaves the index of as much use as before.
    #[test]
    fn keys_that_have_gone_do_not_make_lengths_likely() {
        let keys = |octet: u8| (1..=100).map(move |len| vec![octet; len]);
        let mut index = PrefixIndex::new();
        // Which keep each length.
        for key in keys(b'o') {
            index.insert(&key, met(0));
        }
        let others = || (0..=255).filter(|octet| *octet != b'o').flat_map(keys);
        for key in others() {
            index.insert(&key, met(1));
        }
        assert!(index.likely(&[b'm'; 100]).is_none());
        others().for_each(|key| index.remove(&key, met(1)));
        let likely = index.likely(&[b'm'; 100]);
        assert!(matches!(likely, Some(Likely(0))), "{likely:?}");
        let all = keys(b'o').collect::<Vec<_>>();
        index.check(all.iter().map(|key| (&key[..], met(0))));
    }

    #[test]
    fn a_change_is_told() {
        let mut index = PrefixIndex::new();
        for (slot, key) in [&b"a"[..], &[b'a'; 100]].into_iter().enumerate() {
            index.insert(key, met(slot));
            index.change(key, met(slot), met(10 + slot));
        }
        assert_eq!(holders(&index, &[b'a'; 200]), [met(10), met(11)]);
    }

    /// Keys of every length to 10 000, which begin otherwise than the messages or go another way in their
    /// middle, cost a message no more than its own way.
    #[test]
    fn keys_that_go_another_way_are_not_looked_for() {
        let message = vec![b'm'; 10_000];
        let steps = |index: &PrefixIndex| {
            work::take();
            assert_eq!(holders(index, &message).len(), 1);
            work::take()
        };
        let mut index = PrefixIndex::new();
        index.insert(&message[..200], met(0));
        assert_eq!(steps(&index), 5);
        let mut other = message.clone();
        other[0] = b'o';
        for len in (1..10_000).step_by(7) {
            index.insert(&other[..len], met(len));
        }
        assert!(steps(&index) <= 5 + BLOCK);
        let mut branch = message.clone();
        branch[300] = b'b';
        for len in (301..10_000).step_by(7) {
            index.insert(&branch[..len], met(10_000 + len));
        }
        assert!(steps(&index) <= 5 + 2 * BLOCK);
    }

    #[test]
    fn of_long_keys_it_is_told_that_there_are_some() {
        let key = vec![b'k'; 64 * 1024];
        let mut index = PrefixIndex::new();
        index.insert(&key[..LONGEST], met(1));
        for len in [LONGEST + 1, LONGEST + BLOCK, LONGEST + BLOCK + 1, key.len()] {
            work::take();
            index.insert(&key[..len], met(2));
            assert!(work::take() <= LONGEST / BLOCK, "{len}");
            index.change(&key[..len], met(2), met(3));
            assert_eq!((index.keys.len(), index.markers.len()), (1, 16));
            let mut other = key.clone();
            other[LONGEST - 1] = b'o';
            for (frame, expected) in [
                (&key[..LONGEST], (1, false)),
                (&key[..LONGEST + 1], (1, true)),
                (&key[..], (1, true)),
                (&other[..], (0, false)),
            ] {
                let mut met = index.prefixes_of(frame, likely(&index, frame));
                let count = met.by_ref().count();
                assert_eq!((count, met.goes_on()), expected, "{len}");
            }
            index.remove(&key[..len], met(3));
            index.check([(&key[..LONGEST], met(1))].into_iter());
            assert!(!index.prefixes_of(&key, likely(&index, &key)).goes_on());
        }
    }

    /// Keys that have heads and tails in common, of lengths at which they are cut in different places.
    fn keys_of_parts() -> impl Strategy<Value = Vec<u8>> {
        let more = prop::sample::select(vec![0, 0, 0, 1, 6]);
        (0..4u8, 0..TAILS, more).prop_map(|(head, tail, more)| key_of_parts(head, tail, more))
    }

    const TAILS: u8 = 30;

    fn key_of_parts(head: u8, tail: u8, more: usize) -> Vec<u8> {
        let mut key = vec![head; 8];
        key.extend(vec![b'x'; 8 * more]);
        match tail {
            // Prefixes of one another, from 9 octets to 16, or from 17 to 24.
            0..8 => key.extend(vec![b't'; usize::from(tail) + 1]),
            _ => key.extend([tail; 8]),
        }
        key.extend(vec![tail; usize::from(tail % 3) * usize::from(tail / 8)]);
        key
    }

    /// After these each tail is common.
    fn ops_of_parts() -> impl Strategy<Value = Vec<(Op, Vec<u8>)>> {
        let ops = prop::collection::vec((op(), keys_of_parts()), 0..400);
        ops.prop_map(|ops| {
            let heads = 10..18;
            let keys = heads.flat_map(|head| (0..TAILS).map(move |tail| (head, tail)));
            let first = keys.map(|(head, tail)| (Op::Insert, key_of_parts(head, tail, 0)));
            first.chain(ops).collect()
        })
    }

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        let few = prop::sample::select(vec![0, 1, b'a', 255]);
        prop_oneof![
            4 => prop::collection::vec(few, 1..6),
            1 => (1..200usize, 0..3u8).prop_map(|(len, last)| {
                let mut key = vec![b'a'; len];
                key.extend((last > 0).then_some(last));
                key
            }),
            1 => prop::sample::select(vec![BLOCK, 2 * BLOCK, LONGEST, LONGEST + BLOCK])
                .prop_flat_map(|len| len - 1..len + 2)
                .prop_map(|len| vec![b'a'; len]),
        ]
    }

    /// What is to be done after a key has come or changed.
    fn settle(
        index: &mut PrefixIndex,
        head: Option<usize>,
        key: &[u8],
        others: &BTreeMap<Vec<u8>, Met>,
    ) {
        let Some(head) = head else { return };
        let alike = others
            .iter()
            .filter(|(other, _)| other.starts_with(&key[..head]));
        alike.for_each(|(other, met)| index.settle(other, *met));
    }

    #[derive(Debug, Clone, Copy)]
    enum Op {
        /// Or change whom it is held by.
        Insert,
        /// Or change it so that more than one hold it.
        Share,
        Remove,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop::sample::select(vec![
            Op::Insert,
            Op::Insert,
            Op::Insert,
            Op::Share,
            Op::Remove,
        ])
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(
            ops in prop_oneof![
                prop::collection::vec((op(), keys()), 0..100),
                ops_of_parts(),
            ],
            probes in prop::collection::vec(prop_oneof![keys(), keys_of_parts()], 1..30),
            most_tails in prop::sample::select(vec![1, 9, 1_000, 1_000]),
            // In the last, slots that a cell has no room for among others.
            slots in prop::sample::select(vec![0, 65_400]),
            is_touched in any::<bool>(),
        ) {
            let mut index = PrefixIndex::with_tails(most_tails);
            let mut model = BTreeMap::<Vec<u8>, Met>::new();
            for (step, (op, key)) in ops.into_iter().enumerate() {
                let after = match op {
                    Op::Insert => Some(met(slots + step)),
                    Op::Share => Met::by_those_at(1 + step as u32),
                    Op::Remove => None,
                };
                match (model.remove(&key), after) {
                    (None, Some(after)) => {
                        let head = index.insert(&key, after);
                        settle(&mut index, head, &key, &model);
                    }
                    (Some(before), Some(after)) => {
                        let head = index.change(&key, before, after);
                        settle(&mut index, head, &key, &model);
                    }
                    (Some(before), None) => index.remove(&key, before),
                    (None, None) => {}
                }
                model.extend(after.map(|after| (key, after)));
                index.check(model.iter().map(|(key, met)| (&key[..], *met)));
            }
            // A prefix sorts before what it is a prefix of.
            let expected = |probe: &[u8]| -> Vec<Met> {
                let short = model.iter().filter(|(key, _)| probe.starts_with(key) && key.len() <= LONGEST);
                short.map(|(_, met)| *met).collect()
            };
            let mut ahead = index.ahead();
            let begun: Vec<_> = probes.iter().map(|probe| ahead.begin(probe, likely(&index, probe))).collect();
            if is_touched {
                ahead.touch();
            }
            for (probe, begun) in probes.iter().zip(begun) {
                let together: Vec<Met> = ahead.prefixes_of(begun, probe).collect();
                prop_assert_eq!(together, expected(probe));
            }
            for probe in &probes {
                let expected = expected(probe);
                prop_assert_eq!(holders(&index, probe), &expected[..]);
                if let Some(only) = only(&index, probe) {
                    prop_assert_eq!(only.as_slice(), &expected[..]);
                }
                let begins = |key: &Vec<u8>| key.len() > LONGEST && key.starts_with(&probe[..LONGEST]);
                let goes_on = probe.len() > LONGEST && model.keys().any(begins);
                let mut met = index.prefixes_of(probe, likely(&index, probe));
                met.by_ref().for_each(drop);
                prop_assert_eq!(met.goes_on(), goes_on);
            }
        }
    }
}
