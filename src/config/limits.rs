//! Limits on what is queued, received and remembered.

use super::OptionError;
use crate::message::Message;

/// How much one pipe queues before it is full: messages and bytes, whichever is reached first.
///
/// Each connection has one pipe per direction, so a socket with *n* peers may hold *n* times this
/// much, unless its context has a [`memory_budget`](crate::ContextBuilder::memory_budget). The default is 1000 messages and
/// 64 MiB. A count of messages alone would not bound memory.
///
/// ```
/// use sinew::HighWaterMark;
///
/// let mark = HighWaterMark::new(10_000).with_bytes(256 << 20);
/// assert_eq!(mark.messages(), Some(10_000));
/// assert_eq!(mark.bytes(), Some(256 << 20));
///
/// // A number alone is a number of messages.
/// fn takes(mark: impl Into<HighWaterMark>) -> HighWaterMark {
///     mark.into()
/// }
/// assert_eq!(takes(500), HighWaterMark::new(500));
///
/// assert_eq!(HighWaterMark::unlimited().messages(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HighWaterMark {
    /// `u64::MAX` is no limit; 0 is refused by `validate`.
    messages: u64,
    /// The same.
    bytes: u64,
}

/// What one peer may send us in one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageLimits {
    /// Octets in one frame; checked on the frame header, before anything is reserved.
    pub(crate) frame_bytes: u64,
    /// Octets in all frames of one message.
    pub(crate) message_bytes: u64,
    /// Frames in one message.
    pub(crate) frames: u32,
}

/// What this side sends in one message. `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SendLimits {
    /// Octets in one frame.
    pub(crate) frame_bytes: u64,
    /// Octets in all frames of one message.
    pub(crate) message_bytes: u64,
}

impl SendLimits {
    /// What a message of this size exceeds, if anything: its size, and the limit.
    pub(crate) fn exceeded(&self, largest_frame: u64, message: u64) -> Option<(u64, u64)> {
        if largest_frame > self.frame_bytes {
            Some((largest_frame, self.frame_bytes))
        } else if message > self.message_bytes {
            Some((message, self.message_bytes))
        } else {
            None
        }
    }

    pub(crate) fn unlimited() -> Self {
        SendLimits::of(None)
    }

    /// The same for a frame as for all of a message.
    pub(crate) fn of(octets: Option<u64>) -> Self {
        let octets = octets.unwrap_or(UNLIMITED);
        SendLimits {
            frame_bytes: octets,
            message_bytes: octets,
        }
    }

    /// Whether a message that comes by itself is one that may be sent.
    pub(super) fn validate_greeting(
        &self,
        option: &'static str,
        message: &Message,
    ) -> Result<(), OptionError> {
        let largest = message.frames().iter().map(|frame| frame.len() as u64);
        match self.exceeded(largest.max().unwrap_or(0), message.byte_len() as u64) {
            Some((size, limit)) => Err(OptionError::new(
                option,
                format_args!("{size} octets while at most {limit} are sent"),
                "at most `max_send_size`, or `None` for that",
            )),
            None => Ok(()),
        }
    }

    pub(super) fn validate(&self) -> Result<(), OptionError> {
        if self.message_bytes < LEAST_SEND_LIMIT {
            return Err(OptionError::new(
                "max_send_size",
                self.message_bytes,
                "at least 262144 octets, or `None` for no limit",
            ));
        }
        Ok(())
    }
}

/// What every peer with the default options receives.
impl Default for SendLimits {
    fn default() -> Self {
        let received = MessageLimits::default();
        SendLimits {
            frame_bytes: received.frame_bytes,
            message_bytes: received.message_bytes,
        }
    }
}

/// No limit is less: smaller messages are not held against any.
pub(crate) const LEAST_SEND_LIMIT: u64 = 256 * 1024;

/// What one peer may have us remember about its subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriptionLimits {
    /// Distinct topics.
    pub(crate) topics: u32,
    /// Distinct groups.
    pub(crate) groups: u32,
    /// Octets in one topic.
    pub(crate) topic_bytes: u32,
    /// Octets in all topics together.
    pub(crate) total_bytes: u64,
}

impl HighWaterMark {
    /// A mark of so many messages and the default number of bytes. Zero messages are refused when
    /// the socket is built; [`HighWaterMark::unlimited`] says what zero says elsewhere.
    #[must_use]
    pub const fn new(messages: u64) -> Self {
        HighWaterMark {
            messages,
            bytes: DEFAULT_BYTES,
        }
    }

