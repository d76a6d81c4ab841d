//! How messages are written in input and output.

use std::io::{self, BufRead, Read, Write};

use rmp::Marker;
use serde_json::{json, Value};
use sinew::{Frame, Message};

use crate::args::Format;

/// A format with its separator.
#[derive(Debug, Clone)]
pub(crate) struct Codec {
    pub(crate) format: Format,
    /// Between frames in a line.
    pub(crate) separator: Vec<u8>,
    /// A line of input is split at the separator.
    pub(crate) multipart: bool,
}

/// The most octets that one frame of MessagePack input may announce: what a receiver takes by default.
const FRAME_MAX: u32 = 64 << 20;
/// The most frames.
const FRAMES_MAX: u32 = 65_536;

impl Codec {
    /// Writes one message.
    pub(crate) fn write(&self, out: &mut impl Write, message: &Message) -> io::Result<()> {
        let frames = message.frames();
        match self.format {
            Format::Raw => frames.iter().try_for_each(|frame| out.write_all(frame)),
            Format::Text => self.write_line(out, frames, |out, frame| out.write_all(frame)),
            Format::Quoted => self.write_line(out, frames, |out, frame| {
                out.write_all(quote(frame).as_bytes())
            }),
            Format::Hex => self.write_line(out, frames, |out, frame| {
                out.write_all(hex(frame).as_bytes())
            }),
            Format::Json => {
                let frames: Vec<Value> = frames.iter().map(|frame| json_frame(frame)).collect();
                writeln!(out, "{}", Value::Array(frames))
            }
            Format::Msgpack => {
                if let Ok(count @ (0 | 2..)) = u32::try_from(frames.len()) {
                    rmp::encode::write_array_len(out, count).map_err(io::Error::other)?;
                }
                frames.iter().try_for_each(|frame| {
                    rmp::encode::write_bin(out, frame).map_err(io::Error::other)
                })
            }
        }
    }

    fn write_line<W: Write>(
        &self,
        out: &mut W,
        frames: &[Frame],
        mut write: impl FnMut(&mut W, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for (at, frame) in frames.iter().enumerate() {
            if at > 0 {
                out.write_all(&self.separator)?;
            }
            write(out, frame)?;
        }
        out.write_all(b"\n")
    }

    /// Reads the next message; `None` at the end.
    ///
    /// # Errors
    /// What is wrong with the input, in words.
    pub(crate) fn read(&self, input: &mut impl BufRead) -> Result<Option<Message>, String> {
        let failed = |error: io::Error| error.to_string();
        match self.format {
            Format::Raw => {
                let mut all = Vec::new();
                input.read_to_end(&mut all).map_err(failed)?;
                Ok((!all.is_empty()).then(|| Message::from(all)))
            }
            Format::Msgpack => {
                if input.fill_buf().map_err(failed)?.is_empty() {
                    return Ok(None);
                }
                read_msgpack(input).map(Some)
            }
            _ => {
                let mut line = Vec::new();
                if input.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                    return Ok(None);
                }
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                self.decode(&line).map(Some)
            }
        }
    }

    /// One message: a line, or the whole of an argument.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn decode(&self, line: &[u8]) -> Result<Message, String> {
        match self.format {
            Format::Raw => Ok(Message::from(line.to_vec())),
            Format::Msgpack => read_msgpack(&mut { line }),
            Format::Text => self.split(line, |frame| Ok(frame.to_vec())),
            Format::Quoted => self.split(line, unquote),
            Format::Hex => self.split(line, unhex),
            Format::Json => read_json(line),
        }
    }

    fn split(
        &self,
        line: &[u8],
        decode: impl Fn(&[u8]) -> Result<Vec<u8>, String>,
    ) -> Result<Message, String> {
        if !self.multipart || self.separator.is_empty() {
            return decode(line).map(Message::from);
        }
        let mut frames = Vec::new();
        let mut rest = line;
        let separator = &self.separator[..];
        while let Some(at) = rest
            .windows(separator.len())
            .position(|window| window == separator)
        {
            frames.push(decode(&rest[..at])?);
            rest = &rest[at + separator.len()..];
        }
        frames.push(decode(rest)?);
        Ok(Message::multipart(frames))
    }
}

