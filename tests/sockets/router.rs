//! The rules of DEALER and ROUTER: who gets what, under which name, and what becomes of names.

use std::time::Duration;

use sinew::{
    ConnectError, Dealer, DisconnectReason, DuplicateId, Message, Pull, Push, ReconnectPolicy,
    RecvError, Rep, Req, Router, RoutingId, SendFailure, SocketEvent,
};

use crate::support::{
    await_event, await_true, number_of, numbered, task, KINDS, LONG, SHORT, STREAMS,
};

fn id(name: &str) -> RoutingId {
    RoutingId::new(name).unwrap()
}

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(20))
}

/// A dealer of this name that the router has heard.
#[track_caller]
fn heard(router: &mut Router, name: &str) -> Dealer {
    let mut dealer = Dealer::builder()
        .routing_id(id(name))
        .reconnect(quick())
        .connect(&router.bound_endpoints()[0])
        .unwrap();
    dealer.send("here").unwrap();
    let (from, message) = router.recv_from_timeout(LONG).unwrap();
    assert_eq!((from, message.as_bytes()), (id(name), &b"here"[..]));
    dealer
}

// ---- DEALER -------------------------------------------------------------------------------------

#[test]
fn a_dealer_deals_whole_messages_in_turn() {
    for &net in KINDS {
        let mut others: Vec<Dealer> = (0..3)
            .map(|_| Dealer::builder().bind(net.fresh()).unwrap())
            .collect();
        let mut dealer = Dealer::new();
        for other in &others {
            dealer.connect(&other.bound_endpoints()[0]).unwrap();
        }
        dealer.wait_for_peers(3, LONG).unwrap();
        for n in 0..30 {
            let message = Message::multipart([numbered(0, n).as_bytes(), b"", b"rest"]);
            dealer.send(message).unwrap();
        }
        for (turn, other) in others.iter_mut().enumerate() {
            for round in 0..10 {
                let message = other.recv_timeout(LONG).unwrap();
                assert_eq!(message.frame_count(), 3);
                let first = Message::new(message.frame(0).unwrap().clone());
                assert_eq!(number_of(&first), (0, round * 3 + turn as u32), "{net:?}");
                other.send(message).unwrap();
            }
            assert_eq!(other.try_recv(), Err(RecvError::WouldBlock));
        }
        let mut back: Vec<u32> = (0..30)
            .map(|_| {
                let message = dealer.recv_timeout(LONG).unwrap();
                number_of(&Message::new(message.frame(0).unwrap().clone())).1
            })
            .collect();
        back.sort_unstable();
        assert!(back.into_iter().eq(0..30), "{net:?}");
    }
}

#[test]
fn a_dealer_with_nobody_to_send_to_waits_and_gives_the_message_back() {
    for &net in KINDS {
        let mut dealer = Dealer::builder().bind(net.fresh()).unwrap();
        let error = dealer.try_send("x").unwrap_err();
        assert_eq!(error.reason(), SendFailure::WouldBlock);
        let error = dealer
            .send_timeout(Message::multipart(["x", "y"]), SHORT)
            .unwrap_err();
        assert_eq!(error.reason(), SendFailure::Timeout);
        assert_eq!(error.into_message(), Message::multipart(["x", "y"]));
        let endpoint = dealer.bound_endpoints()[0].clone();
        let other = task(move || {
            let mut other = Dealer::builder().connect(&endpoint).unwrap();
            other.recv_timeout(LONG).unwrap()
        });
        dealer.send_timeout("at last", LONG).unwrap();
        assert_eq!(other.join().as_bytes(), b"at last");
    }
}

#[test]
fn a_dealer_talks_to_a_replier() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut dealer = Dealer::builder()
            .connect(&rep.bound_endpoints()[0])
            .unwrap();
        dealer.send("no envelope").unwrap();
        for n in 0..5 {
            let body = numbered(0, n);
            dealer
                .send(Message::multipart([&b"way"[..], b"", body.as_bytes()]))
                .unwrap();
        }
        for n in 0..5 {
            assert_eq!(number_of(&rep.recv_timeout(LONG).unwrap()), (0, n));
            rep.send(numbered(1, n)).unwrap();
            let reply = dealer.recv_timeout(LONG).unwrap();
            let expected = Message::multipart([&b"way"[..], b"", numbered(1, n).as_bytes()]);
            assert_eq!(reply, expected);
        }
        assert_eq!(rep.stats().dropped_unexpected, 1);
    }
}

