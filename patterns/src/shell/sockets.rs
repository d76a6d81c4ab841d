//! The sockets of an engine: a ROUTER, or a DEALER per port, all waited for at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sinew::{
    BuildError, Context, Dealer, Endpoint, Interest, Message, Monitor, Pollable, ReconnectPolicy,
    Router, SocketEvent, Transport,
};

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
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Debug)]
struct Wire {
    socket: Socket,
    monitor: Monitor,
    /// Over inproc nobody tells of connections: there is one from the beginning.
    begins_up: bool,
}

#[derive(Debug)]
enum Socket {
    Dealer(Box<Dealer>),
    Router(Box<Router>),
}

impl Sockets {
    pub(crate) fn new(context: &Context, linger: Duration) -> Self {
        let bell = Arc::<Bell>::default();
        Sockets {
            context: context.clone(),
            linger,
            wires: BTreeMap::new(),
            unopened: BTreeMap::new(),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    /// Ends a wait.
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(crate) fn add_router(&mut self, port: Port, router: Router) {
        let wire = Wire {
            monitor: router.monitor(),
            socket: Socket::Router(Box::new(router)),
            begins_up: false,
        };
        self.wires.insert(port, wire);
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
        let wire = Wire {
            monitor,
            begins_up: endpoint.transport() == Transport::Inproc,
            socket: Socket::Dealer(Box::new(dealer)),
        };
        self.wires.insert(port, wire);
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

    /// Never waits. False if the peer is not there, or has no room.
    pub(crate) fn send(&mut self, transmit: &Transmit) -> bool {
        let Some(wire) = self.wires.get_mut(&transmit.port) else {
            return false;
        };
        let message = transmit.message.clone();
        match (&mut wire.socket, &transmit.to) {
            (Socket::Dealer(dealer), None) => dealer.try_send(message).is_ok(),
            (Socket::Router(router), Some(to)) => {
                router.try_send_to(to.as_bytes(), message).is_ok()
            }
            _ => false,
        }
    }

    /// Who has come and gone since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<(Port, PeerEvent)> {
        self.reopen();
        let mut events = Vec::new();
        for (port, wire) in &mut self.wires {
            if std::mem::take(&mut wire.begins_up) {
                events.push((*port, PeerEvent::Up { peer: None }));
            }
            while let Some(event) = wire.monitor.try_recv() {
                let (id, up) = match event {
                    SocketEvent::HandshakeSucceeded { routing_id, .. } => (routing_id, true),
                    SocketEvent::Disconnected { routing_id, .. } => (routing_id, false),
                    _ => continue,
                };
                let peer = match wire.socket {
                    Socket::Dealer(_) => None,
                    Socket::Router(_) => match id {
                        Some(id) => Some(PeerId::from(id.as_bytes())),
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

    /// Takes a message from the first port from this one on that has one. Returns that port, too.
    pub(crate) fn try_recv(&mut self, from: Port) -> Option<(Port, Option<PeerId>, Message)> {
        for (port, wire) in self.wires.range_mut(from..) {
            let received = match &mut wire.socket {
                Socket::Dealer(dealer) => dealer.try_recv().ok().map(|message| (None, message)),
                Socket::Router(router) => router
                    .try_recv_from()
                    .ok()
                    .map(|(id, message)| (Some(PeerId::from(id.as_bytes())), message)),
            };
            if let Some((peer, message)) = received {
                return Some((*port, peer, message));
            }
        }
        None
    }

    /// Waits until something may have come, or until then.
    pub(crate) fn wait(&mut self, until: Option<Instant>) {
        let reopen = self.unopened.values().map(|(_, at)| *at);
        let until = reopen.chain(until).min();
        let waker = self.waker.clone();
        if self
            .poll_ready(&mut TaskContext::from_waker(&waker))
            .is_pending()
        {
            self.bell.wait(until);
        }
    }

    /// Whether something has come; otherwise the task is woken when it may have.
    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<()> {
        for wire in self.wires.values_mut() {
            let socket: &mut dyn Pollable = match &mut wire.socket {
                Socket::Dealer(dealer) => &mut **dealer,
                Socket::Router(router) => &mut **router,
            };
            let message = socket.poll_ready(context, Interest::READABLE);
            if message.is_ready()
                || wire
                    .monitor
                    .poll_ready(context, Interest::READABLE)
                    .is_ready()
            {
                return Poll::Ready(());
            }
        }
        Poll::Pending
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
    rung: Mutex<bool>,
    told: Condvar,
}

impl Bell {
    fn wait(&self, until: Option<Instant>) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = match until {
                None => self.told.wait(rung).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.told.wait_timeout(rung, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_one();
    }
}

/// Somebody waits for the connection, so the pauses are shorter than a socket's default. A server that
/// is down sees at most one attempt per second and socket.
pub(crate) const RECONNECT: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));

/// The pause before a socket that could not be opened is tried again.
const REOPEN: Duration = Duration::from_millis(100);
