//! The rules of each pattern.

use std::io::Write;
use std::time::Duration;

use sinew::{
    Endpoint, Message, Pub, Pull, Push, ReconnectPolicy, RecvError, Rep, Req, RequestError,
    SendFailure, Sub,
};

use crate::support::{
    await_true, number_of, numbered, pattern, task, Net, KINDS, LONG, SHORT, STREAMS,
};

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(20))
}

// ---- REQ and REP --------------------------------------------------------------------------------

#[test]
fn a_strict_requester_keeps_turns() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut req = Req::builder()
            .relaxed(false)
            .connect(&rep.bound_endpoints()[0])
            .unwrap();
        assert!(matches!(req.recv(), Err(RecvError::OutOfTurn { .. })));
        req.send("one").unwrap();
        let refused = req.send("two").unwrap_err();
        assert!(matches!(refused.reason(), SendFailure::OutOfTurn { .. }));
        assert_eq!(refused.into_message().as_bytes(), b"two");
        assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"one");
        rep.send("reply").unwrap();
        assert_eq!(req.recv_timeout(LONG).unwrap().as_bytes(), b"reply");
        assert!(matches!(req.try_recv(), Err(RecvError::OutOfTurn { .. })));
        req.send("two").unwrap();
        assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"two");
    }
}

#[test]
fn a_replier_keeps_turns() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let refused = rep.send("early").unwrap_err();
        assert!(matches!(refused.reason(), SendFailure::OutOfTurn { .. }));
        assert_eq!(refused.into_message().as_bytes(), b"early");
        let mut req = Req::builder().connect(&rep.bound_endpoints()[0]).unwrap();
        req.send(Message::multipart(["a", "", "b"])).unwrap();
        let request = rep.recv_timeout(LONG).unwrap();
        assert_eq!(request, Message::multipart(["a", "", "b"]));
        assert!(matches!(rep.recv(), Err(RecvError::OutOfTurn { .. })));
        rep.send(Message::multipart(["", "c"])).unwrap();
        assert!(rep.send("again").is_err());
        assert_eq!(
            req.recv_timeout(LONG).unwrap(),
            Message::multipart(["", "c"])
        );
        req.send("unanswered").unwrap();
        rep.recv_timeout(LONG).unwrap();
        assert!(rep.skip_reply());
        assert!(!rep.skip_reply());
        assert_eq!(rep.try_recv(), Err(RecvError::WouldBlock));
    }
}

#[test]
fn a_late_reply_is_discarded() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut req = Req::builder().connect(&rep.bound_endpoints()[0]).unwrap();
        for n in 0..50 {
            req.send(numbered(0, n)).unwrap();
            req.send(numbered(1, n)).unwrap();
            for of in [0, 1] {
                let request = rep.recv_timeout(LONG).unwrap();
                assert_eq!(number_of(&request), (of, n));
                rep.send(request).unwrap();
            }
            assert_eq!(number_of(&req.recv_timeout(LONG).unwrap()), (1, n));
        }
        assert_eq!(req.stats().dropped_unexpected, 50);
    }
}

#[test]
fn a_request_that_timed_out_is_given_up() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut req = Req::builder()
            .relaxed(false)
            .connect(&rep.bound_endpoints()[0])
            .unwrap();
        let failure = req.request_timeout("slow", SHORT).unwrap_err();
        assert_eq!(failure, RequestError::Recv(RecvError::Timeout));
        let server = task(move || {
            for _ in 0..2 {
                let request = rep.recv_timeout(LONG).unwrap();
                rep.send(request).unwrap();
            }
            rep.close()
        });
        assert_eq!(
            req.request_timeout("next", LONG).unwrap().as_bytes(),
            b"next"
        );
        server.join();
    }
}

#[test]
fn a_lost_peer_ends_the_request() {
    for &net in KINDS {
        for by_drop in [false, true] {
            let mut rep = Rep::builder().bind(net.fresh()).unwrap();
            let mut req = Req::builder().connect(&rep.bound_endpoints()[0]).unwrap();
            req.send("x").unwrap();
            rep.recv_timeout(LONG).unwrap();
            if by_drop {
                drop(rep);
            } else {
                rep.close();
            }
            assert_eq!(req.recv_timeout(LONG), Err(RecvError::PeerLost), "{net:?}");
            assert!(matches!(req.recv(), Err(RecvError::OutOfTurn { .. })));
        }
    }
}

