//! Monitors: who ended a connection, drops and subscriptions as events, and readers that fall behind.

use std::collections::BTreeSet;
use std::net::TcpStream;

use sinew::{
    BindError, DisconnectReason, Dish, DropCause, Endpoint, EndpointId, Initiator, Monitor,
    MonitorOptions, Pub, Pull, Push, Radio, ReconnectPolicy, SocketEvent, Sub, XPub,
};

use crate::support::{await_event, await_true, number_of, numbered, Net, KINDS, LONG, STREAMS};

#[track_caller]
fn end(monitor: &mut Monitor) -> (Initiator, DisconnectReason) {
    let mut found = None;
    await_event(monitor, "the end", |event| {
        if let SocketEvent::Disconnected {
            initiator, reason, ..
        } = event
        {
            found = Some((*initiator, reason.clone()));
        }
        found.is_some()
    });
    found.unwrap()
}

/// How this side can end a connection.
#[derive(Debug, Clone, Copy)]
enum Way {
    Drop,
    Close,
    Disconnect,
    Unbind,
}

#[test]
fn each_side_knows_who_ended_a_connection_and_why() {
    let us = (Initiator::Us, DisconnectReason::ClosedLocally);
    let peer = (Initiator::Peer, DisconnectReason::PeerClosed);
    for &net in KINDS {
        for way in [Way::Drop, Way::Close, Way::Disconnect, Way::Unbind] {
            for by_binder in [true, false] {
                let mut pull = Pull::builder().bind(net.fresh()).unwrap();
                let (endpoint, mut bound) = (pull.bound_endpoints().remove(0), pull.monitor());
                let never = ReconnectPolicy::never();
                let mut push = Push::builder().reconnect(never).connect(&endpoint).unwrap();
                let mut connected = push.monitor();
                push.send("x").unwrap();
                pull.recv_timeout(LONG).unwrap();
                push.wait_for_peers(1, LONG).unwrap();
                // Who did not close it must not do so before the end is told.
                let mut sockets = (Some(pull), Some(push));
                match (way, by_binder) {
                    (Way::Drop, true) => drop(sockets.0.take()),
                    (Way::Drop, false) => drop(sockets.1.take()),
                    (Way::Close, true) => {
                        sockets.0.take().unwrap().close();
                    }
                    (Way::Close, false) => {
                        sockets.1.take().unwrap().close();
                    }
                    (Way::Disconnect, false) => {
                        let push = sockets.1.as_mut().unwrap();
                        push.disconnect(&endpoint).unwrap();
                    }
                    // Over inproc connections outlive the binding.
                    (Way::Unbind, true) if !matches!(net, Net::Inproc) => {
                        let pull = sockets.0.as_mut().unwrap();
                        pull.unbind(&endpoint).unwrap();
                    }
                    (Way::Disconnect, true) | (Way::Unbind, _) => continue,
                }
                let (at_binder, at_connector) = match by_binder {
                    true => (&us, &peer),
                    false => (&peer, &us),
                };
                let case = format!("{net:?} {way:?}, by who has bound: {by_binder}");
                assert_eq!(end(&mut bound), *at_binder, "at the PULL: {case}");
                assert_eq!(end(&mut connected), *at_connector, "at the PUSH: {case}");
                drop(sockets);
            }
        }
    }
}

/// How many messages are told by now to have been lost with their peer.
fn told_lost(monitor: &mut Monitor) -> u64 {
    let events = std::iter::from_fn(|| monitor.try_recv());
    events.map(|event| lost_by(&event)).sum()
}

fn lost_by(event: &SocketEvent) -> u64 {
    match event {
        SocketEvent::Dropped {
            cause: DropCause::PeerLost,
            count,
        } => *count,
        _ => 0,
    }
}

