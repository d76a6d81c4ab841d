//! What an XPUB has to tell its application about subscriptions, until it asks (29/PUBSUB, "The XPUB
//! Socket Type").
//!
//! Peers make events, the application takes them, and may never do so. Up to a limit every event is
//! kept as it came. Beyond it the events of one topic (or of one peer's topic) that wait are put together
//! to what they amount to: one event if the topic is held now and was not before, or the other way round,
//! and none at all if nothing has changed. So nothing is lost that would leave the application with a
//! wrong picture; what is left out is counted.
//!
//! # Memory
//!
//! Beyond the limit an event waits only for a topic whose state differs from what the application was
//! told last. Such a topic is held now, or was when the last event that the application took was made;
//! and how much peers may hold is limited. An event takes about 200 octets and its topic, once.

use std::collections::{HashMap, VecDeque};

use super::PeerKey;

/// Something that a peer asked for, or what its end amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicEvent<T> {
    /// Who caused it.
    pub(crate) peer: PeerKey,
    pub(crate) subscribe: bool,
    pub(crate) topic: T,
}

/// Which events say something about the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of one topic: they tell whether anybody holds it.
    Topic,
    /// Those of one peer and topic: they tell whether that peer holds (or asked for) it.
    PeerTopic,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct TopicEvents<T> {
    scope: Scope,
    limit: EventLimit,
    /// From the number `first` on. `None`: put together with a later one.
    entries: VecDeque<Option<Entry<T>>>,
    first: u64,
    /// The number of the latest event about something.
    latest: HashMap<About<T>, u64>,
    waiting: usize,
    octets: u64,
    left_out: u64,
}

/// Up to where every event is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventLimit {
    pub(crate) events: u64,
    pub(crate) octets: u64,
}

#[derive(Debug)]
struct Entry<T> {
    event: TopicEvent<T>,
    /// Whether it changed what it is about, and is no repetition.
    changes: bool,
    /// The number of the event about the same before it.
    before: Option<u64>,
}

/// The peer only if events are told apart by it.
type About<T> = (Option<PeerKey>, T);

impl<T: AsRef<[u8]> + Clone + Eq + std::hash::Hash> TopicEvents<T> {
    /// An empty queue.
    pub(crate) fn new(scope: Scope, limit: EventLimit) -> Self {
        TopicEvents {
            scope,
            limit,
            entries: VecDeque::new(),
            first: 0,
            latest: HashMap::new(),
            waiting: 0,
            octets: 0,
            left_out: 0,
        }
    }

    /// From now on events of this scope come. Those that wait are told, or give way to newer ones, and say nothing of
    /// what was told before.
    pub(crate) fn set_scope(&mut self, scope: Scope) {
        if self.scope == scope {
            return;
        }
        self.scope = scope;
        self.latest.clear();
        for entry in self.entries.iter_mut().flatten() {
            entry.changes = false;
            entry.before = None;
        }
    }

    /// Adds an event. `changes`: whether it changed what events of this scope are about.
    pub(crate) fn push(&mut self, event: TopicEvent<T>, changes: bool) {
        let full = self.waiting as u64 >= self.limit.events || self.octets >= self.limit.octets;
        let about = self.about(&event);
        if !full {
            self.append(about, event, changes);
            return;
        }
        if !changes {
            self.left_out += 1;
            return;
        }
        let now = event.subscribe;
        let mut told = !now;
        let mut gone = 0;
        let mut at = self.latest.remove(&about);
        while let Some(entry) = at.and_then(|at| self.take(at)) {
            if entry.changes {
                // The first of them changed what the application was told last.
                told = !entry.event.subscribe;
            }
            gone += 1;
            at = entry.before;
        }
        self.left_out += gone;
        self.tidy();
        if told == now {
            self.left_out += 1;
        } else {
            self.append(about, event, true);
        }
    }

