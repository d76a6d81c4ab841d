//! A hash table whose growth never stops the world, and whose look-ups wait for memory once: a [`Directory`] of small
//! tables in which every entry has two places to choose from (Azar et al., "Balanced allocations", 1999).
//!
//! A segment that is full grows by a quarter while it is small, then is split into two: what one insertion moves is a
//! thousand entries at most, where doubling one table of a million would keep all who wait for it for tens of
//! milliseconds.
//!
//! A bucket is a cache line. An entry is in one of two, of which other bits of its hash name the one, and how far the
//! other is behind it; and in the emptier one at first. So nearly all buckets can be full before there is no room. A
//! look-up touches the directory and the segment's head, which stay in cache, and these two lines, which may not:
//! both at once, and without a branch that depends on what they hold. So the processor need not guess what it will
//! find, and goes on with what comes next while it waits. Of many entries at once, [`HashIndex::seek`] finds out where
//! each may be, [`Sought::touch`] has these lines come, and [`HashIndex::found`] looks into them: so all of them are
//! waited for together, where the processor alone would see no further than the next look-up or two.
//!
//! Less memory to read was tried, and did not pay (AMD EPYC, a million topics): to look into the second bucket only if
//! the first says that it overflowed means to wait twice for one entry in seven; and what tells beforehand which
//! bucket it is, for two octets per bucket, is itself too much to stay in a second-level cache of 1 MiB.
//! Five slots of 12 octets, with 64 bits of the hash each, take 15 MiB and not 20: of 250 ns for a match by itself that
//! spares 10 to 20, of 70 for one of many at once 5, for which 31 bits are too many to give away.
//!
//! Entries are found by hash, and may be equal in it.

use super::directory::Directory;
use super::prefix_hash::PrefixHash;

/// See the module.
#[derive(Debug)]
pub(super) struct HashIndex<V> {
    segments: Directory<Segment<V>>,
    /// Those for whom a segment has no room though it is half empty, until it is made anew. There are hardly any, unless
    /// more have one hash than fit into two buckets; in a segment of a few buckets it may happen (in one of two thousand).
    strays: Vec<Entry<V>>,
    len: usize,
    vacant: Bucket<V>,
}

#[derive(Debug)]
struct Segment<V> {
    len: usize,
    /// One at least.
    buckets: Box<[Bucket<V>]>,
}

/// Slots by the parts of their hashes, of which the tags are compared all at once.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Bucket<V> {
    /// 16 bits for each slot, zeros if it is vacant.
    tags: u64,
    whole: [u64; WIDTH],
    values: [Option<V>; WIDTH],
    rest: [u16; WIDTH],
}

/// A look-up that has begun: see [`HashIndex::seek`].
#[derive(Debug)]
pub(super) struct Sought<'a, V> {
    hash: PrefixHash,
    buckets: [&'a Bucket<V>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Entry<V> {
    hash: PrefixHash,
    value: V,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy)]
enum Place {
    In {
        segment: usize,
        bucket: usize,
        slot: usize,
    },
    Stray(usize),
}

/// Slots of a bucket.
const WIDTH: usize = 4;

/// How far behind the first bucket of an entry its second is at most. So near that both are in one page of memory as a
/// rule, since finding out where a page is takes time as well; and far enough for nearly all buckets to be full before
/// there is no room.
const REACH: usize = 16;

/// Slots of a segment that is split when it is full.
const LARGEST: usize = 1024;

impl<V: Copy> HashIndex<V> {
    pub(super) fn new() -> Self {
        HashIndex {
            segments: Directory::new(Segment::new(1)),
            strays: Vec::new(),
            len: 0,
            vacant: Bucket::VACANT,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// An entry of this hash.
    #[inline]
    pub(super) fn get(&self, hash: PrefixHash) -> Option<V> {
        self.found(&self.seek(hash))
    }

    /// Begins to look for an entry of this hash: where it may be, without having looked.
    #[inline(always)]
    pub(super) fn seek(&self, hash: PrefixHash) -> Sought<'_, V> {
        let segment = self.segments.at(self.segments.number_of(hash));
        let buckets = segment.homes(hash).map(|at| &segment.buckets[at]);
        Sought { hash, buckets }
    }

    /// What is looked for in no place.
    pub(super) fn nowhere(&self) -> Sought<'_, V> {
        Sought {
            hash: PrefixHash::new(0, 0, 0),
            buckets: [&self.vacant; 2],
        }
    }

