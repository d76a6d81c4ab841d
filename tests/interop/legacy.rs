//! ZMTP 2.0 and 1.0, octet by octet: one table of exchanges, and three who hold to it. A peer of this test plays
//! the old side over a plain TCP connection; libzmq, pyzmq and Sinew send and accept the same octets.
//!
//! The one difference is noted in the table: by which number XPUB and XSUB call themselves in a ZMTP 2.0 greeting.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

use sinew::{
    Dealer, Endpoint, Message, Pub, Pull, Push, Receiver, Rep, Req, Router, RoutingId, Sender, Sub,
    XPub, XSub,
};

use crate::peer::WATCHDOG;

#[path = "../support/old.rs"]
mod old;
use old::Old;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Push,
    Pull,
    Pub,
    Sub,
    Req,
    Rep,
    XPub,
    XSub,
    Dealer,
    Router,
}

const KINDS: [Kind; 10] = [
    Kind::Push,
    Kind::Pull,
    Kind::Pub,
    Kind::Sub,
    Kind::Req,
    Kind::Rep,
    Kind::XPub,
    Kind::XSub,
    Kind::Dealer,
    Kind::Router,
];

impl Kind {
    /// The number in its greeting, and that of the old peer it talks to.
    fn numbers(self) -> (u8, u8) {
        match self {
            Kind::Push => (8, 7),
            Kind::Pull => (7, 8),
            Kind::Pub | Kind::XPub => (1, 2),
            Kind::Sub | Kind::XSub => (2, 1),
            Kind::Req => (3, 4),
            Kind::Rep => (4, 3),
            Kind::Dealer => (5, 6),
            Kind::Router => (6, 5),
        }
    }

    /// What it calls itself.
    fn name(self) -> &'static [u8] {
        match self {
            Kind::Dealer => b"me",
            _ => b"",
        }
    }

    /// What the old peer calls itself.
    fn theirs(self) -> &'static [u8] {
        match self {
            Kind::Router => b"you",
            _ => b"",
        }
    }

    /// What a SUB has subscribed to when its peer comes.
    fn topic(self) -> &'static [u8] {
        match self {
            Kind::Sub => b"a",
            _ => b"",
        }
    }
}

