//! Who is woken, and when: futures that move, tasks that never come back, many sockets on one thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use sinew::{
    Dealer, Message, Monitor, Pub, Pull, Push, Rep, Req, Router, RoutingId, SocketEvent, Sub,
};

use crate::support::{
    block_on, fresh, number_of, numbered, watched, Executor, Tally, LONG, TRANSPORTS,
};

fn pipeline(transport: &str) -> (Push, Pull) {
    let mut pull = Pull::new();
    let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
    let mut push = Push::builder().connect(&endpoint).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    // The pull has its peer too, once something has come from it.
    push.send("first").unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"first");
    (push, pull)
}

/// Polls with a waker; whether it is done.
fn poll<F: Future>(future: std::pin::Pin<&mut F>, tally: &Arc<Tally>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&tally.waker()))
}

#[test]
fn the_last_waker_counts() {
    for transport in TRANSPORTS {
        let (mut push, mut pull) = pipeline(transport);
        let (former, latter) = (Tally::new(), Tally::new());
        let mut receiving = pin!(pull.recv_async());
        assert!(poll(receiving.as_mut(), &former).is_pending());
        assert!(poll(receiving.as_mut(), &latter).is_pending());
        push.send("x").unwrap();
        latter.wait(1);
        assert_eq!(former.count(), 0);
        let Poll::Ready(message) = poll(receiving.as_mut(), &former) else {
            panic!("woken for nothing");
        };
        assert_eq!(message.unwrap().as_bytes(), b"x");
    }
}

/// A task in lock-step looks for its message for a while, and has itself polled again for that; then it sleeps. Others sleep
/// at once.
#[test]
fn a_task_in_lock_step_looks_before_it_sleeps() {
    let looks = thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    for transport in TRANSPORTS {
        let mut rep = Rep::new();
        let endpoint = rep.bind(fresh(transport).as_str()).unwrap();
        let mut req = Req::builder().connect(&endpoint).unwrap();
        req.send("first").unwrap();
        assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"first");
        rep.send("reply").unwrap();
        req.recv_timeout(LONG).unwrap();
        {
            let tally = Tally::new();
            let mut receiving = pin!(rep.recv_async());
            assert!(poll(receiving.as_mut(), &tally).is_pending());
            assert_eq!(tally.count() > 0, looks, "{transport}: to look again");
            // As an executor does: until it was not woken.
            let mut polls = 1;
            while tally.count() == polls {
                assert!(poll(receiving.as_mut(), &tally).is_pending());
                polls += 1;
            }
            let asleep = tally.count();
            for _ in 0..100 {
                assert!(poll(receiving.as_mut(), &tally).is_pending());
            }
            assert_eq!(tally.count(), asleep, "{transport}: one while in a wait");
            req.send("x").unwrap();
            tally.wait(asleep + 1);
            let message = block_on(receiving).unwrap();
            assert_eq!(message.as_bytes(), b"x");
        }
        rep.send("reply").unwrap();
        req.recv_timeout(LONG).unwrap();
        // Dropped while it looks: whoever asks next has what comes.
        let _ = poll(pin!(rep.recv_async()), &Tally::new());
        req.send("y").unwrap();
        assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"y");

        let (_push, mut pull) = pipeline(transport);
        let tally = Tally::new();
        assert!(poll(pin!(pull.recv_async()), &tally).is_pending());
        assert_eq!(tally.count(), 0, "{transport}: not in lock-step");
    }
}

/// A peer of a ROUTER that is full wakes who asked about it when it has room, and when it is gone.
#[test]
fn one_peer_of_a_router_has_room() {
    let mut router = Router::builder().send_hwm(1).build().unwrap();
    let endpoint = router.bind(fresh("inproc").as_str()).unwrap();
    let mut dealers: Vec<Dealer> = ["full", "free"]
        .map(|name| {
            let builder = Dealer::builder()
                .recv_hwm(1)
                .routing_id(RoutingId::new(name).unwrap());
            let mut dealer = builder.connect(&endpoint).unwrap();
            dealer.send("here").unwrap();
            router.recv_timeout(LONG).unwrap();
            dealer
        })
        .into();
    let tally = Tally::new();
    let waker = tally.waker();
    let ready = |router: &mut Router, peer: &str| {
        let mut context = Context::from_waker(&waker);
        router.poll_ready_to(&mut context, peer).is_ready()
    };
    let mut sent = 0;
    while router.try_send_to("full", "x").is_ok() {
        sent += 1;
    }
    assert!(sent > 0);
    assert!(!ready(&mut router, "full"));
    assert!(ready(&mut router, "free") && ready(&mut router, "nobody"));
    for _ in 0..sent {
        dealers[0].recv_timeout(LONG).unwrap();
    }
    tally.wait(1);
    assert!(ready(&mut router, "full"));
    while router.try_send_to("full", "x").is_ok() {}
    let before = tally.count();
    assert!(!ready(&mut router, "full"));
    drop(dealers.remove(0));
    tally.wait(before + 1);
    assert!(
        ready(&mut router, "full"),
        "to send to it fails, and does not wait"
    );
}

