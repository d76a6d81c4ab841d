//! What is to be sent: messages of the command line, of files, or of standard input as it comes.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, TryRecvError};
use std::sync::Arc;
use std::task::Waker;

use sinew::Message;

use crate::args::SocketArgs;
use crate::exit::Failure;
use crate::format::Codec;

/// Messages of standard input that wait to be sent.
const AHEAD: usize = 64;

/// See the module.
pub(crate) enum Input {
    Nothing,
    /// From the command line, and the next one.
    Given {
        messages: Vec<Message>,
        next: usize,
    },
    /// From standard input.
    Lines {
        lines: Lines,
        group: Option<String>,
    },
}

pub(crate) enum Next {
    Message(Message),
    /// There may be one when the waker is used.
    Later,
    End,
}

impl Input {
    /// Messages that a waker tells of. `group`: what they are all for.
    pub(crate) fn new(
        args: &SocketArgs,
        codec: Codec,
        group: Option<String>,
        waker: Waker,
    ) -> Result<Self, Failure> {
        let from_stdin = match (&args.data[..], &args.file[..]) {
            ([], []) => true,
            (_, files) => files.iter().any(|file| file == Path::new("-")),
        };
        if from_stdin {
            if !args.data.is_empty() || args.file.len() > 1 {
                return Err(Failure::usage(
                    "standard input goes with no other --data or --file",
                ));
            }
            let lines = Lines::read(codec, waker);
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
            for number in 1.. {
                let read = read_message(&codec, &mut file, number);
                let Some(message) = read.map_err(|error| failed(&error))? else {
                    break;
                };
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

    /// Whether there may be more.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Input::Nothing => false,
            Input::Given { messages, next } => *next < messages.len(),
            Input::Lines { lines, .. } => !lines.ended,
        }
    }

    /// The next message. What was given on the command line may be repeated.
    pub(crate) fn next(&mut self, repeat: bool) -> Result<Next, Failure> {
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
            Input::Lines { lines, group } => {
                let mut next = lines.next()?;
                if let (Next::Message(message), Some(group)) = (&mut next, group) {
                    message.push_front(group.as_str());
                }
                Ok(next)
            }
        }
    }
}

/// The next message, or what is wrong with it and which one it is.
fn read_message(
    codec: &Codec,
    input: &mut impl BufRead,
    number: u64,
) -> Result<Option<Message>, String> {
    let read = codec.read(input);
    read.map_err(|error| format!("message {number}: {error}"))
}

/// Standard input, read by a thread of its own.
pub(crate) struct Lines {
    /// `Err` is what is wrong with it.
    lines: Receiver<Result<Message, String>>,
    /// Somebody looked, found nothing and is to be woken.
    wanted: Arc<AtomicBool>,
    ended: bool,
}

impl Lines {
    fn read(codec: Codec, waker: Waker) -> Self {
        let (tell, lines) = sync_channel(AHEAD);
        let wanted = Arc::new(AtomicBool::new(false));
        let awaited = Arc::clone(&wanted);
        std::thread::spawn(move || {
            let wake = || {
                if awaited.swap(false, Ordering::SeqCst) {
                    waker.wake_by_ref();
                }
            };
            let mut input = io::stdin().lock();
            for number in 1.. {
                let read = read_message(&codec, &mut input, number).transpose();
                let ended = !matches!(read, Some(Ok(_)));
                // If nobody listens any more, the programme is about to end.
                let told = read.map_or(Ok(()), |read| tell.send(read));
                if ended || told.is_err() {
                    break;
                }
                wake();
            }
            drop(tell);
            wake();
        });
        Lines {
            lines,
            wanted,
            ended: false,
        }
    }

    fn next(&mut self) -> Result<Next, Failure> {
        let mut read = self.lines.try_recv();
        if read == Err(TryRecvError::Empty) {
            self.wanted.store(true, Ordering::SeqCst);
            // What came before that is not told.
            read = self.lines.try_recv();
        }
        match read {
            Ok(Ok(message)) => Ok(Next::Message(message)),
            Ok(Err(error)) => Err(Failure::new(format!("standard input: {error}"))),
            Err(TryRecvError::Empty) => Ok(Next::Later),
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                Ok(Next::End)
            }
        }
    }
}
