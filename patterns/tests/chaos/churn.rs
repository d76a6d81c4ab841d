//! Losing somebody costs no more than it must: no storm of connections or requests while a server is frozen, and one
//! delivery more for each worker that is killed with a request.

use std::thread;
use std::time::{Duration, Instant};

use futures::future::join_all;
use sinew::{Context, Message};
use sinew_patterns::common::{CallError, CallOptions, RetryBudget, RetryPolicy};
use sinew_patterns::rpc::{Client, ClientConfig, Dialect};

use crate::majordomo::{self, any_port};
use crate::proxy::Proxy;
use crate::remote::Harm;
use crate::remote::{broker, Remote, Victim};
use crate::requests::LONG;

/// RPC-04: a server is frozen under more calls than its client may hold. What is too much is refused at once and the
/// others end at their deadline; the client keeps its connection, and where that is reset makes no more than it may by
/// its pauses; requests are repeated as far as the budget goes. When it thaws the server is asked as before.
#[test]
fn a_frozen_server_makes_no_storm() {
    const AT_ONCE: usize = 50;
    let (mut server, at) = Victim::bound("server");
    let proxy = Proxy::to(&at);
    let budget = RetryBudget {
        ratio_percent: 20,
        burst: 10,
    };
    let config = ClientConfig {
        dialect: Dialect::Ext,
        calls: AT_ONCE,
        retry: RetryPolicy {
            attempt_timeout: Duration::from_millis(20),
            max_attempts: 1000,
            budget: Some(budget),
            breaker: None,
            ..RetryPolicy::default()
        },
        ..ClientConfig::default()
    };
    let client = Client::connect(&Context::default(), &[proxy.endpoint()], config).unwrap();
    assert_eq!(client.call("before", &LONG), Ok("before".into()));
    server.suffer(Harm::Freeze);
    let short = CallOptions {
        deadline: Duration::from_millis(300),
        ..LONG
    };
    for resets in [0, 1] {
        let begin = Instant::now();
        let before = proxy.connected();
        let calls: Vec<_> = (0..4 * AT_ONCE)
            .map(|number| client.call_async(number.to_string(), &short))
            .collect();
        if resets > 0 {
            proxy.reset();
        }
        let ends = futures::executor::block_on(join_all(calls));
        let refused =
            |end: &&Result<Message, CallError>| matches!(end, Err(CallError::TooMany { .. }));
        let over = |end: &&Result<Message, CallError>| {
            matches!(
                end,
                Err(CallError::TimedOut { .. } | CallError::Disconnected { .. })
            )
        };
        // By the time of the last call the first may be over.
        let (refused, over) = (ends.iter().filter(refused), ends.iter().filter(over));
        let (refused, over) = (refused.count(), over.count());
        assert_eq!(refused + over, 4 * AT_ONCE, "{ends:?}");
        assert!(over >= AT_ONCE && refused > 0, "{over} {refused}");
        // One for the reset, and one after each pause, which is 100 ms at least.
        let most = resets + resets * begin.elapsed().as_millis() as u64 / 100;
        let made = proxy.connected() - before;
        assert!(made <= most, "{made} of {most}");
    }
    let counters = client.counters();
    let most = counters.calls * 12 / 10 + u64::from(budget.burst);
    assert!(counters.attempts <= most, "{counters:?}");
    server.recover();
    assert_eq!(client.call("after", &LONG), Ok("after".into()));
}

