//! A gate and its clients.

use std::thread;
use std::time::Duration;

use sinew::Endpoint;
use sinew_patterns::common::{CallError, CallOptions};

use super::roles::{INSIDE, WAITING};
use crate::remote::{Harm, Remote, Victim};
use crate::requests::{plain_client, LONG};

fn asker(role: &str, at: &Endpoint) -> Remote {
    Remote::start(role, std::slice::from_ref(at))
}

/// How many calls were done, were turned away, and failed.
fn answered(asker: &Remote) -> (u32, u32, u32) {
    let text = asker.says("answered");
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap());
    let mut next = || numbers.next().unwrap();
    (next(), next(), next())
}

/// Waits until so many are inside, and so many wait.
fn until_load(gate: &mut Remote, inside: usize, waiting: usize) {
    let expected = format!("{inside} {waiting} ");
    loop {
        gate.tell("load");
        if gate.says("load").starts_with(&expected) {
            return;
        }
        thread::yield_now();
    }
}

/// FLW-07: a client is killed while it is inside and in the queue. Its places in the queue are free at once, and those
/// inside when it is done; others are let in or turned away, and nobody is inside in the end.
#[test]
fn a_client_of_a_gate_is_killed() {
    let (mut gate, at) = Victim::bound("gate");
    let mut killed = asker("patient client", &at);
    let mut other = asker("patient client", &at);
    let ours = INSIDE + WAITING - 1;
    killed.tell(&format!("hold {ours}"));
    until_load(gate.remote(), INSIDE, WAITING - 1);
    other.tell("work 1");
    until_load(gate.remote(), INSIDE, WAITING);
    // Who has been turned away has no request under way that could take a place later.
    let mut refused = asker("patient client", &at);
    refused.tell("work 19");
    assert_eq!(answered(&refused), (0, 19, 0));
    killed.kill();
    until_load(gate.remote(), INSIDE, 1);
    // There is room for as many as it had in the queue.
    let mut third = asker("patient client", &at);
    third.tell(&format!("work {}", WAITING - 1));
    until_load(gate.remote(), INSIDE, WAITING);
    gate.remote().tell("release");
    assert_eq!(answered(&other), (1, 0, 0));
    assert_eq!(answered(&third), (WAITING as u32 - 1, 0, 0));
    until_load(gate.remote(), 0, 0);
}

/// A client is frozen while it is inside: others go on, and it has its replies when it thaws.
#[test]
fn a_client_of_a_gate_is_frozen() {
    let (mut gate, at) = Victim::bound("gate");
    let mut frozen = asker("patient client", &at);
    let mut other = asker("patient client", &at);
    frozen.tell(&format!("hold {INSIDE}"));
    until_load(gate.remote(), INSIDE, 0);
    frozen.freeze();
    other.tell(&format!("work {WAITING}"));
    until_load(gate.remote(), INSIDE, WAITING);
    gate.remote().tell("release");
    assert_eq!(answered(&other), (WAITING as u32, 0, 0));
    until_load(gate.remote(), 0, 0);
    frozen.thaw();
    assert_eq!(answered(&frozen), (INSIDE as u32, 0, 0));
}

/// The gate is killed, or frozen, under load. Whoever asks has an answer, and nobody is inside in the end.
#[test]
fn a_gate_is_killed_and_frozen_under_load() {
    const EACH: u32 = 300;
    for harm in [Harm::Kill, Harm::Freeze] {
        let (mut gate, at) = Victim::bound("gate");
        let mut askers = [(); 2].map(|()| asker("hasty client", &at));
        for asker in &mut askers {
            asker.tell(&format!("work {EACH}"));
        }
        gate.remote().says("did");
        gate.suffer(harm);
        let short = CallOptions {
            deadline: Duration::from_millis(100),
            ..LONG
        };
        let client = plain_client(&[&at], LONG.deadline);
        let error = client.call("work", &short).unwrap_err();
        let ended = matches!(
            error,
            CallError::TimedOut { .. } | CallError::Disconnected { .. }
        );
        assert!(ended, "{harm:?}: {error}");
        gate.recover();
        for asker in &askers {
            let (done, full, failed) = answered(asker);
            assert_eq!((done + full, failed), (EACH, 0), "{harm:?}");
        }
        until_load(gate.remote(), 0, 0);
        let reply = client.call("work", &LONG).unwrap();
        assert_eq!(reply, "done".into(), "{harm:?}");
    }
}
