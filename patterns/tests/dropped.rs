//! RPC-11: what calls leave behind that are dropped. The one test of its process, for it counts the memory and the
//! descriptors of the process.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::Duration;

use sinew::{Context, Message, Router, RoutingId};
use sinew_patterns::common::{CallOptions, Ext, Op, RetryPolicy};
use sinew_patterns::rpc::{Client, ClientConfig, Dialect};

#[path = "../../tests/hostile/heap.rs"]
#[allow(dead_code, reason = "shared; not all of it is needed here")]
mod heap;

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Descriptors of this process, where they are listed.
fn descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

/// RPC-11: ten thousand calls whose requests a server has, and that are dropped then, leave neither memory nor
/// descriptors, and their tasks are not woken by replies that come all the same.
#[test]
fn calls_that_are_dropped_leave_nothing() {
    const CALLS: usize = 10_000;
    /// Reached only if something hangs.
    const LONG: Duration = Duration::from_secs(60);
    let context = Context::default();
    let mut server = Router::builder().context(&context).build().unwrap();
    let at = server.bind("tcp://127.0.0.1:*").unwrap();
    let config = ClientConfig {
        dialect: Dialect::Ext,
        calls: CALLS + 1,
        in_flight: CALLS + 1,
        retry: RetryPolicy {
            attempt_timeout: LONG,
            ..RetryPolicy::default()
        },
        ..ClientConfig::default()
    };
    let client = Client::connect(&context, &[at], config).unwrap();
    let options = CallOptions {
        deadline: LONG,
        ..CallOptions::default()
    };
    // The next request, and how many were cancelled before it.
    let takes = |server: &mut Router| -> (RoutingId, Message, usize) {
        let mut cancelled = 0;
        loop {
            let (peer, message) = server.recv_from_timeout(LONG).unwrap();
            match Ext::decode(&message.frames()[2]).unwrap().unwrap().op {
                Op::Cancel => cancelled += 1,
                _ => return (peer, message, cancelled),
            }
        }
    };
    let (mut live, mut open) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut task = TaskContext::from_waker(&waker);
        let mut calls: Vec<_> = (0..CALLS)
            .map(|_| Box::pin(client.call_async("x", &options)))
            .collect();
        for call in &mut calls {
            assert!(call.as_mut().poll(&mut task).is_pending());
        }
        let requests: Vec<_> = (0..CALLS).map(|_| takes(&mut server)).collect();
        drop(calls);
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "nothing has happened");
        // What is cancelled is answered all the same; then somebody asks whose reply is behind all those.
        for (peer, request, cancelled) in requests {
            assert_eq!(cancelled, 0);
            server.send_to(&peer, request).unwrap();
        }
        let last = std::thread::scope(|scope| {
            let last = scope.spawn(|| client.call("last", &options));
            let (peer, request, cancelled) = takes(&mut server);
            // For want of room some may not have been sent.
            assert!((1..=CALLS).contains(&cancelled));
            server.send_to(&peer, request).unwrap();
            last.join().unwrap()
        });
        assert_eq!(last, Ok("last".into()));
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "a stray wake-up");
        drop(waker);
        assert_eq!(Arc::strong_count(&woken), 1, "somebody would still wake it");
        let counters = client.counters();
        // Those whose reply was there before it was known that nobody waits for it, and those of "last".
        let ended = counters.replies as usize + counters.failures as usize;
        assert_eq!(ended, (CALLS + 1) * (round + 1), "{counters:?}");
        assert_eq!(counters.stale_replies, counters.failures, "{counters:?}");
        assert!(counters.failures > 0, "{counters:?}");
        live.push(heap::live());
        open.push(descriptors());
    }
    // Tables and queues keep what they once had for the next time, at their first turns; what is lost with each call is
    // lost in each turn.
    let grown = live.windows(2).map(|two| two[1].saturating_sub(two[0]));
    let least = grown.min().unwrap();
    assert!(
        least < CALLS / 4,
        "{least} octets more after {CALLS} calls: {live:?}"
    );
    assert!(open.iter().all(|count| *count == open[0]), "{open:?}");
}
