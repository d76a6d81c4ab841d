//! A context: the I/O threads and the inproc names that its sockets share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::{ContextConfig, OptionError};
use crate::error::BuildError;
use crate::io::{IoPool, Names};
use crate::sync::ThreadScheduling;

/// I/O threads and inproc names for a group of sockets. A clone is the same context.
///
/// Most programs never name one: every socket uses the process-wide [`Context::default`] unless its
/// builder is given another. Threads are started when the first endpoint needs one. They end when the
/// last socket and the last clone of the context are gone (the default context lives as long as the
/// process).
///
/// ```
/// use sinew::{Context, Push};
///
/// let context = Context::builder().io_threads(1).build()?;
/// let push = Push::builder().context(&context).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Arc<IoPool>,
    names: Names,
    max_sockets: Option<usize>,
    /// Those that count: made by a builder, and not gone yet.
    sockets: Arc<AtomicUsize>,
}

/// One of the sockets that a context allows.
#[derive(Debug)]
pub(crate) struct SocketPlace(Arc<AtomicUsize>);

impl Drop for SocketPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Context {
    /// A builder with the default options.
    pub fn builder() -> ContextBuilder {
        ContextBuilder(ContextConfig::default())
    }

    fn with(config: ContextConfig) -> Self {
        Context(Arc::new(Inner {
            max_sockets: config.max_sockets,
            sockets: Arc::default(),
            pool: IoPool::new(config),
            names: Names::new(),
        }))
    }

    /// A place for one more socket; none is kept if there is no limit.
    pub(crate) fn claim(&self) -> Result<Option<SocketPlace>, BuildError> {
        let Some(limit) = self.0.max_sockets else {
            return Ok(None);
        };
        // The place gives back what it has counted, also if that was one too many.
        let before = self.0.sockets.fetch_add(1, Ordering::AcqRel);
        let place = SocketPlace(Arc::clone(&self.0.sockets));
        if before < limit {
            Ok(Some(place))
        } else {
            Err(BuildError::TooManySockets { limit })
        }
    }

    pub(crate) fn pool(&self) -> &Arc<IoPool> {
        &self.0.pool
    }

    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }
}

/// The process-wide context.
impl Default for Context {
    fn default() -> Self {
        static DEFAULT: OnceLock<Context> = OnceLock::new();
        DEFAULT
            .get_or_init(|| Context::with(ContextConfig::default()))
            .clone()
    }
}

/// Options of a [`Context`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ContextBuilder(ContextConfig);

impl ContextBuilder {
    /// The number of I/O threads, from 0 to 1023. Default: one per available core. A context without any
    /// serves inproc only: other endpoints can neither be bound nor connected to.
    pub fn io_threads(mut self, count: usize) -> Self {
        self.0.io_threads = Some(count);
        self
    }

    /// Whether I/O thread *i* runs on core *i* only, where the system allows it. Default: no.
    pub fn pin_threads(mut self, pin: bool) -> Self {
        self.0.pin_threads = pin;
        self
    }

    /// The cores that I/O threads may run on, by number, where the system allows it; empty, the default,
    /// for all. With [`pin_threads`](Self::pin_threads), thread *i* runs on the *i*-th of them only,
    /// beginning again at the first when there are more threads than cores.
    pub fn thread_cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.0.thread_cores = cores.into_iter().collect();
        self
    }

    /// How the system schedules the I/O threads, where it allows that; `None`, the default, for as it does the
    /// thread that starts them. Without the privilege that a priority needs nothing changes.
    pub fn thread_scheduling(mut self, scheduling: impl Into<Option<ThreadScheduling>>) -> Self {
        self.0.thread_scheduling = scheduling.into();
        self
    }

    /// The most sockets at a time, at least 1; `None`, the default, for no limit. A further one is not made
    /// ([`BuildError::TooManySockets`]). A socket counts until it is closed or dropped.
    pub fn max_sockets(mut self, sockets: impl Into<Option<usize>>) -> Self {
        self.0.max_sockets = sockets.into();
        self
    }

    /// What the names of the I/O threads begin with, 1 to 10 octets; thread *i* is called `prefix/io/i`.
    /// Default: `sinew`.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.thread_name_prefix = prefix.into();
        self
    }

    /// Makes the context. No thread is started yet.
    ///
    /// # Errors
    /// If an option has an impossible value.
    pub fn build(self) -> Result<Context, OptionError> {
        self.0.validate()?;
        Ok(Context::with(self.0))
    }
}