// ---- ROUTER: names ------------------------------------------------------------------------------

#[test]
fn a_router_names_who_announces_nothing() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let mut dealers: Vec<Dealer> = (0..20)
            .map(|_| {
                Dealer::builder()
                    .connect(&router.bound_endpoints()[0])
                    .unwrap()
            })
            .collect();
        for (n, dealer) in dealers.iter_mut().enumerate() {
            dealer.send(numbered(n as u32, 0)).unwrap();
        }
        let mut names = std::collections::HashMap::new();
        for _ in 0..20 {
            let (from, message) = router.recv_from_timeout(LONG).unwrap();
            assert_eq!(from.as_bytes().len(), 5);
            assert_eq!(from.as_bytes()[0], 0);
            assert!(from.is_automatic() && router.is_connected(&from));
            names.insert(from, number_of(&message).0);
        }
        assert_eq!(names.len(), 20, "{net:?}: one name each");
        for (name, n) in &names {
            router.send_to(name, numbered(*n, 1)).unwrap();
        }
        for (n, dealer) in dealers.iter_mut().enumerate() {
            let message = dealer.recv_timeout(LONG).unwrap();
            assert_eq!(number_of(&message), (n as u32, 1), "{net:?}");
            assert_eq!(dealer.try_recv(), Err(RecvError::WouldBlock));
        }
    }
}

/// The same names as are given away with a message, of messages that come in turn.
#[test]
fn a_name_is_lent_with_a_message() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let lent = router.try_recv_with(|_, _| unreachable!("there is no message"));
        assert_eq!(lent, Err(RecvError::WouldBlock));
        let mut dealers = ["one", "two"].map(|name| heard(&mut router, name));
        for round in 0..10 {
            for dealer in &mut dealers {
                dealer.send(numbered(1, round)).unwrap();
            }
            let mut names: Vec<RoutingId> = (0..2)
                .map(|_| {
                    while !router.wait_readable(None) {}
                    let taken = router.try_recv_with(|from, message| {
                        assert_eq!(number_of(&message), (1, round), "{net:?}");
                        from.clone()
                    });
                    taken.unwrap()
                })
                .collect();
            names.sort_unstable_by(|one, two| one.as_bytes().cmp(two.as_bytes()));
            assert_eq!(names, [id("one"), id("two")], "{net:?}");
        }
    }
}

#[test]
fn the_id_is_the_first_frame() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let mut dealer = heard(&mut router, "a dealer");
        dealer.send(Message::multipart(["one", "", "two"])).unwrap();
        let message = router.recv_timeout(LONG).unwrap();
        assert_eq!(message, Message::multipart(["a dealer", "one", "", "two"]));
        router.send(message).unwrap();
        let back = dealer.recv_timeout(LONG).unwrap();
        assert_eq!(back, Message::multipart(["one", "", "two"]));

        let refused = router.send("a dealer").unwrap_err();
        assert_eq!(refused.reason(), SendFailure::NotAddressed);
        assert_eq!(refused.into_message().as_bytes(), b"a dealer");
        let message = Message::multipart(["another", "x"]);
        let refused = router.send(message.clone()).unwrap_err();
        assert_eq!(refused.reason(), SendFailure::Unroutable);
        assert_eq!(refused.routing_id(), Some(&b"another"[..]));
        assert!(refused.to_string().contains("another"), "{refused}");
        assert_eq!(refused.into_message(), message);
    }
}

#[test]
fn what_cannot_be_sent_is_dropped_and_counted_if_that_is_wanted() {
    for &net in KINDS {
        let mut router = Router::builder()
            .mandatory(false)
            .send_hwm(1)
            .bind(net.fresh())
            .unwrap();
        router.send_to("nobody", "x").unwrap();
        router.send(Message::multipart(["nobody", "x"])).unwrap();
        assert_eq!(router.stats().dropped_peer_lost, 2);
        router.send("no address").unwrap();
        assert_eq!(router.stats().dropped_unexpected, 1);
        let mut dealer = Dealer::builder()
            .routing_id(id("slow"))
            .recv_hwm(1)
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        dealer.send("here").unwrap();
        router.recv_timeout(LONG).unwrap();
        let body = vec![7; 1 << 20];
        await_true("a full pipe", || {
            router.send_to("slow", &body).unwrap();
            router.stats().dropped_full > 0
        });
        // What was taken comes.
        assert_eq!(dealer.recv_timeout(LONG).unwrap().byte_len(), 1 << 20);
    }
}

