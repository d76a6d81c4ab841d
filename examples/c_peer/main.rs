//! The other side on libzmq: three patterns with its C interface.

#[path = "../support/mod.rs"]
mod support;

use std::thread;

use sinew::{Endpoint, Pub, Pull, Rep};
use support::{joined, no_options, Result, PATIENCE};

const USAGE: &str = "usage: c_peer
Talks to libzmq in another thread, by way of its C interface.";

fn main() -> Result {
    no_options(USAGE)?;
    let mut rep = Rep::builder().recv_timeout(PATIENCE).build()?;
    let mut pull = Pull::builder().recv_timeout(PATIENCE).build()?;
    let mut publisher = Pub::new();
    let ends = [
        rep.bind("tcp://127.0.0.1:*")?,
        pull.bind("tcp://127.0.0.1:*")?,
        publisher.bind("tcp://127.0.0.1:*")?,
    ];
    let (major, minor, patch) = zmq::version();
    println!("libzmq {major}.{minor}.{patch}");
    let peer = thread::spawn(move || Ok(peer(&ends)?));

    let request = rep.recv()?;
    rep.send([request.as_bytes(), b" from Rust"].concat())?;
    println!("request from libzmq: {}", request.frames()[0].to_str()?);
    publisher.wait_for_subscribers(1, PATIENCE)?;
    publisher.send("lima 21")?;
    publisher.send("oslo 3")?;
    for _ in 0..2 {
        println!("pushed by libzmq: {}", pull.recv()?.frames()[0].to_str()?);
    }
    joined(peer.join())?;
    println!("REQ, PUSH and SUB of libzmq: as they should be");
    Ok(())
}

/// Each call here is one of libzmq: `zmq_socket`, `zmq_connect`, `zmq_msg_send`, `zmq_msg_recv`.
fn peer([rep, pull, publisher]: &[Endpoint; 3]) -> zmq::Result<()> {
    let context = zmq::Context::new();
    let socket = |kind, at: &Endpoint| {
        let socket = context.socket(kind)?;
        socket.set_rcvtimeo(PATIENCE.as_millis() as i32)?;
        socket.connect(&at.to_string())?;
        Ok::<_, zmq::Error>(socket)
    };
    let (req, push) = (socket(zmq::REQ, rep)?, socket(zmq::PUSH, pull)?);
    req.send("Hello", 0)?;
    push.send(req.recv_bytes(0)?, 0)?;
    let sub = socket(zmq::SUB, publisher)?;
    sub.set_subscribe(b"oslo")?;
    push.send(sub.recv_bytes(0)?, 0)?;
    Ok(())
}
