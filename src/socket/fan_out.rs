//! Sending one message to everyone who wants it: what PUB, XPUB and RADIO have in common.

use std::ops::Range;
use std::sync::Arc;

use super::deadline::Deadline;
use super::outbound::{Given, Outgoing, SendHalf};
use super::shell::Ending;
use super::topics::{Matching, Reporting, Topics};
use super::wire::{Parcel, WireSink};
use crate::error::{SendBatchError, SendError, SendFailure};
use crate::io::{Counters, DropCause, Port};
use crate::message::{IntoMessage, Message};
use crate::pipe::Reach;
use crate::routing::{PeerKey, TOGETHER};

/// See the module.
#[derive(Debug)]
pub(super) struct FanOut {
    port: Arc<Port>,
    out: SendHalf,
    topics: Arc<Topics>,
    options: FanOutOptions,
    /// Who gets the message at hand, or, if `everyone`, every message until the version changes. Of a batch, who gets the
    /// next few messages, one behind the other.
    matched: Vec<PeerKey>,
    /// Which of these get the message at hand.
    at_hand: Range<usize>,
    everyone: bool,
    version: u64,
    foreseen: Foreseen,
}

/// What is known of the next few messages of a batch.
#[derive(Debug, Default)]
struct Foreseen {
    /// Where the receivers of each end.
    ends: Vec<usize>,
    /// How many of these messages have been passed.
    passed: usize,
    /// How often to halve how many messages are looked at.
    halved: u32,
}

/// A message of a batch, which stays with who sends it.
enum Lent<'a> {
    Payload(&'a [u8]),
    Message(&'a Message),
    /// Made of what is neither.
    Made(Message),
}

/// Options of the sending half of a publisher.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct FanOutOptions {
    pub(super) no_drop: bool,
    pub(super) matching: Matching,
}

/// Payloads of at least this many octets are shared between subscribers, by reference.
const SHARE_FROM: usize = 8 * 1024;

impl FanOut {
    pub(super) fn new(port: &Arc<Port>, topics: &Arc<Topics>, options: FanOutOptions) -> Self {
        topics.attach(port);
        FanOut {
            port: Arc::clone(port),
            out: SendHalf::new(Arc::clone(port)),
            topics: Arc::clone(topics),
            options,
            matched: Vec::new(),
            at_hand: 0..0,
            everyone: false,
            version: 0,
            foreseen: Foreseen::default(),
        }
    }

    /// From the next message on.
    pub(super) fn set_options(&mut self, options: FanOutOptions) {
        self.options = options;
        self.everyone = false;
    }

    /// What is told of subscriptions that come from now on.
    pub(super) fn set_reporting(&self, reporting: Reporting) {
        self.topics.set_reporting(reporting);
    }

    /// One that has no peers and never will, and knows who the peers of this one are.
    pub(super) fn without_peers(&self, port: &Arc<Port>) -> Self {
        FanOut {
            port: Arc::clone(port),
            out: SendHalf::new(Arc::clone(port)),
            topics: Arc::clone(&self.topics),
            options: self.options,
            matched: Vec::new(),
            at_hand: 0..0,
            everyone: false,
            version: 0,
            foreseen: Foreseen::default(),
        }
    }

    /// Takes note of what has changed.
    #[inline]
    pub(super) fn refresh(&mut self) {
        self.out.refresh();
    }

    /// Sends a message, whose first frame is its topic.
    #[inline]
    pub(super) fn send_by(
        &mut self,
        message: impl IntoMessage,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        self.out.refresh();
        // A long payload is copied once for all, not once for each.
        match message
            .as_payload()
            .filter(|payload| payload.len() < SHARE_FROM)
        {
            Some(payload) => {
                let sent = self.publish(payload, payload, &deadline);
                sent.map_err(|reason| SendError::new(reason, message.into()))
            }
            None => {
                let message = message.into();
                let sent = self.publish(&message, message.as_bytes(), &deadline);
                sent.map_err(|reason| SendError::new(reason, message))
            }
        }
    }

