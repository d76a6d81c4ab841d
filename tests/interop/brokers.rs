//! XSUB and XPUB: ours with theirs, ours between theirs, theirs between ours. 20 000 messages through each
//! broker, and as many from XPUB to XSUB with libzmq, 5000 with pyzmq.

use std::time::Instant;

use sinew::{
    Dealer, Endpoint, Message, Proxy, Pub, Rep, Router, Sub, SubscriptionEvent, XPub, XSub,
};

use crate::exchange::{publish_all, receive_published};
use crate::libzmq::Libzmq;
use crate::peer::{free_endpoint, watched, Kind, Peer, Role, WATCHDOG};
use crate::pyzmq::Pyzmq;
use crate::traffic::{Traffic, KEPT, SYNC};

const SEED: u64 = 7;
const COUNT: u64 = 20_000;

fn ours_between<P: Peer, S: Peer>() {
    let mut front = XSub::new();
    let mut back = XPub::builder()
        .no_drop(true)
        .recv_timeout(WATCHDOG)
        .build()
        .unwrap();
    let upstream = front.bind("tcp://127.0.0.1:*").unwrap();
    let downstream = back.bind("ipc://*").unwrap();
    let mut sub = S::start(&Role::connecting(Kind::Sub, &downstream, SEED, COUNT));
    let mut publisher = P::start(&Role::connecting(Kind::Pub, &upstream, SEED, COUNT));
    let event = back.recv().unwrap();
    assert_eq!(event.as_bytes(), [&[1], KEPT].concat());
    front.send(event).unwrap();
    // What it says until it knows of its subscriber is not for the other end.
    assert_eq!(front.recv_timeout(WATCHDOG).unwrap().as_bytes(), SYNC);
    publisher.go();
    let mut left = COUNT - COUNT / 4;
    while left > 0 {
        let message = front.recv_timeout(WATCHDOG).unwrap();
        if message.as_bytes() != SYNC {
            back.send(message).unwrap();
            left -= 1;
        }
    }
    assert_eq!(publisher.done(), sub.done());
    sub.close();
    let event = back.recv_event().unwrap();
    assert_eq!(event, SubscriptionEvent::Unsubscribed(KEPT.into()));
    publisher.close();
    assert_eq!(back.stats().dropped_full, 0);
}

#[test]
fn ours_hand_on_between_theirs() {
    watched(ours_between::<Libzmq, Libzmq>);
    watched(ours_between::<Libzmq, Pyzmq>);
    watched(ours_between::<Pyzmq, Libzmq>);
}

#[test]
fn theirs_hand_on_between_ours() {
    watched(|| {
        let mut context = zmq::Context::new();
        let sockets = [zmq::XSUB, zmq::XPUB].map(|kind| {
            let socket = context.socket(kind).unwrap();
            // It drops what exceeds the mark.
            socket.set_sndhwm(0).unwrap();
            socket.set_linger(0).unwrap();
            socket.bind("tcp://127.0.0.1:*").unwrap();
            let endpoint = socket.get_last_endpoint().unwrap().unwrap();
            (socket, endpoint)
        });
        let [(front, upstream), (back, downstream)] = sockets;
        // Until its context ends.
        let proxy = std::thread::spawn(move || zmq::proxy(&front, &back));
        let mut publisher = Pub::builder().no_drop(true).connect(&*upstream).unwrap();
        let mut sub = Sub::builder().connect(&*downstream).unwrap();
        sub.subscribe(KEPT).unwrap();
        publisher
            .wait_for_subscribers_of(KEPT, 1, WATCHDOG)
            .unwrap();
        let receiver = std::thread::spawn(move || {
            let received = receive_published(Traffic::new(SEED), 0..COUNT, || {
                sub.recv_timeout(WATCHDOG).unwrap()
            });
            sub.unsubscribe(KEPT);
            (sub, received)
        });
        let sent = publish_all(Traffic::new(SEED), 0..COUNT, |message| {
            publisher.send(message).unwrap();
        });
        let (_sub, received) = receiver.join().unwrap();
        assert_eq!(received.value(), sent.value());
        // That nobody wants it any more comes all the way back.
        while publisher.subscriber_count(KEPT) > 0 {
            std::thread::yield_now();
        }
        context.destroy().unwrap();
        assert_eq!(proxy.join().unwrap(), Err(zmq::Error::ETERM));
    });
}

