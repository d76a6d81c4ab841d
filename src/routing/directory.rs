//! What finds a segment of a table by the highest bits of a hash, so that the growth of such a table never stops the
//! world: a segment that is full is split into two by the next bit, and what that moves is the segment, never the table
//! (extendible hashing: Fagin et al., 1979).

use super::prefix_hash::PrefixHash;

/// Segments by the highest bits of a hash.
#[derive(Debug)]
pub(super) struct Directory<S> {
    /// Numbers of segments, 2^depth of them, and the same at neighbouring places if it tells apart fewer bits than that.
    places: Vec<u32>,
    depth: u32,
    segments: Vec<Segment<S>>,
}

#[derive(Debug)]
struct Segment<S> {
    /// Highest bits of a hash that all in it have in common.
    depth: u32,
    segment: S,
}

/// A bound for [`Directory::places`].
const DEEPEST: u32 = 20;

impl<S> Directory<S> {
    pub(super) fn new(segment: S) -> Self {
        Directory {
            places: vec![0],
            depth: 0,
            segments: vec![Segment { depth: 0, segment }],
        }
    }

    /// The number of the segment for this hash.
    #[inline]
    pub(super) fn number_of(&self, hash: PrefixHash) -> usize {
        let at = u64::from(hash.high()) >> (u32::BITS - self.depth);
        self.places[at as usize] as usize
    }

    /// The segment of this number.
    #[inline]
    pub(super) fn at(&self, number: usize) -> &S {
        &self.segments[number].segment
    }

    #[inline]
    pub(super) fn at_mut(&mut self, number: usize) -> &mut S {
        &mut self.segments[number].segment
    }

    /// Whether a segment may be split.
    pub(super) fn can_split(&self, number: usize) -> bool {
        self.segments[number].depth < DEEPEST
    }

    /// Splits the segment for this hash: hashes whose next bit is set are for `upper` from now on, whose number it returns.
    /// What is in it for these is to be moved.
    pub(super) fn split(&mut self, hash: PrefixHash, upper: S) -> usize {
        let number = self.number_of(hash);
        let depth = self.segments[number].depth + 1;
        self.segments[number].depth = depth;
        if depth > self.depth {
            let twice = self.places.iter().flat_map(|number| [*number; 2]);
            self.places = twice.collect();
            self.depth += 1;
        }
        let new = self.segments.len();
        // The places whose highest bits are those of the split segment, and a one.
        let width = 1 << (self.depth - depth);
        let prefix = (hash.high() >> (u32::BITS - depth)) as usize | 1;
        self.places[prefix * width..][..width].fill(new as u32);
        self.segments.push(Segment {
            depth,
            segment: upper,
        });
        new
    }
}

#[cfg(test)]
impl<S> Directory<S> {
    pub(super) fn segments(&self) -> impl ExactSizeIterator<Item = &S> {
        self.segments.iter().map(|segment| &segment.segment)
    }

    /// Fails if a segment is named more often or less than it should be.
    pub(super) fn check(&self) {
        assert_eq!(self.places.len(), 1 << self.depth);
        for (number, segment) in self.segments.iter().enumerate() {
            let named = self.places.iter().filter(|at| **at as usize == number);
            assert_eq!(named.count(), 1 << (self.depth - segment.depth));
        }
    }
}
