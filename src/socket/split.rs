//! The two directions of a socket, owned apart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::batch::batch_methods;
use super::builder::sealed::{Assemble, Sealed};
use super::common::{recv_methods, send_methods, watch_methods};
use super::deadline::Deadline;
use super::fan_out::FanOut;
use super::inbound::RecvHalf;
use super::outbound::SendHalf;
use super::readiness::{Interest, Pollable, Readiness};
use super::roles::{Receiver, Sender, Shareable};
use super::shell::Shell;
use super::XPub;
use crate::endpoint::{Endpoint, ToEndpoint};
use crate::error::{
    BindError, ConnectError, RecvError, SendBatchError, SendError, UnknownEndpoint, WaitTimeout,
};
use crate::io::{Half, Port, Settings};
use crate::message::{IntoMessage, Message};
use crate::sync::{lock, Mutex};

/// Sockets that can be split in two: all that both send and receive, except REQ and REP, which take turns.
///
/// The parts can bind and connect, and be watched. For anything else that takes both directions, among them the
/// options of single peers, and a [`close`](crate::Dealer::close) that waits and tells what was not sent, they are
/// made one again by [`reunite`](SendPart::reunite).
pub trait Split: sealed::Halves + Sized {
    /// The sending and the receiving part, each of which can go to a thread or a task of its own. Neither holds the
    /// other up: there is no lock between them.
    ///
    /// The socket is closed, as if it were dropped, when both parts are dropped: what is queued is sent in the
    /// background, at most for the linger time. If one of them is, the connections
    /// live on: what is received for a dropped receiving part is kept up to the high-water mark as long as its
    /// sender is there. A receiving part that is kept has to be used now and then: when 1024 peers have gone and left
    /// messages that it has not received, no more are accepted before it does.
    ///
    /// ```
    /// use sinew::{Dealer, Router, Split};
    ///
    /// let mut router = Router::new();
    /// let endpoint = router.bind("tcp://127.0.0.1:*")?;
    /// let (mut to_router, mut from_router) = Dealer::builder().connect(&endpoint)?.split();
    /// let receiving = std::thread::spawn(move || from_router.recv().unwrap());
    /// to_router.send("hello")?;
    /// let (dealer, message) = router.recv_from()?;
    /// router.send_to(&dealer, message)?;
    /// assert_eq!(receiving.join().unwrap().as_bytes(), b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn split(self) -> (SendPart<Self>, RecvPart<Self>) {
        let (sending, receiving, shell) = self.halve();
        let (port, settings) = (Arc::clone(&shell.port), Arc::clone(&shell.settings));
        let whole = Arc::new(Whole {
            shell: Mutex::new(Some(shell)),
            port,
            settings,
        });
        let sending = SendPart {
            socket: Some(sending),
            shell: Arc::clone(&whole),
        };
        let receiving = RecvPart {
            socket: Some(receiving),
            shell: whole,
        };
        (sending, receiving)
    }
}

impl<S: sealed::Halves> Split for S {}

/// The sending part of a socket that was [`split`](Split::split).
pub struct SendPart<S: Split> {
    /// With a receiving half that nothing comes to. Gone when this is dropped.
    socket: Option<S>,
    shell: Arc<Whole>,
}

/// The receiving part of a socket that was [`split`](Split::split).
pub struct RecvPart<S: Split> {
    /// With a sending half that has no peers. Gone when this is dropped.
    socket: Option<S>,
    shell: Arc<Whole>,
}

/// What both parts hold.
pub(super) struct Whole {
    /// Gone when the parts are united.
    shell: Mutex<Option<Shell>>,
    port: Arc<Port>,
    /// As they were when the parts were made.
    settings: Arc<Settings>,
}

pub(super) mod sealed {
    //! What a socket that can be split provides, out of reach of other crates.

    use super::{Assemble, Deadline, Interest, IntoMessage, Message, Readiness, Shell};
    use crate::error::{RecvError, SendError};

    #[allow(
        unreachable_pub,
        private_interfaces,
        reason = "a sealed trait is public so that it can bound a public one, and not nameable"
    )]
    pub trait Halves: Assemble + Send + 'static {
        /// Two sockets, one that has the sending half and one that has the receiving half, and the shell.
        fn halve(self) -> (Self, Self, Shell);

        /// The socket that was these two.
        fn unite(sending: Self, receiving: Self, shell: Shell) -> Self;

        fn send_half(
            &mut self,
            message: impl IntoMessage,
            deadline: Deadline,
        ) -> Result<(), SendError>;

        fn recv_half(&mut self, deadline: Deadline) -> Result<Message, RecvError>;

        fn ready_half(&mut self, interest: Interest, deadline: Deadline) -> Readiness;

        /// Whether there are so many peers. For the part that sends, whose event tells when there are more.
        fn peers_reach_half(&mut self, count: usize, deadline: Deadline) -> bool;

        /// Of one half that nobody uses any more: takes note of what has changed, and keeps nothing of peers
        /// that are gone.
        fn forsake(&mut self);
    }
}

