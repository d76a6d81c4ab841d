//! Ends of sockets, events, and waiting for peers.

use std::io::Read;
use std::net::TcpStream;
use std::thread;

use futures::FutureExt;
use sinew::{Dgram, Dish, Pub, Pull, Push, Radio, Rep, Requester, SocketEvent, Stream, Sub};

use super::storm;
use crate::support::{fresh, number_of, numbered, Storm, LONG, STREAMS, TRANSPORTS};

/// Futures that are given up in each test, at least.
const ENOUGH: u64 = 5;

/// A socket whose end is given up is closed as one that is dropped: what it has queued still comes. Over inproc it has
/// come already, and there is nothing to wait for.
#[test]
fn closings() {
    storm(STREAMS, |endpoint| async move {
        let each = 20;
        let mut pull = Pull::new();
        let endpoint = pull.bind(endpoint.as_str()).unwrap();
        let mut storm = Storm::new();
        let mut round = 0;
        while storm.given_up() < ENOUGH || round < 20 {
            let mut push = Push::builder().connect(&endpoint).unwrap();
            for n in 0..each {
                push.send(numbered(round * each + n)).unwrap();
            }
            if let Some(report) = storm.cut(push.close_async()).await {
                assert_eq!(report.unsent, 0);
            }
            for n in 0..each {
                let message = pull.recv_timeout(LONG).unwrap();
                assert_eq!(number_of(&message), round * each + n);
            }
            round += 1;
        }
    });
}

/// As `closings`, with more queued than the kernel takes.
#[test]
fn closings_of_stream() {
    storm(&["tcp"], |endpoint| async move {
        let mut storm = Storm::new();
        // Nobody reads: it cannot be done.
        storm.owe(u64::MAX);
        while storm.given_up() < ENOUGH {
            let one = Stream::builder().kernel_send_buffer(16 * 1024).send_hwm(4);
            let mut one = one.bind(endpoint.as_str()).unwrap();
            let address = one.bound_endpoints()[0].socket_addr().unwrap();
            let mut raw = TcpStream::connect(address).unwrap();
            let (id, _) = one.recv_from().unwrap();
            let mut sent = 0;
            while one.try_send_to(&id, vec![1; 32 * 1024]).is_ok() {
                sent += 32 * 1024;
            }
            assert!(storm.cut(one.close_async()).await.is_none());
            let mut octets = Vec::new();
            raw.read_to_end(&mut octets).unwrap();
            assert_eq!(octets.len(), sent);
        }
    });
}

/// What is queued when it closes is sent, and comes but for what the kernel has no room for: so it is few.
#[test]
fn closings_of_dgram() {
    storm(&["udp"], |endpoint| async move {
        let mut other = Dgram::builder().bind(endpoint.as_str()).unwrap();
        let to = other.bound_endpoint().unwrap().socket_addr().unwrap();
        let mut storm = Storm::new();
        while storm.given_up() < ENOUGH {
            let mut one = Dgram::builder().bind(endpoint.as_str()).unwrap();
            for n in 0..5 {
                one.send_to(to, numbered(n)).unwrap();
            }
            if let Some(report) = storm.cut(one.close_async()).await {
                assert_eq!(report.unsent, 0);
            }
            for n in 0..5 {
                let received = other.recv_timeout(LONG).unwrap();
                assert_eq!(received.body, numbered(n));
            }
        }
    });
}

/// Nobody is waited for in vain, and nobody is taken for there who is not, however often a wait is given up.
#[test]
fn peers_subscribers_and_members() {
    for transport in TRANSPORTS {
        storm(&[transport], |endpoint| async move {
            let (mut publisher, mut radio) = (Pub::new(), Radio::new());
            let requester = Requester::new();
            let of_requester = requester.bind(fresh(transport).as_str()).unwrap();
            let of_publisher = publisher.bind(endpoint.as_str()).unwrap();
            let of_radio = radio.bind(fresh(transport).as_str()).unwrap();
            let mut storm = Storm::new();
            let mut others = Vec::new();
            for n in 1..=10 {
                macro_rules! come_after {
                    ($other:expr; $($wait:expr),+) => {
                        $(
                            assert!($wait.now_or_never().is_none(), "{n} are not there");
                            storm.owe(storm.given_up() + 1);
                            while !storm.has_paid() {
                                assert!(storm.cut($wait).await.is_none(), "{n} are not there");
                            }
                        )+
                        let other = $other;
                        $(while storm.cut($wait).await.is_none() {})+
                        others.push(other);
                    };
                }
                come_after!({
                        let mut sub = Sub::new();
                        sub.subscribe("t").unwrap();
                        sub.connect(&of_publisher).unwrap();
                        let mut dish = Dish::new();
                        dish.join("g").unwrap();
                        dish.connect(&of_radio).unwrap();
                        let rep = Rep::builder().connect(&of_requester).unwrap();
                        (sub, dish, rep)
                    };
                    publisher.wait_for_peers_async(n),
                    async { requester.wait_for_peers_async(n).await.unwrap() },
                    publisher.wait_for_subscribers_async(n),
                    publisher.wait_for_subscribers_of_async("t", n),
                    radio.wait_for_peers_async(n),
                    radio.wait_for_members_async("g", n)
                );
            }
        });
    }
}

#[test]
fn events() {
    storm(&["ipc"], |endpoint| async move {
        let rounds = 50;
        let mut pull = Pull::new();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind(endpoint.as_str()).unwrap();
        let mut storm = Storm::new();
        let waiting = storm.waiting();
        let other = thread::spawn(move || {
            for n in 0..rounds {
                waiting.wait(u64::from(n) + 1);
                let mut push = Push::builder().connect(&endpoint).unwrap();
                push.send(numbered(n)).unwrap();
                assert_eq!(number_of(&pull.recv_timeout(LONG).unwrap()), n);
                assert_eq!(push.close().unsent, 0);
            }
            pull.close();
        });
        storm.owe(u64::from(rounds));
        let mut events = Vec::new();
        loop {
            let event = match storm.blocks() {
                true => monitor.recv(),
                false => match storm.cut(monitor.recv_async()).await {
                    Some(event) => event,
                    None => match monitor.try_recv() {
                        Some(event) => Some(event),
                        None => continue,
                    },
                },
            };
            match event {
                Some(event) => events.push(event),
                None => break,
            }
        }
        other.join().unwrap();
        assert_eq!(monitor.missed(), 0);
        let mut accepted: Vec<_> = (events.iter())
            .filter_map(|event| match event {
                SocketEvent::Accepted { connection, .. } => Some(*connection),
                _ => None,
            })
            .collect();
        accepted.dedup();
        assert_eq!(accepted.len(), rounds as usize, "each once");
        for connection in accepted {
            let of_it = |event: &&SocketEvent| match event {
                SocketEvent::Accepted { connection: c, .. }
                | SocketEvent::HandshakeSucceeded { connection: c, .. }
                | SocketEvent::Disconnected { connection: c, .. } => *c == connection,
                _ => false,
            };
            let its: Vec<_> = events.iter().filter(of_it).collect();
            assert!(
                matches!(
                    its[..],
                    [
                        SocketEvent::Accepted { .. },
                        SocketEvent::HandshakeSucceeded { .. },
                        SocketEvent::Disconnected { .. }
                    ]
                ),
                "{its:?}"
            );
        }
    });
}
