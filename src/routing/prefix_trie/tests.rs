//! What the trie of subscriptions promises, held against a list of pairs among others.

use proptest::prelude::*;

use super::*;

fn peer(index: u32) -> PeerKey {
    PeerKey {
        index,
        generation: 1,
    }
}

fn unlimited() -> SubscriptionTrie {
    SubscriptionTrie::new(TrieConfig::UNLIMITED)
}

#[test]
fn each_peer_is_matched_once() {
    let mut trie = unlimited();
    for topic in ["", "a", "ab", "abc", "b"] {
        trie.subscribe(peer(0), topic.as_bytes()).unwrap();
    }
    trie.subscribe(peer(1), b"ab").unwrap();
    assert_eq!(trie.matches(b"abx"), [0, 1]);
    assert_eq!(trie.matches(b"b"), [0]);
    assert_eq!(trie.match_count(b""), 1);
    assert!(trie.any_match(b"zzz"));
    assert_eq!(trie.holders_of(b"ab"), 2);
    assert!(trie.is_held_by(peer(1), b"ab"));
    assert!(!trie.is_held_by(peer(1), b"a"));
    trie.check();
}

#[test]
fn a_repetition_is_cancelled_at_once_unless_counted() {
    for counted in [false, true] {
        let mut trie = SubscriptionTrie::new(TrieConfig {
            counted,
            ..TrieConfig::UNLIMITED
        });
        assert_eq!(trie.subscribe(peer(0), b"t"), Ok(true));
        assert_eq!(trie.subscribe(peer(0), b"t"), Ok(false));
        assert_eq!(trie.subscribe(peer(1), b"t"), Ok(false));
        if counted {
            assert_eq!(trie.cancel(peer(0), b"t"), Cancelled::StillHeldByPeer);
        }
        assert_eq!(trie.cancel(peer(0), b"t"), Cancelled::LastOfPeer);
        assert_eq!(trie.cancel(peer(0), b"t"), Cancelled::Unknown);
        assert_eq!(trie.cancel(peer(1), b"t"), Cancelled::LastOfTopic);
        trie.check();
    }
}

#[test]
fn what_is_beyond_a_limit_changes_nothing() {
    let mut trie = SubscriptionTrie::new(TrieConfig {
        counted: false,
        topics_per_peer: 3,
        octets_per_peer: 6,
        octets_per_topic: 4,
    });
    let refused = trie.subscribe(peer(0), b"12345");
    assert_eq!(refused, Err(LimitError::TopicTooLong));
    assert_eq!(trie.subscribe(peer(0), b"1234"), Ok(true));
    let refused = trie.subscribe(peer(0), b"123");
    assert_eq!(refused, Err(LimitError::TooManyOctets));
    assert_eq!(trie.subscribe(peer(0), b"12"), Ok(true));
    assert_eq!(trie.subscribe(peer(0), b""), Ok(true));
    assert_eq!(trie.subscribe(peer(0), b"12"), Ok(false), "no new topic");
    let refused = trie.subscribe(peer(0), b"");
    assert_eq!(refused, Ok(false));
    assert_eq!(trie.topic_count_of(peer(0)), 3);
    assert_eq!(trie.octets_of(peer(0)), 6);
    assert_eq!(trie.cancel(peer(0), b"1234"), Cancelled::LastOfTopic);
    assert_eq!(trie.subscribe(peer(0), b"x"), Ok(true));
    let refused = trie.subscribe(peer(0), b"y");
    assert_eq!(refused, Err(LimitError::TooManyTopics));
    assert_eq!(
        trie.subscribe(peer(1), b"y"),
        Ok(true),
        "limits are per peer"
    );
    trie.check();
}

