//! EXT/1, the optional extension header: the first body frame of a request or reply, if both sides have
//! agreed on it. It carries what the protocols around it have no place for: deadline, name, priority,
//! status.
//!
//! ```text
//! AA AE 01 | u32 count | count × ( u8 length, name in UTF-8 | u32 length, value )
//! ```
//!
//! Numbers are big-endian. Names that are not known here are kept as they came, and passed on. A frame
//! that does not begin with `AA AE 01` is no header, but the body itself.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use sinew::Frame;
use thiserror::Error;

use super::MsgId;

/// An extension header. Whatever it borrows is of the frame it was decoded from.
///
/// ```
/// use std::time::Duration;
/// use sinew_patterns::common::Ext;
///
/// let mut ext = Ext::default();
/// ext.deadline = Some(Duration::from_millis(1500));
/// let frame = ext.encode()?;
/// assert_eq!(Ext::decode(&frame)?, Some(ext));
/// assert_eq!(Ext::decode(b"a body")?, None);
/// # Ok::<(), sinew_patterns::common::ExtError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ext<'a> {
    /// `id`: the name of the request.
    pub id: Option<MsgId>,
    /// `dl`: what is left of the time for the reply. On the wire in milliseconds, rounded down, at most
    /// about 49 days.
    pub deadline: Option<Duration>,
    /// `idem`: what happens if it is carried out twice.
    pub idem: Option<ExtIdem>,
    /// `key`: the key of business or of order.
    pub key: Option<Cow<'a, [u8]>>,
    /// `prio`: 0 to 7, 7 is the most urgent.
    pub priority: Option<u8>,
    /// `nb`: how long not to begin yet.
    pub not_before: Option<Duration>,
    /// `ttl`: how long it is of use.
    pub ttl: Option<Duration>,
    /// `att`: which attempt this is, from 1.
    pub attempt: Option<u16>,
    /// `tp`: W3C traceparent, ASCII.
    pub trace: Option<Cow<'a, str>>,
    /// `ct`: content type.
    pub content_type: Option<Cow<'a, str>>,
    /// `op`: what the message is.
    pub op: Op,
    /// `pn`: how many parts of the reply came before this one, so that no part is missed or read twice.
    pub part: Option<u32>,
    /// `st`: how it went, in replies.
    pub status: Option<Status>,
    /// `ra`: when to come back, in replies.
    pub retry_after: Option<Duration>,
    /// `err`: why, or where to go instead.
    pub reason: Option<Cow<'a, str>>,
    /// `tag`: a tag to filter by.
    pub tag: Option<Cow<'a, str>>,
    /// `slots`: how many requests at once a worker takes over this connection, when it registers; 0 in a heartbeat of one that
    /// drains, which takes no more.
    pub slots: Option<u32>,
    /// `lease`: how much longer a worker wants to keep a request, in a heartbeat about it. On the wire in milliseconds, as
    /// `dl`.
    pub lease: Option<Duration>,
    /// `credit`: how many octets of parts of a reply a worker may send, in a request; how many more, in a heartbeat of the
    /// broker about it.
    pub credit: Option<u32>,
    /// Names that are not known here, [`Ext::MAX_OWN`] at most.
    pub other: Vec<(Cow<'a, str>, Cow<'a, [u8]>)>,
}

/// What a message is, in a conversation of several. On the wire, `op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Op {
    /// A request, or the only reply.
    #[default]
    Call,
    /// A reply that others will follow.
    Partial,
    /// The last reply.
    Final,
    /// The asker wants no reply any more.
    Cancel,
}

/// What happens if a request is carried out twice. On the wire, `idem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtIdem {
    /// No harm.
    Safe,
    /// Harm, but `id` tells repetitions.
    Key,
    /// Harm; it is sent once.
    Once,
}