#[test]
fn what_an_inproc_peer_has_not_received_is_counted_when_it_goes() {
    for (sent, received) in [(10, 0), (10, 5), (10, 10), (200, 70), (1, 1)] {
        let mut push = Push::builder().bind(Net::Inproc.fresh()).unwrap();
        let mut monitor = push.monitor();
        let endpoint = push.bound_endpoints().remove(0);
        let mut pull = Pull::builder().connect(&endpoint).unwrap();
        for n in 0..sent {
            push.send(numbered(0, n)).unwrap();
        }
        for n in 0..received {
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
        }
        drop(pull);
        let lost = push.stats().dropped_peer_lost;
        assert_eq!(
            lost,
            u64::from(sent - received),
            "{sent} sent, {received} received"
        );
        assert_eq!(told_lost(&mut monitor), lost);
        // Now this half hears of it, too.
        assert!(push.try_send("nobody is there").is_err());
        assert_eq!(push.stats().dropped_peer_lost, lost);
    }
}

#[test]
fn what_waits_for_a_subscriber_is_counted_when_its_connection_ends() {
    const SENT: usize = 100;
    let payload = bytes::Bytes::from(vec![0; 200_000]);
    for &net in STREAMS {
        let mut xpub = XPub::builder().bind(net.fresh()).unwrap();
        let mut monitor = xpub.monitor();
        let endpoint = xpub.bound_endpoints().remove(0);
        let mut sub = Sub::builder().recv_hwm(1u64).connect(&endpoint).unwrap();
        sub.subscribe("").unwrap();
        xpub.recv_timeout(LONG).unwrap();
        // More than the kernel takes.
        for _ in 0..SENT {
            xpub.send(payload.clone()).unwrap();
        }
        drop(sub);
        let mut told = 0;
        await_event(&mut monitor, "the end", |event| {
            told += lost_by(event);
            matches!(event, SocketEvent::Disconnected { .. })
        });
        told += told_lost(&mut monitor);
        let lost = xpub.stats().dropped_peer_lost;
        assert!(lost > 1, "{net:?}: {lost} lost");
        assert_eq!(told, lost, "{net:?}");
        // Now this half hears of it, too.
        xpub.send("nobody is there").unwrap();
        assert_eq!(xpub.stats().dropped_peer_lost, lost, "{net:?}");
    }
}

/// A socket that listens, and whose monitor has told so.
fn listening() -> (Pull, Endpoint, Monitor) {
    let mut pull = Pull::new();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    await_event(&mut monitor, "it listens", |event| {
        matches!(event, SocketEvent::Listening { .. })
    });
    (pull, endpoint, monitor)
}

#[test]
fn events_have_the_connection_the_address_and_the_name() {
    let (mut pull, endpoint, mut monitor) = listening();
    let mut push = Push::builder().connect(&endpoint).unwrap();
    push.send("x").unwrap();
    pull.recv_timeout(LONG).unwrap();
    let Some(SocketEvent::Accepted {
        connection, peer, ..
    }) = monitor.recv_timeout(LONG)
    else {
        panic!("it is accepted first");
    };
    let Some(event) = monitor.recv_timeout(LONG) else {
        panic!("no handshake");
    };
    let expected = format!("{connection}: ready at {endpoint}, peer {peer}, PUSH");
    assert_eq!(event.to_string(), expected);
    push.close();
    let end = monitor.recv_timeout(LONG).unwrap().to_string();
    let expected = format!("{connection}: lost at {endpoint}, peer {peer}, ended by the peer: the peer closed the connection");
    assert_eq!(end, expected);
}

