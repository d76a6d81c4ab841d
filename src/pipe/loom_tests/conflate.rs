//! Models of conflation: whatever the reader does meanwhile, the newest message is read in the end, and no wait is
//! for ever.

use super::*;

fn ends() -> (Sender, Receiver, Arc<AtomicU64>) {
    let replaced = Arc::new(AtomicU64::new(0));
    let terms = terms(0, &replaced);
    let (sender, receiver) = dressed(conflating(TINY, terms));
    (sender, receiver, replaced)
}

/// Topics are so many octets long.
fn terms(prefix: usize, replaced: &Arc<AtomicU64>) -> Terms {
    Terms {
        keep: Keep {
            prefix,
            limits: UNLIMITED,
        },
        replaced: Arc::clone(replaced),
        crowded_out: Box::new(|messages| panic!("{messages} gave way")),
        held: None,
    }
}

/// Which of the messages 1 to `last` this is.
fn number(message: &Message, last: u8) -> u8 {
    (1..=last)
        .find(|n| *message == spanning(*n))
        .expect("one of those sent, whole")
}

#[test]
fn loom_the_newest_is_read_in_the_end() {
    check(2, || {
        let (mut w, mut r, replaced) = ends();
        let t = thread::spawn(move || {
            for n in 1..=3 {
                assert!(w.send(&spanning(n)));
            }
        });
        let mut read = Vec::new();
        while let Some(message) = r.recv() {
            read.push(number(&message, 3));
        }
        t.join().unwrap();
        assert!(read.windows(2).all(|two| two[0] < two[1]), "{read:?}");
        assert_eq!(read.last(), Some(&3));
        let replaced = replaced.load(Ordering::Relaxed);
        assert_eq!(read.len() as u64 + replaced, 3, "{read:?}");
    });
}

/// A reader that sleeps is woken although nothing else is ever sent, and the writer stays.
#[test]
fn loom_a_sleeping_reader_is_woken_for_the_newest() {
    check(3, || {
        let (mut w, mut r, _) = ends();
        let t = thread::spawn(move || {
            assert!(w.send(&small(1)));
            assert!(w.send(&small(2)));
            w
        });
        while r.recv() != Some(small(2)) {}
        let w = t.join().unwrap();
        assert!(r.pipe.read_message().is_none());
        drop(w);
        assert!(r.recv().is_none());
    });
}

/// What a pump has begun to write is written to its end, and the newest after it.
#[test]
fn loom_a_pump_finishes_what_it_has_begun() {
    check(2, || {
        let (mut w, mut r, _) = ends();
        let t = thread::spawn(move || {
            assert!(w.send(&spanning(1)));
            assert!(w.send(&small(2)));
        });
        let mut written = Vec::new();
        while let Some(octets) = r.pump(4) {
            written.extend(octets);
        }
        t.join().unwrap();
        let both = wire(&[spanning(1), small(2)]);
        assert!(
            written == both || written == wire(&[small(2)]),
            "{written:?}"
        );
    });
}

/// Either end may go at any moment: the other sees it, and nothing is leaked.
#[test]
fn loom_the_end_of_the_reader_is_seen() {
    check(3, || {
        let (mut w, mut r, _) = ends();
        let t = thread::spawn(move || {
            let _ = r.pipe.read_message();
            drop(r);
        });
        w.send(&small(1));
        w.send(&spanning(2));
        t.join().unwrap();
        assert!(w.pipe.is_reader_closed());
    });
}

/// A plain pipe is made one that conflates while its writer is at work.
#[test]
fn loom_a_pipe_turns_while_it_is_written_to() {
    check(2, || {
        let (mut w, r) = super::ends(UNLIMITED);
        let t = thread::spawn(move || {
            assert!(w.send(&small(1)));
            assert!(w.send(&small(2)));
        });
        let replaced = Arc::new(AtomicU64::new(0));
        let Receiver { pipe, event } = r;
        let pipe = conflate(pipe, TINY, terms(0, &replaced));
        pipe.set_signal(signal_of(&event));
        let mut r = Receiver { pipe, event };
        let mut last = None;
        while let Some(message) = r.recv() {
            last = Some(message);
        }
        t.join().unwrap();
        assert_eq!(last, Some(small(2)));
    });
}

/// Of each topic the newest is read in the end, topics in the order in which they came, and what is held counts
/// in a budget for as long as it is held.
#[test]
fn loom_the_newest_of_each_topic_is_read_in_the_end() {
    check(2, || {
        let replaced = Arc::new(AtomicU64::new(0));
        let budget = Arc::new(Budget::new(u64::MAX));
        let terms = Terms {
            held: Some(Held::new(&budget)),
            ..terms(1, &replaced)
        };
        let (mut w, mut r) = dressed(conflating(TINY, terms));
        let sent = ["a1", "b1", "a2"];
        let t = thread::spawn(move || {
            for message in sent {
                assert!(w.send(&Message::from(message)));
            }
        });
        let mut read = Vec::new();
        while let Some(message) = r.recv() {
            let text = sent
                .iter()
                .find(|text| message.as_bytes() == text.as_bytes());
            read.push(*text.expect("one of those sent"));
        }
        t.join().unwrap();
        match replaced.load(Ordering::Relaxed) {
            0 => assert_eq!(read, sent),
            _ => assert_eq!(read, ["a2", "b1"]),
        }
        assert_eq!(budget.used(), 0);
    });
}
