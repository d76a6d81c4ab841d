//! The life of a connection on its I/O thread: handshake, traffic, timers, and its end.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mio::event::Event as MioEvent;

use super::dialing::{release_in, release_out, Lost};
use super::drops::DropCause;
use super::ends::new_ends;
use super::events::{ConnectionId, DisconnectReason, EndpointId, SocketEvent};
use super::in_pump::Sink;
use super::link::{InputSignal, Link, OutputSignal};
use super::listening::Pending;
use super::octets::Tries;
use super::out_pump::OutPump;
use super::port::{Arrival, Counters, Lease, Port, UNSEEN_ENDS};
use super::reading::InOutcome;
use super::reports::{report_accepted, report_connected, report_end, report_failure};
use super::settings::Settings;
use super::thread::{next_id, IoThread, PipeEnds, Slot};
use super::writing::OutOutcome;
use super::{PeerVersion, READ_TURN, ROOM_PATIENCE};
use crate::endpoint::Endpoint;
use crate::message::{PeerProperties, RoutingId};
use crate::pipe::{Losses, Reader, Writer};
#[cfg(feature = "ws")]
use crate::proto::Side;
use crate::proto::{Opening, PeerInfo};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{clock, lock, Place};
use crate::transport::Stream;

/// A connection on its I/O thread.
pub(super) struct LinkSlot {
    pub(super) link: Arc<Link>,
    origin: Origin,
    state: State,
    /// Reading is paused because the pipe is full.
    paused: bool,
    /// Read until the kernel says that there is nothing more: the end of the stream may be behind
    /// what is there, and no event will tell of it again.
    until_empty: bool,
    /// When to give up what is unsent, once closing has begun; `Some(None)`: never.
    closing: Option<Option<Instant>>,
    /// When to tell the socket of what little room there is, if the kernel takes no more until then.
    tell_room: Option<Instant>,
    /// Octets in and out at the last sweep, and whether memory has been given back since they changed.
    swept: (u64, bool),
    lease: Option<Lease>,
    /// Of the connections that the socket allows, once it is one.
    place: Option<Place>,
}

impl LinkSlot {
    /// Gives the memory back that the pipes keep for more of what there was, if there was nothing since
    /// the last call. Whether there may be something to give back the next time.
    pub(super) fn sweep(&mut self) -> bool {
        let link = &self.link;
        let moved = |octets: &AtomicU64| octets.load(Ordering::Relaxed);
        let now = moved(&link.octets.read).wrapping_add(moved(&link.octets.written));
        let (before, given_back) = self.swept;
        if now == before && !given_back {
            let output = link.output.try_visit(|pump| pump.free_spare());
            let input = link.input.try_visit(|pump| pump.free_spare());
            if matches!(output, Some((_, true))) {
                link.activate_output();
            }
            if matches!(input, Some((_, true))) {
                link.resume_input();
            }
            // Of one that another thread has in hand, later.
            self.swept.1 = output.is_some() && input.is_some();
        } else if now != before {
            self.swept = (now, false);
        }
        !self.swept.1
    }
}

enum Origin {
    /// Through a listener, or by the application; the guard counts it while its handshake is unfinished.
    Accepted {
        listener: EndpointId,
        pending: Option<Pending>,
    },
    /// By a dialer, in that slot.
    Dialed { slot: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Open,
    /// Everything is written and our direction is shut; waits for the peer's end, so that closing
    /// cannot destroy what is still on its way.
    Shut,
}

impl IoThread {
    // ---- beginnings -------------------------------------------------------------------------

    pub(super) fn adopt(
        &mut self,
        served: (Arc<Port>, Arc<Settings>),
        stream: Stream,
        endpoint: Endpoint,
        listener: EndpointId,
        pending: Pending,
        lease: Lease,
    ) {
        if served.0.is_closing() {
            drop(stream);
            drop(lease);
            return;
        }
        let origin = Origin::Accepted {
            listener,
            pending: Some(pending),
        };
        let begun = (clock::now(), Tries::default());
        let link = self.insert_link(served, stream, endpoint, origin, Some(lease), begun);
        refuse_if_full(&link);
        report_accepted(&link, listener);
        self.start_link(link.slot);
    }

