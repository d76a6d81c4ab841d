//! Idle connections: ten thousand peers that complete a handshake and then say nothing.
//!
//! They live in a process of their own, since one process may not have enough file descriptors for both
//! ends; and they are bare sockets that know just enough of 23/ZMTP to be accepted (its sections
//! "Greeting" and "The NULL security mechanism"), so that what is measured is one library.

use std::env;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::meter::{self, Sample};
use crate::subject::Fallible;

/// What an idle connection claims to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Req,
    Push,
}

/// Connections held by another process, until this is dropped or this process ends.
pub(crate) struct Idle {
    child: Child,
    count: usize,
    heap_before: usize,
}

impl Idle {
    /// Attaches so many connections to a tcp endpoint.
    pub(crate) fn attach(endpoint: &str, kind: Kind, count: usize) -> Fallible<Idle> {
        room_for(count)?;
        let heap_before = meter::heap_in_use();
        let mut child = Command::new(env::current_exe()?)
            .args(["--idle-clients", endpoint])
            .args([kind.to_string(), count.to_string()])
            // Its end tells the other process to go.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("a process has its pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            return Err(format!("not run: idle connections: {}", line.trim()).into());
        }
        Ok(Idle {
            child,
            count,
            heap_before,
        })
    }

    /// Gives the last handshakes time to end, runs the measurement, and adds the heap that a
    /// connection took.
    pub(crate) fn settle(self, measurement: impl FnOnce() -> Fallible<Sample>) -> Fallible<Sample> {
        thread::sleep(Duration::from_millis(300));
        let taken = meter::heap_in_use().saturating_sub(self.heap_before);
        let sample = measurement()?;
        Ok(Sample {
            heap: Some(taken as f64 / self.count as f64),
            ..sample
        })
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // It ends at the end of its input, too, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Req => "REQ",
            Kind::Push => "PUSH",
        })
    }
}

/// What the other process does: connects, says so, and waits for the end of its input.
pub(crate) fn hold(endpoint: &str, kind: &str, count: usize) -> Fallible<()> {
    let connections = room_for(count).and_then(|()| connect(endpoint, kind, count));
    match &connections {
        Ok(_) => println!("ready"),
        Err(error) => println!("{error}"),
    }
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn connect(endpoint: &str, kind: &str, count: usize) -> Fallible<Vec<TcpStream>> {
    let address = endpoint.strip_prefix("tcp://").ok_or("only tcp")?;
    let mut hello = [0; 64].to_vec();
    hello[0] = 0xff;
    hello[9] = 0x7f;
    hello[10] = 3; // ZMTP 3.0: no heartbeats, subscriptions as messages.
    hello[12..16].copy_from_slice(b"NULL");
    let mut ready = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
    ready.push(u8::try_from(kind.len())?);
    ready.extend_from_slice(kind.as_bytes());
    hello.extend_from_slice(&[4, u8::try_from(ready.len())?]);
    hello.extend_from_slice(&ready);

    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        // Few at a time, so that the queue of the listener has room for all.
        let mut some = Vec::new();
        for _ in 0..32.min(count - held.len()) {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(&hello)?;
            some.push(stream);
        }
        for stream in &mut some {
            let mut greeting = [0; 66];
            stream.read_exact(&mut greeting)?;
            let [.., 4, len] = greeting else {
                return Err("no command after the greeting".into());
            };
            let mut command = vec![0; usize::from(len)];
            stream.read_exact(&mut command)?;
            if !command.starts_with(b"\x05READY") {
                return Err("the handshake was refused".into());
            }
        }
        held.append(&mut some);
    }
    Ok(held)
}

/// Raises the limit of open files as far as it goes, and says if that is too little.
#[allow(unsafe_code, reason = "setrlimit has no safe door in std")]
fn room_for(connections: usize) -> Fallible<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls take a pointer to a whole `rlimit` that lives on this stack.
    let status = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    if status != 0 || limit.rlim_max < connections as u64 + 200 {
        let max = limit.rlim_max;
        return Err(format!("not run: a process may have {max} open files").into());
    }
    Ok(())
}

/// A topic that no message of ours begins with, since no number is as high as its first eight octets.
pub(crate) fn topic(index: usize) -> Vec<u8> {
    let mut topic = vec![0xff; 8];
    topic.extend_from_slice(format!("{index:08}").as_bytes());
    topic
}
