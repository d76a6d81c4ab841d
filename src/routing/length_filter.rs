//! Which lengths a key of a frame may have, by how the frame begins: asked before the tables of keys, which would have to be
//! asked for each length, and are in no cache.
//!
//! A key is known here by its *stem*, some of the octets it begins with, and by how many more it has. Stems fall into cells
//! by their hashes, and a cell has a bit for each of these lengths. A million topics of letters that have stems of their own
//! take 2 to 3 MiB, of which a match reads one octet for each stem that the frame has (four of keys that are made of parts,
//! whose stems are few). Of 17 lengths that leaves two, the one that there is and one that another topic in one of these cells
//! has.
//!
//! Exact in what it holds, so that it may go on for ever: of each stem and length it is counted how many keys have it, and a
//! bit is cleared with the last of its cell. That takes 8 to 11 octets more for each, which a match does not read. Growth
//! never stops the world, see [`Directory`]. When keys go, their cells stay, 2 or 3 octets for each that there was, until
//! there is none left.
//!
//! A peer cannot choose stems that meet, but it can come with topics of all lengths, that begin as those of others do. They
//! are found all the same; but if they end in any octet, a match of whatever frame asks for each of its stems, looks for what
//! these have in common with others, up to eight lengths and eight more of keys that are made of parts, and walks along the
//! tree if these are more. Beside 16 384 such topics of random octets it took 191 to 218 ns among 20 000 topics of other kinds
//! (64 to 192 by the walk alone), and 537 to 993 beside a million.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::directory::Directory;
use super::prefix_hash::PrefixHash;

/// See the module. Tells apart so many lengths of keys with the same stem: 4, 8, 16 or 32.
#[derive(Debug)]
pub(super) struct LengthFilter<const LENGTHS: usize> {
    segments: Directory<Segment>,
    /// Of each segment, by its number; apart from it, because a match reads nothing else.
    cells: Vec<Box<[Cells; CHUNK]>>,
}

/// What is known of some stems, beside the bits in its cells.
#[derive(Debug, Default)]
struct Segment {
    /// The hashes of stems, the lowest bits of which give way to the length; each once, in no order.
    ends: Vec<u32>,
    /// How many keys there are of each.
    counts: Vec<u32>,
}

/// By the lowest bits of a hash. There are several cells in an octet if they have less than eight bits.
type Cells = [u8; OCTETS];

/// Octets of the cells of a segment.
const OCTETS: usize = 1024;

/// Segments whose cells have memory together, so that these never move.
const CHUNK: usize = 16;

impl<const LENGTHS: usize> LengthFilter<LENGTHS> {
    const CELLS: usize = OCTETS * 8 / LENGTHS;

    /// Of how many stems and lengths a segment is split: as many as one goes through in 100 ns, and no more than half as many
    /// as there are cells, or what a frame has in common with others by chance would be too many lengths.
    const LARGEST: usize = if LENGTHS <= 8 {
        OCTETS / 2
    } else {
        Self::CELLS / 2
    };

    pub(super) fn new() -> Self {
        LengthFilter {
            segments: Directory::new(Segment::default()),
            cells: vec![Box::new([[0; OCTETS]; CHUNK])],
        }
    }

    /// The lengths that keys with this stem may have, the shortest in the lowest bit.
    #[inline(always)]
    pub(super) fn lengths(&self, stem: PrefixHash) -> u64 {
        #[cfg(test)]
        super::radix::work::add(1);
        let first = Self::cell_of(stem.high());
        let number = self.segments.number_of(stem);
        let cells = &self.cells[number / CHUNK][number % CHUNK];
        if LENGTHS <= 8 {
            return u64::from(cells[first / 8] >> (first % 8)) & ((1 << LENGTHS) - 1);
        }
        let octets = cells[first / 8..][..LENGTHS / 8].iter().rev();
        octets.fold(0, |lengths, octet| lengths << 8 | u64::from(*octet))
    }

