//! Sockets in two parts, each owned by a thread of its own.

use sinew::{
    Channel, Client, Datagram, Dealer, Dgram, DisconnectReason, Endpoint, Interest, Message,
    Monitor, Pair, Peer, PollItem, Pollable, Poller, Pub, RecvError, Router, SendFailure, Server,
    SocketEvent, Split, Stream, Sub, SubscriptionEvent, XPub, XSub,
};

use crate::support::{await_event, number_of, numbered, task, KINDS, LONG, SHORT};

const COUNT: u32 = 20_000;

/// Sends numbered messages through the one and receives as many through the other, at the same time.
macro_rules! both_ways {
    ($one:expr, $other:expr, $net:expr) => {{
        let (one, other) = ($one.split(), $other.split());
        let tasks: Vec<_> = [(one.0, 1), (other.0, 2)]
            .into_iter()
            .map(|(mut sending, sender)| {
                task(move || {
                    for n in 0..COUNT {
                        sending.send(numbered(sender, n)).unwrap();
                    }
                    sending
                })
            })
            .collect();
        let received: Vec<_> = [(one.1, 2), (other.1, 1)]
            .into_iter()
            .map(|(mut receiving, sender)| {
                task(move || {
                    for n in 0..COUNT {
                        let message = receiving.recv_timeout(LONG).unwrap();
                        assert_eq!(number_of(&message), (sender, n), "{:?}", $net);
                    }
                    receiving
                })
            })
            .collect();
        let sending: Vec<_> = tasks.into_iter().map(|task| task.join()).collect();
        let receiving: Vec<_> = received.into_iter().map(|task| task.join()).collect();
        let mut whole = Vec::new();
        for (sending, receiving) in sending.into_iter().zip(receiving) {
            whole.push(sending.reunite(receiving).expect("they are of one socket"));
        }
        // And go on as before.
        let [mut one, mut other] = <[_; 2]>::try_from(whole).unwrap();
        one.send("again").unwrap();
        assert_eq!(other.recv_timeout(LONG).unwrap().as_bytes(), b"again");
        one.close();
        other.close();
    }};
}

#[test]
fn both_parts_work_at_the_same_time_and_make_a_whole_again() {
    for &net in KINDS {
        macro_rules! pair_of {
            ($kind:ident) => {{
                let one = $kind::builder().bind(net.fresh()).unwrap();
                let endpoint = one.bound_endpoints().remove(0);
                both_ways!(one, $kind::builder().connect(&endpoint).unwrap(), net);
            }};
        }
        pair_of!(Pair);
        pair_of!(Channel);
        pair_of!(Dealer);
    }
}

