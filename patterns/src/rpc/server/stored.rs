//! What a store of keys adds to the server: a request with a key is begun in the store before a handler has it, and
//! ended there before the client hears of it.
//!
//! | request | event | next |
//! | --- | --- | --- |
//! | Looking | the store: it is new | Running |
//! | Looking | the store: it is new, but its deadline is over | abandoned in the store, declined with 408 |
//! | Looking | the store: it is done | over, with the kept reply |
//! | Looking | the store: somebody is at it | Waiting |
//! | Looking | the store: somebody was at it who is gone | declined with 410, in doubt |
//! | Looking | the store: another request has this name | declined with 409 |
//! | Looking | the store is full, or fails | declined with 429, or with 503 |
//! | Waiting | after a pause | Looking |
//! | Waiting | deadline, or too many wait | declined with 410, in doubt |
//! | Running | reply or fault | Recording |
//! | Recording | it is written down, or cannot be | over |
//!
//! One that is Looking or Recording has its place among those that run, so that no more of them ask the store at once
//! than handlers are allowed. One that is Waiting has none: the other may be long at it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{kept, not_begun, RequestId, ServerConfig, ServerEngine, ServerEvent};
use crate::common::{
    footprint, Begun, MsgId, Outcome, Status, StoreDone, StoreOp, StoreWant, Stored, Timers,
};

/// The requests of an engine that its store has to do with.
#[derive(Debug, Default)]
pub(super) struct Keys {
    stages: BTreeMap<RequestId, Stage>,
    alarms: Timers<Alarm>,
    /// Those that wait and whose pause is over.
    ready: VecDeque<RequestId>,
    /// How many wait, and octets of their requests.
    waiting: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Stage {
    /// For so many times.
    Looking(u32),
    Waiting(u32),
    /// With the fingerprint that the store knows it by.
    Running(u64),
    Recording(Outcome),
}

/// What became of a request that there is no more time for.
pub(super) enum Unfinished {
    /// The store was not asked for leave, or has not given it.
    NotBegun,
    /// The store says that somebody has begun it, this server or another.
    InDoubt,
    /// It was only to be written down how.
    Ended(Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Again(RequestId),
    Late(RequestId),
}

impl Keys {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.alarms.next()
    }
}

/// Whether a request that is not queued is with a handler, as far as the store is concerned.
pub(super) fn with_handler(keys: &Option<Box<Keys>>, id: RequestId) -> bool {
    let stage = keys.as_ref().and_then(|keys| keys.stages.get(&id));
    matches!(stage, None | Some(Stage::Running(_)))
}

impl ServerEngine {
    /// A server that asks a store about keys, with [`ServerEvent::Store`].
    ///
    /// ```
    /// use std::time::Instant;
    /// use sinew_patterns::common::{DedupStore, MemoryStore, StoreLimits};
    /// use sinew_patterns::rpc::{ServerConfig, ServerEngine, ServerEvent};
    /// # use sinew_patterns::common::Engine;
    ///
    /// let store = MemoryStore::new(StoreLimits::default());
    /// let mut life = store.join()?;
    /// let mut server = ServerEngine::with_store(ServerConfig::default());
    /// // And for each event:
    /// # if let Some(event) = server.poll_event() {
    /// match event {
    ///     ServerEvent::Store(op) => {
    ///         let now = Instant::now();
    ///         server.handle_stored(now, op.perform(life.as_mut(), now));
    ///     }
    ///     _ => {}
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_store(config: ServerConfig) -> Self {
        let cache = Some(config.cache.unwrap_or_default());
        let mut server = ServerEngine::new(ServerConfig { cache, ..config });
        server.keys = Some(Box::default());
        server
    }

    /// What became of a [`ServerEvent::Store`].
    pub fn handle_stored(&mut self, now: Instant, stored: Stored) {
        let id = RequestId(stored.request);
        self.counters.store_failures += u64::from(stored.result.is_err());
        let stage = (self.keys.as_mut()).and_then(|keys| keys.stages.remove(&id));
        match (stage, stored.result) {
            (Some(Stage::Looking(turn)), Ok(StoreDone::Begin(begun, fingerprint))) => {
                self.looked_up(now, id, begun, fingerprint, turn);
            }
            (Some(Stage::Looking(_)), Err(error)) => {
                self.turn_away(id, Status::Unavailable, &error.to_string());
            }
            // If it could not be written down, it was carried out all the same.
            (Some(Stage::Recording(outcome)), _) => self.conclude(now, id, outcome),
            // What was late is over already.
            (Some(stage), _) => self.set_stage(id, stage),
            (None, _) => {}
        }
        self.dispatch(now);
    }

