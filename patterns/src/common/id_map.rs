//! A map from numbers that are given out in order to what they name: calls, requests, tickets.
//!
//! Numbers in a row are spread evenly by a multiplication (Knuth, volume 3, section 6.4), so whatever is done takes one
//! look or two. Nobody else chooses the numbers. Memory follows how many there are at once, and not how far apart they are.

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct IdMap<V> {
    /// Open addressing without gaps: from where an entry belongs to where it is no place is free. A power of two, at
    /// most half of it taken; empty at first.
    places: Vec<Option<(u64, V)>>,
    len: usize,
}

impl<V> IdMap<V> {
    pub(crate) fn new() -> Self {
        IdMap {
            places: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was there before, if anything.
    pub(crate) fn insert(&mut self, id: u64, value: V) -> Option<V> {
        if (self.len + 1) * 2 > self.places.len() {
            self.grow();
        }
        let place = self.place_for(id);
        let before = self.places[place].replace((id, value));
        self.len += usize::from(before.is_none());
        before.map(|(_, before)| before)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&V> {
        let (_, value) = self.places.get(self.find(id)?)?.as_ref()?;
        Some(value)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut V> {
        let place = self.find(id)?;
        let (_, value) = self.places.get_mut(place)?.as_mut()?;
        Some(value)
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.find(id).is_some()
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<V> {
        let mut gap = self.find(id)?;
        let (_, value) = self.places[gap].take()?;
        self.len -= 1;
        // Those behind move up, as far as that brings them closer to where they belong.
        let mut next = gap;
        loop {
            next = self.after(next);
            let Some((id, _)) = &self.places[next] else {
                break;
            };
            let from_home = next.wrapping_sub(self.home(*id)) & self.mask();
            if from_home >= next.wrapping_sub(gap) & self.mask() {
                self.places.swap(gap, next);
                gap = next;
            }
        }
        // After a burst, not for ever.
        if self.places.len() > KEPT && self.len * 16 < self.places.len() {
            self.resize(self.places.len() / 4);
        }
        Some(value)
    }

    /// All ids, in order.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// All, in an order that follows from what was done with the map, and from nothing else.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let taken = self.places.iter().flatten();
        taken.map(|(id, value)| (*id, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let taken = self.places.iter_mut().flatten();
        taken.map(|(_, value)| value)
    }

    fn grow(&mut self) {
        self.resize((self.places.len() * 2).max(LEAST));
    }

    fn resize(&mut self, size: usize) {
        let mut places = Vec::with_capacity(size);
        places.resize_with(size, || None);
        for entry in std::mem::replace(&mut self.places, places) {
            if let Some((id, _)) = &entry {
                let place = self.place_for(*id);
                self.places[place] = entry;
            }
        }
    }

    /// Where this is; `None` if it is not in it.
    fn find(&self, id: u64) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let place = self.place_for(id);
        self.places[place].is_some().then_some(place)
    }

    /// Where this is or would be put. There is a free place.
    fn place_for(&self, id: u64) -> usize {
        let mut place = self.home(id);
        while (self.places[place].as_ref()).is_some_and(|(other, _)| *other != id) {
            place = self.after(place);
        }
        place
    }

    fn home(&self, id: u64) -> usize {
        let bits = self.places.len().trailing_zeros();
        (id.wrapping_mul(GOLDEN) >> (u64::BITS - bits)) as usize
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & self.mask()
    }

    fn mask(&self) -> usize {
        self.places.len() - 1
    }
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        IdMap::new()
    }
}

/// 2⁶⁴ divided by the golden ratio, and odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The fewest places, once there is anything.
const LEAST: usize = 8;

/// So many places are kept however few are taken.
const KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::common::Random;

    /// Against a map of the standard library; with stragglers, and ids that are far apart.
    #[test]
    fn random_histories() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let (mut map, mut naive) = (IdMap::new(), BTreeMap::new());
            let step = [1, 1, 7, 64, 256][(seed % 5) as usize];
            let mut next = random.below(1 << 40);
            for _ in 0..2000 {
                match random.below(5) {
                    0 | 1 => {
                        next += step;
                        let value = random.below(100);
                        assert_eq!(map.insert(next, value), naive.insert(next, value));
                    }
                    2 => {
                        let id = next - step * random.below(20);
                        assert_eq!(map.remove(id), naive.remove(&id), "seed {seed}");
                    }
                    3 => {
                        let oldest = naive.keys().next().copied().unwrap_or(next);
                        assert_eq!(map.remove(oldest), naive.remove(&oldest));
                    }
                    _ => {
                        let id = next - step * random.below(20);
                        assert_eq!(map.get(id), naive.get(&id));
                        assert_eq!(map.contains(id), naive.contains_key(&id));
                        if let Some(value) = map.get_mut(id) {
                            *value += 1;
                            naive.entry(id).and_modify(|value| *value += 1);
                        }
                    }
                }
                assert_eq!(map.len(), naive.len());
            }
            assert_eq!(map.ids(), naive.keys().copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn memory_follows_what_is_in_it() {
        let mut map = IdMap::new();
        for id in 0..100_000u64 {
            map.insert(id, ());
        }
        assert!(map.places.len() <= 4 * 100_000);
        for id in 0..99_999 {
            map.remove(id);
        }
        assert!(map.places.len() <= KEPT && map.contains(99_999));
        // One straggler, and many that come and go after it.
        for id in 100_000..200_000 {
            map.insert(id, ());
            map.remove(id);
        }
        assert!(map.places.len() <= KEPT && map.len() == 1 && !map.is_empty());
    }
}
