//! What drives an engine behind a ROUTER, on the thread of whoever wants its events.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use sinew::{Context, Router};

use super::driver::{Driver, Turn};
use super::sockets::Sockets;
use crate::common::{Engine, Port};

/// An engine behind one [`Router`], driven by whoever calls [`next_event`](RouterShell::next_event).
///
/// It waits for messages and for comings and goings of peers.
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
pub struct RouterShell<E>(Driver<E, Infallible>);

impl<E: Engine> RouterShell<E> {
    /// A shell for this socket. The option `mandatory` should be on, as it is by default: otherwise the
    /// engine is not told what could not be sent.
    #[must_use]
    pub fn new(router: Router, engine: E) -> Self {
        RouterShell(behind(router, engine))
    }

    /// The engine, for its own commands. Call [`flush`](Self::flush) or [`next_event`](Self::next_event)
    /// after them.
    pub fn engine(&mut self) -> &mut E {
        &mut self.0.engine
    }

    /// The socket, to bind and connect it, and to read its counters.
    ///
    /// # Panics
    /// Never: the shell was made with it.
    pub fn router(&mut self) -> &mut Router {
        self.parts().0
    }

    /// Both.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut Router, &mut E) {
        let router = self.0.sockets.router(PORT);
        let router = router.expect("it was added at the beginning");
        (router, &mut self.0.engine)
    }

    /// So many messages are taken at once at most, for an engine whose messages are taken from the socket as well.
    pub(crate) fn take_at_once(&mut self, messages: usize) {
        self.0.take_at_once(messages);
    }

    /// So many were.
    pub(crate) fn took(&mut self, messages: usize) {
        self.0.took(messages);
    }

    /// Sends what the engine wants sent. Never waits: what a peer cannot take now goes back to the engine.
    pub fn flush(&mut self) {
        self.0.flush();
    }

    /// Works until the engine has something to tell, at most until this time. With a time in the past it
    /// does what can be done without waiting.
    pub fn next_event(&mut self, until: Instant) -> Option<E::Event> {
        match self.0.next(Some(until)) {
            Turn::Event(event) => Some(event),
            Turn::Over => None,
            Turn::Command(never) => match never {},
        }
    }

    /// The same for a task of any executor, without a time; [`sinew::sleep_until`] is one to race it with. Dropping the
    /// future loses nothing: what the engine has to tell it tells next time.
    pub async fn next_event_async(&mut self) -> E::Event
    where
        E: Send,
    {
        loop {
            match self.0.next_async().await {
                Turn::Event(event) => return event,
                Turn::Over => {}
                Turn::Command(never) => match never {},
            }
        }
    }
}

/// A driver of an engine behind this ROUTER.
pub(crate) fn behind<E: Engine, C>(router: Router, engine: E) -> Driver<E, C> {
    let mut sockets = Sockets::new(&Context::default(), Duration::ZERO);
    sockets.add_router(PORT, router);
    Driver::new(engine, sockets)
}

/// An engine with one socket has one port.
pub(crate) const PORT: Port = Port(0);
