//! Appending to several pipes before any of it is published: for whoever has many messages to hand on at once.
//!
//! Nobody comes or goes meanwhile, as far as this half knows: mail is read between batches.

use super::{Given, OutPipe, SendHalf, PUMP_EVERY};
use crate::io::Counters;
use crate::pipe::{Reach, Writer};
use crate::routing::PeerKey;
use crate::socket::wire::{Parcel, WireSink};

impl SendHalf {
    /// This half, for octets as they are on the wire, to whoever's turn it is; not if its pipes conflate.
    pub(in crate::socket) fn wire(&mut self) -> Option<&mut dyn WireSink> {
        match self.port.conflate.is_on() {
            true => None,
            false => Some(self),
        }
    }

    /// Whether somebody has come or gone.
    #[inline]
    pub(in crate::socket) fn has_mail(&self) -> bool {
        self.port.outbound.is_pending()
    }

    /// Whether this pipe has room for another message.
    #[inline]
    pub(in crate::socket) fn room(&mut self, key: PeerKey) -> Given {
        match self.pipe(key).map(|pipe| pipe.writer.has_credit()) {
            Some(true) => Given::Done,
            Some(false) => self.room_at_last(key),
            None => Given::Gone,
        }
    }

    #[cold]
    fn room_at_last(&mut self, key: PeerKey) -> Given {
        // What is not published uses credit that nobody could return.
        self.publish_to(key);
        let Some(pipe) = self.pipe(key) else {
            return Given::Gone;
        };
        match pipe.has_room() {
            true => Given::Done,
            false if pipe.writer.is_reader_closed() => Given::Gone,
            false => Given::Full,
        }
    }

    /// How many messages a pipe that has [room](Self::room) has room for.
    pub(in crate::socket) fn reach_of(&mut self, key: PeerKey, most: u64) -> Reach {
        self.publish_to(key);
        let Some(pipe) = self.pipe(key) else {
            return Reach::ONE;
        };
        let messages = pipe.writer.message_credit().clamp(1, most);
        Reach::of(messages, pipe.writer.octet_credit().max(1))
    }

    /// Appends to a pipe that has [room](Self::room). `append` says how many messages.
    #[inline]
    pub(in crate::socket) fn append(
        &mut self,
        key: PeerKey,
        append: impl FnOnce(&mut Writer) -> u64,
    ) {
        let slot = self.pipes.get_mut(key.index as usize);
        let Some(pipe) = slot.and_then(Option::as_mut) else {
            return;
        };
        let is_first = !pipe.writer.has_unpublished();
        let messages = append(&mut pipe.writer);
        let is_much = pipe.writer.stream_position() - pipe.pumped >= PUMP_EVERY;
        if is_first {
            self.unpublished.push(key);
        }
        Counters::add_owned(&self.port.counters.messages_sent, messages);
        if is_much {
            self.publish_to(key);
        }
    }

    /// Publishes what was appended to any pipe.
    pub(in crate::socket) fn publish_all(&mut self) {
        let mut keys = std::mem::take(&mut self.unpublished);
        for key in keys.drain(..) {
            self.publish_to(key);
        }
        // Keep the memory of the list.
        self.unpublished = keys;
    }

    fn publish_to(&mut self, key: PeerKey) {
        let at_once = self.pace.at_once;
        let has_unpublished = |pipe: &&mut OutPipe| pipe.writer.has_unpublished();
        if let Some(pipe) = self.pipe(key).filter(has_unpublished) {
            if pipe.publish(at_once) {
                self.see_off(key);
            }
            if at_once {
                self.pace.sent_at_once();
            }
        }
    }
}

/// To whoever's turn it is.
impl WireSink for SendHalf {
    fn begin(&mut self) {
        self.refresh();
    }

    fn is_outdated(&self) -> bool {
        self.has_mail()
    }

    fn allowance(&mut self, most: u64) -> Option<Reach> {
        while let Some(key) = self.writable.current() {
            match self.room(key) {
                Given::Done if most > 1 && self.writable.len() == 1 => {
                    return Some(self.reach_of(key, most));
                }
                Given::Done => return Some(Reach::ONE),
                // As in `try_send_among`.
                Given::Full if self.arm_pipe(key) => {}
                Given::Full | Given::Gone => {
                    self.writable.deactivate(key);
                }
            }
        }
        None
    }

    fn admits(&mut self, _: &Parcel<'_>) -> bool {
        true
    }

    fn take(&mut self, parcel: &Parcel<'_>) {
        if let Some(key) = self.writable.current() {
            self.append(key, |writer| parcel.append_to(writer));
            self.writable.advance();
        }
    }

    fn publish(&mut self) {
        self.publish_all();
    }
}