/// How a request went. On the wire, `st`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// 200: well.
    Ok,
    /// 404: nobody offers this service.
    NoService,
    /// 408: its deadline was over before it was begun.
    Expired,
    /// 409: it conflicts with another.
    Conflict,
    /// 410: a server that is gone, or is still at it, had begun it; whether it was carried out is not known, and it is
    /// not begun again.
    InDoubt,
    /// 429: no room for it; it was not begun.
    Rejected,
    /// 500: it failed.
    Failed,
    /// 503: not here, or not now; it was not begun.
    Unavailable,
    /// Any other number.
    Other(u16),
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Status::Ok => 200,
            Status::NoService => 404,
            Status::Expired => 408,
            Status::Conflict => 409,
            Status::InDoubt => 410,
            Status::Rejected => 429,
            Status::Failed => 500,
            Status::Unavailable => 503,
            Status::Other(code) => code,
        }
    }

    /// Whether it says that the request was not begun, and may come again: 408, 429 and 503. Such an answer is not
    /// kept for a request with a key ([`Idem::Key`](super::Idem::Key)), which is carried out when it comes again.
    #[must_use]
    pub fn is_not_begun(self) -> bool {
        matches!(
            self,
            Status::Expired | Status::Rejected | Status::Unavailable
        )
    }

    /// The status of a number.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        match code {
            200 => Status::Ok,
            404 => Status::NoService,
            408 => Status::Expired,
            409 => Status::Conflict,
            410 => Status::InDoubt,
            429 => Status::Rejected,
            500 => Status::Failed,
            503 => Status::Unavailable,
            code => Status::Other(code),
        }
    }
}

