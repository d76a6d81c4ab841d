//! Deals numbered tasks out to workers (PUSH): the first stage of a pipeline.
//!
//! ```sh
//! cargo run --example sink                    # terminal 1
//! cargo run --example worker                  # terminal 2, and more of them if you like
//! cargo run --example ventilator              # terminal 3
//! ```
//!
//! In Python, with pyzmq:
//!
//! ```python
//! push = zmq.Context.instance().socket(zmq.PUSH); push.bind("tcp://127.0.0.1:5557")
//! for task in range(1, 1001): push.send_string(str(task))
//! ```

use std::error::Error;
use std::time::Duration;

use sinew::Push;

const USAGE: &str = "usage: ventilator [ENDPOINT] [TASKS] [WORKERS]
Binds to ENDPOINT (tcp://127.0.0.1:5557), waits for WORKERS (1) and sends them TASKS (1000).";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arg = |index: usize, default| args.get(index).map_or(default, String::as_str);
    let tasks: u64 = arg(1, "1000").parse()?;
    let workers: usize = arg(2, "1").parse()?;

    let mut push = Push::new();
    println!("{}", push.bind(arg(0, "tcp://127.0.0.1:5557"))?);
    // Tasks go to whoever is there: without this, the first worker would get the first thousand.
    push.wait_for_peers(workers, Duration::from_secs(600))?;
    for task in 1..=tasks {
        push.send(task.to_string())?;
    }
    // Without this, what is still queued would be lost with the process.
    let report = push.close();
    println!(
        "{tasks} tasks sent to {workers} workers, {} left",
        report.unsent
    );
    Ok(())
}
