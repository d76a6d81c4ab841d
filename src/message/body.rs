//! One frame's payload: inline when small, shared by reference when not.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// One frame of a message: an immutable string of octets.
///
/// Payloads of up to [`Frame::INLINE`] octets live in the value itself; longer ones (and static ones,
/// [`Frame::from_static`]) are shared by reference, so that a clone copies no payload.
#[derive(Clone)]
pub struct Frame(Repr);

#[derive(Clone)]
enum Repr {
    /// Octets beyond `len` have no meaning.
    Inline {
        len: u8,
        buf: [u8; Frame::INLINE],
    },
    Shared(Bytes),
}

impl Frame {
    /// The longest payload kept inline, in octets. Chosen so that the commonest small messages
    /// (up to 64 octets) need no allocation and a frame is 72 octets, a multiple of the word.
    pub const INLINE: usize = 70;

    /// A frame with a copy of `payload`.
    #[inline]
    #[must_use]
    pub fn copy_from_slice(payload: &[u8]) -> Self {
        if payload.len() <= Frame::INLINE {
            let mut buf = [0; Frame::INLINE];
            buf[..payload.len()].copy_from_slice(payload);
            Frame(Repr::Inline {
                len: payload.len() as u8,
                buf,
            })
        } else {
            Frame(Repr::Shared(Bytes::copy_from_slice(payload)))
        }
    }

    /// The first `len` octets of `buffer`, at most all of them.
    #[inline(always)]
    pub(crate) fn inline(buffer: [u8; Frame::INLINE], len: usize) -> Self {
        Frame(Repr::Inline {
            len: len.min(Frame::INLINE) as u8,
            buf: buffer,
        })
    }

    /// A frame that refers to `payload`, without copying it.
    #[inline]
    #[must_use]
    pub const fn from_static(payload: &'static [u8]) -> Self {
        Frame(Repr::Shared(Bytes::from_static(payload)))
    }

    /// A frame with a copy of `source[..len]`. If `source` goes on behind `len`, the copy may be one
    /// of fixed size, which is much cheaper than one of variable size; the surplus is not readable.
    ///
    /// # Panics
    /// If `len` exceeds `source.len()`.
    #[inline(always)]
    pub(crate) fn copy_from_prefix(source: &[u8], len: usize) -> Self {
        if len <= Frame::INLINE {
            if let Some(Ok(buf)) = source
                .get(..Frame::INLINE)
                .map(<[u8; Frame::INLINE]>::try_from)
            {
                return Frame(Repr::Inline {
                    len: len as u8,
                    buf,
                });
            }
        }
        Frame::copy_apart(&source[..len])
    }

    /// [`Frame::copy_from_slice`], kept apart: side by side the compiler merges the two copies into
    /// one of variable size, a call.
    #[cold]
    #[inline(never)]
    fn copy_apart(payload: &[u8]) -> Self {
        Frame::copy_from_slice(payload)
    }

    /// The payload by value. Copies only if it was inline.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Inline { len, buf } => Bytes::copy_from_slice(&buf[..usize::from(len)]),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// The shared payload, if it is held by reference.
    #[inline]
    pub(crate) fn as_shared(&self) -> Option<&Bytes> {
        match &self.0 {
            Repr::Inline { .. } => None,
            Repr::Shared(bytes) => Some(bytes),
        }
    }

