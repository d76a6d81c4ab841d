//! Stopping workers: each waits for tasks (PULL) and for the end (SUB) at once.

#[path = "../support/mod.rs"]
mod support;

use std::thread;

use sinew::{Endpoint, Interest, PollItem, Poller, Pub, Pull, Push, Sub};
use support::{joined, Options, Result, PATIENCE};

const USAGE: &str = "usage: pipeline_kill [--tasks N] [--workers N]
N (3) workers square N (3000) numbers, and are told to end when all results are there.";

const ANYWHERE: &str = "tcp://127.0.0.1:*";

/// Squares numbers until it is told to end.
fn worker(tasks: Endpoint, results: Endpoint, control: Endpoint) -> Result {
    let mut pull = Pull::builder().connect(tasks)?;
    let mut push = Push::builder().connect(results)?;
    let mut sub = Sub::new();
    sub.subscribe("END")?;
    sub.connect(control)?;
    let mut poller = Poller::new()?;
    loop {
        let mut items = [
            PollItem::socket(&mut pull, Interest::READABLE),
            PollItem::socket(&mut sub, Interest::READABLE),
        ];
        let events = poller.wait(&mut items, None)?;
        if events.is_readable(0) {
            let number: u64 = pull.recv()?.frames()[0].to_str()?.parse()?;
            push.send((number * number).to_string())?;
        } else if events.is_readable(1) {
            return Ok(());
        }
    }
}

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let tasks: u64 = options.count("--tasks", 3000)?;
    let count = options.count("--workers", 3)?;
    options.end()?;
    let (mut push, mut pull, mut control) = (Push::new(), Pull::new(), Pub::new());
    let ends = [
        push.bind(ANYWHERE)?,
        pull.bind(ANYWHERE)?,
        control.bind(ANYWHERE)?,
    ];
    let start = |_| {
        let [tasks, results, control] = ends.clone();
        thread::spawn(move || worker(tasks, results, control))
    };
    let workers: Vec<_> = (0..count).map(start).collect();

    push.wait_for_peers(count, PATIENCE)?;
    control.wait_for_subscribers(count, PATIENCE)?;
    let sender =
        thread::spawn(move || (1..=tasks).try_for_each(|task| push.send(task.to_string())));
    let result = |_| Ok(pull.recv()?.frames()[0].to_str()?.parse::<u64>()?);
    let sum: u64 = (0..tasks).map(result).sum::<Result<u64>>()?;
    joined(sender.join().map(|sent| Ok(sent?)))?;
    control.send("END")?;
    for worker in workers {
        joined(worker.join())?;
    }
    println!("{tasks} results, sum {sum}; {count} workers have ended");
    Ok(())
}
