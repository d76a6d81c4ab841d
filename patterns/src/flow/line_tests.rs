//! FLW-06: credit over a line that has a bandwidth and a delay, against the same messages without it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sinew::Message;

use super::*;
use crate::common::{Engine, PeerEvent, PeerId, Port, Transmit};
use crate::lab::{Line, Node, Sim};

/// What goes over the line, and how it is consumed.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Octets of each message.
    size: u64,
    messages: u64,
    /// `None`: nobody counts credit.
    window: Option<u64>,
    /// How long each message is at its consumer.
    consumes: Duration,
}

/// What became of it.
#[derive(Debug, Default)]
struct Seen {
    received: u64,
    /// When the first message was sent, and the last one came.
    first: Option<Instant>,
    last: Option<Instant>,
    /// Octets that were held at once at most.
    most: u64,
    grants: u64,
}

/// Sends all it has as soon as it may.
struct Source {
    load: Load,
    outlet: CreditOutlet,
    left: u64,
    up: bool,
    seen: Rc<RefCell<Seen>>,
}

impl Source {
    fn next(&mut self, now: Instant) -> Option<Transmit> {
        if self.left == 0 {
            return None;
        }
        let message = Message::from(vec![0; self.load.size as usize]);
        let transmit = match self.load.window {
            None if self.up => Some(Transmit {
                port: Port(0),
                to: None,
                message,
            }),
            None => None,
            Some(_) => self.outlet.try_transmit(message).ok(),
        };
        if transmit.is_some() {
            self.left -= 1;
            self.seen.borrow_mut().first.get_or_insert(now);
        }
        transmit
    }
}

impl Node for Source {
    fn handle_message(&mut self, now: Instant, port: Port, from: Option<&PeerId>, grant: Message) {
        self.outlet.handle_message(now, port, from, grant);
        assert_eq!(self.outlet.counters().malformed, 0);
    }
    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent) {
        self.up = matches!(event, PeerEvent::Up { .. });
        self.outlet.handle_peer(now, port, event);
    }
    fn handle_refused(&mut self, _: Instant, transmit: Transmit) {
        panic!("the line stands: {transmit:?}");
    }
    fn handle_timeout(&mut self, _: Instant) {}
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        while self.outlet.poll_event().is_some() {}
        self.next(now)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// Consumes one message after the other.
struct Sink {
    load: Load,
    inlet: CreditInlet,
    held: VecDeque<Delivery>,
    /// When it is done with the first of those.
    done: Option<Instant>,
    seen: Rc<RefCell<Seen>>,
}

impl Sink {
    /// After everything that happens.
    fn after(&mut self, now: Instant) {
        let mut seen = self.seen.borrow_mut();
        while let Some(InletEvent::Delivery(delivery)) = self.inlet.poll_event() {
            seen.received += 1;
            seen.last = Some(now);
            self.held.push_back(delivery);
        }
        let held: u64 = (self.held.iter())
            .map(|delivery| delivery.message.byte_len() as u64)
            .sum();
        seen.most = seen.most.max(held);
        let window = self.load.window.unwrap_or_default();
        assert!(held <= window.max(self.load.size), "{held} of {window}");
        assert!(self.inlet.held() <= window, "{held} of {window}");
        assert_eq!(self.inlet.counters().malformed, 0);
        seen.grants = self.inlet.counters().grants;
        drop(seen);
        if self.load.consumes.is_zero() {
            self.consume();
        } else if self.done.is_none() && !self.held.is_empty() {
            self.done = Some(now + self.load.consumes);
        }
    }

    fn consume(&mut self) {
        while let Some(delivery) = self.held.pop_front() {
            self.inlet.handle_consumed(&delivery);
            if !self.load.consumes.is_zero() {
                return;
            }
        }
    }
}

impl Node for Sink {
    fn handle_message(&mut self, now: Instant, port: Port, from: Option<&PeerId>, m: Message) {
        match self.load.window {
            Some(_) => {
                self.inlet.handle_message(now, port, from, m);
                self.after(now);
            }
            None => {
                let mut seen = self.seen.borrow_mut();
                seen.received += 1;
                seen.last = Some(now);
            }
        }
    }
    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent) {
        if self.load.window.is_some() {
            self.inlet.handle_peer(now, port, event);
        }
    }
    fn handle_refused(&mut self, _: Instant, transmit: Transmit) {
        panic!("the line stands: {transmit:?}");
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.inlet.handle_timeout(now);
        if self.done.is_some_and(|done| now >= done) {
            self.done = None;
            self.consume();
            self.after(now);
        }
    }
    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit> {
        self.inlet.poll_transmit()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let done = self.done.into_iter();
        done.chain(self.inlet.poll_timeout()).min()
    }
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// All of it goes over the line: how long that took, from the first message to the last.
fn carried(line: Line, load: Load) -> (Duration, Seen) {
    let mut sim = Sim::new(1);
    let seen = Rc::<RefCell<Seen>>::default();
    let shared = Rc::clone(&seen);
    let sink = sim.add(move |_| {
        Box::new(Sink {
            load,
            inlet: CreditInlet::new(load.window.unwrap_or(1)),
            held: VecDeque::new(),
            done: None,
            seen: Rc::clone(&shared),
        })
    });
    let shared = Rc::clone(&seen);
    let source = sim.add(move |_| {
        Box::new(Source {
            seen: Rc::clone(&shared),
            load,
            outlet: CreditOutlet::new(),
            left: load.messages,
            up: false,
        })
    });
    sim.lay(source, sink, line);
    sim.connect(source, Port(0), sink, Port(0));
    // Virtual, so that it costs nothing to wait for the slowest.
    sim.run(Duration::from_secs(100_000));
    drop(sim);
    let seen = Rc::into_inner(seen).expect("all nodes are gone");
    let seen = seen.into_inner();
    assert_eq!(seen.received, load.messages, "{line:?} {load:?}");
    let (first, last) = seen.first.zip(seen.last).expect("they came");
    (last - first, seen)
}

