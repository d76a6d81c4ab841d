//! From ZMTP/3 frames to WebSocket frames.

use bytes::{BufMut, BytesMut};

use super::{
    Mask, Side, BINARY, CLOSE, CLOSING, COMMAND, FIN, LENGTH_16, LENGTH_64, MASKED, MAX_CONTROL,
    MORE, PINGING, PONGING,
};
use crate::frame::Header;
use crate::proto::command::heartbeat::{PING, PONG};
use crate::proto::command::RawCommand;
use crate::proto::error::ProtocolError;
use crate::proto::framing::walk::{Piece, Walk};
use crate::proto::framing::Encode;

/// See the module.
#[derive(Debug)]
pub(super) struct Encoder {
    side: Side,
    walk: Walk,
    /// Of the frame under way.
    mask: Option<Mask>,
    /// A command that may be one of the heartbeat's, as far as it has come, and its length.
    command: Option<(BytesMut, usize)>,
}

/// The longest command that is looked at: a `PONG` with the longest payload.
const HEARTBEAT: usize = 1 + PONG.len() + MAX_CONTROL;

impl Encoder {
    pub(super) fn new(side: Side) -> Self {
        Encoder {
            side,
            walk: Walk::new(),
            mask: None,
            command: None,
        }
    }

    /// Appends the header of a WebSocket frame; its payload is to be masked with what is kept.
    fn begin(&mut self, out: &mut BytesMut, opcode: u8, len: u64) {
        let masked = match self.side {
            Side::Client(_) => MASKED,
            Side::Server => 0,
        };
        out.put_u8(FIN | opcode);
        if len < u64::from(LENGTH_16) {
            out.put_u8(masked | len as u8);
        } else if let Ok(len) = u16::try_from(len) {
            out.put_u8(masked | LENGTH_16);
            out.put_u16(len);
        } else {
            out.put_u8(masked | LENGTH_64);
            out.put_u64(len);
        }
        self.mask = match self.side {
            Side::Client(random) => {
                let [a, b, c, d, ..] = random().to_le_bytes();
                out.put_slice(&[a, b, c, d]);
                Some(Mask::new([a, b, c, d]))
            }
            Side::Server => None,
        };
    }

    /// Appends a part of the payload.
    fn put(&mut self, out: &mut BytesMut, part: &[u8]) {
        let from = out.len();
        out.put_slice(part);
        if let Some(mask) = &mut self.mask {
            mask.apply(&mut out[from..]);
        }
    }

    fn data(&mut self, out: &mut BytesMut, header: Header) {
        let flags = (u8::from(header.more) * MORE) | (u8::from(header.command) * COMMAND);
        self.begin(out, BINARY, header.body_len as u64 + 1);
        self.put(out, &[flags]);
    }

    /// Appends a whole command.
    fn command(&mut self, out: &mut BytesMut, body: &[u8]) {
        let (opcode, payload) = match RawCommand::parse(body) {
            Ok(RawCommand { name: PING, .. }) => (PINGING, &[][..]),
            Ok(RawCommand { name: PONG, data }) => (PONGING, data),
            Ok(RawCommand { name: CLOSE, data }) => (CLOSING, data),
            _ => {
                self.begin(out, BINARY, body.len() as u64 + 1);
                self.put(out, &[COMMAND]);
                self.put(out, body);
                return;
            }
        };
        self.begin(out, opcode, payload.len() as u64);
        self.put(out, payload);
    }
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
                Some(Piece::Header(header)) if header.command && header.body_len <= HEARTBEAT => {
                    self.command =
                        Some((BytesMut::with_capacity(header.body_len), header.body_len));
                }
                Some(Piece::Header(header)) => self.data(out, header),
                Some(Piece::Body(part)) => match &mut self.command {
                    Some((body, _)) => body.put_slice(part),
                    None => self.put(out, part),
                },
                None => break,
            }
            if matches!(&self.command, Some((body, len)) if body.len() == *len) {
                if let Some((body, _)) = self.command.take() {
                    self.command(out, &body);
                }
            }
        }
        Ok(())
    }
}
