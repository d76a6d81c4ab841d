//! What a socket can send.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Frame, Message, MessageBuilder};

/// What can be sent: a [`Message`], a [`Frame`], and anything that is bytes.
///
/// Borrowed octets are copied once, to where they are sent from; owned ones are kept by reference where
/// that is cheaper.
///
/// For a type of your own, implement `From` for [`Message`] and this trait, with nothing in it:
///
/// ```
/// use sinew::{IntoMessage, Message, Push};
///
/// struct Reading(u32);
///
/// impl From<Reading> for Message {
///     fn from(reading: Reading) -> Message {
///         Message::multipart([&b"reading"[..], &reading.0.to_le_bytes()])
///     }
/// }
/// impl IntoMessage for Reading {}
///
/// let mut push = Push::builder().send_timeout(std::time::Duration::ZERO).build()?;
/// assert!(push.send(Reading(7)).is_err(), "there is no peer");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait IntoMessage: Into<Message> {
    /// The payload, if this is a message of one frame that is better copied than kept.
    #[doc(hidden)]
    #[inline]
    fn as_payload(&self) -> Option<&[u8]> {
        None
    }

    /// The message, if this is one already.
    #[doc(hidden)]
    #[inline]
    fn as_message(&self) -> Option<&Message> {
        None
    }
}

/// Shorter payloads are copied even if they could be kept: that takes less time than to count
/// references to them.
const KEEP_FROM: usize = 512;

impl IntoMessage for Message {
    #[inline]
    fn as_message(&self) -> Option<&Message> {
        Some(self)
    }
}
impl IntoMessage for Frame {}
impl IntoMessage for &Frame {}
impl IntoMessage for &Bytes {}
impl IntoMessage for Box<str> {}
impl IntoMessage for Arc<[u8]> {}
impl IntoMessage for Arc<Vec<u8>> {}
impl IntoMessage for Arc<str> {}
impl IntoMessage for MessageBuilder {}

macro_rules! into_message {
    (borrowed: $($borrowed:ty),*; owned: $($owned:ty),*) => {
        $(
            impl IntoMessage for $borrowed {
                #[inline]
                fn as_payload(&self) -> Option<&[u8]> {
                    Some(self.as_ref())
                }
            }
        )*
        $(
            impl IntoMessage for $owned {
                #[inline]
                fn as_payload(&self) -> Option<&[u8]> {
                    Some(self.as_ref()).filter(|payload: &&[u8]| payload.len() < KEEP_FROM)
                }
            }
        )*
    };
}

into_message! {
    borrowed: &[u8], &str, &String, &Vec<u8>;
    owned: Vec<u8>, String, Box<[u8]>, Bytes, BytesMut
}

impl<const N: usize> IntoMessage for [u8; N] {
    #[inline]
    fn as_payload(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<const N: usize> IntoMessage for &[u8; N] {
    #[inline]
    fn as_payload(&self) -> Option<&[u8]> {
        Some(*self)
    }
}

impl IntoMessage for Cow<'_, [u8]> {
    #[inline]
    fn as_payload(&self) -> Option<&[u8]> {
        match self {
            Cow::Borrowed(payload) => Some(payload),
            Cow::Owned(payload) => payload.as_payload(),
        }
    }
}

impl IntoMessage for Cow<'_, str> {
    #[inline]
    fn as_payload(&self) -> Option<&[u8]> {
        match self {
            Cow::Borrowed(payload) => Some(payload.as_bytes()),
            Cow::Owned(payload) => payload.as_payload(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever way a payload is taken, it is the same message.
    #[test]
    fn the_payload_is_the_message() {
        fn check(message: impl IntoMessage, copied: bool) {
            let payload = message.as_payload().map(<[u8]>::to_vec);
            assert_eq!(payload.is_some(), copied);
            let message: Message = message.into();
            assert_eq!(
                payload.unwrap_or(message.as_bytes().to_vec()),
                message.as_bytes()
            );
        }
        for len in [0, 1, KEEP_FROM - 1, KEEP_FROM, 10_000] {
            let octets = vec![b'x'; len];
            let text = "x".repeat(len);
            let short = len < KEEP_FROM;
            check(&octets[..], true);
            check(&octets, true);
            check(text.as_str(), true);
            check(&text, true);
            check(Cow::Borrowed(&octets[..]), true);
            check(Cow::<[u8]>::Owned(octets.clone()), short);
            check(octets.clone(), short);
            check(text, short);
            check(octets.clone().into_boxed_slice(), short);
            check(Bytes::from(octets.clone()), short);
            check(BytesMut::from(&octets[..]), short);
            check(Frame::from(&octets), false);
            check(Frame::from(&octets), false);
            check(Message::from(octets), false);
        }
        check([1, 2, 3], true);
        check(b"abc", true);
    }
}