/// A half that has no peers and never will, for the part that is not to use it.
pub(super) trait Inert {
    fn inert(&self, port: &Arc<Port>) -> Self;
}

impl Inert for SendHalf {
    fn inert(&self, port: &Arc<Port>) -> Self {
        SendHalf::new(Arc::clone(port))
    }
}

impl Inert for RecvHalf {
    fn inert(&self, port: &Arc<Port>) -> Self {
        RecvHalf::new(Arc::clone(port))
    }
}

impl Inert for FanOut {
    fn inert(&self, port: &Arc<Port>) -> Self {
        self.without_peers(port)
    }
}

/// The halves of a kind: where it has what sends and what receives, and what each part has of its own.
macro_rules! halves {
    ($kind:ident, $out:ident, $inbound:ident $(, $copied:ident)*) => {
        impl super::split::sealed::Halves for $kind {
            fn halve(self) -> (Self, Self, super::shell::Shell) {
                use super::split::Inert;
                let $kind { $out, $inbound, $($copied,)* shell } = self;
                let idle = shell.idle_port();
                let receiving = $kind {
                    $out: $out.inert(&idle),
                    $inbound,
                    $($copied: $copied.clone(),)*
                    shell: shell.inert(),
                };
                let sending = $kind {
                    $out,
                    $inbound: receiving.$inbound.inert(&idle),
                    $($copied,)*
                    shell: shell.inert(),
                };
                (sending, receiving, shell)
            }

            fn unite(sending: Self, receiving: Self, shell: super::shell::Shell) -> Self {
                let $kind { $inbound, .. } = receiving;
                $kind { $inbound, shell, ..sending }
            }

            fn forsake(&mut self) {
                self.$out.refresh();
                self.$inbound.forsake();
            }

            super::split::halves!(by_attempts);
        }
    };
    (duplex $kind:ident $(, $copied:ident)*) => {
        impl super::split::sealed::Halves for $kind {
            fn halve(self) -> (Self, Self, super::shell::Shell) {
                let $kind { duplex, $($copied,)* shell } = self;
                let (sending, receiving) = duplex.halve(&shell.idle_port());
                let receiving = $kind {
                    duplex: receiving,
                    $($copied: $copied.clone(),)*
                    shell: shell.inert(),
                };
                let sending = $kind {
                    duplex: sending,
                    $($copied,)*
                    shell: shell.inert(),
                };
                (sending, receiving, shell)
            }

            fn unite(sending: Self, receiving: Self, shell: super::shell::Shell) -> Self {
                $kind {
                    duplex: super::duplex::Duplex::unite(sending.duplex, receiving.duplex),
                    $($copied: sending.$copied,)*
                    shell,
                }
            }

            fn forsake(&mut self) {
                self.duplex.out.refresh();
                self.duplex.inbound.forsake();
            }

            super::split::halves!(by_attempts);
        }
    };
    (by_attempts) => {
        #[inline]
        fn send_half(
            &mut self,
            message: impl crate::message::IntoMessage,
            deadline: super::deadline::Deadline,
        ) -> Result<(), crate::error::SendError> {
            self.send_by(message, deadline)
        }

        #[inline]
        fn recv_half(
            &mut self,
            deadline: super::deadline::Deadline,
        ) -> Result<crate::message::Message, crate::error::RecvError> {
            self.recv_by(deadline)
        }

        fn ready_half(
            &mut self,
            interest: super::readiness::Interest,
            deadline: super::deadline::Deadline,
        ) -> super::readiness::Readiness {
            self.ready_by(interest, deadline)
        }

        fn peers_reach_half(
            &mut self,
            count: usize,
            deadline: super::deadline::Deadline,
        ) -> bool {
            self.peers_reach(count, deadline)
        }
    };
}

pub(super) use halves;

