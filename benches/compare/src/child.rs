//! Every measurement has a process of its own.
//!
//! A subject that stalls, crashes or loses a message then costs its own figure and no other; processor
//! time and system calls are those of one subject; and nobody inherits what the one before has left in
//! the allocator or the kernel. The process is this programme again, which writes one line of JSON and
//! ends without closing anything.

use std::env;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::{json, Value};

use crate::meter::Sample;
use crate::subject::Fallible;
use crate::work::{Pattern, Plan, Work};

/// What a measurement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The length of the others.
    Trial,
    Timing,
    /// System calls.
    Counting,
}

/// What a measurement came to.
pub(crate) type Outcome = Result<Sample, String>;

/// Runs a measurement in a process of its own.
pub(crate) fn measure(
    subject: &str,
    work: &Work,
    plan: &Plan,
    kind: Kind,
    scratch: &Path,
) -> Fallible<Outcome> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["--measure", subject, "--work", &work.to_string()])
        .args(["--warmup", &plan.warmup.to_string()])
        .args(["--count", &plan.count.to_string()])
        .args((kind == Kind::Counting).then_some("--count-syscalls"))
        // Sockets of ipc are files, and nobody closes them.
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (whole, outputs) = mpsc::channel();
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("a process has the pipes it was given".into());
    };
    let complaint = thread::spawn(move || read(stderr));
    thread::spawn(move || whole.send(read(stdout)));

    // In ticks of this process, and not by the clock: a machine that was suspended is not a stall.
    let limit = limit(work, kind);
    let mut ticks = limit.as_millis() / TICK.as_millis();
    let output = loop {
        match outputs.recv_timeout(TICK) {
            Ok(output) => break Some(output),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) if ticks == 0 => break None,
            Err(RecvTimeoutError::Timeout) => ticks -= 1,
        }
    };
    if output.is_none() {
        child.kill()?;
    }
    let status = child.wait()?;
    let Some(output) = output else {
        return Ok(Err(format!("hung: no end within {limit:?}")));
    };
    let answer: Value = output
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    Ok(if let Some(sample) = Sample::from_json(&answer["sample"]) {
        Ok(sample)
    } else if let Some(reason) = answer["failed"].as_str() {
        Err(reason.to_owned())
    } else {
        let complaint = complaint.join().unwrap_or_default();
        Err(format!(
            "{status}: {}",
            complaint.lines().last().unwrap_or("")
        ))
    })
}

/// Tells the parent and ends this process.
pub(crate) fn finish(outcome: &Fallible<Sample>) -> ! {
    let (answer, code) = match outcome {
        Ok(sample) => (json!({ "sample": sample.to_json() }), 0),
        Err(error) => (json!({ "failed": error.to_string() }), 1),
    };
    let mut stdout = std::io::stdout().lock();
    // If the parent is gone, nobody is left to tell.
    let _ = writeln!(stdout, "{answer}").and_then(|()| stdout.flush());
    exit(code)
}

/// The value, or the end of this process.
pub(crate) fn or_fail<T>(result: Fallible<T>) -> T {
    result.unwrap_or_else(|error| finish(&Err(error)))
}

/// Ends the process without destructors: other threads are in the middle of things.
#[allow(unsafe_code, reason = "std::process::exit runs destructors of C++")]
fn exit(code: i32) -> ! {
    // SAFETY: it does not return, and touches no memory of this process.
    unsafe { libc::_exit(code) }
}

fn read(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read until an error is as good as it gets.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Far beyond any measurement; a subject that loses a message may wait for it for ever.
fn limit(work: &Work, kind: Kind) -> Duration {
    Duration::from_secs(match work.pattern {
        Pattern::IdleReqRep(_) | Pattern::IdleFlow(_) | Pattern::Topics(_) => 60,
        _ if kind == Kind::Trial => 5,
        _ => 15,
    })
}

const TICK: Duration = Duration::from_millis(100);
