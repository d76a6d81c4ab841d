//! A ROUTER beside a proxy.

use std::sync::Arc;

use super::{Peers, Router};
use crate::error::SendError;
use crate::io::Port;
use crate::message::Message;
use crate::pipe::Reach;
use crate::routing::PeerKey;
use crate::socket::deadline::Deadline;
use crate::socket::outbound::Given;
use crate::socket::relay::{relay, Relay};
use crate::socket::wire::{Parcel, Rule, WireSink, WireSource};

impl Relay for Router {
    fn port(&self) -> &Arc<Port> {
        &self.shell.port
    }

    relay!(@ends);

    fn tend(&mut self) {
        Router::tend(self);
    }

    fn release_links(&mut self) {
        self.inbound.release_links();
    }

    fn take(&mut self) -> Option<Message> {
        self.recv_by(Deadline::Now).ok()
    }

    fn arm_in(&mut self) -> bool {
        self.inbound.arm_for_event()
    }

    fn has_room(&mut self) -> bool {
        true
    }

    fn give(&mut self, message: Message) -> Result<(), SendError> {
        self.send_by(message, Deadline::Now)
    }

    fn arm_out(&mut self, held: &Message) -> bool {
        let key = self.peers.table().find(held.as_bytes());
        Router::tend(self);
        key.map_or(true, |key| self.out.arm_pipe(key))
    }

    fn wire_in(&mut self) -> Option<WireSource<'_>> {
        (!self.raw).then_some(WireSource {
            inbound: &mut self.inbound,
            rule: Rule::Named(&mut self.names, &self.peers),
        })
    }

    fn wire_out(&mut self) -> Option<&mut dyn WireSink> {
        match self.raw {
            true => None,
            false => Some(self),
        }
    }
}

/// To the peer that the first frame names. Messages for others, and for those that are full, are left where they are.
impl WireSink for Router {
    fn begin(&mut self) {
        Router::tend(self);
    }

    fn is_outdated(&self) -> bool {
        self.out.has_mail()
    }

    fn allowance(&mut self, _: u64) -> Option<Reach> {
        Some(Reach::ONE)
    }

    fn admits(&mut self, parcel: &Parcel<'_>) -> bool {
        let found = self.peers.table().find(parcel.first_body());
        self.named = found;
        let has_room = found.is_some_and(|key| self.out.room(key) == Given::Done);
        has_room && parcel.is_addressed()
    }

    fn take(&mut self, parcel: &Parcel<'_>) {
        if let Some(key) = self.named {
            self.out.append(key, |writer| parcel.append_rest_to(writer));
        }
    }

    fn publish(&mut self) {
        self.out.publish_all();
    }
}

/// How many names are kept at hand.
const NAMES: usize = 64;

/// Names of peers as they are put before messages: encoded, and found without asking everybody.
#[derive(Debug, Clone, Default)]
pub(in crate::socket) struct Names {
    /// How often an id had changed hands by then.
    as_of: u64,
    known: Vec<Option<(PeerKey, Box<[u8]>)>>,
}

impl Names {
    /// What is put before a message of this peer; `None` if it has no id, or not any more.
    #[inline]
    pub(in crate::socket) fn of(&mut self, peers: &Peers, peer: PeerKey) -> Option<&[u8]> {
        let handovers = peers.handovers();
        let at = peer.index as usize % NAMES;
        let is_known = self.as_of == handovers
            && matches!(self.known.get(at), Some(Some((key, _))) if *key == peer);
        if !is_known {
            self.find(peers, peer, handovers)?;
        }
        let (_, head) = self.known.get(at)?.as_ref()?;
        Some(head)
    }

    #[cold]
    fn find(&mut self, peers: &Peers, peer: PeerKey, handovers: u64) -> Option<()> {
        if self.as_of != handovers {
            self.known.clear();
            self.as_of = handovers;
        }
        let head = Parcel::named(peers.table().name(peer)?);
        let at = peer.index as usize % NAMES;
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        self.known[at] = Some((peer, head));
        Some(())
    }
}
