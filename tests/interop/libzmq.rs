//! libzmq 4.3.4 through the crate `zmq`: a peer with a context, thus I/O threads, of its own.
//!
//! A million messages from each of PUSH and PUB and to each of PULL and SUB, in each of the four ways to
//! meet (either side binds, tcp and ipc): sixteen million; and 125 000 round trips of REQ and of REP in
//! each, thus a million requests and replies through either.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread::JoinHandle;

use crate::exchange::exchanges;
use crate::octets::{self, Outcome, Plain};
use crate::peer::{windowed, Kind, Peer, Role, THEIRS, WATCHDOG};
use crate::pyzmq::none_is_starting;
use crate::traffic::{is_kept, Checksum, Traffic, KEPT, SYNC};

exchanges!(crate::libzmq::Libzmq, messages: 1_000_000, round_trips: 125_000);

/// A libzmq socket and the thread that uses it.
#[derive(Debug)]
pub(crate) struct Libzmq {
    endpoint: String,
    commands: Sender<Command>,
    reports: Receiver<Result<Report, String>>,
    thread: JoinHandle<()>,
}

enum Command {
    Go,
    More(u64, u64),
    Close,
    Kill,
}

enum Report {
    Ready(String),
    Done(u32),
}

impl Peer for Libzmq {
    fn start(role: &Role) -> Self {
        let (commands, for_thread) = channel();
        let (from_thread, reports) = channel();
        let role = role.clone();
        let thread = std::thread::spawn(move || {
            if let Err(error) = serve(&role, &for_thread, &from_thread) {
                let _ = from_thread.send(Err(format!("{:?}: {error}", role.kind)));
            }
        });
        let mut peer = Libzmq {
            endpoint: String::new(),
            commands,
            reports,
            thread,
        };
        match peer.report() {
            Report::Ready(endpoint) => peer.endpoint = endpoint,
            Report::Done(_) => panic!("done before ready"),
        }
        peer
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn go(&mut self) {
        self.command(Command::Go);
    }

    fn done(&mut self) -> u32 {
        match self.report() {
            Report::Done(checksum) => checksum,
            Report::Ready(_) => panic!("ready twice"),
        }
    }

    fn more(&mut self, first: u64, count: u64) {
        self.command(Command::More(first, count));
    }

    fn close(self) {
        self.command(Command::Close);
        self.thread.join().expect("the peer's thread");
    }

    fn kill(self) {
        self.command(Command::Kill);
        self.thread.join().expect("the peer's thread");
    }
}

impl Libzmq {
    fn command(&self, command: Command) {
        self.commands.send(command).expect("the peer's thread");
    }

