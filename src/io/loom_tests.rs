//! Models of the seam at which a pump passes between the application's thread and the I/O thread.
//!
//! [`reading`](super::reading), [`writing`](super::writing), tokens, events and pipes are those of the
//! build. The [`kernel`] is made up. The loops around them follow `thread`, `linking` and `caller`
//! statement by statement, without what has no part in this (time, protocol, several connections).
//!
//! There is no time in a model: nothing sleeps until a deadline, so whoever is not woken sleeps for
//! ever and fails the model. Whether a caller has gone away is looked at a few times, at any moment.

use std::time::{Duration, Instant};

use super::reading::{self, InOutcome, Look, Polls, Then};
use super::writing::{self, HotList, OutOutcome};
use crate::pipe::{pipe, Limits, Reader, Signal, Tuning, Writer};
use crate::sync::{lock, thread, Arc, Event, Mutex};

mod kernel;
mod link;
mod sending;

use kernel::{PollHandle, Ready, Socket, Written};
use link::{Command, Home, Link, Shape, SHORT_READS};

/// Tries every interleaving with at most `preemptions` involuntary changes of thread.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

// ---- the I/O thread -------------------------------------------------------------------------

struct IoThread {
    home: Arc<Home>,
    port: Arc<Port>,
    link: Option<Arc<Link>>,
    /// What the dialer connects to when the connection is lost.
    next: Option<Arc<Link>>,
    hot: HotList<Link>,
    /// A pump was left to its sender in this turn.
    leaves: bool,
    /// Its clock, of which each look is ten microseconds later.
    now: Instant,
    unread: bool,
    with_caller: Vec<Arc<Link>>,
    /// How many more times it looks at callers.
    looks: usize,
    paused: bool,
    until_empty: bool,
    stopped: bool,
}

impl IoThread {
    fn new(link: &Arc<Link>, port: &Arc<Port>) -> Self {
        IoThread {
            home: Arc::clone(&link.home),
            port: Arc::clone(port),
            link: Some(Arc::clone(link)),
            next: None,
            hot: HotList::new(),
            leaves: false,
            now: crate::sync::clock::now(),
            unread: false,
            with_caller: Vec::new(),
            looks: 0,
            paused: false,
            until_empty: false,
            stopped: false,
        }
    }

    fn run(mut self) {
        while !self.stopped {
            self.turn();
        }
        // Pipes know their connections, which have their ends.
        if let Some(link) = self.link {
            drop(link.output.lock().take_reader());
            drop(link.input.lock().take_writer());
        }
    }

    fn turn(&mut self) {
        let looks = self.looks > 0 && !self.with_caller.is_empty();
        let may_sleep = !self.unread && (self.hot.is_empty() || (!self.leaves && self.hot.arm()));
        let home = Arc::clone(&self.home);
        let link = self.link.clone();
        let look = || {
            link.as_ref()
                .map_or(Ready::default(), |l| l.socket.report(true))
        };
        let ready = if may_sleep && !looks {
            home.poll.wait(&home.event, look)
        } else {
            thread::yield_now();
            look()
        };
        if let Some(link) = link {
            self.link_ready(&link, ready);
        }
        let commands = std::mem::take(&mut *lock(&home.commands));
        for command in commands {
            self.handle_command(command);
        }
        if looks {
            self.looks -= 1;
            self.look_at_callers();
        }
        if std::mem::take(&mut self.unread) {
            self.read_link(false);
        }
        self.run_outputs();
    }

    fn link_ready(&mut self, link: &Arc<Link>, ready: Ready) {
        if ready.write {
            link.reading.want_write(link, false);
            self.hot.heat_for_room(Arc::clone(link));
        }
        if ready.read {
            if ready.ended {
                link.reading.set_ending();
            } else if link.reading.tell_task(link) {
                self.port.event.notify();
                return;
            }
            self.read_link(ready.ended);
        }
    }