#[test]
fn a_new_owner_of_a_slot_inherits_nothing() {
    let mut trie = unlimited();
    let new = PeerKey {
        generation: 2,
        ..peer(0)
    };
    trie.subscribe(peer(0), b"old").unwrap();
    assert_eq!(trie.cancel(new, b"old"), Cancelled::Unknown);
    assert_eq!(trie.topic_count_of(new), 0);
    trie.remove_peer(new, |_| panic!("not this one's"));
    assert_eq!(trie.subscribe(new, b"new"), Ok(true));
    assert_eq!(trie.cancel(peer(0), b"new"), Cancelled::Unknown);
    trie.remove_peer(peer(0), |_| panic!("not this one's"));
    assert!(!trie.any_match(b"old"));
    let mut matched = Vec::new();
    trie.for_each_match(b"new", |peer| matched.push(peer));
    assert_eq!(matched, [new]);
    trie.check();
}

#[test]
fn a_crowd_is_indexed_and_dissolves() {
    let mut trie = unlimited();
    for i in 0..100 {
        trie.subscribe(peer(i), b"").unwrap();
        trie.subscribe(peer(i), b"crowd").unwrap();
        trie.check();
    }
    assert_eq!(trie.matches(b"crowd").len(), 100);
    for i in (0..100).map(|i| i * 37 % 100) {
        assert_ne!(trie.cancel(peer(i), b"crowd"), Cancelled::Unknown);
        trie.check();
    }
    for i in (0..100).map(|i| i * 73 % 100) {
        trie.remove_peer(peer(i), |topic| assert!(topic.is_empty()));
        trie.check();
    }
    assert_eq!((trie.topics(), trie.subscriptions()), (0, 0));
}

#[test]
fn a_hundred_thousand_topics_come_and_go() {
    const TOPICS: u32 = 100_000;
    let mut trie = unlimited();
    let topic = |i: u32| format!("sensor/{:05}/temperature", i.wrapping_mul(7919) % TOPICS);
    for i in 0..TOPICS {
        assert_eq!(trie.subscribe(peer(i % 100), topic(i).as_bytes()), Ok(true));
    }
    assert_eq!(trie.topics(), TOPICS as usize);
    assert!(trie.tree.node_count() < 2 * TOPICS as usize);
    for i in (0..TOPICS).step_by(997) {
        assert_eq!(trie.matches(topic(i).as_bytes()), [i % 100]);
    }
    let full = trie.tree.capacity();
    for p in 0..100 {
        let mut unheld = 0;
        trie.remove_peer(peer(p), |_| unheld += 1);
        assert_eq!(unheld, TOPICS / 100);
    }
    assert!(trie.tree.capacity() < full / 1000);
    trie.check();
}

/// What a message costs depends on its topic and its receivers, not on who wants what else.
#[test]
fn a_million_topics_are_matched_with_little_more_work_than_a_thousand() {
    let shapes: [fn(u32) -> Vec<u8>; 2] = [
        |n| format!("sensor/{n:06}/temperature").into_bytes(),
        |n| {
            let spread = u64::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            [spread, spread.rotate_left(29), !spread]
                .map(u64::to_be_bytes)
                .concat()
        },
    ];
    for topic in shapes {
        let work = [1_000, 1_000_000].map(|topics| {
            let mut trie = unlimited();
            for n in 0..topics {
                trie.subscribe(peer(n % 100), &topic(n)).unwrap();
            }
            assert_eq!(trie.subscriptions(), topics as usize);
            let asked = (0..topics).step_by(topics as usize / 1_000);
            super::super::radix::work::take();
            let mut matched = 0;
            for n in asked {
                let message = [&topic(n)[..], b"/and more"].concat();
                trie.for_each_match(&message, |_| matched += 1);
            }
            assert_eq!(matched, 1_000);
            super::super::radix::work::take()
        });
        println!("steps for 1000 messages: {work:?}");
        assert!(work[1] <= 2 * work[0], "{work:?}");
    }
}

