//! Peers by name, by number, or by the address of their host: of whole sockets, and of their parts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use sinew::{
    Client, Dealer, Dgram, Endpoint, Message, Peer, PeerId, Router, RoutingId, Server, Split,
    Stream,
};

use super::{narrow, receives, sends, sizes, storm, COUNT};
use crate::support::{number, number_of, numbered, Storm, LONG, TRANSPORTS};

/// What is at the other side, and knows one peer only.
trait Other: Send + 'static {
    fn to(endpoint: &Endpoint) -> Self;
    fn tell(&mut self, message: Vec<u8>);
    fn hear(&mut self) -> Message;
}

impl Other for Dealer {
    fn to(endpoint: &Endpoint) -> Self {
        let dealer = Dealer::builder().send_hwm(2).recv_hwm(2);
        dealer.connect(endpoint).unwrap()
    }

    fn tell(&mut self, message: Vec<u8>) {
        self.send(message).unwrap();
    }

    fn hear(&mut self) -> Message {
        self.recv().unwrap()
    }
}

impl Other for Client {
    fn to(endpoint: &Endpoint) -> Self {
        let client = Client::builder().send_hwm(2).recv_hwm(2);
        client.connect(endpoint).unwrap()
    }

    fn tell(&mut self, message: Vec<u8>) {
        self.send(message).unwrap();
    }

    fn hear(&mut self) -> Message {
        self.recv().unwrap()
    }
}

impl Other for (Peer, PeerId) {
    fn to(endpoint: &Endpoint) -> Self {
        let mut peer = narrow!(Peer);
        let id = peer.connect_peer(endpoint).unwrap();
        (peer, id)
    }

    fn tell(&mut self, message: Vec<u8>) {
        self.0.send_to(self.1, message).unwrap();
    }

    fn hear(&mut self) -> Message {
        self.0.recv().unwrap()
    }
}

/// A plain connection: what it hears is as long as what `sends` sends.
impl Other for TcpStream {
    fn to(endpoint: &Endpoint) -> Self {
        TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap()
    }

    fn tell(&mut self, message: Vec<u8>) {
        self.write_all(&message).unwrap();
    }

    fn hear(&mut self) -> Message {
        let mut octets = vec![0; sizes("tcp").1];
        self.read_exact(&mut octets).unwrap();
        octets.into()
    }
}

fn last(message: &Message) -> u32 {
    number(message.frames().last().expect("a message has a frame"))
}

macro_rules! receives_with_names {
    ($recv:ident, $recv_from:ident, $part:ident, $kind:ident, $other:ty) => {
        receives!($recv, COUNT, TRANSPORTS, |endpoint| {
            let mut one = narrow!($kind);
            let mut other = <$other>::to(&one.bind(endpoint.as_str()).unwrap());
            (one, move |n| other.tell(numbered(n)))
        }, |mut one| blocking: one.recv_timeout(LONG), future: one.recv_async(), |got| last(&got));

        receives!($recv_from, COUNT, TRANSPORTS, |endpoint| {
            let mut one = narrow!($kind);
            let mut other = <$other>::to(&one.bind(endpoint.as_str()).unwrap());
            (one, move |n| other.tell(numbered(n)))
        }, |mut one| blocking: one.recv_from_timeout(LONG), future: one.recv_from_async(),
            |got| number_of(&got.1));

        receives!($part, COUNT, TRANSPORTS, |endpoint| {
            let mut one = narrow!($kind);
            let mut other = <$other>::to(&one.bind(endpoint.as_str()).unwrap());
            (one.split(), move |n| other.tell(numbered(n)))
        }, |(_sending, mut one)| blocking: one.recv_from_timeout(LONG),
            future: one.recv_from_async(), |got| number_of(&got.1));
    };
}

