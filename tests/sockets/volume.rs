//! Many messages, and many peers: nothing is lost, duplicated or reordered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use sinew::{Pub, Pull, Push, Rep, Req, SocketEvent, Sub};

use crate::support::{await_event, await_true, number_of, numbered, task, Net, LONG};

const MILLION: u32 = 1_000_000;

macro_rules! over_each_kind {
    ($($test:ident;)*) => {$(
        mod $test {
            use super::Net;

            #[test]
            fn tcp() {
                super::$test(Net::Tcp4);
            }

            #[test]
            fn ipc() {
                super::$test(Net::IpcWildcard);
            }

            #[test]
            fn inproc() {
                super::$test(Net::Inproc);
            }
        }
    )*};
}

over_each_kind! {
    a_million_pushed;
    a_million_published;
    slow_subscribers_lose_what_is_counted;
    a_hundred_thousand_requests;
    a_receiver_that_reads_in_bursts;
    a_subscriber_that_reads_in_bursts;
    a_hundred_pushers;
    a_hundred_pullers;
    a_hundred_subscribers;
    a_hundred_requesters;
    requests_and_replies_that_pile_up;
    no_pusher_is_starved;
}

/// Over WebSocket, one of each way that messages take.
#[cfg(feature = "ws")]
mod over_websocket {
    use super::Net;

    #[test]
    fn a_million_pushed() {
        super::a_million_pushed(Net::Ws);
    }

    #[test]
    fn a_million_published() {
        super::a_million_published(Net::Ws);
    }

    #[test]
    fn requests_and_replies_that_pile_up() {
        super::requests_and_replies_that_pile_up(Net::Ws);
    }
}

fn a_million_pushed(net: Net) {
    let mut pull = Pull::builder().bind(net.fresh()).unwrap();
    let mut push = Push::new();
    push.connect(&pull.bound_endpoints()[0]).unwrap();
    let sender = task(move || {
        for n in 0..MILLION {
            push.send(numbered(0, n)).unwrap();
        }
        assert_eq!(push.stats().messages_sent, u64::from(MILLION));
        push.close().unsent
    });
    for n in 0..MILLION {
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
    }
    assert_eq!(sender.join(), 0);
    assert_eq!(pull.stats().messages_received, u64::from(MILLION));
}

fn a_million_published(net: Net) {
    let mut publisher = Pub::builder().no_drop(true).bind(net.fresh()).unwrap();
    let mut sub = Sub::new();
    sub.subscribe("").unwrap();
    sub.connect(&publisher.bound_endpoints()[0]).unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    let sender = task(move || {
        for n in 0..MILLION {
            publisher.send(numbered(0, n)).unwrap();
        }
        assert_eq!(publisher.stats().dropped_full, 0);
        publisher.close().unsent
    });
    for n in 0..MILLION {
        assert_eq!(number_of(&sub.recv_timeout(LONG).unwrap()), (0, n));
    }
    assert_eq!(sender.join(), 0);
}

fn slow_subscribers_lose_what_is_counted(net: Net) {
    const PUBLISHED: u32 = 200_000;
    let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
    let mut sub = Sub::new();
    sub.subscribe("").unwrap();
    sub.connect(&publisher.bound_endpoints()[0]).unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    for n in 0..PUBLISHED {
        publisher.send(numbered(0, n)).unwrap();
    }
    let mut dropped = publisher.stats().dropped_full;
    assert!(
        dropped > 0,
        "nobody read, and the marks are lower than that"
    );
    let mut received = 0;
    let mut last = None;
    while received + dropped < u64::from(PUBLISHED) {
        let (_, n) = number_of(&sub.recv_timeout(LONG).unwrap());
        assert!(last < Some(n), "{n} after {last:?}");
        last = Some(n);
        received += 1;
    }
    // The next one comes right after those that were not dropped. An I/O thread may not have got to say yet that
    // it has written them, and then there is still no room.
    loop {
        publisher.send(numbered(0, PUBLISHED)).unwrap();
        let now = publisher.stats().dropped_full;
        if now == dropped {
            break;
        }
        dropped = now;
        std::thread::yield_now();
    }
    assert_eq!(
        number_of(&sub.recv_timeout(LONG).unwrap()),
        (0, PUBLISHED),
        "more came than was counted as sent"
    );
    let stats = publisher.stats();
    assert_eq!(stats.dropped_full, dropped);
    assert_eq!(stats.messages_sent, received + 1);
    assert_eq!(stats.dropped_unmatched, 0);
}