    /// Looks where [`HashIndex::seek`] says.
    #[inline(always)]
    pub(super) fn found(&self, sought: &Sought<'_, V>) -> Option<V> {
        let Sought { hash, buckets } = *sought;
        let [first, second] = buckets;
        // Bits of the first bucket before those of the second, slot by slot.
        let alike = first.alike(hash) >> 8 | second.alike(hash);
        let at = alike.trailing_zeros() as usize / 8;
        let slot = at / 2 % WIDTH;
        let bucket = buckets[at % 2];
        let differs =
            bucket.whole[slot] ^ hash.whole() | u64::from(bucket.rest[slot] ^ hash.rest());
        let missing = usize::from(differs != 0);
        // In doubt, a tag is like that of another.
        if (alike != 0) & (differs != 0) | !self.strays.is_empty() {
            return self.get_in_doubt(hash);
        }
        [bucket, &self.vacant][missing].values[slot]
    }

    /// Something is like it, or may be elsewhere.
    #[cold]
    fn get_in_doubt(&self, hash: PrefixHash) -> Option<V> {
        match self.find(hash, |_| true)? {
            Place::Stray(at) => Some(self.strays[at].value),
            Place::In {
                segment,
                bucket,
                slot,
            } => self.segments.at(segment).buckets[bucket].values[slot],
        }
    }

    /// The first entry of this hash that is the one meant.
    pub(super) fn get_mut(
        &mut self,
        hash: PrefixHash,
        is_it: impl FnMut(&V) -> bool,
    ) -> Option<&mut V> {
        match self.find(hash, is_it)? {
            Place::Stray(at) => Some(&mut self.strays[at].value),
            Place::In {
                segment,
                bucket,
                slot,
            } => self.segments.at_mut(segment).buckets[bucket].values[slot].as_mut(),
        }
    }

    pub(super) fn insert(&mut self, hash: PrefixHash, value: V) {
        let entry = Entry { hash, value };
        loop {
            let at = self.segments.number_of(hash);
            let can_split = self.segments.can_split(at);
            let segment = self.segments.at_mut(at);
            if !segment.is_full() && segment.put(entry) {
                break;
            }
            if segment.is_sparse() {
                self.strays.push(entry);
                break;
            }
            if segment.slots() >= LARGEST && can_split {
                self.split(at, hash);
            } else {
                let buckets = segment.buckets.len();
                self.resize(at, buckets + buckets / 4 + 1);
            }
        }
        self.len += 1;
    }

    pub(super) fn remove(&mut self, hash: PrefixHash, is_it: impl FnMut(&V) -> bool) -> Option<V> {
        let value = match self.find(hash, is_it)? {
            Place::Stray(at) => self.strays.swap_remove(at).value,
            Place::In {
                segment: at,
                bucket,
                slot,
            } => {
                let segment = self.segments.at_mut(at);
                let value = segment.buckets[bucket].take(slot)?;
                segment.len -= 1;
                let buckets = segment.buckets.len();
                if buckets > 1 && segment.len < segment.slots() / 8 {
                    self.resize(at, buckets / 2);
                }
                value
            }
        };
        self.len -= 1;
        if self.len == 0 {
            *self = HashIndex::new();
        }
        Some(value)
    }

    fn find(&self, hash: PrefixHash, mut is_it: impl FnMut(&V) -> bool) -> Option<Place> {
        let segment = self.segments.number_of(hash);
        let buckets = &self.segments.at(segment).buckets;
        for bucket in self.segments.at(segment).homes(hash) {
            for slot in 0..WIDTH {
                let entry = buckets[bucket].get(slot);
                if entry.is_some_and(|entry| entry.hash == hash && is_it(&entry.value)) {
                    return Some(Place::In {
                        segment,
                        bucket,
                        slot,
                    });
                }
            }
        }
        let mut strays = self.strays.iter();
        let stray = strays.position(|stray| stray.hash == hash && is_it(&stray.value));
        stray.map(Place::Stray)
    }

    /// Moves the entries whose next bit is set to a segment of their own.
    fn split(&mut self, at: usize, hash: PrefixHash) {
        let entries = self.take_entries(at).into_iter();
        let new = self.segments.split(hash, Segment::new(1));
        let is_upper = |entry: &Entry<V>| self.segments.number_of(entry.hash) == new;
        let (upper, lower): (Vec<_>, Vec<_>) = entries.partition(is_upper);
        for (at, entries) in [(new, upper), (at, lower)] {
            self.rebuild(at, buckets_for(entries.len()), &entries);
        }
    }

