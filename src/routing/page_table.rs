//! Pages of cells by hash, each in the cache line in which it is found: a [`Directory`] of small tables, looked through
//! from the place that the hash tells to the first that is vacant (linear probing: Knuth, "The Art of Computer
//! Programming", volume 3, 6.4).
//!
//! Whoever looks for a cell reads one line of memory as a rule, and otherwise those behind it, which processors fetch
//! unasked. A table apart that tells where a page is, as there was, is another trip to memory before: of a million topics
//! in 20 000 pages each match took 63 to 80 ns that takes 50 to 56 now, and 93 to 109 with cells of two octets (AMD EPYC,
//! 1 MiB of second-level cache).
//!
//! A cell has eight bits, and what more it needs is beside the segment: which has such from when one of its cells does,
//! until it is made anew.

use super::directory::Directory;
use super::prefix_hash::PrefixHash;

/// See the module.
#[derive(Debug)]
pub(super) struct PageTable {
    segments: Directory<Segment>,
    pages: usize,
}

/// Cells of a page.
pub(super) const PAGE: usize = 52;

/// What is in a cell: zero in one that is vacant.
pub(super) type Cell = u16;

/// A page, or room for one.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    whole: u64,
    /// Not zero if there is a page.
    more: u32,
    /// The lower halves of its cells.
    cells: Cells,
}

type Cells = [u8; PAGE];

#[derive(Debug)]
struct Segment {
    pages: usize,
    /// A third of them vacant as a rule, and one at least.
    lines: Box<[Line]>,
    /// The upper halves of the cells of each line, if there are some that are not zero.
    upper: Box<[Cells]>,
}

/// A look-up that has begun: see [`PageTable::seek`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought<'a> {
    segment: &'a Segment,
    line: usize,
    hash: PrefixHash,
}

/// Lines of a segment that is split when it is full: 16 KiB, which are copied in some microseconds.
const LARGEST: usize = 256;

impl PageTable {
    pub(super) fn new() -> Self {
        PageTable {
            segments: Directory::new(Segment::new(1)),
            pages: 0,
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// What is in a cell of the page of this hash; `None` if there is no such page.
    #[inline(always)]
    pub(super) fn get(&self, hash: PrefixHash, cell: usize) -> Option<Cell> {
        self.seek(hash).cell(cell)
    }

    /// Begins to look for a page: where it may be, without having looked.
    #[inline(always)]
    pub(super) fn seek(&self, hash: PrefixHash) -> Sought<'_> {
        let segment = self.segments.at(self.segments.number_of(hash));
        let line = segment.home(hash);
        Sought {
            segment,
            line,
            hash,
        }
    }

    /// Adds a page that is not here, with this in a cell, which is not zero.
    pub(super) fn add(&mut self, hash: PrefixHash, cell: usize, value: Cell) {
        loop {
            let at = self.segments.number_of(hash);
            let can_split = self.segments.can_split(at);
            let segment = self.segments.at_mut(at);
            if !segment.is_full() {
                let line = segment.put(Line::new(hash), [0; PAGE]);
                segment.set(line, cell, value);
                break;
            }
            let lines = segment.lines.len();
            if lines < LARGEST || !can_split {
                segment.resize((lines * 5 / 4).max(lines + 2));
                continue;
            }
            // For half of them each, and as many again to come; and for all of them, if the next bit tells none apart.
            let lines = (lines * 3 / 4).max(segment.pages + 1);
            let half = Segment::new(lines);
            let whole = std::mem::replace(segment, Segment::new(lines));
            let new = self.segments.split(hash, half);
            for (line, upper) in whole.into_pages() {
                let number = self.segments.number_of(line.hash());
                debug_assert!(number == at || number == new);
                self.segments.at_mut(number).put(line, upper);
            }
        }
        self.pages += 1;
    }

    /// Has this in a cell of the page of this hash, which is here. Not zero.
    pub(super) fn set(&mut self, hash: PrefixHash, cell: usize, value: Cell) {
        let segment = self.segments.at_mut(self.segments.number_of(hash));
        if let Some(line) = segment.find(hash) {
            segment.set(line, cell, value);
        }
    }

    /// Takes out what is in a cell, and the page with the last of its cells; zero if there is nothing.
    pub(super) fn take(&mut self, hash: PrefixHash, cell: usize) -> Cell {
        let segment = self.segments.at_mut(self.segments.number_of(hash));
        let Some(line) = segment.find(hash) else {
            return 0;
        };
        let value = segment.cell(line, cell);
        segment.set(line, cell, 0);
        if segment.is_vacant(line) {
            segment.remove(line);
            let lines = segment.lines.len();
            if lines > 1 && segment.pages < lines / 4 {
                segment.resize(lines / 2);
            }
            self.pages -= 1;
            if self.pages == 0 {
                *self = PageTable::new();
            }
        }
        value
    }
}

impl Sought<'_> {
    /// Reads of where the page may be, so that this is in a cache afterwards. The number means nothing; but who does not use
    /// it has read nothing.
    #[inline(always)]
    pub(super) fn touch(&self) -> u64 {
        self.segment.lines[self.line].whole
    }