#[test]
fn a_reply_sent_before_the_peer_closed_arrives() {
    for &net in KINDS {
        for _ in 0..20 {
            let mut rep = Rep::builder().bind(net.fresh()).unwrap();
            let mut req = Req::builder().connect(&rep.bound_endpoints()[0]).unwrap();
            req.send("x").unwrap();
            let request = rep.recv_timeout(LONG).unwrap();
            rep.send(request).unwrap();
            assert_eq!(rep.close().unsent, 0);
            assert_eq!(req.recv_timeout(LONG).unwrap().as_bytes(), b"x");
        }
    }
}

#[test]
fn a_reply_to_the_gone_comes_back() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut req = Req::builder().connect(&rep.bound_endpoints()[0]).unwrap();
        req.send("x").unwrap();
        rep.recv_timeout(LONG).unwrap();
        req.close();
        await_true("the requester is gone", || rep.stats().peers == 0);
        let failure = rep.send("reply").unwrap_err();
        assert_eq!(failure.reason(), SendFailure::PeerLost, "{net:?}");
        assert_eq!(failure.into_message().as_bytes(), b"reply");
        assert_eq!(rep.try_recv(), Err(RecvError::WouldBlock));
    }
}

#[test]
fn requests_go_round() {
    for &net in KINDS {
        let mut req = Req::new();
        let mut reps = Vec::new();
        for _ in 0..3 {
            let rep = Rep::builder().bind(net.fresh()).unwrap();
            req.connect(&rep.bound_endpoints()[0]).unwrap();
            reps.push(rep);
        }
        req.wait_for_peers(3, LONG).unwrap();
        for n in 0..30 {
            req.send(numbered(0, n)).unwrap();
            let rep = &mut reps[n as usize % 3];
            let request = rep.recv_timeout(LONG).unwrap();
            rep.send(request).unwrap();
            assert_eq!(number_of(&req.recv_timeout(LONG).unwrap()), (0, n));
        }
    }
}

#[test]
fn a_replier_takes_requesters_in_turn() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let endpoint = rep.bound_endpoints()[0].clone();
        let mut reqs: Vec<_> = (0..5)
            .map(|_| Req::builder().connect(&endpoint).unwrap())
            .collect();
        for round in 0..20 {
            for (n, req) in (0..).zip(&mut reqs) {
                req.send(numbered(n, round)).unwrap();
            }
            let mut served = [false; 5];
            for _ in 0..5 {
                let request = rep.recv_timeout(LONG).unwrap();
                let (from, of) = number_of(&request);
                assert_eq!(of, round);
                assert!(!std::mem::replace(&mut served[from as usize], true));
                rep.send(request).unwrap();
            }
            for (n, req) in (0..).zip(&mut reqs) {
                assert_eq!(number_of(&req.recv_timeout(LONG).unwrap()), (n, round));
            }
        }
    }
}

// ---- PUSH and PULL ------------------------------------------------------------------------------

#[test]
fn pushed_messages_go_round() {
    for &net in KINDS {
        let mut push = Push::new();
        let mut pulls = Vec::new();
        for _ in 0..3 {
            let pull = Pull::builder().bind(net.fresh()).unwrap();
            push.connect(&pull.bound_endpoints()[0]).unwrap();
            pulls.push(pull);
        }
        push.wait_for_peers(3, LONG).unwrap();
        for n in 0..300 {
            push.send(numbered(0, n)).unwrap();
        }
        for n in 0..300 {
            let message = pulls[n as usize % 3].recv_timeout(LONG).unwrap();
            assert_eq!(number_of(&message), (0, n));
        }
    }
}

#[test]
fn pulled_messages_come_in_turn() {
    for &net in KINDS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        let mut pushes: Vec<_> = (0..3)
            .map(|_| Push::builder().connect(&endpoint).unwrap())
            .collect();
        pull.wait_for_peers(3, LONG).unwrap();
        for (sender, push) in (0..).zip(&mut pushes) {
            for n in 0..100 {
                push.send(numbered(sender, n)).unwrap();
            }
        }
        for push in pushes {
            assert_eq!(push.close().unsent, 0);
        }
        // Each has sent everything; what has arrived is taken in turn.
        await_true("all have gone", || pull.stats().peers == 0);
        for n in 0..100 {
            let mut seen = [false; 3];
            for _ in 0..3 {
                let (sender, of) = number_of(&pull.recv_timeout(LONG).unwrap());
                assert_eq!(of, n, "{net:?}");
                assert!(!std::mem::replace(&mut seen[sender as usize], true));
            }
        }
    }
}