    fn resize(&mut self, at: usize, buckets: usize) {
        let entries = self.take_entries(at);
        self.rebuild(at, buckets, &entries);
    }

    /// The entries of a segment that is made anew, and those for whom it had no room: as long as there is one of these,
    /// every look-up takes the longer way.
    fn take_entries(&mut self, at: usize) -> Vec<Entry<V>> {
        let mut entries: Vec<_> = self.segments.at(at).entries().collect();
        for stray in std::mem::take(&mut self.strays) {
            match self.segments.number_of(stray.hash) == at {
                true => entries.push(stray),
                false => self.strays.push(stray),
            }
        }
        entries
    }

    /// Makes a segment of so many buckets, or as many more as it takes, and these entries.
    fn rebuild(&mut self, at: usize, mut buckets: usize, entries: &[Entry<V>]) {
        loop {
            let mut segment = Segment::new(buckets);
            let put = |entry: &&Entry<V>| !segment.put(**entry);
            let mut left: Vec<_> = entries.iter().filter(put).copied().collect();
            let is_crowded = segment.len * 8 > segment.slots() * 7;
            if left.is_empty() && !is_crowded || segment.is_sparse() {
                *self.segments.at_mut(at) = segment;
                self.strays.append(&mut left);
                return;
            }
            buckets += buckets / 8 + 1;
        }
    }
}

impl<V> Sought<'_, V> {
    /// Reads of both buckets, so that they are in a cache afterwards. The number means nothing; but who does not use it
    /// has read nothing.
    #[inline(always)]
    pub(super) fn touch(&self) -> u64 {
        let [first, second] = self.buckets;
        first.tags ^ second.tags
    }
}

impl<V> Clone for Sought<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Sought<'_, V> {}

/// So many that these entries fill two thirds.
fn buckets_for(entries: usize) -> usize {
    (entries * 3 / 2).div_ceil(WIDTH).max(1)
}

impl<V: Copy> Segment<V> {
    fn new(buckets: usize) -> Self {
        Segment {
            len: 0,
            buckets: vec![Bucket::VACANT; buckets].into_boxed_slice(),
        }
    }

    fn slots(&self) -> usize {
        self.buckets.len() * WIDTH
    }

    /// From here on entries would have to be moved to make room for others, again and again.
    fn is_full(&self) -> bool {
        (self.len + 1) * 8 > self.slots() * 7
    }

    /// If an entry finds no room all the same, a larger segment would have none either.
    fn is_sparse(&self) -> bool {
        self.len < self.slots() / 2
    }

    /// The buckets where an entry may be, of which the second is a little behind the first, where the first bucket of
    /// all follows on the last; perhaps one twice.
    #[inline]
    fn homes(&self, hash: PrefixHash) -> [usize; 2] {
        let buckets = self.buckets.len();
        let [low, more] = hash.places();
        let part = |bits: u32, of: usize| ((u64::from(bits) * of as u64) >> u32::BITS) as usize;
        let first = part(low, buckets);
        let second = first + 1 + part(more, buckets.min(REACH));
        // What is not beyond the end wraps around to more than anything.
        [first, second.min(second.wrapping_sub(buckets))]
    }

    /// Adds an entry; `false` if there is no room where it may be.
    fn put(&mut self, entry: Entry<V>) -> bool {
        let homes = self.homes(entry.hash);
        let [first, second] = homes.map(|at| self.buckets[at].vacant());
        let to = if second > first { homes[1] } else { homes[0] };
        if self.buckets[to].set(entry) {
            self.len += 1;
            return true;
        }
        // One that is there may go to its other bucket.
        for (at, slot) in homes
            .into_iter()
            .flat_map(|at| (0..WIDTH).map(move |slot| (at, slot)))
        {
            let Some(other) = self.buckets[at].get(slot) else {
                continue;
            };
            for elsewhere in self.homes(other.hash) {
                if elsewhere != at && self.buckets[elsewhere].set(other) {
                    self.buckets[at].take(slot);
                    self.len += 1;
                    return self.buckets[at].set(entry);
                }
            }
        }
        false
    }

    fn entries(&self) -> impl Iterator<Item = Entry<V>> + '_ {
        let slots = |bucket| (0..WIDTH).filter_map(move |slot| Bucket::get(bucket, slot));
        self.buckets.iter().flat_map(slots)
    }
}