#[test]
fn each_side_tells_both_addresses() {
    for net in [Net::Tcp4, Net::IpcPath] {
        let mut pull = Pull::new();
        let mut bound = pull.monitor();
        let endpoint = pull.bind(net.fresh()).unwrap();
        let mut push = Push::new();
        let mut connected = push.monitor();
        push.connect(&endpoint).unwrap();
        let (mut ours, mut theirs) = Default::default();
        await_event(&mut connected, "it is connected", |event| {
            matches!(event, SocketEvent::Connected { local, peer, .. }
                if { ours = (local.clone(), peer.clone()); true })
        });
        await_event(&mut bound, "it is accepted", |event| {
            matches!(event, SocketEvent::Accepted { local, peer, .. }
                if { theirs = (local.clone(), peer.clone()); true })
        });
        assert!(endpoint.to_string().ends_with(&theirs.0), "{theirs:?}");
        assert!(!theirs.0.is_empty());
        match net {
            Net::Tcp4 => assert_eq!((&ours.0, &ours.1), (&theirs.1, &theirs.0)),
            // Who connects has no name, and is known by its process.
            _ => assert!(ours.0.is_empty() && ours.1 == theirs.1, "{ours:?}"),
        }
        pull.wait_for_peers(1, LONG).unwrap();
        push.wait_for_peers(1, LONG).unwrap();
        for (of, addresses) in [(pull.connections(), theirs), (push.connections(), ours)] {
            assert_eq!((of[0].local.clone(), of[0].peer.clone()), addresses);
        }
    }
}

#[test]
fn two_connects_to_one_endpoint_are_told_apart() {
    fn ids(
        monitor: &mut Monitor,
        of: fn(&SocketEvent) -> Option<EndpointId>,
    ) -> BTreeSet<EndpointId> {
        let mut ids = BTreeSet::new();
        await_event(monitor, "both", |event| {
            ids.extend(of(event));
            ids.len() == 2
        });
        ids
    }
    let (pull, endpoint, mut bound) = listening();
    let quick = ReconnectPolicy::constant(std::time::Duration::from_millis(1));
    let mut push = Push::builder().reconnect(quick).build().unwrap();
    let mut monitor = push.monitor();
    push.connect(&endpoint).unwrap();
    push.connect(&endpoint).unwrap();
    let connects = ids(&mut monitor, |event| match event {
        SocketEvent::Connected { endpoint_id, .. } => Some(*endpoint_id),
        _ => None,
    });
    let mut listeners = BTreeSet::new();
    for _ in 0..2 {
        await_event(&mut bound, "it is accepted", |event| {
            matches!(event, SocketEvent::Accepted { endpoint_id, .. }
                if { listeners.insert(*endpoint_id); true })
        });
    }
    assert_eq!(listeners.len(), 1, "both came through one");
    assert!(listeners.is_disjoint(&connects));
    drop(pull);
    let retried = ids(&mut monitor, |event| match event {
        SocketEvent::ConnectRetried { endpoint_id, .. } => Some(*endpoint_id),
        _ => None,
    });
    assert_eq!(retried, connects);
    push.disconnect(&endpoint).unwrap();
    let closed = ids(&mut monitor, |event| match event {
        SocketEvent::Closed { endpoint_id, .. } => Some(*endpoint_id),
        _ => None,
    });
    assert_eq!(closed, connects);
    await_event(
        &mut bound,
        "it is closed",
        |event| matches!(event, SocketEvent::Closed { endpoint_id, .. } if listeners.contains(endpoint_id)),
    );
}

/// Where there is no handshake and no address, in the same order, whoever comes first.
#[test]
fn connections_within_a_process_have_events_too() {
    for bind_first in [true, false] {
        let at = Net::Inproc.fresh();
        let (mut pull, mut push) = (Pull::new(), Push::new());
        let (mut bound, mut connected) = (pull.monitor(), push.monitor());
        if !bind_first {
            push.connect(&at).unwrap();
            assert_eq!(connected.try_recv(), None, "nobody is there");
        }
        pull.bind(&at).unwrap();
        if bind_first {
            push.connect(&at).unwrap();
        }
        let ids = [&pull.connections()[0], &push.connections()[0]].map(|of| of.connection);
        push.disconnect(&at).unwrap();
        pull.unbind(&at).unwrap();
        let [of_pull, of_push] = ids;
        assert_ne!(of_pull, of_push);
        let all = |monitor: &mut Monitor| -> Vec<String> {
            std::iter::from_fn(|| monitor.try_recv().map(|event| event.to_string())).collect()
        };
        let expected = [
            format!("listening at {at}"),
            format!("{of_pull}: accepted at {at}"),
            format!("{of_pull}: ready at {at}, PUSH"),
            format!("{of_pull}: lost at {at}, ended by the peer: the peer closed the connection"),
            format!("closed {at}"),
        ];
        assert_eq!(all(&mut bound), expected);
        let expected = [
            format!("{of_push}: connected to {at}"),
            format!("{of_push}: ready at {at}, PULL"),
            format!("{of_push}: lost at {at}, ended by this side: closed by this side"),
            format!("closed {at}"),
        ];
        assert_eq!(all(&mut connected), expected);
    }
}

