//! DEALER, ROUTER, PAIR and STREAM in every role against those of libzmq and pyzmq: whoever asks keeps a hundred
//! messages under way, whoever is asked sends them back, and every octet is checked at both ends.
//!
//! 20 000 messages with libzmq and 5000 with pyzmq, in each of the four ways of meeting.

use sinew::{
    Dealer, Message, Monitor, Pair, Rep, Req, Router, RoutingId, SendError, SocketEvent, Stream,
};

use crate::exchange::check;
use crate::libzmq::Libzmq;
use crate::octets::{self, Outcome, Plain};
use crate::peer::{free_endpoint, watched, windowed, Kind, Peer, Role, THEIRS, WATCHDOG};
use crate::pyzmq::Pyzmq;
use crate::traffic::{Checksum, Traffic};

const SEED: u64 = 11;

/// A test for each library, way to meet and transport.
macro_rules! dialogs {
    ($($name:ident;)*) => {
        mod libzmq { $(
            #[test]
            fn $name() {
                super::everywhere(|transport, binds| super::$name::<super::Libzmq>(transport, binds, 20_000));
            }
        )* }
        mod pyzmq { $(
            #[test]
            fn $name() {
                super::everywhere(|transport, binds| super::$name::<super::Pyzmq>(transport, binds, 5000));
            }
        )* }
    };
}

dialogs! {
    a_dealer_asks_a_router;
    a_dealer_asks_a_replier;
    a_router_is_asked_by_a_dealer;
    a_router_is_asked_by_a_requester;
    a_router_asks_a_router;
    a_dealer_is_asked_by_a_dealer;
    a_requester_asks_a_router;
    a_pair_asks_a_pair;
    a_pair_is_asked_by_a_pair;
    a_replier_is_asked_by_a_dealer;
    a_stream_asks_a_stream;
    a_stream_is_asked_by_a_stream;
    a_router_that_comes_back_is_asked_again;
    dealers_that_come_and_go_are_told_apart;
}

fn everywhere(dialog: fn(&str, bool)) {
    for transport in ["tcp", "ipc"] {
        for binds in [true, false] {
            watched(move || dialog(transport, binds));
        }
    }
}

macro_rules! meet {
    ($socket:expr, $kind:expr, $transport:expr, $binds:expr, $count:expr) => {{
        let directory = tempfile::tempdir().unwrap();
        let endpoint = free_endpoint($transport, directory.path());
        if $binds {
            let endpoint = $socket.bind(&endpoint).unwrap();
            let role = Role::connecting($kind, endpoint, SEED, $count);
            (P::start(&role), directory)
        } else {
            let peer = P::start(&Role::binding($kind, endpoint, SEED, $count));
            $socket.connect(peer.endpoint()).unwrap();
            (peer, directory)
        }
    }};
}

/// What a DEALER, a PAIR and a ROUTER have in common here.
trait Talk {
    fn say(&mut self, message: Message) -> Result<(), SendError>;
    fn hear(&mut self) -> Message;
}

impl Talk for Dealer {
    fn say(&mut self, message: Message) -> Result<(), SendError> {
        self.send_timeout(message, WATCHDOG)
    }

    fn hear(&mut self) -> Message {
        self.recv_timeout(WATCHDOG).unwrap()
    }
}

impl Talk for Pair {
    fn say(&mut self, message: Message) -> Result<(), SendError> {
        self.send_timeout(message, WATCHDOG)
    }

    fn hear(&mut self) -> Message {
        self.recv_timeout(WATCHDOG).unwrap()
    }
}

impl Talk for Router {
    fn say(&mut self, message: Message) -> Result<(), SendError> {
        self.send_timeout(message, WATCHDOG)
    }

    fn hear(&mut self) -> Message {
        self.recv_timeout(WATCHDOG).unwrap()
    }
}

/// Message `n` behind these frames.
fn enveloped(envelope: &[&str], n: u64) -> Message {
    let mut message = Message::multipart(Traffic::new(SEED).message(n));
    for frame in envelope.iter().rev() {
        message.push_front(frame.as_bytes());
    }
    message
}

/// Takes the envelope off, and checks the rest; how many frames the envelope had.
fn checked(message: &Message, n: u64) -> usize {
    let traffic = Traffic::new(SEED);
    let envelope = message.frame_count() - traffic.message(n).count();
    let body = message.frames()[envelope..].iter().cloned();
    check(traffic, n, &Message::multipart(body));
    envelope
}

