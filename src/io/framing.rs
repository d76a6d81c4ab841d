//! What the pumps of a connection have between themselves and the descriptor if its octets are no ZMTP/3
//! frames (WebSocket, ZMTP 1.0, no ZMTP at all; see the seam in [`crate::proto`]).
//!
//! Each direction holds one bounded buffer of what travels, and none while there is nothing in it. The pumps
//! go on dealing in ZMTP/3 frames: credit, limits, boundaries and budgets stay theirs.

use std::io;

use bytes::{Buf, BytesMut};

use super::buffer::{BufferPool, ReadBuffer, BUFFER_SIZE};
use super::events::DisconnectReason;
use crate::pipe::Reader;
use crate::proto::{Decode, Encode, ProtocolError, Room};
use crate::transport::Stream;

/// How much is encoded ahead of a write: as much as is read at a time, so that a write is worth its cost.
const AHEAD: usize = 64 * 1024;

/// How far ahead a message boundary is chosen, in octets of the pipe.
const BUDGET: u64 = AHEAD as u64;

/// Pieces of the pipe that are encoded together.
const SLICES: usize = 16;

/// From the descriptor to frames.
#[derive(Debug)]
pub(super) struct FramedInput {
    decode: Box<dyn Decode>,
    /// What was read and not decoded.
    raw: ReadBuffer,
    /// What the decoder found after the frames that it returned last.
    fault: Option<ProtocolError>,
}

/// What one call of [`FramedInput::fill`] brought.
#[derive(Debug, Clone, Copy)]
pub(super) enum Filled {
    /// So many octets of frames, and so many were read. Either may be 0, and there may be more.
    Some { frames: usize, read: usize },
    /// The system has nothing for now, and nothing is left of what it had.
    Nothing,
}

impl FramedInput {
    /// `raw` is what was read already.
    pub(super) fn new(decode: Box<dyn Decode>, raw: ReadBuffer) -> Self {
        FramedInput {
            decode,
            raw,
            fault: None,
        }
    }

    /// Decodes into `into`, of at least 16 octets; reads at most once,
    /// and only if nothing is left to decode.
    ///
    /// # Errors
    /// If the peer breaks the format, or the stream has ended.
    pub(super) fn fill(
        &mut self,
        stream: &Stream,
        pool: &mut BufferPool,
        into: &mut [u8],
    ) -> Result<Filled, Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(Fault::Protocol(fault));
        }
        let frames = self.decode(into)?;
        if frames > 0 {
            return Ok(Filled::Some { frames, read: 0 });
        }
        // What is left of a buffer that was read from may be too little to be worth a read.
        self.raw.reserve(BUFFER_SIZE / 2, pool);
        let read = match stream.read(self.raw.space()) {
            Ok(0) => return Err(Fault::Ended),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.raw.release(pool);
                return Ok(Filled::Nothing);
            }
            Err(error) => return Err(Fault::System(error)),
        };
        self.raw.fill(read);
        let frames = self.decode(into)?;
        Ok(Filled::Some { frames, read })
    }

    fn decode(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        let mut input = self.raw.input();
        let before = input.len();
        let mut out = Room::new(into);
        let result = self.decode.decode(&mut input, &mut out);
        let (taken, frames) = (before - input.len(), out.filled());
        self.raw.skip(taken);
        match result {
            Ok(()) => {}
            // What came before the fault is handed on first.
            Err(fault) if frames > 0 => self.fault = Some(fault),
            Err(fault) => return Err(Fault::Protocol(fault)),
        }
        Ok(frames)
    }

    /// A run is over: memory that holds nothing is given back.
    pub(super) fn release(&mut self, pool: &mut BufferPool) {
        self.raw.release(pool);
    }

    /// Octets of memory.
    pub(super) fn held(&self) -> usize {
        self.raw.held()
    }
}

/// Why no frames come any more.
#[derive(Debug)]
pub(super) enum Fault {
    Protocol(ProtocolError),
    System(io::Error),
    /// The peer's end of the stream.
    Ended,
}

/// From frames to the descriptor.
#[derive(Debug)]
pub(super) struct FramedOutput {
    encode: Box<dyn Encode>,
    /// What is to be written.
    wire: BytesMut,
}

impl FramedOutput {
    /// `wire` is what is to be written before anything else, as it is.
    pub(super) fn new(encode: Box<dyn Encode>, wire: BytesMut) -> Self {
        FramedOutput { encode, wire }
    }

    /// What is to be written.
    pub(super) fn wire(&self) -> &[u8] {
        &self.wire
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }

    /// So many octets were written.
    pub(super) fn consume(&mut self, count: usize) {
        self.wire.advance(count);
    }

    /// There is nothing to do: no memory is kept for it.
    pub(super) fn rest(&mut self) {
        self.wire = BytesMut::new();
    }

    /// Encodes control frames, some of them at least, and takes them off.
    ///
    /// # Errors
    /// If the connection must not go on.
    pub(super) fn encode_control(
        &mut self,
        control: &mut BytesMut,
    ) -> Result<(), DisconnectReason> {
        let mut input = &control[..];
        self.encode.encode(&mut input, &mut self.wire, AHEAD)?;
        let taken = control.len() - input.len();
        control.advance(taken);
        Ok(())
    }

    /// Encodes what the pipe has, up to the bound, and consumes it. `false`: the pipe has nothing.
    ///
    /// # Errors
    /// If the connection must not go on.
    pub(super) fn encode_pipe(&mut self, reader: &mut Reader) -> Result<bool, DisconnectReason> {
        let mut slices = [io::IoSlice::new(&[]); SLICES];
        let count = reader.lend(BUDGET, &mut slices);
        let mut taken = 0;
        let mut result = Ok(());
        for slice in &slices[..count] {
            let mut input = &slice[..];
            let room = AHEAD.saturating_sub(self.wire.len());
            result = self.encode.encode(&mut input, &mut self.wire, room);
            taken += slice.len() - input.len();
            if result.is_err() || !input.is_empty() {
                break;
            }
        }
        if taken > 0 {
            reader.consume(taken as u64);
        }
        result?;
        Ok(count > 0)
    }
}
