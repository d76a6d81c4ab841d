//! What sockets and contexts tell about their connections, and what has gone through each.

use std::time::Instant;

use sinew::{
    Context, Dealer, Pub, Pull, Push, Rep, Requester, Router, RoutingId, SocketType, Split, Sub,
    XSub,
};

use crate::support::{await_true, numbered, Net, KINDS, LONG, STREAMS};

#[test]
fn connections_are_counted_one_by_one() {
    for &net in STREAMS {
        let mut pull = Pull::builder().recv_hwm(10).bind(net.fresh()).unwrap();
        let endpoint = pull.bound_endpoints().remove(0);
        let mut first = Push::builder().connect(&endpoint).unwrap();
        let mut second = Push::builder().connect(&endpoint).unwrap();
        (0..100).for_each(|n| first.send(numbered(0, n)).unwrap());
        (0..7).for_each(|n| second.send(numbered(1, n)).unwrap());
        await_true("all wait that may", || {
            let connections = pull.connections();
            let mut queued: Vec<_> = connections
                .iter()
                .map(|of| of.traffic.queued_to_receive)
                .collect();
            queued.sort_unstable();
            queued == [7, 10]
        });
        for _ in 0..107 {
            pull.recv_timeout(LONG).unwrap();
        }
        let now = Instant::now();
        let connections = pull.connections();
        assert_eq!(connections.len(), 2);
        let mut received = Vec::new();
        for of in &connections {
            assert_eq!(of.endpoint, endpoint);
            assert!(of.since <= now);
            assert_eq!(of.socket_type, Some(SocketType::Push), "{net:?}");
            let traffic = of.traffic;
            received.push(traffic.messages_received);
            assert!(traffic.bytes_received > 64 * traffic.messages_received);
        }
        received.sort_unstable();
        assert_eq!(received, [7, 100], "{net:?}");
        let sent = first.connections().remove(0).traffic;
        assert_eq!((sent.messages_sent, sent.queued_to_send), (100, 0));
        drop((first, second));
        await_true("they are gone", || pull.connections().is_empty());
    }
}

#[test]
fn a_connection_that_is_made_again_begins_at_nothing() {
    let at = Net::IpcWildcard.unbound();
    let mut push = Push::builder()
        .reconnect(sinew::ReconnectPolicy::backoff(
            std::time::Duration::from_millis(1),
            std::time::Duration::from_millis(20),
        ))
        .connect(&at)
        .unwrap();
    let mut before = None;
    for count in [5, 3] {
        let mut pull = Pull::builder().bind(&at).unwrap();
        (0..count).for_each(|n| push.send(numbered(0, n)).unwrap());
        for _ in 0..count {
            pull.recv_timeout(LONG).unwrap();
        }
        let of = push.connections().remove(0);
        assert_eq!(of.traffic.messages_sent, u64::from(count));
        assert_ne!(before.replace(of.connection), Some(of.connection));
        pull.close();
        await_true("it is lost", || push.connections().is_empty());
    }
}

/// There is one queue, which both sides see.
#[test]
fn connections_within_a_process_are_counted_on_both_sides() {
    let mut router = Router::builder().bind(Net::Inproc.fresh()).unwrap();
    let endpoint = router.bound_endpoints().remove(0);
    let mut dealer = Dealer::builder().connect(&endpoint).unwrap();
    (0..7).for_each(|n| dealer.send(numbered(0, n)).unwrap());
    let of = |connections: Vec<sinew::ConnectionSnapshot>| connections[0].traffic;
    let (sent, received) = (of(dealer.connections()), of(router.connections()));
    assert_eq!((sent.messages_sent, sent.queued_to_send), (7, 7));
    assert_eq!(
        (received.messages_received, received.queued_to_receive),
        (7, 7)
    );
    assert_eq!(sent.bytes_sent, received.bytes_received);
    assert!(sent.bytes_sent > 7 * numbered(0, 0).byte_len() as u64);
    for _ in 0..7 {
        let request = router.recv_timeout(LONG).unwrap();
        router.send(request).unwrap();
    }
    // It has to wait, and that tells what it took.
    assert!(router
        .recv_timeout(std::time::Duration::from_millis(1))
        .is_err());
    let (sent, received) = (of(dealer.connections()), of(router.connections()));
    assert_eq!((sent.queued_to_send, received.queued_to_receive), (0, 0));
    assert_eq!((sent.messages_received, sent.queued_to_receive), (7, 7));
    assert_eq!((received.messages_sent, received.queued_to_send), (7, 7));
    // Also when it is over, for the socket as a whole.
    let octets = sent.bytes_sent;
    assert_eq!(router.stats().bytes_received, octets);
    assert_eq!(
        (router.stats().handshakes, router.stats().disconnects),
        (1, 0)
    );
    dealer.close();
    assert!(router.connections().is_empty());
    assert_eq!(router.stats().bytes_received, octets);
    assert_eq!(
        (router.stats().handshakes, router.stats().disconnects),
        (1, 1)
    );
}

