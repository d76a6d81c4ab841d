//! A thread that does what an engine wants of its store of keys, which may wait for a disk.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::inbox::Inbox;
use super::thread::StartError;
use crate::common::{DedupLife, StoreOp, Stored};

/// The thread. Dropping this waits for it to do all that was wanted before; then the life of the server ends.
///
/// The engine has bounds on what it wants at once, so the inbox needs none.
#[derive(Debug)]
pub(crate) struct Keeper {
    ops: Arc<Inbox<StoreOp>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(
        mut life: Box<dyn DedupLife>,
        tell: impl Fn(Stored) + Send + 'static,
    ) -> Result<Self, StartError> {
        let ops = Arc::<Inbox<StoreOp>>::default();
        let inbox = Arc::clone(&ops);
        let run = move || {
            while let Some(op) = inbox.pop(None).item() {
                let request = op.request;
                // A store of somebody else's that panics must not leave requests without an end.
                let perform = AssertUnwindSafe(|| op.perform(life.as_mut(), Instant::now()));
                tell(panic::catch_unwind(perform).unwrap_or_else(|_| Stored::panicked(request)));
            }
        };
        let thread = thread::Builder::new().name("sinew-keys".into()).spawn(run);
        Ok(Keeper {
            ops,
            thread: Some(thread.map_err(StartError::Thread)?),
        })
    }

    pub(crate) fn perform(&self, op: StoreOp) {
        // It is closed by the drop only.
        let _ = self.ops.push(op);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ops.close();
        if let Some(thread) = self.thread.take() {
            // Panics are caught within.
            let _ = thread.join();
        }
    }
}
