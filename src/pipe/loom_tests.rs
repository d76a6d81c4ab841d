//! Models of the pipe, tried in every interleaving up to a number of preemptions.
//!
//! Blocks are a few octets long and a pipe turns dense after two publishes, so that a handful of
//! messages passes block changes, bodies, recycling and both mode changes. Every octet of a block
//! and the life of every block and node is tracked: a read of an unpublished octet, a use that is
//! not ordered before the end, and a leak all fail the model, as does a thread that is never woken.
//!
//! The heavy barrier is a `SeqCst` fence on both sides here; that the kernel keeps its promise is
//! taken for granted.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release --lib loom_
//! ```

mod budget;
mod conflate;
mod limits;

use std::io::IoSlice;

use bytes::Bytes;

use super::*;
use crate::message::{Frame, Message};
use crate::sync::{thread, Event};

const UNLIMITED: Limits = Limits {
    messages: u64::MAX,
    bytes: u64::MAX,
};

/// A frame of two octets fills a first block; [`body`] goes by reference.
const TINY: Tuning = Tuning {
    first_block: 4,
    max_block: 8,
    rotation: 0,
    by_reference: 3,
    share_borrowed: 3,
    may_be_dense: true,
};

/// Tries every interleaving with at most `preemptions` involuntary changes of thread.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

struct Wake(Arc<Event>);

impl Signal for Wake {
    fn signal(&self) {
        self.0.notify();
    }
}

/// An event, and the signal that notifies it.
fn wake() -> (Arc<Event>, Arc<dyn Signal>) {
    let event = Arc::new(Event::new());
    let signal = signal_of(&event);
    (event, signal)
}

fn signal_of(event: &Arc<Event>) -> Arc<dyn Signal> {
    let signal: std::sync::Arc<dyn Signal> = std::sync::Arc::new(Wake(Arc::clone(event)));
    Arc::from_std(signal)
}

/// One end with what it sleeps on.
struct Sender {
    pipe: Writer,
    event: Arc<Event>,
}

struct Receiver {
    pipe: Reader,
    event: Arc<Event>,
}

fn ends(limits: Limits) -> (Sender, Receiver) {
    dressed(pipe(limits, TINY))
}

fn dressed((writer, reader): (Writer, Reader)) -> (Sender, Receiver) {
    let (writable, signal) = wake();
    writer.set_signal(signal);
    let (readable, signal) = wake();
    reader.set_signal(signal);
    (
        Sender {
            pipe: writer,
            event: writable,
        },
        Receiver {
            pipe: reader,
            event: readable,
        },
    )
}

impl Sender {
    /// Waits for credit; `false` if the reader has gone.
    fn wait_for_credit(&mut self) -> bool {
        while !self.pipe.has_credit() {
            if self.pipe.is_reader_closed() {
                return false;
            }
            if !self.pipe.arm() {
                self.event.wait(None);
                self.pipe.disarm();
            }
        }
        true
    }

    fn send(&mut self, message: &Message) -> bool {
        let go = self.wait_for_credit();
        if go {
            self.pipe.append_message(message);
            self.pipe.publish_and_signal();
        }
        go
    }
}

impl Receiver {
    fn rest(&mut self) {
        if self.pipe.arm() {
            barrier::heavy();
        }
        if !self.pipe.stay_awake() {
            self.event.wait(None);
            self.pipe.disarm();
        }
    }

    /// Waits for a message; `None` once the writer has gone.
    fn recv(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.pipe.read_message() {
                return Some(message);
            }
            if self.pipe.is_finished() {
                return None;
            }
            self.rest();
        }
    }

    /// The same in the manner of a pump: what is there, `None` once the writer has gone.
    fn pump(&mut self, budget: u64) -> Option<Vec<u8>> {
        loop {
            let lent = lend_and_consume(&mut self.pipe, budget);
            if !lent.is_empty() {
                return Some(lent);
            }
            if self.pipe.is_finished() {
                return None;
            }
            self.rest();
        }
    }
}

