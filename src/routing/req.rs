//! The requesting side of 28/REQREP: one request out, its reply in, in turn.
//!
//! On the wire a request is `[id] [empty] [body …]`: the delimiter ends the envelope that routers on
//! the way add to, the optional id tells a late reply from the awaited one. Both are put on and taken
//! off here. A reply counts only from the peer that was sent the request, with its id and a delimiter;
//! anything else is discarded, whole. What is no reply at all, to no request of anybody's, says that its sender
//! speaks something else ([`ReplyDiscarded::Malformed`]).
//!
//! Two choices. *Strict*: the next request waits for the reply. *Relaxed*: a new request replaces the
//! awaited one. *Correlated*: requests carry an id; without it, a relaxed requester would take the
//! reply to its first request for the reply to the second.
//!
//! Calling order: [`ReqState::begin`] makes the message; when a pipe has taken it,
//! [`ReqState::sent_to`] says which; then [`ReqState::accept`] judges what arrives, until one is the
//! reply. A message made and not sent leaves no trace: [`ReqState::take_back`] undresses it.
//!
//! What this is not: it does not read pipes. The socket reads the pipe of
//! [`ReqState::awaiting`] only, and drops what other pipes delivered when a new request goes out.

use super::{OutOfTurn, PeerKey, Refused};
use crate::message::{Frame, Message};

/// How a [`ReqState`] behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReqConfig {
    /// Whether a request may replace one whose reply is awaited.
    pub(crate) relaxed: bool,
    /// Whether requests carry an id.
    pub(crate) correlated: bool,
    /// The id of the first request. Unpredictable, so that the ids of a restarted process do not
    /// meet replies to its predecessor.
    pub(crate) first_id: u32,
}

/// A message from a peer that was not the reply, and is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum ReplyDiscarded {
    /// No reply is awaited.
    NotAwaited,
    /// It is not from the peer that was sent the request.
    OtherPeer,
    /// It carries no id, or that of another request: a late reply, for instance.
    OtherId,
    /// It carries an id, and requests carry none.
    UnknownId,
    /// It is no reply to anything: an id of four octets if any, a delimiter, and a body of at least one
    /// frame. No sound peer sends that to a REQ socket.
    Malformed,
}

/// Where a requester stands.
#[derive(Debug)]
pub(crate) struct ReqState {
    config: ReqConfig,
    /// The id of the next request to be sent.
    next_id: u32,
    awaiting: Option<Awaiting>,
    /// What goes before a body: the id of the next request, the delimiter.
    envelope: [Frame; 2],
}

#[derive(Debug, Clone, Copy)]
struct Awaiting {
    peer: PeerKey,
    id: [u8; 4],
    /// Whether the request carried it.
    correlated: bool,
}

impl ReqState {
    /// No request is out.
    pub(crate) fn new(config: ReqConfig) -> Self {
        ReqState {
            config,
            next_id: config.first_id,
            awaiting: None,
            envelope: [id_frame(config.first_id), Frame::default()],
        }
    }

    /// From the next request on. The reply to one that is out is known as before.
    pub(crate) fn set_modes(&mut self, relaxed: bool, correlated: bool) {
        self.config.relaxed = relaxed;
        self.config.correlated = correlated;
    }

    /// The request `message` as it goes over the wire. Nothing changes until
    /// [`ReqState::sent_to`]; until then every call makes the same.
    ///
    /// # Errors
    /// In strict mode while a reply is awaited, with the message.
    pub(crate) fn begin(&mut self, message: Message) -> Result<Message, Refused> {
        match self.envelope() {
            Err(reason) => Err(Refused { reason, message }),
            Ok([delimiter]) => Ok(prefixed([delimiter.clone()], message)),
            Ok([id, delimiter, ..]) => Ok(prefixed([id.clone(), delimiter.clone()], message)),
            Ok([]) => Ok(message),
        }
    }

    /// What goes before the frames of the next request: for callers that write frames without
    /// making a message of them.
    ///
    /// # Errors
    /// In strict mode while a reply is awaited.
    #[inline]
    pub(crate) fn envelope(&self) -> Result<&[Frame], OutOfTurn> {
        if self.awaiting.is_some() && !self.config.relaxed {
            return Err(OutOfTurn::ReplyAwaited);
        }
        Ok(&self.envelope[usize::from(!self.config.correlated)..])
    }

    /// The request that was begun is on its way to `peer`. A reply awaited until now no longer is.
    pub(crate) fn sent_to(&mut self, peer: PeerKey) {
        self.awaiting = Some(Awaiting {
            peer,
            id: self.next_id.to_ne_bytes(),
            correlated: self.config.correlated,
        });
        if self.config.correlated {
            self.next_id = self.next_id.wrapping_add(1);
            self.envelope[0] = id_frame(self.next_id);
        }
    }

