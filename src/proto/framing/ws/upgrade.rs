//! How a WebSocket begins: a request and a response in the manner of HTTP (RFC 6455, "Opening Handshake";
//! 45/ZWS, "Connection").
//!
//! Only what a WebSocket needs is understood: one request, one response, no bodies, no redirects. The head
//! is kept until it is whole, at most [`MAX_HEAD`] octets of it, and its first line is looked at as it
//! comes, so that a peer of another protocol is not kept waiting.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use sha1::{Digest, Sha1};

use super::Side;
use crate::proto::error::{Incompatible, PeerName, ProtocolError, UpgradeFault};

/// The most octets of a head, its empty line included.
const MAX_HEAD: usize = 8192;

/// The longest name and the longest value of a header.
const MAX_NAME: usize = 1024;
const MAX_VALUE: usize = 2048;

/// What every WebSocket server appends to the key.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The sub-protocols of connections without security, in the order in which they are offered.
const OFFERED: &str = "ZWS2.0/NULL,ZWS2.0";

/// What the handshake is about after the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proto) enum SubProtocol {
    /// The commands of the NULL mechanism.
    Null,
    /// No mechanism: the first message of each side is its routing id.
    Bare,
}

impl SubProtocol {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "ZWS2.0/NULL" => Some(SubProtocol::Null),
            "ZWS2.0" => Some(SubProtocol::Bare),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            SubProtocol::Null => "ZWS2.0/NULL",
            SubProtocol::Bare => "ZWS2.0",
        }
    }
}

/// One end's part of the upgrade.
#[derive(Debug)]
pub(in crate::proto) struct Upgrade {
    head: Vec<u8>,
    role: Role,
    side: Side,
}

#[derive(Debug)]
enum Role {
    /// Waits for a request for this path; `None` for any.
    Server { path: Option<Box<str>> },
    /// Has asked with this key.
    Client { key: Box<str> },
}

/// The end of an upgrade.
#[derive(Debug)]
pub(in crate::proto) struct Upgraded {
    pub(in crate::proto) sub_protocol: SubProtocol,
    /// What a server answers.
    pub(in crate::proto) response: Option<Vec<u8>>,
}

/// The value of the header `Host`: without the port that is the default, and without the zone of an IPv6
/// address, which is of no meaning to another host and must not be sent (RFC 6874, section 4; RFC 4007, section 6).
fn host_header(target: &str) -> String {
    let host = target.strip_suffix(":80").unwrap_or(target);
    // Only the zone has a `%`: it stands in the brackets of the address.
    match (host.find('%'), host.find(']')) {
        (Some(zone), Some(end)) if zone < end => [&host[..zone], &host[end..]].concat(),
        _ => host.to_owned(),
    }
}

impl Upgrade {
    /// Of a side that accepted a connection at an endpoint with this path, or which serves any.
    pub(in crate::proto) fn server(path: Option<&str>) -> Self {
        Upgrade {
            head: Vec::new(),
            role: Role::Server {
                path: path.map(Into::into),
            },
            side: Side::Server,
        }
    }

    /// Of a side that connected, and its request.
    pub(in crate::proto) fn client(
        target: &str,
        path: &str,
        random: fn() -> u64,
    ) -> (Self, Vec<u8>) {
        let key = STANDARD.encode([random().to_le_bytes(), random().to_le_bytes()].concat());
        let host = host_header(target);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {OFFERED}\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        let role = Role::Client { key: key.into() };
        let upgrade = Upgrade {
            head: Vec::new(),
            role,
            side: Side::Client(random),
        };
        (upgrade, request.into_bytes())
    }

    /// Which end this side is.
    pub(in crate::proto) fn side(&self) -> Side {
        self.side
    }

    /// Takes octets of the peer's head from the start of `input`, none beyond its end. Returns how many,
    /// and how to go on once it is whole.
    pub(in crate::proto) fn handle_input(
        &mut self,
        input: &[u8],
    ) -> Result<(usize, Option<Upgraded>), ProtocolError> {
        for (at, octet) in input.iter().enumerate() {
            if self.head.len() == MAX_HEAD {
                return Err(UpgradeFault::HeadLength { limit: MAX_HEAD }.into());
            }
            self.head.push(*octet);
            self.check_start()?;
            if self.head.ends_with(b"\r\n\r\n") {
                let head = std::mem::take(&mut self.head);
                let upgraded = match &self.role {
                    Role::Server { path } => serve(&head, path.as_deref()),
                    Role::Client { key } => conclude(&head, key),
                }?;
                return Ok((at + 1, Some(upgraded)));
            }
        }
        Ok((input.len(), None))
    }

