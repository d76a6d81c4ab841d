//! Limits on peers, and on what each may subscribe to, where there is no connection that could be ended: over inproc.

use sinew::{
    ConnectError, Dealer, DisconnectReason, Dish, Monitor, Pub, Pull, Push, Radio, ReconnectPolicy,
    Router, RoutingId, SocketEvent, Sub, SubscriptionEvent, SubscriptionLimit, XPub,
};

use crate::support::{await_event, Net, KINDS, LONG, STREAMS};

fn too_many(limit: u32) -> DisconnectReason {
    DisconnectReason::TooManyConnections { limit }
}

#[track_caller]
fn await_refusal(monitor: &mut Monitor, expected: &DisconnectReason) {
    await_event(monitor, "a refusal", |event| match event {
        SocketEvent::ConnectFailed { reason, .. } | SocketEvent::HandshakeFailed { reason, .. } => {
            assert_eq!(reason, expected);
            true
        }
        _ => false,
    });
}

#[test]
fn a_socket_has_no_more_peers_than_it_allows_over_all_its_endpoints() {
    let mut pull = Pull::builder().max_connections(2).build().unwrap();
    let near = pull.bind(Net::Inproc.fresh()).unwrap();
    let far = pull.bind(Net::Tcp4.fresh()).unwrap();
    let mut here = pull.monitor();
    let first = Push::builder().connect(&near).unwrap();
    let _second = Push::builder().connect(&far).unwrap();
    pull.wait_for_peers(2, LONG).unwrap();
    let mut third = Push::new();
    let mut there = third.monitor();
    for _ in 0..2 {
        let refused = third.connect(&near).unwrap_err();
        assert!(
            matches!(refused, ConnectError::TooManyConnections { limit: 2, .. }),
            "{refused}"
        );
        await_refusal(&mut here, &too_many(2));
        await_refusal(&mut there, &too_many(2));
    }
    assert_eq!(pull.stats().peers, 2);
    // Who has gone makes room, and so does another limit.
    first.close();
    third.connect(&near).unwrap();
    assert_eq!(pull.stats().peers, 2);
    let mut fourth = Push::new();
    assert!(fourth.connect(&near).is_err());
    pull.reconfigure(|options| options.max_connections(None))
        .unwrap();
    fourth.connect(&near).unwrap();
    assert_eq!(pull.stats().peers, 3);
    pull.reconfigure(|options| options.max_connections(3))
        .unwrap();
    assert!(Push::builder().connect(&near).is_err());
}

#[test]
fn who_connects_has_a_limit_too() {
    let [first, second] = [(); 2].map(|()| Pull::builder().bind(Net::Inproc.fresh()).unwrap());
    let mut push = Push::builder().max_connections(1).build().unwrap();
    push.connect(&first.bound_endpoints()[0]).unwrap();
    let refused = push.connect(&second.bound_endpoints()[0]).unwrap_err();
    assert!(
        matches!(refused, ConnectError::TooManyConnections { limit: 1, .. }),
        "{refused}"
    );
    assert_eq!((push.stats().peers, second.stats().peers), (1, 0));
}

#[test]
fn of_those_who_wait_for_a_name_as_many_are_taken_as_may_be() {
    let name = Net::Inproc.fresh();
    let mut pushes = [(); 3].map(|()| Push::builder().connect(&name).unwrap());
    let mut monitors = pushes.each_ref().map(Push::monitor);
    for push in &mut pushes {
        push.send("x").unwrap();
    }
    let mut pull = Pull::builder().max_connections(2).build().unwrap();
    pull.bind(&name).unwrap();
    assert_eq!(pull.stats().peers, 2);
    let refused = pushes.iter().position(|push| push.stats().peers == 0);
    await_refusal(&mut monitors[refused.unwrap()], &too_many(2));
    for _ in 0..2 {
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    }
    assert!(pull.try_recv().is_err());
}

/// Who is refused for another reason takes nobody's place.
#[test]
fn a_peer_whose_name_is_taken_leaves_its_place() {
    for &net in KINDS {
        let router = Router::builder().max_connections(2);
        let mut router = router.bind(net.fresh()).unwrap();
        let endpoint = router.bound_endpoints().remove(0);
        let mut here = router.monitor();
        let connect = |name: &str| {
            let dealer = Dealer::builder().routing_id(RoutingId::new(name).unwrap());
            let dealer = dealer.reconnect(ReconnectPolicy::never());
            dealer.connect(&endpoint)
        };
        let _one = connect("one").unwrap();
        router.wait_for_peers(1, LONG).unwrap();
        for _ in 0..3 {
            let _other = connect("one");
            let routing_id = RoutingId::new("one").unwrap();
            await_refusal(
                &mut here,
                &DisconnectReason::DuplicateRoutingId { routing_id },
            );
        }
        let _two = connect("two").unwrap();
        router.wait_for_peers(2, LONG).unwrap();
        let _three = connect("three");
        await_refusal(&mut here, &too_many(2));
    }
}

/// The place of a peer that is gone is free when its end is told.
#[test]
fn places_are_given_back_however_often() {
    for &net in STREAMS {
        let pull = Pull::builder().max_connections(1).bind(net.fresh());
        let pull = pull.unwrap();
        let mut here = pull.monitor();
        for _ in 0..10 {
            let push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
            await_event(&mut here, "it is taken", |event| {
                assert!(!matches!(event, SocketEvent::HandshakeFailed { .. }));
                matches!(event, SocketEvent::HandshakeSucceeded { .. })
            });
            push.close();
            await_event(&mut here, "it is gone", |event| {
                matches!(event, SocketEvent::Disconnected { .. })
            });
        }
    }
}