fn lend_and_consume(reader: &mut Reader, budget: u64) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 4];
    let count = reader.lend(budget, &mut slices);
    let lent: Vec<u8> = slices[..count]
        .iter()
        .flat_map(|s| s.iter().copied())
        .collect();
    reader.consume(lent.len() as u64);
    lent
}

/// Two octets: with its header, one tiny block.
fn small(id: u8) -> Message {
    Message::from([id, id])
}

/// Goes by reference.
fn body() -> Frame {
    Frame::from_static(b"body")
}

/// Spans a block, a body and another block.
fn spanning(id: u8) -> Message {
    Message::multipart([Frame::from([id]), body(), Frame::from([id, id])])
}

fn wire(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let frames = message.frames();
        for (i, frame) in frames.iter().enumerate() {
            let (header, len) = crate::frame::header(i + 1 < frames.len(), false, frame.len());
            out.extend_from_slice(&header[..len]);
            out.extend_from_slice(frame);
        }
    }
    out
}

#[test]
fn loom_messages_span_blocks_and_bodies() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        let t = thread::spawn(move || {
            w.send(&spanning(1));
            w.send(&small(2));
        });
        assert_eq!(r.recv(), Some(spanning(1)));
        assert_eq!(r.recv(), Some(small(2)));
        assert_eq!(r.recv(), None);
        t.join().unwrap();
    });
}

#[test]
fn loom_a_multipart_message_is_seen_whole_or_not_at_all() {
    check(3, || {
        let (mut w, mut r) = pipe(UNLIMITED, TINY);
        let t = thread::spawn(move || {
            w.append_frame(&Frame::from([1]), true);
            w.append_frame(&body(), true);
            w.append_frame(&Frame::from([1, 1]), false);
            let _nobody_sleeps = w.publish();
        });
        for _ in 0..2 {
            if let Some(message) = r.read_message() {
                assert_eq!(message, spanning(1));
                break;
            }
        }
        t.join().unwrap();
    });
}

#[test]
fn loom_rollback_beside_a_reader() {
    check(3, || {
        let (mut w, mut r) = pipe(UNLIMITED, TINY);
        let t = thread::spawn(move || {
            w.append_message(&small(1));
            w.publish_and_signal();
            w.append_frame(&body(), true);
            w.append_frame(&Frame::from([9, 9]), true);
            w.rollback();
            w.append_message(&spanning(2));
            w.publish_and_signal();
        });
        let mut expect = [small(1), spanning(2)].into_iter();
        for _ in 0..2 {
            if let Some(message) = r.read_message() {
                assert_eq!(Some(message), expect.next());
            }
        }
        t.join().unwrap();
        for message in expect {
            assert_eq!(r.read_message(), Some(message));
        }
        assert!(r.read_message().is_none());
        assert!(r.is_finished());
    });
}

#[test]
fn loom_rollback_beside_a_pump() {
    check(3, || {
        let (mut w, mut r) = pipe(UNLIMITED, TINY);
        let t = thread::spawn(move || {
            w.append_message(&small(1));
            w.publish_and_signal();
            w.append_frame(&body(), true);
            w.append_frame(&Frame::from([9, 9]), true);
            w.rollback();
        });
        let mut lent = lend_and_consume(&mut r, u64::MAX);
        lent.extend(lend_and_consume(&mut r, u64::MAX));
        t.join().unwrap();
        lent.extend(lend_and_consume(&mut r, u64::MAX));
        assert_eq!(lent, wire(&[small(1)]));
    });
}

#[test]
fn loom_a_pump_stops_at_boundaries_within_its_budget() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        let t = thread::spawn(move || {
            w.send(&spanning(1));
            w.send(&small(2));
        });
        let mut lent = Vec::new();
        while let Some(octets) = r.pump(1) {
            lent.extend(octets);
            assert!(r.pipe.at_boundary());
        }
        assert_eq!(lent, wire(&[spanning(1), small(2)]));
        t.join().unwrap();
    });
}

