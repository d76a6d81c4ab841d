//! A queue that services share (ROUTER, DEALER): clients know one address, services come and go.

#[path = "../support/mod.rs"]
mod support;

use std::thread;

use sinew::{Dealer, Endpoint, Interest, PollItem, Poller, Rep, Req, Router};
use support::{joined, Options, Result};

const USAGE: &str = "usage: rrbroker [--clients N] [--services N] [--requests N]
N (3) clients send N (100) requests each to N (2) services, by way of a broker.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let clients: usize = options.value("--clients", 3)?;
    let services: usize = options.value("--services", 2)?;
    let requests: usize = options.value("--requests", 100)?;
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
    let total = clients.len() * requests;
    broker(front, back, total)?;
    clients
        .into_iter()
        .try_for_each(|client| joined(client.join()))?;
    println!("{total} requests, all answered");
    Ok(())
}

/// Passes on so many requests, and their replies. The envelope is in front of each, and is the way back.
fn broker(mut front: Router, mut back: Dealer, total: usize) -> Result {
    let (mut poller, mut replies) = (Poller::new()?, 0);
    while replies < total {
        let mut items = [
            PollItem::socket(&mut front, Interest::READABLE),
            PollItem::socket(&mut back, Interest::READABLE),
        ];
        let events = poller.wait(&mut items, None)?;
        if events.is_readable(0) {
            back.send(front.recv()?)?;
        }
        if events.is_readable(1) {
            front.send(back.recv()?)?;
            replies += 1;
        }
    }
    front.close();
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