    fn handle_command(&mut self, command: Command) {
        let is = |link: &Option<Arc<Link>>, id| link.as_ref().is_some_and(|l| l.id == id);
        match command {
            Command::Attend(id) if is(&self.link, id) => self.attend(),
            Command::Output(id) if is(&self.link, id) => {
                let link = self.link.clone();
                self.hot.heat(link.unwrap());
            }
            Command::Input(id) if is(&self.link, id) => self.read_link(false),
            Command::CallerReads(id) if is(&self.link, id) => {
                let link = self.link.clone().unwrap();
                if link.reading.enlist() {
                    self.with_caller.push(link);
                }
            }
            Command::Close => self.close_link(),
            Command::Stop => self.stopped = true,
            // Of a connection that is gone.
            _ => {}
        }
    }

    fn look_at_callers(&mut self) {
        let mut gone = Vec::new();
        self.with_caller.retain(|link| {
            let look = link.reading.look();
            if look == Look::Away {
                gone.push(Arc::clone(link));
            }
            look == Look::Present
        });
        for link in gone {
            let was_task = link.reading.is_with_task();
            if link.reading.take(&link) && self.link.as_ref().is_some_and(|l| l.id == link.id) {
                self.read_link(true);
            }
            if was_task {
                self.port.event.notify();
            }
        }
    }

    fn read_link(&mut self, until_empty: bool) {
        let Some(link) = self.link.clone() else {
            return;
        };
        self.until_empty |= until_empty || self.paused;
        match link.run_input(self.until_empty, true) {
            None => {}
            Some(InOutcome::Drained | InOutcome::Ready) => {
                self.until_empty = false;
                self.paused = false;
            }
            Some(InOutcome::More) => {
                self.paused = false;
                self.unread = true;
            }
            Some(InOutcome::Paused) => self.paused = true,
            Some(InOutcome::Closed) => self.close_link(),
        }
    }

    fn attend(&mut self) {
        let Some(link) = &self.link else {
            return;
        };
        let (failed, missed) = link.input.visit(|pump| pump.failed);
        self.unread |= missed;
        if failed {
            self.close_link();
            return;
        }
        let link = Arc::clone(link);
        if link.run_output_to_the_end() == Some(OutOutcome::More) {
            self.hot.heat(link);
        }
    }

    fn run_outputs(&mut self) {
        let mut index = 0;
        self.leaves = false;
        loop {
            let now = &mut self.now;
            let tick = || {
                *now += Duration::from_micros(10);
                *now
            };
            if self.hot.is_left(index, tick) {
                self.leaves = true;
                index += 1;
                continue;
            }
            let Some(link) = self.hot.begin(index) else {
                break;
            };
            match link.run_output() {
                Some(OutOutcome::More | OutOutcome::Idle) => {
                    self.hot.stay(index);
                    index += 1;
                }
                None | Some(OutOutcome::Blocked | OutOutcome::Closed) => self.hot.remove(index),
            }
        }
    }

    /// The connection is lost; the pipes go to the next one, if there is one.
    fn close_link(&mut self) {
        let Some(link) = self.link.take() else {
            return;
        };
        link.reading.close(&link);
        link.writing.retire();
        let reader = link.output.lock().take_reader();
        let writer = link.input.lock().take_writer();
        assert!(!link.socket.is_watched());
        self.paused = false;
        self.until_empty = false;
        self.unread = false;
        let Some(next) = self.next.take() else {
            drop((reader, writer));
            self.port.tell(|state| state.down = true);
            return;
        };
        if let Some(reader) = reader {
            Link::open_output(&next, reader);
            self.hot.heat(Arc::clone(&next));
        }
        self.port.tell(|state| state.link = Some(Arc::clone(&next)));
        let reads = writer.map(|writer| next.open_input(writer)).is_some();
        self.link = Some(next);
        if reads {
            self.read_link(false);
        }
    }
}

// ---- the socket -----------------------------------------------------------------------------

