//! What can be asked about the broker itself (8/MMI): its services, what it speaks, what it counts.

use std::time::Instant;

use sinew::Frame;

use super::{BrokerEngine, Kept, Origin};
use crate::common::Status;

impl BrokerEngine {
    /// Answers what is asked about the broker itself (8/MMI): the question is the last frame.
    pub(super) fn asked_about(&mut self, now: Instant, origin: &Origin, body: &[Frame]) {
        let mut frames = body.to_vec();
        let question = frames.pop().unwrap_or_default();
        let code = |known: bool| Frame::from(if known { "200" } else { "404" });
        let mut more = Vec::new();
        let answer = match origin.service.as_slice() {
            b"mmi.service" => {
                let service = self.services.get(question.as_slice());
                code(service.is_some_and(|service| service.stats.workers > 0))
            }
            b"mmi.features" => code(question == "ext/1" || question == "slots"),
            b"mmi.services" => {
                more.extend(self.services.keys().map(|name| Frame::from(&name[..])));
                code(true)
            }
            b"mmi.stats" if question.is_empty() => {
                more = self.totals();
                code(true)
            }
            b"mmi.stats" => match self.services.get(question.as_slice()) {
                Some(service) => {
                    let stats = service.stats();
                    let age = (self.oldest(service)).map(|at| now.saturating_duration_since(at));
                    let age = age.unwrap_or_default().as_millis();
                    more = pairs(&[
                        ("ready", stats.ready as u64),
                        ("ready_bytes", stats.ready_bytes as u64),
                        ("oldest_ms", u64::try_from(age).unwrap_or(u64::MAX)),
                        ("in_flight", stats.in_flight as u64),
                        ("workers", stats.workers as u64),
                        ("replies", stats.replies),
                    ]);
                    code(true)
                }
                None => code(false),
            },
            _ => Frame::from("501"),
        };
        frames.push(answer);
        frames.extend(more);
        let kept = Kept {
            status: Status::Ok,
            retry_after: None,
            reason: None,
            body: frames,
        };
        self.give(origin, kept);
    }

    fn totals(&self) -> Vec<Frame> {
        let counters = &self.counters;
        pairs(&[
            ("requests", counters.requests),
            ("dispatched", counters.dispatched),
            ("replies", counters.replies),
            ("redelivered", counters.redelivered),
            ("dead", counters.dead),
            ("expired", counters.expired),
            ("rejected", counters.rejected),
            ("dups", counters.dups),
            ("stale_replies", counters.stale_replies),
            ("workers", self.slots as u64),
            ("clients", self.clients.len() as u64),
        ])
    }
}

fn pairs(pairs: &[(&str, u64)]) -> Vec<Frame> {
    let frames = pairs
        .iter()
        .map(|(name, value)| [Frame::from(*name), Frame::from(value.to_string())]);
    frames.flatten().collect()
}