/// A libzmq socket that meets one of ours, either of them bound.
macro_rules! meet {
    ($ours:expr, $kind:expr, $transport:expr, $binds:expr) => {{
        let directory = tempfile::tempdir().unwrap();
        let endpoint = free_endpoint($transport, directory.path());
        let theirs = zmq::Context::new().socket($kind).unwrap();
        theirs.set_rcvtimeo(WATCHDOG.as_millis() as i32).unwrap();
        theirs.set_linger(0).unwrap();
        if $binds {
            let endpoint = $ours.bind(&endpoint).unwrap();
            theirs.connect(&endpoint.to_string()).unwrap();
        } else {
            theirs.bind(&endpoint).unwrap();
            let endpoint = theirs.get_last_endpoint().unwrap().unwrap();
            $ours.connect(&*endpoint).unwrap();
        }
        $ours.wait_for_peers(1, WATCHDOG).unwrap();
        (theirs, directory)
    }};
}

#[test]
fn our_xpub_and_their_xsub() {
    for transport in ["tcp", "ipc"] {
        for binds in [true, false] {
            let mut xpub = XPub::builder().recv_timeout(WATCHDOG).build().unwrap();
            let (xsub, _directory) = meet!(xpub, zmq::XSUB, transport, binds);
            xsub.send("\u{1}A", 0).unwrap();
            // A libzmq socket that was bound takes note of its peers only when it is called.
            let end = Instant::now() + WATCHDOG;
            let event = loop {
                xsub.get_events().unwrap();
                match xpub.try_recv_event() {
                    Ok(event) => break event,
                    Err(error) => assert!(Instant::now() < end, "{error}"),
                }
                std::thread::yield_now();
            };
            assert_eq!(event, SubscriptionEvent::Subscribed("A".into()));
            xsub.send("user", zmq::SNDMORE).unwrap();
            xsub.send("message", 0).unwrap();
            let message = Message::multipart(["user", "message"]);
            let event = xpub.recv_event().unwrap();
            assert_eq!(event, SubscriptionEvent::Message(message));
            xpub.send(Message::multipart(["A1", "body"])).unwrap();
            let frames = xsub.recv_multipart(0).unwrap();
            assert_eq!(frames, [b"A1".to_vec(), b"body".to_vec()]);
            xsub.send("\0A", 0).unwrap();
            assert_eq!(xpub.recv().unwrap().as_bytes(), b"\0A");
        }
    }
}

#[test]
fn our_xsub_and_their_xpub() {
    for transport in ["tcp", "ipc"] {
        for binds in [true, false] {
            let mut xsub = XSub::builder().recv_timeout(WATCHDOG).build().unwrap();
            let (xpub, _directory) = meet!(xsub, zmq::XPUB, transport, binds);
            xsub.subscribe("A").unwrap();
            assert_eq!(xpub.recv_bytes(0).unwrap(), b"\x01A");
            xsub.send(Message::multipart(["user", "message"])).unwrap();
            let frames = xpub.recv_multipart(0).unwrap();
            assert_eq!(frames, [b"user".to_vec(), b"message".to_vec()]);
            xpub.send("A1", zmq::SNDMORE).unwrap();
            xpub.send("body", 0).unwrap();
            let message = Message::multipart(["A1", "body"]);
            assert_eq!(xsub.recv().unwrap(), message);
            xsub.send("\0A").unwrap();
            assert_eq!(xpub.recv_bytes(0).unwrap(), b"\0A");
        }
    }
}