/// Sends each message behind the envelope, and checks that it comes back as it was.
fn ask(socket: &mut impl Talk, envelope: &[&str], numbers: std::ops::Range<u64>) -> u32 {
    let mut checksum = Checksum::default();
    for (n, echoes) in windowed(numbers) {
        socket.say(enveloped(envelope, n)).unwrap();
        for n in echoes {
            let echo = socket.hear();
            assert_eq!(checked(&echo, n), envelope.len());
            assert!(echo
                .frames()
                .iter()
                .zip(envelope)
                .all(|(a, b)| a.as_slice() == b.as_bytes()));
            checksum.add(Traffic::new(SEED).message(n));
        }
    }
    checksum.value()
}

/// Sends each message back; `envelope` is how many frames come before what the asker sent.
fn answer(socket: &mut impl Talk, envelope: usize, numbers: std::ops::Range<u64>) -> u32 {
    let mut checksum = Checksum::default();
    for n in numbers {
        let message = socket.hear();
        assert_eq!(checked(&message, n), envelope);
        checksum.add(Traffic::new(SEED).message(n));
        socket.say(message).unwrap();
    }
    checksum.value()
}

fn a_dealer_asks_a_router<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut dealer = Dealer::new();
    let (mut peer, _directory) = meet!(dealer, Kind::Router, transport, binds, count);
    let asked = ask(&mut dealer, &[], 0..count);
    assert_eq!(peer.done(), asked);
    peer.close();
}

fn a_dealer_asks_a_replier<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut dealer = Dealer::new();
    let (mut peer, _directory) = meet!(dealer, Kind::Rep, transport, binds, count);
    let asked = ask(&mut dealer, &["way", ""], 0..count);
    assert_eq!(peer.done(), asked);
    peer.close();
}

fn a_router_is_asked_by_a_dealer<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut router = Router::new();
    let (mut peer, _directory) = meet!(router, Kind::Dealer, transport, binds, count);
    let answered = answer(&mut router, 1, 0..count);
    assert_eq!(peer.done(), answered);
    peer.close();
}

fn a_router_is_asked_by_a_requester<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut router = Router::new();
    let (mut peer, _directory) = meet!(router, Kind::Req, transport, binds, count / 4);
    let answered = answer(&mut router, 2, 0..count / 4);
    assert_eq!(peer.done(), answered);
    peer.close();
}

fn a_router_asks_a_router<P: Peer>(transport: &str, binds: bool, count: u64) {
    let ours = RoutingId::new("ours").unwrap();
    let mut router = Router::builder().routing_id(ours).build().unwrap();
    let mut monitor = router.monitor();
    let (mut peer, _directory) = meet!(router, Kind::Router, transport, binds, count);
    wait_for(&mut monitor, |event| {
        matches!(event, SocketEvent::HandshakeSucceeded { .. })
    });
    let asked = ask(&mut router, &[THEIRS], 0..count);
    assert_eq!(peer.done(), asked);
    peer.close();
}

fn a_dealer_is_asked_by_a_dealer<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut dealer = Dealer::new();
    let (mut peer, _directory) = meet!(dealer, Kind::Dealer, transport, binds, count);
    let answered = answer(&mut dealer, 0, 0..count);
    assert_eq!(peer.done(), answered);
    peer.close();
}

fn a_pair_asks_a_pair<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut pair = Pair::new();
    let (mut peer, _directory) = meet!(pair, Kind::PairEcho, transport, binds, count);
    let asked = ask(&mut pair, &[], 0..count);
    assert_eq!(peer.done(), asked);
    peer.close();
}

fn a_pair_is_asked_by_a_pair<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut pair = Pair::new();
    let (mut peer, _directory) = meet!(pair, Kind::Pair, transport, binds, count);
    let answered = answer(&mut pair, 0, 0..count);
    assert_eq!(peer.done(), answered);
    peer.close();
}

fn a_requester_asks_a_router<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut req = Req::new();
    let (mut peer, _directory) = meet!(req, Kind::Router, transport, binds, count / 4);
    let mut checksum = Checksum::default();
    for n in 0..count / 4 {
        let reply = req.request_timeout(enveloped(&[], n), WATCHDOG).unwrap();
        assert_eq!(checked(&reply, n), 0);
        checksum.add(Traffic::new(SEED).message(n));
    }
    assert_eq!(peer.done(), checksum.value());
    peer.close();
}

fn a_replier_is_asked_by_a_dealer<P: Peer>(transport: &str, binds: bool, count: u64) {
    let mut rep = Rep::new();
    let (mut peer, _directory) = meet!(rep, Kind::DealerRep, transport, binds, count);
    let mut checksum = Checksum::default();
    for n in 0..count {
        let request = rep.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(checked(&request, n), 0);
        checksum.add(Traffic::new(SEED).message(n));
        rep.send_timeout(request, WATCHDOG).unwrap();
    }
    assert_eq!(peer.done(), checksum.value());
    peer.close();
}

