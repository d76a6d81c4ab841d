//! The frames of 7/MDP 0.1 and 18/MDP 0.2, as one vocabulary.
//!
//! | 0.1 | 0.2 |
//! | --- | --- |
//! | `[]["MDPC01"][service][body…]` | `["MDPC02"][01 request, 02 partial, 03 final][service][body…]` |
//! | `[]["MDPW01"][01 ready][service]` | `["MDPW02"][01 ready][service]` |
//! | `[]["MDPW01"][02 request][client][][body…]` | `["MDPW02"][02 request][client][][body…]` |
//! | `[]["MDPW01"][03 reply][client][][body…]` | `["MDPW02"][03 partial, 04 final][client][][body…]` |
//! | `[]["MDPW01"][04 heartbeat]` | `["MDPW02"][05 heartbeat]` |
//! | `[]["MDPW01"][05 disconnect]` | `["MDPW02"][06 disconnect]` |
//!
//! READY may be followed by an extension header, and the first body frame may be one. Between those who have agreed on
//! that, a heartbeat may be about a request, as `[heartbeat][client][header]`, with the client's frame as it came or goes
//! with the request: from a worker, that it wants to keep it longer (`lease`); from a broker, that nobody waits for it any
//! more (`op` 3). Whoever does not know that sees a heartbeat, for what is behind one is ignored. There is always at
//! least one body frame: some peers abort without.

use sinew::{Frame, Message};
use thiserror::Error;

use crate::common::Ext;

/// Which version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// 7/MDP, version 0.1.
    #[default]
    V1,
    /// 18/MDP, version 0.2.
    V2,
}

/// A message that is not of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// It does not begin as a message of 0.1 or 0.2 does.
    #[error("neither \"MDPC01\" or \"MDPW01\" after an empty frame, nor \"MDPC02\" or \"MDPW02\"")]
    Header,
    /// It has too few frames, or too many.
    #[error("a message of this kind has at least {expected} frames, this one has {frames}")]
    Frames {
        /// How many it has.
        frames: usize,
        /// How many there have to be.
        expected: usize,
    },
    /// The command is not one octet that is known in this direction.
    #[error("an unknown command")]
    Command,
    /// No empty frame follows the name of the client.
    #[error("no empty frame behind the name of the client")]
    Envelope,
}

/// What a broker is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToBroker {
    Call {
        service: Frame,
        body: Vec<Frame>,
    },
    Ready {
        service: Frame,
        /// Of a worker that knows extension headers: how many requests at once it takes.
        slots: Option<u32>,
    },
    Reply {
        client: Frame,
        body: Vec<Frame>,
        last: bool,
    },
    Heartbeat {
        note: Option<Box<Note>>,
    },
    Disconnect,
}

/// What a heartbeat says of a request, or of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// The client's frame of the request; empty if it is about the worker.
    pub(crate) client: Frame,
    pub(crate) ext: Ext<'static>,
}

/// What a worker is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToWorker {
    Request { client: Frame, body: Vec<Frame> },
    Heartbeat { note: Option<Box<Note>> },
    Disconnect,
}

/// What a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToClient {
    pub(crate) service: Frame,
    pub(crate) body: Vec<Frame>,
    pub(crate) last: bool,
}

/// What a role is called in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Worker,
}

const READY: u8 = 1;
const REQUEST: u8 = 2;

impl Dialect {
    fn reply(self, last: bool) -> u8 {
        match (self, last) {
            (Dialect::V1, _) | (Dialect::V2, false) => 3,
            (Dialect::V2, true) => 4,
        }
    }

    fn heartbeat(self) -> u8 {
        match self {
            Dialect::V1 => 4,
            Dialect::V2 => 5,
        }
    }

    fn disconnect(self) -> u8 {
        self.heartbeat() + 1
    }

    /// The beginning of a message of so many frames besides.
    fn header(self, role: Role, more: usize) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(more + 2);
        if self == Dialect::V1 {
            frames.push(Frame::default());
        }
        frames.push(Frame::from_static(match (self, role) {
            (Dialect::V1, Role::Client) => b"MDPC01",
            (Dialect::V1, Role::Worker) => b"MDPW01",
            (Dialect::V2, Role::Client) => b"MDPC02",
            (Dialect::V2, Role::Worker) => b"MDPW02",
        }));
        frames
    }
}