receives_with_names!(
    receives_of_router,
    receives_from_of_router,
    receives_of_a_part_of_router,
    Router,
    Dealer
);
receives_with_names!(
    receives_of_server,
    receives_from_of_server,
    receives_of_a_part_of_server,
    Server,
    Client
);
receives_with_names!(
    receives_of_peer,
    receives_from_of_peer,
    receives_of_a_part_of_peer,
    Peer,
    (Peer, PeerId)
);

/// A message for a peer, as it is sent without `_to`.
trait Name {
    fn on(&self, message: Vec<u8>) -> Message;
}

impl Name for RoutingId {
    fn on(&self, message: Vec<u8>) -> Message {
        Message::multipart([self.as_bytes(), &message])
    }
}

impl Name for PeerId {
    fn on(&self, message: Vec<u8>) -> Message {
        Message::from(message).with_routing_id(*self)
    }
}

/// One with low marks that knows its peer by name.
macro_rules! acquainted {
    ($endpoint:expr, $kind:ident, $other:ty) => {{
        let mut one = narrow!($kind);
        let mut other = <$other>::to(&one.bind($endpoint.as_str()).unwrap());
        other.tell(b"hello".to_vec());
        let (id, _) = one.recv_from().unwrap();
        (one, id, move || other.hear())
    }};
}

macro_rules! sends_with_names {
    (
        $send:ident, $send_to:ident, $part:ident, $transports:expr, $kind:ident, $other:ty,
        |$id:ident| $to:expr
    ) => {
        sends!($send, $transports, |endpoint| {
            let (one, id, hear) = acquainted!(endpoint, $kind, $other);
            ((one, id), hear)
        }, |(mut one, id), message| blocking: one.send_timeout(id.on(message), LONG),
            future: one.send_async(id.on(message)));

        sends!($send_to, $transports, |endpoint| {
            let (one, id, hear) = acquainted!(endpoint, $kind, $other);
            ((one, id), hear)
        }, |(mut one, $id), message| blocking: one.send_to_timeout($to, message, LONG),
            future: one.send_to_async($to, message));

        sends!($part, $transports, |endpoint| {
            let (one, id, hear) = acquainted!(endpoint, $kind, $other);
            ((one.split(), id), hear)
        }, |((mut one, _receiving), $id), message|
            blocking: one.send_to_timeout($to, message, LONG),
            future: one.send_to_async($to, message));
    };
}

sends_with_names!(
    sends_of_router,
    sends_to_of_router,
    sends_of_a_part_of_router,
    TRANSPORTS,
    Router,
    Dealer,
    |id| &id
);
sends_with_names!(
    sends_of_server,
    sends_to_of_server,
    sends_of_a_part_of_server,
    TRANSPORTS,
    Server,
    Client,
    |id| id
);
sends_with_names!(
    sends_of_peer,
    sends_to_of_peer,
    sends_of_a_part_of_peer,
    TRANSPORTS,
    Peer,
    (Peer, PeerId),
    |id| id
);
sends_with_names!(
    sends_of_stream,
    sends_to_of_stream,
    sends_of_a_part_of_stream,
    &["tcp"],
    Stream,
    TcpStream,
    |id| &id
);

/// Octets have no boundaries: their sum and order are what counts.
macro_rules! octets {
    ($name:ident, |$stream:ident| $one:expr, |$socket:pat_param| $future:expr, |$got:ident| $octets:expr) => {
        #[test]
        fn $name() {
            storm(&["tcp"], |endpoint| async move {
                let mut $stream = Stream::builder().notify(false).build().unwrap();
                let endpoint = $stream.bind(endpoint.as_str()).unwrap();
                let mut storm = Storm::new();
                let waiting = storm.waiting();
                let other = thread::spawn(move || {
                    let mut raw = TcpStream::to(&endpoint);
                    for n in 0..COUNT {
                        waiting.wait(u64::from(n / super::BATCH) + 1);
                        raw.tell(numbered(n));
                    }
                    raw
                });
                let $socket = $one;
                let mut octets = Vec::new();
                while octets.len() < 4 * COUNT as usize {
                    storm.owe((octets.len() / 4) as u64 / u64::from(super::BATCH) + 1);
                    if let Some(received) = storm.cut($future).await {
                        let $got = received.unwrap();
                        octets.extend_from_slice($octets);
                    }
                }
                let sent: Vec<u8> = (0..COUNT).flat_map(u32::to_be_bytes).collect();
                assert!(octets == sent);
                drop(other.join().unwrap());
            });
        }
    };
}

