//! No frames at all: the octets of a peer that is no ZMTP peer, as messages of one frame.
//!
//! Where one message ends and the next begins is of no meaning; each holds what came at once, up to
//! [`CHUNK`] octets.

use bytes::{BufMut, BytesMut};

use super::walk::{Piece, Walk};
use super::{take, Decode, Encode, Room, Transform, MIN_ROOM};
use crate::frame;
use crate::proto::error::ProtocolError;

/// Raw octets, both ways.
pub(in crate::proto) fn raw() -> Transform {
    Transform {
        decode: Box::new(Decoder),
        encode: Box::new(Encoder {
            walk: Walk::new(),
            command: false,
        }),
    }
}

/// The most octets of one received message.
const CHUNK: usize = 8192;

#[derive(Debug)]
struct Decoder;

impl Decode for Decoder {
    fn decode(&mut self, input: &mut &[u8], out: &mut Room<'_>) -> Result<(), ProtocolError> {
        while !input.is_empty() && out.left() >= MIN_ROOM {
            let part = take(input, CHUNK.min(out.left() - frame::MAX_HEADER));
            let (header, n) = frame::header(false, false, part.len());
            out.put(&header[..n]);
            out.put(part);
        }
        Ok(())
    }
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
                Some(Piece::Header(header)) => self.command = header.command,
                Some(Piece::Body(part)) if !self.command => out.put_slice(part),
                Some(Piece::Body(_)) => {}
                None => break,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::{check_encoder, encode_all};
    use super::*;

    #[test]
    fn only_bodies_travel() {
        let frames = b"\0\x05hello\x01\x01 \0\0\0\x05world\x04\x05\x04PING";
        check_encoder(|| raw().encode, frames, b"hello world");
        assert_eq!(encode_all(&mut *raw().encode, b"\0\0", 1), b"");
    }

    #[test]
    fn what_came_at_once_is_a_message_of_at_most_a_chunk() {
        let octets = vec![b'x'; 2 * CHUNK + 1];
        let mut space = vec![0; 3 * CHUNK];
        let mut out = Room::new(&mut space);
        let mut input = &octets[..];
        raw().decode.decode(&mut input, &mut out).unwrap();
        assert!(input.is_empty());
        let filled = out.filled();
        let mut rest = &space[..filled];
        let mut sizes = Vec::new();
        while let Some(header) = frame::decode_header(rest).unwrap() {
            assert!(!header.more && !header.command);
            sizes.push(header.body_len);
            rest = &rest[header.header_len + header.body_len..];
        }
        assert_eq!(sizes, [CHUNK, CHUNK, 1]);
    }

    #[test]
    fn too_little_room_is_left_alone() {
        let mut space = [0; MIN_ROOM - 1];
        let mut out = Room::new(&mut space);
        let mut input = &b"x"[..];
        raw().decode.decode(&mut input, &mut out).unwrap();
        assert_eq!((input, out.filled()), (&b"x"[..], 0));
    }
}
