//! How the programme ends: exit codes, and what is said about a failure.

use std::fmt;
use std::io;

use sinew::CloseReport;

/// Everything was done.
pub(crate) const OK: u8 = 0;
/// Something failed: an endpoint, a file, a peer, a malformed stream.
pub(crate) const FAILURE: u8 = 1;
/// The command line makes no sense (clap ends with this code, too).
pub(crate) const USAGE: u8 = 2;
/// The time that `--timeout` allows was over.
pub(crate) const TIMEOUT: u8 = 3;
/// Messages were still unsent when the linger time was over.
pub(crate) const UNSENT: u8 = 4;

/// Why the programme ends before it is done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// With this exit code, and this to say.
    With(u8, String),
    /// Told to by a signal, by number.
    Interrupted(i32),
    /// Whoever reads the output has enough.
    BrokenPipe,
}

impl Failure {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Failure::With(FAILURE, message.to_string())
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Failure::With(USAGE, message.to_string())
    }

    pub(crate) fn timeout(message: impl fmt::Display) -> Self {
        Failure::With(TIMEOUT, message.to_string())
    }

    /// Of writing to standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::new(format!("standard output: {error}")),
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::With(code, _) => *code,
            // As shells report it.
            Failure::Interrupted(signal) => 128u8.wrapping_add(*signal as u8),
            Failure::BrokenPipe => OK,
        }
    }

    /// What there is to say, if anything.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Failure::With(_, message) => Some(message),
            Failure::Interrupted(_) | Failure::BrokenPipe => None,
        }
    }
}

/// What there is to say about messages that are gone.
pub(crate) fn unsent_text(unsent: u64) -> String {
    match unsent {
        1 => "1 message was not sent".into(),
        unsent => format!("{unsent} messages were not sent"),
    }
}

/// Fails if a socket was closed with messages unsent.
pub(crate) fn sent_all(closed: CloseReport) -> Result<(), Failure> {
    match closed.unsent {
        0 => Ok(()),
        unsent => Err(Failure::With(UNSENT, unsent_text(unsent))),
    }
}