impl<V: Copy> Bucket<V> {
    const VACANT: Self = Bucket {
        tags: 0,
        whole: [0; WIDTH],
        rest: [0; WIDTH],
        values: [None; WIDTH],
    };

    /// The slots whose entries may have this hash: the highest of the 16 bits of each. The lowest is right, others may
    /// be there that are not even alike.
    #[inline]
    fn alike(&self, hash: PrefixHash) -> u64 {
        const ONES: u64 = 0x0001_0001_0001_0001;
        let differs = self.tags ^ u64::from(hash.tag()).wrapping_mul(ONES);
        differs.wrapping_sub(ONES) & !differs & (ONES << 15)
    }

    fn get(&self, slot: usize) -> Option<Entry<V>> {
        let value = self.values[slot]?;
        let tag = (self.tags >> (16 * slot)) as u16;
        let hash = PrefixHash::of_parts(self.whole[slot], tag, self.rest[slot]);
        Some(Entry { hash, value })
    }

    /// Nothing of the entry stays, which might be taken for another.
    fn take(&mut self, slot: usize) -> Option<V> {
        self.tags &= !(0xffff << (16 * slot));
        (self.whole[slot], self.rest[slot]) = (0, 0);
        self.values[slot].take()
    }

    /// Slots without an entry.
    fn vacant(&self) -> usize {
        self.values.iter().filter(|value| value.is_none()).count()
    }

    /// Adds an entry; `false` if there is no room.
    fn set(&mut self, Entry { hash, value }: Entry<V>) -> bool {
        let Some(slot) = self.values.iter().position(Option::is_none) else {
            return false;
        };
        let tag = 16 * slot;
        self.tags = self.tags & !(0xffff << tag) | u64::from(hash.tag()) << tag;
        (self.whole[slot], self.rest[slot]) = (hash.whole(), hash.rest());
        self.values[slot] = Some(value);
        true
    }
}

