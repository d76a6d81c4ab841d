//! Dealing messages out: what PUSH and SCATTER have in common.

use std::sync::Arc;

use super::deadline::Deadline;
use super::outbound::SendHalf;
use super::shell::Ending;
use super::wire::WireSink;
use crate::error::SendError;
use crate::io::Port;
use crate::message::{IntoMessage, Message};
use crate::pipe::Reader;

/// A sending half that gives each message to one peer, in turn, and what a lost peer had not been sent to
/// others.
#[derive(Debug)]
pub(super) struct Balanced {
    out: SendHalf,
    /// What a lost peer had not been sent, while it is being sent to others.
    rest: Option<(Reader, Option<Message>)>,
}

impl Balanced {
    pub(super) fn new(port: Arc<Port>) -> Self {
        Balanced {
            out: SendHalf::new(port).keep_unsent(),
            rest: None,
        }
    }

    /// Takes note of what has changed.
    pub(super) fn refresh(&mut self) {
        self.out.refresh();
    }

    /// The pipes, unless what lost peers had not been sent comes first.
    pub(super) fn wire(&mut self) -> Option<&mut dyn WireSink> {
        self.out.refresh();
        match self.has_rest() {
            true => None,
            false => self.out.wire(),
        }
    }

    // Of the deadline only a part has been stored, just now: a copy of all of it would wait until that, and all that was
    // stored before, has reached the cache. Hence the reference.
    #[inline]
    pub(super) fn send(
        &mut self,
        message: impl IntoMessage,
        deadline: &Deadline,
    ) -> Result<(), SendError> {
        if let Some(payload) = message.as_payload() {
            if !self.has_rest() && self.out.send_short(payload) {
                return Ok(());
            }
        }
        self.send_otherwise(message, deadline)
    }

    #[inline(never)]
    fn send_otherwise(
        &mut self,
        message: impl IntoMessage,
        deadline: &Deadline,
    ) -> Result<(), SendError> {
        if !self.has_rest() {
            if let Some(payload) = message.as_payload() {
                if self.out.try_send_payload(payload, deadline).is_some() {
                    return Ok(());
                }
            } else {
                let mut message = message.into();
                if self.out.try_send(&mut message).is_some() {
                    return Ok(());
                }
                return self.send_slow(message, *deadline);
            }
        }
        self.send_slow(message.into(), *deadline)
    }

    #[cold]
    #[inline(never)]
    fn send_slow(&mut self, message: Message, deadline: Deadline) -> Result<(), SendError> {
        // What lost peers had not been sent comes first.
        while self.has_rest() {
            if self.resend(deadline) {
                return Err(SendError::new(self.out.no_room(deadline), message));
            }
        }
        self.out.send(message, deadline).map(|_| ())
    }

    /// Whether a peer can take a message; a task is woken when one may be able to.
    pub(super) fn is_ready(&mut self, deadline: Deadline) -> bool {
        self.send_rest(deadline) && self.out.is_ready(deadline)
    }

    /// Sends what lost peers had not been sent; `false` if the time was over before.
    fn send_rest(&mut self, deadline: Deadline) -> bool {
        self.out.refresh();
        while self.has_rest() {
            if self.resend(deadline) {
                return false;
            }
        }
        true
    }

    fn has_rest(&self) -> bool {
        self.rest.is_some() || self.out.has_unsent()
    }

    /// Sends what lost peers had not been sent to others; `true` if the time was over before.
    #[cold]
    fn resend(&mut self, deadline: Deadline) -> bool {
        loop {
            let (mut reader, first) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.out.take_unsent() {
                    Some(reader) => (reader, None),
                    None => return false,
                },
            };
            let mut next = first.or_else(|| reader.read_message());
            while let Some(mut message) = next {
                if self.out.try_send(&mut message).is_none() {
                    self.rest = Some((reader, Some(message)));
                    return !self.out.wait(deadline);
                }
                next = reader.read_message();
            }
        }
    }

    fn count_rest(&mut self) -> u64 {
        let mut lost = 0;
        if let Some((reader, first)) = self.rest.take() {
            lost += reader.queued_messages() + u64::from(first.is_some());
        }
        while let Some(reader) = self.out.take_unsent() {
            lost += reader.queued_messages();
        }
        lost
    }
}

impl Ending for Balanced {
    fn flush(&mut self, deadline: Deadline) -> bool {
        self.out.linger();
        self.send_rest(deadline)
    }

    fn finish(&mut self) -> u64 {
        let lost = self.count_rest();
        lost + self.out.finish()
    }
}
