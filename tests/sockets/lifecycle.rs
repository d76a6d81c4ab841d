//! Endpoints, connections and sockets from beginning to end, as the monitor and the counters tell it.

use std::io::Read;
use std::time::Duration;

use sinew::{
    BindError, Context, Monitor, Pub, Pull, Push, ReconnectPolicy, Rep, Req, SocketEvent, Sub,
};

use crate::support::{
    await_event, await_true, number_of, numbered, task, Net, KINDS, LONG, SHORT, STREAMS,
};

fn quick() -> ReconnectPolicy {
    ReconnectPolicy::backoff(Duration::from_millis(1), Duration::from_millis(20))
}

fn name_of(event: &SocketEvent) -> &'static str {
    match event {
        SocketEvent::Listening { .. } => "listening",
        SocketEvent::Accepted { .. } => "accepted",
        SocketEvent::AcceptFailed { .. } => "accept failed",
        SocketEvent::Connected { .. } => "connected",
        SocketEvent::ConnectFailed { .. } => "connect failed",
        SocketEvent::ConnectRetried { .. } => "retried",
        SocketEvent::HandshakeSucceeded { .. } => "handshake",
        SocketEvent::HandshakeFailed { .. } => "handshake failed",
        SocketEvent::Disconnected { .. } => "disconnected",
        SocketEvent::Closed { .. } => "closed",
        _ => "another",
    }
}

#[track_caller]
fn expect(monitor: &mut Monitor, names: &[&str]) {
    for name in names {
        let event = monitor.recv_timeout(LONG);
        let event = event.unwrap_or_else(|| panic!("no event, expected {name}"));
        assert_eq!(name_of(&event), *name, "{event:?}");
    }
}

#[test]
fn reconnects_are_counted_as_the_events_tell_them() {
    let mut pull = Pull::new();
    let endpoint = pull.bind("ipc://*").unwrap();
    let mut push = Push::builder().reconnect(quick()).build().unwrap();
    let mut monitor = push.monitor();
    push.connect(&endpoint).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    drop(pull);
    let mut retried = 0;
    await_event(&mut monitor, "several attempts", |event| {
        retried += u64::from(matches!(event, SocketEvent::ConnectRetried { .. }));
        retried == 5
    });
    push.disconnect(&endpoint).unwrap();
    await_event(&mut monitor, "the end", |event| {
        retried += u64::from(matches!(event, SocketEvent::ConnectRetried { .. }));
        matches!(event, SocketEvent::Closed { .. })
    });
    assert_eq!(push.stats().reconnects, retried);

    let mut pull = Pull::new();
    let endpoint = pull.bind("ipc://*").unwrap();
    let mut push = Push::builder()
        .reconnect(ReconnectPolicy::never())
        .build()
        .unwrap();
    let mut monitor = push.monitor();
    push.connect(&endpoint).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    drop(pull);
    await_event(&mut monitor, "the end", |event| {
        matches!(event, SocketEvent::Closed { .. })
    });
    assert_eq!((push.stats().disconnects, push.stats().reconnects), (1, 0));
}

#[test]
fn events_come_in_order() {
    for &net in STREAMS {
        let mut pull = Pull::new();
        let mut bound = pull.monitor();
        let endpoint = pull.bind(net.fresh()).unwrap();
        expect(&mut bound, &["listening"]);
        let mut push = Push::builder().reconnect(quick()).build().unwrap();
        let mut connected = push.monitor();
        push.connect(&endpoint).unwrap();
        expect(&mut connected, &["connected", "handshake"]);
        expect(&mut bound, &["accepted", "handshake"]);
        pull.unbind(&endpoint).unwrap();
        expect(&mut bound, &["closed"]);
        expect(
            &mut connected,
            &["disconnected", "retried", "connect failed", "retried"],
        );
        push.disconnect(&endpoint).unwrap();
        await_event(&mut connected, "closed", |event| name_of(event) == "closed");
        push.close();
        pull.close();
        assert!(connected.recv_timeout(LONG).is_none());
    }
}

#[test]
fn a_listener_that_comes_back_is_found() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut push = Push::builder().reconnect(quick()).build().unwrap();
        let mut monitor = push.monitor();
        push.connect(&endpoint).unwrap();
        for round in 0..4 {
            for _ in 0..3 {
                await_event(&mut monitor, "a failure", |e| {
                    name_of(e) == "connect failed"
                });
                await_event(&mut monitor, "a retry", |event| match event {
                    SocketEvent::ConnectRetried { delay, .. } => {
                        assert!(*delay <= Duration::from_millis(20));
                        true
                    }
                    _ => false,
                });
            }
            push.send(numbered(0, round)).unwrap();
            let mut pull = Pull::builder().bind(&endpoint).unwrap();
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, round));
            await_event(&mut monitor, "success", |e| name_of(e) == "handshake");
            pull.close();
            await_event(&mut monitor, "the end", |e| name_of(e) == "disconnected");
        }
        assert_eq!(push.stats().handshakes, 4);
        assert_eq!(push.stats().disconnects, 4);
    }
}

