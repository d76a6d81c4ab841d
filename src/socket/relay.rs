//! What a proxy does with a socket: take a message without waiting, give one, and say what it would
//! wait for. Every kind that can stand beside a proxy has it.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use super::wire::{WireSink, WireSource};
use super::CloseReport;
use crate::error::{SendError, SendFailure};
use crate::io::Port;
use crate::message::Message;
use crate::pipe::Run;

/// A kind of socket that a [`Proxy`](crate::Proxy) can use. Implemented by the sockets of this crate whose
/// messages say by themselves where they go, and by nothing else. Which of them go together is checked when the
/// proxy is made.
pub trait ProxySocket: Relay {}

impl<S: Relay> ProxySocket for S {}

/// See the module. Out of reach of other crates.
#[allow(
    unreachable_pub,
    private_interfaces,
    reason = "a sealed trait is public so that it can bound a public one, and not nameable"
)]
#[diagnostic::on_unimplemented(
    message = "a proxy cannot use `{Self}`",
    note = "REQ takes turns; no message of a SERVER, CLIENT or PEER says on its way whose it is; a datagram does not say \
            where it is to go; parts of a split socket have to be made one again"
)]
pub trait Relay: Send + 'static {
    fn port(&self) -> &Arc<Port>;

    /// Closes it, and waits at most until then.
    fn end(self: Box<Self>, deadline: Option<Instant>) -> CloseReport;

    fn as_any(&self) -> &dyn Any;

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;

    /// Takes note of who has come and gone.
    fn tend(&mut self);

    /// Reading of connections is left to I/O threads: who waits for several sockets cannot wait for the
    /// descriptors of one.
    fn release_links(&mut self) {}

    /// Takes the next message, if one is there.
    fn take(&mut self) -> Option<Message> {
        None
    }

    /// After [`Relay::take`] has found nothing: arranges for the event of what is received to tell of the next
    /// message. Whether there is one after all.
    fn arm_in(&mut self) -> bool {
        false
    }

    /// Whether a message can be given, whichever it is, as far as this can be known. If not, the event of
    /// what is sent tells when that changes.
    fn has_room(&mut self) -> bool {
        false
    }

    /// Gives a message, without waiting.
    fn give(&mut self, message: Message) -> Result<(), SendError> {
        Err(SendError::new(SendFailure::WouldBlock, message))
    }

    /// After [`Relay::give`] had no room for this message: arranges for the event of what is sent to tell of
    /// room. Whether there may be some after all.
    fn arm_out(&mut self, _: &Message) -> bool {
        self.has_room()
    }

    /// What is received, if that may be handed on as it is on the wire.
    fn wire_in(&mut self) -> Option<WireSource<'_>> {
        None
    }

    /// Where messages go, if they may be sent as they are on the wire.
    fn wire_out(&mut self) -> Option<&mut dyn WireSink> {
        None
    }
}

/// Moves whole messages from one socket to another as they are on the wire, and copies of them to a third: about `most`
/// of them. None if these are not such sockets, or the next message needs a closer look.
pub(crate) fn forward(
    from: &mut dyn Relay,
    to: &mut dyn Relay,
    capture: Option<&mut (dyn Relay + 'static)>,
    most: u64,
) -> Run {
    let (Some(mut source), Some(sink)) = (from.wire_in(), to.wire_out()) else {
        return Run::default();
    };
    let copies = match capture {
        None => None,
        Some(capture) => match capture.wire_out() {
            None => return Run::default(),
            copies => copies,
        },
    };
    let WireSource { inbound, rule } = &mut source;
    inbound.forward(rule, sink, copies, most)
}

/// Implements [`Relay`] for a kind with a shell: which half receives and which sends.
macro_rules! relay {
    ($kind:ident: $($way:ident $half:ident $(. $part:ident)?),+) => {
        impl crate::socket::relay::Relay for $kind {
            fn port(&self) -> &std::sync::Arc<crate::io::Port> {
                &self.shell.port
            }

            fn tend(&mut self) {
                self.take_note();
            }

            relay!(@ends);

            $(relay!(@$way $half $(. $part)?);)+
        }
    };
    // By its own end.
    (@ends) => {
        fn end(
            self: Box<Self>,
            deadline: Option<std::time::Instant>,
        ) -> crate::socket::CloseReport {
            self.close_by(deadline)
        }

        relay!(@any);
    };
    (@any) => {
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }

        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
            self
        }
    };
    (@receives $half:ident $(. $part:ident)?) => {
        fn release_links(&mut self) {
            self.$half$(.$part)?.release_links();
        }

        fn take(&mut self) -> Option<crate::message::Message> {
            self.recv_by(crate::socket::deadline::Deadline::Now).ok()
        }

        fn arm_in(&mut self) -> bool {
            self.$half$(.$part)?.arm_for_event()
        }
    };
    // With rules of its own about what is received.
    (@receives_by $half:ident) => {
        relay!(@receives $half);

        fn wire_in(&mut self) -> Option<crate::socket::wire::WireSource<'_>> {
            self.wire_source()
        }
    };
    // As it comes.
    (@receives_wire $half:ident $(. $part:ident)?) => {
        relay!(@receives $half $(. $part)?);

        fn wire_in(&mut self) -> Option<crate::socket::wire::WireSource<'_>> {
            Some(crate::socket::wire::WireSource {
                inbound: &mut self.$half$(.$part)?,
                rule: crate::socket::wire::Rule::Plain,
            })
        }
    };
    // To whoever's turn it is, waiting for one who has room.
    (@deals $half:ident $(. $part:ident)?) => {
        relay!(@gives);

        fn has_room(&mut self) -> bool {
            self.$half$(.$part)?.is_ready(crate::socket::deadline::Deadline::Now)
        }
    };
    (@deals_wire $half:ident $(. $part:ident)?) => {
        relay!(@deals $half $(. $part)?);

        fn wire_out(&mut self) -> Option<&mut dyn crate::socket::wire::WireSink> {
            self.$half$(.$part)?.wire()
        }
    };
    // To everyone who wants it, leaving out who is full, or waiting for them.
    (@publishes $half:ident) => {
        relay!(@gives);

        fn has_room(&mut self) -> bool {
            true
        }

        fn arm_out(&mut self, _: &crate::message::Message) -> bool {
            self.$half.arm_matched()
        }

        fn wire_out(&mut self) -> Option<&mut dyn crate::socket::wire::WireSink> {
            self.wire_sink()
        }
    };
    // To everyone, leaving out who is full.
    (@tells $half:ident) => {
        relay!(@gives);

        fn has_room(&mut self) -> bool {
            true
        }
    };
    (@gives) => {
        fn give(
            &mut self,
            message: crate::message::Message,
        ) -> Result<(), crate::error::SendError> {
            self.send_by(message, crate::socket::deadline::Deadline::Now)
        }
    };
}

pub(super) use relay;
