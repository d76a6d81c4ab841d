//! Random histories of a pipe on one thread, against a model that keeps plain vectors.
//!
//! After every step both sides must agree on what is visible, in which order, on credit, counts,
//! boundaries, and on every octet lent.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use proptest::prelude::*;

use super::tests::Wake;
use super::*;
use crate::message::{Frame, Message};
use crate::sync::Event;

/// Blocks small enough that a few frames fill them.
const TUNING: Tuning = Tuning {
    first_block: 64,
    max_block: 512,
    rotation: 0,
    by_reference: 200,
    share_borrowed: 200,
    may_be_dense: true,
};

/// One thing that one end does.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Part>),
    /// Frames without an end.
    Begin(Part),
    Publish,
    /// A message by the short way, if that takes it.
    Send(Part),
    /// So many messages that the pipe is dense after, if the reader stays awake and there is credit: only then is there
    /// a short way.
    Stream,
    /// As a receiving pump: encoded messages and the beginning of one more, by copy or by reference,
    /// and the end of the one begun by the last such step.
    Wire {
        whole: Vec<Vec<Part>>,
        begun: Option<Part>,
        shared: bool,
        publish: bool,
    },
    Rollback,
    Read,
    Pump {
        budget: u64,
        slices: usize,
        take: u64,
    },
    Acknowledge,
    ArmReader,
    DisarmReader,
    ArmWriter,
    DisarmWriter,
    DropWriter,
    DropReader,
}

/// A frame: length and how it is held.
#[derive(Debug, Clone, Copy)]
struct Part {
    len: usize,
    fixed: bool,
}

impl Part {
    fn octets(self, seed: u8) -> Vec<u8> {
        (0..self.len).map(|i| seed.wrapping_add(i as u8)).collect()
    }

    fn frame(self, seed: u8) -> Frame {
        if self.fixed {
            // Held by reference whatever its length.
            OCTETS.with(|all| {
                let from = usize::from(seed);
                Frame::from_static(&all[from..from + self.len])
            })
        } else {
            Frame::from(self.octets(seed))
        }
    }
}

/// The longest frame, and a little less than twice that as static octets that count up.
const LONGEST: usize = 1500;

thread_local! {
    static OCTETS: &'static [u8] = {
        static ALL: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        ALL.get_or_init(|| (0..LONGEST + 256).map(|i| i as u8).collect())
    };
}

fn part() -> impl Strategy<Value = Part> {
    let len = prop_oneof![
        4 => prop_oneof![Just(0usize), Just(1), Just(2)],
        4 => 0..80usize,
        3 => prop_oneof![Just(60usize), 61..66usize, 69..72usize, 199..202usize],
        2 => prop_oneof![254..258usize, 501..515usize],
        1 => 0..LONGEST,
    ];
    (len, any::<bool>()).prop_map(|(len, fixed)| Part { len, fixed })
}

fn message() -> impl Strategy<Value = Vec<Part>> {
    prop_oneof![
        4 => prop::collection::vec(part(), 1..2),
        1 => prop::collection::vec(part(), 1..5),
    ]
}

