//! Peers that go away in the middle and come back at the same endpoint.
//!
//! What has left this process when the connection is lost may be lost with it; nothing else may. What
//! has left is known to the octet: the counter of octets written stands still while there is no
//! connection, and the size of every message on the wire is known. So the tests do not ask whether
//! "most" arrived: they compute the first message that must, and the peer that came back insists on it
//! and on every one after.

use std::thread;

use sinew::{
    Heartbeat, Message, Monitor, Pub, Pull, Push, RecvError, Rep, Req, RequestError, SocketEvent,
    Sub,
};

use crate::exchange::{check, publish_all, receive_all, receive_published, send_all};
use crate::libzmq::Libzmq;
use crate::peer::{free_endpoint, watched, Kind, Peer, Role, WATCHDOG};
use crate::pyzmq::{none_is_starting, Pyzmq};
use crate::traffic::{Traffic, KEPT, SYNC};

const SEED: u64 = 7;

/// A test for each library and transport.
macro_rules! for_each_peer {
    ($($name:ident;)*) => {
        mod libzmq { $(
            #[test]
            fn $name() {
                for transport in ["tcp", "ipc"] {
                    super::watched(move || super::$name::<super::Libzmq>(transport));
                }
            }
        )* }
        mod pyzmq { $(
            #[test]
            fn $name() {
                for transport in ["tcp", "ipc"] {
                    super::watched(move || super::$name::<super::Pyzmq>(transport));
                }
            }
        )* }
    };
}

for_each_peer! {
    what_is_sent_while_the_peer_is_away_arrives_when_it_is_back;
    a_stream_goes_on_behind_what_had_left_the_process;
    a_peer_that_pushes_comes_back;
    a_lost_request_is_reported_and_the_next_one_works;
    a_requester_comes_back;
    subscriptions_are_told_to_a_publisher_that_comes_back;
    a_subscriber_comes_back;
    a_socket_that_is_unbound_and_bound_again_is_found_again;
    a_socket_that_is_made_anew_is_found_again;
}

/// 1000 messages arrive; 500 are sent while nobody is there: all of them arrive.
fn what_is_sent_while_the_peer_is_away_arrives_when_it_is_back<P: Peer>(transport: &str) {
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let endpoint = free_endpoint(transport, directory.path());
    let mut peer = P::start(&Role::binding(Kind::Pull, endpoint, SEED, 1000));
    let endpoint = peer.endpoint().to_owned();
    let mut push = Push::new();
    push.connect(&endpoint).unwrap();
    let mut monitor = push.monitor();
    let sent = send_all(traffic, 0..1000, |m| push.send(m).unwrap());
    assert_eq!(peer.done(), sent.value());
    peer.kill();
    wait_for_disconnect(&mut monitor);

    let sent = send_all(traffic, 1000..1500, |m| push.try_send(m).unwrap());
    let mut peer = P::start(&Role::binding(Kind::Pull, &endpoint, SEED, 500).from(1000));
    assert_eq!(peer.done(), sent.value());
    assert_eq!(push.close().unsent, 0);
    peer.close();
}

/// The peer stops to read, and goes away, while 200 000 messages stream to it. The first one of which
/// nothing has left the process is the first that its successor gets, and it gets all from there on.
fn a_stream_goes_on_behind_what_had_left_the_process<P: Peer>(transport: &str) {
    const COUNT: u64 = 200_000;
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let endpoint = free_endpoint(transport, directory.path());
    let mut peer = P::start(&Role::binding(Kind::Pull, endpoint, SEED, COUNT / 4));
    let endpoint = peer.endpoint().to_owned();
    // A heartbeat would be counted with the messages.
    let mut push = Push::builder().heartbeat(Heartbeat::off()).build().unwrap();
    let mut monitor = push.monitor();
    push.connect(&endpoint).unwrap();
    let end = thread::spawn(move || {
        peer.done();
        peer.kill();
    });

    let mut successor = None;
    for n in 0..COUNT {
        let mut message = Message::multipart(traffic.message(n));
        loop {
            let is_lost = |event| matches!(event, SocketEvent::Disconnected { .. });
            if successor.is_none() && std::iter::from_fn(|| monitor.try_recv()).any(is_lost) {
                let written = push.stats().bytes_sent - HANDSHAKE;
                let first = first_unwritten(traffic, written);
                assert!((COUNT / 4..COUNT).contains(&first), "{first}");
                let role = Role::binding(Kind::Pull, &endpoint, SEED, COUNT - first).from(first);
                successor = Some((first, P::start(&role)));
            }
            // Not for ever: the queue is full while there is no peer.
            match push.send_timeout(message, std::time::Duration::from_millis(10)) {
                Ok(()) => break,
                Err(error) => {
                    assert!(error.is_timeout(), "{error}");
                    message = error.into_message();
                }
            }
        }
    }
    assert_eq!(push.close().unsent, 0);
    end.join().unwrap();
    let (first, mut peer) = successor.expect("the peer was killed in the middle");
    let sent = send_all(traffic, first..COUNT, drop);
    assert_eq!(peer.done(), sent.value());
    peer.close();
}

