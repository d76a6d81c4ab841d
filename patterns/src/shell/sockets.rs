//! The sockets of an engine: a ROUTER, or a DEALER per port, all waited for at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sinew::{
    BuildError, Context, Dealer, Endpoint, Interest, Message, Monitor, Pollable, ReconnectPolicy,
    Router, SendFailure, SocketEvent,
};

use super::spin::Spin;
use super::watched::Watched;
use crate::common::{PeerEvent, PeerId, Port, Transmit};

/// See the module.
#[derive(Debug)]
pub(crate) struct Sockets {
    context: Context,
    /// How long a DEALER that is closed may take to send what is left.
    linger: Duration,
    wires: BTreeMap<Port, Wire>,
    /// What could not be opened, to be tried again.
    unopened: BTreeMap<Port, (Endpoint, Instant)>,
    /// Those that may have something; the others ring the bell when they do.
    awake: BTreeSet<Port>,
    /// Those of which no message is wanted now.
    paused: BTreeSet<Port>,
    /// DEALERs that took back the last message, and why, until they have room. Full peers of a ROUTER are watched by it.
    full: BTreeMap<Port, SendFailure>,
    /// Where there is room again, as was found in passing.
    room: Vec<(Port, Option<PeerId>)>,
    bell: Arc<Bell>,
    /// The bell interrupts the only socket.
    alone: bool,
    spin: Spin,
}

#[derive(Debug)]
struct Wire {
    socket: Socket,
    monitor: Monitor,
    /// Rings for it.
    waker: Waker,
}

/// What was not sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// There is no room now: [`Sockets::take_room`] says when there is.
    Full(Transmit),
    /// Its peer is gone, or would never take it.
    Refused(Transmit),
    /// It has so many octets, and its socket sends at most so many.
    TooLarge(Transmit, u64, u64),
}

#[derive(Debug)]
enum Socket {
    Dealer(Box<Dealer>),
    Router(Box<Router>),
}

impl Socket {
    fn interrupter(&self) -> Waker {
        match self {
            Socket::Dealer(dealer) => dealer.interrupter(),
            Socket::Router(router) => router.interrupter(),
        }
    }

    fn wait_readable(&mut self, until: Option<Instant>) {
        match self {
            Socket::Dealer(dealer) => dealer.wait_readable(until),
            Socket::Router(router) => router.wait_readable(until),
        };
    }
}

impl Wire {
    /// Whether there are messages; from then on it rings when there are.
    fn is_readable(&mut self) -> bool {
        let context = &mut TaskContext::from_waker(&self.waker);
        let socket: &mut dyn Pollable = match &mut self.socket {
            Socket::Dealer(dealer) => &mut **dealer,
            Socket::Router(router) => &mut **router,
        };
        socket.poll_ready(context, Interest::READABLE).is_ready()
    }

    /// Whether anything but messages is there to be told of: of its connections, or that there is room. From then on it
    /// rings when there is. `full`: of a DEALER, whether it is.
    fn has_more_to_tell(
        &mut self,
        port: Port,
        full: bool,
        room: &mut Vec<(Port, Option<PeerId>)>,
    ) -> bool {
        let context = &mut TaskContext::from_waker(&self.waker);
        let has_room = match &mut self.socket {
            Socket::Dealer(dealer) => {
                full && dealer.poll_ready(context, Interest::WRITABLE).is_ready()
            }
            Socket::Router(router) => match router.poll_room(context) {
                Poll::Ready(peer) => {
                    room.push((port, Some(PeerId::of(peer.as_bytes()))));
                    true
                }
                Poll::Pending => false,
            },
        };
        let monitor = &mut self.monitor;
        has_room || monitor.poll_ready(context, Interest::READABLE).is_ready()
    }
}