#[test]
fn loom_octets_behind_a_published_boundary_stay_invisible() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        let t = thread::spawn(move || {
            // As a receiving pump: what arrived is a message and the first frame of another.
            w.pipe.append_wire(&[0, 1, b'a', 1, 1, b'b'], 1, true);
            if w.pipe.publish_to(3) {
                w.pipe.signal();
            }
            w.pipe
                .append_shared(Bytes::from_static(&[0, 2, b'c', b'c']), 1, false);
            w.pipe.publish_and_signal();
        });
        assert_eq!(r.recv(), Some(Message::from("a")));
        assert_eq!(r.recv(), Some(Message::multipart(["b", "cc"])));
        assert_eq!(r.recv(), None);
        t.join().unwrap();
    });
}

#[test]
fn loom_a_sleeper_in_a_sparse_pipe_is_woken() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        let t = thread::spawn(move || {
            w.send(&small(1));
            w
        });
        assert_eq!(r.recv(), Some(small(1)));
        drop(t.join().unwrap());
    });
}

#[test]
fn loom_a_sleeper_in_a_dense_pipe_is_woken() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        for id in 0..2 {
            w.send(&small(id));
        }
        assert!(r.pipe.shared.sleep.dense.load(Ordering::Relaxed));
        for id in 0..2 {
            assert_eq!(r.recv(), Some(small(id)));
        }
        let t = thread::spawn(move || {
            w.send(&small(2));
            w
        });
        assert_eq!(r.recv(), Some(small(2)));
        drop(t.join().unwrap());
    });
}

#[test]
fn loom_a_sleeper_is_woken_while_the_pipe_turns_dense() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        w.send(&small(0));
        assert_eq!(r.recv(), Some(small(0)));
        let t = thread::spawn(move || {
            // The first of them makes the pipe dense if the reader is awake.
            w.send(&small(1));
            w.send(&small(2));
            w
        });
        assert_eq!(r.recv(), Some(small(1)));
        assert_eq!(r.recv(), Some(small(2)));
        drop(t.join().unwrap());
    });
}

#[test]
fn loom_a_sleeper_is_woken_while_the_pipe_turns_sparse() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        for id in 0..2 {
            w.send(&small(id));
            assert_eq!(r.recv(), Some(small(id)));
        }
        assert!(r.pipe.shared.sleep.dense.load(Ordering::Relaxed));
        let t = thread::spawn(move || {
            // The first of them makes the pipe sparse if the reader sleeps.
            w.send(&small(2));
            w.send(&small(3));
            w
        });
        assert_eq!(r.recv(), Some(small(2)));
        assert_eq!(r.recv(), Some(small(3)));
        drop(t.join().unwrap());
    });
}

#[test]
fn loom_many_mode_changes_lose_no_wakeup() {
    check(2, || {
        let (mut w, mut r) = ends(UNLIMITED);
        let t = thread::spawn(move || {
            for id in 0..5 {
                w.send(&small(id));
            }
            w
        });
        for id in 0..5 {
            assert_eq!(r.recv(), Some(small(id)));
        }
        drop(t.join().unwrap());
    });
}

#[test]
fn loom_a_writer_without_credit_is_woken() {
    for limit in [1, 2] {
        check(2, move || {
            let (mut w, mut r) = ends(Limits {
                messages: limit,
                bytes: u64::MAX,
            });
            let t = thread::spawn(move || {
                for id in 0..3 {
                    assert!(w.send(&small(id)));
                    assert!(w.pipe.queued_messages() <= limit);
                }
            });
            for id in 0..3 {
                assert_eq!(r.recv(), Some(small(id)));
            }
            assert_eq!(r.recv(), None);
            t.join().unwrap();
        });
    }
}

