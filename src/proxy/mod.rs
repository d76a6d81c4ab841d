//! A proxy: what arrives at one socket leaves through another, both ways, until it is told to stop.
//!
//! One thread serves both directions, and waits for all sockets at once: for messages where there is room
//! for them, and for room where there is not. It never waits *in* a send or a receive, so it can be steered in any
//! state (L-67). Messages are handed on as wire octets wherever that does: nobody decodes their bodies, and long runs are
//! not copied.

mod engine;
mod reflect;
mod report;
mod statistics;
mod steering;

pub use reflect::Reflected;
pub use report::{ProxyAside, ProxyReport};
pub use statistics::{ProxyStatistics, SideStatistics};
pub use steering::{ProxyHandle, ProxyState};

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::ProxyError;
use crate::socket::{ProxySocket, Relay};
use crate::socket_type::SocketType;
use engine::Engine;
use reflect::Back;
use steering::Steering;

/// Forwards between two sockets: what the one receives, the other sends, as far as they can. The usual pairs are
/// ROUTER and DEALER (requests to many workers), XSUB and XPUB (publish-subscribe; subscriptions go the
/// other way by themselves), and PULL and PUSH.
///
/// # What is forwarded, and when
/// Whole messages, in order per peer. A message is received only when the other side has room for it, in each
/// direction by itself: so high-water marks hold all the way, and a proxy stores nothing. (Who
/// publishes still leaves out a subscriber that is full, unless built with
/// [`no_drop`](crate::SocketBuilder::no_drop).) Which peer of a ROUTER or STREAM a message is for is seen when it
/// is there: one for a peer that is full is dropped and counted ([`ProxyStatistics::full`]), so that a client that
/// never reads harms nobody else, unless the proxy is told to [wait](Self::wait_for_full_peers); one for a peer that is
/// gone is dropped and counted ([`ProxyStatistics::undeliverable`]).
///
/// # How fast
/// Messages are handed on as they are on the wire, with any number of peers on either side, and what is appended for one
/// peer is published many messages at a time. Nobody looks further than their first frame: a ROUTER that receives puts a
/// frame before it, one that sends takes it away to find the peer, a SUB and a publisher compare it with
/// subscriptions. This is so from PULL, DEALER, PAIR, ROUTER, SUB and XSUB to PUSH, DEALER, PAIR, ROUTER, PUB and XPUB,
/// also with a [`capture`](Self::capture) that is a PUSH, DEALER, PAIR, PUB or XPUB.
///
/// Message by message go: what XPUB, STREAM, CHANNEL, GATHER and DISH receive, and what XSUB, STREAM, CHANNEL,
/// SCATTER and RADIO send; a [`reflection`](Self::reflect); sockets that
/// [conflate](crate::SocketBuilder::conflate), are [raw](crate::SocketBuilder::raw) or
/// [match inversely](crate::SocketBuilder::invert_matching) (SUB), or have
/// [`manual_last_value`](crate::SocketBuilder::manual_last_value); and, of any sockets, the single message that does not lie
/// in one piece (a body of 64 KiB does not, as a rule), has 256 KiB or more, or has no room or no receiver at a ROUTER.
///
/// # Which sockets
/// Those that send and receive whole messages in any order: PAIR, PUB, SUB, DEALER, ROUTER, PULL, PUSH, XPUB,
/// XSUB and STREAM with each other; GATHER, SCATTER and CHANNEL with those and with each other, if no message
/// of several frames can reach one that sends single frames; RADIO and DISH. At least one way must be open:
/// two PULL sockets have nothing to tell each other. A socket that goes both ways can be
/// [reflected](Proxy::reflect): it is both sides.
///
/// Not REQ and REP, which take turns: a DEALER and a ROUTER are their kind. Not SERVER, CLIENT and PEER, whose messages do
/// not say on the way whose they are: a reply would not find back. Not DGRAM: a datagram says where it comes from, and
/// not where it is to go.
///
/// ```compile_fail,E0277
/// let proxy = sinew::Proxy::new(sinew::Server::new(), sinew::Dealer::new());
/// ```
///
/// ```
/// use sinew::{Dealer, Proxy, Rep, Req, Router};
///
/// let mut front = Router::new();
/// let mut back = Dealer::new();
/// let clients = front.bind("tcp://127.0.0.1:*")?;
/// let workers = back.bind("inproc://proxy-doc-workers")?;
/// let proxy = Proxy::new(front, back).spawn()?;
///
/// let mut worker = Rep::builder().connect(&workers)?;
/// let worker = std::thread::spawn(move || {
///     let request = worker.recv().unwrap();
///     worker.send([request.as_bytes(), b" world"].concat()).unwrap();
///     worker.close();
/// });
/// let mut client = Req::builder().connect(&clients)?;
/// assert_eq!(client.request("hello")?.as_bytes(), b"hello world");
/// worker.join().unwrap();
///
/// let report = proxy.stop();
/// assert_eq!(report.statistics.front.received_messages, 1);
/// assert_eq!(report.statistics.back.received_messages, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Proxy<F, B> {
    front: F,
    back: B,
    capture: Option<Box<dyn Relay>>,
    control: Option<Box<dyn Relay>>,
    steering: Arc<Steering>,
    waits_for_full_peers: bool,
}

