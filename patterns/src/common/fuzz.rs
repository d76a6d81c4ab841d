//! How the fuzz bodies run as tests: random cases, as many as `PATTERNS_CASES` says.

use super::Random;

/// Random cases per decoder. Enough to find what is easy to find, in well under a second each.
pub(crate) fn cases() -> u64 {
    crate::lab::number("PATTERNS_CASES").unwrap_or(20_000)
}

/// A few random changes to octets that decode: flips, cuts, repetitions, huge numbers.
pub(crate) fn mutated(octets: &[u8], random: &mut Random) -> Vec<u8> {
    let mut octets = octets.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(octets.len() as u64 + 1) as usize;
        match random.below(6) {
            0 if at < octets.len() => octets[at] ^= 1 << random.below(8),
            1 => octets.truncate(at),
            2 => octets.insert(at, random.next_u64() as u8),
            3 if at < octets.len() => drop(octets.drain(at..=at)),
            4 => octets.splice(at..at, [0xff; 4]).for_each(drop),
            _ => {
                let piece = octets[at..].to_vec();
                octets.extend(piece.into_iter().take(100));
            }
        }
    }
    octets
}
