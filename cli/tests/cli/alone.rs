//! The command against itself: every kind, exit codes, signals, completions, measurements.

use serde_json::Value;

use crate::support::{nobody, run, run_with, start, WATCHDOG};

#[test]
fn a_pipeline_from_standard_input() {
    let pull = start("pull --bind tcp://127.0.0.1:* --count 3");
    let sent = run(
        &format!("push --connect {}", pull.endpoint()),
        b"one\ntwo\n\n",
    );
    assert_eq!(sent.ok(), "");
    assert_eq!(pull.end().ok(), "one\ntwo\n\n");
}

#[test]
fn several_endpoints_of_both_sorts() {
    let pull = start("pull -b tcp://127.0.0.1:* -b ipc://* -n 4");
    let ends = [pull.endpoint(), pull.endpoint()];
    for end in &ends {
        run(&format!("push -c {end} -d x"), b"").ok();
    }
    let both = format!(
        "push -c {} -c {} --wait-peers 2 -d y -n 2",
        ends[0], ends[1]
    );
    run(&both, b"").ok();
    assert_eq!(pull.end().ok(), "x\nx\ny\ny\n");
}

#[test]
fn publish_subscribe_with_a_filter_and_a_group() {
    let mut publisher = start("pub --bind tcp://127.0.0.1:* --wait-peers 1 --file -");
    let sub = start(&format!("sub --connect {} -s a -n 2", publisher.endpoint()));
    publisher.write(b"c1\na1\nb1\na2\n");
    assert_eq!(sub.end().ok(), "a1\na2\n");
    publisher.end().ok();

    let mut radio = start("radio --bind tcp://127.0.0.1:* --wait-peers 1 --group news");
    let dish = start(&format!("dish --connect {} -g news -n 1", radio.endpoint()));
    // Membership may come a moment after the peer.
    let mut tries = 0;
    let line = loop {
        radio.write(b"today\n");
        tries += 1;
        if let Ok(line) = dish.try_line() {
            break line;
        }
        assert!(tries < 10_000, "nothing comes");
    };
    assert_eq!(line, "news\ttoday");
    dish.end().ok();
}

#[test]
fn requests_and_replies() {
    let rep = start("rep --bind tcp://127.0.0.1:* --echo");
    let end = rep.endpoint();
    assert_eq!(run(&format!("req -c {end}"), b"a\nb\n").ok(), "a\nb\n");
    assert_eq!(
        run(&format!("req -c {end} -d x -n 3"), b"").ok(),
        "x\nx\nx\n"
    );
    for expected in ["a", "b", "x", "x", "x"] {
        assert_eq!(rep.line(), expected);
    }
    let rep = start("rep --bind tcp://127.0.0.1:* -d yes");
    let asked = run(&format!("req -c {}", rep.endpoint()), b"1\n2\n3\n");
    assert_eq!(asked.ok(), "yes\nyes\nyes\n");
}

/// Kinds that send and receive in any order, and those that name their peers, which echo.
/// It waits for no request after its last reply.
#[test]
fn a_replier_ends_with_its_replies() {
    let mut rep = start("rep -b ipc://* -t 20s");
    let endpoint = rep.endpoint();
    rep.write(b"one\ntwo\n");
    drop(rep.stdin.take());
    let asked = run(&format!("req -c {endpoint} -t 30s"), b"first\nsecond\n");
    assert_eq!(asked.ok(), "one\ntwo\n");
    assert_eq!(rep.end().ok(), "first\nsecond\n");
}

