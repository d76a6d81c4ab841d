//! The limit: bare stream sockets, batched by hand, and crossbeam's bounded channel within a process.
//!
//! One-way: frames of two or nine octets of header and a body, copied one by one into a block of
//! 64 KiB that is written when it is full (a longer frame is one write); the receiver reads blocks of
//! 64 KiB and counts octets, looking only at the first and last number. Lock-step: a ping-pong without
//! Nagle's delay, either blocking or, as `raw-spin`, with sockets that do
//! not block and both sides trying again at once. In-process: `crossbeam_channel::bounded(1000)` of
//! 64-octet values. Several senders or receivers are in [`many`].

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crossbeam_channel as channel;

use crate::drive::{both, check, flow, ping_pong, stamp, GAP};
use crate::meter::{Mark, Sample};
use crate::subject::{Fallible, Offer, Receiver, Replier, Requester, Sender, Subject};
use crate::work::{Pattern, Plan, Transport, Work};

mod many;

/// The block of a write and of a read.
const BLOCK: usize = 64 << 10;

/// The bare socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw {
    Blocking,
    /// Lock-step only: both sides spin.
    Spinning,
}

impl Subject for Raw {
    fn name(&self) -> &'static str {
        match self {
            Raw::Blocking => "raw",
            Raw::Spinning => "raw-spin",
        }
    }

    fn is_peer(&self) -> bool {
        false
    }

    fn offers(&self, work: &Work) -> Offer {
        let offered = match (work.pattern, work.transport) {
            (Pattern::ReqRep | Pattern::Gap, _) => true,
            (Pattern::Flow(1, 1), Transport::Inproc) => *self == Raw::Blocking && work.size == 64,
            (Pattern::Flow(1, 1) | Pattern::ByReference, _)
            | (Pattern::Flow(..), Transport::Tcp) => *self == Raw::Blocking,
            _ => false,
        };
        if offered {
            Offer::Yes
        } else {
            Offer::NoRow
        }
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Sample> {
        let gap = (work.pattern == Pattern::Gap).then_some(GAP);
        match (work.pattern, work.transport) {
            (Pattern::ReqRep | Pattern::Gap, Transport::Tcp) => {
                let (near, far) = tcp_pair()?;
                if *self == Raw::Spinning {
                    near.set_nonblocking(true)?;
                    far.set_nonblocking(true)?;
                }
                let ends = (Stream::new(near, plan), Stream::new(far, plan));
                ping_pong(ends.0, ends.1, plan, gap)
            }
            (Pattern::ReqRep | Pattern::Gap, Transport::Ipc) => {
                let (near, far) = UnixStream::pair()?;
                if *self == Raw::Spinning {
                    near.set_nonblocking(true)?;
                    far.set_nonblocking(true)?;
                }
                let ends = (Stream::new(near, plan), Stream::new(far, plan));
                ping_pong(ends.0, ends.1, plan, gap)
            }
            (Pattern::ReqRep | Pattern::Gap, Transport::Inproc) => {
                let (requests, asked) = channel::bounded(1);
                let (replies, answered) = channel::bounded(1);
                let spin = *self == Raw::Spinning;
                let end = |tx, rx| Line { tx, rx, spin };
                let ends = (end(requests, answered), end(replies, asked));
                ping_pong(ends.0, ends.1, plan, gap)
            }
            (Pattern::ByReference, _) => {
                let (tx, rx) = channel::bounded(1000);
                let body: Arc<[u8]> = vec![0x5a; plan.size].into();
                flow(TxShared(tx, body), RxShared(rx), &numbers(plan))
            }
            (Pattern::Flow(senders, receivers), Transport::Tcp)
                if (senders, receivers) != (1, 1) =>
            {
                many::octets(senders, receivers, plan)
            }
            (_, Transport::Tcp) => {
                let (near, far) = tcp_pair()?;
                octets(near, far, plan)
            }
            (_, Transport::Ipc) => {
                let (near, far) = UnixStream::pair()?;
                octets(near, far, plan)
            }
            (_, Transport::Inproc) => {
                let (tx, rx) = channel::bounded(1000);
                flow(Tx(tx), Rx(rx), plan)
            }
        }
    }
}

/// The plan of a work by reference: what is stamped and checked is the eight octets beside the body.
pub(crate) fn numbers(plan: &Plan) -> Plan {
    Plan { size: 8, ..*plan }
}

fn tcp_pair() -> Fallible<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

/// The one-way flow. Not made of `Sender` and `Receiver`: both sides work by the block.
fn octets<S: Read + Write + Send + 'static>(
    mut near: S,
    mut far: S,
    plan: &Plan,
) -> Fallible<Sample> {
    let Plan {
        size,
        warmup,
        count,
    } = *plan;
    let (header, header_len) = header(size);
    let frame = header_len + size;
    both(
        move || {
            let total = warmup + count;
            if frame > BLOCK {
                // Long frames are laid out once and not copied.
                let mut whole = [&header[..header_len], &vec![0x5a; size]].concat();
                for number in 0..total {
                    stamp(&mut whole[header_len..], number);
                    near.write_all(&whole)?;
                }
                return Ok(near);
            }
            let mut batch = Batch::new(size);
            for number in 0..total {
                batch.push(number);
                if batch.is_full() || number + 1 == total {
                    near.write_all(batch.octets())?;
                    batch.clear();
                }
            }
            Ok(near)
        },
        move || {
            let mut block = vec![0; BLOCK];
            let mut one = vec![0; frame];
            far.read_exact(&mut one)?;
            check(&one[header_len..], size, 0)?;
            skip(&mut far, &mut block, (warmup as usize - 1) * frame)?;
            let start = Mark::now();
            skip(&mut far, &mut block, (count as usize - 1) * frame)?;
            for part in one.chunks_mut(BLOCK) {
                far.read_exact(part)?;
            }
            let sample = start.rate(count);
            check(&one[header_len..], size, warmup + count - 1)?;
            Ok(sample)
        },
    )
}