/// Sent as a stream, read in every manner, and every now and then something else.
fn step_of_a_stream() -> impl Strategy<Value = Step> {
    let short = (
        prop_oneof![3 => 0..66usize, 1 => Just(64usize)],
        any::<bool>(),
    )
        .prop_map(|(len, fixed)| Step::Send(Part { len, fixed }));
    prop_oneof![
        12 => short,
        2 => Just(Step::Stream),
        2 => Just(Step::Publish),
        2 => Just(Step::Rollback),
        5 => Just(Step::Read),
        4 => step(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let amount = || prop_oneof![Just(0u64), Just(1), 1..10u64, 10..300u64, Just(u64::MAX)];
    prop_oneof![
        200 => message().prop_map(Step::Append),
        30 => part().prop_map(Step::Begin),
        200 => Just(Step::Publish),
        200 => part().prop_map(Step::Send),
        100 => (
            prop::collection::vec(message(), 0..4),
            prop::option::of(part()),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(whole, begun, shared, publish)| Step::Wire {
                whole,
                begun,
                shared,
                publish
            }),
        40 => Just(Step::Rollback),
        200 => Just(Step::Read),
        200 => (amount(), 0..6usize, amount())
            .prop_map(|(budget, slices, take)| Step::Pump { budget, slices, take }),
        20 => Just(Step::Acknowledge),
        20 => Just(Step::ArmReader),
        10 => Just(Step::DisarmReader),
        20 => Just(Step::ArmWriter),
        10 => Just(Step::DisarmWriter),
        1 => Just(Step::DropWriter),
        1 => Just(Step::DropReader),
    ]
}

/// A message of the model.
#[derive(Debug, Clone)]
struct Sent {
    frames: Vec<Vec<u8>>,
}

impl Sent {
    fn wire(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, frame) in self.frames.iter().enumerate() {
            out.extend(encode(frame, i + 1 < self.frames.len()));
        }
        out
    }

    fn message(&self) -> Message {
        Message::multipart(self.frames.iter().cloned())
    }
}

fn encode(frame: &[u8], more: bool) -> Vec<u8> {
    let (header, len) = crate::frame::header(more, false, frame.len());
    let mut out = header[..len].to_vec();
    out.extend_from_slice(frame);
    out
}

/// What a pipe is, without blocks, nodes and threads.
struct Model {
    limits: Limits,
    /// Complete and not published; the frames of one more.
    complete: Vec<Sent>,
    partial: Vec<Vec<u8>>,
    /// Frames of `partial` that were held back by the last publish: a rollback keeps them.
    kept: usize,
    /// Published and not read to the end.
    visible: VecDeque<Sent>,
    /// Octets of the first visible message that were consumed.
    consumed: usize,
    /// Octets of `visible` that were consumed or read in all.
    published_bytes: u64,
    published: u64,
    read_bytes: u64,
    read: u64,
    /// The reader is armed and nobody has claimed to wake it.
    asleep: bool,
    waits: bool,
    seed: u8,
}

impl Model {
    fn new(limits: Limits) -> Self {
        Model {
            limits,
            complete: Vec::new(),
            partial: Vec::new(),
            kept: 0,
            visible: VecDeque::new(),
            consumed: 0,
            published_bytes: 0,
            published: 0,
            read_bytes: 0,
            read: 0,
            asleep: false,
            waits: false,
            seed: 0,
        }
    }

    fn seed(&mut self) -> u8 {
        self.seed = self.seed.wrapping_add(37);
        self.seed
    }

    fn partial_bytes(&self) -> u64 {
        self.partial
            .iter()
            .map(|frame| encode(frame, true).len() as u64)
            .sum()
    }

    fn complete_bytes(&self) -> u64 {
        self.complete.iter().map(|m| m.wire().len() as u64).sum()
    }

    fn publish(&mut self) {
        self.published_bytes += self.complete_bytes();
        self.published += self.complete.len() as u64;
        self.visible.extend(self.complete.drain(..));
        self.kept = self.partial.len();
    }

    fn finish(&mut self) {
        let frames = std::mem::take(&mut self.partial);
        self.complete.push(Sent { frames });
    }

    fn octets(&self) -> Vec<u8> {
        let all: Vec<u8> = self.visible.iter().flat_map(Sent::wire).collect();
        all[self.consumed..].to_vec()
    }

    fn consume(&mut self, count: u64) {
        self.read_bytes += count;
        self.consumed += count as usize;
        while let Some(first) = self.visible.front() {
            let len = first.wire().len();
            if self.consumed < len {
                break;
            }
            self.consumed -= len;
            self.read += 1;
            self.visible.pop_front();
        }
    }
}

/// The pipe beside its model.
struct Pair {
    writer: Option<Writer>,
    reader: Option<Reader>,
    readable: Arc<Wake>,
    writable: Arc<Wake>,
    model: Model,
    /// What was acknowledged, as the pipe itself says: when it does so is its own affair, within
    /// what the model allows.
    acked: (u64, u64),
    /// Octets to the boundary that the pump works towards.
    target: u64,
    /// Messages that went the short way.
    short: u32,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let (writer, reader) = pipe(limits, TUNING);
        let (readable, writable) = (Arc::new(Wake(Event::new())), Arc::new(Wake(Event::new())));
        reader.set_signal(readable.clone());
        writer.set_signal(writable.clone());
        Pair {
            writer: Some(writer),
            reader: Some(reader),
            readable,
            writable,
            model: Model::new(limits),
            acked: (0, 0),
            target: 0,
            short: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::DropWriter => {
                self.writer = None;
                self.model.complete.clear();
                self.model.partial.clear();
                let due = std::mem::take(&mut self.model.asleep);
                assert_eq!(self.readable.0.take(), due, "wake-up of the reader");
            }
            Step::DropReader => {
                self.reader = None;
                assert_eq!(
                    self.writable.0.take(),
                    std::mem::take(&mut self.model.waits)
                );
            }
            Step::Stream => {
                for len in 0..2 * 32 {
                    self.write_step(Step::Append(vec![Part { len, fixed: false }]));
                    self.write_step(Step::Publish);
                    self.read_step(Step::Read);
                }
            }
            Step::Read | Step::Pump { .. } | Step::Acknowledge => self.read_step(step),
            Step::ArmReader | Step::DisarmReader => self.sleep_step(&step),
            _ => self.write_step(step),
        }
        self.check();
    }

    fn write_step(&mut self, step: Step) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let model = &mut self.model;
        match step {
            Step::Append(parts) => {
                // The frames of an unfinished message come first.
                let frames: Vec<Frame> = parts.iter().map(|p| p.frame(model.seed())).collect();
                model.partial.extend(frames.iter().map(|f| f.to_vec()));
                model.finish();
                match &frames[..] {
                    // A payload by itself is the same message.
                    [only] if only.len() % 2 == 0 => writer.append_payload(only),
                    _ => writer.append_message(&Message::multipart(frames)),
                }
            }
            Step::Begin(part) => {
                let frame = part.frame(model.seed());
                model.partial.push(frame.to_vec());
                writer.append_frame(&frame, true);
            }
            Step::Send(part) => {
                let octets = part.octets(model.seed());
                if let Some(asleep) = writer.send_short(&octets) {
                    self.short += 1;
                    assert!(part.len <= 64);
                    assert!(model.partial.is_empty() && model.complete.is_empty());
                    let queued = (model.published, model.published_bytes);
                    let queued = (queued.0 - self.acked.0, queued.1 - self.acked.1);
                    assert!(queued.0 < model.limits.messages && queued.1 < model.limits.bytes);
                    model.partial.push(octets);
                    model.finish();
                    model.publish();
                    let claimed = asleep && writer.wake();
                    assert_eq!(claimed, std::mem::take(&mut model.asleep));
                }
            }
            Step::Publish => {
                let boundary = writer.stream_position() - model.partial_bytes();
                // Not `publish` itself in mid-message; half of the time the same as that.
                let claimed = if model.partial.is_empty() {
                    writer.publish()
                } else {
                    writer.publish_to(boundary)
                };
                model.publish();
                assert_eq!(claimed, std::mem::take(&mut model.asleep));
            }
            Step::Wire {
                whole,
                begun,
                shared,
                publish,
            } => {
                let mut wire = Vec::new();
                let before = model.complete.len();
                for parts in whole {
                    for (i, part) in parts.iter().enumerate() {
                        let octets = part.octets(model.seed());
                        wire.extend(encode(&octets, i + 1 < parts.len()));
                        model.partial.push(octets);
                    }
                    model.finish();
                }
                let mut bodies = None;
                if let Some(part) = begun {
                    let octets = part.octets(model.seed());
                    let (header, len) = crate::frame::header(true, false, octets.len());
                    wire.extend_from_slice(&header[..len]);
                    model.partial.push(octets.clone());
                    // A large body goes behind its header by reference.
                    if octets.len() > 100 {
                        bodies = Some(Bytes::from(octets));
                    } else {
                        wire.extend(octets);
                    }
                }
                let messages = (model.complete.len() - before) as u64;
                let inside = !model.partial.is_empty();
                if shared {
                    writer.append_shared(Bytes::from(wire), messages, inside);
                } else {
                    writer.append_wire(&wire, messages, inside);
                }
                if let Some(body) = bodies {
                    writer.append_shared(body, 0, true);
                }
                if publish {
                    let boundary = writer.stream_position() - model.partial_bytes();
                    let claimed = writer.publish_to(boundary);
                    model.publish();
                    assert_eq!(claimed, std::mem::take(&mut model.asleep));
                }
            }
            Step::Rollback => {
                writer.rollback();
                // If the held-back frames were finished since, they are the first complete message.
                if let Some(first) = model.complete.drain(..).next() {
                    model.partial = first.frames;
                }
                model.partial.truncate(model.kept);
            }
            // Its contract: what is complete is published first.
            Step::ArmWriter if !model.complete.is_empty() => {}
            Step::ArmWriter => {
                let ready = writer.arm();
                model.waits = !ready;
                assert_eq!(
                    ready,
                    writer.has_credit() || self.reader.is_none(),
                    "arm looks once more"
                );
            }
            Step::DisarmWriter => {
                writer.disarm();
                model.waits = false;
            }
            _ => unreachable!("a step of the other end"),
        }
    }

    fn sleep_step(&mut self, step: &Step) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        if matches!(step, Step::DisarmReader) {
            reader.disarm();
            self.model.asleep = false;
            return;
        }
        if reader.arm() {
            barrier::heavy();
        }
        let awake = reader.stay_awake();
        assert_eq!(
            awake,
            !self.model.octets().is_empty() || self.writer.is_none()
        );
        self.model.asleep = !awake;
        self.acked.1 = self.model.read_bytes;
        self.woken();
    }

    fn read_step(&mut self, step: Step) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        match step {
            // Only between messages can they be read.
            Step::Read if self.model.consumed == 0 && reader.at_boundary() => {
                let got = reader.read_message();
                let expect = self.model.visible.front().cloned();
                assert_eq!(got, expect.as_ref().map(Sent::message));
                if let Some(message) = expect {
                    self.model.consume(message.wire().len() as u64);
                }
            }
            Step::Pump {
                budget,
                slices: count,
                take,
            } => {
                let all = self.model.octets();
                let fresh = reader.at_boundary();
                let mut slices = [IoSlice::new(&[]); 6];
                let n = reader.lend(budget, &mut slices[..count]);
                assert!(n <= count);
                assert_eq!(n == 0, all.is_empty() || count == 0);
                let lent: Vec<u8> = slices[..n].iter().flat_map(|s| s.to_vec()).collect();
                assert!(slices[..n].iter().all(|s| !s.is_empty()));
                assert_eq!(lent, all[..lent.len()]);
                if fresh {
                    // Unlimited slices lend all octets to the boundary.
                    let mut slices = [IoSlice::new(&[]); 4096];
                    let n = reader.lend(budget, &mut slices);
                    self.target = slices[..n].iter().map(|s| s.len() as u64).sum();
                    self.check_target(budget);
                }
                let Some(reader) = &mut self.reader else {
                    return;
                };
                assert!(lent.len() as u64 <= self.target);
                let take = take.min(lent.len() as u64);
                reader.consume(take);
                self.target -= take;
                self.model.consume(take);
                assert_eq!(reader.at_boundary(), self.target == 0);
                self.acked.1 = self.model.read_bytes;
            }
            Step::Acknowledge => {
                reader.acknowledge();
                self.acked.1 = self.model.read_bytes;
            }
            _ => {}
        }
        self.woken();
    }

    /// The boundary ahead ends a message, and is not needlessly far.
    fn check_target(&self, budget: u64) {
        let mut end = 0u64;
        let ends: Vec<u64> = self
            .model
            .visible
            .iter()
            .map(|m| {
                end += m.wire().len() as u64;
                end - self.model.consumed as u64
            })
            .collect();
        assert!(
            self.target == 0 && ends.is_empty() || ends.contains(&self.target),
            "{} is no boundary of {ends:?}",
            self.target
        );
        if end - self.model.consumed as u64 <= budget {
            assert_eq!(self.target, end, "everything fits");
        }
    }

    /// A waiting writer was signalled if the pipe is empty, and only if there is room.
    fn woken(&mut self) {
        let acked = self.pipe_acked();
        let limits = self.model.limits;
        let room = self.model.published - acked.0 <= limits.messages / 2
            && self.model.published_bytes - acked.1 <= limits.bytes / 2
            || self.model.published_bytes == acked.1;
        if self.writable.0.take() {
            assert!(self.model.waits && room, "signalled for nothing");
            self.model.waits = false;
        } else if self.model.published_bytes == acked.1 {
            assert!(!self.model.waits, "an empty pipe leaves no writer waiting");
        }
    }

    fn pipe_acked(&self) -> (u64, u64) {
        let shared = match (&self.writer, &self.reader) {
            (Some(writer), _) => &writer.shared,
            (_, Some(reader)) => &reader.shared,
            _ => return self.acked,
        };
        (
            shared.reader.acked_messages.load(Ordering::Relaxed),
            shared.reader.acked_bytes.load(Ordering::Relaxed),
        )
    }

    fn check(&mut self) {
        let acked = self.pipe_acked();
        let model = &self.model;
        assert!(self.acked.1 <= acked.1 && acked.1 <= model.read_bytes);
        assert!(self.acked.0 <= acked.0 && acked.0 <= model.read);
        if acked.1 == model.published_bytes {
            assert_eq!(acked.0, model.published, "all is acknowledged");
        }
        self.acked = acked;
        if let Some(reader) = &mut self.reader {
            assert_eq!(reader.has_data(), !model.octets().is_empty());
            assert_eq!(
                reader.is_finished(),
                self.writer.is_none() && model.octets().is_empty()
            );
            let queued = reader.queued_messages();
            assert!(queued >= model.published - model.read);
            assert!(queued <= model.published - acked.0);
        }
        if let Some(writer) = &mut self.writer {
            let appended = model.published + model.complete.len() as u64;
            assert_eq!(writer.queued_messages(), appended - acked.0);
            let complete = model.published_bytes
                + if model.partial.is_empty() {
                    model.complete_bytes()
                } else {
                    0
                };
            assert_eq!(
                writer.has_credit(),
                appended - acked.0 < model.limits.messages
                    && complete - acked.1 < model.limits.bytes,
                "credit"
            );
            assert_eq!(
                writer.is_unfinished(),
                model.complete_bytes() + model.partial_bytes() > 0
            );
            assert_eq!(
                writer.has_unpublished(),
                !model.complete.is_empty() || model.partial.len() > model.kept
            );
            assert_eq!(writer.queued_octets(), model.published_bytes - acked.1);
            let credit = model.limits.messages.saturating_sub(appended - acked.0);
            assert!(writer.message_credit() <= credit);
            assert_eq!(writer.is_reader_closed(), self.reader.is_none());
            assert_eq!(
                writer.stream_position(),
                model.published_bytes + model.complete_bytes() + model.partial_bytes()
            );
        }
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let messages = prop_oneof![Just(1u64), 2..20u64, Just(1000), Just(u64::MAX)];
    let bytes = prop_oneof![Just(1u64), 2..1000u64, Just(100_000), Just(u64::MAX)];
    (messages, bytes).prop_map(|(messages, bytes)| Limits { messages, bytes })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn a_pipe_is_a_queue_of_messages(
        limits in limits(),
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let mut pair = Pair::new(limits);
        for step in steps {
            pair.step(step);
        }
    }
}

/// Of a pipe that is dense nearly all the time.
#[test]
fn the_short_way_is_the_same_queue() {
    let config = ProptestConfig {
        cases: CASES,
        ..ProptestConfig::default()
    };
    let went = std::cell::Cell::new(0);
    let histories = (limits(), prop::collection::vec(step_of_a_stream(), 0..400));
    let result =
        proptest::test_runner::TestRunner::new(config).run(&histories, |(limits, steps)| {
            let mut pair = Pair::new(limits);
            steps.into_iter().for_each(|step| pair.step(step));
            went.set(went.get() + pair.short);
            Ok(())
        });
    result.unwrap_or_else(|error| panic!("{error}"));
    // Without the barrier of the system's there is no such way.
    assert!(!barrier::is_free() || went.get() > 10 * CASES, "{went:?}");
}

/// A second or two in a debug build; `PROPTEST_CASES` has no say, for valgrind multiplies it by 50.
const CASES: u32 = if cfg!(debug_assertions) { 150 } else { 600 };
