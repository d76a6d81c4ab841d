//! The command frames of a handshake, put together from octets as they arrive.
//!
//! This is the only place of `proto` that keeps octets of an unfinished frame, so the only one
//! where an unauthenticated peer can make memory grow: sizes are checked on the header, and room is
//! made for what has arrived, never for what is announced.
//!
//! A frame that lies whole in the input is used where it is.

use std::borrow::Cow;

use super::error::{LimitExceeded, Misbehaved, ProtocolError};
use crate::frame::{self, FrameError, Header};

/// The largest body of one handshake frame. The metadata of a sound peer has some dozens of octets;
/// 64 KiB leaves applications room for properties of their own.
pub(crate) const MAX_HANDSHAKE_FRAME: usize = 64 * 1024;

/// The most octets a peer may send before the handshake is done, its greeting included.
pub(crate) const MAX_HANDSHAKE_OCTETS: usize = 64 * 1024;

/// A whole frame of the handshake.
#[derive(Debug)]
pub(super) struct HandshakeFrame<'a> {
    /// Whether the frame says that it is a command.
    pub(super) marked_command: bool,
    octets: Cow<'a, [u8]>,
    header_len: usize,
}

impl HandshakeFrame<'_> {
    /// The body.
    pub(super) fn body(&self) -> &[u8] {
        &self.octets[self.header_len..]
    }
}

/// Splits the octets of a handshake into frames.
#[derive(Debug)]
pub(super) struct HandshakeFrames {
    /// The start of an unfinished frame; empty between frames.
    partial: Vec<u8>,
    /// Octets of everything before the unfinished frame.
    done: usize,
    lenient: bool,
}

impl HandshakeFrames {
    /// `before` octets have been received already.
    pub(super) fn new(before: usize) -> Self {
        HandshakeFrames {
            partial: Vec::new(),
            done: before,
            lenient: false,
        }
    }

    /// Whether bits that may not be set are ignored.
    pub(super) fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Takes octets of one frame from the start of `input`. Returns how many, and the frame if
    /// they complete one.
    pub(super) fn handle_input<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<HandshakeFrame<'a>>), ProtocolError> {
        if self.partial.is_empty() {
            if let Some(header) = self.decode_header(input)? {
                let len = self.check(header)?;
                if let Some(octets) = input.get(..len) {
                    self.done += len;
                    return Ok((len, Some(whole(header, Cow::Borrowed(octets)))));
                }
            }
        }

        let mut taken = 0;
        let header = loop {
            if let Some(header) = self.decode_header(&self.partial)? {
                break header;
            }
            // Octet by octet, at most 9 of them: nothing behind the header may be taken by
            // mistake, and a wrong one is found when it comes.
            let Some(&octet) = input.get(taken) else {
                return Ok((taken, None));
            };
            self.partial.push(octet);
            taken += 1;
        };
        let len = self.check(header)?;
        let missing = len - self.partial.len();
        let rest = &input[taken..];
        let part = &rest[..missing.min(rest.len())];
        self.reserve(part.len(), len);
        self.partial.extend_from_slice(part);
        taken += part.len();
        if part.len() < missing {
            return Ok((taken, None));
        }
        self.done += len;
        let octets = Cow::Owned(std::mem::take(&mut self.partial));
        Ok((taken, Some(whole(header, octets))))
    }

    /// Octets of memory held.
    #[cfg(any(test, fuzzing))]
    pub(super) fn buffered(&self) -> usize {
        self.partial.capacity()
    }

    fn decode_header(&self, input: &[u8]) -> Result<Option<Header>, FrameError> {
        match self.lenient {
            true => frame::decode_lenient_header(input),
            false => frame::decode_header(input),
        }
    }

    /// Checks a frame's header; returns the length of the whole frame.
    fn check(&self, header: Header) -> Result<usize, ProtocolError> {
        if header.more {
            return Err(Misbehaved::MessageDuringHandshake.into());
        }
        if header.body_len > MAX_HANDSHAKE_FRAME {
            return Err(LimitExceeded::HandshakeFrame {
                size: header.body_len,
                limit: MAX_HANDSHAKE_FRAME,
            }
            .into());
        }
        let len = header.header_len + header.body_len;
        let size = self.done.saturating_add(len);
        if size > MAX_HANDSHAKE_OCTETS {
            return Err(LimitExceeded::HandshakeOctets {
                size,
                limit: MAX_HANDSHAKE_OCTETS,
            }
            .into());
        }
        Ok(len)
    }

    /// Makes room for `more` octets of a frame of `len`: in doubling steps, so that octets are
    /// copied few times, but never beyond the frame.
    fn reserve(&mut self, more: usize, len: usize) {
        let need = self.partial.len() + more;
        if need > self.partial.capacity() {
            let target = need.max(self.partial.capacity() * 2).min(len);
            self.partial.reserve_exact(target - self.partial.len());
        }
    }
}