    /// Sends one message after the other, as [`FanOut::send_by`] does, but finds out for several at once who gets them. Each
    /// has a deadline of its own.
    pub(super) fn send_batch<'a, 'd, M: IntoMessage + Clone>(
        &mut self,
        messages: &'a [M],
        deadline: impl Fn() -> Deadline<'d>,
    ) -> Result<(), SendBatchError> {
        let mut group: Vec<Lent<'a>> = Vec::with_capacity(messages.len().min(TOGETHER));
        let mut left = messages.iter();
        let mut sent = 0;
        while !left.as_slice().is_empty() {
            let mut made = 0;
            // What is made of messages takes memory, so that there are not many at once.
            while group.len() < TOGETHER && made < SHARE_FROM {
                let Some(message) = left.next() else {
                    break;
                };
                let lent = Lent::of(message);
                made += lent.made();
                group.push(lent);
            }
            self.send_group(&group, &deadline)
                .map_err(|(at, reason)| SendBatchError::new(sent + at, reason))?;
            sent += group.len();
            group.clear();
        }
        Ok(())
    }

    /// Sends [`TOGETHER`] messages at most.
    ///
    /// # Errors
    /// Which of them was not sent, and why.
    fn send_group<'d>(
        &mut self,
        group: &[Lent<'_>],
        deadline: &impl Fn() -> Deadline<'d>,
    ) -> Result<(), (usize, SendFailure)> {
        let mut topics: [&[u8]; TOGETHER] = [&[]; TOGETHER];
        for (topic, message) in topics.iter_mut().zip(group) {
            *topic = message.topic();
        }
        let topics = &topics[..group.len()];
        self.foreseen.forget();
        for (at, message) in group.iter().enumerate() {
            self.out.refresh();
            self.find_matches_of_first(&topics[at..]);
            let deadline = match self.options.no_drop {
                true => deadline(),
                // It does not wait.
                false => Deadline::Now,
            };
            let sent = match message {
                Lent::Payload(payload) => self.give_to_matched(*payload, &deadline),
                Lent::Message(message) => self.give_to_matched(*message, &deadline),
                Lent::Made(message) => self.give_to_matched(message, &deadline),
            };
            sent.map_err(|reason| (at, reason))?;
        }
        Ok(())
    }

    /// As [`FanOut::find_matches`] for the first of these messages, and finds out about more of them, unless it is known
    /// since an earlier one.
    fn find_matches_of_first(&mut self, topics: &[&[u8]]) {
        let version = self.topics.version();
        if self.everyone && version == self.version {
            return;
        }
        let foreseen = &mut self.foreseen;
        let is_outdated = version != self.version;
        if is_outdated || foreseen.passed == foreseen.ends.len() {
            let most = foreseen.look_further(is_outdated);
            self.version = version;
            self.matched.clear();
            self.at_hand = 0..0;
            self.everyone = self.topics.find_each(
                &topics[..topics.len().min(most)],
                self.options.matching,
                &mut self.matched,
                &mut foreseen.ends,
            );
        }
        self.at_hand = self.at_hand.end..foreseen.ends[foreseen.passed];
        foreseen.passed += 1;
    }

    /// Sends a message to this peer alone, if it wants it.
    pub(super) fn send_to(
        &mut self,
        peer: PeerKey,
        message: Message,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        self.out.refresh();
        self.everyone = false;
        self.matched.clear();
        let matching = self.options.matching;
        if self.topics.is_matched(peer, message.as_bytes(), matching) {
            self.matched.push(peer);
        }
        self.at_hand = 0..self.matched.len();
        let sent = self.give_to_matched(&message, &deadline);
        sent.map_err(|reason| SendError::new(reason, message))
    }

    fn publish<M: Outgoing>(
        &mut self,
        message: M,
        topic: &[u8],
        deadline: &Deadline,
    ) -> Result<(), SendFailure> {
        self.find_matches(topic);
        self.give_to_matched(message, deadline)
    }

