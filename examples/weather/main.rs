//! Publish and subscribe (PUB, SUB): each subscriber gets the updates of one city.

#[path = "../support/mod.rs"]
mod support;

use std::thread;

use sinew::{Pub, Sub, ToEndpoint};
use support::{joined, misused, Options, Result, PATIENCE};

const USAGE: &str =
    "usage: weather [--updates N] [--subscribers N] [publisher ENDPOINT | subscriber ENDPOINT CITY]
A publisher waits for its SUBSCRIBERS (1) and publishes UPDATES (100) of each city; a subscriber
takes as many and prints the average. Without a role one publisher and two subscribers run here.";

const CITIES: [&str; 4] = ["lima", "nairobi", "oslo", "tokyo"];

fn publisher(mut publisher: Pub, updates: u32, subscribers: usize) -> Result {
    println!("{}", publisher.bound_endpoints()[0]);
    // What is published before a subscriber is there, it never gets.
    publisher.wait_for_subscribers(subscribers, PATIENCE)?;
    for update in 0..updates {
        for city in CITIES {
            publisher.send(format!("{city} {}", update % 30))?;
        }
    }
    publisher.close();
    Ok(())
}

fn subscriber(endpoint: impl ToEndpoint, city: &str, updates: u32) -> Result<f64> {
    let mut sub = Sub::new();
    // A subscription is a prefix: with the space, `lima` is not also `limassol`.
    sub.subscribe(format!("{city} "))?;
    sub.connect(endpoint)?;
    let mut sum = 0.0;
    for _ in 0..updates {
        let update = sub.recv()?;
        let degrees = update.frames()[0].to_str()?.rsplit(' ').next();
        sum += degrees.unwrap_or_default().parse::<f64>()?;
    }
    Ok(sum / f64::from(updates))
}

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let updates = options.count("--updates", 100)?;
    let subscribers = options.count("--subscribers", 1)?;
    // `send` never waits, unless told so: a subscriber that cannot keep up loses messages.
    let feed = Pub::builder().no_drop(true);
    match options.words()?.strs()[..] {
        [] => {
            let (feed, endpoint) = feed.bound("tcp://127.0.0.1:*")?;
            let publisher = thread::spawn(move || publisher(feed, updates, 2));
            let there = endpoint.clone();
            let lima = thread::spawn(move || subscriber(there, "lima", updates));
            let oslo = subscriber(endpoint, "oslo", updates)?;
            let lima = joined(lima.join())?;
            println!("{updates} updates of each: {lima:.1} in lima, {oslo:.1} in oslo");
            joined(publisher.join())
        }
        ["publisher", endpoint] => publisher(feed.bind(endpoint)?, updates, subscribers),
        ["subscriber", endpoint, city] => {
            let average = subscriber(endpoint, city, updates)?;
            println!("{updates} updates of {city}: {average:.1} on average");
            Ok(())
        }
        _ => misused(USAGE),
    }
}
