//! Every format, in both directions.

use std::fs;

use crate::support::{nobody, run, run_with, start_with};

/// What a receiver prints in `output` of what is sent in `input`.
fn pass(input: &[&str], sent: &[u8], output: &[&str], count: usize) -> Vec<u8> {
    let count = count.to_string();
    let pull = start_with(&[&["pull", "-b", "tcp://127.0.0.1:*", "-n", &count], output].concat());
    let end = pull.endpoint();
    run_with(&[&["push", "-c", &end], input].concat(), sent).ok();
    let ended = pull.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out
}

const TWO: &[u8] = b"[\"a\\tb\",\"\",{\"hex\":\"00ff\"}]\n[\"\xc3\xa9\"]\n";

#[test]
fn json_becomes_every_format() {
    let json = &["-F", "json"][..];
    for (output, expected) in [
        ("json", TWO),
        ("text", b"a\tb\t\t\x00\xff\n\xc3\xa9\n"),
        ("quoted", b"a\\tb\t\t\\x00\\xff\n\xc3\xa9\n"),
        ("hex", b"610962\t\t00ff\nc3a9\n"),
        (
            "msgpack",
            b"\x93\xc4\x03a\tb\xc4\x00\xc4\x02\x00\xff\xc4\x02\xc3\xa9",
        ),
        ("raw", b"a\tb\x00\xff\xc3\xa9"),
    ] {
        assert_eq!(pass(json, TWO, &["-F", output], 2), expected, "{output}");
    }
}

#[test]
fn every_format_becomes_json() {
    let expected = b"[\"a\",\"b\"]\n";
    for (input, sent) in [
        (&["-m"][..], &b"a\tb\n"[..]),
        (&["-m", "--separator", "::"], b"a::b"),
        (
            &["-m", "-F", "quoted", "--separator", "\\x7c"],
            b"\\x61|b\n",
        ),
        (&["-m", "-F", "hex", "--separator", ","], b"61, 62\n"),
        (&["-F", "msgpack"], b"\x92\xa1a\xc5\x00\x01b"),
        (&["--input-format", "json"], b"[\"a\",{\"hex\":\"62\"}]\n"),
    ] {
        assert_eq!(pass(input, sent, &["--json"], 1), expected, "{input:?}");
    }
    assert_eq!(
        pass(&["-F", "raw"], b"a\nb\n", &["--json"], 1),
        b"[\"a\\nb\\n\"]\n"
    );
    assert_eq!(
        pass(&[], b"a\tb\n", &["--output-format", "json"], 1),
        b"[\"a\\tb\"]\n"
    );
}

#[test]
fn messages_come_from_arguments_and_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("messages");
    fs::write(&path, "three\nfour\n").unwrap();
    let path = path.display().to_string();
    let out = pass(
        &["-d", "one", "-d", "two\nlines", "-f", &path],
        b"",
        &["-F", "quoted"],
        4,
    );
    assert_eq!(out, b"one\ntwo\\nlines\nthree\nfour\n");
    // A whole file as one message.
    let out = pass(&["-F", "raw", "-f", &path], b"", &["-F", "hex"], 1);
    assert_eq!(out, b"74687265650a666f75720a\n");
}

#[test]
fn malformed_input_is_named() {
    for (args, input, named) in [
        (
            &["-F", "hex"][..],
            &b"0\n"[..],
            "standard input: message 1: an odd number",
        ),
        (
            &["-F", "json"],
            b"{}\n",
            "standard input: message 1: {} is no message",
        ),
        (
            &["-F", "msgpack"],
            b"\xc4\x09x",
            "standard input: message 1: the input ends 8 octets early",
        ),
    ] {
        let ended = run_with(
            &[&["push", "-c", &nobody(), "--linger", "0"], args].concat(),
            input,
        );
        assert!(ended.err.contains(named), "{ended:?}");
        ended.has_code(1);
    }
    let ended = run(&format!("push -c {} -F hex -d xyz", nobody()), b"");
    assert!(ended.err.contains("--data `xyz`"), "{ended:?}");
    ended.has_code(2);
    let ended = run(&format!("push -c {} --separator \\q -d x", nobody()), b"");
    assert!(ended.err.contains("--separator"), "{ended:?}");
    ended.has_code(2);
}
