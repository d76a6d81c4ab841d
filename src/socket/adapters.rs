//! Sockets as the streams and sinks of the `futures` crates.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream as FuturesStream;
use futures_sink::Sink;

use super::builder::sealed::Sealed;
use super::{
    Channel, Client, Datagram, Dealer, Dgram, Dish, Gather, Pair, Peer, Pub, Pull, Push, Radio,
    Rep, Req, Router, Scatter, Server, Stream, Sub, XPub, XSub,
};
use crate::error::{RecvError, SendError};
use crate::io::{Monitor, SocketEvent};
use crate::message::{Frame, Group, Message};

/// Sockets that receive: what [`Messages`] takes as a stream. It cannot be implemented elsewhere.
pub trait Receiver: Sealed {
    /// What is received: a [`Message`], except by DISH and DGRAM.
    type Item;

    /// Receives if something is there; otherwise the task is woken when it may be worth another try.
    ///
    /// # Errors
    /// See [`RecvError`]; nothing is consumed then.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Item, RecvError>>;
}

/// Sockets that send messages: what [`Messages`] takes as a sink. It cannot be implemented elsewhere.
pub trait Sender: Sealed {
    /// Sends what is in `message` and takes it out if possible; otherwise the task is woken when it may be
    /// worth another try.
    ///
    /// # Errors
    /// See [`SendFailure`](crate::SendFailure); the message is in the error.
    fn poll_next_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>>;
}

macro_rules! receivers {
    ($($kind:ident: $item:ty),+) => {$(
        impl Receiver for $kind {
            type Item = $item;

            fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<$item, RecvError>> {
                self.poll_recv(cx)
            }
        }
    )+};
}

macro_rules! senders {
    ($($kind:ident),+) => {$(
        impl Sender for $kind {
            fn poll_next_send(
                &mut self,
                cx: &mut Context<'_>,
                message: &mut Option<Message>,
            ) -> Poll<Result<(), SendError>> {
                self.poll_send(cx, message)
            }
        }
    )+};
}

receivers!(
    Channel: Message, Client: Message, Dealer: Message, Dgram: Datagram, Dish: (Group, Frame),
    Gather: Message, Pair: Message, Peer: Message, Pull: Message, Rep: Message, Req: Message,
    Router: Message, Server: Message, Stream: Message, Sub: Message, XPub: Message, XSub: Message
);
senders!(
    Channel, Client, Dealer, Dgram, Pair, Peer, Pub, Push, Radio, Rep, Req, Router, Scatter,
    Server, Stream, XPub, XSub
);

impl<S: Receiver> Receiver for &mut S {
    type Item = S::Item;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Item, RecvError>> {
        (**self).poll_next(cx)
    }
}

impl<S: Sender> Sender for &mut S {
    fn poll_next_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        (**self).poll_next_send(cx, message)
    }
}

/// A socket, or a mutable reference to one, as a stream of the messages it receives and a sink of those it
/// sends, for the combinators of the `futures` crates.
///
/// The stream never ends; an error is an item, and does not end it. The sink holds at most one message, from
/// when it is given until the socket takes it: dropping it between `start_send` and the end of a flush drops
/// that message. What is flushed is accepted by the socket, as by `send`. If sending fails, the message is in
/// the error, and the sink can go on.
///
/// ```
/// use futures::executor::block_on;
/// use futures::{SinkExt, StreamExt};
/// use sinew::{Messages, Pull, Push};
///
/// block_on(async {
///     let mut pull = Pull::new();
///     let endpoint = pull.bind("inproc://messages-docs")?;
///     let mut push = Messages::new(Push::builder().connect(&endpoint)?);
///     for work in ["one", "two"] {
///         push.send(work.into()).await?;
///     }
///     let mut done = Messages::new(&mut pull).take(2);
///     while let Some(message) = done.next().await {
///         println!("{:?}", message?);
///     }
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct Messages<S> {
    socket: S,
    unsent: Option<Message>,
}

impl<S> Messages<S> {
    /// The stream, or the sink, or both, of a socket.
    pub fn new(socket: S) -> Self {
        Messages {
            socket,
            unsent: None,
        }
    }

    /// The socket.
    pub fn get_ref(&self) -> &S {
        &self.socket
    }

    /// The socket, to be used in between.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// The socket, and the message that was given to the sink and not sent.
    pub fn into_inner(self) -> (S, Option<Message>) {
        (self.socket, self.unsent)
    }
}

impl<S: Receiver + Unpin> FuturesStream for Messages<S> {
    type Item = Result<S::Item, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.socket.poll_next(cx).map(Some)
    }
}

/// Ends when the socket is gone and every event has been read.
impl FuturesStream for Monitor {
    type Item = SocketEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SocketEvent>> {
        self.poll_recv(cx)
    }
}

impl<S: Sender + Unpin> Sink<Message> for Messages<S> {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Messages { socket, unsent } = &mut *self;
        socket.poll_next_send(cx, unsent)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        self.unsent = Some(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_ready(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_ready(cx)
    }
}
