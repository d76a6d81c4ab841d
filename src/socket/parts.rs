//! What the parts of a split socket have of their kind alone: peers by name, subscriptions, datagrams.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{
    Datagram, Dgram, Peer, RecvPart, Router, SendPart, Server, Stream, SubscriptionEvent, XPub,
    XSub,
};
use crate::error::{ManualError, RecvError, SendError, SubscribeError, WaitTimeout};
use crate::message::{IntoMessage, Message, PeerId, RoutingId};

/// Sending to a peer that is named, and receiving with the name, by the parts of a kind that does so.
macro_rules! addressed {
    ($kind:ident, $send_id:ty, $id:ty) => {
        impl SendPart<$kind> {
            /// As that of the socket.
            ///
            /// # Errors
            /// As that of the socket; the message is in the error.
            pub fn send_to(
                &mut self,
                peer: $send_id,
                message: impl IntoMessage,
            ) -> Result<(), SendError> {
                self.socket().send_to(peer, message)
            }

            /// As that of the socket.
            ///
            /// # Errors
            /// As that of the socket; the message is in the error.
            pub fn try_send_to(
                &mut self,
                peer: $send_id,
                message: impl IntoMessage,
            ) -> Result<(), SendError> {
                self.socket().try_send_to(peer, message)
            }

            /// As that of the socket.
            ///
            /// # Errors
            /// As that of the socket; the message is in the error.
            pub fn send_to_timeout(
                &mut self,
                peer: $send_id,
                message: impl IntoMessage,
                timeout: Duration,
            ) -> Result<(), SendError> {
                self.socket().send_to_timeout(peer, message, timeout)
            }

            /// As that of the socket.
            ///
            /// # Cancel safety
            /// As that of the socket.
            ///
            /// # Errors
            /// As that of the socket; the message is in the error.
            pub async fn send_to_async(
                &mut self,
                peer: $send_id,
                message: impl IntoMessage,
            ) -> Result<(), SendError> {
                self.socket().send_to_async(peer, message).await
            }
        }

        impl RecvPart<$kind> {
            /// As that of the socket.
            ///
            /// # Errors
            /// See [`RecvError`]; nothing is consumed then.
            pub fn recv_from(&mut self) -> Result<($id, Message), RecvError> {
                self.socket().recv_from()
            }

            /// As that of the socket.
            ///
            /// # Errors
            /// See [`RecvError`]; nothing is consumed then.
            pub fn try_recv_from(&mut self) -> Result<($id, Message), RecvError> {
                self.socket().try_recv_from()
            }

            /// As that of the socket.
            ///
            /// # Errors
            /// See [`RecvError`]; nothing is consumed then.
            pub fn recv_from_timeout(
                &mut self,
                timeout: Duration,
            ) -> Result<($id, Message), RecvError> {
                self.socket().recv_from_timeout(timeout)
            }

            /// As that of the socket.
            ///
            /// # Cancel safety
            /// Nothing is consumed before the future is ready: dropping it loses nothing.
            ///
            /// # Errors
            /// See [`RecvError`]; nothing is consumed then.
            pub async fn recv_from_async(&mut self) -> Result<($id, Message), RecvError> {
                self.socket().recv_from_async().await
            }
        }
    };
}

addressed!(Router, impl AsRef<[u8]>, RoutingId);
addressed!(Stream, impl AsRef<[u8]>, RoutingId);
addressed!(Server, PeerId, PeerId);
addressed!(Peer, PeerId, PeerId);

/// Datagrams, with the addresses they go to, by the sending part.
impl SendPart<Dgram> {
    /// As [`Dgram::send_to`].
    ///
    /// # Errors
    /// As that; the datagram is in the error.
    pub fn send_to(&mut self, peer: SocketAddr, body: impl Into<Bytes>) -> Result<(), SendError> {
        self.socket().send_to(peer, body)
    }

    /// As [`Dgram::try_send_to`].
    ///
    /// # Errors
    /// As that; the datagram is in the error.
    pub fn try_send_to(
        &mut self,
        peer: SocketAddr,
        body: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        self.socket().try_send_to(peer, body)
    }

    /// As [`Dgram::send_to_timeout`].
    ///
    /// # Errors
    /// As that; the datagram is in the error.
    pub fn send_to_timeout(
        &mut self,
        peer: SocketAddr,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.socket().send_to_timeout(peer, body, timeout)
    }

