//! Captured octets, taken apart.

use std::fs;
use std::io::{Read, Write};

use serde_json::Value;

use crate::support::{run, run_with, start};

const GREETING: &str = "ff00000000000000017f 0301 4e554c4c00000000000000000000000000000000 00 \
    00000000000000000000000000000000000000000000000000000000000000";

fn conversation() -> String {
    format!(
        "> {GREETING}\n< {GREETING}\n\
         > 04 19 05 5245414459 0b 536f636b65742d54797065 00000003 535542\n\
         < 04 19 05 5245414459 0b 536f636b65742d54797065 00000003 505542\n\
         > 04 0b 09 535542534352494245 61\n\
         < 01 02 6161 00 01 62\n"
    )
}

#[test]
fn both_directions_are_shown() {
    let shown = run("inspect --hex", conversation().as_bytes()).ok();
    let lines: Vec<&str> = shown.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            ">        0 greeting ZMTP 3.1 NULL",
            ">       64 command READY Socket-Type=\"SUB\"",
            ">       91 command SUBSCRIBE topic=\"a\"",
            "<        0 greeting ZMTP 3.1 NULL",
            "<       64 command READY Socket-Type=\"PUB\"",
            "<       91 message \"aa\" \"b\"",
        ]
    );
    let shown = run("--json inspect --hex", conversation().as_bytes()).ok();
    let last: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(last["frames"], serde_json::json!(["aa", "b"]));
    assert_eq!((&last["side"], &last["at"]), (&"<".into(), &91.into()));
}

/// What our own sockets say, caught on the way to a plain listener.
#[test]
fn a_real_stream_is_understood() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let end = format!("tcp://{}", listener.local_addr().unwrap());
    let push = start(&format!("push -c {end} -d hello"));
    let (mut stream, _) = listener.accept().unwrap();
    let mut octets = vec![0; 64];
    // It waits for the other side's version and mechanism before it goes on.
    let digits: String = GREETING.split_whitespace().collect();
    let ours: Vec<u8> = (0..64)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    stream.write_all(&ours).unwrap();
    stream
        .write_all(b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PULL")
        .unwrap();
    stream.read_exact(&mut octets).unwrap();
    stream.read_to_end(&mut octets).unwrap();
    push.end();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture");
    fs::write(&path, &octets).unwrap();
    let shown = run_with(&["inspect", &path.display().to_string()], b"").ok();
    assert!(shown.contains("greeting ZMTP 3.1 NULL"), "{shown}");
    assert!(shown.contains("Socket-Type=\"PUSH\""), "{shown}");
    assert!(shown.contains("message \"hello\""), "{shown}");
}

#[test]
fn faults_are_shown_and_fail() {
    let ended = run("inspect", b"GET / HTTP/1.1\r\n\r\n");
    assert!(
        String::from_utf8_lossy(&ended.out).contains("begins with 0x47"),
        "{ended:?}"
    );
    ended.has_code(1);
    // A stream that ends early is no fault: captures do.
    let cut = run("inspect --hex", &conversation().as_bytes()[..60]).ok();
    assert!(cut.contains("ends in a greeting"), "{cut}");
    let long = format!("> {GREETING} 00 28 {}", "61".repeat(40));
    let shown = run("inspect --hex --preview 4", long.as_bytes()).ok();
    assert!(shown.contains("message \"aaaa\"…(40)"), "{shown}");
    run("inspect --hex", b"0g").has_code(1);
}
