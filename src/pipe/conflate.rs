//! Conflation: of the messages that were not read only the newest is kept, or the newest of each topic.
//!
//! ```text
//!  Writer ──▶ front pipe ──▶ Conflation ──▶ Kept ──▶ back pipe ──▶ Reader
//!             a plain pipe   on the writer's         a plain pipe, filled by the
//!                            thread                  reader when it has read it all
//! ```
//!
//! # Why this way
//! Nothing is asked of the plain pipe while messages pass through it. The reading end of the front pipe is
//! always asleep, so each publish of its writer runs the conflation, as the signal that wakes the
//! reader, on the writer's own thread. That takes out all that there is and keeps what is to be kept ([`kept`](super::kept)). A
//! reader whose (back) pipe holds nothing more, which is a cold path already, takes the next message from there.
//!
//! So what is read next is always the newest there is (of its topic), no more is held than that besides
//! what the reader has begun with, and a writer never waits. It is slower than a plain pipe: each message takes a lock.

use super::kept::{Keep, Kept, Loss};
use super::losses::Tally;
use super::{lock, pipe, Arc, Held, Limits, Mutex, Reader, Shared, Signal, Tuning, Writer};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::barrier;

/// How a pipe conflates.
pub(crate) struct Terms {
    pub(crate) keep: Keep,
    /// Counts messages that a newer one has taken the place of.
    pub(crate) replaced: Arc<AtomicU64>,
    /// Hears how many messages gave way to those of other topics.
    pub(crate) crowded_out: Box<dyn Fn(u64) + Send + Sync>,
    /// What is kept counts in a budget.
    pub(crate) held: Option<Held>,
}

#[cfg(all(test, not(loom)))]
impl Terms {
    /// The newest message alone is kept.
    pub(super) fn newest(replaced: &Arc<AtomicU64>) -> Self {
        Terms {
            keep: Keep::NEWEST,
            replaced: Arc::clone(replaced),
            crowded_out: Box::new(|_| {}),
            held: None,
        }
    }
}

/// A new pipe that conflates.
pub(crate) fn conflating(tuning: Tuning, terms: Terms) -> (Writer, Reader) {
    let tuning = Tuning {
        may_be_dense: false,
        ..tuning
    };
    let (writer, mut reader) = pipe(FRONT, tuning);
    // Whatever the socket that writes allows on top.
    reader.claim_limits();
    (writer, conflate(reader, tuning, terms))
}

/// Makes the reading end of a pipe that was made without it one that conflates.
pub(crate) fn conflate(front: Reader, tuning: Tuning, terms: Terms) -> Reader {
    let tuning = Tuning {
        may_be_dense: false,
        ..tuning
    };
    let (writer, mut back) = pipe(UNLIMITED, tuning);
    let conflation = Arc::new(Conflation {
        waiting: AtomicU64::new(0),
        tally: Tally::new(),
        state: Mutex::new(State {
            front: None,
            kept: Kept::new(terms.keep),
            held: terms.held,
            writer: Some(writer),
        }),
        back: Arc::clone(&back.shared),
        replaced: terms.replaced,
        crowded_out: terms.crowded_out,
    });
    front.set_signal(signal(Arc::clone(&conflation)));
    lock(&conflation.state).front = Some(front);
    conflation.run();
    back.conflation = Some(conflation);
    back
}

/// What a batch may hold before it is looked at. The front pipe is emptied at each publish, so nobody ever
/// waits for credit.
const FRONT: Limits = Limits {
    messages: 64,
    bytes: 1024 * 1024,
};

/// Of the back pipe, which holds one message, and in the end what is left.
const UNLIMITED: Limits = Limits {
    messages: u64::MAX,
    bytes: u64::MAX,
};

/// See the module.
pub(super) struct Conflation {
    /// How many messages `state.kept` has. Changed under the lock.
    waiting: AtomicU64,
    /// What was dropped. Changed under the lock, as is that of the front pipe, which is the same for its writer.
    tally: Tally,
    state: Mutex<State>,
    /// Of the back pipe, to signal without the lock.
    back: Arc<Shared>,
    replaced: Arc<AtomicU64>,
    crowded_out: Box<dyn Fn(u64) + Send + Sync>,
}

struct State {
    /// `None` once its writer is gone, or the reader of the back pipe.
    front: Option<Reader>,
    kept: Kept,
    held: Option<Held>,
    /// Of the back pipe.
    writer: Option<Writer>,
}

impl State {
    /// Moves messages into the back pipe, at most so many.
    fn hand_on(&mut self, most: u64) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        for _ in 0..most {
            let Some(message) = self.kept.take() else {
                break;
            };
            writer.append_message(&message);
        }
    }
}