impl<F: ProxySocket, B: ProxySocket> Proxy<F, B> {
    /// A proxy between these two. Nothing happens before [`run`](Self::run) or [`spawn`](Self::spawn).
    pub fn new(front: F, back: B) -> Self {
        Proxy {
            front,
            back,
            capture: None,
            control: None,
            steering: Arc::new(Steering::new()),
            waits_for_full_peers: false,
        }
    }
}

impl<S: ProxySocket> Proxy<S, Reflected> {
    /// A proxy between a socket and itself: what it receives goes out by the same socket. So a ROUTER or STREAM
    /// answers every peer with what that said, a PAIR or CHANNEL its only one, and a DEALER sends on to the next of
    /// its peers. The socket is the front, in statistics and in the report; at the back nothing is counted.
    ///
    /// ```
    /// use sinew::{Proxy, Req, Router};
    ///
    /// let echo = Router::builder().bind("tcp://127.0.0.1:*")?;
    /// let endpoint = echo.bound_endpoints().remove(0);
    /// let proxy = Proxy::reflect(echo).spawn()?;
    /// let mut client = Req::builder().connect(&endpoint)?;
    /// assert_eq!(client.request("hello")?.as_bytes(), b"hello");
    ///
    /// let report = proxy.stop();
    /// assert_eq!(report.statistics.front.sent_messages, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reflect(socket: S) -> Self {
        Proxy {
            front: socket,
            back: Reflected,
            capture: None,
            control: None,
            steering: Arc::new(Steering::new()),
            waits_for_full_peers: false,
        }
    }
}

#[allow(
    private_bounds,
    reason = "what stands at the back is a socket, or none: nothing else can be made"
)]
impl<F: ProxySocket, B: Back> Proxy<F, B> {
    /// Sends a copy of every message, of both directions, to this socket: a PUSH, PUB, XPUB, DEALER or PAIR.
    /// A copy is never left out for lack of room (but a PUB leaves out subscribers as it always does):
    /// while this socket has none, nothing is forwarded. It comes back in the
    /// [report](ProxyReport::capture). Default: none.
    pub fn capture(mut self, capture: impl ProxySocket + 'static) -> Self {
        self.capture = Some(Box::new(capture));
        self
    }

