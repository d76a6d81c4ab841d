//! The command and other implementations: libzmq here, pyzmq as another process; both ways, both bound and
//! connected.

use std::path::Path;
use std::process::Command;

use crate::support::{run, run_with, start, start_command, Running, WATCHDOG};

/// A libzmq socket with time-outs.
fn libzmq(context: &zmq::Context, kind: zmq::SocketType) -> zmq::Socket {
    let socket = context.socket(kind).unwrap();
    socket.set_rcvtimeo(WATCHDOG.as_millis() as i32).unwrap();
    socket.set_sndtimeo(WATCHDOG.as_millis() as i32).unwrap();
    socket.set_linger(0).unwrap();
    socket
}

fn bound(socket: &zmq::Socket) -> String {
    socket.bind("tcp://127.0.0.1:*").unwrap();
    socket.get_last_endpoint().unwrap().unwrap()
}

#[test]
fn libzmq_receives_and_sends() {
    let context = zmq::Context::new();
    let pull = libzmq(&context, zmq::PULL);
    let end = bound(&pull);
    run(&format!("push -c {end} -m"), b"one\ntwo\tparts\n").ok();
    assert_eq!(pull.recv_bytes(0).unwrap(), b"one");
    assert_eq!(
        pull.recv_multipart(0).unwrap(),
        [b"two".to_vec(), b"parts".to_vec()]
    );

    let ours = start("pull -b tcp://127.0.0.1:* -n 2 -F json");
    let push = libzmq(&context, zmq::PUSH);
    push.connect(&ours.endpoint()).unwrap();
    push.send("plain", 0).unwrap();
    push.send_multipart([&b"a"[..], b"\xff"], 0).unwrap();
    assert_eq!(ours.end().ok(), "[\"plain\"]\n[\"a\",{\"hex\":\"ff\"}]\n");
}

#[test]
fn libzmq_asks_and_answers() {
    let context = zmq::Context::new();
    let ours = start("rep -b tcp://127.0.0.1:* -d answer -n 1");
    let req = libzmq(&context, zmq::REQ);
    req.connect(&ours.endpoint()).unwrap();
    req.send("question", 0).unwrap();
    assert_eq!(req.recv_bytes(0).unwrap(), b"answer");
    assert_eq!(ours.end().ok(), "question\n");

    let rep = libzmq(&context, zmq::REP);
    let end = bound(&rep);
    let ours = start(&format!("req -c {end} -d question"));
    assert_eq!(rep.recv_bytes(0).unwrap(), b"question");
    rep.send("answer", 0).unwrap();
    assert_eq!(ours.end().ok(), "answer\n");
}

#[test]
fn libzmq_publishes_and_subscribes() {
    let context = zmq::Context::new();
    let sub = libzmq(&context, zmq::SUB);
    sub.set_subscribe(b"a").unwrap();
    let mut ours = start("pub -b tcp://127.0.0.1:* --wait-peers 1");
    sub.connect(&ours.endpoint()).unwrap();
    ours.write(b"b1\na1\n");
    assert_eq!(sub.recv_bytes(0).unwrap(), b"a1");

    let xpub = libzmq(&context, zmq::XPUB);
    let ours = start(&format!("sub -c {} -s a -n 1", bound(&xpub)));
    assert_eq!(xpub.recv_bytes(0).unwrap(), b"\x01a");
    xpub.send("b", 0).unwrap();
    xpub.send("a", 0).unwrap();
    assert_eq!(ours.end().ok(), "a\n");
}

#[test]
fn libzmq_talks_both_ways() {
    let context = zmq::Context::new();
    // Both bound and connected.
    let pair = libzmq(&context, zmq::PAIR);
    let mut ours = start(&format!("pair -c {}", bound(&pair)));
    pair.send("from libzmq", 0).unwrap();
    assert_eq!(ours.line(), "from libzmq");
    ours.write(b"to libzmq\n");
    assert_eq!(pair.recv_bytes(0).unwrap(), b"to libzmq");
    drop(ours);
    let ours = start("pair -b tcp://127.0.0.1:* -d to -n 1");
    let pair = libzmq(&context, zmq::PAIR);
    pair.connect(&ours.endpoint()).unwrap();
    assert_eq!(pair.recv_bytes(0).unwrap(), b"to");
    pair.send("from", 0).unwrap();
    assert_eq!(ours.end().ok(), "from\n");

    let ours = start("router -b tcp://127.0.0.1:* --echo -F quoted");
    let dealer = libzmq(&context, zmq::DEALER);
    dealer.set_identity(b"dealer").unwrap();
    dealer.connect(&ours.endpoint()).unwrap();
    dealer.send_multipart(["a", "b"], 0).unwrap();
    assert_eq!(dealer.recv_multipart(0).unwrap(), [b"a", b"b"]);
    assert_eq!(ours.line(), "dealer\ta\tb");

    let router = libzmq(&context, zmq::ROUTER);
    let ours = start(&format!(
        "dealer -c {} --routing-id me -d hi -n 1",
        bound(&router)
    ));
    let asked = router.recv_multipart(0).unwrap();
    assert_eq!(asked, [b"me".to_vec(), b"hi".to_vec()]);
    router.send_multipart(["me", "there"], 0).unwrap();
    assert_eq!(ours.end().ok(), "there\n");
}

