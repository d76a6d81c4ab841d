//! A budget that pipes share, on one thread: what is counted, who is refused, and that it all comes back.

use std::collections::VecDeque;
use std::io::IoSlice;

use proptest::prelude::*;

use super::super::{pipe_within, Limits, Reader, Tuning, Writer};
use super::{Budget, Held, STEP};
use crate::message::{Frame, Message};
use crate::sync::Arc;

const ROOMY: Limits = Limits {
    messages: 1000,
    bytes: 1 << 30,
};

const LIMIT: u64 = 64 * 1024;

fn budget() -> Arc<Budget> {
    Arc::new(Budget::new(LIMIT))
}

fn ends(budget: &Arc<Budget>) -> (Writer, Reader) {
    pipe_within(Some(Arc::clone(budget)), ROOMY, Tuning::WIRE)
}

/// Sends as many messages of so many octets as there is credit for; how many.
fn fill(writer: &mut Writer, size: usize) -> u64 {
    let mut sent = 0;
    while writer.has_credit() {
        writer.append_payload(&vec![7; size]);
        writer.publish_and_signal();
        sent += 1;
        assert!(sent < 10_000, "there is a limit");
    }
    sent
}

fn read_all(reader: &mut Reader) -> u64 {
    std::iter::from_fn(|| reader.read_message()).count() as u64
}

/// Consumes everything as a pump does; how many octets.
fn pump_all(reader: &mut Reader) -> usize {
    let mut consumed = 0;
    loop {
        let mut slices = [IoSlice::new(&[]); 4];
        let count = reader.lend(1000, &mut slices);
        let lent: usize = slices[..count].iter().map(|slice| slice.len()).sum();
        if lent == 0 {
            return consumed;
        }
        reader.consume(lent as u64);
        consumed += lent;
    }
}

#[test]
fn a_step_is_a_part_of_the_budget() {
    for (limit, step) in [(1, 1), (6400, 100), (1 << 22, STEP), (u64::MAX, STEP)] {
        assert_eq!(Budget::new(limit).step(), step);
    }
}

#[test]
fn what_is_queued_is_counted_until_it_is_read() {
    let budget = budget();
    let (mut w, mut r) = ends(&budget);
    assert!(w.has_credit());
    assert_eq!(budget.used(), 0, "a look costs nothing");
    let sent = fill(&mut w, 100);
    // A message of 100 octets has a header of two.
    assert_eq!(sent, LIMIT.div_ceil(102));
    assert_eq!(budget.used(), 102 * sent);
    assert!(!w.arm());
    assert_eq!(read_all(&mut r), sent);
    assert_eq!(budget.used(), 0);
    assert!(w.has_credit());
    assert_eq!(fill(&mut w, 100), sent);
    assert_eq!(pump_all(&mut r) as u64, 102 * sent);
    assert_eq!(budget.used(), 0);
}

/// Nobody looks again after the last message.
#[test]
fn the_last_message_that_is_taken_gives_everything_back() {
    let budget = budget();
    let (mut w, mut r) = ends(&budget);
    for count in [1, 3, 2, 7] {
        for _ in 0..count {
            assert!(w.has_credit());
            // More than a step, which the writer may have left of what was counted before.
            w.append_payload(&[7; 1100]);
            w.publish_and_signal();
        }
        // So little that no acknowledgement is due for it.
        assert!(w.has_credit());
        w.append_payload(&[7; 10]);
        w.publish_and_signal();
        assert!(budget.used() >= count * 1100);
        for _ in 0..=count {
            assert!(budget.used() > 0);
            assert!(r.read_message().is_some());
        }
        assert_eq!(budget.used(), 0, "of {count}");
    }
}

/// What others hold does not stop a pipe that holds nothing.
#[test]
fn one_that_is_stuck_does_not_stop_the_others() {
    let budget = budget();
    let (mut stuck, _unread) = ends(&budget);
    fill(&mut stuck, 1000);
    let used = budget.used();
    assert!(used >= LIMIT);
    let (mut w, mut r) = ends(&budget);
    for _ in 0..100 {
        assert_eq!(fill(&mut w, 500), 1, "one message at a time");
        assert!(!w.arm(), "it waits for its reader");
        assert_eq!(read_all(&mut r), 1);
        assert_eq!(budget.used(), used);
    }
}