#[cfg(test)]
impl<V: Copy> HashIndex<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Slots there is memory for.
    pub(super) fn capacity(&self) -> usize {
        self.segments.segments().map(Segment::slots).sum()
    }

    pub(super) const BUCKET_SIZE: usize = std::mem::size_of::<Bucket<V>>();

    /// Fails if an entry is where it cannot be found.
    pub(super) fn check(&self) {
        self.segments.check();
        let mut len = self.strays.len();
        for (id, segment) in self.segments.segments().enumerate() {
            assert!(segment.len * 8 <= segment.slots() * 7);
            for (at, bucket) in segment.buckets.iter().enumerate() {
                for entry in (0..WIDTH).filter_map(|slot| bucket.get(slot)) {
                    assert_eq!(self.segments.number_of(entry.hash), id);
                    assert!(segment.homes(entry.hash).contains(&at));
                }
            }
            assert_eq!(segment.entries().count(), segment.len);
            len += segment.len;
        }
        assert_eq!(self.len, len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::prefix_hash::HashKey;
    use super::*;

    #[test]
    fn segments_split_and_are_given_back() {
        const ENTRIES: u32 = 20_000;
        let key = HashKey::random();
        let hash = |n: u32| key.hash(&n.to_be_bytes());
        let mut index = HashIndex::new();
        for n in 0..ENTRIES {
            index.insert(hash(n), n);
            if n.is_power_of_two() {
                index.check();
            }
        }
        index.check();
        let segments = index.segments.segments().len();
        assert!(segments >= 16, "{segments}");
        assert!(index.capacity() < 2 * ENTRIES as usize);
        assert_eq!(index.strays.len(), 0);
        for n in 0..ENTRIES {
            assert_eq!(index.get(hash(n)), Some(n));
            assert_eq!(index.get(hash(ENTRIES + n)), None);
            assert!(index.get_mut(hash(n), |known| *known != n).is_none());
        }
        for n in 0..ENTRIES - 10 {
            assert_eq!(index.remove(hash(n), |known| *known == n), Some(n));
        }
        index.check();
        let segments = index.segments.segments().len();
        assert!(
            index.capacity() <= 4 * segments + 80,
            "{}",
            index.capacity()
        );
        for n in ENTRIES - 10..ENTRIES {
            assert_eq!(index.remove(hash(n), |_| true), Some(n));
        }
        index.check();
        assert_eq!((index.len(), index.segments.segments().len()), (0, 1));
    }

    #[test]
    fn what_cannot_be_told_apart_is_kept_all_the_same() {
        const ENTRIES: usize = 100;
        let same = PrefixHash::new(7, 7, 7);
        let mut index = HashIndex::new();
        for n in 0..ENTRIES {
            index.insert(same, n);
        }
        index.check();
        assert!(index.capacity() <= LARGEST, "{}", index.capacity());
        for n in (0..ENTRIES).rev() {
            assert!(index.get(same).is_some());
            assert_eq!(index.remove(same, |known| *known == n), Some(n));
        }
        assert_eq!((index.len(), index.get(same)), (0, None));
    }

    /// Five entries have one and the same place, until there are more buckets.
    #[test]
    fn who_found_no_room_has_a_place_in_a_larger_segment() {
        let mut index = HashIndex::new();
        let of_one_place = |n: u32| PrefixHash::new(n << 28, n << 24, !n);
        for n in 0..5 {
            index.insert(of_one_place(n), n);
        }
        assert_eq!(index.strays.len(), 1);
        index.check();
        let key = HashKey::random();
        for n in 5..400_u32 {
            index.insert(key.hash(&n.to_be_bytes()), n);
            index.check();
        }
        assert_eq!(index.strays.len(), 0);
        for n in 0..5 {
            assert_eq!(index.get(of_one_place(n)), Some(n));
        }
    }

    /// Two buckets: one is full, and one of its entries may be in the other as well.
    #[test]
    fn an_entry_makes_room_for_another() {
        let of = |distance: u32, high: u32| PrefixHash::new(high, 1 << 31, (distance - 1) << 31);
        let mut segment = Segment::new(2);
        assert_eq!(
            [1, 2].map(|distance| segment.homes(of(distance, 0))),
            [[1, 0], [1, 1]]
        );
        let put = |segment: &mut Segment<u32>, hash, value| segment.put(Entry { hash, value });
        assert!(put(&mut segment, of(1, 1), 1));
        for n in 2..5 {
            assert!(put(&mut segment, of(2, n), n));
        }
        assert!(put(&mut segment, of(2, 5), 5));
        assert!(!put(&mut segment, of(2, 6), 6), "these cannot go");
        let held = |bucket: usize| segment.buckets[bucket].values.iter().flatten().copied();
        assert_eq!(held(0).collect::<Vec<_>>(), [1]);
        let mut first: Vec<_> = held(1).collect();
        first.sort_unstable();
        assert_eq!(first, [2, 3, 4, 5]);
        assert_eq!(segment.len, 5);
    }

    #[test]
    fn the_places_of_an_entry_are_near_each_other() {
        let key = HashKey::random();
        for buckets in [1, 2, 3, 15, 16, 17, 18, 250] {
            let segment = Segment::<u32>::new(buckets);
            let mut seconds = vec![0; buckets];
            for n in 0..100 * buckets as u32 {
                let [first, second] = segment.homes(key.hash(&n.to_be_bytes()));
                assert!(first < buckets && second < buckets, "{first}, {second}");
                let behind = (second + buckets - first) % buckets;
                assert!(behind <= REACH, "{first}, {second}");
                assert!(behind > 0 || buckets <= REACH, "{first}, {second}");
                seconds[second] += 1;
            }
            // Each is that of a hundred, more or less.
            assert!(
                seconds.iter().all(|count| (20..200).contains(count)),
                "{seconds:?}"
            );
        }
    }

    proptest! {
        /// Few hashes, so that entries push one another aside.
        #[test]
        fn behaves_as_a_list(ops in prop::collection::vec((any::<bool>(), 0..24u32, 0..3u8), 0..200)) {
            let of = |n: u32| PrefixHash::new(n << 28, n << 27, n << 29);
            let mut index = HashIndex::new();
            let mut model = Vec::new();
            for (add, low, value) in ops {
                if add {
                    index.insert(of(low), value);
                    model.push((low, value));
                } else {
                    let at = model.iter().position(|known| *known == (low, value));
                    let taken = index.remove(of(low), |known| *known == value);
                    prop_assert_eq!(taken, at.map(|at| model.swap_remove(at).1));
                }
                index.check();
                for low in 0..24 {
                    let held: Vec<_> = model.iter().filter(|known| known.0 == low).collect();
                    let known = index.get(of(low));
                    prop_assert_eq!(known.is_some(), !held.is_empty());
                    prop_assert!(known.map_or(true, |known| held.iter().any(|held| held.1 == known)));
                    for value in 0..3 {
                        let held = held.contains(&&(low, value));
                        prop_assert_eq!(index.get_mut(of(low), |known| *known == value).is_some(), held);
                    }
                }
            }
        }
    }
}