/// What a PUSH socket says before its messages: the greeting, and the command READY with its type
/// (37/ZMTP, "Connection Greeting" and "The NULL Security Mechanism").
const HANDSHAKE: u64 = 64 + 28;

/// The first message of which nothing is among these octets.
fn first_unwritten(traffic: Traffic, octets: u64) -> u64 {
    let (mut n, mut end) = (0, 0);
    while end < octets {
        end += traffic.wire_size(n);
        n += 1;
    }
    n
}

fn a_peer_that_pushes_comes_back<P: Peer>(transport: &str) {
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let endpoint = free_endpoint(transport, directory.path());
    let mut peer = P::start(&Role::binding(Kind::Push, endpoint, SEED, 10_000));
    let endpoint = peer.endpoint().to_owned();
    let mut pull = Pull::new();
    let mut monitor = pull.monitor();
    pull.connect(&endpoint).unwrap();
    receive_all(traffic, 0..10_000, || pull.recv_timeout(WATCHDOG).unwrap());
    peer.done();
    peer.kill();
    wait_for_disconnect(&mut monitor);

    let role = Role::binding(Kind::Push, &endpoint, SEED, 10_000).from(10_000);
    let mut peer = P::start(&role);
    receive_all(traffic, 10_000..20_000, || {
        pull.recv_timeout(WATCHDOG).unwrap()
    });
    peer.done();
    peer.close();
    assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
}

/// The peer goes away with a request that it has not replied to.
fn a_lost_request_is_reported_and_the_next_one_works<P: Peer>(transport: &str) {
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let endpoint = free_endpoint(transport, directory.path());
    let mut peer = P::start(&Role::binding(Kind::Rep, endpoint, SEED, 10));
    let endpoint = peer.endpoint().to_owned();
    let mut req = Req::new();
    req.connect(&endpoint).unwrap();
    for n in 0..10 {
        let reply = req.request_timeout(Message::multipart(traffic.message(n)), WATCHDOG);
        check(traffic, n, &reply.unwrap());
    }
    peer.done();
    let before = req.stats().bytes_sent;
    req.send("a request that nobody will read").unwrap();
    // One that has not left the process goes to the successor, although it is reported as lost.
    while req.stats().bytes_sent == before {
        thread::yield_now();
    }
    peer.kill();
    assert_eq!(req.recv_timeout(WATCHDOG), Err(RecvError::PeerLost));

    let mut peer = P::start(&Role::binding(Kind::Rep, &endpoint, SEED, 10).from(10));
    let mut lost = 0;
    for n in 10..20 {
        let reply = loop {
            match req.request_timeout(Message::multipart(traffic.message(n)), WATCHDOG) {
                Ok(reply) => break reply,
                // It went to a connection that the old peer accepted while it was going.
                Err(RequestError::Recv(RecvError::PeerLost)) if lost < 2 => lost += 1,
                Err(error) => panic!("request {n}: {error}, {:?}", req.stats()),
            }
        };
        check(traffic, n, &reply);
    }
    assert!(lost < req.stats().disconnects);
    peer.done();
    peer.close();
}

fn a_requester_comes_back<P: Peer>(transport: &str) {
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let mut rep = Rep::new();
    let endpoint = rep
        .bind(free_endpoint(transport, directory.path()).as_str())
        .unwrap();
    for life in 0..3 {
        let numbers = 100 * life..100 * (life + 1);
        let role = Role::connecting(Kind::Req, &endpoint, SEED, 100).from(numbers.start);
        let mut peer = P::start(&role);
        receive_all(traffic, numbers, || {
            let request = rep.recv_timeout(WATCHDOG).unwrap();
            rep.send(request.clone()).unwrap();
            request
        });
        peer.done();
        peer.kill();
    }
}

