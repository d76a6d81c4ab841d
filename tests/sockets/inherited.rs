//! What REP has of ROUTER, and PUB of XPUB, as with libzmq.

use sinew::{
    ConnectError, Dealer, DisconnectReason, DuplicateId, Message, Pub, Rep, RoutingId, SendFailure,
    SocketEvent, Sub,
};

use crate::support::{await_event, await_true, KINDS, LONG, STREAMS};

fn request(body: &str) -> Message {
    Message::multipart(["", body])
}

fn named(name: &str) -> RoutingId {
    RoutingId::new(name).unwrap()
}

#[test]
fn replies_for_nobody_are_errors_or_dropped() {
    for &net in KINDS {
        for mandatory in [true, false] {
            let rep = Rep::builder().mandatory(mandatory).bind(net.fresh());
            let mut rep = rep.unwrap();
            let endpoint = rep.bound_endpoints()[0].clone();
            let mut gone = Dealer::builder().connect(&endpoint).unwrap();
            gone.send(request("x")).unwrap();
            assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"x");
            gone.close();
            await_true("it is gone", || rep.connections().is_empty());
            let sent = rep.send("too late");
            assert_eq!(sent.is_ok(), !mandatory, "{net:?}");
            if let Err(error) = sent {
                assert_eq!(error.reason(), SendFailure::PeerLost);
            }
            assert_eq!(rep.stats().dropped_peer_lost, 1, "{net:?}");
            // It is the turn of the next request.
            let mut next = Dealer::builder().connect(&endpoint).unwrap();
            next.send(request("y")).unwrap();
            assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"y");
            rep.send("z").unwrap();
            assert_eq!(next.recv_timeout(LONG).unwrap(), request("z"));
        }
    }
}

#[test]
fn replies_for_who_is_full_wait_or_are_dropped() {
    for mandatory in [true, false] {
        let rep = Rep::builder().mandatory(mandatory).send_hwm(1);
        let mut rep = rep.bind("inproc://full-of-replies").unwrap();
        let dealer = Dealer::builder().recv_hwm(1);
        let mut dealer = dealer.connect("inproc://full-of-replies").unwrap();
        let mut dropped = 0;
        for _ in 0..4 {
            dealer.send(request("x")).unwrap();
            rep.recv_timeout(LONG).unwrap();
            if let Err(error) = rep.try_send("y") {
                assert_eq!(error.reason(), SendFailure::WouldBlock);
                assert!(mandatory && rep.skip_reply());
                dropped += 1;
            }
        }
        // What both sides allow together is two.
        assert_eq!(dropped, if mandatory { 2 } else { 0 });
        assert_eq!(rep.stats().dropped_full, if mandatory { 0 } else { 2 });
        for _ in 0..2 {
            assert_eq!(dealer.recv_timeout(LONG).unwrap(), request("y"));
        }
        assert!(dealer.try_recv().is_err());
    }
}

/// The first is `a`, and so is the second.
#[test]
fn what_becomes_of_a_second_requester_of_one_name() {
    for &net in STREAMS {
        for rule in [
            None,
            Some(DuplicateId::Mute),
            Some(DuplicateId::Handover),
            Some(DuplicateId::Refuse),
        ] {
            let rep = Rep::builder().duplicate_id(rule).bind(net.fresh());
            let mut rep = rep.unwrap();
            assert_eq!(rep.options().duplicate_id(), rule);
            let mut monitor = rep.monitor();
            let endpoint = rep.bound_endpoints()[0].clone();
            let dealer = || {
                let dealer = Dealer::builder().routing_id(named("a"));
                dealer.connect(&endpoint).unwrap()
            };
            let mut first = dealer();
            first.send(request("first")).unwrap();
            assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"first");
            rep.send("reply").unwrap();
            let mut second = dealer();
            second.send(request("second")).unwrap();
            let refused = |event: &SocketEvent| {
                matches!(
                    event,
                    SocketEvent::HandshakeFailed {
                        reason: DisconnectReason::DuplicateRoutingId { .. },
                        ..
                    }
                )
            };
            let replaced = |event: &SocketEvent| {
                matches!(
                    event,
                    SocketEvent::Disconnected {
                        reason: DisconnectReason::Replaced,
                        ..
                    }
                )
            };
            match rule {
                Some(DuplicateId::Refuse) => await_event(&mut monitor, "refused", refused),
                Some(DuplicateId::Mute) => {
                    await_true("it is heard and dropped", || {
                        assert!(rep.try_recv().is_err());
                        rep.stats().dropped_unexpected == 1
                    });
                    first.send(request("again")).unwrap();
                    assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"again");
                }
                rule => {
                    assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"second");
                    rep.send("reply").unwrap();
                    assert_eq!(second.recv_timeout(LONG).unwrap(), request("reply"));
                    if rule.is_some() {
                        await_event(&mut monitor, "the first is ended", replaced);
                    }
                }
            }
        }
    }
}

