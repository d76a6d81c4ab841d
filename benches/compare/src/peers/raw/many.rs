//! Bare sockets with several senders or several receivers: a connection between each and each.
//!
//! Each sender is a thread that fills blocks as in the flow from one to one, and writes them to its
//! sockets in turn. Each receiver is a thread that reads blocks of its socket, or, if it has several, of those that `poll`
//! says are readable; those do not block. It looks at the first message of each connection and then counts octets.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

use super::{header, tcp_pair, Batch, BLOCK};
use crate::child;
use crate::drive::check;
use crate::meter::Sample;
use crate::subject::Fallible;
use crate::tally::{Counter, Rule, Tally};
use crate::work::Plan;

/// See the module.
pub(super) fn octets(senders: usize, receivers: usize, plan: &Plan) -> Fallible<Sample> {
    let size = plan.size;
    let room = Batch::new(size).room();
    let tally = Arc::new(Tally::new(senders, receivers, Rule::Counted, plan));
    let mut near: Vec<Vec<TcpStream>> = (0..senders).map(|_| Vec::new()).collect();
    for receiver in 0..receivers {
        let mut connections = Vec::new();
        for (sender, near) in near.iter_mut().enumerate() {
            let (ours, theirs) = tcp_pair()?;
            theirs.set_nonblocking(senders > 1)?;
            near.push(ours);
            let first = tally.number(sender, receiver as u64 * room);
            connections.push(Connection::new(theirs, size, first));
        }
        let count = tally.counter(receiver);
        thread::spawn(move || child::or_fail(receive(connections, count, size)));
    }
    for (sender, mut sockets) in near.into_iter().enumerate() {
        let tally = Arc::clone(&tally);
        thread::spawn(move || {
            child::or_fail(send(&mut sockets, sender, &tally, size));
            // What is sent may not have been read yet; the process ends soon.
            std::mem::forget(sockets);
        });
    }
    tally.measure()
}

fn send(sockets: &mut [TcpStream], sender: usize, tally: &Tally, size: usize) -> Fallible<()> {
    let mut batch = Batch::new(size);
    let mut turn = 0;
    let mut sequence = 0;
    while let Some(number) = tally.number(sender, sequence) {
        batch.push(number);
        sequence += 1;
        if batch.is_full() || sequence == tally.share() {
            sockets[turn].write_all(batch.octets())?;
            batch.clear();
            turn = (turn + 1) % sockets.len();
        }
    }
    Ok(())
}

fn receive(mut connections: Vec<Connection>, mut count: Counter, size: usize) -> Fallible<()> {
    let mut block = vec![0; BLOCK];
    let frame = (header(size).1 + size) as u64;
    let mut polled: Vec<_> = connections.iter().map(Connection::polled).collect();
    let (mut octets, mut counted) = (0, 0);
    loop {
        if let [only] = connections.as_mut_slice() {
            octets += only.read(&mut block)?;
        } else {
            wait_readable(&mut polled)?;
            let ready = connections.iter_mut().zip(&polled);
            for (connection, _) in ready.filter(|(_, polled)| polled.revents != 0) {
                octets += connection.read(&mut block)?;
            }
        }
        // What the connections have of messages that are not there as a whole yet may add up to some.
        count.add(octets / frame - counted);
        counted = octets / frame;
    }
}

/// One end of a connection, which is read.
struct Connection {
    stream: TcpStream,
    /// As much of the first message as has come.
    first: Vec<u8>,
    size: usize,
    /// Its number, if there will be one.
    number: Option<u64>,
}

impl Connection {
    fn new(stream: TcpStream, size: usize, number: Option<u64>) -> Self {
        Connection {
            stream,
            first: Vec::new(),
            size,
            number,
        }
    }

    fn polled(&self) -> libc::pollfd {
        libc::pollfd {
            fd: self.stream.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }
    }

    /// Reads a block, or what there is of one.
    fn read(&mut self, block: &mut [u8]) -> Fallible<u64> {
        let read = match self.stream.read(block) {
            Ok(0) => return Err("the stream ended early".into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        if self.number.is_some() {
            self.look(&block[..read])?;
        }
        Ok(read as u64)
    }

    #[cold]
    fn look(&mut self, octets: &[u8]) -> Fallible<()> {
        let header_len = header(self.size).1;
        let missing = header_len + self.size - self.first.len();
        self.first
            .extend_from_slice(&octets[..missing.min(octets.len())]);
        if missing <= octets.len() {
            if let Some(number) = self.number.take() {
                check(&self.first[header_len..], self.size, number)?;
            }
        }
        Ok(())
    }
}

/// Waits until one can be read, and notes which.
#[allow(unsafe_code, reason = "poll has no safe door in std")]
fn wait_readable(polled: &mut [libc::pollfd]) -> Fallible<()> {
    // SAFETY: the pointer and the number are those of a slice that is borrowed for the call.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) };
    if ready < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}