    #[inline]
    fn give_to_matched<M: Outgoing>(
        &mut self,
        mut message: M,
        deadline: &Deadline,
    ) -> Result<(), SendFailure> {
        if self.options.no_drop && !self.wait_for_room(*deadline) {
            return Err(self.out.no_room(*deadline));
        }
        if self.at_hand.is_empty() {
            Counters::add_owned(&self.port.counters.dropped_unmatched, 1);
        }
        self.out.begin_fan_out();
        for key in &self.matched[self.at_hand.clone()] {
            self.out.give_or_drop(*key, &mut message);
            if self.out.is_refused() {
                break;
            }
        }
        self.out.end_fan_out();
        // By the first already, and so by all.
        match self.out.take_refused() {
            None => Ok(()),
            Some(refused) => Err(refused),
        }
    }

    /// This publisher, for octets as they are on the wire; not if it keeps only the newest.
    pub(super) fn wire(&mut self) -> Option<&mut dyn WireSink> {
        match self.port.conflate.is_on() {
            true => None,
            false => Some(self),
        }
    }

    /// After a message was not sent because a receiver of it was full: has the event of what is sent tell of
    /// room. Whether there may be some after all.
    pub(super) fn arm_matched(&mut self) -> bool {
        let mut matched = self.matched[self.at_hand.clone()].iter();
        matched.all(|key| self.out.arm_pipe(*key))
    }

    /// Fills `matched`.
    #[inline]
    fn find_matches(&mut self, topic: &[u8]) {
        let version = self.topics.version();
        if self.everyone && version == self.version {
            return;
        }
        self.version = version;
        self.matched.clear();
        let matching = self.options.matching;
        self.everyone = self.topics.find(topic, matching, &mut self.matched);
        self.at_hand = 0..self.matched.len();
    }

    /// Waits until every receiver of the message at hand has room (or is gone).
    fn wait_for_room(&mut self, deadline: Deadline) -> bool {
        loop {
            let mut matched = self.matched[self.at_hand.clone()].iter();
            let full = matched.find(|key| self.out.is_full(**key));
            let Some(full) = full.copied() else {
                return true;
            };
            if deadline.is_now() || !self.out.wait_for_room(full, deadline, || {}) {
                return false;
            }
        }
    }

    // ---- who is there -----------------------------------------------------------------------

    /// How many peers get a message with this topic.
    pub(super) fn count(&self, topic: &[u8]) -> usize {
        self.topics.count(topic, self.options.matching)
    }

    /// How many peers get a message with each of these topics.
    pub(super) fn counts(&self, topics: &[impl AsRef<[u8]>]) -> Vec<usize> {
        let mut counts = Vec::with_capacity(topics.len());
        let mut group: [&[u8]; TOGETHER] = [&[]; TOGETHER];
        let (mut matched, mut ends) = (Vec::new(), Vec::new());
        for some in topics.chunks(TOGETHER) {
            for (topic, some) in group.iter_mut().zip(some) {
                *topic = some.as_ref();
            }
            let group = &group[..some.len()];
            matched.clear();
            ends.clear();
            self.topics
                .find_each(group, self.options.matching, &mut matched, &mut ends);
            let mut begin = 0;
            for end in &ends {
                counts.push(end - begin);
                begin = *end;
            }
        }
        counts
    }

    /// How many different topics are held.
    pub(super) fn topic_count(&self) -> usize {
        self.topics.topic_count()
    }

    /// How many peers hold a subscription, by now.
    pub(super) fn subscribers(&mut self) -> usize {
        self.out.refresh();
        self.topics.subscribers()
    }

    /// How many peers get a message with this topic, by now.
    pub(super) fn subscribers_of(&mut self, topic: &[u8]) -> usize {
        self.out.refresh();
        self.count(topic)
    }
}

impl Foreseen {
    /// Nothing is known of the messages that follow.
    fn forget(&mut self) {
        self.ends.clear();
        self.passed = 0;
    }

