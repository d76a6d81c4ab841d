//! What is known of the peer that a message came from, and application metadata.

use std::time::Duration;

use sinew::{
    Dealer, Dish, Pair, Pull, Push, Radio, ReconnectPolicy, Rep, Req, RoutingId, Server,
    SocketType, Sub, SubscriptionEvent, XPub, XSub,
};

use crate::support::{Net, KINDS, LONG, STREAMS};

#[test]
fn a_receiver_knows_its_last_peer() {
    for &net in KINDS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        assert!(pull.last_peer().is_none());
        let mut pushes: Vec<Push> = ["a", "b", "c"]
            .map(|name| {
                Push::builder()
                    .metadata("X-Name", name)
                    .metadata("X-Octets", [0, 255])
                    .connect(&pull.bound_endpoints()[0])
                    .unwrap()
            })
            .into();
        for (push, name) in pushes.iter_mut().zip(["a", "b", "c"]) {
            for _ in 0..10 {
                push.send(name).unwrap();
            }
        }
        for _ in 0..30 {
            let message = pull.recv_timeout(LONG).unwrap();
            assert!(message.properties().is_none(), "not asked for");
            let peer = pull.last_peer().unwrap();
            assert_eq!(peer.property("X-Name"), Some(message.as_bytes()));
            assert_eq!(peer.property("X-Octets"), Some(&[0, 255][..]));
            assert_eq!(peer.metadata().count(), 2);
            assert_eq!(peer.socket_type(), Some(SocketType::Push));
            assert_eq!(peer.property("Socket-Type"), Some(&b"PUSH"[..]));
            assert_eq!((peer.user_id(), peer.routing_id()), (None, None));
            match net {
                Net::Tcp4 => assert_eq!(peer.address(), Some("127.0.0.1")),
                Net::Inproc => assert_eq!(peer.address(), None),
                _ => assert!(peer.address().is_some()),
            }
        }
    }
}

#[test]
fn messages_carry_properties_if_asked_for() {
    for &net in KINDS {
        let id = RoutingId::new("the client").unwrap();
        let mut rep = Rep::builder()
            .attach_properties(true)
            .bind(net.fresh())
            .unwrap();
        let mut req = Req::builder()
            .attach_properties(true)
            .routing_id(id.clone())
            .connect(&rep.bound_endpoints()[0])
            .unwrap();
        // More than between two looks at what is new.
        for _ in 0..200 {
            req.send("question").unwrap();
            let question = rep.recv_timeout(LONG).unwrap();
            assert_eq!(question.as_bytes(), b"question");
            let peer = question.properties().unwrap();
            assert_eq!(peer.routing_id(), Some(id.clone()));
            assert_eq!(peer.property("Identity"), Some(&b"the client"[..]));
            // What came with a message is not sent on with it.
            rep.send(question).unwrap();
            let answer = req.recv_timeout(LONG).unwrap();
            assert_eq!(
                answer.properties().unwrap().socket_type(),
                Some(SocketType::Rep)
            );
        }
        let mut server = Server::builder()
            .attach_properties(true)
            .bind(net.fresh())
            .unwrap();
        let mut client = sinew::Client::builder()
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        client.send("x").unwrap();
        let message = server.recv_timeout(LONG).unwrap();
        assert!(message.routing_id().is_some());
        assert_eq!(
            message.properties().unwrap().socket_type(),
            Some(SocketType::Client)
        );
    }
}

#[test]
fn a_peer_that_is_gone_is_still_known() {
    for &net in KINDS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let mut push = Push::builder()
            .metadata("X-Name", "gone")
            .connect(&pull.bound_endpoints()[0])
            .unwrap();
        push.send("1").unwrap();
        push.send("2").unwrap();
        push.close();
        for _ in 0..2 {
            pull.recv_timeout(LONG).unwrap();
            assert!(pull.last_peer().unwrap().property("X-Name").is_some());
        }
        let mut next = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        next.send("3").unwrap();
        pull.recv_timeout(LONG).unwrap();
        assert_eq!(pull.last_peer().unwrap().property("X-Name"), None);
    }
}

