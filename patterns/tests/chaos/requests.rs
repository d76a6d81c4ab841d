//! Request and reply: servers are killed and frozen.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use sinew::{Context, Endpoint, Message};
use sinew_patterns::common::{
    Backoff, CallError, CallOptions, Headers, Idem, MsgId, Random, RetryPolicy, Status,
};
use sinew_patterns::rpc::{Client, ClientConfig, Dialect};

use crate::majordomo::any_port;
use crate::remote::Remote;

/// Reached only if something hangs.
pub(crate) const LONG: CallOptions = CallOptions {
    deadline: Duration::from_secs(60),
    idem: Idem::Safe,
    priority: 0,
    headers: Headers::new(),
};

pub(crate) fn client(at: &[&Endpoint], attempt_timeout: Duration) -> Client {
    client_of(at, attempt_timeout, Dialect::Ext)
}

/// A client of servers that know nothing of it.
pub(crate) fn plain_client(at: &[&Endpoint], attempt_timeout: Duration) -> Client {
    client_of(at, attempt_timeout, Dialect::Plain)
}

fn client_of(at: &[&Endpoint], attempt_timeout: Duration, dialect: Dialect) -> Client {
    let config = ClientConfig {
        dialect,
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
    let at: Vec<Endpoint> = at.iter().copied().cloned().collect();
    Client::connect(&Context::default(), &at, config).unwrap()
}

/// Two servers, of which one hangs on a call.
struct Scene {
    hanging: Remote,
    other: Remote,
    client: Client,
    call: thread::JoinHandle<Result<Message, CallError>>,
}

fn one_hangs(attempt_timeout: Duration, options: CallOptions) -> Scene {
    one_hangs_of(
        [Remote::server(), Remote::server()],
        attempt_timeout,
        options,
    )
}

fn one_hangs_of(
    servers: [(Remote, Endpoint); 2],
    attempt_timeout: Duration,
    options: CallOptions,
) -> Scene {
    let [(first, at_first), (second, at_second)] = servers;
    let client = client(&[&at_first, &at_second], attempt_timeout);
    // Who has replied is asked next.
    let who = client.call("who", &LONG).unwrap();
    let (hanging, other) = match who == Message::from(first.id().to_string()) {
        true => (first, second),
        false => (second, first),
    };
    let call = thread::spawn({
        let client = client.clone();
        move || client.call("hang", &options)
    });
    assert_eq!(hanging.says("hangs on"), "hang");
    Scene {
        hanging,
        other,
        client,
        call,
    }
}

/// RPC-01, KB: the server is killed with a request; another one is asked at once, and the reply is its.
#[test]
fn a_server_is_killed_with_a_request() {
    let mut scene = one_hangs(LONG.deadline, LONG);
    scene.hanging.kill();
    // The other one hangs on it, too, and is told to go on.
    assert_eq!(scene.other.says("hangs on"), "hang");
    scene.other.go_on();
    assert_eq!(scene.call.join().unwrap().unwrap(), "hang".into());
    let counters = scene.client.counters();
    assert_eq!(
        (counters.calls, counters.replies, counters.retries),
        (2, 2, 1)
    );
}

#[test]
fn a_server_is_killed_with_what_may_be_sent_once() {
    let once = CallOptions {
        idem: Idem::Once,
        ..LONG
    };
    let scene = one_hangs(LONG.deadline, once);
    scene.hanging.kill();
    let error = scene.call.join().unwrap().unwrap_err();
    let expected = CallError::Disconnected {
        attempts: 1,
        maybe_executed: true,
    };
    assert_eq!(error, expected);
    assert_eq!(scene.client.call("end", &LONG).unwrap(), "end".into());
    // Of that request the other one never heard.
    let did = scene.other.did_until("end");
    assert!(!did.contains(&"hang".to_owned()), "{did:?}");
}

/// FB: a frozen server holds its connections, and says nothing. Time tells; its late reply is nobody's.
#[test]
fn a_server_is_frozen_with_a_request() {
    let mut scene = one_hangs(Duration::from_millis(200), LONG);
    scene.hanging.freeze();
    assert_eq!(scene.other.says("hangs on"), "hang");
    scene.other.go_on();
    assert_eq!(scene.call.join().unwrap().unwrap(), "hang".into());
    scene.hanging.thaw();
    scene.hanging.go_on();
    assert_eq!(scene.hanging.did_until("hang").last().unwrap(), "hang");
    for turn in 0..20 {
        let body = Message::from(turn.to_string());
        assert_eq!(scene.client.call(body.clone(), &LONG).unwrap(), body);
    }
    let counters = scene.client.counters();
    assert_eq!(
        (counters.calls, counters.replies, counters.failures),
        (22, 22, 0)
    );
}

pub(crate) fn storing_servers(directory: &Path) -> [(Remote, Endpoint); 2] {
    [(); 2].map(|()| Remote::storing_server(&any_port(), directory))
}

pub(crate) fn with_key(number: u64) -> CallOptions {
    CallOptions {
        idem: Idem::Key(MsgId::random(&mut Random::new(number))),
        ..LONG
    }
}

/// How often the servers did each thing.
pub(crate) fn effects(directory: &Path) -> BTreeMap<String, u32> {
    let text = fs::read_to_string(directory.join("effects")).unwrap();
    text.lines().fold(BTreeMap::new(), |mut effects, line| {
        *effects.entry(line.to_owned()).or_default() += 1;
        effects
    })
}

/// RPC-02: the one who had begun it is gone, and the other one knows.
#[test]
fn a_server_is_killed_with_a_key_in_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let servers = storing_servers(directory.path());
    let scene = one_hangs_of(servers, LONG.deadline, with_key(1));
    scene.hanging.kill();
    let error = scene.call.join().unwrap().unwrap_err();
    assert!(error.maybe_executed());
    match error {
        CallError::Remote(fault) => assert_eq!(fault.status, Status::InDoubt),
        other => panic!("{other:?}"),
    }
    assert_eq!(effects(directory.path())["hang"], 1);
    // It is so for whoever asks, and nothing else is.
    assert!(scene.client.call("hang", &with_key(1)).is_err());
    assert_eq!(scene.client.call("x", &with_key(2)), Ok("x".into()));
    assert_eq!(effects(directory.path())["hang"], 1);
    drop(scene.other);
}

