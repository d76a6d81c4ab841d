//! From WebSocket frames to ZMTP/3 frames.

use super::{
    Mask, BINARY, CLOSING, COMMAND, FIN, LENGTH, LENGTH_16, LENGTH_64, MASKED, MAX_CONTROL, MORE,
    OPCODE, PINGING, PONGING, RSV,
};
use crate::frame::{self, FrameError};
use crate::proto::command::heartbeat::{PING, PONG};
use crate::proto::error::{Malformed, ProtocolError, WebSocketFault};
use crate::proto::framing::{take, Decode, Room, Staged};

/// See the module.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Whether the peer must mask what it sends; otherwise it must not.
    masked: bool,
    state: State,
    /// The start of a header, or a control frame's payload, as far as it has come.
    octets: [u8; MAX_CONTROL],
    len: u8,
    mask: Mask,
    staged: Staged,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    /// The octet of flags comes next, and so many octets of the body after it.
    Flags(usize),
    /// So many octets of a body are to come.
    Body(usize),
    /// The payload of a control frame.
    Control {
        opcode: u8,
        len: u8,
    },
}

/// A whole header.
struct Header {
    opcode: u8,
    len: u64,
    key: [u8; 4],
}

impl Decoder {
    pub(super) fn new(masked: bool) -> Self {
        Decoder {
            masked,
            state: State::Header,
            octets: [0; MAX_CONTROL],
            len: 0,
            mask: Mask::new([0; 4]),
            staged: Staged::new(),
        }
    }

    /// The octets kept so far are the start of a header: the header, once it is whole.
    fn header(&self) -> Result<Option<Header>, ProtocolError> {
        let start = &self.octets[..usize::from(self.len)];
        let Some((&first, rest)) = start.split_first() else {
            return Ok(None);
        };
        let opcode = first & OPCODE;
        if first & RSV != 0 {
            return fault(WebSocketFault::Reserved { octet: first });
        }
        if !matches!(opcode, BINARY | CLOSING | PINGING | PONGING) {
            // The rest of a fragmented message, too: its beginning was refused.
            return fault(WebSocketFault::Opcode { opcode });
        }
        if first & FIN == 0 {
            return fault(WebSocketFault::Fragmented);
        }
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        match (second & MASKED != 0, self.masked) {
            (true, false) => return fault(WebSocketFault::Masked),
            (false, true) => return fault(WebSocketFault::Unmasked),
            _ => {}
        }
        let form = second & LENGTH;
        if opcode != BINARY && usize::from(form) > MAX_CONTROL {
            return fault(WebSocketFault::ControlLength);
        }
        let (len, least, rest) = match form {
            LENGTH_16 => match rest.split_first_chunk::<2>() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), 126, rest),
                None => return Ok(None),
            },
            LENGTH_64 => match rest.split_first_chunk::<8>() {
                Some((len, rest)) => (u64::from_be_bytes(*len), 65_536, rest),
                None => return Ok(None),
            },
            len => (u64::from(len), 0, rest),
        };
        if len > i64::MAX as u64 {
            return Err(FrameError::SizeOverflow(len).into());
        }
        if len < least {
            return fault(WebSocketFault::LengthForm { len });
        }
        if opcode == BINARY && len == 0 {
            return fault(WebSocketFault::Empty);
        }
        let key = match (self.masked, rest.first_chunk::<4>()) {
            (false, _) => [0; 4],
            (true, Some(key)) => *key,
            (true, None) => return Ok(None),
        };
        Ok(Some(Header { opcode, len, key }))
    }

    /// The flags of a frame with a body of `len` octets.
    fn flags(&mut self, flags: u8, len: usize) -> Result<(), ProtocolError> {
        let (more, command) = match flags {
            0 => (false, false),
            MORE => (true, false),
            COMMAND => (false, true),
            _ => return fault(WebSocketFault::Flags { flags }),
        };
        let (header, n) = frame::header(more, command, len);
        self.staged.push(&header[..n]);
        self.state = match len {
            0 => State::Header,
            len => State::Body(len),
        };
        Ok(())
    }

    /// A whole control frame.
    fn control(&mut self, opcode: u8, len: u8) -> Result<(), ProtocolError> {
        let payload = &mut self.octets[..usize::from(len)];
        self.mask.apply(payload);
        match opcode {
            PINGING => {
                // Without a time to live; the payload is what the answer repeats.
                command(&mut self.staged, PING, &[&[0, 0], payload]);
            }
            PONGING => command(&mut self.staged, PONG, &[]),
            _ => {
                let code = match payload.split_first_chunk::<2>() {
                    Some((code, _)) => Some(u16::from_be_bytes(*code)),
                    None if payload.is_empty() => None,
                    None => return fault(WebSocketFault::CloseLength),
                };
                return Err(ProtocolError::Closed { code });
            }
        }
        self.state = State::Header;
        Ok(())
    }
}

impl Decode for Decoder {
    fn decode(&mut self, input: &mut &[u8], out: &mut Room<'_>) -> Result<(), ProtocolError> {
        loop {
            if !self.staged.flush(out) {
                return Ok(());
            }
            match self.state {
                State::Body(left) => {
                    let part = take(input, left.min(out.left()));
                    if part.is_empty() {
                        return Ok(());
                    }
                    self.mask.apply(out.put(part));
                    self.state = match left - part.len() {
                        0 => State::Header,
                        left => State::Body(left),
                    };
                }
                State::Control { opcode, len } => {
                    let part = take(input, usize::from(len - self.len));
                    let at = usize::from(self.len);
                    self.octets[at..at + part.len()].copy_from_slice(part);
                    self.len += part.len() as u8;
                    if self.len < len {
                        return Ok(());
                    }
                    self.len = 0;
                    self.control(opcode, len)?;
                }
                State::Flags(len) => {
                    let Some((&first, rest)) = input.split_first() else {
                        return Ok(());
                    };
                    *input = rest;
                    let mut flags = [first];
                    self.mask.apply(&mut flags);
                    self.flags(flags[0], len)?;
                }
                State::Header => {
                    let Some((&first, rest)) = input.split_first() else {
                        return Ok(());
                    };
                    *input = rest;
                    self.octets[usize::from(self.len)] = first;
                    self.len += 1;
                    if let Some(Header { opcode, len, key }) = self.header()? {
                        self.len = 0;
                        self.mask = Mask::new(key);
                        self.state = if opcode == BINARY {
                            let body = usize::try_from(len - 1)
                                .ok()
                                .filter(|body| *body <= usize::MAX - frame::MAX_HEADER)
                                .ok_or(FrameError::SizeOverflow(len))?;
                            State::Flags(body)
                        } else {
                            State::Control {
                                opcode,
                                len: len as u8,
                            }
                        };
                    }
                }
            }
        }
    }
}

fn fault<T>(fault: WebSocketFault) -> Result<T, ProtocolError> {
    Err(Malformed::from(fault).into())
}

/// Stages a command frame.
fn command(staged: &mut Staged, name: &[u8], data: &[&[u8]]) {
    let len = 1 + name.len() + data.iter().map(|part| part.len()).sum::<usize>();
    let (header, n) = frame::header(false, true, len);
    staged.push(&header[..n]);
    staged.push(&[name.len() as u8]);
    staged.push(name);
    for part in data {
        staged.push(part);
    }
}
