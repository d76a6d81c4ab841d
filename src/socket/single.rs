//! Messages of a single frame: what SCATTER, GATHER, CLIENT, SERVER, PEER and CHANNEL are limited to.

use std::sync::Arc;

use super::balanced::Balanced;
use super::builder::sealed::Assemble;
use super::common::{
    peer_methods, pollable, recv_methods, send_methods, shell_methods, socket_traits,
};
use super::deadline::{Deadline, Discarded};
use super::inbound::RecvHalf;
use super::relay::relay;
use super::shell::Shell;
use super::SocketBuilder;
use crate::config::SocketConfig;
use crate::context::Context;
use crate::error::{RecvError, SendError, SendFailure};
use crate::io::{NoHooks, Port};
use crate::message::{IntoMessage, Message};
use crate::socket_type::SocketType;

/// A message of one frame.
///
/// # Errors
/// If it has more. It comes back.
pub(super) fn single(message: Message) -> Result<Message, SendError> {
    match message.frame_count() {
        1 => Ok(message),
        frames => Err(SendError::new(SendFailure::Multipart { frames }, message)),
    }
}

/// Discards and counts messages of several frames that were received.
#[derive(Debug, Default)]
pub(super) struct SingleFilter {
    discarded: Discarded,
}

impl SingleFilter {
    /// The message, if it has one frame.
    ///
    /// # Errors
    /// If it has not, and the time is over.
    pub(super) fn pass(
        &mut self,
        inbound: &mut RecvHalf,
        message: Message,
        deadline: Deadline,
    ) -> Result<Option<Message>, RecvError> {
        if message.frame_count() == 1 {
            return Ok(Some(message));
        }
        inbound.drop_last();
        self.discarded.one(deadline)?;
        Ok(None)
    }
}

/// Sends each message to one of its peers, in turn, as [`Push`](crate::Push) does: but messages of a
/// single frame only. Its peers are [`Gather`] sockets.
///
/// Source: 49/SCATGAT.
///
/// ```
/// use sinew::{Gather, Message, Scatter, SendFailure};
///
/// let mut gather = Gather::new();
/// let endpoint = gather.bind("tcp://127.0.0.1:*")?;
/// let mut scatter = Scatter::new();
/// scatter.connect(&endpoint)?;
/// scatter.send("work")?;
/// assert_eq!(gather.recv()?.as_bytes(), b"work");
///
/// let refused = scatter.send(Message::multipart(["two", "frames"])).unwrap_err();
/// assert_eq!(refused.reason(), SendFailure::Multipart { frames: 2 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Scatter {
    out: Balanced,
    shell: Shell,
}

impl Assemble for Scatter {
    type Options = ();

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let port = Port::new(
            SocketType::Scatter,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        Scatter {
            out: Balanced::new(Arc::clone(&port)),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Scatter {
    shell_methods!(Scatter, out);
    send_methods!();

    #[inline]
    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        if message.as_payload().is_some() {
            return self.out.send(message, &deadline);
        }
        self.out.send(single(message.into())?, &deadline)
    }
}

/// Receives messages from all of its peers in turn, as [`Pull`](crate::Pull) does: but messages of a
/// single frame only. Others are discarded whole, and counted
/// ([`SocketStats::dropped_unexpected`](crate::SocketStats::dropped_unexpected)). Its peers are
/// [`Scatter`] sockets, where an example is.
///
/// Source: 49/SCATGAT.
#[derive(Debug)]
pub struct Gather {
    inbound: RecvHalf,
    filter: SingleFilter,
    shell: Shell,
}

impl Assemble for Gather {
    type Options = ();

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let port = Port::new(
            SocketType::Gather,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        Gather {
            inbound: RecvHalf::new(Arc::clone(&port)),
            filter: SingleFilter::default(),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Gather {
    shell_methods!(Gather, inbound);
    recv_methods!();

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        loop {
            let message = self.inbound.recv(deadline)?;
            let inbound = &mut self.inbound;
            if let Some(message) = self.filter.pass(inbound, message, deadline)? {
                return Ok(message);
            }
        }
    }
}

socket_traits!(Scatter);
socket_traits!(Gather);
peer_methods!(Gather, inbound);
relay!(Scatter: deals out);
relay!(Gather: receives inbound);
pollable!(Scatter, |socket, time| read: false, write: socket.out.is_ready(time));
pollable!(Gather, |socket, time| read: socket.inbound.is_ready(time), write: false);
