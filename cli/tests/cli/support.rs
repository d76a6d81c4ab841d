//! Running the command under a watchdog.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::Duration;

/// Reached only if something hangs.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// A running command. It is killed when this is dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    out: Receiver<Vec<u8>>,
    err: Receiver<Vec<u8>>,
}

/// What a command that has ended left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ended {
    /// Its output, of a command that was to succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        self.has_code(0)
    }

    /// Its output, of a command that was to end with this code.
    #[track_caller]
    pub(crate) fn has_code(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

/// An endpoint that nobody is ever bound to: its directory is gone.
pub(crate) fn nobody() -> String {
    let directory = tempfile::tempdir().unwrap();
    format!("ipc://{}/nobody", directory.path().display())
}

/// Starts the command, with its arguments separated by spaces.
pub(crate) fn start(args: &str) -> Running {
    start_with(&args.split_whitespace().collect::<Vec<_>>())
}

pub(crate) fn start_with(args: &[&str]) -> Running {
    start_command(Command::new(env!("CARGO_BIN_EXE_sinew")).args(args))
}

pub(crate) fn start_command(command: &mut Command) -> Running {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let stdin = child.stdin.take();
    let out = lines(child.stdout.take().unwrap());
    let err = lines(child.stderr.take().unwrap());
    Running {
        name,
        child,
        stdin,
        out,
        err,
    }
}

/// The command's result, with this on its standard input.
pub(crate) fn run(args: &str, input: &[u8]) -> Ended {
    run_with(&args.split_whitespace().collect::<Vec<_>>(), input)
}

pub(crate) fn run_with(args: &[&str], input: &[u8]) -> Ended {
    let mut running = start_with(args);
    running.write(input);
    running.end()
}

fn lines(from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            match from.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if tell.send(line).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    told
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn write(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        // One that does not read its input may have ended.
        let _ = stdin.write_all(input).and_then(|()| stdin.flush());
    }

    /// The next line of its output, without the end of line.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.next(&self.out)
    }

    /// The next line of its output, if it comes within some milliseconds.
    pub(crate) fn try_line(&self) -> Result<String, RecvTimeoutError> {
        let line = self.out.recv_timeout(Duration::from_millis(5))?;
        Ok(String::from_utf8_lossy(&line)
            .trim_end_matches('\n')
            .to_owned())
    }

    #[track_caller]
    pub(crate) fn err_line(&self) -> String {
        self.next(&self.err)
    }

    #[track_caller]
    fn next(&self, lines: &Receiver<Vec<u8>>) -> String {
        match lines.recv_timeout(WATCHDOG) {
            Ok(line) => String::from_utf8_lossy(&line)
                .trim_end_matches('\n')
                .to_owned(),
            Err(error) => panic!(
                "{}: {error}; {:?}",
                self.name,
                self.err.try_iter().collect::<Vec<_>>()
            ),
        }
    }

    /// Where a wildcard was bound, as it says.
    #[track_caller]
    pub(crate) fn endpoint(&self) -> String {
        let line = self.err_line();
        let (_, rest) = line
            .split_once("bound to ")
            .or_else(|| line.split_once("\"bound\":\""))
            .unwrap_or_else(|| panic!("{line}"));
        let endpoint = rest.split('"').next().unwrap();
        endpoint.to_owned()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Ends its input, and waits until it has ended.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        self.stdin = None;
        let mut out = Vec::new();
        loop {
            match self.out.recv_timeout(WATCHDOG) {
                Ok(line) => out.extend(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{}: does not end", self.name),
            }
        }
        let code = self.child.wait().unwrap().code();
        let err: Vec<u8> = self.err.iter().flatten().collect();
        Ended {
            code,
            out,
            err: String::from_utf8_lossy(&err).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
