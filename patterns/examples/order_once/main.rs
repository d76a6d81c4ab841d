//! Orders that are asked again until there is an answer, and made once: idempotence keys (`rpc::Client`, `rpc::Server`),
//! with a store of keys that outlives the servers.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sinew::{Context, Message};
use sinew_patterns::common::{Fault, MsgId, Status, StoreLimits};
use sinew_patterns::rpc::{
    Backoff, CallError, CallOptions, Client, ClientConfig, Dialect, Idem, Server, ServerConfig,
};
use sinew_patterns::DirectoryStore;
use support::{misused, Fleet, Options, Result, PATIENCE};

const USAGE: &str = "usage: order_once [--chaos] [--seed N] [--orders N]
Makes N (200) orders at two servers, processes of their own. With --chaos they are killed and
started again meanwhile, at times that follow from the seed.";

fn main() -> Result {
    let mut options = Options::new(USAGE);
    let chaos = options.flag("--chaos");
    let seed: u64 = options.value("--seed", 1)?;
    let orders: u64 = options.count("--orders", 200)?;
    match options.words()?.strs()[..] {
        [] => demonstration(chaos, seed, orders),
        ["server", endpoint, directory] => serve(endpoint, Path::new(directory)),
        _ => misused(USAGE),
    }
}

/// Makes orders: each is a line in a file that all servers write.
fn serve(endpoint: &str, directory: &Path) -> Result {
    let store = DirectoryStore::open(directory.join("keys"), StoreLimits::default())?;
    let config = ServerConfig::default();
    let server =
        Server::bind_with_store(&Context::default(), &[endpoint], config, Arc::new(store))?;
    let ledger = OpenOptions::new()
        .append(true)
        .create(true)
        .open(ledger(directory))?;
    let ledger = Mutex::new(ledger);
    server.serve(move |request| {
        let order = String::from_utf8_lossy(request.body().as_bytes()).into_owned();
        let mut ledger = ledger.lock().map_err(|_| Fault::failed("no ledger"))?;
        let written = ledger.write_all(format!("{order}\n").as_bytes());
        written.map_err(|error| Fault::failed(error.to_string()))?;
        Ok(Message::from(format!("{order} is made")))
    })?;
    Ok(())
}

fn ledger(directory: &Path) -> std::path::PathBuf {
    directory.join("ledger")
}

fn demonstration(chaos: bool, seed: u64, orders: u64) -> Result {
    let directory = tempfile::tempdir()?;
    let at = directory.path().display().to_string();
    let endpoints = ["one", "two"].map(|name| format!("ipc://{at}/{name}"));
    let servers = endpoints
        .iter()
        .map(|endpoint| vec!["server".into(), endpoint.clone(), at.clone()]);
    let pace = Duration::from_millis(2);
    let fleet = Fleet::start(servers.collect(), chaos.then_some(seed), pace)?;
    let progress = fleet.progress();

    let mut config = ClientConfig {
        dialect: Dialect::Ext, // which keys need
        ..ClientConfig::default()
    };
    config.retry.attempt_timeout = Duration::from_millis(200);
    config.retry.max_attempts = 1000;
    config.retry.backoff = Backoff {
        base: Duration::from_millis(5),
        max: Duration::from_millis(50),
    };
    config.retry.budget = None; // no limit but the deadline: this is one client
    config.retry.breaker = None;
    let client = Client::connect(&Context::default(), &endpoints, config)?;

    let (mut made, mut doubtful) = (Vec::new(), Vec::new());
    for number in 0..orders {
        let order = format!("order {number}");
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_be_bytes()); // a name that no other order has
        let options = CallOptions {
            deadline: PATIENCE,
            idem: Idem::Key(MsgId(key)),
            ..CallOptions::default()
        };
        match client.call(order.as_str(), &options) {
            Ok(reply) if reply == format!("{order} is made").into() => made.push(order),
            Ok(reply) => return Err(format!("{reply:?} to {order}").into()),
            // A server was killed while it made this: somebody has to look whether it did.
            Err(CallError::Remote(fault)) if fault.status == Status::InDoubt => {
                doubtful.push(order);
            }
            Err(error) => return Err(format!("{order}: {error}").into()),
        }
        progress.made();
    }
    let killed = fleet.end()?;

    let text = fs::read_to_string(ledger(directory.path()))?;
    let mut times = BTreeMap::new();
    for order in text.lines() {
        *times.entry(order).or_insert(0) += 1;
    }
    let done = |order: &String| times.get(order.as_str()).copied().unwrap_or(0);
    let retries = client.counters().retries;
    println!("{killed} servers killed, {retries} retries");
    let found = doubtful.iter().filter(|order| done(order) > 0).count();
    println!(
        "{} orders are made, {} in doubt, {found} of which are in the ledger",
        made.len(),
        doubtful.len()
    );
    if times.values().any(|&times| times > 1) {
        return Err("an order was made twice".into());
    }
    match made.iter().all(|order| done(order) == 1) {
        true => println!("{orders} orders asked for, none made twice, none lost without a word"),
        false => return Err("an order that is made is not in the ledger".into()),
    }
    Ok(())
}
