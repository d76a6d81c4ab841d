//! A count of cache lines that move between threads (`--cfg sinew_sharing`, `scripts/sharing`).
//!
//! Two cores cannot show whether eight would scale. What they would wait for is known, though: a line of
//! memory that one core has written and another wants. So in this build every atomic and every lock of
//! the crate ([`super::noted`]) tells here which line it touches, and the caches of a machine with a core
//! for each thread are simulated: per line of 64 octets, who has a copy, and whether it is the only one
//! that counts (the protocol MSI, without capacity: nothing is ever evicted). An access that finds its
//! line is free. One that takes it from another core, or takes it away from others in order to write, is
//! a *transfer*. The key is the line, not the variable, so variables that merely lie side by side show.
//!
//! A machine with few cores runs its threads in slices of milliseconds, in which one fills a queue that
//! another then empties, and hardly a line moves. So a thread lets others on after some accesses
//! ([`interleave`]): all advance side by side, as they would with a core each.
//!
//! Not seen: what is not an atomic or a lock (octets in pipes and buffers, which have to move), the counts
//! within `Arc` and `Bytes`, the allocator, and the kernel.
//!
//! This is a tool, and no part of the API. It allocates and locks as it likes: it is not in other builds.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Octets of a line.
const LINE: usize = 64;

/// Threads that can be told apart: one bit of a mask each. Accesses of more are counted as overlooked.
const THREADS: usize = 64;

/// Locks over the lines, so that threads seldom wait for each other here.
const SHARDS: usize = 1024;

/// Where in the source an access is.
type Site = &'static Location<'static>;

/// A thread, as the simulation knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thread {
    number: u32,
    /// Which of the independent parts of the load it works for, if for one only.
    pair: Option<usize>,
}

/// What is known of one line.
#[derive(Debug, Default)]
struct Line {
    /// The threads that have a copy.
    sharers: u64,
    /// There is one copy, and it was written.
    modified: bool,
    /// Who wrote last, of the threads that work for one pair, and of those that work for any.
    last_pair: Option<usize>,
    last_other: Option<u32>,
    /// Where it was written last.
    written_at: Option<Site>,
}

/// The transfers that one thread asked for: by where it did, and by where the line was last written.
type Transfers = HashMap<(Site, Option<Site>), Place>;

/// The simulated machine.
struct Machine {
    lines: Vec<Mutex<HashMap<usize, Line>>>,
    transfers: Vec<Mutex<Transfers>>,
    counting: AtomicBool,
    threads: AtomicUsize,
    overlooked: AtomicU64,
    /// Accesses between two yields of a thread.
    grain: AtomicUsize,
}

/// What moves because of one place in the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Accesses for which a line had to move, or copies of it had to go.
    pub transfers: u64,
    /// Writes to a line that another pair had written last, or, by a thread that works for all pairs,
    /// another such thread.
    pub crossings: u64,
}

/// What [`end`] returns.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Count {
    /// All places together.
    pub total: Place,
    /// By the place of the access, and the place of the last write to that line: as `file:line`. The
    /// most transfers first.
    pub places: Vec<(String, String, Place)>,
    /// Accesses of threads beyond the 64 that can be told apart: 0, or the count is too low.
    pub overlooked: u64,
}

/// The calling thread works for this pair of sockets only, from now on.
pub fn of_pair(pair: usize) {
    PAIR.with(|of| of.set(Some(pair)));
}

/// A thread yields its processor after so many accesses, from now on. 0, as in the beginning: never.
pub fn interleave(accesses: usize) {
    machine().grain.store(accesses, Ordering::SeqCst);
}

/// Begins to count. What the caches hold is known from before.
pub fn begin() {
    let machine = machine();
    for transfers in &machine.transfers {
        lock(transfers).clear();
    }
    machine.overlooked.store(0, Ordering::SeqCst);
    machine.counting.store(true, Ordering::SeqCst);
}

/// Ends what [`begin`] began.
#[must_use]
pub fn end() -> Count {
    let machine = machine();
    machine.counting.store(false, Ordering::SeqCst);
    let mut places = HashMap::<(String, String), Place>::new();
    let mut total = Place::default();
    for transfers in &machine.transfers {
        for ((site, written_at), place) in lock(transfers).iter() {
            let name = |site: Option<Site>| match site {
                Some(site) => format!("{}:{}", site.file(), site.line()),
                None => "-".to_owned(),
            };
            let sum = places
                .entry((name(Some(site)), name(*written_at)))
                .or_default();
            for sum in [sum, &mut total] {
                sum.transfers += place.transfers;
                sum.crossings += place.crossings;
            }
        }
    }
    let mut places: Vec<_> = places
        .into_iter()
        .map(|((site, written_at), place)| (site, written_at, place))
        .collect();
    places.sort_by(|a, b| (b.2.transfers, &a.0, &a.1).cmp(&(a.2.transfers, &b.0, &b.1)));
    Count {
        total,
        places,
        overlooked: machine.overlooked.load(Ordering::SeqCst),
    }
}

