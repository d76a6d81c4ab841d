//! Is the other side alive, and how does it learn that we are? Heartbeats of the patterns.
//!
//! There are two levels. That a *connection* lives is known from the heartbeats of ZMTP, which Sinew's
//! sockets exchange by themselves. That the *programme* behind it makes progress is known from heartbeats
//! in the pattern: a frozen handler with a live I/O thread answers the former and not the latter.
//! [`Liveness`] judges the other side; [`Beat`] decides when ours is due.

use std::time::{Duration, Instant};

use super::LONGEST;

/// How often heartbeats are sent, and how many may be missing. Both sides should agree roughly.
///
/// ```
/// use std::time::Duration;
/// use sinew_patterns::common::Heartbeat;
///
/// assert_eq!(Heartbeat::default().patience(), Duration::from_millis(7_500));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The pause between heartbeats. Less than 1 ms counts as 1 ms. Default: 2.5 s, as the reference
    /// Majordomo programmes have it.
    pub interval: Duration,
    /// How many intervals of silence mean that the other side is gone; 0 counts as 1. Default: 3.
    pub liveness: u32,
    /// What our own heartbeats vouch for.
    pub scope: Scope,
}

/// What a heartbeat vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Scope {
    /// The process lives. Heartbeats go on while a handler runs, however long.
    #[default]
    Process,
    /// Work goes on: heartbeats end when the handler has neither returned nor reported progress for
    /// `interval × liveness`.
    Progress,
}

impl Heartbeat {
    /// The silence after which the other side counts as gone: `interval × liveness`.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.step()
            .saturating_mul(self.liveness.max(1))
            .min(LONGEST)
    }

    /// The interval, in bounds.
    #[must_use]
    pub fn step(&self) -> Duration {
        self.interval.clamp(Duration::from_millis(1), LONGEST)
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat {
            interval: Duration::from_millis(2_500),
            liveness: 3,
            scope: Scope::Process,
        }
    }
}

/// When the other side was heard last, and when to give it up.
///
/// Not every peer sends heartbeats. So this starts *unarmed*, when silence means nothing, and the first
/// heartbeat arms it.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::common::{Heartbeat, Liveness};
///
/// let (config, start) = (Heartbeat::default(), Instant::now());
/// let mut liveness = Liveness::new(config, start);
/// assert_eq!(liveness.expires(), None, "nobody promised heartbeats");
/// liveness.arm();
/// assert_eq!(liveness.expires(), Some(start + config.patience()));
/// ```
#[derive(Debug, Clone)]
pub struct Liveness {
    patience: Duration,
    last_heard: Instant,
    armed: bool,
    suspended: bool,
}

impl Liveness {
    /// Unarmed.
    #[must_use]
    pub fn new(config: Heartbeat, now: Instant) -> Self {
        Liveness {
            patience: config.patience(),
            last_heard: now,
            armed: false,
            suspended: false,
        }
    }

    /// Something came from the other side.
    pub fn heard(&mut self, now: Instant) {
        self.last_heard = self.last_heard.max(now);
    }

    /// From now on silence means something: the other side has sent a heartbeat.
    pub fn arm(&mut self) {
        self.armed = true;
    }

    /// Whether the other side has ever sent a heartbeat.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Silence means nothing until [`resume`](Self::resume): the other side is known to be silent now.
    pub fn suspend(&mut self) {
        self.suspended = true;
    }

    /// Silence counts again, from `now` on.
    pub fn resume(&mut self, now: Instant) {
        self.suspended = false;
        self.heard(now);
    }

    /// When the other side is to be given up, if nothing comes before.
    #[must_use]
    pub fn expires(&self) -> Option<Instant> {
        (self.armed && !self.suspended).then(|| self.last_heard + self.patience)
    }

    /// Whether it is to be given up now.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires().is_some_and(|at| now >= at)
    }
}

/// When our next heartbeat is due.
///
/// ```
/// use std::time::Instant;
/// use sinew_patterns::common::{Beat, Heartbeat};
///
/// let (config, start) = (Heartbeat::default(), Instant::now());
/// let mut beat = Beat::new(config, start);
/// assert!(!beat.is_due(start));
/// assert!(beat.is_due(start + config.interval));
/// ```
#[derive(Debug, Clone)]
pub struct Beat {
    config: Heartbeat,
    next: Instant,
    /// Since when a handler is at work without a sign of progress.
    working: Option<Instant>,
}

impl Beat {
    /// The first is due one interval from `now`.
    #[must_use]
    pub fn new(config: Heartbeat, now: Instant) -> Self {
        Beat {
            config,
            next: now + config.step(),
            working: None,
        }
    }