    /// A key has come that has this of the lengths.
    pub(super) fn add(&mut self, stem: PrefixHash, length: usize) {
        let end = Self::end_of(stem, length);
        loop {
            let at = self.segments.number_of(stem);
            let can_split = self.segments.can_split(at);
            let segment = self.segments.at_mut(at);
            // If its bit is not set it is not there, as most are not that come.
            let is_set = Self::is_set(&self.cells[at / CHUNK][at % CHUNK], end);
            if let Some(known) = is_set.then(|| segment.position(end)).flatten() {
                // No more than there are keys.
                segment.counts[known] = segment.counts[known].saturating_add(1);
                return;
            }
            if segment.ends.len() < Self::LARGEST || !can_split {
                return self.put(at, end, 1);
            }
            self.split(at, stem);
        }
    }

    /// And has gone.
    pub(super) fn remove(&mut self, stem: PrefixHash, length: usize) {
        let end = Self::end_of(stem, length);
        let at = self.segments.number_of(stem);
        let segment = self.segments.at_mut(at);
        let Some(known) = segment.position(end) else {
            return;
        };
        segment.counts[known] -= 1;
        if segment.counts[known] > 0 {
            return;
        }
        segment.take(known);
        // Others may need its bit.
        let octet = Self::bit_of(end) / 8;
        let cells = &mut self.cells[at / CHUNK][at % CHUNK];
        cells[octet] = 0;
        let of_octet = |known: &&u32| Self::bit_of(**known) / 8 == octet;
        segment
            .ends
            .iter()
            .filter(of_octet)
            .for_each(|known| Self::set(cells, *known));
    }

    /// Moves those whose next bit is set to a segment of their own.
    fn split(&mut self, at: usize, stem: PrefixHash) {
        let new = self.segments.split(stem, Segment::default());
        if new / CHUNK == self.cells.len() {
            self.cells.push(Box::new([[0; OCTETS]; CHUNK]));
        }
        let whole = std::mem::take(self.segments.at_mut(at));
        self.cells[at / CHUNK][at % CHUNK] = [0; OCTETS];
        for (end, count) in whole.ends.into_iter().zip(whole.counts) {
            let to = self.segments.number_of(PrefixHash::new(end, 0, 0));
            self.put(to, end, count);
        }
    }

    /// Adds what is not in this segment.
    fn put(&mut self, at: usize, end: u32, count: u32) {
        let segment = self.segments.at_mut(at);
        segment.ends.push(end);
        segment.counts.push(count);
        Self::set(&mut self.cells[at / CHUNK][at % CHUNK], end);
    }

    /// A stem and a length, as a segment keeps them.
    #[inline]
    fn end_of(stem: PrefixHash, length: usize) -> u32 {
        debug_assert!(length < LENGTHS);
        let lengths = LENGTHS as u32;
        stem.high() / lengths * lengths + length as u32
    }

    /// The lowest of the bits of a hash.
    #[inline(always)]
    fn cell_of(high: u32) -> usize {
        high as usize / LENGTHS % Self::CELLS * LENGTHS
    }

    /// The one for the length in it.
    fn bit_of(end: u32) -> usize {
        Self::cell_of(end) + end as usize % LENGTHS
    }

    fn set(cells: &mut Cells, end: u32) {
        let bit = Self::bit_of(end);
        cells[bit / 8] |= 1 << (bit % 8);
    }

    fn is_set(cells: &Cells, end: u32) -> bool {
        let bit = Self::bit_of(end);
        cells[bit / 8] >> (bit % 8) & 1 == 1
    }
}

impl Segment {
    /// Where this end is.
    fn position(&self, end: u32) -> Option<usize> {
        // Compared many at a time, as they are without a decision after each.
        const AT_ONCE: usize = 32;
        let mut chunks = self.ends.chunks(AT_ONCE);
        let is_there = |chunk: &[u32]| chunk.iter().fold(false, |is, known| is | (*known == end));
        let chunk = chunks.position(is_there)?;
        let first = chunk * AT_ONCE;
        let within = self.ends[first..].iter().position(|known| *known == end);
        within.map(|at| first + at)
    }

