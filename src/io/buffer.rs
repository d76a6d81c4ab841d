//! Receive buffers: where octets lie between the kernel and a pipe.
//!
//! A connection holds a buffer only while an unfinished frame is in it; at other times buffers lie in
//! a [`BufferPool`], one per thread that runs pumps. Octets that are handed on by reference keep their
//! buffer alive; the pool takes it into use again once the last of them is gone.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::pipe::Memory;

/// How much one read may bring. Measured: 64 KiB is where the cost of a system call over loopback is
/// lost in that of copying, and it still fits the caches it passes through.
pub(crate) const BUFFER_SIZE: usize = 64 * 1024;

/// So few unread octets are worth copying in order to free the rest of their buffer.
const SHRINK_BELOW: usize = 4 * 1024;

/// Whole buffers that are kept: a connection whose octets are no frames uses two at once.
const READY: usize = 2;

/// Buffers that wait for octets handed on by reference to be dropped. More than these are freed.
const POOLED: usize = 8;

/// Octets read and not yet handed on.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    /// The first `filled` octets are unread input.
    memory: Memory,
    filled: usize,
    /// The memory is not the pool's: see [`ReadBuffer::shrink`].
    shrunk: bool,
}

impl ReadBuffer {
    /// Unread input.
    #[inline]
    pub(crate) fn input(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    /// Replaces the first octet of the input, if there is one.
    pub(crate) fn replace_first(&mut self, octet: u8) {
        if let Some(first) = self.memory[..self.filled].first_mut() {
            *first = octet;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Room behind the input.
    #[inline]
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.filled..]
    }

    pub(crate) fn space_len(&self) -> usize {
        self.memory.len() - self.filled
    }

    /// Octets of memory.
    pub(super) fn held(&self) -> usize {
        self.memory.len()
    }

    /// Octets were read into [`ReadBuffer::space`].
    #[inline]
    pub(crate) fn fill(&mut self, count: usize) {
        self.filled += count;
        debug_assert!(self.filled <= self.memory.len());
    }

    /// Drops octets at the front.
    pub(crate) fn skip(&mut self, count: usize) {
        if count == self.filled {
            // The memory behind was never used: keep what was before it, by starting over.
            self.filled = 0;
        } else {
            self.memory.advance(count);
            self.filled -= count;
        }
    }

    /// Takes octets off the front by reference.
    pub(crate) fn split(&mut self, count: usize) -> Bytes {
        self.filled -= count;
        self.memory.split_to(count)
    }

    /// Makes room for at least `total` octets of input, the unread ones included.
    pub(crate) fn reserve(&mut self, total: usize, pool: &mut BufferPool) {
        if self.memory.len() >= total {
            return;
        }
        let mut fresh = pool.take(total);
        fresh[..self.filled].copy_from_slice(&self.memory[..self.filled]);
        let old = std::mem::replace(&mut self.memory, fresh);
        if !std::mem::take(&mut self.shrunk) {
            pool.give(old);
        }
    }

    /// Gives the memory back if nothing unread is in it.
    pub(crate) fn release(&mut self, pool: &mut BufferPool) {
        if self.filled == 0 && !self.memory.is_empty() {
            let memory = std::mem::take(&mut self.memory);
            if !std::mem::take(&mut self.shrunk) {
                pool.give(memory);
            }
        }
    }

    /// Keeps unread octets, if they are few, in memory of their own, and gives the buffer back: what a
    /// peer begins and does not finish must not cost a whole buffer.
    pub(crate) fn shrink(&mut self, pool: &mut BufferPool) {
        if self.filled == 0 || self.filled > SHRINK_BELOW || self.shrunk {
            return;
        }
        let mut own = Memory::zeroed(self.filled);
        own.copy_from_slice(self.input());
        pool.give(std::mem::replace(&mut self.memory, own));
        self.shrunk = true;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    /// Whole buffers, ready for use.
    ready: Vec<Memory>,
    /// What is left of buffers of which octets were handed on.
    lent: VecDeque<Memory>,
    /// And of the memory of large bodies, with its size.
    bodies: VecDeque<(usize, Memory)>,
}

impl BufferPool {
    /// Memory of at least `len` octets.
    fn take(&mut self, len: usize) -> Memory {
        if len > BUFFER_SIZE {
            return Memory::zeroed(len);
        }
        if let Some(ready) = self.ready.pop() {
            return ready;
        }
        for _ in 0..self.lent.len() {
            if let Some(mut memory) = self.lent.pop_front() {
                if memory.reclaim(BUFFER_SIZE) {
                    return memory;
                }
                self.lent.push_back(memory);
            }
        }
        Memory::zeroed(BUFFER_SIZE)
    }

    fn give(&mut self, memory: Memory) {
        if memory.len() == BUFFER_SIZE {
            if self.ready.len() < READY {
                self.ready.push(memory);
            }
        } else if memory.len() < BUFFER_SIZE && !memory.is_empty() {
            if self.lent.len() == POOLED {
                self.lent.pop_front();
            }
            self.lent.push_back(memory);
        }
    }

    /// The memory of an earlier body, if it will do for one of this length. Only for a connection that
    /// has brought a body as large before: an announcement is worth no memory.
    pub(crate) fn take_body(&mut self, len: usize) -> Option<Memory> {
        for _ in 0..self.bodies.len() {
            let (size, mut memory) = self.bodies.pop_front()?;
            if size >= len && size / 2 <= len && memory.reclaim(size) {
                return Some(memory);
            }
            self.bodies.push_back((size, memory));
        }
        None
    }

    /// What is left when a body, of `size` octets with what was too much, was handed on.
    pub(crate) fn give_body(&mut self, size: usize, rest: Memory) {
        self.bodies.push_back((size, rest));
        let mut kept: usize = self.bodies.iter().map(|(size, _)| size).sum();
        while self.bodies.len() > BODIES || kept > BODIES_SIZE {
            match self.bodies.pop_front() {
                Some((size, _)) => kept -= size,
                None => break,
            }
        }
    }

    /// Frees everything.
    pub(crate) fn clear(&mut self) {
        *self = BufferPool::default();
    }
}

/// Bodies whose memory waits to be used again, in number and in octets: as many as a receiver has in
/// hand at once if it does not keep them.
const BODIES: usize = 16;
const BODIES_SIZE: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_survives_growing_and_splitting() {
        let mut pool = BufferPool::default();
        let mut buffer = ReadBuffer::default();
        buffer.reserve(10, &mut pool);
        assert_eq!(buffer.space_len(), BUFFER_SIZE);
        buffer.space()[..6].copy_from_slice(b"abcdef");
        buffer.fill(6);
        assert_eq!(buffer.split(2), "ab");
        buffer.skip(1);
        buffer.reserve(BUFFER_SIZE * 3, &mut pool);
        assert_eq!(buffer.input(), b"def");
        assert!(buffer.space_len() >= BUFFER_SIZE * 3 - 3);
        buffer.skip(3);
        buffer.release(&mut pool);
        assert!(buffer.is_empty());
        assert_eq!(buffer.space_len(), 0);
    }

    #[test]
    fn a_few_octets_keep_no_buffer() {
        let mut pool = BufferPool::default();
        let mut buffer = ReadBuffer::default();
        buffer.reserve(1, &mut pool);
        buffer.space()[..3].copy_from_slice(b"abc");
        buffer.fill(3);
        buffer.skip(1);
        buffer.shrink(&mut pool);
        buffer.shrink(&mut pool);
        assert_eq!(buffer.input(), b"bc");
        assert_eq!((buffer.space_len(), buffer.memory.len()), (0, 2));
        buffer.reserve(10, &mut pool);
        assert_eq!(buffer.input(), b"bc");
        assert!(buffer.space_len() >= BUFFER_SIZE - 2);
        buffer.shrink(&mut pool);
        buffer.skip(2);
        buffer.release(&mut pool);
        assert!(pool.lent.iter().all(|memory| memory.len() > 10));
    }

    #[test]
    fn a_buffer_is_used_again_when_its_octets_are_gone() {
        let mut pool = BufferPool::default();
        let mut buffer = ReadBuffer::default();
        buffer.reserve(1, &mut pool);
        let memory = buffer.space().as_ptr();
        buffer.fill(100);
        let lent = buffer.split(100);
        buffer.release(&mut pool);
        buffer.reserve(1, &mut pool);
        assert_ne!(buffer.space().as_ptr(), memory, "still lent");
        drop(lent);
        let other = std::mem::take(&mut buffer);
        buffer.reserve(1, &mut pool);
        assert_eq!(buffer.space().as_ptr(), memory);
        drop(other);
    }
}
