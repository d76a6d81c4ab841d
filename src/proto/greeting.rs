//! The greeting: 64 octets each way before anything else (23/ZMTP, "The Greeting"; 37/ZMTP 3.1,
//! "Version Negotiation").
//!
//! ```text
//!  0         1 .. 8    9     10     11     12 .. 31    32         33 .. 63
//!  0xff      padding   0x7f  major  minor  mechanism   as-server  filler
//! ```
//!
//! Ours is sent whole, at once, and never depends on the peer's. The peer's may come in pieces of
//! any size, and is refused at the first octet that is not acceptable, so that a peer of another
//! protocol is not kept waiting for octets it will never send. Older versions of ZMTP are refused,
//! not spoken; there is nothing to fall back to, hence nothing to be downgraded to.
//!
//! A socket that is told to accept older peers ([`ConnectionConfig::legacy_peers`]) sends its greeting
//! in steps, for an older peer takes the signature for the header of a frame, and what follows depends
//! on what the peer turns out to be: see [`Greeting::due`] and `legacy`.
//!
//! [`ConnectionConfig::legacy_peers`]: super::ConnectionConfig::legacy_peers

use bytes::{BufMut, BytesMut};

use super::error::{Incompatible, PeerName, ProtocolError};
use super::Version;

/// The length of a greeting.
pub(crate) const GREETING_LEN: usize = 64;

/// The mechanism of connections that need none.
pub(crate) const NULL: &str = "NULL";

const SIGNATURE_FIRST: u8 = 0xff;
const SIGNATURE_LAST: u8 = 0x7f;
const SIGNATURE_LAST_AT: usize = 9;
const MAJOR_AT: usize = 10;
const MINOR_AT: usize = 11;
const MECHANISM_AT: usize = 12;
const MECHANISM_END: usize = 32;

/// The length of the signature.
const SIGNATURE_LEN: usize = 10;

/// Appends our greeting: version 3.1, this mechanism, not as a server, all padding zero.
#[cfg(any(test, fuzzing))]
pub(super) fn encode_greeting(out: &mut BytesMut, mechanism: &'static str) {
    encode_part(out, mechanism, 0, 0..GREETING_LEN);
}

/// Appends a part of our greeting. For older peers the padding is the length of the frame that they take
/// the signature for the beginning of; otherwise it is zero.
pub(super) fn encode_part(
    out: &mut BytesMut,
    mechanism: &'static str,
    padding: u64,
    part: std::ops::Range<usize>,
) {
    let mut greeting = [0; GREETING_LEN];
    greeting[0] = SIGNATURE_FIRST;
    greeting[1..SIGNATURE_LAST_AT].copy_from_slice(&padding.to_be_bytes());
    greeting[SIGNATURE_LAST_AT] = SIGNATURE_LAST;
    greeting[MAJOR_AT] = 3;
    greeting[MINOR_AT] = 1;
    greeting[MECHANISM_AT..MECHANISM_END].copy_from_slice(&mechanism_field(mechanism));
    out.put_slice(&greeting[part]);
}

/// The peer's greeting, as far as it has come.
#[derive(Debug)]
pub(super) struct Greeting {
    octets: [u8; GREETING_LEN],
    len: usize,
    /// Older peers are accepted.
    legacy: bool,
    /// Revision 2, which the RFC has for a version that nobody speaks, is taken for a later one.
    lenient: bool,
}

/// What a greeting says about the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Greeted {
    /// It speaks this version, with a handshake.
    Current(Version),
    /// It speaks this older version, and gave the number of its socket type.
    Older(Version, u8),
    /// It gave no greeting: the octets so far, which [`Greeting::octets`] returns, begin a ZMTP 1.0 frame.
    Unversioned,
}

impl Greeting {
    /// Nothing has come yet.
    pub(super) fn new(legacy: bool) -> Self {
        Greeting {
            octets: [0; GREETING_LEN],
            len: 0,
            legacy,
            lenient: false,
        }
    }

    /// Whether any revision that is not known is taken for the latest.
    pub(super) fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Whether a peer of this revision is spoken to as one of ZMTP 3.
    fn is_current(&self, major: u8) -> bool {
        major >= 3 || (self.lenient && major == 2)
    }

