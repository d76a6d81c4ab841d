//! Many requests at once, each of which ends exactly once: with a reply, or with the reason for there being none.
//!
//! On the wire a request is `[id] [empty] [body …]`, as that of a correlated REQ (28/REQREP), with an id of eight
//! octets. A reply counts from any peer that was asked, if it repeats the id: one that was asked again
//! because another took too long does not make the other's reply worthless.
//!
//! A peer that has as many requests as it may is passed over until one of them has ended. A request that is sent again
//! goes to a peer that has not had it, if one has room.
//!
//! Calling order: [`Outstanding::begin`] queues a request; [`Outstanding::next_unsent`] is what is to be sent, and
//! [`Outstanding::sent`] says who has it. Whatever ends requests tells whose they were, by the tag kept with
//! them, and [`Outstanding::take`] is how each ended.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::PeerKey;
use crate::message::{Frame, Message};

/// How long a request may take, and how often it may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// When it is given up.
    pub(crate) deadline: Option<Instant>,
    /// How long one peer has for a reply before another is asked.
    pub(crate) attempt: Option<Duration>,
    /// How many more peers may be asked.
    pub(crate) retries: u32,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reply(Message),
    /// Nobody could be asked in time. The body.
    Unsent(Message),
    /// Somebody was asked, and did not reply in time.
    TimedOut,
    /// Those who were asked are gone.
    PeerLost,
    /// Somebody was asked, and the requester was closed before the reply.
    Closed,
    /// The requester was closed before anybody was asked. The body.
    Withdrawn(Message),
}

/// See the module. `T` is kept with each request until it ends.
#[derive(Debug)]
pub(crate) struct Outstanding<T> {
    requests: HashMap<u64, Request<T>>,
    /// When something is to be done about which.
    due: BTreeSet<(Instant, u64)>,
    /// In the order in which they are to be sent. Some may have ended meanwhile.
    unsent: VecDeque<u64>,
    loads: Loads,
    next_id: u64,
    ended: usize,
}

/// Which requests each peer has that have not ended, and how many it may have.
#[derive(Debug)]
pub(crate) struct Loads {
    window: usize,
    peers: HashMap<PeerKey, Load>,
    /// Peers that were passed over and may have more now.
    resumed: Vec<PeerKey>,
}

#[derive(Debug, Default)]
struct Load {
    /// And whether each takes a place: one whose time with this peer is over does not, though the peer may reply.
    requests: HashMap<u64, bool>,
    places: usize,
    was_passed_over: bool,
}

/// Whether a peer may have a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    First,
    /// It has had it already: if nobody else may.
    Again,
    No,
}

/// Who may have a request that is to be sent.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    loads: &'a mut Loads,
    id: u64,
    is_retry: bool,
}

impl Candidates<'_> {
    /// Whether there is a peer that has had it.
    pub(crate) fn is_retry(&self) -> bool {
        self.is_retry
    }

    /// Whether a peer may have one more request. One that may not is among those that resume when it may.
    pub(crate) fn admit(&mut self, peer: PeerKey) -> bool {
        self.loads.admit(peer)
    }

    /// As [`Candidates::admit`], and whether the peer has had this one.
    pub(crate) fn admission(&mut self, peer: PeerKey) -> Admission {
        match self.loads.admit(peer) {
            true if self.loads.has(peer, self.id) => Admission::Again,
            true => Admission::First,
            false => Admission::No,
        }
    }
}

impl Loads {
    /// See [`Candidates::admit`].
    fn admit(&mut self, peer: PeerKey) -> bool {
        match self.peers.get_mut(&peer) {
            Some(load) if load.places >= self.window => {
                load.was_passed_over = true;
                false
            }
            _ => true,
        }
    }

    fn has(&self, peer: PeerKey, id: u64) -> bool {
        let load = self.peers.get(&peer);
        load.is_some_and(|load| load.requests.contains_key(&id))
    }

    fn add(&mut self, peer: PeerKey, id: u64) {
        let load = self.peers.entry(peer).or_default();
        if load.requests.insert(id, true) != Some(true) {
            load.places += 1;
        }
    }

