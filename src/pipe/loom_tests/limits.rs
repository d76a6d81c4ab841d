//! Models of limits that the reader changes while the writer is at work: one who waits for room is woken by what
//! makes room, and nobody goes beyond what it has been told.

use super::*;
use crate::sync::atomic::{AtomicBool, Ordering};

fn messages(messages: u64) -> Limits {
    Limits {
        messages,
        ..UNLIMITED
    }
}

/// Both ends of a pipe whose limits are its reader's.
fn ends_of_reader(limits: Limits) -> (Sender, Receiver) {
    let (w, mut r) = ends(limits);
    r.pipe.claim_limits();
    (w, r)
}

/// The reader takes nothing: all that can wake the writer is that it may send more.
fn a_raise_wakes(before: Limits, after: Limits) {
    check(3, move || {
        let (mut w, mut r) = ends_of_reader(before);
        let t = thread::spawn(move || {
            for id in 1..=2 {
                assert!(w.send(&small(id)));
            }
            assert_eq!(w.pipe.queued_messages(), 2);
        });
        r.pipe.set_limits(after);
        t.join().unwrap();
        for id in 1..=2 {
            assert_eq!(r.recv(), Some(small(id)));
        }
        assert_eq!(r.recv(), None);
    });
}

#[test]
fn loom_limits_a_writer_without_credit_is_woken_by_more() {
    a_raise_wakes(messages(1), messages(2));
}

#[test]
fn loom_limits_a_writer_without_byte_credit_is_woken_by_more() {
    let bytes = |bytes| Limits { bytes, ..UNLIMITED };
    a_raise_wakes(bytes(1), bytes(100));
}

/// The reader takes one message, and allows one more: together, and only together, that is room for all.
#[test]
fn loom_limits_what_is_read_and_what_is_allowed_add_up() {
    check(2, || {
        let (mut w, mut r) = ends_of_reader(messages(1));
        let t = thread::spawn(move || {
            for id in 1..=3 {
                assert!(w.send(&small(id)));
                assert!(w.pipe.queued_messages() <= 2);
            }
        });
        assert_eq!(r.recv(), Some(small(1)));
        r.pipe.set_limits(messages(2));
        t.join().unwrap();
        for id in 2..=3 {
            assert_eq!(r.recv(), Some(small(id)));
        }
    });
}

/// A writer that has been told to count anew keeps to the lower limit, and is woken for each message that makes room
/// within it, though the reader had told of several at once before.
#[test]
fn loom_limits_less_is_kept_and_loses_no_wakeup() {
    check(2, || {
        let (mut w, mut r) = ends_of_reader(messages(4));
        let lowered = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&lowered);
        let t = thread::spawn(move || {
            for id in 1..=3 {
                let low = told.load(Ordering::Acquire);
                if low {
                    w.pipe.recount();
                }
                assert!(w.send(&small(id)));
                assert!(w.pipe.queued_messages() <= if low { 1 } else { 3 });
            }
        });
        r.pipe.set_limits(messages(1));
        lowered.store(true, Ordering::Release);
        for id in 1..=3 {
            assert_eq!(r.recv(), Some(small(id)));
        }
        assert_eq!(r.recv(), None);
        t.join().unwrap();
    });
}

/// The reader takes its limit back while the writer waits at it, and goes.
#[test]
fn loom_limits_change_and_the_reader_goes() {
    check(2, || {
        let (mut w, mut r) = ends_of_reader(messages(1));
        let t = thread::spawn(move || {
            let mut sent = 0;
            while sent < 3 && w.send(&small(sent)) {
                sent += 1;
            }
            // The first fits in any case, unless there is nobody by then.
            assert!(sent < 3);
        });
        r.pipe.set_limits(messages(2));
        drop(r);
        t.join().unwrap();
    });
}
