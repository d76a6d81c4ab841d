//! CLIENT, SERVER and PEER: messages of a single frame, both ways and in any order; SERVER and PEER call
//! their peers by number.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::builder::sealed::Assemble;
use super::common::{
    peer_methods, pollable, recv_methods, send_methods, shell_methods, socket_traits,
};
use super::deadline::Deadline;
use super::duplex::Duplex;
use super::outbound::Given;
use super::shell::{inproc_name, Shell};
use super::single::single;
use super::split::halves;
use super::task;
use super::{peer_key, SocketBuilder};
use crate::config::SocketConfig;
use crate::context::Context;
use crate::endpoint::ToEndpoint;
use crate::error::{ConnectError, RecvError, SendError, SendFailure, UnknownPeer};
use crate::io::{
    Arrival, DisconnectReason, Hooks, Link, NoHooks, PeerVersion, PipeKey, Port, SubscriptionLimit,
};
use crate::message::{IntoMessage, Message, PeerId, RoutingId};
use crate::routing::PeerKey;
use crate::socket_type::SocketType;
use crate::sync::{lock, Mutex};

/// Sends each message to one of its peers, in turn, and receives from all of them in turn: messages of a
/// single frame only. Its peers are [`Server`] sockets.
///
/// Source: 41/CLISRV.
///
/// ```
/// use sinew::{Client, Server};
///
/// let mut server = Server::new();
/// let endpoint = server.bind("tcp://127.0.0.1:*")?;
/// let mut client = Client::new();
/// client.connect(&endpoint)?;
/// client.send("hello")?;
/// let (id, message) = server.recv_from()?;
/// assert_eq!(message.as_bytes(), b"hello");
/// server.send_to(id, "world")?;
/// assert_eq!(client.recv()?.as_bytes(), b"world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    duplex: Duplex,
    shell: Shell,
}

impl Assemble for Client {
    type Options = ();

    fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
        let port = Port::new(
            SocketType::Client,
            config,
            Arc::new(NoHooks),
            Arc::clone(context.pool()),
        );
        Client {
            duplex: Duplex::new(&port),
            shell: Shell::new(port, context),
        }
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }
}

impl Client {
    shell_methods!(Client, duplex);
    send_methods!();
    recv_methods!();

    #[inline]
    fn send_by(&mut self, message: impl IntoMessage, deadline: Deadline) -> Result<(), SendError> {
        if message.as_payload().is_some() {
            return self.duplex.send(message, deadline);
        }
        self.duplex.send(single(message.into())?, deadline)
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
        self.duplex.recv_single(deadline)
    }
}

/// The peers that can be sent to, by what they are called: the generation of their key, which no two
/// peers, and no peer and a message that was left unread, have in common. `None` for one that was sent
/// away and is not gone yet.
#[derive(Debug, Default)]
struct Numbered(Mutex<HashMap<u32, Option<PipeKey>>>);

impl Numbered {
    fn find(&self, id: PeerId) -> Option<PipeKey> {
        lock(&self.0).get(&id.get()).copied().flatten()
    }

    fn remove(&self, key: PipeKey) {
        lock(&self.0).remove(&key.generation);
    }

    /// It cannot be sent to any more.
    fn dismiss(&self, key: PipeKey) {
        if let Some(peer) = lock(&self.0).get_mut(&key.generation) {
            *peer = None;
        }
    }

    /// What a peer is called. A key of a peer is never of generation 0.
    fn id_of(key: PeerKey) -> Option<PeerId> {
        NonZeroU32::new(key.generation).map(PeerId::from)
    }
}

impl Hooks for Numbered {
    fn reserve(&self, key: PipeKey) -> bool {
        lock(&self.0).insert(key.generation, Some(key));
        true
    }

    fn admit(&self, arrival: &Arrival<'_>) -> Result<Option<RoutingId>, DisconnectReason> {
        let mut peers = lock(&self.0);
        peers
            .entry(arrival.key.generation)
            .or_insert(Some(arrival.key));
        Ok(None)
    }