    /// Asks the store whether this may begin.
    pub(super) fn look_up(&mut self, id: RequestId, key: MsgId) {
        let (Some(keys), Some(pending)) = (&mut self.keys, self.requests.get(&id)) else {
            return;
        };
        let turn = match keys.stages.get(&id) {
            Some(Stage::Waiting(turn)) => turn.saturating_add(1),
            _ => 0,
        };
        keys.stages.insert(id, Stage::Looking(turn));
        let body = pending.body.clone().unwrap_or_default();
        self.ask_store(id, key, StoreWant::Begin(body));
    }

    /// Starts those that wait for others and have their turn; gives up those that are late.
    pub(super) fn look_again(&mut self, now: Instant) {
        while let Some(alarm) = self.keys.as_mut().and_then(|keys| keys.alarms.expire(now)) {
            match alarm {
                Alarm::Again(id) => {
                    if let Some(keys) = &mut self.keys {
                        keys.ready.push_back(id);
                    }
                }
                Alarm::Late(id) => {
                    if self.wake(id) {
                        self.in_doubt(id, STILL);
                    }
                }
            }
        }
        while self.running < self.config.concurrency.max(1) {
            let Some(id) = self.keys.as_mut().and_then(|keys| keys.ready.pop_front()) else {
                break;
            };
            if self.wake(id) {
                self.start(id);
            }
        }
    }

    /// A handler has ended with it.
    pub(super) fn finish_stored(&mut self, now: Instant, id: RequestId, outcome: Outcome) {
        let Some(pending) = self.requests.get(&id) else {
            return;
        };
        let Some(key) = pending.key else {
            self.conclude(now, id, outcome);
            return;
        };
        let stage = (self.keys.as_ref()).and_then(|keys| keys.stages.get(&id));
        let Some(&Stage::Running(fingerprint)) = stage else {
            return;
        };
        let want = match not_begun(&outcome, pending.parts) {
            true => StoreWant::Abandon,
            false => StoreWant::End {
                fingerprint,
                outcome: kept(outcome.clone(), pending.parts),
            },
        };
        self.set_stage(id, Stage::Recording(outcome));
        self.ask_store(id, key, want);
    }

    fn looked_up(
        &mut self,
        now: Instant,
        id: RequestId,
        begun: Begun,
        fingerprint: u64,
        turn: u32,
    ) {
        match begun {
            Begun::New => self.begin(now, id, fingerprint),
            Begun::Done(outcome) => {
                self.counters.dups += 1;
                self.conclude(now, id, outcome);
            }
            Begun::Busy => self.wait(now, id, turn),
            Begun::InDoubt => {
                self.running -= 1;
                self.in_doubt(id, GONE);
            }
            Begun::Conflict => {
                self.counters.conflicts += 1;
                self.turn_away(id, Status::Conflict, super::CONFLICT);
            }
            Begun::Full => {
                self.counters.rejected += 1;
                self.turn_away(id, Status::Rejected, "the store of keys is full");
            }
        }
    }

    fn begin(&mut self, now: Instant, id: RequestId, fingerprint: u64) {
        let Some(pending) = self.requests.get(&id) else {
            return;
        };
        let late = pending.deadline.is_some_and(|deadline| now >= deadline);
        match pending.key {
            Some(key) if late => {
                self.ask_store(id, key, StoreWant::Abandon);
                self.counters.expired += 1;
                self.turn_away(id, Status::Expired, "the store took its time");
            }
            _ => {
                self.set_stage(id, Stage::Running(fingerprint));
                self.hand_over(id);
            }
        }
    }

