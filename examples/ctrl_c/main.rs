//! A clean end on Ctrl-C: who sends stops first, what is queued is still sent, and who receives
//! reads to the end.

#[path = "../support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use sinew::{Endpoint, Pull, Push};
use support::{joined, Options, Result, PATIENCE};

const USAGE: &str = "usage: ctrl_c [--wait]
Sends numbers until Ctrl-C. Without --wait it gives itself that signal after a while.";

/// After so many messages.
const ENOUGH: u64 = 10_000;

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let wait = options.flag("--wait");
    options.end()?;
    // From here on the signal ends nothing by itself: it is a flag that the sender looks at.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut pull = Pull::new();
    let endpoint = pull.bind("tcp://127.0.0.1:*")?;
    let sender = std::thread::spawn(move || sender(&endpoint, &stop));
    let mut received = 0;
    // An empty message is the end: it comes behind everything else.
    while !pull.recv()?.as_bytes().is_empty() {
        received += 1;
        if received == ENOUGH && !wait {
            signal_hook::low_level::raise(SIGINT)?;
        }
    }
    let sent = joined(sender.join())?;
    println!("{sent} sent, {received} received");
    println!("stopped, {} lost", sent - received);
    Ok(())
}

fn sender(endpoint: &Endpoint, stop: &AtomicBool) -> Result<u64> {
    // A receiver that is gone must not keep us from stopping: no call waits for ever.
    let mut push = Push::builder()
        .send_timeout(PATIENCE)
        .linger(PATIENCE)
        .connect(endpoint)?;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        push.send(sent.to_string())?;
        sent += 1;
    }
    push.send("")?;
    // Waits until everything is sent, at most for the linger time.
    match push.close().unsent {
        0 => Ok(sent),
        unsent => Err(format!("{unsent} messages were not sent").into()),
    }
}
