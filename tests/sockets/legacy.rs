//! Peers that speak ZMTP 2.0 and 1.0: refused, unless the socket is told to accept them. The peers are made
//! of octets, for no library of today speaks these versions to us.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use sinew::{
    DisconnectReason, Endpoint, Incompatible, Message, ProtocolError, Pub, Pull, Push, SocketEvent,
    SocketType, Sub,
};

use crate::support::{await_event, pattern, task, LONG};

#[path = "../support/old.rs"]
mod old;
use old::Old;

struct Peer {
    old: Old,
    stream: TcpStream,
}

impl Peer {
    fn connect(old: Old, endpoint: &Endpoint, socket_type: u8) -> Peer {
        let stream = TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap();
        Peer::shake_hands(old, stream, socket_type)
    }

    /// Lets a socket connect, by what it is told to do with the endpoint.
    fn accept(old: Old, socket_type: u8, connect: impl FnOnce(Endpoint)) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        connect(Endpoint::tcp(listener.local_addr().unwrap()));
        Peer::shake_hands(old, listener.accept().unwrap().0, socket_type)
    }

    fn shake_hands(old: Old, stream: TcpStream, socket_type: u8) -> Peer {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        let mut peer = Peer { old, stream };
        // The first octets of the other side look like a frame header to an old peer.
        assert_eq!(peer.read(10), b"\xff\0\0\0\0\0\0\0\x01\x7f");
        let Some(revision) = old.revision() else {
            peer.write(b"\x01\0");
            return peer;
        };
        peer.write(b"\xff\0\0\0\0\0\0\0\x01\x7f");
        assert_eq!(peer.read(1), [3]);
        peer.write(&[revision, socket_type]);
        let theirs = peer.read(1)[0];
        let pairs = [(1, 2), (2, 1), (7, 8), (8, 7)];
        assert!(pairs.contains(&(socket_type, theirs)), "{theirs}");
        peer.send(false, b"");
        assert_eq!(peer.recv(), (false, Vec::new()), "a routing id");
        peer
    }

    fn write(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.stream.read_exact(&mut octets).unwrap();
        octets
    }

    fn send(&mut self, more: bool, body: &[u8]) {
        let frame = self.old.frame(more, body);
        self.write(&frame);
    }

    fn recv(&mut self) -> (bool, Vec<u8>) {
        let long = |octets: Vec<u8>| u64::from_be_bytes(octets.try_into().unwrap());
        let (more, len) = if self.old == Old::V2 {
            let flags = self.read(1)[0];
            let len = match flags & 2 {
                0 => u64::from(self.read(1)[0]),
                _ => long(self.read(8)),
            };
            assert_eq!(flags & !3, 0, "no commands");
            (flags & 1, len)
        } else {
            let len = match self.read(1)[0] {
                0xff => long(self.read(8)),
                len => u64::from(len),
            };
            (self.read(1)[0], len - 1)
        };
        (more == 1, self.read(len as usize))
    }
}

/// Bodies around the sizes where headers change, and a large one.
fn bodies() -> Vec<Vec<u8>> {
    [0, 1, 252, 253, 254, 255, 256, 70_000, 1_000_000]
        .map(pattern)
        .into()
}

#[test]
fn they_are_refused_by_default() {
    for (octets, expect) in [
        (&b"\x01\0"[..], Incompatible::NotZmtp { first: 1 }),
        (
            b"\xff\0\0\0\0\0\0\0\x01\0",
            Incompatible::Unversioned { octet: 0 },
        ),
        (
            b"\xff\0\0\0\0\0\0\0\x01\x7f\x01",
            Incompatible::Version { major: 1 },
        ),
    ] {
        let mut pull = Pull::new();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
        let mut stream = TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap();
        stream.write_all(octets).unwrap();
        await_event(&mut monitor, "refused", |event| {
            matches!(event, SocketEvent::HandshakeFailed { reason, .. }
                if *reason == DisconnectReason::Protocol(ProtocolError::Incompatible(expect.clone())))
        });
    }
}