/// The publisher that comes back is told the subscriptions of now, not those of then.
fn subscriptions_are_told_to_a_publisher_that_comes_back<P: Peer>(transport: &str) {
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let endpoint = free_endpoint(transport, directory.path());
    let mut peer = P::start(&Role::binding(Kind::Pub, endpoint, SEED, 1000));
    let endpoint = peer.endpoint().to_owned();
    let mut sub = Sub::new();
    let mut monitor = sub.monitor();
    sub.subscribe(KEPT).unwrap();
    sub.subscribe("skip").unwrap();
    sub.connect(&endpoint).unwrap();
    assert_eq!(sub.recv_timeout(WATCHDOG).unwrap().as_bytes(), SYNC);
    peer.go();
    receive_published(traffic, 0..1000, || loop {
        // The second subscription may be later than the first messages, so it is not counted on.
        let message = sub.recv_timeout(WATCHDOG).unwrap();
        if message.as_bytes() != b"skip" {
            break message;
        }
    });
    peer.done();
    peer.kill();
    wait_for_disconnect(&mut monitor);
    while sub.try_recv().is_ok() {}
    assert!(sub.unsubscribe("skip"));

    let mut peer = P::start(&Role::binding(Kind::Pub, &endpoint, SEED, 1000).from(1000));
    assert_eq!(sub.recv_timeout(WATCHDOG).unwrap().as_bytes(), SYNC);
    peer.go();
    let received = receive_published(traffic, 1000..2000, || sub.recv_timeout(WATCHDOG).unwrap());
    assert_eq!(peer.done(), received.value());
    peer.close();
}

fn a_subscriber_comes_back<P: Peer>(transport: &str) {
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let mut publisher = Pub::builder().no_drop(true).build().unwrap();
    let mut monitor = publisher.monitor();
    let endpoint = publisher
        .bind(free_endpoint(transport, directory.path()).as_str())
        .unwrap();
    for life in 0..3 {
        let first = 1000 * life;
        let role = Role::connecting(Kind::Sub, &endpoint, SEED, 1000).from(first);
        let mut peer = P::start(&role);
        publisher
            .wait_for_subscribers_of(KEPT, 1, WATCHDOG)
            .unwrap();
        let sent = publish_all(traffic, first..first + 1000, |m| publisher.send(m).unwrap());
        assert_eq!(peer.done(), sent.value());
        peer.kill();
        wait_for_disconnect(&mut monitor);
        // With nobody there it does not wait.
        publisher.send(KEPT).unwrap();
    }
    let stats = publisher.stats();
    assert_eq!(stats.dropped_full, 0);
    assert_eq!(stats.dropped_unmatched, 750 + 3);
}

fn a_socket_that_is_unbound_and_bound_again_is_found_again<P: Peer>(transport: &str) {
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let mut pull = Pull::new();
    let endpoint = pull
        .bind(free_endpoint(transport, directory.path()).as_str())
        .unwrap();
    let mut peer = P::start(&Role::connecting(Kind::Push, &endpoint, SEED, 1000));
    for life in 0..3 {
        let first = 1000 * life;
        receive_all(traffic, first..first + 1000, || {
            pull.recv_timeout(WATCHDOG).unwrap()
        });
        peer.done();
        pull.unbind(&endpoint).unwrap();
        let mut monitor = pull.monitor();
        none_is_starting();
        assert_eq!(pull.bind(&endpoint).unwrap(), endpoint);
        // The peer may not have noticed until then, and what it sends to a dead connection is lost.
        wait_for_handshake(&mut monitor);
        peer.more(first + 1000, 1000);
    }
    receive_all(traffic, 3000..4000, || pull.recv_timeout(WATCHDOG).unwrap());
    peer.done();
    peer.close();
}

fn a_socket_that_is_made_anew_is_found_again<P: Peer>(transport: &str) {
    let traffic = Traffic::new(SEED);
    let directory = tempfile::tempdir().unwrap();
    let mut endpoint = free_endpoint(transport, directory.path());
    let mut peer: Option<P> = None;
    for life in 0..3 {
        let numbers = 1000 * life..1000 * (life + 1);
        let mut push = Push::new();
        none_is_starting();
        endpoint = push.bind(endpoint.as_str()).unwrap().to_string();
        // Every message would be given to the peer: there is no other.
        let peer = peer
            .get_or_insert_with(|| P::start(&Role::connecting(Kind::Pull, &endpoint, SEED, 1000)));
        let sent = send_all(traffic, numbers.clone(), |m| push.send(m).unwrap());
        assert_eq!(push.close().unsent, 0);
        assert_eq!(peer.done(), sent.value());
        peer.more(numbers.end, 1000);
    }
    // It waits for more.
    none_is_starting();
    let mut push = Push::builder().bind(endpoint.as_str()).unwrap();
    let sent = send_all(traffic, 3000..4000, |m| push.send(m).unwrap());
    let mut peer = peer.expect("there were three lives");
    assert_eq!(peer.done(), sent.value());
    peer.close();
}

fn wait_for_disconnect(monitor: &mut Monitor) {
    let lost = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, SocketEvent::Disconnected { .. })
    });
    assert!(lost.is_some(), "the connection is not lost");
}

fn wait_for_handshake(monitor: &mut Monitor) {
    let made = monitor.wait_for(WATCHDOG, |event| {
        matches!(event, SocketEvent::HandshakeSucceeded { .. })
    });
    assert!(made.is_some(), "no connection is made");
}