    fn report(&mut self) -> Report {
        match self.reports.recv_timeout(2 * WATCHDOG) {
            Ok(Ok(report)) => report,
            Ok(Err(failure)) => panic!("libzmq {failure}"),
            Err(error) => panic!("the libzmq peer says nothing: {error}"),
        }
    }
}

fn serve(
    role: &Role,
    commands: &Receiver<Command>,
    reports: &Sender<Result<Report, String>>,
) -> Outcome<()> {
    let context = zmq::Context::new();
    let socket = context.socket(match role.kind {
        Kind::Push => zmq::PUSH,
        Kind::Pull => zmq::PULL,
        Kind::Req => zmq::REQ,
        Kind::Rep => zmq::REP,
        Kind::Pub => zmq::PUB,
        Kind::Sub => zmq::SUB,
        Kind::Dealer | Kind::DealerRep => zmq::DEALER,
        Kind::Router => zmq::ROUTER,
        Kind::Pair | Kind::PairEcho => zmq::PAIR,
        Kind::XPub => zmq::XPUB,
        Kind::XSub => zmq::XSUB,
        Kind::Stream | Kind::StreamAsks => zmq::STREAM,
    })?;
    let watchdog = WATCHDOG.as_millis() as i32;
    socket.set_linger(watchdog)?;
    socket.set_rcvtimeo(watchdog)?;
    socket.set_sndtimeo(watchdog)?;
    match role.kind {
        // It would drop what exceeds the mark, and the crate has no option to make it wait.
        Kind::Pub | Kind::XPub => socket.set_sndhwm(0)?,
        Kind::Sub => {
            socket.set_subscribe(KEPT)?;
            // Its subscriptions would linger for a publisher that does not come back.
            socket.set_linger(0)?;
        }
        Kind::Router => socket.set_identity(THEIRS.as_bytes())?,
        _ => {}
    }
    let endpoint = if role.binds {
        none_is_starting();
        socket.bind(&role.endpoint)?;
        socket.get_last_endpoint()?.map_err(|_| "endpoint")?
    } else {
        socket.connect(&role.endpoint)?;
        role.endpoint.clone()
    };
    reports.send(Ok(Report::Ready(endpoint)))?;
    match role.kind {
        Kind::Pub => synchronize(&socket, commands)?,
        Kind::XPub => drop(receive(&socket, 0, &[&[&[1], KEPT].concat()])?),
        Kind::XSub => socket.send([&[1], KEPT].concat(), 0)?,
        _ => {}
    }
    let mut plain = Connection {
        socket: &socket,
        id: None,
    };
    let (mut first, mut count) = (role.first, role.count);
    loop {
        let numbers = first..first + count;
        let checksum = match role.kind {
            Kind::Dealer | Kind::DealerRep | Kind::Pair => converse(&socket, role, numbers)?,
            Kind::Stream => octets::answer(plain.begun()?, Traffic::new(role.seed), numbers)?,
            Kind::StreamAsks => octets::ask(plain.begun()?, Traffic::new(role.seed), numbers)?,
            _ => handle(&socket, role, numbers)?,
        };
        reports.send(Ok(Report::Done(checksum)))?;
        match commands.recv() {
            Ok(Command::More(next_first, next_count)) => (first, count) = (next_first, next_count),
            Ok(Command::Go) => return Err("told to go twice".into()),
            Ok(Command::Close) => return Ok(()),
            Ok(Command::Kill) | Err(_) => return Ok(socket.set_linger(0)?),
        }
    }
}

/// The only connection of a STREAM, once it has told that it is there.
struct Connection<'a> {
    socket: &'a zmq::Socket,
    id: Option<Vec<u8>>,
}

impl Connection<'_> {
    fn begun(&mut self) -> Outcome<&mut Self> {
        if self.id.is_none() {
            let mut note = self.socket.recv_multipart(0)?.into_iter();
            self.id = note.next();
            if note.next() != Some(Vec::new()) {
                return Err("octets before the connection".into());
            }
        }
        Ok(self)
    }
}

impl Plain for Connection<'_> {
    fn send(&mut self, octets: Vec<u8>) -> Outcome<()> {
        let id = self.id.clone().ok_or("no connection")?;
        Ok(self.socket.send_multipart([id, octets], 0)?)
    }

    fn recv(&mut self) -> Outcome<Vec<u8>> {
        let mut frames = self.socket.recv_multipart(0)?;
        match frames.pop().filter(|octets| !octets.is_empty()) {
            Some(octets) => Ok(octets),
            None => Err("the connection has ended".into()),
        }
    }
}

/// Publishes until the subscriber is known to be there.
fn synchronize(socket: &zmq::Socket, commands: &Receiver<Command>) -> Outcome<()> {
    loop {
        socket.send(SYNC, 0)?;
        if commands
            .recv_timeout(std::time::Duration::from_millis(1))
            .is_ok()
        {
            return Ok(());
        }
    }
}

