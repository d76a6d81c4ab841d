//! A peer made of octets.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sinew::Endpoint;
use socket2::SockRef;

use crate::WATCHDOG;

pub(crate) const MORE: u8 = 1;
pub(crate) const LONG: u8 = 2;
pub(crate) const COMMAND: u8 = 4;

/// A connection that sends whatever it is told to.
#[derive(Debug)]
pub(crate) enum Raw {
    Tcp(TcpStream),
    Ipc(UnixStream),
}

impl Raw {
    /// Connects and says nothing.
    pub(crate) fn connect(endpoint: &Endpoint) -> Raw {
        Raw::try_connect(endpoint).unwrap_or_else(|error| panic!("{endpoint}: {error}"))
    }

    pub(crate) fn try_connect(endpoint: &Endpoint) -> io::Result<Raw> {
        let text = endpoint.to_string();
        // Of a WebSocket, what is below it.
        let below = text
            .strip_prefix("ws://")
            .and_then(|text| text.split('/').next());
        if let Some(address) = text.strip_prefix("tcp://").or(below) {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(WATCHDOG))?;
            stream.set_write_timeout(Some(WATCHDOG))?;
            return Ok(Raw::Tcp(stream));
        }
        let path = text.strip_prefix("ipc://").expect("a stream endpoint");
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(WATCHDOG))?;
        stream.set_write_timeout(Some(WATCHDOG))?;
        Ok(Raw::Ipc(stream))
    }

    /// Connects and shakes hands as a socket of this type; what follows is traffic.
    pub(crate) fn shake_hands(endpoint: &Endpoint, socket_type: &str) -> Raw {
        let mut raw = Raw::connect(endpoint);
        raw.send(&[greeting(), ready(socket_type)].concat());
        raw.read_handshake();
        raw
    }

    /// Sends a PING and waits for its answer: everything before it has been read.
    pub(crate) fn settle(&mut self) {
        self.send(&command("PING", b"\0\0settled"));
        while self.read_frame().1 != b"\x04PONGsettled" {}
    }

    /// Reads the other side's greeting and READY.
    pub(crate) fn read_handshake(&mut self) {
        let theirs = self.read_octets(64);
        assert_eq!(&theirs[..16], b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01NULL");
        let (flags, body) = self.read_frame();
        assert_eq!((flags, &body[..6]), (COMMAND, &b"\x05READY"[..]));
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).expect("the connection takes octets");
    }

    /// Sends, though the other side may have closed already.
    pub(crate) fn try_send(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Raw::Tcp(stream) => stream.write_all(octets),
            Raw::Ipc(stream) => stream.write_all(octets),
        }
    }

    /// Sends what the kernel takes without waiting; how much that was.
    pub(crate) fn send_some(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.set_nonblocking(true)?;
        let result = match self {
            Raw::Tcp(stream) => stream.write(octets),
            Raw::Ipc(stream) => stream.write(octets),
        };
        self.set_nonblocking(false)?;
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Raw::Tcp(stream) => stream.set_nonblocking(on),
            Raw::Ipc(stream) => stream.set_nonblocking(on),
        }
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Raw::Tcp(stream) => stream.read(into),
            Raw::Ipc(stream) => stream.read(into),
        }
    }

    pub(crate) fn read_octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.read(&mut octets[filled..]) {
                Ok(0) => panic!("closed after {:?}", &octets[..filled]),
                Ok(n) => filled += n,
                Err(error) => panic!("{error} after {:?}", &octets[..filled]),
            }
        }
        octets
    }

    /// Flags and body of the next frame.
    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let flags = self.read_octets(1)[0];
        let len = if flags & LONG == 0 {
            usize::from(self.read_octets(1)[0])
        } else {
            let octets = self.read_octets(8);
            usize::try_from(u64::from_be_bytes(octets.try_into().unwrap())).unwrap()
        };
        (flags, self.read_octets(len))
    }

    /// Reads until the other side has closed; what it said before.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut octets = vec![0; 64 * 1024];
        loop {
            match self.read(&mut octets) {
                Ok(0) => return all,
                Ok(n) => all.extend_from_slice(&octets[..n]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("not closed: {error}"),
            }
        }
    }

    /// Sends no more, but still reads.
    pub(crate) fn shut_write(&self) {
        let _ = match self {
            Raw::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Raw::Ipc(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Closes with a reset (over TCP).
    pub(crate) fn reset(self) {
        if let Raw::Tcp(stream) = &self {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Makes the kernel hold little of what is not read.
    pub(crate) fn with_small_buffers(self) -> Raw {
        let socket = match &self {
            Raw::Tcp(stream) => SockRef::from(stream),
            Raw::Ipc(stream) => SockRef::from(stream),
        };
        let _ = socket.set_recv_buffer_size(4096);
        let _ = socket.set_send_buffer_size(4096);
        self
    }
}

/// A sound greeting, NULL mechanism.
pub(crate) fn greeting() -> Vec<u8> {
    greeting_of(3, 1, "NULL")
}

pub(crate) fn greeting_of(major: u8, minor: u8, mechanism: &str) -> Vec<u8> {
    let mut octets = b"\xff\0\0\0\0\0\0\0\0\x7f".to_vec();
    octets.extend([major, minor]);
    octets.extend(mechanism.as_bytes());
    octets.resize(64, 0);
    octets
}

pub(crate) fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(len) => [&[flags, len], body].concat(),
        Err(_) => [&announce(flags, body.len() as u64)[..], body].concat(),
    }
}

/// The header of a frame of so many octets, without any.
pub(crate) fn announce(flags: u8, len: u64) -> Vec<u8> {
    [&[flags | LONG][..], &len.to_be_bytes()].concat()
}

pub(crate) fn command(name: &str, data: &[u8]) -> Vec<u8> {
    frame(COMMAND, &command_body(name, data))
}

pub(crate) fn command_body(name: &str, data: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name.as_bytes(), data].concat()
}

pub(crate) fn ready(socket_type: &str) -> Vec<u8> {
    command("READY", &property("Socket-Type", socket_type.as_bytes()))
}

pub(crate) fn property(name: &str, value: &[u8]) -> Vec<u8> {
    let len = (value.len() as u32).to_be_bytes();
    [&[name.len() as u8], name.as_bytes(), &len, value].concat()
}
