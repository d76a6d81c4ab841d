//! What it takes to find the receivers of a message among few subscriptions and among many: a command that
//! prints the time per match, and fails (exit code 1) if the number of other subscriptions counts.
//!
//! ```sh
//! cargo bench --bench subscriptions
//! ```
//!
//! Among a million this is measured twice:
//!
//! - with the same messages as among a thousand, so that what makes the difference is the other subscriptions. This
//!   may take twice as long.
//! - with messages that go through all of the million topics, so that what each needs is in no cache. This may take
//!   half as long again as a match among a thousand and one read of as much memory as the index takes, of a place
//!   that is known no sooner than the message; or twice as long as the match, whichever is more.
//!
//! Whether twice can be had for these at all is measured beside it, as the least that any index would take: a match
//! among a thousand, and before it one read of a place that the message tells, in as little memory as a million topics
//! can be known by, if they have nothing in common. What takes octets that are no topic for one once in 2⁴⁶ times has
//! to keep 46 bits for each topic at least (Carter et al., "Exact and approximate membership testers", 1978), and 7
//! more to name one of a hundred subscribers: 6.3 MiB.
//!
//! Messages in batches are measured in the same way, and beside one another: for these, twice is the bound of all.
//!
//! Of each, the best of some rounds counts, which take turns: what else the machine does at the time is in
//! the others.
//!
//! A hundred subscribers over inproc hold all topics between them, each topic once. What is timed is
//! [`Pub::subscriber_count`], which is the matching that `send` does, and its lock; of batches
//! [`Pub::subscriber_counts`], which is the matching that `send_batch` does, and its locks, with a list of a thousand
//! counts. What `send` and `send_batch` take is shown as well, without a bound: the subscribers receive nothing and have
//! no room, so that it is the matching, and finding out that the one receiver of the message is full.

use std::cell::RefCell;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use sinew::{Pub, Sub};

const SUBSCRIBERS: usize = 100;
/// Matches that are timed together.
const MATCHES: usize = 100_000;
/// Of these, that are asked for at once.
const BATCH: usize = 1_000;
const ROUNDS: usize = 9;
/// Of batches in each of these: they take little time, in which a machine may be slow.
const BATCH_ROUNDS: usize = 3;
/// How much longer it may take among the most than among the fewest.
const MOST: f64 = 2.0;
/// And than that and one read of memory, if that is more.
const MOST_WITH_READ: f64 = 1.5;
/// The octets of the index.
const INDEX: usize = 20 << 20;
/// And of the smallest that there can be.
const LEAST: usize = MANY * (46 + 7) / 8;

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;

fn topic(n: usize) -> String {
    format!(
        "site/{:02}/rack/{:03}/host{}/m",
        n % 50,
        n / 50 % 200,
        n / 10_000
    )
}

/// A publisher and those who hold so many topics between them.
struct Stage {
    publisher: RefCell<Pub>,
    _subs: Vec<Sub>,
}

impl Stage {
    fn new(topics: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let mut publisher = Pub::builder().send_hwm(1).build()?;
        let endpoint = publisher.bind(format!("inproc://subscriptions-{topics}"))?;
        let mut subs = Vec::new();
        for first in 0..SUBSCRIBERS {
            let mut sub = Sub::builder().recv_hwm(1).connect(&endpoint)?;
            for n in (first..topics).step_by(SUBSCRIBERS) {
                sub.subscribe(topic(n))?;
            }
            subs.push(sub);
        }
        assert_eq!(publisher.topic_count(), topics);
        Ok(Stage {
            publisher: RefCell::new(publisher),
            _subs: subs,
        })
    }
}

/// Matches that are timed.
struct Row<'a> {
    name: String,
    publisher: &'a RefCell<Pub>,
    how: How,
    /// One after the other in memory, so that reading them is no part of what is measured.
    asked: Vec<[u8; 32]>,
    /// Nanoseconds per match, in the best round.
    best: f64,
}

#[derive(Clone, Copy)]
enum How {
    Counted,
    CountedInBatches,
    Sent,
    SentInBatches,
}

impl<'a> Row<'a> {
    /// Asks for this many of the first topics, out of order.
    fn new(name: String, stage: &'a Stage, topics: usize) -> Self {
        let asked = (0..MATCHES).map(|n| {
            let mut message = [b' '; 32];
            let topic = topic(n * 7919 % topics);
            message[..topic.len()].copy_from_slice(topic.as_bytes());
            message
        });
        Row {
            name,
            publisher: &stage.publisher,
            how: How::Counted,
            asked: asked.collect(),
            best: f64::INFINITY,
        }
    }

    /// Few topics, the same messages among many, and of all of these.
    fn three(few: &'a Stage, many: &'a Stage, how: How) -> [Self; 3] {
        let what = match how {
            How::Counted => "",
            How::CountedInBatches => ", in batches",
            How::Sent => ", sent to who is full",
            How::SentInBatches => ", sent in batches to who is full",
        };
        [
            Row::new(format!("among {FEW} subscriptions{what}"), few, FEW),
            Row::new(format!("among {MANY}, the same messages{what}"), many, FEW),
            Row::new(
                format!("among {MANY}, of all of their topics{what}"),
                many,
                MANY,
            ),
        ]
        .map(|row| Row { how, ..row })
    }