pub(crate) fn decode_to_broker(message: Message) -> Result<(Dialect, ToBroker), WireError> {
    let (dialect, role, frames) = open(message)?;
    let decoded = match role {
        Role::Client => {
            let skip = match dialect {
                Dialect::V1 => 0,
                Dialect::V2 => 1,
            };
            at_least(&frames, skip + 2)?;
            if dialect == Dialect::V2 && frames[0] != [1] {
                return Err(WireError::Command);
            }
            let mut frames = frames.into_iter().skip(skip);
            let service = frames.next().unwrap_or_default();
            ToBroker::Call {
                service,
                body: frames.collect(),
            }
        }
        Role::Worker => match command(&frames)? {
            READY => match &frames[1..] {
                [service] => ToBroker::Ready {
                    service: service.clone(),
                    slots: None,
                },
                [service, ext] if Ext::is_ext(ext) => ToBroker::Ready {
                    service: service.clone(),
                    slots: Some(slots_of(ext)),
                },
                _ => {
                    return Err(WireError::Frames {
                        frames: frames.len(),
                        expected: 2,
                    })
                }
            },
            3 => reply(frames, dialect == Dialect::V1)?,
            4 if dialect == Dialect::V2 => reply(frames, true)?,
            // Frames behind these two are ignored: a known peer sends one.
            code if code == dialect.heartbeat() => ToBroker::Heartbeat {
                note: note_in(&frames),
            },
            code if code == dialect.disconnect() => ToBroker::Disconnect,
            _ => return Err(WireError::Command),
        },
    };
    Ok((dialect, decoded))
}

pub(crate) fn decode_to_worker(message: Message, dialect: Dialect) -> Result<ToWorker, WireError> {
    let (theirs, role, frames) = open(message)?;
    if theirs != dialect || role != Role::Worker {
        return Err(WireError::Header);
    }
    match command(&frames)? {
        REQUEST => {
            let (client, body) = envelope(frames)?;
            Ok(ToWorker::Request { client, body })
        }
        code if code == dialect.heartbeat() => Ok(ToWorker::Heartbeat {
            note: note_in(&frames),
        }),
        code if code == dialect.disconnect() => Ok(ToWorker::Disconnect),
        _ => Err(WireError::Command),
    }
}

pub(crate) fn decode_to_client(message: Message, dialect: Dialect) -> Result<ToClient, WireError> {
    match decode_reply(message)? {
        (theirs, reply) if theirs == dialect => Ok(reply),
        _ => Err(WireError::Header),
    }
}

/// The same, of either dialect.
pub(crate) fn decode_reply(message: Message) -> Result<(Dialect, ToClient), WireError> {
    let (dialect, role, mut frames) = open(message)?;
    if role != Role::Client {
        return Err(WireError::Header);
    }
    let last = match dialect {
        Dialect::V1 => true,
        Dialect::V2 => {
            let code = command(&frames)?;
            frames.remove(0);
            match code {
                2 => false,
                3 => true,
                _ => return Err(WireError::Command),
            }
        }
    };
    at_least(&frames, 2)?;
    let mut frames = frames.into_iter();
    let reply = ToClient {
        service: frames.next().unwrap_or_default(),
        body: frames.collect(),
        last,
    };
    Ok((dialect, reply))
}

pub(crate) fn encode_call(dialect: Dialect, service: &Frame, body: Vec<Frame>) -> Message {
    let mut frames = dialect.header(Role::Client, body.len() + 3);
    if dialect == Dialect::V2 {
        frames.push(Frame::from([1]));
    }
    frames.push(service.clone());
    finish(frames, body)
}

/// To a client. 0.1 has no partial replies; whoever sends one there has an extension header in the body.
pub(crate) fn encode_to_client(
    dialect: Dialect,
    service: &Frame,
    body: Vec<Frame>,
    last: bool,
) -> Message {
    let mut frames = dialect.header(Role::Client, body.len() + 3);
    if dialect == Dialect::V2 {
        frames.push(Frame::from([if last { 3 } else { 2 }]));
    }
    frames.push(service.clone());
    finish(frames, body)
}