/// Octets that begin like an extension header and are none, or a header that is too large to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExtError {
    /// Longer than [`Ext::MAX`].
    #[error("an extension header has at most {max} octets, this one has {0}", max = Ext::MAX)]
    TooLong(usize),
    /// It ends before what it announces, or goes on behind it.
    #[error("the extension header is cut short or has octets behind its end, at octet {0}")]
    Length(usize),
    /// A name that is empty, not UTF-8, or longer than 255 octets.
    #[error("a name in the extension header is not UTF-8 of 1 to 255 octets, at octet {0}")]
    Name(usize),
    /// A value of another length or range than its name has.
    #[error("the value of `{0}` in the extension header is not of its type or range")]
    Value(&'static str),
    /// A name that occurs twice.
    #[error("`{0}` occurs twice in the extension header")]
    Twice(&'static str),
    /// A name of the caller's own that occurs twice; where it does so again.
    #[error("a name of the caller's own occurs twice in the extension header, at octet {0}")]
    OwnTwice(usize),
    /// More than [`Ext::MAX_OWN`] names of the caller's own; where there is one too many.
    #[error("more than {max} names of the caller's own in the extension header, at octet {0}", max = Ext::MAX_OWN)]
    TooMany(usize),
}

impl<'a> Ext<'a> {
    /// The longest header, in octets; longer ones are refused when encoded and when decoded.
    pub const MAX: usize = 8 * 1024;

    /// The most names of the caller's own; more are refused when encoded and when decoded. With so many what is kept of
    /// a header takes no more memory than the longest header does.
    pub const MAX_OWN: usize = 64;

    /// Whether a frame begins like a header.
    #[must_use]
    pub fn is_ext(frame: &[u8]) -> bool {
        frame.starts_with(&MAGIC)
    }

    /// How long a request is still of use: the less of `dl` and `ttl`.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.into_iter().chain(self.ttl).min()
    }

    /// Whether a request is not to be begun yet. Servers, brokers and workers hold nothing back: they decline it with
    /// 503.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.not_before.is_some_and(|wait| !wait.is_zero())
    }

    /// Reads a header. `None` if the frame is none at all, but a body.
    ///
    /// # Errors
    /// See [`ExtError`].
    pub fn decode(frame: &'a [u8]) -> Result<Option<Self>, ExtError> {
        if !Ext::is_ext(frame) {
            return Ok(None);
        }
        if frame.len() > Ext::MAX {
            return Err(ExtError::TooLong(frame.len()));
        }
        let mut cursor = Cursor {
            octets: frame,
            at: MAGIC.len(),
        };
        let count = cursor.u32()?;
        let mut ext = Ext::default();
        let mut known = 0u32;
        let mut own = BTreeSet::new();
        // The count is not believed: each turn consumes octets or fails.
        for _ in 0..count {
            let name_at = cursor.at;
            let name = cursor.name()?;
            let value = cursor.value()?;
            let Some(index) = NAMES.iter().position(|known| *known == name) else {
                if !own.insert(name) {
                    return Err(ExtError::OwnTwice(name_at));
                }
                if own.len() > Ext::MAX_OWN {
                    return Err(ExtError::TooMany(name_at));
                }
                ext.other.push((Cow::Borrowed(name), Cow::Borrowed(value)));
                continue;
            };
            if known & (1 << index) != 0 {
                return Err(ExtError::Twice(NAMES[index]));
            }
            known |= 1 << index;
            ext.set(NAMES[index], value)?;
        }
        match cursor.at == frame.len() {
            true => Ok(Some(ext)),
            false => Err(ExtError::Length(cursor.at)),
        }
    }

    fn set(&mut self, name: &'static str, value: &'a [u8]) -> Result<(), ExtError> {
        let bad = ExtError::Value(name);
        match name {
            "id" => self.id = Some(MsgId(value.try_into().map_err(|_| bad)?)),
            "dl" => self.deadline = Some(millis(u32_of(value).ok_or(bad)?)),
            "idem" => {
                self.idem = Some(match value {
                    [0] => ExtIdem::Safe,
                    [1] => ExtIdem::Key,
                    [2] => ExtIdem::Once,
                    _ => return Err(bad),
                });
            }
            "key" => self.key = Some(Cow::Borrowed(value)),
            "prio" => match value {
                [priority @ 0..=7] => self.priority = Some(*priority),
                _ => return Err(bad),
            },
            "nb" => {
                let octets = value.try_into().map_err(|_| bad)?;
                self.not_before = Some(Duration::from_millis(u64::from_be_bytes(octets)));
            }
            "ttl" => self.ttl = Some(millis(u32_of(value).ok_or(bad)?)),
            "att" => {
                let octets = value.try_into().map_err(|_| bad)?;
                match u16::from_be_bytes(octets) {
                    0 => return Err(bad),
                    attempt => self.attempt = Some(attempt),
                }
            }
            "tp" => self.trace = Some(text(value).ok_or(bad)?),
            "ct" => self.content_type = Some(text(value).ok_or(bad)?),
            "op" => {
                self.op = match value {
                    [0] => Op::Call,
                    [1] => Op::Partial,
                    [2] => Op::Final,
                    [3] => Op::Cancel,
                    _ => return Err(bad),
                };
            }
            "pn" => self.part = Some(u32_of(value).ok_or(bad)?),
            "st" => {
                let octets = value.try_into().map_err(|_| bad)?;
                self.status = Some(Status::from_code(u16::from_be_bytes(octets)));
            }
            "ra" => self.retry_after = Some(millis(u32_of(value).ok_or(bad)?)),
            "err" => self.reason = Some(text(value).ok_or(bad)?),
            "tag" => self.tag = Some(text(value).ok_or(bad)?),
            "slots" => self.slots = Some(u32_of(value).ok_or(bad)?),
            "lease" => self.lease = Some(millis(u32_of(value).ok_or(bad)?)),
            "credit" => self.credit = Some(u32_of(value).ok_or(bad)?),
            _ => {}
        }
        Ok(())
    }

    /// The frame of this header.
    ///
    /// # Errors
    /// If it is longer than [`Ext::MAX`], `priority` is above 7, `attempt` is 0, or a name in `other` is empty, longer than 255
    /// octets, one of those known here, or there twice; or there are more than [`Ext::MAX_OWN`].
    pub fn encode(&self) -> Result<Frame, ExtError> {
        let mut writer = Writer {
            octets: Vec::with_capacity(64),
            count: 0,
        };
        writer.octets.extend_from_slice(&MAGIC);
        writer.octets.extend_from_slice(&[0; 4]);
        writer.put_opt("id", self.id.as_ref().map(|id| &id.0[..]));
        writer.put_millis("dl", self.deadline);
        if let Some(idem) = self.idem {
            let code = match idem {
                ExtIdem::Safe => 0,
                ExtIdem::Key => 1,
                ExtIdem::Once => 2,
            };
            writer.put("idem", &[code]);
        }
        writer.put_opt("key", self.key.as_deref());
        if let Some(priority) = self.priority {
            if priority > 7 {
                return Err(ExtError::Value("prio"));
            }
            writer.put("prio", &[priority]);
        }
        if let Some(not_before) = self.not_before {
            let millis = u64::try_from(not_before.as_millis()).unwrap_or(u64::MAX);
            writer.put("nb", &millis.to_be_bytes());
        }
        writer.put_millis("ttl", self.ttl);
        if let Some(attempt) = self.attempt {
            if attempt == 0 {
                return Err(ExtError::Value("att"));
            }
            writer.put("att", &attempt.to_be_bytes());
        }
        writer.put_opt("tp", self.trace.as_deref().map(str::as_bytes));
        writer.put_opt("ct", self.content_type.as_deref().map(str::as_bytes));
        if self.op != Op::Call {
            let code = match self.op {
                Op::Call => 0,
                Op::Partial => 1,
                Op::Final => 2,
                Op::Cancel => 3,
            };
            writer.put("op", &[code]);
        }
        if let Some(part) = self.part {
            writer.put("pn", &part.to_be_bytes());
        }
        if let Some(status) = self.status {
            writer.put("st", &status.code().to_be_bytes());
        }
        writer.put_millis("ra", self.retry_after);
        writer.put_opt("err", self.reason.as_deref().map(str::as_bytes));
        writer.put_opt("tag", self.tag.as_deref().map(str::as_bytes));
        writer.put_opt(
            "slots",
            self.slots
                .map(u32::to_be_bytes)
                .as_ref()
                .map(|octets| &octets[..]),
        );
        writer.put_millis("lease", self.lease);
        if let Some(credit) = self.credit {
            writer.put("credit", &credit.to_be_bytes());
        }
        let mut own = BTreeSet::new();
        for (name, value) in &self.other {
            if let Some(known) = NAMES.iter().find(|known| **known == name.as_ref()) {
                return Err(ExtError::Twice(known));
            }
            if name.is_empty() || name.len() > 255 {
                return Err(ExtError::Name(writer.octets.len()));
            }
            if !own.insert(name.as_ref()) {
                return Err(ExtError::OwnTwice(writer.octets.len()));
            }
            if own.len() > Ext::MAX_OWN {
                return Err(ExtError::TooMany(writer.octets.len()));
            }
            writer.put(name, value);
            // Before a caller's many names take memory without end.
            if writer.octets.len() > Ext::MAX {
                break;
            }
        }
        if writer.octets.len() > Ext::MAX {
            return Err(ExtError::TooLong(writer.octets.len()));
        }
        let count = writer.count.to_be_bytes();
        writer.octets[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&count);
        Ok(Frame::from(writer.octets))
    }

    /// The same, which borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Ext<'static> {
        fn octets(value: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
            Cow::Owned(value.into_owned())
        }
        fn text(value: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(value.into_owned())
        }
        Ext {
            id: self.id,
            deadline: self.deadline,
            idem: self.idem,
            key: self.key.map(octets),
            priority: self.priority,
            not_before: self.not_before,
            ttl: self.ttl,
            attempt: self.attempt,
            trace: self.trace.map(text),
            content_type: self.content_type.map(text),
            op: self.op,
            part: self.part,
            status: self.status,
            retry_after: self.retry_after,
            reason: self.reason.map(text),
            tag: self.tag.map(text),
            slots: self.slots,
            lease: self.lease,
            credit: self.credit,
            other: (self.other.into_iter())
                .map(|(name, value)| (text(name), octets(value)))
                .collect(),
        }
    }
}