#[test]
fn every_other_kind_talks() {
    for (server, client) in [
        ("router", "dealer"),
        ("router", "req"),
        ("server", "client"),
        ("peer", "peer"),
    ] {
        let echo = start(&format!("{server} -b tcp://127.0.0.1:* --echo -F quoted"));
        let end = echo.endpoint();
        let talk = run(&format!("{client} -c {end} -d hi -n 1 -t 30s"), b"").ok();
        match client {
            // By a number of its own making.
            "peer" => assert!(talk.ends_with("\thi\n"), "{talk}"),
            _ => assert_eq!(talk, "hi\n", "{client}"),
        }
        assert!(echo.line().ends_with("\thi"));
    }
    let echo = start("dgram -b udp://127.0.0.1:* --echo");
    let sent = format!("{}\thi", echo.endpoint().replace("udp://", ""));
    let talk = "dgram -b udp://127.0.0.1:* -m -n 1 -t 30s -d";
    let talk: Vec<&str> = talk.split(' ').chain([&sent[..]]).collect();
    assert_eq!(run_with(&talk, b"").ok(), format!("{sent}\n"));
    assert!(echo.line().ends_with("\thi"));
    for kind in ["pair", "channel", "dealer"] {
        let one = start(&format!("{kind} -b ipc://* -n 1 -d there"));
        let other = start(&format!("{kind} -c {} -n 1 -d back", one.endpoint()));
        assert_eq!(one.line(), "back");
        assert_eq!(other.line(), "there");
    }
    let gather = start("gather -b tcp://127.0.0.1:* -n 1");
    run(&format!("scatter -c {} -d x", gather.endpoint()), b"").ok();
    assert_eq!(gather.end().ok(), "x\n");

    // Subscriptions are printed, and messages go both ways.
    let mut xpub = start("xpub -b tcp://127.0.0.1:* -F quoted");
    let mut xsub = start(&format!("xsub -c {} -s topic", xpub.endpoint()));
    assert_eq!(xpub.line(), "\\x01topic");
    xpub.write(b"topic 1\n");
    assert_eq!(xsub.line(), "topic 1");
    xsub.write(b"up\n");
    assert_eq!(xpub.line(), "up");
}

/// It is told what those are called that it connects to; a message for the only one needs no number.
#[test]
fn a_peer_speaks_first() {
    let [one, other] = [(); 2].map(|()| start("peer -b tcp://127.0.0.1:*"));
    let ends = [one.endpoint(), other.endpoint()];
    let places = format!("-c {} -c {}", ends[0], ends[1]);
    let mut peer = start(&format!("peer {places} -m"));
    let told = [(); 2].map(|()| peer.err_line());
    let numbers = [0, 1].map(|index: usize| {
        let (end, number) = told[index].split_once(" is peer ").unwrap();
        assert_eq!(end, format!("sinew: {}", ends[index]));
        number
    });
    assert_ne!(numbers[0], numbers[1]);
    peer.write(format!("{}\tto the other\n{}\tto one\n", numbers[1], numbers[0]).as_bytes());
    assert!(one.line().ends_with("\tto one"));
    assert!(other.line().ends_with("\tto the other"));

    let ended = run(&format!("peer {places} -d whom"), b"");
    assert!(ended.err.contains("there are 2"), "{ended:?}");
    ended.has_code(1);
    run(&format!("peer -c {} -n 0 -d alone", ends[0]), b"").ok();
    assert!(one.line().ends_with("\talone"));
    let ended = run(&format!("--json peer -c {} -n 0 -d x", ends[0]), b"");
    let told: Value = serde_json::from_str(ended.err.trim()).unwrap();
    assert_eq!(told["connected"], ends[0]);
    assert!(told["peer"].as_u64() > Some(0));
}

/// Plain octets, from a connection that is no ZeroMQ socket.
#[test]
fn a_stream_echoes_plain_octets() {
    use std::io::{Read, Write};
    let stream = start("stream -b tcp://127.0.0.1:* --echo -F hex");
    let address = stream.endpoint().replace("tcp://", "");
    let mut plain = std::net::TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(WATCHDOG)).unwrap();
    plain.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    plain.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

#[test]
fn datagrams_name_their_hosts() {
    let receiver = start("dgram -b udp://127.0.0.1:* -n 1");
    let address = receiver.endpoint().replace("udp://", "");
    let data = format!("{address}\tping");
    let sent = run_with(
        &[
            "dgram",
            "-b",
            "udp://127.0.0.1:*",
            "-m",
            "-n",
            "0",
            "-d",
            &data,
        ],
        b"",
    );
    sent.ok();
    assert!(receiver.end().ok().ends_with("\tping\n"));
}