    /// The time of a request with this peer is over; it may reply still.
    fn give_up(&mut self, peer: PeerKey, id: u64) {
        if let Some(load) = self.peers.get_mut(&peer) {
            if let Some(takes_place) = load.requests.get_mut(&id) {
                if std::mem::take(takes_place) {
                    load.places -= 1;
                    self.resumed
                        .extend(std::mem::take(&mut load.was_passed_over).then_some(peer));
                }
            }
        }
    }

    fn remove(&mut self, peer: PeerKey, id: u64) {
        self.give_up(peer, id);
        if let Some(load) = self.peers.get_mut(&peer) {
            load.requests.remove(&id);
        }
    }

    /// A peer is gone, or begins anew. What it had.
    fn clear(&mut self, peer: PeerKey) -> impl Iterator<Item = u64> {
        let load = self.peers.remove(&peer).unwrap_or_default();
        self.resumed.extend(load.was_passed_over.then_some(peer));
        load.requests.into_keys()
    }
}

#[derive(Debug)]
struct Request<T> {
    tag: T,
    wire: Message,
    terms: Terms,
    /// Its entry in `due`.
    due: Option<Instant>,
    /// Who has it, and is there.
    asked: Vec<PeerKey>,
    was_sent: bool,
    waits_to_be_sent: bool,
    outcome: Option<Outcome>,
}

impl<T: Default> Outstanding<T> {
    /// The ids begin with an unpredictable one, so that a reply to an earlier process is none to this. `window` is how
    /// many requests one peer may have.
    pub(crate) fn new(first_id: u64, window: usize) -> Self {
        Outstanding {
            requests: HashMap::new(),
            due: BTreeSet::new(),
            unsent: VecDeque::new(),
            loads: Loads {
                window,
                peers: HashMap::new(),
                resumed: Vec::new(),
            },
            next_id: first_id,
            ended: 0,
        }
    }

    /// Requests that have not ended.
    pub(crate) fn len(&self) -> usize {
        self.requests.len() - self.ended
    }