/// How much of the throughput without credit there is with it, and what was seen.
fn share(line: Line, size: u64, window: u64) -> (f64, Seen) {
    // The beginning is the same for both, and does not count among so many.
    let messages = (line.product().max(window) * 12 / size).max(50);
    let load = Load {
        size,
        messages,
        window: None,
        consumes: Duration::ZERO,
    };
    let (without, _) = carried(line, load);
    let (with, seen) = carried(
        line,
        Load {
            window: Some(window),
            ..load
        },
    );
    (without.as_secs_f64() / with.as_secs_f64(), seen)
}

/// From a line of a machine to itself to one around the world: octets a second, and microseconds in one direction.
const LINES: [(u64, u64); 7] = [
    (1_250_000_000, 50),
    (1_250_000_000, 500),
    (125_000_000, 250),
    (125_000_000, 10_000),
    (12_500_000, 5000),
    (1_250_000, 20_000),
    (125_000, 150_000),
];

fn lines() -> impl Iterator<Item = Line> {
    LINES.iter().map(|(bandwidth, micros)| Line {
        bandwidth: *bandwidth,
        delay: Duration::from_micros(*micros),
    })
}

/// With a window of bandwidth × round trip, and messages of a 64th of it at most, no less than 95 in 100 of what goes without
/// credit; and with half of that window not much more than half, so that this finds something.
#[test]
fn a_window_of_bandwidth_and_delay_is_enough() {
    for line in lines() {
        let window = line.product();
        for parts in [64, 100, 500, 2000] {
            let size = (window / parts).max(1);
            let (found, seen) = share(line, size, window);
            assert!(found >= 0.95, "{line:?}, {size} octets: {found:.3}");
            assert!(found <= 1.001, "{line:?}, {size} octets: {found:.3}");
            assert!(seen.most <= window);
            let (found, _) = share(line, size, window / 2);
            assert!(found < 0.55, "{line:?}, {size} octets: {found:.3}");
        }
    }
}

/// Of larger messages two have to fit in besides, whatever their size.
#[test]
fn larger_messages_want_room_for_two_besides() {
    for line in lines() {
        for percent in [2, 7, 30, 100, 170, 300] {
            let size = line.product() * percent / 100;
            let window = line.product() + 2 * size;
            let (found, seen) = share(line, size, window);
            assert!(found >= 0.95, "{line:?}, {size} octets: {found:.3}");
            assert!(seen.most <= window);
        }
    }
}

/// Who consumes half as fast as the line brings it holds up to a window, never more, and is never without anything to do.
#[test]
fn a_slow_consumer_holds_a_window_at_most() {
    for line in lines() {
        let window = line.product();
        let size = window / 50;
        let load = Load {
            size,
            messages: 2000,
            window: Some(window),
            consumes: 2 * line.takes_octets(size),
        };
        let (took, seen) = carried(line, load);
        assert!(seen.most <= window && seen.most > window / 4, "{seen:?}");
        // All but the first round trip is the consumer's.
        let least = load.consumes * (load.messages as u32 - window.div_ceil(size) as u32);
        assert!(took >= least, "{took:?}, at least {least:?}");
        let most = load.consumes * load.messages as u32;
        assert!(took <= most + line.delay * 5, "{took:?}, at most {most:?}");
    }
}

/// Grants are few: one for each 32nd of the window.
#[test]
fn grants_are_few() {
    for line in lines() {
        let window = line.product();
        let size = (window / 640).max(1);
        let load = Load {
            size,
            messages: 6400,
            window: Some(window),
            consumes: Duration::ZERO,
        };
        let (took, seen) = carried(line, load);
        // And what is left after each pause, and the window at the beginning.
        let pauses = took.as_millis() as u64 / 10 + 2;
        let most = size * load.messages / (window / 32) + pauses;
        assert!(seen.grants <= most, "{line:?}: {} of {most}", seen.grants);
    }
}
