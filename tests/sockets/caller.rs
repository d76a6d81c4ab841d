//! Receiving on the caller's own thread: what a `recv` that waits reads itself, and how the I/O threads
//! take over when it stays away.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use sinew::{Dealer, Heartbeat, Pull, Push, RecvError, Rep, Req, Router, SocketEvent};

use crate::support::{await_true, number_of, numbered, task, Net, LONG, SHORT, STREAMS};

/// The receiver waits once, so that reading is its own, and then stays away.
#[test]
fn a_receiver_that_stays_away_is_relieved() {
    for &net in STREAMS {
        let mut pull = Pull::builder()
            .heartbeat(Heartbeat::every(Duration::from_millis(10)).timeout(LONG))
            .bind(net.fresh())
            .unwrap();
        let mut push = Push::builder()
            .heartbeat(Heartbeat::every(Duration::from_millis(10)).timeout(LONG))
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        let mut monitor = pull.monitor();
        push.wait_for_peers(1, LONG).unwrap();
        for round in 0..5 {
            assert_eq!(pull.recv_timeout(SHORT), Err(RecvError::Timeout));
            for n in 0..500 {
                push.send(numbered(round, n)).unwrap();
            }
            // Octets arrive though nobody receives.
            let before = pull.stats().bytes_received;
            await_true("an I/O thread reads", || {
                pull.stats().bytes_received >= before.max(u64::from(round + 1) * 500 * 66)
            });
            // And pings are answered meanwhile.
            let pinged = push.stats().bytes_received;
            await_true("heartbeats go on", || {
                push.stats().bytes_received > pinged + 50
            });
            for n in 0..500 {
                assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (round, n));
            }
        }
        while let Some(event) = monitor.try_recv() {
            let lost = matches!(event, SocketEvent::Disconnected { .. });
            assert!(!lost, "{net:?}: {event:?}");
        }
    }
}

#[test]
fn a_socket_goes_from_thread_to_thread() {
    for &net in STREAMS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        let sender = task(move || {
            for n in 0..50_000 {
                push.send(numbered(0, n)).unwrap();
            }
            push.close().unsent
        });
        for part in 0..50 {
            pull = task(move || {
                for n in part * 1000..(part + 1) * 1000 {
                    assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
                }
                pull
            })
            .join();
        }
        assert_eq!(sender.join(), 0);
    }
}

#[test]
fn a_timeout_loses_nothing() {
    for &net in STREAMS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        let (timed_out, go_on) = channel();
        let sender = task(move || {
            // One for each time-out, more or less: they come in all phases of a wait.
            for n in 0..300 {
                let _ = go_on.recv_timeout(LONG);
                push.send(numbered(0, n)).unwrap();
            }
            push.close().unsent
        });
        let mut next = 0;
        while next < 300 {
            match pull.recv_timeout(Duration::from_millis(1)) {
                Ok(message) => {
                    assert_eq!(number_of(&message), (0, next));
                    next += 1;
                }
                Err(error) => {
                    assert_eq!(error, RecvError::Timeout);
                    let _ = timed_out.send(());
                }
            }
        }
        assert_eq!(sender.join(), 0);
    }
}

#[test]
fn a_polling_loop_sees_every_message() {
    for &net in STREAMS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        // Reading is the caller's when the polling begins.
        push.send(numbered(0, 0)).unwrap();
        pull.recv_timeout(LONG).unwrap();
        for n in 1..100 {
            push.send(numbered(0, n)).unwrap();
            let mut received = None;
            await_true("it is seen", || {
                received = pull.try_recv().ok();
                received.is_some()
            });
            assert_eq!(number_of(&received.unwrap()), (0, n));
            if n % 10 == 0 {
                assert_eq!(
                    pull.recv_timeout(Duration::from_millis(1)),
                    Err(RecvError::Timeout)
                );
            }
        }
    }
}

/// The caller reads up to four connections itself.
#[test]
fn around_the_limit_of_connections() {
    for &net in STREAMS {
        for peers in 3..=6 {
            let mut pull = Pull::builder().bind(net.fresh()).unwrap();
            let endpoint = pull.bound_endpoints()[0].clone();
            let mut pushes: Vec<_> = (0..peers)
                .map(|_| Push::builder().connect(&endpoint).unwrap())
                .collect();
            pull.wait_for_peers(peers, LONG).unwrap();
            for n in 0..300 {
                for (sender, push) in (0..).zip(&mut pushes) {
                    push.send(numbered(sender, n)).unwrap();
                    // One at a time, so that each is waited for.
                    let message = pull.recv_timeout(LONG).unwrap();
                    assert_eq!(number_of(&message), (sender, n), "{peers} peers");
                }
            }
        }
    }
}