/// A frozen server is not gone: the other one waits for it, and has its reply.
#[test]
fn a_server_is_frozen_with_a_key_in_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let servers = storing_servers(directory.path());
    let mut scene = one_hangs_of(servers, Duration::from_millis(100), with_key(1));
    scene.hanging.freeze();
    // The other one answers meanwhile, so it has the key before it, too.
    while scene.client.counters().retries == 0 {
        assert_eq!(scene.client.call("x", &LONG), Ok("x".into()));
    }
    scene.hanging.thaw();
    scene.hanging.go_on();
    assert_eq!(scene.call.join().unwrap(), Ok("hang".into()));
    assert_eq!(effects(directory.path())["hang"], 1);
    drop(scene.other);
}

/// RPC-02, KB under load: each of two servers is killed and started again while calls with keys are on their way.
#[test]
fn servers_with_a_store_are_killed_under_load() {
    const AT_ONCE: u64 = 60;
    let directory = tempfile::tempdir().unwrap();
    let mut servers = Vec::from(storing_servers(directory.path()));
    let client = client(&[&servers[0].1, &servers[1].1], LONG.deadline);
    let mut ends = BTreeMap::new();
    for turn in 0..4 {
        let numbers = turn * AT_ONCE..(turn + 1) * AT_ONCE;
        let mut calls: FuturesUnordered<_> = numbers
            .map(|number| {
                let body = Message::from(number.to_string());
                let call = client.call_async(body, &with_key(number));
                async move { (number, call.await) }
            })
            .collect();
        let mut next = || futures::executor::block_on(calls.next());
        // The servers are in the midst of it.
        for _ in 0..3 {
            ends.extend(next());
        }
        let (server, at) = servers.remove(0);
        server.kill();
        servers.push(Remote::storing_server(&at, directory.path()));
        while let Some(end) = next() {
            ends.extend([end]);
        }
    }
    let effects = effects(directory.path());
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
    assert_eq!(ends.len() as u64, 4 * AT_ONCE);
    for (number, end) in ends {
        let done = effects.contains_key(&number.to_string());
        match end {
            Ok(reply) => assert!(done && reply == number.to_string().into()),
            Err(error) => assert!(error.maybe_executed(), "{error}"),
        }
    }
}

/// Two servers are asked for the same at once: one does it, and both have its reply.
#[test]
fn two_processes_race_for_each_key() {
    const KEYS: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let servers = storing_servers(directory.path());
    let clients = servers
        .each_ref()
        .map(|(_, at)| client(&[at], LONG.deadline));
    let calls = (0..KEYS).flat_map(|number| {
        let body = Message::from(number.to_string());
        let asked = clients.each_ref();
        asked.map(|client| client.call_async(body.clone(), &with_key(number)))
    });
    let replies = futures::executor::block_on(futures::future::join_all(calls));
    for (turn, reply) in (0..).zip(replies) {
        assert_eq!(reply, Ok((turn / 2).to_string().into()));
    }
    let effects = effects(directory.path());
    assert_eq!(effects.len() as u64, KEYS);
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
}
