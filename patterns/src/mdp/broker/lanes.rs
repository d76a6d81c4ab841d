//! Who gets which request: which of the free workers, and which of the requests of one key.

use std::collections::{BTreeMap, VecDeque};

use super::super::config::Pick;
use super::peers::Worker;
use super::{BrokerEngine, Service};
use crate::common::PeerId;

/// Requests of one key, in the order in which they came. The first of them waits for a worker or is with one; the others
/// are held in the queue.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<Box<[u8]>, VecDeque<u64>>);

impl Lanes {
    /// Whether no request of this key is here.
    pub(super) fn is_free(&self, key: &[u8]) -> bool {
        !self.0.contains_key(key)
    }

    /// A request has come. Those that came later have greater numbers.
    pub(super) fn enter(&mut self, key: &[u8], id: u64) {
        match self.0.get_mut(key) {
            Some(lane) => lane.push_back(id),
            None => drop(self.0.insert(key.into(), VecDeque::from([id]))),
        }
    }

    /// A request is over. Returns the one whose turn it is now, if that has changed.
    fn leave(&mut self, key: &[u8], id: u64) -> Option<u64> {
        let lane = self.0.get_mut(key)?;
        let place = lane.binary_search(&id).ok()?;
        lane.remove(place);
        if lane.is_empty() {
            self.0.remove(key);
            return None;
        }
        lane.front().copied().filter(|_| place == 0)
    }
}

impl BrokerEngine {
    /// A request with a key is over: the next one of the key may go. Whoever calls this dispatches.
    pub(super) fn leave_lane(&mut self, name: &[u8], key: &[u8], id: u64) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let next = service.lanes.leave(key, id);
        let ticket = next.and_then(|next| self.requests.get(&next)?.ticket);
        if let Some(ticket) = ticket {
            service.queue.release(ticket);
        }
    }
}

impl Service {
    /// Which of the workers with a free slot gets a request with this key. It is not among them any more.
    pub(super) fn pick(
        &mut self,
        workers: &BTreeMap<PeerId, Worker>,
        key: Option<&[u8]>,
    ) -> Option<PeerId> {
        let load = |peer: &PeerId| workers.get(peer).map_or(0, |worker| worker.running.len());
        let idle = self.idle.iter();
        let picked = match (self.policy.pick, key) {
            (Pick::LastIdle, _) => return self.idle.pop_last().map(|(_, peer)| peer),
            (Pick::LeastLoaded, _) => idle.min_by_key(|(turn, peer)| (load(peer), *turn)).cloned(),
            (Pick::ByKey, Some(key)) => idle.max_by_key(|(_, peer)| affinity(key, peer)).cloned(),
            (Pick::LongestIdle | Pick::ByKey, _) => {
                return self.idle.pop_first().map(|(_, peer)| peer)
            }
        };
        let picked = picked?;
        self.idle.remove(&picked);
        Some(picked.1)
    }
}

/// How much a key belongs to a worker: the most to the same one, as long as that is there, and when it goes its keys go
/// to all others alike (highest random weight; Thaler and Ravishankar 1998). FNV-1a, finished as in SplitMix64, since its
/// last octets would hardly show in the upper bits.
fn affinity(key: &[u8], worker: &PeerId) -> u64 {
    let octets = key.iter().chain(worker.as_bytes());
    let hash = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