#[test]
fn connections_come_and_go_across_the_limit() {
    for &net in STREAMS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        const STEADY: u32 = 3;
        const EACH: u32 = 3000;
        const GUESTS: u32 = 60;
        let mut tasks = Vec::new();
        for sender in 0..STEADY {
            let mut push = Push::builder().connect(&endpoint).unwrap();
            tasks.push(task(move || {
                for n in 0..EACH {
                    push.send(numbered(sender, n)).unwrap();
                }
                push.close().unsent
            }));
        }
        tasks.push(task(move || {
            let mut unsent = 0;
            for guest in 0..GUESTS / 3 {
                let guests: Vec<_> = (0..3)
                    .map(|n| {
                        let mut push = Push::builder().connect(&endpoint).unwrap();
                        for k in 0..20 {
                            push.send(numbered(STEADY + guest * 3 + n, k)).unwrap();
                        }
                        push
                    })
                    .collect();
                unsent += guests.into_iter().map(|p| p.close().unsent).sum::<u64>();
            }
            unsent
        }));
        let mut next = vec![0; (STEADY + GUESTS) as usize];
        for _ in 0..STEADY * EACH + GUESTS * 20 {
            let (sender, n) = number_of(&pull.recv_timeout(LONG).unwrap());
            assert_eq!(n, next[sender as usize], "of sender {sender}");
            next[sender as usize] += 1;
        }
        for task in tasks {
            assert_eq!(task.join(), 0);
        }
        assert_eq!(pull.stats().dropped_peer_lost, 0);
    }
}

#[test]
fn replies_come_while_peers_come_and_go() {
    for &net in STREAMS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let endpoint = rep.bound_endpoints()[0].clone();
        let mut guests: Vec<Req> = Vec::new();
        for n in 0..300 {
            if n % 5 == 0 {
                guests.push(Req::builder().connect(&endpoint).unwrap());
            }
            if guests.len() > 6 {
                guests.remove(0).close();
            }
            let at = n as usize % guests.len();
            guests[at].send(numbered(0, n)).unwrap();
            let request = rep.recv_timeout(LONG).unwrap();
            rep.send(request).unwrap();
            assert_eq!(number_of(&guests[at].recv_timeout(LONG).unwrap()), (0, n));
        }
    }
}

/// The peer's end is seen by a receiver that waits for it.
#[test]
fn the_end_of_a_connection_is_seen_by_a_waiting_receiver() {
    for net in [Net::Tcp4, Net::IpcWildcard] {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        let mut monitor = pull.monitor();
        for n in 0..20 {
            let mut push = Push::builder().connect(&endpoint).unwrap();
            push.send(numbered(0, n)).unwrap();
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
            let waiting = task(move || {
                let next = pull.recv_timeout(LONG);
                (pull, next)
            });
            push.close();
            let seen = monitor.wait_for(LONG, |event| {
                matches!(event, SocketEvent::Disconnected { .. })
            });
            assert!(seen.is_some(), "{net:?}");
            let mut push = Push::builder().connect(&endpoint).unwrap();
            push.send(numbered(1, n)).unwrap();
            let (back, next) = waiting.join();
            pull = back;
            assert_eq!(number_of(&next.unwrap()), (1, n));
            push.close();
            monitor.wait_for(LONG, |event| {
                matches!(event, SocketEvent::Disconnected { .. })
            });
        }
    }
}

/// Messages and calls of another thread in any order: each ends the wait, and none is lost.
#[test]
fn a_wait_ends_for_a_message_and_for_an_interrupt() {
    const ROUNDS: usize = 300;
    let looks = STREAMS.iter().map(|&net| (net, false));
    for (net, busy_poll) in
        looks.chain([(Net::Inproc, false), (Net::Inproc, true), (Net::Tcp4, true)])
    {
        let mut router = (Router::builder().busy_poll(busy_poll))
            .bind(net.fresh())
            .unwrap();
        let mut dealer = Dealer::builder()
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        assert!(
            !router.wait_readable(Some(Instant::now() + SHORT)),
            "over {net:?}: nothing comes"
        );
        let interrupter = router.interrupter();
        let (tell, told) = channel();
        let (seen, go_on) = channel();
        let other = std::thread::spawn(move || {
            for round in 0..ROUNDS {
                match round % 2 {
                    0 => dealer.send("message").unwrap(),
                    _ => {
                        tell.send(()).unwrap();
                        interrupter.wake_by_ref();
                    }
                }
                // Now and then the other side sleeps in between, and mostly it does not.
                if round % 7 == 0 {
                    go_on.recv_timeout(LONG).unwrap();
                }
            }
            dealer
        });
        let (mut messages, mut interrupts) = (0, 0);
        while messages + interrupts < ROUNDS {
            let readable = router.wait_readable(Some(Instant::now() + LONG));
            interrupts += told.try_iter().count();
            if readable {
                assert!(router.wait_readable(None), "it takes nothing");
                router.try_recv_from().unwrap();
                messages += 1;
            }
            // Each round that waits is told of all that was before it.
            let _ = seen.send(());
        }
        assert_eq!((messages, interrupts), (ROUNDS / 2, ROUNDS / 2));
        drop(other.join().unwrap());
    }
}
