//! Takes tasks (PULL), squares them and passes the results on (PUSH): the middle of a pipeline. Start
//! as many as you like; stop them with Ctrl-C.
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
//! context = zmq.Context.instance()
//! pull = context.socket(zmq.PULL); pull.connect("tcp://127.0.0.1:5557")
//! push = context.socket(zmq.PUSH); push.connect("tcp://127.0.0.1:5558")
//! while True: push.send_string(str(int(pull.recv_string()) ** 2))
//! ```

use std::error::Error;

use sinew::{Pull, Push};

const USAGE: &str = "usage: worker [TASKS] [RESULTS]
Takes tasks from the endpoint TASKS (tcp://127.0.0.1:5557), squares them and sends the results to
the endpoint RESULTS (tcp://127.0.0.1:5558), until it is stopped.";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arg = |index: usize, default| args.get(index).map_or(default, String::as_str);

    let mut pull = Pull::new();
    let tasks = pull.connect(arg(0, "tcp://127.0.0.1:5557"))?;
    let mut push = Push::new();
    let results = push.connect(arg(1, "tcp://127.0.0.1:5558"))?;
    println!("from {tasks} to {results}");
    loop {
        let task = pull.recv()?;
        let number: u64 = std::str::from_utf8(task.as_bytes())?.parse()?;
        push.send((number * number).to_string())?;
    }
}
