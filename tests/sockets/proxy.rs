//! Proxies: what they forward between which sockets, that they hold senders up instead of losing anything, and
//! that they can be steered in any state.

use std::time::Duration;

use sinew::{
    Channel, Dealer, Dish, Endpoint, Gather, Message, Pair, Proxy, ProxyError, ProxyState, Pub,
    Pull, Push, Radio, RecvError, Rep, Req, Router, Scatter, SendFailure, SocketEvent, SocketType,
    Stream, Sub, SubscriptionEvent, XPub, XSub,
};

use crate::support::{
    await_event, await_true, number_of, numbered, pattern, task, Net, KINDS, LONG, SHORT,
};

macro_rules! bound {
    ($builder:expr, $net:expr) => {{
        let socket = $builder.bind($net.fresh()).unwrap();
        let endpoint = socket.bound_endpoints()[0].clone();
        (socket, endpoint)
    }};
}

/// Runs of small messages, bodies of every kind of length, and several frames, in order and unharmed.
#[test]
fn a_pipeline_is_forwarded_as_it_is() {
    for &net in KINDS {
        let (pull, front) = bound!(Pull::builder(), net);
        let (push, back) = bound!(Push::builder(), net);
        let proxy = Proxy::new(pull, push).spawn().unwrap();
        let mut sink = Pull::builder().connect(&back).unwrap();
        let sender = task(move || {
            let mut push = Push::builder().connect(&front).unwrap();
            for number in 0..5000 {
                push.send(numbered(0, number)).unwrap();
                if number % 250 == 0 {
                    push.send(body(number)).unwrap();
                    push.send(Message::multipart([&b"a"[..], b"", &body(number)]))
                        .unwrap();
                }
            }
            assert_eq!(push.close().unsent, 0);
        });
        for number in 0..5000 {
            let message = sink.recv_timeout(LONG).unwrap();
            assert_eq!(number_of(&message), (0, number), "{net:?}");
            if number % 250 == 0 {
                assert_eq!(
                    sink.recv_timeout(LONG).unwrap().as_bytes(),
                    &body(number)[..]
                );
                let frames = sink.recv_timeout(LONG).unwrap();
                assert_eq!(frames, Message::multipart([&b"a"[..], b"", &body(number)]));
            }
        }
        sender.join();
        let report = proxy.stop();
        let octets = 5000 * 64
            + (0..5000)
                .step_by(250)
                .map(|n| 2 * body(n).len() + 1)
                .sum::<usize>();
        let (front, back) = (report.statistics.front, report.statistics.back);
        assert_eq!(front.received_messages, 5000 + 20 + 20);
        assert_eq!(front.received_frames, 5000 + 20 + 60);
        assert_eq!(front.received_octets, octets as u64);
        assert_eq!(
            (back.sent_messages, back.sent_frames, back.sent_octets),
            (
                front.received_messages,
                front.received_frames,
                front.received_octets
            )
        );
        assert_eq!((front.sent_messages, back.received_messages), (0, 0));
        assert_eq!((report.for_back, report.for_front), (None, None));
    }
}

fn body(number: u32) -> Vec<u8> {
    let lengths = [0, 65, 255, 256, 1500, 9000, 20_000, 70_000];
    pattern(lengths[number as usize / 250 % lengths.len()])
}

/// Each has its turn, on either side.
#[test]
fn several_peers_have_their_turns() {
    let (pull, front) = bound!(Pull::builder(), Net::Inproc);
    let (mut push, back) = bound!(Push::builder(), Net::Inproc);
    let mut sinks = [(); 3].map(|()| Pull::builder().connect(&back).unwrap());
    push.wait_for_peers(3, LONG).unwrap();
    let mut senders = [(); 2].map(|()| Push::builder().connect(&front).unwrap());
    for number in 0..300 {
        for (sender, socket) in senders.iter_mut().enumerate() {
            socket.send(numbered(sender as u32, number)).unwrap();
        }
    }
    let proxy = Proxy::new(pull, push).spawn().unwrap();
    let mut next = [0; 2];
    for _ in 0..200 {
        for sink in &mut sinks {
            let (sender, number) = number_of(&sink.recv_timeout(LONG).unwrap());
            let expected = &mut next[sender as usize];
            assert_eq!(number, *expected);
            *expected += 1;
        }
    }
    assert_eq!(next, [300, 300]);
    assert_eq!(proxy.stop().statistics.back.sent_messages, 600);
}

