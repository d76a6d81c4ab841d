//! The pipeline (30/PIPELINE): PUSH deals messages out, PULL collects them.

use std::sync::Arc;

use super::balanced::Balanced;
use super::builder::sealed::Assemble;
use super::common::{
    conflate_option, peer_methods, pollable, recv_methods, send_methods, shell_methods,
    socket_traits,
};
use super::deadline::Deadline;
use super::inbound::RecvHalf;
use super::relay::relay;
use super::shell::Shell;
use super::SocketBuilder;
use crate::config::SocketConfig;
use crate::context::Context;
use crate::error::{RecvError, SendError};
use crate::io::{NoHooks, Port};
use crate::message::{IntoMessage, Message};
use crate::socket_type::SocketType;

/// Sends each message to one of its peers, in turn; a peer that is at its high-water mark is skipped
/// until it has room. Nothing is dropped: with no peer that can take a message, `send` waits.
///
/// Source: 30/PIPELINE, "The PUSH Socket Type".
///
/// Messages that were queued for a peer whose connection is lost for good are sent to another, by the
/// next call that sends or closes.
///
/// ```
/// use sinew::{Pull, Push};
///
/// let mut pull = Pull::new();
/// let endpoint = pull.bind("tcp://127.0.0.1:*")?;
/// let mut push = Push::new();
/// push.connect(&endpoint)?;
/// push.send("work")?;
/// assert_eq!(pull.recv()?.as_bytes(), b"work");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There is nothing to receive:
///
/// ```compile_fail,E0599
/// sinew::Push::new().recv();
/// ```
#[derive(Debug)]
pub struct Push {
    out: Balanced,
    shell: Shell,
}

impl Assemble for Push {
    type Options = ();

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let port = Port::new(
            SocketType::Push,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        Push {
            out: Balanced::new(Arc::clone(&port)),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Push {
    shell_methods!(Push, out);
    send_methods!();

    #[inline]
    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        self.out.send(message, &deadline)
    }
}

/// Receives messages from all of its peers in turn, one whole message from each that has any.
///
/// Source: 30/PIPELINE, "The PULL Socket Type".
///
/// ```
/// use std::time::Duration;
/// use sinew::{Pull, RecvError};
///
/// let mut pull = Pull::builder().bind("inproc://pull-docs")?;
/// assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
/// assert_eq!(pull.recv_timeout(Duration::from_millis(1)), Err(RecvError::Timeout));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There is nothing to send, and nothing to subscribe to:
///
/// ```compile_fail,E0599
/// sinew::Pull::new().send("x");
/// ```
/// ```compile_fail,E0599
/// sinew::Pull::new().subscribe("");
/// ```
#[derive(Debug)]
pub struct Pull {
    inbound: RecvHalf,
    shell: Shell,
}

impl Assemble for Pull {
    type Options = ();

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let port = Port::new(
            SocketType::Pull,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        Pull {
            inbound: RecvHalf::new(Arc::clone(&port)),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Pull {
    shell_methods!(Pull, inbound);
    recv_methods!(|socket| socket.inbound.at_hand());

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.inbound.recv(deadline)
    }
}

socket_traits!(Push);
socket_traits!(Pull);
conflate_option!(Push);
conflate_option!(Pull);
peer_methods!(Pull, inbound);
relay!(Push: deals_wire out);
relay!(Pull: receives_wire inbound);
pollable!(Push, |socket, time| read: false, write: socket.out.is_ready(time));
pollable!(Pull, |socket, time| read: socket.inbound.is_ready(time), write: false);
