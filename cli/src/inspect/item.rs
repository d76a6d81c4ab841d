//! What is found in a stream, and how it is shown.

use serde_json::{json, Value};

use crate::format::{hex, json_frame, quote};

/// One thing in a stream. Offsets are those of its first octet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Greeting {
        at: usize,
        version: (u8, u8),
        mechanism: String,
        as_server: bool,
    },
    /// ZMTP 2.0.
    LegacyGreeting {
        at: usize,
        revision: u8,
        socket_type: &'static str,
        identity: Vec<u8>,
    },
    Command {
        at: usize,
        name: String,
        fields: Vec<(String, Field)>,
    },
    Message {
        at: usize,
        frames: Vec<Vec<u8>>,
    },
    /// The stream is not what it should be; nothing behind is decoded.
    Fault {
        at: usize,
        what: String,
    },
    /// The stream ends in the middle of something.
    Cut {
        at: usize,
        what: &'static str,
    },
}

/// A value in a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Octets(Vec<u8>),
    Number(u64),
}

impl Item {
    pub(crate) fn json(&self, side: char) -> Value {
        let (at, mut value) = match self {
            Item::Greeting {
                at,
                version,
                mechanism,
                as_server,
            } => (
                at,
                json!({
                    "item": "greeting", "version": format!("{}.{}", version.0, version.1),
                    "mechanism": mechanism, "as_server": as_server,
                }),
            ),
            Item::LegacyGreeting {
                at,
                revision,
                socket_type,
                identity,
            } => (
                at,
                json!({
                    "item": "greeting", "revision": revision, "socket_type": socket_type,
                    "identity": json_frame(identity),
                }),
            ),
            Item::Command { at, name, fields } => {
                let fields = fields.iter().map(|(name, field)| {
                    let value = match field {
                        Field::Octets(octets) => json_frame(octets),
                        Field::Number(number) => json!(number),
                    };
                    (name.clone(), value)
                });
                let fields = fields.collect::<serde_json::Map<_, _>>();
                (
                    at,
                    json!({ "item": "command", "name": name, "fields": fields }),
                )
            }
            Item::Message { at, frames } => {
                let frames: Vec<_> = frames.iter().map(|frame| json_frame(frame)).collect();
                (at, json!({ "item": "message", "frames": frames }))
            }
            Item::Fault { at, what } => (at, json!({ "item": "fault", "what": what })),
            Item::Cut { at, what } => (at, json!({ "item": "cut", "what": what })),
        };
        value["at"] = json!(at);
        value["side"] = json!(side.to_string());
        value
    }

    /// A line; of long values the first octets, `preview` of them.
    pub(crate) fn text(&self, side: char, preview: usize) -> String {
        let shown = |octets: &[u8]| show(octets, preview);
        match self {
            Item::Greeting {
                at,
                version,
                mechanism,
                as_server,
            } => format!(
                "{side} {at:>8} greeting ZMTP {}.{} {mechanism}{}",
                version.0,
                version.1,
                if *as_server { " as server" } else { "" }
            ),
            Item::LegacyGreeting {
                at,
                revision,
                socket_type,
                identity,
            } => format!(
                "{side} {at:>8} greeting revision {revision} {socket_type} identity {}",
                shown(identity)
            ),
            Item::Command { at, name, fields } => {
                let fields = fields.iter().map(|(name, field)| match field {
                    Field::Octets(octets) => format!(" {name}={}", shown(octets)),
                    Field::Number(number) => format!(" {name}={number}"),
                });
                format!(
                    "{side} {at:>8} command {name}{}",
                    fields.collect::<String>()
                )
            }
            Item::Message { at, frames } => {
                let frames = frames.iter().map(|frame| format!(" {}", shown(frame)));
                format!("{side} {at:>8} message{}", frames.collect::<String>())
            }
            Item::Fault { at, what } => format!("{side} {at:>8} fault: {what}"),
            Item::Cut { at, what } => format!("{side} {at:>8} the stream ends in a {what}"),
        }
    }
}

/// Text in quotes, or digits; and how long it is, if that is not all.
fn show(octets: &[u8], preview: usize) -> String {
    let first = &octets[..octets.len().min(preview)];
    let rest = match octets.len() - first.len() {
        0 => String::new(),
        _ => format!("…({})", octets.len()),
    };
    match std::str::from_utf8(octets) {
        Ok(_) => format!("\"{}\"{rest}", quote(first)),
        Err(_) => format!("0x{}{rest}", hex(first)),
    }
}
