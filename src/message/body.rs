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
    Inline(Inline),
    Shared(Bytes),
}

/// A payload in the value itself; octets beyond `len` have no meaning.
///
/// Length first and a whole word wide, octets behind it from a multiple of the word on: whatever part
/// of a message the compiler moves, it moves in the pieces that it was stored in. Loads that straddle
/// earlier stores wait for those to reach the cache: with one octet of length and the payload behind
/// it, that took three quarters of the time of a receive.
#[derive(Clone, Copy)]
#[repr(C)]
struct Inline {
    len: Len,
    octets: [u8; Frame::INLINE],
}

impl Frame {
    /// The longest payload kept inline, in octets. Chosen so that the commonest small messages
    /// (up to 64 octets) need no allocation.
    pub const INLINE: usize = 64;

    /// A frame with a copy of `payload`.
    #[inline]
    #[must_use]
    pub fn copy_from_slice(payload: &[u8]) -> Self {
        match Len::new(payload.len()) {
            Some(len) => {
                let mut octets = [0; Frame::INLINE];
                octets[..payload.len()].copy_from_slice(payload);
                Frame(Repr::Inline(Inline { len, octets }))
            }
            None => Frame(Repr::Shared(Bytes::copy_from_slice(payload))),
        }
    }

    /// The first `len` octets of `octets`, at most all of them.
    #[inline(always)]
    pub(crate) fn inline(octets: [u8; Frame::INLINE], len: usize) -> Self {
        let len = Len::clamped(len);
        Frame(Repr::Inline(Inline { len, octets }))
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
        if let (Some(len), Some(octets)) = (Len::new(len), source.first_chunk()) {
            return Frame(Repr::Inline(Inline {
                len,
                octets: *octets,
            }));
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
            Repr::Inline(inline) => Bytes::copy_from_slice(inline.as_slice()),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// The shared payload, if it is held by reference.
    #[inline]
    pub(crate) fn as_shared(&self) -> Option<&Bytes> {
        match &self.0 {
            Repr::Inline(_) => None,
            Repr::Shared(bytes) => Some(bytes),
        }
    }

    /// As [`Frame::as_shared`], by value. The frame is empty then.
    #[inline]
    pub(crate) fn take_shared(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Repr::Inline(_) => None,
            Repr::Shared(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Frame::default();
                Some(bytes)
            }
        }
    }

    /// The length and the whole inline buffer, if the payload is inline: for those who have room for
    /// a copy of fixed size. Octets behind the length have no meaning.
    #[inline]
    pub(crate) fn as_inline(&self) -> Option<(usize, &[u8; Frame::INLINE])> {
        match &self.0 {
            Repr::Inline(inline) => Some((inline.len.get(), &inline.octets)),
            Repr::Shared(_) => None,
        }
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(inline) => inline.as_slice(),
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl Inline {
    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.octets[..self.len.get()]
    }
}

/// Defines [`Len`]: an enumeration, and not a number, for the values it cannot have. They tell a frame
/// by reference, a message of many frames and a failed receive apart, in the same word.
macro_rules! define_len {
    ($($name:ident)*) => {
        /// A length up to [`Frame::INLINE`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u64)]
        enum Len {
            $($name,)*
        }

        impl Len {
            const ALL: &'static [Len] = &[$(Len::$name,)*];
        }
    };
}

define_len! {
    L0 L1 L2 L3 L4 L5 L6 L7 L8 L9 L10 L11 L12 L13 L14 L15 L16 L17 L18 L19 L20 L21 L22 L23 L24 L25 L26
    L27 L28 L29 L30 L31 L32 L33 L34 L35 L36 L37 L38 L39 L40 L41 L42 L43 L44 L45 L46 L47 L48 L49 L50 L51
    L52 L53 L54 L55 L56 L57 L58 L59 L60 L61 L62 L63 L64
}

impl Len {
    #[inline(always)]
    fn new(len: usize) -> Option<Len> {
        Len::ALL.get(len).copied()
    }

    #[inline(always)]
    fn clamped(len: usize) -> Len {
        Len::ALL[len.min(Frame::INLINE)]
    }

    #[inline(always)]
    fn get(self) -> usize {
        self as usize
    }
}

const _: () = assert!(Len::ALL.len() == Frame::INLINE + 1);

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
        Frame::inline([0; Frame::INLINE], 0)
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
