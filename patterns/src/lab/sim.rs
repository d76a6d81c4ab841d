//! The simulated network: nodes, links, time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use sinew::{Frame, Message};

use super::{Line, Trace};
use crate::common::{PeerEvent, PeerId, Port, Random, Transmit};

/// An engine with whatever the test wants around it: load that it makes, handlers, checks.
pub(crate) trait Node {
    fn handle_message(&mut self, now: Instant, port: Port, from: Option<&PeerId>, message: Message);
    fn handle_peer(&mut self, now: Instant, port: Port, event: PeerEvent);
    /// Whether it has room for messages of a port. Those that come where it has none stay in its socket.
    fn takes_messages(&self, _port: Port) -> bool {
        true
    }
    fn handle_refused(&mut self, now: Instant, transmit: Transmit);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;
    fn poll_timeout(&self) -> Option<Instant>;
    /// Ports to close and, if given, to connect anew: (port, node, port there).
    fn poll_connection(&mut self) -> Option<(Port, Option<(NodeId, Port)>)> {
        None
    }
    /// For the test to look into it.
    fn as_any(&mut self) -> &mut dyn std::any::Any;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// Who sends rubbish.
pub(crate) const STRANGER: &[u8] = &[0, 0xff, 0xff, 0xff, 0xff];

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The process is gone, and everything it knew (KW, KB).
    Kill(NodeId),
    /// It comes back, knowing nothing (RW, RB).
    Restart(NodeId),
    /// It does nothing, but its connections stand (FW, FB).
    Freeze(NodeId),
    Thaw(NodeId),
    /// Nothing arrives at this node / from this node until it heals (PT: both, AP: one).
    Deafen(NodeId),
    Mute(NodeId),
    Heal(NodeId),
    /// All its connections break (RST).
    Reset(NodeId),
    /// What it sends takes this much longer, in ms (DL, SC).
    Slow(NodeId, u64),
    /// A message that it was sent earlier arrives again, over a live connection (DU).
    Replay(NodeId),
    /// Octets that were a message once, changed at random, from a stranger and from a peer (ML).
    Rubbish(NodeId),
}

/// How often what goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Mean pause between faults.
    pub(crate) pause: Duration,
    /// How long a fault lasts at most.
    pub(crate) lasts: Duration,
    /// From here on the sun shines.
    pub(crate) ends: Duration,
    /// Whether messages are repeated and made rubbish of.
    pub(crate) hostile: bool,
}

pub(crate) struct Sim {
    start: Instant,
    now: Instant,
    random: Random,
    hosts: Vec<Host>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    agenda: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    /// What is between two nodes, if not what is between all others.
    lines: BTreeMap<[NodeId; 2], Line>,
    trace: Trace,
    pub(crate) delivered: u64,
}

struct Host {
    make: Box<dyn Fn(Instant) -> Box<dyn Node>>,
    node: Option<Box<dyn Node>>,
    frozen: bool,
    /// What arrived while it was frozen.
    pending: VecDeque<Input>,
    /// What has come and was not taken yet, for want of room.
    inbox: VecDeque<Input>,
    deaf: bool,
    mute: bool,
    slow: Duration,
    /// Which dialled connections it has, for it dials them again.
    dials: BTreeMap<Port, (NodeId, Port)>,
    /// Those that it has asked for itself, and asks for again in its next life.
    own: BTreeSet<Port>,
    /// How often it has closed what it had at a port: what was due there before is void.
    closes: BTreeMap<Port, u64>,
    /// A few messages that it was sent, to be sent again.
    heard: VecDeque<(Port, Option<PeerId>, Message)>,
    /// Grows with each life, so that events of an earlier one are void.
    life: u64,
    /// Whether it is called the same over all connections from one port, as who has a routing id.
    keeps_name: bool,
}

/// A connection. End 0 dialled.
struct Link {
    ends: [(NodeId, Port); 2],
    /// The name of end 0 at end 1.
    name: PeerId,
    /// What has not arrived yet, for each receiving end: when it may, and whether it is a greeting.
    flight: [VecDeque<(Instant, Input)>; 2],
    /// Until when its line is busy, towards each end.
    busy: [Instant; 2],
    /// Which end knows that it stands.
    up: [bool; 2],
    broken: bool,
}

