//! Publishes the weather of some cities (PUB): one message per update, which begins with the city.
//!
//! ```sh
//! cargo run --example weather_publisher           # terminal 1
//! cargo run --example weather_subscriber -- tcp://127.0.0.1:5556 oslo     # terminal 2
//! ```
//!
//! In Python, with pyzmq:
//!
//! ```python
//! pub = zmq.Context.instance().socket(zmq.PUB); pub.bind("tcp://127.0.0.1:5556")
//! while True: pub.send_string("lima 21")
//! ```

use std::error::Error;
use std::time::Duration;

use sinew::Pub;

const USAGE: &str = "usage: weather_publisher [ENDPOINT] [UPDATES] [SUBSCRIBERS]
Binds to ENDPOINT (tcp://127.0.0.1:5556), waits for SUBSCRIBERS (1), publishes UPDATES (1000) of
each city, and ends.";

const CITIES: [&str; 4] = ["lima", "nairobi", "oslo", "tokyo"];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arg = |index: usize, default| args.get(index).map_or(default, String::as_str);
    let updates: u64 = arg(1, "1000").parse()?;
    let subscribers: usize = arg(2, "1").parse()?;

    // `send` never waits, unless told so: a subscriber that cannot keep up loses messages.
    let mut publisher = Pub::builder().no_drop(true).build()?;
    println!("{}", publisher.bind(arg(0, "tcp://127.0.0.1:5556"))?);
    // What is published before a subscriber is there, it never gets.
    publisher.wait_for_subscribers(subscribers, Duration::from_secs(600))?;
    for update in 0..updates {
        let degrees = update % 30;
        for city in CITIES {
            publisher.send(format!("{city} {degrees}"))?;
        }
    }
    println!("{updates} updates, {} left", publisher.close().unsent);
    Ok(())
}
