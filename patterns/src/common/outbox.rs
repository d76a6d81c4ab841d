//! What an engine wants sent. What a peer has no room for is kept here, and what comes after it for the same peer; it goes
//! out in the same order when there is room. Other peers do not notice.
//!
//! A message may be a part of something that has a number, whose owner waits until it is sent
//! ([`poll_sent`](Outbox::poll_sent)). How much is kept is for the engine to say: it asks
//! [`held`](Outbox::held) before it sends more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::{PeerId, Port, Transmit};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Entry>,
    /// Of what was polled last, and is sent unless it is refused before the next poll.
    last: Option<Mark>,
    held: BTreeMap<Line, Held>,
    /// Of all that is held.
    octets: usize,
    /// Since when each of those was refused: the first one first.
    since: BTreeSet<(Instant, Line)>,
    /// How many parts of each number wait, or have waited and are in the queue; and where to they go.
    waiting: BTreeMap<u64, (u32, Line)>,
    sent: VecDeque<u64>,
}

/// Where to, and in which order.
type Line = (Port, Option<PeerId>);

#[derive(Debug)]
struct Entry {
    transmit: Transmit,
    mark: Mark,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    part_of: Option<u64>,
    /// Whether its owner waits for it.
    waited: bool,
}

#[derive(Debug)]
struct Held {
    entries: VecDeque<Entry>,
    octets: usize,
    /// When the first one was refused.
    since: Instant,
}

impl Outbox {
    /// To be sent, behind all that was pushed before it for the same peer.
    pub(crate) fn push(&mut self, transmit: Transmit) {
        self.append(transmit, None, false);
    }

    /// A part of what has this number.
    pub(crate) fn push_part(&mut self, transmit: Transmit, part_of: u64) {
        self.append(transmit, Some(part_of), false);
    }

    /// The same, of which it was said before that it waits.
    pub(crate) fn push_late(&mut self, transmit: Transmit, part_of: u64) {
        more(&mut self.waiting, part_of, &transmit);
        self.append(transmit, Some(part_of), true);
    }

    fn append(&mut self, transmit: Transmit, part_of: Option<u64>, waited: bool) {
        let mark = Mark { part_of, waited };
        self.queue.push_back(Entry { transmit, mark });
    }

    /// What is to be sent now. What it gave before is sent, unless it was refused.
    pub(crate) fn poll(&mut self) -> Option<Transmit> {
        self.settle();
        while let Some(entry) = self.queue.pop_front() {
            if self.held.is_empty() {
                self.last = Some(entry.mark);
                return Some(entry.transmit);
            }
            let line = line_of(&entry.transmit);
            match self.held.get_mut(&line) {
                Some(held) => {
                    self.octets += octets_of(&entry);
                    held.push(entry, &mut self.waiting);
                }
                None => {
                    self.last = Some(entry.mark);
                    return Some(entry.transmit);
                }
            }
        }
        None
    }

    /// What was polled last is sent.
    fn settle(&mut self) {
        let Some(Mark { part_of, waited }) = self.last.take() else {
            return;
        };
        if let Some(id) = part_of.filter(|_| waited) {
            less(&mut self.waiting, id);
            self.sent.push_back(id);
        }
    }

    /// What was polled last found no room.
    pub(crate) fn full(&mut self, now: Instant, transmit: Transmit) {
        let mark = self.last.take().unwrap_or(Mark {
            part_of: None,
            waited: false,
        });
        let line = line_of(&transmit);
        if !self.held.contains_key(&line) {
            self.since.insert((now, line.clone()));
        }
        let held = self.held.entry(line).or_insert_with(|| Held {
            entries: VecDeque::new(),
            octets: 0,
            since: now,
        });
        let entry = Entry { transmit, mark };
        self.octets += octets_of(&entry);
        held.push(entry, &mut self.waiting);
    }

    /// What was polled last will never be sent. The number of which it was a part, and whether it had to wait.
    pub(crate) fn refused(&mut self) -> Option<(u64, bool)> {
        let Mark { part_of, waited } = self.last.take()?;
        if let Some(id) = part_of.filter(|_| waited) {
            less(&mut self.waiting, id);
        }
        Some((part_of?, waited))
    }

