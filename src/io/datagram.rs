//! Datagrams: a socket of the system's, and two pipes between it and a socket of ours.
//!
//! There is no connection and no handshake, and nothing to be made again: errors concern one datagram, are
//! counted, and end nothing. Every endpoint has one slot on one I/O thread.
//!
//! In the pipes a datagram is a message of two frames: address and body (DGRAM), or group and body (RADIO
//! and DISH). On the wire that of a group is the length of its name in one octet, the name, and the body.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::{Interest, Token as MioToken};

use super::dialing::release_ends;
use super::drops::DropCause;
use super::ends::new_ends;
use super::events::{EndpointId, SocketEvent};
use super::octets::LinkOctets;
use super::port::{Counters, Lease, PipeKey, Port};
use super::random;
use super::settings::Settings;
use super::thread::{Command, IoHandle, IoThread, PipeEnds, Slot};
use crate::config::Backoff;
use crate::endpoint::{Address, Endpoint};
use crate::message::{Frame, Message};
use crate::pipe::{Reader, Signal};
use crate::socket_type::SocketType;
use crate::sync::{barrier, clock};
use crate::transport::{known_addr, Datagrams, Family};

/// The most octets of a datagram, with everything that is in it.
pub(crate) const MAX_DATAGRAM: usize = 8192;

/// Datagrams of one endpoint before others get their turn, each way.
const TURN: usize = 64;

/// A udp endpoint on its I/O thread.
pub(super) struct DatagramSlot {
    pub(super) port: Arc<Port>,
    settings: Arc<Settings>,
    /// Bound or connected to.
    endpoint: Endpoint,
    pub(super) id: EndpointId,
    /// While the name of the target is not known yet, there is no descriptor.
    way: Way,
    form: Form,
    octets: Arc<LinkOctets>,
    /// Gone when the slot ends.
    ends: Option<PipeEnds>,
    /// The kernel took no more when this was to be sent.
    unsent: Option<Message>,
    /// Input was left unread when the turn was over.
    unread: bool,
    /// Set when the endpoint is being closed: when to give up what is unsent.
    closing: Option<Option<Instant>>,
    _lease: Lease,
}

/// Where datagrams go.
#[derive(Debug)]
pub(crate) enum Way {
    /// Bound: from anyone, and to whom they name.
    Bound(Datagrams),
    /// To one host or group.
    To(Datagrams, SocketAddr),
    /// To a host whose name is being looked up.
    Unknown(Box<Search>),
}

/// The look-up of a target.
#[derive(Debug)]
pub(crate) struct Search {
    backoff: Backoff,
    retry_at: Option<Instant>,
}

impl Way {
    fn socket(&mut self) -> Option<&mut Datagrams> {
        match self {
            Way::Bound(socket) | Way::To(socket, _) => Some(socket),
            Way::Unknown(_) => None,
        }
    }

    fn retry_at(&self) -> Option<Instant> {
        match self {
            Way::Unknown(search) => search.retry_at,
            Way::Bound(_) | Way::To(..) => None,
        }
    }
}

/// What the two frames of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Addressed,
    Grouped,
}

impl Form {
    fn of(socket_type: SocketType) -> Self {
        match socket_type {
            SocketType::Radio | SocketType::Dish => Form::Grouped,
            _ => Form::Addressed,
        }
    }
}

/// Binds an endpoint on the caller's thread and hands it to an I/O thread; returns the endpoint really
/// bound.
pub(crate) fn bind_datagrams(
    endpoint: &Endpoint,
    port: &Arc<Port>,
    home: &IoHandle,
    id: EndpointId,
) -> io::Result<Endpoint> {
    let Address::Udp(address) = endpoint.address() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let (socket, real) = Datagrams::bind(address, &port.settings().config)?;
    start(Way::Bound(socket), &real, port, home, id, port.new_key());
    Ok(real)
}

/// Opens an endpoint to send to, and hands it to an I/O thread, which looks its name up if it is one.
pub(crate) fn connect_datagrams(
    endpoint: &Endpoint,
    port: &Arc<Port>,
    home: &IoHandle,
    id: EndpointId,
    key: PipeKey,
) -> io::Result<()> {
    let Address::Udp(address) = endpoint.address() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let way = match known_addr(&address.target) {
        Some(target) => {
            let socket = Datagrams::towards(target, address, &port.settings().config)?;
            Way::To(socket, target)
        }
        None => Way::Unknown(Box::new(Search {
            backoff: Backoff::new(port.settings().config.reconnect),
            retry_at: None,
        })),
    };
    start(way, endpoint, port, home, id, key);
    Ok(())
}