/// Sends each message and checks the echo, with some of them under way.
fn converse(socket: &zmq::Socket, role: &Role, numbers: std::ops::Range<u64>) -> Outcome<u32> {
    let traffic = Traffic::new(role.seed);
    let mut checksum = Checksum::default();
    let wire = |n| {
        let delimiter = (role.kind == Kind::DealerRep).then_some(&[][..]);
        Vec::from_iter(delimiter.into_iter().chain(traffic.message(n)))
    };
    for (n, echoes) in windowed(numbers) {
        send(socket, &wire(n))?;
        for n in echoes {
            receive(socket, n, &wire(n))?;
            checksum.add(traffic.message(n));
        }
    }
    Ok(checksum.value())
}

fn handle(socket: &zmq::Socket, role: &Role, numbers: std::ops::Range<u64>) -> Outcome<u32> {
    let traffic = Traffic::new(role.seed);
    let mut checksum = Checksum::default();
    let mut frames: Vec<&[u8]> = Vec::new();
    for n in numbers {
        frames.clear();
        match role.kind {
            Kind::Dealer | Kind::DealerRep | Kind::Pair => unreachable!("these converse"),
            Kind::Stream | Kind::StreamAsks => unreachable!("these have octets"),
            Kind::Router => {
                frames.extend(traffic.message(n));
                let message = socket.recv_multipart(0)?;
                let envelope = message.len().saturating_sub(frames.len());
                if envelope == 0 || !message[envelope..].iter().eq(frames.iter()) {
                    return Err(format!("message {n} is not what was sent").into());
                }
                checksum.add(frames.iter().copied());
                socket.send_multipart(message, 0)?;
            }
            Kind::Push => {
                frames.extend(Some(role.tag.as_bytes()).filter(|tag| !tag.is_empty()));
                frames.extend(traffic.message(n));
                checksum.add(frames.iter().copied());
                send(socket, &frames)?;
            }
            Kind::Pull => {
                frames.extend(traffic.message(n));
                checksum.add(receive(socket, n, &frames)?.iter().map(|frame| &frame[..]));
            }
            Kind::Req => {
                frames.extend(traffic.message(n));
                send(socket, &frames)?;
                checksum.add(receive(socket, n, &frames)?.iter().map(|frame| &frame[..]));
            }
            Kind::Rep | Kind::PairEcho => {
                frames.extend(traffic.message(n));
                checksum.add(receive(socket, n, &frames)?.iter().map(|frame| &frame[..]));
                send(socket, &frames)?;
            }
            Kind::Pub | Kind::XPub => {
                frames.push(traffic.topic(n));
                frames.extend(traffic.message(n));
                if is_kept(n) {
                    checksum.add(frames.iter().copied());
                }
                send(socket, &frames)?;
            }
            Kind::Sub | Kind::XSub if is_kept(n) => {
                frames.push(KEPT);
                frames.extend(traffic.message(n));
                checksum.add(receive(socket, n, &frames)?.iter().map(|frame| &frame[..]));
            }
            Kind::Sub | Kind::XSub => {}
        }
    }
    Ok(checksum.value())
}

fn send(socket: &zmq::Socket, frames: &[&[u8]]) -> Outcome<()> {
    let Some((last, others)) = frames.split_last() else {
        return Err("a message without frames".into());
    };
    for frame in others {
        socket.send(*frame, zmq::SNDMORE)?;
    }
    Ok(socket.send(*last, 0)?)
}

/// Receives message `n`, which must be this.
fn receive(socket: &zmq::Socket, n: u64, wanted: &[&[u8]]) -> Outcome<Vec<zmq::Message>> {
    let mut frames = Vec::with_capacity(wanted.len());
    loop {
        let frame = socket.recv_msg(0)?;
        let more = frame.get_more();
        frames.push(frame);
        if !more {
            break;
        }
    }
    if frames
        .iter()
        .map(|frame| &frame[..])
        .eq(wanted.iter().copied())
    {
        Ok(frames)
    } else {
        let sizes: Vec<_> = frames.iter().map(|frame| frame.len()).collect();
        Err(format!("message {n} is not what was sent: frames of {sizes:?} octets").into())
    }
}
