//! The other processes: this very programme, started again in a role.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use sinew::{Context, Endpoint, Message};
use sinew_patterns::common::{CacheConfig, Fault, Heartbeat, StoreLimits};
use sinew_patterns::mdp::{
    Broker, BrokerConfig, BrokerEngine, Lease, ServicePolicy, Worker, WorkerConfig,
};
use sinew_patterns::rpc::{Server, ServerConfig};
use sinew_patterns::{DirectoryStore, Request};

use crate::brokers;
use crate::drain;
use crate::flow;
use crate::live;
use crate::majordomo::any_port;
use crate::process::Running;
use crate::streams;

/// A process in a role.
pub(crate) struct Remote(Running);

impl Remote {
    pub(crate) fn start(role: &str, at: &[Endpoint]) -> Self {
        Remote::start_in(role, at, Path::new(""))
    }

    /// One that binds, and where it is bound to.
    pub(crate) fn bound(role: &str, at: &Endpoint) -> (Self, Endpoint) {
        let remote = Remote::start(role, std::slice::from_ref(at));
        let at = remote.says("bound").parse().unwrap();
        (remote, at)
    }

    fn start_in(role: &str, at: &[Endpoint], directory: &Path) -> Self {
        let at: Vec<String> = at.iter().map(Endpoint::to_string).collect();
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "remote::role", "--nocapture"])
            .env("PATTERNS_ROLE", role)
            .env("PATTERNS_AT", at.join(" "))
            .env("PATTERNS_IN", directory);
        Remote(Running::start_talking(&mut command))
    }

    /// A worker of the service "work" at these brokers.
    pub(crate) fn worker(brokers: &[Endpoint]) -> Self {
        Remote::start("worker", brokers)
    }

    /// A server, and where it is bound to.
    pub(crate) fn server() -> (Self, Endpoint) {
        Remote::bound("server", &any_port())
    }

    /// A server that is bound here.
    pub(crate) fn server_at(at: &Endpoint) -> Self {
        Remote::bound("server", at).0
    }

    /// A server whose store of keys is in this directory, where it writes down what it does as well; and where it is
    /// bound to.
    pub(crate) fn storing_server(at: &Endpoint, directory: &Path) -> (Self, Endpoint) {
        let at = std::slice::from_ref(at);
        let remote = Remote::start_in("storing server", at, directory);
        let at = remote.says("bound").parse().unwrap();
        (remote, at)
    }

    /// A broker, and where it is bound to.
    pub(crate) fn broker(at: &Endpoint) -> (Self, Endpoint) {
        Remote::bound("broker", at)
    }

    /// Waits until it says this, and returns what follows the word.
    pub(crate) fn says(&self, word: &str) -> String {
        loop {
            let line = self.0.line();
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// What it has carried out, until it says that it has done this.
    pub(crate) fn did_until(&self, last: &str) -> Vec<String> {
        let mut did = Vec::new();
        while did.last().map(String::as_str) != Some(last) {
            did.push(self.says("did"));
        }
        did
    }

    /// Waits until it has ended by itself, and what it said.
    pub(crate) fn finish(self) -> Vec<String> {
        self.0.finish()
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// A request that it hangs on may go on.
    pub(crate) fn go_on(&mut self) {
        self.tell("go on");
    }

    /// A line for it to read.
    pub(crate) fn tell(&mut self, line: &str) {
        self.0.tell(line);
    }

    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// It is gone when this returns, by SIGKILL.
    pub(crate) fn kill(self) {}

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.0.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }
}

/// What befalls a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Freeze,
}

/// A process that is bound somewhere, to be harmed and made well again.
pub(crate) struct Victim {
    role: &'static str,
    at: Endpoint,
    remote: Option<Remote>,
}

impl Victim {
    pub(crate) fn bound(role: &'static str) -> (Self, Endpoint) {
        let (remote, at) = Remote::bound(role, &any_port());
        let victim = Victim {
            role,
            at: at.clone(),
            remote: Some(remote),
        };
        (victim, at)
    }

    /// The process, if it was not killed.
    pub(crate) fn remote(&mut self) -> &mut Remote {
        self.remote.as_mut().expect("it lives")
    }

    pub(crate) fn suffer(&mut self, harm: Harm) {
        match harm {
            Harm::Kill => self.remote = None,
            Harm::Freeze => self.remote().freeze(),
        }
    }

    /// Another process in its place if it was killed.
    pub(crate) fn recover(&mut self) {
        match &self.remote {
            Some(frozen) => frozen.thaw(),
            None => self.remote = Some(Remote::bound(self.role, &self.at).0),
        }
    }
}

pub(crate) fn heartbeat() -> Heartbeat {
    Heartbeat {
        interval: Duration::from_millis(100),
        ..Heartbeat::default()
    }
}

/// A broker that gives a worker up when it has been silent for three heartbeats.
pub(crate) fn broker(context: &Context, at: &Endpoint) -> Broker {
    broker_with(context, at, broker_config(heartbeat()))
}