pub(crate) fn encode_ready(dialect: Dialect, service: &Frame, ext: Option<Frame>) -> Message {
    let mut frames = dialect.header(Role::Worker, 3);
    frames.push(Frame::from([READY]));
    frames.push(service.clone());
    frames.extend(ext);
    Message::from_frames(frames)
}

pub(crate) fn encode_request(dialect: Dialect, client: &Frame, body: Vec<Frame>) -> Message {
    let mut frames = dialect.header(Role::Worker, body.len() + 4);
    frames.extend([Frame::from([REQUEST]), client.clone(), Frame::default()]);
    finish(frames, body)
}

pub(crate) fn encode_reply(
    dialect: Dialect,
    client: &Frame,
    body: Vec<Frame>,
    last: bool,
) -> Message {
    let mut frames = dialect.header(Role::Worker, body.len() + 4);
    let code = dialect.reply(last);
    frames.extend([Frame::from([code]), client.clone(), Frame::default()]);
    finish(frames, body)
}

pub(crate) fn encode_heartbeat(dialect: Dialect) -> Message {
    let mut frames = dialect.header(Role::Worker, 1);
    frames.push(Frame::from([dialect.heartbeat()]));
    Message::from_frames(frames)
}

/// A heartbeat about a request. A header that is too long is left out, and the frame with it.
pub(crate) fn encode_note(dialect: Dialect, note: &Note) -> Message {
    let mut frames = encode_heartbeat(dialect).into_frames();
    if let Ok(ext) = note.ext.encode() {
        frames.extend([note.client.clone(), ext]);
    }
    Message::from_frames(frames)
}

/// What a part of a reply costs of a worker's `credit`: its octets, and some for what it takes besides.
pub(crate) fn cost_of_part(octets: usize) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX - 64) + 64
}

pub(crate) fn encode_disconnect(dialect: Dialect) -> Message {
    let mut frames = dialect.header(Role::Worker, 1);
    frames.push(Frame::from([dialect.disconnect()]));
    Message::from_frames(frames)
}

/// What begins like a message of one of the dialects, without that beginning.
fn open(message: Message) -> Result<(Dialect, Role, Vec<Frame>), WireError> {
    let mut frames = message.into_frames();
    let v1 = frames[0].is_empty();
    let header = frames.get(usize::from(v1)).ok_or(WireError::Header)?;
    let (dialect, role) = match (v1, header.as_slice()) {
        (true, b"MDPC01") => (Dialect::V1, Role::Client),
        (true, b"MDPW01") => (Dialect::V1, Role::Worker),
        (false, b"MDPC02") => (Dialect::V2, Role::Client),
        (false, b"MDPW02") => (Dialect::V2, Role::Worker),
        _ => return Err(WireError::Header),
    };
    frames.drain(..=usize::from(v1));
    Ok((dialect, role, frames))
}

fn command(frames: &[Frame]) -> Result<u8, WireError> {
    match frames.first().map(Frame::as_slice) {
        Some([code]) => Ok(*code),
        Some(_) => Err(WireError::Command),
        None => Err(WireError::Frames {
            frames: 0,
            expected: 1,
        }),
    }
}

/// `[command][client][][body…]`
fn envelope(mut frames: Vec<Frame>) -> Result<(Frame, Vec<Frame>), WireError> {
    at_least(&frames, 4)?;
    if !frames[2].is_empty() {
        return Err(WireError::Envelope);
    }
    let body = frames.split_off(3);
    Ok((frames.swap_remove(1), body))
}

fn reply(frames: Vec<Frame>, last: bool) -> Result<ToBroker, WireError> {
    let (client, body) = envelope(frames)?;
    Ok(ToBroker::Reply { client, body, last })
}

/// What a heartbeat says of a request, if it does. Anything else behind it is ignored.
fn note_in(frames: &[Frame]) -> Option<Box<Note>> {
    let [_, client, ext] = frames else {
        return None;
    };
    let ext = Ext::decode(ext).ok()??.into_owned();
    let client = client.clone();
    Some(Box::new(Note { client, ext }))
}

/// What a worker says in its READY: one, if it says nothing.
fn slots_of(ext: &Frame) -> u32 {
    let ext = Ext::decode(ext).ok().flatten();
    ext.and_then(|ext| ext.slots).unwrap_or(1).max(1)
}

