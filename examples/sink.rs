//! Collects the results of all workers (PULL): the last stage of a pipeline.
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
//! pull = zmq.Context.instance().socket(zmq.PULL); pull.bind("tcp://127.0.0.1:5558")
//! print(sum(int(pull.recv_string()) for _ in range(1000)))
//! ```

use std::error::Error;

use sinew::Pull;

const USAGE: &str = "usage: sink [ENDPOINT] [TASKS]
Binds to ENDPOINT (tcp://127.0.0.1:5558), adds up the results of TASKS (1000), and ends.";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arg = |index: usize, default| args.get(index).map_or(default, String::as_str);
    let tasks: u64 = arg(1, "1000").parse()?;

    let mut pull = Pull::new();
    println!("{}", pull.bind(arg(0, "tcp://127.0.0.1:5558"))?);
    let mut sum: u64 = 0;
    for _ in 0..tasks {
        sum += std::str::from_utf8(pull.recv()?.as_bytes())?.parse::<u64>()?;
    }
    println!("{tasks} results, sum {sum}");
    Ok(())
}
