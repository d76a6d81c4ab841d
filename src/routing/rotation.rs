//! The round over a socket's active peers: whose turn it is, and who is next.
//!
//! A fair queue turns through the readable pipes, a load balancer through the writable ones; both
//! are this. Members form a ring, a doubly linked list threaded through an array indexed by slot
//! number, so that joining, leaving and moving on are O(1) for any number of peers (L-88).
//!
//! Order: a member that becomes active joins at the end of the round, that is, behind everybody
//! whose turn is still to come; nobody is ever moved past another. So each member has its turn
//! within one round of the members active with it, however others come and go. (The usual
//! array with active members in front, kept by swapping, does not have this property: swapping the
//! last member into a gap behind the current one makes it miss its turn, every time it happens.)
//!
//! What this is not: it knows no pipes. Its user looks a key up in the
//! tables and takes it out of here when the pipe turns out empty, full, or
//! gone.

use super::PeerKey;

/// The active members, in a ring, and the current one.
#[derive(Debug)]
pub(crate) struct Rotation {
    current: Current,
    active: u32,
    /// By slot number. Grows to the highest slot ever active and stays: 12 octets each.
    links: Vec<Link>,
}

/// Whose turn it is, if anybody's, in a single word: it is written for each message, and read for the next. What is
/// read in larger pieces than it was written in has to reach the cache first, behind all that was written before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Current(u64);

impl Current {
    /// With [`NONE`] in the place of the slot number.
    const NOBODY: Current = Current(u64::MAX);

    #[inline(always)]
    fn of(key: PeerKey) -> Self {
        Current(u64::from(key.generation) << 32 | u64::from(key.index))
    }

    #[inline(always)]
    fn get(self) -> Option<PeerKey> {
        (self != Current::NOBODY).then_some(PeerKey {
            index: self.0 as u32,
            generation: (self.0 >> 32) as u32,
        })
    }
}

/// A member's neighbours. `prev == NONE` if the slot is not active.
#[derive(Debug, Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
    generation: u32,
}

impl Link {
    const IDLE: Link = Link {
        prev: NONE,
        next: NONE,
        generation: 0,
    };
}

/// No slot: a socket has fewer than 2³² peers, so this is no slot number.
const NONE: u32 = u32::MAX;

impl Rotation {
    /// Nobody active. Allocates nothing.
    pub(crate) const fn new() -> Self {
        Rotation {
            current: Current::NOBODY,
            active: 0,
            links: Vec::new(),
        }
    }

    /// Whose turn it is; `None` if nobody is active.
    #[inline]
    pub(crate) fn current(&self) -> Option<PeerKey> {
        self.current.get()
    }

    /// Ends the current member's turn; the next one is current. Nothing happens if nobody is
    /// active.
    #[inline(always)]
    pub(crate) fn advance(&mut self) {
        if let Some(current) = self.current.get() {
            let next = self.links[current.index as usize].next;
            // A member alone in the ring is its own next.
            if next != current.index {
                self.current = self.key(next);
            }
        }
    }

    /// Makes `key` active, its turn being the last of the round. Returns whether it was not active
    /// before.
    ///
    /// `key` must be of a live peer: a member left over from the slot's earlier owner is replaced.
    pub(crate) fn activate(&mut self, key: PeerKey) -> bool {
        let index = key.index as usize;
        if index >= self.links.len() {
            if index >= self.links.capacity() {
                // By an eighth: what is kept to grow is memory of every peer.
                let more = index + 1 - self.links.len();
                self.links
                    .reserve_exact(more.max(self.links.len() / 8).max(4));
            }
            self.links.resize(index + 1, Link::IDLE);
        }
        let link = self.links[index];
        if link.prev != NONE {
            if link.generation == key.generation {
                return false;
            }
            self.unlink(key.index);
        }
        let (prev, next) = match self.current() {
            None => (key.index, key.index),
            Some(current) => (self.links[current.index as usize].prev, current.index),
        };
        self.links[index] = Link {
            prev,
            next,
            generation: key.generation,
        };
        self.links[prev as usize].next = key.index;
        self.links[next as usize].prev = key.index;
        if self.is_empty() {
            self.current = Current::of(key);
        }
        self.active += 1;
        true
    }

    /// Takes `key` out of the round; if it was the current one, the next is. Returns whether it was
    /// active. A stale key takes nobody out.
    pub(crate) fn deactivate(&mut self, key: PeerKey) -> bool {
        let found = self.is_active(key);
        if found {
            self.unlink(key.index);
        }
        found
    }

    /// Forgets a peer that is gone. The same as [`Rotation::deactivate`], for an inactive peer leaves
    /// no trace here.
    pub(crate) fn remove(&mut self, key: PeerKey) -> bool {
        self.deactivate(key)
    }

    /// Whether `key` is in the round.
    #[inline]
    pub(crate) fn is_active(&self, key: PeerKey) -> bool {
        self.links
            .get(key.index as usize)
            .is_some_and(|link| link.prev != NONE && link.generation == key.generation)
    }

