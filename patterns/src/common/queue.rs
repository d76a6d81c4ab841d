//! A bounded queue that is fair between those who fill it, knows urgency, and forgets what is too late.
//!
//! Within one priority, flows (one per client, say) take turns by start-time fair queueing (Goyal, Vin and
//! Cheng 1996): a flow of large items gets as many octets as a flow of small ones, at a cost that does not
//! depend on sizes. A higher priority goes first, except that one turn in sixteen goes to the oldest item
//! of all, so that nothing starves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// The bounds of a queue, in messages and in octets, both at once.
///
/// ```
/// use sinew_patterns::common::{Limits, OnFull};
///
/// let limits = Limits { messages: 10, ..Limits::default() };
/// assert_eq!(limits.on_full, OnFull::Reject);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages at most; 0 admits none. Default: 1000.
    pub messages: usize,
    /// Octets of their frames at most, where each frame counts [`FRAME_COST`](super::FRAME_COST) more than it has. Default: 64 MiB.
    pub bytes: usize,
    /// Messages of one flow (one client) at most. Default: 250, so that no single client fills a queue.
    pub per_flow: usize,
    /// What happens to what does not fit.
    pub on_full: OnFull,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            messages: 1000,
            bytes: 64 << 20,
            per_flow: 250,
            on_full: OnFull::Reject,
        }
    }
}

/// What happens to an item that does not fit. Whatever happens is told to whoever pushed it; what they tell others is in
/// the variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnFull {
    /// It is refused, and given back.
    #[default]
    Reject,
    /// It waits in front of the queue, in order, until there is room, its deadline at most. What is too large for the
    /// empty queue, and what is more than the share of its flow (`per_flow`, for which all others would wait with it), is
    /// refused. This bounds a queue only if whoever fills it stops meanwhile:
    ///
    /// - a server, and a gate in front of a ROUTER, hold one request in front of the queue and read no other until it is
    ///   in. What else is sent stays in the queues of the connections, and then in those of the clients, whose sends wait:
    ///   no client is declined for want of room. Meanwhile a request that waits does not hear that it is cancelled, and
    ///   the deadline of one that was not read has not begun;
    /// - [`Gate::enter`](crate::flow::Gate::enter) waits, with what it is about, in its own thread or task;
    /// - a broker declines, as with `Reject`: the replies of its workers, which make the room that is waited for, come
    ///   through the same socket as requests do, so it never stops reading.
    Wait,
    /// The oldest items of the same flow, or else of any, make room; the dropped ones are given back. Servers and brokers
    /// decline them.
    DropOldest,
    /// It is dropped, and given back. Servers, brokers and gates in front of a ROUTER give no answer, and count it: for
    /// askers who ask again by themselves, or send what is soon out of date, where a flood of refusals would be one more
    /// load. [`Gate::enter`](crate::flow::Gate::enter) has somebody to tell, and refuses.
    DropNewest,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pushed<T> {
    /// It is in the queue.
    Queued(Ticket),
    /// It is in the queue, and these older ones are not any more.
    Replaced(Ticket, Vec<T>),
    /// It does not fit.
    Refused(T),
    /// It does not fit, and nobody else is to hear of it.
    Dropped(T),
    /// It does not fit, and is in front of the queue until there is room.
    Waiting(Ticket),
}

/// Names an item in a [`FairQueue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(i64);

/// An item with what the queue needs to know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<K, T> {
    /// Whose it is.
    pub flow: K,
    /// 0 to 7, 7 first; more counts as 7.
    pub priority: u8,
    /// Its size in octets, with what it costs besides.
    pub bytes: usize,
    /// When it is of no more use.
    pub deadline: Option<Instant>,
    /// The item.
    pub value: T,
}

/// See the module.
///
/// ```
/// use sinew_patterns::common::{FairQueue, Item, Limits};
///
/// let mut queue = FairQueue::new(Limits::default());
/// for (flow, value) in [("greedy", 1), ("greedy", 2), ("greedy", 3), ("modest", 4)] {
///     queue.push(Item { flow, priority: 0, bytes: 1000, deadline: None, value });
/// }
/// let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|item| item.value).collect();
/// assert_eq!(order, [1, 4, 2, 3]);
/// ```
#[derive(Debug)]
pub struct FairQueue<K, T> {
    limits: Limits,
    items: BTreeMap<Ticket, Item<K, T>>,
    /// Those in front of the queue. They count for the share of their flow, but for nothing else.
    outside: BTreeMap<Ticket, Item<K, T>>,
    levels: [Level<K>; LEVELS],
    per_flow: BTreeMap<K, usize>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// Items that have no turn for now: they are in no level.
    held: BTreeSet<Ticket>,
    bytes: usize,
    /// The next ticket at the back, and at the front.
    back: i64,
    front: i64,
    pops: u64,
}