#[test]
fn requests_go_to_workers_and_replies_come_back() {
    for &net in KINDS {
        let (router, front) = bound!(Router::builder(), net);
        let (dealer, back) = bound!(Dealer::builder(), net);
        let proxy = Proxy::new(router, dealer).spawn().unwrap();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let back = back.clone();
                task(move || {
                    let mut rep = Rep::builder().connect(&back).unwrap();
                    loop {
                        let request = rep.recv_timeout(LONG).unwrap();
                        rep.send([b"re: ", request.as_bytes()].concat()).unwrap();
                        if request.as_bytes() == b"last" {
                            return assert_eq!(rep.close().unsent, 0);
                        }
                    }
                })
            })
            .collect();
        let mut clients = [(); 3].map(|()| Req::builder().connect(&front).unwrap());
        for round in 0..20 {
            for client in &mut clients {
                client.send(format!("{round}")).unwrap();
            }
            for client in &mut clients {
                let reply = client.recv_timeout(LONG).unwrap();
                assert_eq!(reply.as_bytes(), format!("re: {round}").as_bytes());
            }
        }
        for _ in 0..2 {
            let reply = clients[0].request_timeout("last", LONG).unwrap();
            assert_eq!(reply.as_bytes(), b"re: last");
        }
        workers.into_iter().for_each(|worker| worker.join());
        let statistics = proxy.stop().statistics;
        assert_eq!(statistics.front.received_messages, 62);
        assert_eq!(statistics.front.sent_messages, 62);
        assert_eq!(statistics.undeliverable, 0);
    }
}

#[test]
fn subscriptions_and_messages_pass_a_forwarder() {
    for &net in KINDS {
        let (xsub, front) = bound!(XSub::builder(), net);
        let (xpub, back) = bound!(XPub::builder(), net);
        let proxy = Proxy::new(xsub, xpub).spawn().unwrap();
        let mut publisher = XPub::builder().connect(&front).unwrap();
        let mut subscriber = XSub::builder().connect(&back).unwrap();
        subscriber.subscribe("a.").unwrap();
        let event = publisher.recv_event_timeout(LONG).unwrap();
        assert_eq!(event, SubscriptionEvent::Subscribed("a.".into()));
        for text in ["b.not wanted", "a.1", "a.2"] {
            publisher.send(text).unwrap();
        }
        assert_eq!(subscriber.recv_timeout(LONG).unwrap().as_bytes(), b"a.1");
        assert_eq!(subscriber.recv_timeout(LONG).unwrap().as_bytes(), b"a.2");
        // What is no subscription goes up, too.
        subscriber.send("up").unwrap();
        assert_eq!(publisher.recv_timeout(LONG).unwrap().as_bytes(), b"up");
        subscriber.unsubscribe("a.");
        let event = publisher.recv_event_timeout(LONG).unwrap();
        assert_eq!(event, SubscriptionEvent::Unsubscribed("a.".into()));
        let statistics = proxy.stop().statistics;
        assert_eq!(statistics.back.received_messages, 3);
        assert_eq!(statistics.back.sent_messages, 2);
    }
}

/// Every other pair, each with one message per way.
#[test]
fn every_legal_pair_forwards() {
    macro_rules! pair {
        ($front:ident $back:ident: $one:ident $other:ident) => {{
            let (front, here) = bound!($front::builder(), Net::Inproc);
            let (back, there) = bound!($back::builder(), Net::Inproc);
            let mut one = $one::builder().connect(&here).unwrap();
            let mut other = $other::builder().connect(&there).unwrap();
            let proxy = Proxy::new(front, back).spawn().unwrap();
            one.send("there").unwrap();
            assert_eq!(other.recv_timeout(LONG).unwrap().as_bytes(), b"there");
            (proxy, one, other)
        }};
    }
    macro_rules! back {
        ($sockets:expr) => {{
            let (proxy, mut one, mut other) = $sockets;
            other.send("and back").unwrap();
            assert_eq!(one.recv_timeout(LONG).unwrap().as_bytes(), b"and back");
            assert_eq!(proxy.stop().statistics.front.sent_messages, 1);
        }};
    }
    back!(pair!(Dealer Dealer: Dealer Dealer));
    back!(pair!(Pair Pair: Pair Pair));
    back!(pair!(Pair Dealer: Pair Dealer));
    back!(pair!(Channel Channel: Channel Channel));
    pair!(Gather Scatter: Scatter Gather);
    pair!(Gather Push: Scatter Pull);
    pair!(Pull Dealer: Push Dealer);

    // SUB and PUB: a filter in the middle.
    let (mut sub, here) = bound!(Sub::builder(), Net::Inproc);
    let (publisher, there) = bound!(Pub::builder(), Net::Inproc);
    sub.subscribe("a").unwrap();
    let mut source = Pub::builder().connect(&here).unwrap();
    let mut sink = Sub::builder().connect(&there).unwrap();
    sink.subscribe("").unwrap();
    source.wait_for_subscribers(1, LONG).unwrap();
    let proxy = Proxy::new(sub, publisher).spawn().unwrap();
    source.send("b").unwrap();
    source.send("a").unwrap();
    assert_eq!(sink.recv_timeout(LONG).unwrap().as_bytes(), b"a");
    assert_eq!(proxy.stop().statistics.front.received_messages, 1);

    // DISH and RADIO.
    let (mut dish, here) = bound!(Dish::builder(), Net::Inproc);
    let (radio, there) = bound!(Radio::builder(), Net::Inproc);
    dish.join("news").unwrap();
    let mut source = Radio::builder().connect(&here).unwrap();
    let mut sink = Dish::builder().connect(&there).unwrap();
    sink.join("news").unwrap();
    let _proxy = Proxy::new(dish, radio).spawn().unwrap();
    source.wait_for_members("news", 1, LONG).unwrap();
    source.send("news", "today").unwrap();
    let (group, body) = sink.recv_timeout(LONG).unwrap();
    assert_eq!((group.as_bytes(), &body[..]), (&b"news"[..], &b"today"[..]));
}

