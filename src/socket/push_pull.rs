//! The pipeline (30/PIPELINE): PUSH deals messages out, PULL collects them.

use std::sync::Arc;
use std::time::Instant;

use super::builder::sealed::Assemble;
use super::common::{recv_methods, send_methods, shell_methods, socket_traits};
use super::inbound::RecvHalf;
use super::outbound::{Deadline, SendHalf};
use super::shell::{CloseReport, Shell};
use super::SocketBuilder;
use crate::config::SocketConfig;
use crate::context::Context;
use crate::error::{RecvError, SendError, SendFailure};
use crate::io::{Counters, NoHooks, Port};
use crate::message::{IntoMessage, Message};
use crate::pipe::Reader;
use crate::socket_type::SocketType;

/// Sends each message to one of its peers, in turn; a peer that is at its high-water mark is skipped
/// until it has room. Nothing is dropped: with no peer that can take a message, `send` waits.
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
    out: SendHalf,
    /// What a lost peer had not been sent, while it is being sent to others.
    rest: Option<(Reader, Option<Message>)>,
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
            out: SendHalf::new(Arc::clone(&port)).keep_unsent(),
            rest: None,
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

    /// Closes the socket: waits until everything is sent, at most for the linger time.
    pub fn close(mut self) -> CloseReport {
        let deadline = self.shell.linger_deadline();
        self.out.refresh();
        while self.has_rest() && !self.resend(deadline) {}
        let lost = self.count_rest();
        self.out.clear();
        Counters::add(&self.shell.port.counters.unsent, lost);
        self.shell.close(deadline)
    }

    #[inline]
    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        if !self.has_rest() {
            if let Some(payload) = message.as_payload() {
                if self.out.try_send_payload(payload, deadline).is_some() {
                    return Ok(());
                }
            } else {
                let message = message.into();
                if self.out.try_send(&message).is_some() {
                    return Ok(());
                }
                return self.send_slow(message, deadline);
            }
        }
        self.send_slow(message.into(), deadline)
    }

    #[cold]
    #[inline(never)]
    fn send_slow(&mut self, message: Message, deadline: Deadline) -> Result<(), SendError> {
        // What lost peers had not been sent comes first.
        while self.has_rest() {
            if self.resend(deadline.at()) {
                let reason = match deadline {
                    Deadline::Now => SendFailure::WouldBlock,
                    _ => SendFailure::Timeout,
                };
                return Err(SendError::new(reason, message));
            }
        }
        self.out.send(message, deadline).map(|_| ())
    }

    fn has_rest(&self) -> bool {
        self.rest.is_some() || self.out.has_unsent()
    }

    /// Sends what lost peers had not been sent to others; `true` if the time was over before.
    #[cold]
    fn resend(&mut self, deadline: Option<Instant>) -> bool {
        loop {
            let (mut reader, first) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.out.take_unsent() {
                    Some(reader) => (reader, None),
                    None => return false,
                },
            };
            let mut next = first.or_else(|| reader.read_message());
            while let Some(message) = next {
                if self.out.try_send(&message).is_none() {
                    self.rest = Some((reader, Some(message)));
                    return !self.out.wait(deadline);
                }
                next = reader.read_message();
            }
        }
    }

    fn count_rest(&mut self) -> u64 {
        let mut lost = 0;
        if let Some((reader, first)) = self.rest.take() {
            lost += reader.queued_messages() + u64::from(first.is_some());
        }
        while let Some(reader) = self.out.take_unsent() {
            lost += reader.queued_messages();
        }
        lost
    }
}

/// Receives messages from all of its peers in turn, one whole message from each that has any.
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
    recv_methods!();

    /// Closes the socket. Messages that were received and not read are discarded.
    pub fn close(mut self) -> CloseReport {
        let deadline = self.shell.linger_deadline();
        self.inbound.clear();
        self.shell.close(deadline)
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.inbound.recv(deadline)
    }
}

socket_traits!(Push);
socket_traits!(Pull);
