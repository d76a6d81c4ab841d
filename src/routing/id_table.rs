//! The names of a ROUTER's peers: from a routing id to a peer for sending, and back for receiving.
//!
//! A hash table one way and an array by slot number the other, so that coming, going and looking up
//! cost the same for any number of peers (L-88). Adding a peer is total (L-38): an id that is taken is
//! one of the answers.
//!
//! A peer passes through these states:
//!
//! ```text
//! admit ─▶ reserved ─settle▶ live ─depart▶ departed ─forget▶ gone
//!             └─▶ mute        └─ another takes its id ─▶ replaced
//! ```
//!
//! *Reserved*: the id is taken, but there is no pipe to send to yet. *Departed*: cannot be sent to,
//! while what it had sent can still be received, under its id. The id itself is free from then on if
//! it was announced, so that the peer may come back; one made here is kept until nothing is left that
//! was received under it (L-41). *Mute* and *replaced* peers have no id, and their messages no sender.
//!
//! What this is not: it knows no pipes, and does not end those of a peer whose id is taken over; it
//! names that peer.

use std::collections::HashMap;

use super::PeerKey;
use crate::message::RoutingId;

/// What becomes of a peer that announces the id of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DuplicateId {
    /// Its connection is closed, with an event that says why. The default.
    #[default]
    Refuse,
    /// It takes the id over. The connection of the other one is ended, also if this side had made it,
    /// and what that one had sent and nobody has received yet is dropped and counted.
    Handover,
    /// It stays connected, cannot be sent to, and what it sends is dropped and counted. This is what
    /// other implementations do.
    Mute,
}