    /// The message that [`ReqState::begin`] was given, from what it made: for a request no pipe took.
    pub(crate) fn take_back(&self, begun: Message) -> Message {
        let mut message = begun;
        for _ in 0..self.envelope_len() {
            message.pop_front();
        }
        message
    }

    /// Judges a message from a peer: the body of the awaited reply, after which none is awaited, or
    /// something to discard.
    ///
    /// # Errors
    /// If it is not the awaited reply; nothing has changed.
    pub(crate) fn accept(
        &mut self,
        from: PeerKey,
        message: Message,
    ) -> Result<Message, ReplyDiscarded> {
        let envelope = self.check(from, message.frames())?;
        self.awaiting = None;
        let mut message = message;
        for _ in 0..envelope {
            message.pop_front();
        }
        Ok(message)
    }

    /// Why a message is discarded that came before the request which is about to be sent.
    pub(crate) fn check_late(message: &Message) -> ReplyDiscarded {
        match is_reply(message.frames()) {
            true => ReplyDiscarded::NotAwaited,
            false => ReplyDiscarded::Malformed,
        }
    }

    /// As [`ReqState::accept`] without taking anything: how many frames come before the body.
    fn check(&self, from: PeerKey, frames: &[Frame]) -> Result<usize, ReplyDiscarded> {
        if !is_reply(frames) {
            return Err(ReplyDiscarded::Malformed);
        }
        let awaiting = self.awaiting.ok_or(ReplyDiscarded::NotAwaited)?;
        if awaiting.peer != from {
            return Err(ReplyDiscarded::OtherPeer);
        }
        if awaiting.correlated && frames.first().map(Frame::as_slice) != Some(&awaiting.id) {
            return Err(ReplyDiscarded::OtherId);
        }
        if !awaiting.correlated && !frames[0].is_empty() {
            return Err(ReplyDiscarded::UnknownId);
        }
        Ok(1 + usize::from(awaiting.correlated))
    }

    /// A peer is gone. Returns whether the awaited reply is lost with it; none is awaited then.
    pub(crate) fn peer_lost(&mut self, peer: PeerKey) -> bool {
        let lost = self.awaiting() == Some(peer);
        if lost {
            self.awaiting = None;
        }
        lost
    }

    /// The only peer whose messages are of interest, if any.
    #[inline]
    pub(crate) fn awaiting(&self) -> Option<PeerKey> {
        self.awaiting.map(|awaiting| awaiting.peer)
    }

    /// Whether receiving makes sense.
    ///
    /// # Errors
    /// If no reply is awaited.
    pub(crate) fn check_receive(&self) -> Result<PeerKey, OutOfTurn> {
        self.awaiting().ok_or(OutOfTurn::NoRequestSent)
    }

    /// Gives the awaited reply up. If it still comes it is discarded, in correlated mode by its id;
    /// otherwise only until the next request to the same peer.
    pub(crate) fn cancel(&mut self) {
        self.awaiting = None;
    }

    /// At least 1: the delimiter.
    fn envelope_len(&self) -> usize {
        1 + usize::from(self.config.correlated)
    }
}

/// Whether these are the frames of a reply to some request: `[4 octets]? [empty] [body]+`.
fn is_reply(frames: &[Frame]) -> bool {
    match frames {
        [delimiter, _, ..] if delimiter.is_empty() => true,
        [id, delimiter, _, ..] => id.len() == 4 && delimiter.is_empty(),
        _ => false,
    }
}

/// Four octets as they are in memory: an id has a meaning only to the process that made it.
fn id_frame(id: u32) -> Frame {
    Frame::from(id.to_ne_bytes())
}

