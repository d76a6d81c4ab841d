//! `READY`: who is at the other end (23/ZMTP, "The NULL Security Mechanism").
//!
//! Encoding turns a [`ConnectionConfig`] into our properties; parsing turns the peer's properties
//! into [`PeerInfo`] and checks that the two can talk. What a property means is decided here and
//! nowhere else: names compare without case, the first of duplicates wins, and names that only this
//! side may set are dropped.

use bytes::{Bytes, BytesMut};

use super::begin_command;
use super::metadata::{self, Properties};
use crate::proto::config::ConnectionConfig;
use crate::proto::error::{Incompatible, Malformed, PeerName, ProtocolError};
use crate::proto::{PeerInfo, Version};
use crate::socket_type::SocketType;

/// The name of the command.
pub(crate) const READY: &[u8] = b"READY";

const SOCKET_TYPE: &str = "Socket-Type";
const IDENTITY: &str = "Identity";

/// Property names that tell what *this* side knows about a peer. A peer must not be able to set
/// them, so they are dropped when received.
const RESERVED: [&str; 3] = ["Peer-Address", "User-Id", "Routing-Id"];

/// The longest routing id.
const MAX_IDENTITY: usize = 255;

/// Appends our `READY`: `Socket-Type` first, `Identity` for the types that announce one, then the
/// configured properties sorted by key.
pub(crate) fn encode_ready(out: &mut BytesMut, config: &ConnectionConfig) {
    let socket_type = config.socket_type.name();
    let identity = config
        .socket_type
        .announces_identity()
        .then_some(&config.routing_id[..]);
    let mut extra: Vec<(&str, &[u8])> = config
        .properties
        .iter()
        .map(|(name, value)| (name.as_str(), &value[..]))
        .filter(|(name, value)| metadata::is_sendable(name, value))
        .collect();
    debug_assert_eq!(extra.len(), config.properties.len(), "checked by config");
    extra.sort_by_key(|&(name, _)| name);

    let mut len = metadata::property_len(SOCKET_TYPE, socket_type.as_bytes());
    len += identity.map_or(0, |id| metadata::property_len(IDENTITY, id));
    for (name, value) in &extra {
        len += metadata::property_len(name, value);
    }
    begin_command(out, READY, len);
    metadata::put_property(out, SOCKET_TYPE, socket_type.as_bytes());
    if let Some(id) = identity {
        metadata::put_property(out, IDENTITY, id);
    }
    for (name, value) in extra {
        metadata::put_property(out, name, value);
    }
}

/// Whether a peer may be called this by a socket of type `ours`.
pub(crate) fn check_identity(identity: &[u8], ours: SocketType) -> Result<(), ProtocolError> {
    if matches!(ours, SocketType::Router | SocketType::Rep) {
        if identity.len() > MAX_IDENTITY {
            return Err(Malformed::IdentityLength {
                len: identity.len(),
            }
            .into());
        }
        if identity.first() == Some(&0) {
            return Err(Malformed::IdentityLeadingZero.into());
        }
    }
    Ok(())
}

/// The type of this name, if a socket of type `ours` may talk to it.
fn check_type(name: &[u8], ours: SocketType) -> Result<SocketType, ProtocolError> {
    let Some(theirs) = SocketType::from_name(name) else {
        return Err(Incompatible::SocketTypeUnknown {
            ours,
            theirs: PeerName::new(name),
        }
        .into());
    };
    if !ours.is_compatible_with(theirs) {
        return Err(Incompatible::SocketType { ours, theirs }.into());
    }
    Ok(theirs)
}

