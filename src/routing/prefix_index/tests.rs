//! What the index of prefixes promises, held against a map among others.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::radix::work;
use super::*;

fn met(slot: usize) -> Met {
    Met::by_only(slot as u32).unwrap()
}

fn holders(index: &PrefixIndex, frame: &[u8]) -> Vec<Met> {
    index.prefixes_of(frame, likely(index, frame)).collect()
}

/// The lengths to look for, also if they are many.
fn likely(index: &PrefixIndex, frame: &[u8]) -> Likely {
    let all = index.ends.lengths() & up_to(frame.len());
    let all = Likely {
        in_grid: all,
        in_table: all,
    };
    index.likely(frame).unwrap_or(all)
}

fn only(index: &PrefixIndex, frame: &[u8]) -> Option<Option<Met>> {
    index.only_prefix_of(frame, likely(index, frame))
}

#[test]
fn what_is_known_of_a_key_fits_into_32_bits() {
    for n in [0, 1, u32::MAX / 2] {
        assert_eq!(Met::by_only(n).map(Met::held), Some(Held::ByOnly(n)));
    }
    for n in [1, 2, u32::MAX / 2] {
        assert_eq!(Met::by_those_at(n).map(Met::held), Some(Held::ByThoseAt(n)));
    }
    assert_eq!(Met::by_only(u32::MAX / 2 + 1), None);
    assert_eq!(Met::by_those_at(u32::MAX / 2 + 1), None);
    assert_eq!(Met::by_those_at(0), None);
}

#[test]
fn a_bucket_is_a_cache_line_or_two() {
    assert_eq!(HashIndex::<Met>::BUCKET_SIZE, 64);
    assert_eq!(HashIndex::<Marker>::BUCKET_SIZE, 128);
}

#[test]
fn keys_of_every_length_are_met_in_order() {
    let frame: Vec<u8> = (0..=255).cycle().take(400).collect();
    let keys = |from: usize| (from..300).map(|len| (&frame[..len], met(len)));
    let mut index = PrefixIndex::new(usize::MAX);
    for (key, met) in keys(1) {
        index.insert(key, met);
    }
    index.check(keys(1));
    for len in [0, 1, 30, 31, 63, 64, 65, 127, 128, 129, 299, 300, 400] {
        let expected = (1..=len.min(299)).map(met);
        assert_eq!(
            holders(&index, &frame[..len]),
            expected.collect::<Vec<_>>(),
            "{len}"
        );
    }
    for (key, met) in keys(1) {
        index.remove(key, met);
        index.check(keys(key.len() + 1));
        let left = keys(key.len() + 1).map(|(_, met)| met);
        assert_eq!(holders(&index, &frame), left.collect::<Vec<_>>());
    }
}

/// Keys of two lengths end in `m`, those of the others in an octet that the frame has elsewhere.
#[test]
fn lengths_at_whose_end_no_key_ends_are_not_looked_for() {
    let frame = b"site/07/rack/003/host12/m and more";
    let mut index = PrefixIndex::new(usize::MAX);
    index.insert(b"site/07/rack/003/host12/m", met(0));
    index.insert(b"site/07/rack/003/host1/m", met(1));
    for len in (1..24).chain(26..34) {
        index.insert(&[255; 64][..len], met(2));
    }
    let looks = |index: &PrefixIndex| {
        work::take();
        assert_eq!(holders(index, frame), [met(0)]);
        work::take()
    };
    assert_eq!(looks(&index), 1);
    // A key that has gone costs nothing, though others of its length are left.
    index.insert(b"s", met(3));
    assert_eq!(holders(&index, frame), [met(3), met(0)]);
    index.remove(b"s", met(3));
    assert_eq!(looks(&index), 1);
    index.remove(&[255], met(2));
    index.insert(&[254], met(2));
    assert_eq!(looks(&index), 1);
}