#[test]
fn exit_codes_say_how_it_ended() {
    // Usage.
    for wrong in [
        "push -d x",
        "nothing",
        "pull -b tcp://127.0.0.1:* -d x",
        "push -c tcp://127.0.0.1:1 --echo",
        "push -c tcp://127.0.0.1:1 -i fast",
        "bench latency --role send",
        "proxy pull-push --front-bind ipc://*",
        "monitor rep",
        "dish -b tcp://127.0.0.1:*",
        "pull -b tcp://127.0.0.1:* -s topic",
        "sub -b tcp://127.0.0.1:* -g news",
    ] {
        let ended = run(wrong, b"");
        assert_eq!(ended.code, Some(2), "{wrong}: {ended:?}");
        assert!(!ended.err.is_empty());
    }
    // Failure.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    for (wrong, named) in [
        (format!("pull -b tcp://{taken}"), taken.to_string()),
        ("push -c nowhere".into(), "nowhere".into()),
        (
            "push -c ipc:///x -f /does/not/exist".into(),
            "/does/not/exist".into(),
        ),
        ("inspect /does/not/exist".into(), "/does/not/exist".into()),
    ] {
        let ended = run(&wrong, b"");
        assert!(ended.err.contains(&named), "{ended:?}");
        ended.has_code(1);
    }
    // Time-outs: nothing comes, nobody takes, nobody is there.
    run("pull -b ipc://* -t 10ms", b"").has_code(3);
    run("push -b ipc://* -t 10ms -d x", b"").has_code(3);
    run("pub -b ipc://* -t 10ms --wait-peers 1 -d x", b"").has_code(3);
    let nobody = nobody();
    run(&format!("req -c {nobody} -t 10ms -d x --linger 0"), b"").has_code(3);
    run("monitor pull -b ipc://* -n 2 -t 10ms", b"").has_code(3);
    run("bench throughput --role receive -b ipc://* -t 10ms", b"").has_code(3);
    let ended = run(
        &format!("bench latency --role ask -c {nobody} -t 10ms"),
        b"",
    );
    assert!(ended.err.contains("no request was sent"), "{ended:?}");
    ended.has_code(3);
    // What could not be sent.
    let lost = run(&format!("push -c {nobody} -d x --linger 0"), b"");
    assert!(lost.err.contains("1 message was not sent"), "{lost:?}");
    lost.has_code(4);
    // What was queued is not waited for much longer than the time allows, and told.
    let ended = run(&format!("req -c {nobody} -t 10ms -d x"), b"");
    assert!(ended.err.contains("1 message was not sent"), "{ended:?}");
    ended.has_code(3);
    run(&format!("push -c {nobody} -t 10ms -d x"), b"").has_code(4);
    let ended = run(&format!("--json req -c {nobody} -t 10ms -d x"), b"");
    let said: Vec<Value> = (ended.err.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(said[0]["unsent"], 1, "{ended:?}");
    assert_eq!(said[1]["code"], 3);
    // In JSON.
    for wrong in [
        "--json pull --no-such-option",
        "--json nothing",
        "push --json",
    ] {
        let ended = run(wrong, b"");
        let error: Value = serde_json::from_str(ended.err.trim_end()).unwrap();
        assert_eq!(error["code"], 2, "{ended:?}");
        assert!(!error["error"].as_str().unwrap().starts_with("error"));
        ended.has_code(2);
    }
    let ended = run("--json pull -b ipc://* -t 10ms", b"");
    let said = ended.err.lines().last().unwrap();
    let error: Value = serde_json::from_str(said).unwrap();
    assert_eq!(error["code"], 3);
}

