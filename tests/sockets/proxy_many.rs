//! Proxies between many peers, in threads: what is sent arrives unharmed, in order per peer, and is counted, while the
//! proxy is paused and goes on, at every high-water mark, and when peers vanish. Whose turn it is, and that octets
//! arrive as messages would, is tested beside the code (`socket/wire/tests.rs`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use sinew::{Dealer, Message, Proxy, Pub, Pull, Push, Router, RoutingId, Sub, XPub, XSub};

use crate::support::{await_true, pattern, task, Net, Random, LONG, SHORT};

const LENGTHS: [usize; 12] = [
    0, 1, 63, 64, 65, 255, 256, 1023, 2048, 8192, 65_530, 100_000,
];

/// The message of this number of a sender: one frame to five, of which the last says whose it is.
fn message(sender: usize, number: u64) -> Message {
    let mut random = Random::new((sender as u64 + 1) << 32 | (number * 7919 + 1));
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for _ in 0..random.below(5) {
        // Long ones are rare.
        let some = if random.below(40) == 0 {
            LENGTHS.len()
        } else {
            8
        };
        frames.push(pattern(LENGTHS[random.below(some as u64) as usize]));
    }
    let last = [(sender as u64).to_le_bytes(), number.to_le_bytes()].concat();
    frames.push(last);
    Message::multipart(frames)
}

/// Whose it is, after it was compared with what was sent.
fn check(message_: &Message) -> (usize, u64) {
    let frames = message_.frames();
    let last = &frames[frames.len() - 1];
    let word = |at: usize| u64::from_le_bytes(last[at..at + 8].try_into().unwrap());
    let (sender, number) = (word(0) as usize, word(8));
    assert!(
        *message_ == message(sender, number),
        "{sender} {number} is damaged"
    );
    (sender, number)
}

fn sizes(senders: usize, each: u64) -> (u64, u64, u64) {
    let mut sum = (0, 0, 0);
    for sender in 0..senders {
        for number in 0..each {
            let message = message(sender, number);
            sum.0 += 1;
            sum.1 += message.frames().len() as u64;
            sum.2 += message.byte_len() as u64;
        }
    }
    sum
}

macro_rules! pipeline {
    ($Front:ident $Back:ident: $Source:ident $Sink:ident, $net:expr, $mark:expr, $senders:expr, $receivers:expr, $each:expr) => {{
        let (net, mark, senders, each) = ($net, $mark, $senders, $each);
        let front = $Front::builder().recv_hwm(mark).bind(net.fresh()).unwrap();
        let back = $Back::builder().send_hwm(mark).bind(net.fresh()).unwrap();
        let (here, there) = (
            front.bound_endpoints().remove(0),
            back.bound_endpoints().remove(0),
        );
        let proxy = Proxy::new(front, back).spawn().unwrap();
        let total = senders as u64 * each;
        let arrived = Arc::new(AtomicU64::new(0));
        let sinks: Vec<_> = (0..$receivers)
            .map(|_| {
                let (there, arrived) = (there.clone(), Arc::clone(&arrived));
                task(move || {
                    let mut sink = $Sink::builder().recv_hwm(mark).connect(&there).unwrap();
                    let mut got: Vec<Vec<u64>> = vec![Vec::new(); senders];
                    while arrived.load(Ordering::Relaxed) < total {
                        if let Ok(message) = sink.recv_timeout(SHORT) {
                            let (sender, number) = check(&message);
                            assert!(got[sender].last() < Some(&number), "out of order");
                            got[sender].push(number);
                            arrived.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    got
                })
            })
            .collect();
        let sources: Vec<_> = (0..senders)
            .map(|sender| {
                let here = here.clone();
                task(move || {
                    let mut source = $Source::builder().send_hwm(mark).connect(&here).unwrap();
                    for number in 0..each {
                        source.send(message(sender, number)).unwrap();
                    }
                    assert_eq!(source.close().unsent, 0);
                })
            })
            .collect();
        while arrived.load(Ordering::Relaxed) < total {
            proxy.handle().pause();
            proxy.handle().resume();
            std::thread::yield_now();
            if sinks.iter().any(|sink| sink.is_done()) && arrived.load(Ordering::Relaxed) < total {
                break;
            }
        }
        sources.into_iter().for_each(|source| source.join());
        let mut all: Vec<Vec<u64>> = vec![Vec::new(); senders];
        for sink in sinks {
            for (sender, numbers) in sink.join().into_iter().enumerate() {
                all[sender].extend(numbers);
            }
        }
        for numbers in &mut all {
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..each), "lost or repeated");
        }
        let statistics = proxy.stop().statistics;
        let (front, back) = (statistics.front, statistics.back);
        let received = (
            front.received_messages,
            front.received_frames,
            front.received_octets,
        );
        assert_eq!(received, sizes(senders, each));
        assert_eq!(
            received,
            (back.sent_messages, back.sent_frames, back.sent_octets)
        );
        assert_eq!(statistics.undeliverable, 0);
    }};
}

