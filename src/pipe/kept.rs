//! The messages that a pipe which conflates keeps: the newest of each topic.
//!
//! Each topic has a place in a queue, and a newer message takes over the place of the one before. Places are
//! left at the front only, by being read or by giving way to more topics than there may be, so a place
//! is known by its number since the beginning, and everything takes the same time however many there are.
//! A pipe that keeps a single message has a single topic: the empty prefix of anything.

use std::collections::{HashMap, VecDeque};

use super::Limits;
use crate::frame;
use crate::message::Message;

/// By what messages are told apart, and how many are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// Octets at the beginning of the first frame that are the topic; with 0 there is only one.
    pub(crate) prefix: usize,
    /// What the messages of several topics may amount to. One is always kept.
    pub(crate) limits: Limits,
}

impl Keep {
    /// The newest message alone.
    #[cfg(test)]
    pub(super) const NEWEST: Keep = Keep {
        prefix: 0,
        limits: Limits {
            messages: 1,
            bytes: 1,
        },
    };

    fn topic_of<'a>(&self, message: &'a Message) -> &'a [u8] {
        let first = message.as_bytes();
        &first[..first.len().min(self.prefix)]
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Kept {
    keep: Keep,
    queue: VecDeque<Entry>,
    /// By topic.
    places: HashMap<Box<[u8]>, u64>,
    /// The number of the place at the front of the queue.
    front: u64,
    /// Octets on the wire.
    octets: u64,
    /// Messages that have come.
    came: u64,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    /// How many had come by then.
    came: u64,
}

/// What was lost when a message came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// Messages that a newer one has taken the place of.
    pub(super) replaced: u64,
    /// Those that gave way to other topics.
    pub(super) crowded_out: u64,
}

impl std::ops::AddAssign for Loss {
    fn add_assign(&mut self, other: Loss) {
        self.replaced += other.replaced;
        self.crowded_out += other.crowded_out;
    }
}

impl Kept {
    pub(super) fn new(keep: Keep) -> Self {
        Kept {
            keep,
            queue: VecDeque::new(),
            places: HashMap::new(),
            front: 0,
            octets: 0,
            came: 0,
        }
    }

    pub(super) fn keep(&self) -> Keep {
        self.keep
    }

    pub(super) fn len(&self) -> u64 {
        self.queue.len() as u64
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// A message has come. `crowded`: there is no memory for another topic, so it takes the place of the one that
    /// came first.
    pub(super) fn put(&mut self, message: Message, crowded: bool) -> Loss {
        self.came += 1;
        let came = self.came;
        self.place(Entry { message, came }, crowded)
    }

    fn place(&mut self, entry: Entry, crowded: bool) -> Loss {
        let mut loss = Loss::default();
        let before = self.octets;
        let topic = self.keep.topic_of(&entry.message);
        self.octets += self.octets_of(&entry.message);
        let mut most = self.keep.limits.messages.max(1);
        match self.places.get(topic) {
            Some(place) => {
                let there = &mut self.queue[(place - self.front) as usize];
                // The later one stays, which is the new one but when topics are put together.
                let gone = match there.came < entry.came {
                    true => std::mem::replace(there, entry),
                    false => entry,
                };
                self.octets -= self.octets_of(&gone.message);
                loss.replaced += 1;
            }
            None => {
                let place = self.front + self.len();
                self.places.insert(topic.into(), place);
                self.queue.push_back(entry);
                if crowded {
                    most = most.min(self.len() - 1).max(1);
                }
            }
        }
        // Where there is no memory for more, a message that takes more has to make room for that.
        let bytes = match crowded {
            true => before.min(self.keep.limits.bytes),
            false => self.keep.limits.bytes,
        };
        while self.len() > most || (self.len() > 1 && self.octets > bytes) {
            self.take();
            loss.crowded_out += 1;
        }
        loss
    }

    /// The message to be read next.
    pub(super) fn take(&mut self) -> Option<Message> {
        let Entry { message, .. } = self.queue.pop_front()?;
        self.front += 1;
        self.octets -= self.octets_of(&message);
        self.places.remove(self.keep.topic_of(&message));
        if self.queue.is_empty() && self.queue.capacity() > IDLE {
            self.queue = VecDeque::new();
            self.places = HashMap::new();
        }
        Some(message)
    }

    /// What a message takes: as the pipes count it, and its topic.
    fn octets_of(&self, message: &Message) -> u64 {
        let frames = message.frames().iter();
        let octets = frames.map(|frame| frame::header_len(frame.len()) + frame.len());
        (octets.sum::<usize>() + self.keep.topic_of(message).len()) as u64
    }

    /// From now on topics are no longer than so many octets: those that were told apart by more are one, of
    /// which the newest message is kept, in the place of the oldest.
    pub(super) fn narrow(&mut self, prefix: usize) -> Loss {
        let mut loss = Loss::default();
        if prefix < self.keep.prefix {
            let came = self.came;
            let Keep { limits, .. } = self.keep;
            let before = std::mem::replace(self, Kept::new(Keep { prefix, limits }));
            self.came = came;
            for entry in before.queue {
                loss += self.place(entry, false);
            }
        }
        loss
    }
}

/// Memory for so many topics is kept when there are none.
const IDLE: usize = 64;

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keep(prefix: usize, messages: u64, bytes: u64) -> Kept {
        Kept::new(Keep {
            prefix,
            limits: Limits { messages, bytes },
        })
    }