    pub(super) fn connected(
        &mut self,
        dialer: usize,
        served: (Arc<Port>, Arc<Settings>),
        (endpoint, endpoint_id): (Endpoint, EndpointId),
        stream: Stream,
        begun: (Instant, Tries),
    ) -> (usize, ConnectionId) {
        let origin = Origin::Dialed { slot: dialer };
        let link = self.insert_link(served, stream, endpoint, origin, None, begun);
        report_connected(&link, endpoint_id);
        (link.slot, link.id)
    }

    /// A connection that the application has made. To its end it is like one that was accepted.
    pub(super) fn adopt_connected(
        &mut self,
        served: (Arc<Port>, Arc<Settings>),
        stream: Stream,
        endpoint: Endpoint,
        id: EndpointId,
        lease: Lease,
    ) {
        if served.0.is_closing() {
            // In this order: see `listen`.
            drop(stream);
            drop(lease);
            return;
        }
        let origin = Origin::Accepted {
            listener: id,
            pending: None,
        };
        let begun = (clock::now(), Tries::default());
        let link = self.insert_link(served, stream, endpoint, origin, Some(lease), begun);
        refuse_if_full(&link);
        report_connected(&link, id);
        self.start_link(link.slot);
    }

    fn insert_link(
        &mut self,
        (port, settings): (Arc<Port>, Arc<Settings>),
        stream: Stream,
        endpoint: Endpoint,
        origin: Origin,
        lease: Option<Lease>,
        (since, tries): (Instant, Tries),
    ) -> Arc<Link> {
        let slot = self.new_slot(Slot::Freed);
        let peer = stream.peer_label();
        let at = endpoint.clone();
        let opening = opening(&at, &origin);
        let link = Link::new(
            ConnectionId(next_id()),
            port,
            settings,
            stream,
            endpoint,
            peer,
            self.handle.clone(),
            slot,
            opening,
            tries,
            since,
        );
        self.slots[slot] = Slot::Link(LinkSlot {
            link: Arc::clone(&link),
            origin,
            state: State::Handshake,
            paused: false,
            until_empty: false,
            closing: None,
            tell_room: None,
            swept: (0, true),
            lease,
            place: None,
        });
        link
    }

    /// Sends the greeting and begins to read.
    pub(super) fn start_link(&mut self, slot: usize) {
        if let Some(Slot::Link(this)) = self.slots.get(slot) {
            this.link.begin_reading();
        }
        self.attend(slot);
        if self.is_ready(slot) {
            // There is no handshake.
            self.open_link(slot);
        } else {
            self.read_link(slot, false);
        }
    }

    fn is_ready(&self, slot: usize) -> bool {
        matches!(self.slots.get(slot), Some(Slot::Link(this)) if lock(&this.link.proto).is_ready())
    }

    // ---- events -----------------------------------------------------------------------------

    pub(super) fn link_ready(&mut self, slot: usize, event: &MioEvent) {
        if event.is_writable() {
            if let Some(Slot::Link(this)) = self.slots.get(slot) {
                let link = Arc::clone(&this.link);
                link.want_write(false);
                self.heat_for_room(link);
            }
        }
        let ending = event.is_read_closed() || event.is_error();
        if event.is_readable() || ending {
            if let Some(Slot::Link(this)) = self.slots.get(slot).filter(|_| ending) {
                // A caller that is at it goes on for us, and no second event will tell either of us.
                this.link.reading.set_ending();
            }
            if !ending && self.tell_task(slot) {
                return;
            }
            self.read_link(slot, ending);
        }
    }

    fn tell_task(&self, slot: usize) -> bool {
        matches!(self.slots.get(slot), Some(Slot::Link(this)) if this.link.tell_task())
    }

    /// Runs the in-pump.
    pub(super) fn read_link(&mut self, slot: usize, until_empty: bool) {
        let Some(Slot::Link(this)) = self.slots.get_mut(slot) else {
            return;
        };
        let link = Arc::clone(&this.link);
        let was_paused = this.paused;
        // Kept over the turns it takes, and while reading is paused.
        this.until_empty |= until_empty || was_paused;
        let outcome = link.run_input(&mut self.buffers, READ_TURN, this.until_empty);
        let Some(outcome) = outcome else {
            // The socket's `recv` is at it, and will look again.
            return;
        };
        self.input_done(slot, &link, was_paused, outcome);
    }

