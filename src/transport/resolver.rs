//! Name resolution, away from the I/O threads.
//!
//! The system's resolver blocks, sometimes for half a minute. So look-ups run on a few threads of
//! their own, which start when the first name is asked for and end when none has been for a while.
//! Literal addresses are answered at once and start nothing. The answers of both families are
//! interleaved, so that one dead family costs one attempt and not all of them (RFC 8305, section 4,
//! "Sorting Addresses").

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::interface;

/// Looks names up on threads of its own. Dropping it is [`Resolver::shutdown`].
#[derive(Debug)]
pub(crate) struct Resolver {
    shared: Arc<Shared>,
}

/// Which addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4Only,
    Both,
}

impl Family {
    /// What the `ipv6` option asks for.
    pub(crate) fn with_ipv6(ipv6: bool) -> Self {
        if ipv6 {
            Family::Both
        } else {
            Family::V4Only
        }
    }
}

/// Called exactly once per look-up.
type Callback = Box<dyn FnOnce(io::Result<Vec<SocketAddr>>) + Send>;
type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct Shared {
    state: Mutex<State>,
    /// A job was queued, or the resolver was shut down.
    changed: Condvar,
    lookup: Box<Lookup>,
    linger: Duration,
}

struct State {
    /// No longer than the number of endpoints that wait for their name.
    queue: VecDeque<Job>,
    /// Threads that run; never above `MAX_THREADS`.
    threads: usize,
    /// Threads among them that wait for a job.
    idle: usize,
    closed: bool,
}

struct Job {
    host: String,
    port: u16,
    family: Family,
    callback: Callback,
}

impl Resolver {
    /// A resolver that asks the system.
    pub(crate) fn new() -> Self {
        Resolver::with_lookup(LINGER, |host, port| {
            Ok((host, port).to_socket_addrs()?.collect())
        })
    }

