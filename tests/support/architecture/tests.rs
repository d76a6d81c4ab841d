//! Proves that each rule catches what it forbids, and lets pass what only looks like it.

use super::tokens::{tokenize, Kind};
use super::{check_tree, Tree};

const MANIFEST: &str = r#"
[package]
name = "sinew"

[dependencies]
bytes = "1"
crossbeam-queue = "0.3"
mio = { version = "1" }
slab = "0.4"

[target.'cfg(unix)'.dependencies]
libc = "0.2"

[dev-dependencies]
proptest.version = "1"

[dev-dependencies.tempfile]
version = "3"
"#;

/// The violations of these files, as `path:line rule`.
fn check(files: &[(&str, &str)]) -> Vec<String> {
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    check_tree(&Tree::new(MANIFEST, files))
        .iter()
        .map(|found| format!("{}:{} {}", found.path, found.line, found.rule))
        .collect()
}

/// The violations of one file whose first line, the header, is given; the body starts on line 2.
fn check_one(path: &str, body: &str) -> Vec<String> {
    check(&[(path, &format!("//! Header.\n{body}"))])
}

#[track_caller]
fn breaks(path: &str, body: &str, rule: &str) {
    let expected = format!("{path}:2 {rule}");
    assert_eq!(check_one(path, body), [expected], "for {body:?}");
}

#[track_caller]
fn passes(path: &str, body: &str) {
    assert_eq!(check_one(path, body), [""; 0], "for {body:?}");
}

#[test]
fn imports_upward_are_caught_in_every_spelling() {
    for body in [
        "use crate::io::Pump;",
        "use crate::{io, message};",
        "use crate::{message::Message, io::{self, Pump}};",
        "pub(crate) use crate::io::*;",
        "use super::io;",
        "use super::{io};",
        "use self::super::io::Pump;",
        "fn f() { crate::io::pump(); }",
        "fn f(pump: &mut crate::io::Pump) {}",
        "macro_rules! m { () => { $crate::io::pump() } }",
        "mod inner { use super::super::io; }",
        "#[cfg(test)] mod tests { use crate::io; }",
    ] {
        breaks("src/routing.rs", body, "layer");
    }
    breaks("src/routing/trie.rs", "use super::super::io;", "layer");
    breaks(
        "src/routing/trie/node.rs",
        "use super::super::super::io;",
        "layer",
    );
    breaks("src/routing/mod.rs", "use super::io;", "layer");
    // Rows at the same level are no more open than rows below.
    breaks("src/frame/mod.rs", "use crate::message;", "layer");
}

#[test]
fn imports_through_the_root_are_caught() {
    breaks("src/routing.rs", "use crate::Message;", "layer");
    breaks("src/routing.rs", "use crate::*;", "layer");
    breaks("src/routing.rs", "use super::*;", "layer");
    breaks("src/routing.rs", "use crate as sinew;", "layer");
    breaks("src/routing.rs", "fn f() { crate::log!(); }", "layer");
}

#[test]
fn imports_of_oneself_and_of_listed_rows_pass() {
    for body in [
        "use crate::message::Message;",
        "use crate::routing::trie;",
        "use super::message;",
        "use self::trie::Trie;",
        "mod inner { use super::*; use super::super::message; }",
        "#[cfg(test)] mod tests { use super::*; }",
        "mod a { } mod b { mod c { use super::super::trie; } }",
        "pub(crate) fn f() { let io = 1; io; }",
        "pub(in crate::routing) fn f() {}",
        "// use crate::io;",
        "/* crate::io /* nested */ crate::io */",
        "/// See [`crate::io`].\nfn f() {}",
        "const S: &str = \"crate::io\";",
        "const S: &str = r#\"\" crate::io::x\"#;",
        "fn f() -> impl Sized + use<> {}",
        "use std::io; use std::{fmt, io::Write};",
        "fn f(x: std::io::Result<()>) {}",
    ] {
        passes("src/routing.rs", body);
    }
    passes(
        "src/routing/trie.rs",
        "use super::Fan; use super::super::message;",
    );
    passes("src/lib.rs", "use crate::io; pub use socket::Push;");
    passes("tests/push_pull.rs", "use crate::io;");
}

