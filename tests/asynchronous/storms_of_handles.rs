//! As `storms`, for what else can be waited for: shared handles, parts of split sockets, peers by number, plain
//! connections, datagrams, groups, requests of a requester, and waiting for peers.

use std::io::Read;
use std::net::TcpStream;
use std::thread;

use futures::FutureExt;
use sinew::{
    Datagram, Dealer, Dgram, Dish, Endpoint, Message, Peer, Pub, Pull, Push, Radio, Rep,
    RequestOptions, Requester, Router, Shared, Split, Stream, Sub,
};

use crate::storms::{padded, pushing, receive_storm, send_storm, sizes, until_end, COUNT, END};
use crate::support::{
    block_on, fresh, number, number_of, numbered, watched, Cut, Random, LONG, TRANSPORTS,
};

#[test]
fn given_up_receives_of_a_shared_handle() {
    for transport in TRANSPORTS {
        watched(move || {
            let mut pull = Pull::new();
            let other = pushing(pull.bind(fresh(transport).as_str()).unwrap().to_string());
            let pull = Shared::new(pull);
            receive_storm!(COUNT,
                blocking: pull.recv_timeout(LONG),
                future: pull.recv_async(),
                |got| number_of(&got.unwrap()));
            other.join().unwrap();
        });
    }
}

#[test]
fn given_up_sends_of_a_shared_handle() {
    watched(|| {
        let mut pull = Pull::builder().recv_hwm(2).build().unwrap();
        let endpoint = pull.bind(fresh("inproc").as_str()).unwrap();
        let other = thread::spawn(move || until_end(|| pull.recv().unwrap()));
        let push = Push::builder().send_hwm(2).connect(&endpoint).unwrap();
        let push = Shared::new(push);
        let sent = send_storm!(COUNT, |n|
            blocking: push.send_timeout(numbered(n), LONG),
            future: push.send_async(numbered(n)));
        assert_eq!(other.join().unwrap(), sent);
    });
}

#[test]
fn given_up_receives_and_sends_of_parts() {
    watched(|| {
        let mut router = Router::builder().send_hwm(2).recv_hwm(2).build().unwrap();
        let endpoint = router.bind(fresh("inproc").as_str()).unwrap();
        let dealer = Dealer::builder().send_hwm(2).recv_hwm(2);
        let mut dealer = dealer.connect(&endpoint).unwrap();
        dealer.send("hello").unwrap();
        let (id, _) = router.recv_from().unwrap();
        let (mut sending, mut receiving) = router.split();
        let (mut to_router, mut from_router) = dealer.split();
        let received = thread::spawn(move || until_end(|| from_router.recv().unwrap()));
        let other = thread::spawn(move || {
            for n in 0..COUNT {
                to_router.send(numbered(n)).unwrap();
            }
            to_router
        });
        let sender = thread::spawn(move || {
            send_storm!(COUNT, |n|
                blocking: sending.send_to_timeout(&id, numbered(n), LONG),
                future: sending.send_to_async(&id, numbered(n)))
        });
        receive_storm!(COUNT,
            blocking: receiving.recv_from_timeout(LONG),
            future: receiving.recv_from_async(),
            |got| number_of(&got.unwrap().1));
        assert_eq!(received.join().unwrap(), sender.join().unwrap());
        drop(other.join().unwrap());
    });
}

#[test]
fn given_up_receives_of_peers_by_number() {
    watched(|| {
        let mut one = Peer::new();
        let endpoint = one.bind(fresh("tcp").as_str()).unwrap();
        let other = thread::spawn(move || {
            let mut other = Peer::new();
            let id = other.connect_peer(&endpoint).unwrap();
            for n in 0..COUNT {
                other.send_to(id, numbered(n)).unwrap();
            }
            other.close();
        });
        receive_storm!(COUNT,
            blocking: one.recv_from_timeout(LONG),
            future: one.recv_from_async(),
            |got| number_of(&got.unwrap().1));
        other.join().unwrap();
    });
}

