//! Keys that begin as many others do, and end as many others do: by both.
//!
//! A million topics are not a million different things as a rule. They are made of parts, `site/07/rack/003` before
//! and `/host12/m` behind, and the million is how many ways there are to put a few of the one and a few of the other
//! together. A [`HashIndex`](super::hash_index::HashIndex) keeps 21 octets for each of them, which no cache holds. Here
//! each *tail* has a number, each *head* a page for any 52 of these numbers, and a key is one cell of an octet: who holds
//! it (two if there are more than 255 peers). Of a million topics with ten thousand heads and a hundred tails that is
//! 2 MiB. A match looks for the page by the hash of the head, and has its cell where it has found it, see [`PageTable`].
//!
//! A key is cut where a reader would, so that its tail has fifteen octets at most and its head four at least: before the last
//! two digits of the last number of two or more, or before the last digit, so that `sensor/123456/temperature` is one of a
//! hundred keys of its head and one of ten thousand of its tail; or else behind the last separator that is not its last
//! octet; or else, if it has nine octets or more, before its last eight to fifteen (after eight octets, if there are fewer
//! than sixteen). It depends on nothing but the key, so that a key has one place.
//!
//! Most keys of other kinds have a head or a tail of their own, for which a page or a number would be a waste. So these are
//! made for what has been seen often, which a [`Census`] tells: a page takes no more memory than the keys that it was made
//! for would elsewhere. These [move](PrefixGrid::put_known) into it then.
//!
//! Also kept elsewhere: what more than one peer holds, or one with a slot number that a cell has no room for.
//!
//! Heads are taken to be the same if their hashes are, see [`prefix_index`](super::prefix_index); tails are compared.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use super::length_filter::{LengthFilter, StemKey};
use super::page_table::{self, Cell, PageTable, PAGE};
use super::prefix_hash::{HashKey, PrefixHash};

mod parts;

pub(super) use parts::LONGEST_TAIL;
use parts::{Parts, FILTERED};

/// See the module.
#[derive(Debug)]
pub(super) struct PrefixGrid {
    tails: HashMap<u128, Tail, Mixer>,
    /// By number, in how many keys a tail is.
    uses: Vec<u32>,
    /// See [`MOST_TAILS`].
    most_tails: usize,
    /// See [`FIRST_TAILS`].
    first_tails: usize,
    /// Numbers below that no tail has, the next one last, by [`kind_of`] the tails that are to have them.
    free_tails: [Vec<Tail>; KINDS],
    /// By the hashes of heads, to which is added for which tails a page is. In a cell is the slot number of the peer that
    /// holds a key, and one more.
    pages: PageTable,
    /// Which lengths keys have, by their heads.
    filter: LengthFilter<FILTERED>,
    stems: StemKey,
    census: Census,
    mixer: Mixer,
}

/// The number of a tail.
type Tail = u16;

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is to be kept elsewhere, and [`PrefixGrid::forget`] told when it goes from there.
    Elsewhere,
    Here,
    /// And there is room now for others that begin with as many octets of it, which are elsewhere.
    HereWithOthers {
        head: usize,
    },
}

impl Put {
    /// How many octets others have in common with it for which there is room now.
    pub(super) fn others(self) -> Option<usize> {
        match self {
            Put::HereWithOthers { head } => Some(head),
            Put::Elsewhere | Put::Here => None,
        }
    }
}

/// Where a key is if it is here, without having looked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought<'a> {
    page: page_table::Sought<'a>,
    cell: usize,
}

impl Sought<'_> {
    /// See [`page_table::Sought::touch`].
    #[inline(always)]
    pub(super) fn touch(&self) -> u64 {
        self.page.touch()
    }

    /// The slot number of who holds the key.
    #[inline(always)]
    pub(super) fn holder(&self) -> Option<u32> {
        u32::from(self.page.cell(self.cell)?).checked_sub(1)
    }
}

/// How many keys must have been seen of a tail, this one included, for it to have a number.
const TAILS_FROM: u8 = 8;

/// But for so many tails, which have one at once: or else those keys would stay elsewhere that came before their tail was
/// common, as `topic/100` does if `topic/200` comes later, and each match would look for them there.
const FIRST_TAILS: usize = 1 << 10;