    fn input_done(&mut self, slot: usize, link: &Arc<Link>, was_paused: bool, outcome: InOutcome) {
        match outcome {
            InOutcome::Drained => {
                if let Some(Slot::Link(this)) = self.slots.get_mut(slot) {
                    this.until_empty = false;
                }
                self.set_paused(slot, was_paused, false);
            }
            InOutcome::More => {
                self.set_paused(slot, was_paused, false);
                self.unread.push((slot, link.id));
            }
            InOutcome::Paused => self.set_paused(slot, was_paused, true),
            InOutcome::Ready => self.open_link(slot),
            InOutcome::Closed => {
                let reason = link.input.lock().failure();
                self.close_link(slot, reason.unwrap_or(DisconnectReason::ClosedLocally));
            }
        }
    }

    fn set_paused(&mut self, slot: usize, before: bool, paused: bool) {
        if before == paused {
            return;
        }
        if let Some(Slot::Link(this)) = self.slots.get_mut(slot) {
            this.paused = paused;
            lock(&this.link.proto).set_paused(paused, clock::now());
            self.retime_link(slot);
        }
    }

    /// Looks at everything: control frames to send, failures that a caller-driven pump met, timers.
    pub(super) fn attend(&mut self, slot: usize) {
        let Some(Slot::Link(this)) = self.slots.get(slot) else {
            return;
        };
        let link = Arc::clone(&this.link);
        let (failure, missed) = link.input.visit(|pump| pump.failure());
        if missed {
            // A caller, which now waits for an event that is past.
            self.unread.push((slot, link.id));
        }
        let failure = failure.or_else(|| {
            let (outcome, failure) = link.run_output_to_the_end();
            match outcome {
                Some(OutOutcome::Blocked) => self.output_blocked(&link),
                Some(OutOutcome::More) => self.heat(Arc::clone(&link)),
                Some(OutOutcome::Idle | OutOutcome::Closed) | None => {}
            }
            failure
        });
        // Of a descriptor that cannot be watched nobody would hear again.
        let failure = failure.or_else(|| link.reading.failure().map(Into::into));
        match failure {
            Some(reason) => self.close_link(slot, reason),
            None => {
                if let Some(key) = link.key() {
                    link.port.hooks.drained(key);
                }
                self.retime_link(slot);
                self.check_drained(slot);
            }
        }
    }

    /// Whether an idle out-pump stays on the list of busy ones.
    pub(super) fn output_idle(&mut self, link: &Arc<Link>) -> bool {
        let Some(Slot::Link(this)) = self.slots.get(link.slot) else {
            return false;
        };
        if this.link.id != link.id {
            return false;
        }
        self.check_drained(link.slot);
        matches!(self.slots.get(link.slot), Some(Slot::Link(this)) if this.state == State::Open)
    }

    /// Whether the connection ends when everything has been written.
    pub(super) fn is_closing(&self, link: &Link) -> bool {
        matches!(self.slots.get(link.slot), Some(Slot::Link(this))
            if this.link.id == link.id && this.closing.is_some())
    }

    /// The kernel takes no more. A socket that waits for room is woken when there is plenty, so that it
    /// is not woken for every message; if that does not come soon it is woken for what there is.
    pub(super) fn output_blocked(&mut self, link: &Link) {
        let Some(Slot::Link(this)) = self.slots.get_mut(link.slot) else {
            return;
        };
        if this.link.id != link.id || this.tell_room.is_some() {
            return;
        }
        let visit = link.output.try_visit(OutPump::keeps_socket_waiting);
        // Who holds it may be that socket, which waits for the kernel now and for us afterwards.
        if visit.map_or(true, |(waits, _)| waits) {
            this.tell_room = Some(clock::now() + ROOM_PATIENCE);
            self.retime_link(link.slot);
        }
        if visit.is_some_and(|(_, missed)| missed) {
            link.activate_output();
        }
    }

