//! The I/O threads of a context: started when first needed, connections placed by load.

use std::io;
use std::sync::Arc;

use super::thread::{self, Command, IoHandle};
use crate::config::ContextConfig;
use crate::sync::{lock, Mutex};
use crate::transport::Resolver;

/// See the module.
pub(crate) struct IoPool {
    config: ContextConfig,
    threads: Mutex<Vec<Option<IoHandle>>>,
    resolver: Resolver,
}

impl IoPool {
    pub(crate) fn new(config: ContextConfig) -> Arc<IoPool> {
        let count = config.io_thread_count();
        Arc::new(IoPool {
            config,
            threads: Mutex::new((0..count).map(|_| None).collect()),
            resolver: Resolver::new(),
        })
    }

    /// The least loaded thread among those the mask allows (0: all), started if it was not.
    ///
    /// # Errors
    /// If the mask allows none, or no thread can be started.
    pub(crate) fn place(self: &Arc<Self>, affinity: u64) -> io::Result<IoHandle> {
        let mut threads = lock(&self.threads);
        let allowed = |index: usize| affinity == 0 || (index < 64 && affinity >> index & 1 == 1);
        let best = (0..threads.len())
            .filter(|index| allowed(*index))
            .min_by_key(|index| threads[*index].as_ref().map_or(0, IoHandle::load));
        let Some(index) = best else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the affinity mask {affinity:#x} allows none of the {} I/O threads",
                    threads.len()
                ),
            ));
        };
        if let Some(handle) = &threads[index] {
            return Ok(handle.clone());
        }
        match thread::start(index, &self.config, Arc::downgrade(self)) {
            Ok(handle) => {
                threads[index] = Some(handle.clone());
                Ok(handle)
            }
            // Threads have run out: any that runs will do.
            Err(error) => (0..threads.len())
                .filter(|index| allowed(*index))
                .find_map(|index| threads[index].clone())
                .ok_or(error),
        }
    }

    /// The threads that run.
    pub(crate) fn started(&self) -> Vec<IoHandle> {
        lock(&self.threads).iter().flatten().cloned().collect()
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }
}

impl Drop for IoPool {
    fn drop(&mut self) {
        self.resolver.shutdown();
        for handle in self.started() {
            handle.post(Command::Stop);
        }
    }
}

impl std::fmt::Debug for IoPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoPool")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
