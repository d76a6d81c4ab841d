//! What the examples of this package share with those of the core, and processes that are killed.

#[path = "../../../examples/support/mod.rs"]
mod basics;

#[allow(unused_imports, reason = "each example uses a part of it")]
pub(crate) use basics::{joined, misused, no_options, Options, Result, PATIENCE};

use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sinew_patterns::common::Random;

/// Processes that run until there is enough: this programme again, with other arguments.
#[allow(dead_code, reason = "not every example has processes")]
pub(crate) struct Fleet {
    enough: Sender<()>,
    progress: Progress,
    keeper: JoinHandle<Result<u32>>,
}

/// What was done so far. Nobody is killed before there was something since the last one: on a machine that starts
/// processes more slowly than they are killed, nothing would ever be done.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

#[allow(dead_code, reason = "not every example has processes")]
impl Progress {
    /// Something was done.
    pub(crate) fn made(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[allow(dead_code, reason = "not every example has processes")]
impl Fleet {
    /// Starts one process for each list of arguments. With a seed, one of them is killed and started again now
    /// and then, on average after this time, as long as there is progress.
    pub(crate) fn start(
        arguments: Vec<Vec<String>>,
        chaos: Option<u64>,
        pace: Duration,
    ) -> Result<Self> {
        let processes = arguments
            .into_iter()
            .map(Process::start)
            .collect::<Result<_>>()?;
        let (enough, told) = channel();
        let progress = Progress::default();
        let seen = progress.clone();
        let chaos = chaos.map(Random::new);
        let keeper = thread::spawn(move || keep(processes, chaos, pace, &seen, &told));
        Ok(Fleet {
            enough,
            progress,
            keeper,
        })
    }

    /// To tell it what is done.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Ends all of them; how many were killed before.
    pub(crate) fn end(self) -> Result<u32> {
        drop(self.enough);
        joined(self.keeper.join())
    }
}

fn keep(
    mut processes: Vec<Process>,
    mut chaos: Option<Random>,
    pace: Duration,
    progress: &Progress,
    enough: &Receiver<()>,
) -> Result<u32> {
    let (mut killed, mut before) = (0, 0);
    loop {
        // The pace of the disaster: nobody waits for it to be over.
        let pause = chaos
            .as_mut()
            .map_or(Duration::MAX, |random| random.up_to(2 * pace));
        match (enough.recv_timeout(pause), &mut chaos) {
            (Err(RecvTimeoutError::Timeout), Some(random)) => {
                let which = random.below(processes.len() as u64) as usize;
                let now = progress.so_far();
                if now == before {
                    continue;
                }
                before = now;
                processes[which].restart()?;
                killed += 1;
            }
            (Err(RecvTimeoutError::Timeout), None) => {}
            _ => return Ok(killed),
        }
    }
}

/// A process that is killed when this is dropped.
struct Process {
    arguments: Vec<String>,
    child: Child,
}

impl Process {
    fn start(arguments: Vec<String>) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(&arguments)
            .spawn()?;
        Ok(Process { arguments, child })
    }

    fn restart(&mut self) -> Result {
        self.kill();
        *self = Process::start(self.arguments.clone())?;
        Ok(())
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
