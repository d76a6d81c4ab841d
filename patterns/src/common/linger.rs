//! How long something that drains may take: first to finish what it has, then to tell how it ended.

use std::time::{Duration, Instant};

use super::LONGEST;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Linger {
    /// It does not drain.
    #[default]
    Unasked,
    /// There is time to finish.
    Finishing { until: Instant, ends: Instant },
    /// There is time to tell.
    Telling { ends: Instant },
    /// It has ended, or has no more time.
    Over,
}

/// What there is no more time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTime {
    ToFinish,
    ToTell,
}

impl Linger {
    /// The time begins, unless it has begun before.
    pub(crate) fn begin(&mut self, now: Instant, linger: Duration) {
        if *self == Linger::Unasked {
            let linger = linger.min(LONGEST);
            let ends = now + linger;
            let until = ends - farewell(linger);
            *self = Linger::Finishing { until, ends };
        }
    }

    /// Whether it drains, or has ended.
    pub(crate) fn is_on(self) -> bool {
        self != Linger::Unasked
    }

    /// It has ended, and nothing is due any more.
    pub(crate) fn end(&mut self) {
        *self = Linger::Over;
    }

    pub(crate) fn is_over(self) -> bool {
        self == Linger::Over
    }

    /// What there is no more time for since the last look, one after the other.
    pub(crate) fn look(&mut self, now: Instant) -> Option<NoTime> {
        match *self {
            Linger::Finishing { until, ends } if now >= until => {
                *self = Linger::Telling { ends };
                Some(NoTime::ToFinish)
            }
            Linger::Telling { ends } if now >= ends => {
                *self = Linger::Over;
                Some(NoTime::ToTell)
            }
            _ => None,
        }
    }

    /// When to look.
    pub(crate) fn due(self) -> Option<Instant> {
        match self {
            Linger::Finishing { until, .. } => Some(until),
            Linger::Telling { ends } => Some(ends),
            Linger::Unasked | Linger::Over => None,
        }
    }
}

/// What of the time for draining is kept to tell everybody how it ended.
pub(crate) fn farewell(linger: Duration) -> Duration {
    (linger / 4).min(FAREWELL)
}

/// As long as sockets of this crate take to send what is left: [`LINGER`](crate::shell::LINGER).
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_for_finishing_then_for_telling() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        for (given, tells) in [(8 * second, second), (2 * second, second / 2)] {
            let mut linger = Linger::default();
            assert_eq!((linger.due(), linger.is_on()), (None, false));
            linger.begin(now, given);
            linger.begin(now + second, given);
            assert_eq!(linger.due(), Some(now + given - tells));
            assert_eq!(linger.look(now + given - tells - second / 100), None);
            assert_eq!(linger.look(now + given - tells), Some(NoTime::ToFinish));
            assert_eq!(linger.look(now + given - second / 100), None);
            assert_eq!(linger.due(), Some(now + given));
            assert_eq!(linger.look(now + given), Some(NoTime::ToTell));
            assert_eq!(linger.look(now + given), None);
            assert_eq!((linger.due(), linger.is_on()), (None, true));
        }
        let mut none = Linger::default();
        none.begin(now, Duration::ZERO);
        let all: Vec<NoTime> = std::iter::from_fn(|| none.look(now)).collect();
        assert_eq!(all, [NoTime::ToFinish, NoTime::ToTell]);
    }
}
