//! What tells one run from another: a number that follows from all that happens, in its order, and from nothing else.
//!
//! SUB-01 asks for the same number on all platforms. So it is made of octets and of numbers of 64 bits whose order of
//! octets is given, and not by the `Hash` of the standard library, which writes lengths as wide as an address, numbers as
//! the processor has them, and may be another one in the next release. FNV-1a (Fowler, Noll, Vo 1991): a change anywhere
//! changes it, and nobody picks what goes in.

use std::collections::BTreeMap;
use std::time::Duration;

use sinew::{Frame, Message};

use super::{Fault, NodeId};
use crate::common::{PeerEvent, PeerId, Port};

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    digest: u64,
    /// How often each kind of thing has happened.
    counts: BTreeMap<Kind, u64>,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Timer,
    Message,
    Up,
    Down,
    /// What it wanted sent was not.
    Refused,
    /// It has closed a port of its own accord.
    Closed,
    /// What befell it, by [`number`].
    Fault(u64),
}

impl Trace {
    pub(crate) fn new() -> Self {
        Trace {
            digest: OFFSET,
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn timer(&mut self, after: Duration, id: NodeId) {
        self.begin(Kind::Timer, after, id);
    }

    pub(crate) fn message(
        &mut self,
        after: Duration,
        id: NodeId,
        port: Port,
        from: Option<&PeerId>,
        message: &Message,
    ) {
        self.begin(Kind::Message, after, id);
        self.on_wire(port, from, message);
    }

    pub(crate) fn refused(
        &mut self,
        after: Duration,
        id: NodeId,
        port: Port,
        to: Option<&PeerId>,
        message: &Message,
    ) {
        self.begin(Kind::Refused, after, id);
        self.on_wire(port, to, message);
    }

    pub(crate) fn peer(&mut self, after: Duration, id: NodeId, port: Port, event: &PeerEvent) {
        let (kind, peer) = match event {
            PeerEvent::Up { peer } => (Kind::Up, peer),
            PeerEvent::Down { peer } => (Kind::Down, peer),
        };
        self.begin(kind, after, id);
        self.number(port.0.into());
        self.name(peer.as_ref());
    }

    pub(crate) fn closed(&mut self, after: Duration, id: NodeId, port: Port) {
        self.begin(Kind::Closed, after, id);
        self.number(port.0.into());
    }

    pub(crate) fn fault(&mut self, after: Duration, fault: Fault) {
        let [kind, id, extra] = number(fault);
        self.begin(Kind::Fault(kind), after, NodeId(id as usize));
        self.number(extra);
    }

    /// The number.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// How often each kind of thing has happened.
    pub(crate) fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.counts
    }

    fn begin(&mut self, kind: Kind, after: Duration, id: NodeId) {
        *self.counts.entry(kind).or_default() += 1;
        self.number(match kind {
            Kind::Timer => 0,
            Kind::Message => 1,
            Kind::Up => 2,
            Kind::Down => 3,
            Kind::Refused => 4,
            Kind::Closed => 5,
            Kind::Fault(number) => 6 + number,
        });
        self.number(after.as_secs());
        self.number(after.subsec_nanos().into());
        self.number(id.0 as u64);
    }

    fn on_wire(&mut self, port: Port, peer: Option<&PeerId>, message: &Message) {
        self.number(port.0.into());
        self.name(peer);
        self.number(message.frames().len() as u64);
        for frame in message.frames() {
            self.text(Frame::as_slice(frame));
        }
    }

    fn name(&mut self, peer: Option<&PeerId>) {
        self.number(u64::from(peer.is_some()));
        self.text(peer.map_or(&[], PeerId::as_bytes));
    }

    /// Behind its length, so that no two rows of texts are the same octets.
    fn text(&mut self, octets: &[u8]) {
        self.number(octets.len() as u64);
        self.octets(octets);
    }

    fn number(&mut self, number: u64) {
        self.octets(&number.to_be_bytes());
    }

    fn octets(&mut self, octets: &[u8]) {
        for octet in octets {
            self.digest = (self.digest ^ u64::from(*octet)).wrapping_mul(PRIME);
        }
    }
}

/// Which fault, of whom, and how much of it.
pub(crate) fn number(fault: Fault) -> [u64; 3] {
    let (kind, id, extra) = match fault {
        Fault::Kill(id) => (0, id, 0),
        Fault::Restart(id) => (1, id, 0),
        Fault::Freeze(id) => (2, id, 0),
        Fault::Thaw(id) => (3, id, 0),
        Fault::Deafen(id) => (4, id, 0),
        Fault::Mute(id) => (5, id, 0),
        Fault::Heal(id) => (6, id, 0),
        Fault::Reset(id) => (7, id, 0),
        Fault::Slow(id, extra) => (8, id, extra),
        Fault::Replay(id) => (9, id, 0),
        Fault::Rubbish(id) => (10, id, 0),
    };
    [kind, id.0 as u64, extra]
}

/// Kinds of faults.
pub(crate) const FAULTS: u64 = 11;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that the authors of FNV-1a give.
    #[test]
    fn it_is_fnv() {
        for (text, expected) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut trace = Trace::new();
            trace.octets(text.as_bytes());
            assert_eq!(trace.digest(), expected, "{text}");
        }
    }

    /// Whatever is other about an event, and the order of two, tells runs apart.
    #[test]
    fn every_part_of_an_event_counts() {
        let (at, later) = (Duration::from_nanos(1), Duration::from_nanos(2));
        let peer = |name: &str| Some(PeerId::from(name.to_owned()));
        let message = |at, id, port, from: &str, frames: &[&str]| {
            let message = Message::multipart(frames.iter().map(|f| (*f).to_owned()));
            let mut trace = Trace::new();
            trace.message(at, NodeId(id), Port(port), peer(from).as_ref(), &message);
            trace.digest()
        };
        let of = |note: &dyn Fn(&mut Trace)| {
            let mut trace = Trace::new();
            note(&mut trace);
            trace.digest()
        };
        let (up, down) = (
            PeerEvent::Up { peer: peer("a") },
            PeerEvent::Down { peer: peer("a") },
        );
        let node = NodeId(1);
        let mut digests = vec![
            message(at, 1, 1, "a", &["b", "c"]),
            message(later, 1, 1, "a", &["b", "c"]),
            message(at, 2, 1, "a", &["b", "c"]),
            message(at, 1, 2, "a", &["b", "c"]),
            message(at, 1, 1, "b", &["b", "c"]),
            message(at, 1, 1, "a", &["bc"]),
            message(at, 1, 1, "a", &["bc", ""]),
            of(&|trace| trace.timer(at, node)),
            of(&|trace| trace.closed(at, node, Port(1))),
            of(&|trace| trace.peer(at, node, Port(1), &up)),
            of(&|trace| trace.peer(at, node, Port(1), &down)),
            of(&|trace| trace.peer(at, node, Port(1), &PeerEvent::Up { peer: None })),
            of(&|trace| trace.fault(at, Fault::Slow(node, 1))),
            of(&|trace| trace.fault(at, Fault::Slow(node, 2))),
            of(&|trace| trace.fault(at, Fault::Reset(node))),
            of(&|trace| {
                trace.timer(at, node);
                trace.closed(at, node, Port(1));
            }),
            of(&|trace| {
                trace.closed(at, node, Port(1));
                trace.timer(at, node);
            }),
        ];
        let all = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), all);
    }
}
