//! DEALER (28/REQREP, "The DEALER Socket Type"): sends in turn, receives in turn, adds nothing.

use std::sync::Arc;

use super::builder::sealed::Assemble;
use super::common::{
    conflate_option, peer_methods, pollable, recv_methods, send_methods, shell_methods,
    socket_traits, wait_methods,
};
use super::deadline::Deadline;
use super::inbound::RecvHalf;
use super::outbound::SendHalf;
use super::relay::relay;
use super::shell::Shell;
use super::split::halves;
use super::SocketBuilder;
use crate::config::SocketConfig;
use crate::context::Context;
use crate::error::{RecvError, SendError};
use crate::io::{NoHooks, Port};
use crate::message::{IntoMessage, Message};
use crate::socket_type::SocketType;

/// Sends each message to one of its peers, in turn, and receives from all of them in turn. Talks to
/// [`Router`](crate::Router), [`Rep`](crate::Rep) and other DEALERs.
///
/// Source: 28/REQREP, "The DEALER Socket Type".
///
/// A peer that is at its high-water mark is skipped until it has room; with none that can take a
/// message, `send` waits. Messages are sent and received as they are. A REP expects an envelope: an
/// empty frame before the body, which its reply begins with, too.
///
/// ```
/// use sinew::{Dealer, Message, Rep};
///
/// let mut rep = Rep::new();
/// let endpoint = rep.bind("tcp://127.0.0.1:*")?;
/// let mut dealer = Dealer::builder().connect(&endpoint)?;
/// dealer.send(Message::multipart(["", "first"]))?;
/// dealer.send(Message::multipart(["", "second"]))?;
/// for expected in ["first", "second"] {
///     assert_eq!(rep.recv()?.as_bytes(), expected.as_bytes());
///     rep.send(expected)?;
///     assert_eq!(dealer.recv()?, Message::multipart(["", expected]));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Dealer {
    out: SendHalf,
    inbound: RecvHalf,
    shell: Shell,
}

impl Assemble for Dealer {
    type Options = ();

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let port = Port::new(
            SocketType::Dealer,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        Dealer {
            out: SendHalf::new(Arc::clone(&port)),
            inbound: RecvHalf::new(Arc::clone(&port)).hold_ends(),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Dealer {
    shell_methods!(Dealer, out, inbound);
    send_methods!();
    recv_methods!(|socket| {
        socket.out.refresh();
        socket.inbound.at_hand()
    });
    wait_methods!();

    #[inline]
    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        // Who only sends must not let the ends of peers pile up.
        self.inbound.refresh();
        if let Some(payload) = message.as_payload() {
            if self.out.try_send(&mut { payload }).is_some() {
                return Ok(());
            }
        }
        self.out.send(message.into(), deadline).map(|_| ())
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.out.refresh();
        if let Ok(message) = self.inbound.try_recv() {
            return Ok(message);
        }
        self.recv_slow(deadline)
    }

    #[cold]
    fn recv_slow(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        loop {
            let timed_out = self.inbound.await_more_from(&mut self.out, deadline);
            // Those who come and go meanwhile must not pile up.
            self.out.refresh();
            let received = self.inbound.try_recv();
            if received.is_ok() {
                return received;
            }
            timed_out?;
        }
    }
}

socket_traits!(Dealer);
conflate_option!(Dealer);
peer_methods!(Dealer, inbound);
relay!(Dealer: deals_wire out, receives_wire inbound);
pollable!(Dealer, |socket, time| read: socket.inbound.is_ready(time), write: socket.out.is_ready(time));
halves!(Dealer, out, inbound);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Counters;
    use crate::socket::inbound::after;
    use crate::sync::clock;

    /// A program that sends and receives in turn has its messages written without a hop to an I/O thread.
    #[test]
    fn what_is_sent_after_a_wait_for_an_answer_is_written_at_once() {
        after::check(
            |context| Dealer::assemble(SocketConfig::default(), (), context),
            |dealer| &dealer.shell.port,
            |dealer, deadline| dealer.recv_by(deadline).map(drop),
            |dealer| &dealer.out,
        );
    }

    /// Who asks for no time may be in the middle of a burst.
    #[test]
    fn who_only_asks_is_not_in_lock_step() {
        let mut dealer = Dealer::assemble(SocketConfig::default(), (), Context::default());
        for _ in 0..16 {
            Counters::add_owned(&dealer.shell.port.counters.messages_sent, 1);
            assert!(!dealer.wait_readable(Some(clock::now())));
        }
        assert!(!dealer.out.writes_next());
    }
}
