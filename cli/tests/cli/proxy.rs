//! The proxy as a process.

use serde_json::Value;

use crate::support::{nobody, run, start, Running};

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
    let asked = run(&format!("req -c {front} -d ping -t 30s"), b"");
    assert_eq!(asked.ok(), "ping\n");
    let steered = run(&format!("req -c {control} -t 30s"), b"PAUSE\nRESUME\n");
    assert_eq!(steered.ok(), "\n\n");
    let asked = format!("--json req -c {control} -d STATISTICS -t 30s");
    let figures = run(&asked, b"").ok();
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert_eq!(figures.as_array().unwrap().len(), 8);
    run(&format!("req -c {control} -d TERMINATE -t 30s"), b"").ok();
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
    let mut told = ended.err.lines().rev();
    let last = told.find(|line| line.contains("undeliverable")).unwrap();
    let statistics: Value = serde_json::from_str(last).unwrap();
    assert_eq!(statistics["back"]["sent"]["messages"], 1);
    ended.has_code(130);
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
        ("dish-radio -g news", "radio -g news", "dish -g news"),
    ] {
        let proxy = start(&format!(
            "proxy {pair} --front-bind ipc://* --back-bind ipc://*"
        ));
        let [front, back] = ends(&proxy);
        let sink = start(&format!("{to} -c {back} -n 1"));
        let mut source = start(&format!("{from} -c {front}"));
        if from == "pub" || from.starts_with("radio") {
            // What comes before the subscription of either is nobody's.
            let mut tries = 0;
            let line = loop {
                if let Ok(line) = sink.try_line() {
                    break line;
                }
                source.write(b"x\n");
                tries += 1;
                assert!(tries < 100_000, "nothing comes");
            };
            assert!(line.ends_with('x'), "{pair}: {line}");
        } else {
            source.write(b"x\n");
            assert_eq!(sink.line(), "x", "{pair}");
        }
    }
}

/// Whoever it ends by: messages for a place where nobody is are told.
#[test]
fn what_a_proxy_could_not_send_is_told() {
    for by_signal in [true, false] {
        let proxy = start(&format!(
            "proxy pull-push --front-bind ipc://* --back-connect {} --control-bind ipc://* --linger 0",
            nobody()
        ));
        let [front, control] = ends(&proxy);
        run(&format!("push -c {front} -d x"), b"").ok();
        // The last two of eight are frames and octets sent at the back.
        let statistics = format!("req -c {control} -d STATISTICS --output-format hex -t 30s");
        let mut tries = 0;
        loop {
            let figures = run(&statistics, b"").ok();
            let sent = figures.split('\t').nth(6).unwrap();
            if sent.contains('1') {
                break;
            }
            tries += 1;
            assert!(tries < 10_000, "nothing is forwarded: {figures}");
        }
        // Nothing lingers: whether there is an answer is open.
        let _master = (!by_signal).then(|| start(&format!("req -c {control} -d TERMINATE")));
        if by_signal {
            proxy.signal("TERM");
        }
        let ended = proxy.end();
        assert!(ended.err.contains("1 message was not sent"), "{ended:?}");
        ended.has_code(if by_signal { 143 } else { 4 });
    }
}

#[test]
fn options_for_other_pairs_are_refused_by_name() {
    for (pair, flag) in [
        ("pull-push", "--no-drop"),
        ("router-dealer", "--no-drop"),
        ("xsub-xpub", "--subscribe topic"),
        ("pull-push", "--subscribe topic"),
        ("sub-pub", "--group news"),
        ("dish-radio --group news", "--no-drop"),
        // Without one it would forward nothing.
        ("dish-radio", ""),
    ] {
        let args = format!("proxy {pair} --front-bind ipc://* --back-bind ipc://* {flag}");
        let ended = run(&args, b"");
        let (pair, _) = pair.split_once(' ').unwrap_or((pair, ""));
        assert!(ended.err.contains(pair), "{ended:?}");
        let flag = flag.split(' ').next().filter(|flag| !flag.is_empty());
        assert!(ended.err.contains(flag.unwrap_or("--group")), "{ended:?}");
        ended.has_code(2);
    }
}
