//! Three topologies over three transports, in one process: every message is checked.
//!
//! ```sh
//! cargo run --release --example quickstart
//! ```
//!
//! - **pipeline**: a ventilator deals numbers to two workers, a sink adds up their squares (PUSH, PULL).
//! - **request-reply**: several clients (REQ) ask one service (REP).
//! - **publish-subscribe**: one feed (PUB), three subscribers (SUB) that want different topics.
//!
//! Only the endpoint differs between TCP, IPC and inproc. If anything is lost, repeated or wrong, the
//! exit code is not 0. The rates include connecting; `cargo bench --bench compare` is for measuring.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Endpoint, Message, Pub, Pull, Push, RecvError, Rep, Req, Sub};

type Failure = Box<dyn Error + Send + Sync>;

/// Nothing here takes so long, unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often an idle worker looks whether the work is done.
const GLANCE: Duration = Duration::from_millis(20);

const TASKS: u64 = 1_000_000;
const WORKERS: usize = 2;
const CLIENTS: u64 = 4;
const REQUESTS_EACH: u64 = 5_000;
const NEWS: u64 = 600_000;
const TOPICS: [&str; 3] = ["weather.", "sports.", "music."];

fn main() -> Result<(), Failure> {
    println!("Three topologies over three transports; every message is checked.");
    for transport in ["tcp", "ipc", "inproc"] {
        println!("\nover {transport}");
        pipeline(transport)?;
        request_reply(transport)?;
        publish_subscribe(transport)?;
    }
    println!("\nAll counts and sums are as they should be.");
    Ok(())
}

/// An endpoint to bind to. The system chooses the port or the path; an inproc endpoint is any name.
fn anywhere(transport: &str, role: &str) -> String {
    match transport {
        "tcp" => "tcp://127.0.0.1:*".into(),
        "ipc" => "ipc://*".into(),
        _ => format!("inproc://quickstart-{role}"),
    }
}

/// Ventilator → two workers → sink.
fn pipeline(transport: &str) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut ventilator, tasks) = Push::builder()
        .send_timeout(PATIENCE)
        .bound(anywhere(transport, "tasks"))?;
    let (mut sink, results) = Pull::builder()
        .recv_timeout(PATIENCE)
        .bound(anywhere(transport, "results"))?;
    let done = AtomicBool::new(false);

    let (sum, shares) = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| scope.spawn(|| worker(&tasks, &results, &done)))
            .collect();
        let sender = scope.spawn(move || -> Result<u64, Failure> {
            // Work is dealt out to whoever is there: wait for both, so that both get a share.
            ventilator.wait_for_peers(WORKERS, PATIENCE)?;
            for number in 1..=TASKS {
                ventilator.send(number.to_le_bytes())?;
            }
            Ok(ventilator.close().unsent)
        });
        let sum = (0..TASKS).try_fold(0, |sum: u64, _| {
            Ok::<_, Failure>(sum + number(&sink.recv()?)?)
        });
        done.store(true, Ordering::Relaxed);
        check("unsent tasks", joined(sender)?, 0)?;
        let shares = workers
            .into_iter()
            .map(joined)
            .collect::<Result<Vec<u64>, _>>()?;
        Ok::<_, Failure>((sum?, shares))
    })?;

    check("tasks done", shares.iter().sum(), TASKS)?;
    check(
        "sum of squares",
        sum,
        TASKS * (TASKS + 1) * (2 * TASKS + 1) / 6,
    )?;
    let facts = format!("{TASKS} tasks, {WORKERS} workers did {shares:?}, sum of squares {sum}");
    report("pipeline", &facts, TASKS, "tasks", started);
    Ok(())
}

/// Squares numbers until the work is done; returns how many it squared.
fn worker(tasks: &Endpoint, results: &Endpoint, done: &AtomicBool) -> Result<u64, Failure> {
    let mut input = Pull::builder().recv_timeout(GLANCE).connect(tasks)?;
    let mut output = Push::builder().send_timeout(PATIENCE).connect(results)?;
    let mut count = 0;
    loop {
        match input.recv() {
            Ok(task) => {
                output.send(number(&task)?.pow(2).to_le_bytes())?;
                count += 1;
            }
            Err(RecvError::Timeout) if done.load(Ordering::Relaxed) => break,
            Err(RecvError::Timeout) => {}
            Err(error) => return Err(error.into()),
        }
    }
    check("unsent results", output.close().unsent, 0)?;
    Ok(count)
}

