//! Majordomo: workers and brokers are killed, frozen, restarted.

use std::thread;
use std::time::Duration;

use sinew::{Context, Endpoint, Message};
use sinew_patterns::common::{
    Backoff, CallError, CallOptions, Headers, Idem, MsgId, Random, RetryPolicy,
};
use sinew_patterns::mdp::{Broker, Client, ClientConfig, Worker, WorkerConfig};

use crate::remote::{broker, heartbeat, Remote};

/// Reached only if something hangs.
const LONG: CallOptions = CallOptions {
    deadline: Duration::from_secs(60),
    idem: Idem::Safe,
    priority: 0,
    headers: Headers::new(),
};

/// Any port of a loopback address of its own: one that was given back is not taken as that of somebody's connection before
/// it is bound again.
pub(crate) fn any_port() -> Endpoint {
    let own = std::process::id();
    let at = format!("tcp://127.{}.{}.3:*", 1 + own % 250, own / 250 % 250);
    at.parse().unwrap()
}

pub(crate) fn client(at: &[Endpoint], attempt_timeout: Duration) -> Client {
    let config = ClientConfig {
        ext: true,
        retry: RetryPolicy {
            attempt_timeout,
            max_attempts: 1000,
            hedge_after: None,
            backoff: Backoff {
                base: Duration::from_millis(5),
                max: Duration::from_millis(50),
            },
            budget: None,
            breaker: None,
        },
        ..ClientConfig::default()
    };
    Client::connect(&Context::default(), at, config).unwrap()
}

/// A broker in this process, two workers in others, and which of them hangs on the request `hang`.
struct Scene {
    broker: Broker,
    hanging: Remote,
    other: Remote,
    client: Client,
    call: thread::JoinHandle<Result<Message, CallError>>,
}

fn one_hangs(options: CallOptions) -> Scene {
    let broker = broker(&Context::default(), &any_port());
    let at = broker.endpoints().to_vec();
    let hanging = Remote::worker(&at);
    // Long attempts: that a worker is lost is the broker's affair.
    let client = client(&at, LONG.deadline);
    let call = thread::spawn({
        let client = client.clone();
        move || client.call("work", "hang", &options)
    });
    assert_eq!(hanging.says("hangs on"), "hang");
    let other = Remote::worker(&at);
    // It is there.
    assert_eq!(client.call("work", "1", &LONG).unwrap(), "1".into());
    assert_eq!(other.did_until("1"), ["1"]);
    Scene {
        broker,
        hanging,
        other,
        client,
        call,
    }
}

/// MDP-01: a worker that is killed with a request. The other one gets it, and nobody else's is touched.
#[test]
fn a_worker_is_killed_with_its_request() {
    let scene = one_hangs(LONG);
    scene.hanging.kill();
    assert_eq!(scene.call.join().unwrap().unwrap(), "hang".into());
    assert_eq!(scene.other.did_until("hang"), ["hang"]);
    let counters = scene.broker.handle().counters();
    assert_eq!((counters.redelivered, counters.replies), (1, 2));
    assert_eq!((counters.requests, counters.dead), (2, 0));
    let counters = scene.client.counters();
    assert_eq!(
        (counters.calls, counters.replies, counters.attempts),
        (2, 2, 2)
    );
}

/// MDP-01 with FW, MDP-06: a frozen worker loses its lease. When it thaws, its reply is stale: it is counted, and
/// does not reach anybody.
#[test]
fn a_worker_is_frozen_with_its_request() {
    let mut scene = one_hangs(LONG);
    scene.hanging.freeze();
    assert_eq!(scene.call.join().unwrap().unwrap(), "hang".into());
    assert_eq!(scene.other.did_until("hang"), ["hang"]);
    let handle = scene.broker.handle();
    let counters = handle.counters();
    assert_eq!((counters.leases_ended, counters.redelivered), (1, 1));
    scene.hanging.thaw();
    scene.hanging.go_on();
    assert_eq!(scene.hanging.did_until("hang"), ["hang"]);
    // It carried the request out a second time, and is of use again: with the other one gone, it serves.
    scene.other.kill();
    assert_eq!(scene.client.call("work", "2", &LONG).unwrap(), "2".into());
    assert_eq!(scene.hanging.did_until("2"), ["2"]);
    let counters = handle.counters();
    assert_eq!((counters.replies, counters.requests), (3, 3));
    let counters = scene.client.counters();
    assert_eq!((counters.replies, counters.failures), (3, 0));
}