#[test]
fn a_message_counts_however_large_it_is() {
    let budget = budget();
    let (mut w, mut r) = ends(&budget);
    assert!(w.has_credit());
    let large = Message::from(vec![1; 1 << 20]);
    w.append_message(&large);
    w.publish_and_signal();
    w.settle();
    assert!(budget.used() > 1 << 20);
    assert!(!w.has_credit());
    assert_eq!(r.read_message(), Some(large));
    assert!(!r.has_message());
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_message_that_is_taken_back_does_not_count() {
    let budget = budget();
    let (mut w, mut r) = ends(&budget);
    fill(&mut w, 1000);
    read_all(&mut r);
    assert!(w.has_credit());
    w.append_frame(&Frame::from(vec![1; 100_000]), true);
    w.settle();
    w.append_frame(&Frame::from(vec![1; 100_000]), true);
    w.rollback();
    assert_eq!(budget.used(), 0);
    drop(w);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_sleeping_reader_holds_nothing() {
    let budget = budget();
    let (mut w, mut r) = ends(&budget);
    assert!(!r.arm());
    assert!(!r.stay_awake());
    assert!(w.has_credit());
    w.append_payload(b"abc");
    // It is found asleep.
    assert!(w.publish());
    assert!(budget.used() >= 5);
    assert_eq!(read_all(&mut r), 1);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_is_held_elsewhere_counts_for_as_long_as_it_is_there() {
    let budget = budget();
    let mut held = Held::new(&budget);
    held.set(100);
    held.set(70);
    assert_eq!(budget.used(), 70);
    assert!(!held.is_used_up());
    held.set(LIMIT);
    assert!(held.is_used_up());
    drop(held);
    assert_eq!(budget.used(), 0);
}

/// One pipe of several, with a naive account of what is in it.
struct Lane {
    writer: Option<Writer>,
    reader: Option<Reader>,
    /// On the wire.
    queued: VecDeque<u64>,
    largest: u64,
}

impl Lane {
    fn new(budget: &Arc<Budget>) -> Self {
        let (writer, reader) = ends(budget);
        Lane {
            writer: Some(writer),
            reader: Some(reader),
            queued: VecDeque::new(),
            largest: 0,
        }
    }

    fn octets(&self) -> u64 {
        self.queued.iter().sum()
    }
}

proptest! {
    /// Whatever happens: what is counted is what is there, but for one step and one message for each pipe; the
    /// budget is exceeded by no more; nobody who holds nothing is refused; and in the end nothing is counted.
    #[test]
    fn the_account_is_right(
        ops in prop::collection::vec((0..3usize, 0..9u8, 0..20_000usize), 0..300),
        read_in_the_end in any::<bool>(),
    ) {
        let budget = budget();
        let mut lanes: Vec<Lane> = (0..3).map(|_| Lane::new(&budget)).collect();
        for (index, op, size) in ops {
            let lane = &mut lanes[index];
            match (op, &mut lane.writer, &mut lane.reader) {
                (0..=3, Some(writer), reader) => {
                    let size = if op == 0 { size } else { size / 100 };
                    if writer.has_credit() {
                        let wire = (size + crate::frame::header_len(size)) as u64;
                        writer.append_payload(&vec![op; size]);
                        writer.publish_and_signal();
                        lane.queued.push_back(wire);
                        lane.largest = lane.largest.max(wire);
                    } else if let (true, Some(reader)) = (lane.queued.is_empty(), reader) {
                        // It has read everything, and finds that out when it looks for more.
                        prop_assert!(!reader.has_message());
                        prop_assert!(writer.has_credit(), "refused with nothing queued");
                    }
                }
                (4, Some(writer), _) => {
                    writer.append_frame(&Frame::from(vec![1; size]), true);
                    writer.settle();
                    writer.rollback();
                }
                (5, _, Some(reader)) => {
                    let read = reader.read_message().map(|message| message.as_bytes().len());
                    let expected = lane.queued.pop_front();
                    prop_assert_eq!(read.is_some(), expected.is_some());
                }
                (6, _, Some(reader)) => {
                    let read = read_all(reader);
                    prop_assert_eq!(read, lane.queued.len() as u64);
                    lane.queued.clear();
                }
                (7, _, Some(reader)) => {
                    let _ = reader.arm();
                    let awake = reader.stay_awake();
                    prop_assert_eq!(awake, !lane.queued.is_empty() || lane.writer.is_none());
                }
                (8, writer, reader) if size < 1000 => {
                    match size % 3 {
                        0 => *writer = None,
                        1 => *reader = None,
                        _ => *lane = Lane::new(&budget),
                    }
                    if lane.writer.is_none() && lane.reader.is_none() {
                        *lane = Lane::new(&budget);
                    }
                }
                _ => {}
            }
            let step = budget.step();
            let slack: u64 = lanes.iter().map(|lane| step + lane.largest).sum();
            let queued: u64 = lanes.iter().map(Lane::octets).sum();
            prop_assert!(queued <= LIMIT + slack, "{} queued, slack {}", queued, slack);
            prop_assert!(budget.used() + slack >= queued, "{} of {}", budget.used(), queued);
            prop_assert!(budget.used() <= LIMIT + slack);
        }
        for lane in &mut lanes {
            match &mut lane.reader {
                Some(reader) if read_in_the_end => {
                    read_all(reader);
                }
                _ => *lane = Lane::new(&budget),
            }
        }
        prop_assert_eq!(budget.used(), 0);
    }
}
