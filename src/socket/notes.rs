//! The options of messages that come of themselves when peers come and go, written once: every kind has
//! the ones that make sense for it. What kinds that know messages of a single frame say is one.

use super::{Client, Dealer, Peer, Rep, Req, Router, Server, SocketBuilder};
use crate::message::{Frame, Message};

macro_rules! note_options {
    ($kind:ident, $content:ty: $($option:ident),+) => {
        impl SocketBuilder<$kind> {
            $(note_options!(@$option $content);)+
        }
    };
    (@hello_message $content:ty) => {
        /// A message that every new peer is sent before anything else, also when a connection is made
        /// again; no larger than [`max_send_size`](Self::max_send_size) allows. Default: none.
        pub fn hello_message(mut self, message: impl Into<$content>) -> Self {
            let message: $content = message.into();
            self.config.notes.hello = Some(Message::from(message));
            self
        }
    };
    (@probe_router $content:ty) => {
        /// Whether every new peer is sent an empty message first, so that a ROUTER there learns the
        /// routing id. Default: no.
        pub fn probe_router(mut self, probe: bool) -> Self {
            self.config.notes.probe = probe;
            self
        }
    };
    (@disconnect_message $content:ty) => {
        /// A message that is received from a peer that had connected to this socket and is lost, behind
        /// what it had sent, as if it had sent that, too; on top of the high-water mark, if so much of the peer is unread
        /// that its pipe is full. No larger than [`max_send_size`](Self::max_send_size) allows: it is received like a message
        /// of such a socket. Default: none.
        pub fn disconnect_message(mut self, message: impl Into<$content>) -> Self {
            let message: $content = message.into();
            self.config.notes.disconnect = Some(Message::from(message));
            self
        }
    };
    (@hiccup_message $content:ty) => {
        /// A message that is received from a peer that this socket had connected to whenever the
        /// connection is lost, as if the peer had sent it. It is dropped and counted
        /// ([`dropped_full`](crate::SocketStats::dropped_full)) if so much of the peer is unread that
        /// its pipe is full, and the connection is to be made again. No larger than [`max_send_size`](Self::max_send_size) allows: it is received like a message
        /// of such a socket. Default: none.
        pub fn hiccup_message(mut self, message: impl Into<$content>) -> Self {
            let message: $content = message.into();
            self.config.notes.hiccup = Some(Message::from(message));
            self
        }
    };
    (@notify_connect $content:ty) => {
        /// Whether an empty message is received from each new peer, before anything it sends. Not over
        /// inproc. Default: no.
        pub fn notify_connect(mut self, notify: bool) -> Self {
            self.config.notes.notify_connect = notify;
            self
        }
    };
    (@notify_disconnect $content:ty) => {
        /// Whether an empty message is received from each peer that is lost, behind what it had sent; on top of the
        /// high-water mark, if so much of the peer is unread that its pipe is full. Of a peer that this socket had
        /// connected to, and connects to again, it is dropped and counted then
        /// ([`dropped_full`](crate::SocketStats::dropped_full)). Not over inproc. Default: no.
        pub fn notify_disconnect(mut self, notify: bool) -> Self {
            self.config.notes.notify_disconnect = notify;
            self
        }
    };
}

note_options!(Req, Message: probe_router);
note_options!(Rep, Message: hello_message, probe_router, disconnect_message);
note_options!(Dealer, Message: hello_message, probe_router, hiccup_message);
note_options!(Client, Frame: hello_message, hiccup_message);
note_options!(Server, Frame: hello_message, disconnect_message);
note_options!(Peer, Frame: hello_message, disconnect_message, hiccup_message);
note_options!(Router, Message: hello_message, probe_router, disconnect_message, notify_connect, notify_disconnect);
