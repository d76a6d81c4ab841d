//! What it takes to find the receivers of a message among few subscriptions and among many: a command that
//! prints the time per match, and fails (exit code 1) if the number of other subscriptions counts.
//!
//! ```sh
//! cargo bench --bench subscriptions
//! ```
//!
//! A hundred subscribers over inproc hold all topics between them, each topic once. The topics are of six kinds: such as
//! are made of parts, `site/07/rack/003/host12/m`, such as have a number, `sensor/123456/temperature`, such as have nothing
//! in common, 24 random octets, such as have many lengths, 8 to 24 letters, such as are of three words with dots, a hundred
//! in each place, of 11 to 32 octets, and such as begin one another, `topic/123456`, of which a message has six or so among
//! a million, and three among a thousand. Of each kind there are a thousand, and a million; and of the messages, too: among
//! a million topics there are those of the first thousand, so that what makes the difference is the other subscriptions,
//! and those of all of them, so that what each needs was last needed a million messages ago. A thousand are matched twice:
//! by the tree, as so few are, and by the index that many have, which a publisher keeps for some time if it had many before;
//! the faster of the two is what the others are held against. Messages come at random, one by one and in batches, and are
//! made in places of memory that the processor has at hand. A row is begun with as many messages as are timed then.
//!
//! Among a million a match may take twice as long as among a thousand. That is so for topics of parts and with a number, and
//! for those that have nothing in common, but for messages one by one of all topics of these. They may take twice as long
//! as a match among a thousand and one read of as much memory as their index takes, if that is more. Whether twice can be
//! had for them at all is measured beside it, as the least that any index would take: a match among a thousand, and before
//! it one read of a place that the message tells, in as little memory as a million such topics can be known by. What takes
//! octets that are no topic for one once in 2⁴⁶ times has to keep 46 bits for each topic at least (Carter et al., "Exact and
//! approximate membership testers", 1978), and 7 more to name one of a hundred subscribers: 6.3 MiB.
//!
//! Of topics of many lengths, which the last three kinds are, twice is not true. A match has to find out first which lengths
//! are to be looked for, and then wait for memory a second time; of those that begin one another it has to find twice as
//! many. So their bounds are wider, and only there for it to be noticed if it were a walk along the tree again: twice a match
//! among a thousand and two reads of memory (three if topics are of words, of which some are looked for in two places), for
//! messages one by one of all topics, and ten times a match among a thousand for others.
//!
//! Of each, the best of some rounds counts, which take turns: what else the machine does at the time is in
//! the others.
//!
//! What is timed is [`Pub::subscriber_count`], which is the matching that `send` does, and its lock; of batches
//! [`Pub::subscriber_counts`], which is the matching that `send_batch` does, and its locks, with a list of a thousand
//! counts. What `send` and `send_batch` take is shown as well, without a bound: the subscribers receive nothing and have
//! no room, so that it is the matching, and finding out that the one receiver of the message is full.

use std::cell::RefCell;
use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sinew::{Pub, Sub};

const SUBSCRIBERS: usize = 100;
/// Matches that are timed together.
const MATCHES: usize = 1_000_000;
/// Of these, that are asked for at once.
const BATCH: usize = 1_000;
const ROUNDS: usize = 7;
/// How much longer it may take among the most than among the fewest.
const MOST: f64 = 2.0;
/// If topics have many lengths.
const MOST_OF_MANY_LENGTHS: f64 = 10.0;
/// The octets of the index of topics that have nothing in common.
const INDEX: usize = 20 << 20;
/// And of the smallest that there can be.
const LEAST: usize = MANY * (46 + 7) / 8;

const FEW: usize = 1_000;
/// So many that they have an index, and what is left when some have gone: few, and they have it still.
const INDEXED: std::ops::Range<usize> = 1_100..5_000;
const MANY: usize = 1_000_000;

/// A topic, or a message of it.
type Topic = [u8; 32];