    /// Takes out what is at this place, and gives memory back after a burst.
    fn take(&mut self, at: usize) {
        self.ends.swap_remove(at);
        self.counts.swap_remove(at);
        let len = self.ends.len();
        if len < self.ends.capacity() / 4 {
            self.ends.shrink_to(2 * len);
            self.counts.shrink_to(2 * len);
        }
    }
}

/// Hashes the stems of a frame, each of which is longer by some octets than the one before, for less time than it takes to
/// wait for a cache: keyed, so that nobody can choose stems that meet, but with a product per number of octets and no more,
/// since all that it decides is what takes how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct StemHasher {
    state: u64,
    secret: u64,
}

/// The secret of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StemKey([u64; 2]);

impl StemKey {
    pub(super) fn random() -> Self {
        let random = RandomState::new();
        // Odd, so that a product with it loses nothing.
        StemKey([random.hash_one(0), random.hash_one(1) | 1])
    }

    #[cfg(test)]
    pub(super) const fn fixed(state: u64, secret: u64) -> Self {
        StemKey([state, secret | 1])
    }

    /// Of no octets.
    #[inline(always)]
    pub(super) fn hasher(self) -> StemHasher {
        let StemKey([state, secret]) = self;
        StemHasher { state, secret }
    }

    /// The hash of this stem, of whole parts.
    pub(super) fn hash(self, stem: &[u8]) -> PrefixHash {
        let mut hasher = self.hasher();
        stem.chunks_exact(PART).for_each(|part| hasher.add(part));
        hasher.hash()
    }
}

/// Octets of the parts of a stem.
pub(super) const PART: usize = 4;

impl StemHasher {
    /// Goes on by a part.
    #[inline(always)]
    pub(super) fn add(&mut self, part: &[u8]) {
        let part = part.try_into().map_or(0, u32::from_le_bytes);
        let product = u128::from(self.state ^ u64::from(part)) * u128::from(self.secret);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    #[inline(always)]
    pub(super) fn hash(&self) -> PrefixHash {
        PrefixHash::new((self.state >> 32) as u32, self.state as u32, 0)
    }
}

#[cfg(test)]
impl<const LENGTHS: usize> LengthFilter<LENGTHS> {
    /// Segments, and how many ends they have memory for.
    pub(super) fn sizes(&self) -> [usize; 2] {
        let segments = self.segments.segments();
        let ends = segments.map(|segment| segment.ends.capacity().max(segment.counts.capacity()));
        [self.segments.segments().len(), ends.sum()]
    }