#[test]
fn a_frame_with_one_likely_length_is_looked_for_once() {
    let mut index = PrefixIndex::new(usize::MAX);
    index.insert(b"host1/m", met(0));
    index.insert(b"host12/m", met(1));
    let long = [b'm'; BLOCK + 1];
    assert_eq!(only(&index, b"host1/m, and more"), Some(Some(met(0))));
    assert_eq!(only(&index, b"host12/m, and more"), Some(Some(met(1))));
    assert_eq!(only(&index, b"host2/m"), Some(None));
    assert_eq!(only(&index, b"host12/"), Some(None));
    assert_eq!(only(&index, b""), Some(None));
    assert_eq!(only(&index, b"host1/mm"), None, "two lengths");
    index.insert(&long, met(2));
    assert_eq!(only(&index, b"host1/m"), Some(Some(met(0))));
    let goes_on = [&b"host1/m"[..], &long].concat();
    assert_eq!(only(&index, &goes_on), None, "more than a block");
}

#[test]
fn a_frame_with_many_likely_lengths_is_not_for_the_index() {
    let frame = [b'm'; 100];
    let mut index = PrefixIndex::new(usize::MAX);
    for len in 1..=MOST_AMONG_FEW as usize {
        index.insert(&frame[..len], met(len));
        index.insert(&[b'o'; 30][..10 + len], met(len));
        assert!(index.likely(&frame).is_some());
    }
    index.insert(&frame[..40], met(40));
    assert!(index.likely(&frame).is_none());
    assert!(index.likely(&frame[..39]).is_some());
    assert!(index.likely(&[b'o'; 100]).is_some());
    index.remove(&frame[..40], met(40));
    assert!(index.likely(&frame).is_some());
}

/// Also if there is a filter to be asked.
#[test]
fn a_frame_with_few_likely_lengths_is_looked_for_at_once() {
    let frame = [b'm'; 100];
    let mut index = PrefixIndex::new(0);
    let in_table = |in_table: u64| Likely {
        in_grid: 0,
        in_table,
    };
    for len in 1..=MOST_UNASKED as usize {
        index.insert(&frame[..len], met(len));
        work::take();
        assert_eq!(index.likely(&frame), Some(in_table((1 << len) - 1)));
        assert_eq!(work::take(), 0);
    }
    index.insert(&frame[..MOST_UNASKED as usize + 1], met(0));
    let likely = index.likely(&frame);
    assert_eq!(likely, Some(in_table((2 << MOST_UNASKED) - 1)));
    assert!(work::take() > 0, "no filter was asked");
}

/// Keys that are kept by their parts are not looked for elsewhere, and more of them at once.
#[test]
fn topics_that_begin_one_another_are_looked_for_where_they_are() {
    let mut index = PrefixIndex::new(0);
    let mut model = BTreeMap::new();
    for n in 0..20_000 {
        let key = format!("topic/{n}").into_bytes();
        let others = index.insert(&key, met(n));
        settle(&mut index, others, &key, &model);
        model.insert(key, met(n));
    }
    work::take();
    for n in [12_345, 9_999, 10_000, 7, 42] {
        let topic = format!("topic/{n}");
        let likely = index.likely(topic.as_bytes()).unwrap();
        let lengths = (7..=topic.len()).fold(0, |all, len| all | 1 << (len - 1));
        assert_eq!(
            (likely.in_grid, likely.in_table & !(1 << 6)),
            (lengths, 0),
            "{topic}"
        );
        assert_eq!(work::take(), 0, "a filter was asked");
        let expected = (7..=topic.len()).map(|len| model[&topic.as_bytes()[..len]]);
        assert!(holders(&index, topic.as_bytes()).into_iter().eq(expected));
        work::take();
    }
}

/// Which asks filters, in which it is not left to chance what stems meet, and no tail has a number before it is common.
fn with_known_stems() -> PrefixIndex {
    let stems = StemKey::fixed(0x0123_4567_89ab_cdef, 0x9e37_79b9_7f4a_7c15);
    PrefixIndex {
        grid: PrefixGrid::with_tails(1 << 14, 0, stems),
        stems,
        ..PrefixIndex::new(0)
    }
}