/// What became of a newcomer. `C` is how its user reaches a peer's connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted<C> {
    /// It has this id.
    As(RoutingId),
    /// It has the id of a peer whose connection is to be ended.
    Instead {
        id: RoutingId,
        old: PeerKey,
        connection: Option<C>,
    },
    /// It has no id.
    Mute,
    /// It has been left out.
    Refused(RoutingId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct IdTable<C> {
    /// Whose an id is: the peer is reserved or live, or departed if the id was made here.
    by_id: HashMap<RoutingId, PeerKey>,
    /// By slot number.
    peers: Vec<Option<Peer<C>>>,
}

#[derive(Debug)]
struct Peer<C> {
    key: PeerKey,
    id: RoutingId,
    standing: Standing,
    connection: Option<C>,
    connected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Reserved,
    Live,
    Departed,
    Mute,
    Replaced,
}

impl<C> IdTable<C> {
    /// Nobody.
    pub(crate) fn new() -> Self {
        IdTable {
            by_id: HashMap::new(),
            peers: Vec::new(),
        }
    }

    /// A connection to a peer has been made. If it has an id already it keeps that (it has come back,
    /// or was [assigned](IdTable::assign) one), else it gets the one announced, or one made from
    /// `draw`, which is called until it returns what nobody has.
    pub(crate) fn admit(
        &mut self,
        key: PeerKey,
        announced: Option<RoutingId>,
        connection: Option<C>,
        policy: DuplicateId,
        mut draw: impl FnMut() -> u32,
    ) -> Admitted<C> {
        if let Some(peer) = self.peer(key).filter(|peer| peer.has_id()) {
            peer.connection = connection;
            return Admitted::As(peer.id.clone());
        }
        let Some(id) = announced else {
            let id = loop {
                let id = RoutingId::automatic(draw());
                if !self.by_id.contains_key(&id) {
                    break id;
                }
            };
            self.insert(key, id.clone(), Standing::Reserved, connection);
            return Admitted::As(id);
        };
        let Some(old) = self.by_id.get(&id).copied() else {
            self.insert(key, id.clone(), Standing::Reserved, connection);
            return Admitted::As(id);
        };
        match policy {
            DuplicateId::Refuse => Admitted::Refused(id),
            DuplicateId::Mute => {
                self.insert(key, id, Standing::Mute, connection);
                Admitted::Mute
            }
            DuplicateId::Handover => {
                let replaced = self.peer(old).and_then(|peer| {
                    peer.standing = Standing::Replaced;
                    peer.connected = false;
                    peer.connection.take()
                });
                self.insert(key, id.clone(), Standing::Reserved, connection);
                Admitted::Instead {
                    id,
                    old,
                    connection: replaced,
                }
            }
        }
    }

    /// Names a peer before there is a connection; it can be sent to at once. `false` if the id is
    /// taken, and then nothing has changed.
    pub(crate) fn assign(&mut self, key: PeerKey, id: RoutingId) -> bool {
        let free = !self.by_id.contains_key(&id);
        if free {
            self.insert(key, id, Standing::Live, None);
        }
        free
    }

    /// Whether nobody has an id.
    pub(crate) fn is_free(&self, id: &[u8]) -> bool {
        !self.by_id.contains_key(id)
    }

    /// A peer that was admitted can be sent to.
    pub(crate) fn settle(&mut self, key: PeerKey) {
        if let Some(peer) = self.peer(key).filter(|peer| peer.has_id()) {
            peer.standing = Standing::Live;
            peer.connected = true;
        }
    }

    /// A peer's connection is lost. It may come back.
    pub(crate) fn disconnect(&mut self, key: PeerKey) {
        if let Some(peer) = self.peer(key) {
            peer.connected = false;
            peer.connection = None;
        }
    }

    /// A peer is gone for good.
    pub(crate) fn depart(&mut self, key: PeerKey) {
        let Some(peer) = self.peer(key).filter(|peer| peer.has_id()) else {
            return;
        };
        peer.standing = Standing::Departed;
        peer.connected = false;
        peer.connection = None;
        if !peer.id.is_automatic() {
            let id = peer.id.clone();
            self.by_id.remove(&id);
        }
    }

    /// Nothing of a peer is left.
    pub(crate) fn forget(&mut self, key: PeerKey) {
        if self.peer(key).is_none() {
            return;
        }
        if let Some(peer) = self.peers[key.index as usize].take() {
            if self.by_id.get(&peer.id) == Some(&key) {
                self.by_id.remove(&peer.id);
            }
        }
        while matches!(self.peers.last(), Some(None)) {
            self.peers.pop();
        }
        if self.peers.is_empty() {
            // Of many that came and went no memory is kept.
            self.peers = Vec::new();
            self.by_id = HashMap::new();
        }
    }

    /// The peer to send to.
    #[inline]
    pub(crate) fn find(&self, id: &[u8]) -> Option<PeerKey> {
        let key = *self.by_id.get(id)?;
        let peer = self.peers.get(key.index as usize)?.as_ref()?;
        (peer.key == key && peer.standing == Standing::Live).then_some(key)
    }

    /// Whether a peer has a connection now.
    pub(crate) fn is_connected(&self, key: PeerKey) -> bool {
        let peer = self.peers.get(key.index as usize).and_then(Option::as_ref);
        peer.is_some_and(|peer| peer.key == key && peer.connected)
    }

    /// How a peer's connection is reached.
    pub(crate) fn connection(&self, key: PeerKey) -> Option<&C> {
        let peer = self.peers.get(key.index as usize)?.as_ref()?;
        peer.connection.as_ref().filter(|_| peer.key == key)
    }

    /// Under which id what comes from a peer is received; `None` if it is dropped.
    #[inline]
    pub(crate) fn name(&self, key: PeerKey) -> Option<&RoutingId> {
        let peer = self.peers.get(key.index as usize)?.as_ref()?;
        let named =
            peer.key == key && !matches!(peer.standing, Standing::Mute | Standing::Replaced);
        named.then_some(&peer.id)
    }

    fn peer(&mut self, key: PeerKey) -> Option<&mut Peer<C>> {
        self.peers
            .get_mut(key.index as usize)?
            .as_mut()
            .filter(|peer| peer.key == key)
    }

    fn insert(&mut self, key: PeerKey, id: RoutingId, standing: Standing, connection: Option<C>) {
        let index = key.index as usize;
        // The slot's earlier owner may not have been forgotten yet.
        if let Some(earlier) = self.peers.get(index).and_then(Option::as_ref) {
            let earlier = earlier.key;
            self.forget(earlier);
        }
        if self.peers.len() <= index {
            self.peers.resize_with(index + 1, || None);
        }
        if standing != Standing::Mute {
            self.by_id.insert(id.clone(), key);
        }
        self.peers[index] = Some(Peer {
            key,
            id,
            standing,
            connection,
            connected: false,
        });
    }
}

impl<C> Peer<C> {
    fn has_id(&self) -> bool {
        matches!(self.standing, Standing::Reserved | Standing::Live)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(index: u32, generation: u32) -> PeerKey {
        PeerKey { index, generation }
    }

    fn id(name: &str) -> RoutingId {
        RoutingId::new(name).unwrap()
    }

    fn admit(
        table: &mut IdTable<&'static str>,
        key: PeerKey,
        name: &str,
        policy: DuplicateId,
    ) -> Admitted<&'static str> {
        table.admit(key, RoutingId::new(name).ok(), Some("way"), policy, || 7)
    }

    #[test]
    fn an_id_is_found_once_its_peer_is_settled_and_until_it_departs() {
        let mut table = IdTable::new();
        let a = key(3, 1);
        assert_eq!(
            admit(&mut table, a, "a", DuplicateId::Refuse),
            Admitted::As(id("a"))
        );
        assert_eq!(table.find(b"a"), None);
        assert_eq!(table.name(a), Some(&id("a")));
        table.settle(a);
        assert_eq!(table.find(b"a"), Some(a));
        assert!(table.is_connected(a));
        table.disconnect(a);
        assert_eq!(table.find(b"a"), Some(a));
        assert!(!table.is_connected(a));
        table.depart(a);
        assert_eq!(table.find(b"a"), None);
        assert_eq!(table.name(a), Some(&id("a")), "what it left has its name");
        // It comes back before what it left was received.
        let again = key(4, 2);
        admit(&mut table, again, "a", DuplicateId::Refuse);
        table.settle(again);
        table.forget(a);
        assert_eq!(table.name(a), None);
        assert_eq!(table.find(b"a"), Some(again));
        table.forget(again);
        assert!(table.peers.is_empty() && table.by_id.is_empty());
    }

    #[test]
    fn an_id_made_here_is_not_made_again_while_anything_has_it() {
        let mut table = IdTable::<()>::new();
        let mut drawn = [5, 5, 5, 6].into_iter();
        let mut draw = || drawn.next().unwrap();
        let (a, b) = (key(0, 1), key(1, 2));
        let refuse = DuplicateId::Refuse;
        let first = table.admit(a, None, None, refuse, &mut draw);
        assert_eq!(first, Admitted::As(RoutingId::automatic(5)));
        table.settle(a);
        table.depart(a);
        assert_eq!(table.find(&[0, 0, 0, 0, 5]), None);
        let second = table.admit(b, None, None, refuse, &mut draw);
        assert_eq!(second, Admitted::As(RoutingId::automatic(6)));
    }

    #[test]
    fn a_peer_that_comes_back_keeps_its_id() {
        let mut table = IdTable::new();
        let a = key(0, 1);
        assert!(table.assign(a, id("mine")));
        assert!(!table.assign(key(1, 2), id("mine")));
        assert_eq!(table.find(b"mine"), Some(a), "before there is a connection");
        let back = admit(&mut table, a, "yours", DuplicateId::Refuse);
        assert_eq!(back, Admitted::As(id("mine")));
        assert!(table.is_free(b"yours"));
    }

    #[test]
    fn a_duplicate_is_refused_or_mute_or_takes_over() {
        let mut table = IdTable::new();
        let (old, new, third) = (key(0, 1), key(1, 2), key(2, 3));
        admit(&mut table, old, "a", DuplicateId::Refuse);
        table.settle(old);
        assert_eq!(
            admit(&mut table, new, "a", DuplicateId::Refuse),
            Admitted::Refused(id("a"))
        );
        assert_eq!(table.name(new), None);
        assert_eq!(
            admit(&mut table, new, "a", DuplicateId::Mute),
            Admitted::Mute
        );
        table.settle(new);
        table.depart(new);
        assert_eq!((table.name(new), table.find(b"a")), (None, Some(old)));
        assert_eq!(
            admit(&mut table, third, "a", DuplicateId::Handover),
            Admitted::Instead {
                id: id("a"),
                old,
                connection: Some("way")
            }
        );
        table.settle(third);
        assert_eq!((table.name(old), table.find(b"a")), (None, Some(third)));
        table.depart(old);
        table.forget(old);
        assert_eq!(table.find(b"a"), Some(third));
    }

    /// As the table, by looking at everybody.
    #[derive(Default)]
    struct Naive(Vec<(PeerKey, RoutingId, Standing)>);

    impl Naive {
        fn owner(&self, id: &RoutingId) -> Option<PeerKey> {
            let owns = |standing: Standing| match standing {
                Standing::Reserved | Standing::Live => true,
                Standing::Departed => id.is_automatic(),
                Standing::Mute | Standing::Replaced => false,
            };
            let found = self.0.iter().find(|peer| peer.1 == *id && owns(peer.2));
            found.map(|peer| peer.0)
        }

        fn standing(&mut self, key: PeerKey) -> Option<&mut Standing> {
            let peer = self.0.iter_mut().find(|peer| peer.0 == key)?;
            Some(&mut peer.2)
        }

        fn change(&mut self, key: PeerKey, to: Standing) {
            if let Some(standing @ (Standing::Reserved | Standing::Live)) = self.standing(key) {
                *standing = to;
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_list(ops in prop::collection::vec((0..9u8, 0..6u32, 0..4u8), 0..200)) {
            let mut table = IdTable::<u32>::new();
            let mut naive = Naive::default();
            let mut generations = [0; 6];
            let mut draws = 0u32;
            for (op, index, name) in ops {
                let current = key(index, generations[index as usize]);
                let announced = RoutingId::new(["a", "b", "c", ""][usize::from(name)]).ok();
                match op {
                    0..=3 => {
                        let policy = [DuplicateId::Refuse, DuplicateId::Handover, DuplicateId::Mute][usize::from(op % 3)];
                        // Every draw comes twice, so that there are collisions.
                        let admitted = table.admit(current, announced.clone(), Some(index), policy, || {
                            draws += 1;
                            draws / 2 % 16
                        });
                        let held = naive.0.iter().find(|peer| {
                            peer.0 == current && matches!(peer.2, Standing::Reserved | Standing::Live)
                        });
                        if let Some(held) = held {
                            prop_assert_eq!(admitted, Admitted::As(held.1.clone()));
                            continue;
                        }
                        let taken = announced.as_ref().and_then(|id| naive.owner(id));
                        match admitted {
                            Admitted::As(id) => {
                                prop_assert_eq!(taken, None);
                                prop_assert_eq!(naive.owner(&id), None, "a fresh one");
                                prop_assert_eq!(announced.is_none(), id.is_automatic());
                                naive.0.retain(|peer| peer.0.index != index);
                                naive.0.push((current, id, Standing::Reserved));
                            }
                            Admitted::Instead { id, old, .. } => {
                                prop_assert_eq!(policy, DuplicateId::Handover);
                                prop_assert_eq!(taken, Some(old));
                                *naive.standing(old).unwrap() = Standing::Replaced;
                                naive.0.retain(|peer| peer.0.index != index);
                                naive.0.push((current, id, Standing::Reserved));
                            }
                            Admitted::Mute => {
                                prop_assert_eq!(policy, DuplicateId::Mute);
                                prop_assert!(taken.is_some());
                                naive.0.retain(|peer| peer.0.index != index);
                                naive.0.push((current, announced.unwrap(), Standing::Mute));
                            }
                            Admitted::Refused(id) => {
                                prop_assert_eq!(policy, DuplicateId::Refuse);
                                prop_assert!(naive.owner(&id).is_some());
                            }
                        }
                    }
                    4 => {
                        if let Some(id) = announced {
                            let free = naive.owner(&id).is_none();
                            prop_assert_eq!(table.is_free(id.as_bytes()), free);
                            prop_assert_eq!(table.assign(current, id.clone()), free);
                            if free {
                                naive.0.retain(|peer| peer.0.index != index);
                                naive.0.push((current, id, Standing::Live));
                            }
                        }
                    }
                    5 => {
                        table.settle(current);
                        naive.change(current, Standing::Live);
                    }
                    6 => {
                        table.depart(current);
                        naive.change(current, Standing::Departed);
                    }
                    7 => {
                        table.forget(current);
                        naive.0.retain(|peer| peer.0 != current);
                    }
                    _ => generations[index as usize] += 1,
                }
                for (key, id, standing) in &naive.0 {
                    let named = !matches!(standing, Standing::Mute | Standing::Replaced);
                    prop_assert_eq!(table.name(*key), named.then_some(id));
                    let owner = naive.owner(id);
                    prop_assert_eq!(table.is_free(id.as_bytes()), owner.is_none());
                    let live = naive.0.iter().any(|peer| {
                        Some(peer.0) == owner && peer.2 == Standing::Live
                    });
                    prop_assert_eq!(table.find(id.as_bytes()), owner.filter(|_| live));
                }
            }
        }
    }
}