/// A STREAM and a DEALER: octets of a plain connection, with its id before them, and back.
#[test]
fn octets_of_plain_connections_are_forwarded() {
    use std::io::{Read, Write};
    let mut stream = Stream::builder().notify(false).build().unwrap();
    let front = stream.bind("tcp://127.0.0.1:*").unwrap();
    let (dealer, back) = bound!(Dealer::builder(), Net::Inproc);
    let mut app = Dealer::builder().connect(&back).unwrap();
    let proxy = Proxy::new(stream, dealer).spawn().unwrap();
    let address = front.to_string().replace("tcp://", "");
    let mut plain = std::net::TcpStream::connect(address).unwrap();
    plain.write_all(b"hello").unwrap();
    let request = app.recv_timeout(LONG).unwrap();
    assert_eq!(&request.frames()[1][..], b"hello");
    let id = request.frames()[0].clone();
    app.send(Message::multipart([&id[..], b"world"])).unwrap();
    let mut reply = [0; 5];
    plain.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"world");
    // The empty message closes the connection, as the field says it.
    app.send(Message::multipart([&id[..], b""])).unwrap();
    assert_eq!(plain.read(&mut reply).unwrap(), 0);
    assert_eq!(proxy.stop().statistics.undeliverable, 0);
}

#[test]
fn a_capture_sees_both_directions() {
    macro_rules! captured {
        ($capture:ident, $sink:ident, $ready:expr) => {{
            let (mut capture, tap) = bound!($capture::builder(), Net::Inproc);
            let mut sink = $sink::builder().connect(&tap).unwrap();
            let ready: fn(&mut $capture, &mut $sink) = $ready;
            ready(&mut capture, &mut sink);
            let (front, here) = bound!(Dealer::builder(), Net::Inproc);
            let (back, there) = bound!(Dealer::builder(), Net::Inproc);
            let mut one = Dealer::builder().connect(&here).unwrap();
            let mut other = Dealer::builder().connect(&there).unwrap();
            let proxy = Proxy::new(front, back).capture(capture).spawn().unwrap();
            let there = Message::multipart(["", "there"]);
            one.send(there.clone()).unwrap();
            assert_eq!(other.recv_timeout(LONG).unwrap(), there);
            other.send("back").unwrap();
            assert_eq!(one.recv_timeout(LONG).unwrap().as_bytes(), b"back");
            assert_eq!(sink.recv_timeout(LONG).unwrap(), there);
            assert_eq!(sink.recv_timeout(LONG).unwrap().as_bytes(), b"back");
            proxy.stop();
        }};
    }
    captured!(Push, Pull, |_, _| {});
    captured!(Dealer, Dealer, |_, _| {});
    captured!(Pair, Pair, |_, _| {});
    captured!(Pub, Sub, |publisher, sub| {
        sub.subscribe("").unwrap();
        publisher.wait_for_subscribers(1, LONG).unwrap();
    });
}

