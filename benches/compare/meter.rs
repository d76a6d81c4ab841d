//! Wall clock and processor time, and the sample that a measurement yields.

use std::time::Instant;

/// The result of one measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Messages per second, or the median round trip in microseconds.
    pub(crate) value: f64,
    /// User and system time of the whole process, per message (or round trip, or delivery).
    pub(crate) cpu_ns: f64,
    /// Round trips only, in microseconds.
    pub(crate) p99: Option<f64>,
}

/// A moment: wall clock, and processor time used until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    wall: Instant,
    cpu_ns: u64,
}

impl Mark {
    pub(crate) fn now() -> Mark {
        Mark {
            cpu_ns: process_cpu_ns(),
            wall: Instant::now(),
        }
    }

    /// Throughput and processor time of `count` messages since this mark.
    pub(crate) fn rate(&self, count: u64) -> Sample {
        let seconds = self.wall.elapsed().as_secs_f64();
        Sample {
            value: count as f64 / seconds,
            cpu_ns: self.cpu_ns_per(count),
            p99: None,
        }
    }

    /// Median and 99th percentile of these round trips (nanoseconds), made since this mark.
    pub(crate) fn latency(&self, trips: &mut [u64]) -> Sample {
        let cpu_ns = self.cpu_ns_per(trips.len() as u64);
        trips.sort_unstable();
        let at = |fraction: f64| {
            let index = ((trips.len() - 1) as f64 * fraction).round() as usize;
            trips[index] as f64 / 1e3
        };
        Sample {
            value: at(0.5),
            cpu_ns,
            p99: Some(at(0.99)),
        }
    }

    fn cpu_ns_per(&self, count: u64) -> f64 {
        (process_cpu_ns() - self.cpu_ns) as f64 / count as f64
    }
}

/// User and system time of all threads of this process, those that ended included.
#[allow(unsafe_code, reason = "getrusage has no safe door in std")]
fn process_cpu_ns() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel writes a whole `rusage` to the pointer, which is valid for writes; the
    // contents are only assumed after it reported success.
    let usage = unsafe {
        let status = libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        assert_eq!(status, 0, "getrusage(RUSAGE_SELF) cannot fail");
        usage.assume_init()
    };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}
