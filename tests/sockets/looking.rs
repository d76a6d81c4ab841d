//! Requests one after the other, whose replies the caller of a [`Requester`] looks for itself: what its thread does for others
//! is not lost in between.

use std::sync::mpsc::channel;

use sinew::{Message, RecvError, RequestError, Requester, Router};

use crate::support::{await_true, number_of, numbered, task, KINDS, LONG};

/// Enough for the caller to be in lock-step.
const ROUNDS: u32 = 100;

/// Makes requests until there have been so many, and has something else done now and then before one.
fn in_lock_step(requester: &Requester, rounds: u32, mut between: impl FnMut(u32)) {
    for n in 0..rounds {
        between(n);
        let reply = requester.request(numbered(0, n)).unwrap();
        assert_eq!(number_of(&reply), (0, n));
    }
}

/// Answers so many requests with themselves; the names of their senders.
fn answer(router: &mut Router, count: u32) -> Message {
    let mut last = None;
    for _ in 0..count {
        let (from, request) = router.recv_from_timeout(LONG).unwrap();
        router.send_to(&from, request).unwrap();
        last = Some(Message::new(from.as_bytes()));
    }
    last.unwrap()
}

#[test]
fn requests_of_others_are_answered_in_between() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let requester = (Requester::builder())
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        const OTHERS: u32 = 4 * ROUNDS / 10;
        let server = task(move || {
            answer(&mut router, 4 * ROUNDS + 2 * OTHERS);
            router
        });
        let (tell, told) = channel();
        let other = requester.clone();
        let waiting = task(move || {
            let mut answered = 0;
            while let Ok(n) = told.recv_timeout(LONG) {
                let request = other.submit(numbered(1, n));
                assert_eq!(number_of(&request.wait().unwrap()), (1, n));
                answered += 1;
            }
            answered
        });
        in_lock_step(&requester, 4 * ROUNDS, |n| {
            if n % 10 == 0 {
                // At the same time as the next one, and before it.
                tell.send(n).unwrap();
                let request = requester.submit(numbered(2, n));
                if n % 20 == 0 {
                    // Its reply comes without anybody waiting.
                    await_true("it ends", || requester.outstanding() == 0);
                }
                assert_eq!(number_of(&request.wait().unwrap()), (2, n));
            }
        });
        drop(tell);
        assert_eq!(waiting.join(), OTHERS, "{net:?}");
        server.join();
    }
}

/// Nobody makes requests any more, and what comes is dealt with all the same.
#[test]
fn what_comes_when_nobody_looks_is_received() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let requester = (Requester::builder())
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        for round in 1..=5 {
            let server = task(move || {
                let from = answer(&mut router, ROUNDS);
                (router, from)
            });
            in_lock_step(&requester, ROUNDS, |_| {});
            let (back, from) = server.join();
            router = back;
            router.send_to(from.as_bytes(), "unasked").unwrap();
            await_true("it is received", || {
                requester.stats().dropped_unexpected == round
            });
        }
    }
}

#[test]
fn who_looks_is_told_that_the_peer_is_lost_or_the_requester_closed() {
    for &net in KINDS {
        for closes in [false, true] {
            let mut router = Router::builder().bind(net.fresh()).unwrap();
            let requester = (Requester::builder().request_timeout(None))
                .connect(&router.bound_endpoints()[0])
                .unwrap();
            let other = requester.clone();
            let server = task(move || {
                answer(&mut router, ROUNDS);
                router.recv_from_timeout(LONG).unwrap();
                match closes {
                    true => drop(other.close()),
                    false => drop(router),
                }
            });
            in_lock_step(&requester, ROUNDS, |_| {});
            let expected = match closes {
                true => RecvError::Closed,
                false => RecvError::PeerLost,
            };
            let ended = requester.request("the last");
            assert_eq!(ended, Err(RequestError::Recv(expected)), "{net:?}");
            server.join();
        }
    }
}
