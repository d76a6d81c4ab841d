//! The same code within a process, between processes and between hosts: only the endpoint differs.

#[path = "../support/mod.rs"]
mod support;

use std::time::Instant;

use sinew::{Rep, Req};
use support::{joined, Options, Result};

const USAGE: &str = "usage: three_transports [--requests N]
Sends N (1000) requests over inproc, ipc and tcp, and prints how long one takes.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let requests = options.count("--requests", 1000)?;
    options.end()?;
    for endpoint in ["inproc://echo", "ipc://*", "tcp://127.0.0.1:*"] {
        let mut rep = Rep::new();
        let bound = rep.bind(endpoint)?;
        let server = std::thread::spawn(move || -> Result {
            for _ in 0..requests {
                let request = rep.recv()?;
                rep.send(request)?;
            }
            rep.close();
            Ok(())
        });
        let mut req = Req::builder().connect(&bound)?;
        let started = Instant::now();
        for number in 0..requests {
            let reply = req.request(number.to_string())?;
            if reply.frames()[0] != *number.to_string() {
                return Err(format!("{bound}: {reply:?} to {number}").into());
            }
        }
        println!("{bound}: {:?} per request", started.elapsed() / requests);
        joined(server.join())?;
    }
    println!("{requests} requests over each of 3 transports");
    Ok(())
}
