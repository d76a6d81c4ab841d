//! Futures that are given up, again and again, while the other side goes on: nothing is lost, nothing comes
//! twice, and the order is kept. Blocking calls come in between, on the same socket.

use std::thread;

use futures::{SinkExt, StreamExt};
use sinew::{
    Dealer, Dish, Message, Messages, Monitor, Pub, Pull, Push, Radio, Rep, Req, Router, Server,
    SocketEvent, Sub, SubscriptionEvent, XPub,
};

use crate::support::{
    block_on, fresh, number, number_of, numbered, watched, Cut, Random, LONG, TRANSPORTS,
};

pub(crate) const COUNT: u32 = 20_000;

/// Receives numbered messages, sometimes by a blocking call, mostly by futures that may be given up.
macro_rules! receive_storm {
    ($count:expr, blocking: $blocking:expr, future: $future:expr, |$got:ident| $number:expr) => {{
        let mut random = Random::new(u64::from($count));
        let (mut next, mut given_up) = (0, 0);
        while next < $count {
            let received = match random.below(16) {
                0 => Some($blocking),
                _ => block_on(Cut::at_random($future, &mut random)),
            };
            match received {
                Some($got) => {
                    assert_eq!($number, next);
                    next += 1;
                }
                None => given_up += 1,
            }
        }
        assert!(given_up > 0, "no future was given up");
    }};
}

pub(crate) use receive_storm;

/// Sends numbered messages likewise, and at last `END`. Gives what was sent.
macro_rules! send_storm {
    ($count:expr, |$n:ident| blocking: $blocking:expr, future: $future:expr) => {{
        let mut random = Random::new(u64::from($count));
        let mut sent = Vec::new();
        for $n in 0..$count {
            let done = match random.below(16) {
                0 => Some($blocking),
                _ => block_on(Cut::at_random($future, &mut random)),
            };
            if let Some(result) = done {
                result.unwrap();
                sent.push($n);
            }
        }
        let $n = END;
        $blocking.unwrap();
        assert!(sent.len() < $count as usize, "no future was given up");
        sent
    }};
}

pub(crate) use send_storm;

pub(crate) const END: u32 = u32::MAX;

/// The numbers of what is received, up to `END`.
pub(crate) fn until_end(mut receive: impl FnMut() -> Message) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        match number(&receive().as_bytes()[..4]) {
            END => return numbers,
            n => numbers.push(n),
        }
    }
}

/// A pusher on a thread of its own.
pub(crate) fn pushing(endpoint: String) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut push = Push::builder().connect(endpoint.as_str()).unwrap();
        for n in 0..COUNT {
            push.send(numbered(n)).unwrap();
        }
        assert_eq!(push.close().unsent, 0);
    })
}

#[test]
fn given_up_receives() {
    for transport in TRANSPORTS {
        watched(move || {
            let mut pull = Pull::new();
            let other = pushing(pull.bind(fresh(transport).as_str()).unwrap().to_string());
            receive_storm!(COUNT,
                blocking: pull.recv_timeout(LONG),
                future: pull.recv_async(),
                |got| number_of(&got.unwrap()));
            other.join().unwrap();
        });
    }
}

#[test]
fn given_up_turns_of_a_stream() {
    for transport in TRANSPORTS {
        watched(move || {
            let mut pull = Pull::new();
            let other = pushing(pull.bind(fresh(transport).as_str()).unwrap().to_string());
            let mut stream = Messages::new(pull);
            receive_storm!(COUNT,
                blocking: Some(stream.get_mut().recv_timeout(LONG)),
                future: stream.next(),
                |got| number_of(&got.unwrap().unwrap()));
            other.join().unwrap();
        });
    }
}

#[test]
fn given_up_receives_of_a_router() {
    for transport in TRANSPORTS {
        watched(move || {
            let mut router = Router::new();
            let endpoint = router.bind(fresh(transport).as_str()).unwrap();
            let other = thread::spawn(move || {
                let mut dealer = Dealer::builder().connect(&endpoint).unwrap();
                for n in 0..COUNT {
                    dealer.send(numbered(n)).unwrap();
                }
                dealer.close();
            });
            receive_storm!(COUNT,
                blocking: router.recv_from_timeout(LONG),
                future: router.recv_from_async(),
                |got| number_of(&got.unwrap().1));
            other.join().unwrap();
        });
    }
}

#[test]
fn given_up_receives_of_a_dish() {
    for transport in TRANSPORTS {
        watched(move || {
            let mut dish = Dish::new();
            dish.join("g").unwrap();
            let endpoint = dish.bind(fresh(transport).as_str()).unwrap();
            let other = thread::spawn(move || {
                let mut radio = Radio::builder().no_drop(true).connect(&endpoint).unwrap();
                radio.wait_for_members("g", 1, LONG).unwrap();
                for n in 0..COUNT {
                    radio.send("g", numbered(n)).unwrap();
                }
                radio.close();
            });
            receive_storm!(COUNT,
                blocking: dish.recv_timeout(LONG),
                future: dish.recv_async(),
                |got| number(&*got.unwrap().1));
            other.join().unwrap();
        });
    }
}