#[test]
fn given_up_sends_to_peers_by_number() {
    for transport in TRANSPORTS {
        watched(move || {
            let (count, len) = sizes(transport);
            let mut one = Peer::builder().send_hwm(2).build().unwrap();
            let endpoint = one.bind(fresh(transport).as_str()).unwrap();
            let mut peer = Peer::builder().recv_hwm(2).build().unwrap();
            let id = peer.connect_peer(&endpoint).unwrap();
            peer.send_to(id, "hello").unwrap();
            let (id, _) = one.recv_from().unwrap();
            let other = thread::spawn(move || until_end(|| peer.recv_from().unwrap().1));
            let sent = send_storm!(count, |n|
                blocking: one.send_to_timeout(id, padded(n, len), LONG),
                future: one.send_to_async(id, padded(n, len)));
            assert_eq!(other.join().unwrap(), sent);
        });
    }
}

#[test]
fn given_up_sends_to_members_that_must_not_miss_any() {
    watched(|| {
        let radio = Radio::builder().no_drop(true).send_hwm(2);
        let mut radio = radio.build().unwrap();
        let endpoint = radio.bind(fresh("inproc").as_str()).unwrap();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let mut dish = Dish::builder().recv_hwm(2).connect(&endpoint).unwrap();
                dish.join("g").unwrap();
                thread::spawn(move || until_end(|| Message::from(&dish.recv().unwrap().1[..])))
            })
            .collect();
        radio.wait_for_members("g", 2, LONG).unwrap();
        let sent = send_storm!(COUNT, |n|
            blocking: radio.send_timeout("g", numbered(n), LONG),
            future: radio.send_async("g", numbered(n)));
        for other in others {
            assert_eq!(other.join().unwrap(), sent, "each gets all, or none");
        }
    });
}

#[test]
fn given_up_sends_to_a_plain_connection() {
    watched(|| {
        let (count, len) = sizes("tcp");
        let mut one = Stream::builder().send_hwm(2).build().unwrap();
        let endpoint = one.bind(fresh("tcp").as_str()).unwrap();
        let mut raw = TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap();
        let (id, _) = one.recv_from().unwrap();
        let other = thread::spawn(move || {
            let mut octets = vec![0; len];
            until_end(|| {
                raw.read_exact(&mut octets).unwrap();
                Message::from(&octets[..])
            })
        });
        let sent = send_storm!(count, |n|
            blocking: one.send_to_timeout(&id, padded(n, len), LONG),
            future: one.send_to_async(&id, padded(n, len)));
        assert_eq!(other.join().unwrap(), sent, "each whole, or not at all");
    });
}

/// Octets have no boundaries: their sum and order are what counts.
#[test]
fn given_up_receives_of_a_plain_connection() {
    watched(|| {
        let mut one = Stream::builder().notify(false).build().unwrap();
        let endpoint = one.bind(fresh("tcp").as_str()).unwrap();
        let address = endpoint.to_string().replace("tcp://", "");
        let other = thread::spawn(move || {
            let mut raw = std::net::TcpStream::connect(address).unwrap();
            for n in 0..COUNT {
                std::io::Write::write_all(&mut raw, &n.to_be_bytes()).unwrap();
            }
            raw
        });
        let mut random = Random::new(11);
        let (mut octets, mut given_up) = (Vec::new(), 0);
        while octets.len() < 4 * COUNT as usize {
            match block_on(Cut::at_random(one.recv_from_async(), &mut random)) {
                Some(received) => octets.extend_from_slice(received.unwrap().1.as_bytes()),
                None => given_up += 1,
            }
        }
        let sent: Vec<u8> = (0..COUNT).flat_map(u32::to_be_bytes).collect();
        assert!(octets == sent && given_up > 0);
        drop(other.join().unwrap());
    });
}

#[test]
fn given_up_receives_of_datagrams() {
    watched(|| {
        let mut one = Dgram::builder().bind("udp://127.0.0.1:*").unwrap();
        let text = |socket: &Dgram| socket.bound_endpoint().unwrap().to_string();
        let address = |text: String| text.replace("udp://", "").parse().unwrap();
        let ours = address(text(&one));
        let mut other = Dgram::builder().bind("udp://127.0.0.1:*").unwrap();
        let mut random = Random::new(12);
        let mut given_up = 0;
        for n in 0..2000u32 {
            // One at a time: the kernel's buffer is no queue to rely on.
            other.send_to(ours, n.to_be_bytes().to_vec()).unwrap();
            let received: Datagram = loop {
                match block_on(Cut::at_random(one.recv_async(), &mut random)) {
                    Some(received) => break received.unwrap(),
                    None => given_up += 1,
                }
            };
            assert_eq!(received.body[..], n.to_be_bytes());
        }
        assert!(given_up > 0, "no future was given up");
    });
}

