//! The one ZMTP/3 frame codec: `flags ‖ size ‖ body` (23/ZMTP and 37/ZMTP 3.1, "Framing").
//!
//! Both ends of every pipe use it: sockets encode into pipes with it, pumps walk received bytes
//! with it, sockets decode with it. It deals in headers only; bodies are plain bytes that follow.
//! It is strict: reserved bits, a command with MORE and a size with its top bit set are errors,
//! found before anything is allocated.

use thiserror::Error;

/// The longest frame header: flags and a 64-bit size.
pub(crate) const MAX_HEADER: usize = 9;

/// The longest body a short header can announce.
pub(crate) const SHORT_MAX: usize = 255;

const MORE: u8 = 0x01;
const LONG: u8 = 0x02;
/// The bit of a command in the octet of flags.
pub(crate) const COMMAND: u8 = 0x04;
const RESERVED: u8 = 0xf8;

/// A decoded frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Further frames of the same message follow.
    pub(crate) more: bool,
    /// The body is a command, not data.
    pub(crate) command: bool,
    /// Octets of the header itself: 2 or 9.
    pub(crate) header_len: usize,
    /// Octets of the body.
    pub(crate) body_len: usize,
}

/// What is wrong with a frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Reserved bits of the flags octet are set.
    #[error("reserved bits are set in the frame flags 0x{0:02x}")]
    ReservedBits(u8),
    /// A command frame claims that more frames follow.
    #[error("a command frame has the MORE bit set (flags 0x{0:02x})")]
    CommandWithMore(u8),
    /// The announced size has its top bit set, or exceeds what this platform can address.
    #[error("frame size {0} is not representable, at most 2^63-1 is")]
    SizeOverflow(u64),
}

/// Decodes the header at the start of `input`.
///
/// `Ok(None)` means that more octets are needed. Never looks beyond the header.
#[inline]
pub(crate) fn decode_header(input: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some(&flags) = input.first() else {
        return Ok(None);
    };
    if flags & (RESERVED | COMMAND) != 0 {
        if flags & RESERVED != 0 {
            return Err(FrameError::ReservedBits(flags));
        }
        if flags & MORE != 0 {
            return Err(FrameError::CommandWithMore(flags));
        }
    }
    let (header_len, body_len) = if flags & LONG == 0 {
        let Some(&size) = input.get(1) else {
            return Ok(None);
        };
        (2, usize::from(size))
    } else {
        let Some(size) = input.get(1..MAX_HEADER) else {
            return Ok(None);
        };
        let mut octets = [0u8; 8];
        octets.copy_from_slice(size);
        let size = u64::from_be_bytes(octets);
        if size > i64::MAX as u64 {
            return Err(FrameError::SizeOverflow(size));
        }
        let body_len = usize::try_from(size).map_err(|_| FrameError::SizeOverflow(size))?;
        // header + body must be addressable together.
        if body_len > usize::MAX - MAX_HEADER {
            return Err(FrameError::SizeOverflow(size));
        }
        (MAX_HEADER, body_len)
    };
    Ok(Some(Header {
        more: flags & MORE != 0,
        command: flags & COMMAND != 0,
        header_len,
        body_len,
    }))
}

/// As [`decode_header`], of a peer that is forgiven bits which it may not set: they are ignored.
#[inline]
pub(crate) fn decode_lenient_header(input: &[u8]) -> Result<Option<Header>, FrameError> {
    match decode_header(input) {
        Err(FrameError::ReservedBits(flags) | FrameError::CommandWithMore(flags)) => {
            let mut start = [0; MAX_HEADER];
            let len = input.len().min(MAX_HEADER);
            start[..len].copy_from_slice(&input[..len]);
            start[0] = forgive(flags);
            decode_header(&start[..len])
        }
        strict => strict,
    }
}

/// Flags without the bits that may not be set.
pub(crate) fn forgive(flags: u8) -> u8 {
    match flags & COMMAND {
        0 => flags & !RESERVED,
        _ => flags & !(RESERVED | MORE),
    }
}

/// How far the start of `input` is whole messages of a single frame with a short header, `max` of them
/// at most: in octets and in messages. What follows, if anything, needs a closer look.
#[inline]
pub(crate) fn short_messages(input: &[u8], max: u64) -> (usize, u64) {
    let (mut at, mut messages) = (0, 0);
    while messages < max {
        let Some(&[0, size]) = input[at..].first_chunk() else {
            break;
        };
        let end = at + 2 + usize::from(size);
        if end > input.len() {
            break;
        }
        at = end;
        messages += 1;
    }
    (at, messages)
}

/// The number of octets [`encode_header`] writes for a body of this length.
#[inline]
pub(crate) const fn header_len(body_len: usize) -> usize {
    if body_len <= SHORT_MAX {
        2
    } else {
        MAX_HEADER
    }
}

