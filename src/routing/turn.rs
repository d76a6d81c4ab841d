//! The one mistake a caller of a lock-step socket can make: acting out of turn.

use std::fmt;

use crate::message::Message;

/// An operation the automaton is not ready for, named by what it expects instead. Nothing has
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum OutOfTurn {
    /// REQ: a reply is awaited, and must be received (or given up) before the next request.
    ReplyAwaited,
    /// REQ: there is no request out, so no reply can come; send one first.
    NoRequestSent,
    /// REP: a reply is owed, and must be sent (or given up) before the next request is received.
    ReplyOwed,
    /// REP: there is no request to reply to; receive one first.
    NoRequestReceived,
}

impl fmt::Display for OutOfTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutOfTurn::ReplyAwaited => "expected receive: the reply to the last request is awaited",
            OutOfTurn::NoRequestSent => "expected send: there is no request to receive a reply to",
            OutOfTurn::ReplyOwed => "expected send: the reply to the last request is owed",
            OutOfTurn::NoRequestReceived => "expected receive: there is no request to reply to",
        })
    }
}

impl std::error::Error for OutOfTurn {}

/// A message that was not taken, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) reason: OutOfTurn,
    /// The message as it was given.
    pub(crate) message: Message,
}