    pub(super) fn link_timeout(&mut self, slot: usize, now: Instant) {
        let Some(Slot::Link(this)) = self.slots.get_mut(slot) else {
            return;
        };
        if this.tell_room.is_some_and(|at| at <= now) {
            let visit = this.link.output.try_visit(OutPump::wake_socket);
            this.tell_room = visit.is_none().then(|| now + ROOM_PATIENCE);
            if matches!(visit, Some(((), true))) {
                this.link.activate_output();
            }
        }
        if this.closing.flatten().is_some_and(|at| at <= now) {
            self.close_link(slot, DisconnectReason::ClosedLocally);
            return;
        }
        let link = Arc::clone(&this.link);
        // What is readable is read first: silence is judged by what has come. A caller that reads is left alone as
        // long as there is nothing to judge; after that its time is over, for what came may wait for it.
        if !this.paused {
            if !link.reading.is_with_caller() {
                self.read_link(slot, false);
            } else if is_overdue(&link, now) {
                // One that is at it now has read what there was when this returns.
                drop(link.input.lock());
                self.take_back(&link);
            }
            if self.link(slot, link.id).is_none() {
                return;
            }
        }
        let result = {
            let mut proto = lock(&link.proto);
            if link.octets.traffic.swap(false, Ordering::Relaxed) {
                proto.handle_traffic(now);
            }
            proto.handle_timeout(now)
        };
        match result {
            Ok(()) => self.attend(slot),
            Err(error) => self.close_link(slot, error.into()),
        }
    }

    fn retime_link(&mut self, slot: usize) {
        let Some(Slot::Link(this)) = self.slots.get(slot) else {
            return;
        };
        let protocol = lock(&this.link.proto).poll_timeout();
        let at = [protocol, this.closing.flatten(), this.tell_room]
            .into_iter()
            .flatten()
            .min();
        self.timers.set(slot, at);
    }

    // ---- the handshake is done --------------------------------------------------------------

    fn open_link(&mut self, slot: usize) {
        let Some(Slot::Link(this)) = self.slots.get_mut(slot) else {
            return;
        };
        if this.state != State::Handshake {
            return;
        }
        let link = Arc::clone(&this.link);
        let port = Arc::clone(&link.port);
        if lock(&link.proto).refuses() {
            // The place may be free by now, but the peer has been told.
            self.close_link(slot, DisconnectReason::Occupied);
            return;
        }
        let Some(peer) = lock(&link.proto).peer().cloned() else {
            return;
        };
        if port.has_unseen_ends() && matches!(this.origin, Origin::Accepted { .. }) {
            let limit = UNSEEN_ENDS;
            self.close_link(slot, DisconnectReason::Unattended { limit });
            return;
        }
        let place = match port.claim_place() {
            Ok(place) => place,
            Err(reason) => {
                self.close_link(slot, reason);
                return;
            }
        };
        let dialer = match &this.origin {
            Origin::Accepted { .. } => None,
            Origin::Dialed { slot } => Some(*slot),
        };
        let (held, name) = dialer.map_or((None, None), |dialer| self.dialer_peer(dialer));
        let key = held.unwrap_or_else(|| port.new_key());
        let routing_id = match port.hooks.admit(&Arrival {
            port: &port,
            key,
            given: name.as_ref(),
            announced: &peer.identity,
            link: Some(&link),
        }) {
            Ok(name) => name.or_else(|| RoutingId::new(&peer.identity).ok()),
            Err(reason) => {
                if held.is_none() {
                    port.abandon_key(key);
                }
                // Who hears of the end finds it free.
                drop(place);
                if reason == DisconnectReason::Occupied {
                    lock(&link.proto).refuse(OCCUPIED);
                }
                self.close_link(slot, reason);
                return;
            }
        };
        if let Some(id) = &routing_id {
            link.set_routing_id(id.clone());
        }
        if let Some(Slot::Link(this)) = self.slots.get_mut(slot) {
            this.state = State::Open;
            this.place = Some(place);
            this.closing = None;
            if let Origin::Accepted { pending, .. } = &mut this.origin {
                drop(pending.take());
            }
        }
        let held = dialer.and_then(|dialer| self.dialer_ready(dialer));
        let version = peer.version;
        let known = Arc::new(properties(&link, peer));
        let is_new = held.is_none();
        let ends = held.unwrap_or_else(|| new_ends(&port, key, Some(Arc::clone(&known))));
        let PipeEnds {
            key,
            reader,
            writer,
        } = ends;
        link.set_key(key);
        let first = writer.as_ref().map_or(0, Writer::messages_written);
        let before = |losses: Option<Losses>| losses.unwrap_or_default();
        let sent = before(reader.as_ref().map(Reader::losses));
        let received = before(writer.as_ref().map(Writer::losses));
        link.tally.begin(sent.and(received));
        if let Some(reader) = &reader {
            reader.set_signal(Arc::new(OutputSignal(Arc::downgrade(&link))));
        }
        if let Some(writer) = &writer {
            writer.set_signal(Arc::new(InputSignal(Arc::downgrade(&link))));
        }
        // Our own part of the handshake comes before anything else.
        let mut control = BytesMut::new();
        let transform = {
            let mut proto = lock(&link.proto);
            proto.poll_transmit(&mut control);
            proto.take_transform()
        };
        link.push_control(&control);
        if let Some(transform) = transform {
            link.output.lock().set_encoder(transform.encode);
            link.input.lock().set_decoder(transform.decode);
        }
        control.clear();
        port.greet_with_frames(&mut control);
        link.push_control(&control);
        port.hooks.settled(key);
        port.hooks.link_up(key, &link, version);
        if version == PeerVersion::V1_0 && port.flow().topics {
            // It forwards no subscriptions: its socket filters what it gets.
            if let Err(limit) = port.hooks.subscription(key, true, &[]) {
                // It is no longer counted when it ends.
                port.peer_up();
                self.close_link(slot, limit.into());
                return;
            }
        }
        link.output.lock().open(reader);
        let sink = match writer {
            Some(mut writer) => {
                port.note_arrival(&mut writer);
                Sink::of(&port, writer)
            }
            None if port.flow().topics => Sink::Topics,
            None => Sink::Discard,
        };
        link.input.lock().open(sink);
        Counters::add(&port.counters.handshakes, 1);
        port.links.enter(&link, clock::now());
        link.report(|| SocketEvent::HandshakeSucceeded {
            connection: link.id,
            endpoint: link.endpoint.clone(),
            peer: link.peer.clone(),
            socket_type: known.socket_type(),
            routing_id,
        });
        if !is_new {
            port.introduce(key, first, &known);
        }
        // Counted before a caller can read from it.
        port.peer_up();
        port.linked(key, &link);
        self.retime_link(slot);
        self.heat(Arc::clone(&link));
        self.read_link(slot, false);
        // The endpoint may have been closed while the handshake was under way.
        if let Some(deadline) = dialer.and_then(|dialer| self.dialer_closing(dialer)) {
            if self.link(slot, link.id).is_some() {
                self.close_link_gently(slot, deadline);
            }
        }
    }