/// What may be given to one worker only ends with an error that says so.
#[test]
fn a_worker_is_killed_with_what_may_be_sent_once() {
    let once = CallOptions {
        idem: Idem::Once,
        ..LONG
    };
    let scene = one_hangs(once);
    scene.hanging.kill();
    let error = scene.call.join().unwrap().unwrap_err();
    assert!(error.maybe_executed(), "{error}");
    let counters = scene.broker.handle().counters();
    assert_eq!((counters.redelivered, counters.dead), (0, 1));
    // The other one never saw it.
    assert_eq!(scene.client.call("work", "2", &LONG).unwrap(), "2".into());
    assert_eq!(scene.other.did_until("2"), ["2"]);
}

/// MDP-02: who has it dies, each time; after the third worker it is dead, and others are served.
#[test]
fn a_request_that_kills_every_worker() {
    let broker = broker(&Context::default(), &any_port());
    let at = broker.endpoints().to_vec();
    let client = client(&at, LONG.deadline);
    let poison = thread::spawn({
        let client = client.clone();
        move || client.call("poison", "x", &LONG)
    });
    for _ in 0..3 {
        // A worker in this process that goes without a word is as good as one that is killed.
        let config = WorkerConfig {
            ext: true,
            heartbeat: heartbeat(),
            ..WorkerConfig::default()
        };
        let mut worker = Worker::connect(&Context::default(), &at, "poison", config).unwrap();
        let request = worker.next().unwrap();
        worker.handle().stop();
        worker.handle().join();
        drop(request);
    }
    let error = poison.join().unwrap().unwrap_err();
    assert!(matches!(error, CallError::Remote(_)), "{error}");
    let counters = broker.handle().counters();
    assert_eq!(
        (counters.dispatched, counters.redelivered, counters.dead),
        (3, 2, 1)
    );
    let _other = Remote::worker(&at);
    assert_eq!(client.call("work", "1", &LONG).unwrap(), "1".into());
}

/// MDP-03: the broker is killed under load, and another one is started in its place. Every call has its reply;
/// those that were with a worker may have been carried out twice, and none more often than it was asked.
#[test]
fn a_broker_is_killed_and_comes_back() {
    let (first, at) = Remote::broker(&any_port());
    let worker = Remote::worker(std::slice::from_ref(&at));
    let client = client(std::slice::from_ref(&at), Duration::from_millis(300));
    assert_eq!(client.call("work", "0", &LONG).unwrap(), "0".into());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let client = client.clone();
            thread::spawn(move || {
                for turn in 0..25 {
                    let body = Message::from(format!("{thread}.{turn}"));
                    assert_eq!(client.call("work", body.clone(), &LONG).unwrap(), body);
                }
            })
        })
        .collect();
    let mut did = worker.did_until("0");
    for _ in 0..20 {
        did.push(worker.says("did"));
    }
    first.kill();
    let (_second, again) = Remote::broker(&at);
    assert_eq!(again, at);
    threads.into_iter().for_each(|t| t.join().unwrap());
    let counters = client.counters();
    assert_eq!(
        (counters.calls, counters.replies, counters.failures),
        (101, 101, 0)
    );
    assert_eq!(client.call("work", "end", &LONG).unwrap(), "end".into());
    did.extend(worker.did_until("end"));
    let attempts = client.counters().attempts as usize;
    assert!(
        (102..=attempts).contains(&did.len()),
        "{} of {attempts}",
        did.len()
    );
    did.sort();
    did.dedup();
    assert_eq!(did.len(), 102, "each at least once");
}

/// A key makes of repetitions one: the broker lives, the clients' attempts are hasty.
#[test]
fn hasty_attempts_with_a_key_are_carried_out_once() {
    let broker = broker(&Context::default(), &any_port());
    let at = broker.endpoints().to_vec();
    let mut worker = Remote::worker(&at);
    let client = client(&at, Duration::from_millis(20));
    let key = CallOptions {
        idem: Idem::Key(MsgId::random(&mut Random::new(5))),
        ..LONG
    };
    let call = thread::spawn({
        let client = client.clone();
        move || client.call("work", "hang", &key)
    });
    worker.says("hangs on");
    // By then it has been asked again.
    while client.counters().retries < 3 {
        thread::yield_now();
    }
    worker.go_on();
    assert_eq!(call.join().unwrap().unwrap(), "hang".into());
    assert_eq!(client.call("work", "end", &LONG).unwrap(), "end".into());
    assert_eq!(worker.did_until("end"), ["hang", "end"]);
    assert!(broker.handle().counters().dups >= 3);
}
