//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends at once.

use std::io;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Failure;

/// Tells of the first signal.
pub(crate) struct Interrupt(Receiver<i32>);

impl Interrupt {
    /// Takes the signals over.
    pub(crate) fn install() -> io::Result<Self> {
        Self::with(|_| {})
    }

    /// The same, and `act` is called at the first one, on a thread of its own.
    pub(crate) fn with(act: impl FnOnce(i32) + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut signals = signals.forever();
            if let Some(first) = signals.next() {
                act(first);
                // Whoever was to be told may be done.
                let _ = tell.send(first);
            }
            if let Some(second) = signals.next() {
                std::process::exit(128 + second);
            }
        });
        Ok(Interrupt(told))
    }

    /// Fails if there was a signal.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.0
            .try_recv()
            .map_or(Ok(()), |signal| Err(Failure::Interrupted(signal)))
    }

    /// Waits for so long, or until there is a signal.
    pub(crate) fn sleep(&self, time: Duration) -> Result<(), Failure> {
        match self.0.recv_timeout(time) {
            Ok(signal) => Err(Failure::Interrupted(signal)),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }
}