/// What both parts can do.
macro_rules! part_methods {
    () => {
        /// Binds to an endpoint, as the socket does.
        ///
        /// # Errors
        /// As for the socket.
        pub fn bind(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, BindError> {
            self.shell.with(|shell| shell.bind(endpoint))
        }

        /// Connects to an endpoint, as the socket does.
        ///
        /// # Errors
        /// As for the socket.
        pub fn connect(&mut self, endpoint: impl ToEndpoint) -> Result<Endpoint, ConnectError> {
            self.shell.with(|shell| shell.connect(endpoint))
        }

        /// Unbinds from an endpoint, as the socket does.
        ///
        /// # Errors
        /// If the socket is not bound to it.
        pub fn unbind(&mut self, endpoint: impl ToEndpoint) -> Result<(), UnknownEndpoint> {
            self.shell
                .with(|shell| shell.close_endpoint(endpoint, true))
        }

        /// Ends every connection to an endpoint, as the socket does.
        ///
        /// # Errors
        /// If the socket is not connected to it.
        pub fn disconnect(&mut self, endpoint: impl ToEndpoint) -> Result<(), UnknownEndpoint> {
            self.shell
                .with(|shell| shell.close_endpoint(endpoint, false))
        }

        /// Names the last `bind` or `connect` of the socket that succeeded.
        #[must_use]
        pub fn last_endpoint_id(&self) -> Option<crate::io::EndpointId> {
            self.shell.with(|shell| shell.last_endpoint_id())
        }

        /// Ends what one `bind` has begun, as the socket does.
        ///
        /// # Errors
        /// If the socket is not bound by it (any more).
        pub fn unbind_id(&mut self, id: crate::io::EndpointId) -> Result<(), UnknownEndpoint> {
            self.shell.with(|shell| shell.close_id(id, true))
        }

        /// Ends what one `connect` has begun, as the socket does.
        ///
        /// # Errors
        /// If the socket is not connected by it (any more).
        pub fn disconnect_id(&mut self, id: crate::io::EndpointId) -> Result<(), UnknownEndpoint> {
            self.shell.with(|shell| shell.close_id(id, false))
        }

        /// Unbinds from an endpoint and keeps the connections, as the socket does.
        ///
        /// # Errors
        /// If the socket is not bound to it.
        pub fn stop_accepting(&mut self, endpoint: impl ToEndpoint) -> Result<(), UnknownEndpoint> {
            self.shell.with(|shell| shell.stop_accepting(endpoint))
        }

        /// The options as they are now.
        #[must_use]
        pub fn options(&self) -> super::SocketOptions<S> {
            self.shell.with(|shell| super::SocketOptions::of(shell))
        }

        /// Changes options, as the socket does. `send_timeout` and `recv_timeout` of the parts stay as they are until
        /// both are united; options that a kind of socket has alone can be changed only then.
        ///
        /// # Errors
        /// As for the socket.
        pub fn reconfigure(
            &mut self,
            change: impl FnOnce(super::SocketBuilder<S>) -> super::SocketBuilder<S>,
        ) -> Result<(), crate::config::OptionError> {
            self.shell
                .with(|shell| super::SocketBuilder::reconfigure_shell(shell, change))
        }

        /// The endpoints the socket is bound to, wildcards replaced.
        #[must_use]
        pub fn bound_endpoints(&self) -> Vec<Endpoint> {
            self.shell.with(|shell| shell.endpoints(true))
        }

        /// The endpoints the socket connects to.
        #[must_use]
        pub fn connected_endpoints(&self) -> Vec<Endpoint> {
            self.shell.with(|shell| shell.endpoints(false))
        }

        watch_methods!(self => self.shell.port);

        /// The socket, with what this part has.
        pub(super) fn socket(&mut self) -> &mut S {
            match &mut self.socket {
                Some(socket) => socket,
                None => unreachable!("it is taken only by who takes the whole part"),
            }
        }
    };
}

impl<S: Split> SendPart<S> {
    send_methods!();
    part_methods!();

    /// Waits until there are at least this many peers, as the socket does. A DGRAM has one while it is bound.
    ///
    /// # Errors
    /// If there were fewer when the time was over.
    pub fn wait_for_peers(&mut self, count: usize, timeout: Duration) -> Result<(), WaitTimeout> {
        let deadline = Deadline::after(Some(timeout));
        let reached = self.socket().peers_reach_half(count, deadline);
        let present = self.shell.port.peer_count();
        // The wait ends also if the context is shut down.
        match present >= count || reached && !self.shell.port.is_terminated() {
            true => Ok(()),
            false => Err(WaitTimeout {
                what: "peers",
                present,
                wanted: count,
                reason: super::shell::end_of(&self.shell.port),
            }),
        }
    }

    /// As [`wait_for_peers`](Self::wait_for_peers), for a task, and as long as it takes. Dropping the future
    /// ends the wait and changes nothing.
    pub async fn wait_for_peers_async(&mut self, count: usize) {
        super::task::until(None, |deadline| {
            self.socket().peers_reach_half(count, deadline)
        })
        .await;
    }

    /// The socket that this was a part of, for what neither part can do by itself.
    ///
    /// ```
    /// use sinew::{Dealer, Router, Split};
    ///
    /// let mut router = Router::new();
    /// let endpoint = router.bind("tcp://127.0.0.1:*")?;
    /// let (mut sending, receiving) = Dealer::builder().connect(&endpoint)?.split();
    /// sending.send("last")?;
    /// let dealer = sending.reunite(receiving).expect("they are parts of one");
    /// assert_eq!(dealer.close().unsent, 0);
    /// assert_eq!(router.recv_from()?.1.as_bytes(), b"last");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the other part is that of another socket. Both come back.
    pub fn reunite(mut self, mut other: RecvPart<S>) -> Result<S, (Self, RecvPart<S>)> {
        if !Arc::ptr_eq(&self.shell, &other.shell) {
            return Err((self, other));
        }
        let shell = lock(&self.shell.shell).take();
        match (self.socket.take(), other.socket.take(), shell) {
            (Some(sending), Some(receiving), Some(shell)) => {
                Ok(S::unite(sending, receiving, shell))
            }
            _ => unreachable!("both parts are here, and hold what is theirs"),
        }
    }

    #[inline]
    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        self.socket().send_half(message, deadline)
    }
}