    fn round(&mut self) {
        let mut publisher = self.publisher.borrow_mut();
        let told = |publisher: &Pub| {
            let stats = publisher.stats();
            (stats.messages_sent + stats.dropped_full) as usize
        };
        let before = told(&publisher);
        let mut counted = 0;
        let begin = Instant::now();
        match self.how {
            How::Counted => {
                for message in &self.asked {
                    counted += publisher.subscriber_count(black_box(message));
                }
            }
            How::CountedInBatches => {
                for batch in self.asked.chunks(BATCH) {
                    let counts = publisher.subscriber_counts(black_box(batch));
                    counted += counts.iter().sum::<usize>();
                }
            }
            How::Sent => {
                for message in &self.asked {
                    publisher.send(black_box(message)).unwrap();
                }
            }
            How::SentInBatches => {
                for batch in self.asked.chunks(BATCH) {
                    publisher.send_batch(black_box(batch)).unwrap();
                }
            }
        }
        let time = begin.elapsed();
        assert_eq!(counted + told(&publisher) - before, MATCHES);
        self.best = self.best.min(time.as_nanos() as f64 / MATCHES as f64);
    }
}

/// The smallest index that there can be, of which one place is read before a match among a thousand.
struct Least<'a> {
    publisher: &'a RefCell<Pub>,
    /// Zeros, which only whoever reads them knows.
    words: Vec<u64>,
    /// Nanoseconds per match, in the best round.
    best: f64,
}

impl<'a> Least<'a> {
    fn new(stage: &'a Stage) -> Self {
        Least {
            publisher: &stage.publisher,
            // Written, so that each has memory of its own.
            words: (0..LEAST / size_of::<u64>())
                .map(|_| black_box(0))
                .collect(),
            best: f64::INFINITY,
        }
    }

    /// Matches `few` as `all` go by, of which each tells a place.
    fn round(&mut self, few: &Row, all: &Row) {
        let publisher = self.publisher.borrow();
        let begin = Instant::now();
        let mut matched = 0;
        for (n, message) in all.asked.iter().enumerate() {
            let hash = message.chunks_exact(8).fold(0_u64, |hash, word| {
                let word = u64::from_le_bytes(word.try_into().unwrap());
                let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                mixed ^ mixed >> 32
            });
            let found = self.words[(hash % self.words.len() as u64) as usize] as usize;
            // Of the few again and again the same, so that reading them takes nothing from the caches.
            let message = &few.asked[(n ^ found) % FEW];
            matched += publisher.subscriber_count(black_box(message));
        }
        let time = begin.elapsed();
        assert_eq!(matched, MATCHES);
        self.best = self.best.min(time.as_nanos() as f64 / MATCHES as f64);
    }
}

/// As much memory as the index takes, to be read in between: what is in a cache of it is what is left there by the rows.
struct Memory {
    words: Vec<usize>,
    /// Nanoseconds per read, in the best round.
    best: f64,
}

impl Memory {
    fn new() -> Self {
        let words = INDEX / size_of::<usize>();
        Memory {
            words: (0..words).map(|n| Memory::next(n, words)).collect(),
            best: f64::INFINITY,
        }
    }

    fn next(n: usize, words: usize) -> usize {
        n.wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407)
            % words
    }

    /// Reads one word after the other, of which each names the next.
    fn round(&mut self) {
        let words = self.words.len();
        let begin = Instant::now();
        let mut at = 1;
        for n in 0..MATCHES {
            at = Memory::next(self.words[at] ^ n, words);
        }
        black_box(at);
        let time = begin.elapsed().as_nanos() as f64 / MATCHES as f64;
        self.best = self.best.min(time);
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    const ALL: [How; 4] = [
        How::Counted,
        How::CountedInBatches,
        How::Sent,
        How::SentInBatches,
    ];
    // Run as a test it only shows that it works.
    if std::env::args().any(|argument| argument == "--test") {
        let stage = Stage::new(FEW)?;
        for how in ALL {
            let row = Row::new(String::new(), &stage, FEW);
            Row { how, ..row }.round();
        }
        return Ok(ExitCode::SUCCESS);
    }
    let few = Stage::new(FEW)?;
    let many = Stage::new(MANY)?;
    let [mut rows, mut batches, mut sent, mut sent_in_batches] =
        ALL.map(|how| Row::three(&few, &many, how));
    let mut memory = Memory::new();
    let mut smallest = Least::new(&few);
    for _ in 0..ROUNDS {
        rows.iter_mut().for_each(Row::round);
        memory.round();
        // Twice, so that the memory is in what caches it can be in.
        smallest.round(&rows[0], &rows[2]);
        smallest.round(&rows[0], &rows[2]);
        for _ in 0..BATCH_ROUNDS {
            batches.iter_mut().for_each(Row::round);
        }
        sent.iter_mut().for_each(Row::round);
        sent_in_batches.iter_mut().for_each(Row::round);
    }
    let read = memory.best;
    let least = rows[0].best;
    for rows in [&rows, &batches, &sent, &sent_in_batches] {
        for Row { name, best, .. } in rows {
            println!(
                "{name}: {best:.0} ns per match, {:.2} x",
                best / rows[0].best
            );
        }
    }
    let with_read = least + read;
    println!(
        "one read in 20 MiB: {read:.0} ns; with a match among {FEW}: {:.2} x",
        with_read / least
    );
    println!(
        "one read in {:.1} MiB, then a match among {FEW}: {:.0} ns, {:.2} x",
        LEAST as f64 / f64::from(1 << 20),
        smallest.best,
        smallest.best / least
    );
    let twice = MOST * least;
    let bounds = [twice, twice.max(MOST_WITH_READ * with_read)];
    let in_batches = [MOST * batches[0].best; 2];
    let bounded = rows[1..].iter().zip(bounds);
    let bounded = bounded.chain(batches[1..].iter().zip(in_batches));
    let mut code = ExitCode::SUCCESS;
    for (Row { name, best, .. }, bound) in bounded {
        if *best > bound {
            eprintln!("too slow: {name} took {best:.0} ns, expected at most {bound:.0}");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
