//! Memory to receive into: initialised once, and used again without being cleared.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::{Buf, Bytes, BytesMut};

/// Octets to be written, parts of which are then handed on by reference.
///
/// Once everybody has dropped what was handed on, [`Memory::reclaim`] makes the whole of it available
/// again, with whatever is in it. To clear it every time would cost a seventh of a fast connection's
/// time.
///
/// Invariant: all octets of the allocation behind `octets` are initialised.
#[derive(Default)]
pub(crate) struct Memory {
    octets: BytesMut,
}

impl Memory {
    /// `len` octets of zero.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut memory = Memory::default();
        memory.grow(len);
        memory
    }

    /// Makes it `len` octets long, at least as long as it was; what is new reads as anything. Copies
    /// what is there if it must move.
    pub(crate) fn grow(&mut self, len: usize) {
        self.octets.resize(len, 0);
        // The allocator may have given more.
        let all = self.octets.capacity();
        self.octets.resize(all, 0);
        self.octets.truncate(len);
    }

    /// Drops octets at the front.
    pub(crate) fn advance(&mut self, count: usize) {
        self.octets.advance(count);
    }

    /// Takes octets off the front, by reference.
    pub(crate) fn split_to(&mut self, count: usize) -> Bytes {
        self.octets.split_to(count).freeze()
    }

    /// Makes it `len` octets long again, of the allocation that it had, if nobody refers to any of
    /// that any more and it is long enough. Otherwise it is empty after.
    pub(crate) fn reclaim(&mut self, len: usize) -> bool {
        self.octets.clear();
        let whole = self.octets.try_reclaim(len);
        if whole {
            // SAFETY: `try_reclaim` never allocates: the capacity, of at least `len` octets, is of the
            // allocation there was, all of which is initialised (see the invariant).
            #[allow(unsafe_code, reason = "see SAFETY")]
            unsafe {
                self.octets.set_len(len);
            }
        }
        whole
    }
}

impl Deref for Memory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.octets
    }
}

impl DerefMut for Memory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.octets
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("len", &self.len())
            .field("capacity", &self.octets.capacity())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_nobody_refers_to_it() {
        let mut memory = Memory::zeroed(100);
        memory[..4].copy_from_slice(b"abcd");
        let at = memory.as_ptr();
        let lent = memory.split_to(2);
        let all = memory.split_to(98);
        assert!(!memory.reclaim(100));
        assert_eq!(memory.len(), 0);
        drop(all);
        assert!(!memory.reclaim(100));
        assert_eq!(lent, "ab");
        drop(lent);
        assert!(memory.reclaim(100));
        assert_eq!(memory.as_ptr(), at);
        assert_eq!(&memory[..4], b"abcd");
        assert!(!memory.reclaim(1 << 20), "there is not that much");
    }

    #[test]
    fn what_grows_keeps_what_it_holds_and_is_initialised() {
        let mut memory = Memory::zeroed(3);
        memory.copy_from_slice(b"abc");
        for len in [3, 4, 1000, 100_000] {
            memory.grow(len);
            assert_eq!(memory.len(), len);
            assert_eq!(&memory[..3], b"abc");
            assert!(memory[3..].iter().all(|octet| *octet == 0));
        }
        let rest = memory.split_to(50_000);
        drop(rest);
        memory.advance(1);
        assert!(memory.reclaim(100_000));
        assert_eq!(&memory[..3], b"abc");
        // Every octet may be read, or a memory checker complains.
        assert_eq!(
            memory[3..]
                .iter()
                .map(|octet| u64::from(*octet))
                .sum::<u64>(),
            0
        );
    }
}
