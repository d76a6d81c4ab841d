//! What is said beside messages: endpoints, events, failures, statistics; in words or as JSON.

use std::io::{self, Write};

use serde_json::{json, Value};
use sinew::{CloseReport, DisconnectReason, Monitor, ProxyStatistics, SideStatistics, SocketEvent};

use crate::args::Format;
use crate::exit::{sent_all, unsent_text, Failure};
use crate::format::json_frame;
use crate::interrupt::writing;
use crate::sockets::Placed;

/// How to say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter {
    pub(crate) json: bool,
    /// Whether a thread of its own says it, which nothing waits for.
    aside: bool,
}

impl Reporter {
    pub(crate) fn new(json: bool) -> Self {
        Reporter { json, aside: false }
    }

    /// The same for a thread that does nothing else: if nobody reads what it says, only it is held up.
    pub(crate) fn aside(self) -> Self {
        Reporter {
            aside: true,
            ..self
        }
    }

    /// How messages are written, unless told otherwise.
    pub(crate) fn format(&self) -> Format {
        match self.json {
            true => Format::Json,
            false => Format::Text,
        }
    }

    /// Where a wildcard was bound, or what a peer is called.
    pub(crate) fn placed(&self, placed: &Placed<'_>) {
        match placed {
            Placed::Bound(endpoint) => {
                let value = json!({ "bound": endpoint.to_string() });
                self.note(&value, || format!("bound to {endpoint}"));
            }
            Placed::Peer(endpoint, peer) => {
                let value = json!({ "connected": endpoint, "peer": peer.get() });
                self.note(&value, || format!("{endpoint} is peer {peer}"));
            }
        }
    }

    /// Why the programme ends.
    pub(crate) fn failure(&self, failure: &Failure) {
        if let Some(message) = failure.message() {
            let value = json!({ "error": message, "code": failure.code() });
            self.note(&value, || message.to_owned());
        }
    }

    /// How a command ends that has closed its sockets. If it had failed before, what is unsent is told beside that.
    pub(crate) fn closed(
        &self,
        ended: Result<(), Failure>,
        closed: CloseReport,
    ) -> Result<(), Failure> {
        if ended.is_ok() {
            return sent_all(closed);
        }
        self.unsent(closed.unsent);
        ended
    }

    /// What was left when the programme ended for another reason.
    fn unsent(&self, unsent: u64) {
        if unsent > 0 {
            self.note(&json!({ "unsent": unsent }), || unsent_text(unsent));
        }
    }

    /// What a proxy has forwarded.
    pub(crate) fn statistics(&self, statistics: &ProxyStatistics) {
        let json = |side: &SideStatistics| {
            json!({
                "received": { "messages": side.received_messages, "frames": side.received_frames, "octets": side.received_octets },
                "sent": { "messages": side.sent_messages, "frames": side.sent_frames, "octets": side.sent_octets },
            })
        };
        let value = json!({
            "front": json(&statistics.front),
            "back": json(&statistics.back),
            "undeliverable": statistics.undeliverable,
            "full": statistics.full,
        });
        self.note(&value, || {
            let text = |side: &SideStatistics| {
                format!(
                    "{} messages in, {} out",
                    side.received_messages, side.sent_messages
                )
            };
            format!(
                "front: {}; back: {}; undeliverable: {}; for full peers: {}",
                text(&statistics.front),
                text(&statistics.back),
                statistics.undeliverable,
                statistics.full
            )
        });
    }

    /// Prints a socket's events to standard error from now on.
    pub(crate) fn follow(&self, mut monitor: Monitor) {
        let reporter = self.aside();
        std::thread::spawn(move || {
            while let Some(event) = monitor.recv() {
                reporter.note(&event_json(&event), || event_text(&event));
            }
        });
    }

    /// An event, for standard output.
    pub(crate) fn event(&self, event: &SocketEvent) -> String {
        match self.json {
            true => event_json(event).to_string(),
            false => event_text(event),
        }
    }

    /// One line on standard error. If nobody reads it, nobody misses it.
    pub(crate) fn note(&self, value: &Value, text: impl FnOnce() -> String) {
        let line = match self.json {
            true => format!("{value}\n"),
            false => format!("sinew: {}\n", text()),
        };
        let write = || io::stderr().write_all(line.as_bytes());
        let _ = match self.aside {
            true => write(),
            false => writing(write),
        };
    }
}

