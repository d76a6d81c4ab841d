//! As `storms`, for what else can be waited for: shared handles, parts of split sockets, peers by number, plain
//! connections, datagrams, and requests of a requester.

use std::thread;

use sinew::{
    Datagram, Dealer, Dgram, Endpoint, Message, Peer, Pull, Push, Rep, Requester, Router, Shared,
    Split, Stream,
};

use crate::storms::{pushing, receive_storm, send_storm, until_end, COUNT, END};
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
            let mut random = Random::new(13);
            let (mut answered, mut given_up) = (0, 0);
            for n in 0..COUNT / 4 {
                match block_on(Cut::at_random(
                    requester.request_async(numbered(n)),
                    &mut random,
                )) {
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
