//! A small generator of random numbers that is given its seed, so that a schedule can be played again.
//!
//! SplitMix64 (Steele, Lea, Flood 2014), which any seed serves. Good for jitter and for names that need
//! not be secret; nothing here is for secrets.

use std::time::Duration;

/// Random numbers that follow from a seed alone.
///
/// ```
/// use sinew_patterns::common::Random;
///
/// let (mut one, mut other) = (Random::new(7), Random::new(7));
/// assert_eq!(one.next_u64(), other.next_u64());
/// assert!(one.below(3) < 3);
/// ```
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, without 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `end`; 0 if `end` is 0. The bias of the remainder is below 2⁻³² for any `end` that
    /// fits 32 bits.
    pub fn below(&mut self, end: u64) -> u64 {
        match end {
            0 => 0,
            end => self.next_u64() % end,
        }
    }

    /// From nothing to `range`, without `range`.
    pub fn up_to(&mut self, range: Duration) -> Duration {
        range.mul_f64(self.fraction())
    }
}
