//! The commands that are sockets: messages from the input are sent, what is received is printed.
//!
//! One thread has the socket. It waits for at most [`SLICE`] at a time, so that it hears of signals, and of input
//! for a socket that both sends and receives for at most [`TURN`]; input is read by another thread.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, StdoutLock, Write};
use std::path::Path;
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use sinew::Message;

use crate::args::{Format, Kind, SocketArgs};
use crate::exit::{Failure, UNSENT};
use crate::format::{unquote, Codec};
use crate::interrupt::Interrupt;
use crate::report::Reporter;
use crate::sockets::{make, place, Interests, Socket, Unsent};

/// How long a socket is waited for before signals are looked at.
const SLICE: Duration = Duration::from_millis(100);
/// How long before input is looked at, too.
const TURN: Duration = Duration::from_millis(10);
/// Messages of input that wait to be sent.
const AHEAD: usize = 64;

/// What a kind does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Send,
    Receive,
    /// Sends one, receives one.
    Ask,
    /// Receives one, sends one.
    Answer,
    /// Sends and receives in any order.
    Both,
    /// The same, and the first frame says with whom: a message can be echoed.
    Named,
}

impl Manner {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Pub | Kind::Push | Kind::Scatter | Kind::Radio => Manner::Send,
            Kind::Sub | Kind::Pull | Kind::Gather | Kind::Dish => Manner::Receive,
            Kind::Req => Manner::Ask,
            Kind::Rep => Manner::Answer,
            Kind::Dealer | Kind::Pair | Kind::Channel | Kind::Client | Kind::Xpub | Kind::Xsub => {
                Manner::Both
            }
            Kind::Router | Kind::Server | Kind::Peer | Kind::Stream | Kind::Dgram => Manner::Named,
        }
    }
}

/// Runs one of the commands that are sockets.
pub(crate) fn run(kind: Kind, args: &SocketArgs, reporter: &Reporter) -> Result<(), Failure> {
    let manner = Manner::of(kind);
    check(manner, args)?;
    let interrupt = Interrupt::install().map_err(Failure::new)?;
    let interests = Interests {
        topics: &args.subscribe,
        groups: match kind {
            Kind::Dish => &args.group,
            _ => &[],
        },
    };
    let mut socket = make(kind, &args.tuning, &interests)?;
    if args.verbose {
        reporter.follow(socket.monitor());
    }
    place(&mut *socket, &args.places, |endpoint| {
        reporter.bound(endpoint)
    })?;
    let mut talk = Talk {
        kind,
        manner,
        input: Input::new(manner, kind, args)?,
        output: Output::new(codec(args, args.output_format, reporter.format())?),
        socket,
        args,
        interrupt,
        started: None,
    };
    let ended = talk.run();
    let flushed = talk.output.flush();
    let unsent = talk.socket.close().unsent;
    ended?;
    flushed?;
    match unsent {
        0 => Ok(()),
        unsent => Err(Failure::With(
            UNSENT,
            format!("{unsent} messages were not sent within the linger time"),
        )),
    }
}

/// What makes no sense for a kind.
fn check(manner: Manner, args: &SocketArgs) -> Result<(), Failure> {
    if args.echo && !matches!(manner, Manner::Answer | Manner::Named) {
        return Err(Failure::usage(
            "--echo is for rep, router, server, peer, stream and dgram",
        ));
    }
    if manner == Manner::Receive && !(args.data.is_empty() && args.file.is_empty()) {
        return Err(Failure::usage(
            "--data and --file are for sockets that send, and this kind only receives",
        ));
    }
    Ok(())
}

fn codec(args: &SocketArgs, own: Option<Format>, default: Format) -> Result<Codec, Failure> {
    let separator = unquote(args.separator.as_bytes())
        .map_err(|error| Failure::usage(format!("--separator: {error}")))?;
    Ok(Codec {
        format: own.or(args.format).unwrap_or(default),
        separator,
        multipart: args.multipart,
    })
}

struct Talk<'a> {
    kind: Kind,
    manner: Manner,
    socket: Box<dyn Socket>,
    input: Input,
    output: Output,
    args: &'a SocketArgs,
    interrupt: Interrupt,
    /// When the last message was sent.
    started: Option<Instant>,
}

