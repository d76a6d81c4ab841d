//! All that a context counts, as it is now: its threads, its sockets, and their connections.

use crate::context::Context;
use crate::io::{ConnectionSnapshot, Port, SocketId, ThreadSnapshot};
use crate::socket_type::SocketType;

use super::SocketStats;

/// What there is in a context; see [`Context::snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextSnapshot {
    /// The I/O threads that have been started.
    pub threads: Vec<ThreadSnapshot>,
    /// The sockets, oldest first. One that was closed or dropped is among them for as long as it still sends what
    /// it had queued.
    pub sockets: Vec<SocketSnapshot>,
    /// What [`Context::memory_used`] returns.
    pub memory_used: Option<u64>,
}

/// A socket, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketSnapshot {
    /// The socket: what its `id()` returns.
    pub id: SocketId,
    /// Its type. A [`Requester`](crate::Requester) is a DEALER.
    pub socket_type: SocketType,
    /// What it has done so far.
    pub stats: SocketStats,
    /// Who is connected to it: what its `connections()` returns.
    pub connections: Vec<ConnectionSnapshot>,
}

impl SocketSnapshot {
    fn of(port: &Port) -> Self {
        SocketSnapshot {
            id: port.id,
            socket_type: port.socket_type,
            stats: SocketStats::of(port),
            connections: port.connections(),
        }
    }

    /// What a monitoring system is told of this socket: that of [`SocketStats::figures`], and the messages that
    /// wait at its connections.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        let traffic = || self.connections.iter().map(|of| of.traffic);
        let mut figures = self.stats.figures();
        figures.push(Figure::gauge(
            "queued_to_send",
            "Messages that wait to be written to connections.",
            traffic().map(|traffic| traffic.queued_to_send).sum(),
        ));
        figures.push(Figure::gauge(
            "queued_to_receive",
            "Messages from connections that wait for the application.",
            traffic().map(|traffic| traffic.queued_to_receive).sum(),
        ));
        figures
    }
}

impl ContextSnapshot {
    /// What a monitoring system is told of the context itself: `memory_used`, if that is counted.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        let help = "Octets that everything queued or received in part takes.";
        let memory = |octets| Figure::gauge("memory_used", help, octets);
        self.memory_used.map(memory).into_iter().collect()
    }
}

impl Context {
    /// All there is in this context now, with what each part of it has done so far. Takes time and memory for each
    /// connection. Holds up no socket; the figures may be a few messages apart.
    ///
    /// ```
    /// use sinew::{Context, Pull};
    ///
    /// let context = Context::builder().build()?;
    /// let pull = Pull::builder().context(&context).bind("tcp://127.0.0.1:*")?;
    /// let snapshot = context.snapshot();
    /// assert_eq!(snapshot.sockets[0].id, pull.id());
    /// for socket in &snapshot.sockets {
    ///     println!("{} {}: {} received", socket.socket_type, socket.id, socket.stats.messages_received);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> ContextSnapshot {
        let sockets = self.pool().sockets();
        ContextSnapshot {
            threads: self.pool().thread_snapshots(),
            sockets: sockets
                .iter()
                .map(|port| SocketSnapshot::of(port))
                .collect(),
            memory_used: self.memory_used(),
        }
    }
}

/// One number with its name, for a monitoring system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figure {
    /// Letters and underscores, such as `messages_sent`.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub help: &'static str,
    /// How it changes.
    pub kind: FigureKind,
    /// The number.
    pub value: u64,
}

/// How a [`Figure`] changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FigureKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Figure {
    fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        let kind = FigureKind::Counter;
        Figure {
            name,
            help,
            kind,
            value,
        }
    }

    fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        let kind = FigureKind::Gauge;
        Figure {
            name,
            help,
            kind,
            value,
        }
    }
}

impl SocketStats {
    /// All of it, each number with its name.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        // By name, so that none is forgotten.
        let SocketStats {
            peers,
            messages_sent,
            messages_received,
            bytes_sent,
            bytes_received,
            dropped_full,
            dropped_unmatched,
            dropped_peer_lost,
            dropped_conflated,
            dropped_unexpected,
            events_left_out,
            subscriptions_refused,
            handshakes,
            handshake_failures,
            disconnects,
            reconnects,
            accept_failures,
            dropped_malformed,
            datagram_errors,
            wakeups,
        } = *self;
        let n = Figure::counter;
        vec![
            Figure::gauge(
                "peers",
                "Peers that messages can flow to or from.",
                peers as u64,
            ),
            n(
                "messages_sent",
                "Messages handed to a peer's queue.",
                messages_sent,
            ),
            n(
                "messages_received",
                "Messages handed to the application.",
                messages_received,
            ),
            n("bytes_sent", "Octets written to connections.", bytes_sent),
            n(
                "bytes_received",
                "Octets read from connections.",
                bytes_received,
            ),
            n(
                "dropped_full",
                "Messages dropped at a high-water mark.",
                dropped_full,
            ),
            n(
                "dropped_unmatched",
                "Messages published that nobody wanted.",
                dropped_unmatched,
            ),
            n(
                "dropped_peer_lost",
                "Messages dropped as their peer is gone.",
                dropped_peer_lost,
            ),
            n(
                "dropped_conflated",
                "Messages that a newer one replaced.",
                dropped_conflated,
            ),
            n(
                "dropped_unexpected",
                "Messages received out of the pattern.",
                dropped_unexpected,
            ),
            n(
                "dropped_malformed",
                "Datagrams received that are malformed.",
                dropped_malformed,
            ),
            n(
                "events_left_out",
                "Events of subscriptions left out.",
                events_left_out,
            ),
            n(
                "subscriptions_refused",
                "Subscriptions of inproc peers above the limits.",
                subscriptions_refused,
            ),
            n("handshakes", "Handshakes completed.", handshakes),
            n(
                "handshake_failures",
                "Handshakes that failed.",
                handshake_failures,
            ),
            n(
                "disconnects",
                "Established connections that ended.",
                disconnects,
            ),
            n(
                "reconnects",
                "Attempts to replace a connection.",
                reconnects,
            ),
            n(
                "accept_failures",
                "Connections that could not be accepted.",
                accept_failures,
            ),
            n("datagram_errors", "Errors of udp sockets.", datagram_errors),
            n(
                "wakeups",
                "How often I/O threads were called to connections.",
                wakeups,
            ),
        ]
    }
}

impl ThreadSnapshot {
    /// What a monitoring system is told of this thread.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        vec![
            Figure::gauge(
                "load",
                "Endpoints and connections of the thread.",
                self.load as u64,
            ),
            Figure::counter("wakeups", "How often the thread was woken.", self.wakeups),
        ]
    }
}
