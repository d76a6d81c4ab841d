//! Options of one kind of socket alone, changed while it is in use.

use sinew::{
    Dealer, Dgram, DisconnectReason, DuplicateId, HighWaterMark, Message, OptionError, Pub, Pull,
    Push, Radio, Rep, Req, Router, RoutingId, SendFailure, Shared, SocketEvent, Stream, Sub,
    SubscriptionEvent, XPub, XSub,
};

use crate::support::{await_event, await_true, KINDS, LONG, SHORT, STREAMS};

/// A router that hands requests back by hand.
fn answer(router: &mut Router, body: &str) -> usize {
    let (from, request) = router.recv_from_timeout(LONG).unwrap();
    let envelope = request.frame_count() - 1;
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for frame in &request.frames()[..envelope] {
        frames.push(frame.to_vec());
    }
    frames.push(body.into());
    router.send_to(&from, Message::multipart(frames)).unwrap();
    envelope
}

#[test]
fn requests_take_another_form_from_the_next_one_on() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let mut req = Req::builder().connect(&router.bound_endpoints()[0]);
        let req = req.as_mut().unwrap();
        req.send("with an id").unwrap();
        req.reconfigure(|options| options.correlated(false).relaxed(false))
            .unwrap();
        assert!(!req.options().correlated() && !req.options().relaxed());
        let refused = req.send("out of turn").unwrap_err().reason();
        assert!(matches!(refused, SendFailure::OutOfTurn { .. }));
        // The one that is out has the form that it was sent with.
        assert_eq!(answer(&mut router, "one"), 2, "{net:?}");
        assert_eq!(req.recv_timeout(LONG).unwrap().as_bytes(), b"one");
        req.send("without").unwrap();
        assert_eq!(answer(&mut router, "two"), 1, "{net:?}");
        assert_eq!(req.recv_timeout(LONG).unwrap().as_bytes(), b"two");
        req.reconfigure(|options| options.correlated(true)).unwrap();
        req.send("with").unwrap();
        assert_eq!(answer(&mut router, "three"), 2, "{net:?}");
        assert_eq!(req.recv_timeout(LONG).unwrap().as_bytes(), b"three");
    }
}

#[test]
fn what_nobody_can_have_is_an_error_or_not() {
    let mut router = Router::new();
    assert!(router.send_to("nobody", "x").is_err());
    router
        .reconfigure(|options| options.mandatory(false))
        .unwrap();
    router.send_to("nobody", "x").unwrap();
    assert_eq!(router.stats().dropped_peer_lost, 1);
    router
        .reconfigure(|options| options.mandatory(true))
        .unwrap();
    assert!(router.send_to("nobody", "x").is_err());

    for &net in KINDS {
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let dealer = Dealer::builder().connect(&rep.bound_endpoints()[0]);
        let mut dealer = dealer.unwrap();
        dealer.send(Message::multipart(["", "x"])).unwrap();
        rep.recv_timeout(LONG).unwrap();
        dealer.close();
        await_true("it is gone", || rep.connections().is_empty());
        rep.reconfigure(|options| options.mandatory(false)).unwrap();
        rep.send("to nobody").unwrap();
    }
}

#[test]
fn names_that_come_later_are_under_the_new_rule() {
    for &net in STREAMS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let endpoint = router.bound_endpoints()[0].clone();
        let mut monitor = router.monitor();
        let dealer = || {
            let dealer = Dealer::builder().routing_id(RoutingId::new("a").unwrap());
            dealer.connect(&endpoint).unwrap()
        };
        let _first = dealer();
        router.wait_for_peers(1, LONG).unwrap();
        let refused = dealer();
        await_event(&mut monitor, "refused", |event| {
            matches!(event, SocketEvent::HandshakeFailed { .. })
        });
        drop(refused);
        router
            .reconfigure(|options| options.duplicate_id(DuplicateId::Handover))
            .unwrap();
        let mut second = dealer();
        second.send("x").unwrap();
        await_event(&mut monitor, "the first gives way", |event| {
            matches!(
                event,
                SocketEvent::Disconnected {
                    reason: DisconnectReason::Replaced,
                    ..
                }
            )
        });
        assert_eq!(router.recv_from_timeout(LONG).unwrap().1.as_bytes(), b"x");
    }
}