/// A topic of `len` octets that differs from others in its first four.
fn long(n: u32, len: usize) -> Vec<u8> {
    let mut topic = n.to_be_bytes().to_vec();
    topic.resize(len, b'l');
    topic
}

/// A peer may hold a thousand topics of 64 KiB.
#[test]
fn long_topics_take_no_longer_than_many() {
    const OCTETS: usize = 64 * 1024;
    let mut trie = unlimited();
    trie.many = 300;
    for n in 0..299 {
        trie.subscribe(peer(n % 2), &long(n, OCTETS)).unwrap();
    }
    super::super::radix::work::take();
    trie.subscribe(peer(0), b"the last").unwrap();
    assert!(trie.index.is_some());
    let work = super::super::radix::work::take();
    assert!(work <= 300 * 20, "{work} steps for an index of 300 topics");
    for most in [512, 100, 1] {
        let mut removed = 0;
        assert!(trie.remove_part(peer(1), most, |topic, _| removed += topic.len()));
        assert!((1..=2 * OCTETS).contains(&removed), "{removed}");
    }
    trie.check();
}

#[test]
fn topics_that_are_too_long_for_the_index_are_matched() {
    for many in [1, usize::MAX] {
        let mut trie = unlimited();
        trie.many = many;
        for (holder, len) in [LONGEST - 1, LONGEST, LONGEST + 1, 5000, 5001]
            .into_iter()
            .enumerate()
        {
            trie.subscribe(peer(holder as u32), &long(7, len)).unwrap();
            trie.subscribe(peer(5), &long(7, len)).unwrap();
        }
        trie.subscribe(peer(6), &long(8, 5000)).unwrap();
        for (len, holders) in [
            (LONGEST - 2, &[][..]),
            (LONGEST, &[0, 1, 5]),
            (LONGEST + 1, &[0, 1, 2, 5]),
            (5000, &[0, 1, 2, 3, 5]),
            (6000, &[0, 1, 2, 3, 4, 5]),
        ] {
            assert_eq!(trie.matches(&long(7, len)), holders, "{len}");
        }
        assert_eq!(trie.matches(&long(8, 5000)), [6]);
        assert!(trie.any_match(&long(8, 5000)));
        assert!(!trie.any_match(&long(8, 4999)));
        trie.check();
        trie.remove_peer(peer(5), |_| {});
        assert_eq!(trie.matches(&long(7, 5000)), [0, 1, 2, 3]);
        for holder in [6, 4, 3, 2, 1] {
            trie.remove_peer(peer(holder), |_| {});
        }
        assert_eq!(trie.matches(&long(7, 5000)), [0]);
        trie.check();
    }
}

/// The peers of each frame, and where they end.
type Matches = (Vec<PeerKey>, Vec<usize>);

fn one_by_one(trie: &mut SubscriptionTrie, frames: &[&[u8]]) -> Matches {
    let (mut matched, mut ends) = Matches::default();
    for frame in frames {
        trie.for_each_match(frame, |peer| matched.push(peer));
        ends.push(matched.len());
    }
    (matched, ends)
}

fn together(trie: &mut SubscriptionTrie, frames: &[&[u8]]) -> Matches {
    let (mut matched, mut ends) = Matches::default();
    trie.match_each(frames, &mut matched, &mut ends);
    (matched, ends)
}

