//! The I/O threads of a context: started when first needed, connections placed by load.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};

use super::port::{Port, SocketId};
use super::thread::{self, Command, IoHandle};
use crate::config::ContextConfig;
use crate::pipe::Budget;
use crate::sync::{lock, Mutex};
use crate::transport::Resolver;

/// Why there is no thread for an endpoint.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// The mask allows none of those there may be.
    NoneAllowed { affinity: u64, threads: usize },
    /// The system starts none.
    Io(io::Error),
}

/// See the module.
pub(crate) struct IoPool {
    config: ContextConfig,
    threads: Mutex<Vec<Option<IoHandle>>>,
    resolver: Resolver,
    /// What pipes and receive buffers may hold together, if there is a limit.
    budget: Option<Arc<Budget>>,
    /// The sockets that snapshots tell of.
    sockets: Mutex<BTreeMap<SocketId, Weak<Port>>>,
}

/// An I/O thread, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadSnapshot {
    /// Its name.
    pub name: String,
    /// Endpoints and connections that it looks after.
    pub load: usize,
    /// How often it had nothing to do and slept, and was woken: by the network, by a socket, or by a timer.
    pub wakeups: u64,
}

impl IoPool {
    pub(crate) fn new(config: ContextConfig) -> Arc<IoPool> {
        IoPool::with_resolver(config, Resolver::new())
    }

    pub(super) fn with_resolver(config: ContextConfig, resolver: Resolver) -> Arc<IoPool> {
        let count = config.io_thread_count();
        Arc::new(IoPool {
            budget: config
                .memory_budget
                .map(|limit| Arc::new(Budget::new(limit))),
            config,
            threads: Mutex::new((0..count).map(|_| None).collect()),
            resolver,
            sockets: Mutex::default(),
        })
    }

    /// The least loaded thread among those the mask allows (0: all), started if it was not.
    ///
    /// # Errors
    /// If the mask allows none, or no thread can be started.
    pub(crate) fn place(self: &Arc<Self>, affinity: u64) -> Result<IoHandle, PlaceError> {
        let mut threads = lock(&self.threads);
        let allowed = |index: usize| affinity == 0 || (index < 64 && affinity >> index & 1 == 1);
        let best = (0..threads.len())
            .filter(|index| allowed(*index))
            .min_by_key(|index| threads[*index].as_ref().map_or(0, IoHandle::load));
        let Some(index) = best else {
            return Err(PlaceError::NoneAllowed {
                affinity,
                threads: threads.len(),
            });
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
                .ok_or(PlaceError::Io(error)),
        }
    }

    /// The threads that run.
    pub(crate) fn started(&self) -> Vec<IoHandle> {
        lock(&self.threads).iter().flatten().cloned().collect()
    }

    /// The threads that run, as they are now.
    pub(crate) fn thread_snapshots(&self) -> Vec<ThreadSnapshot> {
        let threads = lock(&self.threads);
        let started = threads.iter().enumerate();
        let started = started.filter_map(|(index, handle)| Some((index, handle.as_ref()?)));
        started
            .map(|(index, handle)| ThreadSnapshot {
                name: self.config.thread_name(index),
                load: handle.load(),
                wakeups: handle.wakeups(),
            })
            .collect()
    }

    /// From now on snapshots tell of this socket.
    pub(crate) fn enroll(&self, port: &Arc<Port>) {
        lock(&self.sockets).insert(port.id, Arc::downgrade(port));
    }

    /// A socket is gone.
    pub(super) fn strike(&self, id: SocketId) {
        lock(&self.sockets).remove(&id);
    }

    /// The sockets there are.
    pub(crate) fn sockets(&self) -> Vec<Arc<Port>> {
        // Let go of without the lock: the last one to do that strikes it off the list.
        let sockets: Vec<_> = lock(&self.sockets).values().cloned().collect();
        sockets.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn budget(&self) -> Option<&Arc<Budget>> {
        self.budget.as_ref()
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