#[test]
fn a_name_of_our_choice_is_taken_once() {
    for &net in KINDS {
        for rule in [None, Some(DuplicateId::Mute)] {
            let mut rep = Rep::builder().duplicate_id(rule).build().unwrap();
            let mut dealers: Vec<Dealer> = (0..2)
                .map(|_| Dealer::builder().bind(net.fresh()).unwrap())
                .collect();
            let at = |dealer: &Dealer| dealer.bound_endpoints()[0].clone();
            rep.connect_as(&named("a"), at(&dealers[0])).unwrap();
            match rep.connect_as(&named("a"), at(&dealers[1])) {
                Err(ConnectError::DuplicateRoutingId { routing_id, .. }) => {
                    assert_eq!((rule.is_some(), *routing_id), (true, named("a")));
                    rep.connect_as(&named("b"), at(&dealers[1])).unwrap();
                }
                other => assert!(other.is_ok() && rule.is_none(), "{net:?}: {other:?}"),
            }
            for dealer in &mut dealers {
                dealer.send(request("x")).unwrap();
                assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"x");
                rep.send("y").unwrap();
                assert_eq!(dealer.recv_timeout(LONG).unwrap(), request("y"));
            }
        }
    }
}

#[test]
fn a_replier_greets_and_hears_of_who_has_left() {
    for &net in KINDS {
        let rep = Rep::builder()
            .hello_message(request("welcome"))
            .probe_router(true)
            .disconnect_message(request("it left"));
        let mut rep = rep.bind(net.fresh()).unwrap();
        let dealer = Dealer::builder().connect(&rep.bound_endpoints()[0]);
        let mut dealer = dealer.unwrap();
        assert_eq!(dealer.recv_timeout(LONG).unwrap(), request("welcome"));
        assert_eq!(dealer.recv_timeout(LONG).unwrap(), Message::default());
        dealer.close();
        assert_eq!(rep.recv_timeout(LONG).unwrap().as_bytes(), b"it left");
        assert!(rep.send("to nobody").is_err(), "{net:?}");
    }
}

#[test]
fn a_publisher_welcomes_its_subscribers() {
    for &net in KINDS {
        for bound in [true, false] {
            let welcome = Message::from("a: welcome");
            let publisher = Pub::builder().welcome_message(welcome.clone());
            let mut publisher = publisher.build().unwrap();
            assert_eq!(publisher.options().welcome_message(), Some(&welcome));
            let mut sub = Sub::new();
            sub.subscribe("a").unwrap();
            if bound {
                sub.connect(publisher.bind(net.fresh()).unwrap()).unwrap();
            } else {
                publisher.connect(sub.bind(net.fresh()).unwrap()).unwrap();
            }
            assert_eq!(sub.recv_timeout(LONG).unwrap(), welcome, "{net:?}");
            publisher.wait_for_subscribers(1, LONG).unwrap();
            publisher.send("a: news").unwrap();
            assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"a: news");
        }
    }
}

#[test]
fn a_publisher_whose_subscriptions_are_made_by_hand_has_none() {
    for &net in KINDS {
        for inverted in [false, true] {
            let publisher = Pub::builder().manual(true).invert_matching(inverted);
            let mut publisher = publisher.bind(net.fresh()).unwrap();
            let mut monitor =
                publisher.monitor_with(sinew::MonitorOptions::default().subscriptions(true));
            let sub = Sub::builder().invert_matching(inverted);
            let mut sub = sub.connect(&publisher.bound_endpoints()[0]).unwrap();
            sub.subscribe("a").unwrap();
            await_event(&mut monitor, "it has come and subscribed", |event| {
                matches!(event, SocketEvent::SubscriptionAdded(_))
            });
            assert_eq!(publisher.topic_count(), 0);
            let (a, b) = (usize::from(inverted), usize::from(inverted));
            assert_eq!(publisher.subscriber_count("a"), a, "{net:?}");
            assert_eq!(publisher.subscriber_count("b"), b, "{net:?}");
            publisher.send("a").unwrap();
            assert_eq!(publisher.stats().dropped_unmatched, u64::from(!inverted));
        }
    }
}
