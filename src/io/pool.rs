//! The I/O threads of a context: started when first needed, connections placed by load.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::port::{Port, SocketId};
use super::thread::{self, Command, IoHandle};
use crate::config::ContextConfig;
use crate::endpoint::Endpoint;
use crate::pipe::Budget;
use crate::socket_type::SocketType;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{lock, Event, Mutex};
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
    /// The context was shut down.
    terminated: AtomicBool,
    /// Who waits for sockets to be closed. Several may.
    waiting: Mutex<Vec<Weak<Event>>>,
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

/// One socket that [`StillOpen`](crate::StillOpen) tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenSocket {
    /// The socket.
    pub id: SocketId,
    /// What it is.
    pub socket_type: SocketType,
    /// What it is bound and connected to.
    pub endpoints: Vec<Endpoint>,
    /// Whether its owner has closed or dropped it, and what it had to send is being sent.
    pub is_lingering: bool,
}

impl fmt::Display for OpenSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.socket_type, self.id)?;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let between = if index == 0 { " at " } else { ", " };
            write!(f, "{between}`{endpoint}`")?;
        }
        match self.is_lingering {
            true => write!(f, ", which still sends"),
            false => Ok(()),
        }
    }
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
            terminated: AtomicBool::new(false),
            waiting: Mutex::default(),
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
        // After it: who shuts the context down finds this socket, or is found here.
        if self.is_terminated() {
            port.terminate();
        }
    }

    /// Ends what waits for any socket, now and later.
    pub(crate) fn terminate(&self) {
        self.terminated.store(true, Ordering::SeqCst);
        self.sockets().iter().for_each(|port| port.terminate());
    }

    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::SeqCst)
    }

    /// Waits until every socket is closed and has sent what it had to; those that are not when the time is over.
    pub(crate) fn await_end(&self, deadline: Option<Instant>) -> Vec<OpenSocket> {
        let ended = Arc::new(Event::new());
        lock(&self.waiting).push(Arc::downgrade(&ended));
        loop {
            let sockets = self.sockets();
            let open: Vec<_> = sockets.iter().filter_map(|port| port.if_open()).collect();
            drop(sockets);
            if open.is_empty() || !ended.wait(deadline) {
                return open;
            }
        }
    }

    /// A socket may have come to its end.
    pub(super) fn note_end(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|event| event.strong_count() > 0);
        waiting
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|event| event.notify());
    }

    /// A socket is gone.
    pub(super) fn strike(&self, id: SocketId) {
        lock(&self.sockets).remove(&id);
        self.note_end();
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
