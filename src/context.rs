//! A context: the I/O threads and the inproc names that its sockets share.

use std::sync::{Arc, OnceLock};

use crate::config::{ContextConfig, OptionError};
use crate::io::{IoPool, Names};

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
}

impl Context {
    /// A builder with the default options.
    pub fn builder() -> ContextBuilder {
        ContextBuilder(ContextConfig::default())
    }

    fn with(config: ContextConfig) -> Self {
        Context(Arc::new(Inner {
            pool: IoPool::new(config),
            names: Names::new(),
        }))
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
    /// The number of I/O threads, from 1 to 1023. Default: one per available core.
    pub fn io_threads(mut self, count: usize) -> Self {
        self.0.io_threads = Some(count);
        self
    }

    /// Whether I/O thread *i* runs on core *i* only, where the system allows it. Default: no.
    pub fn pin_threads(mut self, pin: bool) -> Self {
        self.0.pin_threads = pin;
        self
    }

    /// What the names of the I/O threads begin with. Default: `sinew`.
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