#[test]
fn a_full_peer_is_waited_for_and_holds_nobody_else_up() {
    for &net in KINDS {
        let mut router = Router::builder().send_hwm(2).bind(net.fresh()).unwrap();
        let mut slow = heard(&mut router, "slow");
        let mut quick = heard(&mut router, "quick");
        let body = vec![7; 1 << 20];
        // Until neither the pipe nor the kernel takes more, which on a busy machine changes its mind.
        let mut sent = 0;
        loop {
            match router.send_to_timeout("slow", &body, SHORT) {
                Ok(()) => sent += 1,
                Err(refused) => {
                    assert_eq!(refused.reason(), SendFailure::Timeout);
                    assert_eq!(refused.routing_id(), Some(&b"slow"[..]));
                    match router.try_send_to("slow", &body) {
                        Ok(()) => sent += 1,
                        Err(refused) => {
                            assert_eq!(refused.reason(), SendFailure::WouldBlock);
                            if !router.peer_state("slow").unwrap().writable {
                                break;
                            }
                        }
                    }
                }
            }
        }
        assert!(router.peer_state("quick").unwrap().writable);
        router.try_send_to("quick", "not held up").unwrap();
        assert_eq!(quick.recv_timeout(LONG).unwrap().as_bytes(), b"not held up");
        let reader = task(move || {
            for _ in 0..=sent {
                assert_eq!(slow.recv_timeout(LONG).unwrap().byte_len(), 1 << 20);
            }
            slow
        });
        router.send_to_timeout("slow", &body, LONG).unwrap();
        drop(reader.join());
    }
}

#[test]
fn a_peer_that_leaves_is_unknown_and_what_it_sent_has_its_name() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let mut dealer = heard(&mut router, "leaver");
        dealer.send("last words").unwrap();
        dealer.close();
        await_true("the peer has gone", || !router.is_connected("leaver"));
        await_true("and is unknown", || router.peer_state("leaver").is_none());
        let refused = router.send_to("leaver", "x").unwrap_err();
        assert_eq!(refused.reason(), SendFailure::Unroutable);
        let (from, message) = router.recv_from_timeout(LONG).unwrap();
        assert_eq!(
            (from, message.as_bytes()),
            (id("leaver"), &b"last words"[..])
        );
        // The name is free again.
        drop(heard(&mut router, "leaver"));
    }
}

// ---- ROUTER: duplicates -------------------------------------------------------------------------

#[test]
fn who_announces_a_name_that_is_taken_is_refused() {
    for &net in STREAMS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let mut monitor = router.monitor();
        let mut first = heard(&mut router, "same");
        let mut second = Dealer::builder()
            .routing_id(id("same"))
            .reconnect(quick())
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        second.send("second").unwrap();
        await_event(&mut monitor, "a refusal", |event| {
            let SocketEvent::HandshakeFailed { reason, .. } = event else {
                return false;
            };
            let routing_id = id("same");
            assert_eq!(*reason, DisconnectReason::DuplicateRoutingId { routing_id });
            true
        });
        router.send_to("same", "to the first").unwrap();
        assert_eq!(
            first.recv_timeout(LONG).unwrap().as_bytes(),
            b"to the first"
        );
        assert_eq!(router.try_recv(), Err(RecvError::WouldBlock));
        // Once the name is free, the one that kept trying has it. What it sent into a connection that was
        // refused is lost.
        first.close();
        await_true("a message of the second", || {
            let _ = second.try_send("again");
            match router.recv_from_timeout(SHORT) {
                Ok((from, _)) => {
                    assert_eq!(from, id("same"));
                    true
                }
                Err(_) => false,
            }
        });
    }
}