/// Writes a frame header to the start of `out` and returns its length.
///
/// # Panics
/// If `out` is shorter than [`header_len`]`(body_len)`.
#[inline]
pub(crate) fn encode_header(out: &mut [u8], more: bool, command: bool, body_len: usize) -> usize {
    debug_assert!(!(more && command), "a command never has MORE");
    let flags = if more { MORE } else { 0 } | if command { COMMAND } else { 0 };
    if body_len <= SHORT_MAX {
        out[0] = flags;
        out[1] = body_len as u8;
        2
    } else {
        out[0] = flags | LONG;
        out[1..MAX_HEADER].copy_from_slice(&(body_len as u64).to_be_bytes());
        MAX_HEADER
    }
}

/// A frame header as a value: what [`encode_header`] writes, for those who append to a buffer.
#[inline]
pub(crate) fn header(more: bool, command: bool, body_len: usize) -> ([u8; MAX_HEADER], usize) {
    let mut out = [0; MAX_HEADER];
    let len = encode_header(&mut out, more, command, body_len);
    (out, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_messages_end_at_anything_else() {
        let mut input = vec![0, 3, 1, 2, 3, 0, 0];
        let whole = input.len();
        assert_eq!(short_messages(&input, 10), (whole, 2));
        assert_eq!(short_messages(&input, 1), (5, 1));
        assert_eq!(short_messages(&input, 0), (0, 0));
        assert_eq!(short_messages(&input[..6], 10), (5, 1));
        assert_eq!(short_messages(&input[..4], 10), (0, 0));
        for flags in [MORE, LONG, COMMAND, 0x80] {
            input.truncate(whole);
            input.extend([flags, 1, 7]);
            assert_eq!(short_messages(&input, 10), (whole, 2), "{flags}");
        }
        assert_eq!(short_messages(&[], 10), (0, 0));
    }

    #[test]
    fn boundary_sizes_use_the_right_form() {
        for (len, expect) in [
            (0, 2),
            (1, 2),
            (254, 2),
            (255, 2),
            (256, 9),
            (257, 9),
            (1 << 20, 9),
        ] {
            let (bytes, n) = header(true, false, len);
            assert_eq!(n, expect, "{len}");
            assert_eq!(n, header_len(len));
            let decoded = decode_header(&bytes[..n]).unwrap().unwrap();
            assert_eq!(
                decoded,
                Header {
                    more: true,
                    command: false,
                    header_len: n,
                    body_len: len
                }
            );
        }
    }

    #[test]
    fn a_long_header_with_a_small_size_is_accepted() {
        let h = decode_header(&[LONG, 0, 0, 0, 0, 0, 0, 0, 5])
            .unwrap()
            .unwrap();
        assert_eq!((h.header_len, h.body_len), (9, 5));
    }

    #[test]
    fn malformed_headers_are_named() {
        assert_eq!(
            decode_header(&[0x08, 0]),
            Err(FrameError::ReservedBits(0x08))
        );
        assert_eq!(decode_header(&[0x80]), Err(FrameError::ReservedBits(0x80)));
        assert_eq!(
            decode_header(&[COMMAND | MORE, 1]),
            Err(FrameError::CommandWithMore(5))
        );
        let mut huge = [0xff; 9];
        huge[0] = LONG;
        assert_eq!(
            decode_header(&huge),
            Err(FrameError::SizeOverflow(u64::MAX))
        );
        huge[1..].copy_from_slice(&(1u64 << 63).to_be_bytes());
        assert_eq!(decode_header(&huge), Err(FrameError::SizeOverflow(1 << 63)));
    }

    #[test]
    fn what_is_forgiven_is_as_if_it_had_not_been_set() {
        for flags in 0..=u8::MAX {
            let octets = [flags, 0, 0, 0, 0, 0, 0, 0, 5];
            let sound = [forgive(flags), 0, 0, 0, 0, 0, 0, 0, 5];
            for len in 0..=octets.len() {
                let lenient = decode_lenient_header(&octets[..len]);
                assert_eq!(lenient, decode_header(&sound[..len]), "{flags} {len}");
                if let Ok(strict) = decode_header(&octets[..len]) {
                    assert_eq!(lenient, Ok(strict), "{flags} {len}");
                }
            }
        }
        // What is no matter of flags stays wrong.
        assert_eq!(
            decode_lenient_header(&[0xff; 9]),
            Err(FrameError::SizeOverflow(u64::MAX))
        );
    }

    proptest! {
        #[test]
        fn any_prefix_is_incomplete_and_any_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..12)
        ) {
            let whole = decode_header(&bytes);
            if let Ok(Some(h)) = whole {
                for cut in 0..h.header_len {
                    prop_assert_eq!(decode_header(&bytes[..cut]), Ok(None));
                }
                // The canonical form announces the same frame.
                let (again, n) = header(h.more, h.command, h.body_len);
                let re = decode_header(&again[..n]).unwrap().unwrap();
                prop_assert_eq!((re.more, re.command, re.body_len), (h.more, h.command, h.body_len));
            }
        }
    }
}
