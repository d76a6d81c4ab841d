//! Tests that need a process of their own: they measure the whole of it, or change its limits.

use std::process::{Command, Stdio};

/// The test that this process was started for.
const VARIABLE: &str = "SINEW_HOSTILE_TEST";

/// Runs `body` in a new process. `name` is the full name of the calling test.
pub(crate) fn isolated(name: &str, body: impl FnOnce()) {
    if std::env::var_os(VARIABLE).is_some_and(|wanted| wanted == name) {
        return body();
    }
    let this = std::env::current_exe().expect("a test binary knows its own path");
    let output = Command::new(this)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, name)
        .stdin(Stdio::null())
        .output()
        .expect("the test binary can be run again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name} in its own process: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    // Shown with --nocapture: what was measured.
    print!("{text}");
}
