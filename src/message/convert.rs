//! From whatever is bytes to frames and messages, and back.
//!
//! The conversions that need no thought are beside [`Frame`]; these are those that share an owner or may
//! fail.

use std::borrow::Cow;
use std::string::FromUtf8Error;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::{Frame, Message};

/// A message of several frames where one of a single frame was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the message has {given} frames, expected 1")]
#[non_exhaustive]
pub struct FrameCount {
    /// How many frames the message has.
    pub given: usize,
}

/// A frame of another length than that of the array it was to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the frame has {given} octets, expected {expected}")]
#[non_exhaustive]
pub struct FrameLength {
    /// The octets of the frame.
    pub given: usize,
    /// The octets of the array.
    pub expected: usize,
}

impl Frame {
    /// A frame that refers to the octets of `owner` and keeps it for as long as anybody needs them. For a
    /// payload of up to [`Frame::INLINE`] octets a copy is made, and the owner let go.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use sinew::Frame;
    ///
    /// let shared: Arc<[u8]> = vec![7; 1000].into();
    /// let frame = Frame::from_owner(Arc::clone(&shared));
    /// assert_eq!(frame.as_slice().as_ptr(), shared.as_ptr());
    /// ```
    #[must_use]
    pub fn from_owner<T: AsRef<[u8]> + Send + 'static>(owner: T) -> Self {
        Frame::from(Bytes::from_owner(owner))
    }

    /// The payload as text.
    ///
    /// # Errors
    /// If it is no UTF-8.
    pub fn to_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(self)
    }
}

impl From<Box<str>> for Frame {
    fn from(payload: Box<str>) -> Self {
        Frame::from(payload.into_string())
    }
}

impl From<Cow<'_, str>> for Frame {
    fn from(payload: Cow<'_, str>) -> Self {
        match payload {
            Cow::Borrowed(payload) => Frame::from(payload),
            Cow::Owned(payload) => Frame::from(payload),
        }
    }
}

/// No copy above [`Frame::INLINE`] octets.
impl From<&Bytes> for Frame {
    fn from(payload: &Bytes) -> Self {
        Frame::from(payload.clone())
    }
}

/// No copy above [`Frame::INLINE`] octets.
impl From<Arc<[u8]>> for Frame {
    fn from(payload: Arc<[u8]>) -> Self {
        Frame::from_owner(payload)
    }
}

/// No copy above [`Frame::INLINE`] octets.
impl From<Arc<Vec<u8>>> for Frame {
    fn from(payload: Arc<Vec<u8>>) -> Self {
        Frame::from_owner(SharedVec(payload))
    }
}

/// No copy above [`Frame::INLINE`] octets.
impl From<Arc<str>> for Frame {
    fn from(payload: Arc<str>) -> Self {
        Frame::from_owner(SharedStr(payload))
    }
}

/// `Arc<Vec<u8>>` has the `AsRef` of what it refers to only as `AsRef<Vec<u8>>`.
struct SharedVec(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedVec {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// As [`SharedVec`].
struct SharedStr(Arc<str>);

impl AsRef<[u8]> for SharedStr {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<Frame> for Box<[u8]> {
    fn from(frame: Frame) -> Self {
        Vec::from(frame).into_boxed_slice()
    }
}

impl From<Frame> for BytesMut {
    fn from(frame: Frame) -> Self {
        BytesMut::from(frame.into_bytes())
    }
}

impl TryFrom<Frame> for String {
    type Error = FromUtf8Error;

    fn try_from(frame: Frame) -> Result<Self, FromUtf8Error> {
        String::from_utf8(frame.into())
    }
}

impl<const N: usize> TryFrom<&Frame> for [u8; N] {
    type Error = FrameLength;

    fn try_from(frame: &Frame) -> Result<Self, FrameLength> {
        frame.as_slice().try_into().map_err(|_| FrameLength {
            given: frame.len(),
            expected: N,
        })
    }
}

/// The only frame.
impl TryFrom<Message> for Frame {
    type Error = FrameCount;

    fn try_from(message: Message) -> Result<Self, FrameCount> {
        let given = message.frame_count();
        let mut frames = message.into_iter();
        match (frames.next(), given) {
            (Some(only), 1) => Ok(only),
            _ => Err(FrameCount { given }),
        }
    }
}

macro_rules! try_from_message {
    ($($kind:ty),*) => {
        $(
            /// The payload of the only frame.
            impl TryFrom<Message> for $kind {
                type Error = FrameCount;

                fn try_from(message: Message) -> Result<Self, FrameCount> {
                    Frame::try_from(message).map(Into::into)
                }
            }
        )*
    };
}

try_from_message!(Bytes, BytesMut, Vec<u8>, Box<[u8]>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_shared_and_small_payloads_copied() {
        for len in [0, Frame::INLINE, Frame::INLINE + 1, 5000] {
            let octets = vec![b'x'; len];
            let text: Arc<str> = "x".repeat(len).into();
            let slice: Arc<[u8]> = octets.clone().into();
            let vec = Arc::new(octets.clone());
            let frames = [
                (Frame::from(Arc::clone(&text)), text.as_ptr()),
                (Frame::from(Arc::clone(&slice)), slice.as_ptr()),
                (Frame::from(Arc::clone(&vec)), vec.as_ptr()),
            ];
            for (frame, source) in frames {
                assert_eq!(frame, &octets[..]);
                assert_eq!(frame.as_slice().as_ptr() == source, len > Frame::INLINE);
            }
        }
    }

    #[test]
    fn there_and_back() {
        let frame = Frame::from(Cow::Borrowed("text"));
        assert_eq!(frame, Frame::from(Box::<str>::from("text")));
        assert_eq!(frame, Frame::from(Cow::<str>::Owned("text".into())));
        assert_eq!(frame, Frame::from(&Bytes::from_static(b"text")));
        assert_eq!(frame.to_str(), Ok("text"));
        assert_eq!(<[u8; 4]>::try_from(&frame), Ok(*b"text"));
        assert_eq!(
            <[u8; 5]>::try_from(&frame).unwrap_err().to_string(),
            "the frame has 4 octets, expected 5"
        );
        assert_eq!(&*Box::<[u8]>::from(frame.clone()), b"text");
        assert_eq!(BytesMut::from(frame.clone()), "text");
        assert_eq!(String::try_from(frame.clone()).unwrap(), "text");
        assert!(String::try_from(Frame::from([0xff])).is_err());
        let message = Message::from(frame);
        assert_eq!(Vec::try_from(message.clone()), Ok(b"text".to_vec()));
        assert_eq!(Bytes::try_from(message.clone()), Ok("text".into()));
        let more = Message::multipart(["a", "b"]);
        assert_eq!(
            Frame::try_from(more).unwrap_err().to_string(),
            "the message has 2 frames, expected 1"
        );
        let carrying = message.with_group(super::super::Group::new("g").unwrap());
        assert_eq!(Frame::try_from(carrying).unwrap(), "text");
    }
}
