//! What the peers say to each other: message *n* of a seed, computed and not stored, so that every
//! side knows what each message must be and checks all of it; and a running checksum on top, which is
//! compared at the end. `tests/support/traffic.py` is the same, line by line.
//!
//! The octets of all messages are windows into one random pool whose period is prime, so that a frame
//! that is shifted, torn or swapped with another differs.

use std::sync::OnceLock;

/// The largest message: 4 MiB.
pub(crate) const LARGEST: usize = 4 * 1024 * 1024;

/// One message in this many is of the largest size exactly.
pub(crate) const LARGEST_EVERY: u64 = 50_000;

/// The largest prime below 2^18.
const PERIOD: usize = 262_139;

/// Numbers of frames, by four random bits: three messages in four are of a single frame.
const FRAMES: [usize; 16] = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5];

/// The messages of one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    seed: u64,
    pool: &'static [u8],
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        static POOL: OnceLock<Vec<u8>> = OnceLock::new();
        let pool = POOL.get_or_init(|| {
            let mut pool = Vec::with_capacity(PERIOD + LARGEST);
            let mut n = 0;
            while pool.len() < PERIOD {
                pool.extend_from_slice(&mix(n).to_le_bytes());
                n += 1;
            }
            pool.truncate(PERIOD);
            while pool.len() < PERIOD + LARGEST {
                let more = (PERIOD + LARGEST - pool.len()).min(PERIOD);
                pool.extend_from_within(..more);
            }
            pool
        });
        Traffic { seed, pool }
    }

    /// The frames of message `n`: at most 5. Sizes (all frames together): 99 in 100 up to 200 octets,
    /// most others up to 64 KiB, one in 32 768 up to 4 MiB.
    pub(crate) fn message(self, n: u64) -> impl Iterator<Item = &'static [u8]> {
        let x = mix(self.seed ^ mix(n));
        let size = match x & 0x7fff {
            _ if n % LARGEST_EVERY == LARGEST_EVERY / 2 => LARGEST,
            0 => (x >> 15) as usize & (LARGEST - 1),
            // Halved up to seven times, for sizes of every magnitude.
            1..=327 => ((x >> 15) as usize & 0xffff) >> ((x >> 31) & 7),
            _ => (((x >> 15) as usize & 0xff) * 201) >> 8,
        };
        let frames = FRAMES[(x >> 34) as usize & 15];
        let begin = (x >> 38) as usize % PERIOD;
        let mut rest = &self.pool[begin..begin + size];
        (1..=frames).map(move |i| {
            // Half of what is left, and everything to the last: small messages have empty frames.
            let take = if i == frames {
                rest.len()
            } else {
                rest.len() / 2
            };
            let (frame, others) = rest.split_at(take);
            rest = others;
            frame
        })
    }

    /// The topic that message `n` is published under.
    pub(crate) fn topic(self, n: u64) -> &'static [u8] {
        if is_kept(n) {
            KEPT
        } else {
            b"skip"
        }
    }

    /// The octets of message `n` on a connection: ZMTP frame headers included (37/ZMTP, "Framing").
    pub(crate) fn wire_size(self, n: u64) -> u64 {
        self.message(n)
            .map(|frame| frame.len() as u64 + if frame.len() > 255 { 9 } else { 2 })
            .sum()
    }
}

/// Begins the topics of what subscribers want.
pub(crate) const KEPT: &[u8] = b"keep";

/// What a publisher sends until it is told that its subscriber is there.
pub(crate) const SYNC: &[u8] = b"keep.sync";

/// Whether message `n` is one that subscribers want.
pub(crate) fn is_kept(n: u64) -> bool {
    n % 4 != 3
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*,
/// 2014).
fn mix(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A running checksum over messages: CRC-32 over the frames, with their sizes and number stirred in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checksum(u32);

impl Checksum {
    /// Adds one message.
    pub(crate) fn add<'a>(&mut self, frames: impl IntoIterator<Item = &'a [u8]>) {
        let mut count = 0u32;
        for frame in frames {
            count += 1;
            let start = self.0.wrapping_add(frame.len() as u32).wrapping_add(1);
            self.0 = crc32(frame, start);
        }
        self.0 = self.0.wrapping_mul(31).wrapping_add(count);
    }

    pub(crate) fn value(self) -> u32 {
        self.0
    }
}

/// CRC-32 as zlib computes it, going on from `crc`. Eight octets a step ("slicing by 8": Kounavis and
/// Berry, *A Systematic Approach to Building High Performance Software-Based CRC Generators*, 2005),
/// or it would take longer than the messages it checks.
fn crc32(octets: &[u8], crc: u32) -> u32 {
    static TABLES: OnceLock<Box<[[u32; 256]; 8]>> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let mut tables = Box::new([[0u32; 256]; 8]);
        for i in 0..256u32 {
            let mut entry = i;
            for _ in 0..8 {
                entry = (entry >> 1) ^ if entry & 1 == 1 { 0xedb8_8320 } else { 0 };
            }
            tables[0][i as usize] = entry;
        }
        for i in 0..256 {
            for t in 1..8 {
                let before = tables[t - 1][i];
                tables[t][i] = (before >> 8) ^ tables[0][before as usize & 0xff];
            }
        }
        tables
    });
    let mut crc = !crc;
    let mut chunks = octets.chunks_exact(8);
    for chunk in &mut chunks {
        let low = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) ^ crc;
        let high = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        crc = tables[7][low as usize & 0xff]
            ^ tables[6][(low >> 8) as usize & 0xff]
            ^ tables[5][(low >> 16) as usize & 0xff]
            ^ tables[4][(low >> 24) as usize]
            ^ tables[3][high as usize & 0xff]
            ^ tables[2][(high >> 8) as usize & 0xff]
            ^ tables[1][(high >> 16) as usize & 0xff]
            ^ tables[0][(high >> 24) as usize];
    }
    for octet in chunks.remainder() {
        crc = (crc >> 8) ^ tables[0][(crc as u8 ^ octet) as usize];
    }
    !crc
}

#[test]
fn the_checksum_is_that_of_zlib() {
    assert_eq!(crc32(b"123456789", 0), 0xcbf4_3926);
    assert_eq!(crc32(b"6789", crc32(b"12345", 0)), 0xcbf4_3926);
}

#[test]
fn a_million_messages_have_every_size_and_number_of_frames() {
    let traffic = Traffic::new(1);
    let mut by_frames = [0u32; 6];
    let (mut empty, mut largest, mut medium, mut total) = (0, 0, 0, 0);
    for n in 0..1_000_000 {
        let frames: Vec<_> = traffic.message(n).collect();
        let size: usize = frames.iter().map(|frame| frame.len()).sum();
        by_frames[frames.len()] += 1;
        empty += u32::from(size == 0);
        medium += u32::from((201..LARGEST).contains(&size));
        largest += u32::from(size == LARGEST);
        total += size;
    }
    assert!(
        by_frames[1..].iter().all(|count| *count > 50_000),
        "{by_frames:?}"
    );
    assert!(
        empty > 1000 && medium > 5000 && largest == 20,
        "{empty} {medium} {largest}"
    );
    // Affordable, or the tests would measure the memory.
    assert!((150_000_000..400_000_000).contains(&total), "{total}");
}
