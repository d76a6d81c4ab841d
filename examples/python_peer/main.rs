//! The other side in another language: three patterns with pyzmq.

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use sinew::{Pub, Pull, Rep};
use support::{Options, Result, PATIENCE};

const USAGE: &str = "usage: python_peer [--python INTERPRETER]
Talks to peer.py, which needs pyzmq. INTERPRETER is .venv/bin/python, or python3 if there is none.";

const PEER: &str = include_str!("peer.py");

fn main() -> Result {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let default = match venv.exists() {
        true => venv.display().to_string(),
        false => "python3".into(),
    };
    let mut options = Options::new(USAGE);
    let python = options.value("--python", default)?;
    options.end()?;
    let probe = Command::new(&python)
        .args(["-c", "import zmq"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: {python} has no pyzmq, or is not there");
        return Ok(());
    }

    let mut rep = Rep::builder()
        .recv_timeout(PATIENCE)
        .bind("tcp://127.0.0.1:*")?;
    let mut pull = Pull::builder()
        .recv_timeout(PATIENCE)
        .bind("tcp://127.0.0.1:*")?;
    let mut publisher = Pub::builder().bind("tcp://127.0.0.1:*")?;
    let ends = [
        rep.bound_endpoints(),
        pull.bound_endpoints(),
        publisher.bound_endpoints(),
    ]
    .concat();
    let mut peer = Command::new(&python)
        .args(["-c", PEER])
        .args(ends.iter().map(ToString::to_string))
        .spawn()?;

    let request = rep.recv()?;
    rep.send([request.as_bytes(), b" from Rust"].concat())?;
    println!("request from Python: {}", request.frames()[0].to_str()?);
    publisher.wait_for_subscribers(1, PATIENCE)?;
    publisher.send("lima 21")?;
    publisher.send("oslo 3")?;
    for _ in 0..2 {
        println!("pushed by Python: {}", pull.recv()?.frames()[0].to_str()?);
    }
    if !peer.wait()?.success() {
        return Err("the peer failed".into());
    }
    println!("REQ, PUSH and SUB of pyzmq: as they should be");
    Ok(())
}