impl Conflation {
    /// Takes everything out of the front pipe, and keeps the newest.
    fn run(&self) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let Some(reader) = &mut state.front else {
            return;
        };
        let mut found = false;
        let mut loss = Loss::default();
        loop {
            while let Some(message) = reader.read_message() {
                found = true;
                let crowded = state.held.as_ref().is_some_and(Held::is_used_up);
                loss += state.kept.put(message, crowded);
            }
            if reader.is_finished() {
                break;
            }
            if reader.arm() {
                barrier::heavy();
            }
            if !reader.stay_awake() {
                break;
            }
        }
        self.tally.add(loss);
        reader.shared.reader.tally.add(loss);
        let finished = reader.is_finished();
        if finished {
            // Nobody is there to do it later. It is counted as it was until the reader is gone.
            self.changed(state);
            state.hand_on(u64::MAX);
            self.waiting.store(0, Ordering::Release);
        } else {
            self.changed(state);
        }
        let mut asleep = false;
        if let Some(writer) = state.writer.as_mut().filter(|_| found || finished) {
            // Without anything appended this is a look at whether the reader sleeps.
            asleep = writer.publish();
        }
        let ends = finished.then(|| (state.front.take(), state.writer.take()));
        drop(guard);
        drop(ends);
        self.count(loss);
        if asleep {
            Shared::signal(&self.back.sleep.wake_reader);
        }
    }

    /// The messages that are kept are others than before.
    fn changed(&self, state: &mut State) {
        self.waiting.store(state.kept.len(), Ordering::Release);
        if let Some(held) = &mut state.held {
            held.set(state.kept.octets());
        }
    }

    /// Not under the lock: who is told may be the last to know of what this is a part of.
    fn count(&self, loss: Loss) {
        if loss.replaced > 0 {
            self.replaced.fetch_add(loss.replaced, Ordering::Relaxed);
        }
        if loss.crowded_out > 0 {
            (self.crowded_out)(loss.crowded_out);
        }
    }

    /// What was dropped so far.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// A message that was read from the back pipe is of no use.
    pub(super) fn note_unwanted(&self) {
        let state = lock(&self.state);
        self.tally.add_unwanted();
        if let Some(front) = &state.front {
            front.shared.reader.tally.add_unwanted();
        }
    }

    /// How many messages there are that [`Conflation::pull`] would move, one after the other.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Moves the next message into the back pipe. For its reader, which has read everything.
    pub(super) fn pull(&self) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.hand_on(1);
        self.changed(state);
        let asleep = state.writer.as_mut().is_some_and(Writer::publish);
        drop(guard);
        // Whoever relies on being woken may be somebody else than who reads.
        if asleep {
            Shared::signal(&self.back.sleep.wake_reader);
        }
    }

    /// From now on topics are told apart by no more octets than this.
    pub(super) fn narrow(&self, prefix: usize) {
        let mut state = lock(&self.state);
        let loss = state.kept.narrow(prefix);
        self.tally.add(loss);
        if let Some(front) = &state.front {
            front.shared.reader.tally.add(loss);
        }
        self.changed(&mut state);
        drop(state);
        self.count(loss);
    }

    /// Lets go of the messages that are kept. How many they are.
    pub(super) fn give_up(&self) -> u64 {
        let mut state = lock(&self.state);
        let none = Kept::new(state.kept.keep());
        let kept = std::mem::replace(&mut state.kept, none);
        self.changed(&mut state);
        drop(state);
        kept.len()
    }

    /// The reader of the back pipe goes: so does that of the front pipe, for its writer to see.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        let none = Kept::new(state.kept.keep());
        let kept = std::mem::replace(&mut state.kept, none);
        let ends = (state.front.take(), kept, state.writer.take());
        self.changed(&mut state);
        drop(state);
        drop(ends);
    }
}

/// Something was published to the front pipe.
struct Published(Arc<Conflation>);

impl Signal for Published {
    fn signal(&self) {
        self.0.run();
    }
}

#[cfg(not(loom))]
fn signal(conflation: Arc<Conflation>) -> Arc<dyn Signal> {
    Arc::new(Published(conflation))
}

