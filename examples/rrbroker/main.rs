//! A queue that services share (ROUTER, DEALER): clients know one address, services come and go.

#[path = "../support/mod.rs"]
mod support;

use std::thread;

use sinew::{Dealer, Endpoint, Proxy, Rep, Req, Router};
use support::{joined, Options, Result};

const USAGE: &str = "usage: rrbroker [--clients N] [--services N] [--requests N]
N (3) clients send N (100) requests each to N (2) services, by way of a broker.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let clients: usize = options.count("--clients", 3)?;
    let services: usize = options.count("--services", 2)?;
    let requests: usize = options.count("--requests", 100)?;
    options.end()?;
    let (mut front, mut back) = (Router::new(), Dealer::new());
    let (asked, served) = (
        front.bind("tcp://127.0.0.1:*")?,
        back.bind("tcp://127.0.0.1:*")?,
    );
    for _ in 0..services {
        let served = served.clone();
        thread::spawn(move || service(served)); // ends with the process
    }
    let clients = Vec::from_iter((0..clients).map(|_| {
        let asked = asked.clone();
        thread::spawn(move || client(asked, requests))
    }));
    // The envelope is in front of each request, and is the way back of its reply.
    let broker = Proxy::new(front, back).spawn()?;
    let total = clients.len() * requests;
    clients
        .into_iter()
        .try_for_each(|client| joined(client.join()))?;
    let passed = broker.stop().statistics;
    println!(
        "{} requests, {} replies, all answered",
        passed.front.received_messages, passed.back.received_messages
    );
    if passed.back.received_messages != total as u64 {
        return Err(format!("{total} requests, {passed:?}").into());
    }
    Ok(())
}

fn service(endpoint: Endpoint) -> Result {
    let mut rep = Rep::builder().connect(endpoint)?;
    loop {
        let request = rep.recv()?;
        rep.send([request.as_bytes(), b" done"].concat())?;
    }
}

fn client(endpoint: Endpoint, requests: usize) -> Result {
    let mut req = Req::builder().connect(endpoint)?;
    for number in 0..requests {
        let reply = req.request(number.to_string())?;
        if reply.as_bytes() != format!("{number} done").as_bytes() {
            return Err(format!("{reply:?} to {number}").into());
        }
    }
    Ok(())
}
