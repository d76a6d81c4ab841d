//! Asks again until there is a reply (`rpc::Requester`), while servers die with requests in their hands.

#[path = "../../../examples/support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::process::{Child, Command};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use sinew::{Context, Rep};
use sinew_patterns::common::Random;
use sinew_patterns::rpc::{CallError, CallOptions, Idem, Requester, RequesterConfig};
use support::{joined, misused, Options, Result};

const USAGE: &str = "usage: lazy_pirate [--chaos] [--seed N] [--calls N]
Makes N (300) calls to two equivalent servers, processes of their own. With --chaos they are killed and
started again meanwhile, at times that follow from the seed.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let chaos = options.flag("--chaos");
    let seed: u64 = options.value("--seed", 1)?;
    let calls: u32 = options.value("--calls", 300)?;
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
    let (enough, told) = channel::<()>();
    let fleet = {
        let endpoints = endpoints.clone();
        thread::spawn(move || keep_servers(&endpoints, chaos.then(|| Random::new(seed)), &told))
    };

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
    }
    drop(enough);
    let killed = joined(fleet.join())?;

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

/// Runs a server at each endpoint until there is enough, and kills one now and then; how many.
fn keep_servers(
    endpoints: &[String; 2],
    mut chaos: Option<Random>,
    enough: &Receiver<()>,
) -> Result<u32> {
    let mut servers = [Server::start(&endpoints[0])?, Server::start(&endpoints[1])?];
    let mut killed = 0;
    loop {
        // The pace of the disaster: nobody waits for it to be over.
        let pause = chaos.as_mut().map_or(Duration::MAX, |random| {
            Duration::from_micros(random.below(5000))
        });
        match enough.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Ok(killed),
        }
        if let Some(random) = &mut chaos {
            let which = random.below(2) as usize;
            servers[which].stop();
            servers[which] = Server::start(&endpoints[which])?;
            killed += 1;
        }
    }
}

/// A process that is killed when it is replaced, and when all is over.
struct Server(Child);

impl Server {
    fn start(endpoint: &str) -> Result<Self> {
        let this = std::env::current_exe()?;
        Ok(Server(
            Command::new(this).args(["server", endpoint]).spawn()?,
        ))
    }

    fn stop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
