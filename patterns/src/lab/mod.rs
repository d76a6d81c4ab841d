//! The fault laboratory: engines on a simulated network, in virtual time, under schedules of faults that
//! follow from one number.
//!
//! [`Sim`] holds nodes (adapters around engines), links between their ports, and a queue of what happens
//! when. Everything random is drawn from one generator, so that the same seed makes the same run; a failed
//! schedule prints its seed, and `PATTERNS_SEED=n` runs that one alone. `PATTERNS_SCHEDULES=n` runs more.
//!
//! The links behave as connections over TCP do: messages of one link stay in order and are not lost while
//! it is up; when it breaks, what is on its way is lost, both ends are told, each in its own time, and the
//! connecting end makes a new connection, under a new name at a ROUTER. A partition holds messages back,
//! in one direction or both; it heals, or the link breaks. What TCP cannot do, engines must stand all the
//! same: peers that repeat themselves, and peers that send rubbish ([`Fault::Replay`], [`Fault::Rubbish`]).
//!
//! Messages take a while that is drawn for each, whatever their size; between two nodes there may be a [`Line`] instead,
//! which has a bandwidth and a delay ([`Sim::lay`]).
//!
//! A run is told from others by its [`Trace`], which is the same number on all platforms: `digests.txt` has those of a few
//! runs of toys, and whoever runs the tests compares. `PATTERNS_DIGESTS=1` writes it anew, after a change of the laboratory.

mod bodies;
mod line;
mod schedule;
mod sim;
mod tally;
mod toys;
mod trace;

/// Parts of a [`Node`] around an engine in a field: what comes goes to the engine, and then `after(now)` of the node
/// sees to its events. With `input`, what the engine sends and what comes back of that is left to the node.
macro_rules! forward {
    ($engine:ident) => {
        crate::lab::forward!($engine, input);
        fn handle_refused(&mut self, now: std::time::Instant, transmit: crate::common::Transmit) {
            self.$engine.handle_refused(now, transmit);
            self.after(now);
        }
        fn poll_transmit(&mut self, _: std::time::Instant) -> Option<crate::common::Transmit> {
            self.$engine.poll_transmit()
        }
    };
    ($engine:ident, input) => {
        fn handle_message(
            &mut self,
            now: std::time::Instant,
            port: crate::common::Port,
            from: Option<&crate::common::PeerId>,
            message: sinew::Message,
        ) {
            self.$engine.handle_message(now, port, from, message);
            self.after(now);
        }
        fn handle_peer(
            &mut self,
            now: std::time::Instant,
            port: crate::common::Port,
            event: crate::common::PeerEvent,
        ) {
            self.$engine.handle_peer(now, port, event);
            self.after(now);
        }
        fn as_any(&mut self) -> &mut dyn std::any::Any {
            self
        }
    };
}

pub(crate) use bodies::{answer, number_of, request, rubbish};
pub(crate) use forward;
pub(crate) use line::Line;
pub(crate) use schedule::{number, schedules};
pub(crate) use sim::{Fault, Node, NodeId, Sim, Weather, STRANGER};
pub(crate) use tally::{rows, Tallies, Trouble};
pub(crate) use trace::Trace;
