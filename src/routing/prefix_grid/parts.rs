//! Where a key is cut: into a head that others begin with, and a tail that others end with.

use super::super::length_filter::{StemKey, PART};
use super::super::prefix_hash::PrefixHash;

/// What a key consists of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) head: &'a [u8],
    /// Its octets, and in the highest how many they are.
    pub(super) tail: u128,
}

/// How many octets a tail has.
fn octets_of(tail: u128) -> usize {
    (tail >> 120) as usize
}

const WORD: usize = 8;

/// Octets of the longest tail.
pub(in super::super) const LONGEST_TAIL: usize = 2 * WORD - 1;

/// Lengths of keys that are cut.
const LENGTHS: std::ops::RangeInclusive<usize> = PART + 1..=8 * WORD;

/// Octets beyond a stem that are told apart: of the longest tail, and what is left of a head.
pub(super) const FILTERED: usize = 32;

/// Octets that are looked at for where a key is cut, as a number: the last is the highest, and what the key lacks is zeros
/// below.
#[derive(Debug, Clone, Copy)]
struct Last(u128);

/// This octet in each place.
const fn each(octet: u8) -> u128 {
    octet as u128 * (u128::MAX / 0xff)
}

const HIGHEST: u128 = each(0x80);
const LOWER: u128 = each(0x7f);

impl Last {
    const OCTETS: usize = 16;

    #[inline(always)]
    fn of(key: &[u8]) -> Self {
        if let Some(last) = key.last_chunk() {
            return Last(u128::from_le_bytes(*last));
        }
        // Two words that have some octets in common, of which the former has the first.
        let number = if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            let last = u128::from(u64::from_le_bytes(*last));
            u128::from(u64::from_le_bytes(*first)) | last << (8 * (key.len() - WORD))
        } else if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            let last = u64::from(u32::from_le_bytes(*last));
            u128::from(u64::from(u32::from_le_bytes(*first)) | last << (8 * (key.len() - WORD / 2)))
        } else {
            return Last(0);
        };
        Last(number << (8 * (Last::OCTETS - key.len())))
    }

    /// The highest bits of the octets that are digits.
    #[inline(always)]
    fn digits(self) -> u128 {
        let Last(octets) = self;
        // Digits are the octets below 10 then, and a sum has the highest bit set if there is one of 10 or more below it.
        let octets = octets ^ each(b'0');
        !(((octets & LOWER) + each(0x80 - 10)) | octets) & HIGHEST
    }

    /// The highest bits of the octets of ASCII that are neither digits nor letters.
    fn separators(self) -> u128 {
        let Last(octets) = self;
        let lower = (octets & LOWER) | each(0x20);
        let letters = (lower + each(0x80 - b'a')) & !(lower + each(0x7f - b'z'));
        !(octets | letters | self.digits()) & HIGHEST
    }

    /// How many of the last octets a key's tail is, if it is cut where a reader would: before the last two digits of
    /// the last number that has so many, or the last digit, or behind what is no letter. Less than all of them, and than
    /// `below`, which is two or more.
    #[inline(always)]
    fn tail(self, below: usize) -> Option<usize> {
        let below = below.min(Last::OCTETS);
        let among = |octets: usize| u128::MAX << (8 * (Last::OCTETS - octets));
        let from = |marks: u128| marks.leading_zeros() as usize / 8 + 1;
        let digits = self.digits() & among(below - 1);
        let pairs = digits & digits << 8;
        if pairs != 0 {
            return Some(from(pairs) + 1);
        }
        if digits != 0 {
            return Some(from(digits));
        }
        // Behind the last octet there is nothing.
        let separators = (self.separators() & among(below)) << 8 >> 8;
        (separators != 0).then(|| from(separators) - 1)
    }
}

/// How many octets a key's tail has, and which, if it begins with two digits among the last eight octets: the same as by
/// [`Last`], in half as many steps.
#[inline(always)]
fn two_digits_at_end(key: &[u8]) -> Option<(usize, u64)> {
    let octets = u64::from_le_bytes(*key.last_chunk()?);
    let most = (key.len() - PART).min(WORD);
    let among = u64::MAX << (8 * (WORD - most));
    let others = octets ^ each(b'0') as u64;
    let digits =
        !(((others & LOWER as u64) + each(0x80 - 10) as u64) | others) & HIGHEST as u64 & among;
    let pairs = digits & digits << 8;
    if pairs == 0 {
        return None;
    }
    let len = pairs.leading_zeros() as usize / 8 + 2;
    Some((len, octets >> (8 * (WORD - len))))
}

impl<'a> Parts<'a> {
    /// What the filter knows a key by: the hash of as much of its head as is whole parts, and how much longer it is than one
    /// octet more.
    pub(super) fn end(self, stems: StemKey) -> (PrefixHash, usize) {
        let beyond = self.head.len() % PART;
        (stems.hash(self.head), beyond + octets_of(self.tail) - 1)
    }

