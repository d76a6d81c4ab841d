//! ZMTP over WebSocket (45/ZWS 2.0; RFC 6455, "Data Framing").
//!
//! A frame travels as one binary WebSocket frame: an octet of flags, and the body. A client masks what it
//! sends, a server does not, and each refuses what is not as the other should send it. Pings and pongs are the
//! heartbeat: they become the commands `PING` and `PONG` on the way in, and are made of them on the way
//! out, so that the one heartbeat of the connection does for both. Likewise the command [`CLOSE`], which
//! is never written by a peer, becomes a close frame.

mod decode;
mod encode;
pub(in crate::proto) mod upgrade;

use super::Transform;

/// Which end of a WebSocket this side is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    /// It connected, and masks what it sends with numbers that nobody can predict.
    Client(fn() -> u64),
    /// It accepted.
    Server,
}

/// A WebSocket after its upgrade, both ways.
pub(in crate::proto) fn websocket(side: Side) -> Transform {
    Transform {
        decode: Box::new(decode::Decoder::new(matches!(side, Side::Server))),
        encode: Box::new(encode::Encoder::new(side)),
    }
}

/// The command that an encoder turns into a close frame; its data is the status code, if any.
pub(in crate::proto) const CLOSE: &[u8] = b"CLOSE";

/// A status code of RFC 6455, "Defined Status Codes": nothing is wrong.
pub(in crate::proto) const NORMAL: u16 = 1000;

/// And another: the peer broke the protocol.
pub(in crate::proto) const PROTOCOL_ERROR: u16 = 1002;

/// The most octets of a ping, pong or close.
pub(in crate::proto) const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

const BINARY: u8 = 2;
const CLOSING: u8 = 8;
const PINGING: u8 = 9;
const PONGING: u8 = 10;

/// The length is in the two octets that follow.
const LENGTH_16: u8 = 126;
/// The length is in the eight octets that follow.
const LENGTH_64: u8 = 127;

const MORE: u8 = 1;
const COMMAND: u8 = 2;

/// A masking key, and how far into a payload it has got.
#[derive(Debug, Clone, Copy)]
struct Mask {
    key: [u8; 4],
    at: u8,
}

impl Mask {
    fn new(key: [u8; 4]) -> Self {
        Mask { key, at: 0 }
    }