#[test]
fn without_reconnection_the_endpoint_ends() {
    for &net in STREAMS {
        let mut push = Push::builder()
            .reconnect(ReconnectPolicy::never())
            .build()
            .unwrap();
        let mut monitor = push.monitor();
        push.connect(net.unbound()).unwrap();
        // It may be gone already.
        let _ = push.try_send("x");
        expect(&mut monitor, &["connect failed", "closed"]);
        assert!(push.try_send("y").is_err());
    }
}

#[test]
fn close_in_the_handshake() {
    // A peer that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", silent.local_addr().unwrap());
    let mut push = Push::builder()
        .linger(Duration::ZERO)
        .connect(&endpoint)
        .unwrap();
    push.send("x").unwrap();
    let (mut peer, _) = silent.accept().unwrap();
    assert_eq!(task(move || push.close().unsent).join(), 1);
    let mut rest = Vec::new();
    peer.set_read_timeout(Some(LONG)).unwrap();
    let _ = peer.read_to_end(&mut rest);
    assert_eq!(rest.get(..1), Some(&[0xFF][..]), "a greeting, and the end");

    // And one that connects and says nothing.
    let pull = Pull::builder().bind(Net::Tcp4.fresh()).unwrap();
    let mut monitor = pull.monitor();
    let address = pull.bound_endpoints()[0].socket_addr().unwrap();
    let mut peer = std::net::TcpStream::connect(address).unwrap();
    await_event(&mut monitor, "accepted", |e| name_of(e) == "accepted");
    task(move || pull.close()).join();
    peer.set_read_timeout(Some(LONG)).unwrap();
    let _ = peer.read_to_end(&mut rest);
}

#[test]
fn a_peer_that_appears_within_linger_gets_what_was_queued() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut push = Push::builder()
            .reconnect(quick())
            .connect(&endpoint)
            .unwrap();
        for n in 0..500 {
            push.send(numbered(0, n)).unwrap();
        }
        drop(push);
        let mut pull = Pull::builder().bind(&endpoint).unwrap();
        for n in 0..500 {
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
        }
        assert!(pull.recv_timeout(SHORT).is_err());
    }
}

#[test]
fn one_io_thread_does() {
    let context = Context::builder().io_threads(1).build().unwrap();
    for &net in STREAMS {
        let mut rep = Rep::builder().context(&context).bind(net.fresh()).unwrap();
        let endpoint = rep.bound_endpoints()[0].clone();
        let server = task(move || {
            for _ in 0..1000 {
                let request = rep.recv_timeout(LONG).unwrap();
                rep.send(request).unwrap();
            }
            rep.close().unsent
        });
        let mut req = Req::builder().context(&context).connect(&endpoint).unwrap();
        for n in 0..1000 {
            assert_eq!(
                number_of(&req.request_timeout(numbered(0, n), LONG).unwrap()),
                (0, n)
            );
        }
        assert_eq!(server.join(), 0);
    }
}

#[test]
fn an_affinity_that_allows_no_thread_is_an_error() {
    let context = Context::builder().io_threads(2).build().unwrap();
    let socket = || {
        Pull::builder()
            .context(&context)
            .affinity(0b100)
            .build()
            .unwrap()
    };
    assert!(matches!(
        socket().bind(Net::Tcp4.fresh()),
        Err(BindError::NoIoThread {
            affinity: 0b100,
            threads: 2
        })
    ));
    assert!(socket().connect("tcp://127.0.0.1:9").is_err());
    socket().bind(Net::Inproc.fresh()).expect("needs no thread");
    let mut pull = Pull::builder()
        .context(&context)
        .affinity(0b10)
        .build()
        .unwrap();
    let endpoint = pull.bind(Net::Tcp4.fresh()).unwrap();
    let mut push = Push::builder().context(&context).connect(endpoint).unwrap();
    push.send("x").unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
}

