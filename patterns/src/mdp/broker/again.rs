//! Requests that come again from the same client under the same name, while the first is known.

use std::time::Instant;

use sinew::Frame;

use super::{BrokerEngine, Origin};
use crate::common::{Ext, ExtIdem, LONGEST};

impl BrokerEngine {
    /// Whether this is one that is known, so that its answer is the answer to this one too. If it had been given up, or its
    /// connection was lost, its client wants it again from now on.
    pub(super) fn is_repeated(
        &mut self,
        now: Instant,
        origin: &Origin,
        ext: &Ext<'_>,
        body: &[Frame],
    ) -> bool {
        let named = origin.id.map(|id| (origin.peer.clone(), id));
        let known = named.and_then(|named| self.origins.get(&named));
        let Some(request) = known.and_then(|id| self.requests.get_mut(id)) else {
            return false;
        };
        if !request.gone {
            return true;
        }
        // Only one with a key is known although it is gone. What is another request, or comes after parts of the reply that
        // its client has not got, is for the cache to answer.
        let same = ext.idem == Some(ExtIdem::Key)
            && request.parts == 0
            && request.origin.service == origin.service
            && request.body == body;
        if !same {
            return false;
        }
        request.gone = false;
        request.origin = origin.clone();
        request.deadline = ext.time_left().map(|left| now + left.min(LONGEST));
        let (ticket, deadline) = (request.ticket, request.deadline);
        let service = self.services.get_mut(origin.service.as_slice());
        if let (Some(ticket), Some(service)) = (ticket, service) {
            let latest = service.latest(now, deadline);
            service.queue.set_deadline(ticket, Some(latest));
        }
        self.tidy(&origin.service);
        true
    }

    /// From now on a request of this name is another one.
    pub(super) fn forget_name(&mut self, id: u64) {
        if let Some(request) = self.requests.get(&id) {
            let origin = request.origin.clone();
            self.forget_origin(&origin, id);
        }
    }

    /// The request that came from there has no name any more.
    pub(super) fn forget_origin(&mut self, origin: &Origin, id: u64) {
        if let Some(named) = origin.id {
            let named = (origin.peer.clone(), named);
            if self.origins.get(&named) == Some(&id) {
                self.origins.remove(&named);
            }
        }
    }
}