/// Topics of one length to 1500, of which some messages begin with none, some with a few, and one with all: more than are
/// looked up at once, of one message and of all together.
#[test]
fn messages_matched_together_go_to_the_same_peers_in_the_same_order() {
    let longest = long(1, 1500);
    for many in [1, usize::MAX] {
        let mut trie = unlimited();
        trie.many = many;
        for len in (1..100).chain((100..1500).step_by(90)) {
            for holder in 0..1 + len % 3 {
                let topic = &longest[..len];
                trie.subscribe(peer((len * 7 + holder) as u32 % 50), topic)
                    .unwrap();
            }
        }
        let lens = (0..150).map(|n| n * 37 % 150).chain([400, 1023, 1500, 0]);
        let mut frames: Vec<Vec<u8>> = lens.map(|len| longest[..len].to_vec()).collect();
        frames.extend((2..40).map(|n| long(n, 90)));
        frames.push(b"nobody".to_vec());
        for holds_everything in [false, true] {
            if holds_everything {
                trie.subscribe(peer(50), b"").unwrap();
            }
            for frames in [&frames[..], &frames[..TOGETHER], &frames[150..152], &[]] {
                let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
                let expected = one_by_one(&mut trie, &frames);
                assert_eq!(expected.0.is_empty(), frames.is_empty());
                // Too many to be told.
                let is_same = together(&mut trie, &frames) == expected;
                assert!(is_same, "{} frames", frames.len());
            }
        }
    }
}

/// More of them than are looked for at once, all of which are there, and each peer has several: one by one, together with
/// messages of other topics, and with one that is held by more than one peer.
#[test]
fn topics_that_begin_one_another_are_matched() {
    let holder = |n: usize| n as u32 % 3;
    let mut trie = unlimited();
    trie.many = 1_000;
    for n in 0..20_000 {
        let topic = format!("topic/{n}");
        trie.subscribe(peer(holder(n)), topic.as_bytes()).unwrap();
    }
    for holds_more in [false, true] {
        if holds_more {
            trie.subscribe(peer(7), b"topic/123").unwrap();
        }
        let numbers = [12_345, 10_000, 19_999, 123, 7, 12_300, 15_000];
        let frames = numbers.map(|n| format!("topic/{n}"));
        let frames = frames.each_ref().map(|frame| frame.as_bytes());
        for frame in frames {
            let digits = &frame[6..];
            let begin = (1..=digits.len()).map(|len| std::str::from_utf8(&digits[..len]).unwrap());
            let mut expected: Vec<_> = begin.map(|n| holder(n.parse().unwrap())).collect();
            if holds_more && digits.starts_with(b"123") {
                expected.push(7);
            }
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(trie.matches(frame), expected, "{frame:?}");
        }
        let one_by_one = one_by_one(&mut trie, &frames);
        assert_eq!(together(&mut trie, &frames), one_by_one);
    }
    // One that goes on beyond what is looked for like that.
    let long = format!("topic/12345{}", "x".repeat(70));
    trie.subscribe(peer(8), long.as_bytes()).unwrap();
    assert_eq!(trie.matches(long.as_bytes()), [0, 1, 7, 8]);
    let index = trie.index.as_ref().unwrap();
    let turns = |frame: &[u8]| index.is_for_turns(frame, index.likely(frame).unwrap());
    assert!(turns(b"topic/15000") && !turns(b"topic/150"));
}

/// What a message that nobody wants costs is the same, and less if it begins otherwise.
#[test]
fn an_index_comes_with_many_topics_and_goes_with_them() {
    let topic = |n: usize| format!("sensor/{n}").into_bytes();
    let mut trie = unlimited();
    for n in 0..SubscriptionTrie::MANY {
        assert!(trie.index.is_none());
        trie.subscribe(peer(n as u32 % 7), &topic(n)).unwrap();
    }
    assert!(trie.index.is_some());
    trie.check();
    assert_eq!(trie.matches(b"sensor/4000/x"), [1, 3, 4, 5]);
    assert_eq!(trie.matches(b"none"), []);
    assert!(trie.any_match(b"sensor/1") && !trie.any_match(b"sensor/") && !trie.any_match(b""));
    trie.subscribe(peer(9), b"").unwrap();
    assert_eq!(trie.matches(b"none"), [9]);
    assert!(trie.any_match(b""));
    trie.subscribe(peer(8), b"sensor/40").unwrap();
    assert_eq!(trie.matches(b"sensor/40"), [4, 5, 8, 9]);
    trie.check();
    for n in (0..7).rev() {
        trie.remove_peer(peer(n), |_| {});
        trie.check();
    }
    assert!(trie.index.is_none());
    assert_eq!(trie.matches(b"sensor/40"), [8, 9]);
}

