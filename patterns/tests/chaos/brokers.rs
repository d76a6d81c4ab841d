//! A broker that is frozen, and clients of one that are killed and frozen: nothing is left of them at the broker, and
//! nobody has another's reply.

use std::thread;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use sinew::{Endpoint, Message};
use sinew_patterns::common::{CallError, CallOptions};
use sinew_patterns::mdp::BrokerHandle;

use crate::flow::roles::orders;
use crate::majordomo::client;
use crate::remote::{say, Harm, Remote, Victim};
use crate::requests::LONG;

/// What a client has at a broker at most, by default.
const AT_ONCE: usize = 8;

/// What a broker's process says of the service when it is asked: requests that wait, requests that workers have, and
/// workers. And it drains when it is told to.
pub(crate) fn answer_orders(handle: BrokerHandle) {
    thread::spawn(move || {
        for (verb, _) in orders() {
            if verb == "drain" {
                handle.drain();
                continue;
            }
            let state = handle.service("work").unwrap_or_default();
            let (ready, in_flight, workers) = (state.ready, state.in_flight, state.workers);
            say(&format!("state {ready} {in_flight} {workers}"));
        }
    });
}

/// What a client's process does: calls at once, and says which have their own reply, another one's, and none. The first
/// of them hangs if it is told so.
pub(crate) fn call_by_orders(at: &[Endpoint]) {
    let hasty = client(at, Duration::from_millis(300));
    // It does not ask again.
    let patient = client(at, LONG.deadline);
    for (verb, numbers) in orders() {
        let own = std::process::id();
        let client = match verb.as_str() {
            "hang" => &patient,
            _ => &hasty,
        };
        let calls: FuturesUnordered<_> = (0..numbers[0])
            .map(|number| {
                let what = match number {
                    0 => &verb,
                    _ => "call",
                };
                let body = Message::from(format!("{what} {own} {number}"));
                let call = client.call_async("work", body.clone(), &LONG);
                async move { call.await.map(|reply| reply == body) }
            })
            .collect();
        let ends: Vec<_> = futures::executor::block_on(calls.collect());
        let count = |end| ends.iter().filter(|found| **found == end).count();
        let (right, wrong) = (count(Ok(true)), count(Ok(false)));
        say(&format!(
            "answered {right} {wrong} {}",
            ends.len() - right - wrong
        ));
    }
}

pub(crate) fn calling(at: &Endpoint) -> Remote {
    Remote::start("client of a broker", std::slice::from_ref(at))
}

/// Waits until the broker is so: requests that wait, that workers have, and workers.
pub(crate) fn until_state(broker: &mut Remote, state: [usize; 3]) {
    let expected = state.map(|number| number.to_string()).join(" ");
    let end = Instant::now() + LONG.deadline;
    loop {
        broker.tell("state");
        let found = broker.says("state");
        if found == expected {
            return;
        }
        assert!(Instant::now() < end, "it is {found}, and not {expected}");
        thread::yield_now();
    }
}

/// FB, KB under load: every client has its own replies, workers come back, and the broker holds nothing in the end.
#[test]
fn a_broker_is_frozen_and_killed_under_load() {
    for harm in [Harm::Freeze, Harm::Kill] {
        let (mut broker, at) = Victim::bound("broker");
        let workers = [(); 2].map(|()| Remote::worker(std::slice::from_ref(&at)));
        until_state(broker.remote(), [0, 0, 2]);
        let mut clients = [(); 2].map(|()| calling(&at));
        for client in &mut clients {
            client.tell("call 300");
        }
        workers[0].says("did");
        broker.suffer(harm);
        // Longer than heartbeats are waited for: its workers have left it.
        let short = CallOptions {
            deadline: Duration::from_millis(500),
            ..LONG
        };
        let error = client(&[at], LONG.deadline)
            .call("work", "x", &short)
            .unwrap_err();
        let ended = matches!(
            error,
            CallError::TimedOut { .. } | CallError::Disconnected { .. }
        );
        assert!(ended, "{harm:?}: {error}");
        broker.recover();
        for client in &clients {
            assert_eq!(client.says("answered"), "300 0 0", "{harm:?}");
        }
        until_state(broker.remote(), [0, 0, 2]);
    }
}

/// A client is killed while a worker has one of its requests and others wait: what waits is dropped, and the reply to
/// the one is nobody's. Another's replies are its own.
#[test]
fn a_client_of_a_broker_is_killed() {
    let (mut broker, at) = Victim::bound("broker");
    let mut worker = Remote::worker(std::slice::from_ref(&at));
    let [mut killed, mut other] = [(); 2].map(|()| calling(&at));
    killed.tell(&format!("hang {AT_ONCE}"));
    worker.says("hangs on");
    until_state(broker.remote(), [AT_ONCE - 1, 1, 1]);
    other.tell("call 1");
    until_state(broker.remote(), [AT_ONCE, 1, 1]);
    let gone = format!(" {} ", killed.id());
    killed.kill();
    until_state(broker.remote(), [1, 1, 1]);
    worker.go_on();
    assert_eq!(other.says("answered"), "1 0 0");
    other.tell("call 100");
    assert_eq!(other.says("answered"), "100 0 0");
    until_state(broker.remote(), [0, 0, 1]);
    // Of those that waited none was carried out.
    let mut ours = 0;
    while ours < 101 {
        let did = worker.says("did");
        match did.contains(&gone) {
            true => assert!(did.starts_with("hang"), "{did}"),
            false => ours += 1,
        }
    }
}

/// A client is frozen with requests of every state: others go on, and it has its own replies when it thaws.
#[test]
fn a_client_of_a_broker_is_frozen() {
    let (mut broker, at) = Victim::bound("broker");
    let mut worker = Remote::worker(std::slice::from_ref(&at));
    let [mut frozen, mut other] = [(); 2].map(|()| calling(&at));
    frozen.tell(&format!("hang {AT_ONCE}"));
    worker.says("hangs on");
    until_state(broker.remote(), [AT_ONCE - 1, 1, 1]);
    frozen.freeze();
    worker.go_on();
    other.tell("call 100");
    assert_eq!(other.says("answered"), "100 0 0");
    until_state(broker.remote(), [0, 0, 1]);
    frozen.thaw();
    assert_eq!(frozen.says("answered"), format!("{AT_ONCE} 0 0"));
    frozen.tell("call 50");
    assert_eq!(frozen.says("answered"), "50 0 0");
    until_state(broker.remote(), [0, 0, 1]);
}
