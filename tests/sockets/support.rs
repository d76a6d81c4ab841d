//! What the tests share: endpoints of every transport, a watchdog, numbered messages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use sinew::{Message, Monitor, SocketEvent};

#[path = "../support/random.rs"]
mod random;
pub(crate) use random::Random;

/// The watchdog: longer than anything that works takes, however busy the machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Long enough that what is under way on loopback shows, short enough to be repeated. Nothing depends
/// on its being long enough: a test that finds something where nothing should be has found a bug, one
/// that finds nothing has proved the less.
pub(crate) const SHORT: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Net {
    Tcp4,
    Tcp6,
    IpcPath,
    IpcWildcard,
    IpcAbstract,
    Inproc,
    #[cfg(feature = "ws")]
    Ws,
}

/// One of each kind, for tests that do not look at addresses.
pub(crate) const KINDS: &[Net] = &[
    Net::Tcp4,
    Net::IpcWildcard,
    Net::Inproc,
    #[cfg(feature = "ws")]
    Net::Ws,
];

/// Those with a connection that can be lost.
pub(crate) const STREAMS: &[Net] = &[
    Net::Tcp4,
    Net::IpcWildcard,
    #[cfg(feature = "ws")]
    Net::Ws,
];

impl Net {
    /// Something to bind to that nobody else uses.
    pub(crate) fn fresh(self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = std::process::id();
        match self {
            Net::Tcp4 => "tcp://127.0.0.1:*".into(),
            Net::Tcp6 => "tcp://[::1]:*".into(),
            Net::IpcPath => {
                let path = std::env::temp_dir().join(format!("sinew-{own}-{n}.sock"));
                format!("ipc://{}", path.display())
            }
            Net::IpcWildcard => "ipc://*".into(),
            Net::IpcAbstract => format!("ipc://@sinew-{own}-{n}"),
            Net::Inproc => format!("inproc://sinew-{n}"),
            #[cfg(feature = "ws")]
            Net::Ws => format!("ws://127.0.0.1:*/{n}"),
        }
    }

    /// An endpoint that nobody is bound to yet, and can be both connected to and bound.
    pub(crate) fn unbound(self) -> String {
        match self {
            // Below the ports that the system gives out, and (v4) on an address of its own: nobody takes
            // it in between.
            Net::Tcp4 | Net::Tcp6 => {
                static NEXT: AtomicU64 = AtomicU64::new(0);
                let own = u64::from(std::process::id());
                loop {
                    let n = NEXT.fetch_add(1, Ordering::Relaxed);
                    let port = 10_000 + (own * 97 + n) % 20_000;
                    let endpoint = match self {
                        Net::Tcp4 => {
                            format!("tcp://127.{}.{}.1:{port}", 1 + own % 250, own / 250 % 250)
                        }
                        _ => format!("tcp://[::1]:{port}"),
                    };
                    let mut probe = sinew::Pull::new();
                    if probe.bind(&endpoint).is_ok() {
                        probe.close();
                        return endpoint;
                    }
                }
            }
            Net::IpcWildcard => Net::IpcPath.fresh(),
            #[cfg(feature = "ws")]
            Net::Ws => Net::Tcp4.unbound().replacen("tcp", "ws", 1) + "/path",
            other => other.fresh(),
        }
    }

    pub(crate) fn is_present(self) -> bool {
        self != Net::Tcp6 || std::net::TcpListener::bind("[::1]:0").is_ok()
    }
}

/// A thread whose end is waited for under the watchdog.
pub(crate) struct Task<T>(Receiver<T>, JoinHandle<()>);

pub(crate) fn task<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    let (done, result) = channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(body());
    });
    Task(result, thread)
}

impl<T> Task<T> {
    #[track_caller]
    pub(crate) fn join(self) -> T {
        match self.0.recv_timeout(LONG) {
            Ok(value) => {
                let _ = self.1.join();
                value
            }
            Err(RecvTimeoutError::Timeout) => panic!("a task hangs"),
            Err(RecvTimeoutError::Disconnected) => match self.1.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("the task ended and told nothing"),
            },
        }
    }

    /// Whether it is done already.
    pub(crate) fn is_done(&self) -> bool {
        self.1.is_finished()
    }
}

/// 64 octets that begin with a sender and a number.
pub(crate) fn numbered(sender: u32, number: u32) -> Message {
    let mut octets = [0xA5; 64];
    octets[..4].copy_from_slice(&sender.to_le_bytes());
    octets[4..8].copy_from_slice(&number.to_le_bytes());
    Message::from(&octets[..])
}

pub(crate) fn number_of(message: &Message) -> (u32, u32) {
    let octets = message.as_bytes();
    assert_eq!(octets.len(), 64, "not a numbered message: {message:?}");
    assert!(octets[8..].iter().all(|octet| *octet == 0xA5), "damaged");
    let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap());
    (word(0), word(4))
}

/// `len` octets that differ from place to place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

#[track_caller]
pub(crate) fn await_event(
    monitor: &mut Monitor,
    what: &str,
    wanted: impl FnMut(&SocketEvent) -> bool,
) {
    assert!(monitor.wait_for(LONG, wanted).is_some(), "no event: {what}");
}

/// Looks until it is so, under the watchdog, yielding the processor.
#[track_caller]
pub(crate) fn await_true(what: &str, mut so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !so() {
        assert!(std::time::Instant::now() < end, "never came true: {what}");
        std::thread::yield_now();
    }
}