/// Topics of many lengths, which end in one octet, and begin with one that tells the length.
#[test]
fn filters_are_asked_from_four_times_as_many_topics_on() {
    let mut trie = unlimited();
    trie.many = 8;
    let topic = |n: usize| [&[n as u8], &[b'm'; 40][..4 + n]].concat();
    let message = [&topic(5)[..], &[b'm'; 50]].concat();
    let is_for_the_index = |trie: &SubscriptionTrie| {
        let index = trie.index.as_ref();
        index.is_some_and(|index| index.likely(&message).is_some())
    };
    for n in 0..32 {
        // Up to four lengths it needs no filter.
        assert!(n < 8 || !is_for_the_index(&trie), "{n}");
        trie.subscribe(peer(n as u32), &topic(n)).unwrap();
        assert_eq!(trie.matches(&message).is_empty(), n < 5);
    }
    assert!(is_for_the_index(&trie));
    assert_eq!(trie.matches(&message), [5]);
    trie.cancel(peer(31), &topic(31));
    assert!(!is_for_the_index(&trie));
    assert_eq!(trie.matches(&message), [5]);
}

/// Whatever the order in which they come, and though those who hold them change.
#[test]
fn topics_with_parts_in_common_are_kept_by_these() {
    const TOPICS: usize = 50_000;
    let topic = |n: usize| {
        format!(
            "site/{:02}/rack/{:03}/host{:02}/m",
            n % 50,
            n / 50 % 20,
            n / 1_000
        )
    };
    let of_grid = |trie: &SubscriptionTrie| {
        let [of_grid, others] = trie.index.as_ref().unwrap().sizes();
        assert_eq!(of_grid + others, TOPICS);
        of_grid
    };
    for step in [1, 7_919] {
        let mut trie = unlimited();
        let topics = (0..TOPICS).map(|n| topic(n * step % TOPICS));
        for (n, topic) in topics.enumerate() {
            trie.subscribe(peer(n as u32 % 10), topic.as_bytes())
                .unwrap();
        }
        trie.check();
        let first = of_grid(&trie);
        assert!(first > TOPICS * 9 / 10, "{first}");
        // A second holder, who stays.
        for n in 0..TOPICS {
            trie.subscribe(peer(10), topic(n).as_bytes()).unwrap();
        }
        assert_eq!(of_grid(&trie), 0);
        (0..10).for_each(|n| trie.remove_peer(peer(n), |_| {}));
        trie.check();
        let last = of_grid(&trie);
        assert!(last > TOPICS * 9 / 10, "{last}");
        for n in 0..TOPICS {
            assert_eq!(trie.matches(topic(n).as_bytes()), [10]);
        }
        trie.remove_peer(peer(10), |_| {});
        assert!(trie.index.is_none());
    }
}

#[test]
fn a_peer_is_removed_part_by_part() {
    let mut trie = unlimited();
    for n in 0..1_000u32 {
        trie.subscribe(peer(0), &n.to_be_bytes()).unwrap();
        trie.subscribe(peer(1), &(n / 2).to_be_bytes()).unwrap();
    }
    let mut parts = 0;
    let mut unheld = 0;
    while trie.remove_part(peer(0), 300, |_, last| unheld += usize::from(last)) {
        parts += 1;
        assert_eq!(trie.topic_count_of(peer(0)), 1_000 - 300 * parts);
        trie.check();
    }
    assert_eq!((parts, unheld), (3, 500));
    assert_eq!((trie.topic_count_of(peer(0)), trie.topics()), (0, 500));
    trie.check();
}

#[test]
#[cfg(target_pointer_width = "64")]
fn nodes_are_small() {
    assert_eq!(RadixTree::<Holders>::NODE_SIZE, 72);
}

