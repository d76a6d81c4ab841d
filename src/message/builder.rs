//! Putting a message together.

use super::{Frame, Group, Message, PeerId};

/// A message that is being put together: see [`Message::builder`].
///
/// ```
/// use sinew::{Group, Message};
///
/// let message = Message::builder()
///     .frame("header")
///     .frames([[1, 2], [3, 4]])
///     .group(Group::new("weather")?)
///     .build();
/// assert_eq!(message.frame_count(), 3);
/// assert_eq!(message.group().unwrap().as_bytes(), b"weather");
/// # Ok::<(), sinew::InvalidGroup>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct MessageBuilder {
    frames: Vec<Frame>,
    routing_id: Option<PeerId>,
    group: Option<Group>,
}

impl MessageBuilder {
    /// Appends a frame.
    pub fn frame(mut self, frame: impl Into<Frame>) -> Self {
        self.frames.push(frame.into());
        self
    }

    /// Appends frames.
    pub fn frames<I>(mut self, frames: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Frame>,
    {
        self.frames.extend(frames.into_iter().map(Into::into));
        self
    }

    /// Says which peer the message is for; without effect on sockets other than SERVER and PEER.
    pub fn routing_id(mut self, id: PeerId) -> Self {
        self.routing_id = Some(id);
        self
    }

    /// Says which group the message is for; without effect on sockets other than RADIO.
    pub fn group(mut self, group: Group) -> Self {
        self.group = Some(group);
        self
    }

    /// The message. Without any frame it has one, which is empty.
    #[must_use]
    pub fn build(self) -> Message {
        let mut message = Message::multipart(self.frames);
        message.set_routing_id(self.routing_id);
        message.set_group(self.group);
        message
    }
}

impl From<MessageBuilder> for Message {
    fn from(builder: MessageBuilder) -> Self {
        builder.build()
    }
}