/// Keys of forty lengths with one last octet, of which the first part tells the one.
#[test]
fn a_filter_tells_which_of_many_lengths_to_look_for() {
    const LENGTHS: std::ops::Range<usize> = 5..45;
    let key = |len: usize| [&(len as u32).to_be_bytes()[..], &[b'm'; 41][..len - 4]].concat();
    let keys: Vec<_> = LENGTHS.map(|len| (key(len), met(len))).collect();
    let mut index = with_known_stems();
    for (key, met) in &keys {
        index.insert(key, *met);
    }
    index.check(keys.iter().map(|(key, met)| (&key[..], *met)));
    let frame = |len: usize| [&key(len)[..], &[b'm'; 50]].concat();
    // A part of the frame each, up to the longest key.
    let stems = LENGTHS.end / PART;
    let mut looks = 0;
    for len in LENGTHS {
        work::take();
        assert_eq!(holders(&index, &frame(len)), [met(len)]);
        looks += work::take();
    }
    // Nearly always one length is left of the forty.
    assert!(looks <= LENGTHS.len() * (stems + 1) + 5, "{looks}");
    for (at, (key, met)) in keys.iter().enumerate() {
        index.remove(key, *met);
        index.check(keys[at + 1..].iter().map(|(key, met)| (&key[..], *met)));
        assert_eq!(
            index
                .likely(&frame(key.len()))
                .map(|likely| likely.all() & 1 << (key.len() - 1)),
            Some(0)
        );
    }
}

/// Of each length that a key may have which is cut, from the first to the last, and each way to cut it: a filter tells it
/// if the key is kept by its parts.
#[test]
fn a_filter_tells_each_length_of_keys_of_parts() {
    const HEADS: u8 = 12;
    let all = (9..=BLOCK).map(|len| (len, [b'x', b'a']));
    let all = all.chain((6..=BLOCK).map(|len| (len, [b'/', b'a'])));
    let all = all.chain((7..=BLOCK).map(|len| (len, [b'1', b'a'])));
    // A separator or a number so far before the end of a long one that it is still seen.
    let all = all.chain((20..=BLOCK).map(|len| (len, [b'2', b'a'])));
    for (len, [how, first]) in all {
        let key = |head: u8, tail: u8| {
            let mut key = [&[first + head], &[b'x'; BLOCK][..len - 2], &[first + tail]].concat();
            match how {
                b'/' => key[len - 2] = how,
                b'1' => key[len - 3..len - 1].fill(how),
                b'2' => key[len - LONGEST_TAIL..][..2].fill(how),
                _ => {}
            }
            key
        };
        let mut index = PrefixIndex::new(0);
        let mut model = BTreeMap::new();
        for (head, tail) in (0..HEADS).flat_map(|head| (0..20).map(move |tail| (head, tail))) {
            let (key, met) = (key(head, tail), met(head.into()));
            let others = index.insert(&key, met);
            settle(&mut index, others, &key, &model);
            model.insert(key, met);
        }
        index.check(model.iter().map(|(key, met)| (&key[..], *met)));
        let [in_grid, _] = index.sizes();
        assert!(in_grid >= 20, "{in_grid} of {len} octets");
        for key in model.keys() {
            let bit = 1 << (len - 1);
            let likely = index.that_begin(&[&key[..], b"and more"].concat(), bit);
            let where_it_is = match index.in_grid(key) {
                Some(_) => likely.in_grid,
                None => likely.in_table,
            };
            assert_eq!(where_it_is, bit, "{len}");
        }
    }
}

#[test]
fn the_memory_of_a_filter_is_given_back_with_the_last_key() {
    let keys = || {
        (0..2_000_u32)
            .map(|n| n.to_be_bytes())
            .map(|first| [first; 2].concat())
    };
    let mut index = PrefixIndex::new(0);
    for key in keys() {
        index.insert(&key, met(0));
    }
    assert!(index.filter.sizes()[0] > 1);
    keys().for_each(|key| index.remove(&key, met(0)));
    assert_eq!(index.filter.sizes(), [1, 0]);
}

/// Of one stem there are more lengths than are worth looking for.
#[test]
fn what_a_filter_leaves_may_still_be_too_much() {
    let frame = [b'm'; 100];
    let mut index = PrefixIndex::new(0);
    for len in 1..=MOST as usize {
        index.insert(&frame[..len], met(len));
        let expected: Vec<_> = (1..=len).map(met).collect();
        let likely = index.likely(&frame).unwrap();
        assert_eq!(
            index.prefixes_of(&frame, likely).collect::<Vec<_>>(),
            expected
        );
    }
    index.insert(&frame[..40], met(40));
    assert!(index.likely(&frame).is_none());
    assert!(index.likely(&frame[..39]).is_some());
}

