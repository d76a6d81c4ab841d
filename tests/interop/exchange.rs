//! One socket of this library and one foreign peer: everything that is sent arrives, whole and in
//! order.

use sinew::{Message, Pub, Pull, Push, Rep, Req, Requester, Sub};

use crate::peer::{free_endpoint, Kind, Peer, Role, WATCHDOG};
use crate::traffic::{is_kept, Checksum, Traffic, KEPT, SYNC};

/// A test for each kind of socket of this library and each way to meet, over tcp and then over ipc.
macro_rules! exchanges {
    ($peer:ty, messages: $messages:literal, round_trips: $round_trips:literal) => {
        mod exchanges {
            crate::exchange::exchanges! { $peer;
                push_binds: push(true, $messages);
                push_connects: push(false, $messages);
                pull_binds: pull(true, $messages);
                pull_connects: pull(false, $messages);
                pub_binds: publish(true, $messages);
                pub_connects: publish(false, $messages);
                sub_binds: subscribe(true, $messages);
                sub_connects: subscribe(false, $messages);
                req_binds: request(true, $round_trips);
                req_connects: request(false, $round_trips);
                requester_binds: request_at_once(true, 20_000);
                requester_connects: request_at_once(false, 20_000);
                rep_binds: reply(true, $round_trips);
                rep_connects: reply(false, $round_trips);
            }
        }
    };
    ($peer:ty; $($name:ident: $exchange:ident($binds:literal, $count:literal);)*) => {
        $(
            #[test]
            fn $name() {
                for transport in ["tcp", "ipc"] {
                    crate::peer::watched(move || {
                        crate::exchange::$exchange::<$peer>(transport, $binds, $count);
                    });
                }
            }
        )*
    };
}
pub(crate) use exchanges;

/// Lets a socket of this library and a peer of the given kind meet at a free endpoint.
macro_rules! meet {
    ($socket:expr, $peer:expr, $transport:expr, $binds:expr, $count:expr) => {{
        let directory = tempfile::tempdir().unwrap();
        let endpoint = free_endpoint($transport, directory.path());
        if $binds {
            let endpoint = $socket.bind(&endpoint).unwrap();
            (
                P::start(&Role::connecting($peer, endpoint, SEED, $count)),
                directory,
            )
        } else {
            let peer = P::start(&Role::binding($peer, endpoint, SEED, $count));
            $socket.connect(peer.endpoint()).unwrap();
            (peer, directory)
        }
    }};
}

const SEED: u64 = 42;

pub(crate) fn push<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut push = Push::new();
    let (mut peer, _directory) = meet!(push, Kind::Pull, transport, binds, count);
    let sent = send_all(Traffic::new(SEED), 0..count, |message| {
        push.send(message).unwrap();
    });
    assert_eq!(push.stats().messages_sent, count);
    assert_eq!(push.close().unsent, 0);
    assert_eq!(peer.done(), sent.value());
    peer.close();
}

pub(crate) fn pull<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut pull = Pull::new();
    let (mut peer, _directory) = meet!(pull, Kind::Push, transport, binds, count);
    let received = receive_all(Traffic::new(SEED), 0..count, || {
        pull.recv_timeout(WATCHDOG).unwrap()
    });
    assert_eq!(peer.done(), received.value());
    peer.close();
    assert_eq!(pull.stats().messages_received, count);
    pull.close();
}

pub(crate) fn publish<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut publisher = Pub::builder().no_drop(true).build().unwrap();
    let (mut peer, _directory) = meet!(publisher, Kind::Sub, transport, binds, count);
    publisher
        .wait_for_subscribers_of(KEPT, 1, WATCHDOG)
        .unwrap();
    let sent = publish_all(Traffic::new(SEED), 0..count, |message| {
        publisher.send(message).unwrap();
    });
    let stats = publisher.stats();
    assert_eq!((stats.dropped_full, stats.dropped_peer_lost), (0, 0));
    assert_eq!(stats.dropped_unmatched, count / 4);
    assert_eq!(publisher.close().unsent, 0);
    assert_eq!(peer.done(), sent.value());
    peer.close();
}

pub(crate) fn subscribe<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut sub = Sub::new();
    sub.subscribe(KEPT).unwrap();
    let (mut peer, _directory) = meet!(sub, Kind::Pub, transport, binds, count);
    assert_eq!(sub.recv_timeout(WATCHDOG).unwrap().as_bytes(), SYNC);
    peer.go();
    let received = receive_published(Traffic::new(SEED), 0..count, || {
        sub.recv_timeout(WATCHDOG).unwrap()
    });
    assert_eq!(peer.done(), received.value());
    peer.close();
    sub.close();
}

