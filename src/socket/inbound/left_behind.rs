//! What peers that are gone have left, when nobody receives it.

use super::{InPipe, RecvHalf};
use crate::io::DropCause;
use crate::routing::PeerKey;

/// Of how many peers that are gone what they left is kept for an application that only sends.
const LEFT_BEHIND: usize = 1024;

impl RecvHalf {
    /// For a socket that sends and may never receive: takes note of what has changed, and gives up what
    /// peers that are gone have left when it is that of very many.
    #[inline]
    pub(in crate::socket) fn refresh_for_sender(&mut self) {
        if self.port.inbound.is_pending() {
            self.take_mail();
            if self.left_behind > LEFT_BEHIND {
                self.drop_left_behind();
            }
        }
    }

    #[cold]
    fn drop_left_behind(&mut self) {
        let down = |pipe: &InPipe| pipe.down.then_some(pipe.key);
        let keys: Vec<PeerKey> = self.pipes.iter().flatten().filter_map(down).collect();
        // Some may have been received meanwhile.
        self.left_behind = keys.len();
        if keys.len() <= LEFT_BEHIND {
            return;
        }
        self.left_behind = 0;
        self.drop_pipes(keys);
    }

    /// For a half that nobody receives from any more: takes note of what has changed, and gives up what peers that
    /// are gone have left. Connections that it reads are left to their I/O threads.
    pub(in crate::socket) fn forsake(&mut self) {
        self.release_links();
        self.refresh();
        let down = |pipe: &InPipe| pipe.down.then_some(pipe.key);
        let keys = self.pipes.iter().flatten().filter_map(down).collect();
        self.drop_pipes(keys);
    }

    /// Lets go of pipes that are down, with what is unread in them.
    fn drop_pipes(&mut self, keys: Vec<PeerKey>) {
        for key in keys {
            let Some(pipe) = self.pipe(key) else {
                continue;
            };
            let unread = pipe.reader.queued_messages();
            self.port.dropped(DropCause::PeerLost, unread);
            self.wake(key);
            self.release(key);
        }
    }
}
