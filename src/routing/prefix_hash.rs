//! The hashes of all wanted prefixes of one frame, in one pass: SipHash-1-3 (Aumasson, Bernstein, "SipHash: a
//! fast short-input PRF", 2012), whose state after some words is kept while shorter prefixes are finished.
//!
//! Keyed, because topics come from peers: who does not know the key cannot choose topics that meet.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// 95 bits of what a prefix is. Two prefixes of one hash are taken to be the same, where that costs no more than
/// a message that nobody asked for: a chance of one in 2⁹⁵ for each pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PrefixHash {
    /// The bits of which the highest choose a segment, see [`HashIndex`](super::hash_index::HashIndex).
    high: u32,
    /// The bits of which the highest choose one place in it.
    low: u32,
    /// And those of which the highest choose another. The lowest is set, so that none of these are zeros.
    more: u32,
}

impl PrefixHash {
    #[inline]
    pub(super) fn new(high: u32, low: u32, more: u32) -> Self {
        let more = more | 1;
        PrefixHash { high, low, more }
    }

    /// As told apart by [`whole`](Self::whole), [`tag`](Self::tag) and [`rest`](Self::rest).
    pub(super) fn of_parts(whole: u64, tag: u16, rest: u16) -> Self {
        let more = u32::from(rest) << 16 | u32::from(tag);
        PrefixHash::new((whole >> 32) as u32, whole as u32, more)
    }

    /// The hash of the same prefix and this number.
    #[inline]
    pub(super) fn with(self, number: u32) -> Self {
        let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        PrefixHash {
            high: self.high ^ (mixed >> 32) as u32,
            low: self.low ^ mixed as u32,
            ..self
        }
    }

    #[inline]
    pub(super) fn high(self) -> u32 {
        self.high
    }

    /// What chooses two places.
    #[inline]
    pub(super) fn places(self) -> [u32; 2] {
        [self.low, self.more]
    }

    /// Never zero.
    #[inline]
    pub(super) fn more(self) -> u32 {
        self.more
    }

    #[inline]
    pub(super) fn whole(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    #[inline]
    pub(super) fn tag(self) -> u16 {
        self.more as u16
    }

    #[inline]
    pub(super) fn rest(self) -> u16 {
        (self.more >> 16) as u16
    }
}

/// The secret of one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct HashKey([u64; 2]);

impl HashKey {
    pub(super) fn random() -> Self {
        let random = RandomState::new();
        HashKey([random.hash_one(0), random.hash_one(1)])
    }

    #[cfg(test)]
    pub(super) const fn fixed(a: u64, b: u64) -> Self {
        HashKey([a, b])
    }

    /// The hash of all of `key`.
    #[inline]
    pub(super) fn hash(self, key: &[u8]) -> PrefixHash {
        let mut state = State::new(self);
        let mut words = key.chunks_exact(WORD);
        for octets in &mut words {
            state.absorb(word(octets));
        }
        let rest = words.remainder();
        let octets = match key.last_chunk() {
            // Some of these are of the word before; all of them, if there is no rest.
            Some(last) => u64::from_le_bytes(*last) >> (8 * (WORD - 1 - rest.len())) >> 8,
            None => word(rest),
        };
        state.finish((key.len() as u64) << 56 | octets)
    }
}

/// Hashes prefixes of a frame, each longer than the one before or as long.
#[derive(Debug, Clone)]
pub(super) struct PrefixHasher<'a> {
    state: State,
    /// What follows the words in `state`, and is no prefix of them.
    rest: &'a [u8],
    /// The first word of `rest`, zeros for what it lacks.
    next: u64,
    /// Octets in `state`.
    len: usize,
}

const WORD: usize = 8;

impl<'a> PrefixHasher<'a> {
    #[inline]
    pub(super) fn new(key: HashKey, frame: &'a [u8]) -> Self {
        PrefixHasher {
            state: State::new(key),
            rest: frame,
            next: word(frame),
            len: 0,
        }
    }

    /// The hash of the first `len` octets, of which there must be so many.
    #[inline(always)]
    pub(super) fn prefix(&mut self, len: usize) -> PrefixHash {
        while len - self.len >= WORD {
            self.state.absorb(self.next);
            self.rest = &self.rest[WORD..];
            self.next = word(self.rest);
            self.len += WORD;
        }
        let tail = len - self.len;
        let octets = self.next & ((1 << (8 * tail)) - 1);
        self.state.finish((len as u64) << 56 | octets)
    }
}

/// The first octets as a number; zeros for what is missing.
#[inline]
fn word(octets: &[u8]) -> u64 {
    if let Some(whole) = octets.first_chunk() {
        return u64::from_le_bytes(*whole);
    }
    let octets = octets.iter().rev();
    octets.fold(0, |word, octet| word << 8 | u64::from(*octet))
}

/// SipHash's, between two words.
#[derive(Debug, Clone, Copy)]
struct State([u64; 4]);

impl State {
    #[inline]
    fn new(HashKey([a, b]): HashKey) -> Self {
        State([
            a ^ 0x736f_6d65_7073_6575,
            b ^ 0x646f_7261_6e64_6f6d,
            a ^ 0x6c79_6765_6e65_7261,
            b ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline]
    fn finish(mut self, word: u64) -> PrefixHash {
        self.absorb(word);
        self.0[2] ^= 0xff;
        for _ in 0..3 {
            self.round();
        }
        let [a, b, c, d] = self.0;
        let hash = a ^ b ^ c ^ d;
        PrefixHash::new((hash >> 32) as u32, hash as u32, (a ^ c) as u32)
    }

    #[inline]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32).wrapping_add(*d);
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;
    use std::hash::Hasher;

    use proptest::prelude::*;

    use super::*;

    /// The standard library's hasher is SipHash-1-3 with a key of zeros.
    fn expected(octets: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(octets);
        hasher.finish()
    }

    #[test]
    fn each_prefix_has_its_siphash() {
        let frame: Vec<u8> = (0..=255).cycle().take(600).collect();
        for frame in [&frame[..], &frame[..37], b""] {
            let mut hasher = PrefixHasher::new(HashKey([0, 0]), frame);
            for len in 0..=frame.len() {
                let hash = hasher.prefix(len);
                assert_eq!(hash.whole(), expected(&frame[..len]), "{len} octets");
                assert_eq!(hash, HashKey([0, 0]).hash(&frame[..len]));
            }
        }
    }

    #[test]
    fn tables_have_keys_of_their_own() {
        assert_ne!(
            HashKey::random().hash(b"topic"),
            HashKey::random().hash(b"topic")
        );
    }

    proptest! {
        #[test]
        fn prefixes_may_be_left_out(
            frame in prop::collection::vec(any::<u8>(), 0..100),
            mut lens in prop::collection::vec(0..100usize, 0..10),
        ) {
            lens.sort_unstable();
            let key = HashKey::random();
            let mut hasher = PrefixHasher::new(key, &frame);
            for len in lens.into_iter().filter(|len| *len <= frame.len()) {
                prop_assert_eq!(hasher.prefix(len), key.hash(&frame[..len]));
            }
        }
    }
}