/// Printable text of any octets.
pub(crate) fn quote(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => {
                    let mut octets = [0; 4];
                    for octet in c.encode_utf8(&mut octets).bytes() {
                        text.push_str(&format!("\\x{octet:02x}"));
                    }
                }
                c => text.push(c),
            }
        }
        for octet in chunk.invalid() {
            text.push_str(&format!("\\x{octet:02x}"));
        }
    }
    text
}

/// The octets of [`quote`]d text.
pub(crate) fn unquote(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&octet) = rest.next() {
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        octets.push(match rest.next() {
            Some(b'\\') => b'\\',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'x') => {
                let digits = [rest.next(), rest.next()].map(|d| d.and_then(|d| digit(*d)));
                let [Some(high), Some(low)] = digits else {
                    return Err("`\\x` expects two hexadecimal digits".into());
                };
                high << 4 | low
            }
            other => {
                let other = other.map_or(String::new(), |other| other.escape_ascii().to_string());
                return Err(format!(
                    "`\\{other}` is unknown, expected \\\\ \\n \\r \\t \\0 or \\xNN"
                ));
            }
        });
    }
    Ok(octets)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The octets of hexadecimal digits, with white space anywhere.
pub(crate) fn unhex(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut octets = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for &c in text.iter().filter(|c| !c.is_ascii_whitespace()) {
        let Some(value) = digit(c) else {
            return Err(format!("`{}` is no hexadecimal digit", c.escape_ascii()));
        };
        match high.take() {
            None => high = Some(value),
            Some(high) => octets.push(high << 4 | value),
        }
    }
    match high {
        None => Ok(octets),
        Some(_) => Err("an odd number of hexadecimal digits, expected two per octet".into()),
    }
}

fn digit(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).map(|value| value as u8)
}

/// A string, or an object with hexadecimal digits if it is none.
pub(crate) fn json_frame(octets: &[u8]) -> Value {
    match std::str::from_utf8(octets) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": hex(octets) }),
    }
}

fn read_json(line: &[u8]) -> Result<Message, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let frame = |value: &Value| match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Object(object) => match object.get("hex") {
            Some(Value::String(digits)) if object.len() == 1 => unhex(digits.as_bytes()),
            _ => Err(unexpected(value)),
        },
        _ => Err(unexpected(value)),
    };
    match &value {
        Value::Array(frames) if frames.is_empty() => Err(unexpected(&value)),
        Value::Array(frames) => {
            let frames: Result<Vec<_>, _> = frames.iter().map(frame).collect();
            Ok(Message::multipart(frames?))
        }
        single => frame(single).map(Message::from),
    }
}

fn unexpected(value: &Value) -> String {
    format!("{value} is no message, expected a string, {{\"hex\": \"…\"}}, or an array of these")
}

fn read_msgpack(input: &mut impl Read) -> Result<Message, String> {
    let marker = read_marker(input)?;
    let frames = match marker {
        Marker::FixArray(count) => u32::from(count),
        Marker::Array16 => u32::from(read_number::<2, _>(input)? as u16),
        Marker::Array32 => read_number::<4, _>(input)?,
        single => return Ok(Message::from(read_octets(input, single)?)),
    };
    if frames == 0 || frames > FRAMES_MAX {
        return Err(format!(
            "an array of {frames}, expected from 1 to {FRAMES_MAX} frames"
        ));
    }
    let frames: Result<Vec<_>, String> = (0..frames)
        .map(|_| {
            let marker = read_marker(input)?;
            read_octets(input, marker)
        })
        .collect();
    Ok(Message::multipart(frames?))
}

