//! Services by name (`mdp`): a broker, two services with two workers each, and clients, while workers and the
//! broker are killed.

#[path = "../support/mod.rs"]
mod support;

use std::thread;
use std::time::Duration;

use sinew::{Context, Message};
use sinew_patterns::common::{CallOptions, Fault, RetryPolicy};
use sinew_patterns::mdp::{
    Broker, BrokerConfig, BrokerEngine, Client, ClientConfig, Worker, WorkerConfig,
};
use support::{joined, misused, Fleet, Options, Progress, Result, PATIENCE};

const USAGE: &str = "usage: majordomo [--chaos] [--seed N] [--calls N] [broker ENDPOINT | worker ENDPOINT SERVICE]
Two clients make N (1000) calls each. Broker and workers are processes of their own; with --chaos they are
killed and started again meanwhile, at times that follow from the seed. Services: upper, reverse.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let chaos = options
        .flag("--chaos")
        .then_some(options.value("--seed", 1)?);
    let calls = options.count("--calls", 1000)?;
    match options.words()?.strs()[..] {
        [] => demonstration(chaos, calls),
        ["broker", endpoint] => broker(endpoint),
        ["worker", endpoint, service] => worker(endpoint, service),
        _ => misused(USAGE),
    }
}

fn broker(endpoint: &str) -> Result {
    let engine = BrokerEngine::new(BrokerConfig::default());
    let broker = Broker::bind(&Context::default(), &[endpoint], engine)?;
    broker.run();
    Ok(())
}

fn worker(endpoint: &str, service: &str) -> Result {
    let name = service.to_owned();
    let config = WorkerConfig::default();
    let worker = Worker::connect(&Context::default(), &[endpoint], name, config)?;
    Ok(worker.serve(|request| {
        let text = request.body().frames()[0].to_str();
        let text = text.map_err(|_| Fault::failed("not UTF-8"))?;
        Ok(Message::from(answer(service, text)))
    })?)
}

fn answer(service: &str, text: &str) -> String {
    match service {
        "upper" => text.to_uppercase(),
        _ => text.chars().rev().collect(),
    }
}

fn demonstration(chaos: Option<u64>, calls: u32) -> Result {
    let directory = tempfile::tempdir()?;
    let endpoint = format!("ipc://{}/broker", directory.path().display());
    let mut processes = vec![vec!["broker", &endpoint]];
    for service in ["upper", "upper", "reverse", "reverse"] {
        processes.push(vec!["worker", &endpoint, service]);
    }
    let owned = |process: Vec<&str>| process.into_iter().map(String::from).collect();
    let processes = processes.into_iter().map(owned).collect();
    let fleet = Fleet::start(processes, chaos, Duration::from_millis(10))?;

    let config = ClientConfig {
        retry: RetryPolicy {
            attempt_timeout: Duration::from_millis(300),
            max_attempts: 1000,
            budget: None, // no limit but the deadline: these are two clients
            breaker: None,
            ..RetryPolicy::default()
        },
        ..ClientConfig::default()
    };
    let client = Client::connect(&Context::default(), &[endpoint], config)?;
    let callers = ["upper", "reverse"].map(|service| {
        let (client, progress) = (client.clone(), fleet.progress());
        thread::spawn(move || caller(&client, service, calls, &progress))
    });
    for caller in callers {
        joined(caller.join())?;
    }
    let retries = client.counters().retries;
    client.close();
    println!("{} processes killed, {retries} retries", fleet.end()?);
    println!("{} calls, all with the right reply", 2 * calls);
    Ok(())
}

fn caller(client: &Client, service: &'static str, calls: u32, progress: &Progress) -> Result {
    let options = CallOptions {
        deadline: PATIENCE,
        ..CallOptions::default()
    };
    for number in 0..calls {
        let question = format!("question {number}");
        let reply = client.call(service, question.clone(), &options)?;
        if reply.as_bytes() != answer(service, &question).as_bytes() {
            return Err(format!("{reply:?} to {question}").into());
        }
        progress.made();
    }
    Ok(())
}