/// Of many peers of a ROUTER that are full, those that have room are told, once each, and so are those that are gone.
#[test]
fn peers_of_a_router_that_are_watched_are_told_when_they_have_room() {
    let mut router = Router::builder().send_hwm(1).build().unwrap();
    let endpoint = router.bind(fresh("inproc").as_str()).unwrap();
    let names = ["a", "b", "c", "d"].map(|name| RoutingId::new(name).unwrap());
    let mut dealers: Vec<Dealer> = Vec::new();
    for name in &names {
        let builder = Dealer::builder().recv_hwm(1).routing_id(name.clone());
        let mut dealer = builder.connect(&endpoint).unwrap();
        dealer.send("here").unwrap();
        router.recv_timeout(LONG).unwrap();
        dealers.push(dealer);
    }
    let fill = |router: &mut Router, name: &RoutingId| {
        let mut sent = 0;
        while router.try_send_to(name, "x").is_ok() {
            sent += 1;
        }
        assert!(router.watch_room(name));
        sent
    };
    let tally = Tally::new();
    let waker = tally.waker();
    let poll = |router: &mut Router| router.poll_room(&mut Context::from_waker(&waker));
    assert!(poll(&mut router).is_pending(), "nobody is watched");
    let sent = names.each_ref().map(|name| fill(&mut router, name));
    assert!(poll(&mut router).is_pending());
    for _ in 0..sent[2] {
        dealers[2].recv_timeout(LONG).unwrap();
    }
    tally.wait(1);
    assert_eq!(poll(&mut router), Poll::Ready(names[2].clone()));
    assert!(poll(&mut router).is_pending(), "it is told once");
    drop(dealers.remove(3));
    tally.wait(2);
    assert_eq!(poll(&mut router), Poll::Ready(names[3].clone()));
    assert!(poll(&mut router).is_pending());
    for _ in 0..sent[0] {
        dealers[0].recv_timeout(LONG).unwrap();
    }
    // Who sends before it was told of the room changes nothing about that.
    router.send_to_timeout(&names[0], "waited", LONG).unwrap();
    for _ in 0..sent[1] {
        dealers[1].recv_timeout(LONG).unwrap();
    }
    dealers[0].recv_timeout(LONG).unwrap();
    let mut told = [router.try_room(), router.try_room()];
    told.sort();
    assert_eq!(told, [Some(names[0].clone()), Some(names[1].clone())]);
    assert_eq!(router.try_room(), None);
    // What has room is told at once; and once, however often it was asked about.
    assert!(router.watch_room(&names[2]) && router.watch_room(&names[2]));
    assert!(!router.watch_room(&names[3]), "it is gone");
    assert_eq!(router.try_room(), Some(names[2].clone()));
    assert_eq!(router.try_room(), None);
    // A higher mark is room, too.
    fill(&mut router, &names[1]);
    assert_eq!(router.try_room(), None);
    router.set_send_hwm(100).unwrap();
    assert_eq!(router.try_room(), Some(names[1].clone()));
}

#[test]
fn polls_for_nothing_change_nothing() {
    for transport in TRANSPORTS {
        let (mut push, mut pull) = pipeline(transport);
        let tally = Tally::new();
        let mut receiving = pin!(pull.recv_async());
        for _ in 0..1000 {
            assert!(poll(receiving.as_mut(), &tally).is_pending());
        }
        let before = tally.count();
        push.send("x").unwrap();
        tally.wait(before + 1);
        assert!(poll(receiving.as_mut(), &tally).is_ready());
    }
}

#[test]
fn a_task_that_never_comes_back_takes_nothing_along() {
    for transport in TRANSPORTS {
        let (mut push, mut pull) = pipeline(transport);
        for n in 0..100 {
            let gone = Tally::new();
            {
                let receiving = pin!(pull.recv_async());
                assert!(poll(receiving, &gone).is_pending());
            }
            push.send(numbered(n)).unwrap();
            // Its wake-up has been used up, or has not come yet; the message is there for whoever is next.
            if n % 3 == 0 {
                gone.wait(1);
            }
            let message = match n % 2 {
                0 => pull.recv_timeout(LONG),
                _ => watched_recv(&mut pull),
            };
            assert_eq!(number_of(&message.unwrap()), n);
        }
    }
}

