//! The replying side of 28/REQREP: one request in, its reply out, in turn.
//!
//! A request arrives as `[address …] [empty] [body …]`: what the requester and the routers on the way
//! put before the delimiter is the envelope, kept here and put before the reply, so that it finds its
//! way back. A message without a delimiter is no request and is discarded.
//!
//! The envelope's frames are kept in a list that is used again, so that a request straight from a REQ
//! (an envelope of nothing but the delimiter) allocates nothing here. Bodies are moved, not copied.
//!
//! What this is not: it does not know whether the requester is still there. The reply names its peer,
//! and the socket looks it up.

#[cfg(test)]
use super::Refused;
use super::{OutOfTurn, PeerKey};
use crate::message::{Frame, Message};

/// A message from a peer that is no request, and is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum RequestDiscarded {
    /// A reply is owed; the socket should not have read on.
    OutOfTurn,
    /// None of its frames is empty.
    NoDelimiter,
    /// Nothing follows the delimiter.
    NoBody,
    /// The delimiter is not among the first frames, as many as an envelope may have.
    EnvelopeTooLong,
}

/// Where a replier stands.
#[derive(Debug)]
pub(crate) struct RepState {
    envelope_limit: usize,
    owed_to: Option<PeerKey>,
    /// Up to and with the delimiter; empty if no reply is owed.
    envelope: Vec<Frame>,
}

impl RepState {
    /// No reply is owed. An envelope may have up to `envelope_limit` frames, counting the delimiter:
    /// one, one more for an id, and one for every router on the way.
    pub(crate) const fn new(envelope_limit: usize) -> Self {
        RepState {
            envelope_limit,
            owed_to: None,
            envelope: Vec::new(),
        }
    }

    /// Takes a request from a peer: returns its body, and a reply is owed from now on.
    ///
    /// # Errors
    /// If it is no request; nothing has changed.
    pub(crate) fn accept(
        &mut self,
        from: PeerKey,
        message: Message,
    ) -> Result<Message, RequestDiscarded> {
        if self.owed_to.is_some() {
            return Err(RequestDiscarded::OutOfTurn);
        }
        let frames = message.frames();
        let envelope = &frames[..frames.len().min(self.envelope_limit)];
        let Some(delimiter) = envelope.iter().position(|frame| frame.is_empty()) else {
            return Err(if envelope.len() < frames.len() {
                RequestDiscarded::EnvelopeTooLong
            } else {
                RequestDiscarded::NoDelimiter
            });
        };
        if delimiter + 1 == frames.len() {
            return Err(RequestDiscarded::NoBody);
        }
        self.owed_to = Some(from);
        // Taking frames off one by one would move the body each time.
        let mut message = message;
        self.envelope.extend(message.drain_front(delimiter + 1));
        Ok(message)
    }

    /// The peer a reply is owed to and the frames that go before it: for callers that write frames
    /// without making a message of them. They call [`RepState::replied`] after that.
    ///
    /// # Errors
    /// If no reply is owed.
    #[inline]
    pub(crate) fn envelope(&self) -> Result<(PeerKey, &[Frame]), OutOfTurn> {
        let peer = self.owed_to.ok_or(OutOfTurn::NoRequestReceived)?;
        Ok((peer, &self.envelope))
    }

    /// The reply `message` as it goes over the wire, and where to; no reply is owed from now on.
    ///
    /// # Errors
    /// If no reply is owed, with the message.
    #[cfg(test)]
    pub(crate) fn reply(&mut self, message: Message) -> Result<(PeerKey, Message), Refused> {
        let Some(peer) = self.owed_to.take() else {
            return Err(Refused {
                reason: OutOfTurn::NoRequestReceived,
                message,
            });
        };
        let envelope = self.envelope.drain(..);
        let wire = match message.frames() {
            // One list, instead of one for the body before.
            [body] => Message::multipart(envelope.chain([body.clone()])),
            _ => Message::multipart(envelope.chain(message)),
        };
        Ok((peer, wire))
    }

