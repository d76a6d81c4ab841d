//! WebSocket seen from outside: a server and a client made of octets, as RFC 6455 and 45/ZWS have them. What
//! all transports have in common is tested with the others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use sha1::{Digest, Sha1};
use sinew::{
    BindError, ConnectError, DisconnectReason, Endpoint, Incompatible, ProtocolError, Pub, Pull,
    Push, SocketEvent, SocketType, Sub,
};

use crate::support::{await_event, pattern, task, LONG};

const PATH: &str = "/a/b?c=d";

/// One end of a WebSocket.
struct Peer {
    stream: TcpStream,
    /// Masks what it sends.
    client: bool,
}

impl Peer {
    fn new(stream: TcpStream, client: bool) -> Peer {
        stream.set_read_timeout(Some(LONG)).unwrap();
        Peer { stream, client }
    }

    /// A client that offers this; what the server answers.
    fn connect(endpoint: &Endpoint, offer: &str) -> (Peer, String) {
        let stream = TcpStream::connect(endpoint.socket_addr().unwrap()).unwrap();
        let mut peer = Peer::new(stream, true);
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.org\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\n\
             Sec-WebSocket-Protocol: {offer}\r\nSec-WebSocket-Version: 13\r\n\r\n",
            endpoint.ws_path().unwrap(),
            endpoint.port().unwrap(),
        );
        peer.stream.write_all(request.as_bytes()).unwrap();
        let response = peer.read_head();
        (peer, response)
    }

    /// A server that chooses this; what the client asked.
    fn accept(listener: &TcpListener, choice: &str) -> (Peer, String) {
        let mut peer = Peer::new(listener.accept().unwrap().0, false);
        let request = peer.read_head();
        let key = header(&request, "Sec-WebSocket-Key").unwrap();
        let mut hash = Sha1::new();
        hash.update(key);
        hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nServer: test\r\nUpgrade: WebSocket\r\n\
             Connection: upgrade\r\nSec-WebSocket-Accept: {}\r\n\
             Sec-WebSocket-Protocol: {choice}\r\n\r\n",
            STANDARD.encode(hash.finalize())
        );
        peer.stream.write_all(response.as_bytes()).unwrap();
        (peer, request)
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.stream.read_exact(&mut octets).unwrap();
        octets
    }

    fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1));
        }
        String::from_utf8(head).unwrap()
    }

    fn send(&mut self, first: u8, payload: &[u8]) {
        let masked = if self.client { 0x80 } else { 0 };
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..=125 => frame.push(masked | len as u8),
            len @ 126..=0xffff => {
                frame.push(masked | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(masked | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        if self.client {
            let key = [0x11, 0x22, 0x44, 0x88];
            frame.extend(key);
            frame.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
        } else {
            frame.extend(payload);
        }
        self.stream.write_all(&frame).unwrap();
    }

    fn recv(&mut self) -> (u8, Vec<u8>) {
        let head = self.read(2);
        assert_eq!(head[1] & 0x80 != 0, !self.client, "masked by clients only");
        let len = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.read(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.read(8).try_into().unwrap()),
            len => u64::from(len),
        };
        let key = match self.client {
            true => vec![0; 4],
            false => self.read(4),
        };
        let mut payload = self.read(len as usize);
        for (octet, key) in payload.iter_mut().zip(key.iter().cycle()) {
            *octet ^= key;
        }
        (head[0], payload)
    }

    /// The handshake of the NULL mechanism.
    fn shake_hands(&mut self, ours: &str, theirs: &str) {
        let ready = |name: &str| {
            let len = (name.len() as u32).to_be_bytes();
            [b"\x02\x05READY\x0bSocket-Type", &len[..], name.as_bytes()].concat()
        };
        self.send(0x82, &ready(ours));
        assert_eq!(self.recv(), (0x82, ready(theirs)));
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|line| line.0 == name).map(|line| line.1)
}

fn bound() -> (Pull, Endpoint) {
    let mut pull = Pull::new();
    let endpoint = pull.bind(format!("ws://127.0.0.1:*{PATH}")).unwrap();
    (pull, endpoint)
}

#[test]
fn binding_tells_the_real_endpoint() {
    let (_pull, endpoint) = bound();
    let port = endpoint.port().unwrap();
    assert_ne!(port, 0);
    assert_eq!(endpoint.to_string(), format!("ws://127.0.0.1:{port}{PATH}"));
    let error = Pull::new().bind(&endpoint).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    let error = Pull::new().connect("ws://*:*").unwrap_err();
    assert!(matches!(error, ConnectError::Endpoint(_)), "{error}");
}

#[test]
fn a_client_of_another_make_is_served() {
    let (mut pull, endpoint) = bound();
    let mut monitor = pull.monitor();
    let (mut peer, response) = Peer::connect(&endpoint, "chat, ZWS2.0/NULL,ZWS2.0");
    let lines: Vec<&str> = response.lines().collect();
    assert_eq!(
        lines,
        [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "Sec-WebSocket-Protocol: ZWS2.0/NULL",
            "",
        ]
    );
    peer.shake_hands("PUSH", "PULL");
    await_event(&mut monitor, "handshake", |event| {
        matches!(event, SocketEvent::HandshakeSucceeded { socket_type, .. }
            if *socket_type == Some(SocketType::Push))
    });
    for len in [0, 1, 124, 125, 65_534, 65_535, 300_000] {
        peer.send(0x82, &[&b"\x01"[..], &pattern(len)].concat());
        peer.send(0x89, b"between two frames");
        peer.send(0x82, b"\0end");
        let message = pull.recv_timeout(LONG).unwrap();
        let frames: Vec<&[u8]> = message.frames().iter().map(|frame| &frame[..]).collect();
        assert_eq!(frames, [&pattern(len)[..], b"end"]);
        assert_eq!(peer.recv(), (0x8a, b"between two frames".to_vec()));
    }
    // It closes, is answered, and that is the end.
    peer.send(0x88, b"\x03\xe9going");
    assert_eq!(peer.recv(), (0x88, b"\x03\xe9".to_vec()));
    await_event(&mut monitor, "closed by the peer", |event| {
        matches!(event, SocketEvent::Disconnected { reason, .. }
            if *reason == DisconnectReason::Protocol(ProtocolError::Closed { code: Some(1001) }))
    });
}

#[test]
fn a_server_of_another_make_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut push = Push::new();
    push.connect(format!("ws://{address}{PATH}")).unwrap();
    let (mut peer, request) = Peer::accept(&listener, "ZWS2.0/NULL");
    let key = header(&request, "Sec-WebSocket-Key").unwrap();
    assert_eq!(STANDARD.decode(key).unwrap().len(), 16);
    let expect = format!(
        "GET {PATH} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: ZWS2.0/NULL,ZWS2.0\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    );
    assert_eq!(request, expect);
    peer.shake_hands("PULL", "PUSH");
    for len in [0, 1, 124, 125, 65_534, 65_535, 300_000] {
        push.send_timeout(pattern(len), LONG).unwrap();
        let expect = [&b"\0"[..], &pattern(len)].concat();
        assert_eq!(peer.recv(), (0x82, expect));
    }
    drop(peer);
    // It connects again, with another key.
    let (mut peer, request) = Peer::accept(&listener, "ZWS2.0/NULL");
    assert_ne!(header(&request, "Sec-WebSocket-Key"), Some(key));
    peer.shake_hands("PULL", "PUSH");
}

#[test]
fn without_a_mechanism_the_first_message_is_a_routing_id() {
    let (mut pull, endpoint) = bound();
    let (mut peer, response) = Peer::connect(&endpoint, "ZWS2.0");
    assert_eq!(header(&response, "Sec-WebSocket-Protocol"), Some("ZWS2.0"));
    assert_eq!(peer.recv(), (0x82, b"\0".to_vec()));
    peer.send(0x82, b"\0me");
    peer.send(0x82, b"\0hello");
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"hello");
}