#[test]
fn peers_are_named_by_parts_too() {
    for &net in KINDS {
        let router = Router::builder().bind(net.fresh()).unwrap();
        let mut dealer = Dealer::builder()
            .connect(&router.bound_endpoints()[0])
            .unwrap();
        let (mut sending, mut receiving) = router.split();
        let answering = task(move || {
            for _ in 0..1000 {
                let (id, message) = receiving.recv_from_timeout(LONG).unwrap();
                sending.send_to(&id, message).unwrap();
            }
        });
        for n in 0..1000 {
            dealer.send(numbered(0, n)).unwrap();
        }
        for n in 0..1000 {
            assert_eq!(number_of(&dealer.recv_timeout(LONG).unwrap()), (0, n));
        }
        answering.join();

        let server = Server::builder().bind(net.fresh()).unwrap();
        let mut client = Client::builder()
            .connect(&server.bound_endpoints()[0])
            .unwrap();
        let (mut sending, mut receiving) = server.split();
        client.send("x").unwrap();
        let (id, message) = receiving.recv_from_timeout(LONG).unwrap();
        sending.send_to(id, message).unwrap();
        assert_eq!(client.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    }
    let peer = Peer::builder().bind("tcp://127.0.0.1:*").unwrap();
    let mut other = Peer::new();
    let id = other.connect_peer(&peer.bound_endpoints()[0]).unwrap();
    let (mut sending, mut receiving) = peer.split();
    other.send_to(id, "x").unwrap();
    let (from, message) = receiving.recv_from_timeout(LONG).unwrap();
    sending.send_to(from, message).unwrap();
    assert_eq!(other.recv_from_timeout(LONG).unwrap().0, id);

    let stream = Stream::builder()
        .notify(false)
        .bind("tcp://127.0.0.1:*")
        .unwrap();
    let mut raw = Stream::builder()
        .notify(false)
        .connect(&stream.bound_endpoints()[0])
        .unwrap();
    raw.wait_for_peers(1, LONG).unwrap();
    let (_sending, receiving) = stream.split();
    assert_eq!(receiving.stats().messages_received, 0);
}

#[test]
fn publishers_and_subscribers_split() {
    let xpub = XPub::builder().bind("inproc://split-xpub").unwrap();
    let mut sub = Sub::builder().connect("inproc://split-xpub").unwrap();
    let (mut sending, mut receiving) = xpub.split();
    sub.subscribe("a").unwrap();
    let event = receiving.recv_event_async();
    let event = futures::executor::block_on(event).unwrap();
    assert_eq!(event, SubscriptionEvent::Subscribed("a".into()));
    sending.send("abc").unwrap();
    assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"abc");

    let mut publisher = Pub::builder().bind("inproc://split-xsub").unwrap();
    let xsub = XSub::builder().connect("inproc://split-xsub").unwrap();
    let (mut sending, mut receiving) = xsub.split();
    sending.send(Message::from(&b"\x01b"[..])).unwrap();
    publisher.wait_for_subscribers_of("b", 1, LONG).unwrap();
    receiving.subscribe("c").unwrap();
    publisher.wait_for_subscribers_of("c", 1, LONG).unwrap();
    publisher.send("b").unwrap();
    publisher.send("c").unwrap();
    for expected in ["b", "c"] {
        let message = receiving.recv_timeout(LONG).unwrap();
        assert_eq!(message.as_bytes(), expected.as_bytes());
    }
}

/// Whoever is asked or told waits in one part while the other is used.
#[test]
fn the_sending_part_waits_for_peers_and_subscribers() {
    for &net in KINDS {
        let xpub = XPub::builder().bind(net.fresh()).unwrap();
        let endpoint = xpub.bound_endpoints().remove(0);
        let (mut sending, mut receiving) = xpub.split();
        let late = sending.wait_for_peers(1, SHORT).unwrap_err();
        assert_eq!((late.present, late.wanted), (0, 1));
        assert!(sending.wait_for_subscribers(1, SHORT).is_err());
        let waiting = task(move || {
            sending.wait_for_peers(1, LONG).unwrap();
            sending.wait_for_subscribers(1, LONG).unwrap();
            sending.wait_for_subscribers_of("abc", 1, LONG).unwrap();
            futures::executor::block_on(async {
                sending.wait_for_peers_async(2).await;
                sending.wait_for_subscribers_async(2).await;
                sending.wait_for_subscribers_of_async("abc", 2).await;
            });
            sending
        });
        let mut subs = Vec::new();
        for topic in ["a", "ab"] {
            // It is not in the way of the other part, nor that in its.
            assert!(!waiting.is_done());
            let mut sub = Sub::builder().connect(&endpoint).unwrap();
            sub.subscribe(topic).unwrap();
            let event = receiving.recv_event().unwrap();
            assert_eq!(event, SubscriptionEvent::Subscribed(topic.into()));
            subs.push(sub);
        }
        let mut sending = waiting.join();
        sending.send("abc").unwrap();
        for sub in &mut subs {
            assert_eq!(sub.recv_timeout(LONG).unwrap().as_bytes(), b"abc");
        }
        assert!(receiving.connected_endpoints().is_empty());
    }
}