fn a_hundred_thousand_requests(net: Net) {
    const REQUESTS: u32 = 100_000;
    let mut rep = Rep::new();
    let endpoint = rep.bind(net.fresh()).unwrap();
    let server = task(move || {
        for _ in 0..REQUESTS {
            let request = rep.recv_timeout(LONG).unwrap();
            rep.send(request).unwrap();
        }
        rep.close().unsent
    });
    let mut req = Req::new();
    req.connect(&endpoint).unwrap();
    for n in 0..REQUESTS {
        let reply = req.request_timeout(numbered(0, n), LONG);
        assert_eq!(
            number_of(&reply.unwrap_or_else(|e| panic!("{n}: {e}"))),
            (0, n)
        );
    }
    assert_eq!(server.join(), 0);
}

/// The receiver reads only when the sender cannot go on, and then a little more than makes room.
fn a_receiver_that_reads_in_bursts(net: Net) {
    let mut pull = Pull::builder().bind(net.fresh()).unwrap();
    let mut push = Push::new();
    push.connect(&pull.bound_endpoints()[0]).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    // Whether the sender waits for room, or has nothing more to send.
    let stuck = Arc::new(AtomicBool::new(false));
    let sender_is_stuck = Arc::clone(&stuck);
    let sender = task(move || {
        for n in 0..MILLION {
            if let Err(refused) = push.try_send(numbered(0, n)) {
                stuck.store(true, Ordering::Release);
                push.send_timeout(refused.into_message(), LONG).unwrap();
                stuck.store(false, Ordering::Release);
            }
        }
        stuck.store(true, Ordering::Release);
        push.close().unsent
    });
    let mut next = 0;
    while next < MILLION {
        // One burst need not make it go on: a kernel buffer takes more only when it is nearly empty.
        await_true("the sender is stuck", || {
            sender_is_stuck.load(Ordering::Acquire)
        });
        for _ in 0..2500.min(MILLION - next) {
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, next));
            next += 1;
        }
    }
    assert_eq!(sender.join(), 0);
}

/// The same with a publisher that does not drop: it is held up, and nothing is lost.
fn a_subscriber_that_reads_in_bursts(net: Net) {
    let mut publisher = Pub::builder().no_drop(true).bind(net.fresh()).unwrap();
    let mut sub = Sub::new();
    sub.subscribe("").unwrap();
    sub.connect(&publisher.bound_endpoints()[0]).unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    let stuck = Arc::new(AtomicBool::new(false));
    let publisher_is_stuck = Arc::clone(&stuck);
    let sender = task(move || {
        for n in 0..MILLION {
            if let Err(refused) = publisher.try_send(numbered(0, n)) {
                stuck.store(true, Ordering::Release);
                publisher
                    .send_timeout(refused.into_message(), LONG)
                    .unwrap();
                stuck.store(false, Ordering::Release);
            }
        }
        stuck.store(true, Ordering::Release);
        assert_eq!(publisher.stats().dropped_full, 0);
        publisher.close().unsent
    });
    let mut next = 0;
    while next < MILLION {
        await_true("the publisher is stuck", || {
            publisher_is_stuck.load(Ordering::Acquire)
        });
        for _ in 0..2500.min(MILLION - next) {
            assert_eq!(number_of(&sub.recv_timeout(LONG).unwrap()), (0, next));
            next += 1;
        }
    }
    assert_eq!(sender.join(), 0);
}

const PEERS: u32 = 100;