#[test]
fn loom_what_a_reader_leaves_is_told_once() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        let counts = r.pipe.counts();
        let t = thread::spawn(move || {
            for id in 0..3 {
                w.send(&small(id));
            }
            w
        });
        let read = u64::from(r.pipe.read_message().is_some());
        drop(r);
        // By whoever ends the connection, while the writer goes on.
        let told = counts.take_left();
        let w = t.join().unwrap();
        assert_eq!(read + told + w.pipe.queued_messages(), 3);
    });
}

#[test]
fn loom_a_writer_sees_what_was_read_with_the_end() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        w.send(&small(0));
        w.send(&small(1));
        let t = thread::spawn(move || {
            assert!(r.pipe.read_message().is_some());
            drop(r);
        });
        if w.pipe.is_reader_closed() {
            assert_eq!(w.pipe.queued_messages(), 1);
        }
        t.join().unwrap();
    });
}

#[test]
fn loom_a_writer_without_credit_is_woken_by_a_pump() {
    check(2, || {
        let (mut w, mut r) = ends(Limits {
            messages: 1,
            bytes: u64::MAX,
        });
        let t = thread::spawn(move || {
            for id in 0..2 {
                assert!(w.send(&small(id)));
            }
            // The pump acknowledges the last one too before it sleeps.
            assert!(w.wait_for_credit());
        });
        let mut lent = Vec::new();
        while let Some(octets) = r.pump(u64::MAX) {
            lent.extend(octets);
        }
        assert_eq!(lent, wire(&[small(0), small(1)]));
        t.join().unwrap();
    });
}

#[test]
fn loom_a_writer_without_byte_credit_is_woken() {
    check(3, || {
        let (mut w, mut r) = ends(Limits {
            messages: u64::MAX,
            bytes: 1,
        });
        let t = thread::spawn(move || {
            for id in 0..3 {
                assert!(w.send(&small(id)));
            }
        });
        for id in 0..3 {
            assert_eq!(r.recv(), Some(small(id)));
        }
        assert_eq!(r.recv(), None);
        t.join().unwrap();
    });
}

#[test]
fn loom_the_reader_goes_at_any_time() {
    check(3, || {
        let (mut w, mut r) = ends(Limits {
            messages: 1,
            bytes: u64::MAX,
        });
        let t = thread::spawn(move || {
            let mut sent = 0;
            while sent < 3 && w.send(&spanning(sent)) {
                sent += 1;
            }
            w.pipe.append_frame(&body(), true);
            sent
        });
        let first = r.pipe.read_message();
        assert!(first.is_none() || first == Some(spanning(0)));
        drop(r);
        assert!(t.join().unwrap() <= 3);
    });
}

#[test]
fn loom_the_writer_goes_at_any_time() {
    check(3, || {
        let (mut w, mut r) = ends(UNLIMITED);
        let t = thread::spawn(move || {
            w.send(&spanning(1));
            w.pipe.append_frame(&Frame::from([9]), true);
            w.pipe.append_frame(&body(), true);
            w.pipe.append_frame(&Frame::from([9, 9]), true);
        });
        let mut got = Vec::new();
        while let Some(message) = r.recv() {
            got.push(message);
        }
        assert_eq!(got, [spanning(1)]);
        drop(r);
        t.join().unwrap();
    });
}

#[test]
fn loom_blocks_are_recycled_and_freed_once() {
    check(3, || {
        let (mut w, mut r) = pipe(UNLIMITED, TINY);
        let t = thread::spawn(move || {
            for id in 0..3 {
                w.append_message(&small(id));
                w.publish_and_signal();
                // Takes the spare block, if there is one, and frees it with the rollback.
                w.append_frame(&Frame::from([9, 9]), true);
                w.rollback();
            }
        });
        let mut next = 0;
        for _ in 0..3 {
            if let Some(message) = r.read_message() {
                assert_eq!(message, small(next));
                next += 1;
            }
        }
        drop(r);
        t.join().unwrap();
    });
}