    /// Octets of memory held.
    #[cfg(any(test, fuzzing))]
    pub(in crate::proto) fn buffered(&self) -> usize {
        self.head.capacity()
    }

    /// Whether the head begins as it must, as far as it has come.
    fn check_start(&self) -> Result<(), ProtocolError> {
        let expected = match self.role {
            Role::Server { .. } => REQUEST,
            Role::Client { .. } => RESPONSE,
        };
        let last = self
            .head
            .last()
            .zip(expected.as_bytes().get(self.head.len() - 1));
        match last {
            Some((theirs, expect)) if theirs != expect => first_line(&self.head, expected),
            _ => Ok(()),
        }
    }
}

/// How a request begins, and how a response does that takes it.
const REQUEST: &str = "GET ";
const RESPONSE: &str = "HTTP/1.1 101";

fn first_line<T>(line: &[u8], expected: &'static str) -> Result<T, ProtocolError> {
    let theirs = PeerName::new(line);
    Err(UpgradeFault::FirstLine { theirs, expected }.into())
}

/// Reads a request; makes the response.
fn serve(head: &[u8], path: Option<&str>) -> Result<Upgraded, ProtocolError> {
    const EXPECTED: &str = "GET path HTTP/1.1";
    let (line, headers) = Headers::parse(head)?;
    let asked = line
        .strip_prefix(REQUEST)
        .and_then(|rest| rest.strip_suffix(" HTTP/1.1"))
        .filter(|path| path.starts_with('/') && !path.contains(' '));
    let Some(asked) = asked else {
        return first_line(line.as_bytes(), EXPECTED);
    };
    if path.is_some_and(|path| asked != path) {
        let theirs = PeerName::new(asked.as_bytes());
        return Err(Incompatible::WebSocketPath { theirs }.into());
    }
    headers.check_upgrade()?;
    let key = headers.once("Sec-WebSocket-Key")?;
    if STANDARD
        .decode(key)
        .map_or(true, |octets| octets.len() != 16)
    {
        return value("Sec-WebSocket-Key", key);
    }
    let version = "Sec-WebSocket-Version";
    if let Some(other) = headers.all(version).find(|version| *version != "13") {
        return value(version, other);
    }
    let name = "Sec-WebSocket-Protocol";
    let mut chosen = None;
    for offer in headers.list(name) {
        chosen = chosen.or_else(|| SubProtocol::from_name(offer));
    }
    let Some(chosen) = chosen else {
        let theirs = headers.all(name).next().unwrap_or_default();
        return Err(Incompatible::SubProtocol {
            theirs: PeerName::new(theirs.as_bytes()),
            expected: OFFERED,
        }
        .into());
    };
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
        accept(key),
        chosen.name()
    );
    Ok(Upgraded {
        sub_protocol: chosen,
        response: Some(response.into_bytes()),
    })
}

/// Reads a response to our request with this key.
fn conclude(head: &[u8], key: &str) -> Result<Upgraded, ProtocolError> {
    let (line, headers) = Headers::parse(head)?;
    if !matches!(line.strip_prefix(RESPONSE), Some(rest) if rest.is_empty() || rest.starts_with(' '))
    {
        return first_line(line.as_bytes(), RESPONSE);
    }
    headers.check_upgrade()?;
    let theirs = headers.once("Sec-WebSocket-Accept")?;
    if theirs != accept(key) {
        return value("Sec-WebSocket-Accept", theirs);
    }
    if let Some(extension) = headers.all("Sec-WebSocket-Extensions").next() {
        return value("Sec-WebSocket-Extensions", extension);
    }
    let chosen = headers.once("Sec-WebSocket-Protocol")?;
    let Some(sub_protocol) = SubProtocol::from_name(chosen) else {
        return value("Sec-WebSocket-Protocol", chosen);
    };
    Ok(Upgraded {
        sub_protocol,
        response: None,
    })
}

/// What a server answers to a request that it does not take.
pub(in crate::proto) fn refusal(error: &ProtocolError) -> Option<&'static [u8]> {
    match error {
        ProtocolError::Incompatible(Incompatible::WebSocketPath { .. }) => {
            Some(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        }
        ProtocolError::Incompatible(_) | ProtocolError::Malformed(_) => {
            Some(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        }
        _ => None,
    }
}

/// The answer that proves that a server understood a key.
fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID.as_bytes());
    STANDARD.encode(hash.finalize())
}