    /// Whether a message for one peer of a ROUTER or STREAM that has no room waits in the proxy, and everything that
    /// goes the same way behind it. Nothing is lost then, but one client that asks and never reads stops the
    /// replies of all clients, for as long as it likes: only for peers that are trusted. Otherwise such a message is
    /// dropped and counted ([`ProxyStatistics::full`]); of a STREAM, the octets in it are missing from what the
    /// peer reads later. A ROUTER with [`mandatory(false)`](crate::SocketBuilder::mandatory) drops by itself.
    /// Default: `false`.
    ///
    /// ```
    /// use sinew::{Dealer, Proxy, Router};
    ///
    /// let front = Router::builder().bind("inproc://trusted-clients")?;
    /// let back = Dealer::builder().bind("inproc://workers-of-trusted-clients")?;
    /// let proxy = Proxy::new(front, back).wait_for_full_peers(true).spawn()?;
    /// assert_eq!(proxy.stop().statistics.full, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_full_peers(mut self, waits: bool) -> Self {
        self.waits_for_full_peers = waits;
        self
    }

    /// Steers the proxy by messages of a single frame that this socket, a PAIR or REP, receives, as other
    /// implementations do: `PAUSE`, `RESUME`, `TERMINATE` and `STATISTICS`. The last is answered by eight frames
    /// of eight octets, in the byte order of this machine: frames and octets received at the front, then sent
    /// there, then the same four of the back. A REP answers everything else with an empty message, after it has
    /// taken effect; a PAIR does not answer. What is no command is ignored. An answer that the other side
    /// has no room for is dropped. The socket comes back in the [report](ProxyReport::control), whose
    /// [`close`](ProxyReport::close) waits until the last answer is sent. Default: none; see also [`handle`](Self::handle).
    pub fn control(mut self, control: impl ProxySocket + 'static) -> Self {
        self.control = Some(Box::new(control));
        self
    }

    /// Steers the proxy from another thread, also before it runs.
    #[must_use]
    pub fn handle(&self) -> ProxyHandle {
        ProxyHandle::of(&self.steering)
    }

    /// Forwards on this thread until the proxy is told to stop, and gives the sockets back.
    ///
    /// # Errors
    /// If no message can go between these sockets, or one is of no use as capture or control.
    pub fn run(self) -> Result<ProxyReport<F, B>, ProxyError> {
        self.check()?;
        Ok(self.forward())
    }

    /// Forwards on a thread of its own.
    ///
    /// # Errors
    /// As for [`run`](Self::run), and if the system has no thread.
    pub fn spawn(self) -> Result<RunningProxy<F, B>, ProxyError>
    where
        F: 'static,
        B: 'static,
    {
        self.check()?;
        let handle = self.handle();
        let thread = std::thread::Builder::new()
            .name("sinew-proxy".into())
            .spawn(move || self.forward())
            .map_err(|source: io::Error| ProxyError::Thread { source })?;
        Ok(RunningProxy {
            handle,
            thread: Some(thread),
        })
    }

    fn forward(mut self) -> ProxyReport<F, B> {
        let engine = Engine::new(
            &mut self.front,
            self.back.relay(),
            self.capture.take(),
            self.control.take(),
            &self.steering,
            self.waits_for_full_peers,
        );
        let left = engine.run();
        let [for_back, for_front] = left.held;
        ProxyReport {
            statistics: self.steering.statistics(),
            front: self.front,
            back: self.back,
            capture: left.capture.map(ProxyAside),
            control: left.control.map(ProxyAside),
            for_back,
            for_front,
        }
    }

    fn check(&self) -> Result<(), ProxyError> {
        let type_of = |socket: &dyn Relay| socket.port().socket_type;
        let front = type_of(&self.front);
        match self.back.socket_type() {
            Some(back) => check_pair(front, back).map_err(|expected| ProxyError::Pair {
                front,
                back,
                expected,
            })?,
            None => check_reflected(front).map_err(|expected| ProxyError::Reflected {
                given: front,
                expected,
            })?,
        }
        use SocketType::{Dealer, Pair, Pub, Push, Rep, XPub};
        if let Some(given) = self.capture.as_deref().map(type_of) {
            if !matches!(given, Push | Pub | XPub | Dealer | Pair) {
                return Err(ProxyError::Capture { given });
            }
        }
        if let Some(given) = self.control.as_deref().map(type_of) {
            if !matches!(given, Pair | Rep) {
                return Err(ProxyError::Control { given });
            }
        }
        Ok(())
    }
}

impl<F: fmt::Debug, B: fmt::Debug> fmt::Debug for Proxy<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("front", &self.front)
            .field("back", &self.back)
            .field("captures", &self.capture.is_some())
            .field("is_controlled", &self.control.is_some())
            .finish_non_exhaustive()
    }
}

/// A proxy on a thread of its own. Dropping it tells it to stop and does not wait; its sockets are dropped
/// then.
#[derive(Debug)]
pub struct RunningProxy<F, B> {
    handle: ProxyHandle,
    /// Taken when it is joined.
    thread: Option<JoinHandle<ProxyReport<F, B>>>,
}

impl<F, B> RunningProxy<F, B> {
    /// Steers it, from any thread.
    #[must_use]
    pub fn handle(&self) -> &ProxyHandle {
        &self.handle
    }

    /// Tells it to stop, and waits until it has.
    ///
    /// # Panics
    /// As [`join`](Self::join).
    pub fn stop(self) -> ProxyReport<F, B> {
        self.handle.terminate();
        self.join()
    }

    /// Waits until it has been told to stop, by its [`handle`](Self::handle) or its control socket.
    ///
    /// # Panics
    /// If its thread has panicked, with what it panicked with.
    pub fn join(mut self) -> ProxyReport<F, B> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(report)) => report,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("it is taken here only, and this consumes the proxy"),
        }
    }
}

impl<F, B> Drop for RunningProxy<F, B> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.ask_to_terminate();
        }
    }
}

/// Whether messages can go between two kinds; if not, what was expected.
fn check_pair(front: SocketType, back: SocketType) -> Result<(), &'static str> {
    for kind in [front, back] {
        check_kind(kind)?;
    }
    if has_groups(front) != has_groups(back) {
        return Err("RADIO and DISH with each other, and with nobody else");
    }
    let ways = [(front, back), (back, front)];
    let mut open = ways
        .into_iter()
        .filter(|(from, to)| receives(*from) && sends(*to))
        .peekable();
    if open.peek().is_none() {
        return Err("one that receives and one that sends");
    }
    if open.any(|(from, to)| is_single(to) && !is_single(from)) {
        return Err("no way for messages of several frames to a socket that sends single frames");
    }
    Ok(())
}

