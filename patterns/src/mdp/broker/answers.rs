//! Last replies, and what clients are told that get none: if they speak the extension header. 7/MDP has no words for it.

use super::drain::DRAINS;
use super::{BrokerEngine, Kept, Origin};
use crate::common::{Ext, MsgId, Op, Status};

impl BrokerEngine {
    /// Sends a last reply.
    pub(super) fn give(&mut self, origin: &Origin, kept: Kept) {
        let Kept {
            status,
            retry_after,
            reason,
            body,
        } = kept;
        if !origin.ext && status != Status::Ok {
            self.counters.silent += 1;
            return;
        }
        let ext = Ext {
            id: origin.id,
            op: Op::Final,
            status: Some(status),
            retry_after,
            reason,
            ..Ext::default()
        };
        let reply = self.to_client(origin, ext, body, true);
        self.send_reply(reply, false);
    }

    pub(super) fn decline(&mut self, origin: &Origin, status: Status, why: Option<&str>) {
        if !origin.ext {
            self.counters.silent += 1;
            return;
        }
        let service = self.services.get(origin.service.as_slice());
        let policy = service.map_or(self.config.policy, |service| service.policy);
        let ext = Ext {
            id: origin.id,
            op: Op::Final,
            status: Some(status),
            retry_after: (status == Status::Rejected).then_some(policy.retry_after),
            reason: why.map(|why| why.to_owned().into()),
            ..Ext::default()
        };
        let reply = self.to_client(origin, ext, Vec::new(), true);
        self.send_reply(reply, false);
    }

    /// Declines a request and its repetitions from elsewhere.
    pub(super) fn decline_all(
        &mut self,
        origin: &Origin,
        key: Option<MsgId>,
        status: Status,
        why: Option<&str>,
    ) {
        self.decline(origin, status, why);
        if let (Some(key), Some(cache)) = (key, &mut self.cache) {
            for waiter in cache.abandon((), key) {
                self.decline(&waiter, status, why);
            }
        }
    }

    /// Declines a request that no worker has now. If one had it before, it may have been begun, and no status that says
    /// otherwise will do.
    pub(super) fn decline_waiting(&mut self, id: u64, status: Status) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        match request.deliveries {
            0 => {
                let why = (status == Status::Unavailable).then_some(DRAINS);
                self.decline_request(id, status, why);
            }
            _ => {
                let why = "its worker was lost, and no other was free in time";
                self.decline_request(id, Status::Failed, Some(why));
            }
        }
    }

    pub(super) fn decline_request(&mut self, id: u64, status: Status, why: Option<&str>) {
        if let Some(request) = self.forget(id) {
            match request.gone {
                true => {
                    if let (Some(key), Some(cache)) = (request.key, &mut self.cache) {
                        for waiter in cache.abandon((), key) {
                            self.decline(&waiter, status, why);
                        }
                    }
                }
                false => self.decline_all(&request.origin, request.key, status, why),
            }
        }
    }
}