/// One priority, and its virtual time: the octets served to each of the flows that are always busy.
#[derive(Debug)]
struct Level<K> {
    flows: BTreeMap<K, Flow>,
    /// Flows in order of the virtual time at which their next item starts.
    starts: BTreeSet<(u64, K)>,
    time: u64,
    /// Flows that have nothing here now, but have had more than their share: the virtual time before
    /// which they do not start again.
    ahead: BTreeMap<K, u64>,
}

#[derive(Debug)]
struct Flow {
    /// In order.
    tickets: VecDeque<Ticket>,
    start: u64,
}

impl Flow {
    fn insert(&mut self, ticket: Ticket) {
        // New ones are behind all others, and those that are put back before them.
        // Only those that were held are between others.
        match (self.tickets.front(), self.tickets.back()) {
            (Some(first), _) if ticket < *first => self.tickets.push_front(ticket),
            (_, Some(last)) if ticket < *last => {
                let place = self.tickets.partition_point(|other| *other < ticket);
                self.tickets.insert(place, ticket);
            }
            _ => self.tickets.push_back(ticket),
        }
    }

    fn remove(&mut self, ticket: Ticket) {
        if self.tickets.front() == Some(&ticket) {
            self.tickets.pop_front();
        } else if let Ok(place) = self.tickets.binary_search(&ticket) {
            self.tickets.remove(place);
        }
    }
}