#[test]
fn a_taken_name_is_an_error_over_inproc() {
    let mut router = Router::builder().bind("inproc://router-dup").unwrap();
    let mut first = heard(&mut router, "same");
    let error = Dealer::builder()
        .routing_id(id("same"))
        .build()
        .unwrap()
        .connect("inproc://router-dup")
        .unwrap_err();
    assert!(
        matches!(&error, ConnectError::DuplicateRoutingId { routing_id, .. } if **routing_id == id("same")),
        "{error}"
    );
    router.send_to("same", "x").unwrap();
    assert_eq!(first.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    assert_eq!(router.stats().peers, 1);
}

#[test]
fn a_name_is_handed_over() {
    for &net in KINDS {
        let mut router = Router::builder()
            .duplicate_id(DuplicateId::Handover)
            .bind(net.fresh())
            .unwrap();
        let mut monitor = router.monitor();
        let mut first = Dealer::builder()
            .routing_id(id("same"))
            .reconnect(ReconnectPolicy::never())
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        first.send("first").unwrap();
        router.recv_timeout(LONG).unwrap();
        let mut second = Dealer::builder()
            .routing_id(id("same"))
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        second.send("second").unwrap();
        let (from, message) = router.recv_from_timeout(LONG).unwrap();
        assert_eq!((from, message.as_bytes()), (id("same"), &b"second"[..]));
        router.send_to("same", "to the second").unwrap();
        assert_eq!(
            second.recv_timeout(LONG).unwrap().as_bytes(),
            b"to the second"
        );
        await_true("one peer", || router.stats().peers == 1);
        assert_eq!(first.try_recv(), Err(RecvError::WouldBlock), "{net:?}");
        if STREAMS.contains(&net) {
            await_event(&mut monitor, "the end of the first", |event| {
                let SocketEvent::Disconnected {
                    routing_id, reason, ..
                } = event
                else {
                    return false;
                };
                assert_eq!(*routing_id, Some(id("same")));
                *reason == DisconnectReason::Replaced
            });
        }
        assert!(router.is_connected("same"));
    }
}

#[test]
fn a_duplicate_may_be_mute() {
    for &net in KINDS {
        let mut router = Router::builder()
            .duplicate_id(DuplicateId::Mute)
            .bind(net.fresh())
            .unwrap();
        let mut first = heard(&mut router, "same");
        let mut second = Dealer::builder()
            .routing_id(id("same"))
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        router.wait_for_peers(2, LONG).unwrap();
        // Frames of a mute peer name nobody.
        second.send(Message::multipart(["same", "x"])).unwrap();
        await_true("its message is dropped", || {
            assert_eq!(router.try_recv(), Err(RecvError::WouldBlock));
            router.stats().dropped_unexpected == 1
        });
        router.send_to("same", "to the first").unwrap();
        assert_eq!(
            first.recv_timeout(LONG).unwrap().as_bytes(),
            b"to the first"
        );
        second.close();
        await_true("the mute one has gone", || router.stats().peers == 1);
        assert!(router.is_connected("same"));
    }
}

// ---- ROUTER: names given here -------------------------------------------------------------------

#[test]
fn a_connection_gets_the_name_it_is_given() {
    for &net in KINDS {
        for immediate in [false, true] {
            let mut dealer = Dealer::builder()
                .routing_id(id("announced"))
                .bind(net.fresh())
                .unwrap();
            let endpoint = dealer.bound_endpoints()[0].clone();
            let mut router = Router::builder().immediate(immediate).build().unwrap();
            router.connect_as(&id("given"), &endpoint).unwrap();
            if immediate {
                await_true("the name", || router.is_connected("given"));
            }
            router.send_to("given", "hello").unwrap();
            assert_eq!(dealer.recv_timeout(LONG).unwrap().as_bytes(), b"hello");
            dealer.send("back").unwrap();
            let (from, _) = router.recv_from_timeout(LONG).unwrap();
            assert_eq!(from, id("given"), "{net:?}");
            let error = router.connect_as(&id("given"), &endpoint).unwrap_err();
            assert!(
                matches!(error, ConnectError::DuplicateRoutingId { .. }),
                "{error}"
            );
            assert_eq!(router.connected_endpoints().len(), 1);
            // For that connection only.
            router.connect(&endpoint).unwrap();
            await_true("the second", || router.is_connected("announced"));
        }
    }
}

#[test]
fn a_connection_keeps_its_name_when_it_is_made_again() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut router = Router::builder().reconnect(quick()).build().unwrap();
        router.connect(&endpoint).unwrap();
        let mut dealer = Dealer::builder()
            .routing_id(id("first"))
            .bind(&endpoint)
            .unwrap();
        await_true("the name", || router.is_connected("first"));
        dealer.close();
        await_true("the loss", || !router.is_connected("first"));
        assert!(!router.peer_state("first").unwrap().connected);
        router.send_to("first", "queued").unwrap();
        dealer = Dealer::builder()
            .routing_id(id("second"))
            .bind(&endpoint)
            .unwrap();
        assert_eq!(dealer.recv_timeout(LONG).unwrap().as_bytes(), b"queued");
        dealer.send("back").unwrap();
        let (from, _) = router.recv_from_timeout(LONG).unwrap();
        assert_eq!(from, id("first"), "{net:?}");
        assert!(router.peer_state("second").is_none());
    }
}