#[test]
fn a_module_without_a_row_is_caught() {
    assert_eq!(
        check_one("src/helpers/mod.rs", ""),
        ["src/helpers/mod.rs:1 layer"]
    );
}

#[test]
fn third_parties_are_those_of_the_row() {
    for body in [
        "use mio::Token;",
        "use ::mio::Token;",
        "use mio;",
        "extern crate mio;",
        "fn f(token: mio::Token) {}",
        "fn f() -> Option<::mio::Token> { None }",
        "use libc::poll;",
        "use crossbeam_queue::SegQueue;",
        "use proptest::prelude::*;",
        "use tempfile::TempDir;",
    ] {
        breaks("src/routing.rs", body, "layer");
    }
    passes("src/routing.rs", "use slab::Slab;");
    passes(
        "src/sync/barrier.rs",
        "use crossbeam_queue::SegQueue; use libc::syscall;",
    );
    passes("src/transport/tcp.rs", "use libc::SOL_SOCKET;");
    passes(
        "src/routing.rs",
        "use trie::mio::Token; fn f() { x::mio::y(); }",
    );
    passes(
        "src/routing.rs",
        "#[cfg(test)]\nmod tests { use proptest::prelude::*; }",
    );
}

#[test]
fn a_missing_header_is_caught() {
    assert_eq!(
        check(&[("src/routing.rs", "use std::fmt;\n")]),
        ["src/routing.rs:1 header"]
    );
    assert_eq!(
        check(&[("examples/x.rs", "// Not a doc.\n")]),
        ["examples/x.rs:1 header"]
    );
    assert_eq!(check(&[("benches/x.rs", "")]), ["benches/x.rs:1 header"]);
    assert_eq!(check(&[("tests/x.rs", "\n//! Fine.\n")]), [""; 0]);
}

#[test]
fn a_long_file_is_caught() {
    let body = |lines: usize| "fn f() {}\n".repeat(lines);
    passes("src/routing.rs", &body(800));
    let over = format!("src/routing.rs:{} length", 802);
    assert_eq!(check_one("src/routing.rs", &body(801)), [over]);
    // Comments and blank lines are free, but the inside of a string is code.
    let padded = format!("{}\n\n// x\n/* a\nb */\n/// d\n{}", body(799), body(1));
    passes("src/routing.rs", &padded);
    let string = format!("{}const S: &str = \"\n\n\";", body(798));
    assert_eq!(check_one("src/routing.rs", &string).len(), 1);
    // A trailing test module is free, any other is not.
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", body(500));
    passes("src/routing.rs", &format!("{}{tests}", body(800)));
    let in_the_middle = format!("{tests}{}", body(400));
    assert_eq!(check_one("src/routing.rs", &in_the_middle).len(), 1);
}

#[test]
fn unsafe_is_caught_outside_its_places() {
    for body in [
        "fn f() { unsafe { g() } }",
        "unsafe fn f() {}",
        "unsafe impl Send for X {}",
        "#[allow(unsafe_code, reason = \"x\")] unsafe fn f() {}",
        "fn f<'a>(c: char) { let q = '\\''; unsafe { g(b'\"', \"\\\"\") } }",
    ] {
        breaks("src/routing.rs", body, "unsafe");
        breaks("src/sync/event.rs", body, "unsafe");
        breaks("patterns/src/lib.rs", body, "unsafe");
        passes("src/pipe/block.rs", body);
        passes("src/sync/barrier.rs", body);
        passes("benches/compare/cpu.rs", body);
    }
    for body in [
        "#[deny(unsafe_code)] fn f() {}",
        "// unsafe { }",
        "const S: &str = \"unsafe\";",
        "const S: &[u8] = br##\"unsafe \"# unsafe\"##;",
        "const C: char = '\"'; const S: &str = \"unsafe\";",
    ] {
        passes("src/routing.rs", body);
    }
}

