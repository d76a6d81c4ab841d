//! A pipeline (PUSH, PULL): tasks are dealt out to workers, and a sink collects what they did.

#[path = "../support/mod.rs"]
mod support;

use std::{thread, time::Instant};

use sinew::{Pull, Push, ToEndpoint};
use support::{joined, misused, Options, Result, PATIENCE};

const USAGE: &str = "usage: pipeline [--tasks N] [--workers N] [ventilator ENDPOINT | sink ENDPOINT | worker TASKS RESULTS]
A ventilator waits for its WORKERS (3) and deals out TASKS (3000), a worker squares numbers until it
is stopped, a sink adds up. Without a role all of them run here.";

/// A port that the system chooses.
const ANYWHERE: &str = "tcp://127.0.0.1:*";

fn ventilator(mut push: Push, tasks: u64, workers: usize) -> Result {
    println!("{}", push.bound_endpoints()[0]);
    // Tasks go to whoever is there: without this the first worker would get the first thousand.
    push.wait_for_peers(workers, PATIENCE)?;
    for task in 1..=tasks {
        push.send(task.to_string())?;
    }
    push.close(); // or what is still queued would be lost with the process
    Ok(())
}

fn worker(tasks: impl ToEndpoint, results: impl ToEndpoint) -> Result {
    let mut pull = Pull::builder().connect(tasks)?;
    let mut push = Push::builder().connect(results)?;
    loop {
        let number: u64 = pull.recv()?.frames()[0].to_str()?.parse()?;
        push.send((number * number).to_string())?;
    }
}

fn sink(mut pull: Pull, tasks: u64) -> Result {
    println!("{}", pull.bound_endpoints()[0]);
    let (mut sum, started) = (0, Instant::now());
    for _ in 0..tasks {
        sum += pull.recv()?.frames()[0].to_str()?.parse::<u64>()?;
    }
    println!("{:?} from the first to the last", started.elapsed());
    println!("{tasks} results, sum {sum}");
    Ok(())
}

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let tasks = options.count("--tasks", 3000)?;
    let workers = options.count("--workers", 3)?;
    match options.words()?.strs()[..] {
        [] => {
            let (mut push, mut pull) = (Push::new(), Pull::new());
            let ends = [push.bind(ANYWHERE)?, pull.bind(ANYWHERE)?];
            for _ in 0..workers {
                let [tasks, results] = ends.clone();
                // They end with the process; `pipeline_kill` shows how to stop them.
                thread::spawn(|| worker(tasks, results));
            }
            let ventilator = thread::spawn(move || ventilator(push, tasks, workers));
            sink(pull, tasks)?;
            joined(ventilator.join())
        }
        ["ventilator", endpoint] => ventilator(Push::builder().bind(endpoint)?, tasks, workers),
        ["sink", endpoint] => sink(Pull::builder().bind(endpoint)?, tasks),
        ["worker", tasks, results] => worker(tasks, results),
        _ => misused(USAGE),
    }
}