fn subscribed(topic: &'static str) -> SubscriptionEvent {
    SubscriptionEvent::Subscribed(topic.into())
}

fn unsubscribed(topic: &'static str) -> SubscriptionEvent {
    SubscriptionEvent::Unsubscribed(topic.into())
}

#[test]
fn what_an_xpub_hears_changes_while_it_is_used() {
    for &net in KINDS {
        let mut xpub = XPub::builder().bind(net.fresh()).unwrap();
        let endpoint = xpub.bound_endpoints()[0].clone();
        let mut monitor = xpub.monitor_with(sinew::MonitorOptions::default().subscriptions(true));
        let mut heard = |what: &str| {
            await_event(&mut monitor, what, |event| {
                matches!(
                    event,
                    SocketEvent::SubscriptionAdded(_) | SocketEvent::SubscriptionRemoved(_)
                )
            });
        };
        let mut subs = [(); 2].map(|()| Sub::builder().connect(&endpoint).unwrap());
        subs[0].subscribe("a").unwrap();
        heard("the first");
        subs[1].subscribe("a").unwrap();
        heard("a repetition");
        assert_eq!(xpub.recv_event_timeout(LONG).unwrap(), subscribed("a"));
        assert!(xpub.try_recv_event().is_err(), "{net:?}");

        xpub.reconfigure(|options| options.verbose(true)).unwrap();
        subs[0].subscribe("a").unwrap();
        assert_eq!(xpub.recv_event_timeout(LONG).unwrap(), subscribed("a"));
        heard("another repetition");

        xpub.reconfigure(|options| options.verboser(true)).unwrap();
        subs[1].unsubscribe("a");
        assert_eq!(xpub.recv_event_timeout(LONG).unwrap(), unsubscribed("a"));

        // From here on it decides what they get, and what they have they keep.
        xpub.reconfigure(|options| options.manual(true)).unwrap();
        subs[1].subscribe("b").unwrap();
        assert_eq!(xpub.recv_event_timeout(LONG).unwrap(), subscribed("b"));
        assert_eq!(
            (xpub.subscriber_count("a"), xpub.subscriber_count("b")),
            (1, 0)
        );
        assert!(xpub.subscribe("b").unwrap());
        assert_eq!(xpub.subscriber_count("b"), 1);
        xpub.reconfigure(|options| options.manual(false).verbose(true))
            .unwrap();
        assert!(xpub.subscribe("c").is_err());
        subs[1].subscribe("c").unwrap();
        assert_eq!(xpub.recv_event_timeout(LONG).unwrap(), subscribed("c"));
        assert_eq!(xpub.subscriber_count("c"), 1);
        drop(subs);
        await_true("nothing is held", || xpub.topic_count() == 0);
    }
}

#[test]
fn matching_and_dropping_change_from_the_next_message_on() {
    for &net in KINDS {
        let mut publisher = Pub::builder().bind(net.fresh()).unwrap();
        let sub = Sub::builder();
        let mut sub = sub.connect(&publisher.bound_endpoints()[0]).unwrap();
        sub.subscribe("a").unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        // So that the last match would stand.
        publisher.send("a").unwrap();
        assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"a");
        publisher
            .reconfigure(|options| options.invert_matching(true))
            .unwrap();
        sub.reconfigure(|options| options.invert_matching(true))
            .unwrap();
        publisher.send("a").unwrap();
        publisher.send("b").unwrap();
        assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"b");
        publisher
            .reconfigure(|options| options.no_drop(true).send_hwm(1))
            .unwrap();
        sub.set_recv_hwm(1).unwrap();
        let refused = loop {
            if let Err(error) = publisher.try_send(vec![b'b'; 100_000]) {
                break error.reason();
            }
        };
        assert_eq!(refused, SendFailure::WouldBlock);
        assert_eq!(publisher.stats().dropped_full, 0, "{net:?}");
        publisher
            .reconfigure(|options| options.no_drop(false).manual(true))
            .unwrap();
        sub.subscribe("c").unwrap();
        while publisher.stats().dropped_full == 0 {
            publisher.send(vec![b'b'; 100_000]).unwrap();
        }
    }
    let mut radio = Radio::builder().send_hwm(1).build().unwrap();
    radio.reconfigure(|options| options.no_drop(true)).unwrap();
    assert!(radio.options().no_drop());
}

