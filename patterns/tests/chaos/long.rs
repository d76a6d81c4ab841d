//! Minutes of calls while processes are killed, and of a gate that is asked too much: not part of every day's tests. `PATTERNS_SECONDS` says how long, 60 by
//! default; what was seen is printed.

use std::collections::BTreeMap;
use std::env;
use std::future::Future;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{select, Either};
use futures::stream::{FuturesUnordered, StreamExt};
use sinew::{Dealer, Message, Router};
use sinew_patterns::common::{CallError, CallOptions, Headers, Idem};
use sinew_patterns::flow::{Admitted, GateConfig, GatedRouter};

use crate::majordomo;
use crate::remote::Remote;
use crate::requests;
use crate::stalls::Stalls;

/// Between two calls, and between two kills.
const PACE: Duration = Duration::from_millis(1);
const KILLS: Duration = Duration::from_secs(2);

/// How far calls may be behind their time.
const BEHIND: Duration = Duration::from_millis(100);

const OPTIONS: CallOptions = CallOptions {
    deadline: Duration::from_secs(20),
    idem: Idem::Safe,
    priority: 0,
    headers: Headers::new(),
};

/// RPC-01: how long after its deadline a call may end. In virtual time that is not at all. Here it is this, and what the
/// machine adds: a call that ends by time goes through two threads, each of which may be woken late, and the killer and the
/// servers take turns as well.
const LATE: Duration = Duration::from_millis(50);
const SLACK: u32 = 4;

/// So many calls with this deadline, a thousand a second, while somebody is killed after each pause. Each call ends in
/// time, and a reply is its own; those that have none, and why.
fn storm<F>(
    name: &str,
    calls: u64,
    deadline: Duration,
    pause: Duration,
    call: impl Fn(u64) -> F,
    mut kill: impl FnMut() + Send + 'static,
) -> BTreeMap<u64, CallError>
where
    F: Future<Output = Result<Message, CallError>>,
{
    let stalls = Stalls::watch();
    let (stop, stopped) = mpsc::channel::<()>();
    let killer = thread::spawn(move || {
        let mut kills = 0;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            kill();
            kills += 1;
        }
        kills
    });
    type End = (u64, Result<Message, CallError>, Duration, Duration);
    let mut latest = Duration::ZERO;
    let begin = Instant::now();
    let (mut took, errors) = futures::executor::block_on(async {
        let ask = |number: u64, at: Instant| {
            let (begun, reply) = (Instant::now(), call(number));
            async move {
                let reply = reply.await;
                let late = begun.elapsed().saturating_sub(deadline);
                (number, reply, at.elapsed(), late)
            }
        };
        let (mut took, mut errors) = (Vec::new(), BTreeMap::new());
        let mut ended = |(number, reply, span, late): End| {
            took.push(span);
            latest = latest.max(late);
            match reply {
                Ok(reply) => assert_eq!(reply, Message::from(number.to_string())),
                Err(error) => drop(errors.insert(number, error)),
            }
        };
        let mut running = FuturesUnordered::new();
        let (mut next, mut number) = (begin, 0);
        while number < calls {
            match select(sinew::sleep_until(next), running.next()).await {
                Either::Right((Some(end), _)) => ended(end),
                // Either its time has come, or none is running and it has come soon.
                Either::Left(_) | Either::Right((None, _)) => {
                    sinew::sleep_until(next).await;
                    running.push(ask(number, next));
                    // A machine that stood still is not asked for all at once what it was not asked for meanwhile.
                    let behind = Instant::now().checked_sub(BEHIND).unwrap_or(next);
                    (next, number) = ((next + PACE).max(behind), number + 1);
                }
            }
        }
        while let Some(end) = running.next().await {
            ended(end);
        }
        (took, errors)
    });
    drop(stop);
    let kills: u32 = killer.join().unwrap();
    let stall = stalls.longest();
    took.sort_unstable();
    let at = |hundredths: usize| took[(took.len() - 1) * hundredths / 100];
    println!(
        "{name}: {} calls in {:?}, {kills} kills; half within {:?}, 99 in 100 within {:?}, all within {:?}; {} without \
         a reply; none ended more than {latest:?} after its deadline, where a thread that only waits was {stall:?} late",
        took.len(),
        begin.elapsed(),
        at(50),
        at(99),
        at(100),
        errors.len()
    );
    assert_eq!(took.len() as u64, calls);
    assert!(
        latest <= LATE + stall * SLACK,
        "{latest:?} after its deadline"
    );
    errors
}