/// A puller that has never read when it goes: all but what the kernel has taken goes to another one.
#[test]
fn what_a_dead_puller_was_not_sent_goes_to_others() {
    let (push, endpoint) = pusher(Net::Tcp4);
    let mut dead = std::net::TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap();
    // 23/ZMTP: a greeting of 3.0 with NULL, and READY.
    let mut hello = [0; 64];
    (hello[0], hello[9], hello[10]) = (0xff, 0x7f, 3);
    hello[12..16].copy_from_slice(b"NULL");
    let ready = b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PULL";
    dead.write_all(&[&hello[..], ready].concat()).unwrap();
    let lost = lost_with(dead, push, &endpoint);
    assert!(lost < 60, "{lost} of 100 were lost");
}

/// One that closes reads on and throws away until the other side has heard of it: of its own share, as much as comes.
#[test]
fn what_a_closed_puller_did_not_take_goes_to_others() {
    for &net in STREAMS {
        let (push, endpoint) = pusher(net);
        let closed = puller(&endpoint);
        let lost = lost_with(closed, push, &endpoint);
        assert!(lost <= 100, "{net:?}: {lost} were lost");
    }
}

fn pusher(net: Net) -> (Push, Endpoint) {
    let mut push = Push::builder()
        .kernel_send_buffer(16 << 10)
        .build()
        .unwrap();
    let endpoint = push.bind(net.fresh()).unwrap();
    (push, endpoint)
}

fn puller(endpoint: &Endpoint) -> Pull {
    let pull = Pull::builder().recv_hwm(1).kernel_recv_buffer(16 << 10);
    pull.connect(endpoint).unwrap()
}

/// Of two hundred messages that one who dies and another one share, how many are lost. None is received twice.
fn lost_with<D>(dead: D, mut push: Push, endpoint: &Endpoint) -> usize {
    const MESSAGES: u32 = 200;
    let mut alive = puller(endpoint);
    push.wait_for_peers(2, LONG).unwrap();
    let body = |n: u32| [&n.to_le_bytes()[..], &pattern(64 << 10)].concat();
    for n in 0..MESSAGES {
        push.send(body(n)).unwrap();
    }
    drop(dead);
    await_true("one is left", || push.stats().peers == 1);
    let sender = task(move || {
        push.send(body(MESSAGES)).unwrap();
        push.close().unsent
    });
    let mut seen = vec![false; MESSAGES as usize + 1];
    // In any order: the rest of the dead one's may be found after the last was sent.
    loop {
        let Ok(message) = alive.recv_timeout(SHORT) else {
            if sender.is_done() && alive.stats().peers == 0 {
                break;
            }
            continue;
        };
        let n = u32::from_le_bytes(message.as_bytes()[..4].try_into().unwrap());
        assert!(!std::mem::replace(&mut seen[n as usize], true), "{n} twice");
    }
    while let Ok(message) = alive.try_recv() {
        let n = u32::from_le_bytes(message.as_bytes()[..4].try_into().unwrap());
        assert!(!std::mem::replace(&mut seen[n as usize], true), "{n} twice");
    }
    assert!(seen[MESSAGES as usize]);
    assert_eq!(sender.join(), 0);
    seen.iter().filter(|seen| !**seen).count()
}

// ---- PUB and SUB --------------------------------------------------------------------------------

#[test]
fn subscriptions_are_prefixes() {
    for &net in KINDS {
        let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
        let endpoint = publisher.bound_endpoints()[0].clone();
        let sub = |prefixes: &[&str]| {
            let mut sub = Sub::builder().connect(&endpoint).unwrap();
            for prefix in prefixes {
                sub.subscribe(prefix).unwrap();
            }
            sub
        };
        let mut none = sub(&[]);
        let mut some = sub(&["ab", "abc", "x"]);
        let mut all = sub(&[""]);
        publisher.wait_for_subscribers(2, LONG).unwrap();
        publisher.wait_for_subscribers_of("x", 2, LONG).unwrap();
        publisher.wait_for_subscribers_of("abc", 2, LONG).unwrap();
        for topic in ["", "a", "ab", "abc", "abcd", "b", "ba", "x", "y"] {
            publisher.send(Message::multipart([topic, "ab"])).unwrap();
        }
        for topic in ["ab", "abc", "abcd", "x"] {
            let message = some.recv_timeout(LONG).unwrap();
            assert_eq!(message, Message::multipart([topic, "ab"]), "{net:?}");
        }
        for topic in ["", "a", "ab", "abc", "abcd", "b", "ba", "x", "y"] {
            let message = all.recv_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), topic.as_bytes());
        }
        assert_eq!(some.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(none.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(publisher.subscriber_count("a"), 1);
        assert_eq!(publisher.subscriber_count("abc"), 2);
    }
}

