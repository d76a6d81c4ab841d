//! The examples, as a stranger runs them: processes of their own, over TCP and IPC, and with a Python
//! peer in the place of one side.
//!
//! `cargo test` builds examples before tests; `cargo test --test examples` alone does not.

#[path = "support/examples.rs"]
mod examples;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/process.rs"]
mod process;

use std::collections::HashSet;
use std::path::Path;

use examples::{example, Example};
use process::{python, Running};

const TRANSPORTS: [&str; 2] = ["tcp://127.0.0.1:*", "ipc://*"];

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
fn every_example_prints_what_its_readme_says() {
    // Several in one, or more than one page of the subject.
    let longer = [
        "asyncsrv",
        "chat_room",
        "missing_messages",
        "threads_inproc",
    ];
    Example::check_all(root(), &root().join("docs/examples.md"), &longer);
}

/// What an example cannot do it says as text, and not as a type with its fields.
#[test]
fn errors_that_end_an_example_are_text() {
    for endpoint in [
        "nowhere",
        "tcp://127.0.0.1:no-port",
        "ipc:///no/such/directory/x",
    ] {
        let (code, said) = examples::misused("chat_room", &["server", endpoint]);
        assert_eq!(code, Some(1), "{endpoint}: {said}");
        let line = said.strip_prefix("Error: ").unwrap_or_default();
        let plain = line.contains(endpoint) && !line.contains('{');
        assert!(plain, "{endpoint}: {said}");
    }
}

/// The pictures of the index page are those of the READMEs, and none is missing.
#[test]
fn every_example_has_its_picture_on_the_index_page() {
    let docs = root().join("docs");
    let index = std::fs::read_to_string(docs.join("examples.md")).unwrap();
    let mut seen = HashSet::new();
    for entry in index.split("\n[`").skip(1) {
        let Some((name, rest)) = entry.split_once("`](") else {
            continue;
        };
        let (link, rest) = rest.split_once("):").unwrap();
        let Some(directory) = link.strip_suffix("/README.md") else {
            continue;
        };
        assert!(directory.ends_with(&format!("/{name}")), "{name}: {link}");
        let readme = std::fs::read_to_string(docs.join(link)).unwrap();
        let picture = |page: &str| {
            let block = page.split("```text\n").nth(1)?.split("\n```").next()?;
            (!block.trim().is_empty()).then(|| block.to_owned())
        };
        assert!(picture(rest).is_some(), "{name} without a picture");
        assert_eq!(picture(rest), picture(&readme), "{name}");
        assert!(seen.insert(docs.join(link).canonicalize().unwrap()));
    }
    for examples in ["examples", "patterns/examples"] {
        for entry in std::fs::read_dir(root().join(examples)).unwrap() {
            let readme = entry.unwrap().path().join("README.md");
            if let Ok(readme) = readme.canonicalize() {
                assert!(seen.contains(&readme), "{} is missing", readme.display());
            }
        }
    }
    assert!(index.contains("`quickstart`"));
}

#[test]
fn pipeline() {
    for transport in TRANSPORTS {
        let sink = example("pipeline", &["--tasks", "300", "sink", transport]);
        let results = sink.line();
        let ventilator = ["--tasks", "300", "--workers", "2", "ventilator", transport];
        let ventilator = example("pipeline", &ventilator);
        let tasks = ventilator.line();
        let _workers = [(); 2].map(|()| example("pipeline", &["worker", &tasks, &results]));
        let output = sink.finish();
        assert_eq!(output.last().unwrap(), "300 results, sum 9045050");
        ventilator.finish();
    }
}

#[test]
fn hello() {
    for transport in TRANSPORTS {
        let server = example("hello", &["--requests", "6", "server", transport]);
        let endpoint = server.line();
        let clients = [(); 2].map(|()| example("hello", &["client", &endpoint]));
        for client in clients {
            let output = client.finish();
            assert_eq!(
                output,
                ["1: Hello World", "2: Hello World", "3: Hello World"]
            );
        }
        server.finish();
    }
}

#[test]
fn weather() {
    for transport in TRANSPORTS {
        let options = ["--updates", "500", "--subscribers", "2"];
        let publisher = example(
            "weather",
            &[&options[..], &["publisher", transport]].concat(),
        );
        let endpoint = publisher.line();
        let lima = example("weather", &["subscriber", &endpoint, "lima"]);
        let oslo = ["--updates", "300", "subscriber", &endpoint, "oslo"];
        let oslo = example("weather", &oslo);
        assert_eq!(lima.finish(), ["100 updates of lima: 13.5 on average"]);
        assert_eq!(oslo.finish(), ["300 updates of oslo: 14.5 on average"]);
        publisher.finish();
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
    let output = example("hello", &["--requests", "2", "client", &server.line()]).finish();
    assert_eq!(output, ["1: Hello from Python", "2: Hello from Python"]);
}

#[test]
fn hello_server_of_a_python_client() {
    let server = example("hello", &["--requests", "2", "server", "ipc://*"]);
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
    server.finish();
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
    let options = ["--updates", "50", "subscriber", &publisher.line(), "lima"];
    let output = example("weather", &options).finish();
    assert_eq!(output, ["50 updates of lima: 21.0 on average"]);
}