/// What happens next, as the old peer sees it, or to the socket it talks to.
enum Step {
    /// The old peer reads exactly these octets.
    Reads(Vec<u8>),
    /// It reads the number of the socket's type: by the RFC, and as libzmq has it.
    ReadsType(u8, u8),
    Writes(Vec<u8>),
    /// The socket receives this message.
    Receives(&'static [&'static [u8]]),
    Sends(&'static [&'static [u8]]),
    Subscribes(&'static [u8]),
    Unsubscribes(&'static [u8]),
    /// The socket sends `b` and `ab` by turns until some of it arrives, which is these octets.
    Publishes(Vec<u8>),
}

use Step::{Publishes, Reads, ReadsType, Receives, Sends, Subscribes, Unsubscribes, Writes};

const LONG_BODY: &[u8] = &[b'x'; 300];

/// The table.
fn exchange(old: Old, kind: Kind) -> Vec<Step> {
    let (ours, theirs) = kind.numbers();
    // The padding is the length of the frame with the routing id, for those who take it for one.
    let signature = [
        b"\xff\0\0\0\0\0\0\0",
        &[kind.name().len() as u8 + 1, 0x7f][..],
    ]
    .concat();
    let mut steps = vec![Reads(signature)];
    match old.revision() {
        Some(revision) => {
            let deployed = match kind {
                Kind::XPub => 9,
                Kind::XSub => 10,
                _ => ours,
            };
            steps.extend([
                Writes(b"\xff\0\0\0\0\0\0\0\x01\x7f".to_vec()),
                Reads(vec![3]),
                Writes(vec![revision, theirs]),
                ReadsType(ours, deployed),
                Writes(old.frame(false, kind.theirs())),
                Reads(old.frame(false, kind.name())),
            ]);
        }
        // What was taken for the header of a frame is followed by its body.
        None => steps.extend([
            Writes(old.frame(false, kind.theirs())),
            Reads(kind.name().to_vec()),
        ]),
    }
    let one = |body: &[u8]| old.frame(false, body);
    let two = |first: &[u8], last: &[u8]| [old.frame(true, first), old.frame(false, last)].concat();
    steps.extend(match kind {
        Kind::Push => vec![
            Sends(&[b"hi"]),
            Reads(one(b"hi")),
            Sends(&[b"", LONG_BODY]),
            Reads(two(b"", LONG_BODY)),
        ],
        Kind::Pull => vec![
            Writes(one(b"hi")),
            Receives(&[b"hi"]),
            Writes(two(b"", LONG_BODY)),
            Receives(&[b"", LONG_BODY]),
        ],
        Kind::Pub => vec![
            Writes(one(b"\x01a")),
            Publishes(match old {
                // It is taken to want everything.
                Old::V1 => [one(b"b"), one(b"ab")].concat(),
                _ => one(b"ab"),
            }),
        ],
        Kind::XPub => {
            let mut steps = vec![Writes(one(b"\x01a"))];
            if old == Old::V1 {
                steps.push(Receives(&[b"\x01"]));
            }
            steps.push(Receives(&[b"\x01a"]));
            if old != Old::V1 {
                steps.extend([Sends(&[b"b"]), Sends(&[b"ab"]), Reads(one(b"ab"))]);
                steps.extend([Writes(one(b"\0a")), Receives(&[b"\0a"])]);
            }
            steps
        }
        Kind::Sub => vec![
            // Such a publisher may not filter.
            Writes([one(b"b"), one(b"ab")].concat()),
            Receives(&[b"ab"]),
            Subscribes(b"c"),
            Unsubscribes(b"a"),
            // libzmq keeps the first one back until it has something else to say.
            Reads([one(b"\x01a"), one(b"\x01c"), one(b"\0a")].concat()),
        ],
        Kind::XSub => vec![
            // Then it knows its peer: libzmq would keep back what it is given before.
            Writes(one(b"question")),
            Receives(&[b"question"]),
            Sends(&[b"\x01q"]),
            Reads(one(b"\x01q")),
            Sends(&[b"\0q"]),
            Reads(one(b"\0q")),
        ],
        Kind::Req => vec![
            Sends(&[b"hi"]),
            Reads(two(b"", b"hi")),
            Writes(two(b"", b"yo")),
            Receives(&[b"yo"]),
        ],
        Kind::Rep => vec![
            Writes(two(b"", b"hi")),
            Receives(&[b"hi"]),
            Sends(&[b"yo"]),
            Reads(two(b"", b"yo")),
        ],
        Kind::Dealer => vec![
            Sends(&[b"hi"]),
            Reads(one(b"hi")),
            Writes(one(b"yo")),
            Receives(&[b"yo"]),
        ],
        Kind::Router => vec![
            Writes(one(b"hi")),
            Receives(&[b"you", b"hi"]),
            Sends(&[b"you", b"yo"]),
            Reads(one(b"yo")),
        ],
    });
    steps
}

/// A socket that is talked to.
trait Subject {
    /// Of its two numbers in the table, whether it says the one that is deployed.
    const DEPLOYED: bool;

    /// Makes a new socket in place of the last one, and binds it.
    fn open(&mut self, kind: Kind) -> SocketAddr;
    fn send(&mut self, frames: &[&[u8]]);
    fn recv(&mut self) -> Vec<Vec<u8>>;
    fn subscribe(&mut self, topic: &[u8]);
    fn unsubscribe(&mut self, topic: &[u8]);
}

fn each_holds_to_the_table<S: Subject>(mut subject: S) {
    for old in Old::ALL {
        for kind in KINDS {
            let mut stream = TcpStream::connect(subject.open(kind)).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(WATCHDOG)).unwrap();
            for (n, step) in exchange(old, kind).into_iter().enumerate() {
                let at = format!("{old:?}, {kind:?}, step {n}");
                match step {
                    Reads(octets) => {
                        assert_eq!(read(&mut stream, octets.len(), &at), octets, "{at}");
                    }
                    ReadsType(number, deployed) => {
                        let number = if S::DEPLOYED { deployed } else { number };
                        assert_eq!(read(&mut stream, 1, &at), [number], "{at}");
                    }
                    Writes(octets) => stream.write_all(&octets).unwrap(),
                    Receives(frames) => assert_eq!(subject.recv(), frames, "{at}"),
                    Sends(frames) => subject.send(frames),
                    Subscribes(topic) => subject.subscribe(topic),
                    Unsubscribes(topic) => subject.unsubscribe(topic),
                    Publishes(octets) => {
                        let end = Instant::now() + WATCHDOG;
                        stream.set_nonblocking(true).unwrap();
                        while stream.peek(&mut [0]).is_err() {
                            assert!(Instant::now() < end, "{at}: nothing comes");
                            subject.send(&[b"b"]);
                            subject.send(&[b"ab"]);
                        }
                        stream.set_nonblocking(false).unwrap();
                        // It may have begun between the two.
                        subject.send(&[b"b"]);
                        subject.send(&[b"ab"]);
                        let twice = octets.repeat(2);
                        let read = read(&mut stream, octets.len(), &at);
                        let from_somewhere = twice.windows(read.len()).any(|part| part == read);
                        assert!(from_somewhere, "{at}: {read:?}");
                    }
                }
            }
        }
    }
}

