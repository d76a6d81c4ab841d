//! The loop of a proxy.

use std::sync::Arc;

use super::statistics::{add_owned, measure};
use super::steering::{ProxyState, Steering, Wake};
use super::{is_addressed, receives, sends};
use crate::message::Message;
use crate::socket::{forward, Relay};
use crate::socket_type::SocketType;
use crate::sync::{Event, Unpark};

/// Messages of one direction before the other has its turn. Large enough for its cost to vanish.
const BURST: u64 = 1000;

/// Commands in a row before messages have their turn.
const COMMANDS: usize = 16;

/// See the module. The first socket is the front, the second the back.
pub(super) struct Engine<'a> {
    front: &'a mut dyn Relay,
    /// None if the front is both.
    back: Option<&'a mut dyn Relay>,
    capture: Option<Box<dyn Relay>>,
    control: Option<Box<dyn Relay>>,
    steering: &'a Steering,
    waits_for_full_peers: bool,
    /// From the front to the back, and the other way.
    ways: [Way; 2],
}

/// What is left when it has ended.
pub(super) struct Left {
    /// What could not be sent by then, by direction.
    pub(super) held: [Option<Message>; 2],
    pub(super) capture: Option<Box<dyn Relay>>,
    pub(super) control: Option<Box<dyn Relay>>,
}

/// One direction.
struct Way {
    is_open: bool,
    held: Option<Held>,
}

/// A message that was received and could not be sent yet.
struct Held {
    message: Message,
    size: (u64, u64),
    is_captured: bool,
}