#[test]
fn atomics_and_locks_are_caught_outside_of_sync() {
    for body in [
        "use std::sync::atomic::Ordering;",
        "use std::sync::{Arc, Mutex};",
        "use std::{io, sync::{atomic::{self, AtomicU64}}};",
        "use std::sync::*;",
        "use core::sync::atomic;",
        "static N: std::sync::RwLock<u8> = std::sync::RwLock::new(0);",
        "fn wait(on: &std::sync::Condvar) {}",
    ] {
        breaks("src/io/link.rs", body, "primitives");
        breaks("src/socket/shell.rs", body, "primitives");
        passes("src/sync/token.rs", body);
        passes("tests/sockets/main.rs", body);
        passes(
            "src/io/link.rs",
            &format!("#[cfg(test)]\nmod tests {{ {body} }}"),
        );
    }
    passes(
        "src/io/link.rs",
        "use std::sync::{Arc, OnceLock, TryLockError, Weak};",
    );
    passes("src/io/link.rs", "use crate::sync::atomic::Ordering;");
    passes("src/io/link.rs", "// use std::sync::Mutex;");
}

#[test]
fn a_clock_is_caught_outside_its_file() {
    for body in [
        "fn f() { let t = std::time::Instant::now(); }",
        "fn f() { Instant::now(); }",
        "fn f() { SystemTime :: now (); }",
        "const NOW: fn() -> Instant = Instant::now;",
    ] {
        breaks("src/routing.rs", body, "clock");
        passes("src/sync/clock.rs", body);
        passes("tests/x.rs", body);
        passes(
            "src/routing.rs",
            &format!("#[cfg(test)] mod tests {{ {body} }}"),
        );
        breaks(
            "src/routing.rs",
            &format!("#[cfg(not(test))] mod m {{ {body} }}"),
            "clock",
        );
    }
    passes("src/routing.rs", "// Instant::now()");
}

#[test]
fn a_sleep_is_caught_in_tests() {
    for body in [
        "fn f() { std::thread::sleep(d); }",
        "use std::thread::sleep;",
        "fn f() { sleep(d); }",
        "fn f() { let wait = thread::sleep; }",
    ] {
        breaks("tests/x.rs", body, "sleep");
        breaks("patterns/tests/x.rs", body, "sleep");
        breaks(
            "src/io/x.rs",
            &format!("#[cfg(test)] mod t {{ {body} }}"),
            "sleep",
        );
        breaks(
            "src/io/x.rs",
            &format!("#[cfg(all(test, loom))] mod t {{ {body} }}"),
            "sleep",
        );
        breaks(
            "src/io/x.rs",
            &format!("#[cfg(all(loom, test))] mod t {{ {body} }}"),
            "sleep",
        );
        passes("src/io/x.rs", body);
        passes(
            "src/io/x.rs",
            &format!("#[cfg(test)]\nuse x::{{a, b}};\nmod t {{ {body} }}"),
        );
        passes(
            "src/io/x.rs",
            &format!("#[cfg(all(loom, not(test)))] mod t {{ {body} }}"),
        );
    }
    passes(
        "tests/x.rs",
        "// thread::sleep(d)\nconst S: &str = \"sleep(\"; fn f(sleep: u8) {}",
    );
}

#[test]
fn files_of_test_modules_are_test_code() {
    let sleeps = "//! Header.\nfn f() { std::thread::sleep(d); }";
    for path in [
        "src/io/tests.rs",
        "src/io/tests/mod.rs",
        "src/io/tests/deep.rs",
    ] {
        let files = [
            ("src/io/mod.rs", "//! Header.\n#[cfg(test)]\nmod tests;"),
            (path, sleeps),
        ];
        assert_eq!(check(&files), [format!("{path}:2 sleep")]);
    }
    let files = [
        ("src/io/mod.rs", "//! Header.\nmod tests;"),
        ("src/io/tests.rs", sleeps),
    ];
    assert_eq!(check(&files), [""; 0]);
}

#[test]
fn tokens_keep_their_lines() {
    let tokens = tokenize("a\n/* \n */ \"x\ny\" 'b' '\\'' 'c: r#type 1.5e3 0..1");
    let seen: Vec<_> = tokens
        .iter()
        .map(|token| (token.kind, token.line))
        .collect();
    assert_eq!(
        seen,
        [
            (Kind::Ident("a"), 1),
            (Kind::Literal, 3),
            (Kind::Literal, 4),
            (Kind::Literal, 4),
            (Kind::Lifetime, 4),
            (Kind::Punct(b':'), 4),
            (Kind::Ident("type"), 4),
            (Kind::Literal, 4),
            (Kind::Literal, 4),
            (Kind::Punct(b'.'), 4),
            (Kind::Punct(b'.'), 4),
            (Kind::Literal, 4),
        ]
    );
}