/// What a receiving half is told, and sleeps on.
struct Port {
    event: Event,
    state: Mutex<PortState>,
}

struct PortState {
    link: Option<Arc<Link>>,
    down: bool,
}

impl Port {
    fn new(link: &Arc<Link>) -> Arc<Port> {
        Arc::new(Port {
            event: Event::new(),
            state: Mutex::new(PortState {
                link: Some(Arc::clone(link)),
                down: false,
            }),
        })
    }

    fn tell(&self, change: impl FnOnce(&mut PortState)) {
        change(&mut lock(&self.state));
        self.event.notify();
    }
}

struct ReadableSignal(Arc<Port>);

impl Signal for ReadableSignal {
    fn signal(&self) {
        self.0.event.notify();
    }
}

/// A receiving half that reads for itself.
struct Caller {
    port: Arc<Port>,
    reader: Reader,
    poll: PollHandle,
    link: Option<Arc<Link>>,
    down: bool,
    driven: Option<Driven>,
    /// It waits as a task does.
    task: bool,
}

struct Driven {
    link: Arc<Link>,
    ready: bool,
}

impl Caller {
    fn new(port: &Arc<Port>, reader: Reader) -> Self {
        let signal: std::sync::Arc<dyn Signal> =
            std::sync::Arc::new(ReadableSignal(Arc::clone(port)));
        reader.set_signal(Arc::from_std(signal));
        Caller {
            port: Arc::clone(port),
            reader,
            poll: PollHandle::new(),
            link: None,
            down: false,
            driven: None,
            task: false,
        }
    }

    /// Waits for a message; `false` once the connection has ended for good.
    fn recv(&mut self) -> bool {
        loop {
            self.refresh();
            if self.reader.read_message().is_some() {
                return true;
            }
            if self.down && !self.reader.has_data() {
                return false;
            }
            self.wait();
        }
    }

    /// The same, without reading for itself.
    fn recv_undriven(&mut self) -> bool {
        loop {
            let down = lock(&self.port.state).down;
            if self.reader.read_message().is_some() {
                return true;
            }
            if down {
                return false;
            }
            if self.reader.arm() {
                crate::sync::barrier::heavy();
            }
            if !(self.reader.stay_awake() && self.reader.has_data()) {
                self.port.event.wait(None);
            }
            self.reader.disarm();
        }
    }

    fn refresh(&mut self) {
        let state = lock(&self.port.state);
        self.down = state.down;
        let link = state.link.clone().filter(|_| !state.down);
        drop(state);
        let same = match (&self.driven, &link) {
            (Some(driven), Some(link)) => driven.link.id == link.id,
            _ => false,
        };
        self.link = link;
        if !same {
            self.release();
        }
    }

    fn wait(&mut self) {
        self.adopt();
        if let Some(driven) = self.driven.as_mut().filter(|_| self.task) {
            driven.ready |= driven.link.reading.take_told();
        }
        self.pump();
        if self.reader.has_data() {
            return;
        }
        if self.reader.arm() {
            crate::sync::barrier::heavy();
        }
        // One whose writer is gone stays armed until the mail that says so.
        if self.reader.stay_awake() && self.reader.has_data() {
            return;
        }
        self.wait_in_poll();
        self.reader.disarm();
    }

    fn adopt(&mut self) {
        let Some(link) = &self.link else {
            return;
        };
        if self.driven.is_some()
            && link.reading.is_with_caller()
            && link.reading.is_with_task() == self.task
        {
            return;
        }
        let caller = match self.task {
            true => reading::Caller::Task,
            false => reading::Caller::Thread(Arc::clone(&self.poll.0)),
        };
        let Ok(given) = link.reading.give(link, caller) else {
            return;
        };
        if given {
            link.home.post(Command::CallerReads(link.id));
        }
        self.driven = Some(Driven {
            link: Arc::clone(link),
            ready: true,
        });
    }