#[test]
fn everything_passes_between_many_peers() {
    for net in [Net::Inproc, Net::Tcp4] {
        pipeline!(Pull Push: Push Pull, net, 1, 3, 2, 60);
        pipeline!(Pull Push: Push Pull, net, 1000, 3, 4, 500);
        pipeline!(Dealer Dealer: Dealer Dealer, net, 1000, 2, 3, 500);
        pipeline!(Pull Dealer: Push Dealer, net, 2, 2, 2, 100);
    }
}

/// Clients behind a ROUTER, workers behind a DEALER that send everything back.
#[test]
fn requests_and_replies_pass_between_many_peers() {
    for (net, mark, each) in [
        (Net::Inproc, 1, 60),
        (Net::Inproc, 1000, 400),
        (Net::Tcp4, 1, 60),
        (Net::Tcp4, 1000, 400),
    ] {
        const CLIENTS: usize = 3;
        let front = Router::builder().recv_hwm(mark).send_hwm(mark);
        let back = Dealer::builder().recv_hwm(mark).send_hwm(mark);
        let front = front.bind(net.fresh()).unwrap();
        let back = back.bind(net.fresh()).unwrap();
        let (here, there) = (
            front.bound_endpoints().remove(0),
            back.bound_endpoints().remove(0),
        );
        let proxy = Proxy::new(front, back)
            .wait_for_full_peers(true)
            .spawn()
            .unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (there, over) = (there.clone(), Arc::clone(&over));
                task(move || {
                    let worker = Dealer::builder().recv_hwm(mark).send_hwm(mark);
                    let mut worker = worker.connect(&there).unwrap();
                    while !over.load(Ordering::Relaxed) {
                        if let Ok(request) = worker.recv_timeout(SHORT) {
                            worker.send(request).unwrap();
                        }
                    }
                })
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|sender| {
                let here = here.clone();
                task(move || {
                    let client = Dealer::builder().recv_hwm(mark).send_hwm(mark);
                    let id = RoutingId::new(format!("client-{sender}")).unwrap();
                    let mut client = client.routing_id(id).connect(&here).unwrap();
                    let (mut sent, mut came) = (0, vec![false; each as usize]);
                    while came.contains(&false) {
                        if sent < each && client.try_send(message(sender, sent)).is_ok() {
                            sent += 1;
                        } else if let Ok(reply) = client.recv_timeout(SHORT) {
                            let (of, number) = check(&reply);
                            assert_eq!(of, sender);
                            assert!(!std::mem::replace(&mut came[number as usize], true));
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join());
        over.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join());
        let statistics = proxy.stop().statistics;
        let (messages, frames, octets) = sizes(CLIENTS, each);
        // With the name of the client, of eight octets.
        let expected = (messages, frames + messages, octets + 8 * messages);
        for side in [statistics.front, statistics.back] {
            let received = (
                side.received_messages,
                side.received_frames,
                side.received_octets,
            );
            assert_eq!(received, expected);
            assert_eq!(
                (side.sent_messages, side.sent_frames, side.sent_octets),
                expected
            );
        }
        assert_eq!(statistics.undeliverable, 0);
    }
}

/// Replies for who is gone are dropped and counted, and those of others go on.
#[test]
fn replies_for_clients_that_are_gone_hold_nobody_up() {
    for (mandatory, undeliverable, lost) in [(true, 100, 0), (false, 0, 100)] {
        let front = Router::builder().mandatory(mandatory);
        let front = front.bind(Net::Inproc.fresh()).unwrap();
        let back = Dealer::builder().bind(Net::Inproc.fresh()).unwrap();
        let (here, there) = (
            front.bound_endpoints().remove(0),
            back.bound_endpoints().remove(0),
        );
        let proxy = Proxy::new(front, back).spawn().unwrap();
        let client = |name: &str| {
            let client = Dealer::builder().routing_id(RoutingId::new(name).unwrap());
            client.connect(&here).unwrap()
        };
        let (mut stays, mut leaves) = (client("stays"), client("leaves"));
        let mut worker = Dealer::builder().connect(&there).unwrap();
        leaves.send("hello").unwrap();
        assert_eq!(worker.recv_timeout(LONG).unwrap().as_bytes(), b"leaves");
        drop(leaves);
        stays.send("hello").unwrap();
        assert_eq!(worker.recv_timeout(LONG).unwrap().as_bytes(), b"stays");
        for number in 0..100_u64 {
            for name in ["stays", "leaves"] {
                let reply = [name.as_bytes(), &number.to_le_bytes()];
                worker.send(Message::multipart(reply)).unwrap();
            }
        }
        for number in 0..100_u64 {
            let reply = stays.recv_timeout(LONG).unwrap();
            assert_eq!(reply.as_bytes(), number.to_le_bytes());
        }
        await_true("all were taken", || {
            proxy.handle().statistics().back.received_messages == 200
        });
        let report = proxy.stop();
        assert_eq!(report.statistics.undeliverable, undeliverable);
        assert_eq!(report.statistics.front.sent_messages, 200 - undeliverable);
        assert_eq!(report.front.stats().dropped_peer_lost, lost);
    }
}

/// Everybody gets what begins as they said, of each publisher in order, and nothing else.
#[test]
fn publishers_and_subscribers_are_many() {
    const EACH: u32 = 400;
    const TOPICS: [&str; 4] = ["", "a", "b", "ab"];
    for net in [Net::Inproc, Net::Tcp4] {
        // Nobody is left out: as many as there are fit, or the proxy waits.
        for (mark, no_drop) in [(10_000, false), (1, true)] {
            let mut front = XSub::builder().recv_hwm(mark).build().unwrap();
            front.subscribe("").unwrap();
            let here = front.bind(net.fresh()).unwrap();
            let back = XPub::builder().send_hwm(mark).no_drop(no_drop);
            let mut back = back.bind(net.fresh()).unwrap();
            let there = back.bound_endpoints().remove(0);
            let subscribers: Vec<_> = TOPICS
                .iter()
                .map(|topic| {
                    let mut sub = Sub::builder().recv_hwm(mark).build().unwrap();
                    sub.subscribe(topic).unwrap();
                    sub.connect(&there).unwrap();
                    sub
                })
                .collect();
            back.wait_for_subscribers(TOPICS.len(), LONG).unwrap();
            let proxy = Proxy::new(front, back).spawn().unwrap();
            let publishers: Vec<_> = (0..3_u32)
                .map(|sender| {
                    let here = here.clone();
                    task(move || {
                        let publisher = Pub::builder().send_hwm(mark).no_drop(true);
                        let mut publisher = publisher.connect(&here).unwrap();
                        publisher.wait_for_subscribers(1, LONG).unwrap();
                        for number in 0..EACH {
                            publisher.send(news(sender, number)).unwrap();
                        }
                        publisher
                    })
                })
                .collect();
            let readers: Vec<_> = subscribers
                .into_iter()
                .zip(TOPICS)
                .map(|(mut sub, topic)| {
                    task(move || {
                        let wanted = |sender| {
                            let news = (0..EACH).map(move |number| news(sender, number));
                            news.filter(|news| news.as_bytes().starts_with(topic.as_bytes()))
                        };
                        let mut expected: Vec<_> = (0..3).map(|sender| wanted(sender)).collect();
                        for _ in 0..(0..3).map(|sender| wanted(sender).count()).sum() {
                            let message = sub.recv_timeout(LONG).unwrap();
                            let sender = message.frames()[1][0];
                            assert!(expected[sender as usize].next() == Some(message));
                        }
                    })
                })
                .collect();
            let publishers: Vec<_> = publishers.into_iter().map(|task| task.join()).collect();
            readers.into_iter().for_each(|reader| reader.join());
            await_true("all were taken", || {
                proxy.handle().statistics().back.sent_messages == u64::from(3 * EACH)
            });
            drop(publishers);
            let statistics = proxy.stop().statistics;
            assert_eq!(statistics.front.received_frames, u64::from(3 * EACH * 2));
        }
    }
}

/// A topic of some length that begins with `a` or `b`, if with anything, and a body.
fn news(sender: u32, number: u32) -> Message {
    let mut topic = pattern(LENGTHS[number as usize % 8]);
    if let [first, ..] = &mut topic[..] {
        *first = b"ab"[(number / 8) as usize % 2];
    }
    if let [_, second, ..] = &mut topic[..] {
        *second = b'b';
    }
    let body = [&[sender as u8][..], &number.to_le_bytes(), &pattern(64)].concat();
    Message::multipart([topic, body])
}

/// A proxy's subscriber that wants the newest alone has it in the end.
#[test]
fn who_wants_the_newest_has_it() {
    let mut front = XSub::builder().build().unwrap();
    front.subscribe("").unwrap();
    let here = front.bind(Net::Inproc.fresh()).unwrap();
    let mut back = XPub::builder().bind(Net::Inproc.fresh()).unwrap();
    let there = back.bound_endpoints().remove(0);
    let mut newest = Sub::builder().conflate(true).connect(&there).unwrap();
    newest.subscribe("").unwrap();
    back.wait_for_subscribers(1, LONG).unwrap();
    let proxy = Proxy::new(front, back).spawn().unwrap();
    let mut publisher = Pub::builder().connect(&here).unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    for number in 0..900_u32 {
        publisher.send(number.to_le_bytes()).unwrap();
    }
    await_true("all have passed", || {
        proxy.handle().statistics().back.sent_messages == 900
    });
    let mut last = 0;
    while last != 899 {
        let message = newest.recv_timeout(LONG).unwrap();
        last = u32::from_le_bytes(message.as_bytes().try_into().unwrap());
    }
    assert!(newest.try_recv().is_err());
}

/// Whoever vanishes takes along what was on its way to it, and no octets of others. (What it had not been sent goes
/// to others, behind what they have.)
#[test]
fn peers_vanish_in_mid_stream() {
    for net in [Net::Inproc, Net::Tcp4] {
        let front = Pull::builder().bind(net.fresh()).unwrap();
        let back = Push::builder().bind(net.fresh()).unwrap();
        let (here, there) = (
            front.bound_endpoints().remove(0),
            back.bound_endpoints().remove(0),
        );
        let proxy = Proxy::new(front, back).spawn().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let sinks: Vec<_> = (0..3)
            .map(|life: usize| {
                let (there, over) = (there.clone(), Arc::clone(&over));
                task(move || {
                    let (mut round, mut seen) = (0, 0_u64);
                    // Once at least, however late this thread begins.
                    while round == 0 || !over.load(Ordering::Relaxed) {
                        // The first stays.
                        let stay = if life == 0 { usize::MAX } else { 20 * life };
                        let mut sink = Pull::builder().connect(&there).unwrap();
                        let mut left = stay;
                        while left > 0 && !over.load(Ordering::Relaxed) {
                            if let Ok(message) = sink.recv_timeout(SHORT) {
                                check(&message);
                                seen += 1;
                                left -= 1;
                            }
                        }
                        round += 1;
                    }
                    (round, seen)
                })
            })
            .collect();
        let sources: Vec<_> = (0..3)
            .map(|sender| {
                let here = here.clone();
                task(move || {
                    for part in 0..5 {
                        let mut source = Push::builder().connect(&here).unwrap();
                        for number in 0..100 {
                            source.send(message(sender, part * 100 + number)).unwrap();
                        }
                        assert_eq!(source.close().unsent, 0);
                    }
                })
            })
            .collect();
        sources.into_iter().for_each(|source| source.join());
        await_true("all was taken", || {
            let statistics = proxy.handle().statistics();
            statistics.front.received_messages == 1500 && statistics.back.sent_messages == 1500
        });
        over.store(true, Ordering::Relaxed);
        for sink in sinks {
            let (rounds, seen) = sink.join();
            assert!(rounds > 0 && seen <= 1500, "{rounds} rounds, {seen} seen");
        }
        assert_eq!(proxy.stop().statistics.undeliverable, 0);
    }
}
