//! ZMTP 1.0 frames (13/ZMTP 1.0, "Framing"): `length ‖ flags ‖ body`, where the length counts the flags.
//!
//! The length is one octet from 1 to 254, or 255 and eight octets. Of the flags only MORE is defined, and
//! others are not looked at. There are no commands: one that is written to such a peer is left out.

use bytes::{BufMut, BytesMut};

use super::walk::{Piece, Walk};
use super::{take, Decode, Encode, Room, Staged, Transform};
use crate::frame::{self, FrameError};
use crate::proto::error::{Malformed, ProtocolError};

/// ZMTP 1.0, both ways.
pub(in crate::proto) fn v1() -> Transform {
    Transform {
        decode: Box::new(Decoder {
            start: [0; MAX_HEADER],
            len: 0,
            staged: Staged::new(),
            body: 0,
        }),
        encode: Box::new(Encoder {
            walk: Walk::new(),
            command: false,
        }),
    }
}

/// Announces a length of eight octets.
const LONG: u8 = 0xff;

/// The longest length and the flags.
const MAX_HEADER: usize = 10;

const MORE: u8 = 1;

#[derive(Debug)]
struct Decoder {
    /// A header that is not there as a whole.
    start: [u8; MAX_HEADER],
    len: u8,
    staged: Staged,
    /// Octets of the body that are to come.
    body: usize,
}

impl Decode for Decoder {
    fn decode(&mut self, input: &mut &[u8], out: &mut Room<'_>) -> Result<(), ProtocolError> {
        loop {
            if !self.staged.flush(out) {
                return Ok(());
            }
            if self.body > 0 {
                let part = take(input, self.body.min(out.left()));
                out.put(part);
                self.body -= part.len();
                if self.body > 0 {
                    return Ok(());
                }
            }
            let Some(&octet) = input.first() else {
                return Ok(());
            };
            *input = &input[1..];
            self.start[usize::from(self.len)] = octet;
            self.len += 1;
            if let Some((more, len)) = header(&self.start[..usize::from(self.len)])? {
                self.len = 0;
                self.body = len;
                let (octets, n) = frame::header(more, false, len);
                self.staged.push(&octets[..n]);
            }
        }
    }
}

/// MORE and the length of the body, once the header is whole.
fn header(start: &[u8]) -> Result<Option<(bool, usize)>, Malformed> {
    let (size, flags) = match start {
        [0, ..] => return Err(Malformed::EmptyFrameV1),
        [LONG, rest @ ..] => {
            let Some((size, flags)) = rest.split_first_chunk::<8>() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*size), flags)
        }
        [size, flags @ ..] => (u64::from(*size), flags),
        [] => return Ok(None),
    };
    if size == 0 {
        return Err(Malformed::EmptyFrameV1);
    }
    // As in `frame`: what it cannot express is no size.
    let body = usize::try_from(size - 1)
        .ok()
        .filter(|_| size <= i64::MAX as u64)
        .filter(|body| *body <= usize::MAX - frame::MAX_HEADER)
        .ok_or(FrameError::SizeOverflow(size))?;
    Ok(flags.first().map(|flags| (flags & MORE != 0, body)))
}

#[derive(Debug)]
struct Encoder {
    walk: Walk,
    /// The frame under way is a command.
    command: bool,
}

impl Encode for Encoder {
    fn encode(
        &mut self,
        input: &mut &[u8],
        out: &mut BytesMut,
        room: usize,
    ) -> Result<(), ProtocolError> {
        let end = out.len() + room;
        while out.len() < end {
            match self.walk.next(input, end - out.len())? {
                Some(Piece::Header(header)) => {
                    self.command = header.command;
                    if !header.command {
                        let size = header.body_len as u64 + 1;
                        match u8::try_from(size).ok().filter(|size| *size < LONG) {
                            Some(size) => out.put_u8(size),
                            None => {
                                out.put_u8(LONG);
                                out.put_u64(size);
                            }
                        }
                        out.put_u8(u8::from(header.more));
                    }
                }
                Some(Piece::Body(part)) => {
                    if !self.command {
                        out.put_slice(part);
                    }
                }
                None => break,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::{check_decoder, check_encoder, decode_all, encode_all};
    use super::*;

    /// ZMTP/3 and ZMTP 1.0 of the same frames.
    fn pairs() -> Vec<(Vec<u8>, Vec<u8>)> {
        let body = |n| vec![b'x'; n];
        vec![
            (b"\0\0".to_vec(), b"\x01\0".to_vec()),
            (b"\0\x05hello".to_vec(), b"\x06\0hello".to_vec()),
            (b"\x01\x01a\0\x01b".to_vec(), b"\x02\x01a\x02\0b".to_vec()),
            (
                [&b"\0\xfd"[..], &body(253)].concat(),
                [&b"\xfe\0"[..], &body(253)].concat(),
            ),
            (
                [&b"\0\xfe"[..], &body(254)].concat(),
                [&b"\xff\0\0\0\0\0\0\0\xff\0"[..], &body(254)].concat(),
            ),
            (
                [&b"\x03\0\0\0\0\0\0\x01\0"[..], &body(256)].concat(),
                [&b"\xff\0\0\0\0\0\0\x01\x01\x01"[..], &body(256)].concat(),
            ),
        ]
    }

    #[test]
    fn frames_are_these_octets_however_they_are_cut() {
        for (v3, v1_octets) in pairs() {
            check_encoder(|| v1().encode, &v3, &v1_octets);
            check_decoder(|| v1().decode, &v1_octets, &v3);
        }
    }

    #[test]
    fn other_flags_are_not_looked_at_and_long_lengths_may_be_small() {
        let decoded = decode_all(&mut *v1().decode, b"\xff\0\0\0\0\0\0\0\x03\xfe..", 1);
        assert_eq!(decoded, Ok(b"\0\x02..".to_vec()));
    }

    #[test]
    fn commands_are_left_out() {
        let sent = encode_all(&mut *v1().encode, b"\x04\x05\x04PING\0\x01a", 3);
        assert_eq!(sent, b"\x02\0a");
    }

    #[test]
    fn impossible_lengths_are_malformed() {
        for (octets, error) in [
            (&b"\0"[..], Malformed::EmptyFrameV1),
            (b"\xff\0\0\0\0\0\0\0\0", Malformed::EmptyFrameV1),
            (
                b"\xff\x80\0\0\0\0\0\0\0",
                FrameError::SizeOverflow(1 << 63).into(),
            ),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                FrameError::SizeOverflow(u64::MAX).into(),
            ),
        ] {
            let error: ProtocolError = error.into();
            assert_eq!(decode_all(&mut *v1().decode, octets, 1), Err(error));
        }
    }
}