/// Why a turn of a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There may be more to do.
    Busy,
    /// There is nothing to receive.
    Empty,
    /// The other side has no room, or none for the message that is held.
    Full,
    /// The capture socket has none.
    CaptureFull,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        front: &'a mut dyn Relay,
        back: Option<&'a mut dyn Relay>,
        capture: Option<Box<dyn Relay>>,
        control: Option<Box<dyn Relay>>,
        steering: &'a Steering,
        waits_for_full_peers: bool,
    ) -> Self {
        let is_open = |from: &dyn Relay, to: &dyn Relay| {
            receives(from.port().socket_type) && sends(to.port().socket_type)
        };
        let open = match back.as_deref() {
            Some(back) => [is_open(front, back), is_open(back, front)],
            None => [is_open(front, front), false],
        };
        let ways = open.map(|is_open| Way {
            is_open,
            held: None,
        });
        Engine {
            front,
            back,
            capture,
            control,
            steering,
            waits_for_full_peers,
            ways,
        }
    }

    /// Forwards until the end is asked for.
    pub(super) fn run(mut self) -> Left {
        // Also if a panic ends it: who waits for the end must not wait for ever.
        let _stopped = StoppedOnDrop(self.steering);
        self.each(|socket| socket.release_links());
        let mut wanted = self.steering.enter();
        loop {
            self.each(|socket| socket.tend());
            if self.is_terminated() {
                self.steering.ask(ProxyState::Stopped);
            }
            let is_idle = self.obey();
            if wanted != self.steering.wanted() {
                wanted = self.steering.enter();
            }
            if wanted.state == ProxyState::Stopped {
                return Left {
                    held: self.ways.map(|way| way.held.map(|held| held.message)),
                    capture: self.capture,
                    control: self.control,
                };
            }
            let turns = match wanted.state {
                ProxyState::Paused => [None; 2],
                _ => [0, 1].map(|from| self.ways[from].is_open.then(|| self.turn(from))),
            };
            if is_idle && !turns.contains(&Some(Turn::Busy)) && !self.arm(turns) {
                self.sleep();
            }
        }
    }

    /// Whether the context of a socket was shut down. Its events tell, of those slept on.
    fn is_terminated(&self) -> bool {
        self.sockets().any(|socket| socket.port().is_terminated())
    }

    /// Carries out what the control socket has received; whether that was everything.
    fn obey(&mut self) -> bool {
        let Some(control) = self.control.as_deref_mut() else {
            return true;
        };
        let is_rep = control.port().socket_type == SocketType::Rep;
        for _ in 0..COMMANDS {
            let Some(command) = control.take() else {
                return true;
            };
            let command = match command.frames() {
                [only] => &only[..],
                _ => &[],
            };
            let wanted = match command {
                b"PAUSE" => Some(ProxyState::Paused),
                b"RESUME" => Some(ProxyState::Running),
                b"TERMINATE" => Some(ProxyState::Stopped),
                _ => None,
            };
            if let Some(wanted) = wanted {
                // This thread forwards nothing before it looks at what is wanted: it is in effect now.
                self.steering.ask(wanted);
                self.steering.enter();
            }
            let answer = match command {
                b"STATISTICS" => self.steering.counts.message(),
                _ if is_rep => Message::default(),
                _ => continue,
            };
            // Dropped if there is no room: steering must not wait for anyone.
            let _ = control.give(answer);
        }
        false
    }

    fn side(&mut self, side: usize) -> &mut dyn Relay {
        match &mut self.back {
            Some(back) if side == 1 => *back,
            _ => self.front,
        }
    }

    /// Where messages from a side go.
    fn other(&self, side: usize) -> usize {
        match self.back {
            Some(_) => 1 - side,
            None => side,
        }
    }

    /// Forwards up to a burst of messages in one direction.
    fn turn(&mut self, from: usize) -> Turn {
        let to = self.other(from);
        let mut left = BURST;
        if let Some(held) = self.ways[from].held.take() {
            if let Err(turn) = self.deliver(from, held) {
                return turn;
            }
            left -= 1;
        }
        while left > 0 {
            if !self.side(to).has_room() {
                return Turn::Full;
            }
            if let Some(capture) = &mut self.capture {
                if !capture.has_room() {
                    return Turn::CaptureFull;
                }
            }
            let run = self.forward_run(from, left);
            if run > 0 {
                left -= run.min(left);
                continue;
            }
            let Some(message) = self.side(from).take() else {
                return Turn::Empty;
            };
            let size = measure(&message);
            self.steering.counts.received(from).add_message(size);
            let held = Held {
                message,
                size,
                is_captured: false,
            };
            if let Err(turn) = self.deliver(from, held) {
                return turn;
            }
            left -= 1;
        }
        Turn::Busy
    }

    /// Hands messages on as they are on the wire, if that is possible; how many.
    fn forward_run(&mut self, from: usize, most: u64) -> u64 {
        let capture = self.capture.as_deref_mut();
        let run = match (&mut self.back, from) {
            (Some(back), 0) => forward(self.front, *back, capture, most),
            (Some(back), _) => forward(*back, self.front, capture, most),
            (None, _) => return 0,
        };
        if run.messages > 0 {
            let counts = &self.steering.counts;
            let (received, sent) = (counts.received(from), counts.sent(1 - from));
            received.add(run.messages, run.frames, run.octets);
            sent.add(run.messages, run.frames, run.octets);
        }
        run.messages
    }

    /// Sends one message, and a copy of it to the capture socket. It is held if there is no room.
    #[inline]
    fn deliver(&mut self, from: usize, mut held: Held) -> Result<(), Turn> {
        let to = self.other(from);
        if let Some(capture) = self.capture.as_deref_mut().filter(|_| !held.is_captured) {
            match capture.give(held.message.clone()) {
                Err(error) if error.is_timeout() => {
                    self.ways[from].held = Some(held);
                    return Err(Turn::CaptureFull);
                }
                _ => held.is_captured = true,
            }
        }
        let counts = &self.steering.counts;
        let may_wait = self.waits_for_full_peers || !is_addressed(self.side(to).port().socket_type);
        match self.side(to).give(held.message) {
            Ok(()) => counts.sent(to).add_message(held.size),
            // The peer that does not read is the only one to miss it: nobody else waits.
            Err(error) if error.is_timeout() && !may_wait => add_owned(&counts.full, 1),
            Err(error) if error.is_timeout() => {
                self.ways[from].held = Some(Held {
                    message: error.into_message(),
                    ..held
                });
                return Err(Turn::Full);
            }
            // For a peer that is gone, or in no form that the other side sends.
            Err(_) => add_owned(&counts.undeliverable, 1),
        }
        Ok(())
    }

    /// Before sleep: has the events of all sockets tell of what is waited for. Whether something is there after
    /// all.
    fn arm(&mut self, turns: [Option<Turn>; 2]) -> bool {
        for (from, turn) in turns.into_iter().enumerate() {
            let to = self.other(from);
            // Without a message at hand the look for room has arranged for the event already.
            let held = self.ways[from]
                .held
                .as_ref()
                .map(|held| held.message.clone());
            let ready = match (turn, &held) {
                (Some(Turn::Empty), _) => self.side(from).arm_in(),
                (Some(Turn::Full), Some(held)) => self.side(to).arm_out(held),
                (Some(Turn::CaptureFull), Some(held)) => {
                    let capture = self.capture.as_deref_mut();
                    capture.is_some_and(|capture| capture.arm_out(held))
                }
                _ => false,
            };
            if ready {
                return true;
            }
        }
        let control = self.control.as_deref_mut();
        control.is_some_and(|control| control.arm_in())
    }

    /// Sleeps until there is something for any of the sockets, or the proxy is told something.
    fn sleep(&self) {
        let events = self.sockets().flat_map(|socket| {
            let port = socket.port();
            [port.inbound.event(), port.outbound.event()]
        });
        sleep_on(events, &self.steering.wake);
    }

    fn sockets(&self) -> impl Iterator<Item = &dyn Relay> + Clone {
        let others = [
            self.back.as_deref(),
            self.capture.as_deref(),
            self.control.as_deref(),
        ];
        std::iter::once(&*self.front).chain(others.into_iter().flatten())
    }

    fn each(&mut self, mut act: impl FnMut(&mut dyn Relay)) {
        act(self.front);
        if let Some(back) = self.back.as_deref_mut() {
            act(back);
        }
        if let Some(capture) = self.capture.as_deref_mut() {
            act(capture);
        }
        if let Some(control) = self.control.as_deref_mut() {
            act(control);
        }
    }
}

/// Sleeps until one of the events, or the wake itself, is notified. Returns at once if one has been.
fn sleep_on<'e>(events: impl Iterator<Item = &'e Event> + Clone, wake: &Arc<Wake>) {
    let begun = events
        .clone()
        .take_while(|event| event.begin_custom(Arc::clone(wake) as Arc<dyn Unpark>))
        .count();
    if events.clone().count() == begun {
        wake.0.wait(None);
    }
    for event in events.take(begun) {
        // Whichever it was, everything is looked at now.
        event.end_custom();
    }
}

struct StoppedOnDrop<'a>(&'a Steering);

impl Drop for StoppedOnDrop<'_> {
    fn drop(&mut self) {
        self.0.ask(ProxyState::Stopped);
        self.0.enter();
    }
}
