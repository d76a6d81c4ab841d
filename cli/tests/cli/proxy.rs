//! The proxy as a process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use sinew::{Dealer, Message, Pub, Sub};

use crate::support::{nobody, run, start, Running, WATCHDOG};

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

/// Who knows where it is bound may end it: it takes signals by then, and closes its sockets.
#[test]
fn it_takes_signals_when_it_says_where_it_is_bound() {
    for _ in 0..20 {
        let proxy = start("proxy pull-push --front-bind ipc://* --back-bind ipc://*");
        proxy.endpoint();
        proxy.signal("INT");
        proxy.end().has_code(130);
    }
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

#[test]
fn a_front_that_connects_and_a_capture_that_is_pushed() {
    let tap = start("pull -b ipc://* -n 1");
    let source = start("push -b ipc://* -d x");
    let proxy = start(&format!(
        "proxy pull-push --front-connect {} --back-bind ipc://* --capture-connect {}",
        source.endpoint(),
        tap.endpoint()
    ));
    let sink = start(&format!("pull -c {} -n 1", proxy.endpoint()));
    assert_eq!(sink.end().ok(), "x\n");
    assert_eq!(tap.end().ok(), "x\n");
}

/// A publisher for the front and a subscriber at the back, which has had a message through the proxy.
fn around(proxy: &Running) -> (Pub, Sub) {
    let [front, back] = ends(proxy);
    let mut publisher = Pub::builder()
        .no_drop(true)
        .send_hwm(1)
        .connect(&front)
        .unwrap();
    let mut sub = Sub::builder().recv_hwm(1).build().unwrap();
    sub.subscribe("").unwrap();
    sub.connect(&back).unwrap();
    let mut tries = 0;
    loop {
        publisher.send("not this").unwrap();
        publisher.send("through").unwrap();
        if let Ok(first) = sub.recv_timeout(Duration::from_millis(5)) {
            assert_eq!(first.as_bytes(), b"through", "it is not filtered");
            return (publisher, sub);
        }
        tries += 1;
        assert!(tries < 10_000, "nothing comes");
    }
}

#[test]
fn topics_are_filtered_and_publishers_wait() {
    // Both, as who comes through one is needed for the other.
    let proxy = start(
        "proxy sub-pub --front-bind ipc://* --back-bind ipc://* --subscribe through --no-drop --send-hwm 1 --recv-hwm 1",
    );
    let (mut publisher, mut sub) = around(&proxy);
    let body = vec![b'x'; 100_000];
    let numbered = |n: u32| Message::multipart([format!("through {n}").into_bytes(), body.clone()]);
    let mut sent = 0;
    // Dropped messages would leave room for ever.
    while publisher
        .send_timeout(numbered(sent), Duration::from_millis(200))
        .is_ok()
    {
        sent += 1;
        assert!(sent < 1000, "nobody waits");
    }
    let mut expected = 0;
    while expected < sent {
        let message = sub.recv_timeout(WATCHDOG).unwrap();
        if message.frame_count() == 2 {
            assert_eq!(message, numbered(expected), "none is missing");
            expected += 1;
        }
    }
}

#[test]
fn plain_connections_reach_zeromq_sockets() {
    let proxy =
        start("proxy stream-dealer --front-bind tcp://127.0.0.1:* --back-bind tcp://127.0.0.1:*");
    let [front, back] = ends(&proxy);
    let mut dealer = Dealer::builder().connect(&back).unwrap();
    let mut plain = TcpStream::connect(front.replace("tcp://", "")).unwrap();
    plain.set_read_timeout(Some(WATCHDOG)).unwrap();
    plain.write_all(b"hello").unwrap();
    let name = loop {
        let message = dealer.recv_timeout(WATCHDOG).unwrap();
        // The note that it is connected comes first.
        if message.frames()[1] == "hello" {
            break message.frames()[0].clone();
        }
    };
    dealer
        .send(Message::multipart([name, "there".into()]))
        .unwrap();
    let mut back = [0; 5];
    plain.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"there");
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

/// The replies for one client fill its queue; another has all of its own.
#[test]
fn a_client_that_never_reads_holds_nobody_up() {
    let proxy = start(
        "--json proxy router-dealer --front-bind ipc://* --back-bind ipc://* --statistics 10ms --linger 0 --send-hwm 20",
    );
    let [front, back] = std::array::from_fn(|_| loop {
        let line: Value = serde_json::from_str(&proxy.err_line()).unwrap();
        if let Some(bound) = line["bound"].as_str() {
            break bound.to_owned();
        }
    });
    let mut worker = Dealer::builder().connect(&*back).unwrap();
    let mut clients = [(); 2].map(|()| {
        let mut client = Dealer::builder().recv_hwm(1).connect(&*front).unwrap();
        client.send("who am I?").unwrap();
        let request = worker.recv_timeout(WATCHDOG).unwrap();
        (client, request.frames()[0].clone())
    });
    let body = vec![7; 100_000];
    loop {
        for (_, id) in &clients {
            worker.send(Message::multipart([&id[..], &body])).unwrap();
        }
        let (reads, _) = &mut clients[1];
        assert_eq!(reads.recv_timeout(WATCHDOG).unwrap().byte_len(), body.len());
        let line: Value = serde_json::from_str(&proxy.err_line()).unwrap();
        if line["full"].as_u64().unwrap() > 0 {
            break;
        }
    }
}

#[test]
fn options_for_other_pairs_are_refused_by_name() {
    for (pair, flag) in [
        ("pull-push", "--no-drop"),
        ("router-dealer", "--no-drop"),
        ("pull-push", "--wait-for-full-peers"),
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