#[cfg(loom)]
fn signal(conflation: Arc<Conflation>) -> Arc<dyn Signal> {
    let signal: std::sync::Arc<dyn Signal> = std::sync::Arc::new(Published(conflation));
    Arc::from_std(signal)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io::IoSlice;

    use proptest::prelude::*;

    use super::*;
    use crate::message::Message;

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Signal for Count {
        fn signal(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ends() -> (Writer, Reader, Arc<AtomicU64>) {
        let replaced = Arc::new(AtomicU64::new(0));
        let (writer, reader) = conflating(Tuning::WIRE, Terms::newest(&replaced));
        (writer, reader, replaced)
    }

    fn send(writer: &mut Writer, message: impl Into<Message>) {
        assert!(writer.has_credit(), "nobody waits");
        writer.append_message(&message.into());
        writer.publish_and_signal();
    }

    fn lent(reader: &mut Reader) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 4];
        let count = reader.lend(1000, &mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn the_newest_is_read() {
        let (mut w, mut r, replaced) = ends();
        assert!(!r.has_data());
        assert!(r.read_message().is_none());
        for n in 0..1000u32 {
            send(&mut w, n.to_le_bytes());
        }
        assert!(r.has_data());
        assert_eq!(r.queued_messages(), 1);
        // A look does not fix what is read.
        send(&mut w, Message::multipart(["last", "of all"]));
        assert_eq!(
            r.read_message(),
            Some(Message::multipart(["last", "of all"]))
        );
        assert!(r.read_message().is_none());
        assert_eq!(replaced.load(Ordering::Relaxed), 1000);
        assert_eq!(r.queued_messages(), 0);
    }

    #[test]
    fn a_pump_writes_the_newest() {
        let (mut w, mut r, _) = ends();
        send(&mut w, "1");
        send(&mut w, "2");
        assert_eq!(lent(&mut r), b"\x00\x012");
        // What is being written is written to its end, however much comes meanwhile.
        send(&mut w, "3");
        send(&mut w, "4");
        r.consume(1);
        assert_eq!(lent(&mut r), b"\x012");
        r.consume(2);
        assert_eq!(lent(&mut r), b"\x00\x014");
        r.consume(3);
        assert_eq!(lent(&mut r), b"");
    }

    #[test]
    fn a_sleeping_reader_is_woken_once() {
        let (mut w, mut r, _) = ends();
        let woken = Arc::new(Count::default());
        r.set_signal(Arc::clone(&woken) as Arc<dyn Signal>);
        assert!(!r.arm());
        assert!(!r.stay_awake());
        send(&mut w, "a");
        send(&mut w, "b");
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(r.read_message().unwrap().as_bytes(), b"b");
        assert!(!r.arm());
        assert!(!r.stay_awake());
    }

    #[test]
    fn the_end_of_either_side_is_seen() {
        let (mut w, mut r, _) = ends();
        send(&mut w, "a");
        send(&mut w, "b");
        drop(w);
        assert!(!r.is_finished());
        assert_eq!(r.read_message().unwrap().as_bytes(), b"b");
        assert!(r.is_finished());

        let (mut w, r, _) = ends();
        send(&mut w, "a");
        drop(r);
        assert!(w.is_reader_closed());
    }

    #[test]
    fn a_plain_pipe_can_be_made_to_conflate() {
        let limits = Limits {
            messages: 3,
            bytes: 1000,
        };
        let (mut w, r) = pipe(limits, Tuning::INPROC);
        for n in ["1", "2", "3"] {
            send(&mut w, n);
        }
        assert!(!w.has_credit());
        let mut r = conflate(r, Tuning::INPROC, Terms::newest(&Arc::default()));
        assert_eq!(r.read_message().unwrap().as_bytes(), b"3");
        for n in ["4", "5", "6", "7", "8"] {
            send(&mut w, n);
        }
        assert_eq!(r.read_message().unwrap().as_bytes(), b"8");
        assert!(r.read_message().is_none());
    }

    proptest! {
        /// Reads see the newest message written, each at most once; what is lent stays.
        #[test]
        fn behaves_as_one_place(ops in prop::collection::vec(0..6u8, 0..200)) {
            let (mut w, mut r, replaced) = ends();
            let mut written = 0u32;
            let mut place = None;
            let mut lost = 0;
            for op in ops {
                match op {
                    0..=2 => {
                        written += 1;
                        lost += u64::from(place.replace(written).is_some());
                        let size = if op == 2 { 20_000 } else { 4 };
                        let mut payload = vec![op; size];
                        payload[..4].copy_from_slice(&written.to_le_bytes());
                        send(&mut w, payload);
                    }
                    3 => {
                        let read = r.read_message().map(|message| {
                            u32::from_le_bytes(message.as_bytes()[..4].try_into().unwrap())
                        });
                        prop_assert_eq!(read, place.take());
                    }
                    4 => prop_assert_eq!(r.has_data(), place.is_some()),
                    _ => {
                        let _ = r.arm();
                        prop_assert_eq!(r.stay_awake(), place.is_some());
                    }
                }
                prop_assert_eq!(r.queued_messages(), u64::from(place.is_some()));
                prop_assert_eq!(replaced.load(Ordering::Relaxed), lost);
            }
        }
    }
}