/// In a process of its own, for descriptors and threads are counted.
#[test]
#[ignore = "run by `nothing_is_left_behind`"]
fn nothing_is_left_behind_alone() {
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/self/{what}"))
            .unwrap()
            .count()
    };
    let round = || {
        let context = Context::builder().io_threads(2).build().unwrap();
        for net in [Net::Tcp4, Net::IpcWildcard, Net::Inproc] {
            let mut sockets = Vec::new();
            for _ in 0..84 {
                let pull = Pull::builder().context(&context).bind(net.fresh()).unwrap();
                let mut push = Push::builder()
                    .context(&context)
                    .connect(&pull.bound_endpoints()[0])
                    .unwrap();
                push.send("x").unwrap();
                sockets.push((pull, push));
            }
            for (pull, _) in &mut sockets {
                pull.recv_timeout(LONG).unwrap();
            }
        }
    };
    let (descriptors, threads) = (count("fd"), count("task"));
    for _ in 0..3 {
        round();
        await_true("descriptors are closed", || count("fd") <= descriptors);
        await_true("threads have ended", || count("task") <= threads);
    }
}

#[test]
fn nothing_is_left_behind() {
    let spawning = SPAWNING.lock();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "lifecycle::nothing_is_left_behind_alone",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(spawning);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn figures_are_exact() {
    for &net in STREAMS {
        let mut pull = Pull::builder().bind(net.fresh()).unwrap();
        let mut push = Push::builder().connect(&pull.bound_endpoints()[0]).unwrap();
        for n in 0..100 {
            push.send(numbered(0, n)).unwrap();
        }
        for _ in 0..100 {
            pull.recv_timeout(LONG).unwrap();
        }
        let (sent, received) = (push.stats(), pull.stats());
        assert_eq!((sent.peers, received.peers), (1, 1));
        assert_eq!((sent.messages_sent, sent.messages_received), (100, 0));
        assert_eq!(
            (received.messages_sent, received.messages_received),
            (0, 100)
        );
        assert_eq!((sent.handshakes, received.handshakes), (1, 1));
        assert!(received.bytes_received >= 100 * 66 + 64);
        await_true("both count the same octets", || {
            push.stats().bytes_sent == pull.stats().bytes_received
                && pull.stats().bytes_sent == push.stats().bytes_received
        });
        push.close();
        await_true("the end is counted", || pull.stats().disconnects == 1);
        let stats = pull.stats();
        assert_eq!(stats.peers, 0);
        assert_eq!(stats.handshake_failures, 0);
        assert_eq!(stats.dropped_peer_lost, 0);
    }
}

#[test]
fn unmatched_messages_are_counted() {
    let mut publisher = Pub::builder().bind(Net::Inproc.fresh()).unwrap();
    publisher.send("x").unwrap();
    let mut sub = Sub::builder()
        .connect(&publisher.bound_endpoints()[0])
        .unwrap();
    sub.subscribe("a").unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    for topic in ["a", "b", "ab"] {
        publisher.send(topic).unwrap();
    }
    let stats = publisher.stats();
    assert_eq!((stats.messages_sent, stats.dropped_unmatched), (2, 2));
}

#[test]
fn the_wrong_kind_of_peer_is_refused() {
    let name = Net::Inproc.fresh();
    let _rep = Rep::builder().bind(&name).unwrap();
    assert!(Push::builder().connect(&name).is_err());
    for &net in STREAMS {
        let rep = Rep::builder().bind(net.fresh()).unwrap();
        let mut refused = rep.monitor();
        let push = Push::builder().reconnect(quick()).build().unwrap();
        let mut push = push;
        push.connect(&rep.bound_endpoints()[0]).unwrap();
        await_event(&mut refused, "refusal", |e| {
            name_of(e) == "handshake failed"
        });
        assert_eq!(rep.stats().peers, 0);
    }
}

/// Until it runs its own program, a child that is being made holds every descriptor of this process.
static SPAWNING: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Also when the I/O thread has hardly heard of it.
#[test]
fn an_address_is_free_when_close_returns() {
    let _no_child = SPAWNING.lock();
    for net in [Net::Tcp4, Net::IpcPath, Net::IpcAbstract] {
        let endpoint = net.unbound();
        for _ in 0..500 {
            let mut pull = Pull::new();
            pull.bind(&endpoint).unwrap();
            pull.close();
        }
    }
}

/// What a disconnected endpoint did not take in its linger time goes to another, and is not unsent.
#[test]
fn what_is_left_after_a_disconnect_is_sent_to_another() {
    let nobody = Net::Tcp4.unbound();
    let mut push = Push::builder().linger(Duration::ZERO).build().unwrap();
    let mut monitor = push.monitor();
    push.connect(&nobody).unwrap();
    push.send("x").unwrap();
    push.disconnect(&nobody).unwrap();
    let closed = monitor.wait_for(LONG, |event| matches!(event, SocketEvent::Closed { .. }));
    assert!(closed.is_some());
    let mut pull = Pull::new();
    let endpoint = pull.bind(Net::Inproc.fresh()).unwrap();
    push.connect(&endpoint).unwrap();
    assert_eq!(push.close().unsent, 0);
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
}

/// A peer that is being let go may be dealt messages for a moment. It gets them, or another does.
#[test]
fn what_is_dealt_to_a_peer_that_is_let_go_is_not_lost() {
    const COUNT: u32 = 2000;
    for &net in KINDS {
        for unbinds in [false, true] {
            let mut push = Push::builder().send_hwm(10_000).build().unwrap();
            let mut pulls = [Pull::new(), Pull::new()];
            let mut endpoint = None;
            for pull in &mut pulls {
                let at = net.fresh();
                if unbinds {
                    let bound = push.bind(at).unwrap();
                    pull.connect(&bound).unwrap();
                    endpoint = Some(bound);
                } else {
                    let bound = pull.bind(at).unwrap();
                    push.connect(&bound).unwrap();
                    endpoint = Some(bound);
                }
            }
            push.wait_for_peers(2, LONG).unwrap();
            for n in 0..COUNT {
                if n == COUNT / 2 {
                    let endpoint = endpoint.take().unwrap();
                    match unbinds {
                        true => push.unbind(&endpoint).unwrap(),
                        false => push.disconnect(&endpoint).unwrap(),
                    }
                }
                push.send(numbered(1, n)).unwrap();
            }
            let mut got = std::collections::BTreeSet::new();
            await_true("everything has arrived", || {
                for pull in &mut pulls {
                    while let Ok(message) = pull.try_recv() {
                        assert!(
                            got.insert(number_of(&message).1),
                            "twice: {net:?} {unbinds}"
                        );
                    }
                }
                got.len() == COUNT as usize
            });
        }
    }
}

/// What is bound and has been connected to twice from one socket: how many connections there are.
macro_rules! connections {
    ($here:ident, $there:ident, $net:expr) => {{
        let mut here = sinew::$here::builder().bind($net.fresh()).unwrap();
        let endpoint = here.bound_endpoints()[0].clone();
        let mut there = sinew::$there::builder().reconnect(quick()).build().unwrap();
        let mut other = sinew::$there::new();
        let wanted = if matches!(stringify!($there), "Dealer" | "Sub" | "Pub" | "Req")
            && $net != Net::Inproc
        {
            1
        } else {
            2
        };
        assert_eq!(there.connect(&endpoint).unwrap(), endpoint);
        assert_eq!(there.connect(&endpoint).unwrap(), endpoint);
        assert_eq!(there.connected_endpoints().len(), wanted);
        // Somebody who comes later shows that all who came before have been counted.
        there.wait_for_peers(wanted, LONG).unwrap();
        other.connect(&endpoint).unwrap();
        here.wait_for_peers(wanted + 1, LONG).unwrap();
        assert_eq!(there.stats().peers, wanted);
        // Once it is disconnected it can be connected to again.
        there.disconnect(&endpoint).unwrap();
        assert!(there.connected_endpoints().is_empty());
        here.wait_for_peers(1, LONG).unwrap();
        there.connect(&endpoint).unwrap();
        there.wait_for_peers(1, LONG).unwrap();
    }};
}

#[test]
fn connecting_twice_is_one_connection_where_two_would_harm() {
    for &net in KINDS {
        connections!(Router, Dealer, net);
        connections!(Pub, Sub, net);
        connections!(Sub, Pub, net);
        connections!(Router, Req, net);
        connections!(Pull, Push, net);
        connections!(Push, Pull, net);
        connections!(Dealer, Router, net);
        connections!(XSub, XPub, net);
        connections!(Server, Client, net);
    }
}

/// An endpoint that has ended for good is no reason not to connect to it again.
#[test]
fn what_has_ended_can_be_connected_to_again() {
    for &net in STREAMS {
        let endpoint = net.unbound();
        let mut sub = Sub::builder()
            .reconnect(ReconnectPolicy::never())
            .build()
            .unwrap();
        let mut monitor = sub.monitor();
        sub.connect(&endpoint).unwrap();
        await_event(&mut monitor, "it has ended", |event| {
            matches!(event, SocketEvent::Closed { .. })
        });
        let mut publisher = Pub::builder().bind(&endpoint).unwrap();
        sub.connect(&endpoint).unwrap();
        assert_eq!(sub.connected_endpoints().len(), 1);
        sub.wait_for_peers(1, LONG).unwrap();
        publisher.wait_for_peers(1, LONG).unwrap();
    }
}