#[test]
fn datagrams_go_out_by_one_part_and_come_in_by_the_other() {
    let (mut sending, mut receiving) = Dgram::new().split();
    assert!(sending.wait_for_peers(1, SHORT).is_err(), "it is not bound");
    let ours = sending.bind("udp://127.0.0.1:*").unwrap();
    sending.wait_for_peers(1, LONG).unwrap();
    let ours = ours.socket_addr().unwrap();
    let mut other = Dgram::builder().bind("udp://127.0.0.1:*").unwrap();
    let theirs = other.bound_endpoint().unwrap().socket_addr().unwrap();
    // One is waited for while others are sent.
    let answers = task(move || {
        for n in 0..100 {
            let answer = receiving.recv_from_timeout(LONG).unwrap();
            assert_eq!((answer.peer, &answer.body[..]), (theirs, &[n][..]));
        }
        receiving
    });
    for n in 0..100 {
        match n % 2 {
            0 => sending.send_to(theirs, vec![n]).unwrap(),
            _ => sending
                .send(Message::from(Datagram::new(theirs, vec![n])))
                .unwrap(),
        }
        let asked = other.recv_timeout(LONG).unwrap();
        assert_eq!((asked.peer, &asked.body[..]), (ours, &[n][..]));
        other.send_to(asked.peer, asked.body).unwrap();
    }
    let mut receiving = answers.join();
    // As a message it is address and body.
    other.send_to(ours, "whole").unwrap();
    let message = receiving.recv_timeout(LONG).unwrap();
    assert_eq!(Datagram::try_from(message).unwrap().body, "whole");
    let refused = sending.send("no address").unwrap_err();
    assert_eq!(refused.reason(), SendFailure::NoDatagram);
    let mut one = sending.reunite(receiving).expect("parts of one");
    one.send_to(theirs, "again").unwrap();
    assert_eq!(other.recv_timeout(LONG).unwrap().body, "again");
    assert_eq!(one.close().unsent, 0);
}

#[test]
fn connections_live_as_long_as_one_part_does() {
    for &net in KINDS {
        let mut one = Pair::builder().bind(net.fresh()).unwrap();
        let other = Pair::builder().connect(&one.bound_endpoints()[0]).unwrap();
        let mut monitor = one.monitor();
        one.wait_for_peers(1, LONG).unwrap();
        let (sending, mut receiving) = other.split();
        drop(sending);
        one.send("still there").unwrap();
        let message = receiving.recv_timeout(LONG).unwrap();
        assert_eq!(message.as_bytes(), b"still there");
        drop(receiving);
        let gone =
            |event: &sinew::SocketEvent| matches!(event, sinew::SocketEvent::Disconnected { .. });
        if net != crate::support::Net::Inproc {
            assert!(monitor.wait_for(LONG, gone).is_some(), "{net:?}");
        }
        crate::support::await_true("it is gone", || one.try_send("x").is_err());
    }
}

#[test]
fn parts_are_ready_for_what_is_theirs() {
    let mut one = Pair::builder().bind("inproc://split-ready").unwrap();
    let other = Pair::builder().connect("inproc://split-ready").unwrap();
    let (mut sending, mut receiving) = other.split();
    let mut poller = Poller::new().unwrap();
    let mut items = [
        PollItem::socket(&mut sending, Interest::BOTH),
        PollItem::socket(&mut receiving, Interest::BOTH),
    ];
    let events = poller.wait(&mut items, Some(LONG)).unwrap();
    assert!(events.is_writable(0) && !events.is_readable(0));
    assert!(!events.is_writable(1) && !events.is_readable(1));
    one.send("x").unwrap();
    let mut items = [PollItem::socket(&mut receiving, Interest::READABLE)];
    assert!(poller.wait(&mut items, Some(LONG)).unwrap().is_readable(0));
    assert_eq!(receiving.try_recv().unwrap().as_bytes(), b"x");
    assert_eq!(receiving.try_recv(), Err(RecvError::WouldBlock));
}

#[test]
fn parts_of_different_sockets_are_no_socket() {
    let (one, _) = Dealer::new().split();
    let (_, other) = Dealer::new().split();
    let (one, other) = one.reunite(other).unwrap_err();
    drop((one, other));
}

// ---- peers that come and go while one part is not used ------------------------------------------

/// More than may be gone without anybody taking note.
const MANY: usize = 1100;

/// Peers, one after the other, each of which sends these messages.
fn come_and_go(count: usize, endpoint: &Endpoint, monitor: &mut Monitor, messages: &[&str]) {
    for _ in 0..count {
        let mut dealer = Dealer::builder().connect(endpoint).unwrap();
        for message in messages {
            dealer.send(*message).unwrap();
        }
        dealer.wait_for_peers(1, LONG).unwrap();
        dealer.close();
        await_event(monitor, "the end", |event| {
            matches!(event, SocketEvent::Disconnected { .. })
        });
    }
}

