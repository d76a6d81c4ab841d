//! What drives an engine behind a ROUTER: a broker, or a server.

use std::time::{Duration, Instant};

use sinew::{Monitor, Router, SocketEvent};

use crate::common::{Engine, PeerEvent, PeerId, Port};

/// An engine behind one [`Router`], driven by whoever calls [`next_event`](RouterShell::next_event).
///
/// It waits for messages, and looks at comings and goings of peers every 20 ms at the latest, so a lost
/// peer is noticed within that time after the socket has noticed it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sinew::{Req, Router};
/// use sinew_patterns::rpc::{ServerConfig, ServerEngine, ServerEvent};
/// use sinew_patterns::RouterShell;
///
/// let mut router = Router::new();
/// let endpoint = router.bind("tcp://127.0.0.1:*")?;
/// let client = std::thread::spawn(move || {
///     let mut client = Req::builder().connect(&endpoint).unwrap();
///     client.send("hello").unwrap();
///     client.recv().unwrap()
/// });
/// let mut server = RouterShell::new(router, ServerEngine::new(ServerConfig::default()));
/// let soon = Instant::now() + Duration::from_secs(60);
/// let Some(ServerEvent::Request(request)) = server.next_event(soon) else { panic!() };
/// server.engine().handle_reply(Instant::now(), request.id, "world".into());
/// server.flush();
/// assert_eq!(client.join().unwrap().as_bytes(), b"world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RouterShell<E> {
    router: Router,
    monitor: Monitor,
    engine: E,
}

impl<E: Engine> RouterShell<E> {
    /// A shell for this socket. The option `mandatory` should be on, as it is by default: otherwise the
    /// engine is not told what could not be sent.
    #[must_use]
    pub fn new(router: Router, engine: E) -> Self {
        RouterShell {
            monitor: router.monitor(),
            router,
            engine,
        }
    }

    /// The engine, for its own commands. Call [`flush`](Self::flush) or [`next_event`](Self::next_event)
    /// after them.
    pub fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    /// The socket, to bind and connect it, and to read its counters.
    pub fn router(&mut self) -> &mut Router {
        &mut self.router
    }

    /// Sends what the engine wants sent. Never waits: what a peer cannot take now goes back to the engine.
    pub fn flush(&mut self) {
        while let Some(transmit) = self.engine.poll_transmit() {
            let Some(to) = &transmit.to else {
                // An engine behind a ROUTER names the peer. What it does not name goes nowhere.
                self.engine.handle_refused(Instant::now(), transmit);
                continue;
            };
            let sent = self
                .router
                .try_send_to(to.as_bytes(), transmit.message.clone());
            if sent.is_err() {
                self.engine.handle_refused(Instant::now(), transmit);
            }
        }
    }

    /// Works until the engine has something to tell, at most until this time. With a time in the past it
    /// does what can be done without waiting.
    pub fn next_event(&mut self, until: Instant) -> Option<E::Event> {
        loop {
            self.flush();
            if let Some(event) = self.engine.poll_event() {
                return Some(event);
            }
            let now = Instant::now();
            let latest = until.min(now + LOOK);
            let wait = self
                .engine
                .poll_timeout()
                .map_or(latest, |at| at.min(latest));
            let mut received = self.router.recv_from_deadline(wait);
            // Some at once, so that comings and goings are looked at seldom under load. What a lost peer
            // had sent before is taken first.
            for _ in 0..AT_ONCE {
                let Ok((from, message)) = received else {
                    break;
                };
                let from = PeerId::from(from.as_bytes());
                self.engine
                    .handle_message(Instant::now(), PORT, Some(&from), message);
                self.flush();
                received = self.router.try_recv_from();
            }
            if let Ok((from, message)) = received {
                let from = PeerId::from(from.as_bytes());
                self.engine
                    .handle_message(Instant::now(), PORT, Some(&from), message);
            }
            self.look_at_peers();
            self.engine.handle_timeout(Instant::now());
            if now >= until {
                self.flush();
                return self.engine.poll_event();
            }
        }
    }

    fn look_at_peers(&mut self) {
        while let Some(event) = self.monitor.try_recv() {
            let (id, up) = match event {
                SocketEvent::HandshakeSucceeded { routing_id, .. } => (routing_id, true),
                SocketEvent::Disconnected { routing_id, .. } => (routing_id, false),
                _ => continue,
            };
            let Some(id) = id else {
                continue;
            };
            let peer = Some(PeerId::from(id.as_bytes()));
            let event = match up {
                true => PeerEvent::Up { peer },
                false => PeerEvent::Down { peer },
            };
            self.engine.handle_peer(Instant::now(), PORT, event);
        }
    }
}

/// How long a lost peer may go unnoticed. Its connection takes longer than that to be missed, unless it was
/// closed.
const LOOK: Duration = Duration::from_millis(20);

/// Messages between two looks.
const AT_ONCE: usize = 256;

/// An engine with one socket has one port.
const PORT: Port = Port(0);
