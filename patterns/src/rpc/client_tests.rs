//! What becomes of words to a server about calls that were given up, if it has no room for them; what servers say that
//! decline.

use std::time::Duration;

use super::*;

const A: Port = Port(0);
const B: Port = Port(1);
const DEADLINE: Duration = Duration::from_secs(10);

/// A client of two servers that reads headers, and what time it is.
struct Bench {
    client: ClientEngine,
    now: Instant,
}

/// A request, or a word about one that was given up.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ask(Port, CallId),
    Cancel(Port, CallId),
}
use Said::{Ask, Cancel};

impl Bench {
    fn new(config: ClientConfig) -> Self {
        let config = ClientConfig {
            dialect: Dialect::Ext,
            ..config
        };
        let now = Instant::now();
        let mut client = ClientEngine::new(config, 2, 7);
        client.handle_peer(now, A, PeerEvent::Up { peer: None });
        Bench { client, now }
    }

    fn call(&mut self) -> CallId {
        let options = CallOptions {
            deadline: DEADLINE,
            ..CallOptions::default()
        };
        self.client
            .handle_call(self.now, "x".into(), options)
            .unwrap()
    }

    /// A call that the first server has.
    fn asked(&mut self) -> CallId {
        let call = self.call();
        assert_eq!(self.said(), [Ask(A, call)]);
        call
    }

    /// A call that was given up, of which the first server cannot be told now.
    fn untold(&mut self) -> CallId {
        let call = self.asked();
        self.client.handle_cancel(self.now, call);
        assert_eq!(self.tries(), Some(Cancel(A, call)));
        call
    }

    /// What is sent next, and finds no room.
    fn tries(&mut self) -> Option<Said> {
        let transmit = self.client.poll_transmit()?;
        let said = self.read(&transmit);
        self.client.handle_full(self.now, transmit);
        Some(said)
    }

    /// All that is sent.
    fn said(&mut self) -> Vec<Said> {
        let mut all = Vec::new();
        while let Some(transmit) = self.client.poll_transmit() {
            all.push(self.read(&transmit));
        }
        all
    }

    fn read(&self, transmit: &Transmit) -> Said {
        let call = self.client.call_of(transmit).unwrap();
        let parts = wire::decode(transmit.message.clone(), true).unwrap();
        match parts.ext.unwrap().op {
            Op::Cancel => Cancel(transmit.port, call),
            _ => Ask(transmit.port, call),
        }
    }

    fn room(&mut self) {
        self.client.handle_room(self.now, A, None);
    }
}

#[test]
fn a_cancel_that_finds_no_room_is_sent_when_there_is() {
    let mut bench = Bench::new(ClientConfig::default());
    let other = bench.asked();
    let call = bench.untold();
    // Nobody has said that there is room.
    assert_eq!(bench.tries(), None);
    bench.client.handle_cancel(bench.now, other);
    assert_eq!(bench.tries(), None, "it has its place behind the first one");
    bench.room();
    assert_eq!(bench.said(), [Cancel(A, call), Cancel(A, other)]);
    bench.room();
    assert_eq!(bench.said(), [], "each once");
}

/// The server gives up by itself then.
#[test]
fn a_cancel_is_forgotten_with_the_deadline_of_its_call() {
    let mut bench = Bench::new(ClientConfig::default());
    bench.untold();
    bench.now += DEADLINE;
    bench.room();
    assert_eq!(bench.said(), []);
}

#[test]
fn a_cancel_is_forgotten_with_its_connection() {
    let mut bench = Bench::new(ClientConfig::default());
    bench.untold();
    for event in [PeerEvent::Down { peer: None }, PeerEvent::Up { peer: None }] {
        bench.client.handle_peer(bench.now, A, event);
    }
    bench.room();
    assert_eq!(bench.said(), []);
}

/// What is kept is bounded, however many calls are begun and given up.
#[test]
fn no_more_cancels_are_kept_than_calls_may_run() {
    let config = ClientConfig {
        calls: 3,
        ..ClientConfig::default()
    };
    let mut bench = Bench::new(config);
    let calls: Vec<CallId> = (0..10).map(|_| bench.untold_or_kept()).collect();
    bench.room();
    let last = calls[7..].iter().map(|call| Cancel(A, *call));
    assert_eq!(bench.said(), last.collect::<Vec<_>>());
}

impl Bench {
    /// As [`untold`](Bench::untold), which is not even tried if another waits.
    fn untold_or_kept(&mut self) -> CallId {
        let call = self.asked();
        self.client.handle_cancel(self.now, call);
        self.tries();
        call
    }
}

/// A server that was left for a slow moment, and told so in vain, is asked again: it is not to stop then.
#[test]
fn who_is_asked_again_is_not_told_to_stop() {
    let config = ClientConfig {
        retry: RetryPolicy {
            attempt_timeout: Duration::from_secs(1),
            hedge_after: Some(Duration::from_millis(100)),
            breaker: None,
            ..RetryPolicy::default()
        },
        ..ClientConfig::default()
    };
    let mut bench = Bench::new(config);
    bench
        .client
        .handle_peer(bench.now, B, PeerEvent::Up { peer: None });
    let call = bench.asked();
    bench.client.cancels.push(A, call, bench.now + DEADLINE);
    assert_eq!(bench.tries(), Some(Cancel(A, call)));
    // Nobody replies, so both are asked, and in the end the first one again.
    let mut said = Vec::new();
    while !said.contains(&Ask(A, call)) {
        bench.now = bench.client.poll_timeout().expect("it goes on");
        bench.client.handle_timeout(bench.now);
        said.extend(bench.said());
    }
    bench.room();
    assert_eq!(bench.said(), []);
}

/// A server that is full and one that declines for another reason say so, and the caller is told which it was.
#[test]
fn what_a_server_says_that_declines_reaches_the_caller() {
    let declined = |status, reason: &'static str, retry_after| {
        let mut bench = Bench::new(ClientConfig {
            retry: RetryPolicy {
                max_attempts: 1,
                ..RetryPolicy::default()
            },
            ..ClientConfig::default()
        });
        bench.call();
        let asked = bench.client.poll_transmit().unwrap();
        let envelope = wire::decode(asked.message, true).unwrap().envelope;
        let ext = Ext {
            op: Op::Final,
            status: Some(status),
            reason: (!reason.is_empty()).then_some(reason.into()),
            retry_after,
            ..Ext::default()
        };
        let reply = wire::encode(&envelope, Some(ext.encode().unwrap()), None);
        bench.client.handle_message(bench.now, A, None, reply);
        match bench.client.poll_event() {
            Some(CallEvent::Done {
                result: Err(error), ..
            }) => error,
            other => panic!("{other:?}"),
        }
    };
    let pause = Duration::from_millis(100);
    let full = declined(Status::Rejected, "", Some(pause));
    let text = "the server declined: it is full, and asks to wait 100ms";
    assert_eq!(full.to_string(), text);
    let reason = "the store failed: no";
    let failed = declined(Status::Unavailable, reason, Some(pause));
    let expected = CallError::Rejected {
        status: Status::Unavailable,
        reason: reason.into(),
        // Nobody heeds it.
        retry_after: None,
        maybe_executed: false,
    };
    assert_eq!(failed, expected);
    let text = "the server declined: not here, or not now (\"the store failed: no\")";
    assert_eq!(failed.to_string(), text);
    let silent = declined(Status::Unavailable, "", None);
    let text = "the server declined: not here, or not now";
    assert_eq!(silent.to_string(), text);
}
