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
//! match looks for at most 64 lengths per block, and only in blocks that a key shares up to there: beyond the first block,
//! whoever adds keys of many lengths slows down only the messages that begin as they do, as with a tree.
//!
//! In the first block a match looks for eight lengths, four of them in the table, or two among few keys, if the last octets
//! leave no more. Otherwise it asks a [`LengthFilter`] which lengths keys have that begin as the frame does, for each four
//! octets of it; that is to wait for a cache once more, and leaves one or two as a rule. If it leaves many, or there are not
//! that many keys, [`PrefixIndex::likely`] says that the tree is better asked.
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
use super::length_filter::{LengthFilter, StemKey, PART};
pub(super) use super::prefix_grid::LONGEST_TAIL;
use super::prefix_grid::{self, PrefixGrid, Put};
use super::prefix_hash::{HashKey, PrefixHash, PrefixHasher};
use super::radix::NodeId;

mod ends;
mod likely;

use ends::{Ends, Place};
use likely::Length;
pub(super) use likely::Likely;

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
    /// Which lengths these have.
    filter: LengthFilter<PART>,
    stems: StemKey,
    /// With how many keys that end in the first block the filters are asked.
    filtered_from: usize,
    markers: HashIndex<Marker>,
    /// Of the keys that end in the first block.
    ends: Ends,
}

/// Octets in which lengths are told apart by a bit.
const BLOCK: usize = 64;

/// Octets of the longest key that is found: of longer ones, that there are some. Whole blocks; longer than topics are.
pub(super) const LONGEST: usize = 16 * BLOCK;

