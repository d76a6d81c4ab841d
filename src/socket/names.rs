//! What the peers of a ROUTER are called, and those of a REP if it is to know.

use std::sync::{Arc, Weak};

use super::shell::{inproc_name, Shell};
use super::{peer_key, pipe_key};
use crate::endpoint::Endpoint;
use crate::error::ConnectError;
use crate::io::{
    random, Arrival, DisconnectReason, Hooks, Link, PeerVersion, PipeKey, Port, SubscriptionLimit,
};
use crate::message::RoutingId;
use crate::routing::{Admitted, DuplicateId, IdTable, PeerKey};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{lock, Mutex, MutexGuard};

/// Who is called what. Peers are added and removed by I/O threads, so that who announces a name that is
/// taken is refused without the application calling anything.
#[derive(Debug)]
pub(super) struct Peers {
    table: Mutex<IdTable<Weak<Link>>>,
    /// How often an id has passed from one peer to another.
    handovers: AtomicU64,
    duplicate_id: Mutex<DuplicateId>,
}

impl Peers {
    pub(super) fn new(duplicate_id: DuplicateId) -> Self {
        Peers {
            table: Mutex::new(IdTable::new()),
            handovers: AtomicU64::new(0),
            duplicate_id: Mutex::new(duplicate_id),
        }
    }

    /// For peers that come from now on.
    pub(super) fn set_rule(&self, duplicate_id: DuplicateId) {
        *lock(&self.duplicate_id) = duplicate_id;
    }

    pub(super) fn table(&self) -> MutexGuard<'_, IdTable<Weak<Link>>> {
        lock(&self.table)
    }

    pub(super) fn handovers(&self) -> u64 {
        self.handovers.load(Ordering::Acquire)
    }

    /// Whether what comes from a peer is dropped, as its id is another's.
    pub(super) fn is_mute(&self, peer: PeerKey) -> bool {
        self.table().name(peer).is_none()
    }

    /// Connects to an endpoint, whose peer is called `id`.
    ///
    /// # Errors
    /// If a peer has the id; otherwise as [`Shell::connect_to`].
    pub(super) fn connect_as(
        &self,
        shell: &mut Shell,
        id: &RoutingId,
        endpoint: Endpoint,
    ) -> Result<Endpoint, ConnectError> {
        let port = &shell.port;
        let now = !shell.settings.config.immediate || inproc_name(&endpoint).is_some();
        let key = now.then(|| port.new_key());
        let free = match key {
            Some(key) => self.table().assign(peer_key(key), id.clone()),
            None => self.table().is_free(id.as_bytes()),
        };
        if !free {
            if let Some(key) = key {
                port.abandon_key(key);
            }
            let routing_id = Box::new(id.clone());
            return Err(ConnectError::DuplicateRoutingId {
                endpoint,
                routing_id,
            });
        }
        shell.connect_to(endpoint, Some((key, id.clone())))
    }
}

impl Hooks for Peers {
    fn admit(&self, arrival: &Arrival<'_>) -> Result<Option<RoutingId>, DisconnectReason> {
        let given = arrival.given.cloned();
        let name = given.or_else(|| RoutingId::new(arrival.announced).ok());
        let duplicate_id = *lock(&self.duplicate_id);
        let admitted = lock(&self.table).admit(
            peer_key(arrival.key),
            name,
            arrival.link.map(Arc::downgrade),
            duplicate_id,
            || random() as u32,
        );
        match admitted {
            Admitted::As(id) => Ok(Some(id)),
            Admitted::Mute => Ok(None),
            Admitted::Refused(routing_id) => {
                Err(DisconnectReason::DuplicateRoutingId { routing_id })
            }
            Admitted::Instead {
                id,
                old,
                connection,
            } => {
                self.handovers.fetch_add(1, Ordering::Release);
                match connection.and_then(|link| link.upgrade()) {
                    Some(link) => link.end(DisconnectReason::Replaced),
                    None => {
                        let (port, reason) = (arrival.port, DisconnectReason::Replaced);
                        port.inproc.disconnect(port, pipe_key(old), &reason);
                    }
                }
                Ok(Some(id))
            }
        }
    }

    fn settled(&self, key: PipeKey) {
        lock(&self.table).settle(peer_key(key));
    }

    fn departed(&self, key: PipeKey) {
        lock(&self.table).depart(peer_key(key));
    }

    fn forgotten(&self, key: PipeKey) {
        lock(&self.table).forget(peer_key(key));
    }

    fn link_up(&self, _: PipeKey, _: &Arc<Link>, _: PeerVersion) {}

    fn inproc_up(&self, _: PipeKey, _: &Arc<Port>, _: PipeKey) {}

    fn link_down(&self, key: PipeKey) {
        lock(&self.table).disconnect(peer_key(key));
    }

    fn subscription(&self, _: PipeKey, _: bool, _: &[u8]) -> Result<(), SubscriptionLimit> {
        Ok(())
    }
}