    /// What has come so far.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// How many octets of our own greeting may be sent, given what has come.
    pub(super) fn due(&self) -> usize {
        match self.octets() {
            _ if !self.legacy => GREETING_LEN,
            octets
                if octets
                    .get(MAJOR_AT)
                    .is_some_and(|major| self.is_current(*major)) =>
            {
                GREETING_LEN
            }
            octets
                if octets.len() >= SIGNATURE_LEN && self.older() != Some(Greeted::Unversioned) =>
            {
                MAJOR_AT + 1
            }
            _ => SIGNATURE_LEN,
        }
    }

    /// What is known of an older peer, once enough has come.
    fn older(&self) -> Option<Greeted> {
        match self.octets() {
            [first, ..] if *first != SIGNATURE_FIRST => Some(Greeted::Unversioned),
            octets
                if octets
                    .get(SIGNATURE_LAST_AT)
                    .is_some_and(|octet| octet & 1 == 0) =>
            {
                Some(Greeted::Unversioned)
            }
            [.., 0, number] if self.len == MINOR_AT + 1 => {
                Some(Greeted::Older(Version::Revision0, *number))
            }
            [.., 1, number] if self.len == MINOR_AT + 1 => {
                Some(Greeted::Older(Version::V2_0, *number))
            }
            _ => None,
        }
    }

    /// Takes octets of the greeting from the start of `input`. Returns how many, and what it says
    /// once it is whole.
    pub(super) fn handle_input(
        &mut self,
        input: &[u8],
        mechanism: &'static str,
    ) -> Result<(usize, Option<Greeted>), ProtocolError> {
        if self.legacy && self.len <= MINOR_AT {
            // Up to here every octet may turn out to be the last of the greeting.
            let Some(&octet) = input.first() else {
                return Ok((0, None));
            };
            self.octets[self.len] = octet;
            self.len += 1;
            if let Some(older) = self.older() {
                return Ok((1, Some(older)));
            }
            // Revision 2 is in the RFC, and nobody has ever spoken it.
            let major = self.octets().get(MAJOR_AT);
            if let Some(major) = major.filter(|major| **major == 2 && !self.lenient) {
                return Err(Incompatible::Version { major: *major }.into());
            }
            return Ok((1, None));
        }
        let n = input.len().min(GREETING_LEN - self.len);
        self.octets[self.len..self.len + n].copy_from_slice(&input[..n]);
        self.len += n;
        self.check(mechanism)?;
        if self.len < GREETING_LEN {
            return Ok((n, None));
        }
        let version = match (self.octets[MAJOR_AT], self.octets[MINOR_AT]) {
            (3, 0) => Version::V3_0,
            // Any later version, too, speaks 3.1 to us.
            _ => Version::V3_1,
        };
        Ok((n, Some(Greeted::Current(version))))
    }

    /// Checks the start of a greeting, in the order of its octets: what comes later never changes what
    /// was found before, so the verdict is the same however the octets arrive.
    fn check(&self, mechanism: &'static str) -> Result<(), ProtocolError> {
        let start = self.octets();
        if let Some(&first) = start.first() {
            if first != SIGNATURE_FIRST {
                return Err(Incompatible::NotZmtp { first }.into());
            }
        }
        if let Some(&octet) = start.get(SIGNATURE_LAST_AT) {
            // Only this bit is defined: in a ZMTP 1.0 frame header it would be a reserved flag.
            if octet & 1 == 0 {
                return Err(Incompatible::Unversioned { octet }.into());
            }
        }
        if let Some(&major) = start.get(MAJOR_AT) {
            if !self.is_current(major) {
                return Err(Incompatible::Version { major }.into());
            }
        }
        if let Some(field) = start.get(MECHANISM_AT..MECHANISM_END) {
            if field != mechanism_field(mechanism) {
                let padding = field.iter().rev().take_while(|&&octet| octet == 0).count();
                return Err(Incompatible::Mechanism {
                    ours: mechanism,
                    theirs: PeerName::new(&field[..field.len() - padding]),
                }
                .into());
            }
        }
        Ok(())
    }
}

