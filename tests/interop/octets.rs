//! The traffic as plain octets, as STREAM has it: what is sent together comes in pieces, and nothing tells where a
//! message ends but its size.

use std::error::Error;
use std::ops::Range;

use crate::peer::windowed;
use crate::traffic::{Checksum, Traffic};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// One connection of a STREAM of either library.
pub(crate) trait Plain {
    /// At least one octet.
    fn send(&mut self, octets: Vec<u8>) -> Outcome<()>;

    /// What has come, at least one octet.
    fn recv(&mut self) -> Outcome<Vec<u8>>;
}

/// Sends the octets of each message and checks that they come back.
pub(crate) fn ask(plain: &mut impl Plain, traffic: Traffic, numbers: Range<u64>) -> Outcome<u32> {
    let mut come = Come::new(traffic);
    for (n, echoes) in windowed(numbers) {
        let octets = octets_of(traffic, n);
        // An empty message would end the connection.
        if !octets.is_empty() {
            plain.send(octets)?;
        }
        for n in echoes {
            while !come.take(n)? {
                come.octets.extend(plain.recv()?);
            }
        }
    }
    Ok(come.checksum.value())
}

/// Checks each message, and sends back what comes as it comes.
pub(crate) fn answer(
    plain: &mut impl Plain,
    traffic: Traffic,
    numbers: Range<u64>,
) -> Outcome<u32> {
    let mut come = Come::new(traffic);
    for n in numbers {
        while !come.take(n)? {
            let octets = plain.recv()?;
            come.octets.extend_from_slice(&octets);
            plain.send(octets)?;
        }
    }
    Ok(come.checksum.value())
}

/// What has come, and is not a whole message yet.
struct Come {
    traffic: Traffic,
    octets: Vec<u8>,
    checksum: Checksum,
}

impl Come {
    fn new(traffic: Traffic) -> Self {
        Come {
            traffic,
            octets: Vec::new(),
            checksum: Checksum::default(),
        }
    }

    /// Takes message `n` off, if it is there as a whole.
    fn take(&mut self, n: u64) -> Outcome<bool> {
        let wanted = octets_of(self.traffic, n);
        if self.octets.len() < wanted.len() {
            return Ok(false);
        }
        if !self.octets.starts_with(&wanted) {
            return Err(format!("message {n} is not what was sent").into());
        }
        self.octets.drain(..wanted.len());
        self.checksum.add(self.traffic.message(n));
        Ok(true)
    }
}

fn octets_of(traffic: Traffic, n: u64) -> Vec<u8> {
    traffic.message(n).flatten().copied().collect()
}