    /// The length and the whole inline buffer, if the payload is inline: for those who have room for
    /// a copy of fixed size. Octets behind the length have no meaning.
    #[inline]
    pub(crate) fn as_inline(&self) -> Option<(usize, &[u8; Frame::INLINE])> {
        match &self.0 {
            Repr::Inline { len, buf } => Some((usize::from(*len).min(Frame::INLINE), buf)),
            Repr::Shared(_) => None,
        }
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, buf } => &buf[..usize::from(*len).min(Frame::INLINE)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl Deref for Frame {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// An empty frame.
impl Default for Frame {
    #[inline]
    fn default() -> Self {
        Frame(Repr::Inline {
            len: 0,
            buf: [0; Frame::INLINE],
        })
    }
}

/// No copy above [`Frame::INLINE`] octets.
impl From<Bytes> for Frame {
    #[inline]
    fn from(payload: Bytes) -> Self {
        if payload.len() <= Frame::INLINE {
            Frame::copy_from_slice(&payload)
        } else {
            Frame(Repr::Shared(payload))
        }
    }
}

/// No copy above [`Frame::INLINE`] octets.
impl From<Vec<u8>> for Frame {
    #[inline]
    fn from(payload: Vec<u8>) -> Self {
        if payload.len() <= Frame::INLINE {
            Frame::copy_from_slice(&payload)
        } else {
            Frame(Repr::Shared(Bytes::from(payload)))
        }
    }
}

impl From<String> for Frame {
    fn from(payload: String) -> Self {
        Frame::from(payload.into_bytes())
    }
}

impl From<Box<[u8]>> for Frame {
    fn from(payload: Box<[u8]>) -> Self {
        Frame::from(payload.into_vec())
    }
}

impl From<bytes::BytesMut> for Frame {
    fn from(payload: bytes::BytesMut) -> Self {
        Frame::from(payload.freeze())
    }
}

impl From<&[u8]> for Frame {
    #[inline]
    fn from(payload: &[u8]) -> Self {
        Frame::copy_from_slice(payload)
    }
}

impl From<&str> for Frame {
    #[inline]
    fn from(payload: &str) -> Self {
        Frame::copy_from_slice(payload.as_bytes())
    }
}

impl From<&String> for Frame {
    fn from(payload: &String) -> Self {
        Frame::copy_from_slice(payload.as_bytes())
    }
}

impl From<&Vec<u8>> for Frame {
    fn from(payload: &Vec<u8>) -> Self {
        Frame::copy_from_slice(payload)
    }
}

impl From<Cow<'_, [u8]>> for Frame {
    fn from(payload: Cow<'_, [u8]>) -> Self {
        Frame::from(payload.into_owned())
    }
}

impl<const N: usize> From<[u8; N]> for Frame {
    #[inline]
    fn from(payload: [u8; N]) -> Self {
        Frame::copy_from_slice(&payload)
    }
}

impl<const N: usize> From<&[u8; N]> for Frame {
    #[inline]
    fn from(payload: &[u8; N]) -> Self {
        Frame::copy_from_slice(payload)
    }
}

impl From<&Frame> for Frame {
    fn from(frame: &Frame) -> Self {
        frame.clone()
    }
}

impl From<Frame> for Bytes {
    fn from(frame: Frame) -> Self {
        frame.into_bytes()
    }
}

impl From<Frame> for Vec<u8> {
    fn from(frame: Frame) -> Self {
        frame.as_slice().to_vec()
    }
}

impl PartialEq for Frame {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Frame {}

impl std::hash::Hash for Frame {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl PartialEq<[u8]> for Frame {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_slice() == other
    }
}

impl PartialEq<&[u8]> for Frame {
    fn eq(&self, other: &&[u8]) -> bool {
        self.as_slice() == *other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Frame {
    fn eq(&self, other: &[u8; N]) -> bool {
        self.as_slice() == other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Frame {
    fn eq(&self, other: &&[u8; N]) -> bool {
        self.as_slice() == *other
    }
}

impl PartialEq<str> for Frame {
    fn eq(&self, other: &str) -> bool {
        self.as_slice() == other.as_bytes()
    }
}

impl PartialEq<&str> for Frame {
    fn eq(&self, other: &&str) -> bool {
        self.as_slice() == other.as_bytes()
    }
}

/// Printable ASCII as it is, anything else escaped; long payloads are cut and their length said.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = self.as_slice();
        let shown = &payload[..payload.len().min(DEBUG_OCTETS)];
        write!(f, "b\"{}\"", shown.escape_ascii())?;
        if shown.len() < payload.len() {
            write!(f, "… ({} octets)", payload.len())?;
        }
        Ok(())
    }
}

/// How much of a payload `Debug` shows: enough to recognise it in a log line.
const DEBUG_OCTETS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_round_trips_through_every_conversion() {
        for len in [
            0,
            1,
            63,
            64,
            Frame::INLINE - 1,
            Frame::INLINE,
            Frame::INLINE + 1,
            300,
        ] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let frames = [
                Frame::from(&payload[..]),
                Frame::from(payload.clone()),
                Frame::from(Bytes::from(payload.clone())),
                Frame::from(&payload),
                Frame::from(payload.clone().into_boxed_slice()),
            ];
            for frame in frames {
                assert_eq!(frame.as_slice(), payload);
                assert_eq!(frame.clone(), frame);
                assert_eq!(frame.into_bytes(), payload);
            }
        }
    }

    #[test]
    fn a_prefix_copy_hides_what_follows() {
        let source: Vec<u8> = (0..200).collect();
        for len in [0, 1, Frame::INLINE, Frame::INLINE + 1, 200] {
            assert_eq!(
                Frame::copy_from_prefix(&source, len).as_slice(),
                &source[..len]
            );
        }
        let short = [1, 2, 3];
        assert_eq!(Frame::copy_from_prefix(&short, 2), [1, 2]);
    }

    #[test]
    fn large_bytes_are_not_copied() {
        let payload = Bytes::from(vec![7; 1000]);
        let frame = Frame::from(payload.clone());
        assert_eq!(frame.as_slice().as_ptr(), payload.as_ptr());
        assert_eq!(frame.into_bytes().as_ptr(), payload.as_ptr());
    }

    #[test]
    fn debug_is_bounded() {
        assert_eq!(format!("{:?}", Frame::from("a\n")), "b\"a\\n\"");
        assert!(format!("{:?}", Frame::from(vec![b'x'; 5000])).len() < 100);
    }
}