// ---- ROUTER and others --------------------------------------------------------------------------

#[test]
fn routers_talk_to_each_other_by_name() {
    for &net in KINDS {
        let mut a = Router::builder()
            .routing_id(id("a"))
            .bind(net.fresh())
            .unwrap();
        let mut b = Router::builder()
            .routing_id(id("b"))
            .connect(&a.bound_endpoints()[0])
            .unwrap();
        await_true("both names", || a.is_connected("b") && b.is_connected("a"));
        a.send(Message::multipart(["b", "from a", ""])).unwrap();
        b.send_to("a", "from b").unwrap();
        let expected = Message::multipart(["a", "from a", ""]);
        assert_eq!(b.recv_timeout(LONG).unwrap(), expected);
        let (from, message) = a.recv_from_timeout(LONG).unwrap();
        assert_eq!((from, message.as_bytes()), (id("b"), &b"from b"[..]));
    }
}

#[test]
fn requests_pass_through_a_chain_of_routers_and_dealers() {
    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut front = Router::builder().bind(net.fresh()).unwrap();
        let mut back = Dealer::builder()
            .connect(&rep.bound_endpoints()[0])
            .unwrap();
        let mut req = Req::builder().connect(&front.bound_endpoints()[0]).unwrap();
        for n in 0..20 {
            req.send(numbered(0, n)).unwrap();
            back.send(front.recv_timeout(LONG).unwrap()).unwrap();
            assert_eq!(number_of(&rep.recv_timeout(LONG).unwrap()), (0, n));
            rep.send(numbered(1, n)).unwrap();
            front.send(back.recv_timeout(LONG).unwrap()).unwrap();
            assert_eq!(
                number_of(&req.recv_timeout(LONG).unwrap()),
                (1, n),
                "{net:?}"
            );
        }
    }
}

#[test]
fn a_router_answers_requesters_in_any_order() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let mut reqs: Vec<Req> = (0..5)
            .map(|_| {
                Req::builder()
                    .connect(&router.bound_endpoints()[0])
                    .unwrap()
            })
            .collect();
        for (n, req) in reqs.iter_mut().enumerate() {
            req.send(numbered(n as u32, 0)).unwrap();
        }
        let mut requests: Vec<Message> =
            (0..5).map(|_| router.recv_timeout(LONG).unwrap()).collect();
        requests.reverse();
        for request in requests {
            // The id, the number of the request, the delimiter, the body.
            assert_eq!(request.frame_count(), 4);
            router.send(request).unwrap();
        }
        for (n, req) in reqs.iter_mut().enumerate() {
            let reply = req.recv_timeout(LONG).unwrap();
            assert_eq!(number_of(&reply), (n as u32, 0));
        }
    }
}

#[test]
fn events_name_the_peer() {
    for &net in STREAMS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let mut monitor = router.monitor();
        for announced in [Some(id("named")), None] {
            let mut builder = Dealer::builder();
            if let Some(id) = announced.clone() {
                builder = builder.routing_id(id);
            }
            let mut dealer = builder.connect(&router.bound_endpoints()[0]).unwrap();
            dealer.send("x").unwrap();
            let (from, _) = router.recv_from_timeout(LONG).unwrap();
            assert!(announced.map_or(from.is_automatic(), |id| from == id));
            dealer.close();
            let mut seen = 0;
            await_event(&mut monitor, "its end", |event| match event {
                SocketEvent::HandshakeSucceeded { routing_id, .. } => {
                    assert_eq!(routing_id.as_ref(), Some(&from));
                    seen += 1;
                    false
                }
                SocketEvent::Disconnected { routing_id, .. } => {
                    assert_eq!(routing_id.as_ref(), Some(&from));
                    true
                }
                _ => false,
            });
            assert_eq!(seen, 1, "{net:?}");
        }
    }
}

