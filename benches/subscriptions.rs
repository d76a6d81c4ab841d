//! What it takes to find the receivers of a message among few subscriptions and among many: a command that
//! prints the time per match, and asserts nothing about it.
//!
//! ```sh
//! cargo bench --bench subscriptions
//! ```
//!
//! A hundred subscribers over inproc hold all topics between them, each topic once. What is timed is
//! [`Pub::subscriber_count`], which is the matching that `send` does, and its lock.

use std::hint::black_box;
use std::time::Instant;

use sinew::{Pub, Sub};

const SUBSCRIBERS: usize = 100;
const ROUNDS: usize = 200_000;

fn topic(n: usize) -> String {
    format!(
        "site/{:02}/rack/{:03}/host{}/m",
        n % 50,
        n / 50 % 200,
        n / 10_000
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Run as a test it only shows that it works.
    let test = std::env::args().any(|argument| argument == "--test");
    let sizes: &[usize] = if test { &[1_000] } else { &[1_000, 1_000_000] };
    for &topics in sizes {
        let mut publisher = Pub::new();
        let endpoint = publisher.bind(format!("inproc://subscriptions-{topics}"))?;
        let mut subs = Vec::new();
        for first in 0..SUBSCRIBERS {
            let mut sub = Sub::builder().connect(&endpoint)?;
            for n in (first..topics).step_by(SUBSCRIBERS) {
                sub.subscribe(topic(n));
            }
            subs.push(sub);
        }
        assert_eq!(publisher.topic_count(), topics);
        // Asked for out of order, so that caches see what they would.
        let asked: Vec<String> = (0..ROUNDS).map(|n| topic(n * 7919 % topics)).collect();
        let begin = Instant::now();
        let mut matched = 0;
        for topic in &asked {
            matched += publisher.subscriber_count(black_box(topic));
        }
        let time = begin.elapsed();
        assert_eq!(matched, ROUNDS);
        println!(
            "{topics} subscriptions of {SUBSCRIBERS}: {:.0} ns per match",
            time.as_nanos() as f64 / ROUNDS as f64
        );
    }
    Ok(())
}
