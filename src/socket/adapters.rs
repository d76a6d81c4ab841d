//! Sockets as the streams and sinks of the `futures` crates.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream as FuturesStream;
use futures_sink::Sink;

use super::roles::{Receiver, Sender};
use crate::error::{RecvError, SendError};
use crate::io::{Monitor, SocketEvent};
use crate::message::Message;

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
        self.socket.poll_recv(cx).map(Some)
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
        socket.poll_send(cx, unsent)
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
