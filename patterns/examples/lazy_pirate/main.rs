//! Asks again until there is a reply (`rpc::Requester`), while servers die with requests in their hands.

#[path = "../support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::time::Duration;

use sinew::{Context, Rep};
use sinew_patterns::rpc::{CallError, CallOptions, Idem, Requester, RequesterConfig};
use support::{misused, Fleet, Options, Result};

const USAGE: &str = "usage: lazy_pirate [--chaos] [--seed N] [--calls N]
Makes N (300) calls to two equivalent servers, processes of their own. With --chaos they are killed and
started again meanwhile, at times that follow from the seed.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let chaos = options.flag("--chaos");
    let seed: u64 = options.value("--seed", 1)?;
    let calls: u32 = options.count("--calls", 300)?;
    match options.words()?.strs()[..] {
        [] => demonstration(chaos, seed, calls),
        ["server", endpoint] => serve(endpoint),
        _ => misused(USAGE),
    }
}

/// A plain REP; it could be of any language.
fn serve(endpoint: &str) -> Result {
    let mut rep = Rep::builder().bind(endpoint)?;
    loop {
        let request = rep.recv()?;
        rep.send([request.as_bytes(), b" done"].concat())?;
    }
}

fn demonstration(chaos: bool, seed: u64, calls: u32) -> Result {
    let directory = tempfile::tempdir()?;
    let endpoints =
        ["one", "two"].map(|name| format!("ipc://{}/{name}", directory.path().display()));
    let servers = endpoints.iter().map(|at| vec!["server".into(), at.clone()]);
    let pace = Duration::from_millis(2);
    let fleet = Fleet::start(servers.collect(), chaos.then_some(seed), pace)?;
    let progress = fleet.progress();

    let config = RequesterConfig {
        attempt_timeout: Duration::from_millis(200),
        max_attempts: 50,
        budget: None, // no limit but the deadline: this is one client
        ..RequesterConfig::default()
    };
    let mut requester = Requester::connect(&Context::default(), &endpoints, config)?;
    let mut right = HashSet::new();
    let (mut failed, mut unsure) = (0, 0);
    for call in 0..calls {
        // Every tenth call must not be carried out twice: it is sent once, and may fail.
        let once = call % 10 == 9;
        let mut options = CallOptions::default();
        if once {
            options.idem = Idem::Once;
        }
        match requester.call(format!("call {call}"), &options) {
            Ok(reply) if reply.as_bytes() == format!("call {call} done").as_bytes() => {
                right.insert(call);
            }
            Ok(reply) => return Err(format!("{reply:?} to call {call}").into()),
            Err(error) if once && known(&error) => {
                failed += 1;
                unsure += u32::from(error.maybe_executed());
            }
            Err(error) => return Err(format!("call {call}: {error}").into()),
        }
        progress.made();
    }
    let killed = fleet.end()?;

    let counters = requester.counters();
    println!("{killed} servers killed, {} retries", counters.retries);
    println!("{} right replies", right.len());
    println!("{failed} calls to be made once failed, {unsure} of them may have been carried out");
    match right.len() + failed == calls as usize {
        true => println!("{calls} calls, each ended once, none with a wrong reply"),
        false => return Err("calls are missing".into()),
    }
    Ok(())
}

fn known(error: &CallError) -> bool {
    matches!(
        error,
        CallError::TimedOut { .. } | CallError::Disconnected { .. }
    )
}
