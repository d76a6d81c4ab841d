//! pyzmq, with a libzmq 4.3.5 of its own, in a process that can be killed: `tests/support/peer.py`.
//!
//! 250 000 messages, or 125 000 requests and their replies, in each of the four ways of meeting: a
//! million through a socket of each of the six types.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Mutex, PoisonError};

use crate::exchange::exchanges;
use crate::peer::{Peer, Role, WATCHDOG};

exchanges!(crate::pyzmq::Pyzmq, messages: 250_000, round_trips: 125_000);

/// A Python that has pyzmq.
fn interpreter() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python3");
    assert!(
        python.exists(),
        "{} is missing: run tests/support/python-env once",
        python.display()
    );
    python
}

/// A pyzmq process. It ends when its standard input does, thus with this process at the latest.
#[derive(Debug)]
pub(crate) struct Pyzmq {
    endpoint: String,
    process: Child,
    commands: ChildStdin,
    reports: Receiver<String>,
}

/// One of the programs in `tests/support`.
pub(crate) fn python(program: &str) -> Command {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    let mut command = Command::new(interpreter());
    command.arg(programs.join(program));
    command
}

/// Held while a process is made.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts a process.
pub(crate) fn spawn(command: &mut Command) -> Child {
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn().expect("python starts")
}

/// Waits until no process is being made. Until one runs its own program it has a copy of every descriptor of this process,
/// and the address of a listener that was closed meanwhile is still taken.
pub(crate) fn none_is_starting() {
    drop(STARTING.lock().unwrap_or_else(PoisonError::into_inner));
}

impl Peer for Pyzmq {
    fn start(role: &Role) -> Self {
        let mut command = python("peer.py");
        command
            .arg(format!("{:?}", role.kind).to_lowercase())
            .arg(if role.binds { "bind" } else { "connect" })
            .arg(&role.endpoint)
            .args([role.seed, role.first, role.count].map(|n| n.to_string()))
            .arg(role.tag)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = spawn(&mut command);
        let (Some(commands), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both were asked for");
        };
        let (line, reports) = channel();
        std::thread::spawn(move || {
            for report in BufReader::new(output).lines().map_while(Result::ok) {
                if line.send(report).is_err() {
                    return;
                }
            }
        });
        let mut peer = Pyzmq {
            endpoint: String::new(),
            process,
            commands,
            reports,
        };
        peer.endpoint = peer.report("READY ");
        peer
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn go(&mut self) {
        self.command("go");
    }

    fn done(&mut self) -> u32 {
        self.report("DONE ").parse().expect("a checksum")
    }

    fn more(&mut self, first: u64, count: u64) {
        self.command(&format!("more {first} {count}"));
    }

    fn close(mut self) {
        self.command("close");
        let status = self.process.wait().expect("the peer's process");
        assert!(status.success(), "the pyzmq peer ended with {status}");
    }

    fn kill(mut self) {
        self.process.kill().expect("the peer's process");
        self.process.wait().expect("the peer's process");
    }
}

impl Pyzmq {
    fn command(&mut self, line: &str) {
        writeln!(self.commands, "{line}").expect("the peer's process");
    }

    /// The rest of the next line, which must begin so.
    fn report(&mut self, wanted: &str) -> String {
        let line = self
            .reports
            .recv_timeout(2 * WATCHDOG)
            .unwrap_or_else(|error| panic!("the pyzmq peer says nothing: {error}"));
        match line.strip_prefix(wanted) {
            Some(rest) => rest.into(),
            None => panic!("the pyzmq peer says `{line}`"),
        }
    }
}

impl Drop for Pyzmq {
    fn drop(&mut self) {
        // Of a test that failed; otherwise it is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