#[test]
fn a_part_looks_after_peers_for_one_that_is_dropped() {
    let dealer = Dealer::builder().bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = dealer.bound_endpoints().remove(0);
    let mut monitor = dealer.monitor();
    let (sending, mut receiving) = dealer.split();
    drop(sending);
    let stop = Message::from("stop");
    let expected = stop.clone();
    let receiver = task(move || {
        assert_eq!(receiving.recv().unwrap(), expected);
        receiving
    });
    come_and_go(MANY, &endpoint, &mut monitor, &[]);
    let mut last = Dealer::builder().connect(&endpoint).unwrap();
    last.send(stop).unwrap();
    receiver.join();

    let dealer = Dealer::builder().bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = dealer.bound_endpoints().remove(0);
    let mut monitor = dealer.monitor();
    let (mut sending, receiving) = dealer.split();
    drop(receiving);
    let sender = task(move || {
        sending.send_timeout("to who is there", LONG).unwrap();
        sending
    });
    let mut first = Dealer::builder().connect(&endpoint).unwrap();
    assert_eq!(
        first.recv_timeout(LONG).unwrap(),
        Message::from("to who is there")
    );
    let mut sending = sender.join();
    for _ in 0..2 {
        come_and_go(MANY / 2 + 1, &endpoint, &mut monitor, &["unread"]);
        // As any other use of it.
        sending.send_timeout("again", LONG).unwrap();
        assert_eq!(first.recv_timeout(LONG).unwrap(), Message::from("again"));
    }
    assert!(sending.stats().dropped_peer_lost >= MANY as u64);
}

#[test]
fn a_part_that_receives_nothing_bounds_what_peers_leave() {
    let dealer = Dealer::builder().bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = dealer.bound_endpoints().remove(0);
    let mut monitor = dealer.monitor();
    let (_sending, mut receiving) = dealer.split();
    let mut gone = 0;
    loop {
        assert!(gone <= MANY, "all were accepted");
        let mut dealer = Dealer::builder().connect(&endpoint).unwrap();
        dealer.send("unread").unwrap();
        let mut refused = None;
        await_event(&mut monitor, "the handshake", |event| {
            if let SocketEvent::HandshakeFailed { reason, .. } = event {
                refused = Some(reason.clone());
            }
            refused.is_some() || matches!(event, SocketEvent::HandshakeSucceeded { .. })
        });
        if let Some(reason) = refused {
            assert_eq!(reason, DisconnectReason::Unattended { limit: 1024 });
            break;
        }
        dealer.close();
        await_event(&mut monitor, "the end", |event| {
            matches!(event, SocketEvent::Disconnected { .. })
        });
        gone += 1;
    }
    assert_eq!(gone, 1024);
    for _ in 0..gone {
        assert_eq!(receiving.recv_timeout(LONG).unwrap().as_bytes(), b"unread");
    }
    let mut last = Dealer::builder().connect(&endpoint).unwrap();
    last.send("stop").unwrap();
    assert_eq!(receiving.recv_timeout(LONG).unwrap().as_bytes(), b"stop");
}

/// Who waits for messages takes note of peers that come and go, in both directions.
#[test]
fn waiting_for_messages_attends_to_peers_that_send_none() {
    macro_rules! attends {
        ($kind:ident, $peer:ident, $wait:expr) => {{
            let mut socket = $kind::builder().bind("tcp://127.0.0.1:*").unwrap();
            let endpoint = socket.bound_endpoints().remove(0);
            let mut monitor = socket.monitor();
            let waiting = task(move || {
                let wait: fn(&mut $kind) = $wait;
                wait(&mut socket);
            });
            for _ in 0..MANY {
                $peer::builder()
                    .connect(&endpoint)
                    .unwrap()
                    .wait_for_peers(1, LONG)
                    .unwrap();
                await_event(&mut monitor, "the end", |event| {
                    matches!(event, SocketEvent::Disconnected { .. })
                });
            }
            assert!(!waiting.is_done());
            let mut last = $peer::builder().connect(&endpoint).unwrap();
            last.send(Message::from("\x01topic")).unwrap();
            waiting.join();
        }};
    }
    attends!(XPub, XSub, |xpub| drop(xpub.recv_event().unwrap()));
    attends!(Dealer, Dealer, |dealer| {
        let ready = std::future::poll_fn(|cx| dealer.poll_ready(cx, Interest::READABLE));
        assert!(futures::executor::block_on(ready).is_readable());
    });
}
