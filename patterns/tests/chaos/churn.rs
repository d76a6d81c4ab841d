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

/// RPC-04: a server is frozen for five seconds under more calls than its client may hold. What is too much is refused at
/// once, and the others end at their deadline. The client keeps its connection; where that is reset it makes another one, and
/// where all are ended as soon as they are made, no more than it may by its pauses. Requests are repeated as far as the
/// budget goes. When the server thaws it is asked as before.
#[test]
fn a_frozen_server_makes_no_storm() {
    const AT_ONCE: usize = 50;
    const FROZEN: Duration = Duration::from_secs(5);
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
    let short = CallOptions {
        deadline: Duration::from_millis(300),
        ..LONG
    };
    server.suffer(Harm::Freeze);
    let frozen = Instant::now();
    // More calls than it may hold, all at once, whose end is waited for.
    let wave = |reset: bool| {
        let begin = Instant::now();
        let calls: Vec<_> = (0..4 * AT_ONCE)
            .map(|number| client.call_async(number.to_string(), &short))
            .collect();
        let took = begin.elapsed();
        if reset {
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
        let (refused, over) = (ends.iter().filter(refused), ends.iter().filter(over));
        let (refused, over) = (refused.count(), over.count());
        assert_eq!(refused + over, 4 * AT_ONCE, "{ends:?}");
        // Another round of them for each deadline that has come before the last one was made.
        let rounds = 1 + (took.as_millis() / short.deadline.as_millis()) as usize;
        assert!((AT_ONCE..=AT_ONCE * rounds).contains(&over), "{over}");
    };
    // The connection stands: no other is made.
    let before = proxy.connected();
    while frozen.elapsed() < FROZEN / 5 {
        wave(false);
    }
    assert_eq!(proxy.connected(), before);
    // It is reset, and another one is made for each time, which the server does not see.
    let mut resets = 0;
    while frozen.elapsed() < FROZEN * 2 / 5 {
        wave(true);
        resets += 1;
    }
    let made = proxy.connected() - before;
    assert!(made <= resets, "{made} of {resets}");
    // All are ended as soon as they are made.
    proxy.refuse(true);
    let (refusing, before) = (Instant::now(), proxy.connected());
    proxy.reset();
    while frozen.elapsed() < FROZEN {
        wave(false);
    }
    let (made, most) = (
        proxy.connected() - before,
        attempts_within(refusing.elapsed()),
    );
    println!("frozen: {made} connections of {most} at most");
    assert!((3..=most).contains(&made), "{made} of {most}");
    let counters = client.counters();
    let most = counters.calls * 12 / 10 + u64::from(budget.burst);
    assert!(counters.attempts <= most, "{counters:?}");
    proxy.refuse(false);
    server.recover();
    for turn in 0..20 {
        let body = Message::from(format!("after {turn}"));
        assert_eq!(client.call(body.clone(), &LONG), Ok(body));
    }
    // What it found when it thawed was no more than it was sent.
    let did = server.remote().did_until("after 19");
    assert!(did.len() as u64 <= client.counters().attempts, "{did:?}");
}

/// How often a connection is tried at most while all of them fail at once, by the pauses of a client: drawn evenly from zero
/// to an end that doubles with each, from 50 ms to a second. So many pauses take longer than that but for six times the
/// deviation of their sum, once in a thousand million.
fn attempts_within(span: Duration) -> u64 {
    let (mut mean, mut variance, mut end) = (0.0f64, 0.0f64, 0.05f64);
    let mut pauses = 0;
    while mean - 6.0 * variance.sqrt() <= span.as_secs_f64() {
        mean += end / 2.0;
        variance += end * end / 12.0;
        end = (end * 2.0).min(1.0);
        pauses += 1;
    }
    pauses
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