fn read(stream: &mut TcpStream, count: usize, at: &str) -> Vec<u8> {
    let mut octets = vec![0; count];
    let read = stream.read_exact(&mut octets);
    read.unwrap_or_else(|error| panic!("{at}: {error}"));
    octets
}

#[test]
fn sinew_holds_to_the_table() {
    each_holds_to_the_table(Ours(None));
}

#[test]
fn libzmq_holds_to_the_table() {
    let context = zmq::Context::new();
    each_holds_to_the_table(Libzmq {
        context,
        socket: None,
    });
}

#[test]
fn pyzmq_holds_to_the_table() {
    each_holds_to_the_table(Pyzmq::start());
}

/// Sinew, told to accept old peers.
struct Ours(Option<Socket>);

enum Socket {
    Push(Push),
    Pull(Pull),
    Pub(Pub),
    Sub(Sub),
    Req(Req),
    Rep(Rep),
    XPub(XPub),
    XSub(XSub),
    Dealer(Dealer),
    Router(Router),
}

impl Ours {
    fn sender(&mut self) -> &mut dyn Sender {
        match self.0.as_mut().expect("it is open") {
            Socket::Push(socket) => socket,
            Socket::Pub(socket) => socket,
            Socket::Req(socket) => socket,
            Socket::Rep(socket) => socket,
            Socket::XPub(socket) => socket,
            Socket::XSub(socket) => socket,
            Socket::Dealer(socket) => socket,
            Socket::Router(socket) => socket,
            Socket::Pull(_) | Socket::Sub(_) => panic!("it does not send"),
        }
    }

    fn receiver(&mut self) -> &mut dyn Receiver<Item = Message> {
        match self.0.as_mut().expect("it is open") {
            Socket::Pull(socket) => socket,
            Socket::Sub(socket) => socket,
            Socket::Req(socket) => socket,
            Socket::Rep(socket) => socket,
            Socket::XPub(socket) => socket,
            Socket::XSub(socket) => socket,
            Socket::Dealer(socket) => socket,
            Socket::Router(socket) => socket,
            Socket::Push(_) | Socket::Pub(_) => panic!("it does not receive"),
        }
    }

    fn sub(&mut self) -> &mut Sub {
        match &mut self.0 {
            Some(Socket::Sub(sub)) => sub,
            _ => panic!("it does not subscribe"),
        }
    }
}

impl Subject for Ours {
    const DEPLOYED: bool = false;

    fn open(&mut self, kind: Kind) -> SocketAddr {
        let bound: Endpoint;
        macro_rules! open {
            ($kind:ident $(, $option:ident($value:expr))?) => {{
                let builder = $kind::builder().legacy_peers(true)$(.$option($value))?;
                let (socket, endpoint) = builder.bound("tcp://127.0.0.1:*").unwrap();
                bound = endpoint;
                Socket::$kind(socket)
            }};
        }
        let socket = match kind {
            Kind::Push => open!(Push),
            Kind::Pull => open!(Pull),
            Kind::Pub => open!(Pub),
            Kind::Sub => open!(Sub),
            // As libzmq's is by default.
            Kind::Req => open!(Req, correlated(false)),
            Kind::Rep => open!(Rep),
            Kind::XPub => open!(XPub),
            Kind::XSub => open!(XSub),
            Kind::Dealer => open!(Dealer, routing_id(RoutingId::new(kind.name()).unwrap())),
            Kind::Router => open!(Router),
        };
        self.0 = Some(socket);
        if !kind.topic().is_empty() {
            self.subscribe(kind.topic());
        }
        bound.socket_addr().unwrap()
    }

    fn send(&mut self, frames: &[&[u8]]) {
        let mut message = Message::multipart(frames.iter().copied());
        let end = Instant::now() + WATCHDOG;
        while let Err(error) = self.sender().try_send(message) {
            assert!(Instant::now() < end, "{error}");
            message = error.into_message();
            std::thread::yield_now();
        }
    }

