//! PAIR (31/EXPAIR) and CHANNEL (52/CHANNEL): one peer at a time.

use std::sync::Arc;

use super::builder::sealed::Assemble;
use super::common::{
    peer_methods, pollable, recv_methods, send_methods, shell_methods, socket_traits,
};
use super::deadline::Deadline;
use super::duplex::Duplex;
use super::relay::relay;
use super::shell::Shell;
use super::single::single;
use super::split::halves;
use super::SocketBuilder;
use crate::config::SocketConfig;
use crate::context::Context;
use crate::error::{RecvError, SendError};
use crate::io::{
    Arrival, DisconnectReason, Hooks, Link, PeerVersion, PipeKey, Port, SubscriptionLimit,
};
use crate::message::{IntoMessage, Message, RoutingId};
use crate::socket_type::SocketType;
use crate::sync::{lock, Mutex};

/// Whose place the only one is.
#[derive(Debug, Default)]
struct OnePeer(Mutex<Option<PipeKey>>);

impl OnePeer {
    fn take(&self, key: PipeKey) -> bool {
        *lock(&self.0).get_or_insert(key) == key
    }

    fn leave(&self, key: PipeKey) {
        let mut holder = lock(&self.0);
        if *holder == Some(key) {
            *holder = None;
        }
    }
}

impl Hooks for OnePeer {
    fn reserve(&self, key: PipeKey) -> bool {
        self.take(key)
    }

    fn is_full(&self) -> bool {
        lock(&self.0).is_some()
    }

    fn admit(&self, arrival: &Arrival<'_>) -> Result<Option<RoutingId>, DisconnectReason> {
        match self.take(arrival.key) {
            true => Ok(None),
            false => Err(DisconnectReason::Occupied),
        }
    }

    fn departed(&self, key: PipeKey) {
        self.leave(key);
    }

    fn forgotten(&self, key: PipeKey) {
        self.leave(key);
    }

    fn link_up(&self, _: PipeKey, _: &Arc<Link>, _: PeerVersion) {}
    fn inproc_up(&self, _: PipeKey, _: &Arc<Port>, _: PipeKey) {}
    fn link_down(&self, _: PipeKey) {}
    fn subscription(&self, _: PipeKey, _: bool, _: &[u8]) -> Result<(), SubscriptionLimit> {
        Ok(())
    }
}

macro_rules! pair {
    ($(#[$docs:meta])* $kind:ident, $recv:ident, $accept:expr, $deals:ident, $receives:ident) => {
        $(#[$docs])*
        #[derive(Debug)]
        pub struct $kind {
            duplex: Duplex,
            shell: Shell,
        }

        impl Assemble for $kind {
            type Options = ();

            fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
                let port = Port::new(
                    SocketType::$kind,
                    config,
                    Arc::new(OnePeer::default()),
                    Arc::clone(context.pool()),
                );
                $kind {
                    duplex: Duplex::new(&port),
                    shell: Shell::new(port, context),
                }
            }

            fn shell(&mut self) -> &mut Shell {
                &mut self.shell
            }
        }

        impl $kind {
            shell_methods!($kind, duplex);
            send_methods!();
            recv_methods!();


            #[inline]
            fn send_by(
                &mut self,
                message: impl IntoMessage,
                deadline: Deadline,
            ) -> Result<(), SendError> {
                if message.as_payload().is_some() {
                    return self.duplex.send(message, deadline);
                }
                let message = $accept(message.into())?;
                self.duplex.send(message, deadline)
            }

            #[inline]
            fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
                self.duplex.$recv(deadline)
            }
        }

        socket_traits!($kind);
        peer_methods!($kind, duplex);
        halves!(duplex $kind);
        relay!($kind: $deals duplex.out, $receives duplex.inbound);
        pollable!($kind, |socket, time| read: socket.duplex.inbound.is_ready(time), write: socket.duplex.out.is_ready(time));
    };
}

pair! {
    /// Sends to one peer and receives from it, in any order; the peer is another PAIR.
    ///
    /// Source: 31/EXPAIR, "The PAIR Socket Type".
    ///
    /// There is one peer at a time. An endpoint that was connected to is one as long as it is, also while
    /// there is no connection; a second `connect` then fails with
    /// [`ConnectError::Occupied`](crate::ConnectError::Occupied). Somebody else who connects is refused,
    /// which both sides are told
    /// ([`DisconnectReason::Occupied`] here, a
    /// [`Refusal`](crate::Refusal) there), and may come again when the place is free. Without a peer, or
    /// one that has room, `send` waits. What a peer that is gone had sent can still be received.
    ///
    /// ```
    /// use sinew::Pair;
    ///
    /// let mut one = Pair::new();
    /// let endpoint = one.bind("tcp://127.0.0.1:*")?;
    /// let mut other = Pair::new();
    /// other.connect(&endpoint)?;
    /// one.send("there")?;
    /// other.send("and back")?;
    /// assert_eq!(other.recv()?.as_bytes(), b"there");
    /// assert_eq!(one.recv()?.as_bytes(), b"and back");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Pair, recv, Ok::<_, SendError>, deals_wire, receives_wire
}

pair! {
    /// Sends to one peer and receives from it, as [`Pair`] does: but messages of a single frame only. Others
    /// are not sent ([`SendFailure::Multipart`](crate::SendFailure::Multipart)), and those that are
    /// received are discarded whole, and counted. The peer is another CHANNEL.
    ///
    /// Source: 52/CHANNEL.
    ///
    /// ```
    /// use sinew::{Channel, Message};
    ///
    /// let mut one = Channel::new();
    /// let endpoint = one.bind("tcp://127.0.0.1:*")?;
    /// let mut other = Channel::new();
    /// other.connect(&endpoint)?;
    /// one.send("there")?;
    /// assert_eq!(other.recv()?.as_bytes(), b"there");
    /// assert!(other.send(Message::multipart(["and", "back"])).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Channel, recv_single, single, deals, receives
}