/// As above, of blocks of which some are to be at rest.
#[test]
fn loom_blocks_that_rest_are_used_again_and_freed_once() {
    const ROTATING: Tuning = Tuning {
        first_block: 8,
        max_block: 8,
        rotation: 16,
        by_reference: usize::MAX,
        share_borrowed: usize::MAX,
        may_be_dense: true,
    };
    check(2, || {
        let (mut w, mut r) = dressed(pipe(UNLIMITED, ROTATING));
        for id in 0..4 {
            w.send(&small(id));
            assert_eq!(r.recv(), Some(small(id)));
        }
        assert!(r.pipe.shared.sleep.dense.load(Ordering::Relaxed));
        let t = thread::spawn(move || {
            for id in 4..7 {
                w.pipe.append_message(&small(id));
                w.pipe.publish_and_signal();
            }
        });
        let mut next = 4;
        for _ in 0..3 {
            if let Some(message) = r.pipe.read_message() {
                assert_eq!(message, small(next));
                next += 1;
            }
        }
        r.pipe.trim_spare();
        drop(r);
        t.join().unwrap();
    });
}

/// A payload that refers to a block keeps it from being used again, and is freed by whoever drops it last.
#[test]
fn loom_a_slice_of_a_block_outlives_the_pipe() {
    const LEN: usize = Frame::INLINE + 1;
    const ROOMY: Tuning = Tuning {
        first_block: LEN + 2,
        max_block: LEN + 2,
        rotation: 0,
        by_reference: usize::MAX,
        share_borrowed: usize::MAX,
        may_be_dense: false,
    };
    check(2, || {
        let (mut w, mut r) = pipe(UNLIMITED, ROOMY);
        let writer = thread::spawn(move || {
            for id in 1..=3 {
                w.append_payload(&[id; LEN]);
                w.publish_and_signal();
            }
        });
        let first = r.read_message();
        let other = thread::spawn(move || {
            if let Some(first) = first {
                assert_eq!(first.as_bytes(), [1; LEN]);
            }
        });
        drop(r.read_message());
        drop(r);
        other.join().unwrap();
        writer.join().unwrap();
    });
}

/// As [`loom_a_sleeper_in_a_dense_pipe_is_woken`] and the change to sparse, of messages that go the short way.
#[test]
fn loom_a_sleeper_is_woken_by_short_messages() {
    const ROOMY: Tuning = Tuning {
        first_block: 4 * 66,
        max_block: 4 * 66,
        rotation: 0,
        by_reference: usize::MAX,
        share_borrowed: usize::MAX,
        may_be_dense: true,
    };
    check(3, || {
        let (mut w, mut r) = dressed(pipe(UNLIMITED, ROOMY));
        for id in 0..2 {
            w.send(&small(id));
            assert_eq!(r.recv(), Some(small(id)));
        }
        assert!(r.pipe.shared.sleep.dense.load(Ordering::Relaxed));
        let t = thread::spawn(move || {
            let asleep = w.pipe.send_short(&[2; 2]).expect("it is short, and dense");
            if asleep && w.pipe.wake() {
                w.pipe.signal();
            }
            // After that the pipe may be sparse.
            match w.pipe.send_short(&[3; 2]) {
                Some(true) if w.pipe.wake() => w.pipe.signal(),
                Some(_) => {}
                None => assert!(w.send(&small(3))),
            }
            w
        });
        assert_eq!(r.recv(), Some(small(2)));
        assert_eq!(r.recv(), Some(small(3)));
        drop(t.join().unwrap());
    });
}

#[test]
fn loom_an_end_is_handed_to_another_thread() {
    check(3, || {
        let (mut w, r) = ends(UNLIMITED);
        w.send(&spanning(1));
        let t = thread::spawn(move || {
            let mut r = r;
            assert_eq!(r.recv(), Some(spanning(1)));
            r
        });
        w.send(&small(2));
        let mut r = t.join().unwrap();
        assert_eq!(r.recv(), Some(small(2)));
        drop(w);
        assert_eq!(r.recv(), None);
    });
}