#[test]
fn messages_that_outlive_a_connection_are_those_of_their_sender() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let quick = ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(20));
        let mut dealer = Dealer::builder()
            .reconnect(quick)
            .connect(&endpoint)
            .unwrap();
        let names = ["first", "second", "third"];
        for name in names {
            // Of another server at the same place, and none of them is read meanwhile.
            let mut server = Dealer::builder()
                .metadata("X-Name", name)
                .bind(&endpoint)
                .unwrap();
            server.send(name).unwrap();
            server.send(name).unwrap();
            server.close();
        }
        for name in names {
            for _ in 0..2 {
                let message = dealer.recv_timeout(LONG).unwrap();
                assert_eq!(message.as_bytes(), name.as_bytes());
                let peer = dealer.last_peer().unwrap();
                assert_eq!(peer.property("X-Name"), Some(name.as_bytes()));
            }
        }
    }
}

#[test]
fn metadata_is_checked() {
    let long = format!("X-{}", "n".repeat(254));
    for (name, value) in [
        ("Name", "v"),
        ("x-name", "v"),
        ("X-", "v"),
        ("X-a b", "v"),
        ("X-a:b", "v"),
        ("X-ä", "v"),
        ("X-name", ""),
        (&long, "v"),
    ] {
        let refused = Pair::builder().metadata(name, value).build().unwrap_err();
        assert!(
            matches!(&refused, sinew::BuildError::Option(error) if error.option() == "metadata"),
            "{name}: {refused}"
        );
    }
    let many = (0..129).fold(Pair::builder(), |builder, n| {
        builder.metadata(format!("X-{n}"), "v")
    });
    assert!(many.build().is_err());
    assert!(Pair::builder()
        .metadata("X-a", vec![0; 40_000])
        .build()
        .is_err());
    assert!(Sub::builder().metadata(&long[..255], "v").build().is_ok());
    // The first of equal names counts.
    let mut one = Pair::builder().bind(KINDS[2].fresh()).unwrap();
    let mut other = Pair::builder()
        .metadata("X-a", "1")
        .metadata("X-A", "2")
        .connect(&one.bound_endpoints()[0])
        .unwrap();
    other.send("").unwrap();
    one.recv_timeout(LONG).unwrap();
    assert_eq!(
        one.last_peer().unwrap().metadata().collect::<Vec<_>>(),
        [("X-a", &b"1"[..])]
    );
}

#[test]
fn subscribers_and_members_know_their_last_peer() {
    for &net in KINDS {
        // Of an XPUB that receives events and messages, and of one that connects.
        for bound in [true, false] {
            let mut xpub = XPub::new();
            let mut xsub = XSub::builder().metadata("X-Name", "below").build().unwrap();
            if bound {
                let endpoint = xpub.bind(net.fresh()).unwrap();
                xsub.connect(endpoint).unwrap();
            } else {
                let endpoint = xsub.bind(net.fresh()).unwrap();
                xpub.connect(endpoint).unwrap();
            }
            assert!(xpub.last_peer().is_none() && xsub.last_peer().is_none());
            xsub.subscribe("topic").unwrap();
            let event = xpub.recv_event_timeout(LONG).unwrap();
            assert_eq!(event, SubscriptionEvent::Subscribed("topic".into()));
            let peer = xpub.last_peer().unwrap();
            assert_eq!(peer.property("X-Name"), Some(&b"below"[..]), "{net:?}");
            xsub.send("upwards").unwrap();
            xpub.recv_event_timeout(LONG).unwrap();
            assert_eq!(
                xpub.last_peer().unwrap().socket_type(),
                Some(SocketType::XSub)
            );
            xpub.send("topic").unwrap();
            xsub.recv_timeout(LONG).unwrap();
            assert_eq!(
                xsub.last_peer().unwrap().socket_type(),
                Some(SocketType::XPub)
            );
            // Of who has gone nothing is known any more.
            xsub.close();
            let event = xpub.recv_event_timeout(LONG).unwrap();
            assert_eq!(event, SubscriptionEvent::Unsubscribed("topic".into()));
        }
        let mut dish = Dish::builder().bind(net.fresh()).unwrap();
        let mut radio = Radio::builder()
            .metadata("X-Name", "station")
            .connect(&dish.bound_endpoints()[0])
            .unwrap();
        assert!(dish.last_peer().is_none());
        dish.join("news").unwrap();
        radio.wait_for_members("news", 1, LONG).unwrap();
        radio.send("news", "rain").unwrap();
        dish.recv_timeout(LONG).unwrap();
        let peer = dish.last_peer().unwrap();
        assert_eq!(peer.property("X-Name"), Some(&b"station"[..]), "{net:?}");
    }
}
