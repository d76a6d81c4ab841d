//! The gate between threads: permits that are given back when they are dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{GateConfig, GateCounters, GateEngine, GateEvent, Rejected, TicketId};
use crate::common::{Fault, PeerId, Status};
use crate::shell::{Locked, Watched};

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
    state: Watched<State>,
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
            state: Watched::new(State {
                engine: GateEngine::new(config),
                results: BTreeMap::new(),
            }),
            config,
        }))
    }

    /// Gets in, waiting at most so long. `bytes` is how much memory the request takes while it waits.
    ///
    /// # Errors
    /// If it is turned away, or the time is over. With [`OnFull::Wait`](crate::common::OnFull::Wait) nobody is turned away
    /// because the queue is full, but for those with more than the share of a client, or more octets than the queue takes.
    pub fn enter(
        &self,
        who: impl Into<PeerId>,
        bytes: usize,
        timeout: Duration,
    ) -> Result<Permit, Rejected> {
        let (permit, deadline) = self.begin(who.into(), bytes, timeout)?;
        let result = (self.0.state).wait(deadline, |state| permit.look(state));
        result.unwrap_or(Err(Rejected::Late)).map(|()| permit)
    }

    /// The same for a task of any executor. Its place in the queue is that of the first poll; if the future is dropped,
    /// that place, or the one inside, is free again.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn enter_async(
        &self,
        who: impl Into<PeerId>,
        bytes: usize,
        timeout: Duration,
    ) -> Result<Permit, Rejected> {
        let (permit, deadline) = self.begin(who.into(), bytes, timeout)?;
        let result = (self.0.state).wait_async(deadline, |state| permit.look(state));
        result.await.unwrap_or(Err(Rejected::Late)).map(|()| permit)
    }

    /// What will be a permit. Dropped before, it gives up waiting.
    fn begin(
        &self,
        who: PeerId,
        bytes: usize,
        timeout: Duration,
    ) -> Result<(Permit, Option<Instant>), Rejected> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout);
        let mut state = self.0.state.lock();
        let entered = state.engine.handle_enter(now, who, bytes, deadline);
        // Others may have got in, or be late, whatever became of this one.
        tell(&mut state);
        let permit = Permit {
            gate: self.clone(),
            id: entered?,
        };
        Ok((permit, deadline))
    }

    /// Gets in if there is room and nobody waits.
    ///
    /// # Errors
    /// [`Rejected::Full`] if not.
    pub fn try_enter(&self, who: impl Into<PeerId>, bytes: usize) -> Result<Permit, Rejected> {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        state.engine.handle_timeout(now);
        tell(&mut state);
        let (inside, waiting, _) = state.engine.load();
        if inside >= self.0.config.inside.max(1) || waiting > 0 {
            return Err(Rejected::Full {
                retry_after: self.0.config.retry_after,
            });
        }
        let id = state.engine.handle_enter(now, who.into(), bytes, None)?;
        tell(&mut state);
        // There was room, so this one is inside.
        state.results.remove(&id);
        Ok(Permit {
            gate: self.clone(),
            id,
        })
    }

    /// How many are inside, how many wait in the queue, and with how many octets.
    #[must_use]
    pub fn load(&self) -> (usize, usize, usize) {
        self.0.state.lock().engine.load()
    }

    /// How many wait in front of the queue, each in a thread or task of its own
    /// ([`OnFull::Wait`](crate::common::OnFull::Wait)).
    #[must_use]
    pub fn outside(&self) -> usize {
        self.0.state.lock().engine.outside()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> GateCounters {
        self.0.state.lock().engine.counters()
    }
}

/// Passes on what the engine tells.
fn tell(state: &mut Locked<'_, State>) {
    while let Some(event) = state.engine.poll_event() {
        match event {
            GateEvent::Admitted(id) => state.results.insert(id, Ok(())),
            GateEvent::Rejected(id, why) => state.results.insert(id, Err(why)),
        };
        state.tell_all();
    }
}

impl Permit {
    /// What has become of this one, if that is known.
    fn look(&self, state: &mut Locked<'_, State>) -> Option<Result<(), Rejected>> {
        state.engine.handle_timeout(Instant::now());
        tell(state);
        state.results.remove(&self.id)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.0.state.lock();
        state.engine.handle_leave(Instant::now(), self.id);
        tell(&mut state);
        state.results.remove(&self.id);
    }
}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        let reason = rejected.to_string();
        match rejected {
            Rejected::Late => Fault {
                status: Status::Expired,
                ..Fault::failed(reason)
            },
            Rejected::Full { retry_after } | Rejected::Shed { retry_after } => {
                Fault::rejected(retry_after, reason)
            }
        }
    }
}
