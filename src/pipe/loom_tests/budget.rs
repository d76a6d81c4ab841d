//! Models of a budget: leases come back whatever the writer does meanwhile, and nobody waits for ever.

use super::*;

/// Less than two messages of two octets: with the steps there are, a writer is soon refused.
const SMALL: u64 = 6;

fn ends_within(budget: &Arc<Budget>, limits: Limits) -> (Sender, Receiver) {
    dressed(pipe_within(Some(Arc::clone(budget)), limits, TINY))
}

/// A reader reads everything and sleeps while the writer publishes and looks for credit: in the end, with
/// both ends there, nothing is counted.
#[test]
fn loom_a_lease_comes_back_while_its_writer_is_at_work() {
    check(3, || {
        let budget = Arc::new(Budget::new(u64::MAX));
        let (mut w, mut r) = ends_within(&budget, UNLIMITED);
        let t = thread::spawn(move || {
            for id in 1..=2 {
                assert!(w.send(&small(id)));
            }
            // Looks once more, whether the reader has read everything or not.
            let _ = w.pipe.has_credit();
            w
        });
        for id in 1..=2 {
            assert_eq!(r.recv(), Some(small(id)));
        }
        // It finds nothing more, and goes to sleep.
        if r.pipe.read_message().is_none() && r.pipe.arm() {
            barrier::heavy();
        }
        assert!(!r.pipe.stay_awake());
        let w = t.join().unwrap();
        assert_eq!(budget.used(), 0);
        drop((w, r));
        assert_eq!(budget.used(), 0);
    });
}

/// As above, for a pump.
#[test]
fn loom_a_lease_comes_back_from_a_pump() {
    check(2, || {
        let budget = Arc::new(Budget::new(u64::MAX));
        let (mut w, mut r) = ends_within(&budget, UNLIMITED);
        let t = thread::spawn(move || {
            assert!(w.send(&small(1)));
            assert!(w.send(&spanning(2)));
            let _ = w.pipe.has_credit();
            w
        });
        let all = wire(&[small(1), spanning(2)]);
        let mut written = Vec::new();
        while written.len() < all.len() {
            written.extend(r.pump(4).expect("the writer is there"));
        }
        assert_eq!(written, all);
        assert!(lend_and_consume(&mut r.pipe, 4).is_empty());
        let w = t.join().unwrap();
        assert_eq!(budget.used(), 0);
        drop((w, r));
    });
}

/// What one pipe holds is more than there is: the writer of the other waits, and is woken when its own reader
/// takes something. It does so without ever sleeping itself.
#[test]
fn loom_a_writer_refused_by_the_budget_is_woken() {
    check(2, || {
        let budget = Arc::new(Budget::new(SMALL));
        let (mut stuck, _unread) = ends_within(&budget, UNLIMITED);
        assert!(stuck.send(&small(0)));
        assert!(stuck.send(&small(0)));
        let (mut w, mut r) = ends_within(&budget, UNLIMITED);
        let t = thread::spawn(move || {
            for id in 0..3 {
                assert!(w.send(&small(id)));
                assert!(w.pipe.queued_messages() <= 2);
            }
        });
        for id in 0..3 {
            assert_eq!(r.recv(), Some(small(id)));
        }
        assert_eq!(r.recv(), None);
        t.join().unwrap();
    });
}

/// Two pipes, each with a thread of its own at either end of the budget: nothing leaks, and nothing is given back
/// twice, which would make a count below zero.
#[test]
fn loom_two_writers_share_a_budget() {
    check(2, || {
        let budget = Arc::new(Budget::new(SMALL));
        let (mut w1, r1) = ends_within(&budget, UNLIMITED);
        let (mut w2, r2) = ends_within(&budget, UNLIMITED);
        let t = thread::spawn(move || {
            w1.send(&small(1));
            drop(r1);
            let _ = w1.pipe.has_credit();
        });
        w2.send(&small(2));
        drop(w2);
        drop(r2);
        t.join().unwrap();
        assert_eq!(budget.used(), 0);
    });
}
