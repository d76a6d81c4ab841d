//! SUB-01: the same number makes the same run on every platform. Toys that know nothing of patterns, so that no change of
//! those changes their runs, do all that can be done in the laboratory; what comes of it is written down in `digests.txt`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sinew::Message;

use super::{Fault, Line, Node, NodeId, Sim, Weather};
use crate::common::{PeerEvent, PeerId, Port, Random, Transmit};

/// Sends what it draws when it draws, to whom it knows, and answers some of what comes.
struct Toy {
    random: Random,
    next: Instant,
    /// Who is bound, if this one connects.
    hub: Option<NodeId>,
    peers: Vec<PeerId>,
    transmits: VecDeque<Transmit>,
    connections: VecDeque<(Port, Option<(NodeId, Port)>)>,
    /// Until when it has no room.
    full: Option<Instant>,
    /// What it was told so far, folded.
    seen: u64,
}

impl Toy {
    fn new(seed: u64, now: Instant, hub: Option<NodeId>) -> Self {
        Toy {
            random: Random::new(seed),
            next: now,
            hub,
            peers: Vec::new(),
            transmits: VecDeque::new(),
            connections: VecDeque::new(),
            full: None,
            seen: 0,
        }
    }

    fn saw(&mut self, what: u64) {
        self.seen = self.seen.rotate_left(7) ^ what;
    }

    /// A few frames: what it has seen, something drawn in each way there is, and octets.
    fn message(&mut self) -> Message {
        let fraction = (self.random.fraction() * 1e6) as u64;
        let mut frames = vec![
            self.seen.to_be_bytes().to_vec(),
            fraction.to_be_bytes().to_vec(),
        ];
        for _ in 0..self.random.below(3) {
            let mut octets = vec![0; self.random.below(300) as usize];
            octets.fill_with(|| self.random.next_u64() as u8);
            frames.push(octets);
        }
        Message::multipart(frames)
    }

    fn send(&mut self, to: Option<PeerId>) {
        let message = self.message();
        self.transmits.push_back(Transmit {
            port: Port(0),
            to,
            message,
        });
    }
}

impl Node for Toy {
    fn handle_message(&mut self, now: Instant, _: Port, from: Option<&PeerId>, message: Message) {
        self.saw(message.byte_len() as u64);
        for frame in message.frames() {
            self.saw(frame.first().copied().unwrap_or_default().into());
        }
        match self.random.below(8) {
            0..4 => self.send(from.cloned()),
            4 => self.full = Some(now + self.random.up_to(Duration::from_millis(20))),
            _ => {}
        }
    }

    fn handle_peer(&mut self, _: Instant, port: Port, event: PeerEvent) {
        self.saw(port.0.into());
        match event {
            PeerEvent::Up { peer: Some(peer) } => self.peers.push(peer),
            // Others are sent to when they are gone.
            PeerEvent::Down { peer: Some(gone) } if self.random.below(2) == 0 => {
                self.peers.retain(|peer| *peer != gone);
            }
            _ => {}
        }
    }

    fn takes_messages(&self, _: Port) -> bool {
        self.full.is_none()
    }

    fn handle_refused(&mut self, _: Instant, transmit: Transmit) {
        self.saw(transmit.message.byte_len() as u64);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.full.is_some_and(|until| now >= until) {
            self.full = None;
        }
        if now < self.next {
            return;
        }
        self.next = now + self.random.up_to(Duration::from_millis(9)) + Duration::from_nanos(1);
        let to = self.random.below(self.peers.len() as u64) as usize;
        let to = self.peers.get(to).cloned();
        if self.hub.is_some() || to.is_some() {
            self.send(to);
        }
        let Some(hub) = self.hub else {
            return;
        };
        match self.random.below(20) {
            0 => self.connections.push_back((Port(1), Some((hub, Port(0))))),
            1 => self.connections.push_back((Port(1), None)),
            _ => {}
        }
    }

    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.full.map_or(self.next, |full| full.min(self.next)))
    }

    fn poll_connection(&mut self) -> Option<(Port, Option<(NodeId, Port)>)> {
        self.connections.pop_front()
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// A hub and three who connect to it: one whose name stays, and one behind a line. All faults befall each, at times that are
/// fixed, and others by chance.
fn run(seed: u64) -> Sim {
    let mut sim = Sim::new(seed);
    let hub = sim.add(move |now| Box::new(Toy::new(seed ^ 1 << 40, now, None)));
    let mut nodes = vec![hub];
    for number in 2..5u64 {
        nodes.push(sim.add(move |now| Box::new(Toy::new(seed ^ number << 40, now, Some(hub)))));
    }
    sim.keep_name(nodes[1]);
    let line = Line {
        bandwidth: 40_000,
        delay: Duration::from_millis(7),
    };
    sim.lay(nodes[3], hub, line);
    for node in &nodes[1..] {
        sim.connect(*node, Port(0), hub, Port(0));
    }
    for (turn, node) in (0u64..).zip(&nodes) {
        let faults = [
            Fault::Replay(*node),
            Fault::Rubbish(*node),
            Fault::Slow(*node, 30),
            Fault::Freeze(*node),
            Fault::Thaw(*node),
            Fault::Deafen(*node),
            Fault::Mute(*node),
            Fault::Heal(*node),
            Fault::Reset(*node),
            Fault::Kill(*node),
            Fault::Restart(*node),
        ];
        for (step, fault) in (0u64..).zip(faults) {
            let at = Duration::from_millis(200 + 400 * turn + 30 * step);
            sim.fault_at(at, fault);
        }
    }
    let weather = Weather {
        pause: Duration::from_millis(60),
        lasts: Duration::from_millis(90),
        ends: Duration::from_millis(2200),
        hostile: true,
    };
    sim.weather(weather, &nodes);
    sim.run(Duration::from_millis(2500));
    sim
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;
    use std::path::Path;

    use super::super::trace::{Kind, FAULTS};
    use super::super::{number, Trace};
    use super::*;

    const SEEDS: u64 = 16;

    /// See the module. Whoever changes the laboratory on purpose writes them anew: `PATTERNS_DIGESTS=1`.
    #[test]
    fn runs_are_the_same_on_every_platform() {
        let found = (0..SEEDS).fold(String::new(), |mut lines, seed| {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{seed} {:016x}", run(seed).trace().digest());
            lines
        });
        if number("PATTERNS_DIGESTS").is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lab/digests.txt");
            return fs::write(path, found).unwrap();
        }
        let known = include_str!("digests.txt").replace("\r\n", "\n");
        assert_eq!(found, known);
    }

    /// The runs that are compared have everything in them.
    #[test]
    fn runs_have_everything_in_them() {
        let happened = [
            Kind::Timer,
            Kind::Message,
            Kind::Up,
            Kind::Down,
            Kind::Refused,
            Kind::Closed,
        ];
        let faults = (0..FAULTS).map(Kind::Fault);
        let kinds: Vec<Kind> = happened.into_iter().chain(faults).collect();
        let mut digests: Vec<u64> = Vec::new();
        for seed in 0..SEEDS {
            let sim = run(seed);
            let counts = |trace: &Trace| trace.counts().keys().copied().collect::<Vec<_>>();
            assert_eq!(counts(sim.trace()), kinds, "seed {seed}");
            assert!(sim.delivered > 500, "seed {seed}: {}", sim.delivered);
            digests.push(sim.trace().digest());
        }
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len() as u64, SEEDS, "each is a run of its own");
    }
}
