//! What must hold for every transform, whatever the octets and however they are cut: checks for tests, and
//! the fuzz body.

use bytes::BytesMut;

use super::walk::{Piece, Walk};
use super::{Decode, Encode, Room, Transform, MIN_ROOM};
use crate::proto::error::ProtocolError;

/// Everything a decoder makes of these octets, given to it in pieces of so many, with as much room.
pub(in crate::proto) fn decode_all(
    decoder: &mut dyn Decode,
    octets: &[u8],
    piece: usize,
) -> Result<Vec<u8>, ProtocolError> {
    let mut frames = Vec::new();
    for mut input in octets.chunks(piece.max(1)) {
        loop {
            let mut space = vec![0; piece.max(MIN_ROOM)];
            let mut out = Room::new(&mut space);
            let before = input.len();
            let result = decoder.decode(&mut input, &mut out);
            let written = out.filled();
            frames.extend_from_slice(&space[..written]);
            result?;
            assert!(
                input.is_empty() || space.len() - written < MIN_ROOM,
                "a decoder with room takes its input"
            );
            if input.is_empty() && written == 0 {
                break;
            }
            assert!(written > 0 || input.len() < before, "no progress");
        }
    }
    Ok(frames)
}

/// Everything an encoder makes of these frames, given to it in pieces of so many octets.
pub(in crate::proto) fn encode_all(
    encoder: &mut dyn Encode,
    frames: &[u8],
    piece: usize,
) -> Vec<u8> {
    let mut all = Vec::new();
    for mut part in frames.chunks(piece.max(1)) {
        while !part.is_empty() {
            let mut out = BytesMut::new();
            let before = part.len();
            let result = encoder.encode(&mut part, &mut out, piece.max(1));
            assert_eq!(result, Ok(()), "frames of ours");
            assert!(!out.is_empty() || part.len() < before, "no progress");
            assert!(out.len() <= piece.max(1) + SURPLUS, "{} octets", out.len());
            all.extend_from_slice(&out);
        }
    }
    all
}

/// What an encoder may add to a frame beyond the room it was given: a WebSocket header with its mask, a
/// flags octet, or a whole control frame.
const SURPLUS: usize = 160;

/// Checks a decoder on octets cut everywhere.
#[cfg(test)]
pub(in crate::proto) fn check_decoder(
    decoder: impl Fn() -> Box<dyn Decode>,
    octets: &[u8],
    expect: &[u8],
) {
    for piece in [1, 2, 3, 7, 64, octets.len()] {
        let frames = decode_all(&mut *decoder(), octets, piece);
        assert_eq!(frames.as_deref(), Ok(expect), "in pieces of {piece}");
    }
    for cut in 0..octets.len() {
        let mut decoder = decoder();
        let first = decode_all(&mut *decoder, &octets[..cut], octets.len()).unwrap();
        let second = decode_all(&mut *decoder, &octets[cut..], octets.len()).unwrap();
        assert_eq!([first, second].concat(), expect, "cut at {cut}");
    }
}

/// Checks an encoder on frames cut everywhere.
#[cfg(test)]
pub(in crate::proto) fn check_encoder(
    encoder: impl Fn() -> Box<dyn Encode>,
    frames: &[u8],
    expect: &[u8],
) {
    for piece in [1, 2, 3, 7, 64, frames.len()] {
        let octets = encode_all(&mut *encoder(), frames, piece);
        assert_eq!(octets, expect, "in pieces of {piece}");
    }
    for cut in 0..frames.len() {
        let mut encoder = encoder();
        let mut octets = encode_all(&mut *encoder, &frames[..cut], frames.len());
        octets.extend(encode_all(&mut *encoder, &frames[cut..], frames.len()));
        assert_eq!(octets, expect, "cut at {cut}");
    }
}

/// Interprets `data` as a format, a way to cut, and octets of a peer or frames of ours.
pub(crate) fn fuzz_transforms(data: &[u8]) {
    let [format, piece, octets @ ..] = data else {
        return;
    };
    let make = || transform(*format);
    let piece = usize::from(*piece) + 1;
    // The peer's octets: the same however they come, and sound frames up to the fault if there is one.
    let whole = decode_all(&mut *make().decode, octets, octets.len().max(MIN_ROOM));
    let cut = decode_all(&mut *make().decode, octets, piece);
    if !matches!(format % FORMATS, 1) {
        assert_eq!(whole, cut);
    }
    for frames in [whole, cut].into_iter().flatten() {
        let mut rest = &frames[..];
        let mut walk = Walk::new();
        while walk
            .next(&mut rest, usize::MAX)
            .expect("sound frames")
            .is_some()
        {}
    }
    // Frames of ours, made from the same octets: they come back.
    let mut frames = Vec::new();
    for body in octets.chunks(piece * 3) {
        let more = body[0] & 1 != 0;
        let (header, n) = crate::frame::header(more, false, body.len());
        frames.extend_from_slice(&header[..n]);
        frames.extend_from_slice(body);
    }
    let sent = encode_all(&mut *make().encode, &frames, piece);
    let received = decode_all(&mut *opposite(*format).decode, &sent, piece).expect("sound octets");
    assert_eq!(bodies(&received), bodies(&frames));
    if !matches!(format % FORMATS, 1) {
        assert_eq!(received, frames);
    }
}

/// How many formats there are.
#[cfg(feature = "ws")]
const FORMATS: u8 = 4;
#[cfg(not(feature = "ws"))]
const FORMATS: u8 = 2;

fn transform(format: u8) -> Transform {
    match format % FORMATS {
        0 => super::v1(),
        1 => super::raw(),
        #[cfg(feature = "ws")]
        2 => super::ws::websocket(super::ws::Side::Server),
        #[cfg(feature = "ws")]
        _ => super::ws::websocket(super::ws::Side::Client(|| 0x0123_4567_89ab_cdef)),
        #[cfg(not(feature = "ws"))]
        _ => super::v1(),
    }
}

/// What reads what a format's encoder writes.
fn opposite(format: u8) -> Transform {
    match format % FORMATS {
        2 => transform(3),
        3 => transform(2),
        same => transform(same),
    }
}

fn bodies(mut frames: &[u8]) -> Vec<u8> {
    let mut walk = Walk::new();
    let mut all = Vec::new();
    while let Some(piece) = walk.next(&mut frames, usize::MAX).expect("sound frames") {
        if let Piece::Body(part) = piece {
            all.extend_from_slice(part);
        }
    }
    assert!(!walk.is_within_frame());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Rng;

    #[test]
    fn random_octets_do_no_harm() {
        for seed in 0..2000 {
            let mut rng = Rng::new(seed);
            let common = b"\x82\x81\x80\x7e\x7f\x00\x01\x02\x89\x8a\x88\xff\x05";
            let data: Vec<u8> = (0..rng.up_to(400))
                .map(|_| match rng.up_to(3) {
                    1 => rng.next() as u8,
                    _ => common[rng.up_to(common.len()) - 1],
                })
                .collect();
            for format in 0..FORMATS {
                fuzz_transforms(&[&[format], &data[..]].concat());
            }
        }
    }
}