fn watched_recv(pull: &mut Pull) -> Result<sinew::Message, sinew::RecvError> {
    let tally = Tally::new();
    let mut receiving = pin!(pull.recv_async());
    loop {
        let seen = tally.count();
        match poll(receiving.as_mut(), &tally) {
            Poll::Ready(received) => return received,
            Poll::Pending => tally.wait(seen + 1),
        }
    }
}

#[test]
fn attempts_that_do_not_wait_leave_the_wake_up_alone() {
    for transport in TRANSPORTS {
        let (mut push, mut pull) = pipeline(transport);
        let tally = Tally::new();
        let mut cx = Context::from_waker(&*Box::leak(Box::new(tally.waker())));
        assert!(pull.poll_recv(&mut cx).is_pending());
        for _ in 0..3 {
            assert!(pull.try_recv().is_err());
            assert!(pull.stats().messages_received > 0);
        }
        push.send("x").unwrap();
        tally.wait(1);
        assert!(pull.try_recv().is_ok());
    }
}

#[test]
fn a_sender_is_woken_when_there_is_room() {
    for transport in ["inproc", "tcp"] {
        let mut pull = Pull::builder().recv_hwm(2).build().unwrap();
        let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
        let mut push = Push::builder().send_hwm(2).connect(&endpoint).unwrap();
        let body = |n: u32| [&numbered(n)[..], &vec![0; 64 * 1024]].concat();
        for round in 0..10 {
            let (mut sent, tally) = (0, Tally::new());
            // Until one has to wait, and has been told nothing yet.
            loop {
                let seen = tally.count();
                let mut sending = pin!(push.send_async(body(sent)));
                match poll(sending.as_mut(), &tally) {
                    Poll::Ready(done) => {
                        done.unwrap();
                        sent += 1;
                        continue;
                    }
                    // The I/O thread may still make room; the end is when nobody reads.
                    Poll::Pending if tally.count() > seen => continue,
                    Poll::Pending => {}
                }
                let first = pull.recv_timeout(LONG).unwrap();
                assert_eq!(first.as_bytes()[..4], numbered(0));
                let mut next = 1;
                // It goes on when others are read.
                loop {
                    let seen = tally.count();
                    match poll(sending.as_mut(), &tally) {
                        Poll::Ready(done) => break done.unwrap(),
                        Poll::Pending => {}
                    }
                    if next < sent {
                        let message = pull.recv_timeout(LONG).unwrap();
                        assert_eq!(message.as_bytes()[..4], numbered(next));
                        next += 1;
                    } else {
                        tally.wait(seen + 1);
                    }
                }
                for n in next..=sent {
                    let message = pull.recv_timeout(LONG).unwrap();
                    assert_eq!(message.as_bytes()[..4], numbered(n), "round {round}");
                }
                break;
            }
        }
        assert!(pull.try_recv().is_err(), "none was sent twice");
    }
}

#[test]
fn a_wait_for_subscribers_can_be_given_up() {
    for transport in TRANSPORTS {
        let mut publisher = Pub::new();
        let endpoint = publisher.bind(fresh(transport).as_str()).unwrap();
        let tally = Tally::new();
        assert!(poll(pin!(publisher.wait_for_subscribers_async(1)), &tally).is_pending());
        assert!(poll(pin!(publisher.wait_for_peers_async(1)), &tally).is_pending());
        let mut sub = Sub::builder().connect(&endpoint).unwrap();
        sub.subscribe("").unwrap();
        tally.wait(1);
        publisher.wait_for_subscribers(1, LONG).unwrap();
        block_on(publisher.wait_for_subscribers_async(1));
        block_on(publisher.wait_for_peers_async(1));
    }
}

#[test]
fn a_monitor_wakes_the_last_task() {
    let mut pull = Pull::new();
    let mut monitor: Monitor = pull.monitor();
    let (former, latter) = (Tally::new(), Tally::new());
    assert!(poll(pin!(monitor.recv_async()), &former).is_pending());
    assert!(poll(pin!(monitor.recv_async()), &latter).is_pending());
    pull.bind("inproc://asy-monitor").unwrap();
    latter.wait(1);
    assert_eq!(former.count(), 0);
    let event = monitor.try_recv();
    assert!(
        matches!(event, Some(SocketEvent::Listening { .. })),
        "{event:?}"
    );
}

