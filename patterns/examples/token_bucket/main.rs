//! A token bucket in two ways: built of a PUSH and a PULL, and the one of the library.

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use sinew::{Pull, Push};
use sinew_patterns::flow::TokenBucket;
use support::{no_options, Result};

const USAGE: &str = "usage: token_bucket
Sends bursts of requests at a bucket of 10 tokens that gets 100 per second, in time that is made up.";

const BURST: u32 = 10;
const RATE: u32 = 100;

/// A queue of tokens: it holds as many as its high-water mark says, and a generator puts in one at a time.
struct Queue {
    generator: Push,
    tokens: Pull,
    /// When the generator has put in the last one.
    last: Instant,
}

impl Queue {
    fn new(now: Instant) -> Result<Self> {
        let mut tokens = Pull::builder().recv_hwm(u64::from(BURST) - 1).build()?;
        let endpoint = tokens.bind("inproc://tokens")?;
        let generator = Push::builder().send_hwm(1).connect(endpoint)?;
        let mut queue = Queue {
            generator,
            tokens,
            last: now,
        };
        (0..BURST).for_each(|_| queue.generate());
        Ok(queue)
    }

    /// Full: the token is dropped.
    fn generate(&mut self) {
        let _ = self.generator.try_send("");
    }

    /// Empty: the request fails.
    fn try_take(&mut self, now: Instant) -> bool {
        while now - self.last >= Duration::from_secs(1) / RATE {
            self.generate();
            self.last += Duration::from_secs(1) / RATE;
        }
        self.tokens.try_recv().is_ok()
    }
}

fn main() -> Result {
    no_options(USAGE)?;
    let start = Instant::now();
    let mut queue = Queue::new(start)?;
    let bucket = TokenBucket::new(f64::from(RATE), BURST, start);
    let mut totals = [0, 0];
    // Bursts of 15 requests, after pauses that fill the bucket, and that do not.
    let mut now = start;
    for pause in [0, 1000, 40, 40, 1000, 0] {
        now += Duration::from_millis(pause);
        let passed = [
            (0..15).filter(|_| queue.try_take(now)).count(),
            (0..15).filter(|_| bucket.try_take(now, 1).is_ok()).count(),
        ];
        println!(
            "after {pause:>4} ms, of 15: queue {}, bucket {}",
            passed[0], passed[1]
        );
        totals = [totals[0] + passed[0], totals[1] + passed[1]];
    }
    // The bucket is one number, and needs no generator; and it says when to come back.
    if let Err(later) = bucket.try_take(now, 1) {
        println!("{later}");
    }
    println!("{} passed the queue, {} the bucket", totals[0], totals[1]);
    Ok(())
}
