//! Where keys end: of which lengths they are, and with which octets they end.

/// Of keys of 1 to 64 octets.
#[derive(Debug)]
pub(super) struct Ends {
    /// A bit for each length that occurs, the shortest in the lowest.
    lengths: u64,
    counts: [u32; LENGTHS],
    /// By octet, the lengths of which a key ends with it.
    by_octet: Box<[u64; 256]>,
    /// And how many keys do, by length and octet (64 KiB): of lengths that stay set for keys that have gone there would be
    /// too many to look for, as soon as a peer has come with many topics and gone.
    ending: Box<[[u32; 256]]>,
    keys: usize,
}

/// As many as there are bits.
const LENGTHS: usize = u64::BITS as usize;

impl Ends {
    pub(super) fn new() -> Self {
        Ends {
            lengths: 0,
            counts: [0; LENGTHS],
            by_octet: Box::new([0; 256]),
            ending: vec![[0; 256]; LENGTHS].into_boxed_slice(),
            keys: 0,
        }
    }

    /// How many keys there are.
    #[inline(always)]
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    #[inline(always)]
    pub(super) fn lengths(&self) -> u64 {
        self.lengths
    }

    pub(super) fn add(&mut self, key: &[u8]) {
        let Some((bit, last)) = end_of(key) else {
            return;
        };
        self.keys += 1;
        self.counts[bit] += 1;
        self.lengths |= 1 << bit;
        self.ending[bit][usize::from(last)] += 1;
        self.by_octet[usize::from(last)] |= 1 << bit;
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        let Some((bit, last)) = end_of(key) else {
            return;
        };
        self.keys -= 1;
        self.counts[bit] -= 1;
        if self.counts[bit] == 0 {
            self.lengths &= !(1 << bit);
        }
        let ending = &mut self.ending[bit][usize::from(last)];
        *ending -= 1;
        if *ending == 0 {
            self.by_octet[usize::from(last)] &= !(1 << bit);
        }
    }

    /// Of these lengths, which the frame has, those of which a key ends with the octet that it has there; `None` if they are
    /// more than so many.
    #[inline(always)]
    pub(super) fn among(&self, frame: &[u8], mut lengths: u64, most: u32) -> Option<u64> {
        let mut likely = 0;
        let mut count = 0;
        while lengths != 0 {
            let bit = lengths.trailing_zeros();
            lengths &= lengths - 1;
            let is_likely = self.by_octet[usize::from(frame[bit as usize])] >> bit & 1;
            likely |= is_likely << bit;
            count += is_likely as u32;
            if count > most {
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
    pub(super) fn check<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let mut model = Ends::new();
        keys.for_each(|key| model.add(key));
        assert_eq!(self.keys, model.keys);
        assert_eq!(self.lengths, model.lengths);
        assert_eq!(self.counts, model.counts);
        assert_eq!(self.ending, model.ending);
        assert_eq!(self.by_octet, model.by_octet);
    }
}