#[derive(Debug, Clone)]
enum Input {
    Message(Port, Option<PeerId>, Message),
    Peer(Port, PeerEvent),
}

impl Input {
    fn port(&self) -> Port {
        match self {
            Input::Message(port, ..) | Input::Peer(port, _) => *port,
        }
    }
}

enum Event {
    Dial {
        from: NodeId,
        life: u64,
        port: Port,
        closes: u64,
    },
    Arrive {
        link: u64,
        end: usize,
    },
    Down {
        node: NodeId,
        life: u64,
        port: Port,
        closes: u64,
        input: Input,
    },
    Fault(Fault),
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        let start = Instant::now();
        Sim {
            start,
            now: start,
            random: Random::new(seed),
            hosts: Vec::new(),
            links: BTreeMap::new(),
            next_link: 1,
            agenda: BTreeMap::new(),
            next_event: 0,
            lines: BTreeMap::new(),
            trace: Trace::new(),
            delivered: 0,
        }
    }

    /// When it began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// A node, made anew at each restart.
    pub(crate) fn add(&mut self, make: impl Fn(Instant) -> Box<dyn Node> + 'static) -> NodeId {
        let node = make(self.now);
        self.hosts.push(Host {
            make: Box::new(make),
            node: Some(node),
            frozen: false,
            pending: VecDeque::new(),
            inbox: VecDeque::new(),
            deaf: false,
            mute: false,
            slow: Duration::ZERO,
            dials: BTreeMap::new(),
            own: BTreeSet::new(),
            closes: BTreeMap::new(),
            heard: VecDeque::new(),
            life: 0,
            keeps_name: false,
        });
        NodeId(self.hosts.len() - 1)
    }

    /// From now on this node is called the same over all connections from one port.
    pub(crate) fn keep_name(&mut self, id: NodeId) {
        self.hosts[id.0].keeps_name = true;
    }

    /// `from` connects its port to a bound port (a ROUTER's), and again whenever that breaks.
    pub(crate) fn connect(&mut self, from: NodeId, port: Port, to: NodeId, to_port: Port) {
        self.hosts[from.0].dials.insert(port, (to, to_port));
        self.dial_soon(from, port);
    }

    /// From now on this line is between two nodes, in place of delays by chance.
    pub(crate) fn lay(&mut self, one: NodeId, other: NodeId, line: Line) {
        self.lines.insert([one.min(other), one.max(other)], line);
    }

    fn line(&self, ends: [(NodeId, Port); 2]) -> Option<Line> {
        let [one, other] = ends.map(|(node, _)| node);
        self.lines.get(&[one.min(other), one.max(other)]).copied()
    }

    /// What has happened so far.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    fn after(&self) -> Duration {
        self.now - self.start
    }

    /// The node, if it is alive.
    pub(crate) fn node<N: 'static>(&mut self, id: NodeId) -> Option<&mut N> {
        let node = self.hosts[id.0].node.as_mut()?;
        node.as_any().downcast_mut()
    }

    pub(crate) fn fault_at(&mut self, after: Duration, fault: Fault) {
        let at = self.start + after;
        self.schedule(at, Event::Fault(fault));
    }

    /// Faults by chance, for these nodes.
    pub(crate) fn weather(&mut self, weather: Weather, nodes: &[NodeId]) {
        let mut at = Duration::ZERO;
        loop {
            at += self.random.up_to(weather.pause * 2);
            if at >= weather.ends {
                break;
            }
            let node = nodes[self.random.below(nodes.len() as u64) as usize];
            let until = (at + self.random.up_to(weather.lasts)).min(weather.ends);
            let hostile = if weather.hostile { 9 } else { 7 };
            let (fault, undo) = match self.random.below(hostile) {
                0 => (Fault::Kill(node), Some(Fault::Restart(node))),
                1 => (Fault::Freeze(node), Some(Fault::Thaw(node))),
                2 => (Fault::Deafen(node), Some(Fault::Heal(node))),
                3 => (Fault::Mute(node), Some(Fault::Heal(node))),
                4 => (Fault::Reset(node), None),
                5 => {
                    let extra = self.random.below(500);
                    (Fault::Slow(node, extra), Some(Fault::Slow(node, 0)))
                }
                6 => {
                    // Both ways.
                    self.fault_at(at, Fault::Mute(node));
                    (Fault::Deafen(node), Some(Fault::Heal(node)))
                }
                7 => (Fault::Replay(node), None),
                _ => (Fault::Rubbish(node), None),
            };
            self.fault_at(at, fault);
            if let Some(undo) = undo {
                self.fault_at(until, undo);
            }
        }
        for node in nodes {
            for undo in [
                Fault::Heal(*node),
                Fault::Thaw(*node),
                Fault::Restart(*node),
                Fault::Slow(*node, 0),
            ] {
                self.fault_at(weather.ends, undo);
            }
        }
    }

    /// Lets time pass. Returns a number that tells this run from others.
    pub(crate) fn run(&mut self, span: Duration) -> u64 {
        let end = self.start + span;
        for id in 0..self.hosts.len() {
            self.drain(NodeId(id));
        }
        let mut turns_at_once = 0u32;
        loop {
            let timer = self.next_timer();
            let event = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timer.map(|(at, _)| at).into_iter().chain(event).min() else {
                break;
            };
            if next > end {
                break;
            }
            turns_at_once = if next > self.now {
                0
            } else {
                turns_at_once + 1
            };
            assert!(
                turns_at_once < 100_000,
                "time stands still: an engine asks for timers for ever"
            );
            self.now = self.now.max(next);
            if event == Some(next) {
                let Some((_, event)) = self.agenda.pop_first() else {
                    break;
                };
                self.happen(event);
            } else if let Some((_, id)) = timer {
                self.trace.timer(self.after(), id);
                let now = self.now;
                if let Some(node) = &mut self.hosts[id.0].node {
                    node.handle_timeout(now);
                }
                self.drain(id);
            }
        }
        self.now = end;
        self.trace.digest()
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.agenda.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    fn next_timer(&self) -> Option<(Instant, NodeId)> {
        let awake = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| !host.frozen);
        awake
            .filter_map(|(id, host)| Some((host.node.as_ref()?.poll_timeout()?, NodeId(id))))
            .min()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Dial {
                from,
                life,
                port,
                closes,
            } => {
                if self.closes(from, port) == closes {
                    self.dial(from, life, port);
                }
            }
            Event::Arrive { link, end } => self.arrive(link, end),
            Event::Down {
                node,
                life,
                port,
                closes,
                input,
            } => {
                if self.hosts[node.0].life == life && self.closes(node, port) == closes {
                    self.give(node, input);
                }
            }
            Event::Fault(fault) => {
                self.trace.fault(self.after(), fault);
                self.strike(fault);
            }
        }
    }

    fn dial_soon(&mut self, from: NodeId, port: Port) {
        let life = self.hosts[from.0].life;
        let at =
            self.now + Duration::from_millis(1) + self.random.up_to(Duration::from_millis(100));
        self.schedule_dial(at, from, life, port);
    }

    fn schedule_dial(&mut self, at: Instant, from: NodeId, life: u64, port: Port) {
        let closes = self.closes(from, port);
        let dial = Event::Dial {
            from,
            life,
            port,
            closes,
        };
        self.schedule(at, dial);
    }

    fn closes(&self, node: NodeId, port: Port) -> u64 {
        let closes = &self.hosts[node.0].closes;
        closes.get(&port).copied().unwrap_or_default()
    }

    fn dial(&mut self, from: NodeId, life: u64, port: Port) {
        let host = &self.hosts[from.0];
        let Some(&(to, to_port)) = host.dials.get(&port) else {
            return;
        };
        if host.life != life || host.node.is_none() {
            return;
        }
        let other = &self.hosts[to.0];
        // A frozen process does not accept, and a partition lets nothing through.
        if other.node.is_none()
            || other.frozen
            || other.deaf
            || other.mute
            || host.frozen
            || host.deaf
            || host.mute
        {
            self.dial_soon(from, port);
            return;
        }
        let id = self.next_link;
        self.next_link += 1;
        let mut name = vec![0];
        match host.keeps_name {
            true => name.extend(format!("node {} port {}", from.0, port.0).bytes()),
            false => name.extend_from_slice(&(id as u32).to_be_bytes()),
        }
        let name = PeerId::from(name);
        let mut link = Link {
            ends: [(from, port), (to, to_port)],
            name: name.clone(),
            flight: [VecDeque::new(), VecDeque::new()],
            busy: [self.now; 2],
            up: [false; 2],
            broken: false,
        };
        let greetings = [
            Input::Peer(port, PeerEvent::Up { peer: None }),
            Input::Peer(to_port, PeerEvent::Up { peer: Some(name) }),
        ];
        let keeps_name = self.hosts[from.0].keeps_name;
        let line = self.line(link.ends);
        for (end, greeting) in greetings.into_iter().enumerate() {
            let mut at = self.now
                + match line {
                    Some(line) => line.delay,
                    None => self.random.up_to(Duration::from_millis(3)),
                };
            if end == 1 && keeps_name {
                // A ROUTER takes nobody of a name before it is told that the last one of that name is gone.
                at += NOTICED;
            }
            link.flight[end].push_back((at, greeting));
            self.schedule(at, Event::Arrive { link: id, end });
        }
        self.links.insert(id, link);
    }

    /// The first message in flight to one end may arrive.
    fn arrive(&mut self, id: u64, end: usize) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (node, _) = link.ends[end];
        let (sender, _) = link.ends[1 - end];
        // Healing makes an event for everything that was held back.
        if self.hosts[node.0].deaf || self.hosts[sender.0].mute {
            return;
        }
        let Some((at, _)) = link.flight[end].front() else {
            return;
        };
        if *at > self.now {
            return;
        }
        let Some((_, input)) = link.flight[end].pop_front() else {
            return;
        };
        if matches!(input, Input::Peer(_, PeerEvent::Up { .. })) {
            link.up[end] = true;
        }
        self.give(node, input);
    }

    fn give(&mut self, id: NodeId, input: Input) {
        let host = &mut self.hosts[id.0];
        if host.frozen {
            host.pending.push_back(input);
            return;
        }
        let Some(node) = &mut host.node else {
            return;
        };
        // While there is no room it is told of losses at once, which may make some, and again in their order.
        if let (Input::Peer(port, event @ PeerEvent::Down { .. }), false) =
            (&input, host.inbox.is_empty())
        {
            self.trace.peer(self.now - self.start, id, *port, event);
            node.handle_peer(self.now, *port, event.clone());
        }
        host.inbox.push_back(input);
        self.drain(id);
    }

    /// Gives a node the next of what has come; false if there is nothing, or no room for it.
    fn take(&mut self, id: NodeId) -> bool {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let (Some(node), Some(next)) = (&mut host.node, host.inbox.front()) else {
            return false;
        };
        if matches!(next, Input::Message(port, ..) if !node.takes_messages(*port)) {
            return false;
        }
        let Some(input) = host.inbox.pop_front() else {
            return false;
        };
        self.delivered += 1;
        match input {
            Input::Message(port, from, message) => {
                if host.heard.len() == 16 {
                    host.heard.pop_front();
                }
                host.heard.push_back((port, from.clone(), message.clone()));
                let after = now - self.start;
                self.trace.message(after, id, port, from.as_ref(), &message);
                node.handle_message(now, port, from.as_ref(), message);
            }
            Input::Peer(port, event) => {
                self.trace.peer(now - self.start, id, port, &event);
                node.handle_peer(now, port, event);
            }
        }
        true
    }

    /// Sends what a node wants sent, closes and opens what it wants closed and opened, and gives it what it has room for.
    fn drain(&mut self, id: NodeId) {
        let now = self.now;
        loop {
            let host = &mut self.hosts[id.0];
            if host.frozen {
                return;
            }
            let Some(node) = &mut host.node else {
                return;
            };
            if let Some(transmit) = node.poll_transmit(now) {
                self.transmit(id, transmit);
                continue;
            }
            let Some((port, to)) = node.poll_connection() else {
                match self.take(id) {
                    true => continue,
                    false => return,
                }
            };
            self.trace.closed(now - self.start, id, port);
            host.dials.remove(&port);
            // Whoever closes a socket does not hear of it any more.
            *host.closes.entry(port).or_default() += 1;
            host.pending.retain(|input| input.port() != port);
            host.inbox.retain(|input| input.port() != port);
            let own = self.links_of(id, Some(port));
            for link in own {
                self.break_link(link, Some(id));
            }
            if let Some((to, to_port)) = to {
                self.hosts[id.0].own.insert(port);
                self.connect(id, port, to, to_port);
            }
        }
    }

    fn transmit(&mut self, id: NodeId, transmit: Transmit) {
        let Transmit { port, to, message } = &transmit;
        let link = self.links.iter().find(|(_, link)| match to {
            None => link.ends[0] == (id, *port) && link.up[0] && !link.broken,
            Some(to) => {
                link.ends[1] == (id, *port) && link.up[1] && !link.broken && link.name == *to
            }
        });
        let Some((&link_id, _)) = link else {
            let now = self.now;
            self.trace
                .refused(now - self.start, id, *port, to.as_ref(), message);
            if let Some(node) = &mut self.hosts[id.0].node {
                node.handle_refused(now, transmit);
            }
            return;
        };
        let end = usize::from(to.is_none());
        let message = message.clone();
        let line = self.links.get(&link_id).and_then(|l| self.line(l.ends));
        let chance = match line {
            Some(_) => Duration::ZERO,
            None => Duration::from_micros(100) + self.random.up_to(Duration::from_millis(3)),
        };
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let carried = line.map(|line| line.carry(self.now, &mut link.busy[end], &message));
        let earliest = carried.unwrap_or(self.now) + chance + self.hosts[id.0].slow;
        let at = link.flight[end]
            .back()
            .map_or(earliest, |(at, _)| earliest.max(*at));
        let from = (end == 1).then(|| link.name.clone());
        let input = Input::Message(link.ends[end].1, from, message);
        link.flight[end].push_back((at, input));
        self.schedule(at, Event::Arrive { link: link_id, end });
    }

    fn links_of(&self, id: NodeId, port: Option<Port>) -> Vec<u64> {
        let touches = |end: &(NodeId, Port)| end.0 == id && port.map_or(true, |port| port == end.1);
        let links = self.links.iter();
        links
            .filter(|(_, link)| link.ends.iter().any(touches))
            .map(|(id, _)| *id)
            .collect()
    }

    /// What is in flight is lost; the ends hear of it, but for one that has closed it itself.
    fn break_link(&mut self, id: u64, silent: Option<NodeId>) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        for end in 0..2 {
            let (node, port) = link.ends[end];
            if silent == Some(node) {
                continue;
            }
            let peer = (end == 1).then(|| link.name.clone());
            if link.up[end] {
                // Sometimes at once, sometimes after a while.
                let at = self.now + self.random.up_to(NOTICED);
                let life = self.hosts[node.0].life;
                let down = Event::Down {
                    node,
                    life,
                    port,
                    closes: self.closes(node, port),
                    input: Input::Peer(port, PeerEvent::Down { peer }),
                };
                self.schedule(at, down);
            }
            if end == 0 {
                // After it was told.
                let at = self.now
                    + Duration::from_millis(51)
                    + self.random.up_to(Duration::from_millis(100));
                let life = self.hosts[node.0].life;
                self.schedule_dial(at, node, life, port);
            }
        }
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(id) => {
                if self.hosts[id.0].node.take().is_none() {
                    return;
                }
                let host = &mut self.hosts[id.0];
                host.life += 1;
                host.frozen = false;
                host.pending.clear();
                host.inbox.clear();
                for port in std::mem::take(&mut host.own) {
                    host.dials.remove(&port);
                }
                for link in self.links_of(id, None) {
                    self.break_link(link, Some(id));
                }
            }
            Fault::Restart(id) => {
                let host = &mut self.hosts[id.0];
                if host.node.is_some() {
                    return;
                }
                host.life += 1;
                host.node = Some((host.make)(self.now));
                let ports: Vec<Port> = host.dials.keys().copied().collect();
                for port in ports {
                    self.dial_soon(id, port);
                }
                self.drain(id);
            }
            Fault::Freeze(id) => self.hosts[id.0].frozen = self.hosts[id.0].node.is_some(),
            Fault::Thaw(id) => {
                self.hosts[id.0].frozen = false;
                while !self.hosts[id.0].frozen {
                    let Some(input) = self.hosts[id.0].pending.pop_front() else {
                        break;
                    };
                    self.give(id, input);
                }
            }
            Fault::Deafen(id) => self.hosts[id.0].deaf = true,
            Fault::Mute(id) => self.hosts[id.0].mute = true,
            Fault::Heal(id) => {
                let host = &mut self.hosts[id.0];
                host.deaf = false;
                host.mute = false;
                // Half of the connections did not survive it.
                for link in self.links_of(id, None) {
                    if self.random.below(2) == 0 {
                        self.break_link(link, None);
                    } else {
                        self.release(link);
                    }
                }
            }
            Fault::Reset(id) => {
                for link in self.links_of(id, None) {
                    self.break_link(link, None);
                }
            }
            Fault::Slow(id, extra) => self.hosts[id.0].slow = Duration::from_millis(extra),
            Fault::Replay(id) => {
                if let Some(input) = self.again(id) {
                    self.give(id, input);
                }
            }
            Fault::Rubbish(id) => {
                if let Some(Input::Message(port, from, message)) = self.again(id) {
                    let message = self.rubbish(message);
                    // From a stranger, where there can be one.
                    let from = from.map(|_| PeerId::from(STRANGER));
                    self.give(id, Input::Message(port, from, message));
                }
            }
        }
    }

    /// Everything that was held back on a link arrives.
    fn release(&mut self, id: u64) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let counts = [link.flight[0].len(), link.flight[1].len()];
        for (end, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                let at = self.now + Duration::from_millis(1);
                self.schedule(at, Event::Arrive { link: id, end });
            }
            // Those that are not due yet have events of their own; the order stays.
        }
    }

    /// A message that a node was sent earlier, over a connection that stands.
    fn again(&mut self, id: NodeId) -> Option<Input> {
        let count = self.hosts[id.0].heard.len() as u64;
        let index = self.random.below(count) as usize;
        let (port, from, message) = self.hosts[id.0].heard.get(index)?.clone();
        let stands = self.links.values().any(|link| match &from {
            Some(from) => link.ends[1] == (id, port) && link.up[1] && link.name == *from,
            None => link.ends[0] == (id, port) && link.up[0],
        });
        stands.then_some(Input::Message(port, from, message))
    }

    fn rubbish(&mut self, message: Message) -> Message {
        let mut frames = message.into_frames();
        for _ in 0..=self.random.below(3) {
            let at = self.random.below(frames.len() as u64) as usize;
            match self.random.below(5) {
                0 if frames.len() > 1 => drop(frames.remove(at)),
                1 => frames.insert(at, Frame::default()),
                2 => frames.insert(at, frames[at].clone()),
                3 => frames.truncate(at + 1),
                _ => {
                    let octets = frames[at].to_vec();
                    frames[at] = crate::common::fuzz::mutated(&octets, &mut self.random).into();
                }
            }
        }
        Message::multipart(frames)
    }
}

impl Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim")
            .field("after", &(self.now - self.start))
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

/// Within this time the loss of a connection is noticed.
const NOTICED: Duration = Duration::from_millis(50);
