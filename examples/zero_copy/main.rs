//! Payloads that are not copied: shared slices and mapped memory as frames.

#[path = "../support/mod.rs"]
mod support;

use std::sync::mpsc::{channel, Sender};

use memmap2::{Mmap, MmapMut};
use sinew::{Frame, Pull, Push};
use support::{no_options, Result, PATIENCE};

const USAGE: &str = "usage: zero_copy
Sends a mapping of 8 MiB over inproc and tcp, and tells when it is given back.";

const OCTETS: usize = 8 << 20;

/// Anything that is octets can be a frame. It is dropped when nobody refers to it any more.
struct Mapping(Mmap, Sender<()>);

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Nobody may wait for it.
        let _ = self.1.send(());
    }
}

fn main() -> Result {
    no_options(USAGE)?;
    for endpoint in ["inproc://frames", "tcp://127.0.0.1:*"] {
        let (mut pull, real) = Pull::builder().bound(endpoint)?;
        let mut push = Push::builder().connect(&real)?;

        // Anonymous memory, for mapping a file is `unsafe`: others may change it meanwhile. Where you
        // know that nobody does, `Mmap::map(&file)` takes the same way.
        let mut memory = MmapMut::map_anon(OCTETS)?;
        memory.fill(7);
        let (given_back, is_given_back) = channel();
        let frame = Frame::from_owner(Mapping(memory.make_read_only()?, given_back));

        let source = frame.as_ptr();
        push.send(frame)?;
        let message = pull.recv()?;
        let same = message.as_bytes().as_ptr() == source;
        println!(
            "{endpoint}: {} octets, in the sender's memory: {same}",
            message.byte_len()
        );

        drop(message);
        push.close();
        pull.close();
        is_given_back.recv_timeout(PATIENCE)?;
    }
    // Over tcp the kernel read it where it was, too, and the receiver got octets of its own.
    println!("both mappings are given back");
    Ok(())
}