struct Writer {
    octets: Vec<u8>,
    count: u32,
}

impl Writer {
    fn put(&mut self, name: &str, value: &[u8]) {
        // Names are at most 255 octets, and the whole is refused above `Ext::MAX`.
        self.octets.push(name.len() as u8);
        self.octets.extend_from_slice(name.as_bytes());
        self.octets
            .extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.octets.extend_from_slice(value);
        self.count += 1;
    }

    fn put_opt(&mut self, name: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn put_millis(&mut self, name: &str, value: Option<Duration>) {
        if let Some(value) = value {
            let millis = u32::try_from(value.as_millis()).unwrap_or(u32::MAX);
            self.put(name, &millis.to_be_bytes());
        }
    }
}

struct Cursor<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ExtError> {
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.octets.len());
        let end = end.ok_or(ExtError::Length(self.at))?;
        let taken = &self.octets[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, ExtError> {
        let at = self.at;
        u32_of(self.take(4)?).ok_or(ExtError::Length(at))
    }

    fn name(&mut self) -> Result<&'a str, ExtError> {
        let at = self.at;
        match usize::from(self.take(1)?[0]) {
            0 => Err(ExtError::Name(at)),
            len => std::str::from_utf8(self.take(len)?).map_err(|_| ExtError::Name(at)),
        }
    }