#[test]
fn given_up_receives_of_subscriptions() {
    for transport in TRANSPORTS {
        watched(move || {
            let count = 3000;
            let mut xpub = XPub::builder().recv_hwm(u64::from(count)).build().unwrap();
            let endpoint = xpub.bind(fresh(transport).as_str()).unwrap();
            let mut sub = Sub::builder().connect(&endpoint).unwrap();
            let other = thread::spawn(move || {
                for n in 0..count {
                    sub.subscribe(numbered(n));
                }
                sub
            });
            receive_storm!(count,
            blocking: xpub.recv_event_timeout(LONG),
            future: xpub.recv_event_async(),
            |got| match got.unwrap() {
                SubscriptionEvent::Subscribed(topic) => number(topic),
                other => panic!("not a subscription: {other:?}"),
            });
            other.join().unwrap();
        });
    }
}

/// Low marks, and over the network messages that fill the kernel's buffers, so that senders wait.
pub(crate) fn sizes(transport: &str) -> (u32, usize) {
    match transport {
        "inproc" => (COUNT, 4),
        _ => (3000, 24 * 1024),
    }
}

pub(crate) fn padded(n: u32, len: usize) -> Vec<u8> {
    let mut octets = numbered(n);
    octets.resize(len, 0);
    octets
}

#[test]
fn given_up_sends() {
    for transport in TRANSPORTS {
        watched(move || {
            let (count, len) = sizes(transport);
            let mut pull = Pull::builder().recv_hwm(2).build().unwrap();
            let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
            let other = thread::spawn(move || until_end(|| pull.recv().unwrap()));
            let mut push = Push::builder().send_hwm(2).connect(&endpoint).unwrap();
            let sent = send_storm!(count, |n|
                blocking: push.send_timeout(padded(n, len), LONG),
                future: push.send_async(padded(n, len)));
            assert_eq!(other.join().unwrap(), sent);
        });
    }
}

#[test]
fn given_up_sends_to_a_peer() {
    for transport in TRANSPORTS {
        watched(move || {
            let (count, len) = sizes(transport);
            let mut router = Router::builder().send_hwm(2).build().unwrap();
            let endpoint = router.bind(fresh(transport).as_str()).unwrap();
            let mut dealer = Dealer::builder().recv_hwm(2).connect(&endpoint).unwrap();
            dealer.send("hello").unwrap();
            let (id, _) = router.recv_from().unwrap();
            let other = thread::spawn(move || until_end(|| dealer.recv().unwrap()));
            let sent = send_storm!(count, |n|
                blocking: router.send_to_timeout(&id, padded(n, len), LONG),
                future: router.send_to_async(&id, padded(n, len)));
            assert_eq!(other.join().unwrap(), sent);
        });
    }
}

#[test]
fn given_up_sends_to_a_client() {
    watched(|| {
        let mut server = Server::builder().send_hwm(2).build().unwrap();
        let endpoint = server.bind(fresh("inproc").as_str()).unwrap();
        let client = sinew::Client::builder().recv_hwm(2);
        let mut client = client.connect(&endpoint).unwrap();
        client.send("hello").unwrap();
        let (id, _) = server.recv_from().unwrap();
        let other = thread::spawn(move || until_end(|| client.recv().unwrap()));
        let sent = send_storm!(COUNT, |n|
            blocking: server.send_to_timeout(id, numbered(n), LONG),
            future: server.send_to_async(id, numbered(n)));
        assert_eq!(other.join().unwrap(), sent);
    });
}

#[test]
fn given_up_sends_to_subscribers_that_must_not_miss_any() {
    watched(|| {
        let publisher = Pub::builder().no_drop(true).send_hwm(2);
        let mut publisher = publisher.build().unwrap();
        let endpoint = publisher.bind(fresh("inproc").as_str()).unwrap();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let mut sub = Sub::builder().recv_hwm(2).connect(&endpoint).unwrap();
                sub.subscribe("");
                thread::spawn(move || until_end(|| sub.recv().unwrap()))
            })
            .collect();
        publisher.wait_for_subscribers(2, LONG).unwrap();
        let sent = send_storm!(COUNT, |n|
            blocking: publisher.send_timeout(numbered(n), LONG),
            future: publisher.send_async(numbered(n)));
        for other in others {
            assert_eq!(other.join().unwrap(), sent, "each gets all, or none");
        }
    });
}

/// What the sink has taken stays in it when the future is dropped, and is sent with the next: whatever is told
/// as sent has come, everything comes at most once, and in order.
#[test]
fn given_up_turns_of_a_sink() {
    watched(|| {
        let mut pull = Pull::builder().recv_hwm(2).build().unwrap();
        let endpoint = pull.bind(fresh("inproc").as_str()).unwrap();
        let other = thread::spawn(move || until_end(|| pull.recv().unwrap()));
        let push = Push::builder().send_hwm(2).connect(&endpoint).unwrap();
        let mut sink = Messages::new(push);
        let sent = send_storm!(COUNT, |n|
            blocking: block_on(sink.send(numbered(n).into())),
            future: sink.send(numbered(n).into()));
        let (_push, held) = sink.into_inner();
        assert_eq!(held, None);
        let received = other.join().unwrap();
        assert!(
            received.windows(2).all(|pair| pair[0] < pair[1]),
            "in order, once"
        );
        assert!(
            received.len() < COUNT as usize,
            "futures were dropped with their messages"
        );
        let came = |n: &u32| received.binary_search(n).is_ok();
        assert!(sent.iter().all(came), "what was told as sent has come");
    });
}

