//! What this build of Sinew is: its version, transports and mechanisms.

#[path = "../support/mod.rs"]
mod support;

use sinew::Endpoint;
use support::{no_options, Result};

const USAGE: &str = "usage: version_caps
Prints the version, the transports that are compiled in, and the security mechanisms.";

/// An endpoint of each transport of the family, whether it is here or not.
const ENDPOINTS: [&str; 9] = [
    "tcp://127.0.0.1:1",
    "ipc:///tmp/x",
    "inproc://x",
    "ws://127.0.0.1:1",
    "wss://127.0.0.1:1",
    "udp://127.0.0.1:1",
    "vsock://1:1",
    "pgm://eth0;239.0.0.1:1",
    "tipc://{1,1}",
];

fn main() -> Result {
    no_options(USAGE)?;
    println!("version     {}", env!("CARGO_PKG_VERSION"));
    for endpoint in ENDPOINTS {
        let (scheme, _) = endpoint.split_once("://").ok_or("no scheme")?;
        match endpoint.parse::<Endpoint>() {
            Ok(_) => println!("{scheme:<11} yes"),
            Err(_) => println!("{scheme:<11} not in this build"),
        }
    }
    // Nothing is encrypted: there are no other mechanisms yet.
    println!("mechanisms  NULL");
    Ok(())
}