#[test]
fn subscriptions_count() {
    for &net in KINDS {
        let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
        let mut sub = Sub::builder()
            .connect(&publisher.bound_endpoints()[0])
            .unwrap();
        sub.subscribe("a").unwrap();
        sub.subscribe("a").unwrap();
        assert!(!sub.unsubscribe("b"));
        assert!(sub.unsubscribe("a"));
        sub.subscribe("mark").unwrap();
        publisher.wait_for_subscribers_of("mark", 1, LONG).unwrap();
        assert_eq!(publisher.subscriber_count("a"), 1);
        publisher.send("a1").unwrap();
        assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"a1");
        assert!(sub.unsubscribe("a"));
        assert!(!sub.unsubscribe("a"));
        await_true("the publisher knows", || {
            publisher.subscriber_count("a") == 0
        });
        publisher.send("a2").unwrap();
        publisher.send("mark").unwrap();
        assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"mark");
        assert_eq!(publisher.stats().dropped_unmatched, 1);
    }
}

#[test]
fn what_was_unsubscribed_from_is_filtered_on_arrival() {
    for &net in KINDS {
        let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
        let mut sub = Sub::builder()
            .connect(&publisher.bound_endpoints()[0])
            .unwrap();
        sub.subscribe("a").unwrap();
        sub.subscribe("b").unwrap();
        publisher.wait_for_subscribers_of("b", 1, LONG).unwrap();
        publisher.send("a").unwrap();
        publisher.send("b").unwrap();
        sub.unsubscribe("a");
        assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"b");
    }
}

#[test]
fn subscriptions_outlive_a_connection() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut sub = Sub::builder().reconnect(quick()).build().unwrap();
        sub.subscribe("a").unwrap();
        sub.connect(&endpoint).unwrap();
        for round in 0..4 {
            let mut publisher = Pub::builder().bind(&endpoint).unwrap();
            publisher.wait_for_subscribers_of("a", 1, LONG).unwrap();
            publisher
                .wait_for_subscribers_of(format!("more{round}"), usize::from(round > 0), LONG)
                .unwrap();
            publisher.send(format!("a{round}")).unwrap();
            let message = sub.recv_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), format!("a{round}").as_bytes());
            publisher.close();
            await_true("it is gone", || sub.stats().peers == 0);
            sub.subscribe(format!("more{}", round + 1)).unwrap();
        }
    }
}

#[test]
fn a_publisher_that_connects_and_subscribers_that_bind() {
    for &net in KINDS {
        let mut publisher = Pub::new();
        let mut early = Sub::builder().bind(net.fresh()).unwrap();
        early.subscribe("").unwrap();
        publisher.connect(&early.bound_endpoints()[0]).unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        publisher.send("1").unwrap();
        let mut late = Sub::builder().bind(net.fresh()).unwrap();
        publisher.connect(&late.bound_endpoints()[0]).unwrap();
        publisher.wait_for_peers(2, LONG).unwrap();
        publisher.send("2").unwrap();
        late.subscribe("").unwrap();
        publisher.wait_for_subscribers(2, LONG).unwrap();
        publisher.send("3").unwrap();
        for expected in ["1", "2", "3"] {
            assert_eq!(early.recv_timeout(LONG).unwrap(), Message::from(expected));
        }
        assert_eq!(late.recv_timeout(LONG).unwrap(), Message::from("3"));
    }
}

#[test]
fn a_subscriber_of_two_publishers_hears_both() {
    for &net in KINDS {
        let mut sub = Sub::new();
        sub.subscribe("before").unwrap();
        let mut publishers: Vec<_> = (0..2)
            .map(|_| Pub::builder().bind(net.fresh()).unwrap())
            .collect();
        for publisher in &publishers {
            sub.connect(&publisher.bound_endpoints()[0]).unwrap();
        }
        sub.subscribe("after").unwrap();
        for publisher in &mut publishers {
            publisher
                .wait_for_subscribers_of("before", 1, LONG)
                .unwrap();
            publisher.wait_for_subscribers_of("after", 1, LONG).unwrap();
            for topic in ["before", "neither", "after"] {
                publisher.send(topic).unwrap();
            }
            for topic in ["before", "after"] {
                let message = sub.recv_timeout(LONG).unwrap();
                assert_eq!(message.as_bytes(), topic.as_bytes());
            }
        }
    }
}