fn start(
    way: Way,
    endpoint: &Endpoint,
    port: &Arc<Port>,
    home: &IoHandle,
    id: EndpointId,
    key: PipeKey,
) {
    let ends = new_ends(port, key, None);
    // Nobody says over this what is wanted.
    port.hooks.unfiltered_up(ends.key);
    port.peer_up();
    home.post(Command::Datagrams {
        port: Arc::clone(port),
        settings: port.settings(),
        way,
        endpoint: endpoint.clone(),
        id,
        ends,
        lease: port.lease(),
    });
}

/// Tells an I/O thread that there is something to send.
struct OutputSignal {
    home: IoHandle,
    slot: usize,
    id: EndpointId,
}

impl Signal for OutputSignal {
    fn signal(&self) {
        self.home.post(Command::SendDatagrams(self.slot, self.id));
    }
}

impl IoThread {
    pub(super) fn add_datagrams(
        &mut self,
        (port, settings): (Arc<Port>, Arc<Settings>),
        way: Way,
        endpoint: Endpoint,
        id: EndpointId,
        ends: PipeEnds,
        lease: Lease,
    ) {
        let slot = self.new_slot(Slot::Freed);
        if let Way::Bound(_) = way {
            port.report(|| SocketEvent::Listening {
                endpoint: endpoint.clone(),
                endpoint_id: id,
            });
        }
        if let Some(reader) = &ends.reader {
            reader.set_signal(Arc::new(OutputSignal {
                home: self.handle.clone(),
                slot,
                id,
            }));
        }
        self.slots[slot] = Slot::Datagrams(Box::new(DatagramSlot {
            form: Form::of(port.socket_type),
            octets: port.octets.join(),
            port,
            settings,
            endpoint,
            id,
            way,
            ends: Some(ends),
            unsent: None,
            unread: false,
            closing: None,
            _lease: lease,
        }));
        self.watch_datagrams(slot);
    }