/// As many as there are in a minute, or as long as the environment says.
fn calls_of_a_minute() -> u64 {
    let seconds: u64 = env::var("PATTERNS_SECONDS").map_or(60, |text| text.parse().unwrap());
    seconds * 1000
}

/// RPC-01.
#[test]
#[ignore = "takes a minute: see CONTRIBUTING.md"]
fn servers_are_killed_for_a_minute() {
    let servers = [Remote::server(), Remote::server()];
    let client = requests::client(&[&servers[0].1, &servers[1].1], OPTIONS.deadline);
    let mut servers = Vec::from(servers);
    let kill = move || {
        let (server, at) = servers.remove(0);
        server.kill();
        servers.push((Remote::server_at(&at), at));
    };
    let call = |number: u64| client.call_async(number.to_string(), &OPTIONS);
    let errors = storm(
        "rpc",
        calls_of_a_minute(),
        OPTIONS.deadline,
        KILLS,
        call,
        kill,
    );
    assert_eq!(errors, BTreeMap::new());
}

/// RPC-01: the only server is away for longer than calls have time. Those of that time end at their deadline, and the others
/// with their own reply.
#[test]
fn calls_end_in_time_while_the_only_server_is_killed() {
    let options = CallOptions {
        deadline: Duration::from_millis(200),
        ..OPTIONS
    };
    let (server, at) = Remote::server();
    let client = requests::client(&[&at], options.deadline);
    let mut server = Some(server);
    // Killed, and back, by turns.
    let turn = move || match server.take() {
        Some(running) => running.kill(),
        None => server = Some(Remote::server_at(&at)),
    };
    let call = |number: u64| client.call_async(number.to_string(), &options);
    let pause = 2 * options.deadline;
    let errors = storm("rpc, in time", 2000, options.deadline, pause, call, turn);
    let over = |error: &CallError| {
        matches!(
            error,
            CallError::TimedOut { .. } | CallError::Disconnected { .. }
        )
    };
    assert!(errors.values().all(over), "{errors:?}");
    assert!(
        (1..2000).contains(&errors.len()),
        "{} of 2000",
        errors.len()
    );
}

/// RPC-02: what has a reply was carried out once, and what has none once at most: its server was killed with it, and
/// who has no reply is told so.
fn servers_with_a_store(calls: u64, pause: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let servers = requests::storing_servers(directory.path());
    let client = requests::client(&[&servers[0].1, &servers[1].1], OPTIONS.deadline);
    let mut servers = Vec::from(servers);
    let path = directory.path().to_owned();
    let kill = move || {
        let (server, at) = servers.remove(0);
        server.kill();
        servers.push(Remote::storing_server(&at, &path));
    };
    let call = |number: u64| client.call_async(number.to_string(), &requests::with_key(number));
    let deadline = requests::with_key(0).deadline;
    let errors = storm("rpc, keys", calls, deadline, pause, call, kill);
    assert!((errors.len() as u64) < calls / 2, "{errors:?}");
    let effects = requests::effects(directory.path());
    let twice = effects.iter().find(|(_, times)| **times != 1);
    assert_eq!(twice, None);
    for number in 0..calls {
        let done = effects.contains_key(&number.to_string());
        match errors.get(&number) {
            None => assert!(done, "{number}"),
            Some(error) => assert!(!done || error.maybe_executed(), "{number}: {error}"),
        }
    }
}

#[test]
#[ignore = "takes a minute: see CONTRIBUTING.md"]
fn servers_with_a_store_are_killed_for_a_minute() {
    servers_with_a_store(calls_of_a_minute(), KILLS);
}

#[test]
fn servers_with_a_store_are_killed_for_a_moment() {
    servers_with_a_store(600, Duration::from_millis(150));
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
    let call = |number: u64| client.call_async("work", number.to_string(), &OPTIONS);
    let errors = storm(
        "mdp",
        calls_of_a_minute(),
        OPTIONS.deadline,
        KILLS,
        call,
        kill,
    );
    assert_eq!(errors, BTreeMap::new());
}