    // ---- ends -------------------------------------------------------------------------------

    /// Closes what belongs to an endpoint: the listener or dialer, and its connections, or those of a dialer only.
    pub(super) fn close_endpoint(
        &mut self,
        id: EndpointId,
        accepted: bool,
        linger: Option<Duration>,
    ) {
        let deadline = deadline_after(linger);
        let slots: Vec<usize> = self.slots.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            match self.slots.get(slot) {
                Some(Slot::Listener(listening)) if listening.id == id => {
                    self.close_listener(slot);
                }
                Some(Slot::Dialer(dialer)) if dialer.id == id => self.close_dialer(slot, deadline),
                Some(Slot::Datagrams(datagrams)) if datagrams.id == id => {
                    self.close_datagrams(slot, deadline);
                }
                Some(Slot::Link(link))
                    if accepted
                        && matches!(link.origin, Origin::Accepted { listener, .. } if listener == id) =>
                {
                    self.close_link_gently(slot, deadline);
                }
                _ => {}
            }
        }
    }

    /// Closes everything of a socket that is on this thread.
    pub(super) fn close_socket(&mut self, port: &Arc<Port>, deadline: Option<Instant>) {
        let slots: Vec<usize> = self.slots.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            match self.slots.get(slot) {
                Some(Slot::Listener(listening)) if Arc::ptr_eq(&listening.port, port) => {
                    self.close_listener(slot);
                }
                Some(Slot::Dialer(dialer)) if Arc::ptr_eq(&dialer.port, port) => {
                    self.close_dialer(slot, deadline);
                }
                Some(Slot::Datagrams(datagrams)) if Arc::ptr_eq(&datagrams.port, port) => {
                    self.close_datagrams(slot, deadline);
                }
                Some(Slot::Link(link))
                    if Arc::ptr_eq(&link.link.port, port)
                        && matches!(link.origin, Origin::Accepted { .. }) =>
                {
                    self.close_link_gently(slot, deadline);
                }
                _ => {}
            }
        }
    }

    /// Closes a connection when what is queued for it has been written, or at the deadline.
    pub(super) fn close_link_gently(&mut self, slot: usize, deadline: Option<Instant>) {
        let now = clock::now();
        let Some(Slot::Link(this)) = self.slots.get_mut(slot) else {
            return;
        };
        if this.closing.is_some() {
            return;
        }
        this.closing = Some(deadline);
        let link = Arc::clone(&this.link);
        if this.state == State::Handshake {
            // A dialer's messages wait for this very connection; an accepted one has none.
            if matches!(this.origin, Origin::Accepted { .. })
                || deadline.is_some_and(|at| at <= now)
            {
                self.close_link(slot, DisconnectReason::ClosedLocally);
            } else if let Origin::Dialed { slot: dialer } = this.origin {
                if self.dialer_is_drained(dialer) {
                    self.close_link(slot, DisconnectReason::ClosedLocally);
                } else {
                    self.retime_link(slot);
                }
            }
            return;
        }
        // The socket lets go of its ends: no more comes after what is queued.
        if let Some(key) = link.key() {
            let flow = link.port.flow();
            if flow.sends {
                link.port.end_out(key, None);
            }
            link.input.lock().discard();
            if flow.receives {
                link.port.end_in(key, None);
            }
        }
        link.return_from_caller();
        if deadline.is_some_and(|at| at <= now) && !link.output.lock().is_drained() {
            self.close_link(slot, DisconnectReason::ClosedLocally);
            return;
        }
        self.retime_link(slot);
        self.heat(link);
    }

    /// A closing connection whose queue is empty is shut, and waits for the peer's end.
    fn check_drained(&mut self, slot: usize) {
        let Some(Slot::Link(this)) = self.slots.get_mut(slot) else {
            return;
        };
        if this.closing.is_none() || this.state != State::Open {
            return;
        }
        let link = Arc::clone(&this.link);
        if link.output.lock().is_drained() && lock(&link.proto).finish() {
            // The peer is told, behind all there was; that may have to wait for room.
            self.heat(link);
            return;
        }
        let Some(Slot::Link(this)) = self.slots.get_mut(slot) else {
            return;
        };
        let mut output = this.link.output.lock();
        let finished = output.is_finished();
        let drained = output.is_drained();
        // The socket lets go of its end when it next looks at its mail, which may be never. Until then
        // it may write, and gets what it wrote back.
        let rest = match drained && !finished && !this.link.port.is_closing() {
            true => output.take_reader().map(|(reader, _)| reader),
            false => None,
        };
        drop(output);
        if let (Some(reader), Some(key)) = (rest, this.link.key()) {
            this.link.port.end_out(key, Some(reader));
        }
        let finished = finished || drained;
        if finished {
            this.state = State::Shut;
            let _ = this.link.stream.shutdown(Shutdown::Write);
            // What was to be sent has left the process: nobody needs to wait for the rest.
            drop(this.lease.take());
            if let Origin::Dialed { slot: dialer } = this.origin {
                self.end_dialer(dialer);
            }
            let grace = clock::now() + SHUT_GRACE;
            if let Some(Slot::Link(this)) = self.slots.get_mut(slot) {
                let deadline = this.closing.flatten().map_or(grace, |at| at.max(grace));
                this.closing = Some(Some(deadline));
            }
            self.retime_link(slot);
            self.read_link(slot, true);
        }
    }

    /// The end of a connection.
    pub(super) fn close_link(&mut self, slot: usize, reason: DisconnectReason) {
        let Slot::Link(this) = self.free_slot(slot) else {
            return;
        };
        let reason = reason.in_general();
        let LinkSlot {
            link,
            origin,
            state,
            closing,
            lease,
            place,
            ..
        } = this;
        let port = Arc::clone(&link.port);
        // What the protocol has to say last, such as why.
        let _ = link.output.run(|pump| pump.run_last(&link));
        link.deregister();
        link.writing.retire();
        let taken = link.output.lock().take_reader();
        let writer = link.input.lock().take_writer();
        let _ = link.stream.shutdown(Shutdown::Both);
        if state == State::Handshake {
            let reason = match lock(&link.proto).refuses() {
                // Whatever the peer made of it.
                true => DisconnectReason::Occupied,
                false => reason,
            };
            report_failure(&link, &reason);
            if let Origin::Dialed { slot: dialer } = origin {
                let lost = Lost {
                    reason: &reason,
                    in_handshake: true,
                };
                self.dialer_lost(dialer, None, &lost);
            }
            return;
        }
        let Some(key) = link.key() else {
            return;
        };
        let (reader, lost) = match taken {
            Some((reader, lost)) => (Some(reader), u64::from(lost)),
            None => (None, 0),
        };
        port.dropped(DropCause::PeerLost, lost);
        let mut ends = PipeEnds {
            key,
            reader,
            writer,
        };
        port.links.leave(&link);
        // Its subscriptions go, its pipes end, it is no longer counted, and only then is it told: who
        // hears of it sees its consequences.
        port.hooks.link_down(key);
        let replaced = reason == DisconnectReason::Replaced;
        let dialed = matches!(origin, Origin::Dialed { .. });
        let comes_back = dialed && !link.settings.config.immediate && !replaced;
        if !comes_back {
            port.hooks.departed(key);
        }
        let note = |ends: &mut PipeEnds| {
            if let Some(writer) = ends.writer.as_mut().filter(|_| closing.is_none()) {
                port.note_loss(writer, !dialed, !comes_back);
            }
        };
        let mut kept = None;
        if closing.is_some() {
            if state != State::Shut {
                let unsent = ends.reader.as_ref().map_or(0, Reader::queued_messages);
                Counters::add(&port.counters.unsent, unsent + lost);
            }
            drop(ends);
        } else if comes_back {
            note(&mut ends);
            let waits = ends.reader.as_mut().is_some_and(Reader::has_data);
            port.unlinked(key, lost > 0 || !waits);
            kept = Some(ends);
        } else {
            // Whoever receives that the peer has left cannot send to it any more.
            release_out(&port, &mut ends);
            note(&mut ends);
            release_in(&port, ends);
        }
        port.peer_down();
        drop(place);
        let told = match (closing, &reason) {
            // The peer's end was waited for, and whatever it is, this side began.
            (Some(_), _) if state == State::Shut => &DisconnectReason::ClosedLocally,
            (Some(_), DisconnectReason::PeerClosed) => &DisconnectReason::ClosedLocally,
            _ => &reason,
        };
        report_end(&link, told);
        if let Origin::Dialed { slot: dialer } = origin {
            match (closing, state) {
                // Its dialer ended when everything was written.
                (_, State::Shut) => {}
                (Some(_), _) => self.end_dialer(dialer),
                (None, _) => {
                    let lost = Lost {
                        reason: &reason,
                        in_handshake: false,
                    };
                    self.dialer_lost(dialer, kept, &lost);
                }
            }
        }
        drop(lease);
    }
}

