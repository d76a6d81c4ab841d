//! Counters of a socket, as a snapshot.

use crate::io::{DropCause, Port};
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a socket has done so far. Counted always, cheaply, and read at any time; the figures of one
/// snapshot may be a few messages apart. Octets are added up over all connections, so a snapshot takes
/// longer the more there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SocketStats {
    /// Peers that messages can flow to or from now.
    pub peers: usize,
    /// Messages handed to a pipe. A published message counts once per subscriber, and one that PUSH had
    /// to take back from a lost peer once more.
    pub messages_sent: u64,
    /// Messages handed to the application.
    pub messages_received: u64,
    /// Octets written to connections, headers and handshakes included.
    pub bytes_sent: u64,
    /// Octets read from connections, headers and handshakes included.
    pub bytes_received: u64,
    /// Messages dropped because the pipe to a subscriber was at its high-water mark, or the
    /// [`memory_budget`](crate::ContextBuilder::memory_budget) of the context was used up; so are those of a ROUTER that
    /// is not `mandatory`, and what an XSUB sends up. Over udp, received datagrams dropped because the socket's own mark
    /// was reached. With conflation by topic, messages that gave way to those of other topics. And notes of lost
    /// peers (`disconnect_message`, `hiccup_message`, `notify` and the like) that the peer's full pipe had no room for.
    pub dropped_full: u64,
    /// Messages published that no subscriber wanted.
    pub dropped_unmatched: u64,
    /// Messages dropped because the peer they were for is gone, counted when its connection ends: see
    /// [`DropCause::PeerLost`].
    pub dropped_peer_lost: u64,
    /// Messages that a newer one took the place of, with the option `conflate`.
    pub dropped_conflated: u64,
    /// Messages received that this pattern has no use for: replies out of turn, requests without an
    /// envelope, data sent to a sending socket, several frames where one is expected.
    pub dropped_unexpected: u64,
    /// Events of subscriptions that XPUB left out, because more than its `recv_hwm` waited to be received and
    /// they told of no change, or of one that a later event took back. Nothing else is ever left out.
    pub events_left_out: u64,
    /// Subscriptions (joins) of peers over inproc that were refused, as they exceed what one peer may have: see
    /// [`SocketEvent::SubscriptionRefused`](crate::SocketEvent::SubscriptionRefused).
    pub subscriptions_refused: u64,
    /// Handshakes completed, and peers that were connected to over inproc, where there are none.
    pub handshakes: u64,
    /// Connections that ended before their handshake was complete.
    pub handshake_failures: u64,
    /// Established connections that ended.
    pub disconnects: u64,
    /// Attempts to replace a connection that was lost or could not be made: as many as there are events
    /// [`ConnectRetried`](crate::SocketEvent::ConnectRetried).
    pub reconnects: u64,
    /// Connections that could not be accepted.
    pub accept_failures: u64,
    /// Datagrams received over udp that were empty, too long or malformed, and dropped.
    pub dropped_malformed: u64,
    /// Errors of udp sockets: datagrams that the system refused to send, and those that other hosts answered
    /// for (ICMP). Each may have cost one.
    pub datagram_errors: u64,
    /// How often I/O threads were called to connections of this socket: by a descriptor, or by a thread that had
    /// something for one of them. None over inproc.
    pub wakeups: u64,
}

impl SocketStats {
    pub(super) fn of(port: &Port) -> Self {
        let counters = &port.counters;
        let octets = port.octets.sum().and(port.inproc.sum());
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SocketStats {
            peers: port.peer_count(),
            messages_sent: read(&counters.messages_sent),
            messages_received: read(&counters.messages_received),
            bytes_sent: octets.written,
            bytes_received: octets.read,
            dropped_full: counters.drops.count(DropCause::Full),
            dropped_unmatched: read(&counters.dropped_unmatched),
            dropped_peer_lost: counters.drops.count(DropCause::PeerLost),
            dropped_conflated: read(&counters.dropped_conflated),
            dropped_unexpected: counters.drops.count(DropCause::Unexpected),
            events_left_out: read(&counters.events_left_out),
            subscriptions_refused: read(&counters.subscriptions_refused),
            handshakes: read(&counters.handshakes),
            handshake_failures: read(&counters.handshake_failures),
            disconnects: read(&counters.disconnects),
            reconnects: read(&counters.reconnects),
            accept_failures: read(&counters.accept_failures),
            dropped_malformed: counters.drops.count(DropCause::Malformed),
            datagram_errors: read(&counters.datagram_errors),
            wakeups: port.wakeups(),
        }
    }
}