    /// Somebody else is at it: it is looked at again later, as long as there is time and room.
    fn wait(&mut self, now: Instant, id: RequestId, turn: u32) {
        self.running -= 1;
        let (Some(keys), Some(pending)) = (&mut self.keys, self.requests.get(&id)) else {
            return;
        };
        let bytes = pending
            .body
            .as_ref()
            .map_or(0, |body| footprint(body.frames()));
        let limits = self.config.queue;
        if keys.waiting >= limits.messages || keys.bytes.saturating_add(bytes) > limits.bytes {
            self.in_doubt(id, STILL);
            return;
        }
        keys.waiting += 1;
        keys.bytes += bytes;
        keys.stages.insert(id, Stage::Waiting(turn));
        let pause = FIRST_PAUSE
            .saturating_mul(1 << turn.min(16))
            .min(LAST_PAUSE);
        keys.alarms.set(Alarm::Again(id), now + pause);
        keys.alarms.set_or_cancel(Alarm::Late(id), pending.deadline);
    }

    /// A request that may be waiting for somebody else has another deadline.
    pub(super) fn waits_until(&mut self, id: RequestId, deadline: Option<Instant>) {
        if let Some(keys) = &mut self.keys {
            if matches!(keys.stages.get(&id), Some(Stage::Waiting(_))) {
                keys.alarms.set_or_cancel(Alarm::Late(id), deadline);
            }
        }
    }

    /// Ends the wait of a request; whether it did wait. Its stage stays.
    fn wake(&mut self, id: RequestId) -> bool {
        let Some(keys) = &mut self.keys else {
            return false;
        };
        if !matches!(keys.stages.get(&id), Some(Stage::Waiting(_))) {
            return false;
        }
        keys.alarms.cancel(&Alarm::Again(id));
        keys.alarms.cancel(&Alarm::Late(id));
        let body = self.requests.get(&id).and_then(|p| p.body.as_ref());
        keys.waiting -= 1;
        keys.bytes -= body.map_or(0, |body| footprint(body.frames()));
        true
    }

    /// Nobody knows whether it was carried out. It has no place among those that run.
    fn in_doubt(&mut self, id: RequestId, why: &str) {
        self.counters.in_doubt += 1;
        self.over(id, Status::InDoubt, why);
    }

    /// No more time for those that the store has to do with: what becomes of each. They have no place among those that run
    /// any more, but for those that have ended.
    pub(super) fn give_up_stored(&mut self) -> Vec<(RequestId, Unfinished)> {
        let ids = self.keys.as_ref().map(|keys| keys.stages.keys().copied());
        let ids: Vec<RequestId> = ids.into_iter().flatten().collect();
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            let waited = self.wake(id);
            let stage = (self.keys.as_mut()).and_then(|keys| keys.stages.remove(&id));
            let how = match stage {
                Some(Stage::Waiting(_)) | None => Unfinished::InDoubt,
                Some(Stage::Looking(_)) => Unfinished::NotBegun,
                Some(Stage::Running(_)) => {
                    self.leave_handler(id);
                    Unfinished::InDoubt
                }
                // If it could not be written down, it was carried out all the same.
                Some(Stage::Recording(outcome)) => {
                    all.push((id, Unfinished::Ended(outcome)));
                    continue;
                }
            };
            self.running -= usize::from(!waited);
            all.push((id, how));
        }
        all
    }

    /// It will not be carried out here, and gives its place among those that run back.
    fn turn_away(&mut self, id: RequestId, status: Status, why: &str) {
        self.running -= 1;
        self.over(id, status, why);
    }

    fn over(&mut self, id: RequestId, status: Status, why: &str) {
        if let Some(keys) = &mut self.keys {
            keys.stages.remove(&id);
        }
        if let Some(pending) = self.forget(id) {
            let why = Some(super::short(why));
            self.decline_with_waiters(&pending.origin, pending.key, status, why);
        }
    }

    fn set_stage(&mut self, id: RequestId, stage: Stage) {
        if let Some(keys) = &mut self.keys {
            keys.stages.insert(id, stage);
        }
    }

    fn ask_store(&mut self, id: RequestId, key: MsgId, want: StoreWant) {
        self.events.push_back(ServerEvent::Store(StoreOp {
            request: id.0,
            key,
            want,
        }));
    }
}

const GONE: &str =
    "a server that is gone had begun it, and whether it was carried out is not known";
const STILL: &str = "another server has begun it, and is not known to have ended it";

/// Between two looks at what others do: most requests take no longer than the first, and the last costs little.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(320);