impl Talk<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let args = self.args;
        if args.wait_peers > 0 {
            self.wait_for_peers()?;
        }
        if let Some(delay) = args.delay.filter(|_| self.manner != Manner::Receive) {
            self.interrupt.sleep(delay)?;
        }
        let count = args.count.unwrap_or(u64::MAX);
        let mut done = 0;
        while done < count {
            let more = match self.manner {
                Manner::Send => self.send_next()?,
                Manner::Receive => self.receive().map(|_| true)?,
                Manner::Ask => self.send_next()? && self.receive().map(|_| true)?,
                Manner::Answer => self.answer()?,
                Manner::Both | Manner::Named => self.exchange()?,
            };
            if !more {
                break;
            }
            done += 1;
        }
        if matches!(self.manner, Manner::Both | Manner::Named) {
            self.send_rest()?;
        }
        Ok(())
    }

    fn wait_for_peers(&mut self) -> Result<(), Failure> {
        let deadline = self.deadline();
        loop {
            self.interrupt.check()?;
            let wait = slice(deadline, SLICE);
            match self.socket.wait_for_peers(self.args.wait_peers, wait) {
                Ok(()) => return Ok(()),
                Err(error) if is_over(deadline) => return Err(Failure::timeout(error)),
                Err(_) => {}
            }
        }
    }

    /// Sends the next message of the input; `false` if there is none.
    fn send_next(&mut self) -> Result<bool, Failure> {
        self.output.flush()?;
        loop {
            self.interrupt.check()?;
            // A replier says the same to everyone.
            let repeat = self.args.count.is_some() || self.manner == Manner::Answer;
            match self.input.next(repeat, SLICE)? {
                Next::Message(message) => {
                    self.send(message)?;
                    return Ok(true);
                }
                Next::End => return Ok(false),
                Next::Later => {}
            }
        }
    }

    /// Sends what is left of the command line's messages, also if enough has been received.
    fn send_rest(&mut self) -> Result<(), Failure> {
        while let Input::Given { .. } = self.input {
            let Next::Message(message) = self.input.next(false, Duration::ZERO)? else {
                break;
            };
            self.send(message)?;
        }
        Ok(())
    }

    fn send(&mut self, mut message: Message) -> Result<(), Failure> {
        if let (Some(interval), Some(last)) = (self.args.interval, self.started) {
            self.interrupt
                .sleep((last + interval).saturating_duration_since(Instant::now()))?;
        }
        let deadline = self.deadline();
        loop {
            self.interrupt.check()?;
            match self.socket.send(message, slice(deadline, SLICE)) {
                Ok(()) => {
                    self.started = Some(Instant::now());
                    return Ok(());
                }
                Err(Unsent::Failed(failure)) => return Err(failure),
                Err(Unsent::Full(_)) if is_over(deadline) => {
                    return Err(Failure::timeout("no peer could take the message in time"));
                }
                Err(Unsent::Full(back)) => message = back,
            }
        }
    }

    /// Receives a message and prints it.
    fn receive(&mut self) -> Result<Message, Failure> {
        let deadline = self.deadline();
        let message = match self.socket.recv(Duration::ZERO)? {
            Some(message) => message,
            None => {
                self.output.flush()?;
                loop {
                    self.interrupt.check()?;
                    if let Some(message) = self.socket.recv(slice(deadline, SLICE))? {
                        break message;
                    }
                    if is_over(deadline) {
                        return Err(Failure::timeout("no message came in time"));
                    }
                }
            }
        };
        self.output.write(&message)?;
        Ok(message)
    }

    /// Receives a request and replies; `false` if there are no more replies.
    fn answer(&mut self) -> Result<bool, Failure> {
        let request = self.receive()?;
        if self.args.echo {
            return self.send(request).map(|()| true);
        }
        self.send_next()
    }

    /// Receives one message, and sends what the input has meanwhile.
    fn exchange(&mut self) -> Result<bool, Failure> {
        let mut deadline = self.deadline();
        loop {
            self.interrupt.check()?;
            let mut wait = SLICE;
            if !self.args.echo {
                match self.input.next(false, Duration::ZERO)? {
                    Next::Message(message) => {
                        self.send(message)?;
                        // The wait for what it brings begins now.
                        deadline = self.deadline();
                        wait = Duration::ZERO;
                    }
                    Next::Later => {
                        deadline = self.deadline();
                        wait = TURN;
                    }
                    Next::End => {}
                }
            }
            let received = match self.socket.recv(Duration::ZERO)? {
                None if !wait.is_zero() => {
                    self.output.flush()?;
                    self.socket.recv(slice(deadline, wait))?
                }
                other => other,
            };
            if let Some(message) = received {
                self.output.write(&message)?;
                // To a plain connection an empty one would be its end; it is a note, and not sent by it.
                let is_note = self.kind == Kind::Stream
                    && message.frames().last().is_some_and(|body| body.is_empty());
                if self.args.echo && !is_note {
                    self.send(message)?;
                }
                return Ok(true);
            }
            if is_over(deadline) {
                return Err(Failure::timeout("no message came in time"));
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.args.timeout?)
    }
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// As long as this, and not beyond the deadline.
fn slice(deadline: Option<Instant>, most: Duration) -> Duration {
    deadline.map_or(most, |deadline| {
        deadline.saturating_duration_since(Instant::now()).min(most)
    })
}

/// What is to be sent.
enum Input {
    Nothing,
    /// From the command line, and the next one.
    Given {
        messages: Vec<Message>,
        next: usize,
    },
    /// Standard input, as it comes. `Err` is what is wrong with it.
    Lines {
        lines: Receiver<Result<Message, String>>,
        group: Option<String>,
    },
}

enum Next {
    Message(Message),
    /// There may be one in a moment.
    Later,
    End,
}

impl Input {
    fn new(manner: Manner, kind: Kind, args: &SocketArgs) -> Result<Self, Failure> {
        if manner == Manner::Receive || args.echo {
            return Ok(Input::Nothing);
        }
        let codec = codec(args, args.input_format, Format::Text)?;
        let group = match (kind, &args.group[..]) {
            (Kind::Radio, [group]) => Some(group.clone()),
            (Kind::Radio, [_, _, ..]) => {
                return Err(Failure::usage("radio sends to one --group"));
            }
            _ => None,
        };
        let stdin = Path::new("-");
        let from_stdin = match (&args.data[..], &args.file[..]) {
            ([], []) => true,
            (_, files) => files.iter().any(|file| file == stdin),
        };
        if from_stdin {
            if !args.data.is_empty() || args.file.len() > 1 {
                return Err(Failure::usage(
                    "standard input goes with no other --data or --file",
                ));
            }
            let (line, lines) = sync_channel(AHEAD);
            std::thread::spawn(move || {
                let mut input = io::stdin().lock();
                loop {
                    let read = codec.read(&mut input);
                    let ended = !matches!(read, Ok(Some(_)));
                    // If nobody listens any more, the programme is about to end.
                    let told = match read {
                        Ok(Some(message)) => line.send(Ok(message)),
                        Ok(None) => return,
                        Err(error) => line.send(Err(error)),
                    };
                    if ended || told.is_err() {
                        return;
                    }
                }
            });
            return Ok(Input::Lines { lines, group });
        }
        let mut messages = Vec::new();
        for data in &args.data {
            let message = codec.decode(data.as_bytes());
            messages.push(
                message.map_err(|error| Failure::usage(format!("--data `{data}`: {error}")))?,
            );
        }
        for path in &args.file {
            let failed = |error: &dyn std::fmt::Display| {
                Failure::new(format!("`{}`: {error}", path.display()))
            };
            let file = File::open(path).map_err(|error| failed(&error))?;
            let mut file = BufReader::new(file);
            while let Some(message) = codec.read(&mut file).map_err(|error| failed(&error))? {
                messages.push(message);
            }
        }
        if let Some(group) = group {
            messages
                .iter_mut()
                .for_each(|message| message.push_front(group.as_str()));
        }
        Ok(Input::Given { messages, next: 0 })
    }

    /// The next message, waiting for it so long. What was given on the command line may be repeated.
    fn next(&mut self, repeat: bool, wait: Duration) -> Result<Next, Failure> {
        match self {
            Input::Nothing => Ok(Next::End),
            Input::Given { messages, next } => {
                if *next == messages.len() && repeat {
                    *next = 0;
                }
                let message = messages.get(*next).cloned();
                *next += usize::from(message.is_some());
                Ok(message.map_or(Next::End, Next::Message))
            }
            Input::Lines { lines, group } => match lines.recv_timeout(wait) {
                Ok(Ok(mut message)) => {
                    if let Some(group) = group {
                        message.push_front(group.as_str());
                    }
                    Ok(Next::Message(message))
                }
                Ok(Err(error)) => Err(Failure::new(format!("standard input: {error}"))),
                Err(RecvTimeoutError::Timeout) => Ok(Next::Later),
                Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
            },
        }
    }
}

/// Where received messages go.
struct Output {
    codec: Codec,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    fn new(codec: Codec) -> Self {
        Output {
            codec,
            out: BufWriter::new(io::stdout().lock()),
        }
    }

    fn write(&mut self, message: &Message) -> Result<(), Failure> {
        let written = self.codec.write(&mut self.out, message);
        written.map_err(|error| Failure::output(&error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::output(&error))
    }
}