    fn departed(&self, key: PipeKey) {
        self.remove(key);
    }

    fn forgotten(&self, key: PipeKey) {
        self.remove(key);
    }

    fn link_up(&self, _: PipeKey, _: &Arc<Link>, _: PeerVersion) {}
    fn inproc_up(&self, _: PipeKey, _: &Arc<Port>, _: PipeKey) {}
    fn link_down(&self, _: PipeKey) {}
    fn subscription(&self, _: PipeKey, _: bool, _: &[u8]) -> Result<(), SubscriptionLimit> {
        Ok(())
    }
}

/// What SERVER and PEER have in common.
macro_rules! numbered {
    ($(#[$docs:meta])* $kind:ident) => {
        $(#[$docs])*
        #[derive(Debug)]
        pub struct $kind {
            duplex: Duplex,
            peers: Arc<Numbered>,
            shell: Shell,
        }

        impl Assemble for $kind {
            type Options = ();

            fn assemble(config: SocketConfig, (): (), context: Context) -> Self {
                let peers = Arc::new(Numbered::default());
                let port = Port::new(
                    SocketType::$kind,
                    config,
                    Arc::clone(&peers) as Arc<dyn Hooks>,
                    Arc::clone(context.pool()),
                );
                $kind {
                    duplex: Duplex::new(&port),
                    peers,
                    shell: Shell::new(port, context),
                }
            }

            fn shell(&mut self) -> &mut Shell {
                &mut self.shell
            }
        }

        /// `send` is for the peer whose routing id the message carries, and `recv` gives messages that
        /// carry that of their sender; `send_to` and `recv_from` have it apart, which spares an
        /// allocation. A message for a peer that is not there is an error
        /// ([`SendFailure::UnknownPeer`]), and one for a peer at its high-water mark waits: none is
        /// dropped.
        impl $kind {
            shell_methods!($kind, duplex);
            send_methods!();
            recv_methods!();

            /// Receives the next message and who it is from, waiting for it as `recv` does.
            ///
            /// # Errors
            /// See [`RecvError`]; nothing is consumed then.
            #[inline]
            pub fn recv_from(&mut self) -> Result<(PeerId, Message), RecvError> {
                self.recv_from_by(Deadline::after(self.shell.settings.config.recv_timeout))
            }

            /// Receives a message and who it is from, if one is there.
            ///
            /// # Errors
            /// [`RecvError::WouldBlock`] if none is.
            #[inline]
            pub fn try_recv_from(&mut self) -> Result<(PeerId, Message), RecvError> {
                self.recv_from_by(Deadline::Now)
            }

            /// Receives the next message and who it is from, waiting at most this long.
            ///
            /// # Errors
            /// [`RecvError::Timeout`] if none came in time.
            pub fn recv_from_timeout(
                &mut self,
                timeout: Duration,
            ) -> Result<(PeerId, Message), RecvError> {
                self.recv_from_by(Deadline::after(Some(timeout)))
            }

            /// Receives the next message and who it is from, waiting at most until this time.
            ///
            /// # Errors
            /// [`RecvError::Timeout`] if none came in time.
            pub fn recv_from_deadline(
                &mut self,
                deadline: Instant,
            ) -> Result<(PeerId, Message), RecvError> {
                self.recv_from_by(Deadline::At(deadline))
            }

            /// Receives the next message and who it is from, for a task, as `recv_async` does.
            ///
            /// # Cancel safety
            /// Nothing is consumed before the future is ready: dropping it loses nothing.
            ///
            /// # Errors
            /// See [`RecvError`]; nothing is consumed then.
            pub async fn recv_from_async(&mut self) -> Result<(PeerId, Message), RecvError> {
                let timeout = self.shell.settings.config.recv_timeout;
                task::receive(timeout, |deadline| self.recv_from_by(deadline)).await
            }

            /// Sends a message to one peer. Waits while it is at its high-water mark (for ever, unless the
            /// option `send_timeout` says otherwise).
            ///
            /// # Errors
            /// [`SendFailure::UnknownPeer`] if there is no such peer, and see [`SendFailure`]. The message
            /// is in the error.
            #[inline]
            pub fn send_to(
                &mut self,
                peer: PeerId,
                message: impl IntoMessage,
            ) -> Result<(), SendError> {
                let deadline = Deadline::after(self.shell.settings.config.send_timeout);
                self.send_to_by(peer, message, deadline)
            }

            /// Sends a message to one peer, if it can take it now.
            ///
            /// # Errors
            /// [`SendFailure::WouldBlock`] if it cannot; else as for `send_to`.
            #[inline]
            pub fn try_send_to(
                &mut self,
                peer: PeerId,
                message: impl IntoMessage,
            ) -> Result<(), SendError> {
                self.send_to_by(peer, message, Deadline::Now)
            }

            /// Sends a message to one peer, waiting at most this long until it can take it.
            ///
            /// # Errors
            /// [`SendFailure::Timeout`] if it could not; else as for `send_to`.
            pub fn send_to_timeout(
                &mut self,
                peer: PeerId,
                message: impl IntoMessage,
                timeout: Duration,
            ) -> Result<(), SendError> {
                self.send_to_by(peer, message, Deadline::after(Some(timeout)))
            }

            /// Sends a message to one peer, waiting at most until this time until it can take it.
            ///
            /// # Errors
            /// [`SendFailure::Timeout`] if it could not; else as for `send_to`.
            pub fn send_to_deadline(
                &mut self,
                peer: PeerId,
                message: impl IntoMessage,
                deadline: Instant,
            ) -> Result<(), SendError> {
                self.send_to_by(peer, message, Deadline::At(deadline))
            }

            /// Sends a message to one peer, for a task, as `send_async` does.
            ///
            /// # Cancel safety
            /// A message is sent as a whole when the future is ready, and not at all before: dropping the
            /// future drops the message.
            ///
            /// # Errors
            /// As for `send_to`.
            pub async fn send_to_async(
                &mut self,
                peer: PeerId,
                message: impl IntoMessage,
            ) -> Result<(), SendError> {
                let timeout = self.shell.settings.config.send_timeout;
                let Err(first) = self.send_to_by(peer, message, Deadline::Now) else {
                    return Ok(());
                };
                task::transmit(first, timeout, |message, deadline| {
                    self.send_to_by(peer, message, deadline)
                })
                .await
            }

            /// The peers that can be sent to now, in no order.
            #[must_use]
            pub fn peers(&self) -> Vec<PeerId> {
                let peers = lock(&self.peers.0);
                let there = peers.values().flatten();
                there
                    .filter_map(|key| Numbered::id_of(peer_key(*key)))
                    .collect()
            }

            /// Ends the connection to one peer, once what is queued for it is sent, at most after the linger
            /// time, and does not connect to it again. Does not wait for that. Nothing can be sent to it
            /// from now on; what it sent before can still be received.
            ///
            /// # Errors
            /// If there is no such peer.
            pub fn disconnect_peer(&mut self, peer: PeerId) -> Result<(), UnknownPeer> {
                self.duplex.refresh();
                let key = self.peers.find(peer).ok_or(UnknownPeer { id: peer })?;
                self.peers.dismiss(key);
                let link = self.duplex.out.link_of(peer_key(key));
                self.shell.close_peer(key, link);
                Ok(())
            }


            fn recv_from_by(&mut self, deadline: Deadline) -> Result<(PeerId, Message), RecvError> {
                let message = self.duplex.recv_single(deadline)?;
                match Numbered::id_of(self.duplex.inbound.from()) {
                    Some(id) => Ok((id, message)),
                    None => unreachable!("no peer has generation 0"),
                }
            }

            fn recv_by(&mut self, deadline: Deadline) -> Result<Message, RecvError> {
                let (id, message) = self.recv_from_by(deadline)?;
                Ok(message.with_routing_id(id))
            }

            fn send_by(
                &mut self,
                message: impl IntoMessage,
                deadline: Deadline,
            ) -> Result<(), SendError> {
                let message = message.into();
                match message.routing_id() {
                    Some(id) => self.send_to_by(id, message, deadline),
                    None => Err(SendError::new(SendFailure::NoRoutingId, message)),
                }
            }

            fn send_to_by(
                &mut self,
                id: PeerId,
                message: impl IntoMessage,
                deadline: Deadline,
            ) -> Result<(), SendError> {
                self.duplex.refresh();
                let mut message = single(message.into())?;
                loop {
                    let key = self.peers.find(id).map(peer_key);
                    let given = key.map_or(Given::Gone, |key| self.duplex.out.give(key, &mut message));
                    let failure = match (given, key) {
                        (Given::Done, _) => return Ok(()),
                        (Given::Gone, _) | (Given::Full, None) => SendFailure::UnknownPeer { id },
                        (Given::Full, _) if deadline.is_now() => {
                            self.duplex.out.no_room(deadline)
                        }
                        (Given::Full, Some(key)) => {
                            let Duplex { out, inbound, .. } = &mut self.duplex;
                            if out.wait_for_room(key, deadline, || inbound.refresh()) {
                                continue;
                            }
                            self.duplex.out.no_room(deadline)
                        }
                    };
                    return Err(SendError::new(failure, message));
                }
            }
        }

        socket_traits!($kind);
        peer_methods!($kind, duplex);
        halves!(duplex $kind, peers);
        pollable!($kind, |socket, time| read: socket.duplex.inbound.is_ready(time), write: true);
    };
}

numbered! {
    /// Receives from all of its peers in turn, and sends to the one that it names, by a number
    /// ([`PeerId`]) that it is called here: messages of a single frame only. Its peers are [`Client`]
    /// sockets, where an example is.
    ///
    /// Source: 41/CLISRV.
    Server
}

numbered! {
    /// Peer to peer: receives from all of its peers in turn, and sends to the one that it names, as
    /// [`Server`] does. Its peers are other PEER sockets; [`connect_peer`](Peer::connect_peer) tells what
    /// the one at an endpoint is called.
    ///
    /// Source: 51/P2P.
    ///
    /// ```
    /// use sinew::Peer;
    ///
    /// let mut one = Peer::new();
    /// let endpoint = one.bind("tcp://127.0.0.1:*")?;
    /// let mut other = Peer::new();
    /// let id = other.connect_peer(&endpoint)?;
    /// other.send_to(id, "hello")?;
    /// let message = one.recv()?;
    /// one.send(message)?; // to whom it came from
    /// assert_eq!(other.recv_from()?.0, id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Peer
}

impl Peer {
    /// Connects as `connect` does, and tells what the peer at this endpoint is called here: it can be sent to
    /// at once, and keeps its number when the connection is lost and made again.
    ///
    /// # Errors
    /// [`ConnectError::NoPeerId`] with the option `immediate`, unless over inproc: there is no peer before
    /// there is a connection then. Otherwise as for `connect`. The socket is unchanged.
    pub fn connect_peer(&mut self, endpoint: impl ToEndpoint) -> Result<PeerId, ConnectError> {
        let endpoint = self.shell.connectable(endpoint)?;
        let port = &self.shell.port;
        if self.shell.settings.config.immediate && inproc_name(&endpoint).is_none() {
            return Err(ConnectError::NoPeerId { endpoint });
        }
        let key = port.new_key();
        let Some(id) = Numbered::id_of(peer_key(key)) else {
            unreachable!("no peer has generation 0");
        };
        self.shell.connect_by(endpoint, Some(key), None)?;
        Ok(id)
    }
}

socket_traits!(Client);
peer_methods!(Client, duplex);
pollable!(Client, |socket, time| read: socket.duplex.inbound.is_ready(time), write: socket.duplex.out.is_ready(time));
halves!(duplex Client);