/// Notes an access to the `len` octets at `address`.
pub(super) fn note(address: usize, len: usize, write: bool, site: Site) {
    let machine = machine();
    let Some(thread) = this_thread(machine) else {
        if machine.counting.load(Ordering::Relaxed) {
            machine.overlooked.fetch_add(1, Ordering::Relaxed);
        }
        return;
    };
    for line in address / LINE..=(address + len.max(1) - 1) / LINE {
        let (seen, written_at) = {
            let mut lines = lock(&machine.lines[shard(line)]);
            let line = lines.entry(line).or_default();
            let written_at = line.written_at;
            (line.access(thread, write, site), written_at)
        };
        if seen != Place::default() && machine.counting.load(Ordering::Relaxed) {
            let mut transfers = lock(&machine.transfers[thread.number as usize]);
            let place = transfers.entry((site, written_at)).or_default();
            place.transfers += seen.transfers;
            place.crossings += seen.crossings;
        }
    }
    let grain = machine.grain.load(Ordering::Relaxed);
    let accesses = ACCESSES.get() + 1;
    if grain != 0 && accesses >= grain {
        ACCESSES.set(0);
        std::thread::yield_now();
    } else {
        ACCESSES.set(accesses);
    }
}

impl Line {
    /// What an access by this thread costs, and what is known after it.
    fn access(&mut self, thread: Thread, write: bool, site: Site) -> Place {
        let own = 1 << thread.number;
        let mut place = Place::default();
        if !write {
            if self.sharers & own == 0 {
                // What nobody has comes from memory, and what others have comes from them.
                place.transfers = u64::from(self.sharers != 0);
                self.sharers |= own;
                self.modified = false;
            }
            return place;
        }
        place.transfers = u64::from(self.sharers & !own != 0);
        self.sharers = own;
        self.modified = true;
        self.written_at = Some(site);
        let crosses = match thread.pair {
            Some(pair) => self
                .last_pair
                .replace(pair)
                .is_some_and(|last| last != pair),
            None => self
                .last_other
                .replace(thread.number)
                .is_some_and(|last| last != thread.number),
        };
        place.crossings = u64::from(crosses);
        place
    }
}

thread_local! {
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    static ACCESSES: Cell<usize> = const { Cell::new(0) };
    static PAIR: Cell<Option<usize>> = const { Cell::new(None) };
}

fn this_thread(machine: &Machine) -> Option<Thread> {
    let number = NUMBER.get().unwrap_or_else(|| {
        let number = machine.threads.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(Some(number));
        number
    });
    (number < THREADS).then(|| Thread {
        number: number as u32,
        pair: PAIR.get(),
    })
}

fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| Machine {
        lines: (0..SHARDS).map(|_| Mutex::default()).collect(),
        transfers: (0..THREADS).map(|_| Mutex::default()).collect(),
        counting: AtomicBool::new(false),
        threads: AtomicUsize::new(0),
        overlooked: AtomicU64::new(0),
        grain: AtomicUsize::new(0),
    })
}

/// Neighbours are in different shards: they are used together.
fn shard(line: usize) -> usize {
    line % SHARDS
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u32, pair: Option<usize>) -> Thread {
        Thread { number, pair }
    }

    /// Of each access in turn: whether it is a transfer, and whether it crosses.
    fn run(accesses: &[(Thread, bool)]) -> Vec<(u64, u64)> {
        let mut line = Line::default();
        accesses
            .iter()
            .map(|&(thread, write)| {
                let place = line.access(thread, write, Location::caller());
                (place.transfers, place.crossings)
            })
            .collect()
    }

    #[test]
    fn a_line_of_one_thread_stays() {
        let a = of(0, Some(0));
        let all = run(&[(a, false), (a, true), (a, false), (a, true)]);
        assert_eq!(all, [(0, 0); 4]);
    }

    #[test]
    fn a_line_goes_to_each_reader_once_and_back_for_a_write() {
        let (a, b, c) = (of(0, Some(0)), of(1, Some(0)), of(2, None));
        let all = run(&[
            (a, true),
            (b, false),
            (b, false),
            (c, false),
            (a, false),
            (a, true),
            (a, true),
            (b, false),
        ]);
        let transfers: Vec<u64> = all.iter().map(|(transfers, _)| *transfers).collect();
        assert_eq!(transfers, [0, 1, 0, 1, 0, 1, 0, 1]);
        assert!(all.iter().all(|(_, crossings)| *crossings == 0));
    }

    #[test]
    fn writes_of_two_pairs_or_of_two_io_threads_cross() {
        let (a, b) = (of(0, Some(0)), of(1, Some(1)));
        let (x, y) = (of(2, None), of(3, None));
        let all = run(&[
            (a, true),
            (x, true),
            (a, true),
            (b, true),
            (y, true),
            (y, true),
        ]);
        let crossings: Vec<u64> = all.iter().map(|(_, crossings)| *crossings).collect();
        assert_eq!(crossings, [0, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn variables_on_one_line_are_one() {
        #[repr(align(64))]
        struct Both([super::super::atomic::AtomicU64; 2]);
        let both = std::sync::Arc::new(Both(Default::default()));
        let step = std::sync::Arc::new(std::sync::Barrier::new(2));
        begin();
        let other = {
            let (both, step) = (both.clone(), step.clone());
            std::thread::spawn(move || {
                for _ in 0..10 {
                    both.0[1].fetch_add(1, Ordering::Relaxed);
                    step.wait();
                    step.wait();
                }
            })
        };
        for _ in 0..10 {
            step.wait();
            both.0[0].fetch_add(1, Ordering::Relaxed);
            step.wait();
        }
        other.join().expect("it does not panic");
        let count = end();
        let here = file!();
        let seen: u64 = count
            .places
            .iter()
            .filter(|(site, _, _)| site.starts_with(here))
            .map(|(_, _, place)| place.transfers)
            .sum();
        assert_eq!(seen, 19, "each takes it from the other, but for the first");
        assert_eq!(count.overlooked, 0);
    }
}