#[test]
fn given_up_requests() {
    for transport in TRANSPORTS {
        watched(move || {
            let mut rep = Rep::new();
            let endpoint = rep.bind(fresh(transport).as_str()).unwrap();
            let server = thread::spawn(move || {
                until_end(|| {
                    let request = rep.recv().unwrap();
                    rep.send(request.clone()).unwrap();
                    request
                })
            });
            // A strict one must not be left in the middle of a turn.
            let req = Req::builder().relaxed(*transport == "tcp");
            let mut req = req.connect(&endpoint).unwrap();
            let mut random = Random::new(7);
            let (mut answered, mut given_up) = (Vec::new(), 0);
            for n in 0..4000 {
                let reply = match random.below(16) {
                    0 => Some(req.request_timeout(numbered(n), LONG)),
                    1 => Some(block_on(req.request_timeout_async(numbered(n), LONG))),
                    _ => block_on(Cut::at_random(req.request_async(numbered(n)), &mut random)),
                };
                match reply {
                    Some(reply) => {
                        assert_eq!(number_of(&reply.unwrap()), n, "of another request");
                        answered.push(n);
                    }
                    None => given_up += 1,
                }
            }
            assert!(given_up > 0 && !answered.is_empty());
            req.request_timeout(numbered(END), LONG).unwrap();
            let served = server.join().unwrap();
            assert!(
                served.windows(2).all(|pair| pair[0] < pair[1]),
                "none twice"
            );
            assert!(answered.iter().all(|n| served.binary_search(n).is_ok()));
        });
    }
}

#[test]
fn given_up_closings() {
    for transport in TRANSPORTS {
        watched(move || {
            let mut pull = Pull::new();
            let endpoint = pull.bind(fresh(transport).as_str()).unwrap();
            let mut random = Random::new(11);
            let (mut done, mut given_up) = (0, 0);
            for round in 0..150 {
                let mut push = Push::builder().connect(&endpoint).unwrap();
                for n in 0..20 {
                    push.send(numbered(round * 20 + n)).unwrap();
                }
                match block_on(Cut::at_random(push.close_async(), &mut random)) {
                    Some(report) => {
                        assert_eq!(report.unsent, 0);
                        done += 1;
                    }
                    None => given_up += 1,
                }
                for n in 0..20 {
                    let message = pull.recv_timeout(LONG).unwrap();
                    assert_eq!(number_of(&message), round * 20 + n);
                }
            }
            assert!(done > 0 && given_up > 0);
        });
    }
}

#[test]
fn given_up_receives_of_events() {
    watched(|| {
        let rounds = 150;
        let mut pull = Pull::new();
        let mut monitor: Monitor = pull.monitor();
        let endpoint = pull.bind(fresh("ipc").as_str()).unwrap();
        let other = thread::spawn(move || {
            for n in 0..rounds {
                let mut push = Push::builder().connect(&endpoint).unwrap();
                push.send(numbered(n)).unwrap();
                assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), n);
                assert_eq!(push.close().unsent, 0);
            }
            pull.close();
        });
        let mut random = Random::new(13);
        let mut events = Vec::new();
        loop {
            let event = match random.below(8) {
                0 => monitor.recv(),
                1 => match monitor.try_recv() {
                    Some(event) => Some(event),
                    None => continue,
                },
                _ => match block_on(Cut::at_random(monitor.recv_async(), &mut random)) {
                    Some(event) => event,
                    None => continue,
                },
            };
            match event {
                Some(event) => events.push(event),
                None => break,
            }
        }
        other.join().unwrap();
        assert_eq!(monitor.missed(), 0);
        let mut accepted: Vec<_> = (events.iter())
            .filter_map(|event| match event {
                SocketEvent::Accepted { connection, .. } => Some(*connection),
                _ => None,
            })
            .collect();
        accepted.dedup();
        assert_eq!(accepted.len(), rounds as usize, "each once");
        for connection in accepted {
            let of_it = |event: &&SocketEvent| match event {
                SocketEvent::Accepted { connection: c, .. }
                | SocketEvent::HandshakeSucceeded { connection: c, .. }
                | SocketEvent::Disconnected { connection: c, .. } => *c == connection,
                _ => false,
            };
            let its: Vec<_> = events.iter().filter(of_it).collect();
            assert!(
                matches!(
                    its[..],
                    [
                        SocketEvent::Accepted { .. },
                        SocketEvent::HandshakeSucceeded { .. },
                        SocketEvent::Disconnected { .. }
                    ]
                ),
                "{its:?}"
            );
        }
    });
}
