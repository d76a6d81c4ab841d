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
    // What comes next: a request, or word that one is cancelled.
    let takes = |server: &mut Router| -> (RoutingId, Message, Op) {
        let (peer, message) = server.recv_from_timeout(LONG).unwrap();
        let op = Ext::decode(&message.frames()[2]).unwrap().unwrap().op;
        (peer, message, op)
    };
    let (mut live, mut pieces, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = 0;
    for round in 0.. {
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
        assert!(requests.iter().all(|(_, _, op)| *op == Op::Call));
        drop(calls);
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "nothing has happened");
        // What is cancelled is answered all the same; then somebody asks whose reply is behind all those.
        for (peer, request, _) in requests {
            server.send_to(&peer, request).unwrap();
        }
        let mut cancelled = 0;
        let last = std::thread::scope(|scope| {
            let last = scope.spawn(|| client.call("last", &options));
            let (peer, request) = loop {
                let (peer, message, op) = takes(&mut server);
                match op {
                    Op::Cancel => cancelled += 1,
                    _ => break (peer, message),
                }
            };
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
        // Each of them is cancelled. Those for which there was no room come behind "last"; then nothing is under way.
        let failed = counters.failures - before;
        before = counters.failures;
        while cancelled < failed {
            assert_eq!(takes(&mut server).2, Op::Cancel);
            cancelled += 1;
        }
        assert_eq!(cancelled, failed);
        live.push(heap::live());
        pieces.push(heap::pieces());
        open.push(descriptors());
        // Calls are made of small pieces, and queues of few large ones: no turn leaves one piece for each call.
        if let [.., earlier, now] = pieces[..] {
            let grown = now.saturating_sub(earlier);
            assert!(grown < CALLS / 4, "{grown} pieces more: {pieces:?}");
        }
        // Queues and tables keep what they once had for the next time, and get no larger when the largest that the turns
        // need is there: how many turns that takes is chance. What is lost with each call is lost in each turn.
        let grown = live.windows(2).map(|two| two[1].saturating_sub(two[0]));
        let least = grown.min().unwrap_or(usize::MAX);
        if round >= 5 && least < CALLS / 4 {
            break;
        }
        assert!(
            round < 100,
            "{least} octets more after {CALLS} calls: {live:?}"
        );
    }
    assert!(open.iter().all(|count| *count == open[0]), "{open:?}");
}