/// `message` behind `envelope`, in one allocation. Payloads are not copied, or inline.
fn prefixed<const N: usize>(envelope: [Frame; N], message: Message) -> Message {
    if let [body] = message.frames() {
        return Message::multipart(envelope.into_iter().chain([body.clone()]));
    }
    Message::multipart(envelope.into_iter().chain(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerKey = PeerKey {
        index: 3,
        generation: 1,
    };
    const OTHER: PeerKey = PeerKey {
        index: 3,
        generation: 2,
    };

    fn req(relaxed: bool, correlated: bool) -> ReqState {
        ReqState::new(ReqConfig {
            relaxed,
            correlated,
            first_id: u32::MAX,
        })
    }

    fn frames(frames: &[&[u8]]) -> Message {
        Message::multipart(frames.iter().copied())
    }

    #[test]
    fn strict_and_plain() {
        let mut req = req(false, false);
        assert_eq!(req.check_receive(), Err(OutOfTurn::NoRequestSent));
        let wire = req.begin(Message::from("question")).unwrap();
        assert_eq!(wire, frames(&[b"", b"question"]));
        req.sent_to(PEER);
        assert_eq!(req.awaiting(), Some(PEER));
        assert_eq!(req.check_receive(), Ok(PEER));

        let refused = req.begin(Message::from("again")).unwrap_err();
        assert_eq!(refused.reason, OutOfTurn::ReplyAwaited);
        assert_eq!(refused.message, Message::from("again"));

        for (from, message, why) in [
            (OTHER, frames(&[b"", b"x"]), ReplyDiscarded::OtherPeer),
            (OTHER, frames(&[b"x"]), ReplyDiscarded::Malformed),
            (PEER, frames(&[b"x"]), ReplyDiscarded::Malformed),
            (PEER, frames(&[b"x", b"", b"y"]), ReplyDiscarded::Malformed),
            (PEER, frames(&[b""]), ReplyDiscarded::Malformed),
            (PEER, frames(&[b"four", b""]), ReplyDiscarded::Malformed),
            (
                PEER,
                frames(&[b"four", b"", b"y"]),
                ReplyDiscarded::UnknownId,
            ),
        ] {
            assert_eq!(req.accept(from, message), Err(why));
            assert_eq!(req.awaiting(), Some(PEER));
        }
        let body = req
            .accept(PEER, frames(&[b"", b"answer", b"more"]))
            .unwrap();
        assert_eq!(body, frames(&[b"answer", b"more"]));
        assert_eq!(
            req.accept(PEER, frames(&[b"", b"answer"])),
            Err(ReplyDiscarded::NotAwaited)
        );
        assert!(req.begin(Message::from("next")).is_ok());
    }

    #[test]
    fn an_empty_body_is_a_body() {
        let mut req = req(false, false);
        req.begin(Message::default()).unwrap();
        req.sent_to(PEER);
        assert_eq!(
            req.accept(PEER, frames(&[b"", b""])),
            Ok(Message::default())
        );
    }

    #[test]
    fn a_late_reply_is_known_by_its_id() {
        let mut req = req(true, true);
        let first = req.begin(Message::from("one")).unwrap();
        assert_eq!(first, frames(&[&u32::MAX.to_ne_bytes(), b"", b"one"]));
        req.sent_to(PEER);
        let second = req.begin(frames(&[b"two", b"2"])).unwrap();
        assert_eq!(second, frames(&[&[0; 4], b"", b"two", b"2"]));
        req.sent_to(PEER);
        assert_eq!(
            req.accept(PEER, first.clone()),
            Err(ReplyDiscarded::OtherId)
        );
        assert_eq!(
            req.accept(PEER, frames(&[b"", b"plain"])),
            Err(ReplyDiscarded::OtherId)
        );
        assert_eq!(
            req.accept(PEER, frames(&[&[0; 4], b"x", b"y"])),
            Err(ReplyDiscarded::Malformed)
        );
        assert_eq!(
            req.accept(PEER, frames(&[&[0; 4]])),
            Err(ReplyDiscarded::Malformed)
        );
        assert_eq!(
            req.accept(PEER, frames(&[&[0; 4], b""])),
            Err(ReplyDiscarded::Malformed)
        );
        assert_eq!(req.accept(PEER, second), Ok(frames(&[b"two", b"2"])));
    }

    #[test]
    fn a_request_not_sent_leaves_no_trace() {
        for correlated in [false, true] {
            let mut req = req(true, correlated);
            req.begin(Message::from("first")).unwrap();
            req.sent_to(PEER);
            let message = frames(&[b"second", b"", b"2"]);
            let begun = req.begin(message.clone()).unwrap();
            assert_eq!(req.begin(message.clone()).unwrap(), begun);
            assert_eq!(req.take_back(begun), message);
            assert_eq!(req.awaiting(), Some(PEER), "the first is still awaited");
        }
    }

    #[test]
    fn the_request_is_lost_with_its_peer_only() {
        let mut req = req(false, true);
        req.begin(Message::from("q")).unwrap();
        req.sent_to(PEER);
        assert!(!req.peer_lost(OTHER));
        assert!(req.peer_lost(PEER));
        assert!(!req.peer_lost(PEER));
        assert_eq!(req.awaiting(), None);
        assert!(req.begin(Message::from("q")).is_ok());
    }

    #[test]
    fn cancelling_allows_the_next_request() {
        let mut req = req(false, true);
        let begun = req.begin(Message::from("q")).unwrap();
        req.sent_to(PEER);
        req.cancel();
        assert_eq!(
            req.accept(PEER, begun.clone()),
            Err(ReplyDiscarded::NotAwaited)
        );
        req.begin(Message::from("r")).unwrap();
        req.sent_to(PEER);
        assert_eq!(req.accept(PEER, begun), Err(ReplyDiscarded::OtherId));
    }

    #[test]
    fn large_bodies_are_not_copied() {
        let body = Frame::from(vec![1; 5000]);
        let at = body.as_ptr();
        let mut req = req(false, true);
        let begun = req.begin(Message::new(body)).unwrap();
        assert_eq!(begun.frame(2).unwrap().as_ptr(), at);
        req.sent_to(PEER);
        assert_eq!(req.accept(PEER, begun).unwrap().as_bytes().as_ptr(), at);
    }
}