    /// Begins to work, as soon as there is something to work with.
    fn watch_datagrams(&mut self, slot: usize) {
        let handle = self.handle.clone();
        let Some(this) = self.datagrams(slot) else {
            return;
        };
        match this.way.socket() {
            Some(socket) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                let registered = handle.registry().register(socket, MioToken(slot), both);
                if registered.is_err() {
                    // Nobody will tell of input: what can be sent is sent all the same.
                    Counters::add(&this.port.counters.datagram_errors, 1);
                }
                self.datagrams_ready(slot);
            }
            None => self.search_target(slot),
        }
    }

    fn search_target(&mut self, slot: usize) {
        let handle = self.handle.clone();
        let pool = self.pool.upgrade();
        let Some(this) = self.datagrams(slot) else {
            return;
        };
        let Way::Unknown(search) = &mut this.way else {
            return;
        };
        search.retry_at = None;
        let Address::Udp(address) = this.endpoint.address() else {
            return;
        };
        let (host, port) = (
            address.target.host_text().unwrap_or_default(),
            address.target.port,
        );
        let family = Family::with_ipv6(this.settings.config.tcp.ipv6);
        let id = this.id;
        let answer = move |result| handle.post(Command::DatagramTarget { slot, id, result });
        match pool {
            Some(pool) => pool.resolver().resolve(&host, port, family, answer),
            None => answer(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn target_found(
        &mut self,
        slot: usize,
        id: EndpointId,
        result: io::Result<Vec<SocketAddr>>,
    ) {
        let Some(this) = self.datagrams(slot).filter(|this| this.id == id) else {
            return;
        };
        let Way::Unknown(search) = &mut this.way else {
            return;
        };
        let opened = result.and_then(|found| {
            let Address::Udp(address) = this.endpoint.address() else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            // Nobody tells whether anything arrives: the first that can be sent to is the one.
            let mut failure = io::Error::from(io::ErrorKind::NotFound);
            for target in found {
                match Datagrams::towards(target, address, &this.settings.config) {
                    Ok(socket) => return Ok((socket, target)),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        });
        match opened {
            Ok((socket, target)) => {
                this.way = Way::To(socket, target);
                self.watch_datagrams(slot);
            }
            Err(error) => {
                let endpoint = this.endpoint.clone();
                let delay = search.backoff.next_delay(random());
                search.retry_at = delay.map(|delay| clock::now() + delay);
                this.port.report(|| SocketEvent::ConnectFailed {
                    endpoint,
                    endpoint_id: id,
                    reason: error.into(),
                });
                if delay.is_some() {
                    self.send_datagrams(slot);
                } else {
                    self.end_datagrams(slot);
                }
            }
        }
    }

    fn datagrams(&mut self, slot: usize) -> Option<&mut DatagramSlot> {
        match self.slots.get_mut(slot) {
            Some(Slot::Datagrams(datagrams)) => Some(datagrams),
            _ => None,
        }
    }

    /// Something can be read, or written again, or the slot's timer has fired.
    pub(super) fn datagrams_ready(&mut self, slot: usize) {
        let Some(this) = self.datagrams(slot) else {
            return;
        };
        this.receive();
        if this.way.retry_at().is_some_and(|at| at <= clock::now()) {
            self.search_target(slot);
        }
        self.send_datagrams(slot);
    }

    /// Sends what waits.
    pub(super) fn send_datagrams(&mut self, slot: usize) {
        let Some(this) = self.datagrams(slot) else {
            return;
        };
        let now = clock::now();
        let more = this.send();
        let over = this.closing.flatten().is_some_and(|at| at <= now);
        if this.closing.is_some() && (over || this.is_drained()) {
            self.end_datagrams(slot);
            return;
        }
        let at = if more || this.unread {
            // No event will tell of the rest.
            Some(now)
        } else {
            let times = [this.closing.flatten(), this.way.retry_at()];
            times.into_iter().flatten().min()
        };
        self.timers.set(slot, at);
    }

    pub(super) fn has_datagrams(&self, slot: usize, id: EndpointId) -> bool {
        matches!(self.slots.get(slot), Some(Slot::Datagrams(this)) if this.id == id)
    }

    /// Begins to close: what is queued is sent, until the deadline.
    pub(super) fn close_datagrams(&mut self, slot: usize, deadline: Option<Instant>) {
        let Some(this) = self.datagrams(slot) else {
            return;
        };
        if this.closing.is_none() {
            this.closing = Some(deadline);
            // Nothing more comes in.
            if let Some(ends) = &mut this.ends {
                ends.writer = None;
            }
        }
        self.send_datagrams(slot);
    }

    fn end_datagrams(&mut self, slot: usize) {
        let Slot::Datagrams(mut this) = self.free_slot(slot) else {
            return;
        };
        if let Some(socket) = this.way.socket() {
            let _ = self.handle.registry().deregister(socket);
        }
        if let Some(ends) = this.ends.take() {
            this.port.hooks.link_down(ends.key);
            let closing = this.port.is_closing();
            if closing && this.unsent.is_some() {
                Counters::add(&this.port.counters.unsent, 1);
            }
            release_ends(&this.port, ends, closing);
        }
        this.port.peer_down();
        this.port.report(|| SocketEvent::Closed {
            endpoint: this.endpoint.clone(),
            endpoint_id: this.id,
        });
    }
}

impl DatagramSlot {
    /// Reads what has come, up to a turn's worth.
    fn receive(&mut self) {
        self.unread = false;
        let Some(socket) = self.way.socket() else {
            return;
        };
        let mut writer = self.ends.as_mut().and_then(|ends| ends.writer.as_mut());
        let (form, octets) = (self.form, &self.octets);
        let port = &self.port;
        let counters = &port.counters;
        // One more than may come: what fills it was longer.
        let mut buffer = [0; MAX_DATAGRAM + 1];
        for _ in 0..TURN {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    Counters::add_owned(&octets.read, length as u64);
                    // Of who only sends, or is closing, nobody wants it.
                    let Some(writer) = &mut writer else {
                        continue;
                    };
                    let Some((head, body)) = form.parse(&buffer[..length], from) else {
                        port.dropped(DropCause::Malformed, 1);
                        continue;
                    };
                    if !writer.has_credit() {
                        port.dropped(DropCause::Full, 1);
                        continue;
                    }
                    writer.append_frame(&head, true);
                    writer.append_frame(&Frame::copy_from_slice(body), false);
                    writer.publish_and_signal();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Of a datagram sent before, which somebody has answered for; there may be more to read.
                Err(_) => Counters::add(&counters.datagram_errors, 1),
            }
        }
        self.unread = true;
    }

    /// Sends what waits, up to a turn's worth; whether there is more.
    fn send(&mut self) -> bool {
        if self.way.socket().is_none() {
            return false;
        }
        let mut sent = 0;
        loop {
            while sent < TURN {
                let Some(message) = self.unsent.take().or_else(|| {
                    let reader = self.ends.as_mut()?.reader.as_mut()?;
                    reader.read_message()
                }) else {
                    break;
                };
                sent += 1;
                if !self.send_one(&message) {
                    self.unsent = Some(message);
                    return false;
                }
            }
            let Some(reader) = self.ends.as_mut().and_then(|ends| ends.reader.as_mut()) else {
                return false;
            };
            if sent >= TURN && reader.has_data() {
                return true;
            }
            if reader.arm() {
                barrier::heavy();
            }
            // Also of a writer that is gone, which leaves nothing more to wait for.
            if !reader.stay_awake() || !reader.has_data() {
                return false;
            }
        }
    }

    /// `false`: the kernel takes nothing now, and an event will tell when it does.
    fn send_one(&self, message: &Message) -> bool {
        let counters = &self.port.counters;
        let (socket, target) = match &self.way {
            Way::Bound(socket) => (socket, None),
            Way::To(socket, target) => (socket, Some(*target)),
            Way::Unknown(_) => return false,
        };
        let [head, body] = message.frames() else {
            // The socket checks what it is given.
            Counters::add(&counters.datagram_errors, 1);
            return true;
        };
        let mut grouped = Vec::new();
        let (to, octets) = match self.form {
            Form::Addressed => (address(head), body.as_slice()),
            Form::Grouped => {
                // Names are checked before they come here; others would name another group.
                grouped.push(u8::try_from(head.len()).unwrap_or(u8::MAX));
                grouped.extend_from_slice(head.as_slice());
                grouped.extend_from_slice(body.as_slice());
                let fits = head.len() <= usize::from(u8::MAX) && grouped.len() <= MAX_DATAGRAM;
                (target.filter(|_| fits), grouped.as_slice())
            }
        };
        let Some(to) = to else {
            Counters::add(&counters.datagram_errors, 1);
            return true;
        };
        match socket.send_to(octets, to) {
            Ok(()) => Counters::add_owned(&self.octets.written, octets.len() as u64),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => Counters::add(&counters.datagram_errors, 1),
        }
        true
    }

    fn is_drained(&mut self) -> bool {
        let reader = self.ends.as_mut().and_then(|ends| ends.reader.as_mut());
        self.unsent.is_none() && !reader.is_some_and(Reader::has_data)
    }
}

impl Form {
    /// The two frames of the message that a datagram is; `None` if it is none of this form.
    fn parse(self, octets: &[u8], from: SocketAddr) -> Option<(Frame, &[u8])> {
        if octets.is_empty() || octets.len() > MAX_DATAGRAM {
            return None;
        }
        match self {
            Form::Addressed => Some((Frame::from(from.to_string()), octets)),
            Form::Grouped => {
                let (length, rest) = octets.split_first()?;
                let length = usize::from(*length);
                if rest.len() < length {
                    return None;
                }
                let (group, body) = rest.split_at(length);
                // No group has such a name (48/RADDSH).
                (!group.contains(&0)).then(|| (Frame::copy_from_slice(group), body))
            }
        }
    }
}

fn address(frame: &Frame) -> Option<SocketAddr> {
    std::str::from_utf8(frame.as_slice()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{ContextConfig, SocketConfig};
    use crate::io::monitor::{Monitor, MonitorOptions};
    use crate::io::pool::IoPool;
    use crate::io::port::{Inbound, NoHooks, Outbound};
    use crate::transport::Resolver;

    /// Reached only by a test that fails.
    const WATCHDOG: Duration = Duration::from_secs(20);

    fn port(
        socket_type: SocketType,
        lookup: impl Fn(usize) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> (Arc<Port>, Arc<IoPool>) {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let resolver = Resolver::with_lookup(WATCHDOG, move |_, _| {
            lookup(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        });
        let pool = IoPool::with_resolver(ContextConfig::default(), resolver);
        let ms = Duration::from_millis;
        let config = SocketConfig {
            reconnect: crate::config::ReconnectPolicy::backoff(ms(1), ms(1)),
            ..SocketConfig::default()
        };
        let port = Port::new(socket_type, config, Arc::new(NoHooks), Arc::clone(&pool));
        (port, pool)
    }

    fn id() -> EndpointId {
        EndpointId(crate::io::thread::next_id())
    }

    fn close(port: &Arc<Port>, pool: &IoPool) {
        port.set_closing();
        for thread in pool.started() {
            thread.post(Command::CloseSocket {
                port: Arc::clone(port),
                deadline: None,
            });
        }
        while port.lease_count() > 0 {
            assert!(port.released().wait(clock::now().checked_add(WATCHDOG)));
        }
    }

    /// The layout of 48/RADDSH over datagrams, octet by octet.
    #[test]
    fn a_group_goes_before_its_body() {
        let (port, pool) = port(SocketType::Radio, |_| panic!("nothing to look up"));
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        theirs.set_read_timeout(Some(WATCHDOG)).unwrap();
        let endpoint = format!("udp://{}", theirs.local_addr().unwrap());
        let home = pool.place(0).unwrap();
        connect_datagrams(
            &endpoint.parse().unwrap(),
            &port,
            &home,
            id(),
            port.new_key(),
        )
        .unwrap();
        port.outbound.take_pending();
        let Some(Outbound::Up { mut writer, .. }) = port.outbound.pop() else {
            panic!("a pipe")
        };
        let long = vec![b'g'; 255];
        for (group, body) in [
            (&b"news"[..], &b"hello"[..]),
            (b"", b"nameless"),
            (&long, b""),
            // Neither fits; both are dropped and counted.
            (b"g", &[7; MAX_DATAGRAM - 1]),
            (&[b'g'; 256], b"x"),
            (b"last", b"one"),
        ] {
            writer.append_message(&Message::multipart([group.to_vec(), body.to_vec()]));
            writer.publish_and_signal();
        }
        let mut buffer = [0; 600];
        for expected in [
            b"\x04newshello".to_vec(),
            b"\x00nameless".to_vec(),
            [&[255][..], &long].concat(),
            b"\x04lastone".to_vec(),
        ] {
            let length = theirs.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
        }
        drop(writer);
        close(&port, &pool);
        let errors = &port.counters.datagram_errors;
        assert_eq!(errors.load(std::sync::atomic::Ordering::Relaxed), 2);
    }

    #[test]
    fn a_dish_gets_groups_and_what_is_malformed_is_counted() {
        let (port, pool) = port(SocketType::Dish, |_| panic!("nothing to look up"));
        let home = pool.place(0).unwrap();
        let at = "udp://127.0.0.1:*".parse().unwrap();
        let real = bind_datagrams(&at, &port, &home, id()).unwrap();
        let to = real.socket_addr().unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        for datagram in [
            &b""[..],
            b"\x05news",
            b"\xff",
            b"\x01\x00",
            &[0; MAX_DATAGRAM + 1],
            b"\x04newshello",
            b"\x00",
        ] {
            theirs.send_to(datagram, to).unwrap();
        }
        port.inbound.take_pending();
        let Some(Inbound::Up { mut reader, .. }) = port.inbound.pop() else {
            panic!("a pipe")
        };
        for expected in [["news", "hello"], ["", ""]] {
            let end = std::time::Instant::now() + WATCHDOG;
            let message = loop {
                match reader.has_data().then(|| reader.read_message()).flatten() {
                    Some(message) => break message,
                    None => std::thread::yield_now(),
                }
                assert!(std::time::Instant::now() < end, "nothing came");
            };
            assert_eq!(message, Message::multipart(expected));
        }
        assert_eq!(port.counters.drops.count(DropCause::Malformed), 5);
        close(&port, &pool);
    }

    fn failures(monitor: &mut Monitor) -> usize {
        let mut count = 0;
        while let Some(SocketEvent::ConnectFailed { .. }) = monitor.try_recv() {
            count += 1;
        }
        count
    }

    /// Names are looked up off the I/O threads, and again until they are known; what was sent meanwhile
    /// waits.
    #[test]
    fn the_name_of_a_target_is_looked_up_until_it_is_known() {
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        theirs.set_read_timeout(Some(WATCHDOG)).unwrap();
        let at = theirs.local_addr().unwrap();
        let (port, pool) = port(SocketType::Radio, move |count| match count {
            0 | 1 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(vec![at]),
        });
        let mut monitor = port.monitor(MonitorOptions::default());
        let home = pool.place(0).unwrap();
        connect_datagrams(
            &"udp://a.name:1".parse().unwrap(),
            &port,
            &home,
            id(),
            port.new_key(),
        )
        .unwrap();
        port.outbound.take_pending();
        let Some(Outbound::Up { mut writer, .. }) = port.outbound.pop() else {
            panic!("a pipe")
        };
        writer.append_message(&Message::multipart(["g", "early"]));
        writer.publish_and_signal();
        let mut buffer = [0; 100];
        let length = theirs.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"\x01gearly");
        assert_eq!(failures(&mut monitor), 2);
        drop(writer);
        close(&port, &pool);
    }

    proptest! {
        #[test]
        fn any_datagram_is_a_message_or_none(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            let from = "192.0.2.1:7".parse().unwrap();
            if let Some((group, body)) = Form::Grouped.parse(&octets, from) {
                prop_assert_eq!(usize::from(octets[0]), group.len());
                prop_assert_eq!(&octets[1..], &[group.as_slice(), body].concat()[..]);
            }
            prop_assert_eq!(Form::Addressed.parse(&octets, from).is_some(), !octets.is_empty());
        }
    }
}