    /// The number of active members.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.active as usize
    }

    /// Whether nobody is active.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.current == Current::NOBODY
    }

    fn unlink(&mut self, index: u32) {
        let link = std::mem::replace(&mut self.links[index as usize], Link::IDLE);
        self.active -= 1;
        if link.next == index {
            self.current = Current::NOBODY;
            return;
        }
        self.links[link.prev as usize].next = link.next;
        self.links[link.next as usize].prev = link.prev;
        if self.current().is_some_and(|current| current.index == index) {
            self.current = self.key(link.next);
        }
    }

    #[inline]
    fn key(&self, index: u32) -> Current {
        Current::of(PeerKey {
            index,
            generation: self.links[index as usize].generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn key(index: u32) -> PeerKey {
        PeerKey {
            index,
            generation: 7,
        }
    }

    /// The members in order of their turns, by turning once round.
    fn round(rotation: &mut Rotation) -> Vec<PeerKey> {
        (0..rotation.len())
            .map(|_| {
                let current = rotation.current().unwrap();
                rotation.advance();
                current
            })
            .collect()
    }

    #[test]
    fn nobody() {
        let mut rotation = Rotation::new();
        rotation.advance();
        assert_eq!(rotation.current(), None);
        assert!(!rotation.deactivate(key(0)));
        assert!(rotation.is_empty());
    }

    #[test]
    fn a_newcomer_is_the_last_of_the_round() {
        let mut rotation = Rotation::new();
        for i in 0..3 {
            assert!(rotation.activate(key(i)));
        }
        rotation.advance();
        assert!(rotation.activate(key(9)));
        assert!(!rotation.activate(key(9)), "already active");
        assert_eq!(round(&mut rotation), [key(1), key(2), key(0), key(9)]);
    }

    #[test]
    fn the_next_takes_over_from_a_current_one_that_leaves() {
        let mut rotation = Rotation::new();
        for i in 0..3 {
            rotation.activate(key(i));
        }
        assert!(rotation.deactivate(key(0)));
        assert_eq!(rotation.current(), Some(key(1)));
        assert!(rotation.remove(key(2)));
        assert_eq!(round(&mut rotation), [key(1)]);
        assert!(rotation.deactivate(key(1)));
        assert_eq!(rotation.current(), None);
    }

    #[test]
    fn members_that_come_and_go_starve_nobody() {
        let mut rotation = Rotation::new();
        for i in 0..10 {
            rotation.activate(key(i));
        }
        let mut turns = [0; 10];
        for _ in 0..1000 {
            let current = rotation.current().unwrap();
            turns[current.index as usize] += 1;
            rotation.advance();
            // Every even member leaves and comes back each time it had its turn.
            if current.index % 2 == 0 {
                rotation.deactivate(current);
                rotation.activate(current);
            }
        }
        assert_eq!(turns, [100; 10]);
    }

    #[test]
    fn a_stale_key_moves_nobody() {
        let mut rotation = Rotation::new();
        let old = key(0);
        let new = PeerKey {
            index: 0,
            generation: 8,
        };
        rotation.activate(new);
        assert!(!rotation.deactivate(old));
        assert!(!rotation.remove(old));
        assert!(!rotation.is_active(old));
        assert_eq!(rotation.current(), Some(new));
    }

    #[test]
    fn a_new_owner_of_a_slot_replaces_the_old() {
        let mut rotation = Rotation::new();
        rotation.activate(key(0));
        rotation.activate(key(1));
        let new = PeerKey {
            index: 0,
            generation: 8,
        };
        assert!(rotation.activate(new));
        assert_eq!(round(&mut rotation), [key(1), new]);
    }

    #[test]
    fn a_hundred_thousand_members() {
        const MEMBERS: u32 = 100_000;
        let mut rotation = Rotation::new();
        for i in (0..MEMBERS).rev() {
            rotation.activate(key(i));
        }
        let all = round(&mut rotation);
        assert!(all.iter().map(|k| k.index).eq((0..MEMBERS).rev()));
        for i in 0..MEMBERS {
            assert!(rotation.remove(key(i)));
        }
        assert!(rotation.is_empty());
    }

    proptest! {
        /// The front of the model is the current member.
        #[test]
        fn behaves_as_a_deque(ops in prop::collection::vec((0..5u8, 0..12u32), 0..300)) {
            let mut rotation = Rotation::new();
            let mut model: VecDeque<PeerKey> = VecDeque::new();
            for (op, index) in ops {
                let key = key(index);
                match op {
                    0 => {
                        rotation.advance();
                        if !model.is_empty() {
                            model.rotate_left(1);
                        }
                    }
                    1 | 2 => {
                        let new = !model.contains(&key);
                        prop_assert_eq!(rotation.activate(key), new);
                        if new {
                            model.push_back(key);
                        }
                    }
                    3 => {
                        let there = model.contains(&key);
                        prop_assert_eq!(rotation.deactivate(key), there);
                        model.retain(|k| *k != key);
                    }
                    _ => {
                        if let Some(current) = rotation.current() {
                            prop_assert!(rotation.remove(current));
                            model.pop_front();
                        }
                    }
                }
                prop_assert_eq!(rotation.current(), model.front().copied());
                prop_assert_eq!(rotation.len(), model.len());
                prop_assert_eq!(rotation.is_empty(), model.is_empty());
                prop_assert_eq!(rotation.is_active(key), model.contains(&key));
            }
            prop_assert_eq!(round(&mut rotation), model.into_iter().collect::<Vec<_>>());
        }
    }
}
