//! The events of a connection, from its beginning to its end, and what is counted with them.

use super::events::{DisconnectReason, EndpointId, SocketEvent};
use super::link::Link;
use super::port::Counters;

/// A peer has connected through the binding of this id.
pub(super) fn report_accepted(link: &Link, endpoint_id: EndpointId) {
    link.report(|| SocketEvent::Accepted {
        connection: link.id,
        endpoint: link.endpoint.clone(),
        endpoint_id,
        local: link.stream.local_label(),
        peer: link.peer.clone(),
    });
}

/// A connection was made for this call of `connect`.
pub(super) fn report_connected(link: &Link, endpoint_id: EndpointId) {
    link.report(|| SocketEvent::Connected {
        connection: link.id,
        endpoint: link.endpoint.clone(),
        endpoint_id,
        local: link.stream.local_label(),
        peer: link.peer.clone(),
    });
}

/// The handshake has failed.
pub(super) fn report_failure(link: &Link, reason: &DisconnectReason) {
    Counters::add(&link.port.counters.handshake_failures, 1);
    link.report(|| SocketEvent::HandshakeFailed {
        connection: link.id,
        endpoint: link.endpoint.clone(),
        peer: link.peer.clone(),
        reason: reason.clone(),
    });
}

/// A connection has ended that was open.
pub(super) fn report_end(link: &Link, reason: &DisconnectReason) {
    Counters::add(&link.port.counters.disconnects, 1);
    link.report(|| SocketEvent::Disconnected {
        connection: link.id,
        endpoint: link.endpoint.clone(),
        peer: link.peer.clone(),
        routing_id: link.routing_id(),
        initiator: reason.initiator(),
        reason: reason.clone(),
    });
}