fn broker_with(context: &Context, at: &Endpoint, config: BrokerConfig) -> Broker {
    Broker::bind(context, &[at], BrokerEngine::new(config)).unwrap()
}

/// A worker that sends heartbeats has all the time it wants.
pub(crate) fn policy(heartbeat: Heartbeat) -> ServicePolicy {
    ServicePolicy {
        lease: Lease::WhileHeartbeating(heartbeat.patience()),
        ..ServicePolicy::default()
    }
}

fn broker_config(heartbeat: Heartbeat) -> BrokerConfig {
    BrokerConfig {
        heartbeat,
        policy: policy(heartbeat),
        cache: Some(CacheConfig::default()),
        ..BrokerConfig::default()
    }
}

fn serve(context: &Context, at: &[Endpoint], heartbeat: Heartbeat) {
    let config = WorkerConfig {
        ext: true,
        heartbeat,
        ..WorkerConfig::default()
    };
    let worker = Worker::connect(context, at, "work", config).unwrap();
    worker.serve(carry_out).unwrap();
}

/// Says where it is bound, and does what it is told until it has ended.
fn run(broker: Broker) {
    say(&format!("bound {}", broker.endpoints()[0]));
    let handle = broker.handle();
    brokers::answer_orders(handle.clone());
    broker.run();
    let counted = handle.counters();
    say(&format!(
        "ended {} {} {}",
        counted.dispatched, counted.replies, counted.dead
    ));
}

/// Carries a request out: its body, and who did it. One that says "hang" is hung on, the first time it is given
/// to anybody.
fn carry_out(request: &mut Request) -> Result<Message, Fault> {
    let body = request.body().as_bytes().escape_ascii().to_string();
    if body.starts_with("hang") && request.delivery().unwrap_or(1) == 1 {
        say(&format!("hangs on {body}"));
        // Until it is told to go on, or is killed.
        let _ = io::stdin().lock().lines().next();
    }
    say(&format!("did {body}"));
    match body.as_str() {
        "who" => Ok(Message::from(std::process::id().to_string())),
        _ => Ok(request.take_body()),
    }
}

pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Whoever does not listen any more has killed us already.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Not a test of its own: what other processes do. Alone it does nothing.
#[test]
fn role() {
    let (Ok(role), Ok(at)) = (env::var("PATTERNS_ROLE"), env::var("PATTERNS_AT")) else {
        return;
    };
    // Should the one who started us be gone without a word.
    thread::spawn(|| {
        let (keep, ended) = mpsc::channel::<()>();
        let _ = ended.recv_timeout(Duration::from_secs(120));
        drop(keep);
        std::process::exit(1);
    });
    let at: Vec<Endpoint> = at.split(' ').map(|at| at.parse().unwrap()).collect();
    let context = Context::default();
    // The harness does not end its own line.
    say("");
    match role.as_str() {
        "worker" => serve(&context, &at, heartbeat()),
        "live worker" => serve(&context, &at, live::heartbeat()),
        "streaming worker" => {
            let (config, slots) = (streams::worker_config(), streams::AT_ONCE);
            let worker = Worker::connect_slots(&context, &at, "work", config, slots).unwrap();
            worker.serve(streams::stream).unwrap();
        }
        "server" => {
            let config = ServerConfig {
                cache: Some(CacheConfig::default()),
                ..ServerConfig::default()
            };
            let server = Server::bind(&context, &at, config).unwrap();
            say(&format!("bound {}", server.endpoints()[0]));
            server.serve(carry_out).unwrap();
        }
        "storing server" => {
            let directory = env::var("PATTERNS_IN").unwrap();
            let directory = Path::new(&directory);
            let store = DirectoryStore::open(directory.join("store"), StoreLimits::default());
            let (store, config) = (Arc::new(store.unwrap()), ServerConfig::default());
            let server = Server::bind_with_store(&context, &at, config, store).unwrap();
            say(&format!("bound {}", server.endpoints()[0]));
            let carry_out = |request: &mut Request| {
                // One write is one effect, whatever happens to this process.
                let effect = format!("{}\n", request.body().as_bytes().escape_ascii());
                let path = directory.join("effects");
                let mut file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .unwrap();
                file.write_all(effect.as_bytes()).unwrap();
                carry_out(request)
            };
            server.serve(carry_out).unwrap();
        }
        "broker" => run(broker(&context, &at[0])),
        "live broker" => {
            let config = broker_config(live::heartbeat());
            run(broker_with(&context, &at[0], config));
        }
        "draining broker" => {
            let config = BrokerConfig {
                linger: drain::LINGER,
                // No worker is given up for what the machine lets it wait.
                policy: ServicePolicy {
                    lease: Lease::WhileHeartbeating(drain::LINGER),
                    ..ServicePolicy::default()
                },
                ..broker_config(heartbeat())
            };
            run(broker_with(&context, &at[0], config));
        }
        "client of a broker" => brokers::call_by_orders(&at),
        flow => flow::roles::play(flow, &context, &at),
    }
}
