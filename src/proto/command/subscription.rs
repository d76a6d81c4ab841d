//! Subscriptions in both forms, and groups.
//!
//! A 3.1 peer is told with the commands `SUBSCRIBE` and `CANCEL` (37/ZMTP 3.1, "Commands"), an older
//! peer with a message that starts with 1 or 0 (23/ZMTP, "Publish-Subscribe"). Both are understood
//! from every peer. Here are their octets only; who may send them is decided in
//! [`crate::proto::traffic`].

use bytes::{BufMut, Bytes, BytesMut};

use super::begin_command;
use crate::frame;
use crate::proto::error::{LimitExceeded, Malformed, ProtocolError};
use crate::proto::Version;

/// The name of the command that adds a subscription.
pub(crate) const SUBSCRIBE: &[u8] = b"SUBSCRIBE";
/// The name of the command that takes one back.
pub(crate) const CANCEL: &[u8] = b"CANCEL";
/// The name of the command that joins a group.
pub(crate) const JOIN: &[u8] = b"JOIN";
/// The name of the command that leaves one.
pub(crate) const LEAVE: &[u8] = b"LEAVE";

/// The longest group name.
const MAX_GROUP: usize = 255;

/// Appends a change of subscription in the form that a peer of this version needs.
pub(crate) fn encode_subscription(
    out: &mut BytesMut,
    version: Version,
    subscribe: bool,
    topic: &[u8],
) {
    match version {
        Version::V3_1 => {
            let name = if subscribe { SUBSCRIBE } else { CANCEL };
            begin_command(out, name, topic.len());
        }
        Version::V3_0 | Version::V2_0 | Version::Revision0 | Version::V1_0 => {
            let (header, header_len) = frame::header(false, false, 1 + topic.len());
            out.reserve(header_len + 1 + topic.len());
            out.put_slice(&header[..header_len]);
            out.put_u8(u8::from(subscribe));
        }
    }
    out.put_slice(topic);
}

/// Appends a change of membership in a group. RADIO and DISH are younger than the message form of
/// subscriptions: every peer of theirs knows the commands.
pub(crate) fn encode_membership(out: &mut BytesMut, join: bool, group: &[u8]) {
    begin_command(out, if join { JOIN } else { LEAVE }, group.len());
    out.put_slice(group);
}

/// Takes a message-form subscription apart: whether it subscribes, and the topic. `None` for any
/// other message.
pub(crate) fn parse_subscription_message(body: &[u8]) -> Option<(bool, &[u8])> {
    match body {
        [1, topic @ ..] => Some((true, topic)),
        [0, topic @ ..] => Some((false, topic)),
        _ => None,
    }
}

/// A copy of the topic, if it is not longer than `limit`.
pub(crate) fn copy_topic(topic: &[u8], limit: usize) -> Result<Bytes, ProtocolError> {
    if topic.len() > limit {
        return Err(LimitExceeded::TopicLength {
            len: topic.len(),
            limit,
        }
        .into());
    }
    Ok(Bytes::copy_from_slice(topic))
}

/// A copy of the group, if it is one.
pub(crate) fn copy_group(group: &[u8]) -> Result<Bytes, ProtocolError> {
    if group.len() > MAX_GROUP {
        return Err(Malformed::GroupLength { len: group.len() }.into());
    }
    if group.contains(&0) {
        return Err(Malformed::GroupZero.into());
    }
    Ok(Bytes::copy_from_slice(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(version: Version, subscribe: bool, topic: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode_subscription(&mut out, version, subscribe, topic);
        out.to_vec()
    }

    #[test]
    fn the_form_follows_the_version() {
        assert_eq!(
            encode(Version::V3_1, true, b"ab"),
            b"\x04\x0c\x09SUBSCRIBEab"
        );
        assert_eq!(encode(Version::V3_1, false, b""), b"\x04\x07\x06CANCEL");
        assert_eq!(encode(Version::V3_0, true, b"ab"), b"\x00\x03\x01ab");
        assert_eq!(encode(Version::V3_0, false, b""), b"\x00\x01\x00");
    }

    #[test]
    fn the_header_follows_the_final_size() {
        // The last topic that fits a short header, in each form.
        for (version, subscribe, last) in [
            (Version::V3_1, true, 245),
            (Version::V3_1, false, 248),
            (Version::V3_0, true, 254),
            (Version::V3_0, false, 254),
        ] {
            let short = encode(version, subscribe, &vec![b'x'; last]);
            assert_eq!((short.len(), short[1]), (257, 255));
            let long = encode(version, subscribe, &vec![b'x'; last + 1]);
            assert_eq!(long.len(), 265);
            assert_eq!(long[0] & 0x03, 0x02);
            assert_eq!(&long[1..9], &256u64.to_be_bytes());
        }
    }

    #[test]
    fn messages_are_told_apart() {
        assert_eq!(
            parse_subscription_message(b"\x01ab"),
            Some((true, &b"ab"[..]))
        );
        assert_eq!(parse_subscription_message(b"\0"), Some((false, &b""[..])));
        assert_eq!(parse_subscription_message(b""), None);
        assert_eq!(parse_subscription_message(b"\x02ab"), None);
    }

    #[test]
    fn topics_and_groups_are_limited() {
        assert!(copy_topic(b"abc", 3).is_ok());
        assert_eq!(
            copy_topic(b"abcd", 3),
            Err(LimitExceeded::TopicLength { len: 4, limit: 3 }.into())
        );
        assert!(copy_group(&[b'g'; 255]).is_ok());
        assert_eq!(
            copy_group(&[b'g'; 256]),
            Err(Malformed::GroupLength { len: 256 }.into())
        );
        assert_eq!(copy_group(b"a\0"), Err(Malformed::GroupZero.into()));
    }
}