/// What was refused of the peers of a publisher, and why.
fn refusals(monitor: &mut Monitor) -> Vec<(usize, SubscriptionLimit)> {
    let refused = |event| match event {
        SocketEvent::SubscriptionRefused {
            topic_length,
            limit,
            ..
        } => Some((topic_length, limit)),
        _ => None,
    };
    std::iter::from_fn(|| monitor.try_recv())
        .filter_map(refused)
        .collect()
}

#[test]
fn a_subscription_beyond_the_limits_is_told_and_made_when_there_is_room() {
    let publisher = Pub::builder().max_topics(2).max_topic_length(3);
    let mut publisher = publisher.bind(Net::Inproc.fresh()).unwrap();
    let endpoint = publisher.bound_endpoints().remove(0);
    let mut monitor = publisher.monitor();
    let mut sub = Sub::builder().connect(&endpoint).unwrap();
    for topic in ["a", "long", "b", "cc", "d"] {
        sub.subscribe(topic).unwrap();
    }
    let number = SubscriptionLimit::Number { limit: 2 };
    let length = SubscriptionLimit::Length { limit: 3 };
    assert_eq!(
        refusals(&mut monitor),
        [(4, length), (2, number), (1, number)]
    );
    assert_eq!(publisher.stats().subscriptions_refused, 3);
    let mut get = |sub: &mut Sub| {
        for topic in ["a", "b", "cc", "d", "long"] {
            publisher.send(topic).unwrap();
        }
        let got: Vec<_> = std::iter::from_fn(|| sub.try_recv().ok()).collect();
        let text = |message: &sinew::Message| message.to_str().unwrap().to_owned();
        got.iter().map(text).collect::<Vec<String>>()
    };
    assert_eq!(get(&mut sub), ["a", "b"]);
    // The shortest has the place.
    sub.unsubscribe("a");
    assert_eq!(get(&mut sub), ["b", "d"]);
    // What is not wanted any more does not come back.
    sub.unsubscribe("d");
    assert_eq!(get(&mut sub), ["b", "cc"]);
    sub.unsubscribe("cc");
    sub.unsubscribe("long");
    assert_eq!(get(&mut sub), ["b"]);
    sub.subscribe("a").unwrap();
    assert_eq!(get(&mut sub), ["a", "b"]);
    assert_eq!(refusals(&mut monitor), []);
    // So it is with what was subscribed to before.
    let mut other = Sub::new();
    for topic in ["a", "b", "cc"] {
        other.subscribe(topic).unwrap();
    }
    other.connect(&endpoint).unwrap();
    assert_eq!(refusals(&mut monitor), [(2, number)]);
    assert_eq!(get(&mut other), ["a", "b"]);
    other.unsubscribe("b");
    assert_eq!(get(&mut other), ["a", "cc"]);
}

#[test]
fn an_xpub_hears_of_no_end_of_what_it_refused() {
    let mut xpub = XPub::builder()
        .max_topics(1)
        .bind(Net::Inproc.fresh())
        .unwrap();
    let mut sub = Sub::builder().connect(&xpub.bound_endpoints()[0]).unwrap();
    sub.subscribe("a").unwrap();
    sub.subscribe("b").unwrap();
    sub.unsubscribe("b");
    sub.subscribe("c").unwrap();
    sub.unsubscribe("a");
    let events: Vec<_> = std::iter::from_fn(|| xpub.try_recv_event().ok()).collect();
    assert_eq!(
        events,
        [
            SubscriptionEvent::Subscribed("a".into()),
            SubscriptionEvent::Unsubscribed("a".into()),
            SubscriptionEvent::Subscribed("c".into()),
        ]
    );
    assert_eq!(xpub.stats().subscriptions_refused, 2);
}

#[test]
fn a_group_beyond_the_limit_is_told_and_joined_when_there_is_room() {
    let mut radio = Radio::builder()
        .max_groups(1)
        .bind(Net::Inproc.fresh())
        .unwrap();
    let mut monitor = radio.monitor();
    let mut dish = Dish::builder()
        .connect(&radio.bound_endpoints()[0])
        .unwrap();
    dish.join("a").unwrap();
    dish.join("bb").unwrap();
    assert_eq!(
        refusals(&mut monitor),
        [(2, SubscriptionLimit::Number { limit: 1 })]
    );
    assert_eq!(radio.stats().subscriptions_refused, 1);
    radio.send("bb", "nobody").unwrap();
    assert!(dish.try_recv().is_err());
    dish.leave("a").unwrap();
    radio.send("bb", "somebody").unwrap();
    assert_eq!(&dish.recv_timeout(LONG).unwrap().1[..], b"somebody");
}

#[test]
fn what_peers_may_have_is_at_least_one() {
    let refused = [
        Pub::builder().max_topics(0).build().unwrap_err(),
        Pub::builder().max_topic_length(0).build().unwrap_err(),
        Radio::builder().max_groups(0).build().unwrap_err(),
    ];
    let expected = [
        "option `max_topics` cannot be 0: expected from 1 to 4294967295",
        "option `max_topic_length` cannot be 0: expected from 1 to 67108864 octets",
        "option `max_groups` cannot be 0: expected from 1 to 4294967295",
    ];
    assert_eq!(refused.map(|error| error.to_string()), expected);
    // These are different options, each of its kind.
    let radio = Radio::builder().max_groups(3).build().unwrap();
    assert_eq!(radio.options().max_groups(), 3);
    assert_eq!(
        radio.options().max_topics(),
        Pub::new().options().max_topics()
    );
    let mut publisher = Pub::new();
    for (option, refused) in [
        ("max_topics", publisher.reconfigure(|b| b.max_topics(7))),
        (
            "max_topic_length",
            publisher.reconfigure(|b| b.max_topic_length(7)),
        ),
    ] {
        assert_eq!(refused.unwrap_err().option(), option);
    }
}
