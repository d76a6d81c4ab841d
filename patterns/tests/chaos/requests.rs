//! Request and reply: servers are killed and frozen.

use std::thread;
use std::time::Duration;

use sinew::{Context, Endpoint, Message};
use sinew_patterns::common::{Backoff, CallError, CallOptions, Headers, Idem, RetryPolicy};
use sinew_patterns::rpc::{Client, ClientConfig, Dialect};

use crate::remote::Remote;

/// Reached only if something hangs.
pub(crate) const LONG: CallOptions = CallOptions {
    deadline: Duration::from_secs(60),
    idem: Idem::Safe,
    priority: 0,
    headers: Headers::new(),
};

pub(crate) fn client(at: &[&Endpoint], attempt_timeout: Duration) -> Client {
    let config = ClientConfig {
        dialect: Dialect::Ext,
        retry: RetryPolicy {
            attempt_timeout,
            max_attempts: 1000,
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
    let (first, at_first) = Remote::server();
    let (second, at_second) = Remote::server();
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