    /// Takes the oldest event.
    pub(crate) fn pop(&mut self) -> Option<TopicEvent<T>> {
        loop {
            let number = self.first;
            let front = self.entries.pop_front()?;
            self.first += 1;
            let Some(entry) = front else {
                continue;
            };
            self.account(&entry.event);
            let about = self.about(&entry.event);
            if self.latest.get(&about) == Some(&number) {
                self.latest.remove(&about);
            }
            if self.entries.is_empty() {
                self.entries = VecDeque::new();
                self.latest = HashMap::new();
            }
            return Some(entry.event);
        }
    }

    /// Whether no event waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many events were left out since the last call.
    pub(crate) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn about(&self, event: &TopicEvent<T>) -> About<T> {
        let peer = (self.scope == Scope::PeerTopic).then_some(event.peer);
        (peer, event.topic.clone())
    }

    fn append(&mut self, about: About<T>, event: TopicEvent<T>, changes: bool) {
        let number = self.first + self.entries.len() as u64;
        self.waiting += 1;
        self.octets += cost(&event);
        let before = self.latest.insert(about, number);
        self.entries.push_back(Some(Entry {
            event,
            changes,
            before,
        }));
    }

    /// Takes an event out of the middle; `None` if it was taken before.
    fn take(&mut self, number: u64) -> Option<Entry<T>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get_mut(at)?.take()?;
        self.account(&entry.event);
        Some(entry)
    }

    fn account(&mut self, event: &TopicEvent<T>) {
        self.waiting -= 1;
        self.octets -= cost(event);
    }

    /// Closes the gaps, when there are more of them than events.
    fn tidy(&mut self) {
        if self.entries.len() < 2 * self.waiting + GAPS {
            return;
        }
        self.latest.clear();
        // Numbers are not used again: those in `before` of events kept would mean others.
        self.first += self.entries.len() as u64;
        let entries = std::mem::take(&mut self.entries);
        (self.waiting, self.octets) = (0, 0);
        for entry in entries.into_iter().flatten() {
            let about = self.about(&entry.event);
            self.append(about, entry.event, entry.changes);
        }
    }
}

/// Gaps that are left alone.
const GAPS: usize = 64;

/// What an event counts towards the limit in octets, apart from its topic.
const EVENT_COST: u64 = 200;

