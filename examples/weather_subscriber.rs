//! Receives the weather of one city (SUB): the publisher sends it nothing else.
//!
//! ```sh
//! cargo run --example weather_publisher           # terminal 1
//! cargo run --example weather_subscriber -- tcp://127.0.0.1:5556 oslo     # terminal 2
//! ```
//!
//! In Python, with pyzmq:
//!
//! ```python
//! sub = zmq.Context.instance().socket(zmq.SUB); sub.connect("tcp://127.0.0.1:5556")
//! sub.subscribe("oslo ")
//! for _ in range(100): print(sub.recv_string())
//! ```

use std::error::Error;

use sinew::Sub;

const USAGE: &str = "usage: weather_subscriber [ENDPOINT] [CITY] [UPDATES]
Connects to ENDPOINT (tcp://127.0.0.1:5556), takes UPDATES (100) of CITY (lima) and prints the
average temperature.";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arg = |index: usize, default| args.get(index).map_or(default, String::as_str);
    let city = arg(1, "lima");
    let updates: u32 = arg(2, "100").parse()?;

    let mut sub = Sub::new();
    // A subscription is a prefix: with the space, `lima` is not also `limassol`.
    sub.subscribe(format!("{city} "));
    sub.connect(arg(0, "tcp://127.0.0.1:5556"))?;
    let mut sum = 0.0;
    for _ in 0..updates {
        let update = sub.recv()?;
        let text = std::str::from_utf8(update.as_bytes())?;
        let (_, degrees) = text
            .split_once(' ')
            .ok_or("an update without a temperature")?;
        sum += degrees.parse::<f64>()?;
    }
    println!(
        "{updates} updates of {city}: {:.1} degrees on average",
        sum / f64::from(updates)
    );
    Ok(())
}