fn value<T>(name: &'static str, theirs: &str) -> Result<T, ProtocolError> {
    let theirs = PeerName::new(theirs.as_bytes());
    Err(UpgradeFault::Value { name, theirs }.into())
}

/// The headers of a head: names, and values without the blanks around them.
#[derive(Debug)]
struct Headers<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Headers<'a> {
    /// Takes a whole head apart: its first line, and the headers.
    fn parse(head: &'a [u8]) -> Result<(&'a str, Headers<'a>), ProtocolError> {
        let visible = |octet: &u8| matches!(octet, b' '..=b'~' | b'\t');
        let mut lines = head
            .strip_suffix(b"\r\n\r\n")
            .unwrap_or(head)
            .split(|octet| *octet == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .map(|line| match std::str::from_utf8(line) {
                // What cannot be read is no header; a line end in its middle is one such thing.
                Ok(text) if line.iter().all(visible) => Ok(text),
                _ => Err(line),
            });
        let bad = |line: &[u8]| {
            let theirs = PeerName::new(line);
            ProtocolError::from(UpgradeFault::Line { theirs })
        };
        let first = lines.next().unwrap_or(Ok("")).map_err(bad)?;
        let mut headers = Vec::new();
        for line in lines {
            let line = line.map_err(bad)?;
            let Some((name, value)) = line.split_once(':') else {
                return Err(bad(line.as_bytes()));
            };
            let value = value.trim_matches([' ', '\t']);
            if name.len() > MAX_NAME {
                let (len, limit) = (name.len(), MAX_NAME);
                return Err(UpgradeFault::NameLength { len, limit }.into());
            }
            if value.len() > MAX_VALUE {
                let (len, limit) = (value.len(), MAX_VALUE);
                return Err(UpgradeFault::ValueLength { len, limit }.into());
            }
            // A blank before the colon, or a line that continues another, is how heads are smuggled.
            if name.is_empty() || name.contains([' ', '\t']) {
                return Err(bad(line.as_bytes()));
            }
            headers.push((name, value));
        }
        Ok((first, Headers(headers)))
    }

    /// The values of all headers of this name.
    fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        let of_name = move |header: &&(&str, &str)| header.0.eq_ignore_ascii_case(name);
        self.0.iter().filter(of_name).map(|(_, value)| *value)
    }

    /// The elements of all headers of this name, which are lists.
    fn list<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        self.all(name)
            .flat_map(|value| value.split(','))
            .map(|element| element.trim_matches([' ', '\t']))
    }

    /// The value of a header that must be there once.
    fn once(&self, name: &'static str) -> Result<&'a str, ProtocolError> {
        let mut all = self.all(name);
        match (all.next(), all.count()) {
            (Some(value), 0) => Ok(value),
            (value, more) => {
                let times = usize::from(value.is_some()) + more;
                Err(UpgradeFault::Times { name, times }.into())
            }
        }
    }

    /// Both sides say that they leave HTTP for WebSocket.
    fn check_upgrade(&self) -> Result<(), ProtocolError> {
        for (name, expected) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
            if !self
                .list(name)
                .any(|element| element.eq_ignore_ascii_case(expected))
            {
                let theirs = self.all(name).next().unwrap_or_default();
                return value(name, theirs);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and answer of RFC 6455, "Opening Handshake".
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn request() -> String {
        format!(
            "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
             Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
             Sec-WebSocket-Protocol: x, ZWS2.0 ,ZWS2.0/NULL\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    }

    fn response() -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nCONNECTION: upgrade\r\n\
             Sec-WebSocket-Accept:{ACCEPT}\r\nSec-WebSocket-Protocol: ZWS2.0/NULL\r\n\r\n"
        )
    }

    fn client() -> Upgrade {
        Upgrade {
            head: Vec::new(),
            role: Role::Client { key: KEY.into() },
            side: Side::Client(|| 0),
        }
    }

    /// Octet by octet; how many were taken.
    fn feed(mut upgrade: Upgrade, head: &[u8]) -> (usize, Result<Option<Upgraded>, ProtocolError>) {
        for (at, octet) in head.iter().enumerate() {
            match upgrade.handle_input(&[*octet]) {
                Ok((1, None)) => {}
                Ok((_, done)) => return (at + 1, Ok(done)),
                Err(error) => return (at + 1, Err(error)),
            }
        }
        (head.len(), Ok(None))
    }

    fn fault(upgrade: Upgrade, head: &str) -> ProtocolError {
        match feed(upgrade, head.as_bytes()) {
            (_, Err(error)) => error,
            (_, other) => panic!("{head}: {other:?}"),
        }
    }

    #[test]
    fn a_server_takes_the_first_offer_it_knows() {
        let head = request();
        let (taken, upgraded) = feed(Upgrade::server(Some("/chat")), head.as_bytes());
        let upgraded = upgraded.unwrap().unwrap();
        assert_eq!(taken, head.len());
        assert_eq!(upgraded.sub_protocol, SubProtocol::Bare);
        let expect = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: ZWS2.0\r\n\r\n"
        );
        assert_eq!(upgraded.response, Some(expect.into_bytes()));
        // What follows is left alone, and the offers may come in several headers.
        let head = head.replace(
            "x, ZWS2.0 ,",
            "x\r\nsec-websocket-protocol:y\r\nSec-WebSocket-Protocol:\t",
        );
        let input = format!("{head}rest");
        let (taken, upgraded) = Upgrade::server(Some("/chat"))
            .handle_input(input.as_bytes())
            .unwrap();
        assert_eq!(taken, head.len());
        assert_eq!(upgraded.unwrap().sub_protocol, SubProtocol::Null);
    }

    #[test]
    fn the_host_has_no_zone_and_no_default_port() {
        for (target, host) in [
            ("example.org:80", "example.org"),
            ("example.org:8080", "example.org:8080"),
            ("[fe80::1%eth0]:8080", "[fe80::1]:8080"),
            ("[fe80::1%2]:80", "[fe80::1]"),
            ("[::1]:80", "[::1]"),
        ] {
            let (_, request) = Upgrade::client(target, "/", || 0);
            let request = String::from_utf8(request).unwrap();
            let header = format!("\r\nHost: {host}\r\n");
            assert!(request.contains(&header), "{target}: {request}");
        }
    }

    #[test]
    fn a_client_asks_and_checks_the_answer() {
        let (_, request) = Upgrade::client("example.org:80", "/x", || 0);
        let expect = "GET /x HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                      Sec-WebSocket-Protocol: ZWS2.0/NULL,ZWS2.0\r\nSec-WebSocket-Version: 13\r\n\r\n";
        assert_eq!(String::from_utf8(request).unwrap(), expect);
        let (taken, upgraded) = feed(client(), response().as_bytes());
        assert_eq!(taken, response().len());
        assert_eq!(upgraded.unwrap().unwrap().sub_protocol, SubProtocol::Null);
    }

    #[test]
    fn requests_that_are_none_are_refused() {
        for (from, to, expect) in [
            (
                "GET",
                "GOT",
                r#"the head begins with "GO", expected "GET ""#,
            ),
            (
                "GET /chat HTTP/1.1",
                "GET /chat HTTP/1.0",
                r#"the head begins with "GET /chat HTTP/1.0", expected "GET path HTTP/1.1""#,
            ),
            (
                "GET /chat",
                "GET chat",
                r#"the head begins with "GET chat HTTP/1.1", expected "GET path HTTP/1.1""#,
            ),
            (
                "/chat",
                "/cha",
                r#"the peer asks for the path "/cha", which is not the one that is bound"#,
            ),
            (
                "Upgrade: websocket",
                "Upgrade: h2c",
                r#"the header `Upgrade` is "h2c", expected websocket"#,
            ),
            (
                "Upgrade: websocket\r\n",
                "",
                r#"the header `Upgrade` is "", expected websocket"#,
            ),
            (
                "keep-alive, Upgrade",
                "keep-alive",
                r#"the header `Connection` is "keep-alive", expected Upgrade"#,
            ),
            (
                KEY,
                "AAAA",
                r#"the header `Sec-WebSocket-Key` is "AAAA", expected 16 octets in base64"#,
            ),
            (
                KEY,
                "!",
                r#"the header `Sec-WebSocket-Key` is "!", expected 16 octets in base64"#,
            ),
            (
                "Sec-WebSocket-Key",
                "X-Key",
                "the head has the header `Sec-WebSocket-Key` 0 times, expected once",
            ),
            (
                "Host:",
                "Sec-WebSocket-Key:",
                "the head has the header `Sec-WebSocket-Key` 2 times, expected once",
            ),
            (
                "Version: 13",
                "Version: 8",
                r#"the header `Sec-WebSocket-Version` is "8", expected 13"#,
            ),
            (
                "ZWS2.0 ,ZWS2.0/NULL",
                "ZWS2.0/CURVE",
                r#"the peer offers the WebSocket sub-protocols "x, ZWS2.0/CURVE", expected "ZWS2.0/NULL,ZWS2.0" among them"#,
            ),
            (
                "Host:",
                "Host",
                r#"the head contains the line "Host server.example....", expected `name: value`"#,
            ),
            (
                "Host:",
                "Host :",
                r#"the head contains the line "Host : server.exampl...", expected `name: value`"#,
            ),
            (
                "Host:",
                " Host:",
                r#"the head contains the line " Host: server.exampl...", expected `name: value`"#,
            ),
            (
                "Host:",
                ":",
                r#"the head contains the line ": server.example.com", expected `name: value`"#,
            ),
            (
                "server",
                "\r",
                r#"the head contains the line "Host: \r.example.com", expected `name: value`"#,
            ),
            (
                "server",
                "\0",
                r#"the head contains the line "Host: \x00.example.com", expected `name: value`"#,
            ),
            (
                "server",
                "é",
                r#"the head contains the line "Host: \xc3\xa9.example.com", expected `name: value`"#,
            ),
        ] {
            let head = request().replacen(from, to, 1);
            let error = fault(Upgrade::server(Some("/chat")), &head);
            assert_eq!(error.to_string(), expect);
            assert_eq!(error.monitor_code(), Some(0x3000_0000));
            assert!(refusal(&error).is_some());
        }
    }

    #[test]
    fn responses_that_are_none_are_refused() {
        for (from, to, expect) in [
            (
                "101",
                "400",
                r#"the head begins with "HTTP/1.1 4", expected "HTTP/1.1 101""#,
            ),
            (
                "101",
                "1011",
                r#"the head begins with "HTTP/1.1 1011 Switch...", expected "HTTP/1.1 101""#,
            ),
            (
                "WebSocket",
                "x",
                r#"the header `Upgrade` is "x", expected websocket"#,
            ),
            (
                ACCEPT,
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=",
                r#"the header `Sec-WebSocket-Accept` is "s3pPLMBiTxaQ9kYGzzhZ...", expected the answer to our key"#,
            ),
            (
                "/NULL",
                "/PLAIN",
                r#"the header `Sec-WebSocket-Protocol` is "ZWS2.0/PLAIN", expected one of those offered"#,
            ),
            (
                "CONNECTION",
                "Sec-WebSocket-Protocol: ZWS2.0\r\nConnection",
                "the head has the header `Sec-WebSocket-Protocol` 2 times, expected once",
            ),
            (
                "CONNECTION",
                "Sec-WebSocket-Extensions: permessage-deflate\r\nConnection",
                r#"the header `Sec-WebSocket-Extensions` is "permessage-deflate", expected none"#,
            ),
        ] {
            let head = response().replacen(from, to, 1);
            assert_eq!(fault(client(), &head).to_string(), expect);
        }
    }

    #[test]
    fn heads_are_bounded() {
        let pad = |name: usize, value: usize| {
            let header = format!("{}: {}\r\nHost:", "n".repeat(name), "v".repeat(value));
            request().replacen("Host:", &header, 1)
        };
        let whole = |head: String| feed(Upgrade::server(Some("/chat")), head.as_bytes());
        assert!(whole(pad(MAX_NAME, MAX_VALUE)).1.is_ok());
        let (len, limit) = (MAX_NAME + 1, MAX_NAME);
        let error = whole(pad(len, 1)).1.unwrap_err();
        assert_eq!(error, UpgradeFault::NameLength { len, limit }.into());
        let (len, limit) = (MAX_VALUE + 1, MAX_VALUE);
        let error = whole(pad(1, len)).1.unwrap_err();
        assert_eq!(error, UpgradeFault::ValueLength { len, limit }.into());

        // A head of exactly so many octets, and one more.
        let filler = |more: usize| {
            let lines = "X: 34567890\r\n".repeat(500);
            let rest = MAX_HEAD + more - request().len() - lines.len() - 5;
            let last = format!("Y: {}\r\n", "y".repeat(rest));
            request().replacen("Host:", &format!("{lines}{last}Host:"), 1)
        };
        assert_eq!(filler(0).len(), MAX_HEAD);
        assert!(whole(filler(0)).1.unwrap().is_some());
        let (taken, result) = whole(filler(1));
        assert_eq!(taken, MAX_HEAD + 1);
        let error = UpgradeFault::HeadLength { limit: MAX_HEAD };
        assert_eq!(result.unwrap_err(), error.into());
    }
}