/// And of a head, with tails of one page, for it to have this page. Ten keys take 210 octets elsewhere; a page takes some
/// 107, and 87 more where there are more than 255 peers. Of fewer, a census takes others for them too often: of 300
/// publishers with 5000 heads of one tail, 274 had a page with six, 12 with eight; and each match looked for one.
const PAGES_FROM: u8 = 10;

/// Tails there may be: so many that those in use stay in a cache.
const MOST_TAILS: usize = 1 << 14;

impl PrefixGrid {
    /// That knows heads by this key as well.
    pub(super) fn new(stems: StemKey) -> Self {
        PrefixGrid::mixed_by(Mixer::random(), stems)
    }

    fn mixed_by(mixer: Mixer, stems: StemKey) -> Self {
        PrefixGrid {
            tails: HashMap::with_hasher(mixer),
            uses: Vec::new(),
            free_tails: Default::default(),
            pages: PageTable::new(),
            filter: LengthFilter::new(),
            stems,
            most_tails: MOST_TAILS,
            first_tails: FIRST_TAILS,
            census: Census::default(),
            mixer,
        }
    }

    /// Nothing is in it.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The lengths of the keys whose heads have so many octets in whole parts, with this hash; that of one octet in the
    /// lowest bit.
    #[inline(always)]
    pub(super) fn lengths(&self, stem: PrefixHash, octets: usize) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.filter.lengths(stem) << octets
    }

    /// Those of these lengths of which a key may be here, since its tail has a number: that takes no trip to memory.
    pub(super) fn known(&self, frame: &[u8], mut lengths: u64) -> u64 {
        let mut known = 0;
        while lengths != 0 {
            let len = lengths.trailing_zeros() as usize;
            lengths &= lengths - 1;
            let parts = frame.get(..=len).and_then(Parts::of);
            let is_known = parts.is_some_and(|parts| self.tails.contains_key(&parts.tail));
            known |= u64::from(is_known) << len;
        }
        known
    }

    /// Where to look for this key; `None` if it is not here.
    #[inline(always)]
    pub(super) fn seek(&self, secret: HashKey, key: &[u8]) -> Option<Sought<'_>> {
        let parts = Parts::of(key)?;
        // First, since there are few, and others have none of these.
        let tail = *self.tails.get(&parts.tail)?;
        let page = self.pages.seek(page_of(secret, parts, tail));
        let cell = cell_at(tail);
        Some(Sought { page, cell })
    }

    /// Adds a key that is not here.
    pub(super) fn put(&mut self, secret: HashKey, key: &[u8], holder: u32) -> Put {
        let (Some(parts), Some(holder)) = (Parts::of(key), cell_of(holder)) else {
            return Put::Elsewhere;
        };
        let Some(tail) = self.number_of(parts.tail) else {
            return Put::Elsewhere;
        };
        let hash = page_of(secret, parts, tail);
        if self.pages.get(hash, cell_at(tail)).is_some() {
            self.pages.set(hash, cell_at(tail), holder);
            self.came(parts, tail);
            return Put::Here;
        }
        if self.census.add(hash.whole()) < PAGES_FROM {
            return Put::Elsewhere;
        }
        self.pages.add(hash, cell_at(tail), holder);
        self.came(parts, tail);
        self.census.settle(hash.whole());
        Put::HereWithOthers {
            head: parts.head.len(),
        }
    }

    /// Adds a key that is kept elsewhere, if there is a place for it by now.
    pub(super) fn put_known(&mut self, secret: HashKey, key: &[u8], holder: u32) -> bool {
        let (Some((parts, tail, hash)), Some(holder)) =
            (self.look_up(secret, key), cell_of(holder))
        else {
            return false;
        };
        let is_vacant = self.pages.get(hash, cell_at(tail)) == Some(0);
        if is_vacant {
            self.pages.set(hash, cell_at(tail), holder);
            self.came(parts, tail);
            self.census.leave();
        }
        is_vacant
    }

    /// A key that this peer held and that is kept elsewhere is gone.
    pub(super) fn forget(&mut self, secret: HashKey, key: &[u8], holder: u32) {
        let (Some(parts), Some(_)) = (Parts::of(key), cell_of(holder)) else {
            return;
        };
        match self.tails.get(&parts.tail) {
            Some(tail) => {
                let hash = page_of(secret, parts, *tail);
                self.census.remove(hash.whole());
            }
            None => self.census.remove(self.mixer.hash_one(parts.tail)),
        }
    }

    /// Takes a key out, if it is here.
    pub(super) fn remove(&mut self, secret: HashKey, key: &[u8]) -> bool {
        let Some((parts, tail, hash)) = self.look_up(secret, key) else {
            return false;
        };
        if self.pages.take(hash, cell_at(tail)) == 0 {
            return false;
        }
        self.uses[usize::from(tail)] -= 1;
        let (stem, length) = parts.end(self.stems);
        self.filter.remove(stem, length);
        if self.pages.is_empty() {
            self.give_back();
        }
        true
    }

    /// Another peer holds a key, if it is here.
    pub(super) fn change(&mut self, secret: HashKey, key: &[u8], holder: u32) -> bool {
        let (Some((_, tail, hash)), Some(holder)) = (self.look_up(secret, key), cell_of(holder))
        else {
            return false;
        };
        let known = self.pages.get(hash, cell_at(tail));
        let is_here = known.is_some_and(|known| known > 0);
        if is_here {
            self.pages.set(hash, cell_at(tail), holder);
        }
        is_here
    }

    /// A key with this tail is here now.
    fn came(&mut self, parts: Parts<'_>, tail: Tail) {
        self.uses[usize::from(tail)] += 1;
        let (stem, length) = parts.end(self.stems);
        self.filter.add(stem, length);
    }

    /// The number of a key's tail, and what its page is found by.
    fn look_up<'a>(&self, secret: HashKey, key: &'a [u8]) -> Option<(Parts<'a>, Tail, PrefixHash)> {
        let parts = Parts::of(key)?;
        let tail = *self.tails.get(&parts.tail)?;
        Some((parts, tail, page_of(secret, parts, tail)))
    }

    /// The number of a tail, which it may be given now.
    fn number_of(&mut self, tail: u128) -> Option<Tail> {
        if let Some(number) = self.tails.get(&tail) {
            return Some(*number);
        }
        let is_first = self.tails.len() < self.first_tails;
        let hash = self.mixer.hash_one(tail);
        if !is_first && self.census.add(hash) < TAILS_FROM {
            return None;
        }
        if self.tails.len() == self.most_tails {
            self.drop_tails();
        }
        let number = self.free_number(kind_of(tail))?;
        self.tails.insert(tail, number);
        if !is_first {
            self.census.settle(hash);
        }
        Some(number)
    }

    /// A number for a tail of this kind, `None` if there is none left.
    fn free_number(&mut self, kind: usize) -> Option<Tail> {
        if self.free_tails[kind].is_empty() {
            let first = self.uses.len();
            // Those of a page.
            let end = (first + PAGE).min(self.most_tails);
            self.uses.resize(end, 0);
            self.free_tails[kind].extend((first..end).rev().map(|number| number as Tail));
        }
        let own = self.free_tails[kind].pop();
        own.or_else(|| self.free_tails.iter_mut().find_map(Vec::pop))
    }

    /// Takes the numbers from tails that need none, if there may be many.
    #[cold]
    fn drop_tails(&mut self) {
        let uses = &self.uses;
        if uses.iter().filter(|uses| **uses == 0).count() < self.most_tails / 8 {
            return;
        }
        self.tails.retain(|tail, number| {
            let is_used = uses[usize::from(*number)] > 0;
            self.free_tails[kind_of(*tail)].extend((!is_used).then_some(*number));
            is_used
        });
    }

    /// Gives back the memory of what there was.
    fn give_back(&mut self) {
        self.tails = HashMap::with_hasher(self.mixer);
        self.uses = Vec::new();
        self.free_tails = Default::default();
        self.filter = LengthFilter::new();
    }
}

