//! The examples, as a stranger runs them: processes of their own, over TCP and IPC, and with a Python
//! peer in the place of one side.
//!
//! `cargo test` builds examples before tests; `cargo test --test examples` alone does not.

#[path = "support/process.rs"]
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;

use process::{python, Running};

const TRANSPORTS: [&str; 2] = ["tcp://127.0.0.1:*", "ipc://*"];

fn example(name: &str, args: &[&str]) -> Running {
    let path = directory().join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo build --examples` builds it (`cargo test` does, too)",
        path.display()
    );
    Running::start(Command::new(path).args(args))
}

/// Cargo puts examples beside the directory of the test programmes.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this programme is known");
    let profile = test.parent().and_then(Path::parent);
    profile
        .expect("it is in target/<profile>/deps")
        .join("examples")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn quickstart() {
    let output = example("quickstart", &[]).finish();
    for topology in ["pipeline", "request-reply", "publish-subscribe"] {
        let runs = output
            .iter()
            .filter(|line| line.trim_start().starts_with(topology));
        assert_eq!(
            runs.count(),
            3,
            "{topology}: one line per transport: {output:#?}"
        );
    }
    let last = output.last().map(String::as_str);
    assert_eq!(last, Some("All counts and sums are as they should be."));
}

#[test]
fn pipeline() {
    for transport in TRANSPORTS {
        let sink = example("sink", &[transport, "300"]);
        let results = sink.line();
        let ventilator = example("ventilator", &[transport, "300", "2"]);
        let tasks = ventilator.line();
        let workers = [(); 2].map(|()| example("worker", &[&tasks, &results]));
        for worker in &workers {
            assert_eq!(worker.line(), format!("from {tasks} to {results}"));
        }
        assert_eq!(sink.finish(), ["300 results, sum 9045050"]);
        assert_eq!(ventilator.finish(), ["300 tasks sent to 2 workers, 0 left"]);
    }
}

#[test]
fn hello() {
    for transport in TRANSPORTS {
        let server = example("hello_server", &[transport, "6"]);
        let endpoint = server.line();
        let clients = [(); 2].map(|()| example("hello_client", &[&endpoint, "3"]));
        for client in clients {
            let output = client.finish();
            assert_eq!(
                output,
                ["1: Hello World", "2: Hello World", "3: Hello World"]
            );
        }
        assert_eq!(server.finish(), ["6 requests answered"]);
    }
}

#[test]
fn weather() {
    for transport in TRANSPORTS {
        let publisher = example("weather_publisher", &[transport, "500", "2"]);
        let endpoint = publisher.line();
        let lima = example("weather_subscriber", &[&endpoint]);
        let oslo = example("weather_subscriber", &[&endpoint, "oslo", "300"]);
        assert_eq!(
            lima.finish(),
            ["100 updates of lima: 13.5 degrees on average"]
        );
        assert_eq!(
            oslo.finish(),
            ["300 updates of oslo: 14.5 degrees on average"]
        );
        assert_eq!(publisher.finish(), ["500 updates, 0 left"]);
    }
}

#[test]
fn hello_client_of_a_python_server() {
    let programme = "
import zmq
rep = zmq.Context.instance().socket(zmq.REP); rep.bind('tcp://127.0.0.1:*')
print(rep.last_endpoint.decode().rstrip('\\0'))
while True: rep.send(rep.recv() + b' from Python')
";
    let Some(mut command) = python(root(), programme) else {
        return;
    };
    let server = Running::start(&mut command);
    let output = example("hello_client", &[&server.line(), "2"]).finish();
    assert_eq!(output, ["1: Hello from Python", "2: Hello from Python"]);
}

#[test]
fn hello_server_of_a_python_client() {
    let server = example("hello_server", &["ipc://*", "2"]);
    let programme = "
import sys, zmq
req = zmq.Context.instance().socket(zmq.REQ); req.connect(sys.argv[1])
for _ in range(2): req.send(b'Hello'); print(req.recv().decode())
";
    let Some(mut command) = python(root(), programme) else {
        return;
    };
    let client = Running::start(command.arg(server.line()));
    assert_eq!(client.finish(), ["Hello World", "Hello World"]);
    assert_eq!(server.finish(), ["2 requests answered"]);
}

#[test]
fn weather_from_a_python_publisher() {
    let programme = "
import zmq
pub = zmq.Context.instance().socket(zmq.PUB); pub.bind('tcp://127.0.0.1:*')
print(pub.last_endpoint.decode().rstrip('\\0'))
while True: pub.send_string('limassol 40'); pub.send_string('lima 21')
";
    let Some(mut command) = python(root(), programme) else {
        return;
    };
    let publisher = Running::start(&mut command);
    let output = example("weather_subscriber", &[&publisher.line(), "lima", "50"]).finish();
    assert_eq!(output, ["50 updates of lima: 21.0 degrees on average"]);
}

#[test]
fn every_example_tells_how_to_use_it() {
    for name in [
        "ventilator",
        "worker",
        "sink",
        "hello_server",
        "hello_client",
        "weather_publisher",
        "weather_subscriber",
    ] {
        let output = example(name, &["--help"]).finish();
        assert!(
            output[0].starts_with(&format!("usage: {name} ")),
            "{output:?}"
        );
    }
}
