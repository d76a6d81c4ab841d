//! One conformance suite, run over every transport and every form of its addresses.

use std::time::Duration;

use bytes::Bytes;
use sinew::{Context, Message, Pub, Pull, Push, RecvError, Rep, Req, SendFailure, Sub};

use crate::support::{await_event, await_true, number_of, numbered, pattern, task, Net, LONG};

macro_rules! conformance {
    ($($module:ident: $net:expr;)*) => {$(
        mod $module {
            use super::Net;
            conformance!(@tests $net;
                bind_reports_the_real_endpoint,
                connect_before_bind,
                many_endpoints_on_one_socket,
                bodies_of_every_size,
                multipart_messages_are_whole,
                unbind_frees_the_address_and_drains,
                unbind_takes_the_endpoint_once,
                disconnect_ends_the_connection_after_draining,
                disconnect_by_the_receiver,
                the_peer_closes_and_comes_back,
                close_reports_what_was_not_sent,
                close_reports_nothing_when_all_was_sent,
                drop_does_not_wait,
                request_and_reply,
                publish_and_subscribe,
            );
        }
    )*};
    (@tests $net:expr; $($test:ident,)*) => {$(
        #[test]
        fn $test() {
            let net: Net = $net;
            if net.is_present() {
                super::$test(net);
            }
        }
    )*};
}

conformance! {
    tcp4: Net::Tcp4;
    tcp6: Net::Tcp6;
    ipc_path: Net::IpcPath;
    ipc_wildcard: Net::IpcWildcard;
    ipc_abstract: Net::IpcAbstract;
    inproc: Net::Inproc;
}

#[cfg(feature = "ws")]
conformance! {
    ws: Net::Ws;
}

fn bind_reports_the_real_endpoint(net: Net) {
    let mut pull = Pull::new();
    let asked = net.fresh();
    let real = pull.bind(&asked).unwrap();
    assert!(!real.is_wildcard(), "{real}");
    assert_eq!(pull.bound_endpoints(), std::slice::from_ref(&real));
    match net {
        Net::Tcp4 | Net::Tcp6 => assert_ne!(real.port(), Some(0)),
        #[cfg(feature = "ws")]
        Net::Ws => assert_ne!(real.port(), Some(0)),
        Net::IpcWildcard => assert!(real.ipc_path().unwrap().exists()),
        _ => assert_eq!(real.to_string(), asked),
    }
    assert!(Pull::new().bind(&real).is_err(), "it is taken");
    let mut push = Push::new();
    push.connect(&real).unwrap();
    assert_eq!(push.connected_endpoints(), [real]);
    push.send("x").unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
}

fn connect_before_bind(net: Net) {
    let endpoint = net.unbound();
    let mut push = Push::new();
    push.connect(&endpoint).unwrap();
    for n in 0..100 {
        push.send(numbered(0, n)).unwrap();
    }
    let mut pull = Pull::new();
    pull.bind(&endpoint).unwrap();
    for n in 0..100 {
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
    }
    assert_eq!(push.close().unsent, 0);
}

fn many_endpoints_on_one_socket(net: Net) {
    let mut hub = Pull::new();
    let bound: Vec<_> = (0..2).map(|_| hub.bind(net.fresh()).unwrap()).collect();
    let mut senders = Vec::new();
    for endpoint in &bound {
        let mut push = Push::new();
        push.connect(endpoint).unwrap();
        senders.push(push);
    }
    for _ in 0..2 {
        let mut push = Push::new();
        let endpoint = push.bind(net.fresh()).unwrap();
        hub.connect(&endpoint).unwrap();
        senders.push(push);
    }
    assert_eq!(hub.bound_endpoints(), bound);
    assert_eq!(hub.connected_endpoints().len(), 2);
    const EACH: u32 = 1000;
    let tasks: Vec<_> = (0..)
        .zip(senders)
        .map(|(sender, mut push)| {
            task(move || {
                for n in 0..EACH {
                    push.send_timeout(numbered(sender, n), LONG).unwrap();
                }
                push.close().unsent
            })
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..4 * EACH {
        let (sender, n) = number_of(&hub.recv_timeout(LONG).unwrap());
        assert_eq!(n, next[sender as usize], "of sender {sender}");
        next[sender as usize] += 1;
    }
    for task in tasks {
        assert_eq!(task.join(), 0);
    }
}

fn bodies_of_every_size(net: Net) {
    let mut sizes = vec![0, 1];
    sizes.extend(63..=72);
    sizes.extend([255, 256, 4 << 10, 64 << 10, 1 << 20, 20 << 20]);
    let mut pull = Pull::builder().bind(net.fresh()).unwrap();
    let mut push = Push::new();
    push.connect(&pull.bound_endpoints()[0]).unwrap();
    let sent = sizes.clone();
    let sender = task(move || {
        for len in sent {
            push.send(pattern(len)).unwrap();
        }
        push.close().unsent
    });
    for len in sizes {
        let message = pull.recv_timeout(LONG).unwrap();
        assert_eq!(message.byte_len(), len);
        assert!(message.as_bytes() == pattern(len), "{len} octets differ");
    }
    assert_eq!(sender.join(), 0);
}

fn multipart_messages_are_whole(net: Net) {
    let mut pull = Pull::builder().bind(net.fresh()).unwrap();
    let mut push = Push::new();
    push.connect(&pull.bound_endpoints()[0]).unwrap();
    let message = |n: usize| {
        let frames = 1 + n % 7;
        Message::multipart((0..frames).map(|f| pattern((n * 37 + f * 1009) % 20_000)))
    };
    let sender = task(move || {
        for n in 0..500 {
            push.send(message(n)).unwrap();
        }
        push.close().unsent
    });
    for n in 0..500 {
        assert!(pull.recv_timeout(LONG).unwrap() == message(n), "number {n}");
    }
    assert_eq!(sender.join(), 0);
}

fn unbind_frees_the_address_and_drains(net: Net) {
    let mut push = Push::new();
    let endpoint = push.bind(net.fresh()).unwrap();
    let mut pull = Pull::new();
    pull.connect(&endpoint).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    for n in 0..500 {
        push.send(numbered(0, n)).unwrap();
    }
    push.unbind(&endpoint).unwrap();
    if net == Net::IpcWildcard {
        let path = endpoint.ipc_path().unwrap();
        assert!(!path.parent().unwrap().exists(), "its directory is gone");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
    }
    let mut other = Push::new();
    other.bind(&endpoint).unwrap();
    for n in 0..500 {
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
    }
    if net == Net::Inproc {
        push.send(numbered(0, 500)).expect("connections live on");
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, 500));
    } else {
        // The connection has gone, so the peer comes to whoever is bound now.
        other.wait_for_peers(1, LONG).unwrap();
        await_true("the old socket has no peer", || push.stats().peers == 0);
        assert_eq!(
            push.try_send("x").unwrap_err().reason(),
            SendFailure::WouldBlock
        );
        other.send(numbered(1, 0)).unwrap();
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (1, 0));
    }
}