/// Tails of one kind are those of the same heads as a rule, and should be on the same pages: by the digits that they begin
/// with, of which they have two, or one, or none.
fn kind_of(tail: u128) -> usize {
    let octets = tail.to_le_bytes();
    octets[..2]
        .iter()
        .take_while(|octet| octet.is_ascii_digit())
        .count()
}

const KINDS: usize = 3;

/// What the page is found by on which this head and tail are.
#[inline(always)]
fn page_of(secret: HashKey, parts: Parts<'_>, tail: Tail) -> PrefixHash {
    let head = secret.hash(parts.head);
    head.with(u32::from(tail) / PAGE as u32)
}

/// Which cell of its page a tail has.
#[inline(always)]
fn cell_at(tail: Tail) -> usize {
    usize::from(tail) % PAGE
}

fn cell_of(holder: u32) -> Option<Cell> {
    Cell::try_from(holder.checked_add(1)?).ok()
}

/// How often heads that have no page and tails that have no number were seen, roughly: since it last had another size, and
/// hardly ever more often than they were.
#[derive(Debug, Default)]
struct Census {
    /// By the highest bits of a hash; a power of two.
    counts: Vec<u8>,
    /// Keys that are elsewhere. It must not grow with others, which come and go as often as a peer likes.
    added: usize,
}

