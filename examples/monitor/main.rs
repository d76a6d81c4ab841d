//! What happens to connections, as events: made, lost, tried again, made again.

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use sinew::{Monitor, Pull, Push, ReconnectPolicy, SocketEvent};
use support::{no_options, Result, PATIENCE};

const USAGE: &str = "usage: monitor
Takes a server away and brings it back, and prints what the client sees of it.";

fn main() -> Result {
    no_options(USAGE)?;
    let directory = tempfile::tempdir()?;
    let endpoint = format!("ipc://{}/server", directory.path().display());
    let server = Pull::builder().bind(&endpoint)?;

    let quick = ReconnectPolicy::backoff(Duration::from_millis(10), Duration::from_secs(1));
    let mut push = Push::builder().reconnect(quick).build()?;
    let mut timeline = Timeline(push.monitor(), Instant::now());
    push.connect(&endpoint)?;
    timeline.until(|event| matches!(event, SocketEvent::HandshakeSucceeded { .. }))?;

    server.close();
    timeline.until(|event| matches!(event, SocketEvent::ConnectRetried { .. }))?;
    push.send("sent while nobody was there")?;

    let mut server = Pull::builder().bind(&endpoint)?;
    timeline.until(|event| matches!(event, SocketEvent::HandshakeSucceeded { .. }))?;
    println!("the message: {:?}", server.recv_timeout(PATIENCE)?);
    println!("lost {} time, connected again", push.stats().disconnects);
    Ok(())
}

struct Timeline(Monitor, Instant);

impl Timeline {
    /// Prints events up to one of this kind.
    fn until(&mut self, last: impl Fn(&SocketEvent) -> bool) -> Result {
        loop {
            let event = self.0.recv_timeout(PATIENCE).ok_or("no event")?;
            println!("{:>6.1} ms  {event}", self.1.elapsed().as_secs_f64() * 1e3);
            if last(&event) {
                return Ok(());
            }
        }
    }
}
