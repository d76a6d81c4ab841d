//! The engines are values: no file but the shells reads a clock, opens a socket, starts a thread or draws
//! its own chance. Checked on the sources, as text without comments and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Files that may: what drives engines on sockets.
const SHELLS: [&str; 2] = ["rpc/requester.rs", "fuzz.rs"];

const FORBIDDEN: [&str; 9] = [
    "Instant::now",
    "SystemTime",
    "std::thread",
    "std::net",
    "std::fs",
    "RandomState",
    "sinew::Context",
    "HashMap",
    "HashSet",
];

#[test]
fn engines_know_no_clock_no_sockets_and_no_threads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let name = |file: &Path| {
        let relative = file.strip_prefix(&root).unwrap();
        relative.to_string_lossy().replace('\\', "/")
    };
    let mut checked = 0;
    for file in files {
        let name = name(&file);
        let test = name.starts_with("lab/") || name.ends_with("_tests.rs");
        let shell = name.starts_with("shell/") || name.ends_with("_shell.rs");
        if test || shell || SHELLS.contains(&name.as_str()) {
            continue;
        }
        checked += 1;
        let text = fs::read_to_string(&file).unwrap();
        let code = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for word in FORBIDDEN {
                // Maps with their own order of iteration would make runs differ.
                assert!(!line.contains(word), "{name}:{}: {word}", number + 1);
            }
        }
    }
    assert!(checked > 20, "the sources were found");
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