/// Octets of a topic that has nothing in common with others; its message is of as many, and eight more.
const RANDOM: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OfParts,
    Numbered,
    Random,
    OfManyLengths,
    OfWords,
    Nested,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::OfParts,
        Kind::Numbered,
        Kind::Random,
        Kind::OfManyLengths,
        Kind::OfWords,
        Kind::Nested,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::OfParts => "",
            Kind::Numbered => " with a number",
            Kind::Random => " with nothing in common",
            Kind::OfManyLengths => " of many lengths",
            Kind::OfWords => " of three words",
            Kind::Nested => " that begin one another",
        }
    }

    /// How much longer a match may take among many, but for messages of all topics one by one.
    fn most(self) -> f64 {
        match self {
            Kind::OfParts | Kind::Numbered | Kind::Random => MOST,
            Kind::OfManyLengths | Kind::OfWords | Kind::Nested => MOST_OF_MANY_LENGTHS,
        }
    }

    /// For how many reads of memory these may take time beside.
    fn reads(self) -> f64 {
        match self {
            Kind::OfParts | Kind::Numbered => 0.0,
            Kind::Random => 1.0,
            Kind::OfManyLengths => 2.0,
            Kind::OfWords | Kind::Nested => 3.0,
        }
    }

    /// One of the topics, and how many octets of the message it is.
    fn topic(self, n: usize) -> (Topic, usize) {
        let mut octets = [b' '; 32];
        match self {
            Kind::OfParts | Kind::Numbered | Kind::Nested => {
                let mut rest = &mut octets[..];
                let (site, rack, host) = (n % 50, n / 50 % 200, n / 10_000);
                match self {
                    Kind::Numbered => write!(rest, "sensor/{n}/temperature"),
                    Kind::Nested => write!(rest, "topic/{n}"),
                    _ => write!(rest, "site/{site:02}/rack/{rack:03}/host{host}/m"),
                }
                .unwrap();
                let len = 32 - rest.len();
                (octets, len)
            }
            Kind::Random => {
                for (at, octets) in octets[..RANDOM].chunks_exact_mut(8).enumerate() {
                    octets.copy_from_slice(&random((3 * n + at) as u64).to_le_bytes());
                }
                (octets, RANDOM)
            }
            Kind::OfManyLengths => {
                let len = 8 + random(n as u64) as usize % 17;
                for (at, octet) in octets[..len].iter_mut().enumerate() {
                    *octet = b'a' + (random((25 * n + at) as u64) % 26) as u8;
                }
                (octets, len)
            }
            Kind::OfWords => {
                let mut len = 0;
                for place in 0..3 {
                    let word = 100 * place + n / 100_usize.pow(place as u32) % 100;
                    let letters = 3 + random(word as u64) as usize % 8;
                    for letter in 0..letters {
                        octets[len + letter] =
                            b'a' + (random((1000 * word + letter) as u64) % 26) as u8;
                    }
                    len += letters;
                    if place < 2 {
                        octets[len] = b'.';
                        len += 1;
                    }
                }
                (octets, len)
            }
        }
    }
}

