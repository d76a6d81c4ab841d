//! `ERROR`: a peer says why it ends the connection (23/ZMTP, "Commands").
//!
//! `reason-length(1) ‖ reason`, filling the command exactly.

use bytes::{BufMut, BytesMut};

use super::begin_command;
use crate::proto::error::{Malformed, ProtocolError, Refusal};

/// The name of the command.
pub(crate) const ERROR: &[u8] = b"ERROR";

/// Appends an `ERROR` command. Reasons are texts of ours, shorter than 256 octets.
pub(crate) fn encode_error(out: &mut BytesMut, reason: &'static str) {
    debug_assert!(reason.len() <= 255);
    begin_command(out, ERROR, 1 + reason.len());
    out.put_u8(reason.len() as u8);
    out.put_slice(reason.as_bytes());
}

/// The refusal in the data of an `ERROR` command; or what is wrong with the command, which ends the
/// connection just as well.
pub(crate) fn parse_error(data: &[u8]) -> ProtocolError {
    match data.split_first() {
        Some((&len, reason)) if usize::from(len) == reason.len() => Refusal::new(reason).into(),
        _ => Malformed::Error { len: data.len() }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_round_trip() {
        let mut out = BytesMut::new();
        encode_error(&mut out, "because");
        assert_eq!(&out[..], b"\x04\x0e\x05ERROR\x07because");
        assert_eq!(parse_error(&out[8..]), Refusal::new(b"because").into());
        assert_eq!(parse_error(b"\0"), Refusal::new(b"").into());
    }

    #[test]
    fn a_reason_fills_its_command() {
        for data in [&b""[..], b"\x03ab", b"\x01ab"] {
            assert_eq!(
                parse_error(data),
                Malformed::Error { len: data.len() }.into()
            );
        }
    }
}