#[test]
fn subscriptions_are_messages() {
    let mut publisher = Pub::new();
    let endpoint = publisher.bind("ws://127.0.0.1:*").unwrap();
    let (mut peer, _) = Peer::connect(&endpoint, "ZWS2.0/NULL");
    peer.shake_hands("SUB", "PUB");
    peer.send(0x82, b"\0\x01a");
    publisher.wait_for_subscribers(1, LONG).unwrap();
    publisher.send("b").unwrap();
    publisher.send("ab").unwrap();
    assert_eq!(peer.recv(), (0x82, b"\0ab".to_vec()));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sub = Sub::new();
    sub.subscribe("a").unwrap();
    let at = listener.local_addr().unwrap();
    sub.connect(format!("ws://{at}")).unwrap();
    let (mut peer, request) = Peer::accept(&listener, "ZWS2.0/NULL");
    assert!(request.starts_with("GET / HTTP/1.1\r\n"));
    peer.shake_hands("PUB", "SUB");
    assert_eq!(peer.recv(), (0x82, b"\0\x01a".to_vec()));
    sub.unsubscribe("a");
    assert_eq!(peer.recv(), (0x82, b"\0\0a".to_vec()));
}

#[test]
fn another_path_is_refused() {
    let (mut pull, endpoint) = bound();
    let mut monitor = pull.monitor();
    let other: Endpoint = format!("ws://127.0.0.1:{}/other", endpoint.port().unwrap())
        .parse()
        .unwrap();
    let (_, response) = Peer::connect(&other, "ZWS2.0/NULL");
    assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
    await_event(&mut monitor, "refused", |event| {
        matches!(event, SocketEvent::HandshakeFailed { reason: DisconnectReason::Protocol(
            ProtocolError::Incompatible(Incompatible::WebSocketPath { theirs })), .. }
            if theirs.as_bytes() == b"/other")
    });
    pull.unbind(&endpoint).unwrap();
    assert!(TcpStream::connect(endpoint.socket_addr().unwrap()).is_err());
}

