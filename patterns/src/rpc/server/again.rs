//! Requests that come again from the same place, while the first is known.

use std::time::Instant;

use super::{Origin, Place, RequestId, ServerEngine};
use crate::common::MsgId;

impl ServerEngine {
    /// A running request of this key came from the same place. If it had been given up, or its connection was lost, its
    /// client wants it again from now on, and this returns true. Not if parts of the reply are made already: it would get
    /// the others, and not know.
    pub(super) fn is_wanted_again(
        &mut self,
        id: RequestId,
        key: MsgId,
        origin: &Origin,
        deadline: Option<Instant>,
    ) -> bool {
        let Some(pending) = self.requests.get_mut(&id) else {
            return false;
        };
        if !pending.gone || pending.key != Some(key) || pending.parts > 0 || pending.unread {
            return false;
        }
        pending.gone = false;
        pending.origin = origin.clone();
        pending.deadline = deadline;
        match pending.queued {
            Some(ticket) => {
                self.queue.set_deadline(ticket, deadline);
            }
            None => self.waits_until(id, deadline),
        }
        true
    }

    /// What comes from there is not a repetition of this request any more.
    pub(super) fn forget_place(&mut self, place: Option<Place>, id: RequestId) {
        if let Some(place) = place {
            if self.origins.get(&place) == Some(&id) {
                self.origins.remove(&place);
            }
        }
    }
}
