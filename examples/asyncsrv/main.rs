//! Many requests at once, and replies of several parts (DEALER, ROUTER): a server that works on all
//! requests in turn, in one thread.

#[path = "../support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::thread;

use sinew::{Dealer, Endpoint, Message, Router, RoutingId};
use support::{joined, Options, Result, PATIENCE};

const USAGE: &str = "usage: asyncsrv [--clients N] [--requests N]
N (3) clients send N (5) requests each, all at once, and get each reply in parts.";

/// Of each reply.
const PARTS: u8 = 4;

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let clients = options.count("--clients", 3)?;
    let requests: u8 = options.count("--requests", 5)?;
    options.end()?;
    let (router, endpoint) = Router::builder().bound("tcp://127.0.0.1:*")?;
    let total = clients * usize::from(requests);
    let server = thread::spawn(move || server(router, total));
    let started = (0..clients).map(|_| {
        let endpoint = endpoint.clone();
        thread::spawn(move || client(&endpoint, requests))
    });
    for client in Vec::from_iter(started) {
        joined(client.join())?;
    }
    joined(server.join())?;
    println!(
        "{total} requests, {} parts of replies",
        total * usize::from(PARTS)
    );
    Ok(())
}

/// Sends a part of one reply, then one of the next; takes in new requests between.
fn server(mut router: Router, mut expected: usize) -> Result {
    let mut jobs: VecDeque<(RoutingId, Message, u8)> = VecDeque::new();
    while expected > 0 || !jobs.is_empty() {
        let next = match jobs.is_empty() {
            true => Some(router.recv_from()?),
            false => router.try_recv_from().ok(),
        };
        if let Some((client, request)) = next {
            jobs.push_back((client, request, 0));
            expected -= 1;
        }
        if let Some((client, request, part)) = jobs.pop_front() {
            router.send_to(&client, [request.as_bytes(), &[part]].concat())?;
            if part + 1 < PARTS {
                jobs.push_back((client, request, part + 1));
            }
        }
    }
    router.close();
    Ok(())
}

/// Sends all requests, then receives parts of all replies as they come.
fn client(endpoint: &Endpoint, requests: u8) -> Result {
    let mut dealer = Dealer::builder().recv_timeout(PATIENCE).connect(endpoint)?;
    for request in 0..requests {
        dealer.send([request])?;
    }
    let mut next = vec![0; usize::from(requests)];
    for _ in 0..requests * PARTS {
        let message = dealer.recv()?;
        // Parts of one reply come in order, whatever comes between.
        match *message.as_bytes() {
            [request, part] if next.get(usize::from(request)) == Some(&part) => {
                next[usize::from(request)] += 1;
            }
            _ => return Err(format!("{message:?} does not follow {next:?}").into()),
        }
    }
    Ok(())
}
