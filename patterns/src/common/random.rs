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

    /// From nothing to `range`, without `range`; nothing if `range` is. In whole nanoseconds, and without floating point: what
    /// is drawn is the same everywhere.
    pub fn up_to(&mut self, range: Duration) -> Duration {
        let nanos = range.as_nanos();
        // The same 53 bits as of a fraction. A duration has no more than 94 bits, so its halves have room for them.
        let part = u128::from(self.next_u64() >> 11);
        let (high, low) = (nanos >> 64, nanos & u128::from(u64::MAX));
        let drawn = ((high * part) << 11) + ((low * part) >> 53);
        Duration::new((drawn / NANOS) as u64, (drawn % NANOS) as u32)
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that the authors of SplitMix64 draw from this seed.
    #[test]
    fn it_is_splitmix() {
        let mut random = Random::new(1_234_567);
        for expected in [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ] {
            assert_eq!(random.next_u64(), expected);
        }
    }

    /// Spans of every size: below their end, exactly the part that was drawn, and all of it is reached.
    #[test]
    fn spans_are_parts_of_their_range() {
        let mut random = Random::new(3);
        for range in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_millis(3),
            Duration::from_secs(1 << 40),
            Duration::MAX,
        ] {
            let mut most = Duration::ZERO;
            for _ in 0..1000 {
                let mut same = random.clone();
                let span = random.up_to(range);
                assert!(span < range || range.is_zero(), "{span:?} of {range:?}");
                let expected = range.as_nanos() as f64 * same.fraction();
                let off = (span.as_nanos() as f64 - expected).abs();
                assert!(off <= 1.0 + expected * 1e-9, "{span:?}, not {expected}");
                most = most.max(span);
            }
            assert!(range.as_nanos() < 2 || most > range / 10 * 9, "{most:?}");
        }
    }
}
