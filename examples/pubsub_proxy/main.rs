//! A forwarder (XSUB, XPUB): publishers on one network, subscribers on another.

#[path = "../support/mod.rs"]
mod support;

use std::thread;

use sinew::{Endpoint, Proxy, Pub, Sub, XPub, XSub};
use support::{joined, Options, Result, PATIENCE};

const USAGE: &str = "usage: pubsub_proxy [--updates N]
A publisher over tcp, two subscribers over ipc, and N (100) updates for each through a proxy.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let updates: usize = options.count("--updates", 100)?;
    options.end()?;
    let mut front = XSub::new();
    // As with PUB, whoever is too slow is left out; this one waits.
    let mut back = XPub::builder().no_drop(true).build()?;
    let (from, to) = (front.bind("tcp://127.0.0.1:*")?, back.bind("ipc://*")?);
    // Messages one way, subscriptions the other.
    let proxy = Proxy::new(front, back).spawn()?;
    let subscribers = ["lima ", "oslo "].map(|topic| {
        let to = to.clone();
        thread::spawn(move || subscriber(to, topic, updates))
    });

    let mut publisher = Pub::builder().no_drop(true).connect(from)?;
    // Subscriptions come through the proxy, so the publisher sends nothing that nobody wants.
    publisher.wait_for_subscribers_of("lima 1", 1, PATIENCE)?;
    publisher.wait_for_subscribers_of("oslo 1", 1, PATIENCE)?;
    for update in 0..updates {
        for city in ["lima", "nairobi", "oslo"] {
            publisher.send(format!("{city} {update}"))?;
        }
    }
    for subscriber in subscribers {
        joined(subscriber.join())?;
    }
    let passed = proxy.stop().statistics.front.received_messages;
    let unwanted = publisher.stats().dropped_unmatched;
    println!("{passed} updates passed on");
    println!("{updates} updates to each of 2 subscribers, {unwanted} not sent at all");
    Ok(())
}

fn subscriber(endpoint: Endpoint, topic: &str, updates: usize) -> Result {
    let mut sub = Sub::new();
    sub.subscribe(topic)?;
    sub.connect(endpoint)?;
    for update in 0..updates {
        let message = sub.recv()?;
        if message.as_bytes() != format!("{topic}{update}").as_bytes() {
            return Err(format!("{message:?} for update {update} of {topic}").into());
        }
    }
    Ok(())
}
