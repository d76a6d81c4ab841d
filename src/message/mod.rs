//! Messages: one or more frames of bytes, sent and received as one value.
//!
//! A [`Frame`] keeps a small payload inline (no allocation) and a larger one by reference
//! ([`bytes::Bytes`]), so that cloning and forwarding are cheap. A [`Message`] with a single frame
//! needs no list. Neither knows anything about the wire; `frame` encodes them.

mod body;
mod builder;
mod convert;
mod group;
mod into_message;
mod peer_id;
mod properties;
mod routing_id;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use body::Frame;
pub use builder::MessageBuilder;
pub use convert::{FrameCount, FrameLength};
pub use group::{Group, InvalidGroup};
pub use into_message::IntoMessage;
pub use peer_id::{InvalidPeerId, PeerId};
pub use properties::PeerProperties;
pub use routing_id::{InvalidRoutingId, RoutingId};

/// One message: at least one [`Frame`], delivered all or not at all.
///
/// Anything that is bytes converts into a single-frame message; [`Message::multipart`], collecting
/// an iterator of frames, and [`Message::builder`] make longer ones.
///
/// Besides its frames a message may carry the [routing id](Self::routing_id) of a peer, a
/// [group](Self::group), and the [properties](Self::properties) of the peer that it came from. None of
/// them is sent with it as it is, and messages are equal if their frames are.
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

/// `Many` is only used for two frames or more, or by a message that once had that many; `Carrying` by a
/// message that carries something besides its frames, so that others are no larger for it.
#[derive(Clone)]
enum Frames {
    One(Frame),
    Many(Vec<Frame>),
    Carrying(Box<Carrying>),
}

#[derive(Clone, Default)]
struct Carrying {
    /// At least one.
    frames: Vec<Frame>,
    routing_id: Option<PeerId>,
    group: Option<Group>,
    properties: Option<Arc<PeerProperties>>,
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

    /// A message of these frames, which are not moved to another list, as [`multipart`](Self::multipart) does. No
    /// frames at all make a message of one empty frame.
    ///
    /// ```
    /// use sinew::{Frame, Message};
    ///
    /// let frames = vec![Frame::from("topic"), Frame::from("body")];
    /// assert_eq!(Message::from_frames(frames), Message::multipart(["topic", "body"]));
    /// assert_eq!(Message::from_frames(Vec::new()), Message::default());
    /// ```
    #[inline]
    #[must_use]
    pub fn from_frames(mut frames: Vec<Frame>) -> Self {
        match frames.len() {
            0 | 1 => Message(Frames::One(frames.pop().unwrap_or_default())),
            _ => Message(Frames::Many(frames)),
        }
    }