    /// The reply was sent, or given up: none is owed.
    pub(crate) fn replied(&mut self) {
        self.owed_to = None;
        self.envelope.clear();
    }

    /// The peer a reply is owed to.
    #[inline]
    pub(crate) fn owed_to(&self) -> Option<PeerKey> {
        self.owed_to
    }

    /// Whether a request may be received.
    ///
    /// # Errors
    /// If a reply is owed.
    pub(crate) fn check_receive(&self) -> Result<(), OutOfTurn> {
        match self.owed_to {
            Some(_) => Err(OutOfTurn::ReplyOwed),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerKey = PeerKey {
        index: 0,
        generation: 5,
    };

    fn frames(frames: &[&[u8]]) -> Message {
        Message::multipart(frames.iter().copied())
    }

    #[test]
    fn a_reply_goes_back_in_its_envelope() {
        let mut rep = RepState::new(5);
        for envelope in [
            &[&b""[..]][..],
            &[b"id", b""],
            &[b"router", b"id", b""],
            &[b"1", b"2", b"3", b"4", b""],
        ] {
            for body in [&[&b"b"[..]][..], &[b""], &[b"b", b"", b"c"]] {
                let body = frames(body);
                let wire = Message::multipart(frames(envelope).into_iter().chain(body.clone()));
                assert_eq!(rep.check_receive(), Ok(()));
                assert_eq!(rep.accept(PEER, wire.clone()), Ok(body.clone()));
                assert_eq!(rep.check_receive(), Err(OutOfTurn::ReplyOwed));
                assert_eq!(rep.owed_to(), Some(PEER));
                assert_eq!(rep.envelope().unwrap().1, frames(envelope).frames());
                assert_eq!(
                    rep.accept(PEER, wire.clone()),
                    Err(RequestDiscarded::OutOfTurn)
                );
                let (peer, reply) = rep.reply(body).unwrap();
                assert_eq!((peer, reply), (PEER, wire));
                assert_eq!(rep.owed_to(), None);
            }
        }
    }

    #[test]
    fn what_is_no_request() {
        let mut rep = RepState::new(2);
        for (message, why) in [
            (frames(&[b"x"]), RequestDiscarded::NoDelimiter),
            (frames(&[b"x", b"y"]), RequestDiscarded::NoDelimiter),
            (frames(&[b""]), RequestDiscarded::NoBody),
            (frames(&[b"x", b""]), RequestDiscarded::NoBody),
            (
                frames(&[b"x", b"y", b"", b"z"]),
                RequestDiscarded::EnvelopeTooLong,
            ),
        ] {
            assert_eq!(rep.accept(PEER, message), Err(why));
            assert_eq!(rep.owed_to(), None);
        }
        let refused = rep.reply(Message::from("r")).unwrap_err();
        assert_eq!(refused.reason, OutOfTurn::NoRequestReceived);
        assert_eq!(refused.message, Message::from("r"));
        assert_eq!(rep.envelope(), Err(OutOfTurn::NoRequestReceived));
    }

    #[test]
    fn a_reply_given_up_leaves_nothing_behind() {
        let mut rep = RepState::new(4);
        rep.accept(PEER, frames(&[b"old", b"", b"b"])).unwrap();
        rep.replied();
        rep.accept(PEER, frames(&[b"", b"b"])).unwrap();
        assert_eq!(
            rep.reply(Message::from("r")).unwrap().1,
            frames(&[b"", b"r"])
        );
    }

    #[test]
    fn large_bodies_are_not_copied() {
        let mut rep = RepState::new(4);
        let body = Frame::from(vec![1; 5000]);
        let at = body.as_ptr();
        for envelope in [1, 2, 4] {
            let mut wire = Message::new(body.clone());
            wire.push_front(Frame::default());
            (1..envelope).for_each(|_| wire.push_front("router"));
            let body = rep.accept(PEER, wire).unwrap();
            assert_eq!(body.as_bytes().as_ptr(), at);
            let (_, wire) = rep.reply(body).unwrap();
            assert_eq!(wire.frame(envelope).unwrap().as_ptr(), at);
        }
    }
}
