//! Peers on zeromq.js and JeroMQ, fetched by `scripts/other-peers`: what they run is in `others/`, written from the frames of
//! 28/REQREP and 7/MDP. Left out of `./run-tests`, which needs Python only.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use sinew_patterns::mdp::Dialect;

use crate::majordomo::{self, each_with_each, sinew_broker, Asking, Broker, Reserved, FIRST};
use crate::process::Running;
use crate::requests::{ask, CALLS};
use crate::{root, LONG};

fn peers() -> PathBuf {
    let peers = root().join(".peers");
    assert!(peers.exists(), "run scripts/other-peers first");
    // Node looks for modules from where it runs.
    peers.canonicalize().unwrap()
}

fn programme(name: &str) -> PathBuf {
    root().join("patterns/tests/interop/others").join(name)
}

fn node(name: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", peers().join("node_modules"));
    command.arg(programme(name));
    command
}

fn java(name: &str) -> Command {
    let mut command = Command::new("java");
    command.arg("-cp").arg(peers().join("jeromq.jar"));
    command.arg(programme(name));
    command
}

/// RPC-08: two REPs of this make, one of which is killed.
fn rep(mut command: Command) {
    let servers = [(); 2].map(|()| Running::start(&mut command));
    let at = servers
        .each_ref()
        .map(|server| server.line().parse().unwrap());
    let client = crate::requests::client(&at);
    ask(&client, CALLS);
    let [first, _second] = servers;
    drop(first);
    ask(&client, 500);
    let counters = client.counters();
    assert_eq!(
        (counters.replies, counters.failures),
        (CALLS as u64 + 500, 0)
    );
}

#[test]
#[ignore = "needs scripts/other-peers"]
fn rep_of_zeromq_js() {
    rep(node("rep.cjs"));
}

#[test]
#[ignore = "needs scripts/other-peers"]
fn rep_of_jeromq() {
    rep(java("Rep.java"));
}

fn broker(mut command: Command, at: &str) -> Broker {
    let process = Running::start(command.arg(at));
    assert_eq!(process.line(), at);
    Broker::Process(process)
}

fn zeromq_js_broker(at: &str) -> Broker {
    broker(node("broker.cjs"), at)
}

fn jeromq_broker(at: &str) -> Broker {
    broker(java("Broker.java"), at)
}

/// MDP-09.
#[test]
#[ignore = "needs scripts/other-peers"]
fn each_with_each_and_a_broker_of_zeromq_js() {
    each_with_each(zeromq_js_broker, &FIRST);
}

/// MDP-09.
#[test]
#[ignore = "needs scripts/other-peers"]
fn each_with_each_and_a_broker_of_jeromq() {
    each_with_each(jeromq_broker, &FIRST);
}

/// MDP-09: clients of three makes and a worker of zeromq.js, which takes heartbeats for requests: so with the brokers that
/// send none to a worker that sends none.
#[test]
#[ignore = "needs scripts/other-peers"]
fn a_worker_of_zeromq_js() {
    for make in [sinew_broker, zeromq_js_broker] {
        let reserved = Reserved::new();
        let at = reserved.at.as_str();
        let broker = make(at);
        let worker = Running::start_talking(node("worker.cjs").arg(at));
        let mut asking = FIRST.map(|make| Asking::start(make, at));
        for asking in &mut asking {
            assert_eq!(asking.done(), "zeromq.js");
            asking.go_on();
        }
        for asking in &asking {
            assert_eq!(asking.done(), "zeromq.js");
        }
        asking.into_iter().for_each(Asking::finish);
        worker.finish();
        broker.kill();
    }
}

/// MDP-15: one that is idle for a minute (or `PATTERNS_SECONDS`), thirty times as long as others may be silent, is there
/// after it. A heartbeat would have ended it.
#[test]
#[ignore = "needs scripts/other-peers"]
fn an_idle_worker_of_zeromq_js_is_left_alone() {
    let seconds = env::var("PATTERNS_SECONDS").map_or(60, |text| text.parse().unwrap());
    let reserved = Reserved::new();
    let at = reserved.at.as_str();
    let broker = sinew_broker(at);
    let worker = Running::start_talking(node("worker.cjs").arg(at));
    let client = majordomo::client(&[at.parse().unwrap()], Dialect::V1);
    let asked = || client.call("echo", "body", &LONG).unwrap();
    let reply = asked();
    assert_eq!(reply.frames()[1], "zeromq.js");
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        assert!(client.available("echo", &LONG).unwrap(), "it was forgotten");
    }
    assert_eq!(asked(), reply);
    assert_eq!(client.counters().failures, 0);
    worker.finish();
    broker.kill();
}