#[derive(Debug, Clone)]
enum Op {
    Subscribe(u32, Vec<u8>),
    Cancel(u32, Vec<u8>),
    Remove(u32),
}

/// Topics that are prefixes of one another, the empty one, and now and then a long binary one.
fn topics() -> impl Strategy<Value = Vec<u8>> {
    let few = prop::sample::select(vec![0, b'a', b'b', 255]);
    prop_oneof![
        8 => prop::collection::vec(few, 0..4),
        2 => (0..2u8, 0..12u8).prop_map(|(head, tail)| {
            let mut topic = b"head/000tail/000".to_vec();
            (topic[7], topic[15]) = (b'0' + head, b'0' + tail);
            topic
        }),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (0..150usize).prop_map(|len| vec![b'a'; len]),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..5u32, topics()).prop_map(|(p, t)| Op::Subscribe(p, t)),
        3 => (0..5u32, topics()).prop_map(|(p, t)| Op::Cancel(p, t)),
        1 => (0..5u32).prop_map(Op::Remove),
    ];
    prop::collection::vec(op, 0..120)
}

proptest! {
    #[test]
    fn behaves_as_a_list_of_pairs(
        ops in ops(),
        probes in prop::collection::vec(topics(), 1..6),
        counted in any::<bool>(),
        limited in any::<bool>(),
        indexed in any::<bool>(),
    ) {
        let config = TrieConfig {
            counted,
            ..if limited {
                TrieConfig { counted, topics_per_peer: 6, octets_per_peer: 40, octets_per_topic: 30 }
            } else {
                TrieConfig::UNLIMITED
            }
        };
        let mut trie = SubscriptionTrie::new(config);
        if indexed {
            trie.many = 8;
        }
        // Every reference, in no order.
        let mut model: Vec<(u32, Vec<u8>)> = Vec::new();
        let distinct = |model: &[(u32, Vec<u8>)], p: u32| {
            let mut own: Vec<Vec<u8>> = model.iter().filter(|(q, _)| *q == p).map(|(_, t)| t.clone()).collect();
            own.sort();
            own.dedup();
            own
        };
        for op in ops {
            match op {
                Op::Subscribe(p, topic) => {
                    let own = distinct(&model, p);
                    let held = own.contains(&topic);
                    let octets: usize = own.iter().map(Vec::len).sum();
                    let expected = if held {
                        Ok(false)
                    } else if topic.len() > config.octets_per_topic {
                        Err(LimitError::TopicTooLong)
                    } else if own.len() == config.topics_per_peer {
                        Err(LimitError::TooManyTopics)
                    } else if octets + topic.len() > config.octets_per_peer {
                        Err(LimitError::TooManyOctets)
                    } else {
                        Ok(model.iter().all(|(_, t)| *t != topic))
                    };
                    prop_assert_eq!(trie.subscribe(peer(p), &topic), expected);
                    if expected.is_ok() && (counted || !held) {
                        model.push((p, topic));
                    }
                }
                Op::Cancel(p, topic) => {
                    let at = model.iter().position(|(q, t)| *q == p && *t == topic);
                    if let Some(at) = at {
                        model.swap_remove(at);
                    }
                    let expected = if at.is_none() {
                        Cancelled::Unknown
                    } else if model.iter().any(|(q, t)| *q == p && *t == topic) {
                        Cancelled::StillHeldByPeer
                    } else if model.iter().any(|(_, t)| *t == topic) {
                        Cancelled::LastOfPeer
                    } else {
                        Cancelled::LastOfTopic
                    };
                    prop_assert_eq!(trie.cancel(peer(p), &topic), expected);
                }
                Op::Remove(p) => {
                    let own = distinct(&model, p);
                    model.retain(|(q, _)| *q != p);
                    let expected: Vec<_> = own.into_iter().filter(|t| model.iter().all(|(_, u)| t != u)).collect();
                    let mut unheld = Vec::new();
                    trie.remove_peer(peer(p), |topic| unheld.push(topic.to_vec()));
                    unheld.sort();
                    prop_assert_eq!(unheld, expected);
                }
            }
            trie.check();
            for p in 0..5 {
                let own = distinct(&model, p);
                prop_assert_eq!(trie.topic_count_of(peer(p)), own.len());
                prop_assert_eq!(trie.octets_of(peer(p)), own.iter().map(Vec::len).sum::<usize>());
            }
            for probe in &probes {
                let mut expected: Vec<u32> = model.iter().filter(|(_, t)| probe.starts_with(t)).map(|(p, _)| *p).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(trie.any_match(probe), !expected.is_empty());
                prop_assert_eq!(trie.match_count(probe), expected.len());
                prop_assert_eq!(trie.matches(probe), expected);
            }
            let frames: Vec<&[u8]> = probes.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(together(&mut trie, &frames), one_by_one(&mut trie, &frames));
        }
    }
}