#[test]
fn messages_come_and_go_in_both_directions() {
    for old in Old::ALL {
        let mut pull = Pull::builder().legacy_peers(true).build().unwrap();
        let mut monitor = pull.monitor();
        let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
        let mut peer = Peer::connect(old, &endpoint, 8);
        let told = (old != Old::V1).then_some(SocketType::Push);
        await_event(
            &mut monitor,
            "handshake",
            |event| matches!(event, SocketEvent::HandshakeSucceeded { socket_type, .. } if *socket_type == told),
        );
        let writer = task(move || {
            for body in bodies() {
                peer.send(true, &body);
                peer.send(false, b"end");
            }
            peer
        });
        for body in bodies() {
            let expect = Message::multipart([&body[..], b"end"]);
            assert_eq!(pull.recv_timeout(LONG).unwrap(), expect, "{old:?}");
        }
        drop(writer.join());

        let mut push = Push::builder().legacy_peers(true).build().unwrap();
        let mut peer = Peer::accept(old, 7, |endpoint| {
            push.connect(&endpoint).unwrap();
        });
        let reader = task(move || {
            for body in bodies() {
                assert_eq!(peer.recv(), (true, body));
                assert_eq!(peer.recv(), (false, b"end".to_vec()));
            }
            if old == Old::V1 {
                assert_eq!(peer.stream.read(&mut [0]).unwrap(), 0, "nothing else");
            }
        });
        for body in bodies() {
            push.send_timeout(Message::multipart([&body[..], b"end"]), LONG)
                .unwrap();
        }
        assert_eq!(push.close().unsent, 0);
        reader.join();
    }
}

#[test]
fn a_peer_that_does_not_read_holds_the_sender_up_and_loses_nothing() {
    const COUNT: usize = 3000;
    for old in [Old::V2, Old::V1] {
        let mut push = Push::builder()
            .legacy_peers(true)
            .send_hwm(10)
            .build()
            .unwrap();
        let mut peer = Peer::accept(old, 7, |endpoint| {
            push.connect(&endpoint).unwrap();
        });
        let body = |n: usize| [&n.to_be_bytes()[..], &pattern(10_000)].concat();
        let mut sent = 0;
        while push.try_send(body(sent)).is_ok() {
            sent += 1;
            assert!(sent < 100_000, "nothing holds the sender up");
        }
        let reader = task(move || {
            for n in 0..COUNT.max(sent) {
                assert_eq!(peer.recv(), (false, body(n)), "{old:?}");
            }
        });
        for n in sent..COUNT {
            push.send_timeout(body(n), LONG).unwrap();
        }
        reader.join();
    }
}

#[test]
fn subscriptions_are_messages() {
    for old in Old::ALL {
        let mut publisher = Pub::builder().legacy_peers(true).build().unwrap();
        let endpoint = publisher.bind("tcp://127.0.0.1:*").unwrap();
        let mut peer = Peer::connect(old, &endpoint, 2);
        if old != Old::V1 {
            peer.send(false, b"\x01a");
        }
        publisher.wait_for_subscribers(1, LONG).unwrap();
        publisher.send("b").unwrap();
        publisher.send("ab").unwrap();
        if old == Old::V1 {
            // It forwards no subscriptions: it gets everything, and filters itself.
            assert_eq!(peer.recv(), (false, b"b".to_vec()));
        }
        assert_eq!(peer.recv(), (false, b"ab".to_vec()), "{old:?}");

        let mut sub = Sub::builder().legacy_peers(true).build().unwrap();
        sub.subscribe("a").unwrap();
        let mut peer = Peer::accept(old, 1, |endpoint| {
            sub.connect(&endpoint).unwrap();
        });
        assert_eq!(peer.recv(), (false, b"\x01a".to_vec()));
        sub.subscribe("c").unwrap();
        assert_eq!(peer.recv(), (false, b"\x01c".to_vec()));
        // Such a publisher does not filter.
        for topic in ["b", "ab", "c"] {
            peer.send(false, topic.as_bytes());
        }
        for expect in ["ab", "c"] {
            let message = sub.recv_timeout(LONG).unwrap();
            assert_eq!(message.as_bytes(), expect.as_bytes(), "{old:?}");
        }
        sub.unsubscribe("a");
        assert_eq!(peer.recv(), (false, b"\0a".to_vec()));
    }
}

#[test]
fn peers_of_today_are_as_before() {
    let mut pull = Pull::builder().legacy_peers(true).build().unwrap();
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    for legacy in [false, true] {
        let mut push = Push::builder().legacy_peers(legacy).build().unwrap();
        push.connect(&endpoint).unwrap();
        push.send("x").unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    }
}
