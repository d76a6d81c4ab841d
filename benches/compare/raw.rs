//! The limit: bare blocking stream sockets, batched by hand.
//!
//! One-way: frames of two or nine octets of header and a body, copied one by one into a block of
//! 64 KiB that is written when it is full (a longer frame is one write); the receiver reads blocks of 64 KiB and counts octets, looking
//! only at the first and last number. Lock-step: a blocking ping-pong without Nagle's delay.
//! In-process: `std::sync::mpsc::sync_channel(1000)` of 64-octet values (crossbeam's bounded channel
//! under another name).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use crate::drive::{both, check, flow, ping_pong, stamp};
use crate::meter::{Mark, Sample};
use crate::subject::{Fallible, Receiver, Replier, Requester, Sender, Subject};
use crate::work::{Pattern, Plan, Transport, Work};

/// The block of a write and of a read.
const BLOCK: usize = 64 << 10;

/// The bare socket.
pub(crate) struct Raw;

impl Subject for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn run(&self, work: &Work, plan: &Plan) -> Fallible<Option<Sample>> {
        Ok(match (work.pattern, work.transport) {
            (Pattern::PushPull, Transport::Tcp) => {
                let (near, far) = tcp_pair()?;
                Some(octets(near, far, plan))
            }
            (Pattern::PushPull, Transport::Ipc) => {
                let (near, far) = UnixStream::pair()?;
                Some(octets(near, far, plan))
            }
            (Pattern::PushPull, Transport::Inproc) if plan.size == 64 => {
                let (tx, rx) = mpsc::sync_channel(1000);
                Some(flow(Tx(tx), Rx(rx), plan))
            }
            (Pattern::ReqRep, Transport::Tcp) => {
                let (near, far) = tcp_pair()?;
                Some(ping_pong(
                    Stream::new(near, plan),
                    Stream::new(far, plan),
                    plan,
                ))
            }
            (Pattern::ReqRep, Transport::Ipc) => {
                let (near, far) = UnixStream::pair()?;
                Some(ping_pong(
                    Stream::new(near, plan),
                    Stream::new(far, plan),
                    plan,
                ))
            }
            _ => None,
        })
    }
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
fn octets<S: Read + Write + Send>(mut near: S, mut far: S, plan: &Plan) -> Sample {
    let Plan {
        size,
        warmup,
        count,
    } = *plan;
    let (header, header_len) = header(size);
    let frame = header_len + size;
    both(
        move || {
            let mut payload = vec![0x5a; size];
            let total = warmup + count;
            if frame > BLOCK {
                // Long frames are laid out once and not copied.
                let mut whole = [&header[..header_len], &payload].concat();
                for number in 0..total {
                    stamp(&mut whole[header_len..], number);
                    near.write_all(&whole)?;
                }
                return Ok(near);
            }
            let per_batch = (BLOCK / frame) as u64;
            let mut batch = Vec::with_capacity(per_batch as usize * frame);
            for number in 0..total {
                stamp(&mut payload, number);
                batch.extend_from_slice(&header[..header_len]);
                batch.extend_from_slice(&payload);
                if (number + 1) % per_batch == 0 || number + 1 == total {
                    near.write_all(&batch)?;
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

/// One end of a ping-pong.
struct Stream<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S> Stream<S> {
    fn new(stream: S, plan: &Plan) -> Self {
        Stream {
            stream,
            buffer: vec![0; plan.size],
        }
    }
}

impl<S: Read + Write + Send> Requester for Stream<S> {
    fn round_trip<T>(&mut self, payload: &[u8], look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        self.stream.write_all(payload)?;
        self.stream.read_exact(&mut self.buffer)?;
        Ok(look(&self.buffer))
    }
}

impl<S: Read + Write + Send> Replier for Stream<S> {
    fn serve(&mut self) -> Fallible<()> {
        self.stream.read_exact(&mut self.buffer)?;
        Ok(self.stream.write_all(&self.buffer)?)
    }
}

struct Tx(mpsc::SyncSender<[u8; 64]>);

impl Sender for Tx {
    fn send(&mut self, payload: &[u8]) -> Fallible<()> {
        Ok(self.0.send(payload.try_into()?)?)
    }
}

struct Rx(mpsc::Receiver<[u8; 64]>);

impl Receiver for Rx {
    fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Fallible<T> {
        Ok(look(&self.0.recv()?))
    }
}