    /// Something was sent, which counts as a heartbeat.
    pub fn sent(&mut self, now: Instant) {
        self.next = now + self.config.step();
    }

    /// A handler has begun, or reports that it goes on.
    pub fn progress(&mut self, now: Instant) {
        // Heartbeats that were held back begin again at once.
        if self.is_stuck(self.next) {
            self.next = now;
        }
        self.working = self.working.max(Some(now));
    }

    /// A handler vouches that it goes on for so long without a sign of progress.
    pub fn extend(&mut self, now: Instant, by: Duration) {
        let ahead = by.min(LONGEST).saturating_sub(self.config.patience());
        self.progress(now);
        self.working = self.working.max(Some(now + ahead));
    }

    /// The handler has returned.
    pub fn rest(&mut self) {
        self.working = None;
    }

    /// When the next one is due. `None` while a handler is stuck and heartbeats vouch for progress.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        (!self.is_stuck(self.next)).then_some(self.next)
    }

    /// Whether one is due now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next && !self.is_stuck(now)
    }

    /// Whether heartbeats are held back for want of progress.
    #[must_use]
    pub fn is_stuck(&self, now: Instant) -> bool {
        match (self.config.scope, self.working) {
            (Scope::Progress, Some(since)) => now >= since + self.config.patience(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    fn config(scope: Scope) -> Heartbeat {
        Heartbeat {
            interval: STEP,
            liveness: 3,
            scope,
        }
    }

    /// Heartbeats within `span` if the handler begins at once and never returns.
    fn beats(scope: Scope, span: Duration, extend_at: &[u32]) -> u32 {
        let start = Instant::now();
        let mut beat = Beat::new(config(scope), start);
        beat.progress(start);
        let mut sent = 0;
        for tick in 0..(span.as_millis() / 10) as u32 {
            let now = start + Duration::from_millis(10) * tick;
            if extend_at.contains(&tick) {
                beat.progress(now);
            }
            if beat.is_due(now) {
                assert!(beat.due().is_some_and(|due| due <= now));
                beat.sent(now);
                sent += 1;
            }
        }
        sent
    }

    /// SUB-04.
    #[test]
    fn a_frozen_handler_goes_silent_unless_only_the_process_is_vouched_for() {
        let span = Duration::from_secs(2);
        assert_eq!(beats(Scope::Process, span, &[]), 19);
        assert_eq!(beats(Scope::Progress, span, &[]), 2);
        let extended = beats(
            Scope::Progress,
            span,
            &[20, 40, 60, 80, 100, 120, 140, 160, 180],
        );
        assert_eq!(extended, 19);
    }

    /// SUB-04, the other half.
    #[test]
    fn a_handler_that_vouches_for_itself_is_believed_for_so_long() {
        let start = Instant::now();
        let mut beat = Beat::new(config(Scope::Progress), start);
        beat.progress(start);
        beat.extend(start, STEP * 10);
        assert!(!beat.is_stuck(start + STEP * 9));
        // Less, and later signs of progress, take nothing away.
        beat.extend(start + STEP, STEP);
        beat.progress(start + STEP * 2);
        assert!(!beat.is_stuck(start + STEP * 9));
        assert!(beat.is_stuck(start + STEP * 10));
        beat.extend(start + STEP * 20, STEP);
        assert!(!beat.is_stuck(start + STEP * 22), "no less than usual");
        assert!(beat.is_stuck(start + STEP * 23));
        beat.rest();
        beat.progress(start + STEP * 30);
        assert!(beat.is_stuck(start + STEP * 33), "the next one begins anew");
    }

    #[test]
    fn progress_after_a_pause_is_told_at_once() {
        let start = Instant::now();
        let mut beat = Beat::new(config(Scope::Progress), start);
        beat.progress(start);
        let late = start + STEP * 30;
        beat.sent(start + STEP * 2);
        beat.sent(start + STEP * 3);
        assert_eq!(beat.due(), None);
        beat.progress(late);
        assert!(beat.is_due(late));
    }

    #[test]
    fn silence_counts_only_when_armed_and_not_suspended() {
        let start = Instant::now();
        let mut liveness = Liveness::new(config(Scope::Process), start);
        let late = start + STEP * 100;
        assert!(!liveness.is_expired(late));
        liveness.arm();
        assert!(liveness.is_expired(late));
        liveness.suspend();
        assert!(!liveness.is_expired(late));
        liveness.resume(late);
        assert!(!liveness.is_expired(late + STEP * 2));
        assert!(liveness.is_expired(late + STEP * 3));
        liveness.heard(late + STEP * 3);
        liveness.heard(late);
        assert!(
            !liveness.is_expired(late + STEP * 4),
            "time does not go back"
        );
    }
}
