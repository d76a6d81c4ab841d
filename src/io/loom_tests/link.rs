//! A connection with its pumps, and the I/O thread as others see it.

use std::io;

use super::kernel::{Poll, PollHandle, Read, Socket};
use crate::io::reading::{InOutcome, Interests, Polls, Reading};
use crate::io::writing::{self, OutOutcome, Output, Writing};
use crate::pipe::{Reader, Signal, Writer};
use crate::sync::{lock, Arc, Event, Mutex, Token};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Attend(u8),
    Output(u8),
    Input(u8),
    CallerReads(u8),
    Close,
    Stop,
}

/// An I/O thread, as others see it.
pub(super) struct Home {
    pub(super) commands: Mutex<Vec<Command>>,
    pub(super) event: Event,
    pub(super) poll: PollHandle,
}

impl Home {
    pub(super) fn new() -> Arc<Home> {
        Arc::new(Home {
            commands: Mutex::new(Vec::new()),
            event: Event::new(),
            poll: PollHandle::new(),
        })
    }

    pub(super) fn post(&self, command: Command) {
        lock(&self.commands).push(command);
        self.event.notify();
    }
}

pub(super) struct Link {
    pub(super) id: u8,
    pub(super) home: Arc<Home>,
    pub(super) socket: Arc<Socket>,
    pub(super) shape: Shape,
    pub(super) input: Token<InPump>,
    pub(super) output: Token<OutPump>,
    pub(super) reading: Reading<Link>,
    pub(super) writing: Writing,
}

/// How an in-pump's runs end.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Messages per read: one that yields less is taken for the last.
    pub(super) space: usize,
    /// Messages per run.
    pub(super) budget: usize,
}

pub(super) const SHORT_READS: Shape = Shape {
    space: 2,
    budget: 9,
};

impl Link {
    pub(super) fn new(id: u8, home: &Arc<Home>, socket: &Arc<Socket>, shape: Shape) -> Arc<Link> {
        Arc::new(Link {
            id,
            home: Arc::clone(home),
            socket: Arc::clone(socket),
            shape,
            input: Token::new(InPump::default()),
            output: Token::new(OutPump::default()),
            reading: Reading::new(),
            writing: Writing::new(),
        })
    }

    /// With messages to the socket; on the I/O thread.
    pub(super) fn open_input(&self, writer: Writer) {
        let input: std::sync::Arc<dyn Signal> =
            std::sync::Arc::new(InputSignal(Arc::clone(&self.home), self.id));
        writer.set_signal(Arc::from_std(input));
        self.input.lock().writer = Some(writer);
        self.reading.begin(self);
    }

    /// With messages from the socket.
    pub(super) fn open_output(link: &Arc<Self>, reader: Reader) {
        let output: std::sync::Arc<dyn Signal> =
            std::sync::Arc::new(OutputSignal(Arc::clone(link)));
        reader.set_signal(Arc::from_std(output));
        link.output.lock().reader = Some(reader);
    }

    pub(super) fn run_input(&self, until_empty: bool, signal: bool) -> Option<InOutcome> {
        self.input.run(|pump| pump.run(self, until_empty, signal))
    }

    pub(super) fn run_output(&self) -> Option<OutOutcome> {
        let outcome = self.output.run(|pump| pump.run(self))?;
        if outcome == OutOutcome::Blocked {
            self.want_write();
        }
        Some(outcome)
    }

    pub(super) fn run_output_to_the_end(&self) -> Option<OutOutcome> {
        let mut sleeps = true;
        let outcome = self.output.run(|pump| {
            let outcome = pump.run(self);
            sleeps = pump.is_asleep();
            outcome
        })?;
        match outcome {
            OutOutcome::Blocked => self.want_write(),
            OutOutcome::Idle if !sleeps => {
                let _ = writing::activate(self);
            }
            _ => {}
        }
        Some(outcome)
    }
}

struct InputSignal(Arc<Home>, u8);

impl Signal for InputSignal {
    fn signal(&self) {
        self.0.post(Command::Input(self.1));
    }
}

struct OutputSignal(Arc<Link>);

impl Signal for OutputSignal {
    fn signal(&self) {
        let _ = writing::activate(&*self.0);
    }
}

