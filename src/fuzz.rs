//! What the fuzz targets call: each body asserts an invariant and lives beside the code it tests.

/// A connection fed with arbitrary octets.
pub fn connection(data: &[u8]) {
    crate::proto::fuzz_connection(data, crate::sync::clock::now());
}

/// Every other wire format, both ways.
pub fn transforms(data: &[u8]) {
    crate::proto::fuzz_transforms(data);
}

/// The frame codec and the walk over frames.
pub fn frames(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some(header)) = crate::frame::decode_header(rest) {
        let (octets, len) = crate::frame::header(header.more, header.command, header.body_len);
        let again = crate::frame::decode_header(&octets[..len]);
        assert!(matches!(again, Ok(Some(h)) if h.body_len == header.body_len));
        let total = header.header_len + header.body_len;
        match rest.get(total..) {
            Some(next) => rest = next,
            None => break,
        }
    }
}

/// Endpoints: what parses prints as something that parses to the same.
pub fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(endpoint) = text.parse::<crate::endpoint::Endpoint>() {
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    }
}
