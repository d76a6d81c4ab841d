//! The Majordomo broker as a process: our worker, and clients of every make.

use std::fs;
use std::sync::mpsc::channel;
use std::thread;

use serde_json::Value;
use sinew::Context;
use sinew_patterns::mdp::{Worker, WorkerConfig};

use crate::support::{run, run_with, start, start_with, Running, WATCHDOG};

/// The next line on standard error that has this in it, as JSON.
fn told(broker: &Running, field: &str) -> Value {
    loop {
        let line: Value = serde_json::from_str(&broker.err_line()).unwrap();
        if !line[field].is_null() {
            return line;
        }
    }
}

#[test]
fn it_serves_tells_where_and_ends_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ready");
    let broker = start_with(&[
        "--json",
        "mdp-broker",
        "-b",
        "tcp://127.0.0.1:*",
        "-b",
        "ipc://*",
        "--ready-file",
        file.to_str().unwrap(),
        "--max-slots",
        "2",
    ]);
    let [tcp, ipc] = [broker.endpoint(), broker.endpoint()];
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{tcp}\n{ipc}\n")
    );
    // A worker that has room for five, and is given two at most.
    let (entered, entries) = channel();
    let (leave, left) = channel::<()>();
    let config = WorkerConfig {
        ext: true,
        ..WorkerConfig::default()
    };
    let worker = Worker::connect_slots(&Context::default(), &[&ipc], "echo", config, 5).unwrap();
    let serving = thread::spawn(move || {
        let left = std::sync::Mutex::new(left);
        worker.serve(move |request| {
            entered.send(()).unwrap();
            // The first is answered when that is wanted, and then all.
            let _ = left.lock().unwrap().recv_timeout(WATCHDOG);
            Ok(request.take_body())
        })
    });
    // 7/MDP from a shell.
    let call = |body: &str| {
        let data = format!("\tMDPC01\techo\t{body}");
        start_with(&["dealer", "-c", &tcp, "-m", "-d", &data, "-n", "1"])
    };
    let first = call("hello");
    entries.recv_timeout(WATCHDOG).unwrap();
    broker.signal("USR1");
    let statistics = told(&broker, "counters");
    assert_eq!(statistics["counters"]["requests"], 1);
    let echo = &statistics["services"][0];
    assert_eq!(echo["service"], "echo");
    assert_eq!(
        (&echo["workers"], &echo["in_flight"]),
        (&2.into(), &1.into())
    );
    assert_eq!((&echo["ready"], &echo["oldest"]), (&0.into(), &Value::Null));
    // It waits for what the worker has, and declines the rest.
    broker.signal("TERM");
    leave.send(()).unwrap();
    assert_eq!(first.end().ok(), "\tMDPC01\techo\thello\n");
    let last = told(&broker, "counters");
    assert_eq!(last["counters"]["replies"], 1, "{last}");
    assert_eq!(last["services"], Value::Array(Vec::new()));
    broker.end().has_code(143);
    drop(leave);
    drop(serving);
}

/// It does not wait for ever for a worker that does not answer; counters come regularly.
#[test]
fn what_is_not_done_in_time_is_told() {
    let broker = start("mdp-broker -b tcp://127.0.0.1:* --statistics 20ms --drain 0");
    let at = broker.endpoint();
    // 18/MDP, and a worker that never answers.
    let mut worker = start(&format!("dealer -c {at} -F json"));
    worker.write(b"[\"MDPW02\",\"\\u0001\",\"slow\"]\n");
    let _client = start_with(&["dealer", "-c", &at, "-m", "-d", "\tMDPC01\tslow\tx"]);
    let given: Value = serde_json::from_str(&worker.line()).unwrap();
    assert_eq!(given[0], "MDPW02");
    loop {
        let line = broker.err_line();
        if line.contains("\"slow\": 0 ready, 1 in flight, 1 workers") {
            break;
        }
    }
    broker.signal("INT");
    let ended = broker.end();
    assert!(ended.err.contains("dispatched 1"), "{ended:?}");
    assert!(
        ended
            .err
            .contains("1 requests were with workers when the time was over"),
        "{ended:?}"
    );
    ended.has_code(130);
}

#[test]
fn it_says_what_is_wrong_with_its_command_line() {
    run("mdp-broker", b"").has_code(2);
    run("mdp-broker -b nonsense", b"").has_code(2);
    run("mdp-broker -b ipc://* --no-cache --cache-age 1s", b"").has_code(2);
    // With these it would decline all that it is asked, and send nothing but heartbeats.
    for none in ["--ttl", "--heartbeat"] {
        let refused = run(&format!("mdp-broker -b ipc://* {none} 0"), b"");
        let said = "`0` is no time, expected more than 0";
        assert!(refused.err.contains(said), "{refused:?}");
        refused.has_code(2);
    }
    let directory = tempfile::tempdir().unwrap();
    let nowhere = format!("ipc://{}/none/there", directory.path().display());
    run_with(&["mdp-broker", "-b", &nowhere], b"").has_code(1);
    let file = directory.path().join("none/there");
    let args = ["mdp-broker", "-b", "ipc://*", "--ready-file"];
    let failed = run_with(&[&args[..], &[file.to_str().unwrap()]].concat(), b"");
    assert!(failed.err.contains("none/there: "), "{failed:?}");
    failed.has_code(1);
}