impl<K: Ord + Clone, T> FairQueue<K, T> {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        FairQueue {
            limits,
            items: BTreeMap::new(),
            outside: BTreeMap::new(),
            levels: std::array::from_fn(|_| Level {
                flows: BTreeMap::new(),
                starts: BTreeSet::new(),
                time: 0,
                ahead: BTreeMap::new(),
            }),
            per_flow: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            held: BTreeSet::new(),
            bytes: 0,
            back: 0,
            front: -1,
            pops: 0,
        }
    }

    /// Other bounds, for what is pushed from now on; what is in the queue stays in it.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.let_in();
    }

    /// Appends an item, if it fits.
    pub fn push(&mut self, item: Item<K, T>) -> Pushed<T> {
        let mut dropped = Vec::new();
        if self.waits(&item) {
            let ticket = Ticket(self.back);
            self.back += 1;
            self.wait(ticket, item);
            return Pushed::Waiting(ticket);
        }
        while !self.fits(&item) {
            let victim = match self.limits.on_full {
                OnFull::DropOldest if self.could_fit(&item) => self.oldest_for(&item),
                OnFull::DropOldest | OnFull::Reject | OnFull::Wait => None,
                OnFull::DropNewest => return Pushed::Dropped(item.value),
            };
            match victim.and_then(|victim| self.remove(victim)) {
                Some(victim) => dropped.push(victim.value),
                None => return Pushed::Refused(item.value),
            }
        }
        let ticket = Ticket(self.back);
        self.back += 1;
        self.insert(ticket, item);
        match dropped.is_empty() {
            true => Pushed::Queued(ticket),
            false => Pushed::Replaced(ticket, dropped),
        }
    }

    /// Puts an item back before all others of its flow and priority. It was in the queue before, so the
    /// limits do not apply.
    pub fn push_front(&mut self, item: Item<K, T>) -> Ticket {
        let ticket = Ticket(self.front);
        self.front -= 1;
        self.insert(ticket, item);
        ticket
    }

    /// Appends an item that is to be the first of its flow and priority when there is room for it, if it does not fit and
    /// such items wait ([`OnFull::Wait`]). Otherwise it is given back.
    pub(crate) fn wait_for_front(&mut self, item: Item<K, T>) -> Result<Ticket, Item<K, T>> {
        if !self.waits(&item) {
            return Err(item);
        }
        let ticket = Ticket(self.front);
        self.front -= 1;
        self.wait(ticket, item);
        Ok(ticket)
    }

    /// Whether this would be queued now, and nothing else dropped for it.
    #[must_use]
    pub fn admits(&self, item: &Item<K, T>) -> bool {
        self.outside.is_empty() && self.fits(item)
    }

    /// Items in front of the queue ([`OnFull::Wait`]). They are not in it: [`len`](Self::len) and [`bytes`](Self::bytes)
    /// do not count them, and they have no turn.
    #[must_use]
    pub fn outside(&self) -> usize {
        self.outside.len()
    }

    /// Takes the item whose turn it is.
    pub fn pop(&mut self) -> Option<Item<K, T>> {
        if self.items.is_empty() {
            return None;
        }
        self.pops = self.pops.wrapping_add(1);
        let ticket = match self.pops % OLDEST_TURN {
            0 => *self
                .items
                .keys()
                .find(|ticket| !self.held.contains(ticket))?,
            _ => self.levels.iter().rev().find_map(Level::first)?,
        };
        let item = self.take(ticket)?;
        let cost = (item.bytes + ITEM_COST) as u64;
        self.levels[level_of(item.priority)].remove(&item.flow, ticket, cost);
        self.let_in();
        Some(item)
    }

    /// Takes an item out, or away from in front of the queue.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Item<K, T>> {
        let inside = self.items.contains_key(&ticket);
        let item = self.take(ticket)?;
        if inside && !self.held.remove(&ticket) {
            self.levels[level_of(item.priority)].remove(&item.flow, ticket, 0);
        }
        self.let_in();
        Some(item)
    }

    /// From now on this item has no turn, until it is [released](Self::release): [`pop`](Self::pop) does not take it. It
    /// is in the queue all the same, and counts for its bounds; its deadline holds. False if it is not in the queue, or is
    /// held already.
    pub fn hold(&mut self, ticket: Ticket) -> bool {
        let Some(item) = self.items.get(&ticket) else {
            return false;
        };
        let new = self.held.insert(ticket);
        if new {
            self.levels[level_of(item.priority)].remove(&item.flow, ticket, 0);
        }
        new
    }

    /// An item that was held has its turn as if it had always waited, before those of its flow and priority that came
    /// later. False if it is not held.
    pub fn release(&mut self, ticket: Ticket) -> bool {
        let held = self.held.remove(&ticket);
        if let (true, Some(item)) = (held, self.items.get(&ticket)) {
            self.levels[level_of(item.priority)].insert(&item.flow, ticket);
        }
        held
    }

    /// Items that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes an item out of all but its level.
    fn take(&mut self, ticket: Ticket) -> Option<Item<K, T>> {
        let item = match self.items.remove(&ticket) {
            Some(item) => {
                self.bytes -= item.bytes;
                item
            }
            None => self.outside.remove(&ticket)?,
        };
        if let Some(deadline) = item.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        if let Some(count) = self.per_flow.get_mut(&item.flow) {
            *count -= 1;
            if *count == 0 {
                self.per_flow.remove(&item.flow);
            }
        }
        Some(item)
    }

    /// Takes an item whose deadline is over, the earliest first; also from in front of the queue.
    pub fn expire(&mut self, now: Instant) -> Option<Item<K, T>> {
        let &(deadline, ticket) = self.deadlines.first()?;
        match deadline <= now {
            true => self.remove(ticket),
            false => None,
        }
    }

    /// An item that is in the queue, or in front of it, is of use until then, in place of what was said when it was pushed.
    /// False if it is neither.
    pub fn set_deadline(&mut self, ticket: Ticket, deadline: Option<Instant>) -> bool {
        let inside = self.items.get_mut(&ticket);
        let Some(item) = inside.or_else(|| self.outside.get_mut(&ticket)) else {
            return false;
        };
        if let Some(before) = std::mem::replace(&mut item.deadline, deadline) {
            self.deadlines.remove(&(before, ticket));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, ticket));
        }
        true
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the item out that is behind all others.
    pub fn pop_back(&mut self) -> Option<Item<K, T>> {
        let ticket = *self.items.last_key_value()?.0;
        self.remove(ticket)
    }

    /// All items of one flow, in order, with those in front of the queue.
    #[must_use]
    pub fn tickets_of(&self, flow: &K) -> Vec<Ticket> {
        let mut tickets: Vec<Ticket> = (self.levels.iter())
            .filter_map(|level| level.flows.get(flow))
            .flat_map(|flow| flow.tickets.iter().copied())
            .chain(self.held_of(flow))
            .collect();
        let waiting = self.outside.iter().filter(|(_, item)| item.flow == *flow);
        tickets.extend(waiting.map(|(ticket, _)| *ticket));
        tickets.sort_unstable();
        tickets
    }

    /// An item, in the queue or in front of it.
    #[must_use]
    pub fn peek(&self, ticket: Ticket) -> Option<&Item<K, T>> {
        (self.items.get(&ticket)).or_else(|| self.outside.get(&ticket))
    }

    /// The item that has been here longest; what was put back counts as before all others.
    #[must_use]
    pub fn oldest(&self) -> Option<&Item<K, T>> {
        self.items.first_key_value().map(|(_, item)| item)
    }

    /// Items in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Octets in the queue.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn fits(&self, item: &Item<K, T>) -> bool {
        self.has_share(item) && self.has_room(item)
    }

    fn has_room(&self, item: &Item<K, T>) -> bool {
        let bytes = self.bytes.checked_add(item.bytes);
        let bytes_fit = bytes.is_some_and(|bytes| bytes <= self.limits.bytes);
        self.items.len() < self.limits.messages && bytes_fit
    }

    /// Whether its flow has not as many as it may have.
    fn has_share(&self, item: &Item<K, T>) -> bool {
        let flow = self.per_flow.get(&item.flow).copied().unwrap_or(0);
        flow < self.limits.per_flow
    }

    /// Whether it is to wait in front of the queue. Nobody goes past those who do already.
    fn waits(&self, item: &Item<K, T>) -> bool {
        self.limits.on_full == OnFull::Wait
            && !self.admits(item)
            && self.could_fit(item)
            && self.has_share(item)
    }

    fn wait(&mut self, ticket: Ticket, item: Item<K, T>) {
        self.enter(ticket, &item);
        self.outside.insert(ticket, item);
    }

    /// Those in front of the queue come in, as far as there is room.
    fn let_in(&mut self) {
        while let Some((ticket, item)) = self.outside.pop_first() {
            if !self.has_room(&item) {
                self.outside.insert(ticket, item);
                return;
            }
            self.place(ticket, item);
        }
    }

    /// Whether it would fit into the empty queue.
    fn could_fit(&self, item: &Item<K, T>) -> bool {
        self.limits.messages > 0 && self.limits.per_flow > 0 && item.bytes <= self.limits.bytes
    }

    fn oldest_for(&self, item: &Item<K, T>) -> Option<Ticket> {
        let own = (self.levels.iter())
            .filter_map(|level| level.flows.get(&item.flow)?.tickets.front().copied())
            .chain(self.held_of(&item.flow).next())
            .min();
        own.or_else(|| self.items.keys().next().copied())
    }

    /// What is held of a flow, in order.
    fn held_of<'a>(&'a self, flow: &'a K) -> impl Iterator<Item = Ticket> + 'a {
        let its = move |ticket: &&Ticket| self.items.get(ticket).is_some_and(|i| i.flow == *flow);
        self.held.iter().filter(its).copied()
    }

    fn insert(&mut self, ticket: Ticket, item: Item<K, T>) {
        self.enter(ticket, &item);
        self.place(ticket, item);
    }

    /// It counts for its flow, and its deadline holds.
    fn enter(&mut self, ticket: Ticket, item: &Item<K, T>) {
        *self.per_flow.entry(item.flow.clone()).or_default() += 1;
        if let Some(deadline) = item.deadline {
            self.deadlines.insert((deadline, ticket));
        }
    }

    fn place(&mut self, ticket: Ticket, item: Item<K, T>) {
        self.levels[level_of(item.priority)].insert(&item.flow, ticket);
        self.bytes += item.bytes;
        self.items.insert(ticket, item);
    }
}