/// Of keys that are kept by their parts, more lengths are looked for than of others.
#[test]
fn of_keys_of_parts_more_lengths_are_looked_for() {
    const LENGTHS: std::ops::Range<usize> = 5..18;
    let key =
        |head: u8, len: usize| [&[head, b'e', b'a', b'd', b'1'], &[b'm'; 13][..len - 5]].concat();
    let mut index = with_known_stems();
    let mut model = BTreeMap::new();
    for (head, len) in (b'a'..=b'z').flat_map(|head| LENGTHS.map(move |len| (head, len))) {
        let key = key(head, len);
        let others = index.insert(&key, met(len));
        settle(&mut index, others, &key, &model);
        model.insert(key, met(len));
    }
    let frame = [&key(b'z', LENGTHS.end - 1)[..], &[b'm'; 80]].concat();
    // Of each part up to the longest key both filters are asked, and all heads are one part.
    let all = LENGTHS.fold(0, |all, len| all | 1 << (len - 1));
    work::take();
    assert_eq!(index.that_begin(&frame, u64::MAX >> 47).in_grid, all);
    assert_eq!(work::take(), 2 * 5);
    let likely = index.likely(&frame).unwrap();
    let lengths = likely.all().count_ones();
    assert!(MOST < lengths && lengths <= 2 * MOST, "{lengths}");
    assert!(holders(&index, &frame).into_iter().eq(LENGTHS.map(met)));
}

/// Keys of many lengths that begin as a frame does, and end otherwise.
#[test]
fn lengths_of_tails_that_a_frame_has_not_are_not_looked_for() {
    let mut index = with_known_stems();
    let mut model = BTreeMap::new();
    for (head, octets, tail) in (0..26)
        .flat_map(|head| [4, 8].map(|octets| (head, octets)))
        .flat_map(|(head, octets)| (0..LONGEST_TAIL).map(move |tail| (head, octets, tail)))
    {
        let head = [&[b'a' + head], &[b'a'; 7][..octets - 1]].concat();
        let key = [&head[..], b"1", &[b'a'; LONGEST_TAIL][..tail]].concat();
        let others = index.insert(&key, met(0));
        settle(&mut index, others, &key, &model);
        model.insert(key, met(0));
    }
    // As the last keys do, which have pages.
    let frame = [&b"z"[..], &[b'a'; 59]].concat();
    let begin = index.that_begin(&frame, u64::MAX).in_grid;
    assert!(begin.count_ones() > 2 * MOST, "{begin:b}");
    let likely = index.likely(&frame);
    assert_eq!(likely.map(|likely| likely.in_grid), Some(0));
    for key in model.keys() {
        let frame = [&key[..], &[b'b'; 60]].concat();
        let begin: Vec<_> = model.keys().filter(|key| frame.starts_with(key)).collect();
        assert_eq!(holders(&index, &frame).len(), begin.len());
    }
}

/// Whoever comes with keys of all lengths that end in any octet, and goes, leaves the index of as much use as before.
#[test]
fn keys_that_have_gone_do_not_make_lengths_likely() {
    let keys = |octet: u8| (1..=100).map(move |len| vec![octet; len]);
    let mut index = PrefixIndex::new(usize::MAX);
    // Which keep each length.
    for key in keys(b'o') {
        index.insert(&key, met(0));
    }
    let others = || (0..=255).filter(|octet| *octet != b'o').flat_map(keys);
    for key in others() {
        index.insert(&key, met(1));
    }
    assert!(index.likely(&[b'm'; 100]).is_none());
    others().for_each(|key| index.remove(&key, met(1)));
    let likely = index.likely(&[b'm'; 100]);
    assert_eq!(likely, Some(Likely::default()));
    let all = keys(b'o').collect::<Vec<_>>();
    index.check(all.iter().map(|key| (&key[..], met(0))));
}

#[test]
fn a_change_is_told() {
    let mut index = PrefixIndex::new(usize::MAX);
    for (slot, key) in [&b"a"[..], &[b'a'; 100]].into_iter().enumerate() {
        index.insert(key, met(slot));
        index.change(key, met(slot), met(10 + slot));
    }
    assert_eq!(holders(&index, &[b'a'; 200]), [met(10), met(11)]);
}