octets!(
    receives_of_stream,
    |one| one,
    |mut one| one.recv_async(),
    |got| &got.frames()[1]
);
octets!(
    receives_from_of_stream,
    |one| one,
    |mut one| one.recv_from_async(),
    |got| got.1.as_bytes()
);
octets!(
    receives_of_a_part_of_stream,
    |one| one.split(),
    |(_sending, mut one)| one.recv_from_async(),
    |got| got.1.as_bytes()
);

fn dgram() -> Dgram {
    Dgram::builder().bind("udp://127.0.0.1:*").unwrap()
}

fn address(socket: &Dgram) -> std::net::SocketAddr {
    socket.bound_endpoint().unwrap().socket_addr().unwrap()
}

/// One at a time: the kernel's buffer is no queue to rely on.
const DATAGRAMS: u32 = 300;

macro_rules! receives_datagrams {
    ($name:ident, $recv_timeout:ident, $recv_async:ident, |$one:ident| $receiver:expr) => {
        #[test]
        fn $name() {
            storm(&["udp"], |_| async move {
                let ($one, mut other) = (dgram(), dgram());
                let to = address(&$one);
                let (_rest, mut one) = $receiver;
                let mut storm = Storm::new();
                for n in 0..DATAGRAMS {
                    // Nothing is there yet.
                    storm.owe(u64::from(n) + 1);
                    while !storm.has_paid() {
                        assert!(storm.cut(one.$recv_async()).await.is_none());
                    }
                    other.send_to(to, numbered(n)).unwrap();
                    let received = loop {
                        match storm.blocks() {
                            true => break one.$recv_timeout(LONG),
                            false => {
                                if let Some(received) = storm.cut(one.$recv_async()).await {
                                    break received;
                                }
                            }
                        }
                    };
                    assert_eq!(number(received.unwrap().body), n);
                }
            });
        }
    };
}

receives_datagrams!(receives_of_dgram, recv_timeout, recv_async, |one| ((), one));
receives_datagrams!(
    receives_of_a_part_of_dgram,
    recv_from_timeout,
    recv_from_async,
    |one| one.split()
);

/// There is room for one in the queue, and none at all before the socket is bound.
macro_rules! sends_datagrams {
    ($name:ident, |$one:ident| $sender:expr) => {
        #[test]
        fn $name() {
            storm(&["udp"], |endpoint| async move {
                let mut other = dgram();
                let to = address(&other);
                let mut storm = Storm::new();
                for round in 1..=DATAGRAMS / 20 {
                    let $one = Dgram::builder().send_hwm(1).build().unwrap();
                    let (_rest, mut one) = $sender;
                    storm.owe(u64::from(round));
                    while !storm.has_paid() {
                        let done = storm.cut(one.send_to_async(to, numbered(0))).await;
                        assert!(done.is_none(), "it is not bound");
                    }
                    one.bind(endpoint.as_str()).unwrap();
                    for n in 0..20 {
                        let done = match storm.blocks() {
                            true => Some(one.send_to_timeout(to, numbered(n), LONG)),
                            false => storm.cut(one.send_to_async(to, numbered(n))).await,
                        };
                        // If one came that was given up, it would be taken for the next.
                        if let Some(result) = done {
                            result.unwrap();
                            assert_eq!(number(other.recv_timeout(LONG).unwrap().body), n);
                        }
                    }
                }
                assert!(other.try_recv().is_err());
            });
        }
    };
}

sends_datagrams!(sends_of_dgram, |one| ((), one));
sends_datagrams!(sends_of_a_part_of_dgram, |one| {
    let (sending, receiving) = one.split();
    (receiving, sending)
});