impl Sockets {
    pub(crate) fn new(context: &Context, linger: Duration) -> Self {
        Sockets {
            context: context.clone(),
            linger,
            wires: BTreeMap::new(),
            unopened: BTreeMap::new(),
            awake: BTreeSet::new(),
            paused: BTreeSet::new(),
            full: BTreeMap::new(),
            room: Vec::new(),
            bell: Arc::default(),
            alone: false,
            spin: Spin::default(),
        }
    }

    /// Ends a wait.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.bell))
    }

    pub(crate) fn add_router(&mut self, port: Port, router: Router) {
        let monitor = router.monitor();
        self.add(port, Socket::Router(Box::new(router)), monitor);
    }

    fn add(&mut self, port: Port, socket: Socket, monitor: Monitor) {
        let bell = Arc::clone(&self.bell);
        let wire = Wire {
            socket,
            monitor,
            waker: Waker::from(Arc::new(Clapper { bell, port })),
        };
        self.in_company();
        self.wires.insert(port, wire);
        self.awake.insert(port);
    }

    pub(crate) fn router(&mut self, port: Port) -> Option<&mut Router> {
        match &mut self.wires.get_mut(&port)?.socket {
            Socket::Router(router) => Some(router),
            Socket::Dealer(_) => None,
        }
    }

    /// A new DEALER at this port, in place of an earlier one, which is closed.
    pub(crate) fn open(&mut self, port: Port, endpoint: &Endpoint) -> Result<(), BuildError> {
        self.close(port);
        let mut dealer = Dealer::builder()
            .context(&self.context)
            // What was given up is not to be carried out later: nothing is queued for a peer that is not
            // connected, and nothing outlives its connection.
            .immediate(true)
            .linger(self.linger)
            .reconnect(ReconnectPolicy::backoff(RECONNECT.0, RECONNECT.1))
            .build()?;
        // Before there can be anything to tell.
        let monitor = dealer.monitor();
        dealer.connect(endpoint)?;
        self.add(port, Socket::Dealer(Box::new(dealer)), monitor);
        Ok(())
    }

    /// The same, and again later if it cannot be done now: the context may have too many sockets.
    pub(crate) fn open_soon(&mut self, port: Port, endpoint: &Endpoint) {
        if self.open(port, endpoint).is_err() {
            let at = Instant::now() + REOPEN;
            self.unopened.insert(port, (endpoint.clone(), at));
        }
    }

    /// Closes a DEALER; what it has not sent is sent in the background, within the linger time.
    pub(crate) fn close(&mut self, port: Port) {
        self.wires.remove(&port);
        self.unopened.remove(&port);
        self.paused.remove(&port);
        self.full.remove(&port);
        self.room.retain(|(of, _)| *of != port);
    }

    /// Closes all, and waits for what they have not sent.
    pub(crate) fn close_all(&mut self) {
        for (_, wire) in std::mem::take(&mut self.wires) {
            match wire.socket {
                Socket::Dealer(dealer) => drop(dealer.close()),
                Socket::Router(router) => drop(router.close()),
            }
        }
    }

    /// Never waits.
    ///
    /// # Errors
    /// Gives it back if the peer is not there, or has no room.
    pub(crate) fn send(&mut self, transmit: Transmit) -> Result<(), Unsent> {
        let Transmit { port, to, message } = transmit;
        let sent = match (self.wires.get_mut(&port).map(|wire| &mut wire.socket), &to) {
            (Some(Socket::Dealer(dealer)), None) => dealer.try_send(message),
            (Some(Socket::Router(router)), Some(to)) => router.try_send_to(to.as_bytes(), message),
            _ => return Err(Unsent::Refused(Transmit { port, to, message })),
        };
        let Err(error) = sent else {
            return Ok(());
        };
        let reason = error.reason();
        let full = reason == SendFailure::WouldBlock;
        let message = error.into_message();
        match &to {
            None => drop(self.full.insert(port, reason)),
            Some(to) if full => self.watch_room(port, to),
            Some(_) => {}
        }
        // It is looked at before the next sleep, and rings when it has room.
        self.awake.insert(port);
        let transmit = Transmit { port, to, message };
        Err(match reason {
            SendFailure::WouldBlock => Unsent::Full(transmit),
            SendFailure::MessageTooLarge { size, limit } => Unsent::TooLarge(transmit, size, limit),
            _ => Unsent::Refused(transmit),
        })
    }

    /// Why the last message was refused at this port, if the room it has now was not told since.
    pub(crate) fn refusal(&self, port: Port) -> Option<SendFailure> {
        self.full.get(&port).copied()
    }

    /// Who has come and gone since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<(Port, PeerEvent)> {
        self.reopen();
        self.awake.extend(self.bell.ports().drain(..));
        let mut events = Vec::new();
        for port in &self.awake {
            let Some(wire) = self.wires.get_mut(port) else {
                continue;
            };
            while let Some(event) = wire.monitor.try_recv() {
                let (id, up) = match event {
                    SocketEvent::HandshakeSucceeded { routing_id, .. } => (routing_id, true),
                    SocketEvent::Disconnected { routing_id, .. } => (routing_id, false),
                    _ => continue,
                };
                let peer = match wire.socket {
                    Socket::Dealer(_) => None,
                    Socket::Router(_) => match id {
                        Some(id) => Some(PeerId::of(id.as_bytes())),
                        None => continue,
                    },
                };
                let event = match up {
                    true => PeerEvent::Up { peer },
                    false => PeerEvent::Down { peer },
                };
                events.push((*port, event));
            }
        }
        events
    }

    #[cold]
    fn watch_room(&mut self, port: Port, peer: &PeerId) {
        let watched = (self.router(port)).is_some_and(|router| router.watch_room(peer.as_bytes()));
        if !watched {
            // To send to it will fail, and not wait.
            self.room.push((port, Some(peer.clone())));
        }
    }

    /// Where there is room again. Only those that have something to tell are looked at: to ask all that are full may
    /// cost a system call each.
    pub(crate) fn take_room(&mut self) -> Vec<(Port, Option<PeerId>)> {
        let mut room = std::mem::take(&mut self.room);
        for port in &self.awake {
            match self.wires.get_mut(port).map(|wire| &mut wire.socket) {
                Some(Socket::Dealer(dealer)) => {
                    let full = self.full.contains_key(port);
                    if full && dealer.readiness().is_writable() {
                        self.full.remove(port);
                        room.push((*port, None));
                    }
                }
                Some(Socket::Router(router)) => {
                    while let Some(peer) = router.try_room() {
                        room.push((*port, Some(PeerId::of(peer.as_bytes()))));
                    }
                }
                _ => {}
            }
        }
        room
    }

    /// The ports at which there may be messages.
    pub(crate) fn awake(&self) -> Vec<Port> {
        self.awake.iter().copied().collect()
    }

    /// No message of this port is wanted: what comes ends no wait.
    pub(crate) fn pause(&mut self, port: Port) {
        self.paused.insert(port);
    }

    /// Whether there is a port whose messages are not wanted now.
    pub(crate) fn is_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Messages of these ports are wanted again; whether there are any such ports.
    pub(crate) fn resume(&mut self, wanted: impl Fn(Port) -> bool) -> bool {
        if self.paused.is_empty() {
            return false;
        }
        let before = self.paused.len();
        let awake = &mut self.awake;
        self.paused.retain(|port| {
            let wanted = wanted(*port);
            if wanted {
                // It does not ring for what has come before.
                awake.insert(*port);
            }
            !wanted
        });
        self.paused.len() < before
    }

    /// Takes a message.
    pub(crate) fn try_recv(&mut self, port: Port) -> Option<(Option<PeerId>, Message)> {
        match &mut self.wires.get_mut(&port)?.socket {
            Socket::Dealer(dealer) => dealer.try_recv().ok().map(|message| (None, message)),
            Socket::Router(router) => router
                .try_recv_with(|id, message| (Some(PeerId::of(id.as_bytes())), message))
                .ok(),
        }
    }

    /// Waits until something may have come, or until then.
    pub(crate) fn wait(&mut self, until: Option<Instant>) {
        let until = self.wake_at(until);
        if let Some(port) = self.only() {
            return self.wait_at(port, until);
        }
        self.in_company();
        if self.fall_asleep() {
            let bell = &self.bell;
            // Not for long, so without a look at the time.
            if !self.spin.until(|| bell.heard().is_some()) {
                let _ = bell.sleep.wait(until, |_| bell.heard());
            }
        }
    }

    /// The only socket.
    fn only(&self) -> Option<Port> {
        let port = *self.wires.first_key_value()?.0;
        // Who waits at it is told of messages.
        (self.wires.len() == 1 && self.paused.is_empty()).then_some(port)
    }

    /// With one socket the thread that waits reads its connections itself, and the bell interrupts that.
    fn wait_at(&mut self, port: Port, until: Option<Instant>) {
        let Some(wire) = self.wires.get_mut(&port) else {
            return;
        };
        if !std::mem::replace(&mut self.alone, true) {
            self.bell.set_only(Some(wire.socket.interrupter()));
        }
        // It is looked at whatever ends the wait.
        self.awake.insert(port);
        let full = self.full.contains_key(&port);
        let told = wire.has_more_to_tell(port, full, &mut self.room) || !self.room.is_empty();
        if !told && self.bell.heard().is_none() {
            wire.socket.wait_readable(until);
            // Whatever it was about is looked at now.
            let _ = self.bell.heard();
        }
    }

    /// From here on the bell ends the sleep of whoever waits for all sockets.
    fn in_company(&mut self) {
        if std::mem::take(&mut self.alone) {
            self.bell.set_only(None);
        }
    }

    /// The same for a task. Dropping the future loses nothing: a ring that nobody heard is heard next time.
    pub(crate) async fn wait_async(&mut self, until: Option<Instant>) {
        let until = self.wake_at(until);
        self.in_company();
        if self.fall_asleep() {
            let bell = &self.bell;
            let _ = bell.sleep.wait_async(until, |_| bell.heard()).await;
        }
    }

    /// This time, or that of a socket that is to be opened, if that is before it.
    fn wake_at(&self, until: Option<Instant>) -> Option<Instant> {
        let reopen = self.unopened.values().map(|(_, at)| *at);
        reopen.chain(until).min()
    }

    /// Whether nothing has come anywhere. From then on the sockets ring when something does.
    fn fall_asleep(&mut self) -> bool {
        let (wires, full, room) = (&mut self.wires, &self.full, &mut self.room);
        let paused = &self.paused;
        self.awake.retain(|port| {
            wires.get_mut(port).is_some_and(|wire| {
                let has_message = !paused.contains(port) && wire.is_readable();
                has_message || wire.has_more_to_tell(*port, full.contains_key(port), room)
            })
        });
        self.awake.is_empty() && self.room.is_empty()
    }

    fn reopen(&mut self) {
        if self.unopened.is_empty() {
            return;
        }
        let now = Instant::now();
        let due: Vec<Port> = (self.unopened.iter())
            .filter(|(_, (_, at))| *at <= now)
            .map(|(port, _)| *port)
            .collect();
        for port in due {
            if let Some((endpoint, _)) = self.unopened.remove(&port) {
                self.open_soon(port, &endpoint);
            }
        }
    }
}