    /// There may be room.
    pub(crate) fn room(&mut self, port: Port, peer: Option<&PeerId>) {
        if let Some(held) = self.open(&(port, peer.cloned())) {
            // Before all that came since.
            for entry in held.entries.into_iter().rev() {
                self.queue.push_front(entry);
            }
        }
    }

    /// A part of this number that had to wait was sent.
    pub(crate) fn poll_sent(&mut self) -> Option<u64> {
        self.sent.pop_front()
    }

    /// Whether parts of this number wait.
    pub(crate) fn waits(&self, part_of: u64) -> bool {
        self.waiting.contains_key(&part_of)
    }

    /// All that has parts that wait.
    pub(crate) fn all_that_wait(&self) -> Vec<u64> {
        self.waiting.keys().copied().collect()
    }

    /// Messages that wait for this peer, and their octets.
    pub(crate) fn held(&self, port: Port, peer: Option<&PeerId>) -> (usize, usize) {
        if self.held.is_empty() {
            return (0, 0);
        }
        let held = self.held.get(&(port, peer.cloned()));
        held.map_or((0, 0), |held| (held.entries.len(), held.octets))
    }

    /// Octets that wait for anybody.
    pub(crate) fn held_in_all(&self) -> usize {
        self.octets
    }

    /// Whether all has been sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.held.is_empty()
    }

    /// Takes back the parts of this number that were not sent, for nobody will read them. How many there were, and how
    /// many of them had to wait.
    pub(crate) fn withdraw(&mut self, part_of: u64) -> (u32, u32) {
        self.settle();
        let such = |entry: &Entry| entry.mark.part_of == Some(part_of);
        let mut taken = take(&mut self.queue, such);
        if let Some((_, line)) = self.waiting.remove(&part_of) {
            if let Some(held) = self.held.get_mut(&line) {
                let of_line = take(&mut held.entries, such);
                let octets = of_line.iter().map(octets_of).sum::<usize>();
                held.octets -= octets;
                self.octets -= octets;
                taken.extend(of_line);
                // The line stays shut while anything is kept; without, the next message tries.
                if held.entries.is_empty() {
                    self.open(&line);
                }
            }
        }
        let waited = taken.iter().filter(|entry| entry.mark.waited);
        (taken.len() as u32, waited.count() as u32)
    }

    /// Forgets all that is for a peer that is gone. How many there were; and the numbers of which those were parts that had
    /// to wait, each as often as there were any.
    pub(crate) fn forget(&mut self, port: Port, peer: Option<&PeerId>) -> (u32, Vec<u64>) {
        self.settle();
        let held = self.open(&(port, peer.cloned()));
        let queued = take(&mut self.queue, |entry| {
            entry.transmit.port == port && entry.transmit.to.as_ref() == peer
        });
        let mut all: Vec<Entry> = held.map_or(Vec::new(), |held| held.entries.into());
        all.extend(queued);
        let waited = all.iter().filter(|entry| entry.mark.waited);
        let ids: Vec<u64> = waited.filter_map(|entry| entry.mark.part_of).collect();
        for id in &ids {
            less(&mut self.waiting, *id);
        }
        (all.len() as u32, ids)
    }

    /// From now on what is for this one is tried again. What was kept.
    fn open(&mut self, line: &Line) -> Option<Held> {
        let held = self.held.remove(line)?;
        self.octets -= held.octets;
        self.since.remove(&(held.since, line.clone()));
        Some(held)
    }

    /// Who has been full for so long.
    pub(crate) fn stalled(&mut self, now: Instant, patience: Duration) -> Vec<Line> {
        let mut stalled = Vec::new();
        while let Some((since, _)) = self.since.first() {
            if now < *since + patience {
                break;
            }
            if let Some((_, line)) = self.since.pop_first() {
                stalled.push(line);
            }
        }
        for line in &stalled {
            if let Some(held) = self.held.get_mut(line) {
                held.since = now;
                self.since.insert((now, line.clone()));
            }
        }
        stalled
    }

    /// When the next one will have been full for so long.
    pub(crate) fn stalls(&self, patience: Duration) -> Option<Instant> {
        self.since.first().map(|(since, _)| *since + patience)
    }
}