/// What a peer is told that comes to a socket which has the only one it takes.
const OCCUPIED: &str = "The socket has a peer, and takes one at a time";
/// How a connection at this endpoint begins.
#[cfg_attr(
    not(feature = "ws"),
    allow(unused_variables, reason = "all connections begin alike")
)]
fn opening<'a>(endpoint: &'a Endpoint, origin: &Origin) -> Opening<'a> {
    #[cfg(feature = "ws")]
    if let crate::endpoint::Address::Ws(address) = endpoint.address() {
        return Opening::WebSocket {
            target: address.target.to_string().into(),
            path: &address.path,
            side: match origin {
                Origin::Accepted { .. } => Side::Server,
                Origin::Dialed { .. } => Side::Client(super::random),
            },
        };
    }
    Opening::Stream
}

/// How long a connection that has written everything waits for the peer to close its side. Closing
/// with input unread would make the kernel reset the connection and drop what is on its way.
const SHUT_GRACE: Duration = Duration::from_secs(2);

/// Whether a peer would be taken for gone, by what has been read of it.
fn is_overdue(link: &Link, now: Instant) -> bool {
    !link.octets.traffic.load(Ordering::Relaxed) && lock(&link.proto).is_overdue(now)
}

/// Whom the pattern cannot have is told before it sends anything.
fn refuse_if_full(link: &Link) {
    if link.port.hooks.is_full() {
        lock(&link.proto).refuse(OCCUPIED);
    }
}

/// What is known of the peer at the other end.
fn properties(link: &Link, peer: PeerInfo) -> PeerProperties {
    let address = match link.stream.peer_ip() {
        Some(ip) => ip.to_string(),
        None => link.peer.clone(),
    };
    PeerProperties {
        address: Some(address)
            .filter(|text| !text.is_empty())
            .map(Into::into),
        socket_type: peer.socket_type,
        identity: peer.identity,
        user_id: None,
        metadata: peer.properties,
    }
}

/// `None` is never.
pub(super) fn deadline_after(linger: Option<Duration>) -> Option<Instant> {
    linger.and_then(|linger| clock::now().checked_add(linger))
}