/// Clients ↔ service.
fn request_reply(transport: &str) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut service, endpoint) = Rep::builder()
        .recv_timeout(PATIENCE)
        .bound(anywhere(transport, "service"))?;
    let total = CLIENTS * REQUESTS_EACH;

    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let endpoint = &endpoint;
                scope.spawn(move || -> Result<u64, Failure> {
                    let mut socket = Req::builder().connect(endpoint)?;
                    let mut right = 0;
                    for turn in 0..REQUESTS_EACH {
                        let asked = client * REQUESTS_EACH + turn;
                        let reply = socket.request_timeout(asked.to_le_bytes(), PATIENCE)?;
                        right += u64::from(number(&reply)? == asked + 1);
                    }
                    Ok(right)
                })
            })
            .collect();
        for _ in 0..total {
            let asked = number(&service.recv()?)?;
            service.send((asked + 1).to_le_bytes())?;
        }
        check("unsent replies", service.close().unsent, 0)?;
        let right = clients
            .into_iter()
            .map(joined)
            .collect::<Result<Vec<u64>, _>>()?;
        check("right answers", right.iter().sum(), total)
    })?;

    let facts =
        format!("{CLIENTS} clients with {REQUESTS_EACH} requests each, {total} right answers");
    report("request-reply", &facts, total, "requests", started);
    Ok(())
}

/// A feed → subscribers, each with a filter of its own.
fn publish_subscribe(transport: &str) -> Result<(), Failure> {
    let started = Instant::now();
    // A publisher drops what a slow subscriber has no room for. This one waits instead, for every
    // message is to be counted.
    let (mut feed, endpoint) = Pub::builder()
        .no_drop(true)
        .send_timeout(PATIENCE)
        .bound(anywhere(transport, "feed"))?;
    let each = NEWS / TOPICS.len() as u64;
    // A filter is the beginning of a topic; an empty one is the beginning of all.
    let wanted = [(TOPICS[0], each), (TOPICS[1], each), ("", NEWS)];

    let counts = thread::scope(|scope| {
        let subscribers = wanted.map(|(filter, expected)| {
            let endpoint = &endpoint;
            scope.spawn(move || subscriber(endpoint, filter, expected))
        });
        feed.wait_for_subscribers(subscribers.len(), PATIENCE)?;
        for item in 0..NEWS {
            let topic = TOPICS[(item % TOPICS.len() as u64) as usize];
            feed.send(Message::multipart([topic.as_bytes(), &item.to_le_bytes()]))?;
        }
        check("unsent news", feed.close().unsent, 0)?;
        subscribers
            .into_iter()
            .map(joined)
            .collect::<Result<Vec<u64>, Failure>>()
    })?;

    let facts = format!(
        "{NEWS} news, subscribers to `{}`, `{}` and everything got {counts:?}",
        TOPICS[0], TOPICS[1]
    );
    report(
        "publish-subscribe",
        &facts,
        counts.iter().sum(),
        "deliveries",
        started,
    );
    Ok(())
}

/// Receives `expected` news, and checks that each is wanted and newer than the one before.
fn subscriber(endpoint: &Endpoint, filter: &str, expected: u64) -> Result<u64, Failure> {
    let mut socket = Sub::builder().recv_timeout(PATIENCE).build()?;
    socket.subscribe(filter)?;
    socket.connect(endpoint)?;
    let mut newest = None;
    for _ in 0..expected {
        let message = socket.recv()?;
        let item = message.frame(1).ok_or("news of one frame")?;
        let item = u64::from_le_bytes(item.as_ref().try_into()?);
        if !message.as_bytes().starts_with(filter.as_bytes()) || newest >= Some(item) {
            return Err(format!("`{filter}`: {message:?} after {newest:?}").into());
        }
        newest = Some(item);
    }
    Ok(expected)
}

fn number(message: &Message) -> Result<u64, Failure> {
    Ok(u64::from_le_bytes(message.as_bytes().try_into()?))
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().map_err(|_| "a thread panicked")?
}

fn check(what: &str, found: u64, expected: u64) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found}, expected {expected}").into())
}

fn report(topology: &str, facts: &str, count: u64, unit: &str, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    println!("  {topology:<18} {rate:>9.0} {unit:<10} per second, {seconds:>5.2} s | {facts}");
}