#[test]
fn given_up_sends_of_datagrams() {
    watched(|| {
        let mut one = Dgram::builder().bind("udp://127.0.0.1:*").unwrap();
        let mut other = Dgram::builder().bind("udp://127.0.0.1:*").unwrap();
        let text = other.bound_endpoint().unwrap().to_string();
        let to = text.replace("udp://", "").parse().unwrap();
        let mut random = Random::new(14);
        let mut given_up = 0;
        for n in 0..2000u32 {
            let done = match random.below(16) {
                0 => Some(one.send_to_timeout(to, numbered(n), LONG)),
                _ => block_on(Cut::at_random(
                    one.send_to_async(to, numbered(n)),
                    &mut random,
                )),
            };
            // One at a time, as above. If one came that was given up, it would be taken for the next.
            match done {
                Some(result) => {
                    result.unwrap();
                    assert_eq!(number(other.recv_timeout(LONG).unwrap().body), n);
                }
                None => given_up += 1,
            }
        }
        assert!(given_up > 0, "no future was given up");
    });
}

/// Nobody is waited for in vain, and nobody is taken for there who is not, however often a wait is given up.
#[test]
fn given_up_waits_for_peers_subscribers_and_members() {
    for transport in TRANSPORTS {
        watched(move || {
            let (mut publisher, mut radio) = (Pub::new(), Radio::new());
            let requester = Requester::new();
            let of_requester = requester.bind(fresh(transport).as_str()).unwrap();
            let of_publisher = publisher.bind(fresh(transport).as_str()).unwrap();
            let of_radio = radio.bind(fresh(transport).as_str()).unwrap();
            let mut random = Random::new(15);
            let (mut others, mut given_up) = (Vec::new(), 0);
            for n in 1..=20 {
                macro_rules! come_after {
                    ($other:expr; $($wait:expr),+) => {
                        $(assert!($wait.now_or_never().is_none(), "{n} are not there");)+
                        let other = $other;
                        $(while block_on(Cut::at_random($wait, &mut random)).is_none() {
                            given_up += 1;
                        })+
                        others.push(other);
                    };
                }
                come_after!({
                        let mut sub = Sub::new();
                        sub.subscribe("t");
                        sub.connect(&of_publisher).unwrap();
                        let mut dish = Dish::new();
                        dish.join("g").unwrap();
                        dish.connect(&of_radio).unwrap();
                        let rep = Rep::builder().connect(&of_requester).unwrap();
                        (sub, dish, rep)
                    };
                    publisher.wait_for_peers_async(n),
                    requester.wait_for_peers_async(n),
                    publisher.wait_for_subscribers_async(n),
                    publisher.wait_for_subscribers_of_async("t", n),
                    radio.wait_for_peers_async(n),
                    radio.wait_for_members_async("g", n)
                );
            }
            assert!(given_up > 0, "no future was given up");
        });
    }
}

/// What was given up may be carried out; what was not gets its own reply.
#[test]
fn given_up_requests_of_a_requester() {
    for transport in TRANSPORTS {
        watched(move || {
            let requester = Requester::builder().request_timeout(LONG).build().unwrap();
            let endpoint: Endpoint = requester.bind(fresh(transport).as_str()).unwrap();
            let server = thread::spawn(move || {
                let mut rep = Rep::builder().connect(&endpoint).unwrap();
                loop {
                    let request: Message = rep.recv().unwrap();
                    let end = number(&request.as_bytes()[..4]) == END;
                    rep.send(request).unwrap();
                    if end {
                        return rep.close();
                    }
                }
            });
            let patient = RequestOptions::default().timeout(LONG);
            let mut random = Random::new(13);
            let (mut answered, mut given_up) = (0, 0);
            for n in 0..COUNT / 4 {
                let request = async {
                    match n % 2 {
                        0 => requester.request_async(numbered(n)).await,
                        _ => requester.request_with_async(numbered(n), patient).await,
                    }
                };
                match block_on(Cut::at_random(request, &mut random)) {
                    Some(reply) => {
                        assert_eq!(number_of(&reply.unwrap()), n);
                        answered += 1;
                    }
                    None => given_up += 1,
                }
            }
            assert!(answered > 0 && given_up > 0);
            requester.request(numbered(END)).unwrap();
            assert_eq!(requester.outstanding(), 0);
            server.join().unwrap();
        });
    }
}