#[test]
fn who_does_not_read_holds_nobody_up_and_sees_the_gap() {
    const FLEETING: usize = 600;
    let (mut pull, endpoint, mut monitor) = listening();
    let address = endpoint.to_string().replace("tcp://", "");
    let mut push = Push::builder().connect(&endpoint).unwrap();
    for n in 0..FLEETING {
        drop(TcpStream::connect(&address).unwrap());
        if n % 100 == 0 {
            push.send(numbered(0, n as u32)).unwrap();
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n as u32));
        }
    }
    await_true("they are gone", || {
        pull.stats().handshake_failures == FLEETING as u64
    });
    // Two for each, and two for the one that stayed.
    let all = 2 * FLEETING as u64 + 2;
    await_true("all are told", || monitor.missed() == all - 1024);
    for n in 0..1024 {
        let event = monitor.try_recv().expect("it is held");
        assert!(!matches!(event, SocketEvent::Missed { .. }), "at {n}");
    }
    let count = all - 1024;
    assert_eq!(monitor.try_recv(), Some(SocketEvent::Missed { count }));
    assert_eq!(monitor.try_recv(), None);
    drop(push);
    assert_eq!(end(&mut monitor).0, Initiator::Peer);
}

/// What was read of a monitor.
#[derive(Debug, Default)]
struct Read {
    events: u64,
    gaps: u64,
    /// The sum of the gaps.
    missed: u64,
}

impl Read {
    fn take(&mut self, event: &SocketEvent) {
        match event {
            SocketEvent::Missed { count } => {
                assert!(*count > 0);
                self.missed += count;
                self.gaps += 1;
            }
            _ => self.events += 1,
        }
    }
}

/// One event is read for every eight that come, so that the monitor is full most of the time, and gaps come in between.
#[test]
fn who_reads_slowly_is_told_of_each_gap_and_misses_what_they_say() {
    const ROUNDS: u64 = 500;
    const FLEETING: u64 = 4;
    let (mut pull, endpoint, mut monitor) = listening();
    let address = endpoint.to_string().replace("tcp://", "");
    let mut push = Push::builder().connect(&endpoint).unwrap();
    let mut read = Read::default();
    for round in 1..=ROUNDS {
        for _ in 0..FLEETING {
            drop(TcpStream::connect(&address).unwrap());
        }
        // The socket goes on as if nobody listened.
        push.send(numbered(0, round as u32)).unwrap();
        let message = pull.recv_timeout(LONG).unwrap();
        assert_eq!(number_of(&message), (0, round as u32));
        await_true("they are gone", || {
            pull.stats().handshake_failures == FLEETING * round
        });
        read.take(&monitor.try_recv().expect("there is always one"));
    }
    let mut held = 0;
    while let Some(event) = monitor.try_recv() {
        read.take(&event);
        held += 1;
    }
    // A gap at the end takes no place.
    assert!(held <= 1024 + 1, "{held} events were held");
    assert!(read.gaps > 2, "{read:?}");
    // Two for each, and two for the one that stayed. Of the last one may be told a moment later.
    let all = 2 * FLEETING * ROUNDS + 2;
    while read.events + read.missed < all {
        read.take(&monitor.recv_timeout(LONG).expect("all are told or missed"));
    }
    assert_eq!(read.events + read.missed, all, "{read:?}");
    assert_eq!(monitor.missed(), read.missed);
    assert_eq!(monitor.try_recv(), None);
    drop(push);
    assert_eq!(end(&mut monitor).0, Initiator::Peer);
}

