//! One service, workers in two languages: the broker and a worker here, another with pyzmq (7/MDP).

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use sinew::{Context, Message};
use sinew_patterns::common::CallOptions;
use sinew_patterns::mdp::{
    Broker, BrokerConfig, BrokerEngine, Client, ClientConfig, Worker, WorkerConfig,
};
use support::{joined, Options, Result, PATIENCE};

const USAGE: &str = "usage: majordomo_interop [--python INTERPRETER]
A broker, a worker in Rust, and worker.py, which needs pyzmq. INTERPRETER is .venv/bin/python, or
python3 if there is none.";

const WORKER: &str = include_str!("worker.py");

fn main() -> Result {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    let default = match venv.exists() {
        true => venv.display().to_string(),
        false => "python3".into(),
    };
    let mut options = Options::new(USAGE);
    let python = options.value("--python", default)?;
    options.end()?;
    let probe = Command::new(&python)
        .args(["-c", "import zmq"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: {python} has no pyzmq, or is not there");
        return Ok(());
    }

    let context = Context::default();
    let engine = BrokerEngine::new(BrokerConfig::default());
    let broker = Broker::bind(&context, &["tcp://127.0.0.1:*"], engine)?;
    let at = broker.endpoints().to_vec();
    let worker = Worker::connect(&context, &at, "greet", WorkerConfig::default())?;
    let ours = worker.handle();
    let serving = thread::spawn(move || -> Result {
        Ok(worker.serve(|request| Ok(Message::from(greeting("Rust", request.body()))))?)
    });
    let endpoint = at[0].to_string();
    let mut theirs = Killed(
        Command::new(&python)
            .args(["-c", WORKER, &endpoint])
            .spawn()?,
    );

    let client = Client::connect(&context, &at, ClientConfig::default())?;
    let options = CallOptions {
        deadline: PATIENCE,
        ..CallOptions::default()
    };
    let mut greeted = [0, 0];
    // The broker gives each call to the worker that has been idle longest.
    while greeted.iter().any(|&count| count < 10) {
        let reply = client.call("greet", "Ada", &options)?;
        match reply.as_bytes() {
            b"Rust greets Ada" => greeted[0] += 1,
            b"Python greets Ada" => greeted[1] += 1,
            _ => return Err(format!("{reply:?}").into()),
        }
    }
    println!("{} calls to Rust, {} to Python", greeted[0], greeted[1]);
    client.close();
    ours.drain();
    joined(serving.join())?;
    // The broker says goodbye to its workers, and the one in Python ends.
    broker.handle().drain();
    broker.run();
    if !theirs.0.wait()?.success() {
        return Err("the worker in Python failed".into());
    }
    println!("one service with workers in Rust and Python");
    Ok(())
}

fn greeting(who: &str, whom: &Message) -> String {
    format!("{who} greets {}", String::from_utf8_lossy(whom.as_bytes()))
}

/// A process that does not outlive this, whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
