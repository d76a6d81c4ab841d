//! The asymmetric barrier: one side pays for both (Dmitry Vyukov's and Linux' `membarrier(2)` way).
//!
//! Two threads that each store one flag and then load the other's need a full fence between store
//! and load on *both* sides, or both may miss the other's store. [`heavy`] makes every thread of the
//! process pass such a fence at once, so the frequent side can do with [`light`], which only keeps
//! the compiler from reordering. Where the kernel has no private expedited `membarrier`, both are a
//! `SeqCst` fence. In a model check both are fences too: loom then explores the symmetric protocol.

#[cfg(not(loom))]
pub(crate) use real::{free, heavy, is_free, light};

#[cfg(loom)]
pub(crate) fn heavy() {
    loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(loom)]
pub(crate) fn light() {
    loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(loom)]
pub(crate) fn is_free() -> bool {
    true
}

#[cfg(loom)]
pub(crate) fn free() {
    light();
}

#[cfg(not(loom))]
mod real {
    use std::sync::atomic::{compiler_fence, fence, AtomicU8, Ordering};

    const UNKNOWN: u8 = 0;
    const MEMBARRIER: u8 = 1;
    const FENCES: u8 = 2;

    /// Which kind of barrier this process uses; settled by the first call of [`support`] and never
    /// changed after, so that both sides always agree.
    static SUPPORT: AtomicU8 = AtomicU8::new(UNKNOWN);

    /// The frequent side. Orders an earlier store before a later load, given that the other side
    /// calls [`heavy`] between its own store and load.
    #[inline(always)]
    pub(crate) fn light() {
        if SUPPORT.load(Ordering::Relaxed) == MEMBARRIER {
            compiler_fence(Ordering::SeqCst);
        } else {
            // Fences are used, or it has not been found out: a full fence is right in either case.
            fence(Ordering::SeqCst);
            if SUPPORT.load(Ordering::Relaxed) == UNKNOWN {
                support();
            }
        }
    }

    /// Whether the frequent side costs nothing: [`free`] will do for it.
    #[inline(always)]
    pub(crate) fn is_free() -> bool {
        SUPPORT.load(Ordering::Relaxed) == MEMBARRIER
    }

    /// As [`light`], after [`is_free`] has said so: what is settled stays so.
    #[inline(always)]
    pub(crate) fn free() {
        debug_assert!(is_free());
        compiler_fence(Ordering::SeqCst);
    }

    /// The rare side. Costs 0.2 µs when no other thread of the process runs, about 9 µs when one is
    /// busy on another core (measured on a 2-core x86-64 virtual machine).
    #[cold]
    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
        if support() == MEMBARRIER {
            membarrier_expedited();
        }
    }

    #[cold]
    fn support() -> u8 {
        match SUPPORT.load(Ordering::Acquire) {
            UNKNOWN => {
                let found = if register() { MEMBARRIER } else { FENCES };
                // The first answer counts: a thread of its own sandbox may find another.
                match SUPPORT.compare_exchange(UNKNOWN, found, Ordering::AcqRel, Ordering::Acquire)
                {
                    Ok(_) => found,
                    Err(first) => first,
                }
            }
            known => known,
        }
    }

    #[cfg(target_os = "linux")]
    #[allow(
        unsafe_code,
        reason = "membarrier(2) has no safe wrapper among our dependencies"
    )]
    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: `membarrier` takes two integers and touches no memory of this process.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    #[cfg(target_os = "linux")]
    fn register() -> bool {
        membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
            && membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    #[cfg(target_os = "linux")]
    fn membarrier_expedited() {
        // It succeeded at registration and has no later way to fail.
        let done = membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        debug_assert!(done, "membarrier failed after it was registered");
    }

    #[cfg(not(target_os = "linux"))]
    fn register() -> bool {
        false
    }

    #[cfg(not(target_os = "linux"))]
    fn membarrier_expedited() {}
}