    /// No limit, neither in messages nor in bytes: a slow peer can then take all memory.
    #[must_use]
    pub const fn unlimited() -> Self {
        HighWaterMark {
            messages: UNLIMITED,
            bytes: UNLIMITED,
        }
    }

    /// The same with this limit in messages.
    #[must_use]
    pub const fn with_messages(mut self, messages: u64) -> Self {
        self.messages = messages;
        self
    }

    /// The same with this limit in bytes of payload and framing.
    #[must_use]
    pub const fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// The limit in messages, if there is one.
    #[must_use]
    pub const fn messages(&self) -> Option<u64> {
        match self.messages {
            UNLIMITED => None,
            n => Some(n),
        }
    }

    /// The limit in bytes, if there is one.
    #[must_use]
    pub const fn bytes(&self) -> Option<u64> {
        match self.bytes {
            UNLIMITED => None,
            n => Some(n),
        }
    }

    /// The limit in messages as a plain number, `u64::MAX` for none: what the pipes count against.
    pub(crate) const fn message_credit(&self) -> u64 {
        self.messages
    }

    /// The limit in bytes as a plain number, `u64::MAX` for none.
    pub(crate) const fn byte_credit(&self) -> u64 {
        self.bytes
    }

    pub(super) fn validate(&self, option: &'static str) -> Result<(), OptionError> {
        let expected = "at least 1, or `HighWaterMark::unlimited()` for no limit";
        if self.messages == 0 {
            return Err(OptionError::new(option, "0 messages", expected));
        }
        if self.bytes == 0 {
            return Err(OptionError::new(option, "0 bytes", expected));
        }
        Ok(())
    }
}

impl Default for HighWaterMark {
    fn default() -> Self {
        HighWaterMark::new(DEFAULT_MESSAGES)
    }
}

impl From<u64> for HighWaterMark {
    fn from(messages: u64) -> Self {
        HighWaterMark::new(messages)
    }
}

impl MessageLimits {
    pub(super) fn validate(&self) -> Result<(), OptionError> {
        if self.message_bytes == 0 {
            return Err(OptionError::new("max_message_size", 0, "at least 1 byte"));
        }
        if self.frame_bytes == 0 {
            return Err(OptionError::new("max_frame_size", 0, "at least 1 byte"));
        }
        if self.message_bytes < self.frame_bytes {
            return Err(OptionError::new(
                "max_message_size",
                self.message_bytes,
                "at least `max_frame_size`",
            ));
        }
        if self.frames == 0 {
            return Err(OptionError::new("max_frames", 0, "at least 1 frame"));
        }
        Ok(())
    }
}

impl Default for MessageLimits {
    fn default() -> Self {
        MessageLimits {
            frame_bytes: 64 << 20,
            // Room for a frame of the largest size and an envelope around it.
            message_bytes: 128 << 20,
            // Every frame costs the receiver a few words however small it is; 64 Ki frames are far
            // above any envelope, and keep that cost below the byte limits.
            frames: 1 << 16,
        }
    }
}

impl SubscriptionLimits {
    pub(super) fn validate(&self) -> Result<(), OptionError> {
        for (option, given) in [("max_topics", self.topics), ("max_groups", self.groups)] {
            if given == 0 {
                return Err(OptionError::new(option, given, "from 1 to 4294967295"));
            }
        }
        if self.topic_bytes == 0 || u64::from(self.topic_bytes) > self.total_bytes {
            // As much as all topics of a peer together, which is no option.
            return Err(OptionError::new(
                "max_topic_length",
                self.topic_bytes,
                "from 1 to 67108864 octets",
            ));
        }
        Ok(())
    }
}

impl Default for SubscriptionLimits {
    fn default() -> Self {
        SubscriptionLimits {
            topics: 1 << 20,
            groups: 1 << 20,
            topic_bytes: 64 << 10,
            // A million topics of 64 octets each.
            total_bytes: 64 << 20,
        }
    }
}

const UNLIMITED: u64 = u64::MAX;
const DEFAULT_MESSAGES: u64 = 1000;
/// One message of the largest default size fits.
const DEFAULT_BYTES: u64 = 64 << 20;