/// Nothing is taken while a copy could not be sent, and nothing is lost.
#[test]
fn a_capture_that_is_full_holds_everything_up() {
    let (capture, tap) = bound!(Push::builder().send_hwm(1), Net::Inproc);
    let (pull, front) = bound!(Pull::builder().recv_hwm(1), Net::Inproc);
    let (push, back) = bound!(Push::builder(), Net::Inproc);
    let mut sink = Pull::builder().connect(&back).unwrap();
    let proxy = Proxy::new(pull, push).capture(capture).spawn().unwrap();
    let mut source = Push::builder().send_hwm(1).connect(&front).unwrap();
    source.send(numbered(0, 0)).unwrap();
    let sent = fill(&mut source, 1);
    assert_eq!(
        sink.recv_timeout(SHORT),
        Err(RecvError::Timeout),
        "no capture peer yet"
    );
    let mut copies = Pull::builder().recv_hwm(1).connect(&tap).unwrap();
    for number in 0..sent {
        assert_eq!(number_of(&copies.recv_timeout(LONG).unwrap()), (0, number));
        assert_eq!(number_of(&sink.recv_timeout(LONG).unwrap()), (0, number));
    }
    assert_eq!(proxy.stop().statistics.back.sent_messages, u64::from(sent));
}

/// Sends numbered messages from `next` on until nobody takes one for a while; how many there are now.
fn fill(push: &mut Push, mut next: u32) -> u32 {
    while push.send_timeout(numbered(0, next), SHORT).is_ok() {
        next += 1;
    }
    next
}

/// High-water marks hold all the way: a sender is held up by a receiver that does not read, behind the proxy.
#[test]
fn a_full_side_stops_its_own_direction_and_nothing_is_lost() {
    for &net in &[Net::Inproc, Net::Tcp4] {
        let (front, here) = bound!(Dealer::builder().recv_hwm(4).send_hwm(4), net);
        let (back, there) = bound!(Dealer::builder().recv_hwm(4).send_hwm(4), net);
        let proxy = Proxy::new(front, back).spawn().unwrap();
        let mut one = Dealer::builder()
            .send_hwm(4)
            .recv_hwm(4)
            .connect(&here)
            .unwrap();
        let mut other = Dealer::builder()
            .recv_hwm(4)
            .send_hwm(4)
            .connect(&there)
            .unwrap();
        other.wait_for_peers(1, LONG).unwrap();
        let large = pattern(if net == Net::Inproc { 64 } else { 1 << 20 });
        let message = |number: u32| Message::multipart([&number.to_le_bytes()[..], &large]);
        let mut sent = 0;
        while one.send_timeout(message(sent), SHORT * 5).is_ok() {
            sent += 1;
            assert!(sent < 200, "nobody reads, and nobody is held up");
        }
        // The other direction goes on, and is counted while this one is full.
        other.send("meanwhile").unwrap();
        assert_eq!(one.recv_timeout(LONG).unwrap().as_bytes(), b"meanwhile");
        proxy.handle().pause();
        let at_rest = proxy.handle().statistics();
        assert_eq!(at_rest.front.received_messages, at_rest.back.sent_messages);
        assert!(at_rest.back.sent_messages <= u64::from(sent));
        proxy.handle().resume();
        for number in 0..sent {
            let message = other.recv_timeout(LONG).unwrap();
            assert_eq!(&message.frames()[0][..], &number.to_le_bytes());
        }
        assert_eq!(proxy.stop().statistics.back.sent_messages, u64::from(sent));
    }
}

/// A reply for a client that does not read waits in the proxy, and is not lost; one for a client that is gone is
/// dropped and counted.
#[test]
fn a_router_waits_for_the_peer_that_a_message_is_for() {
    let (router, front) = bound!(Router::builder().send_hwm(1), Net::Inproc);
    let (dealer, back) = bound!(Dealer::builder(), Net::Inproc);
    let proxy = Proxy::new(router, dealer)
        .wait_for_full_peers(true)
        .spawn()
        .unwrap();
    let mut worker = Dealer::builder().connect(&back).unwrap();
    let mut client = Dealer::builder().recv_hwm(1).connect(&front).unwrap();
    client.send("who am I?").unwrap();
    let id = worker.recv_timeout(LONG).unwrap().frames()[0].clone();
    for number in 0..20u8 {
        worker
            .send(Message::multipart([&id[..], &[number]]))
            .unwrap();
    }
    // Two are under way to the client, and one is held: the rest has not been received.
    await_true("one is held", || {
        proxy.handle().statistics().back.received_messages == 3
    });
    for number in 0..20u8 {
        assert_eq!(client.recv_timeout(LONG).unwrap().as_bytes(), [number]);
    }
    for number in 0..5u8 {
        worker
            .send(Message::multipart([&id[..], &[number]]))
            .unwrap();
    }
    await_true("one is held", || {
        proxy.handle().statistics().back.received_messages == 23
    });
    drop(client);
    // A client that goes throws away what it has, which may make room for the one that is held.
    await_true("the rest is for nobody", || {
        let statistics = proxy.handle().statistics();
        statistics.front.sent_messages + statistics.undeliverable == 25
    });
    let report = proxy.stop();
    let sent = report.statistics.front.sent_messages;
    assert!(sent == 22 || sent == 23, "{:?}", report.statistics);
    assert_eq!(report.for_front, None);
}