/// An event as a name and what is known of it.
fn event_json(event: &SocketEvent) -> Value {
    let reason = |reason: &DisconnectReason| reason.to_string();
    match event {
        SocketEvent::Listening {
            endpoint,
            endpoint_id,
        } => json!({
            "event": "listening", "endpoint": endpoint.to_string(),
            "endpoint_id": endpoint_id.to_string(),
        }),
        SocketEvent::BindFailed {
            endpoint,
            reason: why,
        } => json!({
            "event": "bind_failed", "endpoint": endpoint.to_string(), "reason": reason(why),
        }),
        SocketEvent::AcceptFailed {
            endpoint,
            endpoint_id,
            reason: why,
            retry_in,
        } => json!({
            "event": "accept_failed", "endpoint": endpoint.to_string(),
            "endpoint_id": endpoint_id.to_string(), "reason": reason(why),
            "retry_in": retry_in.map(|delay| delay.as_secs_f64()),
        }),
        SocketEvent::Accepted {
            connection,
            endpoint,
            endpoint_id,
            local,
            peer,
        }
        | SocketEvent::Connected {
            connection,
            endpoint,
            endpoint_id,
            local,
            peer,
        } => json!({
            "event": event.kind(), "connection": connection.to_string(),
            "endpoint": endpoint.to_string(), "endpoint_id": endpoint_id.to_string(),
            "local": local, "peer": peer,
        }),
        SocketEvent::ConnectFailed {
            endpoint,
            endpoint_id,
            reason: why,
        } => json!({
            "event": "connect_failed", "endpoint": endpoint.to_string(),
            "endpoint_id": endpoint_id.to_string(), "reason": reason(why),
        }),
        SocketEvent::ConnectRetried {
            endpoint,
            endpoint_id,
            delay,
        } => json!({
            "event": "connect_retried", "endpoint": endpoint.to_string(),
            "endpoint_id": endpoint_id.to_string(), "delay": delay.as_secs_f64(),
        }),
        SocketEvent::HandshakeSucceeded {
            connection,
            endpoint,
            peer,
            socket_type,
            routing_id,
        } => json!({
            "event": "handshake_succeeded", "connection": connection.to_string(),
            "endpoint": endpoint.to_string(), "peer": peer,
            "socket_type": socket_type.map(|kind| kind.name()),
            "routing_id": routing_id.as_ref().map(|id| json_frame(id.as_bytes())),
        }),
        SocketEvent::HandshakeFailed {
            connection,
            endpoint,
            peer,
            reason: why,
        } => json!({
            "event": "handshake_failed", "connection": connection.to_string(),
            "endpoint": endpoint.to_string(), "peer": peer, "reason": reason(why),
        }),
        SocketEvent::Disconnected {
            connection,
            endpoint,
            peer,
            routing_id,
            initiator,
            reason: why,
        } => json!({
            "event": "disconnected", "connection": connection.to_string(),
            "endpoint": endpoint.to_string(), "peer": peer, "reason": reason(why),
            "ended_by": initiator.to_string(),
            "routing_id": routing_id.as_ref().map(|id| json_frame(id.as_bytes())),
        }),
        SocketEvent::Closed {
            endpoint,
            endpoint_id,
        } => json!({
            "event": "closed", "endpoint": endpoint.to_string(),
            "endpoint_id": endpoint_id.to_string(),
        }),
        SocketEvent::SubscriptionAdded(of) | SocketEvent::SubscriptionRemoved(of) => json!({
            "event": event.kind(), "connection": of.connection.to_string(),
            "endpoint": of.endpoint.to_string(), "peer": of.peer,
            "topic": json_frame(&of.topic),
            "routing_id": of.routing_id.as_ref().map(|id| json_frame(id.as_bytes())),
        }),
        SocketEvent::Dropped { cause, count } => json!({
            "event": "dropped", "reason": cause.to_string(), "count": count,
        }),
        SocketEvent::Missed { count } => json!({ "event": "missed", "count": count }),
        // Of a library that is newer than this programme.
        other => json!({ "event": other.kind(), "detail": other.to_string() }),
    }
}

/// The same in a line: the name first, then `key=value`.
fn event_text(event: &SocketEvent) -> String {
    let value = event_json(event);
    let Some(fields) = value.as_object() else {
        return value.to_string();
    };
    let name = fields["event"].as_str().unwrap_or_default().to_owned();
    let shown = fields
        .iter()
        .filter(|(key, value)| *key != "event" && !value.is_null())
        .map(|(key, value)| match value {
            Value::String(text) if !text.contains(' ') => format!(" {key}={text}"),
            other => format!(" {key}={other}"),
        });
    name + &shown.collect::<String>()
}