    fn release(&mut self) {
        if let Some(driven) = self.driven.take() {
            if driven.link.reading.take(&driven.link) {
                driven.link.home.post(Command::Input(driven.link.id));
            }
        }
    }

    fn pump(&mut self) {
        let Some(driven) = self.driven.as_mut().filter(|driven| driven.ready) else {
            return;
        };
        let link = &driven.link;
        link.reading.caller_runs();
        let then = link.reading.caller_ran(link.run_input(false, false));
        driven.ready = then == Then::GoOn;
        match then {
            Then::GoOn | Then::Wait => {}
            Then::HandBack => link.home.post(Command::Input(link.id)),
            Then::Attend => Polls::attend(&**link),
        }
    }

    fn wait_in_poll(&mut self) {
        let Some(driven) = &mut self.driven else {
            self.port.event.wait(None);
            return;
        };
        if driven.ready {
            return;
        }
        let link = &driven.link;
        if self.task {
            link.reading.task_waits(link);
            self.port.event.wait(None);
            return;
        }
        link.reading.caller_waits();
        let ready = self
            .poll
            .wait(&self.port.event, || link.socket.report(false));
        link.reading.caller_wakes();
        driven.ready = ready.read;
        if ready.ended {
            link.reading.set_ending();
        }
    }
}

const UNLIMITED: Limits = Limits {
    messages: u64::MAX,
    bytes: u64::MAX,
};

/// Blocks of a few octets, as loom follows each.
const TINY: Tuning = Tuning {
    first_block: 8,
    max_block: 8,
    rotation: 0,
    by_reference: 9,
    share_borrowed: 9,
    may_be_dense: false,
};

/// A connection in the hands of its I/O thread, and the half that receives from it.
fn receiving(limits: Limits, shape: Shape) -> (Arc<Socket>, IoThread, Caller) {
    let (writer, reader) = pipe(limits, TINY);
    let socket = Socket::new(0, &Written::new());
    let link = Link::new(1, &Home::new(), &socket, shape);
    link.open_input(writer);
    let port = Port::new(&link);
    let io = IoThread::new(&link, &port);
    (socket, io, Caller::new(&port, reader))
}

