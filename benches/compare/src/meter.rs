//! Wall clock, processor time and system calls, and the sample that a measurement yields.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
use serde_json::{json, Value};

use crate::machine;

/// The result of one measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Messages per second, or the median round trip in microseconds.
    pub(crate) value: f64,
    /// User and system time of the whole process, per message (or round trip, or delivery).
    pub(crate) cpu_ns: f64,
    /// Round trips only, in microseconds.
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    /// System calls of the whole process per thousand messages, if they were counted.
    pub(crate) syscalls: Option<f64>,
    /// Octets of heap for each idle connection.
    pub(crate) heap: Option<f64>,
}

impl Sample {
    pub(crate) fn to_json(self) -> Value {
        json!({
            "value": self.value,
            "cpu_ns": self.cpu_ns,
            "p99": self.p99,
            "p999": self.p999,
            "syscalls": self.syscalls,
            "heap": self.heap,
        })
    }

    /// `None` if there is no median in it.
    pub(crate) fn from_json(value: &Value) -> Option<Sample> {
        Some(Sample {
            value: value["value"].as_f64()?,
            cpu_ns: value["cpu_ns"].as_f64()?,
            p99: value["p99"].as_f64(),
            p999: value["p999"].as_f64(),
            syscalls: value["syscalls"].as_f64(),
            heap: value["heap"].as_f64(),
        })
    }
}

/// A moment: wall clock, processor time and system calls until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    wall: Instant,
    cpu_ns: u64,
    syscalls: Option<u64>,
}

impl Mark {
    pub(crate) fn now() -> Mark {
        Mark {
            syscalls: syscalls(),
            cpu_ns: process_cpu_ns(),
            wall: Instant::now(),
        }
    }

    /// Throughput since this mark, of `count` messages.
    pub(crate) fn rate(&self, count: u64) -> Sample {
        let seconds = self.wall.elapsed().as_secs_f64();
        Sample {
            value: count as f64 / seconds,
            ..self.costs(count)
        }
    }

    /// Percentiles of these round trips (nanoseconds), made since this mark.
    pub(crate) fn latency(&self, trips: &mut [u64]) -> Sample {
        let costs = self.costs(trips.len() as u64);
        trips.sort_unstable();
        let at = |fraction: f64| {
            let index = ((trips.len() - 1) as f64 * fraction).round() as usize;
            trips[index] as f64 / 1e3
        };
        Sample {
            value: at(0.5),
            p99: Some(at(0.99)),
            p999: Some(at(0.999)),
            ..costs
        }
    }

    /// What `count` messages have cost since this mark.
    fn costs(&self, count: u64) -> Sample {
        let count = count as f64;
        let calls = syscalls().zip(self.syscalls).map(|(now, then)| now - then);
        Sample {
            cpu_ns: (process_cpu_ns() - self.cpu_ns) as f64 / count,
            syscalls: calls.map(|calls| calls as f64 * 1e3 / count),
            ..Sample::default()
        }
    }
}

/// Starts to count this process's system calls, if the kernel permits it: a tracepoint is not for
/// everybody. To be called before there is any other thread, since only later ones are counted, too.
pub(crate) fn count_syscalls() {
    let count = || -> std::io::Result<Counter> {
        let tracepoint = machine::syscall_tracepoint().ok_or(std::io::ErrorKind::NotFound)?;
        let mut counter = Builder::new(Tracepoint::with_id(tracepoint))
            .observe_self()
            .any_cpu()
            .inherit(true)
            .exclude_kernel(false)
            .build()?;
        counter.enable()?;
        Ok(counter)
    };
    if let Ok(counter) = count() {
        let _ = SYSCALLS.set(Mutex::new(counter));
    }
}

fn syscalls() -> Option<u64> {
    let mut counter = SYSCALLS
        .get()?
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    counter.read().ok()
}

static SYSCALLS: OnceLock<Mutex<Counter>> = OnceLock::new();

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

/// Octets of heap in use, Rust's and C++'s alike: both use the allocator of the C library.
#[allow(unsafe_code, reason = "mallinfo2 has no safe door")]
pub(crate) fn heap_in_use() -> usize {
    // SAFETY: it takes nothing and returns a plain struct.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}