/// Keys of every length to 10 000, which begin otherwise than the messages or go another way in their
/// middle, cost a message no more than its own way.
#[test]
fn keys_that_go_another_way_are_not_looked_for() {
    let message = vec![b'm'; 10_000];
    let steps = |index: &PrefixIndex| {
        work::take();
        assert_eq!(holders(index, &message).len(), 1);
        work::take()
    };
    let mut index = PrefixIndex::new(usize::MAX);
    index.insert(&message[..200], met(0));
    assert_eq!(steps(&index), 5);
    let mut other = message.clone();
    other[0] = b'o';
    for len in (1..10_000).step_by(7) {
        index.insert(&other[..len], met(len));
    }
    assert!(steps(&index) <= 5 + BLOCK);
    let mut branch = message.clone();
    branch[300] = b'b';
    for len in (301..10_000).step_by(7) {
        index.insert(&branch[..len], met(10_000 + len));
    }
    assert!(steps(&index) <= 5 + 2 * BLOCK);
}

#[test]
fn of_long_keys_it_is_told_that_there_are_some() {
    let key = vec![b'k'; 64 * 1024];
    let mut index = PrefixIndex::new(usize::MAX);
    index.insert(&key[..LONGEST], met(1));
    for len in [LONGEST + 1, LONGEST + BLOCK, LONGEST + BLOCK + 1, key.len()] {
        work::take();
        index.insert(&key[..len], met(2));
        assert!(work::take() <= LONGEST / BLOCK, "{len}");
        index.change(&key[..len], met(2), met(3));
        assert_eq!((index.keys.len(), index.markers.len()), (1, 16));
        let mut other = key.clone();
        other[LONGEST - 1] = b'o';
        for (frame, expected) in [
            (&key[..LONGEST], (1, false)),
            (&key[..LONGEST + 1], (1, true)),
            (&key[..], (1, true)),
            (&other[..], (0, false)),
        ] {
            let mut met = index.prefixes_of(frame, likely(&index, frame));
            let count = met.by_ref().count();
            assert_eq!((count, met.goes_on()), expected, "{len}");
        }
        index.remove(&key[..len], met(3));
        index.check([(&key[..LONGEST], met(1))].into_iter());
        assert!(!index.prefixes_of(&key, likely(&index, &key)).goes_on());
    }
}

/// Keys that have heads and tails in common, of lengths at which they are cut in different places.
fn keys_of_parts() -> impl Strategy<Value = Vec<u8>> {
    let more = prop::sample::select(vec![0, 0, 0, 1, 6]);
    let style = prop::sample::select(vec![Style::Letters, Style::Words, Style::Numbers]);
    (style, 0..4u8, 0..TAILS, more)
        .prop_map(|(style, head, tail, more)| key_of_parts(style, head, tail, more))
}

const TAILS: u8 = 30;

/// What a key is cut by.
#[derive(Debug, Clone, Copy)]
enum Style {
    Letters,
    Words,
    Numbers,
}

fn key_of_parts(style: Style, head: u8, tail: u8, more: usize) -> Vec<u8> {
    let letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"[usize::from(tail)];
    let mut key = vec![b'a' + head; 8];
    key.extend(vec![b'x'; 8 * more]);
    match style {
        // Of which some are prefixes of others.
        Style::Words => key.extend([&b"."[..], &[letter; 9][..1 + usize::from(tail) % 9]].concat()),
        Style::Numbers => key.extend(format!("/{}", 5 * u16::from(tail)).into_bytes()),
        Style::Letters => {
            match tail {
                // Prefixes of one another, from 9 octets to 16, or from 17 to 24.
                0..8 => key.extend(vec![b't'; usize::from(tail) + 1]),
                _ => key.extend([letter; 8]),
            }
            key.extend(vec![letter; usize::from(tail % 3) * usize::from(tail / 8)]);
        }
    }
    key
}

