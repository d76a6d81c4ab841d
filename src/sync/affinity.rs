//! Pinning a thread to cores: one system call, optional, and never an error that matters.

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