#[test]
fn types_that_may_not_talk_do_not() {
    let mut router = Router::builder().bind("inproc://router-types").unwrap();
    let error = Push::new().connect("inproc://router-types").unwrap_err();
    assert!(
        matches!(error, ConnectError::Incompatible { .. }),
        "{error}"
    );
    let error = Rep::new().connect("inproc://router-types").unwrap_err();
    assert!(
        matches!(error, ConnectError::Incompatible { .. }),
        "{error}"
    );
    let mut dealer = Dealer::builder().bind("inproc://dealer-types").unwrap();
    let error = Req::new().connect("inproc://dealer-types").unwrap_err();
    assert!(
        matches!(error, ConnectError::Incompatible { .. }),
        "{error}"
    );
    let error = Pull::new().connect("inproc://dealer-types").unwrap_err();
    assert!(
        matches!(error, ConnectError::Incompatible { .. }),
        "{error}"
    );
    // Nobody was let in, and those who may are.
    assert_eq!((router.stats().peers, dealer.stats().peers), (0, 0));
    dealer.connect("inproc://router-types").unwrap();
    dealer.send("x").unwrap();
    router.recv_timeout(LONG).unwrap();
    for &net in STREAMS {
        let router = Router::builder().bind(net.fresh()).unwrap();
        let mut monitor = router.monitor();
        let _push = Push::builder()
            .reconnect(quick())
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        await_event(&mut monitor, "a refusal", |event| {
            matches!(
                event,
                SocketEvent::HandshakeFailed {
                    reason: DisconnectReason::Protocol(_),
                    ..
                }
            )
        });
    }
}

/// All there at once, over inproc, which needs no descriptors. One of them then says more than the others.
#[test]
fn ten_thousand_peers_at_once_are_told_apart() {
    const PEERS: u32 = 10_000;
    let mut router = Router::builder().bind("inproc://router-many").unwrap();
    let mut dealers: Vec<Dealer> = (0..PEERS)
        .map(|n| {
            let mut builder = Dealer::builder();
            if n % 2 == 0 {
                builder = builder.routing_id(id(&format!("dealer {n}")));
            }
            let mut dealer = builder.connect("inproc://router-many").unwrap();
            dealer.send(numbered(n, 0)).unwrap();
            dealer
        })
        .collect();
    let mut names = Vec::new();
    for _ in 0..PEERS {
        let (from, message) = router.recv_from_timeout(LONG).unwrap();
        names.push((from, number_of(&message).0));
    }
    assert_eq!(router.try_recv(), Err(RecvError::WouldBlock));
    for round in 1..=1000 {
        dealers[7].send(numbered(7, round)).unwrap();
        let (_, message) = router.recv_from_timeout(LONG).unwrap();
        assert_eq!(number_of(&message), (7, round));
    }
    for (name, n) in names.iter().rev() {
        router.send_to(name, numbered(*n, 1)).unwrap();
    }
    for (n, dealer) in dealers.iter_mut().enumerate() {
        let message = dealer.recv_timeout(LONG).unwrap();
        assert_eq!(number_of(&message), (n as u32, 1));
    }
    drop(dealers);
    await_true("all have gone", || router.stats().peers == 0);
    for (name, _) in &names {
        assert!(router.try_send_to(name, "x").is_err());
    }
}

/// A peer that this side had connected to loses its name: its endpoint is given up.
#[test]
fn a_name_is_handed_over_from_a_connection_that_was_made_here() {
    for &net in STREAMS {
        let mut router = Router::builder()
            .duplicate_id(DuplicateId::Handover)
            .reconnect(quick())
            .bind(net.fresh())
            .unwrap();
        let mut first = Dealer::builder()
            .routing_id(id("same"))
            .bind(net.fresh())
            .unwrap();
        let theirs = first.bound_endpoints()[0].clone();
        router.connect(&theirs).unwrap();
        await_true("the name", || router.is_connected("same"));
        let mut monitor = router.monitor();
        let mut second = heard(&mut router, "same");
        await_event(
            &mut monitor,
            "the end of the first",
            |event| matches!(event, SocketEvent::Closed { endpoint, .. } if *endpoint == theirs),
        );
        router.send_to("same", "to the second").unwrap();
        assert_eq!(
            second.recv_timeout(LONG).unwrap().as_bytes(),
            b"to the second"
        );
        assert_eq!(first.try_recv(), Err(RecvError::WouldBlock));
        await_true("one peer", || router.stats().peers == 1);
    }
}