/// Made of a few heads and a few tails, of lengths at which keys are cut in different places, some the prefixes of others.
fn topics_of_parts() -> impl Strategy<Value = Vec<u8>> {
    let more = prop::sample::select(vec![0, 0, 0, 8, 16, 48]);
    (0..4u8, more, 0..TAILS).prop_map(|(head, more, tail)| topic_of_parts(head, more, tail))
}

fn topic_of_parts(head: u8, more: usize, tail: usize) -> Vec<u8> {
    let mut topic = vec![head; 8];
    topic.extend(vec![b'x'; more]);
    topic.extend(&b"tail/octets/of-it"[..tail + 1]);
    topic
}

const TAILS: usize = 16;

proptest! {
    /// Pages come and go, and the topics in them have one holder or more.
    #[test]
    fn topics_of_parts_are_a_map(
        ops in prop::collection::vec((0..16u8, 0..3u32, topics_of_parts()), 0..700),
        probes in prop::collection::vec(topics_of_parts(), 1..40),
        many in prop::sample::select(vec![1, 8, 100]),
    ) {
        let mut trie = unlimited();
        trie.many = many;
        let mut model = std::collections::BTreeMap::<Vec<u8>, Vec<u32>>::new();
        let last = ops.len().saturating_sub(1);
        // So that each tail is common.
        let others = (4..12).flat_map(|head| (0..TAILS).map(move |tail| topic_of_parts(head, 0, tail)));
        for topic in others {
            trie.subscribe(peer(0), &topic).unwrap();
            model.insert(topic, vec![0]);
        }
        for (step, (op, p, topic)) in ops.into_iter().enumerate() {
            match op {
                0 if step % 10 == 0 => {
                    trie.remove_peer(peer(p), |_| {});
                    model.values_mut().for_each(|holders| holders.retain(|held| *held != p));
                }
                0..5 => {
                    trie.cancel(peer(p), &topic);
                    model.entry(topic).or_default().retain(|held| *held != p);
                }
                _ => {
                    // Most have one holder.
                    let p = if op > 6 { 0 } else { p };
                    trie.subscribe(peer(p), &topic).unwrap();
                    let holders = model.entry(topic).or_default();
                    holders.retain(|held| *held != p);
                    holders.push(p);
                }
            }
            if step % 50 != 0 && step != last {
                continue;
            }
            trie.check();
            for probe in &probes {
                let prefixes = model.iter().filter(|(topic, _)| probe.starts_with(topic));
                let mut expected: Vec<u32> = prefixes.flat_map(|(_, holders)| holders.clone()).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(trie.any_match(probe), !expected.is_empty());
                prop_assert_eq!(trie.matches(probe), expected);
            }
            let frames: Vec<&[u8]> = probes.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(together(&mut trie, &frames), one_by_one(&mut trie, &frames));
        }
    }
}