/// After these each tail is common.
fn ops_of_parts() -> impl Strategy<Value = Vec<(Op, Vec<u8>)>> {
    let ops = prop::collection::vec((op(), keys_of_parts()), 0..400);
    ops.prop_map(|ops| {
        let styles = [Style::Letters, Style::Words, Style::Numbers];
        let keys = styles.into_iter().flat_map(|style| {
            let heads = 10..18;
            heads.flat_map(move |head| (0..TAILS).map(move |tail| (style, head, tail)))
        });
        let first =
            keys.map(|(style, head, tail)| (Op::Insert, key_of_parts(style, head, tail, 0)));
        first.chain(ops).collect()
    })
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    let few = prop::sample::select(vec![0, 1, b'a', 255]);
    prop_oneof![
        4 => prop::collection::vec(few, 1..6),
        1 => (1..200usize, 0..3u8).prop_map(|(len, last)| {
            let mut key = vec![b'a'; len];
            key.extend((last > 0).then_some(last));
            key
        }),
        1 => prop::sample::select(vec![BLOCK, 2 * BLOCK, LONGEST, LONGEST + BLOCK])
            .prop_flat_map(|len| len - 1..len + 2)
            .prop_map(|len| vec![b'a'; len]),
    ]
}

/// What is to be done after a key has come or changed.
fn settle(
    index: &mut PrefixIndex,
    head: Option<usize>,
    key: &[u8],
    others: &BTreeMap<Vec<u8>, Met>,
) {
    let Some(head) = head else { return };
    let alike = others
        .iter()
        .filter(|(other, _)| other.starts_with(&key[..head]));
    alike.for_each(|(other, met)| index.settle(other, *met));
}

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Or change whom it is held by.
    Insert,
    /// Or change it so that more than one hold it.
    Share,
    Remove,
}

fn op() -> impl Strategy<Value = Op> {
    prop::sample::select(vec![
        Op::Insert,
        Op::Insert,
        Op::Insert,
        Op::Share,
        Op::Remove,
    ])
}

proptest! {
    #[test]
    fn behaves_as_a_map(
        ops in prop_oneof![
            prop::collection::vec((op(), keys()), 0..100),
            ops_of_parts(),
        ],
        probes in prop::collection::vec(prop_oneof![keys(), keys_of_parts()], 1..30),
        most_tails in prop::sample::select(vec![1, 9, 1_000, 1_000]),
        // In the last, slots that a cell has no room for among others.
        slots in prop::sample::select(vec![0, 65_400]),
        filtered_from in prop::sample::select(vec![0, usize::MAX]),
        is_touched in any::<bool>(),
    ) {
        let mut index = PrefixIndex::with_tails(most_tails, filtered_from);
        let mut model = BTreeMap::<Vec<u8>, Met>::new();
        for (step, (op, key)) in ops.into_iter().enumerate() {
            let after = match op {
                Op::Insert => Some(met(slots + step)),
                Op::Share => Met::by_those_at(1 + step as u32),
                Op::Remove => None,
            };
            match (model.remove(&key), after) {
                (None, Some(after)) => {
                    let head = index.insert(&key, after);
                    settle(&mut index, head, &key, &model);
                }
                (Some(before), Some(after)) => {
                    let head = index.change(&key, before, after);
                    settle(&mut index, head, &key, &model);
                }
                (Some(before), None) => index.remove(&key, before),
                (None, None) => {}
            }
            model.extend(after.map(|after| (key, after)));
            index.check(model.iter().map(|(key, met)| (&key[..], *met)));
        }
        // A prefix sorts before what it is a prefix of.
        let expected = |probe: &[u8]| -> Vec<Met> {
            let short = model.iter().filter(|(key, _)| probe.starts_with(key) && key.len() <= LONGEST);
            short.map(|(_, met)| *met).collect()
        };
        let mut ahead = index.ahead();
        let begun: Vec<_> = probes.iter().map(|probe| ahead.begin(probe, likely(&index, probe))).collect();
        if is_touched {
            ahead.touch();
        }
        for (probe, begun) in probes.iter().zip(begun) {
            let together: Vec<Met> = ahead.prefixes_of(begun, probe).collect();
            prop_assert_eq!(together, expected(probe));
        }
        for probe in &probes {
            let expected = expected(probe);
            prop_assert_eq!(holders(&index, probe), &expected[..]);
            if let Some(only) = only(&index, probe) {
                prop_assert_eq!(only.as_slice(), &expected[..]);
            }
            let begins = |key: &Vec<u8>| key.len() > LONGEST && key.starts_with(&probe[..LONGEST]);
            let goes_on = probe.len() > LONGEST && model.keys().any(begins);
            let mut met = index.prefixes_of(probe, likely(&index, probe));
            met.by_ref().for_each(drop);
            prop_assert_eq!(met.goes_on(), goes_on);
        }
    }
}