#[test]
fn a_signal_ends_it_in_order() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let pull = start("pull -b tcp://127.0.0.1:*");
        let mut push = start(&format!("push -c {}", pull.endpoint()));
        push.write(b"sent before\n");
        assert_eq!(pull.line(), "sent before");
        // Its input stays open: it is not to end because of that.
        let _input = push.stdin.take();
        push.signal(signal);
        push.end().has_code(code);
        pull.signal(signal);
        pull.end().has_code(code);
    }
    // What is queued is still sent: nobody is there when the signal comes, but in time.
    let directory = tempfile::tempdir().unwrap();
    let end = format!("ipc://{}/late", directory.path().display());
    let push = start(&format!(
        "push -c {end} -d queued -d later --interval 1h --verbose"
    ));
    // By the second attempt the first message has long been queued, and the second is waited for.
    for _ in 0..2 {
        while !push.err_line().contains("connect_retried") {}
    }
    push.signal("INT");
    let pull = run(&format!("pull -b {end} -n 1 -t 30s"), b"");
    assert_eq!(pull.ok(), "queued\n");
    push.end().has_code(130);
}

#[test]
fn a_closed_output_ends_it_quietly() {
    use std::process::{Command, Stdio};
    let sub = start("push -b tcp://127.0.0.1:* -d x -n 1000000");
    let end = sub.endpoint();
    let mut pull = Command::new(env!("CARGO_BIN_EXE_sinew"))
        .args(["pull", "-c", &end])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(pull.stdout.take());
    let ended = pull.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn high_water_marks_are_kept() {
    // What there is no room for is waited for, and not queued.
    let push = format!("push -c {} -d x -n 10 -t 10ms --linger 0", nobody());
    run(&push, b"").has_code(4);
    let ended = run(&format!("{push} --send-hwm 2"), b"");
    assert!(ended.err.contains("2 messages were not sent"), "{ended:?}");
    ended.has_code(3);
    // Larger than what the kernel takes.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &vec![0; 1 << 20]).unwrap();
    let path = file.path().display();
    for (mark, patience, code) in [("", "60s", 0), ("--recv-hwm 1", "200ms", 3)] {
        let unread = start(&format!("monitor pull -b ipc://* {mark}"));
        let listening = unread.line();
        let end = bound_at(&listening);
        let push =
            format!("push -c {end} -f {path} -F raw -n 20 --send-hwm 1 -t {patience} --linger 0");
        let push = if code == 0 {
            push.replace("--linger 0", "")
        } else {
            push
        };
        let ended = run(&push, b"");
        assert_eq!(ended.code, Some(code), "{mark}: {ended:?}");
    }
}

#[test]
fn peers_of_old_are_taken_if_asked_for() {
    use std::io::{Read, Write};
    // ZMTP 1.0: an empty identity, then a frame of length, flags and body.
    let octets = b"\x01\x00\x03\x00hi";
    let connect = |end: String| {
        let mut plain = std::net::TcpStream::connect(end.replace("tcp://", "")).unwrap();
        plain.set_read_timeout(Some(WATCHDOG)).unwrap();
        plain.write_all(octets).unwrap();
        plain
    };
    let pull = start("pull -b tcp://127.0.0.1:* --legacy-peers -n 1");
    let _peer = connect(pull.endpoint());
    assert_eq!(pull.line(), "hi");
    let pull = start("pull -b tcp://127.0.0.1:*");
    let mut peer = connect(pull.endpoint());
    // Its greeting, and no more; the end may be a reset.
    let _ = peer.read_to_end(&mut Vec::new());
    assert!(pull.try_line().is_err());
}

#[test]
fn intervals_and_delays_are_kept() {
    let pull = start("pull -b tcp://127.0.0.1:* -n 3");
    let start = std::time::Instant::now();
    let args = format!("push -c {} -d x -n 3 -i 30ms --delay 40ms", pull.endpoint());
    run(&args, b"").ok();
    assert!(start.elapsed().as_millis() >= 100);
    pull.end().ok();
}

#[test]
fn what_comes_is_printed_while_the_interval_lasts() {
    let one = start("pair -b ipc://* -d first -d in-an-hour -i 1h");
    let other = start(&format!("pair -c {} -n 1 -d hello", one.endpoint()));
    assert_eq!(other.line(), "first");
    assert_eq!(one.line(), "hello");
}

/// The endpoint of an event that says where a socket listens.
fn bound_at(event: &str) -> &str {
    let (_, rest) = event.split_once("listening endpoint=").unwrap();
    rest.split(' ').next().unwrap()
}

#[test]
fn datagram_sockets_have_events() {
    let monitor = start("monitor dgram -b udp://127.0.0.1:* -n 1");
    assert!(bound_at(&monitor.line()).starts_with("udp://127.0.0.1:"));
    monitor.end().ok();
    let ended = run("dgram -b udp://127.0.0.1:* -v -t 10ms", b"");
    assert!(ended.err.contains("listening endpoint=udp://"), "{ended:?}");
    ended.has_code(3);
}

#[test]
fn events_are_lines_or_json() {
    let monitor = start("monitor pull -b tcp://127.0.0.1:* -n 4");
    let listening = monitor.line();
    let end = bound_at(&listening);
    run(&format!("push -c {end} -d x --routing-id me"), b"").ok();
    let accepted = monitor.line();
    let local = format!("local={} ", end.replace("tcp://", ""));
    assert!(
        accepted.starts_with("accepted ") && accepted.contains(&local),
        "{accepted}"
    );
    let succeeded = monitor.line();
    assert!(succeeded.contains("handshake_succeeded") && succeeded.contains("socket_type=PUSH"));
    assert!(monitor.line().starts_with("disconnected "));
    monitor.end().ok();

    let monitor = start("monitor pub -b tcp://127.0.0.1:* -n 4");
    let listening = monitor.line();
    let end = bound_at(&listening);
    let _sub = start(&format!("sub -c {end} -s weather"));
    monitor.line();
    monitor.line();
    let added = monitor.line();
    assert!(
        added.starts_with("subscription_added ") && added.contains("topic=weather"),
        "{added}"
    );
    monitor.end().ok();

    let monitor = start("--json monitor rep -b tcp://127.0.0.1:* -n 2");
    let event: Value = serde_json::from_str(&monitor.line()).unwrap();
    assert_eq!(event["event"], "listening");
    let end = event["endpoint"].as_str().unwrap();
    let _req = start(&format!("req -c {end}"));
    let event: Value = serde_json::from_str(&monitor.line()).unwrap();
    assert_eq!(event["event"], "accepted");
}

#[test]
fn measurements_are_reported() {
    let report = run("--json bench throughput -s 16 -n 2000", b"").ok();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["messages"], 1999);
    assert_eq!(report["size"], 16);
    assert!(report["messages_per_second"].as_f64().unwrap() > 0.0);
    let report = run("bench latency -n 50 --histogram -b ipc://*", b"").ok();
    assert!(
        report.starts_with("50 round trips of 64 octets"),
        "{report}"
    );
    assert!(report.contains("p99 ") && report.contains('#'), "{report}");
    let report = run("--json bench latency -n 50 --histogram", b"").ok();
    let report: Value = serde_json::from_str(&report).unwrap();
    let micros = |name: &str| report[name].as_f64().unwrap();
    // No round trip between two threads takes a tenth of a microsecond.
    assert!(micros("min") > 0.1, "{report}");
    assert!(micros("min") <= micros("p50") && micros("p50") <= micros("max"));
    let bars = report["histogram"].as_array().unwrap();
    let counted: u64 = bars.iter().map(|bar| bar[1].as_u64().unwrap()).sum();
    assert_eq!(counted, 50, "{report}");
    assert!(bars.last().unwrap()[0].as_f64().unwrap() >= micros("max") * 0.99);
    let report = run("--json bench throughput -d 20ms -b inproc://bench", b"").ok();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["seconds"].as_f64().unwrap() >= 0.02);
}