impl SendPart<XPub> {
    batch_methods!("XPub");

    fn send_batch_by<'d, M: IntoMessage + Clone>(
        &mut self,
        messages: &[M],
        deadline: impl Fn() -> Deadline<'d>,
    ) -> Result<(), SendBatchError> {
        self.socket().send_batch_by(messages, deadline)
    }
}

impl<S: Split> RecvPart<S> {
    recv_methods!();
    part_methods!();

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.socket().recv_half(deadline)
    }
}

impl Whole {
    fn with<R>(&self, action: impl FnOnce(&mut Shell) -> R) -> R {
        match &mut *lock(&self.shell) {
            Some(shell) => action(shell),
            None => unreachable!("it is taken only by who takes both parts"),
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Before the shell, as pipes end before the socket does.
        self.port.dismiss_caretakers();
    }
}

macro_rules! part_traits {
    ($part:ident, $half:expr, $interest:expr) => {
        impl<S: Split> Drop for $part<S> {
            fn drop(&mut self) {
                if let Some(mut socket) = self.socket.take() {
                    socket.forsake();
                    // Its pipes live as long as the other part, which looks after them.
                    let caretaker = Box::new(move || socket.forsake());
                    self.shell.port.abandon_half($half, caretaker);
                }
            }
        }

        impl<S: Split> fmt::Debug for $part<S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($part))
                    .field("socket_type", &self.shell.port.socket_type)
                    .finish_non_exhaustive()
            }
        }

        impl<S: Split> Sealed for $part<S> {}
        impl<S: Split> Shareable for $part<S> {}

        impl<S: Split> Pollable for $part<S> {
            fn poll_ready(
                &mut self,
                cx: &mut std::task::Context<'_>,
                interest: Interest,
            ) -> std::task::Poll<Readiness> {
                let wanted = interest.among($interest);
                let deadline = Deadline::Task(cx.waker());
                match wanted.map(|wanted| self.socket().ready_half(wanted, deadline)) {
                    Some(ready) if !ready.is_empty() => std::task::Poll::Ready(ready),
                    _ => std::task::Poll::Pending,
                }
            }

            fn readiness(&mut self) -> Readiness {
                self.socket().ready_half($interest, Deadline::Now)
            }
        }
    };
}

part_traits!(SendPart, Half::Sending, Interest::WRITABLE);
part_traits!(RecvPart, Half::Receiving, Interest::READABLE);

impl<S: Split> Sender for SendPart<S> {
    fn try_send(&mut self, message: Message) -> Result<(), SendError> {
        SendPart::try_send(self, message)
    }

    fn poll_send(
        &mut self,
        cx: &mut std::task::Context<'_>,
        message: &mut Option<Message>,
    ) -> std::task::Poll<Result<(), SendError>> {
        SendPart::poll_send(self, cx, message)
    }
}

impl<S: Split> Receiver for RecvPart<S> {
    type Item = Message;

    fn try_recv(&mut self) -> Result<Message, RecvError> {
        RecvPart::try_recv(self)
    }

    fn poll_recv(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Message, RecvError>> {
        RecvPart::poll_recv(self, cx)
    }
}