/// RPC-05: the server, a process, has all requests, and its replies vanish. Each call ends at its deadline with an error
/// that says so, and all together were sent no more than 1.2 times.
#[test]
fn replies_that_vanish_cost_no_more_than_the_budget() {
    const WAVES: u64 = 10;
    const CALLS: u64 = 50;
    /// Without trouble, before and after. They pay for the retries that the budget has at the start.
    const QUIET: u64 = 100;
    let (server, at) = Remote::server();
    let proxy = Proxy::to(&at);
    let config = ClientConfig {
        dialect: Dialect::Ext,
        in_flight: CALLS as usize,
        retry: RetryPolicy {
            attempt_timeout: Duration::from_millis(20),
            max_attempts: 1000,
            budget: Some(RetryBudget {
                ratio_percent: 20,
                burst: 10,
            }),
            breaker: None,
            ..RetryPolicy::default()
        },
        ..ClientConfig::default()
    };
    let client = Client::connect(&Context::default(), &[proxy.endpoint()], config).unwrap();
    let quiet = |name: &str| {
        for number in 0..QUIET {
            let body = Message::from(format!("{name} {number}"));
            assert_eq!(client.call(body.clone(), &LONG), Ok(body));
        }
    };
    quiet("before");
    proxy.hold(false, true);
    let short = CallOptions {
        // Long enough that each of them is sent at least once, however busy the machine is.
        deadline: Duration::from_millis(500),
        ..LONG
    };
    let mut latest = Duration::ZERO;
    for wave in 0..WAVES {
        let calls = (0..CALLS).map(|number| {
            let begun = Instant::now();
            let call = client.call_async(format!("{wave} {number}"), &short);
            async move { (call.await, begun.elapsed()) }
        });
        for (end, span) in futures::executor::block_on(join_all(calls)) {
            assert!(matches!(end, Err(CallError::TimedOut { .. })), "{end:?}");
            assert!(span >= short.deadline, "{span:?}");
            latest = latest.max(span - short.deadline);
        }
    }
    println!("replies that vanish: none ended more than {latest:?} after its deadline");
    let counters = client.counters();
    assert_eq!(
        (counters.replies, counters.failures),
        (QUIET, WAVES * CALLS)
    );
    assert!(counters.over_budget > 0, "{counters:?}");
    assert!(counters.retries > WAVES * CALLS / 10, "{counters:?}");
    assert!(
        counters.attempts <= counters.calls * 12 / 10,
        "{counters:?}"
    );
    // The server had all requests, and none that was not sent.
    proxy.hold(false, false);
    quiet("after");
    let mut did = server.did_until(&format!("after {}", QUIET - 1));
    assert!(did.len() as u64 <= client.counters().attempts);
    did.sort();
    did.dedup();
    assert_eq!(did.len() as u64, 2 * QUIET + WAVES * CALLS);
}

/// MDP-01: workers are killed by turns with a request and without. Each request has one reply, and so many were given
/// out again as workers were killed with one.
#[test]
fn only_workers_with_requests_cost_a_delivery() {
    let broker = broker(&Context::default(), &any_port());
    let (at, handle) = (broker.endpoints().to_vec(), broker.handle());
    let until_workers = |count: usize| {
        while handle.service("work").map_or(0, |work| work.workers) != count {
            thread::yield_now();
        }
    };
    // Who has been idle longest is first.
    let mut idle: Vec<Remote> = Vec::new();
    let start = |idle: &mut Vec<Remote>| {
        idle.push(Remote::worker(&at));
        until_workers(idle.len());
    };
    for _ in 0..4 {
        start(&mut idle);
    }
    let client = majordomo::client(&at, LONG.deadline);
    for turn in 0..4u64 {
        let body = Message::from(format!("hang {turn}"));
        let call = client.call_async("work", body.clone(), &LONG);
        let busy = idle.remove(0);
        busy.says("hangs on");
        busy.kill();
        // The next one has it, and is last then.
        assert_eq!(futures::executor::block_on(call), Ok(body));
        idle.rotate_left(1);
        until_workers(3);
        start(&mut idle);
        idle.remove(0).kill();
        until_workers(3);
        start(&mut idle);
        let counters = handle.counters();
        assert_eq!(
            (counters.redelivered, counters.replies),
            (turn + 1, turn + 1)
        );
        assert_eq!((counters.requests, counters.dead), (turn + 1, 0));
    }
    let counters = client.counters();
    assert_eq!((counters.replies, counters.stale_replies), (4, 0));
}
