//! Random numbers for jitter and for ids that peers must not guess: not for cryptography.
//!
//! Every call hashes a counter with a key that the standard library draws from the operating system
//! for each process (SipHash with random keys), so nothing has to be seeded or locked.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;

use crate::sync::atomic::{AtomicU64, Ordering};

/// A number nobody outside this process can predict.
pub(crate) fn random() -> u64 {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEYS.get_or_init(RandomState::new)
        .hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_differ() {
        let some: std::collections::HashSet<u64> = (0..1000).map(|_| super::random()).collect();
        assert_eq!(some.len(), 1000);
    }
}