/// A STREAM and its only connection.
struct Connection(Stream, RoutingId);

impl Connection {
    fn of(mut stream: Stream) -> Self {
        let (id, note) = stream.recv_from_timeout(WATCHDOG).unwrap();
        assert!(note.as_bytes().is_empty(), "it has come");
        Connection(stream, id)
    }
}

impl Plain for Connection {
    fn send(&mut self, octets: Vec<u8>) -> Outcome<()> {
        Ok(self.0.send_to_timeout(&self.1, octets, WATCHDOG)?)
    }

    fn recv(&mut self) -> Outcome<Vec<u8>> {
        let (id, octets) = self.0.recv_from_timeout(WATCHDOG)?;
        match id == self.1 && !octets.as_bytes().is_empty() {
            true => Ok(octets.as_bytes().to_vec()),
            false => Err("the connection has ended".into()),
        }
    }
}

fn a_stream_asks_a_stream<P: Peer>(transport: &str, binds: bool, count: u64) {
    if transport != "tcp" {
        // The other libraries have no STREAM over ipc.
        return;
    }
    let mut stream = Stream::new();
    let (mut peer, _directory) = meet!(stream, Kind::Stream, transport, binds, count);
    let mut connection = Connection::of(stream);
    let asked = octets::ask(&mut connection, Traffic::new(SEED), 0..count).unwrap();
    assert_eq!(peer.done(), asked);
    peer.close();
}

fn a_stream_is_asked_by_a_stream<P: Peer>(transport: &str, binds: bool, count: u64) {
    if transport != "tcp" {
        // As above.
        return;
    }
    let mut stream = Stream::new();
    let (mut peer, _directory) = meet!(stream, Kind::StreamAsks, transport, binds, count);
    let mut connection = Connection::of(stream);
    let answered = octets::answer(&mut connection, Traffic::new(SEED), 0..count).unwrap();
    assert_eq!(peer.done(), answered);
    peer.close();
}

/// The ROUTER is taken away and made anew at the same endpoint.
fn a_router_that_comes_back_is_asked_again<P: Peer>(transport: &str, binds: bool, count: u64) {
    if binds {
        // Then the other way round: see below.
        return;
    }
    let mut dealer = Dealer::new();
    let mut monitor = dealer.monitor();
    let (mut peer, _directory) = meet!(dealer, Kind::Router, transport, false, count / 4);
    let endpoint = peer.endpoint().to_owned();
    let asked = ask(&mut dealer, &[], 0..count / 4);
    assert_eq!(peer.done(), asked);
    peer.kill();
    wait_for(&mut monitor, |event| {
        matches!(event, SocketEvent::Disconnected { routing_id, .. }
            if routing_id.as_ref().map(RoutingId::as_bytes) == Some(THEIRS.as_bytes()))
    });
    let role = Role::binding(Kind::Router, endpoint, SEED, count / 4).from(count / 4);
    let mut peer = P::start(&role);
    let asked = ask(&mut dealer, &[], count / 4..count / 2);
    assert_eq!(peer.done(), asked);
    peer.close();
}

/// One DEALER after the other asks, each under a name of its own; every departure is an event that has it.
fn dealers_that_come_and_go_are_told_apart<P: Peer>(transport: &str, binds: bool, count: u64) {
    if !binds {
        // Nobody would know where to find the next one.
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut router = Router::new();
    let mut monitor = router.monitor();
    let endpoint = free_endpoint(transport, directory.path());
    let endpoint = router.bind(&endpoint).unwrap();
    let mut before: Option<RoutingId> = None;
    for _ in 0..3 {
        let mut peer = P::start(&Role::connecting(Kind::Dealer, &endpoint, SEED, count / 10));
        let (id, message) = router.recv_from_timeout(WATCHDOG).unwrap();
        assert_eq!(checked(&message, 0), 0);
        assert!(id.is_automatic() && before.as_ref() != Some(&id));
        if let Some(before) = &before {
            let error = router.send_to(before, "anybody?").unwrap_err();
            assert_eq!(error.routing_id(), Some(before.as_bytes()));
        }
        router.send_to(&id, message).unwrap();
        answer(&mut router, 1, 1..count / 10);
        peer.done();
        peer.kill();
        wait_for(&mut monitor, |event| {
            matches!(event, SocketEvent::Disconnected { routing_id, .. }
                if routing_id.as_ref() == Some(&id))
        });
        before = Some(id);
    }
}

fn wait_for(monitor: &mut Monitor, wanted: impl FnMut(&SocketEvent) -> bool) {
    assert!(
        monitor.wait_for(WATCHDOG, wanted).is_some(),
        "no such event"
    );
}