impl Polls for Link {
    type Caller = Arc<Poll>;

    fn watch(&self, _: Interests, now: Interests) -> io::Result<()> {
        self.socket.watch(true, &self.home.poll.0, now);
        Ok(())
    }

    fn watch_for_caller(&self, caller: &Arc<Poll>) -> io::Result<()> {
        let input = Interests {
            read: true,
            write: false,
        };
        self.socket.watch(false, caller, input);
        Ok(())
    }

    fn unwatch_for_caller(&self, caller: &Arc<Poll>) {
        self.socket.watch(false, caller, Interests::NONE);
    }

    fn attend(&self) {
        self.home.post(Command::Attend(self.id));
    }
}

impl Output for Link {
    fn writing(&self) -> &Writing {
        &self.writing
    }

    fn run_for_sender(&self) -> Option<OutOutcome> {
        self.output.run(|pump| pump.run_for_sender(self))
    }

    fn arm(&self) -> Option<bool> {
        self.output
            .run(|pump| pump.reader.as_mut().is_some_and(Reader::arm))
    }

    fn stay_awake(&self) -> Option<bool> {
        self.output
            .run(|pump| pump.reader.as_mut().is_some_and(Reader::stay_awake))
    }

    fn want_write(&self) {
        self.reading.want_write(self, true);
    }

    fn post_output(&self) {
        self.home.post(Command::Output(self.id));
    }

    fn attend(&self) {
        Polls::attend(self);
    }

    fn sent(&self) -> u64 {
        0
    }
}

#[derive(Default)]
pub(super) struct InPump {
    pub(super) writer: Option<Writer>,
    /// Read and not yet handed on.
    pub(super) held: usize,
    pub(super) failed: bool,
}

impl InPump {
    pub(super) fn run(&mut self, link: &Link, until_empty: bool, signal: bool) -> InOutcome {
        let Some(writer) = self.writer.as_mut().filter(|_| !self.failed) else {
            return InOutcome::Closed;
        };
        let mut read = 0;
        let mut short = false;
        loop {
            while self.held > 0 {
                if !(writer.has_credit() || (signal && writer.arm())) {
                    return InOutcome::Paused;
                }
                // An empty message.
                writer.append_wire(&[0, 0], 1, false);
                writer.publish_and_signal();
                self.held -= 1;
            }
            if short && !until_empty && !link.reading.is_ending() {
                return InOutcome::Drained;
            }
            if read >= link.shape.budget {
                return InOutcome::More;
            }
            match link.socket.read(link.shape.space) {
                Read::Some(count) => {
                    self.held = count;
                    read += count;
                    short = count < link.shape.space;
                }
                Read::End => {
                    self.failed = true;
                    return InOutcome::Closed;
                }
                Read::Nothing => return InOutcome::Drained,
            }
        }
    }

    pub(super) fn take_writer(&mut self) -> Option<Writer> {
        self.held = 0;
        let mut writer = self.writer.take()?;
        writer.disarm();
        Some(writer)
    }
}

#[derive(Default)]
pub(super) struct OutPump {
    pub(super) reader: Option<Reader>,
    pub(super) shut: bool,
}

impl OutPump {
    pub(super) fn run(&mut self, link: &Link) -> OutOutcome {
        if self.shut {
            return OutOutcome::Closed;
        }
        while let Some(reader) = &mut self.reader {
            if !reader.has_data() {
                break;
            }
            if !link.socket.write() {
                return OutOutcome::Blocked;
            }
            assert!(reader.read_message().is_some());
        }
        OutOutcome::Idle
    }

    pub(super) fn run_for_sender(&mut self, link: &Link) -> OutOutcome {
        let outcome = self.run(link);
        if let (OutOutcome::Idle, Some(reader)) = (outcome, &mut self.reader) {
            link.writing.rest_after_sender(reader);
        }
        outcome
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.reader.as_ref().map_or(true, Reader::is_asleep)
    }

    pub(super) fn take_reader(&mut self) -> Option<Reader> {
        self.shut = true;
        let mut reader = self.reader.take()?;
        reader.disarm();
        Some(reader)
    }
}