    /// What is in a cell of the page; `None` if there is no such page.
    #[inline(always)]
    pub(super) fn cell(&self, cell: usize) -> Option<Cell> {
        let line = self.segment.find_from(self.line, self.hash)?;
        Some(self.segment.cell(line, cell))
    }
}

impl Segment {
    fn new(lines: usize) -> Self {
        Segment {
            pages: 0,
            lines: vec![Line::VACANT; lines].into_boxed_slice(),
            upper: Box::default(),
        }
    }

    /// From here on look-ups would become long.
    fn is_full(&self) -> bool {
        (self.pages + 1) * 3 > self.lines.len() * 2
    }

    /// Where a page is if there is room.
    #[inline(always)]
    fn home(&self, hash: PrefixHash) -> usize {
        let [low, _] = hash.places();
        ((u64::from(low) * self.lines.len() as u64) >> u32::BITS) as usize
    }

    /// The line behind this one.
    #[inline(always)]
    fn next(&self, line: usize) -> usize {
        match line + 1 {
            next if next == self.lines.len() => 0,
            next => next,
        }
    }

    fn find(&self, hash: PrefixHash) -> Option<usize> {
        self.find_from(self.home(hash), hash)
    }

    /// The line of a page that is at this one or behind it.
    #[inline(always)]
    fn find_from(&self, mut line: usize, hash: PrefixHash) -> Option<usize> {
        // Ends, as there are vacant ones.
        loop {
            let Line { whole, more, .. } = self.lines[line];
            if whole == hash.whole() && more == hash.more() {
                return Some(line);
            }
            if more == 0 {
                return None;
            }
            line = self.next(line);
        }
    }

    #[inline(always)]
    fn cell(&self, line: usize, cell: usize) -> Cell {
        let lower = Cell::from(self.lines[line].cells[cell]);
        let upper = self.upper.get(line).map_or(0, |upper| upper[cell]);
        Cell::from(upper) << u8::BITS | lower
    }

    fn set(&mut self, line: usize, cell: usize, value: Cell) {
        let [lower, upper] = value.to_le_bytes();
        self.lines[line].cells[cell] = lower;
        if upper > 0 && self.upper.is_empty() {
            self.upper = vec![[0; PAGE]; self.lines.len()].into_boxed_slice();
        }
        if let Some(cells) = self.upper.get_mut(line) {
            cells[cell] = upper;
        }
    }

    fn is_vacant(&self, line: usize) -> bool {
        let lower = self.lines[line].cells.iter();
        let upper = self.upper.get(line).into_iter().flatten();
        lower.chain(upper).all(|half| *half == 0)
    }

    /// Adds a page that is not here and for which there is room, and tells its line.
    fn put(&mut self, page: Line, upper: Cells) -> usize {
        let mut line = self.home(page.hash());
        while self.lines[line].more != 0 {
            line = self.next(line);
        }
        self.place(line, page, upper);
        self.pages += 1;
        line
    }

    /// Has a page in this line.
    fn place(&mut self, line: usize, page: Line, upper: Cells) {
        self.lines[line] = page;
        if self.upper.is_empty() && upper != [0; PAGE] {
            self.upper = vec![[0; PAGE]; self.lines.len()].into_boxed_slice();
        }
        if let Some(cells) = self.upper.get_mut(line) {
            *cells = upper;
        }
    }

