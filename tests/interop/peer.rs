//! What a foreign peer can be asked to do, whichever library it is made of.

use std::ops::Range;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How long anything may take that is waited for. Nothing here depends on it but the end of a test
/// that hangs.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// The type of a peer's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Push,
    Pull,
    Req,
    Rep,
    Pub,
    Sub,
    /// Asks: sends each message and checks the echo, with [`WINDOW`] of them under way.
    Dealer,
    /// As [`Kind::Dealer`], with an empty frame before each message: for a REP.
    DealerRep,
    /// As [`Kind::Dealer`], to one peer.
    Pair,
    /// As [`Kind::Rep`], to one peer.
    PairEcho,
    /// As [`Kind::Pub`], but knows when its subscriber is there.
    XPub,
    /// As [`Kind::Sub`], with subscriptions as messages.
    XSub,
    /// Sends each message back to whom it is from. Is called [`THEIRS`].
    Router,
    /// Sends the octets of each message back, as they come.
    Stream,
    /// Asks as [`Kind::Dealer`], in octets.
    StreamAsks,
}

/// How many messages are under way between a DEALER and whoever echoes.
pub(crate) const WINDOW: u64 = 100;

/// Each number, and those whose echoes are to be waited for once it has been sent.
pub(crate) fn windowed(numbers: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
    let (first, end) = (numbers.start, numbers.end);
    let due = move |sent: u64| match sent == end {
        true => end,
        false => sent.saturating_sub(WINDOW).max(first),
    };
    numbers.map(move |n| (n, due(n)..due(n + 1)))
}

/// The routing id of a foreign ROUTER.
pub(crate) const THEIRS: &str = "theirs";

/// What a peer is to be.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) kind: Kind,
    /// Whether it binds, and does not connect.
    pub(crate) binds: bool,
    pub(crate) endpoint: String,
    /// Of its traffic.
    pub(crate) seed: u64,
    /// The number of its first message.
    pub(crate) first: u64,
    /// How many messages it sends or receives.
    pub(crate) count: u64,
    /// PUSH: a frame before those of each message, if not empty.
    pub(crate) tag: &'static str,
}

impl Role {
    pub(crate) fn connecting(kind: Kind, endpoint: impl ToString, seed: u64, count: u64) -> Self {
        Role {
            kind,
            binds: false,
            endpoint: endpoint.to_string(),
            seed,
            first: 0,
            count,
            tag: "",
        }
    }

    pub(crate) fn binding(kind: Kind, endpoint: impl ToString, seed: u64, count: u64) -> Self {
        Role {
            binds: true,
            ..Role::connecting(kind, endpoint, seed, count)
        }
    }

    /// With `first` as the number of the first message.
    pub(crate) fn from(self, first: u64) -> Self {
        Role { first, ..self }
    }

    pub(crate) fn tagged(self, tag: &'static str) -> Self {
        Role { tag, ..self }
    }
}

/// A running peer. Whatever goes wrong with it is a panic of the test that asks for more.
pub(crate) trait Peer: Sized + Send + 'static {
    /// Starts it, and waits until it is bound (or has begun to connect).
    fn start(role: &Role) -> Self;

    /// Where it is bound, wildcards replaced (or connects to).
    fn endpoint(&self) -> &str;

    /// Tells a PUB that its subscriber is there. Until then it publishes [`SYNC`](crate::traffic::SYNC)
    /// again and again.
    fn go(&mut self);

    /// Waits until all of its messages have been sent or received, and returns their checksum.
    fn done(&mut self) -> u32;

    /// After [`Peer::done`]: goes on with further messages.
    fn more(&mut self, first: u64, count: u64);

    /// After [`Peer::done`]: sends what is queued, and ends.
    fn close(self);

    /// Ends it at once, with whatever it has queued. For a libzmq peer, after [`Peer::done`].
    fn kill(self);
}

/// An endpoint to bind, with a free address: a wildcard, or a path in `directory`. On a loopback address
/// of its own, so that a port that was given back is not taken as that of somebody's connection before
/// it is bound again.
pub(crate) fn free_endpoint(transport: &str, directory: &Path) -> String {
    match transport {
        "tcp" => {
            let own = std::process::id();
            format!("tcp://127.{}.{}.2:*", 1 + own % 250, own / 250 % 250)
        }
        _ => format!("ipc://{}", directory.join("socket").display()),
    }
}

/// Runs a test on a thread of its own, and fails if it takes forever.
pub(crate) fn watched(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        // Nobody waits any more if it was too late.
        let _ = done.send(());
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(3 * WATCHDOG) {
        panic!("the test hangs");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
