//! What monitors are told, as events of the crate `tracing` too, if the feature of that name is on. The events of
//! a connection are in a span of its own, which lasts as long as it does.
//!
//! What happens to a message is no event: that is what counters are for. So drops, which a monitor is told as the
//! difference of two looks at them, are none here, and neither is what one monitor has missed.

pub(super) use choice::{is_wanted, tell, wants_details, Span};

#[cfg(feature = "tracing")]
mod choice {
    use tracing::Level;

    use super::super::events::{ConnectionId, SocketEvent};
    use super::super::port::Port;
    use crate::endpoint::Endpoint;

    /// That of a connection, or none.
    #[derive(Debug, Clone)]
    pub(in super::super) struct Span(tracing::Span);

    impl Span {
        pub(in super::super) fn none() -> Self {
            Span(tracing::Span::none())
        }

        pub(in super::super) fn of(
            port: &Port,
            id: ConnectionId,
            endpoint: &Endpoint,
            peer: &str,
        ) -> Self {
            Span(tracing::info_span!(
                target: "sinew",
                parent: None,
                "connection",
                connection = %id,
                socket = %port.id,
                socket_type = %port.socket_type,
                %endpoint,
                peer,
            ))
        }
    }

    /// Whether anybody listens, to the gravest at least.
    pub(in super::super) fn is_wanted() -> bool {
        tracing::enabled!(target: "sinew", Level::WARN)
    }

    /// Whether anybody listens to what is told at the lowest level: there may be very much of it.
    pub(in super::super) fn wants_details() -> bool {
        tracing::enabled!(target: "sinew", Level::DEBUG)
    }

    pub(in super::super) fn tell(span: &Span, port: &Port, event: &SocketEvent) {
        let (socket, socket_type, kind) = (port.id, port.socket_type, event.kind());
        macro_rules! tell {
            ($level:expr) => {
                tracing::event!(
                    target: "sinew",
                    parent: &span.0,
                    $level,
                    %socket,
                    %socket_type,
                    kind,
                    "{event}"
                )
            };
        }
        match event {
            SocketEvent::BindFailed { .. }
            | SocketEvent::AcceptFailed { .. }
            | SocketEvent::HandshakeFailed { .. }
            | SocketEvent::SubscriptionRefused { .. } => {
                tell!(Level::WARN);
            }
            SocketEvent::Listening { .. }
            | SocketEvent::HandshakeSucceeded { .. }
            | SocketEvent::Disconnected { .. }
            | SocketEvent::Closed { .. } => tell!(Level::INFO),
            _ => tell!(Level::DEBUG),
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod choice {
    use super::super::events::{ConnectionId, SocketEvent};
    use super::super::port::Port;
    use crate::endpoint::Endpoint;

    /// Nothing.
    #[derive(Debug, Clone)]
    pub(in super::super) struct Span;

    impl Span {
        pub(in super::super) fn none() -> Self {
            Span
        }

        pub(in super::super) fn of(_: &Port, _: ConnectionId, _: &Endpoint, _: &str) -> Self {
            Span
        }
    }

    pub(in super::super) fn is_wanted() -> bool {
        false
    }

    pub(in super::super) fn wants_details() -> bool {
        false
    }

    pub(in super::super) fn tell(_: &Span, _: &Port, _: &SocketEvent) {}
}
