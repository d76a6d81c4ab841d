//! Threads that share nothing but messages: a server with a pool of workers, and a relay.

#[path = "../support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::thread;

use sinew::{Dealer, Message, Pair, Req, Router, RoutingId};
use support::{joined, no_options, Result};

const USAGE: &str = "usage: threads_inproc
Runs a server with three worker threads, and hands a message on from thread to thread.";

const WORKERS: [&str; 3] = ["worker 1", "worker 2", "worker 3"];
const CLIENTS: usize = 4;
const REQUESTS: usize = 50;

fn main() -> Result {
    no_options(USAGE)?;
    let mut router = Router::new();
    router.bind("inproc://workers")?;
    let workers = WORKERS.map(|name| thread::spawn(move || worker(name)));
    // The workers are there before clients can be, so nobody else can have their names.
    let mut idle = VecDeque::new();
    for _ in WORKERS {
        idle.push_back(router.recv_from()?.0);
    }
    let endpoint = router.bind("tcp://127.0.0.1:*")?;
    let clients = [(); CLIENTS].map(|()| {
        let endpoint = endpoint.clone();
        thread::spawn(move || -> Result {
            let mut req = Req::builder().connect(endpoint)?;
            (0..REQUESTS).try_for_each(|_| req.request("work").map(drop))?;
            Ok(())
        })
    });
    serve(router, idle)?;
    clients
        .into_iter()
        .try_for_each(|client| joined(client.join()))?;
    let done = workers.map(|worker| joined(worker.join()));
    let done = done.into_iter().sum::<Result<usize>>()?;
    println!(
        "{done} requests of {CLIENTS} clients were done by {} threads",
        WORKERS.len()
    );
    println!("the relay: {}", relay()?);
    Ok(())
}

/// Gives each request to the worker that has been idle longest. One socket serves both sides.
fn serve(mut router: Router, mut idle: VecDeque<RoutingId>) -> Result {
    let mut waiting = VecDeque::new(); // at most one request of each client
    let mut open = CLIENTS * REQUESTS;
    while open > 0 {
        let (from, mut message) = router.recv_from()?;
        if WORKERS
            .iter()
            .any(|name| from.as_bytes() == name.as_bytes())
        {
            let client = message.pop_front().ok_or("a reply to nobody")?;
            router.send_to(client, message)?;
            idle.push_back(from);
            open -= 1;
        } else {
            message.push_front(from.as_bytes());
            waiting.push_back(message);
        }
        while let (Some(worker), false) = (idle.front(), waiting.is_empty()) {
            router.send_to(worker, waiting.pop_front().unwrap_or_default())?;
            idle.pop_front();
        }
    }
    WORKERS
        .iter()
        .try_for_each(|worker| router.send_to(worker, "end"))?;
    router.close();
    Ok(())
}

/// Answers requests, which come with their envelopes, until a message of one frame; how many.
fn worker(name: &str) -> Result<usize> {
    let name = RoutingId::new(name)?;
    let mut dealer = Dealer::builder()
        .routing_id(name)
        .connect("inproc://workers")?;
    dealer.send("ready")?;
    for done in 0.. {
        let request = dealer.recv()?;
        if request.frame_count() == 1 {
            return Ok(done);
        }
        dealer.send(request)?;
    }
    Ok(0)
}

/// Three threads in a row, each a step.
fn relay() -> Result<String> {
    let mut end = Pair::builder().bind("inproc://step 3")?;
    let mut middle = Pair::builder().bind("inproc://step 2")?;
    let first = thread::spawn(|| -> Result {
        Ok(Pair::builder().connect("inproc://step 2")?.send("one")?)
    });
    let second = thread::spawn(move || -> Result {
        let mut steps = middle.recv()?;
        steps.push_back("two");
        Ok(Pair::builder().connect("inproc://step 3")?.send(steps)?)
    });
    let steps: Message = end.recv()?;
    joined(first.join())?;
    joined(second.join())?;
    Ok(steps
        .frames()
        .iter()
        .map(|step| String::from_utf8_lossy(step))
        .collect::<Vec<_>>()
        .join(", "))
}