/// What is for a client that never reads is dropped and counted; another has all its replies, in order, and what the
/// first one's high-water marks allow is still there for it. Octets and messages alike: every third reply is too long to
/// go as octets.
#[test]
fn a_client_that_never_reads_holds_nobody_up() {
    let (router, front) = bound!(Router::builder().send_hwm(3), Net::Inproc);
    let (dealer, back) = bound!(Dealer::builder(), Net::Inproc);
    let proxy = Proxy::new(router, dealer).spawn().unwrap();
    let mut worker = Dealer::builder().connect(&back).unwrap();
    let mut clients = [1, 1000].map(|mark| {
        let mut client = Dealer::builder().recv_hwm(mark).connect(&front).unwrap();
        client.send("who am I?").unwrap();
        let id = worker.recv_timeout(LONG).unwrap().frames()[0].clone();
        (client, id)
    });
    for number in 0..60u8 {
        let len = if number % 3 == 0 { 300_000 } else { 10 };
        for (_, id) in &clients {
            let reply = Message::multipart([&id[..], &vec![number; len]]);
            worker.send(reply).unwrap();
        }
        let (reads, _) = &mut clients[1];
        let reply = reads.recv_timeout(LONG).unwrap();
        assert_eq!((reply.byte_len(), reply.as_bytes()[0]), (len, number));
    }
    await_true("all were taken", || {
        proxy.handle().statistics().back.received_messages == 120
    });
    let report = proxy.stop();
    // Three at the ROUTER, and one at the client.
    assert_eq!(report.statistics.full, 56);
    assert_eq!(report.statistics.front.sent_messages, 64);
    assert_eq!(report.statistics.undeliverable, 0);
    assert_eq!(report.for_front, None);
    let (never_read, _) = &mut clients[0];
    for number in 0..4u8 {
        let reply = never_read.recv_timeout(LONG).unwrap();
        assert_eq!(reply.as_bytes()[0], number);
    }
}

/// Ended while it is blocked, the proxy gives back its sockets and the message it had in hand.
#[test]
fn it_ends_while_it_is_blocked_and_loses_nothing() {
    let (router, front) = bound!(Router::builder().send_hwm(1), Net::Inproc);
    let (dealer, back) = bound!(Dealer::builder(), Net::Inproc);
    let proxy = Proxy::new(router, dealer)
        .wait_for_full_peers(true)
        .spawn()
        .unwrap();
    let mut worker = Dealer::builder().connect(&back).unwrap();
    let mut client = Dealer::builder().recv_hwm(1).connect(&front).unwrap();
    client.send("x").unwrap();
    let id = worker.recv_timeout(LONG).unwrap().frames()[0].clone();
    for number in 0..5u8 {
        worker
            .send(Message::multipart([&id[..], &[number]]))
            .unwrap();
    }
    await_true("one is held", || {
        proxy.handle().statistics().back.received_messages == 3
    });
    let handle = proxy.handle().clone();
    handle.terminate();
    assert_eq!(handle.state(), ProxyState::Stopped);
    // It stays so.
    handle.resume();
    handle.pause();
    assert_eq!(handle.state(), ProxyState::Stopped);
    let mut report = proxy.join();
    let held = report.for_front.unwrap();
    assert_eq!(&held.frames()[1][..], [2]);
    for number in 3..5u8 {
        let next = report.back.recv_timeout(LONG).unwrap();
        assert_eq!(&next.frames()[1][..], [number]);
    }
    for number in 0..2u8 {
        assert_eq!(client.recv_timeout(LONG).unwrap().as_bytes(), [number]);
    }
    report.front.send_timeout(held, LONG).unwrap();
    assert_eq!(client.recv_timeout(LONG).unwrap().as_bytes(), [2]);
}

