//! Messages handed on from one socket to others as they are on the wire.
//!
//! Who receives ([`WireSource`]) finds whole messages in one piece and looks no further than their first frame; who sends
//! ([`WireSink`]) says whether it takes them, and where to. What this cannot do is left where it is, for
//! whoever takes and gives message by message: what is not in one piece, or so large that limits may matter, what has no
//! room or no receiver, and kinds of sockets and options with rules of their own.

use super::inbound::RecvHalf;
use super::names::Peers;
use super::router::Names;
use crate::config::LEAST_SEND_LIMIT;
use crate::frame;
use crate::message::RoutingId;
use crate::pipe::{Octets, Reach, Run, Writer};
use crate::routing::{PeerKey, TopicSet};

/// So many messages, or runs of them, are appended before they are published: then that costs next to nothing, and nobody
/// waits for long.
pub(super) const PUBLISH_EVERY: u32 = 64;

/// Whole messages that are to be sent as they are, behind what is put before the first.
#[derive(Debug)]
pub(super) struct Parcel<'a> {
    /// One encoded frame, or nothing.
    head: &'a [u8],
    octets: Octets<'a>,
    run: Run,
}

/// The header of a frame with the name of a peer: a length of one octet.
const NAME_HEADER: usize = 2;

impl<'a> Parcel<'a> {
    /// `head`: the encoded name of a peer, or nothing.
    pub(super) fn new(head: &'a [u8], octets: Octets<'a>, run: Run) -> Self {
        let mut run = run;
        if !head.is_empty() {
            run.frames += 1;
            run.octets += (head.len() - NAME_HEADER) as u64;
        }
        Parcel { head, octets, run }
    }

    /// The encoded name of a peer.
    pub(super) fn named(id: &RoutingId) -> Box<[u8]> {
        let id = id.as_bytes();
        let (header, len) = frame::header(true, false, id.len());
        [&header[..len], id].concat().into_boxed_slice()
    }

    /// The body of the first frame.
    pub(super) fn first_body(&self) -> &[u8] {
        match self.head {
            [] => self.octets.first_body(),
            head => &head[NAME_HEADER..],
        }
    }

    /// Of messages that are there to be sent, what is counted.
    pub(super) fn run(&self) -> Run {
        self.run
    }

    /// Appends all of it, unpublished; how many messages that are.
    #[inline]
    pub(super) fn append_to(&self, writer: &mut Writer) -> u64 {
        writer.append_span(self.head, &self.octets);
        self.run.messages
    }

    /// Whether anything follows the first frame, in each message.
    pub(super) fn is_addressed(&self) -> bool {
        !self.head.is_empty() || self.octets.is_followed()
    }

    /// As [`Parcel::append_to`], of a single message that [is addressed](Self::is_addressed): without its first frame.
    #[inline]
    pub(super) fn append_rest_to(&self, writer: &mut Writer) -> u64 {
        match self.head {
            [] => writer.append_rest(&self.octets),
            _ => writer.append_span(&[], &self.octets),
        }
        self.run.messages
    }
}

/// What is received, and what is done to it first.
pub(super) struct WireSource<'a> {
    pub(super) inbound: &'a mut RecvHalf,
    pub(super) rule: Rule<'a>,
}

/// What is done to messages before they are sent.
pub(super) enum Rule<'a> {
    /// Nothing.
    Plain,
    /// The name of who sent one is put before it.
    Named(&'a mut Names, &'a Peers),
    /// Those that nobody subscribed to are passed over.
    Filtered(&'a TopicSet),
}

impl Rule<'_> {
    /// How many of so many messages may be one parcel.
    pub(super) fn at_once(&self, most: u64) -> u64 {
        match self {
            Rule::Plain => most,
            Rule::Named(..) | Rule::Filtered(_) => 1,
        }
    }

    /// What is put before messages of this peer; `None` if they are of no use.
    #[inline]
    pub(super) fn head(&mut self, from: PeerKey) -> Option<&[u8]> {
        match self {
            Rule::Named(names, peers) => names.of(peers, from),
            Rule::Plain | Rule::Filtered(_) => Some(&[]),
        }
    }

    /// Whether a message that begins so is wanted.
    #[inline]
    pub(super) fn wants(&self, first_body: &[u8]) -> bool {
        match self {
            Rule::Filtered(topics) => topics.matches(first_body),
            Rule::Plain | Rule::Named(..) => true,
        }
    }
}

/// Where messages go.
pub(super) trait WireSink {
    /// Takes note of who has come and gone. Everything is published.
    fn begin(&mut self);

    /// Whether somebody has come or gone since.
    fn is_outdated(&self) -> bool;

    /// How far a parcel may reach, if one may be given at all; at most `most` messages.
    fn allowance(&mut self, most: u64) -> Option<Reach>;

    /// Whether a parcel within the last allowance can be given now.
    fn admits(&mut self, parcel: &Parcel<'_>) -> bool;

    /// Appends a parcel that was admitted.
    fn take(&mut self, parcel: &Parcel<'_>);

    /// Lets everybody have what was taken since [`WireSink::begin`].
    fn publish(&mut self);
}

impl Reach {
    /// A single message.
    pub(super) const ONE: Reach = Reach::of(1, u64::MAX);

    /// Nothing that is to be held against the limits of what is sent.
    pub(super) const fn of(messages: u64, octets: u64) -> Self {
        Reach {
            messages,
            octets,
            below: LEAST_SEND_LIMIT as usize,
        }
    }

    pub(super) fn within(self, other: Reach) -> Self {
        Reach {
            messages: self.messages.min(other.messages),
            octets: self.octets.min(other.octets),
            below: self.below.min(other.below),
        }
    }
}

#[cfg(test)]
mod tests;
