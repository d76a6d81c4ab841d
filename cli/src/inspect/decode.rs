//! One direction of a connection, from its first octet on (23/ZMTP, 37/ZMTP 3.1).
//!
//! This is not the decoder of the library, which ends a connection at the first fault and tells of nothing that
//! it accepts: here all of it is to be shown, with offsets, also what no peer of ours would be sent. Encrypted
//! contents (CURVE) are shown as they are.

use super::item::{Field, Item};

/// Signature, version, mechanism, as-server, filler.
const GREETING: usize = 64;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Everything in a stream. It ends with a [`Item::Fault`] or [`Item::Cut`] if it does not end well.
pub(crate) fn decode(octets: &[u8]) -> Vec<Item> {
    let mut decoder = Decoder {
        octets,
        at: 0,
        items: Vec::new(),
    };
    if !octets.is_empty() {
        if let Err(end) = decoder.run() {
            decoder.items.push(end);
        }
    }
    decoder.items
}

struct Decoder<'a> {
    octets: &'a [u8],
    at: usize,
    items: Vec<Item>,
}

struct FrameHead {
    flags: u8,
    len: usize,
}

impl<'a> Decoder<'a> {
    fn run(&mut self) -> Result<(), Item> {
        self.greeting()?;
        while self.at < self.octets.len() {
            self.message()?;
        }
        Ok(())
    }

    fn fault(&self, at: usize, what: impl Into<String>) -> Item {
        let what = what.into();
        Item::Fault { at, what }
    }

    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Item> {
        let rest = &self.octets[self.at..];
        let Some(taken) = rest.get(..len) else {
            return Err(Item::Cut { at: self.at, what });
        };
        self.at += len;
        Ok(taken)
    }

    fn greeting(&mut self) -> Result<(), Item> {
        let signature = self.take(10, "greeting")?;
        if signature[0] != 0xff || signature[9] & 1 == 0 {
            let first = signature[0];
            return Err(self.fault(
                0,
                format!("the stream begins with 0x{first:02x}, expected the signature ff … 7f (ZMTP 1.0 has none)"),
            ));
        }
        let major = self.take(1, "greeting")?[0];
        if major < 3 {
            return self.legacy_greeting(major);
        }
        let rest = self.take(GREETING - 11, "greeting")?;
        let (mechanism, padding) = trim_mechanism(&rest[1..21]);
        if padding.iter().any(|octet| *octet != 0) {
            return Err(self.fault(12, "the mechanism is not padded with zeros"));
        }
        self.items.push(Item::Greeting {
            at: 0,
            version: (major, rest[0]),
            mechanism: String::from_utf8_lossy(mechanism).into_owned(),
            as_server: rest[21] & 1 == 1,
        });
        Ok(())
    }

    /// Revision, socket type, and the identity as a frame.
    fn legacy_greeting(&mut self, revision: u8) -> Result<(), Item> {
        const TYPES: [&str; 12] = [
            "PAIR", "PUB", "SUB", "REQ", "REP", "DEALER", "ROUTER", "PULL", "PUSH", "XPUB", "XSUB",
            "STREAM",
        ];
        let number = self.take(1, "greeting")?[0];
        let Some(socket_type) = TYPES.get(usize::from(number)) else {
            return Err(self.fault(11, format!("socket type {number}, expected from 0 to 11")));
        };
        let head = self.head()?;
        let identity = self.take(head.len, "greeting")?.to_vec();
        self.items.push(Item::LegacyGreeting {
            at: 0,
            revision,
            socket_type,
            identity,
        });
        Ok(())
    }

    fn head(&mut self) -> Result<FrameHead, Item> {
        let at = self.at;
        let flags = self.take(1, "frame header")?[0];
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(self.fault(at, format!("reserved flags in 0x{flags:02x}")));
        }
        if flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(self.fault(at, format!("a command with MORE (0x{flags:02x})")));
        }
        let len = match flags & LONG {
            0 => u64::from(self.take(1, "frame header")?[0]),
            _ => {
                let size = self.take(8, "frame header")?;
                size.iter()
                    .fold(0, |len, octet| len << 8 | u64::from(*octet))
            }
        };
        match usize::try_from(len) {
            Ok(len) if len <= isize::MAX as usize => Ok(FrameHead { flags, len }),
            _ => Err(self.fault(at, format!("a frame of {len} octets"))),
        }
    }

    /// The next message, and commands before and between its frames.
    fn message(&mut self) -> Result<(), Item> {
        let (begin, mut frames) = (self.at, Vec::new());
        loop {
            let at = self.at;
            let head = self.head()?;
            let body = self.take(head.len, "frame")?;
            if head.flags & COMMAND != 0 {
                let command = self.command(at, body)?;
                self.items.push(command);
                if frames.is_empty() {
                    return Ok(());
                }
                continue;
            }
            frames.push(body.to_vec());
            if head.flags & MORE == 0 {
                self.items.push(Item::Message { at: begin, frames });
                return Ok(());
            }
            if self.at == self.octets.len() {
                return Err(Item::Cut {
                    at: begin,
                    what: "message of which more frames are to come",
                });
            }
        }
    }

    fn command(&self, at: usize, body: &[u8]) -> Result<Item, Item> {
        let name = body.split_first().and_then(|(len, rest)| {
            let len = usize::from(*len);
            (len > 0 && len <= rest.len()).then(|| rest.split_at(len))
        });
        let Some((name, data)) = name else {
            return Err(self.fault(at, "a command without a name"));
        };
        let octets = |name: &str, data: &[u8]| (name.to_owned(), Field::Octets(data.to_vec()));
        let number = |name: &str, number: u64| (name.to_owned(), Field::Number(number));
        let malformed = || self.fault(at, format!("a malformed {}", name.escape_ascii()));
        let fields = match name {
            b"READY" => properties(data).ok_or_else(malformed)?,
            // Of PLAIN; that of CURVE is encrypted, and has no properties.
            b"INITIATE" => properties(data).unwrap_or_else(|| vec![octets("data", data)]),
            b"ERROR" => {
                let (len, reason) = data.split_first().ok_or_else(malformed)?;
                if usize::from(*len) != reason.len() {
                    return Err(malformed());
                }
                vec![octets("reason", reason)]
            }
            b"SUBSCRIBE" | b"CANCEL" => vec![octets("topic", data)],
            b"JOIN" | b"LEAVE" => vec![octets("group", data)],
            b"PING" => {
                let (ttl, context) = data.split_first_chunk().ok_or_else(malformed)?;
                // In tenths of a second.
                let ttl = u64::from(u16::from_be_bytes(*ttl)) * 100;
                vec![number("ttl_ms", ttl), octets("context", context)]
            }
            b"PONG" => vec![octets("context", data)],
            b"HELLO" => hello(data)
                .map(|user| vec![octets("username", user)])
                .unwrap_or_else(|| vec![number("octets", data.len() as u64)]),
            _ if data.is_empty() => Vec::new(),
            _ => vec![octets("data", data)],
        };
        Ok(Item::Command {
            at,
            name: name.escape_ascii().to_string(),
            fields,
        })
    }
}