    /// Takes a page out, and has those behind it where they would be if it had never been.
    fn remove(&mut self, mut line: usize) {
        let lines = self.lines.len();
        // How far this one is behind that one.
        let behind = |this: usize, that: usize| (this + lines - that) % lines;
        let mut next = self.next(line);
        while self.lines[next].more != 0 {
            let home = self.home(self.lines[next].hash());
            if behind(next, home) >= behind(next, line) {
                let upper = self.upper.get(next).copied().unwrap_or([0; PAGE]);
                self.place(line, self.lines[next], upper);
                line = next;
            }
            next = self.next(next);
        }
        self.place(line, Line::VACANT, [0; PAGE]);
        self.pages -= 1;
    }

    /// Makes it anew, with so many lines.
    fn resize(&mut self, lines: usize) {
        let pages = std::mem::replace(self, Segment::new(lines)).into_pages();
        for (line, upper) in pages {
            self.put(line, upper);
        }
    }

    fn into_pages(self) -> impl Iterator<Item = (Line, Cells)> {
        let Segment { lines, upper, .. } = self;
        let pages = lines.into_vec().into_iter().enumerate();
        pages
            .filter(|(_, line)| line.more != 0)
            .map(move |(at, line)| (line, upper.get(at).copied().unwrap_or([0; PAGE])))
    }
}

impl Line {
    const VACANT: Self = Line {
        whole: 0,
        more: 0,
        cells: [0; PAGE],
    };

    fn new(hash: PrefixHash) -> Self {
        Line {
            whole: hash.whole(),
            more: hash.more(),
            ..Line::VACANT
        }
    }

    fn hash(&self) -> PrefixHash {
        PrefixHash::new((self.whole >> 32) as u32, self.whole as u32, self.more)
    }
}

#[cfg(test)]
impl PageTable {
    pub(super) fn len(&self) -> usize {
        self.pages
    }

    /// Cells with something in them.
    pub(super) fn cells(&self) -> usize {
        let cells = |segment: &Segment| -> usize {
            let lines = 0..segment.lines.len();
            let cells = |line| (0..PAGE).filter(move |cell| segment.cell(line, *cell) > 0);
            lines.flat_map(cells).count()
        };
        self.segments.segments().map(cells).sum()
    }

    /// Lines there is memory for.
    pub(super) fn capacity(&self) -> usize {
        let lines = self.segments.segments().map(|segment| segment.lines.len());
        lines.sum()
    }