#[test]
fn a_router_tells_the_names_of_its_peers() {
    for &net in KINDS {
        let mut router = Router::builder().bind(net.fresh()).unwrap();
        let endpoint = router.bound_endpoints().remove(0);
        let mut dealer = Dealer::builder()
            .routing_id(RoutingId::new(b"worker").unwrap())
            .connect(&endpoint)
            .unwrap();
        dealer.send("x").unwrap();
        router.recv_timeout(LONG).unwrap();
        let of = router.connections().remove(0);
        assert_eq!(
            of.routing_id,
            Some(RoutingId::new(b"worker").unwrap()),
            "{net:?}"
        );
        assert_eq!(of.socket_type, Some(SocketType::Dealer));
        assert_eq!(of.endpoint, endpoint);
        assert_eq!(of.traffic.messages_received, 1);
    }
}

#[test]
fn a_context_knows_its_sockets_and_threads() {
    let context = Context::builder()
        .io_threads(1)
        .thread_name_prefix("mine")
        .build()
        .unwrap();
    assert!(context.snapshot().threads.is_empty(), "none is needed yet");
    let pull = Pull::builder().context(&context);
    let mut pull = pull.bind("tcp://127.0.0.1:*").unwrap();
    let mut push = Push::builder()
        .context(&context)
        .connect(&pull.bound_endpoints()[0])
        .unwrap();
    let dealer = Dealer::builder().context(&context).build().unwrap();
    let (dealer_id, parts) = (dealer.id(), dealer.split());
    let requester = Requester::builder().context(&context).build().unwrap();
    push.send("x").unwrap();
    pull.recv_timeout(LONG).unwrap();

    let snapshot = context.snapshot();
    let ids: Vec<_> = snapshot.sockets.iter().map(|socket| socket.id).collect();
    assert_eq!(ids, [pull.id(), push.id(), dealer_id, requester.id()]);
    let socket = &snapshot.sockets[0];
    assert_eq!(socket.socket_type, SocketType::Pull);
    // What its thread is called for may still go on.
    let (mut then, mut now) = (socket.stats, pull.stats());
    (then.wakeups, now.wakeups) = (0, 0);
    assert_eq!(then, now);
    let (mut then, mut now) = (socket.connections.clone(), pull.connections());
    then.iter_mut()
        .chain(&mut now)
        .for_each(|of| of.wakeups = 0);
    assert_eq!(then, now);
    assert_eq!(snapshot.threads.len(), 1);
    let thread = &snapshot.threads[0];
    assert_eq!(thread.name, "mine/io/0");
    assert!(thread.load > 2, "{thread:?}");
    // Of each number there is one.
    let mut names: Vec<_> = socket.figures().iter().map(|figure| figure.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);

    drop((pull, push, parts, requester));
    await_true("they are gone", || context.snapshot().sockets.is_empty());
}

#[test]
fn a_thread_that_is_asked_for_something_is_woken() {
    let context = Context::builder().io_threads(1).build().unwrap();
    let mut pull = Pull::builder().context(&context).build().unwrap();
    pull.bind("tcp://127.0.0.1:*").unwrap();
    let wakeups = || context.snapshot().threads[0].wakeups;
    // It may not sleep yet when it is asked.
    await_true("it was woken", || {
        let before = wakeups();
        let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
        pull.unbind(&endpoint).unwrap();
        wakeups() > before
    });
}

/// Which subscriber loses messages.
#[test]
fn drops_are_counted_of_the_connection_that_is_full() {
    for &net in KINDS {
        let mut publisher = Pub::builder().send_hwm(5).bind(net.fresh()).unwrap();
        let endpoint = publisher.bound_endpoints().remove(0);
        let subscriber = || {
            let mut sub = Sub::builder().recv_hwm(5).connect(&endpoint).unwrap();
            sub.subscribe("").unwrap();
            sub
        };
        let (mut reads, does_not) = (subscriber(), subscriber());
        publisher.wait_for_subscribers(2, LONG).unwrap();
        let message = vec![7; 256 * 1024];
        let mut sent = 0;
        while publisher.stats().dropped_full < 3 {
            publisher.send(&message[..]).unwrap();
            sent += 1;
            reads.recv_timeout(LONG).unwrap();
        }
        let mut of: Vec<_> = publisher.connections();
        of.sort_by_key(|of| of.traffic.dropped_full);
        assert_eq!(of[0].traffic.dropped_full, 0, "{net:?}");
        assert_eq!(of[0].traffic.messages_sent, sent, "{net:?}");
        assert_eq!(of[1].traffic.dropped_full, 3, "{net:?}");
        assert_eq!(does_not.connections()[0].traffic.dropped_unexpected, 0);
        drop(does_not);
        await_true("it is gone", || publisher.connections().len() == 1);
        assert_eq!(publisher.connections()[0].traffic.dropped_full, 0);
        assert_eq!(publisher.stats().dropped_full, 3);
    }
}

