//! The proxy as a process.

use serde_json::Value;

use crate::support::{run, start, Running};

/// The endpoints it is bound to, in the order it binds them.
fn ends<const N: usize>(proxy: &Running) -> [String; N] {
    std::array::from_fn(|_| proxy.endpoint())
}

#[test]
fn requests_pass_and_it_is_steered() {
    let proxy = start(
        "proxy router-dealer --front-bind tcp://127.0.0.1:* --back-bind ipc://* --control-bind tcp://127.0.0.1:* --statistics 60s",
    );
    let [front, back, control] = ends(&proxy);
    let _rep = start(&format!("rep -c {back} --echo"));
    assert_eq!(run(&format!("req -c {front} -d ping"), b"").ok(), "ping\n");
    assert_eq!(
        run(&format!("req -c {control}"), b"PAUSE\nRESUME\n").ok(),
        "\n\n"
    );
    let figures = run(&format!("--json req -c {control} -d STATISTICS"), b"").ok();
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert_eq!(figures.as_array().unwrap().len(), 8);
    run(&format!("req -c {control} -d TERMINATE"), b"").ok();
    let ended = proxy.end();
    assert!(
        ended
            .err
            .contains("front: 1 messages in, 1 out; back: 1 messages in, 1 out"),
        "{ended:?}"
    );
    ended.ok();
}

#[test]
fn a_forwarder_with_a_capture_ends_by_a_signal() {
    let proxy = start(
        "--json proxy xsub-xpub --front-bind tcp://127.0.0.1:* --back-bind tcp://127.0.0.1:* --capture-bind tcp://127.0.0.1:* --statistics 60s",
    );
    let [front, back, capture] = std::array::from_fn(|_| {
        let line: Value = serde_json::from_str(&proxy.err_line()).unwrap();
        line["bound"].as_str().unwrap().to_owned()
    });
    let sub = start(&format!("sub -c {back} -s news -n 1"));
    let tap = start(&format!("sub -c {capture} -s news"));
    // The subscription goes all the way up.
    let mut publisher = start(&format!("pub -c {front} --wait-peers 1"));
    publisher.write(b"news at ten\n");
    assert_eq!(sub.line(), "news at ten");
    drop(tap);
    proxy.signal("INT");
    let ended = proxy.end();
    let statistics: Value = serde_json::from_str(ended.err.lines().last().unwrap()).unwrap();
    assert_eq!(statistics["back"]["sent"]["messages"], 1);
    ended.ok();
}

#[test]
fn other_pairs_pass_messages() {
    for (pair, from, to) in [
        ("pull-push", "push", "pull"),
        ("gather-scatter", "scatter", "gather"),
        ("dealer-dealer", "dealer", "dealer"),
        ("pair-pair", "pair", "pair"),
        ("channel-channel", "channel", "channel"),
        ("sub-pub", "pub", "sub"),
    ] {
        let proxy = start(&format!(
            "proxy {pair} --front-bind ipc://* --back-bind ipc://*"
        ));
        let [front, back] = ends(&proxy);
        let sink = start(&format!("{to} -c {back} -n 1"));
        let mut source = start(&format!("{from} -c {front}"));
        if from == "pub" {
            // What comes before the subscription of either is nobody's.
            let mut tries = 0;
            while sink.try_line().is_err() {
                source.write(b"x\n");
                tries += 1;
                assert!(tries < 100_000, "nothing comes");
            }
        } else {
            source.write(b"x\n");
            assert_eq!(sink.line(), "x", "{pair}");
        }
    }
}
