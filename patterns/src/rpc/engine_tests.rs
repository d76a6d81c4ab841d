//! The engine in virtual time: each row of its table, and random schedules.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Action, CallId, Engine, Outcome};
use crate::rpc::{Backoff, CallOptions, Headers, Idem, RequesterConfig, RetryBudget};

const STEP: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(1);

fn config() -> RequesterConfig {
    RequesterConfig {
        attempt_timeout: STEP,
        max_attempts: 3,
        backoff: Backoff {
            base: Duration::from_millis(10),
            max: Duration::from_millis(40),
        },
        budget: None,
    }
}

fn options(idem: Idem) -> CallOptions {
    CallOptions {
        deadline: DEADLINE,
        idem,
        priority: 0,
        headers: Headers::new(),
    }
}

/// An engine, its clock, and the call it is in.
struct Bench {
    engine: Engine,
    now: Instant,
    call: CallId,
}

impl Bench {
    fn new(config: RequesterConfig, endpoints: usize, idem: Idem) -> Self {
        let mut engine = Engine::new(config, endpoints, 1);
        let now = Instant::now();
        let call = engine.handle_call(&options(idem), now);
        Bench { engine, now, call }
    }

    /// The request is to be sent now, to this endpoint, and is.
    fn sends_to(&mut self, endpoint: usize) {
        let call = self.call;
        assert_eq!(
            self.engine.poll_action(),
            Some(Action::Send { call, endpoint })
        );
        self.engine.handle_sent(self.now);
    }

    /// Lets the time pass that the engine waits for.
    fn pass(&mut self) {
        self.now = self.engine.poll_timeout().expect("a call is running");
        self.engine.handle_timeout(self.now);
    }

    fn reply(&mut self, from: usize) {
        let call = self.call;
        self.engine
            .handle_reply(call, from, "reply".into(), self.now);
    }

    fn lose(&mut self, endpoint: usize) {
        self.engine.handle_peer_lost(self.call, endpoint, self.now);
    }
}

#[test]
fn a_reply_ends_the_call() {
    let mut bench = Bench::new(config(), 1, Idem::Safe);
    bench.sends_to(0);
    bench.reply(0);
    assert_eq!(
        bench.engine.poll_outcome(),
        Some(Outcome::Reply("reply".into()))
    );
    assert_eq!(bench.engine.poll_outcome(), None);
    assert_eq!(bench.engine.poll_timeout(), None);
    bench.reply(0);
    assert_eq!(bench.engine.poll_outcome(), None, "one reply per call");
    assert_eq!(bench.engine.counters().stale_replies, 1);
}

#[test]
fn no_reply_in_time_asks_the_next_endpoint() {
    let mut bench = Bench::new(config(), 2, Idem::Safe);
    bench.sends_to(0);
    bench.pass();
    assert_eq!(bench.engine.poll_action(), None, "first, a pause");
    bench.pass();
    bench.sends_to(1);
    bench.reply(1);
    assert!(matches!(
        bench.engine.poll_outcome(),
        Some(Outcome::Reply(_))
    ));
    // The next call begins where the last one had success.
    bench.call = bench.engine.handle_call(&options(Idem::Safe), bench.now);
    bench.sends_to(1);
}

#[test]
fn a_late_reply_to_an_earlier_attempt_counts() {
    let mut bench = Bench::new(config(), 2, Idem::Safe);
    bench.sends_to(0);
    bench.pass();
    bench.pass();
    bench.sends_to(1);
    bench.reply(0);
    assert!(matches!(
        bench.engine.poll_outcome(),
        Some(Outcome::Reply(_))
    ));
}

#[test]
fn the_last_attempt_has_all_the_time_that_is_left() {
    let mut bench = Bench::new(config(), 1, Idem::Safe);
    let end = bench.now + DEADLINE;
    for _ in 0..3 {
        bench.sends_to(0);
        bench.pass();
        if bench.engine.poll_timeout() != Some(end) {
            bench.pass();
        }
    }
    assert_eq!(bench.engine.poll_outcome(), None);
    bench.pass();
    assert_eq!(bench.now, end);
    let outcome = Outcome::TimedOut {
        attempts: 3,
        maybe_executed: true,
    };
    assert_eq!(bench.engine.poll_outcome(), Some(outcome));
}

#[test]
fn once_is_once() {
    let mut bench = Bench::new(config(), 2, Idem::Once);
    bench.sends_to(0);
    bench.pass();
    bench.lose(0);
    assert_eq!(bench.engine.poll_action(), None);
    let outcome = Outcome::Disconnected {
        attempts: 1,
        maybe_executed: true,
    };
    assert_eq!(bench.engine.poll_outcome(), Some(outcome));
}

#[test]
fn a_lost_peer_is_left_at_once_and_an_earlier_one_does_not_matter() {
    let mut bench = Bench::new(config(), 2, Idem::Safe);
    bench.sends_to(0);
    bench.lose(0);
    bench.pass();
    bench.sends_to(1);
    bench.lose(0);
    assert_eq!(bench.engine.poll_timeout(), Some(bench.now + STEP));
}

#[test]
fn nobody_there_is_no_attempt() {
    let mut bench = Bench::new(config(), 2, Idem::Once);
    while bench.engine.poll_timeout().is_some() {
        if bench.engine.poll_action().is_some() {
            bench.now = bench.engine.poll_timeout().expect("a call is running");
            bench.engine.handle_unavailable(bench.now);
        } else {
            bench.pass();
        }
    }
    let outcome = Outcome::Disconnected {
        attempts: 0,
        maybe_executed: false,
    };
    assert_eq!(bench.engine.poll_outcome(), Some(outcome));
    assert!(
        bench.engine.counters().unavailable >= 7,
        "each within a step and a pause"
    );
}

