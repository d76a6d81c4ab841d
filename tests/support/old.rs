//! The octets of ZMTP 2.0 and 1.0, by the texts of 15/ZMTP and 13/ZMTP.

/// What an old peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Old {
    /// ZMTP 2.0.
    V2,
    /// The frames of ZMTP 1.0 behind a greeting.
    Revision0,
    /// ZMTP 1.0, which knows no greeting.
    V1,
}

impl Old {
    pub(crate) const ALL: [Old; 3] = [Old::V2, Old::Revision0, Old::V1];

    /// What a greeting says; ZMTP 1.0 has none.
    pub(crate) fn revision(self) -> Option<u8> {
        match self {
            Old::V2 => Some(1),
            Old::Revision0 => Some(0),
            Old::V1 => None,
        }
    }

    pub(crate) fn frame(self, more: bool, body: &[u8]) -> Vec<u8> {
        let (len, more) = (body.len() as u64, u8::from(more));
        let header = match self {
            Old::V2 if len < 256 => vec![more, len as u8],
            Old::V2 => [&[more | 2][..], &len.to_be_bytes()].concat(),
            _ if len < 254 => vec![len as u8 + 1, more],
            _ => [&b"\xff"[..], &(len + 1).to_be_bytes(), &[more]].concat(),
        };
        [&header, body].concat()
    }
}
