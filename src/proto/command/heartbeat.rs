//! `PING` and `PONG` (37/ZMTP 3.1, "Heartbeating"): their octets. When to send them is decided in
//! [`crate::proto::heartbeat`].

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::begin_command;
use crate::proto::error::{Malformed, ProtocolError};

/// The name of the request.
pub(crate) const PING: &[u8] = b"PING";
/// The name of the reply.
pub(crate) const PONG: &[u8] = b"PONG";

/// The longest context.
pub(crate) const MAX_CONTEXT: usize = 16;

/// A unit of the time to live on the wire.
const TICK: Duration = Duration::from_millis(100);

/// A received `PING`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ping {
    /// How long the peer may be silent after this; zero says nothing.
    pub(crate) ttl: Duration,
    /// To be returned. Few octets, and mostly none.
    pub(crate) context: Bytes,
}

/// A time to live in the unit of the wire, rounded down and at most 6 553.5 s.
pub(crate) fn ttl_ticks(ttl: Duration) -> u16 {
    u16::try_from(ttl.as_millis() / TICK.as_millis()).unwrap_or(u16::MAX)
}

/// Appends a `PING` without a context.
pub(crate) fn encode_ping(out: &mut BytesMut, ttl_ticks: u16) {
    begin_command(out, PING, 2);
    out.put_u16(ttl_ticks);
}

/// Appends a `PONG`.
pub(crate) fn encode_pong(out: &mut BytesMut, context: &[u8]) {
    begin_command(out, PONG, context.len());
    out.put_slice(context);
}

/// Parses the data of a `PING`, whose context may have so many octets. `cut`: of a longer one those come first.
pub(crate) fn parse_ping(data: &[u8], limit: usize, cut: bool) -> Result<Ping, ProtocolError> {
    let [high, low, context @ ..] = data else {
        return Err(Malformed::Ping { len: data.len() }.into());
    };
    let context = match cut {
        true => &context[..context.len().min(limit)],
        false => context,
    };
    if context.len() > limit {
        return Err(Malformed::PingContext { len: context.len() }.into());
    }
    Ok(Ping {
        ttl: TICK * u32::from(u16::from_be_bytes([*high, *low])),
        context: Bytes::copy_from_slice(context),
    })
}

/// Checks the data of a `PONG`, whose context nobody needs.
pub(crate) fn check_pong(data: &[u8]) -> Result<(), ProtocolError> {
    if data.len() > MAX_CONTEXT {
        return Err(Malformed::PongContext { len: data.len() }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_ping_is_nine_octets() {
        let mut out = BytesMut::new();
        encode_ping(&mut out, ttl_ticks(Duration::from_millis(25_680)));
        assert_eq!(&out[..], b"\x04\x07\x04PING\x01\x00");
    }

    #[test]
    fn ttl_neither_wraps_nor_truncates() {
        for (ms, ticks) in [
            (0, 0),
            (99, 0),
            (100, 1),
            (199, 1),
            (6_553_500, 65_535),
            (6_553_599, 65_535),
            (6_553_600, 65_535),
            (u64::MAX, 65_535),
        ] {
            assert_eq!(ttl_ticks(Duration::from_millis(ms)), ticks, "{ms}");
        }
        assert_eq!(ttl_ticks(Duration::MAX), 65_535);
        assert_eq!(
            parse_ping(b"\xff\xff", MAX_CONTEXT, false).unwrap().ttl,
            Duration::from_millis(6_553_500)
        );
    }

    #[test]
    fn contexts_are_returned_whole() {
        for len in 0..=MAX_CONTEXT {
            let mut data = vec![0, 3];
            data.extend((0..len).map(|i| i as u8));
            let ping = parse_ping(&data, MAX_CONTEXT, false).unwrap();
            assert_eq!(ping.ttl, Duration::from_millis(300));
            let mut out = BytesMut::new();
            encode_pong(&mut out, &ping.context);
            assert_eq!(&out[2..7], b"\x04PONG");
            assert_eq!(&out[7..], &data[2..]);
            assert!(check_pong(&out[7..]).is_ok());
        }
    }

    #[test]
    fn short_and_long_data_are_malformed() {
        for data in [&b""[..], b"\x01"] {
            assert_eq!(
                parse_ping(data, MAX_CONTEXT, true),
                Err(Malformed::Ping { len: data.len() }.into())
            );
        }
        assert_eq!(
            parse_ping(&[0; 19], 16, false),
            Err(Malformed::PingContext { len: 17 }.into())
        );
        assert_eq!(parse_ping(&[0; 19], 16, true).unwrap().context.len(), 16);
        assert_eq!(
            check_pong(&[0; 17]),
            Err(Malformed::PongContext { len: 17 }.into())
        );
    }
}
