//! Messages that were dropped, counted by cause, and how a monitor hears of them.
//!
//! There may be millions a second, so nothing is done for each but to count it, and to look whether a monitor
//! sleeps that wants to know. It reads the counts when it wakes, and they say how many there were since.

use std::fmt;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropCause {
    /// The peer it was for had its high-water mark of messages waiting, or the budget of the context was used up; over
    /// udp, this socket had. With conflation by topic, it gave way to other topics.
    Full,
    /// The peer it was for is gone. What waited for it is counted, and told to monitors, when the connection ends,
    /// before the end itself; what is sent to it after that, when the socket takes note of the end. Of PUSH and SCATTER,
    /// what had not been written to a connection goes to other peers. Over inproc, what the peer has received is not lost,
    /// and what waits for it is when it is closed: one that is only disconnected may still receive it.
    PeerLost,
    /// The pattern has no use for what was received.
    Unexpected,
    /// A datagram that was received is none of this pattern.
    Malformed,
}

impl DropCause {
    const ALL: [DropCause; 4] = [
        DropCause::Full,
        DropCause::PeerLost,
        DropCause::Unexpected,
        DropCause::Malformed,
    ];
}

impl fmt::Display for DropCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DropCause::Full => "at the high-water mark",
            DropCause::PeerLost => "the peer is gone",
            DropCause::Unexpected => "the pattern has no use for it",
            DropCause::Malformed => "malformed",
        })
    }
}

/// Messages that a socket has dropped.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    counts: [AtomicU64; DropCause::ALL.len()],
    /// A monitor has found nothing new, and sleeps or is about to.
    armed: AtomicBool,
}

impl Drops {
    pub(crate) fn count(&self, cause: DropCause) -> u64 {
        self.counts[cause as usize].load(Ordering::Relaxed)
    }

    /// Counts messages; whether monitors are to be woken.
    ///
    /// Count and look here, arming and look there, in one order that all agree on: one of the two sees the other.
    #[must_use]
    #[cfg_attr(sinew_sharing, track_caller)]
    pub(super) fn add(&self, cause: DropCause, messages: u64) -> bool {
        self.counts[cause as usize].fetch_add(messages, Ordering::SeqCst);
        self.armed.load(Ordering::SeqCst) && self.armed.swap(false, Ordering::SeqCst)
    }
}

/// How much of the counts a monitor has been told.
#[derive(Debug)]
pub(super) struct Told([u64; DropCause::ALL.len()]);

impl Told {
    /// All there is now.
    pub(super) fn by_now(drops: &Drops) -> Self {
        Told(DropCause::ALL.map(|cause| drops.count(cause)))
    }

    /// The next cause of which there is more than was told, and how much.
    pub(super) fn take(&mut self, drops: &Drops) -> Option<(DropCause, u64)> {
        DropCause::ALL.into_iter().find_map(|cause| {
            let told = &mut self.0[cause as usize];
            let now = drops.counts[cause as usize].load(Ordering::SeqCst);
            let more = now.wrapping_sub(std::mem::replace(told, now));
            (more > 0).then_some((cause, more))
        })
    }

    /// Whether there is more. If not, the next one to come is told to wake monitors.
    pub(super) fn has_more(&self, drops: &Drops) -> bool {
        let more = || {
            let mut causes = DropCause::ALL.iter();
            causes.any(|cause| {
                drops.counts[*cause as usize].load(Ordering::SeqCst) != self.0[*cause as usize]
            })
        };
        more() || {
            drops.armed.store(true, Ordering::SeqCst);
            more()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_told_all_is_woken_once_for_many() {
        let drops = Drops::default();
        assert!(!drops.add(DropCause::Full, 2), "nobody waits");
        let mut told = Told::by_now(&drops);
        assert!(!told.has_more(&drops));
        assert!(drops.add(DropCause::Full, 1), "the first wakes");
        assert!(!drops.add(DropCause::Full, 3), "the others do not");
        assert!(!drops.add(DropCause::PeerLost, 1));
        assert!(told.has_more(&drops));
        assert_eq!(told.take(&drops), Some((DropCause::Full, 4)));
        assert_eq!(told.take(&drops), Some((DropCause::PeerLost, 1)));
        assert_eq!(told.take(&drops), None);
    }
}