fn trim_mechanism(field: &[u8]) -> (&[u8], &[u8]) {
    let end = field.iter().position(|octet| *octet == 0);
    field.split_at(end.unwrap_or(field.len()))
}

/// Names (one octet of length) and values (four).
fn properties(mut data: &[u8]) -> Option<Vec<(String, Field)>> {
    let mut properties = Vec::new();
    while let Some((len, rest)) = data.split_first() {
        let name = rest
            .get(..usize::from(*len))
            .filter(|name| !name.is_empty())?;
        let rest = &rest[name.len()..];
        let (len, rest) = rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let value = rest.get(..len)?;
        data = &rest[len..];
        let name = name.escape_ascii().to_string();
        properties.push((name, Field::Octets(value.to_vec())));
    }
    Some(properties)
}

/// The user of PLAIN. The password is not for showing.
fn hello(data: &[u8]) -> Option<&[u8]> {
    let (len, rest) = data.split_first()?;
    let (user, rest) = rest.split_at_checked(usize::from(*len))?;
    let (len, password) = rest.split_first()?;
    (usize::from(*len) == password.len()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Vec<u8> {
        let mut octets = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
        octets.extend(b"NULL");
        octets.resize(GREETING, 0);
        octets
    }

    fn stream() -> Vec<u8> {
        let mut octets = greeting();
        octets.extend(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB");
        octets.extend(b"\x04\x0c\x09SUBSCRIBEab");
        octets.extend(b"\x01\x01a\x04\x07\x04PING\x00\x0a\x02\x00\x00\x00\x00\x00\x00\x00\x02bc");
        octets
    }

    #[test]
    fn a_stream_is_what_it_says() {
        let text: Vec<_> = decode(&stream())
            .iter()
            .map(|item| item.text('>', 8))
            .collect();
        assert_eq!(
            text,
            [
                ">        0 greeting ZMTP 3.1 NULL",
                ">       64 command READY Socket-Type=\"SUB\"",
                ">       91 command SUBSCRIBE topic=\"ab\"",
                ">      108 command PING ttl_ms=1000 context=\"\"",
                ">      105 message \"a\" \"bc\"",
            ]
        );
    }

    /// Nothing panics, whatever is cut off or damaged, and what was whole before is shown.
    #[test]
    fn every_cut_and_every_damage_is_told() {
        let whole = stream();
        let items = decode(&whole);
        for end in 0..whole.len() {
            let cut = decode(&whole[..end]);
            let good = cut.iter().filter(|item| !matches!(item, Item::Cut { .. }));
            for (item, expected) in good.zip(&items) {
                assert_eq!(item, expected);
            }
            for damage in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[end] ^= damage;
                decode(&damaged);
            }
        }
    }

    #[test]
    fn old_greetings_and_faults_are_named() {
        let old = b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x08\0\x02me\0\x01x";
        let items = decode(old);
        assert!(
            matches!(&items[0], Item::LegacyGreeting { socket_type: "PUSH", identity, .. } if identity == b"me")
        );
        assert!(matches!(&items[1], Item::Message { frames, .. } if frames == &[b"x"]));
        for (octets, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], "begins with 0x47"),
            (
                &[greeting(), b"\x08\x00".to_vec()].concat(),
                "reserved flags",
            ),
            (&[greeting(), b"\x05\x00".to_vec()].concat(), "with MORE"),
            (
                &[greeting(), b"\x04\x00".to_vec()].concat(),
                "without a name",
            ),
            (
                &[greeting(), b"\x04\x07\x05READY\x09".to_vec()].concat(),
                "malformed READY",
            ),
            (
                &[greeting(), vec![2, 255, 255, 255, 255, 255, 255, 255, 255]].concat(),
                "a frame of",
            ),
        ] {
            let last = decode(octets).pop();
            assert!(
                matches!(&last, Some(Item::Fault { what, .. }) if what.contains(expected)),
                "{last:?}"
            );
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let mut octets = greeting();
        octets.extend(b"\x04\x13\x05HELLO\x05admin\x06secret");
        let shown = format!("{:?}", decode(&octets));
        assert!(shown.contains("username"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"secret")[1..]), "{shown}");
    }
}