fn unbind_takes_the_endpoint_once(net: Net) {
    if net == Net::IpcWildcard {
        return; // The directory of the endpoint goes with it.
    }
    let mut pull = Pull::new();
    let endpoint = pull.bind(net.fresh()).unwrap();
    assert!(pull.disconnect(&endpoint).is_err(), "bound, not connected");
    for _ in 0..20 {
        pull.unbind(&endpoint).unwrap();
        assert!(pull.unbind(&endpoint).is_err());
        assert!(pull.bound_endpoints().is_empty());
        assert_eq!(pull.bind(&endpoint).unwrap(), endpoint);
    }
}

fn disconnect_ends_the_connection_after_draining(net: Net) {
    let mut pull = Pull::new();
    let endpoint = pull.bind(net.fresh()).unwrap();
    let mut push = Push::new();
    push.connect(&endpoint).unwrap();
    for n in 0..500 {
        push.send(numbered(0, n)).unwrap();
    }
    push.disconnect(&endpoint).unwrap();
    assert!(push.disconnect(&endpoint).is_err());
    assert!(push.connected_endpoints().is_empty());
    for n in 0..500 {
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
    }
    await_true("the peer is gone", || pull.stats().peers == 0);
    assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
    await_true("no peer can be sent to", || push.try_send("x").is_err());
    push.connect(&endpoint).unwrap();
    push.send(numbered(0, 500)).unwrap();
    assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, 500));
}

fn disconnect_by_the_receiver(net: Net) {
    let mut push = Push::new();
    let endpoint = push.bind(net.fresh()).unwrap();
    let mut pull = Pull::new();
    pull.connect(&endpoint).unwrap();
    push.wait_for_peers(1, LONG).unwrap();
    push.send("one").unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"one");
    pull.disconnect(&endpoint).unwrap();
    await_true("no peer is left", || push.stats().peers == 0);
    assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
    assert!(push.try_send("two").unwrap_err().is_timeout());
    pull.connect(&endpoint).unwrap();
    push.send_timeout("three", LONG).unwrap();
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"three");
}

fn the_peer_closes_and_comes_back(net: Net) {
    let mut push = Push::new();
    let endpoint = push.bind(net.fresh()).unwrap();
    for round in 0..5 {
        let mut pull = Pull::new();
        pull.connect(&endpoint).unwrap();
        push.wait_for_peers(1, LONG).unwrap();
        for n in 0..100 {
            push.send_timeout(numbered(round, n), LONG).unwrap();
        }
        for n in 0..100 {
            assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (round, n));
        }
        if round % 2 == 0 {
            pull.close();
        } else {
            drop(pull);
        }
        await_true("it is gone", || push.stats().peers == 0);
    }
}

fn close_reports_what_was_not_sent(net: Net) {
    let mut push = Push::builder().linger(Duration::ZERO).build().unwrap();
    push.connect(net.unbound()).unwrap();
    for n in 0..7 {
        push.send(numbered(0, n)).unwrap();
    }
    assert_eq!(push.close().unsent, 7);
}