impl<K: Ord + Clone> Level<K> {
    fn insert(&mut self, key: &K, ticket: Ticket) {
        if let Some(flow) = self.flows.get_mut(key) {
            flow.insert(ticket);
            return;
        }
        let start = self.ahead.remove(key).unwrap_or(0).max(self.time);
        self.starts.insert((start, key.clone()));
        let tickets = VecDeque::from([ticket]);
        self.flows.insert(key.clone(), Flow { tickets, start });
    }

    /// Takes a ticket out of its flow, which was served an item of this cost; of none, if it was not served.
    fn remove(&mut self, key: &K, ticket: Ticket, cost: u64) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        flow.remove(ticket);
        let before = flow.start;
        if cost > 0 {
            self.time = self.time.max(before);
            flow.start = before.saturating_add(cost);
        }
        let start = flow.start;
        if !flow.tickets.is_empty() {
            if start != before {
                // In this order, so that a tree of one is not made anew.
                self.starts.insert((start, key.clone()));
                self.starts.remove(&(before, key.clone()));
            }
            return;
        }
        self.flows.remove(key);
        self.starts.remove(&(before, key.clone()));
        if self.flows.is_empty() {
            // Nobody waits: what was before does not count any more.
            self.ahead.clear();
        } else if start > self.time {
            if self.ahead.len() >= AHEAD {
                self.ahead.retain(|_, start| *start > self.time);
            }
            if self.ahead.len() < AHEAD {
                self.ahead.insert(key.clone(), start);
            }
        }
    }

    /// The first item of the flow whose turn it is.
    fn first(&self) -> Option<Ticket> {
        let (_, key) = self.starts.first()?;
        self.flows.get(key)?.tickets.front().copied()
    }
}