impl Census {
    const FEWEST: usize = 1 << 12;

    /// Counts one more, and tells how many there are.
    fn add(&mut self, hash: u64) -> u8 {
        self.added += 1;
        if self.added > self.counts.len() {
            self.make_room();
        }
        let count = self.count_mut(hash);
        *count = count.saturating_add(1);
        *count
    }

    fn remove(&mut self, hash: u64) {
        self.leave();
        if !self.counts.is_empty() {
            let count = self.count_mut(hash);
            *count = count.saturating_sub(1);
        }
    }

    /// What has just been added has a number or a page now and is counted no more: others that are counted in the same
    /// place would seem to be common. Nor is it as soon as it has lost that.
    fn settle(&mut self, hash: u64) {
        self.leave();
        *self.count_mut(hash) = 0;
    }

    /// A key is elsewhere no more; what it was counted for is not counted any longer.
    fn leave(&mut self) {
        self.added = self.added.saturating_sub(1);
        if self.counts.len() > Self::FEWEST && self.added < self.counts.len() / 16 {
            self.make_room();
        }
    }

    /// As much as is due. What was counted is forgotten: it would have to be counted anew, which takes time, while
    /// somebody waits.
    #[cold]
    fn make_room(&mut self) {
        self.counts = vec![0; (2 * self.added).next_power_of_two().max(Self::FEWEST)];
    }

    fn count_mut(&mut self, hash: u64) -> &mut u8 {
        let bits = self.counts.len().trailing_zeros();
        &mut self.counts[(hash >> (u64::BITS - bits)) as usize]
    }
}

/// Hashes tails, with a secret: who chooses topics cannot choose which of them meet.
#[derive(Debug, Clone, Copy)]
struct Mixer([u64; 2]);

/// See [`Mixer`].
struct Mixed {
    secret: [u64; 2],
    hash: u64,
}

impl Mixer {
    fn random() -> Self {
        let random = std::collections::hash_map::RandomState::new();
        Mixer([random.hash_one(0), random.hash_one(1)])
    }
}

impl BuildHasher for Mixer {
    type Hasher = Mixed;

    #[inline(always)]
    fn build_hasher(&self) -> Mixed {
        let Mixer(secret) = *self;
        Mixed { secret, hash: 0 }
    }
}

impl Hasher for Mixed {
    #[inline(always)]
    fn write_u128(&mut self, number: u128) {
        let [a, b] = self.secret;
        let [low, high] = [number as u64 ^ a, (number >> 64) as u64 ^ b ^ self.hash];
        let product = u128::from(low) * u128::from(high);
        self.hash = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, octets: &[u8]) {
        for octets in octets.chunks(16) {
            let number = octets
                .iter()
                .fold(0, |number, octet| number << 8 | u128::from(*octet));
            self.write_u128(number);
        }
    }

    #[inline(always)]
    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
impl PrefixGrid {
    /// With so few numbers for tails, so many of them for the first.
    pub(super) fn with_tails(most: usize, first: usize, stems: StemKey) -> Self {
        PrefixGrid {
            most_tails: most,
            first_tails: first,
            ..PrefixGrid::new(stems)
        }
    }

    /// Keys that are in it.
    pub(super) fn len(&self) -> usize {
        self.pages.cells()
    }

    /// Whether this may be here, if it is held by one peer.
    pub(super) fn counts(key: &[u8], slot: u32) -> bool {
        Parts::of(key).is_some() && cell_of(slot).is_some()
    }