#[test]
fn what_is_conflated_is_counted_of_its_connection() {
    for &net in KINDS {
        // By who receives.
        let pull = Pull::builder().conflate(true).bind(net.fresh()).unwrap();
        let endpoint = pull.bound_endpoints().remove(0);
        let mut push = Push::builder().connect(&endpoint).unwrap();
        let mut quiet = Push::builder().connect(&endpoint).unwrap();
        (0..10).for_each(|n| push.send(numbered(0, n)).unwrap());
        quiet.send("one").unwrap();
        await_true("all came", || {
            let stats = pull.stats();
            stats.dropped_conflated == 9 && stats.peers == 2
        });
        let counts = |of: Vec<sinew::ConnectionSnapshot>| {
            let mut counts: Vec<_> = of.iter().map(|of| of.traffic.dropped_conflated).collect();
            counts.sort_unstable();
            counts
        };
        assert_eq!(counts(pull.connections()), [0, 9], "{net:?}");
        // By who sends.
        let mut publisher = Pub::builder().conflate(true).bind(net.fresh()).unwrap();
        let mut sub = Sub::new();
        sub.subscribe("").unwrap();
        sub.connect(&publisher.bound_endpoints()[0]).unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
        (0..1000).for_each(|n| publisher.send(numbered(0, n)).unwrap());
        let replaced = publisher.stats().dropped_conflated;
        assert_eq!(counts(publisher.connections()), [replaced], "{net:?}");
    }
}

#[test]
fn what_a_pattern_has_no_use_for_is_counted_of_its_connection() {
    for &net in KINDS {
        // Found when it is received.
        let mut rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut dealer = Dealer::builder()
            .connect(&rep.bound_endpoints()[0])
            .unwrap();
        dealer.send("no envelope").unwrap();
        dealer
            .send(sinew::Message::multipart(["", "request"]))
            .unwrap();
        rep.recv_timeout(LONG).unwrap();
        let of = |of: Vec<sinew::ConnectionSnapshot>| of[0].traffic.dropped_unexpected;
        assert_eq!(of(rep.connections()), 1, "{net:?}");
    }
    for &net in STREAMS {
        // Found when it is read.
        let publisher = Pub::builder().bind(net.fresh()).unwrap();
        let mut xsub = XSub::builder()
            .connect(&publisher.bound_endpoints()[0])
            .unwrap();
        xsub.send("no subscription").unwrap();
        await_true("it is dropped", || {
            publisher.stats().dropped_unexpected == 1
        });
        let of = publisher.connections().remove(0);
        assert_eq!(of.traffic.dropped_unexpected, 1, "{net:?}");
    }
}

#[test]
fn a_connection_tells_what_it_took_to_make_it() {
    let at = Net::IpcWildcard.unbound();
    let mut push = Push::builder()
        .reconnect(sinew::ReconnectPolicy::backoff(
            std::time::Duration::from_millis(1),
            std::time::Duration::from_millis(5),
        ))
        .connect(&at)
        .unwrap();
    await_true("it tries again", || push.stats().reconnects > 0);
    let mut before = 0;
    for n in 0..2 {
        let mut pull = Pull::builder().bind(&at).unwrap();
        push.send("x").unwrap();
        pull.recv_timeout(LONG).unwrap();
        let of = push.connections().remove(0);
        assert!(of.reconnects > 0);
        assert_eq!(of.reconnects, push.stats().reconnects - before);
        assert_eq!(of.handshake_failures, 0);
        assert_eq!(pull.connections()[0].reconnects, 0);
        before = push.stats().reconnects;
        assert_eq!(push.stats().disconnects, n);
        pull.close();
        await_true("it is lost", || push.connections().is_empty());
    }
    // Somebody who hangs up.
    let path = at.strip_prefix("ipc://").unwrap();
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    drop(listener.accept().unwrap());
    await_true("it has failed", || push.stats().handshake_failures > 0);
    drop(listener);
    std::fs::remove_file(path).unwrap();
    let mut pull = Pull::builder().bind(&at).unwrap();
    push.send("x").unwrap();
    pull.recv_timeout(LONG).unwrap();
    let of = push.connections().remove(0);
    assert_eq!(of.handshake_failures, push.stats().handshake_failures);
}

#[test]
fn wake_ups_are_counted_of_connections_and_sockets() {
    for &net in KINDS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let push = Push::builder().connect(&pull.bound_endpoints()[0]);
        let mut push = push.unwrap();
        push.send("x").unwrap();
        pull.recv_timeout(LONG).unwrap();
        if net == Net::Inproc {
            assert_eq!(
                (push.connections()[0].wakeups, push.stats().wakeups),
                (0, 0)
            );
            continue;
        }
        let wakeups = push.connections()[0].wakeups;
        assert!(wakeups > 0, "{net:?}: its handshake was written and read");
        assert!(push.stats().wakeups >= wakeups);
        pull.close();
        await_true("it is lost", || push.connections().is_empty());
        assert!(push.stats().wakeups >= wakeups, "{net:?}");
    }
}