#[test]
fn loom_a_message_is_read_whoever_reads() {
    check(2, || {
        let (socket, mut io, mut caller) = receiving(UNLIMITED, SHORT_READS);
        let home = Arc::clone(&io.home);
        io.looks = 2;
        let io = thread::spawn(move || io.run());
        let peer = thread::spawn(move || socket.arrive(1));
        assert!(caller.recv());
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

/// A task reads, and is told by the I/O thread when it has to look again, which may take it for one that is gone.
#[test]
fn loom_a_task_is_told_of_messages_and_of_the_end() {
    check(2, || {
        let (socket, mut io, mut caller) = receiving(UNLIMITED, SHORT_READS);
        let home = Arc::clone(&io.home);
        io.looks = 2;
        caller.task = true;
        let io = thread::spawn(move || io.run());
        let peer = thread::spawn(move || {
            socket.arrive(1);
            socket.end();
        });
        assert!(caller.recv());
        assert!(!caller.recv());
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

/// A task that had waited is dropped, and a thread receives next; or it is the other way round.
#[test]
fn loom_a_task_and_a_thread_take_turns() {
    check(2, || {
        let (socket, io, mut caller) = receiving(UNLIMITED, SHORT_READS);
        let home = Arc::clone(&io.home);
        let io = thread::spawn(move || io.run());
        let peer = thread::spawn(move || {
            socket.arrive(1);
            socket.arrive(1);
        });
        for task in [true, false] {
            caller.task = task;
            assert!(caller.recv());
        }
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

/// The I/O thread looks at everything about the connection while the caller reads it.
#[test]
fn loom_a_message_is_read_though_its_connection_is_looked_at() {
    check(2, || {
        let (socket, io, mut caller) = receiving(UNLIMITED, SHORT_READS);
        let home = Arc::clone(&io.home);
        let io = thread::spawn(move || io.run());
        let peer = {
            let home = Arc::clone(&home);
            thread::spawn(move || {
                socket.arrive(1);
                home.post(Command::Attend(1));
            })
        };
        assert!(caller.recv());
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

/// The caller is slow to come back: reading goes back and forth, with messages and the end of the
/// stream behind them. It is told of the end, and every message before that.
#[test]
fn loom_the_end_is_seen_whoever_reads() {
    check(2, || {
        let (socket, io, mut caller) = receiving(UNLIMITED, SHORT_READS);
        let home = Arc::clone(&io.home);
        let io = thread::spawn(move || io.run());
        let peer = thread::spawn(move || {
            socket.arrive(1);
            socket.end();
        });
        // The I/O thread is asked to run the in-pump, and may get to that when it is not the reader.
        caller.refresh();
        caller.adopt();
        caller.release();
        assert!(caller.recv());
        assert!(!caller.recv());
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
    });
}

/// The caller runs the pump once and does not come back. The I/O thread finds the rest and the end.
fn a_caller_goes_away(preemptions: usize, limits: Limits, shape: Shape, later: bool, task: bool) {
    check(preemptions, move || {
        let (socket, mut io, mut caller) = receiving(limits, shape);
        caller.task = task;
        let home = Arc::clone(&io.home);
        // A sign of the caller is found when it has taken over, when it has run the pump, and no more.
        io.looks = 3;
        let send = move || {
            socket.arrive(2);
            socket.end();
        };
        let peer = if later {
            Some(thread::spawn(send))
        } else {
            send();
            None
        };
        let io = thread::spawn(move || io.run());
        caller.refresh();
        caller.adopt();
        caller.pump();
        if let Some(driven) = caller.driven.as_ref().filter(|_| task) {
            // In the middle of waiting.
            driven.link.reading.task_waits(&driven.link);
        }
        assert!(caller.recv_undriven());
        assert!(caller.recv_undriven());
        assert!(!caller.recv_undriven());
        home.post(Command::Stop);
        if let Some(peer) = peer {
            peer.join().unwrap();
        }
        io.join().unwrap();
    });
}

#[test]
fn loom_what_a_caller_left_unread_is_read() {
    let one_by_one = Shape {
        space: 1,
        budget: 1,
    };
    a_caller_goes_away(3, UNLIMITED, one_by_one, false, false);
}

#[test]
fn loom_what_comes_when_a_caller_has_gone_is_read() {
    a_caller_goes_away(2, UNLIMITED, SHORT_READS, true, false);
}

#[test]
fn loom_what_comes_when_a_task_was_dropped_is_read() {
    a_caller_goes_away(2, UNLIMITED, SHORT_READS, true, true);
}

#[test]
fn loom_what_a_caller_left_for_want_of_room_is_read() {
    let one = Limits {
        messages: 1,
        bytes: u64::MAX,
    };
    a_caller_goes_away(3, one, SHORT_READS, false, false);
}

/// The connection is lost at any moment, that of a hand-over included, and its pipe gets another.
#[test]
fn loom_a_caller_reads_the_connection_that_replaces_another() {
    check(2, || {
        let (lost, mut io, mut caller) = receiving(UNLIMITED, SHORT_READS);
        let home = Arc::clone(&io.home);
        let socket = Socket::new(0, &Written::new());
        io.next = Some(Link::new(2, &home, &socket, SHORT_READS));
        io.looks = 1;
        home.post(Command::Close);
        let io = thread::spawn(move || io.run());
        let peer = thread::spawn(move || {
            socket.arrive(1);
            socket.end();
        });
        assert!(caller.recv());
        assert!(!caller.recv());
        home.post(Command::Stop);
        peer.join().unwrap();
        io.join().unwrap();
        assert!(!lost.is_watched(), "no poll is told of what is gone");
    });
}