/// A number by which nobody could tell the one it is made of (Steele et al., "Fast splittable pseudorandom number
/// generators", 2014).
fn random(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// A publisher and those who hold so many topics between them.
struct Stage {
    kind: Kind,
    publisher: RefCell<Pub>,
    _subs: Vec<Sub>,
}

impl Stage {
    fn new(kind: Kind, topics: usize) -> Result<Self, Box<dyn std::error::Error>> {
        Stage::after(kind, topics, topics)
    }

    /// With so many topics, when there have been more.
    fn after(kind: Kind, topics: usize, most: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let mut publisher = Pub::builder().send_hwm(1).build()?;
        let endpoint = publisher.bind(format!("inproc://subscriptions-{kind:?}-{most}"))?;
        let mut subs = Vec::new();
        for first in 0..SUBSCRIBERS {
            let mut sub = Sub::builder().recv_hwm(1).connect(&endpoint)?;
            for n in (first..most).step_by(SUBSCRIBERS) {
                let (topic, len) = kind.topic(n);
                sub.subscribe(&topic[..len])?;
            }
            subs.push(sub);
        }
        for n in topics..most {
            let (topic, len) = kind.topic(n);
            assert!(subs[n % SUBSCRIBERS].unsubscribe(&topic[..len]));
        }
        assert_eq!(publisher.topic_count(), topics);
        Ok(Stage {
            kind,
            publisher: RefCell::new(publisher),
            _subs: subs,
        })
    }
}

/// Matches that are timed.
struct Row<'a> {
    name: String,
    stage: &'a Stage,
    how: How,
    /// Of how many of the first topics it asks.
    topics: usize,
    /// How many it has asked for.
    asked: u64,
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
    /// Few topics in a tree and in an index, the same messages among many, and of all of these.
    fn four([few, indexed, many]: [&'a Stage; 3], how: How) -> [Self; 4] {
        let what = match how {
            How::Counted => "",
            How::CountedInBatches => ", in batches",
            How::Sent => ", sent to who is full",
            How::SentInBatches => ", sent in batches to who is full",
        };
        let kind = few.kind.name();
        let row = |name, stage, topics| Row {
            name,
            stage,
            how,
            topics,
            asked: 0,
            best: f64::INFINITY,
        };
        [
            row(format!("among {FEW} topics{kind}{what}"), few, FEW),
            row(
                format!("among {}, with an index{what}", INDEXED.start),
                indexed,
                FEW,
            ),
            row(format!("among {MANY}, the same messages{what}"), many, FEW),
            row(
                format!("among {MANY}, of all of their topics{what}"),
                many,
                MANY,
            ),
        ]
    }

    /// The next messages. They are so few that they stay in the caches next to the processor, where a sender's is.
    fn messages(&mut self) -> [Topic; BATCH] {
        std::array::from_fn(|_| {
            self.asked += 1;
            let (message, _) = self
                .stage
                .kind
                .topic(random(self.asked) as usize % self.topics);
            message
        })
    }

    /// Once to have what it needs in the caches it fits into, and once for the figure.
    fn rounds(&mut self) {
        self.round();
        let time = self.round();
        self.best = self.best.min(time);
    }

    /// Nanoseconds per match.
    fn round(&mut self) -> f64 {
        let stage = self.stage;
        let mut publisher = stage.publisher.borrow_mut();
        let told = |publisher: &Pub| {
            let stats = publisher.stats();
            (stats.messages_sent + stats.dropped_full) as usize
        };
        let before = told(&publisher);
        let mut counted = 0;
        let mut time = Duration::ZERO;
        for _ in 0..MATCHES / BATCH {
            let messages = self.messages();
            let begin = Instant::now();
            match self.how {
                How::Counted => {
                    for message in &messages {
                        counted += publisher.subscriber_count(black_box(message));
                    }
                }
                How::CountedInBatches => {
                    let counts = publisher.subscriber_counts(black_box(&messages));
                    counted += counts.iter().sum::<usize>();
                }
                How::Sent => {
                    for message in &messages {
                        publisher.send(black_box(message)).unwrap();
                    }
                }
                How::SentInBatches => {
                    publisher.send_batch(black_box(&messages)).unwrap();
                }
            }
            time += begin.elapsed();
        }
        let receivers = counted + told(&publisher) - before;
        assert!(receivers == MATCHES || stage.kind == Kind::Nested && receivers > MATCHES);
        time.as_nanos() as f64 / MATCHES as f64
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

    fn rounds(&mut self, few: &mut Row, all: &mut Row) {
        self.round(few, all);
        let time = self.round(few, all);
        self.best = self.best.min(time);
    }

    /// Matches `few` as `all` go by, of which each tells a place.
    fn round(&self, few: &mut Row, all: &mut Row) -> f64 {
        let publisher = self.publisher.borrow();
        let mut time = Duration::ZERO;
        let mut matched = 0;
        for _ in 0..MATCHES / BATCH {
            let [few, all] = [few.messages(), all.messages()];
            let begin = Instant::now();
            for (n, message) in all.iter().enumerate() {
                let hash = message.chunks_exact(8).fold(0_u64, |hash, word| {
                    let word = u64::from_le_bytes(word.try_into().unwrap());
                    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    mixed ^ mixed >> 32
                });
                let found = self.words[(hash % self.words.len() as u64) as usize] as usize;
                let message = &few[n ^ found];
                matched += publisher.subscriber_count(black_box(message));
            }
            time += begin.elapsed();
        }
        assert_eq!(matched, MATCHES);
        time.as_nanos() as f64 / MATCHES as f64
    }
}

/// As much memory as the index takes, to be read.
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

    fn rounds(&mut self) {
        self.round();
        let time = self.round();
        self.best = self.best.min(time);
    }

    /// Reads one word after the other, of which each names the next.
    fn round(&self) -> f64 {
        let words = self.words.len();
        let begin = Instant::now();
        let mut at = 1;
        for n in 0..MATCHES {
            at = Memory::next(self.words[at] ^ n, words);
        }
        black_box(at);
        begin.elapsed().as_nanos() as f64 / MATCHES as f64
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
        for kind in Kind::ALL {
            let stage = Stage::new(kind, FEW)?;
            for how in ALL {
                let [mut row, ..] = Row::four([&stage; 3], how);
                row.round();
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let stages = |kind| -> Result<_, Box<dyn std::error::Error>> {
        let few = Stage::new(kind, FEW)?;
        let indexed = Stage::after(kind, INDEXED.start, INDEXED.end)?;
        Ok([few, indexed, Stage::new(kind, MANY)?])
    };
    let mut all = Vec::new();
    for kind in Kind::ALL {
        all.push(stages(kind)?);
    }
    let random = |stages: &&[Stage; 3]| stages[0].kind == Kind::Random;
    let mut smallest = all.iter().find(random).map(|[few, ..]| Least::new(few));
    let mut rows = Vec::new();
    for stages in &all {
        // What is sent takes as long in addition whatever the topics are.
        let hows = match stages[0].kind {
            Kind::OfParts => &ALL[..],
            _ => &ALL[..2],
        };
        rows.extend(hows.iter().map(|how| Row::four(stages.each_ref(), *how)));
    }
    let mut memory = Memory::new();
    let is_random =
        |rows: &[Row; 4]| rows[0].stage.kind == Kind::Random && matches!(rows[0].how, How::Counted);
    for _ in 0..ROUNDS {
        rows.iter_mut().flatten().for_each(Row::rounds);
        memory.rounds();
        if let (Some(smallest), Some([few, _, _, all])) =
            (&mut smallest, rows.iter_mut().find(|rows| is_random(rows)))
        {
            smallest.rounds(few, all);
        }
    }
    let mut code = ExitCode::SUCCESS;
    // Of few, the faster.
    let least = |rows: &[Row; 4]| rows[0].best.min(rows[1].best);
    for rows in &rows {
        let least = least(rows);
        let kind = rows[0].stage.kind;
        let is_bound = matches!(rows[0].how, How::Counted | How::CountedInBatches);
        for (
            n,
            Row {
                name, how, best, ..
            },
        ) in rows.iter().enumerate()
        {
            println!("{name}: {best:.0} ns per match, {:.2} x", best / least);
            let with_reads = MOST * (rows[0].best + kind.reads() * memory.best);
            let bound = match how {
                How::Counted if n == 3 && kind.reads() > 0.0 => with_reads.max(kind.most() * least),
                _ => kind.most() * least,
            };
            if is_bound && n > 1 && *best > bound {
                eprintln!("too slow: {name} took {best:.0} ns, expected at most {bound:.0}");
                code = ExitCode::FAILURE;
            }
        }
    }
    if let (Some(smallest), Some(random)) = (smallest, rows.iter().find(|rows| is_random(rows))) {
        let one_by_one = random[0].best;
        println!(
            "one read in 20 MiB: {:.0} ns; with a match among {FEW}: {:.2} x",
            memory.best,
            (one_by_one + memory.best) / one_by_one
        );
        println!(
            "one read in {:.1} MiB, then a match among {FEW}: {:.0} ns, {:.2} x",
            LEAST as f64 / f64::from(1 << 20),
            smallest.best,
            smallest.best / least(random)
        );
    }
    Ok(code)
}
