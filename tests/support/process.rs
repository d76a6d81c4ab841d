//! Other processes as peers: their output line by line, under a watchdog, and none left behind.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Reached only if something hangs.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Held while a process is made.
static STARTING: Mutex<()> = Mutex::new(());

/// Waits until no process is being made. Until one runs its own program it has a copy of every descriptor of this process,
/// and the address of a listener that was closed meanwhile is still taken.
pub(crate) fn none_is_starting() {
    drop(STARTING.lock().unwrap_or_else(PoisonError::into_inner));
}

/// A process that is killed when this is dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Running::start_with(command.stdin(Stdio::null()))
    }

    /// One that [`tell`](Self::tell) talks to.
    pub(crate) fn start_talking(command: &mut Command) -> Self {
        Running::start_with(command.stdin(Stdio::piped()))
    }

    fn start_with(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.stdout(Stdio::piped()).spawn();
        drop(starting);
        let mut child = child.unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Running {
            name,
            input: child.stdin.take(),
            child,
            lines,
        }
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it was started to be talked to");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// The next line it prints.
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(WATCHDOG) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{}: prints nothing", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{}: has ended", self.name),
        }
    }

    /// Ends its input, and waits until it ends, which must be with exit code 0; what else it printed.
    pub(crate) fn finish(mut self) -> Vec<String> {
        drop(self.input.take());
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(WATCHDOG) {
                Ok(line) => rest.push(line),
                // It has closed its output, so it is about to end.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{}: does not end: {rest:?}", self.name),
            }
        }
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{}: {status}: {rest:?}", self.name);
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that has pyzmq, running this programme; `None`, with a note, if `tests/support/python-env`
/// has not been run (`./run-tests` does).
pub(crate) fn python(root: &Path, programme: &str) -> Option<Command> {
    let interpreter: PathBuf = root.join(".venv/bin/python");
    if !interpreter.exists() {
        eprintln!("skipped: no .venv, run tests/support/python-env");
        return None;
    }
    let mut command = Command::new(interpreter);
    command.args(["-u", "-c", programme]);
    Some(command)
}