#[test]
fn without_budget_there_is_no_retry() {
    let mut bench = Bench::new(
        RequesterConfig {
            budget: Some(RetryBudget {
                ratio_percent: 0,
                burst: 1,
            }),
            ..config()
        },
        1,
        Idem::Safe,
    );
    bench.sends_to(0);
    bench.pass();
    bench.pass();
    bench.sends_to(0);
    bench.pass();
    bench.pass();
    assert!(matches!(
        bench.engine.poll_outcome(),
        Some(Outcome::TimedOut { attempts: 2, .. })
    ));
    assert_eq!(bench.engine.counters().over_budget, 1);
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    let pauses = |seed| {
        let mut engine = Engine::new(config(), 1, seed);
        let start = Instant::now();
        engine.handle_call(&options(Idem::Safe), start);
        let mut trace = Vec::new();
        while let Some(at) = engine.poll_timeout() {
            trace.push(at - start);
            if engine.poll_action().is_some() {
                engine.handle_sent(at);
            }
            engine.handle_timeout(at);
        }
        trace
    };
    assert_eq!(pauses(7), pauses(7));
    assert_ne!(pauses(7), pauses(8));
}

/// What may happen to a requester.
#[derive(Debug, Clone, Copy)]
enum Event {
    Sent,
    Unavailable,
    Reply { of_this_call: bool, from: usize },
    Lost { of_this_call: bool, endpoint: usize },
    Nothing,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Sent),
        2 => Just(Event::Unavailable),
        1 => (any::<bool>(), 0..3usize)
            .prop_map(|(of_this_call, from)| Event::Reply { of_this_call, from }),
        2 => (any::<bool>(), 0..3usize)
            .prop_map(|(of_this_call, endpoint)| Event::Lost { of_this_call, endpoint }),
        4 => Just(Event::Nothing),
    ]
}

proptest! {
    #[test]
    fn any_schedule_ends_each_call_once_and_in_time(
        seed: u64,
        max_attempts in 0..5u32,
        ratio_percent in 0..100u32,
        burst in 0..5u32,
        calls in prop::collection::vec(
            (any::<bool>(), prop::collection::vec((event(), 0..300u64), 0..30)), 1..12),
    ) {
        let budget = RetryBudget { ratio_percent, burst };
        let mut engine =
            Engine::new(RequesterConfig { max_attempts, budget: Some(budget), ..config() }, 3, seed);
        let mut now = Instant::now();
        let mut previous = None;
        let count = calls.len() as u64;
        for (once, script) in calls {
            let idem = if once { Idem::Once } else { Idem::Safe };
            let call = engine.handle_call(&options(idem), now);
            let deadline = now + DEADLINE;
            let bound = if once { 1 } else { max_attempts.max(1) };
            let (mut sent, mut answered, mut outcomes) = (0, false, 0);
            let mut script = script.into_iter();
            loop {
                if let Some(outcome) = engine.poll_outcome() {
                    outcomes += 1;
                    match outcome {
                        Outcome::Reply(reply) => {
                            prop_assert!(answered && sent > 0);
                            prop_assert_eq!(reply.as_bytes(), b"this");
                        }
                        Outcome::TimedOut { attempts, maybe_executed } => {
                            prop_assert!(now >= deadline && maybe_executed && sent > 0);
                            prop_assert_eq!(attempts, sent);
                        }
                        Outcome::Disconnected { attempts, maybe_executed } => {
                            prop_assert_eq!(maybe_executed, sent > 0);
                            prop_assert_eq!(attempts, sent);
                        }
                    }
                    prop_assert_eq!(engine.poll_action(), None);
                    break;
                }
                let until = engine.poll_timeout().expect("a running call waits for something");
                prop_assert!(until <= deadline);
                let asked = engine.poll_action().is_some();
                // A script that is over leaves the engine alone with the clock.
                let (event, wait) = match script.next() {
                    Some((event, wait)) => (event, Duration::from_millis(wait)),
                    None => (Event::Nothing, until.saturating_duration_since(now)),
                };
                now += wait;
                match event {
                    Event::Sent if asked => {
                        sent += 1;
                        engine.handle_sent(now);
                    }
                    _ if asked => engine.handle_unavailable(now),
                    Event::Reply { of_this_call: true, from } => {
                        // After the deadline it is too late.
                        answered = now < deadline;
                        engine.handle_reply(call, from, "this".into(), now);
                    }
                    Event::Reply { from, .. } => {
                        if let Some(previous) = previous {
                            engine.handle_reply(previous, from, "that".into(), now);
                        }
                    }
                    Event::Lost { of_this_call: true, endpoint } => {
                        engine.handle_peer_lost(call, endpoint, now);
                    }
                    Event::Lost { endpoint, .. } => {
                        if let Some(previous) = previous {
                            engine.handle_peer_lost(previous, endpoint, now);
                        }
                    }
                    Event::Sent | Event::Unavailable | Event::Nothing => engine.handle_timeout(now),
                }
                prop_assert!(sent <= bound);
            }
            prop_assert_eq!(outcomes, 1);
            // Whatever happens afterwards, there is no second outcome.
            engine.handle_sent(now);
            engine.handle_reply(call, 0, "this".into(), now);
            engine.handle_peer_lost(call, 0, now);
            engine.handle_timeout(now + DEADLINE);
            prop_assert_eq!(engine.poll_outcome(), None);
            prop_assert_eq!(engine.poll_action(), None);
            previous = Some(call);
        }
        let counters = engine.counters();
        prop_assert_eq!(counters.calls, count);
        prop_assert_eq!(counters.replies + counters.failures, count);
        prop_assert!(
            counters.retries * 100 <= u64::from(ratio_percent) * count + u64::from(burst) * 100
        );
    }
}
