//! Which connections a receiver reads itself, when it has many.
//!
//! To move a descriptor from one poll to another costs about as much as the hop between threads that it
//! saves. So of many connections only those are worth it whose messages the receiver keeps waiting for:
//! a peer that was the last to be heard before several waits in a row. What others send comes by way
//! of the I/O threads, and when it comes all the time the favourites are given up.

use crate::routing::PeerKey;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Favourites {
    /// At most [`MOST`], the latest last.
    keys: Vec<PeerKey>,
    /// Who may become one, and the waits in a row that speak for it.
    candidate: Option<(PeerKey, u32)>,
    /// Waits in a row after a message of somebody else.
    strangers: u32,
}

/// As many as a receiver with few connections reads itself.
pub(super) const MOST: usize = crate::io::CALLER_LINKS;

/// Waits in a row that make a favourite.
const STEADY: u32 = 4;

/// Waits in a row for others that end the favour.
const TIRED: u32 = 16;

/// What is to be done about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Favour {
    Nothing,
    /// Read this one from now on, and no longer that one.
    Begin(PeerKey, Option<PeerKey>),
    /// Read none any more.
    End,
}

impl Favourites {
    /// The receiver is about to wait, after a message of `from`.
    pub(super) fn note(&mut self, from: PeerKey) -> Favour {
        if self.keys.contains(&from) {
            self.strangers = 0;
            return Favour::Nothing;
        }
        self.strangers += 1;
        let streak = match self.candidate {
            Some((candidate, streak)) if candidate == from => streak + 1,
            _ => 1,
        };
        self.candidate = Some((from, streak));
        if streak >= STEADY {
            let dropped = (self.keys.len() == MOST).then(|| self.keys.remove(0));
            self.keys.push(from);
            self.candidate = None;
            self.strangers = 0;
            Favour::Begin(from, dropped)
        } else if self.strangers >= TIRED && !self.keys.is_empty() {
            self.clear();
            Favour::End
        } else {
            Favour::Nothing
        }
    }

    pub(super) fn keys(&self) -> &[PeerKey] {
        &self.keys
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, key: PeerKey) {
        self.keys.retain(|other| *other != key);
        self.candidate = self.candidate.filter(|(other, _)| *other != key);
    }

    pub(super) fn clear(&mut self) {
        *self = Favourites::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> PeerKey {
        PeerKey {
            index,
            generation: 0,
        }
    }

    #[test]
    fn a_peer_in_lock_step_becomes_one() {
        let mut favourites = Favourites::default();
        for _ in 1..STEADY {
            assert_eq!(favourites.note(key(7)), Favour::Nothing);
        }
        assert_eq!(favourites.note(key(7)), Favour::Begin(key(7), None));
        assert_eq!(favourites.note(key(7)), Favour::Nothing);
        assert_eq!(favourites.keys(), [key(7)]);
    }

    #[test]
    fn peers_in_turn_become_none() {
        let mut favourites = Favourites::default();
        for n in 0..1000 {
            assert_eq!(favourites.note(key(n % 10)), Favour::Nothing);
        }
        assert!(favourites.keys().is_empty());
    }

    #[test]
    fn there_are_few_and_the_oldest_makes_room() {
        let mut favourites = Favourites::default();
        for n in 0..=MOST as u32 {
            for _ in 1..STEADY {
                favourites.note(key(n));
            }
            let dropped = (n == MOST as u32).then(|| key(0));
            assert_eq!(favourites.note(key(n)), Favour::Begin(key(n), dropped));
        }
        assert_eq!(favourites.keys().len(), MOST);
    }

    #[test]
    fn they_end_when_others_are_heard_all_the_time() {
        let mut favourites = Favourites::default();
        (0..STEADY).for_each(|_| {
            favourites.note(key(1));
        });
        for n in 1..TIRED {
            assert_eq!(favourites.note(key(2 + n % 2)), Favour::Nothing);
        }
        assert_eq!(favourites.note(key(9)), Favour::End);
        assert!(favourites.keys().is_empty());
    }

    #[test]
    fn one_that_is_gone_is_forgotten() {
        let mut favourites = Favourites::default();
        (0..STEADY).for_each(|_| {
            favourites.note(key(1));
        });
        favourites.forget(key(1));
        assert!(favourites.keys().is_empty());
    }
}