    /// Fails if a page is where it cannot be found, or has nothing in it.
    pub(super) fn check(&self) {
        self.segments.check();
        let mut pages = 0;
        for (number, segment) in self.segments.segments().enumerate() {
            assert!(segment.pages * 3 <= segment.lines.len() * 2);
            assert!(segment.upper.is_empty() || segment.upper.len() == segment.lines.len());
            for (at, line) in segment.lines.iter().enumerate() {
                assert_eq!(segment.is_vacant(at), line.more == 0);
                if line.more != 0 {
                    assert_eq!(self.segments.number_of(line.hash()), number);
                    assert_eq!(segment.find(line.hash()), Some(at));
                    pages += 1;
                }
            }
        }
        assert_eq!(self.pages, pages);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::prefix_hash::HashKey;
    use super::*;

    const SECRET: HashKey = HashKey::fixed(1, 2);

    fn hash(n: u32) -> PrefixHash {
        SECRET.hash(&n.to_be_bytes())
    }

    /// With a page for each of these numbers, of which one cell has something in it.
    fn table(pages: std::ops::Range<u32>, value: Cell) -> PageTable {
        let mut table = PageTable::new();
        for n in pages {
            table.add(hash(n), n as usize % PAGE, value);
            if n.is_power_of_two() {
                table.check();
            }
        }
        table.check();
        table
    }

    #[test]
    fn a_page_is_a_cache_line() {
        assert_eq!(size_of::<Line>(), 64);
    }

    #[test]
    fn segments_split_and_are_given_back() {
        const PAGES: u32 = 5_000;
        for value in [1, 0x100, 0x1ff, Cell::MAX] {
            let mut table = table(0..PAGES, value);
            let segments = table.segments.segments().len();
            assert!(segments >= 16, "{segments}");
            assert!(table.capacity() < 2 * PAGES as usize + 100);
            for n in 0..PAGES {
                assert_eq!(table.get(hash(n), n as usize % PAGE), Some(value));
                assert_eq!(table.get(hash(n), (n as usize + 1) % PAGE), Some(0));
                assert_eq!(table.get(hash(PAGES + n), 0), None);
            }
            for n in 0..PAGES - 10 {
                assert_eq!(table.take(hash(n), n as usize % PAGE), value);
                assert_eq!(table.take(hash(n), n as usize % PAGE), 0);
            }
            table.check();
            let capacity = table.capacity();
            assert!(capacity <= 4 * segments + 40, "{capacity}");
            for n in PAGES - 10..PAGES {
                assert_eq!(table.take(hash(n), n as usize % PAGE), value);
            }
            table.check();
            assert_eq!((table.capacity(), table.cells()), (1, 0));
            assert!(table.is_empty());
        }
    }

    /// The directory does not grow without end for pages that it hardly tells apart: their segment does. And there is room
    /// for all of them in one half of what is split.
    #[test]
    fn pages_that_begin_alike_share_a_segment() {
        const PAGES: u32 = 1_000;
        let of = |n: u32| PrefixHash::new(0xabcd_e000 | n, n << 20, n << 1);
        let mut table = PageTable::new();
        for n in 0..PAGES {
            table.add(of(n), 7, Cell::MAX);
        }
        table.check();
        // One for each bit that they have in common.
        assert_eq!(table.segments.segments().len(), 1 + 20);
        for n in 0..PAGES {
            assert_eq!(table.get(of(n), 7), Some(Cell::MAX));
            assert_eq!(table.get(of(PAGES + n), 7), None);
        }
        for n in 0..PAGES {
            assert_eq!(table.take(of(n), 7), Cell::MAX);
        }
        assert_eq!((table.len(), table.segments.segments().len()), (0, 1));
    }

    /// Most look-ups end in the line in which they begin, or the next.
    #[test]
    fn look_ups_are_short() {
        let table = table(0..5_000, 1);
        let way = |n: u32| {
            let sought = table.seek(hash(n));
            let line = sought.segment.find(hash(n)).unwrap();
            let lines = sought.segment.lines.len();
            (line + lines - sought.line) % lines
        };
        let sum: usize = (0..5_000).map(way).sum();
        assert!(sum < 5_000, "{sum}");
    }

    #[test]
    fn upper_halves_take_memory_where_there_are_some() {
        let mut table = table(0..5_000, 0xff);
        let wide = |table: &PageTable| {
            let segments = table.segments.segments();
            segments.filter(|segment| !segment.upper.is_empty()).count()
        };
        assert_eq!(wide(&table), 0);
        table.set(hash(7), 9, 0x100);
        assert_eq!(wide(&table), 1);
        assert_eq!(table.get(hash(7), 9), Some(0x100));
        table.set(hash(7), 9, 0x2);
        assert_eq!(table.get(hash(7), 9), Some(0x2));
        table.check();
    }

    #[derive(Debug, Clone, Copy)]
    enum Op {
        Set(u32, usize, Cell),
        Take(u32, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let values = prop::sample::select(vec![1, 0xff, 0x100, Cell::MAX]);
        let pages = prop_oneof![0..4_u32, 0..60_u32];
        prop_oneof![
            (pages.clone(), 0..3_usize, values)
                .prop_map(|(n, cell, value)| Op::Set(n, cell, value)),
            (pages, 0..3_usize).prop_map(|(n, cell)| Op::Take(n, cell)),
        ]
    }

    proptest! {
        /// Few hashes, of which many have one place.
        #[test]
        fn behaves_as_a_map(ops in prop::collection::vec(op(), 0..300)) {
            let of = |n: u32| PrefixHash::new(n << 30, n << 29, n << 1);
            let mut table = PageTable::new();
            let mut model = HashMap::<u32, HashMap<usize, Cell>>::new();
            for op in ops {
                match op {
                    Op::Set(n, cell, value) => {
                        match model.contains_key(&n) {
                            true => table.set(of(n), cell, value),
                            false => table.add(of(n), cell, value),
                        }
                        model.entry(n).or_default().insert(cell, value);
                    }
                    Op::Take(n, cell) => {
                        let known = model.get_mut(&n);
                        let expected = known.and_then(|cells| cells.remove(&cell));
                        model.retain(|_, cells| !cells.is_empty());
                        prop_assert_eq!(table.take(of(n), cell), expected.unwrap_or(0));
                    }
                }
                table.check();
                for n in 0..60 {
                    for cell in 0..3 {
                        let expected = model.get(&n).map(|cells| cells.get(&cell).copied().unwrap_or(0));
                        prop_assert_eq!(table.get(of(n), cell), expected);
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
    }
}