/// What a driver sleeps on. A ring is remembered, so none is missed.
#[derive(Debug, Default)]
struct Bell {
    /// Set before anybody is told: who is about to sleep looks at it under the lock of `sleep`.
    rung: AtomicBool,
    /// By which sockets. Each rings at most three times before it is looked at: for messages, for its connections, and
    /// for room.
    ports: Mutex<Vec<Port>>,
    /// What ends a wait for the only socket. Set before the look at `rung`: who rings looks at it afterwards.
    only: Mutex<Option<Waker>>,
    sleep: Watched<()>,
}

impl Bell {
    fn ring(&self, port: Option<Port>) {
        if let Some(port) = port {
            self.ports().push(port);
        }
        // Who has rung already has told whoever sleeps.
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        match &*lock(&self.only) {
            Some(only) => only.wake_by_ref(),
            None => self.sleep.lock().tell_one(),
        }
    }

    fn set_only(&self, only: Option<Waker>) {
        *lock(&self.only) = only;
    }

    /// Takes a ring.
    fn heard(&self) -> Option<()> {
        let rung = self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel);
        rung.then_some(())
    }

    fn ports(&self) -> MutexGuard<'_, Vec<Port>> {
        lock(&self.ports)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring(None);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring(None);
    }
}

/// Rings for one socket.
struct Clapper {
    bell: Arc<Bell>,
    port: Port,
}

