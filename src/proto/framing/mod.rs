//! The seam for wire formats other than ZMTP/3 frames.
//!
//! Pipes hold ZMTP/3 frames, and a NULL ZMTP/3 connection moves their octets as they are. A connection
//! of another format has a [`Transform`], decided at the latest when its handshake ends: an [`Encode`]
//! that turns frames into what travels, and a [`Decode`] for the way back. Both take octets in pieces of
//! any size, know no socket and no pipe, and hold no more than a part of one frame. While the
//! handshake lasts the connection itself drives them; [`super::Connection::take_transform`] then hands
//! them to the pumps.
//!
//! What travels here are *frames*: limits on their sizes are checked by whoever reads what a decoder
//! writes. A transform that needs a whole frame at once (an encrypting one) keeps it, in memory that grows
//! as octets arrive, and checks the limit itself.

mod raw;
mod v1;
mod walk;
#[cfg(feature = "ws")]
pub(super) mod ws;

use std::fmt;

use bytes::BytesMut;

use super::error::ProtocolError;

pub(super) use raw::raw;
pub(super) use v1::v1;

/// Both directions of a wire format.
#[derive(Debug)]
pub(crate) struct Transform {
    pub(crate) decode: Box<dyn Decode>,
    pub(crate) encode: Box<dyn Encode>,
}

/// From what travels to ZMTP/3 frames.
pub(crate) trait Decode: fmt::Debug + Send {
    /// Takes octets from the front of `input` and writes frames to `out`, until either is used up. With
    /// room for [`MIN_ROOM`] octets or more it takes all input or uses the room to less than that; it may
    /// have something to write when there is no input.
    ///
    /// # Errors
    /// If the peer breaks the format. What was written before is sound. The error is final: the decoder is
    /// not called again.
    fn decode(&mut self, input: &mut &[u8], out: &mut Room<'_>) -> Result<(), ProtocolError>;
}

/// From ZMTP/3 frames to what travels.
pub(crate) trait Encode: fmt::Debug + Send {
    /// Takes octets from the front of `input`, all of them unless `out` has grown by `room` octets, which
    /// it may exceed by a header and what a transform adds to a frame.
    ///
    /// # Errors
    /// If the connection must not go on. The error is final.
    fn encode(
        &mut self,
        input: &mut &[u8],
        out: &mut BytesMut,
        room: usize,
    ) -> Result<(), ProtocolError>;
}

/// Room for a frame header and a first octet of its body. A decoder that has less may write nothing.
pub(crate) const MIN_ROOM: usize = 16;

/// A buffer that is filled from its front.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    octets: &'a mut [u8],
    filled: usize,
}

impl<'a> Room<'a> {
    pub(crate) fn new(octets: &'a mut [u8]) -> Self {
        Room { octets, filled: 0 }
    }

    /// Octets written.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Octets that still fit.
    pub(super) fn left(&self) -> usize {
        self.octets.len() - self.filled
    }

    /// Appends as much of `octets` as fits; returns what was written, to be changed in place.
    pub(super) fn put(&mut self, octets: &[u8]) -> &mut [u8] {
        let n = octets.len().min(self.left());
        let end = self.filled + n;
        let into = &mut self.octets[self.filled..end];
        into.copy_from_slice(&octets[..n]);
        self.filled = end;
        into
    }
}

/// A few octets that a decoder has made and not written yet: a header, or a whole short command.
#[derive(Debug)]
pub(super) struct Staged {
    octets: [u8; Staged::MAX],
    from: u8,
    to: u8,
}

impl Staged {
    /// A `PING` with the longest payload of a WebSocket ping.
    const MAX: usize = 2 + 5 + 2 + 125;

    pub(super) fn new() -> Self {
        Staged {
            octets: [0; Staged::MAX],
            from: 0,
            to: 0,
        }
    }

    /// Appends octets. Nothing is staged but while a decoder has no room, and never more than one frame.
    pub(super) fn push(&mut self, octets: &[u8]) {
        let (from, to) = (usize::from(self.to), usize::from(self.to) + octets.len());
        self.octets[from..to].copy_from_slice(octets);
        self.to = to as u8;
    }

    /// Writes what fits; whether nothing is left.
    pub(super) fn flush(&mut self, out: &mut Room<'_>) -> bool {
        let n = out
            .put(&self.octets[usize::from(self.from)..usize::from(self.to)])
            .len();
        self.from += n as u8;
        let done = self.from == self.to;
        if done {
            (self.from, self.to) = (0, 0);
        }
        done
    }
}

/// Takes up to `n` octets off the front.
pub(super) fn take<'a>(input: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(n.min(input.len()));
    *input = rest;
    taken
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
