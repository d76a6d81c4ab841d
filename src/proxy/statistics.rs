//! What a proxy counts: written by its thread alone, read by anyone.

use crate::message::Message;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a proxy has forwarded so far. Exact while it is paused or stopped; while it runs, the figures of one
/// snapshot may be a few messages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProxyStatistics {
    /// What came in and went out through the first socket.
    pub front: SideStatistics,
    /// And through the second.
    pub back: SideStatistics,
    /// Messages for a peer that was not there (any more), which are gone.
    pub undeliverable: u64,
    /// Messages for one peer of a ROUTER or STREAM that had no room for them, which are gone. None if the proxy
    /// [waits for such peers](crate::Proxy::wait_for_full_peers).
    pub full: u64,
}

/// One socket of a proxy. Octets are those of frame bodies; a routing id that a ROUTER adds or takes away counts as
/// a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SideStatistics {
    /// Messages received.
    pub received_messages: u64,
    /// Frames of these.
    pub received_frames: u64,
    /// Octets of these.
    pub received_octets: u64,
    /// Messages sent.
    pub sent_messages: u64,
    /// Frames of these.
    pub sent_frames: u64,
    /// Octets of these.
    pub sent_octets: u64,
}

/// The counters behind [`ProxyStatistics`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Received by the front, sent by the front, received by the back, sent by the back.
    pub(super) ways: [WayCounts; 4],
    pub(super) undeliverable: AtomicU64,
    pub(super) full: AtomicU64,
}

/// One socket, in one direction.
#[derive(Debug, Default)]
pub(super) struct WayCounts {
    messages: AtomicU64,
    frames: AtomicU64,
    octets: AtomicU64,
}

impl Counts {
    pub(super) fn received(&self, side: usize) -> &WayCounts {
        &self.ways[2 * side]
    }

    pub(super) fn sent(&self, side: usize) -> &WayCounts {
        &self.ways[2 * side + 1]
    }

    pub(super) fn snapshot(&self) -> ProxyStatistics {
        let side = |side: usize| {
            let (received_messages, received_frames, received_octets) = self.received(side).read();
            let (sent_messages, sent_frames, sent_octets) = self.sent(side).read();
            SideStatistics {
                received_messages,
                received_frames,
                received_octets,
                sent_messages,
                sent_frames,
                sent_octets,
            }
        };
        ProxyStatistics {
            front: side(0),
            back: side(1),
            undeliverable: self.undeliverable.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
        }
    }

    /// The answer to `STATISTICS`.
    pub(super) fn message(&self) -> Message {
        let figures = self.ways.iter().flat_map(|way| {
            let (_, frames, octets) = way.read();
            [frames, octets]
        });
        Message::multipart(figures.map(|figure| figure.to_ne_bytes()))
    }
}

impl WayCounts {
    pub(super) fn add(&self, messages: u64, frames: u64, octets: u64) {
        add_owned(&self.messages, messages);
        add_owned(&self.frames, frames);
        add_owned(&self.octets, octets);
    }

    pub(super) fn add_message(&self, (frames, octets): (u64, u64)) {
        self.add(1, frames, octets);
    }

    fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.messages), read(&self.frames), read(&self.octets))
    }
}

/// Only the proxy's thread writes: no read-modify-write is needed.
pub(super) fn add_owned(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// Frames and octets of a message.
pub(super) fn measure(message: &Message) -> (u64, u64) {
    let frames = message.frames();
    let octets = frames.iter().map(|frame| frame.len() as u64).sum();
    (frames.len() as u64, octets)
}