#[test]
fn libzmq_sees_subscriptions_and_has_its_own_seen() {
    let context = zmq::Context::new();
    let mut ours = start("xpub -b tcp://127.0.0.1:* -F quoted");
    let sub = libzmq(&context, zmq::SUB);
    sub.set_subscribe(b"topic").unwrap();
    sub.connect(&ours.endpoint()).unwrap();
    assert_eq!(ours.line(), "\\x01topic");
    ours.write(b"topic 1\n");
    assert_eq!(sub.recv_bytes(0).unwrap(), b"topic 1");
    drop(sub);
    assert_eq!(ours.line(), "\\x00topic");

    let xpub = libzmq(&context, zmq::XPUB);
    let ours = start(&format!("xsub -c {} -s topic", bound(&xpub)));
    assert_eq!(xpub.recv_bytes(0).unwrap(), b"\x01topic");
    xpub.send("topic 2", 0).unwrap();
    assert_eq!(ours.line(), "topic 2");
}

#[test]
fn a_stream_and_plain_octets_of_libzmq() {
    let context = zmq::Context::new();
    let plain = libzmq(&context, zmq::STREAM);
    let echo = start("stream -b tcp://127.0.0.1:* --echo -F hex");
    plain.connect(&echo.endpoint()).unwrap();
    // The note that it is connected comes first, with the name to send to.
    let note = plain.recv_multipart(0).unwrap();
    plain.send_multipart([&note[0][..], b"octets"], 0).unwrap();
    assert_eq!(plain.recv_multipart(0).unwrap()[1], b"octets");
}

#[test]
fn a_proxy_between_libzmq_sockets() {
    let context = zmq::Context::new();
    let proxy =
        start("proxy router-dealer --front-bind tcp://127.0.0.1:* --back-bind tcp://127.0.0.1:*");
    let (front, back) = (proxy.endpoint(), proxy.endpoint());
    let (req, rep) = (libzmq(&context, zmq::REQ), libzmq(&context, zmq::REP));
    req.connect(&front).unwrap();
    rep.connect(&back).unwrap();
    req.send("question", 0).unwrap();
    assert_eq!(rep.recv_bytes(0).unwrap(), b"question");
    rep.send("answer", 0).unwrap();
    assert_eq!(req.recv_bytes(0).unwrap(), b"answer");
}

/// The measured side of a benchmark, against libzmq.
#[test]
fn a_measurement_takes_any_peer() {
    let context = zmq::Context::new();
    let rep = libzmq(&context, zmq::REP);
    let ours = start(&format!(
        "bench latency --role ask -c {} -n 10",
        bound(&rep)
    ));
    for _ in 0..20 {
        let request = rep.recv_bytes(0).unwrap();
        rep.send(request, 0).unwrap();
    }
    assert!(ours.end().ok().starts_with("10 round trips"));
    let pull = libzmq(&context, zmq::PULL);
    let end = bound(&pull);
    run(
        &format!("bench throughput --role send -c {end} -n 300 -s 10"),
        b"",
    )
    .ok();
    for _ in 0..300 {
        assert_eq!(pull.recv_bytes(0).unwrap().len(), 10);
    }
    let ours = start("bench throughput --role receive -b tcp://127.0.0.1:* -n 300 -s 10");
    let push = libzmq(&context, zmq::PUSH);
    push.connect(&ours.endpoint()).unwrap();
    (0..300).for_each(|_| push.send("0123456789", 0).unwrap());
    assert!(ours.end().ok().starts_with("299 messages of 10 octets"));
    let ours = start("bench latency --role answer -b tcp://127.0.0.1:* -n 5");
    let req = libzmq(&context, zmq::REQ);
    req.connect(&ours.endpoint()).unwrap();
    for _ in 0..10 {
        req.send("ping", 0).unwrap();
        assert_eq!(req.recv_bytes(0).unwrap(), b"ping");
    }
    ours.end().ok();
}

