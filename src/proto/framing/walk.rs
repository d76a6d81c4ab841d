//! The walk over ZMTP/3 frames that come in pieces of any size, for encoders.

use super::take;
use crate::frame::{self, FrameError, Header};

/// See the module.
#[derive(Debug)]
pub(super) struct Walk {
    /// The start of a header of which the rest is to come.
    start: [u8; frame::MAX_HEADER],
    len: u8,
    /// Octets of the body that are to come.
    body: usize,
}

/// The next thing in the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A frame begins.
    Header(Header),
    /// A part of the body of the frame that began last; never empty.
    Body(&'a [u8]),
}

impl Walk {
    pub(super) fn new() -> Self {
        Walk {
            start: [0; frame::MAX_HEADER],
            len: 0,
            body: 0,
        }
    }

    /// Whether a frame is unfinished.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_within_frame(&self) -> bool {
        self.len > 0 || self.body > 0
    }

    /// Takes a piece off the front, of which a body part has at most `max` octets. `None`: nothing is left.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        max: usize,
    ) -> Result<Option<Piece<'a>>, FrameError> {
        if self.body > 0 {
            let part = take(input, self.body.min(max));
            self.body -= part.len();
            return Ok((!part.is_empty()).then_some(Piece::Body(part)));
        }
        while let Some(&octet) = input.first() {
            self.start[usize::from(self.len)] = octet;
            self.len += 1;
            *input = &input[1..];
            if let Some(header) = frame::decode_header(&self.start[..usize::from(self.len)])? {
                self.len = 0;
                self.body = header.body_len;
                return Ok(Some(Piece::Header(header)));
            }
        }
        Ok(None)
    }
}