    /// As [`Dgram::send_to_async`].
    ///
    /// # Cancel safety
    /// As that of the socket.
    ///
    /// # Errors
    /// As that of the socket; the datagram is in the error.
    pub async fn send_to_async(
        &mut self,
        peer: SocketAddr,
        body: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        self.socket().send_to_async(peer, body).await
    }
}

/// Datagrams, with the addresses they come from, by the receiving part. Its [`recv`](RecvPart::recv) gives the same as
/// messages of two frames.
impl RecvPart<Dgram> {
    /// As [`Dgram::recv`].
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv_from(&mut self) -> Result<Datagram, RecvError> {
        self.socket().recv()
    }

    /// As [`Dgram::try_recv`].
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn try_recv_from(&mut self) -> Result<Datagram, RecvError> {
        self.socket().try_recv()
    }

    /// As [`Dgram::recv_timeout`].
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv_from_timeout(&mut self, timeout: Duration) -> Result<Datagram, RecvError> {
        self.socket().recv_timeout(timeout)
    }

    /// As [`Dgram::recv_async`].
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_from_async(&mut self) -> Result<Datagram, RecvError> {
        self.socket().recv_async().await
    }
}

/// Who subscribes to an XPUB, by the sending part.
impl SendPart<XPub> {
    /// As [`XPub::wait_for_subscribers`].
    ///
    /// # Errors
    /// If there were fewer when the time was over.
    pub fn wait_for_subscribers(
        &mut self,
        count: usize,
        timeout: Duration,
    ) -> Result<(), WaitTimeout> {
        self.socket().wait_for_subscribers(count, timeout)
    }

    /// As [`XPub::wait_for_subscribers_of`].
    ///
    /// # Errors
    /// If there were fewer when the time was over.
    pub fn wait_for_subscribers_of(
        &mut self,
        topic: impl AsRef<[u8]>,
        count: usize,
        timeout: Duration,
    ) -> Result<(), WaitTimeout> {
        self.socket().wait_for_subscribers_of(topic, count, timeout)
    }

    /// As [`XPub::wait_for_subscribers_async`]. Dropping the future ends the wait and changes nothing.
    pub async fn wait_for_subscribers_async(&mut self, count: usize) {
        self.socket().wait_for_subscribers_async(count).await;
    }

    /// As [`XPub::wait_for_subscribers_of_async`]. Dropping the future ends the wait and changes nothing.
    pub async fn wait_for_subscribers_of_async(&mut self, topic: impl AsRef<[u8]>, count: usize) {
        let socket = self.socket();
        socket.wait_for_subscribers_of_async(topic, count).await;
    }
}

/// Subscribing, by the receiving part.
impl RecvPart<XSub> {
    /// As [`XSub::subscribe`].
    ///
    /// # Errors
    /// As for [`XSub::subscribe`].
    pub fn subscribe(&mut self, prefix: impl AsRef<[u8]>) -> Result<(), SubscribeError> {
        self.socket().subscribe(prefix)
    }

    /// As [`XSub::unsubscribe`].
    pub fn unsubscribe(&mut self, prefix: impl AsRef<[u8]>) -> bool {
        self.socket().unsubscribe(prefix)
    }
}

/// What an XPUB receives with types, by the receiving part.
impl RecvPart<XPub> {
    /// As [`XPub::recv_event`].
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn recv_event(&mut self) -> Result<SubscriptionEvent, RecvError> {
        self.socket().recv_event()
    }

    /// As [`XPub::try_recv_event`].
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub fn try_recv_event(&mut self) -> Result<SubscriptionEvent, RecvError> {
        self.socket().try_recv_event()
    }

    /// As [`XPub::recv_event_async`].
    ///
    /// # Cancel safety
    /// Nothing is consumed before the future is ready: dropping it loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    pub async fn recv_event_async(&mut self) -> Result<SubscriptionEvent, RecvError> {
        self.socket().recv_event_async().await
    }

    /// As [`XPub::subscribe`].
    ///
    /// # Errors
    /// As for [`XPub::subscribe`].
    pub fn subscribe(&mut self, topic: impl AsRef<[u8]>) -> Result<bool, ManualError> {
        self.socket().subscribe(topic)
    }

    /// As [`XPub::unsubscribe`].
    ///
    /// # Errors
    /// As for [`XPub::unsubscribe`].
    pub fn unsubscribe(&mut self, topic: impl AsRef<[u8]>) -> Result<bool, ManualError> {
        self.socket().unsubscribe(topic)
    }
}