/// A future begun in one executor is finished in another.
#[test]
fn a_future_moves_between_executors() {
    for transport in TRANSPORTS {
        let (mut push, mut pull) = pipeline(transport);
        let mut receiving = Box::pin(async move { pull.recv_async().await.unwrap() });
        let begun = move || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            tokio.block_on(async {
                assert!(futures::poll!(receiving.as_mut()).is_pending());
            });
            smol::block_on(async {
                assert!(futures::poll!(receiving.as_mut()).is_pending());
            });
            thread::spawn(|| block_on(receiving))
        };
        let other = begun();
        push.send("x").unwrap();
        let message = watched(move || other.join().unwrap());
        assert_eq!(message.as_bytes(), b"x");
    }
}

#[test]
fn many_sockets_in_one_thread() {
    let runtime = || async {
        let tasks: Vec<_> = (0..64)
            .map(|index: usize| {
                let mut pull = Pull::builder().recv_hwm(10).build().unwrap();
                let transport = TRANSPORTS[index % TRANSPORTS.len()];
                let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
                let mut push = Push::builder().send_hwm(10).connect(&endpoint).unwrap();
                let sender = tokio::spawn(async move {
                    for n in 0..300 {
                        push.send_async(numbered(n)).await.unwrap();
                    }
                    push.close_async().await
                });
                let receiver = tokio::spawn(async move {
                    for n in 0..300 {
                        assert_eq!(number_of(&pull.recv_async().await.unwrap()), n);
                    }
                });
                async { (sender.await.unwrap(), receiver.await.unwrap()) }
            })
            .collect();
        for (closed, ()) in futures::future::join_all(tasks).await {
            assert_eq!(closed.unsent, 0);
        }
    };
    Executor::TokioThread.run(runtime(), async {});
}

/// In each turn the receive that was not first is dropped.
#[test]
fn select_of_two_sockets_loses_nothing() {
    for transport in ["tcp", "inproc"] {
        let each: u32 = 50_000;
        let (mut one, mut other) = (Pull::new(), Pull::new());
        let senders: Vec<_> = [&mut one, &mut other]
            .into_iter()
            .map(|pull| {
                let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
                thread::spawn(move || {
                    let mut push = Push::builder().connect(&endpoint).unwrap();
                    for n in 0..each {
                        push.send(numbered(n)).unwrap();
                    }
                    assert_eq!(push.close().unsent, 0);
                })
            })
            .collect();
        let selecting = async move {
            let mut next = [0, 0];
            while next != [each, each] {
                let (which, message) = tokio::select! {
                    message = one.recv_async() => (0, message),
                    message = other.recv_async() => (1, message),
                };
                assert_eq!(number_of(&message.unwrap()), next[which]);
                next[which] += 1;
            }
        };
        Executor::TokioThread.run(selecting, async {});
        for sender in senders {
            sender.join().unwrap();
        }
    }
}

/// The runtime has no timers of its own here; a race of a receive with a time is the socket's matter.
#[test]
fn the_time_of_a_receive_that_was_dropped_wakes_nobody() {
    let mut pull = Pull::builder()
        .recv_timeout(Duration::from_millis(5))
        .bind(fresh("inproc").as_str())
        .unwrap();
    let (dropped, kept) = (Tally::new(), Tally::new());
    assert!(poll(pin!(pull.recv_async()), &dropped).is_pending());
    let mut receiving = pin!(pull.recv_async());
    assert!(poll(receiving.as_mut(), &kept).is_pending());
    kept.wait(1);
    let Poll::Ready(received) = poll(receiving.as_mut(), &kept) else {
        panic!("the time is over, and it waits");
    };
    assert_eq!(received, Err(sinew::RecvError::Timeout));
    assert_eq!(dropped.count(), 0);
}

/// Otherwise a peer that sends rubbish would have a thread of the executor to itself.
#[test]
fn a_task_that_only_discards_lets_others_have_their_turn() {
    let mut rep = Rep::new();
    let endpoint = rep.bind(fresh("inproc").as_str()).unwrap();
    let mut dealer = Dealer::builder().connect(&endpoint).unwrap();
    // No envelope.
    for n in 0..1500 {
        dealer.send(numbered(n)).unwrap();
    }
    dealer.send(Message::multipart(["", "a request"])).unwrap();
    let tally = Tally::new();
    let mut receiving = pin!(rep.recv_async());
    let mut polls = 1;
    let message = loop {
        match poll(receiving.as_mut(), &tally) {
            Poll::Ready(message) => break message.unwrap(),
            Poll::Pending => assert_eq!(tally.count(), polls, "it woke itself"),
        }
        polls += 1;
    };
    assert_eq!(message.as_bytes(), b"a request");
    // The first poll looks twice: without waiting, and then as a task.
    assert_eq!(polls, 1500 / 256);
}
