//! Where and when a run takes place.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// The kernel's number for the tracepoint at the entry of every system call; `None` without tracefs.
pub(crate) fn syscall_tracepoint() -> Option<u64> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .iter()
        .find_map(|root| {
            let path = Path::new(root).join("events/raw_syscalls/sys_enter/id");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        })
}

/// The side of a lock-step exchange that a thread belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Replier,
    Requester,
}

/// Keeps this thread on the core of its side.
///
/// The scheduler puts two threads that wait for each other on one core every now and then. A round trip
/// then wakes no sleeping core and takes a tenth of the time, but says nothing about two programmes that
/// have something else to do; and which of the two happens would decide every comparison.
#[allow(unsafe_code, reason = "sched_setaffinity has no safe door in std")]
pub(crate) fn pin(side: Side) -> io::Result<()> {
    let core = side as usize % thread::available_parallelism()?.get();
    // SAFETY: a `cpu_set_t` is plain bits, of which all zero is the empty set; the kernel reads as
    // many octets from it as it is told. Zero means this thread.
    let status = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Says what is going on, on one line of the terminal; a log file is spared it.
pub(crate) fn progress(now: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{now}");
    }
}

/// Two lines: processor, cores, kernel, load; and the date.
pub(crate) fn description() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = major_minor(&kernel);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    let (major, minor, patch) = zmq::version();
    format!(
        "{model}, {cores} cores, {} {kernel}, load {load}\n{} UTC, libzmq {major}.{minor}.{patch}\n",
        std::env::consts::OS,
        date(),
    )
}

/// The first two numbers of a kernel's release. The rest is of one build, and says nothing to others.
fn major_minor(release: &str) -> String {
    let numbers = release.split(|c: char| !c.is_ascii_digit());
    numbers.take(2).collect::<Vec<_>>().join(".")
}

/// Year, month, day, hour and minute. Days to date after Howard Hinnant's `civil_from_days`.
fn date() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months are counted from March, so that the leap day is the last of a year.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year_of_era + next;
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

#[cfg(test)]
mod tests {
    use super::major_minor;

    #[test]
    fn releases_of_kernels_are_cut_behind_the_minor_number() {
        assert_eq!(major_minor("6.18.44-build-7\n"), "6.18");
        assert_eq!(major_minor("7.0-rc1"), "7.0");
        assert_eq!(major_minor(""), "");
    }
}
