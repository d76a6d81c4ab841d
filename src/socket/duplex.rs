//! Both directions of a socket, of which neither waits for the other.

use std::sync::Arc;

use super::deadline::Deadline;
use super::inbound::RecvHalf;
use super::outbound::SendHalf;
use super::shell::Ending;
use super::single::SingleFilter;
use crate::error::{RecvError, SendError};
use crate::io::Port;
use crate::message::{IntoMessage, Message, PeerProperties};

/// See the module.
#[derive(Debug)]
pub(super) struct Duplex {
    pub(super) out: SendHalf,
    pub(super) inbound: RecvHalf,
    filter: SingleFilter,
    port: Arc<Port>,
}

impl Duplex {
    pub(super) fn new(port: &Arc<Port>) -> Self {
        Duplex {
            out: SendHalf::new(Arc::clone(port)),
            inbound: RecvHalf::new(Arc::clone(port)).hold_ends(),
            filter: SingleFilter::default(),
            port: Arc::clone(port),
        }
    }

    /// Two of which one sends and the other receives, each with another half that has no peers.
    pub(super) fn halve(self, idle: &Arc<Port>) -> (Duplex, Duplex) {
        let receiving = Duplex {
            out: SendHalf::new(Arc::clone(idle)),
            inbound: self.inbound,
            filter: self.filter,
            port: Arc::clone(&self.port),
        };
        let sending = Duplex {
            out: self.out,
            inbound: RecvHalf::new(Arc::clone(idle)),
            filter: SingleFilter::default(),
            port: self.port,
        };
        (sending, receiving)
    }

    /// What these two were.
    pub(super) fn unite(sending: Duplex, receiving: Duplex) -> Duplex {
        Duplex {
            out: sending.out,
            ..receiving
        }
    }

    /// Takes note of what has changed. Peers that come and go must not pile up in one direction while
    /// the application uses the other.
    #[inline]
    pub(super) fn refresh(&mut self) {
        self.out.refresh();
        self.inbound.refresh();
    }

    /// Gives a message to the next peer in turn that takes it.
    ///
    /// # Errors
    /// If none does by the deadline. The message comes back.
    #[inline]
    pub(super) fn send(
        &mut self,
        message: impl IntoMessage,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        self.inbound.refresh();
        if let Some(payload) = message.as_payload() {
            if self.out.try_send(&mut { payload }).is_some() {
                return Ok(());
            }
        }
        self.out.send(message.into(), deadline).map(|_| ())
    }

    /// What is known of who the last message came from.
    pub(super) fn last_peer(&mut self) -> Option<Arc<PeerProperties>> {
        self.inbound.last_peer()
    }

    /// Takes the next message in turn, waiting for it.
    ///
    /// # Errors
    /// If there is none by the deadline.
    #[inline]
    pub(super) fn recv(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        let mut over = Ok(());
        loop {
            self.out.refresh();
            if let Ok(message) = self.inbound.try_recv() {
                return Ok(message);
            }
            over?;
            over = self.inbound.await_more_from(&mut self.out, deadline);
        }
    }

    /// As [`Duplex::recv`], for messages of a single frame. Others are discarded and counted.
    ///
    /// # Errors
    /// If there is none by the deadline.
    #[inline]
    pub(super) fn recv_single(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        loop {
            let message = self.recv(deadline)?;
            if let Some(message) = self.filter.pass(&mut self.inbound, message, deadline)? {
                return Ok(message);
            }
        }
    }
}

impl Ending for Duplex {
    fn finish(&mut self) -> u64 {
        self.out.finish() + self.inbound.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SocketConfig;
    use crate::io::NoHooks;
    use crate::socket::inbound::after;
    use crate::socket_type::SocketType;

    /// A program that sends and receives in turn has its messages written without a hop to an I/O thread.
    #[test]
    fn what_is_sent_after_a_wait_for_an_answer_is_written_at_once() {
        after::check(
            |context| {
                Duplex::new(&Port::new(
                    SocketType::Pair,
                    SocketConfig::default(),
                    Arc::new(NoHooks),
                    Arc::clone(context.pool()),
                ))
            },
            |duplex| &duplex.port,
            |duplex, deadline| duplex.recv(deadline).map(drop),
            |duplex| &duplex.out,
        );
    }
}