    /// Fails if its filter does not know just these keys.
    pub(super) fn check_filter<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let ends = keys.map(|key| Parts::of(key).unwrap().end(self.stems));
        self.filter.check(ends.collect());
    }

    /// Fails if its parts contradict each other, or if it does not count as many keys that are elsewhere.
    pub(super) fn check_beside(&self, elsewhere: usize) {
        assert_eq!(self.census.added, elsewhere);
        self.check();
    }

    /// Fails if its parts contradict each other.
    fn check(&self) {
        self.pages.check();
        assert!(self.tails.values().all(|tail| !self
            .free_tails
            .iter()
            .flatten()
            .any(|free| free == tail)));
        let uses: u32 = self.uses.iter().sum();
        assert_eq!(uses as usize, self.len());
        let free: usize = self.free_tails.iter().map(Vec::len).sum();
        assert_eq!(self.tails.len() + free, self.uses.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same in each run: what a census takes for another depends on it.
    const SECRET: HashKey = HashKey::fixed(1, 2);

    /// And in which no tail has a number before it is common.
    fn unmixed() -> PrefixGrid {
        let mixer = Mixer([0x8ebc_6af0_9c88_c6e3, 0x5899_65cc_7537_4cc3]);
        let stems = StemKey::fixed(0x0123_4567_89ab_cdef, 0x9e37_79b9_7f4a_7c15);
        PrefixGrid {
            first_tails: 0,
            ..PrefixGrid::mixed_by(mixer, stems)
        }
    }

    /// Which is cut behind the stroke.
    fn key(head: usize, tail: usize) -> Vec<u8> {
        let letters = (0..14).map(|at| (b'a' + (tail >> (2 * at) & 3) as u8) as char);
        format!("h{head:07}/{}", letters.collect::<String>()).into_bytes()
    }

    /// The slot number of who holds a key that is here.
    fn holder(grid: &PrefixGrid, key: &[u8]) -> Option<u32> {
        grid.seek(SECRET, key).and_then(|sought| sought.holder())
    }

    /// With the keys of so many heads and tails, and none elsewhere.
    fn grid(heads: usize, tails: usize) -> PrefixGrid {
        let mut grid = unmixed();
        for tail in 0..tails {
            let others = 1_000..1_000 + usize::from(TAILS_FROM);
            let others: Vec<_> = others.map(|head| key(head + 8 * tail, tail)).collect();
            for key in &others {
                assert_eq!(grid.put(SECRET, key, 7), Put::Elsewhere);
            }
            others.iter().for_each(|key| grid.forget(SECRET, key, 7));
        }
        for head in 0..heads {
            for tail in 0..tails {
                grid.put(SECRET, &key(head, tail), 7);
            }
            for tail in 0..tails {
                grid.put_known(SECRET, &key(head, tail), 7);
            }
        }
        grid.check();
        grid
    }

    #[test]
    fn keys_of_common_parts_are_cells() {
        let mut grid = grid(50, 100);
        assert_eq!((grid.len(), grid.pages.len()), (5_000, 100));
        for head in 0..50 {
            for tail in 0..100 {
                let key = key(head, tail);
                assert_eq!(holder(&grid, &key), Some(7));
                assert!(grid.change(SECRET, &key, 8));
                assert_eq!(holder(&grid, &key), Some(8));
                assert!(grid.remove(SECRET, &key));
                assert!(!grid.remove(SECRET, &key) && !grid.change(SECRET, &key, 9));
            }
            grid.check();
        }
        assert!(grid.is_empty());
        assert_eq!((grid.pages.capacity(), grid.uses.capacity()), (1, 0));
    }

    /// One may be common; not both.
    #[test]
    fn keys_of_other_kinds_take_nothing() {
        for (heads, tails) in [(1, 1_000), (1_000, 1)] {
            let mut grid = unmixed();
            for (head, tail) in (0..heads)
                .zip((0..tails).cycle())
                .chain((0..tails).map(|tail| (0, tail)))
            {
                grid.put(SECRET, &key(head, tail), 7);
            }
            grid.check();
            assert!(grid.len() <= 10, "{} of {heads} heads", grid.len());
            assert!(grid.pages.len() <= 10 && grid.tails.len() <= 10);
        }
    }

    /// `topic/0` to `topic/999`, in whatever order: none has to be looked for elsewhere.
    #[test]
    fn the_first_tails_have_a_number_at_once() {
        for reverse in [false, true] {
            let mut grid = unmixed();
            grid.first_tails = FIRST_TAILS;
            let mut all: Vec<_> = (0..1_000)
                .map(|n| format!("topic/{n}").into_bytes())
                .collect();
            if reverse {
                all.reverse();
            }
            for key in &all {
                grid.put(SECRET, key, 7);
            }
            for key in &all {
                let is_here = holder(&grid, key).is_some();
                assert!(is_here || grid.put_known(SECRET, key, 7), "{key:?}");
            }
            grid.check();
            // Ten of one digit and a hundred of two.
            assert_eq!((grid.len(), grid.tails.len()), (1_000, 110));
            // Ten heads with those of two digits on two pages each, and one of them with those of one on another.
            assert_eq!(grid.pages.len(), 10 * 2 + 1);
        }
    }

    /// Of two kinds in turn, and such as are words.
    #[test]
    fn tails_of_one_kind_are_on_the_same_pages() {
        let mut grid = unmixed();
        grid.first_tails = FIRST_TAILS;
        let tails = |n: usize| {
            let word = char::from(b'a' + n as u8 % 26);
            [
                format!("{}/x", n % 10),
                format!("{n:02}/x"),
                format!("{word}{word:?}"),
            ]
        };
        let mut pages = [(); 3].map(|()| std::collections::BTreeSet::new());
        for n in 0..PAGE {
            for (tail, pages) in tails(n).iter().zip(&mut pages) {
                let key = [b"head", tail.as_bytes()].concat();
                let tail = Parts::of(&key).unwrap().tail;
                pages.insert(usize::from(grid.number_of(tail).unwrap()) / PAGE);
            }
        }
        assert_eq!(pages.map(Vec::from_iter), [[0], [1], [2]]);
    }

    #[test]
    fn a_page_that_has_gone_is_not_made_for_the_next_key() {
        let mut grid = grid(50, PAGE);
        (0..PAGE).for_each(|tail| assert!(grid.remove(SECRET, &key(3, tail))));
        grid.check();
        for tail in 1..PAGES_FROM {
            let key = key(3, usize::from(tail));
            assert_eq!(grid.put(SECRET, &key, 7), Put::Elsewhere, "{tail}");
        }
        let put = grid.put(SECRET, &key(3, 0), 7);
        assert_eq!(put, Put::HereWithOthers { head: 9 });
        // The page that was there before.
        assert_eq!(grid.pages.len(), 50);
        grid.check();
    }

    /// Whoever subscribes and cancels on and on takes no more memory than at first.
    #[test]
    fn pages_that_come_and_go_take_nothing() {
        let mut grid = grid(1, PAGES_FROM.into());
        for head in 1..10_000 {
            for tail in 0..PAGES_FROM.into() {
                grid.put(SECRET, &key(head, tail), 7);
            }
            for tail in 0..PAGES_FROM.into() {
                grid.put_known(SECRET, &key(head, tail), 7);
            }
            for tail in 0..PAGES_FROM.into() {
                assert!(grid.remove(SECRET, &key(head, tail)), "{head}, {tail}");
            }
        }
        grid.check();
        assert!(grid.pages.len() <= 2);
        assert_eq!(grid.census.counts.len(), Census::FEWEST);
    }

    #[test]
    fn heads_with_a_page_do_not_make_others_seem_common() {
        let mut grid = grid(20_000, PAGES_FROM.into());
        let pages = grid.pages.len();
        for head in 0..20_000 {
            grid.put(SECRET, &key(30_000 + head, 0), 7);
        }
        let more = grid.pages.len() - pages;
        assert!(more < 20, "{more}");
    }

    #[test]
    fn the_memory_of_pages_that_have_gone_is_given_back() {
        let mut grid = grid(1_000, PAGES_FROM.into());
        assert_eq!(grid.pages.len(), 1_000);
        for head in 10..1_000 {
            (0..PAGES_FROM.into()).for_each(|tail| assert!(grid.remove(SECRET, &key(head, tail))));
            grid.check();
        }
        let capacity = grid.pages.capacity();
        assert!(capacity <= 80, "{capacity}");
        for tail in 0..PAGES_FROM.into() {
            assert_eq!(holder(&grid, &key(9, tail)), Some(7));
        }
        assert!(grid.filter.sizes()[0] > 1);
        for head in 0..10 {
            (0..PAGES_FROM.into()).for_each(|tail| assert!(grid.remove(SECRET, &key(head, tail))));
        }
        assert_eq!(grid.filter.sizes(), [1, 0]);
    }

    #[test]
    fn what_is_elsewhere_is_counted_until_it_goes() {
        let mut grid = grid(50, PAGE);
        for _ in 0..100 {
            assert_eq!(grid.put(SECRET, &key(60, 0), 7), Put::Elsewhere);
            grid.forget(SECRET, &key(60, 0), 7);
            assert_eq!(grid.put(SECRET, &key(0, 100), 7), Put::Elsewhere);
            grid.forget(SECRET, &key(0, 100), 7);
        }
        assert_eq!(grid.tails.len(), PAGE);
    }

    #[test]
    fn numbers_of_tails_that_are_not_used_are_given_to_others() {
        let mut grid = unmixed();
        // Each tail is common, and no head is.
        for n in 0..MOST_TAILS * usize::from(TAILS_FROM) {
            let key = key(n, n / usize::from(TAILS_FROM));
            grid.put(SECRET, &key, 7);
        }
        let known = grid.tails.len();
        assert!(known > MOST_TAILS * 9 / 10, "{known}");
        for head in 0..20 {
            for tail in 0..MOST_TAILS {
                grid.put(SECRET, &key(head, MOST_TAILS + tail), 7);
            }
            grid.check();
        }
        let len = grid.len();
        assert!(len > MOST_TAILS / 10, "{len}");
        assert!(grid.tails.len() <= MOST_TAILS);
        assert!(grid.uses.len() <= MOST_TAILS);
    }

    #[test]
    fn a_slot_that_a_cell_has_no_room_for_is_elsewhere() {
        let mut grid = grid(50, PAGE);
        let known = key(0, 0);
        let last = u32::from(Cell::MAX) - 1;
        assert!(grid.change(SECRET, &known, last));
        assert_eq!(holder(&grid, &known), Some(last));
        for slot in [last + 1, u32::MAX - 1, u32::MAX] {
            assert!(!grid.change(SECRET, &known, slot));
            assert!(grid.remove(SECRET, &known));
            assert_eq!(grid.put(SECRET, &known, slot), Put::Elsewhere);
            assert!(!grid.put_known(SECRET, &known, slot));
            assert_eq!(grid.put(SECRET, &known, last), Put::Here);
        }
    }

    /// Of these some are told in an octet, some in two.
    #[test]
    fn slots_are_told_apart() {
        let mut grid = grid(50, PAGE);
        let slots = [0, 1, 253, 254, 255, 256, 257, 510, 511, 512, 65_533, 65_534];
        for (tail, slot) in slots.into_iter().enumerate() {
            assert!(grid.change(SECRET, &key(9, tail), slot));
            assert!(grid.remove(SECRET, &key(10, tail)));
            assert_eq!(grid.put(SECRET, &key(10, tail), slot), Put::Here);
        }
        for head in [9, 10] {
            let held = (0..slots.len()).map(|tail| holder(&grid, &key(head, tail)));
            assert!(held.eq(slots.map(Some)));
            assert_eq!(holder(&grid, &key(head, slots.len())), Some(7));
        }
        grid.check();
    }

    #[test]
    fn a_census_counts_and_forgets() {
        let mut census = Census::default();
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        census.remove(hash(1));
        for n in 1..=300 {
            assert_eq!(census.add(hash(1)), n.min(255) as u8);
        }
        census.settle(hash(1));
        assert_eq!(census.add(hash(1)), 1);
        census.remove(hash(1));
        assert_eq!(census.add(hash(1)), 1);
        // Of many that are seen once each, hardly one seems to be common.
        let common = (2..100_000).filter(|n| census.add(hash(*n)) >= PAGES_FROM);
        assert_eq!(common.count(), 0);
        assert!(census.counts.len() <= 4 * 100_000);
        (1..100_000).for_each(|n| census.remove(hash(n)));
        assert_eq!(census.counts.len(), Census::FEWEST);
    }
}
