//! Where and how the system runs a thread: two system calls, optional, and never an error that matters.

/// Asks the system to run the calling thread on these cores only. Where that is not possible the
/// thread runs where the system likes, which is the default anyway; returns whether it was.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "std has no call for it")]
pub(crate) fn pin_thread(cores: &[usize]) -> bool {
    if cores.iter().any(|core| *core >= libc::CPU_SETSIZE as usize) {
        return false;
    }
    // SAFETY: an all-zero `cpu_set_t` is an empty set; `CPU_SET` writes inside it since each core is
    // below `CPU_SETSIZE`; the call reads the set for the length given, and 0 is this thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for core in cores {
            libc::CPU_SET(*core, &mut set);
        }
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set) == 0
    }
}

/// Not possible here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_thread(_cores: &[usize]) -> bool {
    false
}

/// How the system schedules a thread, on Linux: see `sched(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadScheduling {
    /// `SCHED_OTHER`, as threads usually are.
    Other,
    /// `SCHED_BATCH`: as one that computes for long, which waits a little longer for a processor.
    Batch,
    /// `SCHED_IDLE`: when there is nothing else to do.
    Idle,
    /// `SCHED_FIFO`: before all of the above, and until it waits or one of a higher priority comes. Needs a
    /// privilege.
    Fifo {
        /// From 1 to 99, the highest.
        priority: u8,
    },
    /// `SCHED_RR`: as `Fifo`, in turn with others of the same priority. Needs a privilege.
    RoundRobin {
        /// From 1 to 99, the highest.
        priority: u8,
    },
}

impl ThreadScheduling {
    /// 0 where there is none.
    pub(crate) fn priority(self) -> u8 {
        match self {
            ThreadScheduling::Fifo { priority } | ThreadScheduling::RoundRobin { priority } => {
                priority
            }
            _ => 0,
        }
    }

    /// Whether it takes a priority, which is then at least 1.
    pub(crate) fn is_real_time(self) -> bool {
        matches!(
            self,
            ThreadScheduling::Fifo { .. } | ThreadScheduling::RoundRobin { .. }
        )
    }
}

/// Asks the system to schedule the calling thread like this. Where that is not possible, or not allowed, the
/// thread runs as the one that started it; returns whether it was.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "std has no call for it")]
pub(crate) fn schedule_thread(scheduling: ThreadScheduling) -> bool {
    let policy = match scheduling {
        ThreadScheduling::Other => libc::SCHED_OTHER,
        ThreadScheduling::Batch => libc::SCHED_BATCH,
        ThreadScheduling::Idle => libc::SCHED_IDLE,
        ThreadScheduling::Fifo { .. } => libc::SCHED_FIFO,
        ThreadScheduling::RoundRobin { .. } => libc::SCHED_RR,
    };
    // SAFETY: a `sched_param` of zeros is a valid one, whatever else a system has in it; the call reads it while
    // it is borrowed, and 0 is this thread.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = scheduling.priority().into();
        libc::sched_setscheduler(0, policy, &parameters) == 0
    }
}

/// Not possible here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn schedule_thread(_scheduling: ThreadScheduling) -> bool {
    false
}