    fn recv(&mut self) -> Vec<Vec<u8>> {
        let end = Instant::now() + WATCHDOG;
        loop {
            match self.receiver().try_recv() {
                Ok(message) => return message.into_iter().map(|frame| frame.to_vec()).collect(),
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    fn subscribe(&mut self, topic: &[u8]) {
        self.sub().subscribe(topic).unwrap();
    }

    fn unsubscribe(&mut self, topic: &[u8]) {
        self.sub().unsubscribe(topic);
    }
}

/// libzmq 4.3.4.
struct Libzmq {
    context: zmq::Context,
    socket: Option<zmq::Socket>,
}

impl Libzmq {
    fn socket(&self) -> &zmq::Socket {
        self.socket.as_ref().expect("it is open")
    }
}

impl Subject for Libzmq {
    const DEPLOYED: bool = true;

    fn open(&mut self, kind: Kind) -> SocketAddr {
        let of = match kind {
            Kind::Push => zmq::PUSH,
            Kind::Pull => zmq::PULL,
            Kind::Pub => zmq::PUB,
            Kind::Sub => zmq::SUB,
            Kind::Req => zmq::REQ,
            Kind::Rep => zmq::REP,
            Kind::XPub => zmq::XPUB,
            Kind::XSub => zmq::XSUB,
            Kind::Dealer => zmq::DEALER,
            Kind::Router => zmq::ROUTER,
        };
        let socket = self.context.socket(of).unwrap();
        let watchdog = WATCHDOG.as_millis() as i32;
        socket.set_linger(0).unwrap();
        socket.set_rcvtimeo(watchdog).unwrap();
        socket.set_sndtimeo(watchdog).unwrap();
        if !kind.name().is_empty() {
            socket.set_identity(kind.name()).unwrap();
        }
        if !kind.topic().is_empty() {
            socket.set_subscribe(kind.topic()).unwrap();
        }
        socket.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = socket.get_last_endpoint().unwrap().unwrap();
        self.socket = Some(socket);
        address(&endpoint)
    }

    fn send(&mut self, frames: &[&[u8]]) {
        self.socket().send_multipart(frames, 0).unwrap();
    }

    fn recv(&mut self) -> Vec<Vec<u8>> {
        self.socket().recv_multipart(0).unwrap()
    }

    fn subscribe(&mut self, topic: &[u8]) {
        self.socket().set_subscribe(topic).unwrap();
    }

    fn unsubscribe(&mut self, topic: &[u8]) {
        self.socket().set_unsubscribe(topic).unwrap();
    }
}

fn address(endpoint: &str) -> SocketAddr {
    endpoint.strip_prefix("tcp://").unwrap().parse().unwrap()
}

/// pyzmq: `tests/support/commanded.py`.
struct Pyzmq {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Pyzmq {
    fn start() -> Self {
        let mut command = crate::pyzmq::python("commanded.py");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = crate::pyzmq::spawn(&mut command);
        let (Some(commands), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both were asked for");
        };
        Pyzmq {
            process,
            commands,
            answers: BufReader::new(answers),
        }
    }

    fn command(&mut self, name: &str, words: &[&[u8]]) -> String {
        let hexadecimal = |octets: &&[u8]| match octets.is_empty() {
            true => " -".to_owned(),
            false => octets
                .iter()
                .fold(" ".to_owned(), |text, octet| text + &format!("{octet:02x}")),
        };
        let words: String = words.iter().map(hexadecimal).collect();
        writeln!(self.commands, "{name}{words}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "it failed at {name}{words}");
        answer.trim_end().to_owned()
    }
}

impl Subject for Pyzmq {
    const DEPLOYED: bool = true;

    fn open(&mut self, kind: Kind) -> SocketAddr {
        let open = format!("open {}", format!("{kind:?}").to_uppercase());
        let answer = self.command(&open, &[kind.name(), kind.topic()]);
        address(&answer)
    }

    fn send(&mut self, frames: &[&[u8]]) {
        self.command("send", frames);
    }

    fn recv(&mut self) -> Vec<Vec<u8>> {
        let answer = self.command("recv", &[]);
        let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        let frame = |word: &str| match word {
            "-" => Vec::new(),
            word => word
                .as_bytes()
                .chunks(2)
                .map(|pair| octet(pair).unwrap())
                .collect(),
        };
        answer.split(' ').map(frame).collect()
    }

    fn subscribe(&mut self, topic: &[u8]) {
        self.command("subscribe", &[topic]);
    }

    fn unsubscribe(&mut self, topic: &[u8]) {
        self.command("unsubscribe", &[topic]);
    }
}

impl Drop for Pyzmq {
    fn drop(&mut self) {
        // Its end, and that of a read that a test has given up.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