fn read_octets(input: &mut impl Read, marker: Marker) -> Result<Vec<u8>, String> {
    let len = match marker {
        Marker::FixStr(len) => u32::from(len),
        Marker::Bin8 | Marker::Str8 => read_number::<1, _>(input)?,
        Marker::Bin16 | Marker::Str16 => read_number::<2, _>(input)?,
        Marker::Bin32 | Marker::Str32 => read_number::<4, _>(input)?,
        other => return Err(format!("{other:?}, expected bin, str or an array of them")),
    };
    if len > FRAME_MAX {
        return Err(format!(
            "a frame of {len} octets, expected at most {FRAME_MAX}"
        ));
    }
    let mut octets = Vec::new();
    // Not as much as is announced, but what is there.
    let read = input.take(len.into()).read_to_end(&mut octets);
    match read {
        Ok(read) if read == len as usize => Ok(octets),
        Ok(read) => Err(format!(
            "the input ends {} octets early",
            len as usize - read
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn read_marker(input: &mut impl Read) -> Result<Marker, String> {
    rmp::decode::read_marker(input).map_err(|error| error.0.to_string())
}

/// A number of so many octets, the most significant first.
fn read_number<const N: usize, R: Read>(input: &mut R) -> Result<u32, String> {
    let mut octets = [0; N];
    input
        .read_exact(&mut octets)
        .map_err(|error| error.to_string())?;
    Ok(octets
        .iter()
        .fold(0, |number, octet| number << 8 | u32::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(format: Format, multipart: bool) -> Codec {
        Codec {
            format,
            separator: b"|".to_vec(),
            multipart,
        }
    }

    const FORMATS: [Format; 4] = [Format::Quoted, Format::Hex, Format::Json, Format::Msgpack];

    #[test]
    fn what_is_written_is_read_again() {
        let messages = [
            Message::from("plain"),
            Message::from(""),
            Message::from(vec![0, 10, 13, 9, 92, 255, 0xc3, 0xa9]),
            Message::multipart([&b"a"[..], b"", &[7; 70_000], b"\xff\\"]),
        ];
        for format in FORMATS {
            let codec = codec(format, true);
            let mut written = Vec::new();
            for message in &messages {
                codec.write(&mut written, message).unwrap();
            }
            let mut input = &written[..];
            for message in &messages {
                assert_eq!(
                    codec.read(&mut input).as_ref(),
                    Ok(&Some(message.clone())),
                    "{format:?}"
                );
            }
            assert_eq!(codec.read(&mut input), Ok(None));
        }
    }

    #[test]
    fn text_is_split_only_if_that_is_wanted() {
        let split = codec(Format::Text, true).decode(b"a||b").unwrap();
        assert_eq!(split, Message::multipart(["a", "", "b"]));
        let whole = codec(Format::Text, false).decode(b"a||b").unwrap();
        assert_eq!(whole, Message::from("a||b"));
    }

    #[test]
    fn raw_input_is_one_message() {
        let raw = codec(Format::Raw, false);
        let mut input = &b"one\ntwo\n"[..];
        assert_eq!(raw.read(&mut input), Ok(Some(Message::from("one\ntwo\n"))));
        assert_eq!(raw.read(&mut input), Ok(None));
    }

    #[test]
    fn faults_are_named() {
        for (format, line, fault) in [
            (Format::Hex, &b"0g"[..], "`g` is no hexadecimal digit"),
            (Format::Hex, b"012", "odd number"),
            (Format::Quoted, b"\\q", "`\\q` is unknown"),
            (Format::Quoted, b"\\x1", "two hexadecimal digits"),
            (Format::Json, b"7", "7 is no message"),
            (Format::Json, b"[]", "[] is no message"),
            (Format::Json, b"{\"hex\":\"zz\"}", "no hexadecimal digit"),
            (Format::Msgpack, b"\xc4\x05abc", "ends 2 octets early"),
            (Format::Msgpack, b"\x90", "an array of 0"),
            (Format::Msgpack, b"\xc6\xff\xff\xff\xff", "at most"),
            (Format::Msgpack, b"\x01", "expected bin"),
        ] {
            let error = codec(format, true).decode(line).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
    }
}