#[test]
fn drops_are_told_in_few_events() {
    for &net in KINDS {
        let mut publisher = Pub::builder().send_hwm(1).bind(net.fresh()).unwrap();
        let endpoint = publisher.bound_endpoints().remove(0);
        let mut sub = Sub::builder().recv_hwm(1).connect(&endpoint).unwrap();
        sub.subscribe("").unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        let mut monitor = publisher.monitor();
        let large = vec![7; 64 * 1024];
        while publisher.stats().dropped_full < 1000 {
            publisher.send(&large[..]).unwrap();
        }
        let dropped = publisher.stats().dropped_full;
        let cause = DropCause::Full;
        let count = dropped;
        assert_eq!(
            monitor.recv_timeout(LONG),
            Some(SocketEvent::Dropped { cause, count }),
            "{net:?}"
        );
        assert_eq!(monitor.try_recv(), None);
        // A new one is told of what is new.
        assert_eq!(publisher.monitor().try_recv(), None);
    }
}

#[test]
fn subscriptions_are_told_to_who_asks() {
    for &net in KINDS {
        let publisher = Pub::builder().bind(net.fresh()).unwrap();
        let endpoint = publisher.bound_endpoints().remove(0);
        let mut plain = publisher.monitor();
        let mut asking = publisher.monitor_with(MonitorOptions::default().subscriptions(true));
        let mut sub = Sub::builder().connect(&endpoint).unwrap();
        sub.wait_for_peers(1, LONG).unwrap();
        sub.subscribe("weather").unwrap();
        sub.subscribe("").unwrap();
        sub.unsubscribe("weather");
        let mut told = Vec::new();
        while told.len() < 3 {
            match asking.recv_timeout(LONG).expect("an event") {
                SocketEvent::SubscriptionAdded(of) => {
                    let connections = publisher.connections();
                    assert_eq!(connections[0].connection, of.connection, "{net:?}");
                    assert_eq!(connections[0].peer, of.peer);
                    assert_eq!(of.endpoint, endpoint);
                    told.push((true, of.topic));
                }
                SocketEvent::SubscriptionRemoved(of) => told.push((false, of.topic)),
                _ => {}
            }
        }
        let expected: [(bool, &[u8]); 3] = [(true, b"weather"), (true, b""), (false, b"weather")];
        for ((added, topic), expected) in told.iter().zip(expected) {
            assert_eq!((*added, &topic[..]), expected, "{net:?}");
        }
        while let Some(event) = plain.try_recv() {
            let told = matches!(event, SocketEvent::SubscriptionAdded(_));
            assert!(!told, "{event}");
        }
    }
}

#[test]
fn groups_are_told_as_subscriptions() {
    let radio = Radio::builder().bind(Net::Tcp4.fresh()).unwrap();
    let mut monitor = radio.monitor_with(MonitorOptions::default().subscriptions(true));
    let mut dish = Dish::builder()
        .connect(&radio.bound_endpoints()[0])
        .unwrap();
    dish.join("news").unwrap();
    await_event(
        &mut monitor,
        "a member",
        |event| matches!(event, SocketEvent::SubscriptionAdded(of) if of.topic == "news"),
    );
}

#[test]
fn a_bind_that_fails_is_an_event() {
    for &net in KINDS {
        let taken = net.unbound();
        let _first = Pull::builder().bind(&taken).unwrap();
        let mut pull = Pull::new();
        let mut monitor = pull.monitor();
        let error = pull.bind(&taken).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{net:?}: {error}");
        match monitor.recv_timeout(LONG) {
            Some(SocketEvent::BindFailed { endpoint, reason }) => {
                assert_eq!(endpoint, taken.parse().unwrap());
                let kind = std::io::ErrorKind::AddrInUse;
                assert!(
                    matches!(reason, DisconnectReason::Io { kind: told, .. } if told == kind),
                    "{net:?}: {reason}"
                );
            }
            other => panic!("{net:?}: {other:?}"),
        }
    }
}