/// Frames that are written together: as many as go into a block, and at least one.
struct Batch {
    header: [u8; 9],
    header_len: usize,
    payload: Vec<u8>,
    octets: Vec<u8>,
}

impl Batch {
    fn new(size: usize) -> Self {
        let (header, header_len) = header(size);
        Batch {
            header,
            header_len,
            payload: vec![0x5a; size],
            octets: Vec::with_capacity(BLOCK.max(header_len + size)),
        }
    }

    #[inline]
    fn push(&mut self, number: u64) {
        stamp(&mut self.payload, number);
        self.octets
            .extend_from_slice(&self.header[..self.header_len]);
        self.octets.extend_from_slice(&self.payload);
    }

    /// Frames in a full one.
    fn room(&self) -> u64 {
        (BLOCK / (self.header_len + self.payload.len())).max(1) as u64
    }

    /// Whether another frame would be too many.
    #[inline]
    fn is_full(&self) -> bool {
        self.octets.len() + self.header_len + self.payload.len() > BLOCK
    }

    fn octets(&self) -> &[u8] {
        &self.octets
    }

    fn clear(&mut self) {
        self.octets.clear();
    }
}

/// The ZMTP/3 header of a single frame, and its length.
fn header(size: usize) -> ([u8; 9], usize) {
    let mut header = [0; 9];
    if let Ok(short) = u8::try_from(size) {
        header[1] = short;
        (header, 2)
    } else {
        header[0] = 2;
        header[1..].copy_from_slice(&(size as u64).to_be_bytes());
        (header, 9)
    }
}

/// Reads and forgets exactly so many octets, by the block.
fn skip(stream: &mut impl Read, block: &mut [u8], mut octets: usize) -> Fallible<()> {
    while octets > 0 {
        let want = octets.min(block.len());
        match stream.read(&mut block[..want])? {
            0 => return Err("the stream ended early".into()),
            read => octets -= read,
        }
    }
    Ok(())
}

/// One end of a ping-pong. On a blocking socket the loops below never see `WouldBlock`.
struct Stream<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Stream<S> {
    fn new(stream: S, plan: &Plan) -> Self {
        Stream {
            stream,
            buffer: vec![0; plan.size],
        }
    }

    fn write(&mut self, payload: Option<&[u8]>) -> Fallible<()> {
        let mut rest = payload.unwrap_or(&self.buffer);
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Fallible<()> {
        let mut have = 0;
        while have < self.buffer.len() {
            match self.stream.read(&mut self.buffer[have..]) {
                Ok(0) => return Err("the stream ended early".into()),
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl<S: Read + Write + Send> Requester for Stream<S> {
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.write(Some(payload))?;
        self.read()?;
        Ok(look(&self.buffer))
    }
}

impl<S: Read + Write + Send> Replier for Stream<S> {
    fn serve(&mut self) -> Fallible<()> {
        self.read()?;
        self.write(None)
    }
}

/// One end of a ping-pong over two channels.
struct Line {
    tx: channel::Sender<[u8; 64]>,
    rx: channel::Receiver<[u8; 64]>,
    spin: bool,
}

impl Line {
    fn recv(&self) -> Fallible<[u8; 64]> {
        if !self.spin {
            return Ok(self.rx.recv()?);
        }
        loop {
            match self.rx.try_recv() {
                Ok(value) => return Ok(value),
                Err(channel::TryRecvError::Empty) => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Requester for Line {
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.tx.send(payload.try_into()?)?;
        Ok(look(&self.recv()?))
    }
}

impl Replier for Line {
    fn serve(&mut self) -> Fallible<()> {
        let request = self.recv()?;
        Ok(self.tx.send(request)?)
    }
}

struct Tx(channel::Sender<[u8; 64]>);

impl Sender for Tx {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(payload.try_into()?)?)
    }
}

struct Rx(channel::Receiver<[u8; 64]>);

impl Receiver for Rx {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        Ok(look(&self.0.recv()?))
    }
}

type Shared = ([u8; 8], Arc<[u8]>);

struct TxShared(channel::Sender<Shared>, Arc<[u8]>);

impl Sender for TxShared {
    fn send(&mut self, number: &[u8]) -> Fallible<()> {
        let shared = (number.try_into()?, Arc::clone(&self.1));
        Ok(self.0.send(shared)?)
    }
}

struct RxShared(channel::Receiver<Shared>);

impl Receiver for RxShared {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        let (number, body) = self.0.recv()?;
        whole(&body)?;
        Ok(look(&number))
    }
}

/// That a body by reference is one of those that were sent: length, and both ends.
pub(crate) fn whole(body: &[u8]) -> Fallible<()> {
    let ends = (body.first(), body.last());
    if body.len() == 1 << 20 && ends == (Some(&0x5a), Some(&0x5a)) {
        Ok(())
    } else {
        Err(format!("a wrong body, of {} octets", body.len()).into())
    }
}