fn a_hundred_pushers(net: Net) {
    const EACH: u32 = MILLION / PEERS;
    let mut pull = Pull::builder().bind(net.fresh()).unwrap();
    let endpoint = &pull.bound_endpoints()[0];
    let mut pushes: Vec<_> = (0..PEERS)
        .map(|_| Push::builder().connect(endpoint).unwrap())
        .collect();
    let sender = task(move || {
        for n in 0..EACH {
            for (sender, push) in (0..).zip(&mut pushes) {
                push.send_timeout(numbered(sender, n), LONG).unwrap();
            }
        }
        pushes
            .into_iter()
            .map(|push| push.close().unsent)
            .sum::<u64>()
    });
    let mut next = [0; PEERS as usize];
    for _ in 0..PEERS * EACH {
        let (sender, n) = number_of(&pull.recv_timeout(LONG).unwrap());
        assert_eq!(n, next[sender as usize], "of sender {sender}");
        next[sender as usize] += 1;
    }
    assert_eq!(next, [EACH; PEERS as usize]);
    assert_eq!(sender.join(), 0);
}

fn a_hundred_pullers(net: Net) {
    // Fewer than the high-water mark.
    const AT_ONCE: u32 = 500;
    let mut push = Push::builder().bind(net.fresh()).unwrap();
    let endpoint = &push.bound_endpoints()[0];
    let mut pulls: Vec<_> = (0..PEERS)
        .map(|_| Pull::builder().connect(endpoint).unwrap())
        .collect();
    push.wait_for_peers(PEERS as usize, LONG).unwrap();
    let received = Arc::new(Barrier::new(2));
    let go_on = Arc::clone(&received);
    let sender = task(move || {
        for n in 0..MILLION {
            push.send_timeout(numbered(0, n), LONG).unwrap();
            if (n + 1) % (AT_ONCE * PEERS) == 0 {
                go_on.wait();
            }
        }
        push.close().unsent
    });
    // Nobody is ever full: each gets every hundredth.
    let mut first = vec![0; pulls.len()];
    for turn in 0..MILLION / PEERS {
        for (pull, first) in pulls.iter_mut().zip(&mut first) {
            let (_, n) = number_of(&pull.recv_timeout(LONG).unwrap());
            if turn == 0 {
                *first = n;
            }
            assert_eq!(n, *first + turn * PEERS);
        }
        if (turn + 1) % AT_ONCE == 0 {
            received.wait();
        }
    }
    first.sort_unstable();
    assert!(first.into_iter().eq(0..PEERS));
    assert_eq!(sender.join(), 0);
}

fn a_hundred_subscribers(net: Net) {
    const MESSAGES: u32 = MILLION / PEERS;
    let mut publisher = Pub::builder().no_drop(true).bind(net.fresh()).unwrap();
    let endpoint = &publisher.bound_endpoints()[0];
    let mut subs: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut sub = Sub::builder().connect(endpoint).unwrap();
            sub.subscribe("").unwrap();
            sub
        })
        .collect();
    publisher
        .wait_for_subscribers(PEERS as usize, LONG)
        .unwrap();
    let sender = task(move || {
        for n in 0..MESSAGES {
            publisher.send(numbered(0, n)).unwrap();
        }
        let stats = publisher.stats();
        assert_eq!(stats.messages_sent, u64::from(MESSAGES * PEERS));
        assert_eq!(stats.dropped_full, 0);
        publisher.close().unsent
    });
    for n in 0..MESSAGES {
        for sub in &mut subs {
            assert_eq!(number_of(&sub.recv_timeout(LONG).unwrap()), (0, n));
        }
    }
    assert_eq!(sender.join(), 0);
}

