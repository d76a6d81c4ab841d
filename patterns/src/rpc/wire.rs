//! How requests and replies look (28/REQREP, and EXT/1 inside the body).
//!
//! ```text
//! client, a DEALER:  [name u64][][body…]           with EXT: [name u64][][EXT][body…]
//! server, a ROUTER:  [envelope…][][body…]          the envelope is sent back as it came
//! ```
//!
//! A REP socket sends back every frame up to the first empty one, and so does every proxy between. So the
//! name comes back from servers that know nothing of it.

use sinew::{Frame, Message};
use thiserror::Error;

use crate::common::{Ext, ExtError};

/// Frames before the empty one, at most: one for each proxy on the way, and the name.
pub(crate) const HOPS: usize = 16;

/// Octets of them at most.
const ENVELOPE_OCTETS: usize = 4096;

/// A message that is no request or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// No empty frame after at most 16 others, with 4096 octets together.
    #[error("no empty frame after an envelope of at most 16 frames and 4096 octets")]
    NoDelimiter,
    /// No body.
    #[error("nothing follows the empty frame")]
    NoBody,
    /// The envelope of a reply is not one frame of 8 octets.
    #[error("a reply begins with a name of 8 octets and an empty frame")]
    NoName,
    /// The extension header is wrong.
    #[error(transparent)]
    Ext(#[from] ExtError),
}

/// A request or reply, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The frames before the empty one.
    pub(crate) envelope: Vec<Frame>,
    pub(crate) ext: Option<Ext<'static>>,
    pub(crate) body: Message,
}

/// Takes a message apart. If `ext` is not set, an extension header is just the body.
pub(crate) fn decode(message: Message, ext: bool) -> Result<Parts, WireError> {
    let frames = message.frames();
    let delimiter = frames.iter().take(HOPS + 1).position(|f| f.is_empty());
    let delimiter = delimiter.ok_or(WireError::NoDelimiter)?;
    let octets: usize = frames[..delimiter].iter().map(|frame| frame.len()).sum();
    if octets > ENVELOPE_OCTETS {
        return Err(WireError::NoDelimiter);
    }
    let first = frames.get(delimiter + 1).ok_or(WireError::NoBody)?;
    let header = match ext {
        true => Ext::decode(first)?.map(Ext::into_owned),
        false => None,
    };
    let mut frames = message.into_frames();
    let body = tail(&mut frames, delimiter + 1 + usize::from(header.is_some()));
    frames.truncate(delimiter);
    Ok(Parts {
        envelope: frames,
        ext: header,
        // Behind a header there may be no frame at all: an empty body.
        body,
    })
}

/// Takes off what follows so many frames: an empty message if nothing does. One frame needs no list of its own.
pub(crate) fn tail(frames: &mut Vec<Frame>, from: usize) -> Message {
    match frames.len().saturating_sub(from) {
        0 => Message::default(),
        1 => frames.pop().map(Message::new).unwrap_or_default(),
        _ => Message::from_frames(frames.split_off(from)),
    }
}

/// Puts a message together.
pub(crate) fn encode(envelope: &[Frame], ext: Option<Frame>, body: Option<&Message>) -> Message {
    let body = body.map_or(&[][..], Message::frames);
    let mut frames = Vec::with_capacity(envelope.len() + 2 + body.len());
    frames.extend_from_slice(envelope);
    frames.push(Frame::default());
    frames.extend(ext);
    frames.extend_from_slice(body);
    if frames.len() == envelope.len() + 1 {
        frames.push(Frame::default());
    }
    Message::from_frames(frames)
}

/// The name in the envelope of a reply.
pub(crate) fn name_of(envelope: &[Frame]) -> Result<u64, WireError> {
    match envelope {
        [name] => {
            let octets = name.as_slice().try_into();
            Ok(u64::from_be_bytes(octets.map_err(|_| WireError::NoName)?))
        }
        _ => Err(WireError::NoName),
    }
}

/// Fuzz body: frames are taken from the data as (length, octets); what decodes encodes to the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_rpc(data: &[u8]) {
    let message = crate::common::frames_of(data);
    for ext in [false, true] {
        let Ok(parts) = decode(message.clone(), ext) else {
            continue;
        };
        let _ = name_of(&parts.envelope);
        let header = parts
            .ext
            .as_ref()
            .map(|ext| ext.encode().expect("it fitted"));
        let again = encode(&parts.envelope, header, Some(&parts.body));
        assert_eq!(decode(again, ext), Ok(parts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fuzz::{cases, mutated};
    use crate::common::Random;

    #[test]
    fn requests_and_replies_on_the_wire() {
        let body = Message::multipart(["a", "b"]);
        let name = Frame::from(7u64.to_be_bytes());
        let message = encode(std::slice::from_ref(&name), None, Some(&body));
        let frames: Vec<&[u8]> = message.frames().iter().map(Frame::as_slice).collect();
        assert_eq!(frames, [&b"\0\0\0\0\0\0\0\x07"[..], b"", b"a", b"b"]);
        let parts = decode(message, false).unwrap();
        assert_eq!(name_of(&parts.envelope), Ok(7));
        assert_eq!(parts.body, body);
        let strict = decode(Message::multipart(["", "body"]), true).unwrap();
        assert_eq!((strict.envelope.len(), strict.ext), (0, None));
        assert_eq!(name_of(&strict.envelope), Err(WireError::NoName));
    }

    #[test]
    fn what_is_refused() {
        let refused =
            |frames: &[&str]| decode(Message::multipart(frames.iter().copied()), true).unwrap_err();
        assert_eq!(refused(&["a"]), WireError::NoDelimiter);
        assert_eq!(refused(&["a", ""]), WireError::NoBody);
        assert_eq!(
            refused(&[&"x".repeat(5000), "", "a"]),
            WireError::NoDelimiter
        );
        let mut many = vec!["x"; HOPS + 1];
        many.extend(["", "body"]);
        assert_eq!(refused(&many), WireError::NoDelimiter);
        let bad = Message::multipart([Frame::from("n"), "".into(), b"\xaa\xae\x01".into()]);
        assert!(matches!(decode(bad.clone(), true), Err(WireError::Ext(_))));
        assert!(decode(bad, false).is_ok(), "just a body");
    }

    #[test]
    fn random_messages() {
        let ext = Ext::default().encode().unwrap();
        let mut sample = vec![8, 0, 0, 0, 0, 0, 0, 0, 1, 0, ext.len() as u8];
        sample.extend_from_slice(&ext);
        sample.extend_from_slice(b"\x04body");
        let mut random = Random::new(6);
        for _ in 0..cases() {
            fuzz_rpc(&mutated(&sample, &mut random));
        }
    }
}