#[test]
fn cancellations_are_told_from_now_on() {
    for &net in KINDS {
        let mut xpub = XPub::builder().verboser(true).bind(net.fresh()).unwrap();
        let endpoint = &xpub.bound_endpoints()[0].clone();
        let mut xsub = XSub::builder().connect(endpoint).unwrap();
        for topic in ["a", "a"] {
            xsub.subscribe(topic).unwrap();
            assert_eq!(xpub.recv_event_timeout(LONG).unwrap(), subscribed(topic));
        }
        xsub.reconfigure(|options| options.verbose_unsubscribe(true))
            .unwrap();
        xsub.unsubscribe("a");
        assert_eq!(xpub.recv_event_timeout(LONG).unwrap(), unsubscribed("a"));
    }
}

#[test]
fn shared_handles_change_options_too() {
    let pull = Pull::builder().recv_hwm(1).bind("inproc://shared-options");
    let pull = pull.unwrap();
    let push = Push::builder().send_hwm(1);
    let push = Shared::new(push.connect("inproc://shared-options").unwrap());
    let fill = || {
        let mut sent = 0;
        while push.try_send("x").is_ok() {
            sent += 1;
        }
        sent
    };
    assert_eq!(fill(), 2);
    push.set_send_hwm(5).unwrap();
    assert_eq!(push.options().send_hwm(), HighWaterMark::new(5));
    assert_eq!(fill(), 4);
    let refused: Result<(), OptionError> = push.set_recv_hwm(0);
    assert_eq!(refused.unwrap_err().option(), "recv_hwm");
    push.set_linger(None).unwrap();
    push.clone().reconfigure(|options| options.tos(4)).unwrap();
    assert_eq!(push.options().linger(), None);
    assert_eq!(push.options().tos(), Some(4));

    let pull = Shared::new(pull);
    pull.set_recv_hwm(3).unwrap();
    pull.recv().unwrap();
    // 5 and 3, of which 5 are there.
    assert_eq!(fill(), 3);

    let router = Shared::new(Router::new());
    router
        .reconfigure(|options| options.mandatory(false))
        .unwrap();
    router.with(|router| router.send_to("nobody", "x")).unwrap();
}

#[test]
fn raw_sockets_and_datagrams_have_options_too() {
    let mut stream = Stream::new();
    stream.set_send_hwm(7).unwrap();
    stream
        .reconfigure(|options| options.notify(false).immediate(false))
        .unwrap();
    assert_eq!(stream.options().send_hwm(), HighWaterMark::new(7));
    // It never queues for who is not connected.
    assert!(stream.options().immediate());
    let mut peer = Stream::builder().bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = peer.bound_endpoints()[0].clone();
    stream.connect(&endpoint).unwrap();
    let id = stream.last_endpoint_id().unwrap();
    let (from, _) = peer.recv_from_timeout(LONG).unwrap();
    peer.send_to(&from, "x").unwrap();
    // Without a note before it.
    assert_eq!(stream.recv_from_timeout(LONG).unwrap().1.as_bytes(), b"x");
    stream.disconnect_id(id).unwrap();
    let (_, note) = peer.recv_from_timeout(LONG).unwrap();
    assert_eq!(note, Message::default());
    peer.stop_accepting(&endpoint).unwrap();

    let mut dgram = Dgram::new();
    dgram
        .reconfigure(|options| options.recv_timeout(SHORT))
        .unwrap();
    assert_eq!(dgram.options().recv_timeout(), Some(SHORT));
}