#[test]
fn any_path_is_served_if_peers_are_forgiven() {
    let pull = Pull::builder().lenient_peers(true);
    let (mut pull, endpoint) = pull.bound(format!("ws://127.0.0.1:*{PATH}")).unwrap();
    let port = endpoint.port().unwrap();
    for path in [PATH, "/", "/other?x=y"] {
        let mut push = Push::new();
        push.connect(format!("ws://127.0.0.1:{port}{path}"))
            .unwrap();
        push.send(path).unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), path.as_bytes());
    }
}

/// An orderly end is told with a close frame, behind everything that was sent, by either side.
#[test]
fn a_close_is_told_behind_what_was_sent() {
    for serves in [true, false] {
        let mut push = Push::new();
        let mut peer = if serves {
            let endpoint = push.bind(format!("ws://127.0.0.1:*{PATH}")).unwrap();
            Peer::connect(&endpoint, "ZWS2.0").0
        } else {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = listener.local_addr().unwrap();
            push.connect(format!("ws://{at}{PATH}")).unwrap();
            Peer::accept(&listener, "ZWS2.0").0
        };
        // Without a mechanism: a routing id, which is empty.
        peer.send(0x82, b"\0");
        assert_eq!(peer.recv(), (0x82, b"\0".to_vec()));
        // More than the kernel takes at once.
        let last = pattern(8 << 20);
        push.send_timeout("first", LONG).unwrap();
        push.send_timeout(last.clone(), LONG).unwrap();
        let closing = task(move || push.close());
        assert_eq!(peer.recv(), (0x82, b"\0first".to_vec()));
        let (head, payload) = peer.recv();
        assert_eq!(head, 0x82);
        assert!(payload[1..] == last[..]);
        assert_eq!(peer.recv(), (0x88, 1000u16.to_be_bytes().to_vec()));
        peer.send(0x88, &1000u16.to_be_bytes());
        // Nothing follows, not even the answer to the answer.
        assert_eq!(peer.stream.read(&mut [0; 16]).unwrap(), 0);
        assert_eq!(closing.join().unsent, 0);
    }
}

/// What a peer tells with it is the same as what the end of the stream tells.
#[test]
fn a_normal_close_is_that_of_the_peer() {
    let mut pull = Pull::new();
    let endpoint = pull.bind(format!("ws://127.0.0.1:*{PATH}")).unwrap();
    let mut monitor = pull.monitor();
    let (mut peer, _) = Peer::connect(&endpoint, "ZWS2.0");
    peer.send(0x82, b"\0");
    peer.recv();
    peer.send(0x82, b"\0last");
    peer.send(0x88, &1000u16.to_be_bytes());
    assert_eq!(peer.recv(), (0x88, 1000u16.to_be_bytes().to_vec()));
    await_event(&mut monitor, "the end", |event| {
        matches!(
            event,
            SocketEvent::Disconnected {
                reason: DisconnectReason::PeerClosed,
                ..
            }
        )
    });
    assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"last");
}