#[test]
fn it_is_paused_and_goes_on() {
    let (pull, front) = bound!(Pull::builder(), Net::Tcp4);
    let (push, back) = bound!(Push::builder(), Net::Tcp4);
    let proxy = Proxy::new(pull, push);
    let handle = proxy.handle();
    assert_eq!(handle.state(), ProxyState::Idle);
    handle.pause();
    let proxy = proxy.spawn().unwrap();
    await_true("it begins paused", || handle.state() == ProxyState::Paused);
    let mut source = Push::builder().connect(&front).unwrap();
    let mut sink = Pull::builder().connect(&back).unwrap();
    source.send("one").unwrap();
    assert_eq!(sink.recv_timeout(SHORT), Err(RecvError::Timeout));
    handle.resume();
    assert_eq!(sink.recv_timeout(LONG).unwrap().as_bytes(), b"one");
    handle.pause();
    source.send("two").unwrap();
    assert_eq!(sink.recv_timeout(SHORT), Err(RecvError::Timeout));
    assert_eq!(handle.statistics().back.sent_messages, 1);
    handle.resume();
    assert_eq!(sink.recv_timeout(LONG).unwrap().as_bytes(), b"two");
    drop(proxy);
    await_true("dropped, it stops", || {
        handle.state() == ProxyState::Stopped
    });
}

/// What other implementations' steerable proxies understand, by a requester.
#[test]
fn it_is_steered_by_messages() {
    let (control, steering) = bound!(Rep::builder(), Net::Tcp4);
    let (pull, front) = bound!(Pull::builder(), Net::Inproc);
    let (push, back) = bound!(Push::builder(), Net::Inproc);
    let proxy = Proxy::new(pull, push).control(control).spawn().unwrap();
    let mut source = Push::builder().connect(&front).unwrap();
    let mut sink = Pull::builder().connect(&back).unwrap();
    let mut master = Req::builder().connect(&steering).unwrap();
    let mut tell = |command: &str| master.request_timeout(command, LONG).unwrap();

    assert_eq!(tell("PAUSE"), Message::default());
    assert_eq!(proxy.handle().state(), ProxyState::Paused);
    source.send(Message::multipart(["one", "two"])).unwrap();
    assert_eq!(figures(&tell("STATISTICS")), [0; 8]);
    assert_eq!(tell("no command"), Message::default());
    assert_eq!(tell("RESUME"), Message::default());
    sink.recv_timeout(LONG).unwrap();
    assert_eq!(tell("PAUSE"), Message::default());
    assert_eq!(figures(&tell("STATISTICS")), [2, 6, 0, 0, 0, 0, 2, 6]);
    assert_eq!(tell("TERMINATE"), Message::default());
    assert_eq!(proxy.join().statistics.front.received_frames, 2);
}

fn figures(message: &Message) -> Vec<u64> {
    let figure = |frame: &sinew::Frame| u64::from_ne_bytes(frame[..].try_into().unwrap());
    message.frames().iter().map(figure).collect()
}

/// By a PAIR, which gets an answer to STATISTICS only, while the proxy has a full side and a capture nobody
/// reads.
#[test]
fn it_is_steered_while_it_is_blocked() {
    let (control, steering) = bound!(Pair::builder(), Net::Inproc);
    let (capture, _tap) = bound!(Push::builder(), Net::Inproc);
    let (pull, front) = bound!(Pull::builder(), Net::Inproc);
    let (push, _back) = bound!(Push::builder(), Net::Inproc);
    let proxy = Proxy::new(pull, push)
        .capture(capture)
        .control(control)
        .spawn()
        .unwrap();
    let mut source = Push::builder().connect(&front).unwrap();
    source.send("nobody reads").unwrap();
    let mut master = Pair::builder().connect(&steering).unwrap();
    master.send("PAUSE").unwrap();
    master
        .send(Message::multipart(["TERMINATE", "not of one frame"]))
        .unwrap();
    master.send("RESUME").unwrap();
    master.send("STATISTICS").unwrap();
    assert_eq!(figures(&master.recv_timeout(LONG).unwrap()), [0; 8]);
    assert_eq!(master.try_recv(), Err(RecvError::WouldBlock));
    master.send("TERMINATE").unwrap();
    let mut report = proxy.join();
    assert_eq!(
        report.front.recv_timeout(LONG).unwrap().as_bytes(),
        b"nobody reads"
    );
}

