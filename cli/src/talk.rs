//! The commands that are sockets: messages from the input are sent, what is received is printed.
//!
//! One thread has the socket, and sleeps until there is something to receive, room to send, input, a signal or the
//! time for something.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::task::Poll;
use std::time::{Duration, Instant};

use sinew::{Message, MonitorOptions};

use crate::args::{Format, Kind, SocketArgs};
use crate::exit::{Failure, TIMEOUT};
use crate::format::{unquote, Codec};
use crate::input::{Input, Next};
use crate::interrupt::{writing, Interrupt};
use crate::report::Reporter;
use crate::sockets::{make, place, Interests, Socket};

/// The longest that what is unsent is waited for when the time is over, unless `--linger` says otherwise: enough
/// for what was on its way.
const GRACE: Duration = Duration::from_secs(1);

/// What a kind does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
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
    check(kind, manner, args)?;
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
        reporter.follow(socket.monitor(MonitorOptions::default()));
    }
    place(&mut *socket, &args.places, |placed| {
        reporter.placed(&placed)
    })?;
    let group = group(kind, &args.group)?;
    let mut talk = Talk {
        kind,
        manner,
        input: match manner == Manner::Receive || args.echo {
            true => Input::Nothing,
            false => {
                let codec = codec(args, args.input_format, Format::Text)?;
                Input::new(args, codec, group, interrupt.waker())?
            }
        },
        output: Output::new(codec(args, args.output_format, reporter.format())?),
        socket,
        args,
        interrupt,
        last_sent: None,
    };
    let ended = talk.run();
    let flushed = talk.output.flush();
    let closed = talk.socket.close(patience(args, &ended));
    reporter.closed(ended.and(flushed), closed)
}

/// How long closing waits for what is unsent, if not for the linger time.
fn patience(args: &SocketArgs, ended: &Result<(), Failure>) -> Option<Duration> {
    let timeout = args.timeout.filter(|_| args.tuning.linger.is_none())?;
    match ended {
        Err(failure) if failure.code() == TIMEOUT => Some(timeout.min(GRACE)),
        _ => Some(timeout),
    }
}

/// The group that everything is sent to, if there is one.
fn group(kind: Kind, groups: &[String]) -> Result<Option<String>, Failure> {
    match (kind, groups) {
        (Kind::Radio, [group]) => Ok(Some(group.clone())),
        (Kind::Radio, [_, _, ..]) => Err(Failure::usage("radio sends to one --group")),
        _ => Ok(None),
    }
}

/// What makes no sense for a kind.
fn check(kind: Kind, manner: Manner, args: &SocketArgs) -> Result<(), Failure> {
    if !args.subscribe.is_empty() && !matches!(kind, Kind::Sub | Kind::Xsub) {
        return Err(Failure::usage("--subscribe is for sub and xsub"));
    }
    if !args.group.is_empty() && !matches!(kind, Kind::Radio | Kind::Dish) {
        return Err(Failure::usage("--group is for radio and dish"));
    }
    if kind == Kind::Dish && args.group.is_empty() {
        return Err(Failure::usage(
            "dish receives nothing without a group, expected --group NAME",
        ));
    }
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
    last_sent: Option<Instant>,
}