impl Held {
    fn push(&mut self, mut entry: Entry, waiting: &mut BTreeMap<u64, (u32, Line)>) {
        if let (Some(id), false) = (entry.mark.part_of, entry.mark.waited) {
            more(waiting, id, &entry.transmit);
            entry.mark.waited = true;
        }
        self.octets += octets_of(&entry);
        self.entries.push_back(entry);
    }
}

fn more(waiting: &mut BTreeMap<u64, (u32, Line)>, id: u64, part: &Transmit) {
    match waiting.get_mut(&id) {
        Some((count, _)) => *count += 1,
        None => drop(waiting.insert(id, (1, line_of(part)))),
    }
}

fn less(waiting: &mut BTreeMap<u64, (u32, Line)>, id: u64) {
    if let Some((count, _)) = waiting.get_mut(&id) {
        *count -= 1;
        if *count == 0 {
            waiting.remove(&id);
        }
    }
}

/// Removes such entries.
fn take(entries: &mut VecDeque<Entry>, such: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    if !entries.iter().any(&such) {
        return Vec::new();
    }
    let (taken, kept): (Vec<Entry>, Vec<Entry>) = entries.drain(..).partition(such);
    *entries = kept.into();
    taken
}

fn octets_of(entry: &Entry) -> usize {
    entry.transmit.message.byte_len()
}

fn line_of(transmit: &Transmit) -> Line {
    (transmit.port, transmit.to.clone())
}

#[cfg(test)]
mod tests {
    use sinew::Message;

    use super::*;

    fn to(peer: &str, body: &str) -> Transmit {
        Transmit {
            port: Port(0),
            to: Some(PeerId::from(body_of(peer))),
            message: Message::from(body_of(body)),
        }
    }

    fn body_of(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    /// Sends all there is; who is in `full` takes nothing.
    fn flush(outbox: &mut Outbox, now: Instant, full: &[&str]) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(transmit) = outbox.poll() {
            let peer = transmit.to.as_ref().unwrap();
            match full.iter().any(|full| full.as_bytes() == peer.as_bytes()) {
                true => outbox.full(now, transmit),
                false => sent.push(transmit.message.as_bytes().to_vec()),
            }
        }
        sent
    }

    #[test]
    fn what_finds_no_room_goes_out_in_order_and_holds_nobody_else_up() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        outbox.push_part(to("slow", "a0"), 1);
        outbox.push(to("quick", "b0"));
        outbox.push_part(to("slow", "a1"), 1);
        assert_eq!(flush(&mut outbox, now, &["slow"]), [b"b0"]);
        assert_eq!(outbox.held(Port(0), Some(&PeerId::from("slow"))), (2, 4));
        assert!(outbox.waits(1) && outbox.poll_sent().is_none());
        // Though it had room now, nothing overtakes.
        outbox.push(to("slow", "a2"));
        assert_eq!(flush(&mut outbox, now, &[]), Vec::<Vec<u8>>::new());
        outbox.room(Port(0), Some(&PeerId::from("slow")));
        outbox.push(to("slow", "a3"));
        let sent = flush(&mut outbox, now, &[]);
        assert_eq!(sent, [b"a0", b"a1", b"a2", b"a3"]);
        assert_eq!([outbox.poll_sent(), outbox.poll_sent()], [Some(1), Some(1)]);
        assert!(!outbox.waits(1) && outbox.is_idle() && outbox.poll_sent().is_none());
    }

    #[test]
    fn what_nobody_will_read_is_taken_back() {
        let now = Instant::now();
        let patience = Duration::from_secs(1);
        let mut outbox = Outbox::default();
        outbox.push_part(to("slow", "a0"), 1);
        outbox.push_part(to("slow", "b0"), 2);
        outbox.push(to("slow", "c"));
        flush(&mut outbox, now, &["slow"]);
        assert_eq!(outbox.stalls(patience), Some(now + patience));
        assert!(outbox.stalled(now, patience).is_empty());
        assert_eq!(outbox.stalled(now + patience, patience).len(), 1);
        assert_eq!(outbox.withdraw(1), (1, 1));
        assert_eq!(outbox.all_that_wait(), [2]);
        let slow = PeerId::from("slow");
        assert_eq!(outbox.forget(Port(0), Some(&slow)), (2, vec![2]));
        assert!(outbox.is_idle() && !outbox.waits(2));
    }
}