fn a_hundred_requesters(net: Net) {
    const EACH: u32 = 1000;
    let mut rep = Rep::builder().bind(net.fresh()).unwrap();
    let endpoint = rep.bound_endpoints()[0].clone();
    let server = task(move || {
        for _ in 0..PEERS * EACH {
            let request = rep.recv_timeout(LONG).unwrap();
            rep.send(request).unwrap();
        }
        rep.close().unsent
    });
    let mut reqs: Vec<_> = (0..PEERS)
        .map(|_| Req::builder().connect(&endpoint).unwrap())
        .collect();
    for n in 0..EACH {
        for (sender, req) in (0..).zip(&mut reqs) {
            req.send_timeout(numbered(sender, n), LONG).unwrap();
        }
        for (sender, req) in (0..).zip(&mut reqs) {
            let reply = req.recv_timeout(LONG).unwrap();
            assert_eq!(number_of(&reply), (sender, n));
        }
    }
    assert_eq!(server.join(), 0);
}

/// Both sides are slow: no request is read before all have been sent, and no reply before all have.
fn requests_and_replies_that_pile_up(net: Net) {
    const EACH: u32 = 1000;
    let mut rep = Rep::builder().bind(net.fresh()).unwrap();
    let endpoint = rep.bound_endpoints()[0].clone();
    let all_sent = Arc::new(Barrier::new(2));
    let turn = Arc::clone(&all_sent);
    let server = task(move || {
        for _ in 0..EACH {
            turn.wait();
            for _ in 0..PEERS {
                let request = rep.recv_timeout(LONG).unwrap();
                rep.send(request).unwrap();
            }
            turn.wait();
        }
        rep.close().unsent
    });
    let mut reqs: Vec<_> = (0..PEERS)
        .map(|_| Req::builder().connect(&endpoint).unwrap())
        .collect();
    for n in 0..EACH {
        for (sender, req) in (0..).zip(&mut reqs) {
            req.send_timeout(numbered(sender, n), LONG).unwrap();
        }
        all_sent.wait();
        all_sent.wait();
        for (sender, req) in (0..).zip(&mut reqs) {
            let reply = req.recv_timeout(LONG).unwrap();
            assert_eq!(number_of(&reply), (sender, n));
        }
    }
    assert_eq!(server.join(), 0);
}

/// With every queue full, any window of some rounds has a message from each.
fn no_pusher_is_starved(net: Net) {
    const EACH: u32 = 400;
    let mut pull = Pull::builder().bind(net.fresh()).unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bound_endpoints()[0].clone();
    let queued = Arc::new(Barrier::new(2));
    let ready = Arc::clone(&queued);
    let sender = task(move || {
        let mut pushes: Vec<_> = (0..PEERS)
            .map(|_| Push::builder().connect(&endpoint).unwrap())
            .collect();
        for push in &mut pushes {
            push.wait_for_peers(1, LONG).unwrap();
        }
        for (sender, push) in (0..).zip(&mut pushes) {
            for n in 0..EACH {
                push.send_timeout(numbered(sender, n), LONG).unwrap();
            }
        }
        let unsent: u64 = pushes.into_iter().map(|push| push.close().unsent).sum();
        ready.wait();
        unsent
    });
    queued.wait();
    assert_eq!(sender.join(), 0);
    // All of it has left its sender, but may still be in the kernel, and fairness is among what is here.
    // A connection ends when everything before its end has been read.
    if net != Net::Inproc {
        for _ in 0..PEERS {
            await_event(&mut monitor, "a connection is read to its end", |event| {
                matches!(event, SocketEvent::Disconnected { .. })
            });
        }
    }
    const WINDOW: u32 = PEERS * 16;
    let mut seen = [0; PEERS as usize];
    let mut last = [0; PEERS as usize];
    for at in 0..PEERS * EACH {
        let (sender, n) = number_of(&pull.recv_timeout(LONG).unwrap());
        let sender = sender as usize;
        assert_eq!(n, seen[sender]);
        seen[sender] += 1;
        last[sender] = at;
        for (other, last) in last.iter().enumerate() {
            assert!(
                at - last <= WINDOW || seen[other] == EACH,
                "sender {other} had no turn from {last} to {at}"
            );
        }
    }
}