/// A line of Python, with `s` made by `socket(kind)` and standard output flushed.
fn python(program: &str) -> Running {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python3");
    assert!(
        python.exists(),
        "{} is missing: run tests/support/python-env once",
        python.display()
    );
    let head = "import sys, zmq\n\
        def socket(kind):\n\
        \x20   s = zmq.Context.instance().socket(kind)\n\
        \x20   s.setsockopt(zmq.RCVTIMEO, 60000); s.setsockopt(zmq.LINGER, 10000)\n\
        \x20   return s\n\
        def bound(s):\n\
        \x20   s.bind('tcp://127.0.0.1:*')\n\
        \x20   print(s.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)\n";
    // A process that just ends may take what it has sent with it.
    let tail = "\ns.close(); zmq.Context.instance().term()\n";
    start_command(Command::new(python).args(["-c", &format!("{head}{program}{tail}")]))
}

#[test]
fn pyzmq_receives_and_sends() {
    let peer = python(
        "s = socket(zmq.PULL); bound(s)\n\
         print(s.recv_multipart(), flush=True)",
    );
    let end = peer.line();
    run_with(&["push", "-c", &end, "-m", "-d", "one\ttwo"], b"").ok();
    assert_eq!(peer.line(), "[b'one', b'two']");
    peer.end().ok();

    let ours = start("pull -b tcp://127.0.0.1:* -n 1 -F msgpack");
    let end = ours.endpoint();
    python(&format!(
        "s = socket(zmq.PUSH); s.connect('{end}'); s.send_multipart([b'a', b'b'])"
    ))
    .end()
    .ok();
    assert_eq!(ours.end().out, b"\x92\xc4\x01a\xc4\x01b");
}

#[test]
fn pyzmq_asks_a_router_and_answers_a_req_and_a_dealer() {
    let ours = start("router -b tcp://127.0.0.1:* --echo -F quoted");
    let end = ours.endpoint();
    let peer = python(&format!(
        "s = socket(zmq.DEALER); s.setsockopt(zmq.IDENTITY, b'py'); s.connect('{end}')\n\
         s.send(b'hi'); print(s.recv())"
    ));
    assert_eq!(peer.end().ok(), "b'hi'\n");
    assert_eq!(ours.line(), "py\thi");

    let peer = python("s = socket(zmq.REP); bound(s); s.send(s.recv().upper())");
    let args = format!("req -c {} -d quiet", peer.line());
    assert_eq!(run(&args, b"").ok(), "QUIET\n");
    peer.end().ok();

    let peer = python("s = socket(zmq.REP); bound(s); s.send(s.recv().upper())");
    let end = peer.line();
    let args = ["dealer", "-c", &end, "-m", "-n", "1", "-d", "\tshout"];
    assert_eq!(run_with(&args, b"").ok(), "\tSHOUT\n");
    peer.end().ok();
}

#[test]
fn pyzmq_subscribes_publishes_and_talks() {
    let mut ours = start("pub -b tcp://127.0.0.1:* --wait-peers 1");
    let end = ours.endpoint();
    let peer = python(&format!(
        "s = socket(zmq.SUB); s.subscribe('a'); s.connect('{end}'); print(s.recv())"
    ));
    ours.write(b"b1\na1\n");
    assert_eq!(peer.end().ok(), "b'a1'\n");

    // What it publishes after it has seen the subscription comes.
    let peer = python("s = socket(zmq.XPUB); bound(s); s.recv(); s.send(b'b'); s.send(b'a')");
    let args = format!("sub -c {} -s a -n 1", peer.line());
    assert_eq!(run(&args, b"").ok(), "a\n");
    peer.end().ok();

    let peer = python("s = socket(zmq.PAIR); bound(s); s.send(s.recv().upper())");
    let args = format!("pair -c {} -n 1 -d loud", peer.line());
    assert_eq!(run(&args, b"").ok(), "LOUD\n");
    peer.end().ok();

    let ours = start("rep -b tcp://127.0.0.1:* -d yes -n 1");
    let end = ours.endpoint();
    let peer = python(&format!(
        "s = socket(zmq.REQ); s.connect('{end}'); s.send(b'well?'); print(s.recv())"
    ));
    assert_eq!(peer.end().ok(), "b'yes'\n");
    assert_eq!(ours.end().ok(), "well?\n");
}