/// With `no_drop` a forwarder holds publishers up, too: between two and four high-water marks are under way, and one
/// message more in the proxy's hand. For who gets a message is seen only when it is there; a publisher that is full for
/// some may have room for others.
#[test]
fn a_forwarder_that_does_not_drop_holds_publishers_up() {
    const MARK: u64 = 10;
    let (xsub, front) = bound!(XSub::builder().recv_hwm(MARK), Net::Inproc);
    let (xpub, back) = bound!(XPub::builder().send_hwm(MARK).no_drop(true), Net::Inproc);
    let proxy = Proxy::new(xsub, xpub).spawn().unwrap();
    let mut publisher = Pub::builder()
        .send_hwm(MARK)
        .no_drop(true)
        .connect(&front)
        .unwrap();
    let mut subscriber = Sub::builder().recv_hwm(MARK).connect(&back).unwrap();
    subscriber.subscribe("").unwrap();
    publisher.wait_for_subscribers(1, LONG).unwrap();
    let mut sent = 0;
    loop {
        match publisher.send_timeout(numbered(0, sent), SHORT * 5) {
            Ok(()) => sent += 1,
            Err(error) => break assert_eq!(error.reason(), SendFailure::Timeout),
        }
    }
    let handle = proxy.handle();
    handle.pause();
    let statistics = handle.statistics();
    let in_hand = statistics.front.received_messages - statistics.back.sent_messages;
    assert!(in_hand <= 1, "{in_hand}");
    let queued = u64::from(sent) - in_hand;
    assert!((2 * MARK..=4 * MARK).contains(&queued), "{queued}");
    handle.resume();
    for number in 0..sent {
        let message = subscriber.recv_timeout(LONG).unwrap();
        assert_eq!(number_of(&message), (0, number));
    }
    proxy.stop();
}

