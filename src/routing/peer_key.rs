//! Names for a socket's peers, and the table they are kept in.
//!
//! A [`PeerKey`] is a slot number and the generation the slot had when the peer moved in. Slots are
//! used again, so that tables indexed by slot stay dense; keys are not, so that a key kept beyond its
//! peer's life (in a queued command, an unread message, an owed reply) finds nothing instead of a
//! stranger. All operations are O(1).

use slab::Slab;

/// The name of one peer of one socket, for as long as it is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    /// Slot number: small, dense, and used again. For tables beside the [`PeerTable`].
    pub(crate) index: u32,
    /// Which of the peers that had this slot.
    pub(crate) generation: u32,
}

/// What a socket keeps for each peer, by [`PeerKey`].
///
/// Generations come from one counter for all slots. A stale key would be mistaken for a live one
/// only after exactly 2³² insertions, the last of them into the very same slot.
#[derive(Debug)]
pub(crate) struct PeerTable<T> {
    slots: Slab<Slot<T>>,
    next_generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: T,
}

impl<T> PeerTable<T> {
    /// An empty table. Allocates nothing.
    pub(crate) const fn new() -> Self {
        PeerTable {
            slots: Slab::new(),
            next_generation: 0,
        }
    }

    /// Adds a peer.
    ///
    /// # Panics
    /// With 2³² peers attached at once, which no system has descriptors or memory for.
    pub(crate) fn insert(&mut self, value: T) -> PeerKey {
        self.insert_with(|_| value)
    }

    /// Adds a peer whose value is made from its own key.
    ///
    /// # Panics
    /// As [`PeerTable::insert`].
    pub(crate) fn insert_with(&mut self, value: impl FnOnce(PeerKey) -> T) -> PeerKey {
        let slot = self.slots.vacant_entry();
        let key = PeerKey {
            index: u32::try_from(slot.key()).expect("fewer than 2^32 peers at once"),
            generation: self.next_generation,
        };
        self.next_generation = self.next_generation.wrapping_add(1);
        slot.insert(Slot {
            generation: key.generation,
            value: value(key),
        });
        key
    }

    /// The peer of this key, if it is still attached.
    #[inline]
    pub(crate) fn get(&self, key: PeerKey) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some(slot) if slot.generation == key.generation => Some(&slot.value),
            _ => None,
        }
    }

    /// As [`PeerTable::get`], to change.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(slot) if slot.generation == key.generation => Some(&mut slot.value),
            _ => None,
        }
    }

    /// Whether the peer of this key is still attached.
    pub(crate) fn contains(&self, key: PeerKey) -> bool {
        self.get(key).is_some()
    }

    /// Takes a peer out; its key and all copies of it find nothing from now on.
    pub(crate) fn remove(&mut self, key: PeerKey) -> Option<T> {
        if !self.contains(key) {
            return None;
        }
        let slot = self.slots.try_remove(key.index as usize)?;
        if self.slots.is_empty() {
            self.slots = Slab::new();
        }
        Some(slot.value)
    }

    /// The number of peers.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no peers.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All peers, in order of slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerKey, &T)> {
        self.slots
            .iter()
            .map(|(index, slot)| (key_of(index, slot), &slot.value))
    }

    /// As [`PeerTable::iter`], to change.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (PeerKey, &mut T)> {
        self.slots.iter_mut().map(|(index, slot)| {
            let key = key_of(index, slot);
            (key, &mut slot.value)
        })
    }
}

/// `insert` made sure that every slot number in use fits.
fn key_of<T>(index: usize, slot: &Slot<T>) -> PeerKey {
    PeerKey {
        index: index as u32,
        generation: slot.generation,
    }
}

impl<T> Default for PeerTable<T> {
    fn default() -> Self {
        PeerTable::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut table = PeerTable::new();
        let old = table.insert("old");
        assert_eq!(table.remove(old), Some("old"));
        let new = table.insert("new");
        assert_eq!(new.index, old.index, "slots are used again");
        assert_eq!(table.get(old), None);
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get(new), Some(&"new"));
    }

    #[test]
    fn a_value_may_hold_its_own_key() {
        let mut table = PeerTable::new();
        let key = table.insert_with(|key| key);
        assert_eq!(table.get(key), Some(&key));
    }

    #[test]
    fn generations_go_on_beyond_their_range() {
        let mut table = PeerTable::new();
        table.next_generation = u32::MAX;
        let last = table.insert(1);
        let first = table.insert(2);
        assert_eq!((last.generation, first.generation), (u32::MAX, 0));
        assert_eq!(table.get(last), Some(&1));
        assert_eq!(table.get(first), Some(&2));
    }

    proptest! {
        #[test]
        fn behaves_as_a_list_of_pairs(ops in prop::collection::vec((0..4u8, any::<prop::sample::Index>()), 0..200)) {
            let mut table = PeerTable::new();
            let mut model: Vec<(PeerKey, usize)> = Vec::new();
            let mut dead: Vec<PeerKey> = Vec::new();
            for (step, (op, pick)) in ops.into_iter().enumerate() {
                match op {
                    0 | 1 => {
                        let key = table.insert(step);
                        prop_assert!(!dead.contains(&key));
                        prop_assert!(model.iter().all(|(k, _)| k.index != key.index));
                        model.push((key, step));
                    }
                    2 if !model.is_empty() => {
                        let (key, value) = model.swap_remove(pick.index(model.len()));
                        prop_assert_eq!(table.remove(key), Some(value));
                        dead.push(key);
                    }
                    3 if !model.is_empty() => {
                        let at = pick.index(model.len());
                        model[at].1 += 1000;
                        *table.get_mut(model[at].0).unwrap() += 1000;
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.is_empty(), model.is_empty());
                for (key, value) in &model {
                    prop_assert_eq!(table.get(*key), Some(value));
                }
                for key in &dead {
                    prop_assert!(!table.contains(*key));
                }
                let mut all: Vec<_> = table.iter().map(|(k, v)| (k.index, *v)).collect();
                let same: Vec<_> = table.iter_mut().map(|(k, v)| (k.index, *v)).collect();
                prop_assert_eq!(&all, &same);
                all.sort_unstable();
                let mut expected: Vec<_> = model.iter().map(|(k, v)| (k.index, *v)).collect();
                expected.sort_unstable();
                prop_assert_eq!(all, expected);
            }
        }
    }
}