pub(crate) fn request<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut req = Req::new();
    let (mut peer, _directory) = meet!(req, Kind::Rep, transport, binds, count);
    let traffic = Traffic::new(SEED);
    let mut checksum = Checksum::default();
    for n in 0..count {
        let request = Message::multipart(traffic.message(n));
        let reply = req.request_timeout(request, WATCHDOG).unwrap();
        check(traffic, n, &reply);
        checksum.add(reply.frames().iter().map(|frame| frame.as_slice()));
    }
    assert_eq!(peer.done(), checksum.value());
    assert_eq!(req.close().unsent, 0);
    peer.close();
}

/// All of them at once: a REP of libzmq drops replies beyond its mark, and must not be asked that much.
pub(crate) fn request_at_once<P: Peer>(transport: &str, binds: bool, count: u64) {
    let requester = Requester::builder()
        .request_timeout(WATCHDOG)
        .build()
        .unwrap();
    let (mut peer, _directory) = meet!(requester, Kind::Rep, transport, binds, count);
    let traffic = Traffic::new(SEED);
    let submit = |n| requester.submit(Message::multipart(traffic.message(n)));
    let pending: Vec<_> = (0..count).map(submit).collect();
    let mut checksum = Checksum::default();
    for (n, request) in (0..).zip(pending) {
        let reply = request.wait().unwrap();
        check(traffic, n, &reply);
        checksum.add(reply.frames().iter().map(|frame| frame.as_slice()));
    }
    assert_eq!(peer.done(), checksum.value());
    assert_eq!(requester.outstanding(), 0);
    assert_eq!(requester.close().unsent, 0);
    peer.close();
}

pub(crate) fn reply<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut rep = Rep::new();
    let (mut peer, _directory) = meet!(rep, Kind::Req, transport, binds, count);
    let received = receive_all(Traffic::new(SEED), 0..count, || {
        let request = rep.recv_timeout(WATCHDOG).unwrap();
        rep.send(request.clone()).unwrap();
        request
    });
    assert_eq!(peer.done(), received.value());
    peer.close();
    assert_eq!(rep.close().unsent, 0);
}

/// Gives each message to `send`.
pub(crate) fn send_all(
    traffic: Traffic,
    numbers: impl Iterator<Item = u64>,
    mut send: impl FnMut(Message),
) -> Checksum {
    let mut checksum = Checksum::default();
    for n in numbers {
        checksum.add(traffic.message(n));
        send(Message::multipart(traffic.message(n)));
    }
    checksum
}

/// Checks that `receive` brings each of these messages in turn.
pub(crate) fn receive_all(
    traffic: Traffic,
    numbers: impl Iterator<Item = u64>,
    mut receive: impl FnMut() -> Message,
) -> Checksum {
    let mut checksum = Checksum::default();
    for n in numbers {
        let message = receive();
        check(traffic, n, &message);
        checksum.add(message.frames().iter().map(|frame| frame.as_slice()));
    }
    checksum
}

/// As [`send_all`], each message under its topic. The checksum is over those that subscribers want.
pub(crate) fn publish_all(
    traffic: Traffic,
    numbers: impl Iterator<Item = u64>,
    mut send: impl FnMut(Message),
) -> Checksum {
    let mut checksum = Checksum::default();
    for n in numbers {
        let frames = || std::iter::once(traffic.topic(n)).chain(traffic.message(n));
        if is_kept(n) {
            checksum.add(frames());
        }
        send(Message::multipart(frames()));
    }
    checksum
}

/// As [`receive_all`], for the messages that subscribers want. Skips what the publisher sent before it
/// knew of the subscriber.
pub(crate) fn receive_published(
    traffic: Traffic,
    numbers: impl Iterator<Item = u64>,
    mut receive: impl FnMut() -> Message,
) -> Checksum {
    let mut checksum = Checksum::default();
    for n in numbers.filter(|n| is_kept(*n)) {
        let mut message = receive();
        while message.as_bytes() == SYNC {
            message = receive();
        }
        checksum.add(message.frames().iter().map(|frame| frame.as_slice()));
        assert_eq!(message.pop_front().expect("a topic and more"), KEPT);
        check(traffic, n, &message);
    }
    checksum
}

/// Whether this is message `n`.
pub(crate) fn check(traffic: Traffic, n: u64, message: &Message) {
    let frames = message.frames().iter().map(|frame| frame.as_slice());
    if !frames.eq(traffic.message(n)) {
        let sizes: Vec<_> = message.frames().iter().map(|frame| frame.len()).collect();
        panic!("message {n} is not what was sent: frames of {sizes:?} octets");
    }
}
