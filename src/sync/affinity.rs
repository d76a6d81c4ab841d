//! Pinning a thread to a core: one system call, optional, and never an error that matters.

/// Asks the system to run the calling thread on this core only. Where that is not possible the
/// thread runs where the system likes, which is the default anyway; returns whether it was.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "std has no call for it")]
pub(crate) fn pin_thread(core: usize) -> bool {
    if core >= libc::CPU_SETSIZE as usize {
        return false;
    }
    // SAFETY: an all-zero `cpu_set_t` is an empty set; `CPU_SET` writes inside it since `core` is
    // below `CPU_SETSIZE`; the call reads the set for the length given, and 0 is this thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set) == 0
    }
}

/// Not possible here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_thread(_core: usize) -> bool {
    false
}
