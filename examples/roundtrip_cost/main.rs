//! What waiting costs: the same requests one after the other (REQ), and many under way (DEALER).

#[path = "../support/mod.rs"]
mod support;

use std::time::Instant;

use sinew::{Dealer, Req, Router};
use support::{joined, Options, Result};

const USAGE: &str = "usage: roundtrip_cost [--requests N] [--window N]
Times N (10000) requests over tcp, once in lock-step and once with up to WINDOW (500) under way.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let requests: usize = options.count("--requests", 10_000)?;
    let window: usize = options.count("--window", 500)?;
    options.end()?;
    if !(1..=1000).contains(&window) {
        // With more, both sides might wait at their high-water marks for each other.
        return Err(format!("--window {window}: expected 1 to 1000").into());
    }
    let (mut router, endpoint) = Router::builder().bound("tcp://127.0.0.1:*")?;
    let server = std::thread::spawn(move || -> Result {
        for _ in 0..2 * requests {
            let request = router.recv()?;
            router.send(request)?; // the envelope is in front
        }
        router.close();
        Ok(())
    });

    let mut req = Req::builder().connect(&endpoint)?;
    let started = Instant::now();
    for number in 0..requests {
        check(number, req.request(number.to_string())?.as_bytes())?;
    }
    let synchronous = started.elapsed();

    let mut dealer = Dealer::builder().connect(&endpoint)?;
    let started = Instant::now();
    for number in 0..requests + window {
        if let Some(answered) = number.checked_sub(window) {
            check(answered, dealer.recv()?.as_bytes())?;
        }
        if number < requests {
            dealer.send(number.to_string())?;
        }
    }
    let pipelined = started.elapsed();

    joined(server.join())?;
    let rate = |time: std::time::Duration| requests as f64 / time.as_secs_f64();
    println!("one after the other {:>9.0} per second", rate(synchronous));
    println!("{window} under way     {:>9.0} per second", rate(pipelined));
    println!("{requests} right replies each way");
    Ok(())
}

fn check(number: usize, reply: &[u8]) -> Result {
    match reply == number.to_string().as_bytes() {
        true => Ok(()),
        false => Err(format!("{} to {number}", reply.escape_ascii()).into()),
    }
}
