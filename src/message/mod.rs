//! Messages: one or more frames of bytes, sent and received as one value.
//!
//! A [`Frame`] keeps a small payload inline (no allocation) and a larger one by reference
//! ([`bytes::Bytes`]), so that cloning and forwarding are cheap. A [`Message`] with a single frame
//! needs no list. Neither knows anything about the wire; `frame` encodes them.

mod body;
mod group;
mod into_message;
mod routing_id;

use std::fmt;

use bytes::Bytes;

pub use body::Frame;
pub use group::{Group, InvalidGroup};
pub use into_message::IntoMessage;
pub use routing_id::{InvalidRoutingId, RoutingId};

/// One message: at least one [`Frame`], delivered all or not at all.
///
/// Anything that is bytes converts into a single-frame message; [`Message::multipart`] and collecting
/// an iterator of frames make longer ones.
///
/// ```
/// use sinew::Message;
///
/// let single = Message::from("hello");
/// assert_eq!(single.as_bytes(), b"hello");
///
/// let multi = Message::multipart(["topic", "body"]);
/// assert_eq!(multi.frame_count(), 2);
/// assert_eq!(multi.frame(1).unwrap(), "body");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Frames);

/// `Many` is only used for two frames or more, or by a message that once had that many.
#[derive(Clone)]
enum Frames {
    One(Frame),
    Many(Vec<Frame>),
}

impl Message {
    /// A message of a single frame.
    #[inline]
    #[must_use]
    pub fn new(frame: impl Into<Frame>) -> Self {
        Message(Frames::One(frame.into()))
    }

    /// A message of one frame, kept inline: the first `len` octets of `buffer`.
    #[inline(always)]
    pub(crate) fn inline(buffer: [u8; Frame::INLINE], len: usize) -> Self {
        Message(Frames::One(Frame::inline(buffer, len)))
    }

    /// A message of the given frames, in order. No frames at all make a message of one empty frame,
    /// for a message always has at least one.
    #[must_use]
    pub fn multipart<I>(frames: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Frame>,
    {
        let mut frames = frames.into_iter().map(Into::into);
        let Some(first) = frames.next() else {
            return Message::default();
        };
        let Some(second) = frames.next() else {
            return Message(Frames::One(first));
        };
        let mut all = Vec::with_capacity(2 + frames.size_hint().0);
        all.push(first);
        all.push(second);
        all.extend(frames);
        Message(Frames::Many(all))
    }

    /// The frames, at least one.
    #[inline]
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        match &self.0 {
            Frames::One(frame) => std::slice::from_ref(frame),
            Frames::Many(frames) => frames,
        }
    }

    /// The number of frames, at least 1.
    #[inline]
    #[must_use]
    pub fn frame_count(&self) -> usize {
        self.frames().len()
    }

    /// The frame at `index`, counted from 0.
    #[inline]
    #[must_use]
    pub fn frame(&self, index: usize) -> Option<&Frame> {
        self.frames().get(index)
    }

    /// The payload of the first frame: all of a single-frame message, the topic of a published one.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.frames()[0]
    }

    /// The payload octets of all frames together.
    #[inline]
    #[must_use]
    pub fn byte_len(&self) -> usize {
        match &self.0 {
            Frames::One(frame) => frame.len(),
            Frames::Many(frames) => frames.iter().map(|f| f.len()).sum(),
        }
    }

    /// Appends a frame.
    pub fn push_back(&mut self, frame: impl Into<Frame>) {
        self.many().push(frame.into());
    }

    /// Puts a frame before all others.
    pub fn push_front(&mut self, frame: impl Into<Frame>) {
        self.many().insert(0, frame.into());
    }

    /// Takes the first frame off. `None` if it is the only one: a message is never left empty.
    pub fn pop_front(&mut self) -> Option<Frame> {
        match &mut self.0 {
            Frames::Many(frames) if frames.len() > 1 => Some(frames.remove(0)),
            _ => None,
        }
    }

    /// The frames by value, at least one.
    #[must_use]
    pub fn into_frames(self) -> Vec<Frame> {
        match self.0 {
            Frames::One(frame) => vec![frame],
            Frames::Many(frames) => frames,
        }
    }

    /// The payload of a single-frame message, or of the first frame, by value.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Frames::One(frame) => frame.into_bytes(),
            Frames::Many(frames) => frames
                .into_iter()
                .next()
                .map_or_else(Bytes::new, Frame::into_bytes),
        }
    }

    fn many(&mut self) -> &mut Vec<Frame> {
        if let Frames::One(frame) = &mut self.0 {
            let mut frames = Vec::with_capacity(2);
            frames.push(std::mem::take(frame));
            self.0 = Frames::Many(frames);
        }
        match &mut self.0 {
            Frames::Many(frames) => frames,
            Frames::One(_) => unreachable!("made Many just above"),
        }
    }
}

/// One empty frame.
impl Default for Message {
    #[inline]
    fn default() -> Self {
        Message(Frames::One(Frame::default()))
    }
}

impl<T: Into<Frame>> From<T> for Message {
    #[inline]
    fn from(frame: T) -> Self {
        Message(Frames::One(frame.into()))
    }
}

impl<F: Into<Frame>> FromIterator<F> for Message {
    fn from_iter<I: IntoIterator<Item = F>>(frames: I) -> Self {
        Message::multipart(frames)
    }
}

impl<F: Into<Frame>> Extend<F> for Message {
    fn extend<I: IntoIterator<Item = F>>(&mut self, frames: I) {
        for frame in frames {
            self.push_back(frame);
        }
    }
}

impl IntoIterator for Message {
    type Item = Frame;
    type IntoIter = std::vec::IntoIter<Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_frames().into_iter()
    }
}

impl<'a> IntoIterator for &'a Message {
    type Item = &'a Frame;
    type IntoIter = std::slice::Iter<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.frames().iter()
    }
}

impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        fn slice(frames: &Frames) -> &[Frame] {
            match frames {
                Frames::One(frame) => std::slice::from_ref(frame),
                Frames::Many(frames) => frames,
            }
        }
        slice(self) == slice(other)
    }
}

impl Eq for Frames {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.frames()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_and_multipart() {
        let mut m = Message::from("b");
        m.push_front("a");
        m.push_back(vec![1, 2, 3]);
        assert_eq!(
            m,
            Message::multipart([Frame::from("a"), "b".into(), vec![1, 2, 3].into()])
        );
        assert_eq!(m.byte_len(), 5);
        assert_eq!(m.pop_front().unwrap(), "a");
        assert_eq!(m.pop_front().unwrap(), "b");
        assert_eq!(m.pop_front(), None);
        assert_eq!(m, Message::from(vec![1, 2, 3]));
        assert_eq!(m.into_bytes(), vec![1, 2, 3]);
    }

    #[test]
    fn a_message_is_never_empty() {
        let none: [Frame; 0] = [];
        assert_eq!(Message::multipart(none).frame_count(), 1);
        assert_eq!(Message::default().frames().len(), 1);
    }

    #[test]
    fn a_message_has_no_tag_of_its_own() {
        // The length of an inline payload tells everything apart.
        assert_eq!(std::mem::size_of::<Frame>(), 8 + Frame::INLINE);
        assert_eq!(std::mem::size_of::<Message>(), 8 + Frame::INLINE);
        assert_eq!(
            std::mem::size_of::<Result<Message, ()>>(),
            8 + Frame::INLINE
        );
    }
}
