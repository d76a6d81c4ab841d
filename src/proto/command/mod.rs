//! Commands: `name-length ‖ name ‖ data` in a frame of their own (23/ZMTP, "Commands").
//!
//! [`RawCommand`] is the one parser of a command body; the files beside this one know the data of
//! one family each. Which command is allowed when is not decided here.

pub(crate) mod heartbeat;
pub(crate) mod metadata;
pub(crate) mod ready;
pub(crate) mod refusal;
pub(crate) mod subscription;

use bytes::{BufMut, BytesMut};

use super::error::{Malformed, ProtocolError};
use crate::frame;

/// The body of a command frame, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawCommand<'a> {
    /// The name, at least one octet. Names compare exactly.
    pub(crate) name: &'a [u8],
    /// Everything after the name.
    pub(crate) data: &'a [u8],
}

impl<'a> RawCommand<'a> {
    /// Parses the body of a command frame.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let Some((&name_len, rest)) = body.split_first() else {
            return Err(Malformed::EmptyCommand.into());
        };
        if name_len == 0 {
            return Err(Malformed::EmptyCommandName.into());
        }
        if usize::from(name_len) > rest.len() {
            return Err(Malformed::CommandName {
                name_len,
                body_len: body.len(),
            }
            .into());
        }
        let (name, data) = rest.split_at(usize::from(name_len));
        Ok(RawCommand { name, data })
    }
}

/// Appends the frame header and the name of a command; `data_len` octets must follow.
///
/// The name is one of ours, so its length fits an octet.
pub(crate) fn begin_command(out: &mut BytesMut, name: &'static [u8], data_len: usize) {
    debug_assert!((1..=255).contains(&name.len()));
    let body_len = 1 + name.len() + data_len;
    let (header, header_len) = frame::header(false, true, body_len);
    out.reserve(header_len + body_len);
    out.put_slice(&header[..header_len]);
    out.put_u8(name.len() as u8);
    out.put_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_taken_apart() {
        assert_eq!(
            RawCommand::parse(b"\x04PINGrest"),
            Ok(RawCommand {
                name: b"PING",
                data: b"rest"
            })
        );
        assert_eq!(
            RawCommand::parse(b"\x01x"),
            Ok(RawCommand {
                name: b"x",
                data: b""
            })
        );
    }

    #[test]
    fn bodies_without_a_whole_name_are_malformed() {
        assert_eq!(RawCommand::parse(b""), Err(Malformed::EmptyCommand.into()));
        assert_eq!(
            RawCommand::parse(b"\0READY"),
            Err(Malformed::EmptyCommandName.into())
        );
        assert_eq!(
            RawCommand::parse(b"\x06READY"),
            Err(Malformed::CommandName {
                name_len: 6,
                body_len: 6
            }
            .into())
        );
    }

    #[test]
    fn the_header_form_follows_the_whole_body() {
        for (data_len, header) in [(249, &[4, 255][..]), (250, &[6, 0, 0, 0, 0, 0, 0, 1, 0])] {
            let mut out = BytesMut::new();
            begin_command(&mut out, b"HELLO", data_len);
            assert_eq!(&out[..header.len()], header);
            assert_eq!(&out[header.len()..], b"\x05HELLO");
        }
    }
}