fn mechanism_field(mechanism: &'static str) -> [u8; MECHANISM_END - MECHANISM_AT] {
    let mut field = [0; MECHANISM_END - MECHANISM_AT];
    field[..mechanism.len()].copy_from_slice(mechanism.as_bytes());
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Vec<u8> {
        let mut out = BytesMut::new();
        encode_greeting(&mut out, NULL);
        out.to_vec()
    }

    fn patched(at: usize, octet: u8) -> Vec<u8> {
        let mut greeting = ours();
        greeting[at] = octet;
        greeting
    }

    /// Feeds octet by octet; returns how many were taken before the verdict.
    fn verdict(greeting: &[u8]) -> (usize, Result<Version, ProtocolError>) {
        let mut state = Greeting::new(false);
        for (i, octet) in greeting.iter().enumerate() {
            match state.handle_input(&[*octet], NULL) {
                Ok((1, None)) => {}
                Ok((n, Some(Greeted::Current(version)))) => return (i + n, Ok(version)),
                Ok(other) => panic!("{other:?} of 1 octet"),
                Err(error) => return (i + 1, Err(error)),
            }
        }
        panic!("no verdict");
    }

    #[test]
    fn ours_is_exactly_this() {
        let mut expect = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01NULL".to_vec();
        expect.resize(64, 0);
        assert_eq!(ours(), expect);
    }

    #[test]
    fn versions_from_3_on_are_spoken_to() {
        for (major, minor, version) in [
            (3, 0, Version::V3_0),
            (3, 1, Version::V3_1),
            (3, 9, Version::V3_1),
            (4, 0, Version::V3_1),
            (255, 255, Version::V3_1),
        ] {
            let mut greeting = ours();
            greeting[10] = major;
            greeting[11] = minor;
            assert_eq!(verdict(&greeting), (64, Ok(version)));
        }
    }

    #[test]
    fn offending_octets_are_refused_as_soon_as_seen() {
        for (at, octet, error) in [
            (0, b'G', Incompatible::NotZmtp { first: b'G' }),
            (0, 0, Incompatible::NotZmtp { first: 0 }),
            (9, 0, Incompatible::Unversioned { octet: 0 }),
            (9, 0x7e, Incompatible::Unversioned { octet: 0x7e }),
            (10, 0, Incompatible::Version { major: 0 }),
            (10, 1, Incompatible::Version { major: 1 }),
            (10, 2, Incompatible::Version { major: 2 }),
        ] {
            assert_eq!(verdict(&patched(at, octet)), (at + 1, Err(error.into())));
        }
    }

    #[test]
    fn revision_2_is_taken_for_a_later_one_if_that_is_asked_for() {
        for legacy in [false, true] {
            let mut state = Greeting::new(legacy).lenient(true);
            let mut taken = 0;
            let greeting = patched(10, 2);
            let greeted = loop {
                let (n, greeted) = state.handle_input(&greeting[taken..], NULL).unwrap();
                taken += n;
                if let Some(greeted) = greeted {
                    break greeted;
                }
            };
            assert_eq!((taken, greeted), (64, Greeted::Current(Version::V3_1)));
            assert_eq!(state.due(), 64);
        }
    }

    #[test]
    fn all_of_the_mechanism_counts() {
        for (at, octet, name) in [
            (12, b'n', "nULL"),
            (16, b'S', "NULLS"),
            (
                31,
                b'!',
                r"NULL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00!",
            ),
        ] {
            let (taken, result) = verdict(&patched(at, octet));
            assert_eq!(taken, 32);
            let error = result.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the peer's security mechanism is \"{name}\", ours is \"NULL\"")
            );
            assert_eq!(error.monitor_code(), Some(0x1100_0002));
        }
    }

    #[test]
    fn what_is_not_defined_is_not_looked_at() {
        for at in (1..9).chain(32..64) {
            assert_eq!(verdict(&patched(at, 0xa5)), (64, Ok(Version::V3_1)));
        }
        // Other bits of octet 9.
        assert_eq!(verdict(&patched(9, 0x01)), (64, Ok(Version::V3_1)));
    }

    #[test]
    fn what_follows_is_left_alone() {
        let mut input = ours();
        input.extend_from_slice(b"\x04\x06");
        let mut state = Greeting::new(false);
        assert_eq!(
            state.handle_input(&input, NULL),
            Ok((64, Some(Greeted::Current(Version::V3_1))))
        );
    }
}