    /// Fails if this is not what keys with these stems and lengths make.
    pub(super) fn check(&self, keys: Vec<(PrefixHash, usize)>) {
        self.segments.check();
        let mut model = std::collections::BTreeMap::<u32, u32>::new();
        for (stem, length) in keys {
            *model.entry(Self::end_of(stem, length)).or_default() += 1;
        }
        let mut ends = 0;
        for (number, segment) in self.segments.segments().enumerate() {
            let mut cells = [0; OCTETS];
            for (end, count) in segment.ends.iter().zip(&segment.counts) {
                let hash = PrefixHash::new(*end, 0, 0);
                assert_eq!(self.segments.number_of(hash), number);
                assert_eq!(model.get(end), Some(count));
                Self::set(&mut cells, *end);
                ends += 1;
            }
            assert_eq!(self.cells[number / CHUNK][number % CHUNK], cells);
        }
        assert_eq!(ends, model.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: StemKey = StemKey::fixed(0x0123_4567_89ab_cdef, 0x9e37_79b9_7f4a_7c15);

    fn stem(n: u32) -> PrefixHash {
        KEY.hash(&n.to_be_bytes())
    }

    fn all<const LENGTHS: usize>(stems: u32) {
        let keys = || (0..stems).map(|n| (stem(n), n as usize % LENGTHS));
        let mut filter = LengthFilter::<LENGTHS>::new();
        for (stem, length) in keys() {
            filter.add(stem, length);
        }
        filter.check(keys().collect());
        let segments = filter.segments.segments().len();
        assert!(segments * LengthFilter::<LENGTHS>::LARGEST >= stems as usize);
        assert!(
            segments * LengthFilter::<LENGTHS>::LARGEST < 3 * stems as usize,
            "{segments}"
        );
        for (stem, length) in keys() {
            assert_eq!(filter.lengths(stem) >> length & 1, 1);
        }
        // What nobody has shares a cell with at most half as many as there are octets.
        let others = (0..stems).map(|n| filter.lengths(stem(stems + n)).count_ones());
        let others: u32 = others.sum();
        assert!(others < stems * LENGTHS as u32 / 8, "{others}");
        for (n, (stem, length)) in keys().enumerate() {
            filter.remove(stem, length);
            if n % 1000 == 0 {
                filter.check(keys().skip(n + 1).collect());
            }
        }
        filter.check(Vec::new());
        let kept = filter
            .segments
            .segments()
            .map(|segment| segment.ends.capacity() + segment.counts.capacity());
        assert_eq!(kept.sum::<usize>(), 0, "memory of what has gone");
    }

    #[test]
    fn lengths_are_told_as_long_as_there_are_such_keys() {
        all::<4>(20_000);
        all::<8>(20_000);
        all::<32>(5_000);
    }

    #[test]
    fn the_memory_of_what_has_gone_is_given_back() {
        let mut filter = LengthFilter::<4>::new();
        (0..20_000).for_each(|n| filter.add(stem(n), 1));
        (10..20_000).for_each(|n| filter.remove(stem(n), 1));
        filter.check((0..10).map(|n| (stem(n), 1)).collect());
        let [_, ends] = filter.sizes();
        assert!(ends <= 4 * 10, "{ends}");
    }

    #[test]
    fn keys_of_one_stem_and_length_are_counted() {
        let mut filter = LengthFilter::<4>::new();
        for keys in [1, 2, 3] {
            filter.add(stem(7), 2);
            filter.check(vec![(stem(7), 2); keys]);
        }
        filter.add(stem(7), 0);
        assert_eq!(filter.lengths(stem(7)), 0b101);
        for _ in 0..3 {
            assert_eq!(filter.lengths(stem(7)), 0b101);
            filter.remove(stem(7), 2);
        }
        assert_eq!(filter.lengths(stem(7)), 0b001);
        // Of what is not there nothing goes.
        filter.remove(stem(7), 2);
        filter.check(vec![(stem(7), 0)]);
    }

    /// More than a segment is split for, of which all bits that choose a segment are alike.
    #[test]
    fn what_cannot_be_split_is_kept_all_the_same() {
        let alike = |n: u32| PrefixHash::new(0xabcd_e000 | n << 2, 0, 0);
        let all = || (0..1024).map(|n| (alike(n), n as usize % 4));
        assert!(all().len() > LengthFilter::<4>::LARGEST);
        let mut filter = LengthFilter::<4>::new();
        for (stem, length) in all() {
            filter.add(stem, length);
        }
        filter.check(all().collect());
        // One more for each bit that chooses one.
        assert_eq!(filter.sizes()[0], 1 + 20);
        for (stem, length) in all() {
            assert_eq!(filter.lengths(stem), 1 << length);
            filter.remove(stem, length);
            assert_eq!(filter.lengths(stem), 0);
        }
    }

    #[test]
    fn a_stem_is_hashed_part_by_part() {
        let stem = b"site/07/rack";
        let mut hasher = KEY.hasher();
        let mut hashes = vec![hasher.hash()];
        for (at, part) in stem.chunks_exact(PART).enumerate() {
            assert_eq!(hasher.hash(), KEY.hash(&stem[..at * PART]));
            hasher.add(part);
            assert!(!hashes.contains(&hasher.hash()));
            hashes.push(hasher.hash());
        }
        assert_eq!(hasher.hash(), KEY.hash(stem));
        assert_ne!(KEY.hash(stem), StemKey::random().hash(stem));
    }
}
