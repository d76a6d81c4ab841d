//! Full pipes that somebody wants to hear of, each by itself: who serves many peers, and holds messages for those that are
//! full, does not ask after each of them again and again.
//!
//! A pipe that is watched is armed, so its other end, or the thread that writes it, posts that it has room. What costs
//! something is what has happened, however many are watched.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::SendHalf;
use crate::message::RoutingId;
use crate::routing::PeerKey;
use crate::socket::deadline::Deadline;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watched {
    full: HashMap<PeerKey, RoutingId>,
    /// What may have room since. Looked at once more before it is told.
    signalled: HashSet<PeerKey>,
    /// What is to be told: each once, however often it was asked about.
    told: BTreeSet<RoutingId>,
}

impl SendHalf {
    /// From here on [`SendHalf::try_room`] tells when this pipe has room, or is gone.
    pub(in crate::socket) fn watch_room(&mut self, key: PeerKey, id: RoutingId) {
        match self.has_room_or_is_gone(key) {
            true => drop(self.watched.told.insert(id)),
            false => drop(self.watched.full.insert(key, id)),
        }
    }

    /// One that is watched and has room, or is gone. It is not watched any more.
    pub(in crate::socket) fn try_room(&mut self) -> Option<RoutingId> {
        self.refresh();
        if self.watched.signalled.is_empty() {
            return self.watched.told.pop_first();
        }
        for key in std::mem::take(&mut self.watched.signalled) {
            let known = self.watched.full.contains_key(&key);
            if known && self.has_room_or_is_gone(key) {
                self.watched.told.extend(self.watched.full.remove(&key));
            }
        }
        self.watched.told.pop_first()
    }

    /// The same; a task is woken when there may be one, if any is watched.
    pub(in crate::socket) fn poll_room(&mut self, deadline: Deadline) -> Option<RoutingId> {
        loop {
            let room = self.try_room();
            if room.is_some() || self.watched.full.is_empty() || !self.wait(deadline) {
                return room;
            }
        }
    }

    /// Something was heard of this pipe.
    #[inline]
    pub(super) fn signal_room(&mut self, key: PeerKey) {
        if self.watched.full.contains_key(&key) {
            self.watched.signalled.insert(key);
        }
    }

    /// Something has changed for all of them.
    pub(super) fn signal_all_room(&mut self) {
        let all = self.watched.full.keys();
        self.watched.signalled.extend(all);
    }

    /// If not, it is armed.
    fn has_room_or_is_gone(&mut self, key: PeerKey) -> bool {
        !self.is_full(key) || self.arm_pipe(key)
    }
}
