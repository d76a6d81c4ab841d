//! Properties: the metadata of `READY` (23/ZMTP, "Commands": `metadata`).
//!
//! `*( name-length(1) ‖ name ‖ value-length(4) ‖ value )`, ending exactly where the command ends.
//! Reading is an iterator over the command's own octets; nothing is copied here.

use bytes::{BufMut, BytesMut};

use crate::proto::error::{LimitExceeded, Malformed, ProtocolError};

/// The most properties accepted in one command.
pub(crate) const MAX_PROPERTIES: usize = 256;

/// The longest name of a property.
pub(crate) const MAX_NAME: usize = 255;

/// The properties in the data of a command, in order. Ends after the first error.
#[derive(Debug)]
pub(crate) struct Properties<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> Properties<'a> {
    /// The properties in these octets.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Properties {
            rest: data,
            index: 0,
        }
    }

    fn parse_next(&mut self) -> Result<(&'a str, &'a [u8]), ProtocolError> {
        let index = self.index;
        let truncated = || ProtocolError::from(Malformed::PropertyTruncated { index });
        if index == MAX_PROPERTIES {
            return Err(LimitExceeded::Properties {
                limit: MAX_PROPERTIES,
            }
            .into());
        }
        let (name, rest) = {
            let (&len, rest) = self.rest.split_first().ok_or_else(truncated)?;
            if len == 0 {
                return Err(Malformed::EmptyPropertyName { index }.into());
            }
            split_at(rest, usize::from(len)).ok_or_else(truncated)?
        };
        if let Some(&octet) = name.iter().find(|&&octet| !is_name_octet(octet)) {
            return Err(Malformed::PropertyName { index, octet }.into());
        }
        // Name octets are ASCII, so this never fails.
        let name = std::str::from_utf8(name)
            .map_err(|_| ProtocolError::from(Malformed::PropertyName { index, octet: 0xff }))?;
        let (len, rest) = split_at(rest, 4).ok_or_else(truncated)?;
        let mut octets = [0; 4];
        octets.copy_from_slice(len);
        let len = u32::from_be_bytes(octets);
        if len > i32::MAX as u32 {
            return Err(Malformed::PropertyLength { index, len }.into());
        }
        let (value, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| split_at(rest, len))
            .ok_or_else(truncated)?;
        self.rest = rest;
        self.index += 1;
        Ok((name, value))
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Result<(&'a str, &'a [u8]), ProtocolError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = self.parse_next();
        if next.is_err() {
            self.rest = &[];
        }
        Some(next)
    }
}

/// The octets [`put_property`] appends.
pub(crate) const fn property_len(name: &str, value: &[u8]) -> usize {
    1 + name.len() + 4 + value.len()
}

/// Whether a property can be sent: a name of 1 to 255 name characters and a value whose length
/// fits.
pub(crate) fn is_sendable(name: &str, value: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(is_name_octet)
        && i32::try_from(value.len()).is_ok()
}

/// Appends one property, which is [sendable](is_sendable).
pub(crate) fn put_property(out: &mut BytesMut, name: &str, value: &[u8]) {
    debug_assert!(is_sendable(name, value));
    out.put_u8(name.len() as u8);
    out.put_slice(name.as_bytes());
    out.put_u32(value.len() as u32);
    out.put_slice(value);
}

const fn is_name_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.' | b'+')
}

fn split_at(octets: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    (at <= octets.len()).then(|| octets.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(data: &[u8]) -> Result<Vec<(&str, &[u8])>, ProtocolError> {
        Properties::new(data).collect()
    }

    #[test]
    fn no_octets_are_no_properties() {
        assert_eq!(parse(b""), Ok(vec![]));
    }

    #[test]
    fn faults_are_named() {
        let ok = b"\x01a\0\0\0\x01b";
        let second = |rest: &[u8]| {
            let data = [ok, rest].concat();
            parse(&data).map(|_| ()).unwrap_err()
        };
        assert_eq!(
            second(b"\0"),
            Malformed::EmptyPropertyName { index: 1 }.into()
        );
        assert_eq!(
            second(b"\x02a b"),
            Malformed::PropertyName {
                index: 1,
                octet: b' '
            }
            .into()
        );
        assert_eq!(
            second(b"\x01a\x80\0\0\0"),
            Malformed::PropertyLength {
                index: 1,
                len: 1 << 31
            }
            .into()
        );
        for truncated in [
            &b"\x01"[..],
            b"\x02a",
            b"\x01a",
            b"\x01a\0\0\0",
            b"\x01a\0\0\0\x02b",
            b"\x01a\x7f\xff\xff\xff",
        ] {
            assert_eq!(
                second(truncated),
                Malformed::PropertyTruncated { index: 1 }.into()
            );
        }
    }

    #[test]
    fn properties_are_counted() {
        let one = b"\x01a\0\0\0\0";
        assert_eq!(parse(&one.repeat(256)).unwrap().len(), 256);
        assert_eq!(
            parse(&one.repeat(257)),
            Err(LimitExceeded::Properties { limit: 256 }.into())
        );
    }

    proptest! {
        #[test]
        fn what_is_put_is_parsed(
            properties in proptest::collection::vec(
                ("[A-Za-z0-9_.+-]{1,255}", proptest::collection::vec(any::<u8>(), 0..300)),
                0..20,
            )
        ) {
            let mut out = BytesMut::new();
            let mut len = 0;
            for (name, value) in &properties {
                put_property(&mut out, name, value);
                len += property_len(name, value);
            }
            prop_assert_eq!(out.len(), len);
            let parsed = parse(&out).unwrap();
            prop_assert_eq!(parsed.len(), properties.len());
            for (parsed, put) in parsed.iter().zip(&properties) {
                prop_assert_eq!(parsed.0, &put.0);
                prop_assert_eq!(parsed.1, &put.1[..]);
            }
        }

        #[test]
        fn any_octets_parse_or_are_refused(
            data in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), any::<u8>()], 0..400)
        ) {
            if let Ok(parsed) = parse(&data) {
                let len: usize = parsed.iter().map(|(n, v)| property_len(n, v)).sum();
                prop_assert_eq!(len, data.len());
            }
        }
    }
}