/// Whatever size this side was told.
#[test]
fn octets_are_those_that_come() {
    let receive = start("--json bench throughput --role receive -b tcp://127.0.0.1:* -n 5");
    let mut push = start(&format!("push -c {}", receive.endpoint()));
    push.write(b"first\n");
    push.write(&[&[b'x'; 1000][..], b"\n", &[b'y'; 500], b"\n"].concat());
    push.write(&[&[b'x'; 1000][..], b"\n", &[b'y'; 500], b"\n"].concat());
    let ended = receive.end();
    assert!(ended.err.contains("\"note\":\"size\""), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.ok()).unwrap();
    assert_eq!(report["octets"], 3000);
    assert_eq!(report["size"], 750);
    let rate = report["octets_per_second"].as_f64().unwrap();
    let messages = report["messages_per_second"].as_f64().unwrap();
    assert!((rate / messages - 750.0).abs() < 1e-6, "{report}");
}

#[test]
fn both_sides_of_a_measurement_may_be_apart() {
    let receive = start("bench throughput --role receive -b tcp://127.0.0.1:* -n 500");
    let send = format!(
        "bench throughput --role send -c {} -n 500",
        receive.endpoint()
    );
    assert!(run(&send, b"").ok().starts_with("500 messages"));
    assert!(receive.end().ok().starts_with("499 messages"));
    let answer = start("bench latency --role answer -b tcp://127.0.0.1:* -n 20");
    let ask = format!("bench latency --role ask -c {} -n 20", answer.endpoint());
    assert!(run(&ask, b"").ok().starts_with("20 round trips"));
    answer.end().ok();
}