    /// Masks or unmasks the octets that come next.
    fn apply(&mut self, octets: &mut [u8]) {
        let mut key = self.key;
        key.rotate_left(usize::from(self.at));
        self.at = ((usize::from(self.at) + octets.len()) % 4) as u8;
        let word = u64::from(u32::from_ne_bytes(key));
        let word = word | word << 32;
        let mut words = octets.chunks_exact_mut(8);
        for chunk in words.by_ref() {
            let mut octets = [0; 8];
            octets.copy_from_slice(chunk);
            chunk.copy_from_slice(&(u64::from_ne_bytes(octets) ^ word).to_ne_bytes());
        }
        for (octet, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
            *octet ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::{check_decoder, check_encoder, decode_all};
    use super::*;
    use crate::frame::FrameError;
    use crate::proto::error::{Malformed, ProtocolError, WebSocketFault};

    /// Draws the masking key `01 02 03 04`.
    fn client() -> Transform {
        websocket(Side::Client(|| 0x0403_0201))
    }

    fn server() -> Transform {
        websocket(Side::Server)
    }

    /// ZMTP/3 and unmasked WebSocket frames of the same.
    fn pairs() -> Vec<(Vec<u8>, Vec<u8>)> {
        let body = |n: usize| (0..n).map(|i| i as u8).collect::<Vec<_>>();
        let with = |head: &[u8], n| [head, &body(n)].concat();
        vec![
            (b"\0\0".to_vec(), b"\x82\x01\0".to_vec()),
            (b"\0\x02hi".to_vec(), b"\x82\x03\0hi".to_vec()),
            (
                b"\x01\x01a\0\0".to_vec(),
                b"\x82\x02\x01a\x82\x01\0".to_vec(),
            ),
            (b"\x04\x04\x03FOO".to_vec(), b"\x82\x05\x02\x03FOO".to_vec()),
            (with(b"\0\x7c", 124), with(b"\x82\x7d\0", 124)),
            (with(b"\0\x7d", 125), with(b"\x82\x7e\0\x7e\0", 125)),
            (
                with(b"\x02\0\0\0\0\0\0\x01\0", 256),
                with(b"\x82\x7e\x01\x01\0", 256),
            ),
            (
                with(b"\x02\0\0\0\0\0\0\xff\xfe", 65_534),
                with(b"\x82\x7e\xff\xff\0", 65_534),
            ),
            (
                with(b"\x02\0\0\0\0\0\0\xff\xff", 65_535),
                with(b"\x82\x7f\0\0\0\0\0\x01\0\0\0", 65_535),
            ),
        ]
    }

    #[test]
    fn frames_are_these_octets_however_they_are_cut() {
        for (v3, octets) in pairs() {
            if v3.len() < 1000 {
                check_encoder(|| server().encode, &v3, &octets);
                check_decoder(|| client().decode, &octets, &v3);
            } else {
                assert_eq!(decode_all(&mut *client().decode, &octets, 999), Ok(v3));
            }
        }
    }

    #[test]
    fn a_client_masks() {
        // `\0hello` under 01 02 03 04.
        let octets = b"\x82\x86\x01\x02\x03\x04\x01jfhmm";
        check_encoder(|| client().encode, b"\0\x05hello", octets);
        check_decoder(|| server().decode, octets, b"\0\x05hello");
    }

    #[test]
    fn heartbeats_are_pings_and_pongs() {
        check_encoder(|| server().encode, b"\x04\x07\x04PING\x01\x02", b"\x89\0");
        check_encoder(|| server().encode, b"\x04\x07\x04PONGab", b"\x8a\x02ab");
        check_encoder(
            || server().encode,
            b"\x04\x08\x05CLOSE\x03\xe8",
            b"\x88\x02\x03\xe8",
        );
        check_decoder(|| client().decode, b"\x89\x02ab", b"\x04\x09\x04PING\0\0ab");
        check_decoder(|| client().decode, b"\x8a\x02ab", b"\x04\x05\x04PONG");
        let longest = [&b"\x89\x7d"[..], &[b'p'; 125]].concat();
        let ping = [&b"\x04\x84\x04PING\0\0"[..], &[b'p'; 125]].concat();
        check_decoder(|| client().decode, &longest, &ping);
        // Between the parts of a message.
        check_decoder(
            || client().decode,
            b"\x82\x02\x01a\x89\0\x82\x02\0b",
            b"\x01\x01a\x04\x07\x04PING\0\0\0\x01b",
        );
    }

    #[test]
    fn what_is_no_zws_is_refused_at_the_octet_that_shows_it() {
        use WebSocketFault as Fault;
        for (octets, fault) in [
            (&b"\x02"[..], Fault::Fragmented),
            (b"\x09", Fault::Fragmented),
            (b"\xc2", Fault::Reserved { octet: 0xc2 }),
            (b"\xa2", Fault::Reserved { octet: 0xa2 }),
            (b"\x92", Fault::Reserved { octet: 0x92 }),
            (b"\x80", Fault::Opcode { opcode: 0 }),
            (b"\x81", Fault::Opcode { opcode: 1 }),
            (b"\x83", Fault::Opcode { opcode: 3 }),
            (b"\x8b", Fault::Opcode { opcode: 11 }),
            (b"\x82\x82", Fault::Masked),
            (b"\x82\0", Fault::Empty),
            (b"\x89\x7e", Fault::ControlLength),
            (b"\x88\x7f", Fault::ControlLength),
            (b"\x82\x7e\0\x7d", Fault::LengthForm { len: 125 }),
            (
                b"\x82\x7f\0\0\0\0\0\0\xff\xff",
                Fault::LengthForm { len: 0xffff },
            ),
            (b"\x82\x01\x04", Fault::Flags { flags: 4 }),
            (b"\x82\x01\x03", Fault::Flags { flags: 3 }),
            (b"\x88\x01\x03", Fault::CloseLength),
        ] {
            let error = ProtocolError::from(Malformed::from(fault));
            let refused = decode_all(&mut *client().decode, octets, 1);
            assert_eq!(refused, Err(error.clone()), "{octets:?}");
            let before = &octets[..octets.len() - 1];
            assert!(decode_all(&mut *client().decode, before, 1).is_ok());
        }
        let fault = ProtocolError::from(Malformed::from(Fault::Unmasked));
        assert_eq!(
            decode_all(&mut *server().decode, b"\x82\x02", 1),
            Err(fault)
        );
        let huge = b"\x82\x7f\x80\0\0\0\0\0\0\0";
        let error = ProtocolError::from(FrameError::SizeOverflow(1 << 63));
        assert_eq!(decode_all(&mut *client().decode, huge, 1), Err(error));
    }

    #[test]
    fn a_close_ends_it_and_tells_why() {
        for (octets, code) in [(&b"\x88\0"[..], None), (b"\x88\x04\x03\xe9ok", Some(1001))] {
            let result = decode_all(&mut *client().decode, octets, 1);
            assert_eq!(result, Err(ProtocolError::Closed { code }));
        }
    }
}