/// Whether messages can go out by the kind they came in by; if not, what was expected.
fn check_reflected(kind: SocketType) -> Result<(), &'static str> {
    check_kind(kind)?;
    match receives(kind) && sends(kind) {
        true => Ok(()),
        false => Err("one that both receives and sends"),
    }
}

/// Whether messages of this kind can be handed on at all; if not, what was expected.
fn check_kind(kind: SocketType) -> Result<(), &'static str> {
    use SocketType as T;
    match kind {
        T::Req | T::Rep => Err("no REQ and no REP, which take turns: DEALER and ROUTER instead"),
        T::Client | T::Server | T::Peer => Err(
            "no CLIENT, SERVER or PEER: no message of theirs says on its way whose it is, so no reply would find back",
        ),
        T::Dgram => Err(
            "no DGRAM: a datagram says where it comes from, and not where it is to go",
        ),
        _ => Ok(()),
    }
}

fn receives(kind: SocketType) -> bool {
    use SocketType as T;
    matches!(
        kind,
        T::Pair
            | T::Channel
            | T::Dealer
            | T::Router
            | T::Pull
            | T::Gather
            | T::Sub
            | T::XSub
            | T::XPub
            | T::Stream
            | T::Dish
    )
}

fn sends(kind: SocketType) -> bool {
    use SocketType as T;
    matches!(
        kind,
        T::Pair
            | T::Channel
            | T::Dealer
            | T::Router
            | T::Push
            | T::Scatter
            | T::Pub
            | T::XSub
            | T::XPub
            | T::Stream
            | T::Radio
    )
}

/// Whether each message says which peer it is for.
fn is_addressed(kind: SocketType) -> bool {
    matches!(kind, SocketType::Router | SocketType::Stream)
}

fn is_single(kind: SocketType) -> bool {
    matches!(
        kind,
        SocketType::Channel | SocketType::Gather | SocketType::Scatter
    )
}

fn has_groups(kind: SocketType) -> bool {
    matches!(kind, SocketType::Radio | SocketType::Dish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_checked_both_ways_round() {
        use SocketType as T;
        let legal = [
            (T::Router, T::Dealer),
            (T::XSub, T::XPub),
            (T::Sub, T::Pub),
            (T::Pull, T::Push),
            (T::Dealer, T::Dealer),
            (T::Router, T::Router),
            (T::Pair, T::Pair),
            (T::Stream, T::Dealer),
            (T::Gather, T::Scatter),
            (T::Gather, T::Push),
            (T::Channel, T::Channel),
            (T::Dish, T::Radio),
        ];
        let illegal = [
            (T::Push, T::Push),
            (T::Pull, T::Pull),
            (T::Pull, T::Sub),
            (T::Rep, T::Dealer),
            (T::Req, T::Rep),
            (T::Pull, T::Scatter),
            (T::Channel, T::Dealer),
            (T::Dish, T::Pub),
            (T::Server, T::Client),
        ];
        for (one, other) in legal {
            assert_eq!(check_pair(one, other), Ok(()), "{one} {other}");
            assert_eq!(check_pair(other, one), Ok(()), "{other} {one}");
        }
        for (one, other) in illegal {
            assert!(check_pair(one, other).is_err(), "{one} {other}");
            assert!(check_pair(other, one).is_err(), "{other} {one}");
        }
    }

    #[test]
    fn a_kind_that_is_handed_on_by_none_is_refused_for_its_own_reason() {
        use SocketType as T;
        for (kind, reason) in [
            (T::Req, "turns"),
            (T::Rep, "turns"),
            (T::Client, "whose it is"),
            (T::Server, "whose it is"),
            (T::Peer, "whose it is"),
            (T::Dgram, "where it is to go"),
        ] {
            assert!(!receives(kind) && !sends(kind), "{kind}");
            for refused in [check_reflected(kind), check_pair(T::Dealer, kind)] {
                let expected = refused.unwrap_err();
                assert!(expected.contains(reason), "{kind}: {expected}");
            }
        }
    }

    #[test]
    fn only_what_goes_both_ways_is_reflected() {
        use SocketType as T;
        for kind in [
            T::Pair,
            T::Channel,
            T::Dealer,
            T::Router,
            T::XPub,
            T::XSub,
            T::Stream,
        ] {
            assert_eq!(check_reflected(kind), Ok(()), "{kind}");
        }
        for kind in [
            T::Push,
            T::Pull,
            T::Pub,
            T::Sub,
            T::Scatter,
            T::Gather,
            T::Radio,
            T::Dish,
        ] {
            let expected = check_reflected(kind).unwrap_err();
            assert_eq!(expected, "one that both receives and sends", "{kind}");
        }
    }
}