impl PrefixIndex {
    /// Which asks [filters](LengthFilter) what lengths a key may have from so many keys on.
    pub(super) fn new(filtered_from: usize) -> Self {
        let stems = StemKey::random();
        PrefixIndex {
            secret: HashKey::random(),
            grid: PrefixGrid::new(stems),
            keys: HashIndex::new(),
            filter: LengthFilter::new(),
            stems,
            filtered_from,
            markers: HashIndex::new(),
            ends: Ends::new(),
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
        let put = |slot| self.grid.put(self.secret, key, slot);
        let put = met.only().map_or(Put::Elsewhere, put);
        if put == Put::Elsewhere {
            self.put_in_table(key, met);
        } else {
            self.ends.add(key, Place::Grid);
        }
        put.others()
    }

    /// A key that may be here, and for which there may be a better place by now.
    pub(super) fn settle(&mut self, key: &[u8], met: Met) {
        let Some(slot) = met.only() else {
            return;
        };
        let hash = self.secret.hash(key);
        let is_it = |known: &Met| *known == met;
        if self.keys.get_mut(hash, is_it).is_some() && self.grid.put_known(self.secret, key, slot) {
            self.take_from_table(key, met);
            self.ends.add(key, Place::Grid);
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
        if let Some(slot) = met.only() {
            if self.take_from_grid(key) {
                return;
            }
            self.grid.forget(self.secret, key, slot);
        }
        self.take_from_table(key, met);
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
            if self.take_from_grid(key) {
                self.put_in_table(key, to);
                return None;
            }
            self.grid.forget(self.secret, key, slot);
        }
        let put = |slot| self.grid.put(self.secret, key, slot);
        let put = to.only().map_or(Put::Elsewhere, put);
        let is_it = |known: &Met| *known == from;
        if put != Put::Elsewhere {
            self.take_from_table(key, from);
            self.ends.add(key, Place::Grid);
        } else if let Some(known) = self.keys.get_mut(hash, is_it) {
            *known = to;
        }
        put.others()
    }

    /// Takes a key out of the grid. Whether it was there.
    fn take_from_grid(&mut self, key: &[u8]) -> bool {
        let was_there = self.grid.remove(self.secret, key);
        if was_there {
            self.ends.remove(key, Place::Grid);
        }
        was_there
    }

    /// Adds a key to the table.
    fn put_in_table(&mut self, key: &[u8], met: Met) {
        self.keys.insert(self.secret.hash(key), met);
        self.ends.add(key, Place::Table);
        if let Some((stem, length)) = self.end_of(key) {
            self.filter.add(stem, length);
        }
    }

    /// Takes a key out of the table, if it is there.
    fn take_from_table(&mut self, key: &[u8], met: Met) {
        let hash = self.secret.hash(key);
        if self.keys.remove(hash, |known| *known == met).is_none() {
            return;
        }
        self.ends.remove(key, Place::Table);
        if let Some((stem, length)) = self.end_of(key) {
            self.filter.remove(stem, length);
        }
        if self.keys.is_empty() {
            self.filter = LengthFilter::new();
        }
    }

    /// What the filter knows a key of the table by: the hash of its stem, which is as many parts as are before its end, and
    /// how far it goes on.
    fn end_of(&self, key: &[u8]) -> Option<(PrefixHash, usize)> {
        let beyond = (1..=BLOCK).contains(&key.len()).then(|| key.len() - 1)?;
        Some((self.stems.hash(&key[..beyond]), beyond % PART))
    }

    /// The keys that are prefixes of `frame`, the shortest first; of those longer than [`LONGEST`],
    /// [whether there may be some](Prefixes::goes_on).
    #[inline(always)]
    pub(super) fn prefixes_of<'a>(&'a self, frame: &'a [u8], likely: Likely) -> Prefixes<'a> {
        let hasher = PrefixHasher::new(self.secret, frame);
        let (found, hasher, lengths) = self.look_up(frame, hasher, 0, likely);
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
        let mut lengths = likely;
        if !lengths.rest().is_empty() || !self.is_short(frame) {
            return None;
        }
        let Some(length) = lengths.take() else {
            return Some(None);
        };
        let key = &frame[..length.octets];
        Some(self.look_for(key, length, || self.secret.hash(key)))
    }

    /// Whether [`PrefixIndex::prefixes_in_turn`] is for this frame: it is short, and more lengths are likely than are looked
    /// for at once, of which the table has one at most. It is in no cache, so that of several each would be waited for.
    #[inline(always)]
    pub(super) fn is_for_turns(&self, frame: &[u8], likely: Likely) -> bool {
        likely.is_more_than(AHEAD)
            && likely.in_table.wrapping_sub(1) & likely.in_table == 0
            && self.is_short(frame)
    }

    /// As [`PrefixIndex::prefixes_of`], each looked for when it is asked for: less work if several are there.
    #[inline(always)]
    pub(super) fn prefixes_in_turn<'a>(
        &'a self,
        frame: &'a [u8],
        mut likely: Likely,
    ) -> impl Iterator<Item = Met> + 'a {
        let lengths = std::iter::from_fn(move || likely.take());
        lengths.filter_map(move |length| {
            let key = &frame[..length.octets];
            self.look_for(key, length, || self.secret.hash(key))
        })
    }

    /// What is known of a key, with its hash if it comes to that.
    #[inline(always)]
    fn look_for(
        &self,
        key: &[u8],
        length: Length,
        hash: impl FnOnce() -> PrefixHash,
    ) -> Option<Met> {
        #[cfg(test)]
        super::radix::work::add(1);
        let mut met = None;
        if length.in_grid {
            met = self.in_grid(key);
        }
        if length.in_table {
            met = met.or_else(|| self.keys.get(hash()));
        }
        met
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

    /// The lengths within the first block that a key of this frame may have; `None` if these are so many that a walk along
    /// the tree takes less time than to look for each.
    #[inline(always)]
    pub(super) fn likely(&self, frame: &[u8]) -> Option<Likely> {
        let lengths = self.ends.lengths() & up_to(frame.len());
        if self.ends.keys() < self.filtered_from {
            return self
                .ends
                .among(frame, lengths, MOST_AMONG_FEW, MOST_AMONG_FEW);
        }
        let likely = self.ends.among(frame, lengths, MOST, MOST_UNASKED);
        likely.or_else(|| self.likely_by_stems(frame, lengths))
    }

    /// As [`PrefixIndex::likely`], if the last octets alone tell too little: to ask the filters is to wait for memory before
    /// the look-ups do.
    #[inline(never)]
    fn likely_by_stems(&self, frame: &[u8], lengths: u64) -> Option<Likely> {
        let begin = self.that_begin(frame, lengths);
        let end = self.ends.among(frame, begin.all(), u64::BITS, u64::BITS)?;
        let mut likely = begin.and(end);
        if likely.all().count_ones() > 2 * MOST {
            // Whoever comes with keys that begin as others do has tails of its own.
            likely.in_grid = self.grid.known(frame, likely.in_grid);
        }
        let are_few = likely.all().count_ones() <= 2 * MOST;
        (are_few && likely.in_table.count_ones() <= MOST).then_some(likely)
    }

    /// Of these lengths, those that keys have that begin as the frame does.
    #[inline(always)]
    fn that_begin(&self, frame: &[u8], lengths: u64) -> Likely {
        let mut likely = Likely::default();
        let mut hasher = self.stems.hasher();
        let mut parts = frame.chunks_exact(PART);
        for stem in (0..BLOCK).step_by(PART) {
            let beyond = lengths >> stem;
            let hash = hasher.hash();
            if beyond % (1 << PART) != 0 {
                likely.in_table |= self.filter.lengths(hash) << stem;
            }
            likely.in_grid |= self.grid.lengths(hash, stem);
            let Some(part) = parts.next().filter(|_| beyond >> PART != 0) else {
                break;
            };
            hasher.add(part);
        }
        likely.among(lengths)
    }

    /// Looks for the next few of these lengths in a block. What it is given it gives back, less what it used up,
    /// so that nothing of it goes through memory.
    #[inline(always)]
    fn look_up<'a>(
        &self,
        frame: &[u8],
        mut hasher: PrefixHasher<'a>,
        block: usize,
        mut lengths: Likely,
    ) -> (Found, PrefixHasher<'a>, Likely) {
        let mut found = Found(0);
        for at in 0..AHEAD {
            let Some(length) = lengths.take() else {
                break;
            };
            let key = &frame[..block + length.octets];
            found.set(at, self.look_for(key, length, || hasher.prefix(key.len())));
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
    lengths: Likely,
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
    /// And if it is not there, it may be in the table.
    InGrid {
        sought: prefix_grid::Sought<'a>,
        key: &'a [u8],
        in_table: bool,
    },
    /// It has been looked for.
    Known(Option<Met>),
}

/// What [`Ahead`] knows of one frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begun {
    /// Which look-ups are its own.
    first: usize,
    count: usize,
    /// The lengths in the first block that are to be looked for later.
    lengths: Likely,
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
        let mut hasher = PrefixHasher::new(self.index.secret, frame);
        let mut begun = Begun {
            first: self.len,
            count: 0,
            lengths: likely,
        };
        let room = &mut self.sought[self.len..];
        for sought in room.iter_mut().take(AHEAD) {
            let Some(length) = begun.lengths.take() else {
                break;
            };
            #[cfg(test)]
            super::radix::work::add(1);
            let key = &frame[..length.octets];
            let in_table = length.in_table;
            let in_grid = length.in_grid.then(|| self.index.seek_in_grid(key));
            *sought = match in_grid.flatten() {
                Some(sought) => Where::InGrid {
                    sought,
                    key,
                    in_table,
                },
                None if in_table => Where::InTable(self.index.keys.seek(hasher.prefix(key.len()))),
                None => Where::Known(None),
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
            let Where::InGrid {
                sought: seat,
                key,
                in_table,
            } = sought
            else {
                continue;
            };
            *sought = match seat.holder().and_then(Met::by_only) {
                None if *in_table => {
                    is_done = false;
                    Where::InTable(index.keys.seek(index.secret.hash(key)))
                }
                met => Where::Known(met),
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
                Where::InGrid { sought, key, .. } => {
                    let met = sought.holder().and_then(Met::by_only);
                    met.or_else(|| self.index.keys.get(self.index.secret.hash(key)))
                }
                Where::Known(met) => *met,
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
            Where::Known(_) => 0,
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

/// Lengths that are looked for among few keys. Of 10 000 topics `topic/0` to `topic/9999` a match takes 84 ns like that, 94 if
/// it looks for three and 173 if for four, and of 8 to 24 letters 61, 67 and 73.
const MOST_AMONG_FEW: u32 = 2;

/// And among many, in the table, if the filters have not been asked.
const MOST_UNASKED: u32 = 4;

/// Lengths that are looked for at once: what is met takes part in no decision before all are on their way.
const AHEAD: usize = 4;

/// And that are looked for at all, of those in the first block: so many in the table, since more take as long as a walk down
/// a tree of a million keys, and with those in the grid twice as many.
const MOST: u32 = 8;

impl Iterator for Prefixes<'_> {
    type Item = Met;

    #[inline(always)]
    fn next(&mut self) -> Option<Met> {
        if self.found.0 == 0 && (!self.lengths.is_empty() || !self.is_short) {
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
            if self.lengths.is_empty() && self.next_block().is_none() {
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
        self.lengths = Likely {
            in_grid: 0,
            in_table: marker.lengths() & up_to(self.frame.len() - self.block),
        };
        Some(())
    }
}

#[cfg(test)]
impl PrefixIndex {
    /// In which so few tails have a number.
    pub(super) fn with_tails(most: usize, filtered_from: usize) -> Self {
        let index = PrefixIndex::new(filtered_from);
        PrefixIndex {
            grid: PrefixGrid::with_tails(most, most / 16, index.stems),
            ..index
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
    pub(super) fn check<'a>(&self, all: impl Iterator<Item = (&'a [u8], Met)> + Clone) {
        let places = all.clone().filter(|(key, _)| key.len() <= LONGEST);
        self.ends
            .check(places.map(|(key, _)| match self.in_grid(key) {
                Some(_) => (key, Place::Grid),
                None => (key, Place::Table),
            }));
        self.keys.check();
        self.markers.check();
        let mut len = 0;
        let mut counted = 0;
        let mut filtered = Vec::new();
        let mut in_grid = Vec::new();
        let mut marked = std::collections::HashMap::<&[u8], (u32, u64)>::new();
        for (key, met) in all {
            let is_long = key.len() > LONGEST;
            let known = self.get(key);
            assert_eq!(known, (!is_long).then_some(met), "{key:?}");
            len += usize::from(!is_long);
            counted += usize::from(met.only().is_some_and(|slot| PrefixGrid::counts(key, slot)));
            if self.in_grid(key).is_some() {
                in_grid.push(key);
            } else if !is_long {
                filtered.extend(self.end_of(key));
            }
            let last = key.len() - 1;
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
        self.grid.check_filter(in_grid.into_iter());
        self.filter.check(filtered);
        assert_eq!(self.markers.len(), marked.len());
        for (prefix, (keys, lengths)) in marked {
            let marker = self.markers.get(self.secret.hash(prefix)).unwrap();
            assert_eq!(marker.keys.get(), keys);
            assert_eq!(marker.lengths() & lengths, lengths);
        }
    }
}

#[cfg(test)]
mod tests;
