//! What sockets can do, for code that is generic over them.

use std::task::{Context, Poll};

use super::builder::sealed::Sealed;
use super::{
    Channel, Client, Datagram, Dealer, Dgram, Dish, Gather, Pair, Peer, Pub, Pull, Push, Radio,
    Rep, Req, Router, Scatter, Server, Stream, Sub, XPub, XSub,
};
use crate::error::{RecvError, SendError};
use crate::message::{Frame, Group, Message};

/// What receives: sockets, and their receiving parts. For code that is generic over them, such as
/// [`Shared`](crate::Shared). It cannot be implemented elsewhere.
pub trait Receiver: Sealed {
    /// What is received: a [`Message`], except by DISH and DGRAM.
    type Item;

    /// Receives if something is there.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`] if nothing is; see [`RecvError`] for others.
    fn try_recv(&mut self) -> Result<Self::Item, RecvError>;

    /// Receives if something is there; otherwise the task is woken when it may be worth another try.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Item, RecvError>>;
}

/// What sends messages: sockets, and their sending parts. For code that is generic over them, such as
/// [`Shared`](crate::Shared). It cannot be implemented elsewhere.
pub trait Sender: Sealed {
    /// Sends a message if that is possible now.
    ///
    /// # Errors
    /// [`WouldBlock`](crate::SendFailure::WouldBlock) if it is not. The message is in the error.
    fn try_send(&mut self, message: Message) -> Result<(), SendError>;

    /// Sends what is in `message` and takes it out if possible; otherwise the task is woken when it may be
    /// worth another try.
    ///
    /// # Errors
    /// See [`SendFailure`](crate::SendFailure); the message is in the error.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>>;
}

/// What a [`Shared`](crate::Shared) makes sense of: every socket and part of one, but REQ and REP. These take turns, so
/// the send of one handle would have to wait for the receive of another, and who receives would get the reply to
/// somebody else's request. It cannot be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` cannot be shared",
    label = "REQ and REP take turns: handles would get each other's replies",
    note = "many requests at once over one socket are what a `Requester` is for; a `Router` or `Dealer` serves many at once"
)]
pub trait Shareable: Sealed {}

macro_rules! shareable {
    ($($kind:ident),+) => {$(
        impl Shareable for $kind {}
    )+};
}

macro_rules! receivers {
    ($($kind:ident: $item:ty),+) => {$(
        impl Receiver for $kind {
            type Item = $item;

            #[inline]
            fn try_recv(&mut self) -> Result<$item, RecvError> {
                <$kind>::try_recv(self)
            }

            fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<$item, RecvError>> {
                self.poll_recv(cx)
            }
        }
    )+};
}

macro_rules! senders {
    ($try_send:ident: $($kind:ident),+) => {$(
        impl Sender for $kind {
            #[inline]
            fn try_send(&mut self, message: Message) -> Result<(), SendError> {
                <$kind>::$try_send(self, message)
            }

            fn poll_send(
                &mut self,
                cx: &mut Context<'_>,
                message: &mut Option<Message>,
            ) -> Poll<Result<(), SendError>> {
                self.poll_send(cx, message)
            }
        }
    )+};
}

shareable!(
    Channel, Client, Dealer, Dgram, Dish, Gather, Pair, Peer, Pub, Pull, Push, Radio, Router,
    Scatter, Server, Stream, Sub, XPub, XSub
);
receivers!(
    Channel: Message, Client: Message, Dealer: Message, Dgram: Datagram, Dish: (Group, Frame),
    Gather: Message, Pair: Message, Peer: Message, Pull: Message, Rep: Message, Req: Message,
    Router: Message, Server: Message, Stream: Message, Sub: Message, XPub: Message, XSub: Message
);
senders!(
    try_send: Channel, Client, Dealer, Pair, Peer, Pub, Push, Rep, Req, Router, Scatter, Server, Stream, XPub,
    XSub
);
senders!(try_send_message: Dgram, Radio);

impl<S: Shareable> Shareable for &mut S {}

impl<S: Receiver> Receiver for &mut S {
    type Item = S::Item;

    fn try_recv(&mut self) -> Result<S::Item, RecvError> {
        (**self).try_recv()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Item, RecvError>> {
        (**self).poll_recv(cx)
    }
}

impl<S: Sender> Sender for &mut S {
    fn try_send(&mut self, message: Message) -> Result<(), SendError> {
        (**self).try_send(message)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        (**self).poll_send(cx, message)
    }
}
