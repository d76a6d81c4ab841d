//! How a worker ends: it takes nothing new, finishes what it has, and all of it takes a bounded time.

use std::time::Instant;

use sinew::{Frame, Message};

use super::super::wire::{self, Note};
use super::{Link, WorkerEngine, WorkerEvent, WorkerRequestId};
use crate::common::{Ext, MsgId, NoTime, Op, Status, Transmit};

impl WorkerEngine {
    /// Takes no more requests; what handlers have is finished. Ends with [`WorkerEvent::Drained`], within
    /// [`WorkerConfig::linger`] of the first call.
    ///
    /// [`WorkerConfig::linger`]: super::WorkerConfig::linger
    pub fn handle_drain(&mut self, now: Instant) {
        if self.linger.is_on() {
            return;
        }
        self.linger.begin(now, self.config.linger);
        match self.work.is_empty() {
            true => self.depart(now),
            false => self.close_slots(now),
        }
    }

    /// Of several slots some are free, or will be before the last handler has finished: the broker is to leave them alone.
    fn close_slots(&mut self, now: Instant) {
        let Link::Up {
            port,
            beat,
            ready: true,
            ..
        } = &mut self.link
        else {
            return;
        };
        if !self.ext || self.slots == 1 {
            return;
        }
        beat.sent(now);
        let note = Note {
            client: Frame::default(),
            ext: Ext {
                slots: Some(0),
                ..Ext::default()
            },
        };
        self.outbox.push(Transmit {
            port: *port,
            to: None,
            message: wire::encode_note(self.config.dialect, &note),
        });
    }

    /// A request that has come while this worker drains. What crossed our DISCONNECT is given to another; so is what crossed
    /// our note, if the broker hears that it is not begun here.
    pub(super) fn decline(&mut self, now: Instant, client: &Frame, name: Option<MsgId>) {
        if self.current == 0 || !self.ext {
            return;
        }
        let ext = Ext {
            id: name,
            op: Op::Final,
            status: Some(Status::Unavailable),
            reason: Some("this worker drains".into()),
            ..Ext::default()
        };
        let header = ext.encode().ok();
        if let Some(reply) = self.answer(now, client, header, Message::default(), true) {
            self.outbox.push(reply);
        }
    }

    /// Gives up what there is no more time for.
    pub(super) fn look_lingered(&mut self, now: Instant) {
        while let Some(lacks) = self.linger.look(now) {
            match lacks {
                NoTime::ToFinish if !self.work.is_empty() => self.give_up_all(now),
                NoTime::ToFinish => {}
                // Whoever takes nothing does not hear that it leaves, either.
                NoTime::ToTell => {
                    if self.leaving.take().is_some() {
                        self.leave(now, true);
                    }
                }
            }
        }
    }

    /// No more time for handlers: what they have is for others, as if this worker were lost.
    fn give_up_all(&mut self, now: Instant) {
        for id in self.work.ids() {
            self.withdraw(WorkerRequestId(id));
            let Some(work) = self.work.remove(id) else {
                continue;
            };
            if work.current && !work.cancelled {
                self.counters.unfinished += 1;
            }
            if !work.cancelled {
                let id = WorkerRequestId(id);
                self.events.push_back(WorkerEvent::Cancelled(id));
            }
        }
        self.current = 0;
        self.depart(now);
    }

    /// Leaves for good, when what is left to send has left.
    pub(super) fn depart(&mut self, now: Instant) {
        match self.outbox.is_idle() {
            true => self.leave(now, true),
            false => self.leaving = Some(now),
        }
    }
}