/// Their requester, our proxy and their replier; and their requester steers it as it would theirs.
#[test]
fn our_proxy_serves_theirs_and_is_steered_by_theirs() {
    let context = zmq::Context::new();
    let theirs = |kind, endpoint: &Endpoint| {
        let socket = context.socket(kind).unwrap();
        socket.set_rcvtimeo(WATCHDOG.as_millis() as i32).unwrap();
        socket.set_linger(0).unwrap();
        socket.connect(&endpoint.to_string()).unwrap();
        socket
    };
    let mut front = Router::new();
    let mut back = Dealer::new();
    let mut control = Rep::new();
    let [clients, workers, steering] = [
        front.bind("tcp://127.0.0.1:*"),
        back.bind("ipc://*"),
        control.bind("tcp://127.0.0.1:*"),
    ]
    .map(Result::unwrap);
    let proxy = Proxy::new(front, back).control(control).spawn().unwrap();
    let client = theirs(zmq::REQ, &clients);
    let worker = theirs(zmq::REP, &workers);
    let master = theirs(zmq::REQ, &steering);
    for body in [&b"hello"[..], &[7; 30_000]] {
        client.send(body, 0).unwrap();
        assert_eq!(worker.recv_bytes(0).unwrap(), body);
        worker.send("reply", 0).unwrap();
        assert_eq!(client.recv_bytes(0).unwrap(), b"reply");
    }
    master.send("STATISTICS", 0).unwrap();
    let figures = master.recv_multipart(0).unwrap();
    let figures: Vec<u64> = figures
        .iter()
        .map(|frame| u64::from_ne_bytes(frame[..].try_into().unwrap()))
        .collect();
    // Each message has a routing id, an empty frame and a body.
    let requests = 2 * 5 + 5 + 30_000;
    let replies = 4 * 5;
    assert_eq!(figures, [6, requests, 6, replies, 6, replies, 6, requests]);
    for command in ["PAUSE", "RESUME", "TERMINATE"] {
        master.send(command, 0).unwrap();
        assert_eq!(master.recv_bytes(0).unwrap(), b"");
    }
    proxy.join();
}

fn published_to_theirs<P: Peer>(count: u64) {
    for (transport, binds) in [("tcp", true), ("tcp", false), ("ipc", true), ("ipc", false)] {
        let mut xpub = XPub::builder()
            .no_drop(true)
            .recv_timeout(WATCHDOG)
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let endpoint = free_endpoint(transport, directory.path());
        let mut peer = if binds {
            let endpoint = xpub.bind(&endpoint).unwrap();
            P::start(&Role::connecting(Kind::XSub, endpoint, SEED, count))
        } else {
            let peer = P::start(&Role::binding(Kind::XSub, endpoint, SEED, count));
            xpub.connect(peer.endpoint()).unwrap();
            peer
        };
        let event = xpub.recv_event().unwrap();
        assert_eq!(event, SubscriptionEvent::Subscribed(KEPT.into()));
        let sent = publish_all(Traffic::new(SEED), 0..count, |message| {
            xpub.send(message).unwrap();
        });
        assert_eq!(peer.done(), sent.value());
        peer.close();
        let event = xpub.recv_event().unwrap();
        assert_eq!(event, SubscriptionEvent::Unsubscribed(KEPT.into()));
    }
}

fn published_by_theirs<P: Peer>(count: u64) {
    for (transport, binds) in [("tcp", true), ("tcp", false), ("ipc", true), ("ipc", false)] {
        let mut xsub = XSub::builder().recv_timeout(WATCHDOG).build().unwrap();
        xsub.subscribe(KEPT).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let endpoint = free_endpoint(transport, directory.path());
        let mut peer = if binds {
            let endpoint = xsub.bind(&endpoint).unwrap();
            P::start(&Role::connecting(Kind::XPub, endpoint, SEED, count))
        } else {
            let peer = P::start(&Role::binding(Kind::XPub, endpoint, SEED, count));
            xsub.connect(peer.endpoint()).unwrap();
            peer
        };
        let received = receive_published(Traffic::new(SEED), 0..count, || xsub.recv().unwrap());
        assert_eq!(peer.done(), received.value());
        peer.close();
    }
}

#[test]
fn our_xpub_publishes_to_their_xsub() {
    watched(|| published_to_theirs::<Libzmq>(COUNT));
    watched(|| published_to_theirs::<Pyzmq>(COUNT / 4));
}

#[test]
fn their_xpub_publishes_to_our_xsub() {
    watched(|| published_by_theirs::<Libzmq>(COUNT));
    watched(|| published_by_theirs::<Pyzmq>(COUNT / 4));
}