    /// Queues a request.
    pub(crate) fn begin(&mut self, body: Message, terms: Terms) -> u64 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let envelope = [Frame::from(&id.to_be_bytes()[..]), Frame::default()];
        let request = Request {
            tag: T::default(),
            wire: Message::multipart(envelope.into_iter().chain(body)),
            terms,
            due: None,
            asked: Vec::new(),
            was_sent: false,
            waits_to_be_sent: true,
            outcome: None,
        };
        self.requests.insert(id, request);
        self.unsent.push_back(id);
        self.set_due(id, terms.deadline);
        id
    }

    /// What is to be sent next, and who may have it.
    pub(crate) fn next_unsent(&mut self) -> Option<(u64, &Message, Candidates<'_>)> {
        loop {
            let id = *self.unsent.front()?;
            let waits = |request: &Request<T>| request.waits_to_be_sent;
            if self.requests.get(&id).is_some_and(waits) {
                let request = self.requests.get(&id)?;
                let candidates = Candidates {
                    loads: &mut self.loads,
                    id,
                    is_retry: !request.asked.is_empty(),
                };
                return Some((id, &request.wire, candidates));
            }
            self.unsent.pop_front();
        }
    }

    /// A peer that was passed over and may have more now, one at a time.
    pub(crate) fn take_resumed(&mut self) -> Option<PeerKey> {
        self.loads.resumed.pop()
    }

    /// Whether a peer that was passed over may have more now.
    pub(crate) fn has_resumed(&self) -> bool {
        !self.loads.resumed.is_empty()
    }

    /// A request is on its way to a peer.
    pub(crate) fn sent(&mut self, id: u64, to: PeerKey, now: Instant) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.waits_to_be_sent = false;
        request.was_sent = true;
        if !request.asked.contains(&to) {
            request.asked.push(to);
        }
        self.loads.add(to, id);
        let attempt = request.terms.attempt.and_then(|time| now.checked_add(time));
        let due = earlier(attempt, request.terms.deadline);
        self.set_due(id, due);
    }

    /// A message from a peer. Whose request it ends; nobody's if it is no reply to one.
    pub(crate) fn accept(&mut self, from: PeerKey, message: Message) -> Option<T> {
        let [id, delimiter, _body, ..] = message.frames() else {
            return None;
        };
        let id = u64::from_be_bytes((**id).try_into().ok()?);
        let request = self.requests.get(&id)?;
        if !delimiter.is_empty() || !request.asked.contains(&from) || request.outcome.is_some() {
            return None;
        }
        let mut body = message;
        body.pop_front();
        body.pop_front();
        self.end(id, Outcome::Reply(body))
    }

    /// A peer is gone with what it was asked. Whose requests that ends, behind those in `ended`; others are asked
    /// again.
    pub(crate) fn lost(&mut self, peer: PeerKey, ended: &mut Vec<T>) {
        for id in self.loads.clear(peer) {
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            request.asked.retain(|asked| *asked != peer);
            let is_alone = request.asked.is_empty() && !request.waits_to_be_sent;
            if is_alone && !self.ask_again(id) {
                ended.extend(self.end(id, Outcome::PeerLost));
            }
        }
    }

    /// It is so late now. Whose requests that ends; others are asked again.
    pub(crate) fn expire(&mut self, now: Instant, ended: &mut Vec<T>) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            request.due = None;
            for peer in &request.asked {
                self.loads.give_up(*peer, id);
            }
            let over = request.terms.deadline.is_some_and(|end| end <= now);
            if !over && self.ask_again(id) {
                continue;
            }
            let outcome = match self.requests.get(&id) {
                Some(request) if !request.was_sent => Outcome::Unsent(body_of(&request.wire)),
                _ => Outcome::TimedOut,
            };
            ended.extend(self.end(id, outcome));
        }
    }

    /// When [`Outstanding::expire`] has something to do.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Ends everything. Whose requests those were.
    pub(crate) fn close(&mut self) -> Vec<T> {
        let outcome_of = |request: &Request<T>| match request.was_sent {
            true => Outcome::Closed,
            false => Outcome::Withdrawn(body_of(&request.wire)),
        };
        let open = |(id, request): (&u64, &Request<T>)| {
            let is_open = request.outcome.is_none();
            is_open.then(|| (*id, outcome_of(request)))
        };
        let all: Vec<(u64, Outcome)> = self.requests.iter().filter_map(open).collect();
        all.into_iter()
            .filter_map(|(id, outcome)| self.end(id, outcome))
            .collect()
    }

    /// Whether a request has ended, and is not taken.
    pub(crate) fn has_ended(&self, id: u64) -> bool {
        let request = self.requests.get(&id);
        request.is_some_and(|request| request.outcome.is_some())
    }

    /// How a request ended, after which it is forgotten. `None`: it has not.
    pub(crate) fn take(&mut self, id: u64) -> Option<Outcome> {
        self.requests.get(&id)?.outcome.as_ref()?;
        self.ended -= 1;
        let outcome = self.requests.remove(&id)?.outcome;
        self.prune_unsent();
        outcome
    }

    /// What is kept with a request that has not ended.
    pub(crate) fn tag(&mut self, id: u64) -> Option<&mut T> {
        self.requests.get_mut(&id).map(|request| &mut request.tag)
    }

    /// Forgets a request, however it stands. What was kept with it, for the caller to drop.
    #[must_use]
    pub(crate) fn cancel(&mut self, id: u64) -> Option<T> {
        self.set_due(id, None);
        let request = self.requests.remove(&id)?;
        for peer in request.asked {
            self.loads.remove(peer, id);
        }
        self.ended -= usize::from(request.outcome.is_some());
        self.prune_unsent();
        Some(request.tag)
    }

    /// Those that have ended need not wait behind one that cannot be sent, once they are the greater part.
    fn prune_unsent(&mut self) {
        if self.unsent.len() > 2 * self.requests.len() + 64 {
            let requests = &self.requests;
            let waits = |id: &u64| requests.get(id).is_some_and(|of| of.waits_to_be_sent);
            self.unsent.retain(waits);
        }
    }

    /// Queues a request once more, if it may be.
    fn ask_again(&mut self, id: u64) -> bool {
        let Some(request) = self.requests.get_mut(&id) else {
            return false;
        };
        if request.waits_to_be_sent || request.terms.retries == 0 {
            return false;
        }
        request.terms.retries -= 1;
        request.waits_to_be_sent = true;
        let deadline = request.terms.deadline;
        self.unsent.push_back(id);
        self.set_due(id, deadline);
        true
    }

    fn end(&mut self, id: u64, outcome: Outcome) -> Option<T> {
        self.set_due(id, None);
        let request = self.requests.get_mut(&id)?;
        request.waits_to_be_sent = false;
        request.outcome = Some(outcome);
        // It is not needed any more, and its owner may take its time.
        request.wire = Message::default();
        for peer in std::mem::take(&mut request.asked) {
            self.loads.remove(peer, id);
        }
        self.ended += 1;
        Some(std::mem::take(&mut request.tag))
    }

    fn set_due(&mut self, id: u64, at: Option<Instant>) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut request.due, at) {
            self.due.remove(&(before, id));
        }
        if let Some(at) = at {
            self.due.insert((at, id));
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A request without its envelope.
fn body_of(wire: &Message) -> Message {
    let mut body = wire.clone();
    body.pop_front();
    body.pop_front();
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Terms = Terms {
        deadline: None,
        attempt: None,
        retries: 0,
    };

    const MANY: usize = 1000;

    fn peer(index: u32) -> PeerKey {
        PeerKey {
            index,
            generation: 1,
        }
    }

    /// Sends what is unsent to this peer; how many.
    fn send_all(table: &mut Outstanding<u32>, to: PeerKey, now: Instant) -> usize {
        let mut count = 0;
        while let Some((id, _, _)) = table.next_unsent() {
            table.sent(id, to, now);
            count += 1;
        }
        count
    }

    fn reply(id: u64, body: &'static str) -> Message {
        Message::multipart([&id.to_be_bytes()[..], b"", body.as_bytes()])
    }

    fn begin(table: &mut Outstanding<u32>, tag: u32, terms: Terms) -> u64 {
        let id = table.begin(Message::from("body"), terms);
        *table.tag(id).unwrap() = tag;
        id
    }

    #[test]
    fn a_reply_counts_once_and_from_who_was_asked() {
        let now = Instant::now();
        let mut table = Outstanding::new(u64::MAX, MANY);
        let (one, two) = (begin(&mut table, 1, ONCE), begin(&mut table, 2, ONCE));
        assert_eq!(table.next_unsent().unwrap().1.frame_count(), 3);
        assert_eq!(table.accept(peer(0), reply(one, "early")), None);
        assert_eq!(send_all(&mut table, peer(0), now), 2);
        assert_eq!(table.accept(peer(1), reply(one, "forged")), None);
        assert_eq!(table.accept(peer(0), Message::from("x")), None);
        let odd = Message::multipart([&two.to_be_bytes()[..], b"no delimiter", b"x"]);
        assert_eq!(table.accept(peer(0), odd), None);
        assert_eq!(table.accept(peer(0), reply(two, "b")), Some(2));
        assert_eq!(table.accept(peer(0), reply(two, "again")), None);
        assert_eq!(table.take(one), None);
        assert_eq!(table.take(two), Some(Outcome::Reply(Message::from("b"))));
        assert_eq!(table.take(two), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_lost_peer_ends_what_it_was_asked_or_another_is_asked() {
        let now = Instant::now();
        let mut table = Outstanding::new(7, MANY);
        let once = begin(&mut table, 1, ONCE);
        let twice = begin(&mut table, 2, Terms { retries: 1, ..ONCE });
        send_all(&mut table, peer(0), now);
        let mut ended = Vec::new();
        table.lost(peer(3), &mut ended);
        assert!(ended.is_empty());
        table.lost(peer(0), &mut ended);
        assert_eq!(ended, [1]);
        assert_eq!(table.take(once), Some(Outcome::PeerLost));
        assert_eq!(send_all(&mut table, peer(1), now), 1);
        table.lost(peer(1), &mut ended);
        assert_eq!(ended, [1, 2]);
        assert_eq!(table.take(twice), Some(Outcome::PeerLost));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn who_takes_too_long_is_not_the_only_one_asked_and_may_still_reply() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut table = Outstanding::new(7, MANY);
        let terms = Terms {
            deadline: Some(start + 10 * second),
            attempt: Some(second),
            retries: 1,
        };
        let id = begin(&mut table, 1, terms);
        assert_eq!(table.next_due(), Some(start + 10 * second));
        send_all(&mut table, peer(0), start);
        assert_eq!(table.next_due(), Some(start + second));
        let mut ended = Vec::new();
        table.expire(start + second, &mut ended);
        assert_eq!(send_all(&mut table, peer(1), start + second), 1);
        // Of two who are asked one may go.
        table.lost(peer(1), &mut ended);
        assert!(ended.is_empty());
        assert_eq!(table.accept(peer(0), reply(id, "late")), Some(1));
        assert_eq!(table.next_due(), None);
    }

    #[test]
    fn who_has_had_a_request_has_it_again_only_after_the_others() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut table = Outstanding::new(7, 1);
        let terms = Terms {
            deadline: None,
            attempt: Some(second),
            retries: 2,
        };
        begin(&mut table, 1, terms);
        assert!(!table.next_unsent().unwrap().2.is_retry());
        send_all(&mut table, peer(0), start);
        let mut ended = Vec::new();
        table.expire(start + second, &mut ended);
        let (_, _, mut candidates) = table.next_unsent().unwrap();
        assert!(candidates.is_retry());
        assert_eq!(candidates.admission(peer(0)), Admission::Again);
        assert_eq!(candidates.admission(peer(1)), Admission::First);
        // It has had this one, which is not what takes its only place.
        send_all(&mut table, peer(1), start + second);
        let other = begin(&mut table, 2, ONCE);
        send_all(&mut table, peer(0), start + second);
        table.expire(start + 2 * second, &mut ended);
        let (_, _, mut candidates) = table.next_unsent().unwrap();
        assert_eq!(candidates.admission(peer(0)), Admission::No);
        assert_eq!(candidates.admission(peer(1)), Admission::Again);
        // Who is gone, or comes in its place, has had nothing.
        table.lost(peer(0), &mut ended);
        table.lost(peer(1), &mut ended);
        assert_eq!(table.take(other), Some(Outcome::PeerLost));
        let (_, _, mut candidates) = table.next_unsent().unwrap();
        assert!(!candidates.is_retry());
        assert_eq!(candidates.admission(peer(1)), Admission::First);
    }

    #[test]
    fn the_end_of_the_last_attempt_is_the_end() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut table = Outstanding::new(7, MANY);
        let attempt = Terms {
            attempt: Some(second),
            ..ONCE
        };
        let sent = begin(&mut table, 1, attempt);
        send_all(&mut table, peer(0), start);
        let deadline = Terms {
            deadline: Some(start + second),
            ..ONCE
        };
        let unsent = begin(&mut table, 2, deadline);
        let mut ended = Vec::new();
        table.expire(start, &mut ended);
        assert!(ended.is_empty());
        table.expire(start + second, &mut ended);
        ended.sort_unstable();
        assert_eq!(ended, [1, 2]);
        assert_eq!(table.take(sent), Some(Outcome::TimedOut));
        assert_eq!(
            table.take(unsent),
            Some(Outcome::Unsent(Message::from("body")))
        );
        assert!(table.next_unsent().is_none());
    }

    #[test]
    fn a_peer_with_as_many_requests_as_it_may_have_is_passed_over_until_one_ends() {
        let now = Instant::now();
        let mut table = Outstanding::new(7, 2);
        let terms = Terms {
            deadline: Some(now),
            ..ONCE
        };
        let ids: Vec<u64> = (0..8).map(|tag| begin(&mut table, tag, terms)).collect();
        let mut next = 0;
        let mut fill = |table: &mut Outstanding<u32>, to: PeerKey| {
            let before = next;
            while let Some((id, _, mut candidates)) = table.next_unsent() {
                if !candidates.admit(to) {
                    break;
                }
                assert_eq!(id, ids[next], "in the order they came in");
                table.sent(id, to, now);
                next += 1;
            }
            next - before
        };
        assert_eq!(
            (fill(&mut table, peer(0)), fill(&mut table, peer(0))),
            (2, 0)
        );
        assert_eq!(fill(&mut table, peer(1)), 2, "each has its own");
        assert!(!table.has_resumed());

        // A reply, a request that is cancelled, and the end of all that a peer has.
        assert!(table.accept(peer(0), reply(ids[0], "a")).is_some());
        assert_eq!(
            (table.take_resumed(), table.take_resumed()),
            (Some(peer(0)), None)
        );
        assert_eq!(fill(&mut table, peer(0)), 1);
        assert!(table.cancel(ids[1]).is_some());
        assert_eq!(table.take_resumed(), Some(peer(0)));
        assert_eq!(fill(&mut table, peer(0)), 1);
        let mut ended = Vec::new();
        table.lost(peer(0), &mut ended);
        ended.sort_unstable();
        assert_eq!(ended, [4, 5]);
        assert_eq!(table.take_resumed(), Some(peer(0)));
        assert_eq!(fill(&mut table, peer(0)), 2);
        // The first was not passed over this time, and has nothing to resume.
        table.expire(now, &mut ended);
        assert_eq!(
            (table.take_resumed(), table.take_resumed()),
            (Some(peer(1)), None)
        );
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_request_to_be_sent_again_does_not_take_the_place_that_it_waits_for() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut table = Outstanding::new(7, 1);
        let terms = Terms {
            deadline: None,
            attempt: Some(second),
            retries: 1,
        };
        let id = begin(&mut table, 1, terms);
        let send = |table: &mut Outstanding<u32>, now| {
            let (id, _, mut candidates) = table.next_unsent()?;
            let admitted = candidates.admit(peer(0)).then_some(id)?;
            table.sent(admitted, peer(0), now);
            Some(admitted)
        };
        assert_eq!(send(&mut table, start), Some(id));
        let next = begin(&mut table, 2, ONCE);
        assert_eq!(send(&mut table, start), None);
        // Those who came meanwhile are first; the only peer has one place.
        let mut ended = Vec::new();
        table.expire(start + second, &mut ended);
        assert_eq!(table.take_resumed(), Some(peer(0)));
        assert_eq!(send(&mut table, start), Some(next));
        assert_eq!(send(&mut table, start), None);
        assert_eq!(table.accept(peer(0), reply(next, "x")), Some(2));
        assert_eq!(table.take_resumed(), Some(peer(0)));
        assert_eq!(send(&mut table, start + second), Some(id));
        table.expire(start + 2 * second, &mut ended);
        assert_eq!(ended, [1], "it ends after its last attempt");
        // And one whose time is over ends if the peer is lost.
        let id = begin(&mut table, 3, terms);
        assert_eq!(send(&mut table, start), Some(id));
        table.expire(start + second, &mut ended);
        assert_eq!(send(&mut table, start), Some(id));
        ended.clear();
        table.lost(peer(0), &mut ended);
        assert_eq!(ended, [3]);
    }

    #[test]
    fn what_is_cancelled_leaves_nothing_behind() {
        let start = Instant::now();
        let mut table = Outstanding::new(7, MANY);
        let terms = Terms {
            deadline: Some(start),
            ..ONCE
        };
        for _ in 0..1000 {
            let id = begin(&mut table, 1, terms);
            assert_eq!(table.cancel(id), Some(1));
        }
        assert!(table.unsent.len() < 100);
        assert!(table.next_unsent().is_none());
        assert_eq!((table.len(), table.next_due()), (0, None));
        let sent = begin(&mut table, 5, ONCE);
        send_all(&mut table, peer(0), start);
        let unsent = begin(&mut table, 6, ONCE);
        let mut closed = table.close();
        closed.sort_unstable();
        assert_eq!(closed, [5, 6]);
        assert_eq!(table.take(sent), Some(Outcome::Closed));
        let body = Message::from("body");
        assert_eq!(table.take(unsent), Some(Outcome::Withdrawn(body)));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn what_ends_behind_one_that_waits_leaves_nothing_behind() {
        let start = Instant::now();
        let mut table = Outstanding::new(7, MANY);
        let first = begin(&mut table, 1, ONCE);
        let terms = Terms {
            deadline: Some(start),
            ..ONCE
        };
        for _ in 0..1000 {
            let id = begin(&mut table, 2, terms);
            let mut ended = Vec::new();
            table.expire(start, &mut ended);
            assert_eq!(ended, [2]);
            let outcome = table.take(id);
            assert_eq!(outcome, Some(Outcome::Unsent(Message::from("body"))));
        }
        assert!(table.unsent.len() < 100, "{}", table.unsent.len());
        assert_eq!(table.next_unsent().map(|(id, _, _)| id), Some(first));
    }
}
