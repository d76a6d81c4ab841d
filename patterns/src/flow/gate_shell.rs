//! The gate between threads: permits that are given back when they are dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{GateConfig, GateCounters, GateEngine, GateEvent, Rejected, TicketId};
use crate::common::{Fault, PeerId, Status};

/// A gate for threads: so many are inside at once, a bounded number wait, and others are told so. Clones are the
/// same gate.
///
/// ```
/// use std::time::Duration;
/// use sinew_patterns::flow::{Gate, GateConfig};
///
/// let gate = Gate::new(GateConfig { inside: 1, ..GateConfig::default() });
/// let permit = gate.enter("a", 100, Duration::from_secs(1))?;
/// assert!(gate.try_enter("b", 100).is_err());
/// drop(permit);
/// assert!(gate.try_enter("b", 100).is_ok());
/// # Ok::<(), sinew_patterns::flow::Rejected>(())
/// ```
///
/// In a handler of a [`Server`](crate::rpc::Server) the `?` answers those who are turned away:
///
/// ```
/// use std::time::Duration;
/// use sinew::Message;
/// use sinew_patterns::common::Fault;
/// use sinew_patterns::flow::{Gate, GateConfig};
///
/// let gate = Gate::new(GateConfig::default());
/// let handler = move |request: &mut sinew_patterns::Request| -> Result<Message, Fault> {
///     let who = request.peer().cloned().unwrap_or_else(|| "nobody".into());
///     let _permit = gate.enter(who, request.body().byte_len(), Duration::from_secs(1))?;
///     Ok(request.take_body())
/// };
/// # let _ = handler;
/// ```
#[derive(Debug, Clone)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    told: Condvar,
    config: GateConfig,
}

#[derive(Debug)]
struct State {
    engine: GateEngine,
    /// What has become of those who wait.
    results: BTreeMap<TicketId, Result<(), Rejected>>,
}

/// A place inside a [`Gate`]. It is free again when this is dropped, by a panic, too.
#[derive(Debug)]
pub struct Permit {
    gate: Gate,
    id: TicketId,
}

impl Gate {
    /// An open gate, nobody inside.
    #[must_use]
    pub fn new(config: GateConfig) -> Self {
        Gate(Arc::new(Shared {
            state: Mutex::new(State {
                engine: GateEngine::new(config),
                results: BTreeMap::new(),
            }),
            told: Condvar::new(),
            config,
        }))
    }

    /// Gets in, waiting at most so long. `bytes` is how much memory the request takes while it waits.
    ///
    /// # Errors
    /// If it is turned away, or the time is over.
    pub fn enter(
        &self,
        who: impl Into<PeerId>,
        bytes: usize,
        timeout: Duration,
    ) -> Result<Permit, Rejected> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout);
        let mut state = self.lock();
        let id = state
            .engine
            .handle_enter(now, who.into(), bytes, deadline)?;
        loop {
            self.tell(&mut state);
            if let Some(result) = state.results.remove(&id) {
                return result.map(|()| Permit {
                    gate: self.clone(),
                    id,
                });
            }
            state = match deadline {
                None => (self.0.told.wait(state)).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let waited = self.0.told.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.engine.handle_timeout(Instant::now());
        }
    }

    /// Gets in if there is room and nobody waits.
    ///
    /// # Errors
    /// [`Rejected::Full`] if not.
    pub fn try_enter(&self, who: impl Into<PeerId>, bytes: usize) -> Result<Permit, Rejected> {
        let now = Instant::now();
        let mut state = self.lock();
        state.engine.handle_timeout(now);
        self.tell(&mut state);
        let (inside, waiting, _) = state.engine.load();
        if inside >= self.0.config.inside.max(1) || waiting > 0 {
            return Err(Rejected::Full {
                retry_after: self.0.config.retry_after,
            });
        }
        let id = state.engine.handle_enter(now, who.into(), bytes, None)?;
        self.tell(&mut state);
        // There was room, so this one is inside.
        state.results.remove(&id);
        Ok(Permit {
            gate: self.clone(),
            id,
        })
    }

    /// How many are inside, how many wait, and with how many octets.
    #[must_use]
    pub fn load(&self) -> (usize, usize, usize) {
        self.lock().engine.load()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> GateCounters {
        self.lock().engine.counters()
    }

    /// Passes on what the engine tells.
    fn tell(&self, state: &mut State) {
        let mut any = false;
        while let Some(event) = state.engine.poll_event() {
            any = true;
            match event {
                GateEvent::Admitted(id) => state.results.insert(id, Ok(())),
                GateEvent::Rejected(id, why) => state.results.insert(id, Err(why)),
            };
        }
        if any {
            self.0.told.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        (self.0.state.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.engine.handle_leave(Instant::now(), self.id);
        self.gate.tell(&mut state);
    }
}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        Fault {
            status: match rejected {
                Rejected::Late => Status::Expired,
                Rejected::Full { .. } | Rejected::Shed { .. } => Status::Rejected,
            },
            reason: rejected.to_string(),
        }
    }
}
