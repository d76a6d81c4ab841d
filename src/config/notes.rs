//! Messages that come of themselves when peers come and go.

use crate::message::Message;

/// What is sent to a new peer before anything else, and what is received when one is lost. Default:
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Notes {
    /// Sent first on every new connection.
    pub(crate) hello: Option<Message>,
    /// Whether an empty message follows it.
    pub(crate) probe: bool,
    /// Received from a peer that had connected and is lost.
    pub(crate) disconnect: Option<Message>,
    /// Received from a peer that this side had connected to and has lost.
    pub(crate) hiccup: Option<Message>,
    /// Whether an empty message is received from a new peer first. Not over inproc.
    pub(crate) notify_connect: bool,
    /// Whether an empty message is received from a peer that is lost. Not over inproc.
    pub(crate) notify_disconnect: bool,
}
