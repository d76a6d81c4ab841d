//! Asks a server, one request after the other (REQ).
//!
//! ```sh
//! cargo run --example hello_server            # terminal 1
//! cargo run --example hello_client            # terminal 2, and more of them if you like
//! ```
//!
//! In Python, with pyzmq:
//!
//! ```python
//! req = zmq.Context.instance().socket(zmq.REQ); req.connect("tcp://127.0.0.1:5555")
//! for _ in range(10): req.send(b"Hello"); print(req.recv())
//! ```

use std::error::Error;
use std::time::Duration;

use sinew::Req;

const USAGE: &str = "usage: hello_client [ENDPOINT] [REQUESTS]
Connects to ENDPOINT (tcp://127.0.0.1:5555), sends REQUESTS (10) and prints the replies.";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arg = |index: usize, default| args.get(index).map_or(default, String::as_str);
    let requests: u64 = arg(1, "10").parse()?;

    let mut req = Req::new();
    req.connect(arg(0, "tcp://127.0.0.1:5555"))?;
    for turn in 1..=requests {
        // The server need not be there yet: the request waits for it, at most this long.
        let reply = req.request_timeout("Hello", Duration::from_secs(10))?;
        println!("{turn}: {}", String::from_utf8_lossy(reply.as_bytes()));
    }
    Ok(())
}