    #[inline(always)]
    pub(super) fn of(key: &'a [u8]) -> Option<Self> {
        if !LENGTHS.contains(&key.len()) {
            return None;
        }
        match two_digits_at_end(key) {
            Some((len, octets)) => Some(Parts::new(key, len, octets.into())),
            None => Parts::of_others(key),
        }
    }

    /// As [`Parts::of`].
    #[inline(never)]
    fn of_others(key: &'a [u8]) -> Option<Self> {
        let last = Last::of(key);
        // A head is one part or more: no octets are what all keys have in common, and every frame would have their lengths.
        let len = match last.tail(key.len() + 1 - PART) {
            Some(len) => len,
            None if key.len() <= WORD => return None,
            None => key.len() - ((key.len() - WORD) / WORD * WORD).max(WORD),
        };
        let Last(octets) = last;
        Some(Parts::new(key, len, octets >> (8 * (Last::OCTETS - len))))
    }

    /// Of a key whose tail has so many octets, which are these.
    #[inline(always)]
    fn new(key: &'a [u8], len: usize, octets: u128) -> Self {
        Parts {
            head: &key[..key.len() - len],
            tail: (len as u128) << 120 | octets,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The head of a key, and its tail as it is kept.
    fn cut(key: &[u8]) -> Option<(&[u8], &[u8])> {
        let Parts { head, tail } = Parts::of(key)?;
        let rest = &key[head.len()..];
        assert!((1..=LONGEST_TAIL).contains(&rest.len()));
        let mut expected = [0; 16];
        expected[..rest.len()].copy_from_slice(rest);
        expected[15] = rest.len() as u8;
        assert_eq!(tail.to_le_bytes(), expected);
        Some((head, rest))
    }

    #[test]
    fn keys_are_cut_where_a_reader_would() {
        for (head, tail) in [
            ("sensor/1234", "56/temperature"),
            ("sensor/", "7/temperature"),
            ("sensor/123456/temperature_", "centigrade"),
            ("sensor/123456/temperatur", "ecentigrade"),
            ("site/07/rack/003/host", "12/m"),
            ("site/07/rack/0", "03/host5/m"),
            ("berlin/floor12/room4", "76/temperature"),
            ("alpha.beta.", "gamma"),
            ("alpha.beta.", "gamma."),
            ("alpha.beta.", "."),
            ("prices EUR/", "USD"),
            ("topic/", "12"),
            ("1234", "56"),
            ("1234", "5"),
            ("abcd", "1"),
            ("abc-", "b"),
            ("1bcdefgh", "i"),
            ("Stra\u{df}e ", "\u{e4}\u{f6}"),
            ("lettersa", "ndlettersonly"),
            ("abcdefgh", "i"),
            ("0000", "9:@AZ[`az{"),
            ("0000:@AZ[`", "az{"),
        ] {
            let key = [head, tail].concat();
            let parts = Some((head.as_bytes(), tail.as_bytes()));
            assert_eq!(cut(key.as_bytes()), parts, "{key}");
        }
        for key in [
            "", "1", "/", "/a", "1234", "123a", "1/bcde", "ab/c", "abcdefgh", "abcdef/",
        ] {
            assert_eq!(cut(key.as_bytes()), None, "{key}");
        }
        assert!(cut(&[b'1'; 64]).is_some());
        assert!(cut(&[b'1'; 65]).is_none());
    }

    /// Octet by octet.
    fn tail_of(key: &[u8]) -> Option<usize> {
        let first = key.len().saturating_sub(LONGEST_TAIL).max(PART);
        let is_digit = |at: usize| at >= first && key[at].is_ascii_digit();
        let all = || (first..key.len()).rev();
        let pair = all().find(|at| is_digit(*at) && is_digit(at - 1));
        let begin = pair
            .map(|at| at - 1)
            .or_else(|| all().find(|at| is_digit(*at)));
        let is_letter = |octet: u8| !octet.is_ascii() || octet.is_ascii_alphanumeric();
        let mut ends = (first - 1..key.len() - 1).rev();
        let end = || ends.find(|at| !is_letter(key[*at])).map(|at| at + 1);
        begin.or_else(end).map(|at| key.len() - at)
    }

    proptest! {
        #[test]
        fn keys_are_cut_as_said(key in prop::collection::vec(
            prop_oneof![
                prop::sample::select(b"019az".to_vec()),
                prop::sample::select(b"AZaz".to_vec()),
                prop::sample::select(b"/09:@AZ[`az{\x00\x7f\x80\xff\xb0\xb9".to_vec()),
                any::<u8>(),
            ], 2..40))
        {
            let rest = cut(&key).map(|(_, tail)| tail.len());
            let words = (key.len() / 8 * 8).saturating_sub(8).max(8);
            let expected = tail_of(&key).or_else(|| key.len().checked_sub(words).filter(|rest| *rest > 0));
            prop_assert_eq!(rest, expected);
        }
    }
}
