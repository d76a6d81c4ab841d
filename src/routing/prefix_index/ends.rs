//! Where keys end: of which lengths they are, and with which octets they end.

use super::likely::Likely;

/// Of keys of 1 to 64 octets.
#[derive(Debug)]
pub(super) struct Ends {
    /// By octet, the lengths of which a key ends with it, those of each [`Place`].
    by_octet: Box<[[u64; 2]; 256]>,
    /// By [`Place`].
    known: [Known; 2],
    keys: usize,
}

/// Where keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Grid,
    Table,
}

/// What is known of the keys in one place.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    /// A bit for each length that occurs, the shortest in the lowest.
    lengths: u64,
    counts: [u32; LENGTHS],
    /// How many keys there are by length and last octet (64 KiB): of lengths that stay set for keys that have gone there would
    /// be too many to look for, as soon as a peer has come with many topics and gone.
    ending: Box<[[u32; 256]]>,
}

/// As many as there are bits.
const LENGTHS: usize = u64::BITS as usize;

impl Ends {
    pub(super) fn new() -> Self {
        Ends {
            by_octet: Box::new([[0; 2]; 256]),
            known: [(); 2].map(|()| Known {
                lengths: 0,
                counts: [0; LENGTHS],
                ending: vec![[0; 256]; LENGTHS].into_boxed_slice(),
            }),
            keys: 0,
        }
    }

    /// How many keys there are.
    #[inline(always)]
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// Those that occur.
    #[inline(always)]
    pub(super) fn lengths(&self) -> u64 {
        let [grid, table] = &self.known;
        grid.lengths | table.lengths
    }

    pub(super) fn add(&mut self, key: &[u8], place: Place) {
        let Some((bit, last)) = end_of(key) else {
            return;
        };
        self.keys += 1;
        let known = &mut self.known[place as usize];
        known.counts[bit] += 1;
        known.lengths |= 1 << bit;
        known.ending[bit][usize::from(last)] += 1;
        self.by_octet[usize::from(last)][place as usize] |= 1 << bit;
    }

    pub(super) fn remove(&mut self, key: &[u8], place: Place) {
        let Some((bit, last)) = end_of(key) else {
            return;
        };
        self.keys -= 1;
        let known = &mut self.known[place as usize];
        known.counts[bit] -= 1;
        if known.counts[bit] == 0 {
            known.lengths &= !(1 << bit);
        }
        let ending = &mut known.ending[bit][usize::from(last)];
        *ending -= 1;
        if *ending == 0 {
            self.by_octet[usize::from(last)][place as usize] &= !(1 << bit);
        }
    }

    /// Of these lengths, which the frame has, those of which a key ends with the octet that it has there; `None` if they are
    /// more than so many, or so many of keys in the table.
    #[inline(always)]
    pub(super) fn among(
        &self,
        frame: &[u8],
        mut lengths: u64,
        most: u32,
        most_in_table: u32,
    ) -> Option<Likely> {
        let mut likely = Likely::default();
        let mut count = 0;
        let mut in_table = 0;
        while lengths != 0 {
            let octet = frame[lengths.trailing_zeros() as usize];
            let bit = lengths & lengths.wrapping_neg();
            lengths ^= bit;
            let [of_grid, of_table] = self.by_octet[usize::from(octet)].map(|known| known & bit);
            likely.in_grid |= of_grid;
            likely.in_table |= of_table;
            count += u32::from(of_grid | of_table != 0);
            in_table += u32::from(of_table != 0);
            if count > most || in_table > most_in_table {
                return None;
            }
        }
        Some(likely)
    }
}

/// The bit for the length of a key, and its last octet.
fn end_of(key: &[u8]) -> Option<(usize, u8)> {
    let last = key.last().filter(|_| key.len() <= LENGTHS)?;
    Some((key.len() - 1, *last))
}

#[cfg(test)]
impl Ends {
    /// Fails if this is not what these keys make.
    pub(super) fn check<'a>(&self, keys: impl Iterator<Item = (&'a [u8], Place)>) {
        let mut model = Ends::new();
        keys.for_each(|(key, place)| model.add(key, place));
        assert_eq!(self.keys, model.keys);
        assert_eq!(self.known, model.known);
        assert_eq!(self.by_octet, model.by_octet);
    }
}
