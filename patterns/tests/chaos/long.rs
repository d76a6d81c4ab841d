//! Minutes of calls while processes are killed: not part of every day's tests. `PATTERNS_SECONDS` says how long, 60 by
//! default; what was seen is printed.

use std::env;
use std::future::Future;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{select, Either};
use futures::stream::{FuturesUnordered, StreamExt};
use sinew::Message;
use sinew_patterns::common::{CallError, CallOptions, Headers, Idem};

use crate::majordomo;
use crate::remote::Remote;
use crate::requests;

/// Between two calls, and between two kills.
const PACE: Duration = Duration::from_millis(1);
const KILLS: Duration = Duration::from_secs(2);

const OPTIONS: CallOptions = CallOptions {
    deadline: Duration::from_secs(20),
    idem: Idem::Safe,
    priority: 0,
    headers: Headers::new(),
};

/// A thousand calls a second, while somebody is killed every two seconds. Each ends with its own reply.
fn storm<F>(name: &str, call: impl Fn(Message) -> F, mut kill: impl FnMut() + Send + 'static)
where
    F: Future<Output = Result<Message, CallError>>,
{
    let seconds = env::var("PATTERNS_SECONDS").map_or(60, |text| text.parse().unwrap());
    let (stop, stopped) = mpsc::channel::<()>();
    let killer = thread::spawn(move || {
        let mut kills = 0;
        while stopped.recv_timeout(KILLS) == Err(RecvTimeoutError::Timeout) {
            kill();
            kills += 1;
        }
        kills
    });
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let mut took = futures::executor::block_on(async {
        let ask = |number: u64, at: Instant| {
            let body = Message::from(number.to_string());
            let reply = call(body.clone());
            async move {
                assert_eq!(reply.await.as_ref(), Ok(&body));
                at.elapsed()
            }
        };
        let (mut running, mut took) = (FuturesUnordered::new(), Vec::new());
        let (mut next, mut number) = (begin, 0);
        while next < end {
            match select(sinew::sleep_until(next), running.next()).await {
                Either::Right((Some(span), _)) => took.push(span),
                // Either its time has come, or none is running and it has come soon.
                Either::Left(_) | Either::Right((None, _)) => {
                    sinew::sleep_until(next).await;
                    running.push(ask(number, next));
                    (next, number) = (next + PACE, number + 1);
                }
            }
        }
        while let Some(span) = running.next().await {
            took.push(span);
        }
        took
    });
    drop(stop);
    let kills: u32 = killer.join().unwrap();
    took.sort_unstable();
    let at = |hundredths: usize| took[(took.len() - 1) * hundredths / 100];
    println!(
        "{name}: {} calls in {:?}, {kills} kills; half within {:?}, 99 in 100 within {:?}, all within {:?}",
        took.len(),
        begin.elapsed(),
        at(50),
        at(99),
        at(100)
    );
    assert_eq!(took.len() as u64, seconds * 1000);
}

/// RPC-01.
#[test]
#[ignore = "takes a minute: see CONTRIBUTING.md"]
fn servers_are_killed_for_a_minute() {
    let (first, at_first) = Remote::server();
    let (second, at_second) = Remote::server();
    let client = requests::client(&[&at_first, &at_second], OPTIONS.deadline);
    let mut servers = vec![(first, at_first), (second, at_second)];
    let kill = move || {
        let (server, at) = servers.remove(0);
        server.kill();
        servers.push((Remote::server_at(&at), at));
    };
    storm("rpc", |body| client.call_async(body, &OPTIONS), kill);
}

/// MDP-01.
#[test]
#[ignore = "takes a minute: see CONTRIBUTING.md"]
fn workers_are_killed_for_a_minute() {
    let (_broker, at) = Remote::broker(&majordomo::any_port());
    let brokers = [at];
    let mut workers: Vec<Remote> = (0..4).map(|_| Remote::worker(&brokers)).collect();
    let client = majordomo::client(&brokers, OPTIONS.deadline);
    let kill = move || {
        workers.remove(0).kill();
        workers.push(Remote::worker(&brokers));
    };
    storm(
        "mdp",
        |body| client.call_async("work", body, &OPTIONS),
        kill,
    );
}