/// What the peer's properties say about it, if a socket of type `ours` may talk to it. `untyped`: also if it does not say
/// of what type it is.
pub(crate) fn parse_ready(
    data: &[u8],
    version: Version,
    ours: SocketType,
    untyped: bool,
) -> Result<PeerInfo, ProtocolError> {
    let mut socket_type = None;
    let mut identity = None;
    let mut others: Vec<(&str, &[u8])> = Vec::new();
    // All properties are read before any is judged, so that malformed metadata is always called so.
    for property in Properties::new(data) {
        let (name, value) = property?;
        if name.eq_ignore_ascii_case(SOCKET_TYPE) {
            socket_type.get_or_insert(value);
        } else if name.eq_ignore_ascii_case(IDENTITY) {
            identity.get_or_insert(value);
        } else if !RESERVED.iter().any(|r| name.eq_ignore_ascii_case(r))
            && !others.iter().any(|(n, _)| name.eq_ignore_ascii_case(n))
        {
            // At most `MAX_PROPERTIES` names, so looking through them all is cheap enough.
            others.push((name, value));
        }
    }

    let socket_type = match socket_type {
        Some(name) => Some(check_type(name, ours)?),
        None if untyped => None,
        None => return Err(Incompatible::SocketTypeMissing { ours }.into()),
    };
    let identity = identity.unwrap_or_default();
    check_identity(identity, ours)?;
    Ok(PeerInfo {
        version,
        socket_type,
        identity: Bytes::copy_from_slice(identity),
        properties: others
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value)))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::command::RawCommand;
    use proptest::prelude::*;

    fn ready_frame(config: &ConnectionConfig) -> BytesMut {
        let mut out = BytesMut::new();
        encode_ready(&mut out, config);
        out
    }

    /// Properties from pairs, without any check.
    fn data(properties: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for (name, value) in properties {
            metadata::put_property(&mut out, name, value);
        }
        out.to_vec()
    }

    #[test]
    fn ready_has_the_size_every_peer_sends() {
        for t in crate::proto::testing::types() {
            let expect = match t.name() {
                "PUB" | "SUB" | "REP" => 27,
                "PAIR" | "PUSH" | "PULL" | "XPUB" | "XSUB" | "DISH" | "PEER" => 28,
                "RADIO" => 29,
                "SERVER" | "CLIENT" | "GATHER" => 30,
                "SCATTER" | "CHANNEL" => 31,
                "REQ" => 40,
                "DEALER" | "ROUTER" => 43,
                other => panic!("no size given for {other}"),
            };
            assert_eq!(ready_frame(&ConnectionConfig::new(t)).len(), expect, "{t}");
        }
    }

    #[test]
    fn a_dealer_says_exactly_this() {
        assert_eq!(
            &ready_frame(&ConnectionConfig::new(SocketType::Dealer))[..],
            b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
        );
    }

    #[test]
    fn own_properties_follow_in_order() {
        let mut config = ConnectionConfig::new(SocketType::Push);
        config.properties = vec![
            ("X-b".into(), Bytes::from_static(b"2")),
            ("X-a".into(), Bytes::from_static(b"1")),
        ];
        assert_eq!(
            &ready_frame(&config)[..],
            b"\x04\x2c\x05READY\x0bSocket-Type\0\0\0\x04PUSH\x03X-a\0\0\0\x011\x03X-b\0\0\0\x012"
        );
        // The routing id of a type that announces none stays at home.
        config.properties.clear();
        config.routing_id = Bytes::from_static(b"me");
        assert_eq!(ready_frame(&config).len(), 28);
    }

    #[test]
    fn names_ignore_case_and_the_first_wins() {
        let data = data(&[
            ("socket-TYPE", b"DEALER"),
            ("Socket-Type", b"nonsense"),
            ("IDENTITY", b"a"),
            ("Identity", b"b"),
            ("X-k", b"1"),
            ("x-K", b"2"),
            ("Resource", b"r"),
        ]);
        let peer = parse_ready(&data, Version::V3_1, SocketType::Router, false).unwrap();
        assert_eq!(peer.socket_type, Some(SocketType::Dealer));
        assert_eq!(peer.identity, "a");
        assert_eq!(
            peer.properties,
            [
                ("X-k".to_owned(), Bytes::from_static(b"1")),
                ("Resource".to_owned(), Bytes::from_static(b"r"))
            ]
        );
    }

    #[test]
    fn a_peer_cannot_set_what_this_side_knows() {
        let data = data(&[
            ("Socket-Type", b"PUSH"),
            ("User-Id", b"root"),
            ("peer-address", b"127.0.0.1"),
            ("Routing-Id", b"x"),
        ]);
        let peer = parse_ready(&data, Version::V3_0, SocketType::Pull, false).unwrap();
        assert_eq!(peer.properties, []);
    }

    #[test]
    fn identities_matter_to_router_and_rep_only() {
        for ours in [SocketType::Router, SocketType::Rep, SocketType::Dealer] {
            let strict = ours != SocketType::Dealer;
            let parse = |identity: &[u8]| {
                let data = data(&[("Socket-Type", b"DEALER"), ("Identity", identity)]);
                parse_ready(&data, Version::V3_1, ours, false)
            };
            assert!(parse(&[1; 255]).is_ok());
            assert!(parse(b"").is_ok());
            let long: ProtocolError = Malformed::IdentityLength { len: 256 }.into();
            let zero: ProtocolError = Malformed::IdentityLeadingZero.into();
            assert_eq!(parse(&[1; 256]).err(), strict.then_some(long));
            assert_eq!(parse(&[0, 1]).err(), strict.then_some(zero));
        }
    }

    #[test]
    fn a_missing_identity_is_empty() {
        let data = data(&[("Socket-Type", b"DEALER")]);
        let peer = parse_ready(&data, Version::V3_1, SocketType::Router, false).unwrap();
        assert!(peer.identity.is_empty());
    }

    #[test]
    fn every_pair_of_types_is_judged_by_the_table() {
        for ours in SocketType::ALL {
            for theirs in SocketType::ALL {
                let data = data(&[("Socket-Type", theirs.name().as_bytes())]);
                let result = parse_ready(&data, Version::V3_1, ours, false);
                if ours.is_compatible_with(theirs) {
                    assert_eq!(result.unwrap().socket_type, Some(theirs));
                } else {
                    assert_eq!(
                        result,
                        Err(Incompatible::SocketType { ours, theirs }.into())
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_one_side_says_the_other_understands(
            identity in proptest::collection::vec(1u8.., 0..=255),
            properties in proptest::collection::btree_map(
                "X-[a-z0-9_.+-]{1,60}",
                proptest::collection::vec(any::<u8>(), 0..300),
                0..20,
            ),
        ) {
            let mut config = ConnectionConfig::new(SocketType::Dealer);
            config.routing_id = Bytes::from(identity.clone());
            config.properties = properties
                .iter()
                .rev()
                .map(|(name, value)| (name.clone(), Bytes::from(value.clone())))
                .collect();
            let frame = ready_frame(&config);
            let header = crate::frame::decode_header(&frame).unwrap().unwrap();
            prop_assert_eq!(header.header_len + header.body_len, frame.len());
            let command = RawCommand::parse(&frame[header.header_len..]).unwrap();
            prop_assert_eq!(command.name, READY);
            let peer = parse_ready(command.data, Version::V3_1, SocketType::Router, false).unwrap();
            prop_assert_eq!(&peer.identity[..], &identity[..]);
            let sorted: Vec<_> = properties
                .into_iter()
                .map(|(name, value)| (name, Bytes::from(value)))
                .collect();
            prop_assert_eq!(peer.properties, sorted);
        }
    }
}