/// FLW-04: two clients ask a hundred times what four can do who take 10 ms for each, for ten seconds. All have an
/// answer; how many are done, and how long they and the others took, is printed, by the clock of the clients. Nine in ten of
/// what can be done is done; of those who get in 99 in 100 are done within their patience, and of the others 99 in 100 hear
/// of it within 5 ms.
#[test]
#[ignore = "takes ten seconds: see CONTRIBUTING.md"]
fn a_gate_for_ten_seconds() {
    const INSIDE: usize = 4;
    const SERVICE: Duration = Duration::from_millis(10);
    const PATIENCE: Duration = Duration::from_millis(200);
    const REFUSAL: Duration = Duration::from_millis(5);
    const CLIENTS: usize = 2;
    const SPAN: Duration = Duration::from_secs(10);
    const TICK: Duration = Duration::from_millis(1);
    let capacity = INSIDE * (SPAN.as_millis() / SERVICE.as_millis()) as usize;
    let mut router = Router::new();
    let at = router.bind("tcp://127.0.0.1:*").unwrap();
    let mut config = GateConfig {
        inside: INSIDE,
        ..GateConfig::default()
    };
    // As many as are served in three quarters of the patience.
    config.queue.messages = 60;
    let refuse = |request: &Message, _| Some(told(request, "full"));
    let mut gated = GatedRouter::new(router, config, Some(PATIENCE), refuse);
    let (give, given) = mpsc::channel::<Admitted>();
    let (finish, finished) = mpsc::channel();
    let given = Arc::new(Mutex::new(given));
    for _ in 0..INSIDE {
        let (given, finish) = (Arc::clone(&given), finish.clone());
        // Each ends with the gate.
        thread::spawn(move || loop {
            let next = given.lock().unwrap().recv();
            let Ok(request) = next else {
                return;
            };
            futures::executor::block_on(sinew::sleep_until(Instant::now() + SERVICE));
            if finish.send(request).is_err() {
                return;
            }
        });
    }
    let begin = Instant::now();
    let asking: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let at = at.clone();
            thread::spawn(move || {
                let mut dealer = Dealer::builder().connect(&at).unwrap();
                let asked = 100 * capacity / CLIENTS;
                let pause = SPAN / asked as u32;
                let (mut sent, mut tick) = (0, begin);
                let (mut done, mut full) = (Vec::new(), Vec::new());
                while done.len() + full.len() < asked {
                    // All whose time has come, and then what comes back: one that never slept would take the
                    // processor that the gate needs.
                    while sent < asked && begin + pause * sent as u32 <= Instant::now() {
                        sent += 1;
                        let at = begin.elapsed().as_nanos() as u64;
                        dealer.send(at.to_be_bytes()).unwrap();
                    }
                    tick += TICK;
                    let until = if sent < asked { tick } else { begin + SPAN * 3 };
                    loop {
                        let reply: Message = match dealer.recv_deadline(until) {
                            Ok(reply) => reply,
                            Err(_) if sent < asked => break,
                            Err(error) => {
                                let answers = done.len() + full.len();
                                panic!("{error}: {answers} of {asked}, {:?}", dealer.stats());
                            }
                        };
                        let [at, what] = reply.frames() else {
                            panic!("{reply:?}");
                        };
                        let at = u64::from_be_bytes(at.as_slice().try_into().unwrap());
                        let took = begin.elapsed() - Duration::from_nanos(at);
                        match what.as_slice() {
                            b"done" => done.push(took),
                            _ => full.push(took),
                        }
                        if done.len() + full.len() == asked {
                            break;
                        }
                    }
                }
                (done, full)
            })
        })
        .collect();
    while !asking.iter().all(thread::JoinHandle::is_finished) {
        for request in finished.try_iter() {
            gated.done(request.ticket, Some(told(&request.message, "done")));
        }
        let tick = Instant::now() + Duration::from_micros(100);
        if let Some(request) = gated.recv_deadline(tick) {
            give.send(request).unwrap();
        }
    }
    assert_eq!(gated.load(), (0, 0, 0));
    let (mut done, mut full) = (Vec::new(), Vec::new());
    for client in asking {
        let (ours, theirs) = client.join().unwrap();
        done.extend(ours);
        full.extend(theirs);
    }
    done.sort_unstable();
    full.sort_unstable();
    let within = |spans: &[Duration]| spans[(spans.len() - 1) * 99 / 100];
    println!(
        "gate: {} done of {capacity}, 99 in 100 within {:?}; {} turned away, 99 in 100 within {:?}",
        done.len(),
        within(&done),
        full.len(),
        within(&full)
    );
    assert!(done.len() <= capacity + capacity / 100 && full.len() > done.len());
    assert!(done.len() >= capacity * 9 / 10, "{}", done.len());
    let (done, full) = (within(&done), within(&full));
    assert!(done <= PATIENCE && full <= REFUSAL, "{done:?} {full:?}");
}

/// What a client is told: its message, and what became of it.
fn told(request: &Message, what: &'static str) -> Message {
    Message::multipart([request.frames()[0].clone(), what.into()])
}