#[test]
fn completions_and_help() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&format!("completions {shell}"), b"").ok();
        assert!(
            script.contains("scatter") && script.contains("sinew"),
            "{shell}"
        );
    }
    run("completions none", b"").has_code(2);
    assert!(run("--help", b"").ok().contains("Exit codes"));
    assert!(run("--version", b"").ok().starts_with("sinew "));
    // They are no JSON.
    let ended = run("--json completions bash", b"");
    assert!(ended.err.contains("--json"), "{ended:?}");
    assert_eq!(ended.has_code(2), "");
}

/// Help and completions as well as messages.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_a_failure() {
    for args in [&["--help"][..], &["--version"], &["completions", "bash"]] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sinew"));
        let ended = command.args(args).stdout(full).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("standard output"), "{said}");
    }
}

/// Nobody reads what it prints: its writes do not return, and the first signal ends it all the same.
#[test]
fn a_signal_ends_a_write_that_stalls() {
    use std::process::{Command, Stdio};
    let mut command = Command::new(env!("CARGO_BIN_EXE_sinew"));
    let mut pull = command
        .args(["pull", "-b", "ipc://*", "--recv-hwm", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let mut said = std::io::BufReader::new(pull.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut told).unwrap();
    let endpoint = told.trim_end().rsplit(' ').next().unwrap();
    // More than pipes and sockets hold: it waits in a write when no more of it can be sent.
    let mut push = sinew::Push::builder()
        .send_hwm(1)
        .connect(endpoint)
        .unwrap();
    let much = vec![b'x'; 1_000_000];
    while push
        .send_timeout(&much[..], std::time::Duration::from_millis(200))
        .is_ok()
    {}
    let pid = pull.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert_eq!(code_of(&mut pull), Some(130));
}

/// Its exit code, if it ends.
fn code_of(child: &mut std::process::Child) -> Option<i32> {
    let since = std::time::Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(ended) => return ended.code(),
            None if since.elapsed() > WATCHDOG => {
                child.kill().unwrap();
                child.wait().unwrap();
                return None;
            }
            None => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
}

/// The same of what it says on standard error: where it is bound is read, and what it says in the end is not.
#[test]
fn a_signal_ends_a_command_whose_last_words_nobody_reads() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    for args in [
        "mdp-broker -b ipc://*",
        "mdp-broker -b ipc://* --statistics 1h",
    ] {
        let (read, mut write) = UnixStream::pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinew"));
        let mut child = command
            .args(args.split(' '))
            .stderr(OwnedFd::from(write.try_clone().unwrap()))
            .spawn()
            .unwrap();
        drop(command);
        let mut told = String::new();
        BufReader::new(read.try_clone().unwrap())
            .read_line(&mut told)
            .unwrap();
        assert!(told.contains("bound to"), "{told}");
        // It says nothing meanwhile, so it does not find that this end does not wait.
        write.set_nonblocking(true).unwrap();
        while write.write(&[0; 1000]).is_ok() {}
        write.set_nonblocking(false).unwrap();
        let pid = child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert_eq!(code_of(&mut child), Some(143), "{args}");
    }
}