impl Wake for Clapper {
    fn wake(self: Arc<Self>) {
        self.bell.ring(Some(self.port));
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bell.ring(Some(self.port));
    }
}

/// Somebody waits for the connection, so the pauses are shorter than a socket's default. A server that
/// is down sees at most one attempt per second and socket.
pub(crate) const RECONNECT: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));

/// The pause before a socket that could not be opened is tried again.
const REOPEN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use sinew::RoutingId;

    use super::*;

    /// Of many peers that are full, the one that has room is told in the next turn, and no other is looked at: what a turn
    /// costs does not depend on how many wait.
    #[test]
    fn who_has_room_is_told_among_many_that_are_full() {
        const MANY: usize = 100;
        let context = Context::builder().build().unwrap();
        let builder = Router::builder().context(&context).send_hwm(1);
        let mut router = builder.build().unwrap();
        router.bind("inproc://many").unwrap();
        let mut sockets = Sockets::new(&context, Duration::ZERO);
        let mut dealers: Vec<Dealer> = Vec::new();
        for i in 0..MANY {
            let id = RoutingId::new(format!("{i:03}")).unwrap();
            let builder = Dealer::builder().context(&context).recv_hwm(1);
            let mut dealer = builder.routing_id(id).connect("inproc://many").unwrap();
            dealer.send("here").unwrap();
            router.recv().unwrap();
            dealers.push(dealer);
        }
        sockets.add_router(PORT, router);
        let fill = |sockets: &mut Sockets, i: usize| loop {
            let transmit = Transmit {
                port: PORT,
                to: Some(PeerId::of(format!("{i:03}").as_bytes())),
                message: "x".into(),
            };
            match sockets.send(transmit) {
                Ok(()) => {}
                Err(Unsent::Full(_)) => break,
                Err(unsent) => panic!("{unsent:?}"),
            }
        };
        (0..MANY).for_each(|i| fill(&mut sockets, i));
        sockets.take_events();
        assert_eq!(sockets.take_room(), []);
        for i in [MANY - 1, 0, MANY / 2] {
            while dealers[i].try_recv().is_ok() {}
            let peer = PeerId::of(format!("{i:03}").as_bytes());
            assert_eq!(sockets.take_room(), [(PORT, Some(peer))]);
            assert_eq!(sockets.take_room(), [], "once");
            fill(&mut sockets, i);
        }
        // It ends a wait, too; and so does one that is gone, which the socket's monitor tells.
        let last = dealers.pop().unwrap();
        let reader = std::thread::spawn(move || {
            let mut last = last;
            while last.try_recv().is_ok() {}
            last
        });
        let peer = PeerId::of(format!("{:03}", MANY - 1).as_bytes());
        loop {
            sockets.wait(None);
            sockets.take_events();
            let room = sockets.take_room();
            if !room.is_empty() {
                assert_eq!(room, [(PORT, Some(peer.clone()))]);
                break;
            }
        }
        drop(reader.join().unwrap());
        loop {
            sockets.wait(None);
            let down = PeerEvent::Down {
                peer: Some(peer.clone()),
            };
            if sockets.take_events().contains(&(PORT, down)) {
                break;
            }
        }
    }

    const PORT: Port = Port(0);
}
