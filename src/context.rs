//! A context: the I/O threads and the inproc names that its sockets share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config::{ContextConfig, OptionError};
use crate::error::{BuildError, StillOpen};
use crate::io::{IoPool, Names};
use crate::sync::{clock, Place, Places, ThreadScheduling};

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
    sockets: Places,
}

impl Context {
    /// A builder with the default options.
    pub fn builder() -> ContextBuilder {
        ContextBuilder(ContextConfig::default())
    }

    fn with(config: ContextConfig) -> Self {
        Context(Arc::new(Inner {
            max_sockets: config.max_sockets,
            sockets: Places::new(),
            pool: IoPool::new(config),
            names: Names::new(),
        }))
    }

    /// A place for one more socket; none is kept if there is no limit.
    pub(crate) fn claim(&self) -> Result<Option<Place>, BuildError> {
        if self.is_shut_down() {
            return Err(BuildError::Terminated);
        }
        let Some(limit) = self.0.max_sockets else {
            return Ok(None);
        };
        match self.0.sockets.claim(limit) {
            Some(place) => Ok(Some(place)),
            None => Err(BuildError::TooManySockets { limit }),
        }
    }

    /// Octets that count towards the [`memory_budget`](ContextBuilder::memory_budget) now; `None` without one. What
    /// a connection sends or receives is counted a little later: at most 256 KiB and one message. What
    /// this returns may be more than the budget, as told there.
    ///
    /// ```
    /// use sinew::{Context, Push};
    ///
    /// let context = Context::builder().memory_budget(64 << 20).build()?;
    /// let push = Push::builder().context(&context).build()?;
    /// assert_eq!(context.memory_used(), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory_used(&self) -> Option<u64> {
        self.0.pool.budget().map(|budget| budget.used())
    }

    /// Ends what waits for any socket of this context, from any thread: every blocked call returns with an error
    /// ([`RecvError::Terminated`](crate::RecvError::Terminated),
    /// [`SendFailure::Terminated`](crate::SendFailure::Terminated) with the message, and so on), and so does every
    /// later one that would have to wait. What can be done at once still is: messages that have arrived are received,
    /// and peers with room are sent to. Futures, [`Requester`](crate::Requester)s and pollers are woken and see the same,
    /// [`Monitor`](crate::Monitor)s come to their end, and a [`Proxy`](crate::Proxy) stops. Nothing is bound or
    /// connected to any more, and no socket is built.
    ///
    /// Sockets stay with their owners, who close or drop them; what is queued is then sent for the linger time, as
    /// ever. [`wait_closed`](Self::wait_closed) waits for that. Calling this again does nothing. For the default
    /// context it is the end of it in this process.
    ///
    /// ```
    /// use sinew::{Context, Pull, RecvError};
    ///
    /// let context = Context::builder().build()?;
    /// let mut pull = Pull::builder().context(&context).bind("inproc://work")?;
    /// let worker = std::thread::spawn(move || pull.recv());
    /// context.shutdown();
    /// assert_eq!(worker.join().unwrap(), Err(RecvError::Terminated));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(&self) {
        self.0.pool.terminate();
    }

    /// Whether [`shutdown`](Self::shutdown) was called.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.0.pool.is_terminated()
    }

    /// Waits, at most this long, until every socket of this context is closed (or dropped) and has sent what it had to,
    /// or given that up. Does not end anything: [`shutdown`](Self::shutdown) does, so that owners that wait for
    /// their sockets come to close them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinew::{Context, Pull};
    ///
    /// let context = Context::builder().build()?;
    /// let pull = Pull::builder().context(&context).bind("inproc://work")?;
    /// context.shutdown();
    /// let open = context.wait_closed(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(open.sockets[0].endpoints, pull.bound_endpoints());
    /// drop(pull);
    /// context.wait_closed(Duration::from_secs(60))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the time was over before; the error names the sockets.
    pub fn wait_closed(&self, timeout: Duration) -> Result<(), StillOpen> {
        let sockets = self.0.pool.await_end(clock::now().checked_add(timeout));
        match sockets.is_empty() {
            true => Ok(()),
            false => Err(StillOpen { sockets }),
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

    /// The octets that everything queued for sending or receiving in this context may take, with what has been
    /// received in part: from 65536, or `None`, the default, for no limit but the high-water marks of
    /// each connection. `u64::MAX` only has it counted ([`Context::memory_used`]).
    ///
    /// When it is used up, each connection is at its high-water mark, for as long as anything is queued on
    /// it: senders wait, publishers drop and count ([`SocketStats::dropped_full`](crate::SocketStats::dropped_full)),
    /// and nothing more is read from the network. One with nothing queued still takes one message at a
    /// time, or what one read brings of them (64 KiB), so that no peer can stop the others. A sender that waits goes
    /// on when its own peer has taken something.
    ///
    /// So what is held can be more than this, by one message and by 64 KiB (or a 64th of the budget, if that is
    /// less) for each connection and direction; a message may be as large as its socket allows.
    /// Counted are octets as they are on the wire, and the memory of receive buffers and of large frames that
    /// have not come as a whole. A payload that several peers are sent counts for each. Not counted are
    /// subscriptions, messages that the application has, and up to about 5 MiB for each I/O thread and each
    /// socket that reads for itself, of buffers that are used again.
    pub fn memory_budget(mut self, octets: impl Into<Option<u64>>) -> Self {
        self.0.memory_budget = octets.into();
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
