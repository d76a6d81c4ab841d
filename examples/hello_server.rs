//! Answers every greeting (REP).
//!
//! ```sh
//! cargo run --example hello_server            # terminal 1
//! cargo run --example hello_client            # terminal 2, and more of them if you like
//! ```
//!
//! In Python, with pyzmq:
//!
//! ```python
//! rep = zmq.Context.instance().socket(zmq.REP); rep.bind("tcp://127.0.0.1:5555")
//! while True: rep.send(rep.recv() + b" World")
//! ```

use std::error::Error;

use sinew::Rep;

const USAGE: &str = "usage: hello_server [ENDPOINT] [REQUESTS]
Binds to ENDPOINT (tcp://127.0.0.1:5555) and answers; ends after REQUESTS if given.";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arg = |index: usize, default| args.get(index).map_or(default, String::as_str);
    let requests: u64 = args.get(1).map_or(Ok(u64::MAX), |count| count.parse())?;

    let mut rep = Rep::new();
    println!("{}", rep.bind(arg(0, "tcp://127.0.0.1:5555"))?);
    for _ in 0..requests {
        let request = rep.recv()?;
        rep.send([request.as_bytes(), b" World"].concat())?;
    }
    // Waits until the last reply is sent.
    rep.close();
    println!("{requests} requests answered");
    Ok(())
}