fn at_least(frames: &[Frame], expected: usize) -> Result<(), WireError> {
    match frames.len() >= expected {
        true => Ok(()),
        false => Err(WireError::Frames {
            frames: frames.len(),
            expected,
        }),
    }
}

fn finish(mut frames: Vec<Frame>, body: Vec<Frame>) -> Message {
    if body.is_empty() {
        frames.push(Frame::default());
    }
    frames.extend(body);
    Message::from_frames(frames)
}

#[cfg(any(test, fuzzing))]
fn encode_beat(dialect: Dialect, note: Option<Box<Note>>) -> Message {
    match note {
        Some(note) => encode_note(dialect, &note),
        None => encode_heartbeat(dialect),
    }
}

/// Fuzz body: whatever decodes encodes to something that decodes to the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_mdp(data: &[u8]) {
    let message = crate::common::frames_of(data);
    if let Ok((dialect, decoded)) = decode_to_broker(message.clone()) {
        let again = match decoded.clone() {
            ToBroker::Call { service, body } => encode_call(dialect, &service, body),
            ToBroker::Ready { service, slots } => {
                let header = Ext {
                    slots,
                    ..Ext::default()
                };
                let ext = slots.map(|_| header.encode().expect("a short header"));
                encode_ready(dialect, &service, ext)
            }
            ToBroker::Reply { client, body, last } => encode_reply(dialect, &client, body, last),
            ToBroker::Heartbeat { note } => encode_beat(dialect, note),
            ToBroker::Disconnect => encode_disconnect(dialect),
        };
        assert_eq!(decode_to_broker(again), Ok((dialect, decoded)));
    }
    for dialect in [Dialect::V1, Dialect::V2] {
        if let Ok(decoded) = decode_to_worker(message.clone(), dialect) {
            let again = match decoded.clone() {
                ToWorker::Request { client, body } => encode_request(dialect, &client, body),
                ToWorker::Heartbeat { note } => encode_beat(dialect, note),
                ToWorker::Disconnect => encode_disconnect(dialect),
            };
            assert_eq!(decode_to_worker(again, dialect), Ok(decoded));
        }
        if let Ok(decoded) = decode_to_client(message.clone(), dialect) {
            let ToClient {
                service,
                body,
                last,
            } = decoded.clone();
            let again = encode_to_client(dialect, &service, body, last);
            assert_eq!(decode_to_client(again, dialect), Ok(decoded));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fuzz::{cases, mutated};
    use crate::common::Random;

    fn frames(message: &Message) -> Vec<&[u8]> {
        message.frames().iter().map(Frame::as_slice).collect()
    }

    #[test]
    fn the_frames_of_0_1() {
        let (v1, service, client) = (Dialect::V1, Frame::from("echo"), Frame::from("c"));
        let body = || vec![Frame::from("x"), Frame::from("y")];
        let call = encode_call(v1, &service, body());
        assert_eq!(frames(&call), [&b""[..], b"MDPC01", b"echo", b"x", b"y"]);
        assert_eq!(encode_to_client(v1, &service, body(), true), call);
        let ready = encode_ready(v1, &service, None);
        assert_eq!(frames(&ready), [&b""[..], b"MDPW01", b"\x01", b"echo"]);
        let request = encode_request(v1, &client, body());
        assert_eq!(
            frames(&request),
            [&b""[..], b"MDPW01", b"\x02", b"c", b"", b"x", b"y"]
        );
        let reply = encode_reply(v1, &client, Vec::new(), true);
        assert_eq!(
            frames(&reply),
            [&b""[..], b"MDPW01", b"\x03", b"c", b"", b""]
        );
        assert_eq!(
            frames(&encode_heartbeat(v1)),
            [&b""[..], b"MDPW01", b"\x04"]
        );
        assert_eq!(
            frames(&encode_disconnect(v1)),
            [&b""[..], b"MDPW01", b"\x05"]
        );
    }

    #[test]
    fn the_frames_of_0_2() {
        let (v2, service, client) = (Dialect::V2, Frame::from("echo"), Frame::from("c"));
        let body = || vec![Frame::from("x")];
        let call = encode_call(v2, &service, body());
        assert_eq!(frames(&call), [&b"MDPC02"[..], b"\x01", b"echo", b"x"]);
        let partial = encode_to_client(v2, &service, body(), false);
        assert_eq!(frames(&partial), [&b"MDPC02"[..], b"\x02", b"echo", b"x"]);
        let last = encode_to_client(v2, &service, body(), true);
        assert_eq!(frames(&last), [&b"MDPC02"[..], b"\x03", b"echo", b"x"]);
        let partial = encode_reply(v2, &client, body(), false);
        assert_eq!(frames(&partial), [&b"MDPW02"[..], b"\x03", b"c", b"", b"x"]);
        let last = encode_reply(v2, &client, body(), true);
        assert_eq!(frames(&last), [&b"MDPW02"[..], b"\x04", b"c", b"", b"x"]);
        assert_eq!(frames(&encode_heartbeat(v2)), [&b"MDPW02"[..], b"\x05"]);
        assert_eq!(frames(&encode_disconnect(v2)), [&b"MDPW02"[..], b"\x06"]);
    }

    #[test]
    fn heartbeats_about_a_request() {
        let note = Note {
            client: "c".into(),
            ext: Ext {
                lease: Some(std::time::Duration::from_secs(1)),
                ..Ext::default()
            },
        };
        for dialect in [Dialect::V1, Dialect::V2] {
            let message = encode_note(dialect, &note);
            let plain = encode_heartbeat(dialect);
            assert!(frames(&message).starts_with(&frames(&plain)));
            let told = |message: Message| decode_to_broker(message).unwrap().1;
            let to_worker = ToWorker::Heartbeat {
                note: Some(Box::new(note.clone())),
            };
            assert_eq!(decode_to_worker(message.clone(), dialect), Ok(to_worker));
            let known = ToBroker::Heartbeat {
                note: Some(Box::new(note.clone())),
            };
            assert_eq!(told(message.clone()), known);
            // With anything else behind it, it is a heartbeat.
            let strange = [
                plain.clone(),
                Message::multipart([message.frames(), &["x".into()]].concat()),
            ];
            for strange in strange {
                assert_eq!(told(strange), ToBroker::Heartbeat { note: None });
            }
        }
    }

    #[test]
    fn tolerance_and_its_limits() {
        let decode =
            |frames: &[&[u8]]| decode_to_broker(Message::multipart(frames.iter().copied()));
        let more = decode(&[b"", b"MDPW01", b"\x05", b"echo"]);
        assert_eq!(more, Ok((Dialect::V1, ToBroker::Disconnect)));
        assert!(decode(&[b"", b"MDPW01", b"\x01", b"echo", b"more"]).is_err());
        assert_eq!(decode(&[b"", b"MDPW01", b"\x09"]), Err(WireError::Command));
        assert_eq!(
            decode(&[b"", b"MDPC02", b"\x01", b"e", b"x"]),
            Err(WireError::Header)
        );
        assert_eq!(
            decode(&[b"MDPC02", b"\x02", b"e", b"x"]),
            Err(WireError::Command)
        );
        assert_eq!(decode(&[b""]), Err(WireError::Header));
        assert_eq!(
            decode(&[b"", b"MDPC01", b"e"]),
            Err(WireError::Frames {
                frames: 1,
                expected: 2
            })
        );
        let no_delimiter: [&[u8]; 6] = [b"", b"MDPW01", b"\x03", b"c", b"x", b"y"];
        assert_eq!(decode(&no_delimiter), Err(WireError::Envelope));
    }

    /// MDP-07, the decoders.
    #[test]
    fn random_messages() {
        let samples: [&[u8]; 6] = [
            b"\0\x06MDPC01\x04echo\x01x",
            b"\0\x06MDPW01\x01\x01\x04echo",
            b"\0\x06MDPW01\x01\x03\x01c\0\x01x",
            b"\x06MDPC02\x01\x01\x04echo\x01x",
            b"\x06MDPW02\x01\x04\x01c\0\x01x",
            b"\0\x06MDPW01\x01\x04\x01c\x15\xaa\xae\x01\0\0\0\x01\x05lease\0\0\0\x04\0\0\x03\xe8",
        ];
        let mut random = Random::new(7);
        for _ in 0..cases() {
            let sample = samples[random.below(6) as usize];
            fuzz_mdp(&mutated(sample, &mut random));
        }
    }
}