    pub(crate) fn with_lookup<L>(linger: Duration, lookup: L) -> Self
    where
        L: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        Resolver {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    queue: VecDeque::new(),
                    threads: 0,
                    idle: 0,
                    closed: false,
                }),
                changed: Condvar::new(),
                lookup: Box::new(lookup),
                linger,
            }),
        }
    }

    /// Looks `host` up and calls `callback` exactly once: before this returns, if `host` is a literal
    /// or no thread can be had, else on a thread of the resolver. The addresses are at least one, all
    /// different, in the order in which they should be tried.
    ///
    /// A callback that panics ends that look-up only.
    ///
    /// What this does not promise: a time limit, or an end of look-ups that a caller has lost interest
    /// in.
    pub(crate) fn resolve(
        &self,
        host: &str,
        port: u16,
        family: Family,
        callback: impl FnOnce(io::Result<Vec<SocketAddr>>) + Send + 'static,
    ) {
        if let Some(addr) = literal(host, port) {
            let found = addr.and_then(|addr| arrange(vec![addr], family));
            return answer(Box::new(callback), found);
        }
        let job = Job {
            host: host.to_owned(),
            port,
            family,
            callback: Box::new(callback),
        };
        if let Some((job, error)) = self.shared.submit(job) {
            answer(job.callback, Err(error));
        }
    }

    /// Answers everything that is queued with an error, takes nothing more, and lets the threads end.
    /// Look-ups already with the system cannot be stopped; they are answered when they are done.
    /// Waits for nothing.
    pub(crate) fn shutdown(&self) {
        let queued = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        self.shared.changed.notify_all();
        for job in queued {
            answer(job.callback, Err(closed()));
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Shared {
    /// Queues a job and sees to it that a thread will take it; gives it back if none can.
    fn submit(self: &Arc<Self>, job: Job) -> Option<(Job, io::Error)> {
        let mut state = self.lock();
        if state.closed {
            return Some((job, closed()));
        }
        state.queue.push_back(job);
        if state.idle >= state.queue.len() || state.threads >= MAX_THREADS {
            drop(state);
            self.changed.notify_one();
            return None;
        }
        state.threads += 1;
        let shared = Arc::clone(self);
        // Under the lock, so that the count is right whatever comes of it. The new thread waits.
        let spawned = thread::Builder::new()
            .name("sinew-resolver".to_owned())
            .spawn(move || shared.run());
        match spawned {
            Ok(_) => None,
            Err(error) => {
                state.threads -= 1;
                // Other threads will come to it; if there are none, nobody would.
                if state.threads > 0 {
                    return None;
                }
                state.queue.pop_back().map(|job| (job, error))
            }
        }
    }

    /// The life of one thread.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                self.serve(job);
                state = self.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (guard, wait) = self
                .changed
                .wait_timeout(state, self.linger)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if wait.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }

    fn serve(&self, job: Job) {
        let found = catch_unwind(AssertUnwindSafe(|| (self.lookup)(&job.host, job.port)))
            .unwrap_or_else(|_| Err(io::Error::other("the look-up panicked")));
        answer(
            job.callback,
            found.and_then(|addrs| arrange(addrs, job.family)),
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Shared")
            .field("queued", &state.queue.len())
            .field("threads", &state.threads)
            .field("idle", &state.idle)
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

/// The address that is written in numbers, its zone by number or name; `None` for a name. Blocks on nothing.
///
/// The system's resolver knows names of zones of link-local addresses only, and takes every number.
///
/// # Errors
/// If no interface is the zone.
pub(super) fn literal(host: &str, port: u16) -> Option<io::Result<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(Ok(SocketAddr::new(ip, port)));
    }
    let (ip, zone) = host.split_once('%')?;
    let ip = ip.parse().ok()?;
    Some(interface::zone(zone).map(|index| SocketAddrV6::new(ip, port, 0, index).into()))
}

fn answer(callback: Callback, found: io::Result<Vec<SocketAddr>>) {
    // The panic hook has reported it; the other look-ups of this thread are not to blame.
    let _ = catch_unwind(AssertUnwindSafe(|| callback(found)));
}

/// The wanted addresses without repetition, families taking turns. The resolver's order stays within
/// each family, and its first choice stays first.
fn arrange(addrs: Vec<SocketAddr>, family: Family) -> io::Result<Vec<SocketAddr>> {
    let mut seen = HashSet::new();
    let (mut this, mut other) = (VecDeque::new(), VecDeque::new());
    let mut first = None;
    for addr in addrs {
        if (family == Family::V4Only && addr.is_ipv6()) || !seen.insert(addr) {
            continue;
        }
        if addr.is_ipv6() == *first.get_or_insert(addr.is_ipv6()) {
            this.push_back(addr);
        } else {
            other.push_back(addr);
        }
    }
    let mut arranged = Vec::with_capacity(this.len() + other.len());
    while let Some(addr) = this.pop_front() {
        arranged.push(addr);
        if !other.is_empty() {
            std::mem::swap(&mut this, &mut other);
        }
    }
    if arranged.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the host has no address of a wanted family",
        ));
    }
    Ok(arranged)
}

fn closed() -> io::Error {
    io::Error::other("name resolution was shut down")
}

/// Enough that one dead name server does not hold up the other names, few enough to be no burden.
const MAX_THREADS: usize = 4;