fn whole(header: Header, octets: Cow<'_, [u8]>) -> HandshakeFrame<'_> {
    HandshakeFrame {
        marked_command: header.command,
        octets,
        header_len: header.header_len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(size: usize) -> Vec<u8> {
        let mut header = vec![6];
        header.extend_from_slice(&(size as u64).to_be_bytes());
        header
    }

    #[test]
    fn a_whole_frame_is_not_copied() {
        let mut frames = HandshakeFrames::new(0);
        let (taken, frame) = frames.handle_input(b"\x04\x02abc").unwrap();
        let frame = frame.unwrap();
        assert_eq!((taken, frame.body()), (4, &b"ab"[..]));
        assert!(matches!(frame.octets, Cow::Borrowed(_)));
        assert_eq!(frames.buffered(), 0);
    }

    #[test]
    fn memory_follows_arrival_not_announcement() {
        let mut frames = HandshakeFrames::new(0);
        let body_len = 60_000;
        frames.handle_input(&long(body_len)).unwrap();
        assert!(frames.buffered() <= 64);
        for i in 0..body_len - 1 {
            assert_eq!(frames.handle_input(b"x").unwrap().0, 1);
            assert!(frames.buffered() <= (2 * (i + 10)).max(64).min(body_len + 9));
        }
        let (taken, frame) = frames.handle_input(b"yz").unwrap();
        assert_eq!((taken, frame.unwrap().body().len()), (1, body_len));
        assert_eq!(frames.buffered(), 0);
    }

    #[test]
    fn sizes_are_checked_on_the_header() {
        let mut frames = HandshakeFrames::new(64);
        assert_eq!(
            frames
                .handle_input(&long(MAX_HANDSHAKE_FRAME + 1))
                .unwrap_err(),
            LimitExceeded::HandshakeFrame {
                size: 65_537,
                limit: 65_536
            }
            .into()
        );
        let mut frames = HandshakeFrames::new(64);
        assert_eq!(
            frames.handle_input(&long(65_536 - 64 - 8)).unwrap_err(),
            LimitExceeded::HandshakeOctets {
                size: 65_537,
                limit: 65_536
            }
            .into()
        );
        let mut frames = HandshakeFrames::new(64);
        assert!(frames.handle_input(&long(65_536 - 64 - 9)).is_ok());
    }

    #[test]
    fn the_total_counts_all_frames() {
        let mut frames = HandshakeFrames::new(0);
        let frame = [&long(30_000)[..], &[0; 30_000]].concat();
        assert!(frames.handle_input(&frame).unwrap().1.is_some());
        assert!(frames.handle_input(&frame[..100]).unwrap().1.is_none());
        assert!(frames.handle_input(&frame[100..]).unwrap().1.is_some());
        assert_eq!(
            frames.handle_input(&frame).unwrap_err(),
            LimitExceeded::HandshakeOctets {
                size: 90_027,
                limit: 65_536
            }
            .into()
        );
    }

    #[test]
    fn a_wrong_header_is_found_when_it_comes() {
        let mut frames = HandshakeFrames::new(0);
        assert_eq!(
            frames.handle_input(&[0x84]).unwrap_err(),
            FrameError::ReservedBits(0x84).into()
        );
        let mut frames = HandshakeFrames::new(0);
        assert_eq!(
            frames.handle_input(&[0x01, 5]).unwrap_err(),
            Misbehaved::MessageDuringHandshake.into()
        );
    }
}