    /// As [`Foreseen::forget`], and how many messages to look at now: half as many if what was known is not so any more, lest
    /// each change make it find out about all of them anew; otherwise twice as many, up to [`TOGETHER`].
    fn look_further(&mut self, is_outdated: bool) -> usize {
        self.halved = match is_outdated && self.passed < self.ends.len() {
            true => (self.halved + 1).min(TOGETHER.ilog2()),
            false => self.halved.saturating_sub(1),
        };
        self.forget();
        TOGETHER >> self.halved
    }
}

impl<'a> Lent<'a> {
    fn of(message: &'a (impl IntoMessage + Clone)) -> Self {
        if let Some(message) = message.as_message() {
            return Lent::Message(message);
        }
        match message.as_payload() {
            // A long payload is copied once for all, not once for each.
            Some(payload) if payload.len() < SHARE_FROM => Lent::Payload(payload),
            _ => Lent::Made(message.clone().into()),
        }
    }

    fn topic(&self) -> &[u8] {
        match self {
            Lent::Payload(payload) => payload,
            Lent::Message(message) => message.as_bytes(),
            Lent::Made(message) => message.as_bytes(),
        }
    }

    /// Octets that may have been made for it.
    fn made(&self) -> usize {
        match self {
            Lent::Payload(_) | Lent::Message(_) => 0,
            Lent::Made(message) => message.byte_len(),
        }
    }
}

/// To everyone who wants it. What nobody may miss (`no_drop`) is left where it is while somebody has no room.
impl WireSink for FanOut {
    fn begin(&mut self) {
        self.out.refresh();
    }

    fn is_outdated(&self) -> bool {
        self.out.has_mail()
    }

    /// More than one message only where all of them go to all who are there, and fit.
    fn allowance(&mut self, most: u64) -> Option<Reach> {
        let same = self.everyone && self.version == self.topics.version();
        if most == 1 || !same || self.at_hand.is_empty() {
            return Some(Reach::ONE);
        }
        let mut reach = Reach::of(most, u64::MAX);
        for key in &self.matched[self.at_hand.clone()] {
            if self.out.room(*key) != Given::Done {
                return Some(Reach::ONE);
            }
            reach = reach.within(self.out.reach_of(*key, most));
        }
        Some(reach)
    }

    fn admits(&mut self, parcel: &Parcel<'_>) -> bool {
        self.find_matches(parcel.first_body());
        let mut matched = self.matched[self.at_hand.clone()].iter();
        !self.options.no_drop || matched.all(|key| self.out.room(*key) != Given::Full)
    }

    fn take(&mut self, parcel: &Parcel<'_>) {
        let messages = parcel.run().messages;
        if self.at_hand.is_empty() {
            Counters::add_owned(&self.port.counters.dropped_unmatched, messages);
        }
        for key in &self.matched[self.at_hand.clone()] {
            match self.out.room(*key) {
                Given::Done => self.out.append(*key, |writer| parcel.append_to(writer)),
                Given::Full => self.out.drop_for(*key),
                Given::Gone => self.port.dropped(DropCause::PeerLost, messages),
            }
        }
    }

    fn publish(&mut self) {
        self.out.begin_fan_out();
        self.out.publish_all();
        self.out.end_fan_out();
    }
}

impl Ending for FanOut {
    fn finish(&mut self) -> u64 {
        self.out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_subscriptions_change_fewer_messages_are_looked_at() {
        let mut foreseen = Foreseen::default();
        let mut look = |passed: usize, is_outdated: bool| {
            foreseen.passed = passed;
            let most = foreseen.look_further(is_outdated);
            foreseen.ends = vec![0; most];
            most
        };
        assert_eq!(look(0, false), TOGETHER);
        let fewer = [(); 7].map(|()| look(0, true));
        assert_eq!(fewer, [16, 8, 4, 2, 1, 1, 1]);
        // What is outdated when nothing of it is left has cost nothing.
        let more = [look(1, true), look(2, false), look(4, false)];
        assert_eq!(more, [2, 4, 8]);
    }
}
