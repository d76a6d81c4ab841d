//! Keeps a reader from treading on its writer's heels.
//!
//! Two threads that go through the same memory one message apart take its cache lines from each other for every
//! message, and each then waits for the other's core: twice to three times as long as a message takes otherwise
//! (measured between two cores of a server processor). It lasts, for both are as slow as the other makes them. So a
//! reader that has found little several times in a row, though never nothing, lets the writer get ahead before
//! it looks again, by one to some microseconds. As soon as it finds nothing there is no stream to keep a distance in,
//! and it looks at once, as it does in lock-step; a message that a look has found is never held back.

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Distance {
    /// Looks in a row that found little.
    close: u8,
    /// How long to pause before the next look.
    pauses: u8,
}

/// Octets that are little. Less than this ahead, and the writer is felt.
const LITTLE: u64 = 4 * 1024;

/// Octets from which on a pause may be shorter.
const PLENTY: u64 = 32 * 1024;

/// So many looks in a row that find little are no accident.
const CLOSE: u8 = 4;

/// The longest pause, in hints to the processor that take some 10 to 70 ns each.
const MOST: u8 = 120;

impl Distance {
    /// To be called before a look.
    #[inline]
    pub(super) fn keep(&self) {
        for _ in 0..self.pauses {
            std::hint::spin_loop();
        }
    }

    /// What the look found, in octets.
    #[inline]
    pub(super) fn found(&mut self, octets: u64) {
        if octets == 0 {
            *self = Distance::default();
        } else if octets >= PLENTY {
            self.close = 0;
            self.pauses /= 2;
        } else if octets < LITTLE {
            self.close += 1;
            if self.close == CLOSE {
                self.close = 0;
                self.pauses = (2 * self.pauses + 1).min(MOST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(looks: impl IntoIterator<Item = u64>) -> u8 {
        let mut distance = Distance::default();
        looks.into_iter().for_each(|octets| distance.found(octets));
        distance.pauses
    }

    fn times(count: usize, octets: u64) -> impl Iterator<Item = u64> {
        std::iter::repeat(octets).take(count)
    }

    #[test]
    fn who_is_close_for_long_pauses_and_who_finds_nothing_does_not() {
        assert_eq!(after(times(3, 66)), 0);
        assert_eq!(after(times(4, 66)), 1);
        assert_eq!(after(times(1000, 66)), MOST);
        assert_eq!(after(times(1000, 66).chain([0])), 0);
        // In lock-step every message is looked for in vain before.
        assert_eq!(after([0, 66].repeat(1000)), 0);
    }

    #[test]
    fn the_pause_is_as_long_as_it_takes() {
        let far = || times(16, 66);
        let pauses = after(far());
        assert_eq!(after(far().chain(times(100, LITTLE))), pauses);
        assert!(after(far().chain([PLENTY])) < pauses);
        assert_eq!(after(far().chain(times(10, PLENTY))), 0);
        assert_eq!(after(times(1000, LITTLE)), 0, "far enough by itself");
    }
}