    /// The frames, at least one.
    #[inline]
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        self.0.as_slice()
    }

    #[inline]
    pub(crate) fn frames_mut(&mut self) -> &mut [Frame] {
        match &mut self.0 {
            Frames::One(frame) => std::slice::from_mut(frame),
            Frames::Many(frames) => frames,
            Frames::Carrying(carrying) => &mut carrying.frames,
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

    /// The payload of the first frame as text.
    ///
    /// ```
    /// let message = sinew::Message::from("hello");
    /// assert_eq!(message.to_str()?, "hello");
    /// # Ok::<(), std::str::Utf8Error>(())
    /// ```
    ///
    /// # Errors
    /// If it is no UTF-8.
    pub fn to_str(&self) -> Result<&str, std::str::Utf8Error> {
        self.frames()[0].to_str()
    }

    /// The payload octets of all frames together.
    #[inline]
    #[must_use]
    pub fn byte_len(&self) -> usize {
        match &self.0 {
            Frames::One(frame) => frame.len(),
            frames => frames.as_slice().iter().map(|f| f.len()).sum(),
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
        let frames = match &mut self.0 {
            Frames::One(_) => return None,
            Frames::Many(frames) => frames,
            Frames::Carrying(carrying) => &mut carrying.frames,
        };
        (frames.len() > 1).then(|| frames.remove(0))
    }

    /// Takes the first `count` frames off, but never the last one of all.
    pub(crate) fn drain_front(&mut self, count: usize) -> impl Iterator<Item = Frame> + '_ {
        let count = count.min(self.frame_count() - 1);
        self.many().drain(..count)
    }

    /// Splits at the first empty frame: the frames before it, which are the way back through routers, and
    /// the message behind it. `None` if no frame is empty or nothing is behind it.
    ///
    /// ```
    /// use sinew::Message;
    ///
    /// let request = Message::multipart(["client", "", "body", ""]);
    /// let (envelope, body) = request.split_envelope().unwrap();
    /// assert_eq!(envelope, ["client"]);
    /// assert_eq!(body, Message::multipart(["body", ""]));
    /// assert!(Message::multipart(["no", "delimiter"]).split_envelope().is_none());
    /// ```
    #[must_use]
    pub fn split_envelope(&self) -> Option<(&[Frame], Message)> {
        let frames = self.frames();
        let delimiter = frames.iter().position(|frame| frame.is_empty())?;
        let (envelope, rest) = frames.split_at(delimiter);
        let body = rest.get(1..).filter(|body| !body.is_empty())?;
        Some((envelope, Message::multipart(body)))
    }

    /// A message to be put together frame by frame.
    pub fn builder() -> MessageBuilder {
        MessageBuilder::default()
    }

    /// The number of the peer that this message came from, or is for: see [`PeerId`].
    #[must_use]
    pub fn routing_id(&self) -> Option<PeerId> {
        self.carrying()?.routing_id
    }

    /// The group that this message was sent to, or is for, between RADIO and DISH sockets.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        self.carrying()?.group.as_ref()
    }

    /// What is known of the peer that this message came from, if the socket that received it was built
    /// with the option [`attach_properties`](crate::SocketBuilder::attach_properties).
    #[must_use]
    pub fn properties(&self) -> Option<&Arc<PeerProperties>> {
        self.carrying()?.properties.as_ref()
    }

    /// Says which peer this message is for.
    pub fn set_routing_id(&mut self, id: impl Into<Option<PeerId>>) {
        let id = id.into();
        if id.is_some() || self.routing_id().is_some() {
            self.carry().routing_id = id;
        }
    }

    /// Says which group this message is for.
    pub fn set_group(&mut self, group: impl Into<Option<Group>>) {
        let group = group.into();
        if group.is_some() || self.group().is_some() {
            self.carry().group = group;
        }
    }

    /// This message, for that peer.
    #[must_use]
    pub fn with_routing_id(mut self, id: PeerId) -> Self {
        self.set_routing_id(id);
        self
    }

    /// This message, for that group.
    #[must_use]
    pub fn with_group(mut self, group: Group) -> Self {
        self.set_group(group);
        self
    }

    pub(crate) fn set_properties(&mut self, properties: Arc<PeerProperties>) {
        self.carry().properties = Some(properties);
    }

    fn carrying(&self) -> Option<&Carrying> {
        match &self.0 {
            Frames::Carrying(carrying) => Some(carrying),
            Frames::One(_) | Frames::Many(_) => None,
        }
    }

    fn carry(&mut self) -> &mut Carrying {
        if !matches!(self.0, Frames::Carrying(_)) {
            let plain = std::mem::take(self);
            self.0 = Frames::Carrying(Box::new(Carrying {
                frames: plain.into_frames(),
                ..Carrying::default()
            }));
        }
        match &mut self.0 {
            Frames::Carrying(carrying) => carrying,
            Frames::One(_) | Frames::Many(_) => unreachable!("made Carrying just above"),
        }
    }

    /// The frames by value, at least one.
    #[must_use]
    pub fn into_frames(self) -> Vec<Frame> {
        match self.0 {
            Frames::One(frame) => vec![frame],
            Frames::Many(frames) => frames,
            Frames::Carrying(carrying) => carrying.frames,
        }
    }

    /// The payload of a single-frame message, or of the first frame, by value.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Frames::One(frame) => frame.into_bytes(),
            frames => Message(frames)
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
            Frames::Carrying(carrying) => &mut carrying.frames,
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

impl Frames {
    #[inline]
    fn as_slice(&self) -> &[Frame] {
        match self {
            Frames::One(frame) => std::slice::from_ref(frame),
            Frames::Many(frames) => frames,
            Frames::Carrying(carrying) => &carrying.frames,
        }
    }
}

impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
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
    fn what_a_message_carries_stays_with_it() {
        let id = PeerId::try_from(5).unwrap();
        let group = Group::new("g").unwrap();
        let plain = Message::from("a");
        let mut message = plain.clone().with_routing_id(id).with_group(group.clone());
        assert_eq!(message, plain, "equal by frames");
        assert_eq!(message.pop_front(), None);
        message.push_front("before");
        message.push_back("after");
        assert_eq!(message, Message::multipart(["before", "a", "after"]));
        assert_eq!(message.pop_front().unwrap(), "before");
        assert_eq!(message.drain_front(7).collect::<Vec<_>>(), ["a"]);
        let copy = message.clone();
        for message in [&message, &copy] {
            assert_eq!(message.routing_id(), Some(id));
            assert_eq!(message.group(), Some(&group));
            assert_eq!(message.byte_len(), 5);
            assert_eq!(message.as_bytes(), b"after");
        }
        message.set_routing_id(None);
        message.set_group(None);
        assert_eq!((message.routing_id(), message.group()), (None, None));
        assert_eq!(copy.into_bytes(), "after");
        let mut plain = plain;
        plain.set_routing_id(None);
        assert!(matches!(plain.0, Frames::One(_)), "nothing to carry");
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