fn cost<T: AsRef<[u8]>>(event: &TopicEvent<T>) -> u64 {
    EVENT_COST + event.topic.as_ref().len() as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn peer(index: u32) -> PeerKey {
        PeerKey {
            index,
            generation: 1,
        }
    }

    /// Of one topic, whatever came of it while events were about other things: what is told last is how it is.
    #[test]
    fn another_scope_misleads_nobody() {
        for limit in [0, 1, 2, 100] {
            for changed_at in 0..6 {
                let mut events = queue(limit);
                let mut told = false;
                // Two peers, the second of which has more to say.
                let story = [
                    (0, true, true),
                    (1, true, false),
                    (0, false, false),
                    (1, false, true),
                    (1, true, true),
                    (1, false, true),
                ];
                for (at, (who, subscribe, of_topic)) in story.into_iter().enumerate() {
                    if at == changed_at {
                        events.set_scope(Scope::PeerTopic);
                    }
                    let event = TopicEvent {
                        peer: peer(who),
                        ..event(subscribe, b"a")
                    };
                    // Every one changes what its peer has.
                    if of_topic || at >= changed_at {
                        events.push(event, true);
                    }
                    if at == 1 {
                        // The application takes what there is, for once.
                        while let Some(event) = events.pop() {
                            told = event.subscribe;
                        }
                    }
                }
                while let Some(event) = events.pop() {
                    told = event.subscribe;
                }
                assert!(!told, "limit {limit}, changed at {changed_at}");
            }
        }
    }

    fn queue(events: u64) -> TopicEvents<Vec<u8>> {
        let octets = u64::MAX;
        TopicEvents::new(Scope::Topic, EventLimit { events, octets })
    }

    fn event(subscribe: bool, topic: &[u8]) -> TopicEvent<Vec<u8>> {
        TopicEvent {
            peer: peer(0),
            subscribe,
            topic: topic.to_vec(),
        }
    }

    #[test]
    fn below_the_limit_everything_is_kept_in_order() {
        let mut events = queue(10);
        for n in 0..10 {
            events.push(event(n % 2 == 0, b"a"), n % 3 == 0);
        }
        for n in 0..10 {
            assert_eq!(events.pop(), Some(event(n % 2 == 0, b"a")));
        }
        assert_eq!(events.pop(), None);
        assert_eq!(events.take_left_out(), 0);
    }

    #[test]
    fn beyond_it_events_amount_to_the_change() {
        let mut events = queue(1);
        events.push(event(true, b"a"), true);
        events.push(event(true, b"b"), true);
        // Nobody need hear of a topic that has come and gone.
        events.push(event(false, b"b"), true);
        assert_eq!(events.take_left_out(), 2);
        // A repetition changes nothing.
        events.push(event(true, b"a"), false);
        assert_eq!(events.take_left_out(), 1);
        assert_eq!(events.pop(), Some(event(true, b"a")));
        assert!(events.is_empty());
        // What was told is taken back, however often it changed meanwhile.
        events.push(event(true, b"x"), true);
        for _ in 0..5 {
            events.push(event(false, b"a"), true);
            events.push(event(true, b"a"), true);
        }
        events.push(event(false, b"a"), true);
        assert_eq!(events.pop(), Some(event(true, b"x")));
        assert_eq!(events.pop(), Some(event(false, b"a")));
        assert_eq!(events.pop(), None);
    }

    #[test]
    fn topics_that_come_and_go_take_no_memory() {
        let mut events = queue(4);
        let mut held: Option<Vec<u8>> = None;
        for n in 0..100_000u32 {
            // One topic is held at any time, so that there is no end to tidy up from.
            let topic = n.to_be_bytes();
            events.push(event(true, &topic), true);
            if let Some(before) = held.replace(topic.to_vec()) {
                events.push(event(false, &before), true);
            }
            assert!(events.entries.len() <= 2 * events.waiting + GAPS + 2);
            assert!(events.waiting <= 6 && events.latest.len() <= 6);
        }
    }

    #[test]
    fn octets_count_too() {
        let limit = EventLimit {
            events: u64::MAX,
            octets: 1,
        };
        let mut events = TopicEvents::new(Scope::PeerTopic, limit);
        events.push(event(true, b"a"), true);
        events.push(event(true, b"a"), false);
        assert_eq!(events.take_left_out(), 1);
        // Another peer's is another thing.
        let other = TopicEvent {
            peer: peer(1),
            ..event(true, b"a")
        };
        events.push(other.clone(), true);
        assert_eq!(events.pop(), Some(event(true, b"a")));
        assert_eq!(events.pop(), Some(other));
        assert_eq!(events.octets, 0);
    }

    proptest! {
        /// Whoever follows the events knows what is held, whenever there are none left.
        #[test]
        fn a_follower_is_never_misled(
            limit in 0u64..6,
            ops in prop::collection::vec((0u8..4, 0u8..6), 0..200),
        ) {
            let mut events = queue(limit);
            let mut held = HashSet::new();
            let mut told = HashSet::new();
            let mut follow = |events: &mut TopicEvents<Vec<u8>>, at_most: usize| {
                for _ in 0..at_most {
                    match events.pop() {
                        Some(event) if event.subscribe => { told.insert(event.topic); }
                        Some(event) => { told.remove(&event.topic); }
                        None => break,
                    }
                }
                told.clone()
            };
            for (op, topic) in ops {
                let topic = vec![topic];
                match op {
                    0 => events.push(event(true, &topic), held.insert(topic.clone())),
                    1 => events.push(event(false, &topic), held.remove(&topic)),
                    2 => { follow(&mut events, 1); }
                    _ => prop_assert_eq!(&follow(&mut events, usize::MAX), &held),
                }
                prop_assert!(events.waiting <= events.entries.len());
            }
            prop_assert_eq!(&follow(&mut events, usize::MAX), &held);
            prop_assert!(events.is_empty() && events.latest.is_empty());
        }
    }
}