fn close_reports_nothing_when_all_was_sent(net: Net) {
    let mut pull = Pull::new();
    let endpoint = pull.bind(net.fresh()).unwrap();
    let mut push = Push::new();
    push.connect(&endpoint).unwrap();
    for n in 0..1000 {
        push.send(numbered(0, n)).unwrap();
    }
    let closing = task(move || push.close().unsent);
    for n in 0..1000 {
        assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), (0, n));
    }
    assert_eq!(closing.join(), 0);
}

fn drop_does_not_wait(net: Net) {
    // A full queue, no peer, linger without end: `close` would never return.
    let mut push = Push::builder().linger(None).build().unwrap();
    let endpoint = net.unbound();
    push.connect(&endpoint).unwrap();
    while push.try_send("x").is_ok() {}
    let dropped = task(move || drop(push));
    dropped.join();
    if net != Net::Inproc {
        // What was queued comes all the same, and ends the linger.
        let mut pull = Pull::new();
        pull.bind(&endpoint).unwrap();
        for _ in 0..1000 {
            pull.recv_timeout(LONG).unwrap();
        }
    }
}

fn request_and_reply(net: Net) {
    let mut rep = Rep::new();
    let endpoint = rep.bind(net.fresh()).unwrap();
    let server = task(move || {
        for _ in 0..1000 {
            let request = rep.recv_timeout(LONG).unwrap();
            rep.send(request).unwrap();
        }
        rep.close().unsent
    });
    let mut req = Req::new();
    req.connect(&endpoint).unwrap();
    for n in 0..1000 {
        let reply = req.request_timeout(numbered(0, n), LONG).unwrap();
        assert_eq!(number_of(&reply), (0, n));
    }
    assert_eq!(server.join(), 0);
}

fn publish_and_subscribe(net: Net) {
    let mut publisher = Pub::builder().no_drop(true).bind(net.fresh()).unwrap();
    let mut sub = Sub::new();
    sub.subscribe("a").unwrap();
    sub.connect(&publisher.bound_endpoints()[0]).unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    let sender = task(move || {
        for n in 0..10_000 {
            let topic = if n % 2 == 0 { "a" } else { "b" };
            publisher.send(format!("{topic}{n}")).unwrap();
        }
        publisher.close().unsent
    });
    for n in (0..10_000).step_by(2) {
        let message = sub.recv_timeout(LONG).unwrap();
        assert_eq!(message.as_bytes(), format!("a{n}").as_bytes());
    }
    assert_eq!(sender.join(), 0);
}

#[test]
fn inproc_passes_large_bodies_by_reference() {
    let mut pull = Pull::builder().bind(Net::Inproc.fresh()).unwrap();
    let mut push = Push::new();
    push.connect(&pull.bound_endpoints()[0]).unwrap();
    for len in [4 << 10, 1 << 20] {
        let body = Bytes::from(pattern(len));
        let place = body.as_ptr();
        push.send(body).unwrap();
        let received = pull.recv_timeout(LONG).unwrap();
        assert_eq!(
            received.as_bytes().as_ptr(),
            place,
            "{len} octets were copied"
        );
        assert_eq!(received.into_bytes().as_ptr(), place);
    }
}

#[test]
fn contexts_do_not_share_inproc_names() {
    let name = Net::Inproc.fresh();
    let [a, b] = [(); 2].map(|()| Context::builder().build().unwrap());
    let mut pulls = [&a, &b].map(|context| {
        let builder = Pull::builder().context(context);
        builder.bind(&name).unwrap()
    });
    let mut push = Push::builder().context(&b).connect(&name).unwrap();
    push.send("for b").unwrap();
    assert_eq!(pulls[1].recv_timeout(LONG).unwrap().as_bytes(), b"for b");
    assert_eq!(pulls[0].try_recv(), Err(RecvError::WouldBlock));
    assert_eq!(pulls[0].stats().peers, 0);
    let mut stranger = Push::builder()
        .linger(Duration::ZERO)
        .connect(&name)
        .unwrap();
    stranger.send("for nobody").unwrap();
    assert_eq!(stranger.close().unsent, 1);
}

/// Connections are accepted on one thread and looked after on another: none of them escapes.
#[test]
fn unbind_ends_connections_that_are_just_being_accepted() {
    let context = Context::builder().io_threads(4).build().unwrap();
    for _ in 0..50 {
        let mut pull = Pull::builder()
            .context(&context)
            .bind(Net::Tcp4.fresh())
            .unwrap();
        let endpoint = pull.bound_endpoints()[0].clone();
        let mut pushes: Vec<_> = (0..8)
            .map(|_| Push::builder().connect(&endpoint).unwrap())
            .collect();
        pull.wait_for_peers(1, LONG).unwrap();
        pull.unbind(&endpoint).unwrap();
        await_true("no peer is left", || pull.stats().peers == 0);
        // Accepted ones are closed by now, or will be before anything is received through them.
        for push in &mut pushes {
            let mut monitor = push.monitor();
            if push.stats().peers > 0 {
                await_event(&mut monitor, "the connection ends", |event| {
                    matches!(event, sinew::SocketEvent::Disconnected { .. })
                });
            }
        }
    }
}
