//! Waiting for several sockets at once.

use std::thread;
use std::time::{Duration, Instant};

use sinew::{Dealer, Poller, Router, SocketEvent};

use crate::support::LONG;

/// A message at either of two sockets ends the wait, over each transport, however often; nothing is missed.
#[test]
fn a_message_at_any_of_them() {
    for wild in [
        ["tcp://127.0.0.1:*"; 2],
        ["ipc://*"; 2],
        ["inproc://poller-one", "inproc://poller-two"],
    ] {
        let mut routers = [Router::new(), Router::new()];
        let [one, two] = &mut routers;
        let endpoints = [one.bind(wild[0]).unwrap(), two.bind(wild[1]).unwrap()];
        let thread = thread::spawn(move || {
            let mut dealers = endpoints.map(|at| Dealer::builder().connect(&at).unwrap());
            for turn in 0..200usize {
                let dealer = &mut dealers[turn % 2];
                dealer.send(turn.to_string()).unwrap();
                // In lock-step, so that each message has to wake the other side anew.
                let reply = dealer.recv_timeout(LONG).unwrap();
                assert_eq!(reply.as_bytes(), turn.to_string().as_bytes());
            }
        });
        let mut poller = Poller::new();
        let mut echoed = 0;
        while echoed < 200 {
            let [one, two] = &mut routers;
            assert!(poller.wait_timeout(&mut [one, two], LONG), "{wild:?}");
            for router in &mut routers {
                while let Ok((from, message)) = router.try_recv_from() {
                    router.send_to(&from, message).unwrap();
                    echoed += 1;
                }
            }
        }
        thread.join().unwrap();
    }
}

#[test]
fn what_was_not_received_ends_the_next_wait_at_once() {
    let mut router = Router::new();
    let endpoint = router.bind("tcp://127.0.0.1:*").unwrap();
    let mut dealer = Dealer::builder().connect(&endpoint).unwrap();
    dealer.send("one").unwrap();
    dealer.send("two").unwrap();
    let mut poller = Poller::new();
    router.recv_from_timeout(LONG).unwrap();
    let mut received = 0;
    while received < 1 {
        assert!(poller.wait_timeout(&mut [&mut router], LONG));
        received += usize::from(router.try_recv_from().is_ok());
    }
}

#[test]
fn an_event_of_a_monitor() {
    let mut router = Router::new();
    let endpoint = router.bind("tcp://127.0.0.1:*").unwrap();
    let mut monitor = router.monitor();
    let thread = thread::spawn(move || Dealer::builder().connect(&endpoint).unwrap());
    let mut poller = Poller::new();
    loop {
        assert!(poller.wait_timeout(&mut [&mut monitor], LONG));
        let mut events = std::iter::from_fn(|| monitor.try_recv());
        if events.any(|event| matches!(event, SocketEvent::HandshakeSucceeded { .. })) {
            break;
        }
    }
    drop(thread.join().unwrap());
}

#[test]
fn another_thread_wakes_it_and_the_time_is_over() {
    let mut router = Router::new();
    let mut poller = Poller::new();
    assert!(!poller.wait_deadline(&mut [&mut router], Instant::now()));
    assert!(!poller.wait_timeout(&mut [], Duration::from_millis(1)));
    let waker = poller.waker();
    // Before the wait it counts for it, and twice is once.
    waker.wake();
    waker.wake();
    assert!(poller.wait_timeout(&mut [&mut router], LONG));
    let thread = thread::spawn(move || waker.wake());
    poller.wait(&mut [&mut router]);
    thread.join().unwrap();
}