fn level_of(priority: u8) -> usize {
    usize::from(priority).min(LEVELS - 1)
}

/// Priorities 0 to 7, as on the wire.
const LEVELS: usize = 8;

/// One turn in so many goes to the oldest item. A share of 6 % is little for those who are urgent, and
/// enough that whoever is not is never stuck.
const OLDEST_TURN: u64 = 16;

/// What an item costs besides its octets: to be handed on at all.
const ITEM_COST: usize = 512;

/// Flows without items whose lead is remembered. With more than that, some of them get a little more than
/// their share.
const AHEAD: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::common::Random;

    fn item(flow: u32, value: u64) -> Item<u32, u64> {
        Item {
            flow,
            priority: 0,
            bytes: 100,
            deadline: None,
            value,
        }
    }

    fn limits(messages: usize, bytes: usize, on_full: OnFull) -> Limits {
        Limits {
            messages,
            bytes,
            per_flow: messages,
            on_full,
        }
    }

    /// SUB-06.
    #[test]
    fn full_in_messages_or_in_octets() {
        for limits in [
            limits(3, 1 << 20, OnFull::Reject),
            limits(99, 399, OnFull::Reject),
        ] {
            let mut queue = FairQueue::new(limits);
            for value in 0..3 {
                assert!(matches!(queue.push(item(0, value)), Pushed::Queued(_)));
            }
            assert_eq!(queue.push(item(0, 3)), Pushed::Refused(3));
            assert_eq!((queue.len(), queue.bytes()), (3, 300));
        }
        for limits in [
            limits(3, 1 << 20, OnFull::DropNewest),
            limits(99, 399, OnFull::DropNewest),
        ] {
            let mut queue = FairQueue::new(limits);
            for value in 0..3 {
                assert!(matches!(queue.push(item(0, value)), Pushed::Queued(_)));
            }
            assert_eq!(queue.push(item(1, 3)), Pushed::Dropped(3));
            assert_eq!((queue.len(), queue.bytes()), (3, 300));
            assert_eq!(queue.pop().map(|item| item.value), Some(0));
        }
        for limits in [
            limits(3, 1 << 20, OnFull::DropOldest),
            limits(99, 399, OnFull::DropOldest),
        ] {
            let mut queue = FairQueue::new(limits);
            for value in 0..3 {
                queue.push(item(0, value));
            }
            assert!(
                matches!(queue.push(item(1, 3)), Pushed::Replaced(_, dropped) if dropped == [0])
            );
            assert!(
                matches!(queue.push(item(1, 4)), Pushed::Replaced(_, dropped) if dropped == [3])
            );
            assert_eq!((queue.len(), queue.bytes()), (3, 300));
            let giant = Item {
                bytes: 2 << 20,
                ..item(0, 9)
            };
            assert_eq!(queue.push(giant), Pushed::Refused(9));
            assert_eq!(queue.len(), 3, "nothing is dropped for what can never fit");
        }
        for on_full in [OnFull::DropOldest, OnFull::Wait] {
            let mut none = FairQueue::new(limits(0, 0, on_full));
            assert_eq!(none.push(item(0, 1)), Pushed::Refused(1));
        }
    }

    /// SUB-06: what does not fit waits in front of the queue, in order, and its deadline holds there.
    #[test]
    fn what_does_not_fit_waits_for_room() {
        for limits in [
            limits(3, 1 << 20, OnFull::Wait),
            limits(99, 399, OnFull::Wait),
        ] {
            let mut queue = FairQueue::new(limits);
            for value in 0..3 {
                assert!(matches!(queue.push(item(0, value)), Pushed::Queued(_)));
            }
            let Pushed::Waiting(given_up) = queue.push(item(1, 3)) else {
                panic!("there is no room");
            };
            let now = Instant::now();
            let late = Item {
                deadline: Some(now),
                ..item(2, 4)
            };
            assert!(matches!(queue.push(late), Pushed::Waiting(_)));
            assert!(matches!(queue.push(item(3, 5)), Pushed::Waiting(_)));
            // It would fit, and does not go past the others.
            let small = Item {
                bytes: 99,
                ..item(4, 6)
            };
            assert!(!queue.admits(&small));
            assert!(matches!(queue.push(small), Pushed::Waiting(_)));
            let giant = Item {
                bytes: 2 << 20,
                ..item(5, 7)
            };
            assert_eq!(queue.push(giant), Pushed::Refused(7));
            assert_eq!((queue.len(), queue.bytes(), queue.outside()), (3, 300, 4));
            assert!(!queue.hold(given_up), "it has no turn to lose");
            assert_eq!(queue.tickets_of(&1), [given_up]);
            assert_eq!(queue.expire(now).map(|item| item.value), Some(4));
            assert_eq!(queue.remove(given_up).map(|item| item.value), Some(3));
            assert_eq!((queue.len(), queue.outside()), (3, 2));
            // Flows take turns: the first of flow 3 was let in by the first of flow 0.
            let order: Vec<_> = std::iter::from_fn(|| queue.pop())
                .map(|item| item.value)
                .collect();
            assert_eq!(order, [0, 5, 6, 1, 2]);
            assert_eq!((queue.len(), queue.bytes(), queue.outside()), (0, 0, 0));
            assert_eq!((queue.next_deadline(), queue.per_flow.len()), (None, 0));
        }
        // The share of a flow is not waited for: all others would wait with it.
        let mut queue = FairQueue::new(Limits {
            per_flow: 2,
            ..limits(1, 1 << 20, OnFull::Wait)
        });
        assert!(matches!(queue.push(item(0, 0)), Pushed::Queued(_)));
        assert!(matches!(queue.push(item(0, 1)), Pushed::Waiting(_)));
        assert_eq!(queue.push(item(0, 2)), Pushed::Refused(2));
        queue.set_limits(limits(9, 1 << 20, OnFull::Reject));
        assert_eq!((queue.len(), queue.outside()), (2, 0), "there is room now");
    }

    #[test]
    fn deadlines_that_change() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut queue = FairQueue::new(limits(3, 1 << 20, OnFull::Reject));
        let early = Item {
            deadline: Some(at(1)),
            ..item(0, 0)
        };
        let Pushed::Queued(ticket) = queue.push(early) else {
            panic!("there is room");
        };
        assert!(queue.set_deadline(ticket, Some(at(3))));
        assert_eq!(queue.next_deadline(), Some(at(3)));
        assert_eq!(queue.expire(at(2)), None);
        assert!(queue.set_deadline(ticket, None));
        assert_eq!((queue.next_deadline(), queue.expire(at(9))), (None, None));
        assert!(queue.set_deadline(ticket, Some(at(1))));
        assert_eq!(queue.expire(at(1)).map(|item| item.value), Some(0));
        assert!(!queue.set_deadline(ticket, Some(at(1))), "it is gone");
        assert_eq!(queue.next_deadline(), None);
    }

    #[test]
    fn bounds_that_change() {
        let mut queue = FairQueue::new(limits(3, 1 << 20, OnFull::Reject));
        for value in 0..3 {
            assert!(matches!(queue.push(item(0, value)), Pushed::Queued(_)));
        }
        queue.set_limits(limits(2, 1 << 20, OnFull::Reject));
        assert_eq!(
            (queue.len(), queue.push(item(0, 3))),
            (3, Pushed::Refused(3))
        );
        queue.set_limits(limits(2, 1 << 20, OnFull::DropOldest));
        assert!(
            matches!(queue.push(item(0, 4)), Pushed::Replaced(_, dropped) if dropped == [0, 1])
        );
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn what_is_held_has_no_turn_and_takes_its_place() {
        let mut queue = FairQueue::new(limits(5, 1 << 20, OnFull::DropOldest));
        let mut tickets = Vec::new();
        for value in 0..5 {
            match queue.push(item(0, value)) {
                Pushed::Queued(ticket) => tickets.push(ticket),
                other => panic!("{other:?}"),
            }
        }
        for held in [1, 2, 4] {
            assert!(queue.hold(tickets[held]));
            assert!(!queue.hold(tickets[held]), "it is held already");
        }
        assert_eq!((queue.held(), queue.len(), queue.bytes()), (3, 5, 500));
        assert_eq!(queue.tickets_of(&0), tickets);
        assert_eq!(queue.pop().map(|item| item.value), Some(0));
        // Between the others, where it came.
        assert!(queue.release(tickets[2]));
        assert!(!queue.release(tickets[2]));
        assert_eq!(queue.pop().map(|item| item.value), Some(2));
        assert_eq!(queue.pop().map(|item| item.value), Some(3));
        // Not by the turn of the oldest either.
        for _ in 0..2 * OLDEST_TURN {
            assert_eq!(queue.pop(), None);
        }
        assert_eq!(queue.oldest().map(|item| item.value), Some(1));
        // It makes room like any other, and is as late as any other.
        for value in 5..8 {
            assert!(matches!(queue.push(item(0, value)), Pushed::Queued(_)));
        }
        assert!(matches!(queue.push(item(0, 8)), Pushed::Replaced(_, dropped) if dropped == [1]));
        assert_eq!(queue.remove(tickets[4]).map(|item| item.value), Some(4));
        assert_eq!((queue.held(), queue.hold(tickets[4])), (0, false));
        let late = Item {
            deadline: Some(Instant::now()),
            ..item(1, 9)
        };
        let Pushed::Queued(ticket) = queue.push(late.clone()) else {
            panic!("there is room");
        };
        queue.hold(ticket);
        assert_eq!(queue.expire(Instant::now()), Some(late));
        assert_eq!((queue.held(), queue.len()), (0, 4));
    }

    #[test]
    fn one_flow_does_not_fill_it() {
        let limits = Limits {
            per_flow: 2,
            ..limits(10, 1 << 20, OnFull::Reject)
        };
        let mut queue = FairQueue::new(limits);
        for value in 0..2 {
            assert!(matches!(queue.push(item(0, value)), Pushed::Queued(_)));
        }
        assert_eq!(queue.push(item(0, 2)), Pushed::Refused(2));
        assert!(matches!(queue.push(item(1, 3)), Pushed::Queued(_)));
    }

    #[test]
    fn flows_share_by_octets() {
        let mut queue = FairQueue::new(limits(100_000, 1 << 30, OnFull::Reject));
        for value in 0..1000 {
            queue.push(Item {
                bytes: 10_000,
                ..item(0, value)
            });
            for _ in 0..20 {
                queue.push(Item {
                    bytes: 500,
                    ..item(1, value)
                });
            }
        }
        let mut octets = [0; 2];
        for _ in 0..5000 {
            let item = queue.pop().unwrap();
            octets[item.flow as usize] += item.bytes + ITEM_COST;
        }
        let (large, small) = (octets[0] as f64, octets[1] as f64);
        assert!((0.8..1.25).contains(&(large / small)), "{octets:?}");
    }

    #[test]
    fn a_flow_that_comes_back_with_one_item_at_a_time_has_no_advantage() {
        let mut queue = FairQueue::new(limits(100_000, 1 << 30, OnFull::Reject));
        for value in 0..1000 {
            queue.push(item(0, value));
        }
        queue.push(item(1, 0));
        let mut served = [0; 2];
        for _ in 0..500 {
            let item = queue.pop().unwrap();
            served[item.flow as usize] += 1;
            if item.flow == 1 {
                queue.push(item);
            }
        }
        assert!(served[0] >= 240 && served[1] >= 200, "{served:?}");
    }

    #[test]
    fn urgent_ones_go_first_and_nothing_starves() {
        let mut queue = FairQueue::new(limits(1000, 1 << 30, OnFull::Reject));
        queue.push(item(0, 0));
        for value in 1..100 {
            queue.push(Item {
                priority: 7,
                ..item(0, value)
            });
        }
        assert_eq!(queue.pop().unwrap().value, 1);
        let turns = (2..).find(|_| queue.pop().unwrap().value == 0).unwrap();
        assert_eq!(turns, OLDEST_TURN);
    }

    #[test]
    fn what_is_put_back_comes_first_and_what_is_late_goes() {
        let start = Instant::now();
        let mut queue = FairQueue::new(limits(10, 1 << 20, OnFull::Reject));
        for value in 0..3 {
            queue.push(Item {
                deadline: Some(start + Duration::from_secs(9 - value)),
                ..item(0, value)
            });
        }
        let first = queue.pop().unwrap();
        assert_eq!(first.value, 0);
        queue.push_front(first);
        assert_eq!(queue.next_deadline(), Some(start + Duration::from_secs(7)));
        assert_eq!(queue.expire(start), None);
        let late = queue.expire(start + Duration::from_secs(8)).unwrap();
        assert_eq!(late.value, 2);
        assert_eq!(queue.tickets_of(&0).len(), 2);
        assert_eq!(queue.pop().unwrap().value, 0);
        assert_eq!(queue.pop().unwrap().value, 1);
        assert!(queue.is_empty() && queue.bytes() == 0 && queue.next_deadline().is_none());
    }

    /// Against a naive list: what goes in comes out once, in order per flow and priority.
    #[test]
    fn random_histories() {
        let start = Instant::now();
        let mut most = 0;
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let on_full = [OnFull::Reject, OnFull::Wait][(seed % 2) as usize];
            let mut queue = FairQueue::new(limits(30, 3000, on_full));
            let mut inside = BTreeMap::new();
            let mut outside = BTreeMap::new();
            let mut now = start;
            for value in 0..300 {
                match random.below(5) {
                    0..=2 => {
                        let item = Item {
                            flow: random.below(4),
                            priority: random.below(9) as u8,
                            bytes: random.below(300) as usize,
                            deadline: Some(now + Duration::from_millis(random.below(50))),
                            value,
                        };
                        match queue.push(item.clone()) {
                            Pushed::Queued(ticket) => drop(inside.insert(ticket, item)),
                            Pushed::Waiting(ticket) => drop(outside.insert(ticket, item)),
                            pushed => assert_eq!(pushed, Pushed::Refused(value)),
                        }
                    }
                    3 => {
                        if let Some(item) = queue.pop() {
                            let same = inside.iter().find(|(_, other)| {
                                (other.flow, level_of(other.priority))
                                    == (item.flow, level_of(item.priority))
                            });
                            let (&ticket, first) = same.unwrap();
                            assert_eq!(*first, item, "seed {seed}");
                            inside.remove(&ticket);
                        } else {
                            assert!(inside.is_empty());
                        }
                    }
                    _ => {
                        now += Duration::from_millis(random.below(20));
                        while let Some(item) = queue.expire(now) {
                            assert!(item.deadline.unwrap() <= now);
                            inside.retain(|_, other| other.value != item.value);
                            outside.retain(|_, other| other.value != item.value);
                        }
                        assert!(inside.values().all(|item| item.deadline.unwrap() > now));
                        assert!(outside.values().all(|item| item.deadline.unwrap() > now));
                    }
                }
                while let Some((ticket, item)) = outside.pop_first() {
                    let octets: usize = inside.values().map(|item| item.bytes).sum();
                    if inside.len() == 30 || octets + item.bytes > 3000 {
                        outside.insert(ticket, item);
                        break;
                    }
                    inside.insert(ticket, item);
                }
                most = most.max(outside.len());
                assert_eq!(queue.outside(), outside.len());
                assert_eq!(queue.len(), inside.len());
                let octets: usize = inside.values().map(|item| item.bytes).sum();
                assert_eq!(queue.bytes(), octets);
                assert!(queue.len() <= 30 && queue.bytes() <= 3000);
            }
        }
        assert!(most > 5, "some wait in front of it: {most}");
    }
}