/// Above the longest gap between two attempts of a busy dialer, below what a process cares about.
const LINGER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::mpsc::{channel, Receiver};
    use std::sync::{Arc, Barrier, Mutex};
    use std::time::Duration;

    use super::{arrange, Family, Resolver, MAX_THREADS};

    /// A watchdog, not a delay: reached only by a test that fails.
    const WATCHDOG: Duration = Duration::from_secs(20);
    const LONG: Duration = Duration::from_secs(3600);

    fn addrs(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    type Answer = Receiver<io::Result<Vec<SocketAddr>>>;

    fn ask(resolver: &Resolver, host: &str) -> Answer {
        let (tx, rx) = channel();
        resolver.resolve(host, 7, Family::Both, move |found| tx.send(found).unwrap());
        rx
    }

    #[test]
    fn families_take_turns_after_the_first_choice() {
        let mixed = ["[::1]:7", "[::2]:7", "[::3]:7", "1.1.1.1:7", "[::1]:7"];
        assert_eq!(
            arrange(addrs(&mixed), Family::Both).unwrap(),
            addrs(&["[::1]:7", "1.1.1.1:7", "[::2]:7", "[::3]:7"])
        );
        let v4_first = ["1.1.1.1:7", "1.1.1.2:7", "[::1]:7", "[::2]:7", "[::3]:7"];
        assert_eq!(
            arrange(addrs(&v4_first), Family::Both).unwrap(),
            addrs(&["1.1.1.1:7", "[::1]:7", "1.1.1.2:7", "[::2]:7", "[::3]:7"])
        );
        assert_eq!(
            arrange(addrs(&mixed), Family::V4Only).unwrap(),
            addrs(&["1.1.1.1:7"])
        );
        assert!(arrange(addrs(&["[::1]:7"]), Family::V4Only).is_err());
        assert!(arrange(Vec::new(), Family::Both).is_err());
    }

    #[test]
    fn literals_are_answered_at_once_and_start_nothing() {
        let resolver = Resolver::with_lookup(LONG, |_, _| panic!("nothing to look up"));
        for (host, addr) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            let answer = ask(&resolver, host).try_recv().unwrap().unwrap();
            assert_eq!(answer, addrs(&[addr]));
        }
        let no_zone = ask(&resolver, "::1%no-such-if").try_recv().unwrap();
        assert_eq!(no_zone.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        #[cfg(target_os = "linux")]
        for host in ["::1%lo", "::1%1"] {
            let answer = ask(&resolver, host).try_recv().unwrap().unwrap();
            assert_eq!(answer, addrs(&["[::1%1]:7"]));
        }
        assert_eq!(resolver.shared.lock().threads, 0);
    }

    #[test]
    fn the_system_knows_localhost() {
        let resolver = Resolver::new();
        let found = ask(&resolver, "localhost").recv_timeout(WATCHDOG).unwrap();
        assert!(found.unwrap().iter().all(|addr| addr.ip().is_loopback()));
    }

    #[test]
    fn threads_are_bounded_and_all_of_them_work() {
        // Each look-up waits for three others: only four at a time get through.
        let meeting = Arc::new(Barrier::new(MAX_THREADS));
        let resolver = Resolver::with_lookup(LONG, move |_, _| {
            meeting.wait();
            Ok(addrs(&["1.2.3.4:7"]))
        });
        let answers: Vec<_> = (0..4 * MAX_THREADS).map(|_| ask(&resolver, "x")).collect();
        assert!(resolver.shared.lock().threads <= MAX_THREADS);
        for answer in answers {
            assert!(answer.recv_timeout(WATCHDOG).unwrap().is_ok());
        }
        assert_eq!(resolver.shared.lock().threads, MAX_THREADS);
    }

    #[test]
    fn panics_and_failures_end_their_own_look_up_only() {
        let resolver = Resolver::with_lookup(LONG, |host, _| match host {
            "panic" => panic!("part of the test"),
            "fail" => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(addrs(&["1.2.3.4:7"])),
        });
        for _ in 0..2 * MAX_THREADS {
            resolver.resolve("x", 7, Family::Both, |_| panic!("part of the test"));
        }
        let error = |host| {
            ask(&resolver, host)
                .recv_timeout(WATCHDOG)
                .unwrap()
                .unwrap_err()
        };
        assert_eq!(error("panic").to_string(), "the look-up panicked");
        assert_eq!(error("fail").kind(), io::ErrorKind::TimedOut);
        assert!(ask(&resolver, "x").recv_timeout(WATCHDOG).unwrap().is_ok());
    }

    #[test]
    fn idle_threads_end_and_new_ones_start() {
        let resolver = Resolver::with_lookup(Duration::ZERO, |_, _| Ok(addrs(&["1.2.3.4:7"])));
        for _ in 0..50 {
            assert!(ask(&resolver, "x").recv_timeout(WATCHDOG).unwrap().is_ok());
        }
        while resolver.shared.lock().threads > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn shutdown_answers_what_is_queued_and_what_comes_later() {
        let (release, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let resolver = Resolver::with_lookup(LONG, move |_, _| {
            let _ = gate.lock().unwrap().recv();
            Ok(addrs(&["1.2.3.4:7"]))
        });
        let answers: Vec<_> = (0..3 * MAX_THREADS).map(|_| ask(&resolver, "x")).collect();
        resolver.shutdown();
        let late = ask(&resolver, "x").try_recv().unwrap();
        assert!(late.is_err());
        let shared = Arc::clone(&resolver.shared);
        drop(resolver);
        // Every look-up is answered: those that were with the system when they are done.
        drop(release);
        let mut failed = 0;
        for answer in answers {
            failed += usize::from(answer.recv_timeout(WATCHDOG).unwrap().is_err());
        }
        assert!(failed >= 2 * MAX_THREADS, "{failed}");
        while shared.lock().threads > 0 {
            std::thread::yield_now();
        }
    }
}