#[test]
fn what_cannot_be_forwarded_is_refused_by_name() {
    let error = Proxy::new(Push::new(), Push::new()).run().unwrap_err();
    assert!(matches!(
        error,
        ProxyError::Pair {
            front: SocketType::Push,
            back: SocketType::Push,
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "a proxy cannot forward between PUSH and PUSH: expected one that receives and one that sends"
    );
    let error = Proxy::new(Pull::new(), Scatter::new()).spawn().unwrap_err();
    assert!(matches!(
        error,
        ProxyError::Pair {
            back: SocketType::Scatter,
            ..
        }
    ));
    let error = Proxy::new(Rep::new(), Dealer::new()).run().unwrap_err();
    assert!(matches!(
        error,
        ProxyError::Pair {
            front: SocketType::Rep,
            ..
        }
    ));
    assert!(error.to_string().contains("which take turns"), "{error}");
    let error = Proxy::new(Pull::new(), Push::new())
        .capture(Pull::new())
        .run()
        .unwrap_err();
    assert!(matches!(
        error,
        ProxyError::Capture {
            given: SocketType::Pull
        }
    ));
    let error = Proxy::new(Pull::new(), Push::new())
        .control(Dealer::new())
        .run()
        .unwrap_err();
    assert!(matches!(
        error,
        ProxyError::Control {
            given: SocketType::Dealer
        }
    ));
}

/// A socket that is both sides: what it receives goes out by itself.
#[test]
fn what_a_socket_receives_is_reflected() {
    for &net in KINDS {
        let (router, endpoint) = bound!(Router::builder(), net);
        let proxy = Proxy::reflect(router).spawn().unwrap();
        let mut clients = [(); 2].map(|()| Dealer::builder().connect(&endpoint).unwrap());
        for number in 0..500 {
            for (sender, client) in clients.iter_mut().enumerate() {
                client.send(numbered(sender as u32, number)).unwrap();
            }
        }
        for number in 0..500 {
            for (sender, client) in clients.iter_mut().enumerate() {
                let message = client.recv_timeout(LONG).unwrap();
                assert_eq!(number_of(&message), (sender as u32, number), "{net:?}");
            }
        }
        let statistics = proxy.stop().statistics;
        assert_eq!(statistics.front.received_messages, 1000);
        assert_eq!(statistics.front.sent_messages, 1000);
        assert_eq!(
            statistics.front.sent_frames,
            statistics.front.received_frames
        );
        assert_eq!(statistics.back, Default::default());
    }
}

/// More than fits, so that it waits for room in the socket that it also receives from.
#[test]
fn a_reflection_holds_its_sender_up_and_loses_nothing() {
    let (pair, endpoint) = bound!(Pair::builder().send_hwm(5).recv_hwm(5), Net::Inproc);
    let proxy = Proxy::reflect(pair).spawn().unwrap();
    let other = Pair::builder().send_hwm(5).recv_hwm(5);
    let mut other = other.connect(&endpoint).unwrap();
    let mut sent = 0;
    loop {
        match other.send_timeout(numbered(0, sent), SHORT * 5) {
            Ok(()) => sent += 1,
            Err(error) => break assert_eq!(error.reason(), SendFailure::Timeout),
        }
    }
    // Both ways, and one in the proxy's hand.
    assert!((10..=21).contains(&sent), "{sent}");
    for number in 0..sent {
        assert_eq!(number_of(&other.recv_timeout(LONG).unwrap()), (0, number));
    }
    let report = proxy.stop();
    assert_eq!((report.for_back, report.for_front), (None, None));
}

/// As any proxy.
#[test]
fn a_reflection_is_captured_and_steered() {
    let (capture, tap) = bound!(Push::builder(), Net::Inproc);
    let (control, steering) = bound!(Rep::builder(), Net::Inproc);
    let (stream, endpoint) = bound!(Stream::builder().notify(false), Net::Tcp4);
    let proxy = Proxy::reflect(stream).capture(capture).control(control);
    let handle = proxy.handle();
    let proxy = proxy.spawn().unwrap();
    let mut tap = Pull::builder().connect(&tap).unwrap();
    let mut master = Req::builder().connect(&steering).unwrap();
    let mut tell = |command: &str| master.request_timeout(command, LONG).unwrap();
    let mut raw = std::net::TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap();
    let mut octets = [0; 4];
    std::io::Write::write_all(&mut raw, b"echo").unwrap();
    std::io::Read::read_exact(&mut raw, &mut octets).unwrap();
    assert_eq!(&octets, b"echo");
    assert_eq!(&tap.recv_timeout(LONG).unwrap().frames()[1], "echo");
    tell("PAUSE");
    assert_eq!(handle.state(), ProxyState::Paused);
    let told = figures(&tell("STATISTICS"));
    assert_eq!((told[0], told[2]), (2, 2), "an id and octets, in and out");
    assert_eq!(told[4..], [0; 4]);
    tell("TERMINATE");
    assert_eq!(proxy.join().close().unsent, 0);
}

#[test]
fn what_goes_one_way_is_not_reflected() {
    let error = Proxy::reflect(Push::new()).run().unwrap_err();
    assert_eq!(
        error.to_string(),
        "a proxy cannot reflect by a PUSH socket: expected one that both receives and sends"
    );
    let error = Proxy::reflect(Rep::new()).spawn().unwrap_err();
    assert!(matches!(
        error,
        ProxyError::Reflected {
            given: SocketType::Rep,
            ..
        }
    ));
}

/// What a peer that is gone has not been sent goes to the next one, and new peers are served.
#[test]
fn peers_come_and_go() {
    let (pull, front) = bound!(Pull::builder(), Net::Tcp4);
    let (push, back) = bound!(Push::builder(), Net::Tcp4);
    let mut monitor = push.monitor();
    let proxy = Proxy::new(pull, push).spawn().unwrap();
    let mut source = Push::builder().connect(&front).unwrap();
    for round in 0..10 {
        let mut sink = Pull::builder().connect(&back).unwrap();
        source.send(numbered(0, round)).unwrap();
        assert_eq!(number_of(&sink.recv_timeout(LONG).unwrap()), (0, round));
        sink.close();
        await_event(&mut monitor, "the sink is gone", |event| {
            matches!(event, SocketEvent::Disconnected { .. })
        });
    }
    assert_eq!(proxy.stop().statistics.back.sent_messages, 10);
}

/// The endpoints stay those of the sockets, which go on by themselves afterwards.
#[test]
fn a_proxy_on_this_thread_gives_its_sockets_back() {
    let (pull, front) = bound!(Pull::builder(), Net::Inproc);
    let (push, back): (Push, Endpoint) = bound!(Push::builder(), Net::Inproc);
    let proxy = Proxy::new(pull, push);
    let handle = proxy.handle();
    let running = task(move || proxy.run().unwrap());
    let mut source = Push::builder().connect(&front).unwrap();
    let mut sink = Pull::builder().connect(&back).unwrap();
    source.send("through").unwrap();
    assert_eq!(sink.recv_timeout(LONG).unwrap().as_bytes(), b"through");
    handle.terminate();
    let mut report = running.join();
    source.send("to here").unwrap();
    assert_eq!(
        report.front.recv_timeout(LONG).unwrap().as_bytes(),
        b"to here"
    );
    report
        .back
        .send_timeout("from here", Duration::from_secs(60))
        .unwrap();
    assert_eq!(sink.recv_timeout(LONG).unwrap().as_bytes(), b"from here");
}