    fn put(kept: &mut Kept, topic: &str, body: &str) -> (u64, u64) {
        let loss = kept.put(Message::multipart([topic, body]), false);
        (loss.replaced, loss.crowded_out)
    }

    fn bodies(kept: &mut Kept) -> Vec<String> {
        std::iter::from_fn(|| kept.take())
            .map(|message| String::from_utf8(message.frames().last().unwrap().to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_newer_message_has_the_place_of_the_older() {
        let mut kept = keep(usize::MAX, 10, 1000);
        assert_eq!(put(&mut kept, "a", "1"), (0, 0));
        assert_eq!(put(&mut kept, "b", "2"), (0, 0));
        assert_eq!(put(&mut kept, "a", "3"), (1, 0));
        assert_eq!((kept.len(), kept.octets()), (2, 14));
        assert_eq!(bodies(&mut kept), ["3", "2"]);
        assert_eq!((kept.len(), kept.octets()), (0, 0));
        // One that was read has no place any more.
        assert_eq!(put(&mut kept, "b", "4"), (0, 0));
        assert_eq!(put(&mut kept, "a", "5"), (0, 0));
        assert_eq!(bodies(&mut kept), ["4", "5"]);
    }

    #[test]
    fn the_topic_that_came_first_gives_way() {
        let mut kept = keep(usize::MAX, 2, 1000);
        put(&mut kept, "a", "1");
        put(&mut kept, "b", "2");
        assert_eq!(put(&mut kept, "a", "3"), (1, 0));
        assert_eq!(put(&mut kept, "c", "4"), (0, 1));
        assert_eq!(bodies(&mut kept), ["2", "4"]);
        let mut kept = keep(usize::MAX, 100, 23);
        put(&mut kept, "a", "1");
        put(&mut kept, "b", "2");
        // Fourteen octets, topics included, and then twenty-three.
        assert_eq!(put(&mut kept, "c", "ten octets"), (0, 1));
        assert_eq!(bodies(&mut kept), ["2", "ten octets"]);
    }

    #[test]
    fn one_is_kept_however_large_it_is() {
        let mut kept = keep(usize::MAX, 1, 1);
        assert_eq!(put(&mut kept, "a", "a long message"), (0, 0));
        assert_eq!(put(&mut kept, "b", "another one"), (0, 1));
        assert_eq!(bodies(&mut kept), ["another one"]);
    }

    #[test]
    fn where_memory_is_short_there_are_no_more_topics() {
        let mut kept = keep(usize::MAX, 100, 1000);
        let crowded = |kept: &mut Kept, topic: &str| {
            let loss = kept.put(Message::from(topic), true);
            (loss.replaced, loss.crowded_out)
        };
        assert_eq!(crowded(&mut kept, "a"), (0, 0), "the first is kept");
        assert_eq!(crowded(&mut kept, "b"), (0, 1));
        put(&mut kept, "c", "");
        assert_eq!(crowded(&mut kept, "c"), (1, 0));
        assert_eq!(crowded(&mut kept, "d"), (0, 1));
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn a_prefix_is_a_topic() {
        let mut kept = keep(2, 10, 1000);
        for (message, replaced) in [("ab1", 0), ("a", 0), ("ab2", 1), ("ba", 0), ("a", 1)] {
            let loss = kept.put(Message::from(message), false);
            assert_eq!(loss.replaced, replaced, "{message}");
        }
        assert_eq!(bodies(&mut kept), ["ab2", "a", "ba"]);
    }

    #[test]
    fn topics_are_put_together() {
        let mut kept = keep(usize::MAX, 10, 1000);
        for topic in ["ab", "b", "ac", "ab"] {
            put(&mut kept, topic, topic);
        }
        assert_eq!(kept.narrow(5), Loss::default());
        assert_eq!(kept.narrow(1).replaced, 1);
        // `ab` came last of the two.
        assert_eq!(put(&mut kept, "b2", "later"), (1, 0));
        assert_eq!(bodies(&mut kept), ["ab", "later"]);
        for topic in ["x", "y", "x"] {
            put(&mut kept, topic, topic);
        }
        assert_eq!(kept.narrow(0).replaced, 1);
        assert_eq!(bodies(&mut kept), ["x"]);
    }

    #[test]
    fn where_there_is_no_memory_for_more_others_make_room() {
        let mut kept = keep(usize::MAX, 10, 1000);
        for topic in ["a", "b", "c"] {
            put(&mut kept, topic, "1");
        }
        let message = |topic: &str| Message::multipart([topic, &"x".repeat(100)]);
        let before = kept.octets();
        let loss = kept.put(message("b"), true);
        // In the order of their places.
        assert_eq!((loss.replaced, loss.crowded_out), (1, 2));
        assert_eq!(kept.put(message("d"), true).crowded_out, 1);
        assert_eq!(kept.len(), 1);
        assert!(kept.octets() > before, "one is always kept");
    }

    proptest! {
        /// A list that is searched from the front.
        #[test]
        fn behaves_as_a_list(
            prefix in 0..4usize,
            messages in 1..6u64,
            bytes in 1..60u64,
            ops in prop::collection::vec(("[ab]{0,3}", 0..20usize, any::<bool>()), 0..200),
        ) {
            let mut kept = keep(prefix, messages, bytes);
            let mut list: VecDeque<(String, Message)> = VecDeque::new();
            for (name, size, read) in ops {
                if read {
                    let next = list.pop_front().map(|(_, message)| message);
                    prop_assert_eq!(kept.take(), next);
                } else {
                    let topic = name[..name.len().min(prefix)].to_owned();
                    let message = Message::multipart([name.into_bytes(), vec![7; size]]);
                    let mut expected = Loss::default();
                    match list.iter_mut().find(|(other, _)| *other == topic) {
                        Some((_, there)) => {
                            *there = message.clone();
                            expected.replaced = 1;
                        }
                        None => list.push_back((topic, message.clone())),
                    }
                    let counter = keep(prefix, messages, bytes);
                    let sum = |list: &VecDeque<(String, Message)>| -> u64 {
                        list.iter().map(|(_, message)| counter.octets_of(message)).sum()
                    };
                    while list.len() > 1
                        && (list.len() as u64 > messages || sum(&list) > bytes)
                    {
                        list.pop_front();
                        expected.crowded_out += 1;
                    }
                    prop_assert_eq!(kept.put(message, false), expected);
                    prop_assert_eq!(kept.octets(), sum(&list));
                }
                prop_assert_eq!(kept.len(), list.len() as u64);
                prop_assert_eq!(kept.places.len(), list.len());
            }
        }
    }
}