impl Talk<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let args = self.args;
        if args.wait_peers > 0 {
            self.wait_for_peers()?;
        }
        if let Some(delay) = args.delay.filter(|_| self.manner != Manner::Receive) {
            self.interrupt.sleep_until(after(delay))?;
        }
        let count = args.count.unwrap_or(u64::MAX);
        let mut done = 0;
        while done < count {
            let more = match self.manner {
                Manner::Send => self.send_next()?,
                Manner::Receive => self.receive().map(|_| true)?,
                Manner::Ask => self.send_next()? && self.receive().map(|_| true)?,
                Manner::Answer => self.answer()?,
                Manner::Both | Manner::Named => self.exchange().map(|()| true)?,
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
        let (socket, count) = (&mut self.socket, self.args.wait_peers);
        let there = self.interrupt.wait(deadline(self.args), |cx| {
            socket.poll_peers(cx, count).map(Ok)
        })?;
        there.ok_or_else(|| Failure::timeout(format!("there are less than {count} peers in time")))
    }

    /// Sends the next message of the input; `false` if there is none.
    fn send_next(&mut self) -> Result<bool, Failure> {
        self.output.flush()?;
        // A replier says the same to everyone.
        let repeat = self.args.count.is_some() || self.manner == Manner::Answer;
        let input = &mut self.input;
        let next = self.interrupt.wait(None, |_| match input.next(repeat) {
            Ok(Next::Later) => Poll::Pending,
            other => Poll::Ready(other),
        })?;
        match next {
            Some(Next::Message(message)) => self.send(message).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Sends what is left of the command line's messages, also if enough has been received.
    fn send_rest(&mut self) -> Result<(), Failure> {
        while let Input::Given { .. } = self.input {
            let Next::Message(message) = self.input.next(false)? else {
                break;
            };
            self.send(message)?;
        }
        Ok(())
    }

    /// Sends a message when the interval allows it.
    fn send(&mut self, message: Message) -> Result<(), Failure> {
        if let Some(due) = self.due() {
            self.interrupt.sleep_until(due)?;
        }
        let (socket, mut message) = (&mut self.socket, Some(message));
        let sent = self
            .interrupt
            .wait(deadline(self.args), |cx| socket.poll_send(cx, &mut message))?;
        self.last_sent = Some(Instant::now());
        sent.ok_or_else(|| Failure::timeout("no peer could take the message in time"))
    }

    /// When the next message may be sent, if not now.
    fn due(&self) -> Option<Instant> {
        let (interval, last) = (self.args.interval?, self.last_sent?);
        last.checked_add(interval)
            .filter(|due| *due > Instant::now())
    }

    /// Receives a message and prints it.
    fn receive(&mut self) -> Result<Message, Failure> {
        let (socket, output) = (&mut self.socket, &mut self.output);
        let received = self.interrupt.wait(deadline(self.args), |cx| {
            let received = socket.poll_recv(cx);
            // Before sleeping only.
            match received.is_pending().then(|| output.flush()) {
                Some(Err(failure)) => Poll::Ready(Err(failure)),
                _ => received,
            }
        })?;
        let message = received.ok_or_else(|| Failure::timeout(NOTHING))?;
        self.output.write(&message)?;
        Ok(message)
    }

    /// Receives a request and replies; `false` if there are no more replies.
    fn answer(&mut self) -> Result<bool, Failure> {
        if self.args.echo {
            let request = self.receive()?;
            return self.send(request).map(|()| true);
        }
        // The reply is looked for first: a request that cannot be answered is left where it is, for others.
        let mut reply = None;
        let (socket, input, output) = (&mut self.socket, &mut self.input, &mut self.output);
        let received = self.interrupt.wait(deadline(self.args), |cx| {
            if reply.is_none() {
                match input.next(true) {
                    Ok(Next::Message(message)) => reply = Some(message),
                    Ok(Next::Later) => {}
                    Ok(Next::End) => return Poll::Ready(Ok(None)),
                    Err(failure) => return Poll::Ready(Err(failure)),
                }
            }
            match socket.poll_recv(cx) {
                Poll::Ready(request) => Poll::Ready(request.map(Some)),
                Poll::Pending => match output.flush() {
                    Ok(()) => Poll::Pending,
                    Err(failure) => Poll::Ready(Err(failure)),
                },
            }
        })?;
        let Some(request) = received.ok_or_else(|| Failure::timeout(NOTHING))? else {
            return Ok(false);
        };
        self.output.write(&request)?;
        match reply {
            Some(reply) => {
                self.output.flush()?;
                self.send(reply).map(|()| true)
            }
            None => self.send_next(),
        }
    }

    /// Receives one message, and sends what the input has meanwhile.
    fn exchange(&mut self) -> Result<(), Failure> {
        let mut last = deadline(self.args);
        loop {
            match self.either(last)? {
                Some(Either::Given(message)) => {
                    self.send(message)?;
                    // The wait for what it brings begins now.
                    last = deadline(self.args);
                }
                Some(Either::Ended) => last = deadline(self.args),
                Some(Either::Received(message)) => return self.print_or_echo(message),
                None => return Err(Failure::timeout(NOTHING)),
            }
        }
    }

    /// Waits for a message that has come, or one to be sent. As long as there may be more to send, no time is over.
    fn either(&mut self, last: Option<Instant>) -> Result<Option<Either>, Failure> {
        let was_open = self.input.is_open();
        loop {
            // Until then there is only receiving.
            let due = self.due();
            let until = match (due, was_open) {
                (Some(due), true) => Some(due),
                (None, true) => None,
                (_, false) => last,
            };
            let (socket, input, output) = (&mut self.socket, &mut self.input, &mut self.output);
            let found = self.interrupt.wait(until, |cx| {
                if due.is_none() && was_open {
                    match input.next(false) {
                        Ok(Next::Message(message)) => {
                            return Poll::Ready(Ok(Either::Given(message)))
                        }
                        Ok(Next::End) => return Poll::Ready(Ok(Either::Ended)),
                        Ok(Next::Later) => {}
                        Err(failure) => return Poll::Ready(Err(failure)),
                    }
                }
                match socket.poll_recv(cx) {
                    Poll::Ready(message) => Poll::Ready(message.map(Either::Received)),
                    Poll::Pending => match output.flush() {
                        Ok(()) => Poll::Pending,
                        Err(failure) => Poll::Ready(Err(failure)),
                    },
                }
            })?;
            if found.is_some() || !was_open {
                return Ok(found);
            }
        }
    }

    fn print_or_echo(&mut self, message: Message) -> Result<(), Failure> {
        self.output.write(&message)?;
        // To a plain connection an empty one would be its end; it is a note, and not sent by it.
        let is_note = self.kind == Kind::Stream
            && message.frames().last().is_some_and(|body| body.is_empty());
        match self.args.echo && !is_note {
            true => self.send(message),
            false => Ok(()),
        }
    }
}

/// What an exchange goes on with.
enum Either {
    Given(Message),
    /// There is nothing more to send.
    Ended,
    Received(Message),
}

const NOTHING: &str = "no message came in time";

/// When a wait that begins now is over.
fn deadline(args: &SocketArgs) -> Option<Instant> {
    Instant::now().checked_add(args.timeout?)
}

/// That much later; never, if that is beyond what the clock can tell.
fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + FOREVER)
}

/// Ten years.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
        let written = writing(|| self.codec.write(&mut self.out, message));
        written.map_err(|error| Failure::output(&error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        writing(|| self.out.flush()).map_err(|error| Failure::output(&error))
    }
}