    fn value(&mut self) -> Result<&'a [u8], ExtError> {
        let len = self.u32()? as usize;
        self.take(len)
    }
}

fn u32_of(octets: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(octets.try_into().ok()?))
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

fn text(octets: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(octets).ok().map(Cow::Borrowed)
}

/// What a header begins with: signature and version.
const MAGIC: [u8; 3] = [0xaa, 0xae, 0x01];

const NAMES: [&str; 19] = [
    "id", "dl", "idem", "key", "prio", "nb", "ttl", "att", "tp", "ct", "op", "pn", "st", "ra",
    "err", "tag", "slots", "lease", "credit",
];

/// Fuzz body: whatever decodes encodes to something that decodes to the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_ext(data: &[u8]) {
    if let Ok(Some(ext)) = Ext::decode(data) {
        let frame = ext.encode().expect("it was in bounds when it came");
        assert!(
            frame.len() <= data.len(),
            "encoding is no longer than any other"
        );
        assert_eq!(Ext::decode(&frame), Ok(Some(ext.clone())));
        assert_eq!(ext.clone().into_owned(), ext);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fuzz::{cases, mutated};
    use crate::common::Random;

    fn full() -> Ext<'static> {
        Ext {
            id: Some(MsgId([9; 16])),
            deadline: Some(Duration::from_millis(1234)),
            idem: Some(ExtIdem::Key),
            key: Some(Cow::Borrowed(b"account 7")),
            priority: Some(7),
            not_before: Some(Duration::from_millis(1 << 40)),
            ttl: Some(Duration::from_millis(1)),
            attempt: Some(3),
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            content_type: Some("text/plain".into()),
            op: Op::Partial,
            part: Some(3),
            status: Some(Status::Rejected),
            retry_after: Some(Duration::from_millis(50)),
            reason: Some("full".into()),
            tag: Some("blue".into()),
            slots: Some(64),
            lease: Some(Duration::from_secs(30)),
            credit: Some(1 << 20),
            other: vec![
                ("x-own".into(), Cow::Borrowed(b"1")),
                ("e".into(), Cow::Borrowed(b"")),
            ],
        }
    }

    #[test]
    fn everything_round_trips() {
        let frame = full().encode().unwrap();
        assert_eq!(Ext::decode(&frame), Ok(Some(full())));
        for cut in 3..frame.len() {
            assert!(Ext::decode(&frame[..cut]).is_err(), "cut at {cut}");
        }
        let mut more = frame.to_vec();
        more.push(0);
        assert_eq!(Ext::decode(&more), Err(ExtError::Length(frame.len())));
        for code in 0..=1000 {
            assert_eq!(Status::from_code(code).code(), code);
        }
    }

    #[test]
    fn a_header_on_the_wire() {
        let ext = Ext {
            deadline: Some(Duration::from_millis(258)),
            ..Ext::default()
        };
        assert_eq!(
            ext.encode().unwrap(),
            b"\xaa\xae\x01\0\0\0\x01\x02dl\0\0\0\x04\0\0\x01\x02"
        );
        assert_eq!(Ext::default().encode().unwrap(), b"\xaa\xae\x01\0\0\0\0");
    }

    #[test]
    fn what_is_refused() {
        let with = |octets: &[u8]| Ext::decode(octets).map(|ext| ext.is_some());
        assert_eq!(
            with(b"\xaa\xae\x02"),
            Ok(false),
            "another version is a body"
        );
        assert_eq!(
            with(b"\xaa\xae\x01\0\0\0\x01\x04prio\0\0\0\x01\x08"),
            Err(ExtError::Value("prio"))
        );
        assert_eq!(
            with(b"\xaa\xae\x01\xff\xff\xff\xff"),
            Err(ExtError::Length(7))
        );
        assert_eq!(
            with(b"\xaa\xae\x01\0\0\0\x01\x01\xff\0\0\0\0"),
            Err(ExtError::Name(7))
        );
        let twice = b"\xaa\xae\x01\0\0\0\x02\x02op\0\0\0\x01\x01\x02op\0\0\0\x01\x01";
        assert_eq!(with(twice), Err(ExtError::Twice("op")));
        let own = b"\xaa\xae\x01\0\0\0\x02\x01x\0\0\0\x01\x01\x01x\0\0\0\0";
        assert_eq!(with(own), Err(ExtError::OwnTwice(14)));
        assert_eq!(
            with(b"\xaa\xae\x01\0\0\0\x01\0\0\0\0\0"),
            Err(ExtError::Name(7)),
            "an empty name"
        );
        assert_eq!(
            with(b"\xaa\xae\x01\0\0\0\x01\x03att\0\0\0\x02\0\0"),
            Err(ExtError::Value("att"))
        );
        let mut long = full().encode().unwrap().to_vec();
        long.resize(Ext::MAX + 1, 0);
        assert_eq!(with(&long), Err(ExtError::TooLong(Ext::MAX + 1)));
        let large = Ext {
            key: Some(vec![0; Ext::MAX].into()),
            ..Ext::default()
        };
        assert!(matches!(large.encode(), Err(ExtError::TooLong(_))));
        let urgent = Ext {
            priority: Some(8),
            ..Ext::default()
        };
        assert_eq!(urgent.encode(), Err(ExtError::Value("prio")));
        let before_the_first = Ext {
            attempt: Some(0),
            ..Ext::default()
        };
        assert_eq!(before_the_first.encode(), Err(ExtError::Value("att")));
        let named = |names: &[&'static str]| Ext {
            other: (names.iter().map(|name| (Cow::from(*name), Cow::default()))).collect(),
            ..Ext::default()
        };
        assert_eq!(named(&[""]).encode(), Err(ExtError::Name(7)));
        assert_eq!(named(&["x", "x"]).encode(), Err(ExtError::OwnTwice(13)));
        assert_eq!(named(&["id"]).encode(), Err(ExtError::Twice("id")));
    }

    #[test]
    fn so_many_names_of_the_callers_own_and_no_more() {
        let names = |count: usize| Ext {
            other: (0..count)
                .map(|name| (name.to_string().into(), b"x".into()))
                .collect(),
            ..Ext::default()
        };
        let most = names(Ext::MAX_OWN).encode().unwrap();
        assert_eq!(
            Ext::decode(&most).unwrap().unwrap().other.len(),
            Ext::MAX_OWN
        );
        let over = names(Ext::MAX_OWN + 1).encode();
        assert_eq!(over, Err(ExtError::TooMany(most.len())));
        // The same from somebody who does not keep to that.
        let mut octets = most.to_vec();
        octets[MAGIC.len() + 3] += 1;
        octets.extend(b"\x04more\0\0\0\0");
        assert_eq!(Ext::decode(&octets), Err(ExtError::TooMany(most.len())));
    }

    /// SUB-05.
    #[test]
    fn random_frames() {
        let frame = full().encode().unwrap();
        let mut random = Random::new(5);
        for _ in 0..cases() {
            fuzz_ext(&mutated(&frame, &mut random));
        }
    }
}
